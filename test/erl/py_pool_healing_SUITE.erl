%% @doc What has ended is replaced, whatever it was: a context, the keeper of its slot, the pool's process, all pools; whoever had a
%% context gets its successor. And what was stopped stays stopped.
%% @end
-module(py_pool_healing_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(py_context_router, [get_context/0, get_context/1, find/1, start_pool/2, start_pool/3, contexts/1]).
-import(py_pool_bed, [stop_os_process/1]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> py_port_test:cases(?MODULE) -- [keepers, kill_pool].

init_per_suite(Config) -> py_pool_bed:init_per_suite(Config).

end_per_suite(Config) -> py_pool_bed:end_per_suite(Config).

init_per_testcase(Case, Config) -> py_pool_bed:init_per_testcase(Case, Config).

end_per_testcase(Case, Config) -> py_pool_bed:end_per_testcase(Case, Config).

%% Healing -------------------------------------------------------------------------------------------------------------

a_context_that_was_killed_is_replaced_within_a_second(_Config) ->
    {ok, [Ctx]} = start_pool(a, 1),
    Start = erlang:monotonic_time(millisecond),
    ok = stop_os_process(Ctx),
    New = get_context(a),
    ?assertNotEqual(Ctx, New),
    ?assertEqual({ok, 4.0}, py_port:call(New, math, sqrt, [16])),
    ct:pal("healed after ~b ms", [erlang:monotonic_time(millisecond) - Start]),
    %% Generous: a start of Python on a machine that is busy.
    ?assert(erlang:monotonic_time(millisecond) - Start < 10000),
    ?assertEqual([New], contexts(a)).

%% Nobody has to ask for it.
a_context_is_replaced_in_the_background(_Config) ->
    {ok, [Ctx]} = start_pool(a, 1),
    ok = stop_os_process(Ctx),
    ?assert(py_port_test:wait_until(fun() -> contexts(a) -- [Ctx] =/= [] end, 10000)).

who_has_just_been_told_of_a_death_gets_the_successor(_Config) ->
    {ok, [_]} = start_pool(a, 1),
    lists:foreach(
        fun(_) ->
            Ctx = get_context(a),
            {error, {worker_down, _}} = py_port:exec(Ctx, "import os; os._exit(7)"),
            ?assertEqual({ok, 1}, py_port:eval(get_context(a), "1"))
        end,
        lists:seq(1, 5)
    ).

%% The table still shows the dead one: its keeper and the registry have not been told yet.
a_request_that_finds_its_context_dead_goes_to_the_successor(_Config) ->
    ok = application:set_env(py_port, num_contexts, 1),
    Requests = [
        fun() -> py:call(math, sqrt, [16]) end,
        fun() -> py:call(default, math, sqrt, [16]) end,
        fun() -> py:eval("4.0") end,
        fun() -> ok = py:exec("pass"), {ok, 4.0} end,
        fun() -> py:await(py:spawn_call(math, sqrt, [16])) end,
        fun() -> py:await(py:async_call(math, sqrt, [16])) end,
        fun() -> {ok, [Root]} = py:parallel([{math, sqrt, [16]}]), {ok, Root} end,
        fun() -> {ok, [Root]} = py:async_gather([{math, sqrt, [16]}]), {ok, Root} end,
        %% It is that context that is wanted.
        fun() -> {error, {context_died, noproc}} = py:call(get(dead), math, sqrt, [16]), {ok, 4.0} end
    ],
    Ctx = get_context(),
    [Keeper] = [K || {slot, {default, 1}, K, _, _, _} <- ets:tab2list(py_pools)],
    Suspended = [py_port_registry, Keeper],
    ok = lists:foreach(fun sys:suspend/1, Suspended),
    All =
        try
            ok = py_port_test:kill({Ctx, erlang:monitor(process, Ctx)}),
            Begun = [py_port_test:async(fun() -> put(dead, Ctx), Request() end) || Request <- Requests],
            %% The end of the context, and those who ask for the next one.
            Asked = {message_queue_len, length(Requests)},
            true = py_port_test:wait_until(fun() -> process_info(Keeper, message_queue_len) =:= Asked end, 10000),
            Begun
        after
            lists:foreach(fun sys:resume/1, Suspended)
        end,
    ?assertEqual([{ok, 4.0} || _ <- Requests], [py_port_test:await(One) || One <- All]).

%% With them goes what they run, not that they are wanted.
pools_that_are_lost_come_back_when_they_are_needed(_Config) ->
    {ok, [_, _]} = start_pool(a, 2, #{strategy => least_loaded, env => #{kept => "yes"}}),
    ok = py_context_router:register_pool(a, os),
    [
        begin
            Pid = whereis(Lost),
            ok = py_port_test:kill({Pid, erlang:monitor(process, Pid)}),
            ?assert(py_port_test:wait_until(fun() -> not lists:member(whereis(Lost), [undefined, Pid]) end, 60000)),
            %% Requests to the supervisors come after what they restart together.
            _ = supervisor:which_children(py_facade_sup),
            _ = supervisor:which_children(py_pool_sup),
            %% The pool ends by itself when its supervisor was killed.
            ?assert(py_port_test:wait_until(fun() -> py_pool:pools() =:= [] end, 60000)),
            ?assertEqual({ok, <<"yes">>}, py:call(os, getenv, [<<"kept">>])),
            ?assertEqual(2, py_context_router:num_contexts(a))
        end
     || Lost <- [py_pools, py_pool_table]
    ],
    ok = py_context_router:stop_pool(a),
    ?assertEqual({error, {no_such_pool, a}}, find(a)),
    {error, {start_failed, _}} = start_pool(a, 1, #{init => "1 / 0"}),
    ?assertEqual({error, {no_such_pool, a}}, find(a)).

%% As one does whose contexts do not want to end.
a_pool_that_stops_slowly_is_not_in_the_way_of_others(_Config) ->
    {ok, []} = start_pool(a, 1, #{start => lazy}),
    [Server] = [S || P <- ets:lookup(py_pools, a), S <- [element(6, P)]],
    true = erlang:suspend_process(Server),
    {Stopping, _} = Stop = py_port_test:async(fun() -> py_context_router:stop_pool(a) end),
    ?assert(py_port_test:wait_until(fun() -> process_info(Stopping, status) =:= {status, waiting} end, 10000)),
    ?assertMatch({ok, [_]}, start_pool(b, 1)),
    ?assert(is_process_alive(Stopping)),
    ?assert(is_process_alive(Server)),
    true = erlang:resume_process(Server),
    ok = py_port_test:await(Stop),
    ?assertNot(py_context_router:pool_started(a)).

who_asks_when_the_application_has_stopped_is_told_so(_Config) ->
    {ok, []} = start_pool(a, 1, #{start => lazy}),
    Pool = py_pool:lookup(a),
    ok = application:stop(py_port),
    Told = [
        py_pool:slot(Pool, 1), find({default, least_loaded}), start_pool(b, 1), py_context_sup:start_context(1, worker),
        py_tracer:clear(), py_tracer:info(), py:state_store(a, 1), py_preload:set_code("x = 1"), py:call(math, sqrt, [16])
    ],
    Loads = py_pool:loads(Pool),
    ok = py_port_test:start(),
    ?assertEqual([{error, not_started} || _ <- Told], Told),
    ?assertEqual([{1, starting}], Loads).

a_process_that_is_bound_gets_the_successor(_Config) ->
    {ok, [First, Second]} = start_pool(a, 2),
    ok = py_context_router:bind_context(a, Second),
    ?assertEqual(Second, get_context(a)),
    ok = stop_os_process(Second),
    New = get_context(a),
    ?assertNot(lists:member(New, [First, Second])),
    ?assertEqual([First, New], contexts(a)),
    ?assertEqual(New, get_context(a)),
    ok = py_context_router:unbind_context(a),
    ?assert(lists:member(get_context(a), [First, New])).

%% Nothing takes its place, so the pool serves.
a_process_that_is_bound_to_any_other_context_falls_back(_Config) ->
    {ok, [InPool]} = start_pool(a, 1),
    {ok, Other} = py_port:start_context(#{link => false}),
    ok = py_context_router:bind_context(a, Other),
    ?assertEqual(Other, get_context(a)),
    ok = py_port:stop_context(Other),
    ?assertEqual(InPool, get_context(a)).

who_meets_a_context_that_is_being_started_waits(Config) ->
    Go = py_port_test:marker(Config, "go"),
    Code = io_lib:format("import os, time~nwhile not os.path.exists(~p): time.sleep(0.01)", [binary_to_list(Go)]),
    {ok, []} = start_pool(a, 1, #{init => iolist_to_binary(Code), start => lazy}),
    Waiting = [py_port_test:async(fun() -> get_context(a) end) || _ <- lists:seq(1, 3)],
    ?assertEqual([], contexts(a)),
    ok = file:write_file(Go, ""),
    [Ctx] = lists:usort([py_port_test:await(W) || W <- Waiting]),
    ?assertEqual([Ctx], contexts(a)).

a_pool_can_be_stopped_while_its_contexts_start(_Config) ->
    {ok, []} = start_pool(a, 2, #{init => <<"import time; time.sleep(3600)">>, init_timeout => 3600000, start => lazy}),
    Waiting = [py_port_test:async(fun() -> find(a) end), py_port_test:async(fun() -> find({a, {key, 1}}) end)],
    ?assert(py_port_test:wait_until(fun() -> keepers(a) > 0 end, 10000)),
    ok = py_context_router:stop_pool(a),
    [?assertEqual({error, {no_such_pool, a}}, py_port_test:await(W)) || W <- Waiting].

keepers(Pool) ->
    length([K || {slot, {P, _}, K, _, _, _} <- ets:tab2list(py_pools), P =:= Pool, is_pid(K)]).

a_context_that_is_stopped_is_replaced_too(_Config) ->
    {ok, [Ctx]} = start_pool(a, 1),
    ok = py_context:stop(Ctx),
    ?assertNotEqual(Ctx, get_context(a)).

%% It still has its pid and a few seconds to finish what it runs, but takes nothing new.
a_context_that_is_being_stopped_is_not_given_out(Config) ->
    {ok, [Ctx]} = start_pool(a, 1, #{path => [py_port_test:data_dir()]}),
    Marker = py_port_test:marker(Config, "busy"),
    Call = py_port:async_call(Ctx, probe_calls, sleep_long, [Marker]),
    ok = py_port_test:await_file(Marker),
    Stop = py_port_test:async(fun() -> py_port:stop_context(Ctx, 60000) end),
    ?assert(py_port_test:wait_until(fun() -> find(a) =/= {ok, Ctx} end, 10000)),
    ?assertEqual({ok, 1}, py_port:eval(get_context(a), "1")),
    ok = py_port:cancel(Call),
    {error, _} = py_port:await(Call),
    ok = py_port_test:await(Stop).

all_contexts_can_be_replaced_without_a_gap(Config) ->
    Broken = py_port_test:marker(Config, "broken"),
    Code = io_lib:format("import os~nif os.path.exists(~p): raise ValueError", [binary_to_list(Broken)]),
    {ok, [First, Second]} = start_pool(a, 2, #{init => iolist_to_binary(Code)}),
    Running = get_context(io),
    ok = py_context_router:bind_context(a, First),
    Call = py_port:async_call(First, asyncio, sleep, [0.3, 7]),
    ?assertEqual(ok, py_pool:restart_all()),
    [New, _] = contexts(a),
    ?assertEqual([], [C || C <- contexts(a), lists:member(C, [First, Second])]),
    ?assertNotEqual([Running], contexts(io)),
    ?assertEqual(New, get_context(a)),
    ?assertEqual({ok, 7}, py_port:await(Call)),
    %% What does not start replaces nothing.
    ok = file:write_file(Broken, ""),
    Before = contexts(a),
    ?assertMatch({error, [{{a, _}, {start_failed, _}}, {{a, _}, {start_failed, _}}]}, py_pool:restart_all()),
    ?assertEqual(Before, contexts(a)),
    ?assertEqual({ok, 1}, py_port:eval(get_context(a), "1")).

%% One that was replaced is still there for what it runs.
nothing_of_a_pool_is_left_when_it_has_stopped(Config) ->
    {ok, [Old]} = start_pool(a, 1, #{path => [py_port_test:data_dir()]}),
    Marker = py_port_test:marker(Config, "busy"),
    Call = py_port:async_call(Old, probe_calls, sleep_with_the_gil, [Marker]),
    ok = py_port_test:await_file(Marker),
    ok = py_pool:restart_all(),
    ok = py_context_router:stop_pool(a),
    ?assertNot(is_process_alive(Old)),
    ?assertMatch({error, {worker_down, _}}, py_port:await(Call)).

a_pool_whose_process_is_killed_comes_back(_Config) ->
    {ok, [Ctx]} = start_pool(a, 1),
    Ref = monitor(process, Ctx),
    ok = kill_pool(a),
    receive {'DOWN', Ref, process, Ctx, _} -> ok end,
    ?assert(py_port_test:wait_until(fun() -> element(1, find(a)) =:= ok end, 20000)),
    ?assertMatch([_], contexts(a)).

%% Who stops it may come before its supervisor.
a_pool_whose_process_has_failed_can_be_stopped(_Config) ->
    {ok, [_]} = start_pool(a, 1),
    ok = sys:suspend(py_pools),
    ok = kill_pool(a),
    Stop = py_port_test:async(fun() -> py_context_router:stop_pool(a) end),
    ok = sys:resume(py_pools),
    ok = py_port_test:await(Stop),
    ?assertEqual([], supervisor:which_children(py_pools)),
    ?assertNot(py_context_router:pool_started(a)),
    ?assertEqual({error, {no_such_pool, a}}, find(a)).

%% Also for a process that has stayed with a slot of it.
a_pool_that_has_failed_too_often_comes_back_for_the_next_who_asks(_Config) ->
    {ok, [_, _]} = start_pool(a, 2),
    Before = get_context(a),
    Ref = monitor(process, py_pools),
    ok = kill_pool_until_down(a, Ref),
    _ = supervisor:which_children(py_pool_sup),
    ?assertNotEqual(Before, get_context(a)),
    ?assertEqual(2, py_context_router:num_contexts(a)),
    ok = py_context_router:stop_pool(a),
    ?assertNot(py_context_router:pool_started(a)).

kill_pool_until_down(Pool, Ref) ->
    ok = kill_pool(Pool),
    receive
        {'DOWN', Ref, process, _, _} -> ok
    after 10 -> kill_pool_until_down(Pool, Ref)
    end.

kill_pool(Pool) ->
    [Server] = [S || {pool, P, _, _, _, S, _, _} <- ets:tab2list(py_pools), P =:= Pool],
    Ref = monitor(process, Server),
    true = exit(Server, kill),
    receive
        {'DOWN', Ref, process, Server, _} -> ok
    end.

a_keeper_that_is_killed_is_replaced(_Config) ->
    {ok, [Ctx]} = start_pool(a, 1),
    [Keeper] = [K || {slot, {a, 1}, K, _, _, _} <- ets:tab2list(py_pools)],
    Ref = monitor(process, Ctx),
    true = exit(Keeper, kill),
    receive {'DOWN', Ref, process, Ctx, _} -> ok end,
    New = get_context(a),
    ?assertEqual({ok, 1}, py_port:eval(New, "1")).
