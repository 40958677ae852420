"""A stand-in for Erlang, for unit tests of your Python code: with any CPython, without a node and without a worker.

::

    from erlang import testing

    def test_it_doubles():
        with testing.fake() as node:
            node.register("double", lambda x: x * 2)
            assert my_code(21) == 42
            assert node.calls == [("double", [21])]

Inside the ``with`` everything of the package that talks to Erlang talks to the :class:`FakeNode`. Values go through the external term format on
the way to it and back, as they do in a worker, so what Erlang has no counterpart for fails here, too, and a tuple stays a tuple.

With pytest: ``from erlang.testing import erlang_node`` in ``conftest.py``, and a test that has ``erlang_node`` as an argument has a node.

Not here: the loop of a context (``erlang.run`` and ``new_event_loop`` give asyncio's own loop, ``spawn_task`` wants a loop that runs), calls
from Erlang, ``SharedDict``, ``PyBuffer``, and the option ``types``.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic_ns
from typing import Any, Callable, Iterable, Iterator, Optional, Union

from . import _fake, _fake_services, _port
from ._erlang import Atom, Pid, TermError
from ._inlet import Inlet
from .channel import Channel

__all__ = ["FakeNode", "Failure", "fake", "never"]

never = _fake.NEVER
"""In the place of a function: it does not answer. ``timeout=`` is over at once; without one the call fails the test."""


class Failure(Exception):
    """Raised by a registered function: what Python gets is ``CallError(error_class, reason, stack)``. Other exceptions pass as they are, so
    that an assertion in a registered function is seen."""

    def __init__(self, reason: object, error_class: str = "error", stack: str = "") -> None:
        super().__init__(reason, error_class, stack)
        self.reason, self.error_class, self.stack = reason, error_class, stack


class FakeNode:
    """What stands for Erlang. Any thread may use it.

    ``calls`` are the calls of registered functions as ``(name, [argument, ...])``, ``sent`` the messages as ``(pid or name, message)``,
    ``logs`` the log records and ``spans`` the ended spans as dicts, in order.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[Any]]] = []
        self.sent: list[tuple[Any, Any]] = []
        self.logs: list[dict[str, Any]] = []
        self.spans: list[dict[str, Any]] = []
        self.state = _fake_services.State()
        self._functions: dict[str, Any] = {}
        self._names: dict[str, Pid] = {}
        self._gone: dict[Pid, Any] = {}
        self._monitors: list[tuple[Pid, _fake.Job]] = []
        self._queues: dict[Pid, _fake_services.Queue] = {}
        self._pids = 100
        self._call: ContextVar[Optional[_fake.Call]] = ContextVar("erlang_fake_call", default=None)
        self._ops = _fake.Operations(self._serve, self._call)
        self.self: Pid = self.pid()

    def register(self, name: str, function: Callable[..., Any]) -> None:
        """``function(*args)`` is called on the thread that asks; what it returns is the answer. It may raise :class:`Failure`."""
        if not isinstance(name, str):
            raise TypeError(f"the name of a function is a str, not {type(name).__name__}")
        if not callable(function) and function is not never:
            raise TypeError("the function is not callable")
        self._functions[name] = function

    def unregister(self, name: str) -> None:
        self._functions.pop(name, None)

    def pid(self, name: Optional[str] = None) -> Pid:
        """A process that lives, registered under the name if there is one."""
        self._pids += 1
        pid: Pid = _fake.new_pid(self._pids)
        if name is not None:
            self._names[name] = pid
        return pid

    def exit(self, process: Union[Pid, str], reason: object = "normal") -> None:
        """The process ends: what monitors it is told, and sending to it raises :class:`~erlang.ProcessError`."""
        pid = self._names[process] if isinstance(process, str) else process
        self._names = {name: other for name, other in self._names.items() if other != pid}
        self._gone[pid] = _fake.through(reason)
        told = [job for watched, job in self._monitors if watched == pid]
        self._monitors = [entry for entry in self._monitors if entry[0] != pid]
        for job in told:
            job.answer(("down", pid, self._gone[pid]))
        self._ops.deliver_on_main()

    def channel(self, items: Iterable[object] = (), *, size: Optional[int] = None, kind: type[Channel] = Channel) -> Any:
        """A channel with these items in it; ``size`` is how many it holds at most. ``kind`` may be :class:`~erlang.ByteChannel`."""
        pid = self.pid()
        self._queues[pid] = _fake_services.Queue(size)
        channel = kind(pid)
        for item in items:
            self.put(channel, item)
        return channel

    def put(self, channel: Channel, item: object) -> None:
        """What Erlang sends into the channel. ``ValueError`` when it is full or closed."""
        self._queues[channel.pid].offer(_fake.through(item))

    def taken(self, channel: Channel) -> list[Any]:
        """What is in the channel, for Erlang to receive: it is empty afterwards."""
        return self._queues[channel.pid].take_all()

    def close(self, channel: Channel) -> None:
        self._queues[channel.pid].close()

    def inlet(self, items: Iterable[object]) -> Inlet:
        """What Erlang pushes into a stream, which ends after these items."""
        pid = self.pid()
        self._queues[pid] = queue = _fake_services.Queue(None)
        for item in items:
            queue.put(_fake.through(item))
        queue.close()
        return Inlet(pid)

    @contextmanager
    def request(self, *, timeout: Optional[float] = None, trace: Optional[str] = None) -> Iterator[None]:
        """The code inside is part of a call from Erlang with this time limit (seconds) and trace: ``erlang.remaining()``,
        ``erlang.trace_context()``."""
        deadline = monotonic_ns() + int(timeout * 1e9) if timeout is not None else 0
        token = self._call.set(_fake.Call(id=1, deadline=deadline, trace=trace))
        try:
            yield
        finally:
            self._call.reset(token)

    @contextmanager
    def tracing(self) -> Iterator[None]:
        """Spans are recorded inside."""
        from . import _tracing

        _tracing.set_enabled(True)
        try:
            yield
        finally:
            _tracing.set_enabled(False)

    # Operations of docs/protocol.md

    def _serve(self, job: _fake.Job) -> None:
        getattr(self, f"_op_{job.op}")(job, *job.args)

    def _op_exists(self, job: _fake.Job, name: str) -> None:
        job.answer(name in self._functions or name in _fake_services.BUILT_IN)

    def _op_call(self, job: _fake.Job, name: str, args: list[Any]) -> None:
        if name not in self._functions and name in _fake_services.BUILT_IN:
            job.answer(_fake.through(_fake_services.BUILT_IN[name](self, *args)))
            return
        self.calls.append((name, args))
        function = self._functions.get(name)
        if function is None:
            job.fail((Atom("not_found"), name))
            return
        if function is never:
            job.hang(f"the function {name!r}")
            return
        try:
            job.answer(_fake.through(function(*args)))
        except Failure as failure:
            job.fail((Atom("failed"), failure.error_class, _fake.through(failure.reason), failure.stack))
        except TermError as error:
            job.fail((Atom("failed"), "error", f"the fake function gave no term: {error}", ""))
        except Exception as error:
            job.fail(error)

    def _op_send(self, job: _fake.Job, to: Any, message: object) -> None:
        pid = to if isinstance(to, Pid) else self._names.get(_port.text(to))
        if pid is None or pid in self._gone:
            job.fail((Atom("noproc"), to))
            return
        self.sent.append((to, message))
        job.answer("ok")

    def _op_whereis(self, job: _fake.Job, name: Any) -> None:
        job.answer(self._names.get(_port.text(name)))

    def _op_self(self, job: _fake.Job) -> None:
        job.answer(self.self)

    def _op_monitor(self, job: _fake.Job, pid: Pid) -> None:
        if pid in self._gone:
            job.answer(("down", pid, "noproc"))
            return
        self._monitors.append((pid, job))
        job.hang(f"the end of {pid!r}")

    def _op_channel(self, job: _fake.Job, what: Any, pid: Pid, *args: Any) -> None:
        queue = self._queues.get(pid)
        if queue is None:
            job.answer("closed")
            return
        queue.serve(job, _port.text(what), args)

    _op_inlet = _op_channel


@contextmanager
def fake() -> Iterator[FakeNode]:
    """A :class:`FakeNode` that the package talks to until the end of the ``with``. One at a time."""
    node = FakeNode()
    with node._ops.installed():
        yield node


def __getattr__(name: str) -> Any:
    """``erlang_node``, a fixture, where there is pytest."""
    if name != "erlang_node":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import pytest  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise AttributeError("erlang.testing.erlang_node is a pytest fixture, and pytest cannot be imported") from None

    def erlang_node() -> Iterator[FakeNode]:
        """A stand-in for Erlang: see erlang.testing."""
        with fake() as node:
            yield node

    fixture = pytest.fixture(erlang_node)
    setattr(sys.modules[__name__], name, fixture)
    return fixture
