"""The asyncio loop of py_port: ``erlang.ErlangEventLoop``.

The native half, ``_erlang_loop.Loop`` (worker/aio), is what is hot: callbacks, timers, descriptors, the turns of the loop, and the transports. The
rest is asyncio's own, which is the same for every loop; what is here connects the two. So each version of Python gets the asyncio that it
came with.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import sys
import threading
import warnings
import weakref
from asyncio import base_events, events, selector_events
from typing import Any, Callable, Optional

from ._erlang_loop import DatagramTransport, Listener, Loop, ReadPipeTransport, StreamTransport, WritePipeTransport
from ._selector_loop import SelectorLoop
from ._signals import SignalHandlers, Wakeup
from ._subprocesses import Subprocesses
from ._tls import TlsMethods

__all__ = ["ErlangEventLoop", "new_event_loop"]

_ipaddr_info: Callable[..., Any] = base_events._ipaddr_info  # type: ignore[attr-defined]
_GETADDRINFO, _GETNAMEINFO = socket.getaddrinfo, socket.getnameinfo
#: What a transport does to its socket. A class that does it in its own way gets asyncio's own transports, which call it.
_OF_A_STREAM = "recv", "recv_into", "send", "sendmsg", "shutdown"
_OF_DATAGRAMS = "recvfrom", "send", "sendto"
_DATAGRAM_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


class ErlangEventLoop(Loop, SignalHandlers, Subprocesses, TlsMethods, SelectorLoop):  # type: ignore[misc]
    """An asyncio event loop in C++ on libuv.

    Use it as any loop: ``erlang.run(main())``, ``asyncio.Runner(loop_factory=erlang.new_event_loop)``. One thread at a time may run it, and only
    ``call_soon_threadsafe`` may be called from others. Raises ``OSError`` when the process has no descriptors left.
    """

    def __init__(self) -> None:
        base_events.BaseEventLoop.__init__(self)
        self._begin()
        # For what is asyncio's own.
        self._signal_handlers: dict[int, Any] = {}
        self._unix_server_sockets: dict[Any, Any] = {}
        self._listeners: dict[socket.socket, Listener] = {}

    @functools.cached_property
    def _transports(self) -> Any:
        return weakref.WeakValueDictionary()

    def _begin(self) -> None:
        Wakeup.prepare()
        self._open(None)

    def run_forever(self) -> None:
        """Runs until :meth:`stop` is called."""
        self._check_closed()
        self._check_running()
        self._set_coroutine_origin_tracking(self._debug)
        hooks = sys.get_asyncgen_hooks()
        try:
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
            events._set_running_loop(self)
            signals = Wakeup.enter(self)
            try:
                self._run()
            finally:
                Wakeup.leave(signals)
        finally:
            self._stopping = False
            self._thread_id = None
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)

    def _run_once(self) -> None:
        """One turn, for who drives the loop by hand; waits until there is something to do. A signal's handler runs at once."""
        self._check_closed()
        signals = Wakeup.enter(self)
        try:
            super()._run_once()
        finally:
            Wakeup.leave(signals)

    def close(self) -> None:
        """Drops what is queued and closes everything of the loop. It must not be running."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        for listener in self._listeners.values():
            listener.stop()
        self._close()
        self._executor_shutdown_called = True
        executor, self._default_executor = self._default_executor, None
        if executor is not None:
            executor.shutdown(wait=False)
        if self._signal_handlers and not sys.is_finalizing():
            for number in list(self._signal_handlers):
                self.remove_signal_handler(number)

    def _make_socket_transport(
        self, sock: socket.socket, protocol: Any, waiter: Any = None, *, extra: Optional[dict[str, Any]] = None, server: Any = None
    ) -> asyncio.Transport:
        if sys.version_info >= (3, 12):
            self._ensure_fd_no_transport(sock)
        if type(sock) is not socket.socket and _has_its_own(sock, _OF_A_STREAM):
            return _AsynciosStream(self, sock, protocol, waiter, extra, server)
        return StreamTransport(self, sock, protocol, waiter, extra, server)

    def _make_read_pipe_transport(self, pipe: Any, protocol: Any, waiter: Any = None, extra: Optional[dict[str, Any]] = None) -> ReadPipeTransport:
        return ReadPipeTransport(self, pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(self, pipe: Any, protocol: Any, waiter: Any = None, extra: Optional[dict[str, Any]] = None) -> WritePipeTransport:
        return WritePipeTransport(self, pipe, protocol, waiter, extra)

    if sys.version_info >= (3, 12):

        async def shutdown_default_executor(self, timeout: Optional[float] = None) -> None:
            """Waits for the threads of the default executor, at most so many seconds. (Of asyncio's own, early versions wait for ever.)"""
            self._executor_shutdown_called = True
            executor = self._default_executor
            if executor is None:
                return
            ended = self.create_future()
            waiter = threading.Thread(target=self._do_shutdown, args=(ended,))
            waiter.start()
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.shield(ended)  # the thread sets it, however late
            except TimeoutError:
                warnings.warn(f"the executor has not finished joining its threads within {timeout} seconds", RuntimeWarning, stacklevel=2)
                executor.shutdown(wait=False)
            else:
                waiter.join()

    def _start_serving(
        self,
        protocol_factory: Callable[[], Any],
        sock: socket.socket,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        *timeouts: Optional[float],
    ) -> None:
        """``timeouts`` of TLS: of the handshake and, in the versions that have it, of the shutdown."""
        accepted = self._tls_server(protocol_factory, sslcontext, server, *timeouts) if sslcontext else None
        listener = self._listeners[sock] = Listener(self, sock, protocol_factory, server, backlog, accepted)
        listener.start()

    def _tls_server(
        self, protocol_factory: Callable[[], Any], sslcontext: Any, server: Any, handshake: Optional[float] = None, shutdown: Optional[float] = None
    ) -> Callable[[socket.socket, Any], None]:
        def accepted(conn: socket.socket, peer: Any) -> None:
            try:
                self._make_ssl_transport(
                    conn,
                    protocol_factory(),
                    sslcontext,
                    server_side=True,
                    extra={"peername": peer},
                    server=server,
                    ssl_handshake_timeout=handshake,
                    ssl_shutdown_timeout=shutdown,
                )
            except BaseException:
                conn.close()
                raise

        return accepted

    def _stop_serving(self, sock: socket.socket) -> None:
        listener = self._listeners.pop(sock, None)
        super()._stop_serving(sock)
        if listener is not None:
            listener.stop()  # only now is the socket closed, whoever has done it before

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: Optional[int]) -> int:
        resume = transp.is_reading()
        transp.pause_reading()
        await transp._make_empty_waiter()
        try:
            return await self.sock_sendfile(transp._sock, file, offset, count, fallback=False)
        finally:
            transp._reset_empty_waiter()
            if resume:
                transp.resume_reading()

    async def _sock_sendfile_native(self, sock: socket.socket, file: Any, offset: int, count: Optional[int]) -> int:
        """As asyncio's, which waits for ever if the socket, or the transport that has it, is closed meanwhile."""
        if type(sock) is not socket.socket:
            return await super()._sock_sendfile_native(sock, file, offset, count)
        try:
            fileno = file.fileno()
            left = count or os.fstat(fileno).st_size
        except (AttributeError, OSError):
            raise asyncio.SendfileNotAvailableError("not a regular file") from None
        total = 0
        try:
            while left > 0:
                try:
                    sent = os.sendfile(sock.fileno(), fileno, offset + total, left)
                except (BlockingIOError, InterruptedError):
                    await self._sock_writable(sock)
                    continue
                except OSError as error:
                    if total == 0:  # most likely the file is none that can be sent so
                        raise asyncio.SendfileNotAvailableError("os.sendfile call failed") from error
                    raise
                if sent == 0:
                    break
                total += sent
                left -= sent if count else 0  # the file may grow
                await asyncio.sleep(0)
        finally:
            if total > 0:
                os.lseek(fileno, offset + total, os.SEEK_SET)
        return total

    def _make_datagram_transport(
        self, sock: socket.socket, protocol: asyncio.DatagramProtocol, address: Any = None, waiter: Any = None, extra: Any = None
    ) -> asyncio.DatagramTransport:
        if sys.version_info >= (3, 12):
            self._ensure_fd_no_transport(sock)
        # Of packets, CAN, Bluetooth ... asyncio's leaves addresses to the socket.
        if sock.family not in _DATAGRAM_FAMILIES or (type(sock) is not socket.socket and _has_its_own(sock, _OF_DATAGRAMS)):
            return _AsynciosDatagrams(self, sock, protocol, address, waiter, extra)
        return DatagramTransport(self, sock, protocol, address, waiter, dict(extra or {}), sock.family)

    async def getaddrinfo(self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        """As ``socket.getaddrinfo``. Numbers are answered at once; a look-up that is cancelled before its turn is never made."""
        # Debug mode logs, programs that put in their own want it to be called, and after shutdown_default_executor() asyncio's refuses.
        if not self._debug and socket.getaddrinfo is _GETADDRINFO and not self._executor_shutdown_called:
            found = self._look_up_names(host, port, family, type, proto, flags)
            if found is not NotImplemented:
                return found if found.__class__ is list else await self._looked_up(found)
        return await super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        """As ``socket.getnameinfo``."""
        if socket.getnameinfo is not _GETNAMEINFO or self._executor_shutdown_called:
            return await super().getnameinfo(sockaddr, flags)
        found = self._look_up_address(sockaddr, flags)
        return found if found.__class__ is tuple else await self._looked_up(found)

    async def _looked_up(self, future: "asyncio.Future[Any]") -> Any:
        try:
            return await future
        except (asyncio.CancelledError, GeneratorExit):
            self._forget_look_up(future)
            raise

    async def create_connection(self, protocol_factory: Callable[[], Any], host: Any = None, port: Any = None, **options: Any) -> Any:
        """As asyncio's, which does all but the usual case: one numeric address, and nothing else is said."""
        found = None if options or host is None or port is None or self._debug else _ipaddr_info(host, port, 0, socket.SOCK_STREAM, 0)
        if found is None:
            return await super().create_connection(protocol_factory, host, port, **options)
        family, kind, proto, _, address = found
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, proto)
        try:
            await self._sock_connect_to(sock, address)
            protocol, waiter = protocol_factory(), self.create_future()
        except BaseException:
            sock.close()
            raise
        transport = StreamTransport(self, sock.detach(), protocol, waiter, None, None)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connects a non-blocking socket; the address of an IP socket may have a name that is to be resolved."""
        if type(sock) is not socket.socket or (self._debug and sock.gettimeout() != 0):
            return await super().sock_connect(sock, address)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            found = await self._ensure_resolved(address, family=sock.family, type=sock.type, proto=sock.proto, loop=self)
            address = found[0][4]
        await self._sock_connect_to(sock, address)

    def set_debug(self, enabled: bool) -> None:
        """Debug mode: checks threads, keeps tracebacks of who scheduled what, and logs callbacks that take long."""
        self._debug = enabled
        if self.is_running():
            self.call_soon_threadsafe(self._set_coroutine_origin_tracking, enabled)


def new_event_loop() -> ErlangEventLoop:
    """A new loop, as a factory for ``asyncio.Runner`` and for servers that ask for one."""
    return ErlangEventLoop()


class _Asyncios:
    """For asyncio's own transports on our loop, which has no selector that their ``__repr__`` could ask what they wait for."""

    _sock_fd: int
    _closing: bool

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closing ' if self._closing else ''}fd={self._sock_fd}>"


class _AsynciosStream(_Asyncios, selector_events._SelectorSocketTransport):  # type: ignore[name-defined,misc]
    pass


class _AsynciosDatagrams(_Asyncios, selector_events._SelectorDatagramTransport):  # type: ignore[name-defined,misc]
    pass


def _has_its_own(sock: socket.socket, methods: tuple[str, ...]) -> bool:
    return isinstance(sock, socket.socket) and any(getattr(type(sock), name) is not getattr(socket.socket, name) for name in methods)


def _before_fork() -> None:
    """What a transport has put off until the end of the turn leaves now: else both processes would send it."""
    loop = events._get_running_loop()
    if isinstance(loop, ErlangEventLoop):
        loop._send_collected()


os.register_at_fork(before=_before_fork)
