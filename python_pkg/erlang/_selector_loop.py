"""asyncio's loop as type checkers are to see it: with those of its internals that our loops use, which asyncio's own types leave out."""

from __future__ import annotations

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    class SelectorLoop(asyncio.SelectorEventLoop):
        _default_executor: Any
        _executor_shutdown_called: bool

        def _check_closed(self) -> None: ...
        def _check_running(self) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...
        def _asyncgen_firstiter_hook(self, agen: Any) -> None: ...
        def _asyncgen_finalizer_hook(self, agen: Any) -> None: ...
        def _stop_serving(self, sock: socket.socket) -> None: ...
        async def _sock_sendfile_native(self, sock: socket.socket, file: Any, offset: int, count: Optional[int]) -> int: ...
        async def _ensure_resolved(self, address: Any, *, family: int, type: int, proto: int, loop: Any) -> list[Any]: ...

else:
    SelectorLoop = asyncio.SelectorEventLoop

__all__ = ["SelectorLoop"]
