"""The ways to our event loop beside making one: ``erlang.run``, and the policy for code that asks asyncio for its loops."""

from __future__ import annotations

import asyncio
import sys
import warnings
from typing import Any, Coroutine, Optional, TypeVar

from ._event_loop import ErlangEventLoop, new_event_loop

__all__ = ["ErlangEventLoopPolicy", "EventLoopPolicy", "get_event_loop_policy", "install", "run"]

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, debug: Optional[bool] = None) -> T:
    """Run a coroutine to its end on a loop of its own, an :class:`erlang.ErlangEventLoop`, and return its result: ``asyncio.run`` on our loop.

    What is left when ``main`` has ended is cancelled and awaited, then asynchronous generators and the default executor are shut down and the
    loop is closed. On the main thread, Ctrl-C cancels ``main`` (from Python 3.11) or is raised out of the loop (before).

    In a synchronous call, in any thread, or where a callback of Erlang's calls back into Python; ``RuntimeError`` inside a coroutine. The
    loop that ``asyncio.get_event_loop`` gives elsewhere in this thread, in a context that of the context, is the same before and after.
    """
    if sys.version_info >= (3, 12):
        return asyncio.run(main, debug=debug, loop_factory=new_event_loop)
    # What asyncio.run of those versions has no factory for. The words are asyncio's.
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    if sys.version_info >= (3, 11):
        with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
            return runner.run(main)
    if not asyncio.iscoroutine(main):
        raise ValueError(f"a coroutine was expected, got {main!r}")
    loop = new_event_loop()
    try:
        if debug is not None:
            loop.set_debug(debug)
        return loop.run_until_complete(main)
    finally:
        _wind_up(loop)


def _wind_up(loop: ErlangEventLoop) -> None:
    try:
        _cancel_what_is_left(loop)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def _cancel_what_is_left(loop: ErlangEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    for task in left:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            loop.call_exception_handler({"message": "unhandled exception during asyncio.run() shutdown", "exception": error, "task": task})


class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
    """asyncio's policy, whose new loops are ours: ``asyncio.set_event_loop_policy(erlang.EventLoopPolicy())``.

    ``asyncio.run`` and ``asyncio.new_event_loop`` then use our loop; the loop of a context is none of the policy's business.
    """

    def new_event_loop(self) -> ErlangEventLoop:
        return new_event_loop()


ErlangEventLoopPolicy = EventLoopPolicy


def get_event_loop_policy() -> EventLoopPolicy:
    """A policy for ``asyncio.set_event_loop_policy``. What asyncio uses now is what ``asyncio.get_event_loop_policy`` tells."""
    return EventLoopPolicy()


def install(silent: bool = False) -> None:
    """From now on ``asyncio.run`` and everything else that asks asyncio for a new loop gets ours, in every thread.

    The current loop of this thread stays. Deprecated since Python 3.12 (``DeprecationWarning``), as asyncio gives up policies: what needs our
    loop is better started with :func:`run`. With ``silent`` nothing is said about it.
    """
    if sys.version_info >= (3, 12) and not silent:
        warnings.warn(
            "erlang.install() is deprecated since Python 3.12: use erlang.run(main()), or asyncio.Runner(loop_factory=erlang.new_event_loop)",
            DeprecationWarning,
            stacklevel=2,
        )
    # Asking the old policy for its loop could make one, which then nobody closes.
    current = getattr(getattr(asyncio.get_event_loop_policy(), "_local", None), "_loop", None)
    policy = EventLoopPolicy()
    if current is not None:
        policy.set_event_loop(current)
    asyncio.set_event_loop_policy(policy)
