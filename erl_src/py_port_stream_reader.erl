%% @doc The process of one stream: it holds the producer in Python, fetches batches ahead of its
%% consumer and gives them out.
%%
%% Promise: at most two batches are here or on their way, and one batch is at most ?BATCH_BYTES or
%% one item, so a stream holds bounded memory on both sides. What the producer raises comes after
%% the items before it. The end is told once. The producer is closed when the consumer closes the
%% stream or dies before the end.
%%
%% Its requests to the worker are plain ones: the owner of the context forwards the answers here
%% undecoded, and a consumer that wants whole batches decodes them itself. Nothing here blocks.
%%
%% opening: the function is being called. asking: a function that was given an inlet has returned,
%% and it is asked whether that can be read. reading: batches are fetched as long as somebody wants
%% any. fetching: the return value that cannot be read is on its way. returned: it is here. closing:
%% the producer's `finally' blocks run; then this process ends.
%%
%% Child of {@link py_port_flow_sup}.
%% @end
-module(py_port_stream_reader).

-behaviour(gen_server).

-include("py_port.hrl").
-include("py_port_wire.hrl").

-export([start/1, unpack/2]).
%% for the supervisor
-export([start_link/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([settings/0]).

-type settings() :: #{
    context := #ctx{},
    %% its death closes the stream; active mode sends to it
    consumer := pid(),
    %% module, function, arguments and keyword arguments, checked
    call := [term()],
    how := #how{},
    inlet := none | py_port_inlet:settings()
}.
-type phase() :: opening | asking | reading | fetching | {returned, term()} | closing.
-type want() :: opened | item | batch | result | close.
-type waiter() :: {reference(), want(), pid()}.

-record(reader, {
    context :: #ctx{},
    %% monitors
    owner :: reference(),
    consumer :: {pid(), reference()},
    call :: [term()],
    how :: #how{},
    inlet :: none | pid(),
    phase = opening :: phase(),
    %% the producer in the worker
    source = none :: none | py_port_call:ref(),
    slots = py_port_stream_slots:new() :: py_port_stream_slots:slots(),
    %% requests to the worker that are not answered
    pending = #{} :: #{reference() => {py_port_wire:id(), open | ask | fetch | take | close}},
    %% consumers that wait, oldest first
    waiting = [] :: [waiter()],
    %% those that have asked and live, by their monitors; without the one that opened the stream
    clients = #{} :: #{pid() => reference()},
    %% batches that may still be sent in active mode
    active = 0 :: non_neg_integer(),
    %% items of the next batch: few at first, because who reads one item may not want a second
    max_items = 1 :: pos_integer(),
    %% bytes given out since the last collection
    passed = 0 :: non_neg_integer()
}).

-define(MAX_ITEMS, 4096).
-define(BATCH_BYTES, 262144).
-define(COLLECT_AFTER, 524288).
%% For `finally' blocks of a producer that is closed.
-define(CLOSE_TIMEOUT, 5000).
%% The end of a process that is known to have ended comes at once.
-define(DOWN_TIMEOUT, 5000).
%% Takes that may be outstanding on top of max_pending: a stream that is open goes on in a context
%% that takes no new calls.
-define(ROOM, 1000).

-spec start(settings()) -> {ok, pid()} | {error, not_started}.
start(Settings) ->
    py_port_flow_sup:start_flow(?MODULE, Settings).

-spec start_link(settings()) -> gen_server:start_ret().
start_link(Settings) ->
    gen_server:start_link(?MODULE, Settings, []).

-spec init(settings()) -> {ok, #reader{}, {continue, term()}}.
init(#{context := #ctx{pid = Owner} = C, consumer := Consumer, call := Call, how := How} = Settings) ->
    %% A job that reads a stream of its own context waits for us: our requests descend from it.
    _ = put('$callers', [Consumer]),
    S = #reader{
        context = C,
        owner = erlang:monitor(process, Owner),
        consumer = {Consumer, erlang:monitor(process, Consumer)},
        call = Call,
        how = How,
        inlet = none
    },
    %% The inlet is another child of our supervisor, which waits for us now.
    {ok, S, {continue, maps:get(inlet, Settings)}}.

-spec handle_continue(none | py_port_inlet:settings(), #reader{}) -> {noreply, #reader{}} | stop().
handle_continue(none, #reader{call = Call} = S) ->
    next(open({'erlang._streams', open_source, Call, #{}}, S));
handle_continue(Settings, #reader{call = Call} = S) ->
    case py_port_inlet:start(Settings) of
        {ok, Inlet} ->
            S1 = S#reader{inlet = Inlet},
            next(open({'erlang._streams', run_with_inlet, [Inlet | Call], #{}}, S1));
        {error, Reason} ->
            next(failed(Reason, S))
    end.

-type stop() :: {stop, normal, #reader{}}.

-spec handle_call(term(), gen_server:from(), #reader{}) -> {reply, {error, closed}, #reader{}}.
handle_call(_, _From, S) ->
    {reply, {error, closed}, S}.

-spec handle_cast({active, pos_integer()}, #reader{}) -> {noreply, #reader{}} | stop().
handle_cast({active, N}, #reader{active = Active} = S) ->
    next(S#reader{active = Active + N, max_items = ?MAX_ITEMS}).

-spec handle_info(term(), #reader{}) -> {noreply, #reader{}} | stop().
handle_info({request, Ref, Client, close}, S) ->
    next(close(closed, wait({Ref, close, Client}, S)));
handle_info({request, Ref, _, _}, #reader{phase = closing} = S) ->
    ok = py_port_ask:answer(Ref, {error, closed}),
    {noreply, S};
handle_info({request, Ref, Client, batch}, S) ->
    next(wait({Ref, batch, Client}, S#reader{max_items = ?MAX_ITEMS}));
handle_info({request, Ref, Client, Want}, S) ->
    next(wait({Ref, Want, Client}, S));
handle_info({leave, Ref}, #reader{waiting = Waiting} = S) ->
    case lists:keytake(Ref, 1, Waiting) of
        {value, _, Rest} ->
            ok = py_port_ask:answer(Ref, left),
            {noreply, S#reader{waiting = Rest}};
        false ->
            {noreply, S}
    end;
handle_info({'DOWN', Owner, process, _, Reason}, #reader{owner = Owner} = S) ->
    next(ended({worker_down, py_port_call:down(Reason)}, S));
handle_info({'DOWN', Ref, process, _, _}, #reader{consumer = {_, Ref}} = S) ->
    next(close(owner_down, S));
handle_info({'DOWN', Ref, process, Pid, _}, #reader{clients = Clients} = S) when
    map_get(Pid, Clients) =:= Ref
->
    %% What it waited for is for the next in line.
    Left = [Waiter || {_, _, Client} = Waiter <- S#reader.waiting, Client =/= Pid],
    {noreply, S#reader{waiting = Left, clients = maps:remove(Pid, Clients)}};
handle_info({'DOWN', Alias, process, _, Reason}, S) ->
    came(Alias, down, py_port_call:down(Reason), S);
handle_info({Alias, Tag, Answer}, S) when is_reference(Alias) ->
    came(Alias, Tag, Answer, S);
handle_info(_, S) ->
    {noreply, S}.

-spec wait(waiter(), #reader{}) -> #reader{}.
wait({_, _, Client} = Waiter, #reader{waiting = Waiting} = S) ->
    watch(Client, S#reader{waiting = Waiting ++ [Waiter]}).

-spec watch(pid(), #reader{}) -> #reader{}.
watch(Client, #reader{consumer = {Client, _}} = S) -> S;
watch(Client, #reader{clients = Clients} = S) when is_map_key(Client, Clients) -> S;
watch(Client, #reader{clients = Clients} = S) ->
    S#reader{clients = Clients#{Client => erlang:monitor(process, Client)}}.

%% Requests to the worker --------------------------------------------------------------------------

-spec open(tuple(), #reader{}) -> #reader{}.
open(Term, #reader{how = How} = S) ->
    request(open, ?K_CALL, Term, How#how{flags = ?F_RETURN_REF, kind = {ref, self()}}, S).

-spec request(open | ask | fetch | take | close, byte(), tuple(), #how{}, #reader{}) -> #reader{}.
request(What, Code, Term, How, #reader{context = C, pending = Pending} = S) ->
    case py_port_call:guarded(fun() -> {sent, send(What, Code, Term, How, room(What, C), S)} end) of
        {sent, {Alias, Id}} -> added(What, Alias, S#reader{pending = Pending#{Alias => {Id, What}}});
        {error, Reason} -> failed(Reason, S)
    end.

-spec added(open | ask | fetch | take | close, reference(), #reader{}) -> #reader{}.
added(take, Alias, #reader{slots = Slots} = S) ->
    S#reader{slots = py_port_stream_slots:ask(Alias, Slots)};
added(_, _, S) ->
    S.

-spec room(open | ask | fetch | take | close, #ctx{}) -> #ctx{}.
room(open, C) -> C;
room(_, #ctx{max_pending = Max} = C) -> C#ctx{max_pending = Max + ?ROOM}.

-spec send(atom(), byte(), tuple(), #how{}, #ctx{}, #reader{}) -> {reference(), py_port_wire:id()}.
send(What, Code, Term, #how{kind = Kind} = How, C, #reader{call = [M, F | _]}) ->
    Asked = {M, {stream, What, F}},
    {Id, Alias, _} = py_port_call:submit(C, Code, Term, Asked, Kind, How),
    {Alias, Id}.

%% Without a deadline: how long an item takes is the producer's business, and the consumer's how
%% long it waits.
-spec plain(#reader{}) -> #how{}.
plain(#reader{how = #how{trace = Trace}}) ->
    #how{timeout = infinity, trace = Trace}.

-spec take(#reader{}) -> #reader{}.
take(#reader{source = Source, max_items = Max} = S) ->
    S1 = S#reader{max_items = min(2 * Max, ?MAX_ITEMS)},
    request(take, ?K_METHOD, {Source, take, [Max, ?BATCH_BYTES], #{}}, plain(S), S1).

%% Answers of the worker ---------------------------------------------------------------------------

-spec came(reference(), atom(), term(), #reader{}) -> {noreply, #reader{}} | stop().
came(Alias, Tag, Answer, #reader{pending = Pending, context = C} = S) ->
    case maps:take(Alias, Pending) of
        {{_, What}, Rest} ->
            S1 = S#reader{pending = Rest},
            next(answered(What, {Alias, Tag, Answer}, C, S1));
        error ->
            {noreply, S}
    end.

-spec answered(open | ask | fetch | take | close, {reference(), atom(), term()}, #ctx{}, #reader{}) ->
    #reader{}.
answered(_, _, _, #reader{phase = closing} = S) ->
    S;
answered(take, {Alias, Tag, Answer}, C, #reader{slots = Slots} = S) ->
    case py_port_stream_slots:fill(Alias, batch(Tag, Answer, C), Slots) of
        {ok, Slots1} -> S#reader{slots = Slots1};
        error -> S
    end;
answered(What, {_, Tag, Answer}, C, S) ->
    case {What, py_port_call:answer(Tag, Answer, C)} of
        {open, {ok, Ref}} -> opened(S#reader{source = Ref});
        {ask, {ok, true}} -> S#reader{phase = reading};
        {ask, {ok, false}} -> fetch(S);
        {fetch, {ok, Value}} -> S#reader{phase = {returned, Value}};
        {_, {error, Reason}} -> failed(Reason, S);
        {_, {ok, Other}} -> failed({bad_reply, Other}, S)
    end.

-spec opened(#reader{}) -> #reader{}.
opened(#reader{inlet = none} = S) ->
    S#reader{phase = reading};
opened(#reader{source = Source} = S) ->
    Term = {'erlang._streams', is_source, [Source], #{}},
    request(ask, ?K_CALL, Term, plain(S), S#reader{phase = asking}).

-spec fetch(#reader{}) -> #reader{}.
fetch(#reader{source = Source} = S) ->
    request(fetch, ?K_TO_TERM, {Source}, plain(S), S#reader{phase = fetching}).

%% A batch of items stays encoded: its first bytes say that it is a pair. Everything else is small.
-spec batch(atom(), term(), #ctx{}) -> py_port_stream_slots:batch().
batch(ok, <<131, 104, 2, _/binary>> = Payload, _) ->
    {encoded, Payload};
batch(Tag, Answer, C) ->
    case py_port_call:answer(Tag, Answer, C) of
        {ok, done} -> done;
        {ok, {bad_item, Path, Why}} -> {error, {bad_term, Path, Why}};
        {ok, Other} -> {error, {bad_reply, Other}};
        {error, _} = Error -> Error
    end.

%% The stream ends with an error, after what is here.
-spec failed(py_port_error:reason(), #reader{}) -> #reader{}.
failed({worker_down, noproc}, #reader{owner = Owner} = S) ->
    %% A request learns that the context is gone, and its monitor why.
    receive
        {'DOWN', Owner, process, _, Reason} -> ended({worker_down, py_port_call:down(Reason)}, S)
    after ?DOWN_TIMEOUT -> ended({worker_down, noproc}, S)
    end;
failed(Reason, S) ->
    ended(Reason, S).

-spec ended(py_port_error:reason(), #reader{}) -> #reader{}.
ended(_, #reader{phase = closing} = S) ->
    S#reader{pending = #{}};
ended(Reason, #reader{slots = Slots} = S) ->
    S#reader{phase = reading, slots = py_port_stream_slots:fail(Reason, Slots), pending = #{}}.

%% What happens next -------------------------------------------------------------------------------

-spec next(#reader{}) -> {noreply, #reader{}} | stop().
next(#reader{phase = closing, pending = Pending} = S) when map_size(Pending) =:= 0 ->
    {stop, normal, tell_waiting({error, closed}, S)};
next(#reader{phase = closing} = S) ->
    {noreply, S};
next(S) ->
    case serve(tell_opened(S)) of
        {ended, End, S1} -> {stop, normal, tell_end(End, S1)};
        {more, S1} -> {noreply, refill(S1)}
    end.

%% A stream into Python is open before its function returns.
-spec tell_opened(#reader{}) -> #reader{}.
tell_opened(#reader{phase = opening, inlet = none} = S) ->
    S;
tell_opened(#reader{waiting = Waiting} = S) ->
    case lists:keytake(opened, 2, Waiting) of
        {value, {Ref, opened, _}, Rest} ->
            Outcome =
                case {S#reader.inlet, py_port_stream_slots:first(S#reader.slots)} of
                    {none, {error, _} = Error} -> Error;
                    _ -> {ok, stream(S)}
                end,
            ok = py_port_ask:answer(Ref, Outcome),
            S#reader{waiting = Rest};
        false ->
            S
    end.

%% Gives what is here to those who want it.
-spec serve(#reader{}) -> {more, #reader{}} | {ended, done | {error, term()}, #reader{}}.
serve(#reader{phase = {returned, Value}} = S) ->
    serve_returned(Value, S);
serve(#reader{slots = Slots} = S) ->
    serve(py_port_stream_slots:first(Slots), S).

-spec serve(none | py_port_stream_slots:batch(), #reader{}) ->
    {more, #reader{}} | {ended, done | {error, term()}, #reader{}}.
serve(_, #reader{waiting = [], active = 0} = S) -> {more, S};
serve({error, _} = Error, S) -> {ended, Error, S};
%% Not before the error: what failed before the value was fetched has a source and is no iterator.
serve(_, #reader{waiting = [{Ref, result, _} | Rest], phase = reading, source = Source} = S) when
    Source =/= none
->
    ok = py_port_ask:answer(Ref, not_a_result()),
    serve(S#reader{waiting = Rest});
serve(none, S) -> {more, S};
serve(done, S) -> {ended, done, S};
serve(Batch, #reader{waiting = []} = S) -> serve(send_batch(Batch, S));
serve(Batch, #reader{waiting = [Waiter | Rest]} = S) ->
    serve(give(Waiter, Batch, S#reader{waiting = Rest})).

-spec not_a_result() -> {error, py_port_error:reason()}.
not_a_result() ->
    {error, {bad_request, <<"the function returned an iterator: read it with next/1">>}}.

%% Nothing to read; the value is given once.
-spec serve_returned(term(), #reader{}) -> {more, #reader{}} | {ended, term(), #reader{}}.
serve_returned(Value, #reader{waiting = Waiting} = S) ->
    case lists:keytake(result, 2, Waiting) of
        {value, {Ref, result, _}, Rest} ->
            ok = py_port_ask:answer(Ref, {ok, Value}),
            {ended, done, S#reader{waiting = Rest}};
        false ->
            S1 = tell_waiting(done, S),
            {more, tell_active(done, S1)}
    end.

-spec give(waiter(), py_port_stream_slots:batch(), #reader{}) -> #reader{}.
give({Ref, item, _}, {items, [Item | Rest]}, #reader{slots = Slots} = S) ->
    ok = py_port_ask:answer(Ref, {ok, Item}),
    case Rest of
        [] -> S#reader{slots = py_port_stream_slots:drop_first(Slots)};
        _ -> S#reader{slots = py_port_stream_slots:replace_first({items, Rest}, Slots)}
    end;
give({Ref, Want, _} = Waiter, {encoded, Payload}, S) when Want =:= item; node(Ref) =/= node() ->
    unpacked(fun(Items, S1) -> give(Waiter, {items, Items}, S1) end, Waiter, Payload, S);
give({Ref, batch, _}, Batch, #reader{context = C} = S) ->
    ok = py_port_ask:answer(Ref, {batch, Batch, C}),
    given(Batch, S).

-spec send_batch(py_port_stream_slots:batch(), #reader{}) -> #reader{}.
send_batch({encoded, Payload}, S) ->
    unpacked(fun(Items, S1) -> send_batch({items, Items}, S1) end, none, Payload, S);
send_batch({items, Items} = Batch, #reader{consumer = {Consumer, _}, active = Active} = S) ->
    Consumer ! {py_port_stream, stream(S), {data, Items}},
    _ = Active =:= 1 andalso (Consumer ! {py_port_stream, stream(S), passive}),
    given(Batch, S#reader{active = Active - 1}).

%% Decodes the first batch here and goes on with its items. If it cannot be decoded, the stream ends
%% for whoever wanted it.
-spec unpacked(Do, none | waiter(), binary(), #reader{}) -> #reader{} when
    Do :: fun(([term(), ...], #reader{}) -> #reader{}).
unpacked(Do, Who, Payload, #reader{slots = Slots, context = C, waiting = Waiting} = S) ->
    S1 = passed(byte_size(Payload), S),
    case unpack(Payload, C) of
        {ok, Items} ->
            Do(Items, S1#reader{slots = py_port_stream_slots:replace_first({items, Items}, Slots)});
        {error, _} = Error ->
            S1#reader{
                slots = py_port_stream_slots:replace_first(Error, Slots),
                waiting = [W || W <- [Who], W =/= none] ++ Waiting
            }
    end.

%% @doc Of an encoded batch.
-spec unpack(binary(), #ctx{}) -> {ok, [term(), ...]} | {error, py_port_error:reason()}.
unpack(Payload, C) ->
    case py_port_call:answer(ok, Payload, C) of
        {ok, {items, [_ | _] = Items}} when length(Items) > 0 -> {ok, Items};
        {ok, Other} -> {error, {bad_reply, Other}};
        {error, _} = Error -> Error
    end.

-spec given(py_port_stream_slots:batch(), #reader{}) -> #reader{}.
given({encoded, Payload}, S) ->
    drop(passed(byte_size(Payload), S));
given(_, S) ->
    drop(S).

-spec drop(#reader{}) -> #reader{}.
drop(#reader{slots = Slots} = S) ->
    S#reader{slots = py_port_stream_slots:drop_first(Slots)}.

%% References to large binaries would not make our heap grow, so nothing else would free them.
-spec passed(non_neg_integer(), #reader{}) -> #reader{}.
passed(Size, #reader{passed = Passed} = S) when Passed + Size < ?COLLECT_AFTER ->
    S#reader{passed = Passed + Size};
passed(_, S) ->
    true = garbage_collect(),
    S#reader{passed = 0}.

%% The consumer's demand is the producer's credit: nothing is produced before somebody wants it.
-spec refill(#reader{}) -> #reader{}.
refill(#reader{phase = reading, waiting = [], active = 0, max_items = 1} = S) ->
    S;
refill(#reader{phase = reading, slots = Slots} = S) ->
    case py_port_stream_slots:has_room(Slots) of
        true -> refill(take(S));
        false -> S
    end;
refill(S) ->
    S.

%% The end -----------------------------------------------------------------------------------------

-spec tell_end(done | {error, term()}, #reader{}) -> #reader{}.
tell_end(End, S) ->
    tell_active(End, tell_waiting(End, S)).

-spec tell_waiting(done | {error, term()}, #reader{}) -> #reader{}.
tell_waiting(End, #reader{waiting = Waiting} = S) ->
    lists:foreach(
        fun
            ({Ref, close, _}) -> py_port_ask:answer(Ref, ok);
            ({Ref, result, _}) when End =:= done -> py_port_ask:answer(Ref, not_a_result());
            ({Ref, _, _}) -> py_port_ask:answer(Ref, End)
        end,
        Waiting
    ),
    S#reader{waiting = []}.

-spec tell_active(done | {error, term()}, #reader{}) -> #reader{}.
tell_active(_, #reader{active = 0} = S) ->
    S;
tell_active(End, #reader{consumer = {Consumer, _}} = S) ->
    Consumer ! {py_port_stream, stream(S), End},
    S#reader{active = 0}.

-spec stream(#reader{}) -> {'$py_stream', pid(), pid() | none}.
stream(#reader{inlet = Inlet}) ->
    {'$py_stream', self(), Inlet}.

%% What was asked for is cancelled, so that a producer that waits is woken; then it is closed. Our
%% end releases it.
-spec close(closed | owner_down, #reader{}) -> #reader{}.
close(_, #reader{phase = closing} = S) ->
    S;
close(Why, #reader{pending = Pending, context = #ctx{pid = Owner}} = S) ->
    _ = is_pid(S#reader.inlet) andalso py_port_inlet:abort(S#reader.inlet, Why),
    maps:foreach(fun(Alias, {Id, _}) -> Owner ! {cancel, Alias, Id} end, Pending),
    {Closers, Others} = lists:partition(fun({_, Want, _}) -> Want =:= close end, S#reader.waiting),
    S1 = tell_waiting({error, closed}, S#reader{waiting = Others}),
    close_source(S1#reader{phase = closing, waiting = Closers, pending = #{}}).

-spec close_source(#reader{}) -> #reader{}.
close_source(#reader{source = none} = S) ->
    S;
close_source(#reader{source = Source} = S) ->
    How = (plain(S))#how{timeout = ?CLOSE_TIMEOUT},
    request(close, ?K_METHOD, {Source, close, [], #{}}, How, S).
