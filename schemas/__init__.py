"""The published language: the events askrelay reads and writes.

Reading is tolerant of what is more than needed and strict about what is read; writing gives exactly what the
models say. Nothing in here knows the worker, so a CRM may use it too::

    decode_event(RawEvent(body=..., message_id=...))   bytes -> a question or a rating, or EventRefused
    answered_event(...), failed_event(...)             -> the bytes of a reply
    reply_id(source, event_id)                         the id that the reply will have
    check_event(RawEvent(body=...))                    what is wrong with an event, field by field
"""

from __future__ import annotations

from schemas.asked import AskedData, AskedEvent
from schemas.asyncapi import CONTRACT_VERSION, asyncapi_document
from schemas.check import CheckedEvent, check_event, meaning_of
from schemas.decode import AskedQuestion, OwnReply, RatedAnswer, decode_event
from schemas.documents import json_schema
from schemas.envelope import RawEvent
from schemas.event_names import (
    ANSWERED,
    ASKED,
    FAILED,
    MAX_EVENT_BYTES,
    MAX_EVENT_DEPTH,
    MAX_ID_BYTES,
    PROGRESS,
    PROVIDER,
    RATED,
    REPLY_SOURCE,
    SPEC_VERSION,
    STRUCTURED_JSON,
)
from schemas.rated import RatedData, RatedEvent, Rating
from schemas.refusal import EventRefused, FieldProblem, RefusalReason
from schemas.replies import (
    AnsweredFields,
    FailedFields,
    ProgressFields,
    ReplyFields,
    answered_event,
    failed_event,
    progress_event,
)
from schemas.reply_ids import REPLY_NAMESPACE, progress_id, reply_id
from schemas.reply_models import (
    AnsweredData,
    AnsweredEvent,
    Citation,
    FailedData,
    FailedEvent,
    Fallback,
    Outcome,
    ProgressData,
    ProgressEvent,
)
from schemas.timestamps import epoch_of, timestamp_of
from schemas.values import has_forbidden_characters

__all__ = [
    "ANSWERED",
    "ASKED",
    "CONTRACT_VERSION",
    "FAILED",
    "MAX_EVENT_BYTES",
    "MAX_EVENT_DEPTH",
    "MAX_ID_BYTES",
    "PROGRESS",
    "PROVIDER",
    "RATED",
    "REPLY_NAMESPACE",
    "REPLY_SOURCE",
    "SPEC_VERSION",
    "STRUCTURED_JSON",
    "AnsweredData",
    "AnsweredEvent",
    "AnsweredFields",
    "AskedData",
    "AskedEvent",
    "AskedQuestion",
    "CheckedEvent",
    "Citation",
    "EventRefused",
    "FailedData",
    "FailedEvent",
    "FailedFields",
    "Fallback",
    "FieldProblem",
    "Outcome",
    "OwnReply",
    "ProgressData",
    "ProgressEvent",
    "ProgressFields",
    "RatedAnswer",
    "RatedData",
    "RatedEvent",
    "Rating",
    "RawEvent",
    "RefusalReason",
    "ReplyFields",
    "answered_event",
    "asyncapi_document",
    "check_event",
    "decode_event",
    "epoch_of",
    "failed_event",
    "has_forbidden_characters",
    "json_schema",
    "meaning_of",
    "progress_event",
    "progress_id",
    "reply_id",
    "timestamp_of",
]
