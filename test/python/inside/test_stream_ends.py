"""Streams out of Python: how they end, by themselves or closed, and what is left."""

import asyncio
import gc
import io
import os

import pytest
from producers import AsyncIterator, AsyncReader, Iterator, acount, batches, count, ended, taken
from waiting import others_have_ended

import erlang
from erlang._streams import DONE, ITEMS, Source


@pytest.fixture(autouse=True)
def fresh():
    ended.clear()


def test_closing_runs_the_finally_blocks():
    source = Source(count(10))
    source.take(1, 1)
    source.close()
    assert ended == ["count"] and source.take(1, 1) == DONE
    source.close()

    async def main():
        source = Source(acount(10))
        await source.take(1, 1)
        await source.close()
        assert ended == ["count", "acount"] and await source.take(1, 1) == DONE
        await source.close()

    asyncio.run(main())
    assert ended == ["count", "acount"]


def test_closing_interrupts_what_an_asynchronous_producer_waits_for():
    async def waits(begun):
        try:
            begun.set_result(None)
            await asyncio.sleep(60)  # sleep-ok: what closing has to interrupt
            yield 1
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        finally:
            ended.append("finally")

    async def main():
        begun = asyncio.get_running_loop().create_future()
        source = Source(waits(begun))
        take = asyncio.ensure_future(source.take(1, 1))
        await asyncio.wait_for(begun, 5)
        await asyncio.wait_for(source.aclose(), 5)
        assert await take == DONE

    asyncio.run(main())
    assert ended == ["cancelled", "finally"]


@pytest.mark.parametrize("make", [lambda: acount(5), lambda: AsyncIterator(5)])
def test_closing_at_once_after_a_take_serves_the_take(make):
    async def main():
        source = Source(make())
        take = asyncio.ensure_future(source.take(1, 1))
        close = asyncio.ensure_future(source.aclose())
        assert await asyncio.wait_for(take, 5) == DONE
        await asyncio.wait_for(close, 5)

    asyncio.run(main())


def test_closing_from_inside_waits_for_the_producer():
    def closes_itself():
        try:
            yield 1
            source.close()
            yield 2
        finally:
            ended.append("finally")

    source = Source(closes_itself())
    source.take(1, 1)
    assert source.take(1, 1) == DONE and ended == ["finally"]


@pytest.mark.parametrize("make", [lambda: Iterator(3), lambda: AsyncIterator(3), lambda: AsyncReader(b"x")])
def test_what_has_close_is_closed(make):
    async def main():
        unread, begun = Source(make()), Source(make())
        await unread.aclose()
        await taken(begun)
        await begun.aclose()

    asyncio.run(main())
    assert len(ended) == 2


def test_files_are_closed():
    file = io.BytesIO(b"abc")
    source = Source(file)
    assert source.take(1, 1) == (ITEMS, [b"abc"])
    source.close()
    assert file.closed


def test_a_pipe_gives_what_is_there_without_waiting_for_a_full_chunk():
    read, write = os.pipe()
    os.write(write, b"some")
    with open(write, "wb"):
        source = Source(open(read, "rb"))
        assert source.take(10, 10**6) == (ITEMS, [b"some"])
    assert source.take(10, 10**6) == DONE
    source.close()


def test_what_closing_raises_comes_out():
    def bad():
        try:
            yield 1
        finally:
            raise ValueError("at the end")

    async def abad():
        try:
            yield 1
        finally:
            raise ValueError("at the end")

    source = Source(bad())
    source.take(1, 1)
    with pytest.raises(ValueError, match="at the end"):
        source.close()

    async def main():
        source = Source(abad())
        await source.take(1, 1)
        with pytest.raises(ValueError, match="at the end"):
            await source.close()

    asyncio.run(main())


def test_dropping_a_source_closes_it(capsys):
    def bad():
        try:
            yield 1
        finally:
            raise ValueError("nobody hears")

    async def abad():
        try:
            yield 1
        finally:
            raise ValueError("nobody hears either")

    source = Source(count(5))
    source.take(1, 1)
    del source
    gc.collect()
    assert ended == ["count"]
    source = Source(bad())
    source.take(1, 1)
    del source

    async def main():
        for producer in (acount(5), abad()):
            source = Source(producer)
            await source.take(1, 1)
            del source
            gc.collect()
            await others_have_ended()

    asyncio.run(main())
    assert ended == ["count", "acount"]
    printed = capsys.readouterr().err
    assert "ValueError: nobody hears\n" in printed and "ValueError: nobody hears either\n" in printed


def test_dropping_an_unread_asynchronous_one_closes_it_on_the_contexts_loop(node):
    source = Source(AsyncIterator(3))
    del source
    asyncio.run_coroutine_threadsafe(others_have_ended(), node.context_loop()).result(20)
    assert ended == ["AsyncIterator"]
    source = Source(acount(3))
    del source


def test_the_end_of_the_loop_ends_the_producer():
    async def main():
        source = Source(acount(5))
        await source.take(1, 1)
        return source

    source = asyncio.run(main())
    assert ended == ["acount"]
    del source


def test_takes_on_another_loop_are_carried_over(node):
    """A nested request may run on the loop of another thread."""
    source = Source(acount(6, 0))
    assert asyncio.run_coroutine_threadsafe(source.take(1, 1), node.context_loop()).result(10) == (ITEMS, [0])
    assert sum(asyncio.run(batches(source, 1)), []) == [1, 2, 3, 4, 5]
    asyncio.run(source.aclose())
    assert ended == ["acount"]


def test_one_task_does_everything_with_an_asynchronous_producer():
    tasks = set()

    async def producer():
        try:
            for i in range(3):
                tasks.add(asyncio.current_task())
                await asyncio.sleep(0)
                yield i
        finally:
            tasks.add(asyncio.current_task())

    async def main():
        source = Source(producer())
        await source.take(1, 1)
        await source.take(1, 1)
        await source.aclose()

    asyncio.run(main())
    assert len(tasks) == 1


def test_no_task_is_left():
    async def main():
        for close in (True, False):
            source = Source(acount(3))
            if close:
                await source.take(1, 1)
                await source.aclose()
            else:
                await batches(source)
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_a_stream_of_plain_values_loads_no_asyncio():
    import subprocess
    import sys

    program = os.path.realpath("/proc/self/exe")
    switch = ["--python"] if os.path.basename(program).startswith("py_worker") else []
    paths = [os.path.dirname(erlang.__path__[0])] + [p for p in sys.path if p.endswith("fake")]
    use = "import erlang._streams as s; s.open_source('builtins', 'range', [3], {}).take(5, 5); print('asyncio' in sys.modules)"
    code = f"import sys; sys.path[:0] = {paths!r}\n{use}"
    done = subprocess.run([program, *switch, "-S", "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
