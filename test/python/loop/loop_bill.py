"""What a test must not leave behind: the bill on the way out."""

import asyncio
import contextlib
import gc
import logging
import os
import re
import sys
import threading
import time
import warnings

BOUND = 10  # seconds that something may take to go away by itself


def open_fds():
    fds = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the descriptor of listdir itself
            fds[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return fds


def children():
    """pid -> state and name of every child process, zombies included."""
    found, me = {}, os.getpid()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as stat:
                line = stat.read()
        except OSError:
            continue
        command, _, rest = line.partition("(")[2].rpartition(")")
        state, parent = rest.split()[:2]
        if int(parent) == me:
            found[int(name)] = f"{state} {command}"
    return found


def until(settled, bound=BOUND):
    """Waits for what nobody announces, like the end of a thread that has been told to end."""
    end = time.monotonic() + bound
    while not settled() and time.monotonic() < end:
        time.sleep(0.002)  # sleep-ok: nothing announces it
    return settled()


class Bill:
    def __init__(self):
        self.loops, self.debts = [], []
        self.to_close = []  # what fixtures made, closed after the loops and before the bill is added up
        self._fds, self._children, self._threads = open_fds(), children(), set(threading.enumerate())
        self._logged, self._warned, self._unraisable = [], [], []
        self._expected_logs, self._allowed_logs, self._allowed_warnings = [], [], []

    # ------------------------------------------------------------------------------------------ what tests say

    def expect_log(self, pattern):
        """The test makes a line of asyncio's logger (warning or worse) on purpose; it is an error if it does not come."""
        self._expected_logs.append(pattern)

    def allow_log(self, pattern):
        """The same, but it may stay away."""
        self._allowed_logs.append(pattern)

    def logged(self):
        return [self._text(record) for record in self._logged]

    def warned(self, category=Warning):
        """The warnings so far; who has taken them need not pay for them."""
        taken = [w for w in self._warned if issubclass(w.category, category)]
        self._warned[:] = [w for w in self._warned if w not in taken]
        return [str(w.message) for w in taken]

    def allow_warning(self, pattern):
        self._allowed_warnings.append(pattern)

    def unraisable(self):
        """The unraisable exceptions so far; taken."""
        taken, self._unraisable[:] = list(self._unraisable), []
        return taken

    # ---------------------------------------------------------------------------------------- what conftest does

    @contextlib.contextmanager
    def watching(self):
        handler = logging.Handler(logging.WARNING)
        handler.emit = self._logged.append
        logger = logging.getLogger("asyncio")
        hooks = sys.unraisablehook, threading.excepthook
        sys.unraisablehook = lambda what: self._unraisable.append(
            f"{type(what.exc_value).__name__}: {what.exc_value} in {what.err_msg or ''} {what.object!r:.200}")
        threading.excepthook = lambda what: self._unraisable.append(f"in {what.thread}: {what.exc_value!r}")
        logger.addHandler(handler)
        try:
            with warnings.catch_warnings(record=True) as self._warned:
                warnings.simplefilter("always")
                warnings.filterwarnings("ignore", category=DeprecationWarning)
                yield
        finally:
            logger.removeHandler(handler)
            sys.unraisablehook, threading.excepthook = hooks

    def close_loops(self):
        for loop in self.loops:
            if loop.is_closed():
                continue
            if loop.is_running():
                self.debts.append(f"a running loop: {loop!r}")
                continue
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # policies are deprecated from 3.14 on
            asyncio.set_event_loop(None)
        self.loops.clear()
        for thing in self.to_close:
            thing.close()
        self.to_close.clear()

    def add_up(self):
        while gc.collect():  # what a finalizer lets go of is collected by the next round
            pass
        owe = self.debts.append
        if not until(lambda: not self._new_threads()):
            owe(f"threads: {self._new_threads()}")
        while gc.collect():  # what the last of them held
            pass
        if not until(lambda: not self._new_children()):
            owe(f"children: {self._new_children()}")
        if not until(lambda: not self._new_fds(), 1):
            owe(f"descriptors: {self._new_fds()}")
        self.debts += [f"a warning: {w.category.__name__}: {w.message}" for w in self._warned
                       if not any(re.search(pattern, str(w.message)) for pattern in self._allowed_warnings)]
        self.debts += [f"an unraisable exception: {text}" for text in self._unraisable]
        texts = self.logged()
        for pattern in self._expected_logs:
            matching = [text for text in texts if re.search(pattern, text)]
            if not matching:
                owe(f"no line in the log with {pattern!r}: {texts}")
            texts = [text for text in texts if text not in matching]
        self.debts += [f"a line in the log: {text}" for text in texts
                       if not any(re.search(pattern, text) for pattern in self._allowed_logs)]

    def _new_threads(self):
        return [t for t in threading.enumerate() if t not in self._threads and t.is_alive()]

    def _new_children(self):
        return {pid: what for pid, what in children().items() if pid not in self._children}

    def _new_fds(self):
        return {fd: what for fd, what in open_fds().items() if self._fds.get(fd) != what and not what.startswith("/proc/")}

    @staticmethod
    def _text(record):
        text = record.getMessage()
        if record.exc_info:
            text += f"\n{record.exc_info[1]!r}"
        return text
