"""Figures of this interpreter, for the Erlang module ``py_stats``."""

from __future__ import annotations

import gc
import sys
from importlib import reload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from types import ModuleType

__all__ = ["collect", "memory", "reload_module", "start_tracing", "stop_tracing"]


def memory() -> tuple[list[dict[str, int]], tuple[int, int, int], tuple[int, int, int], Optional[tuple[int, int]]]:
    """The collector's figures for each generation, its counts and thresholds, and while allocations are traced their current and peak bytes."""
    tracemalloc = _tracemalloc()
    traced = tracemalloc.get_traced_memory() if tracemalloc is not None and tracemalloc.is_tracing() else None
    return gc.get_stats(), gc.get_count(), gc.get_threshold(), traced


def collect(generation: int = 2) -> int:
    """How many unreachable objects were found."""
    return gc.collect(generation)


def start_tracing(frames: int = 1) -> None:
    import tracemalloc

    tracemalloc.start(frames)


def stop_tracing() -> None:
    tracemalloc = _tracemalloc()
    if tracemalloc is not None:
        tracemalloc.stop()


def _tracemalloc() -> Optional[ModuleType]:
    return sys.modules.get("tracemalloc")  # not loaded: nobody traces


def reload_module(name: str) -> bool:
    """Loads the module's source anew; False if it is not loaded here."""
    module = sys.modules.get(name)
    if module is None:
        return False
    reload(module)
    return True
