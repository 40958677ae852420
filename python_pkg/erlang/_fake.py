"""What :mod:`erlang.testing` is made of: operations that are answered at once or later, mailboxes, queues, and the way into the package.

Keeps the promises of the worker: what is done with an answer is called by ``drain`` only, and never after ``cancel_op`` has said True.
"""

from __future__ import annotations

import itertools
import os
import struct
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Optional

from . import _erlang, _port
from ._erlang import TermError, binary_to_term, term_to_binary

__all__ = ["Call", "Job", "NEVER", "Operations", "in_worker", "new_pid", "through"]

PATIENCE = 10.0  # seconds: what blocks for longer will never end
NEVER = object()


def in_worker() -> bool:
    return _erlang.Atom.__module__ != "erlang._outside"


def new_pid(number: int) -> Any:
    return binary_to_term(b"\x83\x58\x77\x0dnonode@nohost" + struct.pack(">III", number, 0, 0))


def through(value: object, root: str = "term") -> Any:
    """What is there on the other side of the border."""
    try:
        return binary_to_term(term_to_binary(value))
    except TermError as error:
        said = TermError(root + str(error)[len("term") :])
        said.path = root + error.path[len("term") :]
        raise said from None


class Call:
    def __init__(self, id: int = 0, deadline: int = 0, trace: Optional[str] = None) -> None:
        self.id, self.parent, self.deadline, self.trace = id, 0, deadline, trace

    def without_deadline(self) -> Call:
        return Call(self.id, 0, self.trace)


class Job:
    """One operation that is under way. Answered once."""

    def __init__(self, op: str, args: tuple[Any, ...], blocks_for: Optional[float], deliver: Callable[[bool, Any], None]) -> None:
        self.op, self.args, self.cancelled, self.waits_for = op, args, False, ""
        self.blocks_for = blocks_for
        self._deliver: Optional[Callable[[bool, Any], None]] = deliver
        self._lock = threading.Lock()

    def answer(self, value: Any) -> bool:
        """False: nobody waits for it any more."""
        return self._settle(True, value)

    def fail(self, term: Any) -> bool:
        return self._settle(False, term)

    def hang(self, what: str) -> None:
        self.waits_for = what

    def _settle(self, ok: bool, value: Any) -> bool:
        with self._lock:
            deliver, self._deliver = self._deliver, None
        if deliver is None or self.cancelled:
            return False
        deliver(ok, value)
        return True


class Mailbox:
    def __init__(self, has_pipe: bool = True) -> None:
        self._read, self._write = os.pipe() if has_pipe else (-1, -1)
        if has_pipe:
            os.set_blocking(self._read, False)
        self._answers: deque[Any] = deque()
        self._lock = threading.Lock()

    def fileno(self) -> int:
        return self._read

    def put(self, entry: Any) -> None:
        with self._lock:
            self._answers.append(entry)
            if self._write >= 0:
                os.write(self._write, b"x")

    def drain(self) -> None:
        if self._read >= 0:
            try:
                os.read(self._read, 65536)
            except (BlockingIOError, OSError):
                pass
        while self._answers:
            number, jobs, done, ok, value = self._answers.popleft()
            if jobs.pop(number, None):
                done(ok, value)

    def close(self) -> None:
        with self._lock:
            read, write, self._read, self._write = self._read, self._write, -1, -1
        for fd in (read, write):
            if fd >= 0:
                os.close(fd)


class Operations:
    """Stands in for the functions of ``_port`` that need Erlang. ``serve`` answers jobs."""

    def __init__(self, serve: Callable[[Job], None], call: Any) -> None:
        self._serve, self._call = serve, call
        self._jobs: dict[int, Job] = {}
        self._numbers = itertools.count(1)
        self._main = Mailbox(has_pipe=False)
        self._boxes: list[Mailbox] = []

    def call_op(self, op: str, args: tuple[Any, ...], timeout: Optional[float]) -> tuple[bool, Any]:
        ended = threading.Event()
        answers: list[tuple[bool, Any]] = []

        def deliver(ok: bool, value: Any) -> None:
            answers.append((ok, value))
            ended.set()

        job = Job(op, _crossed(op, args), timeout, deliver)
        if self._is_late(timeout):
            raise TimeoutError("no answer in time")
        self._begin(job)
        if not ended.is_set() and timeout is not None and op == "call":
            job.cancelled = True
            raise TimeoutError("no answer in time")
        if not ended.wait(PATIENCE if timeout is None else timeout):
            job.cancelled = True
            raise TimeoutError("no answer in time") if timeout is not None else AssertionError(f"waits for {job.waits_for}, which never comes")
        return answers[0]

    def _is_late(self, timeout: Optional[float]) -> bool:
        deadline = (self._call.get() or Call()).deadline
        return (timeout is not None and timeout <= 0) or 0 < deadline <= time.monotonic_ns()

    def start_op(self, mailbox: Mailbox, done: Callable[[bool, Any], object], op: str, args: tuple[Any, ...], timeout: Optional[float]) -> int:
        number = next(self._numbers)
        job = Job(op, _crossed(op, args), timeout, lambda ok, value: mailbox.put((number, self._jobs, done, ok, value)))
        self._jobs[number] = job
        self._begin(job)
        if timeout is not None and job.waits_for:
            job.fail("timeout")
        return number

    def cancel_op(self, operation: "int | Callable[[bool, Any], object]") -> bool:
        job = self._jobs.pop(operation, None) if isinstance(operation, int) else None  # nobody interrupts here: the others have not begun
        if job is not None:
            job.cancelled = True
        return job is not None

    def new_mailbox(self) -> Mailbox:
        self._boxes.append(Mailbox())
        return self._boxes[-1]

    def context_mailbox(self) -> Mailbox:
        return self._main

    def context_loop(self) -> Any:
        raise RuntimeError("erlang.testing has no loop of a context: do this inside a coroutine, under asyncio.run() for instance")

    def current(self) -> Any:
        return self._call.get()

    def set_trace(self, trace: str) -> Any:
        call = self._call.get() or Call()
        return self._call.set(Call(call.id, call.deadline, trace))

    def reset_trace(self, token: Any) -> None:
        self._call.reset(token)

    def deliver_on_main(self) -> None:
        """What a worker's main thread does between two calls."""
        self._main.drain()

    def _begin(self, job: Job) -> Job:
        self._serve(job)
        return job

    @contextmanager
    def installed(self) -> Iterator[None]:
        names = ("call_op", "start_op", "cancel_op", "new_mailbox", "context_mailbox", "context_loop", "current", "set_trace", "reset_trace")
        if isinstance(getattr(_port.call_op, "__self__", None), Operations):
            raise RuntimeError("there is a fake node already: one at a time")
        before = {name: getattr(_port, name) for name in names}
        for name in names:
            setattr(_port, name, getattr(self, name))
        _forget_self()
        loops = _lend_loops()
        try:
            yield
        finally:
            _forget_self()
            _give_back(loops)
            self._leave()
            for name, function in before.items():
                setattr(_port, name, function)

    def _leave(self) -> None:
        for module in ("_logging", "_tracing"):
            courier = getattr(sys.modules.get(f"{__package__}.{module}"), "_courier", None)
            if courier is not None:
                courier.flush(PATIENCE)
                courier.reset()
        mailboxes: Any = sys.modules.get(f"{__package__}._mailbox")
        for loop, known in list(mailboxes._boxes.items()) if mailboxes else ():
            box = known()
            if box in self._boxes:
                del mailboxes._boxes[loop]
                if not loop.is_closed():
                    loop.remove_reader(box.fileno())
        for box in self._boxes:
            box.close()


def _crossed(op: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """As the other side sees them. Raises TermError."""
    return tuple(through(value, "name" if i == 0 else "args" if op == "call" else "term") for i, value in enumerate(args))


def _forget_self() -> None:
    processes: Any = sys.modules.get(f"{__package__}._processes")
    if processes is not None:
        processes._self = None  # the pid of this context, which is asked for once


def _lend_loops() -> list[tuple[Any, Any]]:
    """Where there is no worker, ``erlang.run`` and ``new_event_loop`` make asyncio's own loop meanwhile."""
    if in_worker():
        return []
    import asyncio

    from . import _event_loop, _loops

    package = sys.modules[__package__]
    places = [_event_loop, _loops, package]
    before = [(place, vars(place).get("new_event_loop")) for place in places]
    for place in places:
        setattr(place, "new_event_loop", asyncio.new_event_loop)
    return before


def _give_back(before: list[tuple[Any, Any]]) -> None:
    for place, function in before:
        if function is None:
            delattr(place, "new_event_loop")
        else:
            setattr(place, "new_event_loop", function)
