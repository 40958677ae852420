%% @doc The door: calling, evaluating, casting, stopping and asking, in one context and in several.
%% Types are in py_port_types_SUITE, references in py_port_refs_SUITE, options in py_port_options_SUITE.
%% @end
-module(py_port_api_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-import(py_port_test, [
    ctx/1, context/1, marker/2, in_flight/1, async/1, await/1, kill/1, await_log/0, message/1
]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE).

init_per_testcase(_, Config) ->
    ok = py_port_test:start(),
    [{ctx, context(#{})} | Config].

end_per_testcase(_, Config) ->
    py_port_test:end_per_testcase(Config).

%% Names and arguments -----------------------------------------------------------------------------------------------

names_may_be_atoms_binaries_or_strings(Config) ->
    Ctx = ctx(Config),
    [
        ?assertEqual({ok, 4.0}, py_port:call(Ctx, M, F, [16]))
     || M <- [math, <<"math">>, "math"], F <- [sqrt, <<"sqrt">>, "sqrt"]
    ].

dotted_names_reach_submodules_and_attributes(Config) ->
    Ctx = ctx(Config),
    ?assertEqual({ok, <<"a/b">>}, py_port:call(Ctx, 'os.path', join, [<<"a">>, <<"b">>])),
    ?assertEqual({ok, <<"a/b">>}, py_port:call(Ctx, os, 'path.join', [<<"a">>, <<"b">>])),
    ?assertEqual({ok, <<"inner">>}, py_port:call(Ctx, probe_calls, "Box.Inner.name", [])).

a_unicode_name_is_found(Config) ->
    Ctx = ctx(Config),
    ok = py_port:exec(Ctx, "def größe(): return 'ok'"),
    ?assertEqual({ok, <<"ok">>}, py_port:call(Ctx, '__main__', 'größe', [])),
    ?assertEqual({ok, <<"ok">>}, py_port:call(Ctx, '__main__', "größe", [])),
    ?assertEqual({ok, <<"ok">>}, py_port:call(Ctx, '__main__', <<"größe"/utf8>>, [])).

main_holds_what_exec_defined(Config) ->
    Ctx = ctx(Config),
    ok = py_port:exec(Ctx, "def twice(n):\n    return 2 * n\n"),
    ?assertEqual({ok, 42}, py_port:call(Ctx, '__main__', twice, [21])),
    %% and a new definition is seen by the next call, also when names are cached
    ok = py_port:exec(Ctx, "def twice(n):\n    return 'changed'\n"),
    ?assertEqual({ok, <<"changed">>}, py_port:call(Ctx, '__main__', twice, [21])).

builtins_can_be_called(Config) ->
    ?assertEqual({ok, 3}, py_port:call(ctx(Config), builtins, len, [[1, 2, 3]])).

keyword_arguments_arrive_by_any_kind_of_name(Config) ->
    Ctx = ctx(Config),
    ?assertEqual(
        {ok, [[1], #{<<"a">> => 1, <<"b">> => 2, <<"c">> => 3}]},
        py_port:call(Ctx, probe_calls, echo, [1], #{a => 1, <<"b">> => 2, "c" => 3})
    ),
    {error, {bad_request, Why}} = py_port:call(Ctx, probe_calls, echo, [], #{1 => 2}),
    ?assertNotEqual(nomatch, binary:match(Why, <<"keyword">>)).

no_keyword_argument_and_no_local_is_dropped_for_another_of_its_name(Config) ->
    Ctx = ctx(Config),
    Call = fun(Kwargs, Opts) -> py_port:call(Ctx, probe_calls, echo, [], Kwargs, Opts) end,
    Twice = #{a => 1, b => 2, <<"a">> => 3},
    ?assertMatch({error, {bad_term, <<"kwargs.a">>, _}}, Call(Twice, #{})),
    ?assertMatch({error, {bad_argument, kwargs, _}}, Call(#{<<"a">> => 1, "a" => 2}, #{})),
    ?assertMatch({error, {bad_argument, kwargs, _}}, Call(Twice, #{thread => true})),
    ?assertMatch({error, {bad_argument, kwargs, _}}, py_port:stream(Ctx, probe_calls, echo, [], #{kwargs => Twice})),
    ?assertMatch({error, {bad_term, <<"locals.a">>, _}}, py_port:eval(Ctx, "a", Twice)),
    ?assertMatch({error, {bad_term, <<"locals.a">>, _}}, py_port:exec(Ctx, "x = a", Twice)).

many_arguments_arrive_in_order(Config) ->
    Ctx = ctx(Config),
    Many = lists:seq(1, 1000),
    ?assertEqual({ok, [Many, #{}]}, py_port:call(Ctx, probe_calls, echo, Many)),
    %% all below 256: on the wire this list is a string
    ?assertEqual({ok, [[1, 2, 3], #{}]}, py_port:call(Ctx, probe_calls, echo, [1, 2, 3])),
    %% thirteen do not fit where twelve do
    Kwargs = maps:from_list([{list_to_binary("k" ++ integer_to_list(N)), N} || N <- Many]),
    ?assertEqual({ok, [[0], Kwargs]}, py_port:call(Ctx, probe_calls, echo, [0], Kwargs)).

arguments_of_the_wrong_kind_are_named(Config) ->
    Ctx = ctx(Config),
    Wrong = fun({error, {bad_argument, Which, Why}}) when is_binary(Why) -> Which end,
    ?assertEqual(module, Wrong(py_port:call(Ctx, 17, f, []))),
    ?assertEqual(module, Wrong(py_port:call(Ctx, [], f, []))),
    ?assertEqual(function, Wrong(py_port:call(Ctx, math, {sqrt}, []))),
    ?assertEqual(function, Wrong(py_port:call(Ctx, math, [-1], []))),
    ?assertEqual(args, Wrong(py_port:call(Ctx, math, sqrt, 16))),
    ?assertEqual(args, Wrong(py_port:call(Ctx, math, sqrt, [1 | 2]))),
    ?assertEqual(kwargs, Wrong(py_port:call(Ctx, math, sqrt, [1], []))),
    ?assertEqual(options, Wrong(py_port:call(Ctx, math, sqrt, [1], #{}, []))),
    ?assertEqual(context, Wrong(py_port:call("ctx", math, sqrt, [1]))),
    ?assertEqual(code, Wrong(py_port:eval(Ctx, 17))),
    ?assertEqual(code, Wrong(py_port:eval(Ctx, [16#d800]))),
    ?assertEqual(locals, Wrong(py_port:eval(Ctx, "1", []))),
    ?assertEqual(ref, Wrong(py_port:call_method(Ctx, self(), f, []))),
    ?assertEqual(ref, Wrong(py_port:to_term(ref))),
    ?assertEqual(ref, Wrong(py_port:release(ref))),
    ?assertEqual(return, Wrong(py_port:exec(Ctx, "1", #{}, #{return => ref}))).

call_options_are_checked_one_by_one(Config) ->
    Ctx = ctx(Config),
    Bad = fun(Opts) ->
        {error, {bad_argument, Which, Why}} = py_port:call(Ctx, math, sqrt, [1], #{}, Opts),
        {Which, Why}
    end,
    [
        ?assertMatch({timeout, _}, Bad(#{timeout => T}))
     || T <- [-1, 1.5, forever, 1 bsl 40]
    ],
    ?assertMatch({return, _}, Bad(#{return => object})),
    ?assertMatch({trace, _}, Bad(#{trace => "text"})),
    {options, Why} = Bad(#{tiemout => 5}),
    ?assertNotEqual(nomatch, binary:match(Why, <<"tiemout">>)),
    ?assertEqual({ok, 1.0}, py_port:call(Ctx, math, sqrt, [1], #{}, #{timeout => infinity, return => term})),
    Trace = <<"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01">>,
    ?assertEqual({ok, 1.0}, py_port:call(Ctx, math, sqrt, [1], #{}, #{trace => Trace, timeout => 60000})).

what_is_not_there_is_a_python_error(Config) ->
    Ctx = ctx(Config),
    ?assertMatch({error, {python, #{type := <<"ModuleNotFoundError">>}}}, py_port:call(Ctx, no_such_module, f, [])),
    ?assertMatch({error, {python, #{type := <<"AttributeError">>}}}, py_port:call(Ctx, math, no_such, [])),
    ?assertMatch({error, {python, #{type := <<"TypeError">>}}}, py_port:call(Ctx, math, pi, [])).

%% eval and exec -----------------------------------------------------------------------------------------------------

locals_are_visible_everywhere_in_an_expression(Config) ->
    Ctx = ctx(Config),
    Eval = fun(Code) -> py_port:eval(Ctx, Code, #{x => 10, <<"y">> => [1, 2], "z" => 3}) end,
    ?assertEqual({ok, 14}, Eval("x + z + 1")),
    ?assertEqual({ok, [11, 12]}, Eval("[x + i for i in y]")),
    ?assertEqual({ok, [11, 12]}, Eval("list(map(lambda i: x + i, y))")),
    ?assertEqual({ok, #{1 => 10, 2 => 10}}, Eval("{i: x for i in y}")),
    ?assertEqual({ok, 33}, Eval("sum(x + i * 0 + (lambda: j)() * 0 + 1 * (z == 3) for i in y for j in y if x) - 11")),
    ?assertEqual({ok, 13}, Eval("(lambda: (lambda: x + z)())()")).

locals_are_visible_in_nested_functions(Config) ->
    Ctx = ctx(Config),
    Code =
        "def outer():\n"
        "    def inner():\n"
        "        return [x for _ in range(2)]\n"
        "    return inner()\n"
        "class Inside:\n"
        "    value = x\n"
        "result = [outer(), Inside.value]\n",
    ?assertEqual(ok, py_port:exec(Ctx, Code, #{x => 5})),
    ?assertEqual({ok, [[5, 5], 5]}, py_port:eval(Ctx, "result")).

locals_do_not_leak(Config) ->
    Ctx = ctx(Config),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "secret", #{secret => 1})),
    ?assertMatch({error, {python, #{type := <<"NameError">>}}}, py_port:eval(Ctx, "secret")),
    ?assertEqual(ok, py_port:exec(Ctx, "seen = secret", #{secret => 2})),
    ?assertEqual({ok, 2}, py_port:eval(Ctx, "seen")),
    ?assertMatch({error, {python, #{type := <<"NameError">>}}}, py_port:eval(Ctx, "secret")),
    %% nor do they hide what has the same name for others
    ok = py_port:exec(Ctx, "shared = 'of all'"),
    ?assertEqual({ok, <<"mine">>}, py_port:eval(Ctx, "shared", #{shared => <<"mine">>})),
    ?assertEqual({ok, <<"of all">>}, py_port:eval(Ctx, "shared")).

what_exec_binds_stays(Config) ->
    Ctx = ctx(Config),
    ok = py_port:exec(Ctx, "import json\nnumber = 1"),
    ok = py_port:exec(Ctx, "global_too = number + added", #{added => 2}),
    ?assertEqual({ok, 3}, py_port:eval(Ctx, "global_too")),
    ?assertEqual({ok, <<"[1]">>}, py_port:eval(Ctx, "json.dumps([1])")),
    ok = py_port:exec(Ctx, "def later(): return number\n", #{added => 2}),
    ok = py_port:exec(Ctx, "number = 'new'"),
    ?assertEqual({ok, <<"new">>}, py_port:eval(Ctx, "later()")).

what_exec_binds_stays_also_if_it_is_what_the_caller_gave(Config) ->
    Ctx = ctx(Config),
    Top = fun(New) ->
        ok = py_port:exec(Ctx, "top = max(top, new)", #{top => 7, new => New}),
        py_port:eval(Ctx, "globals().pop('top')")
    end,
    ?assertEqual({ok, 9}, Top(9)),
    ?assertEqual({ok, 7}, Top(3)),
    %% functions see it at once, and its later changes
    Code =
        "def seen(): return n\n"
        "n = n\n"
        "n += 1\n"
        "early = seen()\n",
    ok = py_port:exec(Ctx, Code, #{n => 1}),
    ok = py_port:exec(Ctx, "n += 1"),
    ?assertEqual({ok, [2, 3]}, py_port:eval(Ctx, "[early, seen()]")),
    %% whichever way it is bound
    ok = py_port:exec(Ctx, "def f():\n  global made\n  made = 1\nf()\n[last := i for i in (1, 2)]", #{x => 1}),
    ?assertEqual({ok, [1, 2]}, py_port:eval(Ctx, "[made, last]")),
    ?assertEqual({ok, false}, py_port:eval(Ctx, "'x' in globals()")).

exec_with_locals_can_delete_a_global(Config) ->
    Ctx = ctx(Config),
    Gone = fun(Locals) ->
        ok = py_port:exec(Ctx, "gone = 1"),
        ok = py_port:exec(Ctx, "del gone", Locals),
        ?assertEqual({ok, false}, py_port:eval(Ctx, "'gone' in globals()"))
    end,
    Gone(#{}),
    Gone(#{other => 1}),
    %% and its own value, which hides the other
    ok = py_port:exec(Ctx, "kept = 1"),
    ok = py_port:exec(Ctx, "del kept", #{kept => 2}),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "kept")).

code_may_be_any_unicode_text(Config) ->
    Ctx = ctx(Config),
    ?assertEqual({ok, <<"日本"/utf8>>}, py_port:eval(Ctx, "'日本'")),
    ?assertEqual({ok, <<"日本"/utf8>>}, py_port:eval(Ctx, <<"'日本'"/utf8>>)),
    ?assertEqual({ok, <<"é!"/utf8>>}, py_port:eval(Ctx, ["'", [16#e9], <<"!">>, "'"])),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "  1")),
    ?assertEqual(ok, py_port:exec(Ctx, "")),
    ?assertEqual(ok, py_port:exec(Ctx, "# -*- coding: latin-1 -*-\ntext = 'é'")),
    ?assertEqual({ok, <<"é"/utf8>>}, py_port:eval(Ctx, "text")).

a_nul_byte_in_code_is_an_error_and_not_the_end_of_the_code(Config) ->
    Ctx = ctx(Config),
    [
        ?assertMatch({error, {python, #{type := T}}} when T =:= <<"ValueError">>; T =:= <<"SyntaxError">>, Result)
     || Result <- [
            py_port:eval(Ctx, <<"1", 0, "+ 1">>),
            py_port:exec(Ctx, <<"a = 1", 0, "\nraise RuntimeError()">>),
            py_port:eval(Ctx, <<"x", 0>>, #{x => 1})
        ]
    ],
    ?assertEqual({ok, <<"a", 0, "b">>}, py_port:eval(Ctx, "'a\\0b'")).

exec_does_not_need_a_result_that_can_cross(Config) ->
    ?assertEqual(ok, py_port:exec(ctx(Config), "object()")).

%% cast --------------------------------------------------------------------------------------------------------------

a_cast_runs_after_what_was_sent_before(Config) ->
    Ctx = ctx(Config),
    ok = py_port:exec(Ctx, "seen = []"),
    ok = py_port:cast(Ctx, '__main__', 'seen.append', [1]),
    ok = py_port:cast(Ctx, '__main__', 'seen.extend', [[2, 3]]),
    ok = py_port:cast(Ctx, probe_calls, echo, [], #{<<"unused">> => 1}),
    ?assertEqual({ok, [1, 2, 3]}, py_port:eval(Ctx, "seen")).

what_a_cast_raises_is_logged(Config) ->
    Ctx = ctx(Config),
    ok = py_port_test:catch_logs(?FUNCTION_NAME),
    try
        ok = py_port:cast(Ctx, probe_calls, raise_plain, []),
        #{level := warning, meta := Meta} = Event = await_log(),
        ?assertMatch(#{context := Ctx, domain := [py_port]}, Meta),
        Text = message(Event),
        ?assertNotEqual(nomatch, string:find(Text, "raise_plain")),
        ?assertNotEqual(nomatch, string:find(Text, "ValueError: plain text"))
    after
        py_port_test:release_logs(?FUNCTION_NAME)
    end,
    ?assertMatch(#{last_error := #{module := probe_calls, function := raise_plain}}, py_port:info(Ctx)).

a_cast_coroutine_is_awaited_too(Config) ->
    Ctx = ctx(Config),
    {Running, Cleaned} = {marker(Config, "running"), marker(Config, "cleaned")},
    ok = py_port:cast(Ctx, probe_calls, coroutine_forever, [Running, Cleaned]),
    ok = py_port_test:await_file(Running),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")),
    ok = py_port:stop_context(Ctx, 5000).

a_cast_outlives_its_caller(Config) ->
    Ctx = ctx(Config),
    ok = py_port:exec(Ctx, "seen = []"),
    {Pid, Ref} = spawn_monitor(fun() -> ok = py_port:cast(Ctx, '__main__', 'seen.append', [1]) end),
    receive
        {'DOWN', Ref, process, Pid, Reason} -> ?assertEqual(normal, Reason)
    end,
    ?assertEqual({ok, [1]}, py_port:eval(Ctx, "seen")).

a_cast_that_can_never_be_sent_says_so(Config) ->
    ?assertMatch({error, {bad_argument, args, _}}, py_port:cast(ctx(Config), m, f, no_list)),
    %% and one to a context that is gone is lost like every message to a process that is gone
    Gone = context(#{}),
    ok = py_port:stop_context(Gone),
    ?assertEqual(ok, py_port:cast(Gone, m, f, [])).

%% Coroutines --------------------------------------------------------------------------------------------------------

coroutines_are_awaited(Config) ->
    Ctx = ctx(Config),
    ?assertEqual({ok, 5}, py_port:call(Ctx, probe_calls, coroutine, [5])),
    ok = py_port:exec(Ctx, "import probe_calls"),
    ?assertEqual({ok, 6}, py_port:eval(Ctx, "probe_calls.coroutine(x)", #{x => 6})),
    {ok, Methods} = py_port:call(Ctx, probe_calls, 'Methods', [], #{}, #{return => ref}),
    ?assertEqual({ok, 7}, py_port:call_method(Ctx, Methods, later, [7])),
    ?assertEqual({ok, <<"awaited">>}, py_port:call(Ctx, probe_calls, make_awaitable, [])),
    ?assertMatch(
        {error, {python, #{type := <<"LookupError">>, message := <<"in a coroutine">>}}},
        py_port:call(Ctx, probe_calls, failing_coroutine, [])
    ).

coroutines_of_two_callers_interleave(Config) ->
    Ctx = ctx(Config),
    %% neither can end before the other has begun
    Calls = [
        async(fun() -> py_port:call(Ctx, probe_calls, meet, [Me, Other]) end)
     || {Me, Other} <- [{<<"left">>, <<"right">>}, {<<"right">>, <<"left">>}]
    ],
    ?assertEqual([{ok, <<"left">>}, {ok, <<"right">>}], [await(C) || C <- Calls]).

a_synchronous_call_runs_while_a_coroutine_waits(Config) ->
    Ctx = ctx(Config),
    {Running, Cleaned} = {marker(Config, "running"), marker(Config, "cleaned")},
    Call = async(fun() -> py_port:call(Ctx, probe_calls, coroutine_forever, [Running, Cleaned], #{}, #{timeout => 120000}) end),
    ok = py_port_test:await_file(Running),
    ?assertEqual({ok, 2.0}, py_port:call(Ctx, math, sqrt, [4])),
    ok = kill(Call),
    ok = py_port_test:await_file(Cleaned).

asyncio_run_works_inside_a_synchronous_call(Config) ->
    Ctx = ctx(Config),
    ?assertEqual({ok, 8}, py_port:call(Ctx, probe_calls, run_loop_of_its_own, [8])),
    ?assertEqual({ok, 9}, py_port:call(Ctx, probe_calls, coroutine, [9])),
    ?assertEqual({ok, 10}, py_port:call(Ctx, probe_calls, run_loop_of_its_own, [10])),
    ?assertEqual({ok, 11}, py_port:call(Ctx, probe_calls, coroutine, [11])).

%% Timeouts ----------------------------------------------------------------------------------------------------------

a_timeout_stops_time_sleep(Config) -> stops(sleep_long, cancelled, Config).

a_timeout_stops_an_endless_loop(Config) -> stops(loop_forever, cancelled, Config).

a_timeout_stops_a_regular_expression_that_explodes(Config) -> stops(regex_forever, cancelled, Config).

a_timeout_stops_a_system_call_that_keeps_the_gil(Config) -> stops(sleep_with_the_gil, cancelled, Config).

a_timeout_that_gets_lost_in_a_destructor_comes_again(Config) -> stops(lose_the_first_interrupt, cancelled, Config).

a_timeout_runs_finally(Config) ->
    Ctx = ctx(Config),
    {Running, Cleaned} = {marker(Config, "running"), marker(Config, "cleaned")},
    ?assertEqual({error, timeout}, stopped_call(Ctx, loop_and_clean_up, [Running, Cleaned])),
    ok = py_port_test:await_file(Cleaned),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")).

a_timeout_cancels_a_coroutine_and_runs_finally(Config) ->
    Ctx = ctx(Config),
    {Running, Cleaned} = {marker(Config, "running"), marker(Config, "cleaned")},
    ?assertEqual({error, timeout}, stopped_call(Ctx, coroutine_forever, [Running, Cleaned])),
    ok = py_port_test:await_file(Cleaned),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")),
    #{last_stop := Stop} = py_port:info(Ctx),
    ?assertMatch(#{why := timeout, step := cancelled, what := {probe_calls, coroutine_forever}}, Stop).

a_timeout_kills_what_holds_the_gil(Config) ->
    kills(hold_the_gil, Config).

a_timeout_kills_what_ignores_interrupts(Config) ->
    kills(ignore_interrupts, Config).

a_timeout_of_zero_does_not_start_the_call(Config) ->
    Ctx = ctx(Config),
    ok = py_port:exec(Ctx, "seen = []"),
    ?assertEqual({error, timeout}, py_port:call(Ctx, '__main__', 'seen.append', [1], #{}, #{timeout => 0})),
    ?assertEqual({ok, []}, py_port:eval(Ctx, "seen")).

a_queued_call_whose_time_is_up_is_not_started(Config) ->
    Ctx = ctx(Config),
    {Running, Go} = {marker(Config, "running"), marker(Config, "go")},
    ok = py_port:exec(Ctx, "seen = []"),
    First = async(fun() -> py_port:call(Ctx, probe_calls, wait_for, [Running, Go]) end),
    ok = py_port_test:await_file(Running),
    ?assertEqual({error, timeout}, py_port:call(Ctx, '__main__', 'seen.append', [1], #{}, #{timeout => 50})),
    true = py_port_test:wait_until(fun() -> is_dropped(timeout, py_port:info(Ctx)) end, 30000),
    ok = file:write_file(Go, ""),
    ?assertEqual({ok, <<"gone">>}, await(First)),
    ?assertEqual({ok, []}, py_port:eval(Ctx, "seen")).

is_dropped(Why, #{last_stop := #{why := Why, step := dropped}}) -> true;
is_dropped(_, _) -> false.

call_timeout_of_the_context_is_the_default(Config) ->
    Ctx = context(#{call_timeout => 200}),
    ?assertEqual({error, timeout}, py_port:call(Ctx, probe_calls, sleep_long, [marker(Config, "running")])),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1", #{}, #{timeout => infinity})).

a_timeout_does_not_touch_the_next_call(Config) ->
    Ctx = ctx(Config),
    [
        begin
            {error, timeout} = stopped_call(Ctx, loop_forever, [marker(Config, "running")]),
            ?assertEqual({ok, N}, py_port:call(Ctx, probe_calls, identity, [N]))
        end
     || N <- lists:seq(1, 10)
    ].

%% Callers that die, interrupts --------------------------------------------------------------------------------------

the_death_of_the_caller_stops_its_call(Config) ->
    Ctx = ctx(Config),
    {Running, Cleaned} = {marker(Config, "running"), marker(Config, "cleaned")},
    Call = async(fun() -> py_port:call(Ctx, probe_calls, loop_and_clean_up, [Running, Cleaned]) end),
    ok = py_port_test:await_file(Running),
    ok = kill(Call),
    ok = py_port_test:await_file(Cleaned),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")),
    ?assertMatch(#{last_stop := #{why := caller_down, step := cancelled}, in_flight := 0}, py_port:info(Ctx)).

the_death_of_the_caller_drops_its_queued_call(Config) ->
    Ctx = ctx(Config),
    {Running, Go} = {marker(Config, "running"), marker(Config, "go")},
    ok = py_port:exec(Ctx, "seen = []"),
    First = async(fun() -> py_port:call(Ctx, probe_calls, wait_for, [Running, Go]) end),
    ok = py_port_test:await_file(Running),
    Second = async(fun() -> py_port:call(Ctx, '__main__', 'seen.append', [1]) end),
    %% it waits in the receive of its call: the request has been written
    true = py_port_test:wait_until(fun() -> in_flight(Ctx) >= 2 end, 30000),
    ok = kill(Second),
    true = py_port_test:wait_until(fun() -> is_dropped(caller_down, py_port:info(Ctx)) end, 30000),
    ok = file:write_file(Go, ""),
    ?assertEqual({ok, <<"gone">>}, await(First)),
    ?assertEqual({ok, []}, py_port:eval(Ctx, "seen")).

interrupt_ends_the_call_that_runs(Config) ->
    Ctx = ctx(Config),
    [
        begin
            Running = marker(Config, "running"),
            Call = async(fun() -> py_port:call(Ctx, probe_calls, What, [Running]) end),
            ok = py_port_test:await_file(Running),
            ?assertEqual({What, ok}, {What, py_port:interrupt(Ctx)}),
            ?assertEqual({What, {error, interrupted}}, {What, await(Call)})
        end
     || What <- [sleep_long, loop_forever, regex_forever]
    ],
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")).

interrupt_without_a_call_has_no_effect(Config) ->
    Ctx = ctx(Config),
    ?assertEqual({error, not_running}, py_port:interrupt(Ctx)),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")),
    ?assertEqual({error, not_running}, py_port:interrupt(Ctx)).

ping_is_answered_whatever_python_does(Config) ->
    Ctx = context(#{kill_after => 60000}),
    ?assertEqual(pong, py_port:ping(Ctx)),
    [
        begin
            Running = marker(Config, "running"),
            Call = async(fun() -> py_port:call(Ctx, probe_calls, What, [Running]) end),
            ok = py_port_test:await_file(Running),
            ?assertEqual({What, pong}, {What, py_port:ping(Ctx, 60000)}),
            ok = kill(Call)
        end
     || What <- [sleep_long, loop_forever, hold_the_gil]
    ].

a_ping_of_a_context_that_is_gone_says_so(_Config) ->
    Gone = context(#{}),
    ok = py_port:stop_context(Gone),
    ?assertEqual({error, {worker_down, noproc}}, py_port:ping(Gone)),
    ?assertEqual({error, {worker_down, noproc}}, py_port:interrupt(Gone)),
    ?assertEqual({error, {worker_down, noproc}}, py_port:info(Gone)),
    ?assertEqual({error, {worker_down, noproc}}, py_port:call(Gone, math, sqrt, [1])).

%% Looking -----------------------------------------------------------------------------------------------------------

info_tells_what_is_known(Config) ->
    Ctx = ctx(Config),
    {ok, OsPid} = py_port:call(Ctx, os, getpid, []),
    {ok, Version} = py_port:eval(Ctx, "__import__('sys').version.split()[0]"),
    {ok, Executable} = py_port:eval(Ctx, "__import__('sys').executable"),
    {error, _} = py_port:call(Ctx, probe_calls, raise_plain, []),
    Before = erlang:system_time(millisecond),
    Info = py_port:info(Ctx),
    ?assertMatch(
        #{os_pid := OsPid, python := Version, executable := Executable, in_flight := 0, refs := 0, last_stop := none},
        Info
    ),
    #{rss := Rss, cpu_ms := Cpu, calls := Calls, started_at := StartedAt, last_error := LastError} = Info,
    ?assert(Rss > 1000000),
    ?assert(is_integer(Cpu)),
    ?assert(Calls >= 4),
    ?assert(StartedAt =< Before),
    ?assertMatch(
        #{
            module := probe_calls,
            function := raise_plain,
            reason := {python, #{type := <<"ValueError">>}}
        },
        LastError
    ).

%% The kernel shows the name that a process gives itself in front of what it knows.
info_takes_no_name_for_a_fact(_Config) ->
    Ctx = context(#{}),
    ok = py_port:exec(Ctx, "open('/proc/self/comm', 'w').write('VmRSS: 1 kB')"),
    #{rss := Rss} = py_port:info(Ctx),
    ?assert(Rss > 1000000).

info_shows_what_runs_and_what_waits(Config) ->
    Ctx = context(#{kill_after => 60000}),
    Running = marker(Config, "running"),
    Calls = [async(fun() -> py_port:call(Ctx, probe_calls, sleep_long, [Running]) end) || _ <- [1, 2, 3]],
    ok = py_port_test:await_file(Running),
    true = py_port_test:wait_until(fun() -> in_flight(Ctx) >= 3 end, 30000),
    Seen = fun() ->
        case py_port:info(Ctx) of
            #{queued := 2, running := R} when R =/= undefined -> true;
            _ -> false
        end
    end,
    ?assert(py_port_test:wait_until(Seen, 30000)),
    [ok = kill(Call) || Call <- Calls].

contexts_lists_those_that_live(Config) ->
    First = ctx(Config),
    Second = context(#{}),
    ?assertEqual(lists:sort([First, Second]), lists:sort(py_port:contexts())),
    ok = py_port:stop_context(Second),
    ?assertEqual([First], py_port:contexts()).

contexts_do_not_share_anything(Config) ->
    First = ctx(Config),
    Others = [context(#{}) || _ <- [1, 2]],
    [
        ok = py_port:exec(C, "import os, probe_calls\nprobe_calls.VALUE = os.getpid()")
     || C <- [First | Others]
    ],
    Values = [py_port:eval(C, "probe_calls.VALUE") || C <- [First | Others]],
    ?assertEqual(3, length(lists:usort(Values))),
    ?assertEqual([{ok, py_port_test:os_pid(C)} || C <- [First | Others]], Values).

many_callers_get_their_own_answers(Config) ->
    Ctx = ctx(Config),
    Callers = [
        async(fun() -> [py_port:call(Ctx, probe_calls, identity, [{C, N}]) || N <- lists:seq(1, 20)] end)
     || C <- lists:seq(1, 50)
    ],
    [
        ?assertEqual([{ok, {C, N}} || N <- lists:seq(1, 20)], await(Caller))
     || {C, Caller} <- lists:zip(lists:seq(1, 50), Callers)
    ].

max_pending_refuses_the_next_call(Config) ->
    Ctx = context(#{max_pending => 2}),
    Running = marker(Config, "running"),
    Calls = [async(fun() -> py_port:call(Ctx, probe_calls, sleep_long, [Running]) end) || _ <- [1, 2]],
    ok = py_port_test:await_file(Running),
    Overloaded = fun() -> py_port:call(Ctx, math, sqrt, [1], #{}, #{timeout => 100}) =:= {error, overloaded} end,
    ?assert(py_port_test:wait_until(Overloaded, 30000)),
    [ok = kill(Call) || Call <- Calls],
    ?assert(py_port_test:wait_until(fun() -> py_port:eval(Ctx, "1") =:= {ok, 1} end, 30000)).

an_answer_that_is_too_large_is_the_error_of_its_call(_Config) ->
    Ctx = context(#{max_frame => 100000}),
    ?assertMatch({error, {bad_term, <<"result">>, _}}, py_port:eval(Ctx, "b'x' * 200000")),
    ?assertMatch({error, {bad_term, <<"result", _/binary>>, _}}, py_port:eval(Ctx, "[1.5] * 100000")),
    {error, {too_large, Size, 100000}} = py_port:call(Ctx, probe_calls, identity, [binary:copy(<<"x">>, 200000)]),
    ?assert(Size > 200000),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")).

%% Helpers -----------------------------------------------------------------------------------------------------------

stops(What, Step, Config) ->
    Ctx = ctx(Config),
    OsPid = py_port_test:os_pid(Ctx),
    ?assertEqual({error, timeout}, stopped_call(Ctx, What, [marker(Config, "running")])),
    ?assertEqual({ok, OsPid}, py_port:call(Ctx, os, getpid, [])),
    #{last_stop := Stop, in_flight := 0} = py_port:info(Ctx),
    ?assertMatch(#{why := timeout, step := Step, what := {probe_calls, What}}, Stop).

%% The deadline passes once the code runs: the first call makes the marker, or is made again with more time.
stopped_call(Ctx, What, [Running | _] = Args) ->
    stopped_call(Ctx, What, Args, Running, 500).

stopped_call(Ctx, What, Args, Running, Timeout) ->
    Result = py_port:call(Ctx, probe_calls, What, Args, #{}, #{timeout => Timeout}),
    case filelib:is_file(Running) of
        true -> Result;
        false when Timeout < 60000 -> stopped_call(Ctx, What, Args, Running, Timeout * 4)
    end.

kills(What, Config) ->
    Old = process_flag(trap_exit, true),
    Ctx = context(#{kill_after => 300}),
    OsPid = py_port_test:os_pid(Ctx),
    Ref = monitor(process, Ctx),
    %% another caller of the same context hears of it
    Running = marker(Config, "running"),
    Other = async(fun() ->
        ok = py_port_test:await_file(Running),
        py_port:call(Ctx, math, sqrt, [1])
    end),
    ?assertEqual({error, timeout}, py_port:call(Ctx, probe_calls, What, [Running], #{}, #{timeout => 2000})),
    {ok, Reason} =
        receive
            {'DOWN', Ref, process, Ctx, Why} -> {ok, Why}
        after 60000 -> still_there
        end,
    ?assertMatch({worker_killed, sigkill, #{stopped_by := timeout}}, Reason),
    ?assertEqual({error, {worker_down, Reason}}, await(Other)),
    ?assertNot(py_port_test:os_alive(OsPid)),
    Text = py_port:format_error({worker_down, Reason}),
    ?assertNotEqual(nomatch, binary:match(Text, <<"deadline">>)),
    %% where it was when it had to be killed
    #{stack := Stack} = element(3, Reason),
    ?assertNotEqual(nomatch, binary:match(Stack, atom_to_binary(What))),
    receive
        {'EXIT', Ctx, Reason} -> ok
    end,
    process_flag(trap_exit, Old).

%% Python takes some atoms for values; as names they are names, however the call is made.
atoms_that_are_values_in_python_are_names_all_the_same(Config) ->
    Ctx = ctx(Config),
    Names = [none, nil, undefined, true],
    [
        begin
            ok = py_port:exec(Ctx, ["def ", atom_to_list(Name), "(**given): return [k for k in sorted(given)]\n"]),
            Given = maps:from_list([{Key, 1} || Key <- [Name, "text", "größe"]]),
            Expected = {ok, lists:sort([atom_to_binary(Name), <<"text">>, <<"größe"/utf8>>])},
            [
                ?assertEqual({Name, Opts, Expected}, {Name, Opts, py_port:call(Ctx, '__main__', Name, [], Given, Opts)})
             || Opts <- [#{}, #{thread => true}]
            ],
            {ok, Stream} = py_port:stream(Ctx, '__main__', Name, [], #{kwargs => Given}),
            ?assertEqual({Name, Expected}, {Name, py_port:to_list(Stream)})
        end
     || Name <- Names
    ],
    ?assertMatch(
        {error, {bad_argument, kwargs, _}}, py_port:call(Ctx, '__main__', none, [], #{[16#d800] => 1}, #{})
    ).
