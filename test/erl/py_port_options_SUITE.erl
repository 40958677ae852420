%% @doc The options of a context, one by one: what each does, and what is said when it is wrong. Names, supervisors, stopping
%% and contexts on other nodes are here too, because options decide about them.
%% @end
-module(py_port_options_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-import(py_port_test, [context/1, marker/2, async/1, await/1, kill/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE).

%% Contexts are called from another node, too.
init_per_suite(Config) ->
    case is_alive() of
        true ->
            Config;
        false ->
            _ = os:cmd("epmd -daemon"),
            {ok, _} = net_kernel:start([list_to_atom(peer:random_name(?MODULE)), shortnames]),
            [{distributed_by, ?MODULE} | Config]
    end.

end_per_suite(Config) ->
    case proplists:is_defined(distributed_by, Config) of
        true -> net_kernel:stop();
        false -> ok
    end.

init_per_testcase(_, Config) ->
    ok = py_port_test:start(),
    Config.

end_per_testcase(_, Config) ->
    py_port_test:end_per_testcase(Config).

%% Validation --------------------------------------------------------------------------------------------------------

every_wrong_option_is_named(_Config) ->
    Wrong = [
        {nmae, x}, {name, "text"}, {name, {local, "x"}}, {link, yes}, {python, 3.11}, {python, [0]}, {venv, self()},
        {cwd, 1}, {path, "/one/text"}, {path, [1]}, {path, dir}, {env, x}, {env, #{<<"A=B">> => 1}}, {env, #{a => {}}},
        {env, [a]}, {init, 5}, {init_timeout, infinity}, {start_timeout, -1}, {limits, []}, {call_timeout, soon},
        {kill_after, infinity}, {max_pending, 0}, {io, stdout}, {io_rate, 0}, {io_line, 1}, {types, x}, {spin, fast},
        {spin, -1}, {max_frame, 1}, {max_depth, 0}, {env, [{"A", "1"} | x]}, {path, ["a" | b]},
        {name, {via, no_such_registry, x}}, {name, {via, lists, x}}
    ],
    [
        begin
            {error, {bad_option, Named, Why}} = Error = py_port:start_context(#{Key => Value}),
            ?assertEqual({Key, Value, Key}, {Key, Value, Named}),
            ?assert(is_binary(Why) andalso byte_size(Why) > 10),
            ?assertMatch({_, _}, binary:match(py_port:format_error(Error), atom_to_binary(Key)))
        end
     || {Key, Value} <- Wrong
    ],
    [
        ?assertMatch({Key, {error, {bad_option, {Key, K}, _}}}, {Key, py_port:start_context(#{Key => #{K => V}})})
     || {Key, K, V} <- [
            {limits, memory, 0}, {limits, memroy, 1}, {limits, files, many}, {types, atoms, yes}, {types, binaries, text},
            {types, none, null}, {types, other, 1}
        ]
    ],
    ?assertMatch({error, {bad_option, options, _}}, py_port:start_context([])),
    ?assertMatch({error, {bad_option, venv, _}}, py_port:start_context(#{python => "3.11", venv => "/x"})),
    ?assertEqual([], py_port:contexts()).

a_python_that_is_not_there_is_named(_Config) ->
    {error, {bad_option, python, Why}} = py_port:start_context(#{python => "/nowhere/python3"}),
    ?assertMatch({_, _}, binary:match(Why, <<"/nowhere/python3">>)),
    ?assertMatch({error, {bad_option, python, _}}, py_port:start_context(#{python => "3.1"})),
    ?assertMatch({error, {bad_option, venv, _}}, py_port:start_context(#{venv => "/nowhere"})),
    ?assertMatch({error, {bad_option, worker, _}}, py_port:start_context(#{worker => "/nowhere"})).

%% Surroundings ------------------------------------------------------------------------------------------------------

path_comes_before_what_python_has(Config) ->
    Dir = proplists:get_value(priv_dir, Config),
    ok = file:write_file(filename:join(Dir, "json.py"), "MINE = 1\n"),
    Ctx = py_port_test:start_context(#{path => [Dir, "/second"]}),
    {ok, [First, Second | _]} = py_port:eval(Ctx, "[p for p in __import__('sys').path if p]"),
    ?assertEqual([filename:absname(Dir), "/second"], [filename:absname(binary_to_list(P)) || P <- [First, Second]]),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "__import__('json').MINE")).

the_environment_is_an_allowlist_and_what_was_given(_Config) ->
    true = os:putenv("PY_PORT_SECRET", "hidden"),
    true = os:putenv("PYTHONPATH", "/evil"),
    true = os:putenv("RELEASE_COOKIE", "monster"),
    try
        Ctx = context(#{env => #{<<"GIVEN">> => "yes", 'NUMBER' => 5, "TEXT" => <<"é"/utf8>>}}),
        {ok, Env} = py_port:eval(Ctx, "dict(__import__('os').environ)"),
        ?assertMatch(#{<<"GIVEN">> := <<"yes">>, <<"NUMBER">> := <<"5">>, <<"TEXT">> := <<"é"/utf8>>}, Env),
        ?assertEqual([], [K || K <- [<<"PY_PORT_SECRET">>, <<"PYTHONPATH">>, <<"RELEASE_COOKIE">>, <<"BINDIR">>], is_map_key(K, Env)]),
        ?assert(is_map_key(<<"PATH">>, Env)),
        {ok, Path} = py_port:eval(Ctx, "__import__('sys').path"),
        ?assertNot(lists:member(<<"/evil">>, Path)),
        %% a child has no more than the worker
        {ok, [0, Child, _]} = py_port:call(Ctx, probe_processes, run_child, [<<"import os; print(sorted(os.environ))">>]),
        ?assertEqual(nomatch, binary:match(Child, <<"SECRET">>)),
        ?assertEqual(nomatch, binary:match(Child, <<"COOKIE">>))
    after
        [os:unsetenv(N) || N <- ["PY_PORT_SECRET", "PYTHONPATH", "RELEASE_COOKIE"]]
    end.

cwd_is_where_python_is(Config) ->
    Dir = filename:absname(proplists:get_value(priv_dir, Config)),
    Ctx = py_port_test:start_context(#{cwd => Dir}),
    ?assertEqual({ok, unicode:characters_to_binary(Dir)}, py_port:call(Ctx, os, getcwd, [])),
    ?assertMatch({error, {start_failed, #{message := <<_, _/binary>>}}}, py_port:start_context(#{cwd => "/nowhere/at/all"})).

init_runs_before_the_first_call(_Config) ->
    Code = py_port_test:start_context(#{init => "import math\nready = math.pi"}),
    ?assertEqual({ok, math:pi()}, py_port:eval(Code, "ready")),
    Module = context(#{init => {module, probe_calls}}),
    ?assertEqual({ok, true}, py_port:eval(Module, "'probe_calls' in __import__('sys').modules")).

limits_hold(_Config) ->
    Ctx = context(#{limits => #{memory => 256 * 1024 * 1024, files => 64}}),
    OsPid = py_port_test:os_pid(Ctx),
    {error, {python, #{type := <<"MemoryError">>}}} = py_port:call(Ctx, probe_calls, too_much_memory, []),
    {error, {python, #{type := <<"OSError">>, message := Why}}} =
        py_port:eval(Ctx, "[open('/dev/null') for _ in range(100)]"),
    ?assertMatch({_, _}, binary:match(Why, <<"Too many open files">>)),
    ?assertEqual({ok, 64}, py_port:eval(Ctx, "__import__('resource').getrlimit(7)[0]")),
    ?assertEqual({ok, OsPid}, py_port:call(Ctx, os, getpid, [])).

%% Soft and hard, so that Python cannot raise it again; a second of CPU time lies between the signal that says why and the one
%% that cannot be defied. What is not limited is as it was.
limits_are_what_the_kernel_says(_Config) ->
    Get = fun(Limits) ->
        Code = "[list(r.getrlimit(x)) for r in [__import__('resource')] for x in [r.RLIMIT_NPROC, r.RLIMIT_NOFILE, r.RLIMIT_CPU, r.RLIMIT_DATA]]",
        {ok, Values} = py_port:eval(context(#{limits => Limits}), Code),
        Values
    end,
    [[_, Most], Files, Cpu, Data] = Get(#{}),
    %% Nobody but root may raise a hard limit.
    Processes =
        case Most of
            -1 -> 4321;
            _ -> Most - 1
        end,
    ?assertEqual(
        [[Processes, Processes], [77, 77], [1234, 1235], Data],
        Get(#{processes => Processes, files => 77, cpu_seconds => 1234})
    ),
    ?assertMatch([_, Files, Cpu, [1073741824, 1073741824]], Get(#{memory => 1073741824})).

spin_can_be_switched_off(_Config) ->
    Ctx = py_port_test:start_context(#{spin => off}),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 100)], [py_port:eval(Ctx, integer_to_list(N)) || N <- lists:seq(1, 100)]).

max_depth_can_be_set(_Config) ->
    Ctx = context(#{max_depth => 10}),
    Deep = fun(N) -> lists:foldl(fun(_, Acc) -> [Acc] end, [], lists:seq(1, N)) end,
    ?assertEqual({ok, Deep(9)}, py_port:call(Ctx, probe_calls, identity, [Deep(9)])),
    ?assertMatch({error, {bad_term, <<"args[0]", _/binary>>, _}}, py_port:call(Ctx, probe_calls, identity, [Deep(12)])).

%% Names -------------------------------------------------------------------------------------------------------------

a_context_is_found_by_any_kind_of_name(_Config) ->
    {ok, Names} = py_port_test_names(),
    [
        begin
            Ctx = context(#{name => Given}),
            ?assertEqual({Used, {ok, 4.0}}, {Used, py_port:call(Used, math, sqrt, [16])}),
            ?assertMatch(#{pid := Ctx}, py_port:info(Used)),
            ?assertEqual({error, {already_started, Ctx}}, py_port:start_context(#{name => Given})),
            ok = py_port:stop_context(Used),
            ?assertEqual({error, {worker_down, noproc}}, py_port:call(Used, math, sqrt, [16])),
            %% the name is free again
            Again = context(#{name => Given}),
            ok = py_port:stop_context(Again)
        end
     || {Given, Used} <- [
            {py_port_test_local, py_port_test_local},
            {{local, py_port_test_local}, py_port_test_local},
            {py_port_test_local, {py_port_test_local, node()}},
            {{global, {py_port, test}}, {global, {py_port, test}}},
            {{via, global, via_global}, {via, global, via_global}}
        ]
    ],
    ?assertEqual(Names, element(2, py_port_test_names())),
    ?assertEqual({error, {worker_down, noproc}}, py_port:call(no_such_name, math, sqrt, [1])).

py_port_test_names() -> {ok, {lists:sort(registered()), lists:sort(global:registered_names())}}.

%% Supervisors -------------------------------------------------------------------------------------------------------

a_supervisor_of_the_user_restarts_a_context(_Config) ->
    Old = process_flag(trap_exit, true),
    Name = py_port_test_child,
    #{id := Name, start := {_, _, _}} = Spec = py_port:child_spec(#{name => Name}),
    {ok, Sup} = supervisor:start_link(?MODULE, [Spec, maps:put(id, other, py_port:child_spec(#{}))]),
    First = whereis(Name),
    FirstOs = py_port_test:os_pid(First),
    Ref = monitor(process, First),
    _ = py_port:call(Name, os, '_exit', [3]),
    Reason =
        receive
            {'DOWN', Ref, process, First, R} -> R
        end,
    ?assertMatch({worker_exited, 3, #{}}, Reason),
    %% the supervisor answers when it has restarted what went down before
    Children = supervisor:which_children(Sup),
    {Name, Second, worker, _} = lists:keyfind(Name, 1, Children),
    ?assert(is_pid(Second)),
    ?assertNotEqual(First, Second),
    ?assertNotEqual(FirstOs, py_port_test:os_pid(Second)),
    ?assertEqual({ok, 4.0}, py_port:call(Name, math, sqrt, [16])),
    Pids = [py_port_test:os_pid(P) || {_, P, _, _} <- Children],
    stop_supervisor(Sup, shutdown),
    ?assertEqual([], py_port:contexts()),
    ?assert(py_port_test:wait_until(fun() -> not lists:any(fun py_port_test:os_alive/1, Pids) end, 10000)),
    process_flag(trap_exit, Old).

start_context_links(_Config) ->
    Self = self(),
    {Pid, Ref} = spawn_monitor(fun() ->
        Self ! {self(), py_port_test:start_context(#{})},
        receive stop -> ok end
    end),
    Ctx = receive {Pid, C} -> C end,
    Watch = monitor(process, Ctx),
    ok = kill({Pid, Ref}),
    receive
        {'DOWN', Watch, process, Ctx, _} -> ok
    end,
    ?assertEqual([], py_port:contexts()).

without_a_link_a_context_outlives_who_started_it(_Config) ->
    Starter = async(fun() -> py_port_test:start_context(#{link => false}) end),
    Ctx = await(Starter),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")),
    ?assertEqual([Ctx], py_port:contexts()).

%% Stopping ----------------------------------------------------------------------------------------------------------

stop_lets_what_runs_finish(Config) ->
    Ctx = context(#{}),
    Running = marker(Config, "running"),
    Call = async(fun() -> py_port:call(Ctx, probe_calls, spin_for, [Running, 0.5]) end),
    ok = py_port_test:await_file(Running),
    OsPid = py_port_test:os_pid(Ctx),
    ok = py_port:stop_context(Ctx, 60000),
    ?assertEqual({ok, <<"spun">>}, await(Call)),
    ?assertNot(py_port_test:os_alive(OsPid)).

stop_ends_what_does_not_finish(Config) ->
    [
        begin
            Ctx = context(#{}),
            Running = marker(Config, "running"),
            Call = async(fun() -> py_port:call(Ctx, probe_calls, What, [Running]) end),
            ok = py_port_test:await_file(Running),
            OsPid = py_port_test:os_pid(Ctx),
            ok = py_port:stop_context(Ctx, 100),
            ?assertEqual({What, {error, {worker_down, stopped}}}, {What, await(Call)}),
            ?assertNot(py_port_test:os_alive(OsPid))
        end
     || What <- [loop_forever, hold_the_gil]
    ].

stop_runs_finally_of_coroutines_and_atexit(Config) ->
    Ctx = context(#{}),
    {Running, Cleaned, Exited} = {marker(Config, "running"), marker(Config, "cleaned"), marker(Config, "exited")},
    ok = py_port:exec(Ctx, "import atexit, probe_calls\natexit.register(probe_calls.touch, path)", #{path => Exited}),
    ok = py_port:cast(Ctx, probe_calls, coroutine_forever, [Running, Cleaned]),
    ok = py_port_test:await_file(Running),
    ok = py_port:stop_context(Ctx, 3000),
    ?assert(filelib:is_file(Cleaned)),
    ?assert(filelib:is_file(Exited)).

stopping_what_is_gone_is_fine(_Config) ->
    Ctx = context(#{}),
    ?assertEqual(ok, py_port:stop_context(Ctx)),
    ?assertEqual(ok, py_port:stop_context(Ctx)),
    ?assertEqual(ok, py_port:stop_context(no_such_name)),
    ?assertMatch({error, {bad_argument, context, _}}, py_port:stop_context("text")).

the_application_takes_its_contexts_along(_Config) ->
    Old = process_flag(trap_exit, true),
    Ctx = context(#{}),
    OsPid = py_port_test:os_pid(Ctx),
    Ref = monitor(process, Ctx),
    ok = application:stop(py_port),
    receive
        {'DOWN', Ref, process, Ctx, _} -> ok
    end,
    ?assert(py_port_test:wait_until(fun() -> not py_port_test:os_alive(OsPid) end, 10000)),
    ?assertEqual([], py_port:contexts()),
    ?assertEqual({error, {worker_down, noproc}}, py_port:eval(Ctx, "1")),
    ok = py_port_test:start(),
    process_flag(trap_exit, Old).

%% Another node ------------------------------------------------------------------------------------------------------

a_context_serves_callers_of_another_node(Config) ->
    Ctx = context(#{name => py_port_test_remote, kill_after => 60000}),
    {ok, Peer, Node} = start_peer(),
    try
        There = fun(F, A) -> erpc:call(Node, py_port, F, A) end,
        Here = {py_port_test_remote, node()},
        ?assertEqual({ok, 4.0}, There(call, [Ctx, math, sqrt, [16]])),
        ?assertEqual({ok, 4.0}, There(call, [Here, math, sqrt, [16]])),
        ?assertEqual({ok, 3}, There(eval, [Ctx, "x + 1", #{x => 2}])),
        ?assertEqual(ok, There(exec, [Ctx, "seen = 1"])),
        ?assertEqual(ok, There(cast, [Ctx, math, sqrt, [1]])),
        ?assertEqual(pong, There(ping, [Ctx])),
        ?assertMatch(#{pid := Ctx}, There(info, [Ctx])),
        ?assertEqual({error, not_running}, There(interrupt, [Ctx])),
        ?assertMatch({error, {python, #{type := <<"ValueError">>}}}, There(call, [Ctx, probe_calls, raise_plain, []])),
        ?assertMatch({error, {bad_argument, args, _}}, There(call, [Ctx, math, sqrt, 1])),
        ?assertEqual({error, timeout}, There(call, [Ctx, probe_calls, sleep_long, [marker(Config, "r")], #{}, #{timeout => 300}])),
        %% a caller that dies there is a caller that dies
        {Running, Cleaned} = {marker(Config, "running"), marker(Config, "cleaned")},
        Caller = erlang:spawn(Node, py_port, call, [Ctx, probe_calls, loop_and_clean_up, [Running, Cleaned]]),
        ok = py_port_test:await_file(Running),
        true = exit(Caller, kill),
        ok = py_port_test:await_file(Cleaned),
        %% and a node that is lost takes its calls along
        {Running2, Cleaned2} = {marker(Config, "running"), marker(Config, "cleaned")},
        _ = erlang:spawn(Node, py_port, call, [Ctx, probe_calls, loop_and_clean_up, [Running2, Cleaned2]]),
        ok = py_port_test:await_file(Running2),
        ok = peer:stop(Peer),
        ok = py_port_test:await_file(Cleaned2),
        ?assertEqual({ok, 1}, py_port:eval(Ctx, "1"))
    after
        catch peer:stop(Peer)
    end.

a_node_that_is_gone_is_named(_Config) ->
    {ok, Peer, Node} = start_peer(),
    Far = erpc:call(Node, erlang, whereis, [init]),
    ok = peer:stop(Peer),
    ?assertEqual({error, {worker_down, {node_down, Node}}}, py_port:call(Far, math, sqrt, [1])).

%% Helpers -----------------------------------------------------------------------------------------------------------

start_peer() ->
    Name = peer:random_name(?MODULE),
    Paths = [P || P <- code:get_path(), string:find(P, "py_port") =/= nomatch],
    peer:start(#{name => Name, args => ["-pa" | Paths], wait_boot => 60000}).

stop_supervisor(Sup, Reason) ->
    Ref = monitor(process, Sup),
    exit(Sup, Reason),
    receive
        {'DOWN', Ref, process, Sup, _} -> ok
    end.

%% of our supervisor
init(Children) ->
    {ok, {#{strategy => one_for_one, intensity => 3, period => 10}, Children}}.
