%% @doc Random terms through a real worker: they come back as themselves, but for what the type mapping says.
-module(prop_py_port_terms).

-import(proper_types, [binary/0, binary/1, bitstring/0, byte/0, float/0, frequency/1, integer/0]).
-import(proper_types, [list/1, non_empty/1, oneof/1, range/2, resize/2]).

%% proper.hrl, as far as it is used here: Debian's package has none.
-define(FORALL(X, Type, Prop), proper:forall(Type, fun(X) -> Prop end)).
-define(WHENFAIL(Action, Prop), proper:whenfail(fun() -> Action end, fun() -> Prop end)).
-define(LET(X, Type, Made), proper_types:bind(Type, fun(X) -> Made end, false)).
-define(SUCHTHAT(X, Type, Condition), proper_types:add_constraint(Type, fun(X) -> Condition end, true)).
-define(SIZED(Size, Type), proper_types:sized(fun(Size) -> Type end)).
-define(LAZY(Type), proper_types:lazy(fun() -> Type end)).

-export([prop_terms_return_as_themselves/0, prop_integers_return/0, prop_texts_return/0, prop_floats_return/0]).
-export([prop_python_agrees_on_the_external_format/0]).

%% One context for all runs of a property; it ends with the process that runs them.
context() ->
    case get(?MODULE) of
        undefined ->
            {ok, _} = application:ensure_all_started(py_port),
            Types = #{atoms => atom, binaries => bytes, none => none},
            {ok, Ctx} = py_port:start_context(#{types => Types, init => "def identity(x): return x"}),
            put(?MODULE, Ctx),
            Ctx;
        Ctx ->
            Ctx
    end.

%% No answer in a minute is a failure with a counterexample, and not a test that hangs.
through(Term) ->
    py_port:call(context(), '__main__', identity, [Term], #{}, #{timeout => 60000}).

prop_terms_return_as_themselves() ->
    ?FORALL(Term, term_of_any_kind(), same({ok, mapped(Term)}, through(Term))).

prop_integers_return() ->
    ?FORALL(N, integer_of_any_size(), same({ok, N}, through(N))).

prop_texts_return() ->
    ?FORALL(Text, text(), same({ok, Text}, through(Text))).

prop_floats_return() ->
    ?FORALL(F, float_of_any_size(), same({ok, <<F/float>>}, as_bits(through(F)))).

%% What Python decodes and encodes again with its own functions is what Erlang reads.
prop_python_agrees_on_the_external_format() ->
    Code = "(lambda e, data: e.term_to_binary(e.binary_to_term(data)))(__import__('erlang'), data)",
    ?FORALL(Term, term_of_any_kind(), begin
        {ok, Bytes} = py_port:eval(context(), Code, #{data => {bytes, term_to_binary(Term)}}, #{timeout => 60000}),
        same(mapped(Term), binary_to_term(Bytes))
    end).

same(Wanted, Got) ->
    ?WHENFAIL(io:format("wanted ~tp~ngot    ~tp~n", [Wanted, Got]), Wanted =:= Got).

as_bits({ok, F}) when is_float(F) -> {ok, <<F/float>>};
as_bits(Other) -> Other.

%% docs: `none', `nil' and `undefined' are all None; `{bytes, B}' is B.
mapped(A) when A =:= nil; A =:= undefined -> none;
mapped({bytes, B}) when is_binary(B) -> B;
mapped([H | T]) -> [mapped(H) | mapped(T)];
mapped(T) when is_tuple(T) -> list_to_tuple(mapped(tuple_to_list(T)));
mapped(M) when is_map(M) -> maps:from_list([{mapped(K), mapped(V)} || {K, V} <- maps:to_list(M)]);
mapped(T) -> T.

%% Generators --------------------------------------------------------------------------------------------------------

term_of_any_kind() ->
    ?SIZED(Size, resize(min(Size, 40), ?SIZED(S, term_of_size(S)))).

term_of_size(0) ->
    leaf();
term_of_size(Size) ->
    Smaller = ?LAZY(term_of_size(Size div 3)),
    frequency([
        {4, leaf()},
        {2, list(Smaller)},
        {2, ?LET(Items, list(Smaller), list_to_tuple(Items))},
        {2, ?LET(Pairs, list({key(), Smaller}), distinct(Pairs))},
        {1, ?LET({Items, Tail}, {non_empty(list(Smaller)), improper_tail()}, Items ++ Tail)}
    ]).

leaf() ->
    frequency([
        {3, integer_of_any_size()},
        {2, float_of_any_size()},
        {3, binary()},
        {2, text()},
        {2, bitstring()},
        {3, an_atom()},
        {1, []},
        {1, list(byte())},
        {1, opaque()},
        {1, {bytes, binary()}}
    ]).

improper_tail() -> oneof([integer(), binary(), an_atom(), float()]).

%% Not what is None in Python, and not 1 beside 1.0 or true: these are one key there, which is an error and tested elsewhere.
key() -> oneof([binary(), text(), ?SUCHTHAT(A, an_atom(), not lists:member(A, [true, false, nil, undefined])), int_key()]).

int_key() -> ?LET(N, integer(), {key, N}).

%% Keys that are the same after the trip would be an error.
distinct(Pairs) -> maps:from_list(Pairs).

integer_of_any_size() ->
    oneof([
        integer(),
        ?LET({Bits, D, Sign}, {range(0, 2200), range(-2, 2), oneof([1, -1])}, Sign * ((1 bsl Bits) + D)),
        ?LET(B, binary(), binary:decode_unsigned(<<0, B/binary>>))
    ]).

float_of_any_size() ->
    oneof([float(), ?LET(Bits, binary(8), any_float(Bits)), oneof([0.0, -0.0, 1.0e308, 5.0e-324, 2.2250738585072014e-308])]).

%% Bits that are no number in Erlang stand for 1.0.
any_float(<<F/float>>) -> F;
any_float(_) -> 1.0.

text() -> ?LET(Chars, list(character()), unicode:characters_to_binary(Chars)).

character() -> oneof([range(0, 127), range(128, 16#d7ff), range(16#e000, 16#10ffff)]).

an_atom() ->
    oneof([ok, error, true, false, none, nil, undefined, null, nan, infinity, '', 'two words', 'é', 'π', '日本', ?MODULE]).

opaque() ->
    oneof([
        ?LAZY(self()),
        ?LAZY(make_ref()),
        ?LAZY(hd(erlang:ports())),
        fun lists:map/2,
        ?LET(N, integer(), fun() -> N end)
    ]).
