"""The asyncio loop of a context.

The worker's main loop owns the waiting: it watches our selector's descriptor beside the frame pipe and calls :meth:`ContextLoop.step`
when something is ready, so coroutines and calls from Erlang interleave on one thread. Between two steps no loop counts as
running, so a synchronous call may use ``asyncio.run`` itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import signal
import sys
import threading
from asyncio import events
from typing import AbstractSet, Any, Callable, Coroutine, Optional, Union

from ._tasks import spawned

__all__ = ["ContextLoop", "new_context_loop"]

# Seconds for all tasks that are cancelled because the context ends, and for those that go first. (A quarter of the grace of stop_context,
# 1.25 s if nothing else is said, is for these and for Python's own end.)
_CLEANING_UP = 1.0
_ORDERLY = 0.75


class ContextLoop(asyncio.SelectorEventLoop):
    """One step at a time, driven from outside. Main thread only, apart from ``call_soon_threadsafe``."""

    _finishing = False
    _ending: Optional[asyncio.Task[None]] = None

    def __init__(self) -> None:
        super().__init__()
        self._signals: set[int] = set()

    def adopt(self) -> int:
        """From now on the main thread drives this loop. The descriptor that is returned is readable when one that the loop watches is ready
        or another thread has called in."""
        asyncio.set_event_loop(self)
        return self._selector.fileno()  # type: ignore[attr-defined, no-any-return]

    def delay(self) -> float:
        """Seconds until :meth:`step` has something to do; 0 at once, -1 not before a descriptor is ready."""
        if self._ready:  # type: ignore[attr-defined]
            return 0.0
        scheduled = self._scheduled  # type: ignore[attr-defined]
        return max(0.0, scheduled[0]._when - self.time()) if scheduled else -1.0

    def step(self) -> None:
        """Runs what is ready and returns without waiting.

        KeyboardInterrupt and SystemExit of a task come out of here, after the task has taken them as its result.
        """
        before = self._thread_id, events._get_running_loop()  # another loop's coroutine may stand in a blocking call further down the stack
        self._thread_id = threading.get_ident()
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(
            firstiter=self._asyncgen_firstiter_hook,  # type: ignore[attr-defined]
            finalizer=self._asyncgen_finalizer_hook,  # type: ignore[attr-defined]
        )
        events._set_running_loop(self)
        self._stopping = True  # makes _run_once look at the descriptors without waiting
        try:
            self._run_once()  # type: ignore[attr-defined]
        finally:
            self._stopping = False
            self._thread_id = before[0]
            events._set_running_loop(before[1])
            sys.set_asyncgen_hooks(*hooks)

    def start(self, awaitable: Union[Coroutine[Any, Any, Any], Any], done: Any) -> "asyncio.Future[Any]":
        """Makes a task of it; ``done(task)`` is called when it has ended."""
        task = asyncio.ensure_future(awaitable, loop=self)
        task.add_done_callback(done)
        if task is not awaitable:
            task._of_a_call = True  # type: ignore[attr-defined]  # a set of them would cost each call a microsecond
        return task

    def begin_end(self) -> "asyncio.Task[None]":
        """The end of the context: cancels what is left and lets it clean up. Done when all of it has ended or the time for that is over."""
        if self._ending is None:
            self._ending = self.create_task(self._end())
        return self._ending

    def finish(self) -> None:
        """What is still to be done of :meth:`begin_end`, here and now; then closes."""
        self._finishing = True
        self.run_until_complete(self.begin_end())
        self.close()

    async def _end(self) -> None:
        """First the tasks of calls and those of ``erlang.spawn_task`` are cancelled. Whoever of them has tasks of its own, a server for
        instance, can then end these in its own order. What is there after that belongs to nobody, or its owner was too slow."""
        end = self.time() + _CLEANING_UP
        left = self._left()
        first = {task for task in left if hasattr(task, "_of_a_call")} | (left & spawned())
        await _cancel(first, first, _ORDERLY)
        left = self._left()
        await _cancel(left - first, left, end - self.time())
        await self.shutdown_asyncgens()

    def _left(self) -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks(self) - {self._ending}  # type: ignore[arg-type]

    # asyncio has signals write to a pipe of its own, and takes that away with the last of its handlers; from then on no signal would wake the
    # worker's main loop, to which the pipe belongs here. So these are ordinary handlers of Python, which the main loop runs.

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """As in asyncio."""
        if asyncio.iscoroutine(callback) or asyncio.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        context = contextvars.copy_context()

        def deliver(number: int, frame: object) -> None:
            self.call_soon_threadsafe(callback, *args, context=context)

        try:
            signal.signal(sig, deliver)
        except OSError as refused:
            raise RuntimeError(f"sig {sig} cannot be caught") from refused
        signal.siginterrupt(sig, False)  # system calls of C code go on
        self._signals.add(sig)

    def remove_signal_handler(self, sig: int) -> bool:
        """As in asyncio."""
        if sig not in self._signals:
            return False
        self._signals.discard(sig)
        signal.signal(sig, signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL)
        return True

    def run_forever(self) -> None:
        self._allow("run_forever")
        super().run_forever()

    def run_until_complete(self, future: Any) -> Any:
        self._allow("run_until_complete")
        return super().run_until_complete(future)

    def stop(self) -> None:
        self._allow("stop")
        super().stop()

    def close(self) -> None:
        self._allow("close")
        for sig in list(self._signals):
            self.remove_signal_handler(sig)
        super().close()

    def _allow(self, what: str) -> None:
        if not self._finishing:
            raise RuntimeError(f"{what}: this loop belongs to the context; use asyncio.run() for a loop of your own")


async def _cancel(tasks: AbstractSet[asyncio.Task[Any]], awaited: AbstractSet[asyncio.Task[Any]], timeout: float) -> None:
    for task in tasks:
        task.cancel()
    if awaited:
        await asyncio.wait(awaited, timeout=timeout)


def new_context_loop() -> ContextLoop:
    return ContextLoop()


def start_here(awaitable: Any, done: Any) -> "asyncio.Future[Any]":
    """The same on the loop that runs in this thread."""
    task = asyncio.ensure_future(awaitable, loop=asyncio.get_running_loop())
    task.add_done_callback(done)
    return task


def run_to_end(awaitable: Any) -> Any:
    """On a thread that has no loop and must not leave before the result is there."""

    async def main() -> Any:
        return await awaitable

    return asyncio.run(main())
