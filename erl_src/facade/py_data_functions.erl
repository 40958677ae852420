%% @doc What Python calls to reach shared state and shared dictionaries: functions that are there from
%% the start, called like those that are registered with `py_port:register_function/2,3'.
%%
%% So the option `functions' of a context says which of them it may call: without it all, with a list
%% those it names. `[state_get]' lets a context read the state and not change it; with `[]' it has
%% none. Shared dictionaries have one function for all operations, `shared_dict', because there the
%% handle is the grant: a context reaches only dictionaries that were passed to it (or all, where its
%% option `send_to' is `any').
%%
%% Terms from Python are not trusted: whatever has not the expected shape is refused by name.
%% @end
-module(py_data_functions).

-export([start_link/0]).
%% called from Python
-export([state_get/1, state_set/1, state_delete/1, state_keys/1, state_clear/1]).
-export([state_incr/1, state_decr/1, shared_dict/1]).

-define(NAMES, [
    state_get,
    state_set,
    state_delete,
    state_keys,
    state_clear,
    state_incr,
    state_decr,
    shared_dict
]).

%% @doc Provides them. There is no process behind them.
-spec start_link() -> ignore.
start_link() ->
    ok = py_port_callbacks:provide(maps:from_list([
        {atom_to_binary(Name), {module, ?MODULE, Name}}
     || Name <- ?NAMES
    ])),
    ignore.

%% State -------------------------------------------------------------------------------------------

%% @doc `[Key]': the value or `none'. `[Key, found]': a list of the value, `[]' without one.
-spec state_get([term()]) -> term().
state_get([Key]) ->
    case py_state:fetch(Key) of
        {ok, Value} -> Value;
        {error, not_found} -> none;
        {error, Reason} -> error(Reason)
    end;
state_get([Key, Found]) when Found =:= <<"found">>; Found =:= found ->
    case py_state:fetch(Key) of
        {ok, Value} -> [Value];
        {error, not_found} -> [];
        {error, Reason} -> error(Reason)
    end;
state_get(Args) ->
    wrong(state_get, Args).

%% @doc `none', or `{error, full}'.
-spec state_set([term()]) -> none | {error, full}.
state_set([Key, Value]) -> nothing(py_state:store(Key, Value));
state_set(Args) -> wrong(state_set, Args).

-spec state_delete([term()]) -> none.
state_delete([Key]) -> nothing(py_state:remove(Key));
state_delete(Args) -> wrong(state_delete, Args).

-spec state_keys([term()]) -> [term()].
state_keys([]) -> py_state:keys();
state_keys(Args) -> wrong(state_keys, Args).

-spec state_clear([term()]) -> none.
state_clear([]) -> nothing(py_state:clear());
state_clear(Args) -> wrong(state_clear, Args).

%% @doc The new value, `{error, not_an_integer}' or `{error, full}'.
-spec state_incr([term()]) -> integer() | {error, term()}.
state_incr([Key]) -> py_state:incr(Key);
state_incr([Key, Amount]) -> py_state:incr(Key, Amount);
state_incr(Args) -> wrong(state_incr, Args).

-spec state_decr([term()]) -> integer() | {error, term()}.
state_decr([Key]) -> py_state:decr(Key);
state_decr([Key, Amount]) -> py_state:decr(Key, Amount);
state_decr(Args) -> wrong(state_decr, Args).

-spec nothing(ok | {error, term()}) -> none | {error, term()}.
nothing(ok) -> none;
nothing({error, _} = Error) -> Error.

%% Shared dictionaries -----------------------------------------------------------------------------

%% @doc `[Operation, Pid | Args]': what the process of the dictionary answers, `{error, destroyed}' or
%% `{error, forbidden}'.
-spec shared_dict([term()]) -> term().
shared_dict([Name, Pid | Args] = All) when is_pid(Pid) ->
    case operation(Name, Args) of
        {ok, Operation} -> reach(Pid, Operation);
        error -> wrong(shared_dict, All)
    end;
shared_dict(Args) ->
    wrong(shared_dict, Args).

-spec reach(pid(), term()) -> term().
reach(Pid, Operation) ->
    case {may_reach(Pid), Operation} of
        {true, destroy} -> destroy(Pid);
        {true, _} -> perform(Pid, Operation);
        {false, _} -> {error, forbidden}
    end.

-spec perform(pid(), term()) -> term().
perform(Pid, Operation) ->
    case py_shared_dict:is_dict(Pid) of
        true -> py_shared_dict:perform(Pid, Operation);
        false -> {error, destroyed}
    end.

-spec destroy(pid()) -> ok.
destroy(Pid) ->
    case py_shared_dict:is_dict(Pid) of
        true -> gen_server:cast(Pid, stop);
        false -> ok
    end.

%% The context that asks is the one whose job this process is.
-spec may_reach(pid()) -> boolean().
may_reach(Pid) ->
    case py_port:caller() of
        #{context := Context} ->
            case py_port_registry:lookup(Context) of
                {ok, Ctx} -> py_port_reach:endpoint(Pid, Ctx) =:= ok;
                error -> false
            end;
        undefined ->
            false
    end.

%% Names come as text or as atoms, as the context's types say.
-spec operation(term(), [term()]) -> {ok, term()} | error.
operation(Name, Args) when is_atom(Name) -> operation(atom_to_binary(Name), Args);
operation(<<"find">>, [Key]) -> {ok, {find, Key}};
operation(<<"set">>, [Key, Value]) -> {ok, {set, Key, Value}};
operation(<<"add">>, [Key, Value]) -> {ok, {add, Key, Value}};
operation(<<"update">>, [Pairs]) when is_map(Pairs) -> {ok, {update, Pairs}};
operation(<<"del">>, [Key]) -> {ok, {del, Key}};
operation(<<"take">>, [Key]) -> {ok, {take, Key}};
operation(<<"member">>, [Key]) -> {ok, {member, Key}};
operation(<<"keys">>, []) -> {ok, keys};
operation(<<"items">>, []) -> {ok, items};
operation(<<"size">>, []) -> {ok, size};
operation(<<"clear">>, []) -> {ok, clear};
operation(<<"destroy">>, []) -> {ok, destroy};
operation(_, _) -> error.

-spec wrong(atom(), term()) -> no_return().
wrong(Name, Args) ->
    Text = io_lib:format("~s does not take these arguments: ~tP", [Name, Args, 8]),
    error({bad_request, py_port_error:text(Text)}).
