"""Operations that a coroutine waits for.

Each asyncio loop has one native mailbox, into which the answers of everything that its coroutines asked come; draining it resolves their
futures, on the loop's own thread. The context's loop has the context's mailbox, which the worker drains between two steps; any other loop
gets one of its own and watches its descriptor. Nothing of ours but the loop, by what it is to call then, holds that one: it ends with the loop,
and holds what is awaited for as long.
"""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from . import _port
from ._context_loop import ContextLoop

if TYPE_CHECKING:
    from ._erlang import Mailbox

__all__ = ["Receiver", "mailbox_of", "perform", "wind_up"]

Settle = Callable[[bool, Any], None]

_boxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Mailbox]] = weakref.WeakKeyDictionary()


def mailbox_of(loop: asyncio.AbstractEventLoop) -> Mailbox:
    """The mailbox of a loop; made at its first use, for which we must be on the loop's thread."""
    known = _boxes.get(loop)
    box = None if known is None else known()
    return _open(loop) if box is None else box


def _open(loop: asyncio.AbstractEventLoop) -> Mailbox:
    _sweep()
    if isinstance(loop, ContextLoop):
        box = _port.context_mailbox()
    else:
        box = _port.new_mailbox()
        loop.add_reader(box.fileno(), box.drain)
        weakref.finalize(loop, _close, weakref.ref(box)).atexit = False  # a thread's loop may run to the very end
    _boxes[loop] = weakref.ref(box)
    return box


def _close(known: weakref.ref[Mailbox]) -> None:
    box = known()
    if box is not None:
        box.close()


def _sweep() -> None:
    """Closes what belongs to closed loops that somebody still holds, should they not have let go of it: descriptors must not pile up."""
    for loop, known in _of_users_loops():
        if loop.is_closed():
            _boxes.pop(loop, None)
            _close(known)


def _of_users_loops() -> list[tuple[asyncio.AbstractEventLoop, weakref.ref[Mailbox]]]:
    found = []
    for held in _boxes.keyrefs():  # a copy, made in one step: other threads open and sweep meanwhile
        loop = held()
        known = None if loop is None or isinstance(loop, ContextLoop) else _boxes.get(loop)
        if loop is not None and known is not None:
            found.append((loop, known))
    return found


def wind_up(interrupted: bool) -> None:
    """A request on the main thread has ended that opened mailboxes there, or that was interrupted: loops that it left behind are waited for
    by nobody, but what their coroutines asked of Erlang, and what Erlang asked of them, would stand until the collector came by."""
    _sweep()
    if interrupted and any(not loop.is_running() for loop, _ in _of_users_loops()):
        gc.collect()  # a loop whose asyncio.run was broken off is in a cycle with its tasks


async def perform(op: str, args: tuple[object, ...], timeout: Optional[float] = None) -> tuple[bool, Any]:
    """The answer to an operation: (True, value) or (False, error term). Whoever stops waiting cancels it.

    The time is up after ``timeout`` seconds or at the deadline of the call at hand, whichever is first: the answer is (False, "timeout").
    """
    deadline = _deadline(timeout)
    if deadline and deadline <= time.monotonic_ns():
        return False, "timeout"
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[bool, Any]] = loop.create_future()
    done = _settling(answer)
    group = None
    operation: Union[int, Settle] = done  # an interrupt may come before its number does
    try:
        operation = _port.start_op(mailbox_of(loop), done, op, args, timeout)
        if deadline:
            group = _limit(answer, deadline)
        return await answer
    finally:
        try:
            if group is not None:
                group.leave(answer)
            if answer.cancelled() or not answer.done() or answer.result() is _LATE:
                _port.cancel_op(operation)
        except KeyboardInterrupt:  # in the midst of this, by the very deadline that ended the wait perhaps: once more does no harm
            if group is not None:
                group.leave(answer)
            _port.cancel_op(operation)
            raise


_LATE = (False, "timeout")
_FOREVER = 1e9  # seconds


def _settling(answer: asyncio.Future[tuple[bool, Any]]) -> Settle:
    def done(ok: bool, value: Any) -> None:
        if not answer.done():
            answer.set_result((ok, value))

    return done


def _deadline(timeout: Optional[float]) -> int:
    """Nanoseconds of the monotonic clock; 0 for none."""
    call = _port.current()
    inherited: int = call.deadline if call is not None else 0
    if timeout is None:
        return inherited
    own = time.monotonic_ns() + int(min(max(0.0, timeout), _FOREVER) * 1e9)
    return min(own, inherited) if inherited else own


class _Group:
    """What has to be answered by the same moment: one timer for all operations of a call from Erlang."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: int, groups: dict[int, _Group]) -> None:
        self._groups = groups
        self._deadline = deadline
        self._waiting: set[asyncio.Future[tuple[bool, Any]]] = set()
        self._timer = loop.call_later(max(0, deadline - time.monotonic_ns()) / 1e9, self._expire)

    def join(self, answer: asyncio.Future[tuple[bool, Any]]) -> None:
        self._waiting.add(answer)

    def leave(self, answer: asyncio.Future[tuple[bool, Any]]) -> None:
        self._waiting.discard(answer)
        if not self._waiting:
            self._timer.cancel()
            self._groups.pop(self._deadline, None)

    def _expire(self) -> None:
        self._groups.pop(self._deadline, None)
        for answer in self._waiting:
            if not answer.done():
                answer.set_result(_LATE)


_groups: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, _Group]] = weakref.WeakKeyDictionary()


def _limit(answer: asyncio.Future[tuple[bool, Any]], deadline: int) -> _Group:
    loop = answer.get_loop()
    groups = _groups.get(loop)
    if groups is None:
        groups = _groups[loop] = {}
    group = groups.get(deadline)
    if group is None:
        group = groups[deadline] = _Group(loop, deadline, groups)
    group.join(answer)
    return group


class Receiver:
    """The operations that fetch the next messages of something, for waiters that may be cancelled without losing a message.

    Erlang may have let go of a message at the moment when its waiter is cancelled. So the operation then stays. Whichever operation an answer
    comes by, it belongs to the waiter that has waited longest, or to the next one who asks: nothing is lost, order is kept, and nobody waits
    behind an operation that nobody waits for. For the same reason the operations have no time limit of their own.
    :meth:`close` cancels operations that nobody came back for.
    Threads: one loop at a time. What stands for another loop, which has ended, is given up, but for the answers that had come.
    """

    def __init__(self, op: str, *args: object) -> None:
        self._op = op
        self._args = args
        self._loop: Optional[weakref.ref[asyncio.AbstractEventLoop]] = None
        self._waiters: deque[asyncio.Future[tuple[bool, Any]]] = deque()
        self._operations: dict[Settle, Union[int, Settle]] = {}
        self._answers: deque[tuple[bool, Any]] = deque()

    async def next(self) -> tuple[bool, Any]:
        loop = asyncio.get_running_loop()
        self._serve(loop)
        if self._answers:
            return self._answers.popleft()
        waiter: asyncio.Future[tuple[bool, Any]] = loop.create_future()
        self._waiters.append(waiter)
        try:
            if len(self._operations) < len(self._waiters):
                self._start(loop)
            return await waiter
        except BaseException:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            if waiter.done() and not waiter.cancelled():
                self._hand_on(waiter.result(), self._answers.appendleft)
            raise

    def left(self) -> Optional[tuple[bool, Any]]:
        """An answer that came for nobody, and is the caller's now."""
        return self._answers.popleft() if self._answers else None

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is None or self._loop() is not loop:
            self._waiters.clear()
            self._cancel()
            self._loop = weakref.ref(loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        def done(ok: bool, value: Any) -> None:
            if self._operations.pop(done, None) is not None:
                self._hand_on((ok, value), self._answers.append)

        self._operations[done] = done  # an interrupt may come before its number does
        try:
            self._operations[done] = _port.start_op(mailbox_of(loop), done, self._op, self._args, None)
        except BaseException:
            _port.cancel_op(self._operations.pop(done, done))
            raise

    def _hand_on(self, answer: tuple[bool, Any], keep: Callable[[tuple[bool, Any]], None]) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(answer)
                return
        keep(answer)

    def _cancel(self) -> None:
        while len(self._operations) > len(self._waiters):
            _port.cancel_op(self._operations.popitem()[1])

    def close(self) -> None:
        self._cancel()
        self._answers.clear()
