"""Channels: bounded queues between any number of Erlang processes and Python programs.

Erlang makes one (``py_port_channel:new/1``) and passes it as an argument; ``Channel(argument)`` is its Python end. Both ends send and
receive; a message goes to one receiver. What was sent before a channel is closed is still received; then receiving raises
:class:`ChannelClosed` and iteration ends. The queue lives in a process in Erlang: dropping a Channel changes nothing.

A Channel may be used from any thread and loop, and passed back to Erlang as an argument, a result or a message.
"""

from __future__ import annotations

from . import _port, _processes
from ._erlang import Atom, Pid, register_encoder
from .errors import ChannelClosed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Optional, TypeVar, Union
    from weakref import WeakKeyDictionary

    from ._mailbox import Receiver

    C = TypeVar("C", bound="Channel")

__all__ = ["Channel", "ChannelClosed", "reply"]

TAG = "$py_channel"
PAIR = "$py_byte_channel"
RECEIVE, TRY_RECEIVE, SEND, TRY_SEND, CLOSE, INFO = map(Atom, ("receive", "try_receive", "send", "try_send", "close", "info"))


_LONGEST = 0xFFFFFFFF  # milliseconds that an Erlang timer takes


class Channel:
    """One end of a channel. ``Channel(value)``: the value that Erlang passed for the channel, or a pid, or another Channel.

    ``pid`` is the queue that is received from; where it is one of two (``py_byte_channel``) what is sent goes into the other.
    """

    KIND = "terms"

    def __init__(self, value: Any) -> None:
        self.pid: Pid
        self._to: Pid
        self.pid, self._to = _ends_of(value, self.KIND)
        self._receivers: Optional[WeakKeyDictionary[asyncio.AbstractEventLoop, Receiver]] = None

    def receive(self, timeout: Optional[float] = None, *, timeout_ms: Optional[int] = None) -> Any:
        """The next message; waits for one, without the GIL. Raises :class:`ChannelClosed`, and ``TimeoutError`` after ``timeout`` seconds,
        which loses no message: the channel itself decides whether the message or the end of the time came first.

        ``timeout_ms`` is the same in milliseconds; less than 0 is no limit."""
        _port.warn_if_blocking("Channel.receive", "'await channel.async_receive()'")
        return self._received(_ask(RECEIVE, self.pid, *_limit(timeout, timeout_ms)))

    def try_receive(self, default: Any = None) -> Any:
        """The next message, or ``default`` if there is none now. (Where None may be a message, pass a default of your own.)"""
        answer = _ask(TRY_RECEIVE, self.pid)
        return default if _port.text(answer) == "empty" else self._received(answer)

    async def async_receive(self) -> Any:
        """:meth:`receive` for coroutines. A task that is cancelled while it waits loses no message: its place in the queue stays, and the
        message for it goes to the next ``async_receive`` of this Channel on this loop. So drop a Channel that is not received from any
        more: it leaves its place then."""
        return self._received(_port.value_of(*await self._receiver().next()))

    def send(self, message: object, timeout: Optional[float] = None) -> None:
        """Put a message in; waits while the channel is full. Raises ``TimeoutError`` (the message was not sent), :class:`ChannelClosed`."""
        _port.warn_if_blocking("Channel.send", "'await channel.async_send(...)'")
        _sent(_ask(SEND, self._to, self._outgoing(message), *_milliseconds(timeout)))

    def try_send(self, message: object) -> bool:
        """Put a message in if there is room: False when the channel is full."""
        answer = _ask(TRY_SEND, self._to, self._outgoing(message))
        if _port.text(answer) == "full":
            return False
        _sent(answer)
        return True

    async def async_send(self, message: object) -> None:
        """:meth:`send` for coroutines. When the task is cancelled while it waits, the message may have been sent or not."""
        from ._mailbox import perform

        _sent(_port.value_of(*await perform("channel", (SEND, self._to, self._outgoing(message)))))

    def close(self) -> None:
        """Close the channel for everybody. What is in it can still be received."""
        _ask(CLOSE, self.pid)
        if self._to != self.pid:
            _ask(CLOSE, self._to)

    def info(self) -> dict[str, Any]:
        """What Erlang's ``py_port_channel:info/1`` says, with str as keys. Raises :class:`ChannelClosed` when the process has ended."""
        answer = _ask(INFO, self.pid)
        if not isinstance(answer, dict):
            raise ChannelClosed("the channel is closed")
        return {_port.text(key): value for key, value in answer.items()}

    def __iter__(self: C) -> C:
        return self

    def __next__(self) -> Any:
        try:
            return self.receive()
        except ChannelClosed:
            raise StopIteration from None

    def __aiter__(self: C) -> C:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.async_receive()
        except ChannelClosed:
            raise StopAsyncIteration from None

    def __enter__(self: C) -> C:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __eq__(self, other: object) -> bool:
        return (self.pid, self._to) == (other.pid, other._to) if isinstance(other, Channel) else NotImplemented

    def __hash__(self) -> int:
        return hash((Channel, self.pid))

    def __repr__(self) -> str:
        return f"<erlang.{type(self).__name__} {self.pid!r}>"

    def __reduce__(self) -> Any:
        return type(self), (_plain_term(self),)

    def __del__(self) -> None:
        for receiver in list((getattr(self, "_receivers", None) or {}).values()):
            receiver.close()

    def _receiver(self) -> Receiver:
        """What stands in the queue for coroutines of the loop that runs."""
        import asyncio
        from weakref import WeakKeyDictionary

        from ._mailbox import Receiver

        if self._receivers is None:
            self._receivers = WeakKeyDictionary()
        loop = asyncio.get_running_loop()
        found = self._receivers.get(loop)
        if found is None:
            found = self._receivers[loop] = Receiver("channel", RECEIVE, self.pid)
        return found

    def _received(self, answer: Any) -> Any:
        if isinstance(answer, tuple):
            return self._incoming(answer[1])
        if _port.text(answer) == "timeout":
            raise TimeoutError("no message in time")
        raise ChannelClosed("the channel is closed")

    def _incoming(self, message: Any) -> Any:
        return message

    def _outgoing(self, message: Any) -> Any:
        return message


def _ask(what: Atom, *args: object) -> Any:
    return _port.ask("channel", what, *args)


def _milliseconds(timeout: Optional[float]) -> tuple[int, ...]:
    """The time limit as Erlang has it, never shorter than was asked for; nothing for no limit, or one that is out of Erlang's reach."""
    if timeout is None or timeout * 1000 > _LONGEST:
        return ()
    return (max(0, -int(-timeout * 1000 // 1)),)


def _limit(timeout: Optional[float], timeout_ms: Optional[int]) -> tuple[int, ...]:
    if timeout_ms is None:
        return _milliseconds(timeout)
    if timeout is not None:
        raise TypeError("timeout and timeout_ms are the same thing: give one")
    return _milliseconds(timeout_ms / 1000) if timeout_ms >= 0 else ()


def _sent(answer: Any) -> None:
    said = _port.text(answer)
    if said == "timeout":
        raise TimeoutError("the channel was full for all of the time")
    if said != "ok":
        raise ChannelClosed("the channel is closed")


def _ends_of(value: Any, kind: str) -> tuple[Pid, Pid]:
    """The queue to receive from and the one to send into."""
    if isinstance(value, Pid):
        return value, value
    if isinstance(value, Channel):
        return _of_kind(kind, value.KIND, value.pid, value._to)
    if isinstance(value, tuple) and len(value) == 3 and _port.text(value[0]) == PAIR:
        return _of_kind(kind, "bytes", _ends_of(value[1], "bytes")[0], _ends_of(value[2], "bytes")[0])
    if isinstance(value, tuple) and len(value) == 3 and _port.text(value[0]) == TAG and isinstance(value[1], Pid):
        return _of_kind(kind, _port.text(value[2]), value[1], value[1])
    raise TypeError(f"this is no channel: {value!r}")


def _of_kind(kind: str, given: str, pid: Pid, to: Pid) -> tuple[Pid, Pid]:
    if given != kind:
        raise TypeError(f"this is a channel of {given}, not of {kind}: use {'ByteChannel' if given == 'bytes' else 'Channel'}")
    return pid, to


def _plain_term(channel: Channel) -> tuple[Any, ...]:
    one = (TAG, channel.pid, channel.KIND)
    return one if channel._to == channel.pid else (PAIR, one, (TAG, channel._to, channel.KIND))


def _as_term(channel: Channel) -> tuple[Any, ...]:
    one = (Atom(TAG), channel.pid, Atom(channel.KIND))
    return one if channel._to == channel.pid else (Atom(PAIR), one, (Atom(TAG), channel._to, Atom(channel.KIND)))


register_encoder(Channel, _as_term)


def reply(to: Union[Pid, str, Atom], term: object) -> bool:
    """:func:`erlang.send` under the name that answers to channel messages have in erlang_python. Always True: what fails raises."""
    _processes.send(to, term)
    return True
