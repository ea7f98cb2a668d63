"""How a line looks: the structlog processors for JSON and for a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import structlog
from pydantic_core import PydanticSerializationError, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping
    from typing import TextIO

    from structlog.typing import Processor, WrappedLogger

LogFormat = Literal["auto", "json", "console"]

#: Characters. Ids have at most 255 bytes; what is longer is not meant for a log.
VALUE_CHARS = 512


def processors(log_format: LogFormat, stream: TextIO, *, has_color: bool) -> list[Processor]:
    """Return the chain that turns an event into one line of text; ``auto`` looks at the stream.

    The event's own fields come as one mapping, ``fields``: as keywords structlog would copy them four times.
    """
    is_terminal = stream.isatty()
    if log_format == "json" or (log_format == "auto" and not is_terminal):
        return [_json_line]
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


def _json_line(_logger: WrappedLogger, level: str, event: MutableMapping[str, Any]) -> str:
    """Render time, level and name first, where the eye looks.

    ASCII only, because a log with LANG=C would not take anything else.
    """
    line = {
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "level": level,
        "event": event["event"],
        "worker_id": event["worker_id"],
        **event["fields"],
    }
    try:
        return to_json(line, ensure_ascii=True).decode("ascii")
    except PydanticSerializationError:  # a lone surrogate, in the name of a file say
        return json.dumps(line, separators=(",", ":"), default=str)


def _for_people(
    _logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """On a terminal there is one worker, empty fields are noise, and frames stand one below the other."""
    told = {name: event[name] for name in ("timestamp", "level", "event")}
    told |= {name: value for name, value in event["fields"].items() if value is not None}
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
