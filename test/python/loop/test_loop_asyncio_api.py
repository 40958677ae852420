"""The rest of asyncio on top of the loop: streams, queues, locks, timeouts, groups. Not their details, that they work here."""

import asyncio
import sys

import pytest
from loop_support import free_port, soon, turns


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


def test_streams_with_back_pressure(run):
    data = bytes(range(256)) * 20_000

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())

        async def send():
            for start in range(0, len(data), 100_000):
                writer.write(data[start:start + 100_000])
                await writer.drain()
            writer.write_eof()

        _, got = await soon(asyncio.gather(send(), reader.read()))
        assert got == data
        writer.close()
        await soon(writer.wait_closed())
        server.close()
        await soon(server.wait_closed())

    run(main())


def test_reading_lines_exactly_and_until(run):
    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.writelines([b"line\n", b"exactly", b"until|rest"])
        writer.write_eof()
        assert await soon(reader.readline()) == b"line\n"
        assert await soon(reader.readexactly(7)) == b"exactly"
        assert await soon(reader.readuntil(b"|")) == b"until|"
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await soon(reader.readexactly(10))
        assert caught.value.partial == b"rest" and reader.at_eof()
        writer.close()
        await soon(writer.wait_closed())
        server.close()
        await soon(server.wait_closed())

    run(main())


def test_open_connection_to_nobody(run):
    async def main():
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", free_port())

    run(main())


def test_a_drain_ends_with_the_connection(run):
    async def main():
        closing = asyncio.Event()

        async def hangs_up(reader, writer):
            await closing.wait()
            writer.transport.abort()

        server = await asyncio.start_server(hangs_up, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())

        async def sends():
            while True:
                writer.write(b"x" * 1_000_000)
                await writer.drain()

        sending = asyncio.ensure_future(sends())
        await turns(20)
        closing.set()
        with pytest.raises(ConnectionError):
            await soon(sending)
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        server.close()
        await soon(server.wait_closed())

    run(main())


def test_queues(run):
    async def main():
        queue, got = asyncio.Queue(2), []

        async def producer():
            for i in range(20):
                await queue.put(i)
            await queue.put(None)

        async def consumer():
            while (item := await queue.get()) is not None:
                got.append(item)
                queue.task_done()

        await soon(asyncio.gather(producer(), consumer()))
        assert got == list(range(20))
        priority, last = asyncio.PriorityQueue(), asyncio.LifoQueue()
        for i in (3, 1, 2):
            priority.put_nowait(i)
            last.put_nowait(i)
        assert [await priority.get() for _ in range(3)] == [1, 2, 3]
        assert [await last.get() for _ in range(3)] == [2, 1, 3]

    run(main())


def test_locks_events_conditions_and_semaphores(run):
    async def main():
        lock, event, condition, semaphore = asyncio.Lock(), asyncio.Event(), asyncio.Condition(), asyncio.Semaphore(3)
        seen, at_once, most = [], 0, 0

        async def worker(n):
            nonlocal at_once, most
            async with semaphore:
                at_once += 1
                most = max(most, at_once)
                await asyncio.sleep(0)
                at_once -= 1
            async with lock:
                seen.append((n, "in"))
                await asyncio.sleep(0)
                seen.append((n, "out"))
            await event.wait()
            async with condition:
                await condition.wait_for(lambda: len(seen) == 20)

        workers = [asyncio.ensure_future(worker(n)) for n in range(10)]
        await turns(100)
        event.set()
        await turns()
        async with condition:
            condition.notify_all()
        await soon(asyncio.gather(*workers))
        assert most == 3 and seen == [(n, state) for n, _ in seen[::2] for state in ("in", "out")]

    run(main())


@pytest.mark.needs_python(3, 11)
def test_a_barrier(run):
    async def main():
        barrier = asyncio.Barrier(5)
        assert sorted(await soon(asyncio.gather(*(barrier.wait() for _ in range(5))))) == [0, 1, 2, 3, 4]

    run(main())


def test_wait_for(run):
    async def main():
        assert await asyncio.wait_for(asyncio.sleep(0, "in time"), 20) == "in time"
        ended = []

        async def never():
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.append(True)

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(never(), 0.002)
        assert ended == [True]
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(never(), 0)

    run(main())


@pytest.mark.needs_python(3, 11)
def test_timeouts(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.002):
                await loop.create_future()
        async with asyncio.timeout(20) as timeout:
            timeout.reschedule(loop.time() + 30)
            await asyncio.sleep(0)
        assert not timeout.expired()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout_at(loop.time() - 1):
                await asyncio.sleep(0)

    run(main())


@pytest.mark.needs_python(3, 11)
def test_task_groups(run):
    async def main():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, i)) for i in range(10)]
        assert [task.result() for task in tasks] == list(range(10))

        async def fails():
            raise KeyError("one")

        other = None
        try:
            async with asyncio.TaskGroup() as group:
                other = group.create_task(never())
                group.create_task(fails())
        except BaseException as error:
            assert type(error).__name__ == "ExceptionGroup" and [type(e) for e in error.exceptions] == [KeyError]
        assert other.cancelled()

    async def never():
        await asyncio.get_running_loop().create_future()

    run(main())


def test_gather_wait_and_as_completed(run):
    async def value(n):
        await asyncio.sleep(n * 0.0005)  # sleep-ok: different ends are the subject
        return n

    async def fails():
        raise KeyError

    async def main():
        assert await asyncio.gather(value(2), value(0), value(1)) == [2, 0, 1]
        assert [type(x) for x in await asyncio.gather(value(1), fails(), return_exceptions=True)] == [int, KeyError]
        tasks = [asyncio.ensure_future(value(n)) for n in range(5)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert done and done | pending == set(tasks)
        await asyncio.wait(tasks)
        assert sorted([await each for each in asyncio.as_completed([value(n) for n in range(5)])]) == [0, 1, 2, 3, 4]
        with pytest.raises(asyncio.TimeoutError):
            for each in asyncio.as_completed([asyncio.get_running_loop().create_future()], timeout=0.001):
                await each

    run(main())


def test_shield(run):
    async def main():
        inner = asyncio.get_running_loop().create_future()

        async def outer():
            await asyncio.shield(inner)

        task = asyncio.ensure_future(outer())
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not inner.cancelled()
        inner.cancel()

    run(main())


def test_to_thread(run):
    async def main():
        assert await asyncio.gather(*(asyncio.to_thread(pow, 2, i) for i in range(30))) == [2 ** i for i in range(30)]

    run(main())


def test_asynchronous_generators_and_comprehensions(run):
    async def numbers(n):
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    async def main():
        assert [i async for i in numbers(10)] == list(range(10))
        async for i in numbers(10):
            if i == 3:
                break
        await turns()

    run(main())


@pytest.mark.needs_python(3, 11)
def test_unittests_own_asynchronous_cases_run_on_the_loop():
    """IsolatedAsyncioTestCase with a loop factory: what users' test-suites do."""
    import unittest
    from loop_support import new_event_loop

    seen = []

    class Case(unittest.IsolatedAsyncioTestCase):
        loop_factory = staticmethod(new_event_loop)

        async def asyncSetUp(self):
            seen.append(type(asyncio.get_running_loop()))

        async def test_one(self):
            await asyncio.sleep(0)
            seen.append(asyncio.get_running_loop().is_running())

    result = unittest.TestResult()
    Case("test_one").run(result)
    assert result.wasSuccessful() and result.testsRun == 1
    loop = new_event_loop()
    loop.close()
    assert seen[1] is True
    if sys.version_info >= (3, 13):
        assert seen[0] is type(loop)


def test_a_chat_between_many_clients(run):
    """Everything at once: a server that sends each line to everybody."""

    async def main():
        writers = set()

        async def serve(reader, writer):
            writers.add(writer)
            while line := await reader.readline():
                for each in writers:
                    each.write(line)
            writers.discard(writer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)

        async def client(n):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            everybody.add(n)
            while len(everybody) < 10 or len(writers) < 10:
                await asyncio.sleep(0.001)  # sleep-ok: the server announces nothing
            writer.write(b"from %d\n" % n)
            lines = {await reader.readline() for _ in range(10)}
            assert lines == {b"from %d\n" % i for i in range(10)}
            done.add(n)
            while len(done) < 10:
                await asyncio.sleep(0.001)  # sleep-ok: nobody announces it
            writer.close()
            await writer.wait_closed()

        everybody, done = set(), set()
        await soon(asyncio.gather(*(client(n) for n in range(10))))
        while writers:
            await asyncio.sleep(0.001)  # sleep-ok: the server announces nothing
        server.close()
        await soon(server.wait_closed())

    run(main())
