%% @doc Two pools under load for SOAK_SECONDS (60), while workers, contexts, keepers and callers are killed at random. Every call is
%% answered, with its value or with a failure that a kill explains; routing heals within a second of each death; at the end every slot
%% has a context that works, and no slot of the semaphore is held.
%% @end
-module(py_pool_soak_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-define(CALLERS, 60).
-define(SLOTS, 3).
-define(MAX_CONCURRENT, 20).
%% ms. The promise is a second for what is idle; here sixty callers and two pools want the same few cores while Python starts, so the
%% middle of all deaths has to be that fast, and none may take longer than the second of these.
-define(HEALED, 1000).
-define(HEALED_AT_LAST, 20000).
-define(PATIENCE, 120000).

all() -> [everybody_is_killed_for_a_while].

suite() -> [{timetrap, {seconds, seconds() + 600}}].

seconds() -> list_to_integer(os:getenv("SOAK_SECONDS", "60")).

%% Another one each time. The same one makes everybody choose the same; when it happens is up to the schedulers.
seed() -> list_to_integer(os:getenv("SOAK_SEED", integer_to_list(erlang:system_time(microsecond)))).

init_per_suite(Config) ->
    ok = py_port_test:start(),
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, none),
    [{level, Level}, {max, py_semaphore:max_concurrent()} | Config].

end_per_suite(Config) ->
    ok = py_semaphore:set_max_concurrent(proplists:get_value(max, Config)),
    logger:set_primary_config(level, proplists:get_value(level, Config)).

end_per_testcase(_Case, _Config) ->
    _ = [py_context_router:stop_pool(Pool) || Pool <- pools()],
    py_port_test:end_per_testcase(none).

pools() -> [soak_scheduler, soak_least].

everybody_is_killed_for_a_while(_Config) ->
    Seed = seed(),
    ct:pal("SOAK_SEED=~b", [Seed]),
    ok = py_semaphore:set_max_concurrent(?MAX_CONCURRENT),
    {ok, _} = py_context_router:start_pool(soak_scheduler, ?SLOTS),
    {ok, _} = py_context_router:start_pool(soak_least, ?SLOTS, #{strategy => least_loaded}),
    End = erlang:monotonic_time(millisecond) + seconds() * 1000,
    Crowd = [start(I, fun() -> calls(End, #{}) end, Seed) || I <- lists:seq(1, ?CALLERS)],
    Victims = [start(I, fun() -> victims(End, 0) end, Seed) || I <- lists:seq(1001, 1004)],
    Killers = [start(I, fun() -> kills(End, #{}, []) end, Seed) || I <- [2001, 2002]],
    Counts = lists:foldl(fun(One, Acc) -> add(result(One), Acc) end, #{}, Crowd),
    Killed = lists:sum([result(One) || One <- Victims]),
    {Kills, Times} = lists:unzip([result(One) || One <- Killers]),
    Healed = lists:sort(lists:append(Times)),
    ct:pal("outcomes: ~p~ncallers killed: ~b~nkills: ~p~nhealed after ms, median and longest: ~p~n",
        [Counts, Killed, lists:foldl(fun add/2, #{}, Kills), {median(Healed), lists:last(Healed)}]),
    ?assertEqual([], [Wrong || {wrong, _} = Wrong <- maps:keys(Counts)]),
    ?assert(maps:get(value, Counts) > 0),
    ?assert(median(Healed) < ?HEALED),
    ?assert(lists:last(Healed) < ?HEALED_AT_LAST),
    %% No slot of a pool is lost, nor of the semaphore.
    [?assertEqual(ok, whole(Pool)) || Pool <- pools()],
    %% Nor does a context run in none.
    ?assert(py_port_test:wait_until(fun() -> lists:sort(py_port:contexts()) =:= lists:sort(py_pool:running()) end, ?PATIENCE)),
    ?assert(py_port_test:wait_until(fun() -> py_semaphore:current() =:= 0 end, ?PATIENCE)),
    Slots = [py_semaphore:acquire() || _ <- lists:seq(1, ?MAX_CONCURRENT)],
    ?assertEqual(lists:duplicate(?MAX_CONCURRENT, ok), Slots),
    _ = [ok = py_semaphore:release() || _ <- Slots],
    ?assertEqual([], py_port_test:flush()).

%% Every slot has a context of its own, and it works.
whole(Pool) ->
    ?assert(py_port_test:wait_until(fun() -> length(py_context_router:contexts(Pool)) =:= ?SLOTS end, ?PATIENCE)),
    Pids = [py_port:eval(Ctx, "__import__('os').getpid()") || Ctx <- py_context_router:contexts(Pool)],
    ?assertEqual(?SLOTS, length(lists:usort([Pid || {ok, Pid} <- Pids]))),
    ok.

%% The crowd -----------------------------------------------------------------------------------------------------------

start(I, Fun, Seed) ->
    py_port_test:async(fun() ->
        _ = rand:seed(exsss, {Seed, I, 0}),
        Fun()
    end).

result({Pid, Ref}) ->
    receive
        {'DOWN', Ref, process, Pid, {result, Result}} -> Result;
        {'DOWN', Ref, process, Pid, Reason} -> error({crashed, Reason})
    after seconds() * 1000 + ?PATIENCE -> error({hang, erlang:process_info(Pid, [current_stacktrace, messages])})
    end.

add(A, B) ->
    maps:merge_with(fun(_, X, Y) -> X + Y end, A, B).

median(Sorted) ->
    lists:nth(length(Sorted) div 2 + 1, Sorted).

%% Counts what became of the calls; one that is wrong ends it.
calls(End, Counts) ->
    case erlang:monotonic_time(millisecond) < End of
        false -> Counts;
        true ->
            What = call(),
            Counts1 = add(#{What => 1}, Counts),
            case What of
                {wrong, _} -> Counts1;
                _ -> calls(End, Counts1)
            end
    end.

call() ->
    case py_semaphore:acquire(?PATIENCE) of
        ok ->
            Number = rand:uniform(1000000),
            Outcome = py_port:call(chosen(), builtins, divmod, [Number, 1000], #{}, #{timeout => ?PATIENCE}),
            ok = py_semaphore:release(),
            Expected = {ok, {Number div 1000, Number rem 1000}},
            case Outcome of
                Expected -> value;
                {error, {worker_down, _}} -> failure;
                Other -> {wrong, Other}
            end;
        {error, max_concurrent} ->
            {wrong, no_slot_for_two_minutes}
    end.

chosen() ->
    case rand:uniform(4) of
        1 -> py_context_router:get_context({soak_least, {key, rand:uniform(100)}});
        2 -> py_context_router:get_context(soak_least);
        _ -> py_context_router:get_context(soak_scheduler)
    end.

%% Starts callers and kills them somewhere in the middle.
victims(End, Count) ->
    case erlang:monotonic_time(millisecond) < End of
        false -> Count;
        true ->
            {Pid, Ref} = spawn_monitor(fun() -> calls(End, #{}) end),
            pause(1, 10),
            true = exit(Pid, kill),
            receive
                {'DOWN', Ref, process, Pid, killed} -> victims(End, Count + 1);
                %% The time was over for it as well.
                {'DOWN', Ref, process, Pid, normal} -> victims(End, Count)
            end
    end.

%% Kills something of a slot, and takes the time until that slot serves again.
kills(End, Counts, Times) ->
    pause(200, 800),
    case erlang:monotonic_time(millisecond) < End of
        false -> {Counts, Times};
        true ->
            Pool = lists:nth(rand:uniform(2), pools()),
            Slot = rand:uniform(?SLOTS),
            What = kill(rand:uniform(10), row(Pool, Slot)),
            Start = erlang:monotonic_time(millisecond),
            ok = served(Pool, Slot),
            kills(End, add(#{What => 1}, Counts), [erlang:monotonic_time(millisecond) - Start || What =/= nothing] ++ Times)
    end.

row(Pool, Slot) ->
    [{slot, _, Keeper, Context, _, _}] = ets:lookup(py_pools, {Pool, Slot}),
    {Keeper, Context}.

kill(1, {Keeper, _}) when is_pid(Keeper) -> gone(Keeper), keeper;
kill(N, {_, Context}) when N =< 3, is_pid(Context) -> gone(Context), context;
kill(_, {_, Context}) when is_pid(Context) ->
    case py_port:info(Context) of
        #{os_pid := OsPid} ->
            Ref = monitor(process, Context),
            %% Of a worker that is ours, as long as its context has not ended.
            _ = os:cmd("kill -9 " ++ integer_to_list(OsPid)),
            receive {'DOWN', Ref, process, Context, _} -> worker end;
        {error, _} ->
            nothing
    end;
kill(_, _) -> nothing.

gone(Pid) ->
    Ref = monitor(process, Pid),
    true = exit(Pid, kill),
    receive {'DOWN', Ref, process, Pid, _} -> ok end.

%% By the slot that was hit, whoever is chosen otherwise.
served(Pool, Slot) ->
    {ok, Ctx} = py_pool:slot(py_pool:lookup(Pool), Slot),
    case py_port:eval(Ctx, "1") of
        {ok, 1} -> ok;
        %% The other one who kills was faster.
        {error, {worker_down, _}} -> served(Pool, Slot)
    end.

pause(From, To) ->
    %% sleep-ok: trouble comes at random moments
    timer:sleep(From + rand:uniform(To - From)).
