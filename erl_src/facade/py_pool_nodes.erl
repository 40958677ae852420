%% @doc Pools on several nodes: what other nodes know of the pools and contexts of this one.
%%
%% Each pool's process and each context of a pool is a member of a group of `pg', in the scope `py_pg'.
%% So whether a node has a pool, and which contexts of it run there, is known here without asking; a
%% context that has to be started is asked for there. Nodes that go down leave the groups at once.
%% @end
-module(py_pool_nodes).

-include("py_pool.hrl").

-compile({no_auto_import, [nodes/2]}).

-export([join/2, nodes/2, members/2, find/3]).
%% called on the other nodes
-export([offer/1]).

%% Who does not offer a context in this time (ms) is passed over.
-define(OFFER_TIMEOUT, 5000).

%% @doc For the contexts of a pool the group has the pool's name, for its process it is `{pool, Name}'.
-spec join(py_pool:name() | {pool, py_pool:name()}, pid()) -> ok.
join(Group, Pid) ->
    pg:join(?SCOPE, Group, Pid).

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
-spec find(py_pool:name(), all | [node()], py_pool:strategy() | default) -> py_pool:found().
find(Name, Wanted, Strategy) ->
    NoPool = {error, {no_such_pool, Name}},
    case nodes(Name, Wanted) of
        [] -> NoPool;
        [Node] -> on(Node, Name, Strategy);
        Nodes when Strategy =:= least_loaded -> least_loaded(Nodes, Name);
        Nodes -> first(order(Nodes, Strategy), Name, Strategy, NoPool)
    end.

-spec order([node(), ...], py_pool:strategy() | default) -> [node(), ...].
order(Nodes, {key, Key}) ->
    [Node || {_, Node} <- lists:reverse(lists:sort([{erlang:phash2({Key, N}), N} || N <- Nodes]))];
order(Nodes, _) ->
    {Before, After} = lists:split(erlang:phash2(self(), length(Nodes)), Nodes),
    After ++ Before.

-spec first([node()], py_pool:name(), py_pool:strategy() | default, {error, term()}) ->
    py_pool:found().
first([], _, _, Error) ->
    Error;
first([Node | Nodes], Name, Strategy, _) ->
    case on(Node, Name, Strategy) of
        {ok, _} = Found -> Found;
        {error, _} = Error -> first(Nodes, Name, Strategy, Error)
    end.

-spec on(node(), py_pool:name(), py_pool:strategy() | default) -> py_pool:found().
on(Node, Name, Strategy) when Node =:= node() ->
    py_context_router:find_local(Name, Strategy);
on(Node, Name, Strategy) when Strategy =:= default; Strategy =:= scheduler ->
    case members(Name, Node) of
        [] -> ask(Node, Name, Strategy);
        Pids -> {ok, lists:nth(erlang:phash2(self(), length(Pids)) + 1, lists:sort(Pids))}
    end;
on(Node, Name, Strategy) ->
    ask(Node, Name, Strategy).

%% The other node starts the context if need be.
-spec ask(node(), py_pool:name(), py_pool:strategy() | default) -> py_pool:found().
ask(Node, Name, Strategy) ->
    try
        erpc:call(Node, py_context_router, find_local, [Name, Strategy])
    catch
        error:{erpc, _} -> {error, {worker_down, {node_down, Node}}};
        error:{exception, undef, _} -> {error, {no_such_pool, Name}}
    end.

-spec least_loaded([node(), ...], py_pool:name()) -> py_pool:found().
least_loaded(Nodes, Name) ->
    case lists:member(node(), Nodes) andalso offer(Name) of
        {0, Pid} -> {ok, Pid};
        _ ->
            Offers = erpc:multicall(Nodes, ?MODULE, offer, [Name], ?OFFER_TIMEOUT),
            case lists:sort([Offer || {ok, {Load, _} = Offer} <- Offers, is_integer(Load)]) of
                [{_, Pid} | _] -> {ok, Pid};
                [] -> {error, {no_such_pool, Name}}
            end
    end.

%% @doc The best of this node, and its load.
-spec offer(py_pool:name()) -> {non_neg_integer(), pid()} | py_pool:found().
offer(Name) ->
    case py_context_router:find_local(Name, least_loaded) of
        {ok, Pid} ->
            case py_port_registry:counters(Pid) of
                {ok, Counters} -> {py_port_registry:load(Counters), Pid};
                error -> {error, {no_such_pool, Name}}
            end;
        {error, _} = Error ->
            Error
    end.
