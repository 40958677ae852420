"""Producers and consumers for py_port_stream_SUITE."""

import asyncio
import io

import erlang

seen = []


def what_was_seen():
    return list(seen)


def count(n):
    for i in range(n):
        seen.append(i)
        yield i


def produced():
    return len(seen)


async def count_async(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i


def plain_list(n):
    return list(range(n))


def a_file(text):
    return io.BytesIO(text)


async def later(n):
    await asyncio.sleep(0)
    return count(n)


def no_stream():
    return 17


def fails_after(n):
    yield from range(n)
    raise ValueError("no more")


async def fails_after_async(n):
    for i in range(n):
        yield i
    raise ValueError("no more")


def fails_at_once():
    raise ValueError("not even one")


def endless(name):
    try:
        while True:
            yield b"x" * 1024
    finally:
        seen.append(name)


async def waits_for_ever(name):
    try:
        yield 1
        await asyncio.sleep(3600)
    finally:
        seen.append(name)


def blobs(count, size):
    blob = b"x" * size
    for _ in range(count):
        yield blob


def rss_kb():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmRSS"):
                return int(line.split()[1])


def keywords(**given):
    yield from sorted(given)


# Into Python


async def sum_of(inlet, start=0):
    total = start
    async for item in inlet:
        total += item
    return total


def sum_of_blocking(inlet):
    return sum(inlet)


async def stops_after(inlet, n):
    got = []
    async for item in inlet:
        got.append(item)
        if len(got) == n:
            break
    inlet.close()
    return got


async def doubled(inlet):
    async for item in inlet:
        yield 2 * item


def doubled_blocking(inlet):
    for item in inlet:
        yield 2 * item


async def never_reads(inlet):
    await asyncio.sleep(3600)


async def how_it_ended(inlet):
    got = []
    try:
        async for item in inlet:
            got.append(item)
    except Exception as error:
        return [got, type(error).__name__, [str(a) for a in error.args]]
    return [got, "done", []]


async def notes_how_it_ended(inlet, name):
    try:
        async for _ in inlet:
            seen.append(name + " started")
        seen.append(name + " done")
    except BaseException as error:
        seen.append(name + " " + type(error).__name__)
        raise


def keep_receiving(term):
    """All of a channel, whatever happens to the jobs that fetch it."""
    return keep_going(erlang.Channel(term).receive, erlang.ChannelClosed)


async def keep_receiving_async(term):
    channel = erlang.Channel(term)
    got = []
    while True:
        try:
            got.append(await channel.async_receive())
        except erlang.ChannelClosed:
            return got
        except erlang.CallError:
            pass


def keep_iterating(items):
    """The same for what Erlang pushes."""
    return keep_going(lambda: next(items), StopIteration)


def keep_going(fetch, end):
    got = []
    while True:
        try:
            got.append(fetch())
        except end:
            return got
        except erlang.CallError:
            pass


def with_a_bad_one(n):
    yield from range(n)
    yield [object()]
    yield "never"


async def with_a_bad_one_async(n):
    for item in with_a_bad_one(n):
        yield item


def rows(n, length):
    row = list(range(100000, 100000 + length))
    for _ in range(n):
        yield row


async def rows_async(n, length):
    for row in rows(n, length):
        yield row


def exits_after(n):
    yield from range(n)
    raise SystemExit(3)


def goes_on(inlet):
    """Reads on after what it cannot have."""
    found = []
    while True:
        try:
            found.append(next(inlet))
        except erlang.TermError as error:
            found.append(error.path)
        except StopIteration:
            return found


async def goes_on_async(inlet):
    found = []
    while True:
        try:
            found.append(await inlet.__anext__())
        except erlang.TermError as error:
            found.append(error.path)
        except StopAsyncIteration:
            return found


async def sizes_when_told(inlet, channel):
    await erlang.Channel(channel).async_receive()
    return [len(item) async for item in inlet]
