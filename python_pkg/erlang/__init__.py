"""Python's view of the Erlang node that started this worker.

Terms that Python has no type for are here (:class:`Pid`, :class:`Ref`, :class:`Atom`, ...), the exceptions, and the way to say how
values of your own classes become terms. Only code that runs in a py_port worker can import this package.
"""

from .encoders import encoder, register_encoder, unregister_encoder
from .errors import ErlangError, TermError
from .terms import Atom, BitString, Export, Fun, ImproperList, Pid, Port, Ref, binary_to_term, term_to_binary

__all__ = [
    "Atom",
    "BitString",
    "ErlangError",
    "Export",
    "Fun",
    "ImproperList",
    "Pid",
    "Port",
    "Ref",
    "TermError",
    "binary_to_term",
    "encoder",
    "register_encoder",
    "term_to_binary",
    "unregister_encoder",
]
