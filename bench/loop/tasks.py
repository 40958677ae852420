"""What do tasks and futures cost on this loop? Most of it is CPython's; the loop's part is to run what becomes ready."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Callable

from measure import Row, in_batches


async def nothing() -> None:
    pass


def switching(tasks: int) -> Callable[[], Coroutine[Any, Any, int]]:
    """So many tasks that do ``await sleep(0)`` until 20,000 switches are made."""
    each = 20_000 // tasks

    async def switcher() -> None:
        for _ in range(each):
            await asyncio.sleep(0)

    async def batch() -> int:
        await asyncio.gather(*(switcher() for _ in range(tasks)))
        return each * tasks

    return batch


async def create() -> int:
    """Tasks that end at once, created one by one and awaited one by one."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(nothing()) for _ in range(2_000)]
    for task in tasks:
        await task
    return len(tasks)


async def gather() -> int:
    await asyncio.gather(*(nothing() for _ in range(1_000)))
    return 1


async def futures() -> int:
    """A future that is resolved by a callback, awaited; then the next."""
    loop = asyncio.get_running_loop()
    count = 5_000
    for _ in range(count):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future
    return count


async def queue() -> int:
    """Two tasks and a queue of one place: each item is a change of task."""
    items: asyncio.Queue[int] = asyncio.Queue(1)
    count = 2_000

    async def produce() -> None:
        for number in range(count):
            await items.put(number)

    producer = asyncio.ensure_future(produce())
    for _ in range(count):
        await items.get()
    await producer
    return count


async def timeouts() -> int:
    """wait_for around something that is there soon: a timer that is set and cancelled, as in most servers."""
    count = 1_000
    for _ in range(count):
        await asyncio.wait_for(asyncio.sleep(0), 60)
    return count


ROWS: list[Row] = [
    Row("task_switch_1", "await sleep(0) in one task", in_batches(switching(1))),
    Row("task_switch_100", "await sleep(0) in 100 tasks", in_batches(switching(100))),
    Row("task_switch_2000", "await sleep(0) in 2,000 tasks", in_batches(switching(2_000))),
    Row("task_create", "create a task that ends at once, and await it", in_batches(create)),
    Row("gather_1000", "gather of 1,000 coroutines (cost of the whole)", in_batches(gather)),
    Row("future_await", "await a future that the next callback resolves", in_batches(futures)),
    Row("queue_item", "an item through asyncio.Queue(1)", in_batches(queue)),
    Row("wait_for", "wait_for with a time that is not used up", in_batches(timeouts)),
]
