%% @doc Drives one tenant: walks through its corpus, call by call, and checks every answer.
%%
%% The context is found by its registered name. It may die at any time: the driver sees it through its monitor, waits
%% until the supervisor has registered a new one, and begins a new pass with it, because what the plugin remembered
%% of the old pass is gone.
%%
%% Invariant: at most one call is under way, and `memo' mirrors what the plugin remembers of this pass.
%% @end
-module(plugin_host_tenant).

-behaviour(gen_server).

-export([start_link/1, deadline/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

%% An answer later than this is late. Plugins need a few milliseconds; the rest is patience with a busy machine.
-define(DEADLINE_MS, 2000).
%% Between the end of a call and the next one: tenants send data as it comes in, not as fast as they can.
-define(PACE_MS, 15).
%% Between two looks for a context that is being restarted.
-define(RECONNECT_MS, 10).

-record(state, {
    tenant :: plugin_host_tenants:tenant(),
    context = none :: none | {pid(), Monitor :: reference()},
    %% the next chunk of this pass; `begin' before the first, one more than there are after the last
    position = 'begin' :: 'begin' | pos_integer(),
    memo :: plugin_host_check:memo()
}).

-spec start_link(plugin_host_tenants:tenant()) -> gen_server:start_ret().
start_link(Tenant) ->
    gen_server:start_link(?MODULE, Tenant, []).

%% @doc In milliseconds.
-spec deadline() -> pos_integer().
deadline() ->
    ?DEADLINE_MS.

%%% callbacks

-spec init(plugin_host_tenants:tenant()) -> {ok, #state{}}.
init(#{work := Work} = Tenant) ->
    {ok, next(0, #state{tenant = Tenant, memo = plugin_host_check:new(Work)})}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, unknown}, #state{}}.
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(next, #state{context = none} = State) ->
    {noreply, connect(State)};
handle_info(next, State) ->
    {noreply, next(?PACE_MS, step(State))};
handle_info({'DOWN', Monitor, process, _, Reason}, #state{context = {_, Monitor}} = State) ->
    #state{tenant = #{name := Name}} = State,
    plugin_host_stats:down(Name, Reason),
    {noreply, new_pass(State#state{context = none})};
handle_info(_Other, State) ->
    {noreply, State}.

%%% one pass: begin, a call per chunk, summary

-spec step(#state{}) -> #state{}.
step(#state{position = 'begin', tenant = #{name := Name}} = State) ->
    case call('begin', [], State) of
        {ok, none, _Micros} -> State#state{position = 1};
        {ok, Other, Micros} ->
            plugin_host_stats:answered(Name, Micros, 0, {wrong, {'begin', Other}}),
            State;
        error -> new_pass(State)
    end;
step(#state{position = Position, tenant = #{corpus := Corpus}} = State) ->
    case Position =< plugin_host_corpus:count(Corpus) of
        true -> chunk(plugin_host_corpus:chunk(Corpus, Position), State);
        false -> summary(State)
    end.

-spec chunk(binary(), #state{}) -> #state{}.
chunk(Rows, #state{position = Position, memo = Memo} = State) ->
    #state{tenant = #{name := Name, work := Work}} = State,
    case call(handle, [plugin_host_check:argument(Work, Rows)], State) of
        {ok, Answer, Micros} ->
            {Expected, NewMemo} = plugin_host_check:expect(Work, Rows, Memo),
            Verdict = verdict(Work, Expected, Answer),
            plugin_host_stats:answered(Name, Micros, byte_size(Rows), Verdict),
            State#state{position = Position + 1, memo = NewMemo};
        error ->
            new_pass(State)
    end.

-spec summary(#state{}) -> #state{}.
summary(#state{tenant = #{name := Name, work := Work}, memo = Memo} = State) ->
    case call(summary, [], State) of
        {ok, Answer, _Micros} ->
            Expected = plugin_host_check:summary(Work, Memo),
            plugin_host_stats:pass(Name, verdict(Work, Expected, Answer)),
            new_pass(State);
        error ->
            new_pass(State)
    end.

-spec verdict(plugin_host_check:work(), term(), term()) -> plugin_host_stats:verdict().
verdict(Work, Expected, Answer) ->
    case plugin_host_check:same(Work, Expected, Answer) of
        true -> right;
        false -> {wrong, #{expected => Expected, got => Answer}}
    end.

%%% the context

-spec call(atom(), [term()], #state{}) -> {ok, term(), Micros :: non_neg_integer()} | error.
call(Function, Args, #state{tenant = #{name := Name}, context = {Context, _}}) ->
    Started = erlang:monotonic_time(microsecond),
    Result = py_port:call(Context, plugin, Function, Args, #{}, #{timeout => ?DEADLINE_MS}),
    Micros = erlang:monotonic_time(microsecond) - Started,
    case Result of
        {ok, Answer} when Micros =< ?DEADLINE_MS * 1000 ->
            {ok, Answer, Micros};
        {ok, _Late} ->
            plugin_host_stats:failed(Name, Micros, late, {answered_after_its_deadline, Function}),
            error;
        {error, timeout} ->
            plugin_host_stats:failed(Name, Micros, late, timeout),
            error;
        {error, Reason} ->
            plugin_host_stats:failed(Name, Micros, in_time, Reason),
            error
    end.

%% A context has its name from the moment it starts, and answers when its worker is ready.
-spec connect(#state{}) -> #state{}.
connect(#state{tenant = #{name := Name}} = State) ->
    case context(Name) of
        {ok, Context, OsPid} ->
            Worker = #{os_pid => OsPid, launcher => plugin_host_proc:parent(OsPid)},
            plugin_host_stats:up(Name, Worker),
            next(0, new_pass(State#state{context = {Context, monitor(process, Context)}}));
        not_ready ->
            next(?RECONNECT_MS, State)
    end.

-spec context(plugin_host_tenants:name()) -> {ok, pid(), OsPid :: pos_integer()} | not_ready.
context(Name) ->
    Context = whereis(Name),
    case is_pid(Context) andalso py_port:info(Context) of
        #{os_pid := OsPid} -> {ok, Context, OsPid};
        _ -> not_ready
    end.

-spec new_pass(#state{}) -> #state{}.
new_pass(#state{tenant = #{work := Work}} = State) ->
    State#state{position = 'begin', memo = plugin_host_check:new(Work)}.

-spec next(non_neg_integer(), #state{}) -> #state{}.
next(AfterMs, State) ->
    _ = erlang:send_after(AfterMs, self(), next),
    State.
