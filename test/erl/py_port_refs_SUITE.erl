%% @doc References to Python objects: what they are as arguments, who holds them, and when Python lets the object go.
%% The objects are weakly known to their module, so Python itself tells which of them still live.
%% @end
-module(py_port_refs_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-import(py_port_test, [ctx/1, context/1, kill/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE).

init_per_testcase(_, Config) ->
    ok = py_port_test:start(),
    [{ctx, context(#{})} | Config].

end_per_testcase(_, Config) ->
    py_port_test:end_per_testcase(Config).

-define(REF, #{return => ref}).

a_reference_keeps_the_object_alive_until_it_is_released(Config) ->
    Ctx = ctx(Config),
    {ok, Ref} = make(Ctx, <<"a">>),
    alive([<<"a">>], Ctx),
    ?assertMatch(#{refs := 1}, py_port:info(Ctx)),
    ok = py_port:release(Ref),
    ?assertMatch(#{refs := 0}, py_port:info(Ctx)),
    alive([], Ctx),
    %% a second time is not an error, and using it is one
    ok = py_port:release(Ref),
    ?assertMatch({error, {bad_ref, _}}, py_port:to_term(Ref)),
    ?assertMatch({error, {bad_ref, _}}, py_port:call_method(Ctx, Ref, items, [])),
    ?assertMatch({error, {bad_ref, _}}, py_port:getattr(Ctx, Ref, name)),
    ?assertMatch({error, {bad_ref, _}}, py_port:call(Ctx, probe_objects, is_thing, [Ref])),
    ?assertMatch(<<"the object reference", _/binary>>, py_port:format_error(py_port:to_term(Ref))).

methods_are_called_on_the_object(Config) ->
    Ctx = ctx(Config),
    {ok, Ref} = make(Ctx, <<"a">>),
    ?assertEqual({ok, 1}, py_port:call_method(Ctx, Ref, add, [x])),
    ?assertEqual({ok, 3}, py_port:call_method(Ctx, Ref, "add", [<<"y">>], #{times => 2})),
    ?assertEqual({ok, [<<"x">>, <<"y">>, <<"y">>]}, py_port:call_method(Ctx, Ref, <<"items">>, [])),
    ?assertEqual({ok, <<"hello you">>}, py_port:call_method(Ctx, Ref, 'child.deeper.hello', [<<"you">>])),
    {error, {python, #{type := <<"LookupError">>, message := <<"a">>}}} = py_port:call_method(Ctx, Ref, fail, []),
    {error, {python, #{type := <<"AttributeError">>}}} = py_port:call_method(Ctx, Ref, no_such, []),
    ?assertMatch({error, {bad_argument, args, _}}, py_port:call_method(Ctx, Ref, add, x)),
    ?assertMatch({error, {bad_argument, name, _}}, py_port:call_method(Ctx, Ref, 1, [])).

attributes_are_read(Config) ->
    Ctx = ctx(Config),
    {ok, Ref} = make(Ctx, <<"a">>),
    ?assertEqual({ok, <<"a">>}, py_port:getattr(Ctx, Ref, name)),
    ?assertEqual({ok, <<"deep">>}, py_port:getattr(Ctx, Ref, "child.deeper.value")),
    {ok, Child} = py_port:getattr(Ctx, Ref, child, ?REF),
    ?assertEqual({ok, <<"deep">>}, py_port:getattr(Ctx, Child, <<"deeper.value">>)),
    %% not every attribute has a counterpart
    ?assertMatch({error, {bad_term, <<"result">>, _}}, py_port:getattr(Ctx, Ref, child)),
    ?assertMatch({error, {python, #{type := <<"AttributeError">>}}}, py_port:getattr(Ctx, Ref, nothing)).

to_term_gives_the_value(Config) ->
    Ctx = ctx(Config),
    {ok, Ref} = py_port:eval(Ctx, "[1, {'k': (2, None)}]", #{}, ?REF),
    ?assertEqual({ok, [1, #{<<"k">> => {2, none}}]}, py_port:to_term(Ref)),
    {ok, Thing} = make(Ctx, <<"a">>),
    ?assertMatch({error, {bad_term, <<"result">>, _}}, py_port:to_term(Thing)),
    ?assertMatch({error, {bad_argument, timeout, _}}, py_port:to_term(Ref, #{timeout => no})).

a_reference_is_the_object_wherever_it_stands(Config) ->
    Ctx = ctx(Config),
    {ok, A} = make(Ctx, <<"a">>),
    {ok, B} = make(Ctx, <<"b">>),
    ?assertEqual({ok, true}, py_port:call(Ctx, probe_objects, is_thing, [A])),
    ?assertEqual({ok, true}, py_port:call(Ctx, probe_objects, same, [A, A])),
    ?assertEqual({ok, false}, py_port:call(Ctx, probe_objects, same, [], #{first => A, second => B})),
    Nested = [1, {A, #{<<"k">> => [B, A]}}],
    ?assertEqual({ok, [<<"a">>, <<"b">>, <<"a">>]}, py_port:call(Ctx, probe_objects, names_in, [Nested])),
    ?assertEqual({ok, [<<"b">>]}, py_port:call(Ctx, probe_objects, names_in, [#{B => 1}])),
    ?assertEqual({ok, <<"a">>}, py_port:eval(Ctx, "thing.name", #{thing => A})),
    ok = py_port:exec(Ctx, "kept = thing", #{thing => A}),
    %% and kept by Python it lives on
    ok = py_port:release(A),
    ok = py_port:release(B),
    alive([<<"a">>], Ctx).

every_way_to_a_result_can_keep_it(Config) ->
    Ctx = ctx(Config),
    {ok, A} = py_port:call(Ctx, probe_objects, make, [<<"a">>], #{}, ?REF),
    {ok, _B} = py_port:call_method(Ctx, A, make, [<<"b">>], #{}, ?REF),
    {ok, _C} = py_port:eval(Ctx, "__import__('probe_objects').make('c')", #{}, ?REF),
    {ok, _D} = py_port:call(Ctx, probe_objects, make_later, [<<"d">>], #{}, ?REF),
    alive([<<"a">>, <<"b">>, <<"c">>, <<"d">>], Ctx),
    ?assertMatch(#{refs := 4}, py_port:info(Ctx)).

the_same_object_can_be_held_twice(Config) ->
    Ctx = ctx(Config),
    {ok, A} = make(Ctx, <<"a">>),
    {ok, Again} = py_port:call(Ctx, probe_calls, identity, [A], #{}, ?REF),
    ?assertEqual({ok, true}, py_port:call(Ctx, probe_objects, same, [A, Again])),
    ok = py_port:release(A),
    ?assertEqual({ok, <<"a">>}, py_port:getattr(Ctx, Again, name)),
    ok = py_port:release(Again),
    alive([], Ctx).

the_death_of_the_holder_releases(Config) ->
    Ctx = ctx(Config),
    Holder = holder(Ctx, [<<"a">>, <<"b">>]),
    {ok, Mine} = make(Ctx, <<"c">>),
    alive([<<"a">>, <<"b">>, <<"c">>], Ctx),
    ok = kill(Holder),
    %% the owner has seen its end before it answers us
    ?assert(py_port_test:wait_until(fun() -> refs(Ctx, 1) end, 10000)),
    alive([<<"c">>], Ctx),
    ?assertEqual({ok, <<"c">>}, py_port:getattr(Ctx, Mine, name)).

an_object_that_was_given_away_belongs_to_its_new_holder(Config) ->
    Ctx = ctx(Config),
    Receiver = spawn_monitor(fun() -> receive stop -> ok end end),
    {Giver, Monitor} = spawn_monitor(fun() ->
        {ok, Ref} = make(Ctx, <<"a">>),
        ok = py_port:give_away(Ref, element(1, Receiver)),
        exit({given, Ref})
    end),
    Ref =
        receive
            {'DOWN', Monitor, process, Giver, {given, R}} -> R
        end,
    ?assertEqual({ok, <<"a">>}, py_port:getattr(Ctx, Ref, name)),
    ok = kill(Receiver),
    ?assert(py_port_test:wait_until(fun() -> refs(Ctx, 0) end, 10000)),
    alive([], Ctx),
    ?assertMatch({error, {bad_ref, _}}, py_port:give_away(Ref, self())),
    ?assertMatch({error, {bad_argument, to, _}}, py_port:give_away(Ref, nobody)).

giving_to_the_dead_releases(Config) ->
    Ctx = ctx(Config),
    {Dead, Monitor} = spawn_monitor(fun() -> ok end),
    receive
        {'DOWN', Monitor, process, Dead, _} -> ok
    end,
    {ok, Ref} = make(Ctx, <<"a">>),
    ok = py_port:give_away(Ref, Dead),
    ?assert(py_port_test:wait_until(fun() -> refs(Ctx, 0) end, 10000)),
    alive([], Ctx).

a_reference_of_an_earlier_life_is_refused(_Config) ->
    Old = context(#{name => py_port_refs_again}),
    {ok, Ref} = make(Old, <<"a">>),
    ok = py_port:stop_context(Old),
    New = context(#{name => py_port_refs_again}),
    {ok, _} = make(New, <<"b">>),
    ?assertMatch({error, {bad_ref, _}}, py_port:call_method(New, Ref, items, [])),
    ?assertMatch({error, {bad_ref, _}}, py_port:call(New, probe_objects, is_thing, [Ref])),
    ?assertMatch({error, {bad_ref, _}}, py_port:call(New, probe_objects, names_in, [[{Ref}]])),
    ?assertMatch({error, {worker_down, noproc}}, py_port:to_term(Ref)),
    %% there is nothing left to release
    ?assertEqual(ok, py_port:release(Ref)),
    ?assertMatch({error, {worker_down, noproc}}, py_port:give_away(Ref, self())).

a_reference_of_another_context_is_refused(Config) ->
    Other = context(#{}),
    {ok, Ref} = make(Other, <<"a">>),
    ?assertMatch({error, {bad_ref, _}}, py_port:getattr(ctx(Config), Ref, name)),
    ?assertMatch({error, {bad_ref, _}}, py_port:call(ctx(Config), probe_objects, is_thing, [Ref])),
    ?assertEqual({ok, <<"a">>}, py_port:getattr(Other, Ref, name)).

a_call_that_fails_keeps_nothing(Config) ->
    Ctx = ctx(Config),
    {error, {python, _}} = py_port:call(Ctx, probe_calls, raise_plain, [], #{}, ?REF),
    {error, {python, _}} = py_port:call(Ctx, probe_calls, failing_coroutine, [], #{}, ?REF),
    ?assertMatch(#{refs := 0}, py_port:info(Ctx)).

a_result_that_comes_too_late_is_not_kept(Config) ->
    Ctx = ctx(Config),
    Opts = #{return => ref, timeout => 1},
    [_ = py_port:call(Ctx, probe_objects, make, [integer_to_binary(N)], #{}, Opts) || N <- lists:seq(1, 100)],
    %% what came in time is held by us
    ok = py_port:exec(Ctx, "pass"),
    #{refs := Kept} = py_port:info(Ctx),
    Alive = fun() -> element(2, py_port:call(Ctx, probe_objects, names, [])) end,
    ?assert(py_port_test:wait_until(fun() -> length(Alive()) =:= Kept end, 10000)).

a_thousand_references_come_and_go(Config) ->
    Ctx = ctx(Config),
    Refs = [element(2, make(Ctx, integer_to_binary(N))) || N <- lists:seq(1, 1000)],
    ?assertMatch(#{refs := 1000}, py_port:info(Ctx)),
    [ok = py_port:release(R) || R <- Refs],
    alive([], Ctx),
    ?assertMatch(#{refs := 0}, py_port:info(Ctx)).

%% Helpers -----------------------------------------------------------------------------------------------------------

make(Ctx, Name) -> py_port:call(Ctx, probe_objects, make, [Name], #{}, ?REF).

%% A release goes through the owner and its writer. The answer of the first call comes after the owner has seen the
%% release, the pong after the writer has written it: the second call is behind it in the pipe.
alive(Names, Ctx) ->
    {ok, _} = py_port:call(Ctx, probe_objects, names, []),
    pong = py_port:ping(Ctx),
    ?assertEqual({ok, Names}, py_port:call(Ctx, probe_objects, names, [])).

refs(Ctx, N) ->
    #{refs := Refs} = py_port:info(Ctx),
    Refs =:= N.

holder(Ctx, Names) ->
    Self = self(),
    Holder = spawn_monitor(fun() ->
        [{ok, _} = make(Ctx, Name) || Name <- Names],
        Self ! {self(), ready},
        receive stop -> ok end
    end),
    receive
        {Pid, ready} when Pid =:= element(1, Holder) -> Holder
    end.
