%% @doc A bounded FIFO with producers and consumers that wait: the pure half of {@link
%% py_port_fifo}.
%%
%% Every function that changes something returns `{Effects, Buffer}': answers that the process which
%% owns the buffer sends. Nothing here sends, monitors or reads a clock.
%%
%% Promise: what was admitted reaches exactly one consumer that confirmed it, in the order in which
%% it was admitted, or it is still here. What is handed over is kept until the consumer confirms it;
%% what a consumer did not confirm goes back to the front. The end is told to consumers only when
%% nothing can come back any more.
%%
%% Invariants: consumers wait only while nothing is queued; producers wait only while the buffer is
%% full; after the end nobody waits as a producer.
%%
%% A producer or consumer is known by the reference of its one request.
%% @end
-module(py_port_buffer).

-export([new/2, new/3, put/5, take/4, confirm/2, leave/2, finish/2, abort/2, is_waiting/2, is_handed/2, info/1]).
-export_type([buffer/0, effect/0, who/0, patience/0]).

-type who() :: reference().
%% What a request does when it cannot be served at once.
-type patience() :: wait | try_once.
-type effect() ::
    {put, who(), ok | full | closed}
    | {take, who(), {items, [term(), ...]} | empty | {ended, term()}}
    %% it waited, and does not any more
    | {left, who()}.
-type sequence() :: non_neg_integer().
%% The number keeps the order when something comes back.
-type entry() :: {sequence(), term(), non_neg_integer()}.
%% Those who wait, oldest first, and where each of them stands.
-record(line, {
    order = gb_trees:empty() :: gb_trees:tree(sequence(), {who(), term()}),
    place = #{} :: #{who() => sequence()}
}).
-record(buffer, {
    max_items :: pos_integer() | infinity,
    max_bytes :: pos_integer() | infinity,
    max_taken :: pos_integer() | infinity,
    next = 0 :: sequence(),
    %% came back from a consumer, in order; older than everything in `queue'
    returned = [] :: [entry()],
    queue = queue:new() :: queue:queue(entry()),
    %% of `returned' and `queue' together
    items = 0 :: non_neg_integer(),
    bytes = 0 :: non_neg_integer(),
    %% {Item, Size}
    producers = #line{} :: #line{},
    %% how many items at most
    consumers = #line{} :: #line{},
    %% handed over and not confirmed
    out = #{} :: #{who() => [entry()]},
    %% finished: what is here is still to be had; aborted: nothing is
    state = open :: open | {finished, term()} | {aborted, term()}
}).
-opaque buffer() :: #buffer{}.

%% @doc Full is who has that many items or that many bytes: one item may be larger than `MaxBytes'.
-spec new(pos_integer() | infinity, pos_integer() | infinity) -> buffer().
new(MaxItems, MaxBytes) ->
    new(MaxItems, MaxBytes, infinity).

%% @doc One take gets one item, or several of at most so many bytes together.
-spec new(pos_integer() | infinity, pos_integer() | infinity, pos_integer() | infinity) -> buffer().
new(MaxItems, MaxBytes, MaxTaken) ->
    #buffer{max_items = MaxItems, max_bytes = MaxBytes, max_taken = MaxTaken}.

-spec put(who(), term(), non_neg_integer(), patience(), buffer()) -> {[effect()], buffer()}.
put(Who, Item, Size, Patience, #buffer{state = open} = B) ->
    %% Nobody is overtaken: others wait only while it is full.
    case is_full(B) of
        false ->
            {Effects, B1} = serve(admit(Item, Size, B)),
            {[{put, Who, ok} | Effects], B1};
        true when Patience =:= try_once ->
            {[{put, Who, full}], B};
        true ->
            {[], B#buffer{producers = join(Who, {Item, Size}, B#buffer.producers)}}
    end;
put(Who, _, _, _, B) ->
    {[{put, Who, closed}], B}.

%% @doc At least one item, and at most `Max'.
-spec take(who(), pos_integer(), patience(), buffer()) -> {[effect()], buffer()}.
take(Who, Max, _, #buffer{items = N} = B) when N > 0 ->
    {Effect, B1} = hand_over(Who, Max, B),
    {Effects, B2} = refill(B1),
    {[Effect | Effects], B2};
take(Who, Max, Patience, B) ->
    case over(B) of
        {yes, Why} -> {[{take, Who, {ended, Why}}], B};
        no when Patience =:= try_once -> {[{take, Who, empty}], B};
        no -> {[], B#buffer{consumers = join(Who, Max, B#buffer.consumers)}}
    end.

%% @doc The consumer has what it was handed.
-spec confirm(who(), buffer()) -> {[effect()], buffer()}.
confirm(Who, #buffer{out = Out} = B) ->
    serve(B#buffer{out = maps:remove(Who, Out)}).

%% @doc The request is given up: because of its time, or because its process died. What it was
%% handed and did not confirm comes back.
-spec leave(who(), buffer()) -> {[effect()], buffer()}.
leave(Who, #buffer{producers = Producers, consumers = Consumers, out = Out} = B) ->
    case {quit(Who, Producers), quit(Who, Consumers), maps:take(Who, Out)} of
        {{_, Rest}, _, _} -> {[{left, Who}], B#buffer{producers = Rest}};
        {_, {_, Rest}, _} -> {[{left, Who}], B#buffer{consumers = Rest}};
        {_, _, {Entries, Rest}} -> serve(give_back(Entries, B#buffer{out = Rest}));
        {error, error, error} -> {[], B}
    end.

%% @doc Takes no more; what is here can still be had, and then consumers hear `{ended, Why}'. The
%% first end is the one that counts, but an abort overrides a finish.
-spec finish(term(), buffer()) -> {[effect()], buffer()}.
finish(Why, #buffer{state = open} = B) ->
    close(B#buffer{state = {finished, Why}});
finish(_, B) ->
    {[], B}.

%% @doc Takes no more and gives no more.
-spec abort(term(), buffer()) -> {[effect()], buffer()}.
abort(_, #buffer{state = {aborted, _}} = B) ->
    {[], B};
abort(Why, B) ->
    close(B#buffer{
        state = {aborted, Why}, returned = [], queue = queue:new(), items = 0, bytes = 0
    }).

-spec is_waiting(who(), buffer()) -> boolean().
is_waiting(Who, #buffer{producers = #line{place = P}, consumers = #line{place = C}}) ->
    is_map_key(Who, P) orelse is_map_key(Who, C).

%% @doc Whether it was handed something that it has not confirmed.
-spec is_handed(who(), buffer()) -> boolean().
is_handed(Who, #buffer{out = Out}) ->
    is_map_key(Who, Out).

-spec info(buffer()) -> map().
info(#buffer{producers = Producers, consumers = Consumers, out = Out, state = State} = B) ->
    #{
        size => B#buffer.items,
        bytes => B#buffer.bytes,
        capacity => B#buffer.max_items,
        max_bytes => B#buffer.max_bytes,
        unconfirmed => lists:sum([length(Entries) || Entries <- maps:values(Out)]),
        waiting_senders => map_size(Producers#line.place),
        waiting_receivers => map_size(Consumers#line.place),
        closed => State =/= open
    }.

%% Moving items ------------------------------------------------------------------------------------

-spec is_full(buffer()) -> boolean().
is_full(#buffer{items = Items, bytes = Bytes, max_items = MaxItems, max_bytes = MaxBytes}) ->
    %% An atom is greater than every integer.
    Items >= MaxItems orelse Bytes >= MaxBytes.

-spec admit(term(), non_neg_integer(), buffer()) -> buffer().
admit(Item, Size, #buffer{next = N, queue = Queue, items = Items, bytes = Bytes} = B) ->
    B#buffer{
        next = N + 1,
        queue = queue:in({N, Item, Size}, Queue),
        items = Items + 1,
        bytes = Bytes + Size
    }.

-spec give_back([entry()], buffer()) -> buffer().
give_back(_, #buffer{state = {aborted, _}} = B) ->
    B;
give_back(Entries, #buffer{returned = Returned, items = Items, bytes = Bytes} = B) ->
    B#buffer{
        returned = lists:merge(Entries, Returned),
        items = Items + length(Entries),
        bytes = Bytes + bytes(Entries)
    }.

%% Consumers that wait get what there is, then producers that wait get their room, until nothing
%% moves any more.
-spec serve(buffer()) -> {[effect()], buffer()}.
serve(#buffer{items = 0} = B) ->
    tell_end(B);
serve(#buffer{consumers = Consumers} = B) ->
    case first(Consumers) of
        {Who, Max, Rest} ->
            {Effect, B1} = hand_over(Who, Max, B#buffer{consumers = Rest}),
            {Effects, B2} = refill(B1),
            {[Effect | Effects], B2};
        none ->
            {[], B}
    end.

-spec refill(buffer()) -> {[effect()], buffer()}.
refill(#buffer{producers = Producers} = B) ->
    case not is_full(B) andalso first(Producers) of
        {Who, {Item, Size}, Rest} ->
            {Effects, B1} = refill(admit(Item, Size, B#buffer{producers = Rest})),
            {[{put, Who, ok} | Effects], B1};
        _ ->
            serve(B)
    end.

-spec hand_over(who(), pos_integer(), buffer()) -> {effect(), buffer()}.
hand_over(Who, Max, #buffer{items = Items, bytes = Bytes, out = Out} = B) ->
    {Entries, B1} = pop(min(Max, Items), B#buffer.max_taken, B),
    B2 = B1#buffer{
        items = Items - length(Entries),
        bytes = Bytes - bytes(Entries),
        out = Out#{Who => Entries}
    },
    {{take, Who, {items, [Item || {_, Item, _} <- Entries]}}, B2}.

-spec pop(pos_integer(), pos_integer() | infinity, buffer()) -> {[entry(), ...], buffer()}.
pop(N, Room, B) ->
    {{_, _, Size} = First, B1} = pop(B),
    {Entries, B2} = pop_more(N - 1, left(Room, Size), B1),
    {[First | Entries], B2}.

-spec pop_more(non_neg_integer(), integer() | infinity, buffer()) -> {[entry()], buffer()}.
pop_more(0, _, B) ->
    {[], B};
pop_more(N, Room, B) ->
    case pop(B) of
        {{_, _, Size}, _} when Size > Room ->
            {[], B};
        {{_, _, Size} = Entry, B1} ->
            {Entries, B2} = pop_more(N - 1, left(Room, Size), B1),
            {[Entry | Entries], B2}
    end.

-spec pop(buffer()) -> {entry(), buffer()}.
pop(#buffer{returned = [Entry | Rest]} = B) ->
    {Entry, B#buffer{returned = Rest}};
pop(#buffer{queue = Queue} = B) ->
    {{value, Entry}, Rest} = queue:out(Queue),
    {Entry, B#buffer{queue = Rest}}.

-spec left(integer() | infinity, non_neg_integer()) -> integer() | infinity.
left(infinity, _) -> infinity;
left(Room, Size) -> Room - Size.

-spec bytes([entry()]) -> non_neg_integer().
bytes(Entries) ->
    lists:sum([Size || {_, _, Size} <- Entries]).

%% The end -----------------------------------------------------------------------------------------

-spec close(buffer()) -> {[effect()], buffer()}.
close(#buffer{producers = Producers} = B) ->
    Closed = [{put, Who, closed} || Who <- all(Producers)],
    {Effects, B1} = serve(B#buffer{producers = #line{}}),
    {Closed ++ Effects, B1}.

-spec tell_end(buffer()) -> {[effect()], buffer()}.
tell_end(#buffer{consumers = Consumers} = B) ->
    case over(B) of
        {yes, Why} ->
            Told = [{take, Who, {ended, Why}} || Who <- all(Consumers)],
            {Told, B#buffer{consumers = #line{}}};
        no ->
            {[], B}
    end.

%% Whether nothing will ever come any more. What was handed over may still come back.
-spec over(buffer()) -> {yes, term()} | no.
over(#buffer{state = {aborted, Why}}) -> {yes, Why};
over(#buffer{state = {finished, Why}, items = 0, out = Out}) when map_size(Out) =:= 0 -> {yes, Why};
over(_) -> no.

%% Lines -------------------------------------------------------------------------------------------

-spec join(who(), term(), #line{}) -> #line{}.
join(Who, What, #line{order = Order, place = Place}) ->
    N =
        case gb_trees:is_empty(Order) of
            true -> 0;
            false -> element(1, gb_trees:largest(Order)) + 1
        end,
    #line{order = gb_trees:insert(N, {Who, What}, Order), place = Place#{Who => N}}.

-spec first(#line{}) -> {who(), term(), #line{}} | none.
first(#line{place = Place}) when map_size(Place) =:= 0 ->
    none;
first(#line{order = Order, place = Place}) ->
    {_, {Who, What}, Rest} = gb_trees:take_smallest(Order),
    {Who, What, #line{order = Rest, place = maps:remove(Who, Place)}}.

-spec quit(who(), #line{}) -> {term(), #line{}} | error.
quit(Who, #line{order = Order, place = Place}) ->
    case maps:take(Who, Place) of
        {N, Rest} ->
            {{_, What}, Order1} = gb_trees:take(N, Order),
            {What, #line{order = Order1, place = Rest}};
        error ->
            error
    end.

-spec all(#line{}) -> [who()].
all(#line{order = Order}) ->
    [Who || {Who, _} <- gb_trees:values(Order)].
