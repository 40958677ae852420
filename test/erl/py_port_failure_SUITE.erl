%% A worker that dies, hangs or is abandoned costs its own context and nothing else: every caller gets exactly one
%% outcome, the context says how it ended, no process of the worker is left, and a supervisor gets a working one.
-module(py_port_failure_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([init/1]).
-export([
    segfault_is_told_to_all_callers/1,
    abort_is_told_to_all_callers/1,
    exit_status_is_told_to_all_callers/1,
    exit_status_139_is_not_a_segfault/1,
    kill_by_itself_is_told_to_all_callers/1,
    failed_malloc_in_c_is_a_segfault/1,
    kill_from_outside_is_told_to_all_callers/1,
    death_with_megabytes_queued_in_the_worker/1,
    death_with_megabytes_queued_in_the_pipe/1,
    death_while_a_program_in_its_own_session_holds_the_pipes/1,
    death_while_a_fork_in_its_own_session_holds_the_pipes/1,
    death_leaves_no_daemon/1,
    death_leaves_no_stubborn_child/1,
    stop_leaves_no_descendant/1,
    a_second_context_is_unharmed/1,
    supervisor_gets_a_working_context_again/1,
    calls_after_death_are_answered/1
]).
-export([
    timeout_stops_a_loop/1,
    timeout_stops_a_sleep/1,
    timeout_stops_a_task/1,
    timeout_ends_a_worker_that_holds_the_gil/1,
    timeout_ends_a_worker_that_defies_interrupts/1,
    deadline_that_passes_in_the_queue_means_not_started/1,
    death_of_a_queued_caller_drops_its_call/1,
    death_of_a_running_caller_stops_its_call/1,
    full_context_refuses_and_recovers/1,
    stop_answers_everybody_once/1,
    killed_owner_takes_its_worker_along/1,
    killed_owner_takes_a_worker_along_that_does_not_read/1,
    death_of_the_linked_parent_ends_the_worker/1
]).
-export([
    memory_limit_is_an_error_of_the_call/1,
    values_too_large_for_the_memory_limit_are_errors_of_their_calls/1,
    file_limit_is_an_error_of_the_call/1,
    cpu_limit_ends_the_worker_by_signal/1,
    exits_and_recursion_are_errors_of_the_call/1
]).
-export([
    forked_child_that_returns_never_answers/1,
    forked_child_that_raises_never_answers/1,
    forked_child_that_exits_never_answers/1,
    fork_in_a_thread/1,
    fork_in_a_coroutine/1
]).

-import(py_port_trouble, [options/1, go_file/1, go/1, crowd/2, outcomes/1, dismiss/1, exit_of/1, in_flight/1]).
-import(py_port_trouble, [identity/1, gone_within/2, is_idle/1, signal/2]).
-import(py_port_test, [start_context/1, wait_until/2, os_pid/1]).

%% A crowd that waits for one worker.
-define(CALLERS, 50).
%% What has to happen soon, on a machine that may be busy.
-define(SOON, 20000).
%% A call that finds an idle context is running after so many ms.
-define(BEGUN_BY_THEN, 1000).

all() ->
    [{group, death}, {group, stopping}, {group, limits}, {group, fork}].

groups() ->
    [
        {death, [], [
            segfault_is_told_to_all_callers,
            abort_is_told_to_all_callers,
            exit_status_is_told_to_all_callers,
            exit_status_139_is_not_a_segfault,
            kill_by_itself_is_told_to_all_callers,
            failed_malloc_in_c_is_a_segfault,
            kill_from_outside_is_told_to_all_callers,
            death_with_megabytes_queued_in_the_worker,
            death_with_megabytes_queued_in_the_pipe,
            death_while_a_program_in_its_own_session_holds_the_pipes,
            death_while_a_fork_in_its_own_session_holds_the_pipes,
            death_leaves_no_daemon,
            death_leaves_no_stubborn_child,
            stop_leaves_no_descendant,
            a_second_context_is_unharmed,
            supervisor_gets_a_working_context_again,
            calls_after_death_are_answered
        ]},
        {stopping, [], [
            timeout_stops_a_loop,
            timeout_stops_a_sleep,
            timeout_stops_a_task,
            timeout_ends_a_worker_that_holds_the_gil,
            timeout_ends_a_worker_that_defies_interrupts,
            deadline_that_passes_in_the_queue_means_not_started,
            death_of_a_queued_caller_drops_its_call,
            death_of_a_running_caller_stops_its_call,
            full_context_refuses_and_recovers,
            stop_answers_everybody_once,
            killed_owner_takes_its_worker_along,
            killed_owner_takes_a_worker_along_that_does_not_read,
            death_of_the_linked_parent_ends_the_worker
        ]},
        {limits, [], [
            memory_limit_is_an_error_of_the_call,
            values_too_large_for_the_memory_limit_are_errors_of_their_calls,
            file_limit_is_an_error_of_the_call,
            cpu_limit_ends_the_worker_by_signal,
            exits_and_recursion_are_errors_of_the_call
        ]},
        {fork, [], [
            forked_child_that_returns_never_answers,
            forked_child_that_raises_never_answers,
            forked_child_that_exits_never_answers,
            fork_in_a_thread,
            fork_in_a_coroutine
        ]}
    ].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) ->
    ok.

init_per_testcase(_Case, Config) ->
    _ = process_flag(trap_exit, true),
    Config.

end_per_testcase(_Case, Config) ->
    _ = process_flag(trap_exit, true),
    py_port_test:end_per_testcase(Config).

%% Deaths ------------------------------------------------------------------------------------------------------------

segfault_is_told_to_all_callers(Config) ->
    {worker_killed, sigsegv, Pm} = dies(<<"segfault">>, #{}, Config),
    ?assertMatch(#{stack := <<_, _/binary>>}, Pm),
    has(<<"null_dereference">>, maps:get(stack, Pm)).

abort_is_told_to_all_callers(Config) ->
    {worker_killed, sigabrt, Pm} = dies(<<"abort">>, #{}, Config),
    has(<<"die">>, maps:get(stack, Pm)).

exit_status_is_told_to_all_callers(Config) ->
    {worker_exited, 3, _} = dies(<<"exit3">>, #{}, Config).

exit_status_139_is_not_a_segfault(Config) ->
    {worker_exited, 139, #{core_dumped := false, stack := <<>>}} = dies(<<"exit139">>, #{}, Config).

kill_by_itself_is_told_to_all_callers(Config) ->
    {worker_killed, sigkill, _} = dies(<<"kill">>, #{}, Config).

failed_malloc_in_c_is_a_segfault(Config) ->
    Limits = #{limits => #{memory => 512 * 1024 * 1024}},
    {worker_killed, sigsegv, Pm} = dies(<<"out_of_memory">>, Limits, Config),
    has(<<"write_to_failed_malloc">>, maps:get(stack, Pm)).

%% The first caller's call ends the worker as soon as all the others are in line.
dies(How, Options, Config) ->
    Ctx = start_context(options(Options)),
    Worker = identity(os_pid(Ctx)),
    Go = go_file(Config),
    LastWords = <<"last words of ", How/binary>>,
    First = crowd(1, fun(_) -> py_port:call(Ctx, trouble, die, [How, Go, LastWords]) end),
    true = wait_until(fun() -> in_flight(Ctx) =:= 1 end, ?SOON),
    Others = crowd(?CALLERS - 1, fun(_) -> py_port:call(Ctx, trouble, wait_for, [Go]) end),
    Callers = First ++ Others,
    true = wait_until(fun() -> in_flight(Ctx) =:= ?CALLERS end, ?SOON),
    ok = go(Go),
    Reason = all_told(Callers, Ctx),
    Pm = element(3, Reason),
    ?assertMatch(#{report := complete, in_flight := #{count := ?CALLERS}, descendants := 0}, Pm),
    ?assertMatch(#{rusage := #{max_rss_kb := Rss}} when Rss > 1000, Pm),
    %% The call that was first in line is among those that are named.
    ?assert(lists:member({trouble, wait_for}, maps:get(calls, maps:get(in_flight, Pm)))),
    ?assertEqual(LastWords, last([L || L <- maps:get(stderr, Pm), L =:= LastWords])),
    _ = gone_within([Worker], ?SOON),
    ?assertEqual({error, {worker_down, noproc}}, py_port:call(Ctx, math, sqrt, [16])),
    Reason.

last([]) -> none;
last(List) -> lists:last(List).

%% Exactly one outcome each, the same for all, and it is the reason of the exit too.
all_told(Callers, Ctx) ->
    Reason = exit_of(Ctx),
    Outcomes = outcomes(Callers),
    ?assertEqual([], [O || O <- Outcomes, O =/= {error, {worker_down, Reason}}]),
    ok = dismiss(Callers),
    %% A person can read it.
    ?assert(byte_size(py_port:format_error({error, {worker_down, Reason}})) > 20),
    Reason.

kill_from_outside_is_told_to_all_callers(Config) ->
    Ctx = start_context(options(#{})),
    Go = go_file(Config),
    Callers = crowd(?CALLERS, fun(_) -> py_port:call(Ctx, trouble, wait_for, [Go]) end),
    true = wait_until(fun() -> in_flight(Ctx) =:= ?CALLERS end, ?SOON),
    ok = signal(kill, os_pid(Ctx)),
    ?assertMatch({worker_killed, sigkill, #{stopped_by := none}}, all_told(Callers, Ctx)).

%% The worker has taken what it takes ahead of its work, and the rest waits in the pipe and in suspended callers.
death_with_megabytes_queued_in_the_worker(Config) ->
    Ctx = start_context(options(#{})),
    Go = go_file(Config),
    Data = binary:copy(<<"megabytes", 255>>, 250000),
    Callers = crowd(?CALLERS, fun
        (1) -> py_port:call(Ctx, trouble, die, [<<"segfault">>, Go, <<>>]);
        (_) -> py_port:call(Ctx, trouble, digest, [Data])
    end),
    true = wait_until(fun() -> in_flight(Ctx) =:= ?CALLERS end, ?SOON),
    ok = go(Go),
    %% Whichever call came first: the one that kills is answered at last, the digests before it are right.
    Reason = exit_of(Ctx),
    ?assertMatch({worker_killed, sigsegv, #{stack := <<_, _/binary>>}}, Reason),
    Crc = erlang:crc32(Data),
    ?assertEqual([], [O || O <- outcomes(Callers), O =/= {ok, Crc}, O =/= {error, {worker_down, Reason}}]),
    dismiss(Callers).

death_with_megabytes_queued_in_the_pipe(_Config) ->
    Ctx = start_context(options(#{})),
    Worker = os_pid(Ctx),
    Identity = identity(Worker),
    ok = signal(stop, Worker),
    Data = binary:copy(<<"megabytes", 255>>, 250000),
    Callers = crowd(?CALLERS, fun(_) -> py_port:call(Ctx, trouble, digest, [Data]) end),
    true = wait_until(fun() -> in_flight(Ctx) =:= ?CALLERS end, ?SOON),
    ok = signal(kill, Worker),
    ?assertMatch({worker_killed, sigkill, #{in_flight := #{count := ?CALLERS}}}, all_told(Callers, Ctx)),
    _ = gone_within([Identity], ?SOON).

death_while_a_program_in_its_own_session_holds_the_pipes(Config) ->
    with_child(child_in_own_session, Config).

death_while_a_fork_in_its_own_session_holds_the_pipes(Config) ->
    with_child(forked_in_own_session, Config).

death_leaves_no_daemon(Config) ->
    with_child(daemon, Config).

death_leaves_no_stubborn_child(Config) ->
    with_child(stubborn_child, Config).

with_child(Kind, Config) ->
    Ctx = start_context(options(#{})),
    {ok, Child} = py_port:call(Ctx, trouble, Kind, []),
    Identity = identity(Child),
    ?assertNot(py_port_trouble:is_gone(Identity)),
    Go = go_file(Config),
    Callers = crowd(2, fun(_) -> py_port:call(Ctx, trouble, wait_for, [Go]) end),
    true = wait_until(fun() -> in_flight(Ctx) =:= 2 end, ?SOON),
    ok = signal(kill, os_pid(Ctx)),
    ?assertMatch({worker_killed, sigkill, #{descendants := 1}}, all_told(Callers, Ctx)),
    %% Before the context says that it is over, not some time later.
    ?assert(py_port_trouble:is_gone(Identity)).

stop_leaves_no_descendant(_Config) ->
    Ctx = start_context(options(#{})),
    Kinds = [child_in_own_session, forked_in_own_session, daemon, stubborn_child],
    Children = [identity(element(2, {ok, _} = py_port:call(Ctx, trouble, Kind, []))) || Kind <- Kinds],
    ok = py_port:stop_context(Ctx),
    ?assertEqual(normal, exit_of(Ctx)),
    ?assertEqual([], [C || C <- Children, not py_port_trouble:is_gone(C)]).

a_second_context_is_unharmed(Config) ->
    Healthy = start_context(options(#{})),
    Before = os_pid(Healthy),
    Go = go_file(Config),
    Slow = crowd(1, fun(_) -> py_port:call(Healthy, trouble, wait_for, [Go]) end),
    Doomed = start_context(options(#{})),
    {error, {worker_down, _}} = py_port:call(Doomed, os, abort, []),
    ok = go(Go),
    ?assertEqual([{ok, <<"gone">>}], outcomes(Slow)),
    ok = dismiss(Slow),
    ?assertEqual(Before, os_pid(Healthy)).

%% A supervisor's own view: the context is a child like any other.
init({Flags, Children}) ->
    {ok, {Flags, Children}}.

supervisor_gets_a_working_context_again(_Config) ->
    Spec = py_port:child_spec(options(#{name => reborn})),
    {ok, Sup} = supervisor:start_link(?MODULE, {#{intensity => 10, period => 60}, [Spec]}),
    lists:foreach(
        fun(Death) ->
            First = whereis(reborn),
            Pid = os_pid(reborn),
            {error, {worker_down, _}} = Death(Pid),
            true = wait_until(fun() -> is_new(whereis(reborn), First) end, ?SOON),
            true = wait_until(fun() -> py_port:call(reborn, math, sqrt, [16]) =:= {ok, 4.0} end, ?SOON),
            ?assertNotEqual(Pid, os_pid(reborn))
        end,
        [
            fun(_) -> py_port:call(reborn, os, abort, []) end,
            fun(_) -> py_port:call(reborn, os, '_exit', [3]) end,
            fun(_) -> py_port:call(reborn, trouble, null_dereference, []) end,
            fun(Pid) -> py_port:call(reborn, os, kill, [Pid, 9]) end
        ]
    ),
    [{reborn, Ctx, worker, [py_port_context]}] = supervisor:which_children(Sup),
    Worker = identity(os_pid(Ctx)),
    true = unlink(Sup),
    Ref = monitor(process, Sup),
    true = exit(Sup, shutdown),
    receive
        {'DOWN', Ref, process, Sup, shutdown} -> ok
    end,
    ?assert(py_port_trouble:is_gone(Worker)).

is_new(undefined, _) -> false;
is_new(Pid, Old) -> Pid =/= Old.

%% Between the death and the end of the context, and after it.
calls_after_death_are_answered(_Config) ->
    Ctx = start_context(options(#{})),
    Callers = crowd(20, fun(_) -> call_until_down(Ctx) end),
    ok = signal(kill, os_pid(Ctx)),
    Reason = exit_of(Ctx),
    Allowed = [{worker_down, Reason}, {worker_down, noproc}],
    ?assertEqual([], [O || O <- outcomes(Callers), not lists:member(O, Allowed)]),
    dismiss(Callers).

call_until_down(Ctx) ->
    case py_port:call(Ctx, math, sqrt, [16]) of
        {ok, 4.0} -> call_until_down(Ctx);
        {error, Reason} -> Reason
    end.

%% Stopping ----------------------------------------------------------------------------------------------------------

timeout_stops_a_loop(_Config) ->
    worker_survives_a_timeout(spin, cancelled).

timeout_stops_a_sleep(_Config) ->
    worker_survives_a_timeout(sleep_long, cancelled).

timeout_stops_a_task(_Config) ->
    worker_survives_a_timeout(sleep_in_a_task, cancelled).

worker_survives_a_timeout(Function, Step) ->
    Ctx = start_context(options(#{kill_after => ?SOON})),
    Pid = os_pid(Ctx),
    ok = imported(Ctx),
    {error, timeout} = py_port:call(Ctx, trouble, Function, [], #{}, #{timeout => ?BEGUN_BY_THEN}),
    true = wait_until(fun() -> is_idle_but_for(self(), Ctx) end, ?SOON),
    ?assertMatch(#{last_stop := #{step := Step, why := timeout, what := {trouble, Function}}}, py_port:info(Ctx)),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    ?assertEqual(Pid, os_pid(Ctx)),
    ?assertEqual([], [M || M <- py_port_trouble:mailbox(self()), element(1, M) =/= 'EXIT']).

%% The test process itself has called, so it is watched.
is_idle_but_for(_Caller, Ctx) ->
    maps:with([in_flight, stopping, callers], sys:get_state(Ctx)) =:= #{in_flight => 0, stopping => 0, callers => 1}.

timeout_ends_a_worker_that_holds_the_gil(_Config) ->
    worker_is_lost_after_a_timeout(compute_holding_the_gil).

timeout_ends_a_worker_that_defies_interrupts(_Config) ->
    worker_is_lost_after_a_timeout(defy_interrupts).

worker_is_lost_after_a_timeout(Function) ->
    Ctx = start_context(options(#{kill_after => 200})),
    Worker = identity(os_pid(Ctx)),
    ok = imported(Ctx),
    [First, Second] = crowd(2, fun
        (1) -> py_port:call(Ctx, trouble, Function, [], #{}, #{timeout => ?BEGUN_BY_THEN});
        (2) -> queue_behind(Ctx, 1, fun() -> py_port:call(Ctx, math, sqrt, [16]) end)
    end),
    ?assertEqual([{error, timeout}], outcomes([First])),
    Reason = exit_of(Ctx),
    ?assertMatch({worker_killed, sigkill, #{stopped_by := timeout}}, Reason),
    %% Where it hung.
    has(atom_to_binary(Function), maps:get(stack, element(3, Reason))),
    ?assertEqual([{error, {worker_down, Reason}}], outcomes([Second])),
    ok = dismiss([First, Second]),
    ?assert(py_port_trouble:is_gone(Worker)).

%% A call whose time is up in the queue is not started, and one whose time is up in the import of its module ends with that.
imported(Ctx) ->
    {ok, _} = py_port:call(Ctx, trouble, marks, []),
    ok.

queue_behind(Ctx, N, Fun) ->
    true = wait_until(fun() -> in_flight(Ctx) + maps:get(stopping, sys:get_state(Ctx)) >= N end, ?SOON),
    Fun().

deadline_that_passes_in_the_queue_means_not_started(Config) ->
    Ctx = start_context(options(#{kill_after => ?SOON})),
    Go = go_file(Config),
    First = crowd(1, fun(_) -> py_port:call(Ctx, trouble, wait_for, [Go]) end),
    true = wait_until(fun() -> in_flight(Ctx) =:= 1 end, ?SOON),
    Late = crowd(10, fun(I) -> py_port:call(Ctx, trouble, mark, [I], #{}, #{timeout => 20}) end),
    ?assertEqual([{error, timeout} || _ <- Late], outcomes(Late)),
    ok = go(Go),
    ?assertEqual([{ok, <<"gone">>}], outcomes(First)),
    ?assertEqual({ok, []}, py_port:call(Ctx, trouble, marks, [])),
    ?assertMatch(#{last_stop := #{step := dropped, why := timeout}}, py_port:info(Ctx)),
    ok = dismiss(First ++ Late).

death_of_a_queued_caller_drops_its_call(Config) ->
    Ctx = start_context(options(#{kill_after => ?SOON})),
    Go = go_file(Config),
    First = crowd(1, fun(_) -> py_port:call(Ctx, trouble, wait_for, [Go]) end),
    true = wait_until(fun() -> in_flight(Ctx) =:= 1 end, ?SOON),
    Doomed = crowd(10, fun(I) -> py_port:call(Ctx, trouble, mark, [I]) end),
    true = wait_until(fun() -> in_flight(Ctx) =:= 11 end, ?SOON),
    lists:foreach(fun(Pid) -> exit(Pid, kill) end, Doomed),
    true = wait_until(fun() -> in_flight(Ctx) =:= 1 end, ?SOON),
    %% The cancels are handled while Python works.
    true = wait_until(fun() -> maps:get(stopping, sys:get_state(Ctx)) =:= 0 end, ?SOON),
    ok = go(Go),
    ?assertEqual([{ok, <<"gone">>}], outcomes(First)),
    ?assertEqual({ok, []}, py_port:call(Ctx, trouble, marks, [])),
    ok = dismiss(First).

death_of_a_running_caller_stops_its_call(_Config) ->
    Ctx = start_context(options(#{kill_after => ?SOON})),
    Worker = os_pid(Ctx),
    lists:foreach(
        fun(Function) ->
            [Caller] = crowd(1, fun(_) -> py_port:call(Ctx, trouble, Function, []) end),
            true = wait_until(fun() -> in_flight(Ctx) =:= 1 end, ?SOON),
            true = exit(Caller, kill),
            true = wait_until(fun() -> is_idle(Ctx) end, ?SOON)
        end,
        [spin, sleep_long, sleep_in_a_task]
    ),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    ?assertEqual(Worker, os_pid(Ctx)).

full_context_refuses_and_recovers(Config) ->
    Ctx = start_context(options(#{max_pending => 10})),
    Go = go_file(Config),
    Callers = crowd(10, fun(_) -> py_port:call(Ctx, trouble, wait_for, [Go]) end),
    true = wait_until(fun() -> in_flight(Ctx) =:= 10 end, ?SOON),
    ?assertEqual({error, overloaded}, py_port:call(Ctx, math, sqrt, [16])),
    ok = go(Go),
    ?assertEqual([{ok, <<"gone">>} || _ <- Callers], outcomes(Callers)),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    dismiss(Callers).

stop_answers_everybody_once(_Config) ->
    lists:foreach(
        fun(Function) ->
            Ctx = start_context(options(#{})),
            Callers = crowd(?CALLERS, fun(_) -> py_port:call(Ctx, trouble, Function, []) end),
            true = wait_until(fun() -> in_flight(Ctx) =:= ?CALLERS end, ?SOON),
            ok = py_port:stop_context(Ctx, 50),
            ?assertEqual(normal, exit_of(Ctx)),
            ?assertEqual([{error, {worker_down, stopped}}], lists:usort(outcomes(Callers))),
            ok = dismiss(Callers)
        end,
        [spin, sleep_holding_the_gil, compute_holding_the_gil, sleep_in_a_task]
    ).

%% The port keeps its pipes open for what it still has to write, also when its owner is gone.
killed_owner_takes_a_worker_along_that_does_not_read(_Config) ->
    Ctx = start_context(options(#{})),
    #{os_pid := Worker, launcher_pid := Launcher} = py_port:info(Ctx),
    Left = [identity(P) || P <- [Worker, Launcher]],
    ok = signal(stop, Worker),
    Large = binary:copy(<<"x">>, 1000000),
    Callers = crowd(20, fun(_) -> py_port:call(Ctx, builtins, len, [Large]) end),
    true = wait_until(fun() -> in_flight(Ctx) =:= 20 end, ?SOON),
    true = exit(Ctx, kill),
    killed = exit_of(Ctx),
    ct:pal("gone after ~b ms", [gone_within(Left, ?SOON)]),
    ?assertMatch([{error, {worker_down, _}} | _], lists:usort(outcomes(Callers))),
    ok = dismiss(Callers).

killed_owner_takes_its_worker_along(_Config) ->
    lists:foreach(
        fun(Function) ->
            Ctx = start_context(options(#{})),
            {ok, Child} = py_port:call(Ctx, trouble, child_in_own_session, []),
            #{os_pid := Worker, launcher_pid := Launcher} = py_port:info(Ctx),
            Left = [identity(P) || P <- [Child, Worker, Launcher]],
            Callers = crowd(?CALLERS, fun(_) -> py_port:call(Ctx, trouble, Function, []) end),
            true = wait_until(fun() -> in_flight(Ctx) =:= ?CALLERS end, ?SOON),
            true = exit(Ctx, kill),
            killed = exit_of(Ctx),
            ct:pal("~p: gone after ~b ms", [Function, gone_within(Left, ?SOON)]),
            %% noproc: killed before it took notice of that caller's monitor
            Told = [{error, {worker_down, killed}}, {error, {worker_down, noproc}}],
            ?assertEqual([], lists:usort(outcomes(Callers)) -- Told),
            ok = dismiss(Callers)
        end,
        [spin, sleep_long, sleep_holding_the_gil, compute_holding_the_gil, sleep_in_a_task]
    ).

death_of_the_linked_parent_ends_the_worker(_Config) ->
    Self = self(),
    Parent = spawn(fun() ->
        Ctx = start_context(options(#{})),
        Self ! {ctx, Ctx, os_pid(Ctx)},
        receive
            never -> ok
        end
    end),
    receive
        {ctx, Ctx, Worker} ->
            Identity = identity(Worker),
            Ref = monitor(process, Ctx),
            true = exit(Parent, kill),
            receive
                {'DOWN', Ref, process, Ctx, killed} -> ok
            after ?SOON -> error(context_lives)
            end,
            ?assert(py_port_trouble:is_gone(Identity))
    end.

%% Limits ------------------------------------------------------------------------------------------------------------

memory_limit_is_an_error_of_the_call(_Config) ->
    Ctx = start_context(options(#{limits => #{memory => 256 * 1024 * 1024}})),
    Pid = os_pid(Ctx),
    ?assertMatch(
        {error, {python, #{type := <<"MemoryError">>}}}, py_port:call(Ctx, trouble, take_memory, [1 bsl 30])
    ),
    ?assertEqual({ok, 1024}, py_port:call(Ctx, trouble, take_memory, [1024])),
    ?assertEqual(Pid, os_pid(Ctx)).

%% On their way in or out, from whichever side, and whichever thread of the worker reads them.
values_too_large_for_the_memory_limit_are_errors_of_their_calls(_Config) ->
    Ctx = start_context(options(#{limits => #{memory => 100_000_000}, functions => [<<"too_much">>]})),
    ok = py_port:register_function(<<"too_much">>, fun([N]) -> binary:copy(<<"x">>, N) end),
    Pid = os_pid(Ctx),
    Much = binary:copy(<<"x">>, 150_000_000),
    Calls = [
        fun() -> py_port:call(Ctx, builtins, len, [Much]) end,
        fun() -> py_port:call(Ctx, builtins, len, [lists:seq(1, 3_000_000)]) end,
        fun() -> py_port:call(Ctx, builtins, print, lists:duplicate(20_000_000, 1)) end,
        fun() -> py_port:exec(Ctx, [<<"#">>, binary:part(Much, 0, 60_000_000)]) end,
        fun() -> py_port:eval(Ctx, "['x' * 10000] * 20000") end,
        fun() -> py_port:eval(Ctx, "{('x' * 1000 + str(i) if i % 2 else i): 'y' * 2000 for i in range(20000)}") end,
        fun() -> py_port:eval(Ctx, "memoryview(bytes(70_000_000))[::2]") end,
        fun() -> py_port:eval(Ctx, "__import__('erlang').call('too_much', ['x' * 10000] * 20000)") end,
        fun() -> py_port:eval(Ctx, "__import__('erlang').call('too_much', 120_000_000)") end,
        fun() -> py_port:eval(Ctx, "__import__('erlang').async_call('too_much', 120_000_000)") end,
        fun() -> py_port:call(Ctx, trouble, in_a_thread, [<<"too_much">>, 120_000_000]) end
    ],
    lists:foreach(
        fun({N, Call}) ->
            ?assertMatch({N, {error, {python, #{type := <<"MemoryError">>}}}}, {N, Call()}),
            ?assertEqual({N, {ok, 7}}, {N, py_port:eval(Ctx, "len('1234567')")})
        end,
        lists:enumerate(Calls)
    ),
    %% While another call keeps the main thread, the sentinel reads.
    Crowd = crowd(1, fun(_) -> py_port:call(Ctx, time, sleep, [1]) end),
    ?assertMatch({error, {python, #{type := <<"MemoryError">>}}}, py_port:call(Ctx, builtins, len, [Much])),
    [{ok, none}] = outcomes(Crowd),
    ?assertEqual(Pid, os_pid(Ctx)).

file_limit_is_an_error_of_the_call(_Config) ->
    Ctx = start_context(options(#{limits => #{files => 40}})),
    Pid = os_pid(Ctx),
    ?assertMatch({error, {python, #{type := <<"OSError">>}}}, py_port:call(Ctx, trouble, open_files, [60])),
    ?assertEqual({ok, 5}, py_port:call(Ctx, trouble, open_files, [5])),
    ?assertEqual(Pid, os_pid(Ctx)).

cpu_limit_ends_the_worker_by_signal(_Config) ->
    Ctx = start_context(options(#{limits => #{cpu_seconds => 1}})),
    Callers = crowd(1, fun(_) -> py_port:call(Ctx, trouble, spin, []) end),
    Reason = all_told(Callers, Ctx),
    ?assertMatch({worker_killed, sigxcpu, _}, Reason),
    #{rusage := #{user_ms := User, system_ms := System}} = element(3, Reason),
    ?assert(User + System >= 600).

exits_and_recursion_are_errors_of_the_call(_Config) ->
    Ctx = start_context(options(#{})),
    Pid = os_pid(Ctx),
    lists:foreach(
        fun(Name) ->
            Got = py_port:call(Ctx, trouble, raise_it, [Name]),
            ?assertMatch({error, {python, #{type := Name}}}, Got)
        end,
        [<<"SystemExit">>, <<"KeyboardInterrupt">>, <<"GeneratorExit">>, <<"MemoryError">>, <<"RecursionError">>]
    ),
    ?assertMatch({error, {python, #{type := <<"RecursionError">>}}}, py_port:call(Ctx, trouble, recurse, [])),
    ?assertMatch({error, {python, #{type := <<"SystemExit">>}}}, py_port:call(Ctx, sys, exit, [3])),
    ?assertEqual(Pid, os_pid(Ctx)).

%% fork --------------------------------------------------------------------------------------------------------------

forked_child_that_returns_never_answers(_Config) ->
    forks(fork_in_call, <<"returns">>, 0).

forked_child_that_raises_never_answers(_Config) ->
    Lines = forks(fork_in_call, <<"raises">>, 1),
    ?assert(lists:member({stderr, <<"ValueError: in the child">>}, Lines)).

forked_child_that_exits_never_answers(_Config) ->
    _ = forks(fork_in_call, <<"sys_exit">>, 4),
    forks(fork_in_call, <<"os_exit">>, 5).

fork_in_a_thread(_Config) ->
    _ = forks(fork_in_thread, <<"returns">>, 0),
    forks(fork_in_thread, <<"os_exit">>, 5).

fork_in_a_coroutine(_Config) ->
    _ = forks(fork_in_coroutine, <<"returns">>, 0),
    _ = forks(fork_in_coroutine, <<"os_exit">>, 5),
    _ = forks(fork_in_coroutine, <<"sys_exit">>, 4),
    Lines = forks(fork_in_coroutine, <<"raises">>, 1),
    ?assert(lists:member({stderr, <<"ValueError: in the child">>}, Lines)).

%% The parent's answer is right, the child prints, and neither of the two disturbs what comes after.
forks(Function, How, Status) ->
    Ctx = start_context(options(#{io => self()})),
    Pid = os_pid(Ctx),
    Callers = crowd(5, fun(_) -> py_port:call(Ctx, trouble, Function, [How], #{}, #{timeout => ?SOON}) end),
    ?assertEqual([{ok, {<<"parent">>, Status}}], lists:usort(outcomes(Callers))),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    ok = dismiss(Callers),
    ?assertEqual(Pid, os_pid(Ctx)),
    Said = {stdout, <<"the child says ", How/binary>>},
    %% Five children said it.
    Lines = lines(Ctx, Said, 5, []),
    true = wait_until(fun() -> py_port_test:children(Pid) =:= [] end, ?SOON),
    ok = py_port:stop_context(Ctx),
    ?assertEqual(normal, exit_of(Ctx)),
    Lines ++ [{Stream, Line} || {py_port_output, C, Stream, Line} <- py_port_test:flush(), C =:= Ctx].

lines(_, _, 0, Lines) ->
    Lines;
lines(Ctx, Said, N, Lines) ->
    receive
        {py_port_output, Ctx, Stream, Line} when {Stream, Line} =:= Said -> lines(Ctx, Said, N - 1, [Said | Lines]);
        {py_port_output, Ctx, Stream, Line} -> lines(Ctx, Said, N, [{Stream, Line} | Lines])
    after ?SOON -> error({lines_missing, N, Said, Lines})
    end.

has(Part, Whole) ->
    ?assertNotEqual({Whole, nomatch}, {Whole, binary:match(Whole, Part)}).
