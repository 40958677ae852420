"""Calling Erlang functions.

What Python may call was registered in Erlang (``py_port:register_function``) or is named in the options of the context. Arguments and
result are converted like those of calls into Python; ``{error, X}`` as a result is a value like any other, only an exception of the
Erlang function is one here. Each call runs in an Erlang process of its own; several may be under way at once, in no promised order.
"""

from __future__ import annotations

from . import _port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn, Optional

__all__ = ["Function", "async_call", "call", "check_name", "function_named"]

def call(name: str, /, *args: object, timeout: Optional[float] = None) -> Any:
    """Call the Erlang function ``name`` and wait for its result. Any thread; the GIL is free meanwhile.

    ``timeout`` is in seconds; the call has the deadline of the call from Erlang that it is part of in any case. Raises
    :class:`~erlang.FunctionNotFound`, :class:`~erlang.CallError`, ``TimeoutError`` (the Erlang process is killed then),
    :class:`~erlang.TermError` for an argument without counterpart, and ``RuntimeError`` where there is no Erlang.

    In a coroutine use :func:`async_call`: this blocks the loop, and says so in a ``RuntimeWarning``, once for each place in the code.
    """
    check_name(name)
    return _call(name, args, timeout)


def _call(name: str, args: tuple[object, ...], timeout: Optional[float]) -> Any:
    _port.warn_if_blocking("the blocking form of an Erlang call", "'await erlang.async_call(...)'", 4)
    if timeout is not None:
        _check_timeout(timeout)
    _port.waited.count += 1
    ok, value = _port.call_op("call", (name, list(args)), timeout)
    return value if ok else _port.value_of(ok, value, name)


async def async_call(name: str, /, *args: object, timeout: Optional[float] = None) -> Any:
    """Like :func:`call`, without blocking: for coroutines on any asyncio loop, in any thread.

    Cancelling the task that waits kills the Erlang process of the call, which may have had its effects by then.
    """
    check_name(name)
    if timeout is not None:
        _check_timeout(timeout)
    ok, value = await (_perform or _load_perform())("call", (name, list(args)), timeout)
    return value if ok else _port.value_of(ok, value, name)


_perform: Optional[Callable[..., Any]] = None  # imports asyncio, so it is loaded by the first coroutine that asks


def _load_perform() -> Callable[..., Any]:
    global _perform
    from ._mailbox import perform

    _perform = perform
    return perform


class Function:
    """A registered Erlang function as a callable: ``erlang.some_name(...)`` or ``from erlang import some_name``.

    It is a name and no more: the function is looked up at each call, and may have been registered anew or removed since.
    Calling it is :func:`call`. Erlang functions have no keyword arguments; ``timeout=`` is the one of :func:`call`.
    """

    __slots__ = ("__name__",)

    def __init__(self, name: str) -> None:
        check_name(name)
        self.__name__ = name

    def __call__(self, /, *args: object, timeout: Optional[float] = None, **keywords: object) -> Any:
        if keywords:
            _refuse_keywords(self.__name__, keywords)
        return _call(self.__name__, args, timeout)

    def __repr__(self) -> str:
        return f"<erlang.Function {self.__name__}>"

    def __eq__(self, other: object) -> bool:
        return self.__name__ == other.__name__ if isinstance(other, Function) else NotImplemented

    def __hash__(self) -> int:
        return hash((Function, self.__name__))

    def __reduce__(self) -> tuple[type[Function], tuple[str]]:
        return Function, (self.__name__,)


def function_named(name: str) -> Function:
    """What the package's ``__getattr__`` gives for a name that it does not have itself: a function that is registered now.

    Names with a leading underscore are never looked for: Python itself and many tools probe modules for those. ``call`` reaches them.
    """
    if not name.startswith("_") and _exists(name):
        return Function(name)
    raise AttributeError(f"module 'erlang' has no attribute {name!r}, and no Erlang function of that name is registered")


def _exists(name: str) -> bool:
    try:
        ok, value = _port.call_op("exists", (name,), None)
    except RuntimeError:
        return False  # no port: then there is no function either
    return bool(_port.value_of(ok, value))


def check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"the name of an Erlang function is a str, not {type(name).__name__}")


def _check_timeout(timeout: Any) -> None:
    if not hasattr(timeout, "__float__") and not hasattr(timeout, "__index__"):
        raise TypeError(f"timeout is a number of seconds, not {type(timeout).__name__}")
    if timeout != timeout:
        raise ValueError("timeout is not a number of seconds")


def _refuse_keywords(name: str, keywords: dict[str, object]) -> NoReturn:
    raise TypeError(f"{name}: an Erlang function takes no keyword arguments (here: {', '.join(keywords)}); only timeout= is known")
