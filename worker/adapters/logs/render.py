"""How a line looks: the structlog processors for JSON and for a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping
    from typing import TextIO

    from structlog.typing import Processor, WrappedLogger

LogFormat = Literal["auto", "json", "console"]

#: Characters. Ids have at most 255 bytes; what is longer is not meant for a log.
VALUE_CHARS = 512

_LEADING = ("timestamp", "level", "event")


def processors(log_format: LogFormat, stream: TextIO, *, has_color: bool) -> list[Processor]:
    """Return the chain that turns an event into one line of text; ``auto`` looks at the stream."""
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    is_terminal = stream.isatty()
    if log_format == "json" or (log_format == "auto" and not is_terminal):
        return [stamp, structlog.stdlib.add_log_level, _lead, structlog.processors.JSONRenderer(_to_json)]
    console = structlog.dev.ConsoleRenderer(
        colors=has_color and is_terminal,
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,  # the default one would show locals
    )
    return [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        structlog.stdlib.add_log_level,
        _for_people,
        console,
    ]


def printable(value: str) -> str:
    """Return text that cannot steer a terminal or forge a line."""
    text = value if len(value) <= VALUE_CHARS else value[:VALUE_CHARS] + "..."
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _to_json(event: object, **_: Any) -> str:
    return _encode(event)


# One encoder for all lines: json.dumps with options makes a new one every time. ASCII only, because
# a log with LANG=C would not take anything else.
_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


def _lead(_logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put time, level and name first, where the eye looks."""
    return {name: event.pop(name) for name in _LEADING} | dict(event)


def _for_people(
    _logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """On a terminal there is one worker, empty fields are noise, and frames stand one below the other."""
    told = {name: value for name, value in event.items() if value is not None and name != "worker_id"}
    if isinstance(told.get("exception"), dict):
        told["exception"] = "\n".join(_story(told["exception"]))
    return told


def _story(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield an exception's lines: what it is, where it came from, what caused it."""
    yield " ".join(str(told[name]) for name in ("type", "code", "errno", "detail") if told.get(name))
    yield from (f"  {frame}" for frame in told["frames"])
    if "cause" in told:
        yield "caused by"
        yield from _story(told["cause"])
    for member in told.get("group", ()):
        yield "with"
        yield from _story(member)
