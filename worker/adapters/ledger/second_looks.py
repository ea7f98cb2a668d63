"""Evidence of second posts: the look after a repost, and posts that left late (PROTOCOL 6)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from worker.adapters.ledger.rows import Dialect, as_rows, rows_from
from worker.adapters.ledger.tables import IS_OPEN
from worker.adapters.ledger.transaction import Transaction
from worker.core.model import SecondLook

#: s. A look that was taken and not reported is taken again after this.
TAKEN_S = 300


@dataclass(frozen=True, slots=True)
class TakeSecondLooks:
    """Take looks that are due."""

    limit: int


@dataclass(frozen=True, slots=True)
class HasOutstandingPost:
    """Ask whether a post is outstanding in a question's conversation."""

    question: int


@dataclass(frozen=True, slots=True)
class RecordSecondLook:
    """Record what a look found."""

    question: int
    duplicate_message_id: int | None


@dataclass(frozen=True, slots=True)
class PutOffSecondLook:
    """Take a look again later that could not be made."""

    question: int
    again_in_s: float


@dataclass(frozen=True, slots=True)
class RecordLatePost:
    """Record that a post left later than the grace allows."""

    question: int


class SecondLookStatements:
    """The statements, once per dialect."""

    def __init__(self, dialect: Dialect) -> None:
        numbers = rows_from(dialect, number="int")
        skip_locked = " for update skip locked" if dialect == "postgresql" else ""
        self.due = sa.text(
            "select number from questions where second_look_at <= :now"
            f" order by second_look_at limit :limit{skip_locked}"
        )
        self.put_off = sa.text(
            f"update questions set second_look_at = :until where number in (select r.number from {numbers})"
        )
        self.read = sa.text(
            "select q.number, q.source, q.event_id, q.content, q.session_id, q.first_baseline_message_id,"
            " q.message_id, c.project_id, c.external_id from questions q join conversations c"
            f" on c.number = q.conversation where q.number in (select r.number from {numbers})"
            # What is due has been put off by the same time: the order of the posts is left.
            " order by q.finished_at, q.number"
        )
        self.outstanding = sa.text(
            f"select 1 from questions where {IS_OPEN} and state = 'posting'"
            " and conversation = (select q.conversation from questions q where q.number = :question) limit 1"
        )
        self.record = sa.text(
            "update questions set second_look_at = null, duplicate_message_id = :duplicate_message_id"
            " where number = :question"
        )
        self.put_off_one = sa.text(
            "update questions set second_look_at = :until"
            " where number = :question and second_look_at is not null"
        )
        self.late = sa.text("update questions set late_post_at = :now where number = :question")


@dataclass(frozen=True, slots=True)
class SecondLooks:
    """Handlers."""

    statements: SecondLookStatements

    def take(self, transaction: Transaction, operations: Sequence[TakeSecondLooks]) -> list[list[SecondLook]]:
        """Take due looks for each operation."""
        return [self._take(transaction, operation.limit) for operation in operations]

    def has_outstanding_post(
        self, transaction: Transaction, operations: Sequence[HasOutstandingPost]
    ) -> list[bool]:
        """Tell for each."""
        return [
            transaction.scalar(self.statements.outstanding, question=operation.question) is not None
            for operation in operations
        ]

    def record(self, transaction: Transaction, operations: Sequence[RecordSecondLook]) -> list[None]:
        """Record each."""
        for operation in operations:
            transaction.run(
                self.statements.record,
                question=operation.question,
                duplicate_message_id=operation.duplicate_message_id,
            )
        return [None for _ in operations]

    def put_off(self, transaction: Transaction, operations: Sequence[PutOffSecondLook]) -> list[None]:
        """Put each off, if it is still to be made."""
        for operation in operations:
            transaction.run(
                self.statements.put_off_one,
                question=operation.question,
                until=transaction.now + operation.again_in_s,
            )
        return [None for _ in operations]

    def record_late(self, transaction: Transaction, operations: Sequence[RecordLatePost]) -> list[None]:
        """Record each; no lease is needed, because it only adds evidence."""
        for operation in operations:
            transaction.run(self.statements.late, question=operation.question, now=transaction.now)
        return [None for _ in operations]

    def _take(self, transaction: Transaction, limit: int) -> list[SecondLook]:
        due = transaction.rows(self.statements.due, now=transaction.now, limit=limit)
        if not due:
            return []
        order = [row["number"] for row in due]
        rows = as_rows([(number,) for number in order])
        transaction.run(self.statements.put_off, rows=rows, until=transaction.now + TAKEN_S)
        return [
            SecondLook(
                question=row["number"],
                source=row["source"],
                event_id=row["event_id"],
                text=json.loads(row["content"])["question"],
                project_id=row["project_id"],
                session_id=row["session_id"],
                external_id=row["external_id"],
                baseline_message_id=row["first_baseline_message_id"],
                message_id=row["message_id"],
            )
            for row in sorted(
                transaction.rows(self.statements.read, rows=rows), key=lambda row: order.index(row["number"])
            )
        ]
