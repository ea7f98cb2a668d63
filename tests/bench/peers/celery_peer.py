"""Celery + urllib3: late acks, replies by its own pool of producers; whoever starts it chooses the pool."""

from __future__ import annotations

import sys
from typing import Any

import blocking_http
from celery import Celery
from kombu import Exchange, Queue
from work import AMQP_URL, EXCHANGE, PUBLISHERS, QUEUE, REPLY_KEY, Asked, Conversations

app = Celery("bench", broker=AMQP_URL)
app.conf.update(
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
    broker_heartbeat=0,
    broker_pool_limit=PUBLISHERS,
    broker_transport_options={"confirm_publish": True},
    task_acks_late=True,
    task_default_queue=QUEUE,
    task_ignore_result=True,
    task_queues=[Queue(QUEUE, Exchange(""), routing_key=QUEUE, durable=True)],
    task_serializer="json",
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=2,
    worker_send_task_events=False,
)
conversations = Conversations(is_one_thread="gevent" in sys.argv)
replies = Exchange(EXCHANGE, type="topic", durable=True)


@app.task(name="answer", autoretry_for=(Exception,), retry_backoff=True, max_retries=5)
def answer(event: dict[str, Any]) -> None:
    """Answer one question; it is acked when the task returns."""
    reply = blocking_http.answer(Asked.model_validate(event), conversations)
    with app.producer_pool.acquire(block=True) as producer:
        producer.publish(
            reply.model_dump_json(),
            exchange=replies,
            routing_key=REPLY_KEY,
            content_type="application/cloudevents+json",
            content_encoding="utf-8",
            delivery_mode=2,
            mandatory=True,
        )
