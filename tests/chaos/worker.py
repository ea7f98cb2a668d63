"""A worker that kills or stops itself at a recovery point, or whose clocks are wrong.

    python -m tests.chaos.worker --kill-at question_posted --nth 1 --how SIGKILL --mark FILE

It stands here and not in the worker, so that nothing in production can be told to do this.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from worker.bootstrap import run_worker
from worker.cli.loop import new_event_loop
from worker.core.ports import RecoveryPoint
from worker.settings import load_settings


@dataclass(slots=True)
class SelfHarm:
    """Implements core.ports.RecoveryPoints: sends itself a signal when a point is reached the n-th time."""

    point: RecoveryPoint
    how: signal.Signals
    #: How many times the point is still to be reached.
    left: int
    #: Written before the signal: what proves that it was this point and not some other death.
    mark: Path

    def reached(self, point: RecoveryPoint) -> None:
        """Count, and do it when it is time."""
        if point is not self.point:
            return
        self.left -= 1
        if self.left == 0:
            self.mark.write_text(point)
            os.kill(os.getpid(), self.how)


class Unharmed:
    """Implements core.ports.RecoveryPoints for a worker whose only trouble is its clock."""

    def reached(self, point: RecoveryPoint) -> None:
        """Go on."""


def shift_clocks(*, wall_s: float, boottime_s: float) -> None:
    """Make this process's wall clock and its BOOTTIME wrong, each by its own number of seconds."""
    right_time, right_clock = time.time, time.clock_gettime
    shifts = {time.CLOCK_REALTIME: wall_s, time.CLOCK_BOOTTIME: boottime_s}

    def wrong_time() -> float:
        return right_time() + wall_s

    def wrong_clock(clock: int) -> float:
        return right_clock(clock) + shifts.get(clock, 0.0)

    time.time, time.clock_gettime = wrong_time, wrong_clock


def main() -> None:
    """Run a worker that is not well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kill-at", type=RecoveryPoint, choices=list(RecoveryPoint))
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--how", type=lambda name: signal.Signals[name], default=signal.SIGKILL)
    parser.add_argument("--mark", type=Path)
    parser.add_argument("--wall-off-s", type=float, default=0.0)
    parser.add_argument("--boottime-off-s", type=float, default=0.0)
    wanted = parser.parse_args()
    shift_clocks(wall_s=wanted.wall_off_s, boottime_s=wanted.boottime_off_s)
    points = SelfHarm(wanted.kill_at, wanted.how, wanted.nth, wanted.mark) if wanted.kill_at else Unharmed()
    settings = load_settings(needs=frozenset({"api", "ledger"}))
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run_worker(settings, points=points))


if __name__ == "__main__":
    main()
