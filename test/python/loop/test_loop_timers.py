"""call_later, call_at, loop.time() and asyncio.sleep."""

import asyncio
import math
import random
import sys
import time

import pytest
from loop_support import turns


def test_the_clock_is_monotonic_time_in_seconds(loop):
    before = time.monotonic()
    now = loop.time()
    assert isinstance(now, float)
    # libuv's clock may stand still during a round; it is never ahead.
    assert abs(now - before) < 5
    loop.run_until_complete(asyncio.sleep(0.002))  # sleep-ok: the clock is the subject
    assert loop.time() >= now + 0.001


def test_the_clock_moves_inside_a_callback(loop, run):
    """Code that measures itself with loop.time() must not see a clock that only moves between rounds."""

    async def main():
        start = loop.time()
        end = time.monotonic() + 0.01
        while time.monotonic() < end:
            pass
        assert loop.time() - start >= 0.009

    run(main())


@pytest.mark.ours_only("stock asyncio is early by up to its clock's resolution")
@pytest.mark.parametrize("delay", [0.0001, 0.001, 0.0015, 0.01, 0.0333])
def test_timers_are_never_early(loop, run, delay):
    async def main():
        for _ in range(5):
            start = time.monotonic()
            done = loop.create_future()
            loop.call_later(delay, done.set_result, None)
            await done
            assert time.monotonic() - start >= delay

    run(main())


def test_timers_are_not_early_by_more_than_the_resolution_of_the_clock(loop, run):
    async def main():
        for delay in (0.001, 0.0015, 0.01, 0.0333):
            start = time.monotonic()
            done = loop.create_future()
            loop.call_later(delay, done.set_result, None)
            await done
            assert time.monotonic() - start >= delay - 0.0001

    run(main())


@pytest.mark.ours_only("stock asyncio waits in whole milliseconds")
def test_timers_below_a_millisecond_take_less_than_one(loop, run):
    """The best of many, so that a busy machine does not fail it."""

    async def main():
        took = []
        for _ in range(200):
            start = time.monotonic()
            await asyncio.sleep(0.0002)  # sleep-ok: timers are the subject
            took.append(time.monotonic() - start)
        assert 0.0002 <= min(took) < 0.001

    run(main())


def test_timers_run_in_the_order_of_their_times(loop, run):
    async def main():
        seen, done = [], loop.create_future()
        base = loop.time() + 0.005
        order = list(range(50))
        random.Random(7).shuffle(order)
        for i in order:
            loop.call_at(base + i * 0.0005, seen.append, i)
        loop.call_at(base + 0.03, done.set_result, None)
        await done
        assert seen == list(range(50))

    run(main())


def test_timers_that_are_due_at_once_still_run_in_the_order_of_their_times(loop, run):
    async def main():
        seen, base = [], loop.time() - 1
        for i in (3, 1, 2, 0):
            loop.call_at(base + i * 0.0001, seen.append, i)
        await turns()
        assert seen == [0, 1, 2, 3]

    run(main())


@pytest.mark.ours_only("stock asyncio's heap keeps ties in no particular order")
def test_timers_for_the_same_time_run_in_the_order_in_which_they_were_given(loop, run):
    async def main():
        seen, when, done = [], loop.time() + 0.01, loop.create_future()
        for i in range(1000):
            loop.call_at(when, seen.append, i)
        loop.call_at(when, done.set_result, None)
        await done
        assert seen == list(range(1000))

    run(main())


@pytest.mark.parametrize("delay", [0, -1, -1e9, 0.0])
def test_a_delay_that_has_passed_means_the_next_round(loop, run, delay):
    async def main():
        seen = []
        loop.call_later(delay, seen.append, "timer")
        assert seen == []
        await turns(3)
        assert seen == ["timer"]

    run(main())


def test_a_time_that_has_passed_means_the_next_round(loop, run):
    async def main():
        seen = []
        loop.call_at(loop.time() - 100, seen.append, "timer")
        loop.call_at(0, seen.append, "timer")
        await turns(3)
        assert seen == ["timer"] * 2

    run(main())


@pytest.mark.needs_python(3, 12)
def test_a_delay_of_none_is_refused(loop):
    with pytest.raises(TypeError):
        loop.call_later(None, int)
    with pytest.raises(TypeError):
        loop.call_at(None, int)


def test_a_delay_that_is_no_number_is_refused(loop):
    with pytest.raises(TypeError):
        loop.call_later("1", int)


def test_very_long_delays_are_possible(loop, run):
    async def main():
        handles = [loop.call_later(delay, int) for delay in (86400, 10 * 365 * 86400, 1e9, float(sys.maxsize))]
        await turns()
        await asyncio.sleep(0.001)  # sleep-ok: the loop must wait once with such a timer as the next one
        assert not any(handle.cancelled() for handle in handles)
        for handle in handles:
            handle.cancel()

    run(main())


def test_an_infinite_delay_never_comes(loop, run):
    async def main():
        handle = loop.call_later(math.inf, int)
        assert handle.when() == math.inf
        await asyncio.sleep(0.001)  # sleep-ok: the loop must wait once with such a timer
        handle.cancel()

    run(main())


def test_a_timer_handle_is_asyncios_and_tells_when(loop):
    before = loop.time()
    handle = loop.call_later(10, int)
    assert isinstance(handle, asyncio.TimerHandle) and isinstance(handle, asyncio.Handle)
    assert before + 10 <= handle.when() <= loop.time() + 10
    assert loop.call_at(12345.5, int).when() == 12345.5
    assert isinstance(loop.call_later(0, int), asyncio.TimerHandle)
    assert isinstance(loop.call_at(0, int), asyncio.TimerHandle)


def test_timer_handles_compare_by_their_times(loop):
    early, late, twin = loop.call_at(1e6, int), loop.call_at(2e6, int), loop.call_at(2e6, int)
    assert early < late and late > early and early <= late and late >= early
    assert early != late and not early == late
    assert late == twin and hash(late) == hash(twin)
    assert sorted([late, early]) == [early, late]


def test_the_repr_of_a_timer_handle_tells_when_and_whether_cancelled(loop):
    handle = loop.call_at(12345.5, int)
    assert "when=12345.5" in repr(handle)
    handle.cancel()
    assert handle.cancelled() and "cancelled" in repr(handle)
    assert handle.when() == 12345.5


def test_cancelled_timers_do_not_run(loop, run):
    async def main():
        seen, done = [], loop.create_future()
        handles = [loop.call_later(0.001 + i * 0.0001, seen.append, i) for i in range(20)]
        for handle in handles[::2]:
            handle.cancel()
        loop.call_later(0.01, done.set_result, None)
        await done
        assert seen == list(range(1, 20, 2))
        for handle in handles:  # after the run it is harmless
            handle.cancel()

    run(main())


def test_a_timer_can_be_cancelled_by_one_of_the_same_round(loop, run):
    async def main():
        seen, when, done = [], loop.time() + 0.002, loop.create_future()
        loop.call_at(when, lambda: second.cancel())
        second = loop.call_at(when + 1e-6, seen.append, "no")
        loop.call_at(when + 0.002, done.set_result, None)
        await done
        assert seen == []

    run(main())


def test_a_timer_that_is_overdue_can_be_cancelled_before_its_round(loop, run):
    async def main():
        seen = []
        handle = loop.call_later(0, seen.append, "no")
        end = time.monotonic() + 0.002
        while time.monotonic() < end:
            pass
        handle.cancel()
        await turns(5)
        assert seen == []

    run(main())


def test_timers_given_by_timers(loop, run):
    async def main():
        seen, done = [], loop.create_future()

        def tick(n):
            seen.append(n)
            if n < 20:
                loop.call_later(0.0005, tick, n + 1)
            else:
                done.set_result(None)

        loop.call_later(0, tick, 0)
        await done
        assert seen == list(range(21))

    run(main())


def test_a_timer_of_zero_delay_given_by_itself_does_not_starve_others(loop, run):
    async def main():
        going, other = True, loop.create_future()

        def again():
            if going:
                loop.call_later(0, again)

        again()
        loop.call_later(0.005, other.set_result, None)
        await other
        going = False

    run(main())


def test_a_hundred_thousand_timers_can_be_pending(loop, run):
    async def main():
        count, done = 0, loop.create_future()

        def one():
            nonlocal count
            count += 1
            if count == 50_000:
                done.set_result(None)

        rand = random.Random(3)
        handles = [loop.call_later(0.01 + rand.random() * 0.1, one) for _ in range(100_000)]
        rand.shuffle(handles)
        for handle in handles[:50_000]:
            handle.cancel()
        await done
        await turns()
        assert count == 50_000

    run(main())


def test_cancelled_timers_do_not_pile_up(loop, run):
    """A server cancels nearly every timeout it sets; their memory must not stay until their time."""

    async def main():
        import gc
        import weakref

        class Argument:
            pass

        alive = weakref.WeakSet()
        for _ in range(1000):
            argument = Argument()
            alive.add(argument)
            loop.call_later(3600, print, argument).cancel()
        del argument
        await turns()
        gc.collect()
        assert not alive

    run(main())


def test_a_cancelled_timer_does_not_keep_the_loop_waiting(loop, run):
    """The next timer after a cancelled one comes at its own time."""

    async def main():
        loop.call_later(0.001, int).cancel()
        start = time.monotonic()
        await asyncio.sleep(0.02)  # sleep-ok: timers are the subject
        assert time.monotonic() - start >= 0.0199

    run(main())


def test_timers_left_from_a_run_go_on_in_the_next(loop, run):
    seen = []
    loop.call_later(0.002, seen.append, "timer")
    run(turns(1))
    end = time.monotonic() + 0.003
    while time.monotonic() < end:
        pass
    run(turns(5))
    assert seen == ["timer"]


def test_sleep_gives_its_result(run):
    async def main():
        assert await asyncio.sleep(0, "zero") == "zero"
        assert await asyncio.sleep(0.001, "more") == "more"  # sleep-ok: the subject

    run(main())


def test_a_waiting_loop_uses_no_processor(loop):
    loop.run_until_complete(turns())
    used = time.process_time()
    loop.run_until_complete(asyncio.sleep(0.3))  # sleep-ok: waiting is the subject
    assert time.process_time() - used < 0.15


@pytest.mark.ours_only("asyncio needs no descriptor for its timers")
def test_timers_work_when_the_process_has_no_descriptor_left(loop, run):
    import resource

    async def main():
        for delay in (0.0002, 0.003):
            due = loop.time() + delay
            await asyncio.sleep(delay)  # sleep-ok: the timer is what is tested
            assert loop.time() >= due
        far = loop.call_later(3600, lambda: None)
        soon = loop.call_later(0.001, lambda: None)
        await asyncio.sleep(0.002)  # sleep-ok: the timer is what is tested
        assert soon.when() < loop.time()
        far.cancel()

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        run(main())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    run(main())  # with a timer of our own from here on
