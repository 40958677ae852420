"""Streams out of Python: what becomes a Source, and in which batches it comes."""

import asyncio
import io
import time

import pytest
from producers import AsyncIterable, AsyncIterator, AsyncReader, Iterator, acount, batches, count, each, ended, everything, taken
from waiting import turns

import erlang
from erlang import Atom, _streams
from erlang._streams import DONE, ITEMS, Source


@pytest.fixture(autouse=True)
def fresh():
    ended.clear()


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
    assert everything(_streams.open_source("producers", Atom("count"), [], {b"n": 3})) == [0, 1, 2]

    async def main():
        return await batches(await _streams.open_source("producers", "opens_later", [2], {}))

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
