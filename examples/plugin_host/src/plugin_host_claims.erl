%% @doc Pure: what this example claims, held against what was seen.
%%
%% Each claim is a sentence with the figures it rests on. A claim that does not hold says so and fails the run.
%% @end
-module(plugin_host_claims).

-export([check/1]).

-export_type([evidence/0, claim/0]).

-type evidence() :: #{
    rows := plugin_host_stats:rows(),
    outcomes := #{atom() => plugin_host_faults:outcome()},
    %% what the plugin in the virtual environment said about where it runs, and where it should
    environment := {ok, map()} | {error, term()},
    venv := string(),
    %% tenants whose worker holds a stdin, stdout or stderr of this node
    sharing_stdio := [plugin_host_tenants:name()],
    %% is the helper alive that the crashed plugin had started in a session of its own?
    helper := alive | gone,
    %% the lines that the printing plugin was given
    to_print := [binary()],
    %% the workers and launchers that ran, and what was alive after everything had stopped
    os_pids := [pos_integer()],
    left_over := [pos_integer()],
    deadline_ms := pos_integer()
}.
-type claim() :: {ok | failed, iolist()}.
-type finding() :: {Holds :: boolean(), io:format(), [term()]}.

%% A call with a deadline of 500 ms must be answered at 500 ms; this much later is the fault of a busy machine.
-define(LOOP_DEADLINE_MS, 500).
-define(LOOP_SLACK_MS, 500).

-spec check(evidence()) -> [claim()].
check(Evidence) ->
    [
        claim(Claim(Evidence))
     || Claim <- [
            fun healthy_answers/1,
            fun whole_data/1,
            fun nobody_else_restarted/1,
            fun served_during_faults/1,
            fun faulty_answers/1,
            fun virtual_environment/1,
            fun segfault/1,
            fun restarted/1,
            fun helper_died_too/1,
            fun loop_stopped/1,
            fun memory_limit/1,
            fun exit_status/1,
            fun printed_lines/1,
            fun frames_untouched/1,
            fun nothing_left/1
        ]
    ].

-spec claim(finding()) -> claim().
claim({true, Format, Args}) -> {ok, io_lib:format(Format, Args)};
claim({false, Format, Args}) -> {failed, io_lib:format(Format, Args)}.

%%% the healthy

-spec healthy_answers(evidence()) -> finding().
healthy_answers(#{deadline_ms := Deadline} = Evidence) ->
    Rows = healthy(Evidence),
    [Right, Wrong, Failed, Late] = [sum(Key, Rows) || Key <- [right, wrong, failed, late]],
    Slowest = lists:max([plugin_host_histogram:max(maps:get(latency, Row)) || Row <- Rows]),
    {
        length(Rows) >= 8 andalso Right > 0 andalso Wrong + Failed + Late =:= 0,
        "the ~b healthy tenants gave ~b right answers: ~b wrong, ~b failed, ~b late "
        "(slowest ~.1f ms of ~b allowed)~ts",
        [length(Rows), Right, Wrong, Failed, Late, Slowest / 1000, Deadline, oddities(Rows)]
    }.

-spec whole_data(evidence()) -> finding().
whole_data(Evidence) ->
    Rows = healthy(Evidence),
    Passes = [maps:get(passes, Row) || Row <- Rows],
    {
        lists:min(Passes) >= 1,
        "each of them worked through its whole data set, ~b to ~b times, ~.1f MB in all",
        [lists:min(Passes), lists:max(Passes), sum(bytes, Rows) / 1.0e6]
    }.

-spec nobody_else_restarted(evidence()) -> finding().
nobody_else_restarted(Evidence) ->
    Rows = healthy(Evidence),
    Workers = [length(maps:get(workers, Row)) || Row <- Rows],
    {
        lists:all(fun(N) -> N =:= 1 end, Workers),
        "each of them was served by one and the same OS process from start to end (~b processes)",
        [lists:sum(Workers)]
    }.

-spec served_during_faults(evidence()) -> finding().
served_during_faults(#{outcomes := Outcomes}) ->
    Counts = [N || #{healthy_answers := N} <- maps:values(Outcomes)],
    {
        lists:min(Counts) > 0,
        "they went on while others broke: ~b right answers during ~b incidents, "
        "at least ~b in each",
        [lists:sum(Counts), length(Counts), lists:min(Counts)]
    }.

%%% the faulty

-spec faulty_answers(evidence()) -> finding().
faulty_answers(#{rows := Rows}) ->
    Faulty = maps:values(maps:without(plugin_host_tenants:healthy(), Rows)),
    {
        sum(wrong, Faulty) =:= 0 andalso sum(right, Faulty) > 0,
        "the ~b misbehaving tenants gave ~b right answers besides their faults, and ~b wrong~ts",
        [length(Faulty), sum(right, Faulty), sum(wrong, Faulty), wrongs(Faulty)]
    }.

-spec virtual_environment(evidence()) -> finding().
virtual_environment(#{environment := {ok, #{<<"prefix">> := Prefix} = Found}, venv := Venv}) ->
    #{<<"module">> := Module} = Found,
    Root = unicode:characters_to_binary(Venv),
    {
        Prefix =:= Root andalso string:prefix(Module, <<Root/binary, "/">>) =/= nomatch,
        "phonetics ran in its own virtual environment: ~ts came from there (sys.prefix ~ts)",
        [filename:basename(Module), Prefix]
    };
virtual_environment(#{environment := Other}) ->
    {false, "phonetics could not say where it runs: ~tp", [Other]}.

-spec segfault(evidence()) -> finding().
segfault(#{outcomes := #{segfault := #{result := Result}}, rows := #{crasher := Row}}) ->
    #{downs := Downs} = Row,
    Stacks = [Stack || {worker_killed, sigsegv, #{stack := Stack}} <- Downs],
    Told =
        case Result of
            {error, {worker_down, {worker_killed, sigsegv, _}}} -> true;
            _ -> false
        end,
    case Told andalso length(Downs) =:= 2 andalso length(Stacks) =:= 2 of
        true ->
            {
                lists:all(fun(Stack) -> stack_line(Stack) =/= none end, Stacks),
                "each null pointer ended one worker; its caller and the supervisor were told "
                "SIGSEGV and where Python was: ~ts",
                [stack_line(hd(Stacks))]
            };
        false ->
            {
                false,
                "each null pointer should end a worker with SIGSEGV; the call got ~0tP, "
                "the supervisor ~0tP",
                [Result, 12, Downs, 20]
            }
    end.

-spec restarted(evidence()) -> finding().
restarted(#{outcomes := Outcomes}) ->
    Crashes = [maps:get(Id, Outcomes) || Id <- [segfault, exit, segfault_again]],
    {
        lists:all(fun is_replaced/1, Crashes),
        "the supervisor replaced each dead worker: ~ts",
        [lists:join("; ", [replacement(Crash) || Crash <- Crashes])]
    }.

-spec helper_died_too(evidence()) -> finding().
helper_died_too(#{outcomes := #{helper := #{result := Result}}, helper := Helper}) ->
    case Result of
        {ok, Pid} when is_integer(Pid) ->
            {
                Helper =:= gone,
                "the helper ~b, which it had started in a session of its own, is ~s",
                [Pid, Helper]
            };
        _ ->
            {false, "the helper did not start: ~0tP", [Result, 12]}
    end.

-spec loop_stopped(evidence()) -> finding().
loop_stopped(#{outcomes := #{loop := #{result := Result, took_ms := Took} = Outcome}}) ->
    InTime = Took >= ?LOOP_DEADLINE_MS andalso Took =< ?LOOP_DEADLINE_MS + ?LOOP_SLACK_MS,
    {
        Result =:= {error, timeout} andalso InTime andalso serves_again(Outcome),
        "the endless loop got ~0tP after ~b ms (deadline ~b ms), and its context served again ~ts",
        [Result, 12, Took, ?LOOP_DEADLINE_MS, again(Outcome)]
    }.

-spec memory_limit(evidence()) -> finding().
memory_limit(#{outcomes := #{memory := #{result := Result} = Outcome}}) ->
    {Contained, What} =
        case Result of
            {error, {python, #{type := <<"MemoryError">>}}} ->
                {true, "MemoryError as the error of that call"};
            {error, {worker_down, _}} ->
                {true, "the end of that worker alone"};
            _ ->
                {false, io_lib:format("~0tP", [Result, 12])}
        end,
    {
        Contained andalso serves_again(Outcome),
        "allocating past the limit gave ~ts, and the tenant served again ~ts",
        [What, again(Outcome)]
    }.

-spec exit_status(evidence()) -> finding().
exit_status(#{outcomes := #{exit := #{result := Result}}, rows := #{quitter := Row}}) ->
    #{downs := Downs} = Row,
    Told =
        case {Result, Downs} of
            {{error, {worker_down, {worker_exited, 3, _}}}, [{worker_exited, 3, _} | _]} -> true;
            _ -> false
        end,
    {Told, "os._exit(3) was told apart from a signal: ~ts", [reason(Result)]}.

%%% what was printed

-spec printed_lines(evidence()) -> finding().
printed_lines(#{rows := #{printer := #{printed := Printed}}, to_print := Rows}) ->
    FromC = [<<"C: ", Row/binary>> || Row <- Rows],
    FromChild = [<<"child: ", Row/binary>> || Row <- Rows],
    Stdout = [Line || {stdout, Line} <- lists:reverse(Printed)],
    Stderr = [Line || {stderr, Line} <- lists:reverse(Printed)],
    {
        Stdout =:= FromC ++ FromChild andalso Stderr =:= FromChild,
        "every line printed by C and by child processes is in the log, in order, with its context "
        "and stream: ~b lines on stdout (expected ~b), ~b on stderr (expected ~b)",
        [length(Stdout), length(FromC) + length(FromChild), length(Stderr), length(FromChild)]
    }.

-spec frames_untouched(evidence()) -> finding().
frames_untouched(#{rows := #{printer := Row}, outcomes := #{print := Print}} = Evidence) ->
    #{result := Result} = Print,
    #{wrong := Wrong, failed := Failed, workers := Workers} = Row,
    #{sharing_stdio := Sharing, to_print := Lines} = Evidence,
    {
        Result =:= {ok, length(Lines)} andalso
            {Wrong, Failed, length(Workers), Sharing} =:= {0, 0, 1, []},
        "printing disturbed nothing: ~b calls of the printing tenant failed, "
        "and ~b workers hold this node's stdio",
        [Wrong + Failed, length(Sharing)]
    }.

%%% the end

-spec nothing_left(evidence()) -> finding().
nothing_left(#{os_pids := OsPids, left_over := LeftOver}) ->
    {
        OsPids =/= [] andalso LeftOver =:= [],
        "no process is left of the ~b workers and launchers that ran, nor of what they started~ts",
        [length(OsPids), case LeftOver of [] -> ""; _ -> io_lib:format(": ~w", [LeftOver]) end]
    }.

%%% private

-spec healthy(evidence()) -> [plugin_host_stats:row()].
healthy(#{rows := Rows}) ->
    [maps:get(Name, Rows) || Name <- plugin_host_tenants:healthy()].

-spec sum(atom(), [plugin_host_stats:row()]) -> non_neg_integer().
sum(Key, Rows) ->
    lists:sum([maps:get(Key, Row) || Row <- Rows]).

-spec oddities([plugin_host_stats:row()]) -> iolist().
oddities(Rows) ->
    [
        io_lib:format("~n      ~0tP", [Oddity, 20])
     || #{oddities := Oddities} <- Rows, Oddity <- Oddities
    ].

-spec wrongs([plugin_host_stats:row()]) -> iolist().
wrongs(Rows) ->
    oddities([
        Row#{oddities := [Wrong || {wrong, _} = Wrong <- Kept]}
     || #{oddities := Kept} = Row <- Rows
    ]).

-spec serves_again(plugin_host_faults:outcome()) -> boolean().
serves_again(#{served_again_after_ms := After}) ->
    After =/= never.

-spec again(plugin_host_faults:outcome()) -> iolist().
again(#{served_again_after_ms := never}) -> "never";
again(#{served_again_after_ms := After}) -> io_lib:format("after ~b ms", [After]).

-spec is_replaced(plugin_host_faults:outcome()) -> boolean().
is_replaced(#{os_pid_before := Before, os_pid_after := After} = Outcome) ->
    serves_again(Outcome) andalso is_integer(Before) andalso is_integer(After) andalso
        Before =/= After.

-spec replacement(plugin_host_faults:outcome()) -> iolist().
replacement(#{tenant := Tenant, os_pid_before := Before, os_pid_after := After} = Outcome) ->
    io_lib:format("~s ~w -> ~w, served ~ts", [Tenant, Before, After, again(Outcome)]).

-spec reason(term()) -> iolist().
reason({error, Reason}) -> plugin_host_stats:brief(Reason);
reason(Other) -> io_lib:format("~0tP", [Other, 12]).

%% The line of a faulthandler stack that names the plugin's own function.
-spec stack_line(binary()) -> binary() | none.
stack_line(Stack) ->
    Lines = binary:split(Stack, <<"\n">>, [global]),
    case [Line || Line <- Lines, binary:match(Line, <<"read_native_header">>) =/= nomatch] of
        [Line | _] -> hd(lists:reverse(binary:split(Line, <<"/plugin_host/">>)));
        [] -> none
    end.
