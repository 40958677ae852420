%% @doc Which context of which pool a process or a request gets; what the application environment says of pools, and pools on two nodes.
%% @end
-module(py_pool_places_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(py_context_router, [get_context/0, get_context/1, find/1, start_pool/2, start_pool/3, contexts/1]).
-import(py_pool_bed, [in_process/1, stop_os_process/1]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> py_port_test:cases(?MODULE) -- [run_node, idle].

init_per_suite(Config) -> py_pool_bed:init_per_suite(Config).

end_per_suite(Config) -> py_pool_bed:end_per_suite(Config).

init_per_testcase(Case, Config) -> py_pool_bed:init_per_testcase(Case, Config).

end_per_testcase(Case, Config) -> py_pool_bed:end_per_testcase(Case, Config).

%% Who gets which ------------------------------------------------------------------------------------------------------

a_process_stays_with_its_context(_Config) ->
    {ok, _} = start_pool(a, 2),
    Ctx = get_context(a),
    ?assertEqual([Ctx], lists:usort([begin erlang:yield(), get_context(a) end || _ <- lists:seq(1, 2000)])).

binding_is_for_one_process_and_one_pool(_Config) ->
    {ok, [A1, A2]} = start_pool(a, 2),
    {ok, [B1, B2]} = start_pool(b, 2),
    ok = py_context_router:bind_context(a, A2),
    ok = py_context_router:bind_context(b, B1),
    ?assertEqual({A2, B1}, {get_context(a), get_context(b)}),
    ok = py_context_router:bind_context(a, A1),
    ?assertEqual({A1, B1}, {get_context(a), get_context(b)}),
    ?assertNotEqual(undefined, in_process(fun() -> get_context(b) end)),
    ?assert(lists:member(in_process(fun() -> get_context(b) end), [B1, B2])),
    Ctx = get_context(1),
    ok = py_context_router:bind_context(Ctx),
    ?assertEqual(Ctx, get_context()),
    ok = py_context_router:unbind_context(),
    ok = py_context_router:unbind_context().

a_smaller_pool_under_the_same_name_serves_who_had_a_slot(_Config) ->
    {ok, Contexts} = start_pool(a, 3),
    ok = py_context_router:bind_context(a, lists:last(Contexts)),
    ok = py_context_router:stop_pool(a),
    {ok, [Only]} = start_pool(a, 1),
    ?assertEqual(Only, get_context(a)),
    ?assertEqual(Only, get_context(a)).

the_same_key_has_the_same_context(_Config) ->
    {ok, Contexts} = start_pool(a, 3),
    Of = maps:from_list([{K, get_context({a, {key, K}})} || K <- lists:seq(1, 30)]),
    ?assertEqual(lists:sort(Contexts), lists:usort(maps:values(Of))),
    ?assertEqual(Of, in_process(fun() -> maps:map(fun(K, _) -> get_context({a, {key, K}}) end, Of) end)),
    %% Its successor, and nobody else moves.
    Lost = maps:get(1, Of),
    ok = stop_os_process(Lost),
    New = get_context({a, {key, 1}}),
    Moved = maps:map(fun(_, C) -> case C of Lost -> New; _ -> C end end, Of),
    ?assertEqual(Moved, maps:map(fun(K, _) -> get_context({a, {key, K}}) end, Of)).

few_keys_move_when_a_pool_grows(_Config) ->
    Keys = lists:seq(1, 4000),
    Of = fun(Size) -> [py_pool_strategy:of_key({session, K}, lists:seq(1, Size)) || K <- Keys] end,
    {Four, Five} = {Of(4), Of(5)},
    ?assertEqual([], [{A, B} || {A, B} <- lists:zip(Four, Five), A =/= B, B =/= 5]),
    %% A fifth of them, give or take.
    Moved = length([5 || 5 <- Five]),
    ?assert(Moved > 600 andalso Moved < 1000).

%% One that has just started is told how logging is configured, which nobody waits for.
idle(Contexts) ->
    [{ok, 2.0} = py_port:call(Ctx, math, sqrt, [4]) || Ctx <- Contexts],
    ok.

the_least_loaded_context_is_chosen(Config) ->
    {ok, Contexts} = start_pool(a, 3, #{strategy => least_loaded, path => [py_port_test:data_dir()]}),
    ok = idle(Contexts),
    Busy = lists:sublist(Contexts, 2),
    Calls = [begin
        Marker = py_port_test:marker(Config, "busy"),
        Call = py_port:async_call(C, probe_calls, sleep_long, [Marker]),
        ok = py_port_test:await_file(Marker),
        Call
    end || C <- Busy],
    Idle = lists:last(Contexts),
    ?assertEqual([Idle], lists:usort([get_context(a) || _ <- lists:seq(1, 20)])),
    _ = [ok = py_port:cancel(Call) || Call <- Calls],
    _ = [py_port:await(Call) || Call <- Calls].

a_least_loaded_pool_starts_another_context_only_when_all_are_busy(Config) ->
    {ok, []} = start_pool(a, 3, #{start => lazy, path => [py_port_test:data_dir()]}),
    First = get_context({a, least_loaded}),
    ok = idle([First]),
    ?assertEqual(First, get_context({a, least_loaded})),
    ?assertEqual([First], contexts(a)),
    Marker = py_port_test:marker(Config, "busy"),
    Call = py_port:async_call(First, probe_calls, sleep_long, [Marker]),
    ok = py_port_test:await_file(Marker),
    Second = get_context({a, least_loaded}),
    ?assertNotEqual(First, Second),
    ?assertEqual(2, length(contexts(a))),
    ok = py_port:cancel(Call),
    _ = py_port:await(Call).

idle_contexts_take_turns(_Config) ->
    {ok, Contexts} = start_pool(a, 3, #{strategy => least_loaded}),
    ok = idle(Contexts),
    ?assertEqual(lists:sort(Contexts), lists:usort([get_context(a) || _ <- lists:seq(1, 9)])).

which_slot_is_least_loaded(_Config) ->
    Of = fun py_pool_strategy:least_loaded/1,
    ?assertEqual(2, Of([{1, 3}, {2, 1}, {3, 2}])),
    ?assertEqual(3, Of([{1, unstarted}, {2, 1}, {3, 0}])),
    ?assertEqual(1, Of([{1, unstarted}, {2, 1}, {3, starting}])),
    ?assertEqual(2, Of([{1, starting}, {2, 100}, {3, starting}])),
    ?assertEqual(1, Of([{1, starting}, {2, starting}])),
    ?assertEqual(2, Of([{2, 0}, {3, 0}, {1, 0}])).

%% Registrations -------------------------------------------------------------------------------------------------------

names_of_any_kind_find_their_pool(_Config) ->
    ok = py_context_router:register_pool(a, numpy),
    ok = py_context_router:register_pool(b, numpy, dot),
    ok = py_context_router:register_pool(b, {<<"os.path">>, "join"}),
    Lookup = fun py_context_router:lookup_pool/2,
    ?assertEqual([a, a, a], [Lookup(M, F) || {M, F} <- [{numpy, sum}, {<<"numpy">>, <<"sum">>}, {"numpy", "sum"}]]),
    ?assertEqual([b, b, b], [Lookup(M, F) || {M, F} <- [{numpy, dot}, {<<"numpy">>, "dot"}, {"numpy", dot}]]),
    ?assertEqual([b, default], [Lookup('os.path', F) || F <- [join, split]]),
    ?assertEqual(default, Lookup(math, sqrt)),
    ?assertEqual(default, Lookup({no, name}, 1)),
    ?assertEqual(
        [{{numpy, '_'}, a}, {{numpy, dot}, b}, {{<<"os.path">>, "join"}, b}],
        lists:sort(py_context_router:list_pool_registrations())
    ),
    ok = py_context_router:unregister_pool("numpy", dot),
    ?assertEqual(a, Lookup(numpy, dot)),
    ok = py_context_router:unregister_pool(<<"numpy">>),
    ?assertEqual(default, Lookup(numpy, dot)),
    ?assertMatch({error, {bad_argument, module, _}}, py_context_router:register_pool(a, 1)),
    ?assertMatch({error, {bad_argument, pool, _}}, py_context_router:register_pool("a", m)).

%% Settings ------------------------------------------------------------------------------------------------------------

settings_may_stand_under_either_name(_Config) ->
    ok = application:unset_env(py_port, num_contexts),
    {ok, #{size := Schedulers}} = py_pool_options:unstarted(default),
    ?assertEqual(erlang:system_info(schedulers), Schedulers),
    try
        ok = application:set_env(erlang_python, default_pool_size, 5),
        ?assertMatch({ok, #{size := 5}}, py_pool_options:unstarted(default)),
        ok = application:set_env(erlang_python, num_contexts, 6),
        ok = application:set_env(erlang_python, context_mode, owngil),
        ?assertMatch({ok, #{size := 6, mode := owngil}}, py_pool_options:unstarted(default)),
        ok = application:set_env(py_port, num_contexts, 7),
        ?assertMatch({ok, #{size := 7}}, py_pool_options:unstarted(default)),
        ok = application:set_env(py_port, num_contexts, many),
        ?assertMatch({error, {bad_option, size, _}}, find(default))
    after
        [application:unset_env(erlang_python, K) || K <- [default_pool_size, num_contexts, context_mode]]
    end.

%% As in a release: the values are there, the application is not.
the_section_erlang_python_of_a_sys_config_counts(Config) ->
    File = filename:join(proplists:get_value(priv_dir, Config), "sys.config"),
    ok = file:write_file(File, "[{erlang_python, [{num_contexts, 11}, {io_pool_size, 12}]}].\n"),
    Given = ["-config", filename:rootname(File)],

    Eval = "{ok, _} = application:ensure_all_started(py_port),"
        "{ok, #{size := A}} = py_pool_options:unstarted(default), {ok, #{size := B}} = py_pool_options:unstarted(io),"
        "io:format(\"~p ~p ~p\", [A, B, lists:keymember(erlang_python, 1, application:loaded_applications())]), halt().",
    ?assertEqual("11 12 true", run_node(Given ++ ["-eval", Eval])),
    ok = file:write_file(File, "[].\n"),
    ?assertEqual(lists:flatten(io_lib:format("~b 10 false", [erlang:system_info(schedulers)])), run_node(Given ++ ["-eval", Eval])).

run_node(Args) ->
    Paths = [P || P <- code:get_path(), string:find(P, "py_port") =/= nomatch],
    Port = open_port({spawn_executable, os:find_executable("erl")}, [
        {args, ["-noshell", "-pa" | Paths] ++ Args}, exit_status, stderr_to_stdout]),
    printed_by(Port, "").

printed_by(Port, Text) ->
    receive
        {Port, {data, More}} -> printed_by(Port, Text ++ More);
        {Port, {exit_status, _}} -> Text
    end.

%% Other nodes ---------------------------------------------------------------------------------------------------------

a_pool_spans_two_nodes(_Config) ->
    IsOurs = py_port_test:distribute(),
    Paths = [P || P <- code:get_path(), string:find(P, "py_port") =/= nomatch],
    {ok, Peer, Node} = peer:start(#{name => peer:random_name(?MODULE), args => ["-pa" | Paths], wait_boot => 60000}),
    try
        {ok, _} = erpc:call(Node, application, ensure_all_started, [py_port]),
        ?assertEqual({error, {no_such_pool, b}}, find({any_node, b})),
        %% Only there: it is called from here, and started there.
        {ok, []} = erpc:call(Node, py_context_router, start_pool, [b, 1, #{start => lazy}]),
        ?assert(py_port_test:wait_until(fun() -> py_pool_nodes:nodes(b, all) =:= [Node] end, 20000)),
        {ok, Far} = find({any_node, b}),
        ?assertEqual(Node, node(Far)),
        ?assertEqual({ok, 4.0}, py_port:call(Far, math, sqrt, [16])),
        ?assertEqual({error, {no_such_pool, b}}, find(b)),
        %% On both.
        {ok, [_, _]} = start_pool(a, 2, #{nodes => all}),
        {ok, [_, _]} = erpc:call(Node, py_context_router, start_pool, [a, 2, #{nodes => all}]),
        ?assert(py_port_test:wait_until(fun() -> length(py_pool_nodes:members(a, Node)) =:= 2 end, 20000)),
        Nodes = lists:sort([node(), Node]),
        ?assertEqual(Nodes, lists:usort([in_process(fun() -> node(get_context(a)) end) || _ <- lists:seq(1, 100)])),
        Mine = get_context(a),
        ?assertEqual([Mine], lists:usort([get_context(a) || _ <- lists:seq(1, 50)])),
        Of = fun(K) -> get_context({a, {key, K}}) end,
        Keys = lists:seq(1, 40),
        ?assertEqual(4, length(lists:usort([Of(K) || K <- Keys]))),
        There = [erpc:call(Node, py_context_router, get_context, [{a, {key, K}}]) || K <- Keys],
        ?assertEqual([Of(K) || K <- Keys], There),
        %% The idle ones of this node come first; when they are busy, the others.
        ?assertEqual(node(), node(get_context({a, least_loaded}))),
        Calls = [py_port:async_call(C, time, sleep, [3600]) || C <- contexts(a)],
        ?assertEqual(Node, node(get_context({a, least_loaded}))),
        _ = [begin ok = py_port:cancel(C), {error, _} = py_port:await(C) end || C <- Calls],
        %% A node that is lost is told, and passed over from then on.
        Lost = py_port:async_call(hd(py_pool_nodes:members(a, Node)), time, sleep, [3600]),
        ok = peer:stop(Peer),
        ?assertEqual({error, {worker_down, {node_down, Node}}}, py_port:await(Lost)),
        ?assertEqual({error, {context_died, {node_down, Node}}}, py_context:call(Far, math, sqrt, [16])),
        ?assert(py_port_test:wait_until(fun() -> py_pool_nodes:nodes(a, all) =:= [node()] end, 20000)),
        ?assertEqual([node()], lists:usort([node(Of(K)) || K <- Keys])),
        ?assertEqual({ok, 1}, py_port:eval(get_context(a), "1"))
    after
        catch peer:stop(Peer),
        _ = IsOurs andalso net_kernel:stop()
    end.
