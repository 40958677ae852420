"""What does a loop cost that starts, that ends, or that has nothing to do? And names: getaddrinfo."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from typing import Callable

from loops import NewLoop
from measure import Figures, Measure, NotHere, Row, in_batches


async def nothing() -> None:
    pass


def repeated(once: Callable[[NewLoop], None]) -> Measure:
    """Not on a loop, but with new loops: one call after the other for so long."""

    def measure(new_loop: NewLoop, seconds: float) -> Figures:
        once(new_loop)
        count = 0
        cpu, start = time.process_time(), time.perf_counter()
        while time.perf_counter() < start + seconds:
            once(new_loop)
            count += 1
        cpu, wall = time.process_time() - cpu, time.perf_counter() - start
        return {"cpu_us": cpu / count * 1e6, "wall_us": wall / count * 1e6}

    return measure


def create_close(new_loop: NewLoop) -> None:
    new_loop().close()


def create_run_close(new_loop: NewLoop) -> None:
    loop = new_loop()
    loop.run_until_complete(nothing())
    loop.close()


def runner(new_loop: NewLoop) -> None:
    if not hasattr(asyncio, "Runner"):
        raise NotHere("asyncio.Runner is there from Python 3.11 on")
    with asyncio.Runner(loop_factory=new_loop) as one:
        one.run(nothing())


def run_again(new_loop: NewLoop, seconds: float) -> Figures:
    """run_until_complete on one loop, again and again: what a synchronous façade does."""
    loop = new_loop()
    figures = repeated(lambda _: loop.run_until_complete(nothing()))(new_loop, seconds)
    loop.close()
    return figures


def switches(but: int) -> int:
    """How often the threads of this process have gone to sleep, without the one with this id."""
    total = 0
    for thread in os.listdir("/proc/self/task"):
        if int(thread) != but:
            with open(f"/proc/self/task/{thread}/status", encoding="ascii") as status:
                total += sum(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt_switches"))
    return total


def idle(new_loop: NewLoop, seconds: float) -> Figures:
    """A server, a connection, a far timer, an executor's thread, all without work: wake-ups of all threads but the counter's."""
    loop = new_loop()
    asyncio.set_event_loop(loop)
    counted: Figures = {}

    def count(length: float) -> None:
        own = threading.get_native_id()
        time.sleep(0.3)  # what was still going on has ended
        before, cpu = switches(own), time.process_time() - time.thread_time()
        time.sleep(length)
        counted["cpu_us"] = max(0.0, time.process_time() - time.thread_time() - cpu) / length * 1e6
        counted["wakeups_per_s"] = (switches(own) - before) / length
        loop.call_soon_threadsafe(loop.stop)

    async def prepare() -> list[object]:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        server = await loop.create_server(asyncio.Protocol, sock=listener)
        pair = await loop.create_connection(asyncio.Protocol, *listener.getsockname())
        await loop.run_in_executor(None, int)
        return [server, pair, loop.call_later(3_600, int)]

    kept = loop.run_until_complete(prepare())
    thread = threading.Thread(target=count, args=(max(1.0, seconds * 4),))
    thread.start()
    loop.run_forever()
    thread.join()
    del kept
    return counted


def resolving(host: str) -> Measure:
    async def batch() -> int:
        loop = asyncio.get_running_loop()
        for _ in range(50):
            await loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
        return 50

    return in_batches(batch)


ROWS: list[Row] = [
    Row("loop_create", "a new loop, and close it", repeated(create_close)),
    Row("loop_run_once", "a new loop, one coroutine that ends at once, and close it", repeated(create_run_close)),
    Row("loop_runner", "asyncio.Runner: what asyncio.run does", repeated(runner)),
    Row("loop_run_again", "run_until_complete on the same loop", run_again),
    Row("idle", "wake-ups of a loop that has a server, a connection, a thread and a far timer", idle, ("wakeups_per_s",)),
    Row("resolve_numeric", "getaddrinfo of 127.0.0.1", resolving("127.0.0.1")),
    Row("resolve_localhost", "getaddrinfo of localhost", resolving("localhost")),
]
