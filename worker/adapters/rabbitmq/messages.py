"""Replies and rejections as AMQP messages."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any

import pika
from pika.exceptions import AMQPError

from worker.adapters.rabbitmq.publisher import Outgoing

if TYPE_CHECKING:
    from worker.adapters.rabbitmq.config import BusConfig
    from worker.core.model import Progress, Reply
    from worker.core.ports import Delivery

#: The media type of a CloudEvent in structured mode.
CLOUDEVENT = "application/cloudevents+json"

#: AMQP's number for a message that survives a restart of the broker.
PERSISTENT = 2

#: AMQP's number for a message that does not.
TRANSIENT = 1

#: ms, as AMQP wants it: an answer that was being written half a minute ago is of no use to a window, and a
#: queue that nobody reads any more does not fill up with them.
PROGRESS_TTL_MS = "30000"

#: Bytes an AMQP short string holds; ids are cut there.
SHORT_STRING_BYTES = 255

#: Characters of a detail that are kept.
DETAIL_CHARS = 1000

#: Headers that make a broker copy, delay or count a message. In the rejected queue they would steer our
#: publish instead of telling what happened to the original.
STEERING_HEADERS = frozenset(
    {"CC", "BCC", "x-delay", "x-delivery-count", "x-acquired-count", "x-retry-count"}
)
STEERING_PREFIXES = ("x-death", "x-first-death-", "x-last-death-", "x-opt-")

#: A broker refuses this address, and with it the channel, to anybody who does not consume from it.
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"


def reply_message(reply: Reply, config: BusConfig) -> Outgoing:
    """Build the message of a reply (DESIGN 4.2)."""
    is_answer = reply.kind == "answered"
    return Outgoing(
        exchange=config.events_exchange,
        routing_key=config.answered_key if is_answer else config.failed_key,
        body=reply.body,
        properties=pika.BasicProperties(  # type: ignore[no-untyped-call]
            content_type=CLOUDEVENT,
            headers=_trace_headers(reply),
            delivery_mode=PERSISTENT,
            correlation_id=_capped(reply.question_id),
            message_id=reply.event_id,
            timestamp=int(time.time()),
            type="contact.question.answered" if is_answer else "contact.question.failed",
            app_id="askrelay",
        ),
    )


def progress_message(progress: Progress, config: BusConfig) -> Outgoing:
    """Build the message of an answer that is being written."""
    return Outgoing(
        exchange=config.events_exchange,
        routing_key=config.progress_key,
        body=progress.body,
        properties=pika.BasicProperties(  # type: ignore[no-untyped-call]
            content_type=CLOUDEVENT,
            headers=_trace_headers(progress),
            delivery_mode=TRANSIENT,
            correlation_id=_capped(progress.question_id),
            message_id=progress.event_id,
            timestamp=int(time.time()),
            expiration=PROGRESS_TTL_MS,
            type="contact.question.progress",
            app_id="askrelay",
        ),
    )


def rejection_message(
    delivery: Delivery, *, reason: str, detail: str, queue: str, largest_header_bytes: int
) -> Outgoing:
    """Build the message that carries an event to the rejected queue, its bytes untouched.

    Headers that cannot go along are left out whole, and ``x-askrelay-headers`` says so: an event that cannot
    be rejected would come back for ever.
    """
    ours = {"x-askrelay-reason": reason, "x-askrelay-detail": detail[:DETAIL_CHARS]}
    properties: pika.BasicProperties = delivery.receipt.properties
    kept = _properties(properties, {**_kept_headers(properties.headers), **ours})
    if _encoded_bytes(kept) > largest_header_bytes:
        kept = _properties(properties, {**ours, "x-askrelay-headers": "left out"})
    return Outgoing(exchange="", routing_key=queue, body=delivery.body, properties=kept)


def _properties(original: pika.BasicProperties, headers: dict[Any, Any]) -> pika.BasicProperties:
    """Copy what tells about the message; user_id, expiration and cluster_id are the broker's business."""
    reply_to = original.reply_to
    return pika.BasicProperties(  # type: ignore[no-untyped-call]
        content_type=original.content_type,
        content_encoding=original.content_encoding,
        headers=headers,
        delivery_mode=PERSISTENT,
        priority=original.priority,
        correlation_id=original.correlation_id,
        reply_to=None if str(reply_to).startswith(DIRECT_REPLY_TO) else reply_to,
        message_id=original.message_id,
        timestamp=original.timestamp,
        type=original.type,
        app_id=original.app_id,
    )


def _kept_headers(headers: dict[Any, Any] | None) -> dict[Any, Any]:
    return {
        name: value
        for name, value in (headers or {}).items()
        if name not in STEERING_HEADERS and not str(name).startswith(STEERING_PREFIXES)
    }


def _encoded_bytes(properties: pika.BasicProperties) -> float:
    """Return the size on the wire; infinite when pika cannot write it."""
    try:
        pieces: list[bytes] = properties.encode()  # type: ignore[no-untyped-call]
        return len(b"".join(pieces))
    except (AMQPError, ValueError, TypeError, AssertionError, OverflowError, struct.error):
        return float("inf")


def _trace_headers(event: Reply | Progress) -> dict[str, Any] | None:
    if event.traceparent is None:
        return None
    headers = {"traceparent": event.traceparent}
    if event.tracestate is not None:
        headers["tracestate"] = event.tracestate
    return headers


def _capped(text: str) -> str:
    """Cut to what a short string holds, between characters."""
    return text.encode()[:SHORT_STRING_BYTES].decode("utf-8", "ignore")
