"""Ratings of answers: what contacts think of them, on its way to the API's feedback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from worker.core.model import GateNews, digest_of

#: As the API's feedback has them; neutral takes an earlier one back.
Reaction = Literal["liked", "disliked", "neutral"]
#: What the ledger made of a rating. ``unmatched``: there is no answer that it could be about.
RatingResult = Literal["new", "repeat", "conflict", "unmatched"]
#: How an attempt ended: the API has it; it failed and is tried again; it was not made, because the gate is
#: closed; the API will never take it.
RatingEnd = Literal["rated", "put_off", "held_up", "refused"]


@dataclass(frozen=True, slots=True)
class AcceptedRating:
    """A valid rating as intake hands it to the ledger."""

    source: str
    event_id: str
    question_source: str
    question_id: str
    rating: Reaction

    @property
    def event_hash(self) -> str:
        """The identity of the event."""
        return digest_of(self.source, self.event_id)

    @property
    def question_hash(self) -> str:
        """The identity of the question whose answer is rated."""
        return digest_of(self.question_source, self.question_id)

    @property
    def data_hash(self) -> str:
        """What makes a second event with the same id the same rating."""
        return digest_of(self.question_source, self.question_id, self.rating)


@dataclass(frozen=True, slots=True)
class DueRating:
    """A rating to be sent now."""

    #: The question's number in the ledger.
    question: int
    #: Raised by every rating of the answer: tells whether another came while this was on its way.
    version: int
    rating: Reaction
    question_source: str
    question_id: str
    project_id: int | None
    session_id: str | None
    #: None when the question ended without an answer that the API could find again.
    message_id: int | None
    #: Fruitless tries of this one.
    tries: int


class RatingLedger(Protocol):
    """The part of the ledger that keeps ratings until the API has them."""

    async def accept_ratings(self, ratings: Sequence[AcceptedRating]) -> list[RatingResult]:
        """Write each rating once, in this order; the last of an answer is the one that stays."""
        ...

    async def take_ratings(self, limit: int) -> list[DueRating]:
        """Take ratings that are due; those of a question that has no answer yet wait for it."""
        ...

    async def end_rating(
        self, rating: DueRating, end: RatingEnd, *, code: str | None = None, again_in_s: float = 0.0
    ) -> None:
        """Record how an attempt ended."""
        ...

    async def admit_read(self, lease: None, share: Literal["healing"]) -> None:
        """Count one read against the pace; raises GateClosed when there is none left or a pause is on."""
        ...

    async def end_healing(self) -> None:
        """Give the place at the gate back that a request of the share ``healing`` took."""
        ...

    async def report(self, news: GateNews) -> None:
        """Tell the gate what a call showed."""
        ...
