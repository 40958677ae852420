%% @doc What is said to be offered to users of erlang_python is exported, what is said not to be is not, and nothing that the
%% façade exports is forgotten; the table in docs/migration.md is the one that is made of it.
-module(py_surface_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() -> py_port_test:cases(?MODULE) -- [surface, data].

surface(Config) ->
    {ok, Surface} = file:consult(filename:join(proplists:get_value(data_dir, Config), "surface.eterm")),
    Surface.

is_exported(M, F, Arity) ->
    case code:ensure_loaded(M) of
        {module, M} -> erlang:function_exported(M, F, Arity);
        {error, _} -> false
    end.

every_row_is_well_formed(Config) ->
    Verdicts = [same, better, adapted, new, not_offered],
    [?assertMatch({[_ | _], true, true}, {Arities, lists:member(Verdict, Verdicts), is_binary(Note)})
     || {_, _, Arities, Verdict, Note} <- surface(Config)].

what_is_offered_is_exported(Config) ->
    ?assertEqual([], [
        {M, F, Arity}
     || {M, F, Arities, Verdict, _} <- surface(Config), Verdict =/= not_offered, Arity <- Arities, not is_exported(M, F, Arity)
    ]).

what_is_not_offered_has_a_reason_and_is_not_there(Config) ->
    NotOffered = [Row || {_, _, _, not_offered, _} = Row <- surface(Config)],
    ?assertNotEqual([], NotOffered),
    ?assertEqual([], [{M, F, A} || {M, F, Arities, _, _} <- NotOffered, A <- Arities, is_exported(M, F, A)]),
    ?assertEqual([], [{M, F} || {M, F, _, _, <<>>} <- NotOffered]).

what_differs_says_how(Config) ->
    ?assertEqual([], [{M, F} || {M, F, _, Verdict, <<>>} <- surface(Config), Verdict =/= same]).

no_row_is_there_twice(Config) ->
    All = [{M, F, A} || {M, F, Arities, _, _} <- surface(Config), A <- Arities],
    ?assertEqual([], All -- lists:usort(All)).

no_function_of_py_is_forgotten(Config) ->
    Listed = [{F, A} || {py, F, Arities, _, _} <- surface(Config), A <- Arities],
    Exported = [E || {F, _} = E <- py:module_info(exports), F =/= module_info],
    ?assertEqual([], Exported -- Listed).

the_table_in_the_guide_is_made_of_it(Config) ->
    Docs = py_port_test:find_up(filename:dirname(source()), "docs"),
    Script = filename:join([filename:dirname(Docs), "test", "migration_table.escript"]),
    ?assertEqual({0, <<>>}, run(Script, ["--check", data(Config), filename:join(Docs, "migration.md")])).

data(Config) -> filename:join(proplists:get_value(data_dir, Config), "surface.eterm").

source() -> filename:absname(proplists:get_value(source, ?MODULE:module_info(compile))).

run(Script, Args) ->
    Port = open_port({spawn_executable, os:find_executable("escript")}, [{args, [Script | Args]}, binary, exit_status, stderr_to_stdout]),
    result(Port, <<>>).

result(Port, Text) ->
    receive
        {Port, {data, More}} -> result(Port, <<Text/binary, More/binary>>);
        {Port, {exit_status, Status}} -> {Status, Text}
    end.
