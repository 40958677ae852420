"""State that all contexts of the node and its Erlang processes share: Erlang's ``py_state``.

Each function is one short round trip, from any thread, also inside a coroutine, where it holds the loop for that long;
``await erlang.async_call("state_get", key)`` and the like do not. Keys and values are terms: a str is a binary in Erlang, so the key that
Erlang calls ``<<"hits">>``. Raises :class:`~erlang.FunctionNotFound` where the context's option ``functions`` leaves the function out, and
:class:`~erlang.TermError` for what has no counterpart.
"""

from __future__ import annotations

from . import _port
from .errors import StateFull

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["state_clear", "state_decr", "state_delete", "state_get", "state_incr", "state_keys", "state_set"]


def state_get(key: object, default: Any = None) -> Any:
    """The value under ``key``, or ``default``. (A stored None comes back as None, whatever the default.)"""
    found = _call("state_get", key, "found")
    return found[0] if found else default


def state_set(key: object, value: object) -> None:
    """Store the value. Raises :class:`~erlang.StateFull` when the key is new and the setting ``max_state_entries`` allows no more."""
    _done(_call("state_set", key, value), key)


def state_delete(key: object) -> None:
    """Remove the key. Not an error when it is not there."""
    _done(_call("state_delete", key), key)


def state_keys() -> list[Any]:
    """All keys, in no order."""
    keys: list[Any] = _call("state_keys")
    return keys


def state_clear() -> None:
    """Remove everything, for everybody."""
    _done(_call("state_clear"), None)


def state_incr(key: object, amount: int = 1) -> int:
    """Add to a counter and return its new value, atomically; one that is not there counts from 0.

    Raises ``TypeError`` when what is stored there (or the amount) is not an int, and :class:`~erlang.StateFull`.
    """
    number: int = _done(_call("state_incr", key, _whole(amount)), key)
    return number


def state_decr(key: object, amount: int = 1) -> int:
    """Take from a counter: see :func:`state_incr`."""
    number: int = _done(_call("state_decr", key, _whole(amount)), key)
    return number


def _call(name: str, *args: object) -> Any:
    _port.waited.count += 1
    ok, value = _port.call_op("call", (name, list(args)), None)
    return _port.value_of(ok, value, name)


def _done(answer: Any, key: object) -> Any:
    if not isinstance(answer, tuple):
        return answer
    why = _port.text(answer[1])
    if why == "full":
        raise StateFull(key)
    if why == "not_an_integer":
        raise TypeError(f"the state under {key!r} is not an integer")
    raise RuntimeError(f"the shared state is not to be had: {why}")


def _whole(amount: int) -> int:
    if not isinstance(amount, int):
        raise TypeError(f"the amount is an int, not {type(amount).__name__}")
    return int(amount)
