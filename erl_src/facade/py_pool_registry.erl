%% @doc Which modules and functions are served by which pool. Names mean the same as atoms, binaries and
%% strings.
%% @end
-module(py_pool_registry).

-include("py_pool.hrl").

-export([register/3, unregister/2, lookup/2, list/0, clear/0]).

%% @doc `'_'': all functions of the module that have no registration of their own.
-spec register(py_pool:name(), py_port:name(), py_port:name()) ->
    ok | {error, {bad_argument, atom(), binary()} | not_started}.
register(Pool, Module, Function) when is_atom(Pool) ->
    case {text(Module), function(Function)} of
        {error, _} -> bad(module, Module);
        {_, error} -> bad(function, Function);
        {M, F} -> insert({{M, F}, {Module, Function}, Pool})
    end;
register(Pool, _, _) ->
    bad(pool, Pool).

-spec insert(tuple()) -> ok | {error, not_started}.
insert(Row) ->
    try ets:insert(?REGISTRATIONS, Row) of
        true -> ok
    catch
        error:badarg -> {error, not_started}
    end.

-spec bad(atom(), term()) -> {error, {bad_argument, atom(), binary()}}.
bad(Which, What) ->
    {error, {bad_argument, Which, py_port_error:text(io_lib:format("~tp is no name", [What]))}}.

-spec unregister(py_port:name(), py_port:name()) -> ok.
unregister(Module, Function) ->
    try ets:delete(?REGISTRATIONS, {text(Module), function(Function)}) of
        true -> ok
    catch
        error:badarg -> ok
    end.

-spec lookup(py_port:name(), py_port:name()) -> py_pool:name().
lookup(Module, Function) ->
    case ets:info(?REGISTRATIONS, size) of
        N when is_integer(N), N > 0 ->
            M = text(Module),
            pool([{M, function(Function)}, {M, '_'}]);
        _ ->
            default
    end.

-spec pool([{binary() | error, binary() | error | '_'}]) -> py_pool:name().
pool([]) ->
    default;
pool([Key | Keys]) ->
    try ets:lookup_element(?REGISTRATIONS, Key, 3) of
        Pool -> Pool
    catch
        error:badarg -> pool(Keys)
    end.

-spec list() -> [{{py_port:name(), py_port:name()}, py_pool:name()}].
list() ->
    try
        [{Name, Pool} || {_, Name, Pool} <- lists:sort(ets:tab2list(?REGISTRATIONS))]
    catch
        error:badarg -> []
    end.

-spec clear() -> ok.
clear() ->
    try ets:delete_all_objects(?REGISTRATIONS) of
        true -> ok
    catch
        error:badarg -> ok
    end.

-spec function(term()) -> binary() | '_' | error.
function('_') -> '_';
function(Name) -> text(Name).

-spec text(term()) -> binary() | error.
text(Name) when is_atom(Name) -> atom_to_binary(Name);
text(Name) when is_binary(Name) -> Name;
text([_ | _] = Name) ->
    try unicode:characters_to_binary(Name) of
        Text when is_binary(Text) -> Text;
        _ -> error
    catch
        error:badarg -> error
    end;
text(_) -> error.
