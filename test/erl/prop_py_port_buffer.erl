%% @doc The buffer behind channels and inlets against any order of events: puts, takes, confirmations,
%% deaths, times that are up, a finish, an abort.
%%
%% The model is what a bystander can count: every item is known by a number, so that each must be in
%% exactly one place, and what a consumer confirms must never come again.
%% @end
-module(prop_py_port_buffer).

%% Without proper.hrl, which not every packaging of PropEr brings along.
-import(proper_types, [list/1, frequency/1, oneof/1, integer/2]).

-export([prop_nothing_is_lost_or_doubled/0, prop_one_consumer_sees_the_order/0]).
-export([prop_everybody_is_answered_in_the_end/0]).

-record(m, {
    buffer,
    max,
    %% numbers of items that were offered so far
    offered = 0,
    %% who => number
    producers = #{},
    %% who => []
    consumers = #{},
    %% who => numbers: handed over, not confirmed
    held = #{},
    accepted = [],
    refused = [],
    %% newest first
    confirmed = [],
    ended = no,
    wrong = []
}).

%% Generators ----------------------------------------------------------------------------------------------------------

events() -> list(event()).

event() ->
    frequency([
        {6, {put, oneof([wait, try_once]), integer(0, 3)}},
        {6, {take, oneof([wait, try_once]), integer(1, 4)}},
        {5, {confirm, integer(0, 20)}},
        {3, {die, integer(0, 20)}},
        {2, {leave_producer, integer(0, 20)}},
        {2, {leave_consumer, integer(0, 20)}},
        {1, finish}
    ]).

%% Properties ----------------------------------------------------------------------------------------------------------

prop_nothing_is_lost_or_doubled() ->
    Buffers = {integer(1, 5), oneof([infinity, integer(1, 6)]), events()},
    proper:forall(Buffers, fun({MaxItems, MaxBytes, Events}) ->
        M = drain(run(Events, new(MaxItems, MaxBytes))),
        Delivered = lists:sort(M#m.confirmed),
        shown(M, M#m.wrong =:= [] andalso Delivered =:= lists:sort(M#m.accepted))
    end).

%% With one consumer that confirms or gives back what it has before it takes again, the order of what
%% is confirmed is the order of what was accepted, whatever came back meanwhile.
prop_one_consumer_sees_the_order() ->
    Events = list(
        frequency([
            {4, {put, wait, 1}},
            {4, {take_and, oneof([confirm, die]), integer(1, 4)}},
            {1, finish}
        ])
    ),
    proper:forall(Events, fun(Happened) ->
        M = drain(run(Happened, new(3, infinity))),
        Confirmed = lists:reverse(M#m.confirmed),
        shown(M, Confirmed =:= lists:sort(Confirmed))
    end).

prop_everybody_is_answered_in_the_end() ->
    proper:forall({events(), oneof([finish, abort])}, fun({Events, End}) ->
        M = drain(run(Events ++ [End], new(2, infinity))),
        shown(M, M#m.producers =:= #{} andalso M#m.consumers =:= #{} andalso M#m.wrong =:= [])
    end).

shown(M, Holds) ->
    proper:whenfail(fun() -> io:format("~p~n", [M]) end, fun() -> Holds end).

%% The run -------------------------------------------------------------------------------------------------------------

new(MaxItems, MaxBytes) ->
    #m{buffer = py_port_buffer:new(MaxItems, MaxBytes), max = MaxItems}.

run(Events, M) ->
    lists:foldl(fun event/2, M, Events).

event({put, Patience, Size}, #m{offered = N, buffer = B, producers = Producers} = M) ->
    Who = make_ref(),
    M1 = M#m{offered = N + 1, producers = Producers#{Who => N}},
    effects(py_port_buffer:put(Who, N, Size, Patience, B), M1);
event({take, Patience, Max}, #m{buffer = B, consumers = Consumers} = M) ->
    Who = make_ref(),
    effects(py_port_buffer:take(Who, Max, Patience, B), M#m{consumers = Consumers#{Who => []}});
event({take_and, What, Max}, M) ->
    #m{held = Held} = M1 = event({take, try_once, Max}, M),
    case map_size(Held) of
        0 -> M1;
        _ -> event({What, 0}, M1)
    end;
event({confirm, N}, #m{held = Held, confirmed = Confirmed, buffer = B} = M) ->
    case pick(N, Held) of
        none ->
            M;
        {Who, Items, Rest} ->
            Again = [Item || Item <- Items, lists:member(Item, Confirmed)],
            M1 = M#m{held = Rest, confirmed = lists:reverse(Items, Confirmed)},
            effects(py_port_buffer:confirm(Who, B), wrong(Again =/= [], {twice, Again}, M1))
    end;
event({die, N}, #m{held = Held, buffer = B} = M) ->
    case pick(N, Held) of
        none -> M;
        {Who, _, Rest} -> effects(py_port_buffer:leave(Who, B), M#m{held = Rest})
    end;
event({leave_producer, N}, #m{producers = Producers, buffer = B} = M) ->
    case pick(N, Producers) of
        none -> M;
        {Who, _, _} -> effects(py_port_buffer:leave(Who, B), M)
    end;
event({leave_consumer, N}, #m{consumers = Consumers, buffer = B} = M) ->
    case pick(N, Consumers) of
        none -> M;
        {Who, _, _} -> effects(py_port_buffer:leave(Who, B), M)
    end;
event(finish, #m{buffer = B} = M) ->
    effects(py_port_buffer:finish(over, B), M);
event(abort, #m{buffer = B} = M) ->
    effects(py_port_buffer:abort(over, B), M).

effects({Effects, B}, M) ->
    M1 = lists:foldl(fun effect/2, M#m{buffer = B}, Effects),
    #{size := Size, unconfirmed := Out} = py_port_buffer:info(B),
    Held = lists:sum([length(Items) || Items <- maps:values(M1#m.held)]),
    Waits = map_size(M1#m.consumers) > 0 andalso Size > 0,
    wrong(Waits, consumer_waits_for_what_is_here, wrong(Held =/= Out, {held, Held, Out}, M1)).

effect({put, Who, Answer}, #m{producers = Producers} = M) ->
    case maps:take(Who, Producers) of
        {N, Rest} when Answer =:= ok -> M#m{producers = Rest, accepted = [N | M#m.accepted]};
        {N, Rest} -> M#m{producers = Rest, refused = [N | M#m.refused]};
        error -> wrong(true, {answered_twice, Who}, M)
    end;
effect({take, Who, Answer}, #m{consumers = Consumers, held = Held} = M) ->
    case {maps:take(Who, Consumers), Answer} of
        {{_, Rest}, {items, Items}} ->
            M1 = wrong(M#m.ended =:= yes, {after_the_end, Items}, M),
            M1#m{consumers = Rest, held = Held#{Who => Items}};
        {{_, Rest}, empty} -> M#m{consumers = Rest};
        {{_, Rest}, {ended, over}} -> M#m{consumers = Rest, ended = yes};
        {error, _} -> wrong(true, {answered_twice, Who}, M)
    end;
effect({left, Who}, #m{producers = Producers, consumers = Consumers} = M) ->
    Known = is_map_key(Who, Producers) orelse is_map_key(Who, Consumers),
    M1 = M#m{producers = maps:remove(Who, Producers), consumers = maps:remove(Who, Consumers)},
    wrong(not Known, {left_twice, Who}, M1).

wrong(false, _, M) -> M;
wrong(true, What, M) -> M#m{wrong = [What | M#m.wrong]}.

pick(_, Map) when map_size(Map) =:= 0 ->
    none;
pick(N, Map) ->
    Who = lists:nth(1 + N rem map_size(Map), lists:sort(maps:keys(Map))),
    {Value, Rest} = maps:take(Who, Map),
    {Who, Value, Rest}.

%% Confirms what is held and takes until there is nothing left.
drain(#m{held = Held} = M) when map_size(Held) > 0 ->
    drain(event({confirm, 0}, M));
drain(#m{buffer = B} = M) ->
    case py_port_buffer:info(B) of
        #{size := 0} -> M;
        #{} -> drain(event({take, try_once, 2}, M))
    end.
