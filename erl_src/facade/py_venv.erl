%% @doc Virtual environments: made ready when they are needed, and chosen for the façade's contexts.
%%
%% An environment that was made ready once is ready as long as its requirements are the same, to the
%% letter of every file that they name. It may be asked for by any number of processes and nodes of
%% one machine at the same time: one of them does the work (a file beside the environment,
%% `PATH.lock', is the lock), the others wait. One that was broken off is made anew; an environment
%% that was there before, made by somebody else, gets what is missing and is never removed, but with
%% `force'. No shell is involved, and an argument is never taken for two.
%%
%% Where requirements change, what is wanted is installed into the environment as it is; `force'
%% makes a fresh one.
%% @end
-module(py_venv).

-export([ensure/2, ensure/3, ensure_venv/2, ensure_venv/3]).
-export([activate/1, deactivate/0, info/0]).

-type path() :: binary() | string().
-type reason() ::
    %% of pip, uv or venv, with the end of what was printed
    {exit_code, non_neg_integer(), binary()}
    | timeout
    %% there is something, and it is no environment
    | {not_a_venv, binary()}
    %% the file of requirements cannot be read
    | {no_requirements, binary(), file:posix() | badarg | terminated | system_limit}
    | {bad_requirement, term()}
    | {bad_option, term(), binary()}
    | {installer_not_found, uv}
    | {cannot_run, term()}
    | term().

%% Contexts for which none could be started in the new environment go on in the old one.
-type not_replaced() :: {error, {not_replaced, [term()]} | not_started}.

-define(NOTE, ".py_port_venv").

%% @equiv ensure(Path, Requirements, [])
-spec ensure(path(), py_venv_options:requirements()) -> ok | {error, reason()}.
ensure(Path, Requirements) ->
    ensure(Path, Requirements, []).

%% @doc Returns when the environment is there and holds what is required.
-spec ensure(path(), py_venv_options:requirements(), py_venv_options:options()) ->
    ok | {error, reason()}.
ensure(Path, Requirements, Options) ->
    case made(Path, Requirements, Options) of
        {ok, _} -> ok;
        {error, _} = Error -> Error
    end.

-spec made(path(), py_venv_options:requirements(), py_venv_options:options()) ->
    {ok, made | known} | {error, reason()}.
made(Path, Requirements, Options) ->
    case py_venv_options:make(Path, Requirements, Options) of
        {ok, Plan} -> carry_out(Plan);
        {error, _} = Error -> Error
    end.

-spec carry_out(py_venv_options:plan()) -> {ok, made | known} | {error, reason()}.
carry_out(#{path := Path, force := Force} = Plan) ->
    case {is_ready(Plan), is_ours_to_make(Path)} of
        {true, _} when not Force ->
            {ok, known};
        {_, false} ->
            {error, {not_a_venv, Path}};
        {_, true} ->
            case py_venv_maker:run(Plan) of
                ok -> {ok, made};
                {error, _} = Error -> Error
            end
    end.

%% The note is written when all is done, whole or not at all, so this needs no lock.
-spec is_ready(py_venv_options:plan()) -> boolean().
is_ready(#{path := Path, stamp := Stamp}) ->
    Size = byte_size(Stamp),
    case file:read_file(filename:join(Path, ?NOTE)) of
        {ok, <<"ready ", Stamp:Size/binary, " ", _/binary>>} -> is_venv(Path);
        _ -> false
    end.

-spec is_venv(binary()) -> boolean().
is_venv(Path) ->
    filelib:is_regular(filename:join(Path, "pyvenv.cfg")) andalso
        filelib:is_regular(filename:join([Path, "bin", "python"])).

%% The program looks again, under its lock; this is for the sake of a clear answer.
-spec is_ours_to_make(binary()) -> boolean().
is_ours_to_make(Path) ->
    case file:list_dir_all(Path) of
        {ok, Names} ->
            Others = Names -- [?NOTE, ?NOTE ".new"],
            Others =:= [] orelse lists:any(fun(N) -> lists:member(N, Names) end, ["pyvenv.cfg", ?NOTE]);
        {error, enoent} ->
            true;
        {error, _} ->
            false
    end.

%% @equiv ensure_venv(Path, Requirements, [])
-spec ensure_venv(path(), py_venv_options:requirements()) ->
    ok | {error, reason() | {invalid_venv, binary()}} | not_replaced().
ensure_venv(Path, Requirements) ->
    ensure_venv(Path, Requirements, []).

%% @doc {@link ensure/3}, and then {@link activate/1}. Contexts that run in this environment already
%% are replaced if something was installed.
-spec ensure_venv(path(), py_venv_options:requirements(), py_venv_options:options()) ->
    ok | {error, reason() | {invalid_venv, binary()}} | not_replaced().
ensure_venv(Path, Requirements, Options) ->
    case made(Path, Requirements, Options) of
        {ok, What} -> activate(Path, What);
        {error, _} = Error -> Error
    end.

%% @doc From now on contexts of the façade are started in this environment, and those that run are
%% replaced, if it is not theirs already. What they hold in Python is lost then. The environment is
%% chosen also if some could not be replaced.
-spec activate(path()) -> ok | {error, {invalid_venv, binary()}} | not_replaced().
activate(Path) ->
    activate(Path, known).

-spec activate(path(), made | known) -> ok | {error, {invalid_venv, binary()}} | not_replaced().
activate(Given, What) ->
    try py_environment:path(Given) of
        Path ->
            case usable(Path) of
                ok -> chosen({set, venv, Path}, What);
                {error, Why} -> {error, {invalid_venv, Why}}
            end
    catch
        error:{bad_path, _} ->
            {error, {invalid_venv, py_port_error:bounded_text(Given, 10, 200)}}
    end.

%% There must be a worker for its Python, too.
-spec usable(binary()) -> ok | {error, binary()}.
usable(Path) ->
    case py_port_options:validate(#{venv => Path}) of
        {ok, Options} ->
            case py_port_python:resolve(Options) of
                {ok, _} -> ok;
                {error, {bad_option, _, Why}} -> {error, Why}
            end;
        {error, {bad_option, _, Why}} ->
            {error, Why}
    end.

%% @doc From now on contexts of the façade are started in Python as it is, and those that run are
%% replaced.
-spec deactivate() -> ok | not_replaced().
deactivate() ->
    chosen({set, venv, none}, known).

-spec chosen(py_environment_registry:change(), made | known) -> ok | not_replaced().
chosen(Change, What) ->
    case py_environment_registry:change(Change) of
        {#{venv := Same}, #{venv := Same}} when What =:= known -> ok;
        {_, #{}} -> replace_contexts();
        {error, not_started} = Error -> Error
    end.

-spec replace_contexts() -> ok | not_replaced().
replace_contexts() ->
    case py_pool:restart_all() of
        ok -> ok;
        {error, Reasons} -> {error, {not_replaced, Reasons}}
    end.

%% @doc The environment that contexts of the façade are started in. The keys are texts:
%% `<<"active">>', and if that is `true', `<<"venv_path">>', `<<"site_packages">>' (a list of folders)
%% and `<<"ready">>', whether {@link ensure/3} has brought it to its end.
-spec info() -> {ok, #{binary() => boolean() | binary() | [binary()]}}.
info() ->
    case py_environment_registry:read() of
        #{venv := none} ->
            {ok, #{<<"active">> => false}};
        #{venv := Path} ->
            Folders = filelib:wildcard("lib/python3.*/site-packages", unicode:characters_to_list(Path)),
            {ok, #{
                <<"active">> => true,
                <<"venv_path">> => Path,
                <<"site_packages">> => [filename:join(Path, unicode:characters_to_binary(F)) || F <- Folders],
                <<"ready">> => is_noted_ready(Path)
            }}
    end.

-spec is_noted_ready(binary()) -> boolean().
is_noted_ready(Path) ->
    case file:read_file(filename:join(Path, ?NOTE)) of
        {ok, <<"ready ", _/binary>>} -> is_venv(Path);
        _ -> false
    end.
