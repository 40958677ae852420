%% @doc The books; beside them the worker and what keeps the server in it running, which end and begin together: neither is of use
%% without the other, and a crash of the worker must count as one restart, whichever of the two the supervisor hears of first.
%% @end
-module(web_sup).

-behaviour(supervisor).

-export([start_link/1, init/1]).

-spec start_link(#{venv := file:filename(), path := file:filename()}) -> supervisor:startlink_ret().
start_link(Where) ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, Where).

-spec init(map() | {serving, map()}) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Where) when is_map(Where) ->
    {ok, {#{strategy => one_for_one}, [
        #{id => stock, start => {stock, start_link, []}},
        #{id => serving, start => {supervisor, start_link, [?MODULE, {serving, Where}]}, type => supervisor}
    ]}};
init({serving, #{venv := Venv, path := Path}}) ->
    {ok, {#{strategy => one_for_all, intensity => 3, period => 10}, [
        %% Python may ask for these three and nothing else.
        py_port:child_spec(#{
            name => web, venv => Venv, path => [Path], functions => [stock, order, articles]
        }),
        #{id => web_server, start => {web_server, start_link, [web]}}
    ]}}.
