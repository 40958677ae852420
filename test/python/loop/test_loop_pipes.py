"""connect_read_pipe and connect_write_pipe."""

import asyncio
import os
import select
import socket
import stat

import pytest
from loop_support import Recorder, soon, stuffed, turns, until


def pipe():
    """Both ends as unbuffered file objects."""
    r, w = os.pipe()
    return open(r, "rb", 0), open(w, "wb", 0)


async def reading(file, make=Recorder):
    _, protocol = await soon(asyncio.get_running_loop().connect_read_pipe(make, file))
    return protocol


class Writer(asyncio.BaseProtocol):
    def __init__(self):
        self.calls, self.lost = [], asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")


async def writing(file, make=Writer):
    _, protocol = await soon(asyncio.get_running_loop().connect_write_pipe(make, file))
    return protocol


def test_a_pipe_between_two_transports(run):
    async def main():
        r, w = pipe()
        reader, writer = await reading(r), await writing(w)
        writer.transport.write(b"through")
        writer.transport.writelines([b" the", b" pipe"])
        assert await reader.received(16) == b"through the pipe"
        writer.transport.close()
        assert await soon(writer.lost) is None
        assert await soon(reader.lost) is None
        assert reader.calls == ["made", "data", "eof", "lost"] and writer.calls == ["made", "lost"]
        assert r.closed and w.closed  # the transports own them

    run(main())


def test_transports_are_asyncios_and_know_the_pipe(run):
    async def main():
        r, w = pipe()
        reader, writer = await reading(r), await writing(w)
        assert isinstance(reader.transport, asyncio.ReadTransport) and isinstance(writer.transport, asyncio.WriteTransport)
        assert reader.transport.get_extra_info("pipe") is r and writer.transport.get_extra_info("pipe") is w
        assert reader.transport.get_protocol() is reader
        reader.transport.close()
        writer.transport.close()
        await soon(reader.lost)
        await soon(writer.lost)

    run(main())


def test_a_megabyte_through_a_pipe(run):
    data = os.urandom(1 << 20)

    async def main():
        r, w = pipe()
        reader, writer = await reading(r), await writing(w)
        writer.transport.write(data)
        assert "pause" in writer.calls and writer.transport.get_write_buffer_size() > 0
        assert await reader.received(len(data)) == data
        await until(lambda: writer.calls == ["made", "pause", "resume"])
        writer.transport.write_eof()
        await soon(reader.lost)
        await soon(writer.lost)

    run(main())


def test_reading_can_be_paused(run):
    async def main():
        r, w = pipe()
        reader = await reading(r)
        reader.transport.pause_reading()
        w.write(b"waits")
        await asyncio.sleep(0.005)  # sleep-ok: that nothing happens is the subject
        assert reader.calls == ["made"]
        reader.transport.resume_reading()
        assert await reader.received(5) == b"waits"
        w.close()
        await soon(reader.lost)

    run(main())


def test_the_pipe_becomes_non_blocking(run):
    async def main():
        r, w = pipe()
        reader, writer = await reading(r), await writing(w)
        assert not os.get_blocking(r.fileno()) and not os.get_blocking(w.fileno())
        reader.transport.close()
        await soon(reader.lost)
        await soon(writer.lost)

    run(main())


def test_close_sends_what_waits_and_abort_drops_it(run):
    async def main():
        for end in ("close", "abort"):
            r, w = pipe()
            writer = await writing(w)
            writer.transport.write(b"x" * 300_000)
            getattr(writer.transport, end)()
            assert writer.transport.is_closing()
            if end == "abort":
                assert await soon(writer.lost) is None
            reader = await reading(r)
            await soon(reader.lost)
            assert (len(reader.data) == 300_000) == (end == "close")
            assert await soon(writer.lost) is None

    run(main())


def test_a_writer_learns_that_the_reader_is_gone(run):
    async def main():
        r, w = pipe()
        writer = await writing(w)
        r.close()
        error = await soon(writer.lost)  # without a write
        assert error is None or isinstance(error, BrokenPipeError)
        assert writer.transport.is_closing()

    run(main())


def test_a_writer_with_something_waiting_learns_it_too(run):
    async def main():
        r, w = pipe()
        writer = await writing(w)
        writer.transport.write(b"x" * 300_000)
        r.close()
        assert isinstance(await soon(writer.lost), BrokenPipeError)

    run(main())


def test_can_write_eof_is_true_for_pipes(run):
    async def main():
        r, w = pipe()
        reader, writer = await reading(r), await writing(w)
        assert writer.transport.can_write_eof()
        writer.transport.write(b"last")
        writer.transport.write_eof()
        assert await reader.received(4) == b"last"
        await soon(reader.lost)
        assert await soon(writer.lost) is None

    run(main())


def test_a_fifo(run, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def main():
        r = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", 0)
        w = open(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "wb", 0)
        reader, writer = await reading(r), await writing(w)
        writer.transport.write(b"fifo")
        assert await reader.received(4) == b"fifo"
        writer.transport.close()
        await soon(reader.lost)
        await soon(writer.lost)

    run(main())


def test_a_pty(run):
    import tty

    async def main():
        master, slave = os.openpty()
        tty.setraw(slave)
        reader = await reading(open(master, "rb", 0))
        writer = await writing(open(slave, "wb", 0))
        writer.transport.write(b"terminal")
        assert await reader.received(8) == b"terminal"
        writer.transport.close()
        await soon(writer.lost)
        error = await soon(reader.lost)  # Linux says EIO when the other side of a terminal is gone
        assert error is None or isinstance(error, OSError)

    run(main())


def test_a_socket(run):
    async def main():
        one, two = socket.socketpair()
        reader, writer = await reading(one), await writing(two)
        writer.transport.write(b"socket")
        assert await reader.received(6) == b"socket"
        writer.transport.close()
        await soon(writer.lost)
        await soon(reader.lost)

    run(main())


@pytest.mark.parametrize("direction", ["read", "write"])
def test_a_regular_file_is_a_value_error_and_the_process_lives(loop, run, tmp_path, direction):
    path = tmp_path / "file"
    path.write_bytes(b"data")

    async def main():
        with open(path, "r+b", 0) as file:
            connect = loop.connect_read_pipe if direction == "read" else loop.connect_write_pipe
            with pytest.raises(ValueError, match="pipes"):
                await connect(Recorder if direction == "read" else Writer, file)
            assert not file.closed
        await turns()

    run(main())
    assert path.read_bytes() == b"data"


def test_a_folder_is_a_value_error(loop, run):
    async def main():
        fd = os.open("/", os.O_RDONLY)
        assert stat.S_ISDIR(os.fstat(fd).st_mode)

        class File:
            def fileno(self):
                return fd

            def close(self):
                pass

        with pytest.raises(ValueError):
            await loop.connect_read_pipe(Recorder, File())
        os.close(fd)

    run(main())


@pytest.mark.parametrize("direction", ["read", "write"])
def test_a_descriptor_of_no_kind_at_all_is_a_value_error(loop, run, direction):
    async def main():
        with select.epoll() as nameless, pytest.raises(ValueError):  # as eventfd, timerfd ...
            await getattr(loop, f"connect_{direction}_pipe")(Recorder, nameless)

    run(main())


@pytest.mark.stock_fails("warns of a transport that nobody has")
@pytest.mark.parametrize("direction", ["read", "write"])
def test_a_factory_that_returns_nothing_is_an_error(loop, run, direction):
    async def main():
        read, write = pipe()
        with pytest.raises(AttributeError, match="connection_made"):
            await getattr(loop, f"connect_{direction}_pipe")(lambda: None, read if direction == "read" else write)
        read.close()
        write.close()

    run(main())


def test_arguments_by_name(run):
    async def main():
        r, w = pipe()
        reader, writer = await reading(r), await writing(w)
        for protocol in (reader, writer):
            protocol.transport.set_protocol(protocol=protocol)
            with pytest.raises(TypeError):
                protocol.transport.set_protocol(other=protocol)
        writer.transport.write(data=b"a")
        writer.transport.writelines(list_of_data=[b"b", b"c"])
        assert await reader.received(3) == b"abc"
        writer.transport.close()
        await soon(writer.lost)
        await soon(reader.lost)

    run(main())


def test_a_null_device_can_be_written(run):
    async def main():
        writer = await writing(open(os.devnull, "wb", 0))
        writer.transport.write(b"x" * 1000)
        writer.transport.close()
        assert await soon(writer.lost) is None

    run(main())


@pytest.mark.parametrize("method", ["data_received", "eof_received"])
def test_a_protocol_method_that_fails(loop, run, method):
    """The connection may end with the error or live on; the error is reported, and nothing spins."""
    from loop_support import HandlerCalls

    calls = HandlerCalls(loop)

    class Fails(Recorder):
        pass

    def fails(self, *args):
        raise ZeroDivisionError(method)

    setattr(Fails, method, fails)

    async def main():
        r, w = pipe()
        reader = await reading(r, Fails)
        if method == "data_received":
            w.write(b"x")
        else:
            w.close()
        await until(lambda: calls)
        reader.transport.close()
        await soon(reader.lost)
        w.close()

    run(main())
    assert all(isinstance(context["exception"], ZeroDivisionError) for context in calls)


def test_a_write_pipe_refuses_what_is_no_bytes(run):
    async def main():
        r, w = pipe()
        writer = await writing(w)
        for wrong in ("text", 5, None):
            with pytest.raises((TypeError, AssertionError)):
                writer.transport.write(wrong)
        writer.transport.close()
        await soon(writer.lost)
        r.close()

    run(main())


def test_a_bytearray_may_be_changed_after_write(run):
    async def main():
        r, w = pipe()
        writer = await writing(w)
        os.set_blocking(r.fileno(), False)
        data = bytearray(b"a" * 300_000)
        writer.transport.write(data)
        data[:] = b"b" * len(data)
        reader = await reading(r)
        assert await reader.received(300_000) == b"a" * 300_000
        writer.transport.close()
        await soon(writer.lost)
        await soon(reader.lost)

    run(main())


def test_streams_over_pipes(run):
    async def main():
        loop = asyncio.get_running_loop()
        r, w = pipe()
        stream = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), r)
        w.write(b"line one\nline two\n")
        assert await soon(stream.readline()) == b"line one\n"
        w.close()
        assert await soon(stream.read()) == b"line two\n"
        transport.close()
        await turns()

    run(main())


def test_a_socket_that_is_full_does_not_block_the_loop(run):
    async def main():
        one, two = socket.socketpair()
        two.setblocking(False)
        stuffed(two)
        writer = await writing(two)
        writer.transport.write(b"waits")
        assert writer.transport.get_write_buffer_size() == 5
        writer.transport.abort()
        await soon(writer.lost)
        one.close()

    run(main())
