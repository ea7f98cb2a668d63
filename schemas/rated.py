"""What a CRM publishes when a contact says whether an answer was of use."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from schemas.asked import _READING, _without_nulls
from schemas.trace_context import MAX_TRACESTATE_CHARS, TRACEPARENT_PATTERN
from schemas.values import EventId, Timestamp

#: As the API's feedback has them; neutral takes an earlier rating back.
Rating = Literal["liked", "disliked", "neutral"]


class RatedData(BaseModel):
    """Which answer, and what the contact thinks of it."""

    model_config = _READING
    _nulls = model_validator(mode="before")(_without_nulls)

    question_id: EventId = Field(
        description="The id of the question whose answer is rated, as the reply's data has it.",
        examples=["evt-1"],
    )
    question_source: EventId | None = Field(
        default=None,
        description="The source of that question. Null or absent: the source of this event.",
        examples=["crm/acme"],
    )
    rating: Rating = Field(
        description="What the contact thinks; neutral takes an earlier rating back.", examples=["liked"]
    )


class RatedEvent(BaseModel):
    """A contact rated an answer. CloudEvents 1.0; ``(source, id)`` is the identity of the event."""

    model_config = _READING
    _nulls = model_validator(mode="before")(_without_nulls)

    specversion: Literal["1.0"] = Field(description="Version of CloudEvents.")
    id: EventId = Field(
        description="Unique within the source; a repeat changes nothing. At most 255 bytes of UTF-8.",
        examples=["rating-1"],
    )
    source: EventId = Field(
        description="The system that tells. At most 255 bytes of UTF-8.", examples=["crm/acme"]
    )
    type: Literal["contact.answer.rated"] = Field(description="What happened.")
    time: Timestamp | None = Field(
        default=None,
        description="When the contact rated the answer, RFC 3339. It decides nothing: the rating that "
        "arrives last is the one that stays.",
        examples=["2026-11-20T20:05:00Z"],
    )
    traceparent: Any = Field(
        default=None,
        description="W3C trace context; ignored.",
        json_schema_extra={"type": ["string", "null"], "pattern": TRACEPARENT_PATTERN},
    )
    tracestate: Any = Field(
        default=None,
        description="W3C trace state; ignored.",
        json_schema_extra={"type": ["string", "null"], "maxLength": MAX_TRACESTATE_CHARS},
    )
    data: RatedData
