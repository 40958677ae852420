%% @doc The books, the worker, and what runs in it; who comes later needs who came before.
%% @end
-module(web_sup).

-behaviour(supervisor).

-export([start_link/1, init/1]).

-spec start_link(#{venv := file:filename(), path := file:filename()}) -> supervisor:startlink_ret().
start_link(Where) ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, Where).

-spec init(#{venv := file:filename(), path := file:filename()}) ->
    {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(#{venv := Venv, path := Path}) ->
    {ok, {#{strategy => rest_for_one, intensity => 5, period => 10}, [
        #{id => stock, start => {stock, start_link, []}},
        %% Python may ask for these three and nothing else.
        py_port:child_spec(#{
            name => web, venv => Venv, path => [Path], functions => [stock, order, articles]
        }),
        #{id => web_server, start => {web_server, start_link, [web]}}
    ]}}.
