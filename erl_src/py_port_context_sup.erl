%% @doc The contexts that were started with `link => false': they outlive the process that started
%% them and end with the application. They are not restarted: who wants that puts
%% `py_port:child_spec/1' under a supervisor of their own.
%%
%% Who asks for one waits until it is ready, the supervisor does not: an `init' that takes its time holds
%% up neither another context nor the end of the application.
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
    Alias = erlang:alias([reply]),
    case supervisor:start_child(?MODULE, [Options, Resolved, Alias]) of
        {ok, Pid} when is_pid(Pid) ->
            started(Pid, Alias);
        {error, Reason} ->
            true = erlang:unalias(Alias),
            {error, Reason}
    end.

-spec started(pid(), reference()) -> {ok, pid()} | {error, term()}.
started(Pid, Alias) ->
    Ref = erlang:monitor(process, Pid),
    receive
        {Alias, Result} ->
            true = erlang:demonitor(Ref, [flush]),
            Result;
        {'DOWN', Ref, process, Pid, Reason} ->
            _ = erlang:unalias(Alias),
            receive
                {Alias, Result} -> Result
            after 0 -> {error, Reason}
            end
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
