"""The bytes of a reply are what the models say, whatever the answer holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings, strategies as st

from schemas import (
    AnsweredData,
    AnsweredEvent,
    AnsweredFields,
    FailedData,
    FailedEvent,
    FailedFields,
    OwnReply,
    RawEvent,
    answered_event,
    decode_event,
    failed_event,
)
from schemas.examples import ANSWERED_EXAMPLE, FAILED_EXAMPLE


@dataclass(frozen=True, slots=True)
class Source:
    """A citation as the core has it: no pydantic model, three attributes."""

    id: int | None
    title: str | None = None
    url: str | None = None


def fields_of(example: dict[str, Any], **others: Any) -> Any:
    fields = {name: value for name, value in example["data"].items() if name != "provider"}
    fields |= {"reply_id": example["id"], "traceparent": example["traceparent"], "tracestate": None}
    return fields | others


def answered(**others: Any) -> bytes:
    return answered_event(**fields_of(ANSWERED_EXAMPLE, **({"citations": [Source(12)]} | others)))


def failed(**others: Any) -> bytes:
    return failed_event(**fields_of(FAILED_EXAMPLE, **others))


def test_answered_event_gives_the_published_example() -> None:
    assert json.loads(answered()) == ANSWERED_EXAMPLE


def test_failed_event_gives_the_published_example() -> None:
    assert json.loads(failed()) == FAILED_EXAMPLE


@pytest.mark.parametrize(("write", "model"), [(answered, AnsweredEvent), (failed, FailedEvent)])
def test_reply_reads_back_into_its_model_and_writes_the_same_bytes(write: Any, model: Any) -> None:
    body = write(tracestate="a=1", thread_id="T-9")
    assert model.model_validate_json(body).model_dump_json().encode() == body


@pytest.mark.parametrize(
    ("fields", "model"),
    [(AnsweredFields, AnsweredData), (FailedFields, FailedData)],
    ids=["answered", "failed"],
)
def test_fields_of_a_reply_are_those_of_its_model(fields: type, model: Any) -> None:
    assert get_type_hints(fields).keys() - {"reply_id", "traceparent", "tracestate"} == (
        model.model_fields.keys() - {"provider"}
    )


def test_trace_context_is_left_out_when_there_is_none() -> None:
    event = json.loads(answered(traceparent=None, tracestate=None))
    assert not event.keys() & {"traceparent", "tracestate"}


def test_reply_in_the_order_and_form_that_people_expect_to_read() -> None:
    body = answered().decode()
    assert body.startswith(
        '{"specversion":"1.0","id":"aaba07ea-8f3f-53be-8fd7-fc5a62848d51","source":"askrelay",'
    )
    assert '"data":{"question_id":"evt-1","question_source":"crm/acme","contact_id":"EXT_12345",' in body


@pytest.mark.parametrize("write", [answered, failed])
def test_reply_comes_back_as_an_own_reply(write: Any) -> None:
    decoded = decode_event(RawEvent(write()))
    assert isinstance(decoded, OwnReply)


@pytest.mark.parametrize("text", ["a\x00b", "😀", "\u202e", '"\\', "\u2028\n", "x" * 200_000])
def test_answer_comes_out_as_it_went_in(text: str) -> None:
    assert json.loads(answered(answer=text))["data"]["answer"] == text


def test_lone_surrogates_of_an_api_become_replacement_characters() -> None:
    body = answered(
        answer="a\ud800b",
        citations=[Source(1, title="\udc00", url="u"), Source(2)],
        provider_metadata={"k\ud83d": ["\ude00", {"x": ("\ud800", None, 1, 1.5, True)}]},
    )
    data = json.loads(body)["data"]
    assert data["answer"] == "a\ufffdb"
    assert data["citations"] == [
        {"id": 1, "title": "\ufffd", "url": "u"},
        {"id": 2, "title": None, "url": None},
    ]
    assert data["provider_metadata"] == {"k\ufffd": ["\ufffd", {"x": ["\ufffd", None, 1, 1.5, True]}]}


def test_numbers_that_json_lacks_become_null() -> None:
    body = answered(provider_metadata={"score": float("nan"), "limit": float("inf")})
    assert json.loads(body)["data"]["provider_metadata"] == {"score": None, "limit": None}


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"attempts": "canary"}, "data.attempts"),
        ({"answer": None}, "data.answer"),
        ({"outcome": "canary"}, "data.outcome"),
        ({"fallback": "canary"}, "data.fallback"),
        ({"message_id": True}, "data.message_id"),
        ({"citations": [Source("canary")]}, "data.citations"),  # type: ignore[arg-type]
        ({"provider_metadata": {1: "canary"}}, "data.provider_metadata"),
        ({"contact_id": 5}, "data.contact_id, subject"),
    ],
)
def test_reply_made_from_wrong_fields_is_a_bug_that_names_the_field_only(
    wrong: dict[str, Any], place: str
) -> None:
    with pytest.raises(ValueError, match=r"^Bug: ") as raised:
        answered(**wrong)
    assert str(raised.value) == f"Bug: a reply was made from fields that do not fit: {place}"
    assert raised.value.__context__ is None


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, database=None)
@given(
    metadata=JSON_VALUES, answer=TEXT, contact_id=TEXT, provider_metadata=st.dictionaries(TEXT, JSON_VALUES)
)
def test_answered_event_carries_everything_untouched(
    metadata: Any, answer: str, contact_id: str, provider_metadata: dict[str, Any]
) -> None:
    event = json.loads(
        answered(metadata=metadata, answer=answer, contact_id=contact_id, provider_metadata=provider_metadata)
    )
    assert event["data"]["metadata"] == metadata
    assert event["data"]["provider_metadata"] == provider_metadata
    assert (event["data"]["answer"], event["subject"]) == (answer, contact_id)
