%% @doc Owns the table of contexts and knows which processes stand behind its rows.
%%
%% A context writes and deletes its own row; this process deletes it for a context that was killed
%% before it could. Invariant: a row whose process is dead disappears as soon as the registry has
%% seen the process go down, and after it the jobs that still ran for it. When the registry ends,
%% every context on the node is told to stop and is waited for, also those that hang below other
%% supervisors: nothing of py_port outlives the application.
%% @end
-module(py_port_registry).

-behaviour(gen_server).

-include("py_port.hrl").

-export([start_link/0, incarnation/0, row/3, enter/1, leave/1, lookup/1, name/1, is_there/1, contexts/0]).
-export([counters/1, load/1, is_open/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

%% How long the contexts have to stop when the application stops; a context needs at most 2 s for a
%% worker that does not want to.
-define(STOP_TIMEOUT, 8000).

-type monitors() :: #{pid() => reference()}.

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Different for every worker of every node's life, and small enough for every JSON reader.
-spec incarnation() -> non_neg_integer().
incarnation() ->
    Seconds = erlang:system_time(second) band 16#ffffffff,
    (Seconds bsl 20) bor (erlang:unique_integer([positive, monotonic]) band 16#fffff).

%% @doc The row of the calling owner, with tables and counters of its own, which end with it.
-spec row(py_port_options:options(), py_port_start:started(), non_neg_integer()) -> #ctx{}.
row(Options, #{port := Port, writer := Writer, body := Body}, Incarnation) ->
    #{launcher := Launcher, start_time := StartTime} = Body,
    #{max_pending := MaxPending, max_pending_bytes := MaxBytes, max_frame := MaxFrame, call_timeout := Timeout} = Options,
    #{send_to := SendTo} = Options,
    Counters = atomics:new(?C_SIZE, [{signed, false}]),
    ok = atomics:put(Counters, ?C_ID, ?FIRST_ID - 1),
    ok = atomics:put(Counters, ?C_DONE, ?FIRST_ID - 1),
    #ctx{
        pid = self(),
        name = maps:get(name, Options),
        port = Port,
        requests = py_port_requests:new(),
        callers = ets:new(py_port_callers, [public, {write_concurrency, true}]),
        funs = ets:new(py_port_funs, [public, {read_concurrency, true}]),
        counters = Counters,
        writer = Writer,
        incarnation = Incarnation,
        max_pending = MaxPending,
        max_pending_bytes = MaxBytes,
        max_frame = MaxFrame,
        call_timeout = Timeout,
        launcher = {Launcher, StartTime},
        functions = functions(maps:get(functions, Options)),
        send_to = SendTo,
        given = given(SendTo)
    }.

-spec functions(py_port_options:functions()) -> all | ets:tid().
functions(all) ->
    all;
functions(Functions) ->
    Table = ets:new(py_port_granted, [{read_concurrency, true}]),
    true = ets:insert(Table, maps:to_list(Functions)),
    Table.

-spec given(py_port_options:send_to()) -> none | ets:tid().
given(any) -> none;
given(_) -> ets:new(py_port_given, [public, {read_concurrency, true}]).

%% @doc Called by an owner when its worker is ready. Answers with the registry's pid, which the
%% owner watches.
-spec enter(#ctx{}) -> pid().
enter(#ctx{pid = Pid} = Row) when Pid =:= self() ->
    Registry = gen_server:call(?MODULE, {watch, Pid}, infinity),
    true = ets:insert(?CONTEXTS, Row),
    Registry.

%% @doc Called by an owner before it answers its callers for the last time. The table may be gone
%% already.
-spec leave(pid()) -> ok.
leave(Pid) when Pid =:= self() ->
    try ets:delete(?CONTEXTS, Pid) of
        true -> ok
    catch
        error:badarg -> ok
    end.

%% @doc The option `name' of a context; `none' also for one that has ended.
-spec name(pid()) -> none | py_port_options:name().
name(Pid) ->
    try
        ets:lookup_element(?CONTEXTS, Pid, #ctx.name)
    catch
        error:badarg -> none
    end.

-spec lookup(pid()) -> {ok, #ctx{}} | error.
lookup(Pid) ->
    try ets:lookup(?CONTEXTS, Pid) of
        [Row] -> {ok, Row};
        [] -> error
    catch
        %% The application is not running.
        error:badarg -> error
    end.

%% @doc A job that finds its context here after it has entered its own row is found by whoever ends
%% the context.
-spec is_there(pid()) -> boolean().
is_there(Pid) ->
    try
        ets:member(?CONTEXTS, Pid)
    catch
        error:badarg -> false
    end.

-spec contexts() -> [pid()].
contexts() ->
    try
        [Pid || #ctx{pid = Pid} <- ets:tab2list(?CONTEXTS)]
    catch
        error:badarg -> []
    end.

%% @doc For those who want to know again and again how much work a context has.
-spec counters(pid()) -> {ok, atomics:atomics_ref()} | error.
counters(Pid) ->
    try
        {ok, ets:lookup_element(?CONTEXTS, Pid, #ctx.counters)}
    catch
        error:badarg -> error
    end.

%% @doc How many requests are outstanding, and what still runs of those that were given up. A hint: it
%% is a little more for each caller that was killed in the wrong moment.
-spec load(atomics:atomics_ref()) -> non_neg_integer().
load(Counters) ->
    max(0, atomics:get(Counters, ?C_ID) - atomics:get(Counters, ?C_DONE)).

%% @doc Whether the context, of these counters, is there and takes requests.
-spec is_open(pid(), atomics:atomics_ref()) -> boolean().
is_open(Pid, Counters) ->
    atomics:get(Counters, ?C_DRAINING) =:= 0 andalso is_there(Pid).

%% gen_server --------------------------------------------------------------------------------------

-spec init([]) -> {ok, monitors()}.
init([]) ->
    _ = process_flag(trap_exit, true),
    ?CONTEXTS = ets:new(?CONTEXTS, [
        named_table, public, {keypos, #ctx.pid}, {read_concurrency, true}
    ]),
    {ok, #{}}.

-spec handle_call({watch, pid()}, gen_server:from(), monitors()) -> {reply, pid(), monitors()}.
handle_call({watch, Pid}, _From, Monitors) ->
    {reply, self(), Monitors#{Pid => erlang:monitor(process, Pid)}}.

-spec handle_cast(term(), monitors()) -> {noreply, monitors()}.
handle_cast(_, Monitors) ->
    {noreply, Monitors}.

-spec handle_info(term(), monitors()) -> {noreply, monitors()}.
handle_info({'DOWN', _, process, Pid, _}, Monitors) ->
    ok = end_worker(ets:take(?CONTEXTS, Pid)),
    ok = end_jobs(Pid),
    {noreply, maps:remove(Pid, Monitors)};
handle_info(_, Monitors) ->
    {noreply, Monitors}.

%% An owner deletes its row before it ends, unless it was killed. Then its port may wait for a worker
%% that does not read, and keep the pipes open, and with them worker and suspended callers, for ever.
-spec end_worker([#ctx{}]) -> ok.
end_worker([]) -> ok;
end_worker([#ctx{launcher = Launcher}]) -> py_port_death:kill_orphan(Launcher).

%% Of an owner that was killed. Any other has ended its jobs itself.
-spec end_jobs(pid()) -> ok.
end_jobs(Owner) ->
    lists:foreach(
        fun(#job{pid = Pid}) ->
            true = exit(Pid, kill),
            true = ets:delete(?JOBS, Pid)
        end,
        ets:match_object(?JOBS, #job{owner = Owner, _ = '_'})
    ).

-spec terminate(term(), monitors()) -> ok.
terminate(_Reason, Monitors) ->
    Pids = maps:keys(Monitors),
    lists:foreach(fun(Pid) -> exit(Pid, shutdown) end, Pids),
    Timer = erlang:start_timer(?STOP_TIMEOUT, self(), stop),
    wait(Monitors, Timer).

-spec wait(monitors(), reference()) -> ok.
wait(Monitors, _) when map_size(Monitors) =:= 0 ->
    ok;
wait(Monitors, Timer) ->
    receive
        {'DOWN', _, process, Pid, _} ->
            ok = end_jobs(Pid),
            wait(maps:remove(Pid, Monitors), Timer);
        {timeout, Timer, stop} ->
            %% The port closes with its owner, and the launcher ends the worker when the pipes
            %% close.
            lists:foreach(fun(Pid) -> exit(Pid, kill) end, maps:keys(Monitors))
    end.
