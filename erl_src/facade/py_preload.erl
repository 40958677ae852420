%% @doc Python code that has run in each context of the façade before the first call: imports,
%% constants, a model that is loaded once.
%%
%% It runs in the context's `__main__', after the imports of {@link py_import}. Where each process
%% has a namespace of its own ({@link py_namespace}) that namespace begins with what the code bound:
%% the same objects, under names that each process may bind anew for itself.
%%
%% Code that raises is a context that does not start, `{start_failed, #{what := init}}' with the
%% traceback; in it the code is the file `<preload>'.
%% @end
-module(py_preload).

-export([set_code/1, get_code/0, clear_code/0, has_preload/0, apply_preload/1]).

%% @doc For contexts that are started from now on. Those that run are not changed: {@link
%% apply_preload/1}.
-spec set_code(unicode:chardata()) -> ok | {error, not_started}.
set_code(Code) ->
    set({set, preload, py_environment:code(Code)}).

%% @doc What {@link set_code/1} or the setting `preload_code' gave.
-spec get_code() -> undefined | binary().
get_code() ->
    maps:get(preload, py_environment_registry:read()).

%% @doc Contexts that start from now on begin without it.
-spec clear_code() -> ok | {error, not_started}.
clear_code() ->
    set({set, preload, undefined}).

-spec set(py_environment_registry:change()) -> ok | {error, not_started}.
set(Change) ->
    case py_environment_registry:change(Change) of
        {error, not_started} = Error -> Error;
        {_, _} -> ok
    end.

%% @doc Whether there is such code.
-spec has_preload() -> boolean().
has_preload() ->
    get_code() =/= undefined.

%% @doc Runs the code in a context that runs already, once more if it did before.
-spec apply_preload(pid()) -> ok | {error, py_errors:reason()}.
apply_preload(Ctx) ->
    case get_code() of
        undefined ->
            ok;
        Code ->
            case py_port:call(Ctx, 'erlang._startup', preload, [Code]) of
                {ok, _} -> ok;
                {error, _} = Error -> py_errors:result(Error)
            end
    end.
