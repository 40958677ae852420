%% @doc One process for one CALLBACK: decodes it, runs it, answers it, ends.
%%
%% Promise: each CALLBACK is answered. What a registered function raises becomes an answer here; for
%% a job that is killed the owner answers (see {@link unanswered/3}), who monitors it and does
%% nothing else for it: this process writes to the port itself, and if the pipe is full it is this
%% process that waits.
%%
%% The row in the table of jobs is there from before anything runs until just before the answer is
%% written, or until the end of a job that fetched something from a channel or an inlet. A job whose context has ended finds its context's row gone and ends: rows of jobs are
%% removed after that of the context, so none is left over.
%%
%% The registered function sees an ordinary process: `$ancestors' holds the context, `$callers' the
%% process whose request made Python call. docs/protocol.md says what operations there are.
%% @end
-module(py_port_job).

-include("py_port.hrl").
-include("py_port_wire.hrl").

-export([start/2, unanswered/3, redeem/4]).
%% for start/2
-export([init/2]).
-export_type([failure/0]).

%% What a CALLBACK_ERROR holds.
-type failure() ::
    {not_found, binary()}
    | {failed, error | exit | throw, term(), binary()}
    | cancelled
    | timeout
    | {killed, term()}
    | {noproc, term()}
    | {forbidden, binary()}
    | {bad_request, binary()}.
-type outcome() ::
    {ok, term()}
    | {error, failure()}
    | {fetched, term(), py_port_fifo:receipt()}.

%% A reason whose term has more bytes is sent as text.
-define(MAX_REASON, 65536).
-define(REASON_CHARS, 4096).
-define(REASON_DEPTH, 30).
-define(MAX_FRAMES, 40).

-define(IS_FOR_ENDPOINT(Op),
    (is_tuple(Op) andalso tuple_size(Op) >= 3 andalso is_pid(element(3, Op)) andalso
        (element(1, Op) =:= channel orelse element(1, Op) =:= inlet))
).

%% For the owner -----------------------------------------------------------------------------------

%% @doc Called by the owner. Never blocks. The end of the job reaches the caller as a message
%% `{{job, Id}, Ref, process, Pid, Reason}'.
-spec start(#ctx{}, #callback{}) -> pid().
start(Ctx, #callback{id = Id} = Callback) ->
    {Pid, _} = spawn_opt(?MODULE, init, [Ctx, Callback], [{monitor, [{tag, {job, Id}}]}]),
    Pid.

%% @doc Answers for a job that could not. Called by the owner. Never blocks: a reason that may be of
%% any size is encoded elsewhere.
-spec unanswered(#ctx{}, py_port_wire:id(), cancelled | {killed, term()}) -> ok.
unanswered(Ctx, Id, {killed, Reason} = Failure) when not is_atom(Reason) ->
    _ = spawn(fun() -> send(Ctx, Id, Failure) end),
    ok;
unanswered(Ctx, Id, Failure) ->
    send(Ctx, Id, Failure).

%% @doc The same for one that may have fetched something: sends its answer if it had committed, and
%% says the failure when what it had fetched has gone back. A second answer does no harm. Called by
%% the owner. Never blocks: a process of its own asks.
-spec redeem(#ctx{}, py_port_wire:id(), cancelled | {killed, term()}, #job{}) -> ok.
redeem(#ctx{writer = Writer} = Ctx, Id, Failure, #job{pid = Pid, endpoint = Endpoint, answer = Frame}) ->
    %% The job may have been killed before it looked whether it may reach it, and what it is.
    MayReach = py_port_reach:endpoint(Endpoint, Ctx) =:= ok,
    _ = spawn(fun() ->
        IsThere = MayReach andalso py_port_fifo:kind(Endpoint) =/= none,
        case IsThere andalso py_port_fifo:redeem(Endpoint, Pid) of
            committed -> py_port_writer:send(Writer, Frame);
            _ -> send(Ctx, Id, Failure)
        end
    end),
    ok.

-spec send(#ctx{}, py_port_wire:id(), failure()) -> ok.
send(#ctx{writer = Writer} = Ctx, Id, Failure) ->
    Payload = term_to_binary(py_port_terms:without_strangers(bounded(Failure), Ctx)),
    py_port_writer:send(Writer, py_port_wire:short(?K_CALLBACK_ERROR, Id, Payload)).

%% The job -----------------------------------------------------------------------------------------

%% @private
-spec init(#ctx{}, #callback{}) -> ok.
init(#ctx{pid = Owner} = Ctx, #callback{payload = Payload} = Callback) ->
    _ = put('$initial_call', {?MODULE, init, 2}),
    _ = put('$ancestors', [Owner]),
    ok = py_port_job_sup:adopt(),
    Outcome =
        case py_port_terms:decode(Payload, Ctx) of
            {ok, Op} ->
                admit(Op, Ctx, Callback);
            {error, {unknown_pid, Pid}} ->
                {error, {forbidden, <<"this context was not given the process ", Pid/binary>>}};
            {error, Why} ->
                _ = py_port_call:refused(py_port_terms:is_hostile(Why, Ctx), Why, Ctx),
                bad_request("the term was refused: ~tp", [Why])
        end,
    answer(Ctx, Callback#callback.id, Outcome).

-spec admit(term(), #ctx{}, #callback{}) -> outcome().
admit(Op, #ctx{pid = Owner} = Ctx, Callback) ->
    #callback{id = Id, parent = Parent, deadline = Deadline, trace = Trace} = Callback,
    Job = #job{
        pid = self(),
        owner = Owner,
        id = Id,
        deadline = deadline(Deadline),
        requester = requester(Parent, Ctx),
        function = title(Op),
        trace = Trace,
        endpoint = endpoint_of(Op)
    },
    true = ets:insert(?JOBS, Job),
    case py_port_registry:is_there(Owner) of
        true ->
            run(Op, Job, Ctx);
        false ->
            %% Nobody hears the answer. The row is deleted on the way to it.
            {error, cancelled}
    end.

-spec run(term(), #job{}, #ctx{}) -> outcome().
run(Op, #job{deadline = Deadline, requester = Requester, trace = Trace}, Ctx) ->
    case Deadline =/= infinity andalso Deadline < os:perf_counter(nanosecond) of
        true ->
            {error, timeout};
        false ->
            _ = Requester =/= none andalso put('$callers', [Requester]),
            ok = py_port_lineage:carry(Trace),
            serve(Op, Ctx)
    end.

-spec deadline(non_neg_integer()) -> integer() | infinity.
deadline(0) -> infinity;
deadline(Deadline) -> Deadline.

%% Nobody, when the request is over already (its time may be up) or Python called from a thread of
%% its own.
-spec requester(py_port_wire:id(), #ctx{}) -> pid() | none.
requester(0, _) ->
    none;
requester(Parent, #ctx{requests = Requests}) ->
    try
        ets:lookup_element(Requests, Parent, #request.caller)
    catch
        error:badarg -> none
    end.

%% For people and for py_port:caller/0.
-spec title(term()) -> binary().
title({call, Name, _}) when is_binary(Name) -> Name;
title(Op) when is_tuple(Op), tuple_size(Op) > 0, is_atom(element(1, Op)) ->
    atom_to_binary(element(1, Op));
title(_) -> <<>>.

-spec endpoint_of(term()) -> pid() | none.
endpoint_of(Op) when ?IS_FOR_ENDPOINT(Op) -> element(3, Op);
endpoint_of(_) -> none.

%% Operations --------------------------------------------------------------------------------------

-spec serve(term(), #ctx{}) -> outcome().
serve({call, Name, Args}, #ctx{functions = Functions}) when is_binary(Name), length(Args) >= 0 ->
    case find(Name, length(Args), Functions) of
        {ok, Target} -> apply_to(Target, Args);
        {error, _} = Error -> Error
    end;
serve({exists, Name}, #ctx{functions = Functions}) when is_binary(Name) ->
    {ok, find(Name, any, Functions) =/= {error, {not_found, Name}}};
serve({send, To, Message}, Ctx) when is_pid(To); is_binary(To); is_atom(To) ->
    case py_port_reach:receiver(To, Ctx) of
        {ok, Pid} -> send_to(Pid, To, Message);
        {error, _} = Error -> Error
    end;
serve({whereis, Name}, Ctx) when is_binary(Name); is_atom(Name) ->
    case py_port_reach:process(Name, Ctx) of
        {ok, Pid} -> {ok, Pid};
        {error, {noproc, _}} -> {ok, none};
        {error, _} = Error -> Error
    end;
serve({self}, #ctx{pid = Owner}) ->
    {ok, Owner};
serve({monitor, Pid}, Ctx) when is_pid(Pid) ->
    case py_port_reach:process(Pid, Ctx) of
        {ok, _} -> {ok, {down, Pid, py_port_terms:without_strangers(await_down(Pid), Ctx)}};
        {error, _} = Error -> Error
    end;
serve(Op, Ctx) when ?IS_FOR_ENDPOINT(Op) ->
    case py_port_reach:endpoint(element(3, Op), Ctx) of
        ok -> endpoint(Op);
        {error, _} = Error -> Error
    end;
serve(Op, _) ->
    bad_request("there is no such operation: ~tP", [Op, 8]).

%% Sent first: whether a process lives is asked after it was sent to, and by then it has it. So two
%% messages of one thread of Python arrive in their order, though two jobs send them.
-spec send_to(pid(), term(), term()) -> outcome().
send_to(Pid, To, Message) ->
    _ = Pid ! Message,
    case node(Pid) =/= node() orelse is_process_alive(Pid) of
        true -> {ok, ok};
        false -> {error, {noproc, To}}
    end.

-spec await_down(pid()) -> term().
await_down(Pid) ->
    Ref = erlang:monitor(process, Pid),
    receive
        {'DOWN', Ref, process, _, Reason} -> bounded(Reason)
    end.

%% Channels and streams know what they can be asked for. They hand out their items for good when
%% this process commits.
-spec endpoint(tuple()) -> outcome().
endpoint(Op) ->
    [Kind | Args] = tuple_to_list(Op),
    Module = module_of(Kind),
    py_port_call:guarded(fun() ->
        case Module:op(Args) of
            {fetched, _, _} = Fetched -> Fetched;
            Answer -> {ok, Answer}
        end
    end).

-spec module_of(channel | inlet) -> module().
module_of(channel) -> py_port_channel;
module_of(inlet) -> py_port_inlet.

%% Functions ---------------------------------------------------------------------------------------

-type arity_wanted() :: arity() | any.
-type callable() :: py_port_callbacks:target() | {exact, module(), atom()}.

-spec find(binary(), non_neg_integer() | any, all | ets:tid()) ->
    {ok, callable()} | {error, {not_found, binary()}}.
find(Name, _, all) ->
    registered(Name);
find(Name, Arity, Table) ->
    case ets:lookup(Table, Name) of
        [{_, registered}] -> registered(Name);
        [{_, {exact, M, F, Arities}}] -> exact(Name, Arity, {M, F, Arities});
        [{_, Target}] -> {ok, Target};
        [] -> {error, {not_found, Name}}
    end.

-spec registered(binary()) -> {ok, callable()} | {error, {not_found, binary()}}.
registered(Name) ->
    case py_port_callbacks:lookup(Name) of
        {ok, _} = Found -> Found;
        error -> {error, {not_found, Name}}
    end.

%% A capability is for the arities that were given, not for others of the same name.
-spec exact(binary(), arity_wanted(), {module(), atom(), [arity()]}) ->
    {ok, callable()} | {error, {not_found, binary()}}.
exact(Name, Arity, {M, F, Arities}) ->
    case Arity =:= any orelse lists:member(Arity, Arities) of
        true -> {ok, {exact, M, F}};
        false -> {error, {not_found, <<Name/binary, $/, (integer_to_binary(Arity))/binary>>}}
    end.

-spec apply_to(callable(), [term()]) -> outcome().
apply_to(Target, Args) ->
    try
        {ok, apply_target(Target, Args)}
    catch
        Class:Reason:Stack ->
            Text = py_port_error:stack(lists:takewhile(fun is_theirs/1, Stack), ?MAX_FRAMES),
            {error, {failed, Class, bounded(Reason), Text}}
    end.

-spec is_theirs(term()) -> boolean().
is_theirs({?MODULE, _, _, _}) -> false;
is_theirs(_) -> true.

-spec apply_target(callable(), [term()]) -> term().
apply_target({function, Fun}, Args) -> Fun(Args);
apply_target({module, M, F}, Args) -> M:F(Args);
apply_target({exact, M, F}, Args) -> apply(M, F, Args).

%% Answers -----------------------------------------------------------------------------------------

-spec answer(#ctx{}, py_port_wire:id(), outcome()) -> ok.
answer(Ctx, Id, {fetched, Term, Receipt}) ->
    case framed(Ctx, Id, ok, Term) of
        gone -> leave();
        Frame -> hand_over(Ctx, Receipt, Frame)
    end;
answer(Ctx, Id, {Tag, Term}) ->
    case framed(Ctx, Id, Tag, Term) of
        gone ->
            leave();
        Frame ->
            ok = leave(),
            write(Ctx, Frame)
    end.

%% The row goes with this process, not before: whoever finds it dead finds there what it was about to
%% say. Without a row there is no owner any more, and what was fetched goes back.
-spec hand_over(#ctx{}, py_port_fifo:receipt(), iodata()) -> ok.
hand_over(#ctx{pid = Owner} = Ctx, Receipt, Frame) ->
    case ets:update_element(?JOBS, self(), {#job.answer, Frame}) of
        true ->
            ok = py_port_fifo:commit(Receipt, Owner),
            write(Ctx, Frame);
        false ->
            ok
    end.

%% An error instead, when it is too large. gone: the context has ended.
-spec framed(#ctx{}, py_port_wire:id(), ok | error, term()) -> iodata() | gone.
framed(#ctx{max_frame = Max} = Ctx, Id, Tag, Term) ->
    case encode(Tag, Term, Ctx) of
        gone ->
            gone;
        Payload ->
            case iolist_size(Payload) of
                Size when Size > Max ->
                    framed(Ctx, Id, error, too_large(Tag, Term, {Size, Max}));
                _ ->
                    frame(Tag, Id, Payload)
            end
    end.

-spec too_large(ok | error, term(), {pos_integer(), pos_integer()}) -> failure().
too_large(ok, _, {Size, Max}) ->
    {failed, error, {too_large, Size, Max}, <<>>};
too_large(error, {failed, Class, _, _}, _) ->
    {failed, Class, <<"the reason does not fit into a frame">>, <<>>};
too_large(error, _, _) ->
    {bad_request, <<"the error does not fit into a frame">>}.

-spec encode(ok | error, term(), #ctx{}) -> py_port_terms:encoded() | gone.
encode(error, Term, Ctx) ->
    encode(ok, py_port_terms:without_strangers(Term, Ctx), Ctx);
encode(ok, Term, Ctx) ->
    try
        py_port_terms:encode(Term, Ctx)
    catch
        %% The context has ended.
        error:badarg -> gone
    end.

-spec frame(ok | error, py_port_wire:id(), py_port_terms:encoded()) -> iodata().
frame(ok, Id, Payload) when is_binary(Payload) -> <<?K_CALLBACK_OK, 0:24, Id:64, Payload/binary>>;
frame(ok, Id, Payload) -> py_port_wire:short(?K_CALLBACK_OK, Id, Payload);
frame(error, Id, Payload) -> py_port_wire:short(?K_CALLBACK_ERROR, Id, Payload).

-spec write(#ctx{}, iodata()) -> ok.
write(#ctx{port = Port}, Frame) ->
    try
        true = port_command(Port, Frame),
        ok
    catch
        %% The port is closed.
        error:badarg -> ok
    end.

-spec leave() -> ok.
leave() ->
    true = ets:delete(?JOBS, self()),
    ok.

%% What others made may be of any size.
-spec bounded(term()) -> term().
bounded({killed, Reason}) ->
    {killed, bounded(Reason)};
bounded(Term) when is_atom(Term); is_number(Term); is_pid(Term) ->
    Term;
bounded(Term) ->
    case erlang:external_size(Term) =< ?MAX_REASON of
        true -> Term;
        false -> py_port_error:bounded_text(Term, ?REASON_DEPTH, ?REASON_CHARS)
    end.

-spec bad_request(io:format(), [term()]) -> {error, {bad_request, binary()}}.
bad_request(Format, Args) ->
    {error, {bad_request, py_port_error:text(io_lib:format(Format, Args, [{chars_limit, 1000}]))}}.
