%% @doc Reads the launcher's report: docs/protocol.md, section 7.
%%
%% Pure. The text comes from a file that a worker may have scribbled over, so it is untrusted:
%% numbers are bounded, sections may not claim more bytes than are there, no atom is made from it,
%% and an unknown line is skipped.
%% @end
-module(py_port_report).

-export([parse/1, max_bytes/0, signal_name/1]).
-export_type([report/0, status/0]).

-type status() :: {exited, 0..255} | {signaled, 1..127} | start_failed.
-type report() :: #{
    status := status(),
    core := boolean(),
    killed := boolean(),
    user_us := non_neg_integer(),
    system_us := non_neg_integer(),
    max_rss_kb := non_neg_integer(),
    descendants := non_neg_integer(),
    message := binary(),
    stack := binary(),
    stdout := binary(),
    stderr := binary()
}.

%% @doc More than a launcher ever writes: four sections of at most 64 KiB and a few lines.
-spec max_bytes() -> pos_integer().
max_bytes() ->
    512 * 1024.

%% @doc `incomplete': the launcher is still writing, or the file is not a report.
-spec parse(binary()) -> {ok, report()} | incomplete.
parse(<<"py_launcher 1\n", Rest/binary>>) ->
    lines(Rest, #{
        core => false,
        killed => false,
        user_us => 0,
        system_us => 0,
        max_rss_kb => 0,
        descendants => 0,
        message => <<>>,
        stack => <<>>,
        stdout => <<>>
    });
parse(_) ->
    incomplete.

%% The section `stderr' is the last thing a launcher writes.
-spec lines(binary(), map()) -> {ok, report()} | incomplete.
lines(Text, Report) ->
    case binary:split(Text, <<"\n">>) of
        [Line, Rest] when byte_size(Line) =< 256 ->
            case line(binary:split(Line, <<" ">>), Rest, Report) of
                {more, Rest1, Report1} -> lines(Rest1, Report1);
                {last, #{status := _} = Report1} -> {ok, Report1};
                _ -> incomplete
            end;
        _ ->
            incomplete
    end.

-spec line([binary()], binary(), map()) -> {more, binary(), map()} | {last, map()} | incomplete.
line([<<"status">>, Value], Rest, Report) ->
    case status(binary:split(Value, <<" ">>)) of
        {ok, Status} -> {more, Rest, Report#{status => Status}};
        error -> incomplete
    end;
line([<<"core">>, Value], Rest, Report) ->
    {more, Rest, Report#{core => Value =:= <<"1">>}};
line([<<"killed">>, Value], Rest, Report) ->
    {more, Rest, Report#{killed => Value =:= <<"1">>}};
line([<<"user_us">>, Value], Rest, Report) ->
    {more, Rest, Report#{user_us => number(Value)}};
line([<<"system_us">>, Value], Rest, Report) ->
    {more, Rest, Report#{system_us => number(Value)}};
line([<<"max_rss_kb">>, Value], Rest, Report) ->
    {more, Rest, Report#{max_rss_kb => number(Value)}};
line([<<"descendants">>, Value], Rest, Report) ->
    {more, Rest, Report#{descendants => number(Value)}};
line([<<"message">>, Size], Rest, Report) ->
    section(message, number(Size), Rest, Report);
line([<<"stack">>, Size], Rest, Report) ->
    section(stack, number(Size), Rest, Report);
line([<<"stdout">>, Size], Rest, Report) ->
    section(stdout, number(Size), Rest, Report);
line([<<"stderr">>, Size], Rest, Report) ->
    case section(stderr, number(Size), Rest, Report) of
        {more, _, Report1} -> {last, Report1};
        incomplete -> incomplete
    end;
line(_, Rest, Report) ->
    {more, Rest, Report}.

-spec section(atom(), non_neg_integer(), binary(), map()) -> {more, binary(), map()} | incomplete.
section(Key, Size, Text, Report) ->
    case Text of
        <<Bytes:Size/binary, "\n", Rest/binary>> ->
            %% Copied: a post-mortem outlives the report, which it would otherwise keep alive as a
            %% whole.
            {more, Rest, Report#{Key => binary:copy(Bytes)}};
        _ ->
            incomplete
    end.

-spec status([binary()]) -> {ok, status()} | error.
status([<<"exited">>, N]) -> {ok, {exited, number(N) band 255}};
status([<<"signaled">>, N]) -> {ok, {signaled, max(1, number(N) band 127)}};
status([<<"start_failed">> | _]) -> {ok, start_failed};
status(_) -> error.

-spec number(binary()) -> non_neg_integer().
number(Text) when byte_size(Text) =< 18 ->
    case string:to_integer(Text) of
        {N, <<>>} when is_integer(N), N >= 0 -> N;
        _ -> 0
    end;
number(_) ->
    0.

%% @doc The names of the signals that end processes; the number for the rest.
-spec signal_name(pos_integer()) -> atom() | pos_integer().
signal_name(1) -> sighup;
signal_name(2) -> sigint;
signal_name(3) -> sigquit;
signal_name(4) -> sigill;
signal_name(5) -> sigtrap;
signal_name(6) -> sigabrt;
signal_name(7) -> sigbus;
signal_name(8) -> sigfpe;
signal_name(9) -> sigkill;
signal_name(11) -> sigsegv;
signal_name(13) -> sigpipe;
signal_name(14) -> sigalrm;
signal_name(15) -> sigterm;
signal_name(24) -> sigxcpu;
signal_name(25) -> sigxfsz;
signal_name(31) -> sigsys;
signal_name(N) -> N.
