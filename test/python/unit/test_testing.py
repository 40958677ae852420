"""The stand-in for Erlang does what Erlang does, as far as it says so."""

import asyncio
import dataclasses
import datetime
import logging
import os
import re
import subprocess
import threading
import time

import pytest

import erlang
from erlang import _fake, _port, testing


@pytest.fixture
def node():
    with testing.fake() as node:
        yield node


def test_a_registered_function_is_called_and_answers(node):
    node.register("double", lambda x: x * 2)
    assert erlang.call("double", 21) == 42
    assert erlang.double(4) == 8
    from erlang import double

    assert double("ab") == "abab"
    assert node.calls == [("double", [21]), ("double", [4]), ("double", ["ab"])]


def test_a_function_that_is_not_registered_is_not_found(node):
    with pytest.raises(erlang.FunctionNotFound) as caught:
        erlang.call("nothing")
    assert caught.value.function == "nothing"
    assert not hasattr(erlang, "nothing")
    node.register("nothing", lambda: 1)
    assert hasattr(erlang, "nothing")
    node.unregister("nothing")
    assert not hasattr(erlang, "nothing")


def test_values_cross_the_border_as_in_a_worker(node):
    seen = []
    node.register("echo", lambda value: (seen.append(value), value)[1])
    value = {"t": (1, 2.5), "l": [None, True, 1 << 80, -1], b"\xff": b"\xfe", "s": "é\0"}
    assert erlang.call("echo", value) == value
    assert erlang.call("echo", {1, 1}) == [1]
    assert erlang.call("echo", b"text") == "text"
    assert erlang.call("echo", datetime.date(2024, 1, 2)) == "2024-01-02"
    assert erlang.call("echo", erlang.Atom("ok")) == "ok"
    assert erlang.call("echo", float("inf")) == "infinity"
    pid = node.pid()
    assert erlang.call("echo", [pid]) == [pid]


@pytest.mark.parametrize("value", [object(), 1j, lambda: 1, "\ud800", {"a": 1, b"a": 2}])
def test_what_has_no_counterpart_is_a_term_error(node, value):
    node.register("echo", lambda value: value)
    with pytest.raises(erlang.TermError):
        erlang.call("echo", [value])
    assert node.calls == []


def test_a_failure_is_a_call_error(node):
    def fails():
        raise testing.Failure(("no_stock", "tea"))

    node.register("fails", fails)
    with pytest.raises(erlang.CallError) as caught:
        erlang.call("fails")
    assert (caught.value.error_class, caught.value.reason, caught.value.function) == ("error", ("no_stock", "tea"), "fails")


def test_another_exception_in_a_function_is_seen_as_it_is(node):
    node.register("wrong", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        erlang.call("wrong")


def test_keywords_and_names_that_are_no_str_are_refused(node):
    node.register("f", lambda: 1)
    with pytest.raises(TypeError, match="no keyword arguments"):
        erlang.f(x=1)
    with pytest.raises(TypeError, match="is a str, not int"):
        erlang.call(1)


def test_a_function_that_does_not_answer_is_late(node):
    node.register("never", testing.never)
    with pytest.raises(TimeoutError):
        erlang.call("never", timeout=3600)

    async def main():
        with pytest.raises(TimeoutError):
            await erlang.async_call("never", timeout=0.01)

    asyncio.run(main())


def test_coroutines_await_calls(node):
    node.register("double", lambda x: x * 2)

    async def main():
        with pytest.raises(erlang.FunctionNotFound):
            await erlang.async_call("nothing")
        return await asyncio.gather(*(erlang.async_call("double", i) for i in range(20)))

    assert asyncio.run(main()) == [i * 2 for i in range(20)]
    assert erlang.run(main()) == [i * 2 for i in range(20)]


def test_calls_from_threads(node):
    node.register("double", lambda x: x * 2)
    results = []
    threads = [threading.Thread(target=lambda i=i: results.append(erlang.call("double", i))) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [i * 2 for i in range(8)]


def test_messages_are_kept_in_order(node):
    pid, named = node.pid(), node.pid("server")
    erlang.send(pid, {"n": 1})
    erlang.send("server", (1, b"x"))
    assert node.sent == [(pid, {"n": 1}), ("server", (1, "x"))]
    assert erlang.whereis("server") == named and erlang.whereis("nobody") is None
    with pytest.raises(erlang.ProcessError):
        erlang.send("nobody", 1)
    assert erlang.self() == node.self


def test_a_process_that_ends_is_told_and_gone(node):
    pid, told = node.pid("server"), []
    erlang.monitor(pid, lambda *args: told.append(args))
    silent = erlang.monitor(pid, lambda *args: told.append("never"))
    assert silent.demonitor()
    node.exit("server", ("crash", 1))
    assert told == [(pid, ("crash", 1))]
    assert erlang.whereis("server") is None
    with pytest.raises(erlang.ProcessError):
        erlang.send(pid, 1)


def test_channels(node):
    channel = node.channel([1, "two"], size=3)
    assert channel.receive() == 1
    assert channel.try_receive() == "two"
    assert channel.try_receive("empty") == "empty"
    with pytest.raises(TimeoutError):
        channel.receive(timeout=60)
    for i in range(3):
        channel.send(i)
    assert not channel.try_send(3)
    with pytest.raises(TimeoutError):
        channel.send(3, timeout=60)
    assert node.taken(channel) == [0, 1, 2]
    node.put(channel, "last")
    node.close(channel)
    assert list(channel) == ["last"]
    with pytest.raises(erlang.ChannelClosed):
        channel.send(1)


def test_a_coroutine_waits_for_a_message(node):
    channel = node.channel(kind=erlang.ByteChannel)

    async def main():
        waiting = asyncio.ensure_future(channel.async_receive())
        await asyncio.sleep(0)
        node.put(channel, b"\x00\xff")
        return await waiting

    assert asyncio.run(main()) == b"\x00\xff"


def test_a_stream_from_erlang(node):
    assert list(node.inlet(range(100))) == list(range(100))


def test_the_call_at_hand(node):
    assert erlang.remaining() is None and erlang.trace_context() is None
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with node.request(timeout=60, trace=parent):
        assert 0 < erlang.remaining() <= 60
        assert erlang.trace_context() == {"traceparent": parent}
    assert erlang.deadline() is None


def test_log_records_are_kept(node):
    handler = erlang.setup_logging("info")
    try:
        logging.getLogger("shop").warning("low on %s", "tea", extra={"stock": 2, "odd": object})
        logging.getLogger("shop").debug("not this")
        handler.flush()
    finally:
        logging.getLogger().removeHandler(handler)
        logging.getLogger().setLevel(logging.WARNING)
    (record,) = node.logs
    assert (record["level"], record["logger"], record["message"]) == (30, "shop", "low on tea")
    assert record["meta"] == {"stock": 2, "odd": "<class 'object'>"}
    assert record["file"] == __file__ and record["function"] == "test_log_records_are_kept"


def test_log_records_are_sent_without_a_thread_where_none_is_to_be_had(node, monkeypatch):
    def no_thread(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    handler = erlang.ErlangHandler()
    for i in range(3):
        handler.handle(logging.makeLogRecord({"msg": str(i), "levelno": 20}))
    assert [record["message"] for record in node.logs] == ["0", "1", "2"]


def test_an_interrupt_while_a_record_is_sent_does_not_stop_those_after_it(node, monkeypatch):
    start, interrupts = _port.start_op, [KeyboardInterrupt]

    def interrupted(*args):
        if interrupts:
            raise interrupts.pop()
        return start(*args)

    monkeypatch.setattr(_port, "start_op", interrupted)
    handler = erlang.ErlangHandler()
    with pytest.raises(KeyboardInterrupt):
        handler.handle(logging.makeLogRecord({"msg": "first", "levelno": 20}))
    handler.handle(logging.makeLogRecord({"msg": "second", "levelno": 20}))
    handler.flush()
    assert [record["message"] for record in node.logs] == ["first", "second"]


def test_without_erlang_the_records_are_printed_at_the_end():
    package = os.path.dirname(os.path.dirname(erlang.__file__))
    code = f"import sys; sys.path.insert(0, {package!r}); import logging, erlang; erlang.setup_logging(); logging.info('to nobody')"
    program = os.path.realpath("/proc/self/exe")
    switch = ["--python"] if os.path.basename(program).startswith("py_worker") else []
    done = subprocess.run([program, *switch, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "to nobody\n")


def wait_for_spans(node, count):
    end = time.monotonic() + 10
    while len(node.spans) < count and time.monotonic() < end:
        time.sleep(0.005)  # sleep-ok: spans are brought by another thread, which tells nobody
    return node.spans


def test_spans_are_kept(node):
    with node.tracing(), erlang.Span("outer", a=1) as outer, erlang.Span("inner"):
        outer.event("halfway", n=1)
    with erlang.Span("not recorded") as off:
        assert off.span_id is None
    inner, kept = wait_for_spans(node, 2)
    assert (inner["name"], inner["parent_id"], inner["trace_id"]) == ("inner", outer.span_id, outer.trace_id)
    assert kept["attributes"] == {"a": 1} and kept["status"] == "ok" and kept["parent_id"] is None
    assert [event["name"] for event in kept["events"]] == ["halfway"]


def test_one_fake_at_a_time(node):
    with pytest.raises(RuntimeError, match="one at a time"):
        with testing.fake():
            pass


def test_afterwards_there_is_no_erlang_again():
    with testing.fake() as node:
        node.register("f", lambda: 1)
        assert erlang.call("f") == 1
    with pytest.raises(RuntimeError):
        erlang.call("f")


def test_a_marker_is_answered_with_what_it_stands_for(node):
    node.register("echo", lambda *args: args)
    assert erlang.call("echo", erlang.schedule_py("math", "sqrt", [16])) == (4.0,)
    assert erlang.call("echo", erlang.schedule_inline("builtins", "dict", None, {"a": 1})) == ({"a": 1},)


def test_what_would_wait_for_ever_says_for_what(node, monkeypatch):
    monkeypatch.setattr(_fake, "PATIENCE", 0.02)
    with pytest.raises(AssertionError, match="waits for a message in the channel"):
        node.channel().receive()
    node.register("never", testing.never)
    with pytest.raises(AssertionError, match="waits for the function 'never'"):
        erlang.call("never")


def test_a_cancelled_coroutine_gets_nothing_and_takes_nothing(node):
    channel = node.channel()

    async def main():
        waiting = asyncio.ensure_future(channel.async_receive())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        node.put(channel, "kept")
        return await channel.async_receive()

    assert asyncio.run(main()) == "kept"


def test_a_loop_that_goes_on_has_a_new_node_each_time():
    async def main():
        for i in range(3):
            with testing.fake() as node:
                node.register("f", lambda i=i: i)
                assert await erlang.async_call("f") == i

    asyncio.run(main())


def test_the_page_about_it():
    page = os.path.join(os.path.dirname(__file__), "..", "..", "..", "docs", "testing.md")
    with open(page, encoding="utf-8") as file:
        blocks = re.findall(r"^```python\n(.*?)^```$", file.read(), re.M | re.S)
    module = {"__name__": "demo"}
    exec("\n".join(blocks), module)
    tests = [value for name, value in module.items() if name.startswith("test_")]
    assert len(tests) == 4
    for test in tests:
        test()


def test_the_fixture(erlang_node):
    erlang_node.register("f", lambda: "from the fixture")
    assert erlang.call("f") == "from the fixture"


@dataclasses.dataclass
class Half:
    a: int
    b: int = dataclasses.field(init=False)


@pytest.mark.parametrize("value, path", [
    ({"k": [object()]}, "args[0].k[0]"), ({"two words": object()}, "args[0]['two words']"), ({(1,): object()}, "args[0][<tuple>]"),
    ({1j: 1}, "args[0].keys()[0]"), (Half(1), "args[0].b"),
])  # fmt: skip
def test_a_path_is_the_one_that_a_worker_says(node, value, path):
    node.register("echo", lambda value: value)
    with pytest.raises(erlang.TermError) as caught:
        erlang.call("echo", value)
    assert caught.value.path == path and str(caught.value).startswith(path + ": ")
    with pytest.raises(erlang.TermError) as caught:
        erlang.send(node.pid(), value)
    assert caught.value.path == path.replace("args[0]", "term")


class OddList(list):
    def __iter__(self):
        return iter([9])


class OddTuple(tuple):
    def __iter__(self):
        return iter([9])


class OddDict(dict):
    def items(self):
        return [("z", 26)]


def test_a_subclass_is_what_it_holds(node):
    node.register("echo", lambda value: value)
    assert erlang.call("echo", [OddList([1, 2]), OddTuple((1, 2)), OddDict(a=1)]) == [[1, 2], (1, 2), {"a": 1}]


def test_state_is_made_of_terms(node):
    for key in ((), [1, 2], {"a": 1}, 1, 1.0, True):
        erlang.state_set(key, ())
        assert erlang.state_get(key) == ()
        erlang.state_delete(key)
        assert erlang.state_get(key, "none") == "none" and not node.state
    for key, value in ((1, "int"), (1.0, "float"), (True, "bool")):
        erlang.state_set(key, value)
    assert [erlang.state_get(key) for key in (1, 1.0, True)] == ["int", "float", "bool"]
    erlang.state_set("l", [1])
    erlang.state_get("l").append(2)
    assert erlang.state_get("l") == node.state["l"] == [1]


@pytest.mark.parametrize("timeout, error", [(float("nan"), ValueError), ("3", TypeError), (-1, TimeoutError), (0, TimeoutError)])
def test_time_limits_are_those_of_a_worker(node, timeout, error):
    node.register("echo", lambda value: value)
    with pytest.raises(error):
        erlang.call("echo", 1, timeout=timeout)
    with pytest.raises(error):
        erlang.run(erlang.async_call("echo", 1, timeout=timeout))


def test_after_the_deadline_nothing_answers(node):
    node.register("echo", lambda value: value)
    with node.request(timeout=0):
        with pytest.raises(TimeoutError):
            erlang.call("echo", 1)
    assert erlang.call("echo", 1) == 1


def test_nothing_is_put_into_a_channel_that_is_full_or_closed(node):
    channel = node.channel([1], size=1)
    with pytest.raises(ValueError, match="full"):
        node.put(channel, 2)
    node.close(channel)
    with pytest.raises(ValueError, match="closed"):
        node.put(channel, 2)
    assert node.taken(channel) == [1]
