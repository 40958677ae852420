"""What only the context's own loop does, and that everything of asyncio works on it."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time
import warnings

import erlang

kept = []  # whatever is to outlive the call that made it


def the_loop():
    """Of the context; for code outside of it."""
    return kept[0]


async def keep_the_loop():
    kept[:] = [asyncio.get_running_loop()]


# It belongs to the context -----------------------------------------------------------------------------------------------


def refusals(loop):
    async def nothing():
        pass

    coroutine = nothing()
    said = {}
    for name, args in [("stop", ()), ("close", ()), ("run_forever", ()), ("run_until_complete", (coroutine,)), ("_run_once", ())]:
        try:
            getattr(loop, name)(*args)
        except RuntimeError as refused:
            said[name] = str(refused)
    coroutine.close()
    return said


async def refused_in_a_coroutine():
    return refusals(asyncio.get_running_loop())


def refused_outside():
    return refusals(the_loop())


async def end_the_executor():
    loop = asyncio.get_running_loop()
    try:
        said = await loop.shutdown_default_executor()
    except RuntimeError:
        said = "RuntimeError"
    return [said, await loop.run_in_executor(None, lambda: 5)]


async def raise_in_a_task(name):
    """Another task ends so while this one waits for it."""
    error = {"KeyboardInterrupt": KeyboardInterrupt, "SystemExit": SystemExit}[name]

    async def fail():
        raise error("enough")

    task = asyncio.get_running_loop().create_task(fail())
    await asyncio.wait([task])
    return [type(task.exception()).__name__, await asyncio.sleep(0, "goes on")]


async def raise_in_a_callback(name):
    """A callback that belongs to no task ends so."""

    def callback():
        called.set_result("goes on")
        raise {"KeyboardInterrupt": KeyboardInterrupt, "SystemExit": SystemExit}[name]("enough")

    loop = asyncio.get_running_loop()
    called = loop.create_future()
    loop.call_soon(callback)
    return await called


async def raise_it(name):
    await asyncio.sleep(0)
    raise {"KeyboardInterrupt": KeyboardInterrupt, "SystemExit": SystemExit}[name]("enough")


# Everything works on it ------------------------------------------------------------------------------------------------


async def descriptors():
    """Both directions of a pair of sockets by hand."""
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    with here, there:
        for each in (here, there):
            each.setblocking(False)
        got = loop.create_future()
        loop.add_reader(there, lambda: got.done() or got.set_result(there.recv(100)))
        can_write = loop.create_future()
        loop.add_writer(here, lambda: can_write.done() or can_write.set_result(here.send(b"by hand")))
        await can_write
        data = await got
        return [data, loop.remove_reader(there), loop.remove_writer(here), loop.remove_reader(there)]


async def echo(reader, writer):
    # asyncio's own callback of 3.11 stumbles over one that was cancelled, and prints it.
    with contextlib.suppress(asyncio.CancelledError):
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
    writer.close()


async def lines(number, reader, writer):
    for i in range(number):
        writer.write(b"%d\n" % i)
        assert await reader.readline() == b"%d\n" % i
    writer.close()
    await writer.wait_closed()


async def tcp(clients):
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.gather(*[lines(20, *await asyncio.open_connection("127.0.0.1", port)) for _ in range(clients)])
    return clients


async def unix(clients):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        async with await asyncio.start_unix_server(echo, path):
            await asyncio.gather(*[lines(20, *await asyncio.open_unix_connection(path)) for _ in range(clients)])
    return clients


async def tls(clients, certificate, key):
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(certificate, key)
    client_side = ssl.create_default_context(cafile=certificate)
    async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_side) as server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.gather(*[lines(20, *await asyncio.open_connection("127.0.0.1", port, ssl=client_side)) for _ in range(clients)])
    return clients


async def udp(number):
    loop = asyncio.get_running_loop()

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, address):
            self.transport.sendto(data, address)

    class Client(asyncio.DatagramProtocol):
        def __init__(self):
            self.got = asyncio.Queue()

        def datagram_received(self, data, address):
            self.got.put_nowait(data)

    server, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    client, protocol = await loop.create_datagram_endpoint(Client, remote_addr=server.get_extra_info("sockname"))
    for i in range(number):
        client.sendto(b"%d" % i)
        assert await protocol.got.get() == b"%d" % i
    client.close()
    server.close()
    return number


async def subprocesses(number):
    async def one(i):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-c", f"import sys; print(sys.stdin.read()); sys.exit({i})", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate(b"to %d" % i)
        assert out == b"to %d\n" % i
        return process.returncode

    return await asyncio.gather(*[one(i) for i in range(number)])


async def signals(number):
    loop = asyncio.get_running_loop()
    seen = asyncio.Queue()
    loop.add_signal_handler(signal.SIGUSR1, seen.put_nowait, "USR1")
    try:
        return [(os.kill(os.getpid(), signal.SIGUSR1), await seen.get())[1] for _ in range(number)]
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)


async def executors(number):
    loop = asyncio.get_running_loop()
    return await asyncio.gather(*[loop.run_in_executor(None, lambda i=i: i) for i in range(number)])


async def from_threads(number):
    """Each thread queues a callback while the loop sleeps."""
    loop = asyncio.get_running_loop()
    for i in range(number):
        told = loop.create_future()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(told.set_result, i))
        thread.start()
        assert await told == i
        thread.join()
    return number


def work():
    """Takes so long that callers have sent the next requests meanwhile."""
    return sum(range(1000))


async def serve():
    kept[:] = [await asyncio.start_server(echo, "127.0.0.1", 0)]
    return kept[0].sockets[0].getsockname()[1]


# Time ------------------------------------------------------------------------------------------------------------------


async def shortest_sleep(number, seconds):
    """The shortest of so many, and whether one of them was too short."""
    loop = asyncio.get_running_loop()
    took = []
    for _ in range(number):
        began = loop.time()
        await asyncio.sleep(seconds)
        took.append(loop.time() - began)
    return [min(took), min(took) < seconds]


async def timers(number, step):
    """Timers set in a mixed-up order: which one ran as which, and how many ran too early."""
    loop = asyncio.get_running_loop()
    ran, early = [], []
    all_ran = loop.create_future()
    start = loop.time() + step

    def due(i, when):
        if loop.time() < when:
            early.append(i)
        ran.append(i)
        if len(ran) == number:
            all_ran.set_result(None)

    for i in [i * 7 % number for i in range(number)]:
        loop.call_at(start + i * step, due, i, start + i * step)
    await all_ran
    return [ran, early]


# Sleeping --------------------------------------------------------------------------------------------------------------


async def echo_to_the_end(reader, writer):
    """Early versions of asyncio report the cancelled task of a connection as an error, and here nothing may be printed."""
    try:
        await echo(reader, writer)
    except asyncio.CancelledError:
        writer.close()


async def leave_behind(what):
    """Something that is there while nobody does anything."""
    loop = asyncio.get_running_loop()
    if what == "timer":
        kept.append(loop.call_later(3600, print))
    elif what == "cancelled":
        kept.append(loop.call_later(3600, print))
        for i in range(1, 21):
            loop.call_later(i * 0.05, print, "a cancelled timer ran").cancel()
    elif what == "server":
        kept.append(await asyncio.start_server(echo_to_the_end, "127.0.0.1", 0))
    elif what == "connection":
        server = await asyncio.start_server(echo_to_the_end, "127.0.0.1", 0)
        kept.append([server, await asyncio.open_connection(*server.sockets[0].getsockname())])
    elif what == "reader":
        pair = socket.socketpair()
        loop.add_reader(pair[0], print, "nothing can be read")
        kept.append(pair)


busy = []


def make_busy(loop):
    """A descriptor that can be read and written all the time, and a timer that is due all the time."""
    here, there = socket.socketpair()
    there.send(b"never read")

    def again():
        if busy:
            busy.append(None)
            loop.call_later(0.001, again)

    loop.add_reader(here, lambda: busy.append(None))
    loop.add_writer(here, lambda: busy.append(None))
    busy.append(None)
    again()
    return here, there


def end_busy(loop, pair):
    busy.clear()
    loop.remove_reader(pair[0])
    loop.remove_writer(pair[0])
    for each in pair:
        each.close()


async def block_the_busy_loop(name):
    """A coroutine of the loop stands in the blocking call; nothing of the loop can run."""
    loop = asyncio.get_running_loop()
    pair = make_busy(loop)
    while len(busy) < 20:
        await asyncio.sleep(0)
    before = len(busy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it blocks the loop
        answer = erlang.call(name)
    assert len(busy) == before
    while len(busy) < before + 20:  # it goes on where it was
        await asyncio.sleep(0)
    end_busy(loop, pair)
    return answer


async def begin_busy():
    loop = asyncio.get_running_loop()
    kept[:] = [loop, make_busy(loop)]
    while len(busy) < 20:
        await asyncio.sleep(0)


def block_beside_the_busy_loop(name):
    """A synchronous call waits: the loop stands still all the same."""
    before = len(busy)
    answer = erlang.call(name)
    assert len(busy) == before
    return answer


async def still_busy():
    before = len(busy)
    while len(busy) < before + 20:
        await asyncio.sleep(0)
    end_busy(*kept)
    return True


def hold_the_gil(started, fifo):
    """Until somebody writes into the named pipe."""
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDWR | os.O_CLOEXEC)
    room = ctypes.create_string_buffer(1)
    read = ctypes.PyDLL(None).read
    with open(started, "w"):
        pass
    read(fd, room, 1)
    os.close(fd)


# Children and what is closed --------------------------------------------------------------------------------------------


async def fork_among_others(path):
    """What the loop was about to do when one of its callbacks forked, is done by the parent alone: how often it was done."""
    loop = asyncio.get_running_loop()
    forked = loop.create_future()

    def fork():
        pid = os.fork()
        if pid:
            forked.set_result(pid)

    def note():
        with open(path, "a") as out:
            out.write("x")

    loop.call_soon(fork)
    loop.call_soon(note)
    _, status = await loop.run_in_executor(None, os.waitpid, await forked, 0)
    with open(path) as file:
        return [status, len(file.read())]


async def watch_pairs(number):
    loop = asyncio.get_running_loop()
    pairs = [socket.socketpair() for _ in range(number)]
    for here, _ in pairs:
        loop.add_reader(here, len, "told if the other call comes too late")
    kept[:] = [loop, pairs]


def make_ready(seconds):
    """So slow that the loop is looked at before the next call."""
    for _, there in kept[1]:
        there.send(b"x")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def unwatch():
    loop, pairs = kept
    for here, there in pairs:
        loop.remove_reader(here)
        here.close()
        there.close()
    return len(pairs)
