%% @doc Requests to contexts on other nodes: they run there, in a process that stands for the
%% caller.
%%
%% The deadline is the same on both sides. When the caller dies, or its node is lost, the process
%% that stands for it is killed, and the context stops the request as it does for every caller that
%% dies. An object reference is held by the caller itself, not by its stand-in.
%% @end
-module(py_port_remote).

-include("py_port.hrl").

-export([apply/5]).
%% called on the context's node
-export([serve/4]).

-spec apply(node(), {module(), atom()}, [term()], term(), timeout()) -> term().
apply(Node, {Module, Function}, Args, Opts, Timeout) ->
    try
        erpc:call(Node, ?MODULE, serve, [self(), {Module, Function}, Args, Opts], bound(Timeout))
    catch
        error:{erpc, timeout} -> {error, timeout};
        error:{erpc, noconnection} -> {error, {worker_down, {node_down, Node}}};
        error:{exception, undef, [{?MODULE, serve, _, _} | _]} -> {error, {worker_down, noproc}}
    end.

%% stop/2 needs longer than its timeout, so the answer is waited for a little.
-spec bound(timeout()) -> timeout().
bound(infinity) -> infinity;
bound(Ms) when Ms < ?MAX_TIMEOUT - 1000 -> Ms + 1000;
bound(Ms) -> Ms.

-spec serve(pid(), {module(), atom()}, [term()], term()) -> term().
serve(Client, {Module, Function}, Args, Opts) ->
    ok = watch(Client),
    erlang:apply(Module, Function, Args ++ options(Opts, Client)).

-spec options(term(), pid()) -> [term()].
options(none, _) -> [];
options(#{return := ref} = Opts, Client) -> [Opts#{return := {ref, Client}}];
options(Opts, _) -> [Opts].

%% Lives as long as the shorter-lived of the two.
-spec watch(pid()) -> ok.
watch(Client) ->
    StandIn = self(),
    _ = spawn(fun() ->
        Ref = erlang:monitor(process, Client),
        Mine = erlang:monitor(process, StandIn),
        receive
            {'DOWN', Ref, process, _, _} -> exit(StandIn, kill);
            {'DOWN', Mine, process, _, _} -> true
        end
    end),
    ok.
