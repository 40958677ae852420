%% @doc Messages that Python sends, and monitors: they reach whom they should, and nobody else.
%% @end
-module(py_port_messages_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(py_port_callback_bed, [stranger/0, fake/1, call_back/3, call_back/4, callback/3, callback/4, answer_of/2, call/1, call/2, waiting/1, running/0, gone/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE).

init_per_suite(Config) -> py_port_callback_bed:init_per_suite(Config).

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) -> py_port_callback_bed:init_per_testcase(Config).

end_per_testcase(_Case, Config) -> py_port_callback_bed:end_per_testcase(Config).

%% Messages ------------------------------------------------------------------------------------------------------------

messages_reach_whom_they_should(_Config) ->
    Ctx = fake(#{send_to => any}),
    Self = self(),
    true = register(py_port_callbacks_test, self()),
    Dead = spawn(fun() -> ok end),
    ok = gone(Dead),
    ?assertEqual({ok, ok}, call_back(Ctx, 1, {send, Self, {hello, 1}})),
    ?assertEqual({ok, ok}, call_back(Ctx, 2, {send, <<"py_port_callbacks_test">>, {hello, 2}})),
    ?assertEqual({ok, ok}, call_back(Ctx, 3, {send, py_port_callbacks_test, {hello, 3}})),
    ?assertEqual([{hello, 1}, {hello, 2}, {hello, 3}], [M || {hello, _} = M <- py_port_test:flush()]),
    ?assertEqual({error, {noproc, Dead}}, call_back(Ctx, 4, {send, Dead, x})),
    ?assertEqual({error, {noproc, <<"nobody">>}}, call_back(Ctx, 5, {send, <<"nobody">>, x})),
    ?assertEqual({error, {noproc, <<"py_port_no_atom_at_all">>}}, call_back(Ctx, 6, {send, <<"py_port_no_atom_at_all">>, x})),
    ?assertEqual({ok, Self}, call_back(Ctx, 7, {whereis, <<"py_port_callbacks_test">>})),
    ?assertEqual({ok, none}, call_back(Ctx, 8, {whereis, <<"py_port_no_atom_at_all">>})),
    ?assertEqual({ok, Ctx}, call_back(Ctx, 9, {self})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 10, {send, Ctx, {stop, 0}})),
    true = unregister(py_port_callbacks_test).

messages_of_one_thread_keep_their_order(_Config) ->
    Ctx = fake(#{send_to => any}),
    Self = self(),
    [?assertEqual({ok, ok}, call_back(Ctx, N, {send, Self, {number, N}})) || N <- lists:seq(1, 200)],
    ?assertEqual(lists:seq(1, 200), [N || {number, N} <- py_port_test:flush()]).

a_context_reaches_what_it_was_given_and_nothing_else(_Config) ->
    Ctx = fake(#{}),
    Self = self(),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 1, {send, Self, 1})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 2, {send, <<"logger">>, 1})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 3, {send, <<"py_port_no_atom_at_all">>, 1})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 4, {monitor, Self})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 5, {whereis, <<"logger">>})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 6, {channel, 'receive', Self})),
    ok = py_port:exec(Ctx, "x", #{<<"who">> => {deep, [#{in => Self}]}}),
    ?assertEqual({ok, ok}, call_back(Ctx, 7, {send, Self, 1})),
    %% also by a result
    Other = stranger(),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 8, {send, Other, stop})),
    ok = py_port:register_function(give, fun([]) -> Other end),
    {ok, Other} = call_back(Ctx, 9, call(<<"give">>)),
    ?assertEqual({ok, ok}, call_back(Ctx, 10, {send, Other, stop})),
    ok = gone(Other),
    ?assertEqual({error, {noproc, Other}}, call_back(Ctx, 11, {send, Other, stop})).

%% What keeps terms and gives them back is no way to get at a process: not at one with made-up numbers, and not at what
%% other contexts were given.
a_made_up_pid_does_not_come_back_as_a_given_one(_Config) ->
    Ctx = fake(#{}),
    Other = stranger(),
    {ok, {_, Own, _} = Mine} = py_port_channel:new(),
    {ok, {_, Foreign, _} = Theirs} = py_port_channel:new(),
    {ok, {_, Dict} = Shared} = py_shared_dict:new(),
    ok = py_shared_dict:set(Shared, <<"secret">>, 1),
    ok = py_port_channel:send(Theirs, secret),
    ok = py_port:exec(Ctx, "x", #{<<"channel">> => Mine}),
    Named = py_port_error:text(pid_to_list(Other)),
    {error, {forbidden, Why}} = call_back(Ctx, 1, call(<<"state_set">>, [<<"key">>, #{<<"deep">> => [Other]}])),
    ?assertMatch({_, _}, binary:match(Why, Named)),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 2, call(<<"state_set">>, [<<"key">>, [Foreign | Dict]]))),
    ?assertEqual({ok, []}, call_back(Ctx, 3, call(<<"state_get">>, [<<"key">>, found]))),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 4, {channel, send, Own, #{Other => 1}})),
    ?assertEqual({ok, empty}, call_back(Ctx, 5, {channel, try_receive, Own})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 6, {send, <<"x">>, Other})),
    ?assertMatch({error, {bad_reply, {unknown_pid, Named}}}, py_port:call(Ctx, fake, answer, [term_to_binary([Other])])),
    ?assertMatch(
        {error, {bad_reply, {unknown_pid, Named}}},
        py_port:call(Ctx, fake, error, [term_to_binary({python, #{notes => [Other]}})])
    ),
    [
        ?assertMatch({Op, {error, {forbidden, _}}}, {Op, call_back(Ctx, Id, Op)})
     || {Id, Op} <- lists:enumerate(10, [
            {send, Other, stop}, {monitor, Other}, {channel, try_receive, Foreign},
            call(<<"shared_dict">>, [<<"find">>, Dict, <<"secret">>])
        ])
    ],
    %% nothing was hostile enough to end it, and what it was given is as good as ever
    ?assertEqual({ok, ok}, call_back(Ctx, 20, {channel, send, Own, {Own, Ctx}})),
    ?assertEqual({ok, {Own, Ctx}}, py_port_channel:recv(Mine)),
    ?assertEqual({ok, secret}, py_port_channel:recv(Theirs)),
    ok = py_port_test:stop_flows(),
    Other ! stop.

%% The reason of a failure names processes that nobody meant to give away.
what_failed_gives_no_process_away(_Config) ->
    Ctx = fake(#{}),
    Self = self(),
    Secret = stranger(),
    Text = py_port_error:text(pid_to_list(Secret)),
    ok = py_port:exec(Ctx, "x", #{<<"known">> => Self}),
    ok = py_port:register_function(fails, fun([]) -> exit({timeout, {gen_server, call, [Secret, #{Self => Secret}]}}) end),
    ?assertMatch(
        {error, {failed, exit, {timeout, {gen_server, call, [Text, #{Self := Text}]}}, _}},
        call_back(Ctx, 1, call(<<"fails">>))
    ),
    waiting(waits),
    callback(Ctx, 2, call(<<"waits">>)),
    exit(running(), {because_of, Secret}),
    ?assertEqual({error, {killed, {because_of, Text}}}, answer_of(Ctx, 2)),
    Watched = stranger(),
    ok = py_port:exec(Ctx, "x", #{<<"watched">> => Watched}),
    callback(Ctx, 3, {monitor, Watched}),
    exit(Watched, {linked_to, Secret}),
    ?assertEqual({ok, {down, Watched, {linked_to, Text}}}, answer_of(Ctx, 3)),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 4, {send, Secret, stop})),
    %% who may send to everybody sees everything
    Trusted = fake(#{send_to => any}),
    {error, {failed, exit, Reason, _}} = call_back(Trusted, 5, call(<<"fails">>)),
    ?assertEqual({timeout, {gen_server, call, [Secret, #{Self => Secret}]}}, Reason),
    Secret ! stop.

%% They believe what they are sent: one message would end another context, or lose what a channel holds.
what_is_behind_a_handle_takes_no_messages(_Config) ->
    Ctx = fake(#{}),
    Victim = fake(#{}),
    {ok, {_, Fifo, _} = Channel} = py_port_channel:new(),
    {ok, {_, Dict} = Shared} = py_shared_dict:new(),
    {ok, Ref} = py_port:call(Victim, fake, echo, [7], #{}, #{return => ref}),
    Reading = py_port_test:context(#{init => "def read(items): return list(items)"}),
    {ok, {_, Reader, Inlet} = Stream} = py_port:open_stream(Reading, '__main__', read, []),
    ok = py_port:exec(Ctx, "x", #{<<"handles">> => [Channel, Shared, Ref, Stream, Victim]}),
    [
        ?assertMatch({Pid, {error, {forbidden, _}}}, {Pid, call_back(Ctx, Id, {send, Pid, {hostile, made_up}})})
     || {Id, Pid} <- lists:enumerate([Fifo, Dict, Victim, Reader, Inlet])
    ],
    ?assertEqual({ok, ok}, call_back(Ctx, 10, {channel, send, Fifo, 1})),
    ?assertEqual({ok, 1}, py_port_channel:recv(Channel)),
    ?assertEqual({ok, 7}, py_port:to_term(Ref)),
    ?assertEqual({ok, 5}, py_port:call(Victim, fake, echo, [5])),
    ok = py_port_stream:close(Stream),
    ok = py_port_test:stop_flows().

a_restricted_context_reaches_the_names_it_was_granted(_Config) ->
    Ctx = fake(#{send_to => [py_port_callbacks_test]}),
    Self = self(),
    ?assertEqual({error, {noproc, <<"py_port_callbacks_test">>}}, call_back(Ctx, 1, {send, <<"py_port_callbacks_test">>, 1})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 2, {send, Self, 1})),
    true = register(py_port_callbacks_test, self()),
    ?assertEqual({ok, ok}, call_back(Ctx, 3, {send, <<"py_port_callbacks_test">>, 1})),
    ?assertEqual({ok, Self}, call_back(Ctx, 4, {whereis, <<"py_port_callbacks_test">>})),
    ?assertEqual({ok, ok}, call_back(Ctx, 5, {send, Self, 1})),
    true = unregister(py_port_callbacks_test),
    %% The name is gone, and given pids were not granted.
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 6, {send, Self, 1})),
    ?assertMatch({error, {forbidden, _}}, call_back(Ctx, 7, {send, <<"logger">>, 1})).

the_end_of_a_process_is_told(_Config) ->
    Ctx = fake(#{send_to => any}),
    Who = stranger(),
    callback(Ctx, 1, {monitor, Who}),
    callback(Ctx, 2, {monitor, Who}),
    {ok, ok} = py_port:call(Ctx, fake, cancel_callback, [2]),
    ?assertEqual({error, cancelled}, answer_of(Ctx, 2)),
    Who ! stop,
    ?assertEqual({ok, {down, Who, normal}}, answer_of(Ctx, 1)),
    ?assertEqual({ok, {down, Who, noproc}}, call_back(Ctx, 3, {monitor, Who})).
