"""The Bus port within one process: a full adapter for the demo, the tests and a first look.

It behaves like the other one: topic keys, a question queue with a single active consumer, redelivery of what
was not acked in its old place, replies that come back when no queue takes them. Only nothing outlives it.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any

from worker.core.ports import Delivery, PublishResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.core.model import Progress, Reply


@dataclass(frozen=True, slots=True)
class MemoryMessage:
    """A message as a queue of the outside holds it."""

    routing_key: str
    body: bytes
    content_type: str | None = None
    content_encoding: str | None = None
    message_id: str | None = None
    correlation_id: str | None = None
    app_id: str | None = None
    #: The message's own type property.
    type: str | None = None
    headers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class _Waiting:
    """A message in the question queue; its number is its place."""

    number: int
    message: MemoryMessage = field(compare=False)
    is_redelivered: bool = field(default=False, compare=False)


class MemoryQueue:
    """A queue of the outside: replies, or what was rejected."""

    def __init__(self) -> None:
        self.messages: deque[MemoryMessage] = deque()
        self._something = asyncio.Event()

    def put(self, message: MemoryMessage) -> None:
        """Add a message at the end."""
        self.messages.append(message)
        self._something.set()

    async def get(self) -> MemoryMessage:
        """Wait for the next message and take it."""
        while not self.messages:
            self._something.clear()
            await self._something.wait()
        return self.messages.popleft()


class MemoryBroker:
    """Exchange and queues. Buses that share one are a fleet."""

    def __init__(
        self, *, asked_key: str = "contact.question.asked", rated_key: str = "contact.answer.rated"
    ) -> None:
        self.asked_key = asked_key
        self.rated_key = rated_key
        self.rejected = MemoryQueue()
        self._bindings: list[tuple[str, MemoryQueue]] = []
        self._questions: deque[_Waiting] = deque()
        self._numbers = count()
        #: Buses that consume; the first one is the active one.
        self._consumers: list[MemoryBus] = []

    def bind(self, *patterns: str) -> MemoryQueue:
        """Make a queue and bind it with topic patterns, for example ``contact.question.*``."""
        queue = MemoryQueue()
        self._bindings.extend((pattern, queue) for pattern in patterns)
        return queue

    def publish(self, message: MemoryMessage) -> bool:
        """Put the message into every queue that takes it, and tell whether there was one."""
        takers = {
            id(queue): queue for pattern, queue in self._bindings if matches(pattern, message.routing_key)
        }
        for queue in takers.values():
            queue.put(message)
        is_question = any(matches(key, message.routing_key) for key in (self.asked_key, self.rated_key))
        if is_question:
            self._questions.append(_Waiting(next(self._numbers), message))
            self._wake()
        return is_question or bool(takers)

    def publish_event(
        self,
        body: bytes,
        *,
        content_type: str | None = "application/cloudevents+json",
        message_id: str | None = None,
        headers: dict[str, Any] | None = None,
    ) -> None:
        """Ask a question as a CRM would."""
        self.publish(
            MemoryMessage(self.asked_key, body, content_type, message_id=message_id, headers=headers or {})
        )

    @property
    def waiting_questions(self) -> int:
        """How many events wait in the question queue, those under way not counted."""
        return len(self._questions)

    def _register(self, bus: MemoryBus) -> None:
        self._consumers.append(bus)
        self._wake()

    def _unregister(self, bus: MemoryBus, unacked: Sequence[_Waiting]) -> None:
        """Take a consumer away; what it did not ack goes back to its place, and the next one is active."""
        if bus in self._consumers:
            self._consumers.remove(bus)
        questions = list(self._questions)
        for waiting in unacked:
            insort(questions, replace(waiting, is_redelivered=True))
        self._questions = deque(questions)
        self._wake()

    def _take(self, bus: MemoryBus, limit: int) -> list[_Waiting]:
        if not self._consumers or self._consumers[0] is not bus:
            return []
        return [self._questions.popleft() for _ in range(min(limit, len(self._questions)))]

    def _wake(self) -> None:
        if self._consumers and self._questions:
            self._consumers[0].wake()


class MemoryBus:
    """One process's end of a MemoryBroker."""

    def __init__(
        self,
        broker: MemoryBroker | None = None,
        *,
        answered_key: str = "contact.question.answered",
        failed_key: str = "contact.question.failed",
        progress_key: str = "contact.question.progress",
    ) -> None:
        self.broker = broker or MemoryBroker()
        self._keys = {"answered": answered_key, "failed": failed_key, "progress": progress_key}
        self._unacked: dict[int, _Waiting] = {}
        #: Tells the deliveries of one channel from those of the next.
        self._channel = object()
        self._something = asyncio.Event()
        self._is_started = False
        self._is_intake_stopped = False

    async def start(self) -> None:
        """Consume from now on."""
        self._is_started = True
        self.broker._register(self)  # noqa: SLF001 - broker and bus are one adapter in two classes

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for at least one delivery; an empty list means that the intake was stopped."""
        while not self._is_intake_stopped:
            taken = self.broker._take(self, limit)  # noqa: SLF001 - as above
            if taken:
                self._unacked.update((waiting.number, waiting) for waiting in taken)
                return [self._delivery(waiting) for waiting in taken]
            self._something.clear()
            await self._something.wait()
        await asyncio.sleep(0)
        return []

    def wake(self) -> None:
        """Look again whether there is something to receive."""
        self._something.set()

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Settle deliveries; those of an earlier channel are in the queue again."""
        for delivery in deliveries:
            channel, waiting = delivery.receipt
            if channel is self._channel:
                self._unacked.pop(waiting.number, None)

    async def publish(self, replies: Sequence[Reply]) -> list[PublishResult]:
        """Publish; RETURNED when no queue is bound for the reply's key."""
        # A broker is never there at once: whoever publishes has to bear that others run meanwhile.
        await asyncio.sleep(0)
        return [self._publish(self._message(reply, reply.kind)) for reply in replies]

    def tell(self, progress: Progress) -> None:
        """Publish an event that may be lost, and is when no queue is bound for its key."""
        if self._is_started:
            self.broker.publish(self._message(progress, "progress"))

    async def reject(self, delivery: Delivery, *, reason: str, detail: str) -> PublishResult:
        """Put the original bytes into the rejected queue with the reason; does not ack."""
        await asyncio.sleep(0)
        if not self._is_started:
            return PublishResult.NOT_CONFIRMED
        _, waiting = delivery.receipt
        headers = {**waiting.message.headers, "x-askrelay-reason": reason, "x-askrelay-detail": detail}
        self.broker.rejected.put(replace(waiting.message, headers=headers))
        return PublishResult.CONFIRMED

    async def reset_intake(self) -> None:
        """Give back what is unacked, and stand behind the other consumers."""
        if self._is_started and not self._is_intake_stopped:
            self._leave()
            self.broker._register(self)  # noqa: SLF001 - as above

    async def stop_intake(self) -> None:
        """Give back what is unacked and consume no more."""
        self._is_intake_stopped = True
        self._leave()
        self.wake()

    async def stop(self) -> None:
        """Stop the intake; nothing can be published any more."""
        await self.stop_intake()
        self._is_started = False

    def _leave(self) -> None:
        unacked, self._unacked = list(self._unacked.values()), {}
        self._channel = object()
        self.broker._unregister(self, unacked)  # noqa: SLF001 - as above

    def _delivery(self, waiting: _Waiting) -> Delivery:
        message = waiting.message
        return Delivery(
            body=message.body,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            message_id=message.message_id,
            app_id=message.app_id,
            type=message.type,
            headers=dict(message.headers),
            is_redelivered=waiting.is_redelivered,
            receipt=(self._channel, waiting),
        )

    def _message(self, reply: Reply | Progress, kind: str) -> MemoryMessage:
        traces = {"traceparent": reply.traceparent, "tracestate": reply.tracestate}
        return MemoryMessage(
            routing_key=self._keys[kind],
            body=reply.body,
            content_type="application/cloudevents+json",
            message_id=reply.event_id,
            correlation_id=reply.question_id,
            app_id="askrelay",
            type=f"contact.question.{kind}",
            headers={name: value for name, value in traces.items() if value is not None},
        )

    def _publish(self, message: MemoryMessage) -> PublishResult:
        if not self._is_started:
            return PublishResult.NOT_CONFIRMED
        return PublishResult.CONFIRMED if self.broker.publish(message) else PublishResult.RETURNED


def matches(pattern: str, routing_key: str) -> bool:
    """Tell whether a topic pattern takes a key: ``*`` stands for one word, ``#`` for any number of them."""
    return _words_match(pattern.split("."), routing_key.split("."))


def _words_match(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return any(_words_match(rest, words[skipped:]) for skipped in range(len(words) + 1))
    return bool(words) and first in {"*", words[0]} and _words_match(rest, words[1:])
