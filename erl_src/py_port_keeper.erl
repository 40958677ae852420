%% @doc Keeps the tables that must outlive the processes that work with them.
%%
%% It creates them, lends each to the process that works with it (the table of functions to {@link
%% py_port_callbacks}) and inherits it when that process ends. It does nothing else, so there is
%% nothing in it that could fail. It is the first process of the application: what is in the tables is
%% lost only with all of py_port.
%% @end
-module(py_port_keeper).

-behaviour(gen_server).

-include("py_port.hrl").

-export([start_link/0, claim/1, claim/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Makes the caller the owner of the table, until it ends.
-spec claim(atom()) -> ok.
claim(Table) ->
    claim(Table, []).

%% @doc The same for a table that exists from the first claim on, named and with these options.
-spec claim(atom(), [term()]) -> ok.
claim(Table, Options) ->
    ok = gen_server:call(?MODULE, {claim, Table, Options}, infinity),
    receive
        {'ETS-TRANSFER', Table, _, lent} -> ok
    end.

%% gen_server --------------------------------------------------------------------------------------

-spec init([]) -> {ok, none}.
init([]) ->
    ?FUNCTIONS = create(?FUNCTIONS, [protected, {read_concurrency, true}]),
    %% Its rows are written by jobs and deleted by whoever sees their end.
    ?JOBS = ets:new(?JOBS, [named_table, public, {keypos, #job.pid}, {write_concurrency, true}]),
    {ok, none}.

%% The owner before has ended: who claims a table is registered under a name of its own. Its
%% inheritance came before the supervisor heard of the end.
-spec handle_call({claim, atom(), [term()]}, gen_server:from(), none) -> {reply, ok, none}.
handle_call({claim, Table, Options}, {Pid, _}, none) ->
    _ = ets:whereis(Table) =:= undefined andalso create(Table, Options),
    true = ets:give_away(Table, Pid, lent),
    {reply, ok, none}.

-spec handle_cast(term(), none) -> {noreply, none}.
handle_cast(_, none) ->
    {noreply, none}.

%% Among others a table that comes back.
-spec handle_info(term(), none) -> {noreply, none}.
handle_info(_, none) ->
    {noreply, none}.

-spec create(atom(), [term()]) -> atom().
create(Table, Options) ->
    ets:new(Table, [named_table, {heir, self(), returned} | Options]).
