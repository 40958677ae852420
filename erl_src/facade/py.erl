%% @doc Python for those who write erlang_python: the same calls, each in a process of the operating
%% system that a supervisor replaces.
%%
%% This module is the only door to the façade, and nothing but thin functions; {@link py_port} does
%% the work. Whoever starts anew may use that directly.
%%
%% Names of modules and functions are atoms, binaries or strings (UTF-8), and may be dotted. Code is
%% any `unicode:chardata()'. Nothing here raises for what Python, a worker or an unknown pool does:
%% each function returns `{error, Reason}' with a reason of {@link py_errors}, which {@link
%% format_error/1} makes readable. Where a context is wanted, an error in its place is the outcome,
%% so `py:call(py:context(7), ...)' needs no check in between.
%%
%% Calls without a context go through the router to a pool: they have 30 seconds, and `call' takes a
%% slot of {@link py_semaphore}. Calls to a context have as long as the context itself gives, which
%% is for ever unless it was started otherwise. {@link py_forms} says how the forms of one arity are
%% told apart, {@link py_settings} what `compat' settles.
%% @end
-module(py).

-export([call/3, call/4, call/5, eval/1, eval/2, eval/3, eval/4, exec/1, exec/2, exec/3, exec/4]).
-export([cast/3, cast/4, cast/5, spawn_call/3, spawn_call/4, spawn_call/5, await/1, await/2]).
-export([call_async/3, call_async/4, async_call/3, async_call/4, async_await/1, async_await/2]).
-export([async_gather/1, async_gather/2, async_stream/3, async_stream/4, parallel/1, parallel/2]).
-export([stream/3, stream/4, stream_eval/1, stream_eval/2]).
-export([stream_start/3, stream_start/4, stream_start/5, stream_cancel/1, stream_credit/2]).
-export([call_method/3, call_method/4, getattr/2, to_term/1, release/1, is_ref/1]).
-export([register_function/2, register_function/3, unregister_function/1]).
-export([context/0, context/1]).
-export([start_contexts/0, start_contexts/1, stop_contexts/0, contexts_started/0]).
-export([register_pool/2, unregister_pool/1, interrupt/1, format_error/1]).
-export([version/0, execution_mode/0, subinterp_supported/0, reload/1]).
-export([memory_stats/0, memory_stats/1, gc/0, gc/1]).
-export([tracemalloc_start/0, tracemalloc_start/1, tracemalloc_stop/0]).
-export([ensure_venv/2, ensure_venv/3, activate_venv/1, deactivate_venv/0, venv_info/0]).
-export([state_fetch/1, state_store/2, state_remove/1, state_keys/0, state_clear/0]).
-export([state_incr/1, state_incr/2, state_decr/1, state_decr/2]).
-export([shared_dict_new/0, shared_dict_get/2, shared_dict_get/3, shared_dict_set/3]).
-export([shared_dict_del/2, shared_dict_keys/1, shared_dict_destroy/1]).
-export([configure_logging/0, configure_logging/1]).
-export([enable_tracing/0, disable_tracing/0, get_traces/0, clear_traces/0]).
-export_type([py_module/0, py_func/0, py_args/0, py_kwargs/0, py_call/0, py_result/0]).
-export_type([py_context/0, options/0]).

-type py_module() :: py_port:name().
-type py_func() :: py_port:name().
-type py_args() :: [term()].
-type py_kwargs() :: #{atom() | binary() | string() => term()}.
-type failed() :: {error, py_errors:reason()}.
-type py_result() :: {ok, term()} | failed().
-type collected() :: {ok, [term()]} | failed().
%% Of what is given as a list.
-type py_call() ::
    {py_module(), py_func(), py_args()} | {py_module(), py_func(), py_args(), py_kwargs()}.
-type gathered() :: {ok, [term()]} | {error, {gather_failed, [{pos_integer(), term()}]} | term()}.
%% An error in its place is the outcome.
-type py_context() :: py_port:context() | {error, term()}.
%% A name, or any other of {@link py_context_router:get_context/1}.
-type pool() :: py_context_router:which().
%% Those of {@link py_port:call/6}, and the keyword arguments.
-type options() :: #{
    kwargs => py_kwargs(),
    timeout => timeout(),
    return => term | ref,
    trace => binary(),
    thread => boolean(),
    env => py_port:env()
}.

-define(TIMEOUT, 30000).

%% Calls -------------------------------------------------------------------------------------------

%% @equiv call(Module, Function, Args, #{})
-spec call(py_module(), py_func(), py_args()) -> py_result().
call(Module, Function, Args) ->
    py_call:call({router, Module, Function, Args, #{}}, #{}).

%% @doc `(Ctx, Module, Function, Args)', `(Pool, Module, Function, Args)' or `(Module, Function,
%% Args, Kwargs)'. Calls a Python function and waits for what it returns; a coroutine is awaited. At
%% its deadline the caller gets `{error, timeout}' at once, and the Python code is stopped.
-spec call
    (py_context() | pool(), py_module(), py_func(), py_args()) -> py_result();
    (py_module(), py_func(), py_args(), py_kwargs()) -> py_result().
call(A, B, C, D) ->
    py_call:call(py_forms:four(A, B, C, D), #{}).

%% @doc `(Ctx, Module, Function, Args, Options)', `(Pool, Module, Function, Args, Kwargs)' or
%% `(Module, Function, Args, Kwargs, Timeout)'; the last may be options as well. With the option
%% `return => ref' the object stays in Python, and the caller gets a reference to it.
-spec call(
    py_context() | pool() | py_module(),
    py_module() | py_func(),
    py_func() | py_args(),
    py_args() | py_kwargs(),
    options() | py_kwargs() | timeout()
) -> py_result().
call(A, B, C, D, E) ->
    {Call, Options} = py_forms:five(A, B, C, D, E),
    py_call:call(Call, Options).

%% @doc Evaluates an expression.
-spec eval(unicode:chardata()) -> py_result().
eval(Code) ->
    py_call:eval(py_forms:code(Code)).

%% @doc `(Ctx or Pool, Code)' or `(Code, Locals)'.
-spec eval
    (py_context() | pool(), unicode:chardata()) -> py_result();
    (unicode:chardata(), map()) -> py_result().
eval(A, B) ->
    py_call:eval(py_forms:code(A, B)).

%% @doc `(Ctx or Pool, Code, Locals or Timeout)' or `(Code, Locals, Timeout)'. The local names are
%% seen everywhere in the expression, and nowhere after it.
-spec eval
    (py_context() | pool(), unicode:chardata(), map() | timeout()) -> py_result();
    (unicode:chardata(), map(), timeout()) -> py_result().
eval(A, B, C) ->
    py_call:eval(py_forms:code(A, B, C)).

-spec eval(py_context() | pool(), unicode:chardata(), map(), timeout() | options()) -> py_result().
eval(Target, Code, Locals, Options) ->
    py_call:eval(py_forms:code(Target, Code, Locals, Options)).

%% @doc Runs statements.
-spec exec(unicode:chardata()) -> ok | failed().
exec(Code) ->
    py_call:exec(py_forms:code(Code)).

%% @doc `(Ctx or Pool, Code)' or `(Code, Timeout)'; in place of the timeout local names may stand.
-spec exec
    (py_context() | pool(), unicode:chardata()) -> ok | failed();
    (unicode:chardata(), timeout() | map()) -> ok | failed().
exec(A, B) ->
    py_call:exec(py_forms:code(A, B)).

%% @doc `(Ctx or Pool, Code, Timeout or Locals)' or `(Code, Locals, Timeout)'.
-spec exec
    (py_context() | pool(), unicode:chardata(), timeout() | map()) -> ok | failed();
    (unicode:chardata(), map(), timeout()) -> ok | failed().
exec(A, B, C) ->
    py_call:exec(py_forms:code(A, B, C)).

-spec exec(py_context() | pool(), unicode:chardata(), map(), timeout() | options()) ->
    ok | failed().
exec(Target, Code, Locals, Options) ->
    py_call:exec(py_forms:code(Target, Code, Locals, Options)).

%% Calls without waiting ---------------------------------------------------------------------------

%% @equiv cast(Module, Function, Args, #{})
-spec cast(py_module(), py_func(), py_args()) -> reference() | ok | failed().
cast(Module, Function, Args) ->
    py_async:cast({router, Module, Function, Args, #{}}).

%% @doc The forms of {@link call/4}. With `compat' at `'2.0'' returns a reference for {@link
%% await/1}; at `'4.1'' `ok', and what Python raises is logged. Runs to its end also when the caller
%% dies.
-spec cast
    (py_context() | pool(), py_module(), py_func(), py_args()) ->
        reference() | ok | failed();
    (py_module(), py_func(), py_args(), py_kwargs()) -> reference() | ok | failed().
cast(A, B, C, D) ->
    py_async:cast(py_forms:four(A, B, C, D)).

-spec cast(py_context() | pool(), py_module(), py_func(), py_args(), py_kwargs()) ->
    reference() | ok | failed().
cast(Target, Module, Function, Args, Kwargs) ->
    py_async:cast(py_forms:five_kwargs(Target, Module, Function, Args, Kwargs)).

%% @equiv spawn_call(Module, Function, Args, #{})
-spec spawn_call(py_module(), py_func(), py_args()) -> reference().
spawn_call(Module, Function, Args) ->
    py_async:spawn_call({router, Module, Function, Args, #{}}).

%% @doc The forms of {@link call/4}. The caller gets `{py_response, Ref, Result}', which {@link
%% await/1} waits for. Runs to its end also when the caller dies.
-spec spawn_call
    (py_context() | pool(), py_module(), py_func(), py_args()) -> reference();
    (py_module(), py_func(), py_args(), py_kwargs()) -> reference().
spawn_call(A, B, C, D) ->
    py_async:spawn_call(py_forms:four(A, B, C, D)).

-spec spawn_call(py_context() | pool(), py_module(), py_func(), py_args(), py_kwargs()) ->
    reference().
spawn_call(Target, Module, Function, Args, Kwargs) ->
    py_async:spawn_call(py_forms:five_kwargs(Target, Module, Function, Args, Kwargs)).

%% @equiv await(Ref, 30000)
-spec await(reference() | {error, term()}) -> py_result().
await(Ref) ->
    py_async:await(Ref, ?TIMEOUT).

%% @doc The outcome of what the calling process began. After `{error, timeout}' it goes on, and can
%% be awaited again.
-spec await(reference() | {error, term()}, timeout()) -> py_result().
await(Ref, Timeout) ->
    py_async:await(Ref, Timeout).

%% @doc The old name of {@link spawn_call/3}.
-spec call_async(py_module(), py_func(), py_args()) -> reference().
call_async(Module, Function, Args) ->
    spawn_call(Module, Function, Args).

%% @doc The old name of {@link spawn_call/4}.
-spec call_async
    (py_context() | pool(), py_module(), py_func(), py_args()) -> reference();
    (py_module(), py_func(), py_args(), py_kwargs()) -> reference().
call_async(A, B, C, D) ->
    spawn_call(A, B, C, D).

%% @equiv async_call(Module, Function, Args, #{})
-spec async_call(py_module(), py_func(), py_args()) -> reference().
async_call(Module, Function, Args) ->
    py_async:async_call({router, Module, Function, Args, #{}}).

%% @doc Starts a coroutine on the loop of a context; {@link async_await/1} or {@link await/1} waits
%% for it. It is cancelled when the caller dies. The forms are those of {@link call/4}.
-spec async_call
    (py_context() | pool(), py_module(), py_func(), py_args()) -> reference();
    (py_module(), py_func(), py_args(), py_kwargs()) -> reference().
async_call(A, B, C, D) ->
    py_async:async_call(py_forms:four(A, B, C, D)).

%% @equiv async_await(Ref, 30000)
-spec async_await(reference() | {error, term()}) -> py_result().
async_await(Ref) ->
    py_async:await(Ref, ?TIMEOUT).

%% @equiv await(Ref, Timeout)
-spec async_await(reference() | {error, term()}, timeout()) -> py_result().
async_await(Ref, Timeout) ->
    py_async:await(Ref, Timeout).

%% @equiv async_gather(Calls, 30000)
-spec async_gather([py_call()]) -> gathered().
async_gather(Calls) ->
    py_async:gather(Calls, ?TIMEOUT).

%% @doc Coroutines of one context at the same time: what they return, in the order of the list, or
%% which of them failed, counted from 1. The timeout is for all together.
-spec async_gather([py_call()], timeout()) -> gathered().
async_gather(Calls, Timeout) ->
    py_async:gather(Calls, Timeout).

%% @equiv stream(Module, Function, Args)
-spec async_stream(py_module(), py_func(), py_args()) -> collected().
async_stream(Module, Function, Args) ->
    stream(Module, Function, Args).

%% @equiv stream(Module, Function, Args, Kwargs)
-spec async_stream(py_module(), py_func(), py_args(), py_kwargs()) -> collected().
async_stream(Module, Function, Args, Kwargs) ->
    stream(Module, Function, Args, Kwargs).

%% @equiv parallel(Calls, 30000)
-spec parallel([py_call()]) -> collected().
parallel(Calls) ->
    py_async:parallel(Calls, ?TIMEOUT).

%% @doc Calls spread over the contexts of the pool, which run at the same time on as many
%% processors: what they return, in the order of the list, or the first error in that order. All
%% have ended then. The timeout is for all together.
-spec parallel([py_call()], timeout()) -> collected().
parallel(Calls, Timeout) ->
    py_async:parallel(Calls, Timeout).

%% Streams -----------------------------------------------------------------------------------------

%% @equiv stream(Module, Function, Args, #{})
-spec stream(py_module(), py_func(), py_args()) -> collected().
stream(Module, Function, Args) ->
    py_streams:collect({router, Module, Function, Args, #{}}).

%% @doc Everything that the generator (or any other iterable, also an asynchronous one) produces.
%% The forms are those of {@link call/4}. There is no deadline.
-spec stream
    (py_context() | pool(), py_module(), py_func(), py_args()) -> collected();
    (py_module(), py_func(), py_args(), py_kwargs()) -> collected().
stream(A, B, C, D) ->
    py_streams:collect(py_forms:four(A, B, C, D)).

%% @doc Everything in what the expression evaluates to.
-spec stream_eval(unicode:chardata()) -> collected().
stream_eval(Code) ->
    py_streams:collect_eval(py_forms:code(Code)).

%% @doc `(Code, Locals)' or `(Ctx or Pool, Code)'.
-spec stream_eval
    (py_context() | pool(), unicode:chardata()) -> collected();
    (unicode:chardata(), map()) -> collected().
stream_eval(A, B) ->
    py_streams:collect_eval(py_forms:code(A, B)).

%% @equiv stream_start(Module, Function, Args, #{})
-spec stream_start(py_module(), py_func(), py_args()) -> {ok, reference()} | failed().
stream_start(Module, Function, Args) ->
    stream_start(Module, Function, Args, #{}).

%% @doc The owner (the caller, unless `owner' says otherwise) gets `{py_stream, Ref, {data, Item}}'
%% for each item, then `{py_stream, Ref, done}' or `{py_stream, Ref, {error, Reason}}'. When the
%% owner dies the generator is closed. Keyword arguments are the option `kwargs'; for `credit' see
%% {@link stream_credit/2}. `(Ctx, Module, Function, Args)' is taken as well.
-spec stream_start
    (py_module(), py_func(), py_args(), py_streams:options()) ->
        {ok, reference()} | failed();
    (py_context(), py_module(), py_func(), py_args()) ->
        {ok, reference()} | failed().
stream_start(Module, Function, Args, Options) when is_map(Options) ->
    py_streams:start({router, Module, Function, Args, #{}}, Options);
stream_start(A, B, C, D) ->
    py_streams:start(py_forms:four(A, B, C, D), #{}).

%% @doc The same with options.
-spec stream_start(
    py_context() | pool(), py_module(), py_func(), py_args(), py_streams:options()
) -> {ok, reference()} | failed().
stream_start(Target, Module, Function, Args, Options) ->
    py_streams:start(py_forms:five_kwargs(Target, Module, Function, Args, #{}), Options).

%% @doc Closes the generator. The last message is then `{py_stream, Ref, {error, cancelled}}',
%% unless it had ended.
-spec stream_cancel(reference()) -> ok | failed().
stream_cancel(Ref) ->
    py_streams:cancel(Ref).

%% @doc For a stream that was started with `credit => N', which sends N items and then waits: N
%% more.
-spec stream_credit(reference(), pos_integer()) -> ok | failed().
stream_credit(Ref, N) ->
    py_streams:credit(Ref, N).

%% Objects that stay in Python ---------------------------------------------------------------------

%% @equiv call_method(Ref, Method, Args, #{})
-spec call_method(term(), py_func(), py_args()) -> py_result().
call_method(Ref, Method, Args) ->
    py_refs:call_method(Ref, Method, Args, #{}).

%% @doc Calls a method of the object. References come from calls with the option `return => ref'.
-spec call_method(term(), py_func(), py_args(), py_kwargs()) -> py_result().
call_method(Ref, Method, Args, Kwargs) ->
    py_refs:call_method(Ref, Method, Args, Kwargs).

%% @doc An attribute of the object.
-spec getattr(term(), py_func()) -> py_result().
getattr(Ref, Name) ->
    py_refs:getattr(Ref, Name).

%% @doc The object as an Erlang term.
-spec to_term(term()) -> py_result().
to_term(Ref) ->
    py_refs:to_term(Ref).

%% @doc Lets the object go; it goes by itself when the process that got the reference dies.
-spec release(term()) -> ok | failed().
release(Ref) ->
    py_refs:release(Ref).

%% @doc Whether it is a reference.
-spec is_ref(term()) -> boolean().
is_ref(Term) ->
    py_refs:is_ref(Term).

%% Functions for Python ----------------------------------------------------------------------------

%% @doc From now on `erlang.call(Name, A, B)' in Python runs `Fun([A, B])'; what it returns is the
%% result, also `{error, _}'.
-spec register_function(py_func(), fun(([term()]) -> term())) -> ok | failed().
register_function(Name, Fun) ->
    py_callback:register(Name, Fun).

%% @doc The same with `Module:Function([A, B])'.
-spec register_function(py_func(), module(), atom()) -> ok | failed().
register_function(Name, Module, Function) ->
    py_callback:register(Name, {Module, Function}).

%% @doc What runs goes on. Ok also when there is no such name.
-spec unregister_function(py_func()) -> ok | failed().
unregister_function(Name) ->
    py_callback:unregister(Name).

%% Contexts and pools ------------------------------------------------------------------------------

%% @doc The context that the router has for the calling process.
-spec context() -> pid() | failed().
context() ->
    pid_or_error(py_target:find(router)).

%% @doc The context of that number in the default pool, from 1; or one of a pool.
-spec context(pool()) -> pid() | failed().
context(Which) ->
    pid_or_error(py_context_router:find(Which)).

-spec pid_or_error({ok, pid()} | {error, term()}) -> pid() | failed().
pid_or_error({ok, Pid}) -> Pid;
pid_or_error({error, Reason}) -> {error, py_errors:reason(Reason)}.

%% @doc Starts the default pool, as the application environment says.
-spec start_contexts() -> {ok, [pid()]} | failed().
start_contexts() ->
    py_errors:result(py_context_router:start()).

%% @doc With `contexts' (how many) and `mode' (any that erlang_python knows; it is a process
%% always).
-spec start_contexts(map()) -> {ok, [pid()]} | failed().
start_contexts(Options) ->
    py_errors:result(py_context_router:start(Options)).

%% @doc Stops the default pool.
-spec stop_contexts() -> ok.
stop_contexts() ->
    py_context_router:stop().

%% @doc Whether the default pool was started.
-spec contexts_started() -> boolean().
contexts_started() ->
    py_context_router:is_started().

%% @doc Calls of that module, or of that function, go to the pool from now on.
-spec register_pool(atom(), py_module() | {py_module(), py_func()}) -> ok | failed().
register_pool(Pool, Which) ->
    py_errors:result(py_context_router:register_pool(Pool, Which)).

%% @doc Takes back {@link register_pool/2}; ok also if nothing was registered.
-spec unregister_pool(py_module() | {py_module(), py_func()}) -> ok.
unregister_pool(Which) ->
    py_context_router:unregister_pool(Which).

%% @doc Interrupts what runs in the context; its caller gets `{error, interrupted}'.
-spec interrupt(py_context()) -> ok | not_running | failed().
interrupt({error, _} = Error) ->
    Error;
interrupt(Ctx) ->
    case py_port:interrupt(Ctx) of
        {error, not_running} -> not_running;
        Result -> py_errors:result(Result)
    end.

%% @doc A sentence for a reason, with or without `{error, _}' around it.
-spec format_error(term()) -> binary().
format_error(Reason) ->
    py_errors:format(Reason).

%% The interpreter ---------------------------------------------------------------------------------

%% @doc What `sys.version' says.
-spec version() -> {ok, binary()} | failed().
version() -> py_stats:version().

%% @doc Always `process': each context is one.
-spec execution_mode() -> process.
execution_mode() -> py_stats:execution_mode().

%% @doc Always false: a process for each context takes their place.
-spec subinterp_supported() -> false.
subinterp_supported() -> false.

%% @doc Reloads the module in each context where it is loaded.
-spec reload(py_module()) -> ok | {error, term()}.
reload(Module) -> py_stats:reload(Module).

%% @doc Of all running contexts together.
-spec memory_stats() -> {ok, map()} | {error, term()}.
memory_stats() -> py_stats:memory_stats().

%% @doc Of one context.
-spec memory_stats(pid() | {error, term()}) -> {ok, map()} | {error, term()}.
memory_stats({error, _} = Error) -> Error;
memory_stats(Ctx) -> py_stats:memory_stats(Ctx).

%% @doc Collects garbage in all running contexts: how many objects that were.
-spec gc() -> {ok, non_neg_integer()} | {error, term()}.
gc() -> py_stats:gc().

%% @doc The same up to that generation, or of one context.
-spec gc(0..2 | pid() | {error, term()}) -> {ok, non_neg_integer()} | {error, term()}.
gc({error, _} = Error) -> Error;
gc(What) -> py_stats:gc(What).

%% @equiv tracemalloc_start(1)
-spec tracemalloc_start() -> ok | {error, term()}.
tracemalloc_start() -> py_stats:tracemalloc_start().

%% @doc With so many frames of each allocation.
-spec tracemalloc_start(pos_integer()) -> ok | {error, term()}.
tracemalloc_start(Frames) -> py_stats:tracemalloc_start(Frames).

%% @doc Takes back {@link tracemalloc_start/1}, in all running contexts.
-spec tracemalloc_stop() -> ok | {error, term()}.
tracemalloc_stop() -> py_stats:tracemalloc_stop().

%% Virtual environments ----------------------------------------------------------------------------

%% @equiv ensure_venv(Path, Requirements, [])
-spec ensure_venv(file:name_all(), term()) -> ok | {error, term()}.
ensure_venv(Path, Requirements) -> py_venv:ensure_venv(Path, Requirements).

%% @doc See {@link py_venv:ensure_venv/3}.
-spec ensure_venv(file:name_all(), term(), list()) -> ok | {error, term()}.
ensure_venv(Path, Requirements, Options) -> py_venv:ensure_venv(Path, Requirements, Options).

%% @doc See {@link py_venv:activate/1}.
-spec activate_venv(file:name_all()) -> ok | {error, term()}.
activate_venv(Path) -> py_venv:activate(Path).

%% @doc See {@link py_venv:deactivate/0}.
-spec deactivate_venv() -> ok | {error, term()}.
deactivate_venv() -> py_venv:deactivate().

%% @doc Which environment is active, see {@link py_venv:info/0}.
-spec venv_info() -> {ok, map()} | {error, term()}.
venv_info() -> py_venv:info().

%% Shared state ------------------------------------------------------------------------------------

%% @doc The value under the key, or `{error, not_found}'. This and what follows: {@link py_state}.
-spec state_fetch(term()) -> {ok, term()} | {error, not_found | term()}.
state_fetch(Key) -> py_state:fetch(Key).

%% @doc Any term under any key; `{error, full}' when `max_state_entries' are there.
-spec state_store(term(), term()) -> ok | {error, term()}.
state_store(Key, Value) -> py_state:store(Key, Value).

%% @doc Ok also if there is no such key.
-spec state_remove(term()) -> ok | {error, term()}.
state_remove(Key) -> py_state:remove(Key).

%% @doc Of all that is stored, in no order.
-spec state_keys() -> [term()] | {error, term()}.
state_keys() -> py_state:keys().

%% @doc Removes everything.
-spec state_clear() -> ok | {error, term()}.
state_clear() -> py_state:clear().

%% @equiv state_incr(Key, 1)
-spec state_incr(term()) -> integer() | {error, term()}.
state_incr(Key) -> py_state:incr(Key).

%% @doc Adds to the number under the key, 0 if there is none, and returns the sum; atomic.
-spec state_incr(term(), integer()) -> integer() | {error, term()}.
state_incr(Key, By) -> py_state:incr(Key, By).

%% @equiv state_decr(Key, 1)
-spec state_decr(term()) -> integer() | {error, term()}.
state_decr(Key) -> py_state:decr(Key).

%% @doc As {@link state_incr/2}, downwards.
-spec state_decr(term(), integer()) -> integer() | {error, term()}.
state_decr(Key, By) -> py_state:decr(Key, By).

%% @doc A dictionary for several contexts, which ends with the calling process; see {@link
%% py_shared_dict}.
-spec shared_dict_new() -> {ok, term()} | {error, term()}.
shared_dict_new() -> py_shared_dict:new().

%% @doc The value, or `undefined'.
-spec shared_dict_get(term(), term()) -> term().
shared_dict_get(Dict, Key) -> py_shared_dict:get(Dict, Key).

%% @doc The value, or the default.
-spec shared_dict_get(term(), term(), term()) -> term().
shared_dict_get(Dict, Key, Default) -> py_shared_dict:get(Dict, Key, Default).

%% @doc Any term under any key.
-spec shared_dict_set(term(), term(), term()) -> ok | {error, term()}.
shared_dict_set(Dict, Key, Value) -> py_shared_dict:set(Dict, Key, Value).

%% @doc Ok also if there is no such key.
-spec shared_dict_del(term(), term()) -> ok | {error, term()}.
shared_dict_del(Dict, Key) -> py_shared_dict:del(Dict, Key).

%% @doc Its keys, in no order.
-spec shared_dict_keys(term()) -> [term()] | {error, term()}.
shared_dict_keys(Dict) -> py_shared_dict:keys(Dict).

%% @doc Ends it; using it is `{error, destroyed}' from then on.
-spec shared_dict_destroy(term()) -> ok | {error, term()}.
shared_dict_destroy(Dict) -> py_shared_dict:destroy(Dict).

%% Logs and traces ---------------------------------------------------------------------------------

%% @doc From now on what Python logs goes to Erlang's logger.
-spec configure_logging() -> ok | {error, term()}.
configure_logging() -> py_logger:configure().

%% @doc With `level' and `format'.
-spec configure_logging(map()) -> ok | {error, term()}.
configure_logging(Options) -> py_logger:configure(Options).

%% @doc Collects spans from now on, in contexts that run and that start; see {@link py_tracer}.
-spec enable_tracing() -> ok | {error, term()}.
enable_tracing() -> py_tracer:enable().

%% @doc Collects no more. What was collected stays.
-spec disable_tracing() -> ok | {error, term()}.
disable_tracing() -> py_tracer:disable().

%% @doc The spans that were collected.
-spec get_traces() -> {ok, [map()]}.
get_traces() -> py_tracer:get().

%% @doc Forgets the spans that were collected.
-spec clear_traces() -> ok | {error, not_started}.
clear_traces() -> py_tracer:clear().
