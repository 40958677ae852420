%% @doc Sends control frames for one context, so that the owner never writes to the port.
%%
%% A process that writes to a busy port is suspended until the worker reads again. Suspended, the
%% owner would lose its timers, its watch over callers and the means to kill the worker; this
%% process has nothing to lose. Frames leave in the order in which they were asked for. Its mailbox
%% holds at most one CANCEL per request, one RELEASE per reference, one answer per callback that is
%% out and one CREDIT: all bounded by what the context has going on. For the last two, whoever counts
%% asks to be told when what was sent before has been written ({@link tell/3}).
%%
%% Linked to its owner and ended by it. Waits without a timeout: the only thing that can happen is a
%% frame or the end of the owner.
%% @end
-module(py_port_writer).

-export([start_link/1, send/2, tell/3]).

-spec start_link(port()) -> pid().
start_link(Port) ->
    proc_lib:spawn_link(fun() -> loop(Port) end).

%% @doc Never blocks.
-spec send(pid(), iodata()) -> ok.
send(Writer, Frame) ->
    Writer ! {frame, Frame},
    ok.

%% @doc The message goes to that process when all frames that the caller sent before are written.
%% Never blocks.
-spec tell(pid(), pid(), term()) -> ok.
tell(Writer, Pid, Message) ->
    Writer ! {tell, Pid, Message},
    ok.

-spec loop(port()) -> no_return().
loop(Port) ->
    receive
        {frame, Frame} ->
            _ = write(Port, Frame),
            loop(Port);
        {tell, Pid, Message} ->
            Pid ! Message,
            loop(Port);
        _ ->
            loop(Port)
    end.

-spec write(port(), iodata()) -> boolean().
write(Port, Frame) ->
    try
        port_command(Port, Frame)
    catch
        %% The port is closed; its owner knows better than we do what that means.
        error:badarg -> false
    end.
