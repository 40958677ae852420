%% @doc The functions that Python may call, by name.
%%
%% They are registered for the whole node; which of them a context may call is up to its option
%% `functions'. Looking one up is one access to a table, in the process that will run it. Only this
%% process writes the table; {@link py_port_keeper} inherits it when this process ends and lends it
%% to the next, so a crash here forgets nothing.
%%
%% Layers above provide functions of their own, which are found like registered ones and cannot be
%% unregistered: a registered function of the same name hides one while it is there.
%% @end
-module(py_port_callbacks).

-behaviour(gen_server).

-include("py_port.hrl").

-export([start_link/0, register/2, unregister/1, provide/1, lookup/1, name/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([target/0]).

%% Both are called with one argument: the list of what Python gave.
-type target() :: {function, fun(([term()]) -> term())} | {module, module(), atom()}.

-define(PROVIDED, {?MODULE, provided}).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc A name that is registered already is registered anew.
-spec register(term(), term()) -> ok | {error, py_port_error:reason()}.
register(Name, Function) ->
    case {name(Name), target(Function)} of
        {{ok, Text}, {ok, Target}} -> call({register, Text, Target});
        {error, _} -> {error, {bad_argument, name, <<"must be an atom, a binary or a string">>}};
        {_, {error, Why}} -> {error, {bad_argument, function, Why}}
    end.

%% @doc What runs goes on. Ok also when there is no such name.
-spec unregister(term()) -> ok | {error, py_port_error:reason()}.
unregister(Name) ->
    case name(Name) of
        {ok, Text} -> call({unregister, Text});
        error -> {error, {bad_argument, name, <<"must be an atom, a binary or a string">>}}
    end.

%% @doc Adds to what layers above provide. For the start of such a layer: one at a time.
-spec provide(#{binary() => target()}) -> ok.
provide(Functions) ->
    persistent_term:put(?PROVIDED, maps:merge(persistent_term:get(?PROVIDED, #{}), Functions)).

-spec lookup(binary()) -> {ok, target()} | error.
lookup(Name) ->
    try ets:lookup(?FUNCTIONS, Name) of
        [{_, Target}] -> {ok, Target};
        [] -> maps:find(Name, persistent_term:get(?PROVIDED, #{}))
    catch
        %% The application is stopping.
        error:badarg -> error
    end.

%% @doc A name as Python writes it.
-spec name(term()) -> {ok, binary()} | error.
name(Name) when is_atom(Name) ->
    name(atom_to_binary(Name));
name(Name) when is_binary(Name); is_list(Name) ->
    try unicode:characters_to_binary(Name) of
        Text when is_binary(Text), Text =/= <<>> -> {ok, Text};
        _ -> error
    catch
        error:badarg -> error
    end;
name(_) ->
    error.

-spec target(term()) -> {ok, target()} | {error, binary()}.
target(Fun) when is_function(Fun, 1) -> {ok, {function, Fun}};
target({M, F}) when is_atom(M), is_atom(F) -> {ok, {module, M, F}};
target({_, _}) -> {error, <<"module and function must be atoms">>};
target(_) -> {error, <<"must be a fun with one argument, the list of arguments">>}.

-spec call(term()) -> ok | {error, not_started}.
call(Request) ->
    try
        gen_server:call(?MODULE, Request, infinity)
    catch
        %% It is not there, or ends.
        exit:_ -> {error, not_started}
    end.

%% gen_server --------------------------------------------------------------------------------------

-spec init([]) -> {ok, none}.
init([]) ->
    ok = py_port_keeper:claim(?FUNCTIONS),
    {ok, none}.

-spec handle_call(Request, gen_server:from(), none) -> {reply, ok, none} when
    Request :: {register, binary(), target()} | {unregister, binary()}.
handle_call({register, Name, Target}, _From, none) ->
    true = ets:insert(?FUNCTIONS, {Name, Target}),
    {reply, ok, none};
handle_call({unregister, Name}, _From, none) ->
    true = ets:delete(?FUNCTIONS, Name),
    {reply, ok, none}.

-spec handle_cast(term(), none) -> {noreply, none}.
handle_cast(_, none) ->
    {noreply, none}.

-spec handle_info(term(), none) -> {noreply, none}.
handle_info(_, none) ->
    {noreply, none}.
