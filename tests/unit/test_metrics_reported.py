"""The loops report what happened to the meters: once each, with codes, and nothing of what contacts wrote."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.unit import test_runtime_intake as intake, test_runtime_relay as relay, test_runtime_turns as turns
from tests.unit.virtual_time import in_virtual_time, until
from worker.core.errors import LeaseLost, QuestionRejected, Unreachable
from worker.core.model import Acceptance
from worker.core.ports import PublishResult


class Recorder:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def events_taken(self, result: str, count: int, *, error_code: str = "") -> None:
        self.told.append(("events", result, count, error_code))

    def turn_ended(self, verdict: str, *, error_code: str, outcome: str) -> None:
        self.told.append(("turn", verdict, error_code, outcome))

    def turn_lost(self, reason: str) -> None:
        self.told.append(("lost", reason))

    def question_ended(self, *, waited_s: float, answered_after_s: float | None) -> None:
        self.told.append(("question", answered_after_s is not None))

    def replies_tried(self, result: str, count: int) -> None:
        self.told.append(("replies", result, count))


def take(bench: intake.Bench, *deliveries: Any) -> list[tuple[Any, ...]]:
    recorder = bench.intake.meters = Recorder()
    in_virtual_time(bench.take(*deliveries))
    return recorder.told


def test_events_are_counted_by_what_became_of_them() -> None:
    bench = intake.Bench()
    results = ["new", "repeat_finished", "conflict", "new"]
    bench.ledger.script("accept", [Acceptance(result) for result in results])
    told = take(bench, *(intake.delivery(f"evt-{number}") for number in range(4)), intake.raw(b"no json"))
    assert sorted(told) == [
        ("events", "new", 2, ""),
        ("events", "rejected", 1, "id_conflict"),
        ("events", "rejected", 1, "malformed_event"),
        ("events", "repeat_finished", 1, ""),
    ]


def test_ratings_are_counted_by_what_became_of_them() -> None:
    bench = intake.Bench()
    bench.ledger.script("accept_ratings", ["new", "repeat", "unmatched"])
    told = take(bench, *(intake.rating(f"evt-{number}") for number in range(3)))
    assert sorted(told) == [
        ("events", "rated", 1, ""),
        ("events", "rejected", 1, "unmatched_rating"),
        ("events", "repeat_rated", 1, ""),
    ]


def test_a_rejection_that_was_not_confirmed_is_not_counted_because_it_comes_again() -> None:
    bench = intake.Bench()
    bench.bus.script("reject", PublishResult.NOT_CONFIRMED)
    assert take(bench, intake.raw(b"no json")) == []


def test_a_reply_of_ours_that_comes_back_is_counted() -> None:
    own = {
        "specversion": "1.0",
        "id": "reply-1",
        "source": "askrelay",
        "type": "contact.question.answered",
        "data": {},
    }
    assert take(intake.Bench(), intake.raw(json.dumps(own).encode())) == [("events", "own_reply", 1, "")]


def run_turns(bench: turns.Bench) -> list[tuple[Any, ...]]:
    recorder = bench.turns.meters = Recorder()
    bench.ledger.script("claim", turns.claims(1))

    async def scenario() -> None:
        await until(lambda: recorder.told, "something was reported")
        await asyncio.sleep(0)

    bench.run(scenario)
    return recorder.told


def test_an_answer_is_reported_as_a_turn_and_as_the_end_of_a_question() -> None:
    assert run_turns(turns.Bench()) == [("turn", "answered", "", "posted"), ("question", True)]


def test_a_failure_ends_a_question_without_an_answer() -> None:
    bench = turns.Bench()
    bench.assistant.script("post_question", QuestionRejected("post_question: 400"))
    assert run_turns(bench) == [("turn", "failed", "question_rejected", ""), ("question", False)]


def test_a_retry_ends_no_question() -> None:
    bench = turns.Bench()
    bench.assistant.script("post_question", Unreachable("post_question: refused"))
    assert run_turns(bench) == [("turn", "retry", "unreachable", "")]


def test_a_turn_without_a_verdict_is_reported_as_lost() -> None:
    bench = turns.Bench()
    bench.ledger.script("finish", LeaseLost())
    assert run_turns(bench) == [("lost", "lease_lost")]


def test_a_crash_is_reported_as_one() -> None:
    bench = turns.Bench()
    bench.ledger.script("finish", RuntimeError("a bug"))
    assert run_turns(bench) == [("lost", "crashed")]


def test_replies_are_counted_by_what_the_broker_said() -> None:
    bench = relay.Bench()
    recorder = bench.relay.meters = Recorder()
    results = [PublishResult.CONFIRMED, PublishResult.RETURNED, PublishResult.CONFIRMED]
    bench.bus.script("publish", results)

    async def scenario() -> None:
        for number in range(3):
            bench.relay.publish(relay.entry(number))
        await until(lambda: recorder.told, "something was reported")

    bench.run(scenario)
    assert sorted(recorder.told)[:2] == [("replies", "confirmed", 2), ("replies", "returned", 1)]
