"""The pace: how many requests may begin now, and when the next ones may (PROTOCOL 7).

Two rules, both over what was begun lately. Never more than the plan's limit in any minute, counted in
buckets: that is what the API enforces. And after a burst no faster than the limit spread evenly: a minute
that is used up in ten seconds makes everybody who asks in the other fifty wait for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

#: s. The window of the plan's limit.
WINDOW_S = 60.0
#: s. Requests are counted in buckets of this width. A bucket counts until one width after its last moment is
#: WINDOW_S old, so that a request that arrives half a second late never makes the API see one too many.
BUCKET_S = 0.5
#: s. So much of the even pace may be used at once after a quiet time.
BURST_S = 10.0
#: Requests at once that even a small plan may use after a quiet time: a new contact needs them.
BURST_LEAST = 3
#: Parts of a request that rounding may take away.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Pace:
    """The plan's limits; 0 is no limit."""

    requests_per_minute: int
    requests_at_once: int

    @property
    def is_limited(self) -> bool:
        """Tell whether there is any limit."""
        return bool(self.requests_per_minute or self.requests_at_once)

    @property
    def step_s(self) -> float:
        """Seconds between two requests at the even pace."""
        return WINDOW_S / self.requests_per_minute

    @property
    def burst(self) -> int:
        """Requests that may begin at once after a quiet time."""
        share = int(self.requests_per_minute * BURST_S / WINDOW_S)
        return min(max(BURST_LEAST, share), self.requests_per_minute)


@dataclass(frozen=True, slots=True)
class Spent:
    """The requests that were begun lately. Times are the ledger's, in seconds."""

    #: By bucket number.
    buckets: dict[int, int] = field(default_factory=dict)
    #: When the next request would be due, had all of them come evenly.
    even_at: float = 0.0


def left(spent: Spent, now: float, pace: Pace) -> float:
    """Return how many requests are left of the minute's limit; negative after the limit was lowered."""
    if not pace.requests_per_minute:
        return math.inf
    return pace.requests_per_minute - sum(_counted(spent, now).values())


def ready(spent: Spent, now: float, pace: Pace) -> float:
    """Return how many requests may begin now."""
    if not pace.requests_per_minute:
        return math.inf
    behind_s = now - max(spent.even_at, now)
    evenly = math.floor(behind_s / pace.step_s + pace.burst + _ROUNDING)
    return max(min(left(spent, now, pace), evenly), 0)


def ready_in_s(spent: Spent, now: float, pace: Pace, count: int = 1) -> float:
    """Return in how many seconds so many requests may begin; 0 when they may now.

    More than a plan ever lets begin at once are waited for as if they were that many. Where these may begin
    already, time alone brings nothing: it is the others that have to be fewer.
    """
    free = ready(spent, now, pace)
    if free >= count:
        return 0.0
    if free >= pace.burst:
        return max(pace.step_s, BUCKET_S)
    count = min(count, pace.burst)
    evenly_in_s = spent.even_at + (count - pace.burst) * pace.step_s - now
    missing = count - left(spent, now, pace)
    window_in_s = 0.0
    for bucket, begun in sorted(_counted(spent, now).items()):
        if missing <= 0:
            break
        missing -= begun
        window_in_s = (bucket + 2) * BUCKET_S + WINDOW_S - now
    return max(evenly_in_s, window_in_s, BUCKET_S / 10)


def spend(spent: Spent, now: float, pace: Pace, count: int = 1) -> Spent:
    """Count requests that begin now."""
    if not pace.requests_per_minute:
        return spent
    bucket = math.floor(now / BUCKET_S)
    buckets = _counted(spent, now)
    buckets[bucket] = buckets.get(bucket, 0) + count
    return Spent(buckets, max(spent.even_at, now) + count * pace.step_s)


def _counted(spent: Spent, now: float) -> dict[int, int]:
    """Return the buckets that count: those whose end, and one bucket's width more, is not WINDOW_S ago."""
    first = math.ceil((now - WINDOW_S) / BUCKET_S) - 2
    return {bucket: count for bucket, count in spent.buckets.items() if bucket >= first}
