"""A CRM that knows CloudEvents only through the official SDK: it asks, and reads its answer."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from cloudevents.core.v1.event import CloudEvent

from schemas import RawEvent, reply_id
from tests.contract.sdk_events import WRITERS, amqp_reader, attributes_of, first_api_reader, rabbitmq_reader
from tests.fleet import Fleet
from tests.judge import Asked
from tests.servers.rabbitmq import AmqpNames, RabbitMQ

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SOURCE = "crm/sdk"


def question_of(number: int, writer: str) -> CloudEvent:
    return CloudEvent(
        {
            "id": f"sdk-{number}",
            "source": SOURCE,
            "type": "contact.question.asked",
            "datacontenttype": "application/json",
            "traceparent": TRACEPARENT,
        },
        {
            "contact_id": f"EXT_{number}",
            "question": f"Is {writer} understood?",
            "metadata": {"writer": writer},
        },
    )


def messages_in(rabbitmq: RabbitMQ, queue: str) -> list[RawEvent]:
    """Return what is in a queue, as an AMQP client gets it."""
    found = []
    with closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        while True:
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            if method is None:
                return found
            found.append(
                RawEvent(
                    body,
                    properties.content_type,
                    message_id=properties.message_id,
                    headers=properties.headers or {},
                )
            )


def test_questions_written_with_the_sdk_are_answered_and_the_sdk_reads_the_replies(
    rabbitmq: RabbitMQ, amqp_names: AmqpNames, tmp_path: Path
) -> None:
    crm_queue = f"{amqp_names.prefix}.crm"
    events = [question_of(number, writer) for number, writer in enumerate(WRITERS)]
    with Fleet(
        rabbitmq=rabbitmq, names=amqp_names, database_url=f"sqlite:///{tmp_path}/ledger.db", folder=tmp_path
    ) as fleet:
        with closing(rabbitmq.connect()) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.queue_declare(crm_queue, durable=True)
            channel.queue_bind(crm_queue, amqp_names.events_exchange, "contact.question.answered")
            for event, write in zip(events, WRITERS.values(), strict=True):
                raw = write(event)
                fleet.publish_raw(channel, raw.body, raw.content_type, headers=dict(raw.headers))
        fleet.asked += [
            Asked(each.get_id(), each.get_data()["contact_id"], each.get_data()["question"])
            for each in events
        ]
        fleet.start_worker()
        fleet.wait_for_replies(len(events))
        judgement = fleet.judge()
        replies = {each.message_id: each for each in messages_in(rabbitmq, crm_queue)}
        with closing(rabbitmq.connect()) as connection:
            connection.channel().queue_delete(crm_queue)
    assert judgement.broken() == {}
    assert (judgement.posts, judgement.answered) == (len(events), len(events))
    for event in events:
        raw = replies[reply_id(SOURCE, event.get_id())]
        for reader in (amqp_reader, rabbitmq_reader, first_api_reader):
            assert_answers(event, reader(raw))


def assert_answers(event: CloudEvent, reply: Any) -> None:
    attributes, data = attributes_of(reply), reply.get_data()
    assert attributes["type"] == "contact.question.answered"
    assert attributes["id"] == reply_id(SOURCE, event.get_id())
    assert attributes["subject"] == event.get_data()["contact_id"]
    # The trace is the question's, whoever made the last span in it.
    assert attributes["traceparent"].split("-")[1] == TRACEPARENT.split("-")[1]
    assert (data["question_id"], data["question_source"]) == (event.get_id(), SOURCE)
    assert data["metadata"] == event.get_data()["metadata"]
    assert data["answer"]
