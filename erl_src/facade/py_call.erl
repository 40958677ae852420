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

%% to get a namespace of the caller in a context of a pool
-define(ATTEMPTS, 3).

%% @doc Through a pool it takes a slot of the semaphore, and 30 seconds unless `timeout' says
%% otherwise.
-spec call(py_forms:call(), Options :: term()) -> result().
call({Target, M, F, Args, Kwargs}, Options) when is_map(Options) ->
    Timeout = maps:get(timeout, Options, default),
    py_errors:result(
        py_target:limited(Target, Timeout, fun(Left) ->
            on(ready(Target, M, F), fun(Ctx, Namespace) ->
                py_port:call(Ctx, M, F, Args, Kwargs, options(Namespace, Left, Options))
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
        on(ready(Target, M, F), fun(Ctx, Namespace) ->
            py_port:cast(Ctx, M, F, Args, Kwargs, Namespace)
        end)
    ).

%% @doc The context of a call, and its options in the namespace of the calling process; for somebody
%% else who makes it.
-spec prepared(py_forms:call(), map()) -> {ok, py_port:context(), map()} | {error, term()}.
prepared({Target, M, F, _, _}, Options) ->
    on(ready(Target, M, F), fun(Ctx, Namespace) ->
        {ok, Ctx, options(Namespace, default, Options)}
    end).

-spec run(fun((py_port:context(), term(), term(), term()) -> Result), py_forms:code(), map()) ->
    Result | {error, py_errors:reason()}.
run(Do, {Target, Code, Locals, Given}, More) when is_map(Given) ->
    Options = maps:merge(py_target:default_timeout(Target), maps:merge(Given, More)),
    py_errors:result(
        on(located(Target, fun() -> py_target:find(Target) end, ?ATTEMPTS), fun(Ctx, Namespace) ->
            Do(Ctx, Code, Locals, options(Namespace, default, Options))
        end)
    );
run(_, _, _) ->
    {error, {bad_argument, options, <<"must be a map">>}}.

-type ready() :: {ok, py_port:context(), Namespace :: map()} | {error, term()}.

-spec ready(py_target:target(), term(), term()) -> ready().
ready(Target, M, F) ->
    located(Target, fun() -> py_target:context(Target, M, F) end, ?ATTEMPTS).

%% The context, and the namespace that the caller has there. When the context of a pool dies while the
%% namespace is made, nothing of what was asked for has run: its successor does it.
-spec located(py_target:target(), fun(() -> {ok, py_port:context()} | {error, term()}), pos_integer()) ->
    ready().
located(Target, Find, Attempts) ->
    case Find() of
        {ok, Ctx} ->
            case py_namespace:options(Ctx) of
                #{env := {error, {worker_down, _}} = Error} when
                    Attempts =:= 1; is_tuple(Target), element(1, Target) =:= context
                ->
                    Error;
                #{env := {error, {worker_down, _}}} ->
                    located(Target, Find, Attempts - 1);
                Namespace ->
                    {ok, Ctx, Namespace}
            end;
        {error, _} = Error ->
            Error
    end.

-spec on(ready(), fun((py_port:context(), map()) -> Result)) -> Result | {error, term()}.
on({ok, Ctx, Namespace}, Do) -> Do(Ctx, Namespace);
on({error, _} = Error, _) -> Error.

-spec options(map(), timeout() | default, map()) -> map().
options(Namespace, default, Options) -> maps:merge(Namespace, Options);
options(Namespace, Timeout, Options) -> options(Namespace, default, Options#{timeout => Timeout}).
