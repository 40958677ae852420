%% @doc Object references of one context: which handle in the worker is held by which process.
%%
%% Pure. Invariant: a handle is here from the REF frame until its RELEASE frame, with exactly one
%% holder.
%% @end
-module(py_port_refs).

-export([new/0, add/3, remove/2, give/3, drop_holder/2, size/1]).
-export_type([refs/0, handle/0]).

-type handle() :: non_neg_integer().
-record(refs, {
    holder = #{} :: #{handle() => pid()},
    handles = #{} :: #{pid() => #{handle() => []}}
}).
-opaque refs() :: #refs{}.

-spec new() -> refs().
new() ->
    #refs{}.

%% @doc `error': the worker used a handle that is in use.
-spec add(handle(), pid(), refs()) -> {ok, refs()} | error.
add(Handle, Pid, #refs{holder = Holder, handles = Handles} = Refs) ->
    case Holder of
        #{Handle := _} ->
            error;
        #{} ->
            Mine = maps:get(Pid, Handles, #{}),
            {ok, Refs#refs{
                holder = Holder#{Handle => Pid}, handles = Handles#{Pid => Mine#{Handle => []}}
            }}
    end.

%% @doc `error': it was released before.
-spec remove(handle(), refs()) -> {ok, refs()} | error.
remove(Handle, #refs{holder = Holder, handles = Handles} = Refs) ->
    case maps:take(Handle, Holder) of
        {Pid, Rest} ->
            Mine = maps:remove(Handle, maps:get(Pid, Handles)),
            Handles1 =
                case map_size(Mine) of
                    0 -> maps:remove(Pid, Handles);
                    _ -> Handles#{Pid => Mine}
                end,
            {ok, Refs#refs{holder = Rest, handles = Handles1}};
        error ->
            error
    end.

-spec give(handle(), pid(), refs()) -> {ok, refs()} | error.
give(Handle, To, Refs) ->
    case remove(Handle, Refs) of
        {ok, Refs1} -> add(Handle, To, Refs1);
        error -> error
    end.

%% @doc The holder is gone: these handles are to be released.
-spec drop_holder(pid(), refs()) -> {[handle()], refs()}.
drop_holder(Pid, #refs{holder = Holder, handles = Handles} = Refs) ->
    case maps:take(Pid, Handles) of
        {Mine, Rest} ->
            Gone = maps:keys(Mine),
            {Gone, Refs#refs{holder = maps:without(Gone, Holder), handles = Rest}};
        error ->
            {[], Refs}
    end.

-spec size(refs()) -> non_neg_integer().
size(#refs{holder = Holder}) ->
    map_size(Holder).
