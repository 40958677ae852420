"""Spans: what took how long, inside of what. :class:`Span` and :func:`trace`.

Erlang switches it on and off (``py_tracer:enable/0``). While it is off a span costs the making of one small object and sends nothing.

The span that the code is in is a context variable, and is the ``traceparent`` of the call at hand: so tasks and threads started with a copied
context inherit it, calls to Erlang carry it, and a span in Python that an Erlang function calls has it as its parent.
"""

from __future__ import annotations

import os
import time
from contextvars import ContextVar

from . import _port
from ._bounded import clean, plain_map, shortened
from ._courier import Courier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Token
    from types import TracebackType
    from typing import Any, Callable, Optional, Union

__all__ = ["Span", "is_enabled", "set_enabled", "trace"]

FUNCTION = "_py_span"
_EVENTS = 200  # of one span

_enabled = False
_starts = False
_current: ContextVar[Optional[Span]] = ContextVar("erlang_span", default=None)
_courier: Optional[Courier] = None


def set_enabled(on: bool, starts: bool = False) -> None:
    """Called by Erlang. Spans that have begun end as they began. ``starts``: somebody wants to know of the beginnings."""
    global _enabled, _starts, _courier
    if on and _courier is None:
        import atexit

        _courier = Courier(FUNCTION, "spans")
        atexit.register(_courier.flush, 0.5)
    _enabled, _starts = bool(on), bool(starts)


def is_enabled() -> bool:
    return _enabled


class Span:
    """A piece of work with a name: ``with erlang.Span("load", table="users") as span:``, or ``async with``.

    ``event`` notes a moment inside of it, ``set`` what is known at its end. An exception that leaves it makes its status ``error`` and goes on.
    ``trace_id``, ``span_id`` and ``parent_id`` are hexadecimal, as in W3C Trace Context; None where nothing is recorded.
    A span is entered once. Attributes may be anything; what is no plain value is sent as its shortened ``repr``.
    """

    __slots__ = ("_begun", "_call", "_ended", "_events", "_left_out", "_state", "_taken", "_token", "_trace_token",
                 "attributes", "name", "parent_id", "span_id", "trace_id")  # fmt: skip

    def __init__(self, name: str, /, **attributes: object) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a span is a str, not {type(name).__name__}")
        self.name = name
        self.attributes = attributes
        self.span_id: Optional[str] = None
        self.trace_id: Optional[str] = None
        self.parent_id: Optional[str] = None

    def event(self, name: str, /, **attributes: object) -> None:
        """Notes that something happened now. Of more than 200 events only the number is kept."""
        if self.span_id is None:
            return
        if len(self._events) < _EVENTS:
            self._events.append((shortened(str(name), 256), time.time_ns() // 1000, plain_map(attributes)))
        else:
            self._left_out += 1

    def set(self, **attributes: object) -> None:
        """What is known only now, for the attributes at the end."""
        if self.span_id is not None:
            self._ended.update(attributes)

    def __enter__(self) -> Span:
        if _enabled:
            self.begin()
            self.activate()
        return self

    def __exit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException], _: Optional[TracebackType]) -> None:
        if self.span_id is not None:
            self.deactivate()
            self.end(error)

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]) -> None:
        self.__exit__(kind, error, traceback)

    # What a generator needs separately: the span lasts as long as it does, and is the current one only while its code runs.

    def begin(self) -> None:
        if self.span_id is not None:
            raise RuntimeError(f"the span {self.name!r} was entered before: make one for each time")
        self.trace_id, self.parent_id, self._state = _parentage()
        self.span_id = os.urandom(8).hex()
        self._call = _call_id()
        self._events: list[tuple[str, int, dict[str, Any]]] = []
        self._left_out = 0
        self._ended: dict[str, object] = {}
        self._begun = time.time_ns() // 1000
        self._taken = time.monotonic_ns()
        if _starts:
            _offer(("start", *self._identity(), self._begun, plain_map(self.attributes)))

    def activate(self) -> None:
        self._token: Token[Optional[Span]] = _current.set(self)
        parent = f"00-{self.trace_id}-{self.span_id}-01"
        try:
            self._trace_token: Optional[Token[Any]] = _port.set_trace(f"{parent}\n{self._state}" if self._state else parent)
        except RuntimeError:  # no Erlang (yet), so nobody to pass it to
            self._trace_token = None

    def deactivate(self) -> None:
        try:
            _current.reset(self._token)
            if self._trace_token is not None:
                _port.reset_trace(self._trace_token)
        except ValueError:
            pass  # left in another context than it was entered in, by a finalizer for instance: that one has its own span

    def end(self, error: Optional[BaseException]) -> None:
        duration = (time.monotonic_ns() - self._taken) // 1000
        if error is not None:
            self._ended.update(exception=type(error).__qualname__, message=_text_of(error))
        if self._left_out:
            self._ended["events_left_out"] = self._left_out
        _offer(("stop", *self._identity(), self._begun, plain_map(self.attributes), time.time_ns() // 1000, duration,
                "ok" if error is None else "error", plain_map(self._ended), self._events))  # fmt: skip

    def _identity(self) -> tuple[Any, ...]:
        return shortened(self.name, 256), self.span_id, self.parent_id, self.trace_id

    def __repr__(self) -> str:
        return f"<erlang.Span {self.name!r}>"


def trace(name: Union[str, Callable[..., Any], None] = None) -> Any:
    """Decorator: each call of the function is a :class:`Span`. ``@trace``, ``@trace()`` or ``@trace("name")``.

    For functions, coroutine functions, generators and asynchronous generators. The span of a generator lasts from its first step to its end, and
    is the current one only while its own code runs. Without a name the span is called ``module.qualified_name``.
    """
    if callable(name):
        return _traced(name, None)
    if name is not None and not isinstance(name, str):
        raise TypeError(f"the name of a span is a str, not {type(name).__name__}")

    def decorate(function: Any) -> Any:
        return _traced(function, name)

    return decorate


def _traced(function: Any, name: Optional[str]) -> Any:
    from . import _traced as wrappers

    title = name or f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"
    return wrappers.wrapped(function, title)


def _offer(item: tuple[Any, ...]) -> None:
    if _courier is not None:
        _courier.offer(item)


def _call_id() -> int:
    call = _port.current()
    return call.id if call is not None else 0


def _parentage() -> tuple[str, Optional[str], str]:
    """The trace, the span that is the parent, and the tracestate. The span that this call is in; else the one that the caller was in; else
    the one that this thread is in, which waits for an Erlang function that has called us and did not pass the trace on."""
    above, call = _current.get(), _port.current()
    if above is None or above._call != (call.id if call is not None else 0):
        given = _parsed(call.trace) if call is not None and call.trace else None
        if given is not None:
            return given
    if above is not None and above.trace_id is not None:
        return above.trace_id, above.span_id, above._state
    return os.urandom(16).hex(), None, ""


def _parsed(text: object) -> Optional[tuple[str, str, str]]:
    """A traceparent, a newline and a tracestate. Anybody may have written it."""
    parent, _, state = _port.text(text).partition("\n")
    parts = parent.split("-")
    if len(parts) < 4 or len(parts[1]) != 32 or len(parts[2]) != 16 or not set(parts[1] + parts[2]) <= set("0123456789abcdef"):
        return None
    return parts[1], parts[2], state


def _text_of(error: BaseException) -> str:
    try:
        return clean(str(error))
    except Exception as failed:
        return f"<whose str raised {type(failed).__name__}>"
