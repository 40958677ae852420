"""Stream transports: reading, pausing, changing protocols, the end of the peer, connection_lost, extra info."""

import asyncio
import errno
import socket

import pytest
from loop_support import (BufferedRecorder, HandlerCalls, Recorder, closed, connected, drained, reset, soon, stuffed, tcp_pair,
                          turns, with_raw_peer)  # fmt: skip


def test_connection_made_comes_first_and_once(run):
    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        peer.send(b"already here")
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        assert protocol.calls[0] == "made" and protocol.transport is transport
        await protocol.received(12)
        peer.close()
        await soon(protocol.lost)
        assert protocol.calls == ["made", "data", "eof", "lost"]

    run(main())


def test_transports_are_asyncios(run):
    async def main():
        protocol, peer = await with_raw_peer()
        assert isinstance(protocol.transport, asyncio.Transport)
        assert isinstance(protocol.transport, (asyncio.ReadTransport, asyncio.WriteTransport))
        await closed(protocol)
        peer.close()

    run(main())


def test_a_paused_transport_reads_nothing(run):
    async def main():
        loop = asyncio.get_running_loop()
        protocol, peer = await with_raw_peer()
        transport = protocol.transport
        assert transport.is_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        await loop.sock_sendall(peer, b"waits")
        await asyncio.sleep(0.005)  # sleep-ok: that nothing happens is the subject
        assert protocol.calls == ["made"]
        transport.resume_reading()
        assert transport.is_reading()
        assert await protocol.received(5) == b"waits"
        await closed(protocol)
        peer.close()

    run(main())


@pytest.mark.stock_fails("a pause inside connection_made is lost", until=(3, 11))
def test_pausing_before_the_first_round_holds_everything_back(run):
    class Pauses(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        peer.send(b"early")
        transport, protocol = await loop.create_connection(Pauses, sock=ours)
        await asyncio.sleep(0.005)  # sleep-ok: that nothing happens is the subject
        assert protocol.calls == ["made"] and not transport.is_reading()
        transport.resume_reading()
        assert await protocol.received(5) == b"early"
        await closed(protocol)
        peer.close()

    run(main())


def test_pausing_and_resuming_twice_is_harmless(run):
    async def main():
        loop = asyncio.get_running_loop()
        protocol, peer = await with_raw_peer()
        transport = protocol.transport
        transport.resume_reading()
        transport.pause_reading()
        transport.pause_reading()
        transport.resume_reading()
        transport.resume_reading()
        await loop.sock_sendall(peer, b"x")
        assert await protocol.received(1) == b"x"
        transport.pause_reading()
        transport.close()
        assert not transport.is_reading()
        transport.pause_reading()
        transport.resume_reading()
        assert not transport.is_reading()
        await soon(protocol.lost)
        peer.close()

    run(main())


def test_a_protocol_that_pauses_inside_data_received_gets_no_more(run):
    class Pauses(Recorder):
        count = 0

        def data_received(self, data):
            super().data_received(data)
            self.count += 1
            self.transport.pause_reading()

    async def main():
        loop = asyncio.get_running_loop()
        protocol, peer = await with_raw_peer(Pauses)
        sending = loop.create_task(loop.sock_sendall(peer, b"x" * 2_000_000))
        for i in range(1, 4):
            await protocol.received(len(protocol.data) + 1)
            await turns(3)
            assert protocol.count == i
            protocol.transport.resume_reading()
        protocol.transport.abort()
        await soon(protocol.lost)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        peer.close()

    run(main())


def test_the_end_of_the_peer_is_not_seen_while_paused(run):
    async def main():
        protocol, peer = await with_raw_peer()
        protocol.transport.pause_reading()
        peer.close()
        await asyncio.sleep(0.005)  # sleep-ok: that nothing happens is the subject
        assert protocol.calls == ["made"]
        protocol.transport.resume_reading()
        assert await soon(protocol.lost) is None
        assert protocol.calls == ["made", "eof", "lost"]

    run(main())


# ------------------------------------------------------------------------------------------------- changing protocols


def test_the_protocol_can_be_exchanged(run):
    async def main():
        loop = asyncio.get_running_loop()
        first, peer = await with_raw_peer()
        transport = first.transport
        assert transport.get_protocol() is first
        await loop.sock_sendall(peer, b"one")
        await first.received(3)
        second = Recorder()
        second.connection_made(transport)
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        await loop.sock_sendall(peer, b"two")
        assert await second.received(3) == b"two"
        assert first.data == b"one"
        transport.close()
        await soon(second.lost)
        assert not first.lost.done()
        peer.close()

    run(main())


@pytest.mark.parametrize("order", ["stream to buffered", "buffered to stream"])
def test_the_kind_of_protocol_can_be_exchanged_inside_a_callback(run, order):
    """As start_tls and HTTP upgrades do it: from data_received or buffer_updated itself."""

    class Stream(Recorder):
        def data_received(self, data):
            super().data_received(data)
            swap(self)

    class Buffered(BufferedRecorder):
        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            swap(self)

    def swap(protocol):
        if protocol is first:
            second.connection_made(protocol.transport)
            protocol.transport.set_protocol(second)

    async def main():
        nonlocal first, second
        loop = asyncio.get_running_loop()
        first, second = (Stream(), Buffered()) if order.startswith("stream") else (Buffered(), Stream())
        _, peer = await with_raw_peer(lambda: first)
        await loop.sock_sendall(peer, b"one")
        assert await first.received(3) == b"one"
        await loop.sock_sendall(peer, b"two")
        assert await second.received(3) == b"two"
        assert first.data == b"one"
        await closed(second)
        peer.close()

    first = second = None
    run(main())


# ----------------------------------------------------------------------------------------------------------- the end


def test_eof_closes_the_transport_unless_the_protocol_objects(run):
    async def main():
        for keep in (None, False):
            protocol, peer = await with_raw_peer(lambda: Recorder(keep_open=keep))
            peer.shutdown(socket.SHUT_WR)
            assert await soon(protocol.lost) is None
            assert protocol.calls == ["made", "eof", "lost"] and protocol.transport.is_closing()
            peer.close()

    run(main())


def test_a_transport_kept_open_after_eof_can_still_write(run):
    async def main():
        loop = asyncio.get_running_loop()
        protocol, peer = await with_raw_peer(lambda: Recorder(keep_open=True))
        peer.shutdown(socket.SHUT_WR)
        await soon(protocol.eof)
        await turns()
        assert not protocol.transport.is_closing()
        protocol.transport.write(b"still here")
        assert await soon(loop.sock_recv(peer, 100)) == b"still here"
        await closed(protocol)
        assert protocol.calls == ["made", "eof", "lost"]
        peer.close()

    run(main())


def test_eof_is_reported_once_even_when_reading_is_paused_and_resumed_after_it(run):
    async def main():
        protocol, peer = await with_raw_peer(lambda: Recorder(keep_open=True))
        peer.shutdown(socket.SHUT_WR)
        await soon(protocol.eof)
        await turns()
        await closed(protocol)
        assert protocol.calls == ["made", "eof", "lost"]
        peer.close()

    run(main())


def test_data_before_the_end_arrives_before_it(run):
    async def main():
        protocol, peer = await with_raw_peer()
        count = stuffed(peer)
        peer.close()
        await soon(protocol.lost)
        assert len(protocol.data) == count and protocol.calls == ["made", "data", "eof", "lost"]

    run(main())


def test_closing_from_inside_data_received_reads_no_more(run):
    class Closes(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.first = len(self.data)
            self.transport.close()

    async def main():
        protocol, peer = await with_raw_peer(Closes)
        stuffed(peer)
        assert await soon(protocol.lost) is None
        assert len(protocol.data) == protocol.first and protocol.calls == ["made", "data", "lost"]
        peer.close()

    run(main())


def test_connection_lost_is_called_after_close_has_returned(run):
    async def main():
        protocol, peer = await with_raw_peer()
        protocol.transport.close()
        assert protocol.calls == ["made"]
        await soon(protocol.lost)
        peer.close()

    run(main())


def test_a_reset_is_connection_losts_exception(run):
    async def main():
        protocol, peer = await with_raw_peer()
        reset(peer)
        error = await soon(protocol.lost)
        assert isinstance(error, ConnectionResetError) and error.errno == errno.ECONNRESET
        assert protocol.calls == ["made", "lost"] and protocol.transport.is_closing()

    run(main())


def test_a_reset_while_writes_wait_is_reported_once(run):
    async def main():
        protocol, peer = await with_raw_peer()
        protocol.transport.write(b"x" * 5_000_000)
        assert protocol.transport.get_write_buffer_size() > 0
        reset(peer)
        assert isinstance(await soon(protocol.lost), (ConnectionResetError, BrokenPipeError))
        await turns()
        assert protocol.calls.count("lost") == 1 and protocol.transport.get_write_buffer_size() == 0

    run(main())


def test_writing_to_a_peer_that_is_gone_ends_with_an_error(run):
    async def main():
        protocol, peer = await with_raw_peer(lambda: Recorder(keep_open=True))
        protocol.transport.pause_reading()
        reset(peer)
        while not protocol.lost.done():
            protocol.transport.write(b"x" * 1000)
            await turns(1)
            if len(protocol.calls) > 100:
                break
        assert isinstance(await soon(protocol.lost), (ConnectionResetError, BrokenPipeError))

    run(main())


def test_writing_to_a_unix_socket_that_is_gone_ends_with_a_broken_pipe(run):
    async def main():
        protocol, peer = await with_raw_peer(tcp=False)
        protocol.transport.pause_reading()
        peer.close()
        protocol.transport.write(b"x" * 100)
        assert isinstance(await soon(protocol.lost), BrokenPipeError)

    run(main())


# ------------------------------------------------------------------------------------------- methods of protocols that fail


class Fault(Exception):
    pass


def failing(method, kind=Recorder):
    class Fails(kind):
        pass

    def fails(self, *args):
        getattr(kind, method)(self, *args)
        raise Fault(method)

    setattr(Fails, method, fails)
    return Fails


def test_data_received_that_fails_ends_the_connection_with_the_error(loop, run):
    calls = HandlerCalls(loop)

    async def main():
        protocol, peer = await with_raw_peer(failing("data_received"))
        peer.send(b"x")
        error = await soon(protocol.lost)
        assert isinstance(error, Fault) and protocol.calls == ["made", "data", "lost"]
        peer.close()

    run(main())
    (context,) = calls
    assert isinstance(context["exception"], Fault) and "data_received" in context["message"]


def test_eof_received_that_fails_ends_the_connection_with_the_error(loop, run):
    calls = HandlerCalls(loop)

    async def main():
        protocol, peer = await with_raw_peer(failing("eof_received"))
        peer.shutdown(socket.SHUT_WR)
        error = await soon(protocol.lost)
        assert isinstance(error, Fault)
        peer.close()

    run(main())
    (context,) = calls
    assert isinstance(context["exception"], Fault) and "eof_received" in context["message"]


def test_connection_lost_that_fails_goes_to_the_handler_and_the_socket_is_closed(loop, run):
    calls = HandlerCalls(loop)

    async def main():
        protocol, peer = await with_raw_peer(failing("connection_lost"))
        protocol.transport.close()
        await soon(protocol.lost)
        await turns()
        assert await soon(loop.sock_recv(peer, 1)) == b""
        peer.close()

    run(main())
    (context,) = calls
    assert isinstance(context["exception"], Fault)


def test_connection_made_that_fails_goes_to_the_handler(loop, run):
    calls = HandlerCalls(loop)

    async def main():
        ours, peer = tcp_pair()
        kind = failing("connection_made")
        made = []

        def make():
            made.append(kind())
            return made[0]

        transport, protocol = await soon(loop.create_connection(make, sock=ours))
        await turns()
        assert not protocol.lost.done()
        transport.abort()
        await soon(protocol.lost)
        peer.close()

    run(main())
    assert [type(context["exception"]) for context in calls] == [Fault]


def test_a_protocol_factory_that_fails_raises_from_create_connection(run):
    def factory():
        raise Fault("factory")

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        with pytest.raises(Fault):
            await loop.create_connection(factory, sock=ours)
        ours.close()
        peer.close()

    run(main())


# -------------------------------------------------------------------------------------------------------- extra info


def test_extra_info_of_tcp(run):
    async def main():
        ours, peer = tcp_pair()
        name, peername = ours.getsockname(), ours.getpeername()
        transport, protocol = await asyncio.get_running_loop().create_connection(Recorder, sock=ours)
        assert transport.get_extra_info("sockname") == name
        assert transport.get_extra_info("peername") == peername
        sock = transport.get_extra_info("socket")
        assert sock.getsockname() == name and sock.family == socket.AF_INET and sock.type == socket.SOCK_STREAM
        assert transport.get_extra_info("nothing") is None
        assert transport.get_extra_info("nothing", "default") == "default"
        await closed(protocol)
        assert transport.get_extra_info("peername") == peername  # kept for log lines
        peer.close()

    run(main())


def test_the_socket_of_extra_info_has_options_but_no_reads(run):
    """It stands for the transport's socket: options can be read and set."""

    async def main():
        protocol, peer = await with_raw_peer()
        sock = protocol.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.fileno() >= 0 and sock.gettimeout() == 0
        assert "socket" in repr(sock).lower()
        await closed(protocol)
        peer.close()

    run(main())


def test_extra_info_of_a_unix_pair(run):
    async def main():
        protocol, peer = await with_raw_peer(tcp=False)
        transport = protocol.transport
        assert transport.get_extra_info("socket").family == socket.AF_UNIX
        assert transport.get_extra_info("sockname") == "" and not transport.get_extra_info("peername")
        await closed(protocol)
        peer.close()

    run(main())


def test_the_repr_of_a_transport_tells_its_state(run):
    async def main():
        protocol, peer = await with_raw_peer()
        assert "closed" not in repr(protocol.transport) and "closing" not in repr(protocol.transport)
        protocol.transport.close()
        assert "clos" in repr(protocol.transport)
        await soon(protocol.lost)
        assert "closed" in repr(protocol.transport)
        peer.close()

    run(main())


# -------------------------------------------------------------------------------------------------- buffered protocols


def test_a_buffered_protocol_gets_everything_through_its_buffer(run):
    data = bytes(range(256)) * 1000

    async def main():
        one, two = await connected(lambda: BufferedRecorder(1000))
        two.transport.write(data)
        assert await one.received(len(data)) == data
        two.transport.write_eof()
        await soon(one.lost)
        assert one.calls == ["made", "data", "eof", "lost"]
        assert all(isinstance(hint, int) for hint in one.hints)
        await closed(two)

    run(main())


def test_a_buffer_may_be_any_writable_buffer(run):
    async def main():
        protocol, peer = await with_raw_peer(BufferedRecorder)
        protocol.buffer = memoryview(bytearray(10))
        peer.send(b"0123456789abcde")
        assert await protocol.received(15) == b"0123456789abcde"
        await closed(protocol)
        peer.close()

    run(main())


@pytest.mark.parametrize("buffer, message", [(bytearray(), "empty buffer"), (b"readonly", None), ("text", None), (None, None)])
def test_get_buffer_that_gives_no_buffer_ends_the_connection(loop, run, buffer, message):
    calls = HandlerCalls(loop)

    async def main():
        protocol, peer = await with_raw_peer(BufferedRecorder)
        protocol.buffer = buffer
        peer.send(b"x")
        error = await soon(protocol.lost)
        assert isinstance(error, (RuntimeError, TypeError, BufferError, ValueError)), error
        if message:
            assert isinstance(error, RuntimeError) and message in str(error)
        peer.close()

    run(main())
    assert len(calls) == 1


@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated", "eof_received"])
def test_a_method_of_a_buffered_protocol_that_fails_ends_the_connection(loop, run, method):
    calls = HandlerCalls(loop)

    async def main():
        protocol, peer = await with_raw_peer(failing(method, BufferedRecorder))
        if method != "eof_received":
            peer.send(b"x")
        else:
            peer.shutdown(socket.SHUT_WR)
        assert isinstance(await soon(protocol.lost), Fault)
        peer.close()

    run(main())
    (context,) = calls
    assert isinstance(context["exception"], Fault) and method in context["message"]


def test_a_buffer_is_let_go_between_reads(run):
    """The protocol may resize its bytearray after buffer_updated: no export of it is kept."""

    async def main():
        loop = asyncio.get_running_loop()
        protocol, peer = await with_raw_peer(BufferedRecorder)
        await loop.sock_sendall(peer, b"x")
        await protocol.received(1)
        protocol.buffer.extend(b"more room")
        await loop.sock_sendall(peer, b"y")
        await protocol.received(2)
        protocol.buffer.clear()
        protocol.buffer.extend(bytes(10))
        await closed(protocol)
        peer.close()

    run(main())


def test_the_bare_reads_of_a_peer_see_nothing_twice(run):
    async def main():
        protocol, peer = await with_raw_peer()
        protocol.transport.write(b"abc")
        await turns()
        assert drained(peer) == b"abc" and drained(peer) == b""
        await closed(protocol)
        peer.close()

    run(main())
