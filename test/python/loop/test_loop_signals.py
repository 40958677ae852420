"""add_signal_handler and remove_signal_handler."""

import asyncio
import ctypes
import os
import select
import signal
import struct
import subprocess
import sys
import threading

import pytest
from loop_support import IS_OURS, HandlerCalls, soon, turns, until

NUMBER = signal.SIGUSR1


def me(number=NUMBER):
    os.kill(os.getpid(), number)


def test_a_handler_is_called_with_its_arguments(loop, run):
    async def main():
        got = loop.create_future()
        loop.add_signal_handler(NUMBER, lambda *args: got.set_result(args), 1, "two")
        me()
        assert await soon(got) == (1, "two")
        assert loop.remove_signal_handler(NUMBER) is True
        assert loop.remove_signal_handler(NUMBER) is False

    run(main())


def test_it_runs_in_the_loop_and_not_in_the_middle_of_other_code(loop, run):
    async def main():
        seen = []
        loop.add_signal_handler(NUMBER, lambda: seen.append(asyncio.get_running_loop() is loop))
        me()
        for _ in range(1000):  # plenty of chances for a Python-level handler
            pass
        assert seen == []
        while not seen:
            await asyncio.sleep(0.001)  # sleep-ok: the loop must look at its descriptors
        assert seen == [True]
        loop.remove_signal_handler(NUMBER)

    run(main())


def test_a_handler_wakes_a_loop_that_waits(loop):
    thread = threading.Thread(target=me)
    loop.add_signal_handler(NUMBER, loop.stop)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    loop.remove_signal_handler(NUMBER)


def test_a_second_handler_replaces_the_first(loop, run):
    async def main():
        got = loop.create_future()
        loop.add_signal_handler(NUMBER, got.set_result, "first")
        loop.add_signal_handler(NUMBER, got.set_result, "second")
        me()
        assert await soon(got) == "second"
        assert loop.remove_signal_handler(NUMBER)

    run(main())


def test_several_signals_do_not_get_mixed_up(loop, run):
    numbers = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM, signal.SIGWINCH]

    async def main():
        seen, done = [], loop.create_future()

        def handler(number):
            seen.append(number)
            if len(seen) == len(numbers):
                done.set_result(None)

        for number in numbers:
            loop.add_signal_handler(number, handler, number)
        for number in numbers:
            me(number)
        await soon(done)
        assert sorted(seen) == sorted(numbers)
        for number in numbers:
            loop.remove_signal_handler(number)

    run(main())


def test_a_signal_between_two_runs_is_not_lost(loop):
    seen = []
    loop.add_signal_handler(NUMBER, seen.append, 1)
    loop.run_until_complete(turns())
    me()
    while not seen:
        loop.run_until_complete(asyncio.sleep(0.001))  # sleep-ok: the loop must look at its descriptors
    loop.remove_signal_handler(NUMBER)


def test_a_signal_before_the_first_run_is_not_lost(loop):
    loop.add_signal_handler(NUMBER, loop.stop)
    me()
    loop.run_forever()
    loop.remove_signal_handler(NUMBER)


def test_a_signal_ends_the_wait_of_a_turn_by_hand(loop):
    class Rang(Exception):
        pass

    def ring(*_):
        raise Rang

    before = signal.signal(NUMBER, ring)
    hour = loop.call_later(3600, int)
    libc = ctypes.CDLL(None)
    main = ctypes.c_ulong(threading.get_ident())
    awake = threading.Event()
    # Comes before, in or after the wait's first moments: all three have to do.
    thread = threading.Thread(target=lambda: (awake.wait(), libc.pthread_kill(main, NUMBER)))
    thread.start()
    loop.call_soon(awake.set)
    with pytest.raises(Rang):
        while True:
            loop._run_once()
    thread.join()
    hour.cancel()
    signal.signal(NUMBER, before)


@pytest.mark.ours_only("how it is told of signals is its own")
def test_a_signal_that_another_thread_takes_while_a_run_begins_is_not_lost(loop, monkeypatch):
    """Before its wake-up descriptor is set there is no byte, and before 3.13 nothing else tells the main thread, which would then wait."""
    from erlang._signals import Wakeup

    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    libc = ctypes.PyDLL(None)  # keeps the GIL: taking it would show the main thread the signal
    stop = os.pipe()
    thread = threading.Thread(target=os.read, args=(stop[0], 1))
    thread.start()
    number, byte = ctypes.c_ulong(thread.ident), ctypes.create_string_buffer(1)
    wanted = ctypes.create_string_buffer(struct.pack("ihh", Wakeup.ours.read_fd, select.POLLIN, 0))
    set_wakeup_fd = signal.set_wakeup_fd

    def then_the_signal(fd, **how):
        before = set_wakeup_fd(fd, **how)
        if fd == Wakeup.ours.write_fd:
            libc.pthread_kill(number, NUMBER)
            libc.poll(wanted, 1, -1)
            libc.read(Wakeup.ours.read_fd, byte, 1)  # as if it had come a moment before
        return before

    loop.add_signal_handler(NUMBER, loop.stop)
    monkeypatch.setattr(signal, "set_wakeup_fd", then_the_signal)
    try:
        loop.run_forever()
    finally:
        monkeypatch.undo()
        os.write(stop[1], b"x")
        thread.join()
    for fd in stop:
        os.close(fd)
    loop.remove_signal_handler(NUMBER)


def test_removing_restores_the_default(loop):
    for number, default in [(NUMBER, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)]:
        before = signal.getsignal(number)
        loop.add_signal_handler(number, int)
        assert signal.getsignal(number) != before
        loop.remove_signal_handler(number)
        assert signal.getsignal(number) == default
        signal.signal(number, before)


def test_close_removes_the_handlers(make_loop):
    before = signal.getsignal(NUMBER)
    loop = make_loop()
    loop.add_signal_handler(NUMBER, int)
    loop.close()
    assert signal.getsignal(NUMBER) == signal.SIG_DFL
    signal.signal(NUMBER, before)


def test_system_calls_are_not_interrupted(loop):
    """A signal with a handler must not make other threads' reads fail."""
    got = []
    r, w = os.pipe()
    thread = threading.Thread(target=lambda: got.append(os.read(r, 1)))
    thread.start()
    seen = []
    try:
        loop.add_signal_handler(NUMBER, lambda: (seen.append(1), loop.stop()))
        signal.pthread_kill(thread.ident, NUMBER)
        loop.run_forever()
    finally:
        os.write(w, b"x")
        thread.join()
    assert got == [b"x"] and seen == [1]
    os.close(r)
    os.close(w)
    loop.remove_signal_handler(NUMBER)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_signals_that_cannot_be_caught(loop, number):
    with pytest.raises((RuntimeError, OSError)):
        loop.add_signal_handler(number, int)
    assert loop.remove_signal_handler(number) is False


@pytest.mark.parametrize("number, error", [(0, (ValueError, RuntimeError)), (-1, ValueError), (signal.NSIG + 1, ValueError),
                                           ("SIGINT", TypeError), (1.5, TypeError), (None, TypeError)])
def test_what_is_no_signal(loop, number, error):
    with pytest.raises(error):
        loop.add_signal_handler(number, int)
    if number:
        with pytest.raises(error):
            loop.remove_signal_handler(number)


def test_coroutine_functions_are_no_handlers(loop):
    async def handler():
        pass

    with pytest.raises(TypeError, match="[Cc]oroutine"):
        loop.add_signal_handler(NUMBER, handler)
    coroutine = handler()
    with pytest.raises(TypeError, match="[Cc]oroutine"):
        loop.add_signal_handler(NUMBER, coroutine)
    coroutine.close()


def test_only_the_main_thread_may(make_loop):
    caught = []

    def in_thread():
        loop = make_loop()
        try:
            loop.add_signal_handler(NUMBER, int)
        except (RuntimeError, ValueError) as error:
            caught.append(error)
        loop.close()

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert len(caught) == 1


def test_a_closed_loop_takes_no_handlers(loop):
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.add_signal_handler(NUMBER, int)


def test_a_handler_that_fails_goes_to_the_exception_handler_and_stays(loop, run):
    calls = HandlerCalls(loop)

    async def main():
        loop.add_signal_handler(NUMBER, lambda: 1 / 0)
        for expected in (1, 2):
            me()
            while len(calls) < expected:
                await asyncio.sleep(0.001)  # sleep-ok: the loop must look at its descriptors
        loop.remove_signal_handler(NUMBER)

    run(main())
    assert [type(context["exception"]) for context in calls] == [ZeroDivisionError] * 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_handler_may_end_the_run(loop, error):
    def out():
        raise error

    loop.add_signal_handler(NUMBER, out)
    me()
    with pytest.raises(error):
        loop.run_forever()
    loop.remove_signal_handler(NUMBER)


def test_a_handler_for_the_interrupt_replaces_keyboard_interrupt(loop, run):
    before = signal.getsignal(signal.SIGINT)

    async def main():
        got = loop.create_future()
        loop.add_signal_handler(signal.SIGINT, got.set_result, "asked to end")
        me(signal.SIGINT)
        assert await soon(got) == "asked to end"
        loop.remove_signal_handler(signal.SIGINT)

    run(main())
    signal.signal(signal.SIGINT, before)


def test_the_users_handler_for_ended_children_and_subprocesses_get_along(loop, run):
    before = signal.getsignal(signal.SIGCHLD)

    async def main():
        seen, own = [], loop.create_future()

        def child_ended():
            seen.append(1)
            if not own.done():
                own.set_result(None)

        loop.add_signal_handler(signal.SIGCHLD, child_ended)
        for status in range(5):
            process = await asyncio.create_subprocess_shell(f"exit {status}")
            assert await soon(process.wait()) == status
        await soon(own)
        assert seen
        loop.remove_signal_handler(signal.SIGCHLD)
        process = await asyncio.create_subprocess_shell("exit 3")
        assert await soon(process.wait()) == 3  # still works afterwards

    run(main())
    signal.signal(signal.SIGCHLD, before)


def test_a_python_handler_for_ended_children_is_called_as_well(loop, run):
    seen = []
    before = signal.signal(signal.SIGCHLD, lambda *_: seen.append(1))
    try:

        async def main():
            process = await asyncio.create_subprocess_exec("true")
            assert await soon(process.wait()) == 0
            subprocess.run(["true"], check=True)
            while not seen:
                await asyncio.sleep(0.001)  # sleep-ok: any wait

        run(main())
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_storm_of_signals(loop, run, bill):
    """Equal signals may be merged; the last one is never lost, and nothing overflows."""

    async def main():
        count = 0

        def handler():
            nonlocal count
            count += 1

        loop.add_signal_handler(NUMBER, handler)
        for _ in range(20_000):
            me()
        await asyncio.sleep(0.01)  # sleep-ok: the loop must look at its descriptors
        assert count > 0
        count = 0
        me()
        while not count:
            await asyncio.sleep(0.001)  # sleep-ok: the loop must look at its descriptors
        loop.remove_signal_handler(NUMBER)

    run(main())
    if not IS_OURS:
        bill.unraisable()  # stock asyncio: its pipe for the signals was full


def test_the_wakeup_descriptor_is_given_back(make_loop):
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    loop = make_loop()
    loop.add_signal_handler(NUMBER, int)
    loop.run_until_complete(turns())
    loop.remove_signal_handler(NUMBER)
    loop.close()
    after = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(after)
    assert after == before


def test_a_handler_taken_over_by_signal_signal_is_gone(loop, run):
    seen = []

    async def main():
        loop.add_signal_handler(NUMBER, seen.append, "loop's")
        signal.signal(NUMBER, lambda *_: seen.append("python's"))
        me()
        await asyncio.sleep(0.005)  # sleep-ok: that nothing more happens is the subject
        loop.remove_signal_handler(NUMBER)

    run(main())
    signal.signal(NUMBER, signal.SIG_DFL)
    assert "python's" in seen


@pytest.mark.skipif(sys.platform != "linux", reason="needs real-time signals")
def test_real_time_signals(loop, run):
    async def main():
        got = loop.create_future()
        loop.add_signal_handler(signal.SIGRTMIN + 1, lambda: got.done() or got.set_result(None))
        me(signal.SIGRTMIN + 1)
        await soon(got)
        loop.remove_signal_handler(signal.SIGRTMIN + 1)

    run(main())


def test_a_handler_that_was_removed_is_not_called_for_a_signal_before_that(loop, run):
    async def main():
        seen = []
        loop.add_signal_handler(NUMBER, seen.append, "first")
        me()
        loop.remove_signal_handler(NUMBER)
        await turns()
        assert seen == []
        loop.add_signal_handler(NUMBER, seen.append, "first")
        me()
        loop.add_signal_handler(NUMBER, seen.append, "second")
        await until(lambda: seen)
        await turns()
        assert seen == ["second"]
        loop.remove_signal_handler(NUMBER)

    run(main())
