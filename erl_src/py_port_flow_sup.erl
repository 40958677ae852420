%% @doc Home of the processes that values flow through: streams, inlets and channels.
%%
%% None is restarted: what was in it is gone, and whoever used it is told so. A stream or an inlet
%% ends with its consumer or its context, a channel with its owner; all of them end with the
%% application.
%% @end
-module(py_port_flow_sup).

-behaviour(supervisor).

-export([start_link/0, start_flow/2]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc Runs `Module:start_link(Settings)'.
-spec start_flow(module(), term()) -> {ok, pid()} | {error, not_started}.
start_flow(Module, Settings) ->
    try supervisor:start_child(?MODULE, [Module, start_link, [Settings]]) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid}
    catch
        exit:_ -> {error, not_started}
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    {ok,
        {#{strategy => simple_one_for_one, intensity => 0, period => 1}, [
            #{
                id => py_port_flow,
                start => {erlang, apply, []},
                restart => temporary,
                shutdown => 2000,
                modules => dynamic
            }
        ]}}.
