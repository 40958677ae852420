%% What late answers mean, without a worker: each rule of the ladder alone.
-module(py_port_ladder_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0]).
-export([
    late_answer_stops_once/1,
    how_it_ended_names_the_step/1,
    object_of_a_late_answer_is_released/1,
    answer_twice_is_broken/1,
    id_never_issued_is_broken/1,
    unknown_without_a_cancel_is_broken/1,
    unknown_after_the_answer_is_ignored/1,
    overtaken_request_may_be_answered_once/1,
    overtaken_requests_are_bounded/1,
    overdue_is_for_those_that_have_not_ended/1,
    one_behind_another_call_is_asked_again_while_there_is_such_a_call/1,
    more_words_than_questions_are_broken/1,
    a_word_that_is_late_takes_no_time_away/1
]).

all() ->
    [
        late_answer_stops_once,
        how_it_ended_names_the_step,
        object_of_a_late_answer_is_released,
        answer_twice_is_broken,
        id_never_issued_is_broken,
        unknown_without_a_cancel_is_broken,
        unknown_after_the_answer_is_ignored,
        overtaken_request_may_be_answered_once,
        overtaken_requests_are_bounded,
        overdue_is_for_those_that_have_not_ended,
        one_behind_another_call_is_asked_again_while_there_is_such_a_call,
        more_words_than_questions_are_broken,
        a_word_that_is_late_takes_no_time_away
    ].

-define(UNKNOWN, {ended, 3}).
-define(LAST, 100000).

late_answer_stops_once(_Config) ->
    {Timer, L} = stopping(17),
    ?assertEqual(1, py_port_ladder:size(L)),
    {ok, Todo, L1} = late(value, 17, L),
    Outcome = #{id => 17, why => timeout, what => {m, f}, step => finished, after_ms => 250},
    ?assertEqual([{stopped, Outcome, Timer}], Todo),
    ?assertEqual(0, py_port_ladder:size(L1)).

how_it_ended_names_the_step(_Config) ->
    Steps = [{value, finished}, {{ref, 5}, finished}, {{ended, 0}, dropped}, {{ended, 1}, cancelled}, {{ended, 2}, dropped}] ++
        [{?UNKNOWN, dropped}],
    [
        begin
            {_, L} = stopping(17),
            ?assertMatch({Late, {ok, [{stopped, #{step := Step}, _} | _], _}}, {Late, late(Late, 17, L)})
        end
     || {Late, Step} <- Steps
    ].

object_of_a_late_answer_is_released(_Config) ->
    {_, L} = stopping(17),
    ?assertMatch({ok, [{stopped, _, _}, {release, 99}], _}, late({ref, 99}, 17, L)),
    {ok, [{stopped, _, _}], L1} = late(?UNKNOWN, 17, L),
    ?assertMatch({ok, [{release, 99}], _}, late({ref, 99}, 17, L1)).

answer_twice_is_broken(_Config) ->
    ?assertEqual({broken, {answered_twice, 17}}, late(value, 17, new())),
    {_, L} = stopping(17),
    {ok, _, L1} = late(value, 17, L),
    [?assertEqual({broken, {answered_twice, 17}}, late(Late, 17, L1)) || Late <- [value, {ref, 1}, {ended, 0}, {ended, 1}]].

id_never_issued_is_broken(_Config) ->
    {_, L} = stopping(17),
    [
        ?assertEqual({broken, {id_never_issued, ?LAST + 1}}, late(Late, ?LAST + 1, L))
     || Late <- [value, {ref, 1}, {ended, 1}, ?UNKNOWN]
    ],
    ?assertEqual({broken, {answered_twice, ?LAST}}, late(value, ?LAST, L)).

unknown_without_a_cancel_is_broken(_Config) ->
    ?assertEqual({broken, {unexpected_frame, ended}}, late(?UNKNOWN, 17, new())),
    %% One CANCEL, one such answer.
    {_, L} = stopping(17),
    {ok, _, L1} = late(?UNKNOWN, 17, L),
    ?assertEqual({broken, {unexpected_frame, ended}}, late(?UNKNOWN, 17, L1)).

%% The answer and the CANCEL have passed each other.
unknown_after_the_answer_is_ignored(_Config) ->
    {_, L} = stopping(17),
    {ok, _, L1} = late(value, 17, L),
    {ok, [], L2} = late(?UNKNOWN, 17, L1),
    %% It was answered, and it stays so.
    ?assertEqual({broken, {answered_twice, 17}}, late(value, 17, L2)).

overtaken_request_may_be_answered_once(_Config) ->
    [
        begin
            {_, L} = stopping(17),
            {ok, [{stopped, #{step := dropped}, _}], L1} = late(?UNKNOWN, 17, L),
            {ok, [], L2} = late(Late, 17, L1),
            ?assertEqual({broken, {answered_twice, 17}}, late(Late, 17, L2)),
            %% of another request nothing is known
            ?assertEqual({broken, {answered_twice, 18}}, late(Late, 18, L1))
        end
     || Late <- [value, {ended, 0}, {ended, 2}]
    ].

%% Of those whose callers died on the full pipe, no answer ever comes.
overtaken_requests_are_bounded(_Config) ->
    Bound = 4096,
    Full = lists:foldl(fun overtaken/2, new(), lists:seq(1, Bound)),
    {ok, [], _} = late(value, 1, Full),
    Over = overtaken(Bound + 1, Full),
    ?assertEqual({broken, {answered_twice, 1}}, late(value, 1, Over)),
    ?assertEqual({broken, {answered_twice, Bound div 2}}, late(value, Bound div 2, Over)),
    [?assertMatch({ok, [], _}, late(value, Id, Over)) || Id <- [Bound div 2 + 1, Bound, Bound + 1]],
    %% A context with room for more requests remembers more of them.
    Large = lists:foldl(fun overtaken/2, py_port_ladder:new(Bound), lists:seq(1, Bound + 1)),
    ?assertMatch({ok, [], _}, late(value, 1, Large)).

overdue_is_for_those_that_have_not_ended(_Config) ->
    {_, L} = stopping(17),
    Overdue = last_quarter(17, L),
    ?assertMatch({#{id := 17, step := killed, after_ms := 250}, timeout}, py_port_ladder:overdue({17, 1250}, false, Overdue)),
    ?assertEqual(error, py_port_ladder:overdue({18, 1250}, false, L)),
    {ok, _, L1} = late(value, 17, L),
    ?assertEqual(error, py_port_ladder:overdue({17, 1250}, false, L1)).

%% Nothing is heard of it in the first three.
last_quarter(Id, Ladder) ->
    lists:foldl(
        fun(_, L) ->
            ?assertEqual(again, py_port_ladder:overdue({Id, 1100}, true, L)),
            py_port_ladder:asked_again(Id, make_ref(), true, L)
        end,
        Ladder,
        [1, 2, 3]
    ).

new() ->
    py_port_ladder:new(100).

stopping(Id) ->
    Timer = make_ref(),
    {Timer, add(Id, Timer, new())}.

add(Id, Timer, Ladder) ->
    py_port_ladder:add(Id, {timeout, {m, f}}, 1000, Timer, Ladder).

overtaken(Id, Ladder) ->
    {ok, _, Ladder1} = late(?UNKNOWN, Id, add(Id, make_ref(), Ladder)),
    Ladder1.

late(Late, Id, Ladder) ->
    py_port_ladder:late(Late, Id, #{last_issued => ?LAST, now => 1250}, Ladder).

one_behind_another_call_is_asked_again_while_there_is_such_a_call(_Config) ->
    Facts = #{last_issued => 20, now => 1100},
    L = last_quarter(17, py_port_ladder:add(17, {timeout, f}, 1000, make_ref(), py_port_ladder:new(10))),
    {ok, [], Deferred} = py_port_ladder:late({ended, 4}, 17, Facts, L),
    ?assertEqual(again, py_port_ladder:overdue({17, 1250}, true, Deferred)),
    %% The call before it may have ended a moment ago: it gets the whole of its time, but no more than that.
    ?assertEqual(again, py_port_ladder:overdue({17, 1250}, false, Deferred)),
    {ok, [], Last} = py_port_ladder:late({ended, 4}, 17, Facts, py_port_ladder:asked_again(17, make_ref(), false, Deferred)),
    ?assertMatch({#{step := killed}, timeout}, py_port_ladder:overdue({17, 1500}, false, Last)),
    ?assertEqual(again, py_port_ladder:overdue({17, 1500}, true, Last)),
    Again = py_port_ladder:asked_again(17, make_ref(), true, Deferred),
    ?assertMatch({#{step := killed}, timeout}, py_port_ladder:overdue({17, 1500}, true, Again)),
    {ok, [], Twice} = py_port_ladder:late({ended, 4}, 17, Facts, Again),
    {ok, [{stopped, #{step := cancelled}, _}], _} = py_port_ladder:late({ended, 1}, 17, Facts, Twice).

%% No CANCEL is answered so more than once.
more_words_than_questions_are_broken(_Config) ->
    Facts = #{last_issued => 20, now => 1100},
    L = py_port_ladder:add(17, {timeout, f}, 1000, make_ref(), py_port_ladder:new(10)),
    {ok, [], Deferred} = py_port_ladder:late({ended, 4}, 17, Facts, L),
    ?assertMatch({broken, _}, py_port_ladder:late({ended, 4}, 17, Facts, Deferred)).

%% A busy machine: the word on a quarter comes in the next one, and counts for it all the same.
a_word_that_is_late_takes_no_time_away(_Config) ->
    Facts = #{last_issued => 20, now => 1100},
    Add = fun() -> py_port_ladder:add(17, {timeout, f}, 1000, make_ref(), py_port_ladder:new(10)) end,
    Quarter = fun(L) -> py_port_ladder:asked_again(17, make_ref(), true, L) end,
    Word = fun(L) -> {ok, [], L1} = py_port_ladder:late({ended, 4}, 17, Facts, L), L1 end,
    L = lists:foldl(fun(_, L) -> Word(Word(Quarter(Quarter(L)))) end, Add(), lists:seq(1, 10)),
    last_quarter(17, L).
