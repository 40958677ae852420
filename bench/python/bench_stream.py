"""Producers and consumers of streams that cost as little as they can."""

KIB64 = b"\xff" * 65536


def numbers(count):
    yield from range(count)


async def numbers_async(count):
    for number in range(count):
        yield number


def chunks(count):
    for _ in range(count):
        yield KIB64


def consume(items):
    return sum(1 for _ in items)


async def consume_async(items):
    count = 0
    async for _ in items:
        count += 1
    return count
