%% @doc Event loops as users of erlang_python know them: tasks are answered, keywords arrive, and a task finds what its process
%% has defined.
-module(py_event_loop_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() -> py_port_test:cases(?MODULE) -- [define, told].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) ->
    _ = process_flag(trap_exit, true),
    ok = application:set_env(py_port, num_contexts, 2),
    Config.

end_per_testcase(_Case, Config) ->
    ok = py:stop_contexts(),
    [ok = application:unset_env(py_port, Key) || Key <- [num_contexts, compat]],
    py_port_test:end_per_testcase(Config).

%% `told' says when it begins and that it was stopped, be it in the middle of a call: from a thread, since the time of what a coroutine itself asks of
%% Erlang is over with it.
define(Loops) ->
    ok = Loops:exec(
        "import asyncio, erlang, threading\n"
        "async def double(n):\n"
        "  await asyncio.sleep(0.001)\n"
        "  return 2 * n\n"
        "async def told(to):\n"
        "  try:\n"
        "    erlang.send(to, 'begun')\n"
        "    await asyncio.sleep(3600)\n"
        "  except BaseException:\n"
        "    threading.Thread(target=erlang.send, args=(to, 'cancelled')).start()\n"
        "    raise\n"
    ).

told(What) ->
    receive
        What -> ok
    after 30000 -> error({not_told, What})
    end.

nothing_has_to_be_started(_Config) ->
    [?assertEqual(ignore, L:start_link()) || L <- [py_event_loop, py_event_loop_pool]],
    [?assertEqual(ok, L:stop()) || L <- [py_event_loop, py_event_loop_pool]],
    ?assertEqual(ok, py_event_loop:register_callbacks()).

a_coroutine_is_run(_Config) ->
    [begin
        ok = define(L),
        ?assertEqual({ok, 6}, L:run('__main__', double, [3])),
        ?assertEqual({ok, 6}, L:run('__main__', double, [], #{kwargs => #{n => 3}, timeout => 60000})),
        {ok, Loop} = L:get_loop(),
        ?assertEqual({ok, 6}, L:run(Loop, '__main__', double, [3])),
        ?assertEqual({ok, 6}, L:run(Loop, '__main__', double, [], #{kwargs => #{n => 3}})),
        ?assertEqual({ok, 2.0}, L:run(math, sqrt, [4])),
        ?assertMatch({error, {"AttributeError", _}}, L:run('__main__', nothing, [])),
        ?assertMatch({error, {bad_argument, options, _}}, L:run('__main__', double, [3], soon))
     end || L <- [py_event_loop, py_event_loop_pool]].

a_coroutine_that_takes_too_long_is_cancelled(_Config) ->
    ok = define(py_event_loop),
    ?assertEqual({error, timeout}, py_event_loop:run('__main__', told, [self()], #{timeout => 5000})),
    [ok = told(What) || What <- [<<"begun">>, <<"cancelled">>]].

keywords_of_a_task_arrive(_Config) ->
    [begin
        ok = define(L),
        ?assertEqual({ok, 6}, L:await(L:create_task('__main__', double, [3]))),
        ?assertEqual({ok, 6}, L:await(L:create_task('__main__', double, [], #{n => 3}))),
        {ok, Loop} = L:get_loop(),
        ?assertEqual({ok, 6}, L:await(L:create_task(Loop, '__main__', double, [3]), 60000)),
        ?assertEqual({ok, 6}, L:await(L:create_task(Loop, '__main__', double, [], #{n => 3})))
     end || L <- [py_event_loop, py_event_loop_pool]].

a_task_is_answered_by_one_message(_Config) ->
    ok = define(py_event_loop),
    Ref = py_event_loop:create_task('__main__', double, [3]),
    receive {async_result, Ref, Result} -> ?assertEqual({ok, 6}, Result) end,
    Failed = py_event_loop:create_task('__main__', nothing, []),
    receive {async_result, Failed, Error} -> ?assertMatch({error, {"AttributeError", _}}, Error) end,
    ?assertEqual([], py_port_test:flush()).

every_sleeper_wakes_and_every_task_is_answered(_Config) ->
    ok = define(py_event_loop),
    Refs = [{N, py_event_loop:create_task('__main__', double, [N])} || N <- lists:seq(1, 500)],
    [?assertEqual({ok, 2 * N}, py_event_loop:await(Ref, 30000)) || {N, Ref} <- Refs].

a_task_ends_with_its_process(_Config) ->
    ok = define(py_event_loop),
    Self = self(),
    Caller = py_port_test:async(fun() ->
        _ = py_event_loop:create_task('__main__', told, [Self]),
        receive never -> ok end
    end),
    ok = told(<<"begun">>),
    ok = py_port_test:kill(Caller),
    ok = told(<<"cancelled">>).

a_spawned_task_does_not(_Config) ->
    [begin
        ok = define(L),
        Self = self(),
        ok = L:exec("async def two(to):\n  erlang.send(to, 1)\n  await asyncio.sleep(0.05)\n  erlang.send(to, 2)"),
        {ok, Loop} = L:get_loop(),
        ok = py_port_test:await(py_port_test:async(fun() -> L:spawn_task(Loop, '__main__', two, [], #{to => Self}) end)),
        [ok = told(N) || N <- [1, 2]],
        ?assertEqual(ok, L:spawn_task('__main__', two, [Self])),
        [ok = told(N) || N <- [1, 2]],
        ?assertEqual(ok, L:spawn_task('__main__', two, [], #{to => Self})),
        [ok = told(N) || N <- [1, 2]]
     end || L <- [py_event_loop, py_event_loop_pool]].

a_request_names_who_is_answered(_Config) ->
    ok = define(py_event_loop),
    {ok, Loop} = py_event_loop:get_loop(),
    Request = #{ref => my_ref, caller => self(), module => '__main__', func => double, args => [], kwargs => #{n => 3}},
    ok = py_event_loop:run_async(Loop, Request),
    receive {async_result, my_ref, A} -> ?assertEqual({ok, 6}, A) end,
    ok = py_event_loop:run_async(Loop, Request#{func => nothing}),
    receive {async_result, my_ref, B} -> ?assertMatch({error, {"AttributeError", _}}, B) end,
    ok = py_event_loop_pool:run_async(Request#{module => math, func => sqrt, args => [4], kwargs => #{}}),
    receive {async_result, my_ref, C} -> ?assertEqual({ok, 2.0}, C) end,
    ?assertMatch({error, {bad_argument, request, _}}, py_event_loop:run_async(Loop, #{})).

who_starts_a_task_does_not_wait_for_the_context(Config) ->
    Go = py_port_test:marker(Config, "go"),
    Code = io_lib:format("import os, time~nwhile not os.path.exists(~p): time.sleep(0.005)", [binary_to_list(Go)]),
    ok = py_preload:set_code(Code),
    Tasks = [py_event_loop:create_task(math, sqrt, [16]), py_event_loop_pool:create_task(math, sqrt, [16])],
    Spawned = [Module:spawn_task(math, sqrt, [16]) || Module <- [py_event_loop, py_event_loop_pool]],
    ?assertEqual([], py_context_router:contexts()),
    ok = file:write_file(Go, ""),
    ?assertEqual([{ok, 4.0}, {ok, 4.0}], [py_event_loop:await(Task, 60000) || Task <- Tasks]),
    ?assertEqual([ok, ok], Spawned),
    ok = py_preload:clear_code().

a_request_with_a_key_that_there_is_not_is_refused(_Config) ->
    {ok, Loop} = py_event_loop:get_loop(),
    Request = #{ref => r, caller => self(), module => math, func => sqrt, args => [16]},
    [?assertMatch({error, {bad_argument, request, _}}, py_event_loop:run_async(Loop, Wrong))
     || Wrong <- [Request#{timeout => 1}, Request#{kwargs => #{}, kwarg => #{}}, maps:remove(ref, Request), none]],
    ok = py_event_loop:run_async(Loop, Request#{kwargs => #{}}),
    receive {async_result, r, Result} -> ?assertEqual({ok, 4.0}, Result) end.

one_loop_is_the_same_for_all_processes(_Config) ->
    {ok, Loop} = py_event_loop:get_loop(),
    ?assertEqual({ok, Loop}, py_port_test:await(py_port_test:async(fun py_event_loop:get_loop/0))).

a_process_keeps_its_loop_of_the_pool(_Config) ->
    {ok, Loop} = py_event_loop_pool:get_loop(),
    [?assertEqual({ok, Loop}, py_event_loop_pool:get_loop()) || _ <- lists:seq(1, 20)],
    ok = py_event_loop_pool:exec("mine = 1"),
    ?assertEqual({ok, 1}, py_event_loop_pool:eval("mine")),
    ?assertEqual({ok, 1}, py_event_loop_pool:eval(Loop, "mine")),
    ?assertEqual(#{num_loops => 2, running => 1}, py_event_loop_pool:get_stats()),
    ?assertEqual({ok, [Loop]}, py_event_loop_pool:get_all_loops()),
    ?assertEqual([], py_event_loop_pool:get_all_sessions()),
    ?assertEqual(false, py_event_loop_pool:is_owngil_enabled()).

each_process_has_its_own_namespace_at_4_1(_Config) ->
    ok = application:set_env(py_port, compat, '4.1'),
    ok = define(py_event_loop),
    ?assertEqual({ok, 6}, py_event_loop:run('__main__', double, [3])),
    ?assertMatch({error, {'NameError', _}}, py_port_test:await(py_port_test:async(fun() -> py_event_loop:eval("double") end))).

calls_go_on_while_a_task_waits(_Config) ->
    ok = define(py_event_loop),
    {ok, {Ctx, loop}} = py_event_loop:get_loop(),
    _ = py_event_loop:create_task('__main__', told, [self()]),
    ok = told(<<"begun">>),
    ?assertEqual({ok, 4.0}, py:call(Ctx, math, sqrt, [16])).
