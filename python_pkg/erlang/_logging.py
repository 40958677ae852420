"""Python's ``logging`` into Erlang's ``logger``: :func:`setup_logging` and :class:`ErlangHandler`.

Levels are the same on both sides: 10 debug, 20 info, 25 notice, 30 warning, 40 error, 50 critical, 60 alert, 70 emergency; a level in between
is the one below it.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys

from . import _port
from ._bounded import clean, plain_map, shortened
from ._courier import Courier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional, Union

__all__ = ["ErlangHandler", "setup_logging"]

FUNCTION = "_py_log"
_TEXT = 16 * 1024  # characters of one record, traceback included
_LAST_WORDS = 0.5  # seconds
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_NAMES = {"debug": 10, "info": 20, "notice": 25, "warning": 30, "error": 40, "critical": 50, "alert": 60, "emergency": 70, "none": 1000}

_courier: Optional[Courier] = None


def setup_logging(level: Union[int, str] = 10, format: Optional[str] = None) -> ErlangHandler:
    """Send what Python logs to Erlang's ``logger``, from ``level`` on: a number, or a name of Python's or Erlang's (``"info"``, ``"none"``).

    Puts one :class:`ErlangHandler` on the root logger, or changes the one that is there, and sets the root logger's level. ``format`` is that
    of ``logging.Formatter``; without it the text is the message alone, as the rest is metadata. Raises ``ValueError`` for a level or a format
    that is none; nothing has changed then. Works from ``init`` of a context on; what is logged before the context is up goes with the first
    record after that. Where there is no Erlang at all, the last thousand records are printed to stderr at the end.
    """
    number = _level(level)
    formatter = logging.Formatter(format)
    root = logging.getLogger()
    handler = next((h for h in root.handlers if isinstance(h, ErlangHandler)), None)
    if handler is None:
        handler = ErlangHandler()
        root.addHandler(handler)
    handler.setFormatter(formatter)
    root.setLevel(number)
    return handler


def _level(level: Union[int, str]) -> int:
    if isinstance(level, int) and not isinstance(level, bool):
        return level
    text = _port.text(level).lower()
    number = _NAMES.get(text, logging.getLevelName(text.upper()))
    if not isinstance(number, int):
        raise ValueError(f"there is no log level {level!r}")
    return number


class ErlangHandler(logging.Handler):
    """Hands records to Erlang and does not wait. Any thread.

    In Erlang they are log events of the domain ``[python]`` with the logger's name, file, line, function, time and the record's extra fields.
    A record is sent at once, and together with others where they come fast; what comes faster than Erlang takes it is dropped, and Erlang's
    log says how many. In a forked child, where there is no Erlang, the text goes to stderr.
    """

    def __init__(self, level: int = 0) -> None:
        super().__init__(level)
        _the_courier()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            item = _item(record, shortened(self.format(record), _TEXT))
            if _is_child():
                sys.stderr.write(item[2] + "\n")
            else:
                _the_courier().offer(item)
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Waits until Erlang has taken what was logged, for half a second at most."""
        if not _is_child():
            _the_courier().flush(_LAST_WORDS)


def _item(record: logging.LogRecord, text: str) -> tuple[Any, ...]:
    kind = record.exc_info[0] if record.exc_info else None
    call = _port.current()
    return (
        int(record.levelno),
        shortened(str(record.name), 256),
        text,
        int(record.created * 1e6),
        clean(str(record.pathname)),
        int(record.lineno or 0),
        clean(str(record.funcName)),
        None if kind is None else clean(kind.__qualname__),
        call.trace if call is not None else None,
        plain_map({key: value for key, value in vars(record).items() if key not in _OWN}),
    )


def _the_courier() -> Courier:
    global _courier
    if _courier is None:
        _courier = Courier(FUNCTION, "log records")
    return _courier


_pid = os.getpid()


def _is_child() -> bool:
    return os.getpid() != _pid


@atexit.register
def _last_words() -> None:
    if _courier is not None and not _is_child() and not _courier.flush(_LAST_WORDS) and sys.stderr is not None:
        for item in _courier.leftovers():  # there never was an Erlang
            sys.stderr.write(item[2] + "\n")
