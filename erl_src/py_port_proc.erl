%% @doc What the kernel says about a process: /proc, read in the process of whoever asks. Works for
%% a stopped worker too.
%% @end
-module(py_port_proc).

-export([stat/1, usage/1]).

%% @doc State, start time (clock ticks since boot) and CPU time of a process.
-spec stat(non_neg_integer()) ->
    {ok, #{state := char(), start_time := non_neg_integer(), cpu_ms := non_neg_integer()}} | error.
stat(Pid) ->
    case file:read_file(path(Pid, "stat")) of
        {ok, Text} ->
            %% The name in parentheses may hold anything, so fields are counted from the last one: 3
            %% is the state.
            [_, Rest] = string:split(Text, <<") ">>, trailing),
            [<<State, _/binary>> | Fields] = binary:split(Rest, <<" ">>, [global]),
            Field = fun(N) -> binary_to_integer(lists:nth(N - 3, Fields)) end,
            %% The kernel shows times in ticks of 10 ms (USER_HZ) on every architecture that Erlang
            %% runs on.
            {ok, #{
                state => State, start_time => Field(22), cpu_ms => (Field(14) + Field(15)) * 10
            }};
        {error, _} ->
            error
    end.

%% @doc Resident memory in bytes and CPU time in ms; `undefined' when the process is gone.
-spec usage(non_neg_integer()) ->
    #{rss := non_neg_integer() | undefined, cpu_ms := non_neg_integer() | undefined}.
usage(Pid) ->
    Rss =
        case file:read_file(path(Pid, "status")) of
            {ok, Text} ->
                %% At the start of a line: the process chooses the name in an earlier one itself.
                case re:run(Text, "^VmRSS:\\s*(\\d+) kB", [multiline, {capture, [1], binary}]) of
                    {match, [Kb]} -> binary_to_integer(Kb) * 1024;
                    nomatch -> undefined
                end;
            {error, _} ->
                undefined
        end,
    case stat(Pid) of
        {ok, #{cpu_ms := Cpu}} -> #{rss => Rss, cpu_ms => Cpu};
        error -> #{rss => Rss, cpu_ms => undefined}
    end.

-spec path(non_neg_integer(), string()) -> string().
path(Pid, Name) ->
    "/proc/" ++ integer_to_list(Pid) ++ "/" ++ Name.
