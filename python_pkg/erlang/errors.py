"""Every exception that this package raises.

* :class:`ErlangError` is the base of all.
* :class:`TermError` (a ``ValueError`` too): a value has no counterpart in the other language. ``path`` says where it is, as in
  ``"term[2].key"``.
"""

from ._erlang import ErlangError, TermError

__all__ = ["ErlangError", "TermError"]
