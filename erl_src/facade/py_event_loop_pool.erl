%% @doc Event loops for many processes: one for each context of the default pool. A process always
%% gets the same one, so what it starts meets there, while processes spread over the pool.
%%
%% The functions are those of {@link py_event_loop}, and those that take a loop first take one of
%% either module.
%% @end
-module(py_event_loop_pool).

-export([start_link/0, stop/0, get_loop/0, get_all_loops/0, get_stats/0]).
-export([get_all_sessions/0, is_owngil_enabled/0]).
-export([run_async/1, run/3, run/4, run/5, create_task/3, create_task/4, create_task/5]).
-export([spawn_task/3, spawn_task/4, spawn_task/5, await/1, await/2]).
-export([exec/1, exec/2, eval/1, eval/2]).

-type loop() :: py_event_loop:loop().
-type result() :: {ok, term()} | {error, py_errors:reason()}.

%% @doc There is no process to start: a supervisor goes on without one.
-spec start_link() -> ignore.
start_link() -> ignore.

%% @doc Nothing runs that would have to be stopped.
-spec stop() -> ok.
stop() -> ok.

%% @doc The loop of the calling process.
-spec get_loop() -> {ok, loop()} | {error, py_errors:reason()}.
get_loop() ->
    case py_context_router:find({default, {key, self()}}) of
        {ok, Ctx} -> {ok, {Ctx, loop}};
        {error, Reason} -> {error, py_errors:reason(Reason)}
    end.

%% @doc Those whose contexts run: they start when they are first needed.
-spec get_all_loops() -> {ok, [loop()]}.
get_all_loops() ->
    {ok, [{Ctx, loop} || Ctx <- py_context_router:contexts()]}.

%% @doc `num_loops': how many there may be; `running': how many of them run.
-spec get_stats() -> #{num_loops := non_neg_integer(), running := non_neg_integer()}.
get_stats() ->
    #{
        num_loops => py_context_router:num_contexts(),
        running => length(py_context_router:contexts())
    }.

%% @doc A process needs no session here.
-spec get_all_sessions() -> [].
get_all_sessions() -> [].

%% @doc Every loop has a process, and so a lock, of its own; the mode of that name is not needed.
-spec is_owngil_enabled() -> false.
is_owngil_enabled() -> false.

%% @equiv py_event_loop:run_async(Loop, Request)
-spec run_async(py_async:request()) -> ok | {error, py_errors:reason()}.
run_async(Request) ->
    py_event_loop:run_async(mine(), Request).

%% @equiv run(Module, Function, Args, #{})
-spec run(py_port:name(), py_port:name(), [term()]) -> result().
run(Module, Function, Args) ->
    run(mine(), Module, Function, Args, #{}).

%% @doc See {@link py_event_loop:run/4}.
-spec run
    (py_port:name(), py_port:name(), [term()], py_event_loop:options()) -> result();
    (loop(), py_port:name(), py_port:name(), [term()]) -> result().
run({_, loop} = Loop, Module, Function, Args) ->
    run(Loop, Module, Function, Args, #{});
run(Module, Function, Args, Options) ->
    run(mine(), Module, Function, Args, Options).

-spec run(loop() | {error, term()}, py_port:name(), py_port:name(), [term()], Options) ->
    result()
when
    Options :: py_event_loop:options().
run(Loop, Module, Function, Args, Options) ->
    py_event_loop:run(Loop, Module, Function, Args, Options).

%% @equiv create_task(Module, Function, Args, #{})
-spec create_task(py_port:name(), py_port:name(), [term()]) -> reference().
create_task(Module, Function, Args) ->
    create_task(mine_later(), Module, Function, Args, #{}).

%% @doc See {@link py_event_loop:create_task/4}.
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
    py_event_loop:create_task(Loop, Module, Function, Args, Kwargs).

%% @equiv spawn_task(Module, Function, Args, #{})
-spec spawn_task(py_port:name(), py_port:name(), [term()]) -> ok | {error, py_errors:reason()}.
spawn_task(Module, Function, Args) ->
    spawn_task(mine_later(), Module, Function, Args, #{}).

%% @doc See {@link py_event_loop:spawn_task/4}.
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
    py_event_loop:spawn_task(Loop, Module, Function, Args, Kwargs).

%% @equiv await(Ref, 5000)
-spec await(reference()) -> result().
await(Ref) -> py_event_loop:await(Ref).

%% @doc The outcome of a task of the calling process.
-spec await(reference(), timeout()) -> result().
await(Ref, Timeout) -> py_event_loop:await(Ref, Timeout).

%% @doc Runs statements where tasks of the module `__main__' find what they define.
-spec exec(unicode:chardata()) -> ok | {error, py_errors:reason()}.
exec(Code) -> exec(mine(), Code).

-spec exec(loop() | {error, term()}, unicode:chardata()) -> ok | {error, py_errors:reason()}.
exec(Loop, Code) -> py_event_loop:exec(Loop, Code).

%% @doc Evaluates an expression there.
-spec eval(unicode:chardata()) -> result().
eval(Code) -> eval(mine(), Code).

-spec eval(loop() | {error, term()}, unicode:chardata()) -> result().
eval(Loop, Code) -> py_event_loop:eval(Loop, Code).

%% The same, for who does not wait for its context to run.
-spec mine_later() -> py_target:target().
mine_later() ->
    {pool, {default, {key, self()}}}.

-spec mine() -> loop() | {error, term()}.
mine() ->
    case get_loop() of
        {ok, Loop} -> Loop;
        {error, _} = Error -> Error
    end.
