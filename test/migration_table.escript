#!/usr/bin/env escript
%% -*- erlang -*-
%% The table of docs/migration.md, made of test/erl/py_surface_SUITE_data/surface.eterm and written between two marker lines:
%%
%%   escript test/migration_table.escript                        writes it
%%   escript test/migration_table.escript --check                says whether it is the one that is there (status 1: it is not)
%%   escript test/migration_table.escript [--check] DATA PAGE    the same with other files
-mode(compile).

-define(BEGIN, <<"<!-- made by test/migration_table.escript: begin -->\n">>).
-define(END, <<"<!-- made by test/migration_table.escript: end -->\n">>).

main(["--check"]) -> main(["--check", data(), page()]);
main([]) -> main([data(), page()]);
main(["--check", Data, Page]) ->
    {_, Now, _} = split(Page),
    case made(Data) of
        Now -> ok;
        Table ->
            io:format("~ts: the table is not the one that ~ts gives~n~ts", [Page, Data, first_difference(Now, Table)]),
            halt(1)
    end;
main([Data, Page]) ->
    {Before, _, After} = split(Page),
    ok = file:write_file(Page, [Before, ?BEGIN, made(Data), ?END, After]).

data() -> filename:join([folder(), "erl", "py_surface_SUITE_data", "surface.eterm"]).
page() -> filename:join([filename:dirname(folder()), "docs", "migration.md"]).
folder() -> filename:dirname(filename:absname(escript:script_name())).

split(Page) ->
    {ok, Text} = file:read_file(Page),
    [Before, Rest] = binary:split(Text, ?BEGIN),
    [Table, After] = binary:split(Rest, ?END),
    {Before, Table, After}.

made(Data) ->
    {ok, Rows} = file:consult(Data),
    unicode:characters_to_binary(["| function | here | |\n| --- | --- | --- |\n", [line(Row) || Row <- Rows]]).

line({M, F, Arities, Verdict, Note}) ->
    Numbers = lists:join(",", [integer_to_list(A) || A <- Arities]),
    io_lib:format("| `~ts:~ts/~ts` | ~ts | ~ts |~n", [M, F, Numbers, verdict(Verdict), Note]).

verdict(same) -> "as before";
verdict(better) -> "as before, better";
verdict(adapted) -> "another meaning";
verdict(new) -> "new";
verdict(not_offered) -> "not offered".

first_difference(A, B) ->
    case [Pair || {X, Y} = Pair <- pairs(lines(A), lines(B)), X =/= Y] of
        [{Is, Should} | _] -> io_lib:format("it says:  ~ts~nmade is: ~ts~n", [Is, Should]);
        [] -> ""
    end.

lines(Text) -> binary:split(Text, <<"\n">>, [global]).

pairs([A | As], [B | Bs]) -> [{A, B} | pairs(As, Bs)];
pairs([A | As], []) -> [{A, <<>>} | pairs(As, [])];
pairs([], [B | Bs]) -> [{<<>>, B} | pairs([], Bs)];
pairs([], []) -> [].
