%% @doc References to objects that stay in Python, for {@link py}: each knows its context.
%%
%% One is made by a call with the option `return => ref', lives as long as the process that got it,
%% and is refused in any other context and after a restart of its own.
%% @end
-module(py_refs).

-export([is_ref/1, context/1, call_method/4, getattr/2, to_term/1, release/1]).

-type result() :: {ok, term()} | {error, py_errors:reason()}.

%% @doc Whether it is one. It may be of an object that is gone.
-spec is_ref(term()) -> boolean().
is_ref({'$py_ref', Owner, Incarnation, Handle}) when
    is_pid(Owner), is_integer(Incarnation), is_integer(Handle)
->
    true;
is_ref(_) ->
    false.

%% @doc Of what {@link is_ref/1} says true for.
-spec context(py_port_call:ref()) -> pid().
context({'$py_ref', Owner, _, _}) -> Owner.

-spec call_method(term(), term(), term(), term()) -> result().
call_method(Ref, Method, Args, Kwargs) ->
    on(Ref, fun(Ctx) -> py_port_call:call_method(Ctx, Ref, Method, Args, Kwargs, #{}) end).

-spec getattr(term(), term()) -> result().
getattr(Ref, Name) ->
    on(Ref, fun(Ctx) -> py_port_call:getattr(Ctx, Ref, Name, #{}) end).

-spec to_term(term()) -> result().
to_term(Ref) ->
    on(Ref, fun(_) -> py_port_call:to_term(Ref, #{}) end).

%% @doc Lets the object go.
-spec release(term()) -> ok | {error, py_errors:reason()}.
release(Ref) ->
    on(Ref, fun(_) -> py_port_call:release(Ref) end).

-spec on(term(), fun((pid()) -> Result)) -> Result | {error, py_errors:reason()}.
on(Ref, Do) ->
    case is_ref(Ref) of
        true -> py_errors:result(Do(context(Ref)));
        false -> {error, invalid_ref}
    end.
