%% @doc The caller's side of a request: everything here runs in the calling process.
%%
%% A request costs the owner one receive, one ets:take/2 and one send. So the caller encodes,
%% monitors the owner (the monitor is also the address of the answer), enters the request into the
%% context's table, writes to the port, waits and decodes. While the pipe is full, `port_command/2'
%% suspends the caller: that is the back-pressure. A caller that is suspended cannot notice that its
%% time is up; the owner's sweep does (see {@link py_port_context}).
%%
%% Invariant: a caller leaves with `{error, timeout}' only after it has marked its row, so the owner
%% either delivers the answer or stops the request, never neither.
%%
%% The process dictionary holds one entry, `{py_port_call, registered}': the row of the context in
%% which this process registered last. It saves two table accesses per call and is never more than a
%% cache: a row does not change while its context lives, and what belongs to a context that has
%% ended answers with badarg or 'DOWN'.
%%
%% What a function that Python called asks of Python says so in its header (`Parent') and has no
%% more time than that call: see {@link py_port_lineage}. A cast belongs to nobody.
%% @end
-module(py_port_call).

-include("py_port.hrl").
-include("py_port_wire.hrl").

-import(py_port_args, [how/2, name/2, args/1, kwargs/1, names_as_binaries/1, text/2, bad/2]).

-export([call/6, cast/6, eval/4, exec/4, call_method/6, getattr/4, to_term/2]).
-export([release/1, give_away/2]).
%% for py_port_control
-export([guarded/1, fail/1, find/1, find_any/1, is_overloaded/2, enter/2, gone/0, down/1, refused/3]).
%% for those who wait in another way: py_port_async, py_port_stream_reader, and py_port_courier
-export([request/5, own_env/2, submit/6, answer/3]).
%% for py_call, which has another context when there is no longer one
-export([attempt/1, call_unguarded/6, eval_unguarded/4, exec_unguarded/4]).
-export_type([options/0, ref/0]).

-type options() :: #{
    %% {ref, Pid}: for a caller on another node, who is to hold it
    timeout => timeout(),
    return => term | ref | {ref, pid()},
    trace => binary(),
    %% in the worker's pool of threads
    thread => boolean(),
    env => ref() | {error, py_port_error:reason()}
}.
-type ref() :: {'$py_ref', pid(), non_neg_integer(), non_neg_integer()}.
%% The callback that a request descends from (0: none), and the deadline that holds then.
-type lineage() :: {py_port_wire:id(), integer() | infinity}.
-type result() :: {ok, term()} | {error, py_port_error:reason()}.
-define(REGISTERED, {?MODULE, registered}).
%% Bytes of a request from which on they are counted: smaller ones are bounded by their number.
-define(LARGE, 16384).

%% Requests ----------------------------------------------------------------------------------------

-spec call(term(), term(), term(), term(), term(), term()) -> result().
call(Context, Module, Function, Args, Kwargs, Opts) ->
    guarded(fun() -> call_unguarded(Context, Module, Function, Args, Kwargs, Opts) end).

%% @doc Within {@link attempt/1}, as its two siblings.
-spec call_unguarded(term(), term(), term(), term(), term(), term()) -> result().
call_unguarded(Context, Module, Function, Args, Kwargs, Opts) ->
    case find(Context) of
        #ctx{} = C ->
            How = how(Opts, C),
            {Kind, Term, M, F} = request(Module, Function, Args, Kwargs, How),
            run(C, Kind, Term, M, F, How);
        {remote, Node, There} ->
            remote(Node, call, [There, Module, Function, Args, Kwargs], Opts)
    end.

%% @doc The kind of the request and its term, and what it is called in reports. A function of a
%% namespace is an attribute of the module that the namespace is, so it is called like a method.
-spec request(term(), term(), term(), term(), #how{}) ->
    {byte(), tuple(), atom() | binary(), atom() | binary()}.
request(Module, Function, Args, Kwargs, #how{thread = InThread, env = Env}) ->
    M = name(module, Module),
    F = name(function, Function),
    Where = where(M, Env),
    Checked = {Where, F, args(Args), kwargs(Kwargs)},
    case InThread of
        false when Where =:= M -> {?K_CALL, Checked, M, F};
        false -> {?K_METHOD, Checked, M, F};
        true -> {?K_CALL, {'erlang._threads', run, names_as_binaries(Checked), #{}}, M, F}
    end.

-spec where(atom() | binary(), none | ref()) -> atom() | binary() | ref().
where(Module, none) -> Module;
where('__main__', Env) -> Env;
where(<<"__main__">>, Env) -> Env;
where(Module, _) -> Module.

%% @doc A namespace is an object of one worker, like what any reference stands for.
-spec own_env(#how{}, #ctx{}) -> ok.
own_env(#how{env = none}, _) -> ok;
own_env(#how{env = Env}, C) -> own_ref(Env, C).

-spec eval(term(), term(), term(), term()) -> result().
eval(Context, Code, Locals, Opts) ->
    guarded(fun() -> eval_unguarded(Context, Code, Locals, Opts) end).

-spec eval_unguarded(term(), term(), term(), term()) -> result().
eval_unguarded(Context, Code, Locals, Opts) ->
    code(Context, {eval, ?K_EVAL, 0}, Code, Locals, Opts).

-spec exec(term(), term(), term(), term()) -> ok | {error, py_port_error:reason()}.
exec(Context, Code, Locals, Opts) ->
    guarded(fun() -> exec_unguarded(Context, Code, Locals, Opts) end).

-spec exec_unguarded(term(), term(), term(), term()) -> ok | {error, py_port_error:reason()}.
exec_unguarded(Context, Code, Locals, Opts) ->
    case code(Context, {exec, ?K_EXEC, ?F_NO_RESULT}, Code, Locals, Opts) of
        {ok, _} -> ok;
        Other -> Other
    end.

-spec code(term(), {eval | exec, byte(), byte()}, term(), term(), term()) -> result().
code(Context, {What, Kind, Flags}, Code, Locals, Opts) ->
    unguarded(Context, What, [Code, Locals], Opts, fun(C, How) ->
        is_map(Locals) orelse bad(locals, "must be a map of names to values"),
        Text = text(code, Code),
        is_result_kept(How) andalso What =:= exec andalso
            bad(return, "exec has no result to keep"),
        Wanted = How#how{flags = How#how.flags bor Flags},
        run(C, Kind, code_term(How, Text, Locals), What, What, Wanted)
    end).

-spec code_term(#how{}, binary(), map()) -> tuple().
code_term(#how{env = none}, Text, Locals) -> {Text, Locals};
code_term(#how{env = Env}, Text, Locals) -> {Env, Text, Locals}.

-spec is_result_kept(#how{}) -> boolean().
is_result_kept(#how{kind = Kind}) ->
    Kind =/= term.

-spec call_method(term(), term(), term(), term(), term(), term()) -> result().
call_method(Context, Ref, Name, Args, Kwargs, Opts) ->
    on_context(Context, call_method, [Ref, Name, Args, Kwargs], Opts, fun(C, How) ->
        ok = own_ref(Ref, C),
        N = name(name, Name),
        run(C, ?K_METHOD, {Ref, N, args(Args), kwargs(Kwargs)}, method, N, How)
    end).

-spec getattr(term(), term(), term(), term()) -> result().
getattr(Context, Ref, Name, Opts) ->
    on_context(Context, getattr, [Ref, Name], Opts, fun(C, How) ->
        ok = own_ref(Ref, C),
        N = name(name, Name),
        run(C, ?K_GETATTR, {Ref, N}, getattr, N, How)
    end).

%% `Here' makes the request of a context on this node; for another node it is the function with
%% these arguments that is called there. (call/6 does the same by itself: it is the hot path.)
-spec on_context(term(), atom(), [term()], term(), fun((#ctx{}, #how{}) -> result())) -> result().
on_context(Context, Function, Args, Opts, Here) ->
    guarded(fun() -> unguarded(Context, Function, Args, Opts, Here) end).

-spec unguarded(term(), atom(), [term()], term(), fun((#ctx{}, #how{}) -> result())) -> result().
unguarded(Context, Function, Args, Opts, Here) ->
    case find(Context) of
        #ctx{} = C -> Here(C, how(Opts, C));
        {remote, Node, There} -> remote(Node, Function, [There | Args], Opts)
    end.

-spec to_term(term(), term()) -> result().
to_term(Ref, Opts) ->
    guarded(fun() ->
        Owner = ref_owner(Ref),
        case find(Owner) of
            #ctx{} = C ->
                How = how(Opts, C),
                ok = own_ref(Ref, C),
                run(C, ?K_TO_TERM, {Ref}, to_term, none, How);
            {remote, Node, _} ->
                remote(Node, to_term, [Ref], Opts)
        end
    end).

%% @doc Ends in a warning in the log when Python raises.
-spec cast(term(), term(), term(), term(), term(), term()) -> ok | {error, py_port_error:reason()}.
cast(Context, Module, Function, Args, Kwargs, Opts) ->
    Result = guarded(fun() ->
        %% Said here also for a context on another node, from where nobody would tell us.
        Given = how(Opts, infinity),
        is_result_kept(Given) andalso bad(return, "a cast has no result to keep"),
        Request = request(Module, Function, Args, Kwargs, Given),
        case find(Context) of
            #ctx{} = C ->
                cast_to(C, Request, how(Opts, C));
            {remote, Node, There} ->
                erpc:cast(Node, ?MODULE, cast, [There, Module, Function, Args, Kwargs, Opts])
        end
    end),
    case Result of
        %% Nobody waits for a cast, so nobody hears that it was not sent.
        {error, {worker_down, _}} -> ok;
        _ -> Result
    end.

-spec cast_to(#ctx{}, {byte(), tuple(), term(), term()}, #how{}) -> ok.
cast_to(#ctx{counters = Counters} = C, {Kind, Term, M, F}, #how{timeout = Timeout, trace = Trace}) ->
    {Payload, Size} = payload(Term, C),
    ok = registered(C),
    Id = atomics:add_get(Counters, ?C_ID, 1),
    case is_overloaded(Id, C) orelse has_no_room(Size, C) of
        true ->
            dropped_cast(atomics:add_get(Counters, ?C_DROPPED, 1), C);
        false ->
            Deadline = deadline(Timeout),
            enter(C, #request{
                id = Id,
                alias = none,
                caller = self(),
                deadline = Deadline,
                kind = cast,
                bytes = counted(Size),
                module = M,
                function = F
            }) orelse gone(),
            Frame = frame(Kind, ?F_NO_RESULT, Id, {0, Deadline}, Trace, Payload),
            _ = write(C, Deadline, Frame),
            disown(C, Id)
    end.

%% A cast outlives its caster, but not one that dies while it is suspended on a full pipe: then the
%% cast has not been written, and nobody would ever answer its row.
-spec disown(#ctx{}, py_port_wire:id()) -> ok.
disown(#ctx{requests = Requests}, Id) ->
    try
        _ = ets:update_element(Requests, Id, {#request.caller, none}),
        ok
    catch
        error:badarg -> ok
    end.

%% The 1st, 2nd, 4th, 8th, ... is logged: a flood of casts does not become a flood in the log.
-spec dropped_cast(pos_integer(), #ctx{}) -> ok.
dropped_cast(N, #ctx{pid = Pid}) when N band (N - 1) =:= 0 ->
    logger:warning(
        "~b casts to ~p dropped: the context is overloaded", [N, Pid], #{domain => [py_port]}
    );
dropped_cast(_, _) ->
    ok.

%% The hot path ------------------------------------------------------------------------------------

-spec run(#ctx{}, byte(), term(), term(), term(), #how{}) -> result().
run(C, Code, Term, M, F, #how{timeout = Timeout, kind = Kind} = How) ->
    {#request{id = Id} = Row, Frame, Lineage} = prepare(C, Code, Term, {M, F}, Kind, How),
    %% Here, and not in a function of its own: so the compiler sees that nothing that was in the mailbox
    %% before can match, and however much there is costs nothing.
    Alias = erlang:monitor(process, C#ctx.pid, [{alias, reply_demonitor}]),
    ok = post(C, Row#request{alias = Alias}, Frame),
    receive
        {Alias, Tag, Answer} -> answer(Tag, Answer, C);
        {'DOWN', Alias, process, _, Reason} -> {error, {worker_down, down(Reason)}}
    after wait(Lineage, Timeout) ->
        #ctx{pid = Owner, requests = Requests} = C,
        %% A caller that was suspended while it wrote waits longer than it should: the sweep answers
        %% it in time.
        case expire(Requests, Id) of
            true ->
                true = erlang:demonitor(Alias, [flush]),
                Owner ! {expired, Id},
                {error, timeout};
            false ->
                %% The owner has taken the row: its message is on the way, or its end is.
                receive
                    {Alias, Tag, Answer} -> answer(Tag, Answer, C);
                    {'DOWN', Alias, process, _, Reason} -> {error, {worker_down, down(Reason)}}
                end
        end
    end.

%% A deadline that was inherited may be nearer than the timeout. It is a worker's word, and may lie
%% further away than `receive' can wait.
-spec wait(lineage(), timeout()) -> timeout().
wait({0, _}, Timeout) -> Timeout;
wait({_, infinity}, Timeout) -> Timeout;
wait({_, Deadline}, _) ->
    min(?MAX_TIMEOUT, max(0, (Deadline - os:perf_counter(nanosecond) + 999999) div 1000000)).

%% @doc What run/6 does before it waits. The monitor is the alias of the row: the answer, or the owner's
%% end, comes there.
-spec submit(#ctx{}, byte(), term(), {term(), term()}, Kind, #how{}) ->
    {py_port_wire:id(), reference(), lineage()}
when
    Kind :: term | {ref, pid()} | async | {async_ref, pid()}.
submit(#ctx{pid = Owner} = C, Code, Term, What, Kind, How) ->
    {#request{id = Id} = Row, Frame, Lineage} = prepare(C, Code, Term, What, Kind, How),
    Alias = erlang:monitor(process, Owner, [{alias, reply_demonitor}]),
    ok = post(C, Row#request{alias = Alias}, Frame),
    {Id, Alias, Lineage}.

-spec prepare(#ctx{}, byte(), term(), {term(), term()}, Kind, #how{}) -> {#request{}, iodata(), lineage()} when
    Kind :: term | {ref, pid()} | async | {async_ref, pid()}.
prepare(#ctx{counters = Counters} = C, Code, Term, {M, F}, Kind, How) ->
    #how{timeout = Timeout, flags = Flags} = How,
    Trace = py_port_lineage:trace(How#how.trace),
    {Payload, Size} = payload(Term, C),
    ok = registered(C),
    {_, Deadline} = Lineage = py_port_lineage:inherit(C, deadline(Timeout)),
    Id = atomics:add_get(Counters, ?C_ID, 1),
    (is_overloaded(Id, C) orelse has_no_room(Size, C)) andalso fail(overloaded),
    Row = #request{
        id = Id,
        alias = none,
        caller = self(),
        deadline = Deadline,
        kind = Kind,
        bytes = counted(Size),
        module = M,
        function = F
    },
    {Row, frame(Code, Flags, Id, Lineage, Trace, Payload), Lineage}.

-spec post(#ctx{}, #request{}, iodata()) -> ok.
post(C, #request{alias = Alias, deadline = Deadline} = Row, Frame) ->
    case enter(C, Row) of
        true ->
            _ = write(C, Deadline, Frame),
            ok;
        false ->
            true = erlang:demonitor(Alias, [flush]),
            gone()
    end.

-spec payload(term(), #ctx{}) -> {py_port_terms:encoded(), Bytes :: non_neg_integer()}.
payload(Term, #ctx{max_frame = Max} = C) ->
    Payload =
        try
            py_port_terms:encode(Term, C)
        catch
            error:badarg -> gone()
        end,
    case iolist_size(Payload) of
        Size when Size > Max -> fail({too_large, Size, Max});
        Size -> {Payload, Size}
    end.

%% One binary is cheaper to write than two, unless it is large.
-spec frame(byte(), byte(), py_port_wire:id(), lineage(), none | binary(), Payload) -> iodata() when
    Payload :: py_port_terms:encoded().
frame(Kind, Flags, Id, {Parent, infinity}, none, Payload) when is_binary(Payload) ->
    <<Kind, Flags, 0:16, Id:64, Parent:64, 0:64, Payload/binary>>;
frame(Kind, Flags, Id, {Parent, Deadline}, Trace, Payload) ->
    [py_port_wire:request(Kind, Flags, Id, Parent, Deadline, Trace) | Payload].

%% The counters are a cheap hint that never says too few; the size of the table is the truth.
-spec is_overloaded(py_port_wire:id(), #ctx{}) -> boolean().
is_overloaded(Id, #ctx{counters = Counters, max_pending = Max} = C) ->
    Id - atomics:get(Counters, ?C_DONE) > Max andalso is_full(C).

-spec is_full(#ctx{}) -> boolean().
is_full(#ctx{counters = Counters, requests = Requests, max_pending = Max}) ->
    case ets:info(Requests, size) of
        N when is_integer(N), N < Max ->
            false;
        N ->
            ok = atomics:add(Counters, ?C_DONE, 1),
            N =/= undefined orelse gone()
    end.

%% A worker reads whatever is sent: a cancel may lie behind it. So what it may be made to hold is bounded
%% here. One request more than fits is let through, or a large one never would be.
-spec has_no_room(non_neg_integer(), #ctx{}) -> boolean().
has_no_room(Size, _) when Size < ?LARGE ->
    false;
has_no_room(Size, #ctx{counters = Counters, max_pending_bytes = Max} = C) ->
    atomics:add_get(Counters, ?C_BYTES, Size) - Size >= Max andalso is_full_of_bytes(Size, C).

%% As in is_full/1.
-spec is_full_of_bytes(pos_integer(), #ctx{}) -> boolean().
is_full_of_bytes(Size, #ctx{counters = Counters, requests = Requests, max_pending_bytes = Max}) ->
    try py_port_requests:bytes(Requests) < Max of
        true ->
            false;
        false ->
            ok = atomics:sub(Counters, ?C_BYTES, Size),
            ok = atomics:add(Counters, ?C_DONE, 1),
            true
    catch
        error:badarg -> gone()
    end.

-spec counted(non_neg_integer()) -> non_neg_integer().
counted(Size) when Size < ?LARGE -> 0;
counted(Size) -> Size.

%% A process makes itself known before its first request, so that its death stops what it asked for.
-spec registered(#ctx{}) -> ok.
registered(#ctx{pid = Owner, callers = Callers} = C) ->
    case get(?REGISTERED) of
        #ctx{pid = Owner} ->
            ok;
        _ ->
            try
                ets:member(Callers, self()) orelse make_known(Owner, Callers)
            catch
                error:badarg -> gone()
            end,
            _ = put(?REGISTERED, C),
            ok
    end.

-spec make_known(pid(), ets:tid()) -> true.
make_known(Owner, Callers) ->
    Owner ! {register, self()},
    ets:insert(Callers, {self()}).

-spec enter(#ctx{}, #request{}) -> boolean().
enter(#ctx{requests = Requests}, Row) ->
    try
        ets:insert(Requests, Row)
    catch
        %% The context has ended.
        error:badarg -> false
    end.

-spec expire(ets:tid(), py_port_wire:id()) -> boolean().
expire(Requests, Id) ->
    try
        ets:update_counter(Requests, Id, {#request.state, 1}) > 0
    catch
        error:badarg -> false
    end.

%% May suspend the caller for as long as the pipe is full. `badarg': the port is closed; the owner's
%% answer or end comes.
-spec write(#ctx{}, integer() | infinity, iodata()) -> boolean().
write(#ctx{port = Port}, infinity, Frame) ->
    port_write(Port, Frame);
write(#ctx{port = Port, counters = Counters, pid = Owner}, _, Frame) ->
    case atomics:get(Counters, ?C_SWEEP) of
        1 ->
            ok;
        0 ->
            case atomics:exchange(Counters, ?C_SWEEP, 1) of
                0 ->
                    Owner ! sweep,
                    ok;
                1 ->
                    ok
            end
    end,
    port_write(Port, Frame).

-spec port_write(port(), iodata()) -> boolean().
port_write(Port, Frame) ->
    try
        port_command(Port, Frame)
    catch
        error:badarg -> false
    end.

-spec deadline(timeout()) -> integer() | infinity.
deadline(infinity) -> infinity;
deadline(Ms) -> os:perf_counter(nanosecond) + Ms * 1000000.

%% Answers -----------------------------------------------------------------------------------------

-spec answer(ok | error | ref | ended | timeout | cancelled | down, term(), #ctx{}) -> result().
answer(ok, Payload, C) ->
    case py_port_terms:decode(Payload, C) of
        {ok, _} = Ok -> Ok;
        {error, Why} -> refused(py_port_terms:is_hostile(Why, C), Why, C)
    end;
answer(error, Payload, C) ->
    case py_port_terms:decode(Payload, C) of
        {ok, Reason} -> {error, py_port_error:worker_error(Reason)};
        {error, Why} -> refused(py_port_terms:is_hostile(Why, C), Why, C)
    end;
answer(ref, Handle, #ctx{pid = Owner, incarnation = Incarnation}) ->
    {ok, {'$py_ref', Owner, Incarnation, Handle}};
answer(ended, 2, _) ->
    {error, timeout};
answer(ended, _, _) ->
    %% Nobody cancelled it: the context was told to stop, and its grace was over for this coroutine.
    {error, {worker_down, stopped}};
answer(timeout, _, _) ->
    {error, timeout};
answer(cancelled, _, _) ->
    {error, cancelled};
answer(down, Reason, _) ->
    {error, {worker_down, Reason}}.

%% @doc The reply is an error of this caller; a hostile one is also the end of its worker, and it is
%% the caller who decodes and so who notices.
-spec refused(boolean(), py_port_terms:bad_reply(), #ctx{}) -> {error, py_port_error:reason()}.
refused(IsHostile, Why, #ctx{pid = Owner}) ->
    _ = IsHostile andalso (Owner ! {hostile, Why}),
    {error, {bad_reply, Why}}.

-spec down(term()) -> term().
down(normal) -> stopped;
down(shutdown) -> stopped;
down({shutdown, _}) -> stopped;
down(Reason) -> Reason.

%% Object references -------------------------------------------------------------------------------

-spec ref_owner(term()) -> pid().
ref_owner({'$py_ref', Owner, Incarnation, Handle}) when
    is_pid(Owner), is_integer(Incarnation), is_integer(Handle)
->
    Owner;
ref_owner(_) ->
    bad(ref, "is not an object reference").

-spec own_ref(term(), #ctx{}) -> ok.
own_ref(Ref, #ctx{pid = Pid, incarnation = Incarnation}) ->
    _ = ref_owner(Ref),
    case Ref of
        {_, Pid, Incarnation, _} -> ok;
        _ -> fail({bad_ref, <<"it belongs to another context">>})
    end.

%% @doc Also for a context that is gone, or on another node.
-spec release(term()) -> ok | {error, py_port_error:reason()}.
release(Ref) ->
    guarded(fun() ->
        Owner = ref_owner(Ref),
        Owner ! {release, element(4, Ref)},
        ok
    end).

-spec give_away(term(), term()) -> ok | {error, py_port_error:reason()}.
give_away(Ref, To) ->
    guarded(fun() ->
        Owner = ref_owner(Ref),
        is_pid(To) orelse bad(to, "must be a pid"),
        Alias = erlang:monitor(process, Owner, [{alias, reply_demonitor}]),
        Owner ! {give_away, Alias, element(4, Ref), To},
        receive
            {Alias, given, Answer} -> Answer;
            {'DOWN', Alias, process, _, Reason} -> {error, {worker_down, down(Reason)}}
        end
    end).

%% Finding the context -----------------------------------------------------------------------------

%% A context that is stopping takes no more requests, but for those that a running one needs to
%% finish.
-spec find(term()) -> #ctx{} | {remote, node(), pid() | atom()}.
find(Context) ->
    case find_any(Context) of
        #ctx{pid = Pid, counters = Counters} = C ->
            case atomics:get(Counters, ?C_DRAINING) of
                0 -> C;
                1 ->
                    _ = py_port_lineage:parent(Pid) =/= none orelse stopped(C),
                    C;
                _ -> stopped(C)
            end;
        Remote ->
            Remote
    end.

%% The row may be a cached one of a context that has ended since.
-spec stopped(#ctx{}) -> no_return().
stopped(#ctx{pid = Pid}) ->
    case py_port_registry:lookup(Pid) of
        {ok, _} -> unsent({worker_down, stopped});
        error -> gone()
    end.

-spec find_any(term()) -> #ctx{} | {remote, node(), pid() | atom()}.
find_any(Pid) when is_pid(Pid), node(Pid) =:= node() ->
    case get(?REGISTERED) of
        #ctx{pid = Pid} = Row ->
            Row;
        _ ->
            case py_port_registry:lookup(Pid) of
                {ok, Row} -> Row;
                error -> gone()
            end
    end;
find_any(Context) ->
    case py_port_names:whereis(Context) of
        {local, Pid} -> find_any(Pid);
        {remote, _, _} = Remote -> Remote;
        none -> gone();
        bad -> bad(context, "must be a pid or a registered name")
    end.

-spec remote(node(), atom(), [term()], term()) -> term().
remote(Node, Function, Args, Opts) ->
    Timeout =
        case Opts of
            #{timeout := T} when is_integer(T) -> T;
            _ -> infinity
        end,
    py_port_remote:apply(Node, {?MODULE, Function}, Args, Opts, Timeout).

%% Arguments ---------------------------------------------------------------------------------------

%% Everything that is wrong with a request is thrown from where it is noticed and caught here.
-spec guarded(fun(() -> Result)) -> Result | {error, py_port_error:reason()}.
guarded(Do) ->
    try
        Do()
    catch
        throw:{?MODULE, Reason} -> {error, Reason};
        throw:{?MODULE, unsent, Reason} -> {error, Reason}
    end.

%% @doc The same, and `unsent' when the context takes no requests (any more) and nothing of this one has
%% gone to it. Where one may have, the reason alone does not tell: `noproc' is also the `DOWN' of a
%% context that died before it took notice of the monitor.
-spec attempt(fun(() -> Result)) ->
    Result | {error, py_port_error:reason()} | {unsent, py_port_error:reason()}.
attempt(Do) ->
    try
        Do()
    catch
        throw:{?MODULE, Reason} -> {error, Reason};
        throw:{?MODULE, unsent, Reason} -> {unsent, Reason}
    end.

-spec fail(py_port_error:reason()) -> no_return().
fail(Reason) ->
    throw({?MODULE, Reason}).

%% The context has ended. Its row may have come from the cache, and its pid may be used again one
%% day.
-spec gone() -> no_return().
gone() ->
    _ = erase(?REGISTERED),
    unsent({worker_down, noproc}).

-spec unsent(py_port_error:reason()) -> no_return().
unsent(Reason) ->
    throw({?MODULE, unsent, Reason}).
