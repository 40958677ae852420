"""Calls with ``thread => true``: blocking functions in the worker's thread pool, while the context's loop goes on.

A call that is cancelled while its function is queued never runs. Python cannot stop a thread, so a function that runs is waited for: a call
is never said to have ended while its function goes on. (When it does not end in time, Erlang kills the worker.)
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from inspect import isawaitable
from typing import Any, Awaitable, Mapping, Optional, Sequence

from . import _names

__all__ = ["run"]

_pool: Optional[ThreadPoolExecutor] = None
_making = threading.Lock()


async def run(module: object, function: object, args: Sequence[Any], kwargs: Mapping[Any, Any]) -> Any:
    """The result of ``module.function(*args, **kwargs)`` in a thread. Context variables (the deadline is one) are those of the caller.

    A coroutine that it returns is run to its end in that thread, on a loop of its own.
    """
    context = contextvars.copy_context()
    work: Future[Any] = _workers().submit(context.run, _work, module, function, args, kwargs)
    try:
        await _ended(work)
    except asyncio.CancelledError:
        if not work.cancel():
            await _outlast(work)
        raise
    if work.cancelled():
        raise asyncio.CancelledError  # the pool has been shut down
    return work.result()


def _ended(work: Future[Any]) -> asyncio.Future[None]:
    """Done when the work is; cancelling it leaves the work alone. So do asyncio.wrap_future and asyncio.wait together, at twice the cost."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not ended.done():
            ended.set_result(None)

    def tell(_: Future[Any]) -> None:
        try:
            loop.call_soon_threadsafe(end)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    work.add_done_callback(tell)
    return ended


async def _outlast(work: Future[Any]) -> None:
    """Waits until it is done, however often we are cancelled meanwhile."""
    while not work.done():
        try:
            await _ended(work)
        except asyncio.CancelledError:
            continue


def _workers() -> ThreadPoolExecutor:
    global _pool
    with _making:
        if _pool is None:
            _pool = ThreadPoolExecutor(min(32, (os.cpu_count() or 1) + 4), thread_name_prefix="erlang")
        return _pool


def _work(module: object, function: object, args: Sequence[Any], kwargs: Mapping[Any, Any]) -> Any:
    try:
        result = _names.resolve(module, function)(*args, **_names.keywords(kwargs))
        return asyncio.run(_result_of(result)) if isawaitable(result) else result
    except StopIteration as stop:
        # A future cannot carry it: the coroutine that awaits would take it for its own return.
        raise RuntimeError("the function raised StopIteration") from stop


async def _result_of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
