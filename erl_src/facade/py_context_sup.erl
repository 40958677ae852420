%% @doc Contexts that outlive the process that started them, and end with the application. They are not
%% replaced: those of pools are.
%% @end
-module(py_context_sup).

-behaviour(supervisor).

-export([start_link/0, start_context/2, stop_context/1, which_contexts/0]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc As {@link py_context:start_link/2}.
-spec start_context(term(), py_context:mode()) -> {ok, pid()} | {error, term()}.
start_context(Id, Mode) ->
    try supervisor:start_child(?MODULE, [Id, Mode]) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid};
        {error, Reason} -> {error, Reason}
    catch
        %% It is not there, or ends.
        exit:_ -> {error, not_started}
    end.

%% @doc Ends the context.
-spec stop_context(pid()) -> ok.
stop_context(Ctx) ->
    py_context:stop(Ctx).

%% @doc Those that were started here, and those of the pools.
-spec which_contexts() -> [pid()].
which_contexts() ->
    Own =
        try
            [Pid || {_, Pid, _, _} <- supervisor:which_children(?MODULE), is_pid(Pid)]
        catch
            %% The application is not running.
            exit:_ -> []
        end,
    Own ++ py_pool:running().

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    {ok,
        {#{strategy => simple_one_for_one, intensity => 0, period => 1}, [
            #{
                id => py_context,
                start => {py_context, start_link, []},
                restart => temporary,
                shutdown => 5000,
                modules => [py_port_context]
            }
        ]}}.
