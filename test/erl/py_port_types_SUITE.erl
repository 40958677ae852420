%% @doc What values become on the other side, row by row, both ways; what is refused, and where the path says it is; and
%% what a worker may not smuggle in. Random terms are in prop_py_port_terms.
%% @end
-module(py_port_types_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-import(py_port_test, [ctx/1, context/1, async/1, await/1, evaluate/1, through_python/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE).

init_per_testcase(_, Config) ->
    ok = py_port_test:start(),
    [{ctx, context(#{})} | Config].

end_per_testcase(_, Config) ->
    py_port_test:end_per_testcase(Config).

%% Erlang -> Python --------------------------------------------------------------------------------------------------

terms_become_these_python_values(Config) ->
    Ctx = ctx(Config),
    Rows = [
        {0, <<"int">>, <<"0">>},
        {-5, <<"int">>, <<"-5">>},
        {1 bsl 64, <<"int">>, <<"18446744073709551616">>},
        {-(1 bsl 64), <<"int">>, <<"-18446744073709551616">>},
        {1.5, <<"float">>, <<"1.5">>},
        {-0.0, <<"float">>, <<"-0.0">>},
        {1.0e308, <<"float">>, <<"1e+308">>},
        {<<"text">>, <<"str">>, <<"'text'">>},
        {<<>>, <<"str">>, <<"''">>},
        {<<"a", 0, "b">>, <<"str">>, <<"'a\\x00b'">>},
        {<<"é"/utf8>>, <<"str">>, <<"'é'"/utf8>>},
        {<<255, 0>>, <<"bytes">>, <<"b'\\xff\\x00'">>},
        {{bytes, <<"text">>}, <<"bytes">>, <<"b'text'">>},
        {{bytes, 1}, <<"tuple">>, <<"('bytes', 1)">>},
        {{bytes, <<"a">>, 1}, <<"tuple">>, <<"('bytes', 'a', 1)">>},
        {true, <<"bool">>, <<"True">>},
        {false, <<"bool">>, <<"False">>},
        {none, <<"NoneType">>, <<"None">>},
        {nil, <<"NoneType">>, <<"None">>},
        {undefined, <<"NoneType">>, <<"None">>},
        {null, <<"str">>, <<"'null'">>},
        {nan, <<"str">>, <<"'nan'">>},
        {infinity, <<"str">>, <<"'infinity'">>},
        {'', <<"str">>, <<"''">>},
        {'é', <<"str">>, <<"'é'"/utf8>>},
        {'π', <<"str">>, <<"'π'"/utf8>>},
        {[], <<"list">>, <<"[]">>},
        {"abc", <<"list">>, <<"[97, 98, 99]">>},
        {[1, a, <<"b">>], <<"list">>, <<"[1, 'a', 'b']">>},
        {[1 | [2, 3]], <<"list">>, <<"[1, 2, 3]">>},
        {{}, <<"tuple">>, <<"()">>},
        {{1, {2}}, <<"tuple">>, <<"(1, (2,))">>},
        {#{}, <<"dict">>, <<"{}">>},
        {#{a => 1}, <<"dict">>, <<"{'a': 1}">>},
        {#{{1, 2} => [none]}, <<"dict">>, <<"{(1, 2): [None]}">>},
        {<<5:3>>, <<"BitString">>, undefined},
        {[1 | 2], <<"ImproperList">>, undefined},
        {self(), <<"Pid">>, undefined},
        {make_ref(), <<"Ref">>, undefined},
        {hd(erlang:ports()), <<"Port">>, undefined},
        {fun lists:map/2, <<"Export">>, undefined},
        {fun() -> Ctx end, <<"Fun">>, undefined}
    ],
    [
        begin
            {ok, [Type, Repr]} = py_port:call(Ctx, probe_types, look, [Term]),
            ?assertEqual({Term, Wanted}, {Term, Type}),
            Text =:= undefined orelse ?assertEqual({Term, Text}, {Term, Repr})
        end
     || {Term, Wanted, Text} <- Rows
    ].

what_has_no_counterpart_in_python_names_its_place(Config) ->
    Ctx = ctx(Config),
    Path = fun(Args, Kwargs) ->
        {error, {bad_term, Path, Why}} = py_port:call(Ctx, probe_types, look, Args, Kwargs),
        ?assert(is_binary(Why)),
        Path
    end,
    %% keys that Python cannot hash, or that are equal there
    ?assertEqual(<<"args[0]">>, binary:part(Path([#{[1] => 2}], #{}), 0, 7)),
    ?assertEqual(<<"args[1]">>, binary:part(Path([1, [#{#{} => 2}]], #{}), 0, 7)),
    ?assertEqual(<<"kwargs.value">>, binary:part(Path([], #{value => #{a => 1, <<"a">> => 2}}), 0, 12)),
    ?assertMatch({error, {bad_term, <<"locals.x", _/binary>>, _}}, py_port:eval(Ctx, "x", #{x => #{1 => a, 1.0 => b}})),
    Nested = Path([[{1, #{<<"rows">> => [0, #{#{} => 1}]}}]], #{}),
    ?assertMatch({_, _}, binary:match(Nested, <<"args[0][0][1]">>)),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")).

nesting_is_limited_both_ways(Config) ->
    Ctx = ctx(Config),
    Deep = fun(N) -> lists:foldl(fun(_, Acc) -> [Acc] end, [], lists:seq(1, N)) end,
    ?assertEqual({ok, Deep(400)}, py_port:call(Ctx, probe_calls, identity, [Deep(400)])),
    ?assertMatch({error, {bad_term, <<"args[0]", _/binary>>, _}}, py_port:call(Ctx, probe_calls, identity, [Deep(100000)])),
    ?assertMatch({error, {bad_term, <<"result", _/binary>>, _}}, py_port:call(Ctx, probe_types, deep_list, [100000])),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")).

%% Python -> Erlang --------------------------------------------------------------------------------------------------

python_values_become_these_terms(Config) ->
    Ctx = ctx(Config),
    Rows = #{
        true => true,
        false => false,
        none => none,
        int => 7,
        big => 1 bsl 200,
        negative_big => -(1 bsl 70),
        float => 1.5,
        minus_zero => -0.0,
        nan => nan,
        infinity => infinity,
        neg_infinity => neg_infinity,
        str => <<"grüße"/utf8>>,
        empty_str => <<>>,
        bytes => <<255, 0>>,
        bytearray => <<"ab">>,
        memoryview => <<"ace">>,
        list => [1, [2, []]],
        tuple => {1, {}, <<"x">>},
        namedtuple => {1, 2},
        dict => #{<<"a">> => 1, 2 => <<"b">>, {1, 2} => none},
        ordered => #{<<"k">> => 1},
        counter => #{<<"a">> => 2, <<"b">> => 1},
        set => [5],
        frozenset => [6],
        range => [0, 1, 2],
        dict_keys => [<<"k">>],
        deque => [1, 2],
        array => [1, 2],
        enum_str => <<"red">>,
        enum_int => 2,
        int_enum => 3,
        int_flag => 3,
        dataclass => #{<<"name">> => <<"Ada">>, <<"born">> => <<"1815-12-10">>, <<"tags">> => [<<"x">>]},
        date => <<"2024-02-29">>,
        time => <<"01:02:03">>,
        datetime => <<"2024-02-29T01:02:03">>,
        datetime_utc => <<"2024-02-29T00:00:00+00:00">>,
        timedelta => 90.0,
        decimal => <<"1.10">>,
        uuid => <<"00000000-0000-0000-0000-000000000005">>,
        path => <<"/a/b">>,
        my_int => 3,
        my_str => <<"s">>,
        my_list => [1],
        atom => ok,
        bitstring => <<5:3>>,
        improper => [1, 2 | 3]
    },
    {ok, Names} = py_port:eval(Ctx, "list(__import__('probe_types').VALUES)"),
    %% no value of the Python side is left out here
    ?assertEqual(lists:sort(Names), lists:sort([atom_to_binary(N) || N <- maps:keys(Rows)])),
    [
        ?assertEqual({Name, {ok, Term}}, {Name, py_port:call(Ctx, probe_types, give, [atom_to_binary(Name)])})
     || {Name, Term} <- maps:to_list(Rows)
    ],
    {ok, Zero} = py_port:call(Ctx, probe_types, give, [minus_zero]),
    ?assertEqual(<<-0.0/float>>, <<Zero/float>>).

what_has_no_counterpart_in_erlang_names_its_place(Config) ->
    Ctx = ctx(Config),
    Bad = fun(Name) ->
        {error, {bad_term, Path, Why}} = py_port:call(Ctx, probe_types, give_bad, [atom_to_binary(Name)]),
        {Path, Why}
    end,
    [
        ?assertMatch({Name, {<<"result">>, <<_, _/binary>>}}, {Name, Bad(Name)})
     || Name <- [object, function, klass, generator, complex, fraction, surrogate, ellipsis, exception]
    ],
    {Path, Why} = Bad(nested),
    ?assertEqual(<<"result.rows[1][1].deep">>, Path),
    ?assertMatch({_, _}, binary:match(Why, <<"Plain">>)),
    ?assertMatch({<<"result", _/binary>>, _}, Bad(same_keys)),
    ?assertMatch({<<"result[0]", _/binary>>, _}, Bad(itself)),
    Text = py_port:format_error({bad_term, Path, Why}),
    ?assertMatch({_, _}, binary:match(Text, Path)),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")).

an_encoder_of_the_users_own_is_used(Config) ->
    Ctx = ctx(Config),
    Known = {money, 5},
    {ok, Bin} = py_port:call(Ctx, probe_types, with_encoder, [element(2, Known)]),
    ?assertEqual(#{<<"price">> => Known}, binary_to_term(Bin, [safe])).

%% Round trips -------------------------------------------------------------------------------------------------------

opaque_terms_return_as_themselves(Config) ->
    Ctx = ctx(Config),
    Captured = make_ref(),
    Terms = [
        self(),
        make_ref(),
        hd(erlang:ports()),
        fun lists:map/2,
        fun() -> Captured end,
        fun(X) -> {X, Ctx} end,
        [self(), {make_ref(), #{<<"pid">> => self()}}],
        #{self() => {make_ref()}}
    ],
    [
        begin
            {ok, Back} = py_port:call(Ctx, probe_calls, identity, [{T, 1}]),
            ?assertEqual({T, 1}, Back)
        end
     || T <- Terms
    ],
    %% they are equal and can be keys in Python, too
    Pid = self(),
    ?assertEqual({ok, [true, 1]}, py_port:eval(Ctx, "[a == b, {a: 1}[b]]", #{a => Pid, b => Pid})),
    {ok, Fun} = py_port:call(Ctx, probe_calls, identity, [fun() -> Captured end]),
    ?assertEqual(Captured, Fun()).

an_export_of_a_module_that_is_not_loaded_returns_as_itself(Config) ->
    %% made at run time: a fun in the code would give it an entry when this module is loaded
    Fun = erlang:make_fun(list_to_atom("py_port_no_such_module"), no_such_function, 1),
    ?assertEqual({ok, Fun}, py_port:call(ctx(Config), probe_calls, identity, [Fun])).

integers_of_any_size_stay_integers(Config) ->
    Ctx = ctx(Config),
    Sizes = [7, 8, 27, 28, 31, 32, 59, 60, 62, 63, 64, 65, 127, 128, 255, 1000, 2039, 2040, 2041, 8192, 100000],
    Integers = lists:usort([S * ((1 bsl N) + D) || N <- Sizes, D <- [-1, 0, 1], S <- [1, -1]]),
    ?assertEqual({ok, Integers}, py_port:call(Ctx, probe_calls, identity, [Integers])),
    ?assertEqual({ok, true}, py_port:eval(Ctx, "n == 2**100000 + 1", #{n => (1 bsl 100000) + 1})).

golden_terms_are_the_same_and_pass_through_a_worker(Config) ->
    Ctx = context(#{types => #{atoms => atom, binaries => bytes, none => none}, max_depth => 4096}),
    Plain = ctx(Config),
    Folder = filename:join(py_port_test:find_up(py_port_test:data_dir(), "golden"), "etf"),
    {ok, Vectors} = file:consult(filename:join(Folder, "index.txt")),
    ?assert(length(Vectors) > 150),
    Bytes = fun(Name) ->
        {ok, B} = file:read_file(filename:join(Folder, Name ++ ".etf")),
        B
    end,
    %% Erlang reads what it read when they were made, and gets the term of the source
    [
        case Erlang of
            reads ->
                Local = Source =/= none andalso re:run(Source, "list_to_(pid|ref|port)", [unicode]) =/= nomatch,
                Term = binary_to_term(Bytes(Name)),
                case Source of
                    none -> ok;
                    %% made by a node without a name: elsewhere its pids are those of another node
                    _ when Local, node() =/= nonode@nohost -> ok;
                    _ -> ?assertEqual({Name, evaluate(Source)}, {Name, Term})
                end;
            refuses ->
                ?assertError(badarg, binary_to_term(Bytes(Name)), Name)
        end
     || #{name := Name, erlang := Erlang, source := Source} <- Vectors
    ],
    %% what a worker reads comes back as the same term
    %% (1 and 1.0 are one key in Python; an export that is not loaded has a test of its own)
    Apart = ["map_key_kinds", "export_unicode"],
    Read = [
        {Name, binary_to_term(Bytes(Name))}
     || #{name := Name, erlang := reads, worker := reads} <- Vectors, not lists:member(Name, Apart)
    ],
    KeyKinds = binary_to_term(Bytes("map_key_kinds")),
    ?assertMatch({error, {bad_term, <<"args[0][1.0]">>, _}}, py_port:call(Ctx, probe_calls, identity, [KeyKinds])),
    ?assert(length(Read) > 100),
    Wrong = [
        {Name, Term, Result}
     || {Name, Term} <- Read,
        Result <- [py_port:call(Ctx, probe_calls, identity, [Term])],
        Result =/= {ok, through_python(Term)}
    ],
    ?assertEqual([], Wrong),
    %% and what it has to refuse is an error inside Python, and no more
    [
        ?assertMatch(
            {Name, {error, {python, #{type := <<"TermError">>}}}},
            {Name, py_port:call(Plain, probe_types, from_external, [{bytes, Bytes(Name)}])}
        )
     || #{name := Name, worker := refuses} <- Vectors
    ].

%% Options -----------------------------------------------------------------------------------------------------------

atoms_may_arrive_as_atoms(_Config) ->
    Ctx = context(#{types => #{atoms => atom}}),
    ?assertMatch({ok, [<<"Atom">>, _]}, py_port:call(Ctx, probe_types, look, [hello])),
    ?assertEqual({ok, hello}, py_port:call(Ctx, probe_calls, identity, [hello])),
    ?assertEqual({ok, #{hello => {world, 'π'}}}, py_port:call(Ctx, probe_calls, identity, [#{hello => {world, 'π'}}])),
    ?assertMatch({ok, [<<"bool">>, _]}, py_port:call(Ctx, probe_types, look, [true])),
    ?assertMatch({ok, [<<"NoneType">>, _]}, py_port:call(Ctx, probe_types, look, [undefined])),
    %% then an atom and a text are different keys
    Map = #{a => 1, <<"a">> => 2},
    ?assertEqual({ok, Map}, py_port:call(Ctx, probe_calls, identity, [Map])).

binaries_may_always_be_bytes(_Config) ->
    Ctx = context(#{types => #{binaries => bytes}}),
    ?assertEqual({ok, [<<"bytes">>, <<"b'text'">>]}, py_port:call(Ctx, probe_types, look, [<<"text">>])),
    ?assertEqual({ok, [<<"bytes">>, <<"b'text'">>]}, py_port:call(Ctx, probe_types, look, [{bytes, <<"text">>}])),
    ?assertEqual({ok, <<"dict">>}, py_port:call(Ctx, probe_calls, kind, [#{<<"k">> => <<"v">>}])),
    ?assertEqual({ok, <<"{b'k': b'v'}">>}, py_port:call(Ctx, probe_calls, text, [#{<<"k">> => <<"v">>}])).

binaries_may_always_be_str(_Config) ->
    Ctx = context(#{types => #{binaries => str}}),
    ?assertEqual({ok, [<<"str">>, <<"'text'">>]}, py_port:call(Ctx, probe_types, look, [<<"text">>])),
    ?assertMatch({error, {bad_term, <<"args[0]">>, _}}, py_port:call(Ctx, probe_types, look, [<<255>>])),
    ?assertEqual({ok, [<<"bytes">>, <<"b'\\xff'">>]}, py_port:call(Ctx, probe_types, look, [{bytes, <<255>>}])).

the_functions_of_the_module_use_the_options_of_the_context(_Config) ->
    Ctx = context(#{types => #{atoms => atom, binaries => bytes, none => nil}}),
    Bytes = {bytes, term_to_binary([hello, <<"x">>])},
    ?assertEqual({ok, [hello, <<"x">>]}, py_port:call(Ctx, probe_types, from_external, [Bytes])),
    ?assertEqual({ok, <<"bytes">>}, py_port:eval(Ctx, "type(__import__('erlang').binary_to_term(d)[1]).__name__", #{d => Bytes})),
    {ok, Nil} = py_port:eval(Ctx, "__import__('erlang').term_to_binary(None)"),
    ?assertEqual(nil, binary_to_term(Nil)).

none_may_be_another_atom(_Config) ->
    [
        begin
            Ctx = context(#{types => #{none => None}}),
            ?assertEqual({ok, None}, py_port:eval(Ctx, "None")),
            ?assertEqual({ok, [None, None, None]}, py_port:call(Ctx, probe_calls, identity, [[none, nil, undefined]]))
        end
     || None <- [none, nil, undefined]
    ].

%% What a worker may not do ------------------------------------------------------------------------------------------

%% Whoever returns it, a worker that lies or a plugin that read it somewhere: its context ends with it.
a_forged_fun_ends_the_context(Config) ->
    Ctx = ctx(Config),
    Forged = term_to_binary(fun os:cmd/1),
    Hidden = [{Form, Code} || {Form, Code} <- [
        {Forged, "t(data)"},
        {term_to_binary({a, [#{k => fun erlang:halt/0}]}), "t(data)"},
        {Forged, "[t(data)] * 100 + ['x' * 100]"},
        {Forged, "{t(data): 1}"}
    ]],
    Before = async(fun() -> py_port:call(Ctx, probe_calls, coroutine, [1]) end),
    Unpack = "__import__('erlang').binary_to_term",
    [
        its_end(unknown_fun, fun(Victim) ->
            py_port:eval(Victim, "(lambda t: " ++ Code ++ ")(" ++ Unpack ++ ")", #{data => {bytes, Bin}})
        end)
     || {Bin, Code} <- Hidden
    ],
    %% a local fun of this node, too, unless this context was given it
    Local = fun() -> secret end,
    its_end(unknown_fun, fun(Victim) ->
        py_port:call(Victim, probe_types, from_external, [{bytes, term_to_binary(Local)}])
    end),
    ?assertEqual({ok, Local}, py_port:call(Ctx, probe_calls, identity, [Local])),
    ?assertEqual({ok, Local}, py_port:call(Ctx, probe_types, from_external, [{bytes, term_to_binary(Local)}])),
    ?assertEqual({ok, 1}, await(Before)),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")).

a_fun_given_to_one_context_is_not_good_in_another(Config) ->
    Fun = fun lists:reverse/1,
    ?assertEqual({ok, Fun}, py_port:call(ctx(Config), probe_calls, identity, [Fun])),
    its_end(unknown_fun, fun(Other) ->
        py_port:call(Other, probe_types, from_external, [{bytes, term_to_binary(Fun)}])
    end),
    ?assertEqual({ok, Fun}, py_port:call(ctx(Config), probe_calls, identity, [Fun])).

its_end(Kind, Call) ->
    _ = process_flag(trap_exit, true),
    Ctx = context(#{}),
    {error, {bad_reply, {Kind, _} = Why}} = Call(Ctx),
    ?assertMatch({protocol_error, {hostile_reply, Why}, _}, py_port_trouble:exit_of(Ctx)).

%% An honest worker sends back what it was given, also when this node has forgotten it.
a_forgotten_fun_is_refused_and_the_context_lives(_Config) ->
    Ctx = context(#{}),
    Funs = [fun() -> N end || N <- lists:seq(1, 10001)],
    ?assertMatch({error, {bad_reply, {unknown_fun, _}}}, py_port:call(Ctx, probe_calls, identity, [Funs])),
    Last = lists:last(Funs),
    ?assertEqual({ok, Last}, py_port:call(Ctx, probe_calls, identity, [Last])),
    %% The owner has answered after anything that it was sent before.
    ?assertMatch(#{pid := Ctx}, py_port:info(Ctx)),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")).

%% Each captures 80 kB, of which nothing may stay behind.
of_a_fun_that_was_given_a_digest_is_remembered(_Config) ->
    Ctx = context(#{}),
    Before = [{Table, ets:info(Table, memory)} || Table <- ets:all(), ets:info(Table, name) =:= py_port_funs],
    Give = fun(N) ->
        Captured = lists:seq(N, N + 5000),
        Fun = fun() -> Captured end,
        ?assertEqual({ok, Fun}, py_port:call(Ctx, probe_calls, identity, [Fun]))
    end,
    lists:foreach(Give, lists:seq(1, 100)),
    Grown = [(ets:info(Table, memory) - Words) * erlang:system_info(wordsize) || {Table, Words} <- Before],
    ?assert(lists:sum(Grown) < 80000).

%% Python makes a pid of any numbers. Only what this node gave it, and its own context, is taken for one.
a_pid_from_elsewhere_is_refused_and_the_context_lives(Config) ->
    Ctx = ctx(Config),
    Init = whereis(init),
    Pids = fun(C, Pid) -> py_port:call(C, probe_types, from_external, [{bytes, term_to_binary([#{k => Pid}])}]) end,
    Refused = {error, {bad_reply, {unknown_pid, <<"<0.0.0>">>}}},
    ?assertEqual(Refused, Pids(Ctx, Init)),
    ?assertMatch({_, _}, binary:match(py_port:format_error(Refused), <<"<0.0.0>">>)),
    Forged = [{bytes, term_to_binary(Init)}],
    ?assertEqual(Refused, py_port:await(py_port:async_call(Ctx, probe_types, from_external, Forged))),
    ok = py_port:exec(Ctx, "import erlang\ndef each(data):\n    yield 1\n    yield erlang.binary_to_term(data)\n"),
    [Whole, Single, Active] = [S || _ <- [1, 2, 3], {ok, S} <- [py_port:stream(Ctx, '__main__', each, Forged)]],
    ?assertEqual(Refused, py_port_stream:to_list(Whole)),
    ?assertEqual([{ok, 1}, Refused], [py_port_stream:next(Single) || _ <- [1, 2]]),
    ok = py_port_stream:active(Active, 9),
    receive
        {py_port_stream, Active, {error, _} = Error} -> ?assertEqual(Refused, Error)
    end,
    ?assertEqual({ok, [#{<<"k">> => Ctx}]}, Pids(Ctx, Ctx)),
    ?assertEqual(Refused, Pids(Ctx, Init)),
    {ok, Init} = py_port:call(Ctx, probe_calls, identity, [Init]),
    ?assertEqual({ok, [#{<<"k">> => Init}]}, Pids(Ctx, Init)),
    ?assertMatch({ok, [#{}]}, Pids(context(#{send_to => any}), Init)).

%% The newest 100,000 are remembered. What is given again and again does not grow old, however many others there are.
an_old_pid_is_refused_unless_it_was_given_again(_Config) ->
    Ctx = context(#{}),
    Some = fun(From, Count) -> [c:pid(0, N rem 32768, N div 32768) || N <- lists:seq(From, From + Count - 1)] end,
    Give = fun(Pids) -> {ok, _} = py_port:eval(Ctx, "len(pids)", #{pids => Pids}) end,
    [First, Second] = Some(100000, 2),
    Keep = "__import__('builtins').kept.extend(pids)",
    ok = py_port:exec(Ctx, "import builtins\nbuiltins.kept = []"),
    {ok, none} = py_port:eval(Ctx, Keep, #{pids => [First, Second]}),
    Give(Some(200000, 99998)),
    ?assertEqual({ok, [First, Second]}, py_port:eval(Ctx, "kept")),
    Give([Second]),
    Give(Some(300000, 2)),
    ?assertMatch({error, {bad_reply, {unknown_pid, _}}}, py_port:eval(Ctx, "kept[0]")),
    ?assertEqual({ok, Second}, py_port:eval(Ctx, "kept[1]")).

compressed_terms_are_refused(Config) ->
    Ctx = ctx(Config),
    Bomb = term_to_binary(binary:copy(<<0>>, 50000000), [{compressed, 9}]),
    ?assert(byte_size(Bomb) < 100000),
    {error, {python, #{type := <<"TermError">>, message := Why}}} =
        py_port:call(Ctx, probe_types, from_external, [{bytes, Bomb}]),
    ?assertMatch({_, _}, binary:match(Why, <<"compressed">>)),
    ?assertEqual({error, compressed}, py_port_terms:decode_plain(Bomb)),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")).

atoms_from_python_do_not_fill_the_atom_table(Config) ->
    Ctx = ctx(Config),
    %% what a first refused reply needs in atoms is made before we count
    {error, {bad_reply, malformed_or_unsafe}} = py_port:call(Ctx, probe_types, new_atoms, [0, 10]),
    Before = erlang:system_info(atom_count),
    [
        ?assertEqual(
            {error, {bad_reply, malformed_or_unsafe}},
            py_port:call(Ctx, probe_types, new_atoms, [N * 1000, 1000])
        )
     || N <- lists:seq(1, 50)
    ],
    ?assert(erlang:system_info(atom_count) - Before < 100),
    %% names of classes that a user makes do not become atoms either
    ok = py_port:exec(Ctx, "def fail(n):\n    raise type(f'Class{n}', (Exception,), {})('x')\n"),
    {error, {python, #{type := <<"Class0">>}}} = py_port:call(Ctx, '__main__', fail, [0]),
    Classes = erlang:system_info(atom_count),
    [{error, {python, _}} = py_port:call(Ctx, '__main__', fail, [N]) || N <- lists:seq(1, 500)],
    ?assert(erlang:system_info(atom_count) - Classes < 50),
    ?assertEqual({ok, ok}, py_port:call(Ctx, probe_types, new_atom, [<<"ok">>])).

large_values_pass(Config) ->
    Ctx = ctx(Config),
    Big = binary:copy(<<"0123456789abcdef">>, 65536),
    ?assertEqual({ok, Big}, py_port:call(Ctx, probe_calls, identity, [Big])),
    ?assertEqual({ok, byte_size(Big) * 8}, py_port:eval(Ctx, "len(b) * 8", #{b => {bytes, Big}})),
    Map = maps:from_list([{N, integer_to_binary(N)} || N <- lists:seq(0, 99999)]),
    ?assertEqual({ok, Map}, py_port:call(Ctx, probe_types, big_map, [100000])),
    ?assertEqual({ok, lists:sum(maps:keys(Map))}, py_port:call(Ctx, probe_types, sum_of_keys, [Map])).

%% Forty-five lists that hold each other twice would be a term of 2^45 elements.
objects_that_share_their_parts_end_where_a_frame_does(Config) ->
    Ctx = ctx(Config),
    Too = <<"the term is larger than a frame may be">>,
    ok = py_port:exec(
        Ctx,
        "import dataclasses, erlang\n"
        "Two = dataclasses.make_dataclass('Two', ['a', 'b'])\n"
        "def shared(pair):\n"
        "    x = 0\n"
        "    for _ in range(45): x = pair(x)\n"
        "    return x\n"
    ),
    [
        ?assertEqual(
            {Pair, {error, {bad_term, <<"result">>, Too}}},
            {Pair, py_port:eval(Ctx, ["shared(", Pair, ")"], #{}, #{timeout => 60000})}
        )
     || Pair <- ["lambda x: [x, x]", "lambda x: (x, x)", "lambda x: {0: x, 1: x}", "lambda x: Two(x, x)"]
    ],
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")).

%% Such a term can be stopped as it is made.
an_endless_term_is_interrupted(_Config) ->
    {ok, Ctx} = py_port:start_context(#{io => null, kill_after => 60000}),
    ok = py_port:exec(Ctx, "x = ''\nfor _ in range(45): x = [x, x]\n"),
    Begun = erlang:monotonic_time(millisecond),
    Got = py_port:eval(Ctx, "x", #{}, #{timeout => 100}),
    ?assertMatch({error, _}, Got),
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")),
    ?assert(erlang:monotonic_time(millisecond) - Begun < 30000),
    ok = py_port:stop_context(Ctx).

a_class_of_integers_with_a_negation_of_its_own_is_sent_as_it_is(Config) ->
    ok = py_port:exec(ctx(Config), "class Odd(int):\n    def __neg__(self): return 7\n    __abs__ = __neg__\n"),
    ?assertEqual({ok, -(1 bsl 70)}, py_port:eval(ctx(Config), "Odd(-(1 << 70))")).
