%% @doc Figures and errands for all contexts of the façade at once: contexts that are left out, contexts that are busy, and
%% sums that are not what the parts are.
%% @end
-module(py_stats_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-include_lib("common_test/include/ct.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- [pool].

init_per_testcase(_, Config) ->
    ok = py_port_test:start(),
    Config.

%% The pools go with the application.
end_per_testcase(_, _Config) ->
    ok = application:stop(py_port),
    ok = py_port_test:start(),
    py_port_test:check_clean().

the_version_is_pythons_own(_Config) ->
    [Ctx] = pool(1),
    ?assertEqual(py_port:eval(Ctx, "__import__('sys').version"), py_stats:version()),
    ?assertEqual(process, py_stats:execution_mode()).

memory_is_the_sum_of_the_contexts(_Config) ->
    [A, B] = pool(2),
    {ok, #{gc_stats := [_, _, _], rss := RssA, contexts := 1}} = py_stats:memory_stats(A),
    {ok, #{gc_threshold := Threshold, rss := RssB} = MemoryB} = py_stats:memory_stats(B),
    {ok, Both} = py_stats:memory_stats(),
    ?assertMatch(#{contexts := 2, gc_threshold := Threshold, gc_count := {_, _, _}}, Both),
    #{rss := Rss, gc_stats := [#{<<"collections">> := _} | _]} = Both,
    ?assert(Rss > max(RssA, RssB)),
    ?assertNot(is_map_key(traced_memory_current, Both)),
    ?assertNot(is_map_key(traced_memory_current, MemoryB)).

%% The keeper of its slot has not heard of it yet.
a_context_that_has_just_ended_is_not_asked(_Config) ->
    [_, _] = pool(2),
    [First | _] = py_pool:running(),
    [Keeper] = [K || {slot, _, K, C, _, _} <- ets:tab2list(py_pools), C =:= First],
    ok = sys:suspend(Keeper),
    Ref = erlang:monitor(process, First),
    exit(First, kill),
    receive {'DOWN', Ref, process, First, _} -> ok end,
    ?assertEqual(true, lists:member(First, py_pool:running())),
    ?assertMatch({ok, _}, py_stats:version()),
    ?assertMatch({ok, #{contexts := 1}}, py_stats:memory_stats()),
    ok = sys:resume(Keeper).

what_cannot_be_started_is_an_error(_Config) ->
    ok = py_preload:set_code("raise ValueError('no')"),
    [?assertMatch({error, {start_failed, _}}, py_stats:F()) || F <- [version, memory_stats, gc, tracemalloc_start]].

without_the_application_there_is_an_error(_Config) ->
    ok = application:stop(py_port),
    [?assertEqual({error, not_started}, py_stats:F()) || F <- [version, memory_stats, gc, tracemalloc_start, tracemalloc_stop]],
    ?assertEqual([], py_context_sup:which_contexts()),
    ?assertEqual({error, not_started}, py:clear_traces()),
    ok = application:start(py_port).

%% What is asked for is Python, and a plugin can replace it.
a_context_that_answers_nonsense_is_an_error(_Config) ->
    [A, _] = pool(2),
    Sound = "[{}, {}, {}], (1, 2, 3), (1, 2, 3), None",
    {ok, _} = replaced(A, "memory", Sound),
    ?assertMatch({ok, _}, py_stats:memory_stats(A)),
    Nonsense = ["1", "None", "[], (1, 2, 3), (1, 2, 3), None", "[{}, {}, 1], (1, 2, 3), (1, 2, 3), None",
        "[{'collections': 'x'}, {}, {}], (1, 2, 3), (1, 2, 3), None", "[{}, {}, {}], (1, 2), (1, 2, 3), None",
        "[{}, {}, {}], (1, 2, 3), (1, 2, 3), ('x', 1)"],
    lists:foreach(
        fun(Value) ->
            {ok, _} = replaced(A, "memory", Value),
            ?assertMatch({Value, {error, {bad_reply, _}}}, {Value, py_stats:memory_stats(A)}),
            ?assertMatch({Value, {error, {bad_reply, _}}}, {Value, py_stats:memory_stats()})
        end,
        Nonsense
    ),
    {ok, _} = replaced(A, "collect", "'many'"),
    ?assertMatch({error, {bad_reply, _}}, py_stats:gc(A)),
    ?assertMatch({error, {bad_reply, _}}, py_stats:gc()).

replaced(Ctx, Function, Value) ->
    py_port:eval(Ctx, ["setattr(__import__('erlang._stats')._stats, '", Function, "', lambda *_: (", Value, "))"]).

without_a_context_one_is_started(_Config) ->
    ?assertMatch({ok, #{contexts := 1}}, py_stats:memory_stats()).

allocations_are_traced_while_they_are_asked_for(_Config) ->
    [A, _] = pool(2),
    ok = py_stats:tracemalloc_start(),
    ok = py_port:exec(A, "kept = [str(n) * 10 for n in range(10000)]"),
    {ok, #{traced_memory_current := Current, traced_memory_peak := Peak}} = py_stats:memory_stats(),
    ?assert(Current > 100000),
    ?assert(Peak >= Current),
    ok = py_stats:tracemalloc_stop(),
    ok = py_stats:tracemalloc_stop(),
    {ok, After} = py_stats:memory_stats(A),
    ?assertNot(is_map_key(traced_memory_peak, After)),
    ok = py_stats:tracemalloc_start(5),
    ?assertEqual({ok, 5}, py_port:eval(A, "__import__('tracemalloc').get_traceback_limit()")).

garbage_is_collected_everywhere(_Config) ->
    Contexts = [A | _] = pool(2),
    Rings = "import gc\ngc.disable()\nclass C: pass\nfor _ in range(100):\n  c = C()\n  c.me = c\ndel c\n",
    [ok = py_port:exec(C, Rings) || C <- Contexts],
    {ok, N} = py_stats:gc(),
    ?assert(N >= 200),
    [ok = py_port:exec(C, Rings) || C <- Contexts],
    {ok, One} = py_stats:gc(A),
    ?assert(One >= 100),
    ?assert(One < N),
    ?assertMatch({ok, _}, py_stats:gc(0)),
    ?assertMatch({ok, _}, py_stats:gc(A, 1)),
    ?assertMatch({error, {"ValueError", _}}, py_stats:gc(3)).

a_module_is_loaded_anew_where_it_is_loaded(Config) ->
    Dir = filename:absname(?config(priv_dir, Config)),
    File = filename:join(Dir, "reload_probe.py"),
    ok = file:write_file(File, "VALUE = 1\n"),
    ok = py_import:add_path(Dir),
    [A, B] = pool(2),
    ?assertEqual({ok, 1}, py_port:eval(A, "__import__('reload_probe').VALUE")),
    %% another size: Python would take a cached file of the same second and size for the same
    ok = file:write_file(File, "VALUE = 10 + 1\n"),
    ok = py_stats:reload(reload_probe),
    ?assertEqual({ok, 11}, py_port:eval(A, "__import__('reload_probe').VALUE")),
    ?assertEqual({ok, false}, py_port:eval(B, "'reload_probe' in __import__('sys').modules")),
    ok = file:write_file(File, "raise LookupError('broken')\n"),
    ?assertEqual({error, [{context, {"LookupError", "broken"}}]}, py_stats:reload("reload_probe")),
    ok = py_stats:reload("never_loaded"),
    ?assertMatch({error, {bad_argument, module, _}}, py:reload(123)).

a_context_that_ends_meanwhile_is_left_out(_Config) ->
    [A, B] = pool(2),
    true = exit(A, kill),
    ?assertEqual(false, py_port_test:wait_until(fun() -> is_process_alive(A) end, 0)),
    ?assertMatch({ok, _}, py_stats:memory_stats()),
    ?assertMatch({ok, #{contexts := 1}}, py_stats:memory_stats(B)),
    ?assertMatch({error, {context_died, _}}, py_stats:memory_stats(A)).

%% Helpers -------------------------------------------------------------------------------------------------------------

pool(Size) ->
    {ok, Contexts} = py_context_router:start_pool(default, Size),
    Contexts.
