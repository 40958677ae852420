%% @doc Keeps the tables that must outlive the processes that work with them.
%%
%% It creates them, lends the table of functions to {@link py_port_callbacks} and inherits it when
%% that process ends. It does nothing else, so there is nothing in it that could fail. It is the
%% first process of the application: what is registered is lost only with all of py_port.
%% @end
-module(py_port_keeper).

-behaviour(gen_server).

-include("py_port.hrl").

-export([start_link/0, claim/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Makes the caller the owner of the table, until it ends.
-spec claim(atom()) -> ok.
claim(Table) ->
    ok = gen_server:call(?MODULE, {claim, Table}, infinity),
    receive
        {'ETS-TRANSFER', Table, _, lent} -> ok
    end.

%% gen_server --------------------------------------------------------------------------------------

-spec init([]) -> {ok, none}.
init([]) ->
    ?FUNCTIONS = ets:new(?FUNCTIONS, [
        named_table, protected, {read_concurrency, true}, {heir, self(), returned}
    ]),
    %% Its rows are written by jobs and deleted by whoever sees their end.
    ?JOBS = ets:new(?JOBS, [named_table, public, {keypos, #job.pid}, {write_concurrency, true}]),
    {ok, none}.

%% The owner before has ended: who claims a table is registered under a name of its own. Its
%% inheritance came before the supervisor heard of the end.
-spec handle_call({claim, atom()}, gen_server:from(), none) -> {reply, ok, none}.
handle_call({claim, Table}, {Pid, _}, none) ->
    true = ets:give_away(Table, Pid, lent),
    {reply, ok, none}.

-spec handle_cast(term(), none) -> {noreply, none}.
handle_cast(_, none) ->
    {noreply, none}.

%% Among others a table that comes back.
-spec handle_info(term(), none) -> {noreply, none}.
handle_info(_, none) ->
    {noreply, none}.
