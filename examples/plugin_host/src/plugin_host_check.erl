%% @doc Pure: what each plugin has to answer, computed here without Python.
%%
%% Nothing in this module knows how a plugin does its work. It reads the same rows and arrives at the same figures on
%% its own, so a wrong answer, an answer to another call, or state that leaked between calls is seen.
%%
%% A pass is one walk through the whole corpus: `begin', one call per chunk, `summary'. {@link new/1},
%% {@link expect/3} and {@link summary/2} mirror these three; the memo in between is what a plugin remembers.
%% @end
-module(plugin_host_check).

-export([new/1, argument/2, expect/3, summary/2, same/3]).

-export_type([work/0, memo/0]).

-type work() ::
    wordcount | concordance | archive | export | unicode | metrics | search | phonetics | tally.
-opaque memo() :: map().
-type answer() :: #{binary() => term()}.

-define(TITLE, "\\b(king|queen|son|daughter|city|land|prophet)s? of (?:the )?([A-Z][a-z]+)").

%% @doc The memo at the beginning of a pass.
-spec new(work()) -> memo().
new(concordance) -> #{verses => 0, books => #{}, both => 0};
new(archive) -> #{size => 0, crc32 => 0};
new(export) -> #{documents => 0, md5 => erlang:md5_init()};
new(metrics) -> #{lengths => []};
new(tally) -> #{lines => 0, words => 0, crc32 => 0};
new(_Counting) -> #{}.

%% @doc The rows as the plugin wants them: text, or bytes.
-spec argument(work(), binary()) -> term().
argument(archive, Rows) -> {bytes, Rows};
argument(_Work, Rows) -> Rows.

%% @doc The right answer to one chunk, and the memo after it.
-spec expect(work(), binary(), memo()) -> {answer(), memo()}.
expect(wordcount, Rows, Memo) ->
    Texts = [Text || [_, _, _, Text] <- verses(Rows)],
    Words = count([Word || Text <- Texts, Word <- words(Text)]),
    {(word_figures(Words))#{<<"verses">> => length(Texts)}, add_counts(Words, Memo)};
expect(concordance, Rows, #{verses := Verses, books := Books, both := Both}) ->
    Parsed = verses(Rows),
    Terms = [lists:usort(words(Text)) || [_, _, _, Text] <- Parsed],
    Long = count([Term || Terms1 <- Terms, Term <- Terms1, byte_size(Term) > 3]),
    Answer = #{<<"postings">> => length(lists:append(Terms)), <<"top">> => top(5, Long)},
    Here = [T || T <- Terms, lists:member(<<"david">>, T), lists:member(<<"jerusalem">>, T)],
    Memo = #{
        verses => Verses + length(Parsed),
        books => maps:merge(Books, count([Book || [Book | _] <- Parsed])),
        both => Both + length(Here)
    },
    {Answer, Memo};
expect(archive, Rows, #{size := Size, crc32 := Crc}) ->
    %% Compressors may differ; what counts is that the bytes come out again (see same/3).
    Answer = #{<<"packed">> => Rows, <<"adler32">> => erlang:adler32(Rows)},
    {Answer, #{size => Size + byte_size(Rows), crc32 => erlang:crc32(Crc, Rows)}};
expect(export, Rows, #{documents := Documents, md5 := Md5}) ->
    Verses = verses(Rows),
    Json = iolist_to_binary([$[, lists:join($,, [verse_as_json(Verse) || Verse <- Verses]), $]]),
    Memo = #{documents => Documents + length(Verses), md5 => erlang:md5_update(Md5, Json)},
    {#{<<"json">> => Json}, Memo};
expect(unicode, Rows, Memo) ->
    Table = [binary:split(Line, <<";">>, [global]) || Line <- lines(Rows)],
    Categories = count([lists:nth(3, Row) || Row <- Table]),
    Characters = [
        <<(binary_to_integer(Code, 16))/utf8>>
     || [Code, <<C, _/binary>> | _] <- Table, C =/= $<
    ],
    Numbers = [lists:nth(9, Row) || Row <- Table],
    Answer = #{
        <<"categories">> => Categories,
        <<"nfd">> => iolist_to_binary([nfd_if_other(Character) || Character <- Characters]),
        <<"numeric_total">> => lists:foldl(fun add_fraction/2, {0, 1}, Numbers)
    },
    {Answer, add_counts(Categories, Memo)};
expect(metrics, Rows, #{lengths := Lengths}) ->
    Here = [byte_size(Text) || [_, _, _, Text] <- verses(Rows)],
    {length_figures(Here), #{lengths => Here ++ Lengths}};
expect(search, Rows, Memo) ->
    {ok, Pattern} = re:compile(?TITLE),
    Hits = [
        {iolist_to_binary([Book, $\s, Chapter, $:, Number]), Role, Name}
     || [Book, Chapter, Number, Text] <- verses(Rows), [Role, Name] <- all_groups(Text, Pattern)
    ],
    {#{<<"hits">> => Hits}, add_counts(count([Name || {_, _, Name} <- Hits]), Memo)};
expect(phonetics, Rows, Memo) ->
    {ok, Pattern} = re:compile("\\b([A-Z][a-z]+)\\b"),
    Names = [Name || [_, _, _, Text] <- verses(Rows), [Name] <- all_groups(Text, Pattern)],
    Codes = count([soundex(Name) || Name <- Names]),
    {#{<<"names">> => length(Names), <<"codes">> => Codes}, add_counts(Codes, Memo)};
expect(tally, Rows, #{lines := Lines, words := Words, crc32 := Crc}) ->
    HereLines = length(binary:matches(Rows, <<"\n">>)),
    HereWords = length(binary:split(Rows, [<<" ">>, <<"\t">>, <<"\n">>], [global, trim_all])),
    Answer = #{
        <<"lines">> => HereLines, <<"words">> => HereWords, <<"crc32">> => erlang:crc32(Rows)
    },
    NewMemo = #{
        lines => Lines + HereLines, words => Words + HereWords, crc32 => erlang:crc32(Crc, Rows)
    },
    {Answer, NewMemo}.

%% @doc The right answer to the call that ends a pass.
-spec summary(work(), memo()) -> answer().
summary(wordcount, Words) ->
    word_figures(Words);
summary(concordance, #{verses := Verses, books := Books, both := Both}) ->
    #{<<"verses">> => Verses, <<"books">> => map_size(Books), <<"david_and_jerusalem">> => Both};
summary(archive, #{size := Size, crc32 := Crc}) ->
    #{<<"size">> => Size, <<"crc32">> => Crc};
summary(export, #{documents := Documents, md5 := Md5}) ->
    Digest = << <<(hex(Nibble))>> || <<Nibble:4>> <= erlang:md5_final(Md5) >>,
    #{<<"documents">> => Documents, <<"md5">> => Digest};
summary(unicode, Categories) ->
    #{<<"categories">> => Categories};
summary(metrics, #{lengths := Lengths}) ->
    length_figures(Lengths);
summary(search, Names) ->
    #{<<"names">> => Names};
summary(phonetics, Codes) ->
    #{<<"codes">> => Codes};
summary(tally, #{lines := Lines, words := Words, crc32 := Crc}) ->
    #{<<"lines">> => Lines, <<"words">> => Words, <<"crc32">> => Crc}.

%% @doc Does the answer say what was expected? Floats may differ in the last digits: the order of additions is free.
-spec same(work(), Expected :: answer(), Got :: term()) -> boolean().
same(archive, Expected, #{<<"packed">> := Packed} = Got) when is_binary(Packed) ->
    try zlib:uncompress(Packed) of
        Rows -> alike(Expected, Got#{<<"packed">> := Rows})
    catch
        error:data_error -> false
    end;
same(_Work, Expected, Got) ->
    alike(Expected, Got).

-spec alike(term(), term()) -> boolean().
alike(A, B) when is_float(A), is_float(B) ->
    abs(A - B) =< 1.0e-9 * erlang:max(abs(A), abs(B));
alike(A, B) when is_map(A), is_map(B) ->
    lists:sort(maps:keys(A)) =:= lists:sort(maps:keys(B)) andalso
        lists:all(fun(Key) -> alike(maps:get(Key, A), maps:get(Key, B)) end, maps:keys(A));
alike(A, B) ->
    A =:= B.

%%% rows

-spec lines(binary()) -> [binary()].
lines(Rows) ->
    binary:split(Rows, <<"\n">>, [global, trim]).

-spec verses(binary()) -> [[binary()]].
verses(Rows) ->
    [binary:split(Line, <<"\t">>, [global]) || Line <- lines(Rows)].

%% Runs of ASCII letters, in lower case.
-spec words(binary()) -> [binary()].
words(Text) ->
    Letters = << <<(letter_or_space(C))>> || <<C>> <= Text >>,
    binary:split(Letters, <<" ">>, [global, trim_all]).

-spec letter_or_space(byte()) -> char().
letter_or_space(C) when C >= $a, C =< $z -> C;
letter_or_space(C) when C >= $A, C =< $Z -> C + 32;
letter_or_space(_) -> $\s.

-spec all_groups(binary(), Pattern :: tuple()) -> [[binary()]].
all_groups(Text, Pattern) ->
    case re:run(Text, Pattern, [global, {capture, all_but_first, binary}]) of
        {match, Groups} -> Groups;
        nomatch -> []
    end.

%%% counting

-spec count([Key]) -> #{Key => pos_integer()}.
count(Keys) ->
    lists:foldl(fun(Key, Acc) -> maps:update_with(Key, fun(N) -> N + 1 end, 1, Acc) end, #{}, Keys).

-spec add_counts(#{Key => integer()}, #{Key => integer()}) -> #{Key => integer()}.
add_counts(Counts, Sums) ->
    Add = fun(Key, N, Acc) -> maps:update_with(Key, fun(M) -> M + N end, N, Acc) end,
    maps:fold(Add, Sums, Counts).

%% The most frequent first, and those of equal frequency in alphabetical order.
-spec top(pos_integer(), #{binary() => integer()}) -> [{binary(), integer()}].
top(Number, Counts) ->
    Ranked = lists:sort([{-N, Key} || {Key, N} <- maps:to_list(Counts)]),
    [{Key, -N} || {N, Key} <- lists:sublist(Ranked, Number)].

-spec word_figures(#{binary() => integer()}) -> answer().
word_figures(Words) ->
    #{
        <<"words">> => lists:sum(maps:values(Words)),
        <<"distinct">> => map_size(Words),
        <<"top">> => top(5, Words)
    }.

-spec length_figures([non_neg_integer(), ...]) -> answer().
length_figures(Lengths) ->
    Count = length(Lengths),
    Mean = lists:sum(Lengths) / Count,
    Variance = lists:sum([(L - Mean) * (L - Mean) || L <- Lengths]) / Count,
    Sorted = lists:sort(Lengths),
    Middle = lists:nth((Count + 1) div 2, Sorted) + lists:nth(Count div 2 + 1, Sorted),
    #{
        <<"count">> => Count,
        <<"mean">> => Mean,
        <<"median">> => Middle / 2,
        <<"deviation">> => math:sqrt(Variance)
    }.

%%% the rest

-spec verse_as_json([binary()]) -> iolist().
verse_as_json([Book, Chapter, Verse, Text]) ->
    %% The corpus holds neither quotes nor backslashes nor control characters.
    [
        "{\"book\":\"", Book, "\",\"chapter\":", Chapter,
        ",\"verse\":", Verse, ",\"text\":\"", Text, "\"}"
    ].

-spec hex(0..15) -> char().
hex(Nibble) when Nibble < 10 -> $0 + Nibble;
hex(Nibble) -> $a + Nibble - 10.

-spec nfd_if_other(binary()) -> binary().
nfd_if_other(Character) ->
    case unicode:characters_to_nfd_binary(Character) of
        Character -> <<>>;
        Decomposed when is_binary(Decomposed) -> Decomposed
    end.

-spec add_fraction(binary(), {integer(), pos_integer()}) -> {integer(), pos_integer()}.
add_fraction(<<>>, Sum) ->
    Sum;
add_fraction(Text, {Top, Bottom}) ->
    {MoreTop, MoreBottom} =
        case binary:split(Text, <<"/">>) of
            [Whole] -> {binary_to_integer(Whole), 1};
            [A, B] -> {binary_to_integer(A), binary_to_integer(B)}
        end,
    NewTop = Top * MoreBottom + MoreTop * Bottom,
    NewBottom = Bottom * MoreBottom,
    Divisor = gcd(abs(NewTop), NewBottom),
    {NewTop div Divisor, NewBottom div Divisor}.

-spec gcd(non_neg_integer(), non_neg_integer()) -> non_neg_integer().
gcd(A, 0) -> A;
gcd(A, B) -> gcd(B, A rem B).

-spec soundex(binary()) -> binary().
soundex(<<First, Rest/binary>>) ->
    Digits = soundex(string:lowercase(Rest), soundex_digit(First + 32)),
    binary:part(<<First, (list_to_binary(Digits))/binary, "000">>, 0, 4).

-spec soundex(binary(), char()) -> string().
soundex(<<>>, _Last) ->
    [];
soundex(<<C, Rest/binary>>, Last) when C =:= $h; C =:= $w ->
    soundex(Rest, Last);
soundex(<<C, Rest/binary>>, Last) ->
    case soundex_digit(C) of
        $0 -> soundex(Rest, $0);
        Last -> soundex(Rest, Last);
        Digit -> [Digit | soundex(Rest, Digit)]
    end.

-spec soundex_digit(char()) -> char().
soundex_digit(C) ->
    %% a b c d e f g h i j k l m n o p q r s t u v w x y z
    lists:nth(C - $a + 1, "01230120022455012623010202").
