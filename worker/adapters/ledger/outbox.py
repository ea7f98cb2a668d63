"""Replies on their way to the bus (PROTOCOL 8)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from worker.adapters.ledger.rows import Dialect, as_rows, rows_from
from worker.adapters.ledger.tables import IS_UNPUBLISHED, IS_UNPUBLISHED_BY_NUMBER
from worker.adapters.ledger.transaction import Transaction
from worker.core.errors import ReplyUnroutable
from worker.core.model import OutboxReply, Reply

#: s. Pauses of a reply the broker did not take: doubling from the first to the second.
PAUSES_S = (1.0, 300.0)
#: s. Without a confirm the broker was most likely away: once it is back, its replies must not sleep on.
NOT_CONFIRMED_LONGEST_S = 10.0


@dataclass(frozen=True, slots=True)
class TakeReplies:
    """Take over due replies."""

    limit: int


@dataclass(frozen=True, slots=True)
class MarkPublished:
    """Record confirms."""

    numbers: Sequence[int]


@dataclass(frozen=True, slots=True)
class MarkUnpublished:
    """Record that the broker did not take replies."""

    numbers: Sequence[int]
    reason: str


class OutboxStatements:
    """The statements, once per dialect."""

    def __init__(self, dialect: Dialect) -> None:
        numbers = rows_from(dialect, number="int")
        skip_locked = " for update skip locked" if dialect == "postgresql" else ""
        # One that waits behind an older one of its conversation is found when that one is published.
        self.due = sa.text(
            "select number from replies where due_at <= :now and not exists (select 1 from replies older"
            f" where older.conversation = replies.conversation and older.{IS_UNPUBLISHED}"
            " and older.state = 'waiting'"
            " and older.number < replies.number and replies.state = 'waiting')"
            f" order by due_at limit :limit{skip_locked}"
        )
        self.take = sa.text(
            f"update replies set owner = :owner, due_at = :until where {IS_UNPUBLISHED_BY_NUMBER}"
            f" and number in (select r.number from {numbers})"
            " returning number, event_id, kind, body, headers, tries"
        )
        self.next_due = sa.text("select min(due_at) from replies where due_at > :now")
        self.publish = sa.text(
            "update replies set state = 'published', due_at = null, owner = null, published_at = :now,"
            f" code = null where number in (select r.number from {numbers}) returning conversation"
        )
        # A look for each conversation: in one join the planner reads the whole partial index (tables.py).
        self.unblocked = sa.text(
            "select behind.number from (select (select number from replies where conversation = r.number"
            f" and {IS_UNPUBLISHED} and state = 'waiting' order by number limit 1) as number"
            f" from {numbers}) as behind where behind.number is not null"
        )
        power = "(1 << min(tries, 16))" if dialect == "sqlite" else "(1 << least(tries, 16))"
        least = "min" if dialect == "sqlite" else "least"
        self.put_off = sa.text(
            f"update replies set due_at = :now + {least}(:longest, :shortest * {power}), tries = tries + 1,"
            " owner = null, code = :reason,"
            " state = case when :is_returned then 'aside' else state end"
            f" where {IS_UNPUBLISHED_BY_NUMBER} and number in (select r.number from {numbers})"
        )
        self.free_behind = sa.text(
            "update replies set due_at = :now where number in (select (select waiting.number"
            " from replies waiting where waiting.conversation = aside.conversation"
            f" and waiting.{IS_UNPUBLISHED} and waiting.state = 'waiting' order by waiting.number limit 1)"
            f" from {numbers} join replies aside on aside.number = r.number)"
        )


@dataclass(frozen=True, slots=True)
class Outbox:
    """Handlers of the relay's operations."""

    statements: OutboxStatements
    owner: str
    #: s. A reply that was taken may be published by its owner alone for so long.
    owned_s: float

    def take(
        self, transaction: Transaction, operations: Sequence[TakeReplies]
    ) -> list[tuple[list[OutboxReply], float | None]]:
        """Take over, and say when the next is due."""
        return [self._take(transaction, operation.limit) for operation in operations]

    def mark_published(
        self, transaction: Transaction, operations: Sequence[MarkPublished]
    ) -> list[list[OutboxReply]]:
        """Mark, and hand what waited behind them to the first operation's caller."""
        numbers = sorted({number for operation in operations for number in operation.numbers})
        marked = transaction.rows(self.statements.publish, rows=_numbers(numbers), now=transaction.now)
        conversations = sorted({row["conversation"] for row in marked})
        behind = transaction.rows(self.statements.unblocked, rows=_numbers(conversations))
        ready = self._own(transaction, [row["number"] for row in behind]) if behind else []
        return [ready, *([] for _ in operations[1:])]

    def mark_unpublished(self, transaction: Transaction, operations: Sequence[MarkUnpublished]) -> list[None]:
        """Put off; one that was returned is set aside, so that it holds up no other."""
        for operation in operations:
            rows = _numbers(operation.numbers)
            is_returned = operation.reason == ReplyUnroutable.code
            transaction.run(
                self.statements.put_off,
                rows=rows,
                now=transaction.now,
                shortest=PAUSES_S[0],
                longest=PAUSES_S[1] if is_returned else NOT_CONFIRMED_LONGEST_S,
                reason=operation.reason,
                is_returned=is_returned,
            )
            if is_returned:
                transaction.run(self.statements.free_behind, rows=rows, now=transaction.now)
        return [None for _ in operations]

    def _take(self, transaction: Transaction, limit: int) -> tuple[list[OutboxReply], float | None]:
        due = [
            row["number"] for row in transaction.rows(self.statements.due, now=transaction.now, limit=limit)
        ]
        taken = self._own(transaction, due) if due else []
        next_due = transaction.scalar(self.statements.next_due, now=transaction.now)
        return taken, None if next_due is None else next_due - transaction.now

    def _own(self, transaction: Transaction, numbers: Sequence[int]) -> list[OutboxReply]:
        rows = transaction.rows(
            self.statements.take,
            rows=_numbers(numbers),
            owner=self.owner,
            until=transaction.now + self.owned_s,
        )
        return [reply_of(row) for row in sorted(rows, key=lambda row: int(row["number"]))]


def reply_of(row: Mapping[str, Any]) -> OutboxReply:
    """Read a row of replies."""
    headers = json.loads(row["headers"])
    return OutboxReply(
        row["number"],
        Reply(
            event_id=row["event_id"],
            kind=row["kind"],
            body=row["body"].encode("utf-8"),
            question_id=headers["question_id"],
            traceparent=headers["traceparent"],
            tracestate=headers["tracestate"],
        ),
        row["tries"],
    )


def _numbers(numbers: Sequence[int]) -> str:
    return as_rows([(number,) for number in numbers])
