"""What callbacks and finalizers do to the very thing that is calling them."""

import asyncio
import os
import socket
import weakref

import pytest
from loop_support import HandlerCalls, Recorder, closed, new_event_loop, small_buffers, soon, turns, until, with_raw_peer
from test_loop_fork import ended, forked
from test_loop_garbage import gone
from test_loop_tls import ended as server_ended
from test_loop_tls import tls_pair

A_LOT = b"x" * 2_000_000


async def all_of(peer, count):
    loop, data = asyncio.get_running_loop(), bytearray()
    while len(data) < count:
        chunk = await soon(loop.sock_recv(peer, 1 << 20))
        if not chunk:
            break
        data += chunk
    return bytes(data)


class Answers(Recorder):
    """Does something with its transport as soon as something comes."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def data_received(self, data):
        super().data_received(data)
        self.calls.append("answers")
        self.answer(self.transport)
        self.calls.append("answered")


# ------------------------------------------------------------------------------------------------------- flow control


@pytest.mark.parametrize("answer", [lambda t: t.write(A_LOT), lambda t: t.writelines([A_LOT[:1000], A_LOT[1000:]])], ids=["write", "writelines"])
def test_a_protocol_is_paused_while_it_is_given_data(loop, run, answer):
    failures = HandlerCalls(loop)

    async def main():
        protocol, peer = await with_raw_peer(lambda: Answers(answer), tcp=False)
        peer.send(b"?")
        assert await protocol.received(1)
        assert protocol.calls[1:] == ["data", "answers", "pause", "answered"]
        assert len(await all_of(peer, len(A_LOT))) == len(A_LOT)
        await until(lambda: protocol.calls[-1] == "resume")
        await closed(protocol)
        peer.close()

    run(main())
    assert failures == []


def test_a_protocol_is_paused_and_resumed_while_it_is_given_data(loop, run):
    """pause_writing and resume_writing within data_received: limits that change make them."""
    failures = HandlerCalls(loop)

    def answer(transport):
        transport.set_write_buffer_limits(high=1 << 30)
        transport.write(A_LOT)
        transport.set_write_buffer_limits(high=0)

    async def main():
        protocol, peer = await with_raw_peer(lambda: Answers(answer), tcp=False)
        peer.send(b"?")
        assert await protocol.received(1)
        assert protocol.calls[1:] == ["data", "answers", "pause", "answered"]
        protocol.transport.abort()
        await soon(protocol.lost)
        peer.close()

    run(main())
    assert failures == []


def test_a_tls_protocol_is_paused_while_it_is_given_data(loop, run):
    """Its transport has the TLS protocol paused, which pauses it."""
    failures = HandlerCalls(loop)

    async def main():
        server, client, theirs = await tls_pair(Recorder)
        small_buffers(client.transport.get_extra_info("socket"), theirs.transport.get_extra_info("socket"))
        client.transport.pause_reading()

        def answer(data):
            theirs.calls.append("answers")
            for _ in range(8):
                theirs.transport.write(A_LOT)
            theirs.calls.append("answered")

        theirs.data_received = answer
        client.transport.write(b"?")
        await until(lambda: "answered" in theirs.calls)
        began = theirs.calls.index("answers")
        assert theirs.calls[began : began + 3] == ["answers", "pause", "answered"]
        client.transport.resume_reading()
        await client.received(8 * len(A_LOT))
        await until(lambda: theirs.calls[-1] == "resume")
        await closed(client, theirs)
        await server_ended(server)

    run(main())
    assert failures == []


# --------------------------------------------------------------------------------------------------------- finalizers


class WithEnd(bytes):
    """Bytes whose end calls something."""

    def __del__(self):
        self.at_end()


@pytest.mark.ours_only("stock asyncio copies what waits, in most versions")
@pytest.mark.parametrize("method", ["abort", "close"])
def test_data_whose_end_closes_the_transport_that_wrote_it(run, method):
    async def main():
        protocol, peer = await with_raw_peer()
        small_buffers(protocol.transport.get_extra_info("socket"), peer)
        ended = []
        protocol.transport.write(A_LOT[:500_000])
        data = WithEnd(b"some")
        data.at_end = lambda: (ended.append(True), getattr(protocol.transport, method)())
        protocol.transport.write(data)
        protocol.transport.write(A_LOT)
        del data
        received = len(await all_of(peer, 500_004))
        assert received >= 500_004 or method == "abort"
        if method == "close":
            await all_of(peer, 500_004 + len(A_LOT) - received)
        await soon(protocol.lost)
        assert ended == [True]
        peer.close()

    run(main())


@pytest.mark.ours_only("stock asyncio copies what waits, in most versions")
def test_data_whose_end_writes_more(run):
    async def main():
        protocol, peer = await with_raw_peer()
        small_buffers(protocol.transport.get_extra_info("socket"), peer)
        protocol.transport.write(A_LOT[:500_000])
        data = WithEnd(b"some")
        data.at_end = lambda: protocol.transport.write(b"more")
        protocol.transport.write(data)
        del data
        assert (await all_of(peer, 500_008))[500_000:] == b"somemore"
        await closed(protocol)
        peer.close()

    run(main())


@pytest.mark.parametrize("how", ["write", "writelines"])
def test_data_that_changes_its_size_while_it_is_given_to_tls(run, how):
    """A generator may go on using the bytearray that it has yielded; what it had in it then is sent."""

    def pieces():
        data = bytearray(b"first " * 100)
        yield data
        data[:] = b""
        yield b"second"

    async def main():
        server, client, theirs = await tls_pair()
        if how == "write":
            for piece in pieces():
                client.transport.write(piece)
        else:
            client.transport.writelines(pieces())
        assert await theirs.received(606) == b"first " * 100 + b"second"
        await closed(client, theirs)
        await server_ended(server)

    # Stock asyncio keeps the bytearray and sends what it becomes, in some versions.
    run(main())


@pytest.mark.ours_only("a hook of asyncio's own tests")
def test_held_data_that_becomes_smaller_fails_the_connection_and_nothing_else(loop, run):
    failures = HandlerCalls(loop)

    async def main():
        server, client, theirs = await tls_pair()
        data = bytearray(1000)
        client.transport._test__append_write_backlog(data)
        client.transport._test__append_write_backlog(b"more")
        del data[10:]
        client.transport.write(b"and more")
        await soon(client.lost)
        await soon(theirs.lost)
        await server_ended(server)

    run(main())
    assert [type(context["exception"]) for context in failures] == [BufferError]


@pytest.mark.ours_only("stock asyncio's objects are Python's")
@pytest.mark.parametrize("method", ["set_write_buffer_limits", "set_read_buffer_limits"])
def test_a_tls_transport_that_is_let_go_while_it_is_asked(run, method):
    class Limit:
        def __init__(self, value):
            self.value = value

        def __index__(self):
            transports[0].close()
            return self.value

    transports = []

    async def main():
        server, client, theirs = await tls_pair()
        await closed(client, theirs)
        await turns()
        transports.append(client.transport)
        getattr(client.transport, method)(high=Limit(1000), low=Limit(10))
        await server_ended(server)

    run(main())


def test_a_handle_that_is_run_by_hand_and_cancels_itself(make_loop):
    """The handle is all that keeps the loop; the callback fails after that."""
    failures = []

    def fails():
        handle.cancel()
        raise ValueError("on purpose")

    loop = make_loop()
    loop.set_exception_handler(lambda loop, context: failures.append(context["exception"]))
    handle = loop.call_soon(fails)
    handle._run()
    assert [str(failure) for failure in failures] == ["on purpose"]


@pytest.mark.ours_only("stock asyncio closes it and fails in the turn after")
def test_a_loop_cannot_be_closed_in_a_turn_that_is_made_by_hand(make_loop):
    refused = []

    class Closes(asyncio.Protocol):
        def data_received(self, data):
            try:
                loop.close()
            except RuntimeError as error:
                refused.append(str(error))

    loop = make_loop()
    one, two = socket.socketpair()
    transport, _ = loop.run_until_complete(loop.create_unix_connection(Closes, sock=one))
    two.send(b"x")
    while not refused:
        loop._run_once()
    assert refused == ["Cannot close a running event loop"]
    transport.abort()
    loop.run_until_complete(turns())
    two.close()


# ------------------------------------------------------------------------------------------------------------ garbage


@pytest.mark.ours_only("stock asyncio's coroutine keeps no buffer")
def test_a_sock_sendall_that_waits_is_collectable_with_its_loop(bill):
    class Data(bytearray):
        pass

    def some():
        loop = new_event_loop()
        one, two = socket.socketpair()
        one.setblocking(False)
        data = Data(4_000_000)
        data.loop, data.socket = loop, one

        async def main():
            task = loop.create_task(loop.sock_sendall(one, data))
            await turns()
            data.task = task

        loop.run_until_complete(main())
        two.close()
        return weakref.ref(loop), weakref.ref(data)

    assert gone(*some())
    bill.warned(ResourceWarning)
    bill.allow_log("Task was destroyed but it is pending")


@pytest.mark.ours_only("stock asyncio's transports watch by number as well")
def test_an_unclosed_transport_leaves_its_number_to_the_next(bill):
    """Collected together with its loop; what its finalizer closes may be opened again by the next one."""

    def some():
        loop = new_event_loop()
        one, two = socket.socketpair()
        transport, _ = loop.run_until_complete(loop.create_unix_connection(asyncio.Protocol, sock=one))
        loop.itself, two_again = loop, two
        return weakref.ref(transport), two_again

    reference, two = some()
    assert gone(reference)
    assert two.recv(1) == b""
    two.close()
    assert len(bill.warned(ResourceWarning)) >= 2


# ---------------------------------------------------------------------------------------------------------------- fork


@pytest.mark.ours_only("stock asyncio's selector is shared with the child")
def test_a_child_that_goes_on_with_the_loop_has_its_own_waiting_sockets(loop, run):
    """Neither takes the other's events: with what waits in both, and with what the child begins."""

    def child(ours, peer):
        asyncio._set_running_loop(loop)  # asyncio has told the child that none runs

        async def more():
            # Again and again, for a shared set would lose only those events that the parent is faster to take.
            for i in range(100):
                receives = loop.create_task(loop.sock_recv(ours, 10))
                await asyncio.sleep(0)
                peer.send(b"%d" % i)
                assert await receives == b"%d" % i
                os.sched_yield()

        task = loop.create_task(more())
        while not task.done():
            loop._run_once()
        task.result()

    async def main():
        pairs = [socket.socketpair() for _ in range(2)]
        for pair in pairs:
            for sock in pair:
                sock.setblocking(False)
        (one, peer), of_child = pairs
        waiting = loop.create_task(loop.sock_recv(one, 10))
        await turns()
        pid = loop.create_future()
        # From a callback: within a task the child could not run others.
        loop.call_soon(lambda: pid.set_result(forked(lambda: child(*of_child))))
        assert await ended(await pid) == 0
        for i in range(20):
            peer.send(b"%d" % i)
            assert await soon(waiting) == b"%d" % i
            waiting = loop.create_task(loop.sock_recv(one, 10))
            await turns(2)
        waiting.cancel()
        await turns()
        for pair in pairs:
            for sock in pair:
                sock.close()

    run(main())
