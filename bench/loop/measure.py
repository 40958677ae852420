"""What a row is, and the two ways to measure one: batches of a coroutine, and a server under the load of echo_client.

A measurement is made by one process, for one loop, and is a dict of figures. CPU time is that of the whole process, all
threads included: a loop that works or spins in a thread of its own does not look cheaper for it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Callable

from loops import NewLoop

Figures = dict[str, float]
Measure = Callable[[NewLoop, float], Figures]  # for about so many seconds, on a loop of its own

#: How figures are called in the table. Rates are better when higher, everything else when lower.
UNITS = {
    "cpu_us": "CPU us",
    "wall_us": "wall us",
    "per_s": "per second",
    "p50_us": "p50 us",
    "p99_us": "p99 us",
    "off_us": "off by, us",
    "late_p50_us": "late p50 us",
    "late_p99_us": "late p99 us",
    "early_percent": "early %",
    "bytes": "bytes",
    "wakeups_per_s": "wake-ups/s",
    "client_busy_percent": "client busy %",
}
HIGHER_IS_BETTER = {"per_s"}


@dataclass(frozen=True)
class Row:
    """One thing that is asked of every loop. ``gates`` are the figures that are compared; the others inform."""

    name: str
    question: str
    measure: Measure
    gates: tuple[str, ...] = ("cpu_us",)


class NotHere(Exception):
    """The row cannot be measured with this interpreter or machine; the text says why."""


def finish(loop: asyncio.AbstractEventLoop) -> None:
    """Closes a loop that has been used, its executor first, so that no thread of it runs on."""
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


async def batches(batch: Callable[[], Awaitable[int]], seconds: float) -> Figures:
    """Awaits ``batch``, which returns how many operations it did, for so long; what one operation costs.

    The first batch warms up and does not count.
    """
    await batch()
    operations = 0
    cpu, start = time.process_time(), time.perf_counter()
    end = start + seconds
    while True:
        operations += await batch()
        now = time.perf_counter()
        if now >= end:
            break
    cpu = time.process_time() - cpu
    return {"cpu_us": cpu / operations * 1e6, "wall_us": (now - start) / operations * 1e6}


def in_batches(batch: Callable[[], Awaitable[int]]) -> Measure:
    """The measure of a row whose batch needs nothing but the running loop."""

    def measure(new_loop: NewLoop, seconds: float) -> Figures:
        loop = new_loop()
        asyncio.set_event_loop(loop)
        figures = loop.run_until_complete(batches(batch, seconds))
        finish(loop)
        return figures

    return measure


@dataclass(frozen=True)
class Load:
    """What echo_client does to a server; ``size`` in bytes."""

    mode: str
    size: int
    connections: int


Serve = Callable[[], Awaitable[str]]  # starts a server on the running loop and returns the target for echo_client


def client_path() -> str:
    """The compiled echo_client, whose path run.py passes on."""
    path = os.environ.get("LOOP_BENCH_CLIENT", "")
    if not path:
        raise NotHere("echo_client could not be compiled")
    return path


def under_load(serve: Serve, load: Load, pass_fds: Sequence[int] = ()) -> Measure:
    """The measure of a row that is a server: it runs on the loop in this process, the load comes from another."""

    def measure(new_loop: NewLoop, seconds: float) -> Figures:
        loop = new_loop()
        asyncio.set_event_loop(loop)
        target = loop.run_until_complete(serve())
        # Afterwards connections are still open and tasks still wait for them; the process ends, and they with it.
        return drive(loop, target, load, seconds, pass_fds)

    return measure


def drive(loop: asyncio.AbstractEventLoop, target: str, load: Load, seconds: float, pass_fds: Sequence[int] = ()) -> Figures:
    """Runs the loop while echo_client works; a thread waits for the client, so that the loop has nothing else to do."""
    command = [client_path(), load.mode, target, str(load.size), str(load.connections), str(min(0.2, seconds / 2)),
               str(seconds), str(os.getpid())]
    result: subprocess.CompletedProcess[str] | None = None

    def wait() -> None:
        nonlocal result
        try:
            result = subprocess.run(command, capture_output=True, text=True, pass_fds=pass_fds, timeout=seconds + 30)
        finally:
            loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=wait)
    thread.start()
    loop.run_forever()
    thread.join()
    if result is None or result.returncode != 0:
        raise RuntimeError(result.stderr.strip() if result else "echo_client did not end")
    return figures_of(json.loads(result.stdout))


def figures_of(report: dict[str, float]) -> Figures:
    """echo_client's report as figures per request."""
    requests, took = report["requests"], report["seconds"]
    if requests <= 0:
        raise RuntimeError("not one request was answered")
    figures = {
        "cpu_us": report["server_cpu"] / requests * 1e6,
        "per_s": requests / took,
        "client_busy_percent": report["client_cpu"] / took * 100,
    }
    figures.update({key: report[key] for key in ("p50_us", "p99_us") if key in report})
    return figures
