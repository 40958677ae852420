%% @doc Requests about a context rather than to Python: ping, interrupt, info, stop. Everything here
%% runs in the calling process.
%%
%% Control frames go through the context's writer, so that a full pipe cannot keep a caller longer
%% than its timeout, and the worker answers them also while Python code runs.
%% @end
-module(py_port_control).

-include("py_port.hrl").
-include("py_port_wire.hrl").

-export([interrupt/2, ping/2, info/1, stop/2]).

%% The owner takes a moment to end a worker that does not want to.
-define(STOP_SLACK, 15000).
%% A worker that is busy answers in microseconds; one that is stopped does not answer at all.
-define(STATUS_TIMEOUT, 250).
%% Control requests that may be outstanding on top of max_pending.
-define(CONTROL_ROOM, 1000).

-spec interrupt(term(), timeout()) -> ok | {error, py_port_error:reason()}.
interrupt(Context, Timeout) ->
    py_port_call:guarded(fun() ->
        ok = check_timeout(Timeout),
        case py_port_call:find(Context) of
            #ctx{} = C ->
                case control(C, ?K_INTERRUPT, Timeout) of
                    {ok, Payload} when is_binary(Payload) -> interrupted(Payload, C);
                    {ok, pong} -> {error, {bad_reply, pong}};
                    {error, _} = Error -> Error
                end;
            {remote, Node, There} ->
                py_port_remote:apply(Node, {?MODULE, interrupt}, [There], Timeout, Timeout)
        end
    end).

-spec interrupted(binary(), #ctx{}) -> ok | {error, py_port_error:reason()}.
interrupted(Payload, C) ->
    case py_port_terms:decode_plain(Payload) of
        {ok, ok} -> ok;
        {ok, not_running} -> {error, not_running};
        {ok, Other} -> {error, {bad_reply, Other}};
        {error, Why} -> py_port_call:refused(py_port_terms:is_hostile(Why), Why, C)
    end.

-spec ping(term(), timeout()) -> pong | {error, py_port_error:reason()}.
ping(Context, Timeout) ->
    py_port_call:guarded(fun() ->
        ok = check_timeout(Timeout),
        case py_port_call:find(Context) of
            #ctx{} = C ->
                case control(C, ?K_PING, Timeout) of
                    {ok, pong} -> pong;
                    {ok, _} -> {error, {bad_reply, control_reply}};
                    {error, _} = Error -> Error
                end;
            {remote, Node, There} ->
                py_port_remote:apply(Node, {?MODULE, ping}, [There], Timeout, Timeout)
        end
    end).

%% The writer sends it, so that a full pipe cannot keep the caller longer than its timeout. The row
%% stays until the answer comes: an answer to an id that is not in the table would be one too many.
-spec control(#ctx{}, byte(), timeout()) -> {ok, pong | binary()} | {error, py_port_error:reason()}.
control(#ctx{pid = Owner, counters = Counters, writer = Writer} = C, Kind, Timeout) ->
    Id = atomics:add_get(Counters, ?C_ID, 1),
    %% An operator must be able to interrupt what has filled the context up.
    Roomy = C#ctx{max_pending = C#ctx.max_pending + ?CONTROL_ROOM},
    py_port_call:is_overloaded(Id, Roomy) andalso py_port_call:fail(overloaded),
    Alias = erlang:monitor(process, Owner, [{alias, reply_demonitor}]),
    Row = #request{
        id = Id,
        alias = Alias,
        caller = none,
        deadline = infinity,
        kind = control,
        module = control,
        function = Kind
    },
    py_port_call:enter(C, Row) orelse
        begin
            true = erlang:demonitor(Alias, [flush]),
            py_port_call:gone()
        end,
    ok = py_port_writer:send(Writer, py_port_wire:short(Kind, Id)),
    receive
        {Alias, control, Answer} -> {ok, Answer};
        {Alias, down, Reason} -> {error, {worker_down, Reason}};
        {'DOWN', Alias, process, _, Reason} -> {error, {worker_down, py_port_call:down(Reason)}}
    after Timeout ->
        true = erlang:demonitor(Alias, [flush]),
        %% It may have come in the last moment.
        receive
            {Alias, control, Answer} -> {ok, Answer};
            {Alias, down, Reason} -> {error, {worker_down, Reason}}
        after 0 -> {error, timeout}
        end
    end.

-spec check_timeout(term()) -> ok.
check_timeout(infinity) ->
    ok;
check_timeout(Ms) when is_integer(Ms), Ms >= 0, Ms =< 16#7fffffff ->
    ok;
check_timeout(_) ->
    py_port_call:fail({bad_argument, timeout, <<"must be milliseconds or infinity">>}).

-spec info(term()) -> map() | {error, py_port_error:reason()}.
info(Context) ->
    py_port_call:guarded(fun() ->
        case py_port_call:find_any(Context) of
            #ctx{} = C -> info_here(C);
            {remote, Node, There} ->
                py_port_remote:apply(Node, {?MODULE, info}, [There], none, infinity)
        end
    end).

-spec info_here(#ctx{}) -> map().
info_here(#ctx{pid = Owner} = C) ->
    Alias = erlang:monitor(process, Owner, [{alias, reply_demonitor}]),
    Owner ! {info, Alias},
    receive
        {Alias, info, #{os_pid := OsPid, last_error := LastError} = Info} ->
            Shown = maps:merge(Info#{last_error := shown(LastError)}, py_port_proc:usage(OsPid)),
            maps:merge(Shown, status(C));
        {'DOWN', Alias, process, _, Reason} ->
            py_port_call:fail({worker_down, py_port_call:down(Reason)})
    end.

-spec shown(none | {term(), binary(), integer()}) -> none | map().
shown(none) ->
    none;
shown({{M, F}, Payload, At}) ->
    Reason =
        case py_port_terms:decode_plain(Payload) of
            {ok, Term} -> py_port_error:worker_error(Term);
            %% Whoever got it first, the caller or the io process, has told the owner if it was hostile.
            {error, Why} -> {bad_reply, Why}
        end,
    #{module => M, function => F, reason => Reason, at => At}.

%% Of the worker itself, if it answers.
-spec status(#ctx{}) -> map().
status(C) ->
    Unknown = #{
        queued => undefined, running => undefined, tasks => undefined, awaited => undefined
    },
    case control(C, ?K_STATUS, ?STATUS_TIMEOUT) of
        {ok, Payload} when is_binary(Payload) ->
            case py_port_terms:decode_plain(Payload) of
                {ok, Map} when is_map(Map) ->
                    Known = maps:with([queued, running, tasks], Map),
                    maps:merge(Unknown, Known#{awaited => maps:get(callbacks, Map, undefined)});
                {ok, _} ->
                    Unknown;
                {error, Why} ->
                    {error, _} = py_port_call:refused(py_port_terms:is_hostile(Why), Why, C),
                    Unknown
            end;
        _ ->
            Unknown
    end.

%% @doc Always ok: whether it stopped gently, had to be killed or was not there.
-spec stop(term(), timeout()) -> ok | {error, py_port_error:reason()}.
stop(Context, Timeout) ->
    Result = py_port_call:guarded(fun() ->
        ok = check_timeout(Timeout),
        case starting(Context) of
            {starting, Starting} -> stop_owner(Starting, Timeout);
            no -> stop_found(py_port_call:find_any(Context), Timeout)
        end
    end),
    case Result of
        {error, {worker_down, _}} -> ok;
        _ -> Result
    end.

%% A context has its name before its worker is ready. It obeys when it is, and gives up if that takes
%% longer.
-spec starting(term()) -> {starting, pid()} | no.
starting(Context) ->
    case is_pid(Context) orelse py_port_names:whereis(Context) of
        {local, Pid} ->
            case py_port_registry:lookup(Pid) of
                {ok, _} -> no;
                error -> {starting, Pid}
            end;
        _ ->
            no
    end.

-spec stop_found(#ctx{} | {remote, node(), pid() | atom()}, timeout()) ->
    ok | {error, py_port_error:reason()}.
stop_found(#ctx{pid = Owner}, Timeout) ->
    stop_owner(Owner, Timeout);
stop_found({remote, Node, There}, Timeout) ->
    py_port_remote:apply(Node, {?MODULE, stop}, [There], Timeout, Timeout).

-spec stop_owner(pid(), timeout()) -> ok.
stop_owner(Owner, Timeout) ->
    Ref = erlang:monitor(process, Owner),
    Owner ! {stop, Timeout},
    wait_stopped(Owner, Ref, Timeout).

-spec wait_stopped(pid(), reference(), timeout()) -> ok.
wait_stopped(Owner, Ref, Timeout) ->
    Bound =
        case Timeout of
            infinity -> infinity;
            _ -> Timeout + ?STOP_SLACK
        end,
    receive
        {'DOWN', Ref, process, _, _} -> ok
    after Bound ->
        %% The owner itself is stuck: its port closes with it, and the launcher ends the worker.
        true = exit(Owner, kill),
        receive
            {'DOWN', Ref, process, _, _} -> ok
        end
    end.
