"""What our sock_* methods do beyond the contract that test_loop_sock.py has for every loop."""

import asyncio
import collections.abc
import os
import socket
import ssl

import pytest
from loop_support import listener, small_buffers, soon, socketpair, stuffed, turns


@pytest.fixture
def pair(bill):
    pair = socketpair()
    bill.to_close += pair
    return pair


def test_they_are_coroutines(loop, run, pair):
    async def main():
        call = loop.sock_recv(pair[0], 10)
        assert asyncio.iscoroutine(call) and isinstance(call, collections.abc.Coroutine) and not asyncio.isfuture(call)
        assert "sock_recv" in repr(call)
        pair[1].send(b"x")
        assert await call == b"x"
        with pytest.raises(RuntimeError, match="already awaited"):
            await call
        task = asyncio.ensure_future(loop.sock_recv(pair[0], 10))
        await turns()
        assert "sock_recv" in repr(task) and task.get_stack() == []
        pair[1].send(b"y")
        assert await soon(task) == b"y"
        assert await asyncio.gather(loop.sock_sendall(pair[1], b"z"), loop.sock_recv(pair[0], 10)) == [None, b"z"]

    run(main())


def test_generators_can_wait_for_them(loop, run, pair):
    class Waits:
        def __await__(self):
            return (yield from loop.sock_recv(pair[0], 10).__await__())

    async def main():
        task = loop.create_task(wrapped())
        await turns()
        pair[1].send(b"x")
        assert await soon(task) == b"x"

    async def wrapped():
        return await Waits()

    run(main())


@pytest.mark.ours_only("asyncio's warn with their own words")
def test_who_never_awaits_one_is_warned(loop, pair, bill):
    loop.sock_recv(pair[0], 10)
    assert bill.warned(RuntimeWarning) == ["coroutine 'sock_recv' was never awaited"]


def test_the_methods_of_a_coroutine(loop, pair):
    call = loop.sock_recv(pair[0], 10)
    with pytest.raises(TypeError, match="just-started"):
        call.send(1)
    call.close()
    call.close()
    with pytest.raises(RuntimeError, match="already awaited"):
        call.send(None)
    call = loop.sock_recv(pair[0], 10)
    with pytest.raises(ZeroDivisionError, match="this"):
        call.throw(ZeroDivisionError("this"))
    call = loop.sock_sendall(pair[0], b"x")
    with pytest.raises(StopIteration) as caught:
        call.send(None)
    assert caught.value.value is None
    call = loop.sock_recv(pair[1], 10)
    with pytest.raises(StopIteration) as caught:
        call.send(None)
    assert caught.value.value == b"x"


def test_a_tuple_is_returned_as_it_is(loop, run, bill):
    one, two = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    bill.to_close += [one, two]
    for sock in (one, two):
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)

    async def main():
        if not hasattr(loop, "sock_recvfrom"):
            pytest.skip("came with 3.11")
        one.sendto(b"x", two.getsockname())
        assert await loop.sock_recvfrom(two, 10) == (b"x", one.getsockname())
        assert await loop.sock_sendto(two, b"yz", one.getsockname()) == 2
        buffer = bytearray(4)
        assert await loop.sock_recvfrom_into(one, buffer) == (2, two.getsockname())

    run(main())


@pytest.mark.ours_only("before 3.11 asyncio has no sock_recvfrom")
def test_all_versions_have_all_of_them(loop):
    for name in "recv recv_into recvfrom recvfrom_into sendall sendto accept connect sendfile".split():
        assert callable(getattr(loop, "sock_" + name))


def test_sizes_at_the_edges(loop, run, pair):
    async def main():
        pair[1].send(b"x" * 100)
        assert await loop.sock_recv(pair[0], 0) == b""
        assert await loop.sock_recv_into(pair[0], bytearray()) == 0
        assert await loop.sock_recv(pair[0], 1 << 20) == b"x" * 100
        with pytest.raises(ValueError):
            await loop.sock_recv(pair[0], -1)
        with pytest.raises(TypeError):
            await loop.sock_recv(pair[0], "1")
        with pytest.raises(TypeError):
            await loop.sock_recv_into(pair[0], b"cannot be written to")
        with pytest.raises(TypeError):
            await loop.sock_sendall(pair[0], "text")

    run(main())


@pytest.mark.ours_only("its arguments have other names")
def test_arguments_may_have_names(loop, run, pair):
    async def main():
        await loop.sock_sendall(sock=pair[1], data=b"abc")
        assert await loop.sock_recv(pair[0], n=1) == b"a" and await loop.sock_recv(pair[0], nbytes=2) == b"bc"
        for wrong in ({"size": 1}, {}, {"n": 1, "sock": pair[0]}):
            with pytest.raises(TypeError, match="sock_recv"):
                loop.sock_recv(pair[0], **wrong)

    run(main())


def test_ssl_sockets_are_refused(loop, run):
    context = ssl.create_default_context()
    context.check_hostname = False

    async def main():
        with context.wrap_socket(socket.socket(), do_handshake_on_connect=False) as sock:
            for call in (lambda: loop.sock_recv(sock, 1), lambda: loop.sock_sendall(sock, b"x"), lambda: loop.sock_accept(sock),
                         lambda: loop.sock_connect(sock, ("127.0.0.1", 1))):  # fmt: skip
                with pytest.raises(TypeError, match="SSLSocket"):
                    await call()

    run(main())


def test_what_derives_from_a_socket_keeps_its_own_methods(loop, run, pair):
    class Shouting(socket.socket):
        def recv(self, n):
            return super().recv(n).upper()

    async def main():
        with Shouting(fileno=os.dup(pair[0].fileno())) as sock:
            sock.setblocking(False)
            pair[1].send(b"text")
            assert await soon(loop.sock_recv(sock, 10)) == b"TEXT"

    run(main())


@pytest.mark.ours_only("it blocks, where this is allowed at all")
def test_a_blocking_socket_does_not_block_the_loop(loop, run, pair):
    async def main():
        pair[0].setblocking(True)
        task = loop.create_task(loop.sock_recv(pair[0], 10))
        await turns()
        pair[1].send(b"x")
        assert await soon(task) == b"x"

    run(main())


@pytest.mark.ours_only("the first would wait for ever")
def test_two_calls_for_one_socket_are_both_answered(loop, run, pair):
    async def main():
        tasks = [loop.create_task(loop.sock_recv(pair[0], 1)) for _ in range(2)]
        await turns()
        pair[1].send(b"ab")
        assert sorted(await soon(asyncio.gather(*tasks))) == [b"a", b"b"]

    run(main())


@pytest.mark.parametrize("elsewhere", [False, True], ids=["", "another process has it"])
def test_the_next_socket_of_that_number_is_not_taken_for_the_closed_one(loop, run, elsewhere):
    """A socket stays registered after a wait. Closed, its number goes to the next one, while its events may still come."""

    async def main():
        copies = []
        numbers = set()
        for i in range(20):
            ours, peer = socketpair()
            numbers.add(ours.fileno())
            task = loop.create_task(loop.sock_recv(ours, 10))
            await turns(3)
            peer.send(b"%d" % i)
            assert await soon(task) == b"%d" % i
            if elsewhere:
                copies += [os.dup(ours.fileno()), peer]
            ours.close()
            if elsewhere:
                peer.send(b"late")
            else:
                peer.close()
        assert elsewhere or len(numbers) < 20
        for copy in copies:
            os.close(copy) if isinstance(copy, int) else copy.close()

    run(main())


def test_a_socket_that_is_closed_while_its_call_waits(loop, run):
    """It waits for ever, as asyncio's does, but nothing is read from the next socket of that number."""

    async def main():
        ours, peer = socketpair()
        number = ours.fileno()
        task = loop.create_task(loop.sock_recv(ours, 10))
        await turns()
        ours.close()
        others = [socketpair() for _ in range(3)]
        assert number in [one.fileno() for pair in others for one in pair]
        for one, two in others:
            one.send(b"x")
            two.send(b"x")
            assert await soon(loop.sock_recv(one, 10)) == b"x" and await soon(loop.sock_recv(two, 10)) == b"x"
        task.cancel()
        await asyncio.wait([task])
        for sock in (peer, *(one for pair in others for one in pair)):
            sock.close()

    run(main())


@pytest.mark.ours_only("it reads at once, and what is read is lost with the call")
def test_a_call_that_is_cancelled_when_the_socket_is_ready_has_read_nothing(loop, run, pair):
    async def main():
        task = loop.create_task(loop.sock_recv(pair[0], 10))
        await turns()
        pair[1].send(b"kept")
        loop.call_soon(task.cancel)
        await asyncio.wait([task])
        assert task.cancelled() and await soon(loop.sock_recv(pair[0], 10)) == b"kept"

    run(main())


def test_reading_wakes_nobody_who_writes(loop, run, pair):
    """Of a unix socket the kernel says that it can be written to, each time its peer has read something."""

    async def main():
        small_buffers(*pair)
        stuffed(pair[0])
        sending = loop.create_task(loop.sock_sendall(pair[0], b"y" * 100_000))
        got = 0
        while not sending.done():
            got += len(await soon(loop.sock_recv(pair[1], 1 << 20)))
        for _ in range(5):
            task = loop.create_task(loop.sock_recv(pair[0], 10))
            await turns(3)
            pair[1].send(b"x")
            assert await soon(task) == b"x"

    run(main())


def test_a_loop_may_be_closed_while_calls_wait(make_loop, pair, bill):
    loop = make_loop()
    task = loop.create_task(loop.sock_recv(pair[0], 10))
    loop.run_until_complete(turns())
    loop.close()
    bill.expect_log("Task was destroyed but it is pending")
    del task
    late = loop.sock_recv(pair[0], 10)
    with pytest.raises(RuntimeError, match="loop is closed"):
        late.send(None)


def test_accepting_many(loop, run):
    async def main():
        with listener(100) as listening:
            listening.setblocking(False)
            task = loop.create_task(loop.sock_accept(listening))
            await turns()
            clients = [socket.create_connection(listening.getsockname()) for _ in range(10)]
            accepted = [(await soon(task))[0]] + [(await soon(loop.sock_accept(listening)))[0] for _ in range(9)]
            assert sorted(sock.getpeername() for sock in accepted) == sorted(sock.getsockname() for sock in clients)
            assert all(sock.gettimeout() == 0 for sock in accepted)
            for sock in clients + accepted:
                sock.close()

    run(main())


def test_a_descriptor_that_is_closed_at_once_does_no_harm(loop, run):
    """Before the loop has waited for it. libuv would abort the process."""

    async def main():
        ours, peer = socketpair()
        loop.add_reader(ours, print)
        ours.close()
        with open(os.devnull), open(__file__) as file:
            await turns()
            assert file.read(3) == '"""'
        loop.remove_reader(peer)
        peer.close()

    run(main())


@pytest.mark.ours_only("a child of stock asyncio's shares its epoll set")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_waits_for_itself(loop, run):
    async def main():
        pairs = [socketpair() for _ in range(2)]
        tasks = [loop.create_task(loop.sock_recv(ours, 10)) for ours, _ in pairs]
        await turns()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                asyncio._set_running_loop(loop)
                pairs[1][0].close()
                pairs[0][1].send(b"child")
                assert await asyncio.wait_for(tasks[0], 5) == b"child"
                new, peer = socketpair()
                waiting = loop.create_task(loop.sock_recv(new, 10))
                await turns()
                peer.send(b"new")
                assert await asyncio.wait_for(waiting, 5) == b"new"
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0  # the loop does not turn meanwhile: the data is the child's
        pairs[1][1].send(b"parent")
        assert await soon(tasks[1]) == b"parent"
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        for sock in (sock for pair in pairs for sock in pair):
            sock.close()

    run(main())


# ---------------------------------------------------------------------------------------------- a socket that is closed


@pytest.mark.ours_only("asyncio waits for ever")
@pytest.mark.parametrize("kind", ["recv", "recv_into", "recvfrom", "sendall", "accept", "connect"])
def test_a_call_whose_socket_is_closed_raises(loop, run, kind):
    async def main():
        one, two = socketpair()
        listening = listener()
        listening.setblocking(False)
        waits = one
        if kind == "sendall":
            stuffed(one)
            call = loop.sock_sendall(one, b"x")
        elif kind == "accept":
            waits = listening
            call = loop.sock_accept(listening)
        elif kind == "connect":
            waits = socket.socket()
            waits.setblocking(False)
            call = loop.sock_connect(waits, ("192.0.2.1", 9))  # of nobody: no answer comes, or at once an error
        elif kind == "recv_into":
            call = loop.sock_recv_into(one, bytearray(10))
        elif kind == "recvfrom":
            call = loop.sock_recvfrom(one, 10)
        else:
            call = loop.sock_recv(one, 10)
        task = asyncio.ensure_future(call)
        await turns()
        waits.close()
        with pytest.raises(OSError):
            await soon(task)
        for sock in (one, two, listening):
            sock.close()

    run(main())


@pytest.mark.ours_only("asyncio waits for ever")
def test_of_many_that_wait_the_closed_ones_are_found(loop, run):
    async def main():
        pairs = [socketpair() for _ in range(50)]
        tasks = [asyncio.ensure_future(loop.sock_recv(one, 10)) for one, _ in pairs]
        await turns()
        for one, _ in pairs[::2]:
            one.close()
        while not all(task.done() for task in tasks[::2]):
            await asyncio.sleep(0.001)  # sleep-ok: each turn looks at a few
        assert all(isinstance(task.exception(), OSError) for task in tasks[::2])
        for _, two in pairs[1::2]:
            two.send(b"x")
        assert await soon(asyncio.gather(*tasks[1::2])) == [b"x"] * 25
        for one, two in pairs:
            one.close()
            two.close()

    run(main())


@pytest.mark.ours_only("asyncio waits for ever")
def test_the_number_of_a_closed_socket_may_be_anothers(loop, run):
    async def main():
        one, two = socketpair()
        lost = asyncio.ensure_future(loop.sock_recv(one, 10))
        await turns()
        number = one.fileno()
        one.close()
        three, four = socketpair()
        assert number in (three.fileno(), four.fileno())
        new = asyncio.ensure_future(loop.sock_recv(three, 10))
        with pytest.raises(OSError):
            await soon(lost)
        four.send(b"new")
        assert await soon(new) == b"new"
        for sock in (two, three, four):
            sock.close()

    run(main())
