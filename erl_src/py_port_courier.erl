%% @doc Delivers the answers of one context's asynchronous requests: decodes them and sends
%% `{py_port_reply, Handle, Result}' to whoever asked.
%%
%% Who waits in `receive' decodes for itself; who wants a plain message cannot, and the owner of a
%% context never decodes. So this process does, one answer after the other, in the order in which
%% the worker gave them.
%%
%% Linked to its owner. A context that ends in an orderly way waits until everything that was handed
%% over has been delivered (see {@link finish/1}), because the end of the owner would take the
%% aliases away. Waits without a timeout: what comes is an answer or the end of the owner.
%% @end
-module(py_port_courier).

-include("py_port.hrl").

-export([start_link/1, deliver/4, finish/1]).

%% A payload of a large binary is a reference on our heap, which would not grow by it.
-define(COLLECT_AFTER, 524288).

-spec start_link(#ctx{}) -> pid().
start_link(C) ->
    proc_lib:spawn_opt(fun() -> loop(C, 0) end, [link, {message_queue_data, off_heap}]).

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

-spec loop(#ctx{}, non_neg_integer()) -> ok.
loop(C, Sum) when Sum >= ?COLLECT_AFTER ->
    true = garbage_collect(),
    loop(C, 0);
loop(C, Sum) ->
    receive
        {deliver, Handle, Tag, Payload} ->
            ok = py_port_async:reply(Handle, py_port_call:answer(Tag, Payload, C)),
            loop(C, Sum + size_of(Payload));
        finish ->
            ok;
        _ ->
            loop(C, Sum)
    end.

-spec size_of(term()) -> non_neg_integer().
size_of(Payload) when is_binary(Payload) -> byte_size(Payload);
size_of(_) -> 0.
