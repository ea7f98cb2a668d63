"""The relay: recorded replies to the bus, in order, marked after their confirm (PROTOCOL 8)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from worker.core.errors import LedgerUnavailable, ReplyNotConfirmed, ReplyUnroutable
from worker.core.meters import Meters, NoMeters
from worker.core.model import OutboxReply
from worker.core.ports import (
    Bus,
    Clock,
    Ledger,
    Log,
    PublishResult,
    Randomness,
    RecoveryPoint,
    RecoveryPoints,
)
from worker.runtime.vitals import Pulse

T = TypeVar("T")

#: Replies whose confirms are waited for together.
BATCH = 256
#: s. How often each process looks for replies that nobody publishes.
LOOK_S = 5.0
#: s. Pauses between tries of a mark while the ledger is away.
LEDGER_PAUSES_S = (0.2, 3.0)


@dataclass(slots=True)
class Relay:
    """Publishes what this process recorded at once, and takes over what others left."""

    bus: Bus
    ledger: Ledger
    clock: Clock
    randomness: Randomness
    points: RecoveryPoints
    log: Log
    meters: Meters = field(default_factory=NoMeters)
    _waiting: deque[OutboxReply] = field(default_factory=deque)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _is_publishing: bool = False
    #: BOOTTIME of the next look into the outbox.
    _look_at: float = 0.0

    def publish(self, reply: OutboxReply) -> None:
        """Take a reply that this process just recorded."""
        self._waiting.append(reply)
        self._wake.set()

    def look(self) -> None:
        """Look into the outbox soon: something in it became due."""
        self._look_at = 0.0
        self._wake.set()

    async def run(self, pulse: Pulse | None = None) -> None:
        """Publish what waits and look into the outbox from time to time."""
        pulse = pulse or Pulse(self.clock)
        while True:
            pulse.beat()
            if not self._waiting:
                await self._wait()
            if self.clock.boottime() >= self._look_at:
                await self._take_over()
            if self._waiting:
                await self._publish_batch()

    async def drain(self) -> None:
        """Return when everything handed in was tried once."""
        while self._waiting or self._is_publishing:
            await self.clock.sleep(0.01)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(max(0.0, self._look_at - self.clock.boottime())):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _take_over(self) -> None:
        pause_s = self.randomness.uniform(LOOK_S * 0.7, LOOK_S)
        # Set before the await: a look that is asked for meanwhile must not be lost.
        self._look_at = self.clock.boottime() + pause_s
        try:
            taken, next_due_s = await self.ledger.take_replies(BATCH)
        except LedgerUnavailable:
            return
        if taken:
            self.points.reached(RecoveryPoint.REPLIES_TAKEN)
        self._waiting.extend(taken)
        if len(taken) == BATCH:
            next_due_s = 0.0
        if next_due_s is not None and next_due_s < pause_s:
            self._look_at = min(self._look_at, self.clock.boottime() + next_due_s)

    async def _publish_batch(self) -> None:
        self._is_publishing = True
        try:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH))]
            results = await self.bus.publish([entry.reply for entry in batch])
            self.points.reached(RecoveryPoint.REPLY_PUBLISHED)
            by_result: dict[PublishResult, list[OutboxReply]] = {}
            for entry, result in zip(batch, results, strict=True):
                by_result.setdefault(result, []).append(entry)
            for result, entries in by_result.items():
                self.meters.replies_tried(result.value, len(entries))
            await self._mark(by_result)
        finally:
            self._is_publishing = False

    async def _mark(self, by_result: dict[PublishResult, list[OutboxReply]]) -> None:
        confirmed = by_result.get(PublishResult.CONFIRMED, [])
        if confirmed:
            numbers = [entry.number for entry in confirmed]
            behind = await self._write(lambda: self.ledger.mark_published(numbers))
            self.points.reached(RecoveryPoint.REPLY_MARKED)
            self._waiting.extend(behind)
            for entry in confirmed:
                self.log(
                    "reply.published", reply_id=entry.reply.event_id, question_id=entry.reply.question_id
                )
        for result, code, event in (
            (PublishResult.RETURNED, ReplyUnroutable.code, "reply.unroutable"),
            (PublishResult.NOT_CONFIRMED, ReplyNotConfirmed.code, "reply.not_confirmed"),
        ):
            if entries := by_result.get(result):
                await self._put_off(entries, code, event)

    async def _put_off(self, entries: list[OutboxReply], code: str, event: str) -> None:
        numbers = [entry.number for entry in entries]
        await self._write(lambda: self.ledger.mark_unpublished(numbers, code))
        for entry in entries:
            self.log(
                event,
                reply_id=entry.reply.event_id,
                question_id=entry.reply.question_id,
                error_code=code,
                tries=entry.tries + 1,
            )
        self._look_at = min(self._look_at, self.clock.boottime() + 1.0)

    async def _write(self, call: Callable[[], Awaitable[T]]) -> T:
        """Write a mark, again and again while the ledger is away."""
        shortest, longest = LEDGER_PAUSES_S
        pause_s = shortest
        while True:
            try:
                return await call()
            except LedgerUnavailable:
                await self.clock.sleep(self.randomness.uniform(pause_s / 2, pause_s))
                pause_s = min(pause_s * 2, longest)
