%% @doc Channels: bounded queues of messages with any number of senders and receivers, either end in
%% Erlang or in Python.
%%
%% Messages are received in the order in which they were accepted. Each is received once: a receiver
%% that dies, is killed or gives up while it waits loses nothing, and what it had been handed goes
%% back to the front. A sender waits while the channel is full; that is the back-pressure. Closing
%% lets what is queued be received and then ends every iteration.
%%
%% A channel is passed to Python as it is; there, `erlang.Channel(channel)' wraps it. It is one
%% queue: two sides that talk to each other use two channels. It ends with the process that made it
%% (or its `owner'), and is then closed for everybody else, with what was queued.
%%
%% ```
%% {ok, Ch} = py_port_channel:new(#{capacity => 100}),
%% ok = py_port_channel:send(Ch, {job, 1}),
%% {ok, {job, 1}} = py_port_channel:recv(Ch),
%% ok = py_port_channel:close(Ch),
%% {error, closed} = py_port_channel:recv(Ch).
%% '''
%% @end
-module(py_port_channel).

-export([new/0, new/1, send/2, send/3, recv/1, recv/2, 'receive'/1, 'receive'/2, try_receive/1]).
-export([close/1, info/1]).
%% for py_port_job
-export([op/1]).
-export_type([channel/0, options/0]).

-import(py_port_args, [bad/2, timeout/1]).

-opaque channel() :: {'$py_channel', pid(), terms | bytes}.
-type options() :: #{
    %% messages; 1000 without it, no limit with `max_bytes'
    capacity => pos_integer() | infinity,
    %% full with so many bytes as well: of binaries if it is one of bytes, else of external format
    max_bytes => pos_integer() | infinity,
    %% binaries only; Python gets them as `bytes'
    bytes => boolean(),
    %% ends the channel with its own end; the caller without it
    owner => pid() | none
}.

-define(CAPACITY, 1000).

%% @equiv new(#{})
-spec new() -> {ok, channel()} | {error, py_port_error:reason()}.
new() ->
    new(#{}).

-spec new(options()) -> {ok, channel()} | {error, py_port_error:reason()}.
new(Options) ->
    py_port_call:guarded(fun() ->
        is_map(Options) orelse bad(options, "must be a map"),
        maps:foreach(fun check/2, Options),
        Kind =
            case Options of
                #{bytes := true} -> bytes;
                #{} -> terms
            end,
        Settings = #{
            kind =>
                case Kind of
                    bytes -> byte_channel;
                    terms -> channel
                end,
            items => maps:get(capacity, Options, default_capacity(Options)),
            bytes => maps:get(max_bytes, Options, infinity),
            weigh => is_map_key(max_bytes, Options),
            owner => maps:get(owner, Options, self())
        },
        case py_port_fifo:start(Settings) of
            {ok, Pid} -> {ok, {'$py_channel', Pid, Kind}};
            {error, _} = Error -> Error
        end
    end).

-spec default_capacity(options()) -> pos_integer() | infinity.
default_capacity(#{max_bytes := _}) -> infinity;
default_capacity(#{}) -> ?CAPACITY.

%% @equiv send(Channel, Message, infinity)
-spec send(channel(), term()) -> ok | {error, closed | py_port_error:reason()}.
send(Channel, Message) ->
    send(Channel, Message, infinity).

%% @doc Waits while the channel is full. `{error, busy}': it was full for that long, and the message
%% was not sent.
-spec send(channel(), term(), timeout()) -> ok | {error, closed | busy | py_port_error:reason()}.
send(Channel, Message, Timeout) ->
    py_port_call:guarded(fun() ->
        Pid = pid(Channel),
        ok = check_message(Channel, Message),
        case put(Pid, Message, timeout(Timeout)) of
            ok -> ok;
            full -> {error, busy};
            closed -> {error, closed}
        end
    end).

%% @equiv recv(Channel, infinity)
-spec recv(channel()) -> {ok, term()} | {error, closed | py_port_error:reason()}.
recv(Channel) ->
    recv(Channel, infinity).

%% @doc The next message. After `{error, timeout}' nothing has been taken.
-spec recv(channel(), timeout()) -> {ok, term()} | {error, closed | timeout | py_port_error:reason()}.
recv(Channel, Timeout) ->
    py_port_call:guarded(fun() ->
        case py_port_fifo:take(pid(Channel), 1, timeout(Timeout)) of
            {items, [Message]} -> {ok, Message};
            empty -> {error, timeout};
            {ended, closed} -> {error, closed};
            gone -> {error, closed}
        end
    end).

%% @equiv recv(Channel)
-spec 'receive'(channel()) -> {ok, term()} | {error, closed | py_port_error:reason()}.
'receive'(Channel) ->
    recv(Channel).

%% @equiv recv(Channel, Timeout)
-spec 'receive'(channel(), timeout()) ->
    {ok, term()} | {error, closed | timeout | py_port_error:reason()}.
'receive'(Channel, Timeout) ->
    recv(Channel, Timeout).

%% @doc Does not wait.
-spec try_receive(channel()) -> {ok, term()} | {error, closed | empty | py_port_error:reason()}.
try_receive(Channel) ->
    case recv(Channel, 0) of
        {error, timeout} -> {error, empty};
        Other -> Other
    end.

%% @doc No more messages are accepted; those in the channel can still be received. Senders that wait
%% get `{error, closed}'. Also for a channel that has ended.
-spec close(channel()) -> ok | {error, py_port_error:reason()}.
close(Channel) ->
    py_port_call:guarded(fun() -> py_port_fifo:finish(pid(Channel), closed) end).

%% @doc `size', `capacity', `closed', `waiting_senders', `waiting_receivers', and `unconfirmed':
%% messages on their way to a receiver. With `max_bytes' also that and `bytes', what counts for it.
-spec info(channel()) -> map() | {error, closed | py_port_error:reason()}.
info(Channel) ->
    py_port_call:guarded(fun() ->
        case py_port_fifo:info(pid(Channel)) of
            gone -> {error, closed};
            Info -> shown(Info)
        end
    end).

-spec shown(map()) -> map().
shown(#{weigh := true} = Info) -> maps:without([kind, weigh], Info);
shown(Info) -> maps:without([kind, weigh, bytes, max_bytes], Info).

%% From Python -------------------------------------------------------------------------------------

%% @doc One operation of docs/protocol.md, in the process of its job. A message that it fetched goes
%% back to the channel unless the job commits.
-spec op([term()]) -> py_port_fifo_op:answer().
op([Op | Args]) ->
    Name = py_port_fifo_op:name(Op),
    case py_port_fifo_op:kind(Args) of
        channel -> run(Name, Args);
        byte_channel -> raw(Name, Args);
        _ -> run_gone(Name)
    end.

-spec run_gone(binary()) -> map() | ok | closed.
run_gone(<<"info">>) -> #{closed => true, size => 0};
run_gone(<<"close">>) -> ok;
run_gone(_) -> closed.

-spec run(binary(), [term()]) -> py_port_fifo_op:answer().
run(<<"receive">>, [Pid]) -> fetch(Pid, infinity);
run(<<"receive">>, [Pid, Ms]) when is_integer(Ms), Ms >= 0 -> in_time(fetch(Pid, Ms));
run(<<"try_receive">>, [Pid]) -> fetch(Pid, 0);
run(<<"send">>, [Pid, Message]) -> put(Pid, Message, infinity);
run(<<"send">>, [Pid, Message, Ms]) when is_integer(Ms), Ms >= 0 -> in_time(put(Pid, Message, Ms));
run(<<"try_send">>, [Pid, Message]) -> put(Pid, Message, 0);
run(<<"close">>, [Pid]) -> py_port_fifo:finish(Pid, closed);
run(<<"info">>, [Pid]) ->
    case py_port_fifo:info(Pid) of
        gone -> run_gone(<<"info">>);
        Info -> shown(Info)
    end;
run(Op, Args) ->
    py_port_fifo_op:bad(Op, Args).

-spec in_time(Answer) -> Answer | timeout.
in_time(empty) -> timeout;
in_time(full) -> timeout;
in_time(Answer) -> Answer.

%% The receiver in Python gets `bytes' whatever the context's types are.
-spec raw(binary(), [term()]) -> py_port_fifo_op:answer().
raw(Op, [_, Message | _]) when
    not is_binary(Message), Op =:= <<"send">> orelse Op =:= <<"try_send">>
->
    py_port_call:fail({bad_request, <<"the channel is one of bytes">>});
raw(Op, Args) ->
    case run(Op, Args) of
        {fetched, {ok, Message}, Receipt} -> {fetched, {ok, {bytes, Message}}, Receipt};
        Answer -> Answer
    end.

-spec fetch(pid(), timeout()) -> py_port_fifo_op:answer().
fetch(Pid, Timeout) ->
    case py_port_fifo:fetch(Pid, 1, Timeout) of
        {items, [Message], Receipt} -> {fetched, {ok, Message}, Receipt};
        empty -> empty;
        {ended, closed} -> closed;
        gone -> closed
    end.

-spec put(pid(), term(), timeout()) -> ok | full | closed.
put(Pid, Message, Timeout) ->
    case py_port_fifo:put(Pid, Message, weight(Message), Timeout) of
        gone -> closed;
        Answer -> Answer
    end.

%% Arguments ---------------------------------------------------------------------------------------

-spec check(term(), term()) -> ok.
check(capacity, N) when is_integer(N), N > 0; N =:= infinity -> ok;
check(max_bytes, N) when is_integer(N), N > 0; N =:= infinity -> ok;
check(bytes, B) when is_boolean(B) -> ok;
check(owner, Owner) when is_pid(Owner); Owner =:= none -> ok;
check(capacity, _) -> bad(capacity, "must be a positive number of messages, or infinity");
check(max_bytes, _) -> bad(max_bytes, "must be a positive number of bytes, or infinity");
check(bytes, _) -> bad(bytes, "must be true or false");
check(owner, _) -> bad(owner, "must be a pid or none");
check(Key, _) -> bad(options, io_lib:format("there is no option ~tp", [Key])).

-spec pid(term()) -> pid().
pid({'$py_channel', Pid, Kind}) when is_pid(Pid), Kind =:= terms orelse Kind =:= bytes -> Pid;
pid(_) -> bad(channel, "is not a channel").

-spec check_message(channel(), term()) -> ok.
check_message({_, _, bytes}, Message) when not is_binary(Message) ->
    bad(message, "must be a binary: the channel is one of bytes");
check_message(_, _) ->
    ok.

%% Only what is kept outside the heap matters to the process: see py_port_fifo.
-spec weight(term()) -> non_neg_integer().
weight(Message) when is_binary(Message) -> byte_size(Message);
weight(_) -> 0.
