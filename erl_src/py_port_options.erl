%% @doc The options of a context: each one checked by itself, defaults for the rest.
%%
%% Pure. `validate/1' answers with a complete map (every key present, texts as binaries) or with the
%% first option that is wrong and a sentence that says what it must be. docs/protocol.md, section 4,
%% is what becomes of it on the wire.
%% @end
-module(py_port_options).

-export([validate/1, defaults/0, config/3]).
-export_type([options/0, name/0, io_target/0, functions/0, send_to/0]).

-include("py_port.hrl").

-type name() :: atom() | {local, atom()} | {global, term()} | {via, module(), term()}.
-type io_target() :: logger | null | pid() | {group_leader, pid() | atom()}.
%% What Python may call, by the name it uses. `registered': what is registered under that name when
%% it is called.
-type functions() :: all | #{binary() => registered | py_port_callbacks:target() | exact()}.
-type exact() :: {exact, module(), atom(), [arity()]}.
%% Whom Python may send to.
-type send_to() :: any | #{given := boolean(), names := [atom()]}.
%% Every key of {@link defaults/0}, validated.
-type options() :: #{atom() => term()}.

-define(MAX_FRAME, 16#7fffffff - 65536).

%% @doc What a context gets when an option is not given.
-spec defaults() -> options().
defaults() ->
    #{
        name => none,
        %% false: the context hangs below py_port's own supervisor and outlives the process that
        %% started it
        link => true,
        python => default,
        venv => none,
        worker => default,
        path => [],
        env => #{},
        cwd => null,
        init => none,
        init_timeout => 30000,
        start_timeout => 30000,
        limits => #{},
        call_timeout => infinity,
        kill_after => 2000,
        max_pending => 10000,
        max_pending_bytes => 256 * 1024 * 1024,
        functions => all,
        max_callbacks => 10000,
        %% a plugin that may send to any process may stop the node
        send_to => #{given => true, names => []},
        io => logger,
        io_rate => 1000,
        io_line => 8192,
        types => #{atoms => str, binaries => auto, none => none},
        sandbox => none,
        spin => 50,
        max_frame => 256 * 1024 * 1024,
        max_depth => 512
    }.

-spec validate(term()) -> {ok, options()} | {error, {bad_option, term(), binary()}}.
validate(Given) when is_map(Given) ->
    try
        Options = maps:fold(fun(K, V, Acc) -> Acc#{K => check(K, V)} end, defaults(), Given),
        ok = together(Given),
        {ok, Options}
    catch
        throw:{?MODULE, Key, Format, Args} -> {error, py_port_error:bad_option(Key, Format, Args)}
    end;
validate(_) ->
    {error, {bad_option, options, <<"options must be a map">>}}.

-spec together(map()) -> ok.
together(#{python := _, venv := _}) ->
    bad(venv, "give python or venv, not both: a virtual environment has its own Python", []);
together(_) ->
    ok.

-spec check(term(), term()) -> term().
check(name, Name) when is_atom(Name), Name =/= undefined, Name =/= none -> {local, Name};
check(name, {local, Name}) when is_atom(Name), Name =/= undefined -> {local, Name};
check(name, {global, _} = Name) -> Name;
check(name, {via, Module, _} = Name) when is_atom(Module) ->
    case code:ensure_loaded(Module) =:= {module, Module} andalso erlang:function_exported(Module, register_name, 2) of
        true -> Name;
        false -> bad(name, "~tp is no registry of names: it has no register_name/2", [Module])
    end;
check(name, _) -> bad(name, "must be an atom, {local, Atom}, {global, Term} or {via, Module, Term}", []);
check(link, Link) when is_boolean(Link) -> Link;
check(link, _) -> bad(link, "must be true or false", []);
check(Key, Text) when Key =:= python; Key =:= venv; Key =:= worker; Key =:= cwd -> text(Key, Text);
check(path, Paths) -> list(path, Paths, "a list of directories");
check(env, Env) -> env(Env);
check(init, Init) -> init(Init);
check(Key, Ms) when
    Key =:= init_timeout; Key =:= start_timeout; Key =:= kill_after; Key =:= call_timeout
->
    milliseconds(Key, Ms);
check(limits, Limits) -> limits(Limits);
check(max_pending, N) -> integer(max_pending, N, 1, 10000000);
check(max_pending_bytes, N) -> integer(max_pending_bytes, N, 1, 1 bsl 40);
check(max_callbacks, N) -> integer(max_callbacks, N, 1, 10000000);
check(functions, Functions) -> functions(Functions);
check(send_to, To) -> send_to(To);
check(io_rate, N) -> integer(io_rate, N, 1, 1000000000);
check(io_line, N) -> integer(io_line, N, 16, 1024 * 1024);
check(max_frame, N) -> integer(max_frame, N, 1024, ?MAX_FRAME);
check(max_depth, N) -> integer(max_depth, N, 1, 4096);
check(io, Io) -> io(Io);
check(types, Types) -> types(Types);
check(sandbox, Sandbox) when Sandbox =:= none; Sandbox =:= audit -> Sandbox;
check(sandbox, _) -> bad(sandbox, "must be none or audit", []);
check(spin, off) -> 0;
check(spin, N) -> integer(spin, N, 0, 10000);
check(Key, _) ->
    Known = lists:join(", ", [atom_to_list(K) || K <- lists:sort(maps:keys(defaults()))]),
    bad(Key, "there is no such option; the options are ~ts", [Known]).

-spec io(term()) -> io_target().
io(logger) -> logger;
io(null) -> null;
io(Pid) when is_pid(Pid) -> Pid;
io({group_leader, Pid}) when is_pid(Pid) -> {group_leader, Pid};
io({group_leader, Name}) when is_atom(Name) -> {group_leader, Name};
io(_) -> bad(io, "must be logger, null, a pid, or {group_leader, Pid}", []).

-spec milliseconds(atom(), term()) -> timeout().
milliseconds(call_timeout, infinity) -> infinity;
milliseconds(_, Ms) when is_integer(Ms), Ms >= 0, Ms =< ?MAX_TIMEOUT -> Ms;
milliseconds(call_timeout, _) -> bad(call_timeout, "must be milliseconds or infinity", []);
milliseconds(Key, _) -> bad(Key, "must be a number of milliseconds, 0 or more", []).

-spec integer(term(), term(), integer(), integer()) -> integer().
integer(_, N, Min, Max) when is_integer(N), N >= Min, N =< Max -> N;
integer(Key, _, Min, Max) -> bad(Key, "must be an integer from ~b to ~b", [Min, Max]).

-spec init(term()) -> none | #{code | module => binary()}.
init(none) -> none;
init({module, Module}) when is_atom(Module) -> #{module => atom_to_binary(Module)};
init({module, Module}) -> #{module => text(init, Module)};
init({code, Code}) -> #{code => text(init, Code)};
init(Code) when is_binary(Code); is_list(Code) -> #{code => text(init, Code)};
init(_) -> bad(init, "must be Python code as text, or {module, Name}", []).

-spec env(term()) -> #{binary() => binary()}.
env(Env) when is_map(Env) ->
    maps:fold(fun(K, V, Acc) -> Acc#{env_name(K) => env_value(K, V)} end, #{}, Env);
env(Env) when is_function(Env, 0) ->
    try Env() of
        Map when is_map(Map) -> env(Map);
        _ -> bad(env, "the fun must return a map of names to values", [])
    catch
        throw:{?MODULE, _, _, _} = Bad -> throw(Bad);
        Class:_ -> bad(env, "the fun failed (~p)", [Class])
    end;
env(Env) when length(Env) >= 0 ->
    case lists:all(fun(E) -> is_tuple(E) andalso tuple_size(E) =:= 2 end, Env) of
        true -> env(maps:from_list(Env));
        false -> bad(env, "must be a map of names to values", [])
    end;
env(_) ->
    bad(env, "must be a map of names to values", []).

-spec env_name(term()) -> binary().
env_name(Name) when is_atom(Name) ->
    env_name(atom_to_binary(Name));
env_name(Name) ->
    Text = text(env, Name),
    case Text =:= <<>> orelse binary:match(Text, <<"=">>) =/= nomatch of
        true -> bad(env, "~tp is not the name of an environment variable", [Name]);
        false -> Text
    end.

%% The value may be a secret: an error names the variable and never shows what it was to be.
-spec env_value(term(), term()) -> binary().
env_value(_, N) when is_integer(N) ->
    integer_to_binary(N);
env_value(Name, Value) ->
    try
        text(env, Value)
    catch
        throw:{?MODULE, env, _, _} ->
            bad(env, "the value of ~tp must be text without NUL, or an integer", [Name])
    end.

-spec functions(term()) -> functions().
functions(all) -> all;
functions(List) when length(List) >= 0 -> lists:foldl(fun function/2, #{}, List);
functions(_) -> bad(functions, "must be all or a list of functions", []).

%% The last element of a triple tells a name for a function from a function itself.
-spec function(term(), #{binary() => term()}) -> #{binary() => term()}.
function({Name, Fun}, Acc) when is_function(Fun, 1) ->
    name_function(Name, {function, Fun}, Acc);
function({M, F, Arity}, Acc) when is_atom(M), is_atom(F), is_integer(Arity) ->
    capability({M, F, Arity}, Acc);
function({Name, M, F}, Acc) when is_atom(M), is_atom(F) ->
    name_function(Name, {module, M, F}, Acc);
function(Name, Acc) when is_atom(Name); is_binary(Name); is_list(Name) ->
    name_function(Name, registered, Acc);
function(Other, _) ->
    bad(functions, "~tp is not Name, {Name, Fun/1}, {Name, M, F} or {M, F, Arity}", [Other]).

-spec name_function(term(), term(), #{binary() => term()}) -> #{binary() => term()}.
name_function(Name, Target, Acc) ->
    case py_port_callbacks:name(Name) of
        {ok, Text} when is_map_key(Text, Acc) -> bad(functions, "~ts is there twice", [Text]);
        {ok, Text} -> Acc#{Text => Target};
        error -> bad(functions, "~tp is not the name of a function", [Name])
    end.

%% In Python its name is `m:f', whatever the arity.
-spec capability(mfa(), #{binary() => term()}) -> #{binary() => term()}.
capability({M, F, Arity} = Mfa, Acc) ->
    Name = <<(atom_to_binary(M))/binary, $:, (atom_to_binary(F))/binary>>,
    case maps:get(Name, Acc, {exact, M, F, []}) of
        _ when Arity < 0; Arity > 255 -> bad(functions, "~tp has no arity", [Mfa]);
        {exact, M, F, Arities} -> Acc#{Name => {exact, M, F, lists:usort([Arity | Arities])}};
        _ -> bad(functions, "~ts is there twice", [Name])
    end.

-spec send_to(term()) -> send_to().
send_to(any) -> any;
send_to(given) -> #{given => true, names => []};
send_to(List) when length(List) >= 0 ->
    Wrong = [E || E <- List, not is_atom(E) orelse E =:= undefined orelse E =:= any],
    case Wrong of
        [] -> #{given => lists:member(given, List), names => lists:delete(given, List)};
        [First | _] -> bad(send_to, "~tp is neither given nor the name of a process", [First])
    end;
send_to(_) ->
    bad(send_to, "must be any, given, or a list of given and names of processes", []).

-spec limits(term()) -> #{atom() => pos_integer()}.
limits(Limits) when is_map(Limits) ->
    maps:map(
        fun
            (K, N) when K =:= memory; K =:= cpu_seconds; K =:= files; K =:= processes ->
                integer({limits, K}, N, 1, 1 bsl 62);
            (K, _) ->
                bad({limits, K}, "the limits are memory, cpu_seconds, files and processes", [])
        end,
        Limits
    );
limits(_) ->
    bad(limits, "must be a map", []).

-spec types(term()) -> #{atoms | binaries | none => atom()}.
types(Types) when is_map(Types) ->
    maps:merge(maps:get(types, defaults()), maps:map(fun type/2, Types));
types(_) ->
    bad(types, "must be a map", []).

-spec type(term(), term()) -> atom().
type(atoms, V) when V =:= str; V =:= atom -> V;
type(atoms, _) -> bad({types, atoms}, "must be str or atom", []);
type(binaries, V) when V =:= auto; V =:= bytes; V =:= str -> V;
type(binaries, _) -> bad({types, binaries}, "must be auto, bytes or str", []);
type(none, V) when V =:= none; V =:= nil; V =:= undefined -> V;
type(none, _) -> bad({types, none}, "must be none, nil or undefined", []);
type(K, _) -> bad({types, K}, "the types are atoms, binaries and none", []).

-spec list(atom(), term(), string()) -> [binary()].
list(Key, List, What) when length(List) >= 0 ->
    %% A string is a list too, and then its first element is a character.
    case List of
        [C | _] when is_integer(C) -> bad(Key, "must be ~ts, not one text", [What]);
        _ -> [text(Key, E) || E <- List]
    end;
list(Key, _, What) ->
    bad(Key, "must be ~ts", [What]).

-spec text(term(), term()) -> binary().
text(Key, Text) when is_binary(Text); is_list(Text), Text =/= [] ->
    try unicode:characters_to_binary(Text) of
        Bin when is_binary(Bin) ->
            case binary:match(Bin, <<0>>) of
                nomatch -> Bin;
                _ when Key =:= init -> Bin;
                _ -> bad(Key, "must not hold a NUL character", [])
            end;
        _ ->
            bad(Key, "is not valid Unicode text: ~tp", [Text])
    catch
        error:badarg -> bad(Key, "must be text (a binary or a string), and is ~tp", [Text])
    end;
text(_, []) ->
    <<>>;
text(Key, Other) ->
    bad(Key, "must be text (a binary or a string), and is ~tp", [Other]).

-spec bad(term(), io:format(), [term()]) -> no_return().
bad(Key, Format, Args) ->
    throw({?MODULE, Key, Format, Args}).

%% @doc The CONFIG frame's object.
-spec config(options(), py_port_python:resolved(), #{
    incarnation := non_neg_integer(), credit := pos_integer(), label := binary(), package := binary()
}) -> py_port_json:json().
config(Options, #{executable := Executable}, Extra) ->
    #{incarnation := Incarnation, credit := Credit, label := Label, package := Package} = Extra,
    #{types := #{atoms := Atoms, binaries := Binaries, none := None}, init := Init} = Options,
    #{
        protocol => 1,
        context => Label,
        incarnation => Incarnation,
        python => #{
            executable => Executable,
            path => maps:get(path, Options),
            package => Package,
            use_environment => false
        },
        env => maps:get(env, Options),
        cwd => maps:get(cwd, Options),
        init =>
            case Init of
                none -> null;
                _ -> Init
            end,
        limits => maps:get(limits, Options),
        types => #{
            atoms => atom_to_binary(Atoms),
            binaries => atom_to_binary(Binaries),
            none => atom_to_binary(None)
        },
        sandbox => atom_to_binary(maps:get(sandbox, Options)),
        spin_us => maps:get(spin, Options),
        max_frame => maps:get(max_frame, Options),
        max_depth => maps:get(max_depth, Options),
        max_callbacks => maps:get(max_callbacks, Options),
        output => #{
            rate => maps:get(io_rate, Options),
            line => maps:get(io_line, Options),
            credit => Credit
        }
    }.
