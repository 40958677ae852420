"""Channels of bytes (``py_port_channel:new(#{bytes => true})``, ``py_byte_channel:new/0``): messages are binaries and arrive as bytes,
whatever they contain and whatever the context's type options say."""

from __future__ import annotations

from .channel import Channel, ChannelClosed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

__all__ = ["ByteChannel", "ByteChannelClosed"]

ByteChannelClosed = ChannelClosed


class ByteChannel(Channel):
    """A :class:`~erlang.channel.Channel` of which each message is a bytes object; what is sent may be any bytes-like object.

    One of ``py_byte_channel`` has a queue for each direction: what is sent here, Erlang receives, and never this side.
    """

    KIND = "bytes"

    def receive_bytes(self, timeout: Optional[float] = None, *, timeout_ms: Optional[int] = None) -> bytes:
        """:meth:`receive`."""
        data: bytes = self.receive(timeout, timeout_ms=timeout_ms)
        return data

    def try_receive_bytes(self, default: Any = None) -> Any:
        """:meth:`try_receive`; there is no message that is None here."""
        return self.try_receive(default)

    async def async_receive_bytes(self) -> bytes:
        """:meth:`async_receive`."""
        data: bytes = await self.async_receive()
        return data

    async def async_send_bytes(self, data: Any) -> None:
        """:meth:`async_send`."""
        await self.async_send(data)

    def send_bytes(self, data: Any, timeout: Optional[float] = None) -> None:
        """:meth:`send`."""
        self.send(data, timeout)

    def _incoming(self, message: Any) -> bytes:
        # A binary that is UTF-8 may have come as str, which encodes to the bytes it was.
        return message.encode() if isinstance(message, str) else bytes(message)

    def _outgoing(self, message: Any) -> Any:
        if not isinstance(message, (bytes, bytearray, memoryview)):
            raise TypeError(f"a ByteChannel carries bytes, not {type(message).__name__}")
        return message
