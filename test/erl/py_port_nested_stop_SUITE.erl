%% @doc Requests that stand in each other's way, in threads and loops: none waits for ever, and each can be stopped by a gentle
%% step, without an end of its worker.
%% @end
-module(py_port_nested_stop_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(py_port_test, [async/1, await/1, ctx/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- [running, killed, running_for, last_step, waiting].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) ->
    ok.

%% Nothing may come to the point at which the worker is killed.
init_per_testcase(_Case, Config) ->
    [{ctx, py_port_test:context(#{name => mix_one, io => null, kill_after => 600000})} | Config].

end_per_testcase(_Case, Config) ->
    lists:foreach(fun py_port:unregister_function/1, [down, outer, middle, inner]),
    ok = py_port_mix:unregister(),
    py_port_test:end_per_testcase(Config).

python(Config, Function, Args, Opts) ->
    py_port:call(ctx(Config), probe_reentry, Function, Args, #{}, Opts).

waiting(Name) ->
    Test = self(),
    ok = py_port:register_function(Name, fun([]) ->
        Test ! {running, self(), Name},
        receive
            {go, What} -> What()
        end
    end).

running(Name) ->
    receive
        {running, Pid, Name} -> Pid
    after 60000 -> error({never_ran, Name})
    end.

killed(Pid) ->
    Ref = erlang:monitor(process, Pid),
    true = exit(Pid, kill),
    receive
        {'DOWN', Ref, process, Pid, _} -> ok
    end.

%% The step by which the last request was stopped, when none is being stopped any more and nothing else is left.
last_step(Config) ->
    Ctx = ctx(Config),
    ?assert(py_port_test:wait_until(
        fun() -> maps:with([in_flight, stopping, callbacks, tasks, awaited], py_port:info(Ctx)) =:= none_left() end, 60000
    )),
    #{last_stop := #{step := Step}} = py_port:info(Ctx),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    Step.

none_left() -> #{in_flight => 0, stopping => 0, callbacks => 0, tasks => 0, awaited => 0}.

%% Each of them holds one thread until the next has run; the pool has fewer.
nested_calls_in_threads_do_not_wait_for_the_pool(Config) ->
    ok = py_port:register_function(down, fun([N]) ->
        {ok, Value} = python(Config, down, [N], #{thread => true}),
        Value
    end),
    ?assertEqual({ok, 60}, python(Config, down, [60], #{thread => true})).

%% Its answer is written although the main thread sleeps.
a_coroutine_below_a_coroutine_in_a_thread_is_answered(_Config) ->
    ok = py_port_mix:register(),
    Hops = [{thread, own}, {task, own}, {task, child}],
    {Outcome, Token} = py_port_mix:happen({journey, Hops, [], 10, infinity}, [mix_one]),
    ?assertEqual({ok, Token}, Outcome).

a_thread_that_waits_for_erlang_is_stopped(Config) ->
    ok = waiting(inner),
    Caller = spawn(fun() -> python(Config, call, [<<"inner">>], #{thread => true}) end),
    Job = running(inner),
    ok = killed(Caller),
    ?assertEqual(cancelled, last_step(Config)),
    ?assertNot(is_process_alive(Job)).

%% Neither the loop nor the call that runs it ends with what is stopped in it.
what_is_nested_in_a_loop_on_the_main_thread_is_stopped(Config) ->
    %% The job goes with the coroutine that waits for it, and what the job has asked for is told of its end after that.
    ok = py_port:register_function(middle, fun([]) -> python(Config, aside_call, [<<"inner">>], #{}) end),
    [
        begin
            ok = waiting(outer),
            ok = waiting(inner),
            Outer = async(fun() -> python(Config, loop_call, [<<"outer">>], #{}) end),
            Job = running(outer),
            Job ! {go, fun() ->
                Caller = spawn(fun() -> python(Config, Function, [Name], #{}) end),
                receive
                    inner_runs -> ok = killed(Caller)
                end,
                IsStopped = fun() -> maps:with([stopping, tasks], py_port:info(ctx(Config))) =:= #{stopping => 0, tasks => 0} end,
                true = py_port_test:wait_until(IsStopped, 60000),
                <<"went on">>
            end},
            _ = running(inner),
            Job ! inner_runs,
            ?assertEqual({Function, Name, {ok, <<"went on">>}}, {Function, Name, await(Outer)}),
            ?assertEqual(cancelled, last_step(Config))
        end
     || {Function, Name} <- [{call, <<"inner">>}, {async_call, <<"inner">>}, {aside_call, <<"inner">>}, {async_call, <<"middle">>}]
    ].

%% No line of Python is above the loop then.
c_code_that_is_called_in_a_loop_on_the_main_thread_is_stopped(Config) ->
    ok = py_port:register_function(outer, fun([]) ->
        {error, timeout} = py_port:call(ctx(Config), time, sleep, [600], #{}, #{timeout => 1000}),
        true = py_port_test:wait_until(fun() -> maps:get(stopping, py_port:info(ctx(Config))) =:= 0 end, 60000),
        <<"went on">>
    end),
    ?assertEqual({ok, <<"went on">>}, python(Config, loop_call, [<<"outer">>], #{})),
    ?assertEqual(cancelled, last_step(Config)).

%% Who asked for what is nested is no job, and goes on: it is told that its call was interrupted.
what_stands_above_a_stopped_request_makes_way(Config) ->
    [
        begin
            ok = waiting(outer),
            ok = waiting(inner),
            Test = self(),
            Caller = spawn(fun() -> python(Config, Function, [<<"outer">>], #{}) end),
            Job = running(outer),
            Job ! {go, fun() ->
                _ = spawn(fun() -> Test ! {nested, python(Config, call, [<<"inner">>], #{})} end),
                receive
                    never -> ok
                end
            end},
            _ = running(inner),
            ok = killed(Caller),
            receive
                {nested, Outcome} -> ?assertEqual({Function, {error, interrupted}}, {Function, Outcome})
            after 60000 -> error(no_outcome)
            end,
            ?assertEqual(cancelled, last_step(Config)),
            ?assertNot(is_process_alive(Job))
        end
     || Function <- [call, loop_call]
    ].
