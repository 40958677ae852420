%% @doc Contexts as users of erlang_python start and call them.
%% @end
-module(py_context_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- [result].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) ->
    ok.

end_per_testcase(_Case, Config) ->
    py_port_test:end_per_testcase(Config).

start() ->
    {ok, Ctx} = py_context:start_link(1, auto, #{path => [py_port_test:data_dir()]}),
    Ctx.

%% Starting and stopping -----------------------------------------------------------------------------------------------

every_mode_is_a_process(_Config) ->
    Modes = [auto, subinterp, worker, owngil, multi_executor],
    Contexts = [begin {ok, Ctx} = py_context:start_link(M, M), Ctx end || M <- Modes],
    Ids = [begin {ok, Id} = py_context:get_interp_id(Ctx), Id end || Ctx <- Contexts],
    ?assertEqual(5, length(lists:usort(Ids))),
    ?assert(lists:all(fun py_port_test:os_alive/1, Ids)),
    ?assertEqual([true], lists:usort([py_context:is_subinterp(Ctx) || Ctx <- Contexts])),
    ?assertEqual([ok], lists:usort([py_context:stop(Ctx) || Ctx <- Contexts])),
    ?assertNot(lists:any(fun py_port_test:os_alive/1, Ids)).

what_is_wrong_is_named_and_kills_nobody(_Config) ->
    ?assertMatch({error, {bad_option, mode, _}}, py_context:start_link(1, fast)),
    ?assertMatch({error, {bad_option, options, _}}, py_context:start_link(1, auto, [])),
    ?assertMatch({error, {bad_option, options, _}}, py_context:new([])),
    ?assertMatch({error, {bad_option, name, _}}, py_context:new(#{name => x})),
    ?assertMatch({error, {bad_option, colour, _}}, py_context:new(#{colour => red})),
    ?assertMatch({error, {bad_option, preload, _}}, py_context:new(#{preload => 1})),
    ?assertMatch({error, {bad_option, {limits, memory}, _}}, py_context:new(#{memory_limit => lots})).

new_takes_all_options(_Config) ->
    {ok, Ctx} = py_context:new(#{
        mode => worker, preload => "a = 1\nb = a + 1", init => <<"c = 3">>, memory_limit => 1 bsl 30, env => #{'X' => <<"y">>}
    }),
    ?assertEqual({ok, {2, 3}}, py_context:eval(Ctx, "(b, c)")),
    ?assertEqual({ok, <<"y">>}, py_context:eval(Ctx, "__import__('os').environ['X']")),
    ?assertMatch({error, {"MemoryError", _}}, py_context:eval(Ctx, "len(bytearray(1 << 31))")),
    ok = py_context:destroy(Ctx).

what_holds_for_all_contexts_holds_for_one(_Config) ->
    Common = #{init => {code, "x = 1"}, venv => <<"/v">>, path => [<<"/c">>], limits => #{files => 100}, sandbox => audit},
    Own = #{init => {module, json}, python => "3.12", path => ["/o"], memory_limit => 5},
    {ok, Made} = py_context_options:make(auto, Own, Common),
    ?assertEqual(
        #{python => "3.12", path => ["/o", <<"/c">>], limits => #{files => 100, memory => 5}, sandbox => audit},
        maps:remove(init, Made)
    ),
    {code, Code} = maps:get(init, Made),
    ?assertEqual("x = 1\n__import__(\"importlib\").import_module(\"json\")", lists:flatten(io_lib:format("~ts", [Code]))),
    ?assertEqual({ok, Common}, py_context_options:make(auto, #{mode => auto}, Common)).

a_context_ends_with_who_started_it(_Config) ->
    Self = self(),
    {Pid, Ref} = spawn_monitor(fun() ->
        Self ! {ctx, start()},
        receive go -> exit(enough) end
    end),
    Ctx = receive {ctx, C} -> C end,
    Down = monitor(process, Ctx),
    Pid ! go,
    receive {'DOWN', Ref, process, Pid, _} -> ok end,
    receive {'DOWN', Down, process, Ctx, _} -> ok end.

stopping_what_is_gone_is_ok(_Config) ->
    Ctx = start(),
    ?assertEqual([ok, ok], [py_context:stop(Ctx), py_context:stop(Ctx)]),
    ?assertEqual(ok, py_context:stop(not_there)),
    ?assertEqual(ok, py_context:stop({no, context, 1})).

%% Calls ---------------------------------------------------------------------------------------------------------------

calls_of_every_arity(_Config) ->
    Ctx = start(),
    ?assertEqual({ok, 4.0}, py_context:call(Ctx, math, sqrt, [16])),
    ?assertEqual({ok, 4.0}, py_context:call(Ctx, <<"math">>, "sqrt", [16])),
    ?assertEqual({ok, <<"[1]">>}, py_context:call(Ctx, json, dumps, [[1]], #{indent => none})),
    ?assertEqual({ok, 10}, py_context:call(Ctx, builtins, int, [<<"1010">>], #{<<"base">> => 2}, 5000)),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, "1 + 1")),
    ?assertEqual({ok, 3}, py_context:eval(Ctx, <<"x + 1">>, #{x => 2})),
    ?assertEqual({ok, 3}, py_context:eval(Ctx, "x + 1", #{x => 2}, 5000)),
    ?assertEqual(ok, py_context:exec(Ctx, "y = 5")),
    ?assertEqual({ok, 5}, py_context:eval(Ctx, "y")),
    ?assertEqual({error, timeout}, py_context:eval(Ctx, "__import__('time').sleep(3600)", #{}, 50)),
    ?assertMatch({error, {"ZeroDivisionError", _}}, py_context:eval(Ctx, "1/0")),
    ?assertMatch({error, {"ValueError", _}}, py_context:call(Ctx, math, sqrt, [-1])),
    ?assertMatch({error, {"NameError", _}}, py_context:exec(Ctx, "nope")).

a_namespace_of_ones_own(_Config) ->
    Ctx = start(),
    {ok, Env} = py_port:new_env(Ctx),
    ?assertEqual(ok, py_context:exec(Ctx, "def f(x): return x * 2", Env)),
    ?assertEqual({ok, 6}, py_context:eval(Ctx, "f(x)", #{x => 3}, 5000, Env)),
    ?assertEqual({ok, 8}, py_context:call(Ctx, '__main__', f, [4], #{}, 5000, Env)),
    ?assertMatch({error, {"NameError", _}}, py_context:eval(Ctx, "f")).

objects_that_stay_in_python(_Config) ->
    Ctx = start(),
    {ok, Ref} = py_port:call(Ctx, collections, 'Counter', [<<"aab">>], #{}, #{return => ref}),
    ?assertEqual({ok, [{<<"a">>, 2}]}, py_context:call_method(Ctx, Ref, most_common, [1])),
    ?assertEqual({ok, #{<<"a">> => 2, <<"b">> => 1}}, py_context:to_term(Ref)).

a_context_that_is_gone_has_died(_Config) ->
    Ctx = start(),
    true = unlink(Ctx),
    ?assertMatch({error, {context_died, {worker_exited, 7, _}}}, py_context:exec(Ctx, "import os; os._exit(7)")),
    ?assertEqual({error, {context_died, noproc}}, py_context:call(Ctx, math, sqrt, [1])),
    ?assertEqual({error, {context_died, noproc}}, py_context:get_interp_id(Ctx)),
    ?assertEqual({error, {context_died, noproc}}, py_context:interrupt(Ctx)).

what_runs_can_be_interrupted(Config) ->
    Ctx = start(),
    ?assertEqual(not_running, py_context:interrupt(Ctx)),
    Marker = py_port_test:marker(Config, "busy"),
    Call = py_port_test:async(fun() -> py_context:call(Ctx, probe_calls, sleep_long, [Marker]) end),
    ok = py_port_test:await_file(Marker),
    ?assertEqual(ok, py_context:interrupt(Ctx)),
    ?assertMatch({error, interrupted}, py_port_test:await(Call)).

%% Loops ---------------------------------------------------------------------------------------------------------------

what_is_submitted_answers_by_message(_Config) ->
    Ctx = start(),
    ok = py_context:start_loop(Ctx),
    ?assertEqual({error, loop_running}, py_context:start_loop(Ctx)),
    {ok, A} = py_context:submit(Ctx, asyncio, sleep, [0.001], #{result => 7}),
    {ok, B} = py_context:submit(Ctx, math, sqrt, [-1]),
    ?assertEqual({ok, 7}, result(A)),
    ?assertMatch({error, {"ValueError", _}}, result(B)),
    %% Calls go on beside it.
    ?assertEqual({ok, 1}, py_context:eval(Ctx, "1")),
    ?assertEqual({ok, 8}, py_context:submit_await(Ctx, asyncio, sleep, [0, 8])),
    ?assertEqual({error, timeout}, py_context:submit_await(Ctx, asyncio, sleep, [3600], #{}, 50)),
    ?assertMatch({error, _}, py_context:submit(Ctx, math, sqrt, 1)),
    ?assertEqual(ok, py_context:stop_loop(Ctx)),
    ?assertEqual({py_loop_exit, Ctx, ok}, exit_message()),
    ?assertEqual({error, no_loop}, py_context:stop_loop(Ctx)).

stopping_a_loop_cancels_what_does_not_end(_Config) ->
    Ctx = start(),
    ok = py_context:start_loop(Ctx, #{owner => self()}),
    {ok, Long} = py_context:submit(Ctx, asyncio, sleep, [3600]),
    ?assertEqual(ok, py_context:stop_loop(Ctx, 100)),
    ?assertEqual({error, cancelled}, result(Long)),
    ?assertEqual({py_loop_exit, Ctx, ok}, exit_message()).

a_loop_waits_for_what_ends_in_time(_Config) ->
    Ctx = start(),
    ok = py_context:start_loop(Ctx),
    {ok, Short} = py_context:submit(Ctx, asyncio, sleep, [0.05, 3]),
    ?assertEqual(ok, py_context:stop_loop(Ctx, 60000)),
    ?assertEqual({ok, 3}, result(Short)),
    ?assertEqual({py_loop_exit, Ctx, ok}, exit_message()).

a_loop_tells_that_its_context_died(_Config) ->
    Ctx = start(),
    true = unlink(Ctx),
    ok = py_context:start_loop(Ctx),
    {ok, Lost} = py_context:submit(Ctx, asyncio, sleep, [3600]),
    {error, _} = py_context:exec(Ctx, "import os; os._exit(7)"),
    ?assertMatch({error, {context_died, {worker_exited, 7, _}}}, result(Lost)),
    ?assertMatch({py_loop_exit, Ctx, {error, {context_died, _}}}, exit_message()),
    ?assertEqual({error, {context_died, noproc}}, py_context:start_loop(nobody)),
    ?assertEqual({error, {context_died, noproc}}, py_context:start_loop(Ctx)),
    ?assertMatch({error, {bad_argument, options, _}}, py_context:start_loop(Ctx, nobody)),
    {ok, Late} = py_context:submit(Ctx, asyncio, sleep, [1]),
    ?assertEqual({error, {context_died, noproc}}, result(Late)).

a_loop_outlives_a_wrong_stop_and_is_not_in_the_way_when_it_is_killed(_Config) ->
    Ctx = start(),
    ok = py_context:start_loop(Ctx),
    [?assertMatch({error, {bad_argument, grace, _}}, py_context:stop_loop(Ctx, Bad)) || Bad <- [soon, -1, 1 bsl 40, 1.5]],
    ?assertEqual({error, loop_running}, py_context:start_loop(Ctx)),
    [{Ctx, Loop}] = ets:lookup(py_context_loops, Ctx),
    ok = py_port_test:kill({Loop, erlang:monitor(process, Loop)}),
    ?assertEqual({error, no_loop}, py_context:stop_loop(Ctx)),
    ok = py_context:start_loop(Ctx),
    ?assertEqual(ok, py_context:stop_loop(Ctx)),
    ?assertEqual({py_loop_exit, Ctx, ok}, exit_message()),
    ?assertEqual([], ets:tab2list(py_context_loops)),
    ?assertMatch({error, {bad_argument, options, _}}, py_context:start_loop(Ctx, #{ownr => self()})),
    ?assertMatch({error, {bad_argument, options, _}}, py_context:start_loop(Ctx, #{owner => self(), grace => 1})).

a_loop_outlives_its_code_and_makes_room_before_it_says_that_it_stopped(_Config) ->
    Ctx = start(),
    ok = py_context:start_loop(Ctx),
    _ = code:purge(py_context_loop),
    {module, _} = code:load_file(py_context_loop),
    ?assertEqual(false, code:purge(py_context_loop)),
    Again = fun(_) ->
        ?assertEqual(ok, py_context:stop_loop(Ctx)),
        ?assertEqual(ok, py_context:start_loop(Ctx))
    end,
    lists:foreach(Again, lists:seq(1, 100)),
    ?assertEqual(ok, py_context:stop_loop(Ctx)),
    _ = [?assertEqual({py_loop_exit, Ctx, ok}, exit_message()) || _ <- lists:seq(1, 101)],
    ok.

a_loop_tells_that_the_application_stopped(_Config) ->
    {ok, Ctx} = py_context_sup:start_context(1, worker),
    ok = py_context:start_loop(Ctx),
    ok = application:stop(py_port),
    ?assertMatch({py_loop_exit, Ctx, {error, {context_died, _}}}, exit_message()),
    ok = py_port_test:start().

%% Pasted into other code it would be code.
the_name_of_a_module_stays_one(_Config) ->
    ok = py_import:add_path("/"),
    Module = <<"os\") or print(\"x">>,
    {error, {start_failed, #{what := init, error := Why}}} = py_context:new(#{init => {module, Module}}),
    ?assertMatch({python, #{type := <<"ModuleNotFoundError">>}}, Why),
    {ok, Ctx} = py_context:new(#{init => {module, json}}),
    ?assertEqual({ok, true}, py_context:eval(Ctx, "'json' in __import__('sys').modules")),
    ok = py_context:stop(Ctx),
    ?assertMatch({error, {bad_option, init, _}}, py_context:new(#{init => {module, [1, 2, foo]}})),
    ?assertMatch({error, {bad_option, init, _}}, py_context:new(#{init => {module, [1, 2, foo]}, preload => "x = 1"})),
    ok = py_import:clear_paths().

who_submits_and_dies_takes_it_along(Config) ->
    Ctx = start(),
    {Running, Cleaned} = {py_port_test:marker(Config, "running"), py_port_test:marker(Config, "cleaned")},
    Caller = spawn(fun() ->
        {ok, _} = py_context:submit(Ctx, probe_calls, loop_and_clean_up, [Running, Cleaned]),
        receive never -> ok end
    end),
    ok = py_port_test:await_file(Running),
    true = exit(Caller, kill),
    ok = py_port_test:await_file(Cleaned).

result(Ref) ->
    receive {async_result, Ref, Result} -> Result after 30000 -> error(no_result) end.

exit_message() ->
    receive {py_loop_exit, _, _} = Message -> Message after 30000 -> error(no_message) end.

%% The supervisor, and what stands in one ------------------------------------------------------------------------------

a_context_of_the_supervisor_outlives_its_starter(_Config) ->
    {ok, Ctx} = py_port_test:await(py_port_test:async(fun() -> py_context_sup:start_context(1, worker) end)),
    ?assertEqual({ok, 4.0}, py_context:call(Ctx, math, sqrt, [16])),
    ?assertEqual([Ctx], py_context_sup:which_contexts()),
    ?assertMatch({error, {bad_option, mode, _}}, py_context_sup:start_context(1, fast)),
    ok = py_context_sup:stop_context(Ctx),
    ?assertEqual([], py_context_sup:which_contexts()).

the_default_pool_can_be_there_from_the_beginning(_Config) ->
    ok = application:set_env(py_port, num_contexts, 2),
    try
        ?assertEqual(ignore, py_context_init:start_link()),
        ?assertEqual(2, py_context_router:num_contexts()),
        ?assertEqual([], py_context_router:contexts()),
        ok = py_context_router:stop(),
        ?assertEqual(ignore, py_context_init:start_link(#{start => eager})),
        ?assertEqual(2, length(py_context_router:contexts()))
    after
        ok = py_context_router:stop(),
        ok = application:unset_env(py_port, num_contexts)
    end.
