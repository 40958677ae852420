%% @doc The options of a context of the façade, and what they become for {@link py_port:start_context/1}.
%%
%% Pure.
%% @end
-module(py_context_options).

-export([make/3]).

-type code() :: binary() | string() | {code | module, atom() | binary() | string()} | none.

%% @doc `Common': what holds for all contexts ({@link py_environment:context_options/0}).
-spec make(term(), term(), map()) -> {ok, py_port:options()} | {error, {bad_option, term(), binary()}}.
make(Mode, Options, Common) when is_map(Options) ->
    Refused = [Key || Key <- [name, link], is_map_key(Key, Options)],
    case {py_context:is_mode(Mode), Refused} of
        {true, []} ->
            try
                merged(Common, maps:remove(mode, Options))
            catch
                error:{bad_code, Code} -> bad(preload, "must be text, and is ~tp", [Code])
            end;
        {false, _} ->
            bad(mode, "there is no mode ~tp; the modes are ~0tp", [Mode, py_context:modes()]);
        {true, [Key | _]} ->
            bad(Key, "a context that is linked to its starter and has a name is started with "
                "py_port:start_context/1", [])
    end;
make(_, _, _) ->
    bad(options, "must be a map", []).

%% What is wrong is found before it is part of something else. A fun for `env' is asked at each start.
-spec merged(map(), map()) -> {ok, py_port:options()} | {error, {bad_option, term(), binary()}}.
merged(Common, Options) ->
    case py_port_options:validate(maps:with([init], Options)) of
        {ok, _} ->
            Own = own(Options),
            Asked = maps:filter(fun(_, Value) -> not is_function(Value) end, Own),
            case py_port_options:validate(Asked) of
                {ok, _} -> {ok, merge(Common, Own)};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

-spec bad(term(), io:format(), [term()]) -> {error, {bad_option, term(), binary()}}.
bad(Key, Format, Args) ->
    {error, py_port_error:bad_option(Key, Format, Args)}.

%% erlang_python's names for them.
-spec own(map()) -> map().
own(#{memory_limit := Bytes} = Options) ->
    Limits =
        case maps:get(limits, Options, #{}) of
            Given when is_map(Given) -> Given#{memory => Bytes};
            %% py_port refuses it.
            Other -> Other
        end,
    own(maps:remove(memory_limit, Options#{limits => Limits}));
own(#{preload := Code} = Options) ->
    Preload = {code, py_environment:preload_source(Code)},
    own(maps:remove(preload, Options#{init => then(Preload, maps:get(init, Options, none))}));
own(Options) ->
    Options.

%% What is given for one context counts before what holds for all of them; paths, environment
%% variables, limits and code to run at the start add up.
-spec merge(map(), map()) -> py_port:options().
merge(Common, Own) ->
    Kept =
        case is_map_key(python, Own) orelse is_map_key(venv, Own) of
            true -> maps:without([python, venv], Common);
            false -> Common
        end,
    maps:merge(Kept, maps:map(fun(Key, Value) -> both(Key, Kept, Value) end, Own)).

-spec both(atom(), map(), term()) -> term().
both(path, #{path := Common}, Own) when is_list(Common), is_list(Own) ->
    case Own of
        %% One text, which py_port refuses.
        [C | _] when is_integer(C) -> Own;
        _ -> Own ++ Common
    end;
both(Key, Kept, Own) when (Key =:= limits orelse Key =:= env), is_map(Own) ->
    case Kept of
        #{Key := Common} when is_map(Common) -> maps:merge(Common, Own);
        _ -> Own
    end;
both(init, #{init := Common}, Own) ->
    then(Common, Own);
both(_, _, Own) ->
    Own.

%% First the one, then the other.
-spec then(code(), code()) -> code().
then(First, none) -> First;
then(none, Second) -> Second;
then(First, Second) -> {code, [source(First), $\n, source(Second)]}.

-spec source(code()) -> unicode:chardata().
source({code, Code}) -> Code;
source({module, Module}) when is_atom(Module) ->
    source({module, atom_to_binary(Module)});
source({module, Module}) ->
    Name = [in_quotes(C) || <<C/utf8>> <= unicode:characters_to_binary(Module)],
    ["__import__(\"importlib\").import_module(\"", Name, "\")"];
source(Code) -> Code.

%% Nothing in it can end the text, and so be taken for code.
-spec in_quotes(char()) -> unicode:chardata().
in_quotes(C) when C < $\s; C =:= $"; C =:= $\\ -> io_lib:format("\\x~2.16.0b", [C]);
in_quotes(C) -> [C].
