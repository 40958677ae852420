%% @doc Requests that are being stopped, and what their late answers mean: the pure half of the
%% stopping ladder.
%%
%% A request comes here when nobody waits for it any more (its time is up, or its caller died) and
%% the worker is told to cancel it. It leaves when the worker says that it is over, or, if the worker
%% does not say so in time, with the worker. Nothing here sends, kills or reads a clock: every
%% function says what the owner must do.
%%
%% The time is counted in quarters, and one that a coroutine stood behind somebody else's call does
%% not count: so the worker is asked about that once more at the end of each.
%%
%% Invariant: an id is either in the table of requests or being stopped here, never in both; so an
%% answer for an id that is in neither was sent twice, with one exception. A CANCEL can overtake its
%% request, while the request's caller is suspended on a full pipe: the worker says that it does not
%% know the id (ENDED 3), and may answer the request when it comes. Such ids are remembered until
%% that answer, which is then no second one.
%% @end
-module(py_port_ladder).

-export([new/1, add/5, quarter/1, late/4, overdue/3, asked_again/4, level/1, size/1]).
-export_type([ladder/0, why/0, step/0, outcome/0, late/0, todo/0]).

-type id() :: py_port_wire:id().
-type why() :: timeout | caller_down | cancelled.
%% dropped: before it ran; cancelled: it was stopped; finished: it ended by itself before the cancel
%% reached it
-type step() :: dropped | cancelled | finished | killed.
-type outcome() :: #{
    id := id(), why := why(), what := term(), step := step(), after_ms := integer()
}.
%% What came for an id that is not in the table of requests. value: anything that leaves nothing
%% behind; ref: an object that now lives in the worker; ended: see docs/protocol.md, section 5
-type late() :: value | {ref, py_port_refs:handle()} | {ended, 0..4}.
%% stopped: say so, and cancel the timer; release: nobody will ever hold the object
-type todo() :: {stopped, outcome(), reference()} | {release, py_port_refs:handle()}.

-define(QUARTERS, 4).

-record(stop, {
    why :: why(),
    %% what was asked for, for reports
    what :: term(),
    %% milliseconds, any clock, the same for all
    since :: integer(),
    timer :: reference(),
    %% quarters of its time that are left
    left = ?QUARTERS :: pos_integer(),
    %% How often the worker has said in this quarter that it stands behind somebody else's call
    %% (ENDED 4). A count, for the word on the quarter before may be late.
    deferred = 0 :: non_neg_integer(),
    %% The worker was asked when the context had no other call any more.
    last = false :: boolean()
}).
-record(ladder, {
    stopping = #{} :: #{id() => #stop{}},
    %% ids whose CANCEL the worker did not know and whose answer may still come
    overtaken = #{} :: #{id() => []},
    max_overtaken :: pos_integer(),
    %% CANCEL frames that may still be answered with ENDED 3 or 4: no more than were sent
    cancels = 0 :: non_neg_integer()
}).
-opaque ladder() :: #ladder{}.

-define(MIN_OVERTAKEN, 4096).

%% @doc For a context with room for so many outstanding requests.
-spec new(pos_integer()) -> ladder().
new(MaxPending) ->
    #ladder{max_overtaken = max(?MIN_OVERTAKEN, 2 * MaxPending)}.

%% @doc How long the timer of a request runs that is to be stopped in `KillAfter' ms.
-spec quarter(non_neg_integer()) -> non_neg_integer().
quarter(KillAfter) ->
    (KillAfter + ?QUARTERS - 1) div ?QUARTERS.

%% @doc The owner sends one CANCEL for it, and starts the timer for {@link overdue/3}.
-spec add(id(), {why(), term()}, integer(), reference(), ladder()) -> ladder().
add(Id, {Why, What}, Now, Timer, #ladder{stopping = Stopping, cancels = Cancels} = Ladder) ->
    Stop = #stop{why = Why, what = What, since = Now, timer = Timer},
    Ladder#ladder{stopping = Stopping#{Id => Stop}, cancels = Cancels + 1}.

%% @doc An answer came for an id that is not in the table of requests. `LastIssued': the newest id
%% that a caller has. `broken': no honest worker sends it.
-spec late(late(), id(), #{last_issued := id(), now := integer()}, ladder()) ->
    {ok, [todo()], ladder()} | {broken, term()}.
late({ended, How}, _, _, #ladder{cancels = 0}) when How >= 3 ->
    {broken, {unexpected_frame, ended}};
late({ended, How} = Late, Id, Facts, #ladder{cancels = Cancels} = Ladder) when How >= 3 ->
    accept(Late, Id, Facts, Ladder#ladder{cancels = Cancels - 1});
late(Late, Id, Facts, Ladder) ->
    accept(Late, Id, Facts, Ladder).

-spec accept(late(), id(), #{last_issued := id(), now := integer()}, ladder()) ->
    {ok, [todo()], ladder()} | {broken, term()}.
accept(_, Id, #{last_issued := Last}, _) when Id > Last ->
    {broken, {id_never_issued, Id}};
accept({ended, 4}, Id, _, #ladder{stopping = Stopping} = Ladder) ->
    case Stopping of
        #{Id := #stop{deferred = Deferred} = Stop} ->
            {ok, [], Ladder#ladder{stopping = Stopping#{Id := Stop#stop{deferred = Deferred + 1}}}};
        %% It was answered while the CANCEL was on its way.
        #{} -> {ok, [], Ladder}
    end;
accept(Late, Id, #{now := Now}, #ladder{stopping = Stopping} = Ladder) ->
    case maps:take(Id, Stopping) of
        {#stop{timer = Timer} = Stop, Rest} ->
            Stopped = {stopped, outcome(Id, step(Late), Now, Stop), Timer},
            {ok, [Stopped | let_go(Late)], overtaken(Late, Id, Ladder#ladder{stopping = Rest})};
        error ->
            again(Late, Id, Ladder)
    end.

%% The request is over already.
-spec again(late(), id(), ladder()) -> {ok, [todo()], ladder()} | {broken, term()}.
again({ended, 3}, _, Ladder) ->
    %% It was answered while the CANCEL was on its way.
    {ok, [], Ladder};
again(Late, Id, #ladder{overtaken = Overtaken} = Ladder) ->
    case maps:take(Id, Overtaken) of
        {_, Rest} -> {ok, let_go(Late), Ladder#ladder{overtaken = Rest}};
        error -> {broken, {answered_twice, Id}}
    end.

-spec step(late()) -> step().
step({ended, 1}) -> cancelled;
step({ended, _}) -> dropped;
step(_) -> finished.

-spec let_go(late()) -> [todo()].
let_go({ref, Handle}) -> [{release, Handle}];
let_go(_) -> [].

%% Bounded, because no answer ever comes for those whose callers died: the older half goes.
-spec overtaken(late(), id(), ladder()) -> ladder().
overtaken({ended, 3}, Id, #ladder{overtaken = Overtaken, max_overtaken = Max} = Ladder) when
    map_size(Overtaken) < Max
->
    Ladder#ladder{overtaken = Overtaken#{Id => []}};
overtaken({ended, 3} = Late, Id, #ladder{overtaken = Overtaken} = Ladder) ->
    Ids = lists:sort(maps:keys(Overtaken)),
    Newer = lists:nthtail(length(Ids) div 2, Ids),
    overtaken(Late, Id, Ladder#ladder{overtaken = maps:with(Newer, Overtaken)});
overtaken(_, _, Ladder) ->
    Ladder.

%% @doc A quarter of the time for the gentle steps is over. `again': there are more. One in which it
%% stood behind somebody else's call is no fault of its own; that is believed while the context has
%% other calls (`Busy'), and once after that, for the last of them may have ended just now. `error':
%% it ended in time.
-spec overdue({id(), integer()}, Busy :: boolean(), ladder()) -> again | {outcome(), why()} | error.
overdue({Id, Now}, Busy, #ladder{stopping = Stopping}) ->
    case Stopping of
        #{Id := #stop{why = Why} = Stop} ->
            case left(Busy, Stop) of
                0 -> {outcome(Id, killed, Now, Stop), Why};
                _ -> again
            end;
        #{} ->
            error
    end.

%% @doc The owner has asked once more, with another CANCEL, and started another timer. `Busy': as
%% {@link overdue/3} was told.
-spec asked_again(id(), reference(), Busy :: boolean(), ladder()) -> ladder().
asked_again(Id, Timer, Busy, #ladder{stopping = Stopping, cancels = Cancels} = Ladder) ->
    #{Id := Stop} = Stopping,
    Again = Stop#stop{timer = Timer, left = left(Busy, Stop), deferred = 0, last = not Busy},
    Ladder#ladder{stopping = Stopping#{Id := Again}, cancels = Cancels + 1}.

-spec left(Busy :: boolean(), #stop{}) -> non_neg_integer().
left(Busy, #stop{left = Left, deferred = Deferred, last = Last}) when Busy; not Last ->
    Left - 1 + Deferred;
left(_, #stop{left = Left}) ->
    Left - 1.

%% @doc How loudly the log says how it ended.
-spec level(step()) -> logger:level().
level(killed) -> warning;
level(cancelled) -> notice;
level(_) -> info.

%% @doc How many requests are being stopped.
-spec size(ladder()) -> non_neg_integer().
size(#ladder{stopping = Stopping}) ->
    map_size(Stopping).

-spec outcome(id(), step(), integer(), #stop{}) -> outcome().
outcome(Id, Step, Now, #stop{why = Why, what = What, since = Since}) ->
    #{id => Id, why => Why, what => What, step => Step, after_ms => Now - Since}.
