%% A context that cannot start says why, in words that a person can act on, with what the worker printed; the process that
%% asked for it lives, a supervisor sees a start error, and nothing is left behind.
-module(py_port_start_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, init/1, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    missing_python/1,
    python_that_is_no_python/1,
    missing_venv/1,
    venv_whose_python_is_gone/1,
    venv_whose_home_is_gone/1,
    venv_of_a_version_without_worker/1,
    missing_worker/1,
    worker_that_is_no_program/1,
    worker_that_ends_at_once/1,
    init_that_raises/1,
    init_with_a_syntax_error/1,
    init_that_exits/1,
    init_module_that_is_missing/1,
    init_that_hangs/1,
    init_that_hangs_in_c/1,
    init_that_segfaults/1,
    init_that_leaves_a_child_and_raises/1,
    missing_cwd/1,
    path_that_is_no_list/1,
    options_with_much_text/1,
    memory_limit_too_low_for_python/1,
    file_limit_too_low_for_python/1,
    name_that_is_taken/1,
    supervisor_sees_a_start_error/1,
    parent_that_dies_during_init/1,
    failed_start_frees_the_name/1,
    failed_start_without_a_link/1,
    init_that_hangs_holds_up_no_other_context/1,
    context_that_is_stopped_during_init/1,
    context_that_is_stopped_more_than_once_during_init/1,
    context_that_is_ready_before_the_grace_is_over_stops_in_order/1,
    application_that_stops_during_init/1
]).

-define(SOON, 20000).

all() ->
    [
        missing_python,
        python_that_is_no_python,
        missing_venv,
        venv_whose_python_is_gone,
        venv_whose_home_is_gone,
        venv_of_a_version_without_worker,
        missing_worker,
        worker_that_is_no_program,
        worker_that_ends_at_once,
        init_that_raises,
        init_with_a_syntax_error,
        init_that_exits,
        init_module_that_is_missing,
        init_that_hangs,
        init_that_hangs_in_c,
        init_that_segfaults,
        init_that_leaves_a_child_and_raises,
        missing_cwd,
        path_that_is_no_list,
        options_with_much_text,
        memory_limit_too_low_for_python,
        file_limit_too_low_for_python,
        name_that_is_taken,
        supervisor_sees_a_start_error,
        parent_that_dies_during_init,
        failed_start_frees_the_name,
        failed_start_without_a_link,
        init_that_hangs_holds_up_no_other_context,
        context_that_is_stopped_during_init,
        context_that_is_stopped_more_than_once_during_init,
        context_that_is_ready_before_the_grace_is_over_stops_in_order,
        application_that_stops_during_init
    ].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) ->
    ok.

end_per_testcase(_Case, Config) ->
    py_port_test:end_per_testcase(Config).

%% Not linked, and no exit trapped: a start that fails must not take the caller with it.
fails(Options) ->
    {trap_exit, false} = process_info(self(), trap_exit),
    Started = py_port:start_context(maps:merge(#{io => null}, Options)),
    ?assertMatch({error, _}, Started),
    ?assertEqual([], py_port_test:flush()),
    Text = py_port:format_error(Started),
    ct:pal("~ts", [Text]),
    {error, Reason} = Started,
    {Reason, Text}.

start_failed(Options) ->
    {{start_failed, #{stderr := _, stack := _} = Failure}, Text} = fails(Options),
    {Failure, Text}.

says(Text, Part) ->
    ?assertNotEqual({Text, nomatch}, {Text, binary:match(Text, unicode:characters_to_binary(Part))}).

missing_python(_Config) ->
    {{bad_option, python, _}, Text} = fails(#{python => "/no/such/python3"}),
    says(Text, "/no/such/python3"),
    {{bad_option, python, _}, _} = fails(#{python => "3.99"}).

python_that_is_no_python(_Config) ->
    {{bad_option, python, _}, Text} = fails(#{python => "/bin/sh"}),
    says(Text, "/bin/sh"),
    {{bad_option, python, _}, _} = fails(#{python => "/etc/passwd"}),
    {{bad_option, python, _}, _} = fails(#{python => "/bin/true"}).

missing_venv(Config) ->
    {{bad_option, venv, _}, _} = fails(#{venv => "/no/such/venv"}),
    {{bad_option, venv, _}, Text} = fails(#{venv => proplists:get_value(priv_dir, Config)}),
    says(Text, "pyvenv.cfg").

venv(Config, Version, Home, Link) ->
    Name = "venv" ++ integer_to_list(erlang:unique_integer([positive])),
    Dir = filename:join(proplists:get_value(priv_dir, Config), Name),
    ok = filelib:ensure_dir(filename:join([Dir, "bin", "x"])),
    ok = file:write_file(filename:join(Dir, "pyvenv.cfg"), ["home = ", Home, "\nversion = ", Version, "\n"]),
    ok = file:make_symlink(Link, filename:join([Dir, "bin", "python"])),
    Dir.

venv_whose_python_is_gone(Config) ->
    {{bad_option, venv, _}, Text} = fails(#{venv => venv(Config, "3.11.2", "/gone/bin", "/gone/bin/python3")}),
    says(Text, "gone").

%% The link works and the place of the standard library does not.
venv_whose_home_is_gone(Config) ->
    {ok, Ctx} = py_port:start_context(#{}),
    #{executable := Python, version := _, python := Version} = py_port:info(Ctx),
    ok = py_port:stop_context(Ctx),
    Venv = venv(Config, Version, "/gone/bin", Python),
    %% Python itself then looks where it was built for, and may find what it needs.
    case py_port:start_context(#{venv => Venv, io => null}) of
        {ok, Other} ->
            ?assertEqual({ok, unicode:characters_to_binary(Venv)}, py_port:eval(Other, <<"__import__('sys').prefix">>)),
            ?assertEqual({ok, 4.0}, py_port:call(Other, math, sqrt, [16])),
            {comment, "it works without its home"};
        {error, _} = Error ->
            Text = py_port:format_error(Error),
            ct:pal("~ts", [Text]),
            ?assert(byte_size(Text) > 40),
            {comment, Text}
    end.

venv_of_a_version_without_worker(Config) ->
    {{bad_option, venv, _}, Text} = fails(#{venv => venv(Config, "3.2.1", "/usr/bin", "/bin/sh")}),
    says(Text, "3.2").

missing_worker(_Config) ->
    {{bad_option, worker, _}, Text} = fails(#{worker => "/no/such/worker"}),
    says(Text, "/no/such/worker").

worker_that_is_no_program(Config) ->
    File = filename:join(proplists:get_value(priv_dir, Config), "no_program"),
    ok = file:write_file(File, "not a program"),
    {Failure, Text} = start_failed(#{worker => File}),
    says(Text, "no_program"),
    ?assertMatch(#{what := worker}, Failure),
    ok = file:change_mode(File, 8#755),
    {_, _} = start_failed(#{worker => File}).

worker_that_ends_at_once(_Config) ->
    {#{what := worker}, Text} = start_failed(#{worker => "/bin/true"}),
    says(Text, "status 0"),
    {#{what := worker}, _} = start_failed(#{worker => "/bin/cat"}).

init_that_raises(_Config) ->
    Code = <<"import sys\nprint('about to fail', file=sys.stderr)\ndef f():\n  raise ValueError('no database')\nf()">>,
    {#{what := init, error := {python, #{type := <<"ValueError">>}}, stderr := Stderr}, Text} =
        start_failed(#{init => {code, Code}}),
    ?assert(lists:member(<<"about to fail">>, Stderr)),
    says(Text, "ValueError: no database"),
    says(Text, "about to fail").

init_with_a_syntax_error(_Config) ->
    {#{what := init}, Text} = start_failed(#{init => {code, <<"def f(:\n  pass">>}}),
    says(Text, "SyntaxError").

init_that_exits(_Config) ->
    {_, Text} = start_failed(#{init => {code, <<"import sys\nsys.exit('configuration is missing')">>}}),
    says(Text, "configuration is missing"),
    {#{what := worker}, Text2} = start_failed(#{init => {code, <<"import os\nos._exit(9)">>}}),
    says(Text2, "status 9").

init_module_that_is_missing(_Config) ->
    {#{what := init}, Text} = start_failed(#{init => {module, no_such_plugin}}),
    says(Text, "no_such_plugin").

init_that_hangs(_Config) ->
    hangs_in_wait(1500).

%% Python boots and comes so far in this time, or is started again with more.
hangs_in_wait(Timeout) ->
    Code = <<"import sys, time\nprint('waiting for godot', file=sys.stderr)\ndef wait():\n  time.sleep(600)\nwait()">>,
    {#{what := init_timeout, stack := Stack, stderr := Stderr}, Text} =
        start_failed(#{init => {code, Code}, init_timeout => Timeout}),
    case string:find(Stack, "in wait") of
        nomatch when Timeout < 60000 ->
            hangs_in_wait(4 * Timeout);
        _ ->
            says(Stack, "in wait"),
            ?assert(lists:member(<<"waiting for godot">>, Stderr)),
            says(Text, "init_timeout")
    end.

init_that_hangs_in_c(_Config) ->
    Code = <<"import itertools\nsum(itertools.repeat(0))">>,
    {#{what := init_timeout}, _} = start_failed(#{init => {code, Code}, init_timeout => 500}).

init_that_segfaults(_Config) ->
    Code = <<"import ctypes\ndef crash():\n  ctypes.string_at(0)\ncrash()">>,
    {#{what := worker, stack := Stack}, Text} = start_failed(#{init => {code, Code}}),
    says(Stack, "in crash"),
    says(Text, "sigsegv").

init_that_leaves_a_child_and_raises(Config) ->
    File = filename:join(proplists:get_value(priv_dir, Config), "child.pid"),
    Code = [
        "import subprocess\nchild = subprocess.Popen(['sleep', '600'], start_new_session=True)\n",
        "open('", File, "', 'w').write(str(child.pid))\nraise ValueError('after the child')"
    ],
    {#{what := init}, _} = start_failed(#{init => {code, unicode:characters_to_binary(Code)}}),
    {ok, Pid} = file:read_file(File),
    ?assertNot(py_port_test:os_alive(binary_to_integer(Pid))).

missing_cwd(_Config) ->
    {_, Text} = start_failed(#{cwd => "/no/such/folder"}),
    says(Text, "/no/such/folder").

path_that_is_no_list(_Config) ->
    {{bad_option, path, _}, _} = fails(#{path => "/a/folder"}),
    {{bad_option, path, _}, _} = fails(#{path => <<"/a/folder">>}),
    {{bad_option, path, _}, _} = fails(#{path => [not_text]}).

%% An option has room for much, and who gives too much is told which it is.
options_with_much_text(_Config) ->
    {ok, Ctx} = py_port:start_context(#{
        init => [binary:copy(<<"#\"\\\n">>, 1_000_000), "x = 7"], env => #{"NOTE" => binary:copy(<<1>>, 3_000_000)}
    }),
    ?assertEqual({ok, [7, 3_000_000]}, py_port:eval(Ctx, "[x, len(__import__('os').environ['NOTE'])]")),
    ok = py_port:stop_context(Ctx),
    Much = binary:copy(<<"x">>, 17_000_000),
    [
        begin
            {#{what := config}, Text} = start_failed(#{Option => Value}),
            says(Text, [" in ", atom_to_list(Option), ";"])
        end
     || {Option, Value} <- [{init, <<"#", Much/binary>>}, {env, #{"A" => Much}}, {path, [Much]}]
    ].

memory_limit_too_low_for_python(_Config) ->
    [
        begin
            {_, Text} = start_failed(#{limits => #{memory => Bytes}}),
            says(Text, ["limits: memory ", integer_to_binary(Bytes)])
        end
     || Bytes <- [1, 1024 * 1024, 8_000_000, 12_000_000]
    ].

file_limit_too_low_for_python(_Config) ->
    [
        begin
            {_, Text} = start_failed(#{limits => #{files => N, cpu_seconds => 100}}),
            says(Text, ["limits: cpu_seconds 100, files ", integer_to_binary(N)])
        end
     || N <- [1, 8, 9, 10, 11, 12, 13]
    ].

name_that_is_taken(_Config) ->
    {ok, Ctx} = py_port:start_context(#{name => taken, link => false}),
    {{already_started, Ctx}, _} = fails(#{name => taken}),
    ?assertEqual(pong, py_port:ping(taken)).

failed_start_frees_the_name(_Config) ->
    {_, _} = start_failed(#{name => retried, init => {code, <<"1/0">>}}),
    {ok, Ctx} = py_port:start_context(#{name => retried, link => false}),
    ?assertEqual(Ctx, whereis(retried)).

init({Flags, Children}) ->
    {ok, {Flags, Children}}.

supervisor_sees_a_start_error(_Config) ->
    _ = process_flag(trap_exit, true),
    Spec = py_port:child_spec(#{name => doomed, io => null, init => {code, <<"raise ValueError('no')">>}}),
    {error, {shutdown, {failed_to_start_child, doomed, Why}}} = supervisor:start_link(?MODULE, {#{}, [Spec]}),
    ?assertMatch({start_failed, #{what := init}}, Why),
    {ok, Sup} = supervisor:start_link(?MODULE, {#{}, []}),
    ?assertMatch({error, {{start_failed, #{what := init}}, _}}, supervisor:start_child(Sup, Spec)),
    ?assertEqual([], supervisor:which_children(Sup)),
    true = unlink(Sup),
    true = exit(Sup, kill),
    _ = process_flag(trap_exit, false),
    _ = py_port_test:flush(),
    ok.

parent_that_dies_during_init(Config) ->
    {Parent, _, Worker} = hangs_in_init(Config, #{}),
    true = exit(Parent, kill),
    _ = py_port_trouble:gone_within([Worker], ?SOON).

failed_start_without_a_link(_Config) ->
    {#{what := init}, _} = start_failed(#{link => false, init => {code, <<"1/0">>}}),
    true = py_port_test:wait_until(fun() -> [] =:= supervisor:which_children(py_port_context_sup) end, ?SOON).

%% The supervisor of those without a link does not wait for it either.
init_that_hangs_holds_up_no_other_context(Config) ->
    {_, Ref, Worker} = hangs_in_init(Config, #{name => hangs, link => false}),
    {{already_started, _}, _} = fails(#{name => hangs, link => false}),
    {ok, Ctx} = py_port:start_context(#{link => false}),
    ?assertEqual({ok, 2}, py_port:eval(Ctx, <<"1 + 1">>)),
    true = exit(whereis(hangs), kill),
    ?assertEqual({error, killed}, outcome(Ref)),
    _ = py_port_trouble:gone_within([Worker], ?SOON).

%% It is no use to wait for what hangs, and who started it hears of it.
context_that_is_stopped_during_init(Config) ->
    lists:foreach(
        fun(Link) ->
            {_, Ref, Worker} = hangs_in_init(Config, #{name => hangs, link => Link}),
            ok = py_port:stop_context(hangs, 100),
            ?assertMatch({error, {start_failed, #{what := stopped}}}, outcome(Ref)),
            ?assertEqual(undefined, whereis(hangs)),
            _ = py_port_trouble:gone_within([Worker], ?SOON)
        end,
        [true, false]
    ).

%% Of several who stop it the most impatient counts.
context_that_is_stopped_more_than_once_during_init(Config) ->
    {_, Ref, Worker} = hangs_in_init(Config, #{name => hangs}),
    Stop = fun(Ms) -> spawn_monitor(fun() -> exit({outcome, py_port:stop_context(hangs, Ms)}) end) end,
    Stopping = [Stop(Ms) || Ms <- [infinity, 600000, 200, 300000, infinity]],
    ?assertMatch({error, {start_failed, #{what := stopped}}}, outcome(Ref)),
    [?assertEqual(ok, outcome(Stopped)) || {_, Stopped} <- Stopping],
    _ = py_port_trouble:gone_within([Worker], ?SOON).

context_that_is_ready_before_the_grace_is_over_stops_in_order(Config) ->
    Go = py_port_trouble:go_file(Config),
    Code = ["import atexit, os, time\nwhile not os.path.exists('", Go, "'): time.sleep(0.005)\n",
            "atexit.register(lambda: open('", Go, ".end', 'w').close())"],
    Starter = spawn_monitor(fun() ->
        exit({outcome, py_port:start_context(#{name => slow, link => false, init => {code, unicode:characters_to_binary(Code)}})})
    end),
    true = py_port_test:wait_until(fun() -> whereis(slow) =/= undefined end, ?SOON),
    {Stopper, Ref} = spawn_monitor(fun() -> exit({outcome, py_port:stop_context(slow, 60000)}) end),
    true = py_port_test:wait_until(fun() -> {status, waiting} =:= process_info(Stopper, status) end, ?SOON),
    ok = py_port_trouble:go(Go),
    ?assertEqual(ok, outcome(Ref)),
    ?assertMatch({ok, _}, outcome(element(2, Starter))),
    ?assert(filelib:is_regular(<<Go/binary, ".end">>)).

application_that_stops_during_init(Config) ->
    {_, Ref, Worker} = hangs_in_init(Config, #{link => false}),
    ok = application:stop(py_port),
    ?assertEqual({error, shutdown}, outcome(Ref)),
    _ = py_port_trouble:gone_within([Worker], ?SOON),
    ok = py_port_test:start().

%% Who started it, the monitor that tells what came of it, and the worker, which is in `init' and stays there.
hangs_in_init(Config, Options) ->
    File = unicode:characters_to_list(py_port_test:marker(Config, "init.pid")),
    Code = ["import os, time\nopen('", File, ".new', 'w').write(str(os.getpid()))\n",
            "os.rename('", File, ".new', '", File, "')\ntime.sleep(600)"],
    Hangs = Options#{io => null, init => {code, unicode:characters_to_binary(Code)}, init_timeout => 600000},
    {Starter, Ref} = spawn_monitor(fun() -> exit({outcome, py_port:start_context(Hangs)}) end),
    true = py_port_test:wait_until(fun() -> filelib:is_regular(File) end, ?SOON),
    {ok, Text} = file:read_file(File),
    {Starter, Ref, py_port_trouble:identity(binary_to_integer(Text))}.

outcome(Ref) ->
    receive
        {'DOWN', Ref, process, _, {outcome, Outcome}} -> Outcome
    after ?SOON -> error(still_waits)
    end.
