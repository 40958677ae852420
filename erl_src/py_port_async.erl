%% @doc Requests that nobody waits for yet: the answer comes as one message.
%%
%% Promise: for each handle its caller gets exactly one `{py_port_reply, Handle, {ok, Value} |
%% {error, Reason}}', whatever happens: an answer, a timeout, a cancel, the end of the worker. One
%% thing is told otherwise, because nobody is left to tell it: if the context's process itself is
%% killed, the message is `{'DOWN', element(2, Handle), process, _, Reason}', which await/1,2 and
%% gather/1 understand.
%%
%% The request is encoded and written in the calling process, as in {@link py_port_call}, and the
%% row in the context's table says that its answer goes through the {@link py_port_courier}. The
%% caller's death cancels it. For a context on another node, a process here makes the call and
%% stands for the context.
%% @end
-module(py_port_async).

-include("py_port.hrl").
-include("py_port_wire.hrl").

-export([async_call/4, async_call/5, await/1, await/2, cancel/1, gather/1]).
%% for py_port_stream
-export([send/6]).
%% for py_async
-export([is_sent/1]).
%% for py_port_context and py_port_courier
-export([handle/3, reply/2]).
%% the process that makes a call on another node
-export([call_and_exit/6]).
-export_type([handle/0, outcome/0, options/0]).

%% The reference is a monitor of the process and the address of the answer. `none': the outcome was
%% known at once.
-type handle() :: {'$py_async', reference(), pid() | none, non_neg_integer()}.
-type outcome() :: {ok, term()} | {error, py_port_error:reason()}.
-type options() :: #{
    kwargs => map(),
    timeout => timeout(),
    return => term | ref,
    trace => binary(),
    thread => boolean(),
    env => py_port_call:ref() | {error, py_port_error:reason()}
}.

%% @equiv async_call(Context, Module, Function, Args, #{})
-spec async_call(term(), term(), term(), term()) ->
    handle() | {error, {bad_argument, atom(), binary()}}.
async_call(Context, Module, Function, Args) ->
    async_call(Context, Module, Function, Args, #{}).

-spec async_call(term(), term(), term(), term(), term()) ->
    handle() | {error, {bad_argument, atom(), binary()}}.
async_call(Context, Module, Function, Args, Opts) ->
    py_port_call:guarded(fun() ->
        {Kwargs, Rest} = kwargs(Opts),
        Found = find(Context),
        How = py_port_args:how(Rest, default_timeout(Found)),
        {Code, Term, M, F} = py_port_call:request(Module, Function, Args, Kwargs, How),
        case Found of
            #ctx{} = C ->
                ok = py_port_call:own_env(How, C),
                send(C, Code, Term, M, F, How);
            {remote, _, _} -> stand_in(held_by(self(), Rest), {Context, M, F, Args, Kwargs});
            {gone, Reason} -> known(Reason)
        end
    end).

-spec kwargs(term()) -> {term(), term()}.
kwargs(#{kwargs := Kwargs} = Opts) -> {Kwargs, maps:remove(kwargs, Opts)};
kwargs(Opts) -> {#{}, Opts}.

%% That there is no such context is an outcome; that it could not be one is a bad argument.
-spec find(term()) -> #ctx{} | {remote, node(), pid() | atom()} | {gone, py_port_error:reason()}.
find(Context) ->
    case py_port_call:guarded(fun() -> py_port_call:find(Context) end) of
        {error, {bad_argument, _, _} = Reason} -> py_port_call:fail(Reason);
        {error, Reason} -> {gone, Reason};
        Found -> Found
    end.

-spec default_timeout(#ctx{} | tuple()) -> timeout().
default_timeout(#ctx{call_timeout = Timeout}) -> Timeout;
default_timeout(_) -> infinity.

%% Sending -----------------------------------------------------------------------------------------

%% @doc Any request to a context on this node.
-spec send(#ctx{}, byte(), term(), term(), term(), #how{}) -> handle().
send(C, Code, Term, M, F, How) ->
    case py_port_call:guarded(fun() -> send_guarded(C, Code, Term, M, F, How) end) of
        {error, Reason} -> known(Reason);
        Handle -> Handle
    end.

-spec send_guarded(#ctx{}, byte(), term(), term(), term(), #how{}) -> handle().
send_guarded(#ctx{pid = Owner, counters = Counters} = C, Code, Term, M, F, How) ->
    {Id, Alias, _} = py_port_call:submit(C, Code, Term, {M, F}, kind(How), How),
    Handle = handle(Alias, Owner, Id),
    %% The owner says 2 and then answers what is in the table. Who reads less has its row in there.
    case atomics:get(Counters, ?C_DRAINING) of
        2 -> settle(Handle);
        _ -> Handle
    end.

-spec kind(#how{}) -> async | {async_ref, pid()}.
kind(#how{kind = term}) -> async;
kind(#how{kind = {ref, Holder}}) -> {async_ref, Holder}.

%% The context has ended or is about to: our row may have been answered, or never will be. Whoever
%% takes the monitor away first decides.
-spec settle(handle()) -> handle().
settle({_, Alias, _, _} = Handle) ->
    case erlang:demonitor(Alias, [info]) of
        true ->
            tell_self(Handle, {worker_down, noproc});
        false ->
            receive
                {'DOWN', Alias, process, _, Reason} ->
                    tell_self(Handle, {worker_down, py_port_call:down(Reason)})
            after 0 -> Handle
            end
    end.

-spec tell_self(handle(), py_port_error:reason()) -> handle().
tell_self(Handle, Reason) ->
    self() ! {py_port_reply, Handle, {error, Reason}},
    Handle.

-spec known(py_port_error:reason()) -> handle().
known(Reason) ->
    tell_self({'$py_async', make_ref(), none, 0}, Reason).

-spec handle(reference(), pid(), py_port_wire:id()) -> handle().
handle(Alias, Owner, Id) ->
    {'$py_async', Alias, Owner, Id}.

%% @doc Whether anything of the request can have gone to a context.
-spec is_sent(handle() | {error, term()}) -> boolean().
is_sent({'$py_async', _, Owner, _}) -> Owner =/= none;
is_sent({error, _}) -> false.

%% @doc Of several for one handle only the first arrives: it takes the alias away.
-spec reply(handle(), outcome()) -> ok.
reply({_, Alias, _, _} = Handle, Outcome) ->
    Alias ! {py_port_reply, Handle, Outcome},
    ok.

%% Receiving ---------------------------------------------------------------------------------------

%% @equiv await(Handle, infinity)
-spec await(handle() | {error, term()}) -> outcome().
await(Handle) ->
    await(Handle, infinity).

%% @doc For the process that made the call, once. `{error, timeout}' may be the outcome of the
%% request, or of this wait: then the request goes on, and can be awaited again or cancelled.
-spec await(handle() | {error, term()}, timeout()) -> outcome().
await({error, _} = Error, _) ->
    Error;
await(Handle, Timeout) ->
    py_port_call:guarded(fun() ->
        Ref = ref(Handle),
        receive
            {py_port_reply, {_, Ref, _, _}, Outcome} -> Outcome;
            {'DOWN', Ref, process, _, Reason} -> down(Reason)
        after py_port_args:timeout(Timeout) -> {error, timeout}
        end
    end).

%% @doc The outcomes of all of them, in the order of the list. Takes what comes first, so it costs
%% the same whatever the order in which they end.
-spec gather([handle() | {error, term()}]) -> [outcome()] | {error, py_port_error:reason()}.
gather(Handles) ->
    py_port_call:guarded(fun() ->
        is_list(Handles) orelse py_port_args:bad(handles, "must be a list"),
        Refs = [known_or_ref(Handle) || Handle <- Handles],
        Outcomes = collect(maps:from_list([{Ref, []} || Ref <- Refs, is_reference(Ref)]), #{}),
        [outcome(Ref, Outcomes) || Ref <- Refs]
    end).

-spec known_or_ref(handle() | {error, term()}) -> reference() | {error, term()}.
known_or_ref({error, _} = Error) -> Error;
known_or_ref(Handle) -> ref(Handle).

-spec outcome(reference() | {error, term()}, #{reference() => outcome()}) -> outcome().
outcome(Ref, Outcomes) when is_reference(Ref) -> maps:get(Ref, Outcomes);
outcome(Error, _) -> Error.

-spec collect(#{reference() => []}, #{reference() => outcome()}) -> #{reference() => outcome()}.
collect(Missing, Got) when map_size(Missing) =:= 0 ->
    Got;
collect(Missing, Got) ->
    receive
        {py_port_reply, {_, Ref, _, _}, Outcome} when is_map_key(Ref, Missing) ->
            collect(maps:remove(Ref, Missing), Got#{Ref => Outcome});
        {'DOWN', Ref, process, _, Reason} when is_map_key(Ref, Missing) ->
            collect(maps:remove(Ref, Missing), Got#{Ref => down(Reason)})
    end.

-spec down(term()) -> {error, py_port_error:reason()}.
down(Reason) ->
    {error, {worker_down, py_port_call:down(Reason)}}.

%% @doc Stops the request. Its one outcome is then `{error, cancelled}', unless it had another
%% already. Any process that has the handle may cancel.
-spec cancel(handle() | {error, term()}) -> ok | {error, py_port_error:reason()}.
cancel({error, _}) ->
    ok;
cancel(Handle) ->
    py_port_call:guarded(fun() ->
        Ref = ref(Handle),
        case Handle of
            {_, _, none, _} ->
                ok;
            {_, _, Owner, Id} ->
                Owner ! {cancel, Ref, Id},
                ok
        end
    end).

-spec ref(term()) -> reference().
ref({'$py_async', Ref, Owner, Id}) when
    is_reference(Ref), is_pid(Owner) orelse Owner =:= none, is_integer(Id)
->
    Ref;
ref(_) ->
    py_port_args:bad(handle, "is not what async_call returned").

%% Contexts on other nodes -------------------------------------------------------------------------

%% The process is the owner that the handle names. It ends with the call, with its caller, or when
%% it is told to cancel, and then kills the process that makes the call; the context sees that end.
-spec stand_in(map(), {term(), term(), term(), [term()], map()}) -> handle().
stand_in(Opts, {Context, M, F, Args, Kwargs}) ->
    Caller = self(),
    Call = [Context, M, F, Args, Kwargs, Opts],
    {Pid, Ref} = spawn_opt(
        fun() ->
            receive
                {Caller, Alias} -> stand_in(Call, Caller, handle(Alias, self(), 0))
            end
        end,
        [{monitor, [{alias, reply_demonitor}]}]
    ),
    Pid ! {Caller, Ref},
    handle(Ref, Pid, 0).

-spec stand_in([term()], pid(), handle()) -> ok.
stand_in(Call, Caller, {_, Alias, _, _} = Handle) ->
    CallerDown = erlang:monitor(process, Caller),
    {Pid, CallDown} = spawn_monitor(?MODULE, call_and_exit, Call),
    receive
        {'DOWN', CallDown, process, Pid, {outcome, Outcome}} ->
            reply(Handle, Outcome);
        {'DOWN', CallDown, process, Pid, Reason} ->
            reply(Handle, {error, {worker_down, Reason}});
        {'DOWN', CallerDown, process, _, _} ->
            true = exit(Pid, kill),
            ok;
        {cancel, Alias, 0} ->
            true = exit(Pid, kill),
            reply(Handle, {error, cancelled})
    end.

%% @private
-spec call_and_exit(term(), term(), term(), term(), term(), term()) -> no_return().
call_and_exit(Context, M, F, Args, Kwargs, Opts) ->
    exit({outcome, py_port_call:call(Context, M, F, Args, Kwargs, Opts)}).

%% An object is to live as long as the process that asked for it, not as long as its stand-in.
-spec held_by(pid(), map()) -> map().
held_by(Holder, #{return := ref} = Opts) -> Opts#{return := {ref, Holder}};
held_by(_, Opts) -> Opts.
