"""What is wrong with an event, field by field, for the one who writes it.

Says more than a refusal does: what a field is, and what would be taken but is probably a mistake, such as a
misspelt field that nobody reads. Never holds anything the event said but the names of its fields.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from schemas.asked import AskedData, AskedEvent
from schemas.decode import AskedQuestion, OwnReply, RatedAnswer, decode_event
from schemas.envelope import RawEvent, open_envelope
from schemas.event_names import RATED
from schemas.rated import RatedData, RatedEvent
from schemas.refusal import EventRefused, FieldProblem, RefusalReason
from schemas.reply_ids import reply_id
from schemas.timestamps import epoch_of
from schemas.trace_context import traceparent_or_none, tracestate_or_none

#: Attributes of CloudEvents that askrelay has no use for, so that they are no typing errors.
_UNUSED_ATTRIBUTES: Final = frozenset({"datacontenttype", "dataschema", "subject"})

#: What producers call fields elsewhere, where the nearest spelling would not find ours.
_OTHER_NAMES: Final = {
    "contact": "contact_id",
    "customer_id": "contact_id",
    "user_id": "contact_id",
    "prompt": "question",
    "message": "question",
    "text": "question",
    "conversation_id": "thread_id",
    "session_id": "thread_id",
    "ticket_id": "thread_id",
    "language": "lang",
    "locale": "lang",
    "meta": "metadata",
    "timestamp": "time",
    "expires_at": "expirytime",
}

#: As difflib counts it, 0 to 1: ``contactId`` and ``thread`` are near enough, ``channel`` is not.
_NEAR: Final = 0.7


#: Characters shown of a name that is not ours.
_NAME_CHARS: Final = 64


@dataclass(frozen=True, slots=True)
class CheckedEvent:
    """The result of a check. It was taken when ``reason`` is None."""

    reason: RefusalReason | None
    #: Each of these has to go before the event is taken.
    problems: tuple[FieldProblem, ...]
    #: Taken, and worth a look.
    notes: tuple[FieldProblem, ...]
    #: How the event is told from others, and the id of its first reply; None when it was refused. A rating
    #: gets no reply.
    source: str | None = None
    event_id: str | None = None
    reply_id: str | None = None


def check_event(raw: RawEvent, *, default_source: str = "crm") -> CheckedEvent:
    """Check one message as a worker would, and look for likely mistakes besides."""
    try:
        event = decode_event(raw, default_source=default_source)
    except EventRefused as refused:
        return CheckedEvent(refused.reason, refused.problems, tuple(_notes(raw, default_source)))
    if isinstance(event, OwnReply):
        problem = FieldProblem("type", "is that of one of askrelay's own replies, which are not questions")
        return CheckedEvent("unsupported_event", (problem,), ())
    if isinstance(event, RatedAnswer):
        notes = tuple(_notes(raw, default_source))
        return CheckedEvent(None, (), notes, source=event.source, event_id=event.event_id)
    return CheckedEvent(
        None,
        (),
        (*_notes(raw, default_source), *_wishes(event), *_late(event)),
        source=event.source,
        event_id=event.event_id,
        reply_id=reply_id(event.source, event.event_id),
    )


def meaning_of(field: str) -> str | None:
    """Return the sentence that says what a field is; None for a field that there is not."""
    models: tuple[type[BaseModel], ...] = (AskedEvent, RatedEvent)
    if field.startswith("data."):
        models = (AskedData, RatedData)
    for model in models:
        found = model.model_fields.get(field.removeprefix("data."))
        if found is not None:
            return found.description
    return None


def _notes(raw: RawEvent, default_source: str) -> Iterator[FieldProblem]:
    try:
        envelope = open_envelope(raw, default_source=default_source)
    except EventRefused:
        return
    fields = envelope.fields
    data = fields.get("data")
    if envelope.names and isinstance(data, dict) and isinstance(data.get("data"), dict):
        problem = "is missing, so the whole body was taken for the data of an event that is no CloudEvent"
        yield FieldProblem("specversion", problem)
        return
    event: type[BaseModel] = AskedEvent
    inner: type[BaseModel] = AskedData
    if fields.get("type") == RATED:
        event, inner = RatedEvent, RatedData
    yield from _unread(fields.keys() - _UNUSED_ATTRIBUTES, event, "")
    if isinstance(data, dict):
        yield from _unread(data.keys(), inner, "data.")
    yield from _broken_trace(fields)


def _unread(names: AbstractSet[str], model: type[BaseModel], prefix: str) -> Iterator[FieldProblem]:
    """Name the fields that nobody reads."""
    known = model.model_fields.keys()
    for name in sorted(names - known):
        lowered = name.lower()
        near = difflib.get_close_matches(lowered, known, n=1, cutoff=_NEAR)
        meant = _OTHER_NAMES.get(lowered) or (near[0] if near else None)
        is_there = meant in known and meant not in names
        advice = f"; did you mean {prefix}{meant}?" if is_there else ""
        yield FieldProblem(f"{prefix}{_shown(name)}", f"is ignored{advice}")


def _shown(name: str) -> str:
    """Make a name that somebody else chose fit for a terminal."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in name)
    return printable if len(printable) <= _NAME_CHARS else f"{printable[:_NAME_CHARS]}..."


def _broken_trace(fields: Mapping[str, Any]) -> Iterator[FieldProblem]:
    traceparent, tracestate = fields.get("traceparent"), fields.get("tracestate")
    if traceparent is not None and traceparent_or_none(traceparent) is None:
        yield FieldProblem("traceparent", "is not a W3C traceparent and is dropped")
    if tracestate is not None and tracestate_or_none(tracestate) is None:
        yield FieldProblem("tracestate", "is not a W3C tracestate and is dropped")


def _wishes(event: AskedQuestion) -> Iterator[FieldProblem]:
    """Name what says how to answer: whether it may, only the settings of the workers know."""
    unless_allowed = "has the event rejected, unless the workers' settings allow events to have it"
    if event.api:
        yield FieldProblem("data.api", unless_allowed)
    for name in event.options:
        is_taken = event.api != "chat_completions"
        problem = "is not taken by chat completions, so the event would be rejected"
        yield FieldProblem(f"data.options.{name}", unless_allowed if is_taken else problem)


def _late(event: AskedQuestion) -> Iterator[FieldProblem]:
    """Name an expiry that comes before the question was asked: no worker could ever be in time."""
    if event.asked_at is None or event.expires_at is None:
        return
    if event.expires_at <= epoch_of(event.asked_at):
        yield FieldProblem("expirytime", "is not after time, so the question would fail as expired")
