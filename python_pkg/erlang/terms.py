"""What Erlang has and Python has not, and the external term format.

All types are immutable, hashable and can be pickled (between processes that have this package). Equality is by type and content:
``Atom("a") != "a"``. :class:`Pid`, :class:`Port`, :class:`Ref`, :class:`Fun` and :class:`Export` only come from Erlang; they go back
as themselves. Everything here may be used from any thread.

``term_to_binary`` and ``binary_to_term`` convert with the type options of the context that the code runs in, and raise
:class:`~erlang.errors.TermError`. ``binary_to_term`` refuses compressed terms.
"""

from ._erlang import Atom, BitString, Export, Fun, ImproperList, Pid, Port, Ref, binary_to_term, term_to_binary

__all__ = ["Atom", "BitString", "Export", "Fun", "ImproperList", "Pid", "Port", "Ref", "atom", "binary_to_term", "term_to_binary"]


def atom(name: str) -> Atom:
    """The atom of this name: ``Atom(name)``."""
    return Atom(name)
