"""TLS of the native loop, protocol against protocol: two of them, joined by a wire in memory, so that each test decides how the bytes travel.

What an application sees through sockets is in the other tests of TLS; here are chunking, coalescing, contexts, and ends that sockets do not show.
"""

import asyncio
import contextvars
import gc
import logging
import ssl
import sys
import weakref

import pytest
from test_loop_tls import CERT, KEY

try:
    from _erlang_loop import TlsProtocol, SSLTransport
except ImportError:
    pytest.skip("only inside a worker", allow_module_level=True)

KIB = 1024


@pytest.fixture
def contexts():
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(CERT, KEY)
    client.load_verify_locations(CERT)
    return server, client


@pytest.fixture
def loop(make_loop):
    """Ends with its pairs: their transports must not be left to the collector."""
    made = make_loop()
    made.problems, made.pairs = [], []
    made.set_exception_handler(lambda _, context: made.problems.append(context))

    def close():
        while made.pairs:
            made.pairs.pop().drop()
        type(made).close(made)

    made.close = close
    return made


class App(asyncio.Protocol):
    """Writes down what happens."""

    def __init__(self):
        self.calls, self.data, self.pieces, self.transport, self.lost_with = [], bytearray(), [], None, "not lost"

    def connection_made(self, transport):
        self.calls.append("made")
        self.transport = transport

    def data_received(self, data):
        self.data += data
        self.pieces.append(len(data))

    def eof_received(self):
        self.calls.append("eof")

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost_with = exc

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")


class BufferedApp(asyncio.BufferedProtocol):
    connection_made, eof_received, connection_lost = App.connection_made, App.eof_received, App.connection_lost
    pause_writing, resume_writing = App.pause_writing, App.resume_writing

    def __init__(self, size=1000, view=True):
        App.__init__(self)
        self.buffer = bytearray(size)
        self.view = memoryview(self.buffer) if view else self.buffer

    def get_buffer(self, hint):
        return self.view

    def buffer_updated(self, size):
        self.data += self.buffer[:size]
        self.pieces.append(size)


class Wire(asyncio.Transport):
    """One end of the wire: what is written waits until it is carried over."""

    def __init__(self, loop, protocol):
        super().__init__()
        self.loop, self.protocol, self.written, self.reading, self.closing = loop, protocol, [], True, False

    def write(self, data):
        assert data, "an empty write"
        self.written.append(bytes(data))

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def is_closing(self):
        return self.closing

    def close(self):
        self._force_close(None)

    abort = close

    def _force_close(self, exc):
        if not self.closing:
            self.closing = True
            self.loop.call_soon(self.protocol.connection_lost, exc)

    def carry_to(self, other, chunk=None, buffered=True):
        """Gives the other end's protocol what was written here, `chunk` bytes at a time."""
        data, self.written = b"".join(self.written), []
        for at in range(0, len(data), chunk or max(len(data), 1)):
            part = data[at : at + (chunk or len(data))]
            if other.closing:
                return
            if buffered:
                while part:
                    view = other.protocol.get_buffer(-1)
                    size = min(len(view), len(part))
                    view[:size] = part[:size]
                    other.protocol.buffer_updated(size)
                    part = part[size:]
            else:
                other.protocol.data_received(part)


class Pair:
    """Two TLS protocols and the wire between them. `here` is the client's end."""

    def __init__(self, loop, contexts, client=None, server=None, buffered=True, **options):
        self.loop, self.buffered = loop, buffered
        self.client, self.server = client or App(), server or App()
        self.waiter = loop.create_future()
        self.client_tls = TlsProtocol(loop, self.client, contexts[1], self.waiter, server_hostname="localhost", **options)
        self.server_tls = TlsProtocol(loop, self.server, contexts[0], None, server_side=True)
        self.here, self.there = Wire(loop, self.client_tls), Wire(loop, self.server_tls)
        loop.pairs.append(self)

    def turn(self, times=3):
        for _ in range(times):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def carry(self, chunk=None):
        """Until nobody has anything to say."""
        for _ in range(100):
            self.turn()
            if not self.here.written and not self.there.written:
                return
            self.here.carry_to(self.there, chunk, self.buffered)
            self.there.carry_to(self.here, chunk, self.buffered)
        raise AssertionError("they talk for ever")

    def shake_hands(self, chunk=None):
        self.client_tls.connection_made(self.here)
        self.server_tls.connection_made(self.there)
        self.carry(chunk)
        assert self.waiter.done() and self.waiter.exception() is None
        assert self.client.calls == self.server.calls == ["made"]
        return self

    def close(self):
        """Both say goodbye."""
        self.client.transport.close()
        self.carry()
        self.carry()

    def drop(self):
        for tls in (self.client_tls, self.server_tls):
            if tls._app_transport:
                tls._app_transport.abort()
        self.turn()


@pytest.fixture
def pair(loop, contexts):
    return Pair(loop, contexts).shake_hands()


def in_loop(pair, function, *args):
    """Calls it as a callback of the loop, as applications do, and lets its turn end."""
    results = []
    pair.loop.call_soon(lambda: results.append(function(*args)))
    pair.turn()
    return results[0]


# How bytes travel ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("chunk", [1, 2, 5, 6, 1000, 16406, None])
@pytest.mark.parametrize("kind", [App, BufferedApp])
def test_the_chunking_of_the_stream_never_changes_the_data(loop, contexts, kind, chunk, buffered):
    pair = Pair(loop, contexts, server=kind(), buffered=buffered).shake_hands(chunk)
    sizes = [1, 1000, 16384, 1] if chunk and chunk < 100 else [1, 16384, 16385, 300_000, 2]
    sent = b""
    for size in sizes:
        data = bytes(i * size & 255 for i in range(size))
        pair.client.transport.write(data)
        sent += data
        pair.carry(chunk)
        pair.turn(size // 1000)  # a buffer of the application is filled once per turn
    assert pair.server.data == sent
    pair.close()
    assert pair.client.calls == pair.server.calls == ["made", "eof", "lost"]
    assert loop.problems == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls(loop, contexts, version):
    contexts[1].minimum_version = contexts[1].maximum_version = version
    pair = Pair(loop, contexts).shake_hands(chunk=7)
    pair.server.transport.write(b"s" * 40_000)
    pair.client.transport.write(b"c" * 40_000)
    pair.carry(chunk=1111)
    assert (pair.server.data, pair.client.data) == (b"c" * 40_000, b"s" * 40_000)
    pair.close()


def test_what_came_in_one_piece_is_handed_over_in_one_piece(pair):
    pair.client.transport.write(b"x" * 100_000)
    pair.carry()
    assert pair.server.pieces == [100_000]


def test_a_small_buffer_of_the_application_gets_everything(loop, contexts):
    pair = Pair(loop, contexts, server=BufferedApp(3, view=False)).shake_hands()
    pair.client.transport.write(b"0123456789" * 2)
    pair.carry()
    pair.turn(10)
    assert pair.server.data == b"0123456789" * 2 and set(pair.server.pieces) == {3, 2}
    pair.close()


def test_an_empty_buffer_of_the_application_is_an_error(loop, contexts):
    pair = Pair(loop, contexts, server=BufferedApp(0)).shake_hands()
    pair.client.transport.write(b"x")
    pair.carry()
    assert "get_buffer() returned an empty buffer" in str(loop.problems[0]["exception"])
    assert pair.server.calls[-1] == "lost" and isinstance(pair.server.lost_with, RuntimeError)
    pair.close()


def test_bytes_that_are_no_tls_end_the_connection(pair):
    pair.here.written = [b"GET / HTTP/1.1\r\n\r\n"]
    pair.carry()
    assert pair.server.calls == ["made", "lost"] and isinstance(pair.server.lost_with, ssl.SSLError)


def test_bytes_that_are_no_tls_do_not_survive_the_handshake(loop, contexts):
    pair = Pair(loop, contexts)
    pair.server_tls.connection_made(pair.there)
    pair.here.written = [b"hello, this is no client\r\n"]
    pair.here.carry_to(pair.there)
    pair.turn()
    assert pair.there.closing and pair.server.calls == []
    pair.client_tls.connection_made(pair.here)
    pair.client_tls.connection_lost(ConnectionResetError())
    assert isinstance(pair.waiter.exception(), ConnectionResetError)


def test_who_refuses_a_certificate_tells_the_peer_why(loop, contexts):
    pair = Pair(loop, (contexts[0], ssl.create_default_context()))
    ends = []
    pair.there._force_close = ends.append
    pair.client_tls.connection_made(pair.here)
    pair.server_tls.connection_made(pair.there)
    pair.carry()
    assert pair.here.closing and isinstance(pair.waiter.exception(), ssl.SSLCertVerificationError)
    assert len(ends) == 1 and "ALERT_UNKNOWN_CA" in str(ends[0]).upper().replace(" ", "_")
    pair.server_tls.connection_lost(None)


def test_who_has_no_version_in_common_tells_the_peer_so(loop, contexts):
    contexts[0].minimum_version = ssl.TLSVersion.TLSv1_3
    contexts[1].maximum_version = ssl.TLSVersion.TLSv1_2
    pair = Pair(loop, contexts)
    pair.client_tls.connection_made(pair.here)
    pair.server_tls.connection_made(pair.there)
    pair.carry()
    assert pair.there.closing and "PROTOCOL_VERSION" in str(pair.waiter.exception()).upper().replace(" ", "_")


def test_a_changed_record_ends_the_connection(pair):
    in_loop(pair, pair.client.transport.write, b"secret")
    record = bytearray(b"".join(pair.here.written))
    record[-1] ^= 1
    pair.here.written = [record]
    pair.carry()
    assert pair.server.data == b"" and isinstance(pair.server.lost_with, ssl.SSLError)


def test_more_bytes_than_the_buffer_has_are_refused(pair):
    pair.server_tls.get_buffer(-1)
    with pytest.raises(ValueError):
        pair.server_tls.buffer_updated(257 * KIB)


# How writes leave ------------------------------------------------------------------------------------------------------


def test_what_is_written_in_one_turn_leaves_in_one_write(pair):
    def write():
        for _ in range(10):
            pair.client.transport.write(b"small")
        assert pair.here.written == []

    in_loop(pair, write)
    assert len(pair.here.written) == 1
    pair.carry()
    assert pair.server.data == b"small" * 10


def test_what_is_written_outside_of_a_run_leaves_at_once(pair):
    pair.client.transport.write(b"now")
    assert len(pair.here.written) == 1
    pair.carry()
    assert pair.server.data == b"now"


def test_who_asks_for_the_size_of_what_waits_sees_nothing_of_the_turn(pair):
    def write():
        pair.client.transport.write(b"small")
        assert pair.client.transport.get_write_buffer_size() == 0
        assert len(pair.here.written) == 1

    in_loop(pair, write)
    pair.carry()


def test_an_answer_leaves_in_one_write(loop, contexts):
    class Answering(App):
        def data_received(self, data):
            self.transport.write(b"head")
            self.transport.writelines([b"body", bytearray(b" and"), memoryview(b" more")])

    pair = Pair(loop, contexts, server=Answering()).shake_hands()
    in_loop(pair, pair.client.transport.write, b"?")
    pair.here.carry_to(pair.there)
    assert len(pair.there.written) == 1
    pair.carry()
    assert pair.client.data == b"headbody and more"
    pair.close()


def test_small_pieces_share_a_record(pair):
    in_loop(pair, pair.client.transport.writelines, [b"0123456789"] * 1000)
    assert sum(map(len, pair.here.written)) < 10_000 + 100
    pair.carry()
    assert pair.server.data == b"0123456789" * 1000


def test_a_large_message_is_sent_in_parts(pair):
    in_loop(pair, pair.client.transport.write, b"x" * (4 << 20))
    assert 8 < len(pair.here.written) < 40
    pair.carry()
    assert pair.server.data == b"x" * (4 << 20)


def test_abort_does_not_take_back_what_was_written(pair):
    def write():
        pair.client.transport.write(b"last words")
        pair.client.transport.abort()

    in_loop(pair, write)
    pair.here.carry_to(pair.there)
    assert pair.server.data == b"last words" and pair.client.calls == ["made", "lost"] and pair.client.lost_with is None
    pair.server.transport.abort()  # nobody says goodbye to it


def test_what_a_failing_protocol_wrote_is_sent(loop, contexts):
    class Failing(App):
        def data_received(self, data):
            self.transport.write(b"sorry")
            raise LookupError("no")

    pair = Pair(loop, contexts, server=Failing()).shake_hands()
    pair.client.transport.write(b"?")
    pair.carry()
    assert pair.client.data == b"sorry" and isinstance(pair.server.lost_with, LookupError)
    assert [p["message"] for p in loop.problems] == ["Fatal error on SSL protocol"]
    pair.close()


def test_what_can_change_after_write_is_copied(loop, contexts):
    pair = Pair(loop, contexts, call_connection_made=False)
    data = bytearray(b"before")
    pair.client_tls.connection_made(pair.here)
    pair.client_tls._app_transport.write(data)  # waits for the handshake
    data[:] = b"after!"
    pair.server_tls.connection_made(pair.there)
    pair.carry()
    pair.client_tls._app_transport.write(b".")
    pair.carry()
    assert pair.server.data == b"before."
    pair.client_tls._app_transport.close()
    pair.carry()


@pytest.mark.parametrize("wrong", ["text", None, 3, ["x"]])
def test_only_bytes_can_be_written(pair, wrong):
    with pytest.raises(TypeError, match="data: expecting a bytes-like instance, got " + type(wrong).__name__):
        pair.client.transport.write(wrong)
    with pytest.raises(TypeError):
        pair.client.transport.writelines([b"x", wrong])


# Who waits for whom ----------------------------------------------------------------------------------------------------


def test_a_full_transport_pauses_the_application(pair):
    transport = pair.client.transport
    transport.set_write_buffer_limits(high=10_000, low=2_000)
    pair.client_tls.pause_writing()
    in_loop(pair, transport.write, b"x" * 5_000)
    assert pair.client.calls == ["made"] and transport.get_write_buffer_size() > 5_000 and not transport._protocol_paused
    in_loop(pair, transport.write, b"x" * 5_000)
    assert pair.client.calls == ["made", "pause"] and transport._protocol_paused and pair.here.written == []
    pair.client_tls.resume_writing()
    assert pair.client.calls == ["made", "pause", "resume"] and transport.get_write_buffer_size() == 0
    pair.carry()
    assert pair.server.data == b"x" * 10_000


def test_an_application_that_does_not_read_pauses_the_transport(pair):
    pair.server.transport.set_read_buffer_limits(high=20_000)
    assert pair.server.transport.get_read_buffer_limits() == (5_000, 20_000)
    pair.server.transport.pause_reading()
    assert not pair.server.transport.is_reading()
    pair.client.transport.write(b"x" * 30_000)
    pair.carry()
    assert pair.server.data == b"" and not pair.there.reading and pair.server.transport.get_read_buffer_size() > 30_000
    pair.server.transport.resume_reading()
    pair.turn()
    assert pair.server.data == b"x" * 30_000 and pair.there.reading


def test_the_end_waits_for_an_application_that_does_not_read(pair):
    pair.server.transport.pause_reading()
    pair.client.transport.write(b"all of it")
    pair.carry()
    assert pair.server_tls.eof_received() is True
    pair.turn()
    assert pair.server.calls == ["made"]
    pair.server.transport.resume_reading()
    pair.turn(6)
    assert pair.server.data == b"all of it" and pair.server.calls == ["made", "eof", "lost"]


@pytest.mark.parametrize("marks", [dict(high=1, low=2), dict(high=-1), dict(low=-1)])
def test_marks_must_be_in_order(pair, marks):
    for method in (pair.client.transport.set_write_buffer_limits, pair.client.transport.set_read_buffer_limits):
        with pytest.raises(ValueError, match="must be >= 0"):
            method(**marks)


def test_marks_of_asyncio(pair):
    transport = pair.client.transport
    assert transport.get_write_buffer_limits() == (128 * KIB, 512 * KIB)
    assert transport.get_read_buffer_limits() == (64 * KIB, 256 * KIB)
    transport.set_write_buffer_limits(low=7)
    assert transport.get_write_buffer_limits() == (7, 28)
    transport.set_read_buffer_limits(low=1 << 62)
    assert transport.get_read_buffer_limits() == (1 << 62, sys.maxsize)
    transport.set_read_buffer_limits()
    assert transport.get_read_buffer_limits() == (64 * KIB, 256 * KIB)


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_a_failure_in_pause_or_resume_is_reported(pair, method):
    def fail():
        raise LookupError(method)

    setattr(pair.client, method, fail)
    pair.client.transport.set_write_buffer_limits(high=10)
    pair.client_tls.pause_writing()
    pair.client.transport.write(b"x" * 100)
    pair.client_tls.resume_writing()
    (problem,) = pair.loop.problems
    assert problem["message"] == f"protocol.{method}() failed" and problem["protocol"] is pair.client_tls
    pair.carry()


# Callbacks -------------------------------------------------------------------------------------------------------------


def test_callbacks_run_in_the_context_of_the_connection(loop, contexts):
    who = contextvars.ContextVar("who", default="nobody")
    seen = []

    class Noting(App):
        def connection_made(self, transport):
            super().connection_made(transport)
            seen.append(who.get())
            who.set("the connection")

        def data_received(self, data):
            seen.append(who.get())
            self.transport.write(b"x" * 100)

        def pause_writing(self):
            seen.append("pause: " + who.get())

        def connection_lost(self, exc):
            seen.append("lost: " + who.get())

    context = contextvars.copy_context()
    context.run(who.set, "the maker")
    pair = context.run(Pair, loop, contexts, server=Noting())
    pair.client_tls.connection_made(pair.here)
    pair.server_tls.connection_made(pair.there)
    pair.carry()
    pair.server.transport.set_write_buffer_limits(high=10)
    pair.server_tls.pause_writing()
    pair.client.transport.write(b"?")
    pair.carry()
    pair.server_tls.resume_writing()
    pair.close()
    assert seen == ["the maker", "the connection", "pause: the connection", "lost: the connection"]
    assert who.get() == "nobody"


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_the_protocol_ends_the_run(pair, end):
    def data_received(data):
        raise end

    pair.server.data_received = data_received
    in_loop(pair, pair.client.transport.write, b"x")
    pair.loop.call_soon(pair.here.carry_to, pair.there)
    with pytest.raises(end):
        pair.turn()
    assert pair.loop.problems == []


def test_another_protocol_of_another_kind_may_take_over(pair):
    second = BufferedApp()
    pair.server.transport.set_protocol(second)
    assert pair.server.transport.get_protocol() is second
    pair.client.transport.write(b"for the second")
    pair.carry()
    assert second.data == b"for the second" and pair.server.data == b""
    pair.server.transport.set_protocol(pair.server)
    pair.client.transport.write(b"for the first")
    pair.carry()
    assert pair.server.data == b"for the first"


def test_a_class_derived_from_sslobject_is_asked(loop, contexts):
    class Counting(ssl.SSLObject):
        reads = writes = 0

        def read(self, *args):
            Counting.reads += 1
            return super().read(*args)

        def write(self, data):
            Counting.writes += 1
            return super().write(data)

    contexts[0].sslobject_class = Counting
    pair = Pair(loop, contexts).shake_hands()
    pair.client.transport.write(b"x" * 50_000)
    pair.server.transport.write(b"y")
    pair.carry()
    assert pair.server.data == b"x" * 50_000 and Counting.reads >= 4 and Counting.writes == 1
    pair.close()


@pytest.mark.skipif(not ssl.HAS_TLSv1_3, reason="needs TLS 1.3")
def test_records_without_data_are_answered(loop, contexts):
    """The server asks for a certificate in the middle: the client has to answer although nothing is there for its protocol."""
    contexts[1].load_cert_chain(CERT, KEY)
    contexts[1].post_handshake_auth = True
    contexts[0].verify_mode = ssl.CERT_REQUIRED
    contexts[0].post_handshake_auth = True
    contexts[0].load_verify_locations(CERT)
    contexts[0].verify_mode = ssl.CERT_OPTIONAL
    pair = Pair(loop, contexts).shake_hands()
    server = pair.server.transport.get_extra_info("ssl_object")
    before = server.getpeercert()
    server._sslobj.verify_client_post_handshake()
    pair.server.transport.write(b"who are you?")
    pair.carry()
    pair.client.transport.write(b"me")
    pair.carry()
    assert (pair.client.data, pair.server.data) == (b"who are you?", b"me")
    assert not before or server.getpeercert() == before
    assert server.getpeercert()["subject"]
    pair.close()


# Ends ------------------------------------------------------------------------------------------------------------------


def test_both_say_goodbye(pair):
    pair.client.transport.write(b"and now")
    pair.client.transport.close()
    assert pair.client.transport.is_closing()
    pair.carry()
    pair.turn()
    assert pair.server.data == b"and now"
    assert pair.client.calls == pair.server.calls == ["made", "eof", "lost"]
    assert pair.client.lost_with is None and pair.server.lost_with is None


def test_an_end_without_goodbye_is_an_end(pair):
    pair.server_tls.eof_received()
    pair.turn()
    assert pair.server.calls == ["made", "eof", "lost"] and pair.server.lost_with is None


def test_an_end_during_the_handshake_is_its_failure(loop, contexts):
    pair = Pair(loop, contexts)
    pair.client_tls.connection_made(pair.here)
    pair.client_tls.eof_received()
    pair.turn()
    assert isinstance(pair.waiter.exception(), ConnectionResetError) and pair.client.calls == []
    pair.server_tls._app_transport.close()


def test_a_peer_that_does_not_say_goodbye_is_not_waited_for(loop, contexts):
    pair = Pair(loop, contexts, ssl_shutdown_timeout=0.02).shake_hands()
    pair.client.transport.close()
    loop.run_until_complete(asyncio.sleep(0.1))  # sleep-ok: a timeout is what is tested
    assert isinstance(pair.client.lost_with, asyncio.TimeoutError) and str(pair.client.lost_with) == "SSL shutdown timed out"
    pair.server.transport.abort()
    pair.turn()


def test_a_handshake_that_takes_too_long(loop, contexts):
    pair = Pair(loop, contexts, ssl_handshake_timeout=0.02)
    pair.client_tls.connection_made(pair.here)
    with pytest.raises(ConnectionAbortedError, match=r"SSL handshake is taking longer than 0\.02 seconds: aborting the connection"):
        loop.run_until_complete(asyncio.wait_for(pair.waiter, 5))
    pair.server_tls._app_transport.close()


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
@pytest.mark.parametrize("value", [0, -1, -0.5])
def test_timeouts_must_be_positive(loop, contexts, name, value):
    with pytest.raises(ValueError, match=f"{name} should be a positive number, got {value}"):
        TlsProtocol(loop, App(), contexts[1], None, server_hostname="localhost", **{name: value})


def test_a_server_needs_a_context(loop):
    with pytest.raises(ValueError, match="Server side SSL needs a valid SSLContext"):
        TlsProtocol(loop, App(), None, None, server_side=True)


def test_writes_to_a_closed_connection_are_dropped_and_logged_at_last(pair, bill, caplog):
    bill.allow_log("SSL connection is closed")
    transport = pair.client.transport
    pair.close()
    with caplog.at_level(logging.WARNING, "asyncio"):
        for _ in range(10):
            transport.write(b"x")
    assert {record.message for record in caplog.records} == {"SSL connection is closed"}


def test_every_method_still_works_when_all_is_over(pair):
    transport = pair.client.transport
    pair.close()
    for _ in range(3):
        transport.close()
        transport.abort()
    assert transport.is_closing() and transport.get_write_buffer_size() == transport.get_read_buffer_size() == 0
    assert transport.get_extra_info("peername", 5) == 5 and transport.get_protocol() is None
    transport.pause_reading()
    transport.resume_reading()
    transport.write(b"x")
    transport.writelines([b"x"])
    transport.set_write_buffer_limits(high=1)
    transport.get_write_buffer_limits()
    assert not transport.can_write_eof()
    with pytest.raises(NotImplementedError):
        transport.write_eof()


def test_a_failing_eof_received_is_reported(pair):
    def eof_received():
        raise LookupError

    pair.server.eof_received = eof_received
    pair.client.transport.close()
    pair.carry()
    pair.turn()
    assert [p["message"] for p in pair.loop.problems] == ["Error calling eof_received()"]
    assert isinstance(pair.server.lost_with, LookupError)


def test_eof_received_cannot_keep_it_open(pair, bill, caplog):
    bill.allow_log("returning true from eof_received")
    pair.server.eof_received = lambda: True
    with caplog.at_level(logging.WARNING, "asyncio"):
        pair.client.transport.close()
        pair.carry()
    assert "returning true from eof_received() has no effect when using ssl" in caplog.text
    pair.turn()
    assert pair.server.calls == ["made", "lost"]


def test_debug_mode_logs_what_happens(loop, contexts, caplog):
    loop.set_debug(True)
    with caplog.at_level(logging.DEBUG, "asyncio"):
        pair = Pair(loop, contexts).shake_hands()
        pair.client.transport.write(b"x")
        pair.server_tls.eof_received()
        pair.close()
    for text in ("starts SSL handshake", "SSL handshake took", "received EOF"):
        assert text in caplog.text


# Objects ---------------------------------------------------------------------------------------------------------------


def test_they_are_what_asyncio_expects(pair):
    transport = pair.client.transport
    assert type(transport) is SSLTransport and isinstance(transport, (asyncio.Transport, asyncio.transports._FlowControlMixin))
    assert isinstance(pair.client_tls, asyncio.BufferedProtocol) and transport._ssl_protocol is pair.client_tls
    assert transport._start_tls_compatible and transport._sendfile_compatible is asyncio.constants._SendfileMode.FALLBACK
    transport.note = "transports have attributes"
    assert weakref.ref(transport)() is transport and transport.note
    for name in ("sslcontext", "ssl_object", "peercert", "cipher"):
        assert transport.get_extra_info(name) is not None
    assert transport.get_extra_info("compression") is None
    assert transport.get_extra_info("nothing", default=7) == 7
    pair.here._extra["peername"] = "over there"
    assert transport.get_extra_info("peername") == "over there"


def test_nothing_is_left_when_the_connection_is_lost(loop, contexts):
    gc.collect()
    gc.disable()
    try:
        pair = Pair(loop, contexts).shake_hands()
        watched = [weakref.ref(each) for each in (pair.client_tls, pair.server_tls, pair.client, pair.server, pair.client.transport)]
        pair.client.transport.write(b"x")
        pair.carry()
        pair.close()
        assert pair.client.calls[-1] == "lost"
        pair.here.protocol = pair.there.protocol = None
        loop.pairs.clear()
        del pair
        assert [each() for each in watched] == [None] * 5
    finally:
        gc.enable()


def test_the_collector_finds_a_connection_that_was_never_made(loop, contexts, bill):
    app = App()
    tls = TlsProtocol(loop, app, contexts[1], None, server_hostname="localhost")
    app.transport = tls._app_transport
    watched = [weakref.ref(tls), weakref.ref(app)]
    app.tls = tls
    del app, tls
    gc.collect()
    assert any("unclosed transport" in str(warning) for warning in bill.warned(ResourceWarning))
    assert [each() for each in watched] == [None, None]


def test_a_loop_of_another_kind_is_refused(contexts):
    other = asyncio.SelectorEventLoop()
    with pytest.raises(TypeError):
        TlsProtocol(other, App(), contexts[1], None)
    other.close()


# Through sockets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True])
def test_who_answers_with_much_is_told_to_pause_within_data_received(loop, contexts, tls):
    class Generous(App):
        def data_received(self, data):
            self.calls.append("data")
            for _ in range(32):
                self.transport.write(b"x" * (1 << 20))
            self.calls.append("written")

    async def main():
        made = []
        server = await loop.create_server(lambda: made.append(Generous()) or made[-1], "127.0.0.1", 0, ssl=contexts[0] if tls else None)
        options = dict(ssl=contexts[1], server_hostname="localhost") if tls else {}
        transport, client = await loop.create_connection(App, *server.sockets[0].getsockname(), **options)
        transport.write(b"much, please")
        while len(client.data) < 32 << 20:
            await asyncio.sleep(0)
        transport.close()
        while made[0].calls[-1] != "lost":
            await asyncio.sleep(0)
        server.close()
        return made[0].calls

    calls = loop.run_until_complete(asyncio.wait_for(main(), 20))
    assert calls[:4] == ["made", "data", "pause", "written"] and "resume" in calls and loop.problems == []


def test_tls_in_tls(loop, contexts):
    """start_tls on a transport that is one of TLS already, as for a proxy that is spoken to with TLS itself."""

    async def main():
        accepted = loop.create_future()

        class Outer(App):
            def connection_made(self, transport):
                super().connection_made(transport)
                accepted.set_result(self)

        server = await loop.create_server(Outer, "127.0.0.1", 0, ssl=contexts[0])
        transport, client = await loop.create_connection(App, *server.sockets[0].getsockname(), ssl=contexts[1], server_hostname="localhost")
        outer = await accepted
        inner_client, inner_server = App(), App()
        inner, other = await asyncio.gather(
            loop.start_tls(transport, inner_client, contexts[1], server_hostname="localhost"),
            loop.start_tls(outer.transport, inner_server, contexts[0], server_side=True),
        )
        inner.write(b"i" * 200_000)
        other.write(b"o" * 200_000)
        while len(inner_client.data) < 200_000 or len(inner_server.data) < 200_000:
            await asyncio.sleep(0)
        inner.close()
        while "lost" not in inner_client.calls or "lost" not in inner_server.calls:
            await asyncio.sleep(0)
        server.close()
        return inner_client, inner_server

    client, server = loop.run_until_complete(asyncio.wait_for(main(), 20))
    assert (client.data, server.data) == (b"o" * 200_000, b"i" * 200_000)


def test_the_shutdown_timeout_is_known_to_every_version(loop, contexts):
    async def main():
        closed = loop.create_future()

        class Silent(App):
            def connection_lost(self, exc):
                closed.set_result(exc)

        server = await loop.create_server(Silent, "127.0.0.1", 0, ssl=contexts[0], ssl_shutdown_timeout=0.05)
        address = server.sockets[0].getsockname()
        transport, client = await loop.create_connection(App, *address, ssl=contexts[1], server_hostname="localhost", ssl_shutdown_timeout=0.05)
        transport._ssl_protocol._transport.pause_reading()  # never hears the answer
        transport.close()
        while not client.calls or client.calls[-1] != "lost":
            await asyncio.sleep(0)
        await closed
        server.close()
        return client.lost_with

    assert isinstance(loop.run_until_complete(asyncio.wait_for(main(), 20)), asyncio.TimeoutError)


def test_the_shutdown_timeout_is_for_tls_only(loop):
    async def main():
        with pytest.raises(ValueError, match="ssl_shutdown_timeout is only meaningful with ssl"):
            await loop.create_server(App, "127.0.0.1", 0, ssl_shutdown_timeout=1)
        with pytest.raises(ValueError, match="ssl_shutdown_timeout is only meaningful with ssl"):
            await loop.create_connection(App, "127.0.0.1", 1, ssl_shutdown_timeout=1)

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 8), reason="sendfile of a loop")
def test_sendfile_over_tls(loop, contexts, tmp_path):
    content = bytes(range(256)) * 4000
    (tmp_path / "file").write_bytes(content)

    async def main():
        got = loop.create_future()

        class Sink(App):
            def data_received(self, data):
                super().data_received(data)
                if len(self.data) == len(content):
                    got.set_result(bytes(self.data))
                    self.transport.close()

        server = await loop.create_server(Sink, "127.0.0.1", 0, ssl=contexts[0])
        transport, client = await loop.create_connection(App, *server.sockets[0].getsockname(), ssl=contexts[1], server_hostname="localhost")
        with open(tmp_path / "file", "rb") as file:
            assert await loop.sendfile(transport, file) == len(content)
        received = await got
        while "lost" not in client.calls:
            await asyncio.sleep(0)
        server.close()
        await loop.shutdown_default_executor()
        return received

    assert loop.run_until_complete(asyncio.wait_for(main(), 20)) == content
