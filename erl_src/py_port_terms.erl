%% @doc Terms across the border: encoding what a caller sends and decoding what a worker answers,
%% both in the caller's own process.
%%
%% A worker is not trusted. `binary_to_term/2' with `safe' creates no atoms, and that is not enough:
%% <ul>
%% <li>a compressed term may be a thousand times larger than its bytes, so it is refused by its
%% first byte;</li>
%% <li>a fun may name any function of this node (`fun os:cmd/1' passes `safe'), so a fun is accepted
%% only if this node
%%     gave that very fun to that context before;</li>
%% <li>a pid may be of any process: what the worker made up would be handed back to it by whoever
%% keeps terms, and then look as if this node had given it. So it is treated as a fun is, where
%% `send_to' is not `any';</li>
%% <li>trailing bytes mean that the frame is not what it says.</li>
%% </ul>
%% The first two are the end of the worker, see {@link is_hostile/2}.
%%
%% Looking for funs and pids costs a walk of the term, and a second one where there are any. No
%% other process is involved, nothing here blocks.
%% @end
-module(py_port_terms).

-include("py_port.hrl").

-export([init/0, encode/2, decode/2, decode_plain/1, is_hostile/1, is_hostile/2, known_atoms/0]).
-export([is_given/2, without_strangers/2]).
-export_type([bad_reply/0, encoded/0]).

%% One binary, or several when there are large ones that need not be copied.
-type encoded() :: binary() | erlang:iovec().
-type bad_reply() ::
    compressed
    | malformed_or_unsafe
    | trailing_bytes
    | {unknown_fun, binary()}
    | {unknown_pid, binary()}.

%% A digest, or a pid.
-type key() :: <<_:128>> | pid().

%% A binary of this size is handed to the port as it is instead of being copied.
-define(LARGE_BYTES, 16384).
%% Goes before a fun into its digest. A worker sees neither, so it cannot work towards a fun that has
%% the digest of another.
-define(SALT, {?MODULE, salt}).
%% What a scan can find.
-define(FUN, 1).
-define(LARGE, 2).
-define(PID, 4).
%% How many of the funs that were given to a context are remembered, and of the pids.
-define(MAX_FUNS, 10000).
-define(MAX_PIDS, 100000).

%% @doc Called once when the application starts. Also makes sure that every atom a worker may send
%% exists.
-spec init() -> ok.
init() ->
    _ = known_atoms(),
    _ = persistent_term:get(?SALT, none) =/= none orelse persistent_term:put(?SALT, rand:bytes(16)),
    ok.

%% @doc The atoms of the error terms and maps of docs/protocol.md, and those that stand for values:
%% `safe' decoding accepts only atoms that exist.
-spec known_atoms() -> [atom()].
known_atoms() ->
    [python, type, module, message, traceback, file, line, function, source, cause, context] ++
        [notes, formatted, bad_term, bad_ref, bad_request, interrupted, ok, error, not_running] ++
        [nan, infinity, neg_infinity, none, nil, undefined, null, true, false, bytes, set] ++
        [os_pid, executable, prefix, version, calls, queued, running, tasks, handles, protocol] ++
        [date, time, datetime, timedelta, decimal, uuid, complex, '$py_ref', start_failed, init] ++
        [nesting_too_deep, call, exists, send, whereis, self, monitor, channel, inlet, take] ++
        [try_take, close, 'receive', try_receive, try_send, info, '$py_channel', terms] ++
        [items, done] ++
        [config, calls, tasks, limits, exit, text, offset, end_line, column, end_column, exceptions].

%% @doc Encodes, and remembers the funs in it as given to this context, and the pids if anybody will
%% ask ({@link is_given/2}).
-spec encode(term(), #ctx{}) -> encoded().
encode(Term, Ctx) ->
    case scan(Term, 0) of
        0 ->
            term_to_binary(Term);
        ?LARGE ->
            term_to_iovec(Term);
        Seen ->
            ok = remember_funs(Seen band ?FUN, Term, Ctx),
            ok = remember_pids(Seen band ?PID, Term, Ctx),
            case Seen band ?LARGE of
                0 -> term_to_binary(Term);
                ?LARGE -> term_to_iovec(Term)
            end
    end.

-spec remember_funs(0 | ?FUN, term(), #ctx{}) -> ok.
remember_funs(0, _, _) ->
    ok;
remember_funs(?FUN, Term, #ctx{funs = Funs, counters = Counters}) ->
    each(fun is_function/1, Term, fun(Fun) ->
        remember(key(Fun), Funs, {Counters, ?C_FUNS}, ?MAX_FUNS)
    end).

-spec remember_pids(0 | ?PID, term(), #ctx{}) -> ok.
remember_pids(?PID, Term, #ctx{given = Given, counters = Counters}) when Given =/= none ->
    each(fun is_pid/1, Term, fun(Pid) ->
        remember(Pid, Given, {Counters, ?C_PIDS}, ?MAX_PIDS)
    end);
remember_pids(_, _, _) ->
    ok.

%% @doc Decodes a reply of this context.
-spec decode(binary(), #ctx{}) -> {ok, term()} | {error, bad_reply()}.
decode(Payload, #ctx{given = none, funs = Funs}) ->
    decode_with(Payload, ?FUN, fun(What) -> is_pid(What) orelse is_known(What, Funs) end);
decode(Payload, Ctx) ->
    decode_with(Payload, ?FUN bor ?PID, fun(What) -> may_come_back(What, Ctx) end).

%% @doc Decodes where no fun and no pid can be right: start-up and status reports, and why a cast
%% failed.
-spec decode_plain(binary()) -> {ok, term()} | {error, bad_reply()}.
decode_plain(Payload) ->
    decode_with(Payload, ?FUN bor ?PID, fun(_) -> false end).

%% @doc Of what {@link decode_plain/1} refused, what no honest worker sends: it never compresses, and
%% it cannot make a fun. It can send an atom that does not exist here, and a pid that has been
%% forgotten.
-spec is_hostile(bad_reply()) -> boolean().
is_hostile(compressed) -> true;
is_hostile({unknown_fun, _}) -> true;
is_hostile(_) -> false.

%% @doc The same of what {@link decode/2} refused. Only the newest ?MAX_FUNS funs are remembered, so
%% once one has been forgotten an honest worker may send one that looks unknown: from then on an
%% unknown fun is refused and proves nothing. Must be asked after the fun was looked for: a fun is
%% counted before an older one is forgotten, so a count within the bound means that none was.
-spec is_hostile(bad_reply(), #ctx{}) -> boolean().
is_hostile({unknown_fun, _}, #ctx{counters = Counters}) ->
    atomics:get(Counters, ?C_FUNS) =< ?MAX_FUNS;
is_hostile(Why, _) ->
    is_hostile(Why).

-spec decode_with(binary(), 1..7, fun((fun() | pid()) -> boolean())) ->
    {ok, term()} | {error, bad_reply()}.
decode_with(<<131, 80, _/binary>>, _, _) ->
    {error, compressed};
decode_with(<<131, 109, Size:32, Bytes:Size/binary>>, _, _) when Size >= ?LARGE_BYTES ->
    %% binary_to_term/2 would copy it. This way it shares the memory of the frame, which is hardly larger.
    {ok, Bytes};
decode_with(Payload, Suspect, IsKnown) ->
    try binary_to_term(Payload, [safe, used]) of
        {Term, Used} when Used =:= byte_size(Payload) ->
            case scan(Term, 0) band Suspect =/= 0 andalso unknown(Term, IsKnown) of
                false -> {ok, Term};
                {unknown, Fun} when is_function(Fun) -> {error, {unknown_fun, describe(Fun)}};
                {unknown, Pid} -> {error, {unknown_pid, describe(Pid)}}
            end;
        {_, _} ->
            {error, trailing_bytes}
    catch
        error:badarg -> {error, malformed_or_unsafe}
    end.

-spec describe(fun() | pid()) -> binary().
describe(What) ->
    py_port_error:text(io_lib:format("~tp", [What])).

%% Walks -------------------------------------------------------------------------------------------

%% What there is in a term: the sum of ?FUN, ?LARGE and ?PID.
-spec scan(term(), 0..7) -> 0..7.
scan([H | T], Seen) when is_number(H); is_atom(H); byte_size(H) < ?LARGE_BYTES ->
    scan(T, Seen);
scan([H | T], Seen) ->
    scan(T, scan(H, Seen));
scan(T, Seen) when is_number(T); is_atom(T); T =:= [] ->
    Seen;
scan(T, Seen) when is_tuple(T) ->
    scan_tuple(T, tuple_size(T), Seen);
scan(M, Seen) when is_map(M) ->
    case map_size(M) of
        0 -> Seen;
        _ -> scan_map(maps:next(maps:iterator(M)), Seen)
    end;
scan(B, Seen) when is_bitstring(B) ->
    case byte_size(B) >= ?LARGE_BYTES of
        true -> Seen bor ?LARGE;
        false -> Seen
    end;
scan(F, Seen) when is_function(F) ->
    Seen bor ?FUN;
scan(P, Seen) when is_pid(P) ->
    Seen bor ?PID;
scan(_, Seen) ->
    Seen.

-spec scan_tuple(tuple(), non_neg_integer(), 0..7) -> 0..7.
scan_tuple(_, 0, Seen) ->
    Seen;
scan_tuple(T, N, Seen) ->
    case element(N, T) of
        E when is_number(E); is_atom(E) -> scan_tuple(T, N - 1, Seen);
        E -> scan_tuple(T, N - 1, scan(E, Seen))
    end.

-spec scan_map(none | {term(), term(), maps:iterator()}, 0..7) -> 0..7.
scan_map(none, Seen) -> Seen;
scan_map({K, V, I}, Seen) -> scan_map(maps:next(I), scan(V, scan(K, Seen))).

-spec unknown(term(), fun((fun() | pid()) -> boolean())) -> false | {unknown, fun() | pid()}.
unknown(Term, IsKnown) ->
    try
        ok = each(fun(Leaf) -> is_function(Leaf) orelse is_pid(Leaf) end, Term, fun(What) ->
            IsKnown(What) orelse throw({unknown, What})
        end),
        false
    catch
        throw:{unknown, What} -> {unknown, What}
    end.

-spec each(fun((term()) -> boolean()), term(), fun((term()) -> term())) -> ok.
each(Is, [H | T], Do) ->
    ok = each(Is, H, Do),
    each(Is, T, Do);
each(Is, T, Do) when is_tuple(T) ->
    each(Is, tuple_to_list(T), Do);
each(Is, M, Do) when is_map(M) ->
    maps:foreach(
        fun(K, V) ->
            ok = each(Is, K, Do),
            each(Is, V, Do)
        end,
        M
    );
each(Is, Leaf, Do) ->
    _ = Is(Leaf) andalso Do(Leaf),
    ok.

%% Funs and pids given to a context ----------------------------------------------------------------

%% A table holds {Key, N} and {N, Key}: the newest ones. What is old and given again becomes new:
%% whoever gives it counts on its being known for a while.
-spec remember(key(), ets:tid(), Sequence, pos_integer()) -> true when
    Sequence :: {atomics:atomics_ref(), pos_integer()}.
remember(Key, Table, {Counters, Sequence}, Max) ->
    case ets:lookup(Table, Key) of
        [{_, Old}] ->
            Old > atomics:get(Counters, Sequence) - Max div 2 orelse
                add(Key, Table, atomics:add_get(Counters, Sequence, 1), Max);
        [] ->
            add(Key, Table, atomics:add_get(Counters, Sequence, 1), Max)
    end.

-spec add(key(), ets:tid(), pos_integer(), pos_integer()) -> true.
add(Key, Table, N, Max) ->
    true = ets:insert(Table, [{Key, N}, {N, Key}]),
    forget(N - Max, Table).

%% Not what has become new since.
-spec forget(integer(), ets:tid()) -> true.
forget(N, Table) ->
    case ets:take(Table, N) of
        [{_, Key}] -> ets:delete_object(Table, {Key, N});
        [] -> true
    end.

-spec is_known(fun() | pid(), ets:tid()) -> boolean().
is_known(What, Table) ->
    Key = key(What),
    try
        ets:member(Table, Key)
    catch
        %% The context ended after it answered, and its table with it.
        error:badarg -> false
    end.

%% A fun captures whatever it likes, of which nothing is to stay here.
-spec key(fun() | pid()) -> key().
key(Fun) when is_function(Fun) ->
    erlang:md5([persistent_term:get(?SALT) | term_to_iovec(Fun, [deterministic])]);
key(Pid) ->
    Pid.

%% What the worker may name: what it was given, its own context, and who has a name that it was
%% granted.
-spec may_come_back(fun() | pid(), #ctx{}) -> boolean().
may_come_back(Fun, #ctx{funs = Funs}) when is_function(Fun) -> is_known(Fun, Funs);
may_come_back(Pid, #ctx{pid = Pid}) -> true;
may_come_back(Pid, Ctx) -> is_given(Pid, Ctx) orelse py_port_reach:is_granted(Pid, Ctx).

%% @doc For what is said and not given: why something failed. It may name processes that are none of
%% the context's business. Those are text; any other pid that Python gets it may hand back.
-spec without_strangers(term(), #ctx{}) -> term().
without_strangers(Term, #ctx{given = none}) ->
    Term;
without_strangers(Term, Ctx) ->
    case scan(Term, 0) band ?PID of
        0 -> Term;
        ?PID -> as_text(Term, Ctx)
    end.

-spec as_text(term(), #ctx{}) -> term().
as_text(Pid, Ctx) when is_pid(Pid) ->
    case may_come_back(Pid, Ctx) of
        true -> Pid;
        false -> describe(Pid)
    end;
as_text([H | T], Ctx) ->
    [as_text(H, Ctx) | as_text(T, Ctx)];
as_text(T, Ctx) when is_tuple(T) ->
    list_to_tuple(as_text(tuple_to_list(T), Ctx));
as_text(M, Ctx) when is_map(M) ->
    maps:from_list(as_text(maps:to_list(M), Ctx));
as_text(Leaf, _) ->
    Leaf.

%% @doc Whether this node gave that pid to this context, inside whatever term. False where it is not
%% remembered.
-spec is_given(pid(), #ctx{}) -> boolean().
is_given(_, #ctx{given = none}) -> false;
is_given(Pid, #ctx{given = Given}) -> is_known(Pid, Given).
