%% @doc Reasons of {@link py_port} in the words that users of erlang_python match on.
%%
%% Pure but for two settings. A reason that is not of py_port is returned as it is, so translating
%% twice does no harm.
%%
%% <table>
%% <tr><th>py_port</th><th>here</th></tr>
%% <tr><td>`{python, #{type := <<"KeyError">>, message := <<"'k'">>}}'</td>
%%     <td>`{"KeyError", "'k'"}'; with `compat' at `'4.1'': `{'KeyError', "'k'"}'</td></tr>
%% <tr><td>the same, of `StopIteration'</td><td>`{stop_iteration, none}', or its value as
%%     text</td></tr>
%% <tr><td>the same, of `KeyboardInterrupt'</td><td>`{"KeyboardInterrupt", ""}'; at `'4.1''
%%     `interrupted'</td></tr>
%% <tr><td>`{bad_term, Path, Why}'</td><td>`{"TypeError", "Path: Why"}'; for a lone surrogate
%%     `UnicodeEncodeError', for what is nested too deep `RecursionError'</td></tr>
%% <tr><td>`{worker_down, Why}'</td><td>`{context_died, Why}'</td></tr>
%% <tr><td>`{bad_argument, args | kwargs | locals, _}'</td><td>`invalid_args'</td></tr>
%% <tr><td>`{bad_ref, _}'</td><td>`invalid_ref'</td></tr>
%% <tr><td>`{nesting_too_deep, Max}'</td><td>`{"RecursionError", Text}'</td></tr>
%% <tr><td>`timeout', `interrupted', `cancelled', `overloaded' (the queue of one context is full;
%%     `{overloaded, Current, Max}' is that of {@link py_semaphore}), everything else</td>
%%     <td>unchanged</td></tr>
%% </table>
%%
%% A message is a list of characters, one element for each (`"é"' is `[233]'), and not of the bytes
%% of its UTF-8 form as in erlang_python; of a long one the first 64 KiB, and then `...'. The class of
%% an exception becomes an atom only if that atom exists already; those of Python's own exceptions
%% always do.
%%
%% Nothing need be lost: with the application key `error_details' at `true', every reason that says
%% less than py_port's gets it as one more element: `{"KeyError", "'k'", Reason}', `{stop_iteration,
%% none, Reason}', `{invalid_args, Reason}', `{invalid_ref, Reason}'. {@link format/1} prints both
%% forms.
%% @end
-module(py_errors).

-export([result/1, reason/1, python/2, format/1]).
%% for the test, and so that the compiler keeps it
-export([own_exceptions/0]).
-export_type([reason/0, class/0]).

%% Of a Python exception, without its module. An atom with `compat' at `'4.1'' and if it exists.
-type class() :: string() | atom().
-type reason() ::
    {class(), Message :: string()}
    | {class(), Message :: string(), py_port_error:reason()}
    | {stop_iteration, none | string()}
    | {stop_iteration, none | string(), py_port_error:reason()}
    | {context_died, py_port_error:down()}
    | invalid_args
    | {invalid_args, py_port_error:reason()}
    | invalid_ref
    | {invalid_ref, py_port_error:reason()}
    | timeout
    | interrupted
    | {overloaded, Current :: non_neg_integer(), Max :: non_neg_integer()}
    | py_port_error:reason()
    | term().

%% Bytes of a class's name, and of a message.
-define(MAX_TYPE, 4096).
-define(MAX_MESSAGE, 65536).

%% @doc Translates the reason of an error; every other term is returned as it is.
-spec result(Result | {error, term()}) -> Result | {error, reason()}.
result({error, Reason}) -> {error, reason(Reason)};
result(Result) -> Result.

%% @doc Translates one reason.
-spec reason(term()) -> reason().
reason({python, #{type := <<"StopIteration">>, message := Message}} = Full) ->
    detailed({stop_iteration, stop_value(Message)}, Full);
reason({python, #{type := <<"KeyboardInterrupt">>, message := Message}} = Full) ->
    case py_settings:compat() of
        '2.0' -> detailed(python(<<"KeyboardInterrupt">>, Message), Full);
        '4.1' -> interrupted
    end;
reason({python, #{type := Type, message := Message}} = Full) ->
    detailed(python(own_name(Type), Message), Full);
reason({bad_request, <<"a keyword is no atom", _/binary>>} = Full) ->
    detailed(python(<<"TypeError">>, <<"keywords must be strings">>), Full);
reason({bad_term, Path, Why} = Full) when is_binary(Path), is_binary(Why) ->
    detailed(python(class_of(Why), <<Path/binary, ": ", Why/binary>>), Full);
reason({nesting_too_deep, _} = Full) ->
    detailed(python(<<"RecursionError">>, py_port_error:format(Full)), Full);
reason({worker_down, Why}) ->
    {context_died, Why};
reason({bad_argument, Which, _} = Full) when
    Which =:= args; Which =:= kwargs; Which =:= locals
->
    detailed(invalid_args, Full);
reason({bad_ref, _} = Full) ->
    detailed(invalid_ref, Full);
reason({bad_argument, ref, _} = Full) ->
    detailed(invalid_ref, Full);
reason(Reason) ->
    Reason.

%% @doc The reason for an exception of that class, for errors that are found on this side.
-spec python(Class :: binary(), Message :: binary()) -> {class(), string()}.
python(Class, Message) ->
    {class(py_settings:compat(), Class), characters(Message)}.

%% @doc A sentence for each of these reasons, with or without `{error, _}' around it, and for those
%% of py_port.
-spec format(term()) -> binary().
format({error, Reason}) -> format(Reason);
format({stop_iteration, none}) -> <<"StopIteration">>;
format({stop_iteration, Value}) when is_list(Value) -> text("StopIteration: ~ts", [Value]);
format({context_died, Why}) -> py_port_error:format({worker_down, Why});
format(invalid_args) -> <<"the arguments are not a list, or the keyword arguments not a map">>;
format(invalid_ref) -> <<"this is not a reference to an object of this context">>;
format({invalid_args, Full}) -> py_port_error:format(Full);
format({invalid_ref, Full}) -> py_port_error:format(Full);
format({overloaded, Current, Max}) -> text("~tp calls run, and ~tp may", [Current, Max]);
format({no_such_pool, Pool}) -> text("there is no pool ~tp", [Pool]);
format({python, _} = Full) -> py_port_error:format(Full);
format({Class, Message}) when is_list(Message), (is_list(Class) orelse is_atom(Class)) ->
    try
        text("~ts: ~ts", [Class, Message])
    catch
        error:badarg -> py_port_error:format({Class, Message})
    end;
format({_, _, {python, _} = Full}) -> py_port_error:format(Full);
format({_, _, {bad_term, _, _} = Full}) -> py_port_error:format(Full);
format(Reason) -> py_port_error:format(Reason).

%% -------------------------------------------------------------------------------------------------

-spec detailed(Reason, py_port_error:reason()) -> Reason | tuple() when Reason :: atom() | tuple().
detailed(Reason, Full) ->
    case py_settings:get(error_details, false) of
        true when is_atom(Reason) -> {Reason, Full};
        true -> erlang:append_element(Reason, Full);
        _ -> Reason
    end.

-spec stop_value(binary()) -> none | string().
stop_value(<<>>) -> none;
stop_value(Message) -> characters(Message).

%% Of a class within another one, or within a function, the last part of its qualified name.
-spec own_name(binary()) -> binary().
own_name(Type) ->
    Size = min(byte_size(Type), ?MAX_TYPE),
    lists:last(binary:split(binary:part(Type, byte_size(Type), -Size), <<".">>, [global])).

%% What Python itself would raise for what the worker says of a value.
-spec class_of(binary()) -> binary().
class_of(Why) ->
    case binary:match(Why, [<<"surrogate">>, <<"nested deeper">>]) of
        nomatch -> <<"TypeError">>;
        {_, 9} -> <<"UnicodeEncodeError">>;
        _ -> <<"RecursionError">>
    end.

-spec class(py_settings:compat(), binary()) -> class().
class('2.0', Type) ->
    characters(Type);
class('4.1', Type) ->
    _ = own_exceptions(),
    try
        binary_to_existing_atom(Type)
    catch
        error:_ -> characters(Type)
    end.

%% From a worker: it need not be valid, and is returned all the same.
-spec characters(binary()) -> string().
characters(Text) ->
    valid(start(Text)).

%% It may be as long as a frame, and a list of its characters takes many times as much.
-spec start(binary()) -> binary().
start(Text) when byte_size(Text) =< ?MAX_MESSAGE ->
    Text;
start(Text) ->
    Start = binary:part(Text, 0, ?MAX_MESSAGE),
    case unicode:characters_to_binary(Start) of
        {incomplete, Whole, _} -> <<Whole/binary, "...">>;
        _ -> <<Start/binary, "...">>
    end.

-spec valid(binary()) -> string().
valid(Text) ->
    case unicode:characters_to_list(Text) of
        Chars when is_list(Chars) -> Chars;
        {_, Good, <<_, Rest/binary>>} -> Good ++ [16#fffd | valid(Rest)]
    end.

-spec text(io:format(), [term()]) -> binary().
text(Format, Args) ->
    py_port_error:text(io_lib:format(Format, Args)).

%% @private
%% Python's own, so that each of them is an atom as soon as this module is loaded, whatever else is.
-spec own_exceptions() -> [atom()].
own_exceptions() ->
    [
        'ArithmeticError', 'AssertionError', 'AttributeError', 'BaseException',
        'BaseExceptionGroup', 'BlockingIOError', 'BrokenPipeError', 'BufferError',
        'CancelledError', 'ChildProcessError',
        'ConnectionAbortedError', 'ConnectionError', 'ConnectionRefusedError',
        'ConnectionResetError', 'EOFError', 'Exception', 'ExceptionGroup', 'FileExistsError',
        'FileNotFoundError', 'FloatingPointError', 'GeneratorExit', 'ImportError',
        'IndentationError', 'IndexError', 'InterruptedError', 'InvalidStateError',
        'IsADirectoryError', 'JSONDecodeError', 'KeyError', 'KeyboardInterrupt', 'LookupError',
        'MemoryError', 'ModuleNotFoundError', 'NameError', 'NotADirectoryError',
        'NotImplementedError', 'OSError', 'OverflowError', 'PermissionError', 'ProcessLookupError',
        'RecursionError', 'ReferenceError', 'RuntimeError', 'StopAsyncIteration', 'StopIteration',
        'SyntaxError', 'SystemError', 'SystemExit', 'TabError', 'TimeoutError', 'TypeError',
        'UnboundLocalError', 'UnicodeDecodeError', 'UnicodeEncodeError', 'UnicodeError',
        'UnicodeTranslateError', 'UnpicklingError', 'ValueError', 'ZeroDivisionError', 'error'
    ].
