%% @doc Byte channels: what one side sends only the other receives, as bytes.
%% @end
-module(py_byte_channel_SUITE).

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

erlang_does_not_read_back_its_own_bytes(_Config) ->
    {ok, Ch} = py_byte_channel:new(),
    ok = py_byte_channel:send(Ch, <<"mine">>),
    ?assertEqual({error, empty}, py_byte_channel:try_receive(Ch)),
    ?assertEqual({error, timeout}, py_byte_channel:recv(Ch, 0)),
    ?assertMatch(#{size := 4, incoming := 0}, py_byte_channel:info(Ch)).

python_does_not_read_back_its_own_bytes(_Config) ->
    Ctx = context(#{}),
    {ok, Ch} = py_byte_channel:new(),
    ?assertEqual({ok, [none, <<"TimeoutError">>]}, py_port:call(Ctx, probe_data, own_bytes, [Ch])),
    ?assertMatch(#{size := 0, incoming := 4}, py_byte_channel:info(Ch)),
    ?assertEqual([{ok, <<"mine">>}, {error, empty}], [py_byte_channel:try_receive(Ch) || _ <- [1, 2]]).

they_talk_to_each_other(_Config) ->
    Ctx = context(#{}),
    {ok, Ch} = py_byte_channel:new(),
    Echo = py_port:async_call(Ctx, probe_data, echo_bytes, [Ch], #{thread => true}),
    [
        begin
            ok = py_byte_channel:send(Ch, <<"ping", N>>),
            ?assertEqual({ok, <<"PING", N>>}, py_byte_channel:recv(Ch))
        end
     || N <- lists:seq(1, 20)
    ],
    ok = py_byte_channel:close(Ch),
    ?assertEqual({ok, <<"ended">>}, py_port:await(Echo)),
    ?assertEqual({error, closed}, py_byte_channel:recv(Ch)).

coroutines_talk_too(_Config) ->
    Ctx = context(#{}),
    {ok, Ch} = py_byte_channel:new(),
    Echo = py_port:async_call(Ctx, probe_data, echo_bytes_async, [Ch]),
    ok = py_byte_channel:send(Ch, <<"ping">>),
    ?assertEqual({ok, <<"PING">>}, py_byte_channel:recv(Ch)),
    ok = py_byte_channel:send(Ch, <<255>>),
    ?assertEqual({ok, <<255>>}, py_byte_channel:recv(Ch, 60000)),
    ok = py_byte_channel:close(Ch),
    ?assertEqual({ok, <<"ended">>}, py_port:await(Echo)).

every_form_receives(_Config) ->
    Ctx = context(#{}),
    {ok, Ch} = py_byte_channel:new(),
    [ok = py_byte_channel:send(Ch, B) || B <- [<<"a">>, <<0, 255>>, <<>>]],
    ?assertEqual({ok, [<<"a">>, <<0, 255>>, <<>>, <<"empty">>]}, py_port:call(Ctx, probe_data, bytes_one_by_one, [Ch])),
    ok = py_byte_channel:send(Ch, <<"last">>),
    ?assertEqual({ok, <<"last">>}, py_port:call(Ctx, probe_data, bytes_async, [Ch])).

a_full_direction_is_busy_and_the_other_is_not(_Config) ->
    Ctx = context(#{}),
    {ok, Ch} = py_byte_channel:new(#{max_size => 8}),
    ?assertEqual([ok, ok, busy], [py_byte_channel:send(Ch, <<"1234">>) || _ <- [1, 2, 3]]),
    ?assertMatch(#{size := 8, incoming := 0, max_size := 8}, py_byte_channel:info(Ch)),
    {ok, [<<"1234">>, _]} = py_port:call(Ctx, probe_data, own_bytes, [Ch]),
    ?assertEqual({ok, <<"mine">>}, py_byte_channel:recv(Ch)).

closing_closes_both_directions(_Config) ->
    Ctx = context(#{}),
    {ok, Ch} = py_byte_channel:new(),
    ?assertEqual({ok, [<<"closed">>, <<"ChannelClosed">>]}, py_port:call(Ctx, probe_data, closed_bytes, [Ch])),
    ?assertEqual([{error, closed}, {error, closed}], [py_byte_channel:send(Ch, <<>>), py_byte_channel:try_receive(Ch)]),
    ?assertMatch(#{closed := true}, py_byte_channel:info(Ch)),
    {ok, Half} = py_byte_channel:new(),
    ok = py_byte_channel:send(Half, <<"queued">>),
    ok = py_byte_channel:close(Half),
    ?assertEqual({ok, <<"queued">>}, py_port:call(Ctx, probe_data, bytes_async, [Half])).

the_handle_comes_back_as_it_is(_Config) ->
    Ctx = context(#{}),
    {ok, Ch} = py_byte_channel:new(),
    ?assertEqual({ok, Ch}, py_port:call(Ctx, probe_data, back, [Ch])).

it_ends_with_its_owner(_Config) ->
    Ch = await(async(fun() -> {ok, New} = py_byte_channel:new(), New end)),
    ?assertEqual({error, closed}, py_byte_channel:recv(Ch)),
    ?assertEqual(#{size => 0, incoming => 0, max_size => 0, closed => true}, py_byte_channel:info(Ch)).

what_is_wrong_is_named(_Config) ->
    {ok, Ch} = py_byte_channel:new(),
    ?assertMatch({error, {bad_argument, message, _}}, py_byte_channel:send(Ch, text)),
    ?assertMatch({error, {bad_argument, max_size, _}}, py_byte_channel:new(#{max_size => lots})),
    ?assertMatch({error, {bad_argument, options, _}}, py_byte_channel:new([])),
    ?assertMatch({error, {bad_argument, channel, _}}, py_byte_channel:send(self(), <<>>)),
    ?assertMatch({error, {bad_argument, channel, _}}, py_byte_channel:info({'$py_byte_channel', a, b})),
    Ctx = context(#{}),
    ?assertMatch({error, {python, #{type := <<"TypeError">>}}}, py_port:call(Ctx, probe_data, drain, [Ch])).
