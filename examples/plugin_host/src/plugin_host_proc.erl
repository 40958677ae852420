%% @doc What Linux says about processes, read from /proc: the host checks py_port from outside, not by asking it.
-module(plugin_host_proc).

-export([rss/1, parent/1, is_alive/1, descendants/1, marked/1, shares_our_stdio/1]).

-type os_pid() :: pos_integer().

-define(MARK, "PLUGIN_HOST_RUN").

%% @doc Resident memory in bytes; 0 if the process is gone.
-spec rss(os_pid()) -> non_neg_integer().
rss(OsPid) ->
    Line = <<"VmRSS:\\s+(\\d+) kB">>,
    case re:run(read(OsPid, "status"), Line, [{capture, all_but_first, binary}]) of
        {match, [KiB]} -> binary_to_integer(KiB) * 1024;
        nomatch -> 0
    end.

-spec parent(os_pid()) -> os_pid() | 0.
parent(OsPid) ->
    case stat(OsPid) of
        {_Name, _State, Parent} -> Parent;
        gone -> 0
    end.

%% @doc A zombie is not alive: it only waits to be read by its parent.
-spec is_alive(os_pid()) -> boolean().
is_alive(OsPid) ->
    case stat(OsPid) of
        {_Name, State, _Parent} -> State =/= <<"Z">>;
        gone -> false
    end.

%% @doc All living processes below this one, without the helpers that the Erlang VM itself keeps.
-spec descendants(os_pid()) -> [{os_pid(), Name :: binary()}].
descendants(OsPid) ->
    All = [{Pid, Stat} || Pid <- all(), {_, State, _} = Stat <- [stat(Pid)], State =/= <<"Z">>],
    [
        {Pid, Name}
     || {Pid, {Name, _, _}} <- below(OsPid, All),
        not lists:member(Name, [<<"erl_child_setup">>, <<"inet_gethost">>])
    ].

%% @doc All living processes that carry the mark of this run in their environment, wherever they hang in the tree.
-spec marked(Mark :: string()) -> [os_pid()].
marked(Mark) ->
    Entry = iolist_to_binary([?MARK, $=, Mark]),
    [
        Pid
     || Pid <- all(),
        lists:member(Entry, binary:split(read(Pid, "environ"), <<0>>, [global])),
        is_alive(Pid)
    ].

%% @doc Does this process hold the stdin, stdout or stderr of this node open? (Except for /dev/null: anybody may.)
-spec shares_our_stdio(os_pid()) -> boolean().
shares_our_stdio(OsPid) ->
    Ours = [Link || Fd <- ["0", "1", "2"], Link <- link(os_pid(), Fd), Link =/= "/dev/null"],
    Theirs =
        case file:list_dir(path(OsPid, "fd")) of
            {ok, Fds} -> lists:append([link(OsPid, Fd) || Fd <- Fds]);
            {error, _} -> []
        end,
    lists:any(fun(Link) -> lists:member(Link, Ours) end, Theirs).

%%% private

-spec os_pid() -> os_pid().
os_pid() ->
    list_to_integer(os:getpid()).

-spec all() -> [os_pid()].
all() ->
    {ok, Entries} = file:list_dir("/proc"),
    [list_to_integer(Entry) || [First | _] = Entry <- Entries, First >= $0, First =< $9].

-spec below(os_pid(), [{os_pid(), tuple()}]) -> [{os_pid(), tuple()}].
below(Ancestor, All) ->
    Children = [Process || {_, {_, _, Parent}} = Process <- All, Parent =:= Ancestor],
    Children ++ lists:append([below(Pid, All) || {Pid, _} <- Children]).

%% The name stands in parentheses and may itself hold any character, so the fields are counted from the last one.
-spec stat(os_pid()) -> {Name :: binary(), State :: binary(), Parent :: os_pid() | 0} | gone.
stat(OsPid) ->
    Fields = <<"^\\d+ \\((.*)\\) (\\S) (\\d+) ">>,
    case re:run(read(OsPid, "stat"), Fields, [dotall, {capture, all_but_first, binary}]) of
        {match, [Name, State, Parent]} -> {Name, State, binary_to_integer(Parent)};
        nomatch -> gone
    end.

%% Empty for a process that has just gone or belongs to somebody else: both are none of ours.
-spec read(os_pid(), string()) -> binary().
read(OsPid, File) ->
    case file:read_file(path(OsPid, File)) of
        {ok, Bytes} -> Bytes;
        {error, _} -> <<>>
    end.

-spec link(os_pid(), string()) -> [string()].
link(OsPid, Fd) ->
    case file:read_link(path(OsPid, "fd/" ++ Fd)) of
        {ok, Target} -> [Target];
        {error, _} -> []
    end.

-spec path(os_pid(), string()) -> string().
path(OsPid, File) ->
    "/proc/" ++ integer_to_list(OsPid) ++ "/" ++ File.
