"""Stands in for the worker's built-in module, so that the package can be tested with any Python: put this folder first on the path.

Only the terms and what the package imports; in a worker the built-in module of this name wins.
"""

__all__ = ["Atom", "BitString", "ErlangError", "Export", "Fun", "ImproperList", "Pid", "Port", "Ref", "TermError",
           "binary_to_term", "call_op", "cancel_op", "context_loop", "context_mailbox", "current", "encode_items", "install_sandbox", "is_sandboxed",
           "new_mailbox", "register_encoder", "reset_trace", "set_trace", "start_op", "term_to_binary", "unregister_encoder"]  # fmt: skip


class ErlangError(Exception):
    pass


class TermError(ErlangError, ValueError):
    path = "term"


class _Named:
    def __init__(self, name):
        self._name = name

    def __eq__(self, other):
        return type(other) is type(self) and other._name == self._name

    def __hash__(self):
        return hash((type(self), self._name))

    def __str__(self):
        return self._name

    def __repr__(self):
        return f"erlang.{type(self).__name__}({self._name!r})"


class Atom(_Named):
    pass


class Pid(_Named):
    node = "nonode@nohost"


class Port(_Named):
    pass


class Ref(_Named):
    pass


class Fun(_Named):
    pass


class Export(_Named):
    pass


class BitString(_Named):
    pass


class ImproperList(_Named):
    pass


encoders = {}


def register_encoder(cls, function):
    encoders[cls] = function


def unregister_encoder(cls):
    return encoders.pop(cls, None) is not None


def binary_to_term(data):
    return Pid(data)  # the tests make pids in this way, and nothing else


def term_to_binary(value):
    return repr(value).encode()


def call_op(*_):
    raise RuntimeError("there is no Erlang to call")


encode_items = start_op = cancel_op = new_mailbox = context_mailbox = context_loop = set_trace = reset_trace = call_op


def current():
    return None


def install_sandbox():
    raise RuntimeError("there is no worker")


def is_sandboxed():
    return False
