%% @doc How a worker ends: killing it, waiting for the launcher, and what is said about it
%% afterwards.
%%
%% Runs in the owner, when the owner has nothing else to do any more: every function here consumes
%% the port's messages and is bounded in time. Killing goes through `py_launcher --kill', run by a
%% helper process; the launcher is named by its pid and start time, both taken from the kernel and
%% never from the worker. The port is not closed while the launcher lives: with data queued, closing
%% it returns and leaves the pipes open.
%% @end
-module(py_port_death).

-include_lib("kernel/include/logger.hrl").
-include("py_port_wire.hrl").

-export([kill/1, kill_orphan/1, dump_and_kill/2, collect/2, last_words/2, start_time/1]).
%% the body of a process of our own
-export([kill_now/2]).
-export_type([body/0, remains/0, exit_seen/0]).

%% What is needed to end a worker and to read about its end.
-type body() :: #{
    port := port(),
    writer := pid(),
    launcher := non_neg_integer(),
    start_time := non_neg_integer() | unknown,
    %% opened at HELLO; none before
    report := file:fd() | none,
    %% takes the lines that are still coming
    io := pid()
}.
%% exit_status of the port, or only its end
-type exit_seen() :: {exit_status, non_neg_integer()} | closed | no.
-type remains() :: #{
    status := py_port_report:status() | unknown,
    report := py_port_report:report() | missing,
    %% lines that came after the owner stopped listening, newest first
    late := [binary()]
}.

%% How long a worker has to write its stacks before it is killed, and how much it may send
%% meanwhile. A frame costs its bytes and ?FRAME_COST: small ones cost us more than their size.
-define(DUMP_TIMEOUT, 500).
-define(DUMP_BYTES, 16777216).
-define(FRAME_COST, 256).
%% How long the killing program may take. The launcher kills with SIGKILL and then collects
%% descendants.
-define(KILL_TIMEOUT, 5000).
%% After the port reported its end, the launcher may still be collecting for so long.
-define(REPORT_TIMEOUT, 2000).
-define(REPORT_TICK, 20).
%% Lines that are still taken after the end, and how long they may be.
-define(LATE_LINES, 256).
-define(MAX_LATE_LINE, 1048576).

%% @doc As kill/1, with the Python stacks in the report: for a worker that may be stuck.
-spec dump_and_kill(body(), py_port_wire:id()) -> exit_seen().
dump_and_kill(#{port := Port} = Body, Token) ->
    {Ended, Lines} = dump(Body, Token),
    Seen =
        case Ended of
            no -> kill(Body);
            _ -> Ended
        end,
    %% For drain/3, who comes later.
    lists:foreach(fun(Frame) -> self() ! {Port, {data, Frame}} end, lists:reverse(Lines)),
    Seen.

%% Asks for the Python stacks. Best effort: a stopped worker does not answer, and a writer that is
%% stuck on a full pipe does not even ask. Also the lines that came meanwhile, newest first.
-spec dump(body(), py_port_wire:id()) -> {exit_seen(), [binary()]}.
dump(#{port := Port, writer := Writer}, Token) ->
    ok = py_port_writer:send(Writer, py_port_wire:short(?K_DUMP, Token)),
    await_dump({Port, Token, now_ms() + ?DUMP_TIMEOUT}, ?DUMP_BYTES, []).

%% Takes whatever comes, so that no message is looked at twice. The clock is asked each time: behind
%% a flood, a timer's message would come late.
-spec await_dump({port(), py_port_wire:id(), integer()}, integer(), [binary()]) ->
    {exit_seen(), [binary()]}.
await_dump(_, Room, Lines) when Room =< 0 ->
    {no, Lines};
await_dump({_, _, Deadline} = Wait, Room, Lines) ->
    case Deadline - now_ms() of
        Left when Left > 0 -> await_dump(Wait, Room, Lines, Left);
        _ -> {no, Lines}
    end.

-spec await_dump(Wait, integer(), [binary()], pos_integer()) -> {exit_seen(), [binary()]} when
    Wait :: {port(), py_port_wire:id(), integer()}.
await_dump({Port, Token, _} = Wait, Room, Lines, Left) ->
    receive
        {Port, {data, <<?K_CONTROL_REPLY, _:24, Token:64, _/binary>>}} ->
            {no, Lines};
        {Port, {data, <<?K_OUTPUT, _/binary>> = Frame}} ->
            await_dump(Wait, room(Room, Frame), keep(Frame, Lines));
        {Port, {data, Frame}} ->
            await_dump(Wait, room(Room, Frame), Lines);
        {Port, {exit_status, Status}} ->
            {{exit_status, Status}, Lines};
        {'EXIT', Port, _} ->
            {closed, Lines}
    after Left -> {no, Lines}
    end.

-spec room(integer(), binary()) -> integer().
room(Room, Frame) ->
    Room - byte_size(Frame) - ?FRAME_COST.

-spec keep(binary(), [binary()]) -> [binary()].
keep(Frame, Lines) when length(Lines) < ?LATE_LINES -> [Frame | Lines];
keep(_, Lines) -> Lines.

-spec now_ms() -> integer().
now_ms() ->
    erlang:monotonic_time(millisecond).

%% @doc Ends the launcher, the worker and all its descendants. Returns when the port has reported
%% its end, or when the bound has passed.
-spec kill(body()) -> exit_seen().
kill(#{port := Port} = Body) ->
    {Helper, Ref} = run_killer(Body),
    Timer = erlang:start_timer(?KILL_TIMEOUT, self(), kill),
    Seen = await_kill(Port, Helper, Ref, Timer),
    _ = erlang:cancel_timer(Timer),
    true = erlang:demonitor(Ref, [flush]),
    receive
        {timeout, Timer, kill} -> ok
    after 0 -> ok
    end,
    Seen.

-spec await_kill(port(), pid(), reference(), reference()) -> exit_seen().
await_kill(Port, Helper, Ref, Timer) ->
    receive
        {Port, {exit_status, Status}} ->
            {exit_status, Status};
        {'EXIT', Port, _} ->
            closed;
        {Port, {data, _}} ->
            await_kill(Port, Helper, Ref, Timer);
        {'DOWN', Ref, process, Helper, killed} ->
            await_kill(Port, Helper, Ref, Timer);
        {'DOWN', Ref, process, Helper, Reason} ->
            ?LOG_ERROR("py_launcher --kill failed: ~tp", [Reason], #{domain => [py_port]}),
            await_kill(Port, Helper, Ref, Timer);
        {timeout, Timer, kill} ->
            ?LOG_ERROR("a worker did not end within ~b ms", [?KILL_TIMEOUT], #{domain => [py_port]}),
            no
    end.

%% Not linked: the kill is completed also when the owner is killed meanwhile.
-spec run_killer(body()) -> {pid(), reference()}.
run_killer(#{launcher := Launcher, start_time := StartTime}) ->
    spawn_monitor(?MODULE, kill_now, [Launcher, StartTime]).

%% @doc Ends a worker whose owner was killed. Does not wait for it.
-spec kill_orphan({non_neg_integer(), non_neg_integer() | unknown}) -> ok.
kill_orphan({Launcher, StartTime}) ->
    _ = spawn(?MODULE, kill_now, [Launcher, StartTime]),
    ok.

-spec kill_now(non_neg_integer(), non_neg_integer() | unknown) -> no_return().
kill_now(Launcher, StartTime) ->
    Args = ["--kill", integer_to_list(Launcher), time_text(StartTime)],
    Port = open_port({spawn_executable, py_port_python:launcher()}, [
        {args, Args}, exit_status, binary, in, stderr_to_stdout
    ]),
    exit(killer(Port, <<>>)).

-spec time_text(non_neg_integer() | unknown) -> string().
time_text(unknown) -> "0";
time_text(N) -> integer_to_list(N).

%% The program ends by itself: it waits for processes it has sent SIGKILL to.
-spec killer(port(), binary()) -> killed | {failed, non_neg_integer(), binary()}.
killer(Port, Text) ->
    receive
        {Port, {data, More}} -> killer(Port, <<Text/binary, More/binary>>);
        {Port, {exit_status, 0}} -> killed;
        {Port, {exit_status, Status}} -> {failed, Status, Text}
    end.

%% @doc Reads the report. A worker that died with input queued may yield no more than `{'EXIT',
%% Port, epipe}' while the launcher is still at work, so the report is read again until it is
%% complete, for a bounded time.
-spec collect(exit_seen(), body()) -> remains().
collect(Seen, #{report := Report} = Body) ->
    IsOver = fun() -> has_ended(Seen, Body) end,
    Found = confirmed(read_report(Report, now_ms() + ?REPORT_TIMEOUT, IsOver), Seen),
    Late = drain(Body, ?LATE_LINES, []),
    ok = make_sure(Seen, Found, Body),
    #{status => status(Found, Seen), report => Found, late => Late}.

%% Before the launcher has ended, a worker that is up to no good may have written it.
-spec has_ended(exit_seen(), body()) -> boolean().
has_ended({exit_status, _}, _) ->
    true;
has_ended(_, #{launcher := Launcher, start_time := StartTime}) ->
    case py_port_proc:stat(Launcher) of
        {ok, #{start_time := StartTime, state := State}} -> State =:= $Z;
        _ -> true
    end.

-spec read_report(file:fd() | none, integer(), fun(() -> boolean())) ->
    py_port_report:report() | missing.
read_report(none, _, _) ->
    missing;
read_report(Fd, Deadline, IsOver) ->
    Over = IsOver(),
    Text =
        case file:pread(Fd, 0, py_port_report:max_bytes()) of
            {ok, Data} -> Data;
            eof -> <<>>;
            {error, _} -> <<>>
        end,
    case py_port_report:parse(Text) of
        {ok, Report} when Over ->
            Report;
        _ ->
            case now_ms() < Deadline of
                true ->
                    %% Nobody tells when a file is complete.
                    receive
                    after ?REPORT_TICK -> read_report(Fd, Deadline, IsOver)
                    end;
                false ->
                    missing
            end
    end.

%% A worker may have written it, and killed the launcher; then the launcher's own status says
%% something else.
-spec confirmed(Report, exit_seen()) -> Report | missing when
    Report :: py_port_report:report() | missing.
confirmed(#{status := {signaled, N}} = Report, {exit_status, Status}) when
    Status =:= 128 + N
->
    Report;
confirmed(#{status := {exited, Status}} = Report, {exit_status, Status}) -> Report;
confirmed(#{status := start_failed} = Report, {exit_status, 127}) -> Report;
confirmed(_, {exit_status, _}) -> missing;
confirmed(Report, _) -> Report.

-spec status(py_port_report:report() | missing, exit_seen()) -> py_port_report:status() | unknown.
status(#{status := Status}, _) -> Status;
status(missing, {exit_status, N}) when N > 128, N < 160 -> {signaled, N - 128};
status(missing, {exit_status, N}) -> {exited, N band 255};
status(missing, _) -> unknown.

%% Without a report the launcher itself may have died, and then something of the worker may be left.
-spec make_sure(exit_seen(), py_port_report:report() | missing, body()) -> ok.
make_sure(Seen, missing, #{port := Port} = Body) when Seen =/= no ->
    {Helper, Ref} = run_killer(Body),
    receive
        {'DOWN', Ref, process, Helper, _} -> ok
    after ?KILL_TIMEOUT ->
        true = erlang:demonitor(Ref, [flush]),
        ?LOG_ERROR("py_launcher --kill hangs for ~p", [Port], #{domain => [py_port]})
    end;
make_sure(_, _, _) ->
    ok.

%% Output that was in the pipe before the worker died comes before the end of the port; so it is all
%% here by now. Nobody checks its credit any more, hence the bounds.
-spec drain(body(), non_neg_integer(), [binary()]) -> [binary()].
drain(#{port := Port, io := Io} = Body, Room, Late) ->
    receive
        {Port, {data, <<?K_OUTPUT, Flags, 0:16, Dropped:64, Line/binary>>}} when
            Room > 0, Flags band ?F_COUNT_ONLY =:= 0, byte_size(Line) =< ?MAX_LATE_LINE
        ->
            drain(Body, Room - 1, late_line(Io, {Flags band ?F_STDERR, Dropped, Line}, Late));
        {Port, _} ->
            drain(Body, Room, Late);
        {'EXIT', Port, _} ->
            drain(Body, Room, Late)
    after 0 -> Late
    end.

-spec late_line(pid(), {byte(), non_neg_integer(), binary()}, [binary()]) -> [binary()].
late_line(Io, {0, Dropped, Line}, Late) ->
    ok = py_port_io:line(Io, stdout, Dropped, Line),
    Late;
late_line(Io, {_, Dropped, Line}, Late) ->
    ok = py_port_io:line(Io, stderr, Dropped, Line),
    [Line | Late].

%% @doc Hands on the lines that never became frames, and lets go of what belongs to the worker.
-spec last_words(py_port_report:report() | missing, body()) -> ok.
last_words(Report, #{report := Fd, writer := Writer, io := Io}) ->
    _ = [
        py_port_io:line(Io, Stream, 0, Line)
     || {Stream, Line} <- py_port_post_mortem:leftovers(Report)
    ],
    _ = Fd =:= none orelse file:close(Fd),
    true = unlink(Writer),
    true = exit(Writer, kill),
    py_port_io:finish(Io).

%% @doc Field 22 of /proc/PID/stat: with it a pid names one process for ever.
-spec start_time(non_neg_integer()) -> non_neg_integer() | unknown.
start_time(Pid) ->
    case py_port_proc:stat(Pid) of
        {ok, #{start_time := StartTime}} -> StartTime;
        error -> unknown
    end.
