"""Python's view of the Erlang node that started this worker.

* Calling Erlang: :func:`call`, :func:`async_call`, or any registered function by its name: ``erlang.my_function(1, 2)``.
* Processes: :func:`send`, :func:`whereis`, :func:`self`, :func:`monitor`, :func:`demonitor`.
* The call at hand: :func:`deadline`, :func:`remaining`, :func:`trace_context`.
* Going on by itself: :func:`spawn_task`, :func:`sleep`.
* Loops of your own: :func:`run`, :func:`new_event_loop`, :class:`ErlangEventLoop`; :func:`install` and :class:`EventLoopPolicy` for code that
  asks asyncio for its loops; :func:`detect_mode`.
* Queues between the two: :class:`Channel`, :class:`ByteChannel`; what Erlang writes as a file: :class:`PyBuffer`.
* What all contexts share: :func:`state_get`, :func:`state_set`, :func:`state_incr` and the like, :class:`SharedDict`.
* Seen from Erlang: :func:`setup_logging` and :class:`ErlangHandler`; :class:`Span` and :func:`trace`.
* Something else in the place of an answer: :func:`schedule`, :func:`schedule_py`, :func:`schedule_inline`.
* Terms that Python has no type for (:class:`Pid`, :class:`Ref`, :class:`Atom`, ...), the way to say how values of your own classes become
  terms (:func:`encoder`), and the exceptions (:mod:`erlang.errors`).

What needs Erlang raises ``RuntimeError`` where there is none: under ``py_worker --python``, and in any other Python that imports this package.
Tests of your code put a stand-in there: :mod:`erlang.testing`.
"""

from . import _lazy
from ._calls import Function, async_call, call
from .encoders import encoder, register_encoder, unregister_encoder
from .errors import (
    CallError,
    ChannelClosed,
    ErlangError,
    ForbiddenError,
    FunctionNotFound,
    ProcessError,
    StreamAborted,
    SuspensionRequired,
    TermError,
)
from .terms import Atom, BitString, Export, Fun, ImproperList, Pid, Port, Ref, atom, binary_to_term, term_to_binary

TYPE_CHECKING = False
if TYPE_CHECKING:  # loaded when they are asked for, see _lazy
    from ._buffer import PyBuffer
    from ._context import deadline, remaining, trace_context
    from ._event_loop import ErlangEventLoop, new_event_loop
    from ._inlet import Inlet
    from ._logging import ErlangHandler, setup_logging
    from ._loops import ErlangEventLoopPolicy, EventLoopPolicy, get_event_loop_policy, install, run
    from ._mode import ExecutionMode, detect_mode
    from ._processes import Monitor, demonitor, monitor, send, whereis
    from ._processes import self_pid as self
    from ._schedule import InlineScheduleMarker, ScheduleMarker, consume_time_slice, schedule, schedule_inline, schedule_py
    from ._shared_dict import SharedDict
    from ._state import state_clear, state_decr, state_delete, state_get, state_incr, state_keys, state_set
    from ._tasks import sleep, spawn_task
    from ._tracing import Span, trace
    from .byte_channel import ByteChannel, ByteChannelClosed
    from .channel import Channel
    from .errors import SharedDictDestroyed, StateFull

__all__ = [
    "Atom",
    "BitString",
    "ByteChannel",
    "ByteChannelClosed",
    "CallError",
    "Channel",
    "ChannelClosed",
    "ErlangError",
    "ErlangEventLoop",
    "ErlangEventLoopPolicy",
    "ErlangHandler",
    "EventLoopPolicy",
    "ExecutionMode",
    "Export",
    "ForbiddenError",
    "Fun",
    "Function",
    "FunctionNotFound",
    "ImproperList",
    "Inlet",
    "InlineScheduleMarker",
    "Monitor",
    "Pid",
    "Port",
    "ProcessError",
    "PyBuffer",
    "Ref",
    "ScheduleMarker",
    "SharedDict",
    "SharedDictDestroyed",
    "Span",
    "StateFull",
    "StreamAborted",
    "SuspensionRequired",
    "TermError",
    "async_call",
    "atom",
    "binary_to_term",
    "call",
    "consume_time_slice",
    "deadline",
    "demonitor",
    "detect_mode",
    "encoder",
    "get_event_loop_policy",
    "install",
    "monitor",
    "new_event_loop",
    "register_encoder",
    "remaining",
    "run",
    "schedule",
    "schedule_inline",
    "schedule_py",
    "self",
    "send",
    "setup_logging",
    "sleep",
    "spawn_task",
    "state_clear",
    "state_decr",
    "state_delete",
    "state_get",
    "state_incr",
    "state_keys",
    "state_set",
    "term_to_binary",
    "trace",
    "trace_context",
    "unregister_encoder",
    "whereis",
]

__getattr__ = _lazy.attribute
__dir__ = _lazy.names
