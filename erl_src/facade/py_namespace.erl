%% @doc In which namespace of a context the façade's requests run.
%%
%% Under `{compat, '2.0'}' all processes share the context's `__main__'. Under `'4.1'' each process
%% has a namespace of its own in each context: it is made when the process first needs it, and the
%% context drops it when the process dies (see {@link py_port:new_env/1}).
%%
%% A process keeps its namespaces in its dictionary, under `py_namespace'. A context that was
%% replaced is another pid, so the new one gets a new namespace; those of contexts that are gone are
%% forgotten when the next one is made.
%%
%% Who does not want to wait for it has it made by a maker, a process that holds the namespace as long
%% as its owner lives, and makes casts in it in the order in which it is told to.
%% @end
-module(py_namespace).

-export([options/1, options/2, env/1, forget/1]).
%% for requests that are made by another process, or later
-export([lent/1, cast/2, told/1]).
-export_type([space/0, options/0]).

%% If the namespace cannot be had the reason is in its place, and becomes the outcome of the request:
%% it never runs in another one instead.
-type options() :: #{env => py_port:env() | {error, py_port:reason()}}.
%% The options for a context.
-type space() :: fun((py_port:context(), py_deadline:t()) -> options()).
-type made() :: {ok, py_port:env()} | {error, py_port:reason()}.
%% A namespace, or the maker that will know it.
-type known() :: #{pid() => py_port:env() | {maker, pid()}}.

-define(KEY, ?MODULE).

%% @equiv options(Ctx, none)
-spec options(py_port:context()) -> options().
options(Ctx) ->
    options(Ctx, none).

%% @doc What to merge into the options of a request to this context.
-spec options(py_port:context(), py_deadline:t()) -> options().
options(Ctx, Until) ->
    case py_settings:compat() of
        '2.0' -> #{};
        '4.1' -> in_place(env(Ctx, Until))
    end.

-spec in_place(made()) -> options().
in_place({ok, Env}) -> #{env => Env};
in_place({error, _} = Error) -> #{env => Error}.

%% @doc The namespace of the calling process in this context, whatever `compat' says.
-spec env(py_port:context()) -> made().
env(Ctx) ->
    env(Ctx, none).

-spec env(py_port:context(), py_deadline:t()) -> made().
env(Ctx, Until) ->
    case known() of
        #{Ctx := {maker, Maker}} -> kept(Ctx, made(Ctx, ask(Maker, Until), Until));
        #{Ctx := Env} -> {ok, Env};
        _ -> kept(Ctx, make(Ctx, Until))
    end.

%% A maker that could not make one has ended.
-spec made(py_port:context(), made() | gone, py_deadline:t()) -> made().
made(Ctx, gone, Until) -> make(Ctx, Until);
made(_, Made, _) -> Made.

%% @doc Drops it; the next request makes a new one.
-spec forget(pid()) -> ok.
forget(Ctx) ->
    case maps:take(Ctx, known()) of
        {{maker, Maker}, Rest} ->
            _ = put(?KEY, Rest),
            Maker ! forget,
            ok;
        {Env, Rest} ->
            _ = put(?KEY, Rest),
            _ = py_port:drop_env(Env),
            ok;
        error ->
            ok
    end.

-spec make(py_port:context(), py_deadline:t()) -> made().
make(Ctx, Until) ->
    Options = maps:merge(#{return => ref}, py_deadline:option(Until)),
    py_port_call:call(Ctx, 'erlang._namespaces', new, [], #{}, Options).

-spec kept(py_port:context(), made()) -> made().
kept(Ctx, {ok, Env} = Made) ->
    ok = keep(Ctx, Env),
    Made;
kept(_, {error, _} = Error) ->
    Error.

-spec keep(pid(), py_port:env() | {maker, pid()}) -> ok.
keep(Ctx, Known) ->
    Living = maps:filter(fun(Pid, _) -> may_live(Pid) end, known()),
    _ = put(?KEY, Living#{Ctx => Known}),
    ok.

-spec known() -> known().
known() ->
    case get(?KEY) of
        undefined -> #{};
        Known -> Known
    end.

%% Of another node it is not worth asking, but for whether the node is still there.
-spec may_live(pid()) -> boolean().
may_live(Pid) when node(Pid) =:= node() -> is_process_alive(Pid);
may_live(Pid) -> lists:member(node(Pid), nodes(connected)).

%% For others --------------------------------------------------------------------------------------

%% @doc The namespaces of the calling process, for a process that makes a request on its behalf, at that
%% place. One in a context that does not run yet is for that request alone.
-spec lent(py_context_router:place()) -> space().
lent(Place) ->
    case py_settings:compat() of
        '2.0' -> fun(_, _) -> #{} end;
        '4.1' -> lent_in(Place)
    end.

-spec lent_in(py_context_router:place()) -> space().
lent_in({open, Ctx, _}) ->
    lent_in({ok, Ctx});
lent_in({ok, Ctx}) when is_pid(Ctx) ->
    Mine = lend(Ctx),
    fun
        (C, Until) when C =:= Ctx -> in_place(borrowed(Mine, C, Until));
        (C, Until) -> in_place(make(C, Until))
    end;
lent_in(_) ->
    fun(Ctx, Until) -> in_place(make(Ctx, Until)) end.

%% Of an owner that has died nobody else will see what happens in another one.
-spec borrowed(py_port:env() | {maker, pid()}, pid(), py_deadline:t()) -> made().
borrowed({maker, Maker}, Ctx, Until) -> made(Ctx, ask(Maker, Until), Until);
borrowed(Env, _, _) -> {ok, Env}.

%% One whose maker has ended is made anew.
-spec lend(pid()) -> py_port:env() | {maker, pid()}.
lend(Ctx) ->
    case known() of
        #{Ctx := {maker, Pid} = Maker} ->
            case is_process_alive(Pid) of
                true -> Maker;
                false -> start_maker(Ctx)
            end;
        #{Ctx := Env} ->
            Env;
        _ ->
            start_maker(Ctx)
    end.

-spec start_maker(pid()) -> {maker, pid()}.
start_maker(Ctx) ->
    Owner = self(),
    Maker = {maker, spawn(fun() -> maker(Ctx, Owner) end)},
    ok = keep(Ctx, Maker),
    Maker.

-spec ask(pid(), py_deadline:t()) -> made() | gone.
ask(Maker, Until) ->
    case py_port_ask:ask(Maker, env, py_deadline:left(Until)) of
        left -> {error, timeout};
        Answer -> Answer
    end.

%% @doc A cast in the namespace of the calling process, after those before it.
-spec cast(py_port:context(), fun((options()) -> ok | {error, py_port:reason()})) ->
    ok | {error, py_port:reason()}.
cast(Ctx, Cast) when is_pid(Ctx) ->
    case py_settings:compat() =:= '4.1' andalso lend(Ctx) of
        false ->
            Cast(#{});
        {maker, Maker} ->
            Maker ! {cast, Cast},
            ok;
        Env ->
            Cast(#{env => Env})
    end;
cast(Ctx, Cast) ->
    Cast(options(Ctx)).

%% @doc To the log: nobody waits for a cast.
-spec told(ok | {error, term()}) -> ok.
told(ok) ->
    ok;
told({error, {worker_down, _}}) ->
    ok;
told({error, Reason}) ->
    logger:warning("a cast was not made: ~ts", [py_errors:format(Reason)], #{domain => [py_port]}).

%% The maker ---------------------------------------------------------------------------------------

-spec maker(pid(), pid()) -> ok.
maker(Ctx, Owner) ->
    _ = erlang:monitor(process, Owner),
    Handle = py_port_async:async_call(Ctx, 'erlang._namespaces', new, [], #{return => ref}),
    wait(Handle, Ctx).

%% Casts and questions wait in the mailbox, and so does the end of the owner: its casts are made first.
-spec wait(py_port_async:handle() | {error, term()}, pid()) -> ok.
wait({_, Ref, _, _} = Handle, Ctx) ->
    receive
        {py_port_reply, {_, Ref, _, _}, {ok, Env}} ->
            _ = erlang:monitor(process, Ctx),
            serve(Env);
        {py_port_reply, {_, Ref, _, _}, {error, _} = Error} ->
            refuse(Error);
        {'DOWN', Ref, process, _, Reason} ->
            refuse({error, {worker_down, py_port_call:down(Reason)}});
        {leave, Asked} ->
            ok = py_port_ask:answer(Asked, left),
            wait(Handle, Ctx)
    end;
wait({error, _} = Error, _) ->
    refuse(Error).

-spec serve(py_port:env()) -> ok.
serve(Env) ->
    receive
        {request, Ref, _, env} ->
            ok = py_port_ask:answer(Ref, {ok, Env}),
            serve(Env);
        {cast, Cast} ->
            ok = told(Cast(#{env => Env})),
            serve(Env);
        {leave, _} ->
            serve(Env);
        forget ->
            _ = py_port:drop_env(Env),
            ok;
        %% Of the owner, or of the context.
        {'DOWN', _, process, _, _} ->
            ok
    end.

-spec refuse({error, py_port:reason()}) -> ok.
refuse(Error) ->
    receive
        {request, Ref, _, env} ->
            ok = py_port_ask:answer(Ref, Error),
            refuse(Error);
        {cast, _} ->
            ok = told(Error),
            refuse(Error);
        _ ->
            refuse(Error)
    after 0 -> ok
    end.
