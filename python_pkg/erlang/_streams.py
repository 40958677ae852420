"""Streams out of Python: what a function returned, read in batches by a process in Erlang.

Erlang calls :func:`open_source` and keeps the :class:`Source`; it calls ``take`` for each batch, which is all the credit that the producer
has: nothing is produced that was not asked for, but for one item that an asynchronous producer is busy with. ``close`` ends it early.

A synchronous producer is run by ``take`` itself, like any synchronous call: on the main thread, no asyncio loop running. For an
asynchronous one ``take`` gives a coroutine, a task of the context's loop (:mod:`erlang._pump`).
"""

from __future__ import annotations

from io import IOBase
from time import monotonic

from . import _names, _port
from ._erlang import Atom, encode_items, register_encoder
from ._report import report

TYPE_CHECKING = False  # a stream of plain numbers must not have to wait for asyncio, inspect and typing
if TYPE_CHECKING:
    from typing import Any, Awaitable, Callable, Coroutine, Iterator, Mapping, Optional, Sequence, Union

    from ._pump import AsyncReader

    Answer = Union[tuple[Atom, list[Any]], tuple[Atom, str, str], Atom]

__all__ = ["DONE", "ITEMS", "Source", "is_source", "open_source", "run_with_inlet"]

ITEMS = Atom("items")
DONE = Atom("done")
BAD_ITEM = Atom("bad_item")
CHUNK = 64 * 1024  # of what has `read`
LARGEST = 65536  # items of a batch
PROMPT = 0.001  # seconds that finished items may be held back for a fuller batch


def open_source(module: object, function: object, args: Sequence[Any], kwargs: Mapping[Any, Any]) -> Any:
    """The Source of what ``module.function(*args, **kwargs)`` returns; a coroutine for one where the function is a coroutine function."""
    result = _names.resolve(module, function)(*args, **_names.keywords(kwargs))
    return _opened(result) if _must_be_awaited(result) else Source(result)


async def _opened(result: Awaitable[Any]) -> Source:
    return Source(await result)


def run_with_inlet(pid: Any, module: object, function: object, args: Sequence[Any], kwargs: Mapping[Any, Any]) -> Any:
    """What ``module.function(inlet, *args, **kwargs)`` returns; ``inlet`` is the :class:`~erlang._inlet.Inlet` of ``pid``. A generator
    or another iterator becomes a :class:`Source`, so that Erlang can read it; see :func:`is_source`."""
    from ._inlet import Inlet

    result = _names.resolve(module, function)(Inlet(pid), *args, **_names.keywords(kwargs))
    return _finished(result) if _must_be_awaited(result) else _readable(result)


async def _finished(result: Awaitable[Any]) -> Any:
    return _readable(await result)


def _readable(result: Any) -> Any:
    return Source(result, singly=True) if hasattr(result, "__next__") or hasattr(result, "__anext__") else result


def _must_be_awaited(result: Any) -> bool:
    return hasattr(result, "__await__") and not hasattr(result, "__aiter__")


def is_source(value: object) -> bool:
    """True for what Erlang can ``take`` from."""
    return isinstance(value, Source)


class Source:
    """A generator, iterator, iterable, their asynchronous kinds, or what has ``read`` (read in chunks of 64 KiB), as batches.

    Raises ``TypeError`` for anything else, and for str and bytes, whose items nobody wants one by one. Asynchronous kinds belong to the
    loop on which the first ``take`` ran. A Source that is dropped is closed.

    ``singly``: for a synchronous producer whose next item may depend on what the reader does with this one: each batch is one item.
    """

    __slots__ = ("_reader", "__weakref__")

    def __init__(self, producer: Any, singly: bool = False) -> None:
        self._reader: Optional[Union[SyncReader, AsyncReader]] = None
        self._reader = _reader_of(producer, 1 if singly else LARGEST)

    def take(self, max_items: int, max_bytes: int) -> Union[Answer, Coroutine[Any, Any, Answer]]:
        """``(items, [...])`` with at least one item, or ``done`` (both atoms): at once, or as a coroutine for an asynchronous producer.

        Waits for the first item only; more come along if they are there within a millisecond. Sizes are those of the external term format;
        the item that reaches ``max_bytes`` still goes along. What the producer raises is raised by the take after its last items, once;
        then it is ``done``. An item without counterpart ends the stream: ``(bad_item, path, why)``, in the place of what is raised. Takes are
        served in the order they came; cancelling one loses no item.
        """
        assert self._reader is not None
        return self._reader.take(max_items, max_bytes)

    def close(self) -> Optional[Coroutine[Any, Any, None]]:
        """Ends the producer; its ``finally`` blocks have run when this returns (or its coroutine ends). What they raise comes out."""
        assert self._reader is not None
        return self._reader.close()

    async def aclose(self) -> None:
        """:meth:`close` for both kinds, in a coroutine."""
        closing = self.close()
        if closing is not None:
            await closing

    def __del__(self) -> None:
        if self._reader is not None:
            self._reader.abandon()


def _reader_of(producer: Any, largest: int) -> Union[SyncReader, AsyncReader]:
    if isinstance(producer, (str, bytes, bytearray)):
        raise TypeError(f"a {type(producer).__name__} is no stream; return [it] for a stream of one item")
    read = getattr(producer, "read1", None) or getattr(producer, "read", None)  # read1: what is there, without waiting for all of a chunk
    if callable(read):
        if _is_async(read):
            return _async_reader(_async_chunks(read), lambda: _close(producer))
        return SyncReader(_chunks(read), lambda: _close(producer), largest)
    if hasattr(producer, "__anext__") or hasattr(producer, "__aiter__"):
        iterator = producer.__aiter__() if hasattr(producer, "__aiter__") else producer
        return _async_reader(iterator, lambda: _close(iterator, "aclose"))
    try:
        items = iter(producer)
    except TypeError:
        raise TypeError(f"a {type(producer).__name__} is no stream: no generator, no iterator, no iterable, nothing with read()") from None
    return SyncReader(items, lambda: _close(items), largest)


def _async_reader(items: Any, close: Callable[[], Any]) -> AsyncReader:
    from ._pump import AsyncReader

    return AsyncReader(items, close)


def _is_async(read: Any) -> bool:
    if isinstance(getattr(read, "__self__", None), IOBase):
        return False
    from inspect import iscoroutinefunction

    return iscoroutinefunction(read)


def _close(producer: Any, method: str = "close") -> Any:
    close = getattr(producer, method, None)
    return close() if callable(close) else None


def _chunks(read: Callable[[int], Any]) -> Iterator[Any]:
    while chunk := read(CHUNK):
        yield chunk


async def _async_chunks(read: Callable[[int], Any]) -> Any:
    while chunk := await read(CHUNK):
        yield chunk


def size_of(item: object) -> int:
    """What is known before it is encoded."""
    return len(item) if isinstance(item, (bytes, str, bytearray, memoryview)) else 64


class Batch(list):  # type: ignore[type-arg]
    """Items, and what they are encoded: that was seen to before they left the reader, so that one of them stops none before it."""

    __slots__ = ("encoded",)


register_encoder(Batch, lambda batch: batch.encoded)


def batch_of(items: list[Any], first: int, max_bytes: int) -> tuple[Batch, Any]:
    """As many of the items as go together, and the failure of the one behind them, if it is that: see :func:`tell`. ``first`` is how many
    items were given out before."""
    encoded, count, failure = encode_items(items, first, max_bytes)
    batch = Batch(items[:count])
    batch.encoded = encoded
    return batch, (BAD_ITEM, *failure) if isinstance(failure, tuple) else failure


def tell(failure: Any) -> Any:
    if isinstance(failure, tuple):
        return failure
    raise failure


class SyncReader:
    """Batches of a synchronous iterator, which decides itself how long its next item takes.

    A batch begins with one item and doubles while that takes less than PROMPT; an item that takes longer ends its batch and starts again
    with one. So a producer that pauses holds back at most as many items as it produced quickly just before. A producer that waits for
    Erlang while it makes an item gives one at a time: what it waits for may be its own reader.
    """

    def __init__(self, items: Iterator[Any], close: Callable[[], object], largest: int) -> None:
        self._items = items
        self._close = close
        self._largest = largest
        self._batch = 1
        self._ready: list[Any] = []  # taken out of the iterator by a take that was interrupted, or too much for one batch
        self._given = 0
        self._error: Any = None
        self._ended = False
        self._closing = False
        self._busy = False

    def take(self, max_items: int, max_bytes: int) -> Answer:
        if self._busy:
            raise RuntimeError("this stream is being read already, further up in this call or in another thread")
        self._busy = True
        try:
            if not self._ended and not self._ready:
                self._fill(max_items, max_bytes)
            batch = self._next_batch(max_bytes)
        finally:
            self._busy = False
            if self._closing:
                self._finish()
        if batch and not self._closing:
            return ITEMS, batch
        if self._error is not None:
            error, self._error = self._error, None
            return tell(error)
        return DONE

    def _next_batch(self, max_bytes: int) -> Optional[Batch]:
        if not self._ready:
            return None
        batch, failure = batch_of(self._ready, self._given, max_bytes)
        del self._ready[: len(batch)]
        self._given += len(batch)
        if failure is not None:
            self._ready, self._ended, self._error = [], True, failure
        elif self._ready:
            self._batch = len(batch)
        return batch

    def _fill(self, max_items: int, max_bytes: int) -> None:
        ready, limit, size, slow = self._ready, min(self._batch, max_items), 0, False
        waits = _port.waited.count
        began = before = now = monotonic()
        try:
            for item in self._items:
                ready.append(item)
                size += size_of(item)
                now = monotonic()
                slow = now - before > PROMPT or waits != _port.waited.count
                if slow or len(ready) >= limit or size >= max_bytes or now - began > PROMPT:
                    break
                before = now
            else:
                self._ended = True
        except KeyboardInterrupt:  # of this call, and not of the producer
            raise
        except BaseException as error:
            self._ended, self._error = True, error
            return
        if slow:
            self._batch = 1
        elif now - began < PROMPT and len(ready) >= limit:
            self._batch = min(self._batch * 2, self._largest)

    def close(self) -> None:
        self._ready, self._error = [], None
        if self._busy:
            self._closing = True  # it runs further up in this call: a generator cannot be closed from inside
        elif not self._closing:
            self._closing = True
            self._finish()

    def _finish(self) -> None:
        self._ready, self._ended = [], True
        self._close()

    def abandon(self) -> None:
        if not self._closing:
            try:
                self.close()
            except Exception as error:
                report("a stream that was dropped failed to close", error)
