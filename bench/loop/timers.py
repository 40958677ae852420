"""What does a timer cost, and when does it fire?"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from functools import partial

from loops import NewLoop
from measure import Figures, Measure, Row, in_batches

COUNT = 5_000


def nothing() -> None:
    pass


async def fire() -> int:
    """5,000 timers of one millisecond, until the last has fired."""
    loop = asyncio.get_running_loop()
    last = loop.create_future()
    left = COUNT

    def fired() -> None:
        nonlocal left
        left -= 1
        if not left:
            last.set_result(None)

    for _ in range(COUNT):
        loop.call_later(0.001, fired)
    await last
    return COUNT


async def cancel() -> int:
    loop = asyncio.get_running_loop()
    handles = [loop.call_later(60, nothing) for _ in range(COUNT)]
    for handle in handles:
        handle.cancel()
    await asyncio.sleep(0)
    return COUNT


async def spread() -> int:
    """10,000 deadlines within 20 ms, given in any order; they have to fire in the order of the deadlines."""
    loop = asyncio.get_running_loop()
    last = loop.create_future()
    base = loop.time() + 0.02
    deadlines = [base + number * 2e-6 for number in range(10_000)]
    random.Random(1).shuffle(deadlines)
    fired: list[float] = []
    for deadline in deadlines:
        loop.call_at(deadline, fired.append, deadline)
    loop.call_at(base + 0.021, last.set_result, None)
    await last
    # One loop or the other rounds to milliseconds; what may not happen is that one is missing.
    if len(fired) != len(deadlines):
        raise RuntimeError(f"{len(fired)} of {len(deadlines)} timers fired before a later one")
    return len(deadlines)


async def sleeps() -> int:
    await asyncio.gather(*(asyncio.sleep(0.001) for _ in range(1_000)))
    return 1_000


def among(pending: int) -> Measure:
    """Set and cancel one timer while so many others are pending, at random distances."""

    def measure(new_loop: NewLoop, seconds: float) -> Figures:
        chance = random.Random(1)
        others: list[asyncio.TimerHandle] = []

        async def batch() -> int:
            loop = asyncio.get_running_loop()
            if not others:
                others.extend(loop.call_later(3_600 + chance.random() * 1_000, nothing) for _ in range(pending))
            for _ in range(20):
                handles = [loop.call_later(3_600 + chance.random() * 1_000, nothing) for _ in range(50)]
                for handle in handles:
                    handle.cancel()
                await asyncio.sleep(0)
            return 1_000

        return in_batches(batch)(new_loop, seconds)

    return measure


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * 4096


def million(new_loop: NewLoop, seconds: float) -> Figures:
    """A million timers (100,000 with little time): memory of each, and the time to set and to cancel it."""
    loop = new_loop()
    count = 1_000_000 if seconds >= 0.4 else 100_000
    chance = random.Random(1)
    delays = [3_600 + chance.random() * 1_000 for _ in range(count)]
    handles: list[asyncio.TimerHandle] = [None] * count  # type: ignore[list-item]  # so that the list is not counted

    async def run() -> Figures:
        before, start, cpu = resident(), time.perf_counter(), time.process_time()
        for number, delay in enumerate(delays):
            handles[number] = loop.call_later(delay, nothing)
        memory = resident() - before
        await asyncio.sleep(0)
        for handle in handles:
            handle.cancel()
        await asyncio.sleep(0)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - start
        return {"cpu_us": cpu / count * 1e6, "wall_us": wall / count * 1e6, "bytes": memory / count}

    return loop.run_until_complete(run())


def accuracy(delay: float, new_loop: NewLoop, seconds: float) -> Figures:
    """One timer at a time. Late is what time.monotonic() shows beyond the delay, counted from before call_later.

    Early is a timer that fires more than a microsecond before its time.
    """
    loop = new_loop()
    count = max(20, min(1_000, int(seconds / max(delay, 0.0005))))
    late: list[float] = []

    def fire_with_time(future: asyncio.Future[float]) -> None:
        future.set_result(time.monotonic())

    async def run() -> None:
        for _ in range(count):
            fired: asyncio.Future[float] = loop.create_future()
            due = time.monotonic() + delay
            loop.call_later(delay, fire_with_time, fired)
            late.append((await fired) - due)

    loop.run_until_complete(run())
    loop.close()
    late.sort()
    # A loop most of whose timers fire early is not compared: it would win by being wrong.
    off = {"off_us": statistics.median(abs(one) for one in late) * 1e6} if late[count // 2] >= -1e-6 else {}
    return {
        **off,
        "late_p50_us": late[count // 2] * 1e6,
        "late_p99_us": late[count * 99 // 100] * 1e6,
        "early_percent": sum(one < -1e-6 for one in late) / count * 100,
    }


ROWS: list[Row] = [
    Row("timer_fire", "call_later(0.001), 5,000 timers, until all fired", in_batches(fire)),
    Row("timer_cancel", "call_later and cancel", in_batches(cancel)),
    Row("timer_among_10k", "call_later and cancel while 10,000 others wait", among(10_000)),
    Row("timer_spread_10k", "call_at, 10,000 different deadlines in any order, until all fired", in_batches(spread)),
    Row("timer_sleep", "1,000 tasks in sleep(0.001)", in_batches(sleeps)),
    Row("timer_million", "a million pending timers: set and cancel, memory of each", million, ("cpu_us", "bytes")),
    *(Row(f"timer_accuracy_{delay:g}ms", f"by how much a timer of {delay:g} ms misses its time",
          partial(accuracy, delay / 1e3), ("off_us",)) for delay in (0, 0.2, 1, 10)),
]
