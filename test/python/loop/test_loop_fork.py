"""fork, while a loop runs or is there: the child can make a loop of its own, the parent does not notice."""

import asyncio
import concurrent.futures
import multiprocessing
import os
import sys
import traceback
import warnings

import pytest
from loop_support import connected, closed, new_event_loop, soon, turns

# From 3.12 on Python warns about fork beside threads. The loops here are the subject, their threads none of ours.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def forked(function):
    """Runs it in a child, which ends without any cleaning up; its status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    return pid


async def ended(pid):
    """Waits for the child without blocking the loop."""
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)


async def does_everything():
    """A little of all that a loop has: timers, sockets, threads, processes."""
    await asyncio.sleep(0.001)  # sleep-ok: timers are part of the subject
    one, two = await connected()
    one.transport.write(b"x")
    assert await two.received(1) == b"x"
    await closed(one, two)
    assert await asyncio.get_running_loop().run_in_executor(None, lambda: 42) == 42
    process = await asyncio.create_subprocess_shell("exit 5")
    assert await soon(process.wait()) == 5


def in_a_fresh_loop():
    loop = new_event_loop()
    loop.run_until_complete(does_everything())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_a_child_of_a_process_with_an_idle_loop(loop):
    loop.run_until_complete(turns())
    pid = forked(in_a_fresh_loop)
    assert os.waitpid(pid, 0)[1] == 0
    loop.run_until_complete(does_everything())


@pytest.mark.needs_python(3, 12)
def test_a_child_of_a_coroutine_has_no_running_loop(run):
    def child():
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise AssertionError("there is a running loop")

    async def main():
        assert await ended(forked(child)) == 0

    run(main())


def test_a_child_of_a_coroutine_can_run_a_fresh_loop(run):
    def child():
        asyncio._set_running_loop(None)  # before 3.12 the child has to say that it does not run the parent's
        in_a_fresh_loop()

    async def main():
        assert await ended(forked(child)) == 0
        await does_everything()

    run(main())


def test_the_parents_loop_is_unharmed(loop, run):
    """What the child does and how it ends changes nothing: not the watched descriptors, not the timers, not the wake-ups."""

    async def main():
        one, two = await connected()
        timer, wake = loop.create_future(), loop.create_future()
        loop.call_later(0.05, timer.set_result, None)
        pids = [forked(lambda: None) for _ in range(5)] + [forked(in_child)]
        assert [await ended(pid) for pid in pids] == [0] * 6
        one.transport.write(b"still")
        assert await two.received(5) == b"still"
        await soon(timer)
        await loop.run_in_executor(None, loop.call_soon_threadsafe, wake.set_result, None)
        await soon(wake)
        await closed(one, two)

    def in_child():
        asyncio._set_running_loop(None)
        in_a_fresh_loop()

    run(main())


def test_a_child_that_drops_the_parents_loop_does_not_hurt_it(loop, run):
    """Collecting or closing the inherited objects in the child must not reach the parent's descriptors (epoll is shared)."""
    import gc

    async def main():
        one, two = await connected()

        def child():
            asyncio._set_running_loop(None)
            one.transport.get_extra_info("socket")
            gc.collect()

        assert await ended(forked(child)) == 0
        for i in range(10):
            one.transport.write(b"x")
            await two.received(i + 1)
        await closed(one, two)

    run(main())


def work(n):
    return n * n, os.getpid()


def work_with_a_loop(n):
    async def main():
        await asyncio.sleep(0)
        return n * n

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_pool_as_executor(loop, run, bill, method):
    async def main():
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
            answers = await soon(asyncio.gather(*(loop.run_in_executor(pool, work, n) for n in range(10))))
        assert [answer for answer, _ in answers] == [n * n for n in range(10)]
        assert os.getpid() not in {pid for _, pid in answers}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        run(main())
    end_resource_tracker()


def test_a_loop_in_a_forked_pool_process(loop, run):
    async def main():
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
            assert await soon(loop.run_in_executor(pool, work_with_a_loop, 7)) == 49

    run(main())
    end_resource_tracker()


def end_resource_tracker():
    """multiprocessing keeps a helper process for the rest of the program; the bill would find it."""
    from multiprocessing import resource_tracker

    tracker = resource_tracker._resource_tracker
    if getattr(tracker, "_fd", None) is not None:
        os.close(tracker._fd)
        os.waitpid(tracker._pid, 0)
        tracker._fd = tracker._pid = None


def test_a_hundred_forks_leave_nothing_behind(run):
    async def main():
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(100):
            assert os.waitpid(forked(lambda: None), 0)[1] == 0
        await turns()
        assert len(os.listdir("/proc/self/fd")) <= before
        await asyncio.sleep(0.001)  # sleep-ok: the loop must wait once

    run(main())


def test_a_process_that_has_closed_stdin_stdout_and_stderr_can_make_a_loop_and_close_it(loop):
    """As daemons do: their numbers are the next ones."""

    def child():
        os.closerange(0, 3)
        inner = new_event_loop()
        assert inner.run_until_complete(asyncio.sleep(0.001, 7)) == 7  # sleep-ok: timers are part of the subject
        inner.close()

    assert loop.run_until_complete(ended(forked(child))) == 0
