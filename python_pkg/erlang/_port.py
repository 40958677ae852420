"""The way to Erlang: the functions of the built-in module that need the port, and how their answers are read.

Everything in this package goes through here, as ``_port.call_op(...)``, so that there is one place to replace in a test. An operation is
an atom and arguments; Erlang answers with a value or with an error term. Terms arrive converted with the options of the context: atoms
are str or :class:`~erlang.terms.Atom`, binaries may be bytes. :func:`text` makes one thing of them.

Imports nothing that takes long: asyncio is looked for, not loaded.
"""

from __future__ import annotations

import sys
from _thread import _local

from ._erlang import Atom, call_op, cancel_op, context_loop, context_mailbox, current, new_mailbox, reset_trace, set_trace, start_op
from .errors import CallError, ErlangError, ForbiddenError, FunctionNotFound, ProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from contextvars import Context
    from typing import Any, Callable, Optional

__all__ = [
    "ask",
    "call_op",
    "cancel_op",
    "context_loop",
    "context_mailbox",
    "current",
    "detached",
    "failure",
    "new_mailbox",
    "reset_trace",
    "running_loop",
    "set_trace",
    "start_op",
    "text",
    "value_of",
    "waited",
    "warn_if_blocking",
]


class _Waits(_local):
    """Counts the times that this thread waited for Erlang, so that a stream knows whether its producer talks to Erlang."""

    count = 0


waited = _Waits()


def ask(op: str, *args: object, timeout: Optional[float] = None) -> Any:
    """The value of an operation. Blocks this thread, without the GIL. Raises ``TimeoutError`` and what :func:`failure` makes of errors."""
    waited.count += 1
    ok, value = call_op(op, args, timeout)
    return value if ok else value_of(ok, value)


def value_of(ok: bool, value: Any, name: str = "") -> Any:
    """The value of an answer, or its failure raised."""
    if ok:
        return value
    raise failure(value, name)


def failure(term: object, name: str = "") -> Exception:
    """The exception for an error term. ``name`` is the function that was called, if it was one.

    In the place of the term may be an exception: the answer had no counterpart here.
    """
    if isinstance(term, Exception):
        return term
    tag, rest = (text(term[0]), term[1:]) if isinstance(term, tuple) and term else (text(term), ())
    make = _FAILURES.get((tag, len(rest)))
    return make(name, *rest) if make else CallError("error", term, "", name)


_FAILURES: dict[tuple[str, int], Callable[..., Exception]] = {
    ("not_found", 1): lambda _, name: FunctionNotFound(text(name)),
    ("failed", 3): lambda name, error_class, reason, stack: CallError(text(error_class), reason, text(stack), name),
    ("cancelled", 0): lambda name: CallError("cancelled", None, "", name),
    ("killed", 1): lambda name, reason: CallError("killed", reason, "", name),
    ("timeout", 0): lambda name: TimeoutError(f"no answer from Erlang in time{': ' + name if name else ''}"),
    ("noproc", 1): lambda _, target: ProcessError(target),
    ("forbidden", 1): lambda _, why: ForbiddenError(text(why)),
    ("bad_request", 1): lambda _, why: ErlangError(f"Erlang does not understand the request: {text(why)}"),
}


def text(value: object) -> str:
    """The text of an atom or a binary, whatever the context's type options made of it; "" for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value) if isinstance(value, Atom) else ""


def running_loop() -> Optional[asyncio.AbstractEventLoop]:
    """The asyncio loop that runs in this thread. Where asyncio was never imported, none does."""
    get = getattr(sys.modules.get("asyncio.events"), "_get_running_loop", None)
    return get() if get else None


def detached() -> Context:
    """A copy of the context for what goes on after the call at hand: it has all the time."""
    from contextvars import copy_context

    context = copy_context()
    call = current()
    if call is not None and call.deadline:
        for variable, value in context.items():
            if value is call:
                context.run(variable.set, call.without_deadline())
    return context


def warn_if_blocking(what: str, instead: str, stacklevel: int = 3) -> None:
    """Warns once per call site that ``what`` stops the loop of this thread. ``stacklevel`` as if it were warned of here."""
    if running_loop() is not None:
        import warnings

        message = f"{what} blocks the asyncio loop that runs in this thread; use {instead}"
        warnings.warn(message, RuntimeWarning, stacklevel)
