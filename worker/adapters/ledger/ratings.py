"""Ratings: each event once, one row for an answer, the last rating in it, until the API has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from worker.adapters.ledger.rows import Dialect, as_rows, rows_from
from worker.adapters.ledger.transaction import Transaction
from worker.core.rating import AcceptedRating, DueRating, RatingEnd, RatingResult

#: s. How often it is looked whether a rated question has its answer yet: few rate what they have not read.
UNANSWERED_S = 5.0


@dataclass(frozen=True, slots=True)
class AcceptRatings:
    """Accept a batch."""

    ratings: Sequence[AcceptedRating]


@dataclass(frozen=True, slots=True)
class TakeRatings:
    """Take ratings that are due."""

    limit: int


@dataclass(frozen=True, slots=True)
class EndRating:
    """Record how an attempt ended."""

    question: int
    version: int
    end: RatingEnd
    code: str | None
    again_in_s: float


class RatingStatements:
    """The statements, once per dialect."""

    def __init__(self, dialect: Dialect) -> None:
        numbers = rows_from(dialect, number="int")
        skip_locked = " for update skip locked" if dialect == "postgresql" else ""
        self.known = sa.text("select data_hash from rating_events where event_hash = :event_hash")
        self.question = sa.text(
            "select number, state, message_id from questions where event_hash = :event_hash"
        )
        self.note_event = sa.text(
            "insert into rating_events (event_hash, data_hash, received_at)"
            " values (:event_hash, :data_hash, :now) on conflict (event_hash) do nothing"
        )
        # One that is under way or put off stays so: this rating is sent when its time comes.
        self.rate = sa.text(
            "insert into ratings (question, rating, version, due_at) values (:question, :rating, 1, :now)"
            " on conflict (question) do update set rating = :rating, version = ratings.version + 1,"
            " due_at = coalesce(ratings.due_at, :now)"
        )
        self.due = sa.text(
            "select question from ratings where due_at is not null and due_at <= :now"
            f" order by due_at limit :limit{skip_locked}"
        )
        self.put_off_all = sa.text(
            f"update ratings set due_at = :until where question in (select r.number from {numbers})"
        )
        self.read = sa.text(
            "select t.question, t.rating, t.version, t.tries, q.source, q.event_id, q.state, q.session_id,"
            " q.message_id, c.project_id from ratings t join questions q on q.number = t.question"
            " join conversations c on c.number = q.conversation"
            f" where t.question in (select r.number from {numbers})"
        )
        self.end = sa.text(
            "update ratings set code = :code, tries = 0,"
            " due_at = case when version <> :version then :now end where question = :question"
        )
        self.put_off = sa.text(
            "update ratings set code = :code, tries = tries + :tries, due_at = :until"
            " where question = :question"
        )


@dataclass(frozen=True, slots=True)
class Ratings:
    """Handlers."""

    statements: RatingStatements
    #: s. How long one attempt may take before another process may make it.
    lease_s: float

    def accept(
        self, transaction: Transaction, operations: Sequence[AcceptRatings]
    ) -> list[list[RatingResult]]:
        """Accept each rating by itself, in its order: they are few."""
        return [[self._accept(transaction, each) for each in operation.ratings] for operation in operations]

    def take(self, transaction: Transaction, operations: Sequence[TakeRatings]) -> list[list[DueRating]]:
        """Take for each operation."""
        return [self._take(transaction, operation.limit) for operation in operations]

    def end(self, transaction: Transaction, operations: Sequence[EndRating]) -> list[None]:
        """Record each."""
        now, statements = transaction.now, self.statements
        for each in operations:
            same = {"question": each.question, "code": each.code}
            if each.end in {"put_off", "held_up"}:
                tries = int(each.end == "put_off")
                transaction.run(statements.put_off, until=now + each.again_in_s, tries=tries, **same)
            else:
                transaction.run(statements.end, now=now, version=each.version, **same)
        return [None for _ in operations]

    def _accept(self, transaction: Transaction, rating: AcceptedRating) -> RatingResult:
        statements, event_hash = self.statements, rating.event_hash
        known = transaction.scalar(statements.known, event_hash=event_hash)
        if known is not None:
            return "repeat" if known == rating.data_hash else "conflict"
        found = transaction.rows(statements.question, event_hash=rating.question_hash)
        is_over = found and found[0]["state"] in {"answered", "failed"}
        if not found or (is_over and (found[0]["state"] == "failed" or found[0]["message_id"] is None)):
            return "unmatched"
        transaction.run(
            statements.note_event, event_hash=event_hash, data_hash=rating.data_hash, now=transaction.now
        )
        transaction.run(
            statements.rate, question=found[0]["number"], rating=rating.rating, now=transaction.now
        )
        return "new"

    def _take(self, transaction: Transaction, limit: int) -> list[DueRating]:
        due = transaction.rows(self.statements.due, now=transaction.now, limit=limit)
        if not due:
            return []
        rows = as_rows([(row["question"],) for row in due])
        found = transaction.rows(self.statements.read, rows=rows)
        waiting = [(row["question"],) for row in found if row["state"] not in {"answered", "failed"}]
        transaction.run(self.statements.put_off_all, rows=rows, until=transaction.now + self.lease_s)
        if waiting:
            transaction.run(
                self.statements.put_off_all, rows=as_rows(waiting), until=transaction.now + UNANSWERED_S
            )
        return [
            DueRating(
                question=row["question"],
                version=row["version"],
                rating=row["rating"],
                question_source=row["source"],
                question_id=row["event_id"],
                project_id=row["project_id"],
                session_id=row["session_id"],
                message_id=row["message_id"] if row["state"] == "answered" else None,
                tries=row["tries"],
            )
            for row in found
            if row["state"] in {"answered", "failed"}
        ]
