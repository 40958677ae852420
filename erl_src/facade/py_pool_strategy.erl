%% @doc Which slot of a pool serves a request. Pure.
%% @end
-module(py_pool_strategy).

-export([of_scheduler/2, of_key/2, least_loaded/1]).
-export_type([slot/0]).

%% A slot and the work in flight of its context, in the order in which they are to be preferred.
-type slot() :: {pos_integer(), non_neg_integer() | unstarted | starting}.

%% @doc The callers of one scheduler share a context.
-spec of_scheduler(pos_integer(), pos_integer()) -> pos_integer().
of_scheduler(SchedulerId, Size) ->
    (SchedulerId - 1) rem Size + 1.

%% @doc The same slot for the same key, as long as the pool has that size; in a pool of another size
%% as few keys as possible move (the highest of one hash per slot wins).
-spec of_key(term(), [Slot, ...]) -> Slot when Slot :: term().
of_key(Key, Slots) ->
    {_, Slot} = lists:max([{erlang:phash2({Key, Slot}), Slot} || Slot <- Slots]),
    Slot.

%% @doc An idle context before one that has to be started, and that before one with work; of those
%% with work the one with the least. One that is being started is waited for only when there is
%% nothing else.
-spec least_loaded([slot(), ...]) -> pos_integer().
least_loaded(Slots) ->
    [First | Rest] = Slots,
    {N, _} = lists:foldl(fun lesser/2, First, Rest),
    N.

-spec lesser(slot(), slot()) -> slot().
lesser({_, A} = New, {_, B} = Best) ->
    case cost(A) < cost(B) of
        true -> New;
        false -> Best
    end.

%% Between no work (0) and some (1 or more); any atom is greater than every number.
-spec cost(non_neg_integer() | unstarted | starting) -> number() | starting.
cost(unstarted) -> 0.5;
cost(Load) -> Load.
