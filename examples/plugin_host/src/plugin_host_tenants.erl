%% @doc The tenants, as data.
%%
%% `work' names what the plugin computes, and so how {@link plugin_host_check} checks it; `corpus' what it computes
%% it from; `role' whether it is expected to behave. `plugins/NAME/plugin.py' is the code.
%% @end
-module(plugin_host_tenants).

-export([all/0, healthy/0, context_options/1]).

-export_type([name/0, tenant/0]).

-type name() :: atom().
-type tenant() :: #{
    name := name(),
    work := plugin_host_check:work(),
    corpus := plugin_host_corpus:name(),
    role := healthy | faulty,
    %% what differs from the options that all contexts share
    options := map()
}.

-spec all() -> [tenant()].
all() ->
    [
        healthy(wordcount, kjv),
        healthy(concordance, kjv),
        healthy(archive, kjv),
        healthy(export, kjv),
        healthy(unicode, ucd),
        healthy(metrics, kjv),
        healthy(search, kjv),
        in_venv(healthy(phonetics, kjv)),
        faulty(crasher, kjv, #{}),
        faulty(looper, ucd, #{}),
        faulty(hoarder, kjv, #{limits => #{memory => 192 * 1024 * 1024}}),
        faulty(quitter, ucd, #{}),
        faulty(printer, kjv, #{})
    ].

-spec healthy() -> [name()].
healthy() ->
    [Name || #{name := Name, role := healthy} <- all()].

%% @doc What `py_port:child_spec/1' gets: the name, the plugin's own directory, and its environment.
-spec context_options(tenant()) -> map().
context_options(#{name := Name, options := Own}) ->
    {ok, Root} = application:get_env(plugin_host, root),
    {ok, Mark} = application:get_env(plugin_host, mark),
    Plugins = filename:join(Root, "plugins"),
    Shared = #{
        name => Name,
        path => [filename:join(Plugins, Name), filename:join(Plugins, "_shared")],
        env => #{"PLUGIN_HOST_RUN" => Mark},
        init => {module, plugin}
    },
    maps:merge(maps:merge(Shared, interpreter(Own)), maps:remove(venv, Own)).

-spec healthy(name(), plugin_host_corpus:name()) -> tenant().
healthy(Name, Corpus) ->
    #{name => Name, work => Name, corpus => Corpus, role => healthy, options => #{}}.

%% The misbehaving tenants all do the same plain bookkeeping; what matters is what else they do.
-spec faulty(name(), plugin_host_corpus:name(), map()) -> tenant().
faulty(Name, Corpus, Options) ->
    #{name => Name, work => tally, corpus => Corpus, role => faulty, options => Options}.

-spec in_venv(tenant()) -> tenant().
in_venv(#{options := Options} = Tenant) ->
    Tenant#{options := Options#{venv => own}}.

-spec interpreter(map()) -> map().
interpreter(#{venv := own}) ->
    {ok, Venv} = application:get_env(plugin_host, venv),
    #{venv => Venv};
interpreter(#{}) ->
    {ok, Python} = application:get_env(plugin_host, python),
    #{python => Python}.
