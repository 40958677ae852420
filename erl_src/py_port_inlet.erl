%% @doc The way into Python of a stream that was opened with `py_port:open_stream/4,5': what Erlang
%% pushes and a function in Python iterates over.
%%
%% A bounded buffer (see {@link py_port_fifo}), full with so many items or so many bytes of external
%% format, whichever comes first. It belongs to the process of the stream and ends with it; then, and
%% when Python does not want more, pushing says `closed'.
%% @end
-module(py_port_inlet).

-export([start/1, push/3, finish/1, abort/2]).
%% for py_port_job
-export([op/1]).
-export_type([settings/0]).

-type settings() :: #{
    items := pos_integer() | infinity,
    bytes := pos_integer() | infinity,
    %% what goes to Python at once
    taken => pos_integer(),
    %% the caller without it
    owner => pid()
}.

-spec start(settings()) -> {ok, pid()} | {error, not_started}.
start(Settings) ->
    py_port_fifo:start(maps:merge(#{owner => self()}, Settings#{kind => inlet})).

-spec push(pid(), term(), timeout()) -> ok | {error, busy | closed}.
push(Pid, Item, Timeout) ->
    case py_port_fifo:put(Pid, Item, weight(Item), Timeout) of
        ok -> ok;
        full -> {error, busy};
        closed -> {error, closed};
        gone -> {error, closed}
    end.

-spec weight(term()) -> non_neg_integer().
weight(Item) when is_binary(Item) -> byte_size(Item);
weight(Item) -> erlang:external_size(Item).

%% @doc Python's iteration ends after what has been pushed.
-spec finish(pid()) -> ok.
finish(Pid) ->
    py_port_fifo:finish(Pid, done).

%% @doc Python's iteration raises now.
-spec abort(pid(), term()) -> ok.
abort(Pid, Reason) ->
    py_port_fifo:abort(Pid, {aborted, Reason}).

%% @doc One operation of docs/protocol.md, in the process of its job. What it fetched goes back to the
%% front unless the job commits.
-spec op([term()]) -> py_port_fifo_op:answer().
op([Op | Args]) ->
    Name = py_port_fifo_op:name(Op),
    case py_port_fifo_op:kind(Args) of
        inlet -> run(Name, Args);
        _ when Name =:= <<"close">> -> ok;
        _ -> {aborted, noproc}
    end.

-spec run(binary(), [term()]) -> py_port_fifo_op:answer().
run(<<"take">>, [Pid, Max]) when is_integer(Max), Max > 0 -> fetch(Pid, Max, infinity);
run(<<"try_take">>, [Pid, Max]) when is_integer(Max), Max > 0 -> fetch(Pid, Max, 0);
run(<<"close">>, [Pid]) -> py_port_fifo:abort(Pid, done);
run(Op, Args) -> py_port_fifo_op:bad(Op, Args).

-spec fetch(pid(), pos_integer(), timeout()) -> py_port_fifo_op:answer().
fetch(Pid, Max, Timeout) ->
    case py_port_fifo:fetch(Pid, Max, Timeout) of
        {items, Items, Receipt} -> {fetched, {items, Items}, Receipt};
        {ended, Why} -> Why;
        gone -> {aborted, noproc};
        empty -> empty
    end.
