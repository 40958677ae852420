"""The sandbox of the option ``sandbox => audit``: nothing in Python starts another process.

It is a guard for code that was written to run inside an Erlang VM, where a fork would do harm, or that should leave processes to Erlang. It is
no wall against hostile code: what native code does (``ctypes`` is enough) no audit hook sees.
"""

from ._erlang import install_sandbox, is_sandboxed

__all__ = ["install_sandbox", "is_sandboxed"]
