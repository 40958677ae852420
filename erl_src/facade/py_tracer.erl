%% @doc Spans of Python code, collected.
%%
%% `erlang.Span' and `erlang.trace' in Python make them while tracing is switched on. What has ended is
%% kept here, the newest 10,000 (setting `max_spans', which may be `infinity') and at most 64 MiB of
%% them, for {@link get_spans/0}; and where a module
%% `telemetry' is loaded, each span is also the events `[py_port, span, start]' and `[py_port, span,
%% stop]' or `[py_port, span, exception]', executed in the process that brings the span. (A `start' is
%% sent only by contexts that were told of tracing when `telemetry' was loaded already.)
%%
%% Spans arrive as calls of the registered function `_py_span', so a context whose option `functions'
%% is a list makes spans if `_py_span' is in it ({@link functions/0}). While tracing is off Python sends
%% nothing, but for the ends of spans that were begun before.
%% @end
-module(py_tracer).

-compile({no_auto_import, [get/0]}).

-behaviour(gen_server).

-export([start_link/0, enable/0, disable/0, is_enabled/0, get/0, get_spans/0, clear/0, info/0]).
-export([attach/1, setup/0, init_code/0, functions/0]).
%% for Python
-export([spans/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {
    %% of the newest span
    number = 0 :: non_neg_integer(),
    %% of all that are kept, by their external format
    bytes = 0 :: non_neg_integer(),
    %% spans that had to make room, or never came
    dropped = 0 :: non_neg_integer(),
    %% the setting `max_spans' that was complained of last
    wrong = none :: term()
}).

-define(FUNCTION, <<"_py_span">>).
%% {Number, Bytes, Span}, in the order of arrival.
-define(SPANS, py_tracer_spans).
-define(ENABLED, {?MODULE, enabled}).
-define(MAX_SPANS, 10000).
-define(MAX_BYTES, 67108864).
%% Items in one call; ours send 100.
-define(MAX_BATCH, 1000).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc In the contexts of all pools, those that run and those to come. One that is busy hears of it
%% when it is free: calls that the same process makes after this come later.
-spec enable() -> ok | {error, py_port_error:reason()}.
enable() ->
    switch(true).

%% @doc Spans that have begun are still kept when they end.
-spec disable() -> ok | {error, py_port_error:reason()}.
disable() ->
    switch(false).

-spec switch(boolean()) -> ok | {error, py_port_error:reason()}.
switch(On) ->
    case py_port:register_function(?FUNCTION, ?MODULE, spans) of
        ok ->
            ok = persistent_term:put(?ENABLED, On),
            lists:foreach(fun attach/1, py_pool:running());
        {error, _} = Error ->
            Error
    end.

%% @doc Whether spans are collected.
-spec is_enabled() -> boolean().
is_enabled() ->
    persistent_term:get(?ENABLED, false).

%% @doc Tells one context, which need not belong to a pool, whether tracing is on.
-spec attach(py_port:context()) -> ok | {error, py_port_error:reason()}.
attach(Ctx) ->
    {Module, Function, Args} = told(),
    py_port:cast(Ctx, Module, Function, Args).

%% @private What a context is to be told; `none' if nobody ever asked for tracing.
-spec setup() -> none | {atom(), atom(), [term()]}.
setup() ->
    case persistent_term:get(?ENABLED, undefined) of
        undefined -> none;
        _ -> told()
    end.

-spec told() -> {atom(), atom(), [term()]}.
told() ->
    {'erlang._tracing', set_enabled, [is_enabled(), has_telemetry()]}.

%% @doc What a context has to run when it starts. {@link py_logger:init_code/0} has it in it.
-spec init_code() -> binary() | none.
init_code() ->
    case is_enabled() of
        true ->
            Starts =
                case has_telemetry() of
                    true -> <<"True">>;
                    false -> <<"False">>
                end,
            <<"__import__('erlang._tracing')._tracing.set_enabled(True, ", Starts/binary, ")\n">>;
        false ->
            none
    end.

-spec has_telemetry() -> boolean().
has_telemetry() ->
    erlang:function_exported(telemetry, execute, 3).

%% @doc What the option `functions' of a context must hold for it to make spans.
-spec functions() -> [binary()].
functions() ->
    [?FUNCTION].

%% @doc The same as {@link get_spans/0}, in the form that {@link py:get_traces/0} gives.
-spec get() -> {ok, [py_span:span()]}.
get() ->
    {ok, get_spans()}.

%% @doc The spans that have ended, in the order in which they arrived: one inside of another before it.
-spec get_spans() -> [py_span:span()].
get_spans() ->
    try
        [Span || {_, _, Span} <- ets:tab2list(?SPANS)]
    catch
        error:badarg -> []
    end.

%% @doc Forgets the spans that were collected.
-spec clear() -> ok | {error, not_started}.
clear() ->
    try
        gen_server:call(?MODULE, clear, infinity)
    catch
        exit:_ -> {error, not_started}
    end.

%% @doc How many spans are kept, and since {@link clear/0}, how many had to make room for newer ones or
%% were never brought, because Python made them faster than they could be.
-spec info() ->
    #{enabled := boolean(), spans := non_neg_integer(), dropped := non_neg_integer()}
    | {error, not_started}.
info() ->
    try gen_server:call(?MODULE, info, infinity) of
        Info -> Info#{enabled => is_enabled()}
    catch
        exit:_ -> {error, not_started}
    end.

%% Spans -------------------------------------------------------------------------------------------

%% @private Called by Python, in a process of its own. Returns when they are kept.
-spec spans([term()]) -> ok.
spans([Lost, Items]) when is_integer(Lost), Lost >= 0, Lost < 1 bsl 62, length(Items) =< ?MAX_BATCH ->
    #{context := Ctx} = py_port:caller(),
    Good = [Item || Raw <- Items, {ok, Item} <- [py_span:item(Raw, Ctx)]],
    ok = lists:foreach(fun announce/1, Good),
    Ended = [{erlang:external_size(Span), Span} || {stop, Span} <- Good],
    Dropped = Lost + length(Items) - length(Good),
    gen_server:call(?MODULE, {keep, Ended, Dropped}, infinity).

%% telemetry is nothing that we depend on. A handler of it that fails is telemetry's affair.
-spec announce(py_span:item()) -> ok.
announce(Item) ->
    case has_telemetry() of
        true ->
            {Event, Measurements, Metadata} = py_span:event(Item),
            Telemetry = telemetry,
            _ = Telemetry:execute(Event, Measurements, Metadata),
            ok;
        false ->
            ok
    end.

%% gen_server --------------------------------------------------------------------------------------

-spec init([]) -> {ok, #state{}}.
init([]) ->
    _ = process_flag(trap_exit, true),
    ?SPANS = ets:new(?SPANS, [named_table, ordered_set, {read_concurrency, true}]),
    _ = py_port:register_function(?FUNCTION, ?MODULE, spans),
    {ok, #state{}}.

-spec handle_call(Request, gen_server:from(), #state{}) -> {reply, ok | map(), #state{}} when
    Request :: {keep, [{non_neg_integer(), py_span:span()}], non_neg_integer()} | clear | info.
handle_call({keep, Spans, Dropped}, _From, #state{dropped = Before} = State) ->
    Kept = lists:foldl(fun keep/2, State#state{dropped = Before + Dropped}, Spans),
    {Max, Checked} = max_spans(Kept),
    {reply, ok, make_room(Max, Checked)};
handle_call(clear, _From, State) ->
    true = ets:delete_all_objects(?SPANS),
    {reply, ok, State#state{bytes = 0, dropped = 0}};
handle_call(info, _From, #state{dropped = Dropped} = State) ->
    {reply, #{spans => ets:info(?SPANS, size), dropped => Dropped}, State}.

-spec keep({non_neg_integer(), py_span:span()}, #state{}) -> #state{}.
keep({Size, Span}, #state{number = Number, bytes = Bytes} = State) ->
    true = ets:insert(?SPANS, {Number + 1, Size, Span}),
    State#state{number = Number + 1, bytes = Bytes + Size}.

%% It may have been changed since the start. One that is wrong is said once.
-spec max_spans(#state{}) -> {pos_integer() | infinity, #state{}}.
max_spans(#state{wrong = Wrong} = State) ->
    Given = py_settings:get(max_spans, ?MAX_SPANS),
    case py_settings:is_limit(Given) of
        true ->
            {Given, State};
        false when Given =:= Wrong ->
            {?MAX_SPANS, State};
        false ->
            logger:warning("max_spans must be a positive number or infinity, and is ~tp; ~b are kept", [
                Given, ?MAX_SPANS
            ], #{domain => [py_port]}),
            {?MAX_SPANS, State#state{wrong = Given}}
    end.

%% An atom is greater than every number.
-spec make_room(pos_integer() | infinity, #state{}) -> #state{}.
make_room(Max, #state{bytes = Bytes, dropped = Dropped} = State) ->
    case ets:info(?SPANS, size) > Max orelse Bytes > ?MAX_BYTES of
        true ->
            [{_, Size, _}] = ets:take(?SPANS, ets:first(?SPANS)),
            make_room(Max, State#state{bytes = Bytes - Size, dropped = Dropped + 1});
        false ->
            State
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(_, State) ->
    {noreply, State}.

%% Told to by the supervisor: the application stops, and with it what was switched on.
-spec terminate(term(), #state{}) -> ok.
terminate(shutdown, _) ->
    _ = persistent_term:erase(?ENABLED),
    ok;
terminate(_, _) ->
    ok.
