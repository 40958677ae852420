%% @doc Keeps one context in one slot of a pool: starts it, tells the table where it is, and starts
%% another one when it ends.
%%
%% The start of a context takes as long as Python does, and this process waits for it; so all slots
%% of a pool start at the same time, and who wants the context of this slot meanwhile waits in this
%% mailbox, for as long as the pool's `wait' says.
%%
%% A context that has ended is replaced at once; if it lived only briefly, the next one has to wait
%% longer and longer, unless somebody asks for it. When a start fails, whoever asks gets that error
%% until it is time for another attempt, or until what contexts begin with has changed ({@link
%% py_import}, {@link py_preload}, {@link py_venv}): nobody waits for what has just failed.
%%
%% Invariant: the slot's row shows a context only while this process has not seen its end.
%% @end
-module(py_pool_slot).

-behaviour(gen_server).

-include("py_pool.hrl").

-export([start_link/2, context/3, restart/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(s, {
    pool :: py_pool_options:pool(),
    number :: pos_integer(),
    context = none :: none | pid(),
    %% those before it that have not ended yet: they were replaced, or told to stop
    leaving = [] :: [pid()],
    started_at = 0 :: integer(),
    %% starts that failed and contexts that lived only briefly, one after the other
    failures = 0 :: non_neg_integer(),
    %% of the last start, and until when it is the answer; none: the last start did not fail
    failed = none :: none | {term(), integer()},
    %% of what the last start began with
    version = 0 :: non_neg_integer(),
    timer = none :: none | reference()
}).

%% ms; a context that lives longer has been of use
-define(BRIEF, 1000).
%% ms that a context which is replaced has for what it runs
-define(GRACE, 5000).
-define(FIRST_PAUSE, 50).
-define(LONGEST_PAUSE, 10000).

-spec start_link(py_pool_options:pool(), pos_integer()) -> gen_server:start_ret().
start_link(Pool, Number) ->
    gen_server:start_link(?MODULE, {Pool, Number}, []).

%% @doc The context of this slot when it runs. `Dead': one of it that is known to have ended.
-spec context(pid(), pid() | none, timeout()) ->
    {ok, pid()} | {error, term()} | {gone, term()}.
context(Keeper, Dead, Timeout) ->
    try
        gen_server:call(Keeper, {context, Dead}, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:{Reason, _} -> {gone, Reason}
    end.

%% @doc Puts another context in the place of the one that runs, if one does; that finishes what it has.
-spec restart(pid()) -> ok | {error, term()}.
restart(Keeper) ->
    gen_server:call(Keeper, restart, infinity).

%% gen_server --------------------------------------------------------------------------------------

-spec init({py_pool_options:pool(), pos_integer()}) -> {ok, #s{}, {continue, start}}.
init({Pool, Number}) ->
    _ = process_flag(trap_exit, true),
    {ok, #s{pool = Pool, number = Number}, {continue, start}}.

-spec handle_continue(start, #s{}) -> {noreply, #s{}}.
handle_continue(start, S) ->
    {noreply, start(S)}.

-spec handle_call({context, pid() | none} | restart, gen_server:from(), #s{}) ->
    {reply, ok | {ok, pid()} | {error, term()}, #s{}}.
handle_call(restart, _From, S) ->
    {Reply, S1} = replaced(S),
    {reply, Reply, S1};
handle_call({context, Dead}, _From, S) ->
    S1 = wanted(Dead, S),
    Reply =
        case S1 of
            #s{context = none, failed = {Reason, _}} -> {error, Reason};
            #s{context = Pid} -> {ok, Pid}
        end,
    {reply, Reply, S1}.

-spec handle_cast(term(), #s{}) -> {noreply, #s{}}.
handle_cast(_, S) ->
    {noreply, S}.

-spec handle_info(term(), #s{}) -> {noreply, #s{}}.
handle_info({'EXIT', Pid, _}, #s{context = Pid} = S) ->
    {noreply, ended(S)};
handle_info({timeout, Timer, start}, #s{timer = Timer, context = none} = S) ->
    {noreply, start(S)};
%% The end of a context that has left its place.
handle_info({'EXIT', Pid, _}, #s{leaving = Leaving} = S) ->
    {noreply, S#s{leaving = lists:delete(Pid, Leaving)}};
handle_info(_, S) ->
    {noreply, S}.

%% The contexts get this process's end as their own; they are waited for, so that nothing of a pool is
%% left when the pool has stopped.
-spec terminate(term(), #s{}) -> ok.
terminate(_Reason, S) ->
    #s{leaving = Left} = leave(S),
    ok = show(none, none, S),
    Refs = [erlang:monitor(process, Pid) || Pid <- Left],
    lists:foreach(fun(Pid) -> exit(Pid, shutdown) end, Left),
    %% Bounded by what the pool's process allows this one.
    lists:foreach(fun(Ref) -> receive {'DOWN', Ref, process, _, _} -> ok end end, Refs).

%% Starting ----------------------------------------------------------------------------------------

-spec wanted(pid() | none, #s{}) -> #s{}.
wanted(_, #s{context = none, failed = {_, Until}, version = Version} = S) ->
    case now_ms() < Until andalso Version =:= version() of
        true -> S;
        false -> start(S)
    end;
wanted(_, #s{context = none} = S) ->
    start(S);
wanted(Dead, #s{context = Context} = S) ->
    case Context =/= Dead andalso py_port_registry:is_there(Context) of
        true -> S;
        %% Its end is on the way here.
        false -> start(count(leave(S)))
    end.

-spec leave(#s{}) -> #s{}.
leave(#s{context = none} = S) -> S;
leave(#s{context = Context, leaving = Leaving} = S) -> S#s{context = none, leaving = [Context | Leaving]}.

%% In the background too if it had a context before: somebody uses this slot.
-spec ended(#s{}) -> #s{}.
ended(S) ->
    case count(S) of
        #s{failures = N} = S1 when N =< 1 -> start(S1);
        #s{failures = N} = S1 -> later(pause(N - 1), S1)
    end.

-spec count(#s{}) -> #s{}.
count(#s{started_at = At, failures = N} = S) ->
    ok = show(none, none, S),
    case now_ms() - At < ?BRIEF of
        true -> S#s{context = none, failures = N + 1};
        false -> S#s{context = none, failures = 0}
    end.

-spec start(#s{}) -> #s{}.
start(#s{pool = #{mode := Mode, context := Options}} = S) ->
    S1 = S#s{timer = none, version = version()},
    Common = py_environment:context_options(),
    case py_context_options:make(Mode, Options, Common) of
        {ok, Made} -> started(py_port:start_context(Made), Common, S1);
        {error, Reason} -> failed(Reason, S1)
    end.

%% The keeper of a slot whose start has failed just tries again when it is asked next.
-spec replaced(#s{}) -> {ok | {error, term()}, #s{}}.
replaced(#s{context = none} = S) ->
    {ok, S#s{failed = none}};
replaced(#s{pool = #{context := Options}} = S) when
    is_map_key(venv, Options); is_map_key(python, Options)
->
    {ok, S};
replaced(#s{context = Old, pool = #{name := Name}} = S) ->
    case start(leave(S)) of
        #s{context = none, failed = {Reason, _}} ->
            ok = show(Old, counters(Old), S),
            {{error, Reason}, S};
        S1 ->
            ok = py_pool_nodes:leave(Name, Old),
            _ = spawn(py_port, stop_context, [Old, ?GRACE]),
            {ok, S1}
    end.

-spec started({ok, pid()} | {error, term()}, map(), #s{}) -> #s{}.
started({ok, Pid}, Common, #s{pool = #{name := Name, context := Options}} = S) ->
    %% Nobody else gets it yet, but what is registered for all contexts from now on reaches it.
    ok = show(Pid, none, S),
    %% What has been registered since the start began.
    case py_environment:started(Pid, Common) of
        {error, Reason} ->
            ok = stop(Pid, S),
            failed(Reason, S);
        again when not is_map_key(venv, Options), not is_map_key(python, Options) ->
            ok = stop(Pid, S),
            start(S);
        _ ->
            ok = show(Pid, counters(Pid), S),
            ok = py_pool_nodes:join(Name, Pid),
            S#s{context = Pid, started_at = now_ms(), failed = none}
    end;
started({error, Reason}, _, S) ->
    failed(Reason, S).

%% Its end comes as a message that nobody needs.
-spec stop(pid(), #s{}) -> ok.
stop(Pid, S) ->
    ok = show(none, none, S),
    py_context:stop(Pid).

-spec counters(pid()) -> atomics:atomics_ref() | none.
counters(Pid) ->
    case py_port_registry:counters(Pid) of
        {ok, Counters} -> Counters;
        %% It has ended already; the next to ask finds out.
        error -> none
    end.

-spec failed(term(), #s{}) -> #s{}.
failed(Reason, #s{failures = Failures, started_at = Before} = S) ->
    Pause = pause(Failures + 1),
    S1 = S#s{context = none, failures = Failures + 1, failed = {Reason, now_ms() + Pause}},
    case Before of
        0 -> S1;
        _ -> later(Pause, S1)
    end.

%% Of what contexts begin with: when that has changed, what failed may go well.
-spec version() -> non_neg_integer().
version() ->
    maps:get(version, py_environment_registry:read()).

-spec later(pos_integer(), #s{}) -> #s{}.
later(Pause, S) ->
    S#s{timer = erlang:start_timer(Pause, self(), start)}.

-spec pause(pos_integer()) -> pos_integer().
pause(N) ->
    min(?LONGEST_PAUSE, ?FIRST_PAUSE bsl min(N - 1, 16)).

-spec show(pid() | none, atomics:atomics_ref() | none, #s{}) -> ok.
show(Context, Counters, #s{pool = #{name := Name}, number = N}) ->
    _ = ets:update_element(?POOLS, {Name, N}, [
        {#slot.context, Context}, {#slot.counters, Counters}
    ]),
    ok.

-spec now_ms() -> integer().
now_ms() ->
    erlang:monotonic_time(millisecond).
