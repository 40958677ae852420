%% @doc Channels between Erlang processes, and the operations that Python asks for: that no message
%% is lost or received twice, whoever dies or gives up, and that the end is told to everybody.
%% @end
-module(py_port_channel_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-import(py_port_channel, [info/1]).
-import(py_port_test, [async/1, await/1, kill/1, wait_until/2]).

suite() -> [{timetrap, {minutes, 1}}].

all() -> py_port_test:cases(?MODULE).

init_per_testcase(_, Config) ->
    ok = py_port_test:start(),
    Config.

end_per_testcase(_, Config) ->
    %% channels end with the process that made them: this one
    [gen_server:stop(Pid) || {_, Pid, _, _} <- supervisor:which_children(py_port_flow_sup)],
    ok = py_port_test:end_per_testcase(Config),
    ?assertEqual([], py_port_test:flush()).

%% Order and capacity --------------------------------------------------------------------------------------------------

messages_come_in_order(_Config) ->
    {ok, Ch} = py_port_channel:new(),
    [ok = py_port_channel:send(Ch, N) || N <- lists:seq(1, 100)],
    ?assertEqual([{ok, N} || N <- lists:seq(1, 100)], [py_port_channel:recv(Ch) || _ <- lists:seq(1, 100)]),
    ?assertMatch(#{size := 0, capacity := 1000, unconfirmed := 0, closed := false}, info(Ch)).


receive_is_the_other_name(_Config) ->
    {ok, Ch} = py_port_channel:new(),
    ok = py_port_channel:send(Ch, a),
    ?assertEqual({ok, a}, py_port_channel:'receive'(Ch)),
    ?assertEqual({error, timeout}, py_port_channel:'receive'(Ch, 0)).

a_full_channel_is_busy(_Config) ->
    {ok, Ch} = py_port_channel:new(#{capacity => 2}),
    ok = py_port_channel:send(Ch, 1, 0),
    ok = py_port_channel:send(Ch, 2, 0),
    ?assertEqual({error, busy}, py_port_channel:send(Ch, 3, 0)),
    ?assertEqual({error, busy}, py_port_channel:send(Ch, 3, 20)),
    ?assertMatch(#{size := 2, waiting_senders := 0}, info(Ch)),
    {ok, 1} = py_port_channel:recv(Ch),
    ok = py_port_channel:send(Ch, 3, 0),
    ?assertEqual([{ok, 2}, {ok, 3}, {error, empty}], [py_port_channel:try_receive(Ch) || _ <- [1, 2, 3]]).

a_channel_may_be_full_with_bytes(_Config) ->
    {ok, Terms} = py_port_channel:new(#{max_bytes => 20}),
    {ok, Raw} = py_port_channel:new(#{max_bytes => 20, capacity => 2, bytes => true}),
    Message = <<"0123456789">>,
    ?assertEqual([ok, ok, {error, busy}], [py_port_channel:send(Terms, Message, 0) || _ <- [1, 2, 3]]),
    ?assertEqual([ok, ok, {error, busy}], [py_port_channel:send(Raw, Message, 0) || _ <- [1, 2, 3]]),
    ?assertMatch(#{bytes := 32, max_bytes := 20, size := 2, capacity := infinity}, info(Terms)),
    ?assertMatch(#{bytes := 20, max_bytes := 20, size := 2, capacity := 2}, info(Raw)),
    {ok, Plain} = py_port_channel:new(),
    ?assertNot(is_map_key(bytes, info(Plain))),
    ?assertMatch({error, {bad_argument, max_bytes, _}}, py_port_channel:new(#{max_bytes => 0})).

a_sender_waits_for_room_and_keeps_its_place(_Config) ->
    {ok, Ch} = py_port_channel:new(#{capacity => 1}),
    ok = py_port_channel:send(Ch, 1),
    Two = async(fun() -> py_port_channel:send(Ch, 2) end),
    waiting(waiting_senders, 1, Ch),
    Three = async(fun() -> py_port_channel:send(Ch, 3) end),
    waiting(waiting_senders, 2, Ch),
    ?assertEqual([{ok, 1}, {ok, 2}, {ok, 3}], [py_port_channel:recv(Ch) || _ <- [1, 2, 3]]),
    ?assertEqual([ok, ok], [await(Two), await(Three)]).

nobody_overtakes_a_waiting_sender(_Config) ->
    {ok, Ch} = py_port_channel:new(#{capacity => 1}),
    ok = py_port_channel:send(Ch, 1),
    Two = async(fun() -> py_port_channel:send(Ch, 2) end),
    waiting(waiting_senders, 1, Ch),
    {ok, 1} = py_port_channel:recv(Ch),
    ok = await(Two),
    ?assertEqual({error, busy}, py_port_channel:send(Ch, 3, 0)),
    ?assertEqual({ok, 2}, py_port_channel:recv(Ch)).

receivers_are_served_in_the_order_they_came(_Config) ->
    {ok, Ch} = py_port_channel:new(),
    A = async(fun() -> py_port_channel:recv(Ch) end),
    waiting(waiting_receivers, 1, Ch),
    B = async(fun() -> py_port_channel:recv(Ch) end),
    waiting(waiting_receivers, 2, Ch),
    ok = py_port_channel:send(Ch, 1),
    ok = py_port_channel:send(Ch, 2),
    ?assertEqual([{ok, 1}, {ok, 2}], [await(A), await(B)]).

%% Nothing is lost -----------------------------------------------------------------------------------------------------

a_receiver_that_dies_while_it_waits_takes_nothing(_Config) ->
    {ok, Ch} = py_port_channel:new(),
    Dead = async(fun() -> py_port_channel:recv(Ch) end),
    waiting(waiting_receivers, 1, Ch),
    ok = kill(Dead),
    ok = py_port_channel:send(Ch, 1),
    ?assertEqual({ok, 1}, py_port_channel:recv(Ch)).

a_receiver_that_gives_up_takes_nothing(_Config) ->
    {ok, Ch} = py_port_channel:new(),
    ?assertEqual({error, timeout}, py_port_channel:recv(Ch, 20)),
    ?assertMatch(#{waiting_receivers := 0}, info(Ch)),
    ok = py_port_channel:send(Ch, 1),
    ?assertEqual({ok, 1}, py_port_channel:recv(Ch)).

%% Handed over, and killed before it could say so: suspended, it cannot.
what_a_dead_receiver_was_handed_goes_back_to_the_front(_Config) ->
    {ok, Ch} = py_port_channel:new(),
    {Pid, _} = Dead = async(fun() -> py_port_channel:recv(Ch) end),
    waiting(waiting_receivers, 1, Ch),
    true = erlang:suspend_process(Pid),
    [ok = py_port_channel:send(Ch, N) || N <- [1, 2]],
    ?assertMatch(#{size := 1, unconfirmed := 1}, info(Ch)),
    ok = kill(Dead),
    waiting(size, 2, Ch),
    ?assertEqual([{ok, 1}, {ok, 2}], [py_port_channel:recv(Ch) || _ <- [1, 2]]).

%% Its time was up when the message was on the way: it has it, and does not say timeout.
a_message_that_comes_with_the_end_of_the_time_is_received(_Config) ->
    {ok, Ch} = py_port_channel:new(),
    {Pid, _} = Late = async(fun() -> {py_port_channel:recv(Ch, 2000), py_port_test:flush()} end),
    waiting(waiting_receivers, 1, Ch),
    true = erlang:suspend_process(Pid),
    ok = py_port_channel:send(Ch, 1),
    Timer = erlang:start_timer(2200, self(), late),
    receive
        {timeout, Timer, late} -> true = erlang:resume_process(Pid)
    end,
    ?assertEqual({{ok, 1}, []}, await(Late)),
    ?assertMatch(#{size := 0, unconfirmed := 0}, info(Ch)).

a_sender_that_dies_while_it_waits_has_sent_nothing(_Config) ->
    {ok, Ch} = py_port_channel:new(#{capacity => 1}),
    ok = py_port_channel:send(Ch, 1),
    Dead = async(fun() -> py_port_channel:send(Ch, 2) end),
    waiting(waiting_senders, 1, Ch),
    ok = kill(Dead),
    waiting(waiting_senders, 0, Ch),
    ?assertEqual([{ok, 1}, {error, empty}], [py_port_channel:try_receive(Ch) || _ <- [1, 2]]).

%% Every message once, each sender's in order, with receivers that are killed all the time.
many_senders_and_mortal_receivers_lose_nothing(_Config) ->
    {ok, Ch} = py_port_channel:new(#{capacity => 10}),
    Senders = [
        async(fun() -> [ok = py_port_channel:send(Ch, {S, N}) || N <- lists:seq(1, 200)] end)
     || S <- lists:seq(1, 5)
    ],
    Self = self(),
    Receiver = fun Receive() ->
        case py_port_channel:recv(Ch) of
            {ok, Message} ->
                Self ! {got, Message},
                Receive();
            {error, closed} ->
                done
        end
    end,
    Stable = async(Receiver),
    %% each of these waits in recv/1 and is killed there or on the way
    Mortals = [async(fun() -> py_port_channel:info(Ch) end) || _ <- lists:seq(1, 20)],
    [_ = await(M) || M <- Mortals],
    [
        begin
            {Pid, _} = Victim = async(fun() -> py_port_channel:recv(Ch) end),
            erlang:yield(),
            ok = suspend(Pid),
            ok = kill_quietly(Victim, Self)
        end
     || _ <- lists:seq(1, 100)
    ],
    [_ = await(S) || S <- Senders],
    ok = py_port_channel:close(Ch),
    done = await(Stable),
    Got = [M || {got, M} <- py_port_test:flush()],
    ?assertEqual(lists:sort([{S, N} || S <- lists:seq(1, 5), N <- lists:seq(1, 200)]), lists:sort(Got)).

%% It may have ended already.
suspend(Pid) ->
    try erlang:suspend_process(Pid) of
        true -> ok
    catch
        error:badarg -> ok
    end.

%% It may have received and confirmed before it was stopped: then its result is what it got.
kill_quietly({Pid, Ref}, Self) ->
    true = exit(Pid, kill),
    receive
        {'DOWN', Ref, process, Pid, {result, {ok, Message}}} ->
            Self ! {got, Message},
            ok;
        {'DOWN', Ref, process, Pid, killed} ->
            ok
    end.

%% Closing -------------------------------------------------------------------------------------------------------------

closing_lets_what_is_queued_be_received(_Config) ->
    {ok, Ch} = py_port_channel:new(),
    [ok = py_port_channel:send(Ch, N) || N <- [1, 2]],
    ok = py_port_channel:close(Ch),
    ?assertEqual({error, closed}, py_port_channel:send(Ch, 3)),
    ?assertMatch(#{closed := true, size := 2}, info(Ch)),
    ?assertEqual([{ok, 1}, {ok, 2}], [py_port_channel:recv(Ch) || _ <- [1, 2]]),
    ?assertEqual({error, closed}, py_port_channel:recv(Ch)),
    ?assertEqual({error, closed}, py_port_channel:try_receive(Ch)),
    ok = py_port_channel:close(Ch).

closing_wakes_everybody_who_waits(_Config) ->
    {ok, Empty} = py_port_channel:new(),
    Receivers = [async(fun() -> py_port_channel:recv(Empty) end) || _ <- [1, 2, 3]],
    waiting(waiting_receivers, 3, Empty),
    ok = py_port_channel:close(Empty),
    ?assertEqual(lists:duplicate(3, {error, closed}), [await(R) || R <- Receivers]),
    {ok, Full} = py_port_channel:new(#{capacity => 1}),
    ok = py_port_channel:send(Full, 1),
    Sender = async(fun() -> py_port_channel:send(Full, 2) end),
    waiting(waiting_senders, 1, Full),
    ok = py_port_channel:close(Full),
    ?assertEqual({error, closed}, await(Sender)),
    ?assertEqual([{ok, 1}, {error, closed}], [py_port_channel:recv(Full) || _ <- [1, 2]]).

%% A message that is still in the hands of a receiver may come back.
the_end_waits_for_what_may_come_back(_Config) ->
    {ok, Ch} = py_port_channel:new(),
    {Pid, _} = Dead = async(fun() -> py_port_channel:recv(Ch) end),
    waiting(waiting_receivers, 1, Ch),
    true = erlang:suspend_process(Pid),
    ok = py_port_channel:send(Ch, 1),
    ok = py_port_channel:close(Ch),
    ?assertEqual({error, empty}, py_port_channel:try_receive(Ch)),
    Next = async(fun() -> [py_port_channel:recv(Ch), py_port_channel:recv(Ch)] end),
    waiting(waiting_receivers, 1, Ch),
    ok = kill(Dead),
    ?assertEqual([{ok, 1}, {error, closed}], await(Next)).

a_channel_ends_with_its_owner(_Config) ->
    Self = self(),
    {Pid, _} = Owner = async(fun() ->
        Self ! py_port_channel:new(),
        receive
            never -> ok
        end
    end),
    Ch =
        receive
            {ok, Made} -> Made
        end,
    Waiting = async(fun() -> py_port_channel:recv(Ch) end),
    waiting(waiting_receivers, 1, Ch),
    true = is_process_alive(Pid),
    ok = kill(Owner),
    ?assertEqual({error, closed}, await(Waiting)),
    ?assertEqual({error, closed}, py_port_channel:send(Ch, 1)),
    ?assertEqual({error, closed}, py_port_channel:recv(Ch)),
    ?assertEqual({error, closed}, py_port_channel:info(Ch)),
    ?assertEqual(ok, py_port_channel:close(Ch)).

a_channel_without_an_owner_outlives_its_maker(_Config) ->
    {ok, Ch} = await(async(fun() -> py_port_channel:new(#{owner => none}) end)),
    ok = py_port_channel:send(Ch, 1),
    ?assertEqual({ok, 1}, py_port_channel:recv(Ch)),
    %% Nobody else would ever end its process.
    Pid = element(2, Ch),
    Monitor = erlang:monitor(process, Pid),
    ok = py_port_channel:send(Ch, 2),
    ok = py_port_channel:close(Ch),
    ?assertEqual({ok, 2}, py_port_channel:recv(Ch)),
    receive {'DOWN', Monitor, process, Pid, Why} -> ?assertEqual(normal, Why) end,
    ?assertEqual({error, closed}, py_port_channel:recv(Ch)),
    ?assertEqual({error, closed}, py_port_channel:send(Ch, 3)).

%% Arguments -----------------------------------------------------------------------------------------------------------

bytes_are_binaries_only(_Config) ->
    {ok, Ch} = py_port_channel:new(#{bytes => true}),
    ok = py_port_channel:send(Ch, <<1, 2, 255>>),
    ?assertEqual({ok, <<1, 2, 255>>}, py_port_channel:recv(Ch)),
    [
        ?assertMatch({error, {bad_argument, message, _}}, py_port_channel:send(Ch, M))
     || M <- [a, "text", <<1:1>>, [<<1>>]]
    ].

arguments_of_the_wrong_kind_are_named(_Config) ->
    Wrong = fun({error, {bad_argument, Which, Why}}) when is_binary(Why) -> Which end,
    ?assertEqual(options, Wrong(py_port_channel:new(no_map))),
    ?assertEqual(options, Wrong(py_port_channel:new(#{size => 1}))),
    ?assertEqual(capacity, Wrong(py_port_channel:new(#{capacity => 0}))),
    ?assertEqual(bytes, Wrong(py_port_channel:new(#{bytes => 1}))),
    ?assertEqual(owner, Wrong(py_port_channel:new(#{owner => me}))),
    ?assertEqual(channel, Wrong(py_port_channel:send(no_channel, 1))),
    ?assertEqual(channel, Wrong(py_port_channel:recv(self()))),
    {ok, Ch} = py_port_channel:new(),
    ?assertEqual(timeout, Wrong(py_port_channel:recv(Ch, -1))),
    ?assertEqual(timeout, Wrong(py_port_channel:send(Ch, 1, soon))).

%% What jobs ask for ---------------------------------------------------------------------------------------------------

python_can_do_all_of_it(_Config) ->
    {ok, {_, Pid, _} = Ch} = py_port_channel:new(#{capacity => 1}),
    ?assertEqual(empty, op([<<"try_receive">>, Pid], job)),
    ?assertEqual(timeout, op([<<"receive">>, Pid, 10], job)),
    ?assertEqual(ok, op([<<"send">>, Pid, 1], job)),
    ?assertEqual(timeout, op([<<"send">>, Pid, 2, 10], job)),
    ?assertEqual(timeout, op([<<"send">>, Pid, 2, 0], job)),
    ?assertEqual(full, op([<<"try_send">>, Pid, 2], job)),
    ?assertEqual({ok, 1}, op(['receive', Pid], job)),
    ?assertMatch(#{size := 0, capacity := 1}, op([info, Pid], job)),
    ?assertEqual(ok, op([close, Pid], job)),
    ?assertEqual(closed, op(['receive', Pid], job)),
    ?assertEqual(closed, op([send, Pid, 1], job)),
    ?assertEqual({error, closed}, py_port_channel:recv(Ch)).

python_gets_bytes_from_a_channel_of_bytes(_Config) ->
    {ok, {_, Pid, bytes} = Ch} = py_port_channel:new(#{bytes => true}),
    ok = py_port_channel:send(Ch, <<"abc">>),
    ?assertEqual({ok, {bytes, <<"abc">>}}, op(['receive', Pid, 1000], job)),
    ?assertEqual(ok, op([send, Pid, <<"def">>], job)),
    ?assertEqual({ok, <<"def">>}, py_port_channel:recv(Ch)),
    ?assertThrow(_, op([send, Pid, 17], job)).

%% Messages to processes that are no channels would be a way around what a context may send to.
a_pid_that_is_no_channel_gets_no_message(_Config) ->
    ?assertEqual(closed, op([send, self(), secret], job)),
    ?assertEqual(closed, op(['receive', self()], job)),
    ?assertEqual(closed, op(['receive', spawn(fun() -> ok end)], job)),
    ?assertEqual([], py_port_test:flush()).

%% Whoever was passed a channel has its pid.
what_is_no_request_does_a_channel_no_harm(_Config) ->
    {ok, {_, Fifo, _} = Ch} = py_port_channel:new(#{capacity => 2, max_bytes => 1000}),
    ok = py_port_channel:send(Ch, precious),
    _ = [
        Fifo ! Message
     || Message <- [
            {request, make_ref(), 42, {take, 1, wait}}, {request, 42, self(), {take, 1, wait}},
            {request, make_ref(), self(), {take, 0, wait}}, {request, make_ref(), self(), {take, x, wait}},
            {request, make_ref(), self(), {put, x, -1000, wait}}, {request, make_ref(), self(), {put, x, "1", wait}},
            {request, 42, self(), {redeem, self()}}, {commit, make_ref(), 42}, {leave, 42}, {confirm, 42},
            {'$gen_call', {self(), make_ref()}, what}, {'$gen_cast', what}, what
        ]
    ],
    ?assertEqual({ok, precious}, py_port_channel:recv(Ch)),
    {Job, _} = Fetched = job_that_fetches(Ch, 1),
    %% its request, as the process knows it
    [Ref] = maps:keys(element(8, sys:get_state(Fifo))),
    Fifo ! {commit, Ref, 42},
    ok = kill(Fetched),
    ?assertEqual(given_back, py_port_fifo:redeem(Fifo, Job)),
    ?assertEqual({ok, 1}, py_port_channel:recv(Ch)),
    ?assertMatch(#{size := 0, waiting_receivers := 0, waiting_senders := 0, bytes := 0}, info(Ch)).

what_a_job_took_that_is_killed_before_it_commits_goes_back(_Config) ->
    {ok, {_, Fifo, _} = Ch} = py_port_channel:new(),
    {Pid, _} = Job = job_that_fetches(Ch, 1),
    ?assertMatch(#{unconfirmed := 1}, info(Ch)),
    ok = kill(Job),
    ?assertEqual(given_back, py_port_fifo:redeem(Fifo, Pid)),
    ?assertEqual({ok, 1}, py_port_channel:recv(Ch)).

%% Its context passes it on.
what_a_job_committed_that_is_killed_does_not_go_back(_Config) ->
    {ok, {_, Fifo, _} = Ch} = py_port_channel:new(),
    {Pid, _} = Job = job_that_fetches(Ch, 1),
    Pid ! {commit, self()},
    receive {committed, Pid} -> ok end,
    ok = kill(Job),
    ?assertMatch(#{size := 0, unconfirmed := 1}, info(Ch)),
    ?assertEqual(committed, py_port_fifo:redeem(Fifo, Pid)),
    ?assertMatch(#{size := 0, unconfirmed := 0}, info(Ch)).

%% The context may hear of the end of the job before the channel does, and so of its commit.
who_redeems_too_early_waits_for_the_end_of_the_job(_Config) ->
    {ok, {_, Fifo, _} = Ch} = py_port_channel:new(),
    {Pid, _} = Job = job_that_fetches(Ch, 1),
    Redeemer = async(fun() -> py_port_fifo:redeem(Fifo, Pid) end),
    ?assert(wait_until(fun() -> erlang:process_info(element(1, Redeemer), status) =:= {status, waiting} end, 10000)),
    _ = sys:get_state(Fifo),
    Pid ! {commit, self()},
    receive {committed, Pid} -> ok end,
    ok = kill(Job),
    ?assertEqual(committed, await(Redeemer)),
    ?assertMatch(#{size := 0, unconfirmed := 0}, info(Ch)).

%% Nobody redeems it any more: the worker it was on its way to has ended with its context.
what_was_committed_ends_with_the_context(_Config) ->
    {ok, {_, Fifo, _} = Ch} = py_port_channel:new(#{owner => none}),
    Monitor = erlang:monitor(process, Fifo),
    {Pid, _} = Job = job_that_fetches(Ch, 1),
    Context = async(fun() -> receive never -> ok end end),
    Pid ! {commit, element(1, Context)},
    receive {committed, Pid} -> ok end,
    ok = kill(Job),
    ok = py_port_channel:close(Ch),
    ?assertMatch(#{size := 0, unconfirmed := 1}, info(Ch)),
    ok = kill(Context),
    receive {'DOWN', Monitor, process, Fifo, Why} -> ?assertEqual(normal, Why) end.

what_a_job_took_that_ended_well_is_gone(_Config) ->
    {ok, {_, Pid, _} = Ch} = py_port_channel:new(),
    [ok = py_port_channel:send(Ch, N) || N <- lists:seq(1, 100)],
    ?assertEqual([{ok, N} || N <- lists:seq(1, 100)], [op(['receive', Pid], job) || _ <- lists:seq(1, 100)]),
    waiting(unconfirmed, 0, Ch),
    ?assertEqual({error, empty}, py_port_channel:try_receive(Ch)).

%% Jobs are killed at every step of their lives, also between their answer and their end.
python_receives_each_message_once_and_in_order_whoever_kills_the_jobs(_Config) ->
    Ctx = py_port_test:context(#{io => null}),
    [
        begin
            {ok, Ch} = py_port_channel:new(#{capacity => 3}),
            Handle = py_port:async_call(Ctx, probe_streams, Function, [Ch], Opts),
            Killer = async(fun kill_jobs/0),
            [ok = py_port_channel:send(Ch, N) || N <- lists:seq(1, 500)],
            ok = py_port_channel:close(Ch),
            Got = py_port:await(Handle),
            ok = kill(Killer),
            ?assertEqual({ok, lists:seq(1, 500)}, Got)
        end
     || {Function, Opts} <- [{keep_receiving, #{thread => true}}, {keep_receiving_async, #{}}]
    ].

python_gets_each_pushed_item_once_and_in_order_whoever_kills_the_jobs(_Config) ->
    Ctx = py_port_test:context(#{io => null}),
    {ok, Stream} = py_port:open_stream(Ctx, probe_streams, keep_iterating, [], #{buffer_items => 3}),
    Killer = async(fun kill_jobs/0),
    [ok = py_port:push(Stream, N) || N <- lists:seq(1, 500)],
    ok = py_port:finish(Stream),
    Got = py_port:result(Stream),
    ok = kill(Killer),
    ?assertEqual({ok, lists:seq(1, 500)}, Got).

%% Until it is killed itself.
kill_jobs() ->
    [true = exit(Pid, kill) || Pid <- [P || {_, P, _, _} <- supervisor:which_children(py_port_job_sup)]],
    kill_jobs().

%% Helpers -------------------------------------------------------------------------------------------------------------

%% A process that has fetched this message and does not know yet what comes next.
job_that_fetches({_, Fifo, _} = Ch, Message) ->
    Self = self(),
    {Pid, _} = Job = async(fun() ->
        {fetched, {ok, Message}, Receipt} = py_port_channel:op(['receive', Fifo]),
        Self ! {fetched, self()},
        receive
            {commit, Owner} -> ok = py_port_fifo:commit(Receipt, Owner)
        end,
        Self ! {committed, self()},
        receive
            never -> ok
        end
    end),
    waiting(waiting_receivers, 1, Ch),
    ok = py_port_channel:send(Ch, Message),
    receive
        {fetched, Pid} -> Job
    end.

%% As py_port_job does it: in a process of its own that commits and exits normally when the answer is out.
op(Args, job) ->
    Self = self(),
    {Pid, Ref} = spawn_monitor(fun() ->
        Answer =
            try
                case py_port_channel:op(Args) of
                    {fetched, Value, Receipt} ->
                        ok = py_port_fifo:commit(Receipt, Self),
                        {value, Value};
                    Value ->
                        {value, Value}
                end
            catch
                throw:Reason -> {thrown, Reason}
            end,
        Self ! {self(), Answer}
    end),
    Answer =
        receive
            {Pid, A} -> A
        end,
    receive
        {'DOWN', Ref, process, Pid, normal} -> ok
    end,
    case Answer of
        {value, Value} -> Value;
        {thrown, Reason} -> throw(Reason)
    end.

%% Who waits is counted by the channel itself, and nobody else is told.
waiting(Key, N, Ch) ->
    ?assert(wait_until(fun() -> maps:get(Key, info(Ch)) =:= N end, 10000)).
