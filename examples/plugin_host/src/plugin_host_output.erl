%% @doc A logger handler that hands the lines which plugins print to {@link plugin_host_stats}.
%%
%% py_port logs each line of a worker's stdout and stderr in the domain `[py_port, python]', whoever wrote it: Python,
%% C code, or a child process. The metadata says which context it came from, and on which stream.
%% @end
-module(plugin_host_output).

-export([log/2]).

-spec log(logger:log_event(), logger:handler_config()) -> ok.
log(#{msg := Msg, meta := #{domain := [py_port, python | _]} = Meta}, _Config) ->
    #{name := Label, stream := Stream} = Meta,
    Names = [Name || #{name := Name} <- plugin_host_tenants:all(), atom_to_binary(Name) =:= Label],
    lists:foreach(fun(Name) -> plugin_host_stats:printed(Name, Stream, line(Msg)) end, Names);
log(_Event, _Config) ->
    ok.

-spec line({io:format(), [term()]} | {string, unicode:chardata()}) -> binary().
line({string, Line}) ->
    unicode:characters_to_binary(Line);
line({Format, Args}) ->
    unicode:characters_to_binary(io_lib:format(Format, Args)).
