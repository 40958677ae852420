%% @doc Every Python for which there is a worker: the same small tour in each, several side by side in one node, virtual
%% environments. A version that is not on this machine is skipped and says so.
%% @end
-module(py_port_pythons_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-import(py_port_test, [context/1, marker/2]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> py_port_test:cases(?MODULE).

init_per_testcase(_, Config) ->
    ok = py_port_test:start(),
    Config.

end_per_testcase(_, Config) ->
    py_port_test:end_per_testcase(Config).

python_3_9(Config) -> tour("3.9", Config).
python_3_10(Config) -> tour("3.10", Config).
python_3_11(Config) -> tour("3.11", Config).
python_3_12(Config) -> tour("3.12", Config).
python_3_13(Config) -> tour("3.13", Config).

versions_run_side_by_side(_Config) ->
    case present() of
        [_, _ | _] = Present ->
            Contexts = [{V, context(#{python => P})} || {V, P} <- Present],
            [
                ?assertEqual({ok, list_to_binary(V)}, py_port:eval(C, "'%d.%d' % __import__('sys').version_info[:2]"))
             || _ <- [1, 2, 3], {V, C} <- Contexts
            ];
        Present ->
            {skip, io_lib:format("needs two Pythons with a worker; there are ~tp", [Present])}
    end.

a_version_number_is_enough(_Config) ->
    case [V || {V, _} <- present(), os:find_executable("python" ++ V) =/= false] of
        [Version | _] ->
            case py_port:start_context(#{python => Version}) of
                {ok, Ctx} ->
                    ?assertEqual(
                        {ok, list_to_binary(Version)},
                        py_port:eval(Ctx, "'%d.%d' % __import__('sys').version_info[:2]")
                    );
                %% a wrapper in the PATH that refuses: then it says so
                {error, {bad_option, python, Why}} ->
                    ?assert(byte_size(Why) > 20)
            end;
        [] ->
            {skip, "no python3.X in the PATH that has a worker"}
    end.

a_version_without_a_worker_says_what_to_do(Config) ->
    Fake = filename:join(proplists:get_value(priv_dir, Config), "python3.99"),
    ok = file:write_file(Fake, <<127, "ELF">>),
    ok = file:change_mode(Fake, 8#755),
    {error, {bad_option, python, Why}} = py_port:start_context(#{python => Fake}),
    ?assertMatch({_, _}, binary:match(Why, <<"3.99">>)).

a_wrapper_may_say_something(Config) ->
    case present() of
        [{_, Python} | _] ->
            Wrapper = unicode:characters_to_list(marker(Config, "wrapper")),
            ok = file:write_file(Wrapper, ["#!/bin/sh\necho 'warning: 3.1' >&2\necho 3.2\nexec ", Python, " \"$@\"\n"]),
            ok = file:change_mode(Wrapper, 8#755),
            ?assertEqual({ok, 7}, py_port:eval(context(#{python => Wrapper}), "7"));
        [] ->
            {skip, "no Python with a worker"}
    end.

a_virtual_environment_has_its_own_packages(Config) ->
    in_venv(present(), Config).

a_virtual_environment_does_not_see_the_system(Config) ->
    case present() of
        [{_, Python} | _] ->
            Venv = make_venv(Python, Config),
            Ctx = context(#{venv => Venv}),
            {ok, Path} = py_port:eval(Ctx, "__import__('sys').path"),
            Outside = [P || P <- Path, binary:match(P, [<<"site-packages">>, <<"dist-packages">>]) =/= nomatch,
                binary:match(P, unicode:characters_to_binary(Venv)) =:= nomatch],
            ?assertEqual([], Outside);
        [] ->
            {skip, "no Python with a worker"}
    end.

%% `cwd' is the context's; what a relative path leads to must not change with it.
a_relative_path_is_of_the_nodes_working_directory(Config) ->
    case present() of
        [{_, Python} | _] ->
            Venv = make_venv(Python, Config),
            {ok, Here} = file:get_cwd(),
            Relative = filename:join([".." || _ <- tl(filename:split(Here))] ++ tl(filename:split(Venv))),
            [
                begin
                    Ctx = context(Option#{cwd => "/"}),
                    Code = "[p.realpath(s.prefix) for s in [__import__('sys')] for p in [__import__('os').path] if p.isabs(s.executable)]",
                    ?assertEqual({ok, [unicode:characters_to_binary(Venv)]}, py_port:eval(Ctx, Code)),
                    ?assertMatch({ok, [0, <<"1\n">>, _]}, py_port:call(Ctx, probe_processes, run_child, [<<"print(1)">>]))
                end
             || Option <- [
                    #{venv => Relative},
                    #{python => filename:join(Relative, "bin/python")},
                    #{python => "./" ++ filename:join(Relative, "bin/python")}
                ]
            ],
            ?assertMatch({error, {bad_option, python, _}}, py_port:start_context(#{python => "bin/no_such_python"}));
        [] ->
            {skip, "no Python with a worker"}
    end.

a_path_is_no_pattern(Config) ->
    Of = fun(Python) ->
        {ok, Resolved} = py_port_python:resolve(#{python => unicode:characters_to_binary(Python)}),
        is_map_key(libraries, Resolved)
    end,
    Odd = unicode:characters_to_list(marker(Config, "a[b]{c}*")),
    [
        begin
            Link = Odd ++ Version,
            ok = file:make_symlink(filename:dirname(filename:dirname(Python)), Link),
            ?assertEqual(Of(Python), Of(filename:join([Link, "bin", filename:basename(Python)])))
        end
     || {Version, Python} <- present()
    ].

%% Our libpython comes first, and takes nothing away; what Python starts gets what the node has.
the_nodes_library_path_stays(Config) ->
    Before = os:getenv("LD_LIBRARY_PATH", ""),
    Nodes = string:trim("/no/such/folder:" ++ Before, trailing, ":"),
    true = os:putenv("LD_LIBRARY_PATH", Nodes),
    try
        [
            begin
                Ctx = context(#{python => Python, cwd => proplists:get_value(priv_dir, Config)}),
                {ok, Began} = py_port:eval(Ctx, "open('/proc/self/environ').read().split(chr(0))"),
                [Path] = [Path || <<"LD_LIBRARY_PATH=", Path/binary>> <- Began],
                ?assertEqual(Nodes, lists:nthtail(byte_size(Path) - length(Nodes), binary_to_list(Path))),
                Print = "__import__('subprocess').check_output(['printenv', 'LD_LIBRARY_PATH'])",
                ?assertEqual({ok, list_to_binary(Nodes ++ "\n")}, py_port:eval(Ctx, Print)),
                Own = context(#{python => Python, env => #{"LD_LIBRARY_PATH" => "/own"}}),
                ?assertEqual({ok, <<"/own\n">>}, py_port:eval(Own, Print))
            end
         || {_, Python} <- present()
        ]
    after
        case Before of
            "" -> os:unsetenv("LD_LIBRARY_PATH");
            _ -> os:putenv("LD_LIBRARY_PATH", Before)
        end
    end.

%% The tour ----------------------------------------------------------------------------------------------------------

tour(Version, Config) ->
    case lists:keyfind(Version, 1, present()) of
        {_, Python} ->
            walk(Version, context(#{python => Python}), Config);
        false ->
            {skip, "Python " ++ Version ++ ": not on this machine, or no worker was built for it"}
    end.

walk(Version, Ctx, Config) ->
    #{python := <<Short:(length(Version))/binary, _/binary>>} = py_port:info(Ctx),
    ?assertEqual(list_to_binary(Version), Short),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    ?assertEqual({ok, [12, 13]}, py_port:eval(Ctx, "[x + i for i in y]", #{x => 11, y => [1, 2]})),
    ?assertEqual(ok, py_port:exec(Ctx, "def f():\n    return [x for _ in (lambda: y)()]\nz = f()", #{x => 1, y => [1]})),
    ?assertEqual({ok, [1]}, py_port:eval(Ctx, "z")),
    ?assertEqual({ok, 5}, py_port:call(Ctx, probe_calls, coroutine, [5])),
    ?assertEqual({ok, 6}, py_port:call(Ctx, probe_calls, run_loop_of_its_own, [6])),
    Terms = [1 bsl 100, -(1 bsl 3000), 1.5, <<"é"/utf8>>, <<255>>, [], {1, #{<<"k">> => [true, none]}}, self(), <<5:3>>, [1 | 2]],
    ?assertEqual({ok, Terms}, py_port:call(Ctx, probe_calls, identity, [Terms])),
    ?assertMatch({ok, #{<<"name">> := <<"Ada">>}}, py_port:call(Ctx, probe_types, give, [<<"dataclass">>])),
    ?assertMatch({error, {bad_term, <<"result.rows[1][1].deep">>, _}}, py_port:call(Ctx, probe_types, give_bad, [<<"nested">>])),
    {error, {python, #{type := <<"RuntimeError">>, cause := #{type := <<"KeyError">>}}}} = py_port:call(Ctx, probe_calls, raise_from, []),
    {ok, Ref} = py_port:call(Ctx, probe_objects, make, [<<"a">>], #{}, #{return => ref}),
    ?assertEqual({ok, 2}, py_port:call_method(Ctx, Ref, add, [x], #{times => 2})),
    [
        ?assertEqual({What, {error, timeout}}, {What, py_port:call(Ctx, probe_calls, What, [marker(Config, "m")], #{}, #{timeout => 500})})
     || What <- [sleep_long, loop_forever]
    ],
    ?assertEqual({ok, [1, 4]}, py_port:call(Ctx, probe_processes, executor, [<<"spawn">>, [1, 2]])),
    ?assertMatch({ok, [<<"the parent">>, 0]}, py_port:call(Ctx, probe_processes, fork_and_return, [])),
    ?assertMatch({ok, [0, <<"1\n">>, _]}, py_port:call(Ctx, probe_processes, run_child, [<<"print(1)">>])),
    ?assertEqual(ok, py_port:stop_context(Ctx)).

in_venv([], _) ->
    {skip, "no Python with a worker"};
in_venv(Pythons, Config) ->
    [
        begin
            Venv = make_venv(Python, Config),
            Packages = filename:join([Venv, "lib", "python" ++ Version, "site-packages"]),
            ok = file:write_file(filename:join(Packages, "only_here.py"), "VALUE = '" ++ Version ++ "'\n"),
            ok = file:write_file(filename:join(Packages, "extra.pth"), "/from/a/pth/file\nimport sys; sys.from_pth = 1\n"),
            Ctx = context(#{venv => Venv}),
            ?assertEqual({ok, unicode:characters_to_binary(Venv)}, py_port:eval(Ctx, "__import__('sys').prefix")),
            ?assertEqual({ok, true}, py_port:eval(Ctx, "(lambda s: s.prefix != s.base_prefix)(__import__('sys'))")),
            ?assertEqual({ok, list_to_binary(Version)}, py_port:eval(Ctx, "__import__('only_here').VALUE")),
            ?assertEqual({ok, 1}, py_port:eval(Ctx, "__import__('sys').from_pth")),
            ?assertEqual(
                {ok, [0, list_to_binary(Version ++ "\n"), <<>>]},
                py_port:call(Ctx, probe_processes, run_child, [<<"import only_here; print(only_here.VALUE)">>])
            ),
            ok = py_port:stop_context(Ctx)
        end
     || {Version, Python} <- Pythons
    ].

make_venv(Python, Config) ->
    Dir = unicode:characters_to_list(marker(Config, "venv")),
    Port = open_port({spawn_executable, Python}, [{args, ["-m", "venv", "--without-pip", Dir]}, exit_status, stderr_to_stdout, binary]),
    ok = ended(Port, <<>>),
    Dir.

ended(Port, Text) ->
    receive
        {Port, {data, More}} -> ended(Port, <<Text/binary, More/binary>>);
        {Port, {exit_status, 0}} -> ok;
        {Port, {exit_status, Status}} -> error({no_venv, Status, Text})
    end.

%% Versions that have both a worker and an interpreter here.
present() ->
    Workers = [binary_to_list(V) || V <- py_port_python:workers()],
    [{V, P} || V <- Workers, {ok, P} <- [py_port_test:python_of(V)]].

