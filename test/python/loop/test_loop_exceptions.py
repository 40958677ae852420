"""What happens to exceptions that come out of callbacks."""

import asyncio
import contextvars
import os
import signal
import socket
import sys

import pytest
from loop_support import HandlerCalls, Recorder, socketpair, soon, turns, until


def fails():
    raise ZeroDivisionError("from a callback")


def test_an_exception_of_a_callback_goes_to_the_handler(loop, run):
    calls = HandlerCalls(loop)

    async def main():
        handle = loop.call_soon(fails)
        await turns()
        return handle

    handle = run(main())
    (context,) = calls
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["handle"] is handle
    assert "Exception in callback" in context["message"] and "fails" in context["message"]


@pytest.mark.parametrize("how", ["threadsafe", "later", "reader"])
def test_so_does_one_of_any_other_callback(loop, run, how):
    calls = HandlerCalls(loop)

    async def main():
        if how == "threadsafe":
            await loop.run_in_executor(None, loop.call_soon_threadsafe, fails)
        elif how == "later":
            loop.call_later(0, fails)
        else:
            r, w = os.pipe()
            os.write(w, b"x")
            loop.add_reader(r, lambda: (loop.remove_reader(r), fails()))
            await asyncio.sleep(0.001)  # sleep-ok: one wait of the loop
            os.close(r)
            os.close(w)
        await turns()

    run(main())
    assert [type(context["exception"]) for context in calls] == [ZeroDivisionError]


REQUEST = contextvars.ContextVar("request", default="none")


def fails_with(number):
    raise LookupError(number)


@pytest.mark.parametrize("how", ["call_soon", "call_later", "call_soon_threadsafe"])
def test_the_handler_finds_the_handle_as_it_ran(loop, run, how):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append((repr(context["handle"]), REQUEST.get())))

    async def main():
        given = [0.0, fails_with, 5] if how == "call_later" else [fails_with, 5]
        context = contextvars.copy_context()
        context.run(REQUEST.set, "GET /")
        getattr(loop, how)(*given, context=context)
        await until(lambda: seen)

    run(main())
    (shown, request), = seen
    assert "fails_with(" in shown and "cancelled" not in shown
    assert request == ("GET /" if sys.version_info >= (3, 12) else "none")


def test_the_handler_may_cancel_the_handle_and_so_may_the_callback(loop, run):
    shown, handles = [], []

    def handler(loop, context):
        shown.append(repr(context["handle"]))
        context["handle"].cancel()
        shown.append(repr(context["handle"]))

    def fails_cancelled():
        handles[1].cancel()
        fails()

    async def main():
        loop.set_exception_handler(handler)
        handles.extend([loop.call_soon(fails), loop.call_soon(fails_cancelled)])
        await turns()

    run(main())
    assert ["cancelled" in each for each in shown] == [False, True, True, True]
    assert ["fails" in each for each in shown] == [True, False, False, False]


def test_later_callbacks_of_the_round_run_all_the_same(loop, run):
    calls, seen = HandlerCalls(loop), []

    async def main():
        for i in range(5):
            loop.call_soon(fails)
            loop.call_soon(seen.append, i)
        await turns()

    run(main())
    assert seen == [0, 1, 2, 3, 4] and len(calls) == 5


def test_without_a_handler_it_is_logged(loop, run, bill):
    bill.expect_log("(?s)Exception in callback.*fails.*ZeroDivisionError")

    async def main():
        loop.call_soon(fails)
        await turns()

    run(main())


def test_the_handler_can_be_asked_for_and_taken_back(loop):
    assert loop.get_exception_handler() is None

    def handler(loop, context):
        pass

    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None


def test_a_handler_must_be_callable(loop):
    with pytest.raises(TypeError, match="callable"):
        loop.set_exception_handler("handler")
    assert loop.get_exception_handler() is None


def test_call_exception_handler_passes_loop_and_context(loop):
    seen = []
    loop.set_exception_handler(lambda *args: seen.append(args))
    context = {"message": "text", "anything": 1}
    loop.call_exception_handler(context)
    assert seen == [(loop, context)]


def test_a_handler_can_hand_over_to_the_default(loop, bill):
    bill.expect_log("(?s)text.*anything: 17")
    loop.set_exception_handler(lambda loop, context: loop.default_exception_handler(context))
    loop.call_exception_handler({"message": "text", "anything": 17})


def test_the_default_handler_logs_without_a_message_too(loop, bill):
    bill.expect_log("Unhandled exception in event loop")
    loop.default_exception_handler({})


def test_the_default_handler_logs_the_exception(loop, bill):
    bill.expect_log("(?s)message here.*ValueError")
    loop.default_exception_handler({"message": "message here", "exception": ValueError("x")})


def test_a_handler_that_fails_is_logged_with_what_it_should_have_handled(loop, run, bill):
    bill.expect_log("(?s)Unhandled error in exception handler.*context")

    def handler(loop, context):
        raise LookupError("in the handler")

    loop.set_exception_handler(handler)

    async def main():
        loop.call_soon(fails)
        await turns()
        return "goes on"

    assert run(main()) == "goes on"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_keyboard_interrupt_and_system_exit_come_out_of_the_run(loop, error):
    calls, seen = HandlerCalls(loop), []

    def out():
        raise error("out")

    loop.call_soon(out)
    loop.call_soon(seen.append, "after")
    with pytest.raises(error):
        loop.run_forever()
    assert not loop.is_running() and calls == []
    loop.run_until_complete(turns())  # what was ready is not lost
    assert seen == ["after"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("how", ["timer", "threadsafe", "reader"])
def test_they_do_so_from_any_kind_of_callback(loop, error, how):
    def out():
        raise error("out")

    r, w = os.pipe()
    if how == "timer":
        loop.call_later(0.001, out)
    elif how == "threadsafe":
        loop.call_soon_threadsafe(out)
    else:
        loop.add_reader(r, out)
        os.write(w, b"x")
    with pytest.raises(error):
        loop.run_forever()
    loop.remove_reader(r)
    os.close(r)
    os.close(w)
    assert loop.run_until_complete(asyncio.sleep(0.001, 1)) == 1  # sleep-ok: any wait


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_they_come_out_of_the_run_from_a_task(loop, error):
    async def out():
        raise error("out")

    with pytest.raises(error):
        loop.run_until_complete(out())
    assert loop.run_until_complete(asyncio.sleep(0, 1)) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_they_come_out_of_the_run_from_a_protocol(loop, error):
    """Of a protocol's method, too: the user's Ctrl-C must not be lost in a library."""
    from loop_support import Recorder, tcp_pair

    class Out(Recorder):
        def data_received(self, data):
            raise error("out")

    ours, peer = tcp_pair()

    async def main():
        _, protocol = await loop.create_connection(Out, sock=ours)
        peer.send(b"x")
        await loop.create_future()

    task = loop.create_task(main())
    with pytest.raises(error):
        loop.run_until_complete(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    peer.close()

    async def close():
        await asyncio.sleep(0.01)  # sleep-ok: whether the transport was closed by the error is not laid down

    loop.run_until_complete(close())
    ours.close()
    loop.close()
    import gc

    gc.collect()


def test_other_base_exceptions_are_handled_like_exceptions(loop, run):
    class Strange(BaseException):
        pass

    calls = HandlerCalls(loop)

    def strange():
        raise Strange

    async def main():
        loop.call_soon(strange)
        await turns()

    run(main())
    assert [type(context["exception"]) for context in calls] == [Strange]


def test_cancelled_error_from_a_callback_is_handled_like_an_exception(loop, run):
    calls = HandlerCalls(loop)

    def cancelled():
        raise asyncio.CancelledError

    async def main():
        loop.call_soon(cancelled)
        await turns()

    run(main())
    assert len(calls) == 1


def test_ctrl_c_interrupts_a_loop_that_waits(loop):
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        pytest.skip("SIGINT is not Python's own here")
    import threading

    thread = threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGINT))
    loop.call_soon(thread.start)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    thread.join()
    assert loop.run_until_complete(asyncio.sleep(0, 1)) == 1


def test_ctrl_c_interrupts_a_callback_that_computes(loop):
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        pytest.skip("SIGINT is not Python's own here")

    def computes():
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            pass

    loop.call_soon(computes)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()


def test_a_python_signal_handler_runs_while_the_loop_waits(loop):
    """One that was set with signal.signal, not through the loop: it runs without another event."""
    import threading

    seen = []
    before = signal.signal(signal.SIGUSR2, lambda *_: (seen.append("handled"), loop.call_soon_threadsafe(loop.stop)))
    try:
        thread = threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGUSR2))
        loop.call_soon(thread.start)
        loop.run_forever()
        thread.join()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert seen == ["handled"]


def test_a_future_whose_exception_nobody_took_is_reported(loop, run):
    import gc

    calls = HandlerCalls(loop)

    async def main():
        future = loop.create_future()
        future.set_exception(ValueError("never taken"))
        del future
        gc.collect()

    run(main())
    assert calls.messages() == ["Future exception was never retrieved"]
    calls.clear()


def test_a_task_destroyed_while_pending_is_reported(loop, run):
    import gc

    calls = HandlerCalls(loop)

    async def waits(future):
        await future

    async def main():
        task = loop.create_task(waits(loop.create_future()))
        await turns()
        del task
        gc.collect()

    run(main())
    assert calls.messages() == ["Task was destroyed but it is pending!"]
    calls.clear()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_connection_made_leaves_the_connection_to_the_next_run(loop, error):
    here, there = socketpair()

    class Interrupted(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise error("out")

    connecting = loop.create_task(loop.create_connection(Interrupted, sock=here))
    with pytest.raises(error, match="out"):
        loop.run_forever()
    there.send(b"x")

    async def rest():
        transport, protocol = await soon(connecting)
        assert await protocol.received(1) == b"x"
        there.close()
        await soon(protocol.lost)

    loop.run_until_complete(rest())


class Breaks(asyncio.Protocol, asyncio.DatagramProtocol):
    """Raises in the method of that name, once."""

    def __init__(self, method):
        self.method = method
        setattr(self, method, self.fails)

    def fails(self, *args):
        delattr(self, self.method)
        raise ZeroDivisionError


def stream(loop, here, breaks):
    return loop.create_connection(lambda: breaks, sock=here)


def read_pipe(loop, here, breaks):
    return loop.connect_read_pipe(lambda: breaks, here)


def datagrams(loop, here, breaks):
    return loop.create_datagram_endpoint(lambda: breaks, sock=here)


@pytest.mark.parametrize(
    "connect, method",
    [
        (stream, "connection_made"),
        (stream, "data_received"),
        (stream, "eof_received"),
        (stream, "connection_lost"),
        (read_pipe, "data_received"),
        (read_pipe, "connection_lost"),
        (datagrams, "datagram_received"),
        (datagrams, "connection_lost"),
    ],
)
def test_an_exception_handler_can_end_the_program(loop, connect, method):
    """As a service does for which everything unexpected is fatal."""

    def handler(loop, context):
        assert isinstance(context["exception"], ZeroDivisionError)
        raise SystemExit("unexpected")

    here, there = socketpair(socket.SOCK_DGRAM) if connect is datagrams else socketpair()
    breaks = Breaks(method)
    loop.set_exception_handler(handler)
    connecting = loop.create_task(connect(loop, here, breaks))
    there.send(b"x")
    if connect is not datagrams:
        there.shutdown(socket.SHUT_WR)
    if method == "connection_lost":
        connecting.add_done_callback(lambda connected: connected.result()[0].close())
    with pytest.raises(SystemExit, match="unexpected"):
        loop.run_forever()
    loop.set_exception_handler(None)

    async def rest():
        transport, _ = await soon(connecting)
        transport.abort() if hasattr(transport, "abort") else transport.close()
        await turns()

    loop.run_until_complete(rest())
    there.close()
