"""The loop that sends ratings: within the gate, again after what passes, never after what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from tests.unit.fakes import Highest, Log, LoopClock
from tests.unit.virtual_time import in_virtual_time, until
from worker.core.errors import (
    ConversationGone,
    CreditsExhausted,
    GateClosed,
    LedgerUnavailable,
    OutcomeUnknown,
    QuestionRejected,
    Throttled,
    Unreachable,
)
from worker.core.model import GateNews
from worker.core.policy import CREDITS_PROBE_S
from worker.core.rating import AcceptedRating, DueRating, RatingResult
from worker.runtime.ratings import Ratings


class Rows:
    def __init__(self, clock: LoopClock) -> None:
        self.clock = clock
        self.due: list[tuple[float, DueRating]] = []
        self.ends: list[tuple[str, str | None]] = []
        self.news: list[GateNews] = []
        self.admissions: list[Exception | None] = []
        self.admitted = 0
        self.under_way = 0
        self.failure: Exception | None = None

    def add(self, message_id: int | None = 7) -> None:
        rating = DueRating(len(self.due) + 1, 1, "liked", "crm/test", "evt-1", 123, "session", message_id, 0)
        self.due.append((0.0, rating))

    async def accept_ratings(self, ratings: object) -> list[RatingResult]:
        raise AssertionError(f"intake does that: {ratings} {AcceptedRating}")

    async def take_ratings(self, limit: int) -> list[DueRating]:
        if self.failure is not None:
            raise self.failure
        now = self.clock.boottime()
        taken = [rating for at, rating in self.due if at <= now][:limit]
        self.due = [(at, rating) for at, rating in self.due if rating not in taken]
        return taken

    async def end_rating(
        self, rating: DueRating, end: str, *, code: str | None = None, again_in_s: float = 0.0
    ) -> None:
        self.ends.append((end, code))
        if end in {"put_off", "held_up"}:
            rating = replace(rating, tries=rating.tries + (end == "put_off"))
            self.due.append((self.clock.boottime() + again_in_s, rating))

    async def admit_read(self, lease: object = None, share: str = "reads") -> None:
        # Beside the turns there is one place for a process, that of its healing.
        assert (lease, share) == (None, "healing")
        if self.admissions and (refusal := self.admissions.pop(0)):
            raise refusal
        self.admitted += 1
        self.under_way += 1

    async def end_healing(self) -> None:
        self.under_way = 0

    async def report(self, news: GateNews) -> None:
        self.news.append(news)


class Feedback:
    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.calls: list[tuple[object, ...]] = []

    async def rate_answer(self, *arguments: object) -> None:
        self.calls.append(arguments)
        if self.failures:
            raise self.failures.pop(0)


class Bench:
    def __init__(self) -> None:
        self.clock, self.log, self.feedback = LoopClock(), Log(), Feedback()
        self.rows = Rows(self.clock)
        self.loop = Ratings(self.rows, self.feedback, self.clock, Highest(), self.log)

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        async def both() -> None:
            running = asyncio.create_task(self.loop.run())
            try:
                await scenario()
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

        in_virtual_time(both())

    def run_until_ended(self, count: int) -> None:
        async def scenario() -> None:
            await until(lambda: len(self.rows.ends) == count, f"{count} ends")

        self.run(scenario)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_rating_is_sent_once_and_counted_against_the_pace(bench: Bench) -> None:
    bench.rows.add()
    bench.run_until_ended(1)
    assert bench.feedback.calls == [(123, "session", 7, "liked")]
    assert bench.rows.admitted == 1
    assert bench.rows.ends == [("rated", None)]
    (sent,) = bench.log.of("rating.sent")
    assert sent == {"question_id": "evt-1", "event_source": "crm/test", "message_id": 7}


def test_a_ring_is_heard_at_once(bench: Bench) -> None:
    async def scenario() -> None:
        await asyncio.sleep(1)
        begun = bench.clock.boottime()
        bench.rows.add()
        bench.loop.look()
        assert await until(lambda: bench.rows.ends, "sent") - begun < 0.1

    bench.run(scenario)


@pytest.mark.parametrize("failure", [Unreachable("x"), OutcomeUnknown("x")])
def test_what_passes_is_tried_again(bench: Bench, failure: Exception) -> None:
    bench.rows.add()
    bench.feedback.failures = [failure]
    bench.run_until_ended(2)
    assert [end for end, _ in bench.rows.ends] == ["put_off", "rated"]


def test_only_the_first_time_that_a_rating_is_put_off_is_logged(bench: Bench) -> None:
    bench.rows.add()
    bench.rows.admissions = [GateClosed("pace", retry_in_s=30)]
    bench.feedback.failures = [OutcomeUnknown("x"), Unreachable("x"), OutcomeUnknown("x")]
    bench.run_until_ended(5)
    assert [end for end, _ in bench.rows.ends] == ["held_up", *["put_off"] * 3, "rated"]
    (put_off,) = bench.log.of("rating.put_off")
    assert put_off == {
        "question_id": "evt-1",
        "event_source": "crm/test",
        "message_id": 7,
        "error_code": "outcome_unknown",
    }


@pytest.mark.parametrize(
    ("failure", "news"),
    [
        (Throttled("x", pause_s=20), GateNews("pause", "throttled", 20)),
        (CreditsExhausted("x"), GateNews("pause", "credits_exhausted", CREDITS_PROBE_S)),
    ],
)
def test_a_pause_holds_the_whole_fleet(bench: Bench, failure: Exception, news: GateNews) -> None:
    bench.rows.add()
    bench.feedback.failures = [failure]
    bench.run_until_ended(2)
    assert bench.rows.news == [news]


def test_however_many_wait_one_asks_a_closed_gate(bench: Bench) -> None:
    async def scenario() -> None:
        for _ in range(25):
            bench.rows.add()
        bench.rows.admissions = [GateClosed("pace", retry_in_s=30)] * 4
        await asyncio.sleep(100)
        assert bench.rows.ends == [("held_up", GateClosed.code)] * 10 * 4
        assert bench.feedback.calls == []
        await until(lambda: len(bench.feedback.calls) == 25, "all are sent")
        assert bench.rows.under_way == 0, "its place at the gate is free"

    bench.run(scenario)


def test_nothing_is_sent_through_a_closed_gate(bench: Bench) -> None:
    bench.rows.add()
    bench.rows.admissions = [GateClosed("credits_exhausted", retry_in_s=30)] * 3
    bench.run_until_ended(4)
    assert len(bench.feedback.calls) == 1
    assert bench.rows.ends[-1] == ("rated", None)


@pytest.mark.parametrize("failure", [ConversationGone("x"), QuestionRejected("x")])
def test_what_the_api_will_never_take_is_refused(bench: Bench, failure: Exception) -> None:
    bench.rows.add()
    bench.feedback.failures = [failure]
    bench.run_until_ended(1)
    assert [end for end, _ in bench.rows.ends] == ["refused"]
    assert len(bench.log.of("rating.refused")) == 1


def test_a_rating_without_a_message_makes_no_call(bench: Bench) -> None:
    bench.rows.add(message_id=None)
    bench.run_until_ended(1)
    assert bench.feedback.calls == []
    assert bench.rows.ends == [("refused", "unmatched_rating")]


def test_a_ledger_that_is_away_is_looked_at_again(bench: Bench) -> None:
    async def scenario() -> None:
        bench.rows.add()
        bench.rows.failure = LedgerUnavailable()
        await asyncio.sleep(30)
        bench.rows.failure = None
        await until(lambda: bench.rows.ends, "sent")

    bench.run(scenario)
