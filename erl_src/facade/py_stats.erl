%% @doc Figures of the façade's contexts, and what concerns all of them: collecting garbage, tracing
%% allocations, loading a module anew.
%%
%% Without a context named, every running one is asked at the same time, and sums are given; where
%% none runs yet, one is started. A context that is busy for longer than 30 seconds counts as a
%% failure.
%% @end
-module(py_stats).

-export([version/0, execution_mode/0, memory_stats/0, memory_stats/1, gc/0, gc/1, gc/2]).
-export([tracemalloc_start/0, tracemalloc_start/1, tracemalloc_stop/0, reload/1]).
-export_type([memory/0]).

-type memory() :: #{
    %% for each generation what `gc.get_stats()' says
    gc_stats := [#{binary() => non_neg_integer()}],
    gc_count := {non_neg_integer(), non_neg_integer(), non_neg_integer()},
    %% of the first context
    gc_threshold := {non_neg_integer(), non_neg_integer(), non_neg_integer()},
    %% bytes; both only where allocations are traced
    traced_memory_current => non_neg_integer(),
    traced_memory_peak => non_neg_integer(),
    %% bytes of the workers, from the kernel; `undefined' where they cannot be had
    rss := non_neg_integer() | undefined,
    contexts := pos_integer()
}.
-type error() :: {error, py_errors:reason()}.
-define(MODULE_THERE, 'erlang._stats').
-define(TIMEOUT, 30000).

%% @doc What `sys.version' says.
-spec version() -> {ok, binary()} | error().
version() ->
    case one() of
        {ok, Ctx} -> py_errors:result(py_port:eval(Ctx, "__import__('sys').version"));
        {error, _} = Error -> py_errors:result(Error)
    end.

%% @doc Each context is a process of the operating system.
-spec execution_mode() -> process.
execution_mode() ->
    process.

%% @doc Of all running contexts together.
-spec memory_stats() -> {ok, memory()} | error().
memory_stats() ->
    case all(memory, []) of
        {ok, Outcomes} -> {ok, lists:foldr(fun add/2, none, [memory(C, M) || {C, M} <- Outcomes])};
        {error, _} = Error -> Error
    end.

%% @doc Of one context.
-spec memory_stats(pid()) -> {ok, memory()} | error().
memory_stats(Ctx) ->
    case one(Ctx, memory, []) of
        {ok, Memory} -> {ok, memory(Ctx, Memory)};
        {error, _} = Error -> Error
    end.

-spec memory(pid(), {list(), tuple(), tuple(), tuple() | atom()}) -> memory().
memory(Ctx, {Stats, Count, Threshold, Traced}) ->
    Memory = #{
        gc_stats => Stats,
        gc_count => Count,
        gc_threshold => Threshold,
        rss => rss(py_port:info(Ctx)),
        contexts => 1
    },
    case Traced of
        {Current, Peak} ->
            Memory#{traced_memory_current => Current, traced_memory_peak => Peak};
        _ ->
            Memory
    end.

-spec rss(map() | {error, term()}) -> non_neg_integer() | undefined.
rss(#{rss := Rss}) -> Rss;
rss(_) -> undefined.

%% The second may be none. Thresholds are the first one's.
-spec add(memory(), memory() | none) -> memory().
add(A, none) ->
    A;
add(A, B) ->
    maps:merge_with(fun sum/3, B, A).

-spec sum(atom() | binary(), term(), term()) -> term().
sum(gc_threshold, _, First) -> First;
sum(gc_stats, A, B) -> lists:zipwith(fun(X, Y) -> maps:merge_with(fun sum/3, X, Y) end, A, B);
sum(gc_count, {A, B, C}, {X, Y, Z}) -> {A + X, B + Y, C + Z};
sum(_, undefined, B) -> B;
sum(_, A, undefined) -> A;
sum(_, A, B) -> A + B.

%% @doc How many unreachable objects a full collection in all running contexts found.
-spec gc() -> {ok, non_neg_integer()} | error().
gc() ->
    gc(2).

%% @doc The same of one generation, 0 to 2; or of one context.
-spec gc(0..2 | pid()) -> {ok, non_neg_integer()} | error().
gc(Ctx) when is_pid(Ctx) ->
    gc(Ctx, 2);
gc(Generation) ->
    case all(collect, [Generation]) of
        {ok, Outcomes} -> {ok, lists:sum([N || {_, N} <- Outcomes])};
        {error, _} = Error -> Error
    end.

%% @doc Of one generation in one context.
-spec gc(pid(), 0..2) -> {ok, non_neg_integer()} | error().
gc(Ctx, Generation) ->
    one(Ctx, collect, [Generation]).

%% @equiv tracemalloc_start(1)
-spec tracemalloc_start() -> ok | error().
tracemalloc_start() ->
    tracemalloc_start(1).

%% @doc From now on the contexts that run count what Python allocates, with so many frames of each
%% traceback. It costs time and memory.
-spec tracemalloc_start(pos_integer()) -> ok | error().
tracemalloc_start(Frames) ->
    done(all(start_tracing, [Frames])).

%% @doc Takes back {@link tracemalloc_start/1}; what was counted is forgotten.
-spec tracemalloc_stop() -> ok | error().
tracemalloc_stop() ->
    done(all(stop_tracing, [])).

%% @doc Loads the module's source anew in each running context that has it loaded. For each context
%% in which it failed the list has the same element, and why.
-spec reload(py_import:name()) -> ok | {error, [{context, py_errors:reason()}] | py_errors:reason()}.
reload(Module) ->
    try py_environment:name(Module) of
        Name -> reload_everywhere(Name)
    catch
        error:{bad_name, _} ->
            {error, {bad_argument, module, <<"must be an atom, a binary or a string">>}}
    end.

-spec reload_everywhere(binary()) -> ok | {error, [{context, py_errors:reason()}]}.
reload_everywhere(Name) ->
    Outcomes = py_environment:everywhere(?MODULE_THERE, reload_module, [Name], default),
    case [{context, py_errors:reason(Reason)} || {_, {error, Reason}} <- Outcomes] of
        [] -> ok;
        Failed -> {error, Failed}
    end.

%% Asking ------------------------------------------------------------------------------------------

%% One that has just ended may still be in the table.
-spec one() -> {ok, py_port:context()} | {error, term()}.
one() ->
    case lists:search(fun is_process_alive/1, py_pool:running()) of
        {value, Ctx} -> {ok, Ctx};
        false -> py_context_router:find(default)
    end.

-spec one(pid(), atom(), [term()]) -> {ok, term()} | error().
one(Ctx, Function, Args) ->
    Opts = #{timeout => ?TIMEOUT},
    Outcome = py_port:call(Ctx, ?MODULE_THERE, Function, Args, #{}, Opts),
    py_errors:result(checked(Function, Outcome)).

%% The first error counts.
-spec all(atom(), [term()]) -> {ok, [{pid(), term()}]} | error().
all(Function, Args) ->
    case one() of
        {ok, _} ->
            Outcomes = py_environment:everywhere(?MODULE_THERE, Function, Args, ?TIMEOUT),
            asked([{Ctx, checked(Function, Outcome)} || {Ctx, Outcome} <- Outcomes]);
        {error, _} = Error -> py_errors:result(Error)
    end.

-spec asked([{pid(), {ok, term()} | {error, py_port:reason()}}]) ->
    {ok, [{pid(), term()}, ...]} | error().
asked([]) ->
    {error, {context_died, noproc}};
asked(Outcomes) ->
    case [Error || {_, {error, _} = Error} <- Outcomes] of
        [Error | _] -> py_errors:result(Error);
        [] -> {ok, [{Ctx, Value} || {Ctx, {ok, Value}} <- Outcomes]}
    end.

%% Python code can replace what is called there, and a worker can answer what it likes.
-spec checked(atom(), Outcome) -> Outcome | {error, py_port:reason()} when
    Outcome :: {ok, term()} | {error, py_port:reason()}.
checked(Function, {ok, Value} = Outcome) ->
    case is_sound(Function, Value) of
        true -> Outcome;
        false -> {error, {bad_reply, {unexpected_result_of, Function}}}
    end;
checked(_, Error) ->
    Error.

-spec is_sound(atom(), term()) -> boolean().
is_sound(memory, {[A, B, C], Count, Threshold, Traced}) when is_map(A), is_map(B), is_map(C) ->
    Figures = lists:append([maps:values(M) || M <- [A, B, C]]),
    is_counts(3, Count) andalso is_counts(3, Threshold) andalso
        (is_atom(Traced) orelse is_counts(2, Traced)) andalso lists:all(fun is_count/1, Figures);
is_sound(memory, _) ->
    false;
is_sound(collect, N) ->
    is_count(N);
is_sound(_, _) ->
    true.

-spec is_counts(pos_integer(), term()) -> boolean().
is_counts(Size, Counts) ->
    is_tuple(Counts) andalso tuple_size(Counts) =:= Size andalso
        lists:all(fun is_count/1, tuple_to_list(Counts)).

-spec is_count(term()) -> boolean().
is_count(N) ->
    is_integer(N) andalso N >= 0.

-spec done({ok, term()} | error()) -> ok | error().
done({ok, _}) -> ok;
done({error, _} = Error) -> Error.
