"""The bytes of a body as far as they have arrived, and a position in them. Pure: knows no Erlang, no thread and no loop."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

__all__ = ["Body"]


class Body:
    """Says how much can be taken, or that it depends on what is still to come.

    Nothing is dropped when it is taken: one can go back to it. Not synchronised.
    """

    def __init__(self, length: Optional[int] = None) -> None:
        self.length = length  # of the whole, if it is known
        self.position = 0
        self._data = bytearray()
        self._finished = False
        self._scanned = 0  # between position and here is no line end

    def add(self, piece: bytes) -> None:
        self._data += piece

    def finish(self) -> None:
        """Nothing more arrives."""
        self._finished = True

    @property
    def is_complete(self) -> bool:
        return self._finished or (self.length is not None and len(self._data) >= self.length)

    @property
    def unread(self) -> int:
        return len(self._data) - self.position

    def amount(self, size: Optional[int]) -> Optional[int]:
        """How many bytes a read of ``size`` takes, all for None or less than 0; None: not known yet."""
        if size is not None and 0 <= size <= self.unread:
            return size
        return self.unread if self.is_complete else None

    def some(self, size: Optional[int]) -> Optional[int]:
        """The same for a read that is content with less, but not with nothing."""
        if self.unread or self.is_complete or size == 0:
            return self.unread if size is None or size < 0 else min(size, self.unread)
        return None

    def line(self, size: Optional[int]) -> Optional[int]:
        """The same for the rest of a line, with its end."""
        end = self._data.find(b"\n", max(self.position, self._scanned)) + 1
        found = end - self.position if end else None
        if not end:
            self._scanned = len(self._data)
            if self.is_complete:
                found = self.unread
        if size is not None and 0 <= size <= self.unread:
            return size if found is None else min(size, found)
        return found

    def take(self, size: int) -> bytes:
        start = self.position
        self.position = start + size
        with memoryview(self._data) as view:
            return bytes(view[start : start + size])

    def move(self, to: int) -> int:
        """To that position, or to the end of what is there."""
        self.position = min(to, len(self._data))
        self._scanned = 0
        return self.position

    def find(self, sub: bytes, start: Optional[int], end: Optional[int]) -> int:
        return self._data.find(sub, start, end)

    def all(self) -> bytes:
        return bytes(self._data)

    @property
    def arrived(self) -> int:
        return len(self._data)
