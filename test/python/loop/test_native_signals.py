"""How a signal ends the loop's wait: the wake-up descriptor, whose it is and when."""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import threading
import time
import warnings

import pytest
from loop_support import BOUND, drained, socketpair, soon, turns

NUMBER = signal.SIGUSR1


def later(function, *args):
    """Calls it from another thread when this one is likely to wait: it may also be early, and then proves less."""
    timer = threading.Timer(0.05, function, args)
    timer.start()
    return timer


def wakeup_fd():
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return fd


class Pair:
    """A descriptor for set_wakeup_fd, and the socket that gets what is written there."""

    def __init__(self):
        self.before = signal.set_wakeup_fd(-1)
        self.ours, self.other = socket.socketpair()
        self.ours.setblocking(False)
        self.other.setblocking(False)

    def close(self):
        signal.set_wakeup_fd(self.before)
        self.ours.close()
        self.other.close()


@pytest.fixture
def pair(bill):
    made = Pair()
    bill.to_close.append(made)
    return made.ours.fileno(), made.other


@pytest.fixture
def handled():
    seen = []
    before = signal.signal(NUMBER, lambda *_: seen.append(1))
    yield seen
    signal.signal(NUMBER, before)


def test_an_interrupt_ends_a_loop_that_waits(loop):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = later(os.kill, os.getpid(), signal.SIGINT)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(asyncio.sleep(20))  # sleep-ok: it is to be interrupted
    assert time.monotonic() - began < 10
    timer.join()
    signal.signal(signal.SIGINT, before)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(turns())


def test_a_handler_that_raises_ends_the_run(loop):
    def handler(*_):
        raise ZeroDivisionError

    before = signal.signal(NUMBER, handler)
    timer = later(os.kill, os.getpid(), NUMBER)
    with pytest.raises(ZeroDivisionError):
        loop.run_forever()
    timer.join()
    signal.signal(NUMBER, before)
    loop.run_until_complete(turns())


@pytest.mark.needs_python(3, 11)
def test_a_runner_cancels_its_task_at_the_first_interrupt(make_loop):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    ended = []

    async def main():
        try:
            await asyncio.sleep(20)  # sleep-ok: it is to be interrupted
        finally:
            ended.append(1)

    timer = later(os.kill, os.getpid(), signal.SIGINT)
    with asyncio.Runner(loop_factory=make_loop) as runner, pytest.raises(KeyboardInterrupt):
        runner.run(main())
    timer.join()
    assert ended == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.mark.ours_only("stock asyncio has no wake-up descriptor without handlers")
def test_the_descriptor_is_as_before_after_each_run(loop, handled, pair):
    fd, _ = pair
    for before in (-1, fd):
        signal.set_wakeup_fd(before)
        loop.run_until_complete(turns())
        assert wakeup_fd() == before
        with pytest.raises(RuntimeError):
            loop.run_until_complete(fails())
        assert wakeup_fd() == before


async def fails():
    raise RuntimeError


def test_whose_descriptor_it_was_still_gets_the_signals(loop, run, handled, pair):
    fd, other = pair
    signal.set_wakeup_fd(fd)

    async def main():
        os.kill(os.getpid(), NUMBER)
        assert await soon(loop.sock_recv(other, 100)) == bytes([NUMBER])
        assert handled == [1]

    run(main())


def test_a_descriptor_that_is_set_in_a_run_stays(loop, run, handled, pair):
    fd, other = pair

    async def main():
        signal.set_wakeup_fd(fd)
        os.kill(os.getpid(), NUMBER)
        assert await soon(loop.sock_recv(other, 100)) == bytes([NUMBER])

    run(main())
    assert wakeup_fd() == fd


def test_a_descriptor_that_has_been_closed_meanwhile_is_forgotten(loop, run):
    before = signal.set_wakeup_fd(-1)
    ours, other = socket.socketpair()
    ours.setblocking(False)
    signal.set_wakeup_fd(ours.fileno())

    async def main():
        ours.close()
        other.close()

    run(main())
    assert signal.set_wakeup_fd(before) in (-1, ours.fileno())


def test_loops_of_other_threads_leave_it_alone(make_loop, pair):
    fd, _ = pair
    signal.set_wakeup_fd(fd)
    loop, seen = make_loop(), []

    async def main():
        started.set()
        await loop.run_in_executor(None, go_on.wait)

    started, go_on = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    started.wait()
    seen.append(wakeup_fd())
    go_on.set()
    thread.join()
    assert seen == [fd]


def test_a_loop_in_a_loop(loop, make_loop, handled):
    """As an inner one that a callback runs, when nobody counts as running meanwhile."""
    inner = make_loop()
    order, timers = [], []

    def callback():
        asyncio._set_running_loop(None)
        inner.call_later(20, inner.stop)
        inner.add_signal_handler(NUMBER, inner.stop)
        timer = later(os.kill, os.getpid(), NUMBER)
        inner.run_forever()
        order.append("inner")
        inner.remove_signal_handler(NUMBER)
        timer.join()
        asyncio._set_running_loop(loop)
        loop.add_signal_handler(NUMBER, lambda: (order.append("outer"), loop.stop()))
        timers.append(later(os.kill, os.getpid(), NUMBER))

    loop.call_soon(callback)
    loop.run_forever()
    timers[0].join()
    loop.remove_signal_handler(NUMBER)
    assert order == ["inner", "outer"]


def test_two_loops_take_turns(make_loop):
    loops = [make_loop() for _ in range(3)]
    for _ in range(3):
        for loop in loops:
            loop.add_signal_handler(NUMBER, loop.stop)
            timer = later(os.kill, os.getpid(), NUMBER)
            began = time.monotonic()
            loop.call_later(20, loop.stop)
            loop.run_forever()
            assert time.monotonic() - began < 10
            timer.join()
            loop.remove_signal_handler(NUMBER)


def test_a_handler_outlives_no_loop_that_was_closed_by_another_thread(make_loop):
    loop = make_loop()
    before = signal.getsignal(NUMBER)
    loop.add_signal_handler(NUMBER, int)
    raised = []

    def close():
        try:
            loop.close()
        except ValueError as only_main:
            raised.append(only_main)

    thread = threading.Thread(target=close)
    thread.start()
    thread.join()
    assert loop.is_closed() and len(raised) == 1
    os.kill(os.getpid(), NUMBER)  # the handler finds its loop closed
    signal.signal(NUMBER, before)


def test_loops_leave_no_descriptors(make_loop):
    make_loop().run_until_complete(turns())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        loop = make_loop()
        loop.run_until_complete(turns())
        loop.close()
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.ours_only("how it is told of signals is its own")
def test_a_loop_that_runs_elsewhere_now_leaves_the_signals_to_the_main_thread(loop):
    """It would read the bytes that are to end the wait of the loop that the main thread runs."""
    from erlang._signals import Wakeup

    loop.run_until_complete(turns())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(turns(), loop).result(10)
    try:
        os.write(Wakeup.ours.write_fd, b"\0")
        asyncio.run_coroutine_threadsafe(turns(), loop).result(10)
        assert os.read(Wakeup.ours.read_fd, 10) == b"\0"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
    seen = []
    loop.add_signal_handler(NUMBER, lambda: (seen.append(1), loop.stop()))
    timer = later(os.kill, os.getpid(), NUMBER)
    loop.run_forever()
    timer.join()
    loop.remove_signal_handler(NUMBER)
    assert seen == [1]


@pytest.mark.parametrize("meanwhile", ["another loop", "nobody", "somebody"])
def test_a_handler_that_is_set_within_a_run_is_called_whoever_had_the_descriptor_meanwhile(loop, run, pair, meanwhile):
    async def main():
        if meanwhile == "another loop":
            other = asyncio.SelectorEventLoop()
            other.add_signal_handler(signal.SIGUSR2, int)
            other.close()
        else:
            signal.set_wakeup_fd(-1 if meanwhile == "nobody" else pair[0])
        got = loop.create_future()
        loop.add_signal_handler(NUMBER, got.set_result, None)
        timer = later(os.kill, os.getpid(), NUMBER)
        await soon(got)
        timer.join()
        loop.remove_signal_handler(NUMBER)

    run(main())


@pytest.mark.ours_only("stock asyncio puts its own in the place")
def test_whoever_had_the_descriptor_before_a_handler_was_set_gets_the_signals_and_it_back(loop, run, pair):
    fd, other = pair

    async def main():
        signal.set_wakeup_fd(fd)
        loop.add_signal_handler(NUMBER, int)
        os.kill(os.getpid(), NUMBER)
        assert await soon(loop.sock_recv(other, 100)) == bytes([NUMBER])
        loop.remove_signal_handler(NUMBER)

    run(main())
    assert wakeup_fd() == fd


@contextlib.contextmanager
def others_have_our_descriptors():
    """Somebody has closed those of the wake-up pipe, as daemons close whatever they find, and has sockets of his own under the numbers; their peers."""
    from erlang._signals import Wakeup

    ours = Wakeup.ours
    numbers = ours.read_fd, ours.write_fd
    kept = [os.dup(fd) for fd in numbers]
    pairs = socketpair(), socketpair()
    for (sock, _), number in zip(pairs, numbers):
        os.dup2(sock.fileno(), number)
    try:
        yield numbers, [peer for _, peer in pairs]
    finally:
        for fd, number in zip(kept, numbers):
            os.dup2(fd, number, inheritable=False)
        made, Wakeup.ours = Wakeup.ours, ours
        for sock in pairs[0] + pairs[1]:
            sock.close()
        for fd in (*kept, *((made.read_fd, made.write_fd) if made is not ours else ())):
            os.close(fd)


@pytest.mark.ours_only("how it is told of signals is its own")
def test_signals_do_not_go_to_descriptors_that_are_not_ours_any_more(make_loop):
    with others_have_our_descriptors() as (_, peers):
        loop, seen = make_loop(), []
        loop.add_signal_handler(NUMBER, lambda: (seen.append(1), loop.stop()))
        timer = later(os.kill, os.getpid(), NUMBER)
        loop.call_later(BOUND, loop.stop)
        loop.run_forever()
        timer.join()
        loop.close()
        assert seen == [1]
        assert [drained(peer) for peer in peers] == [b"", b""]


@pytest.mark.ours_only("how it is told of signals is its own")
def test_a_fork_leaves_descriptors_alone_that_are_not_ours_any_more():
    with others_have_our_descriptors() as (numbers, _):
        before = [os.fstat(fd).st_ino for fd in numbers]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pid = os.fork()
        if pid == 0:
            os._exit([os.fstat(fd).st_ino for fd in numbers] != before)
        assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.ours_only("how it is told of signals is its own")
def test_the_first_run_needs_no_more_descriptors(make_loop):
    from erlang._signals import Wakeup

    kept, Wakeup.ours = Wakeup.ours, None
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        loop = make_loop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        loop.run_until_complete(turns())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        made, Wakeup.ours = Wakeup.ours, kept
    loop.close()
    os.close(made.read_fd)
    os.close(made.write_fd)
