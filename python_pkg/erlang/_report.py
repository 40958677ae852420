"""Where failures go that have no caller: to stderr, at once, which in a worker is the context's io device or log."""

from __future__ import annotations

import sys

__all__ = ["report"]


def report(what: str, error: BaseException) -> None:
    """Prints ``what`` and the traceback, in one write so that other output does not come between the lines. Any thread."""
    import traceback

    lines = [f"{what}:\n", *traceback.format_exception(type(error), error, error.__traceback__)]
    if sys.stderr is not None:
        sys.stderr.write("".join(lines))
        sys.stderr.flush()
