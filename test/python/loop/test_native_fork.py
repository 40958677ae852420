"""A forked child and the loop that it inherits: it may go on with it, and whatever it does is not the parent's."""

import asyncio
import gc
import os
import signal
import sys
import threading
import time
import traceback
import warnings

import pytest
from loop_support import closed, connected, new_event_loop, soon, socketpair, turns

pytestmark = [pytest.mark.ours_only("what a child may do with its parent's loop is ours"), pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")]


def fork():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return os.fork()


def ends_well(pid):
    return os.waitpid(pid, 0)[1] == 0


def in_child(function):
    pid = fork()
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


async def works(loop):
    """Timers, descriptors, calls of threads, processes."""
    one, two = socketpair()
    with one, two:
        await loop.sock_sendall(one, b"x")
        assert await soon(loop.sock_recv(two, 10)) == b"x"
    woken = loop.create_future()
    thread = threading.Timer(0.01, loop.call_soon_threadsafe, (woken.set_result, None))
    thread.start()
    await soon(woken)
    await asyncio.sleep(0.01)  # sleep-ok: timers are part of the subject
    thread.join()
    process = await asyncio.create_subprocess_exec("true")
    assert await soon(process.wait()) == 0


def test_a_child_goes_on_with_the_loop_of_its_coroutine(loop):
    """The coroutine returns twice: in the child the same loop runs to its end, on descriptors of its own."""
    one, two = socketpair()
    parent = os.getpid()

    async def main():
        assert await soon(loop.sock_recv(two, 1)) == b"a"
        reader = loop.create_task(loop.sock_recv(two, 1))  # is being watched while we fork
        timer = loop.create_future()
        loop.call_later(0.1, timer.set_result, None)
        await turns()
        pid = fork()
        if pid == 0:
            asyncio._set_running_loop(loop)  # asyncio has told the child that none runs
            await works(loop)
            await soon(timer)
            reader.cancel()
            return 0
        done = await loop.run_in_executor(None, ends_well, pid)
        one.send(b"b")
        assert await soon(reader) == b"b"
        await soon(timer)
        await works(loop)
        return done

    one.send(b"a")
    result = "failed"
    try:
        result = loop.run_until_complete(main())
    except BaseException:
        if os.getpid() != parent:
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
        raise
    finally:
        if os.getpid() != parent:
            os._exit(0 if result == 0 else 2)
    one.close()
    two.close()
    assert result is True


def test_a_child_runs_an_idle_loop_and_closes_it(loop):
    loop.run_until_complete(works(loop))

    def child():
        loop.run_until_complete(works(loop))
        loop.close()

    assert ends_well(in_child(child))
    loop.run_until_complete(works(loop))


def test_a_child_closes_and_collects_what_it_never_used(loop, run):
    async def main():
        one, two = await connected()
        watched, other = socketpair()
        loop.add_reader(watched, int)

        def child():
            asyncio._set_running_loop(None)
            loop.remove_reader(watched)
            watched.close()
            one.transport.abort()
            gc.collect()

        assert ends_well(in_child(child))
        got = loop.create_future()
        loop.add_reader(watched, lambda: got.done() or got.set_result(None))
        other.send(b"x")
        await soon(got)
        loop.remove_reader(watched)
        one.transport.write(b"x")
        assert await two.received(1) == b"x"
        await closed(one, two)
        watched.close()
        other.close()

    run(main())


def test_a_child_that_closes_watched_descriptors_and_goes_on(loop):
    one, two = socketpair()
    three, four = socketpair()
    loop.add_reader(one, int)
    loop.add_reader(three, lambda: (three.recv(10), loop.stop()))
    loop.run_until_complete(turns())

    def child():
        os.close(one.fileno())
        four.send(b"x")
        loop.run_forever()

    assert ends_well(in_child(child))
    loop.remove_reader(one)
    loop.remove_reader(three)
    for sock in (one, two, three, four):
        sock.close()


def test_timers_of_a_child_are_not_the_parents(loop, run):
    async def main():
        began = loop.time()
        timer = loop.create_task(asyncio.sleep(0.3))  # sleep-ok: timers are the subject
        await turns()

        def child():
            asyncio._set_running_loop(None)
            fresh = new_event_loop()
            for _ in range(10):
                fresh.run_until_complete(asyncio.sleep(0.001))  # sleep-ok: timers are the subject
            fresh.close()

        pid = in_child(child)
        await timer
        assert 0.3 <= loop.time() - began < 5
        assert ends_well(pid)

    run(main())


def test_signals_of_a_child_do_not_wake_the_parent(loop, run):
    from erlang._signals import Wakeup

    async def main():
        def child():
            asyncio._set_running_loop(None)
            fresh = new_event_loop()
            fresh.add_signal_handler(signal.SIGUSR1, fresh.stop)
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            began = time.monotonic()
            fresh.call_later(20, fresh.stop)
            fresh.run_forever()
            assert time.monotonic() - began < 10

        assert ends_well(in_child(child))
        with pytest.raises(BlockingIOError):
            os.read(Wakeup.ours.read_fd, 1)

    run(main())


def test_another_threads_loop_is_no_ones_in_the_child(loop, run):
    """The thread that ran it is not in the child, and it may have stood anywhere."""
    other = new_event_loop()
    thread = threading.Thread(target=other.run_forever, daemon=True)
    thread.start()
    one, two = socketpair()
    ready = threading.Event()
    other.call_soon_threadsafe(lambda: (other.add_reader(one, int), ready.set()))
    ready.wait()

    def child():
        with pytest.raises(RuntimeError):
            other.run_forever()
        with pytest.raises(RuntimeError):
            other.close()
        other.remove_reader(one)
        fresh = new_event_loop()
        fresh.run_until_complete(works(fresh))
        fresh.close()

    assert ends_well(in_child(child))
    got = threading.Event()
    other.call_soon_threadsafe(other.add_reader, one, lambda: (one.recv(10), got.set()))
    two.send(b"x")
    assert got.wait(10)
    other.call_soon_threadsafe(lambda: (other.remove_reader(one), other.stop()))
    thread.join()
    other.close()
    one.close()
    two.close()


def test_children_of_children(loop):
    def child(depth):
        loop.run_until_complete(works(loop))
        if depth > 0:
            assert ends_well(in_child(lambda: child(depth - 1)))
        loop.run_until_complete(works(loop))

    child(3)
