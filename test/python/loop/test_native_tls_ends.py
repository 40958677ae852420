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


# What the application brings -------------------------------------------------------------------------------------------


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
