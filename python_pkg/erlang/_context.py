"""What the call at hand brought along: its deadline and its trace. Tasks, and callbacks into Erlang and back, inherit both."""

from __future__ import annotations

import time

from . import _port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

__all__ = ["deadline", "remaining", "trace_context"]


def deadline() -> Optional[float]:
    """When the time of this call is up, on the clock of ``time.monotonic()``; None when it has all the time, or this is part of no call."""
    call = _port.current()
    return call.deadline / 1e9 if call is not None and call.deadline else None


def remaining() -> Optional[float]:
    """Seconds until :func:`deadline`, never less than 0.0; None when there is no deadline."""
    at = deadline()
    return None if at is None else max(0.0, at - time.monotonic())


def trace_context() -> Optional[dict[str, str]]:
    """The W3C trace context that the caller sent: ``{"traceparent": ...}``, with ``"tracestate"`` where there is one; None without.

    This is the form that propagators (OpenTelemetry's among them) take as a carrier. Calls to Erlang pass it on by themselves.
    """
    call = _port.current()
    if call is None or not call.trace:
        return None
    parent, _, state = _port.text(call.trace).partition("\n")
    return {"traceparent": parent, "tracestate": state} if state else {"traceparent": parent}
