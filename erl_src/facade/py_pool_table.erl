%% @doc Keeps the tables of the pools: which there are and what runs in their slots, who holds the
%% semaphore, which loops were started. With what the pools were started and what is registered to
%% them is lent to it by {@link py_port_keeper}, and ends with the application alone.
%%
%% It does nothing else, so there is nothing in it that could fail. The tables are public: each row
%% has one writer, which is named in py_pool.hrl.
%% @end
-module(py_pool_table).

-behaviour(gen_server).

-include("py_pool.hrl").

-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2]).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, none}.
init([]) ->
    Public = [public, {read_concurrency, true}],
    ?POOLS = ets:new(?POOLS, [named_table, {keypos, 2} | Public]),
    ?LOOPS = ets:new(?LOOPS, [named_table, public]),
    %% Its size is how many slots are held: it must be exact.
    ?HELD = ets:new(?HELD, [
        named_table, public, {write_concurrency, true}, {decentralized_counters, false}
    ]),
    ok = py_port_keeper:claim(?STARTED, [public, {read_concurrency, true}]),
    ok = py_port_keeper:claim(?REGISTRATIONS, Public),
    {ok, none}.

-spec handle_call(term(), gen_server:from(), none) -> {reply, {error, unknown_call}, none}.
handle_call(_, _, none) ->
    {reply, {error, unknown_call}, none}.

-spec handle_cast(term(), none) -> {noreply, none}.
handle_cast(_, none) ->
    {noreply, none}.
