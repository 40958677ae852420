%% @doc What does it cost to have a pool in between, how much more do two contexts do than one, and how long does a pool take to start?
%% @end
-module(bench_pool).

-export([run/1]).

-define(POOL, bench_pool).
%% A few milliseconds of Python: long against a call, short against a round.
-define(WORK, [20000]).

-spec run(map()) -> [bench_report:row()].
run(Env) ->
    cost(Env) ++ cpu_bound(Env) ++ starts(Env).

%% The same context, called directly and as the router gives it; and through `py', which also takes a slot of the semaphore.
cost(#{quick := Quick} = Env) ->
    Options = case Quick of true -> #{rounds => 3, calls => 3000}; false -> #{rounds => 9, calls => 20000} end,
    {ok, [Context]} = py_context_router:start_pool(?POOL, 1, maps:get(context, Env)),
    Variants = [
        {direct, fun() -> {ok, 4.0} = py_port:call(Context, math, sqrt, [16]) end},
        {routed, fun() -> {ok, 4.0} = py_port:call(py_context_router:get_context(?POOL), math, sqrt, [16]) end},
        {least, fun() -> {ok, 4.0} = py_port:call(py_context_router:get_context({?POOL, least_loaded}), math, sqrt, [16]) end},
        {py, fun() -> {ok, 4.0} = py:call(?POOL, math, sqrt, [16]) end}
    ],
    Rows = bench_measure:latency(Variants, Options),
    ok = py_context_router:stop_pool(?POOL),
    [bench_report:row(pool_direct, "py_port:call, the context is known", us, maps:get(direct, Rows)),
     bench_report:row(pool_routed, "py_port:call, the router chooses", us, maps:get(routed, Rows), pool_direct),
     bench_report:row(pool_least_loaded, "py_port:call, the least loaded of a pool", us, maps:get(least, Rows), pool_direct),
     bench_report:row(pool_py, "py:call through a pool", us, maps:get(py, Rows), pool_direct)].

%% As many callers for one as for two: only the contexts differ.
cpu_bound(#{quick := Quick} = Env) ->
    Pools = [{bench_pool_1, 1}, {bench_pool_2, 2}],
    Start = fun({Name, Size}) ->
        {ok, _} = py_context_router:start_pool(Name, Size, (maps:get(context, Env))#{strategy => least_loaded})
    end,
    lists:foreach(Start, Pools),
    Work = fun(Name) ->
        {ok, _} = py_port:call(py_context_router:get_context(Name), bench_pool, work, ?WORK)
    end,
    {Rounds, Ms} = case Quick of true -> {2, 500}; false -> {5, 2000} end,
    Rows = bench_measure:throughput(
        [{Name, fun(_) -> Work(Name) end} || {Name, _} <- Pools], #{rounds => Rounds, callers => 4, ms => Ms}),
    lists:foreach(fun({Name, _}) -> ok = py_context_router:stop_pool(Name) end, Pools),
    [bench_report:row(pool_cpu_1, "CPU-bound calls, 4 callers, 1 context", per_s, maps:get(bench_pool_1, Rows)),
     bench_report:row(pool_cpu_2, "CPU-bound calls, 4 callers, 2 contexts", per_s, maps:get(bench_pool_2, Rows), pool_cpu_1)].

starts(#{quick := Quick} = Env) ->
    Times = case Quick of true -> 3; false -> 10 end,
    Options = maps:get(context, Env),
    _ = start(1, Options),
    {Ones, Eights} = lists:unzip([{start(1, Options), start(8, Options)} || _ <- lists:seq(1, Times)]),
    [bench_report:row(pool_start_1, "start of a pool of 1", us, bench_measure:summary(Ones)),
     bench_report:row(pool_start_8, "start of a pool of 8", us, bench_measure:summary(Eights), pool_start_1)].

start(Size, Options) ->
    Start = erlang:monotonic_time(),
    {ok, Contexts} = py_context_router:start_pool(?POOL, Size, Options),
    Size = length(Contexts),
    Time = erlang:monotonic_time() - Start,
    ok = py_context_router:stop_pool(?POOL),
    erlang:convert_time_unit(Time, native, nanosecond) / 1000.
