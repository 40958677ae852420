"""The built-in module of the worker, or one sentence of help where there is no worker. Its types are in ``_erlang.pyi``."""

try:
    from _erlang import *  # noqa: F403
except ModuleNotFoundError as error:
    if error.name != "_erlang":
        raise
    raise ImportError("the package erlang works only in a py_port worker: start one with py_port:start_context/1, or run py_worker --python") from None
