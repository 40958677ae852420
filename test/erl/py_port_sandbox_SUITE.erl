%% @doc The option `sandbox': ways to another process that it leaves open, and that it changes nothing where it is not
%% asked for.
%% @end
-module(py_port_sandbox_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- [blocked].

end_per_testcase(_, Config) ->
    py_port_test:end_per_testcase(Config).

every_way_to_another_process_is_blocked(_Config) ->
    Ctx = py_port_test:context(#{sandbox => audit, io => null}),
    Ways = [
        {"__import__('os').fork()", <<"os.fork">>},
        {"__import__('os').forkpty()", <<"os.forkpty">>},
        {"__import__('os').execv('/bin/true', ['true'])", <<"os.exec">>},
        {"__import__('os').posix_spawn('/bin/true', ['true'], {})", <<"os.posix_spawn">>},
        {"__import__('os').system('true')", <<"os.system">>},
        {"__import__('os').popen('true')", <<"subprocess.Popen">>},
        {"__import__('subprocess').run(['true'])", <<"subprocess.Popen">>},
        {"__import__('os').spawnv(0, '/bin/true', ['true'])", <<"os.fork">>},
        {"__import__('pty').spawn(['/bin/true'])", <<"pty.spawn">>},
        {"__import__('asyncio').run(__import__('asyncio').create_subprocess_exec('/bin/true'))", <<"subprocess.Popen">>},
        {"__import__('erlang').run(__import__('asyncio').create_subprocess_exec('/bin/true'))", <<"subprocess.Popen">>},
        {"__import__('_erlang_loop').spawn('/bin/true', ['/bin/true'], ['true'], None, None, (-1, -1, -1), (), True, False, -1, -1)",
            <<"aio.spawn">>},
        {"__import__('multiprocessing').get_context('fork').Process(target=print).start()", <<"os.fork">>},
        {"__import__('multiprocessing').get_context('spawn').Process(target=print).start()",
            <<"_posixsubprocess.fork_exec">>}
    ],
    [?assertEqual({Code, What}, {Code, blocked(py_port:eval(Ctx, Code))}) || {Code, What} <- Ways],
    %% and the context goes on
    ?assertEqual({ok, 2}, py_port:eval(Ctx, "1 + 1")).

it_cannot_be_taken_away_by_forgetting_its_modules(_Config) ->
    Ctx = py_port_test:context(#{sandbox => audit, io => null}),
    Code =
        "import sys, importlib, gc\n"
        "for name in [n for n in sys.modules if 'sandbox' in n or n == 'erlang' or n == '_posixsubprocess']:\n"
        "    del sys.modules[name]\n"
        "gc.collect()\n"
        "import os, subprocess\n",
    ok = py_port:exec(Ctx, Code),
    ?assertEqual(<<"os.system">>, blocked(py_port:eval(Ctx, "os.system('true')"))),
    ?assertEqual(<<"subprocess.Popen">>, blocked(py_port:eval(Ctx, "subprocess.run(['true'])"))).

init_code_runs_inside_it(_Config) ->
    ok = py_port_test:start(),
    Options = #{sandbox => audit, io => null, init => "import os; os.system('true')"},
    {error, {start_failed, #{what := init, message := Message}}} = py_port:start_context(Options),
    ?assertNotEqual(nomatch, binary:match(Message, <<"os.system is blocked in Erlang VM context.">>)).

what_starts_no_process_works(_Config) ->
    Ctx = py_port_test:context(#{sandbox => audit}),
    ok = py_port:exec(Ctx, "import subprocess, multiprocessing, asyncio, socket, threading, tempfile, concurrent.futures"),
    ?assertEqual({ok, 3}, py_port:eval(Ctx, "concurrent.futures.ThreadPoolExecutor(1).submit(lambda: 3).result()")),
    ?assertEqual({ok, 3}, py_port:call(Ctx, builtins, sum, [[1, 2]], #{}, #{thread => true})).

python_can_ask(_Config) ->
    Ctx = py_port_test:context(#{sandbox => audit}),
    ?assertEqual({ok, true}, py_port:call(Ctx, '_erlang_impl._sandbox', is_sandboxed, [])),
    Open = py_port_test:context(#{}),
    ?assertEqual({ok, false}, py_port:call(Open, 'erlang._sandbox', is_sandboxed, [])).

python_can_close_the_door_behind_itself(_Config) ->
    Ctx = py_port_test:context(#{io => null}),
    ?assertEqual({ok, 0}, py_port:eval(Ctx, "__import__('os').system('true')")),
    [?assertEqual({ok, none}, py_port:call(Ctx, '_erlang_impl._sandbox', install_sandbox, [])) || _ <- [once, twice]],
    ?assertEqual({ok, true}, py_port:call(Ctx, 'erlang._sandbox', is_sandboxed, [])),
    ?assertEqual(<<"os.system">>, blocked(py_port:eval(Ctx, "__import__('os').system('true')"))).

without_it_processes_are_ordinary_things(_Config) ->
    Ctx = py_port_test:context(#{sandbox => none}),
    ?assertEqual({ok, 0}, py_port:eval(Ctx, "__import__('subprocess').run(['true']).returncode")).

another_hook_that_refuses_it_is_told(_Config) ->
    Ctx = py_port_test:context(#{io => null}),
    Code = "import sys\ndef hook(event, args):\n  if event == 'sys.addaudithook': raise RuntimeError('no')\nsys.addaudithook(hook)",
    ok = py_port:exec(Ctx, Code),
    ?assertMatch(
        {error, {python, #{type := <<"PermissionError">>}}}, py_port:call(Ctx, 'erlang._sandbox', install_sandbox, [])
    ),
    ?assertEqual({ok, false}, py_port:call(Ctx, 'erlang._sandbox', is_sandboxed, [])).

other_values_are_refused(_Config) ->
    [
        ?assertMatch({V, {error, {bad_option, sandbox, _}}}, {V, py_port:start_context(#{sandbox => V})})
     || V <- [true, false, strict, "audit"]
    ].

%% What was blocked.
blocked({error, {python, #{type := <<"RuntimeError">>, message := Message}}}) ->
    case binary:split(Message, <<" is blocked in Erlang VM context. ">>) of
        [What, _] -> What;
        _ -> Message
    end;
blocked(Other) ->
    Other.
