%% @doc What the application environment says about the façade ({@link py} and what belongs to it).
%%
%% A key may stand under `py_port' or, for those who come from erlang_python, under that name; the
%% first counts. Where releases of erlang_python disagree, one key settles all at once: `compat',
%% `'2.0'' (the default) or `'4.1''.
%% @end
-module(py_settings).

-export([get/2, is_limit/1, compat/0, adopt/0]).
-export_type([compat/0]).

%% For the application's configuration alone.
-define(STAND_IN,
    {application, erlang_python, [
        {description, "what erlang_python is configured with, for py_port"},
        {vsn, "0"},
        {modules, []},
        {registered, []},
        {applications, [kernel, stdlib]},
        {env, []}
    ]}
).

%% What the two differ in:
%% <ul>
%% <li>`'2.0'': the class of a Python exception is a string, {@link py:cast/3} returns a reference to
%% await, and all processes share one namespace in a context;</li>
%% <li>`'4.1'': the class is an atom if that exists and else a string, {@link py:cast/3} returns `ok',
%% and each process has a namespace of its own in each context.</li>
%% </ul>
-type compat() :: '2.0' | '4.1'.

%% @doc Makes the section `erlang_python' of a sys.config visible although there is no such application.
%%
%% The values that a release is configured with reach an application when it is loaded, so an
%% application of that name is loaded that consists of nothing. It is not, if the real one is there,
%% and unloaded again if there is no such section. What was set with {@link application:set_env/3}
%% before stays, as with every application that is loaded.
-spec adopt() -> ok.
adopt() ->
    IsLoaded = lists:keymember(erlang_python, 1, application:loaded_applications()),
    case IsLoaded orelse code:where_is_file("erlang_python.app") =/= non_existing of
        true -> ok;
        false -> load()
    end.

-spec load() -> ok.
load() ->
    ok = loaded(application:load(?STAND_IN)),
    case application:get_all_env(erlang_python) of
        [] -> loaded(application:unload(erlang_python));
        [_ | _] -> ok
    end.

%% Somebody else may have been faster.
-spec loaded(ok | {error, term()}) -> ok.
loaded(ok) -> ok;
loaded({error, {already_loaded, erlang_python}}) -> ok;
loaded({error, {not_loaded, erlang_python}}) -> ok.

%% @doc The value of the key, or the default when it is given under neither name.
-spec get(atom(), Default) -> term() | Default.
get(Key, Default) ->
    case application:get_env(py_port, Key) of
        {ok, Value} -> Value;
        undefined -> application:get_env(erlang_python, Key, Default)
    end.

%% @doc Whether it can say how many there may be of something.
-spec is_limit(term()) -> boolean().
is_limit(infinity) -> true;
is_limit(N) -> is_integer(N) andalso N > 0.

%% @doc Fails with `{bad_setting, compat, Value}' for any other value.
-spec compat() -> compat().
compat() ->
    case get(compat, '2.0') of
        '2.0' -> '2.0';
        '4.1' -> '4.1';
        Other -> error({bad_setting, compat, Other})
    end.
