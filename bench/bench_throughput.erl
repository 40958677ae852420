%% @doc How many calls a second, and does it hold with many callers? One context, two contexts, and the routed echo likewise.
%% @end
-module(bench_throughput).

-export([run/1, callers/1]).

-spec callers(map()) -> [pos_integer()].
callers(#{quick := true}) -> [1, 64, 1000];
callers(_) -> [1, 8, 64, 256, 1000].

-spec run(map()) -> [bench_report:row()].
run(Env) ->
    Options = maps:get(context, Env),
    Contexts = [begin {ok, C} = py_port:start_context(Options), C end || _ <- [1, 2]],
    Echoes = [bench_echo:start_routed(Env) || _ <- [1, 2]],
    Rows = [row_of(N, Env, Contexts, Echoes) || N <- callers(Env)],
    _ = [ok = py_port:stop_context(C) || C <- Contexts],
    _ = [ok = bench_echo:stop_routed(E) || E <- Echoes],
    lists:append(Rows).

row_of(Callers, #{quick := Quick}, [C1, _] = Contexts, [E1, _] = Echoes) ->
    Call = fun(C) -> {ok, 4.0} = py_port:call(C, math, sqrt, [16]) end,
    Echo = fun(E) -> bench_echo:routed_call(E, {math, sqrt, [16], #{}}) end,
    Variants = [
        {echo1, fun(_) -> Echo(E1) end},
        {call1, fun(_) -> Call(C1) end},
        {echo2, fun(N) -> Echo(pick(N, Echoes)) end},
        {call2, fun(N) -> Call(pick(N, Contexts)) end}
    ],
    {Rounds, Ms} = case Quick of true -> {2, 300}; false -> {5, 1000} end,
    Rows = bench_measure:throughput(Variants, #{rounds => Rounds, callers => Callers, ms => Ms}),
    [bench_report:row({echo1, Callers}, text("routed echo", Callers, 1), per_s, maps:get(echo1, Rows)),
     bench_report:row({call1, Callers}, text("calls", Callers, 1), per_s, maps:get(call1, Rows), {echo1, Callers}),
     bench_report:row({echo2, Callers}, text("routed echo", Callers, 2), per_s, maps:get(echo2, Rows)),
     bench_report:row({call2, Callers}, text("calls", Callers, 2), per_s, maps:get(call2, Rows), {echo2, Callers})].

pick(N, List) ->
    lists:nth(N rem length(List) + 1, List).

text(What, 1, Workers) -> text(What, "1 caller", Workers);
text(What, Callers, Workers) when is_integer(Callers) -> text(What, integer_to_list(Callers) ++ " callers", Workers);
text(What, Who, 1) -> What ++ ", " ++ Who ++ ", 1 worker";
text(What, Who, N) -> What ++ ", " ++ Who ++ ", " ++ integer_to_list(N) ++ " workers".
