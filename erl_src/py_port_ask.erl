%% @doc A question to a process that answers when it can, for clients whose time may be up first.
%%
%% Promise: who gives up knows what happened. A client whose time is up says so and waits for the
%% word of the process: either the answer had come first, or nothing was done and nothing will be.
%% The process must never block, so this second wait is short.
%%
%% The process gets `{request, Ref, Client, Request}' and later perhaps `{leave, Ref}'. It answers
%% each request once, with {@link answer/2}: also one that left while it waited, with `left'.
%% @end
-module(py_port_ask).

-export([ask/3, ask_ref/3, answer/2]).

%% @doc `left': the time was up. `gone': there is no such process, or it ended.
-spec ask(pid(), term(), timeout()) -> term().
ask(Pid, Request, Timeout) ->
    {Answer, _} = ask_ref(Pid, Request, Timeout),
    Answer.

%% @doc Also what the process knows this request by.
-spec ask_ref(pid(), term(), timeout()) -> {term(), reference()}.
ask_ref(Pid, Request, Timeout) ->
    Ref = erlang:monitor(process, Pid, [{alias, demonitor}]),
    Pid ! {request, Ref, self(), Request},
    Answer =
        receive
            {Ref, First} -> First;
            {'DOWN', Ref, process, _, _} -> gone
        after Timeout ->
            Pid ! {leave, Ref},
            receive
                {Ref, Last} -> Last;
                {'DOWN', Ref, process, _, _} -> gone
            end
        end,
    true = erlang:demonitor(Ref, [flush]),
    {Answer, Ref}.

-spec answer(reference(), term()) -> ok.
answer(Ref, Answer) ->
    Ref ! {Ref, Answer},
    ok.
