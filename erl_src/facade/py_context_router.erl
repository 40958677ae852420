%% @doc Which context serves a process: without asking any process, unless a context has to be started.
%%
%% ```
%% {ok, _} = py_context_router:start_pool(models, 4, #{strategy => least_loaded}),
%% Ctx = py_context_router:get_context(models),
%% {ok, 4.0} = py_port:call(Ctx, math, sqrt, [16]).
%% '''
%%
%% Pools `default' and `io' need not be started: they are there as soon as somebody wants a context of
%% theirs. A pool's context is chosen
%% <ul>
%% <li>`scheduler' (the default): by the scheduler that the process runs on when it asks for the first
%% time. From then on it gets the same one, so that what it defined in Python is still there;</li>
%% <li>`least_loaded': the one with the least work in flight, at each call;</li>
%% <li>`{key, Term}': for the same key always the same one. At a call, `get_context({Pool, {key,
%% Term}})'.</li>
%% </ul>
%%
%% A context that has ended is replaced, and who had it gets its successor; while that is being started
%% {@link get_context/1} waits for it.
%%
%% A pool with the option `nodes' (`all' or a list) spans nodes: each of them starts it, and contexts
%% of all of them serve. `get_context({any_node, Pool})' is the same for any pool.
%%
%% The process dictionary holds one entry for each pool that the process has used, `{py_context_router,
%% Pool}': the slot that it stays with, or the context that it is bound to.
%% @end
-module(py_context_router).

-include("py_pool.hrl").

-export([start/0, start/1, stop/0, is_started/0]).
-export([get_context/0, get_context/1, find/1]).
%% for py_target and py_async
-export([place/1, at/2, again/2]).
-export([bind_context/1, bind_context/2, unbind_context/0, unbind_context/1]).
-export([num_contexts/0, num_contexts/1, contexts/0, contexts/1]).
-export([start_pool/2, start_pool/3, stop_pool/1, pool_started/1]).
-export([register_pool/2, register_pool/3, unregister_pool/1, unregister_pool/2]).
-export([lookup_pool/2, list_pool_registrations/0, init_pool_registry/0]).
%% for py_pool_nodes
-export([find_local/2, find_local/3]).
-export_type([which/0, place/0]).

%% Which context is wanted: a slot of the pool `default', or one of a pool.
-type which() ::
    pos_integer()
    | py_pool:name()
    | {py_pool:name(), py_pool:strategy()}
    | {any_node, py_pool:name()}
    | {any_node, py_pool:name(), py_pool:strategy()}.

%% A context that takes requests (and how to get its successor, if it has one), or how to get one: that may
%% mean to wait for its start, and any process can do it.
-type place() ::
    {ok, py_port:context()} | {open, pid(), find()} | {later, find()} | {error, term()}.
-type find() :: fun((py_deadline:t()) -> py_pool:found()).

-define(PIN(Pool), {?MODULE, Pool}).

%% The default pool --------------------------------------------------------------------------------

%% @equiv start(#{})
-spec start() -> {ok, [pid()]} | {error, term()}.
start() ->
    start(#{}).

%% @doc Starts the pool `default' and all its contexts: `contexts' of them (else what the application
%% environment says), of the `mode' (likewise). Other options are those of {@link start_pool/3}.
-spec start(map()) -> {ok, [pid()]} | {error, term()}.
start(Options) ->
    case py_pool_options:unstarted(default) of
        {ok, #{size := Size, mode := Mode}} when is_map(Options) ->
            {Contexts, Rest} = taken(contexts, Options, Size),
            start_pool(default, Contexts, maps:merge(#{mode => Mode}, Rest));
        {ok, _} ->
            {error, {bad_option, options, <<"options must be a map">>}};
        {error, _} = Error ->
            Error
    end.

-spec taken(term(), map(), term()) -> {term(), map()}.
taken(Key, Map, Default) ->
    case maps:take(Key, Map) of
        error -> {Default, Map};
        Taken -> Taken
    end.

%% @doc Stops the pools `default' and `io'. Who asks for one of their contexts starts them again.
-spec stop() -> ok.
stop() ->
    lists:foreach(fun stop_pool/1, [default, io]).

%% @doc Whether the pool `default' is there; contexts of it need not run.
-spec is_started() -> boolean().
is_started() ->
    pool_started(default).

%% Contexts ----------------------------------------------------------------------------------------

%% @equiv get_context(default)
-spec get_context() -> pid().
get_context() ->
    get_context(default).

%% @doc As {@link find/1}, but the reason is raised.
-spec get_context(which()) -> pid().
get_context(Which) ->
    case find(Which) of
        {ok, Pid} -> Pid;
        {error, Reason} -> error(Reason)
    end.

%% @doc A context. `{error, {no_such_pool, Pool}}': there is none of that name, nor is it one that needs
%% no start. `{error, {no_such_context, N}}': the pool `default' has no such slot. Otherwise the error
%% is why the context does not start, as {@link py_port:start_context/1} gives it, or `timeout'.
-spec find(which()) -> py_pool:found().
find(Which) ->
    at(place(Which), none).

%% @doc The context of a place, which is waited for until then.
%% @private
-spec at(place(), py_deadline:t()) -> py_pool:found().
at({later, Find}, Until) -> Find(Until);
at({open, Ctx, _}, _) -> {ok, Ctx};
at(Found, _) -> Found.

%% @doc The same when the context that was there has ended.
%% @private
-spec again(place(), py_deadline:t()) -> py_pool:found().
again({open, _, Find}, Until) -> Find(Until);
again(Place, Until) -> at(Place, Until).

%% @doc The same as {@link find/1} without waiting. It is settled here, in the process that will get its
%% context from there from now on, which one that is; if it does not run its start is asked for.
%% @private
-spec place(which()) -> place().
place(Pool) when is_atom(Pool) ->
    case get(?PIN(Pool)) of
        undefined -> first(Pool);
        Pin -> pinned(Pin, Pool)
    end;
place(N) when is_integer(N) ->
    case py_pool:ensure(default) of
        {ok, #pool{size = Size} = Pool} when N >= 1, N =< Size -> py_pool:place(Pool, N);
        {ok, _} -> {error, {no_such_context, N}};
        {error, _} = Error -> Error
    end;
place({any_node, Pool}) when is_atom(Pool) ->
    on_nodes(Pool, all, default);
place({any_node, Pool, Strategy}) when is_atom(Pool) ->
    with_strategy(Strategy, fun() -> on_nodes(Pool, all, Strategy) end);
place({Pool, Strategy}) when is_atom(Pool) ->
    with_strategy(Strategy, fun() ->
        case py_pool:ensure(Pool) of
            {ok, #pool{nodes = local} = Row} -> choose(Strategy, Row);
            {ok, #pool{nodes = Nodes}} -> on_nodes(Pool, Nodes, Strategy);
            {error, _} = Error -> Error
        end
    end);
place(Other) ->
    {error, {no_such_pool, Other}}.

-spec with_strategy(term(), fun(() -> place())) -> place().
with_strategy(Strategy, Find) ->
    case py_pool_options:strategy(Strategy) of
        true -> Find();
        false -> {error, py_port_error:bad_option(strategy, "there is no strategy ~tp", [Strategy])}
    end.

%% @doc Of this node, whatever other nodes the pool spans.
%% @private
-spec find_local(py_pool:name(), py_pool:strategy() | default) -> py_pool:found().
find_local(Pool, Strategy) ->
    find_local(Pool, Strategy, {self(), none}).

%% @private
-spec find_local(py_pool:name(), py_pool:strategy() | default, py_pool_nodes:asker()) -> py_pool:found().
find_local(Pool, Strategy, {Pid, Until}) ->
    at(
        case py_pool:ensure(Pool) of
            {ok, #pool{strategy = Default} = Row} when Strategy =:= default -> choose(Default, Row, Pid);
            {ok, Row} -> choose(Strategy, Row, Pid);
            {error, _} = Error -> Error
        end,
        Until
    ).

%% The process has not asked this pool for a context before, or it does not stay with one.
-spec first(py_pool:name()) -> place().
first(Name) ->
    case py_pool:ensure(Name) of
        {ok, #pool{nodes = local, strategy = Strategy} = Pool} -> choose(Strategy, Pool);
        {ok, #pool{nodes = Nodes, strategy = Strategy}} -> on_nodes(Name, Nodes, Strategy);
        {error, _} = Error -> Error
    end.

%% The other nodes may have to be asked.
-spec on_nodes(py_pool:name(), all | [node()], py_pool:strategy() | default) -> place().
on_nodes(Name, Nodes, Strategy) ->
    Pid = self(),
    {later, fun(Until) ->
        case py_pool_nodes:find(Name, Nodes, Strategy, {Pid, Until}) of
            {error, {no_such_pool, _}} when Nodes =:= all ->
                find_local(Name, Strategy, {Pid, Until});
            Found ->
                Found
        end
    end}.

-spec choose(py_pool:strategy(), #pool{}) -> place().
choose(Strategy, Pool) ->
    choose(Strategy, Pool, self()).

-spec choose(py_pool:strategy(), #pool{}, pid()) -> place().
choose(scheduler, #pool{nodes = Nodes, size = Size} = Pool, Pid) when Nodes =/= local ->
    py_pool:place(Pool, erlang:phash2(Pid, Size) + 1);
choose(scheduler, #pool{name = Name, size = Size} = Pool, _) ->
    N = py_pool_strategy:of_scheduler(erlang:system_info(scheduler_id), Size),
    _ = put(?PIN(Name), N),
    py_pool:place(Pool, N);
choose(least_loaded, Pool, _) ->
    Loads = py_pool:loads(Pool),
    N = py_pool_strategy:least_loaded(Loads),
    case {py_pool:place(Pool, N), [{I, L} || {I, L} <- Loads, is_integer(L)]} of
        {{open, _, _} = Open, _} -> Open;
        {Place, []} -> Place;
        {Place, Running} -> instead(Place, Pool, py_pool_strategy:least_loaded(Running))
    end;
choose({key, Key}, #pool{size = Size} = Pool, _) ->
    py_pool:place(Pool, py_pool_strategy:of_key(Key, lists:seq(1, Size))).

%% Of one that does not start there is another one.
-spec instead(place(), #pool{}, pos_integer()) -> place().
instead(Place, Pool, N) ->
    {later, fun(Until) ->
        case at(Place, Until) of
            {ok, _} = Found -> Found;
            {error, _} -> py_pool:slot(Pool, N, Until)
        end
    end}.

%% The hot path: one row of the pools, and whether its context is there.
-spec pinned(pos_integer() | {bound, pid() | pos_integer()}, py_pool:name()) -> place().
pinned(N, Name) when is_integer(N) ->
    try ets:lookup(?POOLS, {Name, N}) of
        [#slot{pins = true} = Slot] -> open(Slot, N, Name);
        %% The pool has been started anew, smaller or with another strategy.
        _ -> unpinned(Name)
    catch
        error:badarg -> {error, not_started}
    end;
pinned({bound, N}, Name) when is_integer(N) ->
    try ets:lookup(?POOLS, {Name, N}) of
        [Slot] -> open(Slot, N, Name);
        [] -> unpinned(Name)
    catch
        error:badarg -> {error, not_started}
    end;
pinned({bound, Pid}, Name) ->
    case node(Pid) =/= node() orelse py_port_registry:is_there(Pid) of
        true -> {ok, Pid};
        false -> unpinned(Name)
    end.

-spec open(#slot{}, pos_integer(), py_pool:name()) -> place().
open(Slot, N, Name) ->
    case py_pool:open(Slot) of
        {ok, Ctx} -> {open, Ctx, fun(Until) -> at(slot(Name, N), Until) end};
        none -> slot(Name, N)
    end.

%% What the process was bound to has ended, and nothing takes its place.
-spec unpinned(py_pool:name()) -> place().
unpinned(Name) ->
    _ = erase(?PIN(Name)),
    first(Name).

-spec slot(py_pool:name(), pos_integer()) -> place().
slot(Name, N) ->
    case py_pool:ensure(Name) of
        {ok, Pool} -> py_pool:place(Pool, N);
        {error, _} = Error -> Error
    end.

%% @equiv bind_context(default, Ctx)
-spec bind_context(pid()) -> ok.
bind_context(Ctx) ->
    bind_context(default, Ctx).

%% @doc From now on the calling process gets this context when it asks for one of the pool, and, if it is
%% one of the pool, its successor when it has ended. It may also be any other context, and on another
%% node.
-spec bind_context(py_pool:name(), pid()) -> ok.
bind_context(Pool, Ctx) when is_atom(Pool), is_pid(Ctx) ->
    Bound =
        case py_pool:slot_of(Pool, Ctx) of
            none -> Ctx;
            N -> N
        end,
    _ = put(?PIN(Pool), {bound, Bound}),
    ok.

%% @equiv unbind_context(default)
-spec unbind_context() -> ok.
unbind_context() ->
    unbind_context(default).

-spec unbind_context(py_pool:name()) -> ok.
unbind_context(Pool) when is_atom(Pool) ->
    _ = erase(?PIN(Pool)),
    ok.

%% @equiv num_contexts(default)
-spec num_contexts() -> non_neg_integer().
num_contexts() ->
    num_contexts(default).

%% @doc How many contexts the pool may have; 0 as long as it is not started.
-spec num_contexts(py_pool:name()) -> non_neg_integer().
num_contexts(Pool) ->
    py_pool:size(Pool).

%% @equiv contexts(default)
-spec contexts() -> [pid()].
contexts() ->
    contexts(default).

%% @doc The contexts of the pool that run at the moment. One that nobody has needed yet is not among
%% them.
-spec contexts(py_pool:name()) -> [pid()].
contexts(Pool) ->
    py_pool:contexts(Pool).

%% Pools -------------------------------------------------------------------------------------------

%% @equiv start_pool(Pool, Size, #{})
-spec start_pool(py_pool:name(), pos_integer()) -> {ok, [pid()]} | {error, term()}.
start_pool(Pool, Size) ->
    start_pool(Pool, Size, #{}).

%% @doc Starts a pool and, unless `start' is `lazy', all its contexts at the same time. Instead of
%% options it may be a mode. `strategy' and `nodes' are described above; everything else is for the
%% contexts, as in {@link py_context:start_link/3}. A pool that is there already keeps its size and
%% options, and gets the contexts that it does not have yet.
-spec start_pool(py_pool:name(), pos_integer(), py_context:mode() | py_pool_options:options()) ->
    {ok, [pid()]} | {error, term()}.
start_pool(Pool, Size, Mode) when is_atom(Mode) ->
    start_pool(Pool, Size, #{mode => Mode});
start_pool(Pool, Size, Options) ->
    py_pool:start(Pool, Size, Options).

%% @doc Ends the pool and its contexts. Always ok.
-spec stop_pool(py_pool:name()) -> ok.
stop_pool(Pool) ->
    py_pool:stop(Pool).

%% @doc The same of any pool.
-spec pool_started(py_pool:name()) -> boolean().
pool_started(Pool) ->
    py_pool:is_started(Pool).

%% What is registered to them ----------------------------------------------------------------------

%% @doc Calls of this module, or of `{Module, Function}', are served by that pool.
-spec register_pool(py_pool:name(), py_port:name() | {py_port:name(), py_port:name()}) ->
    ok | {error, term()}.
register_pool(Pool, {Module, Function}) ->
    py_pool_registry:register(Pool, Module, Function);
register_pool(Pool, Module) ->
    py_pool_registry:register(Pool, Module, '_').

-spec register_pool(py_pool:name(), py_port:name(), py_port:name()) -> ok | {error, term()}.
register_pool(Pool, Module, Function) ->
    py_pool_registry:register(Pool, Module, Function).

%% @doc Takes back {@link register_pool/2}; ok also if nothing was registered.
-spec unregister_pool(py_port:name() | {py_port:name(), py_port:name()}) -> ok.
unregister_pool({Module, Function}) ->
    py_pool_registry:unregister(Module, Function);
unregister_pool(Module) ->
    py_pool_registry:unregister(Module, '_').

%% @doc Takes back {@link register_pool/3}.
-spec unregister_pool(py_port:name(), py_port:name()) -> ok.
unregister_pool(Module, Function) ->
    py_pool_registry:unregister(Module, Function).

%% @doc The pool that serves this function: what is registered for it, else for its module, else
%% `default'.
-spec lookup_pool(py_port:name(), py_port:name()) -> py_pool:name().
lookup_pool(Module, Function) ->
    py_pool_registry:lookup(Module, Function).

%% @doc `{{Module, Function | '_'}, Pool}' for each registration.
-spec list_pool_registrations() -> [{{py_port:name(), py_port:name() | '_'}, py_pool:name()}].
list_pool_registrations() ->
    py_pool_registry:list().

%% @doc Forgets all registrations.
-spec init_pool_registry() -> ok.
init_pool_registry() ->
    py_pool_registry:clear().
