%% @doc Shared state: that nothing that was counted is lost, that the limit is exact, and that it outlives what may die.
%% @end
-module(py_state_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-import(py_port_test, [async/1, await/1, context/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- [columns].

init_per_testcase(_, Config) ->
    ok = py_port_test:start(),
    ok = py_state:clear(),
    Config.

end_per_testcase(_, Config) ->
    ok = application:unset_env(py_port, max_state_entries),
    ok = application:unset_env(erlang_python, max_state_entries),
    ok = py_state:clear(),
    py_port_test:end_per_testcase(Config).

%% Storing -------------------------------------------------------------------------------------------------------------

what_is_stored_is_fetched(_Config) ->
    ok = py_state:store(key, #{a => [1, {self()}]}),
    ?assertEqual({ok, #{a => [1, {self()}]}}, py_state:fetch(key)),
    ok = py_state:store(key, other),
    ?assertEqual({ok, other}, py_state:fetch(key)),
    ?assertEqual({error, not_found}, py_state:fetch(<<"key">>)).

any_term_is_a_key(_Config) ->
    Keys = [a, <<"a">>, "a", 1, 1.0, {1, [self()]}, make_ref(), #{a => b}, '$1', '_', {'_', '$1'}, []],
    [ok = py_state:store(Key, {value, Key}) || Key <- Keys],
    ?assertEqual([{ok, {value, Key}} || Key <- Keys], [py_state:fetch(Key) || Key <- Keys]),
    ?assertEqual([], Keys -- py_state:keys()),
    [1 = py_state:incr({count, Key}) || Key <- Keys],
    [ok = py_state:remove(Key) || Key <- Keys],
    ?assertEqual([], [{count, Key} || Key <- Keys] -- py_state:keys()),
    ?assertEqual(length(Keys), length(py_state:keys())).

removing_what_is_not_there_is_fine(_Config) ->
    ?assertEqual(ok, py_state:remove(nothing)),
    ?assertEqual(ok, py_state:clear()),
    ?assertEqual([], py_state:keys()).

%% Counters ------------------------------------------------------------------------------------------------------------

counters_go_up_and_down(_Config) ->
    ?assertEqual([1, 11, 10, 5, -5], [
        py_state:incr(n), py_state:incr(n, 10), py_state:decr(n), py_state:decr(n, 5), py_state:incr(n, -10)
    ]),
    ?assertEqual(-1, py_state:decr(m)),
    ?assertEqual({ok, -5}, py_state:fetch(n)).

what_is_no_integer_is_not_counted(_Config) ->
    ok = py_state:store(text, <<"1">>),
    ok = py_state:store(float, 1.5),
    ?assertEqual({error, not_an_integer}, py_state:incr(text)),
    ?assertEqual({error, not_an_integer}, py_state:decr(float)),
    ?assertEqual({error, not_an_integer}, py_state:incr(n, 1.0)),
    ?assertEqual({error, not_an_integer}, py_state:decr(n, many)),
    ?assertEqual([{ok, <<"1">>}, {ok, 1.5}, {error, not_found}], [py_state:fetch(K) || K <- [text, float, n]]).

%% Two processes make each of many counters at the same moment: both first increments are counted.
first_increments_race_and_none_is_lost(_Config) ->
    Rounds = lists:seq(1, 5000),
    Arrived = atomics:new(1, []),
    Count = fun(Round) ->
        ok = atomics:add(Arrived, 1, 1),
        ok = spin(Arrived, 2 * Round),
        py_state:incr({new, Round})
    end,
    Counting = [async(fun() -> lists:map(Count, Rounds) end) || _ <- [1, 2]],
    _ = [await(One) || One <- Counting],
    ?assertEqual([{ok, 2}], lists:usort([py_state:fetch({new, Round}) || Round <- Rounds])).

spin(Arrived, N) ->
    case atomics:get(Arrived, 1) >= N of
        true -> ok;
        false -> spin(Arrived, N)
    end.

four_contexts_count_from_nothing(_Config) ->
    Contexts = [context(#{}) || _ <- lists:seq(1, 4)],
    Keys = [<<"new-", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 100)],
    Counting = [async(fun() -> py_port:call(Ctx, probe_data, first_increments, [Keys]) end) || Ctx <- Contexts],
    Counted = [Numbers || One <- Counting, {ok, Numbers} <- [await(One)]],
    ?assertEqual([{ok, 4}], lists:usort([py_state:fetch(Key) || Key <- Keys])),
    %% each of them saw each number of each counter once, or somebody else did
    ?assertEqual(
        [[1, 2, 3, 4]], lists:usort([lists:sort(Column) || Column <- columns(Counted)])
    ).

columns([[] | _]) -> [];
columns(Rows) -> [[hd(Row) || Row <- Rows] | columns([tl(Row) || Row <- Rows])].

%% The limit -----------------------------------------------------------------------------------------------------------

no_more_keys_than_the_limit(_Config) ->
    ok = application:set_env(py_port, max_state_entries, 2),
    ok = py_state:store(a, 1),
    1 = py_state:incr(b),
    ?assertEqual({error, full}, py_state:store(c, 1)),
    ?assertEqual({error, full}, py_state:incr(c)),
    ?assertEqual([ok, 2], [py_state:store(a, 2), py_state:incr(b)]),
    ok = py_state:store(a, text),
    ?assertEqual({error, not_an_integer}, py_state:incr(a)),
    ok = py_state:remove(a),
    ?assertEqual(1, py_state:incr(c)).

the_limit_holds_when_many_add(_Config) ->
    ok = application:set_env(erlang_python, max_state_entries, 50),
    Adding = [async(fun() -> [py_state:store({P, N}, N) || N <- lists:seq(1, 50)] end) || P <- lists:seq(1, 4)],
    Answers = lists:append([await(One) || One <- Adding]),
    ?assertEqual(50, length(py_state:keys())),
    ?assertEqual(50, length([ok || ok <- Answers])),
    ?assertEqual([ok, {error, full}], lists:usort(Answers)).

a_limit_that_is_none_is_named(_Config) ->
    ok = application:set_env(py_port, max_state_entries, lots),
    ?assertError({bad_setting, max_state_entries, lots}, py_state:store(a, 1)).

%% What may die --------------------------------------------------------------------------------------------------------

what_is_stored_outlives_the_process_behind_it(_Config) ->
    ok = py_state:store(a, 1),
    First = whereis(py_state),
    Ref = erlang:monitor(process, First),
    true = exit(First, kill),
    receive
        {'DOWN', Ref, process, First, killed} -> ok
    end,
    ?assertEqual({ok, 1}, py_state:fetch(a)),
    ?assertEqual(ok, py_state:store(b, 2)),
    true = py_port_test:wait_until(fun() -> is_pid(whereis(py_state)) end, 10000),
    ok = application:set_env(py_port, max_state_entries, 3),
    ?assertEqual([ok, {error, full}], [py_state:store(c, 3), py_state:store(d, 4)]),
    ?assertEqual({ok, 1}, py_state:fetch(a)).

without_the_application_there_is_no_state(_Config) ->
    ok = py_state:store(a, 1),
    ok = application:stop(py_port),
    Answers = [py_state:fetch(a), py_state:store(a, 1), py_state:remove(a), py_state:keys(), py_state:clear(), py_state:incr(a)],
    ok = py_port_test:start(),
    ?assertEqual([{error, not_started}], lists:usort(Answers)),
    ?assertEqual({error, not_found}, py_state:fetch(a)).

%% Python --------------------------------------------------------------------------------------------------------------

python_shares_it(_Config) ->
    [A, B] = [context(#{}), context(#{})],
    State = fun(Ctx, Name, Args) ->
        {ok, {Class, Result}} = py_port:call(Ctx, probe_data, state, [Name | Args]),
        {Class, Result}
    end,
    ?assertEqual({<<"ok">>, none}, State(A, set, [<<"key">>, #{n => [1, {2}]}])),
    ?assertEqual({<<"ok">>, #{<<"n">> => [1, {2}]}}, State(B, get, [<<"key">>])),
    ?assertEqual({ok, #{<<"n">> => [1, {2}]}}, py_state:fetch(<<"key">>)),
    ?assertEqual({<<"ok">>, [<<"key">>]}, State(B, keys, [])),
    ?assertEqual({<<"ok">>, 3}, State(A, incr, [<<"n">>, 3])),
    ?assertEqual({<<"ok">>, 2}, State(B, decr, [<<"n">>])),
    ?assertEqual({<<"ok">>, none}, State(B, delete, [<<"key">>])),
    ?assertEqual({<<"ok">>, none}, State(A, get, [<<"key">>])),
    ?assertEqual({<<"ok">>, none}, State(A, clear, [])),
    ?assertEqual([], py_state:keys()).

a_stored_none_is_not_a_missing_key(_Config) ->
    Ctx = context(#{}),
    ok = py_state:store(<<"none">>, none),
    ?assertEqual({ok, [none, none, none]}, py_port:call(Ctx, probe_data, state_default, [<<"none">>])),
    ?assertEqual({ok, [none, <<"other">>, 7]}, py_port:call(Ctx, probe_data, state_default, [<<"missing">>])).

python_gets_exceptions(_Config) ->
    Ctx = context(#{}),
    ok = py_state:store(<<"text">>, <<"1">>),
    ok = application:set_env(py_port, max_state_entries, 1),
    [
        ?assertMatch({ok, {Class, _}}, py_port:call(Ctx, probe_data, state, Args))
     || {Class, Args} <- [
            {<<"TypeError">>, [incr, <<"text">>]},
            {<<"TypeError">>, [incr, <<"text">>, <<"1">>]},
            {<<"StateFull">>, [set, <<"new">>, 1]},
            {<<"StateFull">>, [incr, <<"new">>]}
        ]
    ].

every_thread_and_coroutine_counts(_Config) ->
    Ctx = context(#{}),
    ?assertEqual({ok, 80}, py_port:call(Ctx, probe_data, state_in_threads, [<<"t">>, 4, 20])),
    ?assertEqual({ok, 30}, py_port:call(Ctx, probe_data, state_in_coroutines, [<<"c">>, 30])),
    ?assertEqual({ok, true}, py_state:fetch(<<"seen">>)).

%% A tenant's plugin.
a_context_without_the_function_has_no_state(_Config) ->
    ok = py_state:store(<<"secret">>, 1),
    None = context(#{functions => []}),
    Reader = context(#{functions => [state_get]}),
    Get = [get, <<"secret">>],
    ?assertMatch({ok, {<<"FunctionNotFound">>, _}}, py_port:call(None, probe_data, state, Get)),
    ?assertMatch({ok, {<<"ok">>, 1}}, py_port:call(Reader, probe_data, state, Get)),
    ?assertMatch({ok, {<<"FunctionNotFound">>, _}}, py_port:call(Reader, probe_data, state, [set, <<"secret">>, 2])),
    ?assertMatch({ok, {<<"FunctionNotFound">>, _}}, py_port:call(Reader, probe_data, state, [keys])),
    ?assertEqual({ok, 1}, py_state:fetch(<<"secret">>)).

what_makes_no_sense_is_refused(_Config) ->
    Ctx = context(#{}),
    Call = fun(Args) -> py_port:call(Ctx, erlang, call, Args) end,
    [
        ?assertMatch({error, {python, #{type := <<"CallError">>, message := _}}}, Call(Args))
     || Args <- [[state_get], [state_get, a, b], [state_set, a], [state_keys, a], [state_incr], [shared_dict], [shared_dict, find, 1, a]]
    ].
