# Sourced by the `run` of an example, with $here set to the example's folder. Gives: $root (the repository), $lib (where py_port and its
# dependencies are compiled), $name and $build (this example's name and the folder for what is made of it), EXAMPLE
# in the environment ($here), and the functions below.

root=$(cd "$here/../.." && pwd)
lib=$root/_build/default/lib
name=$(basename "$here")
build=$root/_build/examples/$name

die() {
    echo "$name: $*" >&2
    exit 1
}

# What this machine lacks; the tests of py_port count it as skipped.
skip() {
    echo "skipped: $*"
    exit 77
}

EXAMPLE=$here
export EXAMPLE

[ -e "$lib/py_port/ebin/py_port.app" ] || die "py_port is not built; run 'rebar3 compile' in $root first"

# Compiles src/*.erl into $build/ebin, with the application's .app file if there is one.
compile() {
    mkdir -p "$build/ebin"
    erlc -Werror +debug_info +warn_missing_spec -pa "$lib/py_port/ebin" -o "$build/ebin" "$here"/src/*.erl
    for app in "$here"/src/*.app.src; do
        [ ! -e "$app" ] || cp "$app" "$build/ebin/$(basename "$app" .src)"
    done
}

# Runs MODULE:main() in a node whose log goes into a file beside the rest; further arguments are erl's.
run_node() {
    module=$1
    shift
    log=$build/$name.log
    rm -f "$log"
    ERL_CRASH_DUMP_SECONDS=0 erl -noinput +Bd -pa "$build/ebin" "$lib"/*/ebin \
        -kernel logger "[{handler, default, logger_std_h, #{config => #{file => \"$log\"}}}]" "$@" \
        -eval "{_, Main} = spawn_monitor($module, main, []), receive {'DOWN', Main, process, _, normal} -> halt(0);
            {'DOWN', Main, process, _, Why} -> io:format(\"FAILED: ~p~n\", [Why]), halt(1) end."
}
