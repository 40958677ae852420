#!/bin/sh
# Builds priv/py_launcher and priv/py_worker-3.X with CMake; the compile hook of rebar.config, so it also runs inside the
# projects of our users. Promises: quick when nothing changed; what is missing is named together with its Debian package;
# nothing is written outside build/ and priv/ of this folder.
#
#   sh worker/build.sh          build
#   sh worker/build.sh clean    remove what was built
#
#   PY_PORT_PYTHONS   interpreters to build for, separated by blanks; default: every CPython 3.9..3.13 that is found
#   PY_PORT_JOBS      compilers at a time; default: one per core
#   PY_PORT_PERF_BUILD  1: optimised further, for the very machine that builds (PERF_BUILD of CMakeLists.txt). Not for releases that move
set -eu
cd "$(dirname "$0")/.."
here=$(pwd -P)
folder=build/worker
stamp=$folder/py_port.stamp

if [ "${1:-}" = clean ]; then
  rm -rf build/worker priv
  exit 0
fi

missing=""
need() {  # need PACKAGE WHAT COMMAND...: remembers PACKAGE unless COMMAND succeeds
  package=$1 what=$2
  shift 2
  if ! "$@" >/dev/null 2>&1; then
    echo "py_port: $what is missing (Debian: $package)" >&2
    missing="$missing $package"
  fi
}
has_header() { printf '#include <%s>\n' "$1" | ${CXX:-c++} ${2:+"-I$2"} -x c++ -E - ; }
has_ei() { has_header ei.h "$(erl -noshell -eval 'io:put_chars(code:lib_dir(erl_interface, include)), halt().')"; }
has_python() {
  for python in ${PY_PORT_PYTHONS:-python3 python3.9 python3.10 python3.11 python3.12 python3.13 /usr/bin/python3 "$HOME"/.pyenv/versions/3.*/bin/python3}; do
    include=$("$python" -I -c 'import sysconfig; print(sysconfig.get_path("include"))' 2>/dev/null) || continue
    if [ -e "$include/Python.h" ]; then return 0; fi
  done
  return 1
}
check() {
  need build-essential "a C++ compiler (${CXX:-c++})" command -v "${CXX:-c++}"
  need build-essential "make (or ninja)" sh -c 'command -v make || command -v ninja'
  need cmake "cmake" command -v cmake
  if command -v "${CXX:-c++}" >/dev/null 2>&1; then
    need erlang-dev "ei.h of erl_interface" has_ei
    need libuv1-dev "uv.h of libuv" has_header uv.h
    need nlohmann-json3-dev "nlohmann/json.hpp" has_header nlohmann/json.hpp
  fi
  need python3-dev "Python.h of a CPython 3.9 to 3.13" has_python
  if [ -n "$missing" ]; then
    missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
    echo "py_port: the worker cannot be built. On Debian or Ubuntu: apt-get install $missing" >&2
    exit 1
  fi
}

# What the configuration depends on. When it changed (another compiler or interpreter, a moved folder) we configure afresh;
# otherwise CMake itself sees what changed.
facts() {
  echo "$here"
  echo "${PY_PORT_PYTHONS:-}" "${CXX:-}" "${CXXFLAGS:-}" "$perf_build"
  ls -d /usr/bin/python3.* /usr/local/bin/python3.* "$HOME"/.pyenv/versions/3.*/bin/python3.* /usr/include/python3.*/Python.h 2>/dev/null || true
}

# False after an upgrade of Erlang, too: the path has the version in it. (Not a fact above: rebar3 has another PATH than its caller.)
configured() {
  ei=$(sed -n 's/^PYW_EI_INCLUDE:[A-Z]*=//p' "$folder/CMakeCache.txt" 2>/dev/null)
  [ -e "$stamp" ] && [ "$now" = "$(cat "$stamp")" ] && { [ -z "$ei" ] || [ -e "$ei/ei.h" ]; }
}

export HOME="${HOME:-/nonexistent}"
perf_build=OFF
if [ "${PY_PORT_PERF_BUILD:-}" = 1 ]; then perf_build=ON; fi
now=$(facts)
if ! configured; then
  check
  rm -rf "$folder"
  mkdir -p "$folder"
  generator="Unix Makefiles"
  if command -v ninja >/dev/null 2>&1; then generator=Ninja; fi
  pythons=$(printf '%s' "${PY_PORT_PYTHONS:-}" | tr -s ' ' ';')
  if ! cmake -S . -B "$folder" -G "$generator" -DCMAKE_BUILD_TYPE=RelWithDebInfo "-DPYW_PRIV=$here/priv" \
      "-DPYW_PYTHONS=$pythons" "-DPERF_BUILD=$perf_build" >"$folder/configure.log" 2>&1; then
    cat "$folder/configure.log" >&2
    echo "py_port: CMake could not configure the worker (above, and in $here/$folder/configure.log)" >&2
    exit 1
  fi
  grep -e '-- py_port:' "$folder/configure.log" | sed 's/^-- //' || true
  printf '%s\n' "$now" >"$stamp"
fi

jobs=${PY_PORT_JOBS:-$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)}
if ! cmake --build "$folder" --parallel "$jobs" >"$folder/build.log" 2>&1; then
  cat "$folder/build.log" >&2
  echo "py_port: the worker did not compile (above, and in $here/$folder/build.log)" >&2
  exit 1
fi
