"""What a CRM publishes: a contact asked a question."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.trace_context import MAX_TRACESTATE_CHARS, TRACEPARENT_PATTERN
from schemas.values import (
    ContactId,
    EventId,
    Lang,
    ModelName,
    OptionText,
    QuestionText,
    ThreadId,
    Timestamp,
)

#: Strict about types, so that a flag or a list never passes for text; unknown fields are ignored; an error
#: never shows what was put in.
_READING = ConfigDict(strict=True, frozen=True, extra="ignore", hide_input_in_errors=True)


def _without_nulls(value: Any) -> Any:
    """Leave out what is null: CloudEvents and most producers mean "not set" by it."""
    if isinstance(value, dict) and None in value.values():
        return {key: field for key, field in value.items() if field is not None}
    return value


class AskedOptions(BaseModel):
    """How the agent is to answer this one question. Each needs the worker's leave: ASKRELAY_EVENT_OPTIONS."""

    model_config = _READING
    _nulls = model_validator(mode="before")(_without_nulls)

    custom_persona: OptionText = Field(
        default=None,
        description="Who the agent is, in place of its own persona.",
        examples=["A patient guide."],
    )
    chatbot_model: ModelName = Field(
        default=None,
        description="The model that answers, as the API names it; the plan decides which there are.",
        examples=["gpt-4-1-mini"],
    )
    response_source: Literal["default", "own_content", "openai_content"] | None = Field(
        default=None,
        description="What the agent may answer from: its own content, or the model's knowledge too.",
        examples=["own_content"],
    )
    custom_context: OptionText = Field(
        default=None,
        description="What the agent should know when it answers.",
        examples=["The contact is on the premium plan."],
    )

    def given(self) -> dict[str, str]:
        """Return those that are set, by name."""
        return self.model_dump(exclude_none=True) if self.model_fields_set else {}


#: One for all questions that do not say how to answer them.
_NO_OPTIONS = AskedOptions()


class AskedData(BaseModel):
    """The question, who asked it, and what should come back with the answer."""

    model_config = _READING
    _nulls = model_validator(mode="before")(_without_nulls)

    contact_id: ContactId = Field(
        description="The contact in the CRM. An integer is taken as its decimal form. Two spellings are two "
        "contacts: nothing is trimmed or folded. No control, surrogate or bidirectional characters. Over 128 "
        "characters the API is sent a hash of it.",
        examples=["EXT_12345"],
    )
    question: QuestionText = Field(
        description="The text as the contact wrote it; any characters, but not only white space.",
        examples=["What are your support hours?"],
    )
    thread_id: ThreadId = Field(
        default=None,
        description="One conversation per case or ticket of the contact; an integer is taken as its decimal "
        "form. Null, absent or empty: the contact's own conversation.",
        examples=["T-9", None],
    )
    lang: Lang = Field(
        default=None,
        description="Language tag of the question, sent along with it. Null, absent or empty: the agent's "
        "default.",
        examples=["en"],
    )
    api: Literal["conversations", "chat_completions"] | None = Field(
        default=None,
        description="By which of the API's two ways to ask, where the worker's settings let events say it. "
        "``chat_completions`` keeps no conversation.",
        examples=["chat_completions"],
    )
    options: AskedOptions = Field(
        default_factory=lambda: _NO_OPTIONS,
        description="How to answer this question, where the worker's settings allow it; an event with an "
        "option that they do not allow is rejected: it would be answered in another way than it asks for.",
    )
    metadata: Any = Field(
        default=None,
        description="Any JSON. It is not looked at and comes back in the reply; fractions keep the precision "
        "of a double.",
        examples=[{"ticket": "T-9"}],
    )


class AskedEvent(BaseModel):
    """A contact asked a question. CloudEvents 1.0; ``(source, id)`` is the identity of the event."""

    model_config = _READING
    _nulls = model_validator(mode="before")(_without_nulls)

    specversion: Literal["1.0"] = Field(description="Version of CloudEvents.")
    id: EventId = Field(
        description="Unique within the source; a repeat gets the same reply. At most 255 bytes of UTF-8, "
        "which is what an AMQP property holds.",
        examples=["evt-1"],
    )
    source: EventId = Field(
        description="The system that asks. At most 255 bytes of UTF-8.", examples=["crm/acme"]
    )
    type: Literal["contact.question.asked"] = Field(description="What happened.")
    time: Timestamp | None = Field(
        default=None, description="When the contact asked, RFC 3339.", examples=["2026-11-20T20:00:00Z"]
    )
    expirytime: Timestamp | None = Field(
        default=None,
        description="When an answer is of no use any more, RFC 3339. A question not posted by then fails as "
        "expired.",
        examples=["2026-11-20T21:00:00Z"],
    )
    # The next two are carried along and never refused: see trace_context.
    traceparent: Any = Field(
        default=None,
        description="W3C trace context in which the event was made, carried to the API call and the reply; "
        "an AMQP header of this name wins. Ignored when it has another form.",
        examples=["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
        json_schema_extra={"type": ["string", "null"], "pattern": TRACEPARENT_PATTERN},
    )
    tracestate: Any = Field(
        default=None,
        description="W3C trace state; ignored when it has another form, or without a traceparent.",
        examples=["vendor=opaque"],
        json_schema_extra={"type": ["string", "null"], "maxLength": MAX_TRACESTATE_CHARS},
    )
    data: AskedData
