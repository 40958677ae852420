%% @doc What Python produces, item by item, for {@link py}: collected, or as messages.
%%
%% `start/2' makes a process that reads the producer and sends each item to the owner: `{py_stream,
%% Ref, {data, Item}}', and at the end one of `{py_stream, Ref, done}', `{py_stream, Ref, {error,
%% Reason}}'. When the owner dies or the stream is cancelled, the producer in Python is closed.
%% After a cancel the last message is `{py_stream, Ref, {error, cancelled}}'.
%%
%% Those messages have no acknowledgement, so by default nothing but the length of its mailbox says
%% whether the owner keeps up: while that is longer than 1000, a hundred items are sent each second.
%% With `credit => N' the process sends N items and then waits for {@link credit/2}.
%% @end
-module(py_streams).

-export([collect/1, collect_eval/1, start/2, cancel/1, credit/2]).
-export_type([options/0]).

-type options() :: #{
    owner => pid(),
    kwargs => map(),
    %% items that may be sent before the next py:stream_credit/2
    credit => pos_integer() | infinity
}.
-record(state, {
    %% where the messages go, and a monitor of it
    owner :: pid(),
    down :: reference(),
    %% an alias of this process, known as the stream
    ref :: reference(),
    stream :: py_port:stream(),
    credit :: non_neg_integer() | infinity,
    %% what is here and not sent; while it is not empty, no more is asked for
    items = [] :: [term()],
    %% a batch was asked for and has not come
    asked = false :: boolean(),
    sent = 0 :: non_neg_integer(),
    %% the last message, when it is known
    ended = no :: no | done | {error, py_errors:reason()}
}).

-define(LONG_QUEUE, 1000).
%% Asking for the length of a mailbox interrupts its process.
-define(LOOK_EVERY, 100).
-define(PACE, 1000).

%% @doc All of it. There is no deadline.
-spec collect(py_forms:call()) -> {ok, [term()]} | {error, py_errors:reason()}.
collect(Call) ->
    py_errors:result(
        case open(Call) of
            {ok, Stream} -> py_port:to_list(Stream);
            {error, _} = Error -> Error
        end
    ).

%% @doc The items of what the code evaluates to: any iterable, also an asynchronous one.
-spec collect_eval(py_forms:code()) -> {ok, [term()]} | {error, py_errors:reason()}.
collect_eval(Code) ->
    case py_call:eval(Code, #{return => ref}) of
        {ok, Ref} ->
            Collected =
                case py_port:stream(py_refs:context(Ref), operator, getitem, [[Ref], 0]) of
                    {ok, Stream} -> py_port:to_list(Stream);
                    {error, _} = Error -> Error
                end,
            ok = py_refs:release(Ref),
            py_errors:result(Collected);
        {error, _} = Error ->
            Error
    end.

-spec open(py_forms:call()) -> {ok, py_port:stream()} | {error, term()}.
open({_, M, F, Args, Kwargs} = Call) ->
    case py_call:prepared(Call, #{}) of
        {ok, Ctx, Options} -> py_port:stream(Ctx, M, F, Args, Options#{kwargs => Kwargs});
        {error, _} = Error -> Error
    end.

%% @doc Returns when Python has made the producer.
-spec start(py_forms:call(), options()) -> {ok, reference()} | {error, py_errors:reason()}.
start(Call, Options) when is_map(Options) ->
    case maps:keys(maps:without([kwargs, owner, credit], Options)) of
        [] ->
            with_options(Call, Options);
        [Key | _] ->
            Why = io_lib:format("there is no option ~tp", [Key]),
            {error, {bad_argument, options, py_port_error:text(Why)}}
    end;
start(_, _) ->
    {error, {bad_argument, options, <<"must be a map">>}}.

-spec with_options(py_forms:call(), options()) -> {ok, reference()} | {error, py_errors:reason()}.
with_options({Target, M, F, Args, _}, Options) ->
    Kwargs = maps:get(kwargs, Options, #{}),
    Owner = maps:get(owner, Options, self()),
    Credit = maps:get(credit, Options, infinity),
    case {is_pid(Owner), Credit =:= infinity orelse (is_integer(Credit) andalso Credit > 0)} of
        {true, true} -> start({Target, M, F, Args, Kwargs}, Owner, Credit);
        {false, _} -> {error, {bad_argument, owner, <<"must be a pid">>}};
        {_, false} -> {error, {bad_argument, credit, <<"must be a positive number or infinity">>}}
    end.

-spec start(py_forms:call(), pid(), pos_integer() | infinity) ->
    {ok, reference()} | {error, py_errors:reason()}.
start({_, M, F, Args, Kwargs} = Call, Owner, Credit) ->
    case py_call:prepared(Call, #{}) of
        {ok, Ctx, Options} ->
            Open = fun() -> py_port:stream(Ctx, M, F, Args, Options#{kwargs => Kwargs}) end,
            {Pid, Monitor} = spawn_monitor(fun() -> init(Open, Owner, Credit) end),
            Pid ! {begin_for, self(), Monitor},
            receive
                {Monitor, Answer} ->
                    true = erlang:demonitor(Monitor, [flush]),
                    py_errors:result(Answer);
                {'DOWN', Monitor, process, Pid, Reason} ->
                    {error, {context_died, Reason}}
            end;
        {error, _} = Error ->
            py_errors:result(Error)
    end.

%% @doc Any process may; for a stream that has ended it means nothing.
-spec cancel(term()) -> ok | {error, py_errors:reason()}.
cancel(Ref) ->
    tell(Ref, cancel).

%% @doc So many more items may be sent.
-spec credit(term(), term()) -> ok | {error, py_errors:reason()}.
credit(Ref, N) when is_integer(N), N > 0 ->
    tell(Ref, {credit, N});
credit(_, _) ->
    {error, {bad_argument, credit, <<"must be a positive number">>}}.

-spec tell(term(), term()) -> ok | {error, py_errors:reason()}.
tell(Ref, What) when is_reference(Ref) ->
    Ref ! {Ref, What},
    ok;
tell(_, _) ->
    {error, {bad_argument, ref, <<"is not what stream_start returned">>}}.

%% The process -------------------------------------------------------------------------------------

-spec init(fun(() -> {ok, py_port:stream()} | {error, term()}), pid(), Credit) -> ok when
    Credit :: pos_integer() | infinity.
init(Open, Owner, Credit) ->
    receive
        {begin_for, Starter, Monitor} ->
            case Open() of
                {ok, Stream} ->
                    Ref = erlang:alias(),
                    _ = erlang:monitor(process, py_port_flow_sup),
                    Starter ! {Monitor, {ok, Ref}},
                    loop(#state{
                        owner = Owner,
                        down = erlang:monitor(process, Owner),
                        ref = Ref,
                        stream = Stream,
                        credit = Credit
                    });
                {error, _} = Error ->
                    Starter ! {Monitor, Error},
                    ok
            end
    end.

%% All that it waits for comes as messages, so nothing of it has to wait for another.
-spec loop(#state{}) -> ok.
loop(#state{items = [], ended = no, asked = false, stream = Stream} = State) ->
    ok = py_port:active(Stream, 1),
    loop(State#state{asked = true});
loop(#state{items = [], ended = no} = State) ->
    wait(infinity, State);
loop(#state{items = [], ended = Last} = State) ->
    send(Last, State);
loop(#state{credit = 0} = State) ->
    wait(infinity, State);
loop(#state{items = [Item | Items], credit = Credit, sent = Sent} = State) ->
    ok = send({data, Item}, State),
    wait(pace(State), State#state{items = Items, credit = minus_one(Credit), sent = Sent + 1}).

-spec wait(timeout(), #state{}) -> ok.
wait(Timeout, #state{ref = Ref, down = Down, stream = Stream, credit = Credit} = State) ->
    receive
        {py_port_stream, Stream, {data, Items}} ->
            loop(State#state{items = State#state.items ++ Items});
        {py_port_stream, Stream, passive} ->
            loop(State#state{asked = false});
        {py_port_stream, Stream, done} ->
            loop(State#state{ended = done});
        {py_port_stream, Stream, {error, _} = Error} ->
            loop(State#state{ended = py_errors:result(Error)});
        {Ref, {credit, N}} ->
            loop(State#state{credit = plus(Credit, N)});
        {Ref, cancel} ->
            ok = py_port:close(Stream),
            send({error, cancelled}, State);
        {'DOWN', Down, process, _, _} ->
            py_port:close(Stream);
        %% Of what all streams hang below.
        {'DOWN', _, process, _, Reason} ->
            send({error, {context_died, py_port_call:down(Reason)}}, State)
    after Timeout ->
        loop(State)
    end.

-spec send(term(), #state{}) -> ok.
send(What, #state{owner = Owner, ref = Ref}) ->
    Owner ! {py_stream, Ref, What},
    ok.

%% Never stops: what fills the mailbox may be something else, which nobody takes out.
-spec pace(#state{}) -> timeout().
pace(#state{credit = infinity, sent = Sent, owner = Owner}) when
    Sent rem ?LOOK_EVERY =:= 0, node(Owner) =:= node()
->
    case process_info(Owner, message_queue_len) of
        {message_queue_len, N} when N > ?LONG_QUEUE -> ?PACE;
        _ -> 0
    end;
pace(_) ->
    0.

-spec minus_one(pos_integer() | infinity) -> non_neg_integer() | infinity.
minus_one(infinity) -> infinity;
minus_one(N) -> N - 1.

-spec plus(non_neg_integer() | infinity, pos_integer()) -> non_neg_integer() | infinity.
plus(infinity, _) -> infinity;
plus(Credit, N) -> Credit + N.
