%% @doc Starts the second pool, and says which modules belong to it.
%% @end
-module(two_pools_app).

-behaviour(application).

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    Python = filename:join(code:priv_dir(two_pools), "python"),
    ok = py_import:add_path(Python),
    {ok, _} = py_context_router:start_pool(heavy, 2),
    %% From now on py:call(primes, ...) goes to that pool, whoever calls.
    ok = py:register_pool(heavy, primes),
    {ok, Sup} = two_pools_sup:start_link(),
    case os:getenv("TWO_POOLS_DEMO") of
        false -> ok;
        _ -> _ = spawn(fun two_pools_demo:main/0), ok
    end,
    {ok, Sup}.

-spec stop(term()) -> ok.
stop(_State) ->
    ok = py:unregister_pool(primes),
    py_context_router:stop_pool(heavy).
