%% @doc Requests of a context that stand still in several ways at once, and are cancelled, interrupted or left behind
%% meanwhile: each has one end, what it was not meant for goes on, and the context lives.
%% @end
-module(py_port_waits_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(py_port_test, [ctx/1, marker/2, await_file/1]).

suite() -> [{timetrap, {seconds, 20}}].

all() -> py_port_test:cases(?MODULE) -- [running, alive, settled, suite, options, touch, reply, nothing_is_stopped, handle].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) ->
    ok.

init_per_testcase(Case, Config) ->
    _ = process_flag(trap_exit, true),
    [{ctx, py_port_test:context(options(Case))} | Config].

options(an_operation_is_given_up_that_was_not_sent) -> #{io => null, max_callbacks => 1};
options(_) -> #{io => null, kill_after => 1000}.

end_per_testcase(_Case, Config) ->
    _ = [py_port:unregister_function(Name) || Name <- [hold, stay]],
    py_port_test:end_per_testcase(Config).

python(Config, Function, Args) ->
    py_port:call(ctx(Config), probe_waits, Function, Args).

start(Config, Function, Args) ->
    py_port:async_call(ctx(Config), probe_waits, Function, Args).

waiting(Name, Config) ->
    Test = self(),
    ok = py_port:register_function(Name, fun(_) ->
        Test ! {running, Name, self()},
        receive
            {go, What} -> What(ctx(Config))
        end
    end).

running(Name) ->
    receive
        {running, Name, Pid} -> Pid
    after 10000 -> error(nothing_runs)
    end.

%% The job makes a request that descends from it, tells us its handle, and waits for more.
nested(Job, Function, Args) ->
    Test = self(),
    Job ! {go, fun(Ctx) -> serve(Test, Ctx, Function, Args) end},
    handle().

serve(Test, Ctx, Function, Args) ->
    Test ! {handle, py_port:async_call(Ctx, probe_waits, Function, Args)},
    receive
        {go, What} -> What(Ctx)
    end.

handle() ->
    receive
        {handle, Handle} -> Handle
    after 30000 -> error(no_handle)
    end.

touch(Path) ->
    ok = file:write_file(Path, "").

alive(Config) ->
    ?assertEqual({ok, 4.0}, py_port:call(ctx(Config), math, sqrt, [16])).

%% Whatever was to be stopped has ended, and the context has not been killed for it.
settled(Config) ->
    ?assert(py_port_test:wait_until(fun() -> nothing_is_stopped(ctx(Config)) end, 10000)),
    alive(Config).

nothing_is_stopped(Ctx) ->
    maps:get(stopping, py_port:info(Ctx), 0) =:= 0.

%% Loops ---------------------------------------------------------------------------------------------------------------

a_thread_makes_the_loop_while_a_request_runs(Config) ->
    ?assertEqual({ok, 5}, python(Config, coroutine_behind_a_thread, [])),
    alive(Config).

a_request_is_left_behind_by_the_loop_that_ran_it(Config) ->
    ok = waiting(hold, Config),
    Left = marker(Config, "left"),
    Call = start(Config, loop_that_leaves, [<<"hold">>, Left]),
    Started = marker(Config, "started"),
    Job = running(hold),
    Nested = nested(Job, sleep_there, [Started, 3600]),
    ok = await_file(Started),
    ok = touch(Left),
    ?assertEqual({ok, <<"left">>}, py_port:await(Call)),
    ok = py_port:cancel(Nested),
    settled(Config).

%% Cancel --------------------------------------------------------------------------------------------------------------

cancel_of_a_request_with_many_waits_on_a_thread(Config) ->
    ok = waiting(hold, Config),
    ok = waiting(stay, Config),
    Call = start(Config, in_thread, [<<"hold">>]),
    Job = running(hold),
    Nested = nested(Job, ask_both, [<<"stay">>]),
    Stays = [running(stay), running(stay)],
    ok = py_port:cancel(Nested),
    ?assert(py_port_test:wait_until(fun() -> not lists:any(fun is_process_alive/1, Stays) end, 10000)),
    ?assert(py_port_test:wait_until(fun() -> nothing_is_stopped(ctx(Config)) end, 10000)),
    Job ! {go, fun(_) -> 7 end},
    ?assertEqual({ok, [7]}, py_port:await(Call)),
    alive(Config).

cancel_of_a_nested_request_that_its_loop_has_taken_and_not_begun(Config) ->
    ok = waiting(hold, Config),
    Call = start(Config, in_own_loop, [<<"hold">>]),
    Job = running(hold),
    [S0, G0, S1, G1] = [marker(Config, Name) || Name <- ["s0", "g0", "s1", "g1"]],
    _ = nested(Job, until, [S0, G0]),
    ok = await_file(S0),
    First = nested(Job, until, [S1, G1]),
    Second = nested(Job, note, [<<"second">>]),
    pong = py_port:ping(ctx(Config)),
    ok = touch(G0),
    ok = await_file(S1),
    ok = py_port:cancel(Second),
    pong = py_port:ping(ctx(Config)),
    ok = touch(G1),
    Job ! {go, fun(_) -> {ok, <<"over">>} = reply(First), 7 end},
    ?assertEqual({ok, 7}, py_port:await(Call)),
    ?assertEqual({ok, []}, python(Config, notes, [])),
    settled(Config).

reply(Handle) ->
    py_port:await(Handle).

cancel_of_a_nested_request_on_a_loop_of_the_main_thread(Config) ->
    ok = waiting(hold, Config),
    Call = start(Config, in_own_loop, [<<"hold">>]),
    Job = running(hold),
    Started = marker(Config, "started"),
    Nested = nested(Job, sleep_here, [Started, 3600]),
    ok = await_file(Started),
    ok = py_port:cancel(Nested),
    Job ! {go, fun(_) -> 7 end},
    ?assertEqual({ok, 7}, py_port:await(Call)),
    settled(Config).

cancel_of_a_coroutine_that_blocks_below_a_nested_request(Config) ->
    ok = waiting(hold, Config),
    Call = start(Config, blocked, [<<"hold">>]),
    Job = running(hold),
    [Started, Go] = [marker(Config, Name) || Name <- ["started", "go"]],
    _ = nested(Job, until, [Started, Go]),
    ok = await_file(Started),
    ok = py_port:cancel(Call),
    pong = py_port:ping(ctx(Config)),
    ok = touch(Go),
    ?assertEqual({error, cancelled}, py_port:await(Call)),
    settled(Config).

%% Interrupt -----------------------------------------------------------------------------------------------------------

an_interrupt_waits_for_the_coroutine_that_stands_above(Config) ->
    ok = waiting(hold, Config),
    ok = waiting(stay, Config),
    Call = start(Config, call, [<<"hold">>]),
    Job = running(hold),
    _ = nested(Job, blocked, [<<"stay">>]),
    Stay = running(stay),
    ok = py_port:interrupt(ctx(Config)),
    Stay ! {go, fun(_) -> 3 end},
    ?assertEqual({error, interrupted}, py_port:await(Call)),
    ?assertEqual({ok, [3]}, python(Config, notes, [])),
    settled(Config).

%% What only the package's own modules do --------------------------------------------------------------------------------

an_operation_is_given_up_that_was_not_sent(Config) ->
    ok = waiting(hold, Config),
    Large = python(Config, large_argument_of_an_operation_that_waits_for_its_turn, [self(), <<"hold">>]),
    ?assertEqual({ok, [true, true]}, Large),
    receive gone -> ok end.

a_mailbox_is_closed_while_it_is_drained(Config) ->
    ?assertEqual({ok, 1}, python(Config, closed_while_it_is_drained, [])),
    alive(Config).

a_mailbox_is_closed_while_an_operation_for_it_is_made(Config) ->
    ?assertEqual({ok, <<"refused">>}, python(Config, closed_while_an_operation_is_made, [])),
    alive(Config).

a_mailbox_cannot_be_made_by_hand(Config) ->
    ?assertEqual({ok, <<"refused">>}, python(Config, mailbox_by_hand, [])).

%% The end -------------------------------------------------------------------------------------------------------------

daemon_threads_that_wait_do_not_spoil_the_end(Config) ->
    Ctx = ctx(Config),
    ok = py_port:register_function(stay, fun(_) -> 1 end),
    {ok, _} = python(Config, daemons, [<<"stay">>, 20]),
    ?assertEqual(ok, py_port:stop_context(Ctx, 30000)),
    receive {'EXIT', Ctx, Reason} -> ?assertEqual(normal, Reason) end.
