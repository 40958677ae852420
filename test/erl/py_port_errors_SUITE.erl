%% @doc What Python raises, as the caller sees it: the fields, the chain, the text that Python would print; and that nothing
%% that user code raises ends the worker.
%% @end
-module(py_port_errors_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-import(py_port_test, [ctx/1, context/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE).

init_per_testcase(_, Config) ->
    ok = py_port_test:start(),
    [{ctx, context(#{})} | Config].

end_per_testcase(_, Config) ->
    py_port_test:end_per_testcase(Config).

an_exception_tells_everything(Config) ->
    Error = raised(Config, raise_plain, []),
    ?assertMatch(
        #{type := <<"ValueError">>, module := <<"builtins">>, message := <<"plain text">>, cause := none, context := none, notes := []},
        Error
    ),
    #{traceback := [Frame]} = Error,
    #{file := File, line := Line, function := <<"raise_plain">>, source := <<"raise ValueError(\"plain text\")">>} = Frame,
    ?assertEqual(<<"probe_calls.py">>, filename:basename(File)),
    ?assert(Line > 100).

a_class_of_the_users_own_has_its_module(Config) ->
    ?assertMatch(
        #{type := <<"OurError">>, module := <<"probe_calls">>, message := <<"('mine', 7)">>},
        raised(Config, raise_ours, [])
    ).

the_chain_is_kept(Config) ->
    From = raised(Config, raise_from, []),
    ?assertMatch(#{type := <<"RuntimeError">>, cause := #{type := <<"KeyError">>, message := <<"'inner'">>}}, From),
    #{cause := #{traceback := [#{function := <<"raise_from">>}]}} = From,
    While = raised(Config, raise_while_handling, []),
    ?assertMatch(#{message := <<"second">>, cause := none, context := #{message := <<"'first'">>}}, While),
    ?assertMatch(#{message := <<"alone">>, cause := none, context := none}, raised(Config, raise_from_none, [])).

a_chain_that_goes_round_ends(Config) ->
    ?assertMatch(#{message := <<"a">>, context := #{message := <<"b">>, context := none}}, raised(Config, raise_cycle, [])).

notes_are_kept(Config) ->
    #{notes := Notes} = raised(Config, raise_with_notes, []),
    ?assertEqual([<<"first note">>, <<"second note">>], Notes).

the_frames_are_in_order(Config) ->
    #{traceback := Frames} = raised(Config, raise_through, [3]),
    ?assertEqual(lists:duplicate(4, <<"raise_through">>), [F || #{function := F} <- Frames]),
    #{source := Last} = lists:last(Frames),
    ?assertEqual(<<"raise ValueError(\"deep\")">>, Last).

a_syntax_error_shows_where(Config) ->
    {error, {python, #{type := <<"SyntaxError">>, formatted := Text}}} = py_port:eval(ctx(Config), "(1 ++)"),
    ?assertMatch({_, _}, binary:match(Text, <<"<eval>">>)),
    ?assertMatch({_, _}, binary:match(Text, <<"^">>)),
    ?assertMatch({error, {python, #{type := <<"IndentationError">>}}}, py_port:exec(ctx(Config), "if 1:\nx")).

what_would_end_python_ends_only_the_call(Config) ->
    Ctx = ctx(Config),
    OsPid = py_port_test:os_pid(Ctx),
    ?assertMatch(#{type := <<"SystemExit">>, message := <<"3">>}, raised(Config, raise_system_exit, [3])),
    ?assertMatch(#{type := <<"SystemExit">>}, raised(Config, raise_system_exit, [none])),
    ?assertMatch(#{type := <<"KeyboardInterrupt">>}, raised(Config, raise_keyboard_interrupt, [])),
    ?assertMatch(#{type := <<"RecursionError">>}, raised(Config, recurse, [])),
    [
        ?assertMatch({error, {python, #{type := Type}}}, py_port:eval(Ctx, Code))
     || {Type, Code} <- [
            {<<"SystemExit">>, "__import__('sys').exit(1)"},
            {<<"GeneratorExit">>, "(_ for _ in ()).throw(GeneratorExit)"},
            {<<"StopIteration">>, "next(iter([]))"},
            {<<"SystemExit">>, "quit()"}
        ]
    ],
    ?assertEqual({ok, OsPid}, py_port:call(Ctx, os, getpid, [])).

a_coroutine_that_exits_ends_only_itself(Config) ->
    Ctx = ctx(Config),
    ok = py_port:exec(Ctx, "async def leave(how):\n    raise how('x')\n"),
    [
        ?assertMatch({error, {python, #{type := Type}}}, py_port:eval(Ctx, ["leave(", Type, ")"]))
     || Type <- [<<"SystemExit">>, <<"KeyboardInterrupt">>, <<"ValueError">>]
    ],
    ?assertEqual({ok, 5}, py_port:call(Ctx, probe_calls, coroutine, [5])).

memory_that_runs_out_is_an_error_of_the_call(_Config) ->
    Ctx = context(#{limits => #{memory => 200 * 1024 * 1024}}),
    [
        ?assertMatch({error, {python, #{type := <<"MemoryError">>}}}, py_port:call(Ctx, probe_calls, too_much_memory, []))
     || _ <- [1, 2, 3]
    ],
    ?assertEqual({ok, 1}, py_port:eval(Ctx, "1")).

an_exception_that_cannot_be_shown_is_shown_as_python_does(Config) ->
    #{type := Type, message := Message} = raised(Config, raise_with_broken_str, []),
    ?assertMatch({_, _}, binary:match(Type, <<"Broken">>)),
    ?assertEqual(<<"<exception str() failed>">>, Message),
    #{message := Lone} = raised(Config, raise_surrogate, []),
    ?assertEqual(<<"lone \\ud800 half">>, Lone).

a_very_deep_traceback_and_a_long_message_are_cut(Config) ->
    Ctx = ctx(Config),
    {error, {python, #{traceback := Frames, formatted := Text}}} = py_port:call(Ctx, probe_calls, raise_through, [900]),
    ?assert(length(Frames) =< 100),
    ?assert(byte_size(Text) < 300000),
    {error, {python, #{message := Message}}} = py_port:exec(Ctx, "raise ValueError('ä' * 10**6)"),
    ?assert(byte_size(Message) =< 65536),
    ?assert(is_list(unicode:characters_to_list(Message))).

format_error_prints_what_python_prints(Config) ->
    Ctx = ctx(Config),
    {ok, Python} = py_port:eval(Ctx, "__import__('sys').executable"),
    Group = [raise_group || {ok, true} <- [py_port:eval(Ctx, "'ExceptionGroup' in dir(__import__('builtins'))")]],
    [
        begin
            {error, _} = Error = py_port:call(Ctx, probe_calls, Function, []),
            ?assertEqual(
                {Function, said_by(Python, Function)},
                {Function, py_port:format_error(Error)}
            ),
            ?assertEqual(py_port:format_error(Error), py_port:format_error(element(2, Error)))
        end
     || Function <- [raise_plain, raise_ours, raise_from, raise_while_handling, raise_from_none, raise_with_notes | Group]
    ].

every_reason_has_a_sentence(_Config) ->
    Reasons = [
        timeout, interrupted, overloaded, not_running, {worker_down, noproc}, {worker_down, stopped},
        {bad_reply, compressed}, {bad_term, <<"result[1]">>, <<"no counterpart">>}, {bad_ref, <<"it was released">>},
        {bad_argument, args, <<"must be a list">>}, {bad_option, name, <<"must be an atom">>}, {too_large, 10, 5},
        {something, [else]}, {worker_down, {node_down, there@host}}
    ],
    [
        begin
            Text = py_port:format_error(R),
            ?assert(is_binary(Text)),
            ?assert(byte_size(Text) > 10),
            ?assertEqual(Text, py_port:format_error({error, R}))
        end
     || R <- Reasons
    ].

%% Helpers -----------------------------------------------------------------------------------------------------------

raised(Config, Function, Args) ->
    {error, {python, Error}} = py_port:call(ctx(Config), probe_calls, Function, Args),
    Error.

%% The same function called by a Python that ends with the exception.
said_by(Python, Function) ->
    Code = ["import sys; sys.path.insert(0, sys.argv[1]); import probe_calls; probe_calls.", atom_to_list(Function), "()"],
    Port = open_port({spawn_executable, Python}, [
        {args, ["-c", Code, py_port_test:data_dir()]}, binary, stderr_to_stdout, exit_status
    ]),
    Text = collect(Port, <<>>),
    %% there the code given with -c is the outermost frame, a line in the plain text and in that of a group
    re:replace(Text, "^( *\\| |)  File \"<string>\", line 1, in <module>\n", "", [multiline, global, {return, binary}]).

collect(Port, Text) ->
    receive
        {Port, {data, More}} -> collect(Port, <<Text/binary, More/binary>>);
        {Port, {exit_status, 1}} -> Text
    end.
