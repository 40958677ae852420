"""TLS: connections that end while somebody has paused, and what must not stop them before."""

import asyncio
import logging
import socket
import ssl

import pytest
from loop_support import HandlerCalls, Recorder, closed, listener, reset, soon, turns, until, with_raw_peer
from test_loop_tls import ended, for_client, for_server, tls_pair, warnings_of_the_older_sslproto  # noqa: F401


# --------------------------------------------------------------------------------------------------------------- close


@pytest.mark.stock_fails("takes what was not read for data after the goodbye")
def test_who_closes_does_not_wait_because_it_has_not_read(run):
    async def main():
        server, client, theirs = await tls_pair()
        client.transport.pause_reading()
        theirs.transport.write(b"x" * 2_000_000)
        await until(lambda: client.transport.get_read_buffer_size() >= 256 << 10)  # now the socket is not read either
        client.transport.close()
        assert await soon(client.lost) is None
        await soon(theirs.lost)
        await ended(server)

    run(main())
