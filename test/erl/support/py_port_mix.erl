%% @doc What can happen in both directions at once, and what is to be true of it: for the property of the mix and the soak.
%%
%% A happening is a term that {@link happen/2} carries out in the calling process, and {@link judge/3} knows which outcomes
%% it may have in the company of others. The shapes of {@link work/1} and {@link trouble/0} say which happenings there are;
%% whoever generates them reads the shapes: `{one, List}', `{int, From, To}', `{list, Shape, Max}'; a tuple of shapes is a tuple.
%%
%% Chains of calls go from the first context to the second and never back: two contexts whose main threads wait for each
%% other would wait for ever, as any two processes that call each other.
-module(py_port_mix).

-export([work/1, trouble/0, sample/1, register/0, unregister/0, options/1]).
-export([run/2, report/1, happen/2, judge/3, leftovers/1, settled/1, wait/1]).

-include("py_port.hrl").

%% No outcome takes longer, unless something hangs.
-define(PATIENCE, 60000).
-define(FAILED, <<"failed">>).

%% Shapes ------------------------------------------------------------------------------------------------------------

work(calm) -> works(infinity);
work(troubled) ->
    Short = {int, 0, 60},
    Works = works({one, [infinity, Short]}),
    Mortal = [{W, {mortal, Work, Short}} || {W, Work} <- works({one, [infinity, Short]})],
    [
        {30, {one, [Shape || {W, Shape} <- Works, _ <- lists:seq(1, W)]}},
        {8, {one, [Shape || {W, Shape} <- Mortal, _ <- lists:seq(1, W)]}},
        {6, {cancelled, hops(), hops(), Short}},
        {4, {cast, hops(), hops()}},
        {6, {stay, {one, [stay, stay_async, stay_in_a_loop, thread]}, Short}}
    ].

works(Timeout) ->
    [
        {12, {journey, hops(), hops(), {one, [0, 10, 100000]}, Timeout}},
        {2, {gather, {int, 1, 200}, Timeout}},
        {2, {threads, {int, 1, 20}, {int, 1, 10}, Timeout}},
        {2, {pipe, {one, [pass_on, pass_on_async, thread]}, {int, 0, 50}, Timeout}},
        {2, {stream, {one, [count, count_async]}, {int, 0, 50}}},
        {2, {push, {one, [total, total_async]}, {int, 0, 50}}},
        {2, {awaits, {int, 1, 100}, Timeout}}
    ].

hops() ->
    {list, {{one, [sync, task, loop, thread, user_thread, relative, aside]}, {one, [own, child]}}, 4}.

trouble() ->
    Delay = {int, 0, 80},
    Context = {int, 1, 2},
    [
        {3, {kill_jobs, {int, 1, 5}, Delay}},
        {2, {rename, Delay}},
        {2, {interrupt, Context, Delay}},
        {1, {kill_worker, Context, Delay}},
        {1, {stop, Context, {one, [0, 50]}, Delay}},
        {1, {kill_owner, Context, Delay}}
    ].

%% @doc A value of the shape, for those who have no generators.
sample({one, List}) -> sample(lists:nth(rand:uniform(length(List)), List));
sample({int, From, To}) -> From + rand:uniform(To - From + 1) - 1;
sample({list, Shape, Max}) -> [sample(Shape) || _ <- lists:seq(1, rand:uniform(Max + 1) - 1)];
sample({weighted, Choices}) -> sample({one, [Shape || {W, Shape} <- Choices, _ <- lists:seq(1, W)]});
sample(Tuple) when is_tuple(Tuple) -> list_to_tuple([sample(E) || E <- tuple_to_list(Tuple)]);
sample(Value) -> Value.

%% Functions ---------------------------------------------------------------------------------------------------------

register() ->
    ok = py_port:register_function(hop, fun hop/1),
    ok = py_port:register_function(same, fun([X]) -> X end),
    ok = py_port:register_function(stay, fun([]) -> receive never -> ok end end).

unregister() ->
    lists:foreach(fun py_port:unregister_function/1, [hop, same, stay]).

hop([[], Token]) ->
    Token;
hop([[[Kind, Who, Context] | Hops], Token]) ->
    Call = fun() -> value(call_hop(Kind, Context, Hops, Token, #{})) end,
    case Who of
        <<"own">> -> Call();
        <<"child">> -> py_port_test:await(py_port_test:async(Call))
    end.

value({ok, Value}) -> Value;
value({error, Reason}) -> [?FAILED, tag(Reason)].

call_hop(Kind, Context, Hops, Token, Opts) ->
    {Function, How} = target(Kind),
    py_port:call(ctx(Context), probe_mix, Function, [Hops, Token], #{}, maps:merge(How, Opts)).

target(<<"thread">>) -> {sync_hop, #{thread => true}};
target(<<"user_thread">>) -> {thread_hop, #{}};
target(Kind) -> {<<Kind/binary, "_hop">>, #{}}.

%% Python knows contexts by name.
ctx(Name) ->
    try binary_to_existing_atom(Name) of
        Atom -> Atom
    catch
        error:badarg -> mix_nowhere
    end.

%% Reasons as text: nested errors travel through Python.
tag(timeout) -> <<"timeout">>;
tag(cancelled) -> <<"cancelled">>;
tag(interrupted) -> <<"interrupted">>;
tag({worker_down, _}) -> <<"worker_down">>;
tag({python, #{type := <<"CallError">>, message := M}}) -> call_error(M);
tag({python, #{type := Type}}) -> Type;
tag(Other) -> unicode:characters_to_binary(io_lib:format("~0tP", [Other, 12])).

call_error(Message) ->
    case re:run(Message, "killed|cancelled") of
        {match, _} -> <<"killed">>;
        nomatch -> <<"CallError: ", Message/binary>>
    end.

%% Happening ---------------------------------------------------------------------------------------------------------

%% @doc Everything is imported before anybody calls: an import that is interrupted leaves half of its modules behind, and Python
%% cannot import the other half again. Who does not stop within our patience has failed, and is found by it while it is still there.
options(Options) ->
    Init = <<"import probe_mix, concurrent.futures.thread, erlang.channel, erlang._mailbox, erlang._threads, erlang._context_loop, "
        "erlang._streams, erlang._pump, erlang._inlet">>,
    maps:merge(#{path => [py_port_test:data_dir()], io => null, kill_after => 3 * ?PATIENCE, init => {code, Init}}, Options).

%% @doc In the calling process; `Contexts' are registered names. Whatever it starts ends with this process.
happen({journey, A, B, Size, Timeout}, Contexts) ->
    Token = token(Size),
    case route(A, B, Contexts) of
        [] -> {ok, Token, Token};
        [[Kind, _, Context] | Hops] -> {call_hop(Kind, Context, Hops, Token, #{timeout => Timeout}), Token}
    end;
happen({gather, N, Timeout}, [C | _]) ->
    py_port:call(C, probe_mix, many_tasks, [N, rand:uniform(1000000)], #{}, #{timeout => Timeout});
happen({threads, N, Calls, Timeout}, [C | _]) ->
    py_port:call(C, probe_mix, many_threads, [N, Calls, rand:uniform(1000000)], #{}, #{timeout => Timeout});
happen({awaits, N, Timeout}, Contexts) ->
    C = lists:last(Contexts),
    Handles = [py_port:async_call(C, math, sqrt, [I * I], #{timeout => Timeout}) || I <- lists:seq(1, N)],
    py_port:gather(Handles);
happen({pipe, How, N, Timeout}, [C | _]) ->
    pipe(C, How, N, Timeout);
happen({stream, Function, N}, [C | _]) ->
    case py_port:stream(C, probe_mix, Function, [N]) of
        {ok, Stream} -> py_port:to_list(Stream);
        Error -> Error
    end;
happen({push, Function, N}, [C | _]) ->
    case py_port:open_stream(C, probe_mix, Function, []) of
        {ok, Stream} -> pushed([py_port:push(Stream, I) || I <- lists:seq(1, N)], Stream);
        Error -> Error
    end;
happen({stay, thread, Timeout}, Contexts) ->
    py_port:call(lists:last(Contexts), probe_mix, stay, [], #{}, #{timeout => Timeout, thread => true});
happen({stay, Function, Timeout}, Contexts) ->
    py_port:call(lists:last(Contexts), probe_mix, Function, [], #{}, #{timeout => Timeout});
happen({cast, A, B}, Contexts) ->
    case route(A, B, Contexts) of
        [] -> ok;
        [[Kind, _, Context] | Hops] ->
            {Function, _} = target(Kind),
            py_port:cast(ctx(Context), probe_mix, Function, [Hops, 1])
    end;
happen({cancelled, A, B, Delay}, Contexts) ->
    Token = token(10),
    case route(A, B, Contexts) of
        [] -> {{ok, Token}, Token};
        [[Kind, _, Context] | Hops] ->
            {Function, How} = target(Kind),
            Handle = py_port:async_call(ctx(Context), probe_mix, Function, [Hops, Token], How),
            wait(Delay),
            ok = py_port:cancel(Handle),
            {py_port:await(Handle), Token}
    end;
happen({mortal, Work, Delay}, Contexts) ->
    Victim = spawn(fun() -> happen(Work, Contexts) end),
    wait(Delay),
    true = exit(Victim, kill),
    ok;
happen({kill_jobs, N, Delay}, _) ->
    wait(Delay),
    Jobs = [Pid || {_, Pid, _, _} <- supervisor:which_children(py_port_job_sup)],
    _ = [exit(Job, kill) || Job <- lists:sublist(Jobs, N)],
    ok;
happen({rename, Delay}, _) ->
    wait(Delay),
    ok = py_port:unregister_function(hop),
    py_port:register_function(hop, fun hop/1);
happen({interrupt, I, Delay}, Contexts) ->
    wait(Delay),
    %% As py_port:interrupt/1, which gives up after 5 s: on a machine that is busy for that long nothing is wrong yet.
    py_port_control:interrupt(nth(I, Contexts), ?PATIENCE);
happen({kill_worker, I, Delay}, Contexts) ->
    wait(Delay),
    case py_port:info(nth(I, Contexts)) of
        %% What else happens may end it before the signal comes.
        #{os_pid := Pid} -> py_port_trouble:signal_if_there(kill, Pid);
        Down -> Down
    end;
happen({stop, I, Grace, Delay}, Contexts) ->
    wait(Delay),
    py_port:stop_context(nth(I, Contexts), Grace);
happen({kill_owner, I, Delay}, Contexts) ->
    wait(Delay),
    case whereis(nth(I, Contexts)) of
        undefined -> ok;
        Pid -> exit(Pid, kill)
    end.

nth(I, Contexts) -> lists:nth(min(I, length(Contexts)), Contexts).

route(A, B, Contexts) ->
    [hop_of(Hop, hd(Contexts)) || Hop <- A] ++ [hop_of(Hop, lists:last(Contexts)) || Hop <- B].

hop_of({Kind, Who}, Context) ->
    [atom_to_binary(Kind), atom_to_binary(Who), atom_to_binary(Context)].

%% Different for each, so that an answer that reaches somebody else is seen.
token(Size) -> [erlang:unique_integer([positive]), binary:copy(<<"x">>, Size)].

%% Not to wait for anything: it spreads what happens over the time in which it can meet.
wait(Ms) ->
    receive
    after Ms -> ok
    end.

%% Erlang sends, Python passes on, Erlang receives.
pipe(C, How, N, Timeout) ->
    {ok, In} = py_port_channel:new(#{capacity => 3}),
    {ok, Out} = py_port_channel:new(#{capacity => 3}),
    {Function, Opts} = case How of thread -> {pass_on, #{thread => true}}; _ -> {How, #{}} end,
    Handle = py_port:async_call(C, probe_mix, Function, [In, Out], Opts#{timeout => Timeout}),
    Self = self(),
    Sender = spawn_link(fun() ->
        _ = [py_port_channel:send(In, I) || I <- lists:seq(1, N)],
        ok = py_port_channel:close(In)
    end),
    spawn_link(fun() -> Self ! {received, Out, received(Out)} end),
    Outcome = py_port:await(Handle),
    true = unlink(Sender),
    true = exit(Sender, kill),
    ok = py_port_channel:close(Out),
    ok = py_port_channel:close(In),
    receive
        {received, Out, Got} -> {Outcome, Got}
    end.

received(Channel) ->
    case py_port_channel:recv(Channel) of
        {ok, Message} -> [Message | received(Channel)];
        {error, closed} -> []
    end.

pushed(Pushes, Stream) ->
    case lists:usort(Pushes) -- [ok] of
        [] ->
            _ = py_port:finish(Stream),
            py_port:result(Stream);
        [Error | _] ->
            _ = py_port:close(Stream),
            Error
    end.

%% Judging -----------------------------------------------------------------------------------------------------------

%% @doc Whether a happening may end so, when `All' happened.
judge({journey, [], [], _, _}, {ok, T, T}, _) -> true;
judge({journey, _, _, _, Timeout}, {Outcome, Token}, All) -> is_own(Outcome, Token) orelse fails(Outcome, Timeout, All);
judge({gather, N, Timeout}, Outcome, All) -> Outcome =:= {ok, N} orelse fails(Outcome, Timeout, All);
judge({threads, N, M, Timeout}, Outcome, All) -> Outcome =:= {ok, N * M} orelse fails(Outcome, Timeout, All);
judge({awaits, N, Timeout}, Outcomes, All) when length(Outcomes) =:= N ->
    lists:all(
        fun({I, Outcome}) -> Outcome =:= {ok, float(I)} orelse fails(Outcome, Timeout, All) end,
        lists:zip(lists:seq(1, N), Outcomes)
    );
judge({pipe, _, N, _}, {{ok, Passed}, Got}, _) -> Passed =:= length(Got) andalso Got =:= lists:seq(1, N);
judge({pipe, _, N, Timeout}, {Outcome, Got}, All) ->
    lists:prefix(Got, lists:seq(1, N)) andalso fails(Outcome, Timeout, All);
judge({stream, _, N}, Outcome, All) -> Outcome =:= {ok, lists:seq(0, N - 1)} orelse fails(Outcome, infinity, All);
judge({push, _, N}, Outcome, All) -> Outcome =:= {ok, N * (N + 1) div 2} orelse fails(Outcome, infinity, All);
judge({stay, _, Timeout}, Outcome, All) -> fails(Outcome, Timeout, All);
judge({load, _, _}, Outcome, All) -> fails(Outcome, infinity, All);
judge({cast, _, _}, Outcome, _) -> Outcome =:= ok;
judge({cancelled, _, _, _}, {{error, cancelled}, _}, _) -> true;
judge({cancelled, _, _, _}, {Outcome, Token}, All) -> is_own(Outcome, Token) orelse fails(Outcome, infinity, All);
judge({mortal, _, _}, Outcome, _) -> Outcome =:= ok;
judge({interrupt, _, _}, Outcome, All) -> lists:member(Outcome, [ok, {error, not_running}]) orelse fails(Outcome, infinity, All);
judge({kill_worker, _, _}, Outcome, All) -> Outcome =:= ok orelse fails(Outcome, infinity, All);
judge({kill_owner, _, _}, Outcome, _) -> lists:member(Outcome, [ok, true]);
judge({Tag, _, _}, Outcome, _) when Tag =:= kill_jobs -> Outcome =:= ok;
judge({rename, _}, Outcome, _) -> Outcome =:= ok;
judge({stop, _, _, _}, Outcome, _) -> Outcome =:= ok;
judge(_, _, _) -> false.

is_own({ok, [Number, Text]}, [Number, Text]) -> true;
is_own(_, _) -> false.

%% An outcome that has its cause among what happened.
fails({ok, [?FAILED, Tag]}, Timeout, All) -> is_explained(Tag, Timeout, All);
fails({error, Reason}, Timeout, All) -> is_explained(tag(Reason), Timeout, All);
fails(_, _, _) -> false.

is_explained(Tag, Timeout, _) when Tag =:= <<"timeout">>; Tag =:= <<"TimeoutError">> -> Timeout =/= infinity;
is_explained(Tag, _, All) ->
    Causes = #{
        <<"worker_down">> => [kill_worker, stop, kill_owner],
        <<"interrupted">> => [interrupt],
        <<"killed">> => [kill_jobs],
        <<"FunctionNotFound">> => [rename]
    },
    lists:any(fun(H) -> lists:member(element(1, H), maps:get(Tag, Causes, [])) end, All).

%% One mix -----------------------------------------------------------------------------------------------------------

%% @doc Carries it out on so many new contexts. `ok', or what was wrong, the worst first.
run(N, Happenings) ->
    ok = py_port_test:start(),
    ok = register(),
    Names = lists:sublist([mix_one, mix_two], N),
    Contexts = [py_port_test:start_context(options(#{name => Name, link => false})) || Name <- Names],
    Crowd = py_port_trouble:crowd(length(Happenings), fun(I) -> happened(lists:nth(I, Happenings), Names) end),
    Outcomes = lists:zip(Happenings, [outcome(Pid, Contexts) || Pid <- Crowd]),
    Wrong = [O || {Happening, Outcome} = O <- Outcomes, not judge(Happening, Outcome, Happenings)],
    Late = [{H, M} || {H, Pid} <- lists:zip(Happenings, Crowd), M <- [late(Pid)], M =/= []],
    lists:foreach(fun(Pid) -> exit(Pid, kill) end, Crowd),
    After = [R || Ctx <- Contexts, R <- [settled(Ctx)], R =/= ok],
    ok = unregister(),
    ok = py_port_test:stop_all(),
    Left = try py_port_test:check_clean() of ok -> [] catch error:What -> [What] end ++ leftovers([]),
    case {Wrong, Late, After, Left ++ py_port_test:flush()} of
        {[], [], [], []} -> ok;
        {_, _, _, Rest} -> {failed, [{wrong, Wrong}, {late, Late}, {afterwards, After}, {left, Rest}]}
    end.

happened(Happening, Names) ->
    try
        happen(Happening, Names)
    catch
        Class:Reason:Stack -> {crashed, Class, Reason, Stack}
    end.

outcome(Pid, Contexts) ->
    Ref = erlang:monitor(process, Pid),
    Outcome =
        receive
            {outcome, Pid, Known} -> Known;
            {'DOWN', Ref, process, Pid, Reason} -> {ended, Reason}
        after ?PATIENCE -> {hangs, erlang:process_info(Pid, current_stacktrace), [state_of(Ctx) || Ctx <- Contexts]}
        end,
    true = erlang:demonitor(Ref, [flush]),
    Outcome.

%% @doc What was wrong, one line each, the worst first: logs are cut off at their end. Texts of any size are not worth reading.
report(ok) ->
    "ok";
report({failed, Failures}) when is_list(Failures) ->
    [io_lib:format("~s: ~0tp~n", [What, brief(Failure)]) || {What, List} <- Failures, Failure <- List];
report({failed, Why}) ->
    io_lib:format("failed: ~0tp~n", [brief(Why)]).

brief(Text) when is_binary(Text), byte_size(Text) > 2000 ->
    {binary:part(Text, 0, 100), '... of', byte_size(Text)};
brief([Head | Tail]) -> [brief(Head) | brief(Tail)];
brief(Tuple) when is_tuple(Tuple) -> list_to_tuple(brief(tuple_to_list(Tuple)));
brief(Map) when is_map(Map) -> maps:map(fun(_, Value) -> brief(Value) end, Map);
brief(Value) -> Value.

%% A context whose process was killed ends the handles of its asynchronous calls with a 'DOWN' that await/1 understands.
late(Pid) ->
    py_port_trouble:mailbox(Pid).

%% @doc A context without callers is as if nothing had been, or it is gone.
settled(Ctx) ->
    case py_port_test:wait_until(fun() -> is_settled(Ctx) end, ?PATIENCE) of
        true -> ok;
        false -> {not_settled, state_of(Ctx)}
    end.

is_settled(Ctx) ->
    not is_process_alive(Ctx) orelse
        try py_port_trouble:is_idle(Ctx) andalso rest(Ctx) =:= {0, 0, 0, 0, {ok, [[], [], 0]}} of
            Idle -> Idle andalso py_port_trouble:is_idle(Ctx)
        catch
            exit:_ -> false
        end.

%% What the worker knows of requests and callbacks, and what Python has that nobody needs any more.
rest(Ctx) ->
    py_port_trouble:aside(fun() ->
        case py_port:info(Ctx) of
            #{queued := Queued, tasks := Tasks, awaited := Awaited, callbacks := Jobs} ->
                {Queued, Tasks, Awaited, Jobs, py_port:call(Ctx, probe_mix, rest, [], #{}, #{timeout => ?PATIENCE})};
            Down ->
                Down
        end
    end).

%% Who waits for what, on both sides. It ends the context, so that whoever else waits for it need not be waited for.
state_of(Ctx) ->
    {
        catch maps:remove(last_error, sys:get_state(Ctx)),
        catch requests(py_port_registry:lookup(Ctx)),
        [{Job, catch erlang:process_info(Job#job.pid, [current_stacktrace, messages])} || Job <- ets:tab2list(?JOBS)],
        catch py_port_trouble:aside(fun() -> py_port:call(Ctx, probe_mix, stacks, [], #{}, #{timeout => 5000}) end),
        catch rest(Ctx),
        catch erlang:process_info(Ctx, [monitors, messages]),
        last_stacks(Ctx)
    }.

%% What does not answer is asked by its end.
last_stacks(Ctx) ->
    Ref = erlang:monitor(process, Ctx),
    Ctx ! stop_now,
    receive
        {'DOWN', Ref, process, Ctx, {_, _, #{stack := Stack}}} -> Stack;
        {'DOWN', Ref, process, Ctx, Reason} -> Reason
    after ?PATIENCE -> no_end
    end.

requests({ok, #ctx{requests = Requests}}) -> ets:tab2list(Requests).

%% @doc What the node still has of all this when it is over.
leftovers(Contexts) ->
    All = [
        {jobs, ets:tab2list(?JOBS)},
        {job_processes, supervisor:which_children(py_port_job_sup)},
        {flows, supervisor:which_children(py_port_flow_sup)},
        {contexts, py_port:contexts() -- Contexts}
    ],
    case py_port_test:wait_until(fun() -> supervisor:which_children(py_port_flow_sup) =:= [] end, 5000) of
        true -> [Left || {What, _} = Left <- All, What =/= flows, element(2, Left) =/= []];
        false -> All
    end.
