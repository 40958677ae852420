%% @doc Python's `logging' in Erlang's {@link logger}, and Erlang's idea of a level in Python.
%%
%% A record becomes one log event: its level (see {@link py_log_record:levels/0}), its text, and the
%% metadata `domain => [python]', `py_logger', `py_meta' (the record's extra fields), `file', `line',
%% `py_function', `py_exception', `py_trace', `time' (the record's), `pid' (the context) and `context'
%% (its name). A context may log so many records per second ({@link options()}, `rate'); of what is
%% more, and of what the worker itself had to drop, the number is logged.
%%
%% Records arrive as calls of the registered function `_py_log', in processes of their own: this one
%% only owns the counts and tells what was dropped. So a context whose option `functions' is a list may
%% log if `_py_log' is in it ({@link functions/0}), and nothing else about logging needs a permission.
%% @end
-module(py_logger).

-behaviour(gen_server).

-include_lib("kernel/include/logger.hrl").

-export([start_link/0, start_link/1, configure/0, configure/1, attach/1, started/1, init_code/0, functions/0]).
%% for Python
-export([records/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([options/0]).

-type options() :: #{
    %% the least level that Python sends: Erlang's, or a number of Python's. The default is the level
    %% of the node's logger
    level => logger:level() | all | none | non_neg_integer(),
    %% of Python's `logging.Formatter'. The default is the message alone
    format => none | unicode:chardata(),
    %% records per second and context, 1000 if nothing is said
    rate => pos_integer()
}.
-record(state, {ticking = false :: boolean()}).

-define(FUNCTION, <<"_py_log">>).
%% How many records of a second a context had, and how many of them were dropped: {{Ctx, Second}, N, Dropped}.
-define(COUNTS, py_logger_counts).
%% none until somebody configured it, else what Python is told and the rate.
-define(SETTINGS, {?MODULE, settings}).
-define(RATE, 1000).
%% As logging.PercentStyle has it.
-define(FIELD, "%\\(\\w+\\)[#0+ -]*(\\*|\\d+)?(\\.(\\*|\\d+))?[diouxefgcrsa%]").
%% Records in one call; ours send 100.
-define(MAX_BATCH, 1000).
-define(SECOND, 1000).
%% For a context that has just started.
-define(TELL_TIMEOUT, 5000).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc The same, and then {@link configure/1}.
-spec start_link(options()) -> gen_server:start_ret() | {error, term()}.
start_link(Options) ->
    case start_link() of
        {ok, Pid} ->
            case configure(Options) of
                ok -> {ok, Pid};
                {error, _} = Error -> stop(Pid, Error)
            end;
        Other ->
            Other
    end.

-spec stop(pid(), Error) -> Error.
stop(Pid, Error) ->
    true = unlink(Pid),
    ok = gen_server:stop(Pid),
    Error.

%% @equiv configure(#{})
-spec configure() -> ok | {error, py_port_error:reason()}.
configure() ->
    configure(#{}).

%% @doc Lets the contexts of all pools log from that level on, those that run and those to come. One that
%% is busy hears of it when it is free: calls that the same process makes after this come later.
-spec configure(options()) -> ok | {error, py_port_error:reason()}.
configure(Options) ->
    case settings(Options) of
        {ok, Settings} ->
            case py_port:register_function(?FUNCTION, ?MODULE, records) of
                ok ->
                    ok = persistent_term:put(?SETTINGS, Settings),
                    lists:foreach(fun attach/1, py_pool:running());
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc The same for one context, which need not belong to a pool. `ok' also when nothing was configured.
-spec attach(py_port:context()) -> ok | {error, py_port_error:reason()}.
attach(Ctx) ->
    case setup() of
        none -> ok;
        {Module, Function, Args} -> py_port:cast(Ctx, Module, Function, Args)
    end.

-spec setup() -> none | {atom(), atom(), [term()]}.
setup() ->
    case persistent_term:get(?SETTINGS, none) of
        none -> none;
        #{level := Level, format := Format} -> {erlang, setup_logging, [Level, Format]}
    end.

%% @doc For who has started a context with {@link init_code/0}, once {@link py_pool:running/0} names it:
%% what was configured meanwhile found it not running yet. Tells it of tracing as well, and waits until it
%% knows: it has nothing to do when it serves its first caller.
-spec started(py_port:context()) -> ok.
started(Ctx) ->
    Told = [Setup || Setup <- [setup(), py_tracer:setup()], Setup =/= none],
    %% One that cannot be told is on its way to its end, which its keeper sees.
    lists:foreach(
        fun({Module, Function, Args}) ->
            _ = py_port:call(Ctx, Module, Function, Args, #{}, #{timeout => ?TELL_TIMEOUT})
        end,
        Told
    ).

%% @doc What a context has to run when it starts, so that it logs and makes spans as was configured: lines
%% of Python that bind no name.
-spec init_code() -> binary() | none.
init_code() ->
    Parts = [Code || Code <- [logging_code(), py_tracer:init_code()], Code =/= none],
    case Parts of
        [] -> none;
        _ -> iolist_to_binary(Parts)
    end.

-spec logging_code() -> iodata() | none.
logging_code() ->
    case persistent_term:get(?SETTINGS, none) of
        none ->
            none;
        #{level := Level, format := none} ->
            io_lib:format("__import__('erlang').setup_logging(~b)~n", [Level]);
        #{level := Level, format := Format} ->
            %% As numbers: nothing in it can be taken for Python.
            Bytes = lists:join(",", [integer_to_binary(B) || <<B>> <= Format]),
            io_lib:format(
                "__import__('erlang').setup_logging(~b, bytes([~ts]).decode())~n", [Level, Bytes]
            )
    end.

%% @doc What the option `functions' of a context must hold for it to log.
-spec functions() -> [binary()].
functions() ->
    [?FUNCTION].

-spec settings(term()) -> {ok, map()} | {error, py_port_error:reason()}.
settings(Options) when is_map(Options) ->
    Default = #{level => maps:get(level, logger:get_primary_config()), format => none, rate => ?RATE},
    try
        {ok, maps:map(fun setting/2, maps:merge(Default, Options))}
    catch
        throw:{?MODULE, Key, Why} -> {error, {bad_argument, Key, Why}}
    end;
settings(_) ->
    {error, {bad_argument, options, <<"must be a map">>}}.

-spec setting(term(), term()) -> term().
setting(level, Level) when is_integer(Level), Level >= 0, Level < 1 bsl 31 ->
    Level;
setting(level, Level) ->
    try
        py_log_record:number(Level)
    catch
        error:_ ->
            bad(level, <<"must be a level of logger, all, none, or a number of Python's">>)
    end;
setting(format, None) when None =:= none; None =:= undefined ->
    none;
setting(format, Format) when is_binary(Format); is_list(Format) ->
    try unicode:characters_to_binary(Format) of
        Text when is_binary(Text) -> with_field(Text);
        _ -> bad(format, <<"must be Unicode text">>)
    catch
        error:badarg -> bad(format, <<"must be text">>)
    end;
setting(rate, Rate) when is_integer(Rate), Rate > 0 ->
    Rate;
setting(Key, _) ->
    bad(Key, <<"must be level, format (text) or rate (records per second)">>).

%% What Python takes for a format: a context that was to begin with another one would not start. An
%% empty one is Python's default.
-spec with_field(binary()) -> binary().
with_field(Text) ->
    case Text =:= <<>> orelse re:run(Text, ?FIELD, [unicode, ucp, caseless, {capture, none}]) of
        nomatch -> bad(format, <<"must have a field, such as %(message)s">>);
        _ -> Text
    end.

-spec bad(term(), binary()) -> no_return().
bad(Key, Why) ->
    throw({?MODULE, Key, Why}).

%% Records -----------------------------------------------------------------------------------------

%% @private Called by Python, in a process of its own. Returns when the handlers have the events, so a
%% handler that is slow slows the worker's batches down and not this node.
-spec records([term()]) -> ok.
records([Lost, Records]) when is_integer(Lost), Lost >= 0, Lost < 1 bsl 31, length(Records) =< ?MAX_BATCH ->
    #{context := Ctx, name := Name} = py_port:caller(),
    Count = length(Records),
    Free = admit(Ctx, Count, Lost),
    Facts = #{context => Ctx, name => name(Name, Ctx), now => erlang:system_time(microsecond)},
    Bad = lists:sum([log(Record, Facts) || Record <- lists:sublist(Records, Free)]),
    dropped(Ctx, Count - Free + Bad).

%% 1 for what is no record.
-spec log(term(), py_log_record:facts()) -> 0 | 1.
log(Record, Facts) ->
    case py_log_record:event(Record, Facts) of
        {ok, {Level, Text, Meta}} ->
            _ = logger:log(Level, "~ts", [Text], Meta),
            0;
        error ->
            1
    end.

%% The name it was started with, or its pid.
-spec name(none | py_port_options:name(), pid()) -> term().
name(none, Ctx) -> Ctx;
name({local, Name}, _) -> Name;
name({global, Name}, _) -> Name;
name({via, _, Name}, _) -> Name.

%% How many of so many the rate leaves room for.
-spec admit(pid(), non_neg_integer(), non_neg_integer()) -> non_neg_integer().
admit(Ctx, Count, Lost) ->
    #{rate := Rate} = persistent_term:get(?SETTINGS, #{rate => ?RATE}),
    case count(Ctx, Count, Lost) of
        [Total, _] when Total =< Rate -> Count;
        [Total, _] -> max(0, Count - (Total - Rate))
    end.

-spec dropped(pid(), non_neg_integer()) -> ok.
dropped(_, 0) ->
    ok;
dropped(Ctx, N) ->
    _ = count(Ctx, 0, N),
    ok.

-spec count(pid(), non_neg_integer(), non_neg_integer()) -> [non_neg_integer()].
count(Ctx, Count, Dropped) ->
    Key = {Ctx, erlang:monotonic_time(second)},
    try ets:update_counter(?COUNTS, Key, [{2, Count}, {3, Dropped}], {Key, 0, 0}) of
        [Count, Dropped] = First ->
            ok = gen_server:cast(?MODULE, counting),
            First;
        Next ->
            Next
    catch
        %% Nobody counts: the façade is stopping.
        error:badarg -> [Count, Dropped]
    end.

%% gen_server --------------------------------------------------------------------------------------

-spec init([]) -> {ok, #state{}}.
init([]) ->
    _ = process_flag(trap_exit, true),
    ?COUNTS = ets:new(?COUNTS, [named_table, public, {write_concurrency, true}]),
    %% A table that was configured before this process was restarted is not lost.
    _ = py_port:register_function(?FUNCTION, ?MODULE, records),
    {ok, #state{}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {noreply, #state{}}.
handle_call(_, _, State) ->
    {noreply, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(counting, #state{ticking = false} = State) ->
    _ = erlang:send_after(?SECOND, self(), tick),
    {noreply, State#state{ticking = true}};
handle_cast(_, State) ->
    {noreply, State}.

%% Seconds that are over are told and forgotten.
-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(tick, State) ->
    Now = erlang:monotonic_time(second),
    Over = ets:select(?COUNTS, [{{{'_', '$1'}, '_', '_'}, [{'<', '$1', Now}], ['$_']}]),
    ok = lists:foreach(fun tell/1, lists:sort(Over)),
    case ets:info(?COUNTS, size) of
        0 ->
            {noreply, State#state{ticking = false}};
        _ ->
            _ = erlang:send_after(?SECOND, self(), tick),
            {noreply, State}
    end;
handle_info(_, State) ->
    {noreply, State}.

-spec tell({{pid(), integer()}, non_neg_integer(), non_neg_integer()}) -> ok.
tell({{Ctx, _} = Key, _, _}) ->
    case ets:take(?COUNTS, Key) of
        [{_, _, 0}] ->
            ok;
        [{_, _, Dropped}] ->
            ?LOG_WARNING("~b log records of ~p were dropped", [Dropped, Ctx], #{
                domain => [python], pid => Ctx, py_dropped => Dropped
            })
    end.

%% Told to by the supervisor: the application stops, and with it what was configured.
-spec terminate(term(), #state{}) -> ok.
terminate(shutdown, _) ->
    _ = persistent_term:erase(?SETTINGS),
    ok;
terminate(_, _) ->
    ok.
