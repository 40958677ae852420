"""Attributes of the package that are looked for when somebody asks: its own rarer parts, so that a context starts quickly, and registered
Erlang functions."""

from __future__ import annotations

import sys
from importlib import import_module

from ._calls import function_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["attribute", "names"]

_PARTS = {
    "ByteChannel": ("byte_channel", "ByteChannel"),
    "ByteChannelClosed": ("byte_channel", "ByteChannelClosed"),
    "Channel": ("channel", "Channel"),
    "ErlangEventLoop": ("_event_loop", "ErlangEventLoop"),
    "ErlangEventLoopPolicy": ("_loops", "ErlangEventLoopPolicy"),
    "ErlangHandler": ("_logging", "ErlangHandler"),
    "EventLoopPolicy": ("_loops", "EventLoopPolicy"),
    "ExecutionMode": ("_mode", "ExecutionMode"),
    "Inlet": ("_inlet", "Inlet"),
    "InlineScheduleMarker": ("_schedule", "InlineScheduleMarker"),
    "Monitor": ("_processes", "Monitor"),
    "PyBuffer": ("_buffer", "PyBuffer"),
    "ScheduleMarker": ("_schedule", "ScheduleMarker"),
    "SharedDict": ("_shared_dict", "SharedDict"),
    "SharedDictDestroyed": ("errors", "SharedDictDestroyed"),
    "Span": ("_tracing", "Span"),
    "StateFull": ("errors", "StateFull"),
    "consume_time_slice": ("_schedule", "consume_time_slice"),
    "deadline": ("_context", "deadline"),
    "demonitor": ("_processes", "demonitor"),
    "detect_mode": ("_mode", "detect_mode"),
    "get_event_loop_policy": ("_loops", "get_event_loop_policy"),
    "install": ("_loops", "install"),
    "monitor": ("_processes", "monitor"),
    "new_event_loop": ("_event_loop", "new_event_loop"),
    "remaining": ("_context", "remaining"),
    "run": ("_loops", "run"),
    "schedule": ("_schedule", "schedule"),
    "schedule_inline": ("_schedule", "schedule_inline"),
    "schedule_py": ("_schedule", "schedule_py"),
    "self": ("_processes", "self_pid"),
    "send": ("_processes", "send"),
    "setup_logging": ("_logging", "setup_logging"),
    "sleep": ("_tasks", "sleep"),
    "spawn_task": ("_tasks", "spawn_task"),
    "state_clear": ("_state", "state_clear"),
    "state_decr": ("_state", "state_decr"),
    "state_delete": ("_state", "state_delete"),
    "state_get": ("_state", "state_get"),
    "state_incr": ("_state", "state_incr"),
    "state_keys": ("_state", "state_keys"),
    "state_set": ("_state", "state_set"),
    "trace": ("_tracing", "trace"),
    "trace_context": ("_context", "trace_context"),
    "whereis": ("_processes", "whereis"),
}
_MODULES = ("byte_channel", "channel", "encoders", "errors", "terms", "testing")


def attribute(name: str) -> Any:
    """``__getattr__`` of the package. Its own names are stored, so that they come here once; Erlang functions are not, as they change."""
    package = sys.modules[__package__]
    if name in _MODULES:
        return import_module(f".{name}", __package__)
    if name not in _PARTS:
        return function_named(name)
    module, inside = _PARTS[name]
    value = getattr(import_module(f".{module}", __package__), inside)
    setattr(package, name, value)
    return value


def names() -> list[str]:
    """``__dir__`` of the package: without Erlang functions, of which there is no list here."""
    return sorted({*vars(sys.modules[__package__]), *_PARTS, *_MODULES})
