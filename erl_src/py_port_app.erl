%% @doc Starts and stops the application. Promise: after it has stopped, no worker of this node is
%% left.
%% @end
-module(py_port_app).

-behaviour(application).

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    ok = py_port_terms:init(),
    py_port_sup:start_link().

-spec stop(term()) -> ok.
stop(_State) ->
    ok.
