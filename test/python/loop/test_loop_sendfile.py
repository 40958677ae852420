"""loop.sendfile, loop.sock_sendfile: by the kernel and by reading and writing."""

import asyncio
import io
import os
import socket
import ssl

import pytest
from loop_support import HERE, Recorder, closed, connected, soon, stuffed, tcp_pair, turns, until, with_raw_peer

DATA = os.urandom(300_000)


@pytest.fixture
def file(tmp_path, bill):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    opened = open(path, "rb")
    bill.to_close.append(opened)
    return opened


@pytest.fixture
def pair(bill):
    pair = tcp_pair()
    bill.to_close += pair
    return pair


async def collect(loop, sock, count):
    data = bytearray()
    while len(data) < count:
        chunk = await soon(loop.sock_recv(sock, 1 << 20))
        assert chunk, f"end after {len(data)} of {count} bytes"
        data += chunk
    return bytes(data)


PARTS = [({}, DATA), ({"offset": 1000}, DATA[1000:]), ({"count": 500}, DATA[:500]), ({"offset": 7, "count": 100_000}, DATA[7:100_007]),
         ({"offset": 299_990, "count": 500}, DATA[299_990:]), ({"offset": 400_000}, b"")]


@pytest.mark.parametrize("options, expected", PARTS, ids=[repr(options) for options, _ in PARTS])
def test_a_part_of_a_file_through_a_socket(loop, run, file, pair, options, expected):
    async def main():
        sending = loop.create_task(loop.sock_sendfile(pair[0], file, **options))
        assert await collect(loop, pair[1], len(expected)) == expected
        assert await soon(sending) == len(expected)
        # As with socket.sendfile the position is behind what was sent.
        if expected:
            assert file.tell() == options.get("offset", 0) + len(expected)

    run(main())


@pytest.mark.parametrize("options, expected", PARTS, ids=[repr(options) for options, _ in PARTS])
def test_a_part_of_a_file_through_a_transport(loop, run, file, options, expected):
    async def main():
        one, two = await connected()
        one.transport.write(b"before ")
        assert await soon(loop.sendfile(one.transport, file, **options)) == len(expected)
        one.transport.write(b" after")
        expected_all = b"before " + expected + b" after"
        assert await two.received(len(expected_all)) == expected_all
        if expected:
            assert file.tell() == options.get("offset", 0) + len(expected)
        await closed(one, two)

    run(main())


def test_sendfile_waits_for_what_was_written_before(loop, run, file):
    async def main():
        one, two = await connected()
        one.transport.write(b"x" * 5_000_000)
        assert one.transport.get_write_buffer_size() > 0
        assert await soon(loop.sendfile(one.transport, file)) == len(DATA)
        assert await two.received(5_000_000 + len(DATA)) == b"x" * 5_000_000 + DATA
        await closed(one, two)

    run(main())


def test_input_goes_on_while_a_file_is_sent(loop, run, file):
    async def main():
        one, two = await connected()
        two.transport.write(b"meanwhile")
        await soon(loop.sendfile(one.transport, file))
        assert await one.received(9) == b"meanwhile"
        two.transport.write(b" afterwards")
        assert await one.received(20) == b"meanwhile afterwards"
        await closed(one, two)

    run(main())


class InMemory(io.BytesIO):
    """A file without a descriptor: the kernel cannot send it."""


@pytest.mark.parametrize("how", ["sock_sendfile", "sendfile"])
def test_a_file_without_a_descriptor_falls_back(loop, run, pair, how):
    async def main():
        if how == "sock_sendfile":
            sending = loop.create_task(loop.sock_sendfile(pair[0], InMemory(DATA), 10, 200_000))
            assert await collect(loop, pair[1], 200_000) == DATA[10:200_010]
            assert await soon(sending) == 200_000
        else:
            one, two = await connected()
            assert await soon(loop.sendfile(one.transport, InMemory(DATA), 10, 200_000)) == 200_000
            assert await two.received(200_000) == DATA[10:200_010]
            await closed(one, two)

    run(main())


@pytest.mark.parametrize("how", ["sock_sendfile", "sendfile"])
def test_without_fallback_it_is_an_error(loop, run, pair, how):
    async def main():
        if how == "sock_sendfile":
            with pytest.raises(asyncio.SendfileNotAvailableError):
                await loop.sock_sendfile(pair[0], InMemory(DATA), fallback=False)
        else:
            one, two = await connected()
            with pytest.raises((asyncio.SendfileNotAvailableError, RuntimeError)):
                await loop.sendfile(one.transport, InMemory(DATA), fallback=False)
            one.transport.write(b"alive")
            assert await two.received(5) == b"alive"
            await closed(one, two)

    run(main())


def test_over_tls(loop, run, file):
    async def main():
        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_context.load_cert_chain(os.path.join(HERE, "certs", "cert.pem"), os.path.join(HERE, "certs", "key.pem"))
        client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client_context.load_verify_locations(os.path.join(HERE, "certs", "cert.pem"))
        accepted = loop.create_future()

        class Accepts(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                accepted.set_result(self)

        server = await loop.create_server(Accepts, "127.0.0.1", 0, ssl=server_context)
        _, client = await soon(loop.create_connection(Recorder, *server.sockets[0].getsockname(), ssl=client_context,
                                                      server_hostname="localhost"))
        theirs = await soon(accepted)
        with pytest.raises(RuntimeError, match="fallback"):
            await loop.sendfile(client.transport, file, fallback=False)
        assert await soon(loop.sendfile(client.transport, file, 5)) == len(DATA) - 5
        assert await theirs.received(len(DATA) - 5) == DATA[5:]
        await closed(client, theirs)
        server.close()
        await soon(server.wait_closed())

    run(main())


@pytest.mark.parametrize("options, error", [({"offset": -1}, ValueError), ({"offset": "1"}, TypeError), ({"count": 0}, ValueError),
                                            ({"count": -5}, ValueError), ({"count": "5"}, TypeError)], ids=repr)
def test_parts_that_make_no_sense(loop, run, file, pair, options, error):
    async def main():
        with pytest.raises(error):
            await loop.sock_sendfile(pair[0], file, **options)

    run(main())


def test_a_text_file_is_refused(loop, run, pair, tmp_path):
    (tmp_path / "text").write_text("text")

    async def main():
        with open(tmp_path / "text") as text:
            with pytest.raises(ValueError, match="binary"):
                await loop.sock_sendfile(pair[0], text)

    run(main())


def test_only_stream_sockets(loop, run, file):
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            with pytest.raises(ValueError):
                await loop.sock_sendfile(sock, file)

    run(main())


def test_a_transport_that_is_closing_is_refused(loop, run, file):
    async def main():
        protocol, peer = await with_raw_peer()
        protocol.transport.close()
        with pytest.raises(RuntimeError, match="closing"):
            await loop.sendfile(protocol.transport, file)
        await soon(protocol.lost)
        peer.close()

    run(main())


def test_a_transport_that_cannot_is_refused(loop, run, file):
    class Transport(asyncio.Transport):
        def is_closing(self):
            return False

    async def main():
        with pytest.raises(RuntimeError, match="not supported"):
            await loop.sendfile(Transport(), file)

    run(main())


def test_it_can_be_cancelled(loop, run, tmp_path, bill):
    path = tmp_path / "big"
    with open(path, "wb") as big:
        big.truncate(1 << 30)
    opened = open(path, "rb")
    bill.to_close.append(opened)

    async def main():
        ours, peer = tcp_pair()
        sending = loop.create_task(loop.sock_sendfile(ours, opened))
        await until(lambda: len(peer.recv(1, socket.MSG_PEEK)) if _readable(peer) else 0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        ours.close()
        peer.close()

    run(main())


def _readable(sock):
    import select

    return select.select([sock], [], [], 0)[0]


def test_a_peer_that_goes_away(loop, run, tmp_path, bill):
    path = tmp_path / "big"
    with open(path, "wb") as big:
        big.truncate(1 << 30)
    opened = open(path, "rb")
    bill.to_close.append(opened)

    async def main():
        ours, peer = tcp_pair()
        sending = loop.create_task(loop.sock_sendfile(ours, opened))
        await until(lambda: _readable(peer))
        peer.close()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await soon(sending)
        ours.close()

    run(main())


@pytest.mark.ours_only("asyncio waits for ever")
@pytest.mark.parametrize("how", ["the socket", "close", "abort"])
def test_whoever_sends_a_file_is_told_that_its_own_side_was_closed(loop, run, tmp_path, bill, how):
    path = tmp_path / "big"
    with open(path, "wb") as big:
        big.truncate(1 << 30)
    opened = open(path, "rb")
    bill.to_close.append(opened)

    async def main():
        if how == "the socket":
            ours, peer = tcp_pair()
            sending, close = loop.create_task(loop.sock_sendfile(ours, opened)), ours.close
        else:
            protocol, peer = await with_raw_peer()
            sending, close = loop.create_task(loop.sendfile(protocol.transport, opened)), getattr(protocol.transport, how)
        await until(lambda: _readable(peer))
        close()
        with pytest.raises(OSError):
            await soon(sending)
        assert 0 < opened.tell() < 1 << 30
        if how != "the socket":
            await soon(protocol.lost)
        peer.close()

    run(main())


@pytest.mark.ours_only("asyncio waits for ever")
def test_a_socket_that_is_closed_before_anything_was_sent(loop, run, file, pair):
    async def main():
        stuffed(pair[0])
        sending = loop.create_task(loop.sock_sendfile(pair[0], file))
        await turns()
        pair[0].close()
        with pytest.raises(OSError):
            await soon(sending)

    run(main())


def test_an_empty_file(loop, run, tmp_path, pair):
    (tmp_path / "empty").touch()

    async def main():
        with open(tmp_path / "empty", "rb") as empty:
            assert await soon(loop.sock_sendfile(pair[0], empty)) == 0

    run(main())
