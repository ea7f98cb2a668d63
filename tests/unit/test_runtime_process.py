"""A process starts its loops, outlives a bug in one of them, and ends in order (PROTOCOL 9)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.unit.core_cases import CONVERSATION, QUESTION, RULES
from tests.unit.fakes import (
    FakeAssistant,
    FakeBell,
    FakeBus,
    FakeLedger,
    Highest,
    Log,
    LoopClock,
    Points,
)
from tests.unit.virtual_time import in_virtual_time, until
from worker.core.healing import Healer
from worker.core.model import Acceptance, Claim, Claims, Lease
from worker.core.ports import Delivery, PublishResult, Swept
from worker.core.world import World
from worker.runtime.intake import Intake, IntakeRules
from worker.runtime.process import Process
from worker.runtime.relay import Relay
from worker.runtime.sweeper import Sweeper
from worker.runtime.turns import Turns

GRACE_S = 25.0
CLAIM = Claims((Claim(Lease(7, 1), CONVERSATION, QUESTION, 1_000.0),), None, has_more=False)


def delivery() -> Delivery:
    event = {
        "specversion": "1.0",
        "id": "evt-1",
        "source": "crm/test",
        "type": "contact.question.asked",
        "data": {"contact_id": "EXT_1", "question": "May I?"},
    }
    return Delivery(
        body=json.dumps(event).encode(),
        content_type="application/cloudevents+json",
        content_encoding=None,
        message_id=None,
        app_id=None,
        type=None,
        headers={},
        is_redelivered=False,
        receipt=None,
    )


class Bench:
    """A whole process on fakes, in virtual time."""

    def __init__(self) -> None:
        clock, randomness, points = LoopClock(), Highest(), Points()
        self.clock, self.log = clock, Log()
        self.bus, self.bell, self.assistant = FakeBus(), FakeBell(), FakeAssistant()
        self.ledger = FakeLedger(clock)
        relay = Relay(self.bus, self.ledger, clock, randomness, points, self.log)
        world = World(
            ledger=self.ledger,
            assistant=self.assistant,
            clock=clock,
            randomness=randomness,
            points=points,
            rules=RULES,
            project_of=lambda _: 123,
            publish=relay.publish,
        )
        intake = Intake(
            bus=self.bus,
            ledger=self.ledger,
            bell=self.bell,
            clock=clock,
            randomness=randomness,
            points=points,
            log=self.log,
            rules=IntakeRules("crm", None),
            on_repeat=relay.look,
        )
        turns = Turns(world, self.bell, self.log, 10, lambda _: "hash")
        healer = Healer(self.ledger, self.assistant, self.clock, self.log)
        sweeper = Sweeper(self.ledger, healer, self.bell, clock, randomness, self.log)
        self.process = Process(
            bus=self.bus,
            bell=self.bell,
            intake=intake,
            turns=turns,
            relay=relay,
            sweeper=sweeper,
            clock=clock,
            log=self.log,
            grace_s=GRACE_S,
        )

    def run(self, scenario: Callable[[], Awaitable[None]]) -> float:
        """Run the process during a scenario; returns how long it then took to end."""

        async def all_() -> float:
            stop = asyncio.Event()
            running = asyncio.create_task(self.process.run(stop))
            await scenario()
            begun = self.clock.boottime()
            stop.set()
            async with asyncio.timeout(100 * GRACE_S):
                await running
            assert len(asyncio.all_tasks()) == 1, "a task is left running"
            return self.clock.boottime() - begun

        return in_virtual_time(all_())

    def answer_slowly(self, seconds: float) -> None:
        async def slow(_project: int, session: str, text: str, external_id: str, *_: Any) -> Any:
            await asyncio.sleep(seconds)
            return self.assistant.store(session, text, external_id)

        self.assistant.script("post_question", slow)


def test_an_idle_process_ends_at_once() -> None:
    bench = Bench()

    async def scenario() -> None:
        await asyncio.sleep(20.0)

    assert bench.run(scenario) < 0.5
    assert {"stop_intake", "stop"} <= set(bench.bus.names())
    assert bench.bell.is_stopped


def test_a_question_goes_all_the_way() -> None:
    bench = Bench()

    async def scenario() -> None:
        bench.bus.deliver(delivery())
        await until(lambda: bench.bus.acked, "the event is acked")
        bench.ledger.script("claim", CLAIM)
        await bench.bell.on_ring()
        await until(lambda: bench.ledger.called("mark_published"), "its reply is published")

    bench.run(scenario)
    assert bench.bell.rings >= 1


def test_intake_ends_before_the_turns_and_the_relay_last() -> None:
    bench = Bench()
    bench.answer_slowly(10.0)
    bench.ledger.script("claim", CLAIM)

    async def scenario() -> None:
        await until(lambda: bench.assistant.posts, "a turn is under way")

    assert 9.0 < bench.run(scenario) < 11.0
    order = [name for name in bench.bus.names() if name in {"stop_intake", "publish", "stop"}]
    assert order == ["stop_intake", "publish", "stop"]
    assert bench.ledger.called("mark_published"), "what was answered in the grace is published in it"


def test_nothing_is_claimed_while_a_broker_that_hangs_holds_up_the_end() -> None:
    bench = Bench()
    bench.bus.script("stop_intake", lambda: asyncio.sleep(12.0))

    looks = 0

    async def scenario() -> None:
        nonlocal looks
        await until(lambda: bench.ledger.called("claim"), "the first look")
        looks = len(bench.ledger.called("claim"))

    assert bench.run(scenario) > 11.0
    assert len(bench.ledger.called("claim")) == looks


def test_a_turn_that_outlives_the_grace_is_given_back_with_its_intent() -> None:
    bench = Bench()
    bench.answer_slowly(300.0)
    bench.ledger.script("claim", CLAIM)

    async def scenario() -> None:
        await until(lambda: bench.assistant.posts, "a turn is under way")

    assert bench.run(scenario) <= GRACE_S
    assert bench.ledger.called("release") == [([Lease(7, 1)],)]
    assert not bench.ledger.called("finish")


def test_leases_are_renewed_while_the_last_turns_end() -> None:
    bench = Bench()
    bench.answer_slowly(20.0)
    bench.ledger.script("claim", CLAIM)

    async def scenario() -> None:
        await until(lambda: bench.assistant.posts, "a turn is under way")

    bench.run(scenario)
    assert bench.ledger.called("renew")
    assert len(bench.ledger.called("finish")) == 1


def test_a_batch_that_is_being_written_is_finished_and_acked() -> None:
    bench = Bench()

    async def slow(batch: Any) -> Any:
        await asyncio.sleep(1.0)
        return [Acceptance("new") for _ in batch]

    bench.ledger.script("accept", slow)

    async def scenario() -> None:
        bench.bus.deliver(delivery())
        await until(lambda: bench.ledger.called("accept"), "a batch is being written")

    bench.run(scenario)
    assert len(bench.bus.acked) == 1
    assert bench.bus.names().index("ack") < bench.bus.names().index("stop_intake")


def test_a_batch_that_cannot_be_written_does_not_hold_up_the_end() -> None:
    bench = Bench()
    bench.ledger.script("accept", lambda _: asyncio.get_running_loop().create_future())

    async def scenario() -> None:
        bench.bus.deliver(delivery())
        await until(lambda: bench.ledger.called("accept"), "a batch is being written")

    assert bench.run(scenario) <= GRACE_S
    assert bench.bus.acked == []


@pytest.mark.parametrize("call", ["claim", "renew", "begin_post", "finish", "release", "take_replies"])
def test_a_ledger_that_answers_nobody_does_not_hold_up_the_end(call: str) -> None:
    bench = Bench()
    bench.answer_slowly(20.0 if call in {"renew", "finish"} else 300.0)
    if call != "claim":
        bench.ledger.script("claim", CLAIM)
    bench.ledger.script(call, *[lambda *_: asyncio.get_running_loop().create_future()] * 10)

    async def scenario() -> None:
        await until(lambda: bench.ledger.called("claim"), "the first look")
        if call in {"renew", "finish"}:
            await until(lambda: bench.ledger.called(call), "the ledger hangs")

    assert bench.run(scenario) <= GRACE_S


def test_healing_that_hangs_at_its_end_does_not_hold_up_the_end() -> None:
    bench = Bench()
    bench.ledger.script("take_healing", (Lease(7, 1), CONVERSATION))
    for call in ("finish_healing", "end_healing"):
        bench.ledger.script(call, lambda *_: asyncio.get_running_loop().create_future())

    async def scenario() -> None:
        await until(lambda: bench.ledger.called("finish_healing"), "the ledger hangs")

    assert bench.run(scenario) <= GRACE_S


def test_a_broker_that_confirms_nothing_does_not_hold_up_the_end() -> None:
    bench = Bench()
    bench.ledger.script("claim", CLAIM)
    bench.bus.script("publish", lambda _: asyncio.get_running_loop().create_future())

    async def scenario() -> None:
        await until(lambda: bench.bus.called("publish"), "a reply is on its way")

    assert bench.run(scenario) <= GRACE_S


def test_a_loop_that_crashes_is_said_so_and_begins_anew() -> None:
    bench = Bench()
    bench.ledger.script("sweep", ZeroDivisionError())
    bench.ledger.script("take_replies", ZeroDivisionError())
    bench.ledger.script("claim", ZeroDivisionError())
    bench.bus.script("receive", ZeroDivisionError())

    async def scenario() -> None:
        await asyncio.sleep(15.0)

    bench.run(scenario)
    assert sorted(line["loop"] for line in bench.log.of("loop.crashed")) == [
        "intake",
        "relay",
        "sweeper",
        "turns",
    ]
    for call in ("sweep", "take_replies", "claim"):
        assert len(bench.ledger.called(call)) > 1, f"{call} went on"
    assert len(bench.bus.called("receive")) > 1


def test_the_sweeper_rings_for_what_is_overdue() -> None:
    bench = Bench()
    bench.ledger.script("sweep", Swept(overdue=3, erased=0))

    async def scenario() -> None:
        await until(lambda: bench.bell.rings, "it rings")

    bench.run(scenario)


def test_the_sweeper_goes_on_sooner_while_there_is_more_to_erase() -> None:
    bench = Bench()
    bench.ledger.script("sweep", *[Swept(overdue=0, erased=500)] * 10)

    async def scenario() -> None:
        begun = bench.clock.boottime()
        ended = await until(lambda: len(bench.ledger.called("sweep")) == 10, "ten steps")
        assert ended - begun < 10.0

    bench.run(scenario)
    assert bench.log.of("sweeper.swept")[0] == {"overdue": 0, "erased": 500}


def test_a_reply_that_was_not_confirmed_at_the_end_is_left_to_others() -> None:
    bench = Bench()
    bench.ledger.script("claim", CLAIM)
    bench.bus.script("publish", [PublishResult.NOT_CONFIRMED])

    async def scenario() -> None:
        await until(lambda: bench.ledger.called("mark_unpublished"), "it is put off")

    bench.run(scenario)
    assert not bench.ledger.called("mark_published")
