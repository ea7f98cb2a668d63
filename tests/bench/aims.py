"""What was aimed at, and what each aim is measured by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OURS = "askrelay (SQLite)"
OURS_POSTGRESQL = "askrelay (PostgreSQL)"
AIO_PIKA = "aio-pika + aiohttp + uvloop"
FASTSTREAM = "FastStream + aiohttp"


@dataclass(frozen=True, slots=True)
class Aim:
    """One figure of ours, alone or as a ratio to a peer's in the same repetition."""

    what: str
    regime: str
    figure: str
    is_at_most: bool
    aim: float
    beyond: float
    ours: str = OURS
    against: str | None = None
    unit: Literal["x", "/s", "ms", "s", "MB"] = "x"
    #: An aim that speaks of so many in flight says nothing about fewer.
    in_flight: int | None = None

    def verdict(self, value: float) -> str:
        """Say how far a value gets."""
        for bound, word in ((self.beyond, "beyond"), (self.aim, "reached")):
            if value <= bound if self.is_at_most else value >= bound:
                return word
        return "not reached"


AIMS = (
    Aim(
        "CPU per question, 0 ms, SQLite, against aio-pika", "0 ms", "cpu_ms", True, 0.6, 0.3, against=AIO_PIKA
    ),
    Aim(
        "CPU per question, 0 ms, PostgreSQL, against aio-pika",
        *("0 ms", "cpu_ms", True, 0.8, 0.4, OURS_POSTGRESQL, AIO_PIKA),
    ),
    Aim("questions a second, 0 ms, against FastStream", "0 ms", "per_s", False, 2, 3, against=FASTSTREAM),
    Aim(
        "3000 ms, 1000 in flight (ideal 333)", "3000 ms", "per_s", False, 330, 332, unit="/s", in_flight=1000
    ),
    Aim(
        "CPU per question, 3000 ms, against FastStream",
        "3000 ms",
        "cpu_ms",
        True,
        0.4,
        0.2,
        against=FASTSTREAM,
    ),
    Aim(
        "peak memory, 3000 ms, 1000 in flight", "3000 ms", "peak_mb", True, 100, 60, unit="MB", in_flight=1000
    ),
    Aim("added latency at 150/s, p50", "latency", "added_p50_ms", True, 5, 3, unit="ms"),
    Aim("added latency at 150/s, p99", "latency", "added_p99_ms", True, 15, 10, unit="ms"),
    Aim("start to first answer", "start", "start_s", True, 1.5, 0.7, unit="s"),
)
