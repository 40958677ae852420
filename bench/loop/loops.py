"""The event loops that are compared, by name: how to make one, and which version it is.

Raises LoopMissing, with a sentence for the reader, when this interpreter does not have the loop.
"""

from __future__ import annotations

import asyncio
import platform
from importlib import metadata
from typing import Callable

NewLoop = Callable[[], asyncio.AbstractEventLoop]


class LoopMissing(Exception):
    """This interpreter cannot make that loop; the text says why."""


def factory(name: str) -> NewLoop:
    """A function that makes a new loop of that name."""
    if name == "asyncio":
        return asyncio.SelectorEventLoop
    if name == "uvloop":
        try:
            import uvloop
        except ImportError as error:
            raise LoopMissing(f"{error} (--site DIR names a folder that has it)") from None
        new: NewLoop = uvloop.new_event_loop
        return new
    if name == "erlang":
        try:
            import erlang
        except ImportError as error:
            raise LoopMissing(f"{error} (it exists inside a worker: --worker PATH)") from None
        if not hasattr(erlang, "new_event_loop"):
            raise LoopMissing("this worker has no erlang.new_event_loop")
        new = erlang.new_event_loop
        return new
    raise LoopMissing(f"there is no loop of the name {name!r}")


def version(name: str) -> str:
    """The version of what provides the loop, for the record; makes one loop, so that a broken one shows here."""
    factory(name)().close()
    if name == "uvloop":
        return metadata.version("uvloop")
    return platform.python_version() if name == "asyncio" else "as built"
