"""Batches of an asynchronous iterator.

One task, the pump, does everything with the iterator from its first item to its ``aclose``: what it enters (a timeout, a task group, a
database transaction) it leaves in the same task, which libraries rely on. The pump works only while a take waits; between takes it is
parked. It has the context of the first take, but not its deadline, if it had one: it goes on when that take has long been answered.

Runs on one loop, the home, which is that of the first take. Takes and closes on other loops are carried over to it;
:meth:`AsyncReader.abandon` may come from any thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from time import monotonic
from typing import Any, AsyncIterator, Callable, Coroutine, NamedTuple, Optional

from . import _port
from ._context_loop import is_ending
from ._report import report

__all__ = ["AsyncReader"]

PROMPT = 0.001  # seconds without a rest for the loop


class Waiting(NamedTuple):
    """A take that waits. The first in line is the one that the pump works for."""

    served: asyncio.Future[None]
    max_items: int
    max_bytes: int


class AsyncReader:
    def __init__(self, items: AsyncIterator[Any], close: Callable[[], Any]) -> None:
        self._items = items
        self._close = close
        self._ready: deque[Any] = deque()
        self._size = 0
        self._line: deque[Waiting] = deque()
        self._pump: Optional[asyncio.Task[None]] = None
        self._home: Optional[asyncio.AbstractEventLoop] = None
        self._begun = False  # a task that is cancelled before its first step runs nothing at all
        self._parked: Optional[asyncio.Future[None]] = None
        self._given = 0
        self._error: Any = None  # of the producer or of an item; for the take that finds nothing else
        self._close_error: Optional[BaseException] = None
        self._ended = False
        self._closing = False

    async def take(self, max_items: int, max_bytes: int) -> Any:
        return await self._at_home(self._take(max_items, max_bytes))

    async def _at_home(self, work: Coroutine[Any, Any, Any]) -> Any:
        running = asyncio.get_running_loop()
        if self._home is None:
            self._home = running
        if self._home is running or self._home.is_closed():
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._home))

    async def _take(self, max_items: int, max_bytes: int) -> Any:
        if self._line or not (self._ready or self._ended):
            await self._stand_in_line(max_items, max_bytes)
        from ._streams import DONE, ITEMS, tell

        batch = self._batch(max_items, max_bytes)
        if batch:
            return ITEMS, batch
        if self._error is not None:
            error, self._error = self._error, None
            return tell(error)
        return DONE

    async def _stand_in_line(self, max_items: int, max_bytes: int) -> None:
        waiting = Waiting(asyncio.get_running_loop().create_future(), max_items, max_bytes)
        self._line.append(waiting)
        self._serve()
        try:
            await waiting.served
        except BaseException:
            self._leave(waiting)
            self._serve()
            raise
        self._leave(waiting)
        # What is left after our batch is for the next in line, who must not look before we have taken ours.
        asyncio.get_running_loop().call_soon(self._serve)

    def _leave(self, waiting: Waiting) -> None:
        self._line = deque(other for other in self._line if other is not waiting)

    def _batch(self, max_items: int, max_bytes: int) -> list[Any]:
        from ._streams import batch_of, size_of

        if not self._ready:
            return []
        batch, failure = batch_of(list(islice(self._ready, max_items)), self._given, max_bytes)
        for item in batch:
            self._ready.popleft()
            self._size -= size_of(item)
        self._given += len(batch)
        if failure is not None:
            self._begin_close()
            self._error = failure
        return batch

    def _serve(self) -> None:
        """Lets the first in line go when there is something for it, else sees to it that the pump works for it."""
        if not self._line:
            return
        if self._ready or self._ended:
            if not self._line[0].served.done():
                self._line[0].served.set_result(None)
        elif self._pump is None:
            loop = asyncio.get_running_loop()
            self._pump = _port.detached().run(loop.create_task, self._run())
        else:
            self._wake()

    def _wake(self) -> None:
        if self._parked is not None and not self._parked.done():
            self._parked.set_result(None)

    async def _run(self) -> None:
        self._begun = True
        try:
            await self._produce()
        except StopAsyncIteration:
            pass
        except asyncio.CancelledError as cancelled:
            if is_ending(asyncio.get_running_loop()):
                self._error = cancelled  # takes that still come are told of the end of the context, and not of an error of the stream
            elif not self._closing:  # the producer cancelled itself, or the loop ends
                self._error = RuntimeError("the stream's task was cancelled")
                self._error.__cause__ = cancelled
        except BaseException as error:
            self._error = error
        finally:
            await self._finish()

    async def _produce(self) -> None:
        from ._streams import size_of

        rested = monotonic()
        while not self._closing:
            if not self._wanted():
                await self._park()
                rested = monotonic()
                continue
            item = await self._items.__anext__()
            self._ready.append(item)
            self._size += size_of(item)
            self._serve()
            if monotonic() - rested > PROMPT:
                await asyncio.sleep(0)  # a producer that never waits must not keep the loop, nor its own takes, from going on
                rested = monotonic()

    def _wanted(self) -> bool:
        if not self._line:
            return False
        first = self._line[0]
        return len(self._ready) < first.max_items and self._size < first.max_bytes

    async def _park(self) -> None:
        self._parked = asyncio.get_running_loop().create_future()
        try:
            await self._parked
        finally:
            self._parked = None

    async def _finish(self) -> None:
        self._ended = True
        self._serve()
        try:
            await self._closed()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._close_error = error

    async def _closed(self) -> None:
        closing = self._close()
        if hasattr(closing, "__await__"):
            await closing

    async def close(self) -> None:
        await self._at_home(self._close_here())

    async def _close_here(self) -> None:
        self._begin_close()
        if self._pump is None:
            if not self._ended:
                self._ended = True
                await self._closed()
            return
        await asyncio.wait([self._pump])
        if self._close_error is not None:
            error, self._close_error = self._close_error, None
            raise error

    def _begin_close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._ready.clear()
        self._error = None
        if self._parked is not None:
            self._wake()
        elif self._pump is not None and self._begun and not self._ended:
            self._pump.cancel()  # in the midst of an item

    def abandon(self) -> None:
        """The Source is gone: close, and nobody waits for it."""
        if self._closing or (self._ended and self._pump is not None):
            return
        if self._pump is None:
            self._abandon_unread()
        else:
            try:
                self._pump.get_loop().call_soon_threadsafe(self._begin_abandon)
            except RuntimeError:
                pass  # the loop is closed, and has cancelled its tasks before that: the pump has ended

    def _begin_abandon(self) -> None:
        assert self._pump is not None
        self._pump.add_done_callback(lambda _: self._report_close())
        self._begin_close()

    def _report_close(self) -> None:
        if self._close_error is not None:
            report("a stream that was dropped failed to close", self._close_error)

    def _abandon_unread(self) -> None:
        """Nothing of it was ever read. An async generator has not begun then; other iterators may hold something to let go of."""
        if hasattr(self._items, "ag_frame"):
            return
        from ._tasks import spawn_task

        closing = self.close()
        try:
            spawn_task(closing, name="close of a stream that was dropped")
        except RuntimeError:
            closing.close()  # no loop any more: the process ends
