"""What does it cost to start a process and to hear of its end?

CPU time here includes that of the children: the copy of the process that exists between fork and exec is part of the cost.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import time
from typing import Awaitable, Callable, List

from loops import NewLoop
from measure import Figures, Row, finish


def cpu_with_children() -> float:
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


async def true() -> None:
    process = await asyncio.create_subprocess_exec("/bin/true")
    if await process.wait() != 0:
        raise RuntimeError("/bin/true failed")


async def output() -> None:
    process = await asyncio.create_subprocess_exec("/bin/echo", "hello", stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    if out != b"hello\n":
        raise RuntimeError(f"/bin/echo wrote {out!r}")


def spawning(once: Callable[[], Awaitable[None]], at_a_time: int) -> Callable[[NewLoop, float], Figures]:
    def measure(new_loop: NewLoop, seconds: float) -> Figures:
        loop = new_loop()
        asyncio.set_event_loop(loop)

        async def run() -> Figures:
            await once()
            count = 0
            cpu, start = cpu_with_children(), time.perf_counter()
            while time.perf_counter() < start + seconds:
                await asyncio.gather(*(once() for _ in range(at_a_time)))
                count += at_a_time
            cpu, wall = cpu_with_children() - cpu, time.perf_counter() - start
            return {"cpu_us": cpu / count * 1e6, "wall_us": wall / count * 1e6, "per_s": count / wall}

        figures = loop.run_until_complete(run())
        finish(loop)
        return figures

    return measure


ROWS: List[Row] = [
    Row("spawn", "create_subprocess_exec('/bin/true') and wait, one after the other", spawning(true, 1)),
    Row("spawn_8", "the same, 8 at a time", spawning(true, 8)),
    Row("spawn_output", "create_subprocess_exec('/bin/echo') and communicate", spawning(output, 1)),
]
