"""What does a server on this loop pay per request? TCP, TLS, UDP, unix sockets and sock_*, with echo_client as the load."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import tempfile
from collections.abc import Awaitable, Coroutine
from typing import Any, Callable

from loops import NewLoop
from measure import Figures, Load, Measure, Row, client_path, drive, under_load

KIB = 1024
CERTIFICATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "localhost.pem")  # self-signed, checked in
ROOM = 256 * KIB  # of every read

Server = Callable[[socket.socket, "ssl.SSLContext | None"], Awaitable[None]]


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = transport.write  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = transport.write  # type: ignore[attr-defined]
        self.buffer = memoryview(bytearray(ROOM))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        # A copy: the transport may keep what it cannot send at once, and the buffer is written to again.
        self.write(bytes(self.buffer[:nbytes]))


class DatagramEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.sendto = transport.sendto  # type: ignore[attr-defined]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.sendto(data, addr)


class Sink(asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        pass


class BufferedSink(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(ROOM))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        pass


class Source(asyncio.Protocol):
    """Writes as long as the transport takes it, and lets the loop run after each MiB: a fast client might never fill the transport."""

    def __init__(self, size: int) -> None:
        self.data = b"x" * size

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.paused = False
        self.more()

    def more(self) -> None:
        for _ in range(KIB * KIB // len(self.data)):
            if self.paused:
                return
            self.transport.write(self.data)  # type: ignore[attr-defined]
        if not self.paused:
            asyncio.get_running_loop().call_soon(self.more)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.more()

    def connection_lost(self, exc: object) -> None:
        self.paused = True


def with_protocol(protocol: Callable[[], asyncio.BaseProtocol]) -> Server:
    async def serve(sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        if sock.family == socket.AF_UNIX:
            keep(await loop.create_unix_server(protocol, sock=sock, ssl=tls))
        else:
            keep(await loop.create_server(protocol, sock=sock, ssl=tls, backlog=1024))

    return serve


async def streams(sock: socket.socket, tls: ssl.SSLContext | None) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(ROOM):
            writer.write(data)
            await writer.drain()
        writer.close()

    await start_streams(sock, tls, serve)


async def lines(sock: socket.socket, tls: ssl.SSLContext | None) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.readline():
            writer.write(data)
            await writer.drain()
        writer.close()

    await start_streams(sock, tls, serve)


async def start_streams(sock: socket.socket, tls: ssl.SSLContext | None, serve: Callable[..., Awaitable[None]]) -> None:
    if sock.family == socket.AF_UNIX:
        keep(await asyncio.start_unix_server(serve, sock=sock, ssl=tls, limit=ROOM))
    else:
        keep(await asyncio.start_server(serve, sock=sock, ssl=tls, limit=ROOM, backlog=1024))


async def echo_with_recv(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(sock, ROOM):
        await loop.sock_sendall(sock, data)
    sock.close()


async def echo_with_recv_into(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    buffer = memoryview(bytearray(ROOM))
    while size := await loop.sock_recv_into(sock, buffer):
        await loop.sock_sendall(sock, buffer[:size])
    sock.close()


def with_sockets(echo: Callable[[socket.socket], Coroutine[Any, Any, None]]) -> Server:
    async def serve(sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        sock.listen(1024)
        sock.setblocking(False)

        async def accept() -> None:
            while True:
                connection, _ = await loop.sock_accept(sock)
                connection.setblocking(False)
                if connection.family == socket.AF_INET:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                keep(loop.create_task(echo(connection)))

        keep(loop.create_task(accept()))

    return serve


kept: set[object] = set()


def keep(thing: object) -> None:
    """Servers and tasks live until the process ends."""
    kept.add(thing)


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def at(kind: str, server: Server, load: Load) -> Measure:
    """The server on a socket of that kind, under that load."""

    async def serve() -> str:
        if kind == "unix":
            path = tempfile.mktemp(dir=os.path.dirname(client_path()))  # run.py's folder, which it removes
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(path)
            await server(sock, None)
            return f"unix:{path}"
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        await server(sock, server_context() if kind == "tls" else None)
        return f"{kind}:{sock.getsockname()[1]}"

    return under_load(serve, load)


def udp(size: int, connections: int) -> Measure:
    async def serve() -> str:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(DatagramEcho, local_addr=("127.0.0.1", 0))
        keep(transport)
        return f"udp:{transport.get_extra_info('sockname')[1]}"

    return under_load(serve, Load("echo", size, connections))


def socketpairs(size: int, connections: int) -> Measure:
    """sock_* on socket pairs, whose other ends the client inherits."""

    def measure(new_loop: NewLoop, seconds: float) -> Figures:
        loop = new_loop()
        asyncio.set_event_loop(loop)
        pairs = [socket.socketpair() for _ in range(connections)]
        for ours, _ in pairs:
            ours.setblocking(False)
            keep(loop.create_task(echo_with_recv(ours)))
        fds = [theirs.fileno() for _, theirs in pairs]
        return drive(loop, "fd:" + ",".join(map(str, fds)), Load("echo", size, connections), seconds, fds)

    return measure


def echo_rows() -> list[Row]:
    flavours = [("protocol", with_protocol(Echo)), ("buffered", with_protocol(BufferedEcho)), ("streams", streams),
                ("sock", with_sockets(echo_with_recv))]
    rows = [Row(f"tcp_{name}_{size}k", f"TCP echo of {size} KiB, {name}, 10 connections",
                at("tcp", server, Load("echo", size * KIB, 10)))
            for name, server in flavours for size in (1, 10, 100)]
    rows += [Row(f"tcp_{name}_1k_100c", f"TCP echo of 1 KiB, {name}, 100 connections",
                 at("tcp", server, Load("echo", KIB, 100)))
             for name, server in flavours]
    rows += [Row(f"tcp_{name}_1k_1c", f"TCP echo of 1 KiB, {name}, one connection",
                 at("tcp", server, Load("echo", KIB, 1)))
             for name, server in flavours]
    rows += [
        Row("tcp_lines_1k", "TCP echo of lines of 1 KiB, readline, 10 connections",
            at("tcp", lines, Load("echo", KIB, 10))),
        Row("tcp_sock_into_1k", "TCP echo of 1 KiB, sock_recv_into, 10 connections",
            at("tcp", with_sockets(echo_with_recv_into), Load("echo", KIB, 10))),
        Row("tcp_sock_into_100k", "TCP echo of 100 KiB, sock_recv_into, 10 connections",
            at("tcp", with_sockets(echo_with_recv_into), Load("echo", 100 * KIB, 10))),
    ]
    return rows


def other_rows() -> list[Row]:
    rows = [Row(f"tls_{name}_{size}k", f"TLS echo of {size} KiB, {name}, 10 connections",
                at("tls", server, Load("echo", size * KIB, 10)))
            for name, server in (("protocol", with_protocol(Echo)), ("streams", streams)) for size in (1, 100)]
    rows += [Row(f"unix_{name}_{size}k", f"echo of {size} KiB on a unix socket, {name}, 10 connections",
                 at("unix", server, Load("echo", size * KIB, 10)))
             for name, server in (("protocol", with_protocol(Echo)), ("streams", streams)) for size in (1, 100)]
    rows += [Row(f"udp_{size}k", f"UDP echo of {size} KiB, {count} sockets", udp(size * KIB, count))
             for size, count in ((1, 10), (8, 10))]
    rows += [Row(f"sockpair_{size}k", f"sock_* echo of {size} KiB on 10 socket pairs", socketpairs(size * KIB, 10))
             for size in (1, 100)]
    return rows


ROWS: list[Row] = [
    *echo_rows(),
    Row("bulk_receive", "1 MiB into the server, protocol, 2 connections",
        at("tcp", with_protocol(Sink), Load("send", 256 * KIB, 2))),
    Row("bulk_receive_buffered", "1 MiB into the server, buffered protocol, 2 connections",
        at("tcp", with_protocol(BufferedSink), Load("send", 256 * KIB, 2))),
    Row("bulk_send", "1 MiB out of the server in writes of 64 KiB, 2 connections",
        at("tcp", with_protocol(lambda: Source(64 * KIB)), Load("receive", 0, 2))),
    Row("bulk_send_small", "1 MiB out of the server in writes of 1 KiB, 2 connections",
        at("tcp", with_protocol(lambda: Source(KIB)), Load("receive", 0, 2))),
    *other_rows(),
]
