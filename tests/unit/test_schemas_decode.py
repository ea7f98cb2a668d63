"""What becomes of an event, by the table "Bad input" and by DESIGN's three ways of wrapping one."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from schemas import AskedQuestion, EventRefused, OwnReply, RawEvent, decode_event
from schemas.examples import ANSWERED_EXAMPLE, ASKED_EXAMPLE, FAILED_EXAMPLE

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HOP = "00-0af7651916cd43dd8448eb211c80319c-b9c7c989f97918e1-01"

UNSET: Any = object()


def structured(data: Any = None, /, **attributes: Any) -> RawEvent:
    """The example event in structured mode with other attributes; UNSET leaves one out."""
    event = {**ASKED_EXAMPLE, "data": ASKED_EXAMPLE["data"] if data is None else data, **attributes}
    event = {name: value for name, value in event.items() if value is not UNSET}
    return RawEvent(json.dumps(event).encode(), content_type="application/cloudevents+json")


def asking(**fields: Any) -> RawEvent:
    """The example event with other fields in its data; UNSET leaves one out."""
    data = {**ASKED_EXAMPLE["data"], **fields}
    return structured({name: value for name, value in data.items() if value is not UNSET})


def bare(data: Any = None, **properties: Any) -> RawEvent:
    body = json.dumps(ASKED_EXAMPLE["data"] if data is None else data).encode()
    return RawEvent(body, **{"message_id": "evt-1", **properties})


def binary(prefix: str, **attributes: Any) -> RawEvent:
    given = {name: value for name, value in ASKED_EXAMPLE.items() if name != "data"} | attributes
    headers = {prefix + name: value for name, value in given.items() if value is not UNSET}
    return RawEvent(
        json.dumps(ASKED_EXAMPLE["data"]).encode(),
        content_type="application/json; charset=utf-8",
        headers=headers,
    )


def question_of(raw: RawEvent) -> AskedQuestion:
    decoded = decode_event(raw)
    assert isinstance(decoded, AskedQuestion)
    return decoded


def refusal_of(raw: RawEvent) -> tuple[str, str]:
    with pytest.raises(EventRefused) as refused:
        decode_event(raw)
    assert refused.value.__context__ is None, "the exception drags along another that holds the event"
    return refused.value.reason, refused.value.detail


EXPECTED = AskedQuestion(
    source="crm/acme",
    event_id="evt-1",
    contact_id="EXT_12345",
    thread_id=None,
    question="What are your support hours?",
    lang="en",
    metadata={"ticket": "T-9"},
    asked_at="2026-11-20T20:00:00Z",
    expires_at=1795208400.0,
    traceparent=TRACEPARENT,
    tracestate=None,
)


# The three ways of wrapping an event


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents+json",
        "application/cloudevents+json; charset=UTF-8",
        "Application/CloudEvents+JSON;charset=utf-8",
        "application/json",
        "text/plain",
        "",
        None,
    ],
)
def test_structured_event_is_decoded_whatever_its_content_type_says(content_type: str | None) -> None:
    assert decode_event(replace(structured(), content_type=content_type)) == EXPECTED


@pytest.mark.parametrize("prefix", ["cloudEvents:", "cloudEvents_", "ce-", "CE-", "cloudevents_"])
def test_binary_event_is_decoded_with_every_prefix(prefix: str) -> None:
    assert decode_event(binary(prefix)) == EXPECTED


def test_bare_json_is_decoded_with_the_message_id_as_id_and_the_app_id_as_source() -> None:
    plain = replace(EXPECTED, asked_at=None, expires_at=None, traceparent=None)
    assert decode_event(bare(app_id="crm/acme", content_type="application/json")) == plain


@pytest.mark.parametrize("app_id", [None, ""])
def test_bare_json_without_an_app_id_is_from_the_default_source(app_id: str | None) -> None:
    assert question_of(bare(app_id=app_id)).source == "crm"
    decoded = decode_event(bare(app_id=app_id), default_source="shop")
    assert isinstance(decoded, AskedQuestion)
    assert decoded.source == "shop"


@pytest.mark.parametrize("kind", [None, "", "contact.question.asked", "Acme.Contacts.QuestionAsked", "json"])
def test_bare_json_is_a_question_whatever_a_client_wrote_into_the_type_property(kind: str | None) -> None:
    assert question_of(bare(type=kind)).contact_id == "EXT_12345"


@pytest.mark.parametrize(
    "kind", ["contact.question.answered", "contact.question.failed", "contact.question.rated"]
)
def test_bare_json_that_names_another_event_of_ours_is_refused(kind: str) -> None:
    assert refusal_of(bare(type=kind)) == ("unsupported_event", "type is not one that is taken")


def test_whole_event_in_the_body_is_structured_even_beside_headers_of_binary_mode() -> None:
    raw = replace(structured(), content_type="application/json", headers=dict(binary("ce-").headers))
    assert decode_event(raw) == EXPECTED


@pytest.mark.parametrize("value", [float("nan"), Decimal("sNaN"), [float("nan")]])
def test_header_that_equals_nothing_is_one_value_all_the_same(value: Any) -> None:
    assert decode_event(binary("ce-", shade=value)) == EXPECTED


def test_headers_that_only_start_like_cloudevents_leave_the_event_bare() -> None:
    assert question_of(bare(headers={"ce-tenant": "acme", "x-retry": 1})).event_id == "evt-1"


@pytest.mark.parametrize(
    "content_type",
    ["application/cloudevents-batch+json", "application/cloudevents+avro", "application/cloudevents"],
)
def test_other_forms_of_cloudevents_are_refused(content_type: str) -> None:
    reason, detail = refusal_of(replace(structured(), content_type=content_type))
    assert reason == "unsupported_event"
    assert detail == "content_type names a form of CloudEvents other than one event in JSON"


def test_data_base64_is_taken_when_it_holds_json() -> None:
    encoded = base64.b64encode(json.dumps(ASKED_EXAMPLE["data"]).encode()).decode()
    assert decode_event(structured(UNSET, data=UNSET, data_base64=encoded)) == EXPECTED
    assert decode_event(structured(data=None, data_base64=encoded)) == EXPECTED
    assert decode_event(structured(data_base64=None)) == EXPECTED


@pytest.mark.parametrize(
    ("encoded", "detail"),
    [
        ("e30", "data_base64 is not base64"),
        ("e3 0=", "data_base64 is not base64"),
        ("é", "data_base64 is not base64"),
        (5, "data_base64 is not base64"),
        (["e30="], "data_base64 is not base64"),
        ("", "data_base64 is not JSON at character 0"),
        ("/w==", "data_base64 is not UTF-8 at byte 0"),
        ("W10=", "data_base64 is not a JSON object"),
    ],
)
def test_data_base64_that_holds_no_json_object_is_refused(encoded: Any, detail: str) -> None:
    assert refusal_of(structured(data=UNSET, data_base64=encoded)) == ("malformed_event", detail)


def test_data_and_data_base64_together_are_refused() -> None:
    assert refusal_of(structured(data_base64="e30=")) == (
        "malformed_event",
        "data and data_base64 exclude each other",
    )


# Our own replies, brought back by a binding


@pytest.mark.parametrize("reply", [ANSWERED_EXAMPLE, FAILED_EXAMPLE])
def test_own_reply_is_known_by_its_body(reply: dict[str, Any]) -> None:
    raw = RawEvent(json.dumps(reply).encode(), content_type="application/cloudevents+json")
    assert decode_event(raw) == OwnReply(event_id=reply["id"], type=reply["type"])


@pytest.mark.parametrize("kind", ["contact.question.answered", "contact.question.failed"])
def test_own_reply_is_known_by_its_properties_even_when_it_is_over_the_limits_of_a_question(
    kind: str,
) -> None:
    raw = RawEvent(b"[" * 100_000, app_id="askrelay", type=kind, message_id="reply-1")
    assert decode_event(raw) == OwnReply(event_id="reply-1", type=kind)


def test_own_reply_without_a_readable_id_is_still_one() -> None:
    raw = RawEvent(json.dumps({**ANSWERED_EXAMPLE, "id": ["?"]}).encode())
    assert decode_event(raw) == OwnReply(event_id=None, type="contact.question.answered")


def test_reply_of_somebody_else_is_refused() -> None:
    raw = RawEvent(json.dumps({**ANSWERED_EXAMPLE, "source": "other"}).encode())
    assert refusal_of(raw)[0] == "unsupported_event"


# Bodies


def test_body_of_the_largest_size_is_taken_and_one_byte_more_is_too_large() -> None:
    room = 65_536 - len(asking(question="").body)
    largest = asking(question="q" * room)
    assert len(largest.body) == 65_536
    assert question_of(largest).question == "q" * room
    assert refusal_of(asking(question="q" * (room + 1))) == ("event_too_large", "body is over 65536 bytes")


def test_size_is_checked_before_the_body_is_parsed() -> None:
    assert refusal_of(RawEvent(b"\xff" * 65_537))[0] == "event_too_large"


DRAMATIQ_MESSAGE = {
    "queue_name": "default",
    "actor_name": "answer",
    "args": [],
    "kwargs": {},
    "options": {},
    "message_id": "0a1b",
    "message_timestamp": 1,
}

STRANGE_BODIES = {
    "nothing": b"",
    "text": b"hello",
    "pickle": pickle.dumps(ASKED_EXAMPLE),
    "gzip": gzip.compress(json.dumps(ASKED_EXAMPLE).encode()),
    "bad UTF-8": b'{"question":"\xff"}',
    "lone surrogate": rb'{"contact_id":"a","question":"\ud800"}',
    "duplicate keys": b'{"contact_id":"a","contact_id":"b","question":"q"}',
    "NaN": b'{"contact_id":"a","question":"q","metadata":NaN}',
    "too deep": b'{"contact_id":"a","question":"q","metadata":' + b"[" * 40 + b"]" * 40 + b"}",
    "list of events": json.dumps([ASKED_EXAMPLE]).encode(),
}


@pytest.mark.parametrize("body", STRANGE_BODIES.values(), ids=STRANGE_BODIES)
@pytest.mark.parametrize("content_type", [None, "application/json", "application/cloudevents+json"])
def test_body_that_is_no_json_object_is_malformed(body: bytes, content_type: str | None) -> None:
    assert refusal_of(RawEvent(body, content_type=content_type, message_id="m"))[0] == "malformed_event"


def test_dramatiq_message_is_refused_like_any_other() -> None:
    body = json.dumps(DRAMATIQ_MESSAGE).encode()
    assert refusal_of(RawEvent(body)) == (
        "malformed_event",
        "message_id is missing; contact_id is missing; question is missing",
    )
    assert refusal_of(RawEvent(body, message_id="m"))[0] == "invalid_question"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "base64", b"\xff"])
def test_encoded_body_is_refused(encoding: Any) -> None:
    raw = replace(structured(), content_encoding=encoding)
    assert refusal_of(raw) == (
        "malformed_event",
        "content_encoding says that the body is encoded; send it plain",
    )


@pytest.mark.parametrize("encoding", [None, "", "identity", "none", "utf-8", "UTF-8", "utf8"])
def test_content_encoding_that_says_nothing_is_taken(encoding: str | None) -> None:
    assert decode_event(replace(structured(), content_encoding=encoding)) == EXPECTED


# The envelope


ENVELOPES = {
    "no id": ({"id": UNSET}, "malformed_event", "id is missing"),
    "null id": ({"id": None}, "malformed_event", "id is missing"),
    "empty id": ({"id": ""}, "malformed_event", "id is blank"),
    "blank id": ({"id": " "}, "malformed_event", "id is blank"),
    "integer id": ({"id": 7}, "malformed_event", "id is not a string"),
    "long id": ({"id": "é" * 128}, "malformed_event", "id is over 255 bytes"),
    "control in id": ({"id": "a\x00"}, "malformed_event", "id has control characters"),
    "delete in id": ({"id": "a\x7f"}, "malformed_event", "id has control characters"),
    "no source": ({"source": UNSET}, "malformed_event", "source is missing"),
    "empty source": ({"source": ""}, "malformed_event", "source is blank"),
    "long source": ({"source": "s" * 256}, "malformed_event", "source is over 255 bytes"),
    "control in source": ({"source": "a\nb"}, "malformed_event", "source has control characters"),
    "list for source": ({"source": ["crm"]}, "malformed_event", "source is not a string"),
    "no type": ({"type": UNSET}, "malformed_event", "type is missing"),
    "other type": ({"type": "contact.created"}, "unsupported_event", "type is not one that is taken"),
    "list for type": ({"type": ["a"]}, "unsupported_event", "type is not one that is taken"),
    "no specversion": ({"specversion": UNSET}, "malformed_event", "specversion is missing"),
    "old specversion": ({"specversion": "0.3"}, "unsupported_event", "specversion is not one that is taken"),
    "number for specversion": (
        {"specversion": 1.0},
        "unsupported_event",
        "specversion is not one that is taken",
    ),
    "time without zone": (
        {"time": "2026-11-20T20:00:00"},
        "malformed_event",
        "time is not an RFC 3339 timestamp",
    ),
    "time of no day": (
        {"time": "2026-02-30T20:00:00Z"},
        "malformed_event",
        "time is not an RFC 3339 timestamp",
    ),
    "empty time": ({"time": ""}, "malformed_event", "time is not an RFC 3339 timestamp"),
    "number for time": ({"time": 1}, "malformed_event", "time is not a string"),
    "date for expirytime": (
        {"expirytime": "2026-11-20"},
        "malformed_event",
        "expirytime is not an RFC 3339 timestamp",
    ),
}


@pytest.mark.parametrize(("attributes", "reason", "detail"), ENVELOPES.values(), ids=ENVELOPES)
def test_envelope_that_breaks_a_rule_is_refused(attributes: dict[str, Any], reason: str, detail: str) -> None:
    assert refusal_of(structured(**attributes)) == (reason, detail)


@pytest.mark.parametrize("message_id", [None, ""])
def test_bare_json_without_a_message_id_is_malformed(message_id: str | None) -> None:
    assert refusal_of(bare(message_id=message_id)) == ("malformed_event", "message_id is missing")


@pytest.mark.parametrize("message_id", ["m\x00", "\ud800", b"\xff", "é" * 128])
def test_bare_json_with_an_unusable_message_id_is_malformed(message_id: Any) -> None:
    reason, detail = refusal_of(bare(message_id=message_id))
    assert reason == "malformed_event"
    assert detail.startswith("message_id ")


def test_binary_event_without_a_required_attribute_is_malformed() -> None:
    assert refusal_of(binary("ce-", id=UNSET)) == ("malformed_event", "id is missing")


def test_binary_event_with_two_ids_is_malformed() -> None:
    raw = binary("ce-")
    doubled = {**raw.headers, "cloudEvents:id": "evt-1"}
    assert decode_event(replace(raw, headers=doubled)) == EXPECTED
    doubled["cloudEvents:id"] = "evt-2"
    assert refusal_of(replace(raw, headers=doubled)) == (
        "malformed_event",
        "headers give one attribute with two values",
    )


def test_binary_event_may_carry_its_times_in_the_forms_of_amqp() -> None:
    asked = datetime(2026, 11, 20, 20, tzinfo=UTC)
    for time in (asked, asked.replace(tzinfo=None), int(asked.timestamp() * 1000)):
        question = question_of(
            binary("cloudEvents:", time=time, expirytime=datetime(2026, 11, 20, 21, tzinfo=UTC))
        )
        assert (question.asked_at, question.expires_at) == ("2026-11-20T20:00:00.000Z", EXPECTED.expires_at)


@pytest.mark.parametrize("time", [True, 10**30, -(10**18), b"\xff", {"a": 1}])
def test_binary_event_with_a_time_that_is_none_is_malformed(time: Any) -> None:
    assert refusal_of(binary("ce-", time=time))[0] == "malformed_event"


def test_null_attributes_count_as_absent() -> None:
    question = question_of(structured(time=None, expirytime=None, traceparent=None, subject=None))
    assert question == replace(EXPECTED, asked_at=None, expires_at=None, traceparent=None)


def test_time_is_kept_as_it_was_given() -> None:
    given = "2026-11-20t21:00:00.123456789+01:00"
    assert question_of(structured(time=given)).asked_at == given


def test_unknown_attributes_and_fields_are_ignored() -> None:
    data = {**ASKED_EXAMPLE["data"], "channel": "chat", "specversion": 7}
    assert (
        decode_event(structured(data, dataschema=5, priority={"a": [1]}, datacontenttype="text/xml"))
        == EXPECTED
    )


# The question


QUESTIONS = {
    "no contact": ({"contact_id": UNSET}, "contact_id is missing"),
    "null contact": ({"contact_id": None}, "contact_id is missing"),
    "empty contact": ({"contact_id": ""}, "contact_id is blank"),
    "blank contact": ({"contact_id": "  "}, "contact_id is blank"),
    "true for contact": ({"contact_id": True}, "contact_id is neither a string nor an integer"),
    "float for contact": ({"contact_id": 1.0}, "contact_id is neither a string nor an integer"),
    "list for contact": ({"contact_id": ["a"]}, "contact_id is neither a string nor an integer"),
    "no question": ({"question": UNSET}, "question is missing"),
    "null question": ({"question": None}, "question is missing"),
    "empty question": ({"question": ""}, "question is blank"),
    "blank question": ({"question": " \n\t\u00a0"}, "question is blank"),
    "integer for question": ({"question": 5}, "question is not a string"),
    "object for question": ({"question": {"text": "q"}}, "question is not a string"),
    "true for thread": ({"thread_id": True}, "thread_id is neither a string nor an integer"),
    "float for thread": ({"thread_id": 0.5}, "thread_id is neither a string nor an integer"),
    "blank thread": ({"thread_id": " "}, "thread_id is blank"),
    "sentence for lang": ({"lang": "please answer in English"}, "lang is not a language tag"),
    "newline after lang": ({"lang": "en\n"}, "lang is not a language tag"),
    "long lang": ({"lang": "en" + "-abcdefgh" * 4}, "lang is not a language tag"),
    "integer for lang": ({"lang": 1}, "lang is not a string"),
    "both": ({"contact_id": UNSET, "question": ""}, "contact_id is missing; question is blank"),
}


@pytest.mark.parametrize(("fields", "detail"), QUESTIONS.values(), ids=QUESTIONS)
def test_question_that_breaks_a_rule_is_invalid(fields: dict[str, Any], detail: str) -> None:
    assert refusal_of(asking(**fields)) == ("invalid_question", detail)


@pytest.mark.parametrize(
    "letter", ["\x00", "\n", "\x1f", "\x7f", "\x85", "\u200e", "\u061c", "\u202e", "\u2066", "\u2069"]
)
@pytest.mark.parametrize("field", ["contact_id", "thread_id"])
def test_control_and_bidi_characters_in_a_key_are_invalid(field: str, letter: str) -> None:
    assert refusal_of(asking(**{field: f"EXT{letter}1"})) == (
        "invalid_question",
        f"{field} has control, surrogate or bidirectional characters",
    )


@pytest.mark.parametrize("data", [[], "text", 5, True])
def test_data_that_is_no_object_is_an_invalid_question(data: Any) -> None:
    assert refusal_of(structured(data=data)) == ("invalid_question", "data is not an object")


@pytest.mark.parametrize("data", [UNSET, None])
def test_event_without_data_is_an_invalid_question(data: Any) -> None:
    assert refusal_of(structured(data=data)) == ("invalid_question", "data is missing")


def test_event_wrong_in_several_ways_gets_the_gravest_reason_and_all_the_details() -> None:
    raw = structured({"question": "q"}, type="other", id="")
    assert refusal_of(raw) == (
        "unsupported_event",
        "id is blank; type is not one that is taken; contact_id is missing",
    )


@pytest.mark.parametrize(
    ("given", "taken"), [(12345, "12345"), (-1, "-1"), (0, "0"), (10**40, "1" + "0" * 40)]
)
def test_integer_contact_and_thread_are_taken_in_decimal_form(given: int, taken: str) -> None:
    question = question_of(asking(contact_id=given, thread_id=given))
    assert (question.contact_id, question.thread_id) == (taken, taken)


@pytest.mark.parametrize(
    "contact_id", ["x" * 129, "x" * 20_000, " EXT 1 ", "Ünïcode", "e\u0301", "客户-1", "👩‍💻"]
)
def test_contact_is_taken_as_it_is_spelled(contact_id: str) -> None:
    assert question_of(asking(contact_id=contact_id)).contact_id == contact_id


@pytest.mark.parametrize(
    "text",
    [
        "😀👩‍👩‍👧‍👦",
        "مرحبا \u202b كيف\u202c حالك؟",
        "line\r\nline\n\tend\n",
        "q" * 20_000,
        "a\x00b",
        "\x00",
        " ? ",
        "\ufeff?",
    ],
)
def test_question_is_taken_as_it_is_written(text: str) -> None:
    assert question_of(asking(question=text)).question == text


@pytest.mark.parametrize("empty", ["", None, UNSET])
def test_empty_thread_and_language_are_none(empty: str | None) -> None:
    question = question_of(asking(thread_id=empty, lang=empty))
    assert (question.thread_id, question.lang) == (None, None)


@pytest.mark.parametrize("lang", ["en", "EN", "pt-BR", "zh_Hant_TW", "sr-Latn-RS"])
def test_language_tags_are_taken(lang: str) -> None:
    assert question_of(asking(lang=lang)).lang == lang


@pytest.mark.parametrize(
    "metadata", [None, 0, False, "", "a\x00", [], {}, [1, {"a": None}], {"a": {"b": [1.5, 10**30, "é😀"]}}]
)
def test_metadata_is_taken_as_it_is(metadata: Any) -> None:
    taken = question_of(asking(metadata=metadata)).metadata
    assert (taken, type(taken)) == (metadata, type(metadata))


# Trace context


def test_trace_context_is_taken_from_the_event() -> None:
    question = question_of(structured(tracestate="a=1,b@c=2"))
    assert (question.traceparent, question.tracestate) == (TRACEPARENT, "a=1,b@c=2")


def test_trace_context_of_the_message_wins_and_is_never_mixed_with_that_of_the_event() -> None:
    raw = replace(structured(tracestate="event=1"), headers={"traceparent": HOP})
    question = question_of(raw)
    assert (question.traceparent, question.tracestate) == (HOP, None)
    question = question_of(replace(raw, headers={"traceparent": HOP, "tracestate": "hop=1"}))
    assert (question.traceparent, question.tracestate) == (HOP, "hop=1")


def test_bare_json_takes_its_trace_context_from_the_headers() -> None:
    assert question_of(bare(headers={"traceparent": HOP})).traceparent == HOP


@pytest.mark.parametrize(
    "broken",
    [
        "",
        7,
        ["a"],
        TRACEPARENT.upper(),
        TRACEPARENT + "\n",
        TRACEPARENT + "-00",
        "ff" + TRACEPARENT[2:],
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
    ],
)
def test_broken_traceparent_is_dropped_with_its_state(broken: Any) -> None:
    question = question_of(structured(traceparent=broken, tracestate="a=1"))
    assert (question.traceparent, question.tracestate) == (None, None)
    fallen_back = question_of(replace(structured(), headers={"traceparent": broken}))
    assert fallen_back.traceparent == TRACEPARENT


@pytest.mark.parametrize(
    "broken", ["", "a", "a=1\n", "A=1", "a=é", "a=" + "b" * 511, ",".join(f"k{n}=1" for n in range(33)), 7]
)
def test_broken_tracestate_is_dropped_alone(broken: Any) -> None:
    question = question_of(structured(tracestate=broken))
    assert (question.traceparent, question.tracestate) == (TRACEPARENT, None)


# Secrets


def test_refusal_never_shows_what_the_event_said() -> None:
    canary = "canary-4711"
    fields = ("contact_id", "question", "thread_id", "lang", "metadata")
    wrong: list[Any] = [{canary: canary}, [canary], f"{canary}\x00\u202e", canary + " " * 300]
    shown = set()
    for value in wrong:
        raws = [asking(**{field: value}) for field in fields]
        raws += [
            structured(**{name: value}) for name in ("id", "source", "type", "time", "data", "data_base64")
        ]
        raws += [binary("ce-", **{name: value}) for name in ("id", "source", "type", "time", canary)]
        raws += [replace(raw, body=raw.body[:-3]) for raw in raws]
        for raw in raws:
            try:
                decode_event(raw)
            except EventRefused as refused:
                shown.add(f"{refused} {refused!r} {refused.__context__!r} {refused.__cause__!r}")
    assert len(shown) > 10
    assert not [text for text in shown if canary in text]


def test_options_that_are_set_go_along() -> None:
    options = {"custom_persona": "A guide.", "chatbot_model": "", "response_source": None, "what": "ever"}
    assert question_of(asking(options=options)).options == {"custom_persona": "A guide."}
    assert question_of(asking(options=None)).options == {}


@pytest.mark.parametrize(
    ("options", "detail"),
    [
        ({"response_source": "everything"}, "response_source is not one that is taken"),
        ({"custom_persona": " "}, "custom_persona is blank"),
        ({"custom_context": 7}, "custom_context is not a string"),
        ({"chatbot_model": "a b"}, "chatbot_model is not a model's name"),
        ("custom_persona", "options is not an object"),
    ],
)
def test_option_that_is_not_right_is_refused(options: Any, detail: str) -> None:
    assert refusal_of(asking(options=options)) == ("invalid_question", detail)
