%% @doc Pools on several nodes: what other nodes know of the pools and contexts of this one.
%%
%% Each pool's process and each context of a pool is a member of a group of `pg', in the scope `py_pg'.
%% So whether a node has a pool, and which contexts of it run there, is known here without asking; a
%% context that has to be started is asked for there. Nodes that go down leave the groups at once.
%% @end
-module(py_pool_nodes).

-include("py_pool.hrl").

-compile({no_auto_import, [nodes/2]}).

-export([join/2, leave/2, nodes/2, members/2, find/4]).
%% called on the other nodes
-export([offer/1]).
-export_type([asker/0]).

%% Who wants a context, and until when.
-type asker() :: {pid(), py_deadline:t()}.

%% Who does not offer a context in this time (ms) is passed over.
-define(OFFER_TIMEOUT, 5000).

%% @doc For the contexts of a pool the group has the pool's name, for its process it is `{pool, Name}'.
-spec join(py_pool:name() | {pool, py_pool:name()}, pid()) -> ok.
join(Group, Pid) ->
    pg:join(?SCOPE, Group, Pid).

%% @doc For a context that takes no more requests; one that ends leaves by itself.
-spec leave(py_pool:name(), pid()) -> ok.
leave(Group, Pid) ->
    _ = pg:leave(?SCOPE, Group, Pid),
    ok.

%% @doc The nodes that have the pool, of those that are wanted, in order.
-spec nodes(py_pool:name(), all | [node()]) -> [node()].
nodes(Name, all) ->
    lists:usort([node(Pid) || Pid <- pg:get_members(?SCOPE, {pool, Name})]);
nodes(Name, Wanted) ->
    [Node || Node <- nodes(Name, all), lists:member(Node, Wanted)].

%% @doc The contexts of the pool that run on another node.
-spec members(py_pool:name(), node()) -> [pid()].
members(Name, Node) ->
    [Pid || Pid <- pg:get_members(?SCOPE, Name), node(Pid) =:= Node].

%% @doc A context of the pool, on whatever of these nodes. One that cannot be reached is passed over.
%%
%% Without a strategy, or by `scheduler', a process stays with one node and there with one context as
%% long as both are there. A key has its node, and there its slot. For the least loaded one every node
%% is asked, unless a context of this node is idle.
-spec find(py_pool:name(), all | [node()], py_pool:strategy() | default, asker()) -> py_pool:found().
find(Name, Wanted, Strategy, Asker) ->
    NoPool = {error, {no_such_pool, Name}},
    case nodes(Name, Wanted) of
        [] -> NoPool;
        [Node] -> on(Node, Name, Strategy, Asker);
        Nodes when Strategy =:= least_loaded -> least_loaded(Nodes, Name, Asker);
        Nodes -> first(order(Nodes, Strategy, Asker), Name, Strategy, Asker, NoPool)
    end.

-spec order([node(), ...], py_pool:strategy() | default, asker()) -> [node(), ...].
order(Nodes, {key, Key}, _) ->
    [Node || {_, Node} <- lists:reverse(lists:sort([{erlang:phash2({Key, N}), N} || N <- Nodes]))];
order(Nodes, _, {Pid, _}) ->
    {Before, After} = lists:split(erlang:phash2(Pid, length(Nodes)), Nodes),
    After ++ Before.

-spec first([node()], py_pool:name(), py_pool:strategy() | default, asker(), {error, term()}) ->
    py_pool:found().
first([], _, _, _, Error) ->
    Error;
first([Node | Nodes], Name, Strategy, Asker, _) ->
    case on(Node, Name, Strategy, Asker) of
        {ok, _} = Found -> Found;
        {error, _} = Error -> first(Nodes, Name, Strategy, Asker, Error)
    end.

-spec on(node(), py_pool:name(), py_pool:strategy() | default, asker()) -> py_pool:found().
on(Node, Name, Strategy, Asker) when Node =:= node() ->
    py_context_router:find_local(Name, Strategy, Asker);
on(Node, Name, Strategy, {Pid, _} = Asker) when Strategy =:= default; Strategy =:= scheduler ->
    case members(Name, Node) of
        [] -> ask(Node, Name, Strategy, Asker);
        Pids -> {ok, lists:nth(erlang:phash2(Pid, length(Pids)) + 1, lists:sort(Pids))}
    end;
on(Node, Name, Strategy, Asker) ->
    ask(Node, Name, Strategy, Asker).

%% The other node starts the context if need be.
-spec ask(node(), py_pool:name(), py_pool:strategy() | default, asker()) -> py_pool:found().
ask(Node, Name, Strategy, {_, Until}) ->
    Left = py_deadline:left(Until),
    try
        erpc:call(Node, py_context_router, find_local, [Name, Strategy], Left)
    catch
        error:{erpc, timeout} -> {error, timeout};
        error:{erpc, _} -> {error, {worker_down, {node_down, Node}}};
        error:{exception, undef, _} -> {error, {no_such_pool, Name}}
    end.

-spec least_loaded([node(), ...], py_pool:name(), asker()) -> py_pool:found().
least_loaded(Nodes, Name, {_, Until}) ->
    case lists:member(node(), Nodes) andalso offer(Name, Until) of
        {0, Pid} ->
            {ok, Pid};
        _ ->
            Time = min(?OFFER_TIMEOUT, py_deadline:left(Until)),
            Offers = erpc:multicall(Nodes, ?MODULE, offer, [Name], Time),
            case lists:sort([Offer || {ok, {Load, _} = Offer} <- Offers, is_integer(Load)]) of
                [{_, Pid} | _] -> {ok, Pid};
                [] when Time < ?OFFER_TIMEOUT -> {error, timeout};
                [] -> {error, {no_such_pool, Name}}
            end
    end.

%% @doc The best of this node, and its load.
-spec offer(py_pool:name()) -> {non_neg_integer(), pid()} | py_pool:found().
offer(Name) ->
    offer(Name, none).

-spec offer(py_pool:name(), py_deadline:t()) -> {non_neg_integer(), pid()} | py_pool:found().
offer(Name, Until) ->
    case py_context_router:find_local(Name, least_loaded, {self(), Until}) of
        {ok, Pid} ->
            case py_port_registry:counters(Pid) of
                {ok, Counters} -> {py_port_registry:load(Counters), Pid};
                error -> {error, {no_such_pool, Name}}
            end;
        {error, _} = Error ->
            Error
    end.
