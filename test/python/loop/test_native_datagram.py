"""What our datagram transport does beyond the contract that test_loop_datagrams.py has for every loop: batches, the queue, its end."""

import asyncio
import contextvars
import errno
import gc
import os
import socket
import weakref

import pytest
from loop_support import HAS_IPV6, DatagramRecorder, HandlerCalls, soon, turns

pytestmark = pytest.mark.ours_only("the native transport")


async def endpoint(make=DatagramRecorder, **options):
    loop = asyncio.get_running_loop()
    _, protocol = await soon(loop.create_datagram_endpoint(make, **(options or {"local_addr": ("127.0.0.1", 0)})))
    return protocol


def name_of(protocol):
    return protocol.transport.get_extra_info("sockname")


async def ended(*protocols):
    for protocol in protocols:
        protocol.transport.close()
        await soon(protocol.lost)


@pytest.fixture
def sender(bill):
    """A plain socket that sends: everything is there before the loop looks."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    bill.to_close.append(sock)
    return sock


@pytest.fixture
def full(bill):
    """A unix datagram socket whose peer has no room left, and the peer."""
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    peer.setblocking(False)
    bill.to_close.append(peer)
    with pytest.raises(BlockingIOError):
        while True:
            ours.send(b"before")
    return ours, peer


def all_of(sock):
    got = []
    try:
        while True:
            got.append(sock.recv(1 << 17))
    except BlockingIOError:
        return got


class Rebel(DatagramRecorder):
    """Does something to the transport when it receives."""

    def __init__(self, rebel):
        super().__init__()
        self.rebel, self.got = rebel, []

    def datagram_received(self, data, address):
        self.got.append(data)
        self.rebel(self)


def test_the_transport_is_native(run):
    async def main():
        one = await endpoint()
        assert type(one.transport).__module__ == "_erlang_loop" and isinstance(one.transport, asyncio.DatagramTransport)
        assert one.transport._sock.fileno() == one.transport._sock_fd
        assert "fd=" in repr(one.transport) and "read=polling" in repr(one.transport)
        await ended(one)
        assert "closed" in repr(one.transport) and one.transport._sock is None

    run(main())


def test_the_same_peer_is_the_same_object(run, sender):
    async def main():
        one = await endpoint()
        for _ in range(3):
            sender.sendto(b"x", name_of(one))
        names = [(await soon(one.datagrams.get()))[1] for _ in range(3)]
        assert names[0] == sender.getsockname() and names[0] is names[1] is names[2]
        await ended(one)

    run(main())


def test_peers_that_take_turns_are_told_apart(run, bill):
    async def main():
        one = await endpoint()
        socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(40)]
        bill.to_close += socks
        for _ in range(3):
            for sock in socks:
                sock.sendto(b"x", name_of(one))
                assert (await soon(one.datagrams.get()))[1] == ("127.0.0.1", sock.getsockname()[1])
        for sock in socks:
            one.transport.sendto(str(sock.getsockname()[1]).encode(), ("127.0.0.1", sock.getsockname()[1]))
            assert int(sock.recv(10)) == sock.getsockname()[1]
        await ended(one)

    run(main())


def test_many_at_once_come_in_order(run, sender):
    async def main():
        one = await endpoint()
        for i in range(100):
            sender.sendto(b"%d" % i, name_of(one))
        assert [int((await soon(one.datagrams.get()))[0]) for _ in range(100)] == list(range(100))
        await ended(one)

    run(main())


def test_a_pause_within_a_batch_loses_nothing(run, sender):
    async def main():
        one = await endpoint(lambda: Rebel(lambda self: self.transport.pause_reading()))
        for i in range(10):
            sender.sendto(b"%d" % i, name_of(one))
        for i in range(10):
            while len(one.got) == i:
                await turns(1)
            await turns()
            assert len(one.got) == i + 1 and not one.transport.is_reading()
            one.transport.resume_reading()
        assert one.got == [b"%d" % i for i in range(10)]
        await ended(one)

    run(main())


@pytest.mark.parametrize("method", ["close", "abort"])
def test_nothing_is_received_after_the_end(run, sender, method):
    async def main():
        one = await endpoint(lambda: Rebel(lambda self: getattr(self.transport, method)()))
        for _ in range(5):
            sender.sendto(b"x", name_of(one))
        await soon(one.lost)
        assert one.got == [b"x"] and one.calls == ["made", "lost"]

    run(main())


def test_an_interrupt_in_a_batch_ends_the_run_and_the_rest_is_kept(loop, sender):
    def interrupt(self):
        if len(self.got) == 2:
            raise KeyboardInterrupt

    one = loop.run_until_complete(endpoint(lambda: Rebel(interrupt)))
    for i in range(5):
        sender.sendto(b"%d" % i, name_of(one))
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert one.got == [b"0", b"1"]
    loop.run_until_complete(turns(20))
    assert one.got == [b"0", b"1", b"2", b"3", b"4"]
    loop.run_until_complete(ended(one))


def test_an_exception_in_a_batch_goes_to_the_handler_and_the_rest_goes_on(loop, run, sender):
    calls = HandlerCalls(loop)

    def fail(self):
        raise ZeroDivisionError

    async def main():
        one = await endpoint(lambda: Rebel(fail))
        for _ in range(3):
            sender.sendto(b"x", name_of(one))
        while len(calls) < 3:
            await turns(1)
        assert calls[0]["transport"] is one.transport and calls[0]["protocol"] is one
        assert "datagram_received" in calls[0]["message"] and not one.transport.is_closing()
        await ended(one)
        calls.clear()

    run(main())


def test_everything_runs_in_the_context_of_the_making(run, sender):
    variable = contextvars.ContextVar("variable", default="not set")

    class Asks(DatagramRecorder):
        seen = []

        def connection_made(self, transport):
            super().connection_made(transport)
            self.seen.append(variable.get())

        def datagram_received(self, data, address):
            self.seen.append(variable.get())
            super().datagram_received(data, address)

        def connection_lost(self, error):
            self.seen.append(variable.get())
            super().connection_lost(error)

    async def main():
        variable.set("set")
        one = await endpoint(Asks)
        variable.set("changed")
        sender.sendto(b"x", name_of(one))
        await soon(one.datagrams.get())
        await ended(one)
        assert Asks.seen == ["set"] * 3

    run(main())


def test_names_are_left_to_python(run):
    async def main():
        one, two = await endpoint(), await endpoint()
        one.transport.sendto(b"x", ("localhost", name_of(two)[1]))
        assert (await soon(two.datagrams.get()))[0] == b"x"
        await ended(one, two)

    run(main())


@pytest.mark.parametrize("address, error", [(("127.0.0.1", 70_000), OverflowError), (["127.0.0.1", 80], TypeError), (None, TypeError)])
def test_an_address_that_makes_no_sense_ends_the_transport(loop, run, address, error):
    calls = HandlerCalls(loop)

    async def main():
        one = await endpoint()
        one.transport.sendto(b"x", address)
        assert one.transport.is_closing() and isinstance(await soon(one.lost), error)

    run(main())
    assert [context["message"] for context in calls] == ["Fatal write error on datagram transport"]


@pytest.mark.skipif(not HAS_IPV6, reason="no ::1 here")
def test_ipv6_addresses_have_up_to_four_parts(run):
    async def main():
        one, two = await endpoint(local_addr=("::1", 0)), await endpoint(local_addr=("::1", 0))
        port = name_of(two)[1]
        for address in (("::1", port), ("::1", port, 0), ("::1", port, 0, 0), ("0:0::1", port)):
            one.transport.sendto(b"x", address)
            assert await soon(two.datagrams.get()) == (b"x", name_of(one))
        await ended(one, two)

    run(main())


def test_unix_addresses_are_paths_abstract_names_or_none(run, bill):
    async def main():
        abstract = b"\0py_port native datagram %d" % os.getpid()
        named, nameless = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
        named.bind(abstract)
        one, two = await endpoint(sock=named), await endpoint(sock=nameless)
        two.transport.sendto(b"x", abstract)
        assert await soon(one.datagrams.get()) == (b"x", None)
        one.transport.sendto(b"y", abstract)
        assert await soon(one.datagrams.get()) == (b"y", abstract)
        two.transport.sendto(b"z", "/no/such/socket")
        assert isinstance(await soon(two.errors.get()), FileNotFoundError)
        await ended(one, two)

    run(main())


def test_close_sends_what_waits(run, full):
    ours, peer = full

    async def main():
        one = await endpoint(sock=ours)
        for i in range(50):
            one.transport.sendto(bytearray(b"%d" % i))
        assert one.transport.get_write_buffer_size() == sum(len(b"%d" % i) + 8 for i in range(50))
        one.transport.close()
        await turns()
        assert one.calls == ["made"]
        got = []
        while not one.lost.done():
            got += all_of(peer)
            await turns(1)
        got += all_of(peer)
        assert [data for data in got if data != b"before"] == [b"%d" % i for i in range(50)]
        assert await one.lost is None

    run(main())


def test_abort_drops_what_waits(run, full):
    ours, peer = full

    async def main():
        one = await endpoint(sock=ours)
        one.transport.sendto(b"lost")
        one.transport.abort()
        assert await soon(one.lost) is None and one.transport.get_write_buffer_size() == 0
        assert b"lost" not in all_of(peer)

    run(main())


def test_a_failure_while_flushing_is_told_and_the_rest_goes_on(run, full):
    ours, peer = full

    async def main():
        one = await endpoint(sock=ours)
        size = 1 << 20  # larger than a unix datagram may be
        one.transport.sendto(b"first")
        one.transport.sendto(b"x" * size)
        one.transport.sendto(b"last")
        got = []
        while b"last" not in got:
            got += all_of(peer)
            await turns(1)
        assert (await soon(one.errors.get())).errno == errno.EMSGSIZE
        assert [data for data in got if data != b"before"] == [b"first", b"last"]
        await ended(one)

    run(main())


def test_a_protocol_that_fails_to_pause_is_reported(loop, run, full):
    ours, _ = full
    calls = HandlerCalls(loop)

    class Fails(DatagramRecorder):
        def pause_writing(self):
            raise ZeroDivisionError

    async def main():
        one = await endpoint(Fails, sock=ours)
        one.transport.set_write_buffer_limits(high=0)
        one.transport.sendto(b"x")
        one.transport.abort()
        await soon(one.lost)

    run(main())
    assert calls.messages() == ["protocol.pause_writing() failed"] and isinstance(calls[0]["exception"], ZeroDivisionError)


def test_limits_that_make_no_sense_are_refused(run):
    async def main():
        one = await endpoint()
        one.transport.set_write_buffer_limits(low=100)
        assert one.transport.get_write_buffer_limits() == (100, 400)
        for wrong in ({"high": 1, "low": 2}, {"high": -1}):
            with pytest.raises(ValueError, match="must be >="):
                one.transport.set_write_buffer_limits(**wrong)
        await ended(one)

    run(main())


def test_the_descriptor_is_the_transports_until_it_closes(loop, run):
    async def main():
        one = await endpoint()
        fd = one.transport.get_extra_info("socket").fileno()
        with pytest.raises(RuntimeError, match="used by transport"):
            loop.add_reader(fd, print)
        one.transport.close()
        assert loop.remove_reader(fd) is False
        await soon(one.lost)

    run(main())


def test_an_unclosed_transport_warns_and_closes_its_socket(make_loop, bill):
    loop = make_loop()
    one = loop.run_until_complete(endpoint())
    sock, seen = one.transport._sock, weakref.ref(one.transport)
    loop.close()
    with pytest.raises(RuntimeError, match="loop is closed"):
        one.transport.close()
    one.transport = None
    gc.collect()
    assert ["unclosed transport" in text for text in bill.warned(ResourceWarning)] == [True]
    assert seen() is None and sock.fileno() == -1


def test_a_closed_transport_leaves_nothing_behind(run):
    async def main():
        one = await endpoint()
        seen = weakref.ref(one.transport)
        one.transport.attribute = "they have a __dict__"
        await ended(one)
        one.transport = None
        await turns()
        gc.collect()
        assert seen() is None

    run(main())


def test_families_that_only_python_knows_are_asyncios(loop, run):
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM)
        sock.bind((0, 0))
    except OSError:
        pytest.skip("no netlink here")

    async def main():
        one = await endpoint(sock=sock)
        assert isinstance(one.transport, asyncio.selector_events._SelectorDatagramTransport)
        assert f"fd={sock.fileno()}" in repr(one.transport)
        await ended(one)

    run(main())
