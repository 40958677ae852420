%% @doc Which worker program and which Python executable a context gets: from the options `python',
%% `venv' and `worker'.
%%
%% There is one worker per minor version of Python (`priv/py_worker-3.11', ...), because a worker is
%% linked to its libpython. The version of an executable is taken from `pyvenv.cfg' or from the name
%% of the file behind its links, and only if neither tells, by running it (without a shell). Every
%% refusal is a sentence that says what to do.
%%
%% Runs in the process that starts the context; what may block (running an executable) is bounded
%% and happens in a process of its own.
%% @end
-module(py_port_python).

-export([resolve/1, launcher/0, package/0, workers/0, library_path/1]).
%% the body of a process of our own
-export([run/1]).
-export_type([resolved/0]).

%% libraries: where this installation has its own libpython, for the dynamic linker
-type resolved() :: #{
    worker := file:filename_all(), executable := binary() | null, libraries => string()
}.
-type version() :: binary().
-type failure() :: {error, {bad_option, atom(), binary()}}.

-define(PROBE_TIMEOUT, 15000).
-define(PROBE,
    "import sys; sys.stdout.buffer.write(('%d.%d\\n%s' % (sys.version_info[0], "
    "sys.version_info[1], sys.executable)).encode('utf-8', 'surrogateescape'))"
).

-spec resolve(py_port_options:options()) -> {ok, resolved()} | failure().
resolve(#{worker := Worker} = Options) when Worker =/= default ->
    case filelib:is_regular(Worker) of
        true -> {ok, #{worker => Worker, executable => given_executable(Options)}};
        false -> bad(worker, "there is no file ~ts", [Worker])
    end;
resolve(#{venv := Venv}) when Venv =/= none ->
    venv(filename:absname(Venv));
resolve(#{python := default}) ->
    default_python();
resolve(#{python := Python}) ->
    python(Python).

-spec given_executable(py_port_options:options()) -> binary() | null.
given_executable(#{venv := Venv}) when Venv =/= none ->
    filename:absname(filename:join([Venv, "bin", "python"]));
given_executable(#{python := Python}) when Python =/= default ->
    located(Python);
given_executable(_) ->
    null.

%% @doc The launcher program.
-spec launcher() -> file:filename_all().
launcher() ->
    filename:join(priv_dir(), "py_launcher").

%% @doc The directory that holds the Python package `erlang'.
-spec package() -> binary().
package() ->
    to_binary(filename:join(priv_dir(), "python")).

%% @doc The versions of Python for which there is a worker, newest first.
-spec workers() -> [version()].
workers() ->
    Names = filelib:wildcard("py_worker-3.*", text_name(priv_dir())),
    Minors = [list_to_integer(M) || "py_worker-3." ++ M <- Names, is_number_text(M)],
    [<<"3.", (integer_to_binary(M))/binary>> || M <- lists:reverse(lists:sort(Minors))].

-spec text_name(file:filename_all()) -> string().
text_name(Name) ->
    case unicode:characters_to_list(Name) of
        Text when is_list(Text) -> Text
    end.

-spec is_number_text(string()) -> boolean().
is_number_text(Text) ->
    Text =/= [] andalso lists:all(fun(C) -> C >= $0 andalso C =< $9 end, Text).

-spec priv_dir() -> file:filename_all().
priv_dir() ->
    case code:priv_dir(py_port) of
        {error, bad_name} ->
            %% Not started as an application of a release or a project: beside the beam files.
            Ebin = filename:dirname(code:where_is_file("py_port_python.beam")),
            filename:join(filename:dirname(Ebin), "priv");
        Dir ->
            Dir
    end.

%% The ways to name a Python -----------------------------------------------------------------------

-spec venv(binary()) -> {ok, resolved()} | failure().
venv(Dir) ->
    Config = filename:join(Dir, "pyvenv.cfg"),
    Executable = filename:join([Dir, "bin", "python"]),
    case {file:read_file(Config), filelib:is_regular(Executable)} of
        {{error, _}, _} ->
            bad(venv, "~ts is not a virtual environment: it has no pyvenv.cfg; make one with "
                "python3 -m venv ~ts", [Dir, Dir]);
        {_, false} ->
            bad(venv, "~ts does not exist or points to a Python that is gone; make the virtual "
                "environment again", [Executable]);
        {{ok, Text}, true} ->
            case venv_version(Text) of
                {ok, Version} -> with_worker(venv, Version, Executable);
                unknown -> examine(venv, Executable)
            end
    end.

%% `version = 3.11.2' of venv, `version_info = 3.11.2.final.0' of virtualenv.
-spec venv_version(binary()) -> {ok, version()} | unknown.
venv_version(Text) ->
    case re:run(Text, "^version(?:_info)?\\s*=\\s*(3\\.\\d+)", [multiline, {capture, [1], binary}]) of
        {match, [Version]} -> {ok, Version};
        nomatch -> unknown
    end.

-spec python(binary()) -> {ok, resolved()} | failure().
python(Python) ->
    case re:run(Python, "^3\\.\\d+$", [{capture, none}]) of
        match -> with_worker(python, Python, null);
        nomatch -> python_executable(Python)
    end.

-spec python_executable(binary()) -> {ok, resolved()} | failure().
python_executable(Python) ->
    case os:find_executable(unicode:characters_to_list(located(Python))) of
        false -> bad(python, "there is no executable ~ts", [Python]);
        Path -> examine(python, to_binary(Path))
    end.

%% What has a slash is a path, as in a shell: of this node's working directory, whatever that of the
%% context is. Other names are looked for on PATH.
-spec located(binary()) -> binary().
located(Name) ->
    case binary:match(Name, <<"/">>) of
        nomatch -> Name;
        _ -> filename:absname(Name)
    end.

%% The version that was `python3' when the workers were built, else the newest. The worker knows the
%% executable it was built for, and falls back on PATH where that does not exist: the libpython and
%% the standard library of a context that names nothing always belong together, and nothing has to
%% be run or searched to start one.
-spec default_python() -> {ok, resolved()} | failure().
default_python() ->
    Workers = workers(),
    case [V || V <- built_for() ++ Workers, lists:member(V, Workers)] of
        [Version | _] -> with_worker(python, Version, null);
        [] -> no_worker(python, <<"3">>)
    end.

-spec built_for() -> [version()].
built_for() ->
    case file:read_file(filename:join(priv_dir(), "default_python")) of
        {ok, Text} -> [string:trim(Text)];
        {error, _} -> []
    end.

%% Versions ----------------------------------------------------------------------------------------

-spec examine(atom(), binary()) -> {ok, resolved()} | failure().
examine(Key, Path) ->
    case name_version(Path) of
        {ok, Version} ->
            with_worker(Key, Version, Path);
        unknown ->
            case probed(Path) of
                {ok, Version, Executable} -> with_worker(Key, Version, Executable);
                {error, Why} -> bad(Key, "~ts did not tell its version: ~ts", [Path, Why])
            end
    end.

%% The file behind the links is called python3.X in every installation except wrapper scripts.
-spec name_version(binary()) -> {ok, version()} | unknown.
name_version(Path) ->
    Real = to_binary(follow(Path, 16)),
    Base = filename:basename(Real),
    case re:run(Base, "^python(3\\.\\d+)$", [{capture, [1], binary}]) of
        {match, [Version]} ->
            case is_script(Real) of
                true -> unknown;
                false -> {ok, Version}
            end;
        nomatch ->
            unknown
    end.

-spec follow(file:filename_all(), non_neg_integer()) -> file:filename_all().
follow(Path, 0) ->
    Path;
follow(Path, N) ->
    case file:read_link_all(Path) of
        {ok, Target} ->
            follow(filename:join([filename:dirname(Path), Target]), N - 1);
        {error, _} -> Path
    end.

-spec is_script(binary()) -> boolean().
is_script(Path) ->
    case file:open(Path, [read, raw, binary]) of
        {ok, Fd} ->
            Start = file:read(Fd, 2),
            _ = file:close(Fd),
            Start =:= {ok, <<"#!">>};
        {error, _} ->
            true
    end.

-spec with_worker(atom(), version(), binary() | null) -> {ok, resolved()} | failure().
with_worker(Key, Version, Executable) ->
    Worker = filename:join(priv_dir(), "py_worker-" ++ binary_to_list(Version)),
    case filelib:is_regular(Worker) of
        true -> {ok, with_libraries(Version, #{worker => Worker, executable => Executable})};
        false -> no_worker(Key, Version)
    end.

%% A worker is linked to one libpython of its minor version. Where the chosen installation has its
%% own, the worker takes that: a standard library may need the very release it came with.
-spec with_libraries(version(), resolved()) -> resolved().
with_libraries(_, #{executable := null} = Resolved) ->
    Resolved;
with_libraries(Version, #{executable := Executable} = Resolved) ->
    Prefix = unicode:characters_to_list(base_prefix(Executable)),
    Name = "libpython" ++ binary_to_list(Version) ++ ".so.1.0",
    Patterns = [filename:join(Lib, Name) || Lib <- ["lib", "lib64", "lib/*-linux-*"]],
    case lists:append([filelib:wildcard(Pattern, Prefix) || Pattern <- Patterns]) of
        [Found | _] -> Resolved#{libraries => filename:dirname(filename:join(Prefix, Found))};
        [] -> Resolved
    end.

%% @doc The variable by which the dynamic linker finds that libpython first, and then what it would have
%% found without us.
-spec library_path(resolved()) -> [{string(), string()}].
library_path(#{libraries := Dir}) ->
    Others = [Path || Path <- [os:getenv("LD_LIBRARY_PATH", "")], Path =/= ""],
    [{"LD_LIBRARY_PATH", lists:flatten(lists:join(":", [Dir | Others]))}];
library_path(#{}) ->
    [].

%% The installation behind an executable, also behind that of a virtual environment.
-spec base_prefix(binary()) -> file:filename_all().
base_prefix(Executable) ->
    Bin = filename:dirname(follow(Executable, 16)),
    case file:read_file(filename:join(filename:dirname(Bin), "pyvenv.cfg")) of
        {ok, Text} ->
            case re:run(Text, "^home\\s*=\\s*(.+?)\\s*$", [multiline, {capture, [1], binary}]) of
                {match, [Home]} -> filename:dirname(Home);
                nomatch -> filename:dirname(Bin)
            end;
        {error, _} ->
            filename:dirname(Bin)
    end.

-spec no_worker(atom(), version()) -> failure().
no_worker(Key, Version) ->
    Have =
        case workers() of
            [] -> "none at all";
            Workers -> lists:join(", ", Workers)
        end,
    bad(Key, "no worker was built for Python ~ts (built: ~ts); install its headers and shared "
        "library and build py_port again", [Version, Have]).

%% Asking an executable ----------------------------------------------------------------------------

%% Asked once in the node's life, as long as what it named is there.
-spec probed(binary()) -> {ok, version(), binary()} | {error, unicode:chardata()}.
probed(Path) ->
    Key = {?MODULE, Path},
    case persistent_term:get(Key, none) of
        {ok, _, Executable} = Known ->
            case filelib:is_regular(Executable) of
                true -> Known;
                false -> probe(Path)
            end;
        none ->
            Answer = probe(Path),
            _ = [persistent_term:put(Key, Answer) || {ok, _, _} <- [Answer]],
            Answer
    end.

-spec probe(binary()) -> {ok, version(), binary()} | {error, unicode:chardata()}.
probe(Path) ->
    {Pid, Ref} = spawn_monitor(?MODULE, run, [Path]),
    receive
        {'DOWN', Ref, process, Pid, {probed, Result}} -> Result;
        {'DOWN', Ref, process, Pid, Reason} -> {error, io_lib:format("~tp", [Reason])}
    end.

-spec run(binary()) -> no_return().
run(Path) ->
    exit({probed, ask(Path)}).

-spec ask(binary()) -> {ok, version(), binary()} | {error, unicode:chardata()}.
ask(Path) ->
    try
        open_port({spawn_executable, Path}, [
            {args, ["-I", "-S", "-c", ?PROBE]}, exit_status, binary, in, stderr_to_stdout
        ])
    of
        Port -> collect(Port, <<>>, erlang:start_timer(?PROBE_TIMEOUT, self(), probe))
    catch
        error:Reason -> {error, io_lib:format("it could not be run (~p)", [Reason])}
    end.

-spec collect(port(), binary(), reference()) ->
    {ok, version(), binary()} | {error, unicode:chardata()}.
collect(Port, Text, Timer) ->
    receive
        {Port, {data, More}} when byte_size(Text) < 65536 ->
            collect(Port, <<Text/binary, More/binary>>, Timer);
        {Port, {data, _}} ->
            {error, "it wrote more than a version"};
        {Port, {exit_status, 0}} ->
            %% A wrapper may have said something before.
            case re:run(Text, "^(3\\.\\d+)\n([^\n]+)\\z", [multiline, {capture, [1, 2], binary}]) of
                {match, [Version, Executable]} -> {ok, Version, Executable};
                nomatch -> {error, ["it wrote ", io_lib:format("~tp", [Text])]}
            end;
        {Port, {exit_status, Status}} ->
            {error, io_lib:format("it exited with status ~b: ~tp", [Status, Text])};
        {timeout, Timer, probe} ->
            {error, "it did not answer in time"}
    end.

-spec bad(atom(), io:format(), [term()]) -> failure().
bad(Key, Format, Args) ->
    {error, py_port_error:bad_option(Key, Format, Args)}.

-spec to_binary(file:filename_all()) -> binary().
to_binary(Name) when is_binary(Name) ->
    Name;
to_binary(Name) ->
    case unicode:characters_to_binary(Name, unicode, file:native_name_encoding()) of
        Bin when is_binary(Bin) -> Bin
    end.
