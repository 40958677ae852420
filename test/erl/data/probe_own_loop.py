"""Loops of the user's own in a worker: signals, children and forks beside the worker's main loop."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
import traceback

import erlang


def note(path):
    with open(path, "w"):
        pass


def run(coroutine):
    loop = erlang.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


def wakeup():
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    return fd


def sleep_in_a_loop(started):
    async def main():
        note(started)
        await asyncio.sleep(600)

    run(main())


def wait_for_erlang_in_a_loop(name):
    async def main():
        return erlang.call(name)  # blocks the loop

    return run(main())


done = []


def like_one_of(module, function):
    """A function that is taken for one of Python's own."""
    works = {"__name__": module, "is_there": os.access, "done": done}
    exec(
        f"def {function}(note, started, go):\n"
        "    note(started)\n"
        "    while not is_there(go, 0):\n"
        "        pass\n"
        "    done.append('worked')\n",
        works,
    )
    return works[function]


def works_done():
    ended = done.copy()
    done.clear()
    return ended


def at_its_works(started, go, module, function):
    like_one_of(module, function)(note, started, go)
    time.sleep(600)  # sleep-ok: is interrupted


def fails_to_clean_up(started):
    try:
        note(started)
        time.sleep(600)  # sleep-ok: is interrupted
    finally:
        raise RuntimeError("there is nothing to clean up")


def a_loop_that_waits(name):
    loop = asyncio.new_event_loop()
    loop.waiting = loop.create_task(async_call(name))
    return loop


async def async_call(name):
    return await erlang.async_call(name)


async def a_task_that_nobody_holds(name):
    answers = asyncio.Queue()

    async def ask():
        answers.put_nowait(await erlang.async_call(name))

    asyncio.create_task(ask())
    await asyncio.sleep(0)
    gc.collect()
    return await answers.get()


def a_task_that_nobody_holds_in_a_loop(name):
    return asyncio.run(a_task_that_nobody_holds(name))


kept = []


def closes_a_loop_that_waits(name, go):
    """Without cancelling what waits there; somebody still has the loop."""
    loop = a_loop_that_waits(name)
    while not os.path.exists(go):
        loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    kept.append(loop)


def leaves_a_loop(name):
    a_loop_that_waits(name).run_forever()


def a_signal_after_a_wait_for_erlang_in_a_loop(name):
    """While Erlang is waited for, the worker's main loop has the signals; afterwards this one has them again."""

    async def main():
        loop = asyncio.get_running_loop()
        got = loop.create_future()
        before = wakeup()
        erlang.call(name)
        assert wakeup() == before, (wakeup(), before)
        loop.add_signal_handler(signal.SIGUSR1, got.set_result, "signal")
        # sleep-ok: the signal is to find the loop at rest, and nothing announces that it rests
        helper = subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep(.2); os.kill({os.getpid()}, {signal.SIGUSR1:d})"])
        try:
            return await asyncio.wait_for(got, 60)
        finally:
            helper.wait()
            loop.remove_signal_handler(signal.SIGUSR1)

    before = wakeup()
    result = run(main())
    assert wakeup() == before
    return result


seen = []


def watch_signals():
    signal.signal(signal.SIGUSR1, lambda *_: seen.append(time.monotonic()))
    run(asyncio.sleep(0))
    return os.getpid()


def signals_seen():
    return len(seen)


async def everything(loop):
    await asyncio.sleep(0.01)  # sleep-ok: timers are part of the subject
    process = await asyncio.create_subprocess_exec("echo", "child", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert (out, process.returncode) == (b"child\n", 0)
    assert await loop.run_in_executor(None, lambda: 42) == 42


def fork():
    """In the child: a loop of its own does everything, and the program ends."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            asyncio._set_running_loop(None)
            loop = erlang.new_event_loop()
            loop.run_until_complete(everything(loop))
            loop.close()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def fork_in_a_loop():
    async def main():
        loop = asyncio.get_running_loop()
        pid = fork()
        await everything(loop)
        _, status = await loop.run_in_executor(None, os.waitpid, pid, 0)
        return status

    return run(main())


async def fork_in_the_loop_of_the_context():
    loop = asyncio.get_running_loop()
    later = loop.create_task(asyncio.sleep(0.2, "later"))  # sleep-ok: timers are part of the subject
    await asyncio.sleep(0)
    pid = fork()
    _, status = await loop.run_in_executor(None, os.waitpid, pid, 0)
    return [status, await later]


def a_child_that_goes_on_in_the_loop():
    """It runs to the end of this call, and then ends instead of answering."""

    async def main():
        loop = asyncio.get_running_loop()
        pid = os.fork()
        if pid == 0:
            asyncio._set_running_loop(loop)
        await everything(loop)
        if pid == 0:
            return "nobody hears this"
        _, status = await loop.run_in_executor(None, os.waitpid, pid, 0)
        return status

    return run(main())


def process_pool(method):
    import concurrent.futures
    import math  # a spawned process is a plain Python, without the package erlang
    import multiprocessing

    async def main():
        loop = asyncio.get_running_loop()
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
            return await asyncio.gather(*(loop.run_in_executor(pool, math.factorial, n) for n in range(5)))

    return run(main())


def children_in_a_thread():
    loop = erlang.new_event_loop()
    try:
        loop.run_until_complete(everything(loop))
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
    return "done"
