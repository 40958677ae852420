%% @doc Python for Erlang and Elixir: one supervised operating-system process per context.
%%
%% This module is the only door. A context is a process that owns one Python worker; it is started
%% like any linked process or put under a supervisor with {@link child_spec/1}. Requests are made
%% and answered in the caller's own process. Nothing here raises for what Python or a worker does:
%% every function answers `{error, Reason}' with a reason of {@link py_port_error}, and {@link
%% format_error/1} makes it readable.
%%
%% ```
%% {ok, Ctx} = py_port:start_context(#{}),
%% {ok, 4.0} = py_port:call(Ctx, math, sqrt, [16]).
%% '''
%% @end
-module(py_port).

-export([start_context/1, child_spec/1, stop_context/1, stop_context/2, contexts/0]).
-export([call/4, call/5, call/6, cast/4, cast/5, cast/6]).
-export([new_env/1, drop_env/1]).
-export([eval/2, eval/3, eval/4, exec/2, exec/3, exec/4]).
-export([call_method/4, call_method/5, call_method/6, getattr/3, getattr/4]).
-export([to_term/1, to_term/2, release/1, give_away/2]).
-export([async_call/4, async_call/5, await/1, await/2, cancel/1, gather/1]).
-export([stream/4, stream/5, next/1, next/2, fold/3, foreach/2, to_list/1, active/2, close/1]).
-export([open_stream/4, open_stream/5, push/2, push/3, finish/1, abort/2, result/1, result/2]).
-export([register_function/2, register_function/3, unregister_function/1, caller/0]).
-export([interrupt/1, ping/1, ping/2, info/1, format_error/1]).
-export_type([context/0, options/0, environment/0, callable/0, call_options/0, name/0, ref/0, env/0, reason/0]).
-export_type([handle/0, async_options/0, stream/0, stream_options/0]).

-type context() :: py_port_names:context().
%% A name in Python: `math', `<<"os.path">>', "json".
-type name() :: atom() | binary() | string().
-type reason() :: py_port_error:reason().
%% Stands for a Python object that stays in the worker.
-opaque ref() :: py_port_call:ref().
-type call_options() :: #{
    timeout => timeout(),
    return => term | ref,
    %% W3C traceparent, or traceparent LF tracestate
    trace => binary(),
    %% in the worker's pool of threads, while its loop goes on
    thread => boolean(),
    %% where eval and exec run, and where `__main__' is for call
    env => env() | {error, reason()}
}.
%% A namespace in a worker: an object reference to a Python module.
-type env() :: ref().
%% Stands for the outcome of an asynchronous call.
-opaque handle() :: py_port_async:handle().
-type async_options() :: py_port_async:options().
-type stream() :: py_port_stream:stream().
-type stream_options() :: py_port_stream:options().
-type environment() :: #{atom() | binary() | string() => binary() | string() | integer()}.
%% What Python may call: a registered function by its name, a fun or function for this context alone
%% (called with the list of arguments), or one function of a module, which is `<<"m:f">>' in Python.
-type callable() ::
    name()
    | {name(), fun(([term()]) -> term())}
    | {name(), module(), atom()}
    | {module(), atom(), arity()}.
-type options() :: #{
    name => atom() | {local, atom()} | {global, term()} | {via, module(), term()},
    link => boolean(),
    python => binary() | string(),
    venv => binary() | string(),
    worker => binary() | string(),
    path => [binary() | string()],
    %% as a fun (best an external one) it stays out of the reports of your supervisor
    env => environment() | fun(() -> environment()),
    cwd => binary() | string(),
    init => binary() | string() | {code | module, atom() | binary() | string()},
    init_timeout => non_neg_integer(),
    start_timeout => non_neg_integer(),
    limits => #{memory | cpu_seconds | files | processes => pos_integer()},
    call_timeout => timeout(),
    kill_after => non_neg_integer(),
    max_pending => pos_integer(),
    %% of unanswered requests of 16 KiB and more: one more is refused when these hold as much
    max_pending_bytes => pos_integer(),
    %% `all': whatever is registered
    functions => all | [callable()],
    %% calls from Python that may be without an answer at a time; more wait in the worker
    max_callbacks => pos_integer(),
    %% `given' (the default): pids that were passed to this context
    send_to => any | given | [given | atom()],
    io => py_port_options:io_target(),
    io_rate => pos_integer(),
    io_line => pos_integer(),
    types => #{
        atoms => str | atom, binaries => auto | bytes | str, none => none | nil | undefined
    },
    %% `audit': Python starts no other process
    sandbox => none | audit,
    spin => off | non_neg_integer(),
    max_frame => pos_integer(),
    max_depth => pos_integer()
}.

-define(STOP_TIMEOUT, 5000).
-define(CONTROL_TIMEOUT, 5000).

%% Contexts ----------------------------------------------------------------------------------------

%% @doc Starts a worker and links its context to the caller. Returns when Python is ready and `init'
%% has run.
-spec start_context(options()) -> {ok, pid()} | {error, reason() | {already_started, pid()}}.
start_context(Options) ->
    case {whereis(py_port_registry), py_port_options:validate(Options)} of
        {undefined, _} -> {error, not_started};
        {_, {ok, Valid}} -> start_valid(Valid);
        {_, {error, _} = Error} -> Error
    end.

-spec start_valid(py_port_options:options()) -> {ok, pid()} | {error, reason() | {already_started, pid()}}.
start_valid(#{link := Link} = Valid) ->
    case py_port_python:resolve(Valid) of
        {ok, Resolved} when Link -> py_port_context:start_link(Valid, Resolved);
        {ok, Resolved} -> py_port_context_sup:start_context(Valid, Resolved);
        {error, _} = Error -> Error
    end.

%% @doc For a supervisor of your own. The id is the name if there is one; change it in the map that
%% is returned.
-spec child_spec(options()) -> supervisor:child_spec().
child_spec(Options) ->
    #{
        id => maps:get(name, Options, py_port_context),
        start => {?MODULE, start_context, [Options]},
        restart => permanent,
        shutdown => 8000,
        type => worker,
        modules => [py_port_context]
    }.

%% @equiv stop_context(Ctx, 5000)
-spec stop_context(context()) -> ok | {error, reason()}.
stop_context(Ctx) ->
    stop_context(Ctx, ?STOP_TIMEOUT).

%% @doc Lets what runs finish for `Timeout' ms, then ends the worker. The context exits with
%% `normal'. Calls that have not been answered by then get `{error, {worker_down, stopped}}'. One that is
%% not even ready by then has failed to start. Always `ok', also when there is no such context.
-spec stop_context(context(), timeout()) -> ok | {error, reason()}.
stop_context(Ctx, Timeout) ->
    py_port_control:stop(Ctx, Timeout).

%% @doc The contexts of this node.
-spec contexts() -> [pid()].
contexts() ->
    py_port_registry:contexts().

%% Calls -------------------------------------------------------------------------------------------

%% @equiv call(Ctx, Module, Function, Args, #{}, #{})
-spec call(context(), name(), name(), [term()]) -> {ok, term()} | {error, reason()}.
call(Ctx, Module, Function, Args) ->
    py_port_call:call(Ctx, Module, Function, Args, #{}, #{}).

%% @equiv call(Ctx, Module, Function, Args, Kwargs, #{})
-spec call(context(), name(), name(), [term()], map()) -> {ok, term()} | {error, reason()}.
call(Ctx, Module, Function, Args, Kwargs) ->
    py_port_call:call(Ctx, Module, Function, Args, Kwargs, #{}).

%% @doc Calls a Python function and waits for what it returns; a coroutine is awaited. With
%% `timeout' the caller gets `{error, timeout}' at the deadline and the Python code is stopped;
%% without it the context's `call_timeout' holds, and without that (the default) the call may take
%% for ever.
-spec call(context(), name(), name(), [term()], map(), call_options()) ->
    {ok, term() | ref()} | {error, reason()}.
call(Ctx, Module, Function, Args, Kwargs, Opts) ->
    py_port_call:call(Ctx, Module, Function, Args, Kwargs, Opts).

%% @equiv cast(Ctx, Module, Function, Args, #{})
-spec cast(context(), name(), name(), [term()]) -> ok | {error, reason()}.
cast(Ctx, Module, Function, Args) ->
    py_port_call:cast(Ctx, Module, Function, Args, #{}, #{}).

%% @equiv cast(Ctx, Module, Function, Args, Kwargs, #{})
-spec cast(context(), name(), name(), [term()], map()) -> ok | {error, reason()}.
cast(Ctx, Module, Function, Args, Kwargs) ->
    py_port_call:cast(Ctx, Module, Function, Args, Kwargs, #{}).

%% @doc Calls a Python function and does not wait. It runs also if the caller dies. What it raises
%% is logged; an error is returned only for arguments that could never be sent, and for a namespace
%% of another context.
-spec cast(context(), name(), name(), [term()], map(), call_options()) -> ok | {error, reason()}.
cast(Ctx, Module, Function, Args, Kwargs, Opts) ->
    py_port_call:cast(Ctx, Module, Function, Args, Kwargs, Opts).

%% @equiv eval(Ctx, Code, #{}, #{})
-spec eval(context(), unicode:chardata()) -> {ok, term()} | {error, reason()}.
eval(Ctx, Code) ->
    py_port_call:eval(Ctx, Code, #{}, #{}).

%% @equiv eval(Ctx, Code, Locals, #{})
-spec eval(context(), unicode:chardata(), map()) -> {ok, term()} | {error, reason()}.
eval(Ctx, Code, Locals) ->
    py_port_call:eval(Ctx, Code, Locals, #{}).

%% @doc Evaluates an expression in the context's `__main__' (or another namespace), with some more
%% names. They are seen everywhere in it, also in lambdas and comprehensions.
-spec eval(context(), unicode:chardata(), map(), call_options()) ->
    {ok, term() | ref()} | {error, reason()}.
eval(Ctx, Code, Locals, Opts) ->
    py_port_call:eval(Ctx, Code, Locals, Opts).

%% @equiv exec(Ctx, Code, #{}, #{})
-spec exec(context(), unicode:chardata()) -> ok | {error, reason()}.
exec(Ctx, Code) ->
    py_port_call:exec(Ctx, Code, #{}, #{}).

%% @equiv exec(Ctx, Code, Locals, #{})
-spec exec(context(), unicode:chardata(), map()) -> ok | {error, reason()}.
exec(Ctx, Code, Locals) ->
    py_port_call:exec(Ctx, Code, Locals, #{}).

%% @doc Runs statements in the context's `__main__' (or another namespace), with some more names,
%% which do not stay there.
-spec exec(context(), unicode:chardata(), map(), call_options()) -> ok | {error, reason()}.
exec(Ctx, Code, Locals, Opts) ->
    py_port_call:exec(Ctx, Code, Locals, Opts).

%% Namespaces --------------------------------------------------------------------------------------

%% @doc A new, empty namespace in the context, beside its `__main__': with the option `env => Env'
%% code runs in it, and a function of the module `__main__' is looked for in it. Modules are shared
%% by all namespaces of a context. Like any object reference it may be used by every process, and
%% lives as long as the process that made it, or until it is dropped; {@link give_away/2} makes it
%% live as long as another one. An error may be given for `env' as it is: it is the outcome then.
-spec new_env(context()) -> {ok, env()} | {error, reason()}.
new_env(Ctx) ->
    py_port_call:call(Ctx, 'erlang._namespaces', new, [], #{}, #{return => ref}).

%% @doc From now on requests with this namespace get `{error, {bad_ref, Why}}'. What runs in it goes
%% on; functions that Python has kept work as before. Also for a context that is gone.
-spec drop_env(env()) -> ok | {error, reason()}.
drop_env(Env) ->
    py_port_call:release(Env).

%% Asynchronous calls ------------------------------------------------------------------------------

%% @equiv async_call(Ctx, Module, Function, Args, #{})
-spec async_call(context(), name(), name(), [term()]) -> handle() | {error, reason()}.
async_call(Ctx, Module, Function, Args) ->
    py_port_async:async_call(Ctx, Module, Function, Args).

%% @doc Calls a Python function and returns at once. The caller gets its outcome as one message,
%% `{py_port_reply, Handle, {ok, Value} | {error, Reason}}', which {@link await/1} and {@link
%% gather/1} wait for, or which a `handle_info/2' takes. Coroutines run as tasks of the context's
%% loop, all at the same time; with `thread => true' a blocking function runs in a thread. Keyword
%% arguments are the option `kwargs'. When the caller dies the call is cancelled.
%%
%% An error is returned only for arguments that could never be sent; everything else, also
%% `overloaded', is an outcome. If the process of the context itself is killed, the message is
%% `{'DOWN', element(2, Handle), process, _, Reason}'.
-spec async_call(context(), name(), name(), [term()], async_options()) ->
    handle() | {error, reason()}.
async_call(Ctx, Module, Function, Args, Opts) ->
    py_port_async:async_call(Ctx, Module, Function, Args, Opts).

%% @equiv await(Handle, infinity)
-spec await(handle() | {error, reason()}) -> {ok, term()} | {error, reason()}.
await(Handle) ->
    py_port_async:await(Handle).

%% @doc Waits for the outcome; for the process that made the call, once. After `{error, timeout}' of
%% the wait itself the call goes on, and can be awaited again. An error in place of a handle is
%% itself the outcome.
-spec await(handle() | {error, reason()}, timeout()) -> {ok, term()} | {error, reason()}.
await(Handle, Timeout) ->
    py_port_async:await(Handle, Timeout).

%% @doc Stops the call, from any process. Its outcome is then `{error, cancelled}', unless it had
%% another already. A coroutine gets `CancelledError', and its `finally' blocks run.
-spec cancel(handle() | {error, reason()}) -> ok | {error, reason()}.
cancel(Handle) ->
    py_port_async:cancel(Handle).

%% @doc Waits for all of them: their outcomes, in the order of the list.
-spec gather([handle() | {error, reason()}]) ->
    [{ok, term()} | {error, reason()}] | {error, reason()}.
gather(Handles) ->
    py_port_async:gather(Handles).

%% Streams -----------------------------------------------------------------------------------------

%% @equiv stream(Ctx, Module, Function, Args, #{})
-spec stream(context(), name(), name(), [term()]) -> {ok, stream()} | {error, reason()}.
stream(Ctx, Module, Function, Args) ->
    py_port_stream:stream(Ctx, Module, Function, Args).

%% @doc Calls a Python function and reads what it returns item by item: a generator, an asynchronous
%% one, any iterator or iterable, an open file. Nothing is produced before it is wanted, and at most
%% two batches ahead; when the caller dies or closes the stream, the generator is closed.
-spec stream(context(), name(), name(), [term()], stream_options()) ->
    {ok, stream()} | {error, reason()}.
stream(Ctx, Module, Function, Args, Opts) ->
    py_port_stream:stream(Ctx, Module, Function, Args, Opts).

%% @equiv next(Stream, infinity)
-spec next(stream()) -> {ok, term()} | done | {error, reason()}.
next(Stream) ->
    py_port_stream:next(Stream).

%% @doc The next item. The end is told once, as `done' or as the error that Python raised, after the
%% items before it; then it is `{error, closed}'. After `{error, timeout}' the stream goes on.
-spec next(stream(), timeout()) -> {ok, term()} | done | {error, reason()}.
next(Stream, Timeout) ->
    py_port_stream:next(Stream, Timeout).

%% @doc `Fun(Item, Acc)' for every item that is left.
-spec fold(fun((term(), Acc) -> Acc), Acc, stream()) -> {ok, Acc} | {error, reason()}.
fold(Fun, Acc, Stream) ->
    py_port_stream:fold(Fun, Acc, Stream).

%% @doc `Fun(Item)' for every item that is left.
-spec foreach(fun((term()) -> term()), stream()) -> ok | {error, reason()}.
foreach(Fun, Stream) ->
    py_port_stream:foreach(Fun, Stream).

%% @doc All items that are left.
-spec to_list(stream()) -> {ok, [term()]} | {error, reason()}.
to_list(Stream) ->
    py_port_stream:to_list(Stream).

%% @doc Asks for `N' batches as messages to the process that opened the stream: `{py_port_stream,
%% Stream, {data, Items}}' as they come, then `{py_port_stream, Stream, passive}', or at the end
%% `{py_port_stream, Stream, done | {error, Reason}}'.
-spec active(stream(), pos_integer()) -> ok | {error, reason()}.
active(Stream, N) ->
    py_port_stream:active(Stream, N).

%% @doc Closes the generator in Python and waits for its `finally' blocks, five seconds at most.
-spec close(stream()) -> ok | {error, reason()}.
close(Stream) ->
    py_port_stream:close(Stream).

%% @equiv open_stream(Ctx, Module, Function, Args, #{})
-spec open_stream(context(), name(), name(), [term()]) -> {ok, stream()} | {error, reason()}.
open_stream(Ctx, Module, Function, Args) ->
    py_port_stream:open_stream(Ctx, Module, Function, Args).

%% @doc Calls a Python function with an iterator (and asynchronous iterator) as its first argument,
%% over what is pushed into the stream. If the function is a generator or returns an iterator, the
%% stream can be read like any other; else {@link result/1} has what it returned. When the caller
%% dies, the iteration in Python raises.
-spec open_stream(context(), name(), name(), [term()], stream_options()) ->
    {ok, stream()} | {error, reason()}.
open_stream(Ctx, Module, Function, Args, Opts) ->
    py_port_stream:open_stream(Ctx, Module, Function, Args, Opts).

%% @equiv push(Stream, Item, infinity)
-spec push(stream(), term()) -> ok | {error, reason()}.
push(Stream, Item) ->
    py_port_stream:push(Stream, Item).

%% @doc Waits while Python is 64 items or 1 MiB behind (options `buffer_items', `buffer_bytes').
%% `{error, busy}': that lasted for `Timeout' ms, and nothing was pushed. `{error, closed}': Python
%% does not want more, or there was to be no more.
-spec push(stream(), term(), timeout()) -> ok | {error, reason()}.
push(Stream, Item, Timeout) ->
    py_port_stream:push(Stream, Item, Timeout).

%% @doc There is no more to push: the iteration in Python ends after what there is.
-spec finish(stream()) -> ok | {error, reason()}.
finish(Stream) ->
    py_port_stream:finish(Stream).

%% @doc The iteration in Python raises, with this reason; what it has not read is dropped.
-spec abort(stream(), term()) -> ok | {error, reason()}.
abort(Stream, Reason) ->
    py_port_stream:abort(Stream, Reason).

%% @equiv result(Stream, infinity)
-spec result(stream()) -> {ok, term()} | {error, reason()}.
result(Stream) ->
    py_port_stream:result(Stream).

%% @doc What the function of {@link open_stream/4} returned, once.
-spec result(stream(), timeout()) -> {ok, term()} | {error, reason()}.
result(Stream, Timeout) ->
    py_port_stream:result(Stream, Timeout).

%% Object references -------------------------------------------------------------------------------

%% @equiv call_method(Ctx, Ref, Name, Args, #{}, #{})
-spec call_method(context(), ref(), name(), [term()]) -> {ok, term()} | {error, reason()}.
call_method(Ctx, Ref, Name, Args) ->
    py_port_call:call_method(Ctx, Ref, Name, Args, #{}, #{}).

%% @equiv call_method(Ctx, Ref, Name, Args, Kwargs, #{})
-spec call_method(context(), ref(), name(), [term()], map()) -> {ok, term()} | {error, reason()}.
call_method(Ctx, Ref, Name, Args, Kwargs) ->
    py_port_call:call_method(Ctx, Ref, Name, Args, Kwargs, #{}).

%% @doc Calls a method of the object that a reference stands for.
-spec call_method(context(), ref(), name(), [term()], map(), call_options()) ->
    {ok, term() | ref()} | {error, reason()}.
call_method(Ctx, Ref, Name, Args, Kwargs, Opts) ->
    py_port_call:call_method(Ctx, Ref, Name, Args, Kwargs, Opts).

%% @equiv getattr(Ctx, Ref, Name, #{})
-spec getattr(context(), ref(), name()) -> {ok, term()} | {error, reason()}.
getattr(Ctx, Ref, Name) ->
    py_port_call:getattr(Ctx, Ref, Name, #{}).

%% @doc An attribute of the object that a reference stands for.
-spec getattr(context(), ref(), name(), call_options()) -> {ok, term() | ref()} | {error, reason()}.
getattr(Ctx, Ref, Name, Opts) ->
    py_port_call:getattr(Ctx, Ref, Name, Opts).

%% @equiv to_term(Ref, #{})
-spec to_term(ref()) -> {ok, term()} | {error, reason()}.
to_term(Ref) ->
    py_port_call:to_term(Ref, #{}).

%% @doc The object as an Erlang term.
-spec to_term(ref(), call_options()) -> {ok, term()} | {error, reason()}.
to_term(Ref, Opts) ->
    py_port_call:to_term(Ref, Opts).

%% @doc Lets the object go. Happens by itself when the process that got the reference dies.
-spec release(ref()) -> ok | {error, reason()}.
release(Ref) ->
    py_port_call:release(Ref).

%% @doc From now on the object lives as long as `Pid' does (or until it is released).
-spec give_away(ref(), pid()) -> ok | {error, reason()}.
give_away(Ref, Pid) ->
    py_port_call:give_away(Ref, Pid).

%% Calls from Python ------------------------------------------------------------------------------

%% @doc From now on `erlang.call(Name, A, B)' in Python runs `Fun([A, B])', in a process of its own.
%% What it returns is the result, also `{error, _}'; what it raises is `erlang.CallError' there. For
%% every context whose option `functions' allows it. A name that is taken is taken over.
-spec register_function(name(), fun(([term()]) -> term())) -> ok | {error, reason()}.
register_function(Name, Fun) ->
    py_port_callbacks:register(Name, Fun).

%% @doc The same with `Module:Function([A, B])', which is looked up at each call.
-spec register_function(name(), module(), atom()) -> ok | {error, reason()}.
register_function(Name, Module, Function) ->
    py_port_callbacks:register(Name, {Module, Function}).

%% @doc What runs at the moment is finished and answered.
-spec unregister_function(name()) -> ok | {error, reason()}.
unregister_function(Name) ->
    py_port_callbacks:unregister(Name).

%% @doc Who called: for functions that Python calls, and processes that these have spawned.
%% `undefined' in every other process, and when the call has been answered.
-spec caller() -> py_port_lineage:caller() | undefined.
caller() ->
    py_port_lineage:caller().

%% Control -----------------------------------------------------------------------------------------

%% @doc Interrupts what the worker's main thread runs now, like Ctrl-C. Its caller gets `{error,
%% interrupted}'.
-spec interrupt(context()) -> ok | {error, not_running | reason()}.
interrupt(Ctx) ->
    py_port_control:interrupt(Ctx, ?CONTROL_TIMEOUT).

%% @equiv ping(Ctx, 5000)
-spec ping(context()) -> pong | {error, reason()}.
ping(Ctx) ->
    py_port_control:ping(Ctx, ?CONTROL_TIMEOUT).

%% @doc Whether the worker answers; it does also while Python code runs.
-spec ping(context(), timeout()) -> pong | {error, reason()}.
ping(Ctx, Timeout) ->
    py_port_control:ping(Ctx, Timeout).

%% @doc What is known about a context and its worker. `rss' (bytes) and `cpu_ms' come from the
%% kernel; `queued', `running', `tasks' and `awaited' (what Python has asked of Erlang and has no answer
%% to) from the worker; each is `undefined' when it cannot be had.
-spec info(context()) -> map() | {error, reason()}.
info(Ctx) ->
    py_port_control:info(Ctx).

%% @doc What Python would print for a Python exception; a sentence for every other reason.
-spec format_error(reason() | {error, reason()} | term()) -> binary().
format_error(Reason) ->
    py_port_error:format(Reason).
