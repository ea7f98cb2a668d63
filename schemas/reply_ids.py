"""The id of a reply, a function of the question it replies to."""

from __future__ import annotations

import json
from typing import Final
from uuid import UUID, uuid5

#: Part of the contract: another value would give every reply ever published a second id.
REPLY_NAMESPACE: Final = UUID("ff6ba827-9d1e-45ae-a245-82aa0c08390e")

#: As JavaScript's JSON.stringify writes it, so that any CRM can compute the id: no blanks, letters beyond
#: ASCII as they are.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def reply_id(source: str, event_id: str, redrive: int = 0) -> str:
    """Return the event id of the reply to the question ``(source, event_id)``.

    UUIDv5, in REPLY_NAMESPACE, of the UTF-8 JSON array ``["source","id"]``; for the n-th redrive of a failed
    question, n from 1, of ``["source","id",n]``.
    """
    if redrive < 0:
        raise ValueError("Bug: a redrive is counted from 1")
    parts = [source, event_id, redrive] if redrive else [source, event_id]
    return str(uuid5(REPLY_NAMESPACE, _encode(parts)))


def progress_id(source: str, event_id: str, sequence: int) -> str:
    """Return the event id of a progress event: of the array ``["source","id","progress",n]``, n from 1."""
    return str(uuid5(REPLY_NAMESPACE, _encode([source, event_id, "progress", sequence])))
