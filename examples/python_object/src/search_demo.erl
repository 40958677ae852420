%% @doc Builds the index of 31,102 verses, asks it, kills its worker, and asks again.
%% @end
-module(search_demo).

-export([main/0]).

-spec main() -> ok.
main() ->
    {ok, _} = application:ensure_all_started(py_port),
    Examples = filename:dirname(os:getenv("EXAMPLE")),
    Python = filename:join([Examples, "python_object", "python"]),
    {ok, Sup} = search_sup:start_link(Python, filename:join([Examples, "plugin_host", "data", "kjv.tsv"])),
    {ok, Size} = search_index:size(),
    claim(Size =:= 31102, "the index in Python has ~b texts", [Size]),
    Query = <<"still small voice">>,
    {ok, [{Key, Score, Text} | _] = Found} = search_index:search(Query, 3),
    io:format("~ts: ~ts (~p) ~ts~n", [Query, Key, Score, Text]),
    claim(Key =:= <<"1Ki 19:12">> orelse binary:match(Text, <<"still small voice">>) =/= nomatch, "the best answer has the words", []),
    %% What Python raises is an error of that call.
    {error, {python, #{type := Type}}} = search_index:search(<<"a">>, <<"three">>),
    claim(Type =:= <<"TypeError">>, "a wrong argument is that caller's ~ts", [Type]),
    {ok, Found} = search_index:search(Query, 3),
    %% The worker dies with the index in it. The next caller gets the same answer from the next one.
    Server = whereis(search_index),
    Watch = erlang:monitor(process, Server),
    #{os_pid := Pid} = py_port:info(search_index:context()),
    {ok, _} = py_port:call(search_index:context(), os, getpid, []),
    ok = py_port:cast(search_index:context(), os, kill, [Pid, 9]),
    receive {'DOWN', Watch, process, Server, Why} -> io:format("the gen_server ended with its worker: ~P~n", [Why, 12]) end,
    Again = again(Query),
    claim(Again =:= Found, "after the worker was killed a new one gives the same answer", []),
    #{os_pid := New} = py_port:info(search_index:context()),
    claim(New =/= Pid, "in another process (~b, before ~b)", [New, Pid]),
    true = unlink(Sup),
    ok = application:stop(py_port).

%% The supervisor needs a moment in which there is no gen_server.
-spec again(binary()) -> term().
again(Query) ->
    case whereis(search_index) of
        undefined -> erlang:yield(), again(Query);
        _ ->
            try search_index:search(Query, 3) of {ok, Found} -> Found
            catch exit:{noproc, _} -> again(Query)
            end
    end.

-spec claim(boolean(), string(), [term()]) -> ok.
claim(true, Format, Args) -> io:format("ok: " ++ Format ++ "~n", Args);
claim(false, Format, Args) -> io:format("FAILED: " ++ Format ++ "~n", Args), halt(1).
