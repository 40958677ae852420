"""The native half of the event loop, which is built into the worker, or one sentence of help where there is no worker. Its types are in
``_erlang_loop.pyi``."""

try:
    from _erlang_loop import *  # noqa: F403
except ModuleNotFoundError as error:
    if error.name != "_erlang_loop":
        raise
    raise ImportError("erlang.ErlangEventLoop works only in a py_port worker: start one with py_port:start_context/1, or run py_worker --python") from None
