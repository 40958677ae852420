%% @doc Calls and what goes in both directions through other bridges, when the user has them and names their ebin folder:
%% `--bridge erlang_python:PATH' (in-process; modules `py' and `py_channel') and `--bridge erlport:PATH' (module `python').
%%
%% They are measured in the same run and in turns with py_port and with the floors, because nothing else is comparable. What a
%% bridge cannot do has a row that says so: because it has no such thing, or because it failed when it was tried.
%%
%% Callbacks are timed in Python (`bench_callback'), in one loop of many. Where a bridge runs the calling function again for each
%% callback (some versions of erlang_python do, outside of threads) that would measure the repetitions: its loop runs in a
%% thread, and is compared with ours in a thread.
%% @end
-module(bench_bridges).

-export([run/1]).

-define(THREADS, 8).
-define(IN_FLIGHT, 1000).
%% Milliseconds; for a try of a few milliseconds' work.
-define(PATIENCE, 20000).

-type latency() :: fun(() -> term()) | {taken, fun((pos_integer()) -> [non_neg_integer()])}.
-type ability(Measure) :: Measure | {cannot, string()}.
%% What a bridge has for the rows of latencies/0 and rates/0. `as': what it has is not quite what the row asks for.
-type driver() :: #{call := fun(() -> term()), atom() => ability(latency() | bench_measure:rate() | {as, string(), bench_measure:rate()})}.

%% Rows --------------------------------------------------------------------------------------------------------------

latencies() ->
    [{callback, "callback from Python, 1 caller"},
     {callback_thread, "callback from a thread of Python"}].

%% With the floor of each.
rates() ->
    [{threads, "callbacks from 8 threads", callers},
     {awaits, "async_call in Python, 1,000 in flight", in_flight},
     {coroutines, "coroutine calls, 1,000 in flight", in_flight},
     {stream_out, "stream out of Python, ints", items},
     {stream_in, "stream into Python, ints", items},
     {to_python, "channel, Erlang to Python", one},
     {from_python, "channel, Python to Erlang", one}].

floors(Routed, Env) ->
    Call = fun() -> bench_echo:routed_call(Routed, {call, <<"bench_nothing">>, []}) end,
    Send = fun() -> bench_echo:routed_send(Routed, {bench_async, nothing, [], #{}}) end,
    [{callers, "routed echo, 8 callers", bench_measure:callers(Call, ?THREADS)},
     {in_flight, "routed echo, 1,000 in flight", bench_async:kept_going(Send)},
     {items, "echo of 4,096 ints, items", bench_streams:echo(lists:seq(1, 4096), Env)},
     {one, "routed echo, 1 caller", bench_measure:callers(Call, 1)}].

-spec run(map()) -> [bench_report:row()].
run(#{bridges := []}) ->
    [];
run(#{bridges := Bridges} = Env) ->
    {ok, Context} = py_port:start_context(maps:get(context, Env)),
    Routed = bench_echo:start_routed(Env),
    ok = py_port:register_function(bench_nothing, bench_callback, nothing),
    Found = [{py_port, ours(Context)} | [{Name, open(Name, Path, Env)} || {Name, Path} <- Bridges]],
    Rows = calls(Found, Env) ++ callbacks(Found, Env) ++ both_ways(Found, Routed, Env),
    ok = py_port:unregister_function(bench_nothing),
    ok = bench_echo:stop_routed(Routed),
    ok = py_port:stop_context(Context),
    Rows.

calls(Found, #{quick := Quick} = Env) ->
    Calls = [{Name, Call} || {Name, #{call := Call}} <- Found],
    {Rounds, Ms} = case Quick of true -> {2, 300}; false -> {3, 1000} end,
    Single = bench_measure:latency(Calls, latency(Env)),
    Many = [{N, bench_measure:throughput(Calls, #{rounds => Rounds, callers => N, ms => Ms})} || N <- bench_throughput:callers(Env)],
    [bench_report:row({bridge, Name, empty}, what(Name, "empty call, 1 caller"), us, maps:get(Name, Single), other(Name, empty, none))
     || {Name, _} <- Calls]
    ++ [bench_report:row({bridge, Name, N}, what(Name, io_lib:format("calls, ~b callers", [N])), per_s, maps:get(Name, Rows), other(Name, N, none))
        || {N, Rows} <- Many, {Name, _} <- Calls].

latency(#{quick := true}) -> #{rounds => 2, calls => 2000};
latency(_) -> #{rounds => 5, calls => 10000}.

callbacks(Found, Env) ->
    All = [{{Name, Which}, What, maps:get(Which, Driver)} || {Which, What} <- latencies(), {Name, Driver} <- Found],
    Measured = bench_measure:latency([{Id, Fun} || {Id, _, Fun} <- All, is_able(Fun)], latency(Env)),
    [case Ability of
         {cannot, Why} -> bench_report:cannot({bridge, Name, Which}, what(Name, What), us, Why);
         _ -> bench_report:row({bridge, Name, Which}, what(Name, What), us, maps:get(Id, Measured), other(Name, Which, none))
     end || {{Name, Which} = Id, What, Ability} <- All].

both_ways(Found, Routed, Env) ->
    Floors = floors(Routed, Env),
    All = [{{Name, Which}, What, Floor, tried(maps:get(Which, Driver))} || {Which, What, Floor} <- rates(), {Name, Driver} <- Found],
    Measured = bench_measure:in_turns([{{floor, Id}, Rate} || {Id, _, Rate} <- Floors] ++
                                      [{Id, rate(Ability)} || {Id, _, _, Ability} <- All, is_able(Ability)], Env),
    [bench_report:row({bridge, floor, Id}, What, per_s, maps:get({floor, Id}, Measured)) || {Id, What, _} <- Floors]
    ++ [case Ability of
            {cannot, Why} -> bench_report:cannot({bridge, Name, Which}, what(Name, What), per_s, Why);
            _ -> bench_report:row({bridge, Name, Which}, what(Name, What, Ability), per_s, maps:get(Id, Measured), other(Name, Which, Floor))
        end || {{Name, Which} = Id, What, Floor, Ability} <- All].

%% Ours have the floor's ratio, the others' is to us.
other(py_port, _, none) -> none;
other(py_port, _, Floor) -> {bridge, floor, Floor};
other(_, Which, _) -> {bridge, py_port, Which}.

what(Name, What) -> lists:flatten(io_lib:format("~s: ~s", [Name, What])).

what(Name, _, {as, What, _}) -> what(Name, What);
what(Name, What, _) -> what(Name, What).

rate({as, _, Rate}) -> Rate;
rate(Rate) -> Rate.

is_able({cannot, _}) -> false;
is_able(_) -> true.

%% Versions differ in what they can do, and some wait for ever for what they cannot.
tried({cannot, _} = Cannot) ->
    Cannot;
tried(Ability) ->
    {Pid, Ref} = spawn_monitor(fun() -> exit({rate, (rate(Ability))(10)}) end),
    receive
        {'DOWN', Ref, process, Pid, {rate, _}} -> Ability;
        {'DOWN', Ref, process, Pid, Why} -> {cannot, io_lib:format("it failed: ~0tP", [reason(Why), 12])}
    after ?PATIENCE ->
        true = erlang:demonitor(Ref, [flush]),
        true = exit(Pid, kill),
        {cannot, io_lib:format("no answer after ~b s", [?PATIENCE div 1000])}
    end.

reason({Reason, Stack}) when is_list(Stack) -> Reason;
reason(Reason) -> Reason.

%% Drivers -----------------------------------------------------------------------------------------------------------

-spec ours(pid()) -> driver().
ours(Context) ->
    Python = fun(Function, Args) ->
        {ok, Result} = py_port:call(Context, bench_callback, Function, Args, #{}, #{timeout => infinity}),
        Result
    end,
    #{call => fun() -> {ok, 4.0} = py_port:call(Context, math, sqrt, [16]) end,
      callback => {taken, fun(Calls) -> Python(times, [bench_nothing, Calls]) end},
      callback_thread => {taken, fun(Calls) -> Python(times_in_thread, [bench_nothing, Calls]) end},
      threads => fun(Ms) -> Python(rate, [bench_nothing, ?THREADS, Ms / 1000]) end,
      awaits => fun(Ms) -> bench_async:awaits(Context, Ms) end,
      coroutines => bench_async:kept_going(fun() -> py_port:async_call(Context, bench_async, nothing, []) end),
      stream_out => bench_measure:counted(fun(N) -> bench_streams:out(Context, N) end),
      stream_in => bench_measure:counted(fun(N) -> bench_streams:into(Context, N) end),
      to_python => bench_measure:counted(fun(N) -> bench_channels:to_python(Context, receive_all, N) end),
      from_python => bench_measure:counted(fun(N) -> bench_channels:from_python(Context, N) end)}.

open(Name, Path, Env) ->
    Found = [F || F <- [Path | filelib:wildcard(Path ++ "/*/ebin")], filelib:wildcard(F ++ "/*.beam") =/= []],
    Found =/= [] orelse error({no_beam_files, Path}),
    ok = code:add_pathsa(Found),
    driver(Name, Env).

-spec driver(atom(), map()) -> driver().
driver(erlang_python, Env) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    {ok, 4.0} = py:call(math, sqrt, [16]),
    ok = py:register_function(bench_nothing, bench_callback, nothing),
    Context = py:context(1),
    ok = py:exec(Context, iolist_to_binary(io_lib:format("import sys~nsys.path.insert(0, '~ts')", [folder(Env)]))),
    Python = fun(Function, Args) ->
        {ok, Result} = py:call(Context, bench_callback, Function, [<<"bench_nothing">> | Args]),
        Result
    end,
    #{call => fun() -> {ok, 4.0} = py:call(math, sqrt, [16]) end,
      callback => {cannot, "outside of threads it may run the function again for each callback"},
      callback_thread => {taken, fun(Calls) -> Python(times_in_thread, [Calls]) end},
      threads => fun(Ms) -> Python(rate, [?THREADS, Ms / 1000]) end,
      awaits => fun(Ms) ->
          Ref = py:async_call(bench_async, awaits, [<<"bench_nothing">>, ?IN_FLIGHT, Ms / 1000]),
          {ok, Rate} = py:async_await(Ref, Ms + ?PATIENCE),
          Rate
      end,
      coroutines => bench_async:kept_going(fun() -> py:async_call(bench_async, nothing, []) end),
      stream_out => case erlang:function_exported(py, stream_start, 3) of
          true -> bench_measure:counted(fun py_stream/1);
          false -> {cannot, "it gives a stream out as one list"}
      end,
      stream_in => {cannot, "it has none"},
      to_python => bench_measure:counted(fun(N) -> py_to_python(Context, N) end),
      from_python => {cannot, "its channels go from Erlang to Python"}};
driver(erlport, #{python := Python} = Env) ->
    {ok, Instance} = python:start([{python, Python}, {python_path, unicode:characters_to_list(folder(Env))}]),
    4.0 = python:call(Instance, math, sqrt, [16]),
    NoCoroutines = {cannot, "it has no coroutines"},
    NoStreams = {cannot, "it has none"},
    #{call => fun() -> 4.0 = python:call(Instance, math, sqrt, [16]) end,
      callback => {taken, fun(Calls) -> python:call(Instance, bench_callback_erlport, times, [Calls]) end},
      callback_thread => {cannot, "only its own thread calls Erlang"},
      threads => {cannot, "only its own thread calls Erlang"},
      awaits => NoCoroutines,
      coroutines => NoCoroutines,
      stream_out => NoStreams,
      stream_in => NoStreams,
      to_python => {as, "messages to Python, nobody waits", bench_measure:counted(fun(N) -> cast_to_python(Instance, N) end)},
      from_python => {as, "messages from Python, nobody waits", bench_measure:counted(fun(N) -> cast_from_python(Instance, N) end)}}.

folder(#{context := #{path := [Folder | _]}}) -> Folder.

%% erlang_python ---------------------------------------------------------------------------------------------------------

py_stream(Count) ->
    {ok, Ref} = py:stream_start(bench_stream, numbers, [Count]),
    Count = py_streamed(Ref, 0).

py_streamed(Ref, Count) ->
    receive
        {py_stream, Ref, {data, _}} -> py_streamed(Ref, Count + 1);
        {py_stream, Ref, done} -> Count;
        {py_stream, Ref, {error, Why}} -> error(Why)
    end.

py_to_python(Context, Count) ->
    %% Not done at the start by all of its versions.
    _ = py_channel:register_callbacks(),
    {ok, Channel} = py_channel:new(),
    {_, Receiver} = spawn_monitor(fun() -> exit(py:call(Context, bench_channel, receive_all, [Channel])) end),
    ok = py_send(Channel, Count),
    _ = py_channel:close(Channel),
    receive {'DOWN', Receiver, process, _, Got} -> {ok, Count} = Got end.

py_send(_, 0) -> ok;
py_send(Channel, Left) ->
    ok = py_channel:send(Channel, Left),
    py_send(Channel, Left - 1).

%% erlport ---------------------------------------------------------------------------------------------------------------

cast_to_python(Instance, Count) ->
    ok = python:call(Instance, bench_messages_erlport, start, []),
    _ = [ok = python:cast(Instance, N) || N <- lists:seq(1, Count)],
    Count = python:call(Instance, bench_messages_erlport, how_many, []).

cast_from_python(Instance, Count) ->
    Self = self(),
    {_, Sender} = spawn_monitor(fun() -> exit(python:call(Instance, bench_messages_erlport, send, [Self, Count])) end),
    ok = take(Count),
    receive {'DOWN', Sender, process, _, Sent} -> ok = Sent end.

take(0) -> ok;
take(Left) ->
    receive N when is_integer(N) -> take(Left - 1) end.
