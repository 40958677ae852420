%% @doc What the façade's contexts begin with, as it was registered: folders, modules, code, a
%% virtual environment.
%%
%% The registry is one small map in a persistent term, so that starting a context asks nobody; it
%% changes seldom. This process makes the changes, one after the other. It begins with what the
%% application environment says, unless there is a registry already: then it is a successor, and
%% nothing is lost. With the application the registry ends.
%% @end
-module(py_environment_registry).

-behaviour(gen_server).

-export([start_link/0, read/0, change/1]).
-export([init/1, handle_call/3, handle_cast/2, terminate/2]).
-export_type([registry/0, import/0, change/0]).

-type import() :: {Module :: binary(), Function :: binary() | all}.
-type registry() :: #{
    %% both in the order in which they came, none twice
    imports := [import()],
    paths := [binary()],
    preload := undefined | binary(),
    venv := none | binary(),
    %% greater after each change
    version := non_neg_integer()
}.
-type change() ::
    {add, imports, [import()]}
    | {add, paths, [binary()]}
    | {remove, imports, [import()]}
    | {set, imports | paths, []}
    | {set, preload, undefined | binary()}
    | {set, venv, none | binary()}.

-define(KEY, ?MODULE).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Before the application has started it is empty.
-spec read() -> registry().
read() ->
    persistent_term:get(?KEY, empty()).

-spec empty() -> registry().
empty() ->
    #{imports => [], paths => [], preload => undefined, venv => none, version => 0}.

%% @doc The registry before and after.
-spec change(change()) -> {registry(), registry()} | {error, not_started}.
change(Change) ->
    try
        gen_server:call(?MODULE, Change, infinity)
    catch
        %% It is not there, or ends.
        exit:_ -> {error, not_started}
    end.

-spec init([]) -> {ok, none}.
init([]) ->
    _ = process_flag(trap_exit, true),
    case persistent_term:get(?KEY, none) of
        none -> ok = persistent_term:put(?KEY, py_environment:settings());
        _ -> ok
    end,
    {ok, none}.

-spec handle_call(change(), gen_server:from(), none) -> {reply, {registry(), registry()}, none}.
handle_call(Change, _From, none) ->
    Old = read(),
    New = numbered(changed(Change, Old), Old),
    ok = persistent_term:put(?KEY, New),
    {reply, {Old, New}, none}.

-spec numbered(registry(), registry()) -> registry().
numbered(Same, Same) -> Same;
numbered(New, #{version := Version}) -> New#{version := Version + 1}.

-spec changed(change(), registry()) -> registry().
changed({add, Key, Items}, Registry) ->
    Known = maps:get(Key, Registry),
    Registry#{Key := lists:foldl(fun append/2, Known, Items)};
changed({remove, Key, Items}, Registry) ->
    Registry#{Key := maps:get(Key, Registry) -- Items};
changed({set, Key, Value}, Registry) ->
    Registry#{Key := Value}.

-spec append(Item, [Item]) -> [Item].
append(Item, Items) ->
    case lists:member(Item, Items) of
        true -> Items;
        false -> Items ++ [Item]
    end.

-spec handle_cast(term(), none) -> {noreply, none}.
handle_cast(_, none) ->
    {noreply, none}.

%% Told to by the supervisor: the application stops.
-spec terminate(term(), none) -> ok.
terminate(shutdown, none) ->
    _ = persistent_term:erase(?KEY),
    ok;
terminate(_, none) ->
    ok.
