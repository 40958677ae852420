%% @doc From which calls of Python does this process descend?
%%
%% A request that is made on behalf of a callback must say so in its header: the thread of Python
%% that waits for the callback serves it, where any other request queues. A process descends from a
%% job when it is the job, was spawned by it or works for it (`$ancestors' of proc_lib, `$callers'
%% of Elixir's tasks), at any distance; and a job descends from the process whose request made
%% Python call.
%%
%% Whoever spawned a process never changes, so the search for jobs above a process is made once for
%% each process and kept in its process dictionary, under `{py_port_lineage, jobs}'. It is a cache
%% and nothing else: an entry counts only while the job's row is there with the same id. A job
%% enters its row before it runs anything, so nothing that it starts can look too early.
%%
%% The walk is bounded. It ends at processes of other nodes, and at one that is dead unless
%% `$ancestors' leads past it.
%% @end
-module(py_port_lineage).

-include("py_port.hrl").

-export([inherit/2, trace/1, received/1, carry/1, parent/1, caller/0]).
-export_type([caller/0]).

-type deadline() :: integer() | infinity.
%% A job as it was when it was found.
-type found() :: {pid(), py_port_wire:id()}.
-type caller() :: #{
    context := pid(),
    %% of the context: its option
    name := none | py_port_options:name(),
    function := binary(),
    %% milliseconds
    remaining := timeout(),
    %% CLOCK_MONOTONIC in nanoseconds
    deadline := deadline(),
    trace := binary() | none
}.

-define(CACHE, {?MODULE, jobs}).
%% In the dictionary of a job.
-define(TRACE, '$py_port_trace').
%% Bytes of a `traceparent' together with its `tracestate'.
-define(MAX_TRACE, 1024).
%% Processes that are asked for their parents in one search.
-define(MAX_STEPS, 64).
%% Jobs of other contexts between a process and the one it descends from.
-define(MAX_HOPS, 200).

%% @doc The parent of a request that the caller makes now, 0 for none, and its deadline: its own or
%% what is left to the callback, whichever comes first.
-spec inherit(#ctx{}, deadline()) -> {py_port_wire:id(), deadline()}.
inherit(#ctx{pid = Owner, counters = Counters}, Deadline) ->
    case atomics:get(Counters, ?C_CALLBACKS) of
        0 ->
            {0, Deadline};
        _ ->
            case parent(Owner) of
                none -> {0, Deadline};
                %% Every number is less than `infinity'.
                {Id, Limit} -> {Id, min(Deadline, Limit)}
            end
    end.

%% @doc The trace of a request that the caller makes now: its own, or that of the callback that this
%% very process runs. Others that descend from it find the trace in {@link caller/0}: looking there at
%% each call would cost every process something.
-spec trace(none | binary()) -> none | binary().
trace(none) ->
    case get(?TRACE) of
        undefined -> none;
        Trace -> Trace
    end;
trace(Trace) ->
    Trace.

%% @doc The trace of a CALLBACK, none if it is not one. Other contexts, loggers and exporters get it,
%% and no worker may say through it what it likes.
-spec received(binary()) -> none | binary().
received(Trace) when byte_size(Trace) =< ?MAX_TRACE ->
    [Parent | State] = binary:split(Trace, <<$\n>>),
    case is_traceparent(Parent) andalso lists:all(fun is_printable/1, State) of
        true -> binary:copy(Trace);
        false -> none
    end;
received(_) ->
    none.

-spec is_traceparent(binary()) -> boolean().
is_traceparent(<<_:16, $-, _:256, $-, _:128, $-, _:16>> = Text) -> is_printable(Text);
is_traceparent(_) -> false.

-spec is_printable(binary()) -> boolean().
is_printable(Text) ->
    lists:all(fun(C) -> C >= 32 andalso C < 127 end, binary_to_list(Text)).

%% @doc Called by a job before it runs anything.
-spec carry(none | binary()) -> ok.
carry(none) ->
    ok;
carry(Trace) ->
    _ = put(?TRACE, Trace),
    ok.

%% @doc The nearest callback of that context from which the caller descends.
-spec parent(pid()) -> {py_port_wire:id(), deadline()} | none.
parent(Owner) ->
    try
        nearest(above_self(), Owner, ?MAX_HOPS)
    catch
        %% The table is gone: the application is stopping.
        error:badarg -> none
    end.

%% @doc The nearest callback of any context from which the caller descends.
-spec caller() -> caller() | undefined.
caller() ->
    try
        caller(above_self())
    catch
        error:badarg -> undefined
    end.

-spec caller([found()]) -> caller() | undefined.
caller([]) ->
    undefined;
caller([{Pid, Id} | Rest]) ->
    case ets:lookup(?JOBS, Pid) of
        [#job{id = Id, owner = Owner, function = F, deadline = Deadline, trace = Trace}] ->
            #{
                context => Owner,
                name => py_port_registry:name(Owner),
                function => F,
                remaining => remaining(Deadline),
                deadline => Deadline,
                trace => Trace
            };
        _ ->
            caller(Rest)
    end.

-spec remaining(deadline()) -> timeout().
remaining(infinity) -> infinity;
remaining(Deadline) ->
    min(?MAX_TIMEOUT, max(0, Deadline - os:perf_counter(nanosecond)) div 1000000).

%% From job to job ---------------------------------------------------------------------------------

-spec nearest([found()], pid(), non_neg_integer()) -> {py_port_wire:id(), deadline()} | none.
nearest([], _, _) ->
    none;
nearest([{Pid, Id} | Rest], Owner, Hops) ->
    case ets:lookup(?JOBS, Pid) of
        [#job{id = Id, owner = Owner, deadline = Deadline}] ->
            {Id, Deadline};
        [#job{id = Id, requester = Requester, deadline = Deadline}] when
            is_pid(Requester), Hops > 0
        ->
            case nearest(above(Requester), Owner, Hops - 1) of
                {Parent, Limit} -> {Parent, min(Deadline, Limit)};
                none -> nearest(Rest, Owner, Hops)
            end;
        _ ->
            nearest(Rest, Owner, Hops)
    end.

%% From process to job -----------------------------------------------------------------------------

%% `$callers' may change in a process that works for many; everything else about it stays.
-spec above_self() -> [found()].
above_self() ->
    Callers = get('$callers'),
    case get(?CACHE) of
        {Callers, Found} ->
            Found;
        _ ->
            Found = above(self()),
            _ = put(?CACHE, {Callers, Found}),
            Found
    end.

-spec above(pid()) -> [found()].
above(Pid) ->
    {Found, _} = search([Pid], ?MAX_STEPS),
    Found.

%% The jobs at the nearest distance: beyond a job, its requester leads on.
-spec search([term()], non_neg_integer()) -> {[found()], non_neg_integer()}.
search([Pid | Rest], Steps) when is_pid(Pid), node(Pid) =:= node(), Steps > 0 ->
    case job(Pid) of
        [] ->
            {Callers, Ancestors, Parent} = relations(Pid),
            case lists:flatmap(fun job/1, Callers ++ Ancestors) of
                [] -> search(tops(Callers) ++ tops(Ancestors ++ Parent) ++ Rest, Steps - 1);
                Found -> {Found, Steps}
            end;
        Found ->
            {Found, Steps}
    end;
search([Name | Rest], Steps) when is_atom(Name), Name =/= undefined, Steps > 0 ->
    search([whereis(Name) | Rest], Steps - 1);
search([_ | Rest], Steps) when Steps > 0 ->
    search(Rest, Steps);
search(_, Steps) ->
    {[], Steps}.

-spec job(term()) -> [found()].
job(Pid) when is_pid(Pid) ->
    case ets:lookup(?JOBS, Pid) of
        [#job{id = Id}] -> [{Pid, Id}];
        [] -> []
    end;
job(Name) when is_atom(Name), Name =/= undefined ->
    %% proc_lib prefers names.
    job(whereis(Name));
job(_) ->
    [].

%% The lists are complete up to their last element: only that one need be asked for its own.
-spec tops([term()]) -> [term()].
tops([]) -> [];
tops(Pids) -> [lists:last(Pids)].

%% `$ancestors' makes the parent superfluous, which is one of them.
-spec relations(pid()) -> {[term()], [term()], [pid()]}.
relations(Pid) when Pid =:= self() ->
    {parent, Parent} = process_info(Pid, parent),
    relations(get('$callers'), get('$ancestors'), Parent);
relations(Pid) ->
    case process_info(Pid, [parent, dictionary]) of
        [{parent, Parent}, {dictionary, Dictionary}] ->
            relations(entry('$callers', Dictionary), entry('$ancestors', Dictionary), Parent);
        undefined ->
            {[], [], []}
    end.

-spec relations(term(), term(), pid() | undefined) -> {[term()], [term()], [pid()]}.
relations(Callers, Ancestors, Parent) ->
    case {proper(Callers), proper(Ancestors)} of
        {C, []} when is_pid(Parent) -> {C, [], [Parent]};
        {C, A} -> {C, A, []}
    end.

-spec entry(atom(), [{term(), term()}]) -> term().
entry(Key, Dictionary) ->
    proplists:get_value(Key, Dictionary).

-spec proper(term()) -> [term()].
proper(List) when length(List) >= 0 -> List;
proper(_) -> [].
