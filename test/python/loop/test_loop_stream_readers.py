"""Much data for asyncio's own streams, which the loop reads right into the reader's buffer, and for everything that only looks like them."""

import asyncio
import os
import random
import select
import socket
import threading

import pytest
from asyncio.subprocess import PIPE, SubprocessStreamProtocol
from loop_support import BOUND, HandlerCalls, soon, turns, until

SIZES = (300_000, 1, 300_000, 70_000, 300_000, 33_000, 32_768, 32_767, 5, 300_000)


def pieces_of(sizes=SIZES):
    random.seed(1)
    return [random.getrandbits(8 * size).to_bytes(size, "little") for size in sizes]


class ByTcp:
    """A protocol's connection, and how to write to it from another thread."""

    async def connect(self, loop, protocol):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.theirs = socket.create_connection(listener.getsockname())
            ours, _ = listener.accept()
        return (await loop.create_connection(lambda: protocol, sock=ours))[0]

    def send(self, data):
        self.theirs.sendall(data)

    def end(self):
        self.theirs.close()


class ByUnix(ByTcp):
    async def connect(self, loop, protocol):
        ours, self.theirs = socket.socketpair()
        return (await loop.create_unix_connection(lambda: protocol, sock=ours))[0]


class ByPipe:
    async def connect(self, loop, protocol):
        out, into = os.pipe()
        self.theirs = open(into, "wb", 0)
        return (await loop.connect_read_pipe(lambda: protocol, open(out, "rb", 0)))[0]

    def send(self, data):
        left = memoryview(data)
        while left:
            left = left[self.theirs.write(left) :]

    def end(self):
        self.theirs.close()


everywhere = pytest.mark.parametrize("by", [ByTcp, ByUnix, ByPipe])


async def exchanged(by, reader, protocol, sizes=SIZES):
    """Sends pieces so large, and gives them and what was read: each is on its way while the one before it is read."""
    loop = asyncio.get_running_loop()
    peer = by()
    transport = await peer.connect(loop, protocol)
    pieces = pieces_of(sizes)
    sending = threading.Thread(target=lambda: [peer.send(piece) for piece in pieces] and peer.end())
    sending.start()
    got = [await soon(reader.readexactly(size)) for size in sizes]
    assert await soon(reader.read()) == b""
    sending.join()
    transport.close()
    await turns()
    return pieces, got


def streams():
    reader = asyncio.StreamReader()
    return reader, asyncio.StreamReaderProtocol(reader)


@everywhere
def test_what_is_read_is_what_was_sent(run, by):
    async def main():
        pieces, got = await exchanged(by, *streams())
        assert got == pieces

    run(main())


# ------------------------------------------------------------------------------------- who wants to see what arrives

seen = []


class SeesReader(asyncio.StreamReader):
    def feed_data(self, data):
        seen.append(data)
        super().feed_data(data)


class SeesProtocol(asyncio.StreamReaderProtocol):
    def data_received(self, data):
        seen.append(data)
        super().data_received(data)


class SeesBuffer(bytearray):
    def extend(self, data):
        seen.append(data)
        super().extend(data)


def replace(thing, name):
    original = getattr(thing, name)

    def replacement(*args):
        seen.append(args[-1])
        original(*args)

    setattr(thing, name, replacement)


def a_reader_of_another_class():
    reader = SeesReader()
    return reader, asyncio.StreamReaderProtocol(reader)


def a_protocol_of_another_class():
    reader = asyncio.StreamReader()
    return reader, SeesProtocol(reader)


def a_reader_with_a_method_of_its_own():
    reader, protocol = streams()
    replace(reader, "feed_data")
    return reader, protocol


def a_protocol_with_a_method_of_its_own():
    reader, protocol = streams()
    replace(protocol, "data_received")
    return reader, protocol


def a_reader_with_a_buffer_of_its_own():
    reader, protocol = streams()
    reader._buffer = SeesBuffer()
    return reader, protocol


@everywhere
@pytest.mark.parametrize(
    "make",
    [
        a_reader_of_another_class,
        a_protocol_of_another_class,
        a_reader_with_a_method_of_its_own,
        a_protocol_with_a_method_of_its_own,
        a_reader_with_a_buffer_of_its_own,
    ],
)
def test_who_wants_to_see_what_arrives_does(run, by, make):
    async def main():
        pieces, got = await exchanged(by, *make())
        assert got == pieces
        assert {type(data) for data in seen} == {bytes} and b"".join(seen) == b"".join(pieces)

    seen.clear()
    run(main())


@pytest.mark.parametrize("cls, name", [(asyncio.StreamReader, "feed_data"), (asyncio.StreamReaderProtocol, "data_received")])
def test_a_class_whose_method_is_replaced_sees_it(run, monkeypatch, cls, name):
    """By a library that counts, for instance."""

    async def main():
        pieces, got = await exchanged(ByTcp, *streams())
        assert got == pieces and b"".join(seen) == b"".join(pieces)

    monkeypatch.setattr(cls, name, getattr(cls, name))  # which is undone at the end
    replace(cls, name)
    seen.clear()
    run(main())


# ---------------------------------------------------------------------------------------------- what feed_data does besides


class Transport(asyncio.ReadTransport):
    def __init__(self, can_pause=True):
        super().__init__()
        self.paused, self.can_pause = 0, can_pause

    def pause_reading(self):
        if not self.can_pause:
            raise NotImplementedError
        self.paused += 1


@pytest.mark.ours_only("its own way of feeding a reader")
@pytest.mark.parametrize("can_pause", [True, False])
@pytest.mark.parametrize("waits", ["nobody", "somebody", "somebody cancelled"])
@pytest.mark.parametrize("size", [1, 2_000, 2_001])
def test_a_reader_is_left_as_feed_data_leaves_it(run, size, waits, can_pause):
    from erlang._stream_readers import was_fed

    def feed(reader, data):
        reader._buffer.extend(data)
        was_fed(reader)

    async def states_after(feed_data):
        reader, transport = asyncio.StreamReader(limit=1_000), Transport(can_pause)
        reader.set_transport(transport)
        if waits != "nobody":
            waiter = reader._waiter = asyncio.get_running_loop().create_future()
        if waits == "somebody cancelled":
            waiter.cancel()
        states = []
        for _ in range(2):
            feed_data(reader, bytes(size))
            woken = waits == "nobody" or waiter.done()
            states.append((bytes(reader._buffer), woken, reader._waiter, reader._paused, reader._transport is transport, transport.paused))
        return states

    async def main():
        assert await states_after(feed) == await states_after(asyncio.StreamReader.feed_data)

    run(main())


@everywhere
@pytest.mark.stock_fails("its pipes do not tell whether they read", until=(3, 12))
def test_nobody_who_reads_stops_the_other_side(run, by):
    async def main():
        reader, protocol = streams()
        peer = by()
        transport = await peer.connect(asyncio.get_running_loop(), protocol)
        data = os.urandom(8 << 20)
        sending = threading.Thread(target=lambda: (peer.send(data), peer.end()))
        sending.start()
        for read in range(0, 1_000_000, 250_000):
            assert await soon(reader.readexactly(250_000)) == data[read : read + 250_000]
            await until(lambda: not transport.is_reading())  # while there is more than the limit
            assert len(reader._buffer) <= 2 * 65_536 + (256 << 10) and sending.is_alive()
        assert await soon(reader.read()) == data[1_000_000:]
        sending.join()
        transport.close()
        await turns()

    run(main())


async def used(by):
    """A reader that has had much data, its peer and its transport: the next read would go right into the buffer."""
    reader, protocol = streams()
    peer = by()
    transport = await peer.connect(asyncio.get_running_loop(), protocol)
    peer.send(bytes(50_000))
    await soon(reader.readexactly(50_000))
    return reader, peer, transport


@everywhere
def test_a_buffer_that_cannot_grow_is_the_readers_failure(loop, run, by):
    """Somebody looks into it: as with asyncio, that data is lost and the failure is reported."""
    calls = HandlerCalls(loop)

    async def main():
        reader, peer, transport = await used(by)
        with memoryview(reader._buffer):
            peer.send(b"lost")
            await until(lambda: calls)
        assert reader._buffer == b""
        assert transport.is_closing() == (by is not ByPipe)  # as with asyncio
        peer.end()
        transport.close()
        await turns()

    run(main())
    (context,) = calls
    assert type(context["exception"]) is BufferError


@everywhere
def test_data_after_the_end_was_said_is_reported(loop, run, by):
    calls = HandlerCalls(loop)

    async def main():
        reader, peer, transport = await used(by)
        reader.feed_eof()
        peer.send(bytes(50_000))
        await until(lambda: calls)
        assert reader._buffer == b""
        peer.end()
        transport.close()
        await turns()

    run(main())
    assert {str(context["exception"]) for context in calls} == {"feed_data after feed_eof"}


@everywhere
def test_a_reader_that_is_gone_gets_nothing(run, by):
    async def main():
        reader, peer, transport = await used(by)
        del reader
        peer.send(bytes(50_000))
        peer.end()
        await until(transport.is_closing if by is ByPipe else lambda: True)
        transport.close()
        await turns()

    run(main())


# -------------------------------------------------------------------------------------------------------- child processes

@pytest.mark.parametrize("fd", [1, 2])
def test_much_from_a_child(run, fd):
    async def main():
        child = await asyncio.create_subprocess_shell(f"cat >&{fd}", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        out = child.stdout if fd == 1 else child.stderr
        for piece in pieces_of():
            child.stdin.write(piece)
            assert await soon(out.readexactly(len(piece))) == piece
        child.stdin.close()
        assert await soon(out.read()) == b"" and await soon(child.wait()) == 0

    run(main())


class Sees(SubprocessStreamProtocol):
    def pipe_data_received(self, fd, data):
        seen.append(data)
        super().pipe_data_received(fd, data)


class Notes(asyncio.SubprocessProtocol):
    def __init__(self):
        self.calls, self.ended = [], asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.calls.append("made")

    def pipe_data_received(self, fd, data):
        self.calls.append(data)

    def pipe_connection_lost(self, fd, exc):
        self.calls.append("pipe lost")

    def connection_lost(self, exc):
        self.ended.set_result(exc)


def test_a_protocol_of_ones_own_sees_the_data_of_a_child(loop, run):
    async def main():
        transport, protocol = await loop.subprocess_exec(lambda: Sees(65_536, loop), "sh", "-c", "head -c 3000000 /dev/zero", stdin=None)
        assert await soon(protocol.stdout.read()) == bytes(3_000_000) == b"".join(seen)
        await soon(transport._wait())
        transport.close()
        await turns()

    seen.clear()
    run(main())


def test_data_that_is_there_from_the_beginning_comes_in_order(loop, run, monkeypatch):
    """What came before connection_made is not overtaken by what comes after it."""
    connect_read_pipe, pipes = loop.connect_read_pipe, []

    async def connect(make, pipe):
        """The child has written something that is then read here while its pipes are being connected, and more that the first turn after that finds."""
        connected = await connect_read_pipe(make, pipe)
        pipes.append(pipe)
        assert select.select(pipes[:1], [], [], BOUND)[0]
        return connected

    monkeypatch.setattr(loop, "connect_read_pipe", connect)

    async def main():
        transport, notes = await loop.subprocess_exec(Notes, "seq", "200000", stdin=None)
        await soon(notes.ended)
        assert notes.calls[0] == "made" and notes.calls[-2:] == ["pipe lost"] * 2
        lines = b"".join(data for data in notes.calls if type(data) is bytes).split()
        assert list(map(int, lines)) == list(range(1, 200_001))
        transport.close()

    run(main())


@pytest.mark.ours_only("its own way of feeding a reader")
@pytest.mark.parametrize("cls, name", [(asyncio.StreamReader, "feed_data"), (asyncio.StreamReaderProtocol, "data_received")])
def test_a_method_that_was_replaced_before_us_is_not_taken_for_asyncios(run, monkeypatch, cls, name):
    import importlib.util

    from erlang import _stream_readers

    async def main():
        _, protocol = reader_and_protocol = streams()
        assert _stream_readers.reader_behind(protocol) is reader_and_protocol[0]
        monkeypatch.setattr(cls, name, getattr(cls, name))
        replace(cls, name)
        spec = importlib.util.spec_from_file_location("erlang._later", _stream_readers.__file__)
        later = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(later)
        assert later.reader_behind(protocol) is None

    run(main())
