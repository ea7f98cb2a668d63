"""W3C trace context as it travels with events.

What does not fit is dropped without a word: a broken tracer must never cost a question its answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: version, trace id, span id, flags. Version ff and ids of zeros are invalid by the recommendation.
TRACEPARENT_PATTERN = r"^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$"

#: Characters. The recommendation asks to carry at least this many; more would be a way to fill our headers.
MAX_TRACESTATE_CHARS = 512
#: Entries, by the recommendation.
MAX_TRACESTATE_ENTRIES = 32

_TRACEPARENT = re.compile(TRACEPARENT_PATTERN.removesuffix("$").removeprefix("^"))
_TRACESTATE_ENTRY = re.compile(
    r"[ \t]*(?:[a-z0-9][a-z0-9_\-*/@]{0,255}="
    r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])?[ \t]*"
)


def traceparent_or_none(value: Any) -> str | None:
    """Return the value if it is a W3C traceparent."""
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None


def tracestate_or_none(value: Any) -> str | None:
    """Return the value if it is a W3C tracestate of acceptable size."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TRACESTATE_CHARS:
        return None
    entries = value.split(",")
    if len(entries) > MAX_TRACESTATE_ENTRIES:
        return None
    return value if all(_TRACESTATE_ENTRY.fullmatch(entry) for entry in entries) else None


def trace_of(headers: Mapping[str, Any], attributes: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return traceparent and tracestate of a message, both from one place.

    The AMQP headers win: instrumented clients write there the span that sent the message, while the
    CloudEvents attributes keep the one in which the event was made, perhaps hops ago.
    """
    for place in (headers, attributes):
        traceparent = traceparent_or_none(place.get("traceparent"))
        if traceparent is not None:
            return traceparent, tracestate_or_none(place.get("tracestate"))
    return None, None
