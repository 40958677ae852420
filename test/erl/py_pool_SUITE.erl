%% @doc Pools: contexts start when they are needed and at the same time, are replaced when they end, and whoever had one gets its
%% successor; which one a process gets; pools on two nodes; what the application environment says.
%% @end
-module(py_pool_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(py_context_router, [get_context/0, get_context/1, find/1, start_pool/2, start_pool/3, contexts/1]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> py_port_test:cases(?MODULE) -- [stop_os_process, os_pid, in_process, keepers, waiting, kill_pool, run_node, idle, held_start].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    #{level := Level} = logger:get_primary_config(),
    %% Contexts are killed in many cases; their crash reports say nothing here.
    ok = logger:set_primary_config(level, none),
    [{level, Level} | Config].

end_per_suite(Config) ->
    logger:set_primary_config(level, proplists:get_value(level, Config)).

init_per_testcase(_Case, Config) ->
    ok = application:set_env(py_port, num_contexts, 3),
    Config.

end_per_testcase(_Case, Config) ->
    %% Those that were replaced may still be ending.
    ?assert(py_port_test:wait_until(fun() -> py_port:contexts() -- py_pool:running() =:= [] end, 20000)),
    _ = [py_context_router:stop_pool(Pool) || Pool <- [default, io, a, b]],
    _ = [application:unset_env(py_port, Key) || Key <- [num_contexts, default_pool_size, context_mode, io_pool_size, io_pool_mode]],
    _ = [erase(Key) || {{py_context_router, _} = Key, _} <- get()],
    ok = py_context_router:init_pool_registry(),
    ok = py_preload:clear_code(),
    py_port_test:end_per_testcase(Config).

%% Starting ------------------------------------------------------------------------------------------------------------

the_default_pool_starts_when_it_is_needed(_Config) ->
    ?assertNot(py_context_router:is_started()),
    ?assertEqual(0, py_context_router:num_contexts()),
    Ctx = get_context(),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    ?assert(py_context_router:is_started()),
    ?assertEqual(3, py_context_router:num_contexts()).

only_slots_that_are_used_have_a_process(_Config) ->
    Ctx = get_context(2),
    ?assertEqual([Ctx], py_context_router:contexts()),
    ?assertEqual([Ctx], py_pool:running()),
    ?assertEqual([Ctx], py_port:contexts()),
    Other = get_context(1),
    ?assertEqual([Other, Ctx], py_context_router:contexts()).

a_lazy_pool_starts_nothing(_Config) ->
    ?assertEqual({ok, []}, start_pool(a, 4, #{start => lazy})),
    ?assertEqual([], py_port:contexts()),
    ?assertEqual(4, py_context_router:num_contexts(a)).

an_eager_pool_starts_everything(_Config) ->
    {ok, Contexts} = start_pool(a, 3),
    ?assertEqual(3, length(lists:usort([os_pid(C) || C <- Contexts]))),
    ?assertEqual(Contexts, contexts(a)),
    ?assertEqual({ok, Contexts}, start_pool(a, 7)),
    ?assertEqual({ok, Contexts}, start_pool(a, 7, #{start => lazy})),
    ok = py_context_router:stop_pool(a),
    ?assertNot(py_context_router:pool_started(a)),
    ?assertEqual([], py_port:contexts()).

%% Each start waits until all of them have begun: one after the other they would never end.
contexts_of_a_pool_start_at_the_same_time(Config) ->
    {ok, Contexts} = start_pool(a, 4, #{init => rendezvous(4, "pool", Config)}),
    ?assertEqual(4, length(Contexts)).

contexts_of_calls_in_parallel_start_at_the_same_time(Config) ->
    ok = py_preload:set_code(rendezvous(3, "parallel", Config)),
    Results = py:parallel([{math, sqrt, [N * N]} || N <- [1, 2, 3]]),
    ok = py_preload:clear_code(),
    ?assertEqual({ok, [1.0, 2.0, 3.0]}, Results),
    ?assertEqual(3, length(contexts(default))).

%% Python code that ends when so many run it.
rendezvous(Count, Name, Config) ->
    Dir = filename:join(proplists:get_value(priv_dir, Config), Name),
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    iolist_to_binary(io_lib:format(
        "import os, time~n"
        "d = ~p~n"
        "open(os.path.join(d, str(os.getpid())), 'w').close()~n"
        "while len(os.listdir(d)) < ~b: time.sleep(0.005)~n", [Dir, Count])).

%% Its start takes as long as the test wants.
the_start_of_a_context_is_part_of_the_time_of_a_request(Config) ->
    Go = held_start(Config),
    ?assertEqual({error, timeout}, py:call(math, sqrt, [16], #{}, 100)),
    ?assertEqual({error, timeout}, py:eval("1", 100)),
    ?assertEqual({error, timeout}, py:parallel([{math, sqrt, [16]} || _ <- [1, 2, 3]], 100)),
    ?assertEqual({error, {gather_failed, [{1, timeout}]}}, py:async_gather([{math, sqrt, [16]}], 100)),
    ok = file:write_file(Go, ""),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

who_does_not_wait_for_an_answer_does_not_wait_for_the_context_either(Config) ->
    Go = held_start(Config),
    Self = self(),
    ok = py:register_function(tell, fun([X]) -> Self ! {told, X}, ok end),
    Refs = [py:spawn_call(math, sqrt, [16]), py:cast(math, sqrt, [16]), py:async_call(math, sqrt, [16])],
    ok = application:set_env(py_port, compat, '4.1'),
    ok = py:cast(erlang, call, [tell, 1]),
    ok = application:unset_env(py_port, compat),
    Request = #{ref => mine, caller => self(), module => math, func => sqrt, args => [16]},
    ok = py_async:run_async(router, Request),
    ?assertEqual([], contexts(default)),
    ok = file:write_file(Go, ""),
    ?assertEqual([{ok, 4.0}, {ok, 4.0}, {ok, 4.0}], [py:await(Ref) || Ref <- Refs]),
    receive {async_result, mine, Mine} -> ?assertEqual({ok, 4.0}, Mine) end,
    receive {told, 1} -> ok end,
    ok = py:unregister_function(tell),
    %% It is that of the caller.
    ?assertEqual([get_context()], contexts(default)).

held_start(Config) ->
    Go = py_port_test:marker(Config, "go"),
    Code = io_lib:format("import os, time~nwhile not os.path.exists(~p): time.sleep(0.005)", [binary_to_list(Go)]),
    ok = py_preload:set_code(Code),
    Go.

many_who_want_the_same_slot_get_the_same_context(_Config) ->
    All = [py_port_test:async(fun() -> get_context(1) end) || _ <- lists:seq(1, 50)],
    ?assertMatch([_], lists:usort([py_port_test:await(One) || One <- All])),
    ?assertMatch([_], py_port:contexts()).

what_does_not_start_is_an_error(_Config) ->
    {error, {start_failed, #{what := init}}} = start_pool(a, 2, #{init => <<"raise ValueError('no')">>}),
    ?assertNot(py_context_router:pool_started(a)),
    ?assertEqual([], py_port:contexts()),
    {ok, []} = start_pool(a, 2, #{init => <<"raise ValueError('no')">>, start => lazy}),
    {error, {start_failed, #{what := init}}} = find(a),
    ?assertError({start_failed, #{what := init}}, get_context(a)).

%% What has been put right is seen at once, however long the pause would be.
a_failed_start_is_tried_again_when_its_cause_may_be_gone(_Config) ->
    {ok, []} = start_pool(a, 1, #{start => lazy}),
    ok = py_preload:set_code("raise ValueError('no')"),
    [{error, {start_failed, #{what := init}}} = find(a) || _ <- lists:seq(1, 50)],
    ok = py_preload:clear_code(),
    ?assertMatch({ok, _}, find(a)).

%% When a context is started it is too late: nobody who asks for one can do anything about it.
a_pool_with_a_wrong_option_is_refused(_Config) ->
    [
        begin
            ?assertMatch({error, {bad_option, Key, _}}, start_pool(a, 1, Options#{start => Start})),
            ?assertNot(py_context_router:pool_started(a))
        end
     || Start <- [eager, lazy],
        {Key, Options} <- [
            {limits, #{limits => foo, memory_limit => 1 bsl 30}},
            {start_timeout, #{start_timeout => -1}},
            {bogus, #{bogus => 1}},
            {name, #{name => x}},
            {nodes, #{nodes => [a | b]}},
            {nodes, #{nodes => []}},
            {preload, #{preload => foo}},
            {init, #{init => {foo, bar}}},
            {mode, #{mode => fast}}
        ]
    ],
    %% Asked for when it is needed.
    {ok, []} = start_pool(a, 1, #{start => lazy, env => fun() -> error(not_yet) end}),
    ?assertMatch({error, {bad_option, env, _}}, find(a)).

%% What has been registered for all contexts reaches it first.
a_context_is_not_chosen_before_it_is_ready(Config) ->
    Go = py_port_test:marker(Config, "go"),
    Self = self(),
    ok = py:register_function(started, fun([]) -> Self ! started, ok end),
    %% It comes when the start of the context has begun, so the context hears of it afterwards.
    Dir = filename:join(proplists:get_value(priv_dir, Config), "late"),
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    ok = file:write_file(filename:join(Dir, "slow_late_module.py"), io_lib:format(
        "import os, time, erlang~nerlang.call('started')~nwhile not os.path.exists(~p): time.sleep(0.005)~n", [binary_to_list(Go)])),
    Begun = py_port_test:marker(Config, "begun"),
    Continue = py_port_test:marker(Config, "continue"),
    Code = io_lib:format("import os, time~nopen(~p, 'w').close()~nwhile not os.path.exists(~p): time.sleep(0.005)", [
        binary_to_list(Begun), binary_to_list(Continue)]),
    Start = py_port_test:async(fun() -> start_pool(a, 1, #{strategy => least_loaded, init => iolist_to_binary(Code)}) end),
    ok = py_port_test:await_file(Begun),
    ok = py_import:add_path(Dir),
    ok = py_import:ensure_imported(slow_late_module),
    ok = file:write_file(Continue, ""),
    receive started -> ok end,
    ?assertMatch([_], py_pool:running()),
    ?assertEqual([{1, starting}], py_pool:loads(py_pool:lookup(a))),
    %% Who asks now waits for this one too: it is not taken for one that has ended, with another one started beside it.
    Finds = [py_port_test:async(fun() -> find(a) end) || _ <- [1, 2]],
    [Keeper] = [K || {slot, {a, 1}, K, _, _, _} <- ets:tab2list(py_pools)],
    ?assert(py_port_test:wait_until(fun() -> length(waiting(Keeper)) =:= 3 end, 20000)),
    ok = file:write_file(Go, ""),
    {ok, [Ctx]} = py_port_test:await(Start),
    ?assertEqual([{ok, Ctx}, {ok, Ctx}], [py_port_test:await(Find) || Find <- Finds]),
    ?assertEqual([Ctx], py_port:contexts()),
    ok = py_import:clear_imports(),
    ok = py_import:clear_paths(),
    ok = py:unregister_function(started).

waiting(Keeper) ->
    {messages, Messages} = process_info(Keeper, messages),
    [From || {'$gen_call', From, {context, _}} <- Messages].

%% After a start that failed the next attempt is some time away, and until then nobody waits.
a_failed_start_is_not_tried_again_at_once(Config) ->
    Counter = py_port_test:marker(Config, "starts"),
    Code = io_lib:format("open(~p, 'a').write('x')~nraise ValueError", [binary_to_list(Counter)]),
    {ok, []} = start_pool(a, 1, #{init => iolist_to_binary(Code), start => lazy}),
    %% The pauses grow: 50, 100, 200, 400, ... ms.
    {error, {start_failed, _}} = find(a),
    Until = erlang:monotonic_time(millisecond) + 500,
    Asked = ask_until(Until, 0),
    {ok, Starts} = file:read_file(Counter),
    ?assert(byte_size(Starts) < 8),
    ?assert(Asked > byte_size(Starts)).

ask_until(Until, N) ->
    {error, {start_failed, _}} = find(a),
    case erlang:monotonic_time(millisecond) < Until of
        true -> ask_until(Until, N + 1);
        false -> N
    end.

%% And then it works again, for whoever asks and for nobody.
a_slot_recovers_when_contexts_start_again(Config) ->
    Broken = py_port_test:marker(Config, "broken"),
    Code = io_lib:format("import os~nif os.path.exists(~p): raise ValueError", [binary_to_list(Broken)]),
    {ok, [Ctx]} = start_pool(a, 1, #{init => iolist_to_binary(Code)}),
    ok = file:write_file(Broken, ""),
    ok = stop_os_process(Ctx),
    ?assert(py_port_test:wait_until(fun() -> element(1, find(a)) =:= error end, 10000)),
    ok = file:delete(Broken),
    %% Nobody asks.
    ?assert(py_port_test:wait_until(fun() -> contexts(a) =/= [] end, 20000)),
    {ok, New} = find(a),
    ?assertEqual({ok, 1}, py_port:eval(New, "1")).

bad_options_are_named(_Config) ->
    ?assertMatch({error, {bad_option, size, _}}, start_pool(a, 0)),
    ?assertMatch({error, {bad_option, pool, _}}, start_pool("a", 1)),
    ?assertMatch({error, {bad_option, mode, _}}, start_pool(a, 1, quick)),
    ?assertMatch({error, {bad_option, strategy, _}}, start_pool(a, 1, #{strategy => best})),
    ?assertMatch({error, {bad_option, strategy, _}}, start_pool(a, 1, #{strategy => {key, x}})),
    ?assertMatch({error, {bad_option, nodes, _}}, start_pool(a, 1, #{nodes => []})),
    ?assertMatch({error, {bad_option, start, _}}, start_pool(a, 1, #{start => soon})),
    ?assertMatch({error, {bad_option, colour, _}}, start_pool(a, 1, #{colour => red})),
    ?assertMatch({error, {bad_option, name, _}}, start_pool(a, 1, #{name => x})),
    {ok, _} = start_pool(a, 1),
    ?assertMatch({error, {bad_option, strategy, _}}, find({a, best})).

a_pool_that_is_not_there_is_an_error(_Config) ->
    ?assertEqual({error, {no_such_pool, nowhere}}, find(nowhere)),
    ?assertEqual({error, {no_such_pool, "a"}}, find("a")),
    ?assertError({no_such_pool, nowhere}, get_context(nowhere)),
    ?assertEqual({error, {no_such_context, 4}}, find(4)),
    ?assertEqual({error, {no_such_context, 0}}, find(0)),
    ?assertEqual([], contexts(nowhere)),
    ?assertEqual(ok, py_context_router:stop_pool(nowhere)).

starting_the_default_pool_gives_its_contexts(_Config) ->
    {ok, Two} = py_context_router:start(#{contexts => 2, mode => worker}),
    ?assertEqual(2, length(Two)),
    ?assertEqual(Two, py_context_router:contexts()),
    ok = py_context_router:stop(),
    ?assertNot(py_context_router:is_started()),
    {ok, Three} = py_context_router:start(),
    ?assertEqual(3, length(Three)).

%% By whoever wants its contexts.
a_pool_that_was_lazy_can_be_started_to_its_end(_Config) ->
    Ctx = get_context(2),
    {ok, [_, Ctx, _]} = py_context_router:start(#{contexts => 17}),
    ?assertEqual(3, py_context_router:num_contexts()).

without_the_application_there_is_no_context(_Config) ->
    Ctx = get_context(),
    ok = py_context_router:bind_context(a, Ctx),
    ok = application:stop(py_port),
    ?assertEqual({error, not_started}, find(default)),
    ?assertEqual({error, not_started}, find(io)),
    ?assertEqual({error, not_started}, start_pool(b, 1)),
    ?assertEqual({error, {no_such_pool, b}}, find(b)),
    ?assertEqual([], py_pool:running()),
    ?assertEqual([], py_context_router:list_pool_registrations()),
    ?assertEqual(default, py_context_router:lookup_pool(math, sqrt)),
    ?assertEqual({error, not_started}, py_context_router:register_pool(a, math)),
    ok = py_port_test:start(),
    %% Who had a context before finds the new ones.
    ?assertEqual({ok, 1}, py_port:eval(get_context(), "1")).

the_io_pool_needs_no_start(_Config) ->
    ok = application:set_env(py_port, io_pool_size, 2),
    Ctx = get_context(io),
    ?assertEqual([Ctx], contexts(io)),
    ?assertEqual(2, py_context_router:num_contexts(io)),
    ?assertNot(py_context_router:is_started()).

two_pools_share_nothing(_Config) ->
    {ok, [A]} = start_pool(a, 1),
    {ok, [B]} = start_pool(b, 1, owngil),
    ok = py_port:exec(A, "x = 1"),
    ?assertMatch({error, {python, #{type := <<"NameError">>}}}, py_port:eval(B, "x")).

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

%% Who gets which ------------------------------------------------------------------------------------------------------

a_process_stays_with_its_context(_Config) ->
    {ok, _} = start_pool(a, 2),
    Ctx = get_context(a),
    ?assertEqual([Ctx], lists:usort([begin erlang:yield(), get_context(a) end || _ <- lists:seq(1, 2000)])).

binding_is_for_one_process_and_one_pool(_Config) ->
    {ok, [A1, A2]} = start_pool(a, 2),
    {ok, [B1, B2]} = start_pool(b, 2),
    ok = py_context_router:bind_context(a, A2),
    ok = py_context_router:bind_context(b, B1),
    ?assertEqual({A2, B1}, {get_context(a), get_context(b)}),
    ok = py_context_router:bind_context(a, A1),
    ?assertEqual({A1, B1}, {get_context(a), get_context(b)}),
    ?assertNotEqual(undefined, in_process(fun() -> get_context(b) end)),
    ?assert(lists:member(in_process(fun() -> get_context(b) end), [B1, B2])),
    Ctx = get_context(1),
    ok = py_context_router:bind_context(Ctx),
    ?assertEqual(Ctx, get_context()),
    ok = py_context_router:unbind_context(),
    ok = py_context_router:unbind_context().

a_smaller_pool_under_the_same_name_serves_who_had_a_slot(_Config) ->
    {ok, Contexts} = start_pool(a, 3),
    ok = py_context_router:bind_context(a, lists:last(Contexts)),
    ok = py_context_router:stop_pool(a),
    {ok, [Only]} = start_pool(a, 1),
    ?assertEqual(Only, get_context(a)),
    ?assertEqual(Only, get_context(a)).

the_same_key_has_the_same_context(_Config) ->
    {ok, Contexts} = start_pool(a, 3),
    Of = maps:from_list([{K, get_context({a, {key, K}})} || K <- lists:seq(1, 30)]),
    ?assertEqual(lists:sort(Contexts), lists:usort(maps:values(Of))),
    ?assertEqual(Of, in_process(fun() -> maps:map(fun(K, _) -> get_context({a, {key, K}}) end, Of) end)),
    %% Its successor, and nobody else moves.
    Lost = maps:get(1, Of),
    ok = stop_os_process(Lost),
    New = get_context({a, {key, 1}}),
    Moved = maps:map(fun(_, C) -> case C of Lost -> New; _ -> C end end, Of),
    ?assertEqual(Moved, maps:map(fun(K, _) -> get_context({a, {key, K}}) end, Of)).

few_keys_move_when_a_pool_grows(_Config) ->
    Keys = lists:seq(1, 4000),
    Of = fun(Size) -> [py_pool_strategy:of_key({session, K}, lists:seq(1, Size)) || K <- Keys] end,
    {Four, Five} = {Of(4), Of(5)},
    ?assertEqual([], [{A, B} || {A, B} <- lists:zip(Four, Five), A =/= B, B =/= 5]),
    %% A fifth of them, give or take.
    Moved = length([5 || 5 <- Five]),
    ?assert(Moved > 600 andalso Moved < 1000).

%% One that has just started is told how logging is configured, which nobody waits for.
idle(Contexts) ->
    [{ok, 2.0} = py_port:call(Ctx, math, sqrt, [4]) || Ctx <- Contexts],
    ok.

the_least_loaded_context_is_chosen(Config) ->
    {ok, Contexts} = start_pool(a, 3, #{strategy => least_loaded, path => [py_port_test:data_dir()]}),
    ok = idle(Contexts),
    Busy = lists:sublist(Contexts, 2),
    Calls = [begin
        Marker = py_port_test:marker(Config, "busy"),
        Call = py_port:async_call(C, probe_calls, sleep_long, [Marker]),
        ok = py_port_test:await_file(Marker),
        Call
    end || C <- Busy],
    Idle = lists:last(Contexts),
    ?assertEqual([Idle], lists:usort([get_context(a) || _ <- lists:seq(1, 20)])),
    _ = [ok = py_port:cancel(Call) || Call <- Calls],
    _ = [py_port:await(Call) || Call <- Calls].

a_least_loaded_pool_starts_another_context_only_when_all_are_busy(Config) ->
    {ok, []} = start_pool(a, 3, #{start => lazy, path => [py_port_test:data_dir()]}),
    First = get_context({a, least_loaded}),
    ok = idle([First]),
    ?assertEqual(First, get_context({a, least_loaded})),
    ?assertEqual([First], contexts(a)),
    Marker = py_port_test:marker(Config, "busy"),
    Call = py_port:async_call(First, probe_calls, sleep_long, [Marker]),
    ok = py_port_test:await_file(Marker),
    Second = get_context({a, least_loaded}),
    ?assertNotEqual(First, Second),
    ?assertEqual(2, length(contexts(a))),
    ok = py_port:cancel(Call),
    _ = py_port:await(Call).

idle_contexts_take_turns(_Config) ->
    {ok, Contexts} = start_pool(a, 3, #{strategy => least_loaded}),
    ok = idle(Contexts),
    ?assertEqual(lists:sort(Contexts), lists:usort([get_context(a) || _ <- lists:seq(1, 9)])).

which_slot_is_least_loaded(_Config) ->
    Of = fun py_pool_strategy:least_loaded/1,
    ?assertEqual(2, Of([{1, 3}, {2, 1}, {3, 2}])),
    ?assertEqual(3, Of([{1, unstarted}, {2, 1}, {3, 0}])),
    ?assertEqual(1, Of([{1, unstarted}, {2, 1}, {3, starting}])),
    ?assertEqual(2, Of([{1, starting}, {2, 100}, {3, starting}])),
    ?assertEqual(1, Of([{1, starting}, {2, starting}])),
    ?assertEqual(2, Of([{2, 0}, {3, 0}, {1, 0}])).

%% Registrations -------------------------------------------------------------------------------------------------------

names_of_any_kind_find_their_pool(_Config) ->
    ok = py_context_router:register_pool(a, numpy),
    ok = py_context_router:register_pool(b, numpy, dot),
    ok = py_context_router:register_pool(b, {<<"os.path">>, "join"}),
    Lookup = fun py_context_router:lookup_pool/2,
    ?assertEqual([a, a, a], [Lookup(M, F) || {M, F} <- [{numpy, sum}, {<<"numpy">>, <<"sum">>}, {"numpy", "sum"}]]),
    ?assertEqual([b, b, b], [Lookup(M, F) || {M, F} <- [{numpy, dot}, {<<"numpy">>, "dot"}, {"numpy", dot}]]),
    ?assertEqual([b, default], [Lookup('os.path', F) || F <- [join, split]]),
    ?assertEqual(default, Lookup(math, sqrt)),
    ?assertEqual(default, Lookup({no, name}, 1)),
    ?assertEqual(
        [{{numpy, '_'}, a}, {{numpy, dot}, b}, {{<<"os.path">>, "join"}, b}],
        lists:sort(py_context_router:list_pool_registrations())
    ),
    ok = py_context_router:unregister_pool("numpy", dot),
    ?assertEqual(a, Lookup(numpy, dot)),
    ok = py_context_router:unregister_pool(<<"numpy">>),
    ?assertEqual(default, Lookup(numpy, dot)),
    ?assertMatch({error, {bad_argument, module, _}}, py_context_router:register_pool(a, 1)),
    ?assertMatch({error, {bad_argument, pool, _}}, py_context_router:register_pool("a", m)).

%% Settings ------------------------------------------------------------------------------------------------------------

settings_may_stand_under_either_name(_Config) ->
    ok = application:unset_env(py_port, num_contexts),
    {ok, #{size := Schedulers}} = py_pool_options:unstarted(default),
    ?assertEqual(erlang:system_info(schedulers), Schedulers),
    try
        ok = application:set_env(erlang_python, default_pool_size, 5),
        ?assertMatch({ok, #{size := 5}}, py_pool_options:unstarted(default)),
        ok = application:set_env(erlang_python, num_contexts, 6),
        ok = application:set_env(erlang_python, context_mode, owngil),
        ?assertMatch({ok, #{size := 6, mode := owngil}}, py_pool_options:unstarted(default)),
        ok = application:set_env(py_port, num_contexts, 7),
        ?assertMatch({ok, #{size := 7}}, py_pool_options:unstarted(default)),
        ok = application:set_env(py_port, num_contexts, many),
        ?assertMatch({error, {bad_option, size, _}}, find(default))
    after
        [application:unset_env(erlang_python, K) || K <- [default_pool_size, num_contexts, context_mode]]
    end.

%% As in a release: the values are there, the application is not.
the_section_erlang_python_of_a_sys_config_counts(Config) ->
    File = filename:join(proplists:get_value(priv_dir, Config), "sys.config"),
    ok = file:write_file(File, "[{erlang_python, [{num_contexts, 11}, {io_pool_size, 12}]}].\n"),
    Given = ["-config", filename:rootname(File)],

    Eval = "{ok, _} = application:ensure_all_started(py_port),"
        "{ok, #{size := A}} = py_pool_options:unstarted(default), {ok, #{size := B}} = py_pool_options:unstarted(io),"
        "io:format(\"~p ~p ~p\", [A, B, lists:keymember(erlang_python, 1, application:loaded_applications())]), halt().",
    ?assertEqual("11 12 true", run_node(Given ++ ["-eval", Eval])),
    ok = file:write_file(File, "[].\n"),
    ?assertEqual(lists:flatten(io_lib:format("~b 10 false", [erlang:system_info(schedulers)])), run_node(Given ++ ["-eval", Eval])).

run_node(Args) ->
    Paths = [P || P <- code:get_path(), string:find(P, "py_port") =/= nomatch],
    Port = open_port({spawn_executable, os:find_executable("erl")}, [
        {args, ["-noshell", "-pa" | Paths] ++ Args}, exit_status, stderr_to_stdout]),
    printed_by(Port, "").

printed_by(Port, Text) ->
    receive
        {Port, {data, More}} -> printed_by(Port, Text ++ More);
        {Port, {exit_status, _}} -> Text
    end.

%% Other nodes ---------------------------------------------------------------------------------------------------------

a_pool_spans_two_nodes(_Config) ->
    IsOurs = py_port_test:distribute(),
    Paths = [P || P <- code:get_path(), string:find(P, "py_port") =/= nomatch],
    {ok, Peer, Node} = peer:start(#{name => peer:random_name(?MODULE), args => ["-pa" | Paths], wait_boot => 60000}),
    try
        {ok, _} = erpc:call(Node, application, ensure_all_started, [py_port]),
        ?assertEqual({error, {no_such_pool, b}}, find({any_node, b})),
        %% Only there: it is called from here, and started there.
        {ok, []} = erpc:call(Node, py_context_router, start_pool, [b, 1, #{start => lazy}]),
        ?assert(py_port_test:wait_until(fun() -> py_pool_nodes:nodes(b, all) =:= [Node] end, 20000)),
        {ok, Far} = find({any_node, b}),
        ?assertEqual(Node, node(Far)),
        ?assertEqual({ok, 4.0}, py_port:call(Far, math, sqrt, [16])),
        ?assertEqual({error, {no_such_pool, b}}, find(b)),
        %% On both.
        {ok, [_, _]} = start_pool(a, 2, #{nodes => all}),
        {ok, [_, _]} = erpc:call(Node, py_context_router, start_pool, [a, 2, #{nodes => all}]),
        ?assert(py_port_test:wait_until(fun() -> length(py_pool_nodes:members(a, Node)) =:= 2 end, 20000)),
        Nodes = lists:sort([node(), Node]),
        ?assertEqual(Nodes, lists:usort([in_process(fun() -> node(get_context(a)) end) || _ <- lists:seq(1, 100)])),
        Mine = get_context(a),
        ?assertEqual([Mine], lists:usort([get_context(a) || _ <- lists:seq(1, 50)])),
        Of = fun(K) -> get_context({a, {key, K}}) end,
        Keys = lists:seq(1, 40),
        ?assertEqual(4, length(lists:usort([Of(K) || K <- Keys]))),
        There = [erpc:call(Node, py_context_router, get_context, [{a, {key, K}}]) || K <- Keys],
        ?assertEqual([Of(K) || K <- Keys], There),
        %% The idle ones of this node come first; when they are busy, the others.
        ?assertEqual(node(), node(get_context({a, least_loaded}))),
        Calls = [py_port:async_call(C, time, sleep, [3600]) || C <- contexts(a)],
        ?assertEqual(Node, node(get_context({a, least_loaded}))),
        _ = [begin ok = py_port:cancel(C), {error, _} = py_port:await(C) end || C <- Calls],
        %% A node that is lost is told, and passed over from then on.
        Lost = py_port:async_call(hd(py_pool_nodes:members(a, Node)), time, sleep, [3600]),
        ok = peer:stop(Peer),
        ?assertEqual({error, {worker_down, {node_down, Node}}}, py_port:await(Lost)),
        ?assertEqual({error, {context_died, {node_down, Node}}}, py_context:call(Far, math, sqrt, [16])),
        ?assert(py_port_test:wait_until(fun() -> py_pool_nodes:nodes(a, all) =:= [node()] end, 20000)),
        ?assertEqual([node()], lists:usort([node(Of(K)) || K <- Keys])),
        ?assertEqual({ok, 1}, py_port:eval(get_context(a), "1"))
    after
        catch peer:stop(Peer),
        _ = IsOurs andalso net_kernel:stop()
    end.

%% Helpers -------------------------------------------------------------------------------------------------------------

in_process(Fun) ->
    py_port_test:await(py_port_test:async(Fun)).

os_pid(Ctx) ->
    py_port_test:os_pid(Ctx).

%% Returns when the context knows.
stop_os_process(Ctx) ->
    Ref = monitor(process, Ctx),
    _ = os:cmd("kill -9 " ++ integer_to_list(os_pid(Ctx))),
    receive
        {'DOWN', Ref, process, Ctx, _} -> ok
    end.
