%% @doc Namespaces: names that one process must not see of another one, what becomes of them when their maker dies, and
%% namespaces that are not (any more).
%% @end
-module(py_port_env_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    py_port_test:cases(?MODULE) -- [ctx, env, refs, makes_env].

init_per_testcase(_, Config) ->
    [{ctx, py_port_test:context(#{})} | Config].

end_per_testcase(_, Config) ->
    py_port_test:end_per_testcase(Config).

ctx(Config) -> py_port_test:ctx(Config).

%% Names ---------------------------------------------------------------------------------------------------------------

a_name_stays_in_its_namespace(Config) ->
    Ctx = ctx(Config),
    {A, B} = {env(Ctx), env(Ctx)},
    ok = py_port:exec(Ctx, "x = 'main'"),
    ok = py_port:exec(Ctx, "x = 'a'", #{}, A),
    ok = py_port:exec(Ctx, "x = 'b'\ny = 1", #{}, B),
    ?assertEqual({ok, <<"a">>}, py_port:eval(Ctx, "x", #{}, A)),
    ?assertEqual({ok, <<"b">>}, py_port:eval(Ctx, "x", #{}, B)),
    ?assertEqual({ok, <<"main">>}, py_port:eval(Ctx, "x")),
    ?assertMatch({error, {python, #{type := <<"NameError">>}}}, py_port:eval(Ctx, "y", #{}, A)),
    ?assertMatch({error, {python, #{type := <<"NameError">>}}}, py_port:eval(Ctx, "y")).

a_new_namespace_does_not_see_main(Config) ->
    Ctx = ctx(Config),
    ok = py_port:exec(Ctx, "only_main = 1"),
    ?assertMatch({error, {python, #{type := <<"NameError">>}}}, py_port:eval(Ctx, "only_main", #{}, env(Ctx))).

it_is_main_to_its_code_and_has_the_builtins(Config) ->
    Ctx = ctx(Config),
    Env = env(Ctx),
    ?assertEqual({ok, [<<"__main__">>, 3]}, py_port:eval(Ctx, "[__name__, len('abc')]", #{}, Env)),
    ok = py_port:exec(Ctx, "import json\nclass C: pass\ndef f(): return json.dumps(C.__module__)", #{}, Env),
    ?assertEqual({ok, <<"\"__main__\"">>}, py_port:eval(Ctx, "f()", #{}, Env)).

modules_are_shared(Config) ->
    Ctx = ctx(Config),
    {A, B} = {env(Ctx), env(Ctx)},
    ok = py_port:exec(Ctx, "import json\njson.seen = 7", #{}, A),
    ?assertEqual({ok, 7}, py_port:eval(Ctx, "__import__('json').seen", #{}, B)).

functions_keep_the_namespace_of_their_birth(Config) ->
    Ctx = ctx(Config),
    {A, B} = {env(Ctx), env(Ctx)},
    ok = py_port:exec(Ctx, "n = 1\ndef f():\n  global n\n  n += 1\n  return n", #{}, A),
    {ok, F} = py_port:eval(Ctx, "f", #{}, A#{return => ref}),
    ok = py_port:exec(Ctx, "n = 100", #{}, B),
    ?assertEqual({ok, 2}, py_port:eval(Ctx, "g()", #{g => F}, B)),
    %% as long as Python has them
    ok = py_port:drop_env(maps:get(env, A)),
    ?assertEqual({ok, 3}, py_port:eval(Ctx, "g()", #{g => F}, B)).

locals_are_seen_in_lambdas_and_comprehensions(Config) ->
    Ctx = ctx(Config),
    Env = env(Ctx),
    ok = py_port:exec(Ctx, "base = 10", #{}, Env),
    Sum = "sum(n * k + base for n in range(3)) + (lambda: k)()",
    ?assertEqual({ok, 38}, py_port:eval(Ctx, Sum, #{k => 2}, Env)),
    %% and gone afterwards
    ?assertMatch({error, {python, #{type := <<"NameError">>}}}, py_port:eval(Ctx, "k", #{}, Env)),
    ok = py_port:exec(Ctx, "kept = [k + 1 for _ in range(2)]", #{k => 1}, Env),
    ?assertEqual({ok, [2, 2]}, py_port:eval(Ctx, "kept", #{}, Env)).

%% Every way to ask ----------------------------------------------------------------------------------------------------

main_is_the_namespace_for_call(Config) ->
    Ctx = ctx(Config),
    Env = env(Ctx),
    ok = py_port:exec(Ctx, "class C:\n  @staticmethod\n  def f(a, b=1): return [a, b]\nf = C.f", #{}, Env),
    ?assertEqual({ok, [1, 2]}, py_port:call(Ctx, '__main__', f, [1], #{b => 2}, Env)),
    ?assertEqual({ok, [1, 1]}, py_port:call(Ctx, <<"__main__">>, "C.f", [1], #{}, Env)),
    ?assertEqual({ok, [1, 1]}, py_port:call(Ctx, "__main__", <<"f">>, [1], #{}, Env)),
    ?assertMatch({error, {python, #{type := <<"AttributeError">>}}}, py_port:call(Ctx, '__main__', f, [1])),
    %% other modules are what they are
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16], #{}, Env)).

a_call_in_a_thread_finds_it(Config) ->
    Ctx = ctx(Config),
    Env = env(Ctx),
    ok = py_port:exec(Ctx, "import threading\ndef f(): return threading.current_thread() is threading.main_thread()", #{}, Env),
    ?assertEqual({ok, false}, py_port:call(Ctx, '__main__', f, [], #{}, Env#{thread => true})).

asynchronous_calls_find_it(Config) ->
    Ctx = ctx(Config),
    Env = env(Ctx),
    ok = py_port:exec(Ctx, "async def f(n): return n + 1", #{}, Env),
    Handles = [py_port:async_call(Ctx, '__main__', f, [N], Env) || N <- [1, 2]],
    ?assertEqual([{ok, 2}, {ok, 3}], py_port:gather(Handles)).

casts_find_it(Config) ->
    Ctx = ctx(Config),
    Env = env(Ctx),
    ok = py_port:exec(Ctx, "got = []\ndef f(v): got.append(v)", #{}, Env),
    ok = py_port:cast(Ctx, '__main__', f, [1], #{}, Env),
    ?assertEqual({ok, [1]}, py_port:eval(Ctx, "got", #{}, Env)),
    ?assertMatch({error, {bad_argument, return, _}}, py_port:cast(Ctx, '__main__', f, [1], #{}, #{return => ref})).

streams_find_it(Config) ->
    Ctx = ctx(Config),
    Env = env(Ctx),
    ok = py_port:exec(Ctx, "def f(n):\n  yield from range(n)\ndef total(items): return sum(items)", #{}, Env),
    {ok, Out} = py_port:stream(Ctx, '__main__', f, [3], Env),
    ?assertEqual({ok, [0, 1, 2]}, py_port:to_list(Out)),
    {ok, In} = py_port:open_stream(Ctx, '__main__', total, [], Env),
    [ok = py_port:push(In, N) || N <- [1, 2, 3]],
    ok = py_port:finish(In),
    ?assertEqual({ok, 6}, py_port:result(In)),
    ok = py_port:close(In).

the_namespace_can_be_looked_at(Config) ->
    Ctx = ctx(Config),
    #{env := Env} = Opts = env(Ctx),
    ok = py_port:exec(Ctx, "x = 5", #{}, Opts),
    ?assertEqual({ok, 5}, py_port:getattr(Ctx, Env, x)),
    ?assertEqual({ok, 5}, py_port:call(Ctx, builtins, getattr, [Env, <<"x">>])).

%% The end of a namespace ----------------------------------------------------------------------------------------------

the_death_of_its_maker_drops_it(Config) ->
    Ctx = ctx(Config),
    {Maker, Env} = makes_env(Ctx),
    ok = py_port:exec(Ctx, "x = 1", #{}, Env),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "x", #{}, Env)),
    ok = py_port_test:kill(Maker),
    ?assert(py_port_test:wait_until(fun() -> refs(Ctx) =:= 0 end, 10000)),
    ?assertMatch({error, {bad_ref, _}}, py_port:eval(Ctx, "x", #{}, Env)).

it_can_be_given_to_another_process(Config) ->
    Ctx = ctx(Config),
    {Maker, #{env := Env} = Opts} = makes_env(Ctx),
    ok = py_port:give_away(Env, self()),
    ok = py_port_test:kill(Maker),
    ok = py_port:exec(Ctx, "x = 1", #{}, Opts),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "x", #{}, Opts)).

what_lives_in_it_goes_with_it(Config) ->
    Ctx = ctx(Config),
    #{env := Env} = Opts = env(Ctx),
    ok = py_port:exec(Ctx, "import probe_objects\nthing = probe_objects.make('inside')", #{}, Opts),
    ?assertEqual({ok, [<<"inside">>]}, py_port:call(Ctx, probe_objects, names, [])),
    ok = py_port:drop_env(Env),
    Names = fun() -> py_port:call(Ctx, probe_objects, names, []) =:= {ok, []} end,
    ?assert(py_port_test:wait_until(Names, 10000)).

requests_in_a_dropped_one_are_errors(Config) ->
    Ctx = ctx(Config),
    #{env := Env} = Opts = env(Ctx),
    ok = py_port:exec(Ctx, "def f(): pass", #{}, Opts),
    ok = py_port:drop_env(Env),
    ok = py_port:drop_env(Env),
    %% the drop goes through the owner: this answer is behind it
    _ = py_port:info(Ctx),
    pong = py_port:ping(Ctx),
    ?assertMatch({error, {bad_ref, _}}, py_port:eval(Ctx, "1", #{}, Opts)),
    ?assertMatch({error, {bad_ref, _}}, py_port:exec(Ctx, "1", #{}, Opts)),
    ?assertMatch({error, {bad_ref, _}}, py_port:call(Ctx, '__main__', f, [], #{}, Opts)),
    ?assertMatch({error, {bad_ref, _}}, py_port:call(Ctx, '__main__', f, [], #{}, Opts#{thread => true})),
    ?assertMatch({error, {bad_ref, _}}, py_port:await(py_port:async_call(Ctx, '__main__', f, [], Opts))),
    ?assertMatch({error, {bad_ref, _}}, py_port:stream(Ctx, '__main__', f, [], Opts)).

one_of_another_context_is_refused(Config) ->
    Ctx = ctx(Config),
    Opts = env(py_port_test:context(#{})),
    ?assertMatch({error, {bad_ref, _}}, py_port:eval(Ctx, "1", #{}, Opts)),
    ?assertMatch({error, {bad_ref, _}}, py_port:exec(Ctx, "1", #{}, Opts)),
    ?assertMatch({error, {bad_ref, _}}, py_port:call(Ctx, '__main__', f, [], #{}, Opts)),
    ?assertMatch({error, {bad_ref, _}}, py_port:cast(Ctx, '__main__', f, [], #{}, Opts)),
    ?assertMatch({error, {bad_ref, _}}, py_port:async_call(Ctx, '__main__', f, [], Opts)),
    ?assertMatch({error, {bad_ref, _}}, py_port:stream(Ctx, '__main__', f, [], Opts)).

one_of_an_earlier_life_or_made_up_is_refused(Config) ->
    Old = py_port_test:context(#{name => py_port_env_again}),
    Opts = env(Old),
    ok = py_port:stop_context(Old),
    New = py_port_test:context(#{name => py_port_env_again}),
    ?assertMatch({error, {bad_ref, _}}, py_port:eval(New, "1", #{}, Opts)),
    Ctx = ctx(Config),
    #{env := {Tag, Owner, Incarnation, Handle}} = env(Ctx),
    Forged = [{Tag, Owner, Incarnation + 1, Handle}, {Tag, Owner, Incarnation, Handle + 1}, {Tag, Owner, Incarnation, -1}],
    [?assertMatch({F, {error, {bad_ref, _}}}, {F, py_port:eval(Ctx, "1", #{}, #{env => F})}) || F <- Forged],
    [
        ?assertMatch({B, {error, {bad_argument, env, _}}}, {B, py_port:eval(Ctx, "1", #{}, #{env => B})})
     || B <- [undefined, 7, {Tag, Owner, x, y}, #{}]
    ].

an_object_that_is_no_namespace_is_refused(Config) ->
    Ctx = ctx(Config),
    {ok, Dict} = py_port:eval(Ctx, "{}", #{}, #{return => ref}),
    ?assertMatch({error, {bad_ref, _}}, py_port:eval(Ctx, "1", #{}, #{env => Dict})).

an_error_in_place_of_one_is_the_outcome(Config) ->
    Ctx = ctx(Config),
    ok = py_port:stop_context(Ctx),
    {error, Reason} = Failed = py_port:new_env(Ctx),
    ?assertEqual({worker_down, noproc}, Reason),
    Other = py_port_test:context(#{}),
    ?assertEqual(Failed, py_port:eval(Other, "1", #{}, #{env => Failed})),
    ?assertEqual(Failed, py_port:call(Other, '__main__', f, [], #{}, #{env => Failed})).

%% The façade --------------------------------------------------------------------------------------------------------

the_facade_shares_main_unless_told_otherwise(Config) ->
    ?assertEqual(#{}, py_namespace:options(ctx(Config))).

the_facade_gives_each_process_one_per_context(Config) ->
    Ctx = ctx(Config),
    Other = py_port_test:context(#{}),
    ok = application:set_env(erlang_python, compat, '4.1'),
    try
        Mine = py_namespace:options(Ctx),
        ?assertMatch(#{env := _}, Mine),
        ?assertEqual(Mine, py_namespace:options(Ctx)),
        ?assertNotEqual(Mine, py_namespace:options(Other)),
        ok = py_port:exec(Ctx, "x = 1", #{}, Mine),
        Theirs = py_port_test:await(
            py_port_test:async(fun() -> py_port:eval(Ctx, "x", #{}, py_namespace:options(Ctx)) end)
        ),
        ?assertMatch({error, {python, #{type := <<"NameError">>}}}, Theirs),
        ?assert(py_port_test:wait_until(fun() -> refs(Ctx) =:= 1 end, 10000)),
        %% a context that is gone is forgotten, and told as what it is
        ok = py_port:stop_context(Ctx),
        ?assertMatch({error, {worker_down, _}}, py_port:eval(Ctx, "x", #{}, py_namespace:options(Ctx))),
        Third = py_port_test:context(#{}),
        ?assertEqual({error, {worker_down, noproc}}, maps:get(env, py_namespace:options(nobody()))),
        _ = py_namespace:options(Third),
        ?assertEqual(lists:sort([Other, Third]), lists:sort(maps:keys(get(py_namespace)))),
        ok = py_namespace:forget(Third),
        ?assertEqual([Other], maps:keys(get(py_namespace)))
    after
        application:unset_env(erlang_python, compat)
    end.

nobody() ->
    {Pid, Ref} = spawn_monitor(fun() -> ok end),
    receive
        {'DOWN', Ref, process, Pid, _} -> Pid
    end.

%% Other nodes ---------------------------------------------------------------------------------------------------------

a_namespace_on_another_node_works_and_ends_with_its_maker(_Config) ->
    IsOurs = py_port_test:distribute(),
    Paths = [P || P <- code:get_path(), string:find(P, "py_port") =/= nomatch],
    {ok, Peer, Node} = peer:start(#{name => peer:random_name(?MODULE), args => ["-pa" | Paths], wait_boot => 60000}),
    try
        {ok, _} = erpc:call(Node, application, ensure_all_started, [py_port]),
        {ok, Ctx} = erpc:call(Node, py_port, start_context, [#{link => false}]),
        Opts = env(Ctx),
        ok = py_port:exec(Ctx, "got = []\ndef f(v=5):\n  got.append(v)\n  return v", #{}, Opts),
        ?assertEqual({ok, 5}, py_port:eval(Ctx, "f()", #{}, Opts)),
        ?assertEqual({ok, 5}, py_port:call(Ctx, '__main__', f, [], #{}, Opts)),
        ?assertEqual({ok, 6}, py_port:await(py_port:async_call(Ctx, '__main__', f, [6], Opts))),
        ok = py_port:cast(Ctx, '__main__', f, [7], #{}, Opts),
        ?assert(py_port_test:wait_until(fun() -> py_port:eval(Ctx, "got", #{}, Opts) =:= {ok, [5, 5, 6, 7]} end, 10000)),
        {Maker, Theirs} = makes_env(Ctx),
        ?assertEqual({ok, 1}, py_port:eval(Ctx, "1", #{}, Theirs)),
        ok = py_port_test:kill(Maker),
        ?assert(py_port_test:wait_until(fun() -> refs(Ctx) =:= 1 end, 10000)),
        ?assertMatch({error, {bad_ref, _}}, py_port:eval(Ctx, "1", #{}, Theirs))
    after
        peer:stop(Peer),
        _ = IsOurs andalso net_kernel:stop()
    end.

%% Its name is no key of what a process knows: another context has it after a restart.
a_name_on_another_node_is_that_of_the_context_that_has_it_now(_Config) ->
    IsOurs = py_port_test:distribute(),
    Paths = [P || P <- code:get_path(), string:find(P, "py_port") =/= nomatch],
    {ok, Peer, Node} = peer:start(#{name => peer:random_name(?MODULE), args => ["-pa" | Paths], wait_boot => 60000}),
    ok = application:set_env(erlang_python, compat, '4.1'),
    Start = fun() -> erpc:call(Node, py_port, start_context, [#{name => far, link => false}]) end,
    try
        {ok, _} = erpc:call(Node, application, ensure_all_started, [py_port]),
        {ok, First} = Start(),
        ?assertEqual({ok, 4.0}, py:call({far, Node}, math, sqrt, [16])),
        ok = py:exec({far, Node}, "x = 1"),
        ?assertEqual({ok, 1}, py:eval({far, Node}, "x")),
        ?assertEqual({ok, 4.0}, py:call(py_port_test:context(#{}), math, sqrt, [16])),
        ok = erpc:call(Node, py_port, stop_context, [First]),
        ?assertEqual({error, {context_died, noproc}}, py:eval({far, Node}, "x")),
        {ok, _} = Start(),
        ?assertMatch({error, {'NameError', _}}, py:eval({far, Node}, "x")),
        ?assertEqual({error, {context_died, {node_down, nowhere@nowhere}}}, py:eval({far, nowhere@nowhere}, "x"))
    after
        application:unset_env(erlang_python, compat),
        peer:stop(Peer),
        _ = IsOurs andalso net_kernel:stop()
    end.

%% Helpers -------------------------------------------------------------------------------------------------------------

env(Ctx) ->
    {ok, Env} = py_port:new_env(Ctx),
    #{env => Env}.

refs(Ctx) ->
    #{refs := Refs} = py_port:info(Ctx),
    Refs.

makes_env(Ctx) ->
    Self = self(),
    Maker = spawn_monitor(fun() ->
        Self ! {self(), env(Ctx)},
        receive
            stop -> ok
        end
    end),
    receive
        {Pid, Env} when Pid =:= element(1, Maker) -> {Maker, Env}
    end.
