%% @doc What every context of the façade begins with, and how to reach those that run.
%%
%% Four things are registered: folders to import from and modules that are imported ({@link
%% py_import}), code that has run ({@link py_preload}), and a virtual environment ({@link py_venv}).
%% The application environment gives what is there at the start:
%% <ul>
%% <li>`paths': folders; `imports': modules, or `{Module, Function}';</li>
%% <li>`preload_code': Python statements;</li>
%% <li>`venv': a virtual environment; or `python': an executable or a version like `"3.12"';</li>
%% <li>`sandbox': `none' (the default) or `audit', and `send_to': whom Python may send to and look up,
%% `[given]' by default; see {@link py_port:start_context/1}. They cannot be changed later.</li>
%% </ul>
%% A setting that is wrong (also one of those that {@link py_pool_options}, {@link py_state} and {@link
%% py_tracer} have) stops the application from starting, with `{bad_setting, Key, Value}'.
%% @end
-module(py_environment).

-export([context_options/0, preload_source/1, started/2, everywhere/4]).
%% for py_environment_registry and its siblings
-export([settings/0, name/1, path/1, code/1]).

-define(TIMEOUT, 30000).

%% @doc Start options for one more context ({@link py_port:start_context/1}): at most `init' and, for
%% Python itself, `venv' or `python', and `sandbox' and `send_to'. A module that cannot be imported and code that
%% raises are a start that failed, `{start_failed, #{what := init}}'.
-spec context_options() -> map().
context_options() ->
    #{venv := Venv} = Registry = py_environment_registry:read(),
    maps:merge(interpreter(Venv), observed(py_logger:init_code(), init(Registry))).

%% Logging and tracing come first, so that they see what the rest does.
-spec observed(binary() | none, map()) -> map().
observed(none, Init) -> Init;
observed(Code, #{init := {code, Rest}}) -> #{init => {code, <<Code/binary, Rest/binary>>}};
observed(Code, #{}) -> #{init => {code, Code}}.

%% @doc One Python statement that runs this code as {@link py_preload} does: in `__main__', as the
%% file `<preload>', and for the namespaces of processes too. For `init' of a single context.
-spec preload_source(unicode:chardata()) -> binary().
preload_source(Code) ->
    startup("preload_encoded", code(Code)).

%% The argument travels as an encoded term, so that nothing in it can be taken for code. Binds no
%% name in `__main__'.
-spec startup(string(), term()) -> binary().
startup(Function, Argument) ->
    Hex = binary:encode_hex(term_to_binary(Argument)),
    iolist_to_binary(["__import__('erlang._startup', fromlist=['begin']).", Function, "('", Hex, "')"]).

%% @doc For who has started a context with the options that {@link context_options/0} gave, once
%% {@link py_pool:running/0} names it: what was registered meanwhile found it not running yet. Only
%% folders and modules are caught up with, as {@link py_import} does it, and logging and tracing.
%% `again': another Python is
%% wanted by now, so it should be replaced.
-spec started(pid(), map()) -> ok | again | {error, py_port:reason()}.
started(Ctx, Options) ->
    ok = py_logger:started(Ctx),
    #{venv := Venv, imports := Imports} = Registry = py_environment_registry:read(),
    Python = maps:with([venv, python], interpreter(Venv)),
    case maps:with([venv, python], Options) of
        Python when map_get(version, Registry) =:= 0 -> ok;
        Python -> catch_up(Ctx, Registry, [tuple_to_list(python_import(I)) || I <- Imports]);
        _ -> again
    end.

-spec catch_up(pid(), py_environment_registry:registry(), [[binary() | none]]) ->
    ok | {error, py_port:reason()}.
catch_up(Ctx, Registry, Imports) ->
    Paths = {set_paths, py_import:set_paths_arguments(Registry)},
    Calls = [Paths | [{load, Import} || Import <- Imports]],
    Opts = #{timeout => ?TIMEOUT},
    Call = fun
        ({Function, Args}, ok) ->
            case py_port:call(Ctx, 'erlang._startup', Function, Args, #{}, Opts) of
                {ok, _} -> ok;
                {error, _} = Error -> Error
            end;
        (_, Error) ->
            Error
    end,
    lists:foldl(Call, ok, Calls).

-spec interpreter(none | binary()) -> map().
interpreter(Venv) ->
    Rights = maps:merge(right(sandbox, none), right(send_to, [given])),
    case {Venv, py_settings:get(python, default)} of
        {none, default} -> Rights;
        {none, Python} -> Rights#{python => Python};
        {_, _} -> Rights#{venv => Venv}
    end.

-spec right(sandbox | send_to, term()) -> map().
right(Key, Default) ->
    case py_settings:get(Key, Default) of
        Default -> #{};
        Value -> #{Key => Value}
    end.

-spec init(py_environment_registry:registry()) -> map().
init(#{imports := [], paths := [], preload := undefined}) ->
    #{};
init(#{imports := Imports, paths := Paths, preload := Preload, version := Version}) ->
    Code = [C || C <- [Preload], C =/= undefined],
    Begin = {Paths, Version, [python_import(I) || I <- Imports], Code},
    #{init => {code, startup("begin_encoded", Begin)}}.

-spec python_import(py_environment_registry:import()) -> {binary(), binary() | none}.
python_import({Module, all}) -> {Module, none};
python_import(Import) -> Import.

%% Contexts that run -------------------------------------------------------------------------------

%% @doc Calls a Python function in all of them at the same time, and waits; `timeout' is the outcome
%% of a context that has no time for it. Those that end meanwhile have no outcome: what replaces them
%% begins with {@link context_options/0}.
-spec everywhere(py_port:name(), py_port:name(), [term()], timeout() | default) ->
    [{pid(), {ok, term()} | {error, py_port:reason()}}].
everywhere(Module, Function, Args, default) ->
    everywhere(Module, Function, Args, ?TIMEOUT);
everywhere(Module, Function, Args, Timeout) ->
    Contexts = py_pool:running(),
    Opts = #{timeout => Timeout},
    Outcomes = py_port:gather([
        py_port:async_call(Ctx, Module, Function, Args, Opts)
     || Ctx <- Contexts
    ]),
    [Told || {_, Outcome} = Told <- lists:zip(Contexts, Outcomes), not is_gone(Outcome)].

-spec is_gone({ok, term()} | {error, py_port:reason()}) -> boolean().
is_gone({error, {worker_down, _}}) -> true;
is_gone(_) -> false.

%% Settings ----------------------------------------------------------------------------------------

%% @private
-spec settings() -> py_environment_registry:registry().
settings() ->
    _ = py_settings:compat(),
    ok = lists:foreach(fun option/1, [sandbox, send_to, python]),
    ok = checked(fun py_settings:is_limit/1, [max_spans, max_state_entries]),
    ok = checked(fun py_pool_options:is_size/1, [num_contexts, default_pool_size, io_pool_size]),
    ok = checked(fun py_context:is_mode/1, [context_mode, io_pool_mode]),
    #{
        imports => setting(imports, [], fun imports/1),
        paths => setting(paths, [], fun(Paths) -> [path(P) || P <- Paths] end),
        preload => setting(preload_code, undefined, fun code/1),
        venv => setting(venv, none, fun path/1),
        version => 0
    }.

%% One that is handed on to py_port. Whether there is such an interpreter turns out when it is needed.
-spec option(sandbox | send_to | python) -> ok.
option(Key) ->
    case py_settings:get(Key, default) of
        default ->
            ok;
        Value ->
            case py_port_options:validate(#{Key => Value}) of
                {ok, _} -> ok;
                {error, _} -> error({bad_setting, Key, Value})
            end
    end.

%% They are read when they are needed; what is wrong is found now.
-spec checked(fun((term()) -> boolean()), [atom()]) -> ok.
checked(Is, Keys) ->
    Given = [{Key, Value} || Key <- Keys, Value <- [py_settings:get(Key, default)], Value =/= default],
    case [{bad_setting, Key, Value} || {Key, Value} <- Given, not Is(Value)] of
        [] -> ok;
        [Bad | _] -> error(Bad)
    end.

-spec setting(atom(), Default, fun((term()) -> Value)) -> Default | Value.
setting(Key, Default, Check) ->
    case py_settings:get(Key, Default) of
        Default ->
            Default;
        Value ->
            try
                Check(Value)
            catch
                error:_ -> error({bad_setting, Key, Value})
            end
    end.

-spec imports([term()]) -> [py_environment_registry:import()].
imports(Imports) ->
    [
        case Import of
            {Module, Function} -> {name(Module), name(Function)};
            Module -> {name(Module), all}
        end
     || Import <- Imports
    ].

%% @private Fails with `{bad_name, Name}' for what is none.
-spec name(term()) -> binary().
name(Name) when is_atom(Name) -> atom_to_binary(Name);
name(Name) when is_binary(Name), Name =/= <<>> -> Name;
name([_ | _] = Name) -> text(bad_name, Name);
name(Name) -> error({bad_name, Name}).

%% @private Fails with `{bad_path, Path}'.
-spec path(term()) -> binary().
path([_ | _] = Path) -> path(text(bad_path, Path));
path(Path) when is_binary(Path), Path =/= <<>> -> filename:absname(Path);
path(Path) -> error({bad_path, Path}).

%% @private Fails with `{bad_code, Code}'.
-spec code(term()) -> binary().
code(Code) when is_binary(Code); is_list(Code) -> text(bad_code, Code);
code(Code) -> error({bad_code, Code}).

-spec text(atom(), unicode:chardata()) -> binary().
text(Wrong, Chars) ->
    try unicode:characters_to_binary(Chars) of
        Text when is_binary(Text) -> Text;
        _ -> error({Wrong, Chars})
    catch
        error:badarg -> error({Wrong, Chars})
    end.
