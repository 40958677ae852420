#!/usr/bin/env escript
%% -*- erlang -*-
%%! -pa _build/test/lib/py_port/ebin
%% Runs the properties of one module: `escript test/proper.escript prop_etf'. Every exported prop_NAME/0 is one case;
%% an exported prop_NAME/1 is asked for `opts' and may return PropEr options of that property, {numtests, 500} and the like.
%% Helper modules beside it (not suites, not properties) are compiled with it. PROPER_NUMTESTS overrides the default of 200.
-mode(compile).

main([Name]) ->
    case code:which(proper) of
        non_existing ->
            io:format("skipped: no proper~n");
        _ ->
            Module = list_to_atom(Name),
            ok = compile_all(Name),
            {ok, _} = application:ensure_all_started(py_port),
            {Passed, Failed} = lists:partition(fun(Property) -> check(Module, Property) end, properties(Module)),
            io:format("properties: ~b passed, ~b failed~n", [length(Passed), length(Failed)]),
            halt(case {Passed, Failed} of {[_ | _], []} -> 0; _ -> 1 end)
    end.

compile_all(Name) ->
    Helpers = [F || F <- filelib:wildcard("test/erl/*.erl") ++ filelib:wildcard("test/erl/support/*.erl"), not is_test(filename:basename(F, ".erl"))],
    lists:foreach(fun compile/1, Helpers ++ [filename:join("test/erl", Name ++ ".erl")]).

is_test(Base) -> lists:suffix("_SUITE", Base) orelse lists:prefix("prop_", Base).

compile(File) ->
    Options = [binary, return_errors, report, debug_info, nowarn_export_all, {i, "erl_src"}, {i, "test/erl"}, {i, "test/erl/support"}],
    case compile:file(File, Options) of
        {ok, Module, Beam} -> {module, Module} = code:load_binary(Module, File, Beam), ok;
        {error, _, _} -> io:format("does not compile: ~s~n", [File]), halt(1)
    end.

properties(Module) ->
    lists:sort([F || {F, 0} <- Module:module_info(exports), lists:prefix("prop_", atom_to_list(F))]).

check(Module, Property) ->
    Runs = list_to_integer(os:getenv("PROPER_NUMTESTS", "200")),
    Own = case erlang:function_exported(Module, Property, 1) of true -> Module:Property(opts); false -> [] end,
    io:format("~s:~s~n", [Module, Property]),
    case proper:quickcheck(Module:Property(), Own ++ [{numtests, Runs} || not lists:keymember(numtests, 1, Own)]) of
        true -> true;
        Other -> io:format("FAILED ~s:~s: ~p~n", [Module, Property, Other]), false
    end.
