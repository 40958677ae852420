%% @doc Two workers with a model each, behind one pool; eight callers at a time.
%% @end
-module(model_demo).

-export([main/0]).

-spec main() -> ok.
main() ->
    {ok, _} = application:ensure_all_started(py_port),
    Example = os:getenv("EXAMPLE"),
    Root = filename:dirname(filename:dirname(Example)),
    Venv = filename:join([Root, "_build", "examples", "model_pool", "venv"]),
    case py:ensure_venv(Venv, filename:join(Example, "requirements.txt"), [{timeout, 600000}]) of
        ok -> ok;
        {error, Why} -> io:format("skipped: the packages cannot be had: ~0P~n", [Why, 60]), halt(77)
    end,
    ok = py_import:add_path(filename:join(Example, "python")),
    {ok, _} = py_context_router:start_pool(models, 2),
    ok = py:register_pool(models, digits),
    {ok, {Images, Labels}} = py:call(digits, samples, [], #{}, 300000),
    Batches = batches(lists:zip(Images, Labels), 20),
    Answers = at_once(fun(Batch) ->
        {Pixels, Truth} = lists:unzip(Batch),
        {ok, Seen} = py:call(digits, predict, [Pixels], #{}, 300000),
        lists:zip(Seen, Truth)
    end, Batches),
    All = lists:append(Answers),
    Right = length([same || {Same, Same} <- All]),
    claim(length(All) =:= 540, "~b images in ~b calls", [length(All), length(Batches)]),
    claim(Right > 500, "~b of ~b digits were recognised", [Right, length(All)]),
    Used = length(py_context_router:contexts(models)),
    claim(Used =:= 2, "~b workers have the model loaded", [Used]),
    ok = application:stop(py_port).

-spec batches([T], pos_integer()) -> [[T]].
batches(List, N) when length(List) =< N -> [List];
batches(List, N) ->
    {Batch, Rest} = lists:split(N, List),
    [Batch | batches(Rest, N)].

-spec at_once(fun((A) -> B), [A]) -> [B].
at_once(Fun, List) ->
    Self = self(),
    Pids = [spawn_link(fun() -> Self ! {self(), Fun(Item)} end) || Item <- List],
    [receive {Pid, Result} -> Result end || Pid <- Pids].

-spec claim(boolean(), string(), [term()]) -> ok.
claim(true, Format, Args) -> io:format("ok: " ++ Format ++ "~n", Args);
claim(false, Format, Args) -> io:format("FAILED: " ++ Format ++ "~n", Args), halt(1).
