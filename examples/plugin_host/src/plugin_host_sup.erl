%% @doc The top of the host.
%%
%% rest_for_one, because each child uses those before it:
%% <pre>
%% plugin_host_stats        lost: the figures of this run
%% plugin_host_contexts     lost: the Python state of all tenants
%% plugin_host_tenants_sup  lost: where each tenant stood in its data
%% plugin_host_table        lost: nothing
%% </pre>
%% @end
-module(plugin_host_sup).

-behaviour(supervisor).

-export([start_link/0]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Children = [
        #{id => plugin_host_stats, start => {plugin_host_stats, start_link, []}},
        #{id => plugin_host_contexts, start => {plugin_host_contexts, start_link, []}, type => supervisor},
        #{id => plugin_host_tenants_sup, start => {plugin_host_tenants_sup, start_link, []}, type => supervisor},
        #{id => plugin_host_table, start => {plugin_host_table, start_link, []}}
    ],
    {ok, {#{strategy => rest_for_one, intensity => 1, period => 10}, Children}}.
