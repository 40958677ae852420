"""What the native half of TLS asks Python for: defaults and checks, ssl's objects, and messages for humans."""

from __future__ import annotations

import asyncio
from asyncio import constants
from asyncio.log import logger
from typing import Any, Optional, Union

try:
    import ssl
except ImportError:  # a Python without it has no TLS, and everything else
    ssl = None  # type: ignore[assignment]

__all__ = ["prepare", "add_extra", "fatal", "log", "ssl", "warn_closed", "warn_keep_open"]

if ssl is not None:
    SSLObject: Any = ssl.SSLObject
    SSLError: Any = ssl.SSLError
    CertificateError: Any = ssl.CertificateError
    ZERO_RETURN_ERROR: Any = ssl.SSLZeroReturnError
    AGAIN_ERRORS: Any = (ssl.SSLWantReadError, ssl.SSLSyscallError)
else:
    SSLObject = SSLError = CertificateError = ZERO_RETURN_ERROR = type(None)
    AGAIN_ERRORS = ()

SENDFILE_FALLBACK = constants._SendfileMode.FALLBACK

# asyncio of 3.9 and 3.10 does not have the later ones.
HANDSHAKE_SECONDS = constants.SSL_HANDSHAKE_TIMEOUT
SHUTDOWN_SECONDS = getattr(constants, "SSL_SHUTDOWN_TIMEOUT", 30.0)

Seconds = Optional[float]


def prepare(context: Any, server_side: bool, hostname: Optional[str], handshake_timeout: Seconds, shutdown_timeout: Seconds) -> tuple[Any, ...]:
    """What a connection begins with. Raises ValueError for a timeout that is not positive and for a server without a context."""
    if ssl is None:
        raise RuntimeError("stdlib ssl module not available")
    handshake_timeout = _positive("ssl_handshake_timeout", handshake_timeout, HANDSHAKE_SECONDS)
    shutdown_timeout = _positive("ssl_shutdown_timeout", shutdown_timeout, SHUTDOWN_SECONDS)
    if not context:
        context = _default_context(server_side, hostname)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    name = hostname if hostname and not server_side else None
    sslobj = context.wrap_bio(incoming, outgoing, server_side=server_side, server_hostname=name)
    extra = {"sslcontext": context}
    return context, sslobj, incoming, outgoing, extra, handshake_timeout, shutdown_timeout


def _positive(name: str, seconds: Seconds, default: float) -> float:
    if seconds is None:
        return default
    if seconds <= 0:
        raise ValueError(f"{name} should be a positive number, got {seconds}")
    return seconds


def _default_context(server_side: bool, hostname: Optional[str]) -> "ssl.SSLContext":
    if server_side:
        raise ValueError("Server side SSL needs a valid SSLContext")
    context = ssl.create_default_context()
    if not hostname:
        context.check_hostname = False
    return context


def add_extra(extra: dict[str, Any], sslobj: Any, peercert: Any) -> None:
    """What get_extra_info() tells from the end of the handshake on."""
    extra.update(peercert=peercert, cipher=sslobj.cipher(), compression=sslobj.compression(), ssl_object=sslobj)


def fatal(loop: asyncio.AbstractEventLoop, protocol: object, transport: object, exception: BaseException, message: str) -> None:
    """A connection ends with an error: what the network or the peer did is only of interest to who debugs."""
    if isinstance(exception, OSError):
        if loop.get_debug():
            logger.debug("%r: %s", protocol, message, exc_info=exception)
    elif not isinstance(exception, asyncio.CancelledError):
        loop.call_exception_handler({"message": message, "exception": exception, "transport": transport, "protocol": protocol})


def log(text: str, *args: Union[object, float]) -> None:
    logger.debug(text, *args)


def warn_closed() -> None:
    logger.warning("SSL connection is closed")


def warn_keep_open() -> None:
    logger.warning("returning true from eof_received() has no effect when using ssl")
