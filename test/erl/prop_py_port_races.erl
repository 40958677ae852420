%% @doc Reply, timeout, interrupt, the death of a caller, the death of the worker and a stop, at once and in any order:
%% each caller gets exactly one outcome, one that its call can have, and afterwards the context is as if nothing had been.
%%
%% Against a real worker. What is generated is a list of things that happen, each in a process of its own and all let go
%% together; the order is the schedulers'. So a failure may need several runs to come back.
-module(prop_py_port_races).

-import(proper_types, [list/1, frequency/1, oneof/1, integer/2]).

-export([prop_one_outcome_each/0, prop_one_outcome_each/1]).

%% No outcome takes longer, unless something hangs.
-define(PATIENCE, 30000).

prop_one_outcome_each(opts) ->
    [{numtests, 40}, {max_size, 30}].

%% Without proper.hrl, which not every packaging of PropEr brings along.
prop_one_outcome_each() ->
    proper:setup(
        fun() ->
            #{level := Level} = logger:get_primary_config(),
            %% Contexts that die are what this is about; their crash reports would bury everything else.
            ok = logger:set_primary_config(level, none),
            fun() -> logger:set_primary_config(level, Level) end
        end,
        proper:forall(list(happening()), fun(Happenings) ->
            Result = run(Happenings),
            proper:whenfail(
                fun() -> io:format("~p~n", [Result]) end,
                fun() -> proper:aggregate([element(1, H) || H <- Happenings], Result =:= ok) end
            )
        end)
    ).

%% What can happen -----------------------------------------------------------------------------------------------------

happening() ->
    frequency([
        {12, {call, oneof([quick, big, raises]), timeout()}},
        {4, {call, oneof([spin, sleep_long, sleep_in_a_task]), short()}},
        {4, {mortal, oneof([quick, spin, sleep_in_a_task]), short(), delay()}},
        {3, {interrupt, delay()}},
        {2, {ping, delay()}},
        {1, {info, delay()}},
        {1, {crash, delay()}},
        {1, {kill_owner_of_worker, delay()}},
        {1, {stop, integer(0, 50), delay()}}
    ]).

timeout() -> oneof([infinity, short()]).
short() -> integer(0, 60).
delay() -> integer(0, 60).

%% Happening -----------------------------------------------------------------------------------------------------------

run(Happenings) ->
    {ok, Ctx} = py_port:start_context(py_port_trouble:options(#{link => false, kill_after => 300})),
    {ok, []} = py_port_trouble:aside(fun() -> py_port:call(Ctx, trouble, marks, []) end),
    #{os_pid := Worker} = py_port:info(Ctx),
    Identity = py_port_trouble:identity(Worker),
    Ref = monitor(process, Ctx),
    Crowd = [{H, spawn_one(H, Ctx, Worker)} || H <- Happenings],
    Wrong = [W || {H, Pid} <- Crowd, W <- [outcome(H, Pid)], W =/= ok],
    Late = [{H, M} || {H, Pid} <- Crowd, M <- [py_port_trouble:mailbox(Pid)], M =/= []],
    _ = [exit(Pid, kill) || {_, Pid} <- Crowd],
    After = after_all(Ctx, Ref, Identity),
    case {Wrong, Late, After} of
        {[], [], ok} -> ok;
        _ -> {failed, #{wrong => Wrong, late => Late, afterwards => After}}
    end.

spawn_one(Happening, Ctx, Worker) ->
    Self = self(),
    spawn(fun() ->
        Outcome = happen(Happening, Ctx, Worker),
        Self ! {outcome, self(), Outcome},
        receive
            never -> ok
        end
    end).

happen({call, What, Timeout}, Ctx, _) ->
    call(What, Timeout, Ctx);
happen({mortal, What, Timeout, Delay}, Ctx, _) ->
    Victim = spawn(fun() -> call(What, Timeout, Ctx) end),
    wait(Delay),
    exit(Victim, kill);
happen({interrupt, Delay}, Ctx, _) ->
    wait(Delay),
    %% As py_port:interrupt/1 and ping/1, which give up after 5 s.
    py_port_control:interrupt(Ctx, ?PATIENCE);
happen({ping, Delay}, Ctx, _) ->
    wait(Delay),
    py_port_control:ping(Ctx, ?PATIENCE);
happen({info, Delay}, Ctx, _) ->
    wait(Delay),
    py_port:info(Ctx);
happen({crash, Delay}, Ctx, _) ->
    wait(Delay),
    py_port:call(Ctx, os, abort, []);
happen({kill_owner_of_worker, Delay}, Ctx, Worker) ->
    wait(Delay),
    py_port:call(Ctx, os, kill, [Worker, 9]);
happen({stop, Grace, Delay}, Ctx, _) ->
    wait(Delay),
    py_port:stop_context(Ctx, Grace).

%% Not to wait for anything: it spreads what happens over the time in which it can meet.
wait(Ms) ->
    receive
    after Ms -> ok
    end.

call(quick, Timeout, Ctx) -> py_port:call(Ctx, math, sqrt, [16], #{}, #{timeout => Timeout});
call(big, Timeout, Ctx) -> py_port:call(Ctx, trouble, digest, [big()], #{}, #{timeout => Timeout});
call(raises, Timeout, Ctx) -> py_port:call(Ctx, trouble, raise_it, [<<"ValueError">>], #{}, #{timeout => Timeout});
call(Function, Timeout, Ctx) -> py_port:call(Ctx, trouble, Function, [], #{}, #{timeout => Timeout}).

big() ->
    binary:copy(<<255, "big">>, 50000).

%% Judging -------------------------------------------------------------------------------------------------------------

outcome(Happening, Pid) ->
    receive
        {outcome, Pid, Outcome} ->
            case is_possible(Happening, Outcome) of
                true -> ok;
                false -> {impossible, Happening, Outcome}
            end
    after ?PATIENCE -> {no_outcome, Happening, erlang:process_info(Pid, current_stacktrace)}
    end.

%% Any call may be interrupted, and the worker may die under it.
is_possible({call, _, _}, {error, {worker_down, _}}) -> true;
is_possible({call, _, infinity}, {error, timeout}) -> false;
is_possible({call, _, _}, {error, timeout}) -> true;
is_possible({call, _, _}, {error, interrupted}) -> true;
is_possible({call, quick, _}, Outcome) -> Outcome =:= {ok, 4.0};
is_possible({call, big, _}, Outcome) -> Outcome =:= {ok, erlang:crc32(big())};
is_possible({call, raises, _}, {error, {python, #{type := Type}}}) -> Type =:= <<"ValueError">>;
is_possible({call, _, _}, _) -> false;
is_possible({mortal, _, _, _}, Outcome) -> Outcome;
is_possible({interrupt, _}, Outcome) -> lists:member(Outcome, [ok, {error, not_running}]) orelse is_down(Outcome);
is_possible({ping, _}, Outcome) -> Outcome =:= pong orelse is_down(Outcome);
is_possible({info, _}, Outcome) -> is_map(Outcome) orelse is_down(Outcome);
is_possible({stop, _, _}, Outcome) -> Outcome =:= ok;
is_possible({crash, _}, Outcome) -> is_down(Outcome) orelse Outcome =:= {error, interrupted};
%% The answer of os.kill may even overtake the signal.
is_possible({kill_owner_of_worker, _}, {ok, none}) -> true;
is_possible({kill_owner_of_worker, _}, Outcome) -> is_down(Outcome) orelse Outcome =:= {error, interrupted}.

is_down({error, {worker_down, _}}) -> true;
is_down(_) -> false.

%% Either it is gone, with its worker, or it is idle and works.
after_all(Ctx, Ref, Worker) ->
    case py_port_test:wait_until(fun() -> is_settled(Ctx) end, ?PATIENCE) of
        false ->
            {not_settled, catch sys:get_state(Ctx)};
        true ->
            Works = py_port_trouble:aside(fun() -> py_port:call(Ctx, math, sqrt, [16], #{}, #{timeout => ?PATIENCE}) end),
            ok = py_port:stop_context(Ctx),
            receive
                {'DOWN', Ref, process, Ctx, _} -> ok
            end,
            Gone = py_port_test:wait_until(fun() -> py_port_trouble:is_gone(Worker) end, ?PATIENCE),
            Rest = py_port_test:flush(),
            case {Works, Gone, Rest} of
                {{ok, 4.0}, true, []} -> ok;
                {{error, {worker_down, _}}, true, []} -> ok;
                Other -> Other
            end
    end.

is_settled(Ctx) ->
    not is_process_alive(Ctx) orelse
        try
            py_port_trouble:is_idle(Ctx)
        catch
            exit:_ -> false
        end.
