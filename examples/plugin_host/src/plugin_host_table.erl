%% @doc Shows the tenants while they work: redrawn in place on a terminal, printed from time to time elsewhere.
-module(plugin_host_table).

-behaviour(gen_server).

-export([start_link/0, finish/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export([render/3]).

-define(ANSI_MS, 250).
-define(PLAIN_MS, 2000).
-define(COLUMNS, "~-12ts ~7ts ~7ts ~8ts ~8ts ~8ts ~8ts ~8ts  ~ts").

-record(state, {
    style :: ansi | plain,
    started :: integer(),
    width :: pos_integer(),
    %% lines on the screen that the next drawing replaces
    drawn = 0 :: non_neg_integer()
}).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Draws the table one last time.
-spec finish() -> ok.
finish() ->
    gen_server:call(?MODULE, finish).

-spec init([]) -> {ok, #state{}}.
init([]) ->
    Style =
        case application:get_env(plugin_host, ansi) of
            {ok, true} -> ansi;
            _ -> plain
        end,
    Width = application:get_env(plugin_host, width, 120),
    {ok, tick(#state{style = Style, width = Width, started = now_ms()})}.

-spec handle_call(finish, gen_server:from(), #state{}) -> {reply, ok, #state{}}.
handle_call(finish, _From, State) ->
    {reply, ok, draw(State)}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(draw, #state{}) -> {noreply, #state{}}.
handle_info(draw, State) ->
    {noreply, tick(draw(State))}.

%% @doc The lines of the table.
-spec render(plugin_host_stats:rows(), ElapsedMs :: integer(), pos_integer()) -> [string()].
render(Rows, ElapsedMs, Width) ->
    Tenants = [{Name, maps:get(Name, Rows)} || #{name := Name} <- plugin_host_tenants:all()],
    Right = lists:sum([N || {_, #{right := N}} <- Tenants]),
    Title = text("py_port plugin host   ~.1f s   ~b tenants   ~b right answers", [
        ElapsedMs / 1000, length(Tenants), Right
    ]),
    Head = text(?COLUMNS, [
        "tenant", "os pid", "calls", "p50 ms", "p99 ms", "rss MB", "restarts", "MB in", "last event"
    ]),
    Rule = lists:duplicate(Width - 1, $-),
    Lines = [Title, Head, Rule | [line(Name, Row) || {Name, Row} <- Tenants]],
    [lists:sublist(Line, Width - 1) || Line <- Lines].

-spec line(plugin_host_tenants:name(), plugin_host_stats:row()) -> string().
line(Name, #{right := Right, wrong := Wrong, failed := Failed} = Row) ->
    #{worker := Worker, workers := Workers, latency := Latency, bytes := Bytes} = Row,
    {OsPid, Rss} =
        case Worker of
            none -> {"-", 0};
            #{os_pid := Pid} -> {integer_to_list(Pid), plugin_host_proc:rss(Pid)}
        end,
    text(?COLUMNS, [
        atom_to_list(Name),
        OsPid,
        integer_to_list(Right + Wrong + Failed),
        milliseconds(plugin_host_histogram:percentile(0.50, Latency)),
        milliseconds(plugin_host_histogram:percentile(0.99, Latency)),
        float_to_list(Rss / 1.0e6, [{decimals, 1}]),
        integer_to_list(max(0, length(Workers) - 1)),
        float_to_list(Bytes / 1.0e6, [{decimals, 1}]),
        maps:get(last_event, Row)
    ]).

%%% private

-spec draw(#state{}) -> #state{}.
draw(#state{style = Style, started = Started, width = Width, drawn = Drawn} = State) ->
    Lines = render(plugin_host_stats:rows(), now_ms() - Started, Width),
    case Style of
        ansi ->
            Up = case Drawn of 0 -> ""; _ -> io_lib:format("\e[~bA", [Drawn]) end,
            io:put_chars([Up | [["\e[2K", Line, $\n] || Line <- Lines]]);
        plain ->
            io:put_chars([[Line, $\n] || Line <- Lines ++ [""]])
    end,
    State#state{drawn = length(Lines)}.

-spec tick(#state{}) -> #state{}.
tick(#state{style = Style} = State) ->
    _ = erlang:send_after(case Style of ansi -> ?ANSI_MS; plain -> ?PLAIN_MS end, self(), draw),
    State.

-spec milliseconds(non_neg_integer()) -> string().
milliseconds(Micros) ->
    float_to_list(Micros / 1000, [{decimals, 2}]).

-spec text(io:format(), [term()]) -> string().
text(Format, Args) ->
    lists:flatten(io_lib:format(Format, Args)).

-spec now_ms() -> integer().
now_ms() ->
    erlang:monotonic_time(millisecond).
