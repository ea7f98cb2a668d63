"""Why an event was refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

RefusalReason = Literal[
    "malformed_event", "unsupported_event", "invalid_question", "event_too_large", "invalid_rating"
]


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field; never holds anything the event said."""

    #: Attributes by their name, fields of the data as ``data.contact_id``; empty for the event as a whole.
    field: str
    #: Reads on after the field's name: ``is missing``.
    problem: str


class EventRefused(Exception):
    """The event cannot be taken in.

    ``reason`` is one of askrelay's error codes. ``detail`` names fields and positions and never holds
    anything the event said, so it may be logged and sent along in a header. ``problems`` says the same field
    by field; an event that was refused as a whole has one, without a field.
    """

    def __init__(self, reason: RefusalReason, detail: str, problems: Sequence[FieldProblem] = ()) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: RefusalReason = reason
        self.detail = detail
        self.problems = tuple(problems) or (FieldProblem("", detail),)
