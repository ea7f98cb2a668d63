"""RFC 3339 timestamps, read and written."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

#: A leap second is legal; the fraction has an end so that a timestamp cannot fill an event.
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)"
    r"(?:\.([0-9]{1,30}))?([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def epoch_of(timestamp: str) -> float:
    """Return the epoch seconds of an RFC 3339 timestamp; raise ValueError, without a word of it, for others.

    Digits below a microsecond are dropped. A leap second is the second after it.
    """
    match = _RFC3339.fullmatch(timestamp)
    if match is None:
        raise ValueError("not an RFC 3339 timestamp")
    day, hour, minute, second, fraction, zone = match.groups()
    offset = "+00:00" if zone in {"Z", "z"} else zone
    try:
        start_of_minute = datetime.fromisoformat(f"{day}T{hour}:{minute}:00{offset}")
    except ValueError:  # no such day
        raise ValueError("not an RFC 3339 timestamp") from None
    rest = timedelta(seconds=int(second), microseconds=int((fraction or "0")[:6].ljust(6, "0")))
    return (start_of_minute - _EPOCH + rest).total_seconds()


def timestamp_of(epoch_s: float) -> str:
    """Return epoch seconds as an RFC 3339 timestamp in UTC, to the millisecond.

    Raises ValueError or OverflowError for a time outside of the years 1 to 9999.
    """
    moment = _EPOCH + timedelta(milliseconds=round(epoch_s * 1000))
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
