"""Types of the built-in module with the native half of the event loop (worker/aio), which is what ``_erlang_loop.py`` beside this file hands on.

What a type inherits from asyncio and does not change is not repeated. Names with an underscore are those that our own Python code uses, and
those of asyncio's internals that asyncio's own code looks at.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, TypeVar, final

_T = TypeVar("_T")

class Loop:
    """The hot half of an event loop; :class:`erlang.ErlangEventLoop` adds asyncio's own rest to it."""

    slow_callback_duration: float
    _closed: bool  # only close() makes it true
    _debug: bool
    _stopping: bool
    _task_factory: Callable[..., Any] | None
    _thread_id: int | None
    @property
    def _queued(self) -> int: ...  # callbacks that are due
    @property
    def _timers(self) -> int: ...
    def _open(self, lent: object | None, /) -> None: ...  # None, or a capsule "uv_loop_t" of a libuv loop that somebody else runs and closes
    def _send_collected(self) -> None: ...  # what transports have put off until the end of the turn
    def _will_be_lent(self) -> None: ...  # callbacks and timers are taken before the libuv loop is there
    def _close(self) -> None: ...
    def _run(self) -> None: ...  # until stop(); raises KeyboardInterrupt and SystemExit of callbacks
    def _run_once(self) -> None: ...  # one turn; waits until there is something to do
    def time(self) -> float: ...
    def stop(self) -> None: ...
    def is_closed(self) -> bool: ...
    def is_running(self) -> bool: ...
    def get_debug(self) -> bool: ...
    def call_soon(self, callback: Callable[..., object], /, *args: Any, context: Context | None = None) -> Handle: ...
    def call_soon_threadsafe(self, callback: Callable[..., object], /, *args: Any, context: Context | None = None) -> Handle: ...
    def call_later(self, delay: float, callback: Callable[..., object], /, *args: Any, context: Context | None = None) -> TimerHandle: ...
    def call_at(self, when: float, callback: Callable[..., object], /, *args: Any, context: Context | None = None) -> TimerHandle: ...
    def create_future(self) -> asyncio.Future[Any]: ...
    def create_task(self, coro: Any, /, **kwargs: Any) -> asyncio.Task[Any]: ...
    def set_task_factory(self, factory: Callable[..., Any] | None, /) -> None: ...
    def get_task_factory(self) -> Callable[..., Any] | None: ...
    # A descriptor is a number or has a fileno(). Those with an underscore do not ask whether a transport owns it.
    def add_reader(self, fd: Any, callback: Callable[..., object], /, *args: Any) -> Handle: ...
    def add_writer(self, fd: Any, callback: Callable[..., object], /, *args: Any) -> Handle: ...
    def remove_reader(self, fd: Any, /) -> bool: ...
    def remove_writer(self, fd: Any, /) -> bool: ...
    def _add_reader(self, fd: Any, callback: Callable[..., object], /, *args: Any) -> Handle: ...
    def _add_writer(self, fd: Any, callback: Callable[..., object], /, *args: Any) -> Handle: ...
    def _remove_reader(self, fd: Any, /) -> bool: ...
    def _remove_writer(self, fd: Any, /) -> bool: ...
    def _ensure_fd_no_transport(self, fd: Any, /) -> None: ...
    # What they return is to be awaited, once.
    def sock_recv(self, sock: socket.socket, n: int) -> SockCall[bytes]: ...
    def sock_recv_into(self, sock: socket.socket, buf: Any) -> SockCall[int]: ...
    def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> SockCall[tuple[bytes, Any]]: ...
    def sock_recvfrom_into(self, sock: socket.socket, buf: Any, nbytes: int = 0) -> SockCall[tuple[int, Any]]: ...
    def sock_sendall(self, sock: socket.socket, data: Any) -> SockCall[None]: ...
    def sock_sendto(self, sock: socket.socket, data: Any, address: Any) -> SockCall[int]: ...
    def sock_accept(self, sock: socket.socket) -> SockCall[tuple[socket.socket, Any]]: ...
    def _sock_connect_to(self, sock: socket.socket, address: Any) -> SockCall[None]: ...
    def _sock_writable(self, sock: socket.socket) -> SockCall[None]: ...

@final
class SockCall(asyncio.Future[_T]):
    """A ``sock_*`` call under way. Only to be awaited: a ``Future`` here so that it goes wherever a coroutine of asyncio would go."""

@final
class Handle(asyncio.Handle):
    def get_context(self) -> Context: ...  # asyncio's has it from 3.12 on

@final
class TimerHandle(asyncio.TimerHandle):
    def get_context(self) -> Context: ...

@final
class StreamTransport(asyncio.Transport):
    def __init__(
        self,
        loop: Loop,
        sock: socket.socket | int,  # a number is taken, even if this fails
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None,
        extra: dict[str, Any] | None,
        server: Any,
        /,
    ) -> None: ...

@final
class Listener:
    """Accepts the connections of one listening socket of a server."""

    # hand_over(connection, peer's address), where more is to be done than making a transport; None: our transport
    def __new__(
        cls,
        loop: Loop,
        sock: socket.socket,
        protocol_factory: Callable[[], Any],
        server: Any,
        backlog: int,
        hand_over: Callable[[socket.socket, Any], None] | None,
        /,
    ) -> Listener: ...
    def start(self) -> None: ...  # from now on, unless it was stopped
    def stop(self) -> None: ...  # for good; the socket stays open

@final
class DatagramTransport(asyncio.DatagramTransport):
    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        protocol: asyncio.DatagramProtocol,
        address: Any,
        waiter: asyncio.Future[None] | None,
        extra: dict[str, Any],
        family: int,
        /,
    ) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def is_reading(self) -> bool: ...
    def get_write_buffer_size(self) -> int: ...
    def get_write_buffer_limits(self) -> tuple[int, int]: ...  # low, high
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

@final
class ReadPipeTransport(asyncio.ReadTransport):
    # pipe: has fileno() and close(); a fifo, a socket or a character device, else ValueError
    def __init__(
        self, loop: Loop, pipe: Any, protocol: asyncio.BaseProtocol, waiter: asyncio.Future[None] | None, extra: dict[str, Any] | None, /
    ) -> None: ...

@final
class WritePipeTransport(asyncio.WriteTransport):
    def __init__(
        self, loop: Loop, pipe: Any, protocol: asyncio.BaseProtocol, waiter: asyncio.Future[None] | None, extra: dict[str, Any] | None, /
    ) -> None: ...

@final
class TlsProtocol(asyncio.BufferedProtocol):
    """TLS between a transport, whose protocol it is, and an application's protocol, which gets a :class:`SSLTransport`."""

    def __init__(
        self,
        loop: Loop,
        app_protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext | None,
        waiter: asyncio.Future[None] | None,
        server_side: bool = False,
        server_hostname: str | None = None,
        call_connection_made: bool = True,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None: ...
    def data_received(self, data: Any, /) -> None: ...  # for transports that have the bytes already
    @property
    def _app_transport(self) -> SSLTransport: ...  # the application's, from the begin on

@final
class SSLTransport(asyncio.Transport):
    """Made by a :class:`TlsProtocol`."""

    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def get_read_buffer_limits(self) -> tuple[int, int]: ...
    def get_read_buffer_size(self) -> int: ...

# Child processes: worker/aio/spawn.hpp says how.

def can_spawn() -> bool: ...

# The process id, and a descriptor that is readable when the child has ended, -1 where the kernel has none. `programs` are tried in order.
def spawn(
    program: Any,
    programs: Sequence[bytes],
    argv: Sequence[Any],
    env: Sequence[bytes] | None,
    cwd: Any,
    std_fds: tuple[int, int, int],
    pass_fds: Sequence[int] | None,  # None: all are inherited that are inheritable
    restore_signals: bool,
    new_session: bool,
    process_group: int,  # -1: that of this process
    umask: int,  # -1: that of this process
    /,
) -> tuple[int, int]: ...

# OSError where there is no such process, or the kernel has no such descriptors.
def open_pidfd(pid: int, /) -> int: ...
