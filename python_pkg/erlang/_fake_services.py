"""What the stand-in of :mod:`erlang.testing` has beside functions of the test: channels, and the functions that Erlang's façade registers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import MutableMapping
from typing import Any, Callable, Iterator, Optional

from ._erlang import binary_to_term, term_to_binary
from ._fake import Job

__all__ = ["BUILT_IN", "Queue", "State"]


class State(MutableMapping):  # type: ignore[type-arg]
    """Like a dict whose keys and values are terms: any of them can be a key, 1, 1.0 and True are three, and what is read is a copy."""

    def __init__(self) -> None:
        self._entries: dict[bytes, bytes] = {}

    def __getitem__(self, key: object) -> Any:
        try:
            return binary_to_term(self._entries[term_to_binary(key)])
        except KeyError:
            raise KeyError(key) from None

    def __setitem__(self, key: object, value: object) -> None:
        self._entries[term_to_binary(key)] = term_to_binary(value)

    def __delitem__(self, key: object) -> None:
        try:
            del self._entries[term_to_binary(key)]
        except KeyError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[Any]:
        return iter([binary_to_term(key) for key in self._entries])

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{key!r}: {self[key]!r}' for key in self)}}}"


class Queue:
    """A channel, or what is pushed into a stream."""

    def __init__(self, size: Optional[int]) -> None:
        self._size, self._closed = size, False
        self._items: deque[Any] = deque()
        self._receivers: deque[Job] = deque()
        self._senders: deque[tuple[Job, Any]] = deque()
        self._lock = threading.RLock()

    def offer(self, item: Any) -> None:
        with self._lock:
            if self._closed or self._is_full():
                raise ValueError(f"the channel is {'closed' if self._closed else 'full'}: Erlang could not send into it")
            self.put(item)

    def put(self, item: Any) -> None:
        with self._lock:
            while self._receivers:
                if self._receivers.popleft().answer(("ok", item)):
                    return
            self._items.append(item)

    def take_all(self) -> list[Any]:
        with self._lock:
            taken = list(self._items)
            self._items.clear()
            self._refill()
            return taken

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for job in self._receivers:
                job.answer("closed")
            for job, _ in self._senders:
                job.answer("closed")

    def serve(self, job: Job, what: str, args: tuple[Any, ...]) -> None:
        with self._lock:
            getattr(self, f"_{what}")(job, *args)

    def _is_full(self) -> bool:
        return self._size is not None and len(self._items) >= self._size

    def _refill(self) -> None:
        while self._senders and not self._is_full():
            job, item = self._senders.popleft()
            if job.answer("ok"):
                self.put(item)

    def _receive(self, job: Job, limit: Optional[int] = None) -> None:
        if self._items:
            job.answer(("ok", self._items.popleft()))
            self._refill()
        elif self._closed:
            job.answer("closed")
        elif limit is not None:
            job.answer("timeout")  # nobody puts anything in while a test waits
        else:
            job.hang("a message in the channel")
            self._receivers.append(job)

    def _try_receive(self, job: Job) -> None:
        self._receive(job) if self._items or self._closed else job.answer("empty")

    def _send(self, job: Job, item: Any, limit: Optional[int] = None) -> None:
        if self._closed:
            job.answer("closed")
        elif not self._is_full():
            self.put(item)
            job.answer("ok")
        elif limit is not None:
            job.answer("timeout")
        else:
            job.hang("room in the channel")
            self._senders.append((job, item))

    def _try_send(self, job: Job, item: Any) -> None:
        job.answer("full") if self._is_full() and not self._closed else self._send(job, item)

    def _close(self, job: Job) -> None:
        self.close()
        job.answer("ok")

    def _info(self, job: Job) -> None:
        job.answer({"size": len(self._items), "closed": self._closed})

    def _take(self, job: Job, most: int) -> None:
        if not self._items:
            job.answer("done")
        else:
            job.answer(("items", [self._items.popleft() for _ in range(min(most, len(self._items)))]))


def _log(node: Any, _lost: int, records: list[Any]) -> str:
    keys = ("level", "logger", "message", "time", "file", "line", "function", "exception", "trace", "meta")
    node.logs.extend(dict(zip(keys, record)) for record in records)
    return "ok"


def _span(node: Any, _lost: int, items: list[Any]) -> str:
    keys = ("name", "span_id", "parent_id", "trace_id", "start_time", "attributes", "end_time", "duration_us", "status", "end_attrs", "events")
    for kind, *values in items:
        if kind == "stop":
            span = dict(zip(keys, values))
            span["events"] = [dict(zip(("name", "time", "attributes"), event)) for event in span["events"]]
            node.spans.append(span)
    return "ok"


def _incr(node: Any, key: Any, amount: int = 1) -> Any:
    value = node.state.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool):
        return "error", "not_an_integer"
    node.state[key] = value + amount
    return value + amount


def _get(node: Any, key: Any, found: Any = None) -> Any:
    if found is None:
        return node.state.get(key)
    return [node.state[key]] if key in node.state else []


def _delete(node: Any, key: Any) -> None:
    node.state.pop(key, None)


def _set(node: Any, key: Any, value: Any) -> None:
    node.state[key] = value


BUILT_IN: dict[str, Callable[..., Any]] = {
    "_py_log": _log,
    "_py_span": _span,
    "state_clear": lambda node: node.state.clear(),
    "state_decr": lambda node, key, amount=1: _incr(node, key, -amount),
    "state_delete": _delete,
    "state_get": _get,
    "state_incr": _incr,
    "state_keys": lambda node: list(node.state),
    "state_set": _set,
}
