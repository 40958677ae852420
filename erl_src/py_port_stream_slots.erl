%% @doc The batches of a stream that are here or on their way: the pure half of {@link
%% py_port_stream_reader}.
%%
%% Invariant: at most ?MAX of them, so what a stream holds is bounded whatever its producer does and
%% however slow its consumer is. They are given out in the order in which they were asked for,
%% whatever the order in which they come.
%% @end
-module(py_port_stream_slots).

-export([new/0, has_room/1, ask/2, fill/3, first/1, replace_first/2, drop_first/1, fail/2]).
-export_type([slots/0, key/0, batch/0]).

%% Two: one to be consumed while the next one is produced.
-define(MAX, 2).

%% Names the request that fetches it.
-type key() :: reference().
%% encoded, or what is left of one that is read item by item; or the end
-type batch() :: {encoded, binary()} | {items, [term(), ...]} | done | {error, term()}.
-opaque slots() :: [{key(), asked | batch()}].

-spec new() -> slots().
new() ->
    [].

%% @doc Whether another batch is to be asked for: not after the end.
-spec has_room(slots()) -> boolean().
has_room(Slots) ->
    length(Slots) < ?MAX andalso not lists:any(fun({_, Batch}) -> is_end(Batch) end, Slots).

-spec is_end(asked | batch()) -> boolean().
is_end(done) -> true;
is_end({error, _}) -> true;
is_end(_) -> false.

-spec ask(key(), slots()) -> slots().
ask(Key, Slots) ->
    Slots ++ [{Key, asked}].

%% @doc `error': nobody asked for it.
-spec fill(key(), batch(), slots()) -> {ok, slots()} | error.
fill(Key, Batch, Slots) ->
    case lists:keyfind(Key, 1, Slots) of
        {Key, asked} -> {ok, lists:keyreplace(Key, 1, Slots, {Key, Batch})};
        _ -> error
    end.

-spec first(slots()) -> batch() | none.
first([{_, Batch} | _]) when Batch =/= asked -> Batch;
first(_) -> none.

-spec replace_first(batch(), slots()) -> slots().
replace_first(Batch, [{Key, _} | Rest]) ->
    [{Key, Batch} | Rest].

-spec drop_first(slots()) -> slots().
drop_first([_ | Rest]) ->
    Rest.

%% @doc Nothing more comes: what is here, and then this error, unless it had ended before.
-spec fail(term(), slots()) -> slots().
fail(Reason, [{_, asked} | _]) -> [{make_ref(), {error, Reason}}];
fail(Reason, []) -> [{make_ref(), {error, Reason}}];
fail(Reason, [{_, Batch} = Slot | Rest]) ->
    case is_end(Batch) of
        true -> [Slot];
        false -> [Slot | fail(Reason, Rest)]
    end.
