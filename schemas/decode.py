"""From a message off the broker to a question, or to the reason why not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from schemas.asked import AskedEvent
from schemas.envelope import Envelope, RawEvent, open_envelope
from schemas.event_names import ANSWERED, FAILED, MAX_EVENT_BYTES, PROGRESS, RATED, REPLY_SOURCE
from schemas.rated import RatedEvent, Rating
from schemas.refusal import EventRefused, FieldProblem, RefusalReason
from schemas.timestamps import epoch_of
from schemas.trace_context import trace_of
from schemas.values import OWN_PROBLEM

_Event = TypeVar("_Event", AskedEvent, RatedEvent)

#: What ``content_encoding`` may say: nothing, or what JSON is in anyway. All else is some compression.
_PLAIN_ENCODINGS = frozenset({"", "identity", "none", "utf-8", "utf8"})

#: What a detail says for the checks that are pydantic's own, whose messages may repeat the input.
_PROBLEMS: Final = {
    "missing": "is missing",
    "string_type": "is not a string",
    "string_unicode": "has a lone surrogate",
    "literal_error": "is not one that is taken",
    "model_type": "is not an object",
}


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question that may be accepted; every field has been checked."""

    source: str
    event_id: str
    contact_id: str
    thread_id: str | None
    question: str
    lang: str | None
    #: A JSON value, or None.
    metadata: Any
    #: RFC 3339, as the event gave it.
    asked_at: str | None
    #: Epoch seconds after which nobody waits for the answer.
    expires_at: float | None
    traceparent: str | None
    tracestate: str | None
    #: How to answer it: the options that are set, by name. Whether they are allowed is the worker's to say.
    options: dict[str, str] = field(default_factory=dict)
    #: By which way to ask; None leaves it to the worker. Whether it is allowed is the worker's to say, too.
    api: str | None = None


@dataclass(frozen=True, slots=True)
class RatedAnswer:
    """A rating that may be accepted; whether there is such an answer is the worker's to say."""

    source: str
    event_id: str
    question_source: str
    question_id: str
    rating: Rating


@dataclass(frozen=True, slots=True)
class OwnReply:
    """One of our own replies, brought back by a binding: to be acked and counted."""

    event_id: str | None
    type: str


def decode_event(raw: RawEvent, *, default_source: str = "crm") -> AskedQuestion | RatedAnswer | OwnReply:
    """Decode and check one message; ``default_source`` is that of bare JSON without an ``app_id``.

    Raises EventRefused, and nothing else, for what cannot be taken.
    """
    # First of all, and by its properties: a reply with a long answer would be refused for its size.
    if _is_own_reply(raw.app_id, raw.type):
        return OwnReply(event_id=raw.message_id, type=str(raw.type))
    _check_encoding(raw.content_encoding)
    if len(raw.body) > MAX_EVENT_BYTES:
        raise EventRefused("event_too_large", f"body is over {MAX_EVENT_BYTES} bytes")
    envelope = open_envelope(raw, default_source=default_source)
    if _is_own_reply(envelope.fields.get("source"), kind := envelope.fields.get("type")):
        event_id = envelope.fields.get("id")
        return OwnReply(event_id=event_id if isinstance(event_id, str) else None, type=str(kind))
    if kind == RATED:
        return _rated_answer(_checked(envelope, RatedEvent))
    return _asked_question(_checked(envelope, AskedEvent), raw)


def _is_own_reply(source: object, kind: object) -> bool:
    # A tuple, not a set: the type in a body may be a list, which has no hash.
    return source == REPLY_SOURCE and kind in (ANSWERED, FAILED, PROGRESS)


def _check_encoding(encoding: object) -> None:
    if encoding is not None and not (
        isinstance(encoding, str) and encoding.strip().lower() in _PLAIN_ENCODINGS
    ):
        raise EventRefused("malformed_event", "content_encoding says that the body is encoded; send it plain")


def _checked(envelope: Envelope, model: type[_Event]) -> _Event:
    try:
        return model.model_validate(envelope.fields)
    except ValidationError as error:
        refused = _refusal(error, envelope)
    # Raised out here, because an exception keeps the one it was raised in, and that one holds the event.
    raise refused


def _refusal(error: ValidationError, envelope: Envelope) -> EventRefused:
    """Name every field that is wrong, and give the gravest reason."""
    in_data: RefusalReason = "invalid_rating" if envelope.fields.get("type") == RATED else "invalid_question"
    reasons: set[RefusalReason] = set()
    details, problems = [], []
    for found in error.errors(include_url=False, include_input=False, include_context=False):
        place, kind = found["loc"], found["type"]
        if kind == "literal_error" and place[0] != "data":
            reasons.add("unsupported_event")
        else:
            reasons.add(in_data if place[0] == "data" else "malformed_event")
        name = str(place[-1])
        name = envelope.names.get(name, name) if len(place) == 1 else name
        problem = found["msg"] if kind == OWN_PROBLEM else _PROBLEMS.get(kind, "is not valid")
        details.append(f"{name} {problem}")
        problems.append(FieldProblem(".".join([*map(str, place[:-1]), name]), problem))
    for reason in ("unsupported_event", "malformed_event"):
        if reason in reasons:
            return EventRefused(reason, "; ".join(details), problems)
    return EventRefused(in_data, "; ".join(details), problems)


def _rated_answer(event: RatedEvent) -> RatedAnswer:
    return RatedAnswer(
        source=event.source,
        event_id=event.id,
        question_source=event.data.question_source or event.source,
        question_id=event.data.question_id,
        rating=event.data.rating,
    )


def _asked_question(event: AskedEvent, raw: RawEvent) -> AskedQuestion:
    data = event.data
    traceparent, tracestate = trace_of(
        raw.headers, {"traceparent": event.traceparent, "tracestate": event.tracestate}
    )
    return AskedQuestion(
        source=event.source,
        event_id=event.id,
        contact_id=data.contact_id,
        thread_id=data.thread_id,
        question=data.question,
        lang=data.lang,
        options=data.options.given(),
        api=data.api,
        metadata=data.metadata,
        asked_at=event.time,
        expires_at=None if event.expirytime is None else epoch_of(event.expirytime),
        traceparent=traceparent,
        tracestate=tracestate,
    )
