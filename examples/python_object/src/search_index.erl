%% @doc A search index: a gen_server that owns a Python object, and the worker in which it lives.
%%
%% Promise: as long as this process lives, so does the index, whole. The context is linked: if its worker dies, so does this
%% process, and its supervisor starts both again, with an index that is built from the file once more. Callers never see
%% half an index. The object is held by a reference, which is let go when this process ends.
%% @end
-module(search_index).

-behaviour(gen_server).

-export([start_link/2, search/2, size/0, context/0]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

-record(state, {context :: pid(), index :: py_port:ref()}).

-define(ROWS_PER_CALL, 2000).

%% @doc `Python' is the folder of search_index.py, `File' has the rows: book, chapter, verse, text.
-spec start_link(file:filename(), file:filename()) -> {ok, pid()} | {error, term()} | ignore.
start_link(Python, File) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, {Python, File}, []).

%% @doc The best texts for a query.
-spec search(binary(), pos_integer()) -> {ok, [{binary(), float(), binary()}]} | {error, py_port:reason()}.
search(Query, Limit) ->
    gen_server:call(?MODULE, {search, Query, Limit}, 30000).

-spec size() -> {ok, non_neg_integer()}.
size() ->
    gen_server:call(?MODULE, size, 30000).

-spec context() -> pid().
context() ->
    gen_server:call(?MODULE, context, 30000).

-spec init({file:filename(), file:filename()}) -> {ok, #state{}, {continue, term()}}.
init({Python, File}) ->
    {ok, Context} = py_port:start_context(#{path => [Python]}),
    {ok, Index} = py_port:call(Context, search_index, 'Index', [], #{}, #{return => ref}),
    {ok, #state{context = Context, index = Index}, {continue, File}}.

%% Callers wait until it is built.
-spec handle_continue(file:filename(), #state{}) -> {noreply, #state{}}.
handle_continue(File, State) ->
    {ok, Text} = file:read_file(File),
    ok = add(binary:split(Text, <<"\n">>, [global, trim]), State),
    {noreply, State}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call({search, Query, Limit}, _, #state{context = Context, index = Index} = State) ->
    {reply, py_port:call_method(Context, Index, search, [Query], #{limit => Limit}), State};
handle_call(size, _, #state{context = Context, index = Index} = State) ->
    {reply, py_port:call_method(Context, Index, '__len__', []), State};
handle_call(context, _, #state{context = Context} = State) ->
    {reply, Context, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(_, State) ->
    {noreply, State}.

-spec add([binary()], #state{}) -> ok.
add([], _) ->
    ok;
add(Lines, #state{context = Context, index = Index} = State) ->
    {Now, Later} = lists:split(min(?ROWS_PER_CALL, length(Lines)), Lines),
    {ok, _} = py_port:call_method(Context, Index, add, [[row(Line) || Line <- Now]]),
    add(Later, State).

-spec row(binary()) -> [binary()].
row(Line) ->
    [Book, Chapter, Verse, Text] = binary:split(Line, <<"\t">>, [global]),
    [<<Book/binary, " ", Chapter/binary, ":", Verse/binary>>, Text].
