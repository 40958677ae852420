%% @doc How many messages a second does a channel carry, from either language to either?
%%
%% Each message that Python sends or receives is a callback: the floor of those is the routed echo with one caller. Between
%% two Erlang processes there is nothing but the channel's own process.
%% @end
-module(bench_channels).

%% to_python/3 and from_python/2: also for bench_bridges
-export([run/1, to_python/3, from_python/2]).

-spec run(map()) -> [bench_report:row()].
run(Env) ->
    {ok, Context} = py_port:start_context(maps:get(context, Env)),
    Routed = bench_echo:start_routed(Env),
    Rows = bench_measure:in_turns(
        [{echo, bench_measure:callers(fun() -> bench_echo:routed_call(Routed, {channel, 'receive', self()}) end, 1)},
         {to_python, bench_measure:counted(fun(N) -> to_python(Context, receive_all, N) end)},
         {to_python_async, bench_measure:counted(fun(N) -> to_python(Context, receive_all_async, N) end)},
         {from_python, bench_measure:counted(fun(N) -> from_python(Context, N) end)},
         {in_erlang, bench_measure:counted(fun in_erlang/1)}], Env),
    ok = bench_echo:stop_routed(Routed),
    ok = py_port:stop_context(Context),
    Row = fun(Id, What, Floor) -> bench_report:row({channel, Id}, What, per_s, maps:get(Id, Rows), Floor) end,
    Echo = {channel, echo},
    [Row(echo, "routed echo, 1 caller", none),
     Row(to_python, "channel, Erlang to Python", Echo),
     Row(to_python_async, "channel, Erlang to Python, async for", Echo),
     Row(from_python, "channel, Python to Erlang", Echo),
     Row(in_erlang, "channel, Erlang to Erlang", none)].

-spec to_python(pid(), atom(), pos_integer()) -> term().
to_python(Context, Function, Count) ->
    {ok, Channel} = py_port_channel:new(),
    Receiver = py_port:async_call(Context, bench_channel, Function, [Channel]),
    ok = send(Channel, Count),
    ok = py_port_channel:close(Channel),
    {ok, Count} = py_port:await(Receiver).

-spec from_python(pid(), pos_integer()) -> ok.
from_python(Context, Count) ->
    {ok, Channel} = py_port_channel:new(),
    Sender = py_port:async_call(Context, bench_channel, send, [Channel, Count]),
    ok = recv(Channel, Count),
    {ok, _} = py_port:await(Sender),
    ok = py_port_channel:close(Channel).

in_erlang(Count) ->
    {ok, Channel} = py_port_channel:new(),
    {_, Sender} = spawn_monitor(fun() -> send(Channel, Count) end),
    ok = recv(Channel, Count),
    receive {'DOWN', Sender, process, _, Why} -> normal = Why end,
    ok = py_port_channel:close(Channel).

send(_, 0) -> ok;
send(Channel, Left) ->
    ok = py_port_channel:send(Channel, Left),
    send(Channel, Left - 1).

recv(_, 0) -> ok;
recv(Channel, Left) ->
    {ok, _} = py_port_channel:recv(Channel),
    recv(Channel, Left - 1).
