"""What is done many times leaves nothing behind: no object, no reference to what lives on, no memory.

CPython counts its allocated blocks, also in release builds, so one object per turn that is never freed shows, whatever its type. References to
what lives on anyway (a loop, a type of ours) show in the counts of those. Bounds are a tenth of a piece per turn; there is no clock.
"""

import asyncio
import contextlib
import ctypes
import gc
import os
import socket
import sys

import pytest
from loop_support import DatagramRecorder, closed, connected, socketpair, soon, turns
from test_loop_tls import Accepted, ended, for_client, for_server, tls_pair

pytestmark = pytest.mark.ours_only("stock asyncio is not the subject")

MANY, CONNECTIONS, HANDSHAKES = 10_000, 2_000, 200


def resident():
    """Bytes, after the C library gave back what it can."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def our_types():
    """The types of the native module, and how many references each has."""
    import _erlang_loop

    return [value for value in vars(_erlang_loop).values() if isinstance(value, type)]


class Counts:
    def __init__(self, loop):
        while gc.collect():
            pass
        self.types = our_types()
        self.alive = [asyncio, loop, type(loop), asyncio.Future, asyncio.Task, *self.types]
        self.references = [sys.getrefcount(each) for each in self.alive]
        self.resident = resident()
        self.blocks = sys.getallocatedblocks()

    def debts(self, before, times, memory):
        allowed = times // 10
        if self.blocks - before.blocks > allowed:  # none are counted with PYTHONMALLOC=malloc
            yield f"{self.blocks - before.blocks} blocks after {times} turns"
        for what, now, then in zip(self.alive, self.references, before.references):
            if abs(now - then) > allowed:
                yield f"{now - then} references to {what!r} after {times} turns"
        if self.resident - before.resident > memory:
            yield f"{self.resident - before.resident} bytes after {times} turns"


ROUNDS = 12  # the free lists of ours fill up slowly where a turn is a whole handshake


def check(loop, run, times, some, memory=4 << 20):
    """Awaits some(n) until a round of it leaves nothing behind: what is kept for the next ones (free lists, caches, buffers) comes in the first
    rounds, a leak in all of them."""
    run(some(times // 10))
    for _ in range(ROUNDS):
        before = Counts(loop)
        run(some(times))
        debts = list(Counts(loop).debts(before, times, memory))
        if not debts:
            return
    pytest.fail(f"in each of {ROUNDS} rounds, the last time {debts}")


# ---------------------------------------------------------------------------------------------------------- callbacks


def nothing(*args, **kwargs):
    pass


def fails(*args):
    raise ValueError("on purpose")


CALLBACKS = {
    "call_soon": lambda loop: loop.call_soon(nothing),
    "call_soon with three arguments": lambda loop: loop.call_soon(nothing, [], [], []),
    "call_soon with five arguments": lambda loop: loop.call_soon(nothing, [], [], [], [], []),
    "call_soon with a context": lambda loop: loop.call_soon(nothing, context=None),
    "call_soon and cancel": lambda loop: loop.call_soon(nothing, []).cancel(),
    "a callback that fails": lambda loop: loop.call_soon(fails, []),
    "a callback that fails, with five arguments": lambda loop: loop.call_soon(fails, 1, 2, 3, 4, []),
    "a handle that is looked at": lambda loop: (lambda h: (repr(h), h._args, h._callback, h._context, h.cancelled(), h.get_context()))(
        loop.call_soon(nothing, [], [])),
    "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(nothing, []),
    "call_later": lambda loop: loop.call_later(0, nothing, []),
    "call_later and cancel": lambda loop: loop.call_later(1000, nothing, [], [], [], []).cancel(),
    "call_at that is looked at": lambda loop: (lambda h: (repr(h), h.when(), h < h, h == h, hash(h)))(loop.call_at(0, nothing, [])),
    "a call that is refused": lambda loop: [refused(loop.call_soon), refused(loop.call_later, 1),
                                            refused(loop.call_soon, nothing, strange=1), refused(loop.call_later, "x", nothing)],
    "a future": lambda loop: loop.create_future().set_result(None),
    "a task": lambda loop: loop.create_task(asyncio.sleep(0)),
    "a task that is cancelled": lambda loop: loop.create_task(asyncio.sleep(1000)).cancel(),  # sleep-ok: it is cancelled
}


def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except (TypeError, ValueError):
        return
    raise AssertionError("it was not refused")


@pytest.mark.parametrize("name", CALLBACKS)
def test_callbacks(loop, run, name):
    loop.set_exception_handler(lambda loop, context: None)
    once = CALLBACKS[name]

    async def some(times):
        for i in range(times):
            once(loop)
            if i % 100 == 0:
                await turns(2)
        await turns(4)

    check(loop, run, MANY, some)


def test_callbacks_in_debug_mode(loop, run):
    async def some(times):
        loop.set_debug(True)
        loop.slow_callback_duration = 3600  # this very coroutine takes long
        for i in range(times):
            loop.call_soon(nothing, [])
            loop.call_soon(nothing, []).cancel()
            loop.call_later(1000, nothing, []).cancel()
            if i % 100 == 0:
                await turns(2)
        await turns(4)
        loop.set_debug(False)

    check(loop, run, MANY // 5, some)


# -------------------------------------------------------------------------------------------------------- descriptors


def test_readers_and_writers(loop, run):
    async def some(times):
        one, two = socketpair()
        for i in range(times):
            loop.add_reader(one, nothing, [])
            loop.add_writer(one, nothing, [])
            loop.add_reader(one, nothing, [])  # in the place of the first
            if i % 10 == 0:
                await turns(1)
            assert loop.remove_reader(one) and loop.remove_writer(one) and not loop.remove_reader(one)
        one.close(), two.close()

    check(loop, run, MANY, some)


async def sock_at_once(loop, one, two):
    await loop.sock_sendall(one, b"x")
    await loop.sock_recv(two, 10)
    await loop.sock_sendall(one, bytearray(b"x"))
    await loop.sock_recv_into(two, bytearray(10))


async def sock_that_waits(loop, one, two):
    receives = loop.create_task(loop.sock_recv(two, 10))
    await asyncio.sleep(0)
    await loop.sock_sendall(one, b"x")
    await receives


async def sock_cancelled(loop, one, two):
    receives = loop.create_task(loop.sock_recv_into(two, bytearray(100)))
    await asyncio.sleep(0)
    receives.cancel()
    await asyncio.wait([receives])


async def sock_closed(loop, one, two):
    call = loop.sock_sendall(one, bytearray(b"x"))
    call.close()
    call = loop.sock_recv(two, 10)
    with contextlib.suppress(ValueError):
        call.throw(ValueError("on purpose"))


async def sock_that_fails(loop, one, two):
    with contextlib.suppress(TypeError):
        await loop.sock_sendall(one, 5)
    with contextlib.suppress(TypeError, BufferError):
        await loop.sock_recv_into(two, b"read only")


@pytest.mark.parametrize("once", [sock_at_once, sock_that_waits, sock_cancelled, sock_closed, sock_that_fails])
def test_sock_calls(loop, run, once):
    async def some(times):
        one, two = socketpair()
        for _ in range(times):
            await once(loop, one, two)
        one.close(), two.close()
        await turns()

    check(loop, run, MANY // 2, some)


def test_sock_calls_on_ever_new_sockets(loop, run):
    async def some(times):
        for _ in range(times):
            one, two = socketpair()
            await sock_that_waits(loop, one, two)
            one.close(), two.close()

    check(loop, run, CONNECTIONS, some)


# -------------------------------------------------------------------------------------------------------- connections


class Quiet(asyncio.Protocol):
    def __init__(self):
        self.received, self.lost, self.awaited = 0, asyncio.get_running_loop().create_future(), None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += len(data)
        if self.awaited and self.received >= self.awaited[0]:
            self.awaited[1].set_result(None)
            self.awaited = None

    def connection_lost(self, exc):
        self.lost.set_result(exc)

    async def until_received(self, count):
        if self.received < count:
            self.awaited = count, asyncio.get_running_loop().create_future()
            await soon(self.awaited[1])


class QuietBuffered(asyncio.BufferedProtocol):
    __init__, connection_made, connection_lost, until_received = Quiet.__init__, Quiet.connection_made, Quiet.connection_lost, Quiet.until_received

    def get_buffer(self, sizehint):
        return bytearray(10_000)

    def buffer_updated(self, nbytes):
        Quiet.data_received(self, bytes(nbytes))


class Failing(Quiet):
    def data_received(self, data):
        raise ValueError("on purpose")


async def end_close(protocol, peer):
    protocol.transport.close()


async def end_abort(protocol, peer):
    protocol.transport.write(b"x" * 1_000_000)
    protocol.transport.abort()


async def end_half_closed(protocol, peer):
    protocol.transport.write(b"x")
    protocol.transport.write(memoryview(b"yz")[1:])
    protocol.transport.write_eof()
    peer.shutdown(socket.SHUT_WR)


async def end_of_peer(protocol, peer):
    peer.close()


async def end_by_failure(protocol, peer):
    peer.send(b"x")


async def end_with_all_methods(protocol, peer):
    transport = protocol.transport
    transport.pause_reading()
    transport.resume_reading()
    transport.set_write_buffer_limits(100, 10)
    transport.get_write_buffer_limits(), transport.get_write_buffer_size(), transport.get_extra_info("peername"), transport.get_extra_info("none", [])
    repr(transport), transport.get_protocol(), transport.is_closing(), transport.is_reading()
    transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
    transport.set_protocol(protocol)
    refused(transport.write, 5)
    refused(transport.set_write_buffer_limits, 1, 2)
    transport.close()


ENDS = [(end_close, Quiet), (end_abort, Quiet), (end_half_closed, Quiet), (end_of_peer, Quiet), (end_of_peer, QuietBuffered), (end_by_failure, Failing),
        (end_with_all_methods, Quiet)]


@pytest.mark.parametrize("end, protocol", ENDS, ids=lambda x: x.__name__)
def test_connections(loop, run, end, protocol):
    loop.set_exception_handler(lambda loop, context: None)

    async def some(times):
        for _ in range(times):
            one, peer = socketpair()
            _, made = await loop.create_unix_connection(protocol, sock=one)
            await end(made, peer)
            await soon(made.lost)
            peer.close()
        await turns()

    check(loop, run, CONNECTIONS, some)


def test_servers_and_clients(loop, run):
    async def some(times):
        server = await loop.create_server(Quiet, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        for _ in range(times):
            transport, protocol = await loop.create_connection(Quiet, *address)
            transport.abort()
            await soon(protocol.lost)
        server.close()
        await turns()

    check(loop, run, CONNECTIONS // 2, some)


@pytest.mark.parametrize("protocol", [Quiet, QuietBuffered])
def test_data(loop, run, protocol):
    async def some(times):
        one, two = await connected(protocol, protocol, tcp=False)
        for i in range(times):
            size = 70_000 if i % 100 == 0 else 10
            before = two.received
            one.transport.write(b"x" * size)
            one.transport.write(bytearray(b"y"))
            one.transport.write(memoryview(b"z"))
            await two.until_received(before + size + 2)
        await closed(one, two)

    check(loop, run, MANY // 2, some)


def test_datagram_endpoints(loop, run):
    async def some(times):
        for _ in range(times):
            transport, protocol = await loop.create_datagram_endpoint(DatagramRecorder, ("127.0.0.1", 0))
            transport.sendto(b"x", transport.get_extra_info("sockname"))
            transport.close()
            await soon(protocol.lost)

    check(loop, run, CONNECTIONS, some)


def test_datagrams(loop, run):
    async def some(times):
        transport, protocol = await loop.create_datagram_endpoint(DatagramRecorder, ("127.0.0.1", 0))
        address = transport.get_extra_info("sockname")
        for i in range(times):
            transport.sendto(b"x" * (i % 1000), address)
            data, peer = await soon(protocol.datagrams.get())
            assert peer == address and len(data) == i % 1000
            refused(transport.sendto, 5, address)
        transport.abort()
        await soon(protocol.lost)

    check(loop, run, MANY // 2, some)


# ---------------------------------------------------------------------------------------------------------------- TLS


@pytest.mark.parametrize("end", ["close", "abort"])
def test_tls_connections(loop, run, end):
    context = for_client()

    async def some(times):
        accepted = Accepted(Quiet)
        server = await loop.create_server(accepted, "127.0.0.1", 0, ssl=for_server())
        for _ in range(times):
            _, client = await loop.create_connection(Quiet, *server.sockets[0].getsockname(), ssl=context, server_hostname="localhost")
            theirs = await accepted.next()
            client.transport.write(b"x")
            await theirs.until_received(1)
            getattr(client.transport, end)()
            await soon(client.lost)
            await soon(theirs.lost)
        await ended(server)

    check(loop, run, HANDSHAKES, some, memory=16 << 20)


@pytest.mark.parametrize("protocol", [Quiet, QuietBuffered])
def test_tls_data(loop, run, protocol):
    async def some(times):
        server, client, theirs = await tls_pair(protocol)
        for i in range(times):
            size = 70_000 if i % 100 == 0 else 10
            before = theirs.received
            client.transport.write(b"x" * size)
            client.transport.writelines([bytearray(b"y"), memoryview(b"z")])
            await theirs.until_received(before + size + 2)
        await closed(client, theirs)
        await ended(server)

    check(loop, run, MANY // 4, some, memory=16 << 20)


# ---------------------------------------------------------------------------------------------------------- processes


def test_processes(loop, run):
    async def some(times):
        for _ in range(times):
            process = await asyncio.create_subprocess_exec("true", stdout=asyncio.subprocess.PIPE)
            await process.communicate()
            with contextlib.suppress(FileNotFoundError):
                await asyncio.create_subprocess_exec("/does/not/exist")

    check(loop, run, 100, some)


# -------------------------------------------------------------------------------------------------------------- pipes


@pytest.mark.parametrize("end", ["close", "abort", "by the reader", "by the writer", "garbage"])
def test_pipes(loop, run, bill, end):
    bill.allow_warning("unclosed")

    async def some(times):
        for _ in range(times):
            r, w = os.pipe()
            r, w = open(r, "rb", 0), open(w, "wb", 0)
            _, reader = await loop.connect_read_pipe(Quiet, r)
            _, writer = await loop.connect_write_pipe(Quiet, w)
            writer.transport.write(b"x")
            writer.transport.write(bytearray(b"y"))
            if end == "garbage":
                reader.transport.pause_reading()
                reader.transport.itself = reader.transport
                writer.transport.close()
                await writer.lost
                continue
            await reader.until_received(2)
            if end == "by the reader":
                reader.transport.close()
            elif end == "by the writer":
                writer.transport.close()
            else:
                getattr(writer.transport, end)()
            await reader.lost
            await writer.lost
        await turns()
        gc.collect()
        bill.warned(ResourceWarning)  # they hold the transports

    check(loop, run, CONNECTIONS, some)


def test_data_through_pipes(loop, run):
    async def some(times):
        r, w = os.pipe()
        _, reader = await loop.connect_read_pipe(Quiet, open(r, "rb", 0))
        _, writer = await loop.connect_write_pipe(Quiet, open(w, "wb", 0))
        for i in range(times):
            writer.transport.write(b"some bytes")
            writer.transport.writelines([bytearray(10), memoryview(bytes(1000 if i % 100 else 200_000))])
            reader.transport.pause_reading()
            reader.transport.resume_reading()
            await reader.until_received(1020 + reader.received)
        writer.transport.close()
        await reader.lost
        await writer.lost

    check(loop, run, MANY // 5, some)
