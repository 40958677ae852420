"""Which protocols do nothing with their data but hand it to an ``asyncio.StreamReader``: the loop reads right into the buffer of that one.

Only asyncio's own classes, as they are: who derives from one, or replaces a method, is called as ever.
"""

from __future__ import annotations

import sys
from asyncio import StreamReader, StreamReaderProtocol
from asyncio.base_subprocess import ReadSubprocessPipeProto
from typing import Any, Optional

__all__ = ["asyncios_own", "reader_behind", "was_fed"]


def asyncios_own(module: str, method: Any) -> Any:
    """The method; None if somebody has put another in its place before us."""
    return method if getattr(method, "__globals__", None) is vars(sys.modules[module]) else None


# feed_data() is the same in all of these; later ones have not been compared.
_KNOWN = sys.version_info < (3, 14)
_DATA_RECEIVED = asyncios_own("asyncio.streams", StreamReaderProtocol.data_received)
_PIPE_DATA_RECEIVED = asyncios_own("asyncio.base_subprocess", ReadSubprocessPipeProto.data_received)
_FEED_DATA = asyncios_own("asyncio.streams", StreamReader.feed_data)


def reader_behind(protocol: Any) -> Optional[StreamReader]:
    """The reader that gets all that ``protocol.data_received`` is called with, and whose buffer may be written to; None if there is none.

    What is then in the buffer must be told with :func:`was_fed`.
    """
    received = getattr(getattr(protocol, "data_received", None), "__func__", None) if _KNOWN else None
    if received is None:
        return None
    if received is _DATA_RECEIVED and type(protocol) is StreamReaderProtocol:
        reader = protocol._stream_reader  # type: ignore[attr-defined]
    elif received is _PIPE_DATA_RECEIVED and type(protocol) is ReadSubprocessPipeProto:
        find = getattr(protocol.proc, "reader_behind", None)
        reader = find(protocol.fd) if find is not None else None
    else:
        return None
    if type(reader) is not StreamReader or getattr(reader.feed_data, "__func__", reader) is not _FEED_DATA:
        return None
    return None if reader._eof else reader  # type: ignore[attr-defined]


def was_fed(reader: Any) -> None:
    """What ``StreamReader.feed_data`` does when the data is in its buffer."""
    reader._wakeup_waiter()
    if reader._transport is not None and not reader._paused and len(reader._buffer) > 2 * reader._limit:
        try:
            reader._transport.pause_reading()
        except NotImplementedError:
            reader._transport = None
        else:
            reader._paused = True
