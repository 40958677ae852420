%% @doc Two hundred customers at the same time, one crash, and the books are right.
%% @end
-module(web_demo).

-export([main/0]).

-spec main() -> ok.
main() ->
    {ok, _} = application:ensure_all_started(py_port),
    {ok, _} = application:ensure_all_started(inets),
    ok = httpc:set_options([{max_sessions, 1000}, {max_keep_alive_length, 0}]),
    Example = os:getenv("EXAMPLE"),
    Venv = filename:absname(filename:join(["_build", "examples", "web_app", "venv"]), filename:dirname(filename:dirname(Example))),
    case py:ensure_venv(Venv, filename:join(Example, "requirements.txt"), []) of
        ok -> ok;
        {error, Why} -> io:format("skipped: the packages cannot be had: ~0P~n", [Why, 60]), halt(77)
    end,
    {ok, Sup} = web_sup:start_link(#{venv => Venv, path => filename:join(Example, "python")}),
    {200, _} = fetch("/stock/apples"),
    {404, _} = fetch("/stock/pineapples"),
    %% 200 orders of six out of a thousand apples, all at once: 166 can be had.
    Orders = at_once(200, fun() -> post("/orders/apples/6") end),
    Taken = length([taken || {200, _} <- Orders]),
    Refused = length([refused || {409, _} <- Orders]),
    claim({Taken, Refused} =:= {166, 34}, "of 200 orders at the same time ~b were taken and ~b refused", [Taken, Refused]),
    {200, Left} = fetch("/stock/apples"),
    claim(binary:match(Left, <<"\"left\":4}">>) =/= nomatch, "what is left is ~ts", [Left]),
    {200, Report} = fetch("/report"),
    claim(binary:match(Report, <<"\"pears\":40">>) =/= nomatch, "a handler in a thread asks Erlang too: ~ts", [Report]),
    %% The worker dies in a handler. The books are in Erlang; the next worker serves on.
    Watch = erlang:monitor(process, whereis(web_server)),
    #{os_pid := Before} = py_port:info(web),
    {error, _} = post("/crash"),
    receive {'DOWN', Watch, process, _, _} -> ok end,
    {200, Same} = again("/stock/apples"),
    #{os_pid := After} = py_port:info(web),
    claim(Same =:= Left andalso After =/= Before, "after a segmentation fault another process (~b, before ~b) gives the same answer", [After, Before]),
    true = unlink(Sup),
    ok = application:stop(py_port).

-spec at_once(pos_integer(), fun(() -> T)) -> [T].
at_once(N, Fun) ->
    Self = self(),
    Pids = [spawn_link(fun() -> Self ! {self(), Fun()} end) || _ <- lists:seq(1, N)],
    [receive {Pid, Result} -> Result end || Pid <- Pids].

-spec fetch(string()) -> {pos_integer(), binary()} | {error, term()}.
fetch(Path) -> request(get, {url(Path), []}).

-spec post(string()) -> {pos_integer(), binary()} | {error, term()}.
post(Path) -> request(post, {url(Path), [], "application/json", <<>>}).

-spec request(get | post, tuple()) -> {pos_integer(), binary()} | {error, term()}.
request(Method, Request) ->
    case httpc:request(Method, Request, [{timeout, 30000}], [{body_format, binary}]) of
        {ok, {{_, Status, _}, _, Body}} -> {Status, Body};
        {error, Why} -> {error, Why}
    end.

-spec url(string()) -> string().
url(Path) ->
    "http://127.0.0.1:" ++ integer_to_list(web_server:port()) ++ Path.

%% While the supervisor starts the next one, there is nobody to ask.
-spec again(string()) -> {pos_integer(), binary()} | {error, term()}.
again(Path) ->
    try fetch(Path)
    catch exit:{_, {gen_server, call, _}} -> erlang:yield(), again(Path)
    end.

-spec claim(boolean(), string(), [term()]) -> ok.
claim(true, Format, Args) -> io:format("ok: " ++ Format ++ "~n", Args);
claim(false, Format, Args) -> io:format("FAILED: " ++ Format ++ "~n", Args), halt(1).
