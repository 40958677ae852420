%% @doc How many calls may run at the same time through the pools.
%%
%% A slot is a row of a table, `{Holder, Depth}', and how many are held is the size of that table. So
%% taking and giving back a slot is one operation each that cannot be interrupted: whenever a holder is
%% killed, either it has the slot, and its end gives it back, or it has not. A process makes itself known
%% before its first slot and is watched from then on.
%%
%% The hot path asks no process. When all slots are held, this one lines up those who want to wait and
%% hands out what becomes free in the order in which they came.
%%
%% Invariant: while somebody waits the flag in the counters says so, and who gives a slot back tells
%% this process.
%% @end
-module(py_semaphore).

-behaviour(gen_server).

-include("py_pool.hrl").

-export([init/0, acquire/0, acquire/1, release/0, current/0, max_concurrent/0, set_max_concurrent/1]).
-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

%% Of the process dictionary: the process that knows of us, and how many slots we hold.
-define(KNOWN, {?MODULE, known}).
%% Indices of the counters.
-define(MAX, 1).
-define(WAITING, 2).

-record(s, {
    %% who waits, the first to come in front; some have left meanwhile
    queue = queue:new() :: queue:queue({pid(), reference()}),
    waiting = #{} :: #{pid() => {reference(), gen_server:from(), pos_integer()}},
    %% how many in the queue have left, or a little more
    left = 0 :: non_neg_integer(),
    watched = #{} :: #{pid() => reference()}
}).

%% The queue is swept when so many more have left than wait.
-define(SWEEP, 100).

%% @doc Nothing has to be done; it is started with the application.
-spec init() -> ok.
init() ->
    ok.

%% @doc Takes a slot if there is one.
-spec acquire() -> ok | {error, {overloaded, non_neg_integer(), pos_integer()} | not_started}.
acquire() ->
    case acquire(0) of
        {error, max_concurrent} -> {error, {overloaded, current(), max_concurrent()}};
        Result -> Result
    end.

%% @doc Takes a slot, and waits at most `Timeout' ms for one. Who takes several has to give back as
%% many.
-spec acquire(timeout()) -> ok | {error, max_concurrent | not_started}.
acquire(Timeout) when
    Timeout =:= infinity; is_integer(Timeout), Timeout >= 0, Timeout =< 16#ffffffff
->
    case whereis(?MODULE) of
        undefined -> {error, not_started};
        Server -> acquire(Server, known(Server), Timeout)
    end.

-spec acquire(pid(), non_neg_integer(), timeout()) -> ok | {error, max_concurrent | not_started}.
acquire(Server, Depth, Timeout) ->
    Row = {{self(), Depth + 1}},
    Counters = counters(),
    %% Who comes when others wait lines up behind them.
    case atomics:get(Counters, ?WAITING) =:= 0 andalso take_free(Row, Counters) of
        true ->
            held(Server, Depth + 1);
        false ->
            case ask(Server, Depth + 1, Timeout) of
                ok -> held(Server, Depth + 1);
                {error, _} = Error -> Error
            end
    end.

-spec held(pid(), non_neg_integer()) -> ok.
held(Server, Depth) ->
    _ = put(?KNOWN, {Server, Depth}),
    ok.

%% How many slots this process holds; the server knows of it afterwards.
-spec known(pid()) -> non_neg_integer().
known(Server) ->
    case get(?KNOWN) of
        {Server, Depth} ->
            Depth;
        Other ->
            ok = gen_server:cast(Server, {watch, self()}),
            Depth = case Other of {_, D} -> D; undefined -> 0 end,
            ok = held(Server, Depth),
            Depth
    end.

%% Without a table the server will not answer either.
-spec take_free({{pid(), pos_integer()}}, atomics:atomics_ref()) -> boolean().
take_free(Row, Counters) ->
    try
        take(Row, Counters)
    catch
        error:badarg -> false
    end.

%% A row too many is taken back; who sees that row meanwhile asks the server, and the last of those
%% who ask finds it gone.
-spec take({{pid(), pos_integer()}}, atomics:atomics_ref()) -> boolean().
take(Row, Counters) ->
    true = ets:insert(?HELD, Row),
    case ets:info(?HELD, size) =< atomics:get(Counters, ?MAX) of
        true ->
            true;
        false ->
            true = ets:delete(?HELD, element(1, Row)),
            false
    end.

-spec ask(pid(), pos_integer(), timeout()) -> ok | {error, max_concurrent | not_started}.
ask(Server, Depth, Timeout) ->
    Call = {acquire, self(), Depth, Timeout =/= 0},
    try
        gen_server:call(Server, Call, case Timeout of 0 -> infinity; _ -> Timeout end)
    catch
        exit:{timeout, _} ->
            %% A slot may have come in the last moment, and then it is ours.
            try
                gen_server:call(Server, {give_up, self(), Depth}, infinity)
            catch
                exit:_ -> {error, not_started}
            end;
        exit:_ ->
            {error, not_started}
    end.

%% @doc Gives a slot back. Of no effect for a process that holds none.
-spec release() -> ok.
release() ->
    case get(?KNOWN) of
        {Server, Depth} when Depth > 0 ->
            ok = drop({self(), Depth}),
            ok = held(Server, Depth - 1),
            tell_freed();
        _ ->
            ok
    end.

-spec drop({pid(), pos_integer()}) -> ok.
drop(Key) ->
    try ets:delete(?HELD, Key) of
        true -> ok
    catch
        %% The application has been stopped.
        error:badarg -> ok
    end.

%% By its name: it may have been replaced since this process has taken the slot.
-spec tell_freed() -> ok.
tell_freed() ->
    case atomics:get(counters(), ?WAITING) of
        0 -> ok;
        _ -> gen_server:cast(?MODULE, freed)
    end.

%% @doc How many slots are held.
-spec current() -> non_neg_integer().
current() ->
    case ets:info(?HELD, size) of
        undefined -> 0;
        N -> N
    end.

%% @doc How many slots there are: the application environment's `max_concurrent', or else two for each
%% scheduler and one more.
-spec max_concurrent() -> pos_integer().
max_concurrent() ->
    case persistent_term:get(?MODULE, none) of
        none -> configured();
        {Counters, _} -> atomics:get(Counters, ?MAX)
    end.

%% @doc What is held at the moment stays, also if there are fewer slots from now on.
-spec set_max_concurrent(pos_integer()) -> ok.
set_max_concurrent(Max) when is_integer(Max), Max > 0 ->
    ok = atomics:put(counters(), ?MAX, Max),
    gen_server:cast(?MODULE, freed).

-spec counters() -> atomics:atomics_ref().
counters() ->
    {Counters, _} = persistent_term:get(?MODULE),
    Counters.

-spec configured() -> pos_integer().
configured() ->
    case py_settings:get(max_concurrent, 2 * erlang:system_info(schedulers) + 1) of
        Max when is_integer(Max), Max > 0 -> Max;
        Other -> error({bad_setting, max_concurrent, Other})
    end.

%% gen_server --------------------------------------------------------------------------------------

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% Those who hold something from before are watched anew; whoever waited has been told.
-spec init([]) -> {ok, #s{}}.
init([]) ->
    %% It does little for each message, and who waits for that waits for a slot.
    _ = process_flag(priority, high),
    Holders = lists:usort([Pid || {{Pid, _}} <- ets:tab2list(?HELD)]),
    ok = start_counters(persistent_term:get(?MODULE, none), ets:whereis(?HELD)),
    {ok, lists:foldl(fun watch/2, #s{}, Holders)}.

%% A limit that was set outlives this process, but not the application: it goes with the table.
-spec start_counters({atomics:atomics_ref(), ets:tid()} | none, ets:tid()) -> ok.
start_counters({Counters, Table}, Table) ->
    atomics:put(Counters, ?WAITING, 0);
start_counters(_, Table) ->
    Counters = atomics:new(2, [{signed, false}]),
    ok = atomics:put(Counters, ?MAX, configured()),
    persistent_term:put(?MODULE, {Counters, Table}).

-spec handle_call(Call, gen_server:from(), #s{}) -> {reply, Result, #s{}} | {noreply, #s{}} when
    Call ::
        {acquire, pid(), pos_integer(), IsToWait :: boolean()} | {give_up, pid(), pos_integer()},
    Result :: ok | {error, max_concurrent}.
handle_call({acquire, Pid, Depth, IsToWait}, From, #s{waiting = Waiting} = S0) ->
    S = watch(Pid, S0),
    case {map_size(Waiting) =:= 0 andalso take({{Pid, Depth}}, counters()), IsToWait} of
        {true, _} -> {reply, ok, S};
        {false, false} -> {reply, {error, max_concurrent}, freed(S)};
        {false, true} -> {noreply, freed(enter(Pid, From, Depth, S))}
    end;
handle_call({give_up, Pid, Depth}, _From, S) ->
    case ets:member(?HELD, {Pid, Depth}) of
        true -> {reply, ok, S};
        false -> {reply, {error, max_concurrent}, freed(leave(Pid, S))}
    end.

-spec handle_cast({watch, pid()} | freed, #s{}) -> {noreply, #s{}}.
handle_cast({watch, Pid}, S) -> {noreply, watch(Pid, S)};
handle_cast(freed, S) -> {noreply, freed(S)}.

-spec handle_info(term(), #s{}) -> {noreply, #s{}}.
handle_info({'DOWN', _, process, Pid, _}, #s{watched = Watched} = S) ->
    ok = take_back(Pid, 1),
    {noreply, freed(leave(Pid, S#s{watched = maps:remove(Pid, Watched)}))};
handle_info(_, S) ->
    {noreply, S}.

-spec watch(pid(), #s{}) -> #s{}.
watch(Pid, #s{watched = Watched} = S) when is_map_key(Pid, Watched) -> S;
watch(Pid, #s{watched = Watched} = S) ->
    S#s{watched = Watched#{Pid => erlang:monitor(process, Pid)}}.

%% The depths of a holder are without a gap: it takes and gives back the highest.
-spec take_back(pid(), pos_integer()) -> ok.
take_back(Pid, Depth) ->
    case ets:take(?HELD, {Pid, Depth}) of
        [] -> ok;
        [_] -> take_back(Pid, Depth + 1)
    end.

-spec enter(pid(), gen_server:from(), pos_integer(), #s{}) -> #s{}.
enter(Pid, From, Depth, #s{queue = Queue, waiting = Waiting} = S) ->
    Ref = erlang:make_ref(),
    S#s{queue = queue:in({Pid, Ref}, Queue), waiting = Waiting#{Pid => {Ref, From, Depth}}}.

%% What is in the queue stays there: many may leave at once, and each of them costs the same.
-spec leave(pid(), #s{}) -> #s{}.
leave(Pid, #s{waiting = Waiting, left = Left} = S) when is_map_key(Pid, Waiting) ->
    swept(S#s{waiting = maps:remove(Pid, Waiting), left = Left + 1});
leave(_, S) ->
    S.

-spec swept(#s{}) -> #s{}.
swept(#s{queue = Queue, waiting = Waiting, left = Left} = S) when Left > ?SWEEP + map_size(Waiting) ->
    S#s{queue = queue:filter(fun(Entry) -> is_waiting(Entry, Waiting) end, Queue), left = 0};
swept(S) ->
    S.

-spec is_waiting({pid(), reference()}, #{pid() => tuple()}) -> boolean().
is_waiting({Pid, Ref}, Waiting) ->
    case Waiting of
        #{Pid := {Ref, _, _}} -> true;
        #{} -> false
    end.

%% Whoever gives a slot back looks at the flag afterwards, and we look for free slots after we have set
%% it: one of the two sees the other.
-spec freed(#s{}) -> #s{}.
freed(#s{waiting = Waiting} = S) when map_size(Waiting) =:= 0 ->
    ok = atomics:put(counters(), ?WAITING, 0),
    S#s{queue = queue:new(), left = 0};
freed(#s{queue = Queue, waiting = Waiting} = S) ->
    ok = atomics:put(counters(), ?WAITING, 1),
    {value, {Pid, _} = Entry} = queue:peek(Queue),
    case is_waiting(Entry, Waiting) of
        false -> freed(S#s{queue = queue:drop(Queue)});
        true -> serve(Pid, S)
    end.

-spec serve(pid(), #s{}) -> #s{}.
serve(Pid, #s{queue = Queue, waiting = Waiting} = S) ->
    #{Pid := {_, From, Depth}} = Waiting,
    case take({{Pid, Depth}}, counters()) of
        true ->
            ok = gen_server:reply(From, ok),
            freed(S#s{queue = queue:drop(Queue), waiting = maps:remove(Pid, Waiting)});
        false ->
            S
    end.
