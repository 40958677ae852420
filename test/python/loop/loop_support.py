"""Which loop is tested, and the small things many tests need: protocols that write down what happens, socket pairs, certificates."""

import asyncio
import contextlib
import functools
import gc
import importlib
import os
import socket
import struct
import sys

BOUND = 20  # seconds; only a failure waits so long

HERE = os.path.dirname(os.path.abspath(__file__))


def _factory():
    name = os.environ.get("LOOP_FACTORY")
    if not name:
        try:
            from erlang import new_event_loop  # noqa: F401

            name = "erlang:new_event_loop"
        except ImportError:  # not in a worker, or with the stand-in of test/python/fake
            name = "asyncio:new_event_loop"
    module, _, function = name.partition(":")
    return name, getattr(importlib.import_module(module), function)


FACTORY_NAME, new_event_loop = _factory()
IS_OURS = FACTORY_NAME.startswith("erlang:")


@functools.lru_cache(maxsize=None)
def warm_up():
    """Opens what is opened once per process and kept, so that it is no test's leak."""
    import concurrent.futures.thread  # noqa: F401
    import multiprocessing  # noqa: F401
    import ssl  # noqa: F401

    loop = new_event_loop()
    loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 1, type=socket.SOCK_STREAM))

    async def child():
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()

    loop.run_until_complete(child())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    if sys.version_info < (3, 12):
        asyncio.set_event_loop(None)
    gc.collect()
    gc.freeze()  # the collections of each test look at what came after this only, which makes them fast


# ------------------------------------------------------------------------------------------------------------ waiting


async def turns(n=10):
    """Lets the loop go round `n` times: everything happens that waits for nothing but its turn."""
    for _ in range(n):
        await asyncio.sleep(0)


async def soon(awaitable):
    """Awaits it, with a bound that only a failure reaches."""
    return await asyncio.wait_for(awaitable, BOUND)


async def until(settled):
    """Goes round until it is true: for what the loop announces to nobody, like the size of a write buffer."""
    loop = asyncio.get_running_loop()
    end = loop.time() + BOUND
    while not settled():
        assert loop.time() < end, "did not become true"
        await asyncio.sleep(0.001)  # sleep-ok: nothing announces it
    return settled()


# ---------------------------------------------------------------------------------------------------------- protocols


class Recorder(asyncio.Protocol):
    """Writes down every call, in order. `made`, `eof` and `lost` are futures for the moment of each.

    `keep_open` is what eof_received returns."""

    def __init__(self, keep_open=False):
        loop = asyncio.get_running_loop()
        self.calls, self.data, self.transport, self.keep_open = [], bytearray(), None, keep_open
        self.made, self.eof, self.lost = loop.create_future(), loop.create_future(), loop.create_future()
        self._waiting = []

    def connection_made(self, transport):
        assert self.calls == [], self.calls
        self.calls.append("made")
        self.transport = transport
        self.made.set_result(transport)

    def data_received(self, data):
        assert type(data) is bytes and data
        if self.calls[-1] != "data":
            self.calls.append("data")
        self.data += data
        self._wake()

    def eof_received(self):
        self.calls.append("eof")
        self.eof.set_result(None)
        return self.keep_open

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)
        self._wake()

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def _wake(self):
        for wanted, future in self._waiting:
            if not future.done() and wanted():
                future.set_result(None)

    async def _wait(self, wanted):
        if not wanted():
            future = asyncio.get_running_loop().create_future()
            self._waiting.append((wanted, future))
            await soon(future)

    async def received(self, count):
        """The first `count` bytes, when they are here."""
        await self._wait(lambda: len(self.data) >= count or self.lost.done())
        assert len(self.data) >= count, f"lost after {len(self.data)} of {count} bytes: {self.calls}"
        return bytes(self.data[:count])


class BufferedRecorder(asyncio.BufferedProtocol):
    """The same for a protocol that lends its buffer."""

    def __init__(self, size=1000):
        loop = asyncio.get_running_loop()
        self.calls, self.data, self.hints, self.buffer = [], bytearray(), [], bytearray(size)
        self.made, self.lost = loop.create_future(), loop.create_future()
        self._waiting = []

    connection_made = Recorder.connection_made
    connection_lost = Recorder.connection_lost
    _wake, _wait, received = Recorder._wake, Recorder._wait, Recorder.received

    def get_buffer(self, sizehint):
        self.hints.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes):
        assert 0 < nbytes <= len(self.buffer)
        if self.calls[-1] != "data":
            self.calls.append("data")
        self.data += self.buffer[:nbytes]
        self._wake()

    def eof_received(self):
        self.calls.append("eof")


class DatagramRecorder(asyncio.DatagramProtocol):
    def __init__(self):
        loop = asyncio.get_running_loop()
        self.datagrams, self.errors, self.calls = asyncio.Queue(), asyncio.Queue(), []
        self.lost, self.transport = loop.create_future(), None

    def connection_made(self, transport):
        self.calls.append("made")
        self.transport = transport

    def datagram_received(self, data, addr):
        assert type(data) is bytes
        self.datagrams.put_nowait((data, addr))

    def error_received(self, exc):
        self.errors.put_nowait(exc)

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")


# ------------------------------------------------------------------------------------------------------------ sockets

HAS_IPV6 = False
if socket.has_ipv6:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as _probe:
        _probe.bind(("::1", 0))
        HAS_IPV6 = True


def free_port(family=socket.AF_INET, kind=socket.SOCK_STREAM):
    """A port on which nobody listens right now."""
    with socket.socket(family, kind) as sock:
        sock.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        return sock.getsockname()[1]


def listener(backlog=10):
    """A blocking listening socket on 127.0.0.1."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(backlog)
    return sock


def socketpair(kind=socket.SOCK_STREAM):
    """Two connected, non-blocking unix sockets."""
    pair = socket.socketpair(type=kind)
    for sock in pair:
        sock.setblocking(False)
    return pair


def tcp_pair():
    """Two connected, non-blocking TCP sockets."""
    with listener() as listening:
        client = socket.create_connection(listening.getsockname())
        server, _ = listening.accept()
    for sock in (client, server):
        sock.setblocking(False)
    return client, server


def reset(sock):
    """Closes a TCP socket so that the peer sees ECONNRESET."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def stuffed(sock):
    """Writes to a non-blocking socket until it takes no more; how many bytes that were."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            count += sock.send(b"x" * 65536)
    return count


def small_buffers(*socks, size=65536):
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def drained(sock):
    """Everything that a non-blocking socket has for us now."""
    data = b""
    with contextlib.suppress(BlockingIOError):
        while chunk := sock.recv(1 << 20):
            data += chunk
    return data


async def connected(make_protocol=Recorder, make_peer=Recorder, tcp=True):
    """Two protocols whose transports are connected with each other."""
    loop = asyncio.get_running_loop()
    one, two = tcp_pair() if tcp else socketpair()
    if tcp:
        _, protocol = await soon(loop.create_connection(make_protocol, sock=one))
        _, peer = await soon(loop.create_connection(make_peer, sock=two))
    else:
        _, protocol = await soon(loop.create_unix_connection(make_protocol, sock=one))
        _, peer = await soon(loop.create_unix_connection(make_peer, sock=two))
    return protocol, peer


async def with_raw_peer(make_protocol=Recorder, tcp=True):
    """A protocol with its transport, and the bare non-blocking socket on the other side."""
    loop = asyncio.get_running_loop()
    ours, peer = tcp_pair() if tcp else socketpair()
    create = loop.create_connection if tcp else loop.create_unix_connection
    _, protocol = await soon(create(make_protocol, sock=ours))
    return protocol, peer


async def closed(*protocols):
    """Closes their transports and waits until everyone knows."""
    for protocol in protocols:
        protocol.transport.close()
    for protocol in protocols:
        await soon(protocol.lost)


# --------------------------------------------------------------------------------------------------------- exceptions


class HandlerCalls(list):
    """An exception handler that keeps the contexts it was called with."""

    def __init__(self, loop):
        super().__init__()
        loop.set_exception_handler(lambda loop, context: self.append(context))

    def messages(self):
        return [context["message"] for context in self]
