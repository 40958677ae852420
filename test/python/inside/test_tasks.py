"""Tasks that go on by themselves, sleeping, and what the call at hand brought along."""

import asyncio
import concurrent.futures
import contextvars
import gc
import threading
import time
import weakref

import pytest
from waiting import turns

import erlang


async def give(value):
    await asyncio.sleep(0)
    return value


async def fail():
    raise ValueError("oh")


def test_in_a_loop_it_is_a_task_of_that_loop(node):
    async def main():
        task = erlang.spawn_task(give(5), name="mine")
        assert isinstance(task, asyncio.Task) and task.get_name() == "mine" and task.get_loop() is asyncio.get_running_loop()
        return await task

    assert asyncio.run(main()) == 5


def test_elsewhere_it_runs_on_the_contexts_loop(node):
    async def where():
        return asyncio.get_running_loop(), threading.current_thread(), asyncio.current_task().get_name()

    handle = erlang.spawn_task(where(), name="mine")
    assert isinstance(handle, concurrent.futures.Future)
    assert handle.result(10) == (node.context_loop(), node._the_context().thread, "mine")
    results = []
    thread = threading.Thread(target=lambda: results.append(erlang.spawn_task(give(6)).result(10)))
    thread.start()
    thread.join()
    assert results == [6]


def test_failures_are_printed_with_the_name_at_once(node, capsys):
    async def main():
        task = erlang.spawn_task(fail(), name="in the loop")
        await asyncio.wait([task])
        await asyncio.sleep(0)
        assert "task 'in the loop' failed:\nTraceback" in capsys.readouterr().err

    asyncio.run(main())
    handle = erlang.spawn_task(fail(), name="from outside")
    with pytest.raises(ValueError):
        handle.result(10)
    asyncio.run_coroutine_threadsafe(give(0), node.context_loop()).result(10)
    printed = capsys.readouterr().err
    assert printed.count("task 'from outside' failed:") == 1 and printed.endswith("ValueError: oh\n")


def test_a_cancelled_task_is_no_failure(node, capsys):
    handle = erlang.spawn_task(asyncio.sleep(60))  # sleep-ok: what is cancelled
    handle.cancel()
    ended = threading.Event()

    async def wait_for_it():
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)
        ended.set()

    asyncio.run_coroutine_threadsafe(wait_for_it(), node.context_loop()).result(10)
    assert ended.is_set() and capsys.readouterr().err == ""


def test_a_task_is_kept_alive(node):
    async def held_by_nobody():
        await asyncio.get_running_loop().create_future()

    async def main():
        task = weakref.ref(erlang.spawn_task(held_by_nobody()))
        await turns()  # until it waits
        gc.collect()
        assert task() is not None

    asyncio.run(main())


@pytest.mark.parametrize("inside", [True, False])
def test_a_task_has_the_variables_of_its_creator_but_not_the_deadline(node, inside):
    variable = contextvars.ContextVar("variable")

    async def look():
        return variable.get(), erlang.deadline()

    async def main():
        node.set_call(deadline=1)
        return await erlang.spawn_task(look())

    variable.set("mine")
    if inside:
        assert asyncio.run(main()) == ("mine", None)
    else:
        node.set_call(deadline=1)
        assert erlang.spawn_task(look()).result(10) == ("mine", None)
        assert erlang.deadline() is not None


def test_a_task_keeps_the_trace_of_a_call_whatever_its_deadline(node):
    async def look():
        return erlang.trace_context()

    node.set_call(deadline=1, trace="00-ab-cd-01")
    assert erlang.spawn_task(look()).result(10) == {"traceparent": "00-ab-cd-01"}


@pytest.mark.parametrize("how", ["spawned", "of a call"])
def test_at_the_end_of_the_context_a_task_ends_its_own_tasks_in_its_own_order(node, how):
    order = []

    async def connection(number):
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            order.append(number)

    async def server(up):
        connections = [asyncio.create_task(connection(number)) for number in range(3)]
        await asyncio.sleep(0)
        up.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            order.append("server")
            await asyncio.sleep(0)
            for task in reversed(connections):
                task.cancel()
                await asyncio.wait([task])
            order.append("done")

    start_on_context(node, server, how)
    node.close()
    assert order == ["server", 2, 1, 0, "done"]


@pytest.mark.parametrize("how", ["spawned", "of a call"])
def test_at_the_end_of_the_context_nobodys_tasks_are_cancelled_and_awaited(node, how):
    order = []
    orphans = []

    async def orphan():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            order.append("orphan")

    async def server(up):
        orphans.append(asyncio.create_task(orphan()))
        await asyncio.sleep(0)
        up.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            order.append("server")

    start_on_context(node, server, how)
    node.close()
    assert order == ["server", "orphan"] and orphans[0].cancelled()


def start_on_context(node, coroutine_function, how):
    """Starts it, as Python or as Erlang does, and waits until it says that it is up."""
    up = threading.Event()
    if how == "spawned":
        erlang.spawn_task(coroutine_function(up))
    else:
        loop, context = node.context_loop(), node._the_context()
        loop.call_soon_threadsafe(lambda: context.tasks_of_calls.append(loop.create_task(coroutine_function(up))))
    assert up.wait(10)


def test_only_coroutines_are_accepted(node):
    with pytest.raises(TypeError, match="call the coroutine function"):
        erlang.spawn_task(give)


def test_without_a_port_it_says_so_and_leaves_no_coroutine_behind(recwarn):
    with pytest.raises(RuntimeError, match="no Erlang to call"):
        erlang.spawn_task(give(1))
    gc.collect()
    assert not recwarn.list


def test_sleep_blocks_or_awaits():
    before = time.monotonic()
    assert erlang.sleep(0.01) is None
    assert time.monotonic() - before >= 0.01

    async def main():
        ticks = []
        asyncio.get_running_loop().call_soon(ticks.append, 1)
        await erlang.sleep(0.01)
        return ticks

    assert asyncio.run(main()) == [1]


def test_deadline_and_remaining(node):
    assert erlang.deadline() is None and erlang.remaining() is None
    node.set_call()
    assert erlang.deadline() is None and erlang.remaining() is None
    node.set_call(deadline=time.monotonic_ns() + 10 * 10**9)
    assert 9 < erlang.remaining() <= 10 and 9 < erlang.deadline() - time.monotonic() <= 10
    node.set_call(deadline=1)
    assert erlang.deadline() == 1e-9 and erlang.remaining() == 0.0


def test_trace_context(node):
    assert erlang.trace_context() is None
    node.set_call()
    assert erlang.trace_context() is None
    node.set_call(trace="00-ab-cd-01")
    assert erlang.trace_context() == {"traceparent": "00-ab-cd-01"}
    node.set_call(trace="00-ab-cd-01\nvendor=1,other=2")
    assert erlang.trace_context() == {"traceparent": "00-ab-cd-01", "tracestate": "vendor=1,other=2"}


def test_without_a_port_there_is_no_call_at_hand():
    assert erlang.deadline() is None and erlang.remaining() is None and erlang.trace_context() is None


def test_run_gives_the_result_and_leaves_no_loop_behind(node):
    assert erlang.run(give(7)) == 7
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    with pytest.raises(ValueError):
        erlang.run(fail())
