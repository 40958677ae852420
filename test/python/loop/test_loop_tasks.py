"""Futures and tasks as the loop makes them, task factories, names, eager tasks."""

import asyncio
import contextvars

import pytest
from loop_support import turns


async def answer():
    return 42


def test_create_future_makes_one_of_this_loop(loop):
    future = loop.create_future()
    assert isinstance(future, asyncio.Future) and asyncio.isfuture(future)
    assert future.get_loop() is loop


def test_create_task_makes_one_of_this_loop(loop, run):
    async def main():
        task = loop.create_task(answer())
        assert isinstance(task, asyncio.Task) and task.get_loop() is loop
        assert task in asyncio.all_tasks()
        assert await task == 42

    run(main())


def test_a_task_can_be_made_before_the_loop_runs(loop):
    task = loop.create_task(answer())
    assert not task.done()
    assert loop.run_until_complete(task) == 42


def test_tasks_have_names(loop, run):
    async def main():
        task = loop.create_task(answer(), name="a name")
        assert task.get_name() == "a name"
        unnamed = loop.create_task(answer())
        assert unnamed.get_name().startswith("Task-")
        await asyncio.gather(task, unnamed)

    run(main())


@pytest.mark.needs_python(3, 11)
def test_tasks_run_in_the_context_they_are_given(loop, run):
    variable = contextvars.ContextVar("variable")

    async def sets():
        variable.set("by the task")

    async def main():
        context = contextvars.copy_context()
        await loop.create_task(sets(), context=context)
        assert context[variable] == "by the task" and variable.get(None) is None

    run(main())


def test_a_closed_loop_makes_no_tasks(loop):
    loop.close()
    coroutine = answer()
    with pytest.raises(RuntimeError, match="closed"):
        loop.create_task(coroutine)
    coroutine.close()


def test_a_task_is_made_of_a_coroutine_only(loop):
    with pytest.raises(TypeError):
        loop.create_task(answer)


def test_a_task_factory_makes_the_tasks(loop, run):
    made = []

    class OwnTask(asyncio.Task):
        pass

    def factory(loop, coroutine, **options):
        made.append(coroutine.__name__)
        return OwnTask(coroutine, loop=loop, **options)

    assert loop.get_task_factory() is None
    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory

    async def main():
        task = asyncio.create_task(answer(), name="by name")
        assert type(task) is OwnTask and task.get_name() == "by name"
        assert await task == 42
        assert type(asyncio.ensure_future(answer())) is OwnTask

    run(main())
    assert made == ["main", "answer", "answer"]
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None
    assert type(loop.create_task(turns())) is asyncio.Task
    loop.run_until_complete(turns(20))


@pytest.mark.needs_python(3, 11)
def test_a_task_factory_is_told_the_context(loop, run):
    seen = []

    def factory(loop, coroutine, **options):
        seen.append(options.get("context"))
        return asyncio.Task(coroutine, loop=loop, **options)

    context = contextvars.copy_context()

    async def main():
        loop.set_task_factory(factory)
        await loop.create_task(answer(), context=context)
        await loop.create_task(answer())
        loop.set_task_factory(None)

    run(main())
    assert seen == [context, None]


def test_a_factory_may_return_another_kind_of_future(loop, run):
    class Named(asyncio.Future):
        def set_name(self, name):
            pass

    def factory(loop, coroutine, **options):
        coroutine.close()
        future = Named(loop=loop)
        future.set_result("from the factory")
        return future

    async def main():
        loop.set_task_factory(factory)
        try:
            return await loop.create_task(answer())
        finally:
            loop.set_task_factory(None)

    assert run(main()) == "from the factory"


def test_a_task_factory_must_be_callable(loop):
    with pytest.raises(TypeError, match="callable"):
        loop.set_task_factory("factory")
    assert loop.get_task_factory() is None


@pytest.mark.needs_python(3, 12)
def test_eager_tasks_start_inside_create_task(loop, run):
    seen = []

    async def body():
        seen.append("started")
        assert asyncio.current_task() is not outer
        await asyncio.sleep(0)
        seen.append("ended")
        return "result"

    async def main():
        nonlocal outer
        outer = asyncio.current_task()
        loop.set_task_factory(asyncio.eager_task_factory)
        task = loop.create_task(body())
        assert seen == ["started"] and asyncio.current_task() is outer
        assert await task == "result"
        done = loop.create_task(answer())
        assert done.done() and done.result() == 42
        loop.set_task_factory(None)

    outer = None
    run(main())
    assert seen == ["started", "ended"]


def test_current_task_and_all_tasks_are_per_loop(loop, run, make_loop):
    other = make_loop()
    theirs = other.create_task(answer())

    async def main():
        me = asyncio.current_task()
        assert me.get_loop() is loop
        assert theirs not in asyncio.all_tasks() and me in asyncio.all_tasks()
        assert asyncio.all_tasks(other) == {theirs}

    run(main())
    assert other.run_until_complete(theirs) == 42


def test_callbacks_of_a_future_run_in_order_in_a_later_round(loop, run):
    async def main():
        future, seen = loop.create_future(), []
        for i in range(5):
            future.add_done_callback(lambda f, i=i: seen.append((i, f.result())))
        future.set_result("x")
        assert seen == []
        await turns(1)
        assert seen == [(i, "x") for i in range(5)]

    run(main())


def test_cancelling_reaches_what_the_task_waits_for(loop, run):
    async def main():
        inner = loop.create_future()

        async def waits():
            await inner

        task = loop.create_task(waits())
        await turns()
        assert task.cancel("why")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert inner.cancelled() and task.cancelled()

    run(main())


def test_awaiting_a_future_of_another_loop_is_an_error(loop, run, make_loop):
    other = make_loop().create_future()

    async def main():
        with pytest.raises(RuntimeError, match="different loop|attached to a"):
            async def waits():
                await other

            await loop.create_task(waits())

    run(main())


def test_run_coroutine_threadsafe_gives_result_and_exception(loop):
    import threading

    got = []

    async def fails():
        raise KeyError("why")

    def in_thread():
        try:
            got.append(asyncio.run_coroutine_threadsafe(asyncio.sleep(0, 42), loop).result(20))
            got.append(repr(asyncio.run_coroutine_threadsafe(fails(), loop).exception(20)))
        finally:
            loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=in_thread)
    thread.start()
    loop.run_forever()
    thread.join()
    assert got == [42, "KeyError('why')"]


def test_run_coroutine_threadsafe_can_be_cancelled(loop):
    import threading

    started, ended = threading.Event(), []

    async def waits():
        try:
            started.set()
            await loop.create_future()
        except asyncio.CancelledError:
            ended.append(True)
            loop.call_soon(loop.stop)
            raise

    future = asyncio.run_coroutine_threadsafe(waits(), loop)
    thread = threading.Thread(target=lambda: started.wait(20) and future.cancel())
    thread.start()
    loop.run_forever()
    thread.join()
    loop.run_until_complete(turns())
    assert ended == [True] and future.cancelled()
