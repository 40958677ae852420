%% @doc The same empty call, the same callers and the same callbacks through other bridges, when the user has them and names their ebin folder:
%% `--bridge erlang_python:PATH' (in-process; module `py') and `--bridge erlport:PATH' (module `python').
%%
%% They are measured in the same run and in turns with py_port, because nothing else is comparable. Callbacks are timed in
%% Python (`bench_callback'), in one loop of many. Where a bridge runs the calling function again for each callback (some
%% versions of erlang_python do, outside of threads) that would measure the repetitions: its loop runs in a thread, and is
%% compared with ours in a thread.
%% @end
-module(bench_bridges).

-export([run/1]).

-spec run(map()) -> [bench_report:row()].
run(#{bridges := []}) ->
    [];
run(#{bridges := Bridges, quick := Quick} = Env) ->
    {ok, Context} = py_port:start_context(maps:get(context, Env)),
    ok = py_port:register_function(bench_nothing, bench_callback, nothing),
    Found = [{py_port, ours(Context)} | [{Name, open(Name, Path, Env)} || {Name, Path} <- Bridges]],
    Calls = [{Name, Call} || {Name, #{call := Call}} <- Found],
    Callbacks = [{{Name, Where}, {taken, Times}} || {Name, Drivers} <- Found, {Where, Times} <- maps:to_list(maps:remove(call, Drivers))],
    Latency = case Quick of true -> #{rounds => 2, calls => 2000}; false -> #{rounds => 5, calls => 10000} end,
    {Rounds, Ms} = case Quick of true -> {2, 300}; false -> {3, 1000} end,
    Single = bench_measure:latency(Calls, Latency),
    Many = [{N, bench_measure:throughput(Calls, #{rounds => Rounds, callers => N, ms => Ms})}
            || N <- bench_throughput:callers(Env)],
    Back = bench_measure:latency(Callbacks, Latency),
    ok = py_port:unregister_function(bench_nothing),
    ok = py_port:stop_context(Context),
    Names = [Name || {Name, _} <- Calls],
    [bench_report:row({bridge, Name, empty}, atom_to_list(Name) ++ ": empty call, 1 caller", us, maps:get(Name, Single), other(Name, empty))
     || Name <- Names]
    ++ [bench_report:row({bridge, Name, N}, lists:flatten(io_lib:format("~s: calls, ~b callers", [Name, N])), per_s,
                         maps:get(Name, Rows), other(Name, N))
        || {N, Rows} <- Many, Name <- Names]
    ++ [bench_report:row({bridge, Name, Where}, lists:flatten(io_lib:format("~s: ~s", [Name, where(Where)])), us,
                         maps:get({Name, Where}, Back), other(Name, Where))
        || {{Name, Where}, _} <- Callbacks].

%% The others' ratio is to us.
other(py_port, _) -> none;
other(_, Which) -> {bridge, py_port, Which}.

where(callback) -> "callback from Python, 1 caller";
where(callback_thread) -> "callback from a thread of Python".

%% How one empty call is made, and how so many callbacks are made and timed.
ours(Context) ->
    Times = fun(Function) ->
        fun(Calls) ->
            {ok, Taken} = py_port:call(Context, bench_callback, Function, [bench_nothing, Calls], #{}, #{timeout => infinity}),
            Taken
        end
    end,
    #{call => fun() -> {ok, 4.0} = py_port:call(Context, math, sqrt, [16]) end,
      callback => Times(times), callback_thread => Times(times_in_thread)}.

open(Name, Path, Env) ->
    Found = [F || F <- [Path | filelib:wildcard(Path ++ "/*/ebin")], filelib:wildcard(F ++ "/*.beam") =/= []],
    Found =/= [] orelse error({no_beam_files, Path}),
    ok = code:add_pathsa(Found),
    driver(Name, Env).

driver(erlang_python, Env) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    {ok, 4.0} = py:call(math, sqrt, [16]),
    ok = py:register_function(bench_nothing, bench_callback, nothing),
    Context = py:context(1),
    ok = py:exec(Context, iolist_to_binary(io_lib:format("import sys~nsys.path.insert(0, '~ts')", [folder(Env)]))),
    #{call => fun() -> {ok, 4.0} = py:call(math, sqrt, [16]) end,
      callback_thread => fun(Calls) ->
          {ok, Taken} = py:call(Context, bench_callback, times_in_thread, [<<"bench_nothing">>, Calls]),
          Taken
      end};
driver(erlport, #{python := Python} = Env) ->
    {ok, Instance} = python:start([{python, Python}, {python_path, unicode:characters_to_list(folder(Env))}]),
    4.0 = python:call(Instance, math, sqrt, [16]),
    #{call => fun() -> 4.0 = python:call(Instance, math, sqrt, [16]) end,
      callback => fun(Calls) -> python:call(Instance, bench_callback_erlport, times, [Calls]) end}.

folder(#{context := #{path := [Folder | _]}}) -> Folder.
