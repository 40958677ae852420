%% @doc Delivers the answers of one context's asynchronous requests: decodes them and sends
%% `{py_port_reply, Handle, Result}' to whoever asked.
%%
%% Who waits in `receive' decodes for itself; who wants a plain message cannot, and the owner of a
%% context never decodes. So this process does, one answer after the other, in the order in which
%% the worker gave them.
%%
%% Linked to its owner. A context that ends in an orderly way waits until everything that was handed
%% over has been delivered (see {@link finish/1}), because the end of the owner would take the
%% aliases away. Waits without a timeout: what comes is an answer or the end of the owner. A
%% gen_server for the same reason as {@link py_port_writer}.
%% @end
-module(py_port_courier).

-behaviour(gen_server).

-include("py_port.hrl").

-export([start_link/1, deliver/4, finish/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

%% A payload of a large binary is a reference on our heap, which would not grow by it.
-define(COLLECT_AFTER, 524288).

-spec start_link(#ctx{}) -> pid().
start_link(C) ->
    Options = [{spawn_opt, [{message_queue_data, off_heap}]}],
    {ok, Pid} = gen_server:start_link(?MODULE, C, Options),
    Pid.

%% @doc An undecoded answer for the handle, as {@link py_port_call:answer/3} takes it.
-spec deliver(pid(), py_port_async:handle(), atom(), term()) -> ok.
deliver(Courier, Handle, Tag, Payload) ->
    Courier ! {deliver, Handle, Tag, Payload},
    ok.

%% @doc Returns when everything has been delivered. Unlinks.
-spec finish(pid()) -> ok.
finish(Courier) ->
    true = unlink(Courier),
    Ref = erlang:monitor(process, Courier),
    Courier ! finish,
    receive
        {'DOWN', Ref, process, _, _} -> ok
    end.

%% gen_server --------------------------------------------------------------------------------------

%% With the bytes that were delivered since the last collection.
-type state() :: {#ctx{}, non_neg_integer()}.

-spec init(#ctx{}) -> {ok, state()}.
init(C) ->
    {ok, {C, 0}}.

-spec handle_info(term(), state()) -> {noreply, state()} | {noreply, state(), hibernate} | Stop when
    Stop :: {stop, normal, state()}.
handle_info({deliver, Handle, Tag, Payload}, {C, Before}) ->
    ok = py_port_async:reply(Handle, py_port_call:answer(Tag, Payload, C)),
    case Before + size_of(Payload) of
        %% Here the message is still held.
        Sum when Sum >= ?COLLECT_AFTER -> {noreply, {C, 0}, hibernate};
        Sum -> {noreply, {C, Sum}}
    end;
handle_info(finish, State) ->
    {stop, normal, State};
handle_info(_, State) ->
    {noreply, State}.

-spec handle_call(term(), gen_server:from(), state()) -> {noreply, state()}.
handle_call(_, _, State) ->
    {noreply, State}.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast(_, State) ->
    {noreply, State}.

-spec size_of(term()) -> non_neg_integer().
size_of(Payload) when is_binary(Payload) -> byte_size(Payload);
size_of(_) -> 0.
