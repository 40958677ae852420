#!/usr/bin/env escript
%%! +pc unicode
%% Writes the golden vectors: terms in the external format, made by the Erlang that runs this script (OTP 25 for the files that are
%% here), and by hand for what that release does not write itself.
%%
%%     escript test/golden/make_golden.escript [Folder]         (default: etf/ beside this script)
%%
%% It writes Name.etf for every vector, and two lists of them:
%%
%%   index.txt   for file:consult/1. One map per vector:
%%                 name    file name without .etf
%%                 made    {term_to_binary, Options} or by_hand
%%                 worker  reads | refuses: what worker/etf has to do
%%                 erlang  reads | refuses: what binary_to_term/1 of this release did when the vector was made
%%                 source  Erlang source text of the term, or none where no expression yields the same term again
%%                 note    why it is here
%%   tokens.txt  for the C++ tests. Per line, separated by tabs: name; `copy' (written again token by token it has the same bytes),
%%               `reads', or `refuses'; the tokens that the reader has to hand out, or words of its error.
%%
%% Everything comes from term_to_binary(Term, [{minor_version, 2}]) unless the vector says otherwise: that writes atoms in UTF-8, as later
%% releases do by default and as the worker does. The tokens are told from the term, not from the bytes, so they are a second opinion.
-module(make_golden).
-mode(compile).
-export([main/1]).

main([]) -> main([filename:join(filename:dirname(filename:absname(escript:script_name())), "etf")]);
main([Folder]) ->
    ok = filelib:ensure_dir(filename:join(Folder, "x")),
    lists:foreach(fun(Old) -> ok = file:delete(Old) end, filelib:wildcard(filename:join(Folder, "*.{etf,txt}"))),
    Vectors = [from_source(V) || V <- terms()] ++ [from_fun(V) || V <- funs()] ++ [by_hand(V) || V <- by_hand()],
    Names = [maps:get(name, V) || V <- Vectors],
    [] = Names -- lists:usort(Names),
    lists:foreach(fun(#{name := Name, bytes := Bytes}) ->
        ok = file:write_file(filename:join(Folder, Name ++ ".etf"), Bytes)
    end, Vectors),
    Index = [io_lib:format("~tp.~n", [maps:without([bytes, how, tokens], V)]) || V <- Vectors],
    ok = file:write_file(filename:join(Folder, "index.txt"),
                         unicode:characters_to_binary(["%% coding: utf-8\n%% Written by make_golden.escript; for file:consult/1.\n", Index])),
    Tokens = [[Name, $\t, How, $\t, lists:join($\s, What), $\n] || #{name := Name, how := How, tokens := What} <- Vectors],
    ok = file:write_file(filename:join(Folder, "tokens.txt"), Tokens),
    io:format("~b vectors, ~b bytes~n", [length(Vectors), lists:sum([byte_size(B) || #{bytes := B} <- Vectors])]).

%%% Vectors that are an expression: {Name, Source} or {Name, Source, Options of term_to_binary, copy | reads}

terms() ->
    [{"integer_" ++ N, N} || N <- ["0", "1", "255", "256", "-1", "-128", "-129", "65535", "134217727", "134217728", "-134217728",
        "-134217729", "2147483647", "-2147483648", "2147483648", "-2147483649", "4294967295", "4294967296",
        "1099511627776", "72057594037927935", "72057594037927936", "1152921504606846976",
        "9223372036854775807", "-9223372036854775808", "9223372036854775808", "-9223372036854775809",
        "18446744073709551615", "18446744073709551616", "-18446744073709551616"]] ++
    [{"big_127_bits", "1 bsl 127 - 1"}, {"big_128_bits_negative", "-(1 bsl 128)"}, {"big_100_bytes", "-(1 bsl 799 + 12345)"},
     {"big_255_bytes", "(1 bsl 2040) - 1"}, {"big_256_bytes_is_large", "1 bsl 2040"}, {"big_600_bytes_negative", "-(7 bsl 4790)"},
     {"float_0", "0.0"}, {"float_minus_0", "-0.0"}, {"float_1", "1.0"}, {"float_tenth", "0.1"}, {"float_minus", "-2.5e-3"},
     {"float_largest", "1.7976931348623157e308"}, {"float_smallest", "5.0e-324"}, {"float_smallest_normal", "2.2250738585072014e-308"},
     {"float_as_text", "[0.1, -0.0, 1.7976931348623157e308, 5.0e-324, 123456789.125]", [{minor_version, 0}], reads},
     {"atom", "ok"}, {"atom_empty", "''"}, {"atom_true", "true"}, {"atom_undefined", "undefined"}, {"atom_module", "'Elixir.Enum'"},
     {"atom_latin1_range", "'å é ÿ'"}, {"atom_greek", "'λόγος'"}, {"atom_emoji", "'🐍'"}, {"atom_nul", "'a\\0b'"},
     {"atom_255_ascii", "list_to_atom(lists:duplicate(255, $a))"},
     {"atom_127_two_bytes", "list_to_atom(lists:duplicate(127, 16#E9))"},
     {"atom_128_two_bytes", "list_to_atom(lists:duplicate(128, 16#E9))"},
     {"atom_255_two_bytes", "list_to_atom(lists:duplicate(255, 16#E9))"},
     {"atom_255_three_bytes", "list_to_atom(lists:duplicate(255, 16#20AC))"},
     {"atom_255_four_bytes", "list_to_atom(lists:duplicate(255, 16#1F40D))"},
     {"atom_old_form", "ok", [{minor_version, 1}], reads},
     {"atom_old_form_latin1", "'å é ÿ'", [{minor_version, 1}], reads},
     {"atom_old_form_255_latin1", "list_to_atom(lists:duplicate(255, 16#FF))", [{minor_version, 1}], reads},
     {"atom_old_form_utf8", "'λόγος'", [{minor_version, 1}], reads},
     {"atoms_old_form", "{ok, [error, 'ñandú', 'Ωmega'], #{none => nil}}", [{minor_version, 1}], reads},
     {"binary_empty", "<<>>"}, {"binary", "<<\"hello\">>"}, {"binary_all_bytes", "list_to_binary(lists:seq(0, 255))"},
     {"binary_utf8", "<<\"Zoë 🐍\"/utf8>>"}, {"binary_5000", "binary:copy(<<1, 2, 3, 4, 5>>, 1000)"},
     {"bitstring_1", "<<1:1>>"}, {"bitstring_7", "<<127:7>>"}, {"bitstring_9", "<<257:9>>"}, {"bitstring_1003", "<<-1:1003>>"},
     {"string", "\"hello\""}, {"string_1", "[0]"}, {"string_255", "[255, 0, 255]"},
     {"string_65535", "lists:duplicate(65535, $x)"},
     {"nil", "[]"}, {"list_atoms", "[a, b, c]"}, {"list_256", "[256]"}, {"list_mixed", "[1, 2.0, three, <<\"four\">>, \"five\", [], {}, #{}]"},
     {"list_of_lists", "[[], [[]], [[], [[]]]]"}, {"list_wide", "lists:seq(-500, 500)"},
     {"improper", "[a | b]"}, {"improper_bytes", "[1, 2 | 3]"}, {"improper_binary", "[<<\"a\">>, <<\"b\">> | <<\"c\">>]"},
     {"improper_nested", "[[a | b] | {c, [d | 1.5]}]"},
     {"tuple_0", "{}"}, {"tuple_1", "{a}"}, {"tuple_3", "{ok, 1, <<\"x\">>}"}, {"tuple_255", "list_to_tuple(lists:seq(1, 255))"},
     {"tuple_256_is_large", "list_to_tuple(lists:seq(1, 256))"},
     {"map_0", "#{}"}, {"map_1", "#{a => 1}"}, {"map_32", "maps:from_list([{N, N * N} || N <- lists:seq(1, 32)])"},
     {"map_key_kinds", "#{1 => int, 1.0 => float, <<\"1\">> => binary, \"1\" => string, {1} => tuple, [] => nil, #{} => map}"},
     {"map_nested", "#{a => #{b => #{c => [#{}]}}}"},
     {"request", "{math, sqrt, [16], #{}}", [{minor_version, 2}], copy},
     {"python_error", "{python, #{type => <<\"ValueError\">>, message => <<\"no\">>, notes => [], cause => none}}"},
     {"deep_lists", "lists:foldl(fun(_, T) -> [T] end, [], lists:seq(1, 1000))"},
     {"deep_tuples", "lists:foldl(fun(_, T) -> {T, 1} end, {}, lists:seq(1, 1000))"},
     {"deep_maps", "lists:foldl(fun(_, T) -> #{k => T} end, #{}, lists:seq(1, 500))"},
     {"deep_tails", "lists:foldl(fun(N, T) -> [{N} | T] end, none, lists:seq(1, 300))"},
     {"pid_local", "list_to_pid(\"<0.100.0>\")"}, {"pid_large", "list_to_pid(\"<0.12345.77>\")"},
     {"port_local", "list_to_port(\"#Port<0.5>\")"},
     {"reference_local", "list_to_ref(\"#Ref<0.1.2.3>\")"},
     {"opaque_in_containers", "{list_to_pid(\"<0.1.0>\"), [fun lists:sum/1], #{list_to_ref(\"#Ref<0.3.2.1>\") => list_to_port(\"#Port<0.1>\")}}"},
     {"export", "fun lists:sum/1"}, {"export_unicode", "fun 'måste':'göra'/255"},
     {"export_old_form", "fun lists:sum/1", [{minor_version, 1}], copy}].

from_source({Name, Source}) -> from_source({Name, Source, [{minor_version, 2}], copy});
from_source({Name, Source, Options, How}) ->
    {ok, Tokens, _} = erl_scan:string(Source ++ "."),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, Term, _} = erl_eval:exprs(Expressions, erl_eval:new_bindings()),
    Bytes = term_to_binary(Term, Options),
    true = Term =:= binary_to_term(Bytes),
    #{name => Name, made => {term_to_binary, Options}, worker => reads, erlang => reads, source => Source, note => "",
      bytes => Bytes, how => atom_to_list(How), tokens => told(Term, Options)}.

%%% Funs of this script, and of the interpreter

funs() ->
    [{"fun_local", fun(X) -> X + 1 end, "a fun without captured terms"},
     {"fun_captures", capture(1 bsl 70, <<"text">>, [a | b]), "captured terms of several kinds"},
     {"fun_captures_funs", lists:foldl(fun nest/2, fun lists:sum/1, lists:seq(1, 20)), "20 funs, each captured by the next"},
     {"fun_captures_many", fan([capture(N, self(), #{N => make_ref()}) || N <- lists:seq(1, 5)]), "a list of funs among its captured terms"},
     {"fun_interpreted", interpreted(), "a fun of erl_eval, as a shell makes them"}].

capture(A, B, C) -> fun(X) -> {X, A, B, C} end.
nest(N, F) -> fun(X) -> F([N | X]) end.
fan(Fs) -> fun(X) -> [F(X) || F <- Fs] end.
interpreted() ->
    {ok, Tokens, _} = erl_scan:string("fun(X) -> X + Y end."),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, Fun, _} = erl_eval:exprs(Expressions, erl_eval:add_binding('Y', 1, erl_eval:new_bindings())),
    Fun.

from_fun({Name, Fun, Note}) ->
    Options = [{minor_version, 2}],
    Bytes = term_to_binary(Fun, Options),
    #{name => Name, made => {term_to_binary, Options}, worker => reads, erlang => reads, source => none, note => Note,
      bytes => Bytes, how => "copy", tokens => told(Fun, Options)}.

%%% By hand: {Name, Note, Bytes behind the version byte, copy | reads | refuses, Tokens or words of the error}

by_hand() ->
    Node = small_utf8(<<"other@host">>),
    OldNode = <<100, 10:16, "other@host">>,
    Opaque = [
        {"pid_ext", "PID_EXT", "pid", <<103, OldNode/binary, 77:32, 1:32, 2:8>>},
        {"pid_new", "NEW_PID_EXT", "pid", <<88, Node/binary, 77:32, 1:32, 16#CAFE0001:32>>},
        {"pid_unicode_node", "a node's name in UTF-8", "pid", <<88, 118, 8:16, "nöd@é1"/utf8, 77:32, 1:32, 3:32>>},
        {"port_ext", "PORT_EXT", "port", <<102, OldNode/binary, 5:32, 1:8>>},
        {"port_new", "NEW_PORT_EXT", "port", <<89, Node/binary, 5:32, 9:32>>},
        {"port_v4", "V4_PORT_EXT", "port", <<120, Node/binary, 16#123456789AB:64, 9:32>>},
        {"reference_ext", "REFERENCE_EXT", "reference", <<101, OldNode/binary, 5:32, 1:8>>},
        {"reference_new", "NEW_REFERENCE_EXT", "reference", <<114, 3:16, OldNode/binary, 1:8, 5:32, 6:32, 7:32>>},
        {"reference_newer_1", "NEWER_REFERENCE_EXT of one word", "reference", <<90, 1:16, Node/binary, 8:32, 5:32>>},
        {"reference_newer_5", "of five words: with an alias", "reference", <<90, 5:16, Node/binary, 8:32, 5:32, 6:32, 7:32, 8:32, 9:32>>},
        {"fun_ext", "FUN_EXT, older than R15; refused by today's Erlang", "fun",
            <<117, 2:32, 103, OldNode/binary, 77:32, 1:32, 2:8, 100, 3:16, "mod", 97, 3, 98, 12345:32, 97, 1, 104, 1, 97, 2>>},
        {"fun_external", "NEW_FUN_EXT from another node", "fun", new_fun([<<97, 1>>, <<104, 0>>])},
        {"fun_in_fun_by_hand", "", "fun", new_fun([new_fun([<<106>>]), <<108, 1:32, (new_fun([]))/binary, 106>>])}],
    [{Name, Note, Bytes, copy, [whole(Kind, Bytes)]} || {Name, Note, Kind, Bytes} <- Opaque] ++ readable() ++ refused().

readable() ->
    Half = binary:copy(<<16#C3, 16#A9>>, 100),
    [{"latin1_small_atom", "SMALL_ATOM_EXT", <<115, 3, "a", 16#E9, "b">>, reads, ["a:" ++ hex(<<"aéb"/utf8>>)]},
     {"latin1_atom", "ATOM_EXT", <<100, 0, 3, "a", 16#FF, "b">>, reads, ["a:" ++ hex(<<"aÿb"/utf8>>)]},
     {"utf8_atom_long_form", "ATOM_UTF8_EXT where the small form would do", <<118, 0, 2, "ok">>, reads, ["a:" ++ hex(<<"ok">>)]},
     {"utf8_small_atom_200", "100 characters of two bytes", <<119, 200, Half/binary>>, copy, ["a:" ++ hex(Half)]},
     {"small_big_of_one_byte", "a big that is small", <<110, 1, 0, 7>>, reads, ["i:7"]},
     {"small_big_of_none", "a big without bytes", <<110, 0, 0>>, reads, ["i:0"]},
     {"small_big_minus_zero", "", <<110, 1, 1, 0>>, reads, ["i:0"]},
     {"small_big_padded", "zero bytes at the high end", <<110, 12, 1, 5, 0:88>>, reads, ["i:-5"]},
     {"small_big_least", "the least number of 64 bits, padded", <<110, 9, 1, 0:56, 128, 0>>, reads, ["i:-9223372036854775808"]},
     {"large_big_of_eight_bytes", "LARGE_BIG_EXT where the small form would do", <<111, 8:32, 0, 255, 0:48, 1>>, reads, ["i:72057594037928191"]},
     {"bit_binary_of_whole_bytes", "BIT_BINARY_EXT with 8 last bits", <<77, 2:32, 8, "ab">>, reads, ["b:2:" ++ hex(<<"ab">>)]},
     {"bit_binary_empty", "BIT_BINARY_EXT without bytes", <<77, 0:32, 0>>, reads, ["b:0:"]},
     {"string_empty", "STRING_EXT without bytes", <<107, 0:16>>, copy, ["s:0:"]},
     {"list_of_none", "LIST_EXT without elements: its tail is the value", <<108, 0:32, 106>>, reads, ["l/0", "[]"]},
     {"large_tuple_of_one", "LARGE_TUPLE_EXT where the small form would do", <<105, 1:32, 97, 1>>, reads, ["t/1", "i:1"]}].

refused() ->
    Many = <<1, 200, 66:8>>,
    [{"compressed", "COMPRESSED: 60 kB in a hundred bytes",
        binary:part(C, 1, byte_size(C) - 1), refuses, ["compressed"]} || C <- [term_to_binary(lists:duplicate(30000, 1000), [compressed])]] ++
    [{"distribution_header", "tag 68", <<68, 0, 97, 1>>, refuses, ["distribution header"]},
     {"distribution_fragment", "tag 69", <<69, 1:64, 1:64, 0, 97, 1>>, refuses, ["fragment"]},
     {"atom_cache_ref", "ATOM_CACHE_REF", <<82, 0>>, refuses, ["ATOM_CACHE_REF"]},
     {"local_ext", "LOCAL_EXT, of OTP 26 and later", <<121, 1:32, 2:32, 97, 1>>, refuses, ["LOCAL_EXT"]},
     {"local_ext_inside", "LOCAL_EXT inside a tuple", <<104, 1, 121, 1:32, 2:32, 97, 1>>, refuses, ["LOCAL_EXT"]},
     {"unknown_tag", "", <<104, 1, 255>>, refuses, ["unknown", "tag,", "255"]},
     {"version_inside", "a version byte where a term should be", <<131, 97, 1>>, refuses, ["unknown", "tag,", "131"]},
     {"float_infinite", "", <<70, 16#7FF0000000000000:64>>, refuses, ["not finite"]},
     {"float_minus_infinite", "", <<70, 16#FFF0000000000000:64>>, refuses, ["not finite"]},
     {"float_not_a_number", "", <<70, 16#7FF8000000000001:64>>, refuses, ["not finite"]},
     {"float_text_infinite", "", <<99, "inf", 0:224>>, refuses, ["not finite"]},
     {"float_text_without_end", "31 digits, no NUL, and then more digits", <<104, 2, 99, "1.5000000000000000000000000000x", 97, 49>>, refuses, ["unreadable float"]},
     {"float_text_words", "", <<99, "not a number", 0:152>>, refuses, ["unreadable float"]},
     {"atom_256_ascii", "256 characters", <<118, 256:16, (binary:copy(<<"a">>, 256))/binary>>, refuses, ["255 characters"]},
     {"atom_256_latin1", "256 characters", <<100, 256:16, (binary:copy(<<16#E9>>, 256))/binary>>, refuses, ["255 characters"]},
     {"atom_256_utf8", "256 characters", <<118, 512:16, (binary:copy(<<"é"/utf8>>, 256))/binary>>, refuses, ["255 characters"]},
     {"atom_lone_byte", "not UTF-8", <<119, 1, 16#E9>>, refuses, ["not UTF-8"]},
     {"atom_overlong", "not UTF-8: NUL in two bytes", <<119, 2, 16#C0, 16#80>>, refuses, ["not UTF-8"]},
     {"atom_overlong_3", "not UTF-8: a slash in three bytes", <<119, 3, 16#E0, 16#80, 16#AF>>, refuses, ["not UTF-8"]},
     {"atom_surrogate", "not UTF-8: half of a pair", <<119, 3, 16#ED, 16#A0, 16#80>>, refuses, ["not UTF-8"]},
     {"atom_above_unicode", "not UTF-8: U+110000", <<119, 4, 16#F4, 16#90, 16#80, 16#80>>, refuses, ["not UTF-8"]},
     {"atom_cut_character", "not UTF-8: the last character is cut", <<119, 2, 16#E2, 16#82>>, refuses, ["not UTF-8"]},
     {"big_bad_sign", "a sign of 2; Erlang takes it for negative", <<110, 9, 2, 1:72>>, refuses, ["sign"]},
     {"bit_binary_9", "9 last bits", <<77, 1:32, 9, 0>>, refuses, ["last bits"]},
     {"bit_binary_0_of_1", "no last bits of a byte", <<77, 1:32, 0, 0>>, refuses, ["last bits"]},
     {"bit_binary_3_of_0", "last bits without a byte", <<77, 0:32, 3>>, refuses, ["last bits"]},
     {"tuple_bomb", "4 thousand million elements in 2 bytes", <<105, 16#FFFFFFFF:32, Many/binary>>, refuses, ["too few"]},
     {"list_bomb", "", <<108, 16#FFFFFFFF:32, Many/binary>>, refuses, ["too few"]},
     {"map_bomb", "", <<116, 16#FFFFFFFF:32, Many/binary>>, refuses, ["too few"]},
     {"list_without_tail", "three elements and no tail", <<108, 3:32, 97, 1, 97, 2, 106>>, refuses, ["ends inside"]},
     {"nested_bombs", "each count would fit alone, not both", <<104, 8, 104, 8, 106, 106, 106, 106, 106, 106, 106, 106>>, refuses, ["too few"]},
     {"reference_6", "a reference of six words", <<90, 6:16, 119, 1, "n", 8:32, 0:192>>, refuses, ["1 to 5 words"]},
     {"reference_0", "a reference of no words", <<90, 0:16, 119, 1, "n", 8:32>>, refuses, ["1 to 5 words"]},
     {"pid_of_number", "a number for a node's name", <<88, 97, 1, 1:32, 2:32, 3:32>>, refuses, ["wrong kind"]},
     {"pid_in_pid", "a pid for a node's name", <<103, 103, 103, 103, 103, 119, 1, "n", 0:216>>, refuses, ["wrong kind"]},
     {"export_arity", "an arity that is an atom", <<113, 119, 1, "m", 119, 1, "f", 119, 1, "a">>, refuses, ["arity"]},
     {"fun_size_short", "a size field that is too small", fun_of_size(-1), refuses, ["size field"]},
     {"fun_size_long", "a size field that is too large", <<104, 2, (fun_of_size(1))/binary, 97, 1>>, refuses, ["size field"]},
     {"fun_captures_bomb", "4 thousand million captured terms", fun_bytes(<<88, 119, 1, "n", 1:32, 2:32, 3:32>>, [<<97, 5>>], 16#FFFFFFFF, 0), refuses, ["ends inside a fun"]},
     {"fun_without_pid", "an atom for its pid", new_fun_of(<<119, 1, "p">>, []), refuses, ["wrong kind"]},
     {"fun_in_fun_size", "the inner fun's size field is wrong", new_fun([fun_of_size(1), <<97, 1>>]), refuses, ["size field"]}].

new_fun(Captured) -> new_fun_of(<<88, (small_utf8(<<"other@host">>))/binary, 77:32, 1:32, 9:32>>, Captured).
new_fun_of(Pid, Captured) -> fun_bytes(Pid, Captured, length(Captured), 0).
fun_of_size(Off) -> fun_bytes(<<88, 119, 1, "n", 1:32, 2:32, 3:32>>, [<<97, 5>>], 1, Off).
fun_bytes(Pid, Captured, Count, Off) ->
    Rest = [<<2:8, 16#0123456789ABCDEF0123456789ABCDEF:128, 4:32, Count:32>>, small_utf8(<<"mod">>), <<97, 4>>,
            <<98, 123456:32>>, Pid, Captured],
    iolist_to_binary([<<112, (4 + iolist_size(Rest) + Off):32>>, Rest]).

small_utf8(Text) -> <<119, (byte_size(Text)), Text/binary>>.

by_hand({Name, Note, Encoded, How, Tokens}) ->
    Bytes = <<131, Encoded/binary>>,
    {Erlang, Source} =
        try binary_to_term(Bytes) of
            Term -> {reads, source(Term)}
        catch error:badarg -> {refuses, none}
        end,
    #{name => Name, made => by_hand, worker => case How of refuses -> refuses; _ -> reads end, erlang => Erlang, source => Source, note => Note,
      bytes => Bytes, how => atom_to_list(How), tokens => Tokens}.

%% The text of a term, if it is short and reading it gives the term again.
source(Term) ->
    Text = lists:flatten(io_lib:format("~tw", [Term])),
    try
        {ok, Tokens, _} = erl_scan:string(Text ++ "."),
        {ok, Term} = erl_parse:parse_term(Tokens),
        true = length(Text) < 1000,
        Text
    catch _:_ -> none
    end.

%%% The tokens that a reader has to hand out, told from the term

told(T, O) when is_integer(T), T >= -(1 bsl 63), T < 1 bsl 63 -> one("i:", integer_to_list(T), O);
told(T, _) when is_integer(T) ->
    Sign = case T < 0 of true -> $-; false -> $+ end,
    [["B:", Sign, hex(binary:encode_unsigned(abs(T), little))]];
told(T, _) when is_float(T) -> [["r:", hex(<<T/float>>)]];
told(T, _) when is_atom(T) -> [["a:", hex(atom_to_binary(T))]];
told(T, _) when is_binary(T) -> [["b:", run(T)]];
told(T, _) when is_bitstring(T) ->
    Bits = bit_size(T) rem 8,
    [["bits:", integer_to_list(Bits), $:, run(<<T/bitstring, 0:(8 - Bits)>>)]];
told([], _) -> ["[]"];
told(T, O) when is_list(T) ->
    case is_string(T, 0) of
        true -> [["s:", run(list_to_binary(T))]];
        false -> [["l/", integer_to_list(length_of(T, 0))] | elements(T, O)]
    end;
told(T, O) when is_tuple(T) -> [["t/", integer_to_list(tuple_size(T))] | [Token || E <- tuple_to_list(T), Token <- told(E, O)]];
told(T, O) when is_map(T) -> [["m/", integer_to_list(map_size(T))] | [Token || {K, V} <- maps:to_list(T), Token <- told(K, O) ++ told(V, O)]];
told(T, O) ->
    Kind = if is_pid(T) -> "pid"; is_port(T) -> "port"; is_reference(T) -> "reference"; is_function(T) -> kind_of_fun(T) end,
    <<131, Bytes/binary>> = term_to_binary(T, O),
    [whole(Kind, Bytes)].

kind_of_fun(F) ->
    case erlang:fun_info(F, type) of
        {type, external} -> "export";
        {type, local} -> "fun"
    end.

one(Prefix, Text, _) -> [[Prefix, Text]].
elements([H | T], O) -> told(H, O) ++ elements(T, O);
elements(Tail, O) -> told(Tail, O).
length_of([_ | T], N) -> length_of(T, N + 1);
length_of(_, N) -> N.
is_string([H | T], N) when is_integer(H), H >= 0, H =< 255, N < 65535 -> is_string(T, N + 1);
is_string([], _) -> true;
is_string(_, _) -> false.

whole(Kind, Bytes) -> [Kind, $:, run(Bytes)].

%% Length and content; of a long one its checksum.
run(B) when byte_size(B) =< 64 -> [integer_to_list(byte_size(B)), $:, hex(B)];
run(B) -> [integer_to_list(byte_size(B)), ":adler", integer_to_list(erlang:adler32(B))].

hex(B) -> binary_to_list(binary:encode_hex(B)).
