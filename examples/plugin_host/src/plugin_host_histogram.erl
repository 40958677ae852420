%% @doc Pure: a histogram of durations with a relative error of at most 1/32, whatever their range.
%%
%% A duration in microseconds falls into the bucket of its highest six bits.
%% @end
-module(plugin_host_histogram).

-export([new/0, add/2, percentile/2, max/1]).

-export_type([histogram/0]).

-record(histogram, {
    counts = #{} :: #{Bucket :: non_neg_integer() => pos_integer()},
    total = 0 :: non_neg_integer(),
    max = 0 :: non_neg_integer()
}).
-opaque histogram() :: #histogram{}.

-define(BITS, 6).

-spec new() -> histogram().
new() ->
    #histogram{}.

-spec add(Micros :: non_neg_integer(), histogram()) -> histogram().
add(Micros, #histogram{counts = Counts, total = Total, max = Max}) ->
    Count = fun(N) -> N + 1 end,
    #histogram{
        counts = maps:update_with(bucket(Micros), Count, 1, Counts),
        total = Total + 1,
        max = erlang:max(Max, Micros)
    }.

%% @doc The smallest bucket that at least this share (0.0 to 1.0) of all durations does not exceed; 0 when empty.
-spec percentile(float(), histogram()) -> Micros :: non_neg_integer().
percentile(_Share, #histogram{total = 0}) ->
    0;
percentile(Share, #histogram{counts = Counts, total = Total}) ->
    walk(lists:sort(maps:to_list(Counts)), ceil(Share * Total)).

-spec max(histogram()) -> Micros :: non_neg_integer().
max(#histogram{max = Max}) ->
    Max.

-spec walk([{non_neg_integer(), pos_integer()}, ...], integer()) -> non_neg_integer().
walk([{Bucket, Count} | Rest], Wanted) when Rest =:= []; Count >= Wanted ->
    Bucket;
walk([{_, Count} | Rest], Wanted) ->
    walk(Rest, Wanted - Count).

%% The lower bound of the bucket is its name.
-spec bucket(non_neg_integer()) -> non_neg_integer().
bucket(Micros) when Micros < 1 bsl ?BITS ->
    Micros;
bucket(Micros) ->
    (bucket(Micros bsr 1)) bsl 1.
