%% @doc Streams: values that flow out of Python, into it, or both ways, for as long as they like.
%%
%% Everything here runs in the calling process; {@link py_port_stream_reader} is the process of a
%% stream. A stream belongs to the process that opened it: when that dies, the producer in Python is
%% closed. Others may read from it too; each item goes to one of them. The end (`done' or an error)
%% is told once, to everybody who waits; whoever asks later gets `{error, closed}'.
%% @end
-module(py_port_stream).

-include("py_port.hrl").

-export([stream/4, stream/5, open_stream/4, open_stream/5]).
-export([next/1, next/2, fold/3, foreach/2, to_list/1, close/1, active/2]).
-export([push/2, push/3, finish/1, abort/2, result/1, result/2]).
%% called on the context's node
-export([open_here/3]).
-export_type([stream/0, options/0]).

-import(py_port_args, [bad/2]).

-opaque stream() :: {'$py_stream', pid(), pid() | none}.
-type options() :: #{
    kwargs => map(),
    %% of the call that makes the producer; of the function itself for open_stream/5
    timeout => timeout(),
    trace => binary(),
    %% where a function of `__main__' is looked for
    env => py_port_call:ref() | {error, py_port_error:reason()},
    %% what push/2,3 may run ahead of Python, for open_stream/5
    buffer_items => pos_integer(),
    buffer_bytes => pos_integer()
}.
-type direction() :: out | into.
-type reason() :: closed | py_port_error:reason().

-define(BUFFER_ITEMS, 64).
-define(BUFFER_BYTES, 1048576).

%% Opening -----------------------------------------------------------------------------------------

%% @equiv stream(Context, Module, Function, Args, #{})
-spec stream(term(), term(), term(), term()) -> {ok, stream()} | {error, reason()}.
stream(Context, Module, Function, Args) ->
    stream(Context, Module, Function, Args, #{}).

-spec stream(term(), term(), term(), term(), term()) -> {ok, stream()} | {error, reason()}.
stream(Context, Module, Function, Args, Opts) ->
    open(out, Context, [Module, Function, Args], Opts).

%% @equiv open_stream(Context, Module, Function, Args, #{})
-spec open_stream(term(), term(), term(), term()) -> {ok, stream()} | {error, reason()}.
open_stream(Context, Module, Function, Args) ->
    open_stream(Context, Module, Function, Args, #{}).

-spec open_stream(term(), term(), term(), term(), term()) -> {ok, stream()} | {error, reason()}.
open_stream(Context, Module, Function, Args, Opts) ->
    open(into, Context, [Module, Function, Args], Opts).

-spec open(direction(), term(), [term()], term()) -> {ok, stream()} | {error, reason()}.
open(Direction, Context, Call, Opts) ->
    py_port_call:guarded(fun() ->
        case py_port_call:find(Context) of
            #ctx{pid = Pid} ->
                open_here({Direction, self()}, Pid, {Call, Opts});
            {remote, Node, There} ->
                Args = [{Direction, self()}, There, {Call, Opts}],
                py_port_remote:apply(Node, {?MODULE, open_here}, Args, none, infinity)
        end
    end).

%% @private
-spec open_here({direction(), pid()}, pid() | atom(), {[term()], term()}) ->
    {ok, stream()} | {error, reason()}.
open_here({Direction, Consumer}, Context, {[Module, Function, Args], Opts}) ->
    py_port_call:guarded(fun() ->
        #ctx{} = C = py_port_call:find(Context),
        is_map(Opts) orelse bad(options, "must be a map"),
        Own = maps:with([kwargs, buffer_items, buffer_bytes], Opts),
        How = py_port_args:how(maps:without(maps:keys(Own), Opts), default_timeout(Direction, C)),
        ok = py_port_call:own_env(How, C),
        How#how.kind =:= term orelse bad(return, "a stream has no such option"),
        Settings = #{
            context => C,
            consumer => Consumer,
            call => call(Module, Function, Args, maps:get(kwargs, Own, #{}), How),
            how => How,
            inlet => inlet(Direction, Own, C)
        },
        case py_port_stream_reader:start(Settings) of
            {ok, Pid} -> await_opened(Pid);
            {error, _} = Error -> Error
        end
    end).

%% A function that reads a stream runs as long as the stream does.
-spec default_timeout(direction(), #ctx{}) -> timeout().
default_timeout(out, #ctx{call_timeout = Timeout}) -> Timeout;
default_timeout(into, _) -> infinity.

-spec call(term(), term(), term(), term(), #how{}) -> [term()].
call(Module, Function, Args, Kwargs, #how{thread = false} = How) ->
    {_, Call, _, _} = py_port_call:request(Module, Function, Args, Kwargs, How),
    py_port_args:names_as_binaries(Call);
call(_, _, _, _, _) ->
    bad(thread, "a stream has no such option").

%% What is taken at once has to fit into a frame, in which items take a little more than they weigh.
-spec inlet(direction(), map(), #ctx{}) -> none | py_port_inlet:settings().
inlet(out, _, _) ->
    none;
inlet(into, Opts, #ctx{max_frame = MaxFrame}) ->
    #{
        items => positive(buffer_items, maps:get(buffer_items, Opts, ?BUFFER_ITEMS)),
        bytes => positive(buffer_bytes, maps:get(buffer_bytes, Opts, ?BUFFER_BYTES)),
        taken => MaxFrame div 2
    }.

-spec positive(atom(), term()) -> pos_integer().
positive(_, N) when is_integer(N), N > 0 -> N;
positive(Which, _) -> bad(Which, "must be a positive number").

-spec await_opened(pid()) -> {ok, stream()} | {error, reason()}.
await_opened(Pid) ->
    case py_port_ask:ask(Pid, opened, infinity) of
        {ok, _} = Opened ->
            Opened;
        {error, _} = Error ->
            _ = py_port_ask:ask(Pid, close, infinity),
            Error;
        gone ->
            {error, closed}
    end.

%% Reading -----------------------------------------------------------------------------------------

%% @equiv next(Stream, infinity)
-spec next(stream()) -> {ok, term()} | done | {error, reason()}.
next(Stream) ->
    next(Stream, infinity).

%% @doc After `{error, timeout}' nothing has been taken, and the stream goes on.
-spec next(stream(), timeout()) -> {ok, term()} | done | {error, reason()}.
next(Stream, Timeout) ->
    py_port_call:guarded(fun() -> ask(Stream, item, py_port_args:timeout(Timeout)) end).

-spec ask(stream(), item | batch | result, timeout()) -> term().
ask(Stream, Want, Timeout) ->
    case py_port_ask:ask(pid(Stream), Want, Timeout) of
        gone -> {error, closed};
        left -> {error, timeout};
        Answer -> Answer
    end.

%% @doc `Fun(Item, Acc)' for every item. When it raises, the stream is closed first.
-spec fold(fun((term(), Acc) -> Acc), Acc, stream()) -> {ok, Acc} | {error, reason()}.
fold(Fun, Acc, Stream) ->
    py_port_call:guarded(fun() ->
        is_function(Fun, 2) orelse bad('fun', "must be a function of two arguments"),
        batches(
            fun(Items, A) -> closing_on_error(Stream, fun() -> lists:foldl(Fun, A, Items) end) end,
            Acc,
            Stream
        )
    end).

%% @doc `Fun(Item)' for every item. When it raises, the stream is closed first.
-spec foreach(fun((term()) -> term()), stream()) -> ok | {error, reason()}.
foreach(Fun, Stream) ->
    py_port_call:guarded(fun() ->
        is_function(Fun, 1) orelse bad('fun', "must be a function of one argument"),
        Each = fun(Items, ok) ->
            closing_on_error(Stream, fun() -> lists:foreach(Fun, Items) end)
        end,
        case batches(Each, ok, Stream) of
            {ok, ok} -> ok;
            {error, _} = Error -> Error
        end
    end).

%% @doc All items that are left.
-spec to_list(stream()) -> {ok, [term()]} | {error, reason()}.
to_list(Stream) ->
    py_port_call:guarded(fun() ->
        case batches(fun(Items, Acc) -> lists:reverse(Items, Acc) end, [], Stream) of
            {ok, Reversed} -> {ok, lists:reverse(Reversed)};
            {error, _} = Error -> Error
        end
    end).

-spec batches(fun(([term()], Acc) -> Acc), Acc, stream()) -> {ok, Acc} | {error, reason()}.
batches(Do, Acc, Stream) ->
    case ask(Stream, batch, infinity) of
        {batch, {items, Items}, _} -> batches(Do, Do(Items, Acc), Stream);
        {batch, {encoded, Payload}, C} ->
            case py_port_stream_reader:unpack(Payload, C) of
                {ok, Items} ->
                    batches(Do, Do(Items, Acc), Stream);
                {error, _} = Error ->
                    ok = close(Stream),
                    Error
            end;
        done -> {ok, Acc};
        {error, _} = Error -> Error
    end.

-spec closing_on_error(stream(), fun(() -> Result)) -> Result.
closing_on_error(Stream, Do) ->
    try
        Do()
    catch
        Class:Reason:Stack ->
            ok = close(Stream),
            erlang:raise(Class, Reason, Stack)
    end.

%% @doc Sends up to `N' more batches, as they come, to the process that opened the stream, as
%% `{py_port_stream, Stream, {data, Items}}', and then `{py_port_stream, Stream, passive}'. The end
%% comes as `{py_port_stream, Stream, done | {error, Reason}}' instead.
-spec active(stream(), pos_integer()) -> ok | {error, reason()}.
active(Stream, N) ->
    py_port_call:guarded(fun() ->
        Pid = pid(Stream),
        ok = gen_server:cast(Pid, {active, positive(batches, N)})
    end).

%% @doc Closes the producer in Python: its `finally' blocks have run when this returns, if they take
%% less than five seconds. Also for a stream that has ended.
-spec close(stream()) -> ok | {error, reason()}.
close(Stream) ->
    py_port_call:guarded(fun() ->
        _ = py_port_ask:ask(pid(Stream), close, infinity),
        ok
    end).

%% Into Python -------------------------------------------------------------------------------------

%% @equiv push(Stream, Item, infinity)
-spec push(stream(), term()) -> ok | {error, reason()}.
push(Stream, Item) ->
    push(Stream, Item, infinity).

%% @doc Waits while the buffer is full. `{error, busy}': it was full for that long, and the item was
%% not pushed. `{error, closed}': Python does not want more, or the stream is finished.
-spec push(stream(), term(), timeout()) -> ok | {error, busy | reason()}.
push(Stream, Item, Timeout) ->
    py_port_call:guarded(fun() ->
        py_port_inlet:push(inlet(Stream), Item, py_port_args:timeout(Timeout))
    end).

%% @doc There is no more to come: Python's iteration ends after what has been pushed.
-spec finish(stream()) -> ok | {error, reason()}.
finish(Stream) ->
    py_port_call:guarded(fun() -> py_port_inlet:finish(inlet(Stream)) end).

%% @doc Python's iteration raises `erlang.StreamAborted' with the reason, now; what has been pushed
%% and not been read is dropped.
-spec abort(stream(), term()) -> ok | {error, reason()}.
abort(Stream, Reason) ->
    py_port_call:guarded(fun() -> py_port_inlet:abort(inlet(Stream), Reason) end).

%% @equiv result(Stream, infinity)
-spec result(stream()) -> {ok, term()} | {error, reason()}.
result(Stream) ->
    result(Stream, infinity).

%% @doc What the function returned, once. After `{error, timeout}' it can be asked again.
-spec result(stream(), timeout()) -> {ok, term()} | {error, reason()}.
result(Stream, Timeout) ->
    py_port_call:guarded(fun() ->
        _ = inlet(Stream),
        ask(Stream, result, py_port_args:timeout(Timeout))
    end).

%% Arguments ---------------------------------------------------------------------------------------

-spec pid(term()) -> pid().
pid({'$py_stream', Pid, Inlet}) when is_pid(Pid), is_pid(Inlet) orelse Inlet =:= none -> Pid;
pid(_) -> bad(stream, "is not a stream").

-spec inlet(term()) -> pid().
inlet(Stream) ->
    _ = pid(Stream),
    case Stream of
        {_, _, none} -> bad(stream, "goes out of Python only");
        {_, _, Inlet} -> Inlet
    end.
