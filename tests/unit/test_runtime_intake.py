"""Intake settles a delivery only when its event is safe somewhere (PROTOCOL 2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.unit.fakes import FakeBell, FakeBus, FakeLedger, Highest, Log, LoopClock, Points
from tests.unit.virtual_time import in_virtual_time, until
from worker.core.errors import LedgerUnavailable
from worker.core.model import Acceptance, MessageOptions
from worker.core.ports import Delivery, PublishResult, RecoveryPoint
from worker.runtime.intake import LEDGER_AWAY_S, Intake, IntakeRules

NOT_CONFIRMED = PublishResult.NOT_CONFIRMED


def delivery(event_id: str = "evt-1", **data: Any) -> Delivery:
    """Return an event as the broker delivers it; keywords are fields of its data."""
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": "crm/test",
        "type": "contact.question.asked",
        "time": "2026-11-20T20:00:00Z",
        "data": {"contact_id": "EXT_1", "question": "May I?", **data},
    }
    return raw(json.dumps(event).encode())


def rating(question_id: str = "evt-1") -> Delivery:
    """Return the rating of an answer as the broker delivers it."""
    event = {
        "specversion": "1.0",
        "id": f"rating of {question_id}",
        "source": "crm/test",
        "type": "contact.answer.rated",
        "data": {"question_source": "crm/test", "question_id": question_id, "rating": "liked"},
    }
    return raw(json.dumps(event).encode())


def raw(body: bytes, **properties: Any) -> Delivery:
    fields = {
        "content_type": "application/cloudevents+json",
        "content_encoding": None,
        "message_id": None,
        "app_id": None,
        "type": None,
        "headers": {},
        "is_redelivered": False,
        "receipt": object(),
    }
    return Delivery(body=body, **{**fields, **properties})


@dataclass
class Bench:
    """An intake on fakes, in virtual time."""

    answer_within_s: float | None = None
    event_options: frozenset[str] = frozenset()
    repeats: list[None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bus, self.bell, self.clock = FakeBus(), FakeBell(), LoopClock()
        self.ledger, self.points, self.log = FakeLedger(self.clock), Points(), Log()
        self.intake = Intake(
            bus=self.bus,
            ledger=self.ledger,
            bell=self.bell,
            clock=self.clock,
            randomness=Highest(),
            points=self.points,
            log=self.log,
            rules=IntakeRules("crm", self.answer_within_s, self.event_options),
            on_repeat=lambda: self.repeats.append(None),
        )

    async def take(self, *deliveries: Delivery) -> None:
        await self.intake.take_batch(list(deliveries))

    @property
    def accepted(self) -> list[str]:
        return [question.event_id for (batch,) in self.ledger.called("accept") for question in batch]


def test_an_event_is_acked_after_it_was_written_and_then_the_bell_rings() -> None:
    bench = Bench()
    order: list[str] = []

    def accept(batch: Any) -> list[Acceptance]:
        order.append("written")
        assert not bench.bus.acked
        assert not bench.bell.rings
        return [Acceptance("new") for _ in batch]

    bench.ledger.script("accept", accept)
    first, second = delivery("a"), delivery("b")
    in_virtual_time(bench.take(first, second))
    assert order == ["written"]
    assert bench.bus.acked == [first, second]
    assert bench.bell.rings == 1
    assert bench.points.seen[:3] == [
        RecoveryPoint.BATCH_RECEIVED,
        RecoveryPoint.BATCH_ACCEPTED,
        RecoveryPoint.BATCH_ACKED,
    ]


def test_a_batch_goes_to_the_ledger_in_one_piece_and_in_order() -> None:
    bench = Bench()
    in_virtual_time(bench.take(*(delivery(f"evt-{i}") for i in range(5))))
    assert len(bench.ledger.called("accept")) == 1
    assert bench.accepted == [f"evt-{i}" for i in range(5)]


def test_what_cannot_be_read_is_put_aside_with_a_reason_and_then_acked() -> None:
    bench = Bench()
    bad, good = raw(b"no json"), delivery()
    in_virtual_time(bench.take(bad, good))
    ((rejected, reason, detail),) = bench.bus.called("reject")
    assert (rejected, reason) == (bad, "malformed_event")
    assert detail
    assert set(map(id, bench.bus.acked)) == {id(bad), id(good)}
    assert bench.accepted == ["evt-1"]


def test_what_could_not_be_put_aside_is_not_acked_and_comes_again() -> None:
    bench = Bench()
    bench.bus.script("reject", NOT_CONFIRMED)
    bad, good = raw(b"no json"), delivery()
    in_virtual_time(bench.take(bad, good))
    assert bench.bus.acked == [good]
    assert bench.bus.called("reset_intake")


def test_what_could_not_be_put_aside_is_said_once_per_trouble_and_as_rejected_only_when_it_is() -> None:
    bench = Bench()
    bad, worse = raw(b"no json"), raw(b"no json either")

    async def scenario() -> None:
        bench.bus.script("reject", NOT_CONFIRMED, PublishResult.RETURNED, NOT_CONFIRMED, NOT_CONFIRMED)
        await bench.take(bad, worse)
        await bench.take(bad, worse)
        assert not bench.log.of("event.rejected")
        [line] = bench.log.of("event.not_rejected")
        assert (line["error_code"], line["reason"]) == ("malformed_event", "not_confirmed")
        await bench.take(bad, worse)
        assert len(bench.log.of("event.rejected")) == 2
        assert len(bench.log.of("event.not_rejected")) == 1
        bench.bus.script("reject", PublishResult.RETURNED)
        await bench.take(bad)

    in_virtual_time(scenario())
    assert [line["reason"] for line in bench.log.of("event.not_rejected")] == ["not_confirmed", "returned"]


@pytest.mark.parametrize(("result", "reason"), [("conflict", "id_conflict"), ("refused", "malformed_event")])
def test_what_the_ledger_does_not_take_is_rejected(result: Any, reason: str) -> None:
    bench = Bench()
    bench.ledger.script("accept", [Acceptance(result), Acceptance("new")])
    bad, good = delivery("a"), delivery("b")
    in_virtual_time(bench.take(bad, good))
    assert [(each, why) for each, why, _ in bench.bus.called("reject")] == [(bad, reason)]
    assert len(bench.bus.acked) == 2


@pytest.mark.parametrize(
    ("result", "rings", "repeats"),
    [("repeat_unfinished", 1, 0), ("repeat_finished", 0, 1), ("erased", 0, 0), ("new", 1, 0)],
)
def test_a_repeat_rings_or_publishes_again_and_is_acked(result: Any, rings: int, repeats: int) -> None:
    bench = Bench()
    bench.ledger.script("accept", [Acceptance(result)])
    in_virtual_time(bench.take(delivery()))
    assert (bench.bell.rings, len(bench.repeats), len(bench.bus.acked)) == (rings, repeats, 1)
    assert bool(bench.log.of("event.repeated")) is (result != "new")


def test_our_own_reply_is_acked_and_not_rejected() -> None:
    bench = Bench()
    in_virtual_time(bench.take(raw(b"{}", app_id="askrelay", type="contact.question.answered")))
    assert len(bench.bus.acked) == 1
    assert not bench.bus.called("reject")
    assert not bench.ledger.called("accept")


def test_a_ledger_that_is_away_for_a_while_is_tried_again_with_growing_pauses() -> None:
    bench = Bench()
    bench.ledger.script("accept", *[LedgerUnavailable()] * 6)
    in_virtual_time(bench.take(delivery()))
    assert len(bench.bus.acked) == 1
    assert not bench.bus.called("reset_intake")


def test_a_ledger_that_stays_away_gives_the_deliveries_back_after_a_minute() -> None:
    bench = Bench()
    bench.ledger.script("accept", *[LedgerUnavailable()] * 1_000)

    async def scenario() -> float:
        begun = bench.clock.boottime()
        await bench.take(delivery(), raw(b"no json"))
        return bench.clock.boottime() - begun

    assert LEDGER_AWAY_S <= in_virtual_time(scenario()) <= LEDGER_AWAY_S + 10
    assert bench.bus.acked == []
    assert bench.bus.called("reset_intake")
    assert not bench.bus.called("reject"), "a rejected event that comes again would be rejected twice"


def test_a_ledger_that_does_not_answer_at_all_gives_the_deliveries_back_too() -> None:
    # As while it finds out what became of a commit whose answer was lost: another process may reach it.
    bench = Bench()
    bench.ledger.script("accept", lambda _: asyncio.get_running_loop().create_future())

    async def scenario() -> float:
        begun = bench.clock.boottime()
        await bench.take(delivery())
        return bench.clock.boottime() - begun

    assert in_virtual_time(scenario()) <= 2 * LEDGER_AWAY_S
    assert bench.bus.acked == []
    assert bench.bus.called("reset_intake")


def test_a_stop_does_not_wait_for_a_ledger_that_is_away() -> None:
    bench = Bench()
    bench.ledger.script("accept", *[LedgerUnavailable()] * 1_000)
    bench.intake.is_stopping = True

    async def scenario() -> float:
        begun = bench.clock.boottime()
        await bench.take(delivery())
        return bench.clock.boottime() - begun

    assert in_virtual_time(scenario()) < 5
    assert bench.bus.acked == []


def expiry_of(bench: Bench, event: Delivery) -> float | None:
    in_virtual_time(bench.take(event))
    ((batch,),) = bench.ledger.called("accept")
    expires_at: float | None = batch[0].expires_at
    return expires_at


def event_with(**fields: Any) -> Delivery:
    event = json.loads(delivery().body)
    return raw(json.dumps({**event, **fields}).encode())


ASKED_AT = 1_795_204_800.0  # 2026-11-20T20:00:00Z


@pytest.mark.parametrize(
    ("within_s", "expirytime", "expires_at"),
    [
        (None, None, None),
        (None, "2026-11-20T21:00:00Z", ASKED_AT + 3_600),
        (60.0, None, ASKED_AT + 60),
        (60.0, "2026-11-20T21:00:00Z", ASKED_AT + 60),
        (7_200.0, "2026-11-20T21:00:00Z", ASKED_AT + 3_600),
    ],
)
def test_the_earlier_of_two_expiries_counts(
    within_s: float | None, expirytime: str | None, expires_at: float | None
) -> None:
    more = {"expirytime": expirytime} if expirytime else {}
    assert expiry_of(Bench(answer_within_s=within_s), event_with(**more)) == expires_at


def test_an_event_without_a_time_is_timed_from_its_arrival() -> None:
    event = json.loads(delivery().body)
    del event["time"]
    expires_at = expiry_of(Bench(answer_within_s=60.0), raw(json.dumps(event).encode()))
    assert expires_at == pytest.approx(1_060.0, abs=1)


async def while_running(bench: Bench, scenario: Callable[[], Any]) -> None:
    running = asyncio.create_task(bench.intake.run())
    try:
        await scenario()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_batches_are_taken_one_at_a_time() -> None:
    bench = Bench()
    under_way = []

    async def slow(batch: Any) -> list[Acceptance]:
        under_way.append(bench.intake.is_taking)
        await asyncio.sleep(1.0)
        return [Acceptance("new") for _ in batch]

    bench.ledger.script("accept", slow, slow)

    async def scenario() -> None:
        bench.bus.deliver(delivery("a"))
        bench.bus.deliver(delivery("b"))
        await until(lambda: len(bench.bus.acked) == 2, "both are acked")

    in_virtual_time(while_running(bench, scenario))
    assert bench.accepted == ["a", "b"]
    assert under_way == [True, True]
    assert not bench.intake.is_taking


def test_a_mistake_of_ours_gives_the_deliveries_back_instead_of_keeping_them_for_ever() -> None:
    # They would stay unacked on an open channel, and nobody else would get them.
    bench = Bench()
    bench.ledger.script("accept", ZeroDivisionError())

    async def scenario() -> None:
        bench.bus.deliver(delivery())
        await until(lambda: bench.bus.called("reset_intake"), "the channel is given up")

    async def both() -> None:
        running = asyncio.create_task(bench.intake.run())
        await scenario()
        with pytest.raises(ZeroDivisionError):
            await running

    in_virtual_time(both())
    assert bench.bus.acked == []


def test_no_line_of_the_log_holds_what_the_contact_wrote() -> None:
    bench = Bench()
    bench.ledger.script("accept", [Acceptance("conflict"), Acceptance("repeat_finished")])
    canary = {"contact_id": "CANARY-1", "question": "CANARY-2", "metadata": {"CANARY": "CANARY-3"}}
    in_virtual_time(bench.take(delivery("a", **canary), delivery("b", **canary), raw(b'{"CANARY": 1}')))
    assert bench.log.lines
    assert "CANARY" not in str([fields for _, fields in bench.log.lines])


async def test_an_option_that_the_settings_allow_goes_with_the_question() -> None:
    bench = Bench(event_options=frozenset({"custom_persona", "chatbot_model"}))
    await bench.take(delivery(options={"custom_persona": "A pirate.", "custom_context": None}))
    (((question,),),) = bench.ledger.called("accept")
    assert question.options == MessageOptions(custom_persona="A pirate.")


async def test_an_event_with_an_option_that_is_not_allowed_is_rejected_and_the_others_are_taken() -> None:
    bench = Bench(event_options=frozenset({"custom_persona"}))
    denied = delivery("evt-2", options={"custom_persona": "A pirate.", "custom_context": "CANARY"})
    await bench.take(delivery("evt-1"), denied, delivery("evt-3", options={}))
    ((questions,),) = bench.ledger.called("accept")
    assert [question.event_id for question in questions] == ["evt-1", "evt-3"]
    assert bench.bus.called("reject") == [
        (denied, "invalid_question", "options.custom_context: not in ASKRELAY_EVENT_OPTIONS")
    ]
    assert "CANARY" not in str(bench.log.lines)
