%% @doc One Python process per tenant, each restarted alone when it dies.
%%
%% This is all that isolation asks of a user: a child spec per tenant. The intensity allows each of the five
%% misbehaving tenants to die twice within ten seconds; more than that is a plugin that should not be restarted.
%% @end
-module(plugin_host_contexts).

-behaviour(supervisor).

-export([start_link/0]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Contexts = [
        py_port:child_spec(plugin_host_tenants:context_options(Tenant))
     || Tenant <- plugin_host_tenants:all()
    ],
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10}, Contexts}}.
