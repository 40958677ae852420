%% @doc What do values cost? Each goes to Python and comes back (`bench_target.echo'), against the same bytes through the
%% echo: binaries as they are, terms with encoding and decoding in Erlang on both ways.
%% @end
-module(bench_terms).

-export([run/1]).

-spec run(map()) -> [bench_report:row()].
run(Env) ->
    {ok, Context} = py_port:start_context(maps:get(context, Env)),
    Rows = [value(V, Context, Env) || V <- values()],
    ok = py_port:stop_context(Context),
    lists:append(Rows).

%% Random bytes are not UTF-8, so they arrive as `bytes'; the text arrives as `str'.
values() ->
    Text = unicode:characters_to_binary(lists:duplicate(60000, "a café, ナイフ, ")),
    [{binary_1mb, "1 MB of bytes", rand:bytes(1000000), 60},
     {binary_16mb, "16 MB of bytes", rand:bytes(16000000), 12},
     {text_1mb, "1 MB of text", binary:part(Text, 0, text_end(Text, 1000000)), 60},
     {ints_1000, "list of 1,000 ints", [N * 7919 || N <- lists:seq(1, 1000)], 600},
     {floats_10000, "list of 10,000 floats", [N / 7 || N <- lists:seq(1, 10000)], 200},
     {rows_1000, "1,000 x [int, int, binary]",
      [[N, N * N, <<"name ", (integer_to_binary(N))/binary>>] || N <- lists:seq(1, 1000)], 300},
     {map_1000, "map of 1,000 entries", maps:from_list([{<<"key ", (integer_to_binary(N))/binary>>, N} || N <- lists:seq(1, 1000)]), 300}].

%% Not in the middle of a character.
text_end(Text, At) ->
    case binary:at(Text, At) band 2#11000000 of
        2#10000000 -> text_end(Text, At - 1);
        _ -> At
    end.

value({Id, Name, Value, Calls}, Context, #{quick := Quick} = Env) ->
    Options = case Quick of true -> #{rounds => 2, calls => max(5, Calls div 5)}; false -> #{rounds => 7, calls => Calls} end,
    {ok, Value} = py_port:call(Context, bench_target, echo, [Value]),
    Call = fun() -> {ok, _} = py_port:call(Context, bench_target, echo, [Value]) end,
    Floor = fun() -> bench_echo:with_port(Env, fun(Port) -> echo(Port, Value) end) end,
    %% The garbage of one call is not the next one's business.
    Rows = bench_measure:latency([{floor, Floor}, {call, Call}], Options, fun() -> erlang:garbage_collect() end),
    FloorId = {echo, Id},
    [bench_report:row(FloorId, Name ++ ", echo", us, maps:get(floor, Rows)),
     bench_report:row(Id, Name ++ ", there and back", us, maps:get(call, Rows), FloorId)].

echo(Port, Value) when is_binary(Value) -> bench_echo:raw_call(Port, [<<0:224>>, Value]);
echo(Port, Value) -> bench_echo:encoded_call(Port, <<0:224>>, Value).
