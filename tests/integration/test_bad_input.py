"""Bad input: a clear error, and nothing lost; on a real broker and both databases."""

from __future__ import annotations

import gzip
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import Fleet
from tests.judge import Asked
from tests.servers.rabbitmq import AmqpNames, RabbitMQ

STRUCTURED = "application/cloudevents+json"


def event(event_id: Any = "evt", /, **data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "crm/test",
        "type": "contact.question.asked",
        "data": {"contact_id": "EXT_1", "question": "Is it me?", **data},
    }


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


GOOD = as_json(event())
DRAMATIQ = as_json(
    {
        "queue_name": "default",
        "actor_name": "ask",
        "args": [1],
        "kwargs": {},
        "options": {},
        "message_id": "m",
        "message_timestamp": 1,
    }
)

#: body, reason
REJECTED = {
    "no JSON": (b"What are your hours?", "malformed_event"),
    "a JSON string": (b'"evt"', "malformed_event"),
    "wrong type": (as_json({**event("t1"), "type": "contact.created"}), "unsupported_event"),
    "over 64 KiB": (as_json(event("big", question="a" * 66_000)), "event_too_large"),
    "deeper than 32": (as_json(event("deep", metadata=nested(40))), "malformed_event"),
    "duplicate keys": (b'{"specversion":"1.0","id":"a","id":"b"}', "malformed_event"),
    "NaN": (GOOD.replace(b'"Is it me?"', b'"x","metadata":NaN'), "malformed_event"),
    "bad UTF-8": (GOOD.replace(b"Is it me?", b"\xff\xfe"), "malformed_event"),
    "a lone surrogate": (GOOD.replace(b"Is it me?", b"\\ud800"), "malformed_event"),
    "no event id": (as_json({k: v for k, v in event().items() if k != "id"}), "malformed_event"),
    "an id over 255 bytes": (as_json(event("i" * 256)), "malformed_event"),
    "no contact": (as_json(event("c0", contact_id=None)), "invalid_question"),
    "an empty contact": (as_json(event("c1", contact_id="")), "invalid_question"),
    "an empty question": (as_json(event("q1", question="")), "invalid_question"),
    "a control character in the contact": (as_json(event("c2", contact_id="a\x07")), "invalid_question"),
    "a bidi character in the contact": (as_json(event("c3", contact_id="a\u202e")), "invalid_question"),
    "a dramatiq message": (DRAMATIQ, "malformed_event"),
    "pickled bytes": (pickle.dumps(event()), "malformed_event"),
    "gzip": (gzip.compress(GOOD, mtime=0), "malformed_event"),
    "zlib": (zlib.compress(GOOD), "malformed_event"),
    "nothing": (b"", "malformed_event"),
}

#: event id: (contact, question, metadata)
ANSWERED = {
    "nul": ("NUL", "one\x00two", {"deep": ["a\x00b"]}),
    "emoji": ("EMOJI", "Where is my 📦? 👩‍👩‍👧‍👦", None),
    "rtl": ("RTL", "מה השעה?\nوأين؟", None),
    "long": ("LONG", "long " * 4000, None),
    "quote": ("O'Brien \"; drop table", "'; drop table questions; --", {"%s": ":rows"}),
    "spaces": (" EXT_1 ", "Am I another contact?", None),
}


@pytest.fixture
def fleet(rabbitmq: RabbitMQ, amqp_names: AmqpNames, database_url: str, tmp_path: Path) -> Any:
    with Fleet(
        rabbitmq=rabbitmq, names=amqp_names, database_url=database_url, folder=tmp_path, latency_s=0
    ) as fleet:
        fleet.start_worker()
        yield fleet


def rejected(fleet: Fleet, count: int) -> list[tuple[Any, Any, bytes]]:
    """Wait for so many rejected messages and take them."""
    found: list[tuple[Any, Any, bytes]] = []
    with fleet.rabbitmq.connect() as connection:
        channel = connection.channel()

        def is_complete() -> bool:
            while len(found) < count:
                method, properties, body = channel.basic_get(fleet.names.rejected_queue, auto_ack=True)
                if method is None:
                    return False
                found.append((method, properties, body))
            return True

        # The worker declares the queue; until then there is nothing to get from.
        fleet.wait_until(lambda: any(line["event"] == "bus.declared" for line in fleet.logs()), "declaring")
        fleet.wait_until(is_complete, f"{count} rejected events")
    return found


def test_bad_events_are_put_aside_with_a_reason_and_the_good_among_them_are_answered(fleet: Fleet) -> None:
    good = [Asked(f"good-{n}", f"GOOD_{n % 5}", f"Good question {n}?") for n in range(len(REJECTED))]
    with fleet.publishing() as channel:
        for number, (body, _) in enumerate(REJECTED.values()):
            headers = {"x-trace": number, "CC": ["elsewhere"], "custom": {"a": 1}}
            fleet.publish_raw(channel, body, STRUCTURED, headers=headers, message_id="")
            fleet.ask([good[number]])
    fleet.wait_for_replies(len(good))
    found = rejected(fleet, len(REJECTED))
    assert {
        (properties.headers["x-trace"], body, properties.headers["x-askrelay-reason"])
        for _, properties, body in found
    } == {(number, body, reason) for number, (body, reason) in enumerate(REJECTED.values())}
    for _, properties, _ in found:
        assert properties.headers["x-askrelay-detail"]
        assert properties.headers["custom"] == {"a": 1}
        assert "CC" not in properties.headers
    assert fleet.judge().broken() == {}


def test_odd_questions_are_posted_as_they_are(fleet: Fleet) -> None:
    with fleet.publishing() as channel:
        for event_id, (contact, question, metadata) in ANSWERED.items():
            body = as_json(event(event_id, contact_id=contact, question=question, metadata=metadata))
            fleet.publish_raw(channel, body, STRUCTURED)
        fleet.publish_raw(channel, as_json(event("int", contact_id=42)), STRUCTURED)
        fleet.publish_raw(channel, as_json(event("long-contact", contact_id="c" * 300)), STRUCTURED)
    fleet.wait_for_replies(len(ANSWERED) + 2)
    replies = {reply["data"]["question_id"]: reply["data"] for reply in fleet.replies}
    posted = {effect["external_id"]: effect["question"] for effect in fleet.sandbox.effects("message")}
    for event_id, (contact, question, metadata) in ANSWERED.items():
        assert posted[contact] == question
        assert replies[event_id]["metadata"] == metadata
    assert replies["int"]["contact_id"] == "42"
    assert replies["long-contact"]["contact_id"] == "c" * 300
    assert replies["long-contact"]["external_id"].startswith("sha256:")
    assert replies["long-contact"]["external_id"] in posted


def test_a_repeat_gets_the_same_reply_and_other_data_is_a_conflict(fleet: Fleet) -> None:
    first = Asked("same", "EXT_7", "Once?")
    fleet.ask([first], repeats=5)
    fleet.wait_for_replies(1)
    other = as_json({**event("same", contact_id="EXT_7", question="Other?"), "source": "crm/test"})
    with fleet.publishing() as channel:
        fleet.publish_raw(channel, other, STRUCTURED)
    ((_, properties, body),) = rejected(fleet, 1)
    assert (properties.headers["x-askrelay-reason"], body) == ("id_conflict", other)
    judgement = fleet.judge()
    assert judgement.broken() == {}
    assert judgement.posts == 1


def test_bare_json_takes_its_identity_from_the_message(fleet: Fleet) -> None:
    with fleet.publishing() as channel:
        body = as_json({"contact_id": "EXT_9", "question": "Bare?"})
        fleet.publish_raw(channel, body, "application/json", message_id="m-1", app_id="shop")
        fleet.publish_raw(channel, body, "application/json", message_id="m-1")
    fleet.wait_for_replies(2)
    assert {(r["data"]["question_source"], r["data"]["question_id"]) for r in fleet.replies} == {
        ("shop", "m-1"),
        ("crm", "m-1"),
    }
