%% @doc Brings a worker up: opens the port, checks the launcher's HELLO, sends the configuration,
%% waits for READY.
%%
%% Runs in the owner before it has any caller, bounded by `start_timeout' (and `init_timeout' when
%% there is an `init'). Every failure is `{start_failed, Map}' with what the worker printed and
%% where Python was, and leaves no process behind.
%% @end
-module(py_port_start).

-include("py_port_wire.hrl").

-export([run/1]).
-export_type([started/0, start/0]).

-type start() :: #{
    options := py_port_options:options(),
    resolved := py_port_python:resolved(),
    incarnation := non_neg_integer(),
    credit := pos_integer(),
    parent := pid()
}.
-type started() :: #{
    port := port(),
    writer := pid(),
    io := pid(),
    body := py_port_death:body(),
    %% of the worker, from the launcher
    os_pid := non_neg_integer(),
    %% what READY said: some of the claims
    ready := #{atom() => binary()},
    output := py_port_output:output()
}.
-record(s, {
    start :: start(),
    port :: port(),
    writer :: pid(),
    io :: pid(),
    body :: py_port_death:body(),
    os_pid = 0 :: non_neg_integer(),
    output :: py_port_output:output(),
    timer :: reference() | none,
    %% somebody wants it to stop: at once when it is ready, and no later than at the end of the grace
    stop = none :: none | infinity | reference()
}).

%% A worker reads eagerly, so what is queued in the port is waiting for its own turn to be written:
%% deep enough for many callers' requests, shallow enough that a stopped worker costs little memory.
-define(BUSY_LOW, 131072).
-define(BUSY_HIGH, 524288).
%% What a worker may say before anything has been agreed: its READY is a small map, and why it does
%% not start may hold a long traceback. Terms can be far larger than their bytes.
-define(MAX_READY, 65536).
-define(MAX_FAILURE, 1048576).
%% Bytes of text in what we say. On its way it takes many times as much.
-define(MAX_CONFIG, 16777216).
%% What is kept of READY.
-define(CLAIMS, [python, executable, prefix, version]).
-define(MAX_CLAIM, 4096).
%% Token of the stack request at start; the context's own ids begin after it.
-define(DUMP_TOKEN, 1).

%% The node's environment is not the worker's: it may hold secrets. These names, and names that
%% begin like those of the second list, are harmless and wanted.
-define(ENV_NAMES, [
    "PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TZDIR", "TMPDIR", "TEMP", "TMP", "USER", "LOGNAME",
    "SHELL", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"
]).
-define(ENV_PREFIXES, ["LC_"]).

-spec run(start()) -> {ok, started()} | {error, term()} | {parent_down, term()}.
run(#{options := Options, resolved := Resolved} = Start) ->
    case open(Resolved) of
        {ok, Port} -> hello(begin_start(Port, Options, Start));
        {error, Message} -> {error, {start_failed, failure(launcher, Message, none, [], <<>>)}}
    end.

-spec open(py_port_python:resolved()) -> {ok, port()} | {error, binary()}.
open(#{worker := Worker} = Resolved) ->
    Launcher = py_port_python:launcher(),
    try
        open_port({spawn_executable, Launcher}, [
            {args, [Worker]},
            nouse_stdio,
            {packet, 4},
            binary,
            exit_status,
            {env, environment(Resolved)},
            {busy_limits_port, {?BUSY_LOW, ?BUSY_HIGH}},
            %% With this limit on, a port can stay busy for ever (erlang/otp#11052).
            {busy_limits_msgq, disabled}
        ])
    of
        Port -> {ok, Port}
    catch
        error:Reason ->
            {error,
                py_port_error:text(
                    io_lib:format("~ts cannot be run (~p); was py_port built completely?", [
                        Launcher, Reason
                    ])
                )}
    end.

-spec environment(py_port_python:resolved()) -> [{string(), string() | false}].
environment(Resolved) ->
    [{Name, false} || {Name, _} <- os:env(), not is_allowed(Name)] ++
        py_port_python:library_path(Resolved).

-spec is_allowed(string()) -> boolean().
is_allowed(Name) ->
    lists:member(Name, ?ENV_NAMES) orelse
        lists:any(fun(Prefix) -> lists:prefix(Prefix, Name) end, ?ENV_PREFIXES).

-spec begin_start(port(), py_port_options:options(), start()) -> #s{}.
begin_start(Port, Options, #{credit := Credit} = Start) ->
    %% undefined: the program is gone already, and its exit status is on the way.
    Launcher =
        case erlang:port_info(Port, os_pid) of
            {os_pid, OsPid} -> OsPid;
            _ -> 0
        end,
    Writer = py_port_writer:start_link(Port),
    Io = py_port_io:start_link(#{
        target => maps:get(io, Options),
        owner => self(),
        label => label(Options),
        rate => maps:get(io_rate, Options)
    }),
    #s{
        start = Start,
        port = Port,
        writer = Writer,
        io = Io,
        output = py_port_output:new(Io, maps:get(io_line, Options), Credit),
        timer = erlang:start_timer(maps:get(start_timeout, Options), self(), start),
        body = #{
            port => Port,
            writer => Writer,
            io => Io,
            launcher => Launcher,
            start_time => py_port_death:start_time(Launcher),
            report => none
        }
    }.

%% @doc The context's name for logs.
-spec label(py_port_options:options()) -> binary().
label(#{name := none}) -> py_port_error:text(io_lib:format("~p", [self()]));
label(#{name := {local, Name}}) -> atom_to_binary(Name);
label(#{name := {global, Name}}) -> py_port_error:text(io_lib:format("~tp", [Name]));
label(#{name := {via, _, Name}}) -> py_port_error:text(io_lib:format("~tp", [Name])).

%% HELLO -------------------------------------------------------------------------------------------

-spec hello(#s{}) -> {ok, started()} | {error, term()} | {parent_down, term()}.
hello(#s{port = Port} = S) ->
    case next(S) of
        {frame, Frame, S1} ->
            case py_port_wire:hello(Frame) of
                {ok, Hello} -> check_hello(Hello, S1);
                error -> give_up(protocol, <<"the first frame is not a HELLO">>, none, S1)
            end;
        {timeout, S1} ->
            give_up(hello_timeout, <<"the launcher did not say hello in time">>, none, S1);
        {stopped, S1} ->
            stopped(S1);
        {gone, Seen, S1} ->
            gone(Seen, S1);
        {parent_down, Reason, S1} ->
            _ = py_port_death:kill(S1#s.body),
            finish(S1),
            true = is_port(Port),
            {parent_down, Reason}
    end.

-spec check_hello(py_port_wire:hello(), #s{}) ->
    {ok, started()} | {error, term()} | {parent_down, term()}.
check_hello(#{version := Version}, S) when Version =/= ?PROTOCOL_VERSION ->
    give_up(
        version,
        py_port_error:text(
            io_lib:format("the worker speaks protocol ~b and this py_port ~b", [
                Version, ?PROTOCOL_VERSION
            ])
        ),
        none,
        S
    );
check_hello(Hello, #s{body = #{launcher := Launcher, start_time := StartTime} = Body} = S) ->
    #{worker := Worker, report_fd := Fd} = Hello,
    case Hello of
        #{launcher := Launcher, start_time := StartTime} ->
            Path = io_lib:format("/proc/~b/fd/~b", [Launcher, Fd]),
            case file:open(Path, [read, raw, binary]) of
                {ok, Report} ->
                    _ = S#s.io ! {os_pid, Worker},
                    configure(S#s{os_pid = Worker, body = Body#{report := Report}});
                {error, Why} ->
                    Text = io_lib:format("the launcher's report cannot be opened: ~p", [Why]),
                    give_up(protocol, py_port_error:text(Text), none, S)
            end;
        #{} ->
            give_up(protocol, <<"HELLO does not name the launcher that was started">>, none, S)
    end.

-spec configure(#s{}) -> {ok, started()} | {error, term()} | {parent_down, term()}.
configure(#s{start = Start} = S) ->
    #{options := Options, resolved := Resolved, incarnation := Incarnation, credit := Credit} =
        Start,
    Env = maps:merge(library_path(), maps:get(env, Options)),
    Config = py_port_options:config(Options#{env := Env}, Resolved, #{
        incarnation => Incarnation,
        credit => Credit,
        label => label(Options),
        package => py_port_python:package()
    }),
    case text_size(Config) of
        Size when Size > ?MAX_CONFIG ->
            give_up(config, too_large(Size, Config), none, S);
        _ ->
            Frame = py_port_wire:short(?K_CONFIG, ?PROTOCOL_VERSION, py_port_json:encode(Config)),
            ok = py_port_writer:send(S#s.writer, Frame),
            case Options of
                #{init := none} -> ready(S, ready_timeout);
                #{init_timeout := Ms} -> ready(restart_timer(Ms, S), init_timeout)
            end
    end.

-spec text_size(term()) -> non_neg_integer().
text_size(Text) when is_binary(Text) -> byte_size(Text);
text_size(List) when is_list(List) -> lists:sum([text_size(E) || E <- List]);
text_size(Map) when is_map(Map) -> text_size([[K, V] || {K, V} <- maps:to_list(Map)]);
text_size(_) -> 0.

%% Most of it is in one option.
-spec too_large(pos_integer(), py_port_json:json()) -> binary().
too_large(Size, #{init := Init, env := Env, python := #{path := Path}}) ->
    {Most, Option} = lists:max([{text_size(V), K} || {K, V} <- [{init, Init}, {env, Env}, {path, Path}]]),
    py_port_error:text(
        io_lib:format("the options hold ~b bytes of text, ~b of them in ~s; ~b are allowed", [
            Size, Most, Option, ?MAX_CONFIG
        ])
    ).

%% The worker takes that of its dynamic linker, where our libpython comes first, out of its environment.
%% What it starts gets the node's.
-spec library_path() -> #{binary() => binary()}.
library_path() ->
    case os:getenv("LD_LIBRARY_PATH", "") of
        "" -> #{};
        Path -> #{<<"LD_LIBRARY_PATH">> => unicode:characters_to_binary(Path)}
    end.

-spec ready(#s{}, ready_timeout | init_timeout) ->
    {ok, started()} | {error, term()} | {parent_down, term()}.
ready(S, OnTimeout) ->
    case next(S) of
        {frame, <<?K_READY, _/binary>> = Frame, S1} when byte_size(Frame) > ?MAX_READY ->
            give_up(protocol, <<"READY is too large">>, none, S1);
        {frame, <<?K_START_FAILED, _/binary>> = Frame, S1} when byte_size(Frame) > ?MAX_FAILURE ->
            give_up(protocol, <<"START_FAILED is too large">>, none, S1);
        {frame, <<?K_READY, _:24, ?PROTOCOL_VERSION:64, Payload/binary>>, S1} ->
            case py_port_terms:decode_plain(Payload) of
                {ok, Ready} when is_map(Ready) -> {ok, started(Ready, S1)};
                _ -> give_up(protocol, <<"READY holds no map">>, none, S1)
            end;
        {frame, <<?K_READY, _/binary>>, S1} ->
            give_up(version, <<"the worker speaks another protocol version">>, none, S1);
        {frame, <<?K_START_FAILED, _:88, Payload/binary>>, S1} ->
            refused(py_port_terms:decode_plain(Payload), S1);
        {frame, <<?K_OUTPUT, _/binary>>, S1} ->
            give_up(protocol, <<"output that was not allowed, before READY">>, none, S1);
        {frame, _, S1} ->
            give_up(protocol, <<"an unexpected frame before READY">>, none, S1);
        {timeout, S1} when OnTimeout =:= init_timeout ->
            give_up(init_timeout, <<"init did not finish within init_timeout">>, none, S1);
        {timeout, S1} ->
            give_up(ready_timeout, <<"Python was not ready within start_timeout">>, none, S1);
        {stopped, S1} ->
            stopped(S1);
        {gone, Seen, S1} ->
            gone(Seen, S1);
        {parent_down, Reason, S1} ->
            _ = py_port_death:kill(S1#s.body),
            finish(S1),
            {parent_down, Reason}
    end.

-spec started(map(), #s{}) -> started().
started(Ready, S) ->
    #s{port = Port, writer = Writer, io = Io, body = Body, output = Output} = cancel_timer(S),
    ok = stop_when_ready(S#s.stop),
    #{
        port => Port,
        writer => Writer,
        io => Io,
        body => Body,
        os_pid => S#s.os_pid,
        ready => maps:filtermap(fun claim/2, maps:with(?CLAIMS, Ready)),
        output => Output
    }.

%% Kept as long as the context lives, and shown to whoever asks.
-spec claim(atom(), term()) -> {true, binary()} | false.
claim(_, Text) when is_binary(Text), byte_size(Text) =< ?MAX_CLAIM -> {true, binary:copy(Text)};
claim(_, _) -> false.

%% Waiting -----------------------------------------------------------------------------------------

%% The next frame that is not output.
-spec next(#s{}) ->
    {frame, binary(), #s{}}
    | {timeout, #s{}}
    | {stopped, #s{}}
    | {gone, py_port_death:exit_seen(), #s{}}
    | {parent_down, term(), #s{}}.
next(#s{port = Port, timer = Timer, stop = Stop, start = #{parent := Parent}, output = Output} = S) ->
    receive
        {Port, {data, <<?K_OUTPUT, Flags, 0:16, Dropped:64, Line/binary>> = Frame}} ->
            case py_port_output:line(Flags, Dropped, Line, Output) of
                {ok, Output1} -> next(S#s{output = Output1});
                {broken, _} -> {frame, Frame, S}
            end;
        {Port, {data, Frame}} ->
            {frame, Frame, S};
        {Port, {exit_status, Status}} ->
            {gone, {exit_status, Status}, S};
        {'EXIT', Port, _} ->
            {gone, closed, S};
        {'EXIT', Parent, Reason} ->
            {parent_down, Reason, S};
        {timeout, Timer, start} ->
            {timeout, S};
        {timeout, Stop, stop} ->
            {stopped, S};
        {stop, Grace} ->
            next(S#s{stop = sooner(Grace, Stop)});
        {credit, N} ->
            ok = py_port_writer:send(S#s.writer, py_port_wire:short(?K_CREDIT, N)),
            ok = py_port_writer:tell(S#s.writer, S#s.io, credited),
            next(S#s{output = py_port_output:allow(N, Output)})
    end.

-spec restart_timer(non_neg_integer(), #s{}) -> #s{}.
restart_timer(Ms, S) ->
    S1 = cancel_timer(S),
    S1#s{timer = erlang:start_timer(Ms, self(), start)}.

-spec cancel_timer(#s{}) -> #s{}.
cancel_timer(#s{timer = Timer} = S) when is_reference(Timer) ->
    _ = erlang:cancel_timer(Timer),
    receive
        {timeout, Timer, start} -> ok
    after 0 -> ok
    end,
    S#s{timer = none};
cancel_timer(S) ->
    S.

%% Stopping ----------------------------------------------------------------------------------------

-spec sooner(timeout(), Stop) -> Stop when Stop :: none | infinity | reference().
sooner(infinity, none) ->
    infinity;
sooner(infinity, Stop) ->
    Stop;
sooner(Grace, Stop) ->
    %% An atom, where no end has been set, is more than any number.
    erlang:start_timer(min(Grace, left(Stop)), self(), stop).

%% What is left of the grace. Its timer is no more.
-spec left(none | infinity | reference()) -> none | timeout().
left(Stop) when is_reference(Stop) ->
    case erlang:cancel_timer(Stop) of
        false ->
            receive
                {timeout, Stop, stop} -> 0
            end;
        Left ->
            Left
    end;
left(Stop) ->
    Stop.

%% Whoever routes messages from now on stops it.
-spec stop_when_ready(none | infinity | reference()) -> ok.
stop_when_ready(none) ->
    ok;
stop_when_ready(Stop) ->
    self() ! {stop, left(Stop)},
    ok.

-spec stopped(#s{}) -> {error, term()}.
stopped(S) ->
    give_up(stopped, <<"it was stopped before it was ready">>, none, S).

%% Failing -----------------------------------------------------------------------------------------

%% The worker said why it does not start, and exits by itself.
-spec refused({ok, term()} | {error, term()}, #s{}) -> {error, term()}.
refused(Decoded, S) ->
    {What, Error, Message} =
        case Decoded of
            {ok, {python, #{formatted := Text}} = E} when is_binary(Text) -> {init, E, Text};
            {ok, {What0, Text}} when is_atom(What0), is_binary(Text) -> {What0, none, Text};
            {ok, {What0, E}} when is_atom(What0) -> {What0, E, py_port_error:format(E)};
            {ok, Text} when is_binary(Text) -> {worker, none, Text};
            {ok, Other} -> {worker, Other, py_port_error:format(Other)};
            {error, Bad} -> {protocol, none, py_port_error:format({bad_reply, Bad})}
        end,
    Seen = await_end(restart_timer(2000, S)),
    fail(What, Message, Error, Seen, S).

-spec await_end(#s{}) -> py_port_death:exit_seen().
await_end(S) ->
    case next(S) of
        {gone, Seen, _} -> Seen;
        {frame, _, S1} -> await_end(S1);
        {timeout, S1} -> py_port_death:kill(S1#s.body);
        {stopped, S1} -> py_port_death:kill(S1#s.body);
        {parent_down, _, S1} -> py_port_death:kill(S1#s.body)
    end.

-spec give_up(atom(), binary(), term(), #s{}) -> {error, term()}.
give_up(What, Message, Error, #s{body = Body, os_pid = OsPid} = S0) ->
    S = cancel_timer(S0),
    Seen =
        %% Where Python is tells something only if it is Python that does not come along.
        case OsPid > 0 andalso is_slow(What) of
            true -> py_port_death:dump_and_kill(Body, ?DUMP_TOKEN);
            false -> py_port_death:kill(Body)
        end,
    fail(What, Message, Error, Seen, S).

-spec is_slow(atom()) -> boolean().
is_slow(What) ->
    What =:= ready_timeout orelse What =:= init_timeout.

-spec gone(py_port_death:exit_seen(), #s{}) -> {error, term()}.
gone(Seen, S) ->
    fail(worker, none, none, Seen, S).

-spec fail(atom(), binary() | none, term(), py_port_death:exit_seen(), #s{}) -> {error, term()}.
fail(What, Message, Error, Seen, S0) ->
    S = cancel_timer(S0),
    #{report := Report, status := Status, late := Late} = py_port_death:collect(Seen, S#s.body),
    finish(S),
    Stderr = py_port_post_mortem:stderr(Late ++ py_port_output:tail(S#s.output), Report),
    Stack = py_port_post_mortem:stack(Report),
    Text =
        case Message of
            none -> with_limits(py_port_post_mortem:start_message(Status, Report), S);
            _ -> Message
        end,
    {error, {start_failed, failure(What, Text, Error, Stderr, Stack)}}.

%% One of them may be why: what runs out of memory, say, cannot always tell.
-spec with_limits(binary(), #s{}) -> binary().
with_limits(Text, #s{start = #{options := #{limits := Limits}}}) when Limits =:= #{} ->
    Text;
with_limits(Text, #s{start = #{options := #{limits := Limits}}}) ->
    Each = [io_lib:format("~s ~b", [Name, Value]) || {Name, Value} <- lists:sort(maps:to_list(Limits))],
    py_port_error:text([Text, " (limits: ", lists:join(", ", Each), ")"]).

-spec failure(atom(), binary(), term(), [binary()], binary()) -> py_port_error:start_failure().
failure(What, Message, Error, Stderr, Stack) ->
    #{what => What, message => Message, error => Error, stderr => Stderr, stack => Stack}.

-spec finish(#s{}) -> ok.
finish(#s{writer = Writer, io = Io, body = #{report := Report}}) ->
    true = unlink(Writer),
    true = exit(Writer, kill),
    _ = Report =:= none orelse file:close(Report),
    py_port_io:finish(Io).
