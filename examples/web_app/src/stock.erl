%% @doc How much there is of each article. An order is taken whole or not at all.
%% @end
-module(stock).

-behaviour(gen_server).

-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2]).

-spec start_link() -> {ok, pid()} | {error, term()} | ignore.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, #{binary() => non_neg_integer()}}.
init([]) ->
    Ask = fun(What) -> gen_server:call(?MODULE, What) end,
    ok = py_port:register_function(stock, fun([Article]) -> Ask({stock, Article}) end),
    ok = py_port:register_function(order, fun([Article, Amount]) -> Ask({order, Article, Amount}) end),
    ok = py_port:register_function(articles, fun([]) -> Ask(articles) end),
    {ok, #{<<"apples">> => 1000, <<"pears">> => 40, <<"plums">> => 0}}.

-spec handle_call(term(), gen_server:from(), map()) -> {reply, term(), map()}.
handle_call({stock, Article}, _, Books) ->
    {reply, maps:get(Article, Books, none), Books};
handle_call({order, Article, Amount}, _, Books) when is_integer(Amount), Amount > 0 ->
    case maps:get(Article, Books, 0) of
        Left when Left >= Amount -> {reply, {true, Left - Amount}, Books#{Article => Left - Amount}};
        Left -> {reply, {false, Left}, Books}
    end;
handle_call({order, Article, _}, _, Books) ->
    {reply, {false, maps:get(Article, Books, 0)}, Books};
handle_call(articles, _, Books) ->
    {reply, maps:to_list(Books), Books}.

-spec handle_cast(term(), map()) -> {noreply, map()}.
handle_cast(_, Books) ->
    {noreply, Books}.
