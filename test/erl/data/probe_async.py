"""Coroutines and blocking functions for py_port_async_SUITE."""

import asyncio
import signal
import threading
import time

seen = []


async def sleep_then(seconds, value):
    await asyncio.sleep(seconds)
    return value


def add(a, b=0):
    return a + b


async def fail(text):
    await asyncio.sleep(0)
    raise ValueError(text)


async def until_cancelled(name, started):
    """Waits for ever, and then makes the file `started`: a coroutine that is cancelled while it does something gets a KeyboardInterrupt. Notes how
    it ended."""
    try:
        asyncio.get_running_loop().call_soon(lambda: open(started, "w").close())
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        seen.append(name + " cancelled")
        raise
    finally:
        seen.append(name + " finally")


async def busy_until_cancelled(started):
    """Keeps the loop from turning; what it cleans up with takes turns of the loop."""
    try:
        open(started, "w").close()
        while True:
            pass
    finally:
        await asyncio.sleep(0)
        seen.append("cleaned up")


def what_was_seen():
    return list(seen)


def block(seconds):
    time.sleep(seconds)  # sleep-ok: a call that blocks is the subject
    return threading.current_thread() is not threading.main_thread()


gate = threading.Event()


def wait_for_gate():
    return gate.wait(60)


def open_gate():
    gate.set()


class Kept:
    def value(self):
        return 42


async def print_at_signals():
    """SIGUSR1 is handled by the loop, SIGUSR2 by Python."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print, "the loop's")
    signal.signal(signal.SIGUSR2, lambda *_: print("Python's"))


async def print_no_more():
    loop = asyncio.get_running_loop()
    return [loop.remove_signal_handler(signal.SIGUSR1), loop.remove_signal_handler(signal.SIGUSR1)]
