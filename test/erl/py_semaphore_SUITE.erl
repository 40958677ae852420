%% @doc The semaphore: never more than there are slots, first come first served, and no slot is lost whoever dies when.
%% @end
-module(py_semaphore_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(py_semaphore, [acquire/0, acquire/1, release/0, current/0, max_concurrent/0, set_max_concurrent/1]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> py_port_test:cases(?MODULE) -- [take_and_drop, got, gone].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    [{max, max_concurrent()} | Config].

end_per_suite(Config) ->
    set_max_concurrent(proplists:get_value(max, Config)).

end_per_testcase(_Case, _Config) ->
    ?assert(py_port_test:wait_until(fun() -> current() =:= 0 end, 10000)),
    ?assertEqual([], py_port_test:flush()).

there_are_two_slots_for_each_scheduler_and_one(Config) ->
    ?assertEqual(2 * erlang:system_info(schedulers) + 1, proplists:get_value(max, Config)),
    ok = py_semaphore:init(),
    ?assertEqual(0, current()).

what_is_taken_counts_until_it_is_given_back(_Config) ->
    ok = set_max_concurrent(3),
    ?assertEqual(3, max_concurrent()),
    ?assertEqual([ok, ok, ok], [acquire(), acquire(100), acquire(infinity)]),
    ?assertEqual(3, current()),
    ?assertEqual({error, {overloaded, 3, 3}}, acquire()),
    ?assertEqual({error, max_concurrent}, acquire(0)),
    ?assertEqual({error, max_concurrent}, acquire(10)),
    ok = release(),
    ?assertEqual(2, current()),
    ok = acquire(),
    [ok, ok, ok] = [release() || _ <- [1, 2, 3]],
    ?assertEqual(0, current()),
    %% Who holds none has none to give back.
    ok = release(),
    ?assertEqual(0, current()).

who_waits_gets_the_slot_that_is_given_back(_Config) ->
    ok = set_max_concurrent(1),
    ok = acquire(),
    Waiting = [waiting() || _ <- [1, 2, 3]],
    ok = release(),
    %% In the order in which they came, one after the other.
    _ = [begin got(W), ?assertEqual(1, current()), W ! go, gone(W) end || W <- Waiting].

%% Returns when it stands in line.
waiting() ->
    Self = self(),
    Before = queue_length(),
    {Pid, _} = spawn_monitor(fun() ->
        ok = acquire(60000),
        Self ! {self(), got},
        receive go -> ok = release() end
    end),
    ?assert(py_port_test:wait_until(fun() -> queue_length() =:= Before + 1 end, 10000)),
    Pid.

got(Pid) ->
    receive {Pid, got} -> ok after 10000 -> error(nothing_came) end.

gone(Pid) ->
    receive {'DOWN', _, process, Pid, _} -> ok after 10000 -> error(still_there) end.

queue_length() ->
    map_size(element(3, sys:get_state(py_semaphore, 60000))).

a_holder_that_is_killed_gives_back_all_it_had(_Config) ->
    ok = set_max_concurrent(2),
    Self = self(),
    {Holder, _} = spawn_monitor(fun() ->
        [ok, ok] = [acquire(), acquire()],
        Self ! {self(), got},
        receive never -> ok end
    end),
    ok = got(Holder),
    Next = waiting(),
    true = exit(Holder, kill),
    ok = gone(Holder),
    ok = got(Next),
    Next ! go,
    ok = gone(Next).

who_dies_while_it_waits_leaves_the_line(_Config) ->
    ok = set_max_concurrent(1),
    ok = acquire(),
    First = waiting(),
    Second = waiting(),
    true = exit(First, kill),
    ok = gone(First),
    ok = release(),
    ok = got(Second),
    Second ! go,
    ok = gone(Second).

who_gives_up_leaves_the_line(_Config) ->
    ok = set_max_concurrent(1),
    ok = acquire(),
    ?assertEqual({error, max_concurrent}, py_port_test:await(py_port_test:async(fun() -> acquire(20) end))),
    ?assertEqual(0, queue_length()),
    ok = release().

%% Of those who gave up nothing piles up, although no slot becomes free.
a_thousand_who_give_up_are_forgotten(_Config) ->
    ok = set_max_concurrent(1),
    ok = acquire(),
    All = [py_port_test:async(fun() -> acquire(1) end) || _ <- lists:seq(1, 1000)],
    ?assertEqual([{error, max_concurrent}], lists:usort([py_port_test:await(One) || One <- All])),
    ?assert(queue:len(element(2, sys:get_state(py_semaphore, 60000))) < 250),
    ok = release().

more_slots_serve_who_waits(_Config) ->
    ok = set_max_concurrent(1),
    ok = acquire(),
    Next = waiting(),
    ok = set_max_concurrent(2),
    ok = got(Next),
    ok = set_max_concurrent(1),
    ?assertEqual(2, current()),
    Next ! go,
    ok = gone(Next),
    ?assertMatch({error, {overloaded, 1, 1}}, acquire()),
    ok = release().

%% Whoever is refused was refused because all slots were held.
exactly_as_many_as_there_are_slots(_Config) ->
    ok = set_max_concurrent(10),
    Self = self(),
    All = [element(1, spawn_monitor(fun() ->
        receive start -> ok end,
        Self ! {self(), acquire()},
        receive go -> ok end
    end)) || _ <- lists:seq(1, 60)],
    _ = [Pid ! start || Pid <- All],
    Results = [receive {Pid, Result} -> Result end || Pid <- All],
    ?assertEqual(10, length([ok || ok <- Results])),
    ?assertEqual(10, current()),
    _ = [begin Pid ! go, gone(Pid) end || Pid <- All].

%% Killed at any moment: while they take, hold, wait and give back.
no_slot_is_lost_whoever_is_killed(_Config) ->
    ok = set_max_concurrent(5),
    Over = counters:new(1, []),
    Work = fun() -> spawn_monitor(fun() -> take_and_drop(Over) end) end,
    End = erlang:monotonic_time(millisecond) + 3000,
    ok = kill_some([Work() || _ <- lists:seq(1, 20)], Work, End, 0),
    ?assertEqual(0, counters:get(Over, 1)),
    %% Tens of thousands have died, and their ends are still in its mailbox.
    ?assert(py_port_test:wait_until(fun() -> current() =:= 0 end, 60000)),
    ?assertEqual(0, queue_length()),
    ?assertEqual(lists:duplicate(5, ok), [acquire() || _ <- lists:seq(1, 5)]),
    _ = [ok = release() || _ <- lists:seq(1, 5)].

take_and_drop(Over) ->
    case acquire(rand:uniform(3) - 1) of
        ok ->
            %% A moment more than there are is what somebody tries who is refused then.
            _ = length([1 || {{_, _}} <- ets:tab2list(py_semaphore_held)]) > 5 + 20 andalso counters:add(Over, 1, 1),
            ok = release();
        {error, max_concurrent} ->
            ok
    end,
    take_and_drop(Over).

kill_some(Workers, Work, End, Count) ->
    case erlang:monotonic_time(millisecond) < End of
        true ->
            {Pid, Ref} = lists:nth(rand:uniform(length(Workers)), Workers),
            true = exit(Pid, kill),
            receive {'DOWN', Ref, process, Pid, _} -> ok end,
            kill_some([Work() | lists:delete({Pid, Ref}, Workers)], Work, End, Count + 1);
        false ->
            ct:pal("killed ~b", [Count]),
            lists:foreach(fun({Pid, Ref}) ->
                true = exit(Pid, kill),
                receive {'DOWN', Ref, process, Pid, _} -> ok end
            end, Workers)
    end.

what_is_held_stays_when_the_process_is_restarted(_Config) ->
    ok = set_max_concurrent(2),
    ok = acquire(),
    Server = whereis(py_semaphore),
    Ref = monitor(process, Server),
    true = exit(Server, kill),
    receive {'DOWN', Ref, process, Server, _} -> ok end,
    ?assert(py_port_test:wait_until(fun() -> is_pid(whereis(py_semaphore)) end, 10000)),
    ?assertEqual(1, current()),
    ?assertEqual(2, max_concurrent()),
    ok = acquire(),
    ?assertMatch({error, {overloaded, 2, 2}}, acquire()),
    [ok, ok] = [release(), release()].

a_slot_of_before_a_restart_goes_to_who_waits(_Config) ->
    ok = set_max_concurrent(1),
    ok = acquire(),
    Server = whereis(py_semaphore),
    ok = py_port_test:kill({Server, monitor(process, Server)}),
    ?assert(py_port_test:wait_until(fun() -> is_pid(whereis(py_semaphore)) end, 10000)),
    Waiter = py_port_test:async(fun() -> Got = acquire(60000), ok = release(), Got end),
    {Pid, _} = Waiter,
    Waits = fun() -> {current_function, {gen, do_call, 4}} =:= process_info(Pid, current_function) end,
    ?assert(py_port_test:wait_until(Waits, 10000)),
    %% It is in the line. (Asked by another one: this process is not to hear of the new server.)
    {error, max_concurrent} = py_port_test:await(py_port_test:async(fun() -> acquire(1) end)),
    ok = release(),
    ?assertEqual(ok, py_port_test:await(Waiter)).

without_the_application_there_is_no_slot(_Config) ->
    ok = application:stop(py_port),
    ?assertEqual({error, not_started}, acquire()),
    ?assertEqual(0, current()),
    ok = release(),
    ok = py_port_test:start(),
    ok = acquire(),
    ok = release().
