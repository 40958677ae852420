%% @doc What a worker says of a span, as {@link py_tracer} keeps it and as `telemetry' is told.
%%
%% Pure. A worker is not trusted: every part is looked at, names and attributes are bounded, no atom is
%% made.
%% @end
-module(py_span).

-export([item/2, event/1]).
-export_type([span/0, started/0, item/0, id/0]).

%% Hexadecimal.
-type id() :: binary().
-type attributes() :: #{binary() => term()}.
-type span() :: #{
    name := binary(),
    trace_id := id(),
    span_id := id(),
    parent_id := id() | undefined,
    %% microseconds since 1970
    start_time := integer(),
    end_time := integer(),
    %% by the monotonic clock
    duration_us := non_neg_integer(),
    status := ok | error,
    attributes := attributes(),
    %% what was known at the end; of an exception `<<"exception">>' and `<<"message">>'
    end_attrs := attributes(),
    %% oldest first
    events := [#{name := binary(), time := integer(), attributes := attributes()}],
    context := pid()
}.
-type started() :: #{
    name := binary(),
    trace_id := id(),
    span_id := id(),
    parent_id := id() | undefined,
    start_time := integer(),
    attributes := attributes(),
    context := pid()
}.
-type item() :: {start, started()} | {stop, span()}.

-define(MAX_NAME, 1024).
-define(MAX_ATTRIBUTES, 32768).
-define(MAX_EVENTS, 1000).
-define(MAX_ALL_EVENTS, 131072).

-define(IS_TIME(T), (is_integer(T) andalso T >= 0 andalso T < 1 bsl 62)).

%% @doc `error' for what is neither the start nor the end of a span.
-spec item(term(), pid()) -> {ok, item()} | error.
item({<<"start">>, Name, Span, Parent, Trace, Start, Attributes}, Ctx) ->
    started(begun(Name, Span, Parent, Trace, Start, Attributes, Ctx));
item({<<"stop">>, Name, Span, Parent, Trace, Start, Attributes, End, Duration, Status, AtEnd, Events}, Ctx) ->
    Begun = begun(Name, Span, Parent, Trace, Start, Attributes, Ctx),
    case {status(Status), attributes(AtEnd), events(Events)} of
        {Ended, #{} = AtEnd1, Events1} when
            is_map(Begun), Ended =/= error, is_list(Events1), ?IS_TIME(End), ?IS_TIME(Duration)
        ->
            {ok, Known} = Ended,
            {ok,
                {stop, Begun#{
                    end_time => End,
                    duration_us => Duration,
                    status => Known,
                    end_attrs => AtEnd1,
                    events => Events1
                }}};
        _ ->
            error
    end;
item(_, _) ->
    error.

-spec started(started() | error) -> {ok, item()} | error.
started(error) -> error;
started(Started) -> {ok, {start, Started}}.

-spec begun(term(), term(), term(), term(), term(), term(), pid()) -> started() | error.
begun(Name, Span, Parent, Trace, Start, Attributes, Ctx) ->
    case is_name(Name) andalso is_id(Span, 16) andalso is_id(Trace, 32) andalso attributes(Attributes) of
        #{} = Bounded when ?IS_TIME(Start) ->
            #{
                name => Name,
                span_id => Span,
                parent_id => parent(Parent),
                trace_id => Trace,
                start_time => Start,
                attributes => Bounded,
                context => Ctx
            };
        _ ->
            error
    end.

-spec is_name(term()) -> boolean().
is_name(Name) -> is_binary(Name) andalso byte_size(Name) =< ?MAX_NAME.

-spec is_id(term(), pos_integer()) -> boolean().
is_id(Id, Size) when byte_size(Id) =:= Size ->
    lists:all(
        fun(C) -> (C >= $0 andalso C =< $9) orelse (C >= $a andalso C =< $f) end,
        binary_to_list(Id)
    );
is_id(_, _) ->
    false.

%% Python's None has one of several forms here.
-spec parent(term()) -> id() | undefined.
parent(Id) ->
    case is_binary(Id) andalso is_id(Id, 16) of
        true -> Id;
        false -> undefined
    end.

-spec status(term()) -> {ok, ok | error} | error.
status(<<"ok">>) -> {ok, ok};
status(<<"error">>) -> {ok, error};
status(_) -> error.

-spec attributes(term()) -> attributes() | error.
attributes(Map) when is_map(Map) ->
    case lists:all(fun is_binary/1, maps:keys(Map)) of
        true -> bounded(Map);
        false -> error
    end;
attributes(_) ->
    error.

-spec bounded(map()) -> attributes().
bounded(Map) ->
    case erlang:external_size(Map) =< ?MAX_ATTRIBUTES of
        true -> Map;
        false -> #{<<"too_large">> => true}
    end.

-spec events(term()) -> [map()] | error.
events(Events) when length(Events) =< ?MAX_EVENTS ->
    Made = [made(Event) || Event <- Events],
    case lists:member(error, Made) orelse erlang:external_size(Made) > ?MAX_ALL_EVENTS of
        true -> error;
        false -> Made
    end;
events(_) ->
    error.

-spec made(term()) -> map() | error.
made({Name, Time, Attributes}) when is_binary(Name), byte_size(Name) =< ?MAX_NAME, ?IS_TIME(Time) ->
    case attributes(Attributes) of
        error -> error;
        Bounded -> #{name => Name, time => Time, attributes => Bounded}
    end;
made(_) ->
    error.

%% @doc The arguments of `telemetry:execute/3'. Times are in native units, as is the custom there.
-spec event(item()) -> {[atom()], map(), map()}.
event({start, #{start_time := Start} = Started}) ->
    {[py_port, span, start], #{system_time => native(Start)}, maps:remove(start_time, Started)};
event({stop, #{status := ok, duration_us := Duration} = Span}) ->
    {[py_port, span, stop], #{duration => native(Duration)}, Span};
event({stop, #{status := error, duration_us := Duration} = Span}) ->
    Attributes = maps:get(end_attrs, Span),
    Why = #{
        kind => error,
        reason => {
            maps:get(<<"exception">>, Attributes, <<>>), maps:get(<<"message">>, Attributes, <<>>)
        }
    },
    {[py_port, span, exception], #{duration => native(Duration)}, maps:merge(Span, Why)}.

-spec native(non_neg_integer()) -> integer().
native(Microseconds) ->
    erlang:convert_time_unit(Microseconds, microsecond, native).
