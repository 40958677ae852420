%% @doc How long from `start_context' to the first answer? Against the same interpreter doing nothing.
%% @end
-module(bench_start).

-export([run/1]).

-spec run(map()) -> [bench_report:row()].
run(#{quick := Quick} = Env) ->
    Times = case Quick of true -> 5; false -> 20 end,
    Options = maps:get(context, Env),
    %% The first of each brings files into memory.
    _ = start(Options),
    Python = python(Options),
    _ = bare(Python),
    {Starts, Bare} = lists:unzip([{start(Options), bare(Python)} || _ <- lists:seq(1, Times)]),
    [bench_report:row(python_start, "`python -I -c pass'", us, bench_measure:summary(Bare)),
     bench_report:row(cold_start, "start to first answer", us, bench_measure:summary(Starts), python_start)].

start(Options) ->
    Start = erlang:monotonic_time(),
    {ok, Context} = py_port:start_context(Options),
    {ok, 4.0} = py_port:call(Context, math, sqrt, [16]),
    Time = erlang:monotonic_time() - Start,
    ok = py_port:stop_context(Context),
    erlang:convert_time_unit(Time, native, nanosecond) / 1000.

bare(Python) ->
    Start = erlang:monotonic_time(),
    Port = open_port({spawn_executable, Python}, [{args, ["-I", "-c", "pass"]}, exit_status]),
    receive {Port, {exit_status, 0}} -> ok end,
    erlang:convert_time_unit(erlang:monotonic_time() - Start, native, nanosecond) / 1000.

python(Options) ->
    {ok, Context} = py_port:start_context(Options),
    {ok, Executable} = py_port:eval(Context, <<"__import__('sys').executable">>),
    ok = py_port:stop_context(Context),
    unicode:characters_to_list(Executable).
