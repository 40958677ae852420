"""What does it cost to start a process and to hear of its end?

CPU time here includes that of the children: the copy of the process that exists between fork and exec is part of the cost.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import time
from collections.abc import Awaitable
from typing import Callable

from loops import NewLoop
from measure import Figures, Measure, Row, finish, in_batches


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


async def through_cat() -> int:
    """16 MiB into a process and back out of it, in pieces of 64 KiB."""
    process = await asyncio.create_subprocess_exec("/bin/cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    into, out = process.stdin, process.stdout
    assert into and out
    piece, count, received = b"x" * 65_536, 256, 0

    async def write() -> None:
        for _ in range(count):
            into.write(piece)
            await into.drain()
        into.close()

    writer = asyncio.ensure_future(write())
    while data := await out.read(1 << 18):
        received += len(data)
    await writer
    await process.wait()
    if received != count * len(piece):
        raise RuntimeError(f"{received} bytes came back")
    return 16


def spawning(once: Callable[[], Awaitable[None]], at_a_time: int) -> Measure:
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


ROWS: list[Row] = [
    Row("spawn", "create_subprocess_exec('/bin/true') and wait, one after the other", spawning(true, 1)),
    Row("spawn_8", "the same, 8 at a time", spawning(true, 8)),
    Row("spawn_output", "create_subprocess_exec('/bin/echo') and communicate", spawning(output, 1)),
    Row("pipe_cat", "1 MiB through the pipes of a running /bin/cat, streams (CPU time without cat's)", in_batches(through_cat)),
]
