%% @doc What Python logs is in Erlang's log: with its level, its metadata and in its order; not more of it than is allowed, and
%% what is missing is counted. What a worker may send in its place does no harm.
%% @end
-module(py_logger_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(py_port_test, [context/1, ctx/1, await_line/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- [events, text, attached, format].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    Config.

end_per_suite(_Config) ->
    ok.

init_per_testcase(_Case, Config) ->
    _ = process_flag(trap_exit, true),
    #{level := Primary} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, all),
    ok = logger:add_handler(?MODULE, ?MODULE, #{
        level => all,
        config => #{to => self()},
        filter_default => stop,
        filters => [{python, {fun logger_filters:domain/2, {log, sub, [python]}}}]
    }),
    ok = py_logger:configure(#{level => debug, rate => 1000000}),
    [{primary, Primary} | Config].

end_per_testcase(_Case, Config) ->
    _ = logger:remove_handler(?MODULE),
    ok = logger:set_primary_config(level, proplists:get_value(primary, Config)),
    _ = persistent_term:erase({py_logger, settings}),
    py_port_test:end_per_testcase(Config).

%% logger handler
log(Event, #{config := #{to := Pid}}) ->
    Pid ! {log, Event}.

one() ->
    receive
        {log, #{level := Level, msg := Msg, meta := Meta}} -> {Level, text(Msg), Meta}
    after 60000 -> error(no_log_event)
    end.

text({string, Text}) -> unicode:characters_to_binary(Text);
text({Format, Args}) -> unicode:characters_to_binary(io_lib:format(Format, Args)).

%% Until there are so many, those that were only counted with them: {Texts, HowManyDropped}.
events(Count) -> events(Count, [], 0).

events(Count, Texts, Dropped) when length(Texts) + Dropped >= Count ->
    {lists:reverse(Texts), Dropped};
events(Count, Texts, Dropped) ->
    case one() of
        {warning, _, #{py_dropped := N}} -> events(Count, Texts, Dropped + N);
        {_, Text, _} -> events(Count, [Text | Texts], Dropped)
    end.

attached(Options) ->
    Ctx = context(Options),
    ok = py_logger:attach(Ctx),
    Ctx.

say(Ctx, Level, Text) -> say(Ctx, Level, Text, #{}).

say(Ctx, Level, Text, Extra) ->
    {ok, none} = py_port:call(Ctx, watched, say, [Level, Text, Extra]),
    ok.

%% Records -------------------------------------------------------------------------------------------------------------

a_record_is_a_log_event_with_its_metadata(_Config) ->
    Ctx = attached(#{name => tenant_7}),
    Before = erlang:system_time(microsecond),
    ok = say(Ctx, 30, <<"low on tée"/utf8>>, #{<<"stock">> => 2}),
    {Level, Text, Meta} = one(),
    ?assertEqual({warning, <<"low on tée"/utf8>>}, {Level, Text}),
    ?assertMatch(
        #{
            domain := [python],
            py_logger := <<"watched.demo">>,
            py_meta := #{<<"stock">> := 2},
            py_function := <<"say">>,
            pid := Ctx,
            context := tenant_7,
            line := 13
        },
        Meta
    ),
    ?assertEqual("watched.py", filename:basename(maps:get(file, Meta))),
    ?assert(maps:get(time, Meta) >= Before),
    ?assert(maps:get(time, Meta) =< erlang:system_time(microsecond)),
    ?assertNot(is_map_key(py_exception, Meta)).

levels_are_the_same_on_both_sides(_Config) ->
    ?assertEqual(
        [debug, debug, debug, info, info, notice, warning, error, critical, critical, alert, emergency, emergency],
        [py_log_record:level(N) || N <- [-5, 10, 19, 20, 24, 25, 39, 40, 50, 59, 60, 70, 1000]]
    ),
    [?assertEqual(Level, py_log_record:level(py_log_record:number(Level))) || {_, Level} <- py_log_record:levels()],
    Ctx = attached(#{}),
    [
        begin
            ok = say(Ctx, Number, <<"x">>),
            ?assertMatch({Level, <<"x">>, _}, one())
        end
     || {Number, Level} <- py_log_record:levels()
    ].

an_exception_brings_its_traceback(_Config) ->
    Ctx = attached(#{}),
    {ok, none} = py_port:call(Ctx, watched, fail, [<<"it failed">>]),
    {error, Text, Meta} = one(),
    ?assertMatch(<<"it failed\nTraceback ", _/binary>>, Text),
    ?assertNotEqual(nomatch, binary:match(Text, <<"ValueError: broken">>)),
    ?assertMatch(#{py_exception := <<"ValueError">>}, Meta).

what_has_no_counterpart_is_its_repr(_Config) ->
    Ctx = attached(#{}),
    {ok, none} = py_port:call(Ctx, watched, odd, []),
    {info, Text, #{py_meta := Extra}} = one(),
    ?assertEqual(<<"odd \\ud800">>, Text),
    ?assertMatch(#{<<"odd">> := <<"<Odd, whose repr raised OSError>">>}, Extra),
    ?assertMatch(#{<<"huge">> := <<"<an int of 100001 bits>">>, <<"nan">> := nan, <<"loop">> := [_]}, Extra),
    ?assert(byte_size(maps:get(<<"long">>, Extra)) < 1200).

a_long_text_loses_its_middle(_Config) ->
    Ctx = attached(#{}),
    ok = say(Ctx, 20, iolist_to_binary(["begin", lists:duplicate(1000000, $x), "end"])),
    {info, Text, _} = one(),
    ?assert(byte_size(Text) < 20000),
    ?assertMatch(<<"begin", _/binary>>, Text),
    ?assertEqual(<<"end">>, binary:part(Text, byte_size(Text), -3)).

records_keep_their_order(_Config) ->
    Ctx = attached(#{}),
    {ok, none} = py_port:call(Ctx, watched, many, [500]),
    ?assertEqual({[integer_to_binary(I) || I <- lists:seq(0, 499)], 0}, events(500)).

records_come_while_the_call_still_runs(_Config) ->
    Ctx = attached(#{}),
    Test = self(),
    ok = py_port:register_function(proceed, fun([]) ->
        Test ! {asked, self()},
        receive
            go -> none
        end
    end),
    Call = py_port_test:async(fun() -> py_port:call(Ctx, watched, while_busy, []) end),
    receive
        {asked, Job} ->
            ?assertMatch({info, <<"before">>, _}, one()),
            Job ! go
    end,
    ?assertEqual({ok, none}, py_port_test:await(Call)),
    ?assertMatch({info, <<"after">>, _}, one()),
    ok = py_port:unregister_function(proceed).

a_call_that_is_cancelled_still_logs(_Config) ->
    Ctx = attached(#{}),
    Handle = py_port:async_call(Ctx, watched, too_late, []),
    ?assertMatch({info, <<"begun">>, _}, one()),
    ok = py_port:cancel(Handle),
    ?assertEqual({error, cancelled}, py_port:await(Handle)),
    ?assertMatch({info, <<"cleaned up">>, _}, one()).

what_was_logged_just_before_a_crash_is_there(_Config) ->
    Ctx = attached(#{io => null}),
    ok = say(Ctx, 20, <<"warm">>),
    ?assertMatch({info, <<"warm">>, _}, one()),
    {ok, none} = py_port:call(Ctx, watched, flush, []),
    {error, {worker_down, _}} = py_port:call(Ctx, watched, crash, []),
    ?assertMatch({critical, <<"last words">>, _}, one()),
    receive
        {'EXIT', Ctx, _} -> ok
    end.

what_was_logged_at_the_end_is_there(_Config) ->
    Ctx = attached(#{}),
    ok = py_port:exec(Ctx, <<"import atexit, logging; atexit.register(lambda: logging.info('bye'))">>),
    ok = py_port:stop_context(Ctx),
    ?assertMatch({info, <<"bye">>, #{py_logger := <<"root">>}}, one()).

a_forked_child_logs_to_stderr(_Config) ->
    Ctx = attached(#{io => self()}),
    ?assertEqual({ok, 0}, py_port:call(Ctx, watched, from_a_child, [])),
    ?assertEqual({stderr, <<"from the child">>}, await_line(Ctx)).

a_record_knows_its_trace(_Config) ->
    Ctx = attached(#{}),
    Parent = <<"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01">>,
    {ok, none} = py_port:call(Ctx, watched, say, [20, <<"x">>], #{}, #{trace => Parent}),
    ?assertMatch({info, <<"x">>, #{py_trace := Parent}}, one()).

%% Settings ------------------------------------------------------------------------------------------------------------

a_level_and_a_format_reach_contexts_that_run(_Config) ->
    Ctx = attached(#{}),
    ok = py_logger:configure(#{level => warning, format => <<"%(name)s: %(message)s">>}),
    ok = py_logger:attach(Ctx),
    ?assertEqual({ok, [30, 1]}, py_port:call(Ctx, watched, set_levels, [])),
    ok = say(Ctx, 29, <<"too low">>),
    ok = say(Ctx, 30, <<"high enough">>),
    ?assertMatch({warning, <<"watched.demo: high enough">>, _}, one()).

the_contexts_of_a_pool_are_told(_Config) ->
    Options = #{path => [py_port_test:data_dir()], preload => <<"import logging; logging.warning('preload')">>},
    {ok, [Ctx]} = py_context_router:start_pool(logged, 1, Options),
    ?assert(lists:member(Ctx, py_pool:running())),
    ?assertMatch({warning, <<"preload">>, _}, after_record(Ctx, 30, <<"up">>)),
    ok = py_logger:configure(#{level => error}),
    ?assertEqual({ok, [40, 1]}, py_port:call(Ctx, watched, set_levels, [])),
    Ref = erlang:monitor(process, Ctx),
    _ = py_port:call(Ctx, os, abort, []),
    receive
        {'DOWN', Ref, process, Ctx, _} -> ok
    end,
    Next = py_context_router:get_context(logged),
    ?assertNotEqual(Ctx, Next),
    ?assertEqual({ok, [40, 1]}, py_port:call(Next, watched, set_levels, [])),
    ok = py_context_router:stop_pool(logged).

%% What comes before that record does.
after_record(Ctx, Level, Text) ->
    ok = say(Ctx, Level, Text),
    First = one(),
    ?assertMatch({_, Text, _}, one()),
    First.

contexts_to_come_are_told_by_their_init_code(_Config) ->
    Format = <<"'\"\"\"\\ %(message)s é\n"/utf8>>,
    ok = py_logger:configure(#{level => 17, format => Format}),
    ok = py_tracer:enable(),
    Code = py_logger:init_code(),
    ok = py_tracer:disable(),
    Ctx = context(#{init => Code}),
    ?assertEqual({ok, [17, 1]}, py_port:call(Ctx, watched, set_levels, [])),
    ?assertEqual({ok, true}, py_port:eval(Ctx, <<"__import__('erlang._tracing')._tracing.is_enabled()">>)),
    ?assertEqual({ok, []}, py_port:eval(Ctx, <<"[n for n in globals() if n[0] != '_']">>)),
    ok = say(Ctx, 20, <<"x">>),
    ?assertMatch({info, <<"'\"\"\"\\ x é\n"/utf8>>, _}, one()).

what_was_logged_during_the_start_comes_with_the_first_record_after_it(_Config) ->
    Ctx = context(#{init => [py_logger:init_code(), "import logging; logging.info('starting')"]}),
    ok = say(Ctx, 20, <<"up">>),
    ?assertEqual({[<<"starting">>, <<"up">>], 0}, events(2)).

nothing_is_told_while_nothing_is_configured(_Config) ->
    true = persistent_term:erase({py_logger, settings}),
    ?assertEqual(none, py_logger:init_code()),
    Ctx = context(#{}),
    ok = py_logger:attach(Ctx),
    ?assertEqual({ok, [30, 0]}, py_port:call(Ctx, watched, set_levels, [])).

the_level_is_that_of_the_node_if_none_is_given(_Config) ->
    ok = logger:set_primary_config(level, error),
    ok = py_logger:configure(),
    Ctx = context(#{init => py_logger:init_code()}),
    ?assertEqual({ok, [40, 1]}, py_port:call(Ctx, watched, set_levels, [])),
    ok = py_logger:configure(#{level => none}),
    ok = py_logger:attach(Ctx),
    ok = say(Ctx, 70, <<"nobody hears it">>),
    {ok, none} = py_port:call(Ctx, watched, flush, []),
    ?assertEqual([], py_port_test:flush()).

wrong_settings_are_refused_by_name(_Config) ->
    Wrong = [
        {level, loud}, {level, -1}, {level, <<"info">>}, {format, 7}, {format, <<255>>}, {rate, 0}, {colour, true}
    ],
    [
        ?assertMatch({error, {bad_argument, Key, _}}, py_logger:configure(#{Key => Value}))
     || {Key, Value} <- Wrong
    ],
    ?assertMatch({error, {bad_argument, options, _}}, py_logger:configure([])).

%% It would have been the end of every context to come.
a_format_that_python_refuses_is_refused_at_once(_Config) ->
    Refused = [<<"hello">>, <<"{message}">>, <<"%(message)">>, <<"100%">>, "%()s"],
    [?assertMatch({error, {bad_argument, format, _}}, py_logger:configure(#{format => F})) || F <- Refused],
    Taken = [<<>>, <<"%(message)-20.3S">>, <<"é %(größe)s"/utf8>>, "%(asctime)s %(levelno)03d"],
    [
        begin
            ok = py_logger:configure(#{format => F}),
            {ok, Ctx} = py_port:start_context(#{init => py_logger:init_code()}),
            ok = py_port:stop_context(Ctx)
        end
     || F <- Taken
    ].

wrong_levels_are_refused_in_python(_Config) ->
    Ctx = context(#{}),
    ?assertMatch({error, {python, #{type := <<"ValueError">>}}}, py_port:call(Ctx, erlang, setup_logging, [<<"loud">>])),
    ?assertMatch({error, {python, #{type := <<"ValueError">>}}}, py_port:call(Ctx, erlang, setup_logging, [10, <<"%(x">>])),
    ?assertEqual({ok, [30, 0]}, py_port:call(Ctx, watched, set_levels, [])).

it_starts_with_settings(_Config) ->
    ok = supervisor:terminate_child(py_observer_sup, py_logger),
    {error, {bad_argument, rate, _}} = py_logger:start_link(#{rate => none}),
    {ok, Pid} = py_logger:start_link(#{level => 33}),
    ?assertEqual({error, {already_started, Pid}}, py_logger:start_link()),
    ?assertMatch({match, _}, re:run(py_logger:init_code(), "setup_logging\\(33\\)")),
    true = unlink(Pid),
    ok = gen_server:stop(Pid),
    {ok, _} = supervisor:restart_child(py_observer_sup, py_logger),
    ok.

the_process_may_die(_Config) ->
    Ctx = attached(#{}),
    Pid = whereis(py_logger),
    Ref = erlang:monitor(process, Pid),
    true = exit(Pid, kill),
    receive
        {'DOWN', Ref, process, Pid, _} -> ok
    end,
    ok = say(Ctx, 20, <<"still here">>),
    ?assertMatch({info, <<"still here">>, _}, one()),
    %% A request to the supervisor comes after the restart.
    _ = supervisor:which_children(py_observer_sup),
    ?assertNotEqual(Pid, whereis(py_logger)).

%% Too much ------------------------------------------------------------------------------------------------------------

what_is_above_the_rate_is_dropped_and_counted(_Config) ->
    ok = py_logger:configure(#{level => debug, rate => 10}),
    Ctx = attached(#{}),
    {ok, none} = py_port:call(Ctx, watched, many, [300]),
    {Texts, Dropped} = events(300),
    ?assertEqual(300, length(Texts) + Dropped),
    ?assert(Dropped > 0),
    ?assertEqual(<<"0">>, hd(Texts)).

what_erlang_does_not_take_is_dropped_and_counted(_Config) ->
    Ctx = attached(#{}),
    {ok, none} = py_port:call(Ctx, watched, many, [20000]),
    {ok, none} = py_port:call(Ctx, watched, flush, []),
    {Texts, Dropped} = events(20000),
    ?assertEqual(20000, length(Texts) + Dropped),
    Numbers = [binary_to_integer(Text) || Text <- Texts],
    ?assertEqual(lists:sort(Numbers), Numbers),
    ?assertEqual(0, hd(Numbers)).

other_contexts_have_a_rate_of_their_own(_Config) ->
    ok = py_logger:configure(#{level => debug, rate => 1}),
    [One, Other] = [attached(#{}), attached(#{})],
    {ok, none} = py_port:call(One, watched, many, [50]),
    ok = say(Other, 20, <<"heard">>),
    {Texts, _} = events(51),
    ?assert(lists:member(<<"heard">>, Texts)).

%% Wrong ---------------------------------------------------------------------------------------------------------------

a_context_without_the_permission_is_not_disturbed(_Config) ->
    Ctx = attached(#{functions => [], io => self()}),
    ok = say(Ctx, 20, <<"not heard">>),
    {stderr, Line} = await_line(Ctx),
    ?assertNotEqual(nomatch, binary:match(Line, <<"log records are not taken by Erlang">>)),
    ok = say(Ctx, 20, <<"not heard either">>),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    ?assertEqual([], [E || {log, E} <- py_port_test:flush()]),
    Allowed = attached(#{functions => py_logger:functions()}),
    ok = say(Allowed, 20, <<"heard">>),
    ?assertMatch({info, <<"heard">>, _}, one()).

what_is_no_record_is_counted_and_harms_nobody(_Config) ->
    Ctx = attached(#{}),
    Good = {20, <<"l">>, <<"good">>, 0, <<"f">>, 1, <<"g">>, none, none, #{}},
    Bad = [
        1,
        {},
        setelement(1, Good, <<"info">>),
        setelement(3, Good, [1 | 2]),
        setelement(10, Good, [])
    ],
    {ok, _} = py_port:call(Ctx, erlang, call, ['_py_log', 0, [Good | Bad]]),
    ?assertEqual({[<<"good">>], 5}, events(6)),
    [
        ?assertMatch(
            {error, {python, #{type := <<"CallError">>}}}, py_port:call(Ctx, erlang, call, ['_py_log' | Args])
        )
     || Args <- [[], [0], [-1, []], [0, 7], [0, lists:duplicate(1001, Good)], [0, [], 0]]
    ].

%% Pure: what a worker may say, and what comes out.
odd_parts_of_a_record_are_made_harmless(_Config) ->
    Now = erlang:system_time(microsecond),
    Facts = #{context => self(), name => x, now => Now},
    Good = {20, <<"l">>, <<"t">>, Now - 5, <<"f">>, 1, <<"g">>, none, none, #{}},
    Made = fun(N, Value) ->
        {ok, {Level, Text, Meta}} = py_log_record:event(setelement(N, Good, Value), Facts),
        {Level, Text, Meta}
    end,
    ?assertMatch({_, _, #{time := T}} when T =:= Now - 5, Made(4, Now - 5)),
    [?assertMatch({_, _, #{time := Now}}, Made(4, T)) || T <- [0, -1, 1 bsl 200, Now + 4000000000]],
    [?assertNot(is_map_key(line, element(3, Made(6, L)))) || L <- [0, -1, 1 bsl 70]],
    ?assertMatch({_, <<_/binary>>, _}, Made(3, <<255, 254>>)),
    ?assert(string:length(element(2, Made(3, binary:copy(<<"é"/utf8>>, 100000)))) =< 20000),
    ?assertMatch({_, _, #{py_meta := #{<<"too_large">> := true}}}, Made(10, #{a => binary:copy(<<0>>, 70000)})),
    ?assertMatch({_, _, #{file := "f"}}, Made(5, <<"f">>)),
    ?assertMatch({emergency, _, _}, Made(1, 1 bsl 100)),
    %% The default formatter takes all of them.
    [
        ?assert(is_binary(unicode:characters_to_binary(format(Made(N, V)))))
     || {N, V} <- [{2, <<255>>}, {3, <<255>>}, {4, -1}, {5, <<255>>}, {6, -3}, {7, <<255>>}, {8, <<255>>}, {10, #{<<255>> => 1}}]
    ].

format({Level, Text, Meta}) ->
    Template = [time, level, pid, file, line, py_logger, py_function, py_meta, msg],
    logger_formatter:format(#{level => Level, msg => {"~ts", [Text]}, meta => Meta}, #{template => Template}).
