%% @doc The owner's questions to a context's table of outstanding requests: whose caller died, what
%% is due, what was left.
%%
%% The table is public: callers insert and mark rows (see {@link py_port_call}), the owner alone takes
%% rows out, by {@link ets:take/2}. Whoever takes or marks a row first decides its outcome, so every
%% answer here may be out of date when it is used: an id that is gone has been decided elsewhere.
%% @end
-module(py_port_requests).

-include("py_port.hrl").

-export([new/0, of_callers/2, due/2, deadlines/1, count/1, bytes/1, in_flight/1, reply/4, answer_all/3]).

-spec new() -> ets:tid().
new() ->
    ets:new(py_port_requests, [public, {keypos, #request.id}, {write_concurrency, true}]).

%% @doc The ids of what these processes asked for. Control requests are left out: each is answered
%% soon, and cannot be cancelled.
-spec of_callers(#{pid() => []}, ets:tid()) -> [pos_integer()].
of_callers(Callers, Requests) ->
    Pattern = #request{id = '$1', caller = '$2', kind = '$4', _ = '_'},
    Rows =
        case ets:info(Requests, size) of
            0 -> [];
            _ -> ets:select(Requests, [{Pattern, [{'=/=', '$4', control}], [{{'$1', '$2'}}]}])
        end,
    [Id || {Id, Caller} <- Rows, is_map_key(Caller, Callers)].

%% @doc The ids of those whose deadline has passed at `Now', of the same clock.
-spec due(integer(), ets:tid()) -> [pos_integer()].
due(Now, Requests) ->
    Pattern = #request{id = '$1', deadline = '$2', _ = '_'},
    ets:select(Requests, [{Pattern, [{'<', '$2', Now}], ['$1']}]).

%% @doc How many have a deadline.
-spec deadlines(ets:tid()) -> non_neg_integer().
deadlines(Requests) ->
    Pattern = #request{deadline = '$3', _ = '_'},
    ets:select_count(Requests, [{Pattern, [{'=/=', '$3', infinity}], [true]}]).

%% @doc How many calls wait for an answer. Control requests are not calls, and the row of one whose
%% asker has given up stays until its answer comes.
-spec count(ets:tid()) -> non_neg_integer().
count(Requests) ->
    Pattern = #request{kind = '$4', _ = '_'},
    ets:select_count(Requests, [{Pattern, [{'=/=', '$4', control}], [true]}]).

%% @doc What the large ones hold together.
-spec bytes(ets:tid()) -> non_neg_integer().
bytes(Requests) ->
    Pattern = #request{bytes = '$5', _ = '_'},
    lists:sum(ets:select(Requests, [{Pattern, [{'>', '$5', 0}], ['$5']}])).

%% @doc What was asked for and is not answered, for reports.
-spec in_flight(ets:tid()) -> [{term(), term()}].
in_flight(Requests) ->
    [
        {M, F}
     || #request{module = M, function = F, kind = Kind} <- ets:tab2list(Requests), Kind =/= control
    ].

%% @doc Sends the outcome of a row that was taken out of the table to whoever waits for it, if
%% anybody does.
-spec reply(atom(), term(), #request{}, pid()) -> ok.
reply(_, _, #request{alias = none}, _) ->
    ok;
reply(Tag, Payload, #request{kind = async} = Row, Courier) ->
    to_courier(Tag, Payload, Row, Courier);
reply(Tag, Payload, #request{kind = {async_ref, _}} = Row, Courier) ->
    to_courier(Tag, Payload, Row, Courier);
reply(Tag, Payload, #request{alias = Alias}, _) ->
    Alias ! {Alias, Tag, Payload},
    ok.

-spec to_courier(atom(), term(), #request{}, pid()) -> ok.
to_courier(Tag, Payload, #request{id = Id, alias = Alias}, Courier) ->
    py_port_courier:deliver(Courier, py_port_async:handle(Alias, self(), Id), Tag, Payload).

%% @doc The worker is gone. Rows that are inserted after this find a context that is gone: their
%% callers hear it from their monitors.
-spec answer_all(ets:tid(), py_port_error:down(), pid()) -> ok.
answer_all(Requests, Reason, Courier) ->
    lists:foreach(
        fun(#request{id = Id}) ->
            case ets:take(Requests, Id) of
                [#request{state = 0} = Row] -> reply(down, Reason, Row, Courier);
                _ -> ok
            end
        end,
        ets:tab2list(Requests)
    ).
