"""What applications take from asyncio's or uvloop's loop for granted and their own test-suites (test/conformance) found missing."""

import asyncio
import socket

import pytest
from loop_support import Recorder, soon


@pytest.fixture
def pair(bill):
    made = socket.socketpair()
    for sock in made:
        sock.setblocking(False)
    bill.to_close += made
    return made


def test_a_task_that_was_made_before_data_arrived_runs_before_the_protocol_gets_it(loop, run, pair):
    here, there = pair
    order = []

    class Protocol(asyncio.Protocol):
        def data_received(self, data):
            order.append("data")
            self.got.set_result(data)

    async def wait(protocol):
        order.append("task")
        protocol.got = loop.create_future()
        return await soon(protocol.got)

    transport, protocol = run(loop.create_connection(Protocol, sock=here))
    there.send(b"x")
    assert run(wait(protocol)) == b"x"
    assert order == ["task", "data"]
    transport.close()
    run(asyncio.sleep(0))


def test_timers_that_are_due_run_after_what_was_queued_and_before_what_that_queues(loop, run):
    order = []

    async def main():
        done = loop.create_future()
        loop.call_soon(lambda: (order.append("queued"), loop.call_soon(order.append, "later"), loop.call_soon(done.set_result, None)))
        loop.call_at(loop.time() - 1, order.append, "timer")
        await done

    run(main())
    assert order == ["queued", "timer", "later"]


def test_a_protocol_that_writes_too_much_in_a_callback_is_paused_and_resumed(loop, run, pair):
    here, there = pair
    heard = []
    size = 4 << 20

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(bytes(size))
            heard.append("written")

        def pause_writing(self):
            heard.append("pause")

        def resume_writing(self):
            heard.append("resume")

    async def main():
        transport, _ = await loop.create_connection(Protocol, sock=here)
        await loop.sock_sendall(there, b"?")
        got = 0
        while got < size:
            got += len(await soon(loop.sock_recv(there, 1 << 20)))
        while "resume" not in heard:
            await asyncio.sleep(0)
        transport.close()

    run(main())
    assert heard == ["pause", "written", "resume"]


@pytest.mark.ours_only("asyncio asks for the base class")
def test_who_has_the_methods_of_a_buffered_protocol_is_one(loop, run, pair):
    here, there = pair

    class Protocol(asyncio.BaseProtocol):
        def connection_made(self, transport):
            self.buffer, self.got = bytearray(10), loop.create_future()

        def get_buffer(self, sizehint):
            return self.buffer

        def buffer_updated(self, size):
            self.got.set_result(bytes(self.buffer[:size]))

        def eof_received(self):
            pass

    async def main():
        transport, protocol = await loop.create_connection(Protocol, sock=here)
        await loop.sock_sendall(there, b"hello")
        assert await soon(protocol.got) == b"hello"
        transport.close()

    run(main())


@pytest.mark.ours_only("asyncio asks for the protocol's number")
def test_small_writes_to_a_socket_of_any_making_do_not_wait(loop, run, bill):
    listening = socket.create_server(("127.0.0.1", 0))
    sock = socket.socket()  # proto=0
    bill.to_close += [listening, sock]
    sock.connect(listening.getsockname())

    async def main():
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        transport.close()

    run(main())


def test_a_datagram_transport_is_a_transport(loop, run):
    async def main():
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
        assert isinstance(transport, asyncio.DatagramTransport) and isinstance(transport, asyncio.Transport)
        transport.close()

    run(main())


def test_a_reader_is_called_once_for_what_it_reads_however_busy_the_loop_is(loop, run, pair):
    here, there = pair
    got = []

    async def main():
        loop.add_reader(here, lambda: got.append(here.recv(1)))  # would raise BlockingIOError if called for nothing
        for i in range(300):
            there.send(b"x")
            while len(got) == i:
                await asyncio.sleep(0)
        loop.remove_reader(here)

    run(main())
    assert got == [b"x"] * 300


def test_a_transport_takes_over_what_was_watched(loop, run):
    """As in asyncio: a reader that somebody forgot must not keep a connection from being made."""

    async def main():
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        loop.add_reader(ours, pytest.fail)
        transport, protocol = await loop.connect_accepted_socket(Recorder, ours)
        theirs.send(b"hello")
        assert await protocol.received(5) == b"hello"
        theirs.close()
        transport.close()
        await soon(protocol.lost)

    run(main())


def test_writing_nothing_to_a_lost_connection_is_no_lost_write(loop, run, caplog):
    async def main():
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        transport, protocol = await loop.connect_accepted_socket(Recorder, ours)
        theirs.close()
        transport.abort()
        for _ in range(20):
            transport.write(b"")
        await soon(protocol.lost)

    run(main())
    assert not caplog.records
