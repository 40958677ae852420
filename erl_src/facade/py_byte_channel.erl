%% @doc Two queues of binaries, one for each direction: what Erlang sends Python receives, and the
%% other way round. Neither side reads back what it sent.
%%
%% Each queue is a channel of {@link py_port_channel} with `bytes => true'; both belong to the process
%% that made them. The handle is passed to Python as it is; there, `erlang.ByteChannel(handle)' is the
%% other side. Sending never waits: a full queue says `busy'. Closing closes both directions; what is
%% queued is still received.
%%
%% ```
%% {ok, Ch} = py_byte_channel:new(),
%% ok = py_byte_channel:send(Ch, <<"ping">>),
%% {error, empty} = py_byte_channel:try_receive(Ch).
%% '''
%% @end
-module(py_byte_channel).

-export([new/0, new/1, send/2, try_receive/1, recv/1, recv/2, close/1, info/1]).
-export_type([channel/0, options/0]).

-import(py_port_args, [bad/2]).

-opaque channel() ::
    {'$py_byte_channel', ToPython :: py_port_channel:channel(), ToErlang :: py_port_channel:channel()}.
-type options() :: #{
    %% bytes in each direction; 0, the default: no limit
    max_size => non_neg_integer(),
    %% ends the channel with its own end; the caller without it
    owner => pid() | none
}.

%% @equiv new(#{})
-spec new() -> {ok, channel()} | {error, py_port_error:reason()}.
new() ->
    new(#{}).

%% @doc With `max_size', data is accepted while fewer bytes than that are queued in its direction.
-spec new(options()) -> {ok, channel()} | {error, py_port_error:reason()}.
new(Options) ->
    py_port_call:guarded(fun() ->
        is_map(Options) orelse bad(options, "must be a map"),
        Core = maps:fold(fun py_channel:core/3, #{bytes => true, max_bytes => infinity}, Options),
        both(py_port_channel:new(Core), py_port_channel:new(Core))
    end).

-type made() :: {ok, py_port_channel:channel()} | {error, py_port_error:reason()}.
-spec both(made(), made()) -> {ok, channel()} | {error, py_port_error:reason()}.
both({ok, ToPython}, {ok, ToErlang}) -> {ok, {'$py_byte_channel', ToPython, ToErlang}};
both({error, _} = Error, _) -> Error;
both(_, {error, _} = Error) -> Error.

%% @doc To Python. Does not wait. `busy': the queue is full, and nothing was sent.
-spec send(channel(), binary()) -> ok | busy | {error, closed | py_port_error:reason()}.
send(Channel, Data) ->
    with(Channel, fun(ToPython, _) ->
        case py_port_channel:send(ToPython, Data, 0) of
            {error, busy} -> busy;
            Other -> Other
        end
    end).

%% @doc What Python sent. Does not wait.
-spec try_receive(channel()) -> {ok, binary()} | {error, closed | empty | py_port_error:reason()}.
try_receive(Channel) ->
    with(Channel, fun(_, ToErlang) -> py_port_channel:try_receive(ToErlang) end).

%% @equiv recv(Channel, infinity)
-spec recv(channel()) -> {ok, binary()} | {error, closed | py_port_error:reason()}.
recv(Channel) ->
    recv(Channel, infinity).

%% @doc What Python sent. The time limit is in milliseconds; nothing is taken when it is up.
-spec recv(channel(), timeout()) ->
    {ok, binary()} | {error, closed | timeout | py_port_error:reason()}.
recv(Channel, Timeout) ->
    with(Channel, fun(_, ToErlang) -> py_port_channel:recv(ToErlang, Timeout) end).

%% @doc Both directions. Ok also for one that is closed.
-spec close(channel()) -> ok | {error, py_port_error:reason()}.
close(Channel) ->
    with(Channel, fun(ToPython, ToErlang) ->
        ok = py_port_channel:close(ToPython),
        py_port_channel:close(ToErlang)
    end).

%% @doc `size' bytes wait for Python, `incoming' bytes for Erlang.
-spec info(channel()) ->
    #{
        size := non_neg_integer(),
        incoming := non_neg_integer(),
        max_size := non_neg_integer(),
        closed := boolean()
    }
    | {error, py_port_error:reason()}.
info(Channel) ->
    with(Channel, fun(ToPython, ToErlang) ->
        case {py_channel:info(ToPython), py_channel:info(ToErlang)} of
            {#{size := Size, max_size := Max, closed := IsClosed}, #{size := Incoming}} ->
                #{size => Size, incoming => Incoming, max_size => Max, closed => IsClosed};
            {{error, _} = Error, _} ->
                Error;
            {_, {error, _} = Error} ->
                Error
        end
    end).

-spec with(channel(), fun((py_port_channel:channel(), py_port_channel:channel()) -> Result)) ->
    Result | {error, py_port_error:reason()}.
with(Channel, Do) ->
    py_port_call:guarded(fun() ->
        {ToPython, ToErlang} = queues(Channel),
        Do(ToPython, ToErlang)
    end).

-spec queues(term()) -> {py_port_channel:channel(), py_port_channel:channel()}.
queues({'$py_byte_channel', ToPython, ToErlang}) -> {ToPython, ToErlang};
queues(_) -> bad(channel, "is not a byte channel").
