%% @doc Where a call goes: what the first argument of {@link py}'s functions means, and with how much
%% time and under which limit it is called there.
%%
%% <ul>
%% <li>`router': the context that the router has for the caller, in the pool that the module and the
%% function are registered for; 30 seconds;</li>
%% <li>`{pool, Pool}': the same in that pool. If there is no such pool, but a context is registered
%% under that name, it is that context;</li>
%% <li>`{context, Ctx}': that context, as a pid, a name, or `{Name, Node}'; as much time as the
%% context itself gives (for ever, unless its option `call_timeout' says otherwise). An error in
%% its place, such as {@link py:context/1} may give, is the outcome.</li>
%% </ul>
%%
%% Calls through a pool ({@link limited/3}) take a slot of {@link py_semaphore} for as long as they
%% run. One that is made on behalf of a call from Python does not: that call holds a slot already, and
%% all slots could be held by those who wait for such a call.
%% @end
-module(py_target).

-export([is_context/1, context/3, find/1, exactly/1, numbered/1, numbered/3, limited/3]).
-export_type([target/0]).

-type target() :: router | {pool, atom()} | {context, py_port:context()}.
-type result() :: ok | {ok, term()} | {error, term()}.

-define(POOL_TIMEOUT, 30000).

%% @doc Whether the argument can only be a context: atoms may be modules, pools, or names.
-spec is_context(term()) -> boolean().
is_context(Ctx) when is_pid(Ctx) -> true;
is_context({error, _}) -> true;
is_context({global, _}) -> true;
is_context({via, Module, _}) when is_atom(Module) -> true;
is_context({Name, Node}) when is_atom(Name), is_atom(Node) -> true;
is_context(_) -> false.

%% @doc The context of a target, for a function of that module.
-spec context(target(), py_port:name(), py_port:name()) -> {ok, py_port:context()} | {error, term()}.
context(router, Module, Function) ->
    routed(fun() -> py_context_router:get_context(py_context_router:lookup_pool(Module, Function)) end);
context(Target, _, _) ->
    find(Target).

%% @doc The context of a target that is not chosen by module and function.
-spec find(target()) -> {ok, py_port:context()} | {error, term()}.
find(router) ->
    routed(fun() -> py_context_router:get_context() end);
find({context, {error, _} = Error}) ->
    Error;
find({context, Ctx}) when is_pid(Ctx) ->
    {ok, Ctx};
find({context, Name}) ->
    %% A pid, where it can be had: the namespace of the caller belongs to that very context.
    case py_port_names:whereis(Name) of
        {local, Pid} -> {ok, Pid};
        {remote, _, Pid} when is_pid(Pid) -> {ok, Pid};
        _ -> {ok, Name}
    end;
find({pool, Pool}) when not is_atom(Pool) ->
    {error, {no_such_pool, Pool}};
find({pool, Pool}) ->
    case routed(fun() -> py_context_router:get_context(Pool) end) of
        {error, {no_such_pool, _}} = Error -> named(whereis(Pool), Error);
        Found -> Found
    end.

-spec named(pid() | port() | undefined, Error) -> {ok, pid()} | Error.
named(Pid, Error) when is_pid(Pid) ->
    case lists:member(Pid, py_port:contexts()) of
        true -> {ok, Pid};
        false -> Error
    end;
named(_, Error) ->
    Error.

%% @doc The context of that number, or one of that pool.
-spec exactly(term()) -> {ok, pid()} | {error, term()}.
exactly(Which) when is_atom(Which); is_integer(Which), Which > 0 ->
    routed(fun() -> py_context_router:get_context(Which) end);
exactly(Which) ->
    {error, {no_such_context, Which}}.

%% @doc The context of that number in the default pool. Numbers count from 1 and go round.
-spec numbered(pos_integer()) -> {ok, pid()} | {error, term()}.
numbered(N) ->
    routed(fun() -> py_context_router:get_context((N - 1) rem py_context_router:num_contexts() + 1) end).

%% @doc The same in the pool for a function of that module, of those that run there.
-spec numbered(pos_integer(), py_port:name(), py_port:name()) -> {ok, pid()} | {error, term()}.
numbered(N, Module, Function) ->
    case py_context_router:lookup_pool(Module, Function) of
        default -> numbered(N);
        Pool -> routed(fun() -> nth(N, Pool, py_context_router:contexts(Pool)) end)
    end.

-spec nth(pos_integer(), atom(), [pid()]) -> pid().
nth(_, Pool, []) -> py_context_router:get_context(Pool);
nth(N, _, Contexts) -> lists:nth((N - 1) rem length(Contexts) + 1, Contexts).

%% The router raises for what is wrong with a request to it; its users get a term.
-spec routed(fun(() -> pid())) -> {ok, pid()} | {error, term()}.
routed(Get) ->
    try
        {ok, Get()}
    catch
        error:{no_such_pool, _} = Reason -> {error, Reason};
        error:{start_failed, _} = Reason -> {error, Reason};
        error:{no_such_context, _} = Reason -> {error, Reason};
        error:{bad_argument, _, _} = Reason -> {error, Reason}
    end.

%% @doc Runs `Call' with the time that is left when it has got a slot, or says `overloaded'.
%% `default': what the target gives.
-spec limited(target(), timeout() | default, fun((timeout() | default) -> result())) -> result().
limited({context, _}, Timeout, Call) ->
    Call(Timeout);
limited(Target, default, Call) ->
    limited(Target, ?POOL_TIMEOUT, Call);
limited(_, Timeout, Call) when is_integer(Timeout), Timeout >= 0; Timeout =:= infinity ->
    case py_port:caller() of
        undefined -> with_slot(Timeout, Call);
        _ -> Call(Timeout)
    end;
limited(_, Timeout, Call) ->
    %% It is refused there.
    Call(Timeout).

-spec with_slot(timeout(), fun((timeout()) -> result())) -> result().
with_slot(Timeout, Call) ->
    Start = erlang:monotonic_time(millisecond),
    case py_semaphore:acquire(Timeout) of
        ok ->
            try
                Call(left(Timeout, Start))
            after
                py_semaphore:release()
            end;
        {error, max_concurrent} ->
            {error, {overloaded, py_semaphore:current(), py_semaphore:max_concurrent()}}
    end.

-spec left(timeout(), integer()) -> timeout().
left(infinity, _) -> infinity;
left(Timeout, Start) -> max(0, Timeout - (erlang:monotonic_time(millisecond) - Start)).
