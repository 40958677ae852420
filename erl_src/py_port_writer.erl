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
%% frame or the end of the owner. A gen_server, so that it does not wait in code of ours: that may be
%% replaced and purged meanwhile.
%% @end
-module(py_port_writer).

-behaviour(gen_server).

-export([start_link/1, send/2, tell/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-spec start_link(port()) -> pid().
start_link(Port) ->
    {ok, Pid} = gen_server:start_link(?MODULE, Port, []),
    Pid.

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

%% gen_server --------------------------------------------------------------------------------------

-spec init(port()) -> {ok, port()}.
init(Port) ->
    {ok, Port}.

-spec handle_info(term(), port()) -> {noreply, port()}.
handle_info({frame, Frame}, Port) ->
    _ = write(Port, Frame),
    {noreply, Port};
handle_info({tell, Pid, Message}, Port) ->
    Pid ! Message,
    {noreply, Port};
handle_info(_, Port) ->
    {noreply, Port}.

-spec handle_call(term(), gen_server:from(), port()) -> {noreply, port()}.
handle_call(_, _, Port) ->
    {noreply, Port}.

-spec handle_cast(term(), port()) -> {noreply, port()}.
handle_cast(_, Port) ->
    {noreply, Port}.

-spec write(port(), iodata()) -> boolean().
write(Port, Frame) ->
    try
        port_command(Port, Frame)
    catch
        %% The port is closed; its owner knows better than we do what that means.
        error:badarg -> false
    end.
