"""What the suites call: functions that answer, fail, hang and clean up."""

import asyncio
import ctypes
import os
import re
import time

VALUE = 42


class Box:
    class Inner:
        @staticmethod
        def name():
            return "inner"


def echo(*args, **kwargs):
    return [list(args), kwargs]


def identity(value):
    return value


def text(value):
    return repr(value)


def kind(value):
    return type(value).__name__


def touch(path):
    """The file appears whole: whoever waits for it may read it."""
    with open(path + ".part", "w") as marker:
        marker.write("done")
    os.rename(path + ".part", path)


# ---- things that do not end by themselves; each says that it runs by making a file


def sleep_long(path):
    touch(path)
    time.sleep(600)  # sleep-ok: a call that blocks is the subject


def loop_forever(path):
    touch(path)
    while True:
        pass


def loop_and_clean_up(path, cleaned):
    touch(path)
    try:
        while True:
            pass
    finally:
        touch(cleaned)


class Destroyed:
    """What is raised in its destructor goes nowhere."""

    def __init__(self, path):
        self.path = path

    def __del__(self):
        touch(self.path)
        while True:
            pass


def lose_the_first_interrupt(path):
    Destroyed(path)
    while True:
        pass


def regex_forever(path):
    """A C function that holds the GIL and looks for signals now and then."""
    touch(path)
    return re.match(r"(a+)+b", "a" * 64)


def hold_the_gil(path):
    """A C loop that holds the GIL and never looks for signals."""
    touch(path)
    return sum(range(10**15))


def sleep_with_the_gil(path):
    """A C function that holds the GIL and waits in a system call, which a signal ends."""
    touch(path)
    return ctypes.PyDLL(None).sleep(600)


def ignore_interrupts(path):
    touch(path)
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


def spin_for(path, seconds):
    touch(path)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "spun"


def wait_for(path, go):
    touch(path)
    while not os.path.exists(go):
        time.sleep(0.005)  # sleep-ok: a file tells nobody that it is there
    return "gone"


# ---- coroutines


async def coroutine(value):
    await asyncio.sleep(0)
    return value


async def failing_coroutine():
    await asyncio.sleep(0)
    raise LookupError("in a coroutine")


async def coroutine_forever(path, cleaned):
    touch(path)
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        touch(cleaned)


events = {}


async def meet(mine, other):
    """Ends only when both callers are inside at the same time."""
    for name in (mine, other):
        events.setdefault(name, asyncio.Event())
    events[mine].set()
    await events[other].wait()
    return mine


def run_loop_of_its_own(value):
    return asyncio.run(coroutine(value))


class Awaitable:
    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return "awaited"


def make_awaitable():
    return Awaitable()


class Methods:
    async def later(self, value):
        await asyncio.sleep(0)
        return value


# ---- errors


class OurError(Exception):
    """Has a message of its own."""


def raise_plain():
    raise ValueError("plain text")


def raise_ours():
    raise OurError("mine", 7)


def raise_from():
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise RuntimeError("outer") from error


def raise_while_handling():
    try:
        raise KeyError("first")
    except KeyError:
        raise RuntimeError("second")


def raise_from_none():
    try:
        raise KeyError("hidden")
    except KeyError:
        raise RuntimeError("alone") from None


def raise_with_notes():
    error = ValueError("noted")
    error.__notes__ = ["first note", "second note"]
    raise error


def raise_group():
    raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])  # noqa: F821 (3.11)


def raise_with_broken_str():
    class Broken(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    raise Broken()


def raise_through(depth):
    if depth:
        return raise_through(depth - 1)
    raise ValueError("deep")


def raise_system_exit(code):
    raise SystemExit(code)


def raise_keyboard_interrupt():
    raise KeyboardInterrupt


def recurse():
    return recurse()


def too_much_memory():
    return len([bytearray(16 * 1024 * 1024) for _ in range(1000)])


def raise_cycle():
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    raise first


def raise_surrogate():
    raise ValueError("lone \ud800 half")
