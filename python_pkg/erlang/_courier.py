"""Takes what nobody waits for to Erlang: log records and spans, in order, in batches, and never more than Erlang can take.

``offer`` puts an item down and goes on. If nothing is under way the item is sent there and then, by the thread that offers it, so that a
process that crashes next has sent it; otherwise it goes with the next batch, when Erlang has answered for the one before. So at most one
batch is under way, and Erlang's answer is the credit for the next. What comes faster than that is dropped and counted; the count travels with
the next batch.

What a courier sends is part of no call: it has no deadline, and is not cancelled with anybody.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from contextvars import Context

from . import _port
from ._report import report
from .errors import TermError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Courier"]

_WAITING = 1000  # items that may wait
_BATCH = 100
_AT_MOST = 1.0  # seconds that somebody waits who need not, where there can be no thread for it


class Courier:
    """For one built-in function of Erlang's façade. Any thread; also from signal handlers and finalizers."""

    def __init__(self, function: str, what: str) -> None:
        self._function = function
        self._what = what  # for people
        self._nobody = Context()  # empty, so what is sent from it is part of no call
        self._refused = False
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        # Reentrant: what runs while we hold it (a finalizer, a signal handler) may have something to say itself.
        self._idle = threading.Condition(threading.RLock())
        self._items: deque[Any] = deque()
        self._dropped = 0
        self._under_way = False
        self._box: Any = None

    def offer(self, item: object) -> None:
        with self._idle:
            if len(self._items) >= _WAITING:
                self._dropped += 1
                return
            self._items.append(item)
            if not self._under_way:
                self._send()

    def flush(self, timeout: float) -> bool:
        """Waits until Erlang has taken everything. False when it has not in so many seconds, or cannot."""
        with self._idle:
            if not self._under_way and self._items:
                self._send()
            self._idle.wait_for(lambda: not self._under_way, timeout)
            return not self._items and not self._under_way

    def reset(self) -> None:
        """Forgets what waits, and begins anew with the Erlang of the moment: for tests."""
        with self._idle:
            self._items.clear()
            self._box, self._under_way, self._refused, self._dropped = None, False, False, 0

    def leftovers(self) -> list[Any]:
        """What could not be sent, which is forgotten here."""
        with self._idle:
            items = list(self._items)
            self._items.clear()
            return items

    def _send(self) -> None:
        """With the lock. What cannot be sent because there is no Erlang (yet) stays for the next time; so does what an interrupt of the code
        that logs kept from being sent."""
        batch: list[Any] = []
        sent: list[Any] = []
        dropped = self._dropped
        try:
            self._under_way = True
            while self._items and len(batch) < _BATCH:
                batch.append(self._items.popleft())
            self._start(sent, (self._function, [dropped, batch]))
        except TermError as error:  # larger than a frame: items are plain
            self._dropped += len(batch)
            report(f"{len(batch)} {self._what} could not be sent to Erlang", error)
            batch.clear()
        except (RuntimeError, OSError):
            pass
        finally:
            if sent:
                self._dropped -= dropped
            else:
                self._under_way = False
                self._items.extendleft(reversed(batch))

    def _start(self, sent: list[Any], args: tuple[object, ...]) -> None:
        """Puts something into ``sent`` if it was sent."""
        if self._box is None and not self._open():
            sent.append(args)
            self._answered(*self._nobody.run(_port.call_op, "call", args, _AT_MOST))
        else:
            # In one go, in C: an interrupt comes before the sending or after the note of it, and nothing is sent twice.
            start = map(_port.start_op, (self._box,), (self._answered,), ("call",), (args,), (None,))
            self._nobody.run(sent.extend, start)

    def _open(self) -> bool:
        """False: no thread is to be had, because Python ends or a limit is reached, and we have to wait for the answers ourselves."""
        box = _port.new_mailbox()
        thread = threading.Thread(target=self._collect, args=(box,), name=f"erlang-{self._function}", daemon=True)
        self._box = box
        try:
            thread.start()
        except RuntimeError:
            self._box = None
            box.close()
            return False
        return True

    def _collect(self, box: Any) -> None:
        """The thread that takes Erlang's answers. A daemon: it waits for ever in a worker, and nothing is lost with it."""
        poll = select.poll()
        poll.register(box.fileno(), select.POLLIN)
        while self._box is box:
            poll.poll()
            box.drain()

    def _answered(self, ok: bool, answer: Any) -> None:
        with self._idle:
            self._under_way = False
            if not ok and not self._refused:
                self._refused = True  # said once
                report(f"{self._what} are not taken by Erlang", _port.failure(answer, self._function))
            if self._items or (self._dropped and ok):
                self._send()
            else:
                self._idle.notify_all()
