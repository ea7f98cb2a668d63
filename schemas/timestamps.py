"""RFC 3339 timestamps, read and written."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

#: A leap second is legal; the fraction has an end so that a timestamp cannot fill an event.
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|(60))"
    r"(?:\.[0-9]{1,30})?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def epoch_of(timestamp: str) -> float:
    """Return the epoch seconds of an RFC 3339 timestamp; raise ValueError, without a word of it, for others.

    Digits below a microsecond are dropped. A leap second is the second after it.
    """
    match = _RFC3339.fullmatch(timestamp)
    if match is None:
        raise ValueError("not an RFC 3339 timestamp")
    start, end = match.span(1)
    is_leap_second = start >= 0
    if is_leap_second:
        timestamp = f"{timestamp[:start]}59{timestamp[end:]}"
    try:
        moment = datetime.fromisoformat(timestamp.upper())
    except ValueError:  # no such day
        raise ValueError("not an RFC 3339 timestamp") from None
    return moment.timestamp() + is_leap_second


def timestamp_of(epoch_s: float) -> str:
    """Return epoch seconds as an RFC 3339 timestamp in UTC, to the millisecond.

    Raises ValueError or OverflowError for a time outside of the years 1 to 9999.
    """
    moment = _EPOCH + timedelta(milliseconds=round(epoch_s * 1000))
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
