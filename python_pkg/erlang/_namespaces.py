"""Namespaces beside the context's ``__main__``: what ``py_port:new_env/1`` makes.

A namespace is a module that is in no table of modules: Erlang holds the only reference to it. Code that is run in it, and functions that
it defines, have its dict as their globals, and keep that alive as long as they are. To such code its own ``__name__`` is ``__main__``, but
``import __main__``, and so ``pickle``, find the context's.
"""

from __future__ import annotations

import builtins
from types import ModuleType

__all__ = ["new", "template"]

template: dict[str, object] = {}  # what every new namespace begins with: see _startup.preload


def new() -> ModuleType:
    namespace = ModuleType("__main__")
    vars(namespace).update(template, __builtins__=builtins)
    return namespace
