#!/usr/bin/env escript
%% -*- erlang -*-
%%! -pa _build/default/lib/py_port/ebin
%% A stream needs memory for what is under way, not for what has passed: 10 GB through one context, out of Python and then
%% into it, in items of 64 KiB, with the peak of memory of both processes.
%%
%%     escript bench/stream_memory.escript [--size 10GB] [--item 65536] [--limit MB] [--python PATH] [--slow]
%%
%% from the project's folder, after `rebar3 compile'. Ends with status 1 when a process needed more than the limit (100 MB)
%% on top of what it had when idle. Each side checks each item's number and bytes. With --slow each consumer rests for 1 ms
%% every 10 items, so that the producer is always ahead; use a smaller size.
%%
%% Idle is the resident set after a first short stream each way and a collection; the peak is VmHWM of /proc/PID/status,
%% which starts anew (clear_refs) with each direction.
-mode(compile).

-define(MB, 1.0e6).

main(Arguments) ->
    Root = filename:dirname(filename:dirname(filename:absname(escript:script_name()))),
    true = code:add_patha(filename:join(Root, "_build/default/lib/py_port/ebin")),
    Given = #{size := Size, item := Item} = parse(Arguments, #{size => 10000000000, item => 65536, limit => 100, python => none, slow => false}),
    Item > 8 orelse stop("an item has more than 8 bytes", []),
    {ok, _} = application:ensure_all_started(py_port),
    {ok, Context} = py_port:start_context(options(Root, Given)),
    #{os_pid := Worker} = py_port:info(Context),
    Job = Given#{context => Context, count => max(1, Size div Item), worker => integer_to_list(Worker)},
    io:format("~.2f GB each way, items of ~b bytes~n~n", [Size / 1.0e9, Item]),
    io:format("~-16s ~12s   ~-35s ~-35s~n", ["", "", "BEAM, MB of resident memory", "worker, MB of resident memory"]),
    io:format("~-16s ~12s   ~-35s ~-35s~n", ["", "throughput", "idle     peak     difference", "idle     peak     difference"]),
    Within = [direction(Name, Stream, Job) || {Name, Stream} <- [{"out of Python", fun out/1}, {"into Python", fun into/1}]],
    ok = py_port:stop_context(Context),
    halt(case lists:all(fun(Ok) -> Ok end, Within) of true -> 0; false -> 1 end).

parse([], Given) -> Given;
parse(["--size", Size | Rest], Given) -> parse(Rest, Given#{size := bytes(Size)});
parse(["--item", Size | Rest], Given) -> parse(Rest, Given#{item := bytes(Size)});
parse(["--limit", Mb | Rest], Given) -> parse(Rest, Given#{limit := list_to_integer(Mb)});
parse(["--python", Path | Rest], Given) -> parse(Rest, Given#{python := Path});
parse(["--slow" | Rest], Given) -> parse(Rest, Given#{slow := true});
parse([Other | _], _) -> stop("unknown argument ~s; see the head of bench/stream_memory.escript", [Other]).

bytes(Text) ->
    case string:to_integer(Text) of
        {N, ""} when N > 0 -> N;
        {N, "KB"} when N > 0 -> N * 1000;
        {N, "MB"} when N > 0 -> N * 1000000;
        {N, "GB"} when N > 0 -> N * 1000000000;
        _ -> stop("~s is no size: a number of bytes, or one with KB, MB or GB", [Text])
    end.

stop(Format, Arguments) ->
    io:format(standard_error, "stream_memory: " ++ Format ++ "~n", Arguments),
    halt(2).

options(Root, #{python := Python}) ->
    Path = #{path => [unicode:characters_to_binary(filename:join(Root, "bench/python"))], types => #{binaries => bytes}},
    case Python of
        none -> Path;
        _ -> Path#{python => unicode:characters_to_binary(Python)}
    end.

direction(Name, Stream, #{worker := Worker, count := Count, item := Item, limit := Limit} = Job) ->
    %% Modules are loaded and heaps have the size that work gives them.
    _ = in_process(fun() -> Stream(Job#{count := 10}) end),
    Idle = {idle("self"), idle(Worker)},
    Micros = in_process(fun() -> element(1, timer:tc(fun() -> Stream(Job) end)) end),
    Peak = {peak("self"), peak(Worker)},
    io:format("~-16s ~7b MB/s   ~s ~s~n", [Name, round(Count * Item / Micros), memory(1, Idle, Peak), memory(2, Idle, Peak)]),
    Over = [Who || {Who, N} <- [{"the BEAM", 1}, {"the worker", 2}], (element(N, Peak) - element(N, Idle)) / ?MB > Limit],
    _ = [io:format("~s: ~s needed more than ~b MB on top of what it had when idle~n", [Name, Who, Limit]) || Who <- Over],
    Over =:= [].

memory(N, Idle, Peak) ->
    From = element(N, Idle),
    To = element(N, Peak),
    io_lib:format("~-35s", [io_lib:format("~-8.1f ~-8.1f ~.1f", [From / ?MB, To / ?MB, (To - From) / ?MB])]).

%% In a process of its own, with its garbage.
in_process(Fun) ->
    {Pid, Ref} = spawn_monitor(fun() -> exit({result, Fun()}) end),
    receive
        {'DOWN', Ref, process, Pid, {result, Result}} -> Result;
        {'DOWN', Ref, process, Pid, Why} -> stop("the stream broke: ~p", [Why])
    end.

%% The streams -------------------------------------------------------------------------------------

out(#{context := Context, count := Count, item := Size} = Job) ->
    {ok, Stream} = py_port:stream(Context, bench_memory, produce, [Count, Size]),
    Filling = filling(Size),
    {ok, Count} = py_port:fold(
        fun(<<N:64, Rest/binary>>, N) when Rest =:= Filling ->
            ok = rest(N, Job),
            N + 1
        end, 0, Stream).

into(#{context := Context, count := Count, item := Size, slow := Slow}) ->
    Rest = case Slow of true -> 0.001; false -> 0 end,
    {ok, Stream} = py_port:open_stream(Context, bench_memory, consume, [Size, Rest]),
    ok = push(Stream, filling(Size), 0, Count),
    ok = py_port:finish(Stream),
    Total = Count * Size,
    {ok, Total} = py_port:result(Stream).

push(_, _, Count, Count) ->
    ok;
push(Stream, Filling, N, Count) ->
    ok = py_port:push(Stream, <<N:64, Filling/binary>>),
    push(Stream, Filling, N + 1, Count).

filling(Size) ->
    binary:copy(<<16#FF>>, Size - 8).

%% A slow consumer is what this is for: time is not waited for, it is taken.
rest(N, #{slow := true}) when N rem 10 =:= 9 -> receive after 1 -> ok end;
rest(_, _) -> ok.

%% Memory ------------------------------------------------------------------------------------------

%% The resident set now; the peak starts from here.
idle(Process) ->
    _ = [erlang:garbage_collect(P) || Process =:= "self", P <- processes()],
    ok = reset_peak(Process),
    status(Process, "VmRSS").

peak(Process) ->
    status(Process, "VmHWM").

reset_peak(Process) ->
    case file:write_file("/proc/" ++ Process ++ "/clear_refs", "5") of
        ok -> ok;
        {error, Why} -> stop("the peak of ~s cannot be reset: ~p", [Process, Why])
    end.

status(Process, Field) ->
    {ok, Text} = file:read_file("/proc/" ++ Process ++ "/status"),
    {match, [Kb]} = re:run(Text, "^" ++ Field ++ ":\\s+(\\d+)", [multiline, {capture, all_but_first, list}]),
    list_to_integer(Kb) * 1024.
