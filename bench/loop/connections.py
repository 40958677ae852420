"""What does a connection cost that does not live long, accepted and opened?"""

from __future__ import annotations

import asyncio
import socket
import threading

from echo import Echo, at, streams, with_protocol, with_sockets
from loops import NewLoop
from measure import Figures, Load, Measure, Row, batches, finish

KIB = 1024


class Refuse(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def shut(sock: socket.socket) -> None:
    sock.close()


def serve_in_thread(listener: socket.socket) -> None:
    """A blocking echo server for one connection at a time; ends when the listener is shut down."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            while data := connection.recv(64 * KIB):
                connection.sendall(data)


def opening(how: str) -> Measure:
    """The loop is the client: connect, send, receive, close. The server is a thread that uses no loop."""

    def measure(new_loop: NewLoop, seconds: float) -> Figures:
        loop = new_loop()
        asyncio.set_event_loop(loop)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=serve_in_thread, args=(listener,))
            thread.start()
            port = listener.getsockname()[1]

            async def with_streams() -> None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"x" * KIB)
                await reader.readexactly(KIB)
                writer.close()
                await writer.wait_closed()

            async def with_socket() -> None:
                with socket.socket() as sock:
                    sock.setblocking(False)
                    await loop.sock_connect(sock, ("127.0.0.1", port))
                    await loop.sock_sendall(sock, b"x" * KIB)
                    await loop.sock_recv(sock, KIB)

            once = with_streams if how == "streams" else with_socket

            async def batch() -> int:
                for _ in range(50):
                    await once()
                return 50

            figures = loop.run_until_complete(batches(batch, seconds))
            finish(loop)
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
        return figures

    return measure


ROWS: list[Row] = [
    Row("accept", "accept a connection and close it, protocol, 8 at a time",
        at("tcp", with_protocol(Refuse), Load("accept", 0, 8))),
    Row("accept_sock", "the same with sock_accept", at("tcp", with_sockets(shut), Load("accept", 0, 8))),
    Row("connect_protocol", "connect, echo of 1 KiB, close, protocol, 8 at a time",
        at("tcp", with_protocol(Echo), Load("connect", KIB, 8))),
    Row("connect_streams", "the same with streams", at("tcp", streams, Load("connect", KIB, 8))),
    Row("connect_tls", "the same with TLS, protocol", at("tls", with_protocol(Echo), Load("connect", KIB, 8))),
    Row("connect_unix", "the same on a unix socket, protocol", at("unix", with_protocol(Echo), Load("connect", KIB, 8))),
    Row("open_streams", "the loop connects: open_connection, echo of 1 KiB, close", opening("streams")),
    Row("open_sock", "the loop connects: sock_connect, echo of 1 KiB, close", opening("sock")),
]
