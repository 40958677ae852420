"""TLS: create_connection and create_server with ssl=, start_tls, and what can go wrong."""

import asyncio
import os
import socket
import ssl
import sys

import pytest
from loop_support import HERE, IS_OURS, BufferedRecorder, HandlerCalls, Recorder, closed, drained, listener, reset, soon, tcp_pair, turns, until

CERT, KEY = os.path.join(HERE, "certs", "cert.pem"), os.path.join(HERE, "certs", "key.pem")


@pytest.fixture(autouse=True)
def warnings_of_the_older_sslproto(bill):
    if sys.version_info < (3, 11):
        bill.allow_warning("unclosed transport <asyncio.sslproto")  # also after the peer has ended the connection


def for_server():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERT, KEY)
    return context


def for_client():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CERT)
    return context


class ViewRecorder(BufferedRecorder):
    """asyncio.sslproto wants a memoryview of a buffered protocol; see test_a_buffer_may_be_a_bytearray."""

    def __init__(self):
        super().__init__(30_000)
        self.buffer = memoryview(self.buffer)


class Accepted:
    """A protocol factory that hands out what was accepted."""

    def __init__(self, kind=Recorder):
        self.queue, self.kind = asyncio.Queue(), kind

    def __call__(self):
        queue = self.queue

        protocol = self.kind()
        made = protocol.connection_made

        def connection_made(transport):
            made(transport)
            queue.put_nowait(protocol)

        protocol.connection_made = connection_made
        return protocol

    async def next(self):
        return await soon(self.queue.get())


async def ended(server):
    server.close()
    await soon(server.wait_closed())


async def tls_pair(kind=Recorder, server_context=None, client_context=None, server_hostname="localhost"):
    """A server, and the two protocols of one connection: (server, client, theirs)."""
    loop, accepted = asyncio.get_running_loop(), Accepted(kind)
    server = await loop.create_server(accepted, "127.0.0.1", 0, ssl=server_context or for_server())
    _, client = await soon(loop.create_connection(kind, *server.sockets[0].getsockname(), ssl=client_context or for_client(),
                                                  server_hostname=server_hostname))
    return server, client, await accepted.next()


@pytest.mark.parametrize("kind", [Recorder, ViewRecorder])
def test_client_and_server(run, kind):
    async def main():
        server, client, theirs = await tls_pair(kind)
        client.transport.write(b"question")
        assert await theirs.received(8) == b"question"
        theirs.transport.write(b"answer")
        assert await client.received(6) == b"answer"
        await closed(client, theirs)
        assert client.calls[:2] == ["made", "data"] and client.calls[-1] == "lost" and client.calls.count("lost") == 1
        await ended(server)

    run(main())


@pytest.mark.parametrize("kind", [Recorder, ViewRecorder])
def test_five_megabytes_both_ways_at_once(run, kind):
    data = os.urandom(1 << 20) * 5

    async def main():
        server, client, theirs = await tls_pair(kind)
        client.transport.write(data)
        theirs.transport.write(data[::-1])
        assert await theirs.received(len(data)) == data
        assert await client.received(len(data)) == data[::-1]
        await closed(client, theirs)
        await ended(server)

    run(main())


@pytest.mark.stock_fails("asyncio.sslproto reads the second record into a copy", since=(3, 11))
def test_a_buffer_may_be_a_bytearray(run):
    data = os.urandom(1 << 20)

    async def main():
        server, client, theirs = await tls_pair(lambda: BufferedRecorder(30_000))
        client.transport.write(data)
        assert await theirs.received(len(data)) == data
        await closed(client, theirs)
        await ended(server)

    run(main())


def test_many_small_writes(run):
    async def main():
        server, client, theirs = await tls_pair()
        for i in range(2000):
            client.transport.write(b"%04d" % i)
        client.transport.writelines(b"%04d" % i for i in range(2000, 2100))
        expected = b"".join(b"%04d" % i for i in range(2100))
        assert await theirs.received(len(expected)) == expected
        await closed(client, theirs)
        await ended(server)

    run(main())


def test_transports_are_asyncios_and_tell_about_tls(run):
    async def main():
        server_context, client_context = for_server(), for_client()
        server, client, theirs = await tls_pair(server_context=server_context, client_context=client_context)
        transport = client.transport
        assert isinstance(transport, asyncio.Transport) and transport.can_write_eof() is False
        assert transport.get_extra_info("sslcontext") is client_context
        assert isinstance(transport.get_extra_info("ssl_object"), (ssl.SSLObject, ssl.SSLSocket))
        assert transport.get_extra_info("peercert")["subject"] == ((("commonName", "localhost"),),)
        assert transport.get_extra_info("cipher") == transport.get_extra_info("ssl_object").cipher()
        assert transport.get_extra_info("peername") == theirs.transport.get_extra_info("sockname")
        assert transport.get_extra_info("socket") is not None
        assert transport.get_extra_info("compression") is None
        assert transport.get_extra_info("nothing", 5) == 5
        assert transport.get_protocol() is client
        with pytest.raises((NotImplementedError, RuntimeError)):
            transport.write_eof()
        await closed(client, theirs)
        await ended(server)

    run(main())


def test_alpn(run):
    async def main():
        server_context, client_context = for_server(), for_client()
        server_context.set_alpn_protocols(["h2", "http/1.1"])
        client_context.set_alpn_protocols(["http/1.1", "other"])
        server, client, theirs = await tls_pair(server_context=server_context, client_context=client_context)
        for protocol in (client, theirs):
            assert protocol.transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        await closed(client, theirs)
        await ended(server)

    run(main())


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_both_versions_of_tls(run, version):
    async def main():
        client_context = for_client()
        client_context.minimum_version = client_context.maximum_version = getattr(ssl.TLSVersion, version)
        server, client, theirs = await tls_pair(client_context=client_context)
        assert client.transport.get_extra_info("ssl_object").version() == version.replace("_", ".")
        client.transport.write(b"x" * 100_000)
        assert await theirs.received(100_000) == b"x" * 100_000
        await closed(client, theirs)
        await ended(server)

    run(main())


def test_ssl_true_trusts_the_machines_authorities_only(loop, run):
    HandlerCalls(loop)

    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=for_server())
        with pytest.raises(ssl.SSLCertVerificationError):
            await soon(loop.create_connection(Recorder, "localhost", server.sockets[0].getsockname()[1], ssl=True,
                                              family=socket.AF_INET))
        await ended(server)

    run(main())


def test_the_wrong_name_fails(loop, run):
    HandlerCalls(loop)

    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=for_server())
        with pytest.raises(ssl.SSLCertVerificationError, match="[Hh]ostname"):
            await soon(loop.create_connection(Recorder, *server.sockets[0].getsockname(), ssl=for_client(),
                                              server_hostname="another.invalid"))
        await ended(server)

    run(main())


def test_the_host_is_the_name_to_check_unless_another_is_given(run):
    async def main():
        loop, accepted = asyncio.get_running_loop(), Accepted()
        server = await loop.create_server(accepted, "127.0.0.1", 0, ssl=for_server())
        for host in ("localhost", "127.0.0.1"):
            _, client = await soon(loop.create_connection(Recorder, host, server.sockets[0].getsockname()[1], ssl=for_client(),
                                                          family=socket.AF_INET))
            await closed(client, await accepted.next())
        await ended(server)

    run(main())


def test_no_name_needs_no_check(run):
    async def main():
        context = for_client()
        context.check_hostname = False
        server, client, theirs = await tls_pair(client_context=context, server_hostname="")
        await closed(client, theirs)
        await ended(server)

    run(main())


def test_a_socket_needs_a_server_hostname(loop, run):
    async def main():
        ours, peer = tcp_pair()
        with pytest.raises(ValueError, match="server_hostname"):
            await loop.create_connection(Recorder, sock=ours, ssl=for_client())
        with pytest.raises(ValueError, match="server_hostname"):
            await loop.create_connection(Recorder, "127.0.0.1", 1, server_hostname="localhost")
        with pytest.raises(ValueError, match="server_hostname"):
            await loop.create_unix_connection(Recorder, "/x", ssl=for_client())
        ours.close()
        peer.close()

    run(main())


def test_a_peer_that_speaks_no_tls(loop, run):
    HandlerCalls(loop)

    async def main():
        listening = listener()

        def answers():
            sock, _ = listening.accept()
            with sock:
                sock.recv(10)
                sock.sendall(b"220 plain text here\r\n" * 10)
                while sock.recv(1000):
                    pass

        answering = loop.run_in_executor(None, answers)
        with pytest.raises(ssl.SSLError):
            await soon(loop.create_connection(Recorder, *listening.getsockname(), ssl=for_client(), server_hostname="localhost"))
        await asyncio.gather(answering, return_exceptions=True)
        listening.close()

    run(main())


def test_a_client_that_speaks_no_tls_does_not_hurt_the_server(loop, run):
    HandlerCalls(loop)

    async def main():
        accepted = Accepted()
        server = await loop.create_server(accepted, "127.0.0.1", 0, ssl=for_server())
        address = server.sockets[0].getsockname()
        _, plain = await loop.create_connection(Recorder, *address)
        plain.transport.write(b"GET / HTTP/1.0\r\n\r\n" * 10)
        await soon(plain.lost)
        _, client = await soon(loop.create_connection(Recorder, *address, ssl=for_client(), server_hostname="localhost"))
        await closed(client, await accepted.next())
        await ended(server)

    run(main())


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_peer_that_goes_away_during_the_handshake(loop, run, end):
    HandlerCalls(loop)

    async def main():
        listening = listener()

        def goes():
            sock, _ = listening.accept()
            sock.recv(10)
            reset(sock) if end == "reset" else sock.close()

        going = loop.run_in_executor(None, goes)
        with pytest.raises((ConnectionResetError, ConnectionAbortedError, BrokenPipeError, ssl.SSLError)):
            await soon(loop.create_connection(Recorder, *listening.getsockname(), ssl=for_client(), server_hostname="localhost"))
        await going
        listening.close()

    run(main())


def test_a_handshake_that_takes_too_long(loop, run):
    HandlerCalls(loop)

    async def main():
        listening = listener()
        with pytest.raises((ConnectionAbortedError, asyncio.TimeoutError)):
            await soon(loop.create_connection(Recorder, *listening.getsockname(), ssl=for_client(), server_hostname="localhost",
                                              ssl_handshake_timeout=0.02))
        listening.close()

    run(main())


def test_a_client_that_takes_too_long_is_dropped_by_the_server(loop, run):
    HandlerCalls(loop)

    async def main():
        accepted = Accepted()
        server = await loop.create_server(accepted, "127.0.0.1", 0, ssl=for_server(), ssl_handshake_timeout=0.02)
        _, plain = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
        await soon(plain.lost)
        assert accepted.queue.empty()  # connection_made is for connections whose handshake is done
        await ended(server)

    run(main())


def test_a_handshake_can_be_cancelled(loop, run):
    async def main():
        listening = listener()
        connecting = asyncio.ensure_future(loop.create_connection(
            Recorder, *listening.getsockname(), ssl=for_client(), server_hostname="localhost"))
        await turns(30)
        accepted, _ = await loop.run_in_executor(None, listening.accept)
        assert not connecting.done()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        accepted.close()
        listening.close()
        await turns(30)

    run(main())


@pytest.mark.parametrize("timeout", [0, -1])
def test_timeouts_must_be_positive(loop, run, timeout):
    async def main():
        options = ["ssl_handshake_timeout"] + (["ssl_shutdown_timeout"] if sys.version_info >= (3, 11) else [])
        for option in options:
            ours, peer = tcp_pair()
            with pytest.raises(ValueError):
                await loop.create_connection(Recorder, sock=ours, ssl=for_client(), server_hostname="x", **{option: timeout})
            ours.close()
            peer.close()

    run(main())


# ------------------------------------------------------------------------------------------------------- flow control


def test_back_pressure(run):
    async def main():
        server, client, theirs = await tls_pair()
        theirs.transport.pause_reading()
        client.transport.set_write_buffer_limits(high=100_000, low=10_000)
        assert client.transport.get_write_buffer_limits() == (10_000, 100_000)
        total = 0
        while "pause" not in client.calls:
            client.transport.write(b"x" * 50_000)
            total += 50_000
            await turns(2)
            assert total < 200_000_000
        assert client.transport.get_write_buffer_size() > 0
        theirs.transport.resume_reading()
        await theirs.received(total)
        await until(lambda: client.calls.count("resume") == client.calls.count("pause"))
        await closed(client, theirs)
        await ended(server)

    run(main())


@pytest.mark.stock_fails("pauses with nothing in its buffer, and nothing resumes it")
def test_a_high_mark_of_zero_does_not_pause_while_nothing_waits(run):
    async def main():
        server, client, theirs = await tls_pair()
        client.transport.set_write_buffer_limits(high=0)
        for size in (1, 2):
            client.transport.write(b"x")
            assert await theirs.received(size) == size * b"x"
            assert client.calls.count("pause") == client.calls.count("resume")
        await closed(client, theirs)
        await ended(server)

    run(main())


def test_reading_can_be_paused(run):
    async def main():
        server, client, theirs = await tls_pair()
        assert theirs.transport.is_reading()
        theirs.transport.pause_reading()
        assert not theirs.transport.is_reading()
        client.transport.write(b"waits")
        await asyncio.sleep(0.01)  # sleep-ok: that nothing happens is the subject
        assert theirs.data == b""
        theirs.transport.resume_reading()
        assert await theirs.received(5) == b"waits"
        await closed(client, theirs)
        await ended(server)

    run(main())


@pytest.mark.ours_only("stock asyncio keeps a view")
def test_a_bytearray_may_be_changed_after_write(run):
    async def main():
        server, client, theirs = await tls_pair()
        theirs.transport.pause_reading()
        data = bytearray(b"a" * 10_000_000)
        client.transport.write(data)
        await turns(3)
        data[:] = b"b" * len(data)
        theirs.transport.resume_reading()
        got = await theirs.received(len(data))
        client.transport.abort()
        theirs.transport.abort()
        await soon(client.lost)
        await soon(theirs.lost)
        await ended(server)
        return got.count(b"a")

    assert run(main()) == 10_000_000


def test_types_that_can_be_written(run):
    async def main():
        server, client, theirs = await tls_pair()
        client.transport.write(bytearray(b"a"))
        client.transport.write(memoryview(b"b"))
        client.transport.write(b"")
        for wrong in ("text", 5, None):
            with pytest.raises(TypeError):
                client.transport.write(wrong)
        client.transport.write(b"c")
        assert await theirs.received(3) == b"abc"
        await closed(client, theirs)
        await ended(server)

    run(main())


@pytest.mark.stock_fails("the pieces before the wrong one leave with the next write", since=(3, 11))
@pytest.mark.parametrize("lines", [lambda: [b"HEAD", 5], lambda: (piece or 1 / 0 for piece in (b"HEAD", b""))], ids=["a number", "a failure"])
def test_writelines_sends_all_or_nothing(run, lines):
    async def main():
        server, client, theirs = await tls_pair()
        with pytest.raises((TypeError, ZeroDivisionError)):
            client.transport.writelines(lines())
        client.transport.write(b"NEXT")
        assert await theirs.received(4) == b"NEXT"
        await closed(client, theirs)
        await ended(server)

    run(main())


def test_arguments_by_name(run):
    async def main():
        server, client, theirs = await tls_pair()
        client.transport.write(data=b"some ")
        client.transport.writelines(list_of_data=[b"da", b"ta"])
        client.transport.set_protocol(protocol=client)
        assert await theirs.received(9) == b"some data"
        for wrong in (client.transport.write, client.transport.writelines, client.transport.set_protocol):
            with pytest.raises(TypeError):
                wrong(other=client)
        await closed(client, theirs)
        await ended(server)

    run(main())


# ------------------------------------------------------------------------------------------------------------- the end


@pytest.mark.stock_fails("drops what waits", until=(3, 11))
def test_close_sends_what_was_written(run):
    async def main():
        server, client, theirs = await tls_pair()
        client.transport.write(b"x" * 3_000_000)
        client.transport.close()
        assert client.transport.is_closing()
        await theirs.received(3_000_000)
        await soon(client.lost)
        await soon(theirs.lost)
        await ended(server)

    run(main())


def test_writes_after_close_are_dropped(run, bill):
    bill.allow_log("SSL connection is closed|socket.send|closed transport|lost")

    async def main():
        server, client, theirs = await tls_pair()
        client.transport.write(b"before")
        client.transport.close()
        client.transport.write(b"after")
        await soon(theirs.lost)
        assert theirs.data == b"before"
        await soon(client.lost)
        client.transport.write(b"much later")
        await ended(server)

    run(main())


def test_abort_ends_both_sides(loop, run):
    async def main():
        server, client, theirs = await tls_pair()
        client.transport.abort()
        await soon(client.lost)
        await soon(theirs.lost)
        assert client.calls == ["made", "lost"] and theirs.calls[-1] == "lost"
        await ended(server)

    HandlerCalls(loop)
    run(main())


def test_the_peers_end_is_an_eof(run):
    async def main():
        server, client, theirs = await tls_pair()
        theirs.transport.write(b"last words")
        theirs.transport.close()
        await soon(client.lost)
        assert client.data == b"last words"
        assert client.calls == ["made", "data"] + ["eof"] * (IS_OURS or sys.version_info >= (3, 11)) + ["lost"]
        await soon(theirs.lost)
        await ended(server)

    run(main())


def test_an_end_without_close_notify_still_ends_the_connection(loop, run):
    """Many servers just close TCP."""
    HandlerCalls(loop)

    async def main():
        listening = listener()

        def answers():
            sock, _ = listening.accept()
            tls = for_server().wrap_socket(sock, server_side=True, suppress_ragged_eofs=True)
            tls.sendall(b"answer")
            raw = socket.socket(fileno=tls.detach())
            raw.close()

        answering = loop.run_in_executor(None, answers)
        _, client = await soon(loop.create_connection(Recorder, *listening.getsockname(), ssl=for_client(), server_hostname="localhost"))
        await soon(client.lost)
        assert client.data == b"answer" and client.calls.count("lost") == 1
        await answering
        listening.close()

    run(main())


def test_a_reset_is_connection_losts_exception(loop, run):
    HandlerCalls(loop)

    async def main():
        listening = listener()

        def answers():
            sock, _ = listening.accept()
            tls = for_server().wrap_socket(sock, server_side=True)
            tls.sendall(b"x")
            ready.wait(20)
            reset(socket.socket(fileno=tls.detach()))

        import threading

        ready = threading.Event()
        answering = loop.run_in_executor(None, answers)
        _, client = await soon(loop.create_connection(Recorder, *listening.getsockname(), ssl=for_client(), server_hostname="localhost"))
        await client.received(1)
        ready.set()
        error = await soon(client.lost)
        assert error is None or isinstance(error, ConnectionError)
        await answering
        listening.close()

    run(main())


@pytest.mark.needs_python(3, 11)
def test_a_peer_that_does_not_say_goodbye_is_waited_for_no_longer_than_the_timeout(loop, run):
    HandlerCalls(loop)

    async def main():
        listening = listener()

        def answers():
            sock, _ = listening.accept()
            tls = for_server().wrap_socket(sock, server_side=True)
            tls.sendall(b"x")
            release.wait(20)
            tls.close()

        import threading

        release = threading.Event()
        answering = loop.run_in_executor(None, answers)
        _, client = await soon(loop.create_connection(Recorder, *listening.getsockname(), ssl=for_client(),
                                                      server_hostname="localhost", ssl_shutdown_timeout=0.05))
        await client.received(1)
        client.transport.close()
        await soon(client.lost)  # though the peer has not answered
        release.set()
        await answering
        listening.close()

    run(main())


def test_a_protocol_method_that_fails(loop, run):
    HandlerCalls(loop)

    class Fails(Recorder):
        def data_received(self, data):
            super().data_received(data)
            raise ZeroDivisionError

    async def main():
        server, client, theirs = await tls_pair(Fails)
        client.transport.write(b"x")
        error = await soon(theirs.lost)
        assert isinstance(error, ZeroDivisionError)
        client.transport.abort()
        await soon(client.lost)
        await ended(server)

    run(main())


# ------------------------------------------------------------------------------------------------------------ start_tls


async def upgraded(kind=Recorder):
    """A plain connection whose two sides then start TLS: (client, theirs) after it."""
    loop = asyncio.get_running_loop()
    one, two = tcp_pair()
    _, client = await loop.create_connection(kind, sock=one)
    _, theirs = await loop.create_connection(kind, sock=two)
    client.transport.write(b"STARTTLS")
    await theirs.received(8)
    client_transport, theirs_transport = await soon(asyncio.gather(
        loop.start_tls(client.transport, client, for_client(), server_hostname="localhost"),
        loop.start_tls(theirs.transport, theirs, for_server(), server_side=True)))
    client.transport, theirs.transport = client_transport, theirs_transport
    return client, theirs


@pytest.mark.parametrize("kind", [Recorder, ViewRecorder])
def test_a_plain_connection_can_become_a_secure_one(run, kind):
    async def main():
        client, theirs = await upgraded(kind)
        client.transport.write(b"secret")
        await theirs.received(14)
        assert theirs.data == b"STARTTLSsecret"
        theirs.transport.write(b"x" * 1_000_000)
        await client.received(1_000_000)
        assert client.transport.get_extra_info("cipher") and theirs.transport.get_extra_info("ssl_object")
        await closed(client, theirs)
        assert client.calls.count("made") == 1  # not made anew

    run(main())


@pytest.mark.parametrize("wrong", [None, "context", True])
def test_start_tls_needs_a_context(loop, run, wrong):
    async def main():
        from loop_support import with_raw_peer

        protocol, peer = await with_raw_peer()
        with pytest.raises(TypeError):
            await loop.start_tls(protocol.transport, protocol, wrong)
        await closed(protocol)
        peer.close()

    run(main())


def test_start_tls_needs_a_transport_that_can(loop, run):
    async def main():
        class Transport(asyncio.Transport):
            pass

        with pytest.raises(TypeError):
            await loop.start_tls(Transport(), Recorder(), for_client())

    run(main())


def test_start_tls_with_a_peer_that_does_not(loop, run):
    HandlerCalls(loop)

    async def main():
        from loop_support import with_raw_peer

        protocol, peer = await with_raw_peer()
        with pytest.raises((ConnectionAbortedError, asyncio.TimeoutError)):
            await soon(loop.start_tls(protocol.transport, protocol, for_client(), server_hostname="localhost",
                                      ssl_handshake_timeout=0.02))
        assert protocol.transport.is_closing()
        await turns()
        assert drained(peer)[:1] == b"\x16"  # a handshake record
        peer.close()

    run(main())


def test_streams_over_tls(run):
    async def main():
        async def echo(reader, writer):
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            done.set()

        done = asyncio.Event()
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=for_server())
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=for_client(), server_hostname="localhost")
        writer.write(b"hello\n")
        assert await soon(reader.readline()) == b"HELLO\n"
        assert await soon(reader.read()) == b""
        writer.close()
        await soon(writer.wait_closed())
        await soon(done.wait())
        await ended(server)

    run(main())


@pytest.mark.needs_python(3, 11)
def test_stream_writers_can_start_tls(run):
    async def main():
        async def serve(reader, writer):
            await reader.readline()
            writer.write(b"go\n")
            await writer.start_tls(for_server())
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)
            done.set()

        done = asyncio.Event()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        assert await soon(reader.readline()) == b"go\n"
        await soon(writer.start_tls(for_client(), server_hostname="localhost"))
        writer.write(b"secret\n")
        assert await soon(reader.readline()) == b"secret\n"
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        await soon(done.wait())
        await ended(server)

    run(main())


def test_twenty_secure_connections_at_once(run):
    async def main():
        loop, accepted = asyncio.get_running_loop(), Accepted()
        server = await loop.create_server(accepted, "127.0.0.1", 0, ssl=for_server())
        context = for_client()

        async def one():
            _, client = await loop.create_connection(Recorder, *server.sockets[0].getsockname(), ssl=context, server_hostname="localhost")
            theirs = await accepted.next()
            theirs.transport.write(b"hello")
            client.transport.write(b"x" * 10_000)
            await theirs.received(10_000)
            return client, theirs

        pairs = await soon(asyncio.gather(*(one() for _ in range(20))))
        for client, theirs in pairs:
            await client.received(5)
        for client, theirs in pairs:
            await closed(client, theirs)
        await ended(server)

    run(main())


def test_tls_over_a_unix_socket(run, tmp_path):
    import tempfile

    async def main():
        loop, accepted = asyncio.get_running_loop(), Accepted()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s")
            server = await loop.create_unix_server(accepted, path, ssl=for_server())
            _, client = await soon(loop.create_unix_connection(Recorder, path, ssl=for_client(), server_hostname="localhost"))
            theirs = await accepted.next()
            client.transport.write(b"x")
            assert await theirs.received(1) == b"x"
            await closed(client, theirs)
            await ended(server)

    run(main())
