%% @doc Pools start their contexts when they are needed, and at the same time; what cannot be started is an error, and tried again.
%% @end
-module(py_pool_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(py_context_router, [get_context/0, get_context/1, find/1, start_pool/2, start_pool/3, contexts/1]).
-import(py_pool_bed, [os_pid/1, stop_os_process/1]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> py_port_test:cases(?MODULE) -- [held_start, waiting].

init_per_suite(Config) -> py_pool_bed:init_per_suite(Config).

end_per_suite(Config) -> py_pool_bed:end_per_suite(Config).

init_per_testcase(Case, Config) -> py_pool_bed:init_per_testcase(Case, Config).

end_per_testcase(Case, Config) -> py_pool_bed:end_per_testcase(Case, Config).

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
