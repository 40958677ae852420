%% @doc Calls from Python to Erlang, the Erlang half: what an answer says, and what a context may call. Whatever becomes of a call,
%% its answer comes, once.
%% @end
-module(py_port_callbacks_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-include("../../erl_src/py_port.hrl").

-import(py_port_trouble, [exit_of/1]).
-import(py_port_callback_bed, [fake/1, call_back/3, call_back/4, callback/3, callback/4, answer_of/2, answer/1, call/1, call/2, waiting/1, running/0, idle/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- [give_length, crash].

init_per_suite(Config) -> py_port_callback_bed:init_per_suite(Config).

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) -> py_port_callback_bed:init_per_testcase(Config).

end_per_testcase(_Case, Config) -> py_port_callback_bed:end_per_testcase(Config).

%% Answers -------------------------------------------------------------------------------------------------------------

a_function_gets_the_list_and_gives_the_result(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(add, fun([A, B]) -> A + B end),
    ok = py_port:register_function("ümläut", fun(Args) -> {got, Args} end),
    ok = py_port:register_function(<<"length">>, ?MODULE, give_length),
    ?assertEqual({ok, 3}, call_back(Ctx, 1, call(<<"add">>, [1, 2]))),
    ?assertEqual({ok, {got, []}}, call_back(Ctx, 2, call(<<"ümläut"/utf8>>))),
    ?assertEqual({ok, 2}, call_back(Ctx, 3, call(<<"length">>, [a, b]))),
    callback(Ctx, 4, call(<<"add">>, [40, 2])),
    ?assertEqual({ok, 42}, answer_of(Ctx, 4)).

give_length(Args) -> length(Args).

an_error_that_is_returned_is_data(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(fails, fun([Why]) -> {error, Why} end),
    ?assertEqual({ok, {error, <<"x">>}}, call_back(Ctx, 1, call(<<"fails">>, [<<"x">>]))).

every_class_of_failure_is_told_apart(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(fail, fun([Class]) -> ?MODULE:crash(Class) end),
    [
        begin
            {error, {failed, Got, Reason, Stack}} = call_back(Ctx, N, call(<<"fail">>, [atom_to_binary(Class)])),
            ?assertEqual({Class, {oops, Class}}, {Got, Reason}),
            ?assertMatch({_, _}, binary:match(Stack, <<"py_port_callbacks_SUITE:crash/1 (">>))
        end
     || {N, Class} <- [{1, error}, {2, exit}, {3, throw}]
    ],
    %% nothing answered twice, nobody died
    ?assertEqual({ok, 3}, py_port:call(Ctx, fake, answers_so_far, [])).

crash(<<"error">>) -> error({oops, error});
crash(<<"exit">>) -> exit({oops, exit});
crash(<<"throw">>) -> throw({oops, throw}).

an_exit_that_says_normal_is_a_failure(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(bye, fun(_) -> exit(normal) end),
    ?assertMatch({error, {failed, exit, normal, _}}, call_back(Ctx, 1, call(<<"bye">>))).

an_unknown_name_is_not_found(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(known, fun(_) -> yes end),
    ?assertEqual({error, {not_found, <<"nope">>}}, call_back(Ctx, 1, call(<<"nope">>))),
    ?assertEqual({ok, true}, call_back(Ctx, 2, {exists, <<"known">>})),
    ?assertEqual({ok, false}, call_back(Ctx, 3, {exists, <<"nope">>})),
    ok = py_port:unregister_function(<<"known">>),
    ?assertEqual({error, {not_found, <<"known">>}}, call_back(Ctx, 4, call(<<"known">>))),
    ?assertEqual({ok, false}, call_back(Ctx, 5, {exists, <<"known">>})).

a_function_removed_while_it_runs_is_answered(_Config) ->
    Ctx = fake(#{}),
    waiting(slow),
    callback(Ctx, 1, call(<<"slow">>)),
    Job = running(),
    ok = py_port:unregister_function(slow),
    Job ! {go, fun() -> done end},
    ?assertEqual({ok, done}, answer_of(Ctx, 1)).

a_name_registered_again_is_the_new_function(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(f, fun(_) -> 1 end),
    ok = py_port:register_function("f", fun(_) -> 2 end),
    ?assertEqual({ok, 2}, call_back(Ctx, 1, call(<<"f">>))).

wrong_registrations_say_what_is_wrong(_Config) ->
    F = fun(_) -> ok end,
    [
        ?assertMatch({Which, {error, {bad_argument, Which, <<_, _/binary>>}}}, {Which, Got})
     || {Which, Got} <- [
            {name, py_port:register_function(1, F)},
            {name, py_port:register_function("", F)},
            {name, py_port:register_function(<<255>>, F)},
            {function, py_port:register_function(f, fun() -> ok end)},
            {function, py_port:register_function(f, lists)},
            {function, py_port:register_function(f, "lists", map)},
            {name, py_port:unregister_function({f})}
        ]
    ],
    ?assertEqual([], ets:tab2list(?FUNCTIONS)).

what_is_no_operation_is_refused_and_harms_nobody(_Config) ->
    Ctx = fake(#{}),
    Refused = [
        <<>>, <<131>>, <<131, 97, 1, 97, 1>>, <<131, 119, 20, "py_port_never_seen_3">>,
        term_to_binary({call, add, []}),
        term_to_binary({call, <<"f">>, [a | b]}), term_to_binary({call, <<"f">>}), term_to_binary({}),
        term_to_binary(self), term_to_binary({send, 1, 2}), term_to_binary({monitor, <<"x">>}),
        term_to_binary({channel, 'receive', <<"x">>}), term_to_binary({inlet}),
        term_to_binary({lists:seq(1, 100000)})
    ],
    lists:foreach(
        fun({Id, Payload}) ->
            {ok, Answer} = py_port:call(Ctx, fake, call_back, [Id, 0, <<>>, Payload]),
            ?assertMatch({Payload, {error, {bad_request, <<_, _/binary>>}}}, {Payload, answer(Answer)}),
            ?assert(byte_size(element(2, Answer)) < 4096)
        end,
        lists:enumerate(Refused)
    ),
    ?assert(idle(Ctx)).

a_fun_may_come_back_from_where_it_was_given(_Config) ->
    Ctx = fake(#{}),
    F = fun(X) -> X * 2 end,
    ok = py_port:register_function(make, fun([]) -> F end),
    ok = py_port:register_function(use, fun([G, X]) -> G(X) end),
    ?assertEqual({ok, F}, call_back(Ctx, 2, call(<<"make">>))),
    ?assertEqual({ok, 8}, call_back(Ctx, 3, call(<<"use">>, [F, 4]))).

%% No honest worker sends these: it never compresses, and gives back the funs it got.
what_only_a_hostile_worker_sends_ends_its_context(_Config) ->
    ok = py_port:register_function(use, fun([G, X]) -> G(X) end),
    [
        begin
            Ctx = fake(#{}),
            Got = py_port:call(Ctx, fake, call_back, [1, 0, <<>>, Payload]),
            ?assertMatch({error, {worker_down, {protocol_error, {hostile_reply, _}, _}}}, Got),
            ?assertMatch({protocol_error, {hostile_reply, _}, _}, exit_of(Ctx))
        end
     || Payload <- [<<131, 80, 0, 0>>, term_to_binary(call(<<"use">>, [fun os:cmd/1, "true"]))]
    ].

a_result_that_is_too_large_is_a_failure(_Config) ->
    Ctx = fake(#{max_frame => 1024}),
    ok = py_port:register_function(big, fun([N]) -> binary:copy(<<"x">>, N) end),
    ok = py_port:register_function(fail, fun([N]) -> error(binary:copy(<<"x">>, N)) end),
    ?assertMatch({ok, <<_:1000/binary>>}, call_back(Ctx, 1, call(<<"big">>, [1000]))),
    ?assertEqual({error, {failed, error, {too_large, 1025, 1024}, <<>>}}, call_back(Ctx, 2, call(<<"big">>, [1019]))),
    ?assertMatch({error, {failed, error, {too_large, 20006, 1024}, <<>>}}, call_back(Ctx, 3, call(<<"big">>, [20000]))),
    ?assertMatch({error, {failed, error, <<_/binary>>, <<>>}}, call_back(Ctx, 4, call(<<"fail">>, [2000]))).

large_results_pass(_Config) ->
    Ctx = fake(#{}),
    Bytes = binary:copy(<<"0123456789abcdef">>, 65536),
    ok = py_port:register_function(big, fun(_) -> #{bytes => Bytes, also => [Bytes]} end),
    ?assertEqual({ok, #{bytes => Bytes, also => [Bytes]}}, call_back(Ctx, 1, call(<<"big">>))).

a_huge_reason_becomes_text(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(fail, fun([N]) -> error({huge, lists:seq(1, N)}) end),
    {error, {failed, error, {huge, _}, _}} = call_back(Ctx, 1, call(<<"fail">>, [100])),
    {error, {failed, error, Text, Stack}} = call_back(Ctx, 2, call(<<"fail">>, [1000000])),
    ?assertMatch(<<"{huge,[1,2,3", _/binary>>, Text),
    ?assert(byte_size(Text) < 8192 andalso byte_size(Stack) < 8192).

the_stack_shows_no_arguments(_Config) ->
    Ctx = fake(#{}),
    ok = py_port:register_function(undef, fun([Secret]) -> apply(?MODULE, no_such_function, [Secret]) end),
    {error, {failed, error, undef, Stack}} = call_back(Ctx, 1, call(<<"undef">>, [<<"sesame">>])),
    ?assertMatch({_, _}, binary:match(Stack, <<"no_such_function/1">>)),
    ?assertEqual(nomatch, binary:match(Stack, <<"sesame">>)).

%% What a context may call ---------------------------------------------------------------------------------------------

a_context_calls_what_it_was_granted_and_nothing_else(_Config) ->
    ok = py_port:register_function(free, fun(_) -> free end),
    ok = py_port:register_function(granted, fun(_) -> granted end),
    Ctx = fake(#{
        functions => [
            granted, "later", {own, fun(Args) -> {own, Args} end}, {<<"count">>, ?MODULE, give_length}, {lists, reverse, 1},
            {lists, seq, 2}, {lists, seq, 3}
        ]
    }),
    ?assertEqual({ok, granted}, call_back(Ctx, 1, call(<<"granted">>))),
    ?assertEqual({error, {not_found, <<"free">>}}, call_back(Ctx, 2, call(<<"free">>))),
    ?assertEqual({ok, {own, [1]}}, call_back(Ctx, 3, call(<<"own">>, [1]))),
    ?assertEqual({ok, 3}, call_back(Ctx, 4, call(<<"count">>, [1, 2, 3]))),
    ?assertEqual({ok, [3, 2, 1]}, call_back(Ctx, 5, call(<<"lists:reverse">>, [[1, 2, 3]]))),
    ?assertEqual({error, {not_found, <<"lists:reverse/2">>}}, call_back(Ctx, 6, call(<<"lists:reverse">>, [[1], [2]]))),
    ?assertEqual({error, {not_found, <<"lists:append">>}}, call_back(Ctx, 7, call(<<"lists:append">>, [[[1]]]))),
    ?assertEqual({ok, [1, 2]}, call_back(Ctx, 8, call(<<"lists:seq">>, [1, 2]))),
    ?assertEqual({ok, [1, 3]}, call_back(Ctx, 9, call(<<"lists:seq">>, [1, 3, 2]))),
    ?assertEqual({error, {not_found, <<"later">>}}, call_back(Ctx, 10, call(<<"later">>))),
    ok = py_port:register_function(later, fun(_) -> now end),
    ?assertEqual({ok, now}, call_back(Ctx, 11, call(<<"later">>))),
    ?assertEqual(
        [true, false, true, true, false],
        [
            element(2, call_back(Ctx, 20 + N, {exists, Name}))
         || {N, Name} <- lists:enumerate([<<"granted">>, <<"free">>, <<"own">>, <<"lists:seq">>, <<"lists:append">>])
        ]
    ),
    ?assertEqual({error, {not_found, <<"granted">>}}, call_back(fake(#{functions => []}), 1, call(<<"granted">>))).

wrong_grants_are_named(_Config) ->
    F = fun(_) -> ok end,
    [
        begin
            {error, {bad_option, Key, Why}} = py_port:start_context(#{Key => Value}),
            ?assertMatch({Value, {_, _}}, {Value, binary:match(Why, Part)})
        end
     || {Key, Value, Part} <- [
            {functions, none, <<"list">>},
            {functions, [{f, 1}], <<"{f,1}">>},
            {functions, [ok_name, {f, fun() -> ok end}], <<"{f,#Fun">>},
            {functions, [{lists, map, -1}], <<"{lists,map,-1}">>},
            {functions, [{lists, map, 256}], <<"{lists,map,256}">>},
            {functions, [f, {"f", F}], <<"f is there twice">>},
            {functions, ["lists:map", {lists, map, 2}], <<"lists:map is there twice">>},
            {functions, [""], <<"[]">>},
            {functions, [f | g], <<"list">>},
            {send_to, all, <<"any">>},
            {send_to, [given, "logger"], <<"\"logger\"">>},
            {send_to, [self()], <<"<0.">>},
            {max_callbacks, 0, <<"integer">>}
        ]
    ].
