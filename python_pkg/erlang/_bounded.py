"""Values of any kind made small and certain to have a counterpart in Erlang: what goes along with log records and spans.

Nothing here raises for a value, however odd: a ``repr`` that fails is said so in its place.
"""

from __future__ import annotations

from ._erlang import Atom, Pid, Ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

__all__ = ["clean", "plain", "plain_map", "shortened"]

_TEXT = 1000  # characters of a text or a repr
_ITEMS = 50  # of one container
_DEPTH = 4
_SMALL = (bool, float, type(None), Atom, Pid, Ref)
_LARGEST = 1 << 64


def plain(value: object, depth: int = _DEPTH) -> Any:
    """The value itself if it is plain and small, else a shortened one, else its ``repr``."""
    kind = type(value)
    if kind in _SMALL:
        return value
    if kind is int:
        return value if -_LARGEST < value < _LARGEST else shortened(_repr(value), _TEXT)  # type: ignore[operator]
    if kind is str:
        return shortened(value, _TEXT)  # type: ignore[arg-type]
    if depth > 0:
        if kind is dict:
            return plain_map(value, depth - 1)  # type: ignore[arg-type]
        if kind is list or kind is tuple:
            return [plain(item, depth - 1) for item in value[:_ITEMS]]  # type: ignore[index]
    return shortened(_repr(value), _TEXT)


def plain_map(values: Mapping[Any, Any], depth: int = _DEPTH) -> dict[str, Any]:
    """The same for a dict; its keys become str."""
    found: dict[str, Any] = {}
    for key, value in list(values.items())[:_ITEMS]:
        found[shortened(key if type(key) is str else _repr(key), 100)] = plain(value, depth)
    return found


def shortened(text: str, limit: int) -> str:
    """A text of about ``limit`` characters at most, without its middle, and always one that can be encoded."""
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]} ... ({len(text) - 2 * half} characters left out) ... {text[-half:]}"
    return clean(text)


def clean(text: str) -> str:
    """Without lone surrogates, which UTF-8 has no form for."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _repr(value: object) -> str:
    try:
        if isinstance(value, int) and value.bit_length() > 10_000:
            return f"<an int of {value.bit_length()} bits>"
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
