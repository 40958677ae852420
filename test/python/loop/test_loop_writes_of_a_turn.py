"""Several writes in one turn of the loop: they may go out together, but nobody can tell but by the number of system calls."""

import asyncio
import os
import socket

import pytest
from loop_support import new_event_loop, turns


class Ends:
    """A transport to write to, and the other end."""

    def __init__(self, kind):
        self.kind = kind
        if kind == "pipe":
            out, into = os.pipe()
            self.theirs, self.ours = open(out, "rb", 0), open(into, "wb", 0)
        else:
            self.ours, self.theirs = socket.socketpair()

    async def connect(self, loop):
        if self.kind == "pipe":
            transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, self.ours)
        else:
            transport, _ = await loop.create_unix_connection(asyncio.Protocol, sock=self.ours)
        return transport

    def arrived(self):
        """All that is there by now."""
        with self.theirs:
            os.set_blocking(self.theirs.fileno(), False)
            return os.read(self.theirs.fileno(), 1 << 20)


both = pytest.mark.parametrize("kind", ["socket", "pipe"])


@both
@pytest.mark.parametrize("make", [lambda buffer: buffer, memoryview, lambda buffer: memoryview(buffer).toreadonly()], ids=["it", "a view", "a readonly view"])
def test_a_buffer_can_be_used_again_at_once(loop, run, kind, make):
    """As whoever reads into one buffer and writes what is in it does: drain() returns at once while little waits."""

    async def main():
        ends = Ends(kind)
        transport = await ends.connect(loop)
        buffer = bytearray(4)
        data = make(buffer)
        for word in (b"aaaa", b"bbbb", b"cccc", b"dddd"):
            buffer[:] = word
            transport.write(data)
        buffer[:] = b"eeee"
        await turns()
        assert ends.arrived() == b"aaaabbbbccccdddd"
        transport.close()
        await turns()

    run(main())


@both
@pytest.mark.stock_fails("it keeps the view", since=(3, 12))
def test_what_the_other_side_does_not_take_yet_is_as_it_was_given(loop, run, kind):
    async def main():
        ends = Ends(kind)
        transport = await ends.connect(loop)
        buffer = bytearray(b"a" * 1_000_000)
        transport.write(memoryview(buffer))
        assert transport.get_write_buffer_size() > 0
        buffer[:] = b"b" * 1_000_000
        left = 1_000_000
        os.set_blocking(ends.theirs.fileno(), False)
        while left:
            await asyncio.sleep(0)
            try:
                piece = os.read(ends.theirs.fileno(), left)
            except BlockingIOError:
                continue
            assert piece == b"a" * len(piece)
            left -= len(piece)
        ends.theirs.close()
        transport.close()
        await turns()

    run(main())


def raises(transport):
    raise KeyboardInterrupt


@both
@pytest.mark.parametrize(
    "end",
    [
        lambda transport: None,
        lambda transport: transport.abort(),
        lambda transport: transport.close(),
        raises,
    ],
    ids=["of the run", "abort", "close", "KeyboardInterrupt"],
)
@pytest.mark.parametrize("lines", [False, True])
def test_what_was_written_before_the_end_has_been_sent(kind, end, lines):
    loop = new_event_loop()
    ends = Ends(kind)
    transport = loop.run_until_complete(ends.connect(loop))

    def last():
        transport.write(b"this is ")
        transport.write(b"the last ")
        if lines:
            transport.writelines([b"that is ", b"said"])
        end(transport)
        loop.stop()

    loop.call_soon(last)
    try:
        loop.run_forever()
    except KeyboardInterrupt:
        pass
    if not transport.is_closing():
        transport.abort()
    loop.run_until_complete(turns())
    loop.close()
    assert ends.arrived() == b"this is the last " + b"that is said" * lines


@both
def test_writes_outside_of_a_run_do_not_wait_for_one(kind):
    loop = new_event_loop()
    ends = Ends(kind)
    transport = loop.run_until_complete(ends.connect(loop))
    for word in (b"one ", b"two ", b"three"):
        transport.write(word)
    assert os.read(ends.theirs.fileno(), 100) == b"one two three"
    transport.close()
    loop.run_until_complete(turns())
    loop.close()
    ends.theirs.close()


@both
def test_one_that_ends_the_run_leaves_the_others_writes_alone(kind):
    class Stops(asyncio.Protocol):
        def resume_writing(self):
            raise KeyboardInterrupt

    async def connect(ends, make):
        if kind == "pipe":
            return (await loop.connect_write_pipe(make, ends.ours))[0]
        return (await loop.create_unix_connection(make, sock=ends.ours))[0]

    loop = new_event_loop()
    stopping, other = Ends(kind), Ends(kind)
    one = loop.run_until_complete(connect(stopping, Stops))
    two = loop.run_until_complete(connect(other, asyncio.Protocol))
    one.set_write_buffer_limits(high=0)

    def write():
        for transport in (one, two):
            transport.write(b"first ")
            transport.write(b"second ")

    loop.call_soon(write)
    loop.call_soon(loop.stop)
    try:
        loop.run_forever()  # asyncio sends the second at once, so it has nothing to resume
    except KeyboardInterrupt:
        pass
    two.write(b"third")
    for transport in (one, two):
        transport.close()
    loop.run_until_complete(turns())
    loop.close()
    assert stopping.arrived() == b"first second "
    assert other.arrived() == b"first second third"


@both
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_does_not_send_it_twice(loop, run, kind):
    async def main():
        ends = Ends(kind)
        transport = await ends.connect(loop)
        transport.write(b"one ")
        transport.write(b"two ")
        child = os.fork()
        if child == 0:
            raise Child
        assert await asyncio.to_thread(os.waitpid, child, 0) == (child, 0)
        assert ends.arrived() == b"one two "
        transport.close()
        await turns()

    class Child(BaseException):
        pass

    try:
        loop.run_until_complete(main())  # in the child, too, the run goes on to its end
    except Child:
        os._exit(0)
    loop.run_until_complete(loop.shutdown_default_executor())


@both
@pytest.mark.stock_fails("a socket's takes what is not contiguous, and fails later")
@pytest.mark.parametrize("bad", ["text", None, memoryview(b"abcdef")[::2]], ids=["text", "None", "not contiguous"])
def test_lines_of_which_one_is_bad_are_not_sent_at_all(loop, run, kind, bad):
    async def main():
        ends = Ends(kind)
        transport = await ends.connect(loop)
        with pytest.raises((TypeError, BufferError)):
            transport.writelines([b"good", bad])
        assert transport.get_write_buffer_size() == 0
        transport.write(b"next")
        transport.close()
        await turns()
        assert ends.arrived() == b"next"

    run(main())
