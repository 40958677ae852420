"""The built-in module ``_erlang`` in Python, for where there is no worker: its terms in full, and the functions that need Erlang as one sentence
of help. ``erlang.testing`` puts a stand-in for Erlang in the place of those.
"""

from __future__ import annotations

from functools import total_ordering

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, NoReturn

__all__ = ["Atom", "BitString", "ErlangError", "Export", "Fun", "ImproperList", "Pid", "Port", "Ref", "TermError",
           "binary_to_term", "call_op", "cancel_op", "context_loop", "context_mailbox", "current", "encode_items", "install_sandbox", "is_sandboxed",
           "new_mailbox", "register_encoder", "reset_trace", "set_trace", "start_op", "term_to_binary", "unregister_encoder"]  # fmt: skip

HELP = (
    "this Python is no py_port worker, so there is no Erlang: start one with py_port:start_context/1, or run py_worker --python; "
    "for unit tests see erlang.testing"
)


class ErlangError(Exception):
    pass


class TermError(ErlangError, ValueError):
    path = "term"


@total_ordering
class Atom:
    __slots__ = ("_text",)
    _text: str

    def __new__(cls, name: str) -> Atom:
        if not isinstance(name, str):
            raise TypeError(f"Atom() argument 1 must be str, not {type(name).__name__}")
        if len(name) > 255:
            raise ValueError("an atom has at most 255 characters")
        name.encode()  # raises for lone surrogates
        self = super().__new__(cls)
        object.__setattr__(self, "_text", str.__str__(name))
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("an Atom cannot be changed")

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"erlang.Atom({self._text!r})"

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Atom) else NotImplemented

    def __lt__(self, other: Atom) -> bool:
        return self._text < other._text if isinstance(other, Atom) else NotImplemented

    def __reduce__(self) -> Any:
        return Atom, (self._text,)


class Opaque:
    """A term that only Erlang makes: its bytes in the external format, with the tag and without the version."""

    __slots__ = ("_bytes",)
    _bytes: bytes

    def __new__(cls, *_: object, **__: object) -> NoReturn:
        raise TypeError(f"cannot create 'erlang.{cls.__name__}' instances")

    @classmethod
    def _of(cls, encoded: bytes) -> Any:
        self = object.__new__(cls)
        object.__setattr__(self, "_bytes", encoded)
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an {type(self).__name__} cannot be changed")

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and type(other) is type(self) and self._bytes == other._bytes

    def __reduce__(self) -> Any:
        return binary_to_term, (b"\x83" + self._bytes,)

    def __repr__(self) -> str:
        return f"<erlang.{type(self).__name__}>"


class _Identifier(Opaque):
    __slots__ = ()

    @property
    def node(self) -> str:
        from ._etf import identity

        return identity(self._bytes)[1]

    def __repr__(self) -> str:
        from ._etf import identity

        number, node = identity(self._bytes)
        return f"<erlang.{type(self).__name__} {number}{'' if node in ('', 'nonode@nohost') else ' ' + node}>"


class Pid(_Identifier):
    __slots__ = ()


class Port(_Identifier):
    __slots__ = ()


class Ref(_Identifier):
    __slots__ = ()


class Fun(Opaque):
    __slots__ = ()


class Export(Opaque):
    __slots__ = ()


class BitString:
    __slots__ = ("data", "last_bits")

    def __init__(self, data: bytes, last_bits: int) -> None:
        if not data or not 1 <= last_bits <= 7:
            raise ValueError("a BitString has at least one byte, and 1 to 7 bits of the last one; whole bytes are bytes")
        self.data = data[:-1] + bytes([data[-1] & (0xFF00 >> last_bits) & 0xFF])
        self.last_bits = last_bits

    @property
    def bit_length(self) -> int:
        return (len(self.data) - 1) * 8 + self.last_bits

    def __eq__(self, other: object) -> bool:
        return (self.data, self.last_bits) == (other.data, other.last_bits) if isinstance(other, BitString) else NotImplemented

    def __hash__(self) -> int:
        return hash((BitString, self.data, self.last_bits))

    def __repr__(self) -> str:
        return f"erlang.BitString({self.data!r}, {self.last_bits})"


class ImproperList:
    __slots__ = ("items", "tail")

    def __init__(self, items: Iterable[object], tail: object) -> None:
        self.items = tuple(items)
        self.tail = tail

    def __eq__(self, other: object) -> bool:
        return (self.items, self.tail) == (other.items, other.tail) if isinstance(other, ImproperList) else NotImplemented

    def __hash__(self) -> int:
        return hash((ImproperList, self.items, self.tail))

    def __repr__(self) -> str:
        return f"erlang.ImproperList({list(self.items)!r}, {self.tail!r})"


encoders: dict[type, Any] = {}
_FIXED = (int, float, bool, str, bytes, list, tuple, dict, type(None))


def register_encoder(cls: type, function: Any, /) -> None:
    if not isinstance(cls, type):
        raise TypeError(f"a class is expected, not {type(cls).__name__}")
    if not callable(function):
        raise TypeError("the encoder is not callable")
    if cls in _FIXED:
        raise TypeError(f"the form of {cls.__name__} is fixed")
    encoders[cls] = function


def unregister_encoder(cls: type, /) -> bool:
    return encoders.pop(cls, None) is not None


def term_to_binary(value: object, /) -> bytes:
    from ._etf import encode

    return encode(value)


def binary_to_term(data: Any, /) -> Any:
    from ._etf import decode

    return decode(bytes(data))


def call_op(*_: object) -> Any:
    raise RuntimeError(HELP)


encode_items = start_op = new_mailbox = context_mailbox = context_loop = set_trace = reset_trace = call_op


def cancel_op(_: object) -> bool:
    return False


def current() -> None:
    return None


def install_sandbox() -> Any:
    raise RuntimeError(HELP)


def is_sandboxed() -> bool:
    return False
