"""The arithmetic: from what a run showed to figures, and from figures to ratios within a repetition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Use:
    """What was used in a stretch of time: CPU seconds of each, and cores that others kept busy."""

    seconds: float
    worker_s: float
    broker_s: float
    database_s: float
    api_s: float
    foreign_cores: float

    def per_question(self, count: int) -> dict[str, float]:
        """Return it in milliseconds per question, as it is stored."""
        return {
            "seconds": self.seconds,
            "cpu_ms": 1000 * self.worker_s / count,
            "broker_ms": 1000 * self.broker_s / count,
            "database_ms": 1000 * self.database_s / count,
            "api_ms": 1000 * self.api_s / count,
            "foreign_cores": self.foreign_cores,
        }


def rate_of(seen: Sequence[tuple[float, int]], *, after: int) -> float:
    """Return the replies a second from number ``after`` to the last; ``seen`` has time and replies so far.

    With ``after`` the number in flight, whole waves are counted: an API that takes 3 s for a thousand at once
    makes replies come in waves, and a window that cuts through one counts it or misses it.
    """
    begun = next(pair for pair in seen if pair[1] >= min(after, seen[-1][1] - 1))
    ended = seen[-1]
    if ended == begun:
        begun = seen[0]
    return (ended[1] - begun[1]) / (ended[0] - begun[0])


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that this share of an ordered row does not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


#: One run as it is stored.
Run = Mapping[str, Any]
#: Repetition, or another name of a run among its like, and what was found in it.
Values = dict[int, float]


def values(runs: Iterable[Run], *, regime: str, contender: str, figure: str) -> Values:
    """Return one figure by repetition."""
    return {
        run["repetition"]: run[figure]
        for run in runs
        if run["regime"] == regime and run["contender"] == contender and run.get(figure) is not None
    }


def ratios(ours: Values, theirs: Values) -> list[float]:
    """Return ours to theirs, repetition by repetition: what both ran under at about the same time."""
    return [ours[each] / theirs[each] for each in sorted(ours.keys() & theirs.keys()) if theirs[each]]


def in_order(runs: Iterable[Run], key: str) -> list[Any]:
    """Return the different values of a key in the order in which they first came."""
    return list(dict.fromkeys(run[key] for run in runs))
