%% @doc The owner of one worker: a special process (OTP design principles, `sys' and `proc_lib').
%%
%% Promise: each request gets exactly one outcome. Callers write their requests to the port
%% themselves (see {@link py_port_call}); the owner routes answers by header, watches callers,
%% deadlines and the worker, and decides when a worker must go. It never decodes a payload (the
%% process that does sends `{hostile, Why}' when no honest worker would have sent it), and never
%% writes to the port: {@link py_port_writer} does, so that a worker that does not read cannot
%% hold up the one process that could end it.
%%
%% It is no gen_server because it is hot: one receive, one ets:take/2 and one send per call.
%%
%% Invariant: a row leaves the table of requests only by {@link ets:take/2} here (and, when the worker
%% is gone, in {@link py_port_requests:answer_all/2}); from then on either its caller has been answered
%% or the id is in the ladder of requests that are being stopped ({@link py_port_ladder}).
%%
%% What Python asks for (CALLBACK) runs in a process of its own, which answers by itself; what the
%% owner does for it is in {@link py_port_jobs}. What the worker prints is counted in
%% {@link py_port_output}.
%%
%% The start is in `py_port_start', the end in `py_port_death', what info/1 shows in `py_port_info'.
%%
%% The main receive has no timeout: the worker's end arrives from the port, the registry's as
%% 'DOWN', everything that is due as a timer message.
%% @end
-module(py_port_context).

-include("py_port.hrl").
-include("py_port_wire.hrl").

-export([start_link/2, start_link/3]).
-export([init/4, system_continue/3, system_terminate/4, system_code_change/4]).
-export([system_get_state/1, format_status/2]).

-record(s, {
    port :: port(),
    requests :: ets:tid(),
    counters :: atomics:atomics_ref(),
    %% no frame of the worker may be larger
    frame_limit :: pos_integer(),
    %% bytes of large answers forwarded since the last collection
    forwarded = 0 :: non_neg_integer(),
    writer :: pid(),
    io :: pid(),
    %% delivers the answers of asynchronous requests
    courier :: pid(),
    parent :: pid(),
    registry :: reference(),
    callers :: ets:tid(),
    options :: py_port_options:options(),
    started :: py_port_start:started(),
    started_at :: integer(),
    output :: py_port_output:output(),
    %% processes we monitor: callers, and holders of references
    watched = #{} :: #{pid() => reference()},
    %% dead callers whose requests have not been looked for yet
    dead = #{} :: #{pid() => []},
    ladder :: py_port_ladder:ladder(),
    refs = py_port_refs:new() :: py_port_refs:refs(),
    jobs :: py_port_jobs:jobs(),
    %% the reason to exit with when the worker has stopped
    stopping = no :: no | {reason, term()},
    last_stop = none :: none | map(),
    %% what was asked for, the encoded reason, and when
    last_error = none :: none | {term(), binary(), integer()},
    %% an unexpected message has been logged
    puzzled = false :: boolean()
}).

%% A payload of this size or more is followed by a collection sooner or later: the owner's heap
%% hardly grows by the references to such binaries, so nothing else would free them.
-define(LARGE, 16384).
-define(COLLECT_AFTER, 524288).
-define(SWEEP_MS, 100).
%% An encoded error that is larger is not kept for info/1.
-define(MAX_LAST_ERROR, 65536).
%% Lines a worker may send before it is given more.
-define(CREDIT, 256).
%% For a worker whose owner is told to exit by its supervisor.
-define(SHUTDOWN_GRACE, 2000).

%% Who is told how the start went: the parent, which waits, or whoever has this alias.
-type starter() :: parent | reference().

%% @doc Options and resolved Python are validated.
-spec start_link(py_port_options:options(), py_port_python:resolved()) ->
    {ok, pid()} | {error, term()}.
start_link(Options, Resolved) ->
    start_link(Options, Resolved, parent).

%% @doc With an alias it returns as soon as the name is taken, and the alias gets `{Alias, Result}' when
%% the start is over: nothing, should the process end before.
-spec start_link(py_port_options:options(), py_port_python:resolved(), starter()) ->
    {ok, pid()} | {error, term()}.
start_link(Options, Resolved, Starter) ->
    proc_lib:start_link(?MODULE, init, [self(), Starter, Options, Resolved], infinity, [
        {message_queue_data, off_heap}
    ]).

%% Start -------------------------------------------------------------------------------------------

-spec init(pid(), starter(), py_port_options:options(), py_port_python:resolved()) -> no_return().
init(Parent, Starter, #{name := Name} = Options, Resolved) ->
    _ = process_flag(trap_exit, true),
    case py_port_names:register(Name) of
        true when Starter =:= parent ->
            start(Parent, Starter, Options, Resolved);
        true ->
            proc_lib:init_ack(Parent, {ok, self()}),
            start(Parent, Starter, Options, Resolved);
        {false, Pid} ->
            refuse(Parent, parent, {already_started, Pid})
    end.

-spec start(pid(), starter(), py_port_options:options(), py_port_python:resolved()) -> no_return().
start(Parent, Starter, #{name := Name} = Options, Resolved) ->
    Incarnation = py_port_registry:incarnation(),
    Start = #{
        options => Options,
        resolved => Resolved,
        incarnation => Incarnation,
        credit => ?CREDIT,
        parent => Parent
    },
    case py_port_start:run(Start) of
        {ok, Started} ->
            S = state(Parent, Options, Incarnation, Started),
            ok = tell(Parent, Starter, {ok, self()}),
            loop(S);
        {error, Reason} ->
            ok = py_port_names:unregister(Name),
            refuse(Parent, Starter, Reason);
        {parent_down, Reason} ->
            exit(Reason)
    end.

%% The link is taken away first: a start that failed is a value for the caller, and not a signal
%% that ends it. A parent that did not wait has the process and must hear of its end.
-spec refuse(pid(), starter(), term()) -> no_return().
refuse(Parent, Starter, Reason) ->
    _ = Starter =:= parent andalso unlink(Parent),
    ok = tell(Parent, Starter, {error, Reason}),
    exit(normal).

-spec tell(pid(), starter(), {ok, pid()} | {error, term()}) -> ok.
tell(Parent, parent, Result) ->
    proc_lib:init_ack(Parent, Result);
tell(_, Alias, Result) ->
    Alias ! {Alias, Result},
    ok.

-spec state(pid(), py_port_options:options(), non_neg_integer(), py_port_start:started()) -> #s{}.
state(Parent, Options, Incarnation, Started) ->
    #{port := Port, writer := Writer, io := Io, output := Output} = Started,
    #{max_pending := MaxPending, max_frame := MaxFrame, max_callbacks := MaxCallbacks} = Options,
    Row = py_port_registry:row(Options, Started, Incarnation),
    Registry = py_port_registry:enter(Row),
    #s{
        port = Port,
        requests = Row#ctx.requests,
        counters = Row#ctx.counters,
        frame_limit = MaxFrame + ?HEADER_SLACK,
        writer = Writer,
        io = Io,
        courier = py_port_courier:start_link(Row),
        parent = Parent,
        registry = erlang:monitor(process, Registry),
        callers = Row#ctx.callers,
        options = Options,
        started = Started,
        started_at = erlang:system_time(millisecond),
        output = Output,
        ladder = py_port_ladder:new(MaxPending),
        jobs = py_port_jobs:new(Row, MaxCallbacks)
    }.

%% Routing -----------------------------------------------------------------------------------------

-spec loop(#s{}) -> no_return().
loop(#s{port = Port} = S) ->
    receive
        {Port, {data, Frame}} -> frame(Frame, S);
        Message -> message(Message, S)
    end.

-spec frame(binary(), #s{}) -> no_return().
frame(Frame, #s{frame_limit = Limit} = S) when byte_size(Frame) > Limit ->
    broken({frame_too_large, byte_size(Frame)}, S);
frame(<<?K_OK, 0:24, Id:64, Payload/binary>>, S) ->
    answer(ok, Id, Payload, S);
frame(<<?K_ERROR, 0:24, Id:64, Payload/binary>>, S) ->
    answer(error, Id, Payload, S);
frame(<<?K_REF, 0:24, Id:64, Handle:64>>, S) ->
    answer(ref, Id, Handle, S);
frame(<<?K_ENDED, 0:24, Id:64, How>>, S) when How =:= ?ENDED_UNKNOWN; How =:= ?ENDED_DEFERRED ->
    %% Says something about a CANCEL, and is no answer to a request.
    loop(late({ended, How}, Id, S));
frame(<<?K_ENDED, 0:24, Id:64, How>>, S) when How < ?ENDED_UNKNOWN ->
    answer(ended, Id, How, S);
frame(<<?K_CALLBACK, 0:24, Id:64, Parent:64, Deadline:64, Payload/binary>>, S) ->
    callback(#callback{id = Id, parent = Parent, deadline = Deadline, payload = Payload}, S);
frame(
    <<?K_CALLBACK, ?F_TRACE, 0:16, Id:64, Parent:64, Deadline:64, Length:16, Trace:Length/binary,
        Payload/binary>>,
    S
) ->
    callback(
        #callback{
            id = Id,
            parent = Parent,
            deadline = Deadline,
            trace = py_port_lineage:received(Trace),
            payload = Payload
        },
        S
    );
frame(<<?K_CALLBACK_CANCEL, 0:24, Id:64>>, S) ->
    loop(jobs(py_port_jobs:cancel(Id, S#s.jobs), S));
frame(<<?K_CONTROL_REPLY, 0:24, Id:64, Payload/binary>>, S) ->
    answer(control, Id, Payload, S);
frame(<<?K_PONG, 0:24, Id:64>>, S) ->
    answer(control, Id, pong, S);
frame(<<?K_OUTPUT, Flags, 0:16, Dropped:64, Line/binary>>, S) when
    Flags bor ?F_OUTPUT =:= ?F_OUTPUT,
    (Flags band ?F_STDOUT) bsl 1 =/= Flags band ?F_STDERR
->
    case py_port_output:line(Flags, Dropped, Line, S#s.output) of
        {ok, Output} -> loop(S#s{output = Output});
        {broken, Why} -> broken(Why, S)
    end;
frame(<<Kind, _/binary>>, S) ->
    broken({unexpected_frame, py_port_wire:kind_name(Kind)}, S);
frame(<<>>, S) ->
    broken(empty_frame, S).

-spec answer(ok | error | ref | ended | control, py_port_wire:id(), term(), #s{}) -> no_return().
answer(Tag, Id, Payload, #s{requests = Requests, counters = Counters} = S) ->
    case ets:take(Requests, Id) of
        [#request{state = 0, kind = term, alias = Alias, bytes = Bytes}] when Tag =:= ok ->
            %% First, so that whoever has the answer finds the context without it.
            ok = done(Bytes, Counters),
            Alias ! {Alias, ok, Payload},
            forwarded(byte_size(Payload), S);
        [#request{kind = async, bytes = Bytes} = Row] when Tag =:= ok ->
            ok = done(Bytes, Counters),
            ok = reply(ok, Payload, Row, S),
            forwarded(byte_size(Payload), S);
        [#request{bytes = Bytes} = Row] ->
            ok = done(Bytes, Counters),
            loop(answer_other(Tag, Payload, Row, S));
        [] ->
            loop(late(what_came(Tag, Payload), Id, S))
    end.

-spec done(non_neg_integer(), atomics:atomics_ref()) -> ok.
done(0, Counters) ->
    atomics:add(Counters, ?C_DONE, 1);
done(Bytes, Counters) ->
    ok = atomics:sub(Counters, ?C_BYTES, Bytes),
    atomics:add(Counters, ?C_DONE, 1).

-spec forwarded(non_neg_integer(), #s{}) -> no_return().
forwarded(Size, S) when Size < ?LARGE ->
    loop(S);
forwarded(Size, #s{forwarded = Sum} = S) when Sum + Size < ?COLLECT_AFTER ->
    loop(S#s{forwarded = Sum + Size});
forwarded(_, S) ->
    true = garbage_collect(),
    loop(S#s{forwarded = 0}).

-spec answer_other(ok | error | ref | ended | control, term(), #request{}, #s{}) -> #s{}.
answer_other(control, Payload, #request{kind = control, alias = Alias}, S) ->
    Alias ! {Alias, control, Payload},
    S;
answer_other(Tag, _, #request{kind = Kind, id = Id}, S) when Tag =:= control; Kind =:= control ->
    broken({wrong_kind_of_answer, Id}, S);
answer_other(ref, Handle, #request{kind = {_, _}, state = State}, S) when State > 0 ->
    %% The caller has left; its `expired' is on the way and will find nothing to stop.
    release_frame(Handle, S);
answer_other(ref, Handle, #request{kind = {_, Holder}} = Row, #s{refs = Refs} = S) ->
    case py_port_refs:add(Handle, Holder, Refs) of
        {ok, Refs1} ->
            ok = reply(ref, Handle, Row, S),
            watch(Holder, S#s{refs = Refs1});
        error ->
            broken({handle_used_twice, Handle}, S)
    end;
answer_other(ref, _, #request{id = Id}, S) ->
    broken({reference_not_asked_for, Id}, S);
answer_other(ok, _, #request{kind = {_, _}, id = Id}, S) ->
    broken({reference_asked_for, Id}, S);
answer_other(_, _, #request{state = State}, S) when State > 0 ->
    S;
answer_other(error, Payload, #request{kind = cast, module = M, function = F} = Row, S) ->
    ok = py_port_io:cast_failed(S#s.io, M, F, Payload),
    remember_error(Payload, Row, S);
answer_other(_, _, #request{kind = cast}, S) ->
    S;
answer_other(error, Payload, Row, S) ->
    ok = reply(error, Payload, Row, S),
    remember_error(Payload, Row, S);
answer_other(Tag, Payload, Row, S) ->
    ok = reply(Tag, Payload, Row, S),
    S.

-spec reply(atom(), term(), #request{}, #s{}) -> ok.
reply(Tag, Payload, Row, #s{courier = Courier}) ->
    py_port_requests:reply(Tag, Payload, Row, Courier).

%% For info/1, where whoever asks decodes it.
-spec remember_error(binary(), #request{}, #s{}) -> #s{}.
remember_error(Payload, #request{module = M, function = F}, S) when
    byte_size(Payload) =< ?MAX_LAST_ERROR
->
    S#s{last_error = {{M, F}, Payload, erlang:system_time(millisecond)}};
remember_error(_, _, S) ->
    true = garbage_collect(),
    S.

%% Nobody waits for it any more.
-spec late(py_port_ladder:late(), py_port_wire:id(), #s{}) -> #s{}.
late(Late, Id, #s{ladder = Ladder, counters = Counters} = S) ->
    Facts = #{last_issued => atomics:get(Counters, ?C_ID), now => now_ms()},
    case py_port_ladder:late(Late, Id, Facts, Ladder) of
        {ok, Todo, Ladder1} -> lists:foldl(fun tidy/2, S#s{ladder = Ladder1}, Todo);
        {broken, Why} -> broken(Why, S)
    end.

-spec what_came(ok | error | ref | ended | control, term()) -> py_port_ladder:late().
what_came(ref, Handle) -> {ref, Handle};
what_came(ended, How) -> {ended, How};
what_came(_, _) -> value.

-spec tidy(py_port_ladder:todo(), #s{}) -> #s{}.
tidy({stopped, Outcome, Timer}, S) ->
    _ = erlang:cancel_timer(Timer),
    stopped(Outcome, S);
tidy({release, Handle}, S) ->
    release_frame(Handle, S).

-spec callback(#callback{}, #s{}) -> no_return().
callback(#callback{payload = Payload} = Callback, #s{jobs = Jobs} = S) ->
    forwarded(byte_size(Payload), jobs(py_port_jobs:start(Callback, Jobs), S)).

-spec jobs({ok, py_port_jobs:jobs()} | {broken, term()}, #s{}) -> #s{}.
jobs({ok, Jobs}, S) -> S#s{jobs = Jobs};
jobs({broken, Why}, S) -> broken(Why, S).

%% Everything else ---------------------------------------------------------------------------------

-spec message(term(), #s{}) -> no_return().
message({register, Pid}, S) ->
    loop(watch(Pid, S));
message({expired, Id}, S) ->
    loop(give_up(timeout, Id, S));
message({cancel, Alias, Id}, S) ->
    loop(cancel(Alias, Id, S));
message(sweep, S) ->
    _ = erlang:send_after(?SWEEP_MS, self(), sweep_tick),
    loop(S);
message(sweep_tick, S) ->
    loop(sweep(S));
message(reap, S) ->
    loop(reap(S));
message({overdue, Id}, S) ->
    overdue(Id, S);
message({credit, N}, #s{output = Output} = S) ->
    ok = control(?K_CREDIT, N, S),
    ok = py_port_writer:tell(S#s.writer, S#s.io, credited),
    loop(S#s{output = py_port_output:allow(N, Output)});
message({answered, Id}, S) ->
    loop(S#s{jobs = py_port_jobs:answered(Id, S#s.jobs)});
message({release, Handle}, #s{refs = Refs} = S) ->
    case py_port_refs:remove(Handle, Refs) of
        {ok, Refs1} -> loop(release_frame(Handle, S#s{refs = Refs1}));
        error -> loop(S)
    end;
message({give_away, Alias, Handle, To}, S) ->
    loop(give_away(Alias, Handle, To, S));
message({hostile, Why}, S) ->
    broken({hostile_reply, Why}, S);
message({info, Alias}, S) ->
    Alias ! {Alias, info, py_port_info:make(facts(S))},
    loop(S);
message({stop, Grace}, S) ->
    loop(begin_stop(Grace, normal, S));
message(stop_now, S) ->
    end_worker(stop, S);
message({Port, {exit_status, Status}}, #s{port = Port} = S) ->
    bury({exit_status, Status}, none, S);
message({'EXIT', Port, _}, #s{port = Port} = S) ->
    bury(closed, none, S);
message({{job, Id}, _, process, Pid, Reason}, S) ->
    loop(S#s{jobs = py_port_jobs:down(Id, Pid, Reason, S#s.jobs)});
message({'DOWN', Ref, process, _, _}, #s{registry = Ref} = S) ->
    %% The application stops, or the table of contexts is lost: nobody could reach us any more.
    loop(begin_stop(?SHUTDOWN_GRACE, shutdown, S));
message({'DOWN', _, process, Pid, _}, S) ->
    loop(caller_down(Pid, S));
message({'EXIT', Pid, Reason}, S) ->
    exit_signal(Pid, Reason, S);
message({system, From, Request}, #s{parent = Parent} = S) ->
    sys:handle_system_msg(Request, From, Parent, ?MODULE, [], S);
message(Message, S) ->
    loop(unexpected(Message, S)).

-spec exit_signal(pid() | port(), term(), #s{}) -> no_return().
exit_signal(Pid, Reason, #s{writer = Writer, io = Io, courier = Courier} = S) when
    Pid =:= Writer; Pid =:= Io; Pid =:= Courier
->
    end_worker({internal, Reason}, S);
exit_signal(Pid, normal, #s{parent = Parent} = S) when Pid =/= Parent ->
    loop(S);
exit_signal(_, Reason, S) ->
    loop(begin_stop(?SHUTDOWN_GRACE, Reason, S)).

-spec unexpected(term(), #s{}) -> #s{}.
unexpected(_, #s{puzzled = true} = S) ->
    S;
unexpected(Message, #s{io = Io} = S) ->
    ok = py_port_io:puzzled(Io, Message),
    S#s{puzzled = true}.

-spec control(byte(), non_neg_integer(), #s{}) -> ok.
control(Kind, Id, #s{writer = Writer}) ->
    py_port_writer:send(Writer, py_port_wire:short(Kind, Id)).

-spec release_frame(py_port_refs:handle(), #s{}) -> #s{}.
release_frame(Handle, S) ->
    ok = control(?K_RELEASE, Handle, S),
    S.

-spec give_away(reference(), py_port_refs:handle(), pid(), #s{}) -> #s{}.
give_away(Alias, Handle, To, #s{refs = Refs} = S) ->
    case py_port_refs:give(Handle, To, Refs) of
        {ok, Refs1} ->
            S1 = watch(To, S#s{refs = Refs1}),
            Alias ! {Alias, given, ok},
            S1;
        error ->
            Alias ! {Alias, given, {error, {bad_ref, <<"it was released">>}}},
            S
    end.

%% Callers -----------------------------------------------------------------------------------------

-spec watch(pid(), #s{}) -> #s{}.
watch(Pid, #s{watched = Watched} = S) ->
    case Watched of
        #{Pid := _} -> S;
        #{} -> S#s{watched = Watched#{Pid => erlang:monitor(process, Pid)}}
    end.

%% The search for its requests waits for the end of the mailbox: many callers that end together cost
%% one search.
-spec caller_down(pid(), #s{}) -> #s{}.
caller_down(Pid, #s{watched = Watched, dead = Dead, refs = Refs, callers = Callers} = S) ->
    true = ets:delete(Callers, Pid),
    {Handles, Refs1} = py_port_refs:drop_holder(Pid, Refs),
    S1 = lists:foldl(fun release_frame/2, S#s{refs = Refs1}, Handles),
    _ = map_size(Dead) > 0 orelse (self() ! reap),
    S1#s{watched = maps:remove(Pid, Watched), dead = Dead#{Pid => []}}.

-spec reap(#s{}) -> #s{}.
reap(#s{dead = Dead, requests = Requests} = S) ->
    Orphans = py_port_requests:of_callers(Dead, Requests),
    lists:foldl(fun(Id, Acc) -> give_up(caller_down, Id, Acc) end, S#s{dead = #{}}, Orphans).

%% Nobody waits for it any more: the caller has died, or has left with {error, timeout}.
-spec give_up(py_port_ladder:why(), py_port_wire:id(), #s{}) -> #s{}.
give_up(Why, Id, #s{requests = Requests} = S) ->
    case ets:take(Requests, Id) of
        [Row] -> stop_request(Why, Row, S);
        [] -> S
    end.

%% By whoever has the handle of an asynchronous request; the id alone could be made up.
-spec cancel(reference(), py_port_wire:id(), #s{}) -> #s{}.
cancel(Alias, Id, #s{requests = Requests} = S) ->
    case ets:lookup(Requests, Id) of
        [#request{alias = Alias} = Row] ->
            ok = reply(cancelled, none, Row, S),
            give_up(cancelled, Id, S);
        _ ->
            S
    end.

%% For callers that cannot run their own `after' because they are suspended on a busy port. Runs
%% while requests with a deadline are outstanding. A caller inserts its row and then looks at the
%% flag; we clear the flag and then look for rows: one of the two sees the other.
-spec sweep(#s{}) -> #s{}.
sweep(#s{requests = Requests, counters = Counters} = S) ->
    Due = py_port_requests:due(os:perf_counter(nanosecond), Requests),
    S1 = lists:foldl(fun sweep_one/2, S, Due),
    case py_port_requests:deadlines(Requests) of
        0 ->
            ok = atomics:put(Counters, ?C_SWEEP, 0),
            _ =
                py_port_requests:deadlines(Requests) > 0 andalso
                    atomics:compare_exchange(Counters, ?C_SWEEP, 0, 1) =:= ok andalso
                    (self() ! sweep),
            S1;
        _ ->
            _ = erlang:send_after(?SWEEP_MS, self(), sweep_tick),
            S1
    end.

-spec sweep_one(py_port_wire:id(), #s{}) -> #s{}.
sweep_one(Id, #s{requests = Requests} = S) ->
    case ets:take(Requests, Id) of
        [#request{state = State} = Row] ->
            _ = State =:= 0 andalso reply(timeout, none, Row, S),
            stop_request(timeout, Row, S);
        [] ->
            S
    end.

%% Stopping one request ----------------------------------------------------------------------------

-spec stop_request(py_port_ladder:why(), #request{}, #s{}) -> #s{}.
stop_request(Why, #request{id = Id, module = M, function = F, bytes = Bytes}, #s{ladder = Ladder} = S) ->
    #s{options = #{kill_after := KillAfter}, counters = Counters} = S,
    ok = done(Bytes, Counters),
    ok = control(?K_CANCEL, Id, S),
    Timer = erlang:send_after(py_port_ladder:quarter(KillAfter), self(), {overdue, Id}),
    S#s{ladder = py_port_ladder:add(Id, {Why, {M, F}}, now_ms(), Timer, Ladder)}.

-spec now_ms() -> integer().
now_ms() ->
    erlang:monotonic_time(millisecond).

-spec overdue(py_port_wire:id(), #s{}) -> no_return().
overdue(Id, #s{ladder = Ladder} = S) ->
    #s{requests = Requests, options = #{kill_after := KillAfter}} = S,
    Busy = py_port_requests:count(Requests) > 0,
    case py_port_ladder:overdue({Id, now_ms()}, Busy, Ladder) of
        again ->
            ok = py_port_writer:send(S#s.writer, py_port_wire:ask(Id)),
            Timer = erlang:send_after(py_port_ladder:quarter(KillAfter), self(), {overdue, Id}),
            loop(S#s{ladder = py_port_ladder:asked_again(Id, Timer, Busy, Ladder)});
        {Outcome, Why} -> end_worker(Why, stopped(Outcome, S));
        error -> loop(S)
    end.

-spec stopped(py_port_ladder:outcome(), #s{}) -> #s{}.
stopped(#{step := Step} = Outcome, #s{io = Io} = S) ->
    ok = py_port_io:note(Io, py_port_ladder:level(Step), Outcome#{event => request_stopped}),
    S#s{last_stop = Outcome}.

%% Stopping the context ----------------------------------------------------------------------------

-spec begin_stop(timeout(), term(), #s{}) -> #s{}.
begin_stop(Grace, Reason, #s{counters = Counters, stopping = Stopping} = S) ->
    ok = atomics:put(Counters, ?C_DRAINING, 1),
    case Grace of
        infinity ->
            ok = control(?K_STOP, ?MAX_TIMEOUT, S);
        Ms ->
            _ = erlang:send_after(Ms, self(), stop_now),
            ok = control(?K_STOP, Ms, S)
    end,
    case Stopping of
        no -> S#s{stopping = {reason, Reason}};
        _ -> S
    end.

%% The end -----------------------------------------------------------------------------------------

-spec broken(term(), #s{}) -> no_return().
broken(What, S) ->
    end_worker({protocol_error, What}, S).

-spec end_worker(term(), #s{}) -> no_return().
end_worker({protocol_error, _} = Cause, #s{started = #{body := Body}} = S) ->
    bury(py_port_death:kill(Body), Cause, S);
end_worker(Cause, #s{started = #{body := Body}, counters = Counters} = S) ->
    Token = atomics:add_get(Counters, ?C_ID, 1),
    bury(py_port_death:dump_and_kill(Body, Token), Cause, S).

-spec bury(py_port_death:exit_seen(), term(), #s{}) -> no_return().
bury(Seen, Cause, #s{started = #{body := Body}, requests = Requests, options = Options} = S) ->
    ok = py_port_jobs:end_all(S#s.jobs),
    #{report := Report, status := Status, late := Late} = py_port_death:collect(Seen, Body),
    ok = py_port_registry:leave(self()),
    Pm = py_port_post_mortem:make(Report, Late ++ py_port_output:tail(S#s.output), #{
        in_flight => py_port_requests:in_flight(Requests), cause => Cause
    }),
    {Answer, Exit} = py_port_post_mortem:verdict(S#s.stopping, Cause, Status, Pm),
    %% Unregistered before anybody hears of the end: who starts it again under its name must find
    %% the name free.
    ok = py_port_names:unregister(maps:get(name, Options)),
    ok = atomics:put(S#s.counters, ?C_DRAINING, 2),
    ok = py_port_requests:answer_all(Requests, Answer, S#s.courier),
    ok = py_port_courier:finish(S#s.courier),
    ok = py_port_death:last_words(Report, Body),
    exit(Exit).

%% What info/1 shows -------------------------------------------------------------------------------

-spec facts(#s{}) -> py_port_info:facts().
facts(#s{options = #{name := Name}} = S) ->
    #{
        name => Name,
        started => S#s.started,
        started_at => S#s.started_at,
        requests => S#s.requests,
        counters => S#s.counters,
        ladder => S#s.ladder,
        refs => S#s.refs,
        callers => map_size(S#s.watched),
        callbacks => py_port_jobs:size(S#s.jobs),
        last_stop => S#s.last_stop,
        last_error => S#s.last_error
    }.

%% sys ---------------------------------------------------------------------------------------------

-spec system_continue(pid(), [sys:debug_option()], #s{}) -> no_return().
system_continue(Parent, _Debug, S) ->
    loop(S#s{parent = Parent}).

-spec system_terminate(term(), pid(), [sys:debug_option()], #s{}) -> no_return().
system_terminate(Reason, _Parent, _Debug, S) ->
    loop(begin_stop(?SHUTDOWN_GRACE, Reason, S)).

-spec system_code_change(#s{}, module(), term(), term()) -> {ok, #s{}}.
system_code_change(S, _Module, _OldVsn, _Extra) ->
    {ok, S}.

-spec system_get_state(#s{}) -> {ok, map()}.
system_get_state(S) ->
    {ok, py_port_info:make(facts(S))}.

-spec format_status(normal | terminate, [term()]) -> term().
format_status(_, [_PDict, SysState, Parent, Debug, S]) ->
    py_port_info:format_status(SysState, Parent, Debug, facts(S)).
