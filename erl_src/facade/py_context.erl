%% @doc Contexts the way erlang_python's users start and use them. Each is one operating-system process,
%% whatever the mode is called, and the pid is a context of {@link py_port} like any other.
%%
%% ```
%% {ok, Ctx} = py_context:start_link(1, auto),
%% {ok, 4.0} = py_context:call(Ctx, math, sqrt, [16]),
%% ok = py_context:stop(Ctx).
%% '''
%%
%% Unless a time is given a call may take for ever. When the context has ended, or ends meanwhile, the
%% outcome is `{error, {context_died, Reason}}'; other errors are as {@link py_errors} has them.
%% @end
-module(py_context).

-export([start_link/2, start_link/3, new/1, stop/1, destroy/1]).
-export([call/4, call/5, call/6, call/7, eval/2, eval/3, eval/4, eval/5, exec/2, exec/3]).
-export([call_method/4, to_term/1, get_interp_id/1, is_subinterp/1, interrupt/1]).
-export([start_loop/1, start_loop/2, stop_loop/1, stop_loop/2]).
-export([submit/4, submit/5, submit_await/4, submit_await/5, submit_await/6]).
%% for the pools
-export([modes/0, is_mode/1]).
-export_type([mode/0, options/0]).

%% They all mean the same here.
-type mode() :: auto | subinterp | worker | owngil | multi_executor | free_threaded | process.
%% And any option of {@link py_port:start_context/1} but `name' and `link'.
-type options() :: #{
    mode => mode(),
    %% bytes that the worker may have; more is a MemoryError, or its end
    memory_limit => pos_integer(),
    %% Python code that runs when the context starts; if it raises there is no context
    preload => binary() | string(),
    atom() => term()
}.
-type result() :: {ok, term()} | {error, term()}.

-define(AWAIT, 5000).
-define(GRACE, 5000).

%% Starting and stopping ---------------------------------------------------------------------------

%% @equiv start_link(Id, Mode, #{})
-spec start_link(term(), mode()) -> {ok, pid()} | {error, term()}.
start_link(Id, Mode) ->
    start_link(Id, Mode, #{}).

%% @doc Starts a context and links it to the caller. The id is not used. What the application
%% environment says for all contexts (paths, imports, the virtual environment) holds for this one too;
%% options that are given here come first.
-spec start_link(term(), mode(), options()) -> {ok, pid()} | {error, term()}.
start_link(_Id, Mode, Options) ->
    case py_context_options:make(Mode, Options, py_environment:context_options()) of
        {ok, Made} -> py_port:start_context(Made);
        {error, _} = Error -> Error
    end.

%% @doc The same with the mode among the options (`auto' if there is none).
-spec new(options()) -> {ok, pid()} | {error, term()}.
new(Options) when is_map(Options) ->
    start_link(new, maps:get(mode, Options, auto), Options);
new(Options) ->
    start_link(new, auto, Options).

%% @doc Lets what runs finish for five seconds, then ends it. Always ok. A context of a pool is
%% replaced.
-spec stop(py_port:context()) -> ok.
stop(Ctx) ->
    case py_port:stop_context(Ctx) of
        ok -> ok;
        %% It is no context.
        {error, _} -> ok
    end.

%% @equiv stop(Ctx)
-spec destroy(py_port:context()) -> ok.
destroy(Ctx) ->
    stop(Ctx).

%% @doc The modes of all releases of erlang_python, and `process', which all of them mean here.
-spec modes() -> [mode()].
modes() ->
    [auto, subinterp, worker, owngil, multi_executor, free_threaded, process].

-spec is_mode(term()) -> boolean().
is_mode(Mode) ->
    lists:member(Mode, modes()).

%% Calls -------------------------------------------------------------------------------------------

%% @equiv call(Ctx, Module, Function, Args, #{}, infinity)
-spec call(py_port:context(), py_port:name(), py_port:name(), [term()]) -> result().
call(Ctx, Module, Function, Args) ->
    call(Ctx, Module, Function, Args, #{}).

%% @equiv call(Ctx, Module, Function, Args, Kwargs, infinity)
-spec call(py_port:context(), py_port:name(), py_port:name(), [term()], map()) -> result().
call(Ctx, Module, Function, Args, Kwargs) ->
    py_errors:result(py_port:call(Ctx, Module, Function, Args, Kwargs)).

%% @doc Calls a Python function, with at most `Timeout' ms.
-spec call(py_port:context(), py_port:name(), py_port:name(), [term()], map(), timeout()) ->
    result().
call(Ctx, Module, Function, Args, Kwargs, Timeout) ->
    py_errors:result(py_port:call(Ctx, Module, Function, Args, Kwargs, timeout(Timeout))).

%% @doc The same in a namespace: functions of `__main__' are looked for there.
-spec call(py_port:context(), py_port:name(), py_port:name(), [term()], map(), timeout(), term()) ->
    result().
call(Ctx, Module, Function, Args, Kwargs, Timeout, Env) ->
    py_errors:result(py_port:call(Ctx, Module, Function, Args, Kwargs, timeout(Timeout, Env))).

%% @equiv eval(Ctx, Code, #{}, infinity)
-spec eval(py_port:context(), unicode:chardata()) -> result().
eval(Ctx, Code) ->
    eval(Ctx, Code, #{}).

%% @equiv eval(Ctx, Code, Locals, infinity)
-spec eval(py_port:context(), unicode:chardata(), map()) -> result().
eval(Ctx, Code, Locals) ->
    py_errors:result(py_port:eval(Ctx, Code, Locals)).

%% @doc Evaluates an expression, with at most `Timeout' ms.
-spec eval(py_port:context(), unicode:chardata(), map(), timeout()) -> result().
eval(Ctx, Code, Locals, Timeout) ->
    py_errors:result(py_port:eval(Ctx, Code, Locals, timeout(Timeout))).

%% @doc The same in a namespace.
-spec eval(py_port:context(), unicode:chardata(), map(), timeout(), term()) -> result().
eval(Ctx, Code, Locals, Timeout, Env) ->
    py_errors:result(py_port:eval(Ctx, Code, Locals, timeout(Timeout, Env))).

%% @doc Runs statements in the context's `__main__'.
-spec exec(py_port:context(), unicode:chardata()) -> ok | {error, term()}.
exec(Ctx, Code) ->
    py_errors:result(py_port:exec(Ctx, Code)).

%% @doc Runs statements in a namespace.
-spec exec(py_port:context(), unicode:chardata(), term()) -> ok | {error, term()}.
exec(Ctx, Code, Env) ->
    py_errors:result(py_port:exec(Ctx, Code, #{}, #{env => Env})).

-spec timeout(timeout()) -> map().
timeout(Timeout) ->
    #{timeout => Timeout}.

-spec timeout(timeout(), term()) -> map().
timeout(Timeout, Env) ->
    #{timeout => Timeout, env => Env}.

%% @doc Calls a method of an object that stays in Python.
-spec call_method(py_port:context(), py_port:ref(), py_port:name(), [term()]) -> result().
call_method(Ctx, Ref, Method, Args) ->
    py_errors:result(py_port:call_method(Ctx, Ref, Method, Args)).

%% @doc The object as an Erlang term.
-spec to_term(py_port:ref()) -> result().
to_term(Ref) ->
    py_errors:result(py_port:to_term(Ref)).

%% @doc What tells this interpreter from others: its operating-system process.
-spec get_interp_id(py_port:context()) -> {ok, pos_integer()} | {error, term()}.
get_interp_id(Ctx) ->
    case py_port:info(Ctx) of
        #{os_pid := OsPid} -> {ok, OsPid};
        {error, _} = Error -> py_errors:result(Error)
    end.

%% @doc True: its objects are shared with no other context.
-spec is_subinterp(py_port:context()) -> true.
is_subinterp(_Ctx) ->
    true.

%% @doc Interrupts what runs in the context's main thread now; its caller gets `{error, interrupted}'.
-spec interrupt(py_port:context()) -> ok | not_running | {error, term()}.
interrupt(Ctx) ->
    case py_port:interrupt(Ctx) of
        {error, not_running} -> not_running;
        ok -> ok;
        {error, _} = Error -> py_errors:result(Error)
    end.

%% The loop ----------------------------------------------------------------------------------------

%% @equiv start_loop(Ctx, #{})
-spec start_loop(py_port:context()) -> ok | {error, term()}.
start_loop(Ctx) ->
    start_loop(Ctx, #{}).

%% @doc From now on there is a loop that {@link stop_loop/1} can stop, and `owner' (the caller, if nobody
%% is named) gets `{py_loop_exit, Ctx, Result}' when it ends: `ok' when it was stopped, and
%% `{error, {context_died, Reason}}'. It ends with its owner, too. Calls go on beside it.
-spec start_loop(py_port:context(), #{owner => pid()}) -> ok | {error, term()}.
start_loop(Ctx, Options) ->
    py_context_loop:start(Ctx, Options).

%% @equiv stop_loop(Ctx, 5000)
-spec stop_loop(py_port:context()) -> ok | {error, no_loop | timeout}.
stop_loop(Ctx) ->
    stop_loop(Ctx, ?GRACE).

%% @doc Ends the loop: what was submitted has `Grace' ms to finish and is then cancelled, and its
%% submitters are told. `{error, timeout}': something could not be stopped in as much time again.
-spec stop_loop(py_port:context(), timeout()) ->
    ok | {error, no_loop | timeout | {bad_argument, grace, binary()}}.
stop_loop(Ctx, Grace) ->
    py_context_loop:stop(Ctx, Grace).

%% @equiv submit(Ctx, Module, Function, Args, #{})
-spec submit(py_port:context(), py_port:name(), py_port:name(), [term()]) ->
    {ok, reference()} | {error, term()}.
submit(Ctx, Module, Function, Args) ->
    submit(Ctx, Module, Function, Args, #{}).

%% @doc Calls a function on the context's loop and does not wait; coroutines run beside each other. The
%% caller gets `{async_result, Ref, Result}'. When it dies the call is cancelled. A loop need not have
%% been started.
-spec submit(py_port:context(), py_port:name(), py_port:name(), [term()], map()) ->
    {ok, reference()} | {error, term()}.
submit(Ctx, Module, Function, Args, Kwargs) ->
    py_context_loop:submit(Ctx, {Module, Function, Args, Kwargs}).

%% @equiv submit_await(Ctx, Module, Function, Args, #{}, 5000)
-spec submit_await(py_port:context(), py_port:name(), py_port:name(), [term()]) -> result().
submit_await(Ctx, Module, Function, Args) ->
    submit_await(Ctx, Module, Function, Args, #{}).

%% @equiv submit_await(Ctx, Module, Function, Args, Kwargs, 5000)
-spec submit_await(py_port:context(), py_port:name(), py_port:name(), [term()], map()) -> result().
submit_await(Ctx, Module, Function, Args, Kwargs) ->
    submit_await(Ctx, Module, Function, Args, Kwargs, ?AWAIT).

%% @doc The same, and waits for the result. After `{error, timeout}' it has been stopped.
-spec submit_await(py_port:context(), py_port:name(), py_port:name(), [term()], map(), timeout()) ->
    result().
submit_await(Ctx, Module, Function, Args, Kwargs, Timeout) ->
    call(Ctx, Module, Function, Args, Kwargs, Timeout).
