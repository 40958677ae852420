"""The loop's sock_* methods."""

import asyncio
import errno
import os
import socket

import pytest
from loop_support import HAS_IPV6, drained, free_port, listener, reset, small_buffers, soon, socketpair, stuffed, tcp_pair, turns


@pytest.fixture
def pair(bill):
    pair = tcp_pair()
    bill.to_close += pair
    return pair


@pytest.fixture
def udp(bill):
    pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for sock in pair:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
    bill.to_close += pair
    return pair


def test_recv_gives_what_is_there(loop, run, pair):
    async def main():
        pair[1].send(b"data")
        assert await soon(loop.sock_recv(pair[0], 2)) == b"da"
        assert await soon(loop.sock_recv(pair[0], 100)) == b"ta"

    run(main())


def test_recv_waits_for_what_comes(loop, run, pair):
    async def main():
        receiving = loop.create_task(loop.sock_recv(pair[0], 100))
        await turns()
        assert not receiving.done()
        pair[1].send(b"late")
        assert await soon(receiving) == b"late"

    run(main())


def test_recv_gives_nothing_at_the_end_and_raises_at_a_reset(loop, run, pair):
    async def main():
        pair[1].close()
        assert await soon(loop.sock_recv(pair[0], 100)) == b""
        ours, peer = tcp_pair()
        reset(peer)
        with pytest.raises(ConnectionResetError):
            await soon(loop.sock_recv(ours, 100))
        ours.close()

    run(main())


@pytest.mark.parametrize("waits", [False, True])
def test_recv_into_fills_the_buffer(loop, run, pair, waits):
    async def main():
        buffer = bytearray(10)
        receiving = None
        if waits:
            receiving = loop.create_task(loop.sock_recv_into(pair[0], memoryview(buffer)[2:]))
            await turns()
        pair[1].send(b"data")
        count = await soon(receiving or loop.sock_recv_into(pair[0], memoryview(buffer)[2:]))
        assert (count, buffer) == (4, b"\0\0data\0\0\0\0")

    run(main())


def test_sendall_sends_everything(loop, run, pair):
    data = bytes(range(256)) * 8192

    async def main():
        small_buffers(*pair)
        sending = loop.create_task(loop.sock_sendall(pair[0], data))
        got = bytearray()
        while len(got) < len(data):
            got += await soon(loop.sock_recv(pair[1], 1 << 20))
        assert got == data and await soon(sending) is None

    run(main())


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_sendall_takes_bytes_like_objects(loop, run, pair, make):
    async def main():
        await soon(loop.sock_sendall(pair[0], make(b"data")))
        await soon(loop.sock_sendall(pair[0], make(b"")))
        assert await soon(loop.sock_recv(pair[1], 10)) == b"data"

    run(main())


def test_sendall_to_a_peer_that_is_gone(loop, run, pair):
    async def main():
        sending = loop.create_task(loop.sock_sendall(pair[0], b"x" * 20_000_000))
        await turns()
        assert not sending.done()
        reset(pair[1])
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await soon(sending)

    run(main())


@pytest.mark.ours_only("stock asyncio sends what the socket takes")
def test_sendall_lets_others_have_their_turn(loop, run, pair):
    data = os.urandom(1 << 22)

    async def main():
        sending = loop.create_task(loop.sock_sendall(pair[0], data))
        got, most = b"", 0
        while len(got) < len(data):
            await asyncio.sleep(0)
            part = drained(pair[1])
            got, most = got + part, max(most, len(part))
        await soon(sending)
        assert got == data and most <= len(data) // 2

    run(main())


@pytest.mark.needs_python(3, 11)
def test_datagrams_by_sendto_and_recvfrom(loop, run, udp):
    async def main():
        assert await soon(loop.sock_sendto(udp[0], b"data", udp[1].getsockname())) == 4
        assert await soon(loop.sock_recvfrom(udp[1], 100)) == (b"data", udp[0].getsockname())
        receiving = loop.create_task(loop.sock_recvfrom(udp[1], 100))
        await turns()
        assert not receiving.done()
        await soon(loop.sock_sendto(udp[0], b"", udp[1].getsockname()))
        assert await soon(receiving) == (b"", udp[0].getsockname())

    run(main())


@pytest.mark.needs_python(3, 11)
def test_recvfrom_into_fills_the_buffer(loop, run, udp):
    async def main():
        buffer = bytearray(10)
        await soon(loop.sock_sendto(udp[0], b"data", udp[1].getsockname()))
        assert await soon(loop.sock_recvfrom_into(udp[1], buffer)) == (4, udp[0].getsockname())
        assert buffer == b"data" + bytes(6)
        receiving = loop.create_task(loop.sock_recvfrom_into(udp[1], buffer, 2))
        await turns()
        await soon(loop.sock_sendto(udp[0], b"xyz", udp[1].getsockname()))
        assert await soon(receiving) == (2, udp[0].getsockname())
        assert buffer == b"xyta" + bytes(6)
        with pytest.raises(ValueError):
            await loop.sock_recvfrom_into(udp[1], buffer, 11)

    run(main())


def test_connect_and_accept(loop, run):
    async def main():
        listening, client = listener(), socket.socket()
        listening.setblocking(False)
        client.setblocking(False)
        accepting = loop.create_task(loop.sock_accept(listening))
        await turns()
        assert await soon(loop.sock_connect(client, listening.getsockname())) is None
        accepted, address = await soon(accepting)
        assert address == client.getsockname() and accepted.gettimeout() == 0
        await loop.sock_sendall(client, b"hi")
        assert await soon(loop.sock_recv(accepted, 10)) == b"hi"
        for sock in (accepted, client, listening):
            sock.close()

    run(main())


def test_connect_resolves_names(loop, run):
    async def main():
        with listener() as listening, socket.socket() as client:
            client.setblocking(False)
            await soon(loop.sock_connect(client, ("localhost", listening.getsockname()[1])))
            assert client.getpeername() == listening.getsockname()

    run(main())


@pytest.mark.skipif(not HAS_IPV6, reason="no ::1 here")
def test_connect_to_ipv6(loop, run):
    async def main():
        with socket.socket(socket.AF_INET6) as listening, socket.socket(socket.AF_INET6) as client:
            listening.bind(("::1", 0))
            listening.listen()
            client.setblocking(False)
            await soon(loop.sock_connect(client, listening.getsockname()))
            assert client.getpeername()[:2] == listening.getsockname()[:2]

    run(main())


def test_connect_to_a_unix_socket(loop, run):
    import os
    import tempfile

    async def main():
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening, \
                socket.socket(socket.AF_UNIX) as client:
            listening.bind(os.path.join(folder, "s"))
            listening.listen()
            client.setblocking(False)
            await soon(loop.sock_connect(client, listening.getsockname()))

    run(main())


def test_nobody_listens(loop, run):
    async def main():
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError) as caught:
                await soon(loop.sock_connect(client, ("127.0.0.1", free_port())))
            assert caught.value.errno == errno.ECONNREFUSED

    run(main())


CALLS = {
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 10),
    "sock_recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(10)),
    "sock_sendall": lambda loop, sock: loop.sock_sendall(sock, b"x" * 20_000_000),
    "sock_accept": lambda loop, sock: loop.sock_accept(sock),
    "sock_connect": lambda loop, sock: loop.sock_connect(sock, ("127.0.0.1", 1)),
}
NEWER_CALLS = {
    "sock_recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 10),
    "sock_recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(10)),
    "sock_sendto": lambda loop, sock: loop.sock_sendto(sock, b"x", ("127.0.0.1", 1)),
}
ALL = [pytest.param(call, id=name) for name, call in CALLS.items()] + \
      [pytest.param(call, id=name, marks=pytest.mark.needs_python(3, 11)) for name, call in NEWER_CALLS.items()]


@pytest.mark.parametrize("call", ALL)
def test_a_blocking_socket_is_refused_in_debug_mode(loop, run, call):
    """Outside of it the check is left out by stock asyncio, for speed."""

    async def main():
        with socket.socket() as sock:
            with pytest.raises(ValueError, match="must be non-blocking"):
                await call(loop, sock)

    loop.set_debug(True)
    loop.slow_callback_duration = 10
    run(main())


@pytest.mark.parametrize("call", ALL)
def test_a_closed_socket_is_an_error(loop, run, call):
    async def main():
        sock = socket.socket()
        sock.setblocking(False)
        sock.close()
        with pytest.raises((OSError, ValueError)):
            await soon(call(loop, sock))

    run(main())


@pytest.mark.parametrize("name", ["sock_recv", "sock_recv_into", "sock_sendall"])
def test_waiting_on_a_stream_can_be_cancelled(loop, run, pair, name):
    async def main():
        waiting = loop.create_task(CALLS[name](loop, pair[0]))
        await turns()
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        # Nothing watches the socket any more, and nothing is lost.
        assert loop.remove_reader(pair[0]) is False and loop.remove_writer(pair[0]) is False
        pair[1].send(b"after")
        assert await soon(loop.sock_recv(pair[0], 10)) == b"after"

    run(main())


@pytest.mark.needs_python(3, 11)
@pytest.mark.parametrize("name", ["sock_recvfrom", "sock_recvfrom_into"])
def test_waiting_for_a_datagram_can_be_cancelled(loop, run, udp, name):
    async def main():
        waiting = loop.create_task(NEWER_CALLS[name](loop, udp[0]))
        await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await loop.sock_sendto(udp[1], b"after", udp[0].getsockname())
        assert (await soon(loop.sock_recvfrom(udp[0], 10)))[0] == b"after"

    run(main())


def test_waiting_to_accept_can_be_cancelled(loop, run):
    async def main():
        with listener() as listening:
            listening.setblocking(False)
            waiting = loop.create_task(loop.sock_accept(listening))
            await turns()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with socket.create_connection(listening.getsockname()):
                accepted, _ = await soon(loop.sock_accept(listening))
                accepted.close()

    run(main())


def test_waiting_to_connect_can_be_cancelled(loop, run):
    async def main():
        full, fillers = listener(0), []
        for _ in range(20):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        client = socket.socket()
        client.setblocking(False)
        waiting = loop.create_task(loop.sock_connect(client, full.getsockname()))
        await turns()
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert loop.remove_writer(client) is False
        for sock in (client, full, *fillers):
            sock.close()

    run(main())


def test_cancelled_by_a_timeout_nothing_is_read(loop, run, pair):
    """What arrives after the timeout is still there for the next."""

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.sock_recv(pair[0], 10), 0.001)
        pair[1].send(b"kept")
        assert await soon(loop.sock_recv(pair[0], 10)) == b"kept"

    run(main())


def test_reading_and_writing_at_the_same_time(loop, run, pair):
    async def main():
        count = stuffed(pair[0])
        sending = loop.create_task(loop.sock_sendall(pair[0], b"y"))
        receiving = loop.create_task(loop.sock_recv(pair[0], 10))
        await turns()
        assert not sending.done() and not receiving.done()
        pair[1].send(b"x")
        assert await soon(receiving) == b"x"
        got = 0
        while got < count + 1:
            got += len(await soon(loop.sock_recv(pair[1], 1 << 20)))
        await soon(sending)

    run(main())


def test_many_round_trips(loop, run):
    async def main():
        one, two = socketpair()

        async def echo():
            while data := await loop.sock_recv(two, 100):
                await loop.sock_sendall(two, data)

        echoing = loop.create_task(echo())
        for i in range(300):
            await loop.sock_sendall(one, b"%d" % i)
            assert await soon(loop.sock_recv(one, 100)) == b"%d" % i
        one.close()
        await soon(echoing)
        two.close()

    run(main())


def test_the_socket_of_a_transport_is_refused(loop, run):
    from loop_support import closed, with_raw_peer

    async def main():
        protocol, peer = await with_raw_peer()
        fd = protocol.transport.get_extra_info("socket").fileno()
        twin = socket.socket(fileno=fd)
        try:
            with pytest.raises(RuntimeError, match="used by transport"):
                await soon(loop.sock_recv(twin, 10))
        finally:
            twin.detach()
        await closed(protocol)
        assert drained(peer) == b""
        peer.close()

    run(main())
