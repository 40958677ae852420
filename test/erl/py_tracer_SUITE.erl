%% @doc Spans of Python arrive whole, with the right parents also across coroutines, generators, callbacks and contexts; `telemetry' is
%% told if it is there; and while tracing is off nothing is sent.
%% @end
-module(py_tracer_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(py_port_test, [context/1]).

-define(SPAN, <<"0123456789abcdef">>).
-define(TRACE, <<"0123456789abcdef0123456789abcdef">>).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- [kept, spans, attached, parent_of, id].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) ->
    ok.

init_per_testcase(_Case, Config) ->
    _ = process_flag(trap_exit, true),
    ok = py_tracer:enable(),
    Config.

end_per_testcase(_Case, Config) ->
    ok = py_tracer:disable(),
    Result = py_port_test:end_per_testcase(Config),
    ok = py_tracer:clear(),
    _ = [py_port:unregister_function(F) || F <- [callback, callback_async]],
    Result.

attached(Options) ->
    Ctx = context(Options),
    ok = py_tracer:attach(Ctx),
    Ctx.

%% So many, by their names. A minute is for a machine that is very busy.
spans(Count) ->
    _ = py_port_test:wait_until(fun() -> length(py_tracer:get_spans()) >= Count end, 60000),
    Spans = py_tracer:get_spans(),
    ?assertEqual(Count, length(Spans), Spans),
    maps:from_list([{Name, Span} || #{name := Name} = Span <- Spans]).

parent_of(#{parent_id := Parent}) -> Parent.
id(#{span_id := Id}) -> Id.

%% Spans ---------------------------------------------------------------------------------------------------------------

a_span_has_everything(_Config) ->
    Ctx = attached(#{}),
    Before = erlang:system_time(microsecond),
    {ok, [Trace, Id]} = py_port:call(Ctx, watched, spans, []),
    #{<<"outer">> := Outer, <<"inner">> := Inner} = spans(2),
    ?assertMatch(
        #{
            name := <<"outer">>,
            trace_id := Trace,
            span_id := Id,
            parent_id := undefined,
            status := ok,
            attributes := #{<<"table">> := <<"users">>, <<"n">> := 1},
            end_attrs := #{<<"rows">> := 3},
            events := [#{name := <<"first">>, attributes := #{<<"k">> := 1}}, #{name := <<"second">>}],
            context := Ctx
        },
        Outer
    ),
    #{start_time := Start, end_time := End, duration_us := Duration, events := [#{time := First}, #{time := Second}]} = Outer,
    ?assert(Before =< Start),
    ?assert(Start =< First),
    ?assert(First =< Second),
    ?assert(Second =< End),
    ?assert(is_integer(Duration) andalso Duration >= 0),
    ?assertMatch(#{trace_id := Trace, parent_id := Id, attributes := A} when map_size(A) =:= 0, Inner),
    ?assertEqual([<<"inner">>, <<"outer">>], [Name || #{name := Name} <- py_tracer:get_spans()]),
    ?assertEqual({ok, py_tracer:get_spans()}, py_tracer:get()).

an_exception_makes_it_an_error_and_goes_on(_Config) ->
    Ctx = attached(#{}),
    ?assertMatch({error, {python, #{type := <<"KeyError">>}}}, py_port:call(Ctx, watched, failing_span, [])),
    #{<<"fails">> := Span} = spans(1),
    ?assertMatch(#{status := error, end_attrs := #{<<"exception">> := <<"KeyError">>, <<"message">> := <<"'gone'">>}}, Span).

decorated_functions_are_spans(_Config) ->
    Ctx = attached(#{}),
    {ok, [1, 2, <<"sent">>, Consumer]} = py_port:call(Ctx, watched, decorated, []),
    Spans = spans(6),
    #{<<"watched.plain">> := Plain, <<"named">> := Named, <<"watched.generator">> := Generator} = Spans,
    #{<<"step">> := Step, <<"between">> := Between} = Spans,
    [?assertEqual(Consumer, parent_of(S)) || S <- [Plain, Named, Generator]],
    %% What the generator does is inside of it, also after a step; what its consumer does between two steps is not.
    ?assertEqual(id(Generator), parent_of(Step)),
    ?assertEqual(Consumer, parent_of(Between)).

coroutines_that_interleave_have_their_own_parents(_Config) ->
    Ctx = attached(#{}),
    {ok, 3} = py_port:call(Ctx, watched, in_tasks, []),
    Spans = spans(11),
    #{<<"all">> := All, <<"watched.agenerator">> := Generator, <<"watched.coroutine">> := Coroutine} = Spans,
    [
        begin
            #{<<"task ", I>> := Task, <<"in task ", I>> := In} = Spans,
            ?assertEqual(id(All), parent_of(Task)),
            ?assertEqual(id(Task), parent_of(In))
        end
     || I <- "012"
    ],
    ?assertEqual(id(All), parent_of(Generator)),
    ?assertEqual(id(Generator), parent_of(maps:get(<<"late">>, Spans))),
    ?assertEqual(id(All), parent_of(Coroutine)),
    ?assertEqual(id(Coroutine), parent_of(maps:get(<<"within">>, Spans))).

a_span_is_entered_once(_Config) ->
    Ctx = attached(#{}),
    ?assertMatch({error, {python, #{type := <<"RuntimeError">>}}}, py_port:call(Ctx, watched, twice, [])).

a_span_that_is_never_left_is_nobody_elses_parent(_Config) ->
    Ctx = attached(#{}),
    {ok, 1} = py_port:call(Ctx, watched, loose, []),
    {ok, none} = py_port:call(Ctx, erlang, trace_context, []),
    {ok, 1} = py_port:call(Ctx, watched, plain, []),
    #{<<"watched.plain">> := Span} = spans(1),
    ?assertMatch(#{parent_id := undefined}, Span).

%% Traces --------------------------------------------------------------------------------------------------------------

the_callers_span_is_the_parent(_Config) ->
    Ctx = attached(#{}),
    Parent = <<"00-", ?TRACE/binary, "-", ?SPAN/binary, "-01">>,
    {ok, 1} = py_port:call(Ctx, watched, plain, [], #{}, #{trace => Parent}),
    {ok, 3} = py_port:call(Ctx, watched, coroutine, [], #{}, #{trace => <<Parent/binary, "\nvendor=x">>}),
    #{<<"watched.plain">> := Plain, <<"watched.coroutine">> := Coroutine} = spans(3),
    [?assertMatch(#{trace_id := ?TRACE, parent_id := ?SPAN}, S) || S <- [Plain, Coroutine]].

a_traceparent_that_is_none_begins_a_new_trace(_Config) ->
    Ctx = attached(#{}),
    [
        {ok, 1} = py_port:call(Ctx, watched, plain, [], #{}, #{trace => Trace})
     || Trace <- [<<"x">>, <<"00-1-2-3">>, <<255>>, <<"00-", (binary:copy(<<"X">>, 32))/binary, "-", ?SPAN/binary, "-01">>]
    ],
    _ = spans_of(<<"watched.plain">>, 4),
    ?assertMatch([#{parent_id := undefined}], lists:usort([maps:with([parent_id], S) || S <- py_tracer:get_spans()])).

spans_of(Name, Count) ->
    _ = py_port_test:wait_until(fun() -> length(py_tracer:get_spans()) >= Count end, 60000),
    ?assertEqual(lists:duplicate(Count, Name), [N || #{name := N} <- py_tracer:get_spans()]).

%% Python, Erlang, Python: the same context on the same thread.
a_nested_call_is_inside_of_what_made_the_callback(_Config) ->
    nested(fun(Ctx) -> Ctx end, nested, below).

a_nested_call_of_a_coroutine_is_inside_of_what_made_the_callback(_Config) ->
    nested(fun(Ctx) -> Ctx end, nested_async, below_async).

a_nested_call_in_another_context_is_inside_of_what_made_the_callback(_Config) ->
    nested(fun(_) -> attached(#{}) end, nested, below),
    ok = py_tracer:clear(),
    nested(fun(_) -> attached(#{}) end, nested_async, below_async).

nested(Other, Above, Below) ->
    Ctx = attached(#{}),
    Second = Other(Ctx),
    Test = self(),
    ok = py_port:register_function(callback, fun([]) ->
        #{trace := Trace} = py_port:caller(),
        Test ! {trace, Trace},
        {ok, Answer} = py_port:call(Second, watched, Below, []),
        Answer
    end),
    {ok, [Trace, Id]} = py_port:call(Ctx, watched, Above, [callback]),
    #{<<"above">> := _, <<"below">> := Inner} = spans(2),
    ?assertMatch(#{trace_id := Trace, parent_id := Id}, Inner),
    Expected = <<"00-", Trace/binary, "-", Id/binary, "-01">>,
    receive
        {trace, Got} -> ?assertEqual(Expected, Got)
    end.

%% Through a process that was there before, which descends from nobody: the thread that waits knows what it waits for.
a_nested_call_without_a_trace_is_inside_of_what_the_thread_waits_in(_Config) ->
    Ctx = attached(#{}),
    ok = py_port:register_function(callback, fun([]) ->
        %% A child: its call nests, and does not carry the trace.
        Child = py_port_test:async(fun() -> py_port:call(Ctx, watched, below, []) end),
        {ok, Answer} = py_port_test:await(Child),
        Answer
    end),
    {ok, [Trace, Id]} = py_port:call(Ctx, watched, nested, [callback]),
    #{<<"below">> := Inner} = spans(2),
    ?assertMatch(#{trace_id := Trace, parent_id := Id}, Inner).

%% On and off ----------------------------------------------------------------------------------------------------------

nothing_is_sent_while_it_is_off(_Config) ->
    ok = py_tracer:disable(),
    Ctx = attached(#{}),
    Test = self(),
    ok = py_port:register_function('_py_span', fun(Args) -> Test ! {span, Args} end),
    {ok, [none, none]} = py_port:call(Ctx, watched, spans, []),
    {ok, 3} = py_port:call(Ctx, watched, in_tasks, []),
    {ok, [1, 2, <<"sent">>, none]} = py_port:call(Ctx, watched, decorated, []),
    ok = py_port:stop_context(Ctx),
    ?assertEqual([], [S || {span, _} = S <- py_port_test:flush()]).

contexts_to_come_are_told_by_their_init_code(_Config) ->
    ok = py_tracer:disable(),
    ?assertEqual(none, py_tracer:init_code()),
    ok = py_tracer:enable(),
    ?assert(py_tracer:is_enabled()),
    Ctx = context(#{init => py_logger:init_code()}),
    {ok, 1} = py_port:call(Ctx, watched, plain, []),
    #{<<"watched.plain">> := _} = spans(1).

it_is_switched_while_a_context_runs(_Config) ->
    Ctx = attached(#{}),
    ok = py_tracer:disable(),
    ok = py_tracer:attach(Ctx),
    {ok, 1} = py_port:call(Ctx, watched, plain, []),
    ok = py_tracer:enable(),
    ok = py_tracer:attach(Ctx),
    {ok, 2} = py_port:call(Ctx, watched, named, []),
    #{<<"named">> := _} = spans(1).

%% The store -----------------------------------------------------------------------------------------------------------

the_oldest_spans_make_room(_Config) ->
    ok = application:set_env(py_port, max_spans, 10),
    Ctx = attached(#{}),
    {ok, none} = py_port:call(Ctx, watched, many_spans, [25]),
    _ = py_port_test:wait_until(
        fun() ->
            #{spans := Kept, dropped := Dropped} = py_tracer:info(),
            Kept + Dropped =:= 25
        end,
        60000
    ),
    ok = application:unset_env(py_port, max_spans),
    ?assertMatch(#{spans := 10, dropped := 15, enabled := true}, py_tracer:info()),
    ?assertEqual(lists:seq(15, 24), [I || #{attributes := #{<<"i">> := I}} <- py_tracer:get_spans()]),
    ok = py_tracer:clear(),
    ?assertEqual([], py_tracer:get_spans()),
    ?assertMatch(#{spans := 0, dropped := 0}, py_tracer:info()).

every_span_of_a_flood_is_kept_or_counted(_Config) ->
    Ctx = attached(#{}),
    {ok, none} = py_port:call(Ctx, watched, many_spans, [5000]),
    _ = py_port_test:wait_until(
        fun() ->
            #{spans := Kept, dropped := Dropped} = py_tracer:info(),
            Kept + Dropped =:= 5000
        end,
        60000
    ),
    #{spans := Kept, dropped := Dropped} = py_tracer:info(),
    ?assertEqual(5000, Kept + Dropped),
    Numbers = [I || #{attributes := #{<<"i">> := I}} <- py_tracer:get_spans()],
    ?assertEqual(lists:usort(Numbers), Numbers).

large_spans_make_room_earlier(_Config) ->
    Ctx = attached(#{}),
    Full = #{<<"a">> => binary:copy(<<0>>, 30000)},
    Stop = {<<"stop">>, <<"n">>, ?SPAN, ?SPAN, ?TRACE, 1, Full, 2, 1, <<"ok">>, Full, []},
    [{ok, _} = py_port:call(Ctx, erlang, call, ['_py_span', 0, lists:duplicate(200, Stop)]) || _ <- lists:seq(1, 6)],
    #{spans := Kept, dropped := Dropped} = py_tracer:info(),
    ?assertEqual(1200, Kept + Dropped),
    ?assert(Kept * 60000 =< 67108864),
    ?assert(Kept > 1000).

what_is_no_span_is_dropped(_Config) ->
    Ctx = attached(#{}),
    Start = {<<"start">>, <<"n">>, ?SPAN, none, ?TRACE, 1, #{}},
    Stop = {<<"stop">>, <<"n">>, ?SPAN, ?SPAN, ?TRACE, 1, #{}, 2, 1, <<"ok">>, #{}, []},
    Wrong = [
        x,
        {},
        setelement(1, Start, <<"begin">>),
        setelement(2, Start, 1),
        setelement(2, Start, binary:copy(<<"x">>, 2000)),
        setelement(3, Start, <<"0123456789ABCDEF">>),
        setelement(5, Start, ?SPAN),
        setelement(6, Start, -1),
        setelement(6, Start, 1 bsl 90),
        setelement(7, Start, #{1 => 2}),
        setelement(8, Stop, <<"2">>),
        setelement(9, Stop, -1),
        setelement(10, Stop, <<"maybe">>),
        setelement(11, Stop, []),
        setelement(12, Stop, [1]),
        setelement(12, Stop, [{<<"e">>, 1, #{}} | {<<"e">>, 1, #{}}]),
        setelement(12, Stop, lists:duplicate(1001, {<<"e">>, 1, #{}}))
    ],
    [?assertEqual(error, py_span:item(W, Ctx), W) || W <- Wrong],
    ?assertMatch({ok, {start, #{parent_id := undefined}}}, py_span:item(Start, Ctx)),
    ?assertMatch({ok, {stop, #{parent_id := ?SPAN}}}, py_span:item(Stop, Ctx)),
    Big = #{<<"a">> => binary:copy(<<0>>, 70000)},
    ?assertMatch({ok, {start, #{attributes := #{<<"too_large">> := true}}}}, py_span:item(setelement(7, Start, Big), Ctx)),
    %% Improper lists do not come through the border; the others do.
    Sent = [W || W <- Wrong, W =/= lists:nth(16, Wrong)],
    {ok, _} = py_port:call(Ctx, erlang, call, ['_py_span', 0, [Stop | Sent]]),
    ?assertMatch(#{spans := 1, dropped := 16}, py_tracer:info()).

%% telemetry -----------------------------------------------------------------------------------------------------------

telemetry_is_told_where_it_is_loaded(_Config) ->
    true = register(telemetry_listener, self()),
    ok = fake_telemetry(),
    Ctx = attached(#{}),
    {ok, [Trace, Id]} = py_port:call(Ctx, watched, spans, []),
    {error, _} = py_port:call(Ctx, watched, failing_span, []),
    _ = spans(3),
    true = code:delete(telemetry),
    _ = code:purge(telemetry),
    true = unregister(telemetry_listener),
    Events = [E || {telemetry, E} <- py_port_test:flush()],
    ?assertMatch(
        [
            {[py_port, span, start], #{system_time := _}, #{name := <<"outer">>, span_id := Id, trace_id := Trace, context := Ctx}},
            {[py_port, span, start], _, #{name := <<"inner">>, parent_id := Id}},
            {[py_port, span, stop], #{duration := _}, #{name := <<"inner">>, status := ok}},
            {[py_port, span, stop], #{duration := _}, #{name := <<"outer">>, end_attrs := #{<<"rows">> := 3}}},
            {[py_port, span, start], _, #{name := <<"fails">>}},
            {[py_port, span, exception], #{duration := _}, #{
                name := <<"fails">>, kind := error, reason := {<<"KeyError">>, <<"'gone'">>}
            }}
        ],
        Events
    ).

fake_telemetry() ->
    Source = [
        "-module(telemetry).",
        "-export([execute/3]).",
        "execute(Event, Measurements, Metadata) -> telemetry_listener ! {telemetry, {Event, Measurements, Metadata}}, ok."
    ],
    Forms = [
        begin
            {ok, Tokens, _} = erl_scan:string(Line),
            {ok, Form} = erl_parse:parse_form(Tokens),
            Form
        end
     || Line <- Source
    ],
    {ok, telemetry, Code} = compile:forms(Forms),
    {module, telemetry} = code:load_binary(telemetry, "telemetry.erl", Code),
    ok.

any_number_of_spans_may_be_kept(_Config) ->
    ok = application:set_env(py_port, max_spans, infinity),
    Ctx = attached(#{}),
    {ok, none} = py_port:call(Ctx, watched, many_spans, [25]),
    ?assertEqual(25, length(kept(25))),
    ok = application:unset_env(py_port, max_spans).

%% Once for each value: a batch of spans comes many times a second.
a_wrong_limit_is_said_and_ends_nothing(_Config) ->
    Pid = whereis(py_tracer),
    ok = py_port_test:catch_logs(?FUNCTION_NAME),
    ok = application:set_env(py_port, max_spans, many),
    Ctx = attached(#{}),
    {ok, none} = py_port:call(Ctx, watched, many_spans, [25]),
    _ = kept(25),
    {ok, none} = py_port:call(Ctx, watched, many_spans, [25]),
    ?assertEqual(50, length(kept(50))),
    Warning = py_port_test:await_log(),
    ?assertNotEqual(nomatch, string:find(py_port_test:message(Warning), "many")),
    ok = application:unset_env(py_port, max_spans),
    ?assertEqual([], py_port_test:flush()),
    ok = py_port_test:release_logs(?FUNCTION_NAME),
    ?assertEqual(Pid, whereis(py_tracer)).

kept(N) ->
    true = py_port_test:wait_until(fun() -> length(py_tracer:get_spans()) >= N end, 60000),
    py_tracer:get_spans().

what_was_switched_on_ends_with_the_application(_Config) ->
    ok = py_tracer:enable(),
    ok = py_logger:configure(#{level => 33}),
    ?assertNotEqual(none, py_logger:init_code()),
    ok = application:stop(py_port),
    ok = py_port_test:start(),
    ?assertNot(py_tracer:is_enabled()),
    ?assertEqual(none, py_logger:init_code()).

%% More often than the supervisor of the façade allows for one of its children.
the_pools_outlive_what_listens(_Config) ->
    {ok, [Ctx]} = py_context_router:start_pool(watched, 1),
    [kill_tracer() || _ <- lists:seq(1, 15)],
    ?assertEqual([Ctx], py_context_router:contexts(watched)),
    ok = py_context_router:stop_pool(watched).

kill_tracer() ->
    true = py_port_test:wait_until(fun() -> is_pid(whereis(py_tracer)) end, 60000),
    Pid = whereis(py_tracer),
    py_port_test:kill({Pid, erlang:monitor(process, Pid)}).

the_process_may_die(_Config) ->
    Ctx = attached(#{}),
    Pid = whereis(py_tracer),
    Ref = erlang:monitor(process, Pid),
    true = exit(Pid, kill),
    receive
        {'DOWN', Ref, process, Pid, _} -> ok
    end,
    _ = supervisor:which_children(py_observer_sup),
    {ok, 1} = py_port:call(Ctx, watched, plain, []),
    #{<<"watched.plain">> := _} = spans(1).
