"""Every exception that this package raises.

* :class:`ErlangError` is the base of all.
* :class:`TermError` (a ``ValueError`` too): a value has no counterpart in the other language. ``path`` says where it is, as in
  ``"term[2].key"``.
* :class:`CallError` (a ``RuntimeError`` too): an Erlang function was called and gave no value.
* :class:`FunctionNotFound` (a ``CallError``): there is no function of that name for this context.
* :class:`ProcessError`: the process is not alive, or nobody has that name.
* :class:`ForbiddenError` (a ``PermissionError`` too): this context may not do that.
* :class:`StateFull`: the shared state takes no more keys.
* :class:`SharedDictDestroyed` (a ``RuntimeError`` too): the shared dictionary is no more.
* :class:`ChannelClosed`: nothing more can be sent or received.
* :class:`StreamAborted`: the Erlang side broke off what it was pushing.

:class:`SuspensionRequired` is only a name, for code that imports it.

When time is up it is the built-in ``TimeoutError``, also from coroutines and also before Python 3.11. All of them can be pickled.
"""

from __future__ import annotations

from ._erlang import ErlangError, TermError

__all__ = [
    "CallError",
    "ChannelClosed",
    "ErlangError",
    "ForbiddenError",
    "FunctionNotFound",
    "ProcessError",
    "SharedDictDestroyed",
    "StateFull",
    "StreamAborted",
    "SuspensionRequired",
    "TermError",
]


class CallError(ErlangError, RuntimeError):
    """The Erlang function gave no value.

    ``error_class`` is ``"error"``, ``"exit"`` or ``"throw"`` as in Erlang's ``catch Class:Reason:Stack``; ``"killed"`` when the process
    that ran the function was killed; ``"cancelled"`` when Erlang gave the call up. (Plain ``class`` is a keyword of Python.)
    ``reason`` is a term, converted like a result. ``stack`` is the Erlang stack as text, ``""`` where there is none.
    ``function`` is the name that was called.
    """

    def __init__(self, error_class: str, reason: object, stack: str = "", function: str = "") -> None:
        super().__init__(error_class, reason, stack, function)
        self.error_class = error_class
        self.reason = reason
        self.stack = stack
        self.function = function

    def __str__(self) -> str:
        text = self.error_class if self.reason is None else f"{self.error_class}: {self.reason!r}"
        return f"{self.function}: {text}" if self.function else text


class FunctionNotFound(CallError):
    """No function of this name is registered, or this context may not call it. ``function`` is the name."""

    def __init__(self, function: str) -> None:
        super().__init__("error", "not_found", "", function)
        self.args = (function,)  # what pickle calls us with

    def __str__(self) -> str:
        return f"no Erlang function {self.function!r} is registered for this context"


class ProcessError(ErlangError):
    """There is no such process. ``target`` is the pid or the name."""

    def __init__(self, target: object) -> None:
        super().__init__(target)
        self.target = target

    def __str__(self) -> str:
        return f"no such process: {self.target!r}"


class ForbiddenError(ErlangError, PermissionError):
    """The options of this context do not allow it."""


class ChannelClosed(ErlangError):
    """The channel was closed, or its process has ended."""


class StateFull(ErlangError):
    """The setting ``max_state_entries`` allows no more keys in the shared state. ``key`` is the one that was not stored."""

    def __init__(self, key: object) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"the shared state is full: {self.key!r} was not stored"


class SharedDictDestroyed(ErlangError, RuntimeError):
    """The shared dictionary was destroyed, or the process that owned it has ended."""


class StreamAborted(ErlangError):
    """The Erlang side broke off the stream. ``reason`` is the term it gave, ``noproc`` when its process has ended."""

    def __init__(self, reason: object) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the stream was broken off: {self.reason!r}"


class SuspensionRequired(BaseException):
    """Never raised: a call to Erlang is a wait and nothing else. For code that imports it, to let it pass: ``except SuspensionRequired: raise``."""
