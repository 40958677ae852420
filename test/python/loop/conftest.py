"""The tests of the event loop: against ours inside a worker, against stock asyncio anywhere else.

Which loop is made: the environment variable LOOP_FACTORY as `module:function`; without it `erlang:new_event_loop` where that
exists, else `asyncio:new_event_loop`. So an expectation can be checked against another loop before ours has to meet it:

    python -m pytest test/python/loop                                                     stock asyncio
    py_worker-3.X --python test/pytest_in_worker.py SITE_PACKAGES -q test/python/loop     ours

Markers: `ours_only(why)` is for what stock asyncio does not promise, `stock_fails(why, since=(3, 12))` for what it promises and
does not keep in the versions from `since` to before `until`, `needs_python(3, 11)` for what came with a version.

Every test pays its bill (loop_bill.py): once it has passed, its loops are closed, and no descriptor, thread, child process,
warning, unraisable exception or unexpected line of asyncio's logger may be left. A test that hangs is interrupted after
TEST_BOUND seconds; if even that does not help, the process ends with the stacks of all threads on stderr.
"""

import asyncio
import faulthandler
import gc
import os
import signal
import sys
import threading

import pytest
from loop_bill import Bill
from loop_support import FACTORY_NAME, IS_OURS, new_event_loop, warm_up

TEST_BOUND = int(os.environ.get("TEST_BOUND", "60"))  # seconds


class Hangs(BaseException):
    """The test did not end in time. Not an Exception, so that no callback's error handling swallows it."""


def pytest_configure(config):
    config.addinivalue_line("markers", "ours_only(why): stock asyncio does not promise this")
    config.addinivalue_line("markers", "stock_fails(why, since=(3, 0), until=(4, 0)): a defect of stock asyncio")
    config.addinivalue_line("markers", "needs_python(major, minor): only from this version on")
    config.addinivalue_line("markers", "takes(seconds): interrupted only after so long")
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        config.loop_tests_stderr = os.dup(2)


def pytest_unconfigure(config):
    os.close(config.loop_tests_stderr)


def pytest_report_header():
    return f"loop: {FACTORY_NAME}"


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("ours_only") and not IS_OURS:
            item.add_marker(pytest.mark.skip(reason="stock asyncio does not promise this"))
        for marker in item.iter_markers("stock_fails"):
            since, until = marker.kwargs.get("since", (3, 0)), marker.kwargs.get("until", (4, 0))
            if not IS_OURS and since <= sys.version_info < until:
                item.add_marker(pytest.mark.skip(reason="stock asyncio: " + marker.args[0]))
        for marker in item.iter_markers("needs_python"):
            if sys.version_info < marker.args:
                item.add_marker(pytest.mark.skip(reason="needs Python " + ".".join(map(str, marker.args))))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Before any fixture: what is here now is not the test's."""
    warm_up()
    if getattr(sys, "last_traceback", None) is not None:
        sys.last_value = sys.last_traceback = sys.last_exc = None  # of a test that failed; it holds on to everything
        gc.collect()
    item.bill = Bill()


@pytest.hookimpl(hookwrapper=True, trylast=True)
def pytest_runtest_call(item):
    """Innermost around the test, so that warnings and unraisable exceptions come to the bill and not to pytest."""
    bill = item.bill
    takes = item.get_closest_marker("takes")
    bound = max(TEST_BOUND, takes.args[0] if takes else 0)
    with interrupted_after(bound, item.config.loop_tests_stderr), bill.watching():
        outcome = yield
        bill.close_loops()
        if outcome.excinfo is None:  # a failed test's traceback holds on to everything
            bill.add_up()


class interrupted_after:
    def __init__(self, seconds, stderr):
        self.seconds, self.stderr = seconds, stderr
        self.may_use_signals = threading.current_thread() is threading.main_thread()

    def __enter__(self):
        faulthandler.dump_traceback_later(self.seconds + 30, exit=True, file=self.stderr)
        if self.may_use_signals:
            self.before = signal.signal(signal.SIGALRM, self.interrupt)
            # Again every second: a loop may take the exception for one of a callback and report it only.
            signal.setitimer(signal.ITIMER_REAL, self.seconds, 1)

    def interrupt(self, *_):
        raise Hangs(f"not finished after {self.seconds} s")

    def __exit__(self, *_):
        if self.may_use_signals:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self.before)
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def the_bill_is_paid(request):
    """Reports what the test left behind as an error of its own, beside the result of the test."""
    yield
    debts = request.node.bill.debts
    if debts:
        more = [f"and {len(debts) - 20} more"] if len(debts) > 20 else []
        pytest.fail("left behind:\n  " + "\n  ".join(debts[:20] + more), pytrace=False)


@pytest.fixture
def bill(request):
    """For tests that make a line in the log, a warning or the like on purpose."""
    return request.node.bill


@pytest.fixture
def make_loop(bill):
    """make_loop() gives a new loop, which is closed after the test if the test did not do it."""

    def make():
        bill.loops.append(new_event_loop())
        return bill.loops[-1]

    return make


@pytest.fixture
def loop(make_loop):
    return make_loop()


@pytest.fixture
def run(loop):
    """run(coroutine) on the loop, with a bound that only a failure reaches."""

    def run(coroutine, bound=TEST_BOUND / 2):
        task = loop.create_task(coroutine)
        too_late = []
        bounded = loop.call_later(bound, lambda: (too_late.append(True), task.cancel()))
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            if too_late:
                pytest.fail(f"not finished after {bound} s")
            raise
        finally:
            bounded.cancel()

    return run
