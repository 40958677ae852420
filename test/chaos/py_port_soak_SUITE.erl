%% @doc The mix of both directions under load, for SOAK_SECONDS (60): four contexts under a supervisor, 200 callers, eight threads
%% of Python that call Erlang all the time, 1,000 awaits in flight, names that come and go, jobs, callers and contexts killed at
%% random. Each request has one outcome that can be explained, and each value reaches the one who asked for it. At the end
%% nothing is left of it, and nobody's memory has grown without bound.
%% @end
-module(py_port_soak_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-behaviour(supervisor).

-define(CALLERS, 200).
-define(AWAITS, 1000).
-define(PATIENCE, 120000).
%% Generous: a context of this mix needs some 30 MB, the node some 100 MB.
-define(WORKER_RSS, 300 bsl 20).
-define(NODE_GROWTH, 300 bsl 20).

%% For the supervisor, init/1 is no test.
all() -> [everything_at_once_for_a_while].

suite() -> [{timetrap, {seconds, seconds() + 600}}].

seconds() -> list_to_integer(os:getenv("SOAK_SECONDS", "60")).

%% Another one each time. The same one makes everybody choose the same; when it happens is up to the schedulers.
seed() -> list_to_integer(os:getenv("SOAK_SEED", integer_to_list(erlang:system_time(microsecond)))).

init_per_suite(Config) ->
    ok = py_port_test:start(),
    #{level := Level} = logger:get_primary_config(),
    %% Contexts are killed all the time; their crash reports would bury everything else.
    ok = logger:set_primary_config(level, none),
    [{level, Level} | Config].

end_per_suite(Config) ->
    logger:set_primary_config(level, proplists:get_value(level, Config)).

end_per_testcase(_Case, _Config) ->
    _ = [stop(Sup) || Sup <- [whereis(?MODULE)], Sup =/= undefined],
    ok = py_port_mix:unregister(),
    py_port_test:end_per_testcase(none).

everything_at_once_for_a_while(_Config) ->
    _ = process_flag(trap_exit, true),
    Seed = seed(),
    ct:pal("SOAK_SEED=~b", [Seed]),
    Names = [soak_a, soak_b, soak_c, soak_d],
    Before = node_rss(),
    ok = py_port_mix:register(),
    {ok, Sup} = supervisor:start_link({local, ?MODULE}, ?MODULE, Names),
    End = erlang:monotonic_time(millisecond) + seconds() * 1000,
    Crowd = crowd(Names, End, Seed),
    {Counts, Peaks} = collect(maps:from_list(Crowd), #{}, #{}, Names),
    ct:pal("outcomes: ~P~nlargest RSS of the workers: ~p~n", [Counts, 400, Peaks]),
    ?assertEqual([], lists:sublist([What || {wrong, What} <- maps:keys(Counts)], 3)),
    ?assertEqual([], [{Name, Rss} || {Name, Rss} <- maps:to_list(Peaks), Rss > ?WORKER_RSS]),
    ?assertEqual([ok || _ <- Names], [py_port_mix:settled(restarted(Name)) || Name <- Names]),
    %% When the trouble is over everything works as if there had been none.
    ?assertEqual([], [Wrong || Contexts <- [Names, lists:reverse(Names)], Wrong <- calm(lists:sublist(Contexts, 2))]),
    ?assertEqual([ok || _ <- Names], [py_port_mix:settled(whereis(Name)) || Name <- Names]),
    ok = stop(Sup),
    ?assertEqual([], py_port_mix:leftovers([])),
    ?assertEqual([], py_port_test:flush()),
    [garbage_collect(Pid) || Pid <- processes()],
    ?assert(node_rss() - Before < ?NODE_GROWTH).

%% The contexts --------------------------------------------------------------------------------------------------------

init(Names) ->
    Children = [
        (py_port:child_spec(py_port_mix:options(#{name => Name})))#{start => {?MODULE, start_context, [Name]}}
     || Name <- Names
    ],
    {ok, {#{strategy => one_for_one, intensity => 1000000, period => 1}, Children}}.

%% Written down, so that no operating-system process of any of them is forgotten.
start_context(Name) ->
    {ok, py_port_test:start_context(py_port_mix:options(#{name => Name}))}.

%% The last trouble may have been only just now.
restarted(Name) ->
    ?assert(py_port_test:wait_until(fun() -> is_pid(whereis(Name)) end, ?PATIENCE)),
    whereis(Name).

%% One of each kind, in a process of its own: the context watches its callers.
calm(Contexts) ->
    py_port_trouble:aside(fun() ->
        [
            {Work, Outcome}
         || {_, Shape} <- py_port_mix:work(calm),
            Work <- [py_port_mix:sample(Shape)],
            Outcome <- [py_port_mix:happen(Work, Contexts)],
            not py_port_mix:judge(Work, Outcome, [])
        ]
    end).

stop(Sup) ->
    Ref = erlang:monitor(process, Sup),
    true = exit(Sup, shutdown),
    receive
        {'DOWN', Ref, process, Sup, _} -> ok
    end,
    receive
        {'EXIT', Sup, _} -> ok
    after 0 -> ok
    end.

%% The crowd -----------------------------------------------------------------------------------------------------------

%% Each goes on until the time is over, and then sends what it saw.
crowd(Names, End, Seed) ->
    Self = self(),
    Start = fun({I, Role}) ->
        {Pid, Ref} = spawn_monitor(fun() ->
            _ = rand:seed(exsss, {Seed, I, 0}),
            Self ! {saw, self(), repeat(Role, End, #{})}
        end),
        {Ref, {Pid, element(1, Role)}}
    end,
    Callers = [{caller, pair(I, Names)} || I <- lists:seq(1, ?CALLERS)],
    Load = [{load, Function, Name} || Name <- Names, Function <- [threads_for_a_while, awaits_for_a_while]],
    Trouble = [{trouble, Names}, {trouble, Names}],
    Roles = Callers ++ Load ++ Trouble,
    [Start(Role) || Role <- lists:zip(lists:seq(1, length(Roles)), Roles)].

%% Only pairs in this order: see py_port_mix.
pair(I, Names) ->
    case lists:nthtail(I rem length(Names), Names) of
        [Last] -> [Last];
        [A, B | _] -> [A, B]
    end.

repeat(Role, End, Counts) ->
    case erlang:monotonic_time(millisecond) >= End of
        true ->
            Counts;
        false ->
            Seen = once(Role),
            Counts1 = lists:foldl(fun count/2, Counts, Seen),
            %% One is enough to fail; a million of them would fill the memory.
            case [W || {wrong, _} = W <- Seen] of
                [] -> repeat(Role, End, Counts1);
                _ -> Counts1
            end
    end.

count(What, Counts) ->
    maps:update_with(What, fun(N) -> N + 1 end, 1, Counts).

%% What was seen: values, failures that can be explained, and what is wrong.
once({caller, Contexts}) ->
    Work = py_port_mix:sample({weighted, py_port_mix:work(troubled)}),
    seen(Work, py_port_mix:happen(Work, Contexts));
once({load, Function, Name}) ->
    Args = case Function of threads_for_a_while -> [8, 50]; awaits_for_a_while -> [?AWAITS] end,
    Opts = case Function of threads_for_a_while -> #{thread => true}; awaits_for_a_while -> #{} end,
    case py_port:call(Name, probe_mix, Function, Args, #{}, Opts) of
        {ok, true} -> [{value, load}];
        Outcome ->
            ok = py_port_mix:wait(20),
            seen({load, Name, infinity}, Outcome)
    end;
once({trouble, Contexts}) ->
    Happening = py_port_mix:sample({weighted, trouble()}),
    Where = lists:sublist(lists:nthtail(rand:uniform(length(Contexts)) - 1, Contexts), 2),
    seen(Happening, py_port_mix:happen(Happening, Where)).

%% Some five of them a second; a context that is killed needs a moment to come back.
trouble() ->
    [{W, with_delay(Shape)} || {W, Shape} <- py_port_mix:trouble()].

with_delay(Shape) ->
    setelement(tuple_size(Shape), Shape, {int, 200, 600}).

%% Everything may have happened to everybody.
seen(Work, Outcome) ->
    All = [{kill_worker, 1, 0}, {interrupt, 1, 0}, {kill_jobs, 1, 0}, {rename, 0}],
    Kind = element(1, Work),
    case {py_port_mix:judge(Work, Outcome, []), py_port_mix:judge(Work, Outcome, All)} of
        {true, _} -> [{value, Kind} | late()];
        {false, true} -> [{failure, Kind} | late()];
        {false, false} -> [{wrong, {Work, Outcome}} | late()]
    end.

%% After one outcome nothing may come.
late() ->
    receive
        Message -> [{wrong, {late, Message}} | late()]
    after 0 -> []
    end.

%% Collecting ----------------------------------------------------------------------------------------------------------

collect(Crowd, Counts, Peaks, _) when map_size(Crowd) =:= 0 ->
    {Counts, Peaks};
collect(Crowd, Counts, Peaks, Names) ->
    receive
        {saw, _, Saw} -> collect(Crowd, maps:merge_with(fun(_, A, B) -> A + B end, Counts, Saw), Peaks, Names);
        {'DOWN', Ref, process, _, normal} when is_map_key(Ref, Crowd) -> collect(maps:remove(Ref, Crowd), Counts, Peaks, Names);
        {'DOWN', Ref, process, Pid, Reason} when is_map_key(Ref, Crowd) -> error({crashed, Pid, Reason})
    after 1000 ->
        collect(alive(Crowd), Counts, lists:foldl(fun peak/2, Peaks, Names), Names)
    end.

%% Who takes this much longer than the soak hangs.
alive(Crowd) ->
    case get(last_seen) of
        {Crowd, Since} ->
            erlang:monotonic_time(second) - Since > seconds() + ?PATIENCE div 1000 andalso error({hang, stacks(Crowd)}),
            Crowd;
        _ ->
            _ = put(last_seen, {Crowd, erlang:monotonic_time(second)}),
            Crowd
    end.

stacks(Crowd) ->
    [{Role, erlang:process_info(Pid, [current_stacktrace, messages])} || {Pid, Role} <- maps:values(Crowd)].

peak(Name, Peaks) ->
    case whereis(Name) of
        undefined ->
            Peaks;
        Pid ->
            try sys:get_state(Pid) of
                #{os_pid := OsPid} -> maps:update_with(Name, fun(P) -> max(P, rss(OsPid)) end, rss(OsPid), Peaks)
            catch
                exit:_ -> Peaks
            end
    end.

rss(OsPid) ->
    case py_port_proc:usage(OsPid) of
        #{rss := Rss} when is_integer(Rss) -> Rss;
        _ -> 0
    end.

node_rss() ->
    rss(list_to_integer(os:getpid())).
