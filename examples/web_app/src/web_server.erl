%% @doc Keeps the server in Python running: one call that lasts as long as this process.
%% @end
-module(web_server).

-behaviour(gen_server).

-export([start_link/1, port/0]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

-record(state, {context :: atom(), call :: py_port:handle() | undefined, port = 0 :: inet:port_number()}).

-spec start_link(atom()) -> {ok, pid()} | {error, term()} | ignore.
start_link(Context) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, Context, []).

%% @doc Where it serves; waits until it does.
-spec port() -> inet:port_number().
port() ->
    gen_server:call(?MODULE, port, 30000).

-spec init(atom()) -> {ok, #state{}, {continue, serve}}.
init(Context) ->
    {ok, #state{context = Context}, {continue, serve}}.

-spec handle_continue(serve, #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_continue(serve, #state{context = Context} = State) ->
    case py_port:async_call(Context, web, serve, [0, self()], #{timeout => infinity}) of
        {error, Reason} ->
            {stop, {did_not_start, Reason}, State};
        Call ->
            receive
                {serving, Port} -> {noreply, State#state{call = Call, port = Port}};
                {py_port_reply, Call, Outcome} -> {stop, {did_not_start, Outcome}, State}
            end
    end.

-spec handle_call(port, gen_server:from(), #state{}) -> {reply, inet:port_number(), #state{}}.
handle_call(port, _, #state{port = Port} = State) ->
    {reply, Port, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({py_port_reply, Call, Outcome}, #state{call = Call} = State) ->
    {stop, {ended, Outcome}, State};
handle_info(_, State) ->
    {noreply, State}.
