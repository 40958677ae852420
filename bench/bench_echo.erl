%% @doc The floor: an Erlang port with a C++ program behind it that writes back what it reads.
%%
%% Two ways to reach it. `raw': the calling process owns the port; nothing can be cheaper. `routed': an owner process has the
%% port and hands answers to callers by an id in the frame, with an ETS row, an alias and encoding in the caller, which is what
%% py_port does for a call, without Python. A call of py_port is compared with both.
%% @end
-module(bench_echo).

-export([raw/1, raw_call/2, close/1, start_routed/1, routed_call/2, routed_send/2, stop_routed/1, encoded_call/3, with_port/2]).
-export_type([routed/0]).

-opaque routed() :: #{owner := pid(), port := port(), requests := ets:tid(), ids := atomics:atomics_ref()}.

%% @doc A port of the calling process. Its program spins for as long as a context's worker does.
-spec raw(#{echo := file:filename(), spin := non_neg_integer(), _ => _}) -> port().
raw(#{echo := Program, spin := Spin}) ->
    open_port({spawn_executable, Program},
              [{args, [integer_to_list(Spin)]}, {packet, 4}, nouse_stdio, binary,
               %% As py_port opens its ports: the default suspends callers from 8 KiB of queue on.
               {busy_limits_port, {131072, 524288}}, {busy_limits_msgq, disabled}]).

%% @doc The port must belong to the process that measures: it is opened by its first call, and ends with the process.
-spec with_port(map(), fun((port()) -> Result)) -> Result.
with_port(Env, Fun) ->
    case get(bench_port) of
        undefined ->
            Port = raw(Env),
            put(bench_port, Port),
            Fun(Port);
        Port ->
            Fun(Port)
    end.

-spec close(port()) -> true.
close(Port) ->
    port_close(Port).

-spec raw_call(port(), iodata()) -> binary().
raw_call(Port, Data) ->
    true = port_command(Port, Data),
    %% No timeout: the port is linked, so its end is ours.
    receive {Port, {data, Answer}} -> Answer end.

%% @doc A term there and back: what the two languages' conversion is compared with.
-spec encoded_call(port(), binary(), term()) -> term().
encoded_call(Port, Header, Term) ->
    <<_:28/binary, Answer/binary>> = raw_call(Port, [Header | term_to_iovec(Term)]),
    binary_to_term(Answer, [safe]).

-spec start_routed(map()) -> routed().
start_routed(Env) ->
    Requests = ets:new(bench_requests, [public, {write_concurrency, true}, {decentralized_counters, true}]),
    Ids = atomics:new(1, []),
    Self = self(),
    Owner = spawn_link(fun() ->
        Port = raw(Env),
        Self ! {self(), Port},
        owner(Port, Requests)
    end),
    receive {Owner, Port} -> #{owner => Owner, port => Port, requests => Requests, ids => Ids} end.

-spec stop_routed(routed()) -> ok.
stop_routed(#{owner := Owner}) ->
    unlink(Owner),
    Ref = monitor(process, Owner),
    exit(Owner, kill),
    receive {'DOWN', Ref, process, Owner, _} -> ok end.

owner(Port, Requests) ->
    receive
        {Port, {data, <<_:32, Id:64, _/binary>> = Frame}} ->
            case ets:take(Requests, Id) of
                [{_, Alias, _, _}] -> Alias ! {Alias, Frame};
                [] -> gone
            end,
            owner(Port, Requests)
    end.

-spec routed_call(routed(), term()) -> term().
routed_call(Routed, Term) ->
    Alias = routed_send(Routed, Term),
    receive
        {Alias, <<_:28/binary, Answer/binary>>} -> binary_to_term(Answer, [safe]);
        {'DOWN', Alias, process, _, Why} -> error({owner, Why})
    after 5000 ->
        error(timeout)
    end.

%% @doc Without waiting: the answer comes as the message `{Alias, <<_:28/binary, Answer/binary>>}'.
-spec routed_send(routed(), term()) -> Alias :: reference().
routed_send(#{owner := Owner, port := Port, requests := Requests, ids := Ids}, Term) ->
    Id = atomics:add_get(Ids, 1, 1),
    Alias = monitor(process, Owner, [{alias, reply_demonitor}]),
    Deadline = os:perf_counter(nanosecond) + 5000000000,
    true = ets:insert(Requests, {Id, Alias, self(), Deadline}),
    true = port_command(Port, [<<16, 0, 0:16, Id:64, 0:64, Deadline:64>> | term_to_iovec(Term)]),
    Alias.
