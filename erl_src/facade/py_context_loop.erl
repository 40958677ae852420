%% @doc Loops of contexts, as {@link py_context:start_loop/2} and {@link py_context:submit/5} have them.
%%
%% The loop of a context runs anyway, beside its calls. So "a loop" is here a process that knows what
%% was submitted, and whom to tell when it ends. Each submitted call has a process of its own, which is
%% the caller for the context; it ends with the process that submitted it.
%% @end
-module(py_context_loop).

-behaviour(gen_server).

-include("py_pool.hrl").

-export([start/2, stop/2, submit/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-type call() :: {py_port:name(), py_port:name(), [term()], map()}.

-record(s, {
    context :: pid(),
    owner :: pid(),
    %% the processes of the calls
    calls = #{} :: #{reference() => pid()},
    %% who stops it, and what is being waited for
    stopping = no :: no | {{pid(), reference()}, finish | cancel, timeout()}
}).

%% Starting and stopping ---------------------------------------------------------------------------

-spec start(py_port:context(), map()) -> ok | {error, term()}.
start(Context, Options) when is_map(Options) ->
    case {py_port_names:whereis(Context), maps:get(owner, Options, self())} of
        _ when map_size(Options) > 0, not is_map_key(owner, Options); map_size(Options) > 1 ->
            [Key | _] = maps:keys(maps:remove(owner, Options)),
            Why = io_lib:format("there is no option ~tp", [Key]),
            {error, {bad_argument, options, py_port_error:text(Why)}};
        {{local, Pid}, Owner} when is_pid(Owner) ->
            case py_port_registry:is_there(Pid) of
                true -> start_local(Pid, Owner);
                false -> py_errors:result({error, {worker_down, noproc}})
            end;
        {{remote, _, Pid}, Owner} when is_pid(Pid), is_pid(Owner) -> start_local(Pid, Owner);
        {_, Owner} when not is_pid(Owner) ->
            {error, {bad_argument, owner, <<"must be a pid">>}};
        _ ->
            py_errors:result({error, {worker_down, noproc}})
    end;
start(_, _) ->
    {error, {bad_argument, options, <<"must be a map">>}}.

-spec start_local(pid(), pid()) -> ok | {error, term()}.
start_local(Context, Owner) ->
    case gen_server:start(?MODULE, {Context, Owner}, []) of
        {ok, _} -> ok;
        ignore -> {error, loop_running};
        {error, _} = Error -> Error
    end.

-spec stop(py_port:context(), timeout()) ->
    ok | {error, no_loop | timeout | {bad_argument, grace, binary()}}.
stop(_, Grace) when Grace =/= infinity, not (is_integer(Grace) andalso Grace >= 0) ->
    {error, {bad_argument, grace, <<"must be milliseconds or infinity">>}};
stop(_, Grace) when is_integer(Grace), Grace > 16#ffffffff ->
    {error, {bad_argument, grace, <<"must be at most 16#ffffffff">>}};
stop(Context, Grace) ->
    case loop(Context) of
        {ok, Pid} ->
            Ref = erlang:monitor(process, Pid, [{alias, reply_demonitor}]),
            Pid ! {stop, {Pid, Ref}, Grace},
            receive
                {Ref, Result} -> Result;
                {'DOWN', Ref, process, _, _} -> {error, no_loop}
            end;
        none ->
            {error, no_loop}
    end.

-spec loop(py_port:context()) -> {ok, pid()} | none.
loop(Context) ->
    Pid =
        case py_port_names:whereis(Context) of
            {local, P} -> P;
            {remote, _, P} -> P;
            _ -> Context
        end,
    try
        {ok, ets:lookup_element(?LOOPS, Pid, 2)}
    catch
        error:badarg -> none
    end.

%% Submitting --------------------------------------------------------------------------------------

%% @doc The caller gets `{async_result, Ref, Result}', whatever becomes of the context.
-spec submit(py_port:context(), call()) -> {ok, reference()} | {error, term()}.
submit(Context, {_, _, Args, Kwargs} = Call) when is_list(Args), is_map(Kwargs) ->
    Caller = self(),
    Ref = erlang:make_ref(),
    Pid = spawn(fun() -> serve(Context, Call, Caller, Ref) end),
    _ = [Loop ! {call, Pid} || {ok, Loop} <- [loop(Context)]],
    {ok, Ref};
submit(_, {_, _, Args, _}) when not is_list(Args) ->
    {error, {bad_argument, args, <<"must be a list">>}};
submit(_, _) ->
    {error, {bad_argument, kwargs, <<"must be a map">>}}.

%% It has one more outcome than the call: `cancelled', when the loop is stopped. When this process ends
%% the context cancels the call.
-spec serve(py_port:context(), call(), pid(), reference()) -> ok.
serve(Context, {Module, Function, Args, Kwargs}, Caller, Ref) ->
    Down = erlang:monitor(process, Caller),
    Handle = py_port_async:async_call(Context, Module, Function, Args, #{kwargs => Kwargs}),
    await(Handle, Caller, Ref, Down).

-spec await(py_port_async:handle() | {error, term()}, pid(), reference(), reference()) -> ok.
await({error, _} = Error, Caller, Ref, _) ->
    tell(Caller, Ref, Error);
await(Handle, Caller, Ref, Down) ->
    Monitor = element(2, Handle),
    receive
        {py_port_reply, Handle, Outcome} ->
            tell(Caller, Ref, Outcome);
        {'DOWN', Monitor, process, _, Reason} ->
            tell(Caller, Ref, {error, {worker_down, Reason}});
        {'DOWN', Down, process, _, _} ->
            ok;
        cancel ->
            ok = py_port_async:cancel(Handle),
            await(Handle, Caller, Ref, Down)
    end.

-spec tell(pid(), reference(), {ok, term()} | {error, term()}) -> ok.
tell(Caller, Ref, Outcome) ->
    Caller ! {async_result, Ref, py_errors:result(Outcome)},
    ok.

%% The process of a loop ---------------------------------------------------------------------------

%% Only one for each context.
-spec init({pid(), pid()}) -> {ok, #s{}} | ignore.
init({Context, Owner}) ->
    case enter(Context) of
        true ->
            _ = erlang:monitor(process, Context),
            _ = erlang:monitor(process, Owner),
            {ok, #s{context = Context, owner = Owner}};
        false ->
            ignore
    end.

%% In the place of one that was killed, too.
-spec enter(pid()) -> boolean().
enter(Context) ->
    case ets:insert_new(?LOOPS, {Context, self()}) of
        true ->
            true;
        false ->
            case loop(Context) of
                {ok, Pid} -> not is_process_alive(Pid) andalso replace({Context, Pid});
                none -> enter(Context)
            end
    end.

-spec replace({pid(), pid()}) -> boolean().
replace({Context, _} = Row) ->
    true = ets:delete_object(?LOOPS, Row),
    enter(Context).

%% The table may have gone before: the application stops.
-spec leave(pid()) -> true.
leave(Context) ->
    try
        ets:delete_object(?LOOPS, {Context, self()})
    catch
        error:badarg -> true
    end.

-type next() :: {noreply, #s{}} | {stop, normal, #s{}}.

-spec handle_info(term(), #s{}) -> next().
handle_info({call, Pid}, #s{calls = Calls} = S) ->
    Ref = erlang:monitor(process, Pid),
    {noreply, S#s{calls = Calls#{Ref => Pid}}};
handle_info({'DOWN', Ref, process, _, _}, #s{calls = Calls} = S) when is_map_key(Ref, Calls) ->
    ended(S#s{calls = maps:remove(Ref, Calls)});
handle_info({'DOWN', _, process, Context, Reason}, #s{context = Context} = S) ->
    finish(ok, py_errors:result({error, {worker_down, py_port_call:down(Reason)}}), S);
handle_info({'DOWN', _, process, Owner, _}, #s{owner = Owner} = S) ->
    ok = cancel(S),
    {stop, normal, S};
handle_info({stop, From, Grace}, #s{stopping = no} = S) ->
    ended(wait(Grace, S#s{stopping = {From, finish, Grace}}));
handle_info({stop, From, _}, S) ->
    ok = answer({From, finish, 0}, {error, no_loop}),
    {noreply, S};
handle_info({grace, finish}, #s{stopping = {From, finish, Grace}} = S) ->
    ok = cancel(S),
    {noreply, wait(Grace, S#s{stopping = {From, cancel, Grace}})};
handle_info({grace, cancel}, S) ->
    finish({error, timeout}, ok, S);
handle_info(_, S) ->
    {noreply, S}.

-spec handle_call(term(), gen_server:from(), #s{}) -> next().
handle_call(_, _, S) ->
    {noreply, S}.

-spec handle_cast(term(), #s{}) -> next().
handle_cast(_, S) ->
    {noreply, S}.

-spec terminate(term(), #s{}) -> true.
terminate(_, #s{context = Context}) ->
    leave(Context).

-spec ended(#s{}) -> next().
ended(#s{calls = Calls, stopping = {_, _, _}} = S) when map_size(Calls) =:= 0 ->
    finish(ok, ok, S);
ended(S) ->
    {noreply, S}.

%% Whoever stopped it may start the next one at once.
-spec finish(ok | {error, timeout}, ok | {error, term()}, #s{}) -> {stop, normal, #s{}}.
finish(Answer, Result, #s{context = Context, owner = Owner, stopping = Stopping} = S) ->
    true = leave(Context),
    ok = answer(Stopping, Answer),
    Owner ! {py_loop_exit, Context, Result},
    {stop, normal, S}.

-spec wait(timeout(), #s{}) -> #s{}.
wait(infinity, S) ->
    S;
wait(Grace, #s{stopping = {_, What, _}} = S) ->
    _ = erlang:send_after(Grace, self(), {grace, What}),
    S.

-spec cancel(#s{}) -> ok.
cancel(#s{calls = Calls}) ->
    maps:foreach(fun(_, Pid) -> Pid ! cancel end, Calls).

-spec answer(no | {{pid(), reference()}, finish | cancel, timeout()}, ok | {error, term()}) -> ok.
answer(no, _) ->
    ok;
answer({{_, Ref}, _, _}, Result) ->
    Ref ! {Ref, Result},
    ok.
