%% @doc Pools of contexts: a fixed number of slots, each of which has a context as soon as somebody
%% needs it, and another one as soon as that has ended.
%%
%% Each pool is one process, which starts the keepers of its slots ({@link py_pool_slot}) and ends
%% them. It is not asked for contexts: who wants one looks into the table ({@link slot/2}), and goes to
%% the keeper of the slot only if there is none, or if the one that is there has ended.
%%
%% Invariant: as long as the pool runs its rows are in the table, one for each slot.
%% @end
-module(py_pool).

-behaviour(gen_server).

-include("py_pool.hrl").

-export([start/3, ensure/1, stop/1, pools/0, is_started/1, size/1, contexts/1, running/0]).
-export([lookup/1, place/2, slot/2, slot/3, successor/2, slot_of/2, open/1, loads/1]).
-export([restart_all/0]).
%% spawned
-export([restart_one/1]).
-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([name/0, strategy/0, found/0]).

-type name() :: atom().
-type strategy() :: scheduler | least_loaded | {key, term()}.
-type found() :: {ok, pid()} | {error, term()}.

%% Attempts to find the keeper of a slot, which may end while it is asked.
-define(ATTEMPTS, 5).
%% A context needs at most 2 s to end.
-define(STOP_TIMEOUT, 8000).
%% ms for a pool's process to answer.
-define(BRIEFLY, 100).
%% On top of what the contexts themselves have for their start.
-define(WAIT_SLACK, 5000).

-record(s, {
    pool :: py_pool_options:pool(),
    keepers = #{} :: #{pid() => pos_integer()}
}).

%% Pools -------------------------------------------------------------------------------------------

%% @doc Starts a pool, and unless it is to be lazy all its contexts, at the same time. If one of them does
%% not start there is no pool. A pool that is there already keeps its size and options, and gets the
%% contexts that it does not have yet.
-spec start(name(), pos_integer(), py_pool_options:options()) -> {ok, [pid()]} | {error, term()}.
start(Name, Size, Options) ->
    case py_pool_options:pool(Name, Size, Options) of
        {ok, Pool} -> start(Pool, lookup(Name));
        {error, _} = Error -> Error
    end.

-spec start(py_pool_options:pool(), #pool{} | none) -> {ok, [pid()]} | {error, term()}.
start(#{start := lazy, name := Name}, #pool{}) -> {ok, contexts(Name)};
start(#{start := eager}, #pool{} = There) -> all_started(There);
start(Pool, none) -> start_new(Pool).

-spec start_new(py_pool_options:pool()) -> {ok, [pid()]} | {error, term()}.
start_new(#{name := Name, start := Start} = Pool) ->
    ok = remember(Pool),
    case ensure_started(Name, py_pool_sup:start_pool(Pool)) of
        {ok, _} when Start =:= lazy ->
            {ok, contexts(Name)};
        {ok, Row} ->
            case all_started(Row) of
                {ok, _} = Ok -> Ok;
                {error, _} = Error ->
                    ok = stop(Name),
                    Error
            end;
        {error, _} = Error ->
            ok = forget_options(Name),
            Error
    end.

-spec remember(py_pool_options:pool()) -> ok.
remember(#{name := Name} = Pool) ->
    try ets:insert(?STARTED, {Name, Pool}) of
        true -> ok
    catch
        %% The application is not running.
        error:badarg -> ok
    end.

-spec forget_options(name()) -> ok.
forget_options(Name) ->
    try ets:delete(?STARTED, Name) of
        true -> ok
    catch
        error:badarg -> ok
    end.

%% Each keeper starts its context by itself; then they are waited for one by one.
-spec all_started(#pool{}) -> {ok, [pid()]} | {error, term()}.
all_started(#pool{name = Name, size = Size} = Pool) ->
    Slots = lists:seq(1, Size),
    _ = [keeper(Pool, N, none) || N <- Slots],
    case first_error([slot(Pool, N) || N <- Slots]) of
        none -> {ok, contexts(Name)};
        Error -> Error
    end.

-spec first_error([found()]) -> none | {error, term()}.
first_error(Found) ->
    case [Error || {error, _} = Error <- Found] of
        [] -> none;
        [First | _] -> First
    end.

%% @doc The pool, which is started if it is one that nobody has to start, or one that was started and has
%% been lost since.
-spec ensure(name()) -> {ok, #pool{}} | {error, {no_such_pool, term()} | term()}.
ensure(Name) ->
    case lookup(Name) of
        #pool{} = Pool -> {ok, Pool};
        none ->
            case options(Name) of
                {ok, Options} -> ensure_started(Name, py_pool_sup:start_pool(Options));
                {error, no_such_pool} -> {error, {no_such_pool, Name}};
                {error, _} = Error -> Error
            end
    end.

-spec options(name()) -> {ok, py_pool_options:pool()} | {error, term()}.
options(Name) ->
    try ets:lookup(?STARTED, Name) of
        [{_, Pool}] -> {ok, Pool};
        [] -> py_pool_options:unstarted(Name)
    catch
        %% The application is not running.
        error:badarg -> py_pool_options:unstarted(Name)
    end.

-spec ensure_started(name(), {ok, pid()} | {error, term()}) -> {ok, #pool{}} | {error, term()}.
ensure_started(Name, {ok, _}) ->
    case lookup(Name) of
        #pool{} = Pool -> {ok, Pool};
        %% Somebody has stopped it at once.
        none -> {error, {no_such_pool, Name}}
    end;
ensure_started(_, {error, _} = Error) ->
    Error.

%% @doc Ends the pool and its contexts; what runs in them is told so. Also ok if there is no such pool.
-spec stop(name()) -> ok.
stop(Name) ->
    ok = forget_options(Name),
    case lookup(Name) of
        #pool{server = Server} -> stop(Name, Server);
        none -> ok
    end.

%% By itself: the supervisor would do nothing else meanwhile.
-spec stop(name(), pid()) -> ok.
stop(Name, Server) ->
    Ref = erlang:monitor(process, Server),
    ok = gen_server:cast(Server, stop),
    receive
        {'DOWN', Ref, process, Server, shutdown} -> ok;
        %% It has failed before it could, and may be started anew.
        {'DOWN', Ref, process, Server, _} -> stop(Name)
    end.

%% @doc The pools of this node.
-spec pools() -> [name()].
pools() ->
    try
        [Name || #pool{name = Name} <- ets:match_object(?POOLS, #pool{_ = '_'})]
    catch
        %% The application is not running.
        error:badarg -> []
    end.

-spec is_started(name()) -> boolean().
is_started(Name) ->
    lookup(Name) =/= none.

%% @doc How many slots it has; 0 if there is no such pool.
-spec size(name()) -> non_neg_integer().
size(Name) ->
    case lookup(Name) of
        #pool{size = Size} -> Size;
        none -> 0
    end.

%% @doc The contexts of the pool that run, in the order of their slots.
-spec contexts(name()) -> [pid()].
contexts(Name) ->
    [Pid || {_, Pid} <- lists:sort(running({Name, '$2'}, {{'$2', '$3'}}))].

%% @doc The contexts that run in the pools of this node.
-spec running() -> [pid()].
running() ->
    running({'_', '_'}, '$3').

-spec running(term(), term()) -> [term()].
running(Key, Result) ->
    Pattern = #slot{key = Key, context = '$3', _ = '_'},
    try
        ets:select(?POOLS, [{Pattern, [{is_pid, '$3'}], [Result]}])
    catch
        %% The application is not running.
        error:badarg -> []
    end.

%% @doc Replaces the contexts that run in the pools of this node, all at the same time: each goes on until
%% its successor has started, and then finishes what it has. One whose successor does not start stays,
%% and that is an error. Pools with a Python of their own are left out: nothing has changed for them.
-spec restart_all() -> ok | {error, [{{name(), pos_integer()}, term()}]}.
restart_all() ->
    Restarts = [
        {Key, spawn_monitor(?MODULE, restart_one, [Pid])}
     || #slot{key = Key, keeper = Pid} <- all_slots(), Pid =/= none
    ],
    case [{Key, Reason} || {Key, Restart} <- Restarts, {error, Reason} <- [restarted(Restart)]] of
        [] -> ok;
        Errors -> {error, Errors}
    end.

%% @private
-spec restart_one(pid()) -> no_return().
restart_one(Keeper) ->
    exit({restarted, py_pool_slot:restart(Keeper)}).

-spec all_slots() -> [#slot{}].
all_slots() ->
    try
        ets:match_object(?POOLS, #slot{key = {'_', '_'}, _ = '_'})
    catch
        error:badarg -> []
    end.

%% A keeper that ends meanwhile has nothing left that could be replaced.
-spec restarted({pid(), reference()}) -> ok | {error, term()}.
restarted({Pid, Ref}) ->
    receive
        {'DOWN', Ref, process, Pid, {restarted, Result}} -> Result;
        {'DOWN', Ref, process, Pid, _} -> ok
    end.

%% Slots: in the process that wants a context -------------------------------------------------------

%% @doc The pool, if it runs. The row of one whose process has failed is there until that is started anew,
%% and when its supervisor has failed with it, until somebody comes here.
-spec lookup(name()) -> #pool{} | none.
lookup(Name) ->
    case pool_row(Name) of
        #pool{server = Server} = Pool ->
            case is_process_alive(Server) of
                true -> Pool;
                false -> looked_after(Name, py_pool_sup:look_after(Name, Server))
            end;
        none ->
            none
    end.

-spec looked_after(name(), ok | {error, not_started}) -> #pool{} | none.
looked_after(Name, ok) -> lookup(Name);
looked_after(_, {error, not_started}) -> none.

-spec pool_row(name()) -> #pool{} | none.
pool_row(Name) ->
    try ets:lookup(?POOLS, Name) of
        [#pool{} = Pool] -> Pool;
        [] -> none
    catch
        error:badarg -> none
    end.

%% @doc The context of a slot, or how to get it: then its start has been asked for.
-spec place(#pool{}, pos_integer()) -> py_context_router:place().
place(#pool{name = Name} = Pool, N) ->
    case row(Name, N) of
        {ok, Slot} ->
            Find = fun(Until) -> slot(Pool, N, Until) end,
            case open(Slot) of
                {ok, Pid} ->
                    {open, Pid, Find};
                none ->
                    ok = begin_start(Pool, N, Slot),
                    {later, Find}
            end;
        {error, _} = Error ->
            Error
    end.

%% A keeper starts its context by itself. Only a pool that is being stopped takes long to answer.
-spec begin_start(#pool{}, pos_integer(), #slot{}) -> ok.
begin_start(Pool, N, #slot{keeper = none}) ->
    _ = keeper(Pool, N, py_deadline:in(?BRIEFLY)),
    ok;
begin_start(_, _, _) ->
    ok.

%% @equiv slot(Pool, N, none)
-spec slot(#pool{}, pos_integer()) -> found().
slot(Pool, N) ->
    slot(Pool, N, none).

%% @doc The context of a slot. It is started if it does not run, and waited for.
-spec slot(#pool{}, pos_integer(), py_deadline:t()) -> found().
slot(Pool, N, Until) ->
    slot(Pool, N, Until, ?ATTEMPTS).

-spec slot(#pool{}, pos_integer(), py_deadline:t(), non_neg_integer()) -> found().
slot(#pool{name = Name} = Pool, N, Until, Attempts) ->
    case row(Name, N) of
        {ok, Slot} ->
            case open(Slot) of
                {ok, _} = Found -> Found;
                none -> ask(Pool, N, dead(Slot), Until, Attempts)
            end;
        {error, _} = Error ->
            Error
    end.

%% One that has no counters yet does not take requests because it is just being made ready.
-spec dead(#slot{}) -> pid() | none.
dead(#slot{counters = none}) -> none;
dead(#slot{context = Context}) -> Context.

-spec row(name(), pos_integer()) -> {ok, #slot{}} | {error, {no_such_pool, name()} | not_started}.
row(Name, N) ->
    try ets:lookup(?POOLS, {Name, N}) of
        [#slot{} = Slot] -> {ok, Slot};
        [] -> {error, {no_such_pool, Name}}
    catch
        error:badarg -> {error, not_started}
    end.

%% @doc What is in the slot of a context that has ended, when there is something. `none': no slot shows
%% it (any more).
-spec successor(py_port:context(), py_deadline:t()) -> found() | none.
successor(Dead, Until) ->
    try ets:match_object(?POOLS, #slot{key = {'_', '_'}, context = Dead, _ = '_'}) of
        [#slot{key = {Name, N}}] ->
            case lookup(Name) of
                #pool{} = Pool -> ask(Pool, N, Dead, Until, ?ATTEMPTS);
                none -> none
            end;
        [] ->
            none
    catch
        error:badarg -> {error, not_started}
    end.

%% @doc The context of a slot, if it takes requests.
-spec open(#slot{}) -> {ok, pid()} | none.
open(#slot{context = Pid, counters = Counters}) when is_pid(Pid), Counters =/= none ->
    case py_port_registry:is_open(Pid, Counters) of
        true -> {ok, Pid};
        false -> none
    end;
open(_) ->
    none.

-spec ask(#pool{}, pos_integer(), pid() | none, py_deadline:t(), non_neg_integer()) -> found().
ask(#pool{name = Name}, N, _, _, 0) ->
    {error, {no_such_context, {Name, N}}};
ask(#pool{wait = Wait} = Pool, N, Dead, Until, Attempts) ->
    case keeper(Pool, N, Until) of
        {ok, Keeper} ->
            case py_pool_slot:context(Keeper, Dead, min(Wait, py_deadline:left(Until))) of
                %% The keeper has ended, or the pool has.
                {gone, _} -> slot(Pool, N, Until, Attempts - 1);
                Found -> Found
            end;
        {error, _} = Error ->
            Error
    end.

-spec keeper(#pool{}, pos_integer(), py_deadline:t()) -> found().
keeper(#pool{name = Name, server = Server}, N, Until) ->
    try
        gen_server:call(Server, {keeper, N}, py_deadline:left(Until))
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> {error, {no_such_pool, Name}}
    end.

%% @doc The slot of the pool that has this context.
-spec slot_of(name(), pid()) -> pos_integer() | none.
slot_of(Name, Context) ->
    Pattern = #slot{key = {Name, '$2'}, context = Context, _ = '_'},
    try ets:select(?POOLS, [{Pattern, [], ['$2']}]) of
        [N] -> N;
        [] -> none
    catch
        error:badarg -> none
    end.

%% @doc The slots of a pool and how much work each has, beginning with another one each time.
-spec loads(#pool{}) -> [{pos_integer(), non_neg_integer() | unstarted | starting}].
loads(#pool{name = Name, size = Size, turn = Turn}) ->
    First = atomics:add_get(Turn, 1, 1) rem Size,
    [
        {N, load(row(Name, N))}
     || I <- lists:seq(First, First + Size - 1), N <- [I rem Size + 1]
    ].

-spec load({ok, #slot{}} | {error, term()}) -> non_neg_integer() | unstarted | starting.
load({ok, #slot{keeper = none}}) ->
    unstarted;
load({ok, #slot{counters = Counters} = Slot}) ->
    case open(Slot) of
        {ok, _} -> py_port_registry:load(Counters);
        none -> starting
    end;
load({error, _}) ->
    starting.

%% gen_server --------------------------------------------------------------------------------------

%% @doc `{lost, Name}': only clears away what a process that has failed has left.
-spec start_link(py_pool_options:pool() | {lost, name()}) -> gen_server:start_ret().
start_link(Pool) ->
    gen_server:start_link(?MODULE, Pool, []).

-spec init(py_pool_options:pool() | {lost, name()}) -> {ok, #s{}} | ignore | {stop, term()}.
init({lost, Name}) ->
    _ = [ok = bury(Name) || #pool{server = Pid} <- [pool_row(Name)], not is_process_alive(Pid)],
    ignore;
init(#{name := Name, size := Size, strategy := Strategy, nodes := Nodes, context := Context} = Pool) ->
    _ = process_flag(trap_exit, true),
    case pool_row(Name) of
        #pool{server = Server} when Server =/= self() ->
            case is_process_alive(Server) of
                true ->
                    {stop, {already_started, Server}};
                false ->
                    ok = bury(Name),
                    init(Pool)
            end;
        none ->
            true = ets:insert(?POOLS, [
                #slot{key = {Name, N}, pins = Strategy =:= scheduler andalso Nodes =:= local}
             || N <- lists:seq(1, Size)
            ]),
            true = ets:insert(?POOLS, #pool{
                name = Name,
                size = Size,
                strategy = Strategy,
                nodes = Nodes,
                server = self(),
                wait = wait(Context),
                turn = atomics:new(1, [{signed, false}])
            }),
            ok = py_pool_nodes:join({pool, Name}, self()),
            {ok, #s{pool = Pool}}
    end.

%% The process before was killed, and its keepers end with it. They still write to their rows.
-spec bury(name()) -> ok.
bury(Name) ->
    Rows = ets:match_object(?POOLS, #slot{key = {Name, '_'}, _ = '_'}),
    Keepers = [Pid || #slot{keeper = Pid} <- Rows, Pid =/= none],
    ok = wait_for(maps:from_list([{erlang:monitor(process, Pid), Pid} || Pid <- Keepers])),
    forget(Name).

-spec wait(map()) -> pos_integer().
wait(Context) ->
    Defaults = py_port_options:defaults(),
    Times = [maps:get(Key, Context, maps:get(Key, Defaults)) || Key <- [start_timeout, init_timeout]],
    lists:sum([?WAIT_SLACK | [T || T <- Times, is_integer(T)]]).

-spec handle_call({keeper, pos_integer()}, gen_server:from(), #s{}) -> {reply, {ok, pid()}, #s{}}.
handle_call({keeper, N}, _From, #s{pool = #{name := Name} = Pool, keepers = Keepers} = S) ->
    case ets:lookup(?POOLS, {Name, N}) of
        [#slot{keeper = Pid}] when is_map_key(Pid, Keepers) ->
            {reply, {ok, Pid}, S};
        [#slot{} = Row] ->
            {ok, Pid} = py_pool_slot:start_link(Pool, N),
            true = ets:insert(?POOLS, Row#slot{keeper = Pid, context = none, counters = none}),
            {reply, {ok, Pid}, S#s{keepers = Keepers#{Pid => N}}}
    end.

-spec handle_cast(stop, #s{}) -> {stop, shutdown, #s{}}.
handle_cast(stop, S) ->
    {stop, shutdown, S}.

%% A keeper that failed: the next who wants its context gets a new one.
-spec handle_info(term(), #s{}) -> {noreply, #s{}}.
handle_info({'EXIT', Pid, _}, #s{pool = #{name := Name}, keepers = Keepers} = S) when
    is_map_key(Pid, Keepers)
->
    {N, Rest} = maps:take(Pid, Keepers),
    _ = ets:update_element(?POOLS, {Name, N}, [
        {#slot.keeper, none}, {#slot.context, none}, {#slot.counters, none}
    ]),
    {noreply, S#s{keepers = Rest}};
handle_info(_, S) ->
    {noreply, S}.

%% All at the same time. A keeper that is just starting a context cannot listen; when it is killed,
%% so is what it was starting.
-spec terminate(term(), #s{}) -> ok.
terminate(_Reason, #s{pool = #{name := Name}, keepers = Keepers}) ->
    Refs = maps:from_list([{erlang:monitor(process, Pid), Pid} || Pid <- maps:keys(Keepers)]),
    maps:foreach(
        fun(Pid, N) ->
            case ets:lookup(?POOLS, {Name, N}) of
                [#slot{context = none}] -> exit(Pid, kill);
                _ -> exit(Pid, shutdown)
            end
        end,
        Keepers
    ),
    ok = wait_for(Refs),
    forget(Name).

-spec wait_for(#{reference() => pid()}) -> ok.
wait_for(Refs) ->
    wait_for(Refs, erlang:start_timer(?STOP_TIMEOUT, self(), stop)).

-spec wait_for(#{reference() => pid()}, reference()) -> ok.
wait_for(Refs, _) when map_size(Refs) =:= 0 ->
    ok;
wait_for(Refs, Timer) ->
    receive
        {'DOWN', Ref, process, _, _} when is_map_key(Ref, Refs) ->
            wait_for(maps:remove(Ref, Refs), Timer);
        {timeout, Timer, stop} ->
            maps:foreach(fun(_, Pid) -> exit(Pid, kill) end, Refs)
    end.

-spec forget(name()) -> ok.
forget(Name) ->
    true = ets:delete(?POOLS, Name),
    true = ets:match_delete(?POOLS, #slot{key = {Name, '_'}, _ = '_'}),
    ok.
