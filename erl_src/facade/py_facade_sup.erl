%% @doc What the façade keeps alive. Each child alone: none of them needs another one's state.
%% @end
-module(py_facade_sup).

-behaviour(supervisor).

-export([start_link/0]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    ok = py_settings:adopt(),
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    {ok,
        {#{strategy => one_for_one, intensity => 10, period => 10}, [
            #{id => py_environment_registry, start => {py_environment_registry, start_link, []}},
            #{id => py_state, start => {py_state, start_link, []}},
            #{id => py_data_functions, start => {py_data_functions, start_link, []}},
            #{id => py_logger, start => {py_logger, start_link, []}},
            #{id => py_tracer, start => {py_tracer, start_link, []}},
            #{id => py_pool_sup, start => {py_pool_sup, start_link, []}, type => supervisor}
        ]}}.
