"""What does it cost to have the loop call a function, from its own thread and from another?"""

from __future__ import annotations

import asyncio
import os
import signal
import threading

from measure import Row, in_batches

COUNT = 10_000


def nothing(*_: object) -> None:
    pass


def done(future: asyncio.Future[None]) -> None:
    future.set_result(None)


async def burst() -> int:
    loop = asyncio.get_running_loop()
    last = loop.create_future()
    for _ in range(COUNT - 1):
        loop.call_soon(nothing)
    loop.call_soon(done, last)
    await last
    return COUNT


async def burst_args() -> int:
    loop = asyncio.get_running_loop()
    last = loop.create_future()
    for _ in range(COUNT - 1):
        loop.call_soon(nothing, 1, 2, 3)
    loop.call_soon(done, last)
    await last
    return COUNT


async def cancelled() -> int:
    loop = asyncio.get_running_loop()
    handles = [loop.call_soon(nothing) for _ in range(COUNT)]
    for handle in handles:
        handle.cancel()
    await asyncio.sleep(0)
    return COUNT


async def chain() -> int:
    """One callback at a time, so that every one is an iteration of the loop."""
    loop = asyncio.get_running_loop()
    last = loop.create_future()
    left = COUNT

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            last.set_result(None)

    step()
    await last
    return COUNT


async def threadsafe_burst() -> int:
    """Another thread calls as fast as it can; the loop handles what has arrived."""
    loop = asyncio.get_running_loop()
    last = loop.create_future()

    def caller() -> None:
        for _ in range(COUNT - 1):
            loop.call_soon_threadsafe(nothing)
        loop.call_soon_threadsafe(done, last)

    thread = threading.Thread(target=caller)
    thread.start()
    await last
    thread.join()
    return COUNT


async def threadsafe_turns() -> int:
    """Another thread calls and waits until the loop has called: the loop sleeps each time and is woken each time."""
    loop = asyncio.get_running_loop()
    last = loop.create_future()
    called = threading.Semaphore(0)
    count = 500

    def caller() -> None:
        for _ in range(count):
            loop.call_soon_threadsafe(called.release)
            called.acquire()
        loop.call_soon_threadsafe(done, last)

    thread = threading.Thread(target=caller)
    thread.start()
    await last
    thread.join()
    return count


async def threadsafe_own() -> int:
    """call_soon_threadsafe where call_soon would have done: libraries do that."""
    loop = asyncio.get_running_loop()
    last = loop.create_future()
    for _ in range(COUNT - 1):
        loop.call_soon_threadsafe(nothing)
    loop.call_soon_threadsafe(done, last)
    await last
    return COUNT


async def executor_turns() -> int:
    loop = asyncio.get_running_loop()
    count = 200
    for _ in range(count):
        await loop.run_in_executor(None, nothing)
    return count


async def executor_many() -> int:
    loop = asyncio.get_running_loop()
    count = 500
    await asyncio.gather(*(loop.run_in_executor(None, nothing) for _ in range(count)))
    return count


async def reader() -> int:
    """A pipe becomes readable and its callback reads it, again and again."""
    loop = asyncio.get_running_loop()
    last = loop.create_future()
    out, into = os.pipe()
    left = 2_000

    def readable() -> None:
        nonlocal left
        os.read(out, 1)
        left -= 1
        if left:
            os.write(into, b"x")
        else:
            last.set_result(None)

    loop.add_reader(out, readable)
    os.write(into, b"x")
    await last
    loop.remove_reader(out)
    os.close(out)
    os.close(into)
    return 2_000


async def reader_changes() -> int:
    """add_reader and remove_reader, with an iteration between the pairs as in real code."""
    loop = asyncio.get_running_loop()
    out, into = os.pipe()
    count = 1_000
    for _ in range(count):
        loop.add_reader(out, nothing)
        loop.remove_reader(out)
        await asyncio.sleep(0)
    os.close(out)
    os.close(into)
    return count


async def signals() -> int:
    """The process sends itself a signal and waits for the handler."""
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, arrived.set)
    count = 200
    for _ in range(count):
        os.kill(os.getpid(), signal.SIGUSR1)
        await arrived.wait()
        arrived.clear()
    loop.remove_signal_handler(signal.SIGUSR1)
    return count


ROWS: list[Row] = [
    Row("call_soon_burst", "call_soon, 10,000 callbacks at once", in_batches(burst)),
    Row("call_soon_args", "the same with three arguments", in_batches(burst_args)),
    Row("call_soon_cancel", "call_soon and cancel before they run", in_batches(cancelled)),
    Row("call_soon_chain", "a callback that schedules the next: one iteration each", in_batches(chain)),
    Row("threadsafe_burst", "call_soon_threadsafe, 10,000 from another thread", in_batches(threadsafe_burst)),
    Row("threadsafe_turns", "call_soon_threadsafe from another thread that waits for each", in_batches(threadsafe_turns)),
    Row("threadsafe_own", "call_soon_threadsafe from the loop's own thread", in_batches(threadsafe_own)),
    Row("executor_turns", "run_in_executor, one after the other", in_batches(executor_turns)),
    Row("executor_many", "run_in_executor, 500 at once", in_batches(executor_many)),
    Row("reader_ready", "add_reader: a pipe becomes readable, its callback runs", in_batches(reader)),
    Row("reader_changes", "add_reader and remove_reader", in_batches(reader_changes)),
    Row("signal", "add_signal_handler: a signal to oneself until its handler ran", in_batches(signals)),
]
