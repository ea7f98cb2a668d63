"""dramatiq with threads + urllib3: an actor does all of it, replies go out by a few pika connections."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import blocking_http
import dramatiq
import pika
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from pika.adapters.blocking_connection import BlockingChannel
from work import AMQP_URL, EXCHANGE, IN_FLIGHT, PUBLISHERS, QUEUE, REPLY_KEY, Asked, Conversations

dramatiq.set_broker(RabbitmqBroker(url=f"{AMQP_URL}?heartbeat=0", confirm_delivery=True))
conversations = Conversations()
PROPERTIES = pika.BasicProperties(content_type="application/cloudevents+json", delivery_mode=2)

#: A pika connection belongs to one thread at a time; None stands for one that was not opened yet.
_channels: queue.LifoQueue[BlockingChannel | None] = queue.LifoQueue()
for _ in range(min(IN_FLIGHT, PUBLISHERS)):
    _channels.put(None)


@contextmanager
def publishing_channel() -> Iterator[BlockingChannel]:
    """Lend a channel with confirms."""
    channel = _channels.get()
    try:
        if channel is None:
            parameters = pika.URLParameters(AMQP_URL)
            # Nobody reads it while it lies in the pool.
            parameters.heartbeat = 0
            channel = pika.BlockingConnection(parameters).channel()
            channel.confirm_delivery()
        yield channel
    finally:
        _channels.put(channel)


@dramatiq.actor(queue_name=QUEUE, max_retries=5)
def answer(event: dict[str, Any]) -> None:
    """Answer one question; it is acked when the actor returns."""
    reply = blocking_http.answer(Asked.model_validate(event), conversations)
    body = reply.model_dump_json().encode()
    with publishing_channel() as channel:
        channel.basic_publish(EXCHANGE, REPLY_KEY, body, PROPERTIES, mandatory=True)
