"""run_forever, run_until_complete, stop, close, is_running, is_closed; and asyncio.run on top of them."""

import asyncio
import sys
import threading

import pytest
from loop_support import new_event_loop, turns


async def answer():
    return 42


def test_a_loop_is_an_asyncio_loop(loop):
    assert isinstance(loop, asyncio.AbstractEventLoop)


def test_every_method_of_the_abstract_loop_is_implemented(loop):
    for name in dir(asyncio.AbstractEventLoop):
        if not name.startswith("_"):
            assert getattr(type(loop), name) is not getattr(asyncio.AbstractEventLoop, name), name


def test_a_loop_says_what_state_it_is_in(loop):
    assert not loop.is_running() and not loop.is_closed()
    seen = []
    loop.call_soon(lambda: seen.append((loop.is_running(), loop.is_closed())))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [(True, False)]
    assert not loop.is_running() and not loop.is_closed()
    loop.close()
    assert not loop.is_running() and loop.is_closed()


def test_the_repr_tells_the_state(loop):
    assert "running=False" in repr(loop) and "closed=False" in repr(loop)
    loop.close()
    assert "closed=True" in repr(loop)


def test_run_until_complete_gives_the_result(loop):
    assert loop.run_until_complete(answer()) == 42


def test_run_until_complete_raises_what_the_coroutine_raised(loop):
    async def fails():
        raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        loop.run_until_complete(fails())
    assert not loop.is_running()


def test_run_until_complete_takes_futures_tasks_and_awaitables(loop):
    future = loop.create_future()
    loop.call_soon(future.set_result, 1)
    assert loop.run_until_complete(future) == 1
    assert loop.run_until_complete(future) == 1  # also one that is done
    assert loop.run_until_complete(loop.create_task(answer())) == 42

    class Awaitable:
        def __await__(self):
            return (yield from asyncio.sleep(0, "awaited").__await__())

    assert loop.run_until_complete(Awaitable()) == "awaited"


def test_run_until_complete_refuses_what_cannot_be_awaited(loop):
    with pytest.raises(TypeError):
        loop.run_until_complete(42)
    assert loop.run_until_complete(answer()) == 42


def test_run_until_complete_refuses_a_future_of_another_loop(loop, make_loop):
    future = make_loop().create_future()
    with pytest.raises(ValueError):
        loop.run_until_complete(future)


def test_run_until_complete_of_a_cancelled_task_raises_cancelled_error(loop):
    task = loop.create_task(answer())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


def test_a_loop_stopped_before_the_future_is_done_is_an_error(loop):
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="stopped before Future completed"):
        loop.run_until_complete(future)
    future.set_result(1)
    assert loop.run_until_complete(future) == 1


def test_stop_before_run_forever_makes_one_round(loop):
    seen = []
    loop.stop()
    loop.call_soon(seen.append, 1)
    loop.run_forever()
    assert seen == [1] and not loop.is_running()
    loop.call_soon(loop.stop)
    loop.run_forever()  # the stop was for one run only


def test_stop_finishes_the_round(loop):
    seen = []
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, "same round")
    loop.call_soon(lambda: loop.call_soon(seen.append, "next round"))
    loop.run_forever()
    assert seen == ["same round"]


def test_stopping_twice_is_stopping_once(loop):
    loop.call_soon(loop.stop)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert loop.run_until_complete(answer()) == 42


def test_a_loop_can_run_many_times(loop):
    for i in range(200):
        assert loop.run_until_complete(asyncio.sleep(0, i)) == i


def test_a_closed_loop_does_not_run(loop):
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_forever()
    coroutine = answer()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_until_complete(coroutine)
    coroutine.close()
    future = asyncio.Future(loop=loop)
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_until_complete(future)


def test_closing_twice_is_closing_once(loop):
    loop.close()
    loop.close()
    assert loop.is_closed()


def test_a_running_loop_cannot_be_closed(loop, run):
    async def main():
        with pytest.raises(RuntimeError, match="running"):
            loop.close()
        await asyncio.sleep(0)

    run(main())
    assert not loop.is_closed()


@pytest.mark.stock_fails("3.13.0 forgets here that it runs", since=(3, 13))
def test_a_running_loop_cannot_be_run_again(loop, run):
    async def main():
        coroutine = answer()
        with pytest.raises(RuntimeError, match="running"):
            loop.run_until_complete(coroutine)
        coroutine.close()
        with pytest.raises(RuntimeError, match="running"):
            loop.run_forever()
        assert asyncio.get_running_loop() is loop and loop.is_running()
        await turns()

    run(main())


def test_another_loop_cannot_run_in_a_thread_whose_loop_runs(run, make_loop):
    other = make_loop()

    async def main():
        coroutine = answer()
        with pytest.raises(RuntimeError, match="another loop is running"):
            other.run_until_complete(coroutine)
        coroutine.close()
        with pytest.raises(RuntimeError, match="another loop is running"):
            other.run_forever()
        assert not other.is_running()
        await turns()

    run(main())
    assert other.run_until_complete(answer()) == 42


def test_a_loop_runs_in_one_thread_at_a_time(loop, run):
    caught = []

    def in_thread():
        try:
            loop.run_forever()
        except RuntimeError as error:
            caught.append(str(error))

    async def main():
        await loop.run_in_executor(None, in_thread)

    run(main())
    assert len(caught) == 1 and "running" in caught[0]


def test_a_loop_may_run_in_another_thread_than_the_one_that_made_it(make_loop):
    loop, got = make_loop(), []
    thread = threading.Thread(target=lambda: got.append(loop.run_until_complete(asyncio.sleep(0.001, 42))))  # sleep-ok: any wait
    thread.start()
    thread.join()
    assert got == [42]
    assert loop.run_until_complete(answer()) == 42


def test_the_running_loop_is_known_inside_and_only_inside(loop, run):
    async def main():
        assert asyncio.get_running_loop() is loop
        assert asyncio._get_running_loop() is loop

    run(main())
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_the_running_loop_is_known_to_plain_callbacks(loop):
    seen = []
    loop.call_soon(lambda: seen.append(asyncio.get_running_loop()))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [loop]


def test_an_error_in_run_forever_leaves_no_running_loop(loop):
    def interrupt():
        raise KeyboardInterrupt

    loop.call_soon(interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert asyncio._get_running_loop() is None and not loop.is_running()
    assert loop.run_until_complete(answer()) == 42


def test_asyncgen_hooks_are_set_while_it_runs_and_given_back(loop, run):
    before = sys.get_asyncgen_hooks()
    hooks = (lambda agen: None, lambda agen: None)
    sys.set_asyncgen_hooks(*hooks)
    try:

        async def main():
            assert tuple(sys.get_asyncgen_hooks()) != hooks
            assert sys.get_asyncgen_hooks().firstiter is not None

        run(main())
        assert tuple(sys.get_asyncgen_hooks()) == hooks
    finally:
        sys.set_asyncgen_hooks(*before)


@pytest.mark.needs_python(3, 11)
def test_a_runner_uses_the_loop_of_its_factory():
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert runner.run(answer()) == 42
        assert type(runner.get_loop()) is loop_type()
        assert runner.run(asyncio.sleep(0.001, "again")) == "again"  # sleep-ok: any wait


def loop_type():
    loop = new_event_loop()
    loop.close()
    return type(loop)


@pytest.mark.needs_python(3, 12)
def test_asyncio_run_takes_the_factory():
    async def main():
        return type(asyncio.get_running_loop())

    assert asyncio.run(main(), loop_factory=new_event_loop) is loop_type()


@pytest.mark.needs_python(3, 11)
def test_a_runner_cancels_what_is_left_and_shuts_down():
    ended = []

    async def forever():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("forever")

    async def numbers():
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)
            ended.append("generator")

    async def main():
        runner.task = asyncio.create_task(forever())
        runner.generator = numbers()
        await runner.generator.__anext__()
        await asyncio.to_thread(int)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())
        loop = runner.get_loop()
    assert ended == ["forever", "generator"] and loop.is_closed()


@pytest.mark.needs_python(3, 11)
def test_an_interrupt_in_a_runner_cancels_the_main_task():
    """Runner's SIGINT handler: the task sees CancelledError, the caller KeyboardInterrupt."""
    import os
    import signal

    seen = []

    async def main():
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        pytest.skip("SIGINT is not Python's own here")
    with pytest.raises(KeyboardInterrupt):
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(main())
    assert seen == ["cancelled"]
