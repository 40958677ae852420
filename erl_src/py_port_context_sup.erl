%% @doc The contexts that were started with `link => false': they outlive the process that started
%% them and end with the application. They are not restarted: who wants that puts
%% `py_port:child_spec/1' under a supervisor of their own.
%% @end
-module(py_port_context_sup).

-behaviour(supervisor).

-export([start_link/0, start_context/2]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec start_context(py_port_options:options(), py_port_python:resolved()) ->
    {ok, pid()} | {error, term()}.
start_context(Options, Resolved) ->
    case supervisor:start_child(?MODULE, [Options, Resolved]) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid};
        {error, Reason} -> {error, Reason}
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    {ok,
        {#{strategy => simple_one_for_one, intensity => 0, period => 1}, [
            #{
                id => py_port_context,
                start => {py_port_context, start_link, []},
                restart => temporary,
                shutdown => 5000
            }
        ]}}.
