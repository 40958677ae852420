%% @doc Until when something may take: one moment for all the steps of it.
%%
%% `none': nobody said; a wait takes as long as it takes, and a request as long as its context gives.
%% @end
-module(py_deadline).

-export([in/1, given/2, left/1, option/1]).
-export_type([t/0]).

%% A moment in the node's monotonic time (ms).
-type t() :: none | infinity | integer().

-spec in(timeout()) -> t().
in(infinity) -> infinity;
in(Ms) -> erlang:monotonic_time(millisecond) + Ms.

%% @doc Of what a user gave for `timeout', or by default.
-spec given(term(), t()) -> {ok, t()} | {error, py_port_error:reason()}.
given(default, Default) -> {ok, Default};
given(Timeout, _) -> py_port_call:guarded(fun() -> {ok, in(py_port_args:timeout(Timeout))} end).

-spec left(t()) -> timeout().
left(none) -> infinity;
left(infinity) -> infinity;
left(At) -> max(0, At - erlang:monotonic_time(millisecond)).

%% @doc For a request that is made now.
-spec option(t()) -> #{timeout => timeout()}.
option(none) -> #{};
option(Until) -> #{timeout => left(Until)}.
