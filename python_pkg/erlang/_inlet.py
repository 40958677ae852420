"""Streams into Python: what Erlang pushes, as an iterator and an asynchronous iterator."""

from __future__ import annotations

from collections import deque
from typing import Any

from . import _port
from ._erlang import Atom
from .errors import StreamAborted, TermError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Optional

    from ._erlang import Pid
    from ._mailbox import Receiver

__all__ = ["Inlet"]

TAKE = Atom("take")
CLOSE = Atom("close")
BATCH = 64  # items that are fetched at once, where so many are there


class Inlet:
    """Yields the items that Erlang pushes, in order: ``for`` blocks the thread while there is none, ``async for`` waits.

    What Erlang has pushed lies in its bounded buffer until it is fetched here, in batches; the pushing side feels how fast this one reads.
    Ends when Erlang finishes the stream; raises :class:`~erlang.StreamAborted` when Erlang breaks it off, after the items before that.
    An item without counterpart raises :class:`~erlang.TermError` in its place; who reads on gets the next one.
    Read by one thread or by tasks of one loop. Cancelling a task that waits loses no item. After a ``for`` that was interrupted while it waited
    :class:`~erlang.StreamAborted` is raised: what was on its way then is lost. Letting go of it closes it.
    """

    _batch = BATCH

    def __init__(self, pid: Pid) -> None:
        self._pid = pid
        self._items: deque[Any] = deque()
        self._ended = False
        self._has_hole = False  # a read was interrupted, perhaps with items on their way to it
        self._receiver: Optional[Receiver] = None
        self._turn: Optional[asyncio.Lock] = None

    def __iter__(self) -> Inlet:
        return self

    def __next__(self) -> Any:
        if not self._items and not self._ended:
            _port.warn_if_blocking("reading an inlet with 'for' or next()", "'async for'")
            _port.waited.count += 1
            self._fetch_now(TAKE)
        if self._items:
            return self._next_item()
        raise StopIteration

    def __aiter__(self) -> Inlet:
        return self

    async def __anext__(self) -> Any:
        if not self._items and not self._ended:
            await self._fetch()
        if self._items:
            return self._next_item()
        raise StopAsyncIteration

    def _next_item(self) -> Any:
        item = self._items.popleft()
        if isinstance(item, TermError):
            raise item
        return item

    def _fetch_now(self, what: Atom) -> bool:
        """Waits, for TAKE. False: there is nothing now."""
        self._check_whole()
        answer = None
        try:
            answer = self._ask(what)
            if _port.text(answer[1]) == "empty":
                return False
            self._keep(*answer)
        except BaseException:
            self._has_hole = answer is None or (answer[0] and not self._ended)  # Erlang's word that it failed says that nothing was given out
            raise
        return True

    def _check_whole(self) -> None:
        if self._has_hole:
            raise StreamAborted("interrupted")

    def _ask(self, what: Atom) -> tuple[bool, Any]:
        left = self._receiver.left() if self._receiver is not None else None
        if left is not None:
            return left
        try:
            return _port.call_op("inlet", (what, self._pid, self._batch), None)
        except TermError as error:
            return False, error

    async def _fetch(self) -> None:
        import asyncio

        from ._mailbox import Receiver

        if self._receiver is None or self._turn is None:
            self._receiver = Receiver("inlet", TAKE, self._pid, self._batch)
            self._turn = asyncio.Lock()
        async with self._turn:  # one take at a time, so that batches stay in order
            if not self._items and not self._ended:
                self._check_whole()
                self._keep(*await self._receiver.next())

    def _keep(self, ok: bool, answer: Any) -> None:
        if isinstance(answer, TermError) and hasattr(answer, "items"):
            self._items.extend(answer.items)  # an item that has no counterpart here is the error that says so
            return
        answer = _port.value_of(ok, answer)
        if isinstance(answer, tuple) and _port.text(answer[0]) == "items":
            self._items.extend(answer[1])
            return
        self._ended = True
        if isinstance(answer, tuple):
            raise StreamAborted(answer[1])

    def close(self) -> None:
        """No more of it is wanted: Erlang's pushes fail from now on, and iteration ends. Not an error when it has ended."""
        self._items.clear()
        if not self._ended:
            self._ended = True
            self._stop_fetching()
            _port.ask("inlet", CLOSE, self._pid)

    async def aclose(self) -> None:
        """:meth:`close` in a coroutine."""
        from ._mailbox import perform

        self._items.clear()
        if not self._ended:
            self._ended = True
            self._stop_fetching()
            _port.value_of(*await perform("inlet", (CLOSE, self._pid)))

    def _stop_fetching(self) -> None:
        if self._receiver is not None:
            self._receiver.close()

    def __enter__(self) -> Inlet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Inlet:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<erlang.Inlet of {self._pid!r}{', ended' if self._ended else ''}>"

    def __del__(self) -> None:
        if getattr(self, "_ended", True):
            return
        self._stop_fetching()
        try:
            # Whoever lets go of it may be anybody, on any thread: nobody waits for the answer.
            _port.start_op(_port.context_mailbox(), _ignore, "inlet", (CLOSE, self._pid), None)
        except RuntimeError:
            pass  # the port is gone, and the process that pushes learns that from Erlang


def _ignore(_ok: bool, _answer: object) -> None:
    """Also a failure is no news: the stream has ended either way."""
