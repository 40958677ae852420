%% @doc The data: two files, cut at line ends into chunks of some kilobytes.
%%
%% Kept as persistent terms, so a chunk is handed to any number of processes without being copied.
%% @end
-module(plugin_host_corpus).

-export([load/1, unload/0, chunk/2, count/1]).

-export_type([name/0]).

%% kjv: the King James Bible, one verse per row; ucd: UnicodeData.txt, one character per row
-type name() :: kjv | ucd.

-define(CHUNK_BYTES, 8192).
-define(FILES, [{kjv, "kjv.tsv"}, {ucd, "UnicodeData.txt"}]).

-spec load(file:name_all()) -> ok.
load(Directory) ->
    lists:foreach(
        fun({Name, File}) ->
            {ok, Bytes} = file:read_file(filename:join(Directory, File)),
            persistent_term:put({?MODULE, Name}, list_to_tuple(cut(Bytes)))
        end,
        ?FILES
    ).

-spec unload() -> ok.
unload() ->
    lists:foreach(fun({Name, _}) -> persistent_term:erase({?MODULE, Name}) end, ?FILES).

%% @doc The chunk with this number, counted from 1.
-spec chunk(name(), pos_integer()) -> binary().
chunk(Name, Number) ->
    element(Number, persistent_term:get({?MODULE, Name})).

-spec count(name()) -> pos_integer().
count(Name) ->
    tuple_size(persistent_term:get({?MODULE, Name})).

-spec cut(binary()) -> [binary()].
cut(Bytes) when byte_size(Bytes) =< ?CHUNK_BYTES ->
    [Bytes];
cut(Bytes) ->
    %% the first line end that makes it at least the wanted size
    Wanted = ?CHUNK_BYTES - 1,
    case binary:match(Bytes, <<"\n">>, [{scope, {Wanted, byte_size(Bytes) - Wanted}}]) of
        {At, 1} when At + 1 < byte_size(Bytes) ->
            {Chunk, Rest} = split_binary(Bytes, At + 1),
            [Chunk | cut(Rest)];
        _ ->
            [Bytes]
    end.
