"""Something else in the place of an answer, for code that was written so: a function that returns a marker is answered with what the marker
stands for.

The marker is run when the answer is made, so the function that returned it has ended by then: one that returns a marker for itself, a hundred
thousand times, needs no more stack than one. Whatever else goes to Erlang, arguments and messages too, is encoded in the same way: a marker in it
is run then. Python code that gets a marker has an ordinary object, which nobody runs.
"""

from __future__ import annotations

from . import _calls, _names, _port
from ._erlang import register_encoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Optional, Sequence

__all__ = ["InlineScheduleMarker", "ScheduleMarker", "consume_time_slice", "schedule", "schedule_inline", "schedule_py"]


class ScheduleMarker:
    """What :func:`schedule` and :func:`schedule_py` return. To be returned."""

    __slots__ = ("_args", "_kwargs", "_target")

    def __init__(self, target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._target = target
        self._args = args
        self._kwargs = kwargs

    def _run(self) -> Any:
        module, function = self._target
        if module is None:
            return _calls.call(function, *self._args)
        return _names.resolve(module, function)(*self._args, **self._kwargs)

    def __repr__(self) -> str:
        module, function = self._target
        return f"<erlang.{type(self).__name__} {function if module is None else f'{module}.{function}'}>"


class InlineScheduleMarker(ScheduleMarker):
    """What :func:`schedule_inline` returns. To be returned."""

    __slots__ = ()


def schedule(name: str, /, *args: object) -> ScheduleMarker:
    """``return erlang.schedule("f", 1)``: the answer is what the Erlang function gives. The same as ``return erlang.call("f", 1)``.

    In a coroutine function it blocks the loop: ``return await erlang.async_call("f", 1)`` is better there.
    """
    _calls.check_name(name)
    return ScheduleMarker((None, name), args, {})


def schedule_py(
    module: str, function: str, args: Optional[Sequence[object]] = None, kwargs: Optional[Mapping[str, object]] = None
) -> ScheduleMarker:
    """``return erlang.schedule_py("m", "f", [1])``: the answer is what ``m.f(1)`` returns, or raises. A coroutine is run to its end."""
    return ScheduleMarker(_target(module, function), list(args or ()), dict(kwargs or {}))


def schedule_inline(
    module: str, function: str, args: Optional[Sequence[object]] = None, kwargs: Optional[Mapping[str, object]] = None
) -> InlineScheduleMarker:
    """:func:`schedule_py`. (There is nothing here that the two could differ in.)"""
    return InlineScheduleMarker(_target(module, function), list(args or ()), dict(kwargs or {}))


def _target(module: object, function: object) -> tuple[str, str]:
    for name in (module, function):
        if not isinstance(name, str):
            raise TypeError(f"module and function are str, not {type(name).__name__}")
    return module, function  # type: ignore[return-value]


def result_of(marker: ScheduleMarker) -> Any:
    result: Any = marker
    while isinstance(result, ScheduleMarker):
        result = result._run()
    if hasattr(result, "send") and hasattr(result, "__await__"):
        return _awaited(result)
    return result


def _awaited(coroutine: Any) -> Any:
    if _port.running_loop() is not None:
        coroutine.close()
        raise RuntimeError("a coroutine function cannot be scheduled by a coroutine: await it")
    from ._loops import run

    return run(coroutine)


register_encoder(ScheduleMarker, result_of)


def consume_time_slice(percent: int) -> bool:
    """Always False: a context has the time slices of its operating-system process. ``percent`` is 1 to 100."""
    if isinstance(percent, bool) or not isinstance(percent, int):
        raise TypeError(f"a percentage is an int, not {type(percent).__name__}")
    if not 1 <= percent <= 100:
        raise ValueError(f"a percentage is from 1 to 100, not {percent}")
    return False
