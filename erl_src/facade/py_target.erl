%% @doc Where a call goes: what the first argument of {@link py}'s functions means, and with how
%% much time and under which limit it is called there.
%%
%% <ul>
%% <li>`router': the context that {@link py_context_router} has for the caller, in the pool that the
%% module and the function are registered for; 30 seconds;</li>
%% <li>`{pool, Pool}': the same in that pool, which may be any of {@link
%% py_context_router:get_context/1}. If there is no pool of that name, but a context is registered
%% under it, it is that context;</li>
%% <li>`{context, Ctx}': that context, as a pid, a name, or `{Name, Node}'; as much time as the
%% context itself gives (for ever, unless its option `call_timeout' says otherwise). An error in
%% its place, such as {@link py:context/1} may give, is the outcome.</li>
%% </ul>
%%
%% Calls through a pool ({@link limited/3}) take a slot of {@link py_semaphore} for as long as they
%% run. One that is made on behalf of a call from Python does not: that call holds a slot already,
%% and all slots could be held by those who wait for such a call.
%% @end
-module(py_target).

-export([kind/1, place/1, place/3, find/1, least_loaded/2, limited/3, until/1]).
-export_type([target/0]).

-type target() :: router | {pool, py_context_router:which()} | {context, py_port:context()}.
-type result() :: ok | {ok, term()} | {error, term()}.

-define(POOL_TIMEOUT, 30000).

%% @doc What an argument can be, seen alone: a `context' for sure, a `pool' for sure, a `name' (an
%% atom may be a module, a pool, or the name of a context), or neither.
-spec kind(term()) -> context | pool | name | neither.
kind(A) when is_pid(A) -> context;
kind(A) when is_atom(A) -> name;
kind({error, _}) -> context;
kind({global, _}) -> context;
kind({via, Module, _}) when is_atom(Module) -> context;
kind({any_node, Pool, _}) when is_atom(Pool) -> pool;
kind({Pool, {key, _}}) when is_atom(Pool) -> pool;
kind({Pool, least_loaded}) when is_atom(Pool) -> pool;
kind({Pool, scheduler}) when is_atom(Pool) -> pool;
kind({any_node, Pool}) when is_atom(Pool) -> pool;
kind({Name, Node}) when is_atom(Name), is_atom(Node) -> context;
kind(_) -> neither.

%% @doc Where the context of a target is, for a function of that module. Waits for nobody.
-spec place(target(), term(), term()) -> py_context_router:place().
place(router, Module, Function) ->
    py_context_router:place(py_context_router:lookup_pool(Module, Function));
place(Target, _, _) ->
    place(Target).

%% @doc Of a target that is not chosen by module and function.
-spec place(target()) -> py_context_router:place().
place(router) ->
    py_context_router:place(default);
place({pool, Pool}) ->
    case py_context_router:place(Pool) of
        {error, {no_such_pool, Pool}} = Error when is_atom(Pool) -> named(whereis(Pool), Error);
        Place -> Place
    end;
place({context, {error, _} = Error}) ->
    Error;
place({context, Ctx}) when is_pid(Ctx) ->
    {ok, Ctx};
place({context, Name}) ->
    %% A pid, where it can be had: the namespace of the caller belongs to that very context.
    case {py_port_names:whereis(Name), py_settings:compat()} of
        {{local, Pid}, _} -> {ok, Pid};
        {{remote, _, Pid}, _} when is_pid(Pid) -> {ok, Pid};
        {{remote, Node, There}, '4.1'} -> {later, fun(Until) -> ask(Node, There, Until) end};
        _ -> {ok, Name}
    end.

-spec ask(node(), atom(), py_deadline:t()) -> py_pool:found().
ask(Node, Name, Until) ->
    try erpc:call(Node, erlang, whereis, [Name], py_deadline:left(Until)) of
        Pid when is_pid(Pid) -> {ok, Pid};
        _ -> {error, {worker_down, noproc}}
    catch
        error:{erpc, timeout} -> {error, timeout};
        error:{erpc, _} -> {error, {worker_down, {node_down, Node}}}
    end.

%% @doc The context of such a target. One of a pool is started if need be.
-spec find(target()) -> {ok, py_port:context()} | {error, term()}.
find(Target) ->
    py_context_router:at(place(Target), none).

-spec named(pid() | port() | undefined, Error) -> {ok, pid()} | Error.
named(Pid, Error) when is_pid(Pid) ->
    case lists:member(Pid, py_port:contexts()) of
        true -> {ok, Pid};
        false -> Error
    end;
named(_, Error) ->
    Error.

%% @doc In the pool for a function of that module, where the context with the least to do is.
-spec least_loaded(term(), term()) -> py_context_router:place().
least_loaded(Module, Function) ->
    py_context_router:place({py_context_router:lookup_pool(Module, Function), least_loaded}).

%% @doc When nothing else is said.
-spec until(target()) -> py_deadline:t().
until({context, _}) -> none;
until(_) -> py_deadline:in(?POOL_TIMEOUT).

%% @doc Runs `Call' when it has got a slot, or says `overloaded'.
-spec limited(target(), py_deadline:t(), fun(() -> result())) -> result().
limited({context, _}, _, Call) ->
    Call();
limited(_, Until, Call) ->
    case py_port:caller() of
        undefined -> with_slot(Until, Call);
        _ -> Call()
    end.

-spec with_slot(py_deadline:t(), fun(() -> result())) -> result().
with_slot(Until, Call) ->
    case py_semaphore:acquire(py_deadline:left(Until)) of
        ok ->
            try
                Call()
            after
                py_semaphore:release()
            end;
        {error, max_concurrent} ->
            {error, {overloaded, py_semaphore:current(), py_semaphore:max_concurrent()}};
        {error, _} = Error ->
            Error
    end.
