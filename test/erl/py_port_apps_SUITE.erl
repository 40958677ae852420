%% @doc Libraries and programs that know nothing of us, on our event loop: uvicorn from the command line with FastAPI, over TLS
%% too; aiohttp, websockets and anyio, each as server and client of itself; the same in a context, where what they serve comes from
%% Erlang. (On the loop of a context they are in {@link py_port_web_SUITE}.)
%%
%% The packages are in build/webvenv, which `test/run ct' makes from test/web/requirements.txt. Without it the cases are
%% skipped. Everything is on the loopback interface.
%% @end
-module(py_port_apps_SUITE).

-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").
-import(py_port_test, [marker/2]).

-define(PATIENCE, 60000).

suite() -> [{timetrap, {minutes, 2}}].

all() -> py_port_test:cases(?MODULE) -- helpers().

helpers() -> [certificate, keys, line, python, script, serve, stories, story, terminate, url, uvicorn, value].

init_per_suite(Config) ->
    ok = py_port_test:start(),
    {ok, Inets} = application:ensure_all_started(inets),
    {ok, Httpc} = inets:start(httpc, [{profile, ?MODULE}]),
    ok = httpc:set_options([{max_sessions, 1000}, {max_keep_alive_length, 0}], ?MODULE),
    [{httpc, Httpc}, {inets, Inets} | Config].

end_per_suite(Config) ->
    ok = inets:stop(httpc, ?MODULE),
    _ = [application:stop(App) || App <- proplists:get_value(inets, Config)],
    ok.

init_per_testcase(_, Config) ->
    case py_port_web_SUITE:venv() of
        {ok, Venv} ->
            ok = py_port:register_function(lookup, fun([Key]) -> <<"value-of-", Key/binary>> end),
            [{venv, Venv} | Config];
        {none, Why} ->
            {skip, Why}
    end.

end_per_testcase(_, Config) ->
    ok = py_port_test:end_per_testcase(Config),
    ok = py_port:unregister_function(lookup),
    ?assertEqual([], py_port_test:flush()).

%% From the command line -----------------------------------------------------------------------------------------------

uvicorn_serves_fastapi_and_ends_in_order(Config) ->
    Note = marker(Config, "note"),
    {Program, Url} = uvicorn(Config, Note, []),
    ?assertEqual({200, <<"\"ErlangEventLoop\"">>}, fetch(Url, ["/loop"])),
    Clients = [{N, py_port_test:async(fun() -> fetch(Url, ["/double/", integer_to_list(N)]) end)} || N <- lists:seq(1, 200)],
    [?assertEqual({N, {200, integer_to_binary(2 * N)}}, {N, py_port_test:await(Client)}) || {N, Client} <- Clients],
    ok = ask_many(Config, Url),
    ?assertEqual({ok, <<"up">>}, file:read_file(Note)),
    ok = terminate(Program),
    ?assertEqual({ok, <<"up down">>}, file:read_file(Note)),
    ?assertMatch({error, _}, fetch(Url, ["/loop"])).

uvicorn_serves_https_with_a_certificate_of_its_own(Config) ->
    Certificate = ["--ssl-certfile", certificate("cert.pem"), "--ssl-keyfile", certificate("key.pem")],
    {Program, Url} = uvicorn(Config, marker(Config, "note"), Certificate),
    ?assertMatch("https" ++ _, Url),
    ?assertEqual({200, <<"\"ErlangEventLoop\"">>}, fetch(Url, ["/loop"])),
    ok = ask_many(Config, Url),
    ok = terminate(Program).

%% Nobody told uvicorn which loop: asyncio's policy did.
uvicorn_takes_the_loop_of_the_policy(Config) ->
    Code = "import erlang, uvicorn; erlang.install(); uvicorn.run('apps_uvicorn:app', port=0, loop='none')",
    {Program, Url} = server(Config, marker(Config, "note"), ["-W", "ignore", "-c", Code]),
    ?assertEqual({200, <<"\"ErlangEventLoop\"">>}, fetch(Url, ["/loop"])),
    ok = terminate(Program).

aiohttp_serves_itself(Config) -> story(aiohttp_serves_itself, Config).
websockets_echo(Config) -> story(websockets_echo, Config).
anyio_does_everything(Config) -> story(anyio_does_everything, Config).

story(Name, Config) ->
    Arguments = [script(), atom_to_list(Name), certificate("cert.pem"), certificate("key.pem")],
    Program = python(Config, [], ["-X", "dev", "-W", "error" | Arguments]),
    {Status, Output} = ended(Program, []),
    ?assertEqual({0, <<"ErlangEventLoop">>}, {Status, lists:last(Output)}),
    %% debug mode tells of callbacks that took long, which on a busy machine any may; nothing else
    ?assertEqual([], [Line || Line <- lists:droplast(Output), not is_match(Line, "^Executing <.* took ")]).

%% In a context --------------------------------------------------------------------------------------------------------

what_they_serve_comes_from_erlang_on_the_main_thread(Config) -> stories(#{}, Config).
what_they_serve_comes_from_erlang_in_a_thread(Config) -> stories(#{thread => true}, Config).

stories(Options, Config) ->
    Ctx = py_port_web_SUITE:context(Config),
    [
        begin
            Arguments = [Name, list_to_binary(certificate("cert.pem")), list_to_binary(certificate("key.pem"))],
            Outcome = py_port:call(Ctx, apps_on_a_loop, on_a_loop_of_its_own, Arguments, #{}, Options#{timeout => ?PATIENCE}),
            ?assertEqual({Name, {ok, <<"ErlangEventLoop">>}}, {Name, Outcome})
        end
     || Name <- [<<"aiohttp_serves_itself">>, <<"websockets_echo">>, <<"anyio_does_everything">>]
    ],
    ?assertEqual({ok, none}, py_port:call(Ctx, asyncio, sleep, [0])),
    ok = py_port:stop_context(Ctx),
    ?assertEqual([], py_port_web_SUITE:lines(Ctx)).

uvicorn_serves_from_a_thread_beside_calls(Config) ->
    Ctx = py_port_web_SUITE:context(Config),
    {Server, Url} = serve(Ctx, #{thread => true}),
    ?assertEqual({200, <<"\"ErlangEventLoop\"">>}, fetch(Url, ["/loop"])),
    Clients = [{Key, py_port_test:async(fun() -> fetch(Url, ["/lookup/", Key]) end)} || Key <- keys(100)],
    ?assertEqual([{ok, N} || N <- lists:seq(1, 100)], [py_port:call(Ctx, operator, pos, [N]) || N <- lists:seq(1, 100)]),
    [?assertEqual({200, value(Key)}, py_port_test:await(Client)) || {Key, Client} <- Clients],
    {ok, none} = py_port:call(Ctx, apps_in_context, stop, []),
    ?assertEqual({ok, <<"ended">>}, py_port:await(Server)).

%% The context does nothing else meanwhile; cancelling the call is how it ends, with what uvicorn and Starlette print of that.
uvicorn_as_a_synchronous_call_is_ended_by_a_cancel(Config) ->
    Ctx = py_port_web_SUITE:context(Config),
    {Server, Url} = serve(Ctx, #{}),
    ?assertEqual({200, <<"\"ErlangEventLoop\"">>}, fetch(Url, ["/loop"])),
    ?assertEqual({200, value(<<"1">>)}, fetch(Url, ["/lookup/1"])),
    ok = py_port:cancel(Server),
    ?assertEqual({error, cancelled}, py_port:await(Server)),
    ?assertEqual({ok, 4.0}, py_port:call(Ctx, math, sqrt, [16])),
    ?assertMatch({error, _}, fetch(Url, ["/loop"])),
    ?assertEqual({ok, none}, py_port:call(Ctx, asyncio, sleep, [0])),
    ok = py_port:stop_context(Ctx),
    _ = py_port_web_SUITE:lines(Ctx),
    ok.

serve(Ctx, Options) ->
    Server = py_port:async_call(Ctx, apps_in_context, serve, [self()], Options),
    receive
        {py_port_reply, Server, Outcome} -> error(Outcome);
        Port when is_integer(Port) -> {Server, url("http", integer_to_list(Port))}
    end.

keys(N) -> [integer_to_binary(I) || I <- lists:seq(1, N)].

value(Key) -> <<"{\"value\":\"value-of-", Key/binary, "\"}">>.

%% Programs ------------------------------------------------------------------------------------------------------------

uvicorn(Config, Note, Options) ->
    server(Config, Note, ["-m", "uvicorn", "--loop", "erlang:new_event_loop", "--port", "0", "apps_uvicorn:app" | Options]).

%% The program, and the address that uvicorn says it listens at.
server(Config, Note, Arguments) ->
    Program = python(Config, [{"NOTE", binary_to_list(Note)}], Arguments),
    {Program, address(Program, [])}.

address(Program, Before) ->
    Line = line(Program),
    case re:run(Line, "running on (https?)://127\\.0\\.0\\.1:([0-9]+)", [{capture, all_but_first, list}]) of
        {match, [Scheme, Port]} -> url(Scheme, Port);
        nomatch when is_integer(Line) -> error({ended, Line, lists:reverse(Before)});
        nomatch -> address(Program, [Line | Before])
    end.

%% The certificate is for this name, too.
url(Scheme, Port) -> Scheme ++ "://localhost:" ++ Port.

%% `python' of the venv, as the worker plays it.
python(Config, Env, Arguments) ->
    Priv = code:priv_dir(py_port),
    {ok, Version} = file:read_file(filename:join(Priv, "default_python")),
    Worker = filename:join(Priv, "py_worker-" ++ string:trim(binary_to_list(Version))),
    Own = [{"VIRTUAL_ENV", proplists:get_value(venv, Config)}, {"PYTHONPATH", py_port_web_SUITE:web_dir()}],
    open_port({spawn_executable, Worker}, [
        {args, ["--python" | Arguments]}, {env, Own ++ Env}, {line, 10000}, binary, exit_status, stderr_to_stdout
    ]).

%% What it prints next; its exit status when it has ended.
line(Program) ->
    receive
        {Program, {data, {_, Line}}} -> Line;
        {Program, {exit_status, Status}} -> Status
    after ?PATIENCE -> error({silent, py_port_test:flush()})
    end.

ended(Program, Before) ->
    case line(Program) of
        Status when is_integer(Status) -> {Status, lists:reverse(Before)};
        Line -> ended(Program, [Line | Before])
    end.

%% uvicorn ends in order, and then by the signal that it was sent.
terminate(Program) ->
    {os_pid, Pid} = erlang:port_info(Program, os_pid),
    [] = os:cmd("kill -TERM " ++ integer_to_list(Pid)),
    {Status, Output} = ended(Program, []),
    ?assert(lists:member(Status, [0, 128 + 15])),
    ?assertEqual([], [Line || Line <- Output, is_match(Line, "Traceback|Error|Warning")]),
    ok.

is_match(Line, Pattern) -> re:run(Line, Pattern, [{capture, none}]) =:= match.

script() -> filename:join(py_port_web_SUITE:web_dir(), "apps_on_a_loop.py").

certificate(Name) ->
    filename:join(py_port_test:find_up(py_port_test:data_dir(), "test/python/loop/certs"), Name).

%% Clients -------------------------------------------------------------------------------------------------------------

%% httpx and websockets, in a context of their own.
ask_many(Config, Url) ->
    Client = py_port_web_SUITE:context(Config),
    Arguments = [list_to_binary(Url), list_to_binary(certificate("cert.pem"))],
    ?assertEqual({ok, none}, py_port:call(Client, apps_on_a_loop, httpx_asks_many, Arguments)),
    ok = py_port:stop_context(Client),
    ?assertEqual([], py_port_web_SUITE:lines(Client)),
    ok.

fetch(Url, Path) ->
    %% OTP trusts no certificate that signed itself; httpx, in ask_many, checks it
    Trust = [{verify, verify_none}],
    case httpc:request(get, {lists:flatten(io_lib:format("~s~s", [Url, Path])), []}, [{timeout, ?PATIENCE}, {ssl, Trust}], [{body_format, binary}], ?MODULE) of
        {ok, {{_, Status, _}, _, Body}} -> {Status, Body};
        {error, _} = Error -> Error
    end.
