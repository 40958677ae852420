%% @doc What does an empty call cost? `math.sqrt(16)', one caller, the worker hot; against the two floors.
%% @end
-module(bench_empty_call).

-export([run/1]).

-spec run(map()) -> [bench_report:row()].
run(#{quick := Quick} = Env) ->
    {ok, Context} = py_port:start_context(maps:get(context, Env)),
    Routed = bench_echo:start_routed(Env),
    Options = case Quick of true -> #{rounds => 3, calls => 3000}; false -> #{rounds => 9, calls => 20000} end,
    Call = fun() -> {ok, 4.0} = py_port:call(Context, math, sqrt, [16]) end,
    RoutedCall = fun() -> bench_echo:routed_call(Routed, {math, sqrt, [16], #{}}) end,
    %% As long as the frame of such a call.
    Frame = [<<0:224>> | term_to_iovec({math, sqrt, [16], #{}})],
    Raw = fun() -> bench_echo:with_port(Env, fun(Port) -> bench_echo:raw_call(Port, Frame) end) end,
    Rows = bench_measure:latency([{raw, Raw}, {routed, RoutedCall}, {call, Call}], Options),
    ok = bench_echo:stop_routed(Routed),
    ok = py_port:stop_context(Context),
    [bench_report:row(echo_raw, "raw echo, the caller owns the port", us, maps:get(raw, Rows)),
     bench_report:row(echo_routed, "echo routed through an owner", us, maps:get(routed, Rows)),
     bench_report:row(empty_call, "empty call, 1 caller", us, maps:get(call, Rows), echo_raw),
     bench_report:row(empty_call_vs_routed, "empty call, against the routed echo", us, maps:get(call, Rows), echo_routed)].
