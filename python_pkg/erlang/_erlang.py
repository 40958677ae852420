"""The built-in module of the worker, or what stands for it where there is no worker. Its types are in ``_erlang.pyi``."""

try:
    from _erlang import *  # noqa: F403
except ModuleNotFoundError as error:
    if error.name != "_erlang":
        raise
    from ._outside import *  # type: ignore[assignment] # noqa: F403
