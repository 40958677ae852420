%% @doc Requests of {@link py} that wait for their answer: the target becomes a context, the options
%% get the namespace of the caller, and errors become those of {@link py_errors}.
%%
%% The timeout is for all of it: the slot of the semaphore, the start of a context, the namespace and
%% the request. When the context of a pool has ended and nothing of what was asked for has gone to it,
%% its successor does it; what may have begun is never done again.
%%
%% Everything runs in the calling process, but for what is {@link begun/1} for another one. {@link
%% py_port} does the work and checks the arguments.
%% @end
-module(py_call).

-export([call/2, eval/1, eval/2, exec/1, exec/2, cast/1]).
%% for those that wait in another way
-export([prepared/2, prepared/4, begun/1, begun/2, carry_on/2]).
-export_type([begun/0]).

-include("py_pool.hrl").

-type result() :: {ok, term()} | {error, py_errors:reason()}.
%% What a request is made with when the context is known.
-type do(Result) :: fun((py_port:context(), Namespace :: map()) -> Result | unsent()).
-type unsent() :: {unsent, term()}.
-opaque begun() :: {py_target:target(), py_context_router:place(), py_namespace:space()}.

%% @doc Through a pool it takes a slot of the semaphore, and 30 seconds unless `timeout' says
%% otherwise.
-spec call(py_forms:call(), Options :: term()) -> result().
call({Target, M, F, Args, Kwargs}, Options) when is_map(Options) ->
    in_time(Target, Options, fun(Until) ->
        py_target:limited(Target, Until, fun() ->
            on(Target, py_target:place(Target, M, F), Until, fun(Ctx, Namespace) ->
                Opts = options(Namespace, Options, Until),
                py_port_call:attempt(fun() ->
                    py_port_call:call_unguarded(Ctx, M, F, Args, Kwargs, Opts)
                end)
            end)
        end)
    end);
call(_, _) ->
    {error, {bad_argument, options, <<"must be a map">>}}.

%% @equiv eval(Code, #{})
-spec eval(py_forms:code()) -> result().
eval(Code) ->
    eval(Code, #{}).

%% @doc With some more options, such as `return => ref'.
-spec eval(py_forms:code(), py_port:call_options()) -> result().
eval(Code, More) ->
    run(fun py_port_call:eval_unguarded/4, Code, More).

%% @equiv exec(Code, #{})
-spec exec(py_forms:code()) -> ok | {error, py_errors:reason()}.
exec(Code) ->
    exec(Code, #{}).

-spec exec(py_forms:code(), py_port:call_options()) -> ok | {error, py_errors:reason()}.
exec(Code, More) ->
    run(fun py_port_call:exec_unguarded/4, Code, More).

-spec run(fun((py_port:context(), term(), term(), term()) -> Result), py_forms:code(), map()) ->
    Result | {error, py_errors:reason()}.
run(Do, {Target, Code, Locals, Given}, More) when is_map(Given) ->
    Options = maps:merge(Given, More),
    in_time(Target, Options, fun(Until) ->
        on(Target, py_target:place(Target), Until, fun(Ctx, Namespace) ->
            Opts = options(Namespace, Options, Until),
            py_port_call:attempt(fun() -> Do(Ctx, Code, Locals, Opts) end)
        end)
    end);
run(_, _, _) ->
    {error, {bad_argument, options, <<"must be a map">>}}.

-spec in_time(py_target:target(), map(), fun((py_deadline:t()) -> Result)) ->
    Result | {error, py_errors:reason()}.
in_time(Target, Options, Do) ->
    py_errors:result(
        case py_deadline:given(maps:get(timeout, Options, default), py_target:until(Target)) of
            {ok, Until} -> Do(Until);
            {error, _} = Error -> Error
        end
    ).

-spec options(map(), map(), py_deadline:t()) -> map().
options(Namespace, Options, Until) ->
    maps:merge(maps:merge(Namespace, Options), py_deadline:option(Until)).

%% Without waiting ---------------------------------------------------------------------------------

%% @doc What Python raises is logged, and so is that there was no context. It is made in the order of the
%% caller's requests if its context runs.
-spec cast(py_forms:call()) -> ok | {error, py_errors:reason()}.
cast({Target, M, F, Args, Kwargs} = Call) ->
    Do = fun(Ctx, Namespace) -> py_port:cast(Ctx, M, F, Args, Kwargs, Namespace) end,
    py_errors:result(
        case {checked(M, F, Args, Kwargs), py_target:place(Target, M, F)} of
            {{error, _} = Error, _} ->
                Error;
            {ok, {later, _} = Place} ->
                Begun = begun(Call, Place),
                _ = spawn(fun() -> ok = py_namespace:told(carry_on(Begun, Do)) end),
                ok;
            {ok, Place} ->
                case py_context_router:at(Place, none) of
                    {ok, Ctx} -> py_namespace:cast(Ctx, fun(Space) -> Do(Ctx, Space) end);
                    {error, _} = Error -> Error
                end
        end
    ).

%% Nobody hears of it later.
-spec checked(term(), term(), term(), term()) -> ok | {error, py_port_error:reason()}.
checked(M, F, Args, Kwargs) ->
    py_port_call:guarded(fun() ->
        _ = py_port_call:request(M, F, Args, Kwargs, py_port_args:how(#{}, infinity)),
        ok
    end).

%% @doc A call that another process is to make on behalf of the calling one: what only this one knows.
%% Waits for nobody.
-spec begun(py_forms:call()) -> begun().
begun({Target, M, F, _, _} = Call) ->
    begun(Call, py_target:place(Target, M, F)).

%% @doc At a place that is known already.
-spec begun(py_forms:call(), py_context_router:place()) -> begun().
begun({Target, _, _, _, _}, Place) ->
    {Target, Place, py_namespace:lent(Place)}.

%% @doc In that process.
-spec carry_on(begun(), do(Result)) -> Result | {error, term()}.
carry_on({Target, Place, Space}, Do) ->
    on(Target, Place, Space, none, Do, ?TRIES).

%% @doc The context of a call, and its options in the namespace of the calling process; for somebody
%% else who makes it.
-spec prepared(py_forms:call(), map()) -> {ok, py_port:context(), map()} | {error, term()}.
prepared({Target, M, F, _, _} = Call, Options) ->
    prepared(Call, py_target:place(Target, M, F), Options, none).

%% @doc At a place that is known already, and with that much time.
-spec prepared(py_forms:call(), py_context_router:place(), map(), py_deadline:t()) ->
    {ok, py_port:context(), map()} | {error, term()}.
prepared({Target, _, _, _, _}, Place, Options, Until) ->
    Do = fun(Ctx, Namespace) -> {ok, Ctx, options(Namespace, Options, Until)} end,
    on(Target, Place, fun py_namespace:options/2, Until, Do, ?TRIES).

%% On a context ------------------------------------------------------------------------------------

-spec on(py_target:target(), py_context_router:place(), py_deadline:t(), do(Result)) ->
    Result | {error, term()}.
on(Target, Place, Until, Do) ->
    on(Target, Place, fun py_namespace:options/2, Until, Do, ?TRIES).

-spec on(Target, Place, py_namespace:space(), py_deadline:t(), do(Result), pos_integer()) ->
    Result | {error, term()}
when
    Target :: py_target:target(), Place :: py_context_router:place().
on(Target, Place, Space, Until, Do, Attempts) ->
    case py_context_router:at(Place, Until) of
        {ok, Ctx} ->
            case there(Ctx, Space, Until, Do) of
                {unsent, Reason} when Attempts =:= 1; is_tuple(Target), element(1, Target) =:= context ->
                    {error, Reason};
                {unsent, _} ->
                    Successor = {later, fun(At) -> successor(Ctx, Place, At) end},
                    on(Target, Successor, Space, Until, Do, Attempts - 1);
                Result ->
                    Result
            end;
        {error, _} = Error ->
            Error
    end.

%% When the context dies while the namespace is made, nothing of what was asked for has run.
-spec there(py_port:context(), py_namespace:space(), py_deadline:t(), do(Result)) ->
    Result | unsent().
there(Ctx, Space, Until, Do) ->
    case Space(Ctx, Until) of
        #{env := {error, {worker_down, _} = Reason}} -> {unsent, Reason};
        Namespace -> Do(Ctx, Namespace)
    end.

%% The table shows a context until its keeper has seen its end.
-spec successor(py_port:context(), py_context_router:place(), py_deadline:t()) -> py_pool:found().
successor(Ctx, Place, Until) ->
    case py_pool:successor(Ctx, Until) of
        none -> py_context_router:again(Place, Until);
        Found -> Found
    end.
