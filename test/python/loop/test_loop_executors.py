"""run_in_executor, the default executor, and shutting both it and asynchronous generators down."""

import asyncio
import concurrent.futures
import contextvars
import threading
import time

import pytest
from loop_support import turns


def test_a_function_runs_in_another_thread(loop, run):
    async def main():
        return await loop.run_in_executor(None, lambda a, b: (threading.get_ident(), a, b), 1, "two")

    ident, *args = run(main())
    assert ident != threading.get_ident() and args == [1, "two"]


def test_its_exception_arrives(loop, run):
    async def main():
        with pytest.raises(KeyError, match="why"):
            await loop.run_in_executor(None, {}.__getitem__, "why")

    run(main())


def test_an_executor_of_ones_own_is_used(loop, run):
    with concurrent.futures.ThreadPoolExecutor(1, "own") as pool:

        async def main():
            return await loop.run_in_executor(pool, lambda: threading.current_thread().name)

        assert run(main()).startswith("own")


def test_the_default_executor_can_be_replaced(loop, run):
    with concurrent.futures.ThreadPoolExecutor(1, "replaced") as pool:
        loop.set_default_executor(pool)

        async def main():
            return await loop.run_in_executor(None, lambda: threading.current_thread().name)

        assert run(main()).startswith("replaced")


@pytest.mark.needs_python(3, 11)
def test_the_default_executor_must_be_a_thread_pool(loop):
    for wrong in (object(), None, concurrent.futures.Executor()):
        with pytest.raises(TypeError):
            loop.set_default_executor(wrong)


def test_a_closed_loop_runs_nothing_in_executors(loop):
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_in_executor(None, int)


def test_cancelling_the_future_does_not_wait_for_the_thread(loop, run):
    go = threading.Event()

    async def main():
        future = loop.run_in_executor(None, go.wait, 20)
        await turns()
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        go.set()
        await loop.shutdown_default_executor()

    run(main())


def test_many_functions_at_once(loop, run):
    async def main():
        return await asyncio.gather(*(loop.run_in_executor(None, pow, i, 2) for i in range(500)))

    assert run(main()) == [i * i for i in range(500)]


def test_to_thread_keeps_the_context(run):
    variable = contextvars.ContextVar("variable")

    async def main():
        variable.set("of the task")
        return await asyncio.to_thread(variable.get)

    assert run(main()) == "of the task"


def test_shutting_down_the_executor_waits_for_its_threads(loop, run):
    ended = []

    def takes_a_while():
        time.sleep(0.05)  # sleep-ok: a thread that is still busy is the subject
        ended.append(True)

    async def main():
        future = loop.run_in_executor(None, takes_a_while)
        await loop.shutdown_default_executor()
        assert ended == [True]
        await future

    run(main())


def test_after_the_shutdown_the_default_executor_refuses(loop, run):
    async def main():
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="shutdown"):
            loop.run_in_executor(None, int)
        with pytest.raises(RuntimeError, match="shutdown"):
            await loop.getaddrinfo("localhost", 80)

    run(main())


def test_shutting_down_without_an_executor_or_twice_is_harmless(loop, run):
    async def main():
        await loop.shutdown_default_executor()
        await loop.shutdown_default_executor()

    run(main())


@pytest.mark.needs_python(3, 12)
@pytest.mark.stock_fails("3.12.1 waits for ever", until=(3, 13))
def test_the_shutdown_of_the_executor_can_time_out(loop, run, bill):
    go = threading.Event()

    async def main():
        future = loop.run_in_executor(None, go.wait, 20)
        await loop.shutdown_default_executor(timeout=0.01)
        go.set()
        await future

    run(main())
    warned = bill.warned(RuntimeWarning)
    assert len(warned) == 1 and "joining" in warned[0]


def test_the_loop_goes_on_while_the_executor_shuts_down(loop, run):
    go = threading.Event()

    async def main():
        future = loop.run_in_executor(None, go.wait, 20)
        shutdown = asyncio.ensure_future(loop.shutdown_default_executor())
        await turns()
        assert not shutdown.done()
        go.set()
        await shutdown
        assert await future is True

    run(main())


def test_closing_the_loop_does_not_wait_for_the_executor(make_loop):
    loop, go = make_loop(), threading.Event()

    async def main():
        loop.run_in_executor(None, go.wait, 20)
        await turns()

    loop.run_until_complete(main())
    loop.close()
    go.set()


# ---------------------------------------------------------------------------------------------- asynchronous generators


def generator(ended, name="generator"):
    async def numbers():
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    return numbers()


def test_generators_that_were_begun_are_closed(loop, run):
    ended = []
    begun, other, fresh = generator(ended, "begun"), generator(ended, "other"), generator(ended, "fresh")

    async def main():
        assert await begun.__anext__() == 1
        assert await other.__anext__() == 1

    run(main())
    assert ended == []
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert sorted(ended) == ["begun", "other"]
    del fresh


def test_a_generator_that_is_dropped_is_closed_by_the_loop(loop, run):
    import gc

    ended = []

    async def main():
        dropped = generator(ended)
        await dropped.__anext__()
        del dropped
        gc.collect()
        await turns()

    run(main())
    assert ended == ["generator"]


def test_a_generator_whose_end_fails_goes_to_the_handler(loop, run):
    from loop_support import HandlerCalls

    calls = HandlerCalls(loop)

    async def fails():
        try:
            yield 1
        finally:
            raise ZeroDivisionError

    async def main():
        main.kept = fails()
        await main.kept.__anext__()

    run(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    (context,) = calls
    assert isinstance(context["exception"], ZeroDivisionError) and context["asyncgen"] is main.kept


def test_a_generator_begun_after_the_shutdown_is_warned_about(loop, run, bill):
    loop.run_until_complete(loop.shutdown_asyncgens())
    ended = []

    async def main():
        late = generator(ended)
        await late.__anext__()
        await late.aclose()

    run(main())
    warned = bill.warned(ResourceWarning)
    assert len(warned) == 1 and "shutdown_asyncgens" in warned[0]


def test_shutting_generators_down_twice_is_harmless(loop):
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_asyncgens())
