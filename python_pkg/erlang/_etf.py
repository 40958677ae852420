"""The external term format in Python, for where there is no worker (docs/types.md says what becomes what). A worker has its own, in C++."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import struct
import sys
from collections import deque
from collections.abc import ItemsView, KeysView, ValuesView
from typing import Any, Callable

from ._outside import Atom, BitString, Export, Fun, ImproperList, Opaque, Pid, Port, Ref, TermError, encoders

__all__ = ["decode", "encode", "identity"]

_DEPTH = 512


def encode(value: object, root: str = "term") -> bytes:
    """With the version byte. Raises TermError."""
    out = bytearray(b"\x83")
    _put(out, value, root, 0)
    return bytes(out)


def _fail(path: str, why: str) -> TermError:
    error = TermError(f"{path}: {why}")
    error.path = path
    return error


def _put(out: bytearray, value: Any, path: str, depth: int) -> None:
    if depth > _DEPTH:
        raise _fail(path, f"deeper than {_DEPTH} levels")
    encoder = next((encoders[c] for c in type(value).__mro__ if c in encoders and c is not object), None)
    if encoder is not None:
        return _put(out, encoder(value), path, depth + 1)
    for kinds, put in _FORMS:
        if isinstance(value, kinds):
            return put(out, value, path, depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _put(out, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, path, depth)
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return _put(out, value.tolist(), path, depth + 1)
    if object in encoders:
        return _put(out, encoders[object](value), path, depth + 1)
    raise _fail(path, f"a {type(value).__module__}.{type(value).__qualname__} has no counterpart in Erlang")


def _atom(out: bytearray, name: str) -> None:
    data = name.encode()
    out += b"w" + bytes([len(data)]) + data if len(data) < 256 else b"v" + struct.pack(">H", len(data)) + data


def _put_int(out: bytearray, value: int, *_: Any) -> None:
    value = int(value)
    if 0 <= value < 256:
        out += bytes((97, value))
    elif -(1 << 31) <= value < 1 << 31:
        out += b"b" + struct.pack(">i", value)
    else:
        digits = abs(value).to_bytes((abs(value).bit_length() + 7) // 8, "little")
        out += (bytes((110, len(digits))) if len(digits) < 256 else b"o" + struct.pack(">I", len(digits))) + bytes([value < 0]) + digits


def _put_float(out: bytearray, value: float, *_: Any) -> None:
    if math.isfinite(value):
        out += b"F" + struct.pack(">d", value)
    else:
        _atom(out, "nan" if math.isnan(value) else "infinity" if value > 0 else "neg_infinity")


def _put_bytes(out: bytearray, value: Any, *_: Any) -> None:
    data = bytes(value)
    out += b"m" + struct.pack(">I", len(data)) + data


def _put_str(out: bytearray, value: str, path: str, _: int) -> None:
    try:
        _put_bytes(out, value.encode())
    except UnicodeEncodeError:
        raise _fail(path, "the text has a lone surrogate") from None


def _put_items(out: bytearray, value: Any, path: str, depth: int) -> None:
    items = list(value)
    if items:
        out += b"l" + struct.pack(">I", len(items))
        for i, item in enumerate(items):
            _put(out, item, f"{path}[{i}]", depth + 1)
    out += b"j"


def _put_tuple(out: bytearray, value: tuple[Any, ...], path: str, depth: int) -> None:
    out += bytes((104, len(value))) if len(value) < 256 else b"i" + struct.pack(">I", len(value))
    for i, item in enumerate(value):
        _put(out, item, f"{path}[{i}]", depth + 1)


def _put_dict(out: bytearray, value: dict[Any, Any], path: str, depth: int) -> None:
    out += b"t" + struct.pack(">I", len(value))
    seen: set[bytes] = set()
    for i, (key, item) in enumerate(value.items()):
        encoded = bytearray()
        _put(encoded, key, f"{path}.keys()[{i}]", depth + 1)
        if bytes(encoded) in seen:
            raise _fail(f"{path}.keys()[{i}]", "another key is equal to it in Erlang")
        seen.add(bytes(encoded))
        out += encoded
        _put(out, item, f"{path}[{key!r}]", depth + 1)


def _put_improper(out: bytearray, value: ImproperList, path: str, depth: int) -> None:
    out += b"l" + struct.pack(">I", len(value.items))
    for i, item in enumerate(value.items):
        _put(out, item, f"{path}[{i}]", depth + 1)
    _put(out, value.tail, f"{path}.tail", depth + 1)


def _put_bits(out: bytearray, value: BitString, *_: Any) -> None:
    out += b"M" + struct.pack(">IB", len(value.data), value.last_bits) + value.data


def _text(convert: Callable[[Any], Any]) -> Callable[..., None]:
    return lambda out, value, path, depth: _put(out, convert(value), path, depth + 1)


def _named(module: str, name: str) -> Any:
    """A class of a module that somebody else has imported; nothing is an instance of what is not there."""
    return getattr(sys.modules.get(module), name, ())


class _Later(type):
    def __instancecheck__(cls, value: object) -> bool:
        kinds = [_named("decimal", "Decimal"), _named("uuid", "UUID"), _named("pathlib", "PurePath")]
        return isinstance(value, tuple(kind for kind in kinds if kind))


class _ByText(metaclass=_Later):
    """Whatever is sent as its text."""


class _LaterArray(type):
    def __instancecheck__(cls, value: object) -> bool:
        kind = _named("array", "array")
        return bool(kind) and isinstance(value, kind)


class _Array(metaclass=_LaterArray):
    pass


_FORMS: list[tuple[Any, Callable[..., None]]] = [
    (type(None), lambda out, *_: _atom(out, "none")),
    (bool, lambda out, value, *_: _atom(out, "true" if value else "false")),
    (enum.Enum, _text(lambda value: value.value)),
    (int, _put_int),
    (float, _put_float),
    (str, _put_str),
    ((bytes, bytearray, memoryview), _put_bytes),
    (list, _put_items),
    (tuple, _put_tuple),
    (dict, _put_dict),
    ((set, frozenset, range, deque, KeysView, ValuesView, ItemsView, _Array), _put_items),
    (Atom, lambda out, value, *_: _atom(out, str(value))),
    (Opaque, lambda out, value, *_: out.extend(value._bytes)),
    (BitString, _put_bits),
    (ImproperList, _put_improper),
    ((datetime.date, datetime.time), _text(lambda value: value.isoformat())),
    (datetime.timedelta, _text(lambda value: value.total_seconds())),
    (_ByText, _text(str)),
]

# Decoding ------------------------------------------------------------------------------------------------------------------------


def decode(data: bytes) -> Any:
    """With the defaults of a context: atoms and binaries that are UTF-8 are str. Raises TermError."""
    try:
        if data[:1] != b"\x83":
            raise _fail("term", "no external term: its first byte is not 131")
        value, end = _get(data, 1)
    except (IndexError, struct.error, UnicodeDecodeError, RecursionError) as error:
        raise _fail("term", f"malformed: {error}") from None
    if end != len(data):
        raise _fail("term", "bytes follow the term")
    return value


_WORDS = {"true": True, "false": False, "none": None, "nil": None, "undefined": None}
_OPAQUE: dict[int, Any] = {88: Pid, 103: Pid, 89: Port, 102: Port, 120: Port, 90: Ref, 114: Ref, 113: Export, 112: Fun}


def _get(data: bytes, at: int) -> tuple[Any, int]:
    tag = data[at]
    if tag in _OPAQUE:
        end = _end(data, at)
        if end > len(data):
            raise _fail("term", "malformed: it ends too early")
        return _OPAQUE[tag]._of(data[at:end]), end
    get = _READERS.get(tag)
    if get is None:
        raise _fail("term", f"unknown tag {tag}")
    return get(data, at + 1)


def _atom_at(data: bytes, at: int) -> tuple[str, int]:
    tag = data[at]
    wide = tag in (118, 100)
    if tag not in (118, 119, 100, 115):
        raise _fail("term", "an atom is expected")
    size = struct.unpack_from(">H", data, at + 1)[0] if wide else data[at + 1]
    start = at + (3 if wide else 2)
    return _piece(data, start, size).decode("utf-8" if tag in (118, 119) else "latin-1"), start + size


def _piece(data: bytes, start: int, size: int) -> bytes:
    if start + size > len(data):
        raise _fail("term", "malformed: it ends too early")
    return data[start : start + size]


def _atom_value(data: bytes, at: int) -> tuple[Any, int]:
    name, end = _atom_at(data, at - 1)
    return _WORDS.get(name, name), end


def _binary(data: bytes, at: int) -> tuple[Any, int]:
    size = struct.unpack_from(">I", data, at)[0]
    piece = _piece(data, at + 4, size)
    try:
        return piece.decode(), at + 4 + size
    except UnicodeDecodeError:
        return piece, at + 4 + size


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
        raise _fail("term.keys()", str(error)) from None
    if len(found) != count:
        raise _fail("term.keys()", "two keys are equal in Python")
    return found, end


def _big(data: bytes, at: int, size: int) -> tuple[int, int]:
    number = int.from_bytes(_piece(data, at + 1, size), "little")
    return -number if data[at] else number, at + 1 + size


def _bits(data: bytes, at: int) -> tuple[Any, int]:
    size, last = struct.unpack_from(">IB", data, at)
    return BitString(_piece(data, at + 5, size), last), at + 5 + size


def _string(data: bytes, at: int) -> tuple[Any, int]:
    size = struct.unpack_from(">H", data, at)[0]
    return list(_piece(data, at + 2, size)), at + 2 + size


_READERS: dict[int, Callable[[bytes, int], tuple[Any, int]]] = {
    70: lambda data, at: (struct.unpack_from(">d", data, at)[0], at + 8),
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
