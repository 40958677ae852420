"""The native half of the event loop, which is built into the worker; where there is no worker, classes that say so when somebody makes one. Its
types are in ``_erlang_loop.pyi``."""

try:
    from _erlang_loop import *  # noqa: F403
except ModuleNotFoundError as error:
    if error.name != "_erlang_loop":
        raise

    class Loop:
        def __new__(cls, *_: object, **__: object) -> "Loop":
            raise RuntimeError(
                "erlang.ErlangEventLoop works only in a py_port worker: start one with py_port:start_context/1, or run py_worker --python; "
                "erlang.testing.fake() puts asyncio's own loop in its place"
            )

    class StreamTransport(Loop):
        pass

    class DatagramTransport(Loop):
        pass

    class Listener(Loop):
        pass

    class TlsProtocol(Loop):
        pass

    def can_spawn() -> bool:
        return False
