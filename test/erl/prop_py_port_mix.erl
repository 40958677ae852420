%% @doc Both directions at once: calls, coroutines, threads and casts that call Erlang that calls Python, asynchronous calls,
%% channels and streams, while callers die, times run out, jobs are killed, names come and go, and workers are interrupted,
%% stopped and killed. Each request gets exactly one outcome, one that can be explained by what happened; who gets a value
%% gets its own; and when all is over nothing of it is left, on either side.
%%
%% A step of the gentle kind must be enough for everything here: no worker may be killed because something did not stop.
%%
%% What is generated is a list of things that happen, each in a process of its own, all let go together; the order is the
%% schedulers'. So a failure may need several runs to come back.
-module(prop_py_port_mix).

-import(proper_types, [list/1, frequency/1, oneof/1, integer/2]).

-export([prop_calm/0, prop_calm/1, prop_troubled/0, prop_troubled/1]).

%% Not shrunk: what depends on the schedulers does not fail each time, and a hang costs a minute.
prop_calm(opts) -> [{numtests, 40}, {max_size, 40}, noshrink].

prop_troubled(opts) -> [{numtests, 80}, {max_size, 40}, noshrink].

%% @doc Nothing goes wrong, so nothing may go wrong.
prop_calm() -> property(list(weighted(py_port_mix:work(calm)))).

prop_troubled() ->
    property(list(frequency([{6, weighted(py_port_mix:work(troubled))}, {1, weighted(py_port_mix:trouble())}]))).

%% Without proper.hrl, which not every packaging of PropEr brings along.
property(Happenings) ->
    proper:setup(
        fun() ->
            #{level := Level} = logger:get_primary_config(),
            %% Contexts that die are what this is about; their crash reports would bury everything else.
            ok = logger:set_primary_config(level, none),
            fun() -> logger:set_primary_config(level, Level) end
        end,
        proper:forall({integer(1, 2), Happenings}, fun({Contexts, List}) ->
            Result = outcome(Contexts, List),
            proper:whenfail(
                fun() -> io:put_chars(py_port_mix:report(Result)) end,
                fun() -> proper:aggregate([element(1, H) || H <- List], Result =:= ok) end
            )
        end)
    ).

%% The oldest PropEr that is around cannot report an exception.
outcome(Contexts, List) ->
    try
        py_port_mix:run(Contexts, List)
    catch
        Class:Reason:Stack -> {failed, {Class, Reason, Stack}}
    end.

type({one, List}) -> oneof([type(Shape) || Shape <- List]);
type({int, From, To}) -> integer(From, To);
type({list, Shape, Max}) -> proper_types:resize(Max, list(type(Shape)));
type(Tuple) when is_tuple(Tuple) -> list_to_tuple([type(Shape) || Shape <- tuple_to_list(Tuple)]);
type(Value) -> Value.

weighted(Shapes) -> frequency([{Weight, type(Shape)} || {Weight, Shape} <- Shapes]).
