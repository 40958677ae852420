"""create_datagram_endpoint."""

import asyncio
import errno
import os
import socket
import tempfile

import pytest
from loop_support import HAS_IPV6, DatagramRecorder, HandlerCalls, free_port, soon, turns


async def endpoint(make=DatagramRecorder, **options):
    loop = asyncio.get_running_loop()
    if not options:
        options = {"local_addr": ("127.0.0.1", 0)}
    _, protocol = await soon(loop.create_datagram_endpoint(make, **options))
    return protocol


def name_of(protocol):
    return protocol.transport.get_extra_info("sockname")


async def ended(*protocols):
    for protocol in protocols:
        protocol.transport.close()
        assert await soon(protocol.lost) is None


def test_unconnected_endpoints_send_to_addresses(run):
    async def main():
        one, two, three = await endpoint(), await endpoint(), await endpoint()
        one.transport.sendto(b"to two", name_of(two))
        one.transport.sendto(b"to three", name_of(three))
        assert await soon(two.datagrams.get()) == (b"to two", name_of(one))
        assert await soon(three.datagrams.get()) == (b"to three", name_of(one))
        await ended(one, two, three)
        assert one.calls == ["made", "lost"]

    run(main())


def test_connected_endpoints_need_no_address(run):
    async def main():
        server = await endpoint()
        client = await endpoint(remote_addr=name_of(server))
        assert client.transport.get_extra_info("peername") == name_of(server)
        client.transport.sendto(b"one")
        client.transport.sendto(b"two", name_of(server))  # the same address is allowed
        client.transport.sendto(b"three", None)
        assert [(await soon(server.datagrams.get()))[0] for _ in range(3)] == [b"one", b"two", b"three"]
        server.transport.sendto(b"answer", name_of(client))
        assert await soon(client.datagrams.get()) == (b"answer", name_of(server))
        await ended(client, server)

    run(main())


def test_a_connected_endpoint_sends_to_nobody_else(run):
    async def main():
        server, other = await endpoint(), await endpoint()
        client = await endpoint(remote_addr=name_of(server))
        with pytest.raises(ValueError, match="[Ii]nvalid address"):
            client.transport.sendto(b"x", name_of(other))
        await ended(client, server, other)

    run(main())


def test_local_and_remote_address_together(run):
    async def main():
        server, port = await endpoint(), free_port(kind=socket.SOCK_DGRAM)
        client = await endpoint(local_addr=("127.0.0.1", port), remote_addr=name_of(server))
        assert name_of(client) == ("127.0.0.1", port)
        client.transport.sendto(b"x")
        assert await soon(server.datagrams.get()) == (b"x", ("127.0.0.1", port))
        await ended(client, server)

    run(main())


@pytest.mark.stock_fails("its datagram transport is none", until=(3, 12))
def test_transports_are_asyncios(run):
    async def main():
        one = await endpoint()
        assert isinstance(one.transport, asyncio.DatagramTransport)
        assert one.transport.get_extra_info("socket").type == socket.SOCK_DGRAM
        assert one.transport.get_extra_info("peername") is None
        await ended(one)

    run(main())


@pytest.mark.stock_fails("does not send empty datagrams", until=(3, 13))
def test_empty_datagrams_are_datagrams(run):
    async def main():
        server = await endpoint()
        client = await endpoint(remote_addr=name_of(server))
        client.transport.sendto(b"")
        client.transport.sendto(b"after")
        assert (await soon(server.datagrams.get()))[0] == b""
        assert (await soon(server.datagrams.get()))[0] == b"after"
        await ended(client, server)

    run(main())


def test_an_empty_datagram_that_comes_in_is_delivered(run):
    async def main():
        server = await endpoint()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", name_of(server))
            sock.sendto(b"after", name_of(server))
        assert (await soon(server.datagrams.get()))[0] == b""
        assert (await soon(server.datagrams.get()))[0] == b"after"
        await ended(server)

    run(main())


def test_the_biggest_datagram_comes_whole(run):
    async def main():
        server, client = await endpoint(), await endpoint()
        data = os.urandom(65507)  # what an IPv4 packet has room for
        client.transport.sendto(data, name_of(server))
        assert await soon(server.datagrams.get()) == (data, name_of(client))
        await ended(client, server)

    run(main())


def test_a_datagram_that_is_too_big_is_reported(run):
    async def main():
        server, client = await endpoint(), await endpoint()
        client.transport.sendto(b"x" * 70_000, name_of(server))
        error = await soon(client.errors.get())
        assert isinstance(error, OSError) and error.errno == errno.EMSGSIZE
        client.transport.sendto(b"fits", name_of(server))
        assert (await soon(server.datagrams.get()))[0] == b"fits"
        await ended(client, server)

    run(main())


def test_a_port_that_refuses_is_reported_and_the_endpoint_lives(run):
    async def main():
        port = free_port(kind=socket.SOCK_DGRAM)
        client = await endpoint(remote_addr=("127.0.0.1", port))
        client.transport.sendto(b"nobody there")
        error = await soon(client.errors.get())
        assert isinstance(error, ConnectionRefusedError)
        assert not client.transport.is_closing()
        server = await endpoint(local_addr=("127.0.0.1", port))
        client.transport.sendto(b"now")
        while client.errors.qsize():
            client.errors.get_nowait()
        assert (await soon(server.datagrams.get()))[0] == b"now"
        await ended(client, server)

    run(main())


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_bytes_like_objects_can_be_sent(run, make):
    async def main():
        one, two = await endpoint(), await endpoint()
        one.transport.sendto(make(b"data"), name_of(two))
        assert (await soon(two.datagrams.get()))[0] == b"data"
        await ended(one, two)

    run(main())


def test_anything_else_is_a_type_error(run):
    async def main():
        one = await endpoint()
        for wrong in ("text", None, 5, [b"x"]):
            with pytest.raises(TypeError):
                one.transport.sendto(wrong, name_of(one))
        await ended(one)

    run(main())


def test_close_sends_what_waits_and_abort_does_not_wait(run):
    async def main():
        server, client = await endpoint(), await endpoint()
        for i in range(50):
            client.transport.sendto(b"%d" % i, name_of(server))
        client.transport.close()
        assert client.transport.is_closing()
        for i in range(50):
            assert (await soon(server.datagrams.get()))[0] == b"%d" % i
        assert await soon(client.lost) is None
        server.transport.abort()
        assert await soon(server.lost) is None
        assert server.transport.is_closing() and server.calls == ["made", "lost"]
        server.transport.close()
        server.transport.abort()
        await turns()
        assert server.calls == ["made", "lost"]

    run(main())


def test_sending_after_close_is_harmless(run):
    async def main():
        server, client = await endpoint(), await endpoint()
        address = name_of(server)
        await ended(client)
        try:
            client.transport.sendto(b"late", address)
        except (OSError, AttributeError, RuntimeError):
            pass  # stock asyncio trips over its closed socket
        await turns()
        assert server.datagrams.empty()
        await ended(server)

    run(main())


def test_the_size_of_the_write_buffer_can_be_asked(run):
    async def main():
        one = await endpoint()
        assert one.transport.get_write_buffer_size() == 0
        assert one.transport.get_write_buffer_limits() == (16384, 65536)
        one.transport.set_write_buffer_limits(high=1000, low=10)
        assert one.transport.get_write_buffer_limits() == (10, 1000)
        await ended(one)

    run(main())


def test_unix_datagrams_wait_for_a_reader_and_pause_the_protocol(run):
    """UDP drops; a UNIX datagram socket does not: it fills up, so the transport has to keep datagrams and say so."""

    async def main():
        loop = asyncio.get_running_loop()
        one, two = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
        two.bind(f"\0py_port test {os.getpid()} {id(loop)}")
        two.setblocking(False)
        one.connect(two.getsockname())
        _, protocol = await loop.create_datagram_endpoint(DatagramRecorder, sock=one)
        protocol.transport.set_write_buffer_limits(high=10_000)
        count = 0
        while "pause" not in protocol.calls:
            protocol.transport.sendto(b"%06d" % count + b"x" * 1000)
            count += 1
            assert count < 10_000 and not protocol.transport.is_closing()
        assert protocol.transport.get_write_buffer_size() > 10_000
        for i in range(count):
            assert (await soon(loop.sock_recv(two, 2000)))[:6] == b"%06d" % i
        await turns()
        assert protocol.calls == ["made", "pause", "resume"]
        await ended(protocol)
        two.close()

    run(main())


def test_unix_datagram_endpoints_have_paths(run):
    async def main():
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s")
            server = await endpoint(local_addr=path, family=socket.AF_UNIX)
            client = await endpoint(remote_addr=path, family=socket.AF_UNIX)
            client.transport.sendto(b"x")
            assert (await soon(server.datagrams.get()))[0] == b"x"
            await ended(client, server)

    run(main())


def test_with_a_socket(run):
    async def main():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
        one = await endpoint(sock=sock)
        two = await endpoint()
        assert name_of(one) == address
        two.transport.sendto(b"x", address)
        assert (await soon(one.datagrams.get()))[0] == b"x"
        await ended(one, two)

    run(main())


def test_with_a_connected_socket(run):
    async def main():
        server = await endpoint()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(name_of(server))
        client = await endpoint(sock=sock)
        client.transport.sendto(b"x")
        assert (await soon(server.datagrams.get()))[0] == b"x"
        await ended(client, server)

    run(main())


def test_broadcasting_must_be_asked_for(run):
    async def main():
        one = await endpoint()
        two = await endpoint(local_addr=("127.0.0.1", 0), allow_broadcast=True)
        option = (socket.SOL_SOCKET, socket.SO_BROADCAST)
        assert not one.transport.get_extra_info("socket").getsockopt(*option)
        assert two.transport.get_extra_info("socket").getsockopt(*option)
        one.transport.sendto(b"x", ("255.255.255.255", 9))
        error = await soon(one.errors.get())
        assert isinstance(error, PermissionError)
        await ended(one, two)

    run(main())


def test_two_endpoints_share_a_port(run):
    async def main():
        one = await endpoint(local_addr=("127.0.0.1", 0), reuse_port=True)
        two = await endpoint(local_addr=name_of(one), reuse_port=True)
        assert name_of(one) == name_of(two)
        with pytest.raises(OSError) as caught:
            await endpoint(local_addr=name_of(one))
        assert caught.value.errno == errno.EADDRINUSE
        await ended(one, two)

    run(main())


@pytest.mark.skipif(not HAS_IPV6, reason="no ::1 here")
def test_ipv6(run):
    async def main():
        server = await endpoint(local_addr=("::1", 0))
        client = await endpoint(remote_addr=name_of(server)[:2])
        client.transport.sendto(b"x")
        data, address = await soon(server.datagrams.get())
        assert data == b"x" and address == name_of(client) and len(address) == 4
        await ended(client, server)

    run(main())


def test_an_endpoint_may_have_a_family_only(run):
    async def main():
        server, client = await endpoint(), await endpoint(family=socket.AF_INET)
        client.transport.sendto(b"x", name_of(server))
        assert (await soon(server.datagrams.get()))[0] == b"x"
        await ended(client, server)

    run(main())


@pytest.mark.stock_fails("warns of a transport that nobody has")
def test_a_factory_that_returns_nothing_is_an_error(loop, run):
    async def main():
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            with pytest.raises(AttributeError, match="connection_made"):
                await loop.create_datagram_endpoint(lambda: None, sock=sock)

    run(main())


def test_the_protocol_by_name(run):
    async def main():
        one = await endpoint()
        one.transport.set_protocol(protocol=one)
        with pytest.raises(TypeError):
            one.transport.set_protocol(other=one)
        assert one.transport.get_protocol() is one
        await ended(one)

    run(main())


def test_names_are_resolved(run):
    async def main():
        server = await endpoint()
        client = await endpoint(remote_addr=("localhost", name_of(server)[1]), family=socket.AF_INET)
        client.transport.sendto(b"x")
        assert (await soon(server.datagrams.get()))[0] == b"x"
        await ended(client, server)

    run(main())


BAD = [({}, ValueError),  # an assertion before 3.11
       ({"local_addr": "not a pair"}, (TypeError, ValueError, AssertionError)),
       ({"remote_addr": ("127.0.0.1",)}, (TypeError, ValueError, AssertionError)),
       ({"local_addr": ("127.0.0.1", 0), "remote_addr": ("::1", 80), "family": socket.AF_INET}, (ValueError, OSError)),
       ({"sock": "a socket", "local_addr": ("127.0.0.1", 0)}, ValueError), ({"sock": "a socket", "reuse_port": True}, ValueError),
       ({"sock": "a stream socket"}, ValueError)]  # fmt: skip


@pytest.mark.parametrize("options, error", BAD, ids=repr)
def test_arguments_that_make_no_sense_are_refused(run, options, error):
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            stand_ins = {"a socket": udp, "a stream socket": tcp}
            given = {key: stand_ins.get(value, value) if isinstance(value, str) else value for key, value in options.items()}
            with pytest.raises(error):
                await asyncio.get_running_loop().create_datagram_endpoint(DatagramRecorder, **given)

    run(main())


@pytest.mark.parametrize("method", ["datagram_received", "error_received"])
def test_a_protocol_method_that_fails(loop, run, method):
    """Goes to the exception handler; whether the endpoint survives is the loop's choice, that it does not spin is not."""
    calls = HandlerCalls(loop)

    class Fails(DatagramRecorder):
        pass

    def fails(self, *args):
        raise ZeroDivisionError(method)

    setattr(Fails, method, fails)

    async def main():
        server = await endpoint(Fails)
        if method == "datagram_received":
            client = await endpoint()
            client.transport.sendto(b"x", name_of(server))
        else:
            client = await endpoint(Fails, remote_addr=("127.0.0.1", free_port(kind=socket.SOCK_DGRAM)))
            client.transport.sendto(b"x")
        while not calls:
            await asyncio.sleep(0.001)  # sleep-ok: a poll of the sockets for each turn
        for protocol in (server, client):
            protocol.transport.abort()
            await soon(protocol.lost)

    run(main())
    assert all(isinstance(context["exception"], ZeroDivisionError) for context in calls)


def test_many_datagrams_in_both_directions(run):
    async def main():
        one, two = await endpoint(), await endpoint()
        for i in range(500):
            one.transport.sendto(b"%d" % i, name_of(two))
            assert (await soon(two.datagrams.get()))[0] == b"%d" % i
            two.transport.sendto(b"-%d" % i, name_of(one))
            assert (await soon(one.datagrams.get()))[0] == b"-%d" % i
        await ended(one, two)

    run(main())


def bound():
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


@pytest.mark.ours_only("the number is the next socket's at once")
def test_a_socket_that_somebody_closes_is_closed_with_its_transport(loop, run):
    async def main():
        ours, peer = bound(), bound()
        protocol = await endpoint(sock=ours)
        number = ours.fileno()
        ours.close()
        other = bound()
        assert number != other.fileno()
        protocol.transport.sendto(b"x", peer.getsockname())
        assert await soon(loop.sock_recv(peer, 10)) == b"x"
        await ended(protocol)
        await turns()
        assert ours.fileno() == -1
        other.close()
        peer.close()

    run(main())


@pytest.mark.needs_python(3, 12)
def test_a_socket_has_one_transport_at_a_time(loop, run):
    async def main():
        ours = bound()
        protocol = await endpoint(sock=ours)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await endpoint(sock=ours)
        ours.sendto(b"x", ours.getsockname())
        assert await soon(protocol.datagrams.get()) == (b"x", ours.getsockname())
        await ended(protocol)

    run(main())


def test_a_class_that_derives_from_socket_keeps_its_own_methods(loop, run):
    """As one that sends through a proxy does."""

    class Wrapping(socket.socket):
        def sendto(self, data, address):
            return super().sendto(b"head " + bytes(data), address)

        def recvfrom(self, size):
            data, address = super().recvfrom(size)
            return data[5:], address

    async def main():
        ours, peer = Wrapping(type=socket.SOCK_DGRAM), bound()
        ours.bind(("127.0.0.1", 0))
        protocol = await endpoint(sock=ours)
        protocol.transport.sendto(b"to", peer.getsockname())
        assert await soon(loop.sock_recv(peer, 10)) == b"head to"
        peer.sendto(b"head from", ours.getsockname())
        assert await soon(protocol.datagrams.get()) == (b"from", peer.getsockname())
        assert f"fd={protocol.transport.get_extra_info('socket').fileno()}" in repr(protocol.transport)
        await ended(protocol)
        peer.close()

    run(main())
