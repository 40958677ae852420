%% @doc What façade contexts begin with: contexts that run and do not hear of a change, contexts that start and forget
%% it, code that does not run, and what is left of it all when its keeper is killed.
%% @end
-module(py_environment_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-include_lib("common_test/include/ct.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- [start].

init_per_testcase(Case, Config) ->
    _ = application:stop(py_port),
    Dir = filename:join(filename:absname(?config(priv_dir, Config)), Case),
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    ok = write(Dir, "env_probe.py", "import sys\nVALUE = 7\ndef double(n): return 2 * n\n"),
    ok = py_port_test:start(),
    [{dir, Dir} | Config].

%% The pools go with the application.
end_per_testcase(_, _Config) ->
    ok = application:stop(py_port),
    [application:unset_env(py_port, K) || K <- [imports, paths, preload_code, sandbox, send_to, venv, python, compat]],
    ok = py_port_test:start(),
    py_port_test:check_clean().

without_the_application_there_is_an_error(Config) ->
    ok = application:stop(py_port),
    [
        ?assertEqual({error, not_started}, Change())
     || Change <- [
            fun() -> py_import:add_path(?config(dir, Config)) end,
            fun() -> py_import:ensure_imported(json) end,
            fun py_import:clear_paths/0,
            fun py_import:clear_imports/0,
            fun() -> py_preload:set_code("x = 1") end,
            fun py_preload:clear_code/0,
            fun py_venv:deactivate/0
        ]
    ],
    ok = application:start(py_port).

%% Folders -------------------------------------------------------------------------------------------------------------

a_folder_is_seen_by_contexts_that_run_and_that_start(Config) ->
    Dir = ?config(dir, Config),
    Old = start(),
    ?assertMatch({error, _}, py_port:call(Old, env_probe, double, [2])),
    ok = py_import:add_path(Dir),
    New = start(),
    [?assertEqual({ok, 4}, py_port:call(C, env_probe, double, [2])) || C <- [Old, New]],
    ?assertEqual([unicode:characters_to_binary(Dir)], py_import:all_paths()),
    ?assert(py_import:is_path_added(Dir)),
    ?assert(py_import:is_path_added(unicode:characters_to_binary(Dir))),
    ?assertNot(py_import:is_path_added("/elsewhere")).

folders_keep_their_order_and_come_first(Config) ->
    Dir = ?config(dir, Config),
    Names = ["a", "b", "c"],
    [A, B, C] = [unicode:characters_to_binary(filename:join(Dir, N)) || N <- Names],
    Old = start(),
    ok = py_import:add_paths([A, B]),
    ok = py_import:add_path(C),
    ok = py_import:add_paths([A, C]),
    New = start(),
    [?assertEqual({ok, [A, B, C]}, py_port:eval(X, "__import__('sys').path[:3]")) || X <- [Old, New]],
    ok = py_import:clear_paths(),
    ?assertEqual([], py_import:all_paths()),
    Gone = "any(p in __import__('sys').path for p in ps)",
    [?assertEqual({ok, false}, py_port:eval(X, Gone, #{ps => [A, B, C]})) || X <- [Old, New, start()]].

a_folder_that_a_context_had_anyway_stays_when_the_list_is_cleared(Config) ->
    Dir = ?config(dir, Config),
    {ok, Ctx} = py_port:start_context(#{path => [Dir]}),
    {ok, none} = py_port:call(Ctx, 'erlang._startup', set_paths, [[unicode:characters_to_binary(Dir)], 1]),
    {ok, none} = py_port:call(Ctx, 'erlang._startup', set_paths, [[], 2]),
    ?assertEqual({ok, 4}, py_port:call(Ctx, env_probe, double, [2])),
    ok = py_port:stop_context(Ctx).

names_of_folders_may_be_any_text(Config) ->
    Dir = filename:join(?config(dir, Config), [$q, $', $", $\\, 16#3c0, $\s]),
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    ok = write(Dir, "odd_probe.py", "VALUE = 3\n"),
    ok = py_import:add_path(Dir),
    ?assertEqual({ok, 3}, py_port:eval(start(), "__import__('odd_probe').VALUE")),
    ?assertError({bad_path, 7}, py_import:add_path(7)),
    ?assertError({bad_path, <<>>}, py_import:add_path(<<>>)),
    ?assertError({bad_path, _}, py_import:add_path([16#d800])).

%% Modules -------------------------------------------------------------------------------------------------------------

a_module_is_imported_where_contexts_run_and_start(Config) ->
    ok = py_import:add_path(?config(dir, Config)),
    Old = start(),
    Loaded = "'env_probe' in __import__('sys').modules",
    ?assertEqual({ok, false}, py_port:eval(Old, Loaded)),
    ok = py_import:ensure_imported(env_probe),
    ok = py_import:ensure_imported("env_probe", <<"double">>),
    ok = py_import:ensure_imported(<<"env_probe">>),
    [?assertEqual({ok, true}, py_port:eval(C, Loaded)) || C <- [Old, start()]],
    ?assertEqual([{<<"env_probe">>, all}, {<<"env_probe">>, <<"double">>}], py_import:all_imports()),
    ?assertEqual({ok, #{<<"env_probe">> => [<<"double">>]}}, py_import:import_list()),
    ?assert(py_import:is_imported(env_probe)),
    ?assert(py_import:is_imported(env_probe, other)),
    ?assertNot(py_import:is_imported(json)),
    ok = py_import:clear_imports(),
    ?assertEqual([], py_import:all_imports()),
    ?assertEqual({ok, false}, py_port:eval(start(), Loaded)).

a_function_alone_does_not_stand_for_the_module(_Config) ->
    ok = py_import:ensure_imported(math, sqrt),
    ?assert(py_import:is_imported(math)),
    ?assert(py_import:is_imported(math, sqrt)),
    ?assertNot(py_import:is_imported(math, floor)).

what_cannot_be_imported_is_not_on_the_list(_Config) ->
    _ = start(),
    {error, [{context, {"ModuleNotFoundError", _}}]} = py_import:ensure_imported(no_such_module),
    {error, [{context, {"AttributeError", _}}]} = py_import:ensure_imported(math, no_such),
    ?assertEqual([], py_import:all_imports()),
    ?assertEqual({ok, 1}, py_port:eval(start(), "1")),
    ?assertEqual({error, main_not_cacheable}, py_import:ensure_imported('__main__')),
    ?assertEqual({error, main_not_cacheable}, py_import:ensure_imported("__main__", f)),
    ?assertError({bad_name, 7}, py_import:ensure_imported(7)).

a_module_that_fails_later_is_a_start_that_says_so(_Config) ->
    %% nobody runs who could tell
    ok = py_import:ensure_imported("no_such_module"),
    {error, {start_failed, #{what := init, message := Message}}} = failed(),
    ?assertNotEqual(nomatch, binary:match(Message, <<"no_such_module">>)).

%% Code ----------------------------------------------------------------------------------------------------------------

preloaded_code_has_run_before_the_first_call(_Config) ->
    Old = start(),
    ?assertNot(py_preload:has_preload()),
    ?assertEqual(undefined, py_preload:get_code()),
    ok = py_preload:set_code(["import json\n", "def dump(v): return json.dumps(v, ensure_ascii=False) + '\x{3c0}\"'\n"]),
    ?assert(py_preload:has_preload()),
    ?assertMatch(<<"import json\n", _/binary>>, py_preload:get_code()),
    Dumped = unicode:characters_to_binary("[1]\x{3c0}\""),
    ?assertEqual({ok, Dumped}, py_port:call(start(), '__main__', dump, [[1]])),
    %% those that run are asked one by one
    ?assertMatch({error, _}, py_port:call(Old, '__main__', dump, [[1]])),
    ok = py_preload:apply_preload(Old),
    ?assertEqual({ok, Dumped}, py_port:call(Old, '__main__', dump, [[1]])),
    ok = py_preload:clear_code(),
    ?assertNot(py_preload:has_preload()),
    ?assertMatch({error, _}, py_port:call(start(), '__main__', dump, [[1]])),
    ok = py_preload:apply_preload(Old).

preloaded_code_that_raises_is_a_start_that_says_so(_Config) ->
    Old = start(),
    ok = py_preload:set_code("x = 1\n\nraise LookupError('no model')\n"),
    {error, {start_failed, #{what := init, message := Message}}} = failed(),
    [?assertMatch({T, {_, _}}, {T, binary:match(Message, T)}) || T <- [<<"LookupError: no model">>, <<"<preload>\", line 3">>]],
    ?assertEqual({error, {"LookupError", "no model"}}, py_preload:apply_preload(Old)),
    ok = py_preload:set_code("def"),
    {error, {start_failed, #{what := init, message := Syntax}}} = failed(),
    ?assertMatch({_, _}, binary:match(Syntax, <<"SyntaxError">>)).

namespaces_begin_with_what_was_preloaded(_Config) ->
    ok = py_preload:set_code("import math\nbase = [1]\ndef f(): return len(base)\n"),
    Ctx = start(),
    {ok, A} = py_port:new_env(Ctx),
    {ok, B} = py_port:new_env(Ctx),
    ok = py_port:exec(Ctx, "base = [1, 2, 3]", #{}, #{env => A}),
    ?assertEqual({ok, [[1, 2, 3], 2.0]}, py_port:eval(Ctx, "[base, math.sqrt(4)]", #{}, #{env => A})),
    ?assertEqual({ok, [1]}, py_port:eval(Ctx, "base", #{}, #{env => B})),
    ?assertEqual({ok, 1}, py_port:call(Ctx, '__main__', f, [], #{}, #{env => A})),
    ?assertEqual({ok, [1]}, py_port:eval(Ctx, "base")).

more_code_for_one_context_runs_last(_Config) ->
    ok = py_preload:set_code("x = 1"),
    #{init := {code, First}} = py_environment:context_options(),
    Code = [First, "\n", py_environment:preload_source("y = x + len('\x{3c0}')")],
    {ok, Ctx} = py_port:start_context(#{init => iolist_to_binary(Code)}),
    {ok, Env} = py_port:new_env(Ctx),
    ?assertEqual({ok, [1, 2]}, py_port:eval(Ctx, "[x, y]", #{}, #{env => Env})),
    ok = py_port:stop_context(Ctx).

nothing_registered_costs_nothing(_Config) ->
    ?assertEqual(#{}, py_environment:context_options()).

%% Settings ------------------------------------------------------------------------------------------------------------

settings_are_what_contexts_begin_with(Config) ->
    Dir = ?config(dir, Config),
    ok = application:stop(py_port),
    ok = application:set_env(py_port, paths, [Dir]),
    ok = application:set_env(py_port, imports, [{env_probe, double}, "json"]),
    ok = application:set_env(py_port, preload_code, "import env_probe\nv = env_probe.VALUE"),
    ok = application:set_env(py_port, sandbox, audit),
    ok = application:set_env(py_port, send_to, [given, kernel_sup]),
    ok = py_port_test:start(),
    ?assertEqual([{<<"env_probe">>, <<"double">>}, {<<"json">>, all}], py_import:all_imports()),
    Ctx = start(),
    ?assertEqual({ok, [7, true]}, py_port:eval(Ctx, "[v, 'json' in __import__('sys').modules]")),
    ?assertEqual({ok, true}, py_port:call(Ctx, 'erlang._sandbox', is_sandboxed, [])),
    ?assertEqual({ok, whereis(kernel_sup)}, py_port:call(Ctx, erlang, whereis, [kernel_sup])),
    ?assertMatch({error, {python, #{type := <<"ForbiddenError">>}}}, py_port:call(Ctx, erlang, whereis, [init])),
    ?assertNot(is_map_key(sandbox, maps:without([sandbox], py_environment:context_options()))).

a_wrong_setting_is_named(_Config) ->
    ok = application:stop(py_port),
    [
        begin
            ok = application:set_env(py_port, Key, Value),
            {error, {py_port, Why}} = application:ensure_all_started(py_port),
            ?assertNotEqual(nomatch, string:find(io_lib:format("~p", [Why]), io_lib:format("bad_setting,~p", [Key]))),
            ok = application:unset_env(py_port, Key)
        end
     || {Key, Value} <- [{paths, [7]}, {imports, x}, {preload_code, 7}, {sandbox, x}, {send_to, 7}, {python, 7}, {compat, '5.0'},
                      {num_contexts, 0}, {default_pool_size, many}, {context_mode, fast}, {io_pool_size, -1}, {io_pool_mode, 7},
                      {max_spans, 0}, {max_state_entries, many}]
    ],
    ok = py_port_test:start().

%% The registry --------------------------------------------------------------------------------------------------------

what_was_registered_outlives_its_keeper(Config) ->
    ok = py_import:add_path(?config(dir, Config)),
    ok = py_preload:set_code("x = 1"),
    Keeper = whereis(py_environment_registry),
    Monitor = erlang:monitor(process, Keeper),
    true = exit(Keeper, kill),
    receive
        {'DOWN', Monitor, process, Keeper, killed} -> ok
    end,
    ?assertEqual({ok, 1}, py_port:eval(start(), "x")),
    true = py_port_test:wait_until(fun() -> is_pid(whereis(py_environment_registry)) end, 10000),
    ok = py_import:ensure_imported(env_probe),
    ?assertEqual([unicode:characters_to_binary(?config(dir, Config))], py_import:all_paths()),
    %% and ends with the application
    ok = application:stop(py_port),
    ok = py_port_test:start(),
    ?assertEqual([], py_import:all_paths()),
    ?assertNot(py_preload:has_preload()).

changes_at_the_same_time_lose_nothing(Config) ->
    Dir = ?config(dir, Config),
    Paths = [unicode:characters_to_binary(filename:join(Dir, integer_to_list(N))) || N <- lists:seq(1, 50)],
    Runs = [py_port_test:async(fun() -> py_import:add_path(P) end) || P <- Paths],
    [ok = py_port_test:await(R) || R <- Runs],
    ?assertEqual(lists:sort(Paths), lists:sort(py_import:all_paths())).

the_newer_of_two_lists_of_folders_stays(_Config) ->
    Ctx = start(),
    {ok, none} = py_port:call(Ctx, 'erlang._startup', set_paths, [[<<"/a">>, <<"/b">>], 2000]),
    {ok, none} = py_port:call(Ctx, 'erlang._startup', set_paths, [[<<"/a">>], 1999]),
    ?assertEqual({ok, [<<"/a">>, <<"/b">>]}, py_port:eval(Ctx, "__import__('sys').path[:2]")).

what_is_registered_while_a_context_starts_reaches_it(Config) ->
    Options = py_environment:context_options(),
    {ok, Ctx} = py_port:start_context(Options),
    ok = py_environment:started(Ctx, Options),
    ok = py_import:add_path(?config(dir, Config)),
    ok = py_import:ensure_imported(env_probe),
    ok = py_environment:started(Ctx, Options),
    ?assertEqual({ok, 7}, py_port:eval(Ctx, "__import__('sys').modules['env_probe'].VALUE")),
    ok = py_environment:started(Ctx, Options),
    Later = py_environment:context_options(),
    ok = py_environment:started(Ctx, Later),
    ok = application:set_env(py_port, python, "3.99"),
    ?assertEqual(again, py_environment:started(Ctx, Later)),
    ok = py_port:stop_context(Ctx).

%% Helpers -------------------------------------------------------------------------------------------------------------

%% One more context of the façade.
start() ->
    {ok, [Ctx]} = py_context_router:start_pool(list_to_atom("env_" ++ integer_to_list(erlang:unique_integer([positive]))), 1),
    Ctx.

%% What a façade context does when it starts.
failed() ->
    py_port:start_context((py_environment:context_options())#{io => null}).

write(Dir, Name, Text) ->
    file:write_file(filename:join(Dir, Name), Text).
