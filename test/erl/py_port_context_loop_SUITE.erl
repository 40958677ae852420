%% @doc The context's own event loop: it belongs to the context, everything of asyncio works on it while calls run beside it, and
%% it costs nothing while nothing happens.
%% @end
-module(py_port_context_loop_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(py_port_test, [async/1, await/1, ctx/1, marker/2, wait_until/2]).

-define(PATIENCE, 60000).

suite() -> [{timetrap, {minutes, 4}}].

all() -> py_port_test:cases(?MODULE) -- [settled, rests, switches].

init_per_testcase(_, Config) ->
    ok = py_port_test:start(),
    Test = self(),
    ok = py_port:register_function(wait, fun([]) ->
        Test ! {waits, self()},
        receive
            go_on -> <<"went on">>
        end
    end),
    %% Nothing may come to the point at which the worker is killed.
    [{ctx, py_port_test:context(#{io => self(), kill_after => 600000})} | Config].

end_per_testcase(_, Config) ->
    ok = py_port_test:end_per_testcase(Config),
    ok = py_port:unregister_function(wait),
    %% Nothing was printed either.
    ?assertEqual([], py_port_test:flush()).

call(Config, Function, Args) ->
    py_port:call(ctx(Config), probe_context_loop, Function, Args).

%% It belongs to the context -------------------------------------------------------------------------------------------

it_cannot_be_ended_or_run_by_others(Config) ->
    {ok, none} = call(Config, keep_the_loop, []),
    [
        begin
            {ok, Said} = call(Config, Where, []),
            ?assertEqual({Where, 5}, {Where, map_size(Said)}),
            Refusal = <<": this loop belongs to the context; use erlang.run() for a loop of your own">>,
            [?assertEqual(<<What/binary, Refusal/binary>>, Text) || {What, Text} <- maps:to_list(Said)],
            ?assertEqual({ok, none}, py_port:call(ctx(Config), asyncio, sleep, [0]))
        end
     || Where <- [refused_in_a_coroutine, refused_outside]
    ].

threads_are_there_for_later_calls(Config) ->
    ?assertEqual({ok, [<<"RuntimeError">>, 5]}, call(Config, end_the_executor, [])),
    ?assertEqual({ok, [<<"RuntimeError">>, 5]}, call(Config, end_the_executor, [])).

exceptions_that_end_programs_end_one_task(Config) ->
    [
        begin
            ?assertEqual({ok, [Type, <<"goes on">>]}, call(Config, raise_in_a_task, [Type])),
            Beside = py_port:async_call(ctx(Config), asyncio, sleep, [0.05, <<"beside">>]),
            ?assertMatch({error, {python, #{type := Type, message := <<"enough">>}}}, call(Config, raise_it, [Type])),
            ?assertEqual({ok, <<"beside">>}, py_port:await(Beside))
        end
     || Type <- [<<"KeyboardInterrupt">>, <<"SystemExit">>]
    ].

%% Nobody has the result of a callback, so it is printed.
exceptions_that_end_programs_are_reported_when_they_come_from_a_callback(Config) ->
    [
        begin
            ?assertEqual({ok, <<"goes on">>}, call(Config, raise_in_a_callback, [Type])),
            printed_until(ctx(Config), <<Type/binary, ": enough">>),
            ?assertEqual({ok, none}, py_port:call(ctx(Config), asyncio, sleep, [0]))
        end
     || Type <- [<<"KeyboardInterrupt">>, <<"SystemExit">>]
    ].

printed_until(Ctx, Last) ->
    case py_port_test:await_line(Ctx) of
        {stderr, Last} -> ok;
        {stderr, _} -> printed_until(Ctx, Last)
    end.

%% Everything works on it, while calls run beside it -----------------------------------------------------------------------

descriptors_are_watched(Config) ->
    beside_calls(Config, descriptors, [], [<<"by hand">>, true, true, false]).

servers_and_clients_of_tcp(Config) -> beside_calls(Config, tcp, [20], 20).
servers_and_clients_of_unix_sockets(Config) -> beside_calls(Config, unix, [20], 20).
servers_and_clients_of_tls(Config) ->
    Folder = py_port_test:find_up(py_port_test:data_dir(), "test/python/loop/certs"),
    Files = [unicode:characters_to_binary(filename:join(Folder, Name)) || Name <- ["cert.pem", "key.pem"]],
    beside_calls(Config, tls, [5 | Files], 5).

datagrams(Config) -> beside_calls(Config, udp, [100], 100).
subprocesses(Config) -> beside_calls(Config, subprocesses, [5], [0, 1, 2, 3, 4]).
signal_handlers(Config) -> beside_calls(Config, signals, [20], lists:duplicate(20, <<"USR1">>)).
executors(Config) -> beside_calls(Config, executors, [100], lists:seq(0, 99)).
callbacks_of_threads(Config) -> beside_calls(Config, from_threads, [100], 100).

%% First alone, when the worker sleeps in between; then with calls that never let it sleep; then while it also waits for Erlang.
beside_calls(Config, Function, Args, Expected) ->
    ?assertEqual({ok, Expected}, call(Config, Function, Args)),
    Handle = py_port:async_call(ctx(Config), probe_context_loop, Function, Args),
    ?assertEqual({ok, Expected}, hammered(ctx(Config), Handle)),
    Both = [py_port:async_call(ctx(Config), probe_context_loop, Function, Args) || _ <- [1, 2], not lists:member(Function, [signals])],
    Waits = async(fun() -> py_port:call(ctx(Config), erlang, call, [wait]) end),
    [Job ! go_on || Job <- [waits()]],
    ?assertEqual({ok, <<"went on">>}, await(Waits)),
    ?assertEqual([{ok, Expected} || _ <- Both], py_port:gather(Both)).

%% The outcome, with calls one after the other until it is there.
hammered(Ctx, Handle) ->
    receive
        {py_port_reply, Handle, Outcome} -> Outcome
    after 0 ->
        ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
        hammered(Ctx, Handle)
    end.

waits() ->
    receive
        {waits, Job} -> Job
    after ?PATIENCE -> error(nobody_waits)
    end.

%% There is always another request, so the worker never comes to sleep.
callers_that_never_pause_do_not_starve_a_server(Config) ->
    {ok, Port} = call(Config, serve, []),
    Caller = fun Go() ->
        {ok, 499500} = call(Config, work, []),
        Go()
    end,
    Callers = [spawn_link(Caller) || _ <- lists:seq(1, 32)],
    {ok, Socket} = gen_tcp:connect("127.0.0.1", Port, [binary, {active, false}, {packet, line}]),
    Echoed = [
        begin
            ok = gen_tcp:send(Socket, [integer_to_list(I), $\n]),
            gen_tcp:recv(Socket, 0, ?PATIENCE)
        end
     || I <- lists:seq(1, 50)
    ],
    [true = unlink(Pid) andalso exit(Pid, kill) || Pid <- Callers],
    ?assertEqual([{ok, <<(integer_to_binary(I))/binary, $\n>>} || I <- lists:seq(1, 50)], Echoed),
    ok = gen_tcp:close(Socket).

%% Time ----------------------------------------------------------------------------------------------------------------

%% The shortest of many: the machine may be busy. With a clock of milliseconds none would be below one.
a_sleep_may_be_shorter_than_a_millisecond(Config) ->
    {ok, [Shortest, TooShort]} = call(Config, shortest_sleep, [500, 0.0002]),
    ct:pal("200 us took ~b us at best", [round(Shortest * 1000000)]),
    ?assertNot(TooShort),
    ?assert(Shortest < 0.0009).

timers_run_in_order_and_never_early_while_calls_run(Config) ->
    Expected = {ok, [lists:seq(0, 299), []]},
    ?assertEqual(Expected, call(Config, timers, [300, 0.0005])),
    ?assertEqual(Expected, hammered(ctx(Config), py_port:async_call(ctx(Config), probe_context_loop, timers, [300, 0.0005]))).

%% Sleeping --------------------------------------------------------------------------------------------------------------

an_idle_loop_makes_no_wake_ups(Config) ->
    [
        begin
            {ok, none} = call(Config, leave_behind, [What]),
            ?assertEqual({What, true}, {What, settled(ctx(Config))})
        end
     || What <- [timer, cancelled, server, connection, reader]
    ].

a_coroutine_that_blocks_a_busy_loop_sleeps(Config) ->
    Answer = py_port:async_call(ctx(Config), probe_context_loop, block_the_busy_loop, [wait]),
    Job = waits(),
    ?assert(settled(ctx(Config))),
    Job ! go_on,
    ?assertEqual({ok, <<"went on">>}, py_port:await(Answer)).

a_call_that_waits_beside_a_busy_loop_sleeps(Config) ->
    {ok, none} = call(Config, begin_busy, []),
    Answer = py_port:async_call(ctx(Config), probe_context_loop, block_beside_the_busy_loop, [wait]),
    Job = waits(),
    ?assert(settled(ctx(Config))),
    Job ! go_on,
    ?assertEqual({ok, <<"went on">>}, py_port:await(Answer)),
    ?assertEqual({ok, true}, call(Config, still_busy, [])).

%% Main waits for the GIL, and somebody reads the pipe all the same.
a_thread_that_keeps_the_gil_does_not_make_the_worker_deaf(Config) ->
    Ctx = ctx(Config),
    [Started, Fifo] = [marker(Config, Name) || Name <- ["started", "fifo"]],
    Holds = py_port:async_call(Ctx, probe_context_loop, hold_the_gil, [Started, Fifo], #{thread => true}),
    ok = py_port_test:await_file(Started),
    Behind = py_port:async_call(Ctx, math, sqrt, [16]),
    Pings = [py_port:ping(Ctx, 10000) || _ <- [1, 2]],
    StillHeld = py_port:await(Behind, 0),
    [] = os:cmd("echo > '" ++ binary_to_list(Fifo) ++ "'"),
    ?assertEqual([pong, pong], Pings),
    ?assertEqual({error, timeout}, StillHeld),
    ?assertEqual([{ok, none}, {ok, 4.0}], py_port:gather([Holds, Behind])).

%% No switch of any thread of the worker in a whole second, sooner or later: what calls left to do (the end of spinning, the last ticks) is
%% done at some time.
settled(Ctx) ->
    Pid = py_port_test:os_pid(Ctx),
    wait_until(fun() -> rests(Pid) end, 20000).

rests(Pid) ->
    Before = switches(Pid),
    receive
    after 1000 -> switches(Pid) =:= Before
    end.

switches(Pid) ->
    Files = filelib:wildcard("/proc/" ++ integer_to_list(Pid) ++ "/task/*/status"),
    [
        begin
            {ok, Status} = file:read_file(File),
            {match, [Number]} = re:run(Status, "^voluntary_ctxt_switches:\\s+(\\d+)", [multiline, {capture, all_but_first, binary}]),
            {File, Number}
        end
     || File <- Files
    ].

%% Children and what is closed -------------------------------------------------------------------------------------------

what_comes_after_a_fork_is_done_once(Config) ->
    ?assertEqual({ok, [0, 1]}, call(Config, fork_among_others, [marker(Config, "notes")])),
    ?assertEqual({ok, 4.0}, py_port:call(ctx(Config), math, sqrt, [16])).

%% The loop has seen that the descriptors are ready, and mostly has not told it yet.
a_call_may_unwatch_what_is_ready(Config) ->
    [
        begin
            {ok, none} = call(Config, watch_pairs, [20]),
            Calls = [
                py_port:async_call(ctx(Config), probe_context_loop, Function, Args)
             || {Function, Args} <- [{make_ready, [0.005]}, {unwatch, []}]
            ],
            ?assertEqual([{ok, none}, {ok, 20}], py_port:gather(Calls)),
            ?assertEqual({ok, none}, py_port:call(ctx(Config), asyncio, sleep, [0.001]))
        end
     || _ <- lists:seq(1, 5)
    ].
