"""Stream transports: what is written arrives, whole and in order; flow control; the end of writing."""

import asyncio
import os
import socket
import sys
from fractions import Fraction

import pytest
from loop_support import Recorder, closed, connected, drained, small_buffers, soon, turns, until, with_raw_peer

pytestmark = pytest.mark.parametrize("tcp", [True, False], ids=["tcp", "unix"])


async def from_peer(peer, count):
    """`count` bytes from the bare socket on the other side."""
    loop, data = asyncio.get_running_loop(), bytearray()
    while len(data) < count:
        chunk = await soon(loop.sock_recv(peer, 1 << 20))
        assert chunk, f"end after {len(data)} of {count} bytes"
        data += chunk
    return bytes(data)


def test_what_is_written_arrives_in_order(run, tcp):
    async def main():
        one, two = await connected(tcp=tcp)
        for i in range(500):
            one.transport.write(b"%d," % i)
        expected = b"".join(b"%d," % i for i in range(500))
        assert await two.received(len(expected)) == expected
        await closed(one, two)
        assert one.calls == ["made", "lost"] and two.calls[:2] == ["made", "data"]

    run(main())


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda b: memoryview(bytearray(b))],
                         ids=["bytes", "bytearray", "memoryview", "memoryview of bytearray"])
def test_bytes_like_objects_can_be_written(run, tcp, make):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        protocol.transport.write(make(b"some data"))
        protocol.transport.writelines([make(b" and"), make(b""), make(b" more")])
        assert await from_peer(peer, 18) == b"some data and more"
        await closed(protocol)
        peer.close()

    run(main())


def test_views_with_items_of_more_than_a_byte_are_written_whole(run, tcp):
    import array

    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        small_buffers(protocol.transport.get_extra_info("socket"), peer)
        numbers = array.array("I", range(50_000))
        protocol.transport.write(memoryview(numbers).cast("B"))
        assert await from_peer(peer, 4 * 50_000) == numbers.tobytes()
        await closed(protocol)
        peer.close()

    run(main())


def test_a_view_that_is_not_contiguous_is_written_as_it_reads_or_refused(run, tcp):
    """No plain write(2) can take it: either the right bytes or an error, never other bytes."""

    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        view = memoryview(b"a1b2c3d4")[::2]
        try:
            protocol.transport.write(view)
            expected = b"abcd|"
        except (BufferError, TypeError, ValueError):
            expected = b"|"
        await turns()
        if not protocol.transport.is_closing():
            protocol.transport.write(b"|")
            assert await from_peer(peer, len(expected)) == expected
        protocol.transport.abort()
        await soon(protocol.lost)
        peer.close()

    from loop_support import HandlerCalls

    async def quiet():
        HandlerCalls(asyncio.get_running_loop())  # a transport may also end with the error
        await main()

    run(quiet())


def test_a_view_may_be_released_right_after_write(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        small_buffers(protocol.transport.get_extra_info("socket"), peer)
        pieces = [b"sent at once, ", b"waits for the end of the turn, ", b"x" * 500_000]
        for piece in pieces:
            with memoryview(piece) as view:
                protocol.transport.write(view)
        with memoryview(b", more") as view:
            protocol.transport.writelines([view, view])
        expected = b"".join(pieces) + b", more, more"
        assert await from_peer(peer, len(expected)) == expected
        await closed(protocol)
        peer.close()

    run(main())


@pytest.mark.parametrize("wrong", ["text", 5, None, [b"x"], object()], ids=repr)
def test_anything_else_is_a_type_error_and_the_transport_lives(run, tcp, wrong):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        with pytest.raises(TypeError):
            protocol.transport.write(wrong)
        protocol.transport.write(b"alive")
        assert await from_peer(peer, 5) == b"alive"
        await closed(protocol)
        peer.close()

    run(main())


def test_writelines_refuses_what_is_no_bytes(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        with pytest.raises(TypeError):
            protocol.transport.writelines([b"x", "text"])
        protocol.transport.abort()
        await soon(protocol.lost)
        peer.close()

    run(main())


@pytest.mark.stock_fails("keeps a view of the bytearray", since=(3, 12))
def test_a_bytearray_may_be_changed_after_write(run, tcp):
    """Also the part that had to wait in the buffer."""

    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        small_buffers(protocol.transport.get_extra_info("socket"), peer)
        data = bytearray(b"a" * 1_000_000)
        protocol.transport.write(data)
        assert protocol.transport.get_write_buffer_size() > 0
        data[:] = b"b" * len(data)
        data.clear()  # no export may hold it
        second = bytearray(b"c" * 1000)
        protocol.transport.write(second)  # goes straight to the buffer
        second[:] = b"d" * 1000
        assert await from_peer(peer, 1_001_000) == b"a" * 1_000_000 + b"c" * 1000
        await closed(protocol)
        peer.close()

    run(main())


def test_writing_nothing_is_harmless(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        protocol.transport.write(b"")
        protocol.transport.writelines([])
        assert protocol.transport.get_write_buffer_size() == 0
        await turns()
        assert drained(peer) == b""
        await closed(protocol)
        peer.close()

    run(main())


@pytest.mark.stock_fails("tries for ever to send the empty pieces", since=(3, 12))
def test_writelines_of_nothing_but_empty_pieces_is_harmless(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        protocol.transport.writelines([b"", b""])
        assert protocol.transport.get_write_buffer_size() == 0
        await closed(protocol)
        assert drained(peer) == b""
        peer.close()

    run(main())


def test_writelines_takes_any_iterable_of_many(run, tcp):
    """More pieces than one writev can take."""

    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        protocol.transport.writelines(b"%04d" % i for i in range(5000))
        assert await from_peer(peer, 20_000) == b"".join(b"%04d" % i for i in range(5000))
        await closed(protocol)
        peer.close()

    run(main())


def test_five_megabytes_both_ways_at_once(run, tcp):
    data = os.urandom(1 << 20) * 5

    async def main():
        one, two = await connected(tcp=tcp)
        one.transport.write(data)
        two.transport.write(data[::-1])
        assert await two.received(len(data)) == data
        assert await one.received(len(data)) == data[::-1]
        await closed(one, two)

    run(main())


def test_a_small_write_goes_out_at_once(run, tcp):
    """write() tries the socket itself: what fits is on its way when it returns, or at least by the end of the round."""

    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        protocol.transport.write(b"now")
        await turns(1)
        assert await from_peer(peer, 3) == b"now"
        assert protocol.transport.get_write_buffer_size() == 0
        await closed(protocol)
        peer.close()

    run(main())


# -------------------------------------------------------------------------------------------------------- flow control


def test_a_full_buffer_pauses_the_protocol_and_an_empty_one_resumes_it(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        transport = protocol.transport
        small_buffers(transport.get_extra_info("socket"), peer)
        transport.set_write_buffer_limits(high=1000, low=100)
        total = 0
        while "pause" not in protocol.calls:
            transport.write(b"x" * 500)
            total += 500
            assert total < 100_000_000
        assert transport.get_write_buffer_size() > 1000
        transport.write(b"x" * 5000)
        assert protocol.calls == ["made", "pause"]  # once
        await from_peer(peer, total + 5000)
        await until(lambda: transport.get_write_buffer_size() == 0)
        assert protocol.calls == ["made", "pause", "resume"]
        await closed(protocol)
        peer.close()

    run(main())


def test_pause_comes_above_the_high_mark_and_not_at_it(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        transport = protocol.transport
        transport.set_write_buffer_limits(high=10_000_000)
        while not transport.get_write_buffer_size():
            transport.write(b"x" * 100_000)
        size = transport.get_write_buffer_size()
        transport.set_write_buffer_limits(high=size + 10)
        transport.write(b"x" * 10)
        assert transport.get_write_buffer_size() == size + 10 and protocol.calls == ["made"]
        transport.write(b"x")
        assert protocol.calls == ["made", "pause"]
        transport.abort()
        await soon(protocol.lost)
        peer.close()

    run(main())


def test_the_size_of_the_buffer_is_what_has_not_gone_out(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        transport = protocol.transport
        assert transport.get_write_buffer_size() == 0
        small_buffers(transport.get_extra_info("socket"), peer)
        transport.write(b"x" * 3_000_000)
        waiting = transport.get_write_buffer_size()
        await turns(1)
        assert 0 < waiting <= 3_000_000
        got = len(drained(peer))
        assert got + transport.get_write_buffer_size() <= 3_000_000
        await from_peer(peer, 3_000_000 - got)
        await until(lambda: transport.get_write_buffer_size() == 0)
        await closed(protocol)
        peer.close()

    run(main())


def test_the_limits_are_64_and_16_kilobytes_at_first(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        assert protocol.transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        await closed(protocol)
        peer.close()

    run(main())


def test_limits_that_are_not_given_follow_from_the_other(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        transport = protocol.transport
        for limits, expected in [({"high": 1000}, (250, 1000)), ({"low": 1000}, (1000, 4000)), ({}, (16384, 65536)),
                                 ({"high": 0}, (0, 0)), ({"high": 5, "low": 5}, (5, 5)), ({"high": 1, "low": 0}, (0, 1))]:
            transport.set_write_buffer_limits(**limits)
            assert transport.get_write_buffer_limits() == expected, limits
        await closed(protocol)
        peer.close()

    run(main())


def test_limits_that_make_no_sense_are_refused(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        for limits in ({"high": 1, "low": 2}, {"high": -1}, {"low": -1}, {"high": 10, "low": -1}):
            with pytest.raises(ValueError):
                protocol.transport.set_write_buffer_limits(**limits)
            assert protocol.transport.get_write_buffer_limits() == (16384, 65536), limits
        await closed(protocol)
        peer.close()

    run(main())


def test_limits_may_be_any_number(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        limits = protocol.transport.get_write_buffer_limits
        for high, low in ((64 * 1024 / 2, 1e3), (Fraction(4, 2), True)):
            protocol.transport.set_write_buffer_limits(high, low)
            assert limits() == (low, high)
        for high in (float("inf"), 2**70):
            protocol.transport.set_write_buffer_limits(high, 2**65)
            assert min(limits()) >= sys.maxsize
        protocol.transport.set_write_buffer_limits(high=0.5)
        protocol.transport.write(b"x" * 5_000_000)
        assert protocol.calls == ["made", "pause"]
        for wrong in (-0.5, -(2**70), float("nan")):
            with pytest.raises(ValueError):
                protocol.transport.set_write_buffer_limits(wrong)
        with pytest.raises(TypeError):
            protocol.transport.set_write_buffer_limits("many")
        protocol.transport.abort()
        await soon(protocol.lost)
        peer.close()

    run(main())


def test_a_high_mark_of_zero_pauses_whenever_something_waits(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        protocol.transport.set_write_buffer_limits(high=0)
        protocol.transport.write(b"fits")
        await turns(3)
        assert await from_peer(peer, 4) == b"fits"
        await turns(3)
        before = list(protocol.calls)
        assert before in (["made"], ["made", "pause", "resume"])
        protocol.transport.write(b"x" * 5_000_000)
        assert protocol.calls == before + ["pause"]
        await from_peer(peer, 5_000_000)
        await until(lambda: protocol.calls == before + ["pause", "resume"])
        await closed(protocol)
        peer.close()

    run(main())


@pytest.mark.parametrize("which", ["pause_writing", "resume_writing"])
def test_a_flow_control_method_that_fails_goes_to_the_handler(loop, run, tcp, which):
    from loop_support import HandlerCalls

    calls = HandlerCalls(loop)

    class Fails(Recorder):
        pass

    def fails(self):
        raise ZeroDivisionError

    setattr(Fails, which, fails)

    async def main():
        protocol, peer = await with_raw_peer(Fails, tcp)
        protocol.transport.write(b"x" * 5_000_000)
        await from_peer(peer, 5_000_000)
        await until(lambda: calls)
        assert not protocol.transport.is_closing()
        await closed(protocol)
        peer.close()

    run(main())
    (context,) = calls
    assert isinstance(context["exception"], ZeroDivisionError)
    assert f"protocol.{which}() failed" in context["message"]
    assert context["transport"] is not None and isinstance(context["protocol"], Fails)


# ------------------------------------------------------------------------------------------------------ the end of it


def test_write_eof_ends_one_direction_only(run, tcp):
    async def main():
        one, two = await connected(lambda: Recorder(keep_open=True), lambda: Recorder(keep_open=True), tcp)
        assert one.transport.can_write_eof()
        one.transport.write(b"question")
        one.transport.write_eof()
        await soon(two.eof)
        assert two.data == b"question" and not two.transport.is_closing()
        two.transport.write(b"answer")
        assert await one.received(6) == b"answer"
        two.transport.write_eof()
        await soon(one.eof)
        await closed(one, two)
        assert two.calls == ["made", "data", "eof", "lost"]

    run(main())


def test_write_eof_comes_after_everything_written(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        small_buffers(protocol.transport.get_extra_info("socket"), peer)
        protocol.transport.write(b"x" * 1_000_000)
        protocol.transport.write_eof()
        protocol.transport.write_eof()  # twice is once
        assert await from_peer(peer, 1_000_000) == b"x" * 1_000_000
        assert await soon(asyncio.get_running_loop().sock_recv(peer, 1)) == b""
        await closed(protocol)
        peer.close()

    run(main())


def test_nothing_can_be_written_after_write_eof(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        protocol.transport.write_eof()
        with pytest.raises(RuntimeError, match="write_eof"):
            protocol.transport.write(b"late")
        await closed(protocol)
        peer.close()

    run(main())


def test_close_sends_what_was_written(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        small_buffers(protocol.transport.get_extra_info("socket"), peer)
        protocol.transport.write(b"x" * 2_000_000)
        protocol.transport.close()
        assert protocol.transport.is_closing() and not protocol.lost.done()
        assert await from_peer(peer, 2_000_000) == b"x" * 2_000_000
        assert await soon(asyncio.get_running_loop().sock_recv(peer, 1)) == b""
        assert await soon(protocol.lost) is None
        peer.close()

    run(main())


def test_abort_drops_what_waits(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        small_buffers(protocol.transport.get_extra_info("socket"), peer)
        protocol.transport.write(b"x" * 2_000_000)
        assert protocol.transport.get_write_buffer_size() > 0
        protocol.transport.abort()
        assert protocol.transport.is_closing()
        assert await soon(protocol.lost) is None
        assert protocol.transport.get_write_buffer_size() == 0
        loop, got = asyncio.get_running_loop(), 0
        try:
            while chunk := await soon(loop.sock_recv(peer, 1 << 20)):
                got += len(chunk)
        except ConnectionResetError:
            pass
        assert got < 2_000_000
        peer.close()

    run(main())


def test_writes_after_close_are_dropped_without_an_error(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        protocol.transport.write(b"before")
        protocol.transport.close()
        protocol.transport.write(b"after")
        await soon(protocol.lost)
        assert await from_peer(peer, 6) == b"before"
        assert await soon(asyncio.get_running_loop().sock_recv(peer, 10)) == b""
        peer.close()

    run(main())


def test_many_writes_to_a_lost_connection_are_warned_about(run, tcp, bill):
    bill.expect_log("socket.send\\(\\) raised exception|connection was lost|closed transport")

    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        peer.close()
        protocol.transport.abort()
        for _ in range(20):
            protocol.transport.write(b"x")
        await soon(protocol.lost)

    run(main())


def test_closing_twice_and_aborting_after_close_is_harmless(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        protocol.transport.close()
        protocol.transport.close()
        protocol.transport.abort()
        await soon(protocol.lost)
        protocol.transport.close()
        protocol.transport.abort()
        await turns()
        assert protocol.calls == ["made", "lost"]
        peer.close()

    run(main())


def test_the_socket_is_closed_when_connection_lost_has_run(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        fd = protocol.transport.get_extra_info("socket").fileno()
        inode = os.fstat(fd).st_ino
        await closed(protocol)
        await turns()
        with pytest.raises(OSError):
            assert os.fstat(fd).st_ino == inode
            os.fstat(-1)
        peer.close()

    run(main())


def test_tcp_transports_do_not_wait_to_fill_packets(run, tcp):
    async def main():
        protocol, peer = await with_raw_peer(tcp=tcp)
        if tcp:
            assert protocol.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await closed(protocol)
        peer.close()

    run(main())
