%% @doc How many a second when nobody waits: coroutines that Erlang calls, coroutines that await Erlang, a thousand of each in
%% flight; and blocking functions in the worker's thread pool.
%%
%% The floor of all is the routed echo, in the shape of the row: one process that keeps a thousand requests under way; for
%% threads as many callers as there are.
%% @end
-module(bench_async).

%% kept_going/1 and awaits/2: also for bench_bridges
-export([run/1, kept_going/1, awaits/2]).

-define(ANSWER(Tag), {Tag, _, {ok, _}}).

-define(IN_FLIGHT, 1000).
-define(THREADS, 8).

-spec run(map()) -> [bench_report:row()].
run(Env) ->
    {ok, Context} = py_port:start_context(maps:get(context, Env)),
    Routed = bench_echo:start_routed(Env),
    ok = py_port:register_function(bench_nothing, bench_callback, nothing),
    Rows = bench_measure:in_turns(
        [{echo, kept_going(fun() -> bench_echo:routed_send(Routed, {bench_async, nothing, [], #{}}) end)},
         {coroutines, kept_going(fun() -> py_port:async_call(Context, bench_async, nothing, []) end)},
         {give_way, kept_going(fun() -> py_port:async_call(Context, bench_async, give_way, []) end)},
         {awaits, fun(Ms) -> awaits(Context, Ms) end},
         {echo_threads, bench_measure:callers(fun() -> bench_echo:routed_call(Routed, {math, sqrt, [16], #{}}) end, ?THREADS)},
         {threads, bench_measure:callers(fun() -> in_thread(Context) end, ?THREADS)}], Env),
    ok = py_port:unregister_function(bench_nothing),
    ok = bench_echo:stop_routed(Routed),
    ok = py_port:stop_context(Context),
    Row = fun(Id, What, Which, Floor) -> bench_report:row(Id, What, per_s, maps:get(Which, Rows), Floor) end,
    Echo = {async_echo, ?IN_FLIGHT},
    [Row(Echo, "routed echo, 1 process, 1,000 in flight", echo, none),
     Row({coroutines, ?IN_FLIGHT}, "coroutine calls, 1,000 in flight", coroutines, Echo),
     Row({coroutines_give_way, ?IN_FLIGHT}, "coroutines with a sleep(0), 1,000 in flight", give_way, Echo),
     Row({awaits, ?IN_FLIGHT}, "awaits of Erlang in Python, 1,000 in flight", awaits, Echo),
     Row({async_echo, ?THREADS}, "routed echo, 8 callers", echo_threads, none),
     Row({thread_calls, ?THREADS}, "calls with thread => true, 8 callers", threads, {async_echo, ?THREADS})].

%% @doc Of so many tasks that await one after the other.
-spec awaits(pid(), pos_integer()) -> number().
awaits(Context, Ms) ->
    Args = [bench_nothing, ?IN_FLIGHT, Ms / 1000],
    {ok, Rate} = py_port:call(Context, bench_async, awaits, Args, #{}, #{timeout => infinity}),
    Rate.

in_thread(Context) ->
    {ok, 4.0} = py_port:call(Context, math, sqrt, [16], #{}, #{thread => true}).

%% @doc Each answer is followed by the next request, until the time is over; what is under way then is waited for and counts.
-spec kept_going(fun(() -> term())) -> bench_measure:rate().
kept_going(Send) ->
    fun(Ms) ->
        Start = erlang:monotonic_time(),
        _ = erlang:send_after(Ms, self(), time_is_over),
        _ = [Send() || _ <- lists:seq(1, ?IN_FLIGHT)],
        Count = kept_going(Send, 0) + all(?IN_FLIGHT - 1),
        Count / (erlang:convert_time_unit(erlang:monotonic_time() - Start, native, nanosecond) / 1.0e9)
    end.

kept_going(Send, Count) ->
    receive
        time_is_over ->
            ok = answer(),
            Count + 1;
        Answer ->
            ok = good(Answer),
            _ = Send(),
            kept_going(Send, Count + 1)
    end.

all(0) -> 0;
all(Left) ->
    ok = answer(),
    1 + all(Left - 1).

answer() ->
    receive Answer -> good(Answer) end.

good(?ANSWER(py_port_reply)) -> ok;
%% erlang_python, 4 and 2.
good(?ANSWER(async_result)) -> ok;
good(?ANSWER(py_response)) -> ok;
good({Alias, <<_:28/binary, Answer/binary>>}) when is_reference(Alias) ->
    _ = binary_to_term(Answer, [safe]),
    ok.
