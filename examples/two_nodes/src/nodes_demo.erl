%% @doc A pool that spans two nodes: contexts of both serve, and when one node is lost, the other one's go on.
%% @end
-module(nodes_demo).

-export([main/0]).

-spec main() -> ok.
main() ->
    {ok, _} = application:ensure_all_started(py_port),
    {ok, Peer, Other} = start_node(),
    %% The same on both nodes: two contexts there, two here, and each node may use all four.
    Options = #{nodes => all, strategy => least_loaded},
    {ok, _} = py_context_router:start_pool(shared, 2, Options),
    {ok, _} = erpc:call(Other, py_context_router, start_pool, [shared, 2, Options]),
    Nodes = served(40),
    claim(lists:sort(maps:keys(Nodes)) =:= lists:sort([node(), Other]), "40 calls at the same time were served by both nodes: ~0p", [Nodes]),
    %% A session stays with one context, wherever that is.
    Pick = fun(User) -> py_context_router:get_context({any_node, shared, {key, User}}) end,
    Users = [{user, N} || N <- lists:seq(1, 20)],
    Pins = [{User, Pick(User)} || User <- Users],
    claim([{User, Pick(User)} || User <- Users] =:= Pins, "20 users have a context each, the same every time", []),
    Far = [Ctx || {_, Ctx} <- Pins, node(Ctx) =:= Other],
    claim(Far =/= [], "~b of them on the other node", [length(Far)]),
    {ok, 4.0} = py_port:call(hd(Far), math, sqrt, [16]),
    %% That node is lost while a call is on it.
    Self = self(),
    spawn_link(fun() -> Self ! {lost, py_port:call(hd(Far), time, sleep, [60])} end),
    ok = wait_until(fun() -> case py_port:info(hd(Far)) of #{running := R} when R =/= none, R =/= undefined -> true; _ -> false end end),
    ok = peer:stop(Peer),
    Lost = receive {lost, Outcome} -> Outcome end,
    claim(element(1, Lost) =:= error, "a call on a node that is lost is its caller's error: ~0P", [Lost, 8]),
    After = served(40),
    claim(maps:keys(After) =:= [node()], "the contexts here go on: ~0p", [After]),
    claim(lists:all(fun(User) -> node(Pick(User)) =:= node() end, Users), "and every user has one of them", []),
    ok = application:stop(py_port).

%% How many of N calls at the same time each node has served.
-spec served(pos_integer()) -> #{node() => pos_integer()}.
served(N) ->
    Self = self(),
    Pids = [
        spawn_link(fun() ->
            Self ! {self(), served()}
        end)
     || _ <- lists:seq(1, N)
    ],
    lists:foldl(fun(Pid, Count) -> receive {Pid, Node} -> maps:update_with(Node, fun(C) -> C + 1 end, 1, Count) end end, #{}, Pids).

%% The node that has served a call. For a moment after a node was lost its contexts may still be chosen.
-spec served() -> node().
served() ->
    Ctx = py_context_router:get_context({any_node, shared}),
    case py_port:call(Ctx, time, sleep, [0.05]) of
        {ok, none} -> node(Ctx);
        {error, {worker_down, {node_down, _}}} -> served()
    end.

-spec start_node() -> {ok, pid(), node()}.
start_node() ->
    {ok, Peer, Node} = peer:start_link(#{
        name => peer:random_name(two_nodes),
        host => "localhost",
        args => ["-setcookie", atom_to_list(erlang:get_cookie()), "-pa" | code:get_path()]
    }),
    {ok, _} = erpc:call(Node, application, ensure_all_started, [py_port]),
    {ok, Peer, Node}.

-spec wait_until(fun(() -> boolean())) -> ok.
wait_until(Fun) ->
    case Fun() of
        true -> ok;
        false -> timer:sleep(10), wait_until(Fun)
    end.

-spec claim(boolean(), string(), [term()]) -> ok.
claim(true, Format, Args) -> io:format("ok: " ++ Format ++ "~n", Args);
claim(false, Format, Args) -> io:format("FAILED: " ++ Format ++ "~n", Args), halt(1).
