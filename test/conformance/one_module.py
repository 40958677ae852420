"""Runs one test module of a foreign suite against the loop under test, inside the interpreter that has it:

    py_worker-3.X --python test/conformance/one_module.py SUITE MODULE REPORT [--all] [--after TEST] [PATTERN...]

Each line of REPORT is a JSON object: {"start": TEST}, {"end": TEST, "outcome": ..., "text": ...}, {"done": ...}. So whoever reads it
knows what ran even if the process died; conformance.py starts us again with --after then.

The loop under test comes from LOOP_FACTORY (module:function; default erlang:new_event_loop, else asyncio's). It takes the
place of every loop that the modules make: that of the default policy, of asyncio.SelectorEventLoop, of create_event_loop methods.
"""

import argparse
import asyncio
import asyncio.unix_events
import faulthandler
import fnmatch
import importlib
import json
import os
import signal
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
TEST_BOUND = 40  # seconds for one test


def factory():
    name = os.environ.get("LOOP_FACTORY")
    if not name:
        # In a child that the forkserver starts there is a package erlang on the path, and no worker.
        name = "erlang:new_event_loop" if "_erlang_loop" in sys.builtin_module_names else "asyncio:new_event_loop"
    module, _, function = name.partition(":")
    return name, getattr(importlib.import_module(module), function)


FACTORY_NAME, _make = factory()
OURS = not FACTORY_NAME.startswith("asyncio:")
made = 0


def FACTORY():
    global made
    made += 1
    if not OURS:  # asyncio.new_event_loop() asks the policy, and that asks us
        return StockLoop()
    return _make()


StockLoop = asyncio.SelectorEventLoop
_loop = StockLoop() if not OURS else _make()
_loop.close()
LOOP_TYPE = type(_loop)


class StandIn(type):
    """asyncio.SelectorEventLoop(selector) makes a loop under test, and such a loop is an instance of it."""

    def __call__(cls, selector=None):
        if selector is not None:
            selector.close()
        return FACTORY()

    def __instancecheck__(cls, thing):
        return isinstance(thing, LOOP_TYPE)


class SelectorEventLoop(metaclass=StandIn):
    pass


def take_the_place():
    # The class, because the suites give the default policy back by making a new one of it.
    asyncio.unix_events._UnixDefaultEventLoopPolicy._loop_factory = staticmethod(FACTORY)
    if OURS:
        asyncio.SelectorEventLoop = SelectorEventLoop


def cases_in(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from cases_in(item)
        else:
            yield item


def load_cpython(name):
    from test import support

    support.use_resources = []  # no network, nothing huge
    from test.test_asyncio import utils

    if not hasattr(_loop, "_default_executor"):
        utils.TestCase.close_loop = staticmethod(close_loop)
    return importlib.import_module(f"test.test_asyncio.{name}"), lambda case: True


def close_loop(loop):
    """What their helper does, which looks at a private member for it."""
    if not loop.is_closed() and "call_soon" not in getattr(loop, "__dict__", ()):  # a test may have put a failing one there
        loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def load_uvloop(name):
    # The shim must win over the sources: these are on the path for the package `tests` only.
    for real in [each for each in sys.modules if each.partition(".")[0] == "uvloop"]:  # LOOP_FACTORY=uvloop:new_event_loop
        del sys.modules[real]
    sys.path[:0] = [os.path.join(HERE, "shim"), os.environ["UVLOOP_SOURCES"]]
    sys.executable = os.environ["UVLOOP_PYTHON"]
    from uvloop import _testbase

    module = importlib.import_module(f"tests.{name}")
    return module, lambda case: not isinstance(case, _testbase.AIOTestCase)


class Result(unittest.TestResult):
    def __init__(self, write, name_of):
        super().__init__()
        self.write, self.name_of, self.outcome, self.text = write, name_of, "passed", ""
        self.began = None  # None between tests: some versions stop a skipped test that they never started

    def startTest(self, test):
        faulthandler.dump_traceback_later(TEST_BOUND, exit=True)
        self.began, self.outcome, self.text = time.monotonic(), "passed", ""
        self.write(start=self.name_of(test))

    def stopTest(self, test):
        faulthandler.cancel_dump_traceback_later()
        seconds = 0 if self.began is None else round(time.monotonic() - self.began, 3)
        self.write(end=self.name_of(test), outcome=self.outcome, text=self.text, seconds=seconds)
        self.began, self.outcome, self.text = None, "passed", ""

    def _bad(self, test, error):
        self.outcome = "failed"
        self.text += self._exc_info_to_string(error, test)
        if self.began is None:  # setUpModule or setUpClass
            self.write(end=str(test), outcome="failed", text=self.text, seconds=0)
            self.outcome, self.text = "passed", ""

    addError = addFailure = _bad

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self._bad(test, error)

    def addSkip(self, test, reason):
        if self.outcome == "passed":
            self.outcome, self.text = "skipped", reason

    def addUnexpectedSuccess(self, test):
        self.outcome, self.text = "failed", "unexpected success"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("suite", choices=["cpython", "uvloop"])
    parser.add_argument("module")
    parser.add_argument("report")
    parser.add_argument("patterns", nargs="*")
    parser.add_argument("--all", action="store_true", help="the excepted ones, too")
    parser.add_argument("--packages", help="site-packages with what the suites need beside the standard library")
    parser.add_argument("--after", help="skip everything up to this test")
    args = parser.parse_args()

    report = open(args.report, "a", buffering=1)

    def write(**line):
        report.write(json.dumps(line) + "\n")

    sys.path.insert(0, HERE)
    if args.packages:
        sys.path.append(args.packages)  # at the end: what the worker itself brings must win
    sys.modules.setdefault("one_module", sys.modules["__main__"])
    from exceptions import reason_of

    take_the_place()
    try:
        module, wanted = {"cpython": load_cpython, "uvloop": load_uvloop}[args.suite](args.module)
    except (unittest.SkipTest, ImportError) as error:
        write(done=True, absent=f"{type(error).__name__}: {error}")
        return

    def name_of(case):
        return f"{args.module}." + ".".join(case.id().split(".")[-2:])

    # Ignored under nohup, and by what the tests start then, which they want to end with it.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    chosen, passing = unittest.TestSuite(), args.after is not None
    for case in cases_in(unittest.defaultTestLoader.loadTestsFromModule(module)):
        name = name_of(case)
        if passing:
            passing = name != args.after
            continue
        if not wanted(case) or args.patterns and not any(fnmatch.fnmatchcase(name, pattern) for pattern in args.patterns):
            continue
        reason = None if args.all else reason_of(args.suite, name, OURS)
        if reason:
            write(end=name, outcome="excepted", text=reason, seconds=0)
            continue
        if hasattr(case, "create_event_loop") and OURS:
            case.create_event_loop = FACTORY
        chosen.addTest(case)
    chosen.run(Result(write, name_of))
    write(done=True, loops=made)


if __name__ == "__main__":
    main()
