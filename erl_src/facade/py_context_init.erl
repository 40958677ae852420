%% @doc Starts the pools that need no start, for those who want them to be there from the beginning.
%%
%% It may stand in a supervisor: it starts no process of its own. Without `start => eager' the contexts
%% are started when they are needed, and nobody has to call this at all.
%% @end
-module(py_context_init).

-export([start_link/0, start_link/1]).

%% @equiv start_link(#{})
-spec start_link() -> ignore | {error, term()}.
start_link() ->
    start_link(#{}).

%% @doc Fails when a context does not start.
-spec start_link(#{start => eager | lazy}) -> ignore | {error, term()}.
start_link(Options) ->
    case py_context_router:start(maps:merge(#{start => lazy}, Options)) of
        {ok, _} -> ignore;
        {error, _} = Error -> Error
    end.
