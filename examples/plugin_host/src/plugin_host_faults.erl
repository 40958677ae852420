%% @doc What goes wrong during the run, and when: a timeline as data, and the process that lets it happen.
%%
%% Each fault is an ordinary call of a function of the tenant's plugin, made beside the calls of the tenant's driver.
%% After each one we wait until the tenant serves again, and note what it took.
%% @end
-module(plugin_host_faults).

-export([run/0]).

-export_type([fault/0, outcome/0]).

-type fault() :: #{
    id := atom(),
    %% milliseconds after the start of the run
    at := non_neg_integer(),
    tenant := plugin_host_tenants:name(),
    function := atom(),
    args := [{rows, plugin_host_corpus:name(), pos_integer()} | integer()],
    timeout := pos_integer()
}.
-type outcome() :: #{
    id := atom(),
    tenant := plugin_host_tenants:name(),
    result := {ok, term()} | {error, term()},
    took_ms := non_neg_integer(),
    %% until the tenant had given right answers again; `never' within the patience we have
    served_again_after_ms := non_neg_integer() | never,
    os_pid_before := pos_integer() | none,
    os_pid_after := pos_integer() | none,
    %% how many calls the healthy tenants answered rightly from the fault until the tenant served again
    healthy_answers := non_neg_integer()
}.

%% So many right answers make a tenant one that serves again.
-define(CONVINCING, 3).
-define(PATIENCE_MS, 20000).

-spec timeline() -> [fault()].
timeline() ->
    [
        fault(1500, print, printer, print_rows, [{rows, kjv, 1}]),
        fault(3000, helper, crasher, start_helper, []),
        fault(3500, segfault, crasher, read_native_header, []),
        (fault(5500, loop, looper, longest_line, [{rows, ucd, 7}]))#{timeout := 500},
        fault(7500, memory, hoarder, cache_everything, [{rows, kjv, 11}]),
        fault(9500, exit, quitter, give_up, [3]),
        fault(11000, segfault_again, crasher, read_native_header, [])
    ].

-spec fault(non_neg_integer(), atom(), plugin_host_tenants:name(), atom(), list()) -> fault().
fault(At, Id, Tenant, Function, Args) ->
    #{id => Id, at => At, tenant => Tenant, function => Function, args => Args, timeout => 15000}.

%% @doc Goes through the timeline. Takes as long as it takes.
-spec run() -> #{atom() => outcome()}.
run() ->
    Start = now_ms(),
    maps:from_list([{Id, happen(Fault, Start)} || #{id := Id} = Fault <- timeline()]).

-spec happen(fault(), integer()) -> outcome().
happen(#{id := Id, at := At, tenant := Tenant, function := Function} = Fault, Start) ->
    timer:sleep(max(0, Start + At - now_ms())),
    Before = plugin_host_stats:rows(),
    plugin_host_stats:event(Tenant, lists:concat(["calling ", Function])),
    Begin = now_ms(),
    Result = call(Fault),
    Took = now_ms() - Begin,
    plugin_host_stats:event(Tenant, describe(Function, Result)),
    {Again, After} = await_service(Tenant, Result, Before),
    #{
        id => Id,
        tenant => Tenant,
        result => Result,
        took_ms => Took,
        served_again_after_ms => case Again of yes -> now_ms() - Begin; never -> never end,
        os_pid_before => os_pid(Tenant, Before),
        os_pid_after => os_pid(Tenant, After),
        healthy_answers => healthy_answers(After) - healthy_answers(Before)
    }.

-spec call(fault()) -> {ok, term()} | {error, term()}.
call(#{tenant := Tenant, function := Function, args := Args, timeout := Timeout}) ->
    Values = [argument(Arg) || Arg <- Args],
    py_port:call(Tenant, plugin, Function, Values, #{}, #{timeout => Timeout}).

-spec argument(term()) -> term().
argument({rows, Corpus, Number}) -> plugin_host_corpus:chunk(Corpus, Number);
argument(Literal) -> Literal.

%% If the worker went down, it takes a new one that answers; else some more answers of the tenant.
-spec await_service(plugin_host_tenants:name(), term(), plugin_host_stats:rows()) ->
    {yes | never, plugin_host_stats:rows()}.
await_service(Tenant, Result, Before) ->
    Now = plugin_host_stats:rows(),
    Until =
        case Result of
            {error, {worker_down, _}} ->
                Old = os_pid(Tenant, Before),
                fun(#{Tenant := #{right_since_up := Right}} = Rows) ->
                    os_pid(Tenant, Rows) =/= Old andalso Right >= ?CONVINCING
                end;
            _ ->
                #{Tenant := #{right := Sofar}} = Now,
                fun(#{Tenant := #{right := Right}}) -> Right >= Sofar + ?CONVINCING end
        end,
    case plugin_host_stats:await(Until, ?PATIENCE_MS) of
        {ok, Rows} -> {yes, Rows};
        timeout -> {never, plugin_host_stats:rows()}
    end.

-spec describe(atom(), {ok, term()} | {error, term()}) -> string().
describe(Function, {ok, _}) ->
    lists:concat([Function, " returned"]);
describe(Function, {error, {python, #{type := Type}}}) ->
    lists:flatten(io_lib:format("~s raised ~ts", [Function, Type]));
describe(Function, {error, timeout}) ->
    lists:concat([Function, " was stopped at its deadline"]);
describe(_Function, {error, Reason}) ->
    plugin_host_stats:brief(Reason).

-spec os_pid(plugin_host_tenants:name(), plugin_host_stats:rows()) -> pos_integer() | none.
os_pid(Tenant, Rows) ->
    case Rows of
        #{Tenant := #{worker := #{os_pid := OsPid}}} -> OsPid;
        _ -> none
    end.

-spec healthy_answers(plugin_host_stats:rows()) -> non_neg_integer().
healthy_answers(Rows) ->
    lists:sum([maps:get(right, maps:get(Name, Rows)) || Name <- plugin_host_tenants:healthy()]).

-spec now_ms() -> integer().
now_ms() ->
    erlang:monotonic_time(millisecond).
