%% @doc Whom a context may send to: the option `send_to'.
%%
%% `any': every process. Otherwise pids that this node gave to the worker (when `given' is among
%% what is allowed) and processes under the names that were granted; a granted name's pid may be
%% used instead of the name. Channels and streams are handed over as pids: giving one is granting
%% it.
%%
%% A message is for processes of the application. Those behind what this library hands over
%% (contexts, channels, dictionaries, streams) believe what they are sent, so they are reached by
%% operations alone.
%%
%% Runs in jobs. A worker is not trusted: it could make up any pid.
%% @end
-module(py_port_reach).

-include("py_port.hrl").

-export([process/2, receiver/2, endpoint/2, is_granted/2]).
%% for other nodes
-export([is_ours/1]).

-type forbidden() :: {error, {forbidden, binary()}}.

%% @doc The process, if it may be reached. A pid need not be alive.
-spec process(pid() | atom() | binary(), #ctx{}) ->
    {ok, pid()} | {error, {noproc, binary()}} | forbidden().
process(Pid, #ctx{send_to = any}) when is_pid(Pid) ->
    {ok, Pid};
process(Pid, #ctx{send_to = #{given := Given}} = Ctx) when is_pid(Pid) ->
    case (Given andalso py_port_terms:is_given(Pid, Ctx)) orelse is_granted(Pid, Ctx) of
        true -> {ok, Pid};
        false -> forbidden("this context may not reach that process")
    end;
process(Text, Ctx) when is_binary(Text) ->
    case existing(Text) of
        {ok, Name} -> process(Name, Ctx);
        error -> unknown(Text, Ctx)
    end;
process(Name, #ctx{send_to = any}) ->
    named(Name);
process(Name, #ctx{send_to = #{names := Names}}) ->
    case lists:member(Name, Names) of
        true -> named(Name);
        false -> forbidden("this context may not reach that name")
    end.

%% @doc The same, for a message.
-spec receiver(pid() | atom() | binary(), #ctx{}) ->
    {ok, pid()} | {error, {noproc, binary()}} | forbidden().
receiver(To, #ctx{pid = Owner, send_to = SendTo} = Ctx) ->
    case process(To, Ctx) of
        {ok, Owner} ->
            forbidden("a context takes no messages");
        {ok, Pid} when SendTo =/= any ->
            case is_ours(Pid) of
                true -> forbidden("that process is behind a handle and takes no messages");
                false -> {ok, Pid}
            end;
        Other ->
            Other
    end.

%% @doc A context, or a process that values flow through.
-spec is_ours(pid()) -> boolean().
is_ours(Pid) when node(Pid) =:= node() ->
    py_port_registry:is_there(Pid) orelse
        erlang:process_info(Pid, parent) =:= {parent, whereis(py_port_flow_sup)};
is_ours(Pid) ->
    try
        erpc:call(node(Pid), ?MODULE, is_ours, [Pid])
    catch
        error:{erpc, _} -> false;
        error:{exception, undef, _} -> false
    end.

%% @doc A channel or a stream.
-spec endpoint(pid(), #ctx{}) -> ok | forbidden().
endpoint(_, #ctx{send_to = any}) ->
    ok;
endpoint(Pid, Ctx) ->
    case py_port_terms:is_given(Pid, Ctx) of
        true -> ok;
        false -> forbidden("this context was not given that channel")
    end.

-spec named(atom()) -> {ok, pid()} | {error, {noproc, binary()}}.
named(Name) ->
    case whereis(Name) of
        Pid when is_pid(Pid) -> {ok, Pid};
        _ -> {error, {noproc, atom_to_binary(Name)}}
    end.

%% A name that is no atom is nobody's.
-spec unknown(binary(), #ctx{}) -> {error, {noproc, binary()}} | forbidden().
unknown(Text, #ctx{send_to = any}) -> {error, {noproc, Text}};
unknown(_, _) -> forbidden("this context may not reach that name").

-spec existing(binary()) -> {ok, atom()} | error.
existing(Text) ->
    try
        {ok, binary_to_existing_atom(Text)}
    catch
        error:badarg -> error;
        error:system_limit -> error
    end.

%% @doc Whether it has a name that the context was granted.
-spec is_granted(pid(), #ctx{}) -> boolean().
is_granted(Pid, #ctx{send_to = #{names := Names}}) ->
    lists:any(fun(Name) -> whereis(Name) =:= Pid end, Names).

-spec forbidden(string()) -> forbidden().
forbidden(Why) ->
    {error, {forbidden, list_to_binary(Why)}}.
