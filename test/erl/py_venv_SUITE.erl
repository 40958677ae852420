%% @doc Virtual environments that are not what they seem: half-made ones, ones that two make at the same time, ones that
%% are somebody else's; and requirements that change, fail, or look like something else.
%%
%% No index of packages is needed: a wheel is made by hand, and where it does not matter what is installed, a script
%% stands for uv.
%% @end
-module(py_venv_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-include_lib("common_test/include/ct.hrl").

suite() -> [{timetrap, {minutes, 5}}].

all() -> py_port_test:cases(?MODULE) -- [calls, offline, project].

init_per_suite(Config) ->
    Wheels = filename:join(filename:absname(?config(priv_dir, Config)), "wheels"),
    ok = wheel(Wheels, "1.0"),
    [{wheels, Wheels}, {path, os:getenv("PATH")} | Config].

end_per_suite(_Config) ->
    ok.

init_per_testcase(Case, Config) ->
    _ = application:stop(py_port),
    ok = py_port_test:start(),
    Dir = filename:join(filename:absname(?config(priv_dir, Config)), Case),
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    [{dir, Dir}, {venv, filename:join(Dir, "venv")} | Config].

end_per_testcase(_, Config) ->
    true = os:putenv("PATH", ?config(path, Config)),
    ok = py_port_test:stop_all(),
    ok = application:stop(py_port),
    ok = py_port_test:start(),
    py_port_test:check_clean().

%% With pip ------------------------------------------------------------------------------------------------------------

a_context_runs_in_what_was_made(Config) ->
    Venv = ?config(venv, Config),
    Before = context(),
    Self = self(),
    Options = [{installer, pip}, {args, offline(Config)}, {progress, fun(Line) -> Self ! {line, Line} end}],
    ok = py_venv:ensure_venv(Venv, ["tiny_probe==1.0"], Options),
    ?assert(lists:any(fun(L) -> binary:match(L, <<"Successfully installed">>) =/= nomatch end, lines())),
    Ctx = context(),
    ?assertEqual({ok, <<"1.0">>}, py_port:eval(Ctx, "__import__('tiny_probe').VERSION")),
    ?assertEqual({ok, unicode:characters_to_binary(Venv)}, py_port:eval(Ctx, "__import__('sys').prefix")),
    %% what ran before has been replaced
    ?assert(py_port_test:wait_until(fun() -> not is_process_alive(Before) end, 10000)),
    {ok, #{<<"active">> := true, <<"ready">> := true, <<"site_packages">> := [Site]} = Info} = py_venv:info(),
    ?assertEqual(unicode:characters_to_binary(Venv), maps:get(<<"venv_path">>, Info)),
    ?assert(filelib:is_regular(filename:join(Site, "tiny_probe.py"))),
    %% a second time nothing is to be done, and nobody is replaced
    Running = py_pool:running(),
    ok = py_venv:ensure_venv(Venv, ["tiny_probe==1.0"], Options),
    ?assertEqual([], lines()),
    ?assertEqual(Running, py_pool:running()),
    ok = py_venv:deactivate(),
    ?assertEqual({ok, #{<<"active">> => false}}, py_venv:info()),
    ?assertMatch({error, _}, py_port:eval(context(), "__import__('tiny_probe')")).

what_is_not_to_be_had_is_an_error_with_pips_words(Config) ->
    Venv = ?config(venv, Config),
    Options = #{installer => pip, args => offline(Config)},
    {error, {exit_code, Status, Output}} = py_venv:ensure(Venv, [<<"no_such_package_of_ours">>], Options),
    ?assert(Status > 0),
    ?assertMatch({_, _}, binary:match(Output, <<"no_such_package_of_ours">>)),
    ok = py_venv:activate(Venv),
    ?assertMatch({ok, #{<<"ready">> := false}}, py_venv:info()),
    %% and it can still be had right
    ok = py_venv:ensure(Venv, ["tiny_probe"], Options),
    ?assertMatch({ok, #{<<"ready">> := true}}, py_venv:info()).

a_project_is_installed_with_its_extras(Config) ->
    Project = filename:join(?config(dir, Config), "project"),
    ok = project(Project),
    Options = #{installer => pip, extras => [tiny], args => [<<"--no-build-isolation">> | offline(Config)]},
    ok = py_venv:ensure_venv(?config(venv, Config), filename:join(Project, "pyproject.toml"), Options),
    Code = "[__import__('our_project').NAME, __import__('tiny_probe').VERSION]",
    ?assertEqual({ok, [<<"ours">>, <<"1.0">>]}, py_port:eval(context(), Code)),
    %% it is used where it is
    ok = file:write_file(filename:join(Project, "our_project.py"), "NAME = 'changed'\n"),
    ok = py_venv:deactivate(),
    ok = py_venv:activate(?config(venv, Config)),
    ?assertEqual({ok, <<"changed">>}, py_port:eval(context(), "__import__('our_project').NAME")).

%% With a script in uv's place -----------------------------------------------------------------------------------------

uv_is_used_where_it_is_and_gets_arguments_as_they_are(Config) ->
    ok = uv(Config, "exit 0"),
    Venv = filename:join(?config(dir, Config), "a venv; rm -rf '$HOME'"),
    File = filename:join(?config(dir, Config), "req $(touch x).txt"),
    ok = file:write_file(File, "tiny_probe\n"),
    ok = py_venv:ensure(Venv, File, #{args => ["--extra-index-url", "a b"]}),
    Python = filename:join([Venv, "bin", "python"]),
    ?assertEqual(
        [["pip", "install", "--python", Python, "--extra-index-url", "a b", "-r", File]], calls(Config)
    ),
    ?assertNot(filelib:is_regular(filename:join([Venv, "bin", "pip"]))).

the_same_is_made_once(Config) ->
    ok = uv(Config, "exit 0"),
    Venv = ?config(venv, Config),
    [ok = py_venv:ensure(Venv, ["a", "b>=2"]) || _ <- [1, 2, 3]],
    ?assertEqual(1, length(calls(Config))),
    ok = py_venv:ensure(Venv, ["a", "b>=3"]),
    ok = py_venv:ensure(Venv, ["a", "b>=3"], [{args, ["--quiet"]}]),
    ok = py_venv:ensure(Venv, ["a", "b>=3"], [{args, ["--quiet"]}, force]),
    ?assertEqual(4, length(calls(Config))).

a_change_of_a_file_that_another_one_names_is_a_change(Config) ->
    ok = uv(Config, "exit 0"),
    Dir = ?config(dir, Config),
    [Top, Inner] = [filename:join(Dir, N) || N <- ["top.txt", "inner.txt"]],
    ok = file:write_file(Top, "x\n-r inner.txt\n--constraint=inner.txt # both\n"),
    ok = file:write_file(Inner, "y\n-r top.txt\n"),
    [ok = py_venv:ensure(?config(venv, Config), Top) || _ <- [1, 2]],
    ok = file:write_file(Inner, "y==2\n"),
    [ok = py_venv:ensure(?config(venv, Config), Top) || _ <- [1, 2]],
    ?assertEqual(2, length(calls(Config))),
    ok = file:delete(Inner),
    ?assertMatch({error, {no_requirements, _, enoent}}, py_venv:ensure(?config(venv, Config), Top)).

%% As pip reads them.
names_of_files_may_be_quoted(Config) ->
    ok = uv(Config, "exit 0"),
    Dir = ?config(dir, Config),
    [Top, One, Two] = [filename:join(Dir, N) || N <- ["top.txt", "inner one.txt", "it's two.txt"]],
    ok = file:write_file(Top, "-r 'inner one.txt' # 1\n --constraint=\"it's two.txt\"\n"),
    [
        begin
            ok = file:write_file(One, A),
            ok = file:write_file(Two, B),
            ok = py_venv:ensure(?config(venv, Config), Top)
        end
     || {A, B} <- [{"a\n", "b\n"}, {"a\n", "b\n"}, {"a==1\n", "b\n"}, {"a==1\n", "b==1\n"}]
    ],
    ?assertEqual(3, length(calls(Config))).

%% `poetry' is a name for a virtual environment like any other.
a_lock_file_of_somebody_else_is_left_as_it_is(Config) ->
    ok = uv(Config, "exit 0"),
    Venv = filename:join(?config(dir, Config), "poetry"),
    ok = file:write_file(Venv ++ ".lock", "what it took hours to resolve\n"),
    ok = py_venv:ensure(Venv, ["a"]),
    ?assertEqual({ok, <<"what it took hours to resolve\n">>}, file:read_file(Venv ++ ".lock")).

callers_at_the_same_time_make_it_once(Config) ->
    ok = uv(Config, "exit 0"),
    Venv = ?config(venv, Config),
    Runs = [py_port_test:async(fun() -> py_venv:ensure(Venv, ["a"]) end) || _ <- lists:seq(1, 5)],
    [?assertEqual(ok, py_port_test:await(R)) || R <- Runs],
    ?assertEqual(1, length(calls(Config))).

what_was_broken_off_is_made_anew(Config) ->
    Gate = filename:join(?config(dir, Config), "gate"),
    ok = uv(Config, ["echo $$ > '", Gate, ".part'; mv '", Gate, ".part' '", Gate, "'; exec sleep 3600"]),
    Venv = ?config(venv, Config),
    {Pid, _} = Run = py_port_test:async(fun() -> py_venv:ensure(Venv, ["a"]) end),
    ok = py_port_test:await_file(unicode:characters_to_binary(Gate)),
    true = is_process_alive(Pid),
    {ok, Number} = file:read_file(Gate),
    Installer = binary_to_integer(string:trim(Number)),
    true = py_port_test:os_alive(Installer),
    Left = filename:join(Venv, "left_over"),
    ok = file:write_file(Left, <<>>),
    ok = py_port_test:kill(Run),
    ?assert(py_port_test:wait_until(fun() -> not py_port_test:os_alive(Installer) end, 10000)),
    ok = uv(Config, "exit 0"),
    ok = py_venv:ensure(Venv, ["a"]),
    ?assertNot(filelib:is_regular(Left)).

what_was_broken_off_before_it_had_begun_is_begun(Config) ->
    ok = uv(Config, "exit 0"),
    Note = filename:join(?config(venv, Config), ".py_port_venv.new"),
    ok = filelib:ensure_dir(Note),
    ok = file:write_file(Note, "buil"),
    ok = py_venv:ensure(?config(venv, Config), ["a"]).

what_was_broken_off_while_it_was_removed_is_made_anew(Config) ->
    ok = uv(Config, "exit 0"),
    Venv = ?config(venv, Config),
    ok = py_venv:ensure(Venv, ["a"]),
    ok = file:write_file(filename:join(Venv, ".py_port_venv"), "building ours\n"),
    ok = file:delete(filename:join(Venv, "pyvenv.cfg")),
    ok = py_venv:ensure(Venv, ["a"]),
    ?assert(filelib:is_regular(filename:join(Venv, "pyvenv.cfg"))).

what_takes_too_long_is_ended(Config) ->
    ok = uv(Config, "exec sleep 3600"),
    Venv = ?config(venv, Config),
    ?assertEqual({error, timeout}, py_venv:ensure(Venv, ["a"], #{timeout => 100})),
    %% or this would wait for its lock for an hour
    ok = uv(Config, "exit 0"),
    ok = py_venv:ensure(Venv, ["a"]).

a_failure_names_the_status_and_what_was_printed(Config) ->
    ok = uv(Config, "echo out; echo err >&2; exit 7"),
    Venv = ?config(venv, Config),
    ?assertEqual({error, {exit_code, 7, <<"out\nerr\n">>}}, py_venv:ensure(Venv, ["a"], #{progress => self()})),
    Path = unicode:characters_to_binary(Venv),
    [
        receive
            {py_venv, Path, Line} -> ok
        after 0 -> error({never_came, Line})
        end
     || Line <- [<<"out">>, <<"err">>]
    ].

an_installer_that_is_killed_is_a_failure(Config) ->
    ok = uv(Config, "kill -9 $$"),
    ?assertEqual({error, {exit_code, 137, <<>>}}, py_venv:ensure(?config(venv, Config), ["a"])).

an_environment_that_was_there_is_never_removed(Config) ->
    ok = uv(Config, "exit 1"),
    Venv = ?config(venv, Config),
    {ok, 0} = py_port:call(py_port_test:context(#{}), subprocess, call, [[python() | [list_to_binary(A) || A <- ["-m", "venv", "--without-pip", Venv]]]], #{}),
    Own = filename:join(Venv, "own"),
    ok = file:write_file(Own, <<>>),
    {error, {exit_code, 1, _}} = py_venv:ensure(Venv, ["a"]),
    ok = uv(Config, "exit 0"),
    ok = py_venv:ensure(Venv, ["a"]),
    ok = py_venv:ensure(Venv, ["b"]),
    ?assert(filelib:is_regular(Own)),
    ok = py_venv:ensure(Venv, ["b"], [force]),
    ?assertNot(filelib:is_regular(Own)).

a_folder_that_is_no_environment_is_left_alone(Config) ->
    ok = uv(Config, "exit 0"),
    Venv = ?config(venv, Config),
    ok = filelib:ensure_dir(filename:join(Venv, "x")),
    ok = file:write_file(filename:join(Venv, "letter.txt"), <<"dear">>),
    Path = unicode:characters_to_binary(Venv),
    ?assertEqual({error, {not_a_venv, Path}}, py_venv:ensure(Venv, ["a"])),
    ?assertEqual({error, {not_a_venv, Path}}, py_venv:ensure(Venv, ["a"], [force])),
    ?assertEqual({ok, ["letter.txt"]}, file:list_dir(Venv)).

an_environment_whose_python_is_gone_is_made_anew(Config) ->
    ok = uv(Config, "exit 0"),
    Venv = ?config(venv, Config),
    ok = py_venv:ensure(Venv, ["a"]),
    ok = file:delete(filename:join([Venv, "bin", "python"])),
    ok = py_venv:ensure(Venv, ["a"]),
    ?assertEqual(2, length(calls(Config))),
    ok = py_venv:activate(Venv).

no_requirements_are_an_environment_all_the_same(Config) ->
    ok = uv(Config, "exit 0"),
    ok = py_venv:ensure_venv(?config(venv, Config), []),
    ?assertEqual([], calls(Config)),
    ?assertEqual({ok, 1}, py_port:eval(context(), "1")).

a_context_that_cannot_be_replaced_goes_on(Config) ->
    ok = uv(Config, "exit 0"),
    Before = context(),
    ok = py_venv:ensure(?config(venv, Config), []),
    %% no context starts with this
    ok = py_preload:set_code("1 / 0"),
    ?assertMatch({error, {not_replaced, [_ | _]}}, py_venv:activate(?config(venv, Config))),
    ?assertEqual({ok, 1}, py_port:eval(Before, "1")),
    ?assertMatch({ok, #{<<"active">> := true}}, py_venv:info()),
    ok = py_preload:clear_code(),
    ok = py_venv:deactivate().

%% Wrong use -----------------------------------------------------------------------------------------------------------

what_looks_like_an_option_is_no_requirement(Config) ->
    Venv = ?config(venv, Config),
    [
        ?assertEqual({R, {error, {bad_requirement, R}}}, {R, py_venv:ensure(Venv, [R])})
     || R <- ["-e .", <<"--index-url=http://x">>, "a\nb", <<>>, ok, {a}]
    ],
    ?assertEqual({error, {bad_requirement, 7}}, py_venv:ensure(Venv, 7)),
    ?assertMatch({error, {no_requirements, _, enoent}}, py_venv:ensure(Venv, "/no/such/file.txt")),
    ?assertNot(filelib:is_dir(Venv)).

wrong_options_are_named(Config) ->
    Venv = ?config(venv, Config),
    [
        ?assertMatch({K, {error, {bad_option, K, _}}}, {K, py_venv:ensure(Venv, [], #{K => V})})
     || {K, V} <- [
            {extras, ["a]; import os"]},
            {extras, x},
            {installer, conda},
            {force, 1},
            {editable, 1},
            {timeout, -1},
            {args, x},
            {args, [7]},
            {args, [<<"--quiet">> | x]},
            {extras, [a | b]},
            {progress, x},
            {python, 7},
            {python, "3.99"},
            {colour, red}
        ]
    ],
    ?assertMatch({error, {bad_option, options, _}}, py_venv:ensure(Venv, [], [force | x])),
    ?assertMatch({error, {bad_option, options, _}}, py_venv:ensure(Venv, [], [7])),
    ?assertMatch({error, {bad_requirement, [<<"a">> | b]}}, py_venv:ensure(Venv, [<<"a">> | b])),
    ?assertMatch({error, {bad_option, path, _}}, py_venv:ensure(7, [])),
    true = os:putenv("PATH", "/nowhere"),
    ?assertEqual({error, {installer_not_found, uv}}, py_venv:ensure(Venv, [], [{installer, uv}])).

what_is_no_environment_is_not_activated(Config) ->
    ?assertMatch({error, {invalid_venv, _}}, py_venv:activate("/nowhere")),
    ?assertMatch({error, {invalid_venv, _}}, py_venv:activate(?config(dir, Config))),
    ?assertMatch({error, {invalid_venv, _}}, py_venv:activate(7)),
    ?assertMatch({error, {invalid_venv, <<"must not hold a NUL", _/binary>>}}, py:activate_venv(<<"/tmp/a", 0, "b">>)),
    ?assertEqual({ok, #{<<"active">> => false}}, py_venv:info()).

%% Helpers -------------------------------------------------------------------------------------------------------------

%% A new context of the façade.
context() ->
    Pool = list_to_atom("venv_" ++ integer_to_list(erlang:unique_integer([positive]))),
    {ok, [Ctx]} = py_context_router:start_pool(Pool, 1),
    Ctx.

python() ->
    {ok, Python} = py_port:eval(py_port_test:context(#{}), "__import__('sys').executable"),
    Python.

offline(Config) ->
    ["--no-index", "--find-links", ?config(wheels, Config)].

lines() ->
    receive
        {line, Line} -> [Line | lines()]
    after 0 -> []
    end.

%% A program `uv' that writes down its arguments, and then does this. Replaced whole: one that runs is not changed.
uv(Config, Then) ->
    Bin = filename:join(?config(dir, Config), "bin"),
    Program = filename:join(Bin, "uv"),
    ok = filelib:ensure_dir(Program),
    Log = filename:join(?config(dir, Config), "uv.log"),
    Text = ["#!/bin/sh\n", "{ for a in \"$@\"; do printf '%s\\000' \"$a\"; done; echo; } >> '", Log, "'\n", Then, "\n"],
    ok = file:write_file(Program ++ ".new", Text),
    ok = file:change_mode(Program ++ ".new", 8#755),
    ok = file:rename(Program ++ ".new", Program),
    true = os:putenv("PATH", Bin ++ ":" ++ ?config(path, Config)),
    ok.

%% What it was called with.
calls(Config) ->
    case file:read_file(filename:join(?config(dir, Config), "uv.log")) of
        {ok, Text} ->
            [
                [unicode:characters_to_list(A) || A <- binary:split(Line, <<0>>, [global]), A =/= <<>>]
             || Line <- binary:split(Text, <<"\n">>, [global]), Line =/= <<>>
            ];
        {error, enoent} ->
            []
    end.

%% The smallest package there is.
wheel(Dir, Version) ->
    Info = "tiny_probe-" ++ Version ++ ".dist-info/",
    Files = [
        {"tiny_probe.py", ["VERSION = '", Version, "'\n"]},
        {Info ++ "METADATA", ["Metadata-Version: 2.1\nName: tiny_probe\nVersion: ", Version, "\n"]},
        {Info ++ "WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
        {Info ++ "RECORD", ["tiny_probe.py,,\n", Info, "METADATA,,\n", Info, "WHEEL,,\n", Info, "RECORD,,\n"]}
    ],
    File = filename:join(Dir, "tiny_probe-" ++ Version ++ "-py3-none-any.whl"),
    ok = filelib:ensure_dir(File),
    {ok, _} = zip:create(File, [{Name, iolist_to_binary(Text)} || {Name, Text} <- Files]),
    ok.

%% A project with a build backend of its own, so that none need be fetched.
project(Dir) ->
    Files = [
        {"our_project.py", "NAME = 'ours'\n"},
        {"pyproject.toml",
            "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
            "[project]\nname = 'our_project'\nversion = '1'\n"
            "[project.optional-dependencies]\ntiny = ['tiny_probe']\n"},
        {"backend.py",
            "import os, zipfile\n"
            "INFO = 'our_project-1.dist-info/'\n"
            "def get_requires_for_build_editable(config_settings=None): return []\n"
            "def build_editable(folder, config_settings=None, metadata_directory=None):\n"
            "    name = 'our_project-1-py3-none-any.whl'\n"
            "    texts = {'our_project.pth': os.getcwd() + '\\n',\n"
            "             INFO + 'METADATA': 'Metadata-Version: 2.1\\nName: our_project\\nVersion: 1\\n'\n"
            "                                'Provides-Extra: tiny\\nRequires-Dist: tiny_probe; extra == \"tiny\"\\n',\n"
            "             INFO + 'WHEEL': 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'}\n"
            "    with zipfile.ZipFile(os.path.join(folder, name), 'w') as wheel:\n"
            "        for file, text in texts.items(): wheel.writestr(file, text)\n"
            "        wheel.writestr(INFO + 'RECORD', ''.join(f'{file},,\\n' for file in [*texts, INFO + 'RECORD']))\n"
            "    return name\n"}
    ],
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    lists:foreach(fun({Name, Text}) -> ok = file:write_file(filename:join(Dir, Name), Text) end, Files).
