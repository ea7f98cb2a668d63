"""The id of a reply, a function of the question it replies to."""

from __future__ import annotations

from typing import Final
from uuid import UUID, uuid5

from pydantic_core import to_json

#: Part of the contract: another value would give every reply ever published a second id.
REPLY_NAMESPACE: Final = UUID("ff6ba827-9d1e-45ae-a245-82aa0c08390e")


def reply_id(source: str, event_id: str, redrive: int = 0) -> str:
    """Return the event id of the reply to the question ``(source, event_id)``.

    UUIDv5, in REPLY_NAMESPACE, of the UTF-8 JSON array ``["source","id"]``; for the n-th redrive of a failed
    question, n from 1, of ``["source","id",n]``.
    """
    if redrive < 0:
        raise ValueError("Bug: a redrive is counted from 1")
    return _id_of([source, event_id, redrive] if redrive else [source, event_id])


def progress_id(source: str, event_id: str, sequence: int) -> str:
    """Return the event id of a progress event: of the array ``["source","id","progress",n]``, n from 1."""
    return _id_of([source, event_id, "progress", sequence])


def _id_of(parts: list[str | int]) -> str:
    """Return the UUIDv5 of an array as JavaScript's JSON.stringify writes it, so that any CRM can compute it.

    That is without blanks, and with letters beyond ASCII as they are.
    """
    return str(uuid5(REPLY_NAMESPACE, to_json(parts).decode("utf-8")))
