"""Under which conditions the contenders are measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Regime:
    """One condition."""

    name: str
    #: ``backlog``: a queue full of questions is answered. ``rate``: questions come evenly. ``start``: one
    #: question waits while the process starts.
    kind: Literal["backlog", "rate", "start"]
    #: s. What the API takes for an answer.
    latency_s: float = 0.0
    in_flight: int = 64
    #: s. How long a backlog should last; its size follows from what a contender is expected to do.
    backlog_s: float = 10.0
    #: A backlog of so many times what is in flight instead, for an API that sets the pace.
    waves: int | None = None
    #: Questions a second.
    rate: float = 150.0
    #: s. Of questions at that rate, those counted, and those before them.
    counted_s: float = 8.0
    warm_s: float = 3.0

    def questions(self, *, in_flight: int, expected_per_s: float) -> int:
        """Return the size of the backlog."""
        if self.waves is not None:
            return self.waves * in_flight
        most = in_flight / self.latency_s if self.latency_s else expected_per_s
        return in_flight + int(self.backlog_s * min(most, expected_per_s))


REGIMES = (
    Regime("0 ms", "backlog"),
    Regime("50 ms", "backlog", latency_s=0.05, in_flight=256, backlog_s=8),
    Regime("3000 ms", "backlog", latency_s=3, in_flight=1000, waves=6),
    Regime("latency", "rate", latency_s=3, in_flight=1000),
    Regime("start", "start"),
)
#: Questions a second at which doorbells are counted; the full load is the regime without latency.
DOORBELL_RATES = (1.0, 10.0, 50.0, 150.0, 400.0)
DOORBELL_RATES_QUICK = (10.0, 150.0)

_QUICK = {
    "0 ms": replace(REGIMES[0], backlog_s=2),
    "50 ms": replace(REGIMES[1], backlog_s=2),
    "3000 ms": replace(REGIMES[2], in_flight=300, waves=2),
    "latency": replace(REGIMES[3], latency_s=0.05, in_flight=256, counted_s=3, warm_s=1),
    "start": REGIMES[4],
}


def doorbell_regime(rate: float, *, is_quick: bool) -> Regime:
    """Return the condition in which doorbells are counted at a rate."""
    # Enough questions at a slow rate, enough time at a fast one.
    counted_s = max(3.0 if is_quick else 5.0, 10 / rate)
    return Regime(f"doorbells {rate:g}/s", "rate", 0.05, 256, rate=rate, counted_s=counted_s, warm_s=0.5)


def chosen(words: str, *, is_quick: bool) -> list[Regime]:
    """Return the regimes whose name contains one of these words, with commas between; all for none."""
    wanted = [word.strip().lower() for word in words.split(",") if word.strip()]
    regimes = [_QUICK[each.name] if is_quick else each for each in REGIMES]
    return [each for each in regimes if not wanted or any(each.name.startswith(word) for word in wanted)]
