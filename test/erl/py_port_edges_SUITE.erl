%% @doc At the edges of a context's life: before it is ready, after it is dead, without the application, with arguments
%% that make no sense. Nothing may be left behind there, least of all in the caller.
%% @end
-module(py_port_edges_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_call_to_a_dead_context_leaves_no_message/1,
    without_the_application_it_says_so/1,
    a_timeout_that_is_none_is_named/1,
    a_context_that_is_stopped_while_it_starts_does_not_stay/1,
    secrets_stay_out_of_child_specs_and_errors/1,
    a_late_cancel_does_not_wait_for_a_batch_of_calls/1,
    a_coroutine_behind_a_call_longer_than_kill_after_costs_nobody_anything/1,
    a_coroutine_that_cleans_up_behind_a_longer_call_costs_nobody_anything/1,
    what_waits_for_erlang_can_be_interrupted/1,
    what_is_interrupted_as_it_reports_its_exception_was_interrupted/1,
    an_interrupt_in_the_delivery_of_an_answer_reaches_who_waits/1,
    what_ends_in_a_thread_below_a_loop_does_not_end_the_loop/1,
    a_thread_made_by_c_code_calls_erlang/1,
    an_answer_that_comes_after_the_context_died_reaches_nobody/1,
    a_call_whose_time_is_up_in_an_import_leaves_the_package_whole/1,
    a_signal_wakes_an_idle_worker_after_a_loop_of_the_users_own/1,
    what_cleans_up_at_the_end_can_still_call_erlang/1,
    what_is_called_while_the_context_ends_is_told_of_the_end/1,
    a_sigint_of_the_users_own_is_a_keyboard_interrupt/1,
    code_that_ignores_sigint_is_still_stopped_gently/1,
    the_task_that_blocks_the_loop_is_the_one_that_is_interrupted/1,
    a_worker_leads_its_own_process_group/1,
    a_start_imports_nothing_that_is_slow/1,
    what_a_context_consists_of_outlives_its_code/1,
    a_timeout_that_sets_another_trace_as_it_is_read_is_heeded/1
]).
-export([secret_environment/0]).

all() ->
    [
        a_call_to_a_dead_context_leaves_no_message,
        without_the_application_it_says_so,
        a_timeout_that_is_none_is_named,
        a_context_that_is_stopped_while_it_starts_does_not_stay,
        secrets_stay_out_of_child_specs_and_errors,
        a_late_cancel_does_not_wait_for_a_batch_of_calls,
        a_coroutine_behind_a_call_longer_than_kill_after_costs_nobody_anything,
        a_coroutine_that_cleans_up_behind_a_longer_call_costs_nobody_anything,
        what_waits_for_erlang_can_be_interrupted,
        what_is_interrupted_as_it_reports_its_exception_was_interrupted,
        an_interrupt_in_the_delivery_of_an_answer_reaches_who_waits,
        what_ends_in_a_thread_below_a_loop_does_not_end_the_loop,
        a_thread_made_by_c_code_calls_erlang,
        an_answer_that_comes_after_the_context_died_reaches_nobody,
        a_call_whose_time_is_up_in_an_import_leaves_the_package_whole,
        a_signal_wakes_an_idle_worker_after_a_loop_of_the_users_own,
        what_cleans_up_at_the_end_can_still_call_erlang,
        what_is_called_while_the_context_ends_is_told_of_the_end,
        a_sigint_of_the_users_own_is_a_keyboard_interrupt,
        code_that_ignores_sigint_is_still_stopped_gently,
        the_task_that_blocks_the_loop_is_the_one_that_is_interrupted,
        a_worker_leads_its_own_process_group,
        a_start_imports_nothing_that_is_slow,
        what_a_context_consists_of_outlives_its_code,
        a_timeout_that_sets_another_trace_as_it_is_read_is_heeded
    ].

init_per_suite(Config) ->
    py_port_test:start(),
    Config.

end_per_suite(_Config) ->
    ok.

init_per_testcase(_, Config) ->
    process_flag(trap_exit, true),
    {ok, _} = application:ensure_all_started(py_port),
    Config.

end_per_testcase(_, _Config) ->
    ok.

%% The caller has the context in its cache, and its monitor fires after it has given up.
a_call_to_a_dead_context_leaves_no_message(_Config) ->
    {ok, Ctx} = py_port:start_context(#{io => null}),
    {ok, 4.0} = py_port:call(Ctx, math, sqrt, [16]),
    ok = py_port:stop_context(Ctx),
    receive {'EXIT', Ctx, _} -> ok end,
    Down = {error, {worker_down, noproc}},
    ?assertEqual(Down, py_port:call(Ctx, math, sqrt, [16])),
    ?assertEqual(Down, py_port:ping(Ctx)),
    ?assertEqual(Down, py_port:eval(Ctx, "1")),
    %% A monitor of a process that is dead fires at once, but as a signal: one that is made later fires later.
    Ref = erlang:monitor(process, Ctx),
    receive {'DOWN', Ref, process, Ctx, noproc} -> ok end,
    ?assertEqual({messages, []}, process_info(self(), messages)).

without_the_application_it_says_so(_Config) ->
    ok = application:stop(py_port),
    Got = py_port:start_context(#{}),
    ?assertEqual({error, not_started}, Got),
    ?assert(byte_size(py_port:format_error(Got)) > 20),
    {ok, _} = application:ensure_all_started(py_port).

a_timeout_that_is_none_is_named(_Config) ->
    {ok, Ctx} = py_port:start_context(#{io => null}),
    [
        ?assertMatch({error, {bad_argument, timeout, _}}, Got)
     || Got <- [
            py_port:stop_context(Ctx, -1),
            py_port:stop_context(Ctx, soon),
            py_port:ping(Ctx, soon),
            py_port:ping(Ctx, 1.5)
        ]
    ],
    ?assertEqual(pong, py_port:ping(Ctx)),
    ?assertMatch(#{in_flight := 0}, py_port:info(Ctx)),
    ok = py_port:stop_context(Ctx).

a_context_that_is_stopped_while_it_starts_does_not_stay(_Config) ->
    Self = self(),
    Name = py_port_edges_starting,
    _ = spawn(fun() ->
        process_flag(trap_exit, true),
        Self ! {started, py_port:start_context(#{name => Name, io => null, init => "import time; time.sleep(0.3)"})}
    end),
    py_port_test:wait_until(fun() -> is_pid(whereis(Name)) end, 10000),
    ok = py_port:stop_context(Name, 5000),
    ?assertEqual(undefined, whereis(Name)),
    receive
        {started, {ok, Ctx}} -> ?assertNot(is_process_alive(Ctx));
        {started, {error, _}} -> ok
    end,
    ?assertEqual({error, {worker_down, noproc}}, py_port:call(Name, math, sqrt, [16])).

secret_environment() ->
    #{'PY_PORT_SECRET' => <<"hunter2">>}.

secrets_stay_out_of_child_specs_and_errors(_Config) ->
    Options = #{io => null, env => fun ?MODULE:secret_environment/0},
    Spec = py_port:child_spec(Options),
    ?assertEqual(nomatch, string:find(io_lib:format("~p", [Spec]), "hunter2")),
    {ok, Ctx} = py_port:start_context(Options),
    ?assertEqual({ok, <<"hunter2">>}, py_port:eval(Ctx, "__import__('os').environ['PY_PORT_SECRET']")),
    ok = py_port:stop_context(Ctx),
    {error, {bad_option, env, Why}} = py_port:start_context(#{env => #{'A' => {hunter2}}}),
    ?assertEqual(nomatch, string:find(Why, "hunter2")),
    ?assertMatch({error, {bad_option, env, _}}, py_port:start_context(#{env => fun() -> error(no) end})).

%% Many slow calls are queued, and a coroutine's time is up: the calls are each short, so nobody may be killed for them.
a_late_cancel_does_not_wait_for_a_batch_of_calls(_Config) ->
    {ok, Ctx} = py_port:start_context(#{io => null, kill_after => 1500}),
    ok = py_port:exec(Ctx, "import asyncio, time\nasync def forever(): await asyncio.sleep(1000)\n"),
    Self = self(),
    spawn_link(fun() -> Self ! {task, py_port:call(Ctx, '__main__', forever, [], #{}, #{timeout => 100})} end),
    Callers = [
        spawn_link(fun() -> Self ! {slow, self(), py_port:call(Ctx, time, sleep, [0.05])} end)
     || _ <- lists:seq(1, 60)
    ],
    receive {task, Task} -> ?assertEqual({error, timeout}, Task) end,
    [receive {slow, Pid, Got} -> ?assertEqual({ok, none}, Got) end || Pid <- Callers],
    ok = py_port:stop_context(Ctx).

%% The cancel of a coroutine can have no effect before somebody else's call is over, however long that takes.
a_coroutine_behind_a_call_longer_than_kill_after_costs_nobody_anything(_Config) ->
    {ok, Ctx} = py_port:start_context(#{io => null, kill_after => 1500}),
    ok = py_port:exec(
        Ctx,
        "import asyncio, time\nbegun = []\nended = []\nasync def forever():\n"
        "    begun.append(1)\n    try: await asyncio.sleep(1000)\n    finally: ended.append(1)\n"
    ),
    {ok, none} = py_port:call(Ctx, asyncio, sleep, [0]),
    Self = self(),
    spawn_link(fun() -> Self ! {task, py_port:call(Ctx, '__main__', forever, [], #{}, #{timeout => 2000})} end),
    true = py_port_test:wait_until(fun() -> {ok, [1]} =:= py_port:eval(Ctx, "begun") end, 60000),
    spawn_link(fun() -> Self ! {slow, py_port:call(Ctx, time, sleep, [4])} end),
    receive {task, Task} -> ?assertEqual({error, timeout}, Task) end,
    receive {slow, Got} -> ?assertEqual({ok, none}, Got) end,
    true = py_port_test:wait_until(fun() -> {ok, [1]} =:= py_port:eval(Ctx, "ended") end, 10000),
    ok = py_port:stop_context(Ctx).

%% It has been told of its cancel, and has not ended when somebody else's call begins: before that is over it cannot.
a_coroutine_that_cleans_up_behind_a_longer_call_costs_nobody_anything(_Config) ->
    Self = self(),
    ok = py_port:register_function(nap, fun([]) -> receive never -> ok after 3000 -> ok end end),
    {ok, Ctx} = py_port:start_context(#{io => null, kill_after => 1500}),
    ok = py_port:exec(
        Ctx,
        "import asyncio, time, erlang\n"
        "async def polite(test):\n"
        "    global over\n"
        "    over = asyncio.Event()\n"
        "    try:\n"
        "        erlang.send(test, 'runs')\n"
        "        await asyncio.sleep(1000)\n"
        "    finally:\n"
        "        erlang.send(test, 'cleans up')\n"
        "        await over.wait()\n"
        "        erlang.send(test, 'ended')\n"
        "def busy(): time.sleep(3); over.set()\n"
        "def blocked(): erlang.call('nap'); over.set()\n"
    ),
    lists:foreach(
        fun(Longer) ->
            Polite = py_port:async_call(Ctx, '__main__', polite, [Self]),
            receive <<"runs">> -> ok end,
            %% Then it waits: inside of its step the cancel would be an interrupt.
            {ok, 1} = py_port:eval(Ctx, "1"),
            ok = py_port:cancel(Polite),
            receive <<"cleans up">> -> ok end,
            ?assertEqual({Longer, {ok, none}}, {Longer, py_port:call(Ctx, '__main__', Longer, [])}),
            receive <<"ended">> -> ok end
        end,
        [busy, blocked]
    ),
    ok = py_port:unregister_function(nap),
    ok = py_port:stop_context(Ctx).

%% Code that takes SIGINT for itself does not take our means to stop it away.
code_that_ignores_sigint_is_still_stopped_gently(_Config) ->
    {ok, Ctx} = py_port:start_context(#{io => null, kill_after => 20000}),
    #{os_pid := OsPid} = py_port:info(Ctx),
    ok = py_port:exec(Ctx, "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"),
    ?assertEqual({error, timeout}, py_port:call(Ctx, time, sleep, [1000], #{}, #{timeout => 1000})),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    ?assertMatch(#{os_pid := OsPid, last_stop := #{step := cancelled}}, py_port:info(Ctx)),
    ok = py_port:stop_context(Ctx).

a_sigint_of_the_users_own_is_a_keyboard_interrupt(_Config) ->
    {ok, Ctx} = py_port:start_context(#{io => null}),
    Code = "__import__('os').kill(__import__('os').getpid(), 2) or __import__('time').sleep(1000)",
    ?assertMatch({error, {python, #{type := <<"KeyboardInterrupt">>}}}, py_port:eval(Ctx, Code)),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    ok = py_port:stop_context(Ctx).

%% Its `__str__` is code like any other. Half a report would say neither what it raised nor why there is no more.
what_is_interrupted_as_it_reports_its_exception_was_interrupted(_Config) ->
    Self = self(),
    ok = py_port:register_function(never, fun([]) -> Self ! asked, receive after infinity -> ok end end),
    {ok, Ctx} = py_port:start_context(#{io => null, kill_after => 20000}),
    ok = py_port:exec(Ctx,
        "import erlang\n"
        "class Slow(Exception):\n"
        "    asks = True\n"
        "    def __str__(self):\n"
        "        if Slow.asks:\n"
        "            Slow.asks = False\n"
        "            erlang.call('never')\n"
        "        return 'slow'\n"
        "def fails():\n"
        "    Slow.asks = True\n"
        "    raise Slow()\n"),
    Interrupted = py_port:async_call(Ctx, '__main__', fails, []),
    receive asked -> ok end,
    ok = py_port:interrupt(Ctx),
    ?assertEqual({error, interrupted}, py_port:await(Interrupted)),
    Cancelled = py_port:async_call(Ctx, '__main__', fails, []),
    receive asked -> ok end,
    ok = py_port:cancel(Cancelled),
    ?assertEqual({error, cancelled}, py_port:await(Cancelled)),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    ?assertMatch(#{last_stop := #{step := cancelled}}, py_port:info(Ctx)),
    ok = py_port:unregister_function(never),
    ok = py_port:stop_context(Ctx).

%% The answer wakes a task, and the interrupt comes in the middle of that: it is not to be lost, nor the answer.
an_interrupt_in_the_delivery_of_an_answer_reaches_who_waits(Config) ->
    ok = py_port:register_function(same, fun([X]) -> X end),
    {ok, Ctx} = py_port:start_context(#{io => null, kill_after => 20000}),
    ok = py_port:exec(Ctx,
        "import asyncio, erlang, os, time\n"
        "class Loop(asyncio.SelectorEventLoop):\n"
        "    files = None\n"
        "    def call_soon(self, *args, **kwargs):\n"
        "        if self.files:\n"
        "            (come, go), self.files = self.files, None\n"
        "            open(come, 'w').close()\n"
        "            while not os.path.exists(go):\n"
        "                time.sleep(0.01)\n"
        "        return super().call_soon(*args, **kwargs)\n"
        "def waits(come, go):\n"
        "    loop = Loop()\n"
        "    async def main():\n"
        "        loop.files = come, go\n"
        "        return await erlang.async_call('same', 1)\n"
        "    try:\n"
        "        return loop.run_until_complete(main())\n"
        "    finally:\n"
        "        loop.close()\n"),
    Come = py_port_test:marker(Config, "come"),
    Go = py_port_test:marker(Config, "go"),
    Handle = py_port:async_call(Ctx, '__main__', waits, [Come, Go]),
    ok = py_port_test:await_file(Come),
    ok = py_port:interrupt(Ctx),
    ok = file:write_file(Go, <<>>),
    ?assertEqual({error, interrupted}, py_port:await(Handle, 20000)),
    ok = py_port:unregister_function(same),
    ok = py_port:stop_context(Ctx).

%% A wait in a thread that is stopped raises KeyboardInterrupt there, which asyncio lets through all of a loop.
what_ends_in_a_thread_below_a_loop_does_not_end_the_loop(_Config) ->
    {ok, Ctx} = py_port:start_context(#{io => null}),
    ok = py_port:exec(Ctx,
        "import asyncio, erlang\n"
        "def ends():\n"
        "    raise KeyboardInterrupt\n"
        "def outer():\n"
        "    return asyncio.run(main())\n"
        "async def main():\n"
        "    return await erlang.async_call('nested')\n"),
    ok = py_port:register_function(nested, fun([]) ->
        {error, {python, #{type := Type}}} = py_port:call(Ctx, '__main__', ends, [], #{}, #{thread => true}),
        Type
    end),
    ?assertEqual({ok, <<"CancelledError">>}, py_port:call(Ctx, '__main__', outer, [])),
    ok = py_port:unregister_function(nested),
    ok = py_port:stop_context(Ctx).

%% The main thread stands in C code of ours then, and not in Python.
what_waits_for_erlang_can_be_interrupted(_Config) ->
    Self = self(),
    ok = py_port:register_function(never, fun([]) -> Self ! {asked, self()}, receive after infinity -> ok end end),
    {ok, Ctx} = py_port:start_context(#{io => null, kill_after => 20000}),
    spawn_link(fun() -> Self ! {got, py_port:eval(Ctx, "__import__('erlang').call('never')")} end),
    Job = receive {asked, Pid} -> Pid end,
    Monitor = erlang:monitor(process, Job),
    ok = py_port:interrupt(Ctx),
    receive {got, Got} -> ?assertEqual({error, interrupted}, Got) end,
    receive {'DOWN', Monitor, process, Job, Why} -> ?assertEqual(killed, Why) end,
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    ok = py_port:unregister_function(never),
    ok = py_port:stop_context(Ctx).

%% A server that says goodbye when its context is stopped: a coroutine's `finally' awaits Erlang while the worker ends.
what_cleans_up_at_the_end_can_still_call_erlang(_Config) ->
    Self = self(),
    ok = py_port:register_function(goodbye, fun([Who]) -> Self ! {goodbye, Who}, Who end),
    {ok, Ctx} = py_port:start_context(#{io => null}),
    ok = py_port:exec(
        Ctx,
        "import asyncio, atexit, erlang\n"
        "said = []\n"
        "async def serve(who):\n"
        "    try: await asyncio.sleep(1000)\n"
        "    finally: said.append(await erlang.async_call('goodbye', who))\n"
        "async def start():\n"
        "    erlang.spawn_task(serve('spawned'))\n"
        "    asyncio.get_running_loop().create_task(serve('created'))\n"
        "    await asyncio.sleep(0)\n"
        "atexit.register(lambda: erlang.call('goodbye', list(said)))\n"
    ),
    {ok, none} = py_port:call(Ctx, '__main__', start, []),
    spawn_link(fun() -> Self ! {served, py_port:call(Ctx, '__main__', serve, [<<"call">>])} end),
    true = py_port_test:wait_until(fun() -> maps:get(in_flight, py_port:info(Ctx)) =:= 1 end, 10000),
    {ok, 4.0} = py_port:call(Ctx, math, sqrt, [16]),
    ok = py_port:stop_context(Ctx),
    %% The tasks of calls and spawned ones go first, those that somebody made follow, then what was registered for the end.
    Said = [receive {goodbye, Who} -> Who after 0 -> nothing end || _ <- lists:seq(1, 4)],
    ?assertEqual([<<"call">>, <<"spawned">>], lists:sort(lists:sublist(Said, 2))),
    ?assertEqual([<<"created">>, lists:sublist(Said, 3)], lists:nthtail(2, Said)),
    receive {served, Got} -> ?assertEqual({error, {worker_down, stopped}}, Got) end,
    ok = py_port:unregister_function(goodbye).

%% What cleaning up leads to is cancelled in its turn, and that is no error of the code that is.
what_is_called_while_the_context_ends_is_told_of_the_end(_Config) ->
    Self = self(),
    {ok, Ctx} = py_port:start_context(#{io => null}),
    ok = py_port:exec(
        Ctx,
        "import asyncio, erlang\n"
        "async def waits(name):\n"
        "    try: await asyncio.sleep(1000)\n"
        "    finally: await erlang.async_call(name)\n"
        "async def start():\n"
        "    erlang.spawn_task(waits('goodbye'))\n"
        "    await asyncio.sleep(0)\n"
    ),
    ok = py_port:register_function(goodbye, fun([]) -> Self ! {goodbye, py_port:call(Ctx, asyncio, sleep, [1000])} end),
    {ok, none} = py_port:call(Ctx, '__main__', start, []),
    ok = py_port:stop_context(Ctx, 20000),
    ?assertEqual({error, {worker_down, stopped}}, receive {goodbye, Got} -> Got after 0 -> nothing end),
    ok = py_port:unregister_function(goodbye).

%% asyncio.run with a signal handler takes the wake-up of signals for itself, and then gives it up.
a_signal_wakes_an_idle_worker_after_a_loop_of_the_users_own(_Config) ->
    Self = self(),
    ok = py_port:register_function(hear, fun([What]) -> Self ! {heard, What}, What end),
    {ok, Ctx} = py_port:start_context(#{io => null}),
    ok = py_port:exec(
        Ctx,
        "import asyncio, erlang, os, signal, threading\n"
        "async def main():\n"
        "    loop = asyncio.get_running_loop()\n"
        "    loop.add_signal_handler(signal.SIGUSR2, print)\n"
        "    loop.remove_signal_handler(signal.SIGUSR2)\n"
        "def own_loop():\n"
        "    asyncio.run(main())\n"
        "    signal.signal(signal.SIGUSR1, lambda *_: erlang.call('hear', 'signal'))\n"
    ),
    {ok, none} = py_port:call(Ctx, '__main__', own_loop, []),
    #{os_pid := OsPid} = py_port:info(Ctx),
    _ = os:cmd("kill -USR1 " ++ integer_to_list(OsPid)),
    receive {heard, What} -> ?assertEqual(<<"signal">>, What) after 10000 -> ?assert(false) end,
    ok = py_port:unregister_function(hear),
    ok = py_port:stop_context(Ctx).

%% A package that is broken off while it is imported cannot be imported again: its part is there, and not bound any more.
a_call_whose_time_is_up_in_an_import_leaves_the_package_whole(Config) ->
    Dir = filename:join(proplists:get_value(priv_dir, Config), "modules"),
    File = filename:join([Dir, "two_parts", "__init__.py"]),
    ok = filelib:ensure_dir(File),
    ok = file:write_file(filename:join([Dir, "two_parts", "part.py"]), "__all__ = ['five']\ndef five(): return 5\n"),
    ok = file:write_file(File, "from .part import *\nimport time\ntime.sleep(3)\n__all__ = part.__all__\n"),
    {ok, Ctx} = py_port:start_context(#{io => null, path => [Dir], kill_after => 20000}),
    #{os_pid := OsPid} = py_port:info(Ctx),
    ?assertEqual({error, timeout}, py_port:call(Ctx, two_parts, five, [], #{}, #{timeout => 1000})),
    ?assertEqual({ok, 5}, py_port:call(Ctx, two_parts, five, [])),
    ?assertMatch(#{os_pid := OsPid, last_stop := #{step := cancelled}}, py_port:info(Ctx)),
    ok = py_port:stop_context(Ctx).

%% A job whose context dies while it works, and which then answers: nobody is there, and nothing is left of it.
an_answer_that_comes_after_the_context_died_reaches_nobody(_Config) ->
    Self = self(),
    ok = py_port:register_function(last, fun([]) ->
        #{context := Context} = py_port:caller(),
        Self ! {job, self()},
        Monitor = erlang:monitor(process, Context),
        true = exit(Context, kill),
        receive {'DOWN', Monitor, process, Context, killed} -> late end
    end),
    {ok, Ctx} = py_port:start_context(#{io => null, link => false}),
    ?assertMatch({error, {worker_down, _}}, py_port:eval(Ctx, "__import__('erlang').call('last')")),
    Job = receive {job, Pid} -> Pid end,
    Monitor = erlang:monitor(process, Job),
    receive {'DOWN', Monitor, process, Job, Why} -> ?assert(lists:member(Why, [normal, killed, noproc])) end,
    ?assert(py_port_test:wait_until(fun() -> ets:info(py_port_jobs, size) =:= 0 end, 10000)),
    ok = py_port:unregister_function(last).

%% Threads that Python did not make have no state of Python's before they call in.
a_thread_made_by_c_code_calls_erlang(_Config) ->
    ok = py_port:register_function(twice, fun([N]) -> 2 * N end),
    {ok, Ctx} = py_port:start_context(#{io => null}),
    ok = py_port:exec(
        Ctx,
        "import ctypes, erlang\n"
        "got = []\n"
        "Start = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)\n"
        "def begin(_):\n    got.append(erlang.call('twice', 21))\n    return None\n"
        "begin_c = Start(begin)\n"
        "lib = ctypes.CDLL(None)\n"
        "def run():\n"
        "    thread = ctypes.c_ulong()\n"
        "    assert lib.pthread_create(ctypes.byref(thread), None, begin_c, None) == 0\n"
        "    assert lib.pthread_join(thread, None) == 0\n"
        "    return got\n"
    ),
    ?assertEqual({ok, [42]}, py_port:call(Ctx, '__main__', run, [])),
    ok = py_port:unregister_function(twice),
    ok = py_port:stop_context(Ctx).

%% Ten coroutines with one deadline, and one of them does not let the loop go on.
the_task_that_blocks_the_loop_is_the_one_that_is_interrupted(_Config) ->
    {ok, Ctx} = py_port:start_context(#{io => null, kill_after => 20000}),
    ok = py_port:exec(Ctx, "import asyncio, time\nasync def wait(): await asyncio.sleep(1000)\nasync def block(): time.sleep(1000)\n"),
    Self = self(),
    Waiting = [wait, wait, wait, wait, block, wait, wait, wait, wait, wait],
    [
        spawn_link(fun() -> Self ! {done, py_port:call(Ctx, '__main__', F, [], #{}, #{timeout => 500})} end)
     || F <- Waiting
    ],
    [receive {done, Got} -> ?assertEqual({error, timeout}, Got) end || _ <- Waiting],
    %% If it was not interrupted, this waits until the kill and fails.
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    ok = py_port:stop_context(Ctx).

a_worker_leads_its_own_process_group(_Config) ->
    {ok, Ctx} = py_port:start_context(#{io => null}),
    {ok, Group} = py_port:call(Ctx, os, getpgid, [0]),
    ?assertMatch(#{os_pid := Group}, py_port:info(Ctx)),
    ok = py_port:stop_context(Ctx).

a_start_imports_nothing_that_is_slow(_Config) ->
    {ok, Ctx} = py_port:start_context(#{io => null}),
    Loaded = py_port:eval(Ctx, "sorted({'asyncio', 'logging', 'dataclasses'} & set(__import__('sys').modules))"),
    ?assertEqual({ok, []}, Loaded),
    ok = py_port:stop_context(Ctx).

%% As an upgrade does it, which knows of the context alone: it is in a supervisor's tree.
what_a_context_consists_of_outlives_its_code(_) ->
    {ok, Ctx} = py_port:start_context(#{io => self()}),
    Replaced = fun(Module) ->
        _ = code:purge(Module),
        {module, Module} = code:load_file(Module),
        code:purge(Module)
    end,
    ?assertEqual([], [M || M <- [py_port_writer, py_port_courier, py_port_io], Replaced(M)]),
    ?assertEqual(pong, py_port:ping(Ctx)),
    ?assertEqual({ok, 2.0}, py_port:await(py_port:async_call(Ctx, math, sqrt, [4]))),
    ok = py_port:exec(Ctx, "print('said')"),
    receive
        {py_port_output, Ctx, stdout, Line} -> ?assertEqual(<<"said">>, Line)
    after 10000 -> ct:fail(silent)
    end,
    ok = py_port:stop_context(Ctx).

%% The trace that there was before is gone then, and must not be sent.
a_timeout_that_sets_another_trace_as_it_is_read_is_heeded(_) ->
    {ok, Ctx} = py_port:start_context(#{io => null}),
    ok = py_port:register_function(trace, fun([]) -> maps:get(trace, py_port:caller()) end),
    ok = py_port:exec(
        Ctx,
        "import erlang\n"
        "from erlang import _port\n"
        "def trace(of, span): return '-'.join(['00', of * 32, span * 16, '01'])\n"
        "class Timeout:\n"
        "    def __init__(self): self.tokens, self.next = [_port.set_trace(trace('a', 'b'))], trace('c', 'd')\n"
        "    def __float__(self):\n"
        "        _port.reset_trace(self.tokens.pop())\n"
        "        _port.set_trace(self.next)\n"
        "        return 10.0\n"
        "def run(): return erlang.call('trace', timeout=Timeout())\n"
    ),
    Trace = <<"00-", (binary:copy(<<"c">>, 32))/binary, "-", (binary:copy(<<"d">>, 16))/binary, "-01">>,
    ?assertEqual({ok, Trace}, py_port:call(Ctx, '__main__', run, [])),
    ok = py_port:unregister_function(trace),
    ok = py_port:stop_context(Ctx).
