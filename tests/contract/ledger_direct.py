"""The ledger's real handlers without its thread: one operation in a transaction, at a time the test sets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from tests.contract.ledger_cases import CONFIG, address
from tests.contract.ledger_model import CLAIMED
from worker.adapters.ledger.database import Database
from worker.adapters.ledger.ledger import make_handlers
from worker.adapters.ledger.tables import metadata
from worker.adapters.ledger.transaction import Transaction
from worker.core.errors import LedgerError

#: Epoch seconds. Later than the start of any database server, before which no lease counts as expired.
START = 4_000_000_000.0
WORKERS = ("worker-a", "worker-b")


@dataclass(slots=True)
class RewrittenTransaction(Transaction):
    """A transaction whose statements may be made wrong on purpose."""

    rewrites: Mapping[str, str] = field(default_factory=dict)

    def run(self, statement: sa.TextClause, **parameters: Any) -> int:
        """Execute a statement as it was rewritten."""
        return Transaction.run(self, self._rewritten(statement), **parameters)

    def rows(self, statement: sa.TextClause, **parameters: Any) -> list[Mapping[str, Any]]:
        """Execute a statement as it was rewritten and return its rows."""
        return [dict(row) for row in Transaction.rows(self, self._rewritten(statement), **parameters)]

    def scalar(self, statement: sa.TextClause, **parameters: Any) -> Any:
        """Execute a statement as it was rewritten and return its value."""
        return Transaction.scalar(self, self._rewritten(statement), **parameters)

    def _rewritten(self, statement: sa.TextClause) -> sa.TextClause:
        text = statement.text
        for right, wrong in self.rewrites.items():
            text = text.replace(right, wrong)
        return sa.text(text) if self.rewrites else statement


class DirectLedger:
    """A ledger and the workers that share it."""

    def __init__(self, url: str, rewrites: Mapping[str, str] | None = None) -> None:
        self.now = START
        self._rewrites = rewrites or {}
        self._database = Database(address(url))
        self._handlers = {
            worker: make_handlers(replace(CONFIG, worker_id=worker), self._database.dialect)
            for worker in WORKERS
        }

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def empty(self) -> None:
        """Forget everything and go back to the start."""
        self.now = START
        with self._transaction() as transaction:
            for table in metadata.sorted_tables:
                if table.name != "identity":
                    transaction.run(sa.text(f"delete from {table.name}"))

    def open_gate(self) -> None:
        """Do what a person does who mends the reason of a halt."""
        with self._transaction() as transaction:
            transaction.run(sa.text("delete from gates"))

    def do(self, worker: str, operation: Any) -> Any:
        """Return the operation's result, or the code of its error."""
        try:
            with self._transaction() as transaction:
                (result,) = self._handlers[worker][type(operation)](transaction, [operation])
        except sa.exc.IntegrityError:
            return CLAIMED
        return result.code if isinstance(result, LedgerError) else result

    def number_of(self, event_id: str) -> int:
        """Return the arrival number of a question."""
        (row,) = self._read("select number from questions where event_id = :event_id", event_id=event_id)
        number: int = row["number"]
        return number

    def conversations(self) -> dict[str, tuple[Any, ...]]:
        """Return what the tables say of each, as the model says it."""
        return {
            row["contact_id"]: (
                row["lease_token"],
                row["owner"],
                row["lease_until"],
                row["due_at"],
                row["session_id"],
                row["highest_message_id"],
                row["create_intent_at"] is not None,
                json.loads(row["forgotten_session_ids"]),
            )
            for row in self._read("select * from conversations")
        }

    def questions(self) -> list[tuple[Any, ...]]:
        """Return what the tables say of each, in arrival order."""
        return [
            (
                row["event_id"],
                json.loads(row["content"])["question"],
                row["state"],
                row["attempts"],
                row["posts"],
                row["looks"],
                bool(row["has_ended"]),
                row["expired_leases"],
                None if row["message_id"] is None else (row["session_id"], row["message_id"]),
            )
            for row in self._read("select * from questions order by number")
        ]

    def replies(self) -> list[tuple[Any, ...]]:
        """Return what the tables say of each, in the order in which they were recorded."""
        return [
            (
                json.loads(row["headers"])["question_id"],
                row["state"],
                row["owner"],
                row["due_at"],
                row["tries"],
            )
            for row in self._read("select * from replies order by number")
        ]

    def _read(self, statement: str, **parameters: Any) -> list[Mapping[str, Any]]:
        with self._transaction() as transaction:
            return transaction.rows(sa.text(statement), **parameters)

    @contextmanager
    def _transaction(self) -> Iterator[RewrittenTransaction]:
        with self._database.transaction() as begun:
            yield RewrittenTransaction(
                begun.connection, begun.dialect, self.now, begun.mark, rewrites=self._rewrites
            )
