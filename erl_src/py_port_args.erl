%% @doc Arguments and options of requests: what they must be, and what is said when they are not.
%% Runs in the calling process; {@link py_port_call:guarded/1} makes `{error, Reason}' of what is
%% thrown here.
%% @end
-module(py_port_args).

-include("py_port.hrl").
-include("py_port_wire.hrl").

-export([how/2, name/2, args/1, kwargs/1, names_as_binaries/1, text/2, timeout/1, bad/2]).

%% @doc `Default': the timeout of a request without one, or the context that says it, whose the
%% namespace must be then.
-spec how(term(), #ctx{} | timeout()) -> #how{}.
how(Opts, #ctx{call_timeout = Timeout} = C) ->
    How = how(Opts, Timeout),
    ok = py_port_call:own_env(How, C),
    How;
how(Opts, Default) when Opts =:= #{} ->
    #how{timeout = Default};
how(Opts, Default) when is_map(Opts) ->
    maps:fold(fun how/3, #how{timeout = Default}, Opts);
how(_, _) ->
    bad(options, "must be a map").

-spec how(term(), term(), #how{}) -> #how{}.
how(timeout, Timeout, How) ->
    How#how{timeout = timeout(Timeout)};
how(return, term, How) ->
    How;
how(return, ref, How) ->
    How#how{flags = ?F_RETURN_REF, kind = {ref, self()}};
how(return, {ref, Holder}, How) when is_pid(Holder) ->
    How#how{flags = ?F_RETURN_REF, kind = {ref, Holder}};
how(return, _, _) ->
    bad(return, "must be term or ref");
how(trace, Trace, How) when is_binary(Trace), byte_size(Trace) =< 8192 ->
    How#how{trace = Trace};
how(trace, _, _) ->
    bad(trace, "must be a binary: a W3C traceparent");
how(thread, InThread, How) when is_boolean(InThread) ->
    How#how{thread = InThread};
how(thread, _, _) ->
    bad(thread, "must be true or false");
how(env, {'$py_ref', Owner, Incarnation, Handle} = Env, How) when
    is_pid(Owner), is_integer(Incarnation), is_integer(Handle)
->
    How#how{env = Env};
how(env, {error, Reason}, _) ->
    %% of new_env/1: an error in place of a namespace is the outcome of the request
    py_port_call:fail(Reason);
how(env, _, _) ->
    bad(env, "is not what new_env returned");
how(Key, _, _) ->
    bad(options, io_lib:format("there is no option ~tp", [Key])).

-spec name(atom(), term()) -> atom() | binary().
name(_, Name) when is_atom(Name) -> Name;
name(_, Name) when is_binary(Name) -> Name;
name(Which, Name) when is_list(Name), Name =/= [] ->
    try unicode:characters_to_binary(Name) of
        Text when is_binary(Text) -> Text;
        _ -> bad(Which, "is not valid Unicode text")
    catch
        error:badarg -> bad(Which, "must be an atom, a binary or a string")
    end;
name(Which, _) ->
    bad(Which, "must be an atom, a binary or a string").

-spec args(term()) -> [term()].
args(Args) when length(Args) >= 0 -> Args;
args(_) -> bad(args, "must be a proper list").

-spec kwargs(term()) -> map().
kwargs(Kwargs) when Kwargs =:= #{} ->
    Kwargs;
kwargs(Kwargs) when is_map(Kwargs) ->
    case lists:any(fun is_list/1, maps:keys(Kwargs)) of
        true -> renamed(fun keyword/1, Kwargs);
        false -> Kwargs
    end;
kwargs(_) ->
    bad(kwargs, "must be a map").

%% A string need not be one of bytes.
-spec keyword(term()) -> term().
keyword(Key) when is_list(Key) -> name(kwargs, Key);
keyword(Key) -> Key.

%% @doc A call that Python finds by itself gets its names as values, and as such some atoms are no
%% names: `none', `true'.
-spec names_as_binaries({atom() | binary() | tuple(), atom() | binary(), [term()], map()}) ->
    [term()].
names_as_binaries({Where, Function, Args, Kwargs}) ->
    [as_binary(Where), as_binary(Function), Args, renamed(fun as_binary/1, Kwargs)].

-spec renamed(fun((term()) -> term()), map()) -> map().
renamed(Rename, Kwargs) ->
    Renamed = maps:from_list([{Rename(Key), Value} || {Key, Value} <- maps:to_list(Kwargs)]),
    map_size(Renamed) =:= map_size(Kwargs) orelse bad(kwargs, "has the same name twice"),
    Renamed.

-spec as_binary(term()) -> term().
as_binary(Name) when is_atom(Name) -> atom_to_binary(Name);
as_binary(Other) -> Other.

-spec text(atom(), term()) -> binary().
text(Which, Text) ->
    try unicode:characters_to_binary(Text) of
        Bin when is_binary(Bin) -> Bin;
        _ -> bad(Which, "is not valid Unicode text")
    catch
        error:badarg -> bad(Which, "must be text: a binary, a string or iodata")
    end.

-spec timeout(term()) -> timeout().
timeout(infinity) -> infinity;
timeout(Ms) when is_integer(Ms), Ms >= 0, Ms =< ?MAX_TIMEOUT -> Ms;
timeout(_) -> bad(timeout, "must be milliseconds or infinity").

-spec bad(atom(), unicode:chardata()) -> no_return().
bad(Which, Why) ->
    py_port_call:fail({bad_argument, Which, py_port_error:text(Why)}).
