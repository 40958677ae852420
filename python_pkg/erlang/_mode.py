"""How Python code in this process shares the interpreter: ``erlang.detect_mode()``."""

from __future__ import annotations

import sys
from enum import Enum

__all__ = ["ExecutionMode", "detect_mode"]


class ExecutionMode(Enum):
    """What :func:`detect_mode` tells."""

    FREE_THREADED = "free_threaded"
    SUBINTERP = "subinterp"
    SHARED_GIL = "shared_gil"


def detect_mode() -> ExecutionMode:
    """``FREE_THREADED`` where no GIL is held, else ``SHARED_GIL``.

    Never ``SUBINTERP``, which is here for code that asks: a context is a process of its own with one interpreter, and a subinterpreter with
    its own GIL cannot import this package.
    """
    has_gil = getattr(sys, "_is_gil_enabled", None)  # since 3.13; before that there is always one
    return ExecutionMode.SHARED_GIL if has_gil is None or has_gil() else ExecutionMode.FREE_THREADED
