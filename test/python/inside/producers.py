"""What the tests of streams out of Python read from: producers of each kind, that note when they have ended."""

import asyncio
import io

from erlang._streams import DONE, ITEMS

ended = []


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


async def each(items):
    for item in items:
        yield item
