%% @doc For the suites about calls from Python to Erlang, the Erlang half: a worker made of a script sends every CALLBACK frame itself,
%% well or badly, and shows every answer it got.
%%
%% The numbers of callbacks are chosen by the tests, as the worker chooses them.
%% @end
-module(py_port_callback_bed).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-include("../../../erl_src/py_port.hrl").

-define(OK, 16#30).
-define(ERROR, 16#31).

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

init_per_testcase(Config) ->
    _ = process_flag(trap_exit, true),
    Config.

end_per_testcase(Config) ->
    _ = [py_port:unregister_function(Name) || {Name, _} <- ets:tab2list(?FUNCTIONS)],
    Result = py_port_test:end_per_testcase(Config),
    ?assertEqual([], ets:tab2list(?JOBS)),
    ?assertEqual([], supervisor:which_children(py_port_job_sup)),
    Result.

fake(Options) ->
    py_port_test:start_context(maps:merge(#{worker => py_port_trouble:support("fake_worker.py"), io => null}, Options)).

%% Python calls within a request, which waits for the answer.
call_back(Ctx, Id, Op) -> call_back(Ctx, Id, Op, #{}).

call_back(Ctx, Id, Op, Opts) ->
    #{deadline := Deadline, trace := Trace} = maps:merge(#{deadline => 0, trace => <<>>}, Opts),
    Args = [Id, Deadline, Trace, term_to_binary(Op)],
    case py_port:call(Ctx, fake, call_back, Args, #{}, maps:with([timeout], Opts)) of
        {ok, Answer} -> answer(Answer);
        Other -> Other
    end.

%% Python calls from a thread of its own.
callback(Ctx, Id, Op) -> callback(Ctx, Id, 0, Op).

callback(Ctx, Id, Parent, Op) ->
    {ok, ok} = py_port:call(Ctx, fake, callback, [Id, Parent, term_to_binary(Op)]),
    ok.

answer_of(Ctx, Id) ->
    {ok, Answer} = py_port:call(Ctx, fake, answer_of, [Id], #{}, #{timeout => 60000}),
    answer(Answer).

answer({?OK, Payload}) -> {ok, binary_to_term(Payload)};
answer({?ERROR, Payload}) -> {error, binary_to_term(Payload)}.

call(Name) -> call(Name, []).
call(Name, Args) -> {call, Name, Args}.

%% A function that says where it runs and then waits to be let go.
waiting(Name) ->
    Test = self(),
    ok = py_port:register_function(Name, fun(Args) ->
        Test ! {running, self(), Args},
        receive
            {go, What} -> What()
        end
    end).

running() ->
    receive
        {running, Pid, _} -> Pid
    after 60000 -> error(nothing_runs)
    end.

gone(Pid) ->
    Ref = erlang:monitor(process, Pid),
    receive
        {'DOWN', Ref, process, Pid, _} -> ok
    after 60000 -> error({lives, Pid, erlang:process_info(Pid)})
    end.

idle(Ctx) ->
    py_port_test:wait_until(fun() -> maps:get(callbacks, py_port:info(Ctx)) =:= 0 end, 60000).

%% A process that does what it is told, and has nothing to do with who tells it.
stranger() ->
    Loop = fun(Loop) ->
        receive
            {do, From, Do} ->
                From ! {done, Do()},
                Loop(Loop);
            stop ->
                ok
        end
    end,
    spawn(fun() -> Loop(Loop) end).
