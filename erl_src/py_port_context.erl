%% @doc The owner of one worker: a special process (OTP design principles, `sys' and `proc_lib').
%%
%% Promise: each request gets exactly one outcome. Callers write their requests to the port
%% themselves (see {@link py_port_call}); the owner routes answers by header, watches callers,
%% deadlines and the worker, and decides when a worker must go. It never decodes a payload, and
%% never writes to the port: {@link py_port_writer} does, so that a worker that does not read cannot
%% hold up the one process that could end it.
%%
%% It is no gen_server because it is the hot path: one receive, one ets:take/2 and one send per
%% call.
%%
%% Invariant: a row leaves the table of requests only by {@link ets:take/2} here; from then on
%% either its caller has been answered or the id is in the ladder of requests that are being
%% stopped.
%%
%% The main receive has no timeout: the worker's end arrives from the port, the registry's as
%% 'DOWN', everything that is due as a timer message.
%% @end
-module(py_port_context).

-include("py_port.hrl").
-include("py_port_wire.hrl").

-export([start_link/2]).
-export([init/3, system_continue/3, system_terminate/4, system_code_change/4]).
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
    parent :: pid(),
    registry :: reference(),
    callers :: ets:tid(),
    options :: py_port_options:options(),
    started :: py_port_start:started(),
    started_at :: integer(),
    %% OUTPUT frames the worker may still send
    credit :: non_neg_integer(),
    %% last lines of stderr, newest first
    tail :: [binary()],
    %% processes we monitor: callers, and holders of references
    watched = #{} :: #{pid() => reference()},
    %% dead callers whose requests have not been looked for yet
    dead = #{} :: #{pid() => []},
    ladder = py_port_ladder:new() :: py_port_ladder:ladder(),
    refs = py_port_refs:new() :: py_port_refs:refs(),
    %% the reason to exit with when the worker has stopped
    stopping = no :: no | {reason, term()},
    last_stop = none :: none | map(),
    %% what was asked for, the encoded reason, and when
    last_error = none :: none | {term(), binary(), integer()},
    %% an unexpected message has been logged
    puzzled = false :: boolean(),
    %% Requests whose CANCEL overtook them, which is possible while their caller is suspended on a
    %% full pipe: the worker did not know them then, and may still answer them.
    overtaken = #{} :: #{py_port_wire:id() => []},
    %% CANCEL frames that may still be answered with "unknown": no more than we sent
    cancels = 0 :: non_neg_integer()
}).

%% A payload of this size or more is followed by a collection sooner or later: the owner's heap
%% hardly grows by the references to such binaries, so nothing else would free them.
-define(LARGE, 16384).
-define(COLLECT_AFTER, 524288).
-define(SWEEP_MS, 100).
%% An encoded error that is larger is not kept for info/1.
-define(MAX_LAST_ERROR, 65536).
-define(TAIL, 20).
-define(MAX_OVERTAKEN, 4096).
%% Lines a worker may send before it is given more.
-define(CREDIT, 256).
%% For a worker whose owner is told to exit by its supervisor.
-define(SHUTDOWN_GRACE, 2000).

%% @doc Options and resolved Python are validated.
-spec start_link(py_port_options:options(), py_port_python:resolved()) ->
    {ok, pid()} | {error, term()}.
start_link(Options, Resolved) ->
    proc_lib:start_link(?MODULE, init, [self(), Options, Resolved], infinity, [
        {message_queue_data, off_heap}
    ]).

%% Start -------------------------------------------------------------------------------------------

-spec init(pid(), py_port_options:options(), py_port_python:resolved()) -> no_return().
init(Parent, #{name := Name} = Options, Resolved) ->
    _ = process_flag(trap_exit, true),
    case py_port_names:register(Name) of
        true -> start(Parent, Options, Resolved);
        {false, Pid} -> refuse(Parent, {already_started, Pid})
    end.

-spec start(pid(), py_port_options:options(), py_port_python:resolved()) -> no_return().
start(Parent, #{name := Name} = Options, Resolved) ->
    Incarnation = incarnation(),
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
            proc_lib:init_ack(Parent, {ok, self()}),
            loop(S);
        {error, Reason} ->
            ok = py_port_names:unregister(Name),
            refuse(Parent, Reason);
        {parent_down, Reason} ->
            exit(Reason)
    end.

%% The link is taken away first: a start that failed is a value for the caller, and not a signal
%% that ends it.
-spec refuse(pid(), term()) -> no_return().
refuse(Parent, Reason) ->
    true = unlink(Parent),
    proc_lib:init_ack(Parent, {error, Reason}),
    exit(normal).

%% Different for every worker of every node's life, and small enough for every JSON reader.
-spec incarnation() -> non_neg_integer().
incarnation() ->
    Seconds = erlang:system_time(second) band 16#ffffffff,
    (Seconds bsl 20) bor (erlang:unique_integer([positive, monotonic]) band 16#fffff).

-spec state(pid(), py_port_options:options(), non_neg_integer(), py_port_start:started()) -> #s{}.
state(Parent, Options, Incarnation, Started) ->
    #{port := Port, writer := Writer, io := Io, credit := Credit, tail := Tail} = Started,
    #{max_pending := MaxPending, max_frame := MaxFrame, call_timeout := Timeout} = Options,
    Counters = atomics:new(?C_SIZE, [{signed, false}]),
    ok = atomics:put(Counters, ?C_ID, ?FIRST_ID - 1),
    ok = atomics:put(Counters, ?C_DONE, ?FIRST_ID - 1),
    Requests = ets:new(py_port_requests, [
        public, {keypos, #request.id}, {write_concurrency, true}
    ]),
    Row = #ctx{
        pid = self(),
        port = Port,
        requests = Requests,
        callers = ets:new(py_port_callers, [public, {write_concurrency, true}]),
        funs = ets:new(py_port_funs, [public, {read_concurrency, true}]),
        counters = Counters,
        writer = Writer,
        incarnation = Incarnation,
        max_pending = MaxPending,
        max_frame = MaxFrame,
        call_timeout = Timeout
    },
    Registry = py_port_registry:enter(Row),
    #s{
        port = Port,
        requests = Requests,
        counters = Counters,
        frame_limit = MaxFrame + ?HEADER_SLACK,
        writer = Writer,
        io = Io,
        parent = Parent,
        registry = erlang:monitor(process, Registry),
        callers = Row#ctx.callers,
        options = Options,
        started = Started,
        started_at = erlang:system_time(millisecond),
        credit = Credit,
        tail = Tail
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
frame(<<?K_ENDED, 0:24, Id:64, ?ENDED_UNKNOWN>>, #s{cancels = Cancels} = S) when Cancels > 0 ->
    loop(answer_late(ended, Id, ?ENDED_UNKNOWN, S#s{cancels = Cancels - 1}));
frame(<<?K_ENDED, 0:24, Id:64, How>>, S) when How < ?ENDED_UNKNOWN ->
    answer(ended, Id, How, S);
frame(<<?K_CONTROL_REPLY, 0:24, Id:64, Payload/binary>>, S) ->
    answer(control, Id, Payload, S);
frame(<<?K_PONG, 0:24, Id:64>>, S) ->
    answer(control, Id, pong, S);
frame(<<?K_OUTPUT, Flags, 0:16, Dropped:64, Line/binary>>, S) when
    Flags bor ?F_OUTPUT =:= ?F_OUTPUT,
    (Flags band ?F_STDOUT) bsl 1 =/= Flags band ?F_STDERR
->
    loop(output(Flags, Dropped, Line, S));
frame(<<Kind, _/binary>>, S) ->
    broken({unexpected_frame, py_port_wire:kind_name(Kind)}, S);
frame(<<>>, S) ->
    broken(empty_frame, S).

-spec answer(ok | error | ref | ended | control, py_port_wire:id(), term(), #s{}) -> no_return().
answer(Tag, Id, Payload, #s{requests = Requests, counters = Counters} = S) ->
    case ets:take(Requests, Id) of
        [#request{state = 0, kind = term, alias = Alias}] when Tag =:= ok ->
            Alias ! {Alias, ok, Payload},
            ok = atomics:add(Counters, ?C_DONE, 1),
            forwarded(byte_size(Payload), S);
        [Row] ->
            ok = atomics:add(Counters, ?C_DONE, 1),
            loop(answer_other(Tag, Payload, Row, S));
        [] ->
            loop(answer_late(Tag, Id, Payload, S))
    end.

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
answer_other(ref, Handle, #request{kind = {ref, _}, state = State}, S) when State > 0 ->
    %% The caller has left; its `expired' is on the way and will find nothing to stop.
    release_frame(Handle, S);
answer_other(ref, Handle, #request{kind = {ref, Holder}, alias = Alias}, #s{refs = Refs} = S) ->
    case py_port_refs:add(Handle, Holder, Refs) of
        {ok, Refs1} ->
            Alias ! {Alias, ref, Handle},
            watch(Holder, S#s{refs = Refs1});
        error ->
            broken({handle_used_twice, Handle}, S)
    end;
answer_other(ref, _, #request{id = Id}, S) ->
    broken({reference_not_asked_for, Id}, S);
answer_other(ok, _, #request{kind = {ref, _}, id = Id}, S) ->
    broken({reference_asked_for, Id}, S);
answer_other(_, _, #request{state = State}, S) when State > 0 ->
    S;
answer_other(error, Payload, #request{kind = cast, module = M, function = F} = Row, S) when
    byte_size(Payload) =< ?MAX_LAST_ERROR
->
    ok = py_port_io:cast_failed(S#s.io, M, F, Payload),
    remember_error(Payload, Row, S);
answer_other(error, Payload, #request{kind = cast, module = M, function = F} = Row, S) ->
    Size = byte_size(Payload),
    Note = #{event => cast_failed, module => M, function => F, error_bytes => Size},
    ok = py_port_io:note(S#s.io, warning, Note),
    remember_error(Payload, Row, S);
answer_other(_, _, #request{kind = cast}, S) ->
    S;
answer_other(error, Payload, #request{alias = Alias} = Row, S) ->
    Alias ! {Alias, error, Payload},
    remember_error(Payload, Row, S);
answer_other(Tag, Payload, #request{alias = Alias}, S) ->
    Alias ! {Alias, Tag, Payload},
    S.

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
-spec answer_late(ok | error | ref | ended | control, py_port_wire:id(), term(), #s{}) -> #s{}.
answer_late(Tag, Id, Payload, #s{ladder = Ladder, counters = Counters} = S) ->
    case py_port_ladder:ended(Id, {step(Tag, Payload), now_ms()}, Ladder) of
        {Outcome, Timer, Ladder1} ->
            _ = erlang:cancel_timer(Timer),
            S1 = stopped(Outcome, S#s{ladder = Ladder1}),
            case {Tag, Payload} of
                {ref, Handle} -> release_frame(Handle, S1);
                {ended, ?ENDED_UNKNOWN} -> overtake(Id, S1);
                _ -> S1
            end;
        error ->
            answer_unexpected(Id > atomics:get(Counters, ?C_ID), {Tag, Id, Payload}, S)
    end.

-spec answer_unexpected(boolean(), {atom(), py_port_wire:id(), term()}, #s{}) -> #s{}.
answer_unexpected(true, {_, Id, _}, S) ->
    broken({id_never_issued, Id}, S);
answer_unexpected(false, {ended, _, ?ENDED_UNKNOWN}, S) ->
    %% It was answered while the CANCEL was on its way.
    S;
answer_unexpected(false, {Tag, Id, Payload}, #s{overtaken = Overtaken} = S) ->
    case Overtaken of
        #{Id := _} when Tag =:= ref ->
            release_frame(Payload, S#s{overtaken = maps:remove(Id, Overtaken)});
        #{Id := _} ->
            S#s{overtaken = maps:remove(Id, Overtaken)};
        #{} ->
            broken({answered_twice, Id}, S)
    end.

%% Bounded: of those whose callers died, no answer ever comes.
-spec overtake(py_port_wire:id(), #s{}) -> #s{}.
overtake(Id, #s{overtaken = Overtaken, options = #{max_pending := MaxPending}} = S) ->
    case map_size(Overtaken) < max(?MAX_OVERTAKEN, 2 * MaxPending) of
        true ->
            S#s{overtaken = Overtaken#{Id => []}};
        false ->
            Ids = lists:sort(maps:keys(Overtaken)),
            {_, Newer} = lists:split(length(Ids) div 2, Ids),
            overtake(Id, S#s{overtaken = maps:with(Newer, Overtaken)})
    end.

-spec step(ok | error | ref | ended | control, term()) -> py_port_ladder:step().
step(ended, 1) -> cancelled;
step(ended, _) -> dropped;
step(_, _) -> finished.

-spec output(byte(), non_neg_integer(), binary(), #s{}) -> #s{}.
output(_, _, _, #s{credit = 0} = S) ->
    broken(output_without_credit, S);
output(_, _, Line, #s{options = #{io_line := Max}} = S) when byte_size(Line) > Max ->
    broken({line_too_long, byte_size(Line)}, S);
output(Flags, Dropped, _, #s{io = Io, credit = Credit} = S) when
    Flags band ?F_COUNT_ONLY =/= 0
->
    ok = py_port_io:dropped(Io, stream(Flags), Dropped),
    S#s{credit = Credit - 1};
output(Flags, Dropped, Line, #s{io = Io, credit = Credit} = S) when Flags band ?F_STDERR =:= 0 ->
    ok = py_port_io:line(Io, stdout, Dropped, Line),
    S#s{credit = Credit - 1};
output(_, Dropped, Line, #s{io = Io, credit = Credit, tail = Tail} = S) ->
    ok = py_port_io:line(Io, stderr, Dropped, Line),
    S#s{credit = Credit - 1, tail = lists:sublist([Line | Tail], ?TAIL)}.

-spec stream(byte()) -> stdout | stderr.
stream(Flags) when Flags band ?F_STDERR =:= 0 -> stdout;
stream(_) -> stderr.

%% Everything else ---------------------------------------------------------------------------------

-spec message(term(), #s{}) -> no_return().
message({register, Pid}, S) ->
    loop(watch(Pid, S));
message({expired, Id}, S) ->
    loop(expired(Id, S));
message(sweep, S) ->
    _ = erlang:send_after(?SWEEP_MS, self(), sweep_tick),
    loop(S);
message(sweep_tick, S) ->
    loop(sweep(S));
message(reap, S) ->
    loop(reap(S));
message({overdue, Id}, S) ->
    overdue(Id, S);
message({credit, N}, #s{credit = Credit} = S) ->
    %% Ours first: the worker may use it as soon as it has it.
    ok = control(?K_CREDIT, N, S),
    loop(S#s{credit = Credit + N});
message({release, Handle}, #s{refs = Refs} = S) ->
    case py_port_refs:remove(Handle, Refs) of
        {ok, Refs1} -> loop(release_frame(Handle, S#s{refs = Refs1}));
        error -> loop(S)
    end;
message({give_away, Alias, Handle, To}, S) ->
    loop(give_away(Alias, Handle, To, S));
message({info, Alias}, S) ->
    Alias ! {Alias, info, info(S)},
    loop(S);
message({stop, Grace}, S) ->
    loop(begin_stop(Grace, normal, S));
message(stop_now, S) ->
    end_worker(stop, S);
message({Port, {exit_status, Status}}, #s{port = Port} = S) ->
    bury({exit_status, Status}, none, S);
message({'EXIT', Port, _}, #s{port = Port} = S) ->
    bury(closed, none, S);
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
exit_signal(Pid, Reason, #s{writer = Writer, io = Io} = S) when Pid =:= Writer; Pid =:= Io ->
    end_worker({internal, Reason}, S);
exit_signal(Pid, normal, #s{parent = Parent} = S) when Pid =/= Parent ->
    loop(S);
exit_signal(_, Reason, S) ->
    loop(begin_stop(?SHUTDOWN_GRACE, Reason, S)).

-spec unexpected(term(), #s{}) -> #s{}.
unexpected(_, #s{puzzled = true} = S) ->
    S;
unexpected(Message, #s{io = Io} = S) ->
    Shape =
        case Message of
            T when is_tuple(T), tuple_size(T) > 0, is_atom(element(1, T)) ->
                {element(1, T), tuple_size(T)};
            A when is_atom(A) -> A;
            _ -> other
        end,
    ok = py_port_io:note(Io, warning, #{what => unexpected_message, shape => Shape}),
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
    Pattern = #request{id = '$1', caller = '$2', kind = '$4', _ = '_'},
    Rows =
        case ets:info(Requests, size) of
            0 -> [];
            _ -> ets:select(Requests, [{Pattern, [{'=/=', '$4', control}], [{{'$1', '$2'}}]}])
        end,
    Orphans = [Id || {Id, Caller} <- Rows, is_map_key(Caller, Dead)],
    lists:foldl(
        fun(Id, Acc) ->
            case ets:take(Requests, Id) of
                [Row] -> stop_request(caller_down, Row, Acc);
                [] -> Acc
            end
        end,
        S#s{dead = #{}},
        Orphans
    ).

%% The caller has left with {error, timeout}.
-spec expired(py_port_wire:id(), #s{}) -> #s{}.
expired(Id, #s{requests = Requests} = S) ->
    case ets:take(Requests, Id) of
        [Row] -> stop_request(timeout, Row, S);
        [] -> S
    end.

%% For callers that cannot run their own `after' because they are suspended on a busy port. Runs
%% while requests with a deadline are outstanding. A caller inserts its row and then looks at the
%% flag; we clear the flag and then look for rows: one of the two sees the other.
-spec sweep(#s{}) -> #s{}.
sweep(#s{requests = Requests, counters = Counters} = S) ->
    Now = os:perf_counter(nanosecond),
    Pattern = #request{id = '$1', deadline = '$2', _ = '_'},
    Due = ets:select(Requests, [{Pattern, [{'<', '$2', Now}], ['$1']}]),
    S1 = lists:foldl(fun sweep_one/2, S, Due),
    case count_deadlines(Requests) of
        0 ->
            ok = atomics:put(Counters, ?C_SWEEP, 0),
            _ =
                count_deadlines(Requests) > 0 andalso
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
        [#request{state = 0, alias = Alias} = Row] when is_reference(Alias) ->
            Alias ! {Alias, timeout, none},
            stop_request(timeout, Row, S);
        [Row] ->
            stop_request(timeout, Row, S);
        [] ->
            S
    end.

-spec count_deadlines(ets:tid()) -> non_neg_integer().
count_deadlines(Requests) ->
    Pattern = #request{deadline = '$3', _ = '_'},
    ets:select_count(Requests, [{Pattern, [{'=/=', '$3', infinity}], [true]}]).

%% Stopping one request ----------------------------------------------------------------------------

-spec stop_request(py_port_ladder:why(), #request{}, #s{}) -> #s{}.
stop_request(Why, #request{id = Id, module = M, function = F}, #s{ladder = Ladder} = S) ->
    #s{options = #{kill_after := KillAfter}, counters = Counters} = S,
    ok = atomics:add(Counters, ?C_DONE, 1),
    ok = control(?K_CANCEL, Id, S),
    Timer = erlang:send_after(KillAfter, self(), {overdue, Id}),
    S#s{cancels = S#s.cancels + 1, ladder = py_port_ladder:add(Id, {Why, {M, F}}, now_ms(), Timer, Ladder)}.

-spec overdue(py_port_wire:id(), #s{}) -> no_return().
overdue(Id, #s{ladder = Ladder} = S) ->
    case py_port_ladder:overdue({Id, now_ms()}, Ladder) of
        {Outcome, Why} -> end_worker(Why, stopped(Outcome, S));
        error -> loop(S)
    end.

-spec stopped(py_port_ladder:outcome(), #s{}) -> #s{}.
stopped(#{step := Step} = Outcome, #s{io = Io} = S) ->
    Level =
        case Step of
            killed -> warning;
            cancelled -> notice;
            _ -> info
        end,
    ok = py_port_io:note(Io, Level, Outcome#{event => request_stopped}),
    S#s{last_stop = Outcome}.

%% Stopping the context ----------------------------------------------------------------------------

-spec begin_stop(timeout(), term(), #s{}) -> #s{}.
begin_stop(Grace, Reason, #s{counters = Counters, stopping = Stopping} = S) ->
    ok = atomics:put(Counters, ?C_DRAINING, 1),
    case Grace of
        infinity ->
            ok = control(?K_STOP, 16#ffffffff, S);
        Ms ->
            ok = control(?K_STOP, Ms, S),
            _ = erlang:send_after(Ms, self(), stop_now),
            ok
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
end_worker(Cause, #s{started = #{body := Body}} = S) ->
    Token = atomics:add_get(S#s.counters, ?C_ID, 1),
    Dumped =
        case Cause of
            {protocol_error, _} -> no;
            _ -> py_port_death:dump(Body, Token)
        end,
    Seen =
        case Dumped of
            no -> py_port_death:kill(Body);
            _ -> Dumped
        end,
    bury(Seen, Cause, S).

-spec bury(py_port_death:exit_seen(), term(), #s{}) -> no_return().
bury(Seen, Cause, #s{started = #{body := Body}, requests = Requests, options = Options} = S) ->
    #{report := Report, status := Status, late := Late} = py_port_death:collect(Seen, Body),
    ok = py_port_registry:leave(self()),
    InFlight = [{M, F} || #request{module = M, function = F} <- ets:tab2list(Requests)],
    Pm = py_port_post_mortem:make(Report, Late ++ S#s.tail, #{
        in_flight => InFlight, stopped_by => stopped_by(Cause)
    }),
    {Answer, Exit} = reasons(Cause, Status, Pm, S),
    %% Unregistered before anybody hears of the end: who starts it again under its name must find
    %% the name free.
    ok = py_port_names:unregister(maps:get(name, Options)),
    ok = answer_all(Requests, Answer),
    ok = last_words(Report, Body, S),
    exit(Exit).

-spec stopped_by(term()) -> atom().
stopped_by({protocol_error, _}) -> protocol_error;
stopped_by({internal, _}) -> internal;
stopped_by(Why) -> Why.

%% What the callers are told, and the reason of the exit.
-spec reasons(term(), py_port_report:status() | unknown, py_port_error:post_mortem(), #s{}) ->
    {py_port_error:down(), term()}.
reasons(_, _, _, #s{stopping = {reason, Reason}}) ->
    {stopped, Reason};
reasons({protocol_error, What}, _, Pm, _) ->
    Down = {protocol_error, What, Pm},
    {Down, Down};
reasons({internal, Why}, _, _, _) ->
    {{internal, Why}, {internal, Why}};
reasons(_, Status, Pm, _) ->
    Down = py_port_post_mortem:reason(Status, Pm),
    {Down, Down}.

%% Rows that are inserted after this find a context that is gone: their callers hear it from their
%% monitors.
-spec answer_all(ets:tid(), py_port_error:down()) -> ok.
answer_all(Requests, Reason) ->
    lists:foreach(
        fun(#request{id = Id}) ->
            case ets:take(Requests, Id) of
                [#request{state = 0, alias = Alias}] when is_reference(Alias) ->
                    Alias ! {Alias, down, Reason};
                _ ->
                    ok
            end
        end,
        ets:tab2list(Requests)
    ).

-spec last_words(py_port_report:report() | missing, py_port_death:body(), #s{}) -> ok.
last_words(Report, #{report := Fd}, #s{io = Io, writer = Writer}) ->
    _ = [
        py_port_io:line(Io, Stream, 0, Line)
     || {Stream, Line} <- py_port_post_mortem:leftovers(Report)
    ],
    _ = Fd =:= none orelse file:close(Fd),
    true = unlink(Writer),
    true = exit(Writer, kill),
    py_port_io:finish(Io).

%% What info/1 shows -------------------------------------------------------------------------------

-spec info(#s{}) -> map().
info(#s{started = #{os_pid := OsPid, ready := Ready, body := #{launcher := Launcher}}} = S) ->
    #s{requests = Requests, options = #{name := Name}, counters = Counters} = S,
    #{
        pid => self(),
        name => Name,
        os_pid => OsPid,
        launcher_pid => Launcher,
        python => maps:get(python, Ready, maps:get(version, Ready, undefined)),
        version => maps:get(version, Ready, undefined),
        executable => maps:get(executable, Ready, undefined),
        prefix => maps:get(prefix, Ready, undefined),
        started_at => S#s.started_at,
        calls => atomics:get(Counters, ?C_ID) - ?FIRST_ID + 1,
        in_flight => ets:info(Requests, size),
        stopping => py_port_ladder:size(S#s.ladder),
        callers => map_size(S#s.watched),
        refs => py_port_refs:size(S#s.refs),
        casts_dropped => atomics:get(Counters, ?C_DROPPED),
        last_stop => S#s.last_stop,
        last_error => S#s.last_error
    }.

-spec now_ms() -> integer().
now_ms() ->
    erlang:monotonic_time(millisecond).

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
    {ok, info(S)}.

%% The options may hold secrets (`env'); they are not shown.
-spec format_status(normal | terminate, [term()]) -> term().
format_status(_, [_PDict, SysState, Parent, _Debug, S]) ->
    [
        {header, "Status for py_port context"},
        {data, [{"Status", SysState}, {"Parent", Parent}]},
        {data, [{"State", info(S)}]}
    ].
