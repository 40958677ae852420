%% @doc Modules and folders that all contexts of the façade have: those that run now, and those that
%% are started later.
%%
%% A module that is imported beforehand costs its time at the start of a context and not in the
%% first call. Nothing is ever taken out of a running Python: to clear the list of modules means
%% that contexts which start from now on do not import them.
%%
%% Names are atoms, binaries or strings; folders are made absolute. What is neither raises
%% `{bad_name, _}' or `{bad_path, _}'.
%% @end
-module(py_import).

-export([ensure_imported/1, ensure_imported/2, is_imported/1, is_imported/2]).
-export([all_imports/0, import_list/0, clear_imports/0]).
-export([add_path/1, add_paths/1, all_paths/0, clear_paths/0, is_path_added/1]).
%% for py_environment
-export([set_paths_arguments/1]).
-export_type([name/0, path/0]).

-type name() :: atom() | binary() | string().
-type path() :: binary() | string().
%% For each context in which it failed the same element, and why.
-type failed() :: {error, [{context, py_errors:reason()}] | not_started}.

%% Modules -----------------------------------------------------------------------------------------

%% @doc Imports the module in all running contexts, and in each one that is started from now on. If
%% it cannot be imported it is not on the list, either. `__main__' belongs to each context alone.
-spec ensure_imported(name()) -> ok | {error, main_not_cacheable} | failed().
ensure_imported(Module) ->
    ensure({py_environment:name(Module), all}).

%% @doc And makes sure that the module has the function.
-spec ensure_imported(name(), name()) -> ok | {error, main_not_cacheable} | failed().
ensure_imported(Module, Function) ->
    ensure({py_environment:name(Module), py_environment:name(Function)}).

%% Registered first: a context that starts meanwhile imports it by itself.
-spec ensure(py_environment_registry:import()) -> ok | {error, main_not_cacheable} | failed().
ensure({<<"__main__">>, _}) ->
    {error, main_not_cacheable};
ensure(Import) ->
    case py_environment_registry:change({add, imports, [Import]}) of
        {error, not_started} = Error -> Error;
        {#{imports := Before}, _} -> load(Import, lists:member(Import, Before))
    end.

-spec load(py_environment_registry:import(), WasThere :: boolean()) -> ok | failed().
load(Import, WasThere) ->
    Args = [A || A <- tuple_to_list(Import), A =/= all],
    case failures(py_environment:everywhere('erlang._startup', load, Args, default)) of
        ok ->
            ok;
        {error, _} = Failed ->
            _ = WasThere orelse py_environment_registry:change({remove, imports, [Import]}),
            Failed
    end.

-spec failures([{pid(), {ok, term()} | {error, term()}}]) -> ok | failed().
failures(Outcomes) ->
    case [{context, py_errors:reason(Reason)} || {_, {error, Reason}} <- Outcomes] of
        [] -> ok;
        Failed -> {error, Failed}
    end.

%% @doc Whether the module, or a function of it, is on the list.
-spec is_imported(name()) -> boolean().
is_imported(Module) ->
    lists:keymember(py_environment:name(Module), 1, all_imports()).

%% @doc Whether the function is on the list, or the module as a whole.
-spec is_imported(name(), name()) -> boolean().
is_imported(Module, Function) ->
    M = py_environment:name(Module),
    Imports = all_imports(),
    lists:member({M, py_environment:name(Function)}, Imports) orelse lists:member({M, all}, Imports).

%% @doc In the order in which they are imported; `all' stands for a module without a function.
-spec all_imports() -> [{Module :: binary(), Function :: binary() | all}].
all_imports() ->
    maps:get(imports, py_environment_registry:read()).

%% @doc The functions of each module.
-spec import_list() -> {ok, #{Module :: binary() => [Function :: binary()]}}.
import_list() ->
    {ok, lists:foldr(fun list/2, #{}, all_imports())}.

-spec list(py_environment_registry:import(), #{binary() => [binary()]}) -> #{binary() => [binary()]}.
list({Module, all}, Acc) -> Acc#{Module => maps:get(Module, Acc, [])};
list({Module, Function}, Acc) -> Acc#{Module => [Function | maps:get(Module, Acc, [])]}.

%% @doc Contexts that start from now on import none of them; what running ones have imported stays.
-spec clear_imports() -> ok | failed().
clear_imports() ->
    case py_environment_registry:change({set, imports, []}) of
        {error, not_started} = Error -> Error;
        {_, _} -> ok
    end.

%% Folders -----------------------------------------------------------------------------------------

%% @equiv add_paths([Path])
-spec add_path(path()) -> ok | failed().
add_path(Path) ->
    add_paths([Path]).

%% @doc All contexts look for modules in these folders, before they look elsewhere; those that run,
%% from now on.
-spec add_paths([path()]) -> ok | failed().
add_paths(Paths) ->
    changed({add, paths, [py_environment:path(P) || P <- Paths]}).

%% @doc Folders that were added, in the order in which they are searched.
-spec all_paths() -> [binary()].
all_paths() ->
    maps:get(paths, py_environment_registry:read()).

%% @doc Also in contexts that run. Modules that they have imported stay.
-spec clear_paths() -> ok | failed().
clear_paths() ->
    changed({set, paths, []}).

-spec changed(py_environment_registry:change()) -> ok | failed().
changed(Change) ->
    case py_environment_registry:change(Change) of
        {error, not_started} = Error ->
            Error;
        {Same, Same} ->
            ok;
        {_, New} ->
            Args = set_paths_arguments(New),
            failures(py_environment:everywhere('erlang._startup', set_paths, Args, default))
    end.

%% @private The version tells Python which of two changes at the same time is the newer one.
-spec set_paths_arguments(py_environment_registry:registry()) -> [term()].
set_paths_arguments(#{paths := Paths, version := Version}) ->
    [Paths, Version].

%% @doc Whether the folder is one of {@link all_paths/0}.
-spec is_path_added(path()) -> boolean().
is_path_added(Path) ->
    lists:member(py_environment:path(Path), all_paths()).
