"""The broker: a question queue with a single active consumer, a reply queue, and a bus for each process."""

from __future__ import annotations

import asyncio
import json
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from tests.simulation.faults import Faults
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import SimProcess
from tests.simulation.trace import Trace
from worker.core.model import Progress, Reply
from worker.core.ports import Delivery, PublishResult

#: s. The way between a process and the broker.
TRIP_S = 0.005
#: s. What is late on that way, and how long a broken connection goes unnoticed, at most.
LATE_S = 3.0


@dataclass(frozen=True, order=True)
class Message:
    """An event in the question queue; its number is its place."""

    number: int
    body: bytes = field(compare=False)
    is_redelivered: bool = field(default=False, compare=False)


@dataclass(eq=False)
class Channel:
    """A consumer's channel. The first open one in the broker's list is active."""

    bus: SimBus
    unacked: dict[int, Message] = field(default_factory=dict)


class SimBroker:
    """The queues."""

    def __init__(self, loop: VirtualLoop, faults: Faults, trace: Trace) -> None:
        self.loop = loop
        self.faults = faults
        self.trace = trace
        self._questions: list[Message] = []
        self._numbers = count(1)
        self._channels: list[Channel] = []
        #: Decoded replies in the order in which they came out, with their time.
        self.replies: list[dict[str, Any]] = []
        self.rejected: list[bytes] = []
        #: Ids of questions whose reply found no queue for a while.
        self.returned: set[str] = set()
        self.away_until = 0.0

    @property
    def is_away(self) -> bool:
        """Nobody can connect now."""
        return self.loop.time() < self.away_until

    @property
    def is_idle(self) -> bool:
        """Every event was taken and acked."""
        return not self._questions and not any(channel.unacked for channel in self._channels)

    def ask(self, body: bytes) -> None:
        """Put an event into the question queue."""
        self._questions.append(Message(next(self._numbers), body))
        self._wake()

    def go_away(self, seconds: float) -> None:
        """Drop every connection and take none for a while."""
        self.trace("broker", f"away for {seconds:.2f} s")
        self.away_until = self.loop.time() + seconds
        for channel in list(self._channels):
            self.close(channel)
            self.loop.at_outside(seconds + self.faults.chance.random(), channel.bus.open)

    def open(self, channel: Channel) -> None:
        """Begin to consume, behind those that do already."""
        self._channels.append(channel)
        self._wake()

    def close(self, channel: Channel) -> None:
        """Stop consuming; what was not acked goes back to its place."""
        if channel not in self._channels:
            return
        self._channels.remove(channel)
        for message in channel.unacked.values():
            insort(self._questions, replace(message, is_redelivered=True))
        channel.unacked.clear()
        self._wake()

    def take(self, channel: Channel, limit: int) -> list[Message]:
        """Hand out what waits, in order, to the active consumer."""
        if not self._channels or self._channels[0] is not channel:
            return []
        # A batch may end anywhere.
        some = 1 + int(self.faults.chance.random() * min(limit, len(self._questions), 8))
        taken, self._questions[:some] = self._questions[:some], []
        channel.unacked.update((message.number, message) for message in taken)
        return taken

    def _wake(self) -> None:
        if self._channels and self._questions:
            self._channels[0].bus.wake()


class SimBus:
    """Implements Bus for one process."""

    def __init__(self, process: SimProcess, broker: SimBroker) -> None:
        self._process = process
        self._broker = broker
        self._loop = broker.loop
        self._faults = broker.faults
        self._something = asyncio.Event()
        self._channel = Channel(self)
        self._is_intake_stopped = False
        self._is_stopped = False

    async def start(self) -> None:
        """See the port."""
        await self._process.step()
        self.open()

    def open(self) -> None:
        """Connect the intake, as soon as the broker is there."""
        if self._process.is_dead or self._is_intake_stopped or self._channel in self._broker._channels:
            return
        if self._broker.is_away:
            self._loop.at_outside(self._broker.away_until - self._loop.time() + 0.1, self.open)
            return
        self._channel = Channel(self)
        self._broker.open(self._channel)

    def wake(self) -> None:
        """Look again whether there is something to receive."""
        self._something.set()

    def process_stopped(self, seconds: float) -> None:
        """Let the broker miss its heartbeats, perhaps: the next consumer becomes active."""
        if self._faults.chance.random() < 0.5:
            self._loop.at_outside(self._faults.chance.random() * seconds, self._drop)
            self._loop.at_outside(seconds + self._faults.chance.random(), self.open)

    def _drop(self) -> None:
        self._broker.close(self._channel)

    def process_died(self) -> None:
        """Let the broker notice, after a while."""
        delay_s = self._faults.chance.random() * LATE_S
        self._loop.at_outside(delay_s, self._broker.close, self._channel)

    async def receive(self, limit: int) -> list[Delivery]:
        """See the port."""
        while True:
            await self._process.step()
            await asyncio.sleep(TRIP_S * self._faults.chance.random())
            await self._process.step()
            channel = self._channel
            if taken := self._broker.take(channel, limit):
                return [_delivery(message, channel) for message in taken]
            self._something.clear()
            await self._something.wait()

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acks travel; those of a process that dies meanwhile may or may not arrive."""
        self._process.soon(self._send_acks, [delivery.receipt for delivery in deliveries])

    def _send_acks(self, receipts: Sequence[tuple[Channel, int]]) -> None:
        delay_s = TRIP_S * self._faults.chance.random()

        def arrive() -> None:
            if self._process.is_dead and self._faults.chance.random() < 0.5:
                return
            for channel, number in receipts:
                channel.unacked.pop(number, None)

        self._loop.at_outside(delay_s, arrive)

    async def publish(self, replies: Sequence[Reply]) -> list[PublishResult]:
        """See the port."""
        await self._process.step()
        if self._broker.is_away or self._is_stopped:
            await asyncio.sleep(TRIP_S)
            return [PublishResult.NOT_CONFIRMED for _ in replies]
        delay_s = TRIP_S * self._faults.chance.random()
        if self._faults.strikes("confirm_lost"):
            # The connection breaks: each reply arrived or not, and nobody can tell.
            delay_s = LATE_S * self._faults.chance.random()
            sent = int(self._faults.chance.random() * (len(replies) + 1))
            self._loop.at_outside(delay_s, self._arrive, replies[:sent])
            await asyncio.sleep(delay_s + 0.001)
            return [PublishResult.NOT_CONFIRMED for _ in replies]
        results = []
        arriving = []
        for reply in replies:
            if self._faults.strikes("publish_lost"):
                results.append(PublishResult.NOT_CONFIRMED)
            elif self._faults.strikes("returned"):
                self._broker.returned.add(reply.question_id)
                results.append(PublishResult.RETURNED)
            else:
                arriving.append(reply)
                results.append(PublishResult.CONFIRMED)
        self._loop.at_outside(delay_s, self._arrive, arriving)
        await asyncio.sleep(delay_s + TRIP_S * self._faults.chance.random())
        await self._process.step()
        return results

    def _arrive(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            event = json.loads(reply.body)
            event["at"] = self._loop.time()
            self._broker.replies.append(event)
            self._broker.trace("broker", f"REPLY {event['data']['question_id']} {reply.kind}")

    def tell(self, progress: Progress) -> None:
        """See the port."""

    async def reject(self, delivery: Delivery, *, reason: str, detail: str) -> PublishResult:
        """See the port."""
        await self._process.step()
        await asyncio.sleep(TRIP_S)
        if self._broker.is_away or self._faults.strikes("publish_lost"):
            return PublishResult.NOT_CONFIRMED
        self._broker.rejected.append(delivery.body)
        return PublishResult.CONFIRMED

    async def reset_intake(self) -> None:
        """See the port."""
        await self._process.step()
        self._broker.close(self._channel)
        self.open()

    async def stop_intake(self) -> None:
        """See the port."""
        await self._process.step()
        self._is_intake_stopped = True
        self._broker.close(self._channel)

    async def stop(self) -> None:
        """See the port."""
        await self.stop_intake()
        self._is_stopped = True


def _delivery(message: Message, channel: Channel) -> Delivery:
    return Delivery(
        body=message.body,
        content_type="application/cloudevents+json",
        content_encoding=None,
        message_id=None,
        app_id=None,
        type=None,
        headers={},
        is_redelivered=message.is_redelivered,
        receipt=(channel, message.number),
    )
