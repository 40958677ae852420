%% @doc The process behind a channel or an inlet: a bounded FIFO that any number of processes fill
%% and empty.
%%
%% Promise: what was accepted is lost only with this process or by {@link abort/2}: a consumer that
%% dies, is killed or gives up gets nothing, however late; what it had been handed goes back to the
%% front (see {@link py_port_buffer}). A request that is given up has one outcome too: who says that
%% its time was over has not put or taken anything.
%%
%% Requests are those of {@link py_port_ask}; clients may live on any node. Clients are monitored
%% while they wait and while they hold what they have not confirmed. A client that took confirms with
%% a message.
%%
%% One that fetched, to pass it on to a worker, commits: from that message on nothing comes back, and
%% what it fetched has to reach the worker even if it is killed before it has written all of it. Its
%% context's owner then asks what is to be redeemed: either it had committed, and the owner writes
%% the answer, or everything has gone back and only now the owner says that it was killed. So there
%% is one instant that decides, whoever is killed when, and who asks again finds what went back. A
%% client that ended normally has written.
%%
%% Child of {@link py_port_flow_sup}. Ends when its owner does, and at stop/1; without an owner, when
%% it is closed and has nothing more to give.
%% @end
-module(py_port_fifo).

-behaviour(gen_server).

-export([start/1, put/4, take/3, finish/2, abort/2, info/1, stop/1, kind/1]).
-export([fetch/3, commit/2, redeem/2]).
%% for the supervisor
-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([settings/0, kind/0, receipt/0]).

-type kind() :: channel | byte_channel | inlet.
-type settings() :: #{
    kind := kind(),
    items := pos_integer() | infinity,
    bytes := pos_integer() | infinity,
    %% what one take gets
    taken => pos_integer() | infinity,
    %% an item counts what it has in external format, whatever its client says; of bytes, its bytes
    weigh => boolean(),
    %% whose end ends this process
    owner := pid() | none
}.
%% What was fetched, until it has been committed or has gone back.
-opaque receipt() :: {pid(), py_port_buffer:who()}.

-record(fifo, {
    buffer :: py_port_buffer:buffer(),
    kind :: kind(),
    weigh :: boolean(),
    owner :: reference() | none,
    %% finish/2 or abort/2 has come
    ended = false :: boolean(),
    %% of clients that wait or have not confirmed, both ways
    monitors = #{} :: #{reference() => py_port_buffer:who()},
    clients = #{} :: #{py_port_buffer:who() => {Monitor :: reference(), pid()}},
    %% fetched and committed: the context that redeems it if the client ends badly; orphan: it has,
    %% and the monitor is that of the context
    committed = #{} :: #{py_port_buffer:who() => pid() | orphan},
    %% those who ask about something whose client lives yet, as far as we know
    redeemers = #{} :: #{py_port_buffer:who() => reference()},
    %% bytes that passed since the last collection: references to large binaries alone would not
    %% make the heap grow
    passed = 0 :: non_neg_integer()
}).

-define(COLLECT_AFTER, 524288).
-define(LABEL, '$py_port_fifo').

%% Clients -----------------------------------------------------------------------------------------

-spec start(settings()) -> {ok, pid()} | {error, not_started}.
start(Settings) ->
    py_port_flow_sup:start_flow(?MODULE, Settings).

%% @doc `Timeout' 0: not at all. `Size' is what the item counts.
-spec put(pid(), term(), non_neg_integer(), timeout()) -> ok | full | closed | gone.
put(Pid, Item, Size, 0) ->
    py_port_ask:ask(Pid, {put, Item, Size, try_once}, infinity);
put(Pid, Item, Size, Timeout) ->
    case py_port_ask:ask(Pid, {put, Item, Size, wait}, Timeout) of
        left -> full;
        Answer -> Answer
    end.

%% @doc For the caller itself.
-spec take(pid(), pos_integer(), timeout()) ->
    {items, [term(), ...]} | empty | {ended, term()} | gone.
take(Pid, Max, Timeout) ->
    case ask_for_items(Pid, Max, Timeout) of
        {{items, _} = Items, Ref} ->
            Pid ! {confirm, Ref},
            Items;
        {Answer, _} ->
            Answer
    end.

%% @doc To pass it on: it goes back when the caller ends before {@link commit/2}.
-spec fetch(pid(), pos_integer(), timeout()) ->
    {items, [term(), ...], receipt()} | empty | {ended, term()} | gone.
fetch(Pid, Max, Timeout) ->
    case ask_for_items(Pid, Max, Timeout) of
        {{items, Items}, Ref} -> {items, Items, {Pid, Ref}};
        {Answer, _} -> Answer
    end.

-spec ask_for_items(pid(), pos_integer(), timeout()) -> {term(), reference()}.
ask_for_items(Pid, Max, 0) ->
    py_port_ask:ask_ref(Pid, {take, Max, try_once}, infinity);
ask_for_items(Pid, Max, Timeout) ->
    case py_port_ask:ask_ref(Pid, {take, Max, wait}, Timeout) of
        {left, Ref} -> {empty, Ref};
        Other -> Other
    end.

%% @doc Called by who fetched. Before it everything is as if nothing had been fetched; after it,
%% everything has arrived.
-spec commit(receipt(), Owner :: pid()) -> ok.
commit({Pid, Ref}, Owner) ->
    Pid ! {commit, Ref, Owner},
    ok.

%% @doc This client has ended, and not well: whether it had fetched something and committed. If so,
%% the caller is to pass on what it could not. Otherwise everything is as if it had never been.
-spec redeem(pid(), Client :: pid()) -> committed | given_back.
redeem(Pid, Client) ->
    case py_port_ask:ask(Pid, {redeem, Client}, infinity) of
        committed -> committed;
        _ -> given_back
    end.

-spec finish(pid(), term()) -> ok.
finish(Pid, Why) ->
    gen_server:cast(Pid, {finish, Why}).

-spec abort(pid(), term()) -> ok.
abort(Pid, Why) ->
    gen_server:cast(Pid, {abort, Why}).

-spec info(pid()) -> map() | gone.
info(Pid) ->
    try
        gen_server:call(Pid, info, infinity)
    catch
        exit:_ -> gone
    end.

-spec stop(pid()) -> ok.
stop(Pid) ->
    gen_server:cast(Pid, stop).

%% @doc For a pid that comes from Python, before anything is sent to it. Only nodes we are connected
%% to are asked.
-spec kind(pid()) -> kind() | none.
kind(Pid) when node(Pid) =:= node() ->
    case erlang:process_info(Pid, dictionary) of
        {dictionary, Dictionary} -> proplists:get_value(?LABEL, Dictionary, none);
        undefined -> none
    end;
kind(Pid) ->
    case lists:member(node(Pid), nodes()) of
        true ->
            try
                erpc:call(node(Pid), ?MODULE, kind, [Pid])
            catch
                error:{erpc, _} -> none;
                error:{exception, undef, _} -> none
            end;
        false ->
            none
    end.

%% The process -------------------------------------------------------------------------------------

-spec start_link(settings()) -> gen_server:start_ret().
start_link(Settings) ->
    gen_server:start_link(?MODULE, Settings, []).

-spec init(settings()) -> {ok, #fifo{}}.
init(#{kind := Kind, items := Items, bytes := Bytes, owner := Owner} = Settings) ->
    _ = put(?LABEL, Kind),
    {ok, #fifo{
        buffer = py_port_buffer:new(Items, Bytes, maps:get(taken, Settings, infinity)),
        kind = Kind,
        weigh = maps:get(weigh, Settings, false),
        owner =
            case Owner of
                none -> none;
                _ -> erlang:monitor(process, Owner)
            end
    }}.

-spec handle_call(term(), gen_server:from(), #fifo{}) ->
    {reply, map(), #fifo{}} | {noreply, #fifo{}}.
handle_call(info, _From, #fifo{buffer = Buffer, kind = Kind, weigh = Weigh} = S) ->
    {reply, (py_port_buffer:info(Buffer))#{kind => Kind, weigh => Weigh}, S};
handle_call(_, _From, S) ->
    {noreply, S}.

-spec handle_cast(term(), #fifo{}) ->
    {noreply, #fifo{}} | {stop, normal, #fifo{}}.
handle_cast({finish, Why}, #fifo{buffer = Buffer} = S) ->
    settled(carry_out(py_port_buffer:finish(Why, Buffer), S#fifo{ended = true}));
handle_cast({abort, Why}, #fifo{buffer = Buffer} = S) ->
    settled(carry_out(py_port_buffer:abort(Why, Buffer), S#fifo{ended = true}));
handle_cast(stop, S) ->
    {stop, normal, S};
handle_cast(_, S) ->
    {noreply, S}.

%% Whoever knows our pid can send here, so what could not be answered or watched is no request.
-spec handle_info(term(), #fifo{}) -> {noreply, #fifo{}} | {stop, normal, #fifo{}}.
handle_info({request, Ref, Client, _}, S) when not is_reference(Ref); not is_pid(Client) ->
    {noreply, S};
handle_info({request, Ref, Client, {put, Item, Said, Patience}}, #fifo{buffer = Buffer} = S) when
    is_integer(Said), Said >= 0
->
    Size = size_of(Item, Said, S),
    {Effects, Buffer1} = py_port_buffer:put(Ref, Item, Size, Patience, Buffer),
    %% Most are admitted at once and need no monitor.
    S1 =
        case py_port_buffer:is_waiting(Ref, Buffer1) of
            true -> watch(Ref, Client, Client, S);
            false -> S
        end,
    {noreply, collect(Size, carry_out({Effects, Buffer1}, S1))};
handle_info({request, Ref, Client, {take, Max, Patience}}, #fifo{buffer = Buffer} = S) when
    is_integer(Max), Max > 0
->
    %% Before the answer: a client that is quick to exit must not be gone by then, because a normal
    %% exit says that it has written what it committed, and `noproc' says nothing.
    S1 = watch(Ref, Client, Client, S),
    settled(carry_out(py_port_buffer:take(Ref, Max, Patience, Buffer), S1));
handle_info({confirm, Ref}, S) ->
    settled(confirmed(Ref, S));
handle_info({commit, Ref, Owner}, #fifo{buffer = Buffer, committed = Committed} = S) when
    is_pid(Owner)
->
    case py_port_buffer:is_handed(Ref, Buffer) of
        true -> {noreply, S#fifo{committed = Committed#{Ref => Owner}}};
        false -> {noreply, S}
    end;
handle_info({request, Ask, _, {redeem, Client}}, S) ->
    settled(redeem(Client, Ask, S));
handle_info({leave, Ref}, #fifo{buffer = Buffer} = S) ->
    %% One that was handed something before this came will confirm it.
    case py_port_buffer:is_handed(Ref, Buffer) of
        true -> {noreply, S};
        false -> {noreply, carry_out(py_port_buffer:leave(Ref, Buffer), S)}
    end;
handle_info({'DOWN', Owner, process, _, _}, #fifo{owner = Owner} = S) ->
    {stop, normal, S};
handle_info({'DOWN', Monitor, process, _, Reason}, #fifo{monitors = Monitors} = S) ->
    case Monitors of
        #{Monitor := Ref} -> settled(down(Ref, Reason, S));
        #{} -> {noreply, S}
    end;
handle_info(_, S) ->
    {noreply, S}.

-spec size_of(term(), non_neg_integer(), #fifo{}) -> non_neg_integer().
size_of(Item, _, #fifo{weigh = true, kind = channel}) -> erlang:external_size(Item);
size_of(_, Said, #fifo{}) -> Said.

-spec settled(#fifo{}) -> {noreply, #fifo{}} | {stop, normal, #fifo{}}.
settled(#fifo{ended = true, owner = none, clients = Clients, buffer = Buffer} = S) when
    map_size(Clients) =:= 0
->
    case py_port_buffer:info(Buffer) of
        #{size := 0} -> {stop, normal, S};
        #{} -> {noreply, S}
    end;
settled(S) ->
    {noreply, S}.

%% The end of a client, or of the context that is to redeem what the client had committed. When that
%% has ended too, the worker has, and what was on its way there with it.
-spec down(py_port_buffer:who(), term(), #fifo{}) -> #fifo{}.
down(Ref, Reason, #fifo{committed = Committed, redeemers = Redeemers} = S) ->
    case {Committed, Redeemers} of
        {#{Ref := orphan}, _} -> confirmed(Ref, S);
        {#{Ref := _}, _} when Reason =:= normal -> confirmed(Ref, S);
        {_, #{Ref := Ask}} -> redeemed(Ref, Ask, S);
        {#{Ref := Owner}, _} -> orphaned(Ref, Owner, S);
        {#{}, _} -> gone(Ref, S)
    end.

-spec orphaned(py_port_buffer:who(), pid(), #fifo{}) -> #fifo{}.
orphaned(Ref, Owner, #fifo{clients = Clients} = S) ->
    {_, Client} = map_get(Ref, Clients),
    #fifo{committed = Committed} = S1 = watch(Ref, Client, Owner, forget(Ref, S)),
    S1#fifo{committed = Committed#{Ref => orphan}}.

-spec redeem(pid(), reference(), #fifo{}) -> #fifo{}.
redeem(Client, Ask, #fifo{committed = Committed} = S) ->
    case requests(Client, S) of
        [Ref | _] when map_get(Ref, Committed) =:= orphan ->
            redeemed(Ref, Ask, S);
        [Ref | _] ->
            %% We are yet to hear of the end of the client, and its commit may come before that.
            S#fifo{redeemers = (S#fifo.redeemers)#{Ref => Ask}};
        [] ->
            ok = py_port_ask:answer(Ask, given_back),
            S
    end.

-spec requests(pid(), #fifo{}) -> [py_port_buffer:who()].
requests(Client, #fifo{clients = Clients}) ->
    [Ref || {Ref, {_, Pid}} <- maps:to_list(Clients), Pid =:= Client].

-spec redeemed(py_port_buffer:who(), reference(), #fifo{}) -> #fifo{}.
redeemed(Ref, Ask, #fifo{committed = Committed} = S) when is_map_key(Ref, Committed) ->
    ok = py_port_ask:answer(Ask, committed),
    confirmed(Ref, S);
redeemed(Ref, Ask, S) ->
    ok = py_port_ask:answer(Ask, given_back),
    gone(Ref, S).

-spec confirmed(py_port_buffer:who(), #fifo{}) -> #fifo{}.
confirmed(Ref, #fifo{buffer = Buffer} = S) ->
    forget(Ref, carry_out(py_port_buffer:confirm(Ref, Buffer), S)).

-spec gone(py_port_buffer:who(), #fifo{}) -> #fifo{}.
gone(Ref, #fifo{buffer = Buffer} = S) ->
    forget(Ref, carry_out(py_port_buffer:leave(Ref, Buffer), S)).

-spec carry_out({[py_port_buffer:effect()], py_port_buffer:buffer()}, #fifo{}) -> #fifo{}.
carry_out({Effects, Buffer}, S) ->
    lists:foldl(fun carry_out_one/2, S#fifo{buffer = Buffer}, Effects).

-spec carry_out_one(py_port_buffer:effect(), #fifo{}) -> #fifo{}.
carry_out_one({take, Ref, {items, _} = Items}, S) ->
    ok = py_port_ask:answer(Ref, Items),
    S;
carry_out_one({left, Ref}, S) ->
    ok = py_port_ask:answer(Ref, left),
    forget(Ref, S);
carry_out_one({_, Ref, Answer}, S) ->
    ok = py_port_ask:answer(Ref, Answer),
    forget(Ref, S).

%% Watching clients --------------------------------------------------------------------------------

-spec watch(py_port_buffer:who(), Client :: pid(), Watched :: pid(), #fifo{}) -> #fifo{}.
watch(Ref, Client, Watched, #fifo{monitors = Monitors, clients = Clients} = S) ->
    Monitor = erlang:monitor(process, Watched),
    S#fifo{monitors = Monitors#{Monitor => Ref}, clients = Clients#{Ref => {Monitor, Client}}}.

-spec forget(py_port_buffer:who(), #fifo{}) -> #fifo{}.
forget(Ref, #fifo{monitors = Monitors, clients = Clients} = S) ->
    case maps:take(Ref, Clients) of
        {{Monitor, _}, Rest} ->
            true = erlang:demonitor(Monitor, [flush]),
            S#fifo{
                monitors = maps:remove(Monitor, Monitors),
                clients = Rest,
                committed = maps:remove(Ref, S#fifo.committed),
                redeemers = maps:remove(Ref, S#fifo.redeemers)
            };
        error ->
            S
    end.

-spec collect(non_neg_integer(), #fifo{}) -> #fifo{}.
collect(Size, #fifo{passed = Passed} = S) when Passed + Size < ?COLLECT_AFTER ->
    S#fifo{passed = Passed + Size};
collect(_, S) ->
    true = garbage_collect(),
    S#fifo{passed = 0}.
