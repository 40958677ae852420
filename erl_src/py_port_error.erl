%% @doc The error vocabulary: every reason that {@link py_port} returns, and a sentence for each.
%%
%% Pure. `format/1' never fails: a term that is not in the vocabulary is printed as it is, but for
%% what would make its text very long: it may be a worker's.
%% @end
-module(py_port_error).

-export([format/1, bad_option/3, text/1, bounded_text/3, harmless/2, stack/2, worker_error/1]).
-export_type([reason/0, python_error/0, frame/0, down/0, start_failure/0, post_mortem/0]).

-type frame() :: #{
    file := binary(), line := non_neg_integer() | none, function := binary(), source := binary()
}.
-type python_error() :: #{
    type := binary(),
    module := binary(),
    message := binary(),
    traceback := [frame()],
    cause := python_error() | none,
    context := python_error() | none,
    notes := [binary()],
    formatted := binary()
}.
-type post_mortem() :: #{
    %% whether the launcher's report could be read; without it the figures below are 0 and the texts
    %% empty
    report := complete | missing,
    rusage := #{
        user_ms := non_neg_integer(),
        system_ms := non_neg_integer(),
        max_rss_kb := non_neg_integer()
    },
    in_flight := #{count := non_neg_integer(), calls := [term()]},
    %% the last lines, oldest first
    stderr := [binary()],
    %% the Python stacks at a fatal signal or at the kill; empty when there was nothing to write
    stack := binary(),
    %% processes of the worker that were still there and were killed
    descendants := non_neg_integer(),
    core_dumped := boolean(),
    %% why we ended the worker; none: it ended by itself
    stopped_by := none | timeout | caller_down | cancelled | protocol_error | start_failed | stop
}.
-type start_failure() :: #{
    what := atom(),
    message := binary(),
    %% the reason in the worker's own words, `none' if it had none
    error := term(),
    stderr := [binary()],
    stack := binary()
}.
-type down() ::
    {worker_exited, 0..255 | unknown, post_mortem()}
    | {worker_killed, atom() | pos_integer(), post_mortem()}
    | {protocol_error, term(), post_mortem()}
    | {start_failed, start_failure()}
    | {node_down, node()}
    | noproc
    | stopped
    | term().
-type reason() ::
    {python, python_error()}
    | timeout
    | interrupted
    | cancelled
    | closed
    | busy
    | empty
    | overloaded
    | not_running
    | not_started
    | {worker_down, down()}
    | {bad_reply, term()}
    | {bad_term, binary(), term()}
    | {bad_ref, term()}
    | {bad_request, term()}
    | {nesting_too_deep, pos_integer()}
    | {bad_argument, atom(), binary()}
    | {bad_option, term(), binary()}
    | {too_large, non_neg_integer(), non_neg_integer()}
    | {start_failed, start_failure()}.

%% Of a term in a sentence: how deep it is shown, how many characters it may have, and the first
%% integer that is only described.
-define(TERM_DEPTH, 30).
-define(TERM_CHARS, 4096).
-define(HUGE, (1 bsl 4096)).

%% @doc Makes a `bad_option' whose reason is a sentence.
-spec bad_option(term(), io:format(), [term()]) -> {bad_option, term(), binary()}.
bad_option(Key, Format, Args) ->
    {bad_option, Key, text(io_lib:format(Format, Args))}.

-spec text(unicode:chardata()) -> binary().
text(Chars) ->
    case unicode:characters_to_binary(Chars) of
        Text when is_binary(Text) -> Text;
        {_, Good, _} -> <<Good/binary, "...">>
    end.

%% @doc A term of any size as text that is not much longer than `Chars'.
-spec bounded_text(term(), pos_integer(), pos_integer()) -> binary().
bounded_text(Term, Depth, Chars) ->
    text(io_lib:format("~0tP", [trimmed(Term, Depth), Depth], [{chars_limit, Chars}])).

%% The same, as far as it goes in one piece: strings are not cut at the depth.
-spec term(term()) -> unicode:chardata().
term(Term) ->
    io_lib:format("~0tp", [trimmed(Term, ?TERM_DEPTH)], [{chars_limit, ?TERM_CHARS}]).

%% What a limit of characters does not spare us: the digits of an integer, whose time is the square
%% of their number, and what lies deep.
-spec trimmed(term(), non_neg_integer()) -> term().
trimmed(N, _) when is_integer(N), N > -?HUGE, N < ?HUGE -> N;
trimmed(N, _) when is_integer(N) -> {integer_of_bytes, erlang:external_size(N)};
trimmed([_ | _], 0) -> '...';
trimmed(T, 0) when tuple_size(T) > 0; map_size(T) > 0 -> '...';
trimmed([_ | _] = List, Depth) -> trimmed_list(List, ?TERM_CHARS, Depth - 1);
trimmed(T, Depth) when is_tuple(T), Depth > 0 ->
    list_to_tuple(trimmed_list(tuple_to_list(T), ?TERM_CHARS, Depth - 1));
trimmed(M, Depth) when is_map(M), Depth > 0 ->
    maps:from_list(trimmed_pairs(maps:next(maps:iterator(M)), ?TERM_CHARS, Depth - 1));
trimmed(T, _) -> T.

%% More elements than there will be characters.
-spec trimmed_list(term(), non_neg_integer(), non_neg_integer()) -> term().
trimmed_list([_ | _], 0, _) -> [];
trimmed_list([H | T], Max, Depth) -> [trimmed(H, Depth) | trimmed_list(T, Max - 1, Depth)];
trimmed_list(T, _, Depth) -> trimmed(T, Depth).

-spec trimmed_pairs(Next, non_neg_integer(), non_neg_integer()) -> [{term(), term()}] when
    Next :: none | {term(), term(), maps:iterator()}.
trimmed_pairs({K, V, I}, Max, Depth) when Max > 0 ->
    [{trimmed(K, Depth), trimmed(V, Depth)} | trimmed_pairs(maps:next(I), Max - 1, Depth)];
trimmed_pairs(_, _, _) -> [].

%% @doc A worker's text as it may go into a log: without the control characters that a terminal
%% obeys. Tabs stay, and in a record, which has several lines, their ends. For valid UTF-8.
-spec harmless(binary(), line | record) -> binary().
harmless(Text, line) ->
    binary:replace(harmless(Text, record), <<"\n">>, escaped($\n), [global]);
harmless(Text, record) ->
    case is_harmless(Text) of
        true -> Text;
        false -> <<<<(harmless(C))/binary>> || <<C/utf8>> <= Text>>
    end.

%% The controls are those of ASCII, and two bytes from C2 80 to C2 9F.
-spec is_harmless(binary()) -> boolean().
is_harmless(<<C, Rest/binary>>) when C >= 32, C =/= 127, C =/= 16#c2 -> is_harmless(Rest);
is_harmless(<<C, Rest/binary>>) when C =:= $\t; C =:= $\n -> is_harmless(Rest);
is_harmless(<<16#c2, C, Rest/binary>>) when C >= 16#a0 -> is_harmless(Rest);
is_harmless(Rest) -> Rest =:= <<>>.

-spec harmless(char()) -> binary().
harmless(C) when C < 32, C =/= $\t, C =/= $\n; C >= 127, C < 160 -> escaped(C);
harmless(C) -> <<C/utf8>>.

-spec escaped(byte()) -> binary().
escaped(C) ->
    iolist_to_binary(io_lib:format("\\x~2.16.0b", [C])).

%% @doc A stack trace, a line for each of the first `Max' functions. Arguments are left out: they may
%% be of any size, and secret.
-spec stack(erlang:stacktrace(), pos_integer()) -> binary().
stack(Stack, Max) ->
    text([stack_line(Frame) || Frame <- lists:sublist(Stack, Max)]).

-spec stack_line(term()) -> unicode:chardata().
stack_line({M, F, Args, Where}) when is_list(Args) ->
    stack_line({M, F, length(Args), Where});
stack_line({M, F, Arity, Where}) ->
    Line = proplists:get_value(line, Where, 0),
    case proplists:get_value(file, Where) of
        undefined -> io_lib:format("~tw:~tw/~b~n", [M, F, Arity]);
        File -> io_lib:format("~tw:~tw/~b (~ts, line ~b)~n", [M, F, Arity, File, Line])
    end;
stack_line({Fun, Arity, Where}) when is_function(Fun) ->
    {module, M} = erlang:fun_info(Fun, module),
    stack_line({M, 'fun', Arity, Where});
stack_line(Other) ->
    [bounded_text(Other, 10, 200), $\n].

%% @doc The reason that a worker's ERROR frame stands for, if it is one of docs/protocol.md, section
%% 6.
-spec worker_error(term()) ->
    interrupted
    | {python, map()}
    | {bad_term, binary(), term()}
    | {bad_ref, term()}
    | {bad_request, term()}
    | {nesting_too_deep, pos_integer()}
    | {bad_reply, {unknown_error, term()}}.
worker_error({python, #{type := T, message := M, formatted := F}} = E) when
    is_binary(T), is_binary(M), is_binary(F)
->
    E;
worker_error({bad_term, Path, Why} = E) when is_binary(Path), is_binary(Why) -> E;
worker_error({bad_ref, Why} = E) when is_binary(Why) -> E;
worker_error({bad_request, Why} = E) when is_binary(Why) -> E;
worker_error({nesting_too_deep, Max} = E) when is_integer(Max), Max > 0 -> E;
worker_error(interrupted) -> interrupted;
worker_error(Other) -> {bad_reply, {unknown_error, Other}}.

%% @doc What Python would print for a Python exception, and a sentence for every other reason. Takes
%% the reason with or without `{error, _}' around it.
-spec format(term()) -> binary().
format({error, Reason}) ->
    format(Reason);
format(Reason) ->
    try
        sentence(Reason)
    catch
        %% Of a shape that only somebody else can have made.
        error:_ -> text(term(Reason))
    end.

-spec sentence(term()) -> binary().
sentence({python, #{formatted := Text}}) when is_binary(Text), Text =/= <<>> -> Text;
sentence({python, #{type := Type, message := Message}}) when is_binary(Type), is_binary(Message) ->
    say("~ts: ~ts", [Type, Message]);
sentence(timeout) -> <<"the call did not finish in time and was stopped">>;
sentence(interrupted) -> <<"the call was interrupted">>;
sentence(cancelled) -> <<"the call was cancelled">>;
sentence(closed) -> <<"the stream or channel is closed">>;
sentence(busy) -> <<"the stream or channel is full">>;
sentence(empty) -> <<"there is no message in the channel">>;
sentence(overloaded) -> <<"the context has as many unanswered requests as max_pending or max_pending_bytes allow">>;
sentence(not_started) -> <<"the application py_port is not running; start it with application:ensure_all_started(py_port)">>;
sentence(not_running) -> <<"nothing was running that could be interrupted">>;
sentence({already_started, Pid}) -> say("a context of that name runs already, as ~p", [Pid]);
sentence({bad_option, options, Why}) -> say("bad options: ~ts", [why(Why)]);
sentence({bad_option, Key, Why}) -> say("bad option ~ts: ~ts", [term(Key), why(Why)]);
sentence({bad_argument, Which, Why}) -> say("bad argument ~ts: ~ts", [term(Which), why(Why)]);
sentence({bad_term, Path, Why}) -> say("~ts cannot cross the border: ~ts", [why(Path), why(Why)]);
sentence({bad_ref, Why}) -> say("the object reference is not valid: ~ts", [why(Why)]);
sentence({bad_request, Why}) -> say("the worker did not understand the request: ~ts", [why(Why)]);
sentence({bad_reply, Why}) -> say("the reply was refused: ~ts", [bad_reply(Why)]);
sentence({too_large, Bytes, Max}) ->
    say("the request has ~b bytes, and max_frame allows ~b", [Bytes, Max]);
sentence({nesting_too_deep, Max}) ->
    say("Erlang and Python called each other more than ~ts deep in one context", [term(Max)]);
sentence({start_failed, Failure}) -> start_failed(Failure);
sentence({worker_down, Reason}) -> down(Reason);
sentence({worker_exited, _, _} = Reason) -> down(Reason);
sentence({worker_killed, _, _} = Reason) -> down(Reason);
sentence({protocol_error, _, _} = Reason) -> down(Reason);
sentence(Other) -> text(term(Other)).

-spec bad_reply(term()) -> binary().
bad_reply(compressed) -> <<"it is a compressed term, which may be any size when unpacked">>;
bad_reply(malformed_or_unsafe) -> <<"it is not a term, or it holds an atom this node does not have">>;
bad_reply(trailing_bytes) -> <<"bytes follow its term">>;
bad_reply({unknown_fun, Fun}) -> say("it holds ~ts, which was never given to this context", [Fun]);
bad_reply({unknown_pid, Pid}) -> say("it holds ~ts, which this context was not given", [Pid]);
bad_reply(Other) -> text(term(Other)).

-spec start_failed(map()) -> binary().
start_failed(#{what := What, message := Message} = Failure) ->
    say("the worker did not start (~ts): ~ts~ts~ts", [
        What,
        Message,
        lines("\nlast lines of stderr:\n", maps:get(stderr, Failure, [])),
        block("\nwhere Python was:\n", maps:get(stack, Failure, <<>>))
    ]);
start_failed(Other) ->
    say("the worker did not start: ~ts", [term(Other)]).

-spec down(term()) -> binary().
down(noproc) ->
    <<"there is no such context">>;
down(stopped) ->
    <<"the context was stopped">>;
down({node_down, Node}) ->
    say("the node ~ts of the context cannot be reached", [Node]);
down({start_failed, _} = Reason) ->
    format(Reason);
down({worker_exited, Status, Pm}) ->
    say("the worker exited with status ~ts~ts", [term(Status), post_mortem(Pm)]);
down({worker_killed, Signal, Pm}) ->
    say("the worker was ended by ~ts~ts~ts", [signal(Signal), stopped_by(Pm), post_mortem(Pm)]);
down({protocol_error, What, Pm}) ->
    say("the worker broke the protocol (~ts) and was ended~ts", [term(What), post_mortem(Pm)]);
down(Other) ->
    say("the context went down: ~ts", [term(Other)]).

-spec signal(term()) -> unicode:chardata().
signal(Signal) when is_atom(Signal) -> string:uppercase(atom_to_list(Signal));
signal(Signal) -> ["signal ", term(Signal)].

-spec stopped_by(term()) -> unicode:chardata().
stopped_by(#{stopped_by := timeout}) -> " (a call passed its deadline and did not stop otherwise)";
stopped_by(#{stopped_by := caller_down}) -> " (a call whose caller had died did not stop otherwise)";
stopped_by(#{stopped_by := cancelled}) -> " (a call that was cancelled did not stop otherwise)";
stopped_by(#{stopped_by := stop}) -> " (the context was asked to stop and the worker did not)";
stopped_by(_) -> "".

-spec post_mortem(term()) -> unicode:chardata().
post_mortem(#{in_flight := #{count := N}, stderr := Stderr, stack := Stack, rusage := Usage}) ->
    #{user_ms := User, system_ms := System, max_rss_kb := Rss} = Usage,
    [
        io_lib:format("; ~b calls in flight, ~b ms CPU, ~b kB at most", [N, User + System, Rss]),
        lines("\nlast lines of stderr:\n", Stderr),
        block("\nwhere Python was:\n", Stack)
    ];
post_mortem(_) ->
    "".

-spec lines(string(), [binary()]) -> unicode:chardata().
lines(_, []) -> "";
lines(Title, Lines) -> [Title, lists:join("\n", [["  ", printable(L)] || L <- Lines])].

-spec block(string(), binary()) -> unicode:chardata().
block(_, <<>>) -> "";
block(Title, Text) -> [Title, printable(Text)].

-spec why(term()) -> unicode:chardata().
why(Text) when is_binary(Text) -> printable(Text);
why(Other) -> term(Other).

%% Output of a worker need not be UTF-8.
-spec printable(binary()) -> unicode:chardata().
printable(Text) ->
    case unicode:characters_to_list(Text) of
        Chars when is_list(Chars) -> Chars;
        _ -> io_lib:format("~p", [Text])
    end.

-spec say(io:format(), [term()]) -> binary().
say(Format, Args) ->
    text(io_lib:format(Format, Args)).
