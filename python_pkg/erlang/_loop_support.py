"""What the native half of the event loop asks Python for: reports of failures, and what debug mode shows."""

from __future__ import annotations

import asyncio
import socket
import sys
import warnings
from asyncio import constants, format_helpers, trsock
from asyncio.log import logger
from typing import TYPE_CHECKING, Any, Callable, Optional

if TYPE_CHECKING:
    import traceback

__all__ = [
    "TRY_NATIVE_SENDFILE",
    "attach",
    "callback_failed",
    "callback_was_slow",
    "describe_socket",
    "detach",
    "extract_stack",
    "report",
    "sending_was_too_late",
    "transport_failed",
    "unclosed",
]

TRY_NATIVE_SENDFILE = constants._SendfileMode.TRY_NATIVE


def extract_stack() -> "traceback.StackSummary":
    """Where the code that called into the loop stands."""
    return format_helpers.extract_stack(sys._getframe(1))


def callback_failed(
    loop: asyncio.AbstractEventLoop, handle: asyncio.Handle, callback: Callable[..., object], args: tuple[object, ...], exception: BaseException
) -> None:
    """A callback of the loop raised: tells the loop's exception handler as asyncio does."""
    named = format_helpers._format_callback_source(callback, args, **_debug(loop))
    context: dict[str, Any] = {"message": f"Exception in callback {named}", "exception": exception, "handle": handle}
    traceback = handle._source_traceback  # type: ignore[attr-defined]
    if traceback:
        context["source_traceback"] = traceback
    loop.call_exception_handler(context)


def callback_was_slow(handle: asyncio.Handle, seconds: float) -> None:
    from asyncio.base_events import _format_handle  # type: ignore[attr-defined]

    logger.warning("Executing %s took %.3f seconds", _format_handle(handle), seconds)


def report(loop: asyncio.AbstractEventLoop, message: str, exception: Optional[BaseException], more: Optional[dict[str, Any]]) -> None:
    """A failure without a caller, of a transport for instance."""
    context: dict[str, Any] = {"message": message, **(more or {})}
    if exception is not None:
        context["exception"] = exception
    loop.call_exception_handler(context)


def describe_socket(extra: dict[str, Any], sock: socket.socket) -> None:
    """What get_extra_info() of a transport knows of its socket. Small writes are not to wait for company on the way."""
    extra["socket"] = trsock.TransportSocket(sock)  # type: ignore[attr-defined]
    extra["sockname"] = _name_of(sock.getsockname)
    if "peername" not in extra:
        extra["peername"] = _name_of(sock.getpeername)
    # asyncio asks for the protocol by its name, but a socket made without that is one of TCP just the same.
    if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM and sock.proto in (0, socket.IPPROTO_TCP):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _name_of(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except OSError:
        return None


# Servers count their transports; since 3.13 they know them, too.
_KNOWS_TRANSPORTS = sys.version_info >= (3, 13)


def attach(server: Any, transport: asyncio.Transport) -> None:
    server._attach(transport) if _KNOWS_TRANSPORTS else server._attach()


def detach(server: Any, transport: asyncio.Transport) -> None:
    server._detach(transport) if _KNOWS_TRANSPORTS else server._detach()


def unclosed(transport: asyncio.Transport, sock: socket.socket, server: Any) -> None:
    """A transport that nobody has any more and nobody has closed."""
    warnings.warn(f"unclosed transport {transport!r}", ResourceWarning, source=transport)
    sock.close()
    if server is not None:
        detach(server, transport)


def sending_was_too_late() -> None:
    logger.warning("socket.send() raised exception.")


def transport_failed(transport: asyncio.BaseTransport, message: str, exception: BaseException) -> None:
    """What debug mode tells of a failure that connection_lost gets anyway."""
    logger.debug("%r: %s", transport, message, exc_info=exception)


def _debug(loop: asyncio.AbstractEventLoop) -> dict[str, bool]:
    # What a callback's arguments look like is shown in debug mode only, since the versions that can tell the difference.
    return {"debug": loop.get_debug()} if _TELLS_DEBUG else {}


_TELLS_DEBUG = "debug" in format_helpers._format_callback_source.__kwdefaults__ if format_helpers._format_callback_source.__kwdefaults__ else False
