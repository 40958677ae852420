"""Debug mode: what is logged and checked only there."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from loop_support import FACTORY_NAME, DatagramRecorder, HandlerCalls, IS_OURS, Recorder, closed, connected, socketpair, soon, turns
from test_loop_tls import ended, tls_pair


@pytest.fixture
def debug_loop(loop):
    loop.set_debug(True)
    loop.slow_callback_duration = 10  # a busy machine is not the subject
    return loop


def test_debug_is_off_unless_asked_for(loop):
    assert loop.get_debug() is (sys.flags.dev_mode or bool(os.environ.get("PYTHONASYNCIODEBUG")))
    loop.set_debug(True)
    assert loop.get_debug() is True
    loop.set_debug(False)
    assert loop.get_debug() is False


@pytest.mark.skipif(IS_OURS, reason="the worker is its own interpreter")
def test_debug_is_on_where_the_environment_says_so():
    code = "import importlib, sys; m, f = sys.argv[1].split(':'); " \
           "loop = getattr(importlib.import_module(m), f)(); print(loop.get_debug()); loop.close()"
    out = subprocess.run([sys.executable, "-c", code, FACTORY_NAME], env={**os.environ, "PYTHONASYNCIODEBUG": "1"},
                         stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    assert out.stdout == "True\n"


def test_a_slow_callback_is_logged(debug_loop, bill):
    bill.expect_log(r"(?s)Executing .*is_slow.* took \d+\.\d+ seconds")
    debug_loop.slow_callback_duration = 0.01

    def is_slow():
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            pass

    debug_loop.call_soon(is_slow)
    debug_loop.call_soon(debug_loop.stop)
    debug_loop.run_forever()


def test_a_slow_callback_is_not_logged_without_debug(loop):
    loop.slow_callback_duration = 0.0

    def is_slow():
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            pass

    loop.call_soon(is_slow)
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_slow_callback_duration_is_a_tenth_of_a_second_at_first(loop):
    assert loop.slow_callback_duration == 0.1


@pytest.mark.parametrize("how", ["call_soon", "call_later", "call_at"])
def test_the_wrong_thread_is_an_error(debug_loop, how):
    caught = []

    def in_thread():
        try:
            args = (int,) if how == "call_soon" else (0, int)
            getattr(debug_loop, how)(*args)
        except RuntimeError as error:
            caught.append(str(error))
        debug_loop.call_soon_threadsafe(debug_loop.stop)

    thread = threading.Thread(target=in_thread)
    debug_loop.call_soon(thread.start)
    debug_loop.run_forever()
    thread.join()
    assert len(caught) == 1 and "thread" in caught[0]


@pytest.mark.parametrize("how", ["call_soon", "call_soon_threadsafe", "call_later", "call_at"])
def test_a_coroutine_function_is_no_callback(debug_loop, how):
    async def coroutine_function():
        pass

    args = (0,) if how in ("call_later", "call_at") else ()
    with pytest.raises(TypeError, match="coroutines cannot be used"):
        getattr(debug_loop, how)(*args, coroutine_function)
    with pytest.raises(TypeError, match="callable"):
        getattr(debug_loop, how)(*args, "not callable")


def test_a_coroutine_function_does_not_run_in_an_executor(debug_loop):
    async def coroutine_function():
        pass

    with pytest.raises(TypeError):
        debug_loop.run_in_executor(None, coroutine_function)


def test_handles_tell_where_they_were_made(debug_loop):
    calls = HandlerCalls(debug_loop)

    def fails():
        raise ValueError

    def makes_the_handle():
        debug_loop.call_soon(fails)

    makes_the_handle()
    debug_loop.run_until_complete(turns())
    (context,) = calls
    assert "makes_the_handle" in "".join(line.name for line in context["source_traceback"])


def test_the_repr_of_a_handle_tells_where_it_was_made(debug_loop):
    handle = debug_loop.call_soon(int)
    assert os.path.basename(__file__) in repr(handle)
    later = debug_loop.call_later(0, int)
    assert os.path.basename(__file__) in repr(later)
    debug_loop.run_until_complete(turns())


def test_a_coroutine_never_awaited_tells_where_it_was_made(debug_loop, run, bill):
    import gc

    async def never_awaited():
        pass

    async def makes_it():
        never_awaited()

    run(makes_it())
    gc.collect()
    warned = bill.warned(RuntimeWarning)
    assert len(warned) == 1 and "never_awaited" in warned[0] and "makes_it" in warned[0]


def test_origin_tracking_ends_with_the_run(debug_loop, run):
    before = sys.get_coroutine_origin_tracking_depth()

    async def main():
        assert sys.get_coroutine_origin_tracking_depth() > 0

    run(main())
    assert sys.get_coroutine_origin_tracking_depth() == before


def test_origin_tracking_follows_set_debug_while_it_runs(loop, run):
    async def main():
        before = sys.get_coroutine_origin_tracking_depth()
        loop.set_debug(True)
        await turns()
        assert sys.get_coroutine_origin_tracking_depth() > 0
        loop.set_debug(False)
        await turns()
        assert sys.get_coroutine_origin_tracking_depth() == before

    run(main())


def test_streams_and_processes_work_in_debug_mode(debug_loop, run):
    from loop_support import closed, connected

    async def main():
        one, two = await connected()
        one.transport.write(b"x" * 100_000)
        assert await two.received(100_000) == b"x" * 100_000
        await closed(one, two)
        process = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        assert await process.communicate(b"through") == (b"through", None)

    run(main())


def test_an_exception_handler_sees_the_traceback_of_the_source_only_in_debug(loop):
    calls = HandlerCalls(loop)

    def fails():
        raise ValueError

    loop.call_soon(fails)
    loop.run_until_complete(turns())
    assert "source_traceback" not in calls[0]


def takes_long(*_):
    end = time.monotonic() + 0.02
    while time.monotonic() < end:
        pass


@pytest.mark.parametrize("method", ["connection_made", "data_received", "connection_lost"])
@pytest.mark.parametrize("kind", ["stream", "pipe", "datagrams"])
def test_a_slow_method_of_a_protocol_is_logged(debug_loop, run, bill, kind, method):
    bill.expect_log(r"(?s)Executing .* took \d+\.\d+ seconds")
    debug_loop.slow_callback_duration = 0.01

    class Slow(asyncio.Protocol, asyncio.DatagramProtocol):
        pass

    setattr(Slow, "datagram_received" if kind == "datagrams" and method == "data_received" else method, takes_long)

    async def main():
        here, there = socketpair(socket.SOCK_DGRAM if kind == "datagrams" else socket.SOCK_STREAM)
        there.send(b"x")
        if kind == "stream":
            transport, _ = await debug_loop.create_unix_connection(Slow, sock=here)
        elif kind == "pipe":
            transport, _ = await debug_loop.connect_read_pipe(Slow, here)
        else:
            transport, _ = await debug_loop.create_datagram_endpoint(Slow, sock=here)
        await turns()
        transport.close()
        await turns()
        there.close()

    run(main())


@pytest.mark.stock_fails("it has half closed by then")
@pytest.mark.parametrize("kind", ["stream", "read pipe", "write pipe", "datagrams"])
def test_a_transport_that_another_thread_closes_is_an_error(debug_loop, run, kind):
    async def main():
        here, there = socketpair(socket.SOCK_DGRAM if kind == "datagrams" else socket.SOCK_STREAM)
        if kind == "stream":
            transport, _ = await debug_loop.create_unix_connection(asyncio.Protocol, sock=here)
        elif kind == "read pipe":
            transport, _ = await debug_loop.connect_read_pipe(asyncio.Protocol, here)
        elif kind == "write pipe":
            transport, _ = await debug_loop.connect_write_pipe(asyncio.Protocol, here)
        else:
            transport, _ = await debug_loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=here)
        with pytest.raises(RuntimeError, match="Non-thread-safe"):
            await asyncio.to_thread(transport.close)
        transport.close()
        await turns()
        here.close()
        there.close()

    run(main())
    debug_loop.run_until_complete(debug_loop.shutdown_default_executor())


@pytest.mark.ours_only("stock asyncio does most of it")
def test_what_another_thread_asks_of_a_transport_is_an_error_and_is_not_done(debug_loop, run):
    async def main():
        one, two = await connected(tcp=False)
        r, w = os.pipe()
        pipe, reader = await debug_loop.connect_read_pipe(Recorder, open(r, "rb", 0))
        datagrams, receiver = await debug_loop.create_datagram_endpoint(DatagramRecorder, ("127.0.0.1", 0))
        server, client, theirs = await tls_pair()
        stream, tls = one.transport, client.transport
        for call in (
            *(stream.write_eof, stream.pause_reading, pipe.pause_reading, datagrams.pause_reading, tls.pause_reading),
            lambda: stream.write(b"x"),
            lambda: datagrams.sendto(b"x", datagrams.get_extra_info("sockname")),
            *(lambda: tls.write(b"x"), lambda: tls.writelines([b"x"]), tls.close, tls.abort),
        ):
            with pytest.raises(RuntimeError, match="Non-thread-safe"):
                await asyncio.to_thread(call)
        readers = (stream, pipe, datagrams, tls)
        assert all(transport.is_reading() for transport in readers) and not tls.is_closing()
        for transport in readers:
            transport.pause_reading()
            with pytest.raises(RuntimeError, match="Non-thread-safe"):
                await asyncio.to_thread(transport.resume_reading)
            assert not transport.is_reading()
            transport.resume_reading()
        await turns()
        assert (two.data, theirs.data) == (b"", b"") and receiver.datagrams.empty()
        datagrams.close()
        pipe.close()
        os.close(w)
        await soon(receiver.lost)
        await soon(reader.lost)
        await closed(one, two)
        await closed(client, theirs)
        await ended(server)

    run(main())
    debug_loop.run_until_complete(debug_loop.shutdown_default_executor())
