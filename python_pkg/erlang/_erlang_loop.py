"""The native half of the event loop, which is built into the worker; where there is no worker, classes and functions that say so when they are
used. Its types are in ``_erlang_loop.pyi``."""

try:
    from _erlang_loop import *  # noqa: F403
except ModuleNotFoundError as error:
    if error.name != "_erlang_loop":
        raise

    def no_worker(*_: object, **__: object) -> object:
        raise RuntimeError(
            "erlang.ErlangEventLoop works only in a py_port worker: start one with py_port:start_context/1, or run py_worker --python; "
            "erlang.testing.fake() puts asyncio's own loop in its place"
        )

    def can_spawn() -> bool:
        return False

    def __getattr__(name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__new__": no_worker}) if name[0].isupper() else no_worker
