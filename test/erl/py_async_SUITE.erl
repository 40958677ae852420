%% @doc Calls whose answer comes later, and many at a time: each is answered once, whoever dies, and what is said to run at the
%% same time does.
-module(py_async_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() -> py_port_test:cases(?MODULE) -- [compat, define, told, made_by_me].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) ->
    _ = process_flag(trap_exit, true),
    ok = application:set_env(py_port, num_contexts, 1),
    Config.

end_per_testcase(_Case, Config) ->
    ok = py:stop_contexts(),
    [ok = application:unset_env(py_port, Key) || Key <- [num_contexts, compat]],
    [ok = py:unregister_function(Name) || {Name, _} <- ets:tab2list(py_port_functions)],
    py_port_test:end_per_testcase(Config).

compat(Version) -> application:set_env(py_port, compat, Version).

%% Coroutines of the tests. `told' says when it begins and that it was stopped, be it in the middle of a call: from a thread, since the time of what a
%% coroutine itself asks of Erlang is over with it.
define(Ctx) ->
    ok = py:exec(Ctx,
        "import asyncio, erlang, threading\n"
        "async def double(n):\n"
        "  await asyncio.sleep(0)\n"
        "  return 2 * n\n"
        "async def fail(text):\n"
        "  await asyncio.sleep(0)\n"
        "  raise ValueError(text)\n"
        "async def told(to):\n"
        "  try:\n"
        "    erlang.send(to, 'begun')\n"
        "    await asyncio.sleep(3600)\n"
        "  except BaseException:\n"
        "    threading.Thread(target=erlang.send, args=(to, 'cancelled')).start()\n"
        "    raise\n"
        "  return 1\n"
    ).

told(What) ->
    receive
        What -> ok
    after 20000 -> error({not_told, What})
    end.

%% spawn_call --------------------------------------------------------------------------------------------------------------

the_answer_is_one_message(_Config) ->
    Ref = py:spawn_call(math, sqrt, [16]),
    receive {py_response, Ref, Answer} -> ?assertEqual({ok, 4.0}, Answer) end,
    ?assertEqual([], py_port_test:flush()).

each_form_of_spawn_call_finds_its_place(_Config) ->
    Ctx = py:context(),
    ?assertEqual({ok, 4.0}, py:await(py:spawn_call(Ctx, math, sqrt, [16]))),
    ?assertEqual({ok, 4.0}, py:await(py:spawn_call(default, math, sqrt, [16]))),
    ?assertEqual({ok, #{<<"a">> => 1}}, py:await(py:spawn_call(builtins, dict, [], #{a => 1}))),
    ?assertEqual({ok, #{<<"a">> => 1}}, py:await(py:spawn_call(Ctx, builtins, dict, [], #{a => 1}))),
    ?assertEqual({ok, #{<<"a">> => 1}}, py:await(py:spawn_call(default, builtins, dict, [], #{a => 1}))),
    ?assertEqual({ok, 4.0}, py:await(py:call_async(math, sqrt, [16]))),
    ?assertEqual({ok, #{<<"a">> => 1}}, py:await(py:call_async(builtins, dict, [], #{a => 1}))).

what_goes_wrong_is_the_answer_too(_Config) ->
    ?assertEqual({error, {no_such_pool, nowhere}}, py:await(py:spawn_call(nowhere, math, sqrt, [16]))),
    ?assertEqual({error, invalid_args}, py:await(py:spawn_call(math, sqrt, x))),
    ?assertEqual({error, {"ValueError", "math domain error"}}, py:await(py:spawn_call(math, sqrt, [-1]))),
    ?assertMatch({error, {context_died, {worker_exited, 7, _}}}, py:await(py:spawn_call(os, '_exit', [7]))).

after_a_timeout_of_the_wait_it_can_be_awaited_again(_Config) ->
    Self = self(),
    ok = py:register_function(wait, fun([]) -> Self ! {waits, self()}, receive go -> 7 end end),
    Ref = py:spawn_call(erlang, call, [wait]),
    Job = receive {waits, Pid} -> Pid end,
    ?assertEqual({error, timeout}, py:await(Ref, 0)),
    Job ! go,
    ?assertEqual({ok, 7}, py:await(Ref)).

the_end_of_the_process_that_makes_the_call_is_noticed(_Config) ->
    ok = define(py:context()),
    Before = erlang:processes(),
    Ref = py:spawn_call('__main__', told, [self()]),
    ok = told(<<"begun">>),
    [Pid] = [P || P <- erlang:processes() -- Before, made_by_me(P)],
    true = exit(Pid, kill),
    ?assertEqual({error, {context_died, killed}}, py:await(Ref)),
    ok = told(<<"cancelled">>).

made_by_me(Pid) ->
    process_info(Pid, parent) =:= {parent, self()}.

old_messages_are_understood(_Config) ->
    Ref = make_ref(),
    self() ! {py_error, Ref, no},
    ?assertEqual({error, no}, py:await(Ref)),
    ?assertMatch({error, {bad_argument, ref, _}}, py:await(not_a_reference)),
    ?assertMatch({error, {bad_argument, timeout, _}}, py:await(Ref, soon)),
    ?assertEqual({error, known}, py:await({error, known})).

%% async_call --------------------------------------------------------------------------------------------------------------

a_coroutine_is_awaited_by_either_name(_Config) ->
    ok = define(py:context()),
    ?assertEqual({ok, 6}, py:async_await(py:async_call('__main__', double, [3]))),
    ?assertEqual({ok, 6}, py:await(py:async_call('__main__', double, [], #{n => 3}))),
    ?assertEqual({ok, 6}, py:await(py:async_call(py:context(), '__main__', double, [3]))).

its_message_is_that_of_the_release(_Config) ->
    ok = define(py:context()),
    Old = py:async_call('__main__', double, [3]),
    receive {py_response, Old, A} -> ?assertEqual({ok, 6}, A) end,
    ok = compat('4.1'),
    New = py:async_call(math, sqrt, [16]),
    receive {async_result, New, B} -> ?assertEqual({ok, 4.0}, B) end.

a_coroutine_that_fails_is_told_and_does_not_hang(_Config) ->
    ok = define(py:context()),
    ?assertEqual({error, {"ValueError", "no"}}, py:async_await(py:async_call('__main__', fail, [<<"no">>]))),
    ?assertMatch({error, {"AttributeError", _}}, py:async_await(py:async_call('__main__', nothing, []))).

a_call_to_erlang_that_fails_is_told_and_does_not_hang(_Config) ->
    ?assertMatch({error, {"FunctionNotFound", _}}, py:async_await(py:async_call(erlang, async_call, [nothing]))).

a_coroutine_ends_with_its_caller(_Config) ->
    Ctx = py:context(),
    ok = define(Ctx),
    Self = self(),
    Caller = py_port_test:async(fun() -> _ = py:async_call(Ctx, '__main__', told, [Self]), receive never -> ok end end),
    ok = told(<<"begun">>),
    ok = py_port_test:kill(Caller),
    ok = told(<<"cancelled">>).

a_spawned_call_does_not_end_with_its_caller(_Config) ->
    Self = self(),
    ok = py:register_function(tell, fun([X]) -> Self ! {told, self(), X}, receive go -> ok end end),
    Caller = py_port_test:async(fun() ->
        _ = py:spawn_call(builtins, exec, [<<"import erlang\nerlang.call('tell', 1)\nerlang.call('tell', 2)">>, #{}]),
        receive never -> ok end
    end),
    First = receive {told, Pid, 1} -> Pid end,
    ok = py_port_test:kill(Caller),
    First ! go,
    receive {told, Second, 2} -> Second ! go end.

%% gather ------------------------------------------------------------------------------------------------------------------

gathered_coroutines_run_at_the_same_time(_Config) ->
    ok = py:exec(
        "import asyncio\n"
        "here = []\n"
        "async def meet(n):\n"
        "  here.append(n)\n"
        "  while len(here) < 3: await asyncio.sleep(0)\n"
        "  return n\n"
    ),
    ?assertEqual({ok, [1, 2, 3]}, py:async_gather([{'__main__', meet, [N]} || N <- [1, 2, 3]])),
    ?assertEqual({ok, []}, py:async_gather([])),
    ?assertEqual([], py_port_test:flush()).

gather_names_each_that_failed(_Config) ->
    ok = define(py:context()),
    ?assertEqual({error, {gather_failed, [{2, {"ValueError", "no"}}, {3, invalid_args}]}},
                 py:async_gather([{'__main__', double, [1]}, {'__main__', fail, [<<"no">>]}, {'__main__', double, x}])),
    ?assertEqual({error, invalid_args}, py:async_gather([not_a_call])),
    ?assertEqual({error, invalid_args}, py:async_gather(not_a_list)).

gather_takes_keywords(_Config) ->
    ok = define(py:context()),
    ?assertEqual({ok, [2]}, py:async_gather([{'__main__', double, [], #{n => 1}}])).

the_time_of_gather_is_for_all_together(_Config) ->
    ok = define(py:context()),
    ?assertMatch({error, {gather_failed, [{1, timeout}, {3, timeout}]}},
                 py:async_gather([{'__main__', told, [self()]}, {'__main__', double, [1]}, {'__main__', told, [self()]}], 5000)),
    [ok = told(What) || What <- [<<"begun">>, <<"begun">>, <<"cancelled">>, <<"cancelled">>]].

ten_thousand_coroutines_are_all_answered(_Config) ->
    ok = define(py:context()),
    Many = [{'__main__', double, [N]} || N <- lists:seq(1, 500)],
    Expected = [2 * N || N <- lists:seq(1, 500)],
    [?assertEqual({ok, Expected}, py:async_gather(Many)) || _ <- lists:seq(1, 20)].

%% parallel ----------------------------------------------------------------------------------------------------------------

%% Each call waits in its context until the other one has come too: one after the other they would wait for ever.
parallel_calls_run_at_the_same_time(_Config) ->
    ok = application:set_env(py_port, num_contexts, 2),
    Self = self(),
    ok = py:register_function(meet, fun([N]) -> Self ! {here, self()}, receive go -> N end end),
    Host = py_port_test:async(fun() -> py:parallel([{erlang, call, [meet, N]} || N <- [1, 2]]) end),
    Jobs = [receive {here, Job} -> Job end || _ <- [1, 2]],
    [Job ! go || Job <- Jobs],
    ?assertEqual({ok, [1, 2]}, py_port_test:await(Host)).

the_results_of_parallel_calls_are_in_order(_Config) ->
    ok = application:set_env(py_port, num_contexts, 2),
    ?assertEqual({ok, [N * 1.0 || N <- lists:seq(1, 50)]}, py:parallel([{math, sqrt, [N * N]} || N <- lists:seq(1, 50)])),
    ?assertEqual({ok, [#{<<"a">> => 1}]}, py:parallel([{builtins, dict, [], #{a => 1}}])),
    ?assertEqual({ok, []}, py:parallel([])),
    ?assertEqual([], py_port_test:flush()).

the_first_error_of_parallel_calls_is_that_of_all(_Config) ->
    ?assertEqual({error, {"ValueError", "math domain error"}},
                 py:parallel([{math, sqrt, [4]}, {math, sqrt, [-1]}, {math, nothing, []}])),
    ?assertEqual({error, invalid_args}, py:parallel([{math, sqrt}])).

parallel_calls_have_a_timeout(_Config) ->
    ?assertEqual({error, timeout}, py:parallel([{time, sleep, [3600]}], 100)).
