%% @doc Calls from Python to Erlang, the Erlang half: a worker made of a script sends every CALLBACK frame itself, well or
%% badly, and shows every answer it got. Whatever becomes of a job, its answer comes, once, and nothing of it is left.
%%
%% The numbers of callbacks are chosen by the tests, as the worker chooses them.
%% @end
-module(py_port_callbacks_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-include("../../erl_src/py_port.hrl").

-import(py_port_trouble, [exit_of/1]).

-define(OK, 16#30).
-define(ERROR, 16#31).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- helpers().

helpers() -> [give_length, crash, fake, call, answer, waiting, gone, idle].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) ->
    ok.

init_per_testcase(_Case, Config) ->
    _ = process_flag(trap_exit, true),
    Config.

end_per_testcase(_Case, Config) ->
    _ = [py_port:unregister_function(Name) || {Name, _} <- ets:tab2list(?FUNCTIONS)],
    Result = py_port_test:end_per_testcase(Config),
    ?assertEqual([], ets:tab2list(?JOBS)),
    ?assertEqual([], supervisor:which_children(py_port_job_sup)),
    Result.

fake(Options) ->
    py_port_test:start_context(maps:merge(#{worker => py_port_trouble:support("fake_worker.py"), io => null}, Options)).

%% Python calls within a request, which waits for the answer.
call_back(Ctx, Id, Op) -> call_back(Ctx, Id, Op, #{}).

call_back(Ctx, Id, Op, Opts) ->
    #{deadline := Deadline, trace := Trace} = maps:merge(#{deadline => 0, trace => <<>>}, Opts),
    Args = [Id, Deadline, Trace, term_to_binary(Op)],
    case py_port:call(Ctx, fake, call_back, Args, #{}, maps:with([timeout], Opts)) of
        {ok, Answer} -> answer(Answer);
        Other -> Other
    end.

%% Python calls from a thread of its own.
callback(Ctx, Id, Op) -> callback(Ctx, Id, 0, Op).

callback(Ctx, Id, Parent, Op) ->
    {ok, ok} = py_port:call(Ctx, fake, callback, [Id, Parent, term_to_binary(Op)]),
    ok.

answer_of(Ctx, Id) ->
    {ok, Answer} = py_port:call(Ctx, fake, answer_of, [Id], #{}, #{timeout => 60000}),
    answer(Answer).

answer({?OK, Payload}) -> {ok, binary_to_term(Payload)};
answer({?ERROR, Payload}) -> {error, binary_to_term(Payload)}.

call(Name) -> call(Name, []).
call(Name, Args) -> {call, Name, Args}.

%% A function that says where it runs and then waits to be let go.
waiting(Name) ->
    Test = self(),
    ok = py_port:register_function(Name, fun(Args) ->
        Test ! {running, self(), Args},
        receive
            {go, What} -> What()
        end
    end).

running() ->
    receive
        {running, Pid, _} -> Pid
    after 60000 -> error(nothing_runs)
    end.

gone(Pid) ->
    Ref = erlang:monitor(process, Pid),
    receive
        {'DOWN', Ref, process, Pid, _} -> ok
    after 60000 -> error({lives, Pid, erlang:process_info(Pid)})
    end.

idle(Ctx) ->
    py_port_test:wait_until(fun() -> maps:get(callbacks, py_port:info(Ctx)) =:= 0 end, 60000).

%% Answers -------------------------------------------------------------------------------------------------------------

a_function_gets_the_list_and_gives_the_result(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(add, fun([A, B]) -> A + B end),
    ok = py_port:register_function("ümläut", fun(Args) -> {got, Args} end),
    ok = py_port:register_function(<<"length">>, ?MODULE, give_length),
    ?assertEqual({ok, 3}, call_back(Ctx, 1, call(<<"add">>, [1, 2]))),
    ?assertEqual({ok, {got, []}}, call_back(Ctx, 2, call(<<"ümläut"/utf8>>))),
    ?assertEqual({ok, 2}, call_back(Ctx, 3, call(<<"length">>, [a, b]))),
    callback(Ctx, 4, call(<<"add">>, [40, 2])),
    ?assertEqual({ok, 42}, answer_of(Ctx, 4)).

give_length(Args) -> length(Args).

an_error_that_is_returned_is_data(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(fails, fun([Why]) -> {error, Why} end),
    ?assertEqual({ok, {error, <<"x">>}}, call_back(Ctx, 1, call(<<"fails">>, [<<"x">>]))).

every_class_of_failure_is_told_apart(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(fail, fun([Class]) -> ?MODULE:crash(Class) end),
    [
        begin
            {error, {failed, Got, Reason, Stack}} = call_back(Ctx, N, call(<<"fail">>, [atom_to_binary(Class)])),
            ?assertEqual({Class, {oops, Class}}, {Got, Reason}),
            ?assertMatch({_, _}, binary:match(Stack, <<"py_port_callbacks_SUITE:crash/1 (">>))
        end
     || {N, Class} <- [{1, error}, {2, exit}, {3, throw}]
    ],
    %% nothing answered twice, nobody died
    ?assertEqual({ok, 3}, py_port:call(Ctx, fake, answers_so_far, [])).

crash(<<"error">>) -> error({oops, error});
crash(<<"exit">>) -> exit({oops, exit});
crash(<<"throw">>) -> throw({oops, throw}).

an_exit_that_says_normal_is_a_failure(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(bye, fun(_) -> exit(normal) end),
    ?assertMatch({error, {failed, exit, normal, _}}, call_back(Ctx, 1, call(<<"bye">>))).

an_unknown_name_is_not_found(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(known, fun(_) -> yes end),
    ?assertEqual({error, {not_found, <<"nope">>}}, call_back(Ctx, 1, call(<<"nope">>))),
    ?assertEqual({ok, true}, call_back(Ctx, 2, {exists, <<"known">>})),
    ?assertEqual({ok, false}, call_back(Ctx, 3, {exists, <<"nope">>})),
    ok = py_port:unregister_function(<<"known">>),
    ?assertEqual({error, {not_found, <<"known">>}}, call_back(Ctx, 4, call(<<"known">>))),
    ?assertEqual({ok, false}, call_back(Ctx, 5, {exists, <<"known">>})).

a_function_removed_while_it_runs_is_answered(_Config) ->
    Ctx = fake(#{}),
    waiting(slow),
    callback(Ctx, 1, call(<<"slow">>)),
    Job = running(),
    ok = py_port:unregister_function(slow),
    Job ! {go, fun() -> done end},
    ?assertEqual({ok, done}, answer_of(Ctx, 1)).

a_name_registered_again_is_the_new_function(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(f, fun(_) -> 1 end),
    ok = py_port:register_function("f", fun(_) -> 2 end),
    ?assertEqual({ok, 2}, call_back(Ctx, 1, call(<<"f">>))).

wrong_registrations_say_what_is_wrong(_Config) ->
    F = fun(_) -> ok end,
    [
        ?assertMatch({Which, {error, {bad_argument, Which, <<_, _/binary>>}}}, {Which, Got})
     || {Which, Got} <- [
            {name, py_port:register_function(1, F)},
            {name, py_port:register_function("", F)},
            {name, py_port:register_function(<<255>>, F)},
            {function, py_port:register_function(f, fun() -> ok end)},
            {function, py_port:register_function(f, lists)},
            {function, py_port:register_function(f, "lists", map)},
            {name, py_port:unregister_function({f})}
        ]
    ],
    ?assertEqual([], ets:tab2list(?FUNCTIONS)).

what_is_no_operation_is_refused_and_harms_nobody(_Config) ->
    Ctx = fake(#{}),
    Refused = [
        <<>>, <<131>>, <<131, 97, 1, 97, 1>>, <<131, 119, 20, "py_port_never_seen_3">>,
        term_to_binary({call, add, []}),
        term_to_binary({call, <<"f">>, [a | b]}), term_to_binary({call, <<"f">>}), term_to_binary({}),
        term_to_binary(self), term_to_binary({send, 1, 2}), term_to_binary({monitor, <<"x">>}),
        term_to_binary({channel, 'receive', <<"x">>}), term_to_binary({inlet}),
        term_to_binary({lists:seq(1, 100000)})
    ],
    lists:foreach(
        fun({Id, Payload}) ->
            {ok, Answer} = py_port:call(Ctx, fake, call_back, [Id, 0, <<>>, Payload]),
            ?assertMatch({Payload, {error, {bad_request, <<_, _/binary>>}}}, {Payload, answer(Answer)}),
            ?assert(byte_size(element(2, Answer)) < 4096)
        end,
        lists:enumerate(Refused)
    ),
    ?assert(idle(Ctx)).

a_fun_may_come_back_from_where_it_was_given(_Config) ->
    Ctx = fake(#{}),
    F = fun(X) -> X * 2 end,
    ok = py_port:register_function(make, fun([]) -> F end),
    ok = py_port:register_function(use, fun([G, X]) -> G(X) end),
    ?assertEqual({ok, F}, call_back(Ctx, 2, call(<<"make">>))),
    ?assertEqual({ok, 8}, call_back(Ctx, 3, call(<<"use">>, [F, 4]))).

%% No honest worker sends these: it never compresses, and gives back the funs it got.
what_only_a_hostile_worker_sends_ends_its_context(_Config) ->
    ok = py_port:register_function(use, fun([G, X]) -> G(X) end),
    [
        begin
            Ctx = fake(#{}),
            Got = py_port:call(Ctx, fake, call_back, [1, 0, <<>>, Payload]),
            ?assertMatch({error, {worker_down, {protocol_error, {hostile_reply, _}, _}}}, Got),
            ?assertMatch({protocol_error, {hostile_reply, _}, _}, exit_of(Ctx))
        end
     || Payload <- [<<131, 80, 0, 0>>, term_to_binary(call(<<"use">>, [fun os:cmd/1, "true"]))]
    ].

a_result_that_is_too_large_is_a_failure(_Config) ->
    Ctx = fake(#{max_frame => 1024}),
    ok = py_port:register_function(big, fun([N]) -> binary:copy(<<"x">>, N) end),
    ok = py_port:register_function(fail, fun([N]) -> error(binary:copy(<<"x">>, N)) end),
    ?assertMatch({ok, <<_:1000/binary>>}, call_back(Ctx, 1, call(<<"big">>, [1000]))),
    ?assertEqual({error, {failed, error, {too_large, 1025, 1024}, <<>>}}, call_back(Ctx, 2, call(<<"big">>, [1019]))),
    ?assertMatch({error, {failed, error, {too_large, 20006, 1024}, <<>>}}, call_back(Ctx, 3, call(<<"big">>, [20000]))),
    ?assertMatch({error, {failed, error, <<_/binary>>, <<>>}}, call_back(Ctx, 4, call(<<"fail">>, [2000]))).

large_results_pass(_Config) ->
    Ctx = fake(#{}),
    Bytes = binary:copy(<<"0123456789abcdef">>, 65536),
    ok = py_port:register_function(big, fun(_) -> #{bytes => Bytes, also => [Bytes]} end),
    ?assertEqual({ok, #{bytes => Bytes, also => [Bytes]}}, call_back(Ctx, 1, call(<<"big">>))).

a_huge_reason_becomes_text(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(fail, fun([N]) -> error({huge, lists:seq(1, N)}) end),
    {error, {failed, error, {huge, _}, _}} = call_back(Ctx, 1, call(<<"fail">>, [100])),
    {error, {failed, error, Text, Stack}} = call_back(Ctx, 2, call(<<"fail">>, [1000000])),
    ?assertMatch(<<"{huge,[1,2,3", _/binary>>, Text),
    ?assert(byte_size(Text) < 8192 andalso byte_size(Stack) < 8192).

the_stack_shows_no_arguments(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(undef, fun([Secret]) -> apply(?MODULE, no_such_function, [Secret]) end),
    {error, {failed, error, undef, Stack}} = call_back(Ctx, 1, call(<<"undef">>, [<<"sesame">>])),
    ?assertMatch({_, _}, binary:match(Stack, <<"no_such_function/1">>)),
    ?assertEqual(nomatch, binary:match(Stack, <<"sesame">>)).

%% What a context may call ---------------------------------------------------------------------------------------------

a_context_calls_what_it_was_granted_and_nothing_else(_Config) ->
    ok = py_port:register_function(free, fun(_) -> free end),
    ok = py_port:register_function(granted, fun(_) -> granted end),
    Ctx = fake(#{
        functions => [
            granted, "later", {own, fun(Args) -> {own, Args} end}, {<<"count">>, ?MODULE, give_length}, {lists, reverse, 1},
            {lists, seq, 2}, {lists, seq, 3}
        ]
    }),
    ?assertEqual({ok, granted}, call_back(Ctx, 1, call(<<"granted">>))),
    ?assertEqual({error, {not_found, <<"free">>}}, call_back(Ctx, 2, call(<<"free">>))),
    ?assertEqual({ok, {own, [1]}}, call_back(Ctx, 3, call(<<"own">>, [1]))),
    ?assertEqual({ok, 3}, call_back(Ctx, 4, call(<<"count">>, [1, 2, 3]))),
    ?assertEqual({ok, [3, 2, 1]}, call_back(Ctx, 5, call(<<"lists:reverse">>, [[1, 2, 3]]))),
    ?assertEqual({error, {not_found, <<"lists:reverse/2">>}}, call_back(Ctx, 6, call(<<"lists:reverse">>, [[1], [2]]))),
    ?assertEqual({error, {not_found, <<"lists:append">>}}, call_back(Ctx, 7, call(<<"lists:append">>, [[[1]]]))),
    ?assertEqual({ok, [1, 2]}, call_back(Ctx, 8, call(<<"lists:seq">>, [1, 2]))),
    ?assertEqual({ok, [1, 3]}, call_back(Ctx, 9, call(<<"lists:seq">>, [1, 3, 2]))),
    ?assertEqual({error, {not_found, <<"later">>}}, call_back(Ctx, 10, call(<<"later">>))),
    ok = py_port:register_function(later, fun(_) -> now end),
    ?assertEqual({ok, now}, call_back(Ctx, 11, call(<<"later">>))),
    ?assertEqual(
        [true, false, true, true, false],
        [
            element(2, call_back(Ctx, 20 + N, {exists, Name}))
         || {N, Name} <- lists:enumerate([<<"granted">>, <<"free">>, <<"own">>, <<"lists:seq">>, <<"lists:append">>])
        ]
    ),
    ?assertEqual({error, {not_found, <<"granted">>}}, call_back(fake(#{functions => []}), 1, call(<<"granted">>))).

wrong_grants_are_named(_Config) ->
    F = fun(_) -> ok end,
    [
        begin
            {error, {bad_option, Key, Why}} = py_port:start_context(#{Key => Value}),
            ?assertMatch({Value, {_, _}}, {Value, binary:match(Why, Part)})
        end
     || {Key, Value, Part} <- [
            {functions, none, <<"list">>},
            {functions, [{f, 1}], <<"{f,1}">>},
            {functions, [ok_name, {f, fun() -> ok end}], <<"{f,#Fun">>},
            {functions, [{lists, map, -1}], <<"{lists,map,-1}">>},
            {functions, [{lists, map, 256}], <<"{lists,map,256}">>},
            {functions, [f, {"f", F}], <<"f is there twice">>},
            {functions, ["lists:map", {lists, map, 2}], <<"lists:map is there twice">>},
            {functions, [""], <<"[]">>},
            {functions, [f | g], <<"list">>},
            {send_to, all, <<"any">>},
            {send_to, [given, "logger"], <<"\"logger\"">>},
            {send_to, [self()], <<"<0.">>},
            {max_callbacks, 0, <<"integer">>}
        ]
    ].

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
    ok = lists:foreach(fun gone/1, Jobs),
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

%% Lineage -------------------------------------------------------------------------------------------------------------

%% {Parent, whether there is a deadline} of a request that is made through How.
lineage(Ctx, Id, How) ->
    ok = py_port:register_function(lineage, fun([]) -> How(fun() -> py_port:call(Ctx, fake, header, []) end) end),
    {ok, {ok, {Parent, _}}} = call_back(Ctx, Id, call(<<"lineage">>)),
    Parent.

elsewhere(Spawn, Do) ->
    Self = self(),
    _ = Spawn(fun() -> Self ! {result, Do()} end),
    receive
        {result, Result} -> Result
    end.

what_descends_from_a_callback_says_so(_Config) ->
    Ctx = fake(#{}),
    Spawn = fun(F) -> spawn(F) end,
    ProcLib = fun(F) -> proc_lib:spawn_link(F) end,
    ?assertEqual(1, lineage(Ctx, 1, fun(Do) -> Do() end)),
    ?assertEqual(2, lineage(Ctx, 2, fun(Do) -> elsewhere(Spawn, Do) end)),
    ?assertEqual(3, lineage(Ctx, 3, fun(Do) -> elsewhere(ProcLib, Do) end)),
    ?assertEqual(4, lineage(Ctx, 4, fun(Do) -> elsewhere(Spawn, fun() -> elsewhere(Spawn, Do) end) end)),
    ?assertEqual(5, lineage(Ctx, 5, fun(Do) -> elsewhere(ProcLib, fun() -> elsewhere(ProcLib, Do) end) end)),
    ?assertEqual(6, lineage(Ctx, 6, fun(Do) -> elsewhere(ProcLib, fun() -> elsewhere(Spawn, Do) end) end)),
    ?assertEqual(7, lineage(Ctx, 7, fun(Do) -> elsewhere(Spawn, fun() -> elsewhere(ProcLib, Do) end) end)),
    %% proc_lib writes down the name of a parent that has one
    ?assertEqual(8, lineage(Ctx, 8, fun(Do) ->
        true = register(a_named_job, self()),
        elsewhere(ProcLib, Do)
    end)).

one_who_works_for_a_job_descends_from_it(_Config) ->
    Ctx = fake(#{}),
    Stranger = stranger(),
    Ask = fun(Callers, Do) ->
        Self = self(),
        Stranger ! {do, Self, fun() ->
            _ = put('$callers', Callers(Self)),
            Do()
        end},
        receive
            {done, Result} -> Result
        end
    end,
    ?assertEqual(0, lineage(Ctx, 1, fun(Do) -> Ask(fun(_) -> [] end, Do) end)),
    ?assertEqual(2, lineage(Ctx, 2, fun(Do) -> Ask(fun(Job) -> [Job] end, Do) end)),
    ?assertEqual(3, lineage(Ctx, 3, fun(Do) -> Ask(fun(Job) -> [list_to_pid("<0.0.0>"), Job] end, Do) end)),
    ?assertEqual(0, lineage(Ctx, 4, fun(Do) -> Ask(fun(_) -> [nonsense | tail] end, Do) end)),
    %% for the child of a job
    ?assertEqual(5, lineage(Ctx, 5, fun(Do) ->
        elsewhere(fun(F) -> spawn(F) end, fun() -> Ask(fun(Child) -> [Child] end, Do) end)
    end)),
    %% a child of one who works for a job
    ?assertEqual(6, lineage(Ctx, 6, fun(Do) ->
        Ask(fun(Job) -> [Job] end, fun() -> elsewhere(fun(F) -> spawn(F) end, Do) end)
    end)),
    Stranger ! stop.

stranger() ->
    Loop = fun(Loop) ->
        receive
            {do, From, Do} ->
                From ! {done, Do()},
                Loop(Loop);
            stop ->
                ok
        end
    end,
    spawn(fun() -> Loop(Loop) end).

strangers_descend_from_nothing(_Config) ->
    Ctx = fake(#{}),
    Other = fake(#{}),
    waiting(f),
    callback(Ctx, 1, call(<<"f">>)),
    Job = running(),
    ?assertMatch({ok, {0, 0}}, py_port:call(Ctx, fake, header, [])),
    ?assertEqual({ok, {0, 0}}, py_port_trouble:aside(fun() -> py_port:call(Ctx, fake, header, []) end)),
    %% nor does a job of one context from another's
    Test = self(),
    Job ! {go, fun() ->
        Test ! {header, py_port:call(Other, fake, header, [])},
        receive
            {go, What} -> What()
        end
    end},
    ?assertEqual({ok, {0, 0}}, receive {header, H} -> H end),
    callback(Other, 1, call(<<"f">>)),
    OtherJob = running(),
    Job ! {go, fun() -> py_port:call(Other, fake, header, []) end},
    ?assertEqual({ok, {ok, {0, 0}}}, answer_of(Ctx, 1)),
    OtherJob ! {go, fun() -> ok end},
    {ok, ok} = answer_of(Other, 1).

%% Ctx calls back, the job asks Other, which calls back, and that job asks Ctx.
lineage_goes_through_other_contexts(_Config) ->
    Ctx = fake(#{}),
    Other = fake(#{}),
    Deadline = os:perf_counter(nanosecond) + 3600 * 1000000000,
    Near = Deadline - 1000000000,
    ok = py_port:register_function(inner, fun([]) -> py_port:call(Ctx, fake, header, []) end),
    ok = py_port:register_function(outer, fun([]) ->
        call_back(Other, 77, call(<<"inner">>), #{deadline => Near})
    end),
    ?assertEqual({ok, {ok, {ok, {5, Near}}}}, call_back(Ctx, 5, call(<<"outer">>), #{deadline => Deadline})),
    %% with processes in between
    ok = py_port:register_function(outer, fun([]) ->
        elsewhere(fun(F) -> spawn(F) end, fun() -> call_back(Other, 78, call(<<"inner">>)) end)
    end),
    ?assertEqual({ok, {ok, {ok, {6, Deadline}}}}, call_back(Ctx, 6, call(<<"outer">>), #{deadline => Deadline})).

%% The same process, before and after: what was found is not kept beyond its time.
a_child_that_outlives_its_job_descends_from_nothing(_Config) ->
    Ctx = fake(#{}),
    Test = self(),
    ok = py_port:register_function(leave_child, fun([]) ->
        Child = stranger(),
        Child ! {do, self(), fun() -> py_port:call(Ctx, fake, header, []) end},
        receive
            {done, Header} -> Test ! {child, Child, Header}
        end
    end),
    {ok, _} = call_back(Ctx, 1, call(<<"leave_child">>)),
    {Child, Header} = receive {child, C, H} -> {C, H} end,
    ?assertMatch({ok, {1, _}}, Header),
    waiting(f),
    callback(Ctx, 2, call(<<"f">>)),
    Job = running(),
    Child ! {do, self(), fun() -> py_port:call(Ctx, fake, header, []) end},
    ?assertEqual({ok, {0, 0}}, receive {done, Later} -> Later end),
    Child ! stop,
    Job ! {go, fun() -> ok end},
    {ok, ok} = answer_of(Ctx, 2).

a_cast_descends_from_nothing(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(f, fun([]) ->
        ok = py_port:cast(Ctx, fake, header, []),
        {ok, {Parent, _}} = py_port:call(Ctx, fake, header, []),
        Parent
    end),
    ?assertEqual({ok, 3}, call_back(Ctx, 3, call(<<"f">>), #{deadline => os:perf_counter(nanosecond) + 60000000000})).

%% Deadlines -----------------------------------------------------------------------------------------------------------

the_nearer_deadline_holds(_Config) ->
    Ctx = fake(#{}),
    Far = os:perf_counter(nanosecond) + 3600 * 1000000000,
    ok = py_port:register_function(header, fun([Ms]) ->
        py_port:call(Ctx, fake, header, [], #{}, #{timeout => Ms})
    end),
    {ok, {ok, {1, Far}}} = call_back(Ctx, 1, call(<<"header">>, [infinity]), #{deadline => Far}),
    {ok, {ok, {2, Far}}} = call_back(Ctx, 2, call(<<"header">>, [7200 * 1000]), #{deadline => Far}),
    {ok, {ok, {3, Near}}} = call_back(Ctx, 3, call(<<"header">>, [60000]), #{deadline => Far}),
    ?assert(Near < Far),
    {ok, {ok, {4, 0}}} = call_back(Ctx, 4, call(<<"header">>, [infinity])).

a_nested_call_ends_with_the_deadline_of_its_callback(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(nested, fun([]) -> py_port:call(Ctx, fake, sleep, [60000]) end),
    Soon = os:perf_counter(nanosecond) + 2000 * 1000000,
    ?assertEqual({ok, {error, timeout}}, call_back(Ctx, 1, call(<<"nested">>), #{deadline => Soon})).

work_whose_deadline_has_passed_is_not_begun(_Config) ->
    Ctx = fake(#{}),
    Test = self(),
    ok = py_port:register_function(f, fun([]) -> Test ! began end),
    ?assertEqual({error, timeout}, call_back(Ctx, 1, call(<<"f">>), #{deadline => 1})),
    ?assertEqual([], [began || began <- py_port_test:flush()]).

%% Who called ----------------------------------------------------------------------------------------------------------

a_function_knows_who_called(_Config) ->
    Ctx = fake(#{}),
    ?assertEqual(undefined, py_port:caller()),
    ok = py_port:register_function(who, fun([]) ->
        {py_port:caller(), elsewhere(fun(F) -> spawn(F) end, fun py_port:caller/0), get('$callers'), get('$ancestors')}
    end),
    Deadline = os:perf_counter(nanosecond) + 60 * 1000000000,
    Trace = <<"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01">>,
    {ok, {Caller, Child, Callers, Ancestors}} =
        call_back(Ctx, 1, call(<<"who">>), #{deadline => Deadline, trace => Trace}),
    #{context := Ctx, function := <<"who">>, deadline := Deadline, trace := Trace, remaining := Ms} = Caller,
    ?assert(Ms > 0 andalso Ms =< 60000),
    ?assertEqual(maps:remove(remaining, Caller), maps:remove(remaining, Child)),
    ?assertEqual([self()], Callers),
    ?assertEqual([Ctx], Ancestors),
    callback(Ctx, 2, call(<<"who">>)),
    {ok, {Plain, _, undefined, _}} = answer_of(Ctx, 2),
    Nothing = #{remaining => infinity, deadline => infinity, trace => none},
    ?assertEqual(Nothing#{context => Ctx, name => none, function => <<"who">>}, Plain),
    Named = fake(#{name => {global, "Ü"}}),
    ?assertMatch({ok, {#{name := {global, "Ü"}}, _, _, _}}, call_back(Named, 1, call(<<"who">>))).

%% What a worker calls a trace goes on into other contexts, logs and requests over the network.
a_false_trace_is_none(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(who, fun([]) -> maps:get(trace, py_port:caller()) end),
    Parent = <<"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01">>,
    Who = fun(Id, Trace) -> call_back(Ctx, Id, call(<<"who">>), #{trace => Trace}) end,
    ?assertEqual({ok, Parent}, Who(1, Parent)),
    Both = <<Parent/binary, "\nvendor=x,other=y">>,
    ?assertEqual({ok, Both}, Who(2, Both)),
    False = [
        <<"x">>,
        <<255, 254, 0, 1, 2>>,
        <<Parent/binary, "\na=b\nc=d\r\nX: y">>,
        <<Parent/binary, "x">>,
        <<Parent/binary, "\n", (binary:copy(<<"x">>, 1000))/binary>>,
        binary:replace(Parent, <<"4b">>, <<"\e[">>),
        binary:replace(Parent, <<"-">>, <<"_">>, [global])
    ],
    [?assertEqual({Trace, {ok, none}}, {Trace, Who(Id, Trace)}) || {Id, Trace} <- lists:enumerate(3, False)].

a_deadline_without_end_is_none(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(back, fun([]) ->
        {py_port:call(Ctx, fake, echo, [7]), maps:get(remaining, py_port:caller())}
    end),
    {ok, {Nested, Ms}} = call_back(Ctx, 1, call(<<"back">>), #{deadline => 1 bsl 64 - 1}),
    ?assertEqual({ok, 7}, Nested),
    %% As a timeout has to be.
    ?assert(Ms =< 16#ffffffff).

%% Messages ------------------------------------------------------------------------------------------------------------

messages_reach_whom_they_should(_Config) ->
    Ctx = fake(#{send_to => any}),
    Self = self(),
    true = register(py_port_callbacks_test, self()),
    Dead = spawn(fun() -> ok end),
    ok = gone(Dead),
    ?assertEqual({ok, ok}, call_back(Ctx, 1, {send, Self, {hello, 1}})),
    ?assertEqual({ok, ok}, call_back(Ctx, 2, {send, <<"py_port_callbacks_test">>, {hello, 2}})),
    ?assertEqual({ok, ok}, call_back(Ctx, 3, {send, py_port_callbacks_test, {hello, 3}})),
    ?assertEqual([{hello, 1}, {hello, 2}, {hello, 3}], [M || {hello, _} = M <- py_port_test:flush()]),
    ?assertEqual({error, {noproc, Dead}}, call_back(Ctx, 4, {send, Dead, x})),
    ?assertEqual({error, {noproc, <<"nobody">>}}, call_back(Ctx, 5, {send, <<"nobody">>, x})),
    ?assertEqual({error, {noproc, <<"py_port_no_atom_at_all">>}}, call_back(Ctx, 6, {send, <<"py_port_no_atom_at_all">>, x})),
    ?assertEqual({ok, Self}, call_back(Ctx, 7, {whereis, <<"py_port_callbacks_test">>})),
    ?assertEqual({ok, none}, call_back(Ctx, 8, {whereis, <<"py_port_no_atom_at_all">>})),
    ?assertEqual({ok, Ctx}, call_back(Ctx, 9, {self})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 10, {send, Ctx, {stop, 0}})),
    true = unregister(py_port_callbacks_test).

messages_of_one_thread_keep_their_order(_Config) ->
    Ctx = fake(#{send_to => any}),
    Self = self(),
    [?assertEqual({ok, ok}, call_back(Ctx, N, {send, Self, {number, N}})) || N <- lists:seq(1, 200)],
    ?assertEqual(lists:seq(1, 200), [N || {number, N} <- py_port_test:flush()]).

a_context_reaches_what_it_was_given_and_nothing_else(_Config) ->
    Ctx = fake(#{}),
    Self = self(),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 1, {send, Self, 1})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 2, {send, <<"logger">>, 1})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 3, {send, <<"py_port_no_atom_at_all">>, 1})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 4, {monitor, Self})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 5, {whereis, <<"logger">>})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 6, {channel, 'receive', Self})),
    ok = py_port:exec(Ctx, "x", #{<<"who">> => {deep, [#{in => Self}]}}),
    ?assertEqual({ok, ok}, call_back(Ctx, 7, {send, Self, 1})),
    %% also by a result
    Other = stranger(),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 8, {send, Other, stop})),
    ok = py_port:register_function(give, fun([]) -> Other end),
    {ok, Other} = call_back(Ctx, 9, call(<<"give">>)),
    ?assertEqual({ok, ok}, call_back(Ctx, 10, {send, Other, stop})),
    ok = gone(Other),
    ?assertEqual({error, {noproc, Other}}, call_back(Ctx, 11, {send, Other, stop})).

%% What keeps terms and gives them back is no way to get at a process: not at one with made-up numbers, and not at what
%% other contexts were given.
a_made_up_pid_does_not_come_back_as_a_given_one(_Config) ->
    Ctx = fake(#{}),
    Other = stranger(),
    {ok, {_, Own, _} = Mine} = py_port_channel:new(),
    {ok, {_, Foreign, _} = Theirs} = py_port_channel:new(),
    {ok, {_, Dict} = Shared} = py_shared_dict:new(),
    ok = py_shared_dict:set(Shared, <<"secret">>, 1),
    ok = py_port_channel:send(Theirs, secret),
    ok = py_port:exec(Ctx, "x", #{<<"channel">> => Mine}),
    Named = py_port_error:text(pid_to_list(Other)),
    {error, {forbidden, Why}} = call_back(Ctx, 1, call(<<"state_set">>, [<<"key">>, #{<<"deep">> => [Other]}])),
    ?assertMatch({_, _}, binary:match(Why, Named)),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 2, call(<<"state_set">>, [<<"key">>, [Foreign | Dict]]))),
    ?assertEqual({ok, []}, call_back(Ctx, 3, call(<<"state_get">>, [<<"key">>, found]))),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 4, {channel, send, Own, #{Other => 1}})),
    ?assertEqual({ok, empty}, call_back(Ctx, 5, {channel, try_receive, Own})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 6, {send, <<"x">>, Other})),
    ?assertMatch({error, {bad_reply, {unknown_pid, Named}}}, py_port:call(Ctx, fake, answer, [term_to_binary([Other])])),
    ?assertMatch(
        {error, {bad_reply, {unknown_pid, Named}}},
        py_port:call(Ctx, fake, error, [term_to_binary({python, #{notes => [Other]}})])
    ),
    [
        ?assertMatch({Op, {error, {forbidden, _}}}, {Op, call_back(Ctx, Id, Op)})
     || {Id, Op} <- lists:enumerate(10, [
            {send, Other, stop}, {monitor, Other}, {channel, try_receive, Foreign},
            call(<<"shared_dict">>, [<<"find">>, Dict, <<"secret">>])
        ])
    ],
    %% nothing was hostile enough to end it, and what it was given is as good as ever
    ?assertEqual({ok, ok}, call_back(Ctx, 20, {channel, send, Own, {Own, Ctx}})),
    ?assertEqual({ok, {Own, Ctx}}, py_port_channel:recv(Mine)),
    ?assertEqual({ok, secret}, py_port_channel:recv(Theirs)),
    ok = py_port_test:stop_flows(),
    Other ! stop.

%% The reason of a failure names processes that nobody meant to give away.
what_failed_gives_no_process_away(_Config) ->
    Ctx = fake(#{}),
    Self = self(),
    Secret = stranger(),
    Text = py_port_error:text(pid_to_list(Secret)),
    ok = py_port:exec(Ctx, "x", #{<<"known">> => Self}),
    ok = py_port:register_function(fails, fun([]) -> exit({timeout, {gen_server, call, [Secret, #{Self => Secret}]}}) end),
    ?assertMatch(
        {error, {failed, exit, {timeout, {gen_server, call, [Text, #{Self := Text}]}}, _}},
        call_back(Ctx, 1, call(<<"fails">>))
    ),
    waiting(waits),
    callback(Ctx, 2, call(<<"waits">>)),
    exit(running(), {because_of, Secret}),
    ?assertEqual({error, {killed, {because_of, Text}}}, answer_of(Ctx, 2)),
    Watched = stranger(),
    ok = py_port:exec(Ctx, "x", #{<<"watched">> => Watched}),
    callback(Ctx, 3, {monitor, Watched}),
    exit(Watched, {linked_to, Secret}),
    ?assertEqual({ok, {down, Watched, {linked_to, Text}}}, answer_of(Ctx, 3)),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 4, {send, Secret, stop})),
    %% who may send to everybody sees everything
    Trusted = fake(#{send_to => any}),
    {error, {failed, exit, Reason, _}} = call_back(Trusted, 5, call(<<"fails">>)),
    ?assertEqual({timeout, {gen_server, call, [Secret, #{Self => Secret}]}}, Reason),
    Secret ! stop.

%% They believe what they are sent: one message would end another context, or lose what a channel holds.
what_is_behind_a_handle_takes_no_messages(_Config) ->
    Ctx = fake(#{}),
    Victim = fake(#{}),
    {ok, {_, Fifo, _} = Channel} = py_port_channel:new(),
    {ok, {_, Dict} = Shared} = py_shared_dict:new(),
    {ok, Ref} = py_port:call(Victim, fake, echo, [7], #{}, #{return => ref}),
    Reading = py_port_test:context(#{init => "def read(items): return list(items)"}),
    {ok, {_, Reader, Inlet} = Stream} = py_port:open_stream(Reading, '__main__', read, []),
    ok = py_port:exec(Ctx, "x", #{<<"handles">> => [Channel, Shared, Ref, Stream, Victim]}),
    [
        ?assertMatch({Pid, {error, {forbidden, _}}}, {Pid, call_back(Ctx, Id, {send, Pid, {hostile, made_up}})})
     || {Id, Pid} <- lists:enumerate([Fifo, Dict, Victim, Reader, Inlet])
    ],
    ?assertEqual({ok, ok}, call_back(Ctx, 10, {channel, send, Fifo, 1})),
    ?assertEqual({ok, 1}, py_port_channel:recv(Channel)),
    ?assertEqual({ok, 7}, py_port:to_term(Ref)),
    ?assertEqual({ok, 5}, py_port:call(Victim, fake, echo, [5])),
    ok = py_port_stream:close(Stream),
    ok = py_port_test:stop_flows().

a_restricted_context_reaches_the_names_it_was_granted(_Config) ->
    Ctx = fake(#{send_to => [py_port_callbacks_test]}),
    Self = self(),
    ?assertEqual({error, {noproc, <<"py_port_callbacks_test">>}}, call_back(Ctx, 1, {send, <<"py_port_callbacks_test">>, 1})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 2, {send, Self, 1})),
    true = register(py_port_callbacks_test, self()),
    ?assertEqual({ok, ok}, call_back(Ctx, 3, {send, <<"py_port_callbacks_test">>, 1})),
    ?assertEqual({ok, Self}, call_back(Ctx, 4, {whereis, <<"py_port_callbacks_test">>})),
    ?assertEqual({ok, ok}, call_back(Ctx, 5, {send, Self, 1})),
    true = unregister(py_port_callbacks_test),
    %% The name is gone, and given pids were not granted.
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 6, {send, Self, 1})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 7, {send, <<"logger">>, 1})).

the_end_of_a_process_is_told(_Config) ->
    Ctx = fake(#{send_to => any}),
    Who = stranger(),
    callback(Ctx, 1, {monitor, Who}),
    callback(Ctx, 2, {monitor, Who}),
    {ok, ok} = py_port:call(Ctx, fake, cancel_callback, [2]),
    ?assertEqual({error, cancelled}, answer_of(Ctx, 2)),
    Who ! stop,
    ?assertEqual({ok, {down, Who, normal}}, answer_of(Ctx, 1)),
    ?assertEqual({ok, {down, Who, noproc}}, call_back(Ctx, 3, {monitor, Who})).
