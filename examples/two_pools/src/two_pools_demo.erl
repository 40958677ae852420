%% @doc Long computations fill their pool; short questions are answered meanwhile; a crash costs one worker for a moment.
%% @end
-module(two_pools_demo).

-export([main/0]).

-spec main() -> no_return().
main() ->
    try claims() of
        ok -> halt(0)
    catch
        Class:Reason:Stack ->
            io:format("FAILED: ~p:~p~n~p~n", [Class, Reason, Stack]),
            halt(1)
    end.

-spec claims() -> ok.
claims() ->
    Self = self(),
    Long = [spawn_link(fun() -> Self ! {self(), py:call(primes, count_below, [30000000])} end) || _ <- lists:seq(1, 4)],
    Short = [py:call(math, sqrt, [N * N]) || N <- lists:seq(1, 200)],
    Busy = length([Pid || Pid <- Long, is_process_alive(Pid)]),
    claim(Busy > 0 andalso Short =:= [{ok, float(N)} || N <- lists:seq(1, 200)], "200 short questions had right answers while ~b of 4 long computations ran", [Busy]),
    Counts = [receive {Pid, {ok, Count}} -> Count end || Pid <- Long],
    claim(lists:all(fun(Count) -> Count =:= 1857859 end, Counts), "primes below thirty million: ~w", [Counts]),
    Default = os_pids(default),
    Heavy = os_pids(heavy),
    claim(Default -- Heavy =:= Default, "the pools have processes of their own: ~w and ~w", [Default, Heavy]),
    Died = py:call(heavy, ctypes, string_at, [0]),
    claim(element(1, Died) =:= error, "a segmentation fault is its caller's error: ~0P", [Died, 8]),
    claim(py:call(primes, count_below, [100]) =:= {ok, 25}, "and the pool answers the next caller", []),
    claim(os_pids(default) =:= Default, "the other pool has not noticed", []).

-spec os_pids(atom()) -> [pos_integer()].
os_pids(Pool) ->
    lists:sort([maps:get(os_pid, py_port:info(Context)) || Context <- py_context_router:contexts(Pool)]).

-spec claim(boolean(), string(), [term()]) -> ok.
claim(true, Format, Args) -> io:format("ok: " ++ Format ++ "~n", Args);
claim(false, Format, Args) -> io:format("FAILED: " ++ Format ++ "~n", Args), halt(1).
