%% @doc A log record of Python's as Erlang's {@link logger} wants it.
%%
%% Pure. What comes in was made by a worker, which is not trusted: every part is looked at, texts are
%% bounded and valid Unicode without control characters, no atom is made, and what comes out cannot
%% trip a log handler. {@link levels/0} is where the two kinds of levels meet.
%% @end
-module(py_log_record).

-export([event/2, level/1, number/1, levels/0]).
-export_type([facts/0, event/0]).

%% What the node knows by itself.
-type facts() :: #{context := pid(), name := term(), now := integer()}.
-type event() :: {logger:level(), unicode:chardata(), logger:metadata()}.

%% Characters of the text of a record.
-define(MAX_TEXT, 20000).
-define(MAX_NAME, 1024).
%% Bytes of the external form of the extra fields.
-define(MAX_EXTRA, 32768).
%% A record from further away in time than this many microseconds has the time of its arrival.
-define(MAX_AGE, 3600000000).

%% @doc Python's numbers, lowest first. A number in between is the level below it.
-spec levels() -> [{integer(), logger:level()}].
levels() ->
    [
        {10, debug},
        {20, info},
        {25, notice},
        {30, warning},
        {40, error},
        {50, critical},
        {60, alert},
        {70, emergency}
    ].

%% @doc The level of a number of Python's; everything below 20 is `debug'.
-spec level(integer()) -> logger:level().
level(Number) ->
    case [Level || {Least, Level} <- levels(), Least =< Number] of
        [] -> debug;
        Reached -> lists:last(Reached)
    end.

%% @doc The number of a level in Python. `all' is 1 and `none' more than any record has.
-spec number(logger:level() | all | none) -> pos_integer().
number(all) ->
    1;
number(none) ->
    1000;
number(Level) ->
    {Number, Level} = lists:keyfind(Level, 2, levels()),
    Number.

%% @doc `error' for what is no record.
-spec event(term(), facts()) -> {ok, event()} | error.
event({Number, Logger, Text, Time, File, Line, Function, Exception, Trace, Extra}, Facts) when
    is_integer(Number),
    is_binary(Logger),
    is_binary(Text),
    is_integer(Time),
    is_binary(File),
    is_integer(Line),
    is_binary(Function),
    is_map(Extra)
->
    #{context := Context, name := Name, now := Now} = Facts,
    Meta = #{
        domain => [python],
        time => time(Time, Now),
        pid => Context,
        context => Name,
        py_logger => text(Logger, ?MAX_NAME),
        py_meta => extra(Extra),
        py_function => text(Function, ?MAX_NAME)
    },
    All = [
        {file, unicode:characters_to_list(text(File, ?MAX_NAME))},
        {line, line(Line)},
        {py_exception, optional(Exception)},
        {py_trace, optional(Trace)}
    ],
    Known = maps:from_list([Pair || {_, Value} = Pair <- All, Value =/= none]),
    {ok, {level(Number), text(Text, ?MAX_TEXT), maps:merge(Meta, Known)}};
event(_, _) ->
    error.

-spec time(integer(), integer()) -> integer().
time(Time, Now) when abs(Now - Time) =< ?MAX_AGE -> Time;
time(_, Now) -> Now.

-spec line(integer()) -> pos_integer() | none.
line(Line) when Line > 0, Line < 1 bsl 31 -> Line;
line(_) -> none.

%% Python's None has one of several forms here.
-spec optional(term()) -> binary() | none.
optional(Text) when is_binary(Text) -> text(Text, ?MAX_NAME);
optional(_) -> none.

-spec extra(map()) -> map().
extra(Extra) ->
    case erlang:external_size(Extra) =< ?MAX_EXTRA of
        true -> Extra;
        false -> #{<<"too_large">> => true}
    end.

%% A worker that is honest sends UTF-8.
-spec text(binary(), pos_integer()) -> binary().
text(Binary, Max) ->
    py_port_error:harmless(valid(Binary, Max), record).

-spec valid(binary(), pos_integer()) -> binary().
valid(Binary, Max) ->
    Start = binary:part(Binary, 0, min(byte_size(Binary), Max * 4)),
    case unicode:characters_to_binary(Start) of
        Text when is_binary(Text) -> cut(Text, Binary, Max);
        {_, Text, _} when byte_size(Start) < byte_size(Binary) -> cut(Text, Binary, Max);
        _ -> py_port_error:bounded_text(Start, 1, Max)
    end.

-spec cut(binary(), binary(), pos_integer()) -> binary().
cut(Text, Whole, Max) when byte_size(Text) =:= byte_size(Whole), byte_size(Text) =< Max ->
    Text;
cut(Text, _, Max) ->
    unicode:characters_to_binary(string:slice(Text, 0, Max)).
