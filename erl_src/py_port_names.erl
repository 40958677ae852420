%% @doc Names of contexts, the way gen_server takes them: local, global and `{via, Module, Name}'.
%% @end
-module(py_port_names).

-compile({no_auto_import, [register/2, unregister/1, whereis/1]}).

-export([register/1, unregister/1, whereis/1]).
-export_type([context/0]).

-type context() ::
    pid() | atom() | {global, term()} | {via, module(), term()} | {atom(), node()}.

%% @doc Registers the calling process.
-spec register(none | py_port_options:name()) -> true | {false, pid() | undefined}.
register(none) ->
    true;
register({local, Name}) ->
    try erlang:register(Name, self()) of
        true -> true
    catch
        error:_ -> {false, erlang:whereis(Name)}
    end;
register({global, Name}) ->
    case global:register_name(Name, self()) of
        yes -> true;
        no -> {false, global:whereis_name(Name)}
    end;
register({via, Module, Name}) ->
    case Module:register_name(Name, self()) of
        yes -> true;
        no -> {false, Module:whereis_name(Name)}
    end.

-spec unregister(none | py_port_options:name()) -> ok.
unregister(none) ->
    ok;
unregister({local, Name}) ->
    %% Somebody may have taken the name from us.
    case erlang:whereis(Name) =:= self() andalso erlang:unregister(Name) of
        _ -> ok
    end;
unregister({global, Name}) ->
    _ = global:unregister_name(Name),
    ok;
unregister({via, Module, Name}) ->
    _ = Module:unregister_name(Name),
    ok.

%% @doc The process, or the node that knows it and the name it has there.
-spec whereis(term()) -> {local, pid()} | {remote, node(), pid() | atom()} | none | bad.
whereis(Pid) when is_pid(Pid), node(Pid) =:= node() -> {local, Pid};
whereis(Pid) when is_pid(Pid) -> {remote, node(Pid), Pid};
whereis({global, Name}) -> found(global:whereis_name(Name));
whereis({via, Module, Name}) when is_atom(Module) -> found(Module:whereis_name(Name));
whereis({Name, Node}) when is_atom(Name), Node =:= node() -> found(erlang:whereis(Name));
whereis({Name, Node}) when is_atom(Name), is_atom(Node) -> {remote, Node, Name};
whereis(Name) when is_atom(Name) -> found(erlang:whereis(Name));
whereis(_) -> bad.

-spec found(pid() | port() | undefined) -> {local, pid()} | {remote, node(), pid()} | none.
found(Pid) when is_pid(Pid), node(Pid) =:= node() -> {local, Pid};
found(Pid) when is_pid(Pid) -> {remote, node(Pid), Pid};
found(_) -> none.
