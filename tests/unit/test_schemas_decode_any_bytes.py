"""Whatever arrives, decoding gives a question or says why not."""

from __future__ import annotations

import copy
import json
from datetime import datetime
from typing import Any, get_args

from hypothesis import given, settings, strategies as st

from schemas import AskedQuestion, EventRefused, OwnReply, RawEvent, RefusalReason, decode_event
from schemas.event_names import ANSWERED, ASKED
from schemas.examples import ASKED_EXAMPLE

SETTINGS = settings(deadline=None, database=None, max_examples=300)

LETTERS = st.characters(exclude_categories=["Cs"])
ODD_TEXT = st.none() | st.text(max_size=12) | st.sampled_from([
    "application/cloudevents+json", "application/json", "askrelay", ASKED, ANSWERED, "gzip", "utf-8", "1.0",
])  # fmt: skip
AMQP_VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.datetimes()
    | st.decimals()
)
HEADER_NAMES = st.text(max_size=8) | st.builds(
    str.__add__,
    st.sampled_from(["ce-", "cloudEvents:", "cloudEvents_", ""]),
    st.sampled_from(
        ["id", "source", "type", "specversion", "time", "expirytime", "traceparent", "tracestate"]
    ),
)
HEADERS = st.dictionaries(
    HEADER_NAMES | st.binary(max_size=4), AMQP_VALUES | st.lists(AMQP_VALUES, max_size=2), max_size=6
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def taken_apart(raw: RawEvent) -> AskedQuestion | OwnReply | None:
    """Decode; None for a refusal; every other exception goes through."""
    try:
        return decode_event(raw)
    except EventRefused as refusal:
        refused = refusal
    assert refused.detail.isascii()
    assert refused.reason in get_args(RefusalReason)
    return None


@SETTINGS
@given(
    body=st.binary() | JSON_VALUES.map(lambda value: json.dumps(value).encode()),
    properties=st.fixed_dictionaries(
        dict.fromkeys(("content_type", "content_encoding", "message_id", "app_id", "type"), ODD_TEXT)
    ),
    headers=HEADERS,
)
def test_decode_gives_a_result_or_refuses_and_nothing_else(
    body: bytes, properties: dict[str, Any], headers: dict[Any, Any]
) -> None:
    taken_apart(RawEvent(body, headers=headers, **properties))


@SETTINGS
@given(
    st.sampled_from([(name,) for name in ASKED_EXAMPLE] + [("data", name) for name in ASKED_EXAMPLE["data"]]),
    JSON_VALUES,
)
def test_decode_gives_a_result_or_refuses_with_anything_in_any_field(
    place: tuple[str, ...], value: Any
) -> None:
    event = copy.deepcopy(ASKED_EXAMPLE)
    (event if len(place) == 1 else event["data"])[place[-1]] = value
    taken_apart(RawEvent(json.dumps(event).encode()))


@SETTINGS
@given(
    contact_id=st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf"]), min_size=1).filter(str.strip),
    question=st.text(LETTERS, min_size=1).filter(str.strip),
    event_id=st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60).filter(
        str.strip
    ),
    metadata=st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(LETTERS)
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(LETTERS, max_size=4), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    asked_at=st.datetimes().map(lambda moment: datetime.isoformat(moment) + "Z"),
)
def test_decode_gives_back_what_a_producer_wrote_in_each_of_the_three_forms(
    contact_id: str, question: str, event_id: str, metadata: Any, asked_at: str
) -> None:
    data = {"contact_id": contact_id, "question": question, "metadata": metadata}
    attributes = {"specversion": "1.0", "id": event_id, "source": "crm", "type": ASKED}
    body = json.dumps(data).encode()
    forms = [
        RawEvent(json.dumps({**attributes, "time": asked_at, "data": data}, ensure_ascii=False).encode()),
        RawEvent(body, headers={f"cloudEvents:{name}": value for name, value in attributes.items()}),
        RawEvent(body, message_id=event_id),
    ]
    for raw in forms:
        taken = taken_apart(raw)
        assert isinstance(taken, AskedQuestion)
        assert (taken.contact_id, taken.question, taken.event_id) == (contact_id, question, event_id)
        assert json.dumps(taken.metadata) == json.dumps(metadata)
