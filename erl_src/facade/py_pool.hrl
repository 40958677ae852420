%% What a caller must know of the pools to find a context without asking a process: the rows of the
%% table `py_pools', which py_pool_table owns. Rows of pools and of slots are told apart by their keys.

-define(POOLS, py_pools).
%% {Pool, what it was started with}: those that were started and not stopped. It outlives them.
-define(STARTED, py_pool_started).
%% {{Module, Function | '_'}, {Module, Function} as it was given, Pool}
-define(REGISTRATIONS, py_pool_registrations).
%% {{Holder, Depth}}: one row for each slot of the semaphore that is held.
-define(HELD, py_semaphore_held).
%% {Context, Process}: the loops that were started.
-define(LOOPS, py_context_loops).
%% The scope of pg.
-define(SCOPE, py_pg).

%% Contexts of a pool that are tried for one request.
-define(TRIES, 3).

%% One pool. Written by its process when it starts and deleted when it ends.
-record(pool, {
    name :: py_pool:name() | '_',
    size :: pos_integer() | '_',
    strategy :: py_pool:strategy() | '_',
    nodes = local :: local | all | [node()] | '_',
    server :: pid() | '_',
    %% ms a caller waits for a context that is being started
    wait :: pos_integer() | '_',
    %% where the search for the least loaded begins
    turn :: atomics:atomics_ref() | '_'
}).

%% One slot. The pool's process writes the row and the `keeper', the keeper the rest.
-record(slot, {
    key :: {py_pool:name() | '$1' | '_', pos_integer() | '$2' | '_'},
    %% the process that keeps a context in this slot; none: nobody has asked for one yet
    keeper = none :: none | pid() | '_',
    %% none: not started, just being started, or failed to start
    context = none :: none | pid() | '$3' | '_',
    %% of the context, see py_port_registry:load/1; none: it is not to be chosen, or not yet
    counters = none :: none | atomics:atomics_ref() | '_',
    %% whether a process stays with the slot that was chosen for it
    pins :: boolean() | '_'
}).
