"""Work that goes on by itself, and sleeping."""

from __future__ import annotations

import time

from . import _port

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future
    from typing import Any, Awaitable, Coroutine, Optional, TypeVar, Union

    T = TypeVar("T")

__all__ = ["sleep", "spawn_task", "spawned"]

_tasks: set[asyncio.Task[Any]] = set()  # a loop holds its tasks weakly: one that nobody else knows of could vanish


def spawn_task(coro: Coroutine[Any, Any, T], *, name: Optional[str] = None) -> Union[asyncio.Task[T], Future[T]]:
    """Start a coroutine that goes on by itself.

    Where an asyncio loop runs in this thread it becomes a task of that loop, and the ``asyncio.Task`` is returned. Anywhere else (a
    synchronous call, a thread) it becomes a task of the context's loop, and a ``concurrent.futures.Future`` is returned: ``result()``
    waits in threads; on the main thread it would wait for ever, as the loop runs only when the call has returned. ``cancel()`` works on
    both.

    The task has the context variables of its creator, but not the deadline of the call at hand: it goes on when that has ended. (A task of
    ``asyncio.create_task`` keeps the deadline.) A failure is printed to stderr with the name of the task, whether or not somebody looks at
    the result. Tasks that still run when the context stops are cancelled.
    """
    import asyncio

    if not asyncio.iscoroutine(coro):
        raise TypeError(f"a coroutine is expected, not {type(coro).__name__}: call the coroutine function")
    if _port.running_loop() is not None:
        return _started(coro, name)
    starter = _as_task(coro, name)
    try:
        return asyncio.run_coroutine_threadsafe(starter, _port.context_loop())
    except BaseException:
        starter.close()  # else Python complains, elsewhere and later, that they were never awaited
        coro.close()
        raise


async def _as_task(coro: Coroutine[Any, Any, T], name: Optional[str]) -> T:
    return await _started(coro, name)


def _started(coro: Coroutine[Any, Any, T], name: Optional[str]) -> asyncio.Task[T]:
    import asyncio

    loop = asyncio.get_running_loop()
    task = _port.detached().run(lambda: loop.create_task(coro, name=name))
    _tasks.add(task)
    task.add_done_callback(_ended)
    return task


def spawned() -> set[asyncio.Task[Any]]:
    """The tasks that go on by themselves, on whatever loop."""
    return set(_tasks)


def _ended(task: asyncio.Task[Any]) -> None:
    _tasks.discard(task)
    error = None if task.cancelled() else task.exception()
    if error is not None:
        from ._report import report

        report(f"task {task.get_name()!r} failed", error)


def sleep(seconds: float) -> Optional[Awaitable[None]]:
    """Sleep. In a coroutine: ``await erlang.sleep(seconds)``, which lets others go on. Where no asyncio loop runs in this thread it blocks
    the thread, without the GIL, and there is nothing to await."""
    if _port.running_loop() is None:
        time.sleep(seconds)
        return None
    import asyncio

    return asyncio.sleep(seconds)
