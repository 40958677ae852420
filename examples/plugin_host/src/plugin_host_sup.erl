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
        child(plugin_host_stats, worker),
        child(plugin_host_contexts, supervisor),
        child(plugin_host_tenants_sup, supervisor),
        child(plugin_host_table, worker)
    ],
    {ok, {#{strategy => rest_for_one, intensity => 1, period => 10}, Children}}.

-spec child(module(), worker | supervisor) -> supervisor:child_spec().
child(Module, Type) ->
    #{id => Module, start => {Module, start_link, []}, type => Type}.
