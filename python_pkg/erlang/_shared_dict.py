"""Dictionaries that live in Erlang and are shared with it: ``py_shared_dict``."""

from __future__ import annotations

from collections.abc import MutableMapping

from . import _port
from ._erlang import Atom, Pid, register_encoder
from .errors import ForbiddenError, SharedDictDestroyed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, Optional

__all__ = ["SharedDict"]

TAG = "$py_shared_dict"
_NOTHING: Any = object()


class SharedDict(MutableMapping):  # type: ignore[type-arg]
    """A mapping whose contents are in Erlang: ``SharedDict(handle)``, with the handle that Erlang passed, or another SharedDict.

    Each operation is one short round trip and happens at once for everybody: also :meth:`pop`, :meth:`popitem`, :meth:`setdefault` and :meth:`update`.
    Keys and values are terms, and what is read is a copy: to change a value, set it anew. A stored None is a value like any other.
    From any thread; in a coroutine an operation holds the loop for its round trip.

    Raises :class:`~erlang.SharedDictDestroyed` when it was destroyed or its owner in Erlang has ended, :class:`~erlang.ForbiddenError` for
    a handle that this context was not given, :class:`~erlang.TermError` for what has no counterpart, and
    :class:`~erlang.FunctionNotFound` where the context's option ``functions`` leaves ``shared_dict`` out.
    """

    def __init__(self, handle: Any) -> None:
        self.pid: Pid = _pid_of(handle)

    def __getitem__(self, key: object) -> Any:
        value = self._find("find", key)
        if value is _NOTHING:
            raise KeyError(key)
        return value

    def __setitem__(self, key: object, value: object) -> None:
        self._ask("set", key, value)

    def __delitem__(self, key: object) -> None:
        if not self._ask("del", key):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return bool(self._ask("member", key))

    def __len__(self) -> int:
        size: int = self._ask("size")
        return size

    def __iter__(self) -> Iterator[Any]:
        """Over the keys as they are now."""
        return iter(self.keys())

    def get(self, key: object, default: Any = None) -> Any:
        value = self._find("find", key)
        return default if value is _NOTHING else value

    def set(self, key: object, value: object) -> None:
        """``shared[key] = value``."""
        self[key] = value

    def pop(self, key: object, default: Any = _NOTHING) -> Any:
        """Remove the key and return its value, in one step."""
        value = self._find("take", key)
        if value is not _NOTHING:
            return value
        if default is _NOTHING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[Any, Any]:
        """Remove some key and return it with its value. ``KeyError`` only when there is none."""
        while keys := self.keys():
            for key in keys:
                value = self._find("take", key)
                if value is not _NOTHING:
                    return key, value
        raise KeyError("the shared dictionary is empty")

    def setdefault(self, key: object, default: Any = None) -> Any:
        """The value under the key, which is set first if there is none, in one step."""
        return self._find("add", key, default)

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Set many, in one step."""
        self._ask("update", dict(other, **more))

    def keys(self) -> list[Any]:  # type: ignore[override]
        """The keys as they are now, in no order."""
        keys: list[Any] = self._ask("keys")
        return keys

    def items(self) -> list[tuple[Any, Any]]:  # type: ignore[override]
        """Keys and values as they are now, in no order."""
        items: list[tuple[Any, Any]] = self._ask("items")
        return items

    def values(self) -> list[Any]:  # type: ignore[override]
        """The values as they are now, in no order."""
        return [value for _, value in self.items()]

    def clear(self) -> None:
        self._ask("clear")

    def destroy(self) -> None:
        """End it for everybody. Not an error when it has ended."""
        self._ask("destroy")

    def __eq__(self, other: object) -> bool:
        return self.pid == other.pid if isinstance(other, SharedDict) else NotImplemented

    def __hash__(self) -> int:
        return hash((SharedDict, self.pid))

    def __repr__(self) -> str:
        return f"<erlang.SharedDict {self.pid!r}>"

    def __reduce__(self) -> Any:
        return SharedDict, ((TAG, self.pid),)

    def _find(self, what: str, *args: object) -> Any:
        """The value, or _NOTHING."""
        answer = self._ask(what, *args)
        return _NOTHING if answer is None else answer[1]

    def _ask(self, what: str, *args: object) -> Any:
        _port.waited.count += 1
        ok, value = _port.call_op("call", ("shared_dict", [what, self.pid, *args]), None)
        answer = _port.value_of(ok, value, "shared_dict")
        return self._refused(_port.text(answer[1])) if isinstance(answer, tuple) and _port.text(answer[0]) == "error" else answer

    def _refused(self, why: str) -> Optional[Any]:
        if why == "destroyed":
            raise SharedDictDestroyed("the shared dictionary was destroyed, or its owner has ended")
        if why == "forbidden":
            raise ForbiddenError("this context was not given that shared dictionary")
        return None  # not_found


def _pid_of(handle: Any) -> Pid:
    if isinstance(handle, SharedDict):
        return handle.pid
    if isinstance(handle, tuple) and len(handle) == 2 and _port.text(handle[0]) == TAG and isinstance(handle[1], Pid):
        return handle[1]  # type: ignore[no-any-return]
    raise TypeError(f"this is no shared dictionary: {handle!r}")


def _as_term(shared: SharedDict) -> tuple[Atom, Pid]:
    return Atom(TAG), shared.pid


register_encoder(SharedDict, _as_term)
