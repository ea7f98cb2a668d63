"""What the sweeper does in the tables, in small steps (PROTOCOL 3 and DESIGN 4.3).

All that grows has its end here: contents after ``ASKRELAY_KEEP_DAYS``, the hashes that are left of them after
``ASKRELAY_DEDUP_DAYS``, and conversations that were quiet for as long. Gates stay: one for each API key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from worker.adapters.ledger.daily_limit import DAY_S, DailyLimit
from worker.adapters.ledger.rows import Dialect, as_rows, rows_from
from worker.adapters.ledger.tables import IS_OPEN, IS_UNPUBLISHED
from worker.adapters.ledger.transaction import Row, Transaction
from worker.core.ports import Swept

#: Questions looked at in one step: a transaction of some milliseconds.
STEP = 500
#: Hashes and conversations forgotten in one step. Each is a row that nothing else has to be done about.
FORGOTTEN = 2000
#: s. Due for so long and held by nobody: a ring was lost.
OVERDUE_S = 5


@dataclass(frozen=True, slots=True)
class Sweep:
    """One step."""


class RetentionStatements:
    """The statements, once per dialect."""

    def __init__(self, dialect: Dialect) -> None:
        numbers = rows_from(dialect, number="int")
        # Several workers sweep side by side: each takes what no other has in hand.
        skip_locked = " for update skip locked" if dialect == "postgresql" else ""
        self.overdue = sa.text(
            "select count(*) from (select 1 from conversations where due_at < :before limit 1000) as late"
        )
        # A reply that no queue took yet is still owed.
        self.old = sa.text(
            "select q.number, q.finished_at, (select r.number from replies r where r.question = q.number"
            " and coalesce(r.state, '') <> 'published' limit 1) is not null as is_owed from questions q"
            " where q.finished_at > :after and q.finished_at < :before"
            f" order by q.finished_at limit :limit{skip_locked}"
        )
        self.remember = sa.text(
            "insert into erased (event_hash, finished_at) select q.event_hash, q.finished_at from questions q"
            f" where q.number in (select r.number from {numbers}) on conflict (event_hash) do nothing"
        )
        self.note_quiet = sa.text(
            "update conversations set quiet_since = :now where number in (select q.conversation"
            f" from questions q where q.number in (select r.number from {numbers}))"
        )
        self.erase_replies = sa.text(
            f"delete from replies where question in (select r.number from {numbers})"
        )
        # The copies keep their messages: whoever writes them next has to read them first.
        self.note_partial = sa.text(
            "update mirrors set is_partial = true where number in (select a.mirror from mirror_answers a"
            f" where a.question in (select r.number from {numbers}))"
        )
        self.erase_answers = sa.text(
            f"delete from mirror_answers where question in (select r.number from {numbers})"
        )
        self.erase_ratings = sa.text(
            f"delete from ratings where question in (select r.number from {numbers})"
        )
        self.forget_ratings = sa.text(
            "delete from rating_events where event_hash in (select event_hash from rating_events"
            f" where received_at < :before order by received_at limit :limit{skip_locked})"
        )
        self.erase_questions = sa.text(
            f"delete from questions where number in (select r.number from {numbers})"
        )
        self.forget = sa.text(
            "delete from erased where event_hash in (select event_hash from erased"
            f" where finished_at < :before order by finished_at limit :limit{skip_locked})"
        )
        self.forget_mirrors = sa.text(
            "delete from mirrors where number in (select number from mirrors"
            f" where answered_at < :before order by answered_at limit :limit{skip_locked})"
        )
        # One statement: a question that intake accepts meanwhile makes its conversation due, and PostgreSQL
        # looks at a row again that somebody changed. The API keeps the conversation, and a contact who comes
        # back is found there by the name.
        self.forget_quiet = sa.text(
            "delete from conversations where number in (select number from conversations"
            " where quiet_since < :before order by quiet_since limit :limit)"
            " and quiet_since < :before and due_at is null and lease_until = 0 and heal_at is null"
            " and not is_blocked and (select q.number from questions q"
            f" where q.conversation = conversations.number and q.{IS_OPEN} limit 1) is null"
            " and (select p.number from replies p"
            f" where p.conversation = conversations.number and p.{IS_UNPUBLISHED} limit 1) is null"
        )
        self.seen = sa.text(
            "insert into workers (worker_id, started_at, seen_at, version)"
            " values (:worker_id, :now, :now, :version)"
            " on conflict (worker_id) do update set seen_at = :now"
        )
        self.forget_workers = sa.text("delete from workers where seen_at < :before")
        # Of processes that are gone: one that lives writes its own with every transaction.
        self.forget_marks = sa.text("delete from commit_marks where marked_at < :before")


@dataclass(slots=True)
class Retention:
    """Handler of the sweeper's step."""

    statements: RetentionStatements
    limit: DailyLimit
    worker_id: str
    version: str
    keep_s: float
    dedup_s: float
    #: Where the next step begins, by the time at which questions finished. Those whose reply is still owed
    #: stay, and a step that began with them each time would one day look at nothing else.
    _after: float = field(default=0.0, init=False)

    def sweep(self, transaction: Transaction, operations: Sequence[Sweep]) -> list[Swept]:
        """Count what is overdue, erase what is old, and say that this worker lives."""
        now = transaction.now
        transaction.run(self.statements.seen, worker_id=self.worker_id, now=now, version=self.version)
        transaction.run(self.statements.forget_workers, before=now - DAY_S)
        transaction.run(self.statements.forget_marks, before=now - DAY_S)
        overdue = transaction.scalar(self.statements.overdue, before=now - OVERDUE_S)
        is_first = not self._after
        old = transaction.rows(self.statements.old, after=self._after, before=now - self.keep_s, limit=STEP)
        erased = self._erase(transaction, old)
        self._after = old[-1]["finished_at"] if len(old) == STEP else 0.0
        self.limit.forget(transaction)
        transaction.run(self.statements.forget, before=now - self.dedup_s, limit=FORGOTTEN)
        if is_first and not self._after:
            transaction.run(self.statements.forget_ratings, before=now - self.dedup_s, limit=FORGOTTEN)
            transaction.run(self.statements.forget_mirrors, before=now - self.dedup_s, limit=FORGOTTEN)
            # Nothing old is left, so nothing is kept of what a quiet conversation was asked.
            transaction.run(self.statements.forget_quiet, before=now - self.dedup_s, limit=FORGOTTEN)
        return [Swept(overdue=overdue, erased=erased) for _ in operations]

    def _erase(self, transaction: Transaction, old: Sequence[Row]) -> int:
        """Leave hashes of those questions whose reply is not owed any more; returns how many."""
        numbers = [(row["number"],) for row in old if not row["is_owed"]]
        if numbers:
            rows = as_rows(numbers)
            transaction.run(self.statements.remember, rows=rows)
            transaction.run(self.statements.note_quiet, rows=rows, now=transaction.now)
            transaction.run(self.statements.erase_ratings, rows=rows)
            transaction.run(self.statements.note_partial, rows=rows)
            transaction.run(self.statements.erase_answers, rows=rows)
            transaction.run(self.statements.erase_replies, rows=rows)
            transaction.run(self.statements.erase_questions, rows=rows)
        return len(numbers)
