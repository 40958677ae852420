"""Calls with ``thread => true``: blocking functions in the worker's thread pool, while the context's loop goes on.

A call that is cancelled while its function is queued never runs. Python cannot stop a thread, so a function that runs is waited for: a call
is never said to have ended while its function goes on. (When it does not end in time, Erlang kills the worker.) One that waits for Erlang is
stopped there: the blocking call raises CancelledError.

The threads of calls from outside are few, and the others queue. A call that descends from a callback gets a thread at once: those that are
busy may be waiting for just this one. There are at most as many of them as there are callbacks.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from inspect import isawaitable
from typing import Any, Awaitable, Mapping, Optional, Sequence

from . import _names, _port

__all__ = ["run"]

_pools: dict[bool, ThreadPoolExecutor] = {}  # the second is for nested calls
_making = threading.Lock()


async def run(module: object, function: object, args: Sequence[Any], kwargs: Mapping[Any, Any]) -> Any:
    """The result of ``module.function(*args, **kwargs)`` in a thread. Context variables (the deadline is one) are those of the caller.

    A coroutine that it returns is run to its end in that thread, on a loop of its own.
    """
    context = contextvars.copy_context()
    call = _port.current()
    workers = _workers(call is not None and call.parent != 0)
    work: Future[Any] = workers.submit(context.run, _work, module, function, args, kwargs)
    try:
        await _ended(work)
    except asyncio.CancelledError:
        if not work.cancel():
            await _outlast(work)
        raise
    if work.cancelled():
        raise asyncio.CancelledError  # the pool has been shut down
    stop = work.exception()
    if isinstance(stop, KeyboardInterrupt):
        # A task that raised this would end the whole loop, which may be that of somebody else's call.
        raise asyncio.CancelledError from stop
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


def _workers(nested: bool) -> ThreadPoolExecutor:
    with _making:
        if nested not in _pools:
            most = 1_000_000 if nested else min(32, (os.cpu_count() or 1) + 4)
            _pools[nested] = ThreadPoolExecutor(most, thread_name_prefix="erlang-nested" if nested else "erlang")
        return _pools[nested]


def _work(module: object, function: object, args: Sequence[Any], kwargs: Mapping[Any, Any]) -> Any:
    try:
        result = _names.resolve(module, function)(*args, **_names.keywords(kwargs))
        return asyncio.run(_result_of(result)) if isawaitable(result) else result
    except StopIteration as stop:
        # A future cannot carry it: the coroutine that awaits would take it for its own return.
        raise RuntimeError("the function raised StopIteration") from stop


async def _result_of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
