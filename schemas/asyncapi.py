"""The AsyncAPI 3 document: where events go in, where replies come out, and what they look like.

Written from askrelay's side, as AsyncAPI wants it: ``receive`` is what a CRM publishes, ``send`` what it
gets.
Payloads are the JSON Schemas of the events, in the dialect that AsyncAPI reads without being told.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.asyncapi_messages import event_schemas, messages
from schemas.bus_names import (
    ANSWERED_KEY,
    ASKED_KEY,
    EVENTS_EXCHANGE,
    FAILED_KEY,
    PROGRESS_KEY,
    QUESTION_QUEUE,
    QUESTION_QUEUE_ARGUMENTS,
    RATED_KEY,
    REJECTED_QUEUE,
    REJECTED_QUEUE_ARGUMENTS,
)
from schemas.event_names import MAX_EVENT_BYTES, MAX_EVENT_DEPTH

#: Of the contract, which is released together with the program.
CONTRACT_VERSION: Final = "0.1.0"

#: Of AsyncAPI's AMQP 0-9-1 bindings.
_BINDINGS: Final = "0.3.0"

_DESCRIPTION: Final = f"""\
askrelay answers the questions of CRM contacts with a CustomGPT agent. A CRM publishes \
`contact.question.asked` and takes `contact.question.answered` and `contact.question.failed` from a queue of \
its own. Every accepted question ends in exactly one reply id. Replies come at least once: drop repeats by \
their id.

Exchange, queues and routing keys have their default names here; settings of askrelay rename them. An event \
has at most {MAX_EVENT_BYTES} bytes and {MAX_EVENT_DEPTH} levels of nesting. Fields that are not listed are \
ignored, and later versions may add some to the replies: ignore what you do not know.

The queue by which workers wake each other holds nothing of anybody's and is no part of the contract."""


def asyncapi_document() -> dict[str, Any]:
    """Return the document."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:askrelay",
        "info": {
            "title": "askrelay",
            "version": CONTRACT_VERSION,
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
            "tags": [{"name": "question"}, {"name": "reply"}, {"name": "rejected"}],
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "127.0.0.1:5672",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "description": "RabbitMQ 3.10 to 4.x, where RABBITMQ_URL points unless it is set.",
            }
        },
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": messages(), "schemas": event_schemas()},
    }


def _channels() -> dict[str, Any]:
    return {
        "asked": _key(
            ASKED_KEY, "Where a CRM publishes questions.", "askedStructured", "askedBinary", "askedBare"
        ),
        "questions": _queue(
            QUESTION_QUEUE,
            f"Where workers take questions from; bound to {EVENTS_EXCHANGE} with {ASKED_KEY}.",
            QUESTION_QUEUE_ARGUMENTS,
            "askedStructured",
            "askedBinary",
            "askedBare",
            "ratedStructured",
        ),
        "rated": _key(RATED_KEY, "Where a CRM publishes what contacts think of answers.", "ratedStructured"),
        "answered": _key(ANSWERED_KEY, "Where answers are published. Bind a queue of yours.", "answered"),
        "failed": _key(FAILED_KEY, "Where failures are published. Bind a queue of yours.", "failed"),
        "progress": _key(
            PROGRESS_KEY,
            "Where answers are shown while they are written, if ASKRELAY_PROGRESS is on. Some may be lost, "
            "and none comes after its question's reply.",
            "progress",
        ),
        "rejected": _queue(
            REJECTED_QUEUE,
            "Where events wait for a person that could not be taken in. Nothing expires here.",
            REJECTED_QUEUE_ARGUMENTS,
            "rejected",
            "rejectedRating",
        ),
    }


def _key(key: str, description: str, *names: str) -> dict[str, Any]:
    exchange = {"name": EVENTS_EXCHANGE, "type": "topic", "durable": True, "autoDelete": False}
    return _channel(key, description, {"is": "routingKey", "exchange": exchange}, names)


def _queue(name: str, description: str, arguments: dict[str, Any], *names: str) -> dict[str, Any]:
    queue = {"name": name, "durable": True, "exclusive": False, "autoDelete": False}
    return _channel(name, description, {"is": "queue", "queue": queue, "x-arguments": arguments}, names)


def _channel(
    address: str, description: str, binding: dict[str, Any], names: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"amqp": {**binding, "bindingVersion": _BINDINGS}},
    }


def _operations() -> dict[str, Any]:
    taking = {"ack": True}
    # Mandatory: a reply that no queue takes comes back and is tried again, instead of being lost.
    sending = {"deliveryMode": 2, "mandatory": True, "timestamp": True}
    return {
        "receiveQuestion": _operation("receive", "asked", "A contact asked a question.", "question", {}),
        "takeQuestion": _operation(
            "receive",
            "questions",
            "A worker takes the question; it is acked once it is written down.",
            "question",
            taking,
        ),
        "receiveRating": _operation("receive", "rated", "A contact rated an answer.", "question", {}),
        "sendAnswer": _operation("send", "answered", "The question was answered.", "reply", sending),
        "sendFailure": _operation(
            "send", "failed", "The question ended without an answer.", "reply", sending
        ),
        "sendProgress": _operation(
            "send",
            "progress",
            "An answer is being written.",
            "reply",
            {"deliveryMode": 1, "mandatory": False, "timestamp": True},
        ),
        "rejectEvent": _operation(
            "send", "rejected", "An event could not be taken in.", "rejected", {"deliveryMode": 2}
        ),
    }


def _operation(action: str, channel: str, summary: str, tag: str, binding: dict[str, Any]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "tags": [{"name": tag}],
        **({"bindings": {"amqp": {**binding, "bindingVersion": _BINDINGS}}} if binding else {}),
    }
