%% @doc Channels with erlang_python's contract: never waiting to send, bounded by bytes, and nothing lost, not even a `none'.
%% @end
-module(py_channel_facade_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-import(py_port_test, [async/1, await/1, context/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE).

init_per_testcase(_, Config) ->
    ok = py_port_test:start(),
    Config.

end_per_testcase(_, Config) ->
    ok = py_port_test:stop_flows(),
    py_port_test:end_per_testcase(Config).

%% Erlang --------------------------------------------------------------------------------------------------------------

without_a_limit_it_is_never_busy(_Config) ->
    {ok, Ch} = py_channel:new(),
    [ok = py_channel:send(Ch, {message, N}) || N <- lists:seq(1, 5000)],
    ?assertMatch(#{max_size := 0, queued := 5000, closed := false}, py_channel:info(Ch)),
    {ok, Zero} = py_channel:new(#{max_size => 0}),
    ?assertMatch(#{max_size := 0, size := 0, queued := 0}, py_channel:info(Zero)).

%% 40 bytes are 46 in external format.
the_limit_counts_bytes_of_the_external_format(_Config) ->
    {ok, Ch} = py_channel:new(#{max_size => 92}),
    Message = binary:copy(<<"x">>, 40),
    ?assertEqual([ok, ok, busy], [py_channel:send(Ch, Message) || _ <- [1, 2, 3]]),
    ?assertEqual(#{size => 92, max_size => 92, queued => 2, closed => false}, py_channel:info(Ch)),
    {ok, Message} = py_channel:'receive'(Ch),
    ?assertMatch(#{size := 46}, py_channel:info(Ch)),
    ?assertEqual([ok, busy], [py_channel:send(Ch, Message) || _ <- [1, 2]]).

terms_count_too(_Config) ->
    {ok, Ch} = py_channel:new(#{max_size => 100}),
    Message = lists:duplicate(20, {a, 1000}),
    ?assertEqual([ok, busy], [py_channel:send(Ch, Message) || _ <- [1, 2]]),
    ?assertEqual(erlang:external_size(Message), map_get(size, py_channel:info(Ch))).

what_is_larger_than_the_channel_gets_through(_Config) ->
    {ok, Ch} = py_channel:new(#{max_size => 10}),
    Large = binary:copy(<<"x">>, 1000),
    ?assertEqual([ok, busy], [py_channel:send(Ch, Large), py_channel:send(Ch, a)]),
    ?assertEqual({ok, Large}, py_channel:'receive'(Ch, 0)),
    ?assertEqual({error, empty}, py_channel:try_receive(Ch)).

after_closing_what_is_queued_is_received(_Config) ->
    {ok, Ch} = py_channel:new(),
    ok = py_channel:send(Ch, 1),
    ?assertEqual([ok, ok], [py_channel:close(Ch), py_channel:close(Ch)]),
    ?assertEqual({error, closed}, py_channel:send(Ch, 2)),
    ?assertMatch(#{closed := true, queued := 1}, py_channel:info(Ch)),
    ?assertEqual([{ok, 1}, {error, closed}], [py_channel:'receive'(Ch) || _ <- [1, 2]]).

it_ends_with_its_owner(_Config) ->
    Ch = await(async(fun() -> {ok, New} = py_channel:new(), ok = py_channel:send(New, 1), New end)),
    {_, Pid, _} = Ch,
    Ref = erlang:monitor(process, Pid),
    receive
        {'DOWN', Ref, process, Pid, _} -> ok
    end,
    ?assertEqual([{error, closed}, {error, closed}], [py_channel:send(Ch, 2), py_channel:'receive'(Ch)]),
    ?assertEqual(#{size => 0, max_size => 0, queued => 0, closed => true}, py_channel:info(Ch)).

what_is_wrong_is_named(_Config) ->
    ?assertMatch({error, {bad_argument, max_size, _}}, py_channel:new(#{max_size => -1})),
    ?assertMatch({error, {bad_argument, owner, _}}, py_channel:new(#{owner => me})),
    ?assertMatch({error, {bad_argument, options, _}}, py_channel:new(#{max => 1})),
    ?assertMatch({error, {bad_argument, options, _}}, py_channel:new([])),
    ?assertMatch({error, {bad_argument, channel, _}}, py_channel:send(self(), 1)),
    ?assertMatch({error, {bad_argument, channel, _}}, py_channel:info(none)),
    ?assertEqual(ok, py_channel:register_callbacks()).

%% Python --------------------------------------------------------------------------------------------------------------

%% Where None says that there is nothing, these would be lost.
none_is_a_message(_Config) ->
    Ctx = context(#{}),
    Messages = [none, nil, undefined, false, 0, <<>>],
    Filled = fun() ->
        {ok, Ch} = py_channel:new(),
        [ok = py_channel:send(Ch, M) || M <- Messages],
        Ch
    end,
    Received = {ok, [none, none, none, false, 0, <<>>]},
    ?assertEqual(Received, py_port:call(Ctx, probe_data, try_all, [Filled()])),
    Closed = fun() -> Ch = Filled(), ok = py_channel:close(Ch), Ch end,
    ?assertEqual(Received, py_port:call(Ctx, probe_data, drain, [Closed()])),
    ?assertEqual(Received, py_port:call(Ctx, probe_data, drain_async, [Closed()])),
    ?assertEqual({ok, none}, py_port:call(Ctx, probe_data, first_async, [Filled()], #{}, #{timeout => 30000})).

a_time_limit_may_be_in_milliseconds(_Config) ->
    Ctx = context(#{}),
    {ok, Ch} = py_channel:new(),
    ?assertMatch({ok, {<<"TimeoutError">>, _}}, py_port:call(Ctx, probe_data, receive_in, [Ch, 1])),
    ok = py_channel:send(Ch, a),
    ?assertEqual({ok, {<<"ok">>, <<"a">>}}, py_port:call(Ctx, probe_data, receive_in, [Ch, 0])),
    ok = py_channel:send(Ch, b),
    ?assertEqual({ok, {<<"ok">>, <<"b">>}}, py_port:call(Ctx, probe_data, receive_in, [Ch, -1])).

with_closes_it(_Config) ->
    Ctx = context(#{}),
    {ok, Ch} = py_channel:new(),
    ok = py_channel:send(Ch, 1),
    ?assertEqual({ok, [1, <<"ChannelClosed">>, <<"ChannelClosed">>]}, py_port:call(Ctx, probe_data, with_channel, [Ch])),
    ?assertEqual({error, closed}, py_channel:send(Ch, 2)).

python_answers_with_reply(_Config) ->
    Ctx = context(#{}),
    {ok, Ch} = py_channel:new(),
    Answering = py_port:async_call(Ctx, probe_data, answer, [Ch, self()], #{thread => true}),
    [ok = py_channel:send(Ch, N) || N <- [1, none, 3]],
    [
        receive
            {<<"answer">>, Expected} -> ok
        end
     || Expected <- [1, none, 3]
    ],
    ok = py_channel:close(Ch),
    ?assertEqual({ok, true}, py_port:await(Answering)).

python_senders_are_bounded_too(_Config) ->
    Ctx = context(#{}),
    {ok, Ch} = py_channel:new(#{max_size => 1000}),
    Message = [[1000, 2000], [<<"text">>]],
    Size = erlang:external_size(Message),
    {ok, N} = py_port:call(Ctx, probe_data, fill, [Ch, Message]),
    ?assertEqual(-(-1000 div Size) + min(1, 1000 rem Size), N),
    ?assertEqual(busy, py_channel:send(Ch, 1)).

several_contexts_share_one(_Config) ->
    Contexts = [context(#{}) || _ <- [1, 2]],
    {ok, Ch} = py_channel:new(),
    Draining = [async(fun() -> py_port:call(Ctx, probe_data, drain, [Ch]) end) || Ctx <- Contexts],
    [ok = py_channel:send(Ch, N) || N <- lists:seq(1, 200)],
    ok = py_channel:close(Ch),
    ?assertEqual(lists:seq(1, 200), lists:sort(lists:append([Got || One <- Draining, {ok, Got} <- [await(One)]]))).
