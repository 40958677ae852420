%% @doc What the application environment says about the façade ({@link py} and what belongs to it).
%%
%% A key may stand under `py_port' or, for those who come from erlang_python, under that name; the
%% first counts. Where releases of erlang_python disagree, one key settles all at once: `compat',
%% `'2.0'' (the default) or `'4.1''.
%% @end
-module(py_settings).

-export([get/2, compat/0]).
-export_type([compat/0]).

%% What the two differ in:
%% <ul>
%% <li>`'2.0'': the class of a Python exception is a string, {@link py:cast/3} returns a reference to
%% await, and all processes share one namespace in a context;</li>
%% <li>`'4.1'': the class is an atom if that exists and else a string, {@link py:cast/3} returns `ok',
%% and each process has a namespace of its own in each context.</li>
%% </ul>
-type compat() :: '2.0' | '4.1'.

%% @doc The value of the key, or the default when it is given under neither name.
-spec get(atom(), Default) -> term() | Default.
get(Key, Default) ->
    case application:get_env(py_port, Key) of
        {ok, Value} -> Value;
        undefined -> application:get_env(erlang_python, Key, Default)
    end.

%% @doc Fails with `{bad_setting, compat, Value}' for any other value.
-spec compat() -> compat().
compat() ->
    case get(compat, '2.0') of
        '2.0' -> '2.0';
        '4.1' -> '4.1';
        Other -> error({bad_setting, compat, Other})
    end.
