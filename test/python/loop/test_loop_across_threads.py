"""Loops in several threads, and calls from other threads."""

import asyncio
import threading

import pytest
from loop_support import BOUND, Recorder, closed, connected, soon


def in_threads(functions):
    """Runs each in a thread; raises the first failure."""
    failures = []

    def guarded(function):
        try:
            function()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=[function], daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def test_twenty_loops_in_twenty_threads(make_loop):
    together, results = threading.Barrier(20), {}

    def one(n):
        loop = make_loop()

        async def main():
            together.wait(BOUND)
            assert asyncio.get_running_loop() is loop
            assert asyncio.all_tasks() == {asyncio.current_task()}
            one, two = await connected()
            for i in range(20):
                one.transport.write(b"%d," % n)
                await asyncio.sleep(0.0005)  # sleep-ok: timers are part of the subject
            expected = b"%d," % n * 20
            assert await two.received(len(expected)) == expected
            await closed(one, two)
            return await loop.run_in_executor(None, lambda: n)

        results[n] = loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    in_threads([lambda n=n: one(n) for n in range(20)])
    assert results == {n: n for n in range(20)}


def test_loops_are_made_and_closed_in_threads_over_and_over(make_loop):
    def one():
        for _ in range(20):
            loop = make_loop()
            assert loop.run_until_complete(asyncio.sleep(0, 1)) == 1
            loop.close()

    in_threads([one] * 5)


def test_callbacks_from_twenty_threads(loop):
    """Each thread's callbacks arrive all, and in that thread's order."""
    seen, left = {n: [] for n in range(20)}, 20

    def arrived(n, i):
        nonlocal left
        seen[n].append(i)
        if i == 499:
            left -= 1
            if not left:
                loop.stop()

    def one(n):
        for i in range(500):
            loop.call_soon_threadsafe(arrived, n, i)

    threads = [threading.Thread(target=one, args=[n]) for n in range(20)]
    for thread in threads:
        thread.start()
    loop.run_forever()
    for thread in threads:
        thread.join()
    assert all(seen[n] == list(range(500)) for n in range(20))


def test_a_thread_can_stop_a_loop(loop):
    for _ in range(50):
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=[loop.stop])
        loop.call_soon(thread.start)
        loop.run_forever()
        thread.join()


def test_ping_pong_between_two_loops(make_loop):
    one, two = make_loop(), make_loop()
    count = 0

    def hit(here, there):
        nonlocal count
        count += 1
        if count == 1000:
            one.call_soon_threadsafe(one.stop)
            two.call_soon_threadsafe(two.stop)
        else:
            there.call_soon_threadsafe(hit, there, here)

    one.call_soon(hit, one, two)
    in_threads([one.run_forever, two.run_forever])
    assert count == 1000


def test_a_callback_for_a_loop_that_is_closed_in_the_meantime(make_loop):
    """A thread that calls while the loop is closed gets RuntimeError, or its callback never runs; nothing crashes."""
    for _ in range(20):
        loop, ready, outcome = make_loop(), threading.Event(), []

        def calls():
            ready.set()
            try:
                while True:
                    loop.call_soon_threadsafe(int)
            except RuntimeError as error:
                outcome.append(str(error))

        thread = threading.Thread(target=calls)
        thread.start()
        ready.wait(BOUND)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        thread.join(BOUND)
        assert len(outcome) == 1 and "closed" in outcome[0]


def test_tasks_of_two_loops_run_at_the_same_time(make_loop):
    """Neither holds the other up while it waits."""
    loops, together = [make_loop(), make_loop()], threading.Barrier(2)

    async def main():
        for _ in range(10):
            await asyncio.get_running_loop().run_in_executor(None, together.wait, BOUND)

    in_threads([lambda loop=loop: loop.run_until_complete(main()) for loop in loops])
    for loop in loops:
        loop.run_until_complete(loop.shutdown_default_executor())


def test_a_server_in_one_thread_and_clients_in_others(make_loop):
    server_loop, address, ready, stop = make_loop(), [], threading.Event(), None

    class Echo(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.write(data)

    async def serve():
        nonlocal stop
        stop = server_loop.create_future()
        async with await server_loop.create_server(Echo, "127.0.0.1", 0) as server:
            address.extend(server.sockets[0].getsockname())
            ready.set()
            await stop

    def serving():
        server_loop.run_until_complete(serve())

    def client(n):
        assert ready.wait(BOUND)
        loop = make_loop()

        async def main():
            _, protocol = await soon(loop.create_connection(Recorder, *address))
            protocol.transport.write(b"%d" % n * 1000)
            await protocol.received(len(b"%d" % n) * 1000)
            await closed(protocol)

        loop.run_until_complete(main())
        loop.close()

    thread = threading.Thread(target=serving)
    thread.start()
    try:
        in_threads([lambda n=n: client(n) for n in range(8)])
    finally:
        server_loop.call_soon_threadsafe(stop.set_result, None)
        thread.join(BOUND)
    server_loop.run_until_complete(asyncio.sleep(0.01))  # sleep-ok: the accepted connections see their ends


def test_a_loop_made_in_one_thread_can_be_closed_in_another(make_loop):
    loop = make_loop()
    loop.run_until_complete(asyncio.sleep(0))
    in_threads([loop.close])
    assert loop.is_closed()


@pytest.mark.parametrize("signals", [False, True])
def test_a_thread_may_run_a_loop_while_the_main_thread_runs_another(loop, run, make_loop, signals):
    other = make_loop()

    async def inner():
        await asyncio.sleep(0.001)  # sleep-ok: any wait
        return 42

    async def main():
        import signal

        if signals:
            loop.add_signal_handler(signal.SIGUSR1, int)
        answer = await asyncio.to_thread(other.run_until_complete, inner())
        if signals:
            loop.remove_signal_handler(signal.SIGUSR1)
        return answer

    assert run(main()) == 42
