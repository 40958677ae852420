%% @doc A JSON encoder for the worker's start configuration, and nothing more.
%%
%% Pure. Maps, lists, binaries (UTF-8), integers, booleans and `null'; anything else crashes,
%% because the options were validated before they came here. Lists are arrays, never strings.
%% @end
-module(py_port_json).

-export([encode/1]).
-export_type([json/0]).

-type json() ::
    null | boolean() | integer() | binary() | [json()] | #{binary() | atom() => json()}.

-spec encode(json()) -> iodata().
encode(null) ->
    <<"null">>;
encode(true) ->
    <<"true">>;
encode(false) ->
    <<"false">>;
encode(N) when is_integer(N) ->
    integer_to_binary(N);
encode(Text) when is_binary(Text) ->
    [$", escape(Text), $"];
encode(List) when is_list(List) ->
    [$[, lists:join($,, [encode(E) || E <- List]), $]];
encode(Map) when is_map(Map) ->
    [${, lists:join($,, [[encode(key(K)), $: | encode(V)] || {K, V} <- maps:to_list(Map)]), $}].

-spec key(binary() | atom()) -> binary().
key(K) when is_binary(K) -> K;
key(K) when is_atom(K) -> atom_to_binary(K).

-spec escape(binary()) -> iolist().
escape(Text) ->
    [escape_char(C) || <<C/utf8>> <= Text].

-spec escape_char(char()) -> iodata().
escape_char($") -> <<"\\\"">>;
escape_char($\\) -> <<"\\\\">>;
escape_char($\n) -> <<"\\n">>;
escape_char(C) when C < 32; C =:= 127 -> io_lib:format("\\u~4.16.0b", [C]);
escape_char(C) -> <<C/utf8>>.
