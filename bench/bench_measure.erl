%% @doc Taking samples and saying what they mean.
%%
%% Everything that is compared is measured in turns, in rounds (A B C, A B C, ...), so that a change of the machine's mood
%% hits all of them; a row is the median of its rounds, and its spread says how far the rounds lie apart.
%% @end
-module(bench_measure).

-export([latency/2, latency/3, throughput/2, rates/2, in_turns/2, callers/2, counted/1, scaled/2, summary/1, percentile/2]).
-export_type([variant/0, rate/0, row/0]).

%% A name for the row and something that makes one call and returns when it is answered. Or, where the other side holds the
%% watch: something that makes that many calls and returns their times in nanoseconds.
-type variant() :: {id(), fun(() -> term()) | {taken, fun((pos_integer()) -> [non_neg_integer()])}}.
%% Keeps something going for about so many milliseconds and says how often a second it was done.
-type rate() :: fun((pos_integer()) -> number()).
-type id() :: atom() | {atom(), term()}.
%% Latencies in microseconds; throughput in calls (items, messages) per second.
-type row() :: #{median := float(), p99 := float() | null, spread := float(), samples := non_neg_integer()}.

%% @doc Latency of each variant, one caller. `calls' per round; the first round is not counted.
-spec latency([variant()], #{rounds := pos_integer(), calls := pos_integer()}) -> #{term() => row()}.
latency(Variants, Options) ->
    latency(Variants, Options, fun() -> ok end).

%% @doc As latency/2; `Between' runs before each call, outside the time that is taken.
-spec latency([variant()], map(), fun(() -> term())) -> #{term() => row()}.
latency(Variants, #{rounds := Rounds, calls := Calls}, Between) ->
    _ = [sample(Fun, Calls, Between) || {_, Fun} <- Variants],
    Taken = [{Id, sample(Fun, Calls, Between)} || _ <- lists:seq(1, Rounds), {Id, Fun} <- Variants],
    maps:from_list([{Id, of_rounds([S || {I, S} <- Taken, I =:= Id])} || {Id, _} <- Variants]).

%% In a process of its own: its heap holds nothing that another measurement left behind.
sample(Fun, Calls, Between) ->
    in_process(fun() ->
        %% The first calls of a process open and register things.
        _ = times(Fun, 1 + Calls div 20, Between),
        times(Fun, Calls, Between)
    end).

times({taken, Fun}, Calls, _Between) -> [erlang:convert_time_unit(T, nanosecond, native) || T <- Fun(Calls)];
times(Fun, Calls, Between) -> sample_loop(Fun, Calls, Between, []).

sample_loop(_Fun, 0, _Between, Taken) ->
    Taken;
sample_loop(Fun, Left, Between, Taken) ->
    _ = Between(),
    Start = erlang:monotonic_time(),
    _ = Fun(),
    Time = erlang:monotonic_time() - Start,
    sample_loop(Fun, Left - 1, Between, [Time | Taken]).

of_rounds(Rounds) ->
    Sorted = [lists:sort([microseconds(T) || T <- Round]) || Round <- Rounds],
    Medians = [percentile(50, Round) || Round <- Sorted],
    #{median => median(Medians),
      p99 => median([percentile(99, Round) || Round <- Sorted]),
      spread => spread(Medians),
      samples => lists:sum([length(Round) || Round <- Sorted])}.

microseconds(Native) ->
    erlang:convert_time_unit(Native, native, nanosecond) / 1000.

%% @doc Calls per second of each variant with `callers' processes that call without pause for `ms' per round.
-spec throughput([variant()], #{rounds := pos_integer(), callers := pos_integer(), ms := pos_integer()}) -> #{term() => row()}.
throughput(Variants, #{callers := Callers} = Options) ->
    rates([{Id, callers(Fun, Callers)} || {Id, Fun} <- Variants], Options).

%% @doc The same of anything that can say how often a second it was done.
-spec rates([{id(), rate()}], #{rounds := pos_integer(), ms := pos_integer(), _ => _}) -> #{term() => row()}.
rates(Variants, #{rounds := Rounds, ms := Ms}) ->
    _ = [in_process(fun() -> Rate(100) end) || {_, Rate} <- Variants],
    Taken = [{Id, in_process(fun() -> Rate(Ms) end)} || _ <- lists:seq(1, Rounds), {Id, Rate} <- Variants],
    maps:from_list([{Id, summary([R || {I, R} <- Taken, I =:= Id])} || {Id, _} <- Variants]).

%% @doc The same for a question with many rows: many short rounds.
-spec in_turns([{id(), rate()}], map()) -> #{term() => row()}.
in_turns(Variants, #{quick := true}) -> rates(Variants, #{rounds => 2, ms => 200});
in_turns(Variants, _) -> rates(Variants, #{rounds => 5, ms => 400}).

%% @doc Of something that is done a given number of times: how many of them take that long is found by trying, from few on.
%% What it does once for all of them (opening a stream, say) counts as well.
-spec counted(fun((pos_integer()) -> term())) -> rate().
counted(Do) ->
    fun(Ms) -> counted(Do, 100, Ms * 1000) end.

counted(Do, Count, Wanted) ->
    Start = erlang:monotonic_time(),
    _ = Do(Count),
    case microseconds(erlang:monotonic_time() - Start) of
        Took when Took * 2 >= Wanted -> Count / (Took / 1.0e6);
        Took -> counted(Do, ceil(Count * max(1.5, min(10.0, Wanted / Took))), Wanted)
    end.

%% @doc The row in another unit: so many times its numbers.
-spec scaled(float(), row()) -> row().
scaled(Factor, #{median := Median, p99 := P99} = Row) ->
    Row#{median := Median * Factor, p99 := case P99 of null -> null; _ -> P99 * Factor end}.

%% @doc Of calls: so many processes that call without pause. A function that takes an argument gets the number of its caller:
%% that is how callers are spread over contexts.
-spec callers(fun(() -> term()) | fun((pos_integer()) -> term()), pos_integer()) -> rate().
callers(Fun, Callers) ->
    fun(Ms) -> rate(Fun, Callers, Ms) end.

rate(Fun, Callers, Ms) ->
    Stop = atomics:new(1, []),
    Parent = self(),
    Processes = [spawn_monitor(fun() -> caller(Parent, one_call(Fun, N), Stop) end) || N <- lists:seq(1, Callers)],
    [receive {ready, Pid} -> ok; {'DOWN', Ref, process, Pid, Why} -> error({caller, Why}) end || {Pid, Ref} <- Processes],
    Start = erlang:monotonic_time(),
    [Pid ! go || {Pid, _} <- Processes],
    %% The measurement lasts this long; nothing is waited for.
    receive after Ms -> atomics:put(Stop, 1, 1) end,
    Counts = [receive {'DOWN', Ref, process, _, {calls, Count}} -> Count;
                      {'DOWN', Ref, process, _, Why} -> error({caller, Why})
              end || {_, Ref} <- Processes],
    lists:sum(Counts) / (microseconds(erlang:monotonic_time() - Start) / 1.0e6).

one_call(Fun, _) when is_function(Fun, 0) -> Fun;
one_call(Fun, N) when is_function(Fun, 1) -> fun() -> Fun(N) end.

caller(Parent, Call, Stop) ->
    %% The first call of a process registers it; that is not what is asked here.
    _ = Call(),
    Parent ! {ready, self()},
    receive go -> exit({calls, call_until(Call, Stop, 0)}) end.

call_until(Call, Stop, Count) ->
    _ = Call(),
    case atomics:get(Stop, 1) of
        0 -> call_until(Call, Stop, Count + 1);
        1 -> Count + 1
    end.

in_process(Fun) ->
    {Pid, Ref} = spawn_monitor(fun() -> exit({result, Fun()}) end),
    receive
        {'DOWN', Ref, process, Pid, {result, Result}} -> Result;
        {'DOWN', Ref, process, Pid, Why} -> error({measurement, Why})
    end.

%% @doc A row of single numbers.
-spec summary([number()]) -> row().
summary(Numbers) ->
    Sorted = lists:sort(Numbers),
    #{median => median(Sorted) * 1.0,
      p99 => case length(Sorted) >= 20 of true -> percentile(99, Sorted) * 1.0; false -> null end,
      spread => spread(Sorted),
      samples => length(Sorted)}.

%% @doc Of a sorted list.
-spec percentile(0..100, [number()]) -> number().
percentile(P, Sorted) ->
    lists:nth(max(1, ceil(length(Sorted) * P / 100)), Sorted).

median(Numbers) ->
    Sorted = lists:sort(Numbers),
    Half = length(Sorted) div 2,
    case length(Sorted) rem 2 of
        1 -> lists:nth(Half + 1, Sorted);
        0 -> (lists:nth(Half, Sorted) + lists:nth(Half + 1, Sorted)) / 2
    end.

%% Half the distance between the lowest and the highest, as a part of the median: 0.05 reads "plus or minus 5 %".
spread(Numbers) ->
    case median(Numbers) of
        M when M == 0 -> 0.0;
        M -> (lists:max(Numbers) - lists:min(Numbers)) / 2 / M
    end.
