"""The Bus port with a tracer at its door: a span for each event that comes and each reply that goes.

The span of an event begins with its delivery and ends with its ack. Its context goes on in the delivery's
headers, which win over what the event itself says, and so it is stored with the question: whichever process
takes the turn continues from there.

The body of a reply was frozen with its turn and names the turn's span for ever. The span of a publish is new
at every try, and so stands in the message's headers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from opentelemetry.trace import Span, SpanKind, Tracer

from schemas import EventRefused, OwnReply, RatedAnswer, RawEvent, decode_event
from schemas.trace_context import trace_of
from worker.adapters.traces import conventions as names
from worker.adapters.traces.tracer import carried, context_of, fail
from worker.core.errors import InvalidRating, ReplyNotConfirmed, ReplyUnroutable
from worker.core.model import Progress, Reply
from worker.core.ports import Bus, Delivery, PublishResult

#: How the conventions name what the broker did not take.
REFUSALS = {
    PublishResult.RETURNED: ReplyUnroutable.code,
    PublishResult.NOT_CONFIRMED: ReplyNotConfirmed.code,
}
#: Why a span ends whose event was given back to the broker.
GIVEN_BACK = "given_back"


@dataclass(frozen=True, slots=True)
class BusFacts:
    """What the spans tell of the bus."""

    #: Host and port of the broker.
    address: str
    port: int
    exchange: str
    question_queue: str
    asked_key: str
    rated_key: str
    #: Routing keys of replies by their kind.
    reply_keys: dict[str, str]
    default_source: str


class TracedBus:
    """The Bus port, each event and each reply with a span."""

    def __init__(self, bus: Bus, tracer: Tracer, facts: BusFacts) -> None:
        self._bus = bus
        self._tracer = tracer
        self._facts = facts
        #: Spans of what is not settled yet. The delivery is kept with its span: only then is its id its own.
        self._open: dict[int, tuple[Delivery, Span]] = {}

    async def start(self) -> None:
        """See the port."""
        await self._bus.start()

    async def receive(self, limit: int) -> list[Delivery]:
        """See the port."""
        return [self._begin(delivery) for delivery in await self._bus.receive(limit)]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See the port."""
        self._bus.ack(deliveries)
        for delivery in deliveries:
            _, span = self._open.pop(id(delivery), (None, None))
            if span is not None:
                span.end()

    async def publish(self, replies: Sequence[Reply]) -> list[PublishResult]:
        """See the port."""
        spans = [self._begin_publish(reply) for reply in replies]
        contexts = [carried(span) for span in spans]
        results = await self._bus.publish(
            [
                replace(reply, traceparent=context.get("traceparent"), tracestate=context.get("tracestate"))
                for reply, context in zip(replies, contexts, strict=True)
            ]
        )
        for span, result in zip(spans, results, strict=True):
            if result in REFUSALS:
                fail(span, REFUSALS[result])
            span.end()
        return results

    def tell(self, progress: Progress) -> None:
        """See the port; no span, since there may be hundreds for one answer."""
        self._bus.tell(progress)

    async def reject(self, delivery: Delivery, *, reason: str, detail: str) -> PublishResult:
        """See the port."""
        _, span = self._open.get(id(delivery), (None, None))
        if span is not None:
            fail(span, reason)
        return await self._bus.reject(delivery, reason=reason, detail=detail)

    async def reset_intake(self) -> None:
        """See the port."""
        self._give_back()
        await self._bus.reset_intake()

    async def stop_intake(self) -> None:
        """See the port."""
        self._give_back()
        await self._bus.stop_intake()

    async def stop(self) -> None:
        """See the port."""
        self._give_back()
        await self._bus.stop()

    def _begin(self, delivery: Delivery) -> Delivery:
        facts = self._facts
        key, traceparent, tracestate, event = self._read(delivery)
        destination = f"{facts.exchange}:{key}:{facts.question_queue}"
        span = self._tracer.start_span(
            f"{names.PROCESS} {destination}",
            context_of(traceparent, tracestate),
            SpanKind.CONSUMER,
            {
                **self._broker(),
                names.MESSAGING_OPERATION_NAME: names.PROCESS,
                names.MESSAGING_OPERATION_TYPE: names.PROCESS,
                names.MESSAGING_DESTINATION_NAME: destination,
                names.MESSAGING_BODY_SIZE: len(delivery.body),
                f"{names.OWN_PREFIX}redelivered": delivery.is_redelivered,
                **event,
            },
        )
        headers = {name: value for name, value in delivery.headers.items() if name != "tracestate"}
        traced = replace(delivery, headers=headers | carried(span))
        self._open[id(traced)] = (traced, span)
        return traced

    def _read(self, delivery: Delivery) -> tuple[str, str | None, str | None, dict[str, Any]]:
        """Return the routing key and the trace context of an event, and the attributes of one that is valid.

        The key is that of its kind; what cannot be told apart came as a question, like nearly everything.

        Of one that is refused nothing is told: whatever its producer took for an id may be anything.
        """
        raw = RawEvent(
            body=delivery.body,
            content_type=delivery.content_type,
            content_encoding=delivery.content_encoding,
            message_id=delivery.message_id,
            app_id=delivery.app_id,
            type=delivery.type,
            headers=delivery.headers,
        )
        facts = self._facts
        in_headers = trace_of(delivery.headers, {})
        try:
            event = decode_event(raw, default_source=facts.default_source)
        except EventRefused as refused:
            is_rating = refused.reason == InvalidRating.code
            return facts.rated_key if is_rating else facts.asked_key, *in_headers, {}
        if isinstance(event, OwnReply):
            return facts.asked_key, *in_headers, {}
        told = {names.CLOUDEVENTS_ID: event.event_id, names.CLOUDEVENTS_SOURCE: event.source}
        if isinstance(event, RatedAnswer):
            return facts.rated_key, *in_headers, told
        return facts.asked_key, event.traceparent, event.tracestate, told

    def _begin_publish(self, reply: Reply) -> Span:
        facts = self._facts
        key = facts.reply_keys[reply.kind]
        destination = f"{facts.exchange}:{key}"
        return self._tracer.start_span(
            f"{names.PUBLISH} {destination}",
            context_of(reply.traceparent, reply.tracestate),
            SpanKind.PRODUCER,
            {
                **self._broker(),
                names.MESSAGING_OPERATION_NAME: names.PUBLISH,
                names.MESSAGING_OPERATION_TYPE: names.SEND,
                names.MESSAGING_DESTINATION_NAME: destination,
                names.MESSAGING_ROUTING_KEY: key,
                names.MESSAGING_MESSAGE_ID: reply.event_id,
                names.MESSAGING_CONVERSATION_ID: reply.question_id,
                names.MESSAGING_BODY_SIZE: len(reply.body),
            },
        )

    def _broker(self) -> dict[str, Any]:
        facts = self._facts
        return {
            names.MESSAGING_SYSTEM: names.RABBITMQ,
            names.SERVER_ADDRESS: facts.address,
            names.SERVER_PORT: facts.port,
        }

    def _give_back(self) -> None:
        """End the spans of what goes back to the broker; it comes again with spans of its own."""
        left, self._open = self._open, {}
        for _, span in left.values():
            fail(span, GIVEN_BACK)
            span.end()
