"""Ratings off the bus: taken in all three forms, refused with a reason of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas import EventRefused, RatedAnswer, RawEvent, check_event, decode_event
from schemas.examples import RATED_EXAMPLE

DATA: dict[str, Any] = {"question_id": "evt-1", "rating": "liked"}


def structured(**changes: Any) -> RawEvent:
    return RawEvent(json.dumps({**RATED_EXAMPLE, **changes}).encode(), "application/cloudevents+json")


def test_rating_is_taken_as_a_cloud_event() -> None:
    assert decode_event(structured()) == RatedAnswer("crm/acme", "rating-1", "crm/acme", "evt-1", "liked")


def test_rating_is_taken_with_its_attributes_in_headers() -> None:
    headers = {f"ce-{name}": value for name, value in RATED_EXAMPLE.items() if name != "data"}
    raw = RawEvent(json.dumps(DATA).encode(), "application/json", headers=headers)
    assert decode_event(raw) == RatedAnswer("crm/acme", "rating-1", "crm/acme", "evt-1", "liked")


def test_rating_is_taken_as_bare_json_whose_type_says_so() -> None:
    body = json.dumps(DATA).encode()
    raw = RawEvent(body, message_id="rating-1", app_id="crm/x", type="contact.answer.rated")
    assert decode_event(raw) == RatedAnswer("crm/x", "rating-1", "crm/x", "evt-1", "liked")


def test_question_may_be_of_another_source_than_the_rating() -> None:
    event = decode_event(structured(source="survey"))
    assert isinstance(event, RatedAnswer)
    assert (event.source, event.question_source) == ("survey", "crm/acme")


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        ({}, "question_id is missing; rating is missing"),
        ({"question_id": "evt-1"}, "rating is missing"),
        ({"question_id": "evt-1", "rating": "great"}, "rating is not one that is taken"),
        ({"question_id": 1, "rating": "liked"}, "question_id is not a string"),
    ],
)
def test_rating_that_is_wrong_is_refused_for_its_own_reason(data: Any, detail: str) -> None:
    with pytest.raises(EventRefused) as refused:
        decode_event(structured(data=data))
    assert (refused.value.reason, refused.value.detail) == ("invalid_rating", detail)


def test_check_says_that_a_rating_is_taken_and_what_nobody_reads() -> None:
    checked = check_event(structured(data={**DATA, "ratting": "x"}))
    assert (checked.reason, checked.reply_id, checked.event_id) == (None, None, "rating-1")
    assert [note.field for note in checked.notes] == ["data.ratting"]
