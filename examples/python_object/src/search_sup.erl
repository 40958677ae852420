-module(search_sup).

-behaviour(supervisor).

-export([start_link/2, init/1]).

-spec start_link(file:filename(), file:filename()) -> supervisor:startlink_ret().
start_link(Python, File) ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, {Python, File}).

-spec init({file:filename(), file:filename()}) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({Python, File}) ->
    {ok, {#{strategy => one_for_one, intensity => 3, period => 10}, [
        #{id => search_index, start => {search_index, start_link, [Python, File]}}
    ]}}.
