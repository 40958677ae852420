%% @doc Erlang functions that Python may call, by the names erlang_python has for it. Registering
%% them is {@link py_port:register_function/2}: one table for the node, which outlives the process
%% that keeps it.
%%
%% A function gets one list of arguments. What it returns is the value for Python, also `{error,
%% _}'; only what it raises is an error there.
%% @end
-module(py_callback).

-export([register/2, unregister/1, lookup/1, execute/2]).
-export_type([function_reference/0]).

-type function_reference() :: fun(([term()]) -> term()) | {module(), atom()}.

%% @doc A name that is taken is taken over.
-spec register(term(), term()) -> ok | {error, py_port_error:reason()}.
register(Name, Function) ->
    py_port_callbacks:register(Name, Function).

%% @doc What runs goes on. Ok also when there is no such name.
-spec unregister(term()) -> ok | {error, py_port_error:reason()}.
unregister(Name) ->
    py_port_callbacks:unregister(Name).

%% @doc The function of that name.
-spec lookup(term()) -> {ok, function_reference()} | {error, not_found}.
lookup(Name) ->
    case found(Name) of
        {ok, {function, Fun}} -> {ok, Fun};
        {ok, {module, M, F}} -> {ok, {M, F}};
        error -> {error, not_found}
    end.

%% @doc Runs it here, in the calling process.
-spec execute(term(), [term()]) ->
    {ok, term()}
    | {error, {not_found, term()} | {error | exit | throw, term(), erlang:stacktrace()}}.
execute(Name, Args) ->
    case found(Name) of
        {ok, Target} ->
            try
                {ok, run(Target, Args)}
            catch
                Class:Reason:Stack -> {error, {Class, Reason, Stack}}
            end;
        error ->
            {error, {not_found, Name}}
    end.

-spec found(term()) -> {ok, py_port_callbacks:target()} | error.
found(Name) ->
    case py_port_callbacks:name(Name) of
        {ok, Text} -> py_port_callbacks:lookup(Text);
        error -> error
    end.

-spec run(py_port_callbacks:target(), [term()]) -> term().
run({function, Fun}, Args) -> Fun(Args);
run({module, M, F}, Args) -> M:F(Args).
