%% @doc Shared dictionaries: one content for all who have the handle, nothing for those who do not, and a clear word after the end.
%% @end
-module(py_shared_dict_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-import(py_port_test, [async/1, await/1, context/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE).

init_per_testcase(_, Config) ->
    ok = py_port_test:start(),
    Config.

end_per_testcase(_, Config) ->
    %% they end with the process that made them: this one
    ok = py_port_test:stop_flows(),
    py_port_test:end_per_testcase(Config).

%% Erlang --------------------------------------------------------------------------------------------------------------

what_is_set_is_there(_Config) ->
    {ok, Dict} = py_shared_dict:new(),
    ?assertEqual([undefined, other], [py_shared_dict:get(Dict, <<"a">>), py_shared_dict:get(Dict, <<"a">>, other)]),
    ok = py_shared_dict:set(Dict, <<"a">>, #{pid => self()}),
    ok = py_shared_dict:set(Dict, {any, "term"}, undefined),
    ?assertEqual(#{pid => self()}, py_shared_dict:get(Dict, <<"a">>)),
    ?assertEqual(lists:sort([<<"a">>, {any, "term"}]), lists:sort(py_shared_dict:keys(Dict))),
    ?assertEqual([{ok, undefined}, {error, not_found}], [py_shared_dict:find(Dict, K) || K <- [{any, "term"}, b]]),
    ?assertEqual([ok, ok], [py_shared_dict:del(Dict, <<"a">>), py_shared_dict:del(Dict, <<"a">>)]),
    ?assertEqual([{any, "term"}], py_shared_dict:keys(Dict)).

after_the_end_everything_says_so(_Config) ->
    {ok, Dict} = py_shared_dict:new(),
    ok = py_shared_dict:set(Dict, a, 1),
    ?assertEqual([ok, ok], [py_shared_dict:destroy(Dict), py_shared_dict:destroy(Dict)]),
    ?assertEqual([{error, destroyed}], lists:usort(all_of(Dict))).

it_ends_with_its_owner(_Config) ->
    Dict = await(async(fun() -> {ok, D} = py_shared_dict:new(), ok = py_shared_dict:set(D, a, 1), D end)),
    {_, Pid} = Dict,
    Ref = erlang:monitor(process, Pid),
    receive
        {'DOWN', Ref, process, Pid, _} -> ok
    end,
    ?assertEqual([{error, destroyed}], lists:usort(all_of(Dict))).

all_of(Dict) ->
    [
        py_shared_dict:get(Dict, a),
        py_shared_dict:get(Dict, a, b),
        py_shared_dict:find(Dict, a),
        py_shared_dict:set(Dict, a, 1),
        py_shared_dict:del(Dict, a),
        py_shared_dict:keys(Dict)
    ].

two_have_nothing_in_common(_Config) ->
    {ok, A} = py_shared_dict:new(),
    {ok, B} = py_shared_dict:new(),
    ok = py_shared_dict:set(A, k, 1),
    ?assertEqual([1, undefined], [py_shared_dict:get(D, k) || D <- [A, B]]).

what_is_no_dictionary_is_named(_Config) ->
    ?assertMatch({error, {bad_argument, dict, _}}, py_shared_dict:get(self(), a)),
    ?assertMatch({error, {bad_argument, dict, _}}, py_shared_dict:set({'$py_shared_dict', 1}, a, 1)),
    ?assertMatch({error, {bad_argument, dict, _}}, py_shared_dict:destroy(none)).

%% Python --------------------------------------------------------------------------------------------------------------

python_has_a_mapping(_Config) ->
    Ctx = context(#{}),
    {ok, Dict} = py_shared_dict:new(),
    {ok, Found} = py_port:call(Ctx, probe_data, dict_tour, [Dict]),
    ?assertEqual(
        #{
            <<"a">> => 1,
            <<"b">> => [2, none],
            <<"none">> => none,
            <<"missing">> => <<"default">>,
            <<"in">> => [true, false, true],
            <<"len">> => 4,
            <<"keys">> => [<<"a">>, <<"b">>, <<"c">>, <<"e">>],
            <<"iter">> => [<<"a">>, <<"b">>, <<"c">>, <<"e">>],
            <<"items">> => [{<<"a">>, 1}, {<<"b">>, [2, none]}, {<<"c">>, #{<<"d">> => {3}}}, {<<"e">>, none}],
            <<"pop">> => [1, <<"gone">>],
            <<"setdefault">> => [[2, none], 9],
            <<"errors">> => [<<"KeyError">>, <<"KeyError">>, <<"KeyError">>],
            <<"left">> => [<<"c">>, <<"e">>, <<"f">>]
        },
        Found
    ),
    ?assertEqual([#{<<"d">> => {3}}, none, 9], [py_shared_dict:get(Dict, K) || K <- [<<"c">>, <<"e">>, <<"f">>]]).

contexts_share_it_and_pids_live_in_it(_Config) ->
    [A, B] = [context(#{}), context(#{})],
    {ok, Dict} = py_shared_dict:new(),
    {ok, none} = py_port:call(A, probe_data, dict_set, [Dict, <<"who">>, {self(), [<<"x">>]}]),
    ?assertEqual({ok, {<<"ok">>, {self(), [<<"x">>]}}}, py_port:call(B, probe_data, dict_get, [Dict, <<"who">>])),
    ?assertEqual({self(), [<<"x">>]}, py_shared_dict:get(Dict, <<"who">>)).

it_can_be_handed_on(_Config) ->
    Ctx = context(#{}),
    {ok, Dict} = py_shared_dict:new(),
    ok = py_shared_dict:set(Dict, a, 1),
    ?assertEqual({ok, [0, true, Dict]}, py_port:call(Ctx, probe_data, dict_clear, [Dict])).

a_pop_is_for_one(_Config) ->
    [A, B] = [context(#{}), context(#{})],
    {ok, Dict} = py_shared_dict:new(),
    [
        begin
            ok = py_shared_dict:set(Dict, <<"job">>, N),
            Popping = [async(fun() -> py_port:call(Ctx, probe_data, dict_pops, [Dict, <<"job">>]) end) || Ctx <- [A, B]],
            ?assertEqual(lists:sort([{ok, N}, {ok, none}]), lists:sort([await(One) || One <- Popping]))
        end
     || N <- lists:seq(1, 20)
    ].

an_item_is_popped_by_one_until_none_is_left(_Config) ->
    {ok, Dict} = py_shared_dict:new(),
    Items = [[N, -N] || N <- lists:seq(1, 300)],
    [ok = py_shared_dict:set(Dict, N, M) || [N, M] <- Items],
    {ok, [Taken, Left]} = py_port:call(context(#{}), probe_data, dict_popitems, [Dict, 4]),
    ?assertEqual({[{N, M} || [N, M] <- Items], [0, 0, 0, 0]}, {Taken, Left}).

python_hears_of_the_end(_Config) ->
    Ctx = context(#{}),
    {ok, Dict} = py_shared_dict:new(),
    ok = py_shared_dict:destroy(Dict),
    {ok, Outcomes} = py_port:call(Ctx, probe_data, dict_all, [Dict]),
    ?assertEqual([<<"SharedDictDestroyed">>], lists:usort(maps:values(Outcomes))),
    {ok, Other} = py_shared_dict:new(),
    ?assertEqual({ok, [<<"ok">>, <<"SharedDictDestroyed">>]}, py_port:call(Ctx, probe_data, dict_destroy, [Other])),
    ?assertEqual({error, destroyed}, py_shared_dict:get(Other, a)).

%% Another context's dictionary, whose pid it has by some other way.
a_context_reaches_only_what_it_was_given(_Config) ->
    {ok, Dict} = py_shared_dict:new(),
    ok = py_shared_dict:set(Dict, <<"secret">>, 1),
    Guess = term_to_binary(Dict),
    Stranger = context(#{types => #{binaries => bytes}}),
    ok = py_port:exec(Stranger, <<
        "import erlang\n"
        "def attempt(encoded, key):\n"
        "    import probe_data\n"
        "    return probe_data.dict_get(erlang.binary_to_term(encoded), key)[0]\n"
    >>),
    Attempt = fun(Ctx) -> py_port:call(Ctx, '__main__', attempt, [Guess, <<"secret">>]) end,
    ?assertEqual({ok, <<"ForbiddenError">>}, Attempt(Stranger)),
    {ok, _} = py_port:call(Stranger, probe_data, dict_get, [Dict, <<"other">>]),
    ?assertEqual({ok, <<"ok">>}, Attempt(Stranger)).

a_context_without_the_function_has_no_dictionaries(_Config) ->
    Ctx = context(#{functions => [state_get]}),
    {ok, Dict} = py_shared_dict:new(),
    ?assertMatch({ok, {<<"FunctionNotFound">>, _}}, py_port:call(Ctx, probe_data, dict_get, [Dict, <<"a">>])).

%% Nothing is sent to a process that is no dictionary.
a_pid_that_is_no_dictionary_counts_as_destroyed(_Config) ->
    Ctx = context(#{}),
    Forged = {'$py_shared_dict', self()},
    ?assertMatch({ok, {<<"SharedDictDestroyed">>, _}}, py_port:call(Ctx, probe_data, dict_get, [Forged, <<"a">>])),
    ?assertEqual({ok, [<<"ok">>, <<"SharedDictDestroyed">>]}, py_port:call(Ctx, probe_data, dict_destroy, [Forged])),
    ?assertEqual([], py_port_test:flush()),
    ?assertMatch({error, {python, #{type := <<"TypeError">>}}}, py_port:call(Ctx, probe_data, dict_destroy, [self()])).

%% Whoever was passed a dictionary has its pid.
what_is_no_operation_does_a_dictionary_no_harm(_Config) ->
    {ok, {_, Pid} = Dict} = py_shared_dict:new(),
    ok = py_shared_dict:set(Dict, a, 1),
    [
        ?assertEqual({error, bad_operation}, gen_server:call(Pid, Operation))
     || Operation <- [{update, not_a_map}, {update, [a]}, {set, a}, what, {}, 42]
    ],
    ok = gen_server:cast(Pid, what),
    ?assertEqual(1, py_shared_dict:get(Dict, a)).

%% Other nodes ---------------------------------------------------------------------------------------------------------

contexts_of_other_nodes_use_what_they_are_given(_Config) ->
    IsOurs = py_port_test:distribute(),
    Paths = [P || P <- code:get_path(), string:find(P, "py_port") =/= nomatch],
    {ok, Peer, Node} = peer:start(#{name => peer:random_name(?MODULE), args => ["-pa" | Paths], wait_boot => 60000}),
    try
        {ok, _} = erpc:call(Node, application, ensure_all_started, [py_port]),
        {ok, Far} = erpc:call(Node, py_port, start_context, [#{link => false, path => [py_port_test:data_dir()]}]),
        {ok, Dict} = py_shared_dict:new(),
        {ok, none} = py_port:call(Far, probe_data, dict_set, [Dict, <<"far">>, {self()}]),
        ?assertEqual({self()}, py_shared_dict:get(Dict, <<"far">>)),
        ok = py_shared_dict:destroy(Dict),
        ?assertMatch({ok, {<<"SharedDictDestroyed">>, _}}, py_port:call(Far, probe_data, dict_get, [Dict, <<"far">>])),
        {ok, Buffer} = py_buffer:new(6),
        ok = py_buffer:write(Buffer, <<"abc">>),
        ?assertEqual(ok, erpc:call(Node, py_buffer, write, [Buffer, <<"def">>])),
        ?assertEqual({error, content_length}, erpc:call(Node, py_buffer, write, [Buffer, <<"g">>])),
        ?assertEqual({ok, <<"abcdef">>}, py_port:call(Far, probe_data, read_all, [Buffer])),
        {ok, Channel} = py_byte_channel:new(),
        {ok, _} = py_port:call(Far, probe_data, own_bytes, [Channel]),
        ?assertEqual({ok, <<"mine">>}, py_byte_channel:recv(Channel, 0)),
        %% over there, too, what is behind a handle is reached by operations alone
        Near = context(#{}),
        {error, {python, #{message := Why}}} = py_port:call(Near, erlang, send, [Far, {stop, now}]),
        ?assertMatch({_, _}, binary:match(Why, <<"takes no messages">>)),
        Plain = erpc:call(Node, erlang, whereis, [logger]),
        ?assertEqual({ok, none}, py_port:call(Near, erlang, send, [Plain, hello]))
    after
        catch peer:stop(Peer),
        _ = IsOurs andalso net_kernel:stop()
    end.
