"""eval and exec with values from the caller.

The code must see the caller's values everywhere, also inside comprehensions, lambdas and functions that it defines, which look
names up in their globals and nowhere else. So the globals are a dict that holds the caller's values and falls back to the
context's ``__main__`` for everything else.

What a function assigns to its globals later, by ``global``, stays in that dict as well: Python lets no function change its globals.
"""

from __future__ import annotations

from types import CodeType

__all__ = ["Scope", "evaluate", "execute"]


class Scope(dict):  # type: ignore[type-arg]
    """The caller's values over ``outer``. CPython looks globals up through ``__missing__`` when they are not an exact dict, and the code's
    own statements bind and delete through the methods: what they bound need not differ from what the caller gave."""

    __slots__ = ("_outer", "bound")

    def __init__(self, values: dict[str, object], outer: dict[str, object]) -> None:
        super().__init__(values)
        self._outer = outer
        self.bound: set[str] = set()

    def __missing__(self, key: str) -> object:
        return self._outer[key]

    def __setitem__(self, key: str, value: object) -> None:
        self.bound.add(key)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        if key in self:
            super().__delitem__(key)
        else:
            del self._outer[key]


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
    see later changes of it. The caller's own values stay behind in the scope, unless the code bound them anew. A ``global`` in a function
    goes past the scope's methods, and shows by another value."""
    missing = object()
    for name in list(scope):
        if name != "__builtins__" and (name in scope.bound or scope[name] is not values.get(name, missing)):
            outer[name] = scope.pop(name)
