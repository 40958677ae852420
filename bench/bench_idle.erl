%% @doc What does a context cost that nobody uses? Wake-ups and CPU time over some seconds, and memory, of the worker and of
%% its launcher, from /proc: every thread's context switches are counted, so a timer that merely ticks is seen.
%% @end
-module(bench_idle).

-export([run/1]).

-spec run(map()) -> [bench_report:row()].
run(#{quick := Quick} = Env) ->
    {ok, Context} = py_port:start_context(maps:get(context, Env)),
    _ = [{ok, 4.0} = py_port:call(Context, math, sqrt, [16]) || _ <- lists:seq(1, 1000)],
    #{os_pid := Worker} = py_port:info(Context),
    Launcher = parent(Worker),
    %% What the calls left to do (the end of spinning, a last tick) is done then; the measurement itself is time.
    receive after 500 -> ok end,
    Before = {activity(Worker), activity(Launcher)},
    Seconds = case Quick of true -> 2; false -> 5 end,
    receive after Seconds * 1000 -> ok end,
    {WorkerWakes, WorkerTicks} = minus(activity(Worker), element(1, Before)),
    {LauncherWakes, LauncherTicks} = minus(activity(Launcher), element(2, Before)),
    Memory = [{Id, memory(Pid)} || {Id, Pid} <- [{worker, Worker}, {launcher, Launcher}]],
    ok = py_port:stop_context(Context),
    Over = " over " ++ integer_to_list(Seconds) ++ " s, idle",
    [one(idle_wakeups, "wake-ups of the worker" ++ Over, count, WorkerWakes),
     one(idle_cpu, "CPU time of the worker" ++ Over, ticks, WorkerTicks),
     one(idle_launcher_wakeups, "wake-ups of the launcher" ++ Over, count, LauncherWakes),
     one(idle_launcher_cpu, "CPU time of the launcher" ++ Over, ticks, LauncherTicks)
     | [one({memory, Id, Kind}, atom_to_list(Kind) ++ " of an idle " ++ atom_to_list(Id), kb, Kb)
        || {Id, Kinds} <- Memory, {Kind, Kb} <- Kinds]].

one(Id, What, Unit, Number) ->
    bench_report:row(Id, What, Unit, bench_measure:summary([Number])).

%% Context switches and clock ticks of all threads together.
activity(Pid) ->
    Tasks = filelib:wildcard("/proc/" ++ integer_to_list(Pid) ++ "/task/*"),
    Each = [{switches(T), ticks(T)} || T <- Tasks],
    {lists:sum([S || {S, _} <- Each]), lists:sum([T || {_, T} <- Each])}.

minus({A1, B1}, {A0, B0}) -> {A1 - A0, B1 - B0}.

switches(Task) ->
    Status = read(Task ++ "/status"),
    field(Status, "voluntary_ctxt_switches") + field(Status, "nonvoluntary_ctxt_switches").

%% utime and stime: fields 14 and 15, counted behind the name, which may contain blanks and parentheses.
ticks(Task) ->
    [_, Rest] = string:split(read(Task ++ "/stat"), ") ", trailing),
    Fields = string:lexemes(Rest, " \n"),
    list_to_integer(lists:nth(12, Fields)) + list_to_integer(lists:nth(13, Fields)).

memory(Pid) ->
    Rollup = read("/proc/" ++ integer_to_list(Pid) ++ "/smaps_rollup"),
    [{rss, field(Rollup, "Rss")}, {pss, field(Rollup, "Pss")}].

parent(Pid) ->
    field(read("/proc/" ++ integer_to_list(Pid) ++ "/status"), "PPid").

field(Text, Name) ->
    {match, [Number]} = re:run(Text, "^" ++ Name ++ ":\\s+(\\d+)", [multiline, {capture, all_but_first, list}]),
    list_to_integer(Number).

read(File) ->
    {ok, Text} = file:read_file(File),
    binary_to_list(Text).
