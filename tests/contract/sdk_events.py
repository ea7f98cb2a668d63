"""Events as producers write them and replies as consumers read them, with the official CloudEvents SDK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloudevents.core.bindings import amqp, rabbitmq
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import conversion, http

from schemas import RawEvent


def amqp_structured(event: CloudEvent) -> RawEvent:
    message = amqp.to_structured_event(event)
    return RawEvent(message.application_data, message.properties["content-type"])


def amqp_binary(event: CloudEvent) -> RawEvent:
    """The SDK writes ``cloudEvents_``, and times as milliseconds."""
    message = amqp.to_binary_event(event)
    return RawEvent(
        message.application_data,
        message.properties.get("content-type"),
        headers=message.application_properties,
    )


def amqp_binary_with_colon(event: CloudEvent) -> RawEvent:
    """The other prefix of the same binding, which the SDK reads and others write."""
    raw = amqp_binary(event)
    renamed = {name.replace("cloudEvents_", "cloudEvents:"): value for name, value in raw.headers.items()}
    return RawEvent(raw.body, raw.content_type, headers=renamed)


def rabbitmq_structured(event: CloudEvent) -> RawEvent:
    message = rabbitmq.to_structured_event(event)
    return RawEvent(message.body, message.content_type, headers=message.headers)


def rabbitmq_binary(event: CloudEvent) -> RawEvent:
    """The SDK writes ``ce-``, and times as text."""
    message = rabbitmq.to_binary_event(event)
    return RawEvent(message.body, message.content_type, headers=message.headers)


def first_api_structured(event: CloudEvent) -> RawEvent:
    """What most producers have today: the SDK's API of versions 0 and 1."""
    headers, body = conversion.to_structured(_of_first_api(event))
    return RawEvent(body, headers["content-type"])


def first_api_binary(event: CloudEvent) -> RawEvent:
    headers, body = conversion.to_binary(_of_first_api(event))
    return RawEvent(body, headers.get("content-type"), headers=headers)


def _of_first_api(event: CloudEvent) -> http.CloudEvent:
    attributes = {
        name: value if isinstance(value, str) else value.isoformat()
        for name, value in event.get_attributes().items()
    }
    return http.CloudEvent(attributes, event.get_data())


#: Every way in which the SDK writes an event for AMQP, by its name.
WRITERS: dict[str, Callable[[CloudEvent], RawEvent]] = {
    "amqp structured": amqp_structured,
    "amqp binary cloudEvents_": amqp_binary,
    "amqp binary cloudEvents:": amqp_binary_with_colon,
    "rabbitmq structured": rabbitmq_structured,
    "rabbitmq binary ce-": rabbitmq_binary,
    "first API structured": first_api_structured,
    "first API binary ce-": first_api_binary,
}


def amqp_reader(raw: RawEvent) -> CloudEvent:
    message = amqp.AMQPMessage({"content-type": raw.content_type}, dict(raw.headers), raw.body)
    return amqp.from_amqp_event(message)


def rabbitmq_reader(raw: RawEvent) -> CloudEvent:
    return rabbitmq.from_rabbitmq_event(
        rabbitmq.RabbitMQMessage(dict(raw.headers), raw.content_type, raw.body)
    )


def first_api_reader(raw: RawEvent) -> Any:
    headers = {"content-type": raw.content_type, **raw.headers}
    return http.from_http(headers, raw.body)


def attributes_of(event: Any) -> dict[str, Any]:
    """Return the attributes of an event of either API."""
    return dict(event.get_attributes())
