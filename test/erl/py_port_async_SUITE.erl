%% @doc Asynchronous calls: that each handle gets exactly one outcome, whatever happens, and that
%% nothing waits for anything else.
%% @end
-module(py_port_async_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-import(py_port_test, [ctx/1, context/1, marker/2, await_file/1, in_flight/1, wait_until/2]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE).

init_per_testcase(_, Config) ->
    ok = py_port_test:start(),
    [{ctx, context(#{})} | Config].

end_per_testcase(_, Config) ->
    ok = py_port_test:end_per_testcase(Config),
    ?assertEqual([], py_port_test:flush()).

%% Outcomes ------------------------------------------------------------------------------------------------------------

the_value_is_awaited(Config) ->
    Handle = py_port:async_call(ctx(Config), math, sqrt, [16]),
    ?assertEqual({ok, 4.0}, py_port:await(Handle)).

the_outcome_comes_as_a_plain_message(Config) ->
    Handle = py_port:async_call(ctx(Config), math, sqrt, [16]),
    receive
        {py_port_reply, Handle, Outcome} -> ?assertEqual({ok, 4.0}, Outcome)
    end.

keyword_arguments_are_an_option(Config) ->
    Handle = py_port:async_call(ctx(Config), probe_async, add, [1], #{kwargs => #{b => 2}}),
    ?assertEqual({ok, 3}, py_port:await(Handle)).

an_exception_is_an_outcome(Config) ->
    Handle = py_port:async_call(ctx(Config), probe_async, fail, [<<"why">>]),
    ?assertMatch({error, {python, #{type := <<"ValueError">>, message := <<"why">>}}}, py_port:await(Handle)).

a_large_value_arrives_whole(Config) ->
    Big = binary:copy(<<"0123456789abcdef">>, 65536),
    Handle = py_port:async_call(ctx(Config), probe_async, add, [Big], #{kwargs => #{b => <<>>}}),
    ?assertEqual({ok, Big}, py_port:await(Handle)).

an_object_is_held_by_the_caller(Config) ->
    Ctx = ctx(Config),
    {ok, Ref} = py_port:await(py_port:async_call(Ctx, probe_async, 'Kept', [], #{return => ref})),
    ?assertEqual({ok, 42}, py_port:call_method(Ctx, Ref, value, [])),
    ?assertMatch(#{refs := 1}, py_port:info(Ctx)),
    ok = py_port:release(Ref),
    ?assertMatch(#{refs := 0}, py_port:info(Ctx)).

arguments_of_the_wrong_kind_are_returned_at_once(Config) ->
    Ctx = ctx(Config),
    Wrong = fun({error, {bad_argument, Which, _}}) -> Which end,
    ?assertEqual(module, Wrong(py_port:async_call(Ctx, 17, f, []))),
    ?assertEqual(args, Wrong(py_port:async_call(Ctx, math, sqrt, no_list))),
    ?assertEqual(kwargs, Wrong(py_port:async_call(Ctx, math, sqrt, [], #{kwargs => no_map}))),
    ?assertEqual(options, Wrong(py_port:async_call(Ctx, math, sqrt, [], no_map))),
    ?assertEqual(timeout, Wrong(py_port:async_call(Ctx, math, sqrt, [], #{timeout => soon}))),
    ?assertEqual(thread, Wrong(py_port:async_call(Ctx, math, sqrt, [], #{thread => maybe}))),
    ?assertEqual(context, Wrong(py_port:async_call("no context", math, sqrt, []))),
    ?assertEqual(handle, Wrong(py_port:await(no_handle))),
    ?assertEqual(handle, Wrong(py_port:cancel(no_handle))),
    ?assertEqual(handle, Wrong(py_port:gather([no_handle]))),
    ?assertEqual(handles, Wrong(py_port:gather(no_list))).

a_context_that_is_not_there_is_an_outcome(_Config) ->
    Dead = spawn(fun() -> ok end),
    Handle = py_port:async_call(Dead, math, sqrt, [16]),
    ?assertEqual({error, {worker_down, noproc}}, py_port:await(Handle)),
    ok = py_port:cancel(Handle).

too_much_is_an_outcome(_Config) ->
    Ctx = context(#{max_pending => 2, max_frame => 65536}),
    Running = [py_port:async_call(Ctx, probe_async, sleep_then, [3600, 1]) || _ <- [1, 2]],
    ?assertEqual({error, overloaded}, py_port:await(py_port:async_call(Ctx, math, sqrt, [16]))),
    [ok = py_port:cancel(H) || H <- Running],
    [{error, cancelled}, {error, cancelled}] = py_port:gather(Running),
    Huge = py_port:async_call(Ctx, math, sqrt, [binary:copy(<<0>>, 70000)]),
    ?assertMatch({error, {too_large, _, 65536}}, py_port:await(Huge)).

%% Many at once --------------------------------------------------------------------------------------------------------

ten_thousand_sleepers_end_together(Config) ->
    Ctx = ctx(Config),
    {ok, none} = py_port:call(Ctx, asyncio, sleep, [0]),
    Start = erlang:monotonic_time(millisecond),
    Handles = [py_port:async_call(Ctx, probe_async, sleep_then, [0.05, N]) || N <- lists:seq(1, 10000)],
    ?assertEqual([{ok, N} || N <- lists:seq(1, 10000)], py_port:gather(Handles)),
    Took = erlang:monotonic_time(millisecond) - Start,
    ct:pal("10,000 sleeps of 50 ms: ~b ms", [Took]),
    %% one after the other they would take 500 s
    ?assert(Took < 20000),
    ?assertEqual(0, in_flight(Ctx)).

ten_thousand_are_in_flight_at_the_same_time(_Config) ->
    Ctx = context(#{kill_after => 600000}),
    Handles = [py_port:async_call(Ctx, probe_async, sleep_then, [3600, N]) || N <- lists:seq(1, 10000)],
    ?assertEqual(10000, in_flight(Ctx)),
    [ok = py_port:cancel(H) || H <- Handles],
    ?assertEqual(lists:duplicate(10000, {error, cancelled}), py_port:gather(Handles)),
    ?assert(wait_until(fun() -> maps:get(stopping, py_port:info(Ctx)) =:= 0 end, 60000)).

gather_keeps_the_order_of_its_list_whatever_ends_first(Config) ->
    Ctx = ctx(Config),
    Slow = py_port:async_call(Ctx, probe_async, sleep_then, [0.1, slow]),
    Quick = py_port:async_call(Ctx, probe_async, sleep_then, [0, quick]),
    Raises = py_port:async_call(Ctx, probe_async, fail, [<<"x">>]),
    Bad = py_port:async_call(Ctx, 17, f, []),
    Late = py_port:async_call(Ctx, probe_async, sleep_then, [3600, 1], #{timeout => 50}),
    ?assertMatch(
        [
            {ok, <<"slow">>},
            {ok, <<"quick">>},
            {error, {python, _}},
            {error, {bad_argument, module, _}},
            {error, timeout},
            {ok, <<"quick">>}
        ],
        py_port:gather([Slow, Quick, Raises, Bad, Late, Quick])
    ).

a_blocking_function_in_a_thread_does_not_hold_up_the_loop(Config) ->
    Ctx = ctx(Config),
    Blocked = py_port:async_call(Ctx, probe_async, wait_for_gate, [], #{thread => true}),
    ?assertEqual({ok, 1}, py_port:call(Ctx, probe_async, sleep_then, [0, 1])),
    ?assertEqual({error, timeout}, py_port:await(Blocked, 0)),
    {ok, none} = py_port:call(Ctx, probe_async, open_gate, []),
    ?assertEqual({ok, true}, py_port:await(Blocked)),
    ?assertEqual({ok, true}, py_port:call(Ctx, probe_async, block, [0], #{}, #{thread => true})),
    ?assertEqual({ok, false}, py_port:call(Ctx, probe_async, block, [0], #{}, #{thread => false})),
    Options = #{thread => true, kwargs => #{b => 2}},
    ?assertEqual({ok, 3}, py_port:await(py_port:async_call(Ctx, probe_async, add, [1], Options))).

%% Nothing else wakes the worker here.
signals_wake_a_worker_whose_loop_had_handlers_for_some(_Config) ->
    Ctx = context(#{io => self()}),
    Worker = py_port_test:os_pid(Ctx),
    {ok, none} = py_port:call(Ctx, probe_async, print_at_signals, []),
    ok = py_port_trouble:signal(usr1, Worker),
    ?assertEqual({stdout, <<"the loop's">>}, py_port_test:await_line(Ctx)),
    ok = py_port_trouble:signal(usr2, Worker),
    ?assertEqual({stdout, <<"Python's">>}, py_port_test:await_line(Ctx)),
    ?assertEqual({ok, [true, false]}, py_port:call(Ctx, probe_async, print_no_more, [])),
    ok = py_port_trouble:signal(usr2, Worker),
    ?assertEqual({stdout, <<"Python's">>}, py_port_test:await_line(Ctx)).

%% The end of waiting --------------------------------------------------------------------------------------------------

a_wait_that_is_over_can_be_repeated(Config) ->
    Ctx = ctx(Config),
    Handle = py_port:async_call(Ctx, probe_async, wait_for_gate, [], #{thread => true}),
    ?assertEqual({error, timeout}, py_port:await(Handle, 0)),
    ?assertEqual({error, timeout}, py_port:await(Handle, 10)),
    {ok, none} = py_port:call(Ctx, probe_async, open_gate, []),
    ?assertEqual({ok, true}, py_port:await(Handle)).

the_deadline_of_the_call_is_an_outcome_and_stops_it(Config) ->
    Ctx = ctx(Config),
    Started = marker(Config, "started"),
    %% What takes long is done before: the coroutine must have begun when its time is up.
    {ok, 1} = py_port:call(Ctx, probe_async, sleep_then, [0, 1]),
    Handle = py_port:async_call(Ctx, probe_async, until_cancelled, [<<"late">>, Started], #{timeout => 1000}),
    ?assertEqual({error, timeout}, py_port:await(Handle)),
    seen([<<"late cancelled">>, <<"late finally">>], Ctx),
    ?assert(wait_until(fun() -> maps:get(stopping, py_port:info(Ctx)) =:= 0 end, 10000)),
    ?assertMatch(#{last_stop := #{why := timeout, step := cancelled}}, py_port:info(Ctx)).

the_timeout_of_the_context_holds_for_asynchronous_calls(_Config) ->
    Ctx = context(#{call_timeout => 50}),
    ?assertEqual({error, timeout}, py_port:await(py_port:async_call(Ctx, probe_async, sleep_then, [3600, 1]))).

a_cancelled_coroutine_runs_its_finally(Config) ->
    Ctx = ctx(Config),
    Started = marker(Config, "started"),
    Handle = py_port:async_call(Ctx, probe_async, until_cancelled, [<<"c">>, Started]),
    ok = await_file(Started),
    ok = py_port:cancel(Handle),
    ?assertEqual({error, cancelled}, py_port:await(Handle)),
    seen([<<"c cancelled">>, <<"c finally">>], Ctx),
    ?assert(wait_until(fun() -> maps:get(stopping, py_port:info(Ctx)) =:= 0 end, 10000)),
    ?assertMatch(#{last_stop := #{why := cancelled, step := cancelled}}, py_port:info(Ctx)).

%% The interrupt has stopped it: a cancel on top of that would break off its `finally'.
a_coroutine_that_is_interrupted_cleans_up(Config) ->
    Ctx = ctx(Config),
    Started = marker(Config, "started"),
    Handle = py_port:async_call(Ctx, probe_async, busy_until_cancelled, [Started]),
    ok = await_file(Started),
    ok = py_port:cancel(Handle),
    ?assertEqual({error, cancelled}, py_port:await(Handle)),
    seen([<<"cleaned up">>], Ctx).

another_process_can_cancel(Config) ->
    Handle = py_port:async_call(ctx(Config), probe_async, sleep_then, [3600, 1]),
    ok = py_port_test:await(py_port_test:async(fun() -> py_port:cancel(Handle) end)),
    ?assertEqual({error, cancelled}, py_port:await(Handle)).

a_handle_with_another_reference_cancels_nothing(Config) ->
    Ctx = ctx(Config),
    {'$py_async', _, Owner, Id} = Handle = py_port:async_call(Ctx, probe_async, sleep_then, [0.1, 1]),
    ok = py_port:cancel({'$py_async', make_ref(), Owner, Id}),
    ?assertEqual({ok, 1}, py_port:await(Handle)).

a_cancel_after_the_answer_changes_nothing(Config) ->
    Ctx = ctx(Config),
    Handle = py_port:async_call(Ctx, math, sqrt, [16]),
    {ok, 4.0} = py_port:call(Ctx, math, sqrt, [16]),
    ok = py_port:cancel(Handle),
    ?assertEqual({ok, 4.0}, py_port:await(Handle)),
    ok = py_port:cancel(Handle),
    ?assertEqual(pong, py_port:ping(Ctx)).

the_death_of_the_caller_cancels(Config) ->
    Ctx = ctx(Config),
    Started = marker(Config, "started"),
    Caller = spawn(fun() ->
        _ = py_port:async_call(Ctx, probe_async, until_cancelled, [<<"d">>, Started]),
        receive
            never -> ok
        end
    end),
    ok = await_file(Started),
    true = exit(Caller, kill),
    seen([<<"d cancelled">>, <<"d finally">>], Ctx).

%% The end of the worker -----------------------------------------------------------------------------------------------

the_end_of_the_worker_answers_a_thousand_at_once(_Config) ->
    Ctx = context(#{link => false}),
    Handles = [py_port:async_call(Ctx, probe_async, sleep_then, [3600, N]) || N <- lists:seq(1, 1000)],
    Last = py_port:async_call(Ctx, os, '_exit', [7]),
    [Outcome | _] = Outcomes = py_port:gather(Handles ++ [Last]),
    ?assertMatch({error, {worker_down, {worker_exited, 7, #{in_flight := #{count := 1001}}}}}, Outcome),
    ?assertEqual(lists:duplicate(1001, Outcome), Outcomes).

answers_that_came_before_the_end_are_not_lost(_Config) ->
    Ctx = context(#{link => false}),
    Done = [py_port:async_call(Ctx, probe_async, add, [N]) || N <- lists:seq(1, 2000)],
    %% the worker runs plain calls in order, so by now the context has had all those answers
    {ok, 4.0} = py_port:call(Ctx, math, sqrt, [16]),
    ok = py_port:stop_context(Ctx, 0),
    Messages = py_port_test:flush(),
    ?assertEqual([{py_port_reply, H, {ok, N}} || {H, N} <- lists:zip(Done, lists:seq(1, 2000))], Messages).

the_end_in_order_is_an_outcome(Config) ->
    Ctx = ctx(Config),
    true = unlink(Ctx),
    Handle = py_port:async_call(Ctx, probe_async, sleep_then, [3600, 1]),
    ok = py_port:stop_context(Ctx, 0),
    ?assertEqual({error, {worker_down, stopped}}, py_port:await(Handle)).

a_context_that_is_killed_is_told_by_await(_Config) ->
    Ctx = context(#{link => false}),
    Handles = [py_port:async_call(Ctx, probe_async, sleep_then, [3600, N]) || N <- [1, 2]],
    true = exit(Ctx, kill),
    [First | Rest] = Handles,
    ?assertEqual({error, {worker_down, killed}}, py_port:await(First)),
    ?assertEqual([{error, {worker_down, killed}}], py_port:gather(Rest)).

%% Calls that are made while the context ends: each has one outcome, as a message of its own.
calls_made_while_the_context_ends_have_one_outcome_each(_Config) ->
    Ctx = context(#{link => false}),
    Self = self(),
    Pids = [
        spawn_link(fun() ->
            Handles = [py_port:async_call(Ctx, probe_async, add, [N]) || N <- lists:seq(1, 300)],
            Outcomes = [
                receive
                    {py_port_reply, H, Outcome} -> Outcome
                after 30000 -> {H, erlang:process_info(self(), messages)}
                end
             || H <- Handles
            ],
            Self ! {self(), Outcomes, py_port_test:flush()}
        end)
     || _ <- lists:seq(1, 8)
    ],
    {ok, _} = py_port:call(Ctx, math, sqrt, [16]),
    ok = py_port:stop_context(Ctx, 0),
    [
        receive
            {Pid, Outcomes, Rest} ->
                ?assertEqual([], Rest),
                Wrong = [O || O <- Outcomes, not is_fine(O)],
                ?assertEqual([], Wrong)
        end
     || Pid <- Pids
    ].

is_fine({ok, N}) when is_integer(N) -> true;
is_fine({error, {worker_down, _}}) -> true;
is_fine(_) -> false.

%% Another node --------------------------------------------------------------------------------------------------------

a_context_on_another_node_is_called_too(Config) ->
    IsOurs = py_port_test:distribute(),
    Paths = [P || P <- code:get_path(), string:find(P, "py_port") =/= nomatch],
    {ok, Peer, Node} = peer:start(#{name => peer:random_name(?MODULE), args => ["-pa" | Paths], wait_boot => 60000}),
    try
        {ok, _} = erpc:call(Node, application, ensure_all_started, [py_port]),
        Options = #{link => false, path => [py_port_test:data_dir()]},
        {ok, Far} = erpc:call(Node, py_port, start_context, [Options]),
        ?assertEqual({ok, 3}, py_port:await(py_port:async_call(Far, probe_async, add, [1], #{kwargs => #{b => 2}}))),
        {ok, Ref} = py_port:await(py_port:async_call(Far, probe_async, 'Kept', [], #{return => ref})),
        ?assertEqual({ok, 42}, py_port:call_method(Far, Ref, value, [])),
        Started = marker(Config, "started"),
        Cancelled = py_port:async_call(Far, probe_async, until_cancelled, [<<"far">>, Started]),
        ok = await_file(Started),
        ok = py_port:cancel(Cancelled),
        ?assertEqual({error, cancelled}, py_port:await(Cancelled)),
        seen([<<"far cancelled">>, <<"far finally">>], Far),
        {ok, Stream} = py_port:stream(Far, builtins, range, [10000]),
        ?assertEqual({ok, lists:seq(0, 9999)}, py_port:to_list(Stream)),
        Lost = py_port:async_call(Far, probe_async, sleep_then, [3600, 1]),
        ok = peer:stop(Peer),
        ?assertEqual({error, {worker_down, {node_down, Node}}}, py_port:await(Lost))
    after
        catch peer:stop(Peer),
        _ = IsOurs andalso net_kernel:stop()
    end.

%% Helpers -------------------------------------------------------------------------------------------------------------

seen(Expected, Ctx) ->
    ?assert(
        wait_until(fun() -> py_port:call(Ctx, probe_async, what_was_seen, []) =:= {ok, Expected} end, 10000)
    ).
