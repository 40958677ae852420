"""An Erlang node in Python, for tests of the package without a port.

It takes the place of the functions in `erlang._port`. What an operation does is up to the test: `node.on("call", function)` has
`function(job)` called on the thread that asks; it answers with `job.answer(value)` or `job.fail(term)`, at once or later, from any thread.
Keeps the same promises as the worker: done functions are called by drain() only, never after cancel_op() has said True.
"""

import asyncio
import collections
import contextvars
import itertools
import os
import struct
import threading
import types

import erlang
from erlang import Atom, _port


CALL = contextvars.ContextVar("call", default=None)


def pid(number):
    return erlang.binary_to_term(b"\x83\x58\x77\x0dnonode@nohost" + struct.pack(">III", number, 0, 0))


class Job:
    def __init__(self, op, args, deliver):
        self.op, self.args, self.cancelled = op, args, False
        self._deliver, self._lock = deliver, threading.Lock()

    def answer(self, value):
        self._settle(True, value)

    def fail(self, term):
        self._settle(False, term)

    def _settle(self, ok, value):
        with self._lock:
            deliver, self._deliver = self._deliver, None
        if deliver:
            deliver(ok, value)


class Mailbox:
    def __init__(self):
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        self._answers = collections.deque()
        self.closed = False

    def fileno(self):
        return self._read

    def put(self, entry):
        self._answers.append(entry)
        if not self.closed:
            os.write(self._write, b"x")

    def drain(self):
        try:
            os.read(self._read, 65536)
        except BlockingIOError:
            pass
        while self._answers:
            number, jobs, done, ok, value = self._answers.popleft()
            if jobs.pop(number, None):
                done(ok, value)

    def close(self):
        if not self.closed:
            self.closed = True
            os.close(self._read)
            os.close(self._write)


class Node:
    def __init__(self):
        self.handlers, self.jobs, self.log = {}, {}, []
        self.mailboxes = []
        self._numbers = itertools.count(1)
        self._context = None
        self.on("exists", lambda job: job.answer(False))

    def on(self, op, handler):
        self.handlers[op] = handler

    def serve(self, **functions):
        """Registers Erlang functions that answer at once; what they raise as Failed is the error term."""

        def run(job):
            name, args = job.args
            try:
                job.answer(functions[name](*args)) if name in functions else job.fail((Atom("not_found"), name))
            except Failed as failed:
                job.fail(failed.args[0])

        self.on("call", run)
        self.on("exists", lambda job: job.answer(job.args[0] in functions))

    # What stands in for the natives.

    def call_op(self, op, args, timeout):
        ended, answers = threading.Event(), []
        job = Job(op, args, lambda ok, value: (answers.append((ok, value)), ended.set()))
        self._begin(job)
        if not ended.wait(timeout):
            job.cancelled = True
            raise TimeoutError("no answer in time")
        return answers[0]

    def start_op(self, mailbox, done, op, args, timeout):
        number = next(self._numbers)
        job = Job(op, args, lambda ok, value: mailbox.put((number, self.jobs, done, ok, value)))
        self.jobs[number] = job
        self._begin(job)
        return number

    def cancel_op(self, number):
        job = self.jobs.pop(number, None)
        if job:
            job.cancelled = True
        return job is not None

    def new_mailbox(self):
        self.mailboxes.append(Mailbox())
        return self.mailboxes[-1]

    def current(self):
        return CALL.get()

    def context_mailbox(self):
        return self._the_context().mailbox

    def context_loop(self):
        return self._the_context().loop

    def _begin(self, job):
        self.log.append((job.op, job.args))
        self.handlers[job.op](job)

    def _the_context(self):
        if self._context is None:
            self._context = Context()
        return self._context

    def set_call(self, deadline=0, trace=None, parent=0):
        """Makes the code that follows part of a call from Erlang."""
        free = types.SimpleNamespace(id=1, parent=parent, deadline=0, trace=trace)
        CALL.set(types.SimpleNamespace(id=1, parent=parent, deadline=deadline, trace=trace, without_deadline=lambda: free))

    def install(self, monkeypatch):
        for name in ("call_op", "start_op", "cancel_op", "new_mailbox", "context_mailbox", "context_loop", "current"):
            monkeypatch.setattr(_port, name, getattr(self, name))

    def close(self):
        CALL.set(None)
        context, self._context = self._context, None
        if context:
            context.stop()


class Failed(Exception):
    """An Erlang function's way to fail in `serve`: Failed(term)."""


def failed(error_class, reason, stack="stack"):
    return Failed((Atom("failed"), Atom(error_class), reason, stack))


class Context:
    """The worker's main thread: runs the context's loop and drains its mailbox. Here it is a thread of its own."""

    def __init__(self):
        from erlang._context_loop import ContextLoop

        class OwnLoop(ContextLoop):
            """With a libuv loop of its own."""

            def _begin(self):
                self._open(None)

        self.mailbox = Mailbox()
        self.loop = OwnLoop()
        self.tasks_of_calls = []
        self._stop_read, self._stop_write = os.pipe()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        from erlang import ErlangEventLoop

        asyncio.set_event_loop(self.loop)
        # Those of the loop that a context's loop refuses to everybody else.
        self.loop._add_reader(self._stop_read, ErlangEventLoop.stop, self.loop)
        self.loop._add_reader(self.mailbox.fileno(), self._drain)
        ErlangEventLoop.run_forever(self.loop)
        self.loop._remove_reader(self._stop_read)
        self.loop._remove_reader(self.mailbox.fileno())
        self.loop.begin_end(self.tasks_of_calls)
        self.loop.finish()

    def _drain(self):
        asyncio._set_running_loop(None)  # the main loop does it between two steps
        try:
            self.mailbox.drain()
        finally:
            asyncio._set_running_loop(self.loop)

    def stop(self):
        os.write(self._stop_write, b"x")
        self.thread.join()
        self.mailbox.close()
        os.close(self._stop_read)
        os.close(self._stop_write)
