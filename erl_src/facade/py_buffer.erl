%% @doc A body that Erlang writes piece by piece and Python reads like a file.
%%
%% A buffer is passed to Python anywhere in an argument and is an `erlang.PyBuffer' there: an object
%% with `read', `readline' and the like, whose reads wait for what has not been written yet. Python
%% fetches what it reads, 1 MiB at once (so `max_frame' must not be less than 2 MiB); what it has not
%% fetched lies here. Without
%% `max_size' writing never waits, so a whole body can be written before the call that reads it. With
%% it, writing waits while so many bytes lie here: give the buffer to its reader first.
%%
%% A content length is enforced: what would go beyond it is refused as a whole. That a buffer is
%% closed before it is reached is up to the reader, who sees it as `content_length'.
%%
%% One process writes and one context reads. The buffer ends with the process that made it (or its
%% `owner'); a reader that was not at the end then gets `erlang.StreamAborted'.
%%
%% ```
%% {ok, Body} = py_buffer:new(11),
%% ok = py_buffer:write(Body, <<"hello ">>),
%% ok = py_buffer:write(Body, <<"world">>),
%% ok = py_buffer:close(Body),
%% {error, closed} = py_buffer:write(Body, <<"!">>).
%% '''
%% @end
-module(py_buffer).

-export([new/0, new/1, write/2, write/3, close/1]).
-export_type([buffer/0, options/0]).

-import(py_port_args, [bad/2, timeout/1]).

%% The counter is of the bytes that were written; only this node can use it.
-opaque buffer() :: {'$py_buffer', pid(), non_neg_integer() | undefined, atomics:atomics_ref()}.
-type options() :: #{
    content_length => non_neg_integer() | undefined,
    %% bytes that may lie here unread; no limit without it
    max_size => pos_integer(),
    %% ends the buffer with its own end; the caller without it
    owner => pid()
}.
-type refusal() :: {error, closed | content_length | py_port_error:reason()}.

%% Python fetches 16 of them at once, so 1 MiB: much less than a frame may have.
-define(PIECE, 65536).

%% @equiv new(undefined)
-spec new() -> {ok, buffer()} | {error, py_port_error:reason()}.
new() ->
    new(undefined).

%% @doc The number of bytes that will be written, if it is known, or options.
-spec new(non_neg_integer() | undefined | options()) ->
    {ok, buffer()} | {error, py_port_error:reason()}.
new(Options) when is_map(Options) ->
    py_port_call:guarded(fun() ->
        ok = maps:foreach(fun check/2, Options),
        Inlet = #{
            items => infinity,
            bytes => maps:get(max_size, Options, infinity),
            owner => maps:get(owner, Options, self())
        },
        case py_port_inlet:start(Inlet) of
            {ok, Pid} ->
                Length = maps:get(content_length, Options, undefined),
                {ok, {'$py_buffer', Pid, Length, atomics:new(1, [])}};
            {error, _} = Error ->
                Error
        end
    end);
new(Length) ->
    new(#{content_length => Length}).

-spec check(term(), term()) -> ok.
check(content_length, undefined) -> ok;
check(content_length, N) when is_integer(N), N >= 0 -> ok;
check(max_size, N) when is_integer(N), N > 0 -> ok;
check(owner, Owner) when is_pid(Owner) -> ok;
check(content_length, _) -> bad(content_length, "must be a number of bytes or undefined");
check(max_size, _) -> bad(max_size, "must be a positive number of bytes");
check(owner, _) -> bad(owner, "must be a pid");
check(Key, _) -> bad(options, io_lib:format("there is no option ~tp", [Key])).

%% @equiv write(Buffer, Data, infinity)
-spec write(buffer(), iodata()) -> ok | refusal().
write(Buffer, Data) ->
    write(Buffer, Data, infinity).

%% @doc Appends the data. `closed': by either side, or the buffer has ended. `content_length': nothing
%% was written, as it would be too much. With `max_size' it waits for room, so many milliseconds for
%% each 64 KiB; `busy': the time was up, and only the pieces before were written, so give the buffer
%% up then.
-spec write(buffer(), iodata(), timeout()) -> ok | {error, busy} | refusal().
write({'$py_buffer', Pid, _, _} = Buffer, Data, Timeout) when is_pid(Pid), node(Pid) =/= node() ->
    try
        erpc:call(node(Pid), ?MODULE, write, [Buffer, Data, Timeout])
    catch
        error:{erpc, _} -> {error, closed}
    end;
write(Buffer, Data, Timeout) ->
    py_port_call:guarded(fun() ->
        {Pid, Length, Written} = parts(Buffer),
        Bytes = bytes(Data),
        Size = byte_size(Bytes),
        _ = timeout(Timeout),
        case atomics:add_get(Written, 1, Size) =< Length of
            true ->
                push(Pid, Bytes, Timeout);
            false ->
                ok = atomics:sub(Written, 1, Size),
                refused(Pid)
        end
    end).

%% That it is closed is the greater news. An atom is greater than every number, so without a length
%% nobody comes here.
-spec refused(pid()) -> refusal().
refused(Pid) ->
    case py_port_fifo:info(Pid) of
        #{closed := false} -> {error, content_length};
        _ -> {error, closed}
    end.

-spec push(pid(), binary(), timeout()) -> ok | {error, busy | closed}.
push(Pid, <<Piece:?PIECE/binary, Rest/binary>>, Timeout) when Rest =/= <<>> ->
    case py_port_inlet:push(Pid, {bytes, Piece}, Timeout) of
        ok -> push(Pid, Rest, Timeout);
        {error, _} = Error -> Error
    end;
push(Pid, Bytes, Timeout) ->
    py_port_inlet:push(Pid, {bytes, Bytes}, Timeout).

-spec bytes(term()) -> binary().
bytes(Data) when is_binary(Data) ->
    Data;
bytes(Data) ->
    try
        iolist_to_binary(Data)
    catch
        error:badarg -> bad(data, "must be a binary or iodata")
    end.

%% @doc Nothing more comes: Python's reads end after what was written. Ok also for one that is closed.
-spec close(buffer()) -> ok | {error, py_port_error:reason()}.
close(Buffer) ->
    py_port_call:guarded(fun() ->
        {Pid, _, _} = parts(Buffer),
        py_port_inlet:finish(Pid)
    end).

-spec parts(term()) -> {pid(), non_neg_integer() | undefined, atomics:atomics_ref()}.
parts({'$py_buffer', Pid, Length, Written}) when is_pid(Pid) -> {Pid, Length, Written};
parts(_) -> bad(buffer, "is not a buffer").
