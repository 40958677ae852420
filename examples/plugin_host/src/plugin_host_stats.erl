%% @doc The figures and events of this run, one row per tenant.
%%
%% Drivers report what happened; the table and the claims read. {@link await/2} lets a process wait until the rows
%% say something, so that nobody has to poll.
%% @end
-module(plugin_host_stats).

-behaviour(gen_server).

-export([start_link/0, rows/0, await/2]).
-export([up/2, down/2, answered/4, failed/4, pass/2, printed/3, event/2, brief/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-export_type([row/0, rows/0, verdict/0]).

-type name() :: plugin_host_tenants:name().
-type verdict() :: right | {wrong, term()}.
%% two processes: Python, and the launcher that is its parent (0 if it could not be seen)
-type worker() :: #{os_pid := pos_integer(), launcher := non_neg_integer()}.
-type row() :: #{
    %% the worker that serves now, or the last one
    worker := none | worker(),
    %% all that ever served, newest first
    workers := [worker()],
    %% why they ended, newest first
    downs := [Reason :: term()],
    right := non_neg_integer(),
    %% right answers of the present worker alone
    right_since_up := non_neg_integer(),
    %% the first few wrong answers and failed calls are kept as they came
    wrong := non_neg_integer(),
    failed := non_neg_integer(),
    late := non_neg_integer(),
    oddities := [term()],
    bytes := non_neg_integer(),
    passes := non_neg_integer(),
    latency := plugin_host_histogram:histogram(),
    %% lines that the plugin printed, newest first
    printed := [{Stream :: term(), Line :: term()}],
    last_event := string()
}.
-type rows() :: #{name() => row()}.
-type until() :: fun((rows()) -> boolean()).

-define(KEPT_ODDITIES, 5).
-define(KEPT_LINES, 1000).

-record(state, {
    rows :: rows(),
    waiting = [] :: [{gen_server:from(), until()}]
}).

%%% API

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec rows() -> rows().
rows() ->
    gen_server:call(?MODULE, rows).

%% @doc Waits until the condition holds, and returns the rows of that moment.
-spec await(until(), Timeout :: pos_integer()) -> {ok, rows()} | timeout.
await(Until, Timeout) ->
    Request = gen_server:send_request(?MODULE, {await, Until}),
    case gen_server:wait_response(Request, Timeout) of
        {reply, Rows} -> {ok, Rows};
        timeout -> timeout
    end.

-spec up(name(), worker()) -> ok.
up(Tenant, Worker) ->
    gen_server:cast(?MODULE, {Tenant, {up, Worker}}).

-spec down(name(), Reason :: term()) -> ok.
down(Tenant, Reason) ->
    gen_server:cast(?MODULE, {Tenant, {down, Reason}}).

%% @doc A call was answered with a value: after so many microseconds, for so many bytes of data.
-spec answered(name(), Micros :: non_neg_integer(), Bytes :: non_neg_integer(), verdict()) -> ok.
answered(Tenant, Micros, Bytes, Verdict) ->
    gen_server:cast(?MODULE, {Tenant, {answered, Micros, Bytes, Verdict}}).

%% @doc A call was answered with an error; `late' if its deadline had passed.
-spec failed(name(), Micros :: non_neg_integer(), late | in_time, Reason :: term()) -> ok.
failed(Tenant, Micros, Late, Reason) ->
    gen_server:cast(?MODULE, {Tenant, {failed, Micros, Late, Reason}}).

-spec pass(name(), verdict()) -> ok.
pass(Tenant, Verdict) ->
    gen_server:cast(?MODULE, {Tenant, {pass, Verdict}}).

-spec printed(name(), Stream :: term(), Line :: term()) -> ok.
printed(Tenant, Stream, Line) ->
    gen_server:cast(?MODULE, {Tenant, {printed, Stream, Line}}).

-spec event(name(), string()) -> ok.
event(Tenant, Text) ->
    gen_server:cast(?MODULE, {Tenant, {event, Text}}).

%% @doc The first words of what py_port says about an error: one line without figures.
-spec brief(term()) -> string().
brief(Reason) ->
    [First | _] = re:split(py_port:format_error(Reason), "[;\n]", [unicode, {return, list}]),
    First.

%%% callbacks

-spec init([]) -> {ok, #state{}}.
init([]) ->
    Names = [Name || #{name := Name} <- plugin_host_tenants:all()],
    {ok, #state{rows = maps:from_keys(Names, new_row())}}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, rows(), #state{}} | {noreply, #state{}}.
handle_call(rows, _From, #state{rows = Rows} = State) ->
    {reply, Rows, State};
handle_call({await, Until}, From, #state{waiting = Waiting} = State) ->
    {noreply, answer_waiting(State#state{waiting = [{From, Until} | Waiting]})}.

-spec handle_cast({name(), term()}, #state{}) -> {noreply, #state{}}.
handle_cast({Tenant, What}, #state{rows = Rows} = State) when is_map_key(Tenant, Rows) ->
    #{Tenant := Row} = Rows,
    {noreply, answer_waiting(State#state{rows = Rows#{Tenant := apply_event(What, Row)}})};
handle_cast({_Stranger, _What}, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(_Late, State) ->
    {noreply, State}.

%%% private

-spec new_row() -> row().
new_row() ->
    #{
        worker => none, workers => [], downs => [],
        right => 0, right_since_up => 0, wrong => 0, failed => 0, late => 0, oddities => [],
        bytes => 0, passes => 0, latency => plugin_host_histogram:new(),
        printed => [], last_event => "starting"
    }.

-spec apply_event(term(), row()) -> row().
apply_event({up, Worker}, #{workers := Workers} = Row) ->
    Text = case Workers of [] -> "started"; [_ | _] -> "restarted by its supervisor" end,
    Row#{worker := Worker, workers := [Worker | Workers], right_since_up := 0, last_event := Text};
apply_event({down, Reason}, #{downs := Downs} = Row) ->
    Row#{downs := [Reason | Downs], last_event := brief(Reason)};
apply_event({answered, Micros, Bytes, Verdict}, #{bytes := Sum, latency := Latency} = Row) ->
    NewLatency = plugin_host_histogram:add(Micros, Latency),
    judge(Verdict, Row#{bytes := Sum + Bytes, latency := NewLatency});
apply_event({failed, Micros, Late, Reason}, Row) ->
    #{failed := Failed, late := LateCalls, latency := Latency} = Row,
    Measured = Row#{
        failed := Failed + 1,
        late := LateCalls + case Late of late -> 1; in_time -> 0 end,
        latency := plugin_host_histogram:add(Micros, Latency)
    },
    keep_oddity({failed, Reason}, Measured);
apply_event({pass, Verdict}, #{passes := Passes} = Row) ->
    judge(Verdict, Row#{passes := Passes + 1});
apply_event({printed, Stream, Line}, #{printed := Lines} = Row) ->
    Row#{printed := lists:sublist([{Stream, Line} | Lines], ?KEPT_LINES)};
apply_event({event, Text}, Row) ->
    Row#{last_event := Text}.

-spec judge(verdict(), row()) -> row().
judge(right, #{right := Right, right_since_up := Since} = Row) ->
    Row#{right := Right + 1, right_since_up := Since + 1};
judge({wrong, _} = Verdict, #{wrong := Wrong} = Row) ->
    keep_oddity(Verdict, Row#{wrong := Wrong + 1, last_event := "WRONG ANSWER"}).

-spec keep_oddity(term(), row()) -> row().
keep_oddity(Oddity, #{oddities := Oddities} = Row) when length(Oddities) < ?KEPT_ODDITIES ->
    Row#{oddities := [Oddity | Oddities]};
keep_oddity(_Oddity, Row) ->
    Row.

-spec answer_waiting(#state{}) -> #state{}.
answer_waiting(#state{waiting = []} = State) ->
    State;
answer_waiting(#state{rows = Rows, waiting = Waiting} = State) ->
    {Ready, Still} = lists:partition(fun({_, Until}) -> Until(Rows) end, Waiting),
    lists:foreach(fun({From, _}) -> gen_server:reply(From, Rows) end, Ready),
    State#state{waiting = Still}.
