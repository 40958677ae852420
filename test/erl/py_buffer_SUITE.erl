%% @doc Buffers: Python reads what Erlang writes, like a file, and each side hears of the end that the other one made.
%% @end
-module(py_buffer_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-import(py_port_test, [async/1, await/1, context/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- [full].

init_per_testcase(_, Config) ->
    Ctx = context(#{}),
    [{ctx, Ctx} | Config].

end_per_testcase(_, Config) ->
    ok = py_port_test:stop_flows(),
    py_port_test:end_per_testcase(Config).

read(Config, Function, Args) ->
    py_port:call(py_port_test:ctx(Config), probe_data, Function, Args).

%% One that holds these pieces and is closed.
full(Pieces) ->
    {ok, Buffer} = py_buffer:new(),
    [ok = py_buffer:write(Buffer, Piece) || Piece <- Pieces],
    ok = py_buffer:close(Buffer),
    Buffer.

%% Reading -------------------------------------------------------------------------------------------------------------

it_arrives_as_a_file(Config) ->
    {ok, Unknown} = py_buffer:new(),
    ?assertEqual({ok, [<<"PyBuffer">>, none, true]}, read(Config, kind, [Unknown])),
    {ok, Known} = py_buffer:new(7),
    ?assertEqual({ok, [<<"PyBuffer">>, 7, true]}, read(Config, kind, [Known])),
    ?assertEqual({ok, Known}, read(Config, give_back, [Known])).

it_arrives_inside_an_environ(Config) ->
    Body = <<"{\"a\": [1, 2]}">>,
    Environ = #{<<"wsgi.input">> => full([Body]), <<"CONTENT_LENGTH">> => integer_to_binary(byte_size(Body))},
    ?assertEqual({ok, #{<<"a">> => [1, 2]}}, read(Config, nested, [Environ])).

pieces_are_one_text(Config) ->
    ?assertEqual({ok, <<"hello world">>}, read(Config, read_all, [full([<<"hel">>, "lo ", [<<"wor">>, $l], <<>>, <<"d">>])])),
    ?assertEqual({ok, <<>>}, read(Config, read_all, [full([])])).

%% Not one of them is to become text on the way.
bytes_stay_bytes(Config) ->
    All = list_to_binary(lists:seq(0, 255)),
    ?assertEqual({ok, <<All/binary, "text", "é"/utf8>>}, read(Config, read_all, [full([All, <<"text">>, <<"é"/utf8>>])])).

a_read_has_the_size_that_was_asked_for(Config) ->
    ?assertEqual(
        {ok, [<<"abcd">>, <<>>, <<"ef">>, <<"g">>, <<>>]},
        read(Config, read_sizes, [full([<<"ab">>, <<"cde">>, <<"fg">>]), [4, 0, 2, 9, -1]])
    ).

a_read_waits_for_what_is_not_written_yet(Config) ->
    {ok, Buffer} = py_buffer:new(),
    Test = self(),
    Reading = async(fun() -> read(Config, tell_and_read, [Buffer, Test]) end),
    receive
        <<"reading">> -> ok
    end,
    ok = py_buffer:write(Buffer, <<"ab">>),
    ok = py_buffer:write(Buffer, <<"cdefg">>),
    ?assertEqual({ok, <<"abcde">>}, await(Reading)).

another_thread_reads(Config) ->
    {ok, Buffer} = py_buffer:new(),
    Reading = async(fun() -> read(Config, in_thread, [Buffer]) end),
    ok = py_buffer:write(Buffer, <<"ab">>),
    ok = py_buffer:close(Buffer),
    ?assertEqual({ok, [<<"ab">>]}, await(Reading)).

read1_takes_what_is_there(Config) ->
    {ok, Buffer} = py_buffer:new(),
    ok = py_buffer:write(Buffer, <<"abc">>),
    ?assertEqual({ok, <<"abc">>}, read(Config, read1, [Buffer, 10])),
    ok = py_buffer:write(Buffer, <<"defg">>),
    ?assertEqual({ok, <<"de">>}, read(Config, read1, [Buffer, 2])).

lines_are_lines(Config) ->
    Pieces = [<<"one\ntw">>, <<"o\n">>, <<"\nthr">>, <<"ee">>],
    ?assertEqual({ok, [<<"one\n">>, <<"two\n">>, <<"\n">>, <<"three">>]}, read(Config, lines, [full(Pieces)])),
    ?assertEqual({ok, [<<"one\n">>, <<"two\n">>, <<"\n">>, <<"three">>]}, read(Config, readlines, [full(Pieces), -1])),
    ?assertEqual({ok, [<<"one\n">>, <<"two\n">>]}, read(Config, readlines, [full(Pieces), 5])),
    ?assertEqual({ok, [<<"on">>, <<"e\n">>, <<"tw">>, <<"o\n">>]}, read(Config, lines_of, [full(Pieces), 2])),
    ?assertEqual({ok, <<"é\n"/utf8>>}, read(Config, text_lines, [full([<<195>>, <<169, "\n">>])])).

one_can_go_back(Config) ->
    ?assertEqual(
        {ok, [<<"abc">>, 3, 0, <<"ab">>, 4, <<"e">>, 5, <<"fg">>, 7]}, read(Config, around, [full([<<"abcd">>, <<"efg">>])])
    ).

what_is_there_can_be_had_without_waiting(Config) ->
    {ok, Buffer} = py_buffer:new(),
    ?assertEqual({ok, [0, false, <<>>, <<>>, <<>>, false, 0]}, read(Config, nonblocking, [Buffer])),
    ok = py_buffer:write(Buffer, <<"abcde">>),
    ?assertEqual({ok, [5, false, <<"ab">>, <<"cde">>, <<>>, false, 0]}, read(Config, nonblocking, [Buffer])),
    ok = py_buffer:close(Buffer),
    ?assertEqual({ok, [0, true, <<>>, <<>>, <<>>, true, 0]}, read(Config, nonblocking, [Buffer])).

it_is_searched_and_viewed_as_a_whole(Config) ->
    ?assertEqual(
        {ok, [<<"he">>, <<"el">>, true, <<"hello world">>, <<"hello world">>, 4, 7, -1, 2]},
        read(Config, whole, [full([<<"hello ">>, <<"world">>])])
    ),
    ?assertEqual({ok, [5, <<"abcde", 0, 0, 0>>]}, read(Config, into, [full([<<"abc">>, <<"de">>])])).

memoryview_works_where_python_can(Config) ->
    {ok, Minor} = py_port:eval(py_port_test:ctx(Config), <<"__import__('sys').version_info[1]">>),
    case read(Config, view_of, [full([<<"abc">>])]) of
        {ok, <<"abc">>} -> ?assert(Minor >= 12);
        {error, {python, #{type := <<"TypeError">>}}} -> ?assert(Minor < 12)
    end.

coroutines_read(Config) ->
    {ok, Buffer} = py_buffer:new(),
    Reading = async(fun() -> read(Config, read_async, [Buffer]) end),
    [ok = py_buffer:write(Buffer, B) || B <- [<<"a">>, <<"bcd">>, <<"e\nf\n">>, <<"g">>]],
    ok = py_buffer:close(Buffer),
    ?assertEqual({ok, [<<"abc">>, <<"de\n">>, [<<"f\n">>, <<"g">>]]}, await(Reading)).

a_cancelled_read_loses_nothing(Config) ->
    {ok, Buffer} = py_buffer:new(),
    Test = self(),
    ok = py_port:register_function(told, fun([_]) -> Test ! cancelled, ok end),
    Reading = async(fun() -> read(Config, cancelled_read, [Buffer, 1]) end),
    receive
        cancelled -> ok
    end,
    [ok = py_buffer:write(Buffer, B) || B <- [<<"ab">>, <<"cd">>]],
    ?assertEqual({ok, <<"abcd">>}, await(Reading)),
    ok = py_port:unregister_function(told).

calls_share_it_while_somebody_keeps_it(Config) ->
    Buffer = full([<<"abc">>]),
    ?assertEqual({ok, <<"a">>}, read(Config, keep, [Buffer])),
    ?assertEqual({ok, true}, read(Config, is_kept, [Buffer])),
    ?assertEqual({ok, <<"bc">>}, read(Config, read_all, [Buffer])).

%% The end -------------------------------------------------------------------------------------------------------------

nothing_is_written_after_the_end(Config) ->
    Buffer = full([<<"abc">>]),
    ?assertEqual([{error, closed}, {error, closed}], [py_buffer:write(Buffer, B) || B <- [<<"d">>, <<>>]]),
    ?assertEqual(ok, py_buffer:close(Buffer)),
    ?assertEqual({ok, <<"abc">>}, read(Config, read_all, [Buffer])),
    ?assertEqual({error, closed}, py_buffer:write(Buffer, <<"d">>)).

a_content_length_is_a_limit(Config) ->
    {ok, Buffer} = py_buffer:new(5),
    ok = py_buffer:write(Buffer, <<"abc">>),
    ?assertEqual({error, content_length}, py_buffer:write(Buffer, <<"def">>)),
    ok = py_buffer:write(Buffer, <<"de">>),
    ?assertEqual({error, content_length}, py_buffer:write(Buffer, <<"f">>)),
    %% it is complete, and nobody has to say so
    ?assertEqual({ok, <<"abcde">>}, read(Config, read_all, [Buffer])),
    ok = py_buffer:close(Buffer),
    ?assertEqual({error, closed}, py_buffer:write(Buffer, <<"f">>)).

a_short_body_ends_where_it_was_closed(Config) ->
    {ok, Buffer} = py_buffer:new(5),
    ok = py_buffer:write(Buffer, <<"abc">>),
    ok = py_buffer:close(Buffer),
    ?assertEqual({ok, [<<"abc">>]}, read(Config, read_sizes, [Buffer, [5]])).

python_may_want_no_more(Config) ->
    {ok, Buffer} = py_buffer:new(),
    ok = py_buffer:write(Buffer, <<"abc">>),
    ?assertEqual({ok, [true, <<"ValueError">>]}, read(Config, close, [Buffer])),
    ?assertEqual({error, closed}, py_buffer:write(Buffer, <<"d">>)).

%% A body that breaks off must not look like one that ended.
a_writer_that_dies_is_no_end(Config) ->
    Self = self(),
    {Writer, Ref} = spawn_monitor(fun() ->
        {ok, Buffer} = py_buffer:new(),
        ok = py_buffer:write(Buffer, <<"abc">>),
        Self ! {buffer, Buffer},
        receive
            never -> ok
        end
    end),
    Buffer = receive {buffer, B} -> B end,
    ?assertEqual({ok, <<"a">>}, read(Config, keep, [Buffer])),
    true = exit(Writer, kill),
    receive
        {'DOWN', Ref, process, Writer, _} -> ok
    end,
    {ok, [{Class, _}, Rest, {Later, _}]} = read(Config, wait_for_more, [Buffer]),
    ?assertEqual([<<"StreamAborted">>, <<"bc">>, <<"StreamAborted">>], [Class, Rest, Later]),
    ?assertEqual({error, closed}, py_buffer:write(Buffer, <<"d">>)).

%% What was on its way to the read is gone with it.
an_interrupted_read_leaves_no_hole(Config) ->
    {ok, Buffer} = py_buffer:new(),
    ok = py_buffer:write(Buffer, <<"abc">>),
    ?assertEqual({ok, <<"a">>}, read(Config, keep, [Buffer])),
    ?assertEqual({error, timeout}, py_port:call(py_port_test:ctx(Config), probe_data, read_all, [Buffer], #{}, #{timeout => 100})),
    ok = py_buffer:write(Buffer, <<"d">>),
    {ok, [{Class, _}, Rest, {Later, _}]} = read(Config, wait_for_more, [Buffer]),
    ?assertEqual([<<"StreamAborted">>, <<"bc">>, <<"StreamAborted">>], [Class, Rest, Later]).

closing_is_no_end_for_a_read_that_waits(Config) ->
    [
        begin
            {ok, Buffer} = py_buffer:new(),
            ok = py_buffer:write(Buffer, <<"abc">>),
            ?assertEqual({F, {ok, <<"ValueError">>}}, {F, read(Config, F, [Buffer])})
        end
     || F <- [closed_by_another_thread, closed_by_another_task]
    ].

%% Size ----------------------------------------------------------------------------------------------------------------

a_body_is_written_before_anybody_reads(Config) ->
    Body = binary:copy(<<"0123456789abcdef">>, 200_000),
    ?assertEqual({ok, 3_200_000}, read(Config, size_of_rest, [full([Body])])).

with_a_limit_the_writer_waits(Config) ->
    {ok, Buffer} = py_buffer:new(#{max_size => 100_000}),
    Piece = binary:copy(<<"x">>, 60_000),
    ?assertEqual([ok, ok, {error, busy}], [py_buffer:write(Buffer, Piece, 0) || _ <- [1, 2, 3]]),
    Writing = async(fun() -> ok = py_buffer:write(Buffer, binary:copy(Piece, 20)), py_buffer:close(Buffer) end),
    ?assertEqual({ok, 22 * 60_000}, read(Config, size_of_rest, [Buffer])),
    ?assertEqual(ok, await(Writing)).

a_small_frame_is_enough(_Config) ->
    Ctx = context(#{max_frame => 2_000_000}),
    Buffer = full([binary:copy(<<"x">>, 20_000_000)]),
    ?assertEqual({ok, 20_000_000}, py_port:call(Ctx, probe_data, size_of_rest, [Buffer])).

what_is_wrong_is_named(Config) ->
    [
        ?assertMatch({error, {bad_argument, Which, _}}, py_buffer:new(Bad))
     || {Which, Bad} <- [
            {content_length, -1},
            {content_length, many},
            {max_size, #{max_size => 0}},
            {owner, #{owner => none}},
            {options, #{size => 1}}
        ]
    ],
    {ok, Buffer} = py_buffer:new(),
    ?assertMatch({error, {bad_argument, data, _}}, py_buffer:write(Buffer, text)),
    ?assertMatch({error, {bad_argument, timeout, _}}, py_buffer:write(Buffer, <<>>, soon)),
    ?assertMatch({error, {bad_argument, buffer, _}}, py_buffer:write(self(), <<>>)),
    ?assertMatch({error, {bad_argument, buffer, _}}, py_buffer:close(self())),
    %% what only looks like one is a tuple
    Odd = {'$py_buffer', 1, 2, 3},
    ?assertEqual({ok, {<<"$py_buffer">>, 1, 2, 3}}, read(Config, give_back, [Odd])).
