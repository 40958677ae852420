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
%% The context and the namespace are those of the caller; the call is made by a process of its own.
%% What was spawned runs to its end, also when the caller has died. A task is cancelled then, since
%% nobody could get its outcome.
%% @end
-module(py_async).

-export([cast/1, spawn_call/1, async_call/1, task/3, run_async/2, await/2]).
-export([gather/2, parallel/2]).
-export_type([request/0]).

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
    is_pid(Caller), is_map_key(module, Request), is_map_key(func, Request), is_map_key(args, Request)
->
    #{module := M, func := F, args := Args} = Request,
    Call = {Target, M, F, Args, maps:get(kwargs, Request, #{})},
    Prepared = py_call:prepared(Call, #{}),
    _ = spawn(fun() ->
        Caller ! {async_result, Ref, py_errors:result(make(cancel, Caller, Prepared, Call))}
    end),
    ok;
run_async(_, _) ->
    Why = <<"must be a map with ref, caller, module, func, args and kwargs">>,
    {error, {bad_argument, request, Why}}.

%% The reference is a monitor of the process and its way to answer, so that the end of either is
%% noticed: of the process by whoever awaits, of the caller by the process.
-spec start(tag(), mode(), py_forms:call(), map()) -> reference().
start(Tag, Mode, Call, Options) ->
    Caller = self(),
    Prepared = py_call:prepared(Call, Options),
    {Pid, Ref} = spawn_opt(
        fun() ->
            receive
                {Caller, Alias} ->
                    Alias ! {Tag, Alias, py_errors:result(make(Mode, Caller, Prepared, Call))}
            end
        end,
        [{monitor, [{alias, reply_demonitor}]}]
    ),
    Pid ! {Caller, Ref},
    Ref.

-spec make(mode(), pid(), prepared(), py_forms:call()) ->
    {ok, term()} | {error, term()}.
make(_, _, {error, _} = Error, _) ->
    Error;
make(run_on, _, {ok, Ctx, Options}, {_, M, F, Args, Kwargs}) ->
    py_port:call(Ctx, M, F, Args, Kwargs, Options);
make(cancel, Caller, {ok, Ctx, Options}, {_, M, F, Args, Kwargs}) ->
    Down = erlang:monitor(process, Caller),
    case py_port:async_call(Ctx, M, F, Args, Options#{kwargs => Kwargs}) of
        {error, _} = Error ->
            Error;
        Handle ->
            receive
                {py_port_reply, Handle, Outcome} ->
                    Outcome;
                {'DOWN', Down, process, _, _} ->
                    ok = py_port:cancel(Handle),
                    {error, cancelled};
                %% Of the handle: the context's own process was killed.
                {'DOWN', _, process, _, Reason} ->
                    {error, {worker_down, py_port_call:down(Reason)}}
            end
    end.

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
    all(Calls, fun prepared_here/1, Timeout, fun(Outcomes) ->
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
    all(Calls, fun prepared_elsewhere/1, Timeout, fun(Outcomes) ->
        case lists:keyfind(error, 1, Outcomes) of
            false -> {ok, [Value || {ok, Value} <- Outcomes]};
            Error -> Error
        end
    end).

-type prepared() :: {ok, py_port:context(), map()} | {error, term()}.
-type prepare() :: fun((py_forms:call()) -> prepared()).

-spec all(term(), prepare(), timeout(), fun(([outcome()]) -> Result)) ->
    Result | {error, py_errors:reason()}.
all(Calls, Prepare, Timeout, Collect) when length(Calls) >= 0 ->
    Items = [py_forms:item(Call) || Call <- Calls],
    case lists:member(error, Items) of
        true ->
            {error, invalid_args};
        false ->
            Handles = [begin_one(Call, Prepare(Call), Timeout) || {ok, Call} <- Items],
            Collect([py_errors:result(Outcome) || Outcome <- py_port:gather(Handles)])
    end;
all(_, _, _, _) ->
    {error, invalid_args}.

-spec begin_one(py_forms:call(), prepared(), timeout()) -> py_port:handle() | {error, term()}.
begin_one({_, M, F, Args, Kwargs}, {ok, Ctx, Options}, Timeout) ->
    py_port:async_call(Ctx, M, F, Args, Options#{kwargs => Kwargs, timeout => Timeout});
begin_one(_, {error, _} = Error, _) ->
    Error.

-spec prepared_here(py_forms:call()) -> prepared().
prepared_here(Call) ->
    py_call:prepared(Call, #{}).

-spec prepared_elsewhere(py_forms:call()) -> prepared().
prepared_elsewhere({router, M, F, Args, Kwargs}) ->
    case py_target:least_loaded(M, F) of
        {ok, Ctx} -> py_call:prepared({{context, Ctx}, M, F, Args, Kwargs}, #{});
        {error, _} = Error -> Error
    end.
