"""Operations that a coroutine waits for.

Each asyncio loop has one native mailbox, into which the answers of everything that its coroutines asked come; draining it resolves their
futures, on the loop's own thread. The context's loop has the context's mailbox, which the worker drains between two steps; any other loop
gets one of its own and watches its descriptor. It ends with the loop.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Optional

from . import _port
from ._context_loop import ContextLoop

if TYPE_CHECKING:
    from ._erlang import Mailbox

__all__ = ["Receiver", "mailbox_of", "perform"]

_boxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = weakref.WeakKeyDictionary()
_opening = threading.Lock()


def mailbox_of(loop: asyncio.AbstractEventLoop) -> Mailbox:
    """The mailbox of a loop; made at its first use, for which we must be on the loop's thread."""
    box = _boxes.get(loop)
    return _open(loop) if box is None else box


def _open(loop: asyncio.AbstractEventLoop) -> Mailbox:
    _sweep()
    if isinstance(loop, ContextLoop):
        box = _port.context_mailbox()
    else:
        box = _port.new_mailbox()
        loop.add_reader(box.fileno(), box.drain)
        weakref.finalize(loop, box.close)
    with _opening:
        _boxes[loop] = box
    return box


def _sweep() -> None:
    """Closes what belongs to closed loops that somebody still holds: a program that makes one loop after the other keeps no descriptors."""
    with _opening:
        closed = [(loop, box) for loop, box in _boxes.items() if loop.is_closed()]
        for loop, _ in closed:
            del _boxes[loop]
    for loop, box in closed:
        if not isinstance(loop, ContextLoop):
            box.close()


async def perform(op: str, args: tuple[object, ...], timeout: Optional[float] = None) -> tuple[bool, Any]:
    """The answer to an operation: (True, value) or (False, error term). Whoever stops waiting cancels it."""
    answer, number = _start(op, args, timeout)
    try:
        return await answer
    finally:
        if answer.cancelled() or not answer.done():
            _port.cancel_op(number)


def _start(op: str, args: tuple[object, ...], timeout: Optional[float]) -> tuple[asyncio.Future[tuple[bool, Any]], int]:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[bool, Any]] = loop.create_future()

    def done(ok: bool, value: Any) -> None:
        if not answer.done():
            answer.set_result((ok, value))

    return answer, _port.start_op(mailbox_of(loop), done, op, args, timeout)


class Receiver:
    """The operation that fetches the next message of something, for waiters that may be cancelled without losing a message.

    Erlang may have let go of a message at the moment when its waiter is cancelled. So the operation then stays, and its answer belongs to the
    next one who asks: nothing is lost, and order is kept. :meth:`close` cancels operations that nobody came back for.
    Threads: one loop at a time. What stands for another loop, which has ended, is given up.
    """

    def __init__(self, op: str, *args: object) -> None:
        self._op = op
        self._args = args
        self._left: deque[tuple[asyncio.Future[tuple[bool, Any]], int]] = deque()

    async def next(self) -> tuple[bool, Any]:
        entry = self._take_over() or _start(self._op, self._args, None)
        try:
            return await asyncio.shield(entry[0])
        except BaseException:
            self._left.append(entry)
            raise

    def _take_over(self) -> Optional[tuple[asyncio.Future[tuple[bool, Any]], int]]:
        loop = asyncio.get_running_loop()
        while self._left:
            entry = self._left.popleft()
            if entry[0].get_loop() is loop:
                return entry
            _port.cancel_op(entry[1])
        return None

    def close(self) -> None:
        while self._left:
            answer, number = self._left.popleft()
            if not answer.done():
                _port.cancel_op(number)
