%% @doc Coroutines on the event loop of a context.
%%
%% Each context has a loop, and it runs by itself; so there is nothing to start here. The loop of
%% this module is that of the first context of the default pool, the same for every process, so
%% coroutines that are started by several processes meet there. {@link py_event_loop_pool} has one
%% for each context.
%%
%% A function that is no coroutine function is called like any other. `kwargs' are its keyword
%% arguments. A loop is `{Context, loop}'; the functions that take one first are for those who have
%% got it from {@link get_loop/0}.
%% @end
-module(py_event_loop).

-export([start_link/0, stop/0, register_callbacks/0, get_loop/0]).
-export([run_async/2, run/3, run/4, run/5, create_task/3, create_task/4, create_task/5]).
-export([spawn_task/3, spawn_task/4, spawn_task/5, await/1, await/2]).
-export([exec/1, exec/2, eval/1, eval/2]).
-export_type([loop/0, options/0]).

-type loop() :: {py_port:context(), loop}.
-type options() :: #{
    %% 5000
    timeout => timeout(),
    kwargs => map()
}.
-type result() :: {ok, term()} | {error, py_errors:reason()}.

-define(TIMEOUT, 5000).

%% @doc There is no process to start: a supervisor goes on without one.
-spec start_link() -> ignore.
start_link() -> ignore.

%% @doc Nothing runs that would have to be stopped.
-spec stop() -> ok.
stop() -> ok.

%% @doc Python has what it needs from the start.
-spec register_callbacks() -> ok.
register_callbacks() -> ok.

%% @doc The loop of the first context of the pool `default', which is started if it does not run.
-spec get_loop() -> {ok, loop()} | {error, py_errors:reason()}.
get_loop() ->
    loop_of(py_context_router:find(1)).

-spec loop_of({ok, py_port:context()} | {error, term()}) ->
    {ok, loop()} | {error, py_errors:reason()}.
loop_of({ok, Ctx}) -> {ok, {Ctx, loop}};
loop_of({error, Reason}) -> {error, py_errors:reason(Reason)}.

%% @doc `{async_result, Ref, Result}' goes to the process `caller', with the `ref' of the request.
%% When that process dies the coroutine is cancelled.
-spec run_async(loop() | {error, term()}, py_async:request()) -> ok | {error, py_errors:reason()}.
run_async(Loop, Request) ->
    py_async:run_async(target(Loop), Request).

%% @equiv run(Module, Function, Args, #{})
-spec run(py_port:name(), py_port:name(), [term()]) -> result().
run(Module, Function, Args) ->
    run(mine(), Module, Function, Args, #{}).

%% @doc Calls the function and waits for what it returns. Five seconds, unless `timeout' says
%% otherwise; the coroutine is cancelled then. `(Loop, Module, Function, Args)' is taken as well.
-spec run
    (py_port:name(), py_port:name(), [term()], options()) -> result();
    (loop(), py_port:name(), py_port:name(), [term()]) -> result().
run({_, loop} = Loop, Module, Function, Args) ->
    run(Loop, Module, Function, Args, #{});
run(Module, Function, Args, Options) ->
    run(mine(), Module, Function, Args, Options).

-spec run(loop() | {error, term()}, py_port:name(), py_port:name(), [term()], options()) ->
    result().
run(Loop, Module, Function, Args, Options) when is_map(Options) ->
    Kwargs = maps:get(kwargs, Options, #{}),
    Rest = maps:merge(#{timeout => ?TIMEOUT}, maps:remove(kwargs, Options)),
    py_call:call({target(Loop), Module, Function, Args, Kwargs}, Rest);
run(_, _, _, _, _) ->
    {error, {bad_argument, options, <<"must be a map">>}}.

%% @equiv create_task(Module, Function, Args, #{})
-spec create_task(py_port:name(), py_port:name(), [term()]) -> reference().
create_task(Module, Function, Args) ->
    create_task(Module, Function, Args, #{}).

%% @doc Does not wait: {@link await/1} does, or the message `{async_result, Ref, Result}' is taken.
%% The task is cancelled when the caller dies. `(Loop, Module, Function, Args)' is taken as well.
-spec create_task
    (py_port:name(), py_port:name(), [term()], map()) -> reference();
    (loop(), py_port:name(), py_port:name(), [term()]) -> reference().
create_task({_, loop} = Loop, Module, Function, Args) ->
    create_task(Loop, Module, Function, Args, #{});
create_task(Module, Function, Args, Kwargs) ->
    create_task(mine_later(), Module, Function, Args, Kwargs).

-spec create_task(Loop, py_port:name(), py_port:name(), [term()], map()) -> reference() when
    Loop :: loop() | py_target:target() | {error, term()}.
create_task(Loop, Module, Function, Args, Kwargs) ->
    py_async:task({target(Loop), Module, Function, Args, Kwargs}, async_result, #{}).

%% @equiv spawn_task(Module, Function, Args, #{})
-spec spawn_task(py_port:name(), py_port:name(), [term()]) -> ok | {error, py_errors:reason()}.
spawn_task(Module, Function, Args) ->
    spawn_task(Module, Function, Args, #{}).

%% @doc Nobody waits for it and it does not end with its caller; what it raises is logged. `(Loop,
%% Module, Function, Args)' is taken as well.
-spec spawn_task
    (py_port:name(), py_port:name(), [term()], map()) -> ok | {error, py_errors:reason()};
    (loop(), py_port:name(), py_port:name(), [term()]) -> ok | {error, py_errors:reason()}.
spawn_task({_, loop} = Loop, Module, Function, Args) ->
    spawn_task(Loop, Module, Function, Args, #{});
spawn_task(Module, Function, Args, Kwargs) ->
    spawn_task(mine_later(), Module, Function, Args, Kwargs).

-spec spawn_task(Loop, py_port:name(), py_port:name(), [term()], map()) ->
    ok | {error, py_errors:reason()}
when
    Loop :: loop() | py_target:target() | {error, term()}.
spawn_task(Loop, Module, Function, Args, Kwargs) ->
    py_call:cast({target(Loop), Module, Function, Args, Kwargs}).

%% @equiv await(Ref, 5000)
-spec await(reference()) -> result().
await(Ref) ->
    await(Ref, ?TIMEOUT).

%% @doc The outcome of a task of the calling process. After `{error, timeout}' the task goes on.
-spec await(reference(), timeout()) -> result().
await(Ref, Timeout) ->
    py_async:await(Ref, Timeout).

%% @doc Runs statements where tasks of the module `__main__' find what they define.
-spec exec(unicode:chardata()) -> ok | {error, py_errors:reason()}.
exec(Code) ->
    exec(mine(), Code).

-spec exec(loop() | {error, term()}, unicode:chardata()) -> ok | {error, py_errors:reason()}.
exec(Loop, Code) ->
    py_call:exec({target(Loop), Code, #{}, #{}}).

%% @doc Evaluates an expression there.
-spec eval(unicode:chardata()) -> result().
eval(Code) ->
    eval(mine(), Code).

-spec eval(loop() | {error, term()}, unicode:chardata()) -> result().
eval(Loop, Code) ->
    py_call:eval({target(Loop), Code, #{}, #{}}).

%% The same, for who does not wait for its context to run.
-spec mine_later() -> py_target:target().
mine_later() ->
    {pool, 1}.

%% An error in place of a loop is the outcome.
-spec mine() -> loop() | {error, term()}.
mine() ->
    case get_loop() of
        {ok, Loop} -> Loop;
        {error, _} = Error -> Error
    end.

-spec target(loop() | py_target:target() | {error, term()}) -> py_target:target().
target({Ctx, loop}) -> {context, Ctx};
target({pool, _} = Pool) -> Pool;
target(Other) -> {context, Other}.
