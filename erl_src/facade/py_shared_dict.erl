%% @doc A dictionary that Erlang processes and Python programs share while its owner lives.
%%
%% Keys and values are any terms, so a value may hold pids; what is stored is a copy. Every operation
%% happens at once for all who use the dictionary, also those that read and write. It belongs to the
%% process that made it: when that ends, or at {@link destroy/1}, everybody gets `{error, destroyed}'.
%% `get', and a value that looks like this error, can be told apart with {@link find/2}.
%%
%% A handle is passed to Python as it is; there, `erlang.SharedDict(handle)' is a mapping. A context
%% can only use dictionaries whose handle this node gave to it.
%%
%% ```
%% {ok, Dict} = py_shared_dict:new(),
%% ok = py_shared_dict:set(Dict, <<"limit">>, 10),
%% 10 = py_shared_dict:get(Dict, <<"limit">>),
%% undefined = py_shared_dict:get(Dict, <<"other">>).
%% '''
%% @end
-module(py_shared_dict).

-behaviour(gen_server).

-export([new/0, get/2, get/3, find/2, set/3, del/2, keys/1, destroy/1]).
%% for py_data_functions
-export([perform/2, is_dict/1]).
%% for py_port_flow_sup
-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([dict/0]).

-import(py_port_args, [bad/2]).

-opaque dict() :: {'$py_shared_dict', pid()}.
-type destroyed() :: {error, destroyed | py_port_error:reason()}.
-type found() :: {ok, term()} | {error, not_found}.
%% What the process is asked. `add': unless the key is there.
-type operation() ::
    {find, term()}
    | {set, term(), term()}
    | {add, term(), term()}
    | {update, #{term() => term()}}
    | {del, term()}
    | {take, term()}
    | {member, term()}
    | keys
    | items
    | size
    | clear.

-record(state, {owner :: reference(), table :: ets:tid()}).

%% @doc An empty one, which belongs to the caller.
-spec new() -> {ok, dict()} | {error, not_started}.
new() ->
    case py_port_flow_sup:start_flow(?MODULE, self()) of
        {ok, Pid} -> {ok, {'$py_shared_dict', Pid}};
        {error, _} = Error -> Error
    end.

%% @equiv get(Dict, Key, undefined)
-spec get(dict(), term()) -> term() | destroyed().
get(Dict, Key) ->
    get(Dict, Key, undefined).

%% @doc The value under the key, or the default.
-spec get(dict(), term(), Default) -> term() | Default | destroyed().
get(Dict, Key, Default) ->
    case find(Dict, Key) of
        {ok, Value} -> Value;
        {error, not_found} -> Default;
        {error, _} = Error -> Error
    end.

%% @doc The value under the key, told apart from everything else.
-spec find(dict(), term()) -> found() | destroyed().
find(Dict, Key) ->
    run(Dict, {find, Key}).

%% @doc Any term under any key.
-spec set(dict(), term(), term()) -> ok | destroyed().
set(Dict, Key, Value) ->
    run(Dict, {set, Key, Value}).

%% @doc Ok also when there is no such key.
-spec del(dict(), term()) -> ok | destroyed().
del(Dict, Key) ->
    case run(Dict, {del, Key}) of
        Existed when is_boolean(Existed) -> ok;
        {error, _} = Error -> Error
    end.

%% @doc All keys, in no order.
-spec keys(dict()) -> [term()] | destroyed().
keys(Dict) ->
    run(Dict, keys).

%% @doc Ends it for everybody. Ok also when it has ended.
-spec destroy(dict()) -> ok | {error, py_port_error:reason()}.
destroy(Dict) ->
    py_port_call:guarded(fun() -> gen_server:cast(pid(Dict), stop) end).

-spec run(dict(), operation()) -> term().
run(Dict, Operation) ->
    py_port_call:guarded(fun() -> perform(pid(Dict), Operation) end).

-spec pid(term()) -> pid().
pid({'$py_shared_dict', Pid}) when is_pid(Pid) -> Pid;
pid(_) -> bad(dict, "is not a shared dictionary").

%% @private
-spec perform(pid(), operation()) -> term() | {error, destroyed}.
perform(Pid, Operation) ->
    try
        gen_server:call(Pid, Operation, infinity)
    catch
        exit:_ -> {error, destroyed}
    end.

%% @doc For a pid that comes from Python, before anything is sent to it. Only nodes we are connected
%% to are asked.
-spec is_dict(pid()) -> boolean().
is_dict(Pid) when node(Pid) =:= node() ->
    proc_lib:translate_initial_call(Pid) =:= {?MODULE, init, 1};
is_dict(Pid) ->
    try
        lists:member(node(Pid), nodes()) andalso erpc:call(node(Pid), ?MODULE, is_dict, [Pid])
    catch
        error:{erpc, _} -> false;
        error:{exception, undef, _} -> false
    end.

%% The process -------------------------------------------------------------------------------------

-spec start_link(pid()) -> gen_server:start_ret().
start_link(Owner) ->
    gen_server:start_link(?MODULE, Owner, []).

-spec init(pid()) -> {ok, #state{}}.
init(Owner) ->
    {ok, #state{owner = erlang:monitor(process, Owner), table = ets:new(?MODULE, [private])}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(Operation, _From, #state{table = Table} = S) ->
    {reply, operate(Operation, Table), S}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_cast(stop, S) ->
    {stop, normal, S};
handle_cast(_, S) ->
    {noreply, S}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_info({'DOWN', Owner, process, _, _}, #state{owner = Owner} = S) ->
    {stop, normal, S};
handle_info(_, S) ->
    {noreply, S}.

%% Whoever knows our pid can ask, and no question may be the end of what others have stored.
-spec operate(operation() | term(), ets:tid()) -> term().
operate({find, Key}, Table) ->
    found(ets:lookup(Table, Key));
operate({set, Key, Value}, Table) ->
    true = ets:insert(Table, {Key, Value}),
    ok;
operate({add, Key, Value}, Table) ->
    _ = ets:insert_new(Table, {Key, Value}),
    found(ets:lookup(Table, Key));
operate({update, Pairs}, Table) when is_map(Pairs) ->
    true = ets:insert(Table, maps:to_list(Pairs)),
    ok;
operate({del, Key}, Table) ->
    ets:take(Table, Key) =/= [];
operate({take, Key}, Table) ->
    found(ets:take(Table, Key));
operate({member, Key}, Table) ->
    ets:member(Table, Key);
operate(keys, Table) ->
    ets:select(Table, [{{'$1', '_'}, [], ['$1']}]);
operate(items, Table) ->
    ets:tab2list(Table);
operate(size, Table) ->
    ets:info(Table, size);
operate(clear, Table) ->
    true = ets:delete_all_objects(Table),
    ok;
operate(_, _) ->
    {error, bad_operation}.

-spec found([{term(), term()}]) -> found().
found([{_, Value}]) -> {ok, Value};
found([]) -> {error, not_found}.
