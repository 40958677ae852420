%% @doc What Python, C code and child processes print: where it arrives, how it is cut and dropped, and that neither the
%% protocol nor a mailbox suffers. And what else a worker's process may do: fork, spawn, threads, signals.
%% @end
-module(py_port_output_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-import(py_port_test, [context/1, async/1, await/1, await_log/0, await_line/1, message/1]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> py_port_test:cases(?MODULE).

init_per_testcase(_, Config) ->
    ok = py_port_test:start(),
    Config.

end_per_testcase(Case, Config) ->
    ok = py_port_test:release_logs(Case),
    py_port_test:end_per_testcase(Config).

%% Where it arrives --------------------------------------------------------------------------------------------------

everything_that_prints_reaches_the_log(_Config) ->
    ok = py_port_test:catch_logs(?FUNCTION_NAME),
    Ctx = context(#{name => py_port_test_output}),
    OsPid = py_port_test:os_pid(Ctx),
    [
        begin
            {ok, _} = py_port:call(Ctx, probe_output, Function, Args),
            #{meta := Meta, level := notice} = Event = await_log(),
            ?assertEqual({Function, "line of text"}, {Function, message(Event)}),
            ?assertMatch(
                {Function, #{domain := [py_port, python], stream := Stream, context := Ctx, os_pid := OsPid}},
                {Function, Meta}
            )
        end
     || {Function, Stream, Args} <- [
            {python_prints, stdout, [<<"line of text">>]},
            {python_prints_to_stderr, stderr, [<<"line of text">>]},
            {c_prints, stdout, [<<"line of text">>]},
            {raw_write, stdout, [1, <<"line of text\n">>]},
            {raw_write, stderr, [2, <<"line of text\n">>]},
            {child_prints, stdout, [<<"line of text">>]},
            {shell_prints, stdout, [<<"line of text">>]}
        ]
    ].

loggers_and_warnings_arrive_on_stderr(_Config) ->
    Ctx = context(#{io => self()}),
    {ok, _} = py_port:call(Ctx, probe_output, logs, [<<"careful">>]),
    ?assertEqual({stderr, <<"WARNING:root:careful">>}, await_line(Ctx)),
    {ok, _} = py_port:call(Ctx, probe_output, warns, [<<"old">>]),
    {stderr, Line} = await_line(Ctx),
    ?assertMatch({_, _}, binary:match(Line, <<"UserWarning: old">>)).

a_pid_gets_lines(_Config) ->
    Ctx = context(#{io => self()}),
    {ok, _} = py_port:call(Ctx, probe_output, python_prints, [<<"one\ntwo\n\nvier: ä"/utf8>>]),
    ?assertEqual(
        [{stdout, <<"one">>}, {stdout, <<"two">>}, {stdout, <<>>}, {stdout, <<"vier: ä"/utf8>>}],
        [await_line(Ctx) || _ <- lists:seq(1, 4)]
    ),
    %% bytes that are no text arrive as they are
    {ok, _} = py_port:call(Ctx, probe_output, raw_write, [1, {bytes, <<255, 0, 254, $\n>>}]),
    ?assertEqual({stdout, <<255, 0, 254>>}, await_line(Ctx)).

pieces_of_a_line_are_put_together(_Config) ->
    Ctx = context(#{io => self()}),
    {ok, _} = py_port:call(Ctx, probe_output, without_newline, [<<"first ">>]),
    {ok, _} = py_port:call(Ctx, probe_output, without_newline, [<<"second">>]),
    {ok, _} = py_port:call(Ctx, probe_output, without_newline, [<<" third\n">>]),
    ?assertEqual({stdout, <<"first second third">>}, await_line(Ctx)).

a_line_without_an_end_arrives_at_the_end(_Config) ->
    Ctx = context(#{io => self()}),
    {ok, _} = py_port:call(Ctx, probe_output, without_newline, [<<"last words">>]),
    ok = py_port:stop_context(Ctx),
    ?assertEqual({stdout, <<"last words">>}, await_line(Ctx)).

a_group_leader_gets_lines(_Config) ->
    Device = spawn_link(py_port_test, device, [self()]),
    Ctx = context(#{io => {group_leader, Device}}),
    {ok, _} = py_port:call(Ctx, probe_output, python_prints, [<<"to a device: ä"/utf8>>]),
    receive
        {put_chars, Chars} -> ?assertEqual(<<"to a device: ä\n"/utf8>>, unicode:characters_to_binary(Chars))
    after 60000 -> error(nothing_arrived)
    end.

null_gets_nothing(_Config) ->
    ok = py_port_test:catch_logs(?FUNCTION_NAME),
    Ctx = context(#{io => null}),
    {ok, _} = py_port:call(Ctx, probe_output, python_prints, [<<"into the void">>]),
    ok = py_port:stop_context(Ctx),
    ?assertEqual([], [message(E) || {log, E} <- py_port_test:flush(), message(E) =:= "into the void"]).

%% Limits ------------------------------------------------------------------------------------------------------------

a_long_line_is_cut(_Config) ->
    Ctx = context(#{io => self(), io_line => 100}),
    {ok, _} = py_port:call(Ctx, probe_output, long_line, [100]),
    ?assertEqual({stdout, binary:copy(<<"x">>, 100)}, await_line(Ctx)),
    {ok, _} = py_port:call(Ctx, probe_output, long_line, [1000000]),
    ?assertEqual({stdout, binary:copy(<<"x">>, 100)}, await_line(Ctx)),
    {ok, _} = py_port:call(Ctx, probe_output, python_prints, [<<"next">>]),
    ?assertEqual({stdout, <<"next">>}, await_line(Ctx)).

%% Nobody reads here but once at the end: our own mailbox is the one that could grow.
a_flood_is_dropped_and_counted(_Config) ->
    Ctx = context(#{io => self(), io_rate => 500}),
    Lines = 200000,
    Flood = async(fun() -> py_port:call(Ctx, probe_output, flood, [Lines]) end),
    Longest = watch_mailboxes(Ctx, Flood, 0),
    ?assert(Longest < 2000),
    %% the protocol is as it was
    ?assertEqual(pong, py_port:ping(Ctx)),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")),
    ok = py_port:stop_context(Ctx),
    Counted = fun(Line) ->
        case re:run(Line, "^\\.\\.\\. (\\d+) lines dropped$", [{capture, [1], binary}]) of
            {match, [N]} -> binary_to_integer(N);
            nomatch -> 0
        end
    end,
    %% every line is either here or counted; the last of them may still be on their way
    Told = accounted(Ctx, Counted, Lines, []),
    {Reports, Printed} = lists:partition(fun(Line) -> Counted(Line) > 0 end, Told),
    ?assert(length(Printed) < 100000),
    ?assertNotEqual([], Reports),
    ?assertEqual(Lines, length(Printed) + lists:sum([Counted(R) || R <- Reports])).

%% A mailbox that is long at the end gets the count all the same.
a_listener_that_was_too_slow_is_told_how_much_it_missed(_Config) ->
    Listener = async(fun() -> receive look -> [L || {py_port_output, _, _, L} <- py_port_test:flush()] end end),
    Ctx = context(#{io => element(1, Listener), io_rate => 1000000}),
    [element(1, Listener) ! {noise, N} || N <- lists:seq(1, 1500)],
    ok = py_port:exec(Ctx, "for i in range(100): print(i)\n"),
    ok = py_port:stop_context(Ctx),
    %% 1,500 of noise and one that counts
    ?assert(py_port_test:wait_until(fun() -> {message_queue_len, 1501} =:= process_info(element(1, Listener), message_queue_len) end, 10000)),
    element(1, Listener) ! look,
    ?assertEqual([<<"... 100 lines dropped">>], await(Listener)).

accounted(Ctx, Counted, Missing, Told) when Missing > 0 ->
    receive
        {py_port_output, Ctx, stdout, Line} ->
            accounted(Ctx, Counted, Missing - max(1, Counted(Line)), [Line | Told])
    after 20000 -> Told
    end;
accounted(_, _, _, Told) ->
    Told.

a_flood_into_the_log_does_not_stop_others(_Config) ->
    Ctx = context(#{io => null}),
    Other = context(#{}),
    Flood = async(fun() -> py_port:call(Ctx, probe_output, flood, [200000]) end),
    [?assertEqual({ok, N}, py_port:eval(Other, integer_to_list(N))) || N <- lists:seq(1, 200)],
    ?assertEqual({ok, 200000}, await(Flood)).

%% What a worker's process may do ------------------------------------------------------------------------------------

stdin_is_empty_and_no_descriptor_leaks(_Config) ->
    Ctx = context(#{}),
    ?assertEqual({ok, <<>>}, py_port:call(Ctx, probe_output, same_stdin, [])),
    %% 3 is the directory that ls itself reads
    ?assertEqual({ok, [0, 1, 2, 3]}, py_port:call(Ctx, probe_output, descriptors, [])).

multiprocessing_works_by_spawn_and_by_fork(_Config) ->
    Ctx = context(#{}),
    [
        begin
            ?assertEqual({Method, {ok, [1, 4, 9]}}, {Method, py_port:call(Ctx, probe_processes, pool, [Method, [1, 2, 3]])}),
            ?assertEqual({Method, {ok, [<<"from the child">>, 0]}}, {Method, py_port:call(Ctx, probe_processes, queue_between, [Method])}),
            ?assertEqual({Method, {ok, [16, 25]}}, {Method, py_port:call(Ctx, probe_processes, executor, [Method, [4, 5]])})
        end
     || Method <- [<<"spawn">>, <<"fork">>, <<"forkserver">>]
    ],
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")).

a_subprocess_is_python(_Config) ->
    Ctx = context(#{}),
    ?assertEqual({ok, [0, <<"6\n">>, <<>>]}, py_port:call(Ctx, probe_processes, run_child, [<<"print(2 * 3)">>])),
    ?assertEqual({ok, [5, <<>>, <<>>]}, py_port:call(Ctx, probe_processes, run_child, [<<"raise SystemExit(5)">>])),
    %% signals that we ignore or handle are as usual in a child
    [?assertEqual({S, {ok, -S}}, {S, py_port:call(Ctx, probe_processes, child_status, [S])}) || S <- [13, 15, 10]].

a_forked_child_does_not_answer(_Config) ->
    Ctx = context(#{}),
    [
        ?assertMatch({ok, [<<"the parent">>, 0]}, py_port:call(Ctx, probe_processes, fork_and_return, []))
     || _ <- lists:seq(1, 5)
    ],
    ?assertEqual({ok, 5}, py_port:call(Ctx, probe_calls, coroutine, [5])),
    ?assertEqual([], py_port_test:children(py_port_test:os_pid(Ctx))).

threads_run_during_calls_and_between_them(_Config) ->
    Ctx = context(#{}),
    ?assertEqual({ok, lists:seq(0, 19)}, py_port:call(Ctx, probe_processes, threads, [20])),
    {ok, _} = py_port:call(Ctx, probe_processes, start_background, []),
    {ok, Before} = py_port:call(Ctx, probe_processes, turns, []),
    Later = fun() -> {ok, Now} = py_port:call(Ctx, probe_processes, turns, []), Now > Before + 5 end,
    ?assert(py_port_test:wait_until(Later, 30000)),
    {ok, _} = py_port:call(Ctx, probe_processes, stop_background, []).

a_call_runs_on_the_main_thread_and_may_handle_signals(_Config) ->
    Ctx = context(#{}),
    ?assertEqual({ok, true}, py_port:call(Ctx, probe_processes, in_thread, [x])),
    ?assertEqual({ok, [10]}, py_port:call(Ctx, probe_processes, handle_own_signal, [])),
    ?assertEqual({ok, true}, py_port:call(Ctx, probe_processes, alarm, [])).

%% Helpers -----------------------------------------------------------------------------------------------------------

%% The longest mailbox of the context's processes and of ours, until the call has ended.
watch_mailboxes(Ctx, {Pid, Ref} = Call, Longest) ->
    {links, Links} = process_info(Ctx, links),
    Watched = [Ctx, self() | [P || P <- Links, is_pid(P)]],
    Now = lists:max([0 | [N || P <- Watched, {message_queue_len, N} <- [process_info(P, message_queue_len)]]]),
    receive
        {'DOWN', Ref, process, Pid, {result, Result}} ->
            ?assertEqual({ok, 200000}, Result),
            max(Now, Longest)
    after 5 -> watch_mailboxes(Ctx, Call, max(Now, Longest))
    end.
