%% @doc What a virtual environment is to hold: requirements and options, checked, and one stamp for
%% all of it.
%%
%% Reads the files that the requirements name, and nothing else.
%% @end
-module(py_venv_options).

-export([make/3]).
-export_type([requirements/0, options/0, plan/0]).

-type text() :: binary() | string().
%% A file of requirements, a `pyproject.toml' (or the folder that holds one), or the requirements
%% themselves.
-type requirements() :: text() | [text()].
-type options() ::
    [{atom(), term()} | atom()]
    | #{
        %% of the project that a `pyproject.toml' describes
        extras => [text() | atom()],
        %% that project is used where it is, and not copied: true
        editable => boolean(),
        %% uv where there is one
        installer => uv | pip,
        %% an executable or a version, see py_port:start_context/1
        python => text(),
        %% made anew whatever is there
        force => boolean(),
        %% ms for all of it, 300,000
        timeout => timeout(),
        %% more arguments for the installer
        args => [text()],
        %% gets each line of what pip or uv print: as an argument, or in {py_venv, Path, Line}
        progress => none | pid() | fun((binary()) -> term())
    }.
-type plan() :: #{
    path := binary(),
    stamp := binary(),
    force := boolean(),
    uv := binary() | null,
    install := [binary()],
    python := py_port_python:resolved(),
    timeout := timeout(),
    progress := none | pid() | fun((binary()) -> term())
}.
-type failure() ::
    {bad_option, term(), binary()}
    | {bad_requirement, term()}
    | {no_requirements, binary(), file:posix() | badarg | terminated | system_limit}
    | {installer_not_found, uv}.

-define(FORMAT, 1).
-define(TIMEOUT, 300000).

-spec make(text(), requirements(), options()) -> {ok, plan()} | {error, failure()}.
make(Path, Requirements, Options) ->
    try
        {ok, plan(py_environment:path(Path), Requirements, options(Options))}
    catch
        throw:{?MODULE, Failure} -> {error, Failure};
        error:{bad_path, _} -> {error, py_port_error:bad_option(path, "must be text", [])}
    end.

-spec fail(failure()) -> no_return().
fail(Failure) ->
    throw({?MODULE, Failure}).

-spec bad(term(), io:format(), [term()]) -> no_return().
bad(Key, Format, Args) ->
    fail(py_port_error:bad_option(Key, Format, Args)).

-spec plan(binary(), requirements(), map()) -> plan().
plan(Path, Requirements, Options) ->
    #{installer := Installer, python := Python, args := Args} = Options,
    Uv = uv(Installer),
    {Install, Content} = install(Requirements, Options),
    Resolved = python(Python),
    Stamp = hash({?FORMAT, Uv =/= null, maps:get(executable, Resolved),
        filename:basename(maps:get(worker, Resolved)), Install, Args, Content}),
    #{
        path => Path,
        stamp => Stamp,
        force => maps:get(force, Options),
        uv => Uv,
        install => with_args(Args, Install),
        python => Resolved,
        timeout => maps:get(timeout, Options),
        progress => maps:get(progress, Options)
    }.

%% Without requirements there is nothing to be called.
-spec with_args([binary()], [binary()]) -> [binary()].
with_args(_, []) -> [];
with_args(Args, Install) -> Args ++ Install.

%% Options -----------------------------------------------------------------------------------------

-spec options(term()) -> map().
options(Options) when is_list(Options) ->
    try maps:from_list(proplists:unfold(Options)) of
        Map -> options(Map)
    catch
        error:_ -> bad(options, "must be a map or a list of atoms and pairs", [])
    end;
options(Options) when is_map(Options) ->
    maps:fold(fun(Key, Value, Acc) -> Acc#{Key => check(Key, Value)} end, defaults(), Options);
options(_) ->
    bad(options, "must be a map or a list", []).

-spec defaults() -> map().
defaults() ->
    #{
        extras => [],
        editable => true,
        installer => any,
        python => default,
        force => false,
        timeout => ?TIMEOUT,
        args => [],
        progress => none
    }.

-spec check(term(), term()) -> term().
check(extras, Extras) when length(Extras) >= 0 -> [extra(E) || E <- Extras];
check(installer, I) when I =:= uv; I =:= pip -> I;
check(installer, _) -> bad(installer, "must be uv or pip", []);
check(Key, B) when (Key =:= force orelse Key =:= editable), is_boolean(B) -> B;
check(Key, _) when Key =:= force; Key =:= editable -> bad(Key, "must be true or false", []);
check(python, P) when is_binary(P); is_list(P) -> P;
check(python, _) -> bad(python, "must be an executable or a version", []);
check(timeout, infinity) -> infinity;
check(timeout, Ms) when is_integer(Ms), Ms >= 0 -> Ms;
check(timeout, _) -> bad(timeout, "must be milliseconds or infinity", []);
check(args, Args) when length(Args) >= 0 -> [text(args, A) || A <- Args];
check(progress, none) -> none;
check(progress, To) when is_pid(To); is_function(To, 1) -> To;
check(progress, _) -> bad(progress, "must be a pid or a fun of one argument", []);
check(Key, _) when Key =:= extras; Key =:= args -> bad(Key, "must be a list of texts", []);
check(Key, _) ->
    Known = lists:join(", ", [atom_to_list(K) || K <- lists:sort(maps:keys(defaults()))]),
    bad(Key, "there is no such option; the options are ~ts", [Known]).

-spec extra(term()) -> binary().
extra(Extra) when is_atom(Extra) -> extra(atom_to_binary(Extra));
extra(Extra) ->
    Text = text(extras, Extra),
    case re:run(Text, "^[A-Za-z0-9][A-Za-z0-9._-]*$", [{capture, none}, dollar_endonly]) of
        match -> Text;
        nomatch -> bad(extras, "~tp is not the name of an extra", [Extra])
    end.

-spec text(atom(), term()) -> binary().
text(Key, Text) when is_binary(Text); is_list(Text) ->
    try unicode:characters_to_binary(Text) of
        Bin when is_binary(Bin) ->
            binary:match(Bin, <<0>>) =:= nomatch orelse bad(Key, "must not hold a NUL", []),
            Bin;
        _ -> bad(Key, "~tp is not valid text", [Text])
    catch
        error:badarg -> bad(Key, "~tp is not text", [Text])
    end;
text(Key, Other) ->
    bad(Key, "~tp is not text", [Other]).

-spec uv(any | uv | pip) -> binary() | null.
uv(pip) ->
    null;
uv(Wanted) ->
    case os:find_executable("uv") of
        false when Wanted =:= uv -> fail({installer_not_found, uv});
        false -> null;
        Path -> unicode:characters_to_binary(Path)
    end.

-spec python(default | text()) -> py_port_python:resolved().
python(Python) ->
    Wanted =
        case {Python, py_settings:get(python, default)} of
            {default, default} -> #{};
            {default, Setting} -> #{python => Setting};
            {_, _} -> #{python => Python}
        end,
    case py_port_options:validate(Wanted) of
        {ok, Options} ->
            case py_port_python:resolve(Options) of
                {ok, Resolved} -> Resolved;
                {error, Failure} -> fail(Failure)
            end;
        {error, Failure} ->
            fail(Failure)
    end.

%% Requirements ------------------------------------------------------------------------------------

%% What the installer is told, and what that stands for.
-spec install(requirements(), map()) -> {[binary()], term()}.
install([], _) ->
    {[], none};
install([C | _] = File, Options) when is_integer(C) ->
    install(text(requirements, File), Options);
install(File, Options) when is_binary(File) ->
    Path = filename:absname(File),
    Project = filename:join(Path, "pyproject.toml"),
    case {filename:basename(Path), filelib:is_regular(Project)} of
        {<<"pyproject.toml">>, _} -> project(Path, Options);
        {_, true} -> project(Project, Options);
        {_, false} -> {[<<"-r">>, Path], files([Path], #{})}
    end;
install(List, _) when length(List) >= 0 ->
    {[requirement(R) || R <- List], none};
install(Other, _) ->
    fail({bad_requirement, Other}).

-spec project(binary(), map()) -> {[binary()], term()}.
project(File, #{extras := Extras, editable := Editable}) ->
    Folder = filename:dirname(File),
    What =
        case Extras of
            [] -> Folder;
            _ -> iolist_to_binary([Folder, "[", lists:join(",", Extras), "]"])
        end,
    {[<<"-e">> || Editable] ++ [What], files([File], #{})}.

%% A requirement that looks like an option would be one.
-spec requirement(term()) -> binary().
requirement(Requirement) when is_binary(Requirement); is_list(Requirement) ->
    case unicode:characters_to_binary(Requirement) of
        <<"-", _/binary>> -> fail({bad_requirement, Requirement});
        Text when is_binary(Text), Text =/= <<>> ->
            binary:match(Text, [<<0>>, <<"\n">>, <<"\r">>]) =:= nomatch orelse
                fail({bad_requirement, Requirement}),
            Text;
        _ -> fail({bad_requirement, Requirement})
    end;
requirement(Other) ->
    fail({bad_requirement, Other}).

%% The files, and those that they include: a change of any is another stamp.
-spec files([binary()], #{binary() => binary()}) -> #{binary() => binary()}.
files([], Known) ->
    Known;
files([File | Rest], Known) when is_map_key(File, Known) ->
    files(Rest, Known);
files([File | Rest], Known) ->
    case file:read_file(File) of
        {ok, Text} -> files(included(File, Text) ++ Rest, Known#{File => Text});
        {error, Why} -> fail({no_requirements, File, Why})
    end.

-spec included(binary(), binary()) -> [binary()].
included(File, Text) ->
    Pattern =
        "^[ \\t]*(?:-r|-c|--requirement|--constraint)[ \\t=]*(?|\"([^\"\\n]+)\"|'([^'\\n]+)'|([^\\s#]+))",
    case re:run(Text, Pattern, [multiline, global, {capture, [1], binary}]) of
        {match, Names} ->
            [
                filename:absname(Name, filename:dirname(File))
             || [Name] <- Names, binary:match(Name, <<"://">>) =:= nomatch
            ];
        nomatch ->
            []
    end.

%% Against accidents, not against forgers; crypto is no dependency.
-spec hash(term()) -> binary().
hash(Term) ->
    string:lowercase(binary:encode_hex(erlang:md5(term_to_binary(Term, [{minor_version, 2}])))).
