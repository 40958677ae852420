#!/usr/bin/env python3
"""Runs CPython's own tests of asyncio and uvloop's test-suite against the loop under test, and counts.

    test/conformance/conformance.py priv/py_worker-3.12 --python        in a worker, with our loop
    LOOP_FACTORY=asyncio:new_event_loop test/conformance/conformance.py python3.12      stock asyncio, to prove the harness

Options go before the interpreter's command:

    --suite cpython|uvloop   only this one          --uvloop FOLDER   uvloop's sources, unpacked (fetched by test/run)
    --module NAME            only this module       --pattern TEST    only tests like `test_tasks.*.test_wait*`
    --packages FOLDER        site-packages with psutil and pyOpenSSL, which uvloop's suite needs
    --core                   only CPython's modules that are mostly about the loop itself
    --all                    also what exceptions.py leaves out: does its reason still hold?
    --jobs N                 modules at a time      --log FILE        everything the tests print

Each module runs in a process of its own (one_module.py). A process that dies or hangs takes one test with it, which counts as
failed; the rest of the module runs in the next, unless that happens too often. The last line is

    conformance: N passed, N failed, N skipped, N excepted

skipped: by the suites themselves (another platform, no network); excepted: by exceptions.py, with the reason.
The exit status is 0 only if nothing failed and something passed.
"""

import argparse
import collections
import concurrent.futures
import glob
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from exceptions import NOT_RUN  # noqa: E402

MODULE_BOUND = 300  # seconds
MAX_DEATHS = 4  # of a module's processes, then the rest of it is given up
# The long ones first, so that the last worker to finish is not the slow one.
LONG = ["test_tasks", "test_events", "test_ssl", "test_tcp", "test_subprocess", "test_sslproto", "test_process", "test_unix_events"]

CORE = ["test_buffered_proto", "test_context", "test_events", "test_runners", "test_sendfile", "test_server", "test_sock_lowlevel", "test_ssl",
        "test_streams", "test_subprocess", "test_unix_events"]

Module = collections.namedtuple("Module", "suite name")


def modules_of_cpython(command):
    found = subprocess.run([*command, "-c", "import test.test_asyncio; print(test.test_asyncio.__path__[0])"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if found.returncode != 0:
        print("skip cpython: this interpreter was installed without its package `test`")
        return []
    return modules_in("cpython", found.stdout.strip().splitlines()[-1])


def modules_in(suite, folder):
    names = sorted(os.path.basename(path)[:-3] for path in glob.glob(f"{folder}/test_*.py"))
    return [Module(suite, name) for name in names if name not in NOT_RUN[suite]]


def make_python(command, folder):
    """What uvloop's tests are to start as `sys.executable`: the interpreter under test, in which the loop under test is `uvloop`."""
    path = os.path.join(folder, "python")
    with open(path, "w") as script:
        shim = shlex.quote(os.pathsep.join([os.path.join(HERE, "shim"), HERE]))
        script.write(f'#!/bin/sh\nPYTHONPATH={shim} exec {shlex.join(command)} "$@"\n')
    os.chmod(path, 0o755)
    return path


class Run:
    """The outcomes of one module, however many processes it took."""

    def __init__(self, command, module, options):
        self.command, self.module, self.options = command, module, options
        self.outcomes, self.absent, self.loops, self.output = [], None, 0, ""

    def go(self):
        after, deaths = None, 0
        while True:
            began, done = self.process(after)
            if done:
                return self
            deaths += 1
            if began is None or deaths > MAX_DEATHS:
                self.outcomes.append({"end": f"{self.module.name}: the module", "outcome": "failed", "text": self.output[-3000:], "seconds": 0})
                return self
            self.outcomes.append({"end": began, "outcome": "failed", "text": "the process died:\n" + self.output[-3000:], "seconds": 0})
            after = began

    def process(self, after):
        """Runs what is left; which test had begun when it ended, and whether it came to its end."""
        with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as report:
            arguments = [self.module.suite, self.module.name, report.name, *self.options.pattern]
            arguments += ["--all"] * self.options.all + (["--after", after] if after else [])
            arguments += ["--packages", os.path.abspath(self.options.packages)] if self.options.packages else []
            environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "UVLOOP_SOURCES": self.options.uvloop or "",
                           "UVLOOP_PYTHON": self.options.python}
            try:
                ran = subprocess.run([*self.command, os.path.join(HERE, "one_module.py"), *arguments], env=environment, text=True,
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                     errors="replace", timeout=MODULE_BOUND)
                self.output += ran.stdout
            except subprocess.TimeoutExpired as error:
                self.output += f"{(error.stdout or b'').decode(errors='replace')}\nnot finished after {MODULE_BOUND} s\n"
            began, done = None, False
            for line in map(json.loads, report):
                if "start" in line:
                    began = line["start"]
                elif "end" in line:
                    self.outcomes.append(line)
                    began = None if began == line["end"] else began
                else:
                    self.absent, self.loops, done = line.get("absent"), self.loops + line.get("loops", 0), True
        return began, done


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--suite", choices=["cpython", "uvloop"])
    parser.add_argument("--uvloop")
    parser.add_argument("--module", action="append", default=[])
    parser.add_argument("--pattern", action="append", default=[])
    parser.add_argument("--core", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--packages")
    parser.add_argument("--log")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    options.uvloop = options.uvloop and os.path.abspath(options.uvloop)
    if os.path.exists(options.command[0]):
        options.command[0] = os.path.abspath(options.command[0])

    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell we ignore it, and so would the tests' processes
    modules = []
    if options.suite != "uvloop":
        modules += modules_of_cpython(options.command)
    if options.suite != "cpython":
        if options.uvloop:
            modules += modules_in("uvloop", os.path.join(options.uvloop, "tests"))
        else:
            print("skip uvloop: no sources (--uvloop FOLDER)")
    if options.core:
        modules = [module for module in modules if module.suite == "cpython" and module.name in CORE]
    if options.module:
        modules = [module for module in modules if module.name in options.module]
    modules.sort(key=lambda module: LONG.index(module.name) if module.name in LONG else len(LONG))

    totals, reasons, failures = collections.Counter(), collections.Counter(), []
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        options.python = make_python(options.command, folder)
        runs = [pool.submit(Run(options.command, module, options).go) for module in modules]
        for run in (future.result() for future in concurrent.futures.as_completed(runs)):
            counts = collections.Counter(outcome["outcome"] for outcome in run.outcomes)
            totals += counts
            seconds = sum(outcome["seconds"] for outcome in run.outcomes)
            told = ", ".join(f"{counts[kind]} {kind}" for kind in ("passed", "failed", "skipped", "excepted") if counts[kind])
            print(f"{run.module.suite} {run.module.name:<26}{run.absent or told or 'nothing'}  ({run.loops} loops, {seconds:.0f} s)", flush=True)
            reasons.update(outcome["text"] for outcome in run.outcomes if outcome["outcome"] == "excepted")
            failures += [(run.module.suite, outcome) for outcome in run.outcomes if outcome["outcome"] == "failed"]
            if options.log:
                with open(options.log, "a") as log:
                    log.write(f"===== {run.module.suite} {run.module.name}\n{run.output}\n")

    for reason, count in reasons.items():
        print(f"excepted {count}: {reason}")
    for suite, outcome in failures:
        print(f"FAILED {suite} {outcome['end']}\n" + "\n".join("    " + line for line in outcome["text"].splitlines()[-25:]))
    for suite, outcome in failures:
        print(f"FAILED {suite} {outcome['end']}")
    print(f"conformance: {totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped, {totals['excepted']} excepted")
    return 0 if totals["passed"] and not totals["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
