%% @doc What does a call from Python into Erlang cost? From synchronous code, the worker hot, timed in Python; and how many a
%% second from eight threads.
%%
%% A call has one frame each way, like an empty call into Python: both echoes are its floor. The function is compiled and does
%% nothing, so what is measured is the way there and back, and the process that each such call has for itself.
%% @end
-module(bench_callback).

-export([run/1, nothing/1]).

-define(THREADS, 8).

-spec run(map()) -> [bench_report:row()].
run(Env) ->
    {ok, Context} = py_port:start_context(maps:get(context, Env)),
    Routed = bench_echo:start_routed(Env),
    ok = py_port:register_function(bench_nothing, ?MODULE, nothing),
    Rows = latency(Context, Routed, Env) ++ threads(Context, Routed, Env),
    ok = py_port:unregister_function(bench_nothing),
    ok = bench_echo:stop_routed(Routed),
    ok = py_port:stop_context(Context),
    Rows.

%% @doc The function that Python calls.
-spec nothing([term()]) -> null.
nothing(_) -> null.

latency(Context, Routed, #{quick := Quick} = Env) ->
    Options = case Quick of true -> #{rounds => 3, calls => 3000}; false -> #{rounds => 9, calls => 10000} end,
    %% As long as the frame of such a call.
    Frame = [<<0:224>> | term_to_iovec({call, <<"bench_nothing">>, []})],
    Rows = bench_measure:latency(
        [{raw, fun() -> bench_echo:with_port(Env, fun(Port) -> bench_echo:raw_call(Port, Frame) end) end},
         {routed, fun() -> bench_echo:routed_call(Routed, {call, <<"bench_nothing">>, []}) end},
         {call, fun() -> {ok, 4.0} = py_port:call(Context, math, sqrt, [16]) end},
         {callback, {taken, fun(Calls) -> python(Context, times, [bench_nothing, Calls]) end}},
         {thread, {taken, fun(Calls) -> python(Context, times_in_thread, [bench_nothing, Calls]) end}}], Options),
    [bench_report:row(callback_echo_raw, "raw echo, the caller owns the port", us, maps:get(raw, Rows)),
     bench_report:row(callback_echo_routed, "echo routed through an owner", us, maps:get(routed, Rows)),
     bench_report:row(callback_call, "empty call from Erlang, 1 caller", us, maps:get(call, Rows), callback_echo_raw),
     bench_report:row(callback, "callback from Python, 1 caller", us, maps:get(callback, Rows), callback_echo_raw),
     bench_report:row(callback_vs_routed, "callback, against the routed echo", us, maps:get(callback, Rows), callback_echo_routed),
     bench_report:row(callback_thread, "callback from a thread of Python", us, maps:get(thread, Rows), callback_echo_raw)].

threads(Context, Routed, Env) ->
    Floor = {callback_echo, ?THREADS},
    Id = {callbacks, ?THREADS},
    Rows = bench_measure:in_turns(
        [{Floor, bench_measure:callers(fun() -> bench_echo:routed_call(Routed, {call, <<"bench_nothing">>, []}) end, ?THREADS)},
         {Id, fun(Ms) -> python(Context, rate, [bench_nothing, ?THREADS, Ms / 1000]) end}], Env),
    [bench_report:row(Floor, "routed echo, 8 callers", per_s, maps:get(Floor, Rows)),
     bench_report:row(Id, "callbacks from Python, 8 threads", per_s, maps:get(Id, Rows), Floor)].

python(Context, Function, Args) ->
    {ok, Result} = py_port:call(Context, bench_callback, Function, Args, #{}, #{timeout => infinity}),
    Result.
