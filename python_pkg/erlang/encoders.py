"""How values of your own classes become Erlang terms.

A registered function gets the value and returns what is encoded in its place: a dict, a tuple, a str, or something for which another
function is registered. What it raises, the conversion raises.

A function serves the class and its subclasses; the nearest class in the value's method resolution order decides. Registered functions come
before the defaults (for dataclasses, enums, dates, ...), except one for ``object``, which is the last resort for whatever has no
counterpart otherwise. The forms of ``int``, ``float``, ``bool``, ``str``, ``bytes``, ``list``, ``tuple``, ``dict`` and ``None`` are fixed
(``TypeError``); subclasses of them are free. A second registration for a class replaces the first. Any thread may register; conversions
that have begun may still use the old function.
"""

from __future__ import annotations

from ._erlang import register_encoder, unregister_encoder

TYPE_CHECKING = False  # typing takes longer to import than all the rest of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")
    R = TypeVar("R")

__all__ = ["encoder", "register_encoder", "unregister_encoder"]


def encoder(cls: type[T]) -> Callable[[Callable[[T], R]], Callable[[T], R]]:
    """Register the decorated function for ``cls``::

    @erlang.encoder(Money)
    def encode_money(money):
        return (erlang.Atom("money"), money.cents, money.currency)
    """

    def register(function: Callable[[T], R]) -> Callable[[T], R]:
        register_encoder(cls, function)
        return function

    return register
