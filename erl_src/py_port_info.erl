%% @doc What a context shows of itself: `info/1', `sys:get_state/1' and `sys:get_status/1'.
%%
%% Never its options: they may hold secrets (`env'). Pure, but for reading counters and the size of
%% the table of requests.
%% @end
-module(py_port_info).

-include("py_port.hrl").

-export([make/1, format_status/4]).
-export_type([facts/0]).

%% What the owner hands over.
-type facts() :: #{
    name := term(),
    started := py_port_start:started(),
    started_at := integer(),
    requests := ets:tid(),
    counters := atomics:atomics_ref(),
    ladder := py_port_ladder:ladder(),
    refs := py_port_refs:refs(),
    %% how many processes are watched
    callers := non_neg_integer(),
    %% how many calls from Python have not ended
    callbacks := non_neg_integer(),
    last_stop := none | map(),
    %% encoded: whoever asks decodes it
    last_error := none | {term(), binary(), integer()}
}.

%% @doc To be called by the owner: `pid' is the calling process.
-spec make(facts()) -> map().
make(#{started := Started, requests := Requests, counters := Counters} = Facts) ->
    #{os_pid := OsPid, ready := Ready, body := #{launcher := Launcher}} = Started,
    Version = maps:get(version, Ready, undefined),
    #{
        pid => self(),
        name => maps:get(name, Facts),
        os_pid => OsPid,
        launcher_pid => Launcher,
        python => maps:get(python, Ready, Version),
        version => Version,
        executable => maps:get(executable, Ready, undefined),
        prefix => maps:get(prefix, Ready, undefined),
        started_at => maps:get(started_at, Facts),
        calls => atomics:get(Counters, ?C_ID) - ?FIRST_ID + 1,
        in_flight => py_port_requests:count(Requests),
        stopping => py_port_ladder:size(maps:get(ladder, Facts)),
        callers => maps:get(callers, Facts),
        callbacks => maps:get(callbacks, Facts),
        refs => py_port_refs:size(maps:get(refs, Facts)),
        casts_dropped => atomics:get(Counters, ?C_DROPPED),
        last_stop => maps:get(last_stop, Facts),
        last_error => maps:get(last_error, Facts)
    }.

%% @doc For `sys:get_status/1'.
-spec format_status(running | suspended, pid(), [sys:debug_option()], facts()) -> [term()].
format_status(SysState, Parent, _Debug, Facts) ->
    [
        {header, "Status for py_port context"},
        {data, [{"Status", SysState}, {"Parent", Parent}]},
        {data, [{"State", make(Facts)}]}
    ].
