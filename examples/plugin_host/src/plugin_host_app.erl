%% @doc Starts the host: reads the data, listens to what the plugins print, starts the supervisor.
%%
%% Environment of the application (`./run' sets it on the command line):
%% `root': this folder; `venv': the virtual environment of the tenant `phonetics';
%% `python': the interpreter of the others; `ansi': redraw the table in place; `width': columns of the terminal;
%% `mark': see {@link plugin_host}.
%% @end
-module(plugin_host_app).

-behaviour(application).

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    {ok, Root} = application:get_env(plugin_host, root),
    ok = plugin_host_corpus:load(filename:join(Root, "data")),
    ok = logger:add_handler(plugin_host_output, plugin_host_output, #{}),
    case plugin_host_sup:start_link() of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason}
    end.

-spec stop(term()) -> ok.
stop(_State) ->
    ok = logger:remove_handler(plugin_host_output),
    plugin_host_corpus:unload().
