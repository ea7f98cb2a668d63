"""Dates and pauses in every form that the API has been seen to use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime, parsedate_tz
from typing import Any

#: Seconds to pause when the API says "too many" but not for how long (PROTOCOL 7).
DEFAULT_PAUSE_S = 30.0
#: Seconds. A pause that has passed already, or is negative, still means that we were too fast.
SHORTEST_PAUSE_S = 1.0
#: Seconds. An absurd pause must not stop the fleet for days (PROTOCOL 7).
LONGEST_PAUSE_S = 3600.0


def iso_moment(value: Any) -> str | None:
    """Return a date as ISO 8601 in UTC, None when it is none.

    Seen: ``2025-07-24T15:03:21.000000Z``, ``2021-01-01 00:00:00``, ``25 Jun 2023 05:01:11``; epoch seconds
    are taken as well. One without a zone is UTC.
    """
    try:
        moment = _moment(value)
    except (ValueError, OverflowError, OSError):
        return None
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _moment(value: Any) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        # Not strptime, whose month names depend on the locale of the process.
        parts = parsedate_tz(value)
        if parts is None:
            return None
        moment = datetime(*parts[:6], tzinfo=UTC)
        return datetime.fromtimestamp(moment.timestamp() - (parts[9] or 0), UTC)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def pause_of(headers: Mapping[str, str]) -> float:
    """Return the seconds that ``Retry-After`` asks for, as a number or a date, within bounds.

    A date is read against the response's own ``Date``, so that a wrong clock on either side does not matter.
    """
    asked = headers.get("Retry-After", "").strip()
    try:
        pause_s = float(asked)
    except ValueError:
        try:
            until = _http_date(asked)
            pause_s = (until - _sent_at(headers)).total_seconds()
        except (ValueError, OverflowError):
            return DEFAULT_PAUSE_S
    if math.isnan(pause_s):
        return DEFAULT_PAUSE_S
    return min(max(pause_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)


def _sent_at(headers: Mapping[str, str]) -> datetime:
    try:
        return _http_date(headers.get("Date", ""))
    except ValueError:
        return datetime.now(UTC)


def _http_date(text: str) -> datetime:
    moment = parsedate_to_datetime(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
