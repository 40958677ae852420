%% @doc What runs for Python on this node ends in many ways: killed, cancelled, with its context, with the application. It is
%% answered, and nothing of it is left; and a worker that breaks the rules of callbacks is ended.
%% @end
-module(py_port_callback_jobs_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-include("../../erl_src/py_port.hrl").

-import(py_port_trouble, [exit_of/1]).
-import(py_port_callback_bed, [fake/1, call_back/3, call_back/4, callback/3, callback/4, answer_of/2, call/1, call/2, waiting/1, running/0, gone/1, idle/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE).

init_per_suite(Config) -> py_port_callback_bed:init_per_suite(Config).

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) -> py_port_callback_bed:init_per_testcase(Config).

end_per_testcase(_Case, Config) -> py_port_callback_bed:end_per_testcase(Config).

%% Jobs that end otherwise ---------------------------------------------------------------------------------------------

a_job_that_is_killed_is_answered(_Config) ->
    Ctx = fake(#{}),
    waiting(f),
    [
        begin
            callback(Ctx, Id, call(<<"f">>)),
            Job = running(),
            exit(Job, Reason),
            ?assertEqual({Reason, {error, {killed, Expected}}}, {Reason, answer_of(Ctx, Id)})
        end
     || {Id, {Reason, Expected}} <- lists:enumerate([
            {kill, killed}, {shutdown, shutdown}, {{some, <<"reason">>}, {some, <<"reason">>}}
        ])
    ],
    ?assert(idle(Ctx)).

a_job_killed_for_a_huge_reason_is_answered_with_text(_Config) ->
    Ctx = fake(#{}),
    waiting(f),
    callback(Ctx, 1, call(<<"f">>)),
    exit(running(), {huge, lists:seq(1, 1000000)}),
    {error, {killed, Text}} = answer_of(Ctx, 1),
    ?assert(is_binary(Text) andalso byte_size(Text) < 8192).

a_job_that_leaves_without_a_word_is_answered(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(sneak, fun(_) -> proc_lib:hibernate(erlang, self, []) end),
    callback(Ctx, 1, call(<<"sneak">>)),
    true = py_port_test:wait_until(fun() -> ets:info(?JOBS, size) =:= 1 end, 60000),
    [#job{pid = Job}] = ets:tab2list(?JOBS),
    Job ! wake,
    ?assertEqual({error, {killed, normal}}, answer_of(Ctx, 1)).

a_cancelled_job_is_killed_and_answered(_Config) ->
    Ctx = fake(#{}),
    Test = self(),
    ok = py_port:register_function(stubborn, fun(_) ->
        _ = process_flag(trap_exit, true),
        [unlink(P) || P <- element(2, process_info(self(), links))],
        Test ! {running, self(), []},
        receive
            never -> ok
        end
    end),
    callback(Ctx, 1, call(<<"stubborn">>)),
    Job = running(),
    {ok, ok} = py_port:call(Ctx, fake, cancel_callback, [1]),
    ok = gone(Job),
    ?assertEqual({error, cancelled}, answer_of(Ctx, 1)),
    ?assert(idle(Ctx)),
    %% Its cancel may come after the end, and does no harm.
    ok = py_port:register_function(quick, fun(_) -> 1 end),
    callback(Ctx, 2, call(<<"quick">>)),
    ?assertEqual({ok, 1}, answer_of(Ctx, 2)),
    {ok, ok} = py_port:call(Ctx, fake, cancel_callback, [2]),
    ?assertEqual({ok, 2}, py_port:call(Ctx, fake, answers_so_far, [])).

a_thousand_jobs_die_with_their_context(_Config) ->
    Ctx = fake(#{}),
    Test = self(),
    ok = py_port:register_function(stay, fun([How]) ->
        _ = How =:= <<"stubborn">> andalso process_flag(trap_exit, true),
        [unlink(P) || How =:= <<"stubborn">>, P <- element(2, process_info(self(), links))],
        Test ! {running, self(), []},
        receive
            never -> ok
        end
    end),
    {ok, _} = py_port:call(Ctx, fake, callbacks, [1, 500, term_to_binary(call(<<"stay">>, [<<"stubborn">>]))]),
    {ok, _} = py_port:call(Ctx, fake, callbacks, [501, 1000, term_to_binary(call(<<"stay">>, [<<"meek">>]))]),
    Jobs = [running() || _ <- lists:seq(1, 1000)],
    ?assertMatch(#{callbacks := 1000}, py_port:info(Ctx)),
    ?assertEqual(1000, proplists:get_value(active, supervisor:count_children(py_port_job_sup))),
    {error, {worker_down, _}} = py_port:call(Ctx, fake, die, [9]),
    {worker_killed, sigkill, _} = exit_of(Ctx),
    %% at once, not some time later
    ?assertEqual([], [P || P <- Jobs, is_process_alive(P)]),
    ?assertEqual([], ets:tab2list(?JOBS)).

%% A job whose answer finds the pipe full waits in the port, and nobody else does.
jobs_that_wait_for_a_full_pipe_die_with_their_context(_Config) ->
    Ctx = fake(#{}),
    Test = self(),
    ok = py_port:register_function(big, fun([]) ->
        Test ! {running, self(), []},
        receive
            go -> binary:copy(<<"x">>, 4 * 1024 * 1024)
        end
    end),
    {ok, ok} = py_port:call(Ctx, fake, callbacks, [1, 10, term_to_binary(call(<<"big">>))]),
    Jobs = [running() || _ <- lists:seq(1, 10)],
    Call = py_port_test:async(fun() -> py_port:call(Ctx, fake, deaf, []) end),
    true = py_port_test:wait_until(fun() -> py_port_trouble:in_flight(Ctx) =:= 1 end, 60000),
    [Job ! go || Job <- Jobs],
    Suspended = fun(P) -> erlang:process_info(P, status) =:= {status, suspended} end,
    true = py_port_test:wait_until(fun() -> lists:any(Suspended, Jobs) end, 60000),
    %% The owner is not among those who wait.
    ?assertMatch(#{callbacks := N} when N > 0, sys:get_state(Ctx)),
    ok = py_port:stop_context(Ctx, 0),
    ?assertEqual([], [P || P <- Jobs, is_process_alive(P)]),
    ?assertEqual({error, {worker_down, stopped}}, py_port_test:await(Call)).

jobs_die_with_an_owner_that_is_killed(_Config) ->
    Ctx = fake(#{}),
    Test = self(),
    ok = py_port:register_function(stubborn, fun(_) ->
        _ = process_flag(trap_exit, true),
        Test ! {running, self(), []},
        receive
            never -> ok
        end
    end),
    {ok, _} = py_port:call(Ctx, fake, callbacks, [1, 20, term_to_binary(call(<<"stubborn">>))]),
    Jobs = [running() || _ <- lists:seq(1, 20)],
    exit(Ctx, kill),
    ok = lists:foreach(fun py_port_callback_bed:gone/1, Jobs),
    ?assert(py_port_test:wait_until(fun() -> ets:tab2list(?JOBS) =:= [] end, 60000)).

jobs_die_with_a_context_that_is_stopped(_Config) ->
    Ctx = fake(#{}),
    waiting(f),
    callback(Ctx, 1, call(<<"f">>)),
    Job = running(),
    ok = py_port:stop_context(Ctx, 1000),
    ?assertNot(is_process_alive(Job)).

the_table_of_functions_outlives_its_process(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(f, fun(_) -> still end),
    Before = whereis(py_port_callbacks),
    exit(Before, kill),
    ok = gone(Before),
    %% also in between
    ?assertEqual({ok, still}, call_back(Ctx, 1, call(<<"f">>))),
    true = py_port_test:wait_until(fun() -> is_pid(whereis(py_port_callbacks)) end, 60000),
    ok = py_port:register_function(g, fun(_) -> new end),
    ?assertEqual({ok, new}, call_back(Ctx, 2, call(<<"g">>))),
    ?assertEqual({ok, still}, call_back(Ctx, 3, call(<<"f">>))).

the_end_of_the_supervisor_is_the_end_of_all_jobs(_Config) ->
    Ctx = fake(#{}),
    Test = self(),
    waiting(meek),
    ok = py_port:register_function(stubborn, fun(_) ->
        _ = process_flag(trap_exit, true),
        Test ! {running, self(), []},
        receive
            never -> ok
        end
    end),
    callback(Ctx, 1, call(<<"meek">>)),
    Meek = running(),
    callback(Ctx, 2, call(<<"stubborn">>)),
    Stubborn = running(),
    ?assertEqual(
        lists:sort([Meek, Stubborn]), lists:sort([P || {_, P, _, _} <- supervisor:which_children(py_port_job_sup)])
    ),
    exit(whereis(py_port_job_sup), kill),
    ok = gone(Meek),
    ok = gone(Stubborn),
    ?assertEqual({error, {killed, killed}}, answer_of(Ctx, 1)),
    ?assertEqual({error, {killed, killed}}, answer_of(Ctx, 2)),
    %% The context goes on.
    true = py_port_test:wait_until(fun() -> is_pid(whereis(py_port_job_sup)) end, 60000),
    ok = py_port:register_function(f, fun(_) -> 1 end),
    ?assertEqual({ok, 1}, call_back(Ctx, 3, call(<<"f">>))).

%% Workers that break the rules ----------------------------------------------------------------------------------------

too_many_callbacks_end_the_context(_Config) ->
    Ctx = fake(#{max_callbacks => 10}),
    waiting(f),
    %% twice what an honest worker may have out: ten, and one for each depth, of those that wait and of the others
    Most = 2 * (10 + 2 * 101),
    {ok, _} = py_port:call(Ctx, fake, callbacks, [1, Most, term_to_binary(call(<<"f">>))]),
    Jobs = [running() || _ <- lists:seq(1, Most)],
    ?assertMatch(#{callbacks := Most}, py_port:info(Ctx)),
    _ = py_port:call(Ctx, fake, callbacks, [Most + 1, Most + 1, term_to_binary(call(<<"f">>))]),
    ?assertMatch({protocol_error, callback_without_credit, _}, exit_of(Ctx)),
    ?assertEqual([], [P || P <- Jobs, is_process_alive(P)]).

the_credit_comes_back(_Config) ->
    Ctx = fake(#{max_callbacks => 10}),
    ok = py_port:register_function(f, fun(_) -> 1 end),
    [?assertEqual({ok, 1}, call_back(Ctx, N, call(<<"f">>))) || N <- lists:seq(1, 100)],
    ?assert(idle(Ctx)).

frames_that_lie_end_the_context(_Config) ->
    waiting(f),
    Payload = term_to_binary(call(<<"f">>)),
    Head = fun(Flags, Id, Parent) -> <<16#61, Flags, 0:16, Id:64, Parent:64, 0:64>> end,
    [
        begin
            Ctx = fake(#{}),
            _ = py_port:call(Ctx, fake, raw, Frames),
            ?assertMatch({Frames, {protocol_error, Expected, _}}, {Frames, exit_of(Ctx)})
        end
     || {Frames, Expected} <- [
            {[<<(Head(0, 0, 0))/binary, Payload/binary>>], {callback_without_id, 0}},
            {[<<(Head(0, 7, 0))/binary, Payload/binary>>, <<(Head(0, 7, 0))/binary, Payload/binary>>], {callback_id_used_twice, 7}},
            {[<<(Head(0, 7, 1 bsl 40))/binary, Payload/binary>>], {id_never_issued, 1 bsl 40}},
            {[<<(Head(2, 7, 0))/binary, Payload/binary>>], {unexpected_frame, callback}},
            {[<<16#61, 0, 1:16, 7:64, 0:128, Payload/binary>>], {unexpected_frame, callback}},
            {[<<16#61, 0, 0:16, 7:64>>], {unexpected_frame, callback}},
            {[<<(Head(1, 7, 0))/binary, 100:16, "short">>], {unexpected_frame, callback}},
            {[<<16#62, 0, 0:16, 7:64>>], {cancel_without_callback, 7}},
            {[<<16#62, 0, 0:16, 7:64, 1>>], {unexpected_frame, callback_cancel}}
        ]
    ].

the_parent_may_be_over(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(f, fun(_) -> get('$callers') end),
    callback(Ctx, 1, 5, call(<<"f">>)),
    ?assertEqual({ok, undefined}, answer_of(Ctx, 1)).
