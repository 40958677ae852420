%% @doc The snippets of the documents do what the documents say. One case is one page, read from top to bottom:
%%
%% <ul>
%% <li>its blocks of `python' are the module `demo', in the folder `python' of the current directory, on the lines that
%% they have in the page;</li>
%% <li>its blocks of `erlang' are evaluated one after the other with the variables of those before, so that every `='
%% is an assertion; a block that begins with `-module' is compiled and loaded, and one that defines functions without
%% a module is compiled.</li>
%% </ul>
%% What goes wrong is told with the page and the line. Blocks of `elixir' and `sh' are not run; other languages are
%% errors, lest a misspelt one be skipped.
%% @end
-module(py_port_docs_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-include_lib("common_test/include/ct.hrl").

-type block() :: {Language :: binary(), FirstLine :: pos_integer(), [unicode:chardata()]}.

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- [page, blocks, outside, python, restore].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    {ok, Dir} = file:get_cwd(),
    [{cwd, Dir} | Config].

end_per_suite(_Config) ->
    ok.

init_per_testcase(Case, Config) ->
    Dir = filename:join(filename:absname(?config(priv_dir, Config)), Case),
    ok = filelib:ensure_dir(filename:join([Dir, "python", "demo.py"])),
    ok = file:set_cwd(Dir),
    [{settings, settings()} | Config].

end_per_testcase(_Case, Config) ->
    ok = file:set_cwd(?config(cwd, Config)),
    _ = [ok = py_port:unregister_function(Name) || {Name, _} <- ets:tab2list(py_port_functions)],
    %% With it go the pools that a page has started, and what it has registered.
    ok = py_port_test:stop_all(),
    ok = application:stop(py_port),
    restore(?config(settings, Config)),
    ok = py_port_test:start(),
    py_port_test:end_per_testcase(Config).

%% A page may set what it speaks of; the next one, and the next suite, must not find it.
settings() -> [{App, lists:sort(application:get_all_env(App))} || App <- [py_port, erlang_python]].

restore(Before) ->
    _ = [application:unset_env(App, Key) || {App, Now} <- settings(), {Key, _} <- Now],
    _ = [application:set_env(App, Key, Value) || {App, Env} <- Before, {Key, Value} <- Env],
    ?assertEqual(Before, settings()).

%% The pages -----------------------------------------------------------------------------------------------------------

readme(_Config) -> page("README.md").
getting_started(_Config) -> page("docs/getting_started.md").
callbacks(_Config) -> page("docs/callbacks.md").
async(_Config) -> page("docs/async.md").
asyncio(_Config) -> page("docs/asyncio.md").
streams(_Config) -> page("docs/streams.md").
shared_data(_Config) -> page("docs/shared_data.md").
security(_Config) -> page("docs/security.md").
pools(_Config) -> page("docs/pools.md").
environments(_Config) -> page("docs/environments.md").
migration(_Config) -> page("docs/migration.md").
logging_and_tracing(_Config) -> page("docs/logging_and_tracing.md").
testing(_Config) -> page("docs/testing.md").

%% The harness itself: what is wrong in a page is found, and where.
a_snippet_that_does_not_match_fails(_Config) ->
    Text = <<"text\n```erlang\nA = 1,\nB = 2.\n3 = A + B.\n4 = A + B.\n```\n">>,
    ?assertError({"x.md", 6, error, {badmatch, 3}, _}, run("x.md", blocks(Text))).

a_snippet_that_is_no_erlang_fails(_Config) ->
    ?assertError({"x.md", 2, not_erlang, _}, run("x.md", blocks(<<"```erlang\nA = = 1.\n```\n">>))),
    ?assertError({"x.md", 2, not_erlang, _}, run("x.md", blocks(<<"```erlang\nA = 1\n```\n">>))),
    ?assertError(
        {"x.md", 2, not_erlang, _}, run("x.md", blocks(<<"```erlang\n-module(x).\n-export([f/0]).\n```\n">>))
    ).

a_misspelt_language_fails(_Config) ->
    ?assertError({"x.md", 2, unknown_language, _}, run("x.md", blocks(<<"```erlnag\nA = 1.\n```\n">>))).

a_page_without_a_snippet_fails(_Config) ->
    ?assertError({"x.md", no_snippets}, run("x.md", blocks(<<"text\n">>))).

a_block_that_does_not_end_fails(_Config) ->
    ?assertError({no_end_of_block, 1}, blocks(<<"```erlang\nA = 1.\n">>)).

python_keeps_its_lines(_Config) ->
    Text = <<"text\n```python\nx = 1\n```\ntext\n```python\ny = 2\n```\n">>,
    ?assertEqual(<<"\n\nx = 1\n\n\n\ny = 2\n">>, python(blocks(Text))).

%% Reading a page ------------------------------------------------------------------------------------------------------

-spec page(file:filename()) -> ok.
page(Name) ->
    Source = proplists:get_value(source, ?MODULE:module_info(compile)),
    Docs = py_port_test:find_up(filename:dirname(filename:absname(Source)), "docs"),
    {ok, Text} = file:read_file(filename:join(filename:dirname(Docs), Name)),
    Blocks = blocks(Text),
    ok = file:write_file("python/demo.py", python(Blocks)),
    %% What belongs to a process of the page (channels, contexts) ends with it.
    py_port_test:await(py_port_test:async(fun() -> run(Name, Blocks) end)).

%% The fenced blocks of a page.
-spec blocks(binary()) -> [block()].
blocks(Text) ->
    outside(lists:enumerate(binary:split(Text, <<"\n">>, [global]))).

-spec outside([{pos_integer(), binary()}]) -> [block()].
outside([]) ->
    [];
outside([{Number, <<"```", Language/binary>>} | Lines]) ->
    case lists:splitwith(fun({_, Line}) -> Line =/= <<"```">> end, Lines) of
        {_, []} -> error({no_end_of_block, Number});
        {Inside, [_ | Rest]} -> [{Language, Number + 1, [[Line, $\n] || {_, Line} <- Inside]} | outside(Rest)]
    end;
outside([_ | Lines]) ->
    outside(Lines).

%% What a page has of Python, each line where it is in the page: a traceback then names the line of the page.
-spec python([block()]) -> binary().
python(Blocks) ->
    {_, Lines} = lists:foldl(
        fun({_, First, Inside}, {Next, Acc}) ->
            {First + length(Inside), [Acc, lists:duplicate(First - Next, $\n), Inside]}
        end,
        {1, []},
        [Block || {<<"python">>, _, _} = Block <- Blocks]
    ),
    iolist_to_binary(Lines).

%% Running it ----------------------------------------------------------------------------------------------------------

-spec run(file:filename(), [block()]) -> ok.
run(Page, Blocks) ->
    Known = [<<"erlang">>, <<"python">>, <<"elixir">>, <<"sh">>],
    _ = [error({Page, Line, unknown_language, L}) || {L, Line, _} <- Blocks, not lists:member(L, Known)],
    case [{Line, unicode:characters_to_list(Text)} || {<<"erlang">>, Line, Text} <- Blocks] of
        [] -> error({Page, no_snippets});
        Snippets -> lists:foldl(fun(Snippet, Bindings) -> snippet(Page, Snippet, Bindings) end, [], Snippets)
    end,
    ok.

-spec snippet(file:filename(), {pos_integer(), string()}, erl_eval:bindings()) -> erl_eval:bindings().
snippet(Page, {Line, "-module(" ++ _ = Text}, Bindings) ->
    ok = load_module(Page, Line, Text),
    Bindings;
snippet(Page, {Line, Text}, Bindings) ->
    lists:foldl(fun(Part, Acc) -> part(Page, Part, Acc) end, Bindings, parts(Page, Line, tokens(Page, Line, Text))).

-spec tokens(file:filename(), pos_integer(), string()) -> [erl_scan:token()].
tokens(Page, Line, Text) ->
    case erl_scan:string(Text, Line) of
        {ok, Tokens, _} -> Tokens;
        {error, Why, _} -> error({Page, Line, not_erlang, Why})
    end.

%% Each part ends with its full stop.
-spec parts(file:filename(), pos_integer(), [erl_scan:token()]) -> [[erl_scan:token()]].
parts(_, _, []) ->
    [];
parts(Page, Line, Tokens) ->
    case lists:splitwith(fun(Token) -> element(1, Token) =/= dot end, Tokens) of
        {_, []} -> error({Page, Line, not_erlang, no_full_stop});
        {Part, [Dot | Rest]} -> [Part ++ [Dot] | parts(Page, Line, Rest)]
    end.

-spec part(file:filename(), [erl_scan:token()], erl_eval:bindings()) -> erl_eval:bindings().
part(Page, [First | _] = Tokens, Bindings) ->
    Line = erl_scan:line(First),
    case {erl_parse:parse_exprs(Tokens), erl_parse:parse_form(Tokens)} of
        {{ok, Expressions}, _} ->
            evaluate(Page, Line, Expressions, Bindings);
        {_, {ok, {function, _, Name, Arity, _} = Function}} ->
            Module = [{attribute, Line, module, snippet}, {attribute, Line, export, [{Name, Arity}]}, Function],
            _ = compiled(Page, Line, compile:forms(Module, [return])),
            Bindings;
        {{error, Why}, _} ->
            error({Page, Line, not_erlang, Why})
    end.

-spec evaluate(file:filename(), pos_integer(), [erl_parse:abstract_expr()], erl_eval:bindings()) ->
    erl_eval:bindings().
evaluate(Page, Line, Expressions, Bindings) ->
    ct:log("~ts:~b", [Page, Line]),
    try erl_eval:exprs(Expressions, Bindings) of
        {value, _, Next} -> Next
    catch
        Class:Reason:Stack -> error({Page, Line, Class, Reason, Stack})
    end.

%% On the lines that it has in the page, too.
-spec load_module(file:filename(), pos_integer(), string()) -> ok.
load_module(Page, Line, Text) ->
    [_, Name | _] = string:lexemes(Text, "()"),
    ok = file:write_file(Name ++ ".erl", unicode:characters_to_binary([lists:duplicate(Line - 1, $\n), Text])),
    {Module, Code} = compiled(Page, Line, compile:file(Name, [binary, return])),
    {module, Module} = code:load_binary(Module, Page, Code),
    ok.

-spec compiled(file:filename(), pos_integer(), tuple()) -> {module(), binary()}.
compiled(_, _, {ok, Module, Code, []}) -> {Module, Code};
compiled(Page, Line, {ok, _, _, Warnings}) -> error({Page, Line, not_erlang, Warnings});
compiled(Page, Line, {error, Errors, Warnings}) -> error({Page, Line, not_erlang, Errors ++ Warnings}).
