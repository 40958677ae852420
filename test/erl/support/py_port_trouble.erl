%% @doc What the failure suites share: crowds of callers whose outcomes and mailboxes are looked at, signals, and the
%% files that hold Python back until a test is ready.
%%
%% A caller of {@link crowd/2} stays after its call, so that a message that comes late stays in its mailbox and is found.
%% @end
-module(py_port_trouble).

-export([options/1, data/1, support/1, go_file/1, go/1]).
-export([aside/1, crowd/2, outcomes/1, outcomes/2, dismiss/1]).
-export([signal/2, signal_if_there/2, identity/1, is_gone/1, gone_within/2, rss/1]).
-export([exit_of/1, in_flight/1, is_idle/1, mailbox/1]).
-export_type([crowd/0]).

-type crowd() :: [pid()].
-type identity() :: {pos_integer(), non_neg_integer() | unknown}.

%% Nothing here takes long unless it hangs; the machine may be busy.
-define(PATIENCE, 60000).

%% Files -------------------------------------------------------------------------------------------------------------

%% @doc Options of a context that can import `trouble'.
-spec options(map()) -> map().
options(Options) ->
    maps:merge(#{path => [data("")], io => null}, Options).

-spec data(file:filename()) -> file:filename().
data(Name) ->
    filename:join([filename:dirname(py_port_test:data_dir()), "failure_data", Name]).

-spec support(file:filename()) -> file:filename().
support(Name) ->
    filename:join([filename:dirname(py_port_test:data_dir()), "support", Name]).

%% @doc The name of a file that does not exist yet. Python's `wait_for' returns when it does.
-spec go_file(proplists:proplist()) -> binary().
go_file(Config) ->
    Dir = proplists:get_value(priv_dir, Config),
    Name = io_lib:format("go-~b-~b", [erlang:system_time(), erlang:unique_integer([positive])]),
    unicode:characters_to_binary(filename:join(Dir, Name)).

-spec go(binary()) -> ok.
go(File) ->
    ok = file:write_file(File, <<>>).

%% Callers -----------------------------------------------------------------------------------------------------------

%% @doc N processes; the I-th runs the fun with I.
-spec crowd(pos_integer(), fun((pos_integer()) -> term())) -> crowd().
crowd(N, Fun) ->
    Self = self(),
    [
        spawn(fun() ->
            Self ! {outcome, self(), Fun(I)},
            receive
                dismissed -> ok
            end
        end)
     || I <- lists:seq(1, N)
    ].

%% @doc In a process of its own: the context then does not watch the caller, who would not look idle.
-spec aside(fun(() -> Result)) -> Result.
aside(Fun) ->
    {Pid, Ref} = spawn_monitor(fun() -> exit({done, Fun()}) end),
    receive
        {'DOWN', Ref, process, Pid, {done, Result}} -> Result;
        {'DOWN', Ref, process, Pid, Reason} -> error(Reason)
    end.

-spec outcomes(crowd()) -> [term()].
outcomes(Crowd) ->
    outcomes(Crowd, ?PATIENCE).

%% @doc One outcome per caller, in order; fails when one has none within so many ms.
-spec outcomes(crowd(), timeout()) -> [term()].
outcomes(Crowd, Ms) ->
    Deadline = erlang:monotonic_time(millisecond) + Ms,
    [
        receive
            {outcome, Pid, Outcome} -> Outcome
        after max(0, Deadline - erlang:monotonic_time(millisecond)) ->
            error({no_outcome, Pid, erlang:process_info(Pid, [current_stacktrace, status])})
        end
     || Pid <- Crowd
    ].

%% @doc Nobody got a second answer. For a crowd whose outcomes are all in.
-spec dismiss(crowd()) -> ok.
dismiss(Crowd) ->
    Late = [{Pid, Messages} || Pid <- Crowd, Messages <- [mailbox(Pid)], Messages =/= []],
    lists:foreach(fun(Pid) -> Pid ! dismissed end, Crowd),
    Late =:= [] orelse error({late_messages, Late}),
    ok.

-spec mailbox(pid()) -> [term()].
mailbox(Pid) ->
    case erlang:process_info(Pid, messages) of
        {messages, Messages} -> Messages;
        undefined -> []
    end.

%% Contexts ----------------------------------------------------------------------------------------------------------

%% @doc The reason of the exit of a linked context; the caller traps exits.
-spec exit_of(pid()) -> term().
exit_of(Ctx) ->
    receive
        {'EXIT', Ctx, Reason} -> Reason
    after ?PATIENCE -> error({context_lives, erlang:process_info(Ctx)})
    end.

%% @doc Requests without an answer, without asking the worker.
-spec in_flight(pid()) -> non_neg_integer().
in_flight(Ctx) ->
    maps:get(in_flight, sys:get_state(Ctx)).

%% @doc Nothing of any caller is left in the context.
-spec is_idle(pid()) -> boolean().
is_idle(Ctx) ->
    case sys:get_state(Ctx) of
        #{in_flight := 0, stopping := 0, callers := 0, refs := 0} ->
            {monitors, Monitors} = erlang:process_info(Ctx, monitors),
            {links, Links} = erlang:process_info(Ctx, links),
            Queues = [erlang:process_info(P, message_queue_len) || P <- Links, is_pid(P), P =/= self()],
            %% The registry is watched for ever.
            length(Monitors) =:= 1 andalso lists:all(fun(Q) -> Q =:= {message_queue_len, 0} end, Queues) andalso
                erlang:process_info(Ctx, message_queue_len) =:= {message_queue_len, 0};
        _ ->
            false
    end.

%% The operating system ----------------------------------------------------------------------------------------------

%% @doc Sends a signal to a process of a test's own worker.
-spec signal(atom(), pos_integer()) -> ok.
signal(Name, Pid) ->
    case kill(Name, Pid) of
        0 -> ok;
        Status -> error({kill_failed, Name, Pid, Status})
    end.

%% @doc To one that may end by itself meanwhile.
-spec signal_if_there(atom(), pos_integer()) -> ok.
signal_if_there(Name, Pid) ->
    Identity = identity(Pid),
    case kill(Name, Pid) of
        0 -> ok;
        Status -> is_gone(Identity) orelse error({kill_failed, Name, Pid, Status}), ok
    end.

-spec kill(atom(), pos_integer()) -> non_neg_integer().
kill(Name, Pid) ->
    Port = open_port({spawn_executable, "/bin/sh"}, [
        {args, ["-c", "kill -s \"$1\" \"$2\" 2>/dev/null", "sh", string:uppercase(atom_to_list(Name)), integer_to_list(Pid)]},
        exit_status,
        in
    ]),
    receive
        {Port, {exit_status, Status}} -> Status
    end.

%% @doc A process, as opposed to a later one with the same number.
-spec identity(pos_integer()) -> identity().
identity(Pid) ->
    {Pid, py_port_death:start_time(Pid)}.

%% @doc A zombie is gone: it runs nothing and holds nothing. (Who should reap it may be gone as well.)
-spec is_gone(identity()) -> boolean().
is_gone({Pid, StartTime}) ->
    case py_port_proc:stat(Pid) of
        {ok, #{state := State, start_time := StartTime}} -> State =:= $Z orelse State =:= $X;
        _ -> true
    end.

%% @doc How many ms it took until all of them were gone; fails when the bound passes first.
-spec gone_within([identity()], pos_integer()) -> non_neg_integer().
gone_within(Processes, Bound) ->
    Start = erlang:monotonic_time(millisecond),
    case py_port_test:wait_until(fun() -> lists:all(fun is_gone/1, Processes) end, Bound) of
        true -> erlang:monotonic_time(millisecond) - Start;
        false -> error({still_there, [P || P <- Processes, not is_gone(P)]})
    end.

-spec rss(pos_integer()) -> non_neg_integer().
rss(OsPid) ->
    #{rss := Rss} = py_port_proc:usage(OsPid),
    Rss.
