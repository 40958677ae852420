"""Streams out of Python: what becomes a Source, in which batches it comes, and how it ends."""

import asyncio
import gc
import io
import os
import time

import pytest
from waiting import others_have_ended, turns

import erlang
from erlang import Atom, _streams
from erlang._streams import DONE, ITEMS, Source

HERE = __name__
ended = []


@pytest.fixture(autouse=True)
def fresh():
    ended.clear()


def count(n):
    try:
        yield from range(n)
    finally:
        ended.append("count")


async def acount(n, pause=None):
    try:
        for i in range(n):
            if pause is not None:
                await asyncio.sleep(pause)  # sleep-ok: a producer that is slow on purpose
            yield i
    finally:
        await asyncio.sleep(0)
        ended.append("acount")


async def opens_later(n):
    await asyncio.sleep(0)
    return count(n)


async def taken(source, max_items=100, max_bytes=10**9):
    batch = source.take(max_items, max_bytes)
    return await batch if hasattr(batch, "__await__") else batch


async def batches(source, max_items=100, max_bytes=10**9):
    found = []
    while True:
        batch = await taken(source, max_items, max_bytes)
        if batch == DONE:
            return found
        assert batch[0] == ITEMS and batch[1]
        found.append(batch[1])


def everything(source, *limits):
    return [item for batch in asyncio.run(batches(source, *limits)) for item in batch]


class Iterator:
    def __init__(self, n):
        self.left, self.closed = n, False

    def __iter__(self):
        return self

    def __next__(self):
        if not self.left:
            raise StopIteration
        self.left -= 1
        return self.left

    def close(self):
        ended.append("Iterator")


class AsyncIterator:
    def __init__(self, n):
        self.left = n

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return self.left

    async def aclose(self):
        ended.append("AsyncIterator")


class AsyncIterable:
    def __aiter__(self):
        return acount(3)


class AsyncReader:
    def __init__(self, data):
        self.file = io.BytesIO(data)

    async def read(self, n):
        await asyncio.sleep(0)
        return self.file.read(n)

    def close(self):
        ended.append("AsyncReader")


@pytest.mark.parametrize("make, items", [
    (lambda: count(5), [0, 1, 2, 3, 4]),
    (lambda: [1, 2], [1, 2]),
    (lambda: iter(()), []),
    (lambda: {"a": 1}, ["a"]),
    (lambda: Iterator(3), [2, 1, 0]),
    (lambda: map(str, [1, 2]), ["1", "2"]),
    (lambda: io.BytesIO(b"x" * 100_000), [b"x" * 65536, b"x" * (100_000 - 65536)]),
    (lambda: io.StringIO("é" * 70_000), ["é" * 65536, "é" * (70_000 - 65536)]),
    (lambda: acount(5), [0, 1, 2, 3, 4]),
    (lambda: acount(3, 0.001), [0, 1, 2]),
    (lambda: AsyncIterator(3), [2, 1, 0]),
    (lambda: AsyncIterable(), [0, 1, 2]),
    (lambda: AsyncReader(b"y" * 70_000), [b"y" * 65536, b"y" * (70_000 - 65536)]),
])  # fmt: skip
def test_everything_that_yields_can_be_read_to_its_end(make, items):
    assert everything(Source(make())) == items
    assert everything(Source(make()), 1) == items


@pytest.mark.parametrize("value", ["text", b"bytes", bytearray(b"x"), 5, None, object()])
def test_what_is_no_stream_is_refused(value):
    with pytest.raises(TypeError, match="is no stream"):
        Source(value)


def test_a_long_one_comes_complete_and_in_order():
    assert everything(Source(iter(range(100_000))), 1000) == list(range(100_000))
    assert everything(Source(acount(20_000)), 1000) == list(range(20_000))


def test_open_source_resolves_names_and_awaits():
    assert everything(_streams.open_source(HERE, Atom("count"), [], {b"n": 3})) == [0, 1, 2]

    async def main():
        return await batches(await _streams.open_source(HERE, "opens_later", [2], {}))

    assert sum(asyncio.run(main()), []) == [0, 1]


def test_batches_grow_while_items_come_quickly_and_not_beyond_what_was_asked(monkeypatch):
    monkeypatch.setattr(_streams, "PROMPT", 60)
    sizes = [len(batch) for batch in asyncio.run(batches(Source(iter(range(1000))), 100))]
    assert sizes[:4] == [1, 2, 4, 8] and max(sizes) == 100


def test_a_slow_item_ends_its_batch_and_batches_start_again_with_one(monkeypatch):
    monkeypatch.setattr(_streams, "PROMPT", 0.2)

    def bursts():
        for i in range(40):
            if i == 20:
                time.sleep(0.3)  # sleep-ok: an item that is slow on purpose
            yield i

    found = asyncio.run(batches(Source(bursts()), 1000))
    slow = next(n for n, batch in enumerate(found) if 20 in batch)
    assert found[slow][-1] == 20 and len(found[slow + 1]) == 1 and len(found[slow + 2]) == 2


@pytest.mark.filterwarnings("ignore:the blocking form")
def test_a_producer_that_talks_to_erlang_gives_one_item_at_a_time(node, monkeypatch):
    """Its reader may be the one that it waits for: an item in hand would then be held back for ever."""
    monkeypatch.setattr(_streams, "PROMPT", 60)
    node.serve(next_one=lambda n: n)

    def producer():
        for i in range(6):
            yield erlang.call("next_one", i)
        yield from range(3)

    assert [len(batch) for batch in asyncio.run(batches(Source(producer())))] == [1] * 7 + [2]
    assert [len(batch) for batch in asyncio.run(batches(Source(iter(range(4)), singly=True)))] == [1] * 4


def test_slow_items_come_one_by_one():
    def slow():
        for i in range(5):
            time.sleep(0.002)  # sleep-ok: items that are slow on purpose
            yield i

    assert asyncio.run(batches(Source(slow()))) == [[0], [1], [2], [3], [4]]


class Stubborn:
    """Its encoder raises."""


class Interrupting:
    """Its encoder is interrupted, once."""


@pytest.mark.parametrize("kind", [iter, lambda items: each(items)])
def test_what_cannot_be_encoded_stops_nothing_before_it(kind):
    async def main():
        source = Source(kind([*range(20), {"k": [object()]}, 21]))
        found = []
        while (batch := await taken(source, 7))[0] == ITEMS:
            found += batch[1]
        assert found == list(range(20))
        assert batch[:2] == (_streams.BAD_ITEM, "item[20].k[0]") and "object" in batch[2]
        assert await taken(source) == DONE

    asyncio.run(main())


@pytest.mark.parametrize("kind", [iter, lambda items: each(items)])
def test_what_an_encoder_raises_comes_after_the_items_before_it(kind):
    def no(_):
        raise LookupError("no form")

    erlang.register_encoder(Stubborn, no)

    async def main():
        source = Source(kind([1, 2, Stubborn(), 3]))
        assert [item for item in [*(await taken(source, 1))[1], *(await taken(source))[1]]] == [1, 2]
        with pytest.raises(LookupError):
            await taken(source)
        assert await taken(source) == DONE

    asyncio.run(main())


def test_an_interrupt_of_an_encoder_loses_no_item():
    interrupts = [KeyboardInterrupt()]

    def encode(_):
        if interrupts:
            raise interrupts.pop()
        return "at last"

    erlang.register_encoder(Interrupting, encode)
    source = Source(iter([Interrupting(), 2]))
    with pytest.raises(KeyboardInterrupt):
        source.take(10, 1000)
    assert len(source.take(10, 1000)[1]) == 1 and source.take(10, 1000) == (ITEMS, [2])


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), GeneratorExit()])
def test_whatever_a_producer_raises_comes_after_its_items(error):
    def producer():
        yield 1
        yield 2
        yield 3
        raise error

    source, found = Source(producer()), []
    with pytest.raises(type(error)):
        while True:
            found += source.take(10, 1000)[1]
    assert found == [1, 2, 3]


async def each(items):
    for item in items:
        yield item


@pytest.mark.parametrize("item, size", [(b"x" * 1000, 1000), ("x" * 1000, 1000), (bytearray(1000), 1000), (1, 64), ([1] * 1000, 2006)])
def test_batches_stop_at_the_byte_limit(item, size):
    async def sized():
        for _ in range(200):
            yield item

    for source in (Source(iter([item] * 200)), Source(sized())):
        assert max(map(len, asyncio.run(batches(source, 1000, size * 10)))) == 10


def test_nothing_is_produced_that_was_not_asked_for():
    produced = []

    def producer():
        for i in range(100):
            produced.append(i)
            yield i

    async def aproducer():
        for item in producer():
            yield item

    source = Source(producer())
    assert produced == [] and source.take(1, 10**6) == (ITEMS, [0]) and produced == [0]
    source.close()
    produced.clear()

    async def main():
        source = Source(aproducer())
        await turns()
        assert produced == []
        assert await source.take(3, 10**6) == (ITEMS, [0, 1, 2])
        await turns()
        assert produced == [0, 1, 2]
        await source.aclose()

    asyncio.run(main())


def test_asynchronous_items_are_not_held_back_by_a_slow_next_one():
    async def producer():
        for i in range(10):
            yield i
        await asyncio.sleep(30)  # sleep-ok: an item that does not come within the test
        yield 10

    async def main():
        source = Source(producer())
        assert await asyncio.wait_for(source.take(100, 10**6), 5) == (ITEMS, list(range(10)))
        waiting = asyncio.ensure_future(source.take(100, 10**6))
        await turns()
        assert not waiting.done()
        await source.aclose()
        assert await waiting == DONE

    asyncio.run(main())


def test_a_producer_that_never_waits_holds_back_neither_its_items_nor_the_loop():
    async def busy():
        for i in range(1000):
            until = time.monotonic() + 0.002
            while time.monotonic() < until:
                pass
            yield i

    async def main():
        source = Source(busy())
        kind, items = await source.take(1000, 10**6)
        assert kind == ITEMS and len(items) <= 2
        await source.aclose()

    asyncio.run(main())


def test_an_exception_comes_after_the_items_before_it_and_then_it_is_done():
    def fails():
        yield 1
        yield 2
        yield 3
        raise KeyError("mine")

    async def afails():
        for item in fails():
            yield item

    for producer in (fails(), afails()):
        source, found = Source(producer), []

        async def main():
            with pytest.raises(KeyError, match="mine"):
                while True:
                    found.extend((await taken(source))[1])
            assert await taken(source) == DONE

        asyncio.run(main())
        assert found == [1, 2, 3]


def test_an_interrupted_take_keeps_what_it_has_for_the_next():
    def interrupted():
        yield 1
        yield 2
        raise KeyboardInterrupt

    source = Source(interrupted())
    assert source.take(10, 1000) == (ITEMS, [1])
    with pytest.raises(KeyboardInterrupt):
        source.take(10, 1000)
    assert source.take(10, 1000) == (ITEMS, [2]) and source.take(10, 1000) == DONE


def test_concurrent_takes_are_served_in_order():
    async def main():
        source = Source(acount(10, 0.001))
        takes = [asyncio.ensure_future(source.take(1, 1000)) for _ in range(12)]
        return await asyncio.gather(*takes)

    assert asyncio.run(main()) == [(ITEMS, [i]) for i in range(10)] + [DONE, DONE]


def test_concurrent_takes_share_a_burst():
    async def main():
        released = asyncio.get_running_loop().create_future()

        async def burst():
            await released
            for i in range(6):
                yield i

        source = Source(burst())
        takes = [asyncio.ensure_future(source.take(2, 1000)) for _ in range(7)]
        await turns()
        released.set_result(None)
        return await asyncio.gather(*takes)

    found = asyncio.run(main())
    served = [batch[1] for batch in found if batch != DONE]
    assert sum(served, []) == list(range(6)) and max(map(len, served)) == 2
    assert found[len(served) :] == [DONE] * (7 - len(served))


def test_a_cancelled_take_loses_nothing():
    async def main():
        source, found, cancelled = Source(acount(200, 0)), [], 0
        while True:
            task = asyncio.ensure_future(source.take(3, 1000))
            for _ in range(cancelled % 7):
                await asyncio.sleep(0)
            task.cancel()
            try:
                batch = await task
            except asyncio.CancelledError:
                cancelled += 1
                continue
            cancelled += 1
            if batch == DONE:
                return found
            found += batch[1]

    assert asyncio.run(main()) == list(range(200))


def test_a_take_behind_a_cancelled_one_is_served():
    async def main():
        source = Source(acount(3, 0.005))
        first, second = (asyncio.ensure_future(source.take(1, 1000)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        return await asyncio.wait_for(second, 5)

    assert asyncio.run(main()) == (ITEMS, [0])


def test_who_takes_again_does_not_overtake_who_waits():
    released = []

    async def burst():
        await released[0]
        for i in range(6):
            yield i

    async def main():
        released.append(asyncio.get_running_loop().create_future())
        source, served = Source(burst()), []

        async def take_twice():
            served.append((await source.take(2, 1000))[1])
            served.append((await source.take(2, 1000))[1])

        async def take_once():
            served.append((await source.take(2, 1000))[1])

        tasks = [asyncio.ensure_future(take_twice()), asyncio.ensure_future(take_once())]
        await asyncio.sleep(0)
        released[0].set_result(None)
        await asyncio.gather(*tasks)
        await source.aclose()
        return served

    assert asyncio.run(main()) == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("steps", range(8))
def test_an_item_for_a_take_that_is_cancelled_goes_to_the_next(steps):
    async def main():
        released = asyncio.get_running_loop().create_future()

        async def one_item():
            await released
            yield "item"
            await asyncio.sleep(60)  # sleep-ok: a second item that does not come within the test

        source = Source(one_item())
        first, second = (asyncio.ensure_future(source.take(1, 1000)) for _ in range(2))
        await turns()
        released.set_result(None)
        for _ in range(steps):
            await asyncio.sleep(0)
        if first.cancel():
            assert await asyncio.wait_for(second, 5) == (ITEMS, ["item"])
        else:
            assert await first == (ITEMS, ["item"])
            second.cancel()
        await source.aclose()

    asyncio.run(main())


def test_an_asynchronous_producer_has_not_the_deadline_of_a_take(node):
    async def producer():
        yield erlang.deadline()

    async def main():
        node.set_call(deadline=1)
        return await Source(producer()).take(1, 1000)

    assert asyncio.run(main()) == (ITEMS, [None])


def test_reading_a_stream_from_inside_itself_is_an_error():
    def inner():
        yield 1
        with pytest.raises(RuntimeError, match="read already"):
            source.take(1, 1)
        yield 2

    source = Source(inner())
    assert source.take(1, 1) == (ITEMS, [1]) and source.take(1, 1) == (ITEMS, [2])


# The end


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
