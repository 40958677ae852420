"""Coroutines: those that Erlang calls, and those that call Erlang."""

import asyncio
import time

from erlang import async_call


async def nothing():
    return None


async def give_way():
    """Not over at its first step."""
    await asyncio.sleep(0)


async def awaits(name, in_flight, seconds):
    """Calls of Erlang per second, of so many tasks that each await one after the other."""
    running = True

    async def caller():
        count = 0
        while running:
            await async_call(name)
            count += 1
        return count

    start = time.perf_counter()
    tasks = [asyncio.ensure_future(caller()) for _ in range(in_flight)]
    await asyncio.sleep(seconds)  # the measurement lasts this long
    running = False
    counts = await asyncio.gather(*tasks)
    return sum(counts) / (time.perf_counter() - start)
