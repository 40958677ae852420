"""add_reader, add_writer and their removal."""

import asyncio
import os
import socket
import struct

import pytest
from loop_support import closed, soon, socketpair, stuffed, turns, with_raw_peer


@pytest.fixture
def pair(bill):
    pair = socketpair()
    bill.to_close += pair
    return pair


def test_a_reader_is_called_when_there_is_something_to_read(loop, run, pair):
    async def main():
        got = loop.create_future()
        loop.add_reader(pair[0], lambda *args: got.set_result((args, pair[0].recv(10))), 1, "two")
        await turns()
        assert not got.done()
        pair[1].send(b"data")
        assert await soon(got) == ((1, "two"), b"data")
        assert loop.remove_reader(pair[0]) is True
        assert loop.remove_reader(pair[0]) is False

    run(main())


def test_a_reader_is_called_again_as_long_as_there_is_something(loop, run, pair):
    async def main():
        seen, done = [], loop.create_future()

        def readable():
            seen.append(pair[0].recv(1))
            if len(seen) == 5:
                done.set_result(None)

        loop.add_reader(pair[0].fileno(), readable)
        pair[1].send(b"abcde")
        await soon(done)
        loop.remove_reader(pair[0].fileno())
        assert b"".join(seen) == b"abcde"

    run(main())


def test_a_reader_is_told_of_the_end(loop, run, pair):
    async def main():
        got = loop.create_future()
        loop.add_reader(pair[0], lambda: got.done() or got.set_result(pair[0].recv(1)))
        pair[1].close()
        assert await soon(got) == b""
        loop.remove_reader(pair[0])

    run(main())


def test_a_reader_replaces_the_one_before(loop, run, pair):
    async def main():
        got = loop.create_future()
        loop.add_reader(pair[0], lambda: got.set_result("first"))
        loop.add_reader(pair[0], lambda: got.set_result("second") or loop.remove_reader(pair[0]))
        pair[1].send(b"x")
        assert await soon(got) == "second"
        assert loop.remove_reader(pair[0]) is False

    run(main())


def test_a_writer_is_called_when_there_is_room(loop, run, pair):
    async def main():
        stuffed(pair[0])
        got = loop.create_future()
        loop.add_writer(pair[0], lambda *args: got.done() or got.set_result(args), 1)
        await turns()
        assert not got.done()
        while True:
            try:
                pair[1].recv(1 << 20)
            except BlockingIOError:
                break
        assert await soon(got) == (1,)
        assert loop.remove_writer(pair[0]) is True
        assert loop.remove_writer(pair[0]) is False

    run(main())


def test_reader_and_writer_of_one_descriptor_do_not_disturb_each_other(loop, run, pair):
    async def main():
        readable, writable = loop.create_future(), loop.create_future()
        loop.add_reader(pair[0], lambda: readable.done() or readable.set_result(None))
        loop.add_writer(pair[0], lambda: writable.done() or writable.set_result(None))
        await soon(writable)
        assert loop.remove_writer(pair[0]) is True
        assert not readable.done()
        pair[1].send(b"x")
        await soon(readable)
        loop.add_writer(pair[0], lambda: None)
        assert loop.remove_reader(pair[0]) is True
        assert loop.remove_reader(pair[0]) is False
        assert loop.remove_writer(pair[0]) is True

    run(main())


def test_a_removed_reader_is_not_called_any_more(loop, run, pair):
    """Even if it was ready in the round that removes it."""

    async def main():
        seen = []
        pair[1].send(b"x")
        other = socketpair()
        other[1].send(b"x")

        def remover(name, victim):
            seen.append(name)
            loop.remove_reader(victim)

        loop.add_reader(pair[0], remover, "one", other[0])
        loop.add_reader(other[0], remover, "two", pair[0])
        await turns(5)
        assert len(set(seen)) == 1  # one removed the other before its turn
        loop.remove_reader(pair[0])
        loop.remove_reader(other[0])
        for sock in other:
            sock.close()

    run(main())


def test_a_reader_can_remove_itself(loop, run, pair):
    async def main():
        seen = []
        pair[1].send(b"x")
        loop.add_reader(pair[0], lambda: (seen.append(1), loop.remove_reader(pair[0])))
        await turns()
        assert seen == [1]

    run(main())


def test_a_reader_that_fails_stays(loop, run, pair):
    from loop_support import HandlerCalls

    calls = HandlerCalls(loop)

    async def main():
        pair[1].send(b"x")
        loop.add_reader(pair[0], lambda: 1 / 0)
        while len(calls) < 2:
            await turns(1)
        assert loop.remove_reader(pair[0]) is True

    run(main())


def test_objects_with_fileno_are_descriptors(loop, run, pair):
    class Thing:
        def fileno(self):
            return pair[0].fileno()

    async def main():
        got = loop.create_future()
        loop.add_reader(Thing(), lambda: got.done() or got.set_result(None))
        pair[1].send(b"x")
        await soon(got)
        assert loop.remove_reader(pair[0].fileno()) is True

    run(main())


@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
@pytest.mark.parametrize("wrong", ["text", None, 1.5, -1, object()], ids=repr)
def test_what_is_no_descriptor_is_refused(loop, method, wrong):
    with pytest.raises((ValueError, TypeError)):
        getattr(loop, method)(wrong, int)


def test_a_closed_descriptor_is_an_os_error(loop):
    r, w = os.pipe()
    os.close(r)
    os.close(w)
    with pytest.raises(OSError):
        loop.add_reader(r, int)
    assert loop.remove_reader(r) is False


def test_a_closed_socket_is_a_value_error(loop):
    sock = socket.socket()
    sock.close()
    with pytest.raises(ValueError):
        loop.add_reader(sock, int)


def test_a_regular_file_is_refused_and_the_process_lives(loop, run, tmp_path):
    with open(tmp_path / "file", "w+") as file:
        with pytest.raises((PermissionError, ValueError, OSError)):
            loop.add_reader(file, int)
        assert loop.remove_reader(file) is False
    run(turns())


def test_a_descriptor_that_was_closed_while_watched_can_be_watched_anew(loop, run):
    """The number comes back for another file: the watch of the first must not stand in its way."""

    async def main():
        r, w = os.pipe()
        loop.add_reader(r, int)
        assert loop.remove_reader(r)
        os.close(r)
        os.close(w)
        again, other = os.pipe()
        assert {r, w} == {again, other}
        got = loop.create_future()
        loop.add_reader(again, lambda: got.done() or got.set_result(None))
        os.write(other, b"x")
        await soon(got)
        assert loop.remove_reader(again)
        os.close(again)
        os.close(other)

    run(main())


def test_a_descriptor_closed_before_its_reader_is_removed(loop, run):
    """A user's mistake that must not hurt the loop."""

    async def main():
        r, w = os.pipe()
        loop.add_reader(r, int)
        os.close(r)
        await turns()
        assert loop.remove_reader(r) is True
        os.close(w)
        await turns()

    run(main())


def test_the_descriptor_of_a_transport_is_refused(loop, run):
    async def main():
        protocol, peer = await with_raw_peer()
        sock = protocol.transport.get_extra_info("socket")
        for method, args in [(loop.add_reader, (int,)), (loop.add_writer, (int,)), (loop.remove_reader, ()), (loop.remove_writer, ())]:
            with pytest.raises(RuntimeError, match="used by transport"):
                method(sock.fileno(), *args)
        await closed(protocol)
        peer.close()

    run(main())


def test_a_closed_loop_watches_nothing(loop, pair):
    loop.add_reader(pair[0], int)
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.add_reader(pair[0], int)
    with pytest.raises(RuntimeError, match="closed"):
        loop.add_writer(pair[0], int)


def test_two_loops_can_watch_the_same_descriptor(loop, make_loop, pair):
    other = make_loop()
    pair[1].send(b"x")
    for each in (loop, other):
        each.add_reader(pair[0], each.stop)
    for each in (loop, other):
        each.run_forever()
        assert each.remove_reader(pair[0])


def test_watches_outlive_a_run(loop, pair):
    seen = []
    loop.add_reader(pair[0], lambda: (seen.append(pair[0].recv(1)), loop.stop()))
    loop.run_until_complete(turns())
    pair[1].send(b"ab")
    loop.run_forever()
    loop.run_forever()
    assert seen == [b"a", b"b"]
    loop.remove_reader(pair[0])


def test_a_thousand_watches(loop, run):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3000:
        pytest.skip("too few descriptors allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3000), hard))

    async def main():
        pipes, seen, done = [os.pipe() for _ in range(1000)], set(), loop.create_future()

        def readable(r):
            os.read(r, 1)
            seen.add(r)
            if len(seen) == 1000:
                done.set_result(None)

        for r, w in pipes:
            loop.add_reader(r, readable, r)
        for r, w in pipes:
            os.write(w, b"x")
        await soon(done)
        for r, w in pipes:
            assert loop.remove_reader(r)
            os.close(r)
            os.close(w)

    try:
        run(main())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_pty_can_be_watched(loop, run):
    async def main():
        master, slave = os.openpty()
        got = loop.create_future()
        loop.add_reader(master, lambda: got.set_result(os.read(master, 10)) or loop.remove_reader(master))
        os.write(slave, b"typed")
        assert await soon(got) == b"typed"
        os.close(master)
        os.close(slave)

    run(main())


def test_waiting_for_a_reader_can_be_cancelled(loop, run, pair):
    async def main():
        future = loop.create_future()
        loop.add_reader(pair[0], future.set_result, None)  # nothing ever comes
        waiting = asyncio.ensure_future(future)
        await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert loop.remove_reader(pair[0])

    run(main())


def test_what_was_ready_when_a_callback_ended_the_run_is_told_in_the_next(loop):
    """An error is told by the system once only, and the run that has been told of it may be over."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        broken = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    one, two = socket.socketpair()
    told = []

    def ends_the_run():
        loop.remove_reader(one)
        raise KeyboardInterrupt

    loop.add_reader(one, ends_the_run)
    loop.add_reader(broken, lambda: (told.append(1), loop.remove_reader(broken), loop.stop()))
    loop.call_soon(loop.stop)
    loop.run_forever()
    two.send(b"x")
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    other.close()  # a reset
    try:
        loop.run_forever()
    except KeyboardInterrupt:
        loop.run_forever()
    loop.remove_reader(one)
    assert told == [1]
    for sock in (one, two, broken):
        sock.close()


@pytest.mark.stock_fails("it asks epoll to go on watching for the other of the two")
def test_a_socket_can_be_closed_before_it_is_no_longer_watched(loop, pair):
    """As clean-up code does in whatever order."""
    loop.add_reader(pair[0], print)
    loop.add_writer(pair[0], print)
    pair[0].close()
    assert loop.remove_reader(pair[0]) is True
    assert loop.remove_writer(pair[0]) is True
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.remove_reader(pair[0])
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.add_reader(pair[0], print)


def test_what_a_reader_queues_before_it_stops_the_loop_is_for_the_next_run(loop, pair):
    seen = []

    def reads():
        loop.remove_reader(pair[0])
        loop.call_soon(seen.append, "queued")
        loop.stop()

    loop.add_reader(pair[0], reads)
    pair[1].send(b"x")
    loop.run_forever()
    assert seen == []
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["queued"]


def test_arguments_by_name(loop, pair):
    pair[1].send(b"x")
    loop.add_reader(fd=pair[0], callback=loop.stop)
    loop.add_writer(callback=pair[0].fileno, fd=pair[0])
    loop.run_forever()
    assert loop.remove_reader(fd=pair[0]) is True and loop.remove_writer(fd=pair[0]) is True
    for bad in ({}, {"fd": pair[0]}, {"callback": print}, {"fd": pair[0], "callback": print, "other": 1}):
        with pytest.raises(TypeError):
            loop.add_reader(**bad)
    with pytest.raises(TypeError):
        loop.add_reader(pair[0], print, fd=pair[0])
    with pytest.raises(TypeError):
        loop.remove_reader(file=pair[0])


def test_descriptors_that_were_closed_while_they_were_watched_do_not_stand_in_the_loops_way(loop):
    """The system gives out their numbers next: to what the loop opens for its first timer, and for the first sock_* call that waits."""

    async def main():
        ours, other = socketpair()
        pairs = [socketpair() for _ in range(4)]
        numbers = [sock.fileno() for pair in pairs for sock in pair]
        for number in numbers:
            loop.add_reader(number, int)
        for pair in pairs:
            for sock in pair:
                sock.close()
        await asyncio.sleep(0.001)  # sleep-ok: the timer is the subject
        receiving = loop.create_task(loop.sock_recv(ours, 10))
        await turns()
        other.send(b"x")
        assert await soon(receiving) == b"x"
        for number in numbers:
            assert loop.remove_reader(number) is True
        ours.close()
        other.close()

    loop.run_until_complete(main())


@pytest.mark.ours_only("it takes the second socket for the first, and never asks the system for it")
def test_the_next_socket_of_a_number_is_watched_although_the_one_before_was_closed_with_its_reader(loop, run):
    async def main():
        first = socketpair()
        number = first[0].fileno()
        loop.add_reader(first[0], int)
        await turns()
        for sock in first:
            sock.close()
        second = socketpair()
        assert second[0].fileno() == number
        got = loop.create_future()
        loop.add_reader(second[0], lambda: got.done() or got.set_result(None))
        second[1].send(b"x")
        await soon(got)
        assert loop.remove_reader(second[0]) is True
        for sock in second:
            sock.close()

    run(main())
