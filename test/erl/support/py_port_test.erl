%% @doc What the suites share: starting the application and contexts, facts of the operating system, and the bill on the
%% way out.
%%
%% Every context of a suite is started with {@link start_context/1}, which writes down the processes behind it. A suite
%% calls {@link stop_all/0} and {@link check_clean/0} in `end_per_testcase': what a test leaves behind is then found in
%% the test that left it.
%%
%% {@link wait_until/2} is for facts of the operating system alone, of which nobody sends a message.
%% @end
-module(py_port_test).

-export([start/0, start_context/1, stop_all/0, check_clean/0, data_dir/0, end_per_testcase/1, cases/1]).
-export([stop_flows/0]).
-export([context/1, ctx/1, in_flight/1, marker/2, await_file/1]).
-export([async/1, await/1, kill/1, evaluate/1, through_python/1]).
-export([distribute/0]).
-export([find_up/2, wait_until/2, os_alive/1, children/1, descendants/1, os_pid/1, flush/0]).
-export([catch_logs/1, release_logs/1, await_log/0, message/1, python_of/1]).
-export([await_line/1, device/1]).
%% logger handler
-export([log/2]).

-define(SEEN, py_port_test_seen).

%% Application and contexts ------------------------------------------------------------------------------------------

-spec start() -> ok.
start() ->
    ok = keep_table(),
    {ok, _} = application:ensure_all_started(py_port),
    ok.

%% @doc A context linked to the caller (`link => false' is up to the options); fails loudly when it does not start.
-spec start_context(map()) -> pid().
start_context(Options) ->
    ok = start(),
    case py_port:start_context(Options) of
        {ok, Ctx} ->
            #{os_pid := Worker, launcher_pid := Launcher} = py_port:info(Ctx),
            %% One that was killed meanwhile has left already.
            true = ets:insert(?SEEN, [{Pid, Since} || Pid <- [Worker, Launcher], Since <- [start_time(Pid)], Since =/= gone]),
            Ctx;
        {error, Reason} ->
            error({context_not_started, py_port:format_error(Reason), Reason})
    end.

%% @doc A context that finds the Python modules of the tests.
-spec context(map()) -> pid().
context(Options) ->
    start_context(Options#{path => [data_dir() | maps:get(path, Options, [])]}).

%% @doc The context that `init_per_testcase' started.
-spec ctx([tuple()]) -> pid().
ctx(Config) ->
    proplists:get_value(ctx, Config).

-spec in_flight(pid()) -> non_neg_integer().
in_flight(Ctx) ->
    #{in_flight := N} = py_port:info(Ctx),
    N.

%% @doc Every exported function of arity 1 is a test case: none can be forgotten in a list.
-spec cases(module()) -> [atom()].
cases(Suite) ->
    Fixtures = [init_per_suite, end_per_suite, init_per_group, end_per_group, module_info, init],
    [F || {F, 1} <- Suite:module_info(exports), not lists:member(F, Fixtures)].

%% @doc A file of this test that Python makes to say that it has come so far.
-spec marker([tuple()], string()) -> binary().
marker(Config, Name) ->
    Dir = filename:absname(proplists:get_value(priv_dir, Config)),
    Unique = Name ++ "-" ++ integer_to_list(erlang:unique_integer([positive])),
    unicode:characters_to_binary(filename:join(Dir, Unique)).

%% @doc Waits until the file is there; a minute is for a machine that is very busy.
-spec await_file(binary()) -> ok.
await_file(Path) ->
    case wait_until(fun() -> filelib:is_file(Path) end, 60000) of
        true -> ok;
        false -> error({never_came, Path})
    end.

%% @doc Ends every context of this node, whoever started it; pools first, for they would start new ones.
-spec stop_all() -> ok.
stop_all() ->
    lists:foreach(fun py_context_router:stop_pool/1, py_pool:pools()),
    lists:foreach(
        fun(Ctx) ->
            true = unlink(Ctx),
            ok = py_port:stop_context(Ctx, 0)
        end,
        py_port:contexts()
    ).

%% @doc Ends channels, buffers and dictionaries whose owner, the test, lives. Some may be ending by themselves.
-spec stop_flows() -> ok.
stop_flows() ->
    Children = [Pid || {_, Pid, _, _} <- supervisor:which_children(py_port_flow_sup)],
    lists:foreach(fun(Pid) -> supervisor:terminate_child(py_port_flow_sup, Pid) end, Children).

%% @doc For suites whose tests need nothing else: ends what is left, then checks that nothing is.
-spec end_per_testcase(term()) -> ok.
end_per_testcase(_Config) ->
    ok = stop_all(),
    check_clean().

%% @doc Fails and names what is left: contexts, processes of py_port, tables, ports, operating-system processes,
%% monitors and messages of the caller.
-spec check_clean() -> ok.
check_clean() ->
    _ = wait_until(fun() -> leftovers() =:= [] end, 10000),
    case leftovers() of
        [] ->
            true = ets:delete_all_objects(?SEEN),
            ok;
        Left ->
            %% The next test is not to be blamed for it.
            true = ets:delete_all_objects(?SEEN),
            error({left_behind, Left})
    end.

-spec leftovers() -> [{atom(), term()}].
leftovers() ->
    All = [
        {contexts, py_port:contexts()},
        {processes, [P || P <- erlang:processes(), is_ours(P)]},
        {tables, [
            T
         || T <- ets:all(),
            lists:member(ets:info(T, name), [
                py_port_requests, py_port_callers, py_port_funs, py_port_granted, py_port_given
            ])
        ]},
        {ports, [P || P <- erlang:ports(), is_launcher(erlang:port_info(P, name))]},
        {os_processes, [Pid || {Pid, Since} <- ets:tab2list(?SEEN), start_time(Pid) =:= Since]},
        {monitors, element(2, erlang:process_info(self(), monitors))},
        {registry, registry_monitors()},
        {jobs, jobs()}
    ],
    [Left || {_, What} = Left <- All, What =/= []].

-spec is_ours(pid()) -> boolean().
is_ours(Pid) ->
    case proc_lib:translate_initial_call(Pid) of
        {py_port_context, _, _} -> true;
        {py_port_io, _, _} -> true;
        {py_port_writer, _, _} -> true;
        {py_port_job, _, _} -> true;
        {py_port_fifo, _, _} -> true;
        {py_port_stream_reader, _, _} -> true;
        {py_shared_dict, _, _} -> true;
        {py_port_courier, _, _} -> true;
        _ -> false
    end.

-spec is_launcher(term()) -> boolean().
is_launcher({name, Name}) -> string:find(Name, "py_launcher") =/= nomatch;
is_launcher(_) -> false.

-spec registry_monitors() -> [term()].
registry_monitors() ->
    case whereis(py_port_registry) of
        undefined -> [];
        Registry -> element(2, erlang:process_info(Registry, monitors))
    end.

%% What runs for Python.
-spec jobs() -> [tuple()].
jobs() ->
    case ets:whereis(py_port_jobs) of
        undefined -> [];
        Table -> ets:tab2list(Table)
    end.

%% The table lives as long as the node: suites of one run share it.
-spec keep_table() -> ok.
keep_table() ->
    Self = self(),
    {Pid, Ref} = spawn_monitor(fun() ->
        try ets:new(?SEEN, [named_table, public]) of
            ?SEEN ->
                Self ! {self(), ready},
                receive
                    stop -> ok
                end
        catch
            error:badarg -> Self ! {self(), ready}
        end
    end),
    receive
        {Pid, ready} ->
            true = erlang:demonitor(Ref, [flush]),
            ok;
        {'DOWN', Ref, process, Pid, Reason} ->
            error(Reason)
    end.

%% @doc Python modules for the tests.
-spec data_dir() -> file:filename().
data_dir() ->
    Source = proplists:get_value(source, ?MODULE:module_info(compile)),
    find_up(filename:dirname(filename:absname(Source)), "data").

-spec find_up(file:filename(), string()) -> file:filename().
find_up(Dir, Name) ->
    case filelib:is_dir(filename:join(Dir, Name)) of
        true -> filename:join(Dir, Name);
        false when Dir =/= "/" -> find_up(filename:dirname(Dir), Name)
    end.

%% Terms -------------------------------------------------------------------------------------------------------------

%% @doc The term that Erlang source text stands for.
-spec evaluate(string()) -> term().
evaluate(Source) ->
    {ok, Tokens, _} = erl_scan:string(Source ++ "."),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, Term, _} = erl_eval:exprs(Expressions, []),
    Term.

%% @doc What a term is after a trip through a context with `atoms => atom' and `binaries => bytes': itself, but for the
%% three atoms that all are Python's `None' and for `{bytes, B}'.
-spec through_python(term()) -> term().
through_python(A) when A =:= nil; A =:= undefined -> none;
through_python({bytes, B}) when is_binary(B) -> B;
through_python([H | T]) -> [through_python(H) | through_python(T)];
through_python(T) when is_tuple(T) -> list_to_tuple(through_python(tuple_to_list(T)));
through_python(M) when is_map(M) ->
    maps:from_list([{through_python(K), through_python(V)} || {K, V} <- maps:to_list(M)]);
through_python(T) -> T.

%% Other callers -----------------------------------------------------------------------------------------------------

%% @doc Runs the fun in a process of its own; {@link await/1} gives its result, or the error that ended it.
-spec async(fun(() -> term())) -> {pid(), reference()}.
async(Fun) ->
    spawn_monitor(fun() -> exit({result, Fun()}) end).

-spec await({pid(), reference()}) -> term().
await({Pid, Ref}) ->
    receive
        {'DOWN', Ref, process, Pid, {result, Result}} -> Result;
        {'DOWN', Ref, process, Pid, Reason} -> error(Reason)
    after 120000 -> error(no_answer)
    end.

-spec kill({pid(), reference()}) -> ok.
kill({Pid, Ref}) ->
    true = exit(Pid, kill),
    receive
        {'DOWN', Ref, process, Pid, _} -> ok
    end.

%% The operating system ----------------------------------------------------------------------------------------------

%% @doc True as soon as the fun says so, false when it has not within so many ms.
-spec wait_until(fun(() -> boolean()), non_neg_integer()) -> boolean().
wait_until(Fun, Ms) ->
    wait_until_time(Fun, erlang:monotonic_time(millisecond) + Ms).

-spec wait_until_time(fun(() -> boolean()), integer()) -> boolean().
wait_until_time(Fun, End) ->
    case Fun() of
        true ->
            true;
        false ->
            case erlang:monotonic_time(millisecond) < End of
                %% sleep-ok: the operating system announces nothing of this
                true -> timer:sleep(10), wait_until_time(Fun, End);
                false -> false
            end
    end.

-spec os_pid(pid()) -> pos_integer().
os_pid(Ctx) ->
    #{os_pid := Pid} = py_port:info(Ctx),
    Pid.

%% @doc A zombie is not alive: it runs nothing and holds nothing.
-spec os_alive(non_neg_integer()) -> boolean().
os_alive(Pid) ->
    case py_port_proc:stat(Pid) of
        {ok, #{state := State}} -> State =/= $Z andalso State =/= $X;
        error -> false
    end.

-spec start_time(non_neg_integer()) -> non_neg_integer() | gone.
start_time(Pid) ->
    case py_port_proc:stat(Pid) of
        {ok, #{state := State, start_time := Time}} when State =/= $Z, State =/= $X -> Time;
        _ -> gone
    end.

%% @doc The live processes whose parent this one is.
-spec children(non_neg_integer()) -> [pos_integer()].
children(Pid) ->
    [Child || {Child, Parent} <- parents(), Parent =:= Pid, os_alive(Child)].

-spec descendants(non_neg_integer()) -> [pos_integer()].
descendants(Pid) ->
    below([Pid], parents()).

-spec below([non_neg_integer()], [{pos_integer(), non_neg_integer()}]) -> [pos_integer()].
below(Pids, Parents) ->
    case [Child || {Child, Parent} <- Parents, lists:member(Parent, Pids)] of
        [] -> [];
        Children -> Children ++ below(Children, Parents)
    end.

-spec parents() -> [{pos_integer(), non_neg_integer()}].
parents() ->
    {ok, Names} = file:list_dir("/proc"),
    [
        {list_to_integer(Name), Parent}
     || [C | _] = Name <- Names, C >= $0, C =< $9, {ok, Parent} <- [parent(Name)]
    ].

-spec parent(string()) -> {ok, non_neg_integer()} | error.
parent(Name) ->
    case file:read_file("/proc/" ++ Name ++ "/stat") of
        {ok, Text} ->
            [_, Rest] = string:split(Text, <<") ">>, trailing),
            [_State, Parent | _] = binary:split(Rest, <<" ">>, [global]),
            {ok, binary_to_integer(Parent)};
        {error, _} ->
            error
    end.

%% Python ------------------------------------------------------------------------------------------------------------

%% @doc An interpreter of that version (`"3.11"'): in the PATH, of the system, or one that pyenv installed; the one that
%% the worker of that version was built for, if it is among them: the standard library must fit the library it is linked to.
-spec python_of(string()) -> {ok, string()} | none.
python_of(Version) ->
    Home = os:getenv("HOME", "/"),
    Name = "python" ++ Version,
    InPath = [P || P <- [os:find_executable(Name)], is_list(P), not is_shim(P)],
    OfSystem = [P || D <- ["/usr/bin", "/usr/local/bin"], P <- [filename:join(D, Name)], filelib:is_regular(P)],
    Installed = filelib:wildcard(filename:join([Home, ".pyenv/versions", Version ++ ".*", "bin", Name])),
    Worker = filename:join(code:priv_dir(py_port), "py_worker-" ++ Version),
    case {InPath ++ OfSystem ++ Installed, filelib:is_regular(Worker)} of
        {[], _} -> none;
        {[First | _], false} -> {ok, First};
        {[First | _] = All, true} ->
            Built = full_version(Worker, ["--python"]),
            {ok, hd([P || P <- All, full_version(P, []) =:= Built] ++ [First])}
    end.

-spec full_version(file:filename(), [string()]) -> binary().
full_version(Program, Args) ->
    Code = "import sys; print(sys.version)",
    Port = open_port({spawn_executable, Program}, [{args, Args ++ ["-c", Code]}, binary, exit_status]),
    hd(binary:split(printed_by(Port, <<>>), <<" ">>)).

-spec printed_by(port(), binary()) -> binary().
printed_by(Port, Text) ->
    receive
        {Port, {data, More}} -> printed_by(Port, <<Text/binary, More/binary>>);
        {Port, {exit_status, _}} -> Text
    end.

%% pyenv's shims run the version that is switched on, whatever they are called.
-spec is_shim(string()) -> boolean().
is_shim(Path) ->
    string:find(Path, "/shims/") =/= nomatch.

%% The log -----------------------------------------------------------------------------------------------------------

%% @doc From now on every log event of py_port's domains reaches the caller as `{log, Event}'.
-spec catch_logs(atom()) -> ok.
catch_logs(Id) ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, all),
    ok = logger:add_handler(Id, ?MODULE, #{
        level => all, config => #{to => self(), primary => Level}, filter_default => stop, filters => [
            {py_port, {fun logger_filters:domain/2, {log, sub, [py_port]}}}
        ]
    }).

-spec release_logs(atom()) -> ok.
release_logs(Id) ->
    case logger:get_handler_config(Id) of
        {ok, #{config := #{primary := Level}}} ->
            ok = logger:set_primary_config(level, Level),
            logger:remove_handler(Id);
        {error, _} ->
            ok
    end.

-spec log(logger:log_event(), logger:handler_config()) -> term().
log(Event, #{config := #{to := Pid}}) ->
    Pid ! {log, Event}.

-spec await_log() -> logger:log_event().
await_log() ->
    receive
        {log, Event} -> Event
    after 60000 -> error(no_log_event)
    end.

%% @doc The next line of output, of a context whose `io' is the caller.
-spec await_line(pid()) -> {stdout | stderr, binary()}.
await_line(Ctx) ->
    receive
        {py_port_output, Ctx, Stream, Line} -> {Stream, Line}
    after 60000 -> error(no_line)
    end.

%% @doc An io device that shows what it is asked to print.
-spec device(pid()) -> no_return().
device(To) ->
    receive
        {io_request, From, ReplyAs, {put_chars, unicode, Chars}} ->
            To ! {put_chars, Chars},
            From ! {io_reply, ReplyAs, ok},
            device(To)
    end.

%% @doc The text of a log event.
-spec message(logger:log_event()) -> string().
message(#{msg := {report, Report}}) -> lists:flatten(io_lib:format("~tp", [Report]));
message(#{msg := {string, Text}}) -> unicode:characters_to_list(Text);
message(#{msg := {Format, Args}}) -> lists:flatten(io_lib:format(Format, Args)).

%% @doc The messages of the caller, oldest first.
-spec flush() -> [term()].
flush() ->
    receive
        Message -> [Message | flush()]
    after 0 -> []
    end.

%% @doc Makes this node one that others can find. True when it was not before: then the caller stops net_kernel.
-spec distribute() -> boolean().
distribute() ->
    is_alive() orelse os:cmd("epmd -daemon"),
    case net_kernel:start([list_to_atom(peer:random_name(?MODULE)), shortnames]) of
        {ok, _} -> true;
        {error, {already_started, _}} -> false
    end.
