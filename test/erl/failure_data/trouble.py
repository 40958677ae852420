"""Everything that a plugin can do to its worker: the Python half of the failure suites.

A function that is told `go` works when the file of that name appears. That is how a test holds the main thread until all its
callers are in line, without a guess at how long that takes.
"""

import asyncio
import concurrent.futures
import ctypes
import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import erlang

runs = []


def wait_for(go, result="gone"):
    while not os.path.exists(go):
        time.sleep(0.005)  # sleep-ok: any number of workers wait for one file, and a file tells nobody that it is there
    return result


def mark(name):
    runs.append(name)
    return name


def marks():
    return list(runs)


# Ways to die ---------------------------------------------------------------------------------------------------------


def null_dereference():
    ctypes.string_at(0)


def write_to_failed_malloc():
    libc = ctypes.PyDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    size = 8 << 30
    block = libc.malloc(ctypes.c_size_t(size))
    libc.memset(ctypes.c_void_p(block), 1, ctypes.c_size_t(size))


DEATHS = {
    "segfault": null_dereference,
    "abort": os.abort,
    "exit3": lambda: os._exit(3),
    "exit139": lambda: os._exit(139),
    "out_of_memory": write_to_failed_malloc,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def die(how, go, last_words):
    wait_for(go)
    print(last_words, file=sys.stderr, flush=True)
    DEATHS[how]()


# Ways to hang --------------------------------------------------------------------------------------------------------


def spin():
    while True:
        pass


def sleep_long():
    time.sleep(600)  # sleep-ok: a call that blocks is the subject


def sleep_holding_the_gil(seconds=600):
    ctypes.PyDLL(None).sleep(seconds)


def compute_holding_the_gil():
    """Never looks at signals, unlike C's own sleep(), which a signal ends."""
    return sum(itertools.repeat(0))


async def sleep_in_a_task():
    await asyncio.sleep(600)


def defy_interrupts():
    while True:
        try:
            time.sleep(600)  # sleep-ok: a call that blocks is the subject
        except BaseException:
            pass


# Children ------------------------------------------------------------------------------------------------------------


def child_in_own_session():
    """A program that keeps the worker's stdout and stderr open."""
    return subprocess.Popen(["sleep", "600"], start_new_session=True, close_fds=False).pid


def forked_in_own_session():
    """A fork of the interpreter, with whatever descriptors fork leaves it."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        while True:
            signal.pause()
    return pid


def daemon():
    """Its parent ends at once, so that nobody in the worker knows it."""
    out, into = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            while True:
                signal.pause()
        os.write(into, b"%d" % pid)
        os._exit(0)
    os.wait()
    return int(os.read(out, 32))


def stubborn_child():
    """Ignores everything that can be ignored."""
    code = "import signal, os\nfor s in (1, 2, 15): signal.signal(s, signal.SIG_IGN)\nos.setsid()\nprint('up', flush=True)\nsignal.pause()"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child.stdout.readline()
    return child.pid


# fork ----------------------------------------------------------------------------------------------------------------


def _end_of_child(how):
    print("the child says", how, flush=True)
    if how == "raises":
        raise ValueError("in the child")
    if how == "sys_exit":
        sys.exit(4)
    if how == "os_exit":
        os._exit(5)
    return "the child's result"


def _fork(how):
    pid = os.fork()
    if pid == 0:
        return _end_of_child(how)
    return ("parent", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def fork_in_call(how):
    return _fork(how)


async def fork_in_coroutine(how):
    await asyncio.sleep(0)
    result = _fork(how)
    await asyncio.sleep(0)
    return result


def fork_in_thread(how):
    box = []
    thread = threading.Thread(target=lambda: box.append(_fork(how)))
    thread.start()
    thread.join()
    return box[0]


# Limits --------------------------------------------------------------------------------------------------------------


def open_files(count):
    return len([open("/dev/null") for _ in range(count)])


def take_memory(count):
    return len(bytearray(count))


# Traffic -------------------------------------------------------------------------------------------------------------


def in_a_thread(name, *args):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return pool.submit(erlang.call, name, *args).result()


def digest(data, seconds=0.0):
    import zlib

    time.sleep(seconds)  # sleep-ok: a call that blocks is the subject
    return zlib.crc32(data)


def slow_echo(data, seconds):
    time.sleep(seconds)  # sleep-ok: a call that blocks is the subject
    return data


def recurse():
    return recurse()


def raise_it(name):
    raise getattr(__import__("builtins"), name)("on purpose")
