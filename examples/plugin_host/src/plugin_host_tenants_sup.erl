%% @doc One driver per tenant: the process that feeds the tenant its data.
-module(plugin_host_tenants_sup).

-behaviour(supervisor).

-export([start_link/0]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Drivers = [
        #{id => maps:get(name, Tenant), start => {plugin_host_tenant, start_link, [Tenant]}}
     || Tenant <- plugin_host_tenants:all()
    ],
    {ok, {#{strategy => one_for_one, intensity => 3, period => 10}, Drivers}}.
