"""Python values into the external term format, for where there is no worker (docs/types.md says what becomes what). A worker has its own, in
C++."""

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

from ._outside import Atom, BitString, ImproperList, Opaque, TermError, encoders

__all__ = ["encode", "fail"]

_DEPTH = 512
_LONGEST_KEY = 60  # characters of it in a path


def encode(value: object, root: str = "term") -> bytes:
    """With the version byte. Raises TermError."""
    out = bytearray(b"\x83")
    try:
        _put(out, value, root, 0)
    except RecursionError:
        raise fail(root, "deeper than Python can follow") from None
    return bytes(out)


def fail(path: str, why: str) -> TermError:
    error = TermError(f"{path}: {why}")
    error.path = path
    return error


def _put(out: bytearray, value: Any, path: str, depth: int) -> None:
    if depth > _DEPTH:
        raise fail(path, f"deeper than {_DEPTH} levels")
    encoder = next((encoders[c] for c in type(value).__mro__ if c in encoders and c is not object), None)
    if encoder is not None:
        return _put(out, encoder(value), path, depth + 1)
    for kinds, put in _FORMS:
        if isinstance(value, kinds):
            return put(out, value, path, depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _put_dict(out, _fields(value, path), path, depth)
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return _put(out, value.tolist(), path, depth + 1)
    if object in encoders:
        return _put(out, encoders[object](value), path, depth + 1)
    raise fail(path, f"a {type(value).__module__}.{type(value).__qualname__} has no counterpart in Erlang")


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
        raise fail(path, "the text has a lone surrogate") from None


def _put_items(out: bytearray, value: Any, path: str, depth: int) -> None:
    items = list.copy(value) if isinstance(value, list) else list(value)  # what a list holds, not what a subclass iterates over
    if items:
        out += b"l" + struct.pack(">I", len(items))
        for i, item in enumerate(items):
            _put(out, item, f"{path}[{i}]", depth + 1)
    out += b"j"


def _put_tuple(out: bytearray, value: tuple[Any, ...], path: str, depth: int) -> None:
    items = tuple.__getitem__(value, slice(None))
    out += bytes((104, len(items))) if len(items) < 256 else b"i" + struct.pack(">I", len(items))
    for i, item in enumerate(items):
        _put(out, item, f"{path}[{i}]", depth + 1)


def _put_dict(out: bytearray, value: dict[Any, Any], path: str, depth: int) -> None:
    out += b"t" + struct.pack(">I", dict.__len__(value))
    seen: set[bytes] = set()
    for i, (key, item) in enumerate(dict.items(value)):
        encoded = bytearray()
        _put(encoded, key, f"{path}.keys()[{i}]", depth + 1)
        if bytes(encoded) in seen:
            raise fail(f"{path}.keys()[{i}]", "another key is equal to it in Erlang")
        seen.add(bytes(encoded))
        out += encoded
        _put(out, item, path + _key(key), depth + 1)


def _key(key: Any) -> str:
    if type(key) is str and key.isidentifier() and len(key) <= _LONGEST_KEY:
        return f".{key}"
    if type(key) not in (str, bytes, int, float, bool, type(None)):
        return f"[<{_type_name(key)}>]"
    shown = repr(key)
    return f"[{shown[:_LONGEST_KEY]}{'...' if len(shown) > _LONGEST_KEY else ''}]"


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _fields(value: Any, path: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        try:
            fields[field.name] = getattr(value, field.name)
        except AttributeError:
            raise fail(f"{path}.{field.name}", "the dataclass has no value for this field") from None
    return fields


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
