%% @doc Frames and headers: the Erlang twin of docs/protocol.md, sections 2, 3 and 5.
%%
%% Pure. Headers only: payloads are encoded and decoded by {@link py_port_terms} in the process of
%% whoever cares. The owner of a port matches incoming headers in place (see py_port_wire.hrl)
%% because that is its hot path.
%% @end
-module(py_port_wire).

-include("py_port_wire.hrl").

-export([request/6, short/2, short/3, ask/1, hello/1, stream/1, kind_name/1]).
-export_type([id/0, hello/0]).

-type id() :: non_neg_integer().
-type hello() :: #{
    version := non_neg_integer(),
    worker := non_neg_integer(),
    launcher := non_neg_integer(),
    start_time := non_neg_integer(),
    report_fd := non_neg_integer()
}.

%% @doc The header of a request. `Deadline' is absolute, in nanoseconds of CLOCK_MONOTONIC; `Parent'
%% is the callback that the request descends from, 0 for none.
-spec request(byte(), byte(), id(), id(), integer() | infinity, none | binary()) -> binary().
request(Kind, Flags, Id, Parent, infinity, none) ->
    <<Kind, Flags, 0:16, Id:64, Parent:64, 0:64>>;
request(Kind, Flags, Id, Parent, Deadline, none) ->
    <<Kind, Flags, 0:16, Id:64, Parent:64, Deadline:64>>;
request(Kind, Flags, Id, Parent, infinity, Trace) ->
    request(Kind, Flags, Id, Parent, 0, Trace);
request(Kind, Flags, Id, Parent, Deadline, Trace) ->
    <<Kind, (Flags bor ?F_TRACE), 0:16, Id:64, Parent:64, Deadline:64, (byte_size(Trace)):16,
        Trace/binary>>.

%% @doc Of the flags of an OUTPUT frame.
-spec stream(byte()) -> py_port_io:stream().
stream(Flags) when Flags band ?F_STDERR =:= 0 -> stdout;
stream(_) -> stderr.

-spec short(byte(), id()) -> binary().
short(Kind, Id) ->
    <<Kind, 0, 0:16, Id:64>>.

-spec short(byte(), id(), iodata()) -> iolist().
short(Kind, Id, Payload) ->
    [short(Kind, Id) | Payload].

%% @doc A CANCEL that tells the worker nothing new, but asks what has become of the one before.
-spec ask(id()) -> binary().
ask(Id) ->
    <<?K_CANCEL, ?F_ASK, 0:16, Id:64>>.

%% @doc Reads a whole HELLO frame.
-spec hello(binary()) -> {ok, hello()} | error.
hello(<<?K_HELLO, _:24, Version:64, Worker:32, Launcher:32, StartTime:64, ReportFd:32>>) ->
    {ok, #{
        version => Version,
        worker => Worker,
        launcher => Launcher,
        start_time => StartTime,
        report_fd => ReportFd
    }};
hello(_) ->
    error.

%% @doc For messages to people.
-spec kind_name(byte()) -> atom() | byte().
kind_name(?K_HELLO) -> hello;
kind_name(?K_READY) -> ready;
kind_name(?K_START_FAILED) -> start_failed;
kind_name(?K_OK) -> ok;
kind_name(?K_ERROR) -> error;
kind_name(?K_REF) -> ref;
kind_name(?K_CONTROL_REPLY) -> control_reply;
kind_name(?K_PONG) -> pong;
kind_name(?K_ENDED) -> ended;
kind_name(?K_OUTPUT) -> output;
kind_name(?K_CALLBACK) -> callback;
kind_name(?K_CALLBACK_CANCEL) -> callback_cancel;
kind_name(Other) -> Other.
