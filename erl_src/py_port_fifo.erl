%% @doc The process behind a channel or an inlet: a bounded FIFO that any number of processes fill
%% and empty.
%%
%% Promise: what was accepted is lost only with this process or by {@link abort/2}: a consumer that
%% dies, is killed or gives up gets nothing, however late; what it had been handed goes back to the
%% front (see {@link py_port_buffer}). A request that is given up has one outcome too: who says that
%% its time was over has not put or taken anything.
%%
%% Requests are those of {@link py_port_ask}; clients may live on any node. Clients are monitored while they wait and while they hold what they have not confirmed.
%% A client confirms with a message, or, if it took with `at_exit', by exiting normally: a process
%% that passes the items on to somebody else has done so only then.
%%
%% Child of {@link py_port_flow_sup}. Ends when its owner does, and at stop/1; without an owner, when
%% it is closed and has nothing more to give.
%% @end
-module(py_port_fifo).

-behaviour(gen_server).

-export([start/1, put/4, take/4, finish/2, abort/2, info/1, stop/1, kind/1]).
%% for the supervisor
-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([settings/0, kind/0]).

-type kind() :: channel | byte_channel | inlet.
-type settings() :: #{
    kind := kind(),
    items := pos_integer() | infinity,
    bytes := pos_integer() | infinity,
    %% whose end ends this process
    owner := pid() | none
}.
%% How the items of a take are confirmed.
-type confirmation() :: at_once | at_exit.

-record(fifo, {
    buffer :: py_port_buffer:buffer(),
    kind :: kind(),
    owner :: reference() | none,
    %% finish/2 or abort/2 has come
    ended = false :: boolean(),
    %% of clients that wait or have not confirmed, both ways
    monitors = #{} :: #{reference() => py_port_buffer:who()},
    clients = #{} :: #{py_port_buffer:who() => reference()},
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

-spec take(pid(), pos_integer(), timeout(), confirmation()) ->
    {items, [term(), ...]} | empty | {ended, term()} | gone.
take(Pid, Max, 0, Confirmation) ->
    take(Pid, Max, try_once, infinity, Confirmation);
take(Pid, Max, Timeout, Confirmation) ->
    take(Pid, Max, wait, Timeout, Confirmation).

-spec take(pid(), pos_integer(), py_port_buffer:patience(), timeout(), confirmation()) -> term().
take(Pid, Max, Patience, Timeout, Confirmation) ->
    Confirms = fun(Answer) -> Confirmation =:= at_once andalso is_tuple(Answer) end,
    case py_port_ask:ask_confirming(Pid, {take, Max, Patience}, Timeout, Confirms) of
        left -> empty;
        Answer -> Answer
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
init(#{kind := Kind, items := Items, bytes := Bytes, owner := Owner}) ->
    _ = put(?LABEL, Kind),
    {ok, #fifo{
        buffer = py_port_buffer:new(Items, Bytes),
        kind = Kind,
        owner =
            case Owner of
                none -> none;
                _ -> erlang:monitor(process, Owner)
            end
    }}.

-spec handle_call(info, gen_server:from(), #fifo{}) -> {reply, map(), #fifo{}}.
handle_call(info, _From, #fifo{buffer = Buffer, kind = Kind} = S) ->
    {reply, (py_port_buffer:info(Buffer))#{kind => Kind}, S}.

-spec handle_cast({finish | abort, term()} | stop, #fifo{}) ->
    {noreply, #fifo{}} | {stop, normal, #fifo{}}.
handle_cast({finish, Why}, #fifo{buffer = Buffer} = S) ->
    settled(carry_out(py_port_buffer:finish(Why, Buffer), S#fifo{ended = true}));
handle_cast({abort, Why}, #fifo{buffer = Buffer} = S) ->
    settled(carry_out(py_port_buffer:abort(Why, Buffer), S#fifo{ended = true}));
handle_cast(stop, S) ->
    {stop, normal, S}.

-spec handle_info(term(), #fifo{}) -> {noreply, #fifo{}} | {stop, normal, #fifo{}}.
handle_info({request, Ref, Client, {put, Item, Size, Patience}}, #fifo{buffer = Buffer} = S) ->
    {Effects, Buffer1} = py_port_buffer:put(Ref, Item, Size, Patience, Buffer),
    %% Most are admitted at once and need no monitor.
    S1 =
        case py_port_buffer:is_waiting(Ref, Buffer1) of
            true -> watch(Ref, Client, S);
            false -> S
        end,
    {noreply, collect(Size, carry_out({Effects, Buffer1}, S1))};
handle_info({request, Ref, Client, {take, Max, Patience}}, #fifo{buffer = Buffer} = S) ->
    %% Before the answer: a client that is quick to exit must not be gone by then, because a normal
    %% exit confirms, and `noproc' says nothing.
    S1 = watch(Ref, Client, S),
    settled(carry_out(py_port_buffer:take(Ref, Max, Patience, Buffer), S1));
handle_info({confirm, Ref}, S) ->
    settled(confirmed(Ref, S));
handle_info({leave, Ref}, #fifo{buffer = Buffer} = S) ->
    %% One that was handed something before this came will confirm it.
    case py_port_buffer:is_handed(Ref, Buffer) of
        true -> {noreply, S};
        false -> {noreply, carry_out(py_port_buffer:leave(Ref, Buffer), S)}
    end;
handle_info({'DOWN', Owner, process, _, _}, #fifo{owner = Owner} = S) ->
    {stop, normal, S};
handle_info({'DOWN', Monitor, process, _, Reason}, #fifo{monitors = Monitors} = S) ->
    case {Monitors, Reason} of
        {#{Monitor := Ref}, normal} -> settled(confirmed(Ref, S));
        {#{Monitor := Ref}, _} -> settled(gone(Ref, S));
        {#{}, _} -> {noreply, S}
    end;
handle_info(_, S) ->
    {noreply, S}.

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

%% By message, or by a normal exit: a process that still waits cannot exit normally.
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

-spec watch(py_port_buffer:who(), pid(), #fifo{}) -> #fifo{}.
watch(Ref, Client, #fifo{monitors = Monitors, clients = Clients} = S) ->
    Monitor = erlang:monitor(process, Client),
    S#fifo{monitors = Monitors#{Monitor => Ref}, clients = Clients#{Ref => Monitor}}.

-spec forget(py_port_buffer:who(), #fifo{}) -> #fifo{}.
forget(Ref, #fifo{monitors = Monitors, clients = Clients} = S) ->
    case maps:take(Ref, Clients) of
        {Monitor, Rest} ->
            true = erlang:demonitor(Monitor, [flush]),
            S#fifo{monitors = maps:remove(Monitor, Monitors), clients = Rest};
        error ->
            S
    end.

-spec collect(non_neg_integer(), #fifo{}) -> #fifo{}.
collect(Size, #fifo{passed = Passed} = S) when Passed + Size < ?COLLECT_AFTER ->
    S#fifo{passed = Passed + Size};
collect(_, S) ->
    true = garbage_collect(),
    S#fifo{passed = 0}.
