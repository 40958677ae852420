"""What :mod:`erlang.testing` is made of: operations that are answered at once or later, mailboxes, queues, and the way into the package.

Keeps the promises of the worker: what is done with an answer is called by ``drain`` only, and never after ``cancel_op`` has said True.
"""

from __future__ import annotations

import itertools
import os
import struct
import sys
import threading
from collections import deque
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Optional

from . import _erlang, _port
from ._erlang import binary_to_term, term_to_binary

__all__ = ["BUILT_IN", "Call", "Job", "NEVER", "Operations", "Queue", "in_worker", "new_pid", "through"]

PATIENCE = 10.0  # seconds: what blocks for longer will never end
NEVER = object()


def in_worker() -> bool:
    return _erlang.Atom.__module__ != "erlang._outside"


def new_pid(number: int) -> Any:
    return binary_to_term(b"\x83\x58\x77\x0dnonode@nohost" + struct.pack(">III", number, 0, 0))


def through(value: object) -> Any:
    """What is there on the other side of the border."""
    return binary_to_term(term_to_binary(value))


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


class Queue:
    """A channel, or what is pushed into a stream."""

    def __init__(self, size: Optional[int]) -> None:
        self._size, self._closed = size, False
        self._items: deque[Any] = deque()
        self._receivers: deque[Job] = deque()
        self._senders: deque[tuple[Job, Any]] = deque()
        self._lock = threading.RLock()

    def put(self, item: Any) -> None:
        with self._lock:
            while self._receivers:
                if self._receivers.popleft().answer(("ok", item)):
                    return
            self._items.append(item)

    def take_all(self) -> list[Any]:
        with self._lock:
            taken = list(self._items)
            self._items.clear()
            self._refill()
            return taken

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for job in self._receivers:
                job.answer("closed")
            for job, _ in self._senders:
                job.answer("closed")

    def serve(self, job: Job, what: str, args: tuple[Any, ...]) -> None:
        with self._lock:
            getattr(self, f"_{what}")(job, *args)

    def _is_full(self) -> bool:
        return self._size is not None and len(self._items) >= self._size

    def _refill(self) -> None:
        while self._senders and not self._is_full():
            job, item = self._senders.popleft()
            if job.answer("ok"):
                self.put(item)

    def _receive(self, job: Job, limit: Optional[int] = None) -> None:
        if self._items:
            job.answer(("ok", self._items.popleft()))
            self._refill()
        elif self._closed:
            job.answer("closed")
        elif limit is not None:
            job.answer("timeout")  # nobody puts anything in while a test waits
        else:
            job.hang("a message in the channel")
            self._receivers.append(job)

    def _try_receive(self, job: Job) -> None:
        self._receive(job) if self._items or self._closed else job.answer("empty")

    def _send(self, job: Job, item: Any, limit: Optional[int] = None) -> None:
        if self._closed:
            job.answer("closed")
        elif not self._is_full():
            self.put(item)
            job.answer("ok")
        elif limit is not None:
            job.answer("timeout")
        else:
            job.hang("room in the channel")
            self._senders.append((job, item))

    def _try_send(self, job: Job, item: Any) -> None:
        job.answer("full") if self._is_full() and not self._closed else self._send(job, item)

    def _close(self, job: Job) -> None:
        self.close()
        job.answer("ok")

    def _info(self, job: Job) -> None:
        job.answer({"size": len(self._items), "closed": self._closed})

    def _take(self, job: Job, most: int) -> None:
        if not self._items:
            job.answer("done")
        else:
            job.answer(("items", [self._items.popleft() for _ in range(min(most, len(self._items)))]))


class Operations:
    """Stands in for the functions of ``_port`` that need Erlang. ``serve`` answers jobs."""

    def __init__(self, serve: Callable[[Job], None], call: Any) -> None:
        self._serve, self._call = serve, call
        self._jobs: dict[int, Job] = {}
        self._numbers = itertools.count(1)
        self._main = Mailbox(has_pipe=False)
        self._boxes: list[Mailbox] = []

    def call_op(self, op: str, args: tuple[Any, ...], timeout: Optional[float]) -> tuple[bool, Any]:
        ended, answers = threading.Event(), []  # type: ignore[var-annotated]
        job = self._begin(Job(op, _crossed(args), timeout, lambda ok, value: (answers.append((ok, value)), ended.set())))  # type: ignore[func-returns-value]
        if not ended.is_set() and timeout is not None and op == "call":
            job.cancelled = True
            raise TimeoutError("no answer in time")
        if not ended.wait(PATIENCE if timeout is None else timeout):
            job.cancelled = True
            raise TimeoutError("no answer in time") if timeout is not None else AssertionError(f"waits for {job.waits_for}, which never comes")
        return answers[0]  # type: ignore[no-any-return]

    def start_op(self, mailbox: Mailbox, done: Callable[[bool, Any], object], op: str, args: tuple[Any, ...], timeout: Optional[float]) -> int:
        number = next(self._numbers)
        job = Job(op, _crossed(args), timeout, lambda ok, value: mailbox.put((number, self._jobs, done, ok, value)))
        self._jobs[number] = job
        self._begin(job)
        if timeout is not None and job.waits_for:
            job.fail("timeout")
        return number

    def cancel_op(self, number: int) -> bool:
        job = self._jobs.pop(number, None)
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
        mailboxes = sys.modules.get(f"{__package__}._mailbox")
        for loop, box in list(mailboxes._boxes.items()) if mailboxes else ():
            if box in self._boxes:
                del mailboxes._boxes[loop]
                if not loop.is_closed():
                    loop.remove_reader(box.fileno())
        for box in self._boxes:
            box.close()


def _crossed(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """As the other side sees them. Raises TermError."""
    return tuple(through(list(args)))


def _forget_self() -> None:
    processes = sys.modules.get(f"{__package__}._processes")
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


# Functions of Erlang's façade ----------------------------------------------------------------------------------------------------


def _log(node: Any, _lost: int, records: list[Any]) -> str:
    keys = ("level", "logger", "message", "time", "file", "line", "function", "exception", "trace", "meta")
    node.logs.extend(dict(zip(keys, record)) for record in records)
    return "ok"


def _span(node: Any, _lost: int, items: list[Any]) -> str:
    keys = ("name", "span_id", "parent_id", "trace_id", "start_time", "attributes", "end_time", "duration_us", "status", "end_attrs", "events")
    for kind, *values in items:
        if kind == "stop":
            span = dict(zip(keys, values))
            span["events"] = [dict(zip(("name", "time", "attributes"), event)) for event in span["events"]]
            node.spans.append(span)
    return "ok"


def _incr(node: Any, key: Any, amount: int = 1) -> Any:
    value = node.state.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool):
        return "error", "not_an_integer"
    node.state[key] = value + amount
    return value + amount


def _get(node: Any, key: Any, found: Any = None) -> Any:
    if found is None:
        return node.state.get(key)
    return [node.state[key]] if key in node.state else []


BUILT_IN: dict[str, Callable[..., Any]] = {
    "_py_log": _log,
    "_py_span": _span,
    "state_clear": lambda node: node.state.clear(),
    "state_decr": lambda node, key, amount=1: _incr(node, key, -amount),
    "state_delete": lambda node, key: node.state.pop(key, None) and None,
    "state_get": _get,
    "state_incr": _incr,
    "state_keys": lambda node: list(node.state),
    "state_set": lambda node, key, value: node.state.__setitem__(key, value),
}
