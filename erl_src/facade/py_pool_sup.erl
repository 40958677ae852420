%% @doc What keeps the pools: `rest_for_one', for what is started later needs what was started before.
%% <ul>
%% <li>`py_pool_table': if it is lost, nobody finds a context any more, and all pools start anew;</li>
%% <li>`py_pg': if it is lost, other nodes do not find the contexts of this one;</li>
%% <li>`py_pools': the pools, each alone. If one is lost its contexts are lost, and it starts anew;</li>
%% <li>`py_context_sup': if it is lost, the contexts that were started through it are lost;</li>
%% <li>`py_semaphore': if it is lost, those who wait for a slot are told so; what is held stays.</li>
%% </ul>
%% @end
-module(py_pool_sup).

-behaviour(supervisor).

-include("py_pool.hrl").

-export([start_link/0, start_link/1, start_pool/1, look_after/2]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc The branch of that name.
-spec start_link(pools) -> supervisor:startlink_ret().
start_link(pools) ->
    supervisor:start_link({local, py_pools}, ?MODULE, pools).

%% @doc Two who start the same pool at the same time get the same pool.
-spec start_pool(py_pool_options:pool()) -> {ok, pid()} | {error, term()}.
start_pool(Pool) ->
    try supervisor:start_child(py_pools, [Pool]) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid};
        {error, {already_started, Pid}} -> {ok, Pid};
        {error, Reason} -> {error, Reason}
    catch
        %% It is not there, or ends.
        exit:_ -> {error, not_started}
    end.

%% @doc For who finds that the process of a pool has failed. After this the pool has another one, or it is
%% gone, and not started anew behind anybody's back.
-spec look_after(py_pool:name(), pid()) -> ok | {error, not_started}.
look_after(Name, Server) ->
    try
        %% If the supervisor knows already it starts another one first.
        _ = supervisor:count_children(py_pools),
        _ = supervisor:terminate_child(py_pools, Server),
        {ok, undefined} = supervisor:start_child(py_pools, [{lost, Name}]),
        ok
    catch
        exit:_ -> {error, not_started}
    end.

-spec init([] | pools) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(pools) ->
    {ok,
        {#{strategy => simple_one_for_one, intensity => 10, period => 10}, [
            #{
                id => py_pool,
                start => {py_pool, start_link, []},
                restart => transient,
                shutdown => 15000
            }
        ]}};
init([]) ->
    {ok,
        {#{strategy => rest_for_one, intensity => 10, period => 10}, [
            #{id => py_pool_table, start => {py_pool_table, start_link, []}},
            #{id => ?SCOPE, start => {pg, start_link, [?SCOPE]}},
            #{id => py_pools, start => {?MODULE, start_link, [pools]}, type => supervisor},
            #{id => py_context_sup, start => {py_context_sup, start_link, []}, type => supervisor},
            #{id => py_semaphore, start => {py_semaphore, start_link, []}}
        ]}}.
