"""What a person does to the tables by hand."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa

from worker.adapters.ledger.database import Database
from worker.adapters.ledger.tables import IS_OPEN
from worker.core.model import digest_of

_FIND = sa.text("select conversation as number from questions where event_hash = :event_hash")
_UNBLOCK = sa.text(
    "update conversations set is_blocked = false, due_at = case when (select q.number from questions q"
    f" where q.conversation = conversations.number and q.{IS_OPEN} limit 1) is not null then :now end"
    " where number = :number and is_blocked"
)


def unblock(url: str, source: str, event_id: str) -> Literal["unblocked", "not_blocked", "unknown"]:
    """Let the conversation of a question go on that waits for a person (ASKRELAY_AFTER_FAILURE=block)."""
    database = Database(url)
    try:
        with database.transaction() as transaction:
            rows = transaction.rows(_FIND, event_hash=digest_of(source, event_id))
            if not rows:
                return "unknown"
            is_changed = transaction.run(_UNBLOCK, number=rows[0]["number"], now=transaction.now)
            return "unblocked" if is_changed else "not_blocked"
    finally:
        database.close()
