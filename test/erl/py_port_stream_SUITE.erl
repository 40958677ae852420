%% @doc Streams out of Python, into it, and both ways: that items arrive once and in order, that the
%% end is told, that what nobody wants any more is closed, and that memory stays bounded.
%% @end
-module(py_port_stream_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-import(py_port_test, [ctx/1, context/1, async/1, await/1, kill/1, wait_until/2]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE).

init_per_testcase(_, Config) ->
    ok = py_port_test:start(),
    [{ctx, context(#{})} | Config].

end_per_testcase(_, Config) ->
    ok = py_port_test:end_per_testcase(Config),
    ?assertEqual([], py_port_test:flush()).

%% Out of Python -------------------------------------------------------------------------------------------------------

every_kind_of_producer_is_read_to_its_end(Config) ->
    Ctx = ctx(Config),
    [
        begin
            {ok, S} = py_port:stream(Ctx, probe_streams, F, [5000]),
            ?assertEqual({F, {ok, lists:seq(0, 4999)}}, {F, py_port:to_list(S)})
        end
     || F <- [count, count_async, plain_list, later]
    ],
    {ok, S} = py_port:stream(Ctx, probe_streams, a_file, [{bytes, binary:copy(<<"0123456789">>, 20000)}]),
    {ok, Chunks} = py_port:to_list(S),
    ?assertEqual(binary:copy(<<"0123456789">>, 20000), iolist_to_binary(Chunks)).

items_are_read_one_by_one(Config) ->
    {ok, S} = py_port:stream(ctx(Config), probe_streams, count, [3]),
    ?assertEqual(
        [{ok, 0}, {ok, 1}, {ok, 2}, done, {error, closed}], [py_port:next(S) || _ <- lists:seq(1, 5)]
    ).

reading_in_both_ways_loses_nothing(Config) ->
    {ok, S} = py_port:stream(ctx(Config), probe_streams, count, [10000]),
    First = [py_port:next(S) || _ <- lists:seq(1, 20)],
    {ok, Rest} = py_port:to_list(S),
    ?assertEqual(lists:seq(0, 9999), [N || {ok, N} <- First] ++ Rest).

folding_and_visiting(Config) ->
    Ctx = ctx(Config),
    {ok, A} = py_port:stream(Ctx, probe_streams, count, [1000]),
    ?assertEqual({ok, 499500}, py_port:fold(fun(N, Sum) -> N + Sum end, 0, A)),
    {ok, B} = py_port:stream(Ctx, probe_streams, count, [3]),
    ?assertEqual(ok, py_port:foreach(fun(N) -> self() ! {item, N} end, B)),
    ?assertEqual([{item, 0}, {item, 1}, {item, 2}], py_port_test:flush()).

keyword_arguments_are_an_option(Config) ->
    {ok, S} = py_port:stream(ctx(Config), probe_streams, keywords, [], #{kwargs => #{b => 1, a => 2}}),
    ?assertEqual({ok, [<<"a">>, <<"b">>]}, py_port:to_list(S)).

an_empty_stream_is_done_at_once(Config) ->
    {ok, S} = py_port:stream(ctx(Config), probe_streams, count, [0]),
    ?assertEqual(done, py_port:next(S)).

nothing_is_produced_before_it_is_wanted(Config) ->
    Ctx = ctx(Config),
    {ok, S} = py_port:stream(Ctx, probe_streams, count, [1000000]),
    ?assertEqual({ok, 0}, py_port:call(Ctx, probe_streams, produced, [])),
    {ok, 0} = py_port:next(S),
    {ok, Produced} = py_port:call(Ctx, probe_streams, produced, []),
    ?assert(Produced < 20),
    ok = py_port:close(S).

an_error_comes_after_the_items_before_it(Config) ->
    Ctx = ctx(Config),
    [
        begin
            {ok, S} = py_port:stream(Ctx, probe_streams, F, [3]),
            ?assertEqual([{ok, 0}, {ok, 1}, {ok, 2}], [py_port:next(S) || _ <- [1, 2, 3]]),
            ?assertMatch({error, {python, #{type := <<"ValueError">>, message := <<"no more">>}}}, py_port:next(S)),
            ?assertEqual({error, closed}, py_port:next(S)),
            {ok, Again} = py_port:stream(Ctx, probe_streams, F, [3]),
            ?assertMatch({error, {python, #{type := <<"ValueError">>}}}, py_port:to_list(Again))
        end
     || F <- [fails_after, fails_after_async]
    ].

an_item_without_counterpart_stops_none_before_it(Config) ->
    Ctx = ctx(Config),
    Collect = fun(S) ->
        End = py_port:foreach(fun(N) -> self() ! {item, N} end, S),
        {End, [N || {item, N} <- py_port_test:flush()]}
    end,
    [
        begin
            {ok, S} = py_port:stream(Ctx, probe_streams, F, [20]),
            ?assertEqual([{ok, N} || N <- lists:seq(0, 19)], [py_port:next(S) || _ <- lists:seq(0, 19)]),
            ?assertMatch({error, {bad_term, <<"item[20][0]">>, _}}, py_port:next(S)),
            ?assertEqual({error, closed}, py_port:next(S)),
            {ok, Again} = py_port:stream(Ctx, probe_streams, F, [2000]),
            {{error, {bad_term, <<"item[2000][0]">>, _}}, Items} = Collect(Again),
            ?assertEqual(lists:seq(0, 1999), Items)
        end
     || F <- [with_a_bad_one, with_a_bad_one_async]
    ],
    {ok, Exits} = py_port:stream(Ctx, probe_streams, exits_after, [3]),
    {{error, {python, #{type := <<"SystemExit">>}}}, Before} = Collect(Exits),
    ?assertEqual([0, 1, 2], Before).

%% Each row is far below max_frame; many are quicker to make than a batch takes.
large_items_are_batches_of_their_own(_Config) ->
    Small = context(#{max_frame => 100000}),
    [
        begin
            {ok, S} = py_port:stream(Small, probe_streams, F, [200, 10000]),
            ?assertEqual({F, {ok, 200}}, {F, py_port:fold(fun(Row, N) -> 10000 = length(Row), N + 1 end, 0, S)})
        end
     || F <- [rows, rows_async]
    ],
    {ok, Huge} = py_port:stream(Small, probe_streams, rows, [1, 100000]),
    ?assertMatch({error, {bad_term, <<"item[0]">>, _}}, py_port:next(Huge)).

what_cannot_be_opened_is_said_at_once(Config) ->
    Ctx = ctx(Config),
    ?assertMatch({error, {python, #{type := <<"TypeError">>}}}, py_port:stream(Ctx, probe_streams, no_stream, [])),
    ?assertMatch({error, {python, #{type := <<"ValueError">>}}}, py_port:stream(Ctx, probe_streams, fails_at_once, [])),
    ?assertMatch({error, {python, #{type := <<"ModuleNotFoundError">>}}}, py_port:stream(Ctx, nowhere, f, [])),
    ?assertMatch({error, {worker_down, noproc}}, py_port:stream(spawn(fun() -> ok end), math, f, [])),
    Wrong = fun({error, {bad_argument, Which, _}}) -> Which end,
    ?assertEqual(module, Wrong(py_port:stream(Ctx, 17, f, []))),
    ?assertEqual(options, Wrong(py_port:stream(Ctx, m, f, [], #{no => option}))),
    ?assertEqual(return, Wrong(py_port:stream(Ctx, m, f, [], #{return => ref}))),
    ?assertEqual(buffer_items, Wrong(py_port:open_stream(Ctx, m, f, [], #{buffer_items => 0}))),
    ?assertEqual(stream, Wrong(py_port:next(no_stream))).

a_wait_that_is_over_takes_nothing(Config) ->
    {ok, S} = py_port:stream(ctx(Config), probe_streams, waits_for_ever, [<<"w">>]),
    ?assertEqual({ok, 1}, py_port:next(S)),
    ?assertEqual({error, timeout}, py_port:next(S, 20)),
    ?assertEqual({error, timeout}, py_port:next(S, 0)),
    ok = py_port:close(S).

%% The end by the consumer ---------------------------------------------------------------------------------------------

an_item_is_not_for_a_reader_that_has_died(Config) ->
    {ok, Out} = py_port:open_stream(ctx(Config), probe_streams, doubled, []),
    {Pid, _} = Reader = async(fun() -> py_port:next(Out) end),
    Waits = [{status, waiting}, {current_function, {py_port_ask, ask_ref, 3}}],
    true = wait_until(fun() -> process_info(Pid, [status, current_function]) =:= Waits end, 10000),
    ok = kill(Reader),
    ok = py_port:push(Out, 1),
    ?assertEqual({ok, 2}, py_port:next(Out, 10000)),
    ok = py_port:finish(Out),
    ?assertEqual(done, py_port:next(Out)).

closing_runs_the_finally_of_the_producer(Config) ->
    Ctx = ctx(Config),
    {ok, S} = py_port:stream(Ctx, probe_streams, endless, [<<"closed">>]),
    {ok, _} = py_port:next(S),
    ok = py_port:close(S),
    ?assertEqual({ok, [<<"closed">>]}, py_port:call(Ctx, probe_streams, what_was_seen, [])),
    ?assertEqual({error, closed}, py_port:next(S)),
    ?assertEqual(ok, py_port:close(S)),
    ?assertMatch(#{refs := 0}, py_port:info(Ctx)).

closing_wakes_a_producer_that_waits(Config) ->
    Ctx = ctx(Config),
    {ok, S} = py_port:stream(Ctx, probe_streams, waits_for_ever, [<<"woken">>]),
    {ok, 1} = py_port:next(S),
    Waiting = async(fun() -> py_port:next(S) end),
    {error, timeout} = py_port:next(S, 20),
    ok = py_port:close(S),
    ?assertEqual({error, closed}, await(Waiting)),
    ?assertEqual({ok, [<<"woken">>]}, py_port:call(Ctx, probe_streams, what_was_seen, [])).

the_death_of_the_consumer_closes_the_producer(Config) ->
    Ctx = ctx(Config),
    Self = self(),
    [
        begin
            Consumer = async(fun() ->
                {ok, S} = py_port:stream(Ctx, probe_streams, F, [Name]),
                {ok, _} = py_port:next(S),
                Self ! reading,
                receive
                    never -> ok
                end
            end),
            receive
                reading -> ok
            end,
            ok = kill(Consumer)
        end
     || {F, Name} <- [{endless, <<"a">>}, {waits_for_ever, <<"b">>}]
    ],
    ?assert(
        wait_until(
            fun() ->
                {ok, Seen} = py_port:call(Ctx, probe_streams, what_was_seen, []),
                lists:sort(Seen) =:= [<<"a">>, <<"b">>]
            end,
            10000
        )
    ).

a_fold_that_raises_closes_the_producer(Config) ->
    Ctx = ctx(Config),
    {ok, S} = py_port:stream(Ctx, probe_streams, endless, [<<"raised">>]),
    ?assertError(enough, py_port:fold(fun(_, _) -> error(enough) end, 0, S)),
    ?assertEqual({ok, [<<"raised">>]}, py_port:call(Ctx, probe_streams, what_was_seen, [])).

the_end_of_the_worker_ends_the_stream(_Config) ->
    Ctx = context(#{link => false}),
    {ok, S} = py_port:stream(Ctx, probe_streams, waits_for_ever, [<<"x">>]),
    {ok, 1} = py_port:next(S),
    Waiting = async(fun() -> py_port:next(S) end),
    {error, {worker_down, _}} = py_port:call(Ctx, os, '_exit', [3]),
    ?assertMatch({error, {worker_down, {worker_exited, 3, _}}}, await(Waiting)),
    ?assertEqual({error, closed}, py_port:next(S)).

a_stream_that_nobody_reads_hears_of_the_end_too(_Config) ->
    Ctx = context(#{link => false}),
    {ok, S} = py_port:stream(Ctx, probe_streams, count, [10]),
    {error, {worker_down, _}} = py_port:call(Ctx, os, '_exit', [3]),
    ?assertMatch({error, {worker_down, {worker_exited, 3, _}}}, py_port:next(S)).

%% Active --------------------------------------------------------------------------------------------------------------

active_mode_sends_so_many_batches(Config) ->
    {ok, S} = py_port:stream(ctx(Config), probe_streams, endless, [<<"x">>]),
    ok = py_port:active(S, 2),
    [
        receive
            {py_port_stream, S, {data, Items}} -> ?assertMatch([_ | _], Items)
        end
     || _ <- [1, 2]
    ],
    receive
        {py_port_stream, S, passive} -> ok
    end,
    %% it holds no credit now
    ?assertMatch({ok, <<_:1024/binary>>}, py_port:next(S)),
    ?assertEqual([], py_port_test:flush()),
    ok = py_port:close(S).

active_mode_tells_the_end(Config) ->
    Ctx = ctx(Config),
    {ok, S} = py_port:stream(Ctx, probe_streams, count, [100]),
    ok = py_port:active(S, 1000000),
    ?assertEqual({lists:seq(0, 99), done}, until_end(S, [])),
    {ok, F} = py_port:stream(Ctx, probe_streams, fails_after, [3]),
    ok = py_port:active(F, 1000000),
    ?assertMatch({[0, 1, 2], {error, {python, _}}}, until_end(F, [])).

until_end(S, Got) ->
    receive
        {py_port_stream, S, {data, Items}} -> until_end(S, Got ++ Items);
        {py_port_stream, S, End} -> {Got, End}
    end.

%% Memory --------------------------------------------------------------------------------------------------------------

%% 256 MiB through a context; a slow consumer in the middle of it finds a producer that waits.
much_more_than_memory_may_pass(Config) ->
    Ctx = ctx(Config),
    {ok, S} = py_port:stream(Ctx, probe_streams, blobs, [4096, 65536]),
    {ok, Before} = py_port:call(Ctx, probe_streams, rss_kb, []),
    Binary = erlang:memory(binary),
    {ok, {Count, Peak}} = py_port:fold(
        fun(Blob, {N, Most}) when byte_size(Blob) =:= 65536 ->
            {N + 1, max(Most, erlang:memory(binary))}
        end,
        {0, 0},
        S
    ),
    ?assertEqual(4096, Count),
    {ok, After} = py_port:call(Ctx, probe_streams, rss_kb, []),
    ct:pal("256 MiB: ~b kB more in Python, ~b kB more binaries here", [After - Before, (Peak - Binary) div 1024]),
    ?assert(After - Before < 32768),
    ?assert(Peak - Binary < 64 bsl 20).

%% Into Python ---------------------------------------------------------------------------------------------------------

what_is_pushed_is_read(Config) ->
    Ctx = ctx(Config),
    [
        begin
            {ok, S} = py_port:open_stream(Ctx, probe_streams, F, []),
            [ok = py_port:push(S, N) || N <- lists:seq(1, 1000)],
            ok = py_port:finish(S),
            ?assertEqual({error, closed}, py_port:push(S, 1)),
            ?assertEqual({F, {ok, 500500}}, {F, py_port:result(S)})
        end
     || F <- [sum_of, sum_of_blocking]
    ],
    {ok, K} = py_port:open_stream(Ctx, probe_streams, sum_of, [], #{kwargs => #{start => 10}}),
    ok = py_port:finish(K),
    ?assertEqual({ok, 10}, py_port:result(K)),
    ?assertEqual({error, closed}, py_port:result(K)).

what_has_no_counterpart_in_python_takes_nothing_else_along(Config) ->
    Ctx = ctx(Config),
    [
        begin
            {ok, S} = py_port:open_stream(Ctx, probe_streams, F, []),
            [ok = py_port:push(S, Item) || Item <- [1, 2, [#{a => 1, <<"a">> => 2}], #{[] => 1}, 5]],
            ok = py_port:finish(S),
            ?assertEqual({F, {ok, [1, 2, <<"item[0].a">>, <<"item.keys()[0]">>, 5]}}, {F, py_port:result(S)})
        end
     || F <- [goes_on, goes_on_async]
    ].

what_lies_in_the_buffer_may_be_more_than_a_frame(_Config) ->
    {ok, Go} = py_port_channel:new(),
    {ok, S} = py_port:open_stream(context(#{max_frame => 100000}), probe_streams, sizes_when_told, [Go]),
    [ok = py_port:push(S, binary:copy(<<"x">>, 60000), 0) || _ <- lists:seq(1, 10)],
    [ok = py_port:push(S, binary:copy(<<"x">>, 6000), 0) || _ <- lists:seq(1, 20)],
    ok = py_port:finish(S),
    ok = py_port_channel:send(Go, go),
    ?assertEqual({ok, lists:duplicate(10, 60000) ++ lists:duplicate(20, 6000)}, py_port:result(S)),
    ok = py_port_test:stop_flows().

a_full_buffer_is_busy(Config) ->
    Ctx = ctx(Config),
    {ok, S} = py_port:open_stream(Ctx, probe_streams, never_reads, []),
    [ok = py_port:push(S, N, 0) || N <- lists:seq(1, 64)],
    ?assertEqual({error, busy}, py_port:push(S, 65, 0)),
    ?assertEqual({error, busy}, py_port:push(S, 65, 20)),
    ok = py_port:close(S),
    {ok, B} = py_port:open_stream(Ctx, probe_streams, never_reads, [], #{buffer_bytes => 1000}),
    ok = py_port:push(B, binary:copy(<<"x">>, 2000), 0),
    ?assertEqual({error, busy}, py_port:push(B, <<"y">>, 0)),
    Waiting = async(fun() -> py_port:push(B, <<"y">>) end),
    {error, busy} = py_port:push(B, <<"y">>, 20),
    ok = py_port:close(B),
    ?assertEqual({error, closed}, await(Waiting)),
    ?assertEqual({error, closed}, py_port:push(B, <<"y">>)).

a_reader_that_has_enough_closes_the_inlet(Config) ->
    {ok, S} = py_port:open_stream(ctx(Config), probe_streams, stops_after, [2]),
    ok = py_port:push(S, 1),
    ok = py_port:push(S, 2),
    ?assertEqual({ok, [1, 2]}, py_port:result(S, 10000)),
    ?assertEqual({error, closed}, py_port:push(S, 3)).

an_abort_raises_in_python(Config) ->
    {ok, S} = py_port:open_stream(ctx(Config), probe_streams, how_it_ended, []),
    ok = py_port:abort(S, <<"no good">>),
    ?assertEqual({ok, [[], <<"StreamAborted">>, [<<"no good">>]]}, py_port:result(S)).

the_death_of_the_pusher_raises_in_python(Config) ->
    Ctx = ctx(Config),
    Self = self(),
    Pusher = async(fun() ->
        {ok, S} = py_port:open_stream(Ctx, probe_streams, notes_how_it_ended, [<<"n">>]),
        ok = py_port:push(S, 1),
        Self ! pushed,
        receive
            never -> ok
        end
    end),
    receive
        pushed -> ok
    end,
    Seen = fun() -> py_port:call(Ctx, probe_streams, what_was_seen, []) end,
    true = wait_until(fun() -> Seen() =:= {ok, [<<"n started">>]} end, 10000),
    ok = kill(Pusher),
    true = wait_until(fun() -> Seen() =/= {ok, [<<"n started">>]} end, 10000),
    %% whichever reaches it first
    {ok, [_, Ending]} = Seen(),
    ?assert(lists:member(Ending, [<<"n StreamAborted">>, <<"n CancelledError">>])).

an_error_of_the_function_is_told_to_who_waits(Config) ->
    Ctx = ctx(Config),
    {ok, S} = py_port:open_stream(Ctx, probe_streams, sum_of, []),
    ok = py_port:push(S, <<"no number">>),
    ?assertMatch({error, {python, #{type := <<"TypeError">>}}}, py_port:result(S)),
    {ok, M} = py_port:open_stream(Ctx, nowhere, f, []),
    ?assertMatch({error, {python, #{type := <<"ModuleNotFoundError">>}}}, py_port:next(M)).

a_duplex_stream_answers_what_is_pushed(Config) ->
    Ctx = ctx(Config),
    [
        begin
            {ok, S} = py_port:open_stream(Ctx, probe_streams, F, []),
            [
                begin
                    ok = py_port:push(S, N),
                    ?assertEqual({ok, 2 * N}, py_port:next(S))
                end
             || N <- lists:seq(1, 20)
            ],
            [ok = py_port:push(S, N) || N <- [21, 22]],
            ok = py_port:finish(S),
            ?assertMatch({error, {bad_request, _}}, py_port:result(S)),
            ?assertEqual({ok, [42, 44]}, py_port:to_list(S))
        end
     || F <- [doubled, doubled_blocking]
    ].

a_function_that_returns_has_nothing_to_read(Config) ->
    {ok, S} = py_port:open_stream(ctx(Config), probe_streams, sum_of, []),
    ok = py_port:finish(S),
    ?assertEqual(done, py_port:next(S)),
    ?assertEqual({ok, 0}, py_port:result(S)).

a_stream_out_of_python_takes_no_pushes(Config) ->
    {ok, S} = py_port:stream(ctx(Config), probe_streams, count, [1]),
    ?assertMatch({error, {bad_argument, stream, _}}, py_port:push(S, 1)),
    ?assertMatch({error, {bad_argument, stream, _}}, py_port:result(S)),
    ok = py_port:close(S).
