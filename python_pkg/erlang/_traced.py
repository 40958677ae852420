"""What :func:`erlang.trace` puts around functions: one wrapper for each kind. Imports inspect, so it is loaded by the first decorator."""

from __future__ import annotations

import functools
import inspect
from typing import Any, AsyncGenerator, Callable, Generator

from ._tracing import Span, is_enabled

__all__ = ["wrapped"]


def wrapped(function: Any, name: str) -> Any:
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(wrapped(function.__func__, name))
    if not callable(function):
        raise TypeError(f"a function is expected, not {type(function).__name__}")
    if inspect.iscoroutinefunction(function):
        return _coroutine(function, name)
    if inspect.isasyncgenfunction(function):
        return _asynchronous_generator(function, name)
    if inspect.isgeneratorfunction(function):
        return _generator(function, name)
    return _function(function, name)


def _function(function: Callable[..., Any], name: str) -> Any:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not is_enabled():
            return function(*args, **kwargs)
        with Span(name):
            return function(*args, **kwargs)

    return run


def _coroutine(function: Callable[..., Any], name: str) -> Any:
    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        with Span(name):
            return await function(*args, **kwargs)

    return run


class _Active:
    """The span is the current one inside of it. (``contextlib`` would do, at twice the price for each step.)"""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> None:
        if self._span.span_id is not None:
            self._span.activate()

    def __exit__(self, *_: object) -> None:
        if self._span.span_id is not None:
            self._span.deactivate()


def _begun(name: str) -> tuple[Span, _Active]:
    span = Span(name)
    if is_enabled():
        span.begin()
    return span, _Active(span)


def _end(span: Span, error: Any) -> None:
    if span.span_id is not None:
        span.end(error)


def _generator(function: Callable[..., Any], name: str) -> Any:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        span, active = _begun(name)
        error: Any = None
        try:
            return (yield from _steps(function(*args, **kwargs), active))
        except GeneratorExit:
            raise  # not an error: nobody wants more of it
        except BaseException as raised:
            error = raised
            raise
        finally:
            _end(span, error)

    return run


def _steps(inner: Generator[Any, Any, Any], active: _Active) -> Generator[Any, Any, Any]:
    step: Callable[[], Any] = functools.partial(next, inner)
    while True:
        with active:
            try:
                item = step()
            except StopIteration as stop:
                return stop.value
        try:
            step = functools.partial(inner.send, (yield item))
        except GeneratorExit:
            with active:
                inner.close()
            raise
        except BaseException as thrown:
            step = functools.partial(inner.throw, thrown)


def _asynchronous_generator(function: Callable[..., Any], name: str) -> Any:
    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        span, active = _begun(name)
        error: Any = None
        inner = function(*args, **kwargs)
        step: Callable[[], Any] = inner.__anext__
        try:
            while True:
                with active:
                    try:
                        item = await step()
                    except StopAsyncIteration:
                        return
                try:
                    step = functools.partial(inner.asend, (yield item))
                except GeneratorExit:
                    with active:
                        await inner.aclose()
                    raise
                except BaseException as thrown:
                    step = functools.partial(inner.athrow, thrown)
        except GeneratorExit:
            raise
        except BaseException as raised:
            error = raised
            raise
        finally:
            _end(span, error)

    return run
