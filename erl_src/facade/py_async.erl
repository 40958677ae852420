%% @doc Calls of {@link py} whose answer comes as a message, and many calls at a time.
%%
%% Promise: for each reference its caller gets one message with the outcome, which {@link await/2}
%% understands in each of its forms:
%% <ul>
%% <li>`{py_response, Ref, Result}' for `spawn_call' and, with `compat' at `'2.0'', for `cast' and
%% `async_call';</li>
%% <li>`{async_result, Ref, Result}' for tasks of an event loop and, at `'4.1'', for
%% `async_call';</li>
%% <li>`{'DOWN', Ref, process, _, Reason}' if the process that makes the call was killed.</li>
%% </ul>
%%
%% The context and the namespace are those of the caller; the call is made by a process of its own, which
%% also waits for the context to start. What was spawned runs to its end, also when the caller has died.
%% A task is cancelled then, since nobody could get its outcome.
%% @end
-module(py_async).

-export([cast/1, spawn_call/1, async_call/1, task/3, run_async/2, await/2]).
-export([gather/2, parallel/2]).
-export_type([request/0]).

-include("py_pool.hrl").

%% What {@link py_event_loop:run_async/2} takes.
-type request() :: #{
    ref := term(),
    caller := pid(),
    module := py_port:name(),
    func := py_port:name(),
    args := [term()],
    kwargs => map()
}.
-type tag() :: py_response | async_result.
-type outcome() :: {ok, term()} | {error, py_errors:reason()}.
%% What such a process does: waits for nobody, or stops when the caller dies.
-type mode() :: run_on | cancel.

%% @doc A reference to await at `'2.0''; at `'4.1'' `ok', and what Python raises is logged.
-spec cast(py_forms:call()) -> reference() | ok | {error, py_errors:reason()}.
cast(Call) ->
    case py_settings:compat() of
        '2.0' -> spawn_call(Call);
        '4.1' -> py_call:cast(Call)
    end.

-spec spawn_call(py_forms:call()) -> reference().
spawn_call(Call) ->
    start(py_response, run_on, Call, #{}).

-spec async_call(py_forms:call()) -> reference().
async_call(Call) ->
    case py_settings:compat() of
        '2.0' -> task(Call, py_response, #{});
        '4.1' -> task(Call, async_result, #{})
    end.

%% @doc A call that is cancelled when its caller dies.
-spec task(py_forms:call(), tag(), map()) -> reference().
task(Call, Tag, Options) ->
    start(Tag, cancel, Call, Options).

%% @doc The outcome goes to the process, and has the reference, that the request names.
-spec run_async(py_target:target(), request()) -> ok | {error, py_errors:reason()}.
run_async(Target, #{ref := Ref, caller := Caller} = Request) when
    is_pid(Caller), is_map_key(module, Request), is_map_key(func, Request), is_map_key(args, Request),
    map_size(Request) =:= 5 orelse (map_size(Request) =:= 6 andalso is_map_key(kwargs, Request))
->
    #{module := M, func := F, args := Args} = Request,
    Call = {Target, M, F, Args, maps:get(kwargs, Request, #{})},
    Begun = py_call:begun(Call),
    _ = spawn(fun() ->
        Caller ! {async_result, Ref, py_errors:result(make(cancel, Caller, Begun, Call, #{}))}
    end),
    ok;
run_async(_, _) ->
    Why = <<"must be a map with ref, caller, module, func, args and kwargs, and nothing else">>,
    {error, {bad_argument, request, Why}}.

%% The reference is a monitor of the process and its way to answer, so that the end of either is
%% noticed: of the process by whoever awaits, of the caller by the process.
-spec start(tag(), mode(), py_forms:call(), map()) -> reference().
start(Tag, Mode, Call, Options) ->
    Caller = self(),
    Begun = py_call:begun(Call),
    {Pid, Ref} = spawn_opt(
        fun() ->
            receive
                {Caller, Alias} ->
                    Alias ! {Tag, Alias, py_errors:result(make(Mode, Caller, Begun, Call, Options))}
            end
        end,
        [{monitor, [{alias, reply_demonitor}]}]
    ),
    Pid ! {Caller, Ref},
    Ref.

-spec make(mode(), pid(), py_call:begun(), py_forms:call(), map()) -> {ok, term()} | {error, term()}.
make(Mode, Caller, Begun, Call, Options) ->
    py_call:carry_on(Begun, fun(Ctx, Namespace) ->
        made(Mode, Caller, Ctx, Call, maps:merge(Namespace, Options))
    end).

-spec made(mode(), pid(), py_port:context(), py_forms:call(), map()) ->
    {ok, term()} | {error, term()} | {unsent, term()}.
made(run_on, _, Ctx, {_, M, F, Args, Kwargs}, Options) ->
    py_port_call:attempt(fun() ->
        py_port_call:call_unguarded(Ctx, M, F, Args, Kwargs, Options)
    end);
made(cancel, Caller, Ctx, {_, M, F, Args, Kwargs}, Options) ->
    Down = erlang:monitor(process, Caller),
    case py_port:async_call(Ctx, M, F, Args, Options#{kwargs => Kwargs}) of
        {error, _} = Error ->
            Error;
        Handle ->
            receive
                {py_port_reply, Handle, Outcome} ->
                    unsent(Handle, Outcome);
                {'DOWN', Down, process, _, _} ->
                    ok = py_port:cancel(Handle),
                    {error, cancelled};
                %% Of the handle: the context's own process was killed.
                {'DOWN', _, process, _, Reason} ->
                    {error, {worker_down, py_port_call:down(Reason)}}
            end
    end.

%% A handle without an owner: the outcome was known before anything was sent.
-spec unsent(py_port:handle(), outcome()) -> outcome() | {unsent, term()}.
unsent(Handle, {error, {worker_down, _} = Reason} = Outcome) ->
    case py_port_async:is_sent(Handle) of
        true -> Outcome;
        false -> {unsent, Reason}
    end;
unsent(_, Outcome) ->
    Outcome.

%% @doc The outcome of that reference. After `{error, timeout}' of the wait the message still comes,
%% and can be awaited again.
-spec await(reference(), timeout()) -> outcome().
await(Ref, Timeout) when
    is_reference(Ref), (Timeout =:= infinity orelse (is_integer(Timeout) andalso Timeout >= 0))
->
    receive
        {py_response, Ref, Result} -> Result;
        {async_result, Ref, Result} -> Result;
        {py_error, Ref, Reason} -> {error, Reason};
        {'DOWN', Ref, process, _, Reason} -> {error, {context_died, Reason}}
    after Timeout -> {error, timeout}
    end;
await({error, _} = Error, _) ->
    Error;
await(Ref, _) when is_reference(Ref) ->
    {error, {bad_argument, timeout, <<"must be milliseconds or infinity">>}};
await(_, _) ->
    {error, {bad_argument, ref, <<"is no reference to await">>}}.

%% Many at a time ----------------------------------------------------------------------------------

%% @doc All in one context, where coroutines run at the same time. The timeout is for all of them
%% together. The number of a call that failed counts from 1.
-spec gather(term(), timeout()) ->
    {ok, [term()]}
    | {error, {gather_failed, [{pos_integer(), py_errors:reason()}]} | py_errors:reason()}.
gather(Calls, Timeout) ->
    all(Calls, fun here/1, Timeout, fun(Outcomes) ->
        Numbered = lists:enumerate(Outcomes),
        case [{N, Reason} || {N, {error, Reason}} <- Numbered] of
            [] -> {ok, [Value || {ok, Value} <- Outcomes]};
            Failed -> {error, {gather_failed, Failed}}
        end
    end).

%% @doc Each in the context of the pool that has the least to do, so that they really run at the
%% same time. When it returns all have ended. The first error in the order of the list is that of
%% all.
-spec parallel(term(), timeout()) -> {ok, [term()]} | {error, py_errors:reason()}.
parallel(Calls, Timeout) ->
    all(Calls, fun elsewhere/1, Timeout, fun(Outcomes) ->
        case lists:keyfind(error, 1, Outcomes) of
            false -> {ok, [Value || {ok, Value} <- Outcomes]};
            Error -> Error
        end
    end).

-type where() :: fun((py_forms:call()) -> py_context_router:place()).

-spec here(py_forms:call()) -> py_context_router:place().
here({Target, M, F, _, _}) ->
    py_target:place(Target, M, F).

-spec elsewhere(py_forms:call()) -> py_context_router:place().
elsewhere({router, M, F, _, _}) ->
    py_target:least_loaded(M, F).

-spec all(term(), where(), timeout(), fun(([outcome()]) -> Result)) ->
    Result | {error, py_errors:reason()}.
all(Calls, Where, Timeout, Collect) when length(Calls) >= 0 ->
    Items = [py_forms:item(Call) || Call <- Calls],
    case {lists:member(error, Items), py_deadline:given(Timeout, none)} of
        {true, _} ->
            {error, invalid_args};
        {false, {error, _} = Error} ->
            Error;
        {false, {ok, Until}} ->
            Outcomes = outcomes([Call || {ok, Call} <- Items], Where, Until, ?TRIES),
            Collect([py_errors:result(Outcome) || Outcome <- Outcomes])
    end;
all(_, _, _, _) ->
    {error, invalid_args}.

%% What has a context begins at once, so that it counts as work where the next one goes. The other
%% contexts start meanwhile, all at the same time.
-spec outcomes([py_forms:call()], where(), py_deadline:t(), pos_integer()) -> [outcome()].
outcomes(Calls, Where, Until, Attempts) ->
    Begun = [begin_one(Call, Where(Call), Until) || Call <- Calls],
    Sent = [sent(One, Until) || One <- Begun],
    Outcomes = py_port:gather([Handle || {_, Handle} <- Sent]),
    [
        again(Call, One, Outcome, Where, Until, Attempts)
     || {Call, One, Outcome} <- lists:zip3(Calls, Sent, Outcomes)
    ].

-type sent() :: {py_port:context() | none, py_port:handle() | {error, term()}}.

-spec begin_one(py_forms:call(), py_context_router:place(), py_deadline:t()) ->
    sent() | {later, py_forms:call(), py_context_router:place()}.
begin_one(Call, {later, _} = Place, _) -> {later, Call, Place};
begin_one(Call, Place, Until) -> send(Call, Place, Until).

-spec sent(sent() | {later, py_forms:call(), py_context_router:place()}, py_deadline:t()) -> sent().
sent({later, Call, Place}, Until) -> send(Call, Place, Until);
sent(Sent, _) -> Sent.

-spec send(py_forms:call(), py_context_router:place(), py_deadline:t()) -> sent().
send({_, M, F, Args, Kwargs} = Call, Place, Until) ->
    case py_call:prepared(Call, Place, #{kwargs => Kwargs}, Until) of
        {ok, Ctx, Options} -> {Ctx, py_port:async_call(Ctx, M, F, Args, Options)};
        {error, _} = Error -> {none, Error}
    end.

%% Its context had ended before anything was sent: its successor does it.
-spec again(py_forms:call(), sent(), outcome(), where(), py_deadline:t(), pos_integer()) -> outcome().
again(Call, {Ctx, Handle}, Outcome, Where, Until, Attempts) when Ctx =/= none, Attempts > 1 ->
    case unsent(Handle, Outcome) of
        {unsent, _} ->
            _ = py_pool:successor(Ctx, Until),
            [Next] = outcomes([Call], Where, Until, Attempts - 1),
            Next;
        _ ->
            Outcome
    end;
again(_, _, Outcome, _, _, _) ->
    Outcome.
