"""The asyncio loop of a context.

The worker's main loop owns the waiting: the loop's descriptors and timers are on the same libuv loop as the frame pipe, and a step runs when
something is ready, so coroutines and calls from Erlang interleave on one thread. Between two steps no loop counts as
running, so a synchronous call may use ``asyncio.run`` itself.
"""

from __future__ import annotations

import asyncio
from typing import AbstractSet, Any, Awaitable, Iterable, Optional

from ._event_loop import ErlangEventLoop
from ._loops import run
from ._tasks import spawned

__all__ = ["ContextLoop", "new_context_loop"]

# Seconds for all tasks that are cancelled because the context ends, and for those that go first. (A quarter of the grace of stop_context,
# 1.25 s if nothing else is said, is for these and for Python's own end.)
_CLEANING_UP = 1.0
_ORDERLY = 0.75


class ContextLoop(ErlangEventLoop):
    """One step at a time, driven by the worker's main loop (worker/loop/context_tasks). Main thread only, apart from
    ``call_soon_threadsafe``."""

    _finishing = False
    _ending: Optional[asyncio.Task[None]] = None

    def _begin(self) -> None:
        self._will_be_lent()

    def adopt(self, uv_loop: object) -> None:
        """From now on the main thread drives this loop, on its own libuv loop."""
        self._open(uv_loop)
        asyncio.set_event_loop(self)

    def future_of(self, awaitable: Awaitable[Any]) -> "asyncio.Future[Any]":
        """Of what a call has returned and is no coroutine."""
        return asyncio.ensure_future(awaitable, loop=self)

    def begin_end(self, of_calls: Iterable["asyncio.Future[Any]"] = ()) -> "asyncio.Task[None]":
        """The end of the context: cancels what is left and lets it clean up. Done when all of it has ended or the time for that is over."""
        if self._ending is None:
            self._ending = self.create_task(self._end(set(of_calls)))
        return self._ending

    def finish(self) -> None:
        """What is still to be done of :meth:`begin_end`, here and now; then closes."""
        self._finishing = True
        self.run_until_complete(self.begin_end())
        self.close()

    async def _end(self, of_calls: "set[asyncio.Future[Any]]") -> None:
        """First the tasks of calls and those of ``erlang.spawn_task`` are cancelled. Whoever of them has tasks of its own, a server for
        instance, can then end these in its own order. What is there after that belongs to nobody, or its owner was too slow."""
        end = self.time() + _CLEANING_UP
        left = self._left()
        first = left & (of_calls | spawned())
        await _cancel(first, first, _ORDERLY)
        left = self._left()
        await _cancel(left - first, left, end - self.time())
        await self.shutdown_asyncgens()

    def _left(self) -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks(self) - {self._ending}

    def run_forever(self) -> None:
        self._allow("run_forever")
        super().run_forever()

    def run_until_complete(self, future: Any) -> Any:
        self._allow("run_until_complete")
        return super().run_until_complete(future)

    def _run_once(self) -> None:
        self._allow("_run_once")
        super()._run_once()

    def stop(self) -> None:
        self._allow("stop")
        super().stop()

    def close(self) -> None:
        self._allow("close")
        super().close()

    async def shutdown_default_executor(self, *args: Any) -> None:
        self._allow("shutdown_default_executor")
        await super().shutdown_default_executor(*args)

    def _allow(self, what: str) -> None:
        if not self._finishing:
            raise RuntimeError(f"{what}: this loop belongs to the context; use erlang.run() for a loop of your own")


async def _cancel(tasks: AbstractSet[asyncio.Task[Any]], awaited: AbstractSet[asyncio.Task[Any]], timeout: float) -> None:
    for task in tasks:
        task.cancel()
    if awaited:
        await asyncio.wait(awaited, timeout=timeout)


def new_context_loop() -> ContextLoop:
    return ContextLoop()


def is_ending(loop: asyncio.AbstractEventLoop) -> bool:
    """It is the loop of a context that cancels what is left of it."""
    return isinstance(loop, ContextLoop) and loop._ending is not None


def future_here(awaitable: Awaitable[Any]) -> "asyncio.Future[Any]":
    """On the loop that runs in this thread."""
    return asyncio.ensure_future(awaitable, loop=asyncio.get_running_loop())


def run_to_end(awaitable: Any) -> Any:
    """On a thread that has no loop and must not leave before the result is there."""

    async def main() -> Any:
        return await awaitable

    return run(main())
