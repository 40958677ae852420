%% @doc State that all contexts of the node and all Erlang processes share: keys and values are any
%% terms, counters are atomic.
%%
%% Operations work on the table in the calling process. Only what adds a key while `max_state_entries'
%% is set goes through the process of this module, one at a time, so that the limit is exact. The
%% table is lent to that process by {@link py_port_keeper}: what is stored outlives it, and ends with
%% the application.
%%
%% A key is what it is in Erlang: `a' and `<<"a">>' are two keys. A `str' of Python is the latter.
%% From Python the operations are `erlang.state_get' and its siblings (see {@link py_data_functions}).
%%
%% ```
%% ok = py_state:store(config, #{port => 8080}),
%% {ok, #{port := 8080}} = py_state:fetch(config),
%% 1 = py_state:incr(hits),
%% 11 = py_state:incr(hits, 10).
%% '''
%% @end
-module(py_state).

-behaviour(gen_server).

-export([fetch/1, store/2, remove/1, keys/0, clear/0, incr/1, incr/2, decr/1, decr/2]).
%% for the supervisor
-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2]).
-export_type([refusal/0]).

-define(TABLE, ?MODULE).

%% `full': there are as many keys as the setting `max_state_entries' allows, and this is another one.
%% `not_started': the application is not running.
-type refusal() :: full | not_started.
-type change() :: {store, term(), term()} | {add, term(), integer()}.

%% @doc The value under the key.
-spec fetch(term()) -> {ok, term()} | {error, not_found | not_started}.
fetch(Key) ->
    on_table(fun() ->
        case ets:lookup(?TABLE, Key) of
            [{_, Value}] -> {ok, Value};
            [] -> {error, not_found}
        end
    end).

%% @doc Stores the value, in the place of any that is there.
-spec store(term(), term()) -> ok | {error, refusal()}.
store(Key, Value) ->
    change({store, Key, Value}).

%% @doc Ok also when there is no such key.
-spec remove(term()) -> ok | {error, not_started}.
remove(Key) ->
    on_table(fun() ->
        true = ets:delete(?TABLE, Key),
        ok
    end).

%% @doc All keys, in no order.
-spec keys() -> [term()] | {error, not_started}.
keys() ->
    on_table(fun() -> ets:select(?TABLE, [{{'$1', '_'}, [], ['$1']}]) end).

%% @doc Removes everything.
-spec clear() -> ok | {error, not_started}.
clear() ->
    on_table(fun() ->
        true = ets:delete_all_objects(?TABLE),
        ok
    end).

%% @equiv incr(Key, 1)
-spec incr(term()) -> integer() | {error, not_an_integer | refusal()}.
incr(Key) ->
    incr(Key, 1).

%% @doc Adds to a counter and returns its new value. One that is not there counts from 0. Concurrent
%% changes are all counted, also the first ones. `not_an_integer': the value that is stored, or the
%% amount, is not one; nothing has changed.
-spec incr(term(), integer()) -> integer() | {error, not_an_integer | refusal()}.
incr(Key, Amount) when is_integer(Amount) ->
    change({add, Key, Amount});
incr(_, _) ->
    {error, not_an_integer}.

%% @equiv decr(Key, 1)
-spec decr(term()) -> integer() | {error, not_an_integer | refusal()}.
decr(Key) ->
    decr(Key, 1).

%% @doc Takes from a counter: see {@link incr/2}.
-spec decr(term(), integer()) -> integer() | {error, not_an_integer | refusal()}.
decr(Key, Amount) when is_integer(Amount) ->
    incr(Key, -Amount);
decr(_, _) ->
    {error, not_an_integer}.

%% Changes -----------------------------------------------------------------------------------------

-spec change(change()) -> ok | integer() | {error, not_an_integer | refusal()}.
change(Change) ->
    on_table(fun() ->
        case limit() of
            infinity -> put_in(Change);
            Max -> change_within_limit(Change, Max)
        end
    end).

-spec change_within_limit(change(), pos_integer()) ->
    ok | integer() | {error, not_an_integer | refusal()}.
change_within_limit({store, Key, Value} = Change, Max) ->
    case ets:update_element(?TABLE, Key, {2, Value}) of
        true -> ok;
        false -> ask(Change, Max)
    end;
change_within_limit({add, Key, Amount} = Change, Max) ->
    try
        ets:update_counter(?TABLE, Key, {2, Amount})
    catch
        error:badarg -> ask(Change, Max)
    end.

-spec put_in(change()) -> ok | integer() | {error, not_an_integer}.
put_in({store, Key, Value}) ->
    true = ets:insert(?TABLE, {Key, Value}),
    ok;
put_in({add, Key, Amount}) ->
    try
        ets:update_counter(?TABLE, Key, {2, Amount}, {Key, 0})
    catch
        error:badarg:Stack ->
            case ets:whereis(?TABLE) of
                undefined -> erlang:raise(error, badarg, Stack);
                _ -> {error, not_an_integer}
            end
    end.

-spec ask(change(), pos_integer()) -> ok | integer() | {error, not_an_integer | refusal()}.
ask(Change, Max) ->
    try
        gen_server:call(?MODULE, {Change, Max}, infinity)
    catch
        %% It is not there, or ends: the application stops.
        exit:_ -> {error, not_started}
    end.

-spec limit() -> pos_integer() | infinity.
limit() ->
    Max = py_settings:get(max_state_entries, infinity),
    py_settings:is_limit(Max) orelse error({bad_setting, max_state_entries, Max}),
    Max.

-spec on_table(fun(() -> Result)) -> Result | {error, not_started}.
on_table(Operation) ->
    try
        Operation()
    catch
        error:badarg:Stack ->
            case ets:whereis(?TABLE) of
                undefined -> {error, not_started};
                _ -> erlang:raise(error, badarg, Stack)
            end
    end.

%% gen_server --------------------------------------------------------------------------------------

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, none}.
init([]) ->
    ok = py_port_keeper:claim(?TABLE, [public, {read_concurrency, true}, {write_concurrency, true}]),
    {ok, none}.

%% Nobody else adds keys while there is a limit.
-spec handle_call({change(), pos_integer()}, gen_server:from(), none) -> {reply, Reply, none} when
    Reply :: ok | integer() | {error, not_an_integer | full}.
handle_call({Change, Max}, _From, none) ->
    IsThere = ets:member(?TABLE, element(2, Change)),
    case IsThere orelse ets:info(?TABLE, size) < Max of
        true -> {reply, put_in(Change), none};
        false -> {reply, {error, full}, none}
    end.

-spec handle_cast(term(), none) -> {noreply, none}.
handle_cast(_, none) ->
    {noreply, none}.
