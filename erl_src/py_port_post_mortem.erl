%% @doc What is said about a worker that has ended: from the launcher's report and what the owner
%% knew.
%%
%% Pure.
%% @end
-module(py_port_post_mortem).

-export([make/3, verdict/4, stderr/2, stack/1, start_message/2, leftovers/1]).

%% So many lines of stderr are kept.
-define(TAIL, 20).

%% @doc `Tail': the last lines of stderr, newest first. `in_flight': what was being asked for; `cause': why the
%% owner ended the worker, `none' if it did not.
-spec make(py_port_report:report() | missing, [binary()], #{
    in_flight := [term()], cause := term()
}) -> py_port_error:post_mortem().
make(Report, Tail, #{in_flight := InFlight, cause := Cause}) ->
    Get = fun(Key, Default) ->
        case Report of
            missing -> Default;
            #{Key := Value} -> Value
        end
    end,
    #{
        report =>
            case Report of
                missing -> missing;
                _ -> complete
            end,
        rusage => #{
            user_ms => Get(user_us, 0) div 1000,
            system_ms => Get(system_us, 0) div 1000,
            max_rss_kb => Get(max_rss_kb, 0)
        },
        in_flight => #{count => length(InFlight), calls => lists:sublist(InFlight, 20)},
        stderr => stderr(Tail, Report),
        stack => stack(Report),
        descendants => Get(descendants, 0),
        core_dumped => Get(core, false),
        stopped_by => stopped_by(Cause)
    }.

-spec stopped_by(term()) -> atom().
stopped_by({protocol_error, _}) -> protocol_error;
stopped_by({internal, _}) -> internal;
stopped_by(Why) -> Why.

%% @doc What the callers are told, and the reason with which the context exits.
-spec verdict(Stopping, term(), py_port_report:status() | unknown, py_port_error:post_mortem()) ->
    {py_port_error:down(), term()}
when
    Stopping :: no | {reason, term()}.
verdict({reason, Reason}, _, _, _) ->
    {stopped, Reason};
verdict(no, {protocol_error, What}, _, Pm) ->
    Down = {protocol_error, What, Pm},
    {Down, Down};
verdict(no, {internal, Why}, _, _) ->
    {{internal, Why}, {internal, Why}};
verdict(no, _, Status, Pm) ->
    Down = reason(Status, Pm),
    {Down, Down}.

%% Signal and status are told apart by the report; an exit code of 139 is not a segmentation
%% fault.
-spec reason(py_port_report:status() | unknown, py_port_error:post_mortem()) -> py_port_error:down().
reason({signaled, Signal}, Pm) -> {worker_killed, py_port_report:signal_name(Signal), Pm};
reason({exited, Status}, Pm) -> {worker_exited, Status, Pm};
reason(_, Pm) -> {worker_exited, unknown, Pm}.

%% @doc The last lines of stderr, oldest first: those that came as frames and what was still in the
%% pipe.
-spec stderr([binary()], py_port_report:report() | missing) -> [binary()].
stderr(Newest, Report) ->
    All = lists:reverse(Newest) ++ [Line || {stderr, Line} <- leftovers(Report)],
    lists:nthtail(max(0, length(All) - ?TAIL), All).

-spec stack(py_port_report:report() | missing) -> binary().
stack(missing) -> <<>>;
stack(#{stack := Stack}) -> Stack.

%% @doc Lines that were printed and never became frames.
-spec leftovers(py_port_report:report() | missing) -> [{py_port_io:stream(), binary()}].
leftovers(missing) ->
    [];
leftovers(#{stdout := Out, stderr := Err}) ->
    [{stdout, L} || L <- lines(Out)] ++ [{stderr, L} || L <- lines(Err)].

-spec lines(binary()) -> [binary()].
lines(<<>>) ->
    [];
lines(Text) ->
    case lists:reverse(binary:split(Text, <<"\n">>, [global])) of
        [<<>> | Lines] -> lists:reverse(Lines);
        Lines -> lists:reverse(Lines)
    end.

%% @doc Why a worker that said nothing did not start.
-spec start_message(py_port_report:status() | unknown, py_port_report:report() | missing) -> binary().
start_message(_, #{message := Message}) when Message =/= <<>> ->
    Message;
start_message({exited, Status}, _) ->
    py_port_error:text(io_lib:format("it exited with status ~b before it was ready", [Status]));
start_message({signaled, Signal}, _) ->
    Name = py_port_report:signal_name(Signal),
    py_port_error:text(io_lib:format("it was ended by signal ~p before it was ready", [Name]));
start_message(_, _) ->
    <<"it ended before it was ready">>.
