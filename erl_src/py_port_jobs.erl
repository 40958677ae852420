%% @doc What runs for Python, as the owner of the port keeps it: admits jobs, starts them, cancels
%% them, and learns of their ends. Everything here runs in the owner and never blocks, but for
%% {@link end_all/1}.
%%
%% Invariant: every CALLBACK that was admitted is open until its job has ended, and is answered: by
%% the job ({@link py_port_job}), or, when that could not, for it from here. Then it counts until the
%% writer has got so far: a worker that cancels and does not read would fill the writer's mailbox.
%%
%% The credit is what `max_callbacks' says, and one more for each depth of nesting and each kind of
%% waiting (docs/protocol.md, section 5). The worker knows of an answer before we know of the end of
%% the job that gave it, so twice as many may be open before it is an overdraft.
%% @end
-module(py_port_jobs).

-include("py_port.hrl").

-export([new/2, start/2, cancel/2, down/4, answered/2, end_all/1, size/1]).
-export_type([jobs/0]).

%% Depths 1 to 101, of which each has two.
-define(TURNS, 202).

-record(jobs, {
    %% what a job gets to know
    ctx :: #ctx{},
    %% those that the worker cancelled are in the second
    open = #{} :: #{py_port_wire:id() => pid()},
    cancelled = #{} :: #{py_port_wire:id() => []},
    %% the job has ended, the writer has yet to answer
    unwritten = #{} :: #{py_port_wire:id() => []},
    max :: pos_integer(),
    %% CALLBACK_CANCEL frames that may still come: no more than there were CALLBACKs
    cancels = 0 :: non_neg_integer()
}).
-opaque jobs() :: #jobs{}.
%% What is to be said about a job that has ended. none: it has answered itself
-type answer() :: none | cancelled | {killed, term()}.

-spec new(#ctx{}, pos_integer()) -> jobs().
new(Ctx, Max) ->
    #jobs{ctx = Ctx, max = 2 * (Max + ?TURNS)}.

%% @doc A CALLBACK has come. Its end comes as `{{job, Id}, _, process, Pid, Reason}', for {@link
%% down/4}.
-spec start(#callback{}, jobs()) -> {ok, jobs()} | {broken, term()}.
start(#callback{id = Id} = Callback, #jobs{ctx = Ctx, open = Open, cancels = Cancels} = Jobs) ->
    case refusal(Callback, Jobs) of
        none ->
            %% Counted first: the job may ask Python for something at once.
            ok = atomics:add(Ctx#ctx.counters, ?C_CALLBACKS, 1),
            Pid = py_port_job:start(Ctx, Callback),
            {ok, Jobs#jobs{open = Open#{Id => Pid}, cancels = Cancels + 1}};
        Why ->
            {broken, Why}
    end.

%% Why no honest worker would have sent it.
-spec refusal(#callback{}, jobs()) -> none | term().
refusal(#callback{id = 0}, _) ->
    {callback_without_id, 0};
refusal(_, #jobs{open = Open, unwritten = Unwritten, max = Max}) when
    map_size(Open) + map_size(Unwritten) >= Max
->
    callback_without_credit;
refusal(#callback{id = Id}, #jobs{open = Open, unwritten = Unwritten}) when
    is_map_key(Id, Open); is_map_key(Id, Unwritten)
->
    {callback_id_used_twice, Id};
refusal(#callback{parent = Parent}, #jobs{ctx = #ctx{counters = Counters}}) ->
    case Parent =< atomics:get(Counters, ?C_ID) of
        true -> none;
        false -> {id_never_issued, Parent}
    end.

%% @doc The worker has no use for the answer any more. The job may have ended already.
-spec cancel(py_port_wire:id(), jobs()) -> {ok, jobs()} | {broken, term()}.
cancel(Id, #jobs{cancels = 0}) ->
    {broken, {cancel_without_callback, Id}};
cancel(Id, #jobs{open = Open, cancelled = Cancelled, cancels = Cancels} = Jobs) ->
    case Open of
        #{Id := Pid} ->
            true = exit(Pid, kill),
            {ok, Jobs#jobs{cancelled = Cancelled#{Id => []}, cancels = Cancels - 1}};
        #{} ->
            {ok, Jobs#jobs{cancels = Cancels - 1}}
    end.

%% @doc A job has ended.
-spec down(py_port_wire:id(), pid(), term(), jobs()) -> jobs().
down(Id, Pid, Reason, #jobs{ctx = Ctx, open = Open, cancelled = Cancelled} = Jobs) ->
    Row = ets:take(?JOBS, Pid),
    ok = atomics:sub(Ctx#ctx.counters, ?C_CALLBACKS, 1),
    Jobs1 = Jobs#jobs{open = maps:remove(Id, Open), cancelled = maps:remove(Id, Cancelled)},
    case unsaid(Reason, Row, is_map_key(Id, Cancelled)) of
        none ->
            Jobs1;
        Answer ->
            ok = say(Answer, Id, Row, Ctx),
            ok = py_port_writer:tell(Ctx#ctx.writer, self(), {answered, Id}),
            Jobs1#jobs{unwritten = (Jobs1#jobs.unwritten)#{Id => []}}
    end.

%% @doc What {@link down/4} had to say is written, as far as the worker reads.
-spec answered(py_port_wire:id(), jobs()) -> jobs().
answered(Id, #jobs{unwritten = Unwritten} = Jobs) ->
    Jobs#jobs{unwritten = maps:remove(Id, Unwritten)}.

%% A job that says `normal' has answered unless it left its row behind and was not handing over; of
%% any other end nobody can know. A second answer does no harm.
-spec unsaid(term(), [#job{}], boolean()) -> answer().
unsaid(normal, [], _) -> none;
unsaid(normal, [#job{answer = Answer}], _) when Answer =/= none -> none;
unsaid(_, _, true) -> cancelled;
unsaid(Reason, _, false) -> {killed, Reason}.

-spec say(cancelled | {killed, term()}, py_port_wire:id(), [#job{}], #ctx{}) -> ok.
say(Answer, Id, [#job{endpoint = Pid} = Job], Ctx) when is_pid(Pid) ->
    py_port_job:redeem(Ctx, Id, Answer, Job);
say(Answer, Id, _, Ctx) -> py_port_job:unanswered(Ctx, Id, Answer).

%% @doc The worker is gone: kills them all and waits until they have ended. Whoever hears of the
%% context's end finds that nothing runs for it any more.
-spec end_all(jobs()) -> ok.
end_all(#jobs{open = Open}) ->
    Jobs = maps:to_list(Open),
    lists:foreach(fun({_, Pid}) -> exit(Pid, kill) end, Jobs),
    lists:foreach(
        fun({Id, Pid}) ->
            receive
                {{job, Id}, _, process, Pid, _} -> ets:delete(?JOBS, Pid)
            end
        end,
        Jobs
    ).

-spec size(jobs()) -> non_neg_integer().
size(#jobs{open = Open}) ->
    map_size(Open).
