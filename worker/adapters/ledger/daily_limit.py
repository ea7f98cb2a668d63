"""Counting a contact's questions of one day, to stop two machines from answering each other for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from worker.adapters.ledger.rows import Dialect, as_rows, rows_from
from worker.adapters.ledger.transaction import Transaction
from worker.core.model import AcceptedQuestion, digest_of

DAY_S = 86_400
#: Counts forgotten in one step of the sweeper.
FORGOTTEN = 2000


class DailyLimitStatements:
    """The statements, once per dialect."""

    def __init__(self, dialect: Dialect) -> None:
        counts = rows_from(dialect, contact="hash", asked="int")
        hashes = rows_from(dialect, event_hash="hash")
        self.add = sa.text(
            "insert into contact_days (contact, day, asked) select r.contact, :day, r.asked"
            f" from {counts} where true order by r.contact"
            " on conflict (contact, day) do update set asked = contact_days.asked + excluded.asked"
            " returning contact, asked"
        )
        self.mark = sa.text(
            "update questions set is_over_limit = true"
            f" where event_hash in (select r.event_hash from {hashes})"
        )
        self.forget = sa.text(
            "delete from contact_days where (contact, day) in"
            " (select contact, day from contact_days where day < :day order by day limit :limit)"
        )


@dataclass(frozen=True, slots=True)
class DailyLimit:
    """Questions that one contact may ask on one day (UTC, by the ledger's clock); None is no limit."""

    statements: DailyLimitStatements
    limit: int | None

    def count(self, transaction: Transaction, fresh: Sequence[AcceptedQuestion]) -> None:
        """Count new questions and mark those above the limit; their turns end as contact_limit."""
        if self.limit is None or not fresh:
            return
        contacts = [digest_of(question.route, question.contact_id) for question in fresh]
        added = Counter(contacts)
        rows = transaction.rows(
            self.statements.add, rows=as_rows(list(added.items())), day=int(transaction.now // DAY_S)
        )
        so_far = {row["contact"]: row["asked"] - added[row["contact"]] for row in rows}
        over = []
        for contact, question in zip(contacts, fresh, strict=True):
            so_far[contact] += 1
            if so_far[contact] > self.limit:
                over.append((question.event_hash,))
        if over:
            transaction.run(self.statements.mark, rows=as_rows(over))

    def forget(self, transaction: Transaction) -> None:
        """Delete some counts of days gone by, whether there still is a limit or not."""
        transaction.run(self.statements.forget, day=int(transaction.now // DAY_S) - 1, limit=FORGOTTEN)
