"""The external term format in Python, for where there is no worker: what Erlang's terms are here. A worker has its own, in C++."""

from __future__ import annotations

import math
import struct
from typing import Any, Callable

from ._etf_encode import encode, fail
from ._outside import BitString, Export, Fun, ImproperList, Pid, Port, Ref

__all__ = ["decode", "encode", "identity"]


def decode(data: bytes) -> Any:
    """With the defaults of a context: atoms and binaries that are UTF-8 are str. Raises TermError."""
    try:
        if data[:1] != b"\x83":
            raise fail("term", "no external term: its first byte is not 131")
        value, end = _get(data, 1)
    except (IndexError, struct.error, UnicodeDecodeError, RecursionError) as error:
        raise fail("term", f"malformed: {error}") from None
    if end != len(data):
        raise fail("term", "bytes follow the term")
    return value


_WORDS = {"true": True, "false": False, "none": None, "nil": None, "undefined": None}
_OPAQUE: dict[int, Any] = {88: Pid, 103: Pid, 89: Port, 102: Port, 120: Port, 90: Ref, 114: Ref, 113: Export, 112: Fun}


def _get(data: bytes, at: int) -> tuple[Any, int]:
    tag = data[at]
    if tag in _OPAQUE:
        end = _end(data, at)
        if end > len(data):
            raise fail("term", "malformed: it ends too early")
        return _OPAQUE[tag]._of(data[at:end]), end
    get = _READERS.get(tag)
    if get is None:
        raise fail("term", f"unknown tag {tag}")
    return get(data, at + 1)


def _atom_at(data: bytes, at: int) -> tuple[str, int]:
    tag = data[at]
    wide = tag in (118, 100)
    if tag not in (118, 119, 100, 115):
        raise fail("term", "an atom is expected")
    size = struct.unpack_from(">H", data, at + 1)[0] if wide else data[at + 1]
    start = at + (3 if wide else 2)
    return _piece(data, start, size).decode("utf-8" if tag in (118, 119) else "latin-1"), start + size


def _piece(data: bytes, start: int, size: int) -> bytes:
    if start + size > len(data):
        raise fail("term", "malformed: it ends too early")
    return data[start : start + size]


def _atom_value(data: bytes, at: int) -> tuple[Any, int]:
    name, end = _atom_at(data, at - 1)
    return _WORDS.get(name, name), end


def _binary(data: bytes, at: int) -> tuple[Any, int]:
    size = struct.unpack_from(">I", data, at)[0]
    return _text_or_bytes(_piece(data, at + 4, size)), at + 4 + size


def _text_or_bytes(piece: bytes) -> Any:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return piece


def _sequence(data: bytes, at: int, count: int) -> tuple[list[Any], int]:
    items = []
    for _ in range(count):
        item, at = _get(data, at)
        items.append(item)
    return items, at


def _list(data: bytes, at: int) -> tuple[Any, int]:
    items, at = _sequence(data, at + 4, struct.unpack_from(">I", data, at)[0])
    if data[at] == 106:
        return items, at + 1
    tail, at = _get(data, at)
    return ImproperList(items, tail), at


def _tuple(data: bytes, at: int, count: int) -> tuple[Any, int]:
    if count == 2 and data[at : at + 7] == b"w\x05bytes" and data[at + 7] == 109:
        size = struct.unpack_from(">I", data, at + 8)[0]
        return _piece(data, at + 12, size), at + 12 + size
    items, at = _sequence(data, at, count)
    return tuple(items), at


def _map(data: bytes, at: int) -> tuple[Any, int]:
    count = struct.unpack_from(">I", data, at)[0]
    items, end = _sequence(data, at + 4, 2 * count)
    try:
        found = dict(zip(items[::2], items[1::2]))
    except TypeError as error:
        raise fail("term.keys()", str(error)) from None
    if len(found) != count:
        raise fail("term.keys()", "two keys are equal in Python")
    return found, end


def _big(data: bytes, at: int, size: int) -> tuple[int, int]:
    number = int.from_bytes(_piece(data, at + 1, size), "little")
    return -number if data[at] else number, at + 1 + size


def _bits(data: bytes, at: int) -> tuple[Any, int]:
    size, last = struct.unpack_from(">IB", data, at)
    piece, end = _piece(data, at + 5, size), at + 5 + size
    if not 1 <= last <= 8 or not size:
        raise fail("term", "malformed: a bit string without bits")
    return (_text_or_bytes(piece) if last == 8 else BitString(piece, last)), end


def _real(data: bytes, at: int) -> tuple[float, int]:
    value = struct.unpack_from(">d", data, at)[0]
    if not math.isfinite(value):
        raise fail("term", "malformed: a float that Erlang has not")
    return value, at + 8


def _string(data: bytes, at: int) -> tuple[Any, int]:
    size = struct.unpack_from(">H", data, at)[0]
    return list(_piece(data, at + 2, size)), at + 2 + size


_READERS: dict[int, Callable[[bytes, int], tuple[Any, int]]] = {
    70: _real,
    77: _bits,
    97: lambda data, at: (data[at], at + 1),
    98: lambda data, at: (struct.unpack_from(">i", data, at)[0], at + 4),
    100: _atom_value,
    104: lambda data, at: _tuple(data, at + 1, data[at]),
    105: lambda data, at: _tuple(data, at + 4, struct.unpack_from(">I", data, at)[0]),
    106: lambda data, at: ([], at),
    107: _string,
    108: _list,
    109: _binary,
    110: lambda data, at: _big(data, at + 1, data[at]),
    111: lambda data, at: _big(data, at + 4, struct.unpack_from(">I", data, at)[0]),
    115: _atom_value,
    116: _map,
    118: _atom_value,
    119: _atom_value,
}

# Opaque terms --------------------------------------------------------------------------------------------------------------------


def _end(data: bytes, at: int) -> int:
    """Where the opaque term that begins here ends."""
    tag = data[at]
    if tag == 112:
        return int(at + 1 + struct.unpack_from(">I", data, at + 1)[0])
    if tag == 113:
        _, end = _atom_at(data, _atom_at(data, at + 1)[1])
        if data[end] != 97:
            raise fail("term", "malformed: an arity is a small number")
        return end + 2
    if tag in (90, 114):
        words = struct.unpack_from(">H", data, at + 1)[0]
        return _atom_at(data, at + 3)[1] + (4 if tag == 90 else 1) + 4 * int(words)
    _, end = _atom_at(data, at + 1)
    return end + {88: 12, 103: 9, 89: 8, 102: 5, 120: 12}[tag]


def identity(encoded: bytes) -> tuple[str, str]:
    """The number that Erlang prints, and the node."""
    tag = encoded[0]
    if tag in (90, 114):
        count = struct.unpack_from(">H", encoded, 1)[0]
        node, end = _atom_at(encoded, 3)
        words = struct.unpack_from(f">{count}I", encoded, end + (4 if tag == 90 else 1))
        return "0." + ".".join(str(word) for word in reversed(words)), node
    node, end = _atom_at(encoded, 1)
    if tag in (88, 103):
        return "0.{}.{}".format(*struct.unpack_from(">II", encoded, end)), node
    return f"0.{struct.unpack_from('>Q' if tag == 120 else '>I', encoded, end)[0]}", node
