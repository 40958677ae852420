"""eval and exec with values from the caller.

The code must see the caller's values everywhere, also inside comprehensions, lambdas and functions that it defines, which look
names up in their globals and nowhere else. So the globals are a dict that holds the caller's values and falls back to the
context's ``__main__`` for everything else.
"""

from __future__ import annotations

from types import CodeType

__all__ = ["Scope", "evaluate", "execute"]


class Scope(dict):  # type: ignore[type-arg]
    """The caller's values over ``outer``. CPython looks globals up through ``__missing__`` when they are not an exact dict."""

    __slots__ = ("_outer",)

    def __init__(self, values: dict[str, object], outer: dict[str, object]) -> None:
        super().__init__(values)
        self._outer = outer

    def __missing__(self, key: str) -> object:
        return self._outer[key]


def evaluate(code: CodeType, values: dict[str, object], outer: dict[str, object]) -> object:
    return eval(code, Scope(values, outer))


def execute(code: CodeType, values: dict[str, object], outer: dict[str, object]) -> None:
    scope = Scope(values, outer)
    try:
        exec(code, scope)
    finally:
        _publish(scope, values, outer)


def _publish(scope: Scope, values: dict[str, object], outer: dict[str, object]) -> None:
    """What the code bound goes to ``outer``, as without caller's values; it leaves the scope, so that functions the code defined
    see later changes of it. The caller's own values stay behind in the scope, unless the code bound them anew."""
    missing = object()
    for name in list(scope):
        if name != "__builtins__" and scope[name] is not values.get(name, missing):
            outer[name] = scope.pop(name)
