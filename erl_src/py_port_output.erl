%% @doc The owner's account of what the worker prints: lines go to the device, the last ones of
%% stderr are remembered, and the worker sends no more of them than it was allowed to.
%%
%% Used by whoever owns the port: while it starts ({@link py_port_start}), and then
%% ({@link py_port_context}). Never blocks.
%% @end
-module(py_port_output).

-include("py_port_wire.hrl").

-export([new/3, line/4, allow/2, tail/1]).
-export_type([output/0]).

-record(output, {
    io :: pid(),
    %% no line may be longer
    max :: pos_integer(),
    %% OUTPUT frames the worker may still send
    credit :: non_neg_integer(),
    %% last lines of stderr, newest first
    tail = [] :: [binary()]
}).
-opaque output() :: #output{}.

-define(TAIL, 20).

-spec new(pid(), pos_integer(), non_neg_integer()) -> output().
new(Io, MaxLine, Credit) ->
    #output{io = Io, max = MaxLine, credit = Credit}.

%% @doc What an OUTPUT frame says: its flags, how many lines were dropped before it, and the line.
-spec line(byte(), non_neg_integer(), binary(), output()) -> {ok, output()} | {broken, term()}.
line(_, _, _, #output{credit = 0}) ->
    {broken, output_without_credit};
line(_, _, Line, #output{max = Max}) when byte_size(Line) > Max ->
    {broken, {line_too_long, byte_size(Line)}};
line(Flags, Dropped, Line, #output{io = Io, credit = Credit} = Output) ->
    Stream = py_port_wire:stream(Flags),
    ok = deliver(Flags band ?F_COUNT_ONLY, Io, Stream, Dropped, Line),
    {ok, remember(Flags, Line, Output#output{credit = Credit - 1})}.

-spec deliver(byte(), pid(), py_port_io:stream(), non_neg_integer(), binary()) -> ok.
deliver(0, Io, Stream, Dropped, Line) -> py_port_io:line(Io, Stream, Dropped, Line);
deliver(_, Io, Stream, Dropped, _) -> py_port_io:dropped(Io, Stream, Dropped).

-spec remember(byte(), binary(), output()) -> output().
remember(Flags, Line, #output{tail = Tail} = Output) when
    Flags band (?F_STDERR bor ?F_COUNT_ONLY) =:= ?F_STDERR
->
    Output#output{tail = lists:sublist([Line | Tail], ?TAIL)};
remember(_, _, Output) ->
    Output.

%% @doc The worker may send so many frames more.
-spec allow(non_neg_integer(), output()) -> output().
allow(N, #output{credit = Credit} = Output) ->
    Output#output{credit = Credit + N}.

-spec tail(output()) -> [binary()].
tail(#output{tail = Tail}) ->
    Tail.
