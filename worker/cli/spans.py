"""Times and spans of time as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

#: s. Above each of these, the next larger unit says it better.
_UNITS = ((172_800, 86_400, "days"), (7200, 3600, "h"), (120, 60, "min"))


def span_text(seconds: float) -> str:
    """Return a span such as ``4.2 s``, ``17 min`` or ``3 days``; what is negative counts as nothing."""
    seconds = max(seconds, 0.0)
    for above_s, unit_s, unit in _UNITS:
        if seconds >= above_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def moment_text(epoch_s: float) -> str:
    """Return a moment in UTC to the second: ``2026-11-20 20:00:01Z``."""
    return f"{datetime.fromtimestamp(epoch_s, UTC):%Y-%m-%d %H:%M:%S}Z"


def moment_json(epoch_s: float | None) -> str | None:
    """Return a moment in ISO 8601 with milliseconds, for programs."""
    if epoch_s is None:
        return None
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
