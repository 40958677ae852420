"""py_port in other people's hands: as a dependency of a rebar3 and of a mix project, and in a release that was moved.

Each test builds py_port from a git repository that holds the present tree (also what is not committed yet), so that a file
that a dependency needs and git does not know is missed here and not by a user. Nothing is fetched from the network.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# What every project does with it, in Erlang: start a context under the caller, ask it something, stop it.
CALL = """
-module(demo_app).
-export([sqrt/1, start/2, stop/1]).
-behaviour(application).
start(_, _) -> {ok, spawn_link(fun() -> receive stop -> ok end end)}.
stop(_) -> ok.
sqrt(X) ->
    {ok, _} = application:ensure_all_started(py_port),
    {ok, C} = py_port:start_context(#{}),
    {ok, Root} = py_port:call(C, math, sqrt, [X]),
    {ok, Origin} = py_port:eval(C, <<"__import__('erlang').__file__">>),
    {ok, Older} = py_port:eval(C, <<"__import__('erlang_loop').__file__">>),
    Pid = maps:get(os_pid, py_port:info(C)),
    Rss = rss(Pid),
    ok = py_port:stop_context(C),
    io:format("root ~p~nalive after stop ~p~nrss_kb ~p~npackage ~ts~nolder ~ts~npriv ~ts~n",
              [Root, filelib:is_dir("/proc/" ++ integer_to_list(Pid)), Rss, Origin, Older, code:priv_dir(py_port)]).
rss(Pid) ->
    {ok, Status} = file:read_file("/proc/" ++ integer_to_list(Pid) ++ "/status"),
    {match, [Kb]} = re:run(Status, "VmRSS:\\\\s+(\\\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Kb).
"""
APP_SRC = """{application, demo, [{description, "demo"}, {vsn, "1.0.0"}, {registered, []}, {mod, {demo_app, []}},
  {applications, [kernel, stdlib, py_port]}]}.
"""


def run(command, cwd, env=None, timeout=900):
    """Runs it; the output is in the message when it fails."""
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)
    if done.returncode != 0:
        raise AssertionError(f"{command} in {cwd}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def write(folder, files):
    for name, text in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)


def snapshot(target):
    """A git repository of the present tree: tracked and new files, without what .gitignore names."""
    if os.path.isdir(os.path.join(ROOT, ".git")):
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True,
                                stdout=subprocess.PIPE).stdout.decode()
        names = [name for name in listed.split("\0") if name and os.path.lexists(os.path.join(ROOT, name))]
        for name in names:
            os.makedirs(os.path.join(target, os.path.dirname(name)), exist_ok=True)
            shutil.copy2(os.path.join(ROOT, name), os.path.join(target, name), follow_symlinks=False)
    else:
        shutil.copytree(ROOT, target, symlinks=True, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("_build", "build", "priv", "__pycache__"))
    identity = ["-c", "user.name=packaging test", "-c", "user.email=nobody@localhost"]
    run(["git", "init", "-q", "-b", "main"], target)
    run(["git", "add", "-A"], target)
    run(["git", *identity, "commit", "-q", "-m", "snapshot"], target)


def one_python():
    """One interpreter is enough here and saves minutes; the build of all of them is tested elsewhere."""
    for version in ("3.11", "3.12", "3.13", "3.10", "3.9"):
        worker = os.path.join(ROOT, "priv", "py_worker-" + version)
        if os.access(worker, os.X_OK):
            asked = run([worker, "--python", "-c", "import sys; print(sys.executable)"], ROOT)
            return asked.strip().splitlines()[-1]
    return os.path.realpath(shutil.which("python3"))


def wait_until(true, seconds):
    """Waits for something that nobody announces: the end of a process that is not our child."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)  # sleep-ok: only /proc knows, and it sends no message
    return True


class PackagingTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="py_port_packaging_")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.repository = os.path.join(cls.folder, "repository")
        os.makedirs(cls.repository)
        snapshot(cls.repository)
        # No cache and no configuration of the user's takes part; mix and rebar3 keep theirs in the temporary folder.
        cls.env = {
            "PY_PORT_PYTHONS": one_python(),
            "REBAR_CACHE_DIR": os.path.join(cls.folder, "rebar_cache"),
            "MIX_HOME": os.path.join(cls.folder, "mix_home"), "HEX_OFFLINE": "1", "MIX_ENV": "dev",
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always",
            "LC_ALL": "C.UTF-8",
        }

    def assert_demo_output(self, output, under):
        self.assertIn("root 4.0", output)
        self.assertIn("alive after stop false", output)
        found = dict(re.findall(r"^(package|older|priv|rss_kb) (.*)$", output, re.M))
        self.assertTrue(found["priv"].startswith(under), output)
        self.assertTrue(found["package"].startswith(under), output)
        self.assertTrue(found["older"].startswith(under), output)
        self.assertLess(int(found["rss_kb"]), 100_000, output)

    def rebar_project(self, name):
        """A rebar3 project that has py_port as a git dependency, and a release of itself."""
        folder = os.path.join(self.folder, name)
        write(folder, {
            "rebar.config": '{deps, [{py_port, {git, "file://%s", {branch, "main"}}}]}.\n'
                            '{relx, [{release, {demo, "1.0.0"}, [demo]}, {mode, prod}, {extended_start_script, true}]}.\n'
                            % self.repository,
            "src/demo.app.src": APP_SRC, "src/demo_app.erl": CALL})
        return folder

    def test_a_rebar3_project_with_a_git_dependency_calls_python(self):
        folder = self.rebar_project("with_rebar3")
        run(["rebar3", "compile"], folder, self.env)
        output = run(["erl", "-noshell", "-pa", *ebins(f"{folder}/_build/default/lib"), "-eval", "demo_app:sqrt(16), halt()."],
                     "/", self.env)
        self.assert_demo_output(output, os.path.join(folder, "_build/default/lib/py_port"))

    def test_a_project_that_calls_python_has_nothing_to_hear_from_dialyzer(self):
        folder = self.rebar_project("with_dialyzer")
        write(folder, {"src/demo_calls.erl": """
-module(demo_calls).
-export([core/1, facade/1, pool/0]).
-spec core(py_port:context()) -> {ok, term()} | timeout | no_worker | {raised, binary()} | other.
core(Ctx) ->
    case py_port:call(Ctx, <<"math">>, "sqrt", [16], #{}, #{timeout => 1000}) of
        {ok, Value} -> {ok, Value};
        {error, timeout} -> timeout;
        {error, {worker_down, _}} -> no_worker;
        {error, {python, #{type := Type}}} -> {raised, Type};
        {error, _} -> other
    end.
-spec facade(py:py_context()) -> {ok, term()} | timeout | no_context | {raised, string() | atom()} | other.
facade(Ctx) ->
    {ok, _} = py:call(math, sqrt, [16]),
    {ok, _} = py:call(math, sqrt, [16], #{}),
    {ok, _} = py:eval(<<"1 + a">>, #{a => 1}, 1000),
    case py:call(Ctx, math, sqrt, [16]) of
        {ok, Value} -> {ok, Value};
        {error, timeout} -> timeout;
        {error, {context_died, _}} -> no_context;
        {error, {Class, Message}} when is_list(Message) -> {raised, Class};
        {error, _} -> other
    end.
-spec pool() -> ok.
pool() ->
    {ok, [_ | _]} = py_context_router:start_pool(mine, 2),
    Ctx = py_context_router:get_context(mine),
    {ok, _} = py_context:call(Ctx, math, sqrt, [16]),
    {ok, Stream} = py_port:stream(Ctx, builtins, range, [3]),
    {ok, _} = py_port:to_list(Stream),
    py_context_router:stop_pool(mine).
"""})
        with open(os.path.join(folder, "rebar.config"), "a", encoding="utf-8") as config:
            # The table of OTP's own applications takes a minute to make: ours will do.
            config.write('{dialyzer, [{warnings, [unmatched_returns, error_handling, unknown]}, {base_plt_location, "%s"}]}.\n'
                         % os.path.join(ROOT, "_build"))
        output = run(["rebar3", "dialyzer"], folder, self.env)
        self.assertNotIn("demo_calls", output)

    def test_a_release_works_after_it_was_moved_and_its_origin_removed(self):
        folder = self.rebar_project("for_release")
        run(["rebar3", "as", "prod", "release"], folder, self.env)
        moved = os.path.join(self.folder, "elsewhere")
        shutil.copytree(os.path.join(folder, "_build/prod/rel/demo"), moved, symlinks=True)
        shutil.rmtree(folder)
        links = [os.path.join(where, name) for where, folders, files in os.walk(moved) for name in folders + files
                 if os.path.islink(os.path.join(where, name)) and not os.path.exists(os.path.join(where, name))]
        self.assertEqual([], links, "links that lead out of the release")
        self.assert_demo_output(self.in_release(moved), os.path.join(moved, "lib/py_port-"))

    def in_release(self, moved):
        """Starts the release in the foreground with its own erts, calls, and lets it stop; nothing of it stays."""
        [boot] = [os.path.join(moved, "releases", name, "start") for name in os.listdir(os.path.join(moved, "releases"))
                  if os.path.isdir(os.path.join(moved, "releases", name))]
        [erts] = [os.path.join(moved, name) for name in os.listdir(moved) if name.startswith("erts-")]
        output = run([f"{erts}/bin/erl", "-noshell", "-boot", boot, "-boot_var", "ERTS_LIB_DIR", f"{moved}/lib",
                      "-mode", "embedded", "-eval", "demo_app:sqrt(16), init:stop()."], "/", {**self.env, "ROOTDIR": moved, "BINDIR": f"{erts}/bin"})
        self.assertTrue(wait_until(lambda: not processes_of(moved), 5), processes_of(moved))
        return output

    @unittest.skipUnless(shutil.which("mix"), "mix is not installed (Debian: elixir)")
    def test_a_mix_project_with_a_git_dependency_calls_python(self):
        self.mix_project("with_mix_git", 'git: "file://%s", branch: "main"' % self.repository)

    @unittest.skipUnless(shutil.which("mix"), "mix is not installed (Debian: elixir)")
    def test_a_mix_project_with_a_path_dependency_calls_python(self):
        copy = os.path.join(self.folder, "checkout")
        run(["git", "clone", "-q", self.repository, copy], self.folder, self.env)
        self.mix_project("with_mix_path", 'path: "%s"' % copy, copy)

    def mix_project(self, name, dependency, origin=None):
        folder = os.path.join(self.folder, name)
        write(folder, {
            "mix.exs": """
defmodule Demo.MixProject do
  use Mix.Project
  def project, do: [app: :demo, version: "1.0.0", deps: [{:py_port, %s}]]
  def application, do: []
end
""" % dependency,
            "lib/demo.ex": """
defmodule Demo do
  def sqrt(x) do
    {:ok, _} = Application.ensure_all_started(:py_port)
    {:ok, c} = :py_port.start_context(%{})
    {:ok, root} = :py_port.call(c, :math, :sqrt, [x])
    {:ok, origin} = :py_port.eval(c, "__import__('erlang').__file__")
    %{os_pid: pid, rss: _} = :py_port.info(c)
    [_, kb] = Regex.run(~r/VmRSS:\\s+(\\d+)/, File.read!("/proc/#{pid}/status"))
    :ok = :py_port.stop_context(c)
    IO.puts("root #{root}\\nalive after stop #{File.dir?("/proc/#{pid}")}\\nrss_kb #{kb}")
    IO.puts("package #{origin}\\npriv #{:code.priv_dir(:py_port)}")
  end
end
"""})
        run(["mix", "local.rebar", "--force", "rebar3", shutil.which("rebar3")], folder, self.env)
        run(["mix", "deps.get"], folder, self.env)
        output = run(["mix", "run", "-e", "Demo.sqrt(16)"], folder, self.env)
        self.assertIn("root 4.0", output)
        self.assertIn("alive after stop false", output)
        priv = re.search(r"^priv (.*)$", output, re.M).group(1)
        self.assertTrue(priv.startswith(f"{folder}/_build/dev/lib/py_port"), output)
        package = re.search(r"^package (.*)$", output, re.M).group(1)
        self.assertTrue(package.startswith((folder, origin or folder)), output)


class BuildScriptTest(unittest.TestCase):
    """worker/build.sh, the hook, on its own: with a project of one file instead of the real one, so that seconds suffice."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="py_port_build_")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        write(self.folder, {
            "worker/main.cpp": "int main() {}\n",
            "CMakeLists.txt": 'cmake_minimum_required(VERSION 3.25)\nproject(small CXX)\nadd_executable(py_launcher worker/main.cpp)\n'
                              'set_target_properties(py_launcher PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PYW_PRIV}")\n'})
        shutil.copy(os.path.join(ROOT, "worker/build.sh"), os.path.join(self.folder, "worker/build.sh"))

    def build(self, **env):
        return subprocess.run(["sh", "worker/build.sh"], cwd=self.folder, env={**os.environ, **env}, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def tools(self, without):
        """A PATH on which everything is but `without`."""
        folder = os.path.join(self.folder, "tools")
        os.makedirs(folder)
        for directory in ("/usr/local/bin", "/usr/bin", "/bin"):
            for name in os.listdir(directory):
                if name not in without and not os.path.lexists(os.path.join(folder, name)):
                    os.symlink(os.path.join(directory, name), os.path.join(folder, name))
        return folder

    def test_a_missing_tool_is_named_with_its_package(self):
        done = self.build(PATH=self.tools(["cmake"]))
        self.assertEqual(1, done.returncode, done.stdout)
        self.assertIn("cmake is missing (Debian: cmake)", done.stdout)
        self.assertIn("apt-get install cmake", done.stdout)

    def test_missing_headers_are_named_with_their_packages(self):
        write(self.folder, {"cxx": '#!/bin/sh\n# A compiler on a machine without libuv and without the JSON library.\n'
                                   'input=$(cat)\ncase "$input" in *uv.h*|*nlohmann*) exit 1;; esac\nexit 0\n'})
        os.chmod(os.path.join(self.folder, "cxx"), 0o755)
        done = self.build(CXX=os.path.join(self.folder, "cxx"))
        self.assertEqual(1, done.returncode, done.stdout)
        self.assertRegex(done.stdout, r"apt-get install libuv1-dev nlohmann-json3-dev\s*$")

    def test_a_second_run_changes_nothing_and_is_quick(self):
        self.assertEqual(0, self.build().returncode)
        program = os.path.join(self.folder, "priv/py_launcher")
        before = os.stat(program).st_mtime_ns
        started = time.monotonic()
        done = self.build()
        self.assertEqual((0, ""), (done.returncode, done.stdout))
        self.assertLess(time.monotonic() - started, 3)  # about 0.1 s; the room is for a busy machine
        self.assertEqual(before, os.stat(program).st_mtime_ns)

    def test_the_path_of_rebar3_is_no_reason_to_start_afresh(self):
        self.assertEqual(0, self.build().returncode)
        done = self.build(PATH="/usr/lib/erlang/bin:" + os.environ["PATH"])
        self.assertEqual((0, ""), (done.returncode, done.stdout))

    def test_a_changed_source_is_compiled_again(self):
        self.assertEqual(0, self.build().returncode)
        write(self.folder, {"worker/main.cpp": "int main() { return 7; }\n"})
        self.assertEqual(0, self.build().returncode)
        self.assertEqual(7, subprocess.run([os.path.join(self.folder, "priv/py_launcher")]).returncode)

    def test_a_folder_that_was_moved_is_built_afresh(self):
        self.assertEqual(0, self.build().returncode)
        moved = self.folder + "_moved"
        shutil.move(self.folder, moved)
        self.addCleanup(shutil.rmtree, moved, ignore_errors=True)
        self.folder = moved
        done = self.build()
        self.assertEqual(0, done.returncode, done.stdout)
        with open(os.path.join(moved, "build/worker/CMakeCache.txt")) as cache:
            self.assertIn(f"CMAKE_HOME_DIRECTORY:INTERNAL={os.path.realpath(moved)}\n", cache.read())

    def test_a_compile_error_is_shown_and_fails(self):
        write(self.folder, {"worker/main.cpp": "int main() { this is not C++; }\n"})
        done = self.build()
        self.assertEqual(1, done.returncode)
        self.assertIn("error:", done.stdout)


def ebins(lib):
    return sorted(os.path.join(lib, name, "ebin") for name in os.listdir(lib) if os.path.isdir(os.path.join(lib, name, "ebin")))


def processes_of(folder):
    """Processes whose program lies in the folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            program = os.readlink(f"/proc/{pid}/exe")
        except OSError:
            continue  # gone meanwhile, a kernel thread, or somebody else's
        if program.startswith(folder + "/"):
            found.append((int(pid), program))
    return [entry for entry in found if not entry[1].endswith("/epmd")]


if __name__ == "__main__":
    unittest.main()
