"""Our look-ups beyond the contract that test_loop_resolver.py has for every loop. Only names that need no network."""

import asyncio
import gc
import os
import socket
import sys
import threading
import traceback
import warnings
import weakref

import pytest
from loop_support import HAS_IPV6, new_event_loop, soon, turns

pytestmark = pytest.mark.ours_only("it is about our own resolver")


def outcome(call, *args, **options):
    try:
        return call(*args, **options)
    except Exception as failed:
        return type(failed), failed.args


HOSTS = ["127.0.0.1", b"127.0.0.1", "127.1", "0x7f.1", "1", "::1", "::ffff:1.2.3.4", "fe80::1%lo", "fe80::1%1", "fe80::1%no-such", None]
PORTS = [0, 80, 65_535, 65_536, -1, "80", b"80", "", None, "http", "00080", True]
HINTS = [
    {},
    {"type": socket.SOCK_STREAM},
    {"type": socket.SOCK_DGRAM},
    {"type": socket.SOCK_RAW},
    {"type": 77},
    {"proto": socket.IPPROTO_TCP},
    {"type": socket.SOCK_DGRAM, "proto": socket.IPPROTO_TCP},
    {"family": socket.AF_INET},
    {"family": socket.AF_INET6, "type": socket.SOCK_STREAM},
    {"family": socket.AF_UNIX},
    {"flags": socket.AI_PASSIVE},
    {"flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV},
    {"flags": socket.AI_CANONNAME},
    {"flags": 1 << 30},
    {"family": socket.AF_INET6, "flags": socket.AI_V4MAPPED | socket.AI_ALL},
]


@pytest.mark.parametrize("hints", HINTS, ids=str)
def test_numbers_in_all_forms_are_answered_like_by_socket(loop, run, hints):
    async def ask(*args):
        return await loop.getaddrinfo(*args, **hints)

    for host in HOSTS:
        for port in PORTS:
            expected = outcome(socket.getaddrinfo, host, port, **hints)
            assert outcome(run, ask(host, port)) == expected, (host, port)


def test_numbers_need_no_thread_and_no_turn(loop, run):
    async def main():
        for host in ("127.0.0.1", "::1", None, b"127.0.0.1"):
            with pytest.raises(StopIteration) as answered:
                loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM).send(None)
            assert answered.value.value == socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
        with pytest.raises(StopIteration) as answered:
            loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV).send(None)
        assert answered.value.value == ("127.0.0.1", "80")

    run(main())


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", b"localhost", "localhost."])
@pytest.mark.parametrize("hints", HINTS[:-1], ids=str)
def test_names_are_answered_like_by_socket(loop, run, host, hints):
    assert outcome(run, loop.getaddrinfo(host, 80, **hints)) == outcome(socket.getaddrinfo, host, 80, **hints)


@pytest.mark.parametrize(
    "args", [("1.2.3.4.5", 80), ("", 80), (".", 80), ("x" * 64, 80), ("a..b", 80), (None, None), (None, "no-such-service"), ("\ud800", 80), (5, 80),
             ("127.0.0.1", 1.5), ("127.0.0.1", "8\ud800"), ("127.0.0.1", 1 << 70)], ids=str)
def test_what_is_wrong_fails_like_with_socket(loop, run, args):
    hints = {"flags": socket.AI_NUMERICHOST}
    expected = outcome(socket.getaddrinfo, *args, **hints)
    assert isinstance(expected[0], type) and outcome(run, loop.getaddrinfo(*args, **hints)) == expected


def test_names_in_other_scripts_are_encoded(loop, run):
    hints = {"flags": socket.AI_NUMERICHOST}
    assert outcome(run, loop.getaddrinfo("b\u00fccher", 80, **hints)) == outcome(socket.getaddrinfo, "b\u00fccher", 80, **hints)
    with pytest.raises(UnicodeError):
        run(loop.getaddrinfo("\u00fc" * 70, 80))


def test_failures_of_a_thread_arrive_as_gaierror(loop, run):
    with pytest.raises(socket.gaierror) as expected:
        socket.getaddrinfo("localhost", "no-such-service")
    with pytest.raises(socket.gaierror) as caught:
        run(loop.getaddrinfo("localhost", "no-such-service"))
    assert caught.value.args == expected.value.args and caught.value.errno == expected.value.errno


def test_names_of_addresses_are_those_of_socket(loop, run):
    for args in [(("127.0.0.1", 80), 0), (("127.0.0.1", 80), socket.NI_NUMERICHOST), (("127.0.0.1", 53), socket.NI_DGRAM | socket.NI_NUMERICHOST),
                 (("127.0.0.1", 80, 0, 0), 0), (("::1", 80, 0, 0), 3), (("::1", 80, 1 << 20), 0), (("127.0.0.1", 99_999), 3), ((), 3), ("x", 3), (("x", 1), 3),
                 (["127.0.0.1", 1], 3), (("127.0.0.1", "1"), 3)]:
        if "::1" not in str(args) or HAS_IPV6:
            assert outcome(run, loop.getnameinfo(*args)) == outcome(socket.getnameinfo, *args), args


def test_debug_mode_tells_of_look_ups(loop, run, caplog):
    loop.set_debug(True)
    with caplog.at_level("DEBUG", "asyncio"):
        run(loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))
    assert any("Getting address info 127.0.0.1:80" in record.getMessage() for record in caplog.records)


def test_programs_may_put_in_their_own_resolver(loop, run, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: ["mine", *args[:2]])
    monkeypatch.setattr(socket, "getnameinfo", lambda *args: ["mine", *args])
    assert run(loop.getaddrinfo("127.0.0.1", 80)) == ["mine", "127.0.0.1", 80]
    assert run(loop.getnameinfo(("127.0.0.1", 80))) == ["mine", ("127.0.0.1", 80), 0]


def test_look_ups_are_audited(loop, run):
    seen = []

    def note(event, args):
        if seen is not None and event.startswith("socket.get") and threading.get_ident() == thread:
            seen.append((event, args))

    thread = threading.get_ident()
    sys.addaudithook(note)
    run(loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM))
    run(loop.getnameinfo(("127.0.0.1", 80), 3))
    told, seen = seen, None
    assert told == [("socket.getaddrinfo", ("localhost", 80, 0, socket.SOCK_STREAM, 0)), ("socket.getnameinfo", (("127.0.0.1", 80),))]


def test_many_threads_answer_many_names(loop, run):
    async def main():
        answers = await asyncio.gather(*(loop.getaddrinfo("localhost", port, type=socket.SOCK_STREAM) for port in range(1, 301)))
        assert [answer[0][4][1] for answer in answers] == list(range(1, 301))

    run(main())


def test_a_cancelled_look_up_is_forgotten(loop, run):
    async def main():
        for _ in range(20):
            tasks = [asyncio.ensure_future(loop.getaddrinfo("localhost", port)) for port in range(50)]
            await asyncio.sleep(0)
            futures = [weakref.ref(task._fut_waiter) for task in tasks if task._fut_waiter]
            for task in tasks:
                task.cancel()
            assert all(isinstance(answer, (list, asyncio.CancelledError)) for answer in await asyncio.gather(*tasks, return_exceptions=True))
            del tasks, task
            await turns()
            gc.collect()
            assert not [future for future in futures if future()]
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.getaddrinfo("localhost", 80), 0)
        assert await soon(asyncio.ensure_future(loop.getaddrinfo("localhost", 80)))

    run(main())


def test_answers_come_while_the_loop_is_busy(loop, run):
    async def main():
        lookups = [asyncio.ensure_future(loop.getaddrinfo("localhost", port)) for port in range(20)]
        while not all(lookup.done() for lookup in lookups):
            await asyncio.sleep(0)

    run(main())


def test_a_loop_may_be_closed_with_look_ups_under_way(bill):
    for _ in range(20):
        loop = new_event_loop()
        lookups = [loop.getaddrinfo("localhost", port) for port in range(30)]
        waiting = [weakref.ref(lookup.send(None)) for lookup in lookups if loop.call_soon(int)]
        loop.close()
        for lookup in lookups:
            lookup.close()
        del lookups, lookup, loop
        gc.collect()
        assert not [future for future in waiting if future()]


def test_a_closed_loop_looks_nothing_up(bill):
    loop = new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.getaddrinfo("localhost", 80).send(None)


def test_a_loop_that_nobody_has_is_collected_with_its_look_ups(bill):
    loop = new_event_loop()
    lookup = loop.getaddrinfo("localhost", 80)
    future = weakref.ref(lookup.send(None))
    bill.allow_warning("unclosed event loop")
    del loop
    lookup.close()
    del lookup
    gc.collect()
    assert future() is None


def fork():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return os.fork()


def test_look_ups_go_on_in_a_forked_child(loop):
    """The coroutine returns twice."""
    parent = os.getpid()

    async def main():
        asked = [asyncio.ensure_future(loop.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)) for port in range(1, 9)]
        await asyncio.sleep(0)
        child = fork()
        if child == 0:
            asyncio._set_running_loop(loop)  # asyncio has told the child that none runs
        for port, answer in enumerate(await soon(asyncio.gather(*asked)), 1):
            assert answer[0][4][1] == port
        assert await soon(loop.getaddrinfo("localhost", 80))
        return child

    child = -1
    try:
        child = loop.run_until_complete(main())
    except BaseException:
        if os.getpid() == parent:
            raise
        traceback.print_exc(file=sys.__stderr__)
    finally:
        if os.getpid() != parent:
            os._exit(0 if child == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_forked_child_may_close_the_loop_of_its_parent(loop, run):
    async def main():
        await asyncio.gather(*(loop.getaddrinfo("localhost", port) for port in range(1, 9)))

    run(main())
    child = fork()
    if child == 0:
        try:
            loop.close()
        finally:
            os._exit(7 if loop.is_closed() else 1)
    assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 7
