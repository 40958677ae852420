%% @doc Channels as erlang_python has them, which never make the sender wait: a full one says `busy'.
%%
%% Such a channel is one of {@link py_port_channel}, bounded by bytes and not by the number of
%% messages, so everything said there holds: each message is received once, by one of any number of
%% receivers on either side, and the channel ends with the process that made it (or its `owner').
%% `max_size' counts messages in external term format. A message is accepted while fewer bytes than
%% that are in the channel, so that also one which is larger gets through; 0 means no limit.
%%
%% A channel is passed to Python as it is; there, `erlang.Channel(channel)' wraps it. Python answers
%% with `erlang.channel.reply(pid, term)', or by sending into a channel.
%%
%% ```
%% {ok, Ch} = py_channel:new(#{max_size => 1000000}),
%% ok = py_channel:send(Ch, {job, 1}),
%% ok = py_channel:close(Ch),
%% {error, closed} = py_channel:send(Ch, {job, 2}).
%% '''
%% @end
-module(py_channel).

-export([new/0, new/1, send/2, 'receive'/1, 'receive'/2, try_receive/1, close/1, info/1]).
-export([register_callbacks/0]).
%% for py_byte_channel
-export([core/3]).
-export_type([channel/0, options/0]).

-import(py_port_args, [bad/2]).

-type channel() :: py_port_channel:channel().
-type options() :: #{
    %% bytes; 0, the default: no limit
    max_size => non_neg_integer(),
    %% ends the channel with its own end; the caller without it
    owner => pid() | none
}.

%% @equiv new(#{})
-spec new() -> {ok, channel()} | {error, py_port_error:reason()}.
new() ->
    new(#{}).

-spec new(options()) -> {ok, channel()} | {error, py_port_error:reason()}.
new(Options) ->
    py_port_call:guarded(fun() ->
        is_map(Options) orelse bad(options, "must be a map"),
        py_port_channel:new(maps:fold(fun core/3, #{max_bytes => infinity}, Options))
    end).

%% @private
-spec core(term(), term(), py_port_channel:options()) -> py_port_channel:options().
core(max_size, 0, Core) -> Core;
core(max_size, Max, Core) when is_integer(Max), Max > 0 -> Core#{max_bytes => Max};
core(max_size, _, _) -> bad(max_size, "must be a number of bytes, 0 for no limit");
core(owner, Owner, Core) -> Core#{owner => Owner};
core(Key, _, _) -> bad(options, io_lib:format("there is no option ~tp", [Key])).

%% @doc Does not wait. `busy': the channel is full, and the message was not sent.
-spec send(channel(), term()) -> ok | busy | {error, closed | py_port_error:reason()}.
send(Channel, Message) ->
    case py_port_channel:send(Channel, Message, 0) of
        {error, busy} -> busy;
        Other -> Other
    end.

%% @equiv 'receive'(Channel, infinity)
-spec 'receive'(channel()) -> {ok, term()} | {error, closed | py_port_error:reason()}.
'receive'(Channel) ->
    py_port_channel:recv(Channel).

%% @doc The next message, whoever sent it. The time limit is in milliseconds; nothing is taken when it
%% is up.
-spec 'receive'(channel(), timeout()) ->
    {ok, term()} | {error, closed | timeout | py_port_error:reason()}.
'receive'(Channel, Timeout) ->
    py_port_channel:recv(Channel, Timeout).

%% @doc Does not wait.
-spec try_receive(channel()) -> {ok, term()} | {error, closed | empty | py_port_error:reason()}.
try_receive(Channel) ->
    py_port_channel:try_receive(Channel).

%% @doc No more messages are accepted; those in the channel are still received. Ok also for one that
%% is closed.
-spec close(channel()) -> ok | {error, py_port_error:reason()}.
close(Channel) ->
    py_port_channel:close(Channel).

%% @doc `size' and `max_size' are in bytes, `queued' is the number of messages. Of a channel whose
%% process has ended, that it is closed and empty.
-spec info(channel()) ->
    #{
        size := non_neg_integer(),
        max_size := non_neg_integer(),
        queued := non_neg_integer(),
        closed := boolean()
    }
    | {error, py_port_error:reason()}.
info(Channel) ->
    case py_port_channel:info(Channel) of
        {error, closed} ->
            #{size => 0, max_size => 0, queued => 0, closed => true};
        {error, _} = Error ->
            Error;
        #{bytes := Bytes, max_bytes := Max, size := Queued, closed := Closed} ->
            #{size => Bytes, max_size => limit(Max), queued => Queued, closed => Closed}
    end.

-spec limit(pos_integer() | infinity) -> non_neg_integer().
limit(infinity) -> 0;
limit(Max) -> Max.

%% @doc Nothing is left to do: Python reaches channels without it.
-spec register_callbacks() -> ok.
register_callbacks() ->
    ok.
