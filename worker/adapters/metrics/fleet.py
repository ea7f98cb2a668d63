"""The ledger's figures as gauges of the fleet."""

from __future__ import annotations

from worker.adapters.ledger.figures import Figures
from worker.adapters.metrics import catalogue as known
from worker.adapters.metrics.catalogue import Metric
from worker.adapters.metrics.numbers import Labels
from worker.core.gate import PROBED

#: Every reason for which the gate may be closed.
GATE_REASONS = sorted({*PROBED, "throttled"})


def fleet_values(figures: Figures) -> dict[Metric, dict[Labels, float]]:
    """Return the values of every fleet-wide gauge."""
    return {
        known.WAITING: {(): figures.waiting},
        known.OLDEST: {(): figures.oldest_waiting_s},
        known.OUTBOX: {("waiting",): figures.outbox_waiting, ("unroutable",): figures.outbox_unroutable},
        known.OUTBOX_OLDEST: {(): figures.oldest_reply_s},
        known.TO_MIRROR: {("waiting",): figures.mirror_waiting, ("refused",): figures.mirror_refused},
        known.DUPLICATES: {(): figures.duplicate_posts},
        known.LATE: {(): figures.late_posts},
        known.GATE_CLOSED: {(reason,): float(figures.gate_reason == reason) for reason in GATE_REASONS},
        known.PACE_REMAINING: {(): figures.pace_remaining},
        known.WORKERS: {(): figures.workers},
    }
