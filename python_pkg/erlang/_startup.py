"""What every context of a pool begins with: folders to import from, modules that are there already, code that has run.

The Erlang module ``py_environment`` keeps the list, and calls :func:`begin` as the context's ``init``; what is added to the list later is
brought to running contexts with the other functions.
"""

from __future__ import annotations

import sys
from importlib import import_module

from . import _names, _namespaces
from ._erlang import binary_to_term

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional, Sequence, Union

__all__ = ["begin", "begin_encoded", "load", "preload", "preload_encoded", "set_paths"]

_paths: list[str] = []  # those on sys.path that came from the list
_version = -1  # of the list


def begin_encoded(term: str) -> None:
    """:func:`begin` with the arguments as one encoded term in hexadecimal digits, which are the same in every language."""
    begin(*binary_to_term(bytes.fromhex(term)))


def preload_encoded(term: str) -> None:
    preload(binary_to_term(bytes.fromhex(term)))


def begin(
    paths: Sequence[Union[str, bytes]], version: int, imports: Sequence[tuple[str, Optional[str]]], codes: Sequence[Union[str, bytes]]
) -> None:
    set_paths(paths, version)
    for module, function in imports:
        load(module, function)
    for code in codes:
        preload(code)


def set_paths(paths: Sequence[Union[str, bytes]], version: int) -> None:
    """These folders come first on ``sys.path``, in this order, in place of those that a call before put there. A folder that the context
    had anyway stays where it is. An older list than the one that is here is too late."""
    global _version
    if version <= _version:
        return
    _version = version
    for path in _paths:
        if path in sys.path:
            sys.path.remove(path)
    wanted = [path if isinstance(path, str) else path.decode(errors="surrogateescape") for path in paths]
    _paths[:] = [path for path in wanted if path not in sys.path]
    sys.path[:0] = _paths


def load(module: Any, function: Any = None) -> None:
    """Imports the module, and makes sure that it has the function."""
    if function is None:
        import_module(_names.name_of(module, "the module"))
    else:
        _names.resolve(module, function)


def preload(code: Union[str, bytes]) -> None:
    """Runs the code in the context's ``__main__``. What it binds there is in every namespace that is made from now on, too."""
    main = vars(sys.modules["__main__"])
    before = dict(main)
    try:
        exec(compile(code, "<preload>", "exec"), main)
    finally:
        missing = object()
        _namespaces.template.update({name: value for name, value in main.items() if before.get(name, missing) is not value})
        _namespaces.template.pop("__builtins__", None)
