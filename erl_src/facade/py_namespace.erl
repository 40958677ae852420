%% @doc In which namespace of a context the façade's requests run.
%%
%% Under `{compat, '2.0'}' all processes share the context's `__main__'. Under `'4.1'' each process
%% has a namespace of its own in each context: it is made when the process first needs it, and the
%% context drops it when the process dies (see {@link py_port:new_env/1}).
%%
%% A process keeps its namespaces in its dictionary, under `py_namespace'. A context that was
%% replaced is another pid, so the new one gets a new namespace; those of contexts that are gone are
%% forgotten when the next one is made.
%% @end
-module(py_namespace).

-export([options/1, env/1, forget/1]).

-define(KEY, ?MODULE).

%% @doc What to merge into the options of a request to this context. If the namespace cannot be had
%% the reason is in its place, and becomes the outcome of the request: it never runs in another one
%% instead.
-spec options(pid()) -> #{env => py_port:env() | {error, py_port:reason()}}.
options(Ctx) ->
    case py_settings:compat() of
        '2.0' -> #{};
        '4.1' -> #{env => in_place(env(Ctx))}
    end.

-spec in_place({ok, py_port:env()} | {error, py_port:reason()}) ->
    py_port:env() | {error, py_port:reason()}.
in_place({ok, Env}) -> Env;
in_place({error, _} = Error) -> Error.

%% @doc The namespace of the calling process in this context, whatever `compat' says.
-spec env(pid()) -> {ok, py_port:env()} | {error, py_port:reason()}.
env(Ctx) ->
    case get(?KEY) of
        #{Ctx := Env} -> {ok, Env};
        _ -> make(Ctx)
    end.

%% @doc Drops it; the next request makes a new one.
-spec forget(pid()) -> ok.
forget(Ctx) ->
    case known() of
        #{Ctx := Env} = Known ->
            _ = put(?KEY, maps:remove(Ctx, Known)),
            _ = py_port:drop_env(Env),
            ok;
        #{} ->
            ok
    end.

-spec make(pid()) -> {ok, py_port:env()} | {error, py_port:reason()}.
make(Ctx) ->
    case py_port:new_env(Ctx) of
        {ok, Env} ->
            Living = maps:filter(fun(Pid, _) -> may_live(Pid) end, known()),
            _ = put(?KEY, Living#{Ctx => Env}),
            {ok, Env};
        {error, _} = Error ->
            Error
    end.

-spec known() -> #{pid() => py_port:env()}.
known() ->
    case get(?KEY) of
        undefined -> #{};
        Known -> Known
    end.

%% Of another node it is not worth asking, but for whether the node is still there.
-spec may_live(pid()) -> boolean().
may_live(Pid) when node(Pid) =:= node() -> is_process_alive(Pid);
may_live(Pid) -> lists:member(node(Pid), nodes(connected)).
