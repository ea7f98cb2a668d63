"""The messages of the AsyncAPI document, and the schemas they refer to."""

from __future__ import annotations

from typing import Any, Final, get_args

from schemas.bus_names import DETAIL_HEADER, HEADER_PREFIXES, HEADERS_HEADER, REASON_HEADER
from schemas.documents import json_schema
from schemas.event_names import ANSWERED, ASKED, FAILED, PROGRESS, RATED, REPLY_SOURCE, STRUCTURED_JSON
from schemas.examples import (
    ANSWERED_EXAMPLE,
    ASKED_EXAMPLE,
    FAILED_EXAMPLE,
    PROGRESS_EXAMPLE,
    RATED_EXAMPLE,
)
from schemas.refusal import RefusalReason
from schemas.trace_context import MAX_TRACESTATE_CHARS, TRACEPARENT_PATTERN

#: Reasons in the rejected queue: what cannot be read, and what says something else under a known id.
_REJECTIONS: Final = (*(each for each in get_args(RefusalReason) if each != "invalid_rating"), "id_conflict")
#: The same of ratings. Apart, because who reads rejected questions only need not know them.
_RATING_REJECTIONS: Final = (
    *(each for each in get_args(RefusalReason) if each != "invalid_question"),
    "id_conflict",
    "unmatched_rating",
)

_TRACE: Final[dict[str, Any]] = {
    "traceparent": {"type": "string", "pattern": TRACEPARENT_PATTERN, "description": "W3C trace context."},
    "tracestate": {"type": "string", "maxLength": MAX_TRACESTATE_CHARS, "description": "W3C trace state."},
}

_DEFINITIONS: Final = "#/$defs/"
_COMPONENTS: Final = "#/components/schemas/"


def event_schemas() -> dict[str, Any]:
    """Return the schema of every event and of every object in one, by the model's name."""
    found: dict[str, Any] = {}
    for document in json_schema().values():
        schema = {key: value for key, value in document.items() if key not in {"$schema", "$id", "$defs"}}
        for name, each in {**document["$defs"], document["title"]: schema}.items():
            found[name] = _with_component_references(each)
    return found


def messages() -> dict[str, Any]:
    """Return every message by its name in the document."""
    return {
        "askedStructured": _asked(
            "A question as one CloudEvent in JSON (structured mode).",
            content_type=STRUCTURED_JSON,
            payload="AskedEvent",
            headers={"type": "object", "properties": _TRACE},
            example=({}, ASKED_EXAMPLE),
            correlation="$message.payload#/id",
        ),
        "askedBinary": _asked(
            "A question whose CloudEvents attributes are headers (binary mode), with any of three prefixes.",
            content_type="application/json",
            payload="AskedData",
            headers=_binary_headers(),
            example=(_binary_example(), ASKED_EXAMPLE["data"]),
        ),
        "askedBare": _asked(
            "A question without CloudEvents: the message's own properties identify it.",
            content_type="application/json",
            payload="AskedData",
            headers={"type": "object", "properties": _TRACE},
            example=({}, ASKED_EXAMPLE["data"]),
            properties={
                "message_id": "The event's id; required.",
                "app_id": "The event's source; without one it is ASKRELAY_DEFAULT_SOURCE.",
            },
        ),
        "answered": _reply(ANSWERED, "AnsweredEvent", ANSWERED_EXAMPLE, "A question was answered."),
        "failed": _reply(FAILED, "FailedEvent", FAILED_EXAMPLE, "A question ended without an answer."),
        "progress": _reply(
            PROGRESS, "ProgressEvent", PROGRESS_EXAMPLE, "An answer is being written.", delivery_mode=1
        ),
        "ratedStructured": {
            "title": RATED,
            "summary": "A rating of an answer, as one CloudEvent in JSON. The other two forms do as well.",
            "contentType": STRUCTURED_JSON,
            "headers": {"type": "object", "properties": _TRACE},
            "payload": {"$ref": f"{_COMPONENTS}RatedEvent"},
            "correlationId": {"location": "$message.payload#/data/question_id"},
            "examples": [{"name": "rating", "headers": {}, "payload": RATED_EXAMPLE}],
        },
        "rejected": _rejected(
            "rejected event",
            "An event that could not be taken in, with its original bytes, properties and headers.",
            _REJECTIONS,
            {REASON_HEADER: "invalid_question", DETAIL_HEADER: "contact_id is missing"},
            {"question": "What are your support hours?"},
        ),
        "rejectedRating": _rejected(
            "rejected rating",
            "A rating that could not be taken in; only where ratings are published.",
            _RATING_REJECTIONS,
            {REASON_HEADER: "invalid_rating", DETAIL_HEADER: "question_id is missing"},
            {"rating": "liked"},
        ),
    }


def _asked(
    summary: str,
    *,
    content_type: str,
    payload: str,
    headers: dict[str, Any],
    example: tuple[dict[str, Any], dict[str, Any]],
    correlation: str | None = None,
    properties: dict[str, str] | None = None,
) -> dict[str, Any]:
    return {
        "title": ASKED,
        "summary": summary,
        "contentType": content_type,
        "headers": headers,
        "payload": {"$ref": f"{_COMPONENTS}{payload}"},
        **({"correlationId": {"location": correlation}} if correlation else {}),
        **({"x-amqp-properties": properties} if properties else {}),
        "examples": [{"name": "question", "headers": example[0], "payload": example[1]}],
    }


def _reply(
    kind: str, payload: str, example: dict[str, Any], summary: str, *, delivery_mode: int = 2
) -> dict[str, Any]:
    return {
        "title": kind,
        "summary": summary,
        "contentType": STRUCTURED_JSON,
        "headers": {"type": "object", "properties": _TRACE},
        "payload": {"$ref": f"{_COMPONENTS}{payload}"},
        "correlationId": {
            "location": "$message.payload#/data/question_id",
            "description": "The question's id, which the message's correlation_id has too.",
        },
        "bindings": {"amqp": {"messageType": kind, "bindingVersion": "0.3.0"}},
        "x-amqp-properties": {
            "message_id": "The reply's id." if delivery_mode == 2 else "The event's id.",
            "correlation_id": "The question's id.",
            "app_id": REPLY_SOURCE,
            "type": kind,
            "content_type": STRUCTURED_JSON,
            "delivery_mode": str(delivery_mode),
            "timestamp": "When it was published.",
        },
        "examples": [
            {"name": "reply", "headers": {"traceparent": example["traceparent"]}, "payload": example}
        ],
    }


def _rejected(
    title: str,
    summary: str,
    reasons: tuple[str, ...],
    headers: dict[str, str],
    payload: dict[str, str],
) -> dict[str, Any]:
    return {
        "title": title,
        "summary": summary,
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "properties": {
                REASON_HEADER: {"type": "string", "enum": list(reasons), "description": "Why."},
                DETAIL_HEADER: {
                    "type": "string",
                    "description": "One sentence that names the field; never what was in it.",
                },
                HEADERS_HEADER: {
                    "type": "string",
                    "const": "left out",
                    "description": "Only there when the original headers were too large to go along.",
                },
            },
            "required": [REASON_HEADER, DETAIL_HEADER],
        },
        "payload": {"description": "The original bytes, whatever they are."},
        "examples": [
            {
                "name": "rejected",
                "headers": headers,
                "payload": payload,
            }
        ],
    }


def _binary_headers() -> dict[str, Any]:
    """Describe the headers of binary mode: all with one prefix, whichever of the three."""
    event = event_schemas()["AskedEvent"]
    attributes = {name: rule for name, rule in event["properties"].items() if name != "data"}
    required = [name for name in event["required"] if name != "data"]
    return {
        "type": "object",
        "properties": {
            **{
                f"{prefix}{name}": _header(name, rule)
                for prefix in HEADER_PREFIXES
                for name, rule in attributes.items()
            },
            **_TRACE,
        },
        "anyOf": [{"required": [f"{prefix}{name}" for name in required]} for prefix in HEADER_PREFIXES],
    }


def _header(name: str, rule: dict[str, Any]) -> dict[str, Any]:
    if name not in {"time", "expirytime"}:
        return rule
    return {
        "description": f"{rule['description']} An AMQP timestamp or milliseconds since 1970 do as well.",
        "anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}],
    }


def _binary_example() -> dict[str, Any]:
    return {f"ce-{name}": value for name, value in ASKED_EXAMPLE.items() if name != "data"}


def _with_component_references(value: Any) -> Any:
    match value:
        case dict():
            return {key: _with_component_references(each) for key, each in value.items()}
        case list():
            return [_with_component_references(each) for each in value]
        case str() if value.startswith(_DEFINITIONS):
            return _COMPONENTS + value.removeprefix(_DEFINITIONS)
        case _:
            return value
