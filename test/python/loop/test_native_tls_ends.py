"""TLS of the native loop, protocol against protocol: ends that meet an application which has paused, or is not what it should be."""

import asyncio
import ssl

import pytest
from test_native_tls import App, BufferedApp, Pair, contexts, in_loop, loop, pair  # noqa: F401

# Pauses ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("high", [0, 1, 1000])
def test_a_mark_within_a_record_does_not_stop_it(pair, high):
    pair.server.transport.set_read_buffer_limits(high=high)
    pair.client.transport.write(b"x" * 5_000)
    record = b"".join(pair.here.written)
    pair.here.written = [record[:3_000]]
    pair.here.carry_to(pair.there)
    assert pair.there.reading and pair.server.data == b""
    pair.here.written = [record[3_000:]]
    pair.here.carry_to(pair.there)
    assert pair.there.reading and pair.server.data == b"x" * 5_000


def test_a_mark_within_a_record_counts_when_the_record_is_here(pair):
    pair.server.transport.set_read_buffer_limits(high=1_000)
    pair.server.transport.pause_reading()
    pair.client.transport.write(b"x" * 5_000)
    pair.carry()
    assert not pair.there.reading and pair.server.data == b""
    in_loop(pair, pair.server.transport.resume_reading)
    assert pair.there.reading and pair.server.data == b"x" * 5_000


def test_who_closes_hears_the_goodbye_though_it_had_stopped_the_transport(pair):
    pair.server.transport.pause_reading()
    pair.client.transport.write(b"x" * 300_000)
    pair.carry()
    assert not pair.there.reading
    pair.server.transport.close()
    assert pair.there.reading
    pair.carry()
    pair.turn()
    assert pair.server.calls == pair.client.calls == ["made", "eof", "lost"] and pair.server.data == b""


def test_who_closes_does_not_stop_the_transport_again(pair):
    pair.server.transport.set_read_buffer_limits(high=1_000)
    pair.server.transport.pause_reading()
    pair.server.transport.close()
    pair.client.transport.write(b"x" * 30_000)
    pair.here.carry_to(pair.there)
    assert pair.there.reading
    pair.carry()
    pair.turn()
    assert pair.server.calls == ["made", "eof", "lost"] and pair.server.lost_with is None


# An end without goodbye ------------------------------------------------------------------------------------------------


def test_who_closes_does_not_wait_for_an_end_that_waits_for_it(pair):
    pair.server.transport.pause_reading()
    pair.client.transport.write(b"never read")
    pair.carry()
    assert pair.server_tls.eof_received() is True
    pair.server.transport.close()
    pair.turn()
    assert pair.server.calls == ["made", "eof", "lost"] and pair.server.lost_with is None and pair.server.data == b""


def test_an_end_that_waits_is_not_told_to_who_pauses_at_once_again(pair):
    pair.server.transport.pause_reading()
    pair.client.transport.write(b"all of it")
    pair.carry()
    assert pair.server_tls.eof_received() is True

    def resume_and_pause():
        pair.server.transport.resume_reading()
        pair.server.transport.pause_reading()

    in_loop(pair, resume_and_pause)
    assert pair.server.calls == ["made"] and pair.server.data == b""
    pair.server.transport.resume_reading()
    pair.turn(6)
    assert pair.server.data == b"all of it" and pair.server.calls == ["made", "eof", "lost"]


def with_small_buffer(loop, contexts, updated):
    """A pair whose server takes 1000 bytes at a time of 20 000, and has none of them yet but the first buffer. `updated(server)` is called after
    each."""

    class Small(BufferedApp):
        def buffer_updated(self, size):
            super().buffer_updated(size)
            updated(self)

    pair = Pair(loop, contexts, server=Small()).shake_hands()
    pair.client.transport.write(b"x" * 20_000)
    pair.here.carry_to(pair.there)
    assert len(pair.server.data) == 1_000
    return pair


def test_a_small_buffer_gets_everything_before_the_end(loop, contexts):
    pair = with_small_buffer(loop, contexts, lambda server: None)
    assert not pair.server_tls.eof_received()
    pair.turn(6)
    assert pair.server.data == b"x" * 20_000 and pair.server.calls == ["made", "eof", "lost"] and pair.server.lost_with is None


def test_an_end_waits_for_who_pauses_in_the_middle_of_the_rest(loop, contexts):
    def pause_once(server):
        if len(server.data) == 5_000:
            server.transport.pause_reading()

    pair = with_small_buffer(loop, contexts, pause_once)
    assert pair.server_tls.eof_received() is True
    pair.turn(6)
    assert len(pair.server.data) == 5_000 and pair.server.calls == ["made"]
    pair.server.transport.resume_reading()
    pair.turn(6)
    assert pair.server.data == b"x" * 20_000 and pair.server.calls == ["made", "eof", "lost"]


@pytest.mark.parametrize("pauses", [False, True])
@pytest.mark.parametrize("end", ["close", "abort"])
def test_who_ends_it_in_the_middle_of_the_rest_gets_no_more(loop, contexts, end, pauses):
    def end_it(server):
        if len(server.data) == 5_000:
            if pauses:
                server.transport.pause_reading()
            getattr(server.transport, end)()

    pair = with_small_buffer(loop, contexts, end_it)
    pair.server_tls.eof_received()
    pair.turn(6)
    assert len(pair.server.data) == 5_000 and pair.server.calls == ["made"] + ["eof"] * (end == "close") + ["lost"]


def test_who_fails_in_the_middle_of_the_rest_gets_no_more(loop, contexts):
    def fail(server):
        if len(server.data) == 5_000:
            raise LookupError

    pair = with_small_buffer(loop, contexts, fail)
    pair.server_tls.eof_received()
    pair.turn(6)
    assert len(pair.server.data) == 5_000 and isinstance(pair.server.lost_with, LookupError) and len(loop.problems) == 1


# Others that are over --------------------------------------------------------------------------------------------------


def test_a_handshake_that_takes_too_long_is_told_though_the_transport_says_nothing(loop, contexts):
    pair = Pair(loop, contexts, ssl_handshake_timeout=0.02)
    pair.here._force_close = lambda exc: None
    pair.client_tls.connection_made(pair.here)
    with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer"):
        loop.run_until_complete(asyncio.wait_for(pair.waiter, 5))
    pair.client_tls.connection_lost(None)
    pair.server_tls._app_transport.close()


def test_a_loop_that_is_closed_reads_no_more(pair):
    pair.server.transport.pause_reading()
    pair.here.closing = pair.there.closing = True  # they could not tell of it any more
    type(pair.loop).close(pair.loop)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        pair.server.transport.resume_reading()
    for tls in (pair.client_tls, pair.server_tls):
        tls._app_transport.abort()
    pair.loop.pairs.clear()


# What the application brings -------------------------------------------------------------------------------------------


def test_who_lends_its_buffer_is_told_what_is_in_it(loop, contexts):
    class Leaving(BufferedApp):
        def get_buffer(self, hint):
            self.transport.set_protocol(second)
            return self.view

    second = BufferedApp()
    pair = Pair(loop, contexts, server=Leaving()).shake_hands()
    for data in (b"for the first", b"for the second"):
        pair.client.transport.write(data)
        pair.carry()
    assert (pair.server.data, second.data) == (b"for the first", b"for the second")
    pair.server.transport.abort()
    pair.client.transport.abort()
    pair.turn()


def reading_with(contexts, read):
    """The server's SSLObject reads with `read(super, size)`."""

    class Reading(ssl.SSLObject):
        def read(self, len=1024, buffer=None):
            assert buffer is None
            return read(super().read, len)

    contexts[0].sslobject_class = Reading
    return contexts


@pytest.mark.parametrize("kind", [App, BufferedApp])
@pytest.mark.parametrize("read", [lambda read, size: read(size), lambda read, size: bytearray(read(size)), lambda read, size: read(min(size, 7))])
def test_a_class_derived_from_sslobject_only_has_to_read(loop, contexts, read, kind):
    pair = Pair(loop, reading_with(contexts, read), server=kind()).shake_hands()
    data = bytes(i & 255 for i in range(40_000))
    pair.client.transport.write(data)
    pair.carry()
    pair.turn(50)
    assert pair.server.data == data
    pair.close()
    assert pair.server.calls == ["made", "eof", "lost"] and pair.server.lost_with is None


@pytest.mark.parametrize("kind", [App, BufferedApp])
@pytest.mark.parametrize("wrong, error", [(None, TypeError), (5, TypeError), (b"x" * 100_000, ValueError)])
def test_what_a_class_derived_from_sslobject_must_not_read(loop, contexts, kind, wrong, error):
    """Once with one record, whose object may be taken as it is, and once with several."""
    for size in (10, 50_000):
        pair = Pair(loop, reading_with(contexts, lambda read, size: read(size) and wrong), server=kind()).shake_hands()
        pair.client.transport.write(b"x" * size)
        pair.carry()
        assert isinstance(pair.server.lost_with, error) and pair.server.data == b""
        pair.client.transport.abort()
        pair.turn()
