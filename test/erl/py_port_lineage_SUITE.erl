%% @doc What a call from Python hands on to the work that is done for it: which request it descends from, until when there is
%% time, who called, and the trace.
%% @end
-module(py_port_lineage_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(py_port_callback_bed, [stranger/0, fake/1, call_back/3, call_back/4, callback/3, callback/4, answer_of/2, call/1, call/2, waiting/1, running/0]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE).

init_per_suite(Config) -> py_port_callback_bed:init_per_suite(Config).

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) -> py_port_callback_bed:init_per_testcase(Config).

end_per_testcase(_Case, Config) -> py_port_callback_bed:end_per_testcase(Config).

%% Lineage -------------------------------------------------------------------------------------------------------------

%% {Parent, whether there is a deadline} of a request that is made through How.
lineage(Ctx, Id, How) ->
    ok = py_port:register_function(lineage, fun([]) -> How(fun() -> py_port:call(Ctx, fake, header, []) end) end),
    {ok, {ok, {Parent, _}}} = call_back(Ctx, Id, call(<<"lineage">>)),
    Parent.

elsewhere(Spawn, Do) ->
    Self = self(),
    _ = Spawn(fun() -> Self ! {result, Do()} end),
    receive
        {result, Result} -> Result
    end.

what_descends_from_a_callback_says_so(_Config) ->
    Ctx = fake(#{}),
    Spawn = fun(F) -> spawn(F) end,
    ProcLib = fun(F) -> proc_lib:spawn_link(F) end,
    ?assertEqual(1, lineage(Ctx, 1, fun(Do) -> Do() end)),
    ?assertEqual(2, lineage(Ctx, 2, fun(Do) -> elsewhere(Spawn, Do) end)),
    ?assertEqual(3, lineage(Ctx, 3, fun(Do) -> elsewhere(ProcLib, Do) end)),
    ?assertEqual(4, lineage(Ctx, 4, fun(Do) -> elsewhere(Spawn, fun() -> elsewhere(Spawn, Do) end) end)),
    ?assertEqual(5, lineage(Ctx, 5, fun(Do) -> elsewhere(ProcLib, fun() -> elsewhere(ProcLib, Do) end) end)),
    ?assertEqual(6, lineage(Ctx, 6, fun(Do) -> elsewhere(ProcLib, fun() -> elsewhere(Spawn, Do) end) end)),
    ?assertEqual(7, lineage(Ctx, 7, fun(Do) -> elsewhere(Spawn, fun() -> elsewhere(ProcLib, Do) end) end)),
    %% proc_lib writes down the name of a parent that has one
    ?assertEqual(8, lineage(Ctx, 8, fun(Do) ->
        true = register(a_named_job, self()),
        elsewhere(ProcLib, Do)
    end)).

one_who_works_for_a_job_descends_from_it(_Config) ->
    Ctx = fake(#{}),
    Stranger = stranger(),
    Ask = fun(Callers, Do) ->
        Self = self(),
        Stranger ! {do, Self, fun() ->
            _ = put('$callers', Callers(Self)),
            Do()
        end},
        receive
            {done, Result} -> Result
        end
    end,
    ?assertEqual(0, lineage(Ctx, 1, fun(Do) -> Ask(fun(_) -> [] end, Do) end)),
    ?assertEqual(2, lineage(Ctx, 2, fun(Do) -> Ask(fun(Job) -> [Job] end, Do) end)),
    ?assertEqual(3, lineage(Ctx, 3, fun(Do) -> Ask(fun(Job) -> [list_to_pid("<0.0.0>"), Job] end, Do) end)),
    ?assertEqual(0, lineage(Ctx, 4, fun(Do) -> Ask(fun(_) -> [nonsense | tail] end, Do) end)),
    %% for the child of a job
    ?assertEqual(5, lineage(Ctx, 5, fun(Do) ->
        elsewhere(fun(F) -> spawn(F) end, fun() -> Ask(fun(Child) -> [Child] end, Do) end)
    end)),
    %% a child of one who works for a job
    ?assertEqual(6, lineage(Ctx, 6, fun(Do) ->
        Ask(fun(Job) -> [Job] end, fun() -> elsewhere(fun(F) -> spawn(F) end, Do) end)
    end)),
    Stranger ! stop.

strangers_descend_from_nothing(_Config) ->
    Ctx = fake(#{}),
    Other = fake(#{}),
    waiting(f),
    callback(Ctx, 1, call(<<"f">>)),
    Job = running(),
    ?assertMatch({ok, {0, 0}}, py_port:call(Ctx, fake, header, [])),
    ?assertEqual({ok, {0, 0}}, py_port_trouble:aside(fun() -> py_port:call(Ctx, fake, header, []) end)),
    %% nor does a job of one context from another's
    Test = self(),
    Job ! {go, fun() ->
        Test ! {header, py_port:call(Other, fake, header, [])},
        receive
            {go, What} -> What()
        end
    end},
    ?assertEqual({ok, {0, 0}}, receive {header, H} -> H end),
    callback(Other, 1, call(<<"f">>)),
    OtherJob = running(),
    Job ! {go, fun() -> py_port:call(Other, fake, header, []) end},
    ?assertEqual({ok, {ok, {0, 0}}}, answer_of(Ctx, 1)),
    OtherJob ! {go, fun() -> ok end},
    {ok, ok} = answer_of(Other, 1).

%% Ctx calls back, the job asks Other, which calls back, and that job asks Ctx.
lineage_goes_through_other_contexts(_Config) ->
    Ctx = fake(#{}),
    Other = fake(#{}),
    Deadline = os:perf_counter(nanosecond) + 3600 * 1000000000,
    Near = Deadline - 1000000000,
    ok = py_port:register_function(inner, fun([]) -> py_port:call(Ctx, fake, header, []) end),
    ok = py_port:register_function(outer, fun([]) ->
        call_back(Other, 77, call(<<"inner">>), #{deadline => Near})
    end),
    ?assertEqual({ok, {ok, {ok, {5, Near}}}}, call_back(Ctx, 5, call(<<"outer">>), #{deadline => Deadline})),
    %% with processes in between
    ok = py_port:register_function(outer, fun([]) ->
        elsewhere(fun(F) -> spawn(F) end, fun() -> call_back(Other, 78, call(<<"inner">>)) end)
    end),
    ?assertEqual({ok, {ok, {ok, {6, Deadline}}}}, call_back(Ctx, 6, call(<<"outer">>), #{deadline => Deadline})).

%% The same process, before and after: what was found is not kept beyond its time.
a_child_that_outlives_its_job_descends_from_nothing(_Config) ->
    Ctx = fake(#{}),
    Test = self(),
    ok = py_port:register_function(leave_child, fun([]) ->
        Child = stranger(),
        Child ! {do, self(), fun() -> py_port:call(Ctx, fake, header, []) end},
        receive
            {done, Header} -> Test ! {child, Child, Header}
        end
    end),
    {ok, _} = call_back(Ctx, 1, call(<<"leave_child">>)),
    {Child, Header} = receive {child, C, H} -> {C, H} end,
    ?assertMatch({ok, {1, _}}, Header),
    waiting(f),
    callback(Ctx, 2, call(<<"f">>)),
    Job = running(),
    Child ! {do, self(), fun() -> py_port:call(Ctx, fake, header, []) end},
    ?assertEqual({ok, {0, 0}}, receive {done, Later} -> Later end),
    Child ! stop,
    Job ! {go, fun() -> ok end},
    {ok, ok} = answer_of(Ctx, 2).

a_cast_descends_from_nothing(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(f, fun([]) ->
        ok = py_port:cast(Ctx, fake, header, []),
        {ok, {Parent, _}} = py_port:call(Ctx, fake, header, []),
        Parent
    end),
    ?assertEqual({ok, 3}, call_back(Ctx, 3, call(<<"f">>), #{deadline => os:perf_counter(nanosecond) + 60000000000})).

%% Deadlines -----------------------------------------------------------------------------------------------------------

the_nearer_deadline_holds(_Config) ->
    Ctx = fake(#{}),
    Far = os:perf_counter(nanosecond) + 3600 * 1000000000,
    ok = py_port:register_function(header, fun([Ms]) ->
        py_port:call(Ctx, fake, header, [], #{}, #{timeout => Ms})
    end),
    {ok, {ok, {1, Far}}} = call_back(Ctx, 1, call(<<"header">>, [infinity]), #{deadline => Far}),
    {ok, {ok, {2, Far}}} = call_back(Ctx, 2, call(<<"header">>, [7200 * 1000]), #{deadline => Far}),
    {ok, {ok, {3, Near}}} = call_back(Ctx, 3, call(<<"header">>, [60000]), #{deadline => Far}),
    ?assert(Near < Far),
    {ok, {ok, {4, 0}}} = call_back(Ctx, 4, call(<<"header">>, [infinity])).

a_nested_call_ends_with_the_deadline_of_its_callback(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(nested, fun([]) -> py_port:call(Ctx, fake, sleep, [60000]) end),
    Soon = os:perf_counter(nanosecond) + 2000 * 1000000,
    ?assertEqual({ok, {error, timeout}}, call_back(Ctx, 1, call(<<"nested">>), #{deadline => Soon})).

work_whose_deadline_has_passed_is_not_begun(_Config) ->
    Ctx = fake(#{}),
    Test = self(),
    ok = py_port:register_function(f, fun([]) -> Test ! began end),
    ?assertEqual({error, timeout}, call_back(Ctx, 1, call(<<"f">>), #{deadline => 1})),
    ?assertEqual([], [began || began <- py_port_test:flush()]).

%% Who called ----------------------------------------------------------------------------------------------------------

a_function_knows_who_called(_Config) ->
    Ctx = fake(#{}),
    ?assertEqual(undefined, py_port:caller()),
    ok = py_port:register_function(who, fun([]) ->
        {py_port:caller(), elsewhere(fun(F) -> spawn(F) end, fun py_port:caller/0), get('$callers'), get('$ancestors')}
    end),
    Deadline = os:perf_counter(nanosecond) + 60 * 1000000000,
    Trace = <<"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01">>,
    {ok, {Caller, Child, Callers, Ancestors}} =
        call_back(Ctx, 1, call(<<"who">>), #{deadline => Deadline, trace => Trace}),
    #{context := Ctx, function := <<"who">>, deadline := Deadline, trace := Trace, remaining := Ms} = Caller,
    ?assert(Ms > 0 andalso Ms =< 60000),
    ?assertEqual(maps:remove(remaining, Caller), maps:remove(remaining, Child)),
    ?assertEqual([self()], Callers),
    ?assertEqual([Ctx], Ancestors),
    callback(Ctx, 2, call(<<"who">>)),
    {ok, {Plain, _, undefined, _}} = answer_of(Ctx, 2),
    Nothing = #{remaining => infinity, deadline => infinity, trace => none},
    ?assertEqual(Nothing#{context => Ctx, name => none, function => <<"who">>}, Plain),
    Named = fake(#{name => {global, "Ü"}}),
    ?assertMatch({ok, {#{name := {global, "Ü"}}, _, _, _}}, call_back(Named, 1, call(<<"who">>))).

%% What a worker calls a trace goes on into other contexts, logs and requests over the network.
a_false_trace_is_none(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(who, fun([]) -> maps:get(trace, py_port:caller()) end),
    Parent = <<"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01">>,
    Who = fun(Id, Trace) -> call_back(Ctx, Id, call(<<"who">>), #{trace => Trace}) end,
    ?assertEqual({ok, Parent}, Who(1, Parent)),
    Both = <<Parent/binary, "\nvendor=x,other=y">>,
    ?assertEqual({ok, Both}, Who(2, Both)),
    False = [
        <<"x">>,
        <<255, 254, 0, 1, 2>>,
        <<Parent/binary, "\na=b\nc=d\r\nX: y">>,
        <<Parent/binary, "x">>,
        <<Parent/binary, "\n", (binary:copy(<<"x">>, 1000))/binary>>,
        binary:replace(Parent, <<"4b">>, <<"\e[">>),
        binary:replace(Parent, <<"-">>, <<"_">>, [global])
    ],
    [?assertEqual({Trace, {ok, none}}, {Trace, Who(Id, Trace)}) || {Id, Trace} <- lists:enumerate(3, False)].

a_deadline_without_end_is_none(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(back, fun([]) ->
        {py_port:call(Ctx, fake, echo, [7]), maps:get(remaining, py_port:caller())}
    end),
    {ok, {Nested, Ms}} = call_back(Ctx, 1, call(<<"back">>), #{deadline => 1 bsl 64 - 1}),
    ?assertEqual({ok, 7}, Nested),
    %% As a timeout has to be.
    ?assert(Ms =< 16#ffffffff).
