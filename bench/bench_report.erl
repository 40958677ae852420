%% @doc Rows of results, their table, their JSON, and the goals.
%%
%% A ratio is always to a floor that was measured in the same run, in turns with the row. For times smaller is better, for
%% calls per second larger; a ratio says "so many times the floor" in both.
%% @end
-module(bench_report).

-export([row/4, row/5, cannot/4, with_ratios/1, table/1, goals/1, json/1]).
-export_type([row/0]).

-type id() :: atom() | tuple().
-type unit() :: us | per_s | mb_per_s | count | ticks | kb.
-type row() :: #{id := id(), what := string(), unit := unit(), floor := id() | none, median := float() | null, p99 := float() | null,
                 spread := float() | null, samples := non_neg_integer(), ratio => float() | null, cannot => binary()}.

-spec row(id(), string(), unit(), bench_measure:row()) -> row().
row(Id, What, Unit, Numbers) ->
    row(Id, What, Unit, Numbers, none).

-spec row(id(), string(), unit(), bench_measure:row(), id() | none) -> row().
row(Id, What, Unit, Numbers, Floor) ->
    Numbers#{id => Id, what => What, unit => Unit, floor => Floor}.

%% @doc A row of something that could not be measured, and why.
-spec cannot(id(), string(), unit(), string()) -> row().
cannot(Id, What, Unit, Why) ->
    #{id => Id, what => What, unit => Unit, floor => none, median => null, p99 => null, spread => null, samples => 0,
      cannot => unicode:characters_to_binary(Why)}.

%% @doc Adds to each row its ratio to the floor it names.
-spec with_ratios([row()]) -> [row()].
with_ratios(Rows) ->
    Medians = maps:from_list([{Id, Median} || #{id := Id, median := Median} <- Rows]),
    [Row#{ratio => ratio(Row, Medians)} || Row <- Rows].

ratio(#{floor := none}, _) -> null;
ratio(#{median := null}, _) -> null;
ratio(#{floor := Floor, median := Median}, Medians) ->
    case Medians of
        #{Floor := F} when is_number(F), F > 0 -> Median / F;
        _ -> null
    end.

-spec table([row()]) -> iolist().
table(Rows) ->
    [io_lib:format("~-52ts ~12s ~12s ~8s ~8s~n", ["", "median", "p99", "spread", "x floor"])
     | [line(Row) || Row <- Rows]].

line(#{what := What, cannot := Why}) ->
    io_lib:format("~-52ts cannot: ~ts~n", [What, Why]);
line(#{what := What, unit := Unit, median := Median, p99 := P99, spread := Spread, ratio := Ratio}) ->
    io_lib:format("~-52ts ~12s ~12s ~8s ~8s~n", [What, number(Median, Unit), number(P99, Unit), percent(Spread), times(Ratio)]).

number(null, _) -> "";
number(N, us) when N >= 1000 -> io_lib:format("~.2f ms", [N / 1000]);
number(N, us) -> io_lib:format("~.1f us", [N * 1.0]);
number(N, per_s) -> io_lib:format("~.1f k/s", [N / 1000]);
number(N, mb_per_s) -> io_lib:format("~.1f MB/s", [N * 1.0]);
number(N, count) -> io_lib:format("~b", [round(N)]);
number(N, ticks) -> io_lib:format("~b ticks", [round(N)]);
number(N, kb) -> io_lib:format("~.1f MB", [N / 1024]).

percent(Spread) -> io_lib:format("~.1f %", [Spread * 100.0]).

times(null) -> "";
times(Ratio) -> io_lib:format("~.2f", [Ratio * 1.0]).

%% @doc What the project wants to reach, and what this run reached. It informs; it does not fail a run: another machine, or a
%% busy one, has other absolute numbers.
-spec goals([row()]) -> {iolist(), [map()]}.
goals(Rows) ->
    ById = maps:from_list([{Id, Row} || #{id := Id} = Row <- Rows]),
    Checked = [Goal || {What, Limit, Get} <- wanted(), Goal <- [check(What, Limit, Get, ById)], Goal =/= none],
    Table = [io_lib:format("~-62s ~14s ~14s  ~s~n", ["goal", "wanted", "reached", ""])
             | [io_lib:format("~-62s ~14s ~14s  ~s~n", [What, Wanted, Reached, verdict(Met)])
                || #{what := What, wanted := Wanted, reached := Reached, met := Met} <- Checked]],
    {Table, [#{what => unicode:characters_to_binary(What), wanted => iolist_to_binary(Wanted), reached => iolist_to_binary(Reached), met => Met}
             || #{what := What, wanted := Wanted, reached := Reached, met := Met} <- Checked]}.

verdict(true) -> "reached";
verdict(false) -> "NOT reached".

check(What, {Op, Limit, Unit}, {Id, Field}, ById) ->
    case ById of
        #{Id := #{Field := Value}} when Value =/= null ->
            #{what => What, wanted => [atom_to_list(Op), " ", shown(Limit, Unit)], reached => shown(Value, Unit),
              met => case Op of '<=' -> Value =< Limit; '>=' -> Value >= Limit end};
        _ ->
            none
    end.

shown(Value, ratio) -> times(Value);
shown(Value, Unit) -> number(Value, Unit).

wanted() ->
    [{"empty call, p50", {'<=', 6.0, us}, {empty_call, median}},
     {"empty call, against the raw echo", {'<=', 1.5, ratio}, {empty_call, ratio}},
     {"calls per second, 64 callers, 1 context", {'>=', 250000.0, per_s}, {{call1, 64}, median}},
     {"calls per second, 256 callers, 1 context", {'>=', 250000.0, per_s}, {{call1, 256}, median}},
     {"calls per second, 1,000 callers, against the routed echo", {'>=', 0.8, ratio}, {{call1, 1000}, ratio}},
     {"1 MB there and back, against the echo", {'<=', 1.3, ratio}, {binary_1mb, ratio}},
     {"16 MB there and back, against the echo", {'<=', 1.3, ratio}, {binary_16mb, ratio}},
     {"10,000 floats there and back", {'<=', 500.0, us}, {floats_10000, median}},
     {"callback from synchronous Python code, p50", {'<=', 12.0, us}, {callback, median}},
     {"start to first answer", {'<=', 20000.0, us}, {cold_start, median}},
     {"CPU-bound calls, 2 contexts against 1", {'>=', 1.9, ratio}, {pool_cpu_2, ratio}},
     {"wake-ups of an idle worker", {'<=', 0, count}, {idle_wakeups, median}}].

%% @doc Of atoms, binaries, numbers, `null', lists (arrays) and maps.
-spec json(term()) -> iodata().
json(null) -> <<"null">>;
json(true) -> <<"true">>;
json(false) -> <<"false">>;
json(Atom) when is_atom(Atom) -> json(atom_to_binary(Atom));
json(N) when is_integer(N) -> integer_to_binary(N);
json(N) when is_float(N) -> float_to_binary(N, [{decimals, 4}, compact]);
json(Text) when is_binary(Text) -> [$", [escape(C) || <<C/utf8>> <= Text], $"];
json(List) when is_list(List) -> ["[", lists:join(",\n", [json(E) || E <- List]), "]"];
json(#{id := Id, what := What, floor := Floor} = Row) when not is_binary(Id) ->
    json(Row#{id := name(Id), what := unicode:characters_to_binary(What), floor := case Floor of none -> null; _ -> name(Floor) end});
json(Map) when is_map(Map) ->
    ["{", lists:join(", ", [[json(K), ": ", json(V)] || {K, V} <- lists:sort(maps:to_list(Map))]), "}"].

escape($") -> <<"\\\"">>;
escape($\\) -> <<"\\\\">>;
escape(C) when C < 32 -> io_lib:format("\\u~4.16.0b", [C]);
escape(C) -> <<C/utf8>>.

%% {call1, 64} is "call1/64".
name(Id) when is_tuple(Id) -> iolist_to_binary(lists:join("/", [io_lib:format("~p", [E]) || E <- tuple_to_list(Id)]));
name(Id) -> atom_to_binary(Id).
