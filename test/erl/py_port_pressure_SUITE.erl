%% Much at once, and nobody reads: back-pressure holds callers and not memory, nothing wedges, and what has been waiting is
%% answered rightly when things move again, or told so in bounded time when they do not.
-module(py_port_pressure_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([
    stopped_worker_that_goes_on_answers_everybody/1,
    stopped_worker_and_timeouts/1,
    stopped_worker_and_stop_context/1,
    stopped_worker_and_dying_callers/1,
    stuck_writer_does_not_hold_up_the_owner/1,
    both_ways_at_once_with_both_sides_slow/1,
    large_requests_in_the_queue_hide_no_cancel/1,
    a_full_mailbox_of_the_caller_is_not_searched/1,
    max_pending_bytes_refuses_the_next_large_request/1,
    long_names_are_not_kept/1,
    short_lived_callers_leave_nothing/1,
    flood_of_casts_is_bounded/1
]).

-import(py_port_trouble, [options/1, crowd/2, outcomes/1, outcomes/2, dismiss/1, exit_of/1, in_flight/1, is_idle/1, signal/2]).
-import(py_port_test, [start_context/1, wait_until/2, os_pid/1]).

-define(SOON, 60000).
-define(SENDERS, 1000).

suite() ->
    [{timetrap, {seconds, 180}}].

all() ->
    [
        stopped_worker_that_goes_on_answers_everybody,
        stopped_worker_and_timeouts,
        stopped_worker_and_stop_context,
        stopped_worker_and_dying_callers,
        stuck_writer_does_not_hold_up_the_owner,
        both_ways_at_once_with_both_sides_slow,
        large_requests_in_the_queue_hide_no_cancel,
        a_full_mailbox_of_the_caller_is_not_searched,
        max_pending_bytes_refuses_the_next_large_request,
        long_names_are_not_kept,
        short_lived_callers_leave_nothing,
        flood_of_casts_is_bounded
    ].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) ->
    ok.

init_per_testcase(_Case, Config) ->
    _ = process_flag(trap_exit, true),
    Config.

end_per_testcase(_Case, Config) ->
    _ = process_flag(trap_exit, true),
    py_port_test:end_per_testcase(Config).

%% A worker that does not read -----------------------------------------------------------------------------------------

%% The pipe and the port's own queue are full, and most callers are suspended.
stopped(Options, Opts) ->
    Ctx = start_context(options(Options)),
    Worker = os_pid(Ctx),
    {ok, _} = py_port:call(Ctx, trouble, digest, [payload(0)]),
    ok = signal(stop, Worker),
    Senders = crowd(?SENDERS, fun(I) ->
        {py_port:call(Ctx, trouble, digest, [payload(I)], #{}, Opts), erlang:monotonic_time(millisecond)}
    end),
    true = wait_until(fun() -> in_flight(Ctx) >= ?SENDERS end, ?SOON),
    true = wait_until(fun() -> suspended(Senders) > ?SENDERS div 2 end, ?SOON),
    {Ctx, Worker, Senders}.

%% Different for each sender: an answer that reached the wrong one would show.
payload(I) ->
    <<255, I:32, (binary:copy(<<I:8>>, 16384))/binary>>.

suspended(Pids) ->
    length([P || P <- Pids, erlang:process_info(P, status) =:= {status, suspended}]).

stopped_worker_that_goes_on_answers_everybody(_Config) ->
    {Ctx, Worker, Senders} = stopped(#{}, #{}),
    ok = signal(cont, Worker),
    Outcomes = outcomes(Senders),
    Wrong = [I || {I, {Got, _}} <- lists:zip(lists:seq(1, ?SENDERS), Outcomes), Got =/= {ok, erlang:crc32(payload(I))}],
    ?assertEqual([], Wrong),
    ok = dismiss(Senders),
    true = wait_until(fun() -> maps:get(callers, sys:get_state(Ctx)) =< 1 end, ?SOON),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])).

stopped_worker_and_timeouts(_Config) ->
    Start = erlang:monotonic_time(millisecond),
    {Ctx, _Worker, Senders} = stopped(#{kill_after => 1000}, #{timeout => 3000}),
    Outcomes = outcomes(Senders),
    Kinds = lists:usort([kind(Got) || {Got, _} <- Outcomes]),
    ?assertEqual([], Kinds -- [timeout, worker_down]),
    ?assert(lists:member(timeout, Kinds)),
    Last = lists:max([At || {_, At} <- Outcomes]) - Start,
    ct:pal("the last of ~b callers with a timeout of 3000 ms was answered after ~b ms: ~p", [?SENDERS, Last, Kinds]),
    ?assertMatch({worker_killed, sigkill, #{stopped_by := timeout}}, exit_of(Ctx)),
    dismiss(Senders).

kind({ok, _}) -> ok;
kind({error, Reason}) when is_tuple(Reason) -> element(1, Reason);
kind({error, Reason}) -> Reason.

stopped_worker_and_stop_context(_Config) ->
    {Ctx, _Worker, Senders} = stopped(#{}, #{}),
    Start = erlang:monotonic_time(millisecond),
    ok = py_port:stop_context(Ctx, 200),
    Took = erlang:monotonic_time(millisecond) - Start,
    ?assertEqual(normal, exit_of(Ctx)),
    Outcomes = outcomes(Senders, 10000),
    ct:pal("stopped after ~b ms", [Took]),
    ?assertEqual([{error, {worker_down, stopped}}], lists:usort([Got || {Got, _} <- Outcomes])),
    ?assert(Took < 10000),
    dismiss(Senders).

stopped_worker_and_dying_callers(_Config) ->
    {Ctx, Worker, Senders} = stopped(#{kill_after => 10000}, #{}),
    lists:foreach(fun(Pid) -> exit(Pid, kill) end, Senders),
    true = wait_until(fun() -> in_flight(Ctx) =:= 0 end, ?SOON),
    ok = signal(cont, Worker),
    true = wait_until(fun() -> maps:get(stopping, sys:get_state(Ctx)) =:= 0 end, ?SOON),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    ?assertEqual(Worker, os_pid(Ctx)).

%% The writer process is suspended like any caller; the owner still answers, counts time and kills.
stuck_writer_does_not_hold_up_the_owner(_Config) ->
    {Ctx, Worker, Senders} = stopped(#{kill_after => 3000}, #{}),
    ?assertEqual({error, timeout}, py_port:ping(Ctx, 100)),
    %% Suspended itself, so that it returns with the end of the worker; what it has is its deadline all the same.
    Late = crowd(1, fun(_) -> py_port_call_timeout(Ctx) end),
    ?assertMatch(#{in_flight := N} when N >= ?SENDERS, py_port:info(Ctx)),
    ?assertMatch({worker_killed, sigkill, #{stopped_by := timeout}}, exit_of(Ctx)),
    ?assertEqual([{error, timeout}], outcomes(Late)),
    ok = dismiss(Late),
    ?assertEqual([worker_down], lists:usort([kind(Got) || {Got, _} <- outcomes(Senders, 10000)])),
    ?assertNot(py_port_test:os_alive(Worker)),
    dismiss(Senders).

py_port_call_timeout(Ctx) ->
    py_port:call(Ctx, math, sqrt, [16], #{}, #{timeout => 100}).

%% Both directions -----------------------------------------------------------------------------------------------------

-define(CHUNK, (1024 * 1024)).
-define(CHUNKS, 64).

%% 64 MB there and back; the worker dawdles over each piece, and the answers wait for a caller that dawdles too.
both_ways_at_once_with_both_sides_slow(_Config) ->
    Ctx = start_context(options(#{})),
    Worker = os_pid(Ctx),
    {ok, _} = py_port:call(Ctx, trouble, slow_echo, [payload(1), 0]),
    Data = [crypto_free(I) || I <- lists:seq(1, ?CHUNKS)],
    Before = {erlang:memory(total), py_port_trouble:rss(Worker)},
    Watch = watch(Worker),
    Callers = crowd(?CHUNKS, fun(I) ->
        Mine = lists:nth(I, Data),
        {ok, Got} = py_port:call(Ctx, trouble, slow_echo, [Mine, 0.01]),
        %% A caller that is in no hurry: it works for a while before it lets go of the answer.
        _ = [erlang:crc32(Got) || _ <- lists:seq(1, 5)],
        Got =:= Mine
    end),
    ?assertEqual([true], lists:usort(outcomes(Callers))),
    ok = dismiss(Callers),
    {Beam, Rss} = peak(Watch),
    {Beam0, Rss0} = Before,
    ct:pal("peaks above the start: BEAM ~b MB, worker ~b MB", [(Beam - Beam0) div 1048576, (Rss - Rss0) div 1048576]),
    ?assert(Beam - Beam0 < 400 * 1048576),
    ?assert(Rss - Rss0 < 300 * 1048576),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])).

crypto_free(I) ->
    <<255, (binary:copy(<<I:32, (I * 7919):32>>, ?CHUNK div 8))/binary>>.

%% Names come from callers, and each of these is of another megabyte.
long_names_are_not_kept(_Config) ->
    Ctx = start_context(options(#{})),
    Worker = os_pid(Ctx),
    Call = fun(N) ->
        Name = binary:copy(<<(N rem 26 + $a), (N div 26 + $a)>>, ?CHUNK div 2),
        {error, {python, _}} = py_port:call(Ctx, Name, f, []),
        {error, {python, _}} = py_port:call(Ctx, math, Name, [])
    end,
    lists:foreach(Call, lists:seq(1, 10)),
    Before = py_port_trouble:rss(Worker),
    lists:foreach(Call, lists:seq(11, 110)),
    ?assert(py_port_trouble:rss(Worker) - Before < 100 * 1048576).

%% Looks while the test runs; the operating system announces nothing.
watch(Worker) ->
    Self = self(),
    {spawn_link(fun() -> watch(Self, Worker, {0, 0}) end), make_ref()}.

watch(Self, Worker, {Beam, Rss}) ->
    Now =
        case py_port_proc:usage(Worker) of
            #{rss := R} when is_integer(R) -> R;
            _ -> 0
        end,
    Peaks = {max(Beam, erlang:memory(total)), max(Rss, Now)},
    receive
        {peak, Ref} -> Self ! {Ref, Peaks}
    after 10 -> watch(Self, Worker, Peaks)
    end.

peak({Pid, Ref}) ->
    Pid ! {peak, Ref},
    receive
        {Ref, Peaks} -> Peaks
    end.

%% Many processes ------------------------------------------------------------------------------------------------------

short_lived_callers_leave_nothing(_Config) ->
    Ctx = start_context(options(#{})),
    Self = self(),
    Batch = fun(_) ->
        Pids = [
            spawn_monitor(fun() ->
                {ok, 4.0} = py_port:call(Ctx, math, sqrt, [16]),
                Self
            end)
         || _ <- lists:seq(1, 100)
        ],
        [receive {'DOWN', Ref, process, Pid, normal} -> ok after ?SOON -> error(hangs) end || {Pid, Ref} <- Pids]
    end,
    _ = Batch(0),
    true = wait_until(fun() -> is_idle(Ctx) end, ?SOON),
    {memory, Before} = garbage_collected(Ctx),
    lists:foreach(Batch, lists:seq(1, 100)),
    true = wait_until(fun() -> is_idle(Ctx) end, ?SOON),
    {memory, After} = garbage_collected(Ctx),
    ct:pal("owner: ~b bytes before, ~b after 10,000 callers", [Before, After]),
    ?assert(After < Before + 100000),
    Tables = [T || T <- ets:all(), ets:info(T, owner) =:= Ctx],
    %% requests, callers, and what was given: funs and pids
    ?assertEqual([0, 0, 0, 0], [ets:info(T, size) || T <- Tables]).

garbage_collected(Ctx) ->
    true = erlang:garbage_collect(Ctx),
    erlang:process_info(Ctx, memory).

%% Nobody reads what the callers sent, but the worker has to hear that one of them has left, or it would be killed for it.
large_requests_in_the_queue_hide_no_cancel(Config) ->
    Go = py_port_trouble:go_file(Config),
    Ctx = start_context(options(#{kill_after => 2000})),
    First = crowd(1, fun(_) -> py_port:call(Ctx, trouble, wait_for, [Go]) end),
    true = wait_until(fun() -> is_running(py_port:info(Ctx)) end, ?SOON),
    Large = binary:copy(<<"x">>, 2 bsl 20),
    [Leaves | Stay] = crowd(60, fun(_) -> py_port:call(Ctx, builtins, len, [Large]) end),
    true = wait_until(fun() -> in_flight(Ctx) =:= 61 end, ?SOON),
    true = exit(Leaves, kill),
    true = wait_until(fun() -> in_flight(Ctx) =:= 60 andalso maps:get(stopping, sys:get_state(Ctx)) =:= 0 end, ?SOON),
    ?assertEqual(pong, py_port:ping(Ctx)),
    ok = file:write_file(Go, <<>>),
    ?assertEqual([{ok, <<"gone">>}], outcomes(First)),
    ?assertEqual([{ok, 2 bsl 20}], lists:usort(outcomes(Stay))),
    ok = dismiss(First ++ Stay).

%% A process with much to do makes its calls as cheaply as another.
a_full_mailbox_of_the_caller_is_not_searched(_Config) ->
    Ctx = start_context(options(#{})),
    Calls = [
        fun() -> {ok, 4.0} = py_port:call(Ctx, math, sqrt, [16]) end,
        fun() -> {ok, 4} = py_port:eval(Ctx, "4") end,
        fun() -> pong = py_port:ping(Ctx) end
    ],
    lists:foreach(fun(Call) -> Call() end, Calls),
    Empty = [reductions(Call) || Call <- Calls],
    Messages = 100000,
    lists:foreach(fun(I) -> self() ! {much, I} end, lists:seq(1, Messages)),
    Full = [reductions(Call) || Call <- Calls],
    ct:pal("reductions with an empty mailbox ~p, with ~b messages ~p", [Empty, Messages, Full]),
    ?assertEqual([], [F || F <- Full, F >= Messages]).

reductions(Call) ->
    {reductions, Before} = erlang:process_info(self(), reductions),
    _ = Call(),
    {reductions, After} = erlang:process_info(self(), reductions),
    After - Before.

max_pending_bytes_refuses_the_next_large_request(Config) ->
    Go = py_port_trouble:go_file(Config),
    Ctx = start_context(options(#{max_pending_bytes => 100000})),
    First = crowd(1, fun(_) -> py_port:call(Ctx, trouble, wait_for, [Go]) end),
    true = wait_until(fun() -> is_running(py_port:info(Ctx)) end, ?SOON),
    Length = fun(Size, Opts) -> py_port:call(Ctx, builtins, len, [binary:copy(<<"x">>, Size)], #{}, Opts) end,
    %% However large: it is the first of them.
    [Leaves] = crowd(1, fun(_) -> Length(200000, #{}) end),
    true = wait_until(fun() -> in_flight(Ctx) =:= 2 end, ?SOON),
    ?assertEqual({error, overloaded}, Length(20000, #{})),
    ok = py_port:cast(Ctx, builtins, len, [binary:copy(<<"x">>, 20000)]),
    ?assertMatch(#{casts_dropped := 1}, sys:get_state(Ctx)),
    Small = crowd(1, fun(_) -> Length(10000, #{}) end),
    true = wait_until(fun() -> in_flight(Ctx) =:= 3 end, ?SOON),
    %% What is given up holds nothing any more, be it for its caller or for its time.
    true = exit(Leaves, kill),
    true = wait_until(fun() -> in_flight(Ctx) =:= 2 end, ?SOON),
    ?assertEqual({error, timeout}, Length(200000, #{timeout => 100})),
    Last = crowd(1, fun(_) -> Length(200000, #{}) end),
    true = wait_until(fun() -> in_flight(Ctx) =:= 3 end, ?SOON),
    ?assertEqual({error, overloaded}, Length(20000, #{})),
    ok = file:write_file(Go, <<>>),
    ?assertEqual([{ok, <<"gone">>}, {ok, 10000}, {ok, 200000}], outcomes(First ++ Small ++ Last)),
    ?assertEqual([{ok, 90000} || _ <- lists:seq(1, 10)], [Length(90000, #{}) || _ <- lists:seq(1, 10)]),
    ok = dismiss(First ++ Small ++ Last).

flood_of_casts_is_bounded(_Config) ->
    Ctx = start_context(options(#{max_pending => 100})),
    Go = crowd(1, fun(_) -> py_port:call(Ctx, trouble, sleep_long, []) end),
    true = wait_until(fun() -> is_running(py_port:info(Ctx)) end, ?SOON),
    lists:foreach(fun(I) -> ok = py_port:cast(Ctx, trouble, mark, [I]) end, lists:seq(1, 10000)),
    #{in_flight := InFlight, casts_dropped := Dropped} = sys:get_state(Ctx),
    ?assertEqual({100, 9901}, {InFlight, Dropped}),
    ok = py_port:interrupt(Ctx),
    ?assertEqual([{error, interrupted}], outcomes(Go)),
    ok = dismiss(Go),
    {ok, Marks} = py_port:call(Ctx, trouble, marks, []),
    ?assertEqual(lists:seq(1, 99), Marks).

is_running(#{running := Request}) ->
    is_integer(Request) andalso Request > 0.
