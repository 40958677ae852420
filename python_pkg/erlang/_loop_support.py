"""What the native half of the event loop asks Python for: reports of failures, and what debug mode shows."""

from __future__ import annotations

import asyncio
import sys
import warnings
from asyncio import constants, format_helpers
from asyncio.log import logger
from typing import TYPE_CHECKING, Any, Callable, Optional

if TYPE_CHECKING:
    import traceback

__all__ = [
    "TRY_NATIVE_SENDFILE",
    "callback_failed",
    "callback_was_slow",
    "extract_stack",
    "report",
    "sending_was_too_late",
    "transport_failed",
    "unclosed",
    "writing_was_too_late",
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


def callback_was_slow(what: object, seconds: float) -> None:
    """Of a handle; or of a transport, whose protocol it was most likely."""
    from asyncio.base_events import _format_handle  # type: ignore[attr-defined]

    logger.warning("Executing %s took %.3f seconds", _format_handle(what) if isinstance(what, asyncio.Handle) else repr(what), seconds)


def report(loop: asyncio.AbstractEventLoop, message: str, exception: Optional[BaseException], more: Optional[dict[str, Any]]) -> None:
    """A failure without a caller, of a transport for instance."""
    context: dict[str, Any] = {"message": message, **(more or {})}
    if exception is not None:
        context["exception"] = exception
    loop.call_exception_handler(context)


# Servers count their transports; since 3.13 they know them, too.
_KNOWS_TRANSPORTS = sys.version_info >= (3, 13)


def unclosed(transport: asyncio.Transport, server: Any) -> None:
    """A transport that nobody has any more and nobody has closed."""
    warnings.warn(f"unclosed transport {transport!r}", ResourceWarning, source=transport)
    if server is not None:
        server._detach(transport) if _KNOWS_TRANSPORTS else server._detach()


def sending_was_too_late() -> None:
    logger.warning("socket.send() raised exception.")


def writing_was_too_late() -> None:
    logger.warning("pipe closed by peer or os.write(pipe, data) raised exception.")


def transport_failed(transport: asyncio.BaseTransport, message: str, exception: BaseException) -> None:
    """What debug mode tells of a failure that connection_lost gets anyway."""
    logger.debug("%r: %s", transport, message, exc_info=exception)


def _debug(loop: asyncio.AbstractEventLoop) -> dict[str, bool]:
    # What a callback's arguments look like is shown in debug mode only, since the versions that can tell the difference.
    return {"debug": loop.get_debug()} if _TELLS_DEBUG else {}


_TELLS_DEBUG = "debug" in format_helpers._format_callback_source.__kwdefaults__ if format_helpers._format_callback_source.__kwdefaults__ else False
