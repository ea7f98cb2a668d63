"""What libraries log, warn about and raise in threads, brought to the same lines as our own.

Their text may hold what must not be logged: asyncio puts the repr of a callback's arguments into it,
pydantic the rejected input, SQLAlchemy the parameters. So numbers stay, and every other variable part
becomes its type.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

from worker.adapters.logs.exceptions import short_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from worker.adapters.logs.log import StructuredLog
    from worker.core.ports import LogLevel

#: Libraries whose ready-made text is known to start with fixed words; from others only templates are taken.
KNOWN_LIBRARIES = frozenset(
    {"aiohttp", "alembic", "asyncio", "concurrent", "dramatiq", "pika", "prometheus_client", "sqlalchemy"}
)
#: pika tells of every lost connection in five records with tracebacks; bus.disconnected says it in one.
#: pika.callback stays loud: it reports what our own callbacks raised.
DEMOTED = re.compile(r"pika\.(?!callback)")

#: Fixed words at the start of a text, up to the first sign of something variable.
_FIXED_WORDS = re.compile(r"[^<>(){}\[\]'\"`:=\n\d]*")
_PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[#0\- +]*(?:\*|\d+)?(?:\.(?:\*|\d+))?[a-zA-Z]")


class LibraryRecords(logging.Handler):
    """Writes standard-library records as ``library.logged``."""

    def __init__(self, log: StructuredLog) -> None:
        super().__init__(level=logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; never raises, and never falls back to printing the record's arguments."""
        level: LogLevel = "error" if record.levelno >= logging.ERROR else "warning"
        fields: dict[str, Any] = {
            "logger": record.name,
            "message": fixed_text(record),
            "where": f"{short_path(record.pathname)}:{record.lineno}",
        }
        if DEMOTED.match(record.name):
            level = "debug"
        elif record.exc_info and record.exc_info[1] is not None:
            fields["exception"] = record.exc_info[1]
        try:
            self._log.at(level, "library.logged", fields)
        except Exception:  # noqa: BLE001 (a log record must never break the library that wrote it)
            return


def fixed_text(record: logging.LogRecord) -> str:
    """Return a record's text with its numbers and without its other variable parts."""
    template = record.msg if isinstance(record.msg, str) else f"<{type(record.msg).__name__}>"
    if record.args:
        return _filled(template, record.args)
    if record.name.partition(".")[0] in KNOWN_LIBRARIES:
        return _first_words(template)
    return "<text>"


def _filled(template: str, args: Any) -> str:
    values = list(args.values()) if isinstance(args, dict) else list(args)
    position = iter(values)

    def stand_in(_match: re.Match[str]) -> str:
        value = next(position, None)
        return str(value) if isinstance(value, int | float) else f"<{type(value).__name__}>"

    return _PLACEHOLDER.sub(stand_in, template.replace("%%", "%"))


def _first_words(text: str) -> str:
    found = _FIXED_WORDS.match(text)
    return found.group().strip() if found else ""


def install(log: StructuredLog) -> Callable[[], None]:
    """Send records, warnings and uncaught exceptions of this process to the log; returns what undoes it."""
    root, handler = logging.getLogger(), LibraryRecords(log)
    before = (root.handlers[:], root.level, warnings.showwarning, threading.excepthook, sys.unraisablehook)

    def show_warning(  # noqa: PLR0917 (the standard library's signature)
        message: Warning | str,  # noqa: ARG001 (it may repeat its input)
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,  # noqa: ARG001
        line: str | None = None,  # noqa: ARG001
    ) -> None:
        fields = {
            "logger": "py.warnings",
            "message": category.__name__,
            "where": f"{short_path(filename)}:{lineno}",
        }
        log.at("warning", "library.logged", fields)

    def thread_failed(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and args.exc_type is not SystemExit:
            name = args.thread.name if args.thread else "unknown"
            log("loop.crashed", loop=f"thread {name}", exception=args.exc_value)

    def unraisable(args: Any) -> None:
        if args.exc_value is not None:
            fields = {"logger": "sys.unraisablehook", "message": "ignored", "exception": args.exc_value}
            log.at("warning", "library.logged", fields)

    def undo() -> None:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        warnings.showwarning, threading.excepthook, sys.unraisablehook = before[2:]

    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    warnings.showwarning, threading.excepthook = show_warning, thread_failed
    sys.unraisablehook = unraisable
    return undo
