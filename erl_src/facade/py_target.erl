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

-export([kind/1, context/3, find/1, least_loaded/2, limited/3, default_timeout/1]).
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

%% @doc The context of a target, for a function of that module.
-spec context(target(), term(), term()) -> {ok, py_port:context()} | {error, term()}.
context(router, Module, Function) ->
    py_context_router:find(py_context_router:lookup_pool(Module, Function));
context(Target, _, _) ->
    find(Target).

%% @doc The context of a target that is not chosen by module and function.
-spec find(target()) -> {ok, py_port:context()} | {error, term()}.
find(router) ->
    py_context_router:find(default);
find({pool, Pool}) ->
    case py_context_router:find(Pool) of
        {error, {no_such_pool, Pool}} = Error when is_atom(Pool) -> named(whereis(Pool), Error);
        Found -> Found
    end;
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
    end.

-spec named(pid() | port() | undefined, Error) -> {ok, pid()} | Error.
named(Pid, Error) when is_pid(Pid) ->
    case lists:member(Pid, py_port:contexts()) of
        true -> {ok, Pid};
        false -> Error
    end;
named(_, Error) ->
    Error.

%% @doc In the pool for a function of that module, the context with the least to do.
-spec least_loaded(term(), term()) -> {ok, pid()} | {error, term()}.
least_loaded(Module, Function) ->
    py_context_router:find({py_context_router:lookup_pool(Module, Function), least_loaded}).

-spec default_timeout(target()) -> #{} | #{timeout := timeout()}.
default_timeout({context, _}) -> #{};
default_timeout(_) -> #{timeout => ?POOL_TIMEOUT}.

%% @doc Runs `Call' with the time that is left when it has got a slot, or says `overloaded'.
%% `default': what the target gives.
-spec limited(target(), term(), fun((term()) -> result())) -> result().
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
            {error, {overloaded, py_semaphore:current(), py_semaphore:max_concurrent()}};
        {error, _} = Error ->
            Error
    end.

-spec left(timeout(), integer()) -> timeout().
left(infinity, _) -> infinity;
left(Timeout, Start) -> max(0, Timeout - (erlang:monotonic_time(millisecond) - Start)).
