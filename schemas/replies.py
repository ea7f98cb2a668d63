"""Write replies: the frozen bytes that every publish of a reply repeats."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, Protocol, TypedDict, Unpack

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from schemas.event_names import ANSWERED, FAILED, PROGRESS, PROVIDER, REPLY_SOURCE, SPEC_VERSION
from schemas.reply_ids import progress_id
from schemas.reply_models import AnsweredEvent, Api, FailedEvent, Fallback, Outcome, ProgressEvent

#: By which way the agent is asked where nobody says another.
_USUAL: Api = "conversations"

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class CitationLike(Protocol):
    """Anything that has a citation's three fields."""

    @property
    def id(self) -> int | None: ...  # noqa: D102 - said by Citation
    @property
    def title(self) -> str | None: ...  # noqa: D102
    @property
    def url(self) -> str | None: ...  # noqa: D102


class ReplyFields(TypedDict):
    """What every reply is made from; reply_models says what each field means."""

    reply_id: str
    question_id: str
    question_source: str
    contact_id: str
    external_id: str
    thread_id: str | None
    api: NotRequired[Api]
    conversation_id: int | None
    metadata: Any
    conversation_renewed: bool
    attempts: int
    asked_at: str | None
    traceparent: str | None
    tracestate: str | None


class AnsweredFields(ReplyFields):
    """What an answered reply has besides."""

    project_id: int
    session_id: str
    message_id: int
    answer: str
    fallback: Fallback | None
    citations: Sequence[CitationLike]
    provider_metadata: Mapping[str, Any]
    outcome: Outcome
    answered_at: str


class FailedFields(ReplyFields):
    """What a failed reply has besides."""

    project_id: int | None
    session_id: str | None
    message_id: int | None
    reason: str
    detail: str
    failed_at: str


class ProgressFields(TypedDict):
    """What a progress event is made from; reply_models says what each field means."""

    question_id: str
    question_source: str
    contact_id: str
    external_id: str
    thread_id: str | None
    metadata: Any
    sequence: int
    answer_so_far: str
    time: str
    traceparent: str | None
    tracestate: str | None


_ANSWERED: TypeAdapter[AnsweredEvent] = TypeAdapter(AnsweredEvent)
_FAILED: TypeAdapter[FailedEvent] = TypeAdapter(FailedEvent)
_PROGRESS: TypeAdapter[ProgressEvent] = TypeAdapter(ProgressEvent)


def answered_event(**fields: Unpack[AnsweredFields]) -> bytes:
    """Return the reply that carries an answer, as UTF-8 JSON of a structured CloudEvent.

    Raises ValueError when a field does not fit AnsweredEvent, naming it and not its value.
    """
    data = {
        "api": _USUAL,
        **fields,
        "citations": tuple(fields["citations"]),
        "provider_metadata": dict(fields["provider_metadata"]),
    }
    return _written(_ANSWERED, ANSWERED, fields["answered_at"], data)


def failed_event(**fields: Unpack[FailedFields]) -> bytes:
    """Return the reply that says why there is no answer, as UTF-8 JSON of a structured CloudEvent.

    Raises ValueError when a field does not fit FailedEvent, naming it and not its value.
    """
    return _written(_FAILED, FAILED, fields["failed_at"], {"api": _USUAL, **fields})


def progress_event(**fields: Unpack[ProgressFields]) -> bytes:
    """Return an event with an answer that is still being written, as UTF-8 JSON of a structured CloudEvent.

    Raises ValueError when a field does not fit ProgressEvent, naming it and not its value.
    """
    event_id = progress_id(fields["question_source"], fields["question_id"], fields["sequence"])
    return _written(_PROGRESS, PROGRESS, fields["time"], {**fields, "reply_id": event_id})


def _written(adapter: TypeAdapter[Any], kind: str, time: str, data: dict[str, Any]) -> bytes:
    event = {
        "specversion": SPEC_VERSION,
        "id": data["reply_id"],
        "source": REPLY_SOURCE,
        "type": kind,
        "subject": data["contact_id"],
        "time": time,
        "datacontenttype": "application/json",
        "traceparent": data["traceparent"],
        "tracestate": data["tracestate"],
        "data": {**data, "provider": PROVIDER},
    }
    try:
        return adapter.dump_json(adapter.validate_python(event))
    except (ValidationError, PydanticSerializationError):
        # An API may send a lone surrogate as an escape; a question must not stay without a reply for that.
        mended = _without_lone_surrogates(event)
    try:
        return adapter.dump_json(adapter.validate_python(mended))
    except ValidationError as error:
        # Two steps into the event name our fields; further in come keys that somebody else chose.
        places = sorted(
            {".".join(map(str, problem["loc"][:2])) for problem in error.errors(include_input=False)}
        )
    # Raised out here, because an exception keeps the one it was raised in, and that one holds the answer.
    raise ValueError(f"Bug: a reply was made from fields that do not fit: {', '.join(places)}")


def _without_lone_surrogates(value: Any) -> Any:
    match value:
        case str():
            return _LONE_SURROGATE.sub("\ufffd", value)
        case dict():
            return {
                _without_lone_surrogates(key): _without_lone_surrogates(field) for key, field in value.items()
            }
        case list():
            return [_without_lone_surrogates(item) for item in value]
        case tuple():
            return tuple(_without_lone_surrogates(item) for item in value)
        case None | bool() | int() | float():
            return value
        case _:
            citation = {"id": value.id, "title": value.title, "url": value.url}
            return _without_lone_surrogates(citation)
