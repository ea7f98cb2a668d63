"""The log: writes events of the closed list, with the fields the list allows."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import structlog

from worker.adapters.logs.exceptions import described, type_name
from worker.adapters.logs.render import LogFormat, printable, processors
from worker.core.log_events import EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

    from worker.core.ports import LogLevel

LEVELS: Mapping[LogLevel, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}

#: The fields of each event; a tuple of twenty names would be searched for every one of them.
_FIELDS = {name: frozenset(event.fields) for name, event in EVENTS.items()}

_PLAIN = frozenset({int, float, bool, type(None)})


class StructuredLog:
    """Implements core.ports.Log with structlog.

    ``is_strict`` is for tests: an event that is not in the list, a field that the event does not have and a
    value that is no plain one raise. Without it the event or field is left out: a log never stops a worker,
    and what nobody has looked at is not written.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        log_format: LogFormat,
        level: LogLevel,
        worker_id: str,
        has_color: bool = True,
        is_strict: bool = False,
    ) -> None:
        logger = structlog.wrap_logger(
            structlog.WriteLogger(stream),
            processors=processors(log_format, stream, has_color=has_color),
            wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
            context_class=dict,
        ).bind(worker_id=worker_id)
        self._threshold = LEVELS[level]
        self._is_strict = is_strict
        self._writers: dict[LogLevel, Callable[..., Any]] = {
            "debug": logger.debug,
            "info": logger.info,
            "warning": logger.warning,
            "error": logger.error,
        }

    def __call__(self, event: str, /, **fields: Any) -> None:
        """Write one line at the level that the list gives the event."""
        known = EVENTS.get(event)
        if known is None:
            self._complain(f"{event} is not in core/log_events.py")
            return
        self.at(known.level, event, fields)

    def at(self, level: LogLevel, event: str, fields: Mapping[str, Any]) -> None:
        """Write one line at another level than the list's: for what libraries log."""
        if LEVELS[level] < self._threshold and not self._is_strict:
            return
        allowed = _FIELDS[event]
        kept: dict[str, Any] = {}
        for name, value in fields.items():
            if name not in allowed:
                self._complain(f"{event} has no field {name} in core/log_events.py")
                continue
            kind = type(value)
            if kind is str:
                kept[name] = printable(value)
            elif kind in _PLAIN:
                kept[name] = value
            else:
                kept[name] = self._tame(name, value)
        # A full disk or a closed pipe must not stop a turn; there is no place left to say so.
        with contextlib.suppress(OSError, ValueError):
            self._writers[level](event, fields=kept)

    def _tame(self, name: str, value: object) -> object:
        """Make a value fit for a line: text without control characters, an exception without its message."""
        if isinstance(value, str):
            return printable(str(value))
        if isinstance(value, int | float):  # an IntEnum, say
            return value + 0
        if isinstance(value, BaseException):
            return described(value) if name == "exception" else type_name(value)
        self._complain(f"{name} is a {type(value).__name__}, not text, a number or an exception")
        return f"<{type(value).__name__}>"

    def _complain(self, problem: str) -> None:
        if self._is_strict:
            raise ValueError(f"Bug: {problem}")
