"""Publishes one question as a CRM would, and waits for its reply."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pika
from pika.exceptions import ChannelClosedByBroker, UnroutableError

from schemas import ASKED, SPEC_VERSION, STRUCTURED_JSON, reply_id, timestamp_of
from worker.adapters.rabbitmq.config import connection_parameters
from worker.settings import Settings

#: Who asks, in the events of ``askrelay ask``.
SOURCE = "askrelay/ask"
#: AMQP's number for a message that survives a restart of the broker.
PERSISTENT = 2
#: AMQP's reply code for a thing that is not there.
NOT_FOUND = 404
#: s. Longest wait for the broker in one piece, so that the connection's heartbeats are answered.
WAIT_S = 1.0


class NotTakenError(Exception):
    """Nothing on the broker takes questions yet; the message names what is missing."""


def event_of(event_id: str, data: dict[str, Any]) -> bytes:
    """Return the CloudEvent that asks; raises nothing, the caller has it checked."""
    event = {
        "specversion": SPEC_VERSION,
        "id": event_id,
        "source": SOURCE,
        "type": ASKED,
        "time": timestamp_of(time.time()),
        "data": data,
    }
    return json.dumps(event, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")


def ask_once(
    settings: Settings,
    event_id: str,
    event: bytes,
    *,
    timeout_s: float,
    on_taken: Callable[[int | None], None],
) -> dict[str, Any] | None:
    """Publish the event and return its reply event, or None when none came in time.

    ``on_taken`` is told how many workers listen once a queue has taken the question; None when that cannot be
    seen. Raises NotTakenError, and what pika raises; ConnectionBlockedTimeout is an alarm of the broker that
    outlasted ``timeout_s``.
    """
    parameters = connection_parameters(
        settings.rabbitmq_url, ca_file=settings.rabbitmq_ca_file, connection_name="askrelay ask"
    )
    parameters.blocked_connection_timeout = timeout_s
    with _connected(parameters) as connection:
        until = time.monotonic() + timeout_s
        channel = connection.channel()
        # Bound before anything is asked: a quick answer would come to nobody.
        queue = _bind_replies(channel, settings)
        _publish(channel, settings, event_id, event)
        on_taken(_listeners(connection, settings))
        return _wait(channel, queue, reply_id(SOURCE, event_id), until=until)


@contextmanager
def _connected(parameters: Any) -> Iterator[Any]:
    """Open a connection, and close it in order unless Ctrl-C ends the command.

    A broker with an alarm reads nothing, so it would not answer a close either: Ctrl-C would end nothing.
    """
    connection = pika.BlockingConnection(parameters)
    is_interrupted = False
    try:
        yield connection
    except KeyboardInterrupt:
        is_interrupted = True
        raise
    finally:
        if connection.is_open and not is_interrupted:
            connection.close()


def _bind_replies(channel: Any, settings: Settings) -> str:
    queue: str = channel.queue_declare("", exclusive=True, auto_delete=True).method.queue
    try:
        for key in dict.fromkeys((settings.answered_key, settings.failed_key)):
            channel.queue_bind(queue, settings.events_exchange, key)
    except ChannelClosedByBroker as closed:
        if closed.reply_code != NOT_FOUND:
            raise
        raise NotTakenError(f"there is no exchange {settings.events_exchange!r}") from None
    return queue


def _publish(channel: Any, settings: Settings, event_id: str, event: bytes) -> None:
    channel.confirm_delivery()
    properties = pika.BasicProperties(  # type: ignore[no-untyped-call]
        content_type=STRUCTURED_JSON, message_id=event_id, type=ASKED, delivery_mode=PERSISTENT
    )
    try:
        channel.basic_publish(settings.events_exchange, settings.asked_key, event, properties, mandatory=True)
    except UnroutableError:
        raise NotTakenError(
            f"no queue takes {settings.asked_key!r} from exchange {settings.events_exchange!r}"
        ) from None


def _listeners(connection: Any, settings: Settings) -> int | None:
    """Count who consumes the question queue, on a channel of its own: a refusal closes it."""
    channel = connection.channel()
    try:
        found = channel.queue_declare(settings.question_queue, passive=True).method.consumer_count
    except ChannelClosedByBroker:
        return None
    channel.close()
    return int(found)


def _wait(channel: Any, queue: str, wanted_id: str, *, until: float) -> dict[str, Any] | None:
    while (left_s := until - time.monotonic()) > 0:
        for method, properties, body in channel.consume(
            queue, auto_ack=True, inactivity_timeout=min(WAIT_S, left_s)
        ):
            # The message id tells ours from everybody else's, without reading what others were answered.
            if method is not None and properties.message_id == wanted_id:
                reply: dict[str, Any] = json.loads(body)
                return reply
            if time.monotonic() >= until:
                break
    return None
