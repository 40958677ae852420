%% What a caller must know of a context to reach its worker without asking the owner: one row of the
%% table `py_port_contexts', written by the owner when its worker is ready and deleted before it
%% exits.

-define(CONTEXTS, py_port_contexts).

-record(ctx, {
    %% the owner, and the key of the row
    pid :: pid() | '_',
    port :: port() | '_',
    %% outstanding requests, rows of #request{}
    requests :: ets:tid() | '_',
    %% processes that have called before: {Pid}
    callers :: ets:tid() | '_',
    %% funs this node gave to the worker: see py_port_terms
    funs :: ets:tid() | '_',
    %% see ?C_...
    counters :: atomics:atomics_ref() | '_',
    %% sends control frames
    writer :: pid() | '_',
    incarnation :: non_neg_integer() | '_',
    max_pending :: pos_integer() | '_',
    max_frame :: pos_integer() | '_',
    call_timeout :: timeout() | '_'
}).

%% Indices of #ctx.counters, one cache line apart.
%% The last id that was issued; ids are never reused within one worker's life.
-define(C_ID, 1).
%% 1 while the owner's sweep timer runs (or its start is on the way to the owner).
-define(C_SWEEP, 9).
%% Sequence of remembered funs.
-define(C_FUNS, 17).
%% Casts that were dropped because the context was overloaded.
-define(C_DROPPED, 25).
%% 1 from the moment the context was asked to stop.
-define(C_DRAINING, 33).
%% Ids that are done with. The last id minus this is how many requests are outstanding, or a little
%% more: a caller that is killed between taking an id and entering its request leaves it for ever,
%% so this is only a hint.
-define(C_DONE, 41).
-define(C_SIZE, 48).
%% The first ids belong to the start of the worker.
-define(FIRST_ID, 16).

%% One outstanding request. Only the owner removes rows, and whoever removes the row or marks it
%% expired first decides what the caller gets: the owner by ets:take/2, the caller (whose time is
%% up) by adding 1 to `state'.
-record(request, {
    id :: pos_integer() | '_' | '$1',
    %% 0: somebody waits at the alias; 1: the caller has left with {error, timeout}
    state = 0 :: non_neg_integer() | '_',
    alias :: reference() | none | '_',
    caller :: pid() | none | '_' | '$2',
    %% CLOCK_MONOTONIC in nanoseconds. `infinity' is greater than every integer
    deadline :: integer() | infinity | '_' | '$2' | '$3',
    %% {ref, Holder}: the value stays in the worker; control: ping, interrupt, status
    kind :: term | {ref, pid()} | cast | control | '_' | '$4',
    %% what was asked for, for reports
    module :: term(),
    function :: term()
}).
