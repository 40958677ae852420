"""The part of ``erlang.ErlangEventLoop`` that is about TLS: connections of our own TLS protocol on any transport of the loop."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import Any, Optional

from ._erlang_loop import TlsProtocol
from ._tls_support import ssl

__all__ = ["TlsMethods"]

#: For Python 3.9 and 3.10, whose asyncio does not pass it on: what the call at hand was given.
_shutdown_timeout: contextvars.ContextVar[Optional[float]] = contextvars.ContextVar("erlang_ssl_shutdown_timeout", default=None)


class TlsMethods:
    """For the class of a loop that derives from ``asyncio.SelectorEventLoop``; before it in the order of base classes."""

    def _make_ssl_transport(
        self: Any,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: Optional[str] = None,
        extra: Any = None,
        server: Any = None,
        ssl_handshake_timeout: Optional[float] = None,
        ssl_shutdown_timeout: Optional[float] = None,
        call_connection_made: bool = True,
    ) -> asyncio.Transport:
        if ssl_shutdown_timeout is None:
            ssl_shutdown_timeout = getattr(server, "_erlang_ssl_shutdown_timeout", None) or _shutdown_timeout.get()
        self._ensure_fd_no_transport(rawsock)
        tls = TlsProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            call_connection_made=call_connection_made,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        transport: asyncio.Transport = tls._app_transport  # first: it is the protocol's own only while there is a connection
        self._make_socket_transport(rawsock, tls, extra=extra, server=server)
        return transport

    async def start_tls(
        self: Any,
        transport: Any,
        protocol: Any,
        sslcontext: Any,
        *,
        server_side: bool = False,
        server_hostname: Optional[str] = None,
        ssl_handshake_timeout: Optional[float] = None,
        ssl_shutdown_timeout: Optional[float] = None,
    ) -> asyncio.Transport:
        """Begins TLS on a connection. Returns the transport that ``protocol`` is to use from now on.

        Raises what the handshake raised, ConnectionResetError for a connection that is closed or lost, and TypeError for a context or a
        transport that cannot be used. When it is cancelled the connection is closed.
        """
        if ssl is None:
            raise RuntimeError("Python ssl module is not available")
        if not isinstance(sslcontext, ssl.SSLContext):
            raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        if transport.is_closing():  # then nobody would tell that it is lost
            raise ConnectionResetError("start_tls() on a connection that is closed")
        waiter = self.create_future()
        tls = TlsProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            call_connection_made=False,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        # Paused, so that no data can come before connection_made().
        transport.pause_reading()
        transport.set_protocol(tls)
        made = self.call_soon(tls.connection_made, transport)
        resumed = self.call_soon(transport.resume_reading)
        try:
            await waiter
        except BaseException:
            transport.close()
            made.cancel()
            resumed.cancel()
            # The exception knows this frame, and the future the exception.
            waiter = None
            raise
        secure: Optional[asyncio.Transport] = tls._app_transport
        if secure is None:
            raise ConnectionResetError("the connection was closed while TLS began")
        return secure

    if sys.version_info < (3, 11):
        # The keyword that these methods have since 3.11.

        async def create_connection(self: Any, *args: Any, ssl_shutdown_timeout: Optional[float] = None, **kwargs: Any) -> Any:
            with _ShutdownTimeout(ssl_shutdown_timeout, kwargs.get("ssl")):
                return await super().create_connection(*args, **kwargs)  # type: ignore[misc]

        async def create_unix_connection(self: Any, *args: Any, ssl_shutdown_timeout: Optional[float] = None, **kwargs: Any) -> Any:
            with _ShutdownTimeout(ssl_shutdown_timeout, kwargs.get("ssl")):
                return await super().create_unix_connection(*args, **kwargs)  # type: ignore[misc]

        async def connect_accepted_socket(self: Any, *args: Any, ssl_shutdown_timeout: Optional[float] = None, **kwargs: Any) -> Any:
            with _ShutdownTimeout(ssl_shutdown_timeout, kwargs.get("ssl")):
                return await super().connect_accepted_socket(*args, **kwargs)  # type: ignore[misc]

        async def create_server(self: Any, *args: Any, ssl_shutdown_timeout: Optional[float] = None, **kwargs: Any) -> Any:
            with _ShutdownTimeout(ssl_shutdown_timeout, kwargs.get("ssl")):
                server = await super().create_server(*args, **kwargs)  # type: ignore[misc]
            server._erlang_ssl_shutdown_timeout = ssl_shutdown_timeout
            return server

        async def create_unix_server(self: Any, *args: Any, ssl_shutdown_timeout: Optional[float] = None, **kwargs: Any) -> Any:
            with _ShutdownTimeout(ssl_shutdown_timeout, kwargs.get("ssl")):
                server = await super().create_unix_server(*args, **kwargs)  # type: ignore[misc]
            server._erlang_ssl_shutdown_timeout = ssl_shutdown_timeout
            return server


class _ShutdownTimeout:
    """In its scope connections are made with that timeout. Raises ValueError if it is given without TLS."""

    def __init__(self, seconds: Optional[float], tls: Any) -> None:
        if seconds is not None and not tls:
            raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")
        self.seconds = seconds

    def __enter__(self) -> None:
        self.token = _shutdown_timeout.set(self.seconds)

    def __exit__(self, *_: object) -> None:
        _shutdown_timeout.reset(self.token)
