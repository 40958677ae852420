%% What a caller must know of a context to reach its worker without asking the owner: one row of the
%% table `py_port_contexts', written by the owner when its worker is ready and deleted before it
%% exits.

-define(CONTEXTS, py_port_contexts).
%% Functions that Python may call: see py_port_callbacks.
-define(FUNCTIONS, py_port_functions).
%% What runs for Python on this node, rows of #job{}.
-define(JOBS, py_port_jobs).

%% The longest timeout in milliseconds: what `receive' knows, and what 32 bits of a frame hold.
-define(MAX_TIMEOUT, 16#ffffffff).

-record(ctx, {
    %% the owner, and the key of the row
    pid :: pid() | '_',
    %% as in the option
    name = none :: none | py_port_options:name() | '_',
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
    max_pending_bytes :: pos_integer() | '_',
    max_frame :: pos_integer() | '_',
    call_timeout :: timeout() | '_',
    %% its process and when that began, for whoever must end it in the owner's place
    launcher :: {non_neg_integer(), non_neg_integer() | unknown} | '_',
    %% what Python may call: everything that is registered, or the rows of a table of this context
    functions = all :: all | ets:tid() | '_',
    %% whom Python may reach
    send_to = any :: py_port_options:send_to() | '_',
    %% pids this node gave to the worker, remembered only where send_to asks for it
    given = none :: none | ets:tid() | '_'
}).

%% One CALLBACK frame, as its header says.
-record(callback, {
    %% as it came: 0 is refused before anything runs
    id :: non_neg_integer(),
    %% the request it descends from, 0 for none
    parent :: non_neg_integer(),
    %% CLOCK_MONOTONIC in nanoseconds, 0 for none
    deadline :: non_neg_integer(),
    trace = none :: none | binary(),
    payload :: binary()
}).

%% One process that runs for Python. The job inserts its row before it runs anything and deletes it
%% before it answers, unless it hands over what it fetched; its owner deletes the row of a job that
%% ended otherwise, and py_port_registry those of an owner that was killed.
-record(job, {
    pid :: pid() | '_' | '$1',
    owner :: pid() | '_',
    %% of the CALLBACK
    id :: pos_integer() | '_',
    deadline = infinity :: integer() | infinity | '_',
    %% the process that made the request which the CALLBACK descends from
    requester = none :: pid() | none | '_',
    %% what was asked for: the name of a function, or of another operation
    function = <<>> :: binary() | '_',
    trace = none :: none | binary() | '_',
    %% the channel or inlet that it works with, as the worker named it
    endpoint = none :: none | pid() | '_',
    %% with what it fetched there: for the owner to send, should it be killed at the wrong time
    answer = none :: none | iodata() | '_'
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
%% 1 from the moment the context was asked to stop, 2 from when its last answers are given out.
-define(C_DRAINING, 33).
%% Ids that are done with. The last id minus this is how many requests are outstanding, or a little
%% more: a caller that is killed between taking an id and entering its request leaves it for ever,
%% so this is only a hint.
-define(C_DONE, 41).
%% CALLBACKs whose job has not ended. Callers look for what they descend from only while there are
%% any.
-define(C_CALLBACKS, 49).
%% Sequence of remembered pids.
-define(C_PIDS, 57).
%% Bytes of the large requests that are outstanding, #request.bytes of all of them; or a little more,
%% as with C_DONE.
-define(C_BYTES, 65).
-define(C_SIZE, 72).
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
    %% {ref, Holder}: the value stays in the worker; async and async_ref: the alias gets one message
    %% {py_port_reply, Handle, Result}; control: ping, interrupt, status
    kind :: term | {ref, pid()} | async | {async_ref, pid()} | cast | control | '_' | '$4',
    %% what it counts in max_pending_bytes: 0 unless it is large
    bytes = 0 :: non_neg_integer() | '_' | '$5',
    %% what was asked for, for reports
    module :: term(),
    function :: term()
}).

%% How one request is made: the options of a call.
-record(how, {
    timeout :: timeout(),
    flags = 0 :: byte(),
    kind = term :: term | {ref, pid()},
    trace = none :: none | binary(),
    %% in the worker's pool of threads
    thread = false :: boolean(),
    %% the namespace, as a reference to a module; none: the context's __main__
    env = none :: none | {'$py_ref', pid(), non_neg_integer(), non_neg_integer()}
}).
