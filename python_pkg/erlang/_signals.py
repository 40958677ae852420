"""Signals and the event loop: ``add_signal_handler``, and how a signal ends the loop's wait.

Handlers are ordinary handlers of Python, which queue the callback: a signal that comes while no loop runs is not lost. libuv waits on when
a signal interrupts its wait, so while a loop runs on the main thread CPython writes a byte for each signal into a pipe that the loop watches
(``signal.set_wakeup_fd``). When the run ends, that descriptor is again what it was: the worker's main loop has its own.
"""

from __future__ import annotations

import contextvars
import os
import signal
import threading
from asyncio import coroutines
from typing import Any, Callable, Optional

__all__ = ["SignalHandlers", "Wakeup"]


class SignalHandlers:
    """The part of an event loop that has signal handlers; beside asyncio's, of which it uses the checks."""

    _signal_handlers: dict[int, Any]
    _wakeup: "Optional[Wakeup]" = None  # whose pipe the loop watches

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """As in asyncio: main thread only, ``ValueError`` for what is no signal, ``RuntimeError`` for one that cannot be caught."""
        if coroutines.iscoroutine(callback) or coroutines.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)  # type: ignore[attr-defined]
        self._check_closed()  # type: ignore[attr-defined]
        try:
            signal.signal(sig, self._signal_came)
        except ValueError as not_main:
            raise RuntimeError(str(not_main)) from None
        except OSError as refused:
            raise RuntimeError(f"sig {sig} cannot be caught") from refused
        signal.siginterrupt(sig, False)  # system calls of C code go on
        if self._wakeup is not None and self.is_running():  # type: ignore[attr-defined]
            self._wakeup.take_over()
        self._signal_handlers[sig] = callback, args, contextvars.copy_context()

    def _signal_came(self, number: int, frame: object) -> None:
        if not self.is_closed():  # type: ignore[attr-defined]
            self.call_soon_threadsafe(self._handle_signal, number)  # type: ignore[attr-defined]

    def _handle_signal(self, number: int) -> None:
        """Queues what is registered by now, which may be nothing."""
        registered = self._signal_handlers.get(number)
        if registered is not None:
            callback, args, context = registered
            self.call_soon(callback, *args, context=context)  # type: ignore[attr-defined]

    def remove_signal_handler(self, sig: int) -> bool:
        """As in asyncio: whether there was one."""
        self._check_signal(sig)  # type: ignore[attr-defined]
        if self._signal_handlers.pop(sig, None) is None:
            return False
        signal.signal(sig, signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL)
        return True


class Wakeup:
    """The pipe into which CPython writes signals while a loop runs on the main thread. Made with the first loop, one for all loops of
    the process, so that a loop costs no more than watching it. Main thread only."""

    ours: "Optional[Wakeup]" = None

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._pipe = _file_of(self.write_fd)
        self._instead_of = -1  # whose descriptor we stand in for: it gets the bytes as well

    def _is_there(self) -> bool:
        """Nobody has closed it, as daemons close whatever they find: the numbers may be those of other files by now. Both ends go together."""
        try:
            return _file_of(self.write_fd) == self._pipe
        except OSError:
            return False

    @classmethod
    def prepare(cls) -> None:
        """Before a loop is run: ``OSError`` comes when the loop is made, if descriptors are used up."""
        if cls.ours is None and threading.get_ident() == threading.main_thread().ident:
            cls.ours = Wakeup()

    @classmethod
    def enter(cls, loop: Any) -> "Optional[tuple[int, int]]":
        """At the begin of a run, or of a turn by hand: what :meth:`leave` needs to know. None: this is not the main thread."""
        if threading.get_ident() != threading.main_thread().ident:
            cls._be_watched_by(loop, None)  # it ran on the main thread before: the bytes are for who runs there now
            return None
        self = gone = cls.ours
        if self is None or (loop._wakeup is not self and not self._is_there()):  # who closes it later closes what else the loop has, too
            self = cls.ours = Wakeup()
        try:
            before = signal.set_wakeup_fd(self.write_fd, warn_on_full_buffer=False)
        except ValueError:  # `threading` was imported by another thread than that which is CPython's main one
            return None
        if gone is not None and gone is not self and before == gone.write_fd:
            before = -1
        outer = self._instead_of
        if before != self.write_fd:
            self._instead_of = before
        cls._be_watched_by(loop, self)
        return before, outer

    @staticmethod
    def _be_watched_by(loop: Any, wakeup: "Optional[Wakeup]") -> None:
        before = loop._wakeup
        if before is wakeup:
            return
        if before is not None:
            loop._remove_reader(before.read_fd)
        loop._wakeup = None
        if wakeup is not None:
            loop._add_reader(wakeup.read_fd, wakeup._drain)
            loop._wakeup = wakeup

    def take_over(self) -> None:
        """Within a run, in which somebody may have set another descriptor: that one gets the bytes as well from now on."""
        before = signal.set_wakeup_fd(self.write_fd, warn_on_full_buffer=False)
        if before != self.write_fd:
            self._instead_of = before

    @classmethod
    def leave(cls, entered: "Optional[tuple[int, int]]") -> None:
        """At the end of a run. What somebody else has set meanwhile stays."""
        self = cls.ours
        if entered is None or self is None:
            return
        before, outer = entered
        if before != self.write_fd:
            before, self._instead_of = self._instead_of, outer
        try:
            now = signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        except (ValueError, OSError):  # its owner has closed it
            before, now = -1, signal.set_wakeup_fd(-1)
        if now != self.write_fd and now != before:
            signal.set_wakeup_fd(now, warn_on_full_buffer=False)

    def _drain(self) -> None:
        # The handlers have run: the loop looks for signals in each turn.
        try:
            signals = os.read(self.read_fd, 4096)
            if self._instead_of >= 0:
                os.write(self._instead_of, signals)
        except OSError:
            # Another loop has read it; or the other descriptor is full or closed, and a signal would not have come through there either.
            pass

    @classmethod
    def in_child(cls) -> None:
        """What a forked child writes must not wake the parent: another pipe, under the same numbers, for the loop may go on here."""
        self = cls.ours
        if self is None:
            return
        made = Wakeup()
        if not self._is_there():
            cls.ours = made
            return
        for new, old in ((made.read_fd, self.read_fd), (made.write_fd, self.write_fd)):
            os.dup2(new, old, inheritable=False)
            os.close(new)
        self._pipe = made._pipe


def _file_of(fd: int) -> "tuple[int, int]":
    what = os.fstat(fd)
    return what.st_dev, what.st_ino


os.register_at_fork(after_in_child=Wakeup.in_child)
