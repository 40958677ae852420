"""Erlang processes: sending to them, finding them, watching them."""

from __future__ import annotations

from . import _port
from ._erlang import Atom, Pid
from ._report import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Union

__all__ = ["Monitor", "demonitor", "monitor", "self_pid", "send", "whereis"]

_self: Optional[Pid] = None


def send(to: Union[Pid, str, Atom], term: object) -> None:
    """Send a message to a pid or to a registered name. Any thread.

    Returns when the message has been sent, so messages of one thread to one process arrive in order. Raises :class:`~erlang.ProcessError`
    when there is no such process, :class:`~erlang.ForbiddenError` when the context's option ``send_to`` does not allow it, and
    :class:`~erlang.TermError`. A process on another node counts as alive, as it does for Erlang's ``!``.
    """
    _port.ask("send", to if isinstance(to, Pid) else _name(to, "a Pid or a registered name"), term)


def whereis(name: Union[str, bytes, Atom]) -> Optional[Pid]:
    """The process that is registered under this name, or None."""
    found = _port.ask("whereis", _name(name, "a registered name"))
    return found if isinstance(found, Pid) else None


def self_pid() -> Pid:
    """The pid of this context, under which Erlang calls it. (``erlang.self()``)"""
    global _self
    if _self is None:
        _self = _port.ask("self")
    return _self


def _name(name: object, expected: str) -> str:
    if not isinstance(name, (str, bytes, Atom)):
        raise TypeError(f"{expected} is expected, not {type(name).__name__}")
    return _port.text(name)


class Monitor:
    """A process that is watched. ``pid`` is the process. Made by :func:`monitor`."""

    __slots__ = ("_number", "_over", "pid")

    def __init__(self, pid: Pid) -> None:
        self.pid = pid
        self._number = 0  # of the operation; not known yet when the end is told at once, on another thread
        self._over = False

    def demonitor(self) -> bool:
        """Stop watching. False when the process has ended before, or it was said already. The callback is not called from now on."""
        was_over, self._over = self._over, True
        return not was_over and bool(_port.cancel_op(self._number))

    def __repr__(self) -> str:
        return f"<erlang.Monitor of {self.pid!r}{', over' if self._over else ''}>"


def monitor(pid: Pid, callback: Callable[[Pid, Any], Any]) -> Monitor:
    """Call ``callback(pid, reason)`` once, when the process ends; with the reason ``noproc`` when it has ended already.

    Where an asyncio loop runs in this thread the callback runs on that loop, and ends with it; anywhere else on the context's main
    thread. A coroutine function becomes a task there. What it raises is printed to stderr. Dropping the Monitor does not stop the watching.
    """
    if not isinstance(pid, Pid):
        raise TypeError(f"a Pid is expected, not {type(pid).__name__}")
    if not callable(callback):
        raise TypeError("the callback is not callable")
    watch = Monitor(pid)

    def ended(ok: bool, answer: Any) -> None:
        if not watch._over:
            watch._over = True
            _tell(pid, callback, ok, answer)

    watch._number = _port.start_op(_mailbox(), ended, "monitor", (pid,), None)
    return watch


def demonitor(watch: Monitor) -> bool:
    """:meth:`Monitor.demonitor`."""
    return watch.demonitor()


def _mailbox() -> Any:
    loop = _port.running_loop()
    if loop is None:
        return _port.context_mailbox()
    from ._mailbox import mailbox_of

    return mailbox_of(loop)


def _tell(pid: Pid, callback: Callable[[Pid, Any], Any], ok: bool, answer: Any) -> None:
    """Calls the callback, inside a drain, which must not see what it raises. A drain is done by a loop that runs, or for the context's."""
    try:
        _, _, reason = _port.value_of(ok, answer)
        result = callback(pid, reason)
        if hasattr(result, "send") and hasattr(result, "__await__"):
            from ._tasks import spawn_task

            spawn_task(result)
    except Exception as error:
        report(f"the callback of a monitor of {pid!r} failed", error)
