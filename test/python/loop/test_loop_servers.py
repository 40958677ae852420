"""create_server and what it returns."""

import asyncio
import contextvars
import errno
import gc
import socket

import pytest
from loop_support import HAS_IPV6, IS_OURS, HandlerCalls, Recorder, closed, free_port, listener, soon, turns, until


async def client_of(server, make=Recorder):
    address = server.sockets[0].getsockname()[:2]
    _, protocol = await soon(asyncio.get_running_loop().create_connection(make, *address))
    return protocol


async def ended(server):
    server.close()
    await soon(server.wait_closed())


class Accepted:
    """A protocol factory that hands out what was accepted."""

    def __init__(self):
        self.queue = asyncio.Queue()

    def __call__(self):
        queue = self.queue

        class Accepts(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                queue.put_nowait(self)

        return Accepts()

    async def next(self):
        return await soon(self.queue.get())


def test_a_server_accepts_connections(run):
    async def main():
        accepted = Accepted()
        server = await asyncio.get_running_loop().create_server(accepted, "127.0.0.1", 0)
        client = await client_of(server)
        theirs = await accepted.next()
        assert theirs.transport.get_extra_info("peername") == client.transport.get_extra_info("sockname")
        assert theirs.transport.get_extra_info("sockname") == client.transport.get_extra_info("peername")
        client.transport.write(b"hi")
        assert await theirs.received(2) == b"hi"
        await closed(client, theirs)
        await ended(server)

    run(main())


def test_a_server_is_asyncios(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        assert isinstance(server, asyncio.AbstractServer)
        assert server.get_loop() is loop and server.is_serving()
        await ended(server)
        assert not server.is_serving()

    run(main())


def test_port_zero_means_any(run):
    async def main():
        server = await asyncio.get_running_loop().create_server(Recorder, "127.0.0.1", 0)
        (sock,) = server.sockets
        assert sock.getsockname()[0] == "127.0.0.1" and sock.getsockname()[1] > 0
        await ended(server)

    run(main())


def test_the_sockets_are_a_tuple_that_is_empty_after_close(run):
    async def main():
        server = await asyncio.get_running_loop().create_server(Recorder, "127.0.0.1", 0)
        assert isinstance(server.sockets, tuple) and len(server.sockets) == 1
        sock = server.sockets[0]
        assert sock.family == socket.AF_INET and sock.type == socket.SOCK_STREAM and sock.fileno() >= 0
        await ended(server)
        assert server.sockets == ()

    run(main())


def test_several_hosts(run):
    async def main():
        accepted = Accepted()
        server = await asyncio.get_running_loop().create_server(accepted, ["127.0.0.1", "127.0.0.2"], 0)
        assert sorted(sock.getsockname()[0] for sock in server.sockets) == ["127.0.0.1", "127.0.0.2"]
        for sock in server.sockets:
            _, client = await soon(asyncio.get_running_loop().create_connection(Recorder, *sock.getsockname()))
            await closed(client, await accepted.next())
        await ended(server)

    run(main())


@pytest.mark.parametrize("host", [None, ""])
def test_no_host_means_all_interfaces(run, host):
    async def main():
        accepted = Accepted()
        server = await asyncio.get_running_loop().create_server(accepted, host, free_port())
        families = {sock.family for sock in server.sockets}
        assert socket.AF_INET in families
        if HAS_IPV6:
            assert socket.AF_INET6 in families
        port = server.sockets[0].getsockname()[1]
        for address in ["127.0.0.1"] + ["::1"] * HAS_IPV6:
            _, client = await soon(asyncio.get_running_loop().create_connection(Recorder, address, port))
            await closed(client, await accepted.next())
        await ended(server)

    run(main())


@pytest.mark.skipif(not HAS_IPV6, reason="no ::1 here")
def test_ipv6_sockets_serve_ipv6_only(run):
    async def main():
        accepted = Accepted()
        server = await asyncio.get_running_loop().create_server(accepted, "::", 0, family=socket.AF_INET6)
        assert server.sockets[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        await ended(server)

    run(main())


def test_with_a_socket(run):
    async def main():
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
        accepted = Accepted()
        server = await asyncio.get_running_loop().create_server(accepted, sock=sock)
        assert [s.getsockname() for s in server.sockets] == [address]
        client = await client_of(server)
        await closed(client, await accepted.next())
        await ended(server)
        sock.close()

    run(main())


def test_an_address_that_is_taken(run):
    async def main():
        with listener() as taken:
            with pytest.raises(OSError) as caught:
                await asyncio.get_running_loop().create_server(Recorder, *taken.getsockname())
            assert caught.value.errno == errno.EADDRINUSE and str(taken.getsockname()[1]) in str(caught.value)

    run(main())


def test_one_taken_address_of_several_leaves_none_bound(run):
    async def main():
        with listener() as taken:
            port = taken.getsockname()[1]
            with pytest.raises(OSError):
                await asyncio.get_running_loop().create_server(Recorder, ["127.0.0.2", "127.0.0.1"], port)
            with socket.socket() as again:
                again.bind(("127.0.0.2", port))
                again.listen(1)

    run(main())


def test_a_port_can_be_used_again_at_once(run):
    """reuse_address is on unless asked otherwise: a connection in TIME_WAIT does not block the port."""

    async def main():
        loop, accepted = asyncio.get_running_loop(), Accepted()
        server = await loop.create_server(accepted, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        client = await client_of(server)
        theirs = await accepted.next()
        await closed(theirs, client)  # the server's side closes first and keeps TIME_WAIT
        await ended(server)
        server = await loop.create_server(Recorder, *address)
        assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        await ended(server)
        with pytest.raises(OSError):
            server = await loop.create_server(Recorder, *address, reuse_address=False)
            await ended(server)  # not reached

    run(main())


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="no SO_REUSEPORT here")
def test_two_servers_share_a_port(run):
    async def main():
        loop = asyncio.get_running_loop()
        one = await loop.create_server(Recorder, "127.0.0.1", 0, reuse_port=True)
        address = one.sockets[0].getsockname()
        two = await loop.create_server(Recorder, *address, reuse_port=True)
        assert two.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        await ended(one)
        await ended(two)

    run(main())


def test_no_reuse_port_unless_asked_for(run):
    async def main():
        loop = asyncio.get_running_loop()
        one = await loop.create_server(Recorder, "127.0.0.1", 0)
        with pytest.raises(OSError):
            await loop.create_server(Recorder, *one.sockets[0].getsockname())
        await ended(one)

    run(main())


def test_a_server_can_be_made_without_serving(run):
    async def main():
        accepted = Accepted()
        server = await asyncio.get_running_loop().create_server(accepted, "127.0.0.1", 0, start_serving=False)
        assert not server.is_serving()
        address = server.sockets[0].getsockname()
        with socket.socket() as probe:
            assert probe.connect_ex(address) == errno.ECONNREFUSED
        await server.start_serving()
        assert server.is_serving()
        await server.start_serving()  # twice is once
        client = await client_of(server)
        await closed(client, await accepted.next())
        await ended(server)

    run(main())


def test_serve_forever_serves_until_it_is_cancelled(run):
    async def main():
        loop, accepted = asyncio.get_running_loop(), Accepted()
        server = await loop.create_server(accepted, "127.0.0.1", 0, start_serving=False)
        serving = loop.create_task(server.serve_forever())
        await until(server.is_serving)
        client = await client_of(server)
        await closed(client, await accepted.next())
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(serving)
        assert not server.is_serving() and server.sockets == ()

    run(main())


def test_serve_forever_ends_when_the_server_is_closed(run):
    async def main():
        server = await asyncio.get_running_loop().create_server(Recorder, "127.0.0.1", 0)
        serving = asyncio.get_running_loop().create_task(server.serve_forever())
        await turns()
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await soon(serving)

    run(main())


def test_serve_forever_runs_once_at_a_time_and_not_after_close(run):
    async def main():
        server = await asyncio.get_running_loop().create_server(Recorder, "127.0.0.1", 0)
        serving = asyncio.get_running_loop().create_task(server.serve_forever())
        await turns()
        with pytest.raises(RuntimeError, match="already being awaited"):
            await server.serve_forever()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        with pytest.raises(RuntimeError, match="closed"):
            await server.serve_forever()

    run(main())


def test_a_closed_server_refuses_connections(run):
    async def main():
        server = await asyncio.get_running_loop().create_server(Recorder, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        server.close()
        server.close()  # twice is once
        await turns()
        with socket.socket() as probe:
            assert probe.connect_ex(address) == errno.ECONNREFUSED
        await soon(server.wait_closed())
        await soon(server.wait_closed())

    run(main())


def test_closing_a_server_leaves_its_connections_alone(run):
    async def main():
        accepted = Accepted()
        server = await asyncio.get_running_loop().create_server(accepted, "127.0.0.1", 0)
        client = await client_of(server)
        theirs = await accepted.next()
        server.close()
        client.transport.write(b"still")
        assert await theirs.received(5) == b"still"
        await closed(client, theirs)
        await soon(server.wait_closed())

    run(main())


@pytest.mark.needs_python(3, 12)
def test_wait_closed_waits_for_the_connections(run):
    async def main():
        loop, accepted = asyncio.get_running_loop(), Accepted()
        server = await loop.create_server(accepted, "127.0.0.1", 0)
        client = await client_of(server)
        theirs = await accepted.next()
        server.close()
        waiting = loop.create_task(server.wait_closed())
        await turns()
        assert not waiting.done()
        await closed(client, theirs)
        await soon(waiting)

    run(main())


@pytest.mark.needs_python(3, 12)
def test_wait_closed_waits_for_the_close(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        waiting = loop.create_task(server.wait_closed())
        await turns()
        assert not waiting.done()
        server.close()
        await soon(waiting)

    run(main())


def test_a_server_is_a_context_manager(run):
    async def main():
        accepted = Accepted()
        async with await asyncio.get_running_loop().create_server(accepted, "127.0.0.1", 0) as server:
            client = await client_of(server)
            await closed(client, await accepted.next())
            assert server.is_serving()
        assert not server.is_serving() and server.sockets == ()

    run(main())


@pytest.mark.needs_python(3, 13)
@pytest.mark.parametrize("how", ["close_clients", "abort_clients"])
def test_the_clients_can_be_ended_with_the_server(run, how):
    async def main():
        accepted = Accepted()
        server = await asyncio.get_running_loop().create_server(accepted, "127.0.0.1", 0)
        client = await client_of(server)
        theirs = await accepted.next()
        if how == "abort_clients":
            theirs.transport.write(b"x" * 10_000_000)
        server.close()
        getattr(server, how)()
        assert await soon(theirs.lost) is None
        await soon(server.wait_closed())
        await soon(client.lost)

    run(main())


def test_the_backlog_may_be_given(run):
    async def main():
        accepted = Accepted()
        server = await asyncio.get_running_loop().create_server(accepted, "127.0.0.1", 0, backlog=1)
        for _ in range(5):
            client = await client_of(server)
            await closed(client, await accepted.next())
        await ended(server)

    run(main())


def test_a_factory_that_fails_does_not_end_the_server(loop, run, bill):
    calls, count = HandlerCalls(loop), 0

    async def main():
        accepted = Accepted()

        def factory():
            nonlocal count
            count += 1
            if count == 1:
                raise ZeroDivisionError("factory")
            return accepted()

        server = await loop.create_server(factory, "127.0.0.1", 0)
        first = await client_of(server)
        await soon(first.lost)
        gc.collect()
        second = await client_of(server)
        await closed(second, await accepted.next())
        await ended(server)

    run(main())
    if not IS_OURS:
        bill.warned(ResourceWarning)  # it leaves the accepted socket to the collector
    # Stock asyncio reports it in debug mode only; reporting it always is better and allowed.
    assert all(isinstance(context["exception"], ZeroDivisionError) for context in calls)


def test_a_server_survives_running_out_of_descriptors(loop, run):
    """accept() fails with EMFILE: it is reported, and the server goes on when descriptors are free again."""
    import os
    import resource

    calls = HandlerCalls(loop)

    async def main():
        accepted = Accepted()
        server = await loop.create_server(accepted, "127.0.0.1", 0)
        first = await client_of(server)  # what the first connection imports has been imported
        await closed(first, await accepted.next())
        probe = socket.socket()
        probe.setblocking(False)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        taken = []
        try:
            with pytest.raises(OSError):
                while True:
                    taken.append(os.dup(0))
            probe.connect_ex(server.sockets[0].getsockname())
            await until(lambda: calls)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for fd in taken:
                os.close(fd)
        theirs = await accepted.next()  # after at most the second that the loop gives it
        probe.close()
        await soon(theirs.lost)
        await ended(server)

    run(main())
    assert all(context["exception"].errno in (errno.EMFILE, errno.ENFILE) for context in calls)


BAD = [({"host": "127.0.0.1", "port": 0, "sock": "a socket"}, ValueError), ({}, ValueError),
       ({"host": "127.0.0.1", "port": 0, "ssl": True}, TypeError),
       ({"host": "127.0.0.1", "port": 0, "ssl_handshake_timeout": 1}, ValueError)]  # fmt: skip


@pytest.mark.parametrize("options, error", BAD, ids=repr)
def test_arguments_that_contradict_each_other_are_refused(run, options, error):
    async def main():
        with socket.socket() as sock:
            given = {key: sock if value == "a socket" else value for key, value in options.items()}
            with pytest.raises(error):
                await asyncio.get_running_loop().create_server(Recorder, **given)

    run(main())


def test_only_stream_sockets_can_serve(run):
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            with pytest.raises(ValueError, match="[Ss]tream [Ss]ocket"):
                await asyncio.get_running_loop().create_server(Recorder, sock=sock)

    run(main())


def test_the_repr_of_a_server(run):
    async def main():
        server = await asyncio.get_running_loop().create_server(Recorder, "127.0.0.1", 0)
        assert "Server" in repr(server) and "sockets=" in repr(server)
        await ended(server)

    run(main())


def test_what_a_factory_sets_in_its_context_is_not_the_next_connections(run):
    name = contextvars.ContextVar("name", default="nobody's")
    seen = []

    def factory():
        seen.append(name.get())
        name.set(f"that of connection {len(seen)}")
        return Sees()

    class Sees(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            seen.append(name.get())

    async def main():
        loop = asyncio.get_running_loop()
        name.set("the server's")
        server = await loop.create_server(factory, "127.0.0.1", 0)
        name.set("somebody else's")
        for _ in range(2):
            client = await client_of(server)
            client.transport.close()
            await soon(client.lost)
        await until(lambda: len(seen) == 4)
        await ended(server)
        assert seen[0] == seen[2] == "the server's"
        await turns()

    run(main())


@pytest.mark.stock_fails("it accepts none, and is told of it in each turn")
@pytest.mark.parametrize("backlog", [0, -1])
def test_without_a_backlog_connections_are_accepted_one_by_one(loop, run, backlog):
    async def main():
        accepted = Accepted()
        server = await loop.create_server(accepted, "127.0.0.1", 0, backlog=backlog)
        for _ in range(2):
            client = await client_of(server)
            await closed(client, await accepted.next())
        await ended(server)

    run(main())


@pytest.mark.ours_only("the number is the next socket's at once, and the server cannot be closed")
def test_a_socket_that_somebody_closes_is_closed_with_its_server(loop, run):
    async def main():
        accepted, sock = Accepted(), listener()
        server = await loop.create_server(accepted, sock=sock)
        sock.close()
        client = await client_of(server)
        await closed(client, await accepted.next())
        await ended(server)
        assert sock.fileno() == -1

    run(main())


def test_a_socket_of_a_loop_that_is_closed_can_be_closed(loop, run):
    sock = listener()
    server = run(loop.create_server(Recorder, sock=sock))
    loop.close()
    assert server.is_serving()
    sock.close()
    assert sock.fileno() == -1
