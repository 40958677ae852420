%% @doc Stands above the processes that run for Python: when it ends, all of them end.
%%
%% A supervisor would be asked to start each of them, and to wait for each start: that round trip
%% would be paid by every call from Python. So a job is spawned by its context's owner and links
%% itself to this process. It is a supervisor to those who ask (`which_children', `count_children').
%% The table of jobs says who they are; a job that traps exits, or has unlinked itself, is killed
%% all the same.
%% @end
-module(py_port_job_sup).

-behaviour(gen_server).

-include("py_port.hrl").

-export([start_link/0, adopt/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Called by a job.
-spec adopt() -> ok.
adopt() ->
    case whereis(?MODULE) of
        undefined ->
            exit(no_job_sup);
        Pid ->
            true = link(Pid),
            ok
    end.

%% gen_server --------------------------------------------------------------------------------------

%% What a predecessor left behind, because it was killed, had no right to outlive it.
-spec init([]) -> {ok, none}.
init([]) ->
    _ = process_flag(trap_exit, true),
    ok = kill_all(),
    {ok, none}.

-spec handle_call(term(), gen_server:from(), none) -> {reply, list() | {error, term()}, none}.
handle_call(which_children, _From, none) ->
    {reply, [{undefined, Pid, worker, [py_port_job]} || Pid <- jobs()], none};
handle_call(count_children, _From, none) ->
    N = length(jobs()),
    {reply, [{specs, 1}, {active, N}, {supervisors, 0}, {workers, N}], none};
handle_call(_, _From, none) ->
    %% Not worth the end of every job.
    {reply, {error, not_supported}, none}.

-spec handle_cast(term(), none) -> {noreply, none}.
handle_cast(_, none) ->
    {noreply, none}.

%% The end of a job. Its owner sees to what is to be done.
-spec handle_info(term(), none) -> {noreply, none}.
handle_info(_, none) ->
    {noreply, none}.

-spec terminate(term(), none) -> ok.
terminate(_Reason, none) ->
    kill_all().

-spec kill_all() -> ok.
kill_all() ->
    lists:foreach(fun(Pid) -> exit(Pid, kill) end, jobs()).

-spec jobs() -> [pid()].
jobs() ->
    ets:select(?JOBS, [{#job{pid = '$1', _ = '_'}, [], ['$1']}]).
