%% @doc What the façade keeps alive. Each child alone: none of them needs another one's state.
%% <ul>
%% <li>`py_environment_registry': what contexts begin with outlives it;</li>
%% <li>`py_observer_sup': what is stored, logged and traced. However often one of them fails, the pools
%% go on;</li>
%% <li>`py_data_functions': registers what Python finds of it, and ends;</li>
%% <li>`py_pool_sup': the pools.</li>
%% </ul>
%% @end
-module(py_facade_sup).

-behaviour(supervisor).

-export([start_link/0, start_link/1]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    ok = py_settings:adopt(),
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc The branch of that name.
-spec start_link(observers) -> supervisor:startlink_ret().
start_link(observers) ->
    supervisor:start_link({local, py_observer_sup}, ?MODULE, observers).

-spec init([] | observers) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(observers) ->
    {ok,
        {#{strategy => one_for_one, intensity => 10, period => 10}, [
            #{id => py_state, start => {py_state, start_link, []}},
            #{id => py_logger, start => {py_logger, start_link, []}},
            #{id => py_tracer, start => {py_tracer, start_link, []}}
        ]}};
init([]) ->
    {ok,
        {#{strategy => one_for_one, intensity => 10, period => 10}, [
            #{id => py_environment_registry, start => {py_environment_registry, start_link, []}},
            #{id => py_observer_sup, start => {?MODULE, start_link, [observers]}, type => supervisor},
            #{id => py_data_functions, start => {py_data_functions, start_link, []}},
            #{id => py_pool_sup, start => {py_pool_sup, start_link, []}, type => supervisor}
        ]}}.
