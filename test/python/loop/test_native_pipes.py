"""The transports of pipes, method by method and failure by failure. What they do when all is well is in test_loop_pipes.py."""

import asyncio
import contextvars
import errno
import fcntl
import gc
import os
import socket
import weakref

import pytest
from loop_support import HandlerCalls, Recorder, soon, turns, until
from test_loop_pipes import Writer, pipe, reading, writing

F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032  # of the fcntl module from Python 3.10 on


def size_of(file):
    return fcntl.fcntl(file.fileno(), F_GETPIPE_SZ)


async def both():
    r, w = pipe()
    return await reading(r), await writing(w)


async def end(*protocols):
    for protocol in protocols:
        protocol.transport.close()
    for protocol in protocols:
        await soon(protocol.lost)


# -------------------------------------------------------------------------------------------------------- what they are


def test_their_base_classes_are_those_of_asyncios_own(run):
    from asyncio import transports
    from asyncio.unix_events import _UnixReadPipeTransport, _UnixWritePipeTransport

    async def main():
        reader, writer = await both()
        for mine, theirs in ((reader.transport, _UnixReadPipeTransport), (writer.transport, _UnixWritePipeTransport)):
            for base in (transports.BaseTransport, transports.ReadTransport, transports.WriteTransport, transports.Transport):
                assert isinstance(mine, base) == issubclass(theirs, base), (mine, base)
        await end(reader, writer)

    run(main())


@pytest.mark.ours_only("stock asyncio's are Python")
def test_they_are_native_also_for_child_processes(run):
    import _erlang_loop

    async def main():
        child = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        pipes = [child._transport.get_pipe_transport(fd) for fd in range(3)]
        assert [type(each) for each in pipes] == [_erlang_loop.WritePipeTransport, _erlang_loop.ReadPipeTransport, _erlang_loop.ReadPipeTransport]
        assert await soon(child.communicate(b"tea")) == (b"tea", b"")

    run(main())


def test_what_they_say_of_themselves(run):
    async def main():
        (r, other_w), (other_r, w) = pipe(), pipe()
        reader, writer = await reading(r), await writing(w)
        for protocol, file in ((reader, r), (writer, w)):
            transport = protocol.transport
            assert f"fd={file.fileno()}" in repr(transport) and "closed" not in repr(transport)
            assert transport.get_extra_info("pipe") is file and transport.get_extra_info("nothing") is None
            assert transport.get_extra_info("nothing", 5) == 5
            assert transport._pipe is file and transport._fileno == file.fileno() and transport._loop is asyncio.get_running_loop()
            assert transport._extra == {"pipe": file} and transport._closing is False
            weakref.ref(transport)
            transport.mine = 1  # anything may be kept on one
            transport.close()
            assert "closing" in repr(transport) and transport.is_closing()
            await soon(protocol.lost)
            await turns(2)
            assert "closed" in repr(transport) and transport.get_protocol() is None and transport._pipe is None
            assert transport.get_extra_info("pipe") is file
        other_w.close()
        other_r.close()

    run(main())


def test_the_protocol_can_be_changed(run):
    async def main():
        r, w = pipe()
        first, writer = await reading(r), await writing(w)
        second = Recorder()
        second.connection_made(first.transport)
        first.transport.set_protocol(second)
        assert first.transport.get_protocol() is second
        writer.transport.write(b"x")
        assert await second.received(1) == b"x" and first.calls == ["made"]
        other = Writer()
        writer.transport.set_protocol(other)
        assert writer.transport.get_protocol() is other
        writer.transport.close()
        await soon(other.lost)
        await soon(second.lost)
        assert writer.calls == ["made"]

    run(main())


def test_callbacks_run_in_the_context_in_which_the_transport_was_made(run):
    where = contextvars.ContextVar("where", default="nowhere")
    seen = []

    class Looks(Recorder):
        def data_received(self, data):
            seen.append(where.get())
            super().data_received(data)

        def connection_lost(self, exc):
            seen.append(where.get())
            super().connection_lost(exc)

    async def main():
        r, w = pipe()
        where.set("made here")
        reader = await reading(r, Looks)
        where.set("changed since")
        w.write(b"x")
        await reader.received(1)
        w.close()
        await soon(reader.lost)

    run(main())
    assert seen == ["made here", "made here"]


# ------------------------------------------------------------------------------------------------------------- reading


def test_pausing_and_resuming_say_whether_it_reads(run):
    async def main():
        reader, writer = await both()
        transport = reader.transport
        transport.pause_reading()
        transport.pause_reading()
        assert getattr(transport, "_paused") is True
        if hasattr(transport, "is_reading"):  # asyncio's have it since 3.11
            try:
                assert not transport.is_reading()
            except NotImplementedError:
                pass
        transport.resume_reading()
        transport.resume_reading()
        assert transport._paused is False
        transport.close()
        transport.pause_reading()
        transport.resume_reading()
        await soon(reader.lost)
        await soon(writer.lost)

    run(main())


@pytest.mark.stock_fails("before 3.11 it read all the same", until=(3, 11))
def test_what_is_paused_in_connection_made_does_not_read(run):
    class Pauses(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async def main():
        r, w = pipe()
        w.write(b"waits")
        reader = await reading(r, Pauses)
        await turns()
        assert reader.calls == ["made"]
        reader.transport.resume_reading()
        assert await reader.received(5) == b"waits"
        w.close()
        await soon(reader.lost)

    run(main())


def test_what_is_closed_in_connection_made_ends_after_it(run):
    class Closes(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.close()

    async def main():
        r, w = pipe()
        w.write(b"nobody reads this")
        reader = await reading(r, Closes)
        await soon(reader.lost)
        assert reader.calls == ["made", "lost"]
        w.close()

    run(main())


def test_closing_while_data_is_received_ends_it(run):
    class Closes(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.close()

    async def main():
        r, w = pipe()
        w.write(b"x")
        reader = await reading(r, Closes)
        assert await soon(reader.lost) is None
        assert reader.calls == ["made", "data", "lost"]
        w.close()

    run(main())


def test_the_end_is_told_once_however_often_it_is_closed(run):
    async def main():
        for first in ("close", "abort", "write_eof"):
            r, w = pipe()
            writer = await writing(w)
            getattr(writer.transport, first)()
            writer.transport.close()
            writer.transport.write_eof()
            if first != "abort":
                writer.transport.close()
            await soon(writer.lost)
            writer.transport.close()
            await turns()
            assert writer.calls == ["made", "lost"]
            r.close()

    run(main())


@pytest.mark.ours_only("asyncio calls connection_lost for each")
def test_abort_after_close_is_one_end(run):
    async def main():
        r, w = pipe()
        writer = await writing(w)
        writer.transport.close()
        writer.transport.abort()
        writer.transport.abort()
        await soon(writer.lost)
        await turns()
        assert writer.calls == ["made", "lost"]
        r.close()

    run(main())


def test_a_read_that_fails_ends_it_with_the_error(loop, run):
    calls = HandlerCalls(loop)

    async def main():
        r, w = pipe()
        reader = await reading(r)
        hole = os.open("/", os.O_RDONLY)
        os.dup2(hole, r.fileno())  # what reads it is told EISDIR
        os.close(hole)
        reader.transport._fatal_error(OSError(errno.EISDIR, "x"))
        assert (await soon(reader.lost)).errno == errno.EISDIR
        w.close()

    run(main())
    assert calls.messages() == ["Fatal error on pipe transport"] and calls[0]["transport"] is not None


def test_the_end_of_a_terminal_is_not_reported(loop, run):
    calls = HandlerCalls(loop)

    async def main():
        r, w = pipe()
        reader = await reading(r)
        reader.transport._fatal_error(OSError(errno.EIO, "x"), "why")
        assert (await soon(reader.lost)).errno == errno.EIO
        w.close()

    run(main())
    assert calls == []


@pytest.mark.ours_only("asyncio cannot watch it and leaves it at that")
def test_a_device_that_is_always_ready_can_be_read(run):
    async def main():
        reader = await reading(open("/dev/zero", "rb", 0))
        assert set(await reader.received(600_000)) == {0}
        reader.transport.pause_reading()
        size = len(reader.data)
        await turns()
        assert len(reader.data) == size
        reader.transport.resume_reading()
        await reader.received(size + 1)
        reader.transport.close()
        await soon(reader.lost)
        nothing = await reading(open(os.devnull, "rb", 0))
        assert await soon(nothing.lost) is None and nothing.calls == ["made", "eof", "lost"]

    run(main())


# ------------------------------------------------------------------------------------------------------------- writing


def test_limits_and_what_they_refuse(run):
    async def main():
        r, w = pipe()
        writer = await writing(w)
        transport = writer.transport
        assert transport.get_write_buffer_limits() == (16384, 65536)
        transport.set_write_buffer_limits(high=1000)
        assert transport.get_write_buffer_limits() == (250, 1000)
        transport.set_write_buffer_limits(low=1000)
        assert transport.get_write_buffer_limits() == (1000, 4000)
        transport.set_write_buffer_limits(5000, 5000)
        assert transport.get_write_buffer_limits() == (5000, 5000)
        for wrong in ({"high": 1, "low": 2}, {"low": -1}, {"high": -5}):
            with pytest.raises(ValueError, match="must be >="):
                transport.set_write_buffer_limits(**wrong)
        for wrong in ({"high": "x"}, {"middle": 1}):
            with pytest.raises(TypeError):
                transport.set_write_buffer_limits(**wrong)
        assert transport.get_write_buffer_limits() == (5000, 5000) and transport.get_write_buffer_size() == 0
        r.close()
        await soon(writer.lost)

    run(main())


def test_a_high_mark_of_zero_pauses_with_the_first_byte_that_waits(run):
    async def main():
        r, w = pipe()
        fcntl.fcntl(w.fileno(), F_SETPIPE_SZ, 4096)
        reader, writer = None, await writing(w)
        writer.transport.set_write_buffer_limits(high=0)
        writer.transport.write(b"x" * 4096)
        assert writer.calls == ["made"]
        writer.transport.write(b"y")
        assert writer.calls == ["made", "pause"] and writer.transport.get_write_buffer_size() == 1
        reader = await reading(r)
        assert await reader.received(4097) == b"x" * 4096 + b"y"
        await until(lambda: writer.calls == ["made", "pause", "resume"])
        await end(writer, reader)

    run(main())


def test_a_protocol_that_writes_when_it_may_go_on(run):
    class Goes(Writer):
        def resume_writing(self):
            super().resume_writing()
            if len(self.calls) < 12:
                self.transport.write(b"m" * 100_000)

    async def main():
        r, w = pipe()
        reader, writer = await reading(r), await writing(w, Goes)
        writer.transport.write(b"m" * 200_000)
        await until(lambda: writer.calls[-1] == "resume" and len(writer.calls) >= 12 or not writer.transport.get_write_buffer_size())
        sent = 200_000 + 100_000 * (writer.calls.count("resume") - (len(writer.calls) >= 12))
        await reader.received(sent)
        await end(writer, reader)
        assert len(reader.data) == sent

    run(main())


def test_many_writes_of_one_turn_arrive_in_order(run):
    pieces = [b"%d," % i for i in range(1000)]

    async def main():
        reader, writer = await both()
        for piece in pieces:
            writer.transport.write(piece)
        writer.transport.writelines(pieces)
        writer.transport.write(memoryview(b"end"))
        writer.transport.write(bytearray(b"."))
        writer.transport.write(b"")
        writer.transport.writelines([])
        expected = b"".join(pieces) * 2 + b"end."
        assert await reader.received(len(expected)) == expected
        await end(writer, reader)

    run(main())


@pytest.mark.ours_only("asyncio joins them first, which a generator survives and a wrong type does not")
def test_lines_are_looked_at_before_any_is_sent(run):
    async def main():
        reader, writer = await both()
        with pytest.raises(TypeError):
            writer.transport.writelines([b"never", "sent"])
        with pytest.raises(TypeError):
            writer.transport.writelines(5)
        writer.transport.writelines(piece for piece in (b"a", b"b"))
        assert await reader.received(2) == b"ab"
        await end(writer, reader)

    run(main())


@pytest.mark.parametrize("method", ["write", "writelines"])
def test_what_is_written_to_a_closed_pipe_is_dropped_and_logged(run, bill, method):
    bill.expect_log("pipe closed by peer or os.write")

    async def main():
        r, w = pipe()
        writer = await writing(w)
        r.close()
        await soon(writer.lost)
        for _ in range(10):
            writer.transport.write(b"late") if method == "write" else writer.transport.writelines([b"late"])
        assert writer.transport.get_write_buffer_size() == 0

    run(main())


def test_a_write_that_fails_ends_it_with_the_error_and_no_report(loop, run):
    calls = HandlerCalls(loop)

    async def main():
        full = await writing(open("/dev/full", "wb", 0))
        full.transport.write(b"x")
        full.transport.write(b"x")
        assert full.transport.is_closing()
        assert (await soon(full.lost)).errno == errno.ENOSPC
        r, w = pipe()
        broken = await writing(w)
        broken.transport.write(b"x" * 300_000)
        r.close()
        assert isinstance(await soon(broken.lost), BrokenPipeError)
        assert broken.transport.get_write_buffer_size() == 0

    run(main())
    assert calls == []


def test_any_other_error_is_reported(loop, run):
    calls = HandlerCalls(loop)

    async def main():
        r, w = pipe()
        writer = await writing(w)
        writer.transport._fatal_error(ZeroDivisionError("x"), "why")
        assert isinstance(await soon(writer.lost), ZeroDivisionError)
        r.close()

    run(main())
    assert calls.messages() == ["why"] and calls[0]["protocol"] is not None


@pytest.mark.ours_only("asyncio takes data for the end")
def test_data_that_comes_to_a_socket_into_which_is_written_does_not_close_it(run):
    async def main():
        one, two = socket.socketpair()
        writer = await writing(one)
        two.send(b"not the end")
        await turns()
        writer.transport.write(b"goes on")
        assert two.recv(100) == b"goes on" and writer.calls == ["made"]
        two.close()
        await soon(writer.lost)

    run(main())


def test_a_socket_whose_other_side_ends_closes(run):
    async def main():
        one, two = socket.socketpair()
        writer = await writing(one)
        two.shutdown(socket.SHUT_WR)
        await soon(writer.lost)
        two.close()

    run(main())


@pytest.mark.ours_only("asyncio leaves the size of pipes alone")
def test_a_pipe_that_is_full_again_and_again_grows_unless_somebody_said_how_large_it_is_to_be(run):
    async def main():
        for given in (None, 4096, 1 << 20):
            r, w = pipe()
            if given:
                fcntl.fcntl(w.fileno(), F_SETPIPE_SZ, given)
            before = size_of(r)
            reader, writer = await reading(r), await writing(w)
            writer.transport.write(b"few")
            await reader.received(3)
            assert size_of(r) == before
            writer.transport.write(b"x" * (4 << 20))
            await reader.received(3 + (4 << 20))
            assert size_of(r) == (given or 4 * before)
            await end(writer, reader)

    run(main())


# ------------------------------------------------------------------------------------------- one descriptor, two transports


def test_a_terminal_is_read_and_written_through_one_descriptor(run):
    import tty

    async def main():
        master, slave = os.openpty()
        tty.setraw(slave)
        both_ways = open(slave, "r+b", 0)
        other = open(master, "r+b", 0)
        reader = await reading(both_ways)
        writer = await writing(open(os.dup(slave), "wb", 0))
        far_reader, far_writer = await reading(other), await writing(open(os.dup(master), "wb", 0))
        far_writer.transport.write(b"in")
        assert await reader.received(2) == b"in"
        writer.transport.write(b"out" * 10_000)
        assert await far_reader.received(30_000) == b"out" * 10_000
        await end(writer, far_writer, reader, far_reader)

    run(main())


@pytest.mark.ours_only("with asyncio the second transport takes the descriptor from the first")
@pytest.mark.parametrize("first_to_end", [0, 1])
def test_a_socket_is_read_and_written_through_one_descriptor(run, first_to_end):
    async def main():
        one, two = socket.socketpair()
        two.setblocking(False)
        copy = socket.socket(fileno=os.dup(one.fileno()))

        class Same:
            """The same number as `one`, which it does not close."""

            def fileno(self):
                return one.fileno()

            def close(self):
                pass

        reader, writer = await reading(one), await writing(Same())
        writer.transport.write(b"x" * 1_000_000)
        far = await reading(two)
        await far.received(1_000_000)
        os.write(two.fileno(), b"back")
        assert await reader.received(4) == b"back"
        if first_to_end == 1:
            await end(writer)
            os.write(two.fileno(), b"again")
            assert await reader.received(9) == b"backagain"
            await end(reader)
        else:
            reader.transport.pause_reading()
            writer.transport.write(b"y")
            assert await far.received(1_000_001)
            await end(writer, reader)
        copy.close()
        await soon(far.lost)

    run(main())


@pytest.mark.ours_only("with asyncio one watches or the other")
def test_a_reader_of_python_beside_a_transport(loop, run):
    async def main():
        one, two = socket.socketpair()
        writer = await writing(one)
        told = loop.create_future()
        loop.add_reader(one.fileno(), lambda: told.done() or told.set_result(os.read(one.fileno(), 100)))
        two.send(b"x")
        assert await soon(told) == b"x"
        loop.remove_reader(one.fileno())
        two.close()
        await soon(writer.lost)

    run(main())


# ------------------------------------------------------------------------------------------------- protocols that fail


@pytest.mark.parametrize("method", ["connection_made", "data_received", "eof_received", "connection_lost"])
def test_what_a_protocol_of_a_reader_raises_is_reported_and_it_goes_on(loop, run, method):
    calls = HandlerCalls(loop)

    class Fails(Recorder):
        pass

    original = getattr(Recorder, method)

    def fails(self, *args):
        original(self, *args)
        raise ZeroDivisionError(method)

    setattr(Fails, method, fails)

    async def main():
        r, w = pipe()
        reader = await reading(r, Fails)
        w.write(b"one")
        await reader.received(3)
        w.write(b"two")
        assert await reader.received(6) == b"onetwo"
        w.close()
        await soon(reader.lost)
        await turns()
        assert r.closed

    run(main())
    assert calls and all(str(context["exception"]) == method for context in calls)


@pytest.mark.parametrize("method", ["connection_made", "pause_writing", "resume_writing", "connection_lost"])
def test_what_a_protocol_of_a_writer_raises_is_reported_and_it_goes_on(loop, run, method):
    calls = HandlerCalls(loop)

    class Fails(Writer):
        pass

    original = getattr(Writer, method)

    def fails(self, *args):
        original(self, *args)
        raise ZeroDivisionError(method)

    setattr(Fails, method, fails)

    async def main():
        r, w = pipe()
        reader, writer = await reading(r), await writing(w, Fails)
        writer.transport.write(b"x" * 300_000)
        await reader.received(300_000)
        writer.transport.close()
        await soon(writer.lost)
        await soon(reader.lost)
        await turns()
        assert w.closed

    run(main())
    assert calls and all(str(context["exception"]) == method for context in calls)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("method", ["connection_made", "data_received", "eof_received", "connection_lost"])
def test_interrupts_leave_the_run_and_nothing_is_lost(loop, error, method):
    class Fails(Recorder):
        pass

    original = getattr(Recorder, method)

    def fails(self, *args):
        original(self, *args)
        raise error(method)

    setattr(Fails, method, fails)
    r, w = pipe()
    made = []

    async def main():
        made.append(Fails())
        await loop.connect_read_pipe(lambda: made[0], r)
        await asyncio.sleep(0)

    task = loop.create_task(main())
    w.write(b"x")
    w.close()
    with pytest.raises(error, match=method):
        loop.run_forever()

    async def rest():
        await soon(task)
        await soon(made[0].lost)
        await turns()

    loop.run_until_complete(rest())
    assert made[0].calls == ["made", "data", "eof", "lost"] and r.closed


@pytest.mark.stock_fails("it warns of a transport that was never there")
def test_a_factory_or_a_file_that_fails(loop, run):
    class Closed:
        def fileno(self):
            raise ValueError("closed")

    class Nothing:
        pass

    def fails():
        raise ZeroDivisionError

    async def main():
        r, w = pipe()
        for connect in (loop.connect_read_pipe, loop.connect_write_pipe):
            with pytest.raises(ZeroDivisionError):
                await connect(fails, r)
            with pytest.raises(ValueError, match="closed"):
                await connect(Recorder, Closed())
            with pytest.raises((TypeError, AttributeError)):
                await connect(Recorder, Nothing())
        r.close()
        w.close()
        with pytest.raises(ValueError):
            await loop.connect_read_pipe(Recorder, r)

    run(main())


def test_whoever_connects_and_is_cancelled_closes_the_pipe(loop, run):
    async def main():
        for connect, at in ((loop.connect_read_pipe, 0), (loop.connect_write_pipe, 1)):
            files = pipe()
            task = loop.create_task(connect(Recorder if at == 0 else Writer, files[at]))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: files[at].closed)
            files[1 - at].close()

    run(main())


@pytest.mark.ours_only("asyncio gives it to the exception handler")
def test_a_pipe_that_cannot_be_closed_is_an_unraisable_exception(run, bill):
    r, w = pipe()

    class Fails:
        def fileno(self):
            return r.fileno()

        def close(self):
            r.close()
            raise ZeroDivisionError("on purpose")

    async def main():
        reader = await reading(Fails())
        w.close()
        assert await soon(reader.lost) is None
        await turns()

    run(main())
    assert ["ZeroDivisionError" in text for text in bill.unraisable()] == [True]


# --------------------------------------------------------------------------------------------------------- left behind


def test_one_that_nobody_closed_warns_and_closes(loop, run, bill):
    files = []

    async def main():
        r, w = pipe()
        files.extend((r, w))
        reader, writer = await reading(r), await writing(w)
        reader.transport.pause_reading()
        return weakref.ref(reader)

    there = run(main())
    loop.close()
    gc.collect()
    assert there() is None and all(file.closed for file in files)
    texts = bill.warned(ResourceWarning)
    assert len([text for text in texts if "unclosed transport" in text]) == 2, texts


def test_one_that_is_paused_and_forgotten_is_garbage(run, bill):
    async def main():
        r, w = pipe()
        reader = await reading(r)
        reader.transport.pause_reading()
        reader.transport.itself = reader.transport
        there = weakref.ref(reader)
        del reader
        await turns()
        gc.collect()
        assert there() is None and r.closed
        w.close()

    run(main())
    assert len(bill.warned(ResourceWarning)) == 1


@pytest.mark.ours_only("asyncio's fail in other ways")
def test_after_the_loop_has_closed(loop, run, bill):
    async def main():
        return await both()

    reader, writer = run(main())
    loop.close()
    for use in (reader.transport.close, writer.transport.close):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            use()
    writer.transport.write(b"nobody")
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        run_closed(loop)
    del reader, writer, use
    gc.collect()
    bill.warned(ResourceWarning)


def run_closed(loop):
    r, w = pipe()
    try:
        loop._make_read_pipe_transport(r, Recorder, None)
    finally:
        r.close()
        w.close()


@pytest.mark.ours_only("asyncio's selector loses them")
def test_a_file_that_its_owner_closes_does_not_end_the_process(loop, run):
    HandlerCalls(loop)

    async def main():
        for how in range(4):
            r, w = pipe()
            reader, writer = await reading(r), await writing(w)
            writer.transport.write(b"x" * 300_000)
            (r if how % 2 else w).close()
            if how > 1:  # the number is another file's
                fd = os.open("/", os.O_RDONLY)
                reader.transport.pause_reading()
                reader.transport.resume_reading()
                writer.transport.write(b"x")
                await turns()
                os.close(fd)
            await turns()
            reader.transport.close()
            writer.transport.abort()
            await soon(reader.lost)
            await soon(writer.lost)
            r.close()
            w.close()

    run(main())


def test_debug_mode(loop, run, caplog):
    import logging

    async def main():
        loop.set_debug(True)
        r, w = pipe()
        reader, writer = await reading(r), await writing(w)
        writer.transport.write(b"x")
        await reader.received(1)
        with caplog.at_level(logging.DEBUG, "asyncio"):
            writer.transport._fatal_error(OSError("on purpose"), "why")
        assert isinstance(await soon(writer.lost), OSError)
        await soon(reader.lost)
        assert any("why" in record.getMessage() for record in caplog.records)

    run(main())


def test_what_is_written_outside_of_a_run_leaves_at_once(loop, run):
    r, w = pipe()

    async def main():
        return await writing(w)

    writer = run(main())
    for piece in (b"one", b"two"):
        writer.transport.write(piece)
        assert os.read(r.fileno(), 10) == piece
    writer.transport.writelines([b"th", b"ree"])
    assert os.read(r.fileno(), 10) == b"three"

    async def rest():
        writer.transport.close()
        await soon(writer.lost)
        r.close()

    run(rest())


def test_one_that_is_given_up_warns_of_nothing(loop, run):
    async def main():
        return await both()

    reader, writer = run(main())
    loop.close()
    for protocol in (reader, writer):
        assert "open" in repr(protocol.transport)
        protocol.transport._pipe.close()
        protocol.transport._pipe = None
