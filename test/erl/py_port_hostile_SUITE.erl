%% A worker that lies, floods or falls silent is the end of its own context and of nothing else: the node keeps its atoms
%% and its memory, and another context does not notice. A reply that an honest
%% worker might send and that cannot be accepted costs its caller alone.
-module(py_port_hostile_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([
    wrong_frames_end_the_context/1,
    unknown_flags_end_the_context/1,
    wrong_kinds_of_answer_end_the_context/1,
    frame_over_the_limit_ends_the_context/1,
    announced_frame_that_never_comes_is_bounded_by_the_timeout/1,
    truncated_frame_is_an_exit/1,
    output_without_credit_ends_the_context/1,
    second_answer_ends_the_context/1,
    false_handles_end_the_context/1,
    unacceptable_replies_cost_their_caller_alone/1,
    hostile_replies_end_the_context/1,
    hostile_errors_end_the_context/1,
    hostile_status_ends_the_context/1,
    unknown_atoms_are_not_made/1,
    errors_that_are_not_errors_cost_their_caller_alone/1,
    status_that_lies_is_ignored/1,
    silence_ends_with_the_deadline/1,
    a_stop_is_not_put_off_by_a_question/1,
    closed_pipe_ends_with_the_deadline/1,
    stop_that_is_ignored_ends_the_worker/1,
    flood_instead_of_the_stacks_ends_with_the_kill/1,
    a_forged_report_is_none/1,
    lines_are_no_faster_than_the_rate/1,
    cancelling_without_reading_ends_the_context/1,
    long_errors_of_casts_are_short_in_the_log/1,
    control_characters_do_not_reach_the_log/1,
    claims_at_the_start_are_looked_at/1,
    wrong_start_is_an_error/1
]).

-import(py_port_trouble, [exit_of/1, crowd/2, outcomes/1, dismiss/1]).

all() ->
    [
        wrong_frames_end_the_context,
        unknown_flags_end_the_context,
        wrong_kinds_of_answer_end_the_context,
        frame_over_the_limit_ends_the_context,
        announced_frame_that_never_comes_is_bounded_by_the_timeout,
        truncated_frame_is_an_exit,
        output_without_credit_ends_the_context,
        second_answer_ends_the_context,
        false_handles_end_the_context,
        unacceptable_replies_cost_their_caller_alone,
        hostile_replies_end_the_context,
        hostile_errors_end_the_context,
        hostile_status_ends_the_context,
        unknown_atoms_are_not_made,
        errors_that_are_not_errors_cost_their_caller_alone,
        status_that_lies_is_ignored,
        silence_ends_with_the_deadline,
        a_stop_is_not_put_off_by_a_question,
        closed_pipe_ends_with_the_deadline,
        stop_that_is_ignored_ends_the_worker,
        flood_instead_of_the_stacks_ends_with_the_kill,
        a_forged_report_is_none,
        lines_are_no_faster_than_the_rate,
        cancelling_without_reading_ends_the_context,
        long_errors_of_casts_are_short_in_the_log,
        control_characters_do_not_reach_the_log,
        claims_at_the_start_are_looked_at,
        wrong_start_is_an_error
    ].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) ->
    ok.

%% The healthy context stands for everybody else on the node.
init_per_testcase(_Case, Config) ->
    _ = process_flag(trap_exit, true),
    Healthy = hostile(#{}),
    Pid = py_port_test:os_pid(Healthy),
    [{healthy, {Healthy, Pid}} | Config].

end_per_testcase(_Case, Config) ->
    _ = process_flag(trap_exit, true),
    {Healthy, Pid} = proplists:get_value(healthy, Config),
    ?assertEqual({ok, 5}, py_port:call(Healthy, fake, echo, [5])),
    ?assertEqual(Pid, py_port_test:os_pid(Healthy)),
    py_port_test:end_per_testcase(Config).

hostile(Options) ->
    py_port_test:start_context(with_worker(Options)).

with_worker(Options) ->
    maps:merge(#{worker => py_port_trouble:support("hostile_worker.py"), io => null}, Options).

%% The end of a context ------------------------------------------------------------------------------------------------

frame(Kind, Id, Payload) -> frame(Kind, 0, Id, Payload).
frame(Kind, Flags, Id, Payload) -> <<Kind, Flags, 0:16, Id:64, Payload/binary>>.

wrong_frames_end_the_context(_Config) ->
    One = term_to_binary(1),
    lists:foreach(
        fun({Frame, Expected}) -> ends_with(raw, [Frame], Expected) end,
        [
            {<<>>, empty_frame},
            {<<16#50>>, any},
            {<<16#50, 0, 0:16, 1:32>>, any},
            {frame(16#7f, 1, <<>>), any},
            {frame(16#10, 1, <<>>), any},
            {frame(16#40, 1, <<0:160>>), any},
            {frame(16#41, 1, term_to_binary(#{})), any},
            {frame(16#42, 1, One), any},
            {frame(16#50, 1 bsl 40, One), {id_never_issued, 1 bsl 40}},
            {frame(16#51, 1 bsl 63, One), {id_never_issued, 1 bsl 63}},
            {frame(16#54, 1 bsl 40, <<>>), {id_never_issued, 1 bsl 40}},
            {frame(16#50, 0, One), any},
            {frame(16#50, 3, One), {answered_twice, 3}},
            {frame(16#60, 2, 0, binary:copy(<<"x">>, 100000)), {line_too_long, 100000}}
        ]
    ).

%% docs/protocol.md, section 2: an unknown flag is a protocol error.
unknown_flags_end_the_context(_Config) ->
    lists:foreach(
        fun(Frame) -> ends_with(raw, [Frame], any) end,
        [frame(16#60, 16#c1, 0, <<"line">>), frame(16#60, 0, 0, <<"neither stdout nor stderr">>)]
    ).

wrong_kinds_of_answer_end_the_context(_Config) ->
    lists:foreach(
        fun({Kind, Payload}) -> ends_with(as, [Kind, Payload], any) end,
        [
            {16#53, term_to_binary(ok)},
            {16#54, <<>>},
            {16#55, <<9>>},
            {16#55, <<>>},
            {16#52, <<1, 2, 3>>},
            {16#52, <<1:64>>}
        ]
    ).

frame_over_the_limit_ends_the_context(_Config) ->
    Ctx = hostile(#{max_frame => 4096}),
    Size = 4096 + 65536 + 1,
    ends_with_in(Ctx, big, [Size], {frame_too_large, Size + 12}).

%% One caller alone asks, so it is told: its call, its reason, and so is the linked process.
ends_with(Function, Args, Expected) ->
    ends_with_in(hostile(#{}), Function, Args, Expected).

ends_with_in(Ctx, Function, Args, Expected) ->
    Callers = crowd(3, fun
        (1) -> py_port:call(Ctx, fake, Function, Args);
        (_) -> py_port:call(Ctx, fake, stuck, [])
    end),
    Reason =
        receive
            {'EXIT', Ctx, R} -> R
        after 10000 -> error({context_lives_after, Function, Args})
        end,
    ?assertMatch({protocol_error, _, #{stopped_by := protocol_error}}, Reason),
    case Expected of
        any -> ok;
        _ -> ?assertEqual(Expected, element(2, Reason))
    end,
    ?assertEqual([], [O || O <- outcomes(Callers), O =/= {error, {worker_down, Reason}}, O =/= {error, {worker_down, noproc}}]),
    ok = dismiss(Callers).

%% The port collects a frame before anybody here sees it, whatever length it claims.
announced_frame_that_never_comes_is_bounded_by_the_timeout(_Config) ->
    lists:foreach(
        fun(Size) ->
            Ctx = hostile(#{kill_after => 200}),
            Got = py_port:call(Ctx, fake, announce, [Size], #{}, #{timeout => 300}),
            ?assert(Got =:= {error, timeout} orelse element(1, element(2, Got)) =:= worker_down),
            Reason = exit_of(Ctx),
            ct:pal("announced ~b: ~p", [Size, {element(1, Reason), element(2, Reason)}])
        end,
        [16#7fffffff, 16#ffffffff]
    ).

truncated_frame_is_an_exit(_Config) ->
    Ctx = hostile(#{}),
    {error, {worker_down, Reason}} = py_port:call(Ctx, fake, truncate, [7]),
    ?assertMatch({worker_exited, 7, _}, Reason),
    ?assertEqual(Reason, exit_of(Ctx)).

%% Nobody reads the lines, so no credit goes back.
output_without_credit_ends_the_context(_Config) ->
    Deaf = spawn(fun() -> receive never -> ok end end),
    Ctx = hostile(#{io => {group_leader, Deaf}}),
    ends_with_in(Ctx, overdraw, [20000], output_without_credit),
    exit(Deaf, kill).

second_answer_ends_the_context(_Config) ->
    Ctx = hostile(#{}),
    %% The first answer is as good as any.
    ?assertEqual({ok, 1}, py_port:call(Ctx, fake, twice, [])),
    ?assertMatch({protocol_error, {answered_twice, _}, _}, exit_of(Ctx)).

false_handles_end_the_context(_Config) ->
    Ctx = hostile(#{}),
    {ok, Ref} = py_port:call(Ctx, fake, handle, [7], #{}, #{return => ref}),
    {error, {worker_down, Reason}} = py_port:call(Ctx, fake, handle, [7], #{}, #{return => ref}),
    ?assertMatch({protocol_error, {handle_used_twice, 7}, _}, Reason),
    ?assertEqual(Reason, exit_of(Ctx)),
    ?assertMatch({error, {worker_down, _}}, py_port:to_term(Ref)),
    Other = hostile(#{}),
    {error, {worker_down, Reason2}} = py_port:call(Other, fake, as, [16#50, term_to_binary(1)], #{}, #{return => ref}),
    ?assertMatch({protocol_error, {reference_asked_for, _}, _}, Reason2),
    ?assertEqual(Reason2, exit_of(Other)).

%% Replies -------------------------------------------------------------------------------------------------------------

bad_payloads() ->
    [
        {empty, <<>>},
        {version_only, <<131>>},
        {unknown_tag, <<131, 255>>},
        {no_version, <<97, 1>>},
        {trailing, <<131, 97, 1, 97, 2>>},
        {list_without_elements, <<131, 108, 16#ffffffff:32>>},
        {map_without_pairs, <<131, 116, 16#ffffffff:32>>},
        {tuple_without_elements, <<131, 105, 16#ffffffff:32>>},
        {binary_without_bytes, <<131, 109, 16#ffffffff:32, "x">>},
        {integer_without_digits, <<131, 111, 16#7fffffff:32, 0>>},
        {map_with_a_key_twice, <<131, 116, 2:32, 97, 1, 97, 1, 97, 1, 97, 2>>},
        {pid_of_an_unknown_node, <<131, 88, 119, 12, "nobody@knows", 1:32, 0:32, 1:32>>},
        {unknown_atom, <<131, 119, 20, "py_port_never_seen_1">>}
    ].

unacceptable_replies_cost_their_caller_alone(_Config) ->
    Ctx = hostile(#{}),
    Pid = py_port_test:os_pid(Ctx),
    %% Warm: everything is loaded.
    [{error, {bad_reply, _}} = py_port:call(Ctx, fake, answer, [P]) || {_, P} <- bad_payloads()],
    Atoms = erlang:system_info(atom_count),
    lists:foreach(
        fun({Name, Payload}) ->
            Got = py_port:call(Ctx, fake, answer, [Payload]),
            ?assertMatch({Name, {error, {bad_reply, _}}}, {Name, Got}),
            ?assert(byte_size(py_port:format_error(Got)) > 10)
        end,
        bad_payloads()
    ),
    ?assertEqual(Atoms, erlang:system_info(atom_count)),
    ?assertEqual({ok, 5}, py_port:call(Ctx, fake, echo, [5])),
    ?assertEqual(Pid, py_port_test:os_pid(Ctx)),
    _ = erlang:garbage_collect(),
    ?assert(erlang:memory(binary) < 64 * 1024 * 1024).

%% No honest worker compresses, and Python cannot make a fun.
hostile_payloads() ->
    Padding = binary:copy(<<"padding">>, 50),
    [
        {bomb, term_to_binary(binary:copy(<<0>>, 64 * 1024 * 1024), [compressed])},
        {bomb_that_lies, <<131, 80, 16#7fffffff:32, 1, 2, 3>>},
        {forged_export, term_to_binary(fun os:cmd/1)},
        {forged_export_in_a_list, term_to_binary([Padding, #{key => {1, fun os:cmd/1}}])},
        {forged_export_as_key, term_to_binary(#{fun os:cmd/1 => Padding})},
        {forged_export_as_tail, term_to_binary([Padding | fun os:cmd/1])},
        {forged_local_fun, term_to_binary({Padding, fun() -> Padding end})}
    ].

hostile_replies_end_the_context(_Config) ->
    [ends_after_reply(Name, answer, Payload) || {Name, Payload} <- hostile_payloads()],
    _ = erlang:garbage_collect(),
    ?assert(erlang:memory(binary) < 64 * 1024 * 1024).

hostile_errors_end_the_context(_Config) ->
    [ends_after_reply(Name, error, Payload) || {Name, Payload} <- hostile_payloads(), Name =/= bomb],
    %% Of a cast nobody waits for the answer, and it is noticed all the same.
    Ctx = hostile(#{}),
    ok = py_port:cast(Ctx, fake, error, [term_to_binary(fun os:cmd/1)]),
    ?assertMatch({protocol_error, {hostile_reply, {unknown_fun, _}}, _}, exit_of(Ctx)).

%% Its caller is told what was wrong with its reply, all others that their worker is gone.
ends_after_reply(Name, Function, Payload) ->
    Ctx = hostile(#{}),
    Others = crowd(3, fun(_) -> py_port:call(Ctx, fake, stuck, []) end),
    true = py_port_test:wait_until(fun() -> py_port_trouble:in_flight(Ctx) =:= 3 end, 10000),
    Got = py_port:call(Ctx, fake, Function, [Payload]),
    ?assertMatch({Name, {error, {bad_reply, _}}}, {Name, Got}),
    ?assert(byte_size(py_port:format_error(Got)) > 10),
    {error, {bad_reply, Why}} = Got,
    Reason = exit_of(Ctx),
    ?assertMatch({Name, {protocol_error, {hostile_reply, Why}, _}}, {Name, Reason}),
    ?assertEqual([{error, {worker_down, Reason}}], lists:usort(outcomes(Others))),
    ?assert(byte_size(py_port:format_error(Reason)) > 10),
    ok = dismiss(Others).

hostile_status_ends_the_context(_Config) ->
    lists:foreach(
        fun(Payload) ->
            Ctx = hostile(#{}),
            {ok, 1} = py_port:call(Ctx, fake, status, [Payload, 1]),
            ?assertMatch(#{queued := undefined, running := undefined}, py_port:info(Ctx)),
            ?assertMatch({protocol_error, {hostile_reply, _}, _}, exit_of(Ctx))
        end,
        [<<131, 80>>, term_to_binary(#{queued => fun os:cmd/1})]
    ).

unknown_atoms_are_not_made(_Config) ->
    Ctx = hostile(#{}),
    Reply = fun(N) ->
        Names = [iolist_to_binary(io_lib:format("py_port_atom_~b_~b", [N, I])) || I <- lists:seq(1, 1000)],
        List = [<<119, (byte_size(Name)), Name/binary>> || Name <- Names],
        iolist_to_binary([131, 108, <<1000:32>>, List, 106])
    end,
    {error, {bad_reply, _}} = py_port:call(Ctx, fake, answer, [Reply(0)]),
    Before = erlang:system_info(atom_count),
    [?assertMatch({error, {bad_reply, _}}, py_port:call(Ctx, fake, answer, [Reply(N)])) || N <- lists:seq(1, 50)],
    ?assertEqual(Before, erlang:system_info(atom_count)).

errors_that_are_not_errors_cost_their_caller_alone(_Config) ->
    Ctx = hostile(#{}),
    lists:foreach(
        fun(Payload) ->
            Got = py_port:call(Ctx, fake, error, [Payload]),
            ?assertMatch({error, {bad_reply, _}}, Got),
            ?assert(is_binary(py_port:format_error(Got))),
            %% It shows there, too, and does no harm.
            ?assertMatch(#{last_error := #{reason := {bad_reply, _}}}, py_port:info(Ctx))
        end,
        [
            <<>>,
            <<131, 119, 20, "py_port_never_seen_2">>,
            term_to_binary(timeout),
            term_to_binary({worker_down, noproc}),
            term_to_binary({python, #{}}),
            term_to_binary({python, not_a_map})
        ]
    ),
    %% A Python error whose parts are not what they should be: printing it must not fail.
    Odd = {python, #{type => 1, message => [x | y], formatted => {}, traceback => oops}},
    Got = py_port:call(Ctx, fake, error, [term_to_binary(Odd)]),
    ?assertMatch({error, _}, Got),
    ?assert(is_binary(py_port:format_error(Got))).

status_that_lies_is_ignored(_Config) ->
    lists:foreach(
        fun({Payload, Times}) ->
            Ctx = hostile(#{}),
            {ok, 1} = py_port:call(Ctx, fake, status, [Payload, Times]),
            ?assertMatch(#{queued := undefined, running := undefined}, py_port:info(Ctx)),
            ?assertEqual({ok, 5}, py_port:call(Ctx, fake, echo, [5])),
            ok = py_port:stop_context(Ctx)
        end,
        [{<<>>, 1}, {term_to_binary([1]), 1}, {binary:copy(<<131>>, 1024), 32 * 1024}]
    ),
    _ = erlang:garbage_collect(),
    ?assert(erlang:memory(binary) < 64 * 1024 * 1024).

%% Silence -------------------------------------------------------------------------------------------------------------

silence_ends_with_the_deadline(_Config) ->
    Ctx = hostile(#{kill_after => 100}),
    {ok, 1} = py_port:call(Ctx, fake, mute, []),
    ?assertEqual({error, timeout}, py_port:ping(Ctx, 100)),
    ?assertMatch(#{queued := undefined}, py_port:info(Ctx)),
    ?assertEqual({error, timeout}, py_port:call(Ctx, fake, echo, [1], #{}, #{timeout => 100})),
    ?assertMatch({worker_killed, sigkill, #{stopped_by := timeout}}, exit_of(Ctx)).

%% Nobody's call is there that it could stand behind: what was not answered is no call.
a_stop_is_not_put_off_by_a_question(_Config) ->
    Ctx = hostile(#{kill_after => 100}),
    {ok, 1} = py_port:call(Ctx, fake, defer, []),
    ?assertEqual({error, timeout}, py_port:ping(Ctx, 100)),
    ?assertEqual({error, timeout}, py_port:call(Ctx, fake, echo, [1], #{}, #{timeout => 100})),
    ?assertMatch({worker_killed, sigkill, #{stopped_by := timeout}}, exit_within(Ctx, 8000)).

closed_pipe_ends_with_the_deadline(_Config) ->
    Ctx = hostile(#{kill_after => 100}),
    Got = py_port:call(Ctx, fake, close_output, [], #{}, #{timeout => 100}),
    ?assertMatch({error, _}, Got),
    ?assertMatch({worker_killed, sigkill, _}, exit_of(Ctx)).

stop_that_is_ignored_ends_the_worker(_Config) ->
    Ctx = hostile(#{}),
    {ok, 1} = py_port:call(Ctx, fake, mute, []),
    Callers = crowd(5, fun(_) -> py_port:call(Ctx, fake, echo, [1]) end),
    true = py_port_test:wait_until(fun() -> py_port_trouble:in_flight(Ctx) =:= 5 end, 10000),
    ok = py_port:stop_context(Ctx, 100),
    ?assertEqual(normal, exit_of(Ctx)),
    ?assertEqual([{error, {worker_down, stopped}}], lists:usort(outcomes(Callers))),
    dismiss(Callers).

%% Asked for its stacks, it pours out frames: it is killed in time all the same, and nothing piles up here.
flood_instead_of_the_stacks_ends_with_the_kill(_Config) ->
    Ctx = hostile(#{kill_after => 100}),
    {ok, 1} = py_port:call(Ctx, fake, flood_at_dump, [64]),
    ?assertEqual({error, timeout}, py_port:call(Ctx, fake, stuck, [], #{}, #{timeout => 100})),
    ?assertMatch({worker_killed, sigkill, #{stopped_by := timeout}}, exit_within(Ctx, 8000)).

exit_within(Ctx, Ms) ->
    receive
        {'EXIT', Ctx, Reason} -> Reason
    after Ms ->
        exit(Ctx, kill),
        error(context_lives)
    end.

%% A worker that minds its credit and not the rate is held to it by the credit.
lines_are_no_faster_than_the_rate(_Config) ->
    Rate = 100,
    Ctx = hostile(#{io_rate => Rate}),
    Start = erlang:monotonic_time(millisecond),
    {ok, Printed} = py_port:call(Ctx, fake, print_fast, [100000, 2]),
    Seconds = (erlang:monotonic_time(millisecond) - Start) / 1000,
    %% What it had from the beginning, one second's worth at once, and what the time allows.
    ?assert(Printed =< 256 + Rate + Rate * (Seconds + 1)),
    ?assert(Printed >= 256 + Rate).

%% Calls that are cancelled are answered; where nobody reads the answers they count all the same.
cancelling_without_reading_ends_the_context(_Config) ->
    Ctx = hostile(#{max_callbacks => 200}),
    {ok, 1} = py_port:call(Ctx, fake, cancel_flood, [3000]),
    ?assertMatch({protocol_error, callback_without_credit, _}, exit_within(Ctx, 15000)).

%% The launcher's report is a file that a worker can find and write to. Killed, the launcher says nothing, and asked to end,
%% the truth.
a_forged_report_is_none(_Config) ->
    Killed = hostile(#{}),
    {error, {worker_down, _}} = py_port:call(Killed, fake, forge_and_die, [9]),
    ?assertMatch({_, sigkill, #{report := missing, stack := <<>>, stderr := []}}, exit_of(Killed)),
    Asked = hostile(#{}),
    {error, {worker_down, _}} = py_port:call(Asked, fake, forge_and_die, [15]),
    ?assertMatch({worker_killed, sigkill, #{report := complete, stack := <<>>, stderr := []}}, exit_of(Asked)).

%% The text of a deep map would be its depth squared, that of an integer takes time by its length squared.
long_errors_of_casts_are_short_in_the_log(_Config) ->
    Ctx = hostile(#{}),
    ok = py_port_test:catch_logs(?FUNCTION_NAME),
    Digits = <<131, 111, 60000:32, 0, (binary:copy(<<255>>, 60000))/binary>>,
    <<131, Number/binary>> = Digits,
    <<131, Atom/binary>> = term_to_binary(nesting_too_deep),
    Levels = <<131, 104, 2, Atom/binary, Number/binary>>,
    Errors = [{nest_error, [2000]}, {error, [Digits]}, {error, [Levels]}, {error, [term_to_binary(lists:duplicate(5000, {[<<"x">>]}))]}],
    lists:foreach(
        fun({Function, Args}) ->
            ok = py_port:cast(Ctx, fake, Function, Args),
            ?assert(length(py_port_test:message(py_port_test:await_log())) < 10000)
        end,
        Errors
    ),
    ok = py_port_test:release_logs(?FUNCTION_NAME),
    Texts = [py_port:format_error(py_port:call(Ctx, fake, F, A)) || {F, A} <- Errors],
    ?assertEqual([], [T || T <- Texts, byte_size(T) > 10000 orelse byte_size(T) < 10]).

%% A terminal that shows the log would obey them, and a line that is two looks like one of somebody else.
control_characters_do_not_reach_the_log(_Config) ->
    Ctx = hostile(#{io => logger}),
    ok = py_port_test:catch_logs(?FUNCTION_NAME),
    Log = fun() -> py_port_test:message(py_port_test:await_log()) end,
    {ok, ok} = py_port:call(Ctx, fake, print, [<<"stdout">>, <<"a\tb\e[2Jc\r\nforged", 127, 0, "\xc2\x9b", "ä"/utf8>>]),
    ?assertEqual("a\tb\\x1b[2Jc\\x0d\\x0aforged\\x7f\\x00\\x9b\x{e4}", Log()),
    {ok, ok} = py_port:call(Ctx, fake, print, [<<"stdout">>, <<255, "\e">>]),
    ?assertEqual("\x{ff}\\x1b", Log()),
    Error = {python, #{type => <<"x">>, message => <<>>, formatted => <<"two\nlines\e]0;title\7">>}},
    ok = py_port:cast(Ctx, fake, error, [term_to_binary(Error)]),
    ?assertNotEqual(nomatch, string:find(Log(), "two\nlines\\x1b]0;title\\x07")),
    ok = py_port_test:release_logs(?FUNCTION_NAME).

claims_at_the_start_are_looked_at(_Config) ->
    Ctx = hostile(#{env => #{'HOSTILE_START' => <<"strange_ready">>}}),
    ?assertMatch(#{version := undefined, python := undefined, prefix := <<"/usr">>, executable := undefined}, py_port:info(Ctx)),
    {error, {start_failed, Nested}} = py_port:start_context(with_worker(#{env => #{'HOSTILE_START' => <<"nested_failure">>}})),
    ?assert(byte_size(maps:get(message, Nested)) < 10000).

wrong_start_is_an_error(_Config) ->
    lists:foreach(
        fun({Env, Expected}) ->
            %% Some never say anything; the others need time to say it.
            Timeout = case Expected of ready_timeout -> 1500; _ -> 60000 end,
            Options = with_worker(#{env => Env, start_timeout => Timeout}),
            {error, {start_failed, Failure}} = Got = py_port:start_context(Options),
            ?assertMatch({Env, #{what := Expected}}, {Env, Failure}),
            ?assert(byte_size(py_port:format_error(Got)) > 20)
        end,
        [
            {#{'HOSTILE_START' => <<"truncated">>}, worker},
            {#{'HOSTILE_START' => <<"start_failed_bomb">>}, protocol},
            {#{'HOSTILE_START' => <<"start_failed_and_stay">>}, worker},
            {#{'HOSTILE_START' => <<"long_failure">>}, protocol},
            {#{'HOSTILE_START' => <<"big_ready">>}, protocol},
            {#{'HOSTILE_START' => <<"close">>}, ready_timeout},
            {#{'HOSTILE_START' => <<"flood">>}, protocol},
            {#{'HOSTILE_START' => <<"garbage">>}, protocol},
            {#{'FAKE_START' => <<"silent">>}, ready_timeout},
            {#{'FAKE_START' => <<"bad_ready">>}, protocol},
            {#{'FAKE_START' => <<"bad_version">>}, version},
            {#{'FAKE_START' => <<"frame_before_ready">>}, protocol},
            {#{'FAKE_START' => <<"exit">>}, worker}
        ]
    ),
    ?assertEqual([], [M || M <- py_port_test:flush(), element(1, M) =/= 'EXIT']).
