%% @doc Loops of the user's own in a worker: they see signals while they run and the worker's main loop sees them otherwise, their
%% children are started and ended as anywhere, and a forked child disturbs neither.
%% @end
-module(py_port_own_loop_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(py_port_test, [async/1, await/1, ctx/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- [python, last_step, waited_for, running, given_up].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) ->
    ok.

%% Nothing may come to the point at which the worker is killed.
init_per_testcase(_Case, Config) ->
    [{ctx, py_port_test:context(#{kill_after => 600000})} | Config].

end_per_testcase(_Case, Config) ->
    ok = py_port:unregister_function(waited_for),
    py_port_test:end_per_testcase(Config).

python(Config, Function, Args, Opts) ->
    py_port:call(ctx(Config), probe_own_loop, Function, Args, #{}, Opts).

%% The step by which the last request was stopped, once nothing is left of it.
last_step(Config) ->
    Ctx = ctx(Config),
    ?assert(py_port_test:wait_until(
        fun() -> maps:with([in_flight, stopping, callbacks], py_port:info(Ctx)) =:= #{in_flight => 0, stopping => 0, callbacks => 0} end, 60000
    )),
    #{last_stop := #{step := Step}} = py_port:info(Ctx),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    Step.

a_loop_that_waits_is_interrupted(Config) ->
    Started = py_port_test:marker(Config, "started"),
    Caller = spawn(fun() -> python(Config, sleep_in_a_loop, [Started], #{}) end),
    ok = py_port_test:await_file(Started),
    true = exit(Caller, kill),
    ?assertEqual(cancelled, last_step(Config)).

%% Never answers.
waited_for() ->
    Test = self(),
    ok = py_port:register_function(waited_for, fun([]) ->
        Test ! {running, self()},
        receive
            never -> ok
        end
    end).

running() ->
    receive
        {running, Job} -> erlang:monitor(process, Job)
    after 60000 -> error(never_ran)
    end.

given_up(Ref) ->
    receive
        {'DOWN', Ref, process, _, Reason} -> ?assert(lists:member(Reason, [killed, noproc]))
    after 60000 -> error(job_lives)
    end.

a_wait_for_erlang_in_a_loop_is_interrupted(Config) ->
    ok = waited_for(),
    Caller = spawn(fun() -> python(Config, wait_for_erlang_in_a_loop, [<<"waited_for">>], #{}) end),
    _ = running(),
    true = exit(Caller, kill),
    ?assertEqual(cancelled, last_step(Config)).

%% What asyncio has taken out of its queue and not called yet would be lost, and its clean-up would wait for it for ever.
an_interrupt_waits_while_a_loop_is_at_its_works(Config) ->
    interrupt_waits_for(Config, <<"asyncio.base_events">>, <<"_run_once">>).

%% Python would list it for ever.
an_interrupt_waits_while_a_thread_is_begun(Config) ->
    interrupt_waits_for(Config, <<"threading">>, <<"start">>).

interrupt_waits_for(Config, Module, Function) ->
    Started = py_port_test:marker(Config, "at_work"),
    Go = py_port_test:marker(Config, "go"),
    Handle = py_port:async_call(ctx(Config), probe_own_loop, at_its_works, [Started, Go, Module, Function]),
    ok = py_port_test:await_file(Started),
    ok = py_port:interrupt(ctx(Config)),
    ok = file:write_file(Go, <<>>),
    ?assertEqual({error, interrupted}, py_port:await(Handle, 60000)),
    ?assertEqual({ok, [<<"worked">>]}, python(Config, works_done, [], #{})).

%% What it waits for is all that holds it.
a_task_that_nobody_holds_gets_its_answer(Config) ->
    ok = py_port:register_function(waited_for, fun([]) -> <<"answer">> end),
    [?assertEqual({Function, {ok, <<"answer">>}}, {Function, python(Config, Function, [<<"waited_for">>], #{timeout => 60000})})
     || Function <- [a_task_that_nobody_holds, a_task_that_nobody_holds_in_a_loop]].

%% As asyncio.run may do when the interrupt meets its end.
what_cleaning_up_after_an_interrupt_raises_is_the_interrupt(Config) ->
    Started = py_port_test:marker(Config, "sleeps"),
    Handle = py_port:async_call(ctx(Config), probe_own_loop, fails_to_clean_up, [Started]),
    ok = py_port_test:await_file(Started),
    ok = py_port:interrupt(ctx(Config)),
    ?assertEqual({error, interrupted}, py_port:await(Handle, 60000)).

%% Its job is ended with the request and not when Python collects its garbage, which may be never.
what_a_closed_loop_waited_for_is_given_up(Config) ->
    ok = waited_for(),
    Go = py_port_test:marker(Config, "close_it"),
    Handle = py_port:async_call(ctx(Config), probe_own_loop, closes_a_loop_that_waits, [<<"waited_for">>, Go]),
    Ref = running(),
    ok = file:write_file(Go, <<>>),
    ?assertEqual({ok, none}, py_port:await(Handle, 60000)),
    given_up(Ref).

what_a_loop_that_was_left_waited_for_is_given_up(Config) ->
    ok = waited_for(),
    Handle = py_port:async_call(ctx(Config), probe_own_loop, leaves_a_loop, [<<"waited_for">>]),
    Ref = running(),
    ok = py_port:interrupt(ctx(Config)),
    ?assertEqual({error, interrupted}, py_port:await(Handle, 60000)),
    given_up(Ref).

after_a_wait_for_erlang_the_loop_has_its_signals_again(Config) ->
    ok = py_port:register_function(waited_for, fun([]) ->
        receive
        after 300 -> <<"slept long enough for the worker to sleep">>
        end
    end),
    ?assertEqual({ok, <<"signal">>}, python(Config, a_signal_after_a_wait_for_erlang_in_a_loop, [<<"waited_for">>], #{})).

after_a_loop_the_main_loop_has_its_signals_again(Config) ->
    {ok, Pid} = python(Config, watch_signals, [], #{}),
    [] = os:cmd("kill -USR1 " ++ integer_to_list(Pid)),
    ?assert(py_port_test:wait_until(fun() -> python(Config, signals_seen, [], #{}) =:= {ok, 1} end, 10000)).

a_child_of_a_loop_has_a_loop_of_its_own(Config) ->
    ?assertEqual({ok, 0}, python(Config, fork_in_a_loop, [], #{})),
    ?assertEqual({ok, 0}, python(Config, fork_in_a_loop, [], #{})).

a_child_of_the_contexts_loop_has_a_loop_of_its_own(Config) ->
    [?assertEqual({ok, [0, <<"later">>]}, python(Config, fork_in_the_loop_of_the_context, [], #{})) || _ <- [1, 2]],
    ?assertEqual({ok, 4.0}, py_port:call(ctx(Config), math, sqrt, [16])).

a_child_goes_on_in_its_loop_and_does_not_answer(Config) ->
    ?assertEqual({ok, 0}, python(Config, a_child_that_goes_on_in_the_loop, [], #{})),
    ?assertEqual({ok, 4.0}, py_port:call(ctx(Config), math, sqrt, [16])).

process_pools(Config) ->
    [?assertEqual({ok, [1, 1, 2, 6, 24]}, python(Config, process_pool, [Method], #{})) || Method <- [<<"fork">>, <<"spawn">>]].

children_in_threads(Config) ->
    Calls = [async(fun() -> python(Config, children_in_a_thread, [], #{thread => true}) end) || _ <- lists:seq(1, 5)],
    [?assertEqual({ok, <<"done">>}, await(Call)) || Call <- Calls].
