%% @doc What the suites about pools share: each case begins and ends without any.
%% @end
-module(py_pool_bed).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

init_per_suite(Config) ->
    ok = py_port_test:start(),
    #{level := Level} = logger:get_primary_config(),
    %% Contexts are killed in many cases; their crash reports say nothing here.
    ok = logger:set_primary_config(level, none),
    [{level, Level} | Config].

end_per_suite(Config) ->
    logger:set_primary_config(level, proplists:get_value(level, Config)).

init_per_testcase(_Case, Config) ->
    ok = application:set_env(py_port, num_contexts, 3),
    Config.

end_per_testcase(_Case, Config) ->
    %% Those that were replaced may still be ending.
    ?assert(py_port_test:wait_until(fun() -> py_port:contexts() -- py_pool:running() =:= [] end, 20000)),
    _ = [py_context_router:stop_pool(Pool) || Pool <- [default, io, a, b]],
    _ = [application:unset_env(py_port, Key) || Key <- [num_contexts, default_pool_size, context_mode, io_pool_size, io_pool_mode]],
    _ = [erase(Key) || {{py_context_router, _} = Key, _} <- get()],
    ok = py_context_router:init_pool_registry(),
    ok = py_preload:clear_code(),
    py_port_test:end_per_testcase(Config).

in_process(Fun) ->
    py_port_test:await(py_port_test:async(Fun)).

os_pid(Ctx) ->
    py_port_test:os_pid(Ctx).

%% Returns when the context knows.
stop_os_process(Ctx) ->
    Ref = monitor(process, Ctx),
    _ = os:cmd("kill -9 " ++ integer_to_list(os_pid(Ctx))),
    receive
        {'DOWN', Ref, process, Ctx, _} -> ok
    end.
