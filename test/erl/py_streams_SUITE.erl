%% @doc Streams of the façade: what is collected is what was produced, messages come to the owner in order and end, and a
%% generator is closed when nobody wants it any more.
-module(py_streams_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() -> py_port_test:cases(?MODULE) -- [define, messages].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) ->
    _ = process_flag(trap_exit, true),
    ok = application:set_env(py_port, num_contexts, 1),
    ok = define(py:context()),
    Config.

end_per_testcase(_Case, Config) ->
    ok = py:stop_contexts(),
    [ok = application:unset_env(py_port, Key) || Key <- [num_contexts, compat]],
    py_port_test:end_per_testcase(Config).

define(Ctx) ->
    ok = py:exec(Ctx,
        "import asyncio, erlang\n"
        "def count(n):\n"
        "  yield from range(n)\n"
        "async def count_async(n):\n"
        "  for i in range(n):\n"
        "    await asyncio.sleep(0)\n"
        "    yield i\n"
        "def fails(n):\n"
        "  yield from range(n)\n"
        "  raise ValueError('no more')\n"
        "def given(*args, **kwargs):\n"
        "  yield args\n"
        "  yield kwargs\n"
        "def guarded(to):\n"
        "  try:\n"
        "    while True: yield 'item'\n"
        "  finally:\n"
        "    erlang.send(to, 'closed')\n"
    ).

%% The messages of a stream until its end.
messages(Ref) ->
    receive
        {py_stream, Ref, {data, Item}} -> [Item | messages(Ref)];
        {py_stream, Ref, End} -> [End]
    after 30000 -> error(no_message)
    end.

%% Collected ---------------------------------------------------------------------------------------------------------------

every_kind_of_iterable_is_collected(_Config) ->
    ?assertEqual({ok, [0, 1, 2]}, py:stream('__main__', count, [3])),
    ?assertEqual({ok, [0, 1, 2]}, py:stream('__main__', count_async, [3])),
    ?assertEqual({ok, [0, 1, 2]}, py:async_stream('__main__', count_async, [], #{n => 3})),
    ?assertEqual({ok, [0, 1, 2]}, py:stream(py:context(), '__main__', count, [3])),
    ?assertEqual({ok, [0, 1, 2]}, py:stream(default, '__main__', count, [3])),
    ?assertEqual({ok, [0, 1, 2]}, py:stream(builtins, range, [3])),
    ?assertEqual({ok, lists:seq(0, 99999)}, py:stream(builtins, range, [100000])).

arguments_are_values_and_never_become_code(_Config) ->
    Text = <<"it's \"quoted\" \\ and\n__import__('os')._exit(7)">>,
    ?assertEqual({ok, [{Text, #{<<"k">> => {1, none}}}, #{<<"key">> => Text}]},
                 py:stream('__main__', given, [Text, #{k => {1, none}}], #{key => Text})).

what_fails_half_way_is_an_error(_Config) ->
    ?assertEqual({error, {"ValueError", "no more"}}, py:stream('__main__', fails, [3])),
    ?assertMatch({error, {"TypeError", _}}, py:stream(math, sqrt, [16])),
    ?assertMatch({error, {"AttributeError", _}}, py:stream('__main__', nothing, [])),
    ?assertEqual({error, invalid_args}, py:stream('__main__', count, 3)),
    ?assertEqual({error, {no_such_pool, nowhere}}, py:stream(nowhere, '__main__', count, [3])).

an_expression_is_collected(_Config) ->
    ?assertEqual({ok, [0, 1, 4]}, py:stream_eval("(i * i for i in range(3))")),
    ?assertEqual({ok, [0, 1, 2]}, py:stream_eval("count_async(n)", #{n => 3})),
    ?assertEqual({ok, [0, 1, 2]}, py:stream_eval(py:context(), "count(3)")),
    ?assertMatch({error, {"NameError", _}}, py:stream_eval("nothing")),
    ?assertMatch({error, {"TypeError", _}}, py:stream_eval("1")).

a_function_of_ones_own_namespace_is_found_at_4_1(_Config) ->
    ok = application:set_env(py_port, compat, '4.1'),
    ok = py:exec("def own(n):\n  yield from range(n)"),
    ?assertEqual({ok, [0, 1, 2]}, py:stream('__main__', own, [3])),
    ?assertEqual({ok, [0, 1, 2]}, py:stream_eval("own(3)")),
    {ok, Ref} = py:stream_start('__main__', own, [2]),
    ?assertEqual([0, 1, done], messages(Ref)).

%% As messages ---------------------------------------------------------------------------------------------------------------

items_come_one_by_one_and_then_the_end(_Config) ->
    {ok, Ref} = py:stream_start('__main__', count, [3]),
    ?assertEqual([0, 1, 2, done], messages(Ref)),
    {ok, Async} = py:stream_start('__main__', count_async, [3]),
    ?assertEqual([0, 1, 2, done], messages(Async)),
    {ok, None} = py:stream_start('__main__', count, [0]),
    ?assertEqual([done], messages(None)),
    ?assertEqual([], py_port_test:flush()).

an_error_comes_after_the_items_before_it(_Config) ->
    {ok, Ref} = py:stream_start('__main__', fails, [2]),
    ?assertEqual([0, 1, {error, {"ValueError", "no more"}}], messages(Ref)).

what_does_not_begin_is_an_error_at_once(_Config) ->
    ?assertMatch({error, {"AttributeError", _}}, py:stream_start('__main__', nothing, [])),
    ?assertMatch({error, {bad_argument, owner, _}}, py:stream_start('__main__', count, [3], #{owner => me})),
    ?assertMatch({error, {bad_argument, credit, _}}, py:stream_start('__main__', count, [3], #{credit => 0})),
    ?assertMatch({error, {bad_argument, options, _}}, py:stream_start(py:context(), '__main__', count, [3], fast)),
    ?assertEqual({error, {no_such_pool, nowhere}}, py:stream_start(nowhere, '__main__', count, [3])).

keywords_are_given(_Config) ->
    {ok, Ref} = py:stream_start('__main__', given, [1], #{kwargs => #{a => 2}}),
    ?assertEqual([{1}, #{<<"a">> => 2}, done], messages(Ref)),
    {ok, OnCtx} = py:stream_start(py:context(), '__main__', count, [1]),
    ?assertEqual([0, done], messages(OnCtx)),
    {ok, OnPool} = py:stream_start(default, '__main__', count, [1]),
    ?assertEqual([0, done], messages(OnPool)),
    {ok, Both} = py:stream_start(default, '__main__', count, [], #{kwargs => #{n => 1}, credit => 5}),
    ?assertEqual([0, done], messages(Both)).

another_process_may_be_the_owner(_Config) ->
    Self = self(),
    Owner = py_port_test:async(fun() ->
        receive {read, Ref} -> messages(Ref) end
    end),
    {ok, Ref} = py:stream_start('__main__', count, [2], #{owner => element(1, Owner)}),
    element(1, Owner) ! {read, Ref},
    ?assertEqual([0, 1, done], py_port_test:await(Owner)),
    ?assertEqual([], py_port_test:flush()),
    ?assertEqual(Self, self()).

a_generator_is_closed_when_its_owner_dies(_Config) ->
    Self = self(),
    Owner = py_port_test:async(fun() ->
        {ok, Ref} = py:stream_start('__main__', guarded, [Self], #{credit => 1}),
        receive {py_stream, Ref, {data, _}} -> Self ! started end,
        receive never -> ok end
    end),
    receive started -> ok after 30000 -> error(not_started) end,
    ok = py_port_test:kill(Owner),
    receive <<"closed">> -> ok after 30000 -> error(not_closed) end.

a_generator_is_closed_when_it_is_cancelled(_Config) ->
    {ok, Ref} = py:stream_start('__main__', guarded, [self()], #{credit => 3}),
    [receive {py_stream, Ref, {data, <<"item">>}} -> ok end || _ <- [1, 2, 3]],
    ok = py:stream_cancel(Ref),
    ?assertEqual([{error, cancelled}], messages(Ref)),
    receive <<"closed">> -> ok after 30000 -> error(not_closed) end,
    ok = py:stream_cancel(Ref),
    ?assertMatch({error, {bad_argument, ref, _}}, py:stream_cancel(stream)).

no_more_is_sent_than_there_is_credit_for(_Config) ->
    {ok, Ref} = py:stream_start('__main__', count, [5], #{credit => 2}),
    [receive {py_stream, Ref, {data, N}} -> ok end || N <- [0, 1]],
    %% The process has nothing to do but to answer: a barrier through it shows that nothing follows.
    ok = py:stream_credit(Ref, 1),
    receive {py_stream, Ref, {data, 2}} -> ok end,
    ?assertEqual([], py_port_test:flush()),
    ok = py:stream_credit(Ref, 10),
    ?assertEqual([3, 4, done], messages(Ref)),
    ?assertMatch({error, {bad_argument, credit, _}}, py:stream_credit(Ref, 0)).

an_owner_with_a_full_mailbox_gets_all_of_it_more_slowly(_Config) ->
    [self() ! {full, N} || N <- lists:seq(1, 2000)],
    {ok, Ref} = py:stream_start('__main__', count, [150]),
    ?assertEqual(lists:seq(0, 149) ++ [done], messages(Ref)),
    ?assertEqual(2000, length(py_port_test:flush())).

an_option_that_there_is_not_is_named(_Config) ->
    ?assertMatch({error, {bad_argument, options, <<"there is no option timeout">>}},
                 py:stream_start(builtins, range, [2], #{timeout => 1, owner => self()})),
    ?assertMatch({error, {bad_argument, options, _}}, py:stream_start(py:context(), builtins, range, [2], #{bogus => 1})),
    ?assertMatch({error, {bad_argument, options, _}}, py:stream_start(py:context(), builtins, range, [2], none)).

the_end_of_the_context_ends_the_stream(_Config) ->
    Ctx = py:context(),
    {ok, Ref} = py:stream_start('__main__', guarded, [self()], #{credit => 1}),
    receive {py_stream, Ref, {data, _}} -> ok end,
    {error, {context_died, _}} = py:call(Ctx, os, '_exit', [7]),
    ok = py:stream_credit(Ref, 1000000000),
    receive
        {py_stream, Ref, {error, Reason}} -> ?assertMatch({context_died, {worker_exited, 7, _}}, Reason)
    after 30000 -> error(no_end)
    end,
    _ = py_port_test:flush().
