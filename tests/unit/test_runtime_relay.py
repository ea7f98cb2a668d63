"""The relay publishes recorded replies at once and marks them after their confirm (PROTOCOL 8)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from tests.unit.fakes import FakeBus, FakeLedger, Highest, Log, LoopClock, Points
from tests.unit.virtual_time import in_virtual_time, until
from worker.core.errors import LedgerUnavailable
from worker.core.model import OutboxReply, Reply
from worker.core.ports import PublishResult, RecoveryPoint
from worker.runtime.relay import LOOK_S, Relay

CONFIRMED, RETURNED, LOST = (
    PublishResult.CONFIRMED,
    PublishResult.RETURNED,
    PublishResult.NOT_CONFIRMED,
)


def entry(number: int, tries: int = 0) -> OutboxReply:
    return OutboxReply(number, Reply(f"reply-{number}", "answered", b"{}", f"evt-{number}"), tries)


class Bench:
    """A relay on fakes, in virtual time."""

    def __init__(self) -> None:
        self.bus, self.clock = FakeBus(), LoopClock()
        self.ledger, self.points, self.log = FakeLedger(self.clock), Points(), Log()
        self.relay = Relay(self.bus, self.ledger, self.clock, Highest(), self.points, self.log)

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        """Run the relay and a scenario beside it."""

        async def both() -> None:
            running = asyncio.create_task(self.relay.run())
            try:
                await scenario()
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

        in_virtual_time(both())

    @property
    def published(self) -> list[str]:
        return [reply.event_id for (batch,) in self.bus.called("publish") for reply in batch]

    @property
    def marked(self) -> list[int]:
        return [number for (numbers,) in self.ledger.called("mark_published") for number in numbers]


def test_a_reply_is_published_at_once_and_marked_after_its_confirm() -> None:
    bench = Bench()

    def publish(batch: Sequence[Reply]) -> list[PublishResult]:
        assert not bench.marked
        return [CONFIRMED for _ in batch]

    bench.bus.script("publish", publish)

    async def scenario() -> None:
        await asyncio.sleep(1.0)
        begun = bench.clock.boottime()
        bench.relay.publish(entry(1))
        assert await until(lambda: bench.marked, "it is marked") - begun < 0.1

    bench.run(scenario)
    assert (bench.published, bench.marked) == (["reply-1"], [1])
    assert bench.points.seen == [RecoveryPoint.REPLY_PUBLISHED, RecoveryPoint.REPLY_MARKED]
    assert bench.log.of("reply.published")


def test_what_waited_behind_a_confirmed_reply_follows_at_once() -> None:
    bench = Bench()
    bench.ledger.script("mark_published", [entry(2)], [entry(3)])

    async def scenario() -> None:
        bench.relay.publish(entry(1))
        await until(lambda: len(bench.marked) == 3, "all are marked")

    bench.run(scenario)
    assert bench.published == ["reply-1", "reply-2", "reply-3"]


def test_replies_that_wait_go_together() -> None:
    bench = Bench()

    async def scenario() -> None:
        for number in range(5):
            bench.relay.publish(entry(number))
        await until(lambda: len(bench.marked) == 5, "all are marked")

    bench.run(scenario)
    assert len(bench.bus.called("publish")) == 1


def test_a_reply_that_no_queue_takes_is_set_aside_and_said_so() -> None:
    bench = Bench()
    bench.bus.script("publish", [CONFIRMED, RETURNED, LOST])

    async def scenario() -> None:
        for number in (1, 2, 3):
            bench.relay.publish(entry(number, tries=4))
        await until(lambda: len(bench.ledger.called("mark_unpublished")) == 2, "both are put off")

    bench.run(scenario)
    assert bench.marked == [1]
    assert bench.ledger.called("mark_unpublished") == [
        ([2], "reply_unroutable"),
        ([3], "reply_not_confirmed"),
    ]
    assert bench.log.of("reply.unroutable")[0]["tries"] == 5
    assert bench.log.of("reply.not_confirmed")[0]["question_id"] == "evt-3"


def test_replies_that_others_left_are_taken_over() -> None:
    bench = Bench()
    bench.ledger.script("take_replies", ([], None), ([entry(7)], None))

    async def scenario() -> None:
        begun = bench.clock.boottime()
        assert await until(lambda: bench.marked, "it is marked") - begun <= LOOK_S + 0.1

    bench.run(scenario)
    assert bench.published == ["reply-7"]


def test_a_reply_that_is_due_soon_is_not_left_until_the_next_look() -> None:
    bench = Bench()
    bench.ledger.script("take_replies", ([], 1.5), ([entry(7)], None))

    async def scenario() -> None:
        begun = bench.clock.boottime()
        assert await until(lambda: bench.marked, "it is marked") - begun < 2.0

    bench.run(scenario)


def test_a_full_take_is_followed_by_another_at_once() -> None:
    bench = Bench()
    full = [entry(number) for number in range(256)]
    bench.ledger.script("take_replies", (full, None), ([entry(999)], None))

    async def scenario() -> None:
        begun = bench.clock.boottime()
        assert await until(lambda: 999 in bench.marked, "the rest is marked") - begun < 1.0

    bench.run(scenario)


def test_a_look_that_is_asked_for_happens_at_once() -> None:
    bench = Bench()

    async def scenario() -> None:
        await until(lambda: bench.ledger.called("take_replies"), "the first look")
        bench.ledger.script("take_replies", ([entry(7)], None))
        begun = bench.clock.boottime()
        bench.relay.look()
        assert await until(lambda: bench.marked, "it is marked") - begun < 0.1

    bench.run(scenario)


def test_a_look_that_is_asked_for_during_a_look_is_not_lost() -> None:
    bench = Bench()

    async def slow(_: int) -> tuple[list[OutboxReply], None]:
        bench.relay.look()
        await asyncio.sleep(0.5)
        return [], None

    bench.ledger.script("take_replies", slow, ([entry(7)], None))

    async def scenario() -> None:
        begun = bench.clock.boottime()
        assert await until(lambda: bench.marked, "it is marked") - begun < 1.0

    bench.run(scenario)


def test_a_confirm_outlives_a_ledger_that_is_away() -> None:
    # Forgetting it would publish the reply again for no reason.
    bench = Bench()
    bench.ledger.script("mark_published", *[LedgerUnavailable()] * 8)

    async def scenario() -> None:
        bench.relay.publish(entry(1))
        await until(lambda: len(bench.marked) == 9, "it is marked in the end")

    bench.run(scenario)
    assert bench.published == ["reply-1"]


def test_a_ledger_that_is_away_does_not_stop_the_looks() -> None:
    bench = Bench()
    bench.ledger.script("take_replies", *[LedgerUnavailable()] * 3, ([entry(7)], None))

    async def scenario() -> None:
        await until(lambda: bench.marked, "it is marked")

    bench.run(scenario)


def test_draining_waits_for_what_is_being_published() -> None:
    bench = Bench()

    async def slow(batch: Sequence[Reply]) -> list[PublishResult]:
        await asyncio.sleep(2.0)
        return [CONFIRMED for _ in batch]

    bench.bus.script("publish", slow, slow)

    async def scenario() -> None:
        bench.relay.publish(entry(1))
        await until(lambda: bench.bus.called("publish"), "the publish begins")
        bench.relay.publish(entry(2))
        await bench.relay.drain()
        assert bench.marked == [1, 2]

    bench.run(scenario)


def test_draining_an_idle_relay_ends_at_once() -> None:
    bench = Bench()

    async def scenario() -> None:
        begun = bench.clock.boottime()
        await bench.relay.drain()
        assert bench.clock.boottime() - begun < 0.1

    bench.run(scenario)
