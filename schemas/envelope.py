"""The three ways in which an event may be wrapped, brought to one form."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from schemas.bus_names import HEADER_PREFIXES
from schemas.event_names import ASKED, RATED, SPEC_VERSION, STRUCTURED_JSON
from schemas.refusal import EventRefused
from schemas.strict_json import parse_object
from schemas.timestamps import timestamp_of

_HEADER_PREFIXES = tuple(prefix.lower() for prefix in HEADER_PREFIXES)
_REQUIRED = frozenset({"specversion", "id", "source", "type"})
_TIMESTAMPS = ("time", "expirytime")


@dataclass(frozen=True, slots=True)
class RawEvent:
    """A message as the broker delivered it; header values as the AMQP client decoded them."""

    body: bytes
    content_type: str | None = None
    content_encoding: str | None = None
    message_id: str | None = None
    app_id: str | None = None
    #: The message's own type property.
    type: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event out of its wrapping, nothing checked yet but the JSON."""

    #: CloudEvents attributes by name, and ``data`` unless there was none.
    fields: dict[str, Any]
    #: What the producer knows some attributes by, where that is another name.
    names: Mapping[str, str] = field(default_factory=dict)


def open_envelope(raw: RawEvent, *, default_source: str) -> Envelope:
    """Find out how the event is wrapped and unwrap it. Raises EventRefused.

    The content type decides as CloudEvents says. Where it does not name CloudEvents, a body with a
    ``specversion`` is a whole CloudEvent all the same, and headers of one make the body its data. All else
    is bare JSON.
    """
    media_type = _text(raw.content_type).split(";")[0].strip().lower()
    is_structured = media_type == STRUCTURED_JSON
    if media_type.startswith("application/cloudevents") and not is_structured:
        raise EventRefused(
            "unsupported_event", "content_type names a form of CloudEvents other than one event in JSON"
        )
    body = parse_object(raw.body)
    if is_structured or "specversion" in body:
        return _structured(body)
    attributes = _header_attributes(raw.headers)
    if not _REQUIRED.isdisjoint(attributes):
        return Envelope({**attributes, "data": body})
    return _bare(raw, body, default_source)


def _structured(body: dict[str, Any]) -> Envelope:
    fields = dict(body)
    encoded = fields.pop("data_base64", None)
    if encoded is None:
        return Envelope(fields)
    if fields.get("data") is not None:
        raise EventRefused("malformed_event", "data and data_base64 exclude each other")
    return Envelope({**fields, "data": parse_object(_base64_decoded(encoded), name="data_base64")})


def _base64_decoded(encoded: Any) -> bytes:
    with suppress(ValueError, TypeError):
        return base64.b64decode(encoded, validate=True)
    raise EventRefused("malformed_event", "data_base64 is not base64")


def _header_attributes(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Collect CloudEvents attributes from headers, whatever prefix and case they were written in."""
    attributes: dict[str, Any] = {}
    for header, value in headers.items():
        # A client hands out a name that is no UTF-8 as bytes.
        lowered = _text(header).lower()
        for prefix in _HEADER_PREFIXES:
            if lowered.startswith(prefix) and value is not None:
                name = lowered.removeprefix(prefix)
                value_read = _canonical(value) if name in _TIMESTAMPS else value
                # Compared as text: a NaN equals nothing, itself included, and some decimals refuse it.
                if repr(attributes.setdefault(name, value_read)) != repr(value_read):
                    raise EventRefused("malformed_event", "headers give one attribute with two values")
    return attributes


def _canonical(value: Any) -> Any:
    """Turn the native forms of a timestamp in a header, AMQP's own or milliseconds, into RFC 3339."""
    # One that is outside of the calendar is left as it is, and refused for its type.
    with suppress(ValueError, OverflowError):
        if isinstance(value, datetime):
            return timestamp_of((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
        if isinstance(value, int) and not isinstance(value, bool):
            return timestamp_of(value / 1000)
    return value


def _bare(raw: RawEvent, body: dict[str, Any], default_source: str) -> Envelope:
    """Take the body for the data and the AMQP properties for the attributes.

    The type property is free text that clients fill in by themselves (with a class name, say), so it decides
    nothing, unless it names another event of ours.
    """
    kind = _text(raw.type)
    return Envelope(
        {
            "specversion": SPEC_VERSION,
            "type": kind if kind.startswith("contact.question.") or kind == RATED else ASKED,
            "id": raw.message_id or None,
            "source": raw.app_id or default_source,
            "data": body,
        },
        names={"id": "message_id", "source": "app_id"},
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
