"""Measures event loops side by side: asyncio's, uvloop's and ours. README.md says what is asked and how to read it.

    priv/py_worker-3.13 --python bench/loop/run.py [--quick] [--only ROW,ROW] [--loops asyncio,uvloop,erlang] ...

Every measurement is a process of its own, and the loops take turns: round by round, row by row, loop by loop.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)

import plot  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/loop/run.py", description="Measures event loops side by side.")
    parser.add_argument("--quick", action="store_true", help="0.15 s a measurement, 3 rounds: for a look, not for comparisons")
    parser.add_argument("--only", default="", metavar="ROW,ROW", help="rows whose names begin like this")
    parser.add_argument("--skip", default="", metavar="ROW,ROW", help="and not those")
    parser.add_argument("--rounds", type=int, help="how often every row is measured for every loop (5)")
    parser.add_argument("--seconds", type=float, help="how long a measurement takes (0.5)")
    parser.add_argument("--loops", default="asyncio,uvloop,erlang", help="which, in this order; the last is ours")
    parser.add_argument("--worker", default=own_worker(), metavar="PATH",
                        help="the py_worker that runs the measurements, of all loops (the one that runs this, if it is one)")
    parser.add_argument("--before", metavar="PATH", help="another worker, whose loop is measured beside ours as 'before'")
    parser.add_argument("--plain", action="store_true", help="asyncio and uvloop in the plain interpreter, not in the worker")
    parser.add_argument("--malloc", choices=("worker", "default"), default="worker",
                        help="keep freed memory, as a worker that serves Erlang does (README.md), or glibc's defaults")
    parser.add_argument("--site", metavar="DIR", help="where uvloop is (build/uvloop-X.Y if it exists)")
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured")
    parser.add_argument("--plot", metavar="FILE", help="write an SVG of the ratios")
    parser.add_argument("--verbose", action="store_true", help="what a failing measurement wrote to stderr")
    parser.add_argument("--list", action="store_true", help="print the rows and what they ask, and end")
    given = parser.parse_args()
    given.rounds = given.rounds or (3 if given.quick else 5)
    given.seconds = given.seconds or (0.15 if given.quick else 0.5)
    given.loops = (["before"] if given.before else []) + given.loops.split(",")
    if given.site is None:
        given.site = os.path.join(ROOT, "build", f"uvloop-{sys.version_info[0]}.{sys.version_info[1]}")
    return given


def own_worker() -> str | None:
    """The program that runs this, if it is a worker: it behaves like python, and sys.executable names the real one."""
    program = os.readlink("/proc/self/exe")
    return program if os.path.basename(program).startswith("py_worker") else None


def chosen(only: str, skip: str) -> list[str]:
    wanted, unwanted = (tuple(filter(None, text.split(","))) for text in (only, skip))
    names = [name for name in rows.ALL if (not wanted or name.startswith(wanted)) and not (unwanted and name.startswith(unwanted))]
    if not names:
        sys.exit(f"no row begins with {only}; --list shows them")
    return names


def compile_client(folder: str) -> str:
    """The path of the compiled echo_client, with TLS if OpenSSL's headers are there; empty if there is no compiler."""
    source, path = os.path.join(HERE, "echo_client.c"), os.path.join(folder, "echo_client")
    for extra in (["-DWITH_TLS", "-lssl", "-lcrypto"], []):
        try:
            command = [os.environ.get("CC", "cc"), "-O2", "-o", path, source, *extra]
            if subprocess.run(command, capture_output=True).returncode == 0:
                return path
        except OSError:
            break
    print("echo_client.c does not compile: rows that need it are left out")
    return ""


def copy_worker(worker: str | None, folder: str) -> str | None:
    """The worker and the Python modules beside it, copied: a run measures what was there when it began, whatever is built meanwhile."""
    if not worker:
        return None
    os.mkdir(folder)
    modules = os.path.join(os.path.dirname(worker), "python")
    if os.path.isdir(modules):
        shutil.copytree(modules, os.path.join(folder, "python"))
    return shutil.copy(worker, folder)


#: What a worker sets for itself when it serves Erlang. Without it glibc gives the buffer of a large read back to the system each time
#: or not, depending on what else happens to lie on the heap, and the same loop costs 14 or 50 us a request from one process to the next.
WORKER_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}


class Bench:
    """Starts the children; knows with which program, and how long to wait."""

    def __init__(self, given: argparse.Namespace, client: str, worker: str | None, before: str | None) -> None:
        self.given = given
        self.worker = worker
        self.before = before
        self.environment = {**os.environ, "LOOP_BENCH_CLIENT": client, **(WORKER_MALLOC if given.malloc == "worker" else {})}

    def command(self, loop: str) -> list[str]:
        if self.before and loop == "before":
            return [self.before, "--python"]
        if self.worker and not (self.given.plain and loop != "erlang"):
            return [self.worker, "--python"]
        return [sys.executable]

    def child(self, loop: str, *rest: str) -> dict[str, Any]:
        name = "erlang" if loop == "before" else loop
        command = [*self.command(loop), os.path.join(HERE, "child.py"), self.given.site, name, *rest]
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=self.environment,
                                  timeout=20 + 20 * self.given.seconds)
        except subprocess.TimeoutExpired:
            return {"error": "did not end in time"}
        try:
            result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            result = {"error": f"ended with status {done.returncode}"}
        if "error" in result:
            result["stderr"] = done.stderr[-4000:]
        return result


def present(bench: Bench, loops: list[str]) -> dict[str, str]:
    """The versions of the loops that exist here; says why another is left out."""
    found = {}
    for loop in loops:
        result = bench.child(loop)
        if "version" in result:
            found[loop] = result["version"]
        else:
            print(f"{loop} is left out: {result.get('missing') or result.get('error')}")
    return found


def measure(bench: Bench, names: list[str], loops: list[str]) -> list[report.Result]:
    """All rounds. Rows are inside rounds, so that a busy minute of the machine touches all rows a little, not one wholly."""
    results = [report.Result(rows.ALL[name], {loop: [] for loop in loops}) for name in names]
    failed = set()
    for number in range(bench.given.rounds):
        for result in results:
            for turn in range(len(loops)):
                loop = loops[(turn + number) % len(loops)]
                if (result.row.name, loop) in failed:
                    continue
                got = bench.child(loop, result.row.name, str(bench.given.seconds))
                if "figures" in got:
                    result.rounds[loop].append(got["figures"])
                else:
                    failed.add((result.row.name, loop))
                    result.failures[loop] = got
                    if bench.given.verbose:
                        print(f"{result.row.name}, {loop}: {got.get('stderr', got)}")
            if sys.stderr.isatty():
                print(f"\rround {number + 1} of {bench.given.rounds}: {result.row.name:<30}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
    return results


def commit() -> str:
    def git(*rest: str) -> str:
        return subprocess.run(["git", "-C", ROOT, *rest], capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + (" and changes" if git("status", "--porcelain", "-uno") else "")
    except OSError:
        return ""


def machine() -> dict[str, Any]:
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as cpuinfo:
        model = next((line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(), "load_at_start": os.getloadavg()[0]}


def main() -> None:
    given = arguments()
    if given.list:
        for row in rows.ALL.values():
            print(f"{row.name:<24} {row.question}")
        return
    names = chosen(given.only, given.skip)
    with tempfile.TemporaryDirectory(prefix="loop-bench-") as folder:
        bench = Bench(given, compile_client(folder), copy_worker(given.worker, os.path.join(folder, "now")),
                      copy_worker(given.before, os.path.join(folder, "before")))
        versions = present(bench, given.loops)
        if not versions:
            sys.exit("there is no loop to measure")
        about = {
            "commit": commit(), "machine": machine(), "python": platform.python_version(), "loops": versions,
            "host": "py_worker" if given.worker else "python", "plain": given.plain, "malloc": given.malloc, "rounds": given.rounds,
            "seconds": given.seconds, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        print(report.headline(about), flush=True)
        results = measure(bench, names, list(versions))
    about["machine"]["load_at_end"] = os.getloadavg()[0]
    print(report.table(results, list(versions)))
    print(report.summary(results, list(versions)))
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump({**about, "rows": report.as_json(results)}, file, indent=1)
        print(f"written to {given.json}")
    if given.plot:
        with open(given.plot, "w", encoding="utf-8") as file:
            file.write(plot.svg(report.ratios(results, list(versions)), report.headline(about)))
        print(f"drawn in {given.plot}")


if __name__ == "__main__":
    main()
