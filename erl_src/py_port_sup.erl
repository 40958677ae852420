%% @doc The top of the application.
%%
%% `rest_for_one': what is started later needs what was started before.
%% <ul>
%% <li>`py_port_keeper' keeps what is registered for Python as long as the application runs;</li>
%% <li>`py_port_callback_sup': each of its two restarts alone, for contexts live on without
%% them;</li>
%% <li>`py_port_registry': if it is lost, the table of contexts is lost, and every context
%% stops;</li>
%% <li>`py_port_context_sup': if it is lost, the contexts that hang below it are lost;</li>
%% <li>`py_port_flow_sup': if it is lost, the streams and channels are lost;</li>
%% <li>`py_facade_sup': if it is lost, the pools and what else belongs to {@link py} are lost.</li>
%% </ul>
%% @end
-module(py_port_sup).

-behaviour(supervisor).

-export([start_link/0, start_link/1]).
-export([init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    case supervisor:start_link({local, ?MODULE}, ?MODULE, []) of
        {ok, Pid} -> {ok, Pid};
        ignore -> {error, ignore};
        {error, _} = Error -> Error
    end.

%% @doc The branch of that name.
-spec start_link(callbacks) -> supervisor:startlink_ret().
start_link(callbacks) ->
    supervisor:start_link({local, py_port_callback_sup}, ?MODULE, callbacks).

-spec init([] | callbacks) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(callbacks) ->
    {ok,
        {#{strategy => one_for_one, intensity => 3, period => 10}, [
            #{id => py_port_callbacks, start => {py_port_callbacks, start_link, []}},
            #{id => py_port_job_sup, start => {py_port_job_sup, start_link, []}, type => supervisor}
        ]}};
init([]) ->
    {ok,
        {#{strategy => rest_for_one, intensity => 3, period => 10}, [
            #{id => py_port_keeper, start => {py_port_keeper, start_link, []}},
            #{
                id => py_port_callback_sup,
                start => {?MODULE, start_link, [callbacks]},
                type => supervisor
            },
            #{id => py_port_registry, start => {py_port_registry, start_link, []}, shutdown => 15000},
            #{
                id => py_port_context_sup,
                start => {py_port_context_sup, start_link, []},
                type => supervisor
            },
            #{
                id => py_port_flow_sup,
                start => {py_port_flow_sup, start_link, []},
                type => supervisor
            },
            #{
                id => py_facade_sup,
                start => {py_facade_sup, start_link, []},
                type => supervisor
            }
        ]}}.
