%% @doc How many items a second does a stream carry, out of Python and into it: small ones, and such of 64 KiB?
%%
%% The floor is the echo with items in batches, encoded and decoded in Erlang: small ones 4,096 at a time, large ones four, as
%% a stream out of Python has them. An echo moves everything twice, a stream once; so a stream may be above it.
%% @end
-module(bench_streams).

%% out/2, into/2 and echo/2: also for bench_bridges
-export([run/1, out/2, into/2, echo/2]).

-define(LARGE, 65536).

-spec run(map()) -> [bench_report:row()].
run(Env) ->
    {ok, Context} = py_port:start_context(maps:get(context, Env)),
    Large = binary:copy(<<16#FF>>, ?LARGE),
    Rows = bench_measure:in_turns(
        [{echo_small, echo(lists:seq(1, 4096), Env)},
         {out_small, bench_measure:counted(fun(N) -> out(Context, N) end)},
         {out_next, bench_measure:counted(fun(N) -> read(Context, numbers, N, fun nexts/2) end)},
         {out_async, bench_measure:counted(fun(N) -> read(Context, numbers_async, N, fun folded/2) end)},
         {in_small, bench_measure:counted(fun(N) -> into(Context, N) end)},
         {in_async, bench_measure:counted(fun(N) -> write(Context, consume_async, 1, N) end)},
         {echo_large, echo(lists:duplicate(4, Large), Env)},
         {out_large, bench_measure:counted(fun(N) -> read(Context, chunks, N, fun folded/2) end)},
         {in_large, bench_measure:counted(fun(N) -> write(Context, consume, Large, N) end)}], Env),
    ok = py_port:stop_context(Context),
    Row = fun(Id, What, Floor) -> bench_report:row({stream, Id}, What, per_s, maps:get(Id, Rows), Floor) end,
    Small = {stream, echo_small},
    [Row(echo_small, "echo of 4,096 ints, items", none),
     Row(out_small, "stream out of Python, ints, fold", Small),
     Row(out_next, "stream out of Python, ints, next", Small),
     Row(out_async, "stream out of an async generator, ints, fold", Small),
     Row(in_small, "stream into Python, ints", Small),
     Row(in_async, "stream into Python, ints, async for", Small)
     | lists:append([large(Id, What, maps:get(Id, Rows)) || {Id, What} <- [{echo_large, "echo of 4 x 64 KiB"},
                                                                         {out_large, "stream out of Python, 64 KiB"},
                                                                         {in_large, "stream into Python, 64 KiB"}]])].

%% The same measurement in two units.
large(Id, What, Numbers) ->
    Floor = fun(Unit) -> case Id of echo_large -> none; _ -> {stream, echo_large, Unit} end end,
    [bench_report:row({stream, Id, items}, What ++ ", items", per_s, Numbers, Floor(items)),
     bench_report:row({stream, Id, mb}, What, mb_per_s, bench_measure:scaled(?LARGE / 1.0e6, Numbers), Floor(mb))].

%% @doc Small items.
-spec out(pid(), pos_integer()) -> term().
out(Context, Count) -> read(Context, numbers, Count, fun folded/2).

-spec into(pid(), pos_integer()) -> term().
into(Context, Count) -> write(Context, consume, 1, Count).

-spec echo([term()], map()) -> bench_measure:rate().
echo(Batch, Env) ->
    Size = length(Batch),
    bench_measure:counted(fun(Items) ->
        bench_echo:with_port(Env, fun(Port) ->
            [bench_echo:encoded_call(Port, <<0:224>>, Batch) || _ <- lists:seq(1, ceil(Items / Size))]
        end)
    end).

read(Context, Function, Count, Reader) ->
    {ok, Stream} = py_port:stream(Context, bench_stream, Function, [Count]),
    Count = Reader(Stream, 0).

folded(Stream, _) ->
    {ok, Count} = py_port:fold(fun(_, N) -> N + 1 end, 0, Stream),
    Count.

nexts(Stream, Count) ->
    case py_port:next(Stream) of
        {ok, _} -> nexts(Stream, Count + 1);
        done -> Count
    end.

write(Context, Function, Item, Count) ->
    {ok, Stream} = py_port:open_stream(Context, bench_stream, Function, []),
    ok = push(Stream, Item, Count),
    ok = py_port:finish(Stream),
    {ok, Count} = py_port:result(Stream).

push(_, _, 0) -> ok;
push(Stream, Item, Left) ->
    ok = py_port:push(Stream, Item),
    push(Stream, Item, Left - 1).
