%% @doc Runs the program that makes a virtual environment ready (`erlang/_venv.py').
%%
%% In a process of its own, which ends with its caller, and the program with it. What is printed is
%% handed on line by line, and its end kept for the report of a failure.
%% @end
-module(py_venv_maker).

-export([run/1]).
%% the body of that process
-export([work/2]).

%% Bytes of the output that are kept, and of a line that are handed on as one.
-define(KEPT, 65536).
-define(MAX_LINE, 8192).

-type result() :: ok | {error, {exit_code, non_neg_integer(), binary()} | timeout | term()}.

-spec run(py_venv_options:plan()) -> result().
run(Plan) ->
    {Pid, Ref} = spawn_monitor(?MODULE, work, [self(), Plan]),
    receive
        {'DOWN', Ref, process, Pid, {made, Result}} -> Result;
        {'DOWN', Ref, process, Pid, Reason} -> {error, Reason}
    end.

-spec work(pid(), py_venv_options:plan()) -> no_return().
work(Caller, #{timeout := Timeout} = Plan) ->
    CallerDown = erlang:monitor(process, Caller),
    Timer =
        case Timeout of
            infinity -> make_ref();
            Ms -> erlang:start_timer(Ms, self(), venv)
        end,
    try open(Plan) of
        Port ->
            true = port_command(Port, [py_port_json:encode(order(Plan)), $\n]),
            exit({made, listen(Port, {CallerDown, Timer}, Plan, {<<>>, <<>>})})
    catch
        error:Reason -> exit({made, {error, {cannot_run, Reason}}})
    end.

-spec order(py_venv_options:plan()) -> map().
order(Plan) ->
    maps:with([path, stamp, force, uv, install], Plan).

-spec open(py_venv_options:plan()) -> port().
open(#{python := Resolved}) ->
    Script = filename:join([py_port_python:package(), "erlang", "_venv.py"]),
    {Program, First} =
        case Resolved of
            %% The worker knows the executable that it was built for, and can be it.
            #{executable := null, worker := Worker} -> {Worker, ["--python"]};
            #{executable := Executable} -> {Executable, []}
        end,
    open_port({spawn_executable, Program}, [
        {args, First ++ ["-I", Script]},
        {env, environment(Resolved)},
        {line, ?MAX_LINE},
        binary,
        exit_status,
        stderr_to_stdout,
        use_stdio
    ]).

-spec environment(py_port_python:resolved()) -> [{string(), string() | false}].
environment(Resolved) ->
    Unset = ["PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"],
    [{Name, false} || Name <- Unset] ++
        [
            {"PIP_DISABLE_PIP_VERSION_CHECK", "1"},
            {"PIP_NO_INPUT", "1"},
            {"PIP_PROGRESS_BAR", "off"},
            {"UV_NO_PROGRESS", "1"},
            {"PYTHONUNBUFFERED", "1"}
            | py_port_python:library_path(Resolved)
        ].

%% What was printed, and the beginning of a line that is longer than ?MAX_LINE.
-spec listen(port(), {reference(), reference()}, py_venv_options:plan(), {binary(), binary()}) ->
    result().
listen(Port, {CallerDown, Timer} = Ends, Plan, {Output, Begun}) ->
    receive
        {Port, {data, {noeol, Part}}} when byte_size(Begun) < ?KEPT ->
            listen(Port, Ends, Plan, {Output, <<Begun/binary, Part/binary>>});
        {Port, {data, {_, Part}}} ->
            Line = <<Begun/binary, Part/binary>>,
            ok = tell(Line, Plan),
            listen(Port, Ends, Plan, {kept(<<Output/binary, Line/binary, $\n>>), <<>>});
        {Port, {exit_status, 0}} ->
            ok;
        {Port, {exit_status, Status}} ->
            {error, {exit_code, Status, Output}};
        {timeout, Timer, venv} ->
            true = port_close(Port),
            {error, timeout};
        {'DOWN', CallerDown, process, _, _} ->
            true = port_close(Port),
            {error, caller_down}
    end.

-spec kept(binary()) -> binary().
kept(Output) when byte_size(Output) =< 2 * ?KEPT -> Output;
kept(Output) -> binary:copy(binary:part(Output, byte_size(Output), -?KEPT)).

-spec tell(binary(), py_venv_options:plan()) -> ok.
tell(Line, #{progress := To, path := Path}) when is_pid(To) ->
    _ = To ! {py_venv, Path, Line},
    ok;
tell(Line, #{progress := Fun}) when is_function(Fun) ->
    _ = Fun(Line),
    ok;
tell(_, _) ->
    ok.
