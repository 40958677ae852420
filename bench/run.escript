#!/usr/bin/env escript
%% -*- erlang -*-
%%! -pa _build/default/lib/py_port/ebin
%% Measures py_port: `make bench', or escript bench/run.escript [--quick] [--only QUESTION[,QUESTION]] [--python PATH] [--spin US]
%% [--bridge NAME:EBIN]... from the project's folder, after `rebar3 compile'.
%%
%% Prints a table per question, the goals at the end, and writes bench/results/local-TIME.json. bench/README.md says how to read it.
-mode(compile).

questions() -> [empty_call, throughput, terms, callback, async, streams, channels, start, pool, idle, bridges].

main(Arguments) ->
    Root = filename:dirname(filename:dirname(filename:absname(escript:script_name()))),
    ok = file:set_cwd(Root),
    Given = parse(Arguments, #{quick => false, only => questions(), python => none, spin => default, bridges => []}),
    true = code:add_patha(filename:join(Root, "_build/default/lib/py_port/ebin")),
    ok = compile_all(),
    case application:ensure_all_started(py_port) of
        {ok, _} -> ok;
        {error, Why} -> stop("py_port does not start (was it compiled? rebar3 compile): ~p", [Why])
    end,
    Env = environment(Root, Given),
    io:format("~ts~n~n", [headline(Env)]),
    Rows = lists:append([ask(Question, Env) || Question <- questions(), lists:member(Question, maps:get(only, Given))]),
    {Table, Goals} = bench_report:goals(Rows),
    io:format("~ts~n", [Table]),
    File = write(Env, Rows, Goals),
    io:format("written to ~ts~n", [File]).

ask(Question, Env) ->
    Module = list_to_atom("bench_" ++ atom_to_list(Question)),
    case bench_report:with_ratios(Module:run(Env)) of
        [] -> [];
        Rows ->
            io:format("~ts~n", [bench_report:table(Rows)]),
            Rows
    end.

parse([], Given) -> Given;
parse(["--quick" | Rest], Given) -> parse(Rest, Given#{quick := true});
parse(["--only", List | Rest], Given) ->
    Wanted = [list_to_atom(Name) || Name <- string:lexemes(List, ",")],
    Wanted -- questions() =:= [] orelse stop("no such question in ~s; there are ~p", [List, questions()]),
    parse(Rest, Given#{only := Wanted});
parse(["--python", Path | Rest], Given) -> parse(Rest, Given#{python := Path});
parse(["--spin", Micros | Rest], Given) -> parse(Rest, Given#{spin := list_to_integer(Micros)});
parse(["--bridge", Bridge | Rest], #{bridges := Bridges} = Given) ->
    case string:split(Bridge, ":") of
        [Name, Path] when Name =:= "erlang_python"; Name =:= "erlport" ->
            parse(Rest, Given#{bridges := Bridges ++ [{list_to_atom(Name), Path}]});
        _ ->
            stop("--bridge wants erlang_python:EBIN or erlport:EBIN, not ~s", [Bridge])
    end;
parse([Other | _], _) ->
    stop("unknown argument ~s; see the head of bench/run.escript", [Other]).

stop(Format, Arguments) ->
    io:format(standard_error, "bench: " ++ Format ++ "~n", Arguments),
    halt(1).

compile_all() ->
    lists:foreach(fun(File) ->
        case compile:file(File, [binary, report, nowarn_missing_spec]) of
            {ok, Module, Beam} -> {module, Module} = code:load_binary(Module, File, Beam);
            _ -> stop("~s does not compile", [File])
        end
    end, filelib:wildcard("bench/*.erl")).

environment(Root, #{python := Python, spin := Spin} = Given) ->
    Path = #{path => [unicode:characters_to_binary(filename:join(Root, "bench/python"))]},
    WithPython = case Python of none -> Path; _ -> Path#{python => unicode:characters_to_binary(Python)} end,
    Context = case Spin of default -> WithPython; _ -> WithPython#{spin => Spin} end,
    {ok, Probe} = py_port:start_context(Context),
    {ok, Executable} = py_port:eval(Probe, <<"__import__('sys').executable">>),
    {ok, Version} = py_port:eval(Probe, <<"__import__('platform').python_version()">>),
    ok = py_port:stop_context(Probe),
    %% 50 us is what a context does when nothing else is said.
    Given#{root => Root, context => Context, spin := case Spin of default -> 50; _ -> Spin end,
           echo => echo_program(), python := unicode:characters_to_list(Executable), python_version => Version}.

echo_program() ->
    Commands = ["cmake -S . -B build/bench -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPYW_WORKER=OFF -DPYW_BENCH=ON",
                "cmake --build build/bench --target py_port_echo"],
    lists:foreach(fun(Command) ->
        case command(Command) of
            {0, _} -> ok;
            {_, Output} -> stop("~ts~nfailed: ~s", [Output, Command])
        end
    end, Commands),
    filename:absname("build/bench/py_port_echo").

command(Command) ->
    Port = open_port({spawn, "sh -c '" ++ Command ++ " 2>&1'"}, [exit_status, binary]),
    command_output(Port, []).

command_output(Port, Output) ->
    receive
        {Port, {data, Data}} -> command_output(Port, [Output, Data]);
        {Port, {exit_status, Status}} -> {Status, string:trim(unicode:characters_to_binary(Output))}
    end.

headline(Env) ->
    #{machine := #{cpu := Cpu, cores := Cores}, versions := #{otp := Otp, python := Python}, commit := Commit} = about(Env),
    io_lib:format("~ts, ~b cores; OTP ~ts, CPython ~ts; commit ~ts; spin ~b us~s",
                  [Cpu, Cores, Otp, Python, Commit, maps:get(spin, Env), case Env of #{quick := true} -> "; a quick look: not for comparisons"; _ -> "" end]).

about(#{python_version := Python, spin := Spin, quick := Quick}) ->
    {ok, Version} = application:get_key(py_port, vsn),
    #{commit => commit(), quick => Quick, spin_us => Spin,
      machine => #{cpu => cpu(), cores => erlang:system_info(logical_processors_available),
                   kernel => element(2, command("uname -sr")), memory_kb => memory()},
      versions => #{otp => otp(), python => Python, py_port => list_to_binary(Version)},
      time => list_to_binary(calendar:system_time_to_rfc3339(erlang:system_time(second), [{offset, "Z"}]))}.

commit() ->
    case command("git describe --always --dirty --abbrev=12") of
        {0, Commit} -> Commit;
        _ -> <<"unknown">>
    end.

otp() ->
    Release = erlang:system_info(otp_release),
    case file:read_file(filename:join([code:root_dir(), "releases", Release, "OTP_VERSION"])) of
        {ok, Version} -> string:trim(Version);
        {error, _} -> list_to_binary(Release)
    end.

cpu() -> field("/proc/cpuinfo", "^model name\\s*:\\s*(.*)$", <<"unknown">>).
memory() -> binary_to_integer(field("/proc/meminfo", "^MemTotal:\\s*(\\d+)", <<"0">>)).

field(File, Pattern, Default) ->
    {ok, Text} = file:read_file(File),
    case re:run(Text, Pattern, [multiline, {capture, all_but_first, binary}]) of
        {match, [Value]} -> Value;
        nomatch -> Default
    end.

write(Env, Rows, Goals) ->
    #{time := Time} = About = about(Env),
    File = "bench/results/local-" ++ [C || <<C>> <= Time, C =/= $:] ++ ".json",
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, [bench_report:json(About#{rows => Rows, goals => Goals}), "\n"]),
    File.
