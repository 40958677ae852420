"""TLS: connections that end while somebody has paused, and what must not stop them before."""

import asyncio
import logging
import socket
import ssl

import pytest
from loop_support import HandlerCalls, Recorder, closed, listener, reset, soon, turns, until, with_raw_peer
from test_loop_tls import ended, for_client, for_server, tls_pair, warnings_of_the_older_sslproto  # noqa: F401


def shaking_hands(context=None):
    """A listening socket, and the future of the blocking TLS socket that a thread makes of its first connection."""
    loop, listening = asyncio.get_running_loop(), listener()

    def accept():
        with listening:
            sock, _ = listening.accept()
        sock.settimeout(10)  # a failure only
        return (context or for_server()).wrap_socket(sock, server_side=True)

    return listening.getsockname(), loop.run_in_executor(None, accept)


# --------------------------------------------------------------------------------------------------------------- close


@pytest.mark.stock_fails("takes what was not read for data after the goodbye")
def test_who_closes_does_not_wait_because_it_has_not_read(run):
    async def main():
        server, client, theirs = await tls_pair()
        client.transport.pause_reading()
        theirs.transport.write(b"x" * 2_000_000)
        await until(lambda: client.transport.get_read_buffer_size() >= 256 << 10)  # now the socket is not read either
        client.transport.close()
        assert await soon(client.lost) is None
        await soon(theirs.lost)
        await ended(server)

    run(main())


def test_a_large_write_to_a_peer_that_is_gone_is_one_write(loop, run, caplog):
    HandlerCalls(loop)

    async def main():
        address, accepted = shaking_hands()
        _, client = await soon(loop.create_connection(Recorder, *address, ssl=for_client(), server_hostname="localhost"))
        reset(socket.socket(fileno=(await accepted).detach()))
        client.transport.write(b"x" * 8_000_000)  # it has not heard of the end yet
        assert client.transport.get_write_buffer_size() == 0
        await soon(client.lost)

    with caplog.at_level(logging.WARNING, "asyncio"):
        run(main())
    assert caplog.messages == []


# ----------------------------------------------------------------------------------------------------------- handshake


def test_who_pauses_right_after_start_tls_does_not_keep_the_peer_waiting(loop, run):
    async def main():
        address, accepted = shaking_hands()
        _, client = await soon(loop.create_connection(Recorder, *address))
        client.transport = await soon(loop.start_tls(client.transport, client, for_client(), server_hostname="localhost"))
        client.transport.pause_reading()
        peer = await accepted
        client.transport.resume_reading()
        peer.close()
        await soon(client.lost)

    run(main())


def test_a_server_that_pauses_right_after_start_tls_does_not_keep_the_client_waiting(loop, run):
    """In TLS 1.2 the last word is the server's."""

    async def main():
        context = for_client()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        theirs, peer = await with_raw_peer()
        peer.settimeout(10)  # a failure only
        shaken = loop.run_in_executor(None, lambda: context.wrap_socket(peer, server_hostname="localhost"))
        theirs.transport = await soon(loop.start_tls(theirs.transport, theirs, for_server(), server_side=True))
        theirs.transport.pause_reading()
        (await shaken).close()
        theirs.transport.resume_reading()
        await soon(theirs.lost)

    run(main())


@pytest.mark.stock_fails("sends the end of the handshake when it reads", since=(3, 11))
def test_who_pauses_in_connection_made_does_not_keep_the_peer_waiting(loop, run):
    class Pausing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async def main():
        address, accepted = shaking_hands()
        _, client = await soon(loop.create_connection(Pausing, *address, ssl=for_client(), server_hostname="localhost"))
        peer = await accepted
        client.transport.resume_reading()
        peer.close()
        await soon(client.lost)

    run(main())


@pytest.mark.stock_fails("never tells who waits")
def test_start_tls_on_a_connection_that_is_lost_already(loop, run):
    async def main():
        protocol, peer = await with_raw_peer()
        peer.close()
        await soon(protocol.lost)
        with pytest.raises(ConnectionError):
            await soon(loop.start_tls(protocol.transport, protocol, for_client(), server_hostname="localhost"))

    run(main())


@pytest.mark.stock_fails("returns None for a transport")
@pytest.mark.parametrize("when", ["before", "during"])
def test_start_tls_on_a_connection_that_is_closed(loop, run, when):
    async def main():
        protocol, peer = await with_raw_peer()
        if when == "before":
            protocol.transport.abort()
        starting = loop.create_task(loop.start_tls(protocol.transport, protocol, for_client(), server_hostname="localhost"))
        await turns(5)
        protocol.transport.abort()
        with pytest.raises(ConnectionError):
            await soon(starting)
        peer.close()

    run(main())


# ------------------------------------------------------------------------------------------- classes of the application


def test_a_class_derived_from_sslobject_may_keep_what_it_was_given(run):
    kept = []

    class Keeping(ssl.SSLObject):
        def write(self, data):
            kept.append(data)
            return super().write(data)

        def read(self, len=1024, buffer=None):
            if buffer is None:
                return super().read(len)
            kept.append(buffer)
            return super().read(len, buffer)

    async def main():
        context = for_client()
        context.sslobject_class = Keeping
        server, client, theirs = await tls_pair(client_context=context)
        for data in (b"a" * 600_000, b"b" * 70_000):
            client.transport.write(data)
            client.transport.write(data[:10])
        del data
        await theirs.received(670_020)
        theirs.transport.write(b"c" * 600_000)
        await client.received(600_000)
        await closed(client, theirs)
        await ended(server)
        assert all(getattr(each, "obj", each) is not None for each in kept)  # a view of memory that has an owner
        assert bytes(theirs.data) == b"a" * 600_010 + b"b" * 70_010 and bytes(client.data) == b"c" * 600_000

    run(main())


def test_what_was_written_before_the_run_ended_has_been_sent(loop, run):
    address, accepted = [], []

    async def connect():
        address[:], accepting = shaking_hands()
        _, client = await soon(loop.create_connection(Recorder, *address, ssl=for_client(), server_hostname="localhost"))
        accepted.append(await accepting)
        return client

    def last():
        for piece in (b"this ", b"is ", b"the end"):
            client.transport.write(piece)
        loop.stop()

    client = run(connect())
    loop.call_soon(last)
    loop.run_forever()
    with accepted[0] as theirs:
        theirs.setblocking(False)
        assert [theirs.recv(size) for size in (5, 3, 7)] == [b"this ", b"is ", b"the end"]
    run(soon(client.lost))
