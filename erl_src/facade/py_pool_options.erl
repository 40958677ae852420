%% @doc What a pool is started with, checked, and what is left of it for its contexts.
%%
%% Pure, but for the application environment, which gives the pools that nobody has to start:
%% <ul>
%% <li>`default': `num_contexts' (or `default_pool_size') contexts, as many as there are schedulers
%% when nothing is said, of the mode `context_mode';</li>
%% <li>`io': `io_pool_size' contexts (10), of the mode `io_pool_mode'.</li>
%% </ul>
%% @end
-module(py_pool_options).

-export([pool/3, is_size/1, unstarted/1, strategy/1]).
-export_type([pool/0, options/0]).

%% Everything else in the map is for the contexts: see {@link py_context:start_link/3}.
-type options() :: #{
    mode => py_context:mode(),
    strategy => scheduler | least_loaded,
    start => eager | lazy,
    nodes => local | all | [node()],
    atom() => term()
}.
-type pool() :: #{
    name := py_pool:name(),
    size := pos_integer(),
    strategy := scheduler | least_loaded,
    start := eager | lazy,
    nodes := local | all | [node()],
    mode := py_context:mode(),
    context := map()
}.
-type bad_option() :: {bad_option, term(), binary()}.

-define(MAX_SIZE, 1024).

-spec pool(term(), term(), term()) -> {ok, pool()} | {error, bad_option()}.
pool(Name, Size, Options) ->
    try
        {ok, checked(Name, Size, Options)}
    catch
        throw:{?MODULE, Key, Format, Args} -> {error, py_port_error:bad_option(Key, Format, Args)};
        throw:{?MODULE, Bad} -> {error, Bad}
    end.

-spec checked(term(), term(), term()) -> pool().
checked(Name, Size, Options) when is_map(Options) ->
    is_atom(Name) orelse bad(pool, "the name of a pool must be an atom, and is ~tp", [Name]),
    is_size(Size) orelse
        bad(size, "must be an integer from 1 to ~b, and is ~tp", [?MAX_SIZE, Size]),
    Pool = #{
        name => Name,
        size => Size,
        strategy => option(strategy, Options, scheduler),
        start => option(start, Options, eager),
        nodes => option(nodes, Options, local),
        mode => option(mode, Options, auto),
        context => maps:without([strategy, start, nodes, mode], Options)
    },
    ok = for_contexts(Pool),
    Pool;
checked(_, _, Options) ->
    bad(options, "options must be a map, and are ~tp", [Options]).

%% Nobody would be there to hear of it when a context is started.
-spec for_contexts(pool()) -> ok.
for_contexts(#{mode := Mode, context := Options}) ->
    case py_context_options:make(Mode, Options, #{}) of
        {ok, _} -> ok;
        {error, Bad} -> throw({?MODULE, Bad})
    end.

-spec option(atom(), map(), term()) -> term().
option(Key, Options, Default) ->
    check(Key, maps:get(Key, Options, Default)).

-spec check(atom(), term()) -> term().
check(strategy, S) when S =:= scheduler; S =:= least_loaded -> S;
check(strategy, {key, _}) ->
    bad(strategy, "a key belongs to a request: get_context({Pool, {key, Key}})", []);
check(strategy, S) -> bad(strategy, "must be scheduler or least_loaded, and is ~tp", [S]);
check(start, S) when S =:= eager; S =:= lazy -> S;
check(start, S) -> bad(start, "must be eager or lazy, and is ~tp", [S]);
check(nodes, N) when N =:= local; N =:= all -> N;
check(nodes, Nodes) when length(Nodes) > 0 ->
    _ = [is_atom(N) orelse bad(nodes, "~tp is not the name of a node", [N]) || N <- Nodes],
    Nodes;
check(nodes, N) -> bad(nodes, "must be local, all or a list of nodes, and is ~tp", [N]);
check(mode, Mode) ->
    py_context:is_mode(Mode) orelse
        bad(mode, "there is no mode ~tp; the modes are ~0tp", [Mode, py_context:modes()]),
    Mode.

-spec bad(term(), io:format(), [term()]) -> no_return().
bad(Key, Format, Args) ->
    throw({?MODULE, Key, Format, Args}).

%% @doc How many contexts a pool may have.
-spec is_size(term()) -> boolean().
is_size(N) ->
    is_integer(N) andalso N >= 1 andalso N =< ?MAX_SIZE.

%% @doc How a context is chosen.
-spec strategy(term()) -> boolean().
strategy(scheduler) -> true;
strategy(least_loaded) -> true;
strategy({key, _}) -> true;
strategy(_) -> false.

%% @doc A pool that the first who asks for it starts, without a context in it.
-spec unstarted(atom()) -> {ok, pool()} | {error, no_such_pool | bad_option()}.
unstarted(default) ->
    Schedulers = erlang:system_info(schedulers),
    Size = py_settings:get(num_contexts, py_settings:get(default_pool_size, Schedulers)),
    pool(default, Size, #{mode => py_settings:get(context_mode, auto), start => lazy});
unstarted(io) ->
    Mode = py_settings:get(io_pool_mode, auto),
    pool(io, py_settings:get(io_pool_size, 10), #{mode => Mode, start => lazy});
unstarted(_) ->
    {error, no_such_pool}.
