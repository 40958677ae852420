%% @doc The main job of the example: start the host, let things go wrong, and say what held.
-module(plugin_host).

-export([main/0, run_and_halt/0]).

%% Long enough to see the whole timeline of {@link plugin_host_faults} and some quiet time after it.
-define(RUN_MS, 15000).
%% A healthy tenant needs about ten seconds for its data; a busy machine may need more.
-define(PASS_PATIENCE_MS, 60000).
%% Everything was told to stop, and stopping waits for the workers; this is for the kernel to clean up.
-define(GONE_PATIENCE_MS, 2000).

%% @doc Entry point for `erl -s plugin_host main'. Ends the node: with 0 if every claim held, with 1 if not.
-spec main() -> ok.
main() ->
    _ = spawn(?MODULE, run_and_halt, []),
    ok.

%% @private
-spec run_and_halt() -> no_return().
run_and_halt() ->
    try run() of
        Status -> halt(Status)
    catch
        Class:Reason:Stack ->
            io:put_chars(standard_error, erl_error:format_exception(Class, Reason, Stack)),
            halt(1)
    end.

-spec run() -> 0 | 1.
run() ->
    %% Every process that a plugin starts inherits this mark in its environment, so none can hide from us.
    Mark = lists:concat([os:getpid(), "-", erlang:system_time(microsecond)]),
    ok = application:set_env(plugin_host, mark, Mark),
    {ok, _} = application:ensure_all_started(plugin_host),
    Seen = watch(),
    ok = application:stop(plugin_host),
    ok = application:stop(py_port),
    report(plugin_host_claims:check(Seen#{left_over => left_over(Mark, maps:get(os_pids, Seen))})).

%% The run itself. What it saw is the evidence that the claims are held against, but for what is left at the end.
-spec watch() -> map().
watch() ->
    Started = erlang:monotonic_time(millisecond),
    Outcomes = plugin_host_faults:run(),
    timer:sleep(max(0, Started + ?RUN_MS - erlang:monotonic_time(millisecond))),
    %% If it times out, the claims will say who did not get through.
    _ = plugin_host_stats:await(fun everybody_is_through/1, ?PASS_PATIENCE_MS),
    ok = plugin_host_table:finish(),
    Rows = plugin_host_stats:rows(),
    {ok, Venv} = application:get_env(plugin_host, venv),
    #{
        rows => Rows,
        outcomes => Outcomes,
        venv => Venv,
        environment => py_port:call(phonetics, plugin, environment, []),
        sharing_stdio => [
            Name
         || {Name, #{worker := #{os_pid := OsPid}}} <- maps:to_list(Rows),
            plugin_host_proc:shares_our_stdio(OsPid)
        ],
        helper => helper(Outcomes),
        to_print => binary:split(plugin_host_corpus:chunk(kjv, 1), <<"\n">>, [global, trim]),
        os_pids => os_pids(Rows),
        deadline_ms => plugin_host_tenant:deadline()
    }.

-spec everybody_is_through(plugin_host_stats:rows()) -> boolean().
everybody_is_through(Rows) ->
    Passes = [maps:get(passes, maps:get(Name, Rows)) || Name <- plugin_host_tenants:healthy()],
    lists:min(Passes) > 0.

-spec helper(#{atom() => plugin_host_faults:outcome()}) -> alive | gone.
helper(#{helper := #{result := {ok, Pid}}}) when is_integer(Pid) ->
    case plugin_host_proc:is_alive(Pid) of
        true -> alive;
        false -> gone
    end;
helper(_NeverStarted) ->
    gone.

%% Workers and their launchers, all that ever ran.
-spec os_pids(plugin_host_stats:rows()) -> [pos_integer()].
os_pids(Rows) ->
    [
        Pid
     || #{workers := Workers} <- maps:values(Rows),
        #{os_pid := OsPid, launcher := Launcher} <- Workers,
        Pid <- [OsPid, Launcher],
        Pid > 1
    ].

%% Three ways to look, because each sees what another may miss: the processes we knew, those below this node, and those
%% that carry our mark wherever they hang.
-spec left_over(string(), [pos_integer()]) -> [pos_integer()].
left_over(Mark, Known) ->
    left_over(Mark, Known, erlang:monotonic_time(millisecond) + ?GONE_PATIENCE_MS).

-spec left_over(string(), [pos_integer()], integer()) -> [pos_integer()].
left_over(Mark, Known, GiveUp) ->
    Below = [Pid || {Pid, _Name} <- plugin_host_proc:descendants(list_to_integer(os:getpid()))],
    Alive = [Pid || Pid <- Known, plugin_host_proc:is_alive(Pid)],
    case lists:usort(Below ++ Alive ++ plugin_host_proc:marked(Mark)) of
        [_ | _] = Left ->
            case erlang:monotonic_time(millisecond) < GiveUp of
                true ->
                    %% They are not our children: nobody will tell us when they are gone.
                    timer:sleep(20),
                    left_over(Mark, Known, GiveUp);
                false ->
                    Left
            end;
        [] ->
            []
    end.

-spec report([plugin_host_claims:claim()]) -> 0 | 1.
report(Claims) ->
    io:format("~n"),
    lists:foreach(
        fun({Verdict, Text}) -> io:format("~-7s ~ts~n", [word(Verdict), Text]) end, Claims
    ),
    Failed = length([failed || {failed, _} <- Claims]),
    io:format("~n~b claims, ~b failed~n", [length(Claims), Failed]),
    min(Failed, 1).

-spec word(ok | failed) -> string().
word(ok) -> "ok:";
word(failed) -> "FAILED:".
