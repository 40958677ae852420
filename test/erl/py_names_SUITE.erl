%% @doc Names of the package `erlang' that code written for erlang_python imports: they are there, and do what they say.
%% @end
-module(py_names_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(py_port_test, [context/1, ctx/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- [raises, call].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) ->
    ok.

init_per_testcase(_Case, Config) ->
    ok = py_port:register_function(add, fun lists:sum/1),
    [{ctx, context(#{})} | Config].

end_per_testcase(_Case, Config) ->
    Result = py_port_test:end_per_testcase(Config),
    _ = [py_port:unregister_function(F) || F <- [add, fails, hop]],
    Result.

raises(Type, {error, {python, #{type := Type, message := Message}}}) -> Message;
raises(Type, Other) -> error({not_raised, Type, Other}).

call(Config, Function, Args) -> py_port:call(ctx(Config), old_names, Function, Args).

every_public_name_is_there(Config) ->
    ?assertEqual({ok, []}, call(Config, missing, [])),
    %% As code that looks for hooks in every module does; no such function is registered.
    ?assertEqual({ok, []}, call(Config, scanned, [])),
    ?assertEqual({ok, true}, py_port:eval(ctx(Config), <<"hasattr(__import__('erlang'), 'add')">>)).

what_is_imported_from_the_older_module_is_there(Config) ->
    ?assertEqual({ok, true}, call(Config, older_module, [])).

a_scheduled_function_answers(Config) ->
    ?assertEqual({ok, 6}, call(Config, tail_erlang, [1, 2, 3])),
    ?assertEqual({ok, 4.0}, call(Config, tail_python, [16])),
    ?assertEqual({ok, #{<<"a">> => 1}}, call(Config, tail_inline, [#{a => 1}])),
    ?assertEqual({ok, <<"awaited">>}, call(Config, tail_coroutine, [])),
    ?assertEqual({ok, 6}, py_port:eval(ctx(Config), <<"__import__('erlang').schedule('add', 1, 2, 3)">>)).

a_chain_of_them_needs_no_stack(Config) ->
    ?assertEqual({ok, <<"done">>}, call(Config, count_down, [20000])).

what_a_scheduled_function_raises_is_the_answer(Config) ->
    ok = py_port:register_function(fails, fun(_) -> error(no_stock) end),
    ?assertEqual(<<"fails: error: 'no_stock'">>, raises(<<"CallError">>, call(Config, tail_fails, []))),
    _ = raises(<<"ValueError">>, call(Config, tail_python, [-1])),
    _ = raises(<<"ModuleNotFoundError">>, call(Config, tail_nowhere, [])),
    _ = raises(<<"TypeError">>, py_port:call(ctx(Config), erlang, schedule, [1])),
    _ = raises(<<"TypeError">>, py_port:call(ctx(Config), erlang, schedule_py, [math, 7])),
    ?assertEqual({ok, 4.0}, call(Config, tail_python, [16])).

what_is_scheduled_is_stopped_when_the_time_is_up(Config) ->
    #{os_pid := Worker} = py_port:info(ctx(Config)),
    ?assertEqual({error, timeout}, py_port:call(ctx(Config), old_names, tail_sleeps, [], #{}, #{timeout => 300})),
    ?assertEqual({ok, 4.0}, call(Config, tail_python, [16])),
    ?assertMatch(#{os_pid := Worker}, py_port:info(ctx(Config))).

%% The function that is scheduled calls Erlang, which calls Python, which schedules.
a_scheduled_function_calls_to_and_fro(Config) ->
    Ctx = ctx(Config),
    ok = py_port:register_function(hop, fun([N]) ->
        {ok, Value} = py_port:call(Ctx, old_names, hop, [N]),
        Value
    end),
    ?assertEqual({ok, 0}, call(Config, hop, [5])).

a_coroutine_may_schedule(Config) ->
    ?assertEqual({ok, 3}, call(Config, coroutine_schedules, [])).

nothing_is_ever_suspended(Config) ->
    ?assertEqual({ok, [<<"BaseException">>, 3, 1]}, call(Config, suspends, [])).

a_time_slice_is_never_used_up(Config) ->
    ?assertEqual({ok, false}, py_port:call(ctx(Config), erlang, consume_time_slice, [100])),
    _ = raises(<<"ValueError">>, py_port:call(ctx(Config), erlang, consume_time_slice, [0])),
    _ = raises(<<"TypeError">>, py_port:call(ctx(Config), erlang, consume_time_slice, [true])).

wrong_arguments_are_named(Config) ->
    ?assertEqual(
        <<"add: an Erlang function takes no keyword arguments (here: x); only timeout= is known">>,
        raises(<<"TypeError">>, call(Config, with_keyword, []))
    ),
    ?assertEqual(
        <<"the name of an Erlang function is a str, not int">>,
        raises(<<"TypeError">>, py_port:call(ctx(Config), erlang, call, [7]))
    ).

sleeping_blocks_or_is_awaited(Config) ->
    ?assertEqual({ok, true}, call(Config, sleeps, [])).

atoms_are_made_by_either_name(Config) ->
    ?assertEqual({ok, [ok, ok, true]}, call(Config, atoms, [])).
