"""The official Python SDK and askrelay understand each other, in both directions and every wrapping."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.v1.event import CloudEvent

from schemas import AskedQuestion, EventRefused, OwnReply, RawEvent, decode_event
from schemas.examples import ANSWERED_EXAMPLE, ASKED_EXAMPLE, FAILED_EXAMPLE
from tests.contract.sdk_events import (
    WRITERS,
    amqp_reader,
    attributes_of,
    first_api_reader,
    rabbitmq_reader,
)

ASKED_AT = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)
EXPIRES_AT = datetime(2026, 11, 20, 21, 0, tzinfo=UTC)
STRUCTURED = "application/cloudevents+json"
REPLIES = {"answered": ANSWERED_EXAMPLE, "failed": FAILED_EXAMPLE}
BINARY = [name for name in WRITERS if "binary" in name]


def asked(**others: Any) -> CloudEvent:
    """The example question, made with the SDK as its README shows; ``others`` replace attributes."""
    attributes = {name: value for name, value in ASKED_EXAMPLE.items() if name not in {"data", "specversion"}}
    attributes |= {
        "datacontenttype": "application/json",
        "time": ASKED_AT,
        "expirytime": EXPIRES_AT,
        **others,
    }
    return CloudEvent(attributes, ASKED_EXAMPLE["data"])


def reply(kind: str) -> RawEvent:
    return RawEvent(json.dumps(REPLIES[kind]).encode(), STRUCTURED)


@pytest.mark.parametrize("writer", WRITERS)
def test_question_written_with_the_sdk_is_decoded(writer: str) -> None:
    decoded = decode_event(WRITERS[writer](asked()))
    assert isinstance(decoded, AskedQuestion)
    assert decoded == AskedQuestion(
        source="crm/acme",
        event_id="evt-1",
        contact_id="EXT_12345",
        thread_id=None,
        question="What are your support hours?",
        lang="en",
        metadata={"ticket": "T-9"},
        asked_at=decoded.asked_at,
        expires_at=EXPIRES_AT.timestamp(),
        traceparent=ASKED_EXAMPLE["traceparent"],
        tracestate=None,
    )
    assert datetime.fromisoformat(str(decoded.asked_at)) == ASKED_AT


@pytest.mark.parametrize("writer", WRITERS)
def test_question_with_what_the_sdk_fills_in_by_itself_is_decoded(writer: str) -> None:
    event = CloudEvent({"type": "contact.question.asked", "source": "crm/acme"}, ASKED_EXAMPLE["data"])
    decoded = decode_event(WRITERS[writer](event))
    assert isinstance(decoded, AskedQuestion)
    assert decoded.event_id == event.get_id()
    # The SDK sends milliseconds in one binding and microseconds in the others.
    sent = datetime.fromisoformat(str(decoded.asked_at))
    assert abs((sent - event.get_time()).total_seconds()) < 0.001


@pytest.mark.parametrize("writer", WRITERS)
def test_letters_beyond_ascii_come_through_the_sdk(writer: str) -> None:
    data = {"contact_id": "客户", "question": "Où est mon 📦 ?\nمتى؟"}
    decoded = decode_event(WRITERS[writer](CloudEvent(asked().get_attributes(), data)))
    assert isinstance(decoded, AskedQuestion)
    assert (decoded.contact_id, decoded.question) == (data["contact_id"], data["question"])


@pytest.mark.parametrize("writer", WRITERS)
def test_question_that_is_wrong_is_refused_however_the_sdk_wraps_it(writer: str) -> None:
    with pytest.raises(EventRefused) as refused:
        decode_event(WRITERS[writer](CloudEvent(asked().get_attributes(), {"question": "Why?"})))
    assert (refused.value.reason, refused.value.detail) == ("invalid_question", "contact_id is missing")


@pytest.mark.parametrize("reader", [amqp_reader, rabbitmq_reader, first_api_reader])
@pytest.mark.parametrize("kind", REPLIES)
def test_reply_is_read_by_the_sdk(kind: str, reader: Any) -> None:
    assert_is_reply(reader(reply(kind)), kind)


@pytest.mark.parametrize("writer", BINARY)
@pytest.mark.parametrize("kind", REPLIES)
def test_reply_turned_binary_on_its_way_is_read_by_the_sdk_and_known_as_ours(kind: str, writer: str) -> None:
    """A broker of CloudEvents may wrap anew what it forwards."""
    raw = WRITERS[writer](amqp_reader(reply(kind)))
    assert raw.content_type == "application/json"
    assert_is_reply((amqp_reader if "amqp" in writer else rabbitmq_reader)(raw), kind)
    assert decode_event(raw) == OwnReply(REPLIES[kind]["id"], REPLIES[kind]["type"])


def assert_is_reply(event: Any, kind: str) -> None:
    """Every attribute and all of the data are as they were published."""
    attributes = attributes_of(event)
    time = attributes.pop("time")
    expected = {name: value for name, value in REPLIES[kind].items() if name not in {"data", "time"}}
    assert attributes == expected
    moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    assert moment == datetime.fromisoformat(REPLIES[kind]["time"])
    assert event.get_data() == REPLIES[kind]["data"]
