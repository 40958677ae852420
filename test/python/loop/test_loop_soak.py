"""Five thousand connections at once, between a server and its clients in two processes, each on a loop of ours.

Sizes are random, some connections close one direction first, some are aborted by one side or the other, some are TLS; what they carry is a part of a
block that both know, so every byte is checked. In the end both processes have the descriptors, transports and memory that they had.

SOAK_CONNECTIONS changes the number. It takes some 20 seconds on two slow processors; SOAK_CONNECTIONS=0 leaves it out.
"""

import asyncio
import contextlib
import gc
import json
import os
import random
import resource
import signal
import socket
import struct
import sys
import traceback
import warnings

import pytest
from loop_support import HandlerCalls, new_event_loop, turns
from test_loop_leaks import our_types, resident
from test_loop_tls import for_client, for_server

CONNECTIONS = int(os.environ.get("SOAK_CONNECTIONS", "5000"))
TLS_SHARE = 20  # one in so many
OPENING = 100  # at the same time
TIME = 150  # seconds, which only a failure takes

pytestmark = [pytest.mark.ours_only("a soak of ours"), pytest.mark.skipif(not CONNECTIONS, reason="SOAK_CONNECTIONS=0"),
              pytest.mark.takes(2 * TIME), pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")]

BLOCK = random.Random(42).randbytes(1 << 18) * 2
# What a client asks for: the way in which it ends, where in the block its data begins, how much it is, and where the one who aborts does so.
HEAD = struct.Struct(">BIII")
ECHO, CLIENT_ABORTS, SERVER_ABORTS = range(3)


def plan(random):
    size = random.choice([1, 100, 4_000, 20_000, 20_000, 120_000])
    size = random.randrange(size) + 1
    kind = random.choice([ECHO, ECHO, ECHO, ECHO, CLIENT_ABORTS, SERVER_ABORTS])
    return kind, random.randrange(1 << 18), size, random.randrange(size) + 1


class Checked(asyncio.Protocol):
    """What is received must be the block from `begin` on."""

    def __init__(self):
        self.kind, self.received, self.ended, self.lost = None, 0, False, asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def check(self, data):
        at = self.begin + self.received
        if BLOCK[at:at + len(data)] != data:
            raise AssertionError(f"other bytes than were sent, after {self.received}")
        self.received += len(data)

    def eof_received(self):
        self.ended = True

    def connection_lost(self, exc):
        self.lost.set_result(exc)


class Server(Checked):
    """Sends back what it gets, and pauses reading while the peer does not read."""

    def __init__(self, counts):
        super().__init__()
        self.counts, self.head = counts, b""
        counts["open"] += 1
        counts["most"] = max(counts["most"], counts["open"])

    def data_received(self, data):
        if self.kind is None:
            self.head += data
            if len(self.head) < HEAD.size:
                return
            self.kind, self.begin, self.size, self.at = HEAD.unpack_from(self.head)
            data = self.head[HEAD.size:]
        self.check(data)
        if self.kind == SERVER_ABORTS and self.received >= self.at:
            self.transport.abort()
        elif data:
            self.transport.write(data)
        if self.received == self.size and self.transport.get_extra_info("sslcontext"):
            self.transport.close()

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.counts["open"] -= 1
        if self.kind == ECHO and (self.received != self.size or exc is not None):
            self.counts["failures"].append(f"{self.received} of {self.size} bytes: {exc!r}")


class Client(Checked):
    def __init__(self, kind, begin, size, at):
        super().__init__()
        self.kind, self.begin, self.size, self.at = kind, begin, size, at

    def start(self):
        self.transport.write(HEAD.pack(self.kind, self.begin, self.size, self.at))
        self.transport.write(memoryview(BLOCK)[self.begin:self.begin + self.size])
        if self.transport.can_write_eof() and self.kind == ECHO:
            self.transport.write_eof()

    def data_received(self, data):
        self.check(data)
        if self.kind == CLIENT_ABORTS and self.received >= self.at:
            self.transport.abort()

    def verdict(self):
        exc = self.lost.result()
        if self.kind == ECHO and (self.received, self.ended, exc) != (self.size, True, None):
            return f"an echo of {self.received} of {self.size} bytes, {self.ended}: {exc!r}"
        if self.kind == CLIENT_ABORTS and exc is not None:
            return f"an abort of ours: {exc!r}"
        if self.kind == SERVER_ABORTS and self.received > self.size:
            return "more than was sent"


def left():
    """What this process has, as numbers."""
    while gc.collect():
        pass
    transports = tuple(kind for kind in our_types() if "Transport" in kind.__name__ or "Protocol" in kind.__name__)
    return {"fds": len(os.listdir("/proc/self/fd")), "transports": sum(isinstance(each, transports) for each in gc.get_objects()), "memory": resident()}


async def serve(report, orders):
    loop = asyncio.get_running_loop()
    failures = HandlerCalls(loop)
    counts = {"open": 0, "most": 0, "failures": []}
    reader = asyncio.StreamReader()
    orders_transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(orders, "rb", 0))

    async def serving(ssl):
        return await loop.create_server(lambda: Server(counts), "127.0.0.1", 0, backlog=1000, ssl=ssl)

    servers = [await serving(None), await serving(for_server())]
    tell = lambda **what: os.write(report, json.dumps(what).encode() + b"\n")
    tell(addresses=[server.sockets[0].getsockname() for server in servers])
    while (await reader.readline()) == b"count\n":
        while counts["open"]:
            await asyncio.sleep(0.01)  # sleep-ok: the clients are gone, and their last packets are on their way
        await turns()
        tell(**left(), most=counts["most"], failures=counts["failures"][:10] + [repr(each) for each in failures[:10]])
    for server in servers:
        server.close()
    orders_transport.close()


def in_child(orders, report):
    loop = new_event_loop()
    loop.run_until_complete(serve(report, orders))
    loop.close()


class Other:
    """The process with the server."""

    def __init__(self):
        from_parent, self.orders = os.pipe()
        self.report, to_parent = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                signal.setitimer(signal.ITIMER_REAL, 0)
                os.close(self.orders), os.close(self.report)
                in_child(from_parent, to_parent)
                status = 0
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
            finally:
                os._exit(status)
        os.close(from_parent), os.close(to_parent)
        self.lines = os.fdopen(self.report, "rb")

    def told(self):
        return json.loads(self.lines.readline())

    def count(self):
        os.write(self.orders, b"count\n")
        return self.told()

    def end(self):
        os.close(self.orders)
        self.lines.close()
        return os.waitpid(self.pid, 0)[1]


async def clients(number, addresses, seed):
    """All are connected before the first of them says anything."""
    loop, gate, rolls = asyncio.get_running_loop(), asyncio.Semaphore(OPENING), random.Random(seed)

    async def connect(i):
        secure = i % TLS_SHARE == 0
        async with gate:
            _, client = await loop.create_connection(lambda: Client(*plan(rolls)), *addresses[secure], ssl=context if secure else None,
                                                     server_hostname="localhost" if secure else None)
        return client

    context = for_client()
    made = await asyncio.gather(*map(connect, range(number)))
    for i, client in enumerate(made):
        client.start()
        if i % 50 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*(client.lost for client in made))
    return [verdict for verdict in (client.verdict() for client in made) if verdict]


async def wait_for_a_socket():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        loop.call_soon(theirs.send, b"x")
        assert await loop.sock_recv(ours, 1) == b"x"


@contextlib.contextmanager
def enough_descriptors(number):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < number:
        pytest.skip(f"it needs {number} descriptors in each process, and may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_thousands_of_connections_at_once(loop, run):
    with enough_descriptors(CONNECTIONS + 200):
        other = Other()
        try:
            addresses = other.told()["addresses"]
            failures = HandlerCalls(loop)
            # What is kept is there then; whether a connect() has to wait is up to the kernel.
            assert run(clients(min(CONNECTIONS, 500), addresses, 1), TIME) == []
            run(wait_for_a_socket(), TIME)
            before, there_before = left(), other.count()
            assert run(clients(CONNECTIONS, addresses, 2), TIME) == []
            after, there = left(), other.count()
        finally:
            status = other.end()
    assert failures == [] and there["failures"] == []
    assert there["most"] >= CONNECTIONS * 9 // 10  # some of which may have been aborted while the last ones were accepted
    for then, now in ((before, after), (there_before, there)):
        assert now["fds"] <= then["fds"] and now["transports"] <= then["transports"]
        # Five thousand connections have some 40 MB. Where malloc is a sanitizer's it keeps what was freed.
        assert not sys.getallocatedblocks() or now["memory"] - then["memory"] < 2048 * CONNECTIONS + (8 << 20)
    assert status == 0
