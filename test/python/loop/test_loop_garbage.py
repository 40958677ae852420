"""What is dropped is collected; what is dropped unclosed is warned about; what is still needed is kept."""

import asyncio
import gc
import os
import weakref

import pytest
from loop_support import Recorder, closed, connected, new_event_loop, soon, tcp_pair, turns, with_raw_peer


def gone(*references):
    gc.collect()
    return [reference() for reference in references] == [None] * len(references)


def test_a_closed_loop_is_collectable():
    loop = new_event_loop()
    loop.run_until_complete(turns())
    loop.close()
    reference = weakref.ref(loop)
    del loop
    assert gone(reference)


def test_a_loop_that_did_a_lot_is_collectable_once_closed():
    async def main():
        one, two = await connected()
        one.transport.write(b"x")
        await two.received(1)
        await closed(one, two)
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()
        await asyncio.get_running_loop().run_in_executor(None, int)
        await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 1)

    loop = new_event_loop()
    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.call_later(1000, loop.stop)  # left over, with a reference to the loop
    loop.call_soon(loop.stop)
    loop.set_exception_handler(lambda l, c, loop=loop: None)
    loop.close()
    reference = weakref.ref(loop)
    del loop
    assert gone(reference)


def test_a_closed_loop_is_collectable_with_the_task_that_slept_on_it(bill):
    """The coroutine holds the timer, whose callback holds the task, which holds the coroutine."""
    loop = new_event_loop()
    task = loop.create_task(asyncio.sleep(1000))  # sleep-ok: it never wakes up
    loop.run_until_complete(turns())
    handles = [loop.call_soon(print)]
    for call in (loop.call_soon, loop.call_soon_threadsafe, lambda *given: loop.call_later(1000, *given)):
        handles.append(call(handles.append, handles))
    references = [weakref.ref(each) for each in (loop, task)]
    loop.close()
    del loop, task, handles, call
    bill.allow_log("Task was destroyed but it is pending")
    assert gone(*references)


def test_an_unclosed_loop_is_warned_about(bill):
    loop = new_event_loop()
    loop.run_until_complete(turns())
    reference = weakref.ref(loop)
    del loop
    assert gone(reference)
    warned = bill.warned(ResourceWarning)
    assert any("unclosed event loop" in text for text in warned), warned


def test_a_loop_that_refers_to_itself_is_collectable_unclosed(bill):
    loop = new_event_loop()
    loop.call_later(1000, loop.stop)
    loop.itself = loop
    reference = weakref.ref(loop)
    del loop
    assert gone(reference)
    assert bill.warned(ResourceWarning)


def test_transports_and_protocols_are_collectable_after_their_end(run):
    async def main():
        one, two = await connected()
        references = [weakref.ref(thing) for thing in (one, two, one.transport, two.transport)]
        await closed(one, two)
        await turns()
        return references

    assert gone(*run(main()))


@pytest.mark.parametrize("end", ["aborted", "lost"])
def test_also_after_another_kind_of_end(run, end):
    async def main():
        protocol, peer = await with_raw_peer()
        references = [weakref.ref(protocol), weakref.ref(protocol.transport)]
        if end == "aborted":
            protocol.transport.write(b"x" * 5_000_000)
            protocol.transport.abort()
        else:
            peer.close()
        await soon(protocol.lost)
        peer.close()
        await turns()
        return references

    assert gone(*run(main()))


@pytest.mark.parametrize("kind", ["transport", "datagrams", "read pipe", "write pipe"])
def test_an_unclosed_transport_is_warned_about(bill, kind):
    loop = new_event_loop()

    async def main():
        if kind == "transport":
            ours, peer = tcp_pair()
            bill.to_close.append(peer)
            await loop.create_connection(asyncio.Protocol, sock=ours)
        elif kind == "datagrams":
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
        else:
            r, w = os.pipe()
            r, w = open(r, "rb", 0), open(w, "wb", 0)
            if kind == "read pipe":
                bill.to_close.append(w)
                await loop.connect_read_pipe(asyncio.Protocol, r)
            else:
                bill.to_close.append(r)
                await loop.connect_write_pipe(asyncio.BaseProtocol, w)

    loop.run_until_complete(main())
    loop.close()
    del loop
    gc.collect()
    warned = bill.warned(ResourceWarning)
    assert any("unclosed" in text for text in warned), warned


def test_a_transport_lives_as_long_as_its_connection(run):
    """Nobody but the loop refers to it; a server's connections are like this."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        got = loop.create_future()

        class Answers(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def data_received(self, data):
                self.transport.write(data.upper())
                self.transport.close()

            def connection_lost(self, exc):
                got.set_result(exc)

        await loop.create_connection(Answers, sock=ours)
        del ours
        gc.collect()
        await loop.sock_sendall(peer, b"hello")
        assert await soon(loop.sock_recv(peer, 10)) == b"HELLO"
        assert await soon(got) is None
        peer.close()

    run(main())


def test_a_process_lives_until_its_end(run):
    async def main():
        ended = asyncio.get_running_loop().create_future()

        class Ends(asyncio.SubprocessProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def process_exited(self):
                ended.set_result(self.transport.get_returncode())

            def connection_lost(self, exc):
                self.transport.close()

        await asyncio.get_running_loop().subprocess_exec(Ends, "sh", "-c", "exit 6", stdin=None, stdout=None, stderr=None)
        gc.collect()
        assert await soon(ended) == 6
        await turns()

    run(main())


def test_a_callback_and_its_arguments_are_let_go_after_the_call(loop):
    class Thing:
        def method(self, other):
            pass

    thing, argument = Thing(), Thing()
    references = weakref.ref(thing), weakref.ref(argument)
    handles = [loop.call_soon(thing.method, argument), loop.call_later(0, thing.method, argument)]
    del thing, argument
    loop.run_until_complete(asyncio.sleep(0.001))  # sleep-ok: both must have run
    del handles
    assert gone(*references)


def test_what_readers_refer_to_is_let_go_with_the_reader(loop):
    class Thing:
        def method(self):
            pass

    r, w = os.pipe()
    thing = Thing()
    reference = weakref.ref(thing)
    loop.add_reader(r, thing.method)
    loop.add_writer(w, thing.method)
    loop.remove_reader(r)
    loop.remove_writer(w)
    del thing
    loop.run_until_complete(turns())
    os.close(r)
    os.close(w)
    assert gone(reference)


def test_close_lets_everything_go(make_loop):
    class Thing:
        def method(self, *args):
            pass

    loop, thing = make_loop(), Thing()
    reference = weakref.ref(thing)
    r, w = os.pipe()
    loop.add_reader(r, thing.method)
    loop.add_writer(w, thing.method)
    loop.call_soon(thing.method)
    loop.call_later(1000, thing.method)
    loop.set_exception_handler(thing.method)
    loop.set_exception_handler(None)
    loop.close()
    del thing
    os.close(r)
    os.close(w)
    assert gone(reference)


def test_tasks_and_futures_are_collectable(run):
    async def work():
        await asyncio.sleep(0)

    async def main():
        loop = asyncio.get_running_loop()
        task, future = loop.create_task(work()), loop.create_future()
        references = weakref.ref(task), weakref.ref(future)
        future.add_done_callback(lambda f: None)
        future.set_result(None)
        await task
        await future
        return references

    assert gone(*run(main()))


def test_a_thousand_loops_leave_no_memory_behind():
    """Roughly: what one loop keeps for ever would show a thousandfold."""
    import resource

    def some(n):
        for _ in range(n):
            loop = new_event_loop()
            loop.call_later(100, int)
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
        gc.collect()

    some(100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    some(1000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024  # kilobytes
