%% @doc The same empty call and the same callers through other bridges, when the user has them and names their ebin folder:
%% `--bridge erlang_python:PATH' (in-process; module `py') and `--bridge erlport:PATH' (module `python').
%%
%% They are measured in the same run and in turns with py_port, because nothing else is comparable.
%% @end
-module(bench_bridges).

-export([run/1]).

-spec run(map()) -> [bench_report:row()].
run(#{bridges := []}) ->
    [];
run(#{bridges := Bridges, quick := Quick} = Env) ->
    {ok, Context} = py_port:start_context(maps:get(context, Env)),
    Ours = {py_port, fun() -> {ok, 4.0} = py_port:call(Context, math, sqrt, [16]) end},
    Variants = [Ours | [{Name, open(Name, Path, Env)} || {Name, Path} <- Bridges]],
    Latency = case Quick of true -> #{rounds => 2, calls => 2000}; false -> #{rounds => 5, calls => 10000} end,
    {Rounds, Ms} = case Quick of true -> {2, 300}; false -> {3, 1000} end,
    Single = bench_measure:latency(Variants, Latency),
    Many = [{N, bench_measure:throughput(Variants, #{rounds => Rounds, callers => N, ms => Ms})}
            || N <- bench_throughput:callers(Env)],
    ok = py_port:stop_context(Context),
    Names = [Name || {Name, _} <- Variants],
    [bench_report:row({bridge, Name, empty}, atom_to_list(Name) ++ ": empty call, 1 caller", us, maps:get(Name, Single), other(Name, empty))
     || Name <- Names]
    ++ [bench_report:row({bridge, Name, N}, lists:flatten(io_lib:format("~s: calls, ~b callers", [Name, N])), per_s,
                         maps:get(Name, Rows), other(Name, N))
        || {N, Rows} <- Many, Name <- Names].

%% The others' ratio is to us.
other(py_port, _) -> none;
other(_, Which) -> {bridge, py_port, Which}.

open(Name, Path, Env) ->
    Found = [F || F <- [Path | filelib:wildcard(Path ++ "/*/ebin")], filelib:wildcard(F ++ "/*.beam") =/= []],
    Found =/= [] orelse error({no_beam_files, Path}),
    ok = code:add_pathsa(Found),
    driver(Name, Env).

driver(erlang_python, _Env) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    {ok, 4.0} = py:call(math, sqrt, [16]),
    fun() -> {ok, 4.0} = py:call(math, sqrt, [16]) end;
driver(erlport, #{python := Python}) ->
    {ok, Instance} = python:start([{python, Python}]),
    4.0 = python:call(Instance, math, sqrt, [16]),
    fun() -> 4.0 = python:call(Instance, math, sqrt, [16]) end.
