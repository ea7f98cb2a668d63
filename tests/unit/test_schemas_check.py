"""What a producer is told about an event, field by field."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from schemas import (
    AskedData,
    AskedEvent,
    CheckedEvent,
    EventRefused,
    RawEvent,
    check_event,
    decode_event,
    meaning_of,
    reply_id,
)
from schemas.examples import ANSWERED_EXAMPLE, ASKED_EXAMPLE

CANARY = "canary"


def checked(data: dict[str, Any] | None = None, /, **attributes: Any) -> CheckedEvent:
    """Check the example with other attributes and data; ``...`` leaves one out."""
    event = copy.deepcopy(ASKED_EXAMPLE)
    for target, changes in ((event, attributes), (event["data"], data or {})):
        for name, value in changes.items():
            if value is ...:
                del target[name]
            else:
                target[name] = value
    return check_event(RawEvent(json.dumps(event).encode()))


def said(found: tuple[Any, ...]) -> list[str]:
    return [f"{each.field} {each.problem}" for each in found]


def test_good_event_has_no_problem_and_tells_its_reply_id() -> None:
    assert checked() == CheckedEvent(
        None, (), (), source="crm/acme", event_id="evt-1", reply_id=reply_id("crm/acme", "evt-1")
    )


def test_every_wrong_field_is_named_with_its_place() -> None:
    found = checked(
        {"contact_id": ..., "question": " ", "lang": "no tag", "thread_id": True}, time="noon", id=5
    )
    assert found.reason == "malformed_event"
    assert said(found.problems) == [
        "id is not a string",
        "time is not an RFC 3339 timestamp",
        "data.contact_id is missing",
        "data.question is blank",
        "data.thread_id is neither a string nor an integer",
        "data.lang is not a language tag",
    ]
    assert found.reply_id is None


def test_data_that_is_no_object_is_one_problem() -> None:
    event = {**ASKED_EXAMPLE, "data": [1]}
    assert said(check_event(RawEvent(json.dumps(event).encode())).problems) == ["data is not an object"]


@pytest.mark.parametrize(
    ("body", "reason", "problem"),
    [
        (b"What?", "malformed_event", "body is not JSON at character 0"),
        (b"[]", "malformed_event", "body is not a JSON object"),
        (b"{" * 70_000, "event_too_large", "body is over 65536 bytes"),
        (b'{"id":1,"id":2}', "malformed_event", "an object has the same key twice"),
    ],
)
def test_event_that_is_wrong_as_a_whole_has_one_problem_without_a_field(
    body: bytes, reason: str, problem: str
) -> None:
    found = check_event(RawEvent(body))
    assert (found.reason, said(found.problems), found.notes) == (reason, [f" {problem}"], ())


def test_own_reply_is_no_question() -> None:
    found = check_event(RawEvent(json.dumps(ANSWERED_EXAMPLE).encode()))
    assert found.reason == "unsupported_event"
    assert [each.field for each in found.problems] == ["type"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("contactId", "contact_id"),
        ("contact", "contact_id"),
        ("CONTACT_ID", "contact_id"),
        ("Question", "question"),
        ("prompt", "question"),
    ],
)
def test_misspelt_required_field_is_noted_beside_the_missing_one(name: str, meant: str) -> None:
    found = checked({meant: ..., name: "x"})
    assert said(found.problems) == [f"data.{meant} is missing"]
    assert said(found.notes) == [f"data.{name} is ignored; did you mean data.{meant}?"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("threadId", "thread_id"), ("thread", "thread_id"), ("locale", "lang"), ("meta", "metadata")],
)
def test_misspelt_optional_field_is_noted_though_the_event_is_taken(name: str, meant: str) -> None:
    found = checked({meant: ..., name: "x"})
    assert found.reason is None
    assert said(found.notes) == [f"data.{name} is ignored; did you mean data.{meant}?"]


def test_unknown_field_that_is_near_to_none_or_stands_beside_the_right_one_is_noted_without_advice() -> None:
    assert said(checked({"shade": 1, "contactId": "x"}).notes) == [
        "data.contactId is ignored",
        "data.shade is ignored",
    ]


def test_attributes_of_cloudevents_that_nobody_reads_are_no_mistake() -> None:
    found = checked(subject="x", dataschema="urn:x", datacontenttype="application/json")
    assert found.notes == ()
    assert said(checked(time=..., timestamp="x").notes) == ["timestamp is ignored; did you mean time?"]


def test_name_of_an_unknown_field_is_made_fit_for_a_terminal() -> None:
    notes = checked({"a\x1b[31m\u202e": 1, "b" * 500: 1}).notes
    assert said(notes) == ["data.a?[31m? is ignored", f"data.{'b' * 64}... is ignored"]


def test_event_without_its_version_is_told_that_it_was_read_as_bare_data() -> None:
    found = checked(specversion=...)
    assert found.reason == "malformed_event"
    assert said(found.notes) == [
        "specversion is missing, so the whole body was taken for the data of an event that is no CloudEvent"
    ]


def test_trace_that_will_be_dropped_is_noted() -> None:
    found = checked(traceparent="00-1-2-3", tracestate="?")
    assert found.reason is None
    assert said(found.notes) == [
        "traceparent is not a W3C traceparent and is dropped",
        "tracestate is not a W3C tracestate and is dropped",
    ]


def test_wishes_that_settings_must_allow_are_noted() -> None:
    found = checked({"options": {"custom_persona": "A guide."}, "api": "conversations"})
    assert found.reason is None
    unless = "has the event rejected, unless the workers' settings allow events to have it"
    assert said(found.notes) == [f"data.api {unless}", f"data.options.custom_persona {unless}"]
    assert said(checked({"options": {"custom_context": "Hi."}, "api": "chat_completions"}).notes) == [
        f"data.api {unless}",
        "data.options.custom_context is not taken by chat completions, so the event would be rejected",
    ]


@pytest.mark.parametrize(("expiry", "count"), [("2026-11-20T20:00:00Z", 1), ("2026-11-20T20:00:01Z", 0)])
def test_expiry_that_is_over_before_the_question_is_asked_is_noted(expiry: str, count: int) -> None:
    found = checked(time="2026-11-20T20:00:00Z", expirytime=expiry)
    assert found.reason is None
    assert [each.field for each in found.notes] == ["expirytime"] * count


def test_bare_json_is_told_which_property_is_missing() -> None:
    body = json.dumps(ASKED_EXAMPLE["data"]).encode()
    assert said(check_event(RawEvent(body)).problems) == ["message_id is missing"]
    assert check_event(RawEvent(body, message_id="evt-1"), default_source="shop").source == "shop"


def test_check_and_refusal_agree_and_neither_repeats_a_value() -> None:
    event = {
        **ASKED_EXAMPLE,
        "time": CANARY,
        "data": {"contact_id": [CANARY], "question": 1, "lang": CANARY * 9},
    }
    raw = RawEvent(json.dumps(event).encode())
    found = check_event(raw)
    with pytest.raises(EventRefused) as refused:
        decode_event(raw)
    assert (found.reason, found.problems) == (refused.value.reason, refused.value.problems)
    short = "; ".join(f"{each.field.removeprefix('data.')} {each.problem}" for each in found.problems)
    assert short == refused.value.detail
    assert CANARY not in repr(found)


def test_every_field_has_a_meaning_and_nothing_else_has_one() -> None:
    fields = [
        *(set(AskedEvent.model_fields) - {"data"}),
        *(f"data.{each}" for each in AskedData.model_fields),
    ]
    assert all(meaning_of(field) for field in fields)
    assert [meaning_of(field) for field in ("", "contact_id", "data.id", "message_id")] == [None] * 4
