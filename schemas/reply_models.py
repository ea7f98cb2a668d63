"""What askrelay publishes: the question was answered, or it failed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from schemas.trace_context import TRACEPARENT_PATTERN

Outcome = Literal["posted", "recovered", "reposted_after_unknown"]
Api = Literal["conversations", "chat_completions"]
Fallback = Literal["no_answer", "agent_problem"]

#: Strict types, because this is what we write. Unknown fields are ignored when somebody reads with these
#: models: a later version may write more.
_WRITING = ConfigDict(strict=True, frozen=True, extra="ignore", hide_input_in_errors=True)

_DATE_TIME: JsonDict = {"format": "date-time"}


def _is_none(value: Any) -> bool:
    return value is None


class Citation(BaseModel):
    """One source the agent named."""

    # strict=False: taken from any object with these three attributes, the core's own citation among them.
    model_config = ConfigDict(**{**_WRITING, "strict": False, "from_attributes": True})

    id: int | None = Field(strict=True, description="Number of the source at the provider.", examples=[12])
    title: str | None = Field(strict=True, description="Its title, where the provider gave one.")
    url: str | None = Field(strict=True, description="Its address, where the provider gave one.")


class _QuestionIdentity(BaseModel):
    """Which question a reply belongs to. Its fields stand first in the data of every reply."""

    model_config = _WRITING

    question_id: str = Field(description="The ``id`` of the event that asked.", examples=["evt-1"])
    question_source: str = Field(description="The ``source`` of the event that asked.", examples=["crm/acme"])
    contact_id: str = Field(description="The contact as the event named it.", examples=["EXT_12345"])
    external_id: str = Field(
        description="The tag on the contact's messages at the API: the contact id, or, when that is over 128 "
        "characters, ``sha256:`` and 64 hex digits.",
        examples=["EXT_12345"],
    )
    thread_id: str | None = Field(description="The thread as the event named it.", examples=[None, "T-9"])


class AnsweredData(_QuestionIdentity):
    """The answer, where it can be found again, and how it was obtained."""

    project_id: int = Field(description="The agent's number at the API.", examples=[123])
    api: Api = Field(
        description="By which way the agent was asked. ``chat_completions`` keeps no conversation: then "
        "conversation_id is null, session_id is empty and message_id is 0.",
    )
    conversation_id: int | None = Field(
        description="The conversation's number at the API; null where there is none or the API never told.",
        examples=[42],
    )
    session_id: str = Field(
        description="What the API calls the conversation by in its addresses; empty where there is none.",
        examples=["f1b9aaf0-3f0c-4a6e-9d50-6a2d3bb0a1c7"],
    )
    message_id: int = Field(
        description="Number of the message that holds the answer; 0 where it has none.", examples=[1]
    )
    answer: str = Field(
        description="The agent's text.", examples=["Our support hours are 9 to 5 on weekdays."]
    )
    fallback: Fallback | None = Field(
        description="Null for an answer; ``no_answer`` or ``agent_problem`` when the text is the agent's own "
        "fixed one for that case, so that a person can take over."
    )
    citations: tuple[Citation, ...] = Field(description="The sources the agent named, in its order.")
    metadata: Any = Field(description="The event's metadata.", examples=[{"ticket": "T-9"}])
    provider: Literal["customgpt"] = Field(description="Who answered.")
    provider_metadata: dict[str, Any] = Field(
        description="What the provider stored beside the message; its fields are the provider's.",
        examples=[{"external_id": "EXT_12345", "request_source": "api"}],
    )
    outcome: Outcome = Field(
        description="``posted``: the API answered the post. ``recovered``: its outcome was unknown and the "
        "answer was found by reading back. ``reposted_after_unknown``: nothing was found, so it was posted "
        "again."
    )
    conversation_renewed: bool = Field(
        description="The API had lost the contact's conversation, so this answer was given in a new one."
    )
    attempts: int = Field(description="Attempts that counted, the last one included.", examples=[1])
    asked_at: str | None = Field(
        description="The event's ``time`` as given, RFC 3339.",
        examples=["2026-11-20T20:00:00Z"],
        json_schema_extra=_DATE_TIME,
    )
    answered_at: str = Field(
        description="When the answer was recorded, RFC 3339, UTC.",
        examples=["2026-11-20T20:00:03.250Z"],
        json_schema_extra=_DATE_TIME,
    )


class FailedData(_QuestionIdentity):
    """Why there is no answer. Final for this reply's id."""

    project_id: int | None = Field(
        description="The agent's number at the API; null when the question failed before one was chosen.",
        examples=[123],
    )
    api: Api = Field(
        description="By which way the agent was to be asked. ``chat_completions`` keeps no conversation.",
    )
    conversation_id: int | None = Field(
        description="The conversation's number at the API; null when there is none.", examples=[42]
    )
    session_id: str | None = Field(
        description="What the API calls the conversation by; null when there is none yet.",
        examples=["f1b9aaf0-3f0c-4a6e-9d50-6a2d3bb0a1c7"],
    )
    message_id: int | None = Field(
        description="Number of the message that was posted but has no readable answer; mostly null."
    )
    metadata: Any = Field(description="The event's metadata.", examples=[{"ticket": "T-9"}])
    provider: Literal["customgpt"] = Field(description="Who was to answer.")
    reason: str = Field(
        description="A code from the list of errors; new ones may be added.",
        examples=[
            "expired",
            "attempts_exhausted",
            "question_rejected",
            "answer_unreadable",
            "outcome_unknown",
        ],
        pattern="^[a-z][a-z_]*$",
    )
    detail: str = Field(description="One sentence for people. Never holds the question.")
    conversation_renewed: bool = Field(description="The API had lost the contact's conversation.")
    attempts: int = Field(
        description="Attempts that counted, the last one included if it did.",
        examples=[12],
    )
    asked_at: str | None = Field(
        description="The event's ``time`` as given, RFC 3339.",
        examples=["2026-11-20T20:00:00Z"],
        json_schema_extra=_DATE_TIME,
    )
    failed_at: str = Field(
        description="When the failure was recorded, RFC 3339, UTC.",
        examples=["2026-11-20T21:00:00.000Z"],
        json_schema_extra=_DATE_TIME,
    )


class _ReplyEvent(BaseModel):
    """The envelope of every reply: CloudEvents 1.0, structured mode."""

    model_config = _WRITING

    specversion: Literal["1.0"] = Field(description="Version of CloudEvents.")
    id: str = Field(
        description="UUIDv5 of the question's source and id: the same for every publish of this reply. Drop "
        "repeats by it.",
        examples=["aaba07ea-8f3f-53be-8fd7-fc5a62848d51"],
        json_schema_extra={"format": "uuid"},
    )
    source: Literal["askrelay"] = Field(description="Who replies.")
    type: str = Field(description="What happened.")
    subject: str = Field(description="The contact id.", examples=["EXT_12345"])
    time: str = Field(
        description="When the reply was recorded, RFC 3339, UTC.",
        examples=["2026-11-20T20:00:03.250Z"],
        json_schema_extra=_DATE_TIME,
    )
    datacontenttype: Literal["application/json"] = Field(description="What ``data`` is written in.")
    traceparent: str | None = Field(
        default=None,
        exclude_if=_is_none,
        description="W3C trace context: the question's own, or of the worker's span in the same trace where"
        " traces are on; absent when there is none.",
        json_schema_extra={"pattern": TRACEPARENT_PATTERN},
    )
    tracestate: str | None = Field(
        default=None,
        exclude_if=_is_none,
        description="W3C trace state of the question; absent when it had none.",
    )


class AnsweredEvent(_ReplyEvent):
    """A contact's question was answered."""

    type: Literal["contact.question.answered"] = Field(description="What happened.")
    data: AnsweredData


class FailedEvent(_ReplyEvent):
    """A contact's question ended without an answer."""

    type: Literal["contact.question.failed"] = Field(description="What happened.")
    data: FailedData


class ProgressData(_QuestionIdentity):
    """An answer that is still being written. The reply that follows decides; this may be lost."""

    metadata: Any = Field(description="The event's metadata.", examples=[{"ticket": "T-9"}])
    provider: Literal["customgpt"] = Field(description="Who answers.")
    sequence: int = Field(
        ge=1,
        description="1 for the first of this question, and one more for each after it. Show only what has a "
        "higher number than what is shown.",
        examples=[3],
    )
    answer_so_far: str = Field(
        description="All of the answer that is there yet, not only what is new: one that is lost costs "
        "nothing.",
        examples=["Our support hours are 9 to"],
    )


class ProgressEvent(_ReplyEvent):
    """An answer is being written: for a window that shows it as it comes."""

    id: str = Field(
        description="UUIDv5 of the question's source and id, ``progress`` and the sequence number.",
        examples=["b7a8ad3c-5f0a-5a2b-9f0e-0d7f6f5c1a11"],
        json_schema_extra={"format": "uuid"},
    )
    type: Literal["contact.question.progress"] = Field(description="What happened.")
    data: ProgressData
