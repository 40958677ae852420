%% @doc Web servers in a context: FastAPI and Starlette under uvicorn, and aiohttp with its own server, each on the context's
%% loop, with handlers that ask Erlang. The clients are real and elsewhere: httpc in this node, httpx and websockets in a
%% second context.
%%
%% The packages are in build/webvenv, which `test/run ct' makes from test/web/requirements.txt. Without it the cases are
%% skipped.
%%
%% Handlers ask the Erlang function `lookup', which tells the test and answers when the test says so: what is under way at
%% the same time is never a matter of luck.
%% @end
-module(py_port_web_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-import(py_port_test, [marker/2, wait_until/2]).

-define(PATIENCE, 60000).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- helpers().

helpers() -> [answer, answer_it, client, context, keys, killed, lines, users, value, watch].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    {ok, Inets} = application:ensure_all_started(inets),
    {ok, Httpc} = inets:start(httpc, [{profile, ?MODULE}]),
    %% requests never wait for one another in the client
    ok = httpc:set_options([{max_sessions, 1000}, {max_keep_alive_length, 0}], ?MODULE),
    [{httpc, Httpc}, {inets, Inets} | Config].

end_per_suite(Config) ->
    ok = inets:stop(httpc, ?MODULE),
    _ = [application:stop(App) || App <- proplists:get_value(inets, Config)],
    ok.

init_per_testcase(_, Config) ->
    case venv() of
        {ok, Venv} ->
            Test = self(),
            Functions = #{
                lookup => fun([Key]) -> ask(Test, Key) end,
                fail => fun([Key]) -> error({no_such_key, Key}) end,
                echo => fun([Text]) -> <<"Erlang: ", Text/binary>> end,
                user => fun users/1,
                tenant => fun([Key]) -> <<"tenant of ", Key/binary>> end
            },
            maps:foreach(fun(Name, Fun) -> ok = py_port:register_function(Name, Fun) end, Functions),
            [{venv, Venv}, {functions, maps:keys(Functions)} | Config];
        {none, Why} ->
            {skip, Why}
    end.

end_per_testcase(_, Config) ->
    ok = py_port_test:end_per_testcase(Config),
    [ok = py_port:unregister_function(Name) || Name <- proplists:get_value(functions, Config)],
    ?assertEqual([], py_port_test:flush()).

%% Right answers -------------------------------------------------------------------------------------------------------

two_hundred_requests_to_fastapi_get_their_own_answers(Config) -> crowd_of_httpc(web_fastapi, Config).
two_hundred_requests_to_starlette_get_their_own_answers(Config) -> crowd_of_httpc(web_starlette, Config).
two_hundred_requests_to_aiohttp_get_their_own_answers(Config) -> crowd_of_httpc(web_aiohttp, Config).

crowd_of_httpc(Framework, Config) ->
    {Ctx, Port} = server(Framework, Config),
    Keys = keys(200),
    Clients = [{Key, py_port_test:async(fun() -> get(Port, ["/lookup/", Key]) end)} || Key <- Keys],
    while_all_wait(Ctx, Keys),
    [?assertEqual({Key, {200, value(Key)}}, {Key, py_port_test:await(Client)}) || {Key, Client} <- Clients].

two_hundred_requests_of_httpx_get_their_own_answers(Config) ->
    Client = client(Config),
    [
        begin
            {Ctx, Port} = server(Framework, Config),
            Keys = keys(200),
            Paths = [<<"/lookup/", Key/binary>> || Key <- Keys],
            Answers = py_port:async_call(Client, web_client, get, [Port, Paths]),
            while_all_wait(Ctx, Keys),
            ?assertEqual({ok, [[200, #{<<"value">> => answer(Key)}] || Key <- Keys]}, py_port:await(Answers)),
            ok = py_port:stop_context(Ctx)
        end
     || Framework <- frameworks()
    ].

%% Every handler waits for Erlang now; calls from Erlang are answered all the same. The last that asked is answered first.
while_all_wait(Ctx, Keys) ->
    Asked = lists:foldl(fun(_, Sofar) -> [asked() | Sofar] end, [], Keys),
    ?assertEqual(lists:sort(Keys), lists:sort([Key || {Key, _} <- Asked])),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    ?assertEqual({ok, none}, py_port:call(Ctx, asyncio, sleep, [0])),
    ?assertMatch(#{callbacks := 200}, py_port:info(Ctx)),
    lists:foreach(fun answer_it/1, Asked).

calls_from_erlang_are_answered_under_load(Config) ->
    {Ctx, Port} = server(web_fastapi, Config),
    Clients = [
        py_port_test:async(fun() -> [get(Port, "/user", [{"x-key", "ada"}]) || _ <- lists:seq(1, 10)] end)
     || _ <- lists:seq(1, 20)
    ],
    ?assertEqual(
        [{ok, N * 2} || N <- lists:seq(1, 500)],
        [py_port:call(Ctx, operator, mul, [N, 2]) || N <- lists:seq(1, 500)]
    ),
    Right = lists:duplicate(10, {200, <<"{\"user\":\"Ada\"}">>}),
    [?assertEqual(Right, py_port_test:await(Client)) || Client <- Clients].

%% Failures ------------------------------------------------------------------------------------------------------------

an_erlang_function_that_raises_is_the_500_of_the_handler(Config) ->
    [
        begin
            {_, Port} = server(Framework, Config),
            {500, Body} = get(Port, "/raise/bob"),
            ?assertMatch({Framework, <<"{\"kind\":\"error\",\"reason\":\"(", _/binary>>}, {Framework, Body}),
            ?assertMatch({_, _}, binary:match(Body, <<"no_such_key">>)),
            ?assertMatch({_, _}, binary:match(Body, <<"bob">>))
        end
     || Framework <- frameworks()
    ].

a_slow_function_does_not_hold_up_other_requests(Config) ->
    [
        begin
            {_, Port} = server(Framework, Config),
            Slow = py_port_test:async(fun() -> get(Port, "/lookup/slow") end),
            {<<"slow">>, _} = Asked = asked(),
            [?assertMatch({500, _}, get(Port, "/raise/quick")) || _ <- lists:seq(1, 20)],
            ok = answer_it(Asked),
            ?assertEqual({200, value(<<"slow">>)}, py_port_test:await(Slow))
        end
     || Framework <- frameworks()
    ].

a_client_that_leaves_ends_the_erlang_function_of_aiohttp(Config) ->
    a_client_leaves(web_aiohttp, "/lookup/gone", Config).

a_client_that_leaves_ends_the_erlang_function_of_fastapi(Config) ->
    a_client_leaves(web_fastapi, "/while_connected/gone", Config).

a_client_leaves(Framework, Path, Config) ->
    {Ctx, Port} = server(Framework, Config),
    {ok, Socket} = gen_tcp:connect("127.0.0.1", Port, [binary, {active, false}]),
    ok = gen_tcp:send(Socket, ["GET ", Path, " HTTP/1.1\r\nHost: x\r\n\r\n"]),
    {<<"gone">>, Job} = asked(),
    Watch = watch(Job),
    %% The handler waits: it has neither answered nor hung up. If it has, what the client got says why.
    ?assertEqual({{error, timeout}, []}, {gen_tcp:recv(Socket, 0, 0), lines(Ctx)}),
    ok = gen_tcp:close(Socket),
    ok = killed(Watch),
    ?assert(wait_until(fun() -> maps:get(callbacks, py_port:info(Ctx)) =:= 0 end, ?PATIENCE)),
    %% the next one is served
    Stays = get_async(Port, Path),
    ok = answer_it(asked()),
    ?assertEqual({200, value(<<"gone">>)}, py_port_test:await(Stays)).

%% FastAPI -------------------------------------------------------------------------------------------------------------

dependencies_and_middleware_ask_erlang(Config) ->
    {_, Port} = server(web_fastapi, Config),
    ?assertEqual({200, <<"{\"user\":\"Ada\"}">>}, get(Port, "/user", [{"x-key", "ada"}])),
    ?assertMatch({401, <<"{\"detail\":", _/binary>>}, get(Port, "/user", [{"x-key", "eve"}])),
    {ok, {_, Headers, _}} = request(Port, "/user", [{"x-key", "ada"}]),
    ?assertEqual({"x-tenant", "tenant of ada"}, lists:keyfind("x-tenant", 1, Headers)).

synchronous_handlers_wait_in_threads(Config) ->
    {Ctx, Port} = server(web_fastapi, Config),
    Keys = keys(30),
    Clients = [{Key, py_port_test:async(fun() -> get(Port, ["/thread/", Key]) end)} || Key <- Keys],
    Asked = [asked() || _ <- Keys],
    %% 30 threads are blocked, the loop is not
    ?assertEqual({200, <<"{\"user\":\"Ada\"}">>}, get(Port, "/user", [{"x-key", "ada"}])),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    lists:foreach(fun answer_it/1, lists:reverse(Asked)),
    [
        begin
            Body = <<"{\"value\":\"", (answer(Key))/binary, "\",\"main\":false}">>,
            ?assertEqual({200, Body}, py_port_test:await(Client))
        end
     || {Key, Client} <- Clients
    ].

%% Websockets ----------------------------------------------------------------------------------------------------------

a_websocket_echoes_through_erlang(Config) ->
    Client = client(Config),
    Texts = [integer_to_binary(N) || N <- lists:seq(1, 20)],
    [
        begin
            {Ctx, Port} = server(Framework, Config),
            ?assertEqual(
                {ok, [
                    [<<"Erlang: ", (integer_to_binary(N))/binary, " ", Text/binary>> || Text <- Texts]
                 || N <- lists:seq(0, 19)
                ]},
                py_port:call(Client, web_client, echo_on_many, [Port, 20, Texts])
            ),
            ok = py_port:stop_context(Ctx)
        end
     || Framework <- [web_starlette, web_aiohttp]
    ].

%% Task groups and limits of time --------------------------------------------------------------------------------------

a_task_group_of_anyio_asks_at_the_same_time(Config) ->
    {_, Port} = server(web_starlette, Config),
    Answer = get_async(Port, "/group/a,b,c"),
    Asked = [asked(), asked(), asked()],
    lists:foreach(fun answer_it/1, lists:reverse(Asked)),
    {200, Body} = py_port_test:await(Answer),
    [?assertMatch({_, _}, binary:match(Body, <<"\"", Key/binary, "\":\"", (answer(Key))/binary, "\"">>)) || {Key, _} <- Asked].

a_task_group_that_fails_ends_what_its_other_tasks_asked_for(Config) ->
    {_, Port} = server(web_starlette, Config),
    Test = self(),
    ok = py_port:register_function(fail_later, fun([Key]) -> error(ask(Test, Key)) end),
    Answer = get_async(Port, "/failing_group"),
    #{<<"fails">> := Fails, <<"waits">> := Waits} = maps:from_list([asked(), asked()]),
    Watch = watch(Waits),
    ok = answer_it({<<"fails">>, Fails}),
    ok = killed(Watch),
    ?assertEqual({200, <<"[\"cancelled\",\"CallError\"]">>}, py_port_test:await(Answer)),
    ok = py_port:unregister_function(fail_later).

a_limit_of_time_ends_the_erlang_function(Config) ->
    {_, Port} = server(web_starlette, Config),
    [
        begin
            Answer = get_async(Port, [Path, "late"]),
            {<<"late">>, Job} = asked(),
            Watch = erlang:monitor(process, Job),
            %% Its time may have been over before we watched.
            receive
                {'DOWN', Watch, process, _, Reason} -> ?assert(lists:member(Reason, [killed, noproc]))
            after ?PATIENCE -> error(the_function_goes_on)
            end,
            ?assertEqual({504, <<"{\"value\":null}">>}, py_port_test:await(Answer))
        end
     || Path <- ["/limited/", "/moved_on/"]
    ].

%% The end -------------------------------------------------------------------------------------------------------------

a_server_ends_in_order_with_its_context(Config) ->
    [
        begin
            Note = marker(Config, "note"),
            {Ctx, Port} = server(Framework, Config, Note),
            Waits = get_async(Port, "/lookup/waits"),
            {<<"waits">>, Job} = asked(),
            Watch = watch(Job),
            %% a connection that is kept alive
            {ok, Socket} = gen_tcp:connect("127.0.0.1", Port, [binary, {active, false}]),
            ok = gen_tcp:send(Socket, "GET /raise/x HTTP/1.1\r\nHost: x\r\n\r\n"),
            {ok, <<"HTTP/1.1 500", _/binary>>} = gen_tcp:recv(Socket, 0, ?PATIENCE),
            ok = py_port:stop_context(Ctx),
            ?assertEqual({Framework, {ok, <<"up down">>}}, {Framework, file:read_file(Note)}),
            ?assertEqual({error, econnrefused}, gen_tcp:connect("127.0.0.1", Port, [])),
            ok = gen_tcp:close(Socket),
            ok = killed(Watch),
            ?assertNotMatch({200, _}, py_port_test:await(Waits)),
            ?assertEqual({Framework, []}, {Framework, lines(Ctx)})
        end
     || Framework <- frameworks()
    ].

%% Python joins its threads at its end; one that waits for Erlang is given the grace.
a_handler_in_a_thread_holds_up_the_end_no_longer_than_the_grace(Config) ->
    {Ctx, Port} = server(web_fastapi, Config),
    Waits = get_async(Port, "/thread/waits"),
    {<<"waits">>, Job} = asked(),
    Watch = watch(Job),
    ok = py_port:stop_context(Ctx, 2000),
    ok = killed(Watch),
    ?assertNotMatch({200, _}, py_port_test:await(Waits)).

a_server_is_a_call_that_can_be_cancelled(Config) ->
    Note = marker(Config, "note"),
    Ctx = context(Config),
    {Server, Port} = serve(Ctx, Note),
    ?assertMatch({500, _}, get(Port, "/raise/x")),
    ok = py_port:cancel(Server),
    ?assertEqual({error, cancelled}, py_port:await(Server)),
    ?assert(wait_until(fun() -> file:read_file(Note) =:= {ok, <<"up down">>} end, ?PATIENCE)),
    ?assertEqual({error, econnrefused}, gen_tcp:connect("127.0.0.1", Port, [])),
    %% the context is as good as new
    {Second, Again} = serve(Ctx, Note),
    ?assertMatch({500, _}, get(Again, "/raise/x")),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    ok = py_port:cancel(Second),
    ?assertEqual({error, cancelled}, py_port:await(Second)).

serve(Ctx, Note) ->
    Server = py_port:async_call(Ctx, web_starlette, serve, [Note, self()]),
    receive
        {py_port_reply, Server, Outcome} -> error(Outcome);
        Port when is_integer(Port) -> {Server, Port}
    end.

%% uvicorn has its handlers for SIGINT and SIGTERM on the worker's main thread.
a_runaway_call_beside_a_server_is_stopped(Config) ->
    {Ctx, Port} = server(web_fastapi, Config),
    ?assertEqual({error, timeout}, py_port:call(Ctx, time, sleep, [3600], #{}, #{timeout => 100})),
    ?assertMatch({500, _}, get(Port, "/raise/x")),
    ?assertEqual(pong, py_port:ping(Ctx)).

%% What Erlang answers -------------------------------------------------------------------------------------------------

ask(Test, Key) ->
    Test ! {asked, Key, self()},
    receive
        {answer, Value} -> Value
    end.

%% The next handler that waits for `lookup'.
asked() ->
    receive
        {asked, Key, Job} -> {Key, Job}
    after ?PATIENCE -> error(nobody_asked)
    end.

answer_it({Key, Job}) ->
    Job ! {answer, answer(Key)},
    ok.

%% The runtime holds back the signal of a monitor for a while; whoever is killed before it comes was never seen alive, and its reason is
%% `noproc'. It has come when the process itself knows of it.
watch(Job) ->
    Watch = erlang:monitor(process, Job),
    {monitored_by, Watchers} = erlang:process_info(Job, monitored_by),
    ?assert(lists:member(self(), Watchers)),
    Watch.

killed(Watch) ->
    receive
        {'DOWN', Watch, process, _, killed} -> ok
    after ?PATIENCE -> error({the_function_goes_on, py_port_test:flush()})
    end.

answer(Key) -> <<"value-of-", Key/binary>>.

value(Key) -> <<"{\"value\":\"", (answer(Key))/binary, "\"}">>.

users([<<"ada">>]) -> <<"Ada">>;
users([_]) -> none.

keys(N) -> [integer_to_binary(I) || I <- lists:seq(1, N)].

%% Contexts ------------------------------------------------------------------------------------------------------------

frameworks() -> [web_fastapi, web_starlette, web_aiohttp].

server(Framework, Config) ->
    server(Framework, Config, marker(Config, "note")).

server(Framework, Config, Note) ->
    Ctx = context(Config),
    {ok, Port} = py_port:call(Ctx, Framework, start, [Note]),
    {Ctx, Port}.

client(Config) ->
    context(Config).

context(Config) ->
    py_port_test:start_context(#{venv => proplists:get_value(venv, Config), path => [web_dir()], io => self()}).

%% What the worker printed. Its lines come before the end of its context.
lines(Ctx) ->
    receive
        {py_port_output, Ctx, _, Line} -> [Line | lines(Ctx)]
    after 0 -> []
    end.

%% The venv of `test/run', if it was made of the requirements as they are now.
venv() ->
    Venv = filename:join([filename:dirname(filename:dirname(web_dir())), "build", "webvenv"]),
    {ok, Requirements} = file:read_file(filename:join(web_dir(), "requirements.txt")),
    case file:read_file(filename:join(Venv, "ready")) of
        {ok, Requirements} -> {ok, Venv};
        {ok, _} -> {none, "build/webvenv is older than test/web/requirements.txt: test/run ct makes it anew"};
        {error, _} -> {none, "no build/webvenv: test/run ct makes it where pip reaches an index (build/logs/webvenv.log)"}
    end.

web_dir() ->
    py_port_test:find_up(py_port_test:data_dir(), "test/web").

%% Clients in this node ------------------------------------------------------------------------------------------------

get(Port, Path) -> get(Port, Path, []).

%% Status and body, which is JSON without its blanks.
get(Port, Path, Headers) ->
    case request(Port, Path, Headers) of
        {ok, {{_, Status, _}, _, Body}} -> {Status, binary:replace(Body, <<" ">>, <<>>, [global])};
        {error, _} = Error -> Error
    end.

get_async(Port, Path) ->
    py_port_test:async(fun() -> get(Port, Path) end).

request(Port, Path, Headers) ->
    Url = lists:flatten(io_lib:format("http://127.0.0.1:~b~ts", [Port, Path])),
    httpc:request(get, {Url, Headers}, [{timeout, ?PATIENCE}], [{body_format, binary}], ?MODULE).
