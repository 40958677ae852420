%% @doc Erlang calls Python calls Erlang calls Python, in one context: from synchronous code, threads and coroutines, to any
%% depth that is allowed, while others wait for their turn. Nothing waits for itself, nothing runs twice.
%% @end
-module(py_port_reentry_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("../../erl_src/py_port.hrl").

-import(py_port_test, [async/1, await/1, ctx/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- helpers().

helpers() -> [running, nodes_in, ids, tree, settled, normal_none].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) ->
    ok.

init_per_testcase(_Case, Config) ->
    _ = process_flag(trap_exit, true),
    [{ctx, py_port_test:context(#{io => null})} | Config].

end_per_testcase(_Case, Config) ->
    _ = [py_port:unregister_function(Name) || {Name, _} <- ets:tab2list(?FUNCTIONS)],
    Result = py_port_test:end_per_testcase(Config),
    ?assertEqual([], ets:tab2list(?JOBS)),
    Result.

python(Config, Function, Args) ->
    py_port:call(ctx(Config), probe_reentry, Function, Args).

waiting(Name, Config) ->
    Test = self(),
    ok = py_port:register_function(Name, fun(Args) ->
        Test ! {running, self(), Args},
        receive
            {go, What} -> What(ctx(Config))
        end
    end).

running() ->
    receive
        {running, Pid, _} -> Pid
    after 60000 -> error(nothing_runs)
    end.

%% Depth ---------------------------------------------------------------------------------------------------------------

descend(Config, Function) ->
    Ctx = ctx(Config),
    ok = py_port:register_function(Function, fun([N]) ->
        case py_port:call(Ctx, probe_reentry, Function, [N]) of
            {ok, Value} -> Value;
            Error -> {below, Error}
        end
    end).

a_hundred_levels_are_allowed_and_one_more_is_not(Config) ->
    ok = descend(Config, down),
    ?assertEqual({ok, 100}, python(Config, down, [100])),
    ?assertEqual({ok, {<<"below">>, {<<"error">>, {<<"nesting_too_deep">>, 100}}}}, python(Config, down, [101])),
    ?assertEqual({ok, 100}, python(Config, down, [100])),
    Why = {error, {nesting_too_deep, 100}},
    ?assertMatch(<<"Erlang and Python called each other more than 100 deep", _/binary>>, py_port:format_error(Why)).

a_hundred_levels_of_coroutines(Config) ->
    ok = descend(Config, down_async),
    ?assertEqual({ok, 100}, python(Config, down_async, [100])),
    ?assertEqual({ok, {<<"below">>, {<<"error">>, {<<"nesting_too_deep">>, 100}}}}, python(Config, down_async, [101])).

%% From every kind of process of Erlang and every kind of code of Python ------------------------------------------------

whoever_descends_from_a_callback_gets_through(Config) ->
    Ctx = ctx(Config),
    Ask = fun() -> py_port:call(Ctx, math, sqrt, [16]) end,
    [
        begin
            ok = py_port:register_function(ask, fun([]) ->
                {ok, V} = How(),
                V
            end),
            ?assertEqual({N, F, {ok, 4.0}}, {N, F, python(Config, F, [<<"ask">>])})
        end
     || F <- [call, async_call],
        {N, How} <- lists:enumerate([
            Ask,
            fun() -> await(async(Ask)) end,
            fun() -> await(async(fun() -> await(async(Ask)) end)) end
        ])
    ].

others_wait_for_their_turn_and_get_it(Config) ->
    ok = waiting(hold, Config),
    Outer = async(fun() -> python(Config, noted_call, [<<"outer begins">>, <<"hold">>, <<"outer ends">>]) end),
    Job = running(),
    Others = [async(fun() -> python(Config, note, [<<"other">>]) end) || _ <- lists:seq(1, 10)],
    true = py_port_test:wait_until(fun() -> py_port_test:in_flight(ctx(Config)) =:= 11 end, 60000),
    Job ! {go, fun(Ctx) -> py_port:call(Ctx, probe_reentry, note, [<<"nested">>]) end},
    ?assertMatch({ok, _}, await(Outer)),
    ?assertEqual([{ok, none}], lists:usort([normal_none(await(O)) || O <- Others])),
    {ok, Notes} = python(Config, take_notes, []),
    ?assertEqual(
        [<<"outer begins">>, <<"nested">>, <<"outer ends">> | lists:duplicate(10, <<"other">>)],
        Notes
    ).

normal_none({ok, None}) when None =:= none; None =:= nil; None =:= undefined -> {ok, none};
normal_none(Other) -> Other.

%% A and B call each other; each has one main thread.
two_contexts_call_each_other_to_and_fro(Config) ->
    A = ctx(Config),
    B = py_port_test:context(#{io => null}),
    ok = py_port:register_function(bounce, fun
        ([0]) ->
            <<"end">>;
        ([N]) ->
            #{context := From} = py_port:caller(),
            [To] = [A, B] -- [From],
            {ok, Result} = py_port:call(To, probe_reentry, call, [<<"bounce">>, N - 1]),
            Result
    end),
    ?assertEqual({ok, <<"end">>}, python(Config, call, [<<"bounce">>, 20])).

%% Many ----------------------------------------------------------------------------------------------------------------

two_hundred_threads_get_their_own_answers(Config) ->
    ok = py_port:register_function(same, fun([X]) -> X end),
    ?assertEqual({ok, []}, python(Config, many_threads, [200, 20])).

ten_thousand_tasks_get_their_own_answers(Config) ->
    ok = py_port:register_function(same, fun([X]) -> X end),
    ?assertEqual({ok, true}, python(Config, many_tasks, [10000])).

more_than_the_credit_queue_in_the_worker(_Config) ->
    Ctx = py_port_test:context(#{io => null, max_callbacks => 3}),
    ok = py_port:register_function(same, fun([X]) -> X end),
    ?assertEqual({ok, true}, py_port:call(Ctx, probe_reentry, many_tasks, [2000])),
    ?assertEqual({ok, []}, py_port:call(Ctx, probe_reentry, many_threads, [50, 20])).

%% Callbacks that wait for what is nested in them hold all the credit that there is.
more_nested_calls_than_the_credit_end_all_the_same(_Config) ->
    Ctx = py_port_test:context(#{io => null, max_callbacks => 3}),
    ok = py_port:register_function(same, fun([X]) -> X end),
    ok = py_port:register_function(below, fun([]) ->
        {ok, X} = py_port:call(Ctx, '__main__', inner, []),
        X
    end),
    ok = py_port:exec(
        Ctx,
        "import asyncio, erlang\n"
        "def inner(): return erlang.call('same', 7)\n"
        "async def outer(n): return await asyncio.gather(*(erlang.async_call('below') for _ in range(n)))\n"
    ),
    ?assertEqual({ok, lists:duplicate(20, 7)}, py_port:call(Ctx, '__main__', outer, [20], #{}, #{timeout => 60000})).

%% Processes that are watched for long hold it.
more_monitors_than_the_credit_keep_no_call_back(_Config) ->
    Ctx = py_port_test:context(#{io => null, max_callbacks => 3}),
    ok = py_port:register_function(same, fun([X]) -> X end),
    ok = py_port:exec(
        Ctx,
        "import erlang\n"
        "def watch(pid):\n"
        "    kept = [erlang.monitor(pid, print) for _ in range(5)]\n"
        "    return erlang.call('same', 7, timeout=60)\n"
    ),
    ?assertEqual({ok, 7}, py_port:call(Ctx, '__main__', watch, [self()])).

%% So do receives from an empty channel, and sends to one that is full: neither keeps back what ends the other.
more_receives_or_sends_than_the_credit_meet_all_the_same(_Config) ->
    Ctx = py_port_test:context(#{io => null, max_callbacks => 3}),
    {Owner, _} = spawn_monitor(fun() -> receive stop -> ok end end),
    {ok, Channel} = py_port_channel:new(#{capacity => 1, owner => Owner}),
    ok = py_port:exec(
        Ctx,
        "import asyncio, erlang\n"
        "async def meet(value, first, second):\n"
        "    ends = [erlang.Channel(value) for _ in range(8)]\n"
        "    do = {'send': lambda c: c.async_send(7), 'receive': lambda c: c.async_receive()}\n"
        "    early = [asyncio.ensure_future(do[first](c)) for c in ends]\n"
        "    await asyncio.sleep(0)\n"
        "    return len(await asyncio.gather(*early, *(do[second](c) for c in ends)))\n"
    ),
    [
        ?assertEqual({ok, 16}, py_port:call(Ctx, '__main__', meet, [Channel | Order], #{}, #{timeout => 60000}))
     || Order <- [[send, 'receive'], ['receive', send]]
    ],
    Owner ! stop,
    receive {'DOWN', _, process, Owner, normal} -> ok end.

%% A failure prints the seed.
a_random_mix_runs_everything_once(Config) ->
    Ctx = ctx(Config),
    Seed = rand:seed(exsss, erlang:unique_integer([positive])),
    ct:pal("seed ~p", [rand:export_seed_s(Seed)]),
    ok = py_port:register_function(node, fun([Tree]) -> run_node(Ctx, Tree) end),
    [
        begin
            Trees = [tree(4) || _ <- lists:seq(1, 4)],
            Running = [async(fun() -> run_node(Ctx, T) end) || T <- Trees],
            ?assertEqual([nodes_in(T) || T <- Trees], [await(R) || R <- Running]),
            {ok, Ran} = python(Config, take_notes, []),
            ?assertEqual(lists:sort(lists:append([ids(T) || T <- Trees])), lists:sort(Ran))
        end
     || _ <- lists:seq(1, 25)
    ],
    ?assertMatch(#{in_flight := 0, callbacks := 0}, settled(Ctx)).

settled(Ctx) ->
    _ = py_port_test:wait_until(fun() -> maps:get(callbacks, py_port:info(Ctx)) =:= 0 end, 60000),
    py_port:info(Ctx).

tree(Depth) ->
    Children = [tree(Depth - 1) || Depth > 0, _ <- lists:seq(1, rand:uniform(3) - 1)],
    [erlang:unique_integer([positive]), Children].

nodes_in([_, Children]) -> 1 + lists:sum([nodes_in(C) || C <- Children]).

ids([Id, Children]) -> [Id | lists:append([ids(C) || C <- Children])].

%% Which kind a node is, and who asks, follows from its id.
run_node(Ctx, [Id, _] = Tree) ->
    Function = lists:nth(Id rem 3 + 1, [sync_node, thread_node, task_node]),
    Ask = fun() ->
        {ok, N} = py_port:call(Ctx, probe_reentry, Function, [Tree]),
        N
    end,
    case Id rem 2 of
        0 -> Ask();
        1 -> await(async(Ask))
    end.

%% Ends ----------------------------------------------------------------------------------------------------------------

failures_have_names_in_python(Config) ->
    ok = py_port:register_function(boom, fun(_) -> error(boom) end),
    ok = waiting(killed, Config),
    ?assertMatch({ok, [<<"FunctionNotFound">>, _, _]}, python(Config, failure, [<<"nope">>])),
    ?assertMatch({ok, [<<"CallError">>, true, _]}, python(Config, failure, [<<"boom">>])),
    Killed = async(fun() -> python(Config, failure, [<<"killed">>]) end),
    exit(running(), kill),
    ?assertMatch({ok, [<<"CallError">>, true, _]}, await(Killed)).

a_call_that_takes_too_long_ends_its_job(Config) ->
    ok = waiting(stay, Config),
    ?assertMatch(
        {ok, [<<"TimeoutError">> | _]},
        py_port:call(ctx(Config), probe_reentry, failure, [<<"stay">>], #{timeout => 2.0})
    ),
    Job = running(),
    ?assert(py_port_test:wait_until(fun() -> not is_process_alive(Job) end, 60000)),
    ?assertMatch(#{callbacks := 0}, settled(ctx(Config))).

a_task_that_is_cancelled_ends_its_job(Config) ->
    ok = waiting(stay, Config),
    ok = waiting(all_there, Config),
    Call = async(fun() -> python(Config, cancelled, []) end),
    %% in either order
    Jobs = [receive {running, Pid, Args} -> {Args, Pid} end || _ <- [1, 2]],
    {_, Stay} = lists:keyfind([0], 1, Jobs),
    {_, There} = lists:keyfind([], 1, Jobs),
    There ! {go, fun(_) -> ok end},
    ?assertEqual({ok, <<"cancelled">>}, await(Call)),
    ?assert(py_port_test:wait_until(fun() -> not is_process_alive(Stay) end, 60000)).

the_deadline_of_a_call_is_that_of_its_callbacks(Config) ->
    Ctx = ctx(Config),
    ok = py_port:register_function(left, fun([]) ->
        #{remaining := Ms} = py_port:caller(),
        Ms
    end),
    {ok, Left} = py_port:call(Ctx, probe_reentry, call, [<<"left">>], #{}, #{timeout => 50000}),
    ?assert(Left > 0 andalso Left =< 50000),
    ok = py_port:register_function(left, fun([]) -> atom_to_binary(maps:get(remaining, py_port:caller())) end),
    ?assertEqual({ok, <<"infinity">>}, python(Config, call, [<<"left">>])),
    %% and what times out in the middle leaves nothing behind
    ok = waiting(stay, Config),
    %% (the callback has the deadline of its call, so either of the two may notice first)
    case py_port:call(Ctx, probe_reentry, call, [<<"stay">>], #{}, #{timeout => 2000}) of
        {error, timeout} -> ok;
        {error, {python, #{type := <<"TimeoutError">>}}} -> ok
    end,
    Job = running(),
    ?assert(py_port_test:wait_until(fun() -> not is_process_alive(Job) end, 60000)),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])).

a_thousand_calls_are_out_when_the_worker_ends(Config) ->
    ok = waiting(stay, Config),
    ok = waiting(all_there, Config),
    Call = async(fun() -> python(Config, stay_and_exit, [1000]) end),
    Jobs = [receive {running, Pid, Args} -> {Args, Pid} end || _ <- lists:seq(1, 1001)],
    {_, There} = lists:keyfind([], 1, Jobs),
    There ! {go, fun(_) -> ok end},
    ?assertMatch({error, {worker_down, {worker_exited, 6, _}}}, await(Call)),
    ?assertEqual([], [P || {_, P} <- Jobs, is_process_alive(P)]),
    ?assertEqual([], ets:tab2list(?JOBS)).

what_runs_while_the_context_stops_may_still_ask(Config) ->
    ok = waiting(hold, Config),
    Call = async(fun() -> python(Config, call, [<<"hold">>]) end),
    Job = running(),
    Stop = async(fun() -> py_port:stop_context(ctx(Config), 60000) end),
    {ok, #ctx{counters = Counters}} = py_port_registry:lookup(ctx(Config)),
    true = py_port_test:wait_until(fun() -> atomics:get(Counters, ?C_DRAINING) =:= 1 end, 60000),
    ?assertEqual({error, {worker_down, stopped}}, python(Config, note, [1])),
    Job ! {go, fun(Ctx) ->
        {ok, 4.0} = py_port:call(Ctx, math, sqrt, [16]),
        5
    end},
    ?assertEqual({ok, 5}, await(Call)),
    ?assertEqual(ok, await(Stop)).

%% The main thread sleeps then, and nothing else wakes it when the last of them has ended on a loop of another thread.
a_stop_is_over_with_what_another_threads_loop_was_asked_for(Config) ->
    Path = filename:join(?config(priv_dir, Config), "let_go"),
    ok = waiting(hold, Config),
    {ok, none} = python(Config, call_on_a_loop_that_stays, [<<"hold">>]),
    Job = running(),
    Job ! {go, fun(Ctx) ->
        {ok, none} = py_port:call(Ctx, probe_reentry, until_exists, [list_to_binary(Path)]),
        none
    end},
    true = py_port_test:wait_until(fun() -> maps:get(tasks, py_port:info(ctx(Config))) =:= 1 end, 60000),
    Began = erlang:monotonic_time(millisecond),
    Stop = async(fun() -> py_port:stop_context(ctx(Config), 60000) end),
    {ok, #ctx{counters = Counters}} = py_port_registry:lookup(ctx(Config)),
    true = py_port_test:wait_until(fun() -> atomics:get(Counters, ?C_DRAINING) =:= 1 end, 60000),
    ok = file:write_file(Path, <<>>),
    ?assertEqual(ok, await(Stop)),
    ?assert(erlang:monotonic_time(millisecond) - Began < 30000).

%% The last quarter of the grace begins while a coroutine keeps the loop busy, and then nothing happens any more.
what_is_left_is_cancelled_also_if_its_time_comes_during_a_step(Config) ->
    Path = filename:join(?config(priv_dir, Config), "cleaned_up"),
    Call = async(fun() -> python(Config, busy_after, [5.9, list_to_binary(Path)]) end),
    true = py_port_test:wait_until(fun() -> maps:get(tasks, py_port:info(ctx(Config))) =:= 1 end, 60000),
    ok = py_port:stop_context(ctx(Config), 8000),
    ?assertMatch({error, _}, await(Call)),
    ?assert(filelib:is_regular(Path)).

a_function_removed_while_it_runs_finishes(Config) ->
    ok = waiting(stay, Config),
    Call = async(fun() -> python(Config, call, [<<"stay">>]) end),
    Job = running(),
    ok = py_port:unregister_function(stay),
    Job ! {go, fun(_) -> 5 end},
    ?assertEqual({ok, 5}, await(Call)),
    ?assertMatch({ok, [<<"FunctionNotFound">> | _]}, python(Config, failure, [<<"stay">>])).
