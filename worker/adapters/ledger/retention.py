"""What the sweeper does in the tables, in small steps (PROTOCOL 3 and DESIGN 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from worker.adapters.ledger.daily_limit import DAY_S, DailyLimit
from worker.adapters.ledger.database import Transaction
from worker.adapters.ledger.rows import Dialect, as_rows, rows_from
from worker.core.ports import Swept

#: Questions erased in one step: a transaction of some milliseconds.
STEP = 500
#: s. Due for so long and held by nobody: a ring was lost.
OVERDUE_S = 5


@dataclass(frozen=True, slots=True)
class Sweep:
    """One step."""


class RetentionStatements:
    """The statements, once per dialect."""

    def __init__(self, dialect: Dialect) -> None:
        numbers = rows_from(dialect, number="int")
        self.overdue = sa.text(
            "select count(*) from (select 1 from conversations where due_at < :before limit 1000) as late"
        )
        # A reply that no queue took yet is still owed.
        self.old = sa.text(
            "select number, event_hash from questions q where finished_at < :before and not exists"
            " (select 1 from replies r where r.question = q.number and r.state <> 'published')"
            " order by finished_at limit :limit"
        )
        self.remember = sa.text(
            "insert into erased (event_hash, finished_at) select q.event_hash, q.finished_at from questions q"
            f" where q.number in (select r.number from {numbers}) on conflict (event_hash) do nothing"
        )
        self.erase_replies = sa.text(
            f"delete from replies where question in (select r.number from {numbers})"
        )
        self.erase_questions = sa.text(
            f"delete from questions where number in (select r.number from {numbers})"
        )
        self.forget = sa.text(
            "delete from erased where event_hash in (select event_hash from erased"
            " where finished_at < :before limit :limit)"
        )
        self.seen = sa.text(
            "insert into workers (worker_id, started_at, seen_at, version)"
            " values (:worker_id, :now, :now, :version)"
            " on conflict (worker_id) do update set seen_at = :now"
        )
        self.forget_workers = sa.text("delete from workers where seen_at < :before")
        # Of processes that are gone: one that lives writes its own with every transaction.
        self.forget_marks = sa.text("delete from commit_marks where marked_at < :before")


@dataclass(frozen=True, slots=True)
class Retention:
    """Handler of the sweeper's step."""

    statements: RetentionStatements
    limit: DailyLimit
    worker_id: str
    version: str
    keep_s: float
    dedup_s: float

    def sweep(self, transaction: Transaction, operations: Sequence[Sweep]) -> list[Swept]:
        """Count what is overdue, erase what is old, and say that this worker lives."""
        now = transaction.now
        transaction.run(self.statements.seen, worker_id=self.worker_id, now=now, version=self.version)
        transaction.run(self.statements.forget_workers, before=now - DAY_S)
        transaction.run(self.statements.forget_marks, before=now - DAY_S)
        overdue = transaction.run(self.statements.overdue, before=now - OVERDUE_S).scalar_one()
        old = transaction.rows(self.statements.old, before=now - self.keep_s, limit=STEP)
        if old:
            rows = as_rows([(row["number"],) for row in old])
            for statement in (
                self.statements.remember,
                self.statements.erase_replies,
                self.statements.erase_questions,
            ):
                transaction.run(statement, rows=rows)
        self.limit.forget(transaction)
        transaction.run(self.statements.forget, before=now - self.dedup_s, limit=STEP)
        return [Swept(overdue=overdue, erased=len(old)) for _ in operations]
