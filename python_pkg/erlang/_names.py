"""Names as Erlang sends them: finds what a call means, by the same rules as the worker's own calls."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ._erlang import Atom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

__all__ = ["keywords", "name_of", "resolve"]


def resolve(module: object, function: object) -> Any:
    """The object of a module at a dotted path. Raises ImportError, AttributeError, and ValueError for what is no name.

    ``module`` is a name, or the module itself: the namespace that the call is for (:mod:`erlang._namespaces`).
    """
    path = name_of(function, "the function").split(".")
    if "" in path:
        raise ValueError(f"the name {'.'.join(path)!r} has an empty part")
    # By its name it is imported also where it is in sys.modules: another thread may be half through with importing it.
    found: Any = module if isinstance(module, ModuleType) else import_module(name_of(module, "the module"))
    for part in path:
        found = getattr(found, part)
    return found


def keywords(given: Mapping[Any, Any]) -> dict[str, Any]:
    return {name_of(key, "a keyword"): value for key, value in given.items()}


def name_of(value: object, what: str) -> str:
    """The str of an atom, a binary or a list of bytes."""
    if isinstance(value, Atom):
        name = str(value)
    elif isinstance(value, list):
        name = bytes(value).decode()
    else:
        name = value.decode() if isinstance(value, bytes) else value  # type: ignore[assignment]
    if not isinstance(name, str) or not name:
        raise ValueError(f"{what} is no atom, binary or string, or it is empty: {value!r}")
    return name
