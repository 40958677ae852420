%% @doc Requests of {@link py} that wait for their answer: the target becomes a context, the options
%% get the namespace of the caller, and errors become those of {@link py_errors}.
%%
%% Everything runs in the calling process. {@link py_port} does the work and checks the arguments.
%% @end
-module(py_call).

-export([call/2, eval/1, eval/2, exec/1, exec/2, cast/1]).
%% for those that wait in another way
-export([prepared/2]).

-type result() :: {ok, term()} | {error, py_errors:reason()}.

%% @doc Through a pool it takes a slot of the semaphore, and 30 seconds unless `timeout' says
%% otherwise.
-spec call(py_forms:call(), Options :: term()) -> result().
call({Target, M, F, Args, Kwargs}, Options) when is_map(Options) ->
    Timeout = maps:get(timeout, Options, default),
    py_errors:result(
        py_target:limited(Target, Timeout, fun(Left) ->
            on(py_target:context(Target, M, F), fun(Ctx) ->
                py_port:call(Ctx, M, F, Args, Kwargs, options(Ctx, Left, Options))
            end)
        end)
    );
call(_, _) ->
    {error, {bad_argument, options, <<"must be a map">>}}.

%% @equiv eval(Code, #{})
-spec eval(py_forms:code()) -> result().
eval(Code) ->
    eval(Code, #{}).

%% @doc With some more options, such as `return => ref'.
-spec eval(py_forms:code(), py_port:call_options()) -> result().
eval(Code, More) ->
    run(fun py_port:eval/4, Code, More).

%% @equiv exec(Code, #{})
-spec exec(py_forms:code()) -> ok | {error, py_errors:reason()}.
exec(Code) ->
    exec(Code, #{}).

-spec exec(py_forms:code(), py_port:call_options()) -> ok | {error, py_errors:reason()}.
exec(Code, More) ->
    run(fun py_port:exec/4, Code, More).

%% @doc Does not wait; what Python raises is logged.
-spec cast(py_forms:call()) -> ok | {error, py_errors:reason()}.
cast({Target, M, F, Args, Kwargs}) ->
    py_errors:result(
        on(py_target:context(Target, M, F), fun(Ctx) ->
            py_port:cast(Ctx, M, F, Args, Kwargs, py_namespace:options(Ctx))
        end)
    ).

%% @doc The context of a call, and its options in the namespace of the calling process; for somebody
%% else who makes it.
-spec prepared(py_forms:call(), map()) -> {ok, py_port:context(), map()} | {error, term()}.
prepared({Target, M, F, _, _}, Options) ->
    on(py_target:context(Target, M, F), fun(Ctx) -> {ok, Ctx, options(Ctx, default, Options)} end).

-spec run(fun((py_port:context(), term(), term(), term()) -> Result), py_forms:code(), map()) ->
    Result | {error, py_errors:reason()}.
run(Do, {Target, Code, Locals, Given}, More) when is_map(Given) ->
    Options = maps:merge(py_target:default_timeout(Target), maps:merge(Given, More)),
    py_errors:result(
        on(py_target:find(Target), fun(Ctx) ->
            Do(Ctx, Code, Locals, options(Ctx, default, Options))
        end)
    );
run(_, _, _) ->
    {error, {bad_argument, options, <<"must be a map">>}}.

-spec on({ok, py_port:context()} | {error, term()}, fun((py_port:context()) -> Result)) ->
    Result | {error, term()}.
on({ok, Ctx}, Do) -> Do(Ctx);
on({error, _} = Error, _) -> Error.

-spec options(py_port:context(), timeout() | default, map()) -> map().
options(Ctx, default, Options) -> maps:merge(py_namespace:options(Ctx), Options);
options(Ctx, Timeout, Options) -> options(Ctx, default, Options#{timeout => Timeout}).
