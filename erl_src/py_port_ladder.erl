%% @doc Requests that are being stopped: the pure half of the stopping ladder.
%%
%% A request comes here when nobody waits for it any more (its time is up, or its caller died) and
%% the worker has been told to cancel it. It leaves when the worker says that it is over, or, if the
%% worker does not say so in time, with the worker. Nothing here sends, kills or reads a clock.
%%
%% Invariant: an id is either in the table of requests or here, never in both; so an answer for an
%% id that is in neither was sent twice.
%% @end
-module(py_port_ladder).

-export([new/0, add/5, ended/3, overdue/2, size/1]).
-export_type([ladder/0, why/0, step/0, stop/0, outcome/0]).

-type why() :: timeout | caller_down.
%% dropped: before it ran; cancelled: it was stopped; finished: it ended by itself before the cancel
%% reached it
-type step() :: dropped | cancelled | finished | killed.
-record(stop, {
    why :: why(),
    %% what was asked for, for reports
    what :: term(),
    %% milliseconds, any clock, the same for all
    since :: integer(),
    timer :: reference()
}).
-opaque stop() :: #stop{}.
-opaque ladder() :: #{py_port_wire:id() => stop()}.
-type outcome() :: #{
    id := py_port_wire:id(), why := why(), what := term(), step := step(), after_ms := integer()
}.

-spec new() -> ladder().
new() ->
    #{}.

-spec add(py_port_wire:id(), {why(), term()}, integer(), reference(), ladder()) -> ladder().
add(Id, {Why, What}, Now, Timer, Ladder) ->
    Ladder#{Id => #stop{why = Why, what = What, since = Now, timer = Timer}}.

%% @doc The worker has answered. `error': the id is not being stopped.
-spec ended(py_port_wire:id(), {step(), integer()}, ladder()) ->
    {outcome(), reference(), ladder()} | error.
ended(Id, {Step, Now}, Ladder) ->
    case maps:take(Id, Ladder) of
        {#stop{timer = Timer} = Stop, Rest} -> {outcome(Id, Step, Now, Stop), Timer, Rest};
        error -> error
    end.

%% @doc The time for the gentle steps is over. `error': it ended in time.
-spec overdue({py_port_wire:id(), integer()}, ladder()) -> {outcome(), why()} | error.
overdue({Id, Now}, Ladder) ->
    case Ladder of
        #{Id := #stop{why = Why} = Stop} -> {outcome(Id, killed, Now, Stop), Why};
        #{} -> error
    end.

-spec size(ladder()) -> non_neg_integer().
size(Ladder) ->
    map_size(Ladder).

-spec outcome(py_port_wire:id(), step(), integer(), stop()) -> outcome().
outcome(Id, Step, Now, #stop{why = Why, what = What, since = Since}) ->
    #{id => Id, why => Why, what => What, step => Step, after_ms => Now - Since}.
