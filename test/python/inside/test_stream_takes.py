"""Streams out of Python: takes that are interrupted, cancelled, or at the same time."""

import asyncio

import pytest
from producers import acount, ended
from waiting import turns

import erlang
from erlang._streams import DONE, ITEMS, Source


@pytest.fixture(autouse=True)
def fresh():
    ended.clear()


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
