"""What makes a worker not ready, and what must never make it not alive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.fakes import FakeClock, Log
from worker.adapters.health import Condition
from worker.adapters.ledger.figures import Figures

FIGURES = Figures(
    waiting=3,
    oldest_waiting_s=1.5,
    outbox_waiting=2,
    outbox_unroutable=1,
    oldest_reply_s=9.0,
    duplicate_posts=0,
    late_posts=0,
    gate_reason=None,
    pace_remaining=42.0,
    workers=2,
)


class Bench:
    """A condition of a process that runs and has all it needs."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.is_stopping = False
        self.figures: Figures | None = FIGURES
        self.silent_since = 0.0
        self.condition = Condition(self.clock, lambda: self.is_stopping)
        self.log = Log()
        self.heard = self.condition.listening(self.log)
        self.heard("bus.connected", link="consume", broker="host")
        self.heard("bus.connected", link="publish", broker="host")
        self.condition.watch(self.stuck, self.read)

    async def read(self) -> Figures | None:
        return self.figures

    def stuck(self, since: float) -> dict[str, float]:
        """Tell of a loop that fell silent at ``silent_since`` and may be so for 120 s."""
        silent_s = self.clock.now - max(self.silent_since, since)
        return {"turns": silent_s} if self.silent_since and silent_s > 120 else {}

    async def missing(self) -> dict[str, Any]:
        told = await self.condition.ready()
        assert told.is_so is not bool(told.details["missing"])
        return dict(told.details["missing"])


async def test_a_worker_that_has_all_it_needs_is_ready() -> None:
    bench = Bench()
    assert await bench.missing() == {}
    assert bench.condition.live().is_so


async def test_a_lost_connection_makes_a_worker_not_ready_and_is_logged_all_the_same() -> None:
    bench = Bench()
    bench.heard("bus.disconnected", link="publish", error_code="broker_closed")
    assert await bench.missing() == {"broker": "not connected: publish"}
    assert bench.log.of("bus.disconnected") == [{"link": "publish", "error_code": "broker_closed"}]


async def test_a_bus_that_is_not_rabbitmq_needs_no_connection() -> None:
    condition = Condition(FakeClock(), lambda: False)
    bench = Bench()
    condition.watch(bench.stuck, bench.read)
    assert (await condition.ready()).is_so


@pytest.mark.parametrize(
    "reason", ["breaker", "credits_exhausted", "credentials_rejected", "project_not_found"]
)
async def test_a_halted_gate_makes_a_worker_not_ready_and_leaves_it_alive(reason: str) -> None:
    bench = Bench()
    bench.figures = replace(FIGURES, gate_reason=reason)
    assert await bench.missing() == {"gate": f"closed: {reason}"}
    assert bench.condition.live().is_so


async def test_a_throttle_leaves_a_worker_ready() -> None:
    bench = Bench()
    bench.figures = replace(FIGURES, gate_reason="throttled")
    assert await bench.missing() == {}


async def test_a_ledger_that_gives_no_figures_makes_a_worker_not_ready() -> None:
    bench = Bench()
    bench.figures = None
    assert await bench.missing() == {"ledger": "away"}


async def test_a_ledger_that_the_worker_itself_misses_makes_it_not_ready() -> None:
    bench = Bench()
    bench.condition.ledger_is(False)
    assert await bench.missing() == {"ledger": "away"}


async def test_a_worker_is_not_ready_before_its_start_and_from_its_stop_on() -> None:
    bench = Bench()
    starting = Condition(bench.clock, lambda: False)
    assert (await starting.ready()).details == {"missing": {"worker": "starting"}}
    assert starting.live().is_so
    starting.ledger_is(False)
    assert (await starting.ready()).details == {"missing": {"worker": "starting", "ledger": "away"}}
    assert starting.live().is_so
    bench.is_stopping = True
    assert await bench.missing() == {"worker": "stopping"}


async def test_a_loop_that_is_stuck_makes_a_worker_not_alive_and_is_named() -> None:
    bench = Bench()
    bench.silent_since = bench.clock.now
    bench.clock.now += 121
    assert bench.condition.live().details == {"stuck": {"turns": 121.0}}
    assert not bench.condition.live().is_so


async def test_loops_that_wait_for_a_ledger_are_alive_and_get_their_time_once_it_is_back() -> None:
    bench = Bench()
    bench.silent_since = bench.clock.now
    bench.condition.ledger_is(False)
    bench.clock.now += 100_000
    assert bench.condition.live().is_so
    bench.condition.ledger_is(True)
    assert bench.condition.live().is_so
    bench.clock.now += 121
    assert not bench.condition.live().is_so
