"""create_connection and connect_accepted_socket."""

import asyncio
import contextlib
import errno
import os
import socket
import sys

import pytest
from loop_support import HAS_IPV6, Recorder, closed, connected, free_port, listener, socketpair, soon, tcp_pair, turns


async def echo_server(**options):
    class Echo(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.write(data)

    return await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, **options)


def address_of(server):
    return server.sockets[0].getsockname()[:2]


async def ended(server):
    server.close()
    await soon(server.wait_closed())


async def says_hello(protocol):
    protocol.transport.write(b"hello")
    assert await protocol.received(5) == b"hello"
    await closed(protocol)


def test_by_address(run):
    async def main():
        server = await echo_server()
        transport, protocol = await soon(asyncio.get_running_loop().create_connection(Recorder, *address_of(server)))
        assert transport.get_extra_info("peername") == address_of(server)
        await says_hello(protocol)
        await ended(server)

    run(main())


def test_by_name(run):
    async def main():
        server = await echo_server()
        _, protocol = await soon(asyncio.get_running_loop().create_connection(Recorder, "localhost", address_of(server)[1]))
        await says_hello(protocol)
        await ended(server)

    run(main())


@pytest.mark.parametrize("port_type", [int, str])
def test_the_port_may_be_text(run, port_type):
    async def main():
        server = await echo_server()
        host, port = address_of(server)
        _, protocol = await soon(asyncio.get_running_loop().create_connection(Recorder, host, port_type(port)))
        await says_hello(protocol)
        await ended(server)

    run(main())


def test_from_a_local_address(run):
    async def main():
        server = await echo_server()
        port = free_port()
        transport, protocol = await soon(
            asyncio.get_running_loop().create_connection(Recorder, *address_of(server), local_addr=("127.0.0.1", port)))
        assert transport.get_extra_info("sockname") == ("127.0.0.1", port)
        await says_hello(protocol)
        await ended(server)

    run(main())


def test_a_local_address_that_is_taken_is_an_os_error(run):
    async def main():
        server = await echo_server()
        with listener() as taken:
            with pytest.raises(OSError) as caught:
                await soon(asyncio.get_running_loop().create_connection(
                    Recorder, *address_of(server), local_addr=taken.getsockname()))
            assert caught.value.errno == errno.EADDRINUSE and "bind" in str(caught.value)
        await ended(server)

    run(main())


@pytest.mark.parametrize("happy", [None, 0.01, 10])
def test_nobody_listens(run, happy):
    async def main():
        port = free_port()
        with pytest.raises(ConnectionRefusedError) as caught:
            await soon(asyncio.get_running_loop().create_connection(Recorder, "127.0.0.1", port, happy_eyeballs_delay=happy))
        assert caught.value.errno == errno.ECONNREFUSED and str(port) in str(caught.value)

    run(main())


def answers(monkeypatch, loop, addresses):
    """The loop's resolver gives these addresses for the name `several`, without asking anybody."""
    real = socket.getaddrinfo

    def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
        if host != "several":
            return real(host, port, family, type, proto, flags)
        return [(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "",
                 (address, at) + ((0, 0) if ":" in address else ())) for address, at in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def of_loop(host, port, *, family=0, type=0, proto=0, flags=0):
        return getaddrinfo(host, port, family, type, proto, flags)

    monkeypatch.setattr(type(loop), "getaddrinfo", lambda self, *a, **k: of_loop(*a, **k))


@pytest.mark.parametrize("happy", [None, 0.01, 10])
def test_the_next_address_is_tried_when_one_refuses(loop, run, monkeypatch, happy):
    async def main():
        server = await echo_server()
        answers(monkeypatch, loop, [("127.0.0.1", free_port()), ("127.0.0.2", free_port()), address_of(server)])
        _, protocol = await soon(loop.create_connection(Recorder, "several", 1, happy_eyeballs_delay=happy))
        await says_hello(protocol)
        await ended(server)

    run(main())


@pytest.mark.parametrize("happy", [None, 0.01])
def test_all_addresses_refuse(loop, run, monkeypatch, happy):
    ports = [free_port(), free_port()]
    answers(monkeypatch, loop, [("127.0.0.1", port) for port in ports])

    async def main():
        with pytest.raises(OSError) as caught:
            await soon(loop.create_connection(Recorder, "several", 1, happy_eyeballs_delay=happy))
        assert all(str(port) in str(caught.value) for port in ports)

    run(main())


@pytest.mark.needs_python(3, 12)
@pytest.mark.parametrize("happy", [None, 0.01])
def test_all_errors_come_as_a_group_when_asked_for(loop, run, monkeypatch, happy):
    answers(monkeypatch, loop, [("127.0.0.1", free_port()), ("127.0.0.1", free_port())])

    async def main():
        with pytest.raises(ExceptionGroup) as caught:  # noqa: F821
            await soon(loop.create_connection(Recorder, "several", 1, happy_eyeballs_delay=happy, all_errors=True))
        assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError] * 2

    run(main())


def test_no_address_at_all_is_an_os_error(loop, run, monkeypatch):
    answers(monkeypatch, loop, [])

    async def main():
        with pytest.raises(OSError):
            await soon(loop.create_connection(Recorder, "several", 1))

    run(main())


def test_a_slow_address_does_not_delay_the_next(loop, run, monkeypatch):
    """Happy eyeballs: the first address never answers, because its listener's backlog is full."""

    async def main():
        server = await echo_server()
        full = listener(0)
        fillers = []
        for _ in range(20):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        answers(monkeypatch, loop, [full.getsockname(), address_of(server)])
        _, protocol = await soon(loop.create_connection(Recorder, "several", 1, happy_eyeballs_delay=0.01))
        assert protocol.transport.get_extra_info("peername") == address_of(server)
        await says_hello(protocol)
        for sock in (full, *fillers):
            sock.close()
        await ended(server)

    run(main())


@pytest.mark.skipif(not HAS_IPV6, reason="no ::1 here")
def test_ipv6_and_interleaved_families(loop, run, monkeypatch):
    async def main():
        server = await loop.create_server(Recorder, "::1", 0)
        port = address_of(server)[1]
        answers(monkeypatch, loop, [("127.0.0.1", port), ("127.0.0.2", port), ("::1", port)])
        transport, protocol = await soon(
            loop.create_connection(Recorder, "several", 1, happy_eyeballs_delay=0.05, interleave=1))
        assert transport.get_extra_info("peername")[0] == "::1"
        await closed(protocol)
        await ended(server)

    run(main())


def test_a_hanging_connection_can_be_cancelled(run):
    async def main():
        loop = asyncio.get_running_loop()
        full, fillers = listener(0), []
        for _ in range(20):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        connecting = loop.create_task(loop.create_connection(Recorder, *full.getsockname()))
        await turns(20)
        assert not connecting.done()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        for sock in (full, *fillers):
            sock.close()

    run(main())


def test_with_a_socket_that_is_connected(run):
    async def main():
        ours, peer = tcp_pair()
        transport, protocol = await soon(asyncio.get_running_loop().create_connection(Recorder, sock=ours))
        transport.write(b"x")
        await turns()
        assert peer.recv(10) == b"x"
        await closed(protocol)
        peer.close()

    run(main())


def test_a_blocking_socket_becomes_non_blocking(run):
    async def main():
        with listener() as listening:
            ours = socket.create_connection(listening.getsockname())
            peer, _ = listening.accept()
        transport, protocol = await soon(asyncio.get_running_loop().create_connection(Recorder, sock=ours))
        assert not os.get_blocking(transport.get_extra_info("socket").fileno())
        await closed(protocol)
        peer.close()

    run(main())


def test_connect_accepted_socket_takes_over_a_socket(run):
    async def main():
        loop = asyncio.get_running_loop()
        listening = listener()
        client = socket.create_connection(listening.getsockname())
        accepted, address = listening.accept()
        transport, protocol = await soon(loop.connect_accepted_socket(Recorder, accepted))
        assert transport.get_extra_info("peername") == address and protocol.calls == ["made"]
        client.sendall(b"hello")
        assert await protocol.received(5) == b"hello"
        client.close()
        await soon(protocol.lost)
        listening.close()

    run(main())


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM])
def test_only_stream_sockets_are_taken(run, kind):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.setblocking(False)
            with pytest.raises(ValueError, match="[Ss]tream [Ss]ocket"):
                await loop.create_connection(Recorder, sock=sock)
            with pytest.raises(ValueError, match="[Ss]tream [Ss]ocket"):
                await loop.connect_accepted_socket(Recorder, sock)

    run(main())


BAD = [
    ({}, ValueError),
    ({"host": "127.0.0.1", "port": 1, "sock": "a socket"}, ValueError),
    ({"server_hostname": "name", "host": "127.0.0.1", "port": 1}, ValueError),
    ({"ssl": True, "sock": "a socket"}, ValueError),
    ({"ssl_handshake_timeout": 1, "host": "127.0.0.1", "port": 1}, ValueError),
    ({"sock": None}, ValueError),
]
if sys.version_info >= (3, 11):
    BAD.append(({"ssl_shutdown_timeout": 1, "host": "127.0.0.1", "port": 1}, ValueError))


@pytest.mark.parametrize("options, error", BAD, ids=repr)
def test_arguments_that_contradict_each_other_are_refused(run, options, error):
    async def main():
        with socket.socket() as sock:
            given = {key: sock if value == "a socket" else value for key, value in options.items()}
            with pytest.raises(error):
                await asyncio.get_running_loop().create_connection(Recorder, **given)

    run(main())


def test_connect_accepted_socket_refuses_tls_timeouts_without_tls(run):
    async def main():
        ours, peer = tcp_pair()
        with pytest.raises(ValueError):
            await asyncio.get_running_loop().connect_accepted_socket(Recorder, ours, ssl_handshake_timeout=1)
        ours.close()
        peer.close()

    run(main())


def test_a_host_without_an_address_of_the_family(run):
    async def main():
        with pytest.raises(OSError):
            await asyncio.get_running_loop().create_connection(Recorder, "127.0.0.1", 1, family=socket.AF_INET6)

    run(main())


def test_many_connections_at_once(run):
    async def main():
        server = await echo_server(backlog=200)

        async def one(i):
            _, protocol = await asyncio.get_running_loop().create_connection(Recorder, *address_of(server))
            protocol.transport.write(b"%03d" % i)
            assert await protocol.received(3) == b"%03d" % i
            await closed(protocol)

        await soon(asyncio.gather(*(one(i) for i in range(100))))
        await ended(server)

    run(main())


def test_the_unconnected_socket_of_a_failed_connection_is_closed(run):
    """The bill would show it; once more here for twenty of them and without a collection."""

    async def main():
        port, counts = free_port(), []
        for _ in range(20):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.get_running_loop().create_connection(Recorder, "127.0.0.1", port)
            await turns()
            counts.append(len(os.listdir("/proc/self/fd")))
        assert counts[-1] == counts[0]  # by the first the loop has what it needs itself

    run(main())


def test_extra_information_by_position_and_by_name(run):
    async def main():
        protocol, peer = await connected(tcp=False)
        ask = protocol.transport.get_extra_info
        assert ask(name="socket") is ask("socket") and ask("none") is None
        assert ask("none", 5) == ask("none", default=5) == ask(default=5, name="none") == 5
        for wrong in (lambda: ask(), lambda: ask("a", "b", "c"), lambda: ask("a", name="b"), lambda: ask("a", "b", default="c"),
                      lambda: ask("a", other=1)):
            with pytest.raises(TypeError):
                wrong()
        await closed(protocol, peer)

    run(main())


def test_a_socket_of_a_family_of_its_own_knows_its_name(loop, run):
    try:
        sock = socket.socket(socket.AF_VSOCK)
    except OSError:
        pytest.skip("this machine has no sockets of virtual machines")

    async def main():
        name = sock.getsockname()
        transport, protocol = await loop.connect_accepted_socket(Recorder, sock)
        assert transport.get_extra_info("sockname") == name and transport.get_extra_info("peername") is None
        assert transport.get_extra_info("socket").family == socket.AF_VSOCK
        transport.close()
        await soon(protocol.lost)

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", b"127.0.0.1"])
def test_connecting_says_the_same_with_a_number_and_with_a_name(loop, run, host):
    async def main():
        with free_port_holder() as port:
            with pytest.raises(OSError, match="Connect call failed .*127.0.0.1") as refused:
                await loop.create_connection(Recorder, host, port, **({"family": socket.AF_INET} if host == "localhost" else {}))
            assert type(refused.value) is ConnectionRefusedError
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport, protocol = await loop.create_connection(Recorder, host, str(port))
        assert transport.get_extra_info("peername") == ("127.0.0.1", port)
        sock = transport.get_extra_info("socket")
        assert sock.getpeername() == ("127.0.0.1", port) and sock.type == socket.SOCK_STREAM and sock.gettimeout() == 0
        assert sock.getsockname() == transport.get_extra_info("sockname")
        transport.close()
        await soon(protocol.lost)
        server.close()
        await server.wait_closed()

    run(main())


@contextlib.contextmanager
def free_port_holder():
    """A port that refuses connections while this lasts: bound, and nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.stock_fails("it leaves the socket to the garbage collector")
def test_a_factory_that_fails_leaves_no_socket(loop, run):
    def fails():
        raise ZeroDivisionError

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as server:
            with pytest.raises(ZeroDivisionError):
                await loop.create_connection(fails, "127.0.0.1", server.getsockname()[1])

    run(main())


@pytest.mark.stock_fails("it leaves the socket to the garbage collector")
def test_a_factory_that_returns_nothing_is_an_error(loop, run):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as server:
            with pytest.raises(AttributeError, match="connection_made"):
                await loop.create_connection(lambda: None, "127.0.0.1", server.getsockname()[1])
        one, two = socketpair()
        with one, two, pytest.raises(AttributeError, match="connection_made"):
            await loop.create_unix_connection(lambda: None, sock=one)

    run(main())


def test_whoever_connects_and_is_cancelled_leaves_no_socket(loop, run):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as server:
            for steps in range(6):
                task = loop.create_task(loop.create_connection(Recorder, "127.0.0.1", server.getsockname()[1]))
                for _ in range(steps):
                    await asyncio.sleep(0)
                if not task.cancel():
                    transport, protocol = await task
                    transport.close()
                    await soon(protocol.lost)
                    continue
                with pytest.raises(asyncio.CancelledError):
                    await task
                await turns()

    run(main())


@pytest.mark.ours_only("the number is the next socket's at once, whose peer gets what is written to this one")
def test_a_socket_that_somebody_closes_is_closed_with_its_transport(loop, run):
    async def main():
        ours, peer = tcp_pair()
        _, protocol = await soon(loop.create_connection(Recorder, sock=ours))
        number = ours.fileno()
        ours.close()
        others = socketpair()
        assert number not in [sock.fileno() for sock in others]
        protocol.transport.write(b"secret")
        assert await soon(loop.sock_recv(peer, 10)) == b"secret"
        await closed(protocol)
        assert ours.fileno() == -1 and await soon(loop.sock_recv(peer, 10)) == b""
        for sock in (*others, peer):
            sock.close()

    run(main())


@pytest.mark.ours_only("the transport loses its connection")
def test_a_descriptor_that_somebody_takes_from_its_socket_is_his_to_close(loop, run):
    async def main():
        ours, peer = tcp_pair()
        _, protocol = await soon(loop.create_connection(Recorder, sock=ours))
        number = ours.detach()
        peer.send(b"x")
        assert await protocol.received(1) == b"x"
        await closed(protocol)
        os.close(number)
        peer.close()

    run(main())


@pytest.mark.needs_python(3, 12)
def test_a_socket_has_one_transport_at_a_time(loop, run):
    async def main():
        ours, peer = tcp_pair()
        _, protocol = await soon(loop.create_connection(Recorder, sock=ours))
        with pytest.raises(RuntimeError, match="is used by transport"):
            await soon(loop.create_connection(Recorder, sock=ours))
        peer.send(b"x")
        assert await protocol.received(1) == b"x"
        await closed(protocol)
        peer.close()

    run(main())


def test_a_class_that_derives_from_socket_keeps_its_own_methods(loop, run):
    class Shouting(socket.socket):
        def recv(self, n):
            return super().recv(n).upper()

        def send(self, data):
            return super().send(bytes(data).upper())

    async def main():
        ours, peer = tcp_pair()
        _, protocol = await soon(loop.create_connection(Recorder, sock=Shouting(fileno=ours.detach())))
        protocol.transport.write(b"to")
        assert await soon(loop.sock_recv(peer, 10)) == b"TO"
        peer.send(b"from")
        assert await protocol.received(4) == b"FROM"
        assert f"fd={protocol.transport.get_extra_info('socket').fileno()}" in repr(protocol.transport)
        await closed(protocol)
        peer.close()

    run(main())
