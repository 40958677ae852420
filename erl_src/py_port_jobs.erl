%% @doc The owner's book of what runs for Python: the pure half of callbacks.
%%
%% Invariant: every CALLBACK that was admitted is open until its job has ended, and is answered: by
%% the job, or, when {@link ended/4} says so, by the owner. Nothing here sends or kills.
%%
%% The credit is what `max_callbacks' says. The worker knows of an answer before we know of the end
%% of the job that gave it, so twice as many may be open before it is an overdraft.
%% @end
-module(py_port_jobs).

-export([new/1, admit/2, add/3, cancel/2, ended/4, size/1, pids/1]).
-export_type([jobs/0, answer/0]).

-record(jobs, {
    %% those that the worker cancelled are in the second
    open = #{} :: #{py_port_wire:id() => pid()},
    cancelled = #{} :: #{py_port_wire:id() => []},
    max :: pos_integer(),
    %% CALLBACK_CANCEL frames that may still come: no more than there were CALLBACKs
    cancels = 0 :: non_neg_integer()
}).
-opaque jobs() :: #jobs{}.
%% What is to be said about a job that has ended. none: it has answered itself
-type answer() :: none | cancelled | {killed, term()}.

-spec new(pos_integer()) -> jobs().
new(Max) ->
    #jobs{max = 2 * Max}.

%% @doc Whether a CALLBACK with this id may begin.
-spec admit(py_port_wire:id(), jobs()) -> ok | {error, term()}.
admit(0, _) ->
    {error, {callback_without_id, 0}};
admit(_, #jobs{open = Open, max = Max}) when map_size(Open) >= Max ->
    {error, callback_without_credit};
admit(Id, #jobs{open = Open}) when is_map_key(Id, Open) ->
    {error, {callback_id_used_twice, Id}};
admit(_, _) ->
    ok.

-spec add(py_port_wire:id(), pid(), jobs()) -> jobs().
add(Id, Pid, #jobs{open = Open, cancels = Cancels} = Jobs) ->
    Jobs#jobs{open = Open#{Id => Pid}, cancels = Cancels + 1}.

%% @doc The worker has no use for the answer any more. `over': it has ended already.
-spec cancel(py_port_wire:id(), jobs()) -> {kill, pid(), jobs()} | {over, jobs()} | {error, term()}.
cancel(Id, #jobs{cancels = 0}) ->
    {error, {cancel_without_callback, Id}};
cancel(Id, #jobs{open = Open, cancelled = Cancelled, cancels = Cancels} = Jobs) ->
    case Open of
        #{Id := Pid} ->
            {kill, Pid, Jobs#jobs{cancelled = Cancelled#{Id => []}, cancels = Cancels - 1}};
        #{} ->
            {over, Jobs#jobs{cancels = Cancels - 1}}
    end.

%% @doc A job has ended. A job that says `normal' has answered unless it left its row behind; of any
%% other end nobody can know. A second answer does no harm.
-spec ended(py_port_wire:id(), term(), boolean(), jobs()) -> {answer(), jobs()}.
ended(Id, Reason, HasRow, #jobs{open = Open, cancelled = Cancelled} = Jobs) ->
    Answer =
        case is_map_key(Id, Cancelled) of
            _ when Reason =:= normal, not HasRow -> none;
            true -> cancelled;
            false -> {killed, Reason}
        end,
    {Answer, Jobs#jobs{open = maps:remove(Id, Open), cancelled = maps:remove(Id, Cancelled)}}.

-spec size(jobs()) -> non_neg_integer().
size(#jobs{open = Open}) ->
    map_size(Open).

-spec pids(jobs()) -> [{py_port_wire:id(), pid()}].
pids(#jobs{open = Open}) ->
    maps:to_list(Open).
