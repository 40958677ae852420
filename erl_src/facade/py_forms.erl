%% @doc What the arguments of {@link py}'s functions are: the same arity has several forms.
%%
%% Pure. What can only be a context or a pool is recognised (see {@link py_target:kind/1}). For the
%% rest:
%% <ul>
%% <li>four arguments are `(Pool, Module, Function, Args)' if the first and the third are atoms, or
%% if the first is an atom, the third text and the fourth a list; else `(Module, Function, Args,
%% Kwargs)';</li>
%% <li>five are `(Pool, Module, Function, Args, Kwargs)' if the fourth is no map and the fifth is
%% one; else `(Module, Function, Args, Kwargs, Timeout or Options)';</li>
%% <li>code is never an atom, so an atom before it is a pool;</li>
%% <li>what follows code is its local names if it is a map, else a timeout.</li>
%% </ul>
%% Nothing is refused here: what is wrong is found where it is used.
%% @end
-module(py_forms).

-export([four/4, five/5, five_kwargs/5, code/1, code/2, code/3, code/4, item/1]).
-export_type([call/0, code/0]).

-type call() ::
    {py_target:target(), Module :: term(), Function :: term(), Args :: term(), Kwargs :: term()}.
-type code() :: {py_target:target(), Code :: term(), Locals :: term(), Options :: term()}.

-spec four(term(), term(), term(), term()) -> call().
four(A, B, C, D) ->
    case py_target:kind(A) of
        context -> {{context, A}, B, C, D, #{}};
        pool -> {{pool, A}, B, C, D, #{}};
        name when is_atom(C) -> {{pool, A}, B, C, D, #{}};
        name when is_list(D), is_binary(C) -> {{pool, A}, B, C, D, #{}};
        name when is_list(D), is_list(C), C =/= [] -> {{pool, A}, B, C, D, #{}};
        _ -> {router, A, B, C, D}
    end.

%% @doc The call and its options.
-spec five(term(), term(), term(), term(), term()) -> {call(), Options :: term()}.
five(A, B, C, D, E) ->
    case py_target:kind(A) of
        context -> options({{context, A}, B, C, D, #{}}, E);
        pool -> {{{pool, A}, B, C, D, E}, #{}};
        name when is_map(E), not is_map(D) -> {{{pool, A}, B, C, D, E}, #{}};
        _ -> {{router, A, B, C, D}, timeout_or_options(E)}
    end.

%% The keyword arguments are among the options there.
-spec options(call(), term()) -> {call(), Options :: term()}.
options({Target, M, F, Args, _}, #{kwargs := Kwargs} = Options) ->
    {{Target, M, F, Args, Kwargs}, maps:remove(kwargs, Options)};
options(Call, Options) ->
    {Call, Options}.

-spec timeout_or_options(term()) -> term().
timeout_or_options(Options) when is_map(Options) -> Options;
timeout_or_options(Timeout) -> #{timeout => Timeout}.

%% @doc For functions whose fifth argument is always `Kwargs'.
-spec five_kwargs(term(), term(), term(), term(), term()) -> call().
five_kwargs(A, B, C, D, E) ->
    case py_target:kind(A) of
        context -> {{context, A}, B, C, D, E};
        _ -> {{pool, A}, B, C, D, E}
    end.

-spec code(term()) -> code().
code(Code) ->
    {router, Code, #{}, #{}}.

-spec code(term(), term()) -> code().
code(A, B) ->
    case target(A) of
        none -> with(router, A, B);
        Target -> {Target, B, #{}, #{}}
    end.

-spec code(term(), term(), term()) -> code().
code(A, B, C) ->
    case target(A) of
        none -> {router, A, B, timeout_or_options(C)};
        Target -> with(Target, B, C)
    end.

-spec code(term(), term(), term(), term()) -> code().
code(A, Code, Locals, E) ->
    case target(A) of
        none -> {{pool, A}, Code, Locals, timeout_or_options(E)};
        Target -> {Target, Code, Locals, timeout_or_options(E)}
    end.

-spec target(term()) -> py_target:target() | none.
target(A) ->
    case py_target:kind(A) of
        context -> {context, A};
        neither -> none;
        _ -> {pool, A}
    end.

-spec with(py_target:target(), term(), term()) -> code().
with(Target, Code, Timeout) when is_integer(Timeout); Timeout =:= infinity ->
    {Target, Code, #{}, #{timeout => Timeout}};
with(Target, Code, Locals) ->
    {Target, Code, Locals, #{}}.

%% @doc One of the calls that are given as a list.
-spec item(term()) -> {ok, call()} | error.
item({Module, Function, Args}) -> {ok, {router, Module, Function, Args, #{}}};
item({Module, Function, Args, Kwargs}) -> {ok, {router, Module, Function, Args, Kwargs}};
item(_) -> error.
