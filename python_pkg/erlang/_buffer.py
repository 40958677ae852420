"""Bodies that Erlang writes and Python reads like a file: Erlang's ``py_buffer``."""

from __future__ import annotations

import io
import weakref
from _thread import RLock

from . import _port
from ._body import Body
from ._erlang import Atom, Pid, Ref, register_encoder
from ._inlet import TAKE, Inlet
from .errors import StreamAborted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

__all__ = ["PyBuffer", "opened"]

TAG = "$py_buffer"
TRY_TAKE = Atom("try_take")


class PyBuffer:
    """A readable, seekable binary file over what an Erlang process writes with ``py_buffer:write/2``. Arguments that hold such a buffer
    arrive as this; nobody else makes one.

    Reads wait, without the GIL, for what has not been written yet, and get ``b""`` at the end, which is where Erlang closed it or the
    content length is reached. ``read`` and its kin are for any thread, ``async_read`` and its kin for coroutines; use one of the two for one
    buffer. What was read is kept, so that :meth:`seek` can go back: for streams without end take a channel.

    What has been fetched is in this object: keep it if a later call is to read on. Raises :class:`~erlang.StreamAborted` when the process
    behind the buffer ended before all was fetched, or a read that waited was interrupted, with what was on its way to it; and ``ValueError``
    after :meth:`close`, also in a read that waits meanwhile.
    """

    def __init__(self, value: Any) -> None:
        self._term = _checked(value)
        _, pid, length, _ = self._term
        self._body = Body(length if isinstance(length, int) else None)
        self._source = _Source(pid)
        self._lock = RLock()
        self._closed = False

    # Reading and waiting

    def read(self, size: Optional[int] = -1) -> bytes:
        """``size`` bytes; fewer only at the end. All of it without a size. Waits."""
        return self._read(lambda: self._body.amount(size))

    def read1(self, size: Optional[int] = -1) -> bytes:
        """At most ``size`` bytes of what is there; waits only while that is nothing."""
        return self._read(lambda: self._body.some(size))

    def readline(self, size: Optional[int] = -1) -> bytes:
        """A line with its ``\\n``, or its first ``size`` bytes. Waits."""
        return self._read(lambda: self._body.line(size))

    def readlines(self, hint: Optional[int] = -1) -> list[bytes]:
        """All lines, or lines of at least ``hint`` bytes together. Waits."""
        lines, total = [], 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def readinto(self, target: Any) -> int:
        """:meth:`read` into a writable buffer; says how much."""
        with memoryview(target).cast("B") as view:
            data = self.read(len(view))
            view[: len(data)] = data
        return len(data)

    def readinto1(self, target: Any) -> int:
        """:meth:`read1` into a writable buffer."""
        with memoryview(target).cast("B") as view:
            data = self.read1(len(view))
            view[: len(data)] = data
        return len(data)

    def __iter__(self) -> PyBuffer:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    # Reading in coroutines

    async def async_read(self, size: Optional[int] = -1) -> bytes:
        """:meth:`read` for coroutines. Cancelling it loses nothing."""
        return await self._read_async(lambda: self._body.amount(size))

    async def async_read1(self, size: Optional[int] = -1) -> bytes:
        """:meth:`read1` for coroutines."""
        return await self._read_async(lambda: self._body.some(size))

    async def async_readline(self, size: Optional[int] = -1) -> bytes:
        """:meth:`readline` for coroutines."""
        return await self._read_async(lambda: self._body.line(size))

    def __aiter__(self) -> PyBuffer:
        return self

    async def __anext__(self) -> bytes:
        line = await self.async_readline()
        if not line:
            raise StopAsyncIteration
        return line

    # What is there, without waiting

    def read_nonblock(self, size: Optional[int] = -1) -> bytes:
        """At most ``size`` bytes of what Erlang has written; ``b""`` when that is nothing, also before the end."""
        self._look()
        return self._body.take(self._body.some(size) or 0)

    def readable_amount(self) -> int:
        """How many bytes can be read without waiting. Also ``len(buffer)``."""
        self._look()
        return self._body.unread

    def at_eof(self) -> bool:
        """True when all has been read and no more comes."""
        self._look()
        return self._body.is_complete and not self._body.unread

    def find(self, sub: bytes, start: Optional[int] = 0, end: Optional[int] = None) -> int:
        """The position of ``sub`` in what Erlang has written, counted from the beginning; -1 when it is not there (yet)."""
        self._look()
        return self._body.find(sub, start, end)

    def getvalue(self) -> bytes:
        """All that Erlang has written so far, also what was read. A copy; the position stays."""
        self._look(is_quiet=True)
        return self._body.all()

    def getbuffer(self) -> memoryview:
        """A read-only view of :meth:`getvalue`: what is written later is not in it."""
        return memoryview(self.getvalue())

    __bytes__ = getvalue

    def __buffer__(self, _flags: int) -> memoryview:
        """``memoryview(buffer)``, from Python 3.12 on."""
        return self.getbuffer()

    def __len__(self) -> int:
        return self.readable_amount()

    def __bool__(self) -> bool:
        return True  # like a file, and unlike a sequence

    # The position

    def tell(self) -> int:
        self._check_open()
        return self._body.position

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a position: from the beginning (0), from here (1) or from the end (2). Waits until that much has been written, for 2 until
        all is; stops at the end."""
        with self._lock:
            self._check_open()
            if whence not in (0, 1, 2):
                raise ValueError(f"whence is 0, 1 or 2, not {whence!r}")
            if whence == 2:
                self._await(lambda: self._body.is_complete)
            to = offset + (0, self._body.position, self._body.arrived)[whence]
            if to < 0:
                raise ValueError(f"there is no position {to}")
            self._await(lambda: self._body.is_complete or self._body.arrived >= to)
            return self._body.move(to)

    # Being a file

    @property
    def content_length(self) -> Optional[int]:
        """What Erlang said that the whole will have; None: it did not say."""
        return self._body.length

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """No more is wanted: writing in Erlang says so from now on."""
        if not self._closed:
            self._closed = True
            self._source.close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def isatty(self) -> bool:
        return False

    def flush(self) -> None:
        """Nothing to do: nothing is written here."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation("a PyBuffer has no file descriptor")

    def __enter__(self) -> PyBuffer:
        self._check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<erlang.PyBuffer of {self._term[1]!r}{', closed' if self._closed else ''}>"

    def __reduce__(self) -> Any:
        raise TypeError("a PyBuffer cannot be pickled")

    # Waiting

    def _read(self, amount: Callable[[], Optional[int]]) -> bytes:
        with self._lock:
            self._check_open()
            self._await(lambda: amount() is not None)
            return self._body.take(amount() or 0)

    async def _read_async(self, amount: Callable[[], Optional[int]]) -> bytes:
        self._check_open()
        while amount() is None:
            await self._source.fetch_async()
            self._check_open()
            self._source.pour_into(self._body)
        return self._body.take(amount() or 0)

    def _await(self, is_enough: Callable[[], bool]) -> None:
        while not is_enough():
            _port.warn_if_blocking("reading a PyBuffer", "'await buffer.async_read()'", 5)
            self._source.fetch()
            self._check_open()  # closed meanwhile: this is not the end of the data
            self._source.pour_into(self._body)

    def _look(self, is_quiet: bool = False) -> None:
        """Fetches what is there, unless another thread is at it. That the buffer was broken off is told when all has been read."""
        self._check_open()
        if not self._lock.acquire(blocking=False):
            return
        try:
            while not self._body.is_complete and self._source.try_fetch():
                self._source.pour_into(self._body)
        except StreamAborted:
            if not self._body.unread and not is_quiet:
                raise
        finally:
            self._source.pour_into(self._body)
            self._lock.release()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the buffer is closed")


io.BufferedIOBase.register(PyBuffer)


class _Source(Inlet):
    """The stream below, which stays open when nobody holds it: another call may get the buffer."""

    _batch = 16  # pieces of at most 64 KiB: a batch has to fit into a frame
    _broken: Optional[StreamAborted] = None

    def fetch(self) -> None:
        """Waits for a batch or the end."""
        self._check()
        _port.waited.count += 1
        self._fetch_now(TAKE)

    def try_fetch(self) -> bool:
        """False: there is nothing now."""
        self._check()
        return self._fetch_now(TRY_TAKE) and not self._ended

    async def fetch_async(self) -> None:
        self._check()
        await self._fetch()

    def pour_into(self, body: Body) -> None:
        while self._items:
            piece = self._items.popleft()
            body.add(piece if isinstance(piece, bytes) else bytes(piece))
        if self._ended and self._broken is None:
            body.finish()

    def _keep(self, ok: bool, answer: Any) -> None:
        try:
            super()._keep(ok, answer)
        except StreamAborted as error:
            self._broken = error
            raise

    def _check(self) -> None:
        if self._broken is not None:
            raise StreamAborted(self._broken.reason)

    def __del__(self) -> None:
        self._stop_fetching()


_open: weakref.WeakValueDictionary[Pid, PyBuffer] = weakref.WeakValueDictionary()


def opened(term: Any) -> Any:
    """What the worker makes of a term that looks like a buffer: the object for it, the same one while somebody holds it."""
    try:
        _, pid, _, _ = _checked(term)
    except TypeError:
        return term
    found = _open.get(pid)
    return found if found is not None else _open.setdefault(pid, PyBuffer(term))


def _checked(value: Any) -> Any:
    if isinstance(value, PyBuffer):
        return value._term
    if isinstance(value, tuple) and len(value) == 4 and _port.text(value[0]) == TAG:
        _, pid, length, count = value
        is_length = length is None or (isinstance(length, int) and length >= 0)
        if isinstance(pid, Pid) and is_length and isinstance(count, Ref):
            return value
    raise TypeError(f"this is no buffer: {value!r}")


def _as_term(buffer: PyBuffer) -> tuple[Any, ...]:
    _, pid, length, count = buffer._term
    return Atom(TAG), pid, Atom("undefined") if length is None else length, count


register_encoder(PyBuffer, _as_term)
