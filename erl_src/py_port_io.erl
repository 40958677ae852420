%% @doc Brings what a context's Python, C code and child processes print to where the context's `io'
%% option says, and writes what the context itself has to say into the log.
%%
%% The owner hands lines over and goes on; a slow target holds up this process alone. Nothing grows
%% meanwhile: each line costs the worker one credit, and credit goes back (through the owner) only
%% for lines that were handled, so a worker that floods runs out of credit and counts what it drops.
%% The rate is the worker's to keep, in bursts of one second's worth; one that does not keep it gets
%% no more credit than one that does. The next credit waits until the last has been written.
%% A pid whose mailbox is long gets nothing until it is shorter. Dropped lines are reported as one
%% line, at the end at the latest.
%%
%% Linked to its owner. When the owner ends in an orderly way it unlinks, sends `finish', and this
%% process ends after the lines it still has; a group leader that does not answer is given up after
%% a bound. A gen_server for the same reason as {@link py_port_writer}.
%% @end
-module(py_port_io).

-behaviour(gen_server).

-include_lib("kernel/include/logger.hrl").

-export([start_link/1, line/4, dropped/3, note/3, cast_failed/4, puzzled/2, finish/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([stream/0, settings/0]).

-type stream() :: stdout | stderr.
-type settings() :: #{
    target := py_port_options:io_target(),
    owner := pid(),
    label := binary(),
    %% lines per second
    rate := pos_integer()
}.
-record(io, {
    %% the stream of the latest line or count
    stream = stderr :: stream(),
    target :: py_port_options:io_target(),
    owner :: pid(),
    %% the context's name, for the log
    label :: binary(),
    os_pid = undefined :: undefined | pos_integer(),
    %% lines dropped on our side since the last one that went out
    dropped = 0 :: non_neg_integer(),
    %% the group leader did not answer last time
    is_deaf = false :: boolean(),
    %% handled lines whose credit has not been given back
    credit = 0 :: non_neg_integer(),
    %% credit is on its way to the worker
    is_giving = false :: boolean(),
    %% lines per second; how many the worker may have now; since when (monotonic, ms)
    rate :: pos_integer(),
    tokens :: float(),
    since :: integer()
}).

%% Credit goes back in batches of this many lines, or when there is nothing else to do.
-define(BATCH, 64).
%% As long, in ms, is waited at least for the rate to allow more.
-define(TICK, 10).
%% A pid with more messages than this gets no lines.
-define(LONG_MAILBOX, 1000).
%% An encoded error that is larger is not decoded for the log.
-define(MAX_ERROR, 65536).
%% A group leader that has not answered after this many ms has lost the line; one that did not
%% answer the last time gets less, so that the lines that are left at the end do not keep this
%% process for long.
-define(IO_TIMEOUT, 5000).
-define(DEAF_TIMEOUT, 50).

-spec start_link(settings()) -> pid().
start_link(Settings) ->
    {ok, Pid} = gen_server:start_link(?MODULE, Settings, []),
    Pid.

%% @doc One line of output. `Dropped': lines the worker dropped before it.
-spec line(pid(), stream(), non_neg_integer(), binary()) -> ok.
line(Io, Stream, Dropped, Line) ->
    Io ! {line, Stream, Dropped, Line},
    ok.

%% @doc Lines that the worker dropped, and no line after them.
-spec dropped(pid(), stream(), non_neg_integer()) -> ok.
dropped(Io, Stream, Count) ->
    Io ! {dropped, Stream, Count},
    ok.

%% @doc A log event of the context itself. Dropped when this process is far behind, so that notes
%% cannot pile up either.
-spec note(pid(), logger:level(), map()) -> ok.
note(Io, Level, Report) ->
    hand_over(Io, {note, Level, Report}).

%% @doc A cast ended in an error; the payload is decoded here because nobody else waits for it.
-spec cast_failed(pid(), term(), term(), binary()) -> ok.
cast_failed(Io, Module, Function, Payload) when byte_size(Payload) =< ?MAX_ERROR ->
    hand_over(Io, {cast_failed, Module, Function, Payload});
cast_failed(Io, Module, Function, Payload) ->
    Size = byte_size(Payload),
    Report = #{event => cast_failed, module => Module, function => Function, error_bytes => Size},
    note(Io, warning, Report).

%% @doc The owner does not understand a message; its content may be anybody's secret.
-spec puzzled(pid(), term()) -> ok.
puzzled(Io, Message) ->
    Shape =
        case Message of
            T when is_tuple(T), tuple_size(T) > 0, is_atom(element(1, T)) ->
                {element(1, T), tuple_size(T)};
            A when is_atom(A) -> A;
            _ -> other
        end,
    note(Io, warning, #{what => unexpected_message, shape => Shape}).

-spec hand_over(pid(), term()) -> ok.
hand_over(Io, Message) ->
    case erlang:process_info(Io, message_queue_len) of
        {message_queue_len, N} when N =< ?LONG_MAILBOX ->
            Io ! Message,
            ok;
        _ ->
            ok
    end.

%% @doc The owner is about to exit. Unlinks.
-spec finish(pid()) -> ok.
finish(Io) ->
    true = unlink(Io),
    Io ! finish,
    ok.

%% gen_server --------------------------------------------------------------------------------------

-type next() :: {noreply, #io{}, timeout()} | {stop, normal, #io{}}.

-spec init(settings()) -> {ok, #io{}}.
init(#{target := Target, owner := Owner, label := Label, rate := Rate}) ->
    {ok, #io{
        target = Target,
        owner = Owner,
        label = Label,
        rate = Rate,
        tokens = float(Rate),
        since = now_ms()
    }}.

-spec handle_call(term(), gen_server:from(), #io{}) -> next().
handle_call(_, _, Io) ->
    next(Io).

-spec handle_cast(term(), #io{}) -> next().
handle_cast(_, Io) ->
    next(Io).

-spec next(#io{}) -> next().
next(Io) ->
    {noreply, Io, patience(Io)}.

-spec patience(#io{}) -> timeout().
patience(#io{credit = 0}) -> infinity;
patience(#io{is_giving = true}) -> infinity;
patience(#io{tokens = Tokens}) when Tokens >= 1 -> 0;
patience(#io{rate = Rate}) -> max(?TICK, 1000 div Rate).

-spec handle_info(term(), #io{}) -> next().
handle_info({line, Stream, Dropped, Line}, Io) ->
    Io1 = output(Stream, Line, Io#io{dropped = Io#io.dropped + Dropped, stream = Stream}),
    next(earn(Io1));
handle_info({dropped, Stream, Count}, Io) ->
    Io1 = Io#io{dropped = Io#io.dropped + Count, stream = Stream},
    next(earn(report_dropped(Stream, Io1)));
handle_info({note, Level, Report}, Io) ->
    log(Level, {report, Report#{context => Io#io.label}}, #{}, [py_port], Io),
    next(Io);
handle_info({cast_failed, Module, Function, Payload}, Io) ->
    Why =
        case py_port_terms:decode_plain(Payload) of
            {ok, Term} -> py_port_error:worker_error(Term);
            {error, Bad} ->
                _ = py_port_terms:is_hostile(Bad) andalso (Io#io.owner ! {hostile, Bad}),
                {bad_reply, Bad}
        end,
    log(
        warning,
        {"cast of ~tp:~tp in ~ts failed: ~ts", [
            Module, Function, Io#io.label, harmless(py_port_error:format(Why), record)
        ]},
        #{},
        [py_port],
        Io
    ),
    next(Io);
handle_info(credited, Io) ->
    next(Io#io{is_giving = false});
handle_info({os_pid, OsPid}, Io) ->
    next(Io#io{os_pid = OsPid});
handle_info(timeout, Io) ->
    next(give_back(Io));
handle_info(finish, #io{dropped = N, target = Pid} = Io) when
    N > 0, is_pid(Pid)
->
    %% One message, however long its mailbox is: there will be no other occasion.
    _ = Pid ! {py_port_output, Io#io.owner, Io#io.stream, told(N)},
    {stop, normal, Io};
handle_info(finish, Io) ->
    _ = report_dropped(Io#io.stream, Io),
    {stop, normal, Io};
handle_info(_, Io) ->
    next(Io).

-spec earn(#io{}) -> #io{}.
earn(#io{credit = Credit} = Io) when Credit + 1 >= ?BATCH -> give_back(Io#io{credit = Credit + 1});
earn(#io{credit = Credit} = Io) -> Io#io{credit = Credit + 1}.

-spec give_back(#io{}) -> #io{}.
give_back(#io{is_giving = true} = Io) ->
    Io;
give_back(#io{owner = Owner, credit = Credit, rate = Rate, tokens = Before, since = Since} = Io) ->
    Now = now_ms(),
    Tokens = min(float(Rate), Before + (Now - Since) * Rate / 1000),
    case min(Credit, trunc(Tokens)) of
        0 ->
            Io#io{tokens = Tokens, since = Now};
        N ->
            Owner ! {credit, N},
            Io#io{credit = Credit - N, tokens = Tokens - N, since = Now, is_giving = true}
    end.

-spec now_ms() -> integer().
now_ms() ->
    erlang:monotonic_time(millisecond).

-spec output(stream(), binary(), #io{}) -> #io{}.
output(Stream, Line, Io) ->
    Io1 = report_dropped(Stream, Io),
    case deliver(Stream, Line, Io1) of
        ok -> Io1#io{is_deaf = false};
        dropped -> Io1#io{dropped = Io1#io.dropped + 1, is_deaf = true}
    end.

-spec report_dropped(stream(), #io{}) -> #io{}.
report_dropped(_, #io{dropped = 0} = Io) ->
    Io;
report_dropped(Stream, #io{dropped = N} = Io) ->
    case deliver(Stream, told(N), Io) of
        ok -> Io#io{dropped = 0};
        dropped -> Io
    end.

-spec told(pos_integer()) -> binary().
told(N) ->
    <<"... ", (integer_to_binary(N))/binary, " lines dropped">>.

-spec deliver(stream(), binary(), #io{}) -> ok | dropped.
deliver(_, _, #io{target = null}) ->
    ok;
deliver(Stream, Line, #io{target = logger} = Io) ->
    log(notice, {"~ts", [harmless(Line, line)]}, #{stream => Stream}, [py_port, python], Io);
deliver(Stream, Line, #io{target = Pid, owner = Owner}) when is_pid(Pid) ->
    Message = {py_port_output, Owner, Stream, Line},
    case node(Pid) =:= node() andalso erlang:process_info(Pid, message_queue_len) of
        false ->
            case erlang:send(Pid, Message, [nosuspend, noconnect]) of
                ok -> ok;
                _ -> dropped
            end;
        {message_queue_len, N} when N > ?LONG_MAILBOX ->
            dropped;
        _ ->
            %% Alive, or dead: then there is nobody to miss the line.
            Pid ! Message,
            ok
    end;
deliver(_, Line, #io{target = {group_leader, Device}, is_deaf = true}) ->
    put_line(Device, Line, ?DEAF_TIMEOUT);
deliver(_, Line, #io{target = {group_leader, Device}}) ->
    put_line(Device, Line, ?IO_TIMEOUT).

%% io:put_chars/2, with a bound on the time.
-spec put_line(pid() | atom(), binary(), timeout()) -> ok | dropped.
put_line(Name, Line, Timeout) when is_atom(Name) ->
    case whereis(Name) of
        Pid when is_pid(Pid) -> put_line(Pid, Line, Timeout);
        _ -> ok
    end;
put_line(Pid, Line, Timeout) ->
    %% Group leaders insist on a pid to answer to, so a late answer reaches our mailbox:
    %% handle_info/2 throws it away.
    Ref = erlang:monitor(process, Pid),
    Pid ! {io_request, self(), Ref, {put_chars, unicode, [printable(Line), $\n]}},
    receive
        {io_reply, Ref, _} ->
            true = erlang:demonitor(Ref, [flush]),
            ok;
        {'DOWN', Ref, process, _, _} ->
            ok
    after Timeout ->
        true = erlang:demonitor(Ref, [flush]),
        dropped
    end.

-spec log(logger:level(), {report, map()} | {io:format(), [term()]}, map(), [atom()], #io{}) -> ok.
log(Level, What, Meta, Domain, #io{owner = Owner, label = Label, os_pid = OsPid}) ->
    Metadata = Meta#{domain => Domain, context => Owner, name => Label, os_pid => OsPid},
    case What of
        {report, Report} -> ?LOG(Level, Report, Metadata);
        {Format, Args} -> ?LOG(Level, Format, Args, Metadata)
    end.

-spec harmless(binary(), line | record) -> binary().
harmless(Text, What) ->
    py_port_error:harmless(py_port_error:text(printable(Text)), What).

%% Output need not be UTF-8: what is not stands as its bytes in Latin-1.
-spec printable(binary()) -> unicode:chardata().
printable(Line) ->
    case unicode:characters_to_binary(Line) of
        Line -> Line;
        _ -> [Byte || <<Byte>> <= Line]
    end.
