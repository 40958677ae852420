%% @doc Error terms as users of erlang_python match on them. No worker is started: every reason of py_port is written down
%% here and translated.
-module(py_errors_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {seconds, 30}}].

all() -> py_port_test:cases(?MODULE) -- [python, bad_term, compat].

init_per_suite(Config) ->
    _ = application:load(py_port),
    Config.

end_per_suite(_Config) -> ok.

end_per_testcase(_Case, _Config) ->
    [ok = application:unset_env(App, Key) || App <- [py_port, erlang_python], Key <- [compat, error_details]],
    ok.

python(Type, Message) ->
    {python, #{
        type => Type, module => <<"app">>, message => Message, traceback => [], cause => none, context => none,
        notes => [], formatted => <<Type/binary, ": ", Message/binary>>
    }}.

compat(Version) -> application:set_env(py_port, compat, Version).

%% Classes ---------------------------------------------------------------------------------------------------------------

the_class_is_a_string_at_2_0(_Config) ->
    ?assertEqual({"ValueError", "no"}, py_errors:reason(python(<<"ValueError">>, <<"no">>))).

the_class_is_an_atom_at_4_1(_Config) ->
    ok = compat('4.1'),
    ?assertEqual({'ValueError', "no"}, py_errors:reason(python(<<"ValueError">>, <<"no">>))).

a_class_that_is_no_atom_stays_a_string_at_4_1(_Config) ->
    ok = compat('4.1'),
    Name = "Unheard" ++ "Of" ++ integer_to_list(erlang:unique_integer([positive])) ++ "Error",
    ?assertEqual({Name, "no"}, py_errors:reason(python(list_to_binary(Name), <<"no">>))),
    ?assertError(badarg, list_to_existing_atom(Name)).

every_exception_of_python_is_an_atom_at_4_1(_Config) ->
    ok = compat('4.1'),
    [?assertMatch({E, "x"}, py_errors:reason(python(atom_to_binary(E), <<"x">>)))
     || E <- py_errors:own_exceptions() -- ['StopIteration', 'KeyboardInterrupt']].

the_key_may_stand_under_the_name_of_erlang_python(_Config) ->
    ok = application:set_env(erlang_python, compat, '4.1'),
    ?assertEqual({'ValueError', "no"}, py_errors:reason(python(<<"ValueError">>, <<"no">>))).

another_value_of_compat_is_named(_Config) ->
    ok = compat('3.0'),
    ?assertError({bad_setting, compat, '3.0'}, py_errors:reason(python(<<"ValueError">>, <<"no">>))).

%% Messages --------------------------------------------------------------------------------------------------------------

a_message_holds_characters_and_not_the_bytes_of_utf8(_Config) ->
    ?assertEqual({"ValueError", [16#e9, 16#4e2d]}, py_errors:reason(python(<<"ValueError">>, <<"é中"/utf8>>))).

a_class_holds_characters_too(_Config) ->
    ?assertEqual({[16#c9, $r, $r], ""}, py_errors:reason(python(<<"Érr"/utf8>>, <<>>))).

an_empty_message_is_an_empty_list(_Config) ->
    ?assertEqual({"ValueError", []}, py_errors:reason(python(<<"ValueError">>, <<>>))).

a_message_that_is_no_utf8_is_returned_all_the_same(_Config) ->
    ?assertEqual({"ValueError", [$a, 16#fffd, $b]}, py_errors:reason(python(<<"ValueError">>, <<$a, 255, $b>>))),
    ?assertEqual({"ValueError", [$a, 16#fffd]}, py_errors:reason(python(<<"ValueError">>, <<$a, 16#c3>>))).

%% Special classes ---------------------------------------------------------------------------------------------------------

stop_iteration_has_a_form_of_its_own(_Config) ->
    ?assertEqual({stop_iteration, none}, py_errors:reason(python(<<"StopIteration">>, <<>>))),
    ?assertEqual({stop_iteration, "5"}, py_errors:reason(python(<<"StopIteration">>, <<"5">>))).

a_keyboard_interrupt_is_interrupted_at_4_1_alone(_Config) ->
    Raised = python(<<"KeyboardInterrupt">>, <<>>),
    ?assertEqual({"KeyboardInterrupt", []}, py_errors:reason(Raised)),
    ok = compat('4.1'),
    ?assertEqual(interrupted, py_errors:reason(Raised)).

a_value_that_cannot_cross_is_a_type_error_that_names_it(_Config) ->
    ?assertEqual({"TypeError", "args[0].k: a port"}, py_errors:reason({bad_term, <<"args[0].k">>, <<"a port">>})).

a_lone_surrogate_is_a_unicode_encode_error(_Config) ->
    ?assertMatch({"UnicodeEncodeError", "result: " ++ _}, py_errors:reason({bad_term, <<"result">>, <<"a str with a lone surrogate">>})).

a_value_that_is_nested_too_deep_is_a_recursion_error(_Config) ->
    ?assertMatch({"RecursionError", "result: " ++ _}, py_errors:reason({bad_term, <<"result">>, <<"nested deeper than 512 levels">>})).

a_keyword_that_is_no_text_is_a_type_error(_Config) ->
    ?assertEqual({"TypeError", "keywords must be strings"},
                 py_errors:reason({bad_request, <<"a keyword is no atom, binary or string">>})).

%% A worker may send as much as fits into a frame.
long_texts_are_cut(_Config) ->
    Long = binary:copy(<<"ä"/utf8>>, 1000000),
    {error, {Class, Message}} = py_errors:result({error, {python, #{type => <<"x.", Long/binary>>, message => Long}}}),
    ?assert(length(Class) =< 4096),
    ?assertEqual(lists:duplicate(32768, $ä) ++ "...", Message),
    Invalid = binary:copy(<<255>>, 1000000),
    {error, {"", Marks}} = py_errors:result({error, {python, #{type => binary:copy(<<".">>, 1000000), message => Invalid}}}),
    ?assertEqual(65536 + 3, length(Marks)).

a_class_within_a_class_has_its_own_name(_Config) ->
    ?assertEqual({"Inner", "x"}, py_errors:reason(python(<<"f.<locals>.Outer.Inner">>, <<"x">>))).

calls_that_nest_too_deep_are_a_recursion_error(_Config) ->
    ?assertMatch({"RecursionError", _}, py_errors:reason({nesting_too_deep, 100})).

%% Reasons of py_port ------------------------------------------------------------------------------------------------------

the_end_of_a_context_says_why(_Config) ->
    ?assertEqual({context_died, noproc}, py_errors:reason({worker_down, noproc})),
    ?assertEqual({context_died, {worker_killed, sigsegv, #{}}}, py_errors:reason({worker_down, {worker_killed, sigsegv, #{}}})).

arguments_that_are_no_list_are_invalid_args(_Config) ->
    [?assertEqual(invalid_args, py_errors:reason({bad_argument, Which, <<"no">>})) || Which <- [args, kwargs, locals]],
    ?assertMatch({bad_argument, module, _}, py_errors:reason({bad_argument, module, <<"no">>})).

references_that_are_not_valid_are_invalid_ref(_Config) ->
    ?assertEqual(invalid_ref, py_errors:reason({bad_ref, <<"released">>})),
    ?assertEqual(invalid_ref, py_errors:reason({bad_argument, ref, <<"is not a reference">>})).

what_has_no_other_name_is_unchanged(_Config) ->
    [?assertEqual(R, py_errors:reason(R))
     || R <- [timeout, interrupted, cancelled, overloaded, {overloaded, 3, 3}, not_started, {too_large, 9, 8}, {no_such_pool, p},
              {bad_reply, compressed}, {bad_term, made, up}, {python, not_a_map}]].

translating_twice_does_no_harm(_Config) ->
    [?assertEqual(py_errors:reason(R), py_errors:reason(py_errors:reason(R)))
     || R <- [python(<<"KeyError">>, <<"'k'">>), {worker_down, noproc}, {bad_ref, <<"no">>}, {bad_term, <<"a">>, <<"b">>}]].

only_errors_are_translated(_Config) ->
    ?assertEqual({ok, {worker_down, noproc}}, py_errors:result({ok, {worker_down, noproc}})),
    ?assertEqual(ok, py_errors:result(ok)),
    ?assertEqual({error, {context_died, noproc}}, py_errors:result({error, {worker_down, noproc}})).

%% Details -----------------------------------------------------------------------------------------------------------------

nothing_is_lost_with_error_details(_Config) ->
    ok = application:set_env(py_port, error_details, true),
    Full = python(<<"KeyError">>, <<"'k'">>),
    ?assertEqual({"KeyError", "'k'", Full}, py_errors:reason(Full)),
    Ref = {bad_ref, <<"it was released">>},
    ?assertEqual({invalid_ref, Ref}, py_errors:reason(Ref)),
    Args = {bad_argument, args, <<"must be a proper list">>},
    ?assertEqual({invalid_args, Args}, py_errors:reason(Args)),
    Stop = python(<<"StopIteration">>, <<>>),
    ?assertEqual({stop_iteration, none, Stop}, py_errors:reason(Stop)),
    ?assertEqual(timeout, py_errors:reason(timeout)).

every_form_has_a_sentence(_Config) ->
    Reasons = [
        python(<<"KeyError">>, <<"é"/utf8>>), {bad_ref, <<"gone">>}, {bad_argument, args, <<"no list">>}, {nesting_too_deep, 100},
        {worker_down, noproc}, {bad_term, <<"args[0]">>, <<"a port">>}, python(<<"StopIteration">>, <<>>), python(<<"StopIteration">>, <<"5">>)
    ],
    [?assertMatch(<<_, _/binary>>, py_errors:format({error, py_errors:reason(R)})) || R <- Reasons],
    ?assertEqual(<<"KeyError: é"/utf8>>, py_errors:format(py_errors:reason(hd(Reasons)))),
    ok = application:set_env(py_port, error_details, true),
    ?assertEqual(<<"KeyError: é"/utf8>>, py_errors:format(py_errors:reason(hd(Reasons)))),
    [?assertMatch(<<_, _/binary>>, py_errors:format({error, py_errors:reason(R)})) || R <- Reasons],
    ?assertMatch(<<_, _/binary>>, py_errors:format({'KeyError', [not_text]})),
    ?assertMatch(<<_, _/binary>>, py_errors:format({overloaded, 3, 3})),
    ?assertMatch(<<_, _/binary>>, py_errors:format({no_such_pool, p})).
