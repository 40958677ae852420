%% @doc `py:call', `eval', `exec' and their kin on real workers: each form finds its place, what releases of erlang_python
%% got wrong is right, and `compat' settles what they disagree in.
-module(py_calls_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- [compat, interrupt, free, busy, details].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) ->
    _ = process_flag(trap_exit, true),
    ok = application:set_env(py_port, num_contexts, 1),
    Config.

end_per_testcase(_Case, Config) ->
    ok = py:stop_contexts(),
    [ok = application:unset_env(py_port, Key) || Key <- [num_contexts, compat]],
    ok = py_semaphore:set_max_concurrent(100),
    [ok = py:unregister_function(Name) || {Name, _} <- ets:tab2list(py_port_functions)],
    py_port_test:end_per_testcase(Config).

compat(Version) -> application:set_env(py_port, compat, Version).

%% Nothing of theirs has run: they were waiting for a namespace.
who_waits_for_a_namespace_goes_to_the_successor(_Config) ->
    ok = compat('4.1'),
    Ctx = py:context(1),
    {ok, OsPid} = py_context:get_interp_id(Ctx),
    Busy = py_port_test:async(fun() -> py_port:call(Ctx, time, sleep, [60]) end),
    true = py_port_test:wait_until(fun() -> py_port_test:in_flight(Ctx) =:= 1 end, 10000),
    Calls = [
        fun() -> py:call(math, sqrt, [16]) end,
        fun() -> py:eval("4.0") end,
        fun() -> py:async_gather([{math, sqrt, [16]}]) end,
        fun() -> py:cast(math, sqrt, [16]) end,
        fun() -> py:call(Ctx, math, sqrt, [16]) end
    ],
    Waiting = [py_port_test:async(Call) || Call <- Calls],
    true = py_port_test:wait_until(fun() -> py_port_test:in_flight(Ctx) =:= 6 end, 10000),
    _ = os:cmd("kill -9 " ++ integer_to_list(OsPid)),
    {error, {worker_down, {worker_killed, _, _}}} = py_port_test:await(Busy),
    ?assertMatch(
        [{ok, 4.0}, {ok, 4.0}, {ok, [4.0]}, ok, {error, {context_died, {worker_killed, _, _}}}],
        [py_port_test:await(One) || One <- Waiting]
    ).

%% The namespace is made in the time of the request; in a context that is busy that takes long.
a_first_request_at_4_1_is_over_in_its_time(_Config) ->
    ok = compat('4.1'),
    Ctx = py:context(1),
    Busy = busy(Ctx),
    First = [
        fun() -> py:call(Ctx, math, sqrt, [16], #{timeout => 100}) end,
        fun() -> py:call(math, sqrt, [16], #{}, 100) end,
        fun() -> py:eval(Ctx, "1", 100) end,
        fun() -> py:exec(Ctx, "pass", 100) end,
        fun() -> {error, {gather_failed, [{1, Why}]}} = py:async_gather([{math, sqrt, [16]}], 100), {error, Why} end
    ],
    Outcomes = [py_port_test:await(One) || One <- [py_port_test:async(F) || F <- First]],
    ?assertEqual([{error, timeout} || _ <- First], Outcomes),
    ?assertEqual(0, py_semaphore:current()),
    ok = free(Ctx, Busy).

who_does_not_wait_for_an_answer_does_not_wait_for_a_namespace_either(_Config) ->
    ok = compat('4.1'),
    ok = py_preload:set_code("seen = []\ndef add(n): seen.append(n)\ndef all(): return seen"),
    Ctx = py:context(1),
    Busy = busy(Ctx),
    [ok = py:cast(Ctx, '__main__', add, [N]) || N <- lists:seq(1, 20)],
    Spawned = py:spawn_call(Ctx, math, sqrt, [16]),
    Task = py:async_call(math, sqrt, [25]),
    ?assertEqual({error, timeout}, py:eval(Ctx, "seen", 100)),
    ?assertMatch({error, {invalid_args, _}}, details(fun() -> py:cast(Ctx, math, sqrt, x) end)),
    ok = free(Ctx, Busy),
    ?assertEqual([{ok, 4.0}, {ok, 5.0}], [py:await(Spawned), py:await(Task)]),
    %% It is one namespace, and what comes later is later there.
    ?assertEqual({ok, lists:seq(1, 20)}, py:eval(Ctx, "seen")),
    ?assertEqual({ok, lists:seq(1, 20)}, py:await(py:spawn_call(Ctx, '__main__', all, []))),
    ok = py_preload:clear_code().

%% Nobody keeps the namespace of who has died, but what it asked for is done.
a_cast_at_4_1_is_made_also_when_its_caller_dies_before_its_namespace_is_there(_Config) ->
    ok = compat('4.1'),
    Self = self(),
    ok = py:register_function(tell, fun([X]) -> Self ! {told, X}, ok end),
    Ctx = py:context(1),
    Busy = busy(Ctx),
    [ok = py_port_test:await(py_port_test:async(fun() -> Ask(), ok end)) || Ask <- [
        fun() -> py:cast(Ctx, erlang, call, [tell, 1]) end,
        fun() -> py:spawn_call(Ctx, erlang, call, [tell, 2]) end
    ]],
    ok = free(Ctx, Busy),
    [receive {told, N} -> ok end || N <- [1, 2]].

busy(Ctx) ->
    Busy = py_port_test:async(fun() -> py_port:call(Ctx, time, sleep, [3600]) end),
    true = py_port_test:wait_until(fun() -> py_port_test:in_flight(Ctx) =:= 1 end, 10000),
    Busy.

free(Ctx, Busy) ->
    true = py_port_test:wait_until(fun() -> py_port:interrupt(Ctx) =:= ok end, 10000),
    {error, interrupted} = py_port_test:await(Busy),
    ok.

details(Do) ->
    ok = application:set_env(py_port, error_details, true),
    try Do() after application:unset_env(py_port, error_details) end.

%% Forms -----------------------------------------------------------------------------------------------------------------

each_form_of_call_finds_its_place(_Config) ->
    Ctx = py:context(),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ?assertEqual({ok, 4.0}, py:call(Ctx, math, sqrt, [16])),
    ?assertEqual({ok, 4.0}, py:call(default, math, sqrt, [16])),
    ?assertEqual({ok, 4.0}, py:call({default, {key, k}}, math, sqrt, [16])),
    ?assertEqual({ok, #{<<"a">> => 1}}, py:call(builtins, dict, [], #{a => 1})),
    ?assertEqual({ok, #{<<"a">> => 1}}, py:call(Ctx, builtins, dict, [], #{kwargs => #{a => 1}, timeout => 60000})),
    ?assertEqual({ok, #{<<"a">> => 1}}, py:call(default, builtins, dict, [], #{a => 1})),
    ?assertEqual({ok, #{<<"a">> => 1}}, py:call(builtins, dict, [], #{a => 1}, infinity)).

a_form_is_told_by_what_the_arguments_are(_Config) ->
    ?assertEqual({{pool, p}, m, f, [], #{}}, py_forms:four(p, m, f, [])),
    ?assertEqual({{pool, p}, m, "f", [], #{}}, py_forms:four(p, m, "f", [])),
    ?assertEqual({{pool, p}, m, <<"f">>, [], #{}}, py_forms:four(p, m, <<"f">>, [])),
    ?assertEqual({router, m, f, [1], #{}}, py_forms:four(m, f, [1], #{})),
    ?assertEqual({router, m, f, [], []}, py_forms:four(m, f, [], [])),
    ?assertEqual({router, <<"m">>, f, [], #{}}, py_forms:four(<<"m">>, f, [], #{})),
    ?assertEqual({{context, self()}, m, f, [], #{}}, py_forms:four(self(), m, f, [])),
    ?assertEqual({{context, {c, n@h}}, m, f, [], #{}}, py_forms:four({c, n@h}, m, f, [])),
    ?assertEqual({{pool, {p, {key, 1}}}, m, f, [], #{}}, py_forms:four({p, {key, 1}}, m, f, [])),
    ?assertEqual({{pool, {p, least_loaded}}, m, f, [], #{}}, py_forms:four({p, least_loaded}, m, f, [])),
    ?assertEqual({{{pool, p}, m, f, [], #{a => 1}}, #{}}, py_forms:five(p, m, f, [], #{a => 1})),
    ?assertEqual({{router, m, f, [], #{a => 1}}, #{timeout => 5}}, py_forms:five(m, f, [], #{a => 1}, 5)),
    ?assertEqual({{router, m, f, [], #{}}, #{return => ref}}, py_forms:five(m, f, [], #{}, #{return => ref})),
    ?assertEqual({{{context, self()}, m, f, [], #{a => 1}}, #{timeout => 5}},
                 py_forms:five(self(), m, f, [], #{kwargs => #{a => 1}, timeout => 5})),
    ?assertEqual({{pool, p}, "c", #{}, #{}}, py_forms:code(p, "c")),
    ?assertEqual({router, "c", #{a => 1}, #{}}, py_forms:code("c", #{a => 1})),
    ?assertEqual({router, "c", #{}, #{timeout => 5}}, py_forms:code("c", 5)),
    ?assertEqual({{context, self()}, "c", #{}, #{timeout => 5}}, py_forms:code(self(), "c", 5)),
    ?assertEqual({{pool, p}, "c", #{a => 1}, #{timeout => 5}}, py_forms:code(p, "c", #{a => 1}, 5)),
    ?assertEqual({router, "c", #{a => 1}, #{timeout => 5}}, py_forms:code("c", #{a => 1}, 5)).

each_form_of_eval_and_exec_finds_its_place(_Config) ->
    Ctx = py:context(),
    ?assertEqual({ok, 2}, py:eval("1 + 1")),
    ?assertEqual({ok, 3}, py:eval("a + 1", #{a => 2})),
    ?assertEqual({ok, 3}, py:eval("a + 1", #{a => 2}, 60000)),
    ?assertEqual({ok, 2}, py:eval(Ctx, "1 + 1")),
    ?assertEqual({ok, 3}, py:eval(Ctx, "a + 1", #{a => 2})),
    ?assertEqual({ok, 2}, py:eval(default, "1 + 1", 60000)),
    ?assertEqual({ok, 3}, py:eval(default, "a + 1", #{a => 2}, 60000)),
    ?assertEqual(ok, py:exec("x = 1")),
    ?assertEqual(ok, py:exec("x = 1", 60000)),
    ?assertEqual(ok, py:exec(Ctx, "x = 1")),
    ?assertEqual(ok, py:exec(Ctx, "x = 1", 60000)),
    ?assertEqual(ok, py:exec(default, "x = y", #{y => 7}, infinity)),
    ?assertEqual({ok, 7}, py:eval(Ctx, "x")).

names_are_atoms_binaries_or_strings_on_every_path(_Config) ->
    Ctx = py:context(),
    [?assertEqual({ok, 4.0}, py:call(M, F, [16])) || M <- [math, <<"math">>, "math"], F <- [sqrt, <<"sqrt">>, "sqrt"]],
    [?assertEqual({ok, 4.0}, py:call(Ctx, M, F, [16])) || M <- [math, <<"math">>, "math"], F <- [sqrt, <<"sqrt">>, "sqrt"]],
    [?assertEqual({ok, 4.0}, py:call(default, M, F, [16])) || M <- [math, <<"math">>, "math"], F <- [sqrt, <<"sqrt">>, "sqrt"]],
    [?assertEqual({ok, 4.0}, py:call(M, F, [16], #{}, 60000)) || M <- [math, <<"math">>, "math"], F <- [sqrt, <<"sqrt">>, "sqrt"]].

dotted_modules_and_dotted_functions_are_found(_Config) ->
    ?assertEqual({ok, <<"a/b">>}, py:call('os.path', join, [a, b])),
    ?assertEqual({ok, <<"a/b">>}, py:call(os, 'path.join', [a, b])),
    ?assertEqual({ok, #{<<"a">> => 1}}, py:call("collections", "OrderedDict.fromkeys", [[a], 1])).

names_may_hold_any_letter(_Config) ->
    ok = py:exec("def größe(): return 'π'"),
    ?assertEqual({ok, <<"π"/utf8>>}, py:call('__main__', 'größe', [])),
    ?assertEqual({ok, <<"π"/utf8>>}, py:call('__main__', "größe", [])),
    ?assertEqual({ok, <<"π"/utf8>>}, py:call('__main__', <<"größe"/utf8>>, [])).

code_may_hold_any_letter(_Config) ->
    ?assertEqual({ok, <<"é中"/utf8>>}, py:eval("'é中'")),
    ?assertEqual({ok, <<"é中"/utf8>>}, py:eval(<<"'é中'"/utf8>>)),
    ?assertEqual({ok, <<"é中"/utf8>>}, py:eval(["'é", <<"中"/utf8>>, $'])).

code_with_a_nul_is_an_error_and_not_cut_short(_Config) ->
    ?assertMatch({error, {"ValueError", _}}, py:exec(<<"x = 1\0y = 2">>)).

keywords_may_be_strings_too(_Config) ->
    ?assertEqual({ok, #{<<"a">> => 1, <<"b">> => 2, <<"c">> => 3}}, py:call(builtins, dict, [], #{a => 1, <<"b">> => 2, "c" => 3})).

%% Errors where releases crash -----------------------------------------------------------------------------------------------

an_unknown_pool_is_an_error(_Config) ->
    ?assertEqual({error, {no_such_pool, nowhere}}, py:call(nowhere, math, sqrt, [16])),
    ?assertEqual({error, {no_such_pool, nowhere}}, py:call(nowhere, math, sqrt, [16], #{})),
    ?assertEqual({error, {no_such_pool, nowhere}}, py:eval(nowhere, "1")),
    ?assertEqual({error, {no_such_pool, nowhere}}, py:exec(nowhere, "1")).

an_unknown_context_is_an_error_that_calls_hand_on(_Config) ->
    ?assertMatch({error, {no_such_context, _}}, py:context(99)),
    ?assertMatch({error, {no_such_context, _}}, py:call(py:context(99), math, sqrt, [16])).

arguments_that_are_no_list_are_invalid_args(_Config) ->
    ?assertEqual({error, invalid_args}, py:call(math, sqrt, 16)),
    ?assertEqual({error, invalid_args}, py:call(math, sqrt, [16 | 17])),
    ?assertEqual({error, invalid_args}, py:call(py:context(), math, sqrt, 16)),
    ?assertEqual({error, invalid_args}, py:call(math, sqrt, [], [])).

what_is_wrong_with_options_is_named(_Config) ->
    ?assertMatch({error, {bad_argument, options, _}}, py:call(py:context(), math, sqrt, [16], #{tiemout => 5})),
    ?assertMatch({error, {bad_argument, options, _}}, py:call(py:context(), math, sqrt, [16], 5)),
    ?assertMatch({error, {bad_argument, timeout, _}}, py:call(math, sqrt, [16], #{}, -1)),
    ?assertMatch({error, {bad_argument, timeout, _}}, py:call(math, sqrt, [16], #{}, soon)).

a_keyword_that_is_no_text_is_a_type_error(_Config) ->
    ?assertEqual({error, {"TypeError", "keywords must be strings"}}, py:call(builtins, dict, [], #{1 => 2})).

what_cannot_come_back_is_an_error_and_not_a_value(_Config) ->
    ?assertMatch({error, {"UnicodeEncodeError", _}}, py:eval("'\\ud800'")),
    ?assertMatch({error, {"RecursionError", _}}, py:eval("(lambda l: (l.append(l), l)[1])([])")).

what_cannot_go_there_is_an_error_and_not_none(_Config) ->
    ?assertMatch({error, {"TypeError", "args[0].keys()[0]: " ++ _}}, py:call(builtins, len, [#{[1] => 2}])).

messages_hold_characters(_Config) ->
    ?assertEqual({error, {"ValueError", "é中"}}, py:exec("raise ValueError('é中')")).

exceptions_have_their_own_message(_Config) ->
    ?assertEqual({error, {"KeyError", "'k'"}}, py:eval("{}['k']")),
    ?assertMatch({error, {"SyntaxError", "invalid syntax" ++ _}}, py:eval("1 +")),
    ?assertEqual({error, {"SystemExit", "3"}}, py:exec("raise SystemExit(3)")),
    ?assertEqual({error, {stop_iteration, none}}, py:eval("next(iter([]))")),
    ?assertEqual({error, {"ValueError", []}}, py:exec("raise ValueError")).

%% Values ------------------------------------------------------------------------------------------------------------------

big_integers_cross_unchanged(_Config) ->
    Big = 1 bsl 200,
    ?assertEqual({ok, Big}, py:call(builtins, int, [Big])),
    ?assertEqual({ok, -Big}, py:eval("-n", #{n => Big})).

pids_references_and_atoms_of_any_letter_cross(_Config) ->
    Ref = make_ref(),
    ?assertEqual({ok, [self(), Ref]}, py:call(builtins, list, [[self(), Ref]])),
    ?assertEqual({ok, <<"π"/utf8>>}, py:call(builtins, str, ['π'])).

%% Namespaces --------------------------------------------------------------------------------------------------------------

locals_are_seen_in_lambdas_and_comprehensions(_Config) ->
    ?assertEqual({ok, [3, 4]}, py:eval("[a + n for n in (1, 2)]", #{a => 2})),
    ?assertEqual({ok, 3}, py:eval("(lambda: a + 1)()", #{a => 2})).

locals_do_not_stay(_Config) ->
    {ok, 2} = py:eval("a_local", #{a_local => 2}),
    ?assertMatch({error, {"NameError", _}}, py:eval("a_local")).

call_finds_what_exec_has_defined(_Config) ->
    ok = py:exec("def f(n): return n + 1"),
    ?assertEqual({ok, 3}, py:call('__main__', f, [2])).

one_namespace_is_shared_at_2_0(_Config) ->
    ok = py:exec("shared = 1"),
    ?assertEqual({ok, 1}, py_port_test:await(py_port_test:async(fun() -> py:eval("shared") end))).

each_process_has_its_own_namespace_at_4_1(_Config) ->
    ok = compat('4.1'),
    Ctx = py:context(),
    ok = py:exec(Ctx, "own = 1\ndef f(): return own"),
    ?assertMatch({error, {'NameError', _}}, py_port_test:await(py_port_test:async(fun() -> py:eval(Ctx, "own") end))),
    ?assertEqual({ok, 1}, py:eval(Ctx, "own")),
    ?assertEqual({ok, 1}, py:call(Ctx, '__main__', f, [])),
    ?assertEqual({ok, 1}, py:await(py:spawn_call(Ctx, '__main__', f, []))).

%% Time --------------------------------------------------------------------------------------------------------------------

a_timeout_comes_at_once_and_the_context_serves_the_next(_Config) ->
    ok = py:exec("import time"),
    ?assertEqual({error, timeout}, py:call(time, sleep, [3600], #{}, 100)),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

exec_has_a_timeout(_Config) ->
    ?assertEqual({error, timeout}, py:exec("while True: pass", 100)),
    ?assertEqual({error, timeout}, py:exec(py:context(), "while True: pass", 100)),
    ?assertEqual({ok, 1}, py:eval("1")).

code_that_swallows_the_interrupt_is_ended_and_its_context_replaced(_Config) ->
    Code =
        "while True:\n"
        "  try:\n"
        "    while True: pass\n"
        "  except BaseException: pass\n",
    ?assertEqual({error, timeout}, py:exec(Code, 100)),
    ?assert(py_port_test:wait_until(fun() -> {ok, 1} =:= py:eval("1") end, 60000)).

no_message_comes_late_after_a_timeout(_Config) ->
    {error, timeout} = py:call(time, sleep, [3600], #{}, 50),
    {ok, 1} = py:eval("1"),
    ?assertEqual([], py_port_test:flush()).

an_interrupt_is_told_as_such(_Config) ->
    Ctx = py:context(),
    ok = py:register_function(running, fun([To]) -> To ! running, ok end),
    Call = py:spawn_call(Ctx, builtins, exec, [<<"import erlang, time\nerlang.call('running', to)\ntime.sleep(3600)">>, #{to => self()}]),
    receive running -> ok end,
    ?assertEqual(ok, interrupt(Ctx)),
    ?assertEqual({error, interrupted}, py:await(Call)),
    ?assertEqual(not_running, py:interrupt(Ctx)).

%% Between the callback and the sleep there is a moment in which nothing can be interrupted yet, or the interrupt is early.
interrupt(Ctx) ->
    true = py_port_test:wait_until(fun() -> py:interrupt(Ctx) =:= ok end, 60000),
    ok.

%% Slots -------------------------------------------------------------------------------------------------------------------

a_call_without_a_slot_is_overloaded(_Config) ->
    ok = py_semaphore:set_max_concurrent(1),
    {Held, _} = Holder = hold_slot(),
    ?assertEqual({error, {overloaded, 1, 1}}, py:call(math, sqrt, [16], #{}, 0)),
    ?assertEqual({ok, 4.0}, py:call(py:context(), math, sqrt, [16])),
    ?assertEqual({ok, 2}, py:eval("1 + 1")),
    Held ! go,
    ok = py_port_test:await(Holder),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

a_timeout_that_is_too_long_is_refused_before_it_waits_for_a_slot(_Config) ->
    ok = py_semaphore:set_max_concurrent(1),
    {Held, _} = Holder = hold_slot(),
    [?assertMatch({error, {bad_argument, timeout, _}}, py:call(math, sqrt, [16], #{}, Bad)) || Bad <- [1 bsl 40, -1, soon]],
    Held ! go,
    ok = py_port_test:await(Holder),
    ?assertEqual(0, py_semaphore:current()),
    ?assertEqual([], py_port_test:flush()).

hold_slot() ->
    Self = self(),
    Holder = py_port_test:async(fun() ->
        ok = py_semaphore:acquire(),
        Self ! held,
        receive go -> ok end,
        py_semaphore:release()
    end),
    receive held -> Holder end.

a_call_on_behalf_of_python_needs_no_slot_of_its_own(_Config) ->
    ok = py_semaphore:set_max_concurrent(1),
    ok = py:register_function(inner, fun([]) -> {ok, V} = py:call(math, sqrt, [16]), V end),
    ?assertEqual({ok, 4.0}, py:call(erlang, call, [inner])).

%% Callbacks ---------------------------------------------------------------------------------------------------------------

what_a_function_returns_is_data_also_an_error(_Config) ->
    ok = py:register_function(fails, fun([X]) -> {error, X} end),
    ?assertEqual({ok, {<<"error">>, 7}}, py:call(erlang, call, [fails, 7])).

a_callback_may_call_the_same_context(_Config) ->
    Ctx = py:context(),
    ok = py:register_function(again, fun([N]) -> {ok, V} = py:call(Ctx, math, sqrt, [N]), V end),
    ?assertEqual({ok, 4.0}, py:call(Ctx, erlang, call, [again, 16])),
    ?assertEqual({ok, 4.0}, py:eval(Ctx, "__import__('erlang').call('again', 16)")),
    ok = py:exec(Ctx, "import erlang\nv = erlang.call('again', 16)"),
    ?assertEqual({ok, 4.0}, py:eval(Ctx, "v")).

code_that_calls_erlang_runs_once(_Config) ->
    ok = py:register_function(add, fun([A, B]) -> A + B end),
    ok = py:exec(
        "import erlang\n"
        "runs = 0\n"
        "def f():\n"
        "  global runs\n"
        "  runs += 1\n"
        "  return erlang.call('add', 1, 2) + erlang.call('add', 3, 4) + erlang.call('add', 5, 6)\n"
    ),
    ?assertEqual({ok, 21}, py:eval("f()")),
    ?assertEqual({ok, 21}, py:call('__main__', f, [])),
    ?assertEqual({ok, 2}, py:eval("runs")).

a_function_of_a_module_gets_one_list(_Config) ->
    ok = py:register_function(total, lists, sum),
    ok = py:register_function(<<"biggest">>, lists, max),
    ?assertEqual({ok, 3}, py:call(erlang, call, [biggest, 1, 3, 2])),
    ?assertEqual({ok, 6}, py:call(erlang, call, [<<"total">>, 1, 2, 3])),
    ok = py:unregister_function(total),
    ?assertMatch({error, {"FunctionNotFound", _}}, py:call(erlang, call, [total])).

a_function_of_the_wrong_arity_is_refused(_Config) ->
    ?assertMatch({error, {bad_argument, function, _}}, py:register_function(bad, fun() -> ok end)).

callbacks_can_be_looked_up_and_run_here(_Config) ->
    Fun = fun([X]) -> 1 / X end,
    ok = py_callback:register(<<"inverse">>, Fun),
    ok = py_callback:register(sum, {lists, sum}),
    ?assertEqual({ok, Fun}, py_callback:lookup(inverse)),
    ?assertEqual({ok, {lists, sum}}, py_callback:lookup("sum")),
    ?assertEqual({error, not_found}, py_callback:lookup(nothing)),
    ?assertEqual({ok, 0.5}, py_callback:execute(inverse, [2])),
    ?assertEqual({ok, 3}, py_callback:execute(sum, [1, 2])),
    ?assertMatch({error, {error, badarith, [_ | _]}}, py_callback:execute(inverse, [0])),
    ?assertEqual({error, {not_found, nothing}}, py_callback:execute(nothing, [])),
    ok = py_callback:unregister(inverse),
    ?assertEqual({error, not_found}, py_callback:lookup(inverse)).

%% Contexts ----------------------------------------------------------------------------------------------------------------

the_end_of_a_context_is_told_and_it_is_replaced(_Config) ->
    ?assertMatch({error, {context_died, {worker_exited, 7, _}}}, py:call(os, '_exit', [7])),
    ?assert(py_port_test:wait_until(fun() -> {ok, 1} =:= py:eval("1") end, 60000)).

a_call_to_a_dead_context_is_told_so(_Config) ->
    Ctx = py_port_test:start_context(#{}),
    ok = py_port:stop_context(Ctx),
    ?assertEqual({error, {context_died, noproc}}, py:call(Ctx, math, sqrt, [16])).

a_context_may_be_called_by_its_name(_Config) ->
    Ctx = py_port_test:start_context(#{name => a_named_context}),
    ok = py:exec(Ctx, "here = 1"),
    ?assertEqual({ok, 1}, py:eval(a_named_context, "here")),
    ?assertEqual({ok, 1}, py:eval({a_named_context, node()}, "here")),
    ?assertEqual({ok, 4.0}, py:call(a_named_context, math, sqrt, [16])),
    ok = compat('4.1'),
    ok = py:exec(a_named_context, "mine = 2"),
    ?assertEqual({ok, 2}, py:eval(Ctx, "mine")).

functions_and_modules_may_belong_to_a_pool(_Config) ->
    {ok, [Ctx]} = py_context_router:start_pool(other, 1),
    ok = py:register_pool(other, colorsys),
    ok = py:register_pool(other, {os, getpid}),
    #{os_pid := OsPid} = py_port:info(Ctx),
    ?assertEqual({ok, OsPid}, py:call(os, getpid, [])),
    ?assertEqual({ok, OsPid}, py:call(<<"os">>, "getpid", [])),
    ok = py:unregister_pool({os, getpid}),
    ok = py:unregister_pool(colorsys),
    {ok, Other} = py:call(os, getpid, []),
    ?assertNotEqual(OsPid, Other),
    ok = py_context_router:stop_pool(other).

contexts_start_and_stop(_Config) ->
    ?assertMatch({ok, [_]}, py:start_contexts()),
    ?assert(py:contexts_started()),
    ok = py:stop_contexts(),
    ?assertNot(py:contexts_started()),
    ?assertMatch({ok, [_, _]}, py:start_contexts(#{contexts => 2, mode => auto})),
    ?assertNotEqual(py:context(1), py:context(2)).

%% References --------------------------------------------------------------------------------------------------------------

an_object_may_stay_in_python(_Config) ->
    {ok, Ref} = py:call(py:context(), collections, 'Counter', [[a, a, b]], #{return => ref}),
    ?assert(py:is_ref(Ref)),
    ?assertEqual({ok, [{<<"a">>, 2}]}, py:call_method(Ref, most_common, [1])),
    ?assertEqual({ok, [{<<"a">>, 2}]}, py:call_method(Ref, "most_common", [], #{n => 1})),
    ?assertEqual({ok, <<"Counter">>}, py:eval("type(r).__name__", #{r => Ref})),
    ?assertMatch({ok, _}, py:getattr(Ref, '__doc__')),
    ?assertEqual({ok, #{<<"a">> => 2, <<"b">> => 1}}, py:to_term(Ref)),
    ok = py:release(Ref),
    %% Letting go goes another way than a call, which may overtake it.
    ?assert(py_port_test:wait_until(fun() -> py:to_term(Ref) =:= {error, invalid_ref} end, 60000)).

what_is_no_reference_is_told_so(_Config) ->
    ?assertNot(py:is_ref(make_ref())),
    ?assertEqual({error, invalid_ref}, py:call_method(make_ref(), f, [])),
    ?assertEqual({error, invalid_ref}, py:getattr(1, f)),
    ?assertEqual({error, invalid_ref}, py:to_term(1)).

%% Casts -------------------------------------------------------------------------------------------------------------------

a_cast_can_be_awaited_at_2_0(_Config) ->
    ?assertEqual({ok, 4.0}, py:await(py:cast(math, sqrt, [16]))),
    ?assertEqual({ok, 4.0}, py:await(py:cast(py:context(), math, sqrt, [16]))),
    ?assertEqual({ok, #{<<"a">> => 1}}, py:await(py:cast(builtins, dict, [], #{a => 1}))),
    ?assertEqual({ok, #{<<"a">> => 1}}, py:await(py:cast(default, builtins, dict, [], #{a => 1}))).

a_cast_is_forgotten_at_4_1(_Config) ->
    ok = compat('4.1'),
    Self = self(),
    ok = py:register_function(tell, fun([X]) -> Self ! {told, X}, ok end),
    ?assertEqual(ok, py:cast(erlang, call, [tell, 1])),
    receive {told, 1} -> ok end,
    ?assertEqual(ok, py:cast(py:context(), erlang, call, [tell, 2])),
    receive {told, 2} -> ok end,
    ?assertEqual([], py_port_test:flush()).

a_cast_goes_on_when_its_caller_has_died(_Config) ->
    Self = self(),
    ok = py:register_function(tell, fun([X]) -> Self ! {told, self(), X}, receive go -> ok end end),
    ok = py_port_test:await(py_port_test:async(fun() ->
        _ = py:cast(builtins, exec, [<<"import erlang\nerlang.call('tell', 1)\nerlang.call('tell', 2)">>, #{}]),
        ok
    end)),
    [receive {told, Job, N} -> Job ! go end || N <- [1, 2]].

%% The interpreter ---------------------------------------------------------------------------------------------------------

every_mode_is_a_process(_Config) ->
    ?assertEqual(process, py:execution_mode()),
    ?assertEqual(false, py:subinterp_supported()).

the_interpreter_tells_about_itself(_Config) ->
    Ctx = py:context(),
    ?assertMatch({ok, <<"3.", _/binary>>}, py:version()),
    ?assertMatch({ok, #{}}, py:memory_stats()),
    ?assertMatch({ok, #{gc_stats := _}}, py:memory_stats(Ctx)),
    ?assertMatch({error, {no_such_context, 99}}, py:memory_stats(py:context(99))),
    [?assertMatch({ok, N} when is_integer(N), Answer) || Answer <- [py:gc(), py:gc(0), py:gc(Ctx)]],
    ?assertMatch({error, {no_such_context, 99}}, py:gc(py:context(99))),
    [?assertEqual(ok, Answer) || Answer <- [py:tracemalloc_start(), py:tracemalloc_start(2), py:tracemalloc_stop()]],
    ?assertEqual(ok, py:reload(colorsys)),
    ?assertMatch({ok, #{}}, py:venv_info()),
    ?assertEqual(ok, py:deactivate_venv()),
    ?assertMatch({error, _}, py:activate_venv("/no/such/venv")).

state_and_dictionaries_are_reached_through_py(_Config) ->
    ok = py:state_clear(),
    ok = py:state_store(key, 1),
    ?assertEqual({ok, 1}, py:state_fetch(key)),
    ?assertEqual([2, 4, 3, 1], [py:state_incr(key), py:state_incr(key, 2), py:state_decr(key), py:state_decr(key, 2)]),
    ?assertEqual([key], py:state_keys()),
    ok = py:state_remove(key),
    ?assertEqual({error, not_found}, py:state_fetch(key)),
    {ok, Dict} = py:shared_dict_new(),
    ok = py:shared_dict_set(Dict, <<"k">>, 1),
    ?assertEqual(1, py:shared_dict_get(Dict, <<"k">>)),
    ?assertEqual(none, py:shared_dict_get(Dict, <<"other">>, none)),
    ?assertEqual([<<"k">>], py:shared_dict_keys(Dict)),
    ok = py:shared_dict_del(Dict, <<"k">>),
    ?assertEqual([], py:shared_dict_keys(Dict)),
    ok = py:shared_dict_destroy(Dict).
