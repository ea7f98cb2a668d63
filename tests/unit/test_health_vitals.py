"""Slow is not stuck, waiting is neither, and silence is."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.unit.core_cases import RULES
from tests.unit.fakes import FakeClock
from tests.unit.test_runtime_process import Bench
from worker.runtime.vitals import INTAKE_S, LEDGER_S, SWEEPER_S, Vitals

LOOPS = {"intake", "turns", "leases", "relay", "sweeper"}


def test_a_loop_is_stuck_once_it_was_silent_for_longer_than_its_limit() -> None:
    clock = FakeClock()
    vitals = Vitals(clock, RULES)
    vitals.pulse("turns")
    clock.now += LEDGER_S
    assert vitals.stuck() == {}
    clock.now += 1
    assert vitals.stuck() == {"turns": LEDGER_S + 1}


def test_the_alert_and_its_page_say_from_when_on_a_loop_is_stuck() -> None:
    limits = Vitals(FakeClock(), RULES)._limits.values()
    span = f"{min(limits) / 60:.0f} to {max(limits) / 60:.0f} minutes"
    for page in ("docs/reference/alerts.md", "deploy/prometheus/alerts.yml"):
        assert span in (Path(__file__).parents[2] / page).read_text(encoding="utf-8"), page


def test_a_beat_ends_the_silence() -> None:
    clock = FakeClock()
    vitals = Vitals(clock, RULES)
    pulse = vitals.pulse("turns")
    clock.now += LEDGER_S + 1
    pulse.beat()
    assert vitals.stuck() == {}


def test_a_loop_that_waits_for_others_is_not_stuck_until_it_works_again() -> None:
    clock = FakeClock()
    vitals = Vitals(clock, RULES)
    pulse = vitals.pulse("intake")
    pulse.rest()
    clock.now += 100_000
    assert vitals.stuck() == {}
    pulse.beat()
    clock.now += INTAKE_S + 1
    assert set(vitals.stuck()) == {"intake"}


def test_ratings_and_sweeper_may_wait_for_each_other() -> None:
    clock = FakeClock()
    vitals = Vitals(clock, RULES)
    vitals.pulse("ratings")
    vitals.pulse("sweeper")
    # The sweeper looks once and deletes, a rating is one request: one after the other at their one place.
    clock.now += SWEEPER_S + 2 * RULES.request_timeout_s + LEDGER_S + RULES.request_timeout_s
    assert vitals.stuck() == {}
    clock.now += 1
    assert set(vitals.stuck()) == {"ratings", "sweeper"}


def test_silence_before_the_excuse_ended_does_not_count() -> None:
    clock = FakeClock()
    vitals = Vitals(clock, RULES)
    vitals.pulse("relay")
    clock.now += 1_000
    assert vitals.stuck(since=clock.now - 10) == {}
    assert set(vitals.stuck()) == {"relay"}


def test_nothing_is_stuck_while_the_process_ends() -> None:
    clock = FakeClock()
    vitals = Vitals(clock, RULES)
    vitals.pulse("sweeper")
    vitals.end()
    clock.now += 100_000
    assert vitals.stuck() == {}


def test_every_loop_of_an_idle_process_beats_for_hours() -> None:
    bench = Bench()

    async def scenario() -> None:
        vitals = bench.process.vitals
        for _ in range(100):
            await asyncio.sleep(SWEEPER_S)
            assert set(vitals._pulses) == LOOPS
            assert vitals.stuck() == {}

    bench.run(scenario)


def test_a_loop_whose_ledger_never_answers_is_named() -> None:
    bench = Bench()
    found: dict[str, float] = {}

    async def scenario() -> None:
        bench.ledger.script("claim", asyncio.get_running_loop().create_future())
        bench.process.turns._wake.set()
        await asyncio.sleep(LEDGER_S + 20)
        found.update(bench.process.vitals.stuck())

    bench.run(scenario)
    assert set(found) == {"turns"}
