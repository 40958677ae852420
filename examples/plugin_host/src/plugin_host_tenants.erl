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
    %% the Python of the host, or a virtual environment of the tenant's own
    interpreter := shared | own_venv,
    limits := #{memory => pos_integer()}
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
        (healthy(phonetics, kjv))#{interpreter := own_venv},
        faulty(crasher, kjv),
        faulty(looper, ucd),
        (faulty(hoarder, kjv))#{limits := #{memory => 192 * 1024 * 1024}},
        faulty(quitter, ucd),
        faulty(printer, kjv)
    ].

-spec healthy() -> [name()].
healthy() ->
    [Name || #{name := Name, role := healthy} <- all()].

%% @doc What `py_port:child_spec/1' gets: the name, the plugin's own directory, its environment and limits.
-spec context_options(tenant()) -> map().
context_options(#{name := Name, interpreter := Interpreter, limits := Limits}) ->
    {ok, Root} = application:get_env(plugin_host, root),
    {ok, Mark} = application:get_env(plugin_host, mark),
    Plugins = filename:join(Root, "plugins"),
    Options = #{
        name => Name,
        path => [filename:join(Plugins, Name), filename:join(Plugins, "_shared")],
        init => {module, plugin},
        env => #{"PLUGIN_HOST_RUN" => Mark},
        limits => Limits
    },
    maps:merge(Options, interpreter(Interpreter)).

-spec interpreter(shared | own_venv) -> map().
interpreter(shared) ->
    {ok, Python} = application:get_env(plugin_host, python),
    #{python => Python};
interpreter(own_venv) ->
    {ok, Venv} = application:get_env(plugin_host, venv),
    #{venv => Venv}.

-spec healthy(name(), plugin_host_corpus:name()) -> tenant().
healthy(Name, Corpus) ->
    #{
        name => Name,
        work => Name,
        corpus => Corpus,
        role => healthy,
        interpreter => shared,
        limits => #{}
    }.

%% The misbehaving tenants all do the same plain bookkeeping; what matters is what else they do.
-spec faulty(name(), plugin_host_corpus:name()) -> tenant().
faulty(Name, Corpus) ->
    (healthy(Name, Corpus))#{work := tally, role := faulty}.
