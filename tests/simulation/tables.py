"""The ledger's real tables and statements on one in-memory SQLite connection.

SQLAlchemy makes the tables; the statements go to sqlite3 directly, which is what lets thousands of seeds run
in a minute. Only its results are imitated, and its IntegrityError.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import sqlalchemy as sa

from worker.adapters.ledger.database import Transaction
from worker.adapters.ledger.tables import metadata


class Rows:
    """What a statement returned."""

    def __init__(self, rows: list[sqlite3.Row], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def mappings(self) -> Self:
        return self

    def all(self) -> list[sqlite3.Row]:
        return self._rows

    def scalar(self) -> Any:
        return self._rows[0][0] if self._rows else None

    def scalar_one(self) -> Any:
        (row,) = self._rows
        return row[0]


class Connection:
    """The part of sa.Connection that the ledger's statements use."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    def execute(self, statement: sa.TextClause, parameters: Mapping[str, Any]) -> Rows:
        try:
            cursor = self._raw.execute(statement.text, parameters)
            return Rows(cursor.fetchall(), cursor.rowcount)
        except sqlite3.IntegrityError as error:
            raise sa.exc.IntegrityError(statement.text, None, error) from error


class Tables:
    """One database for all seeds of an operating-system process, emptied in between."""

    def __init__(self) -> None:
        self.raw = sqlite3.connect(":memory:", isolation_level=None, cached_statements=512)
        self.raw.row_factory = sqlite3.Row
        metadata.create_all(sa.create_engine("sqlite://", creator=lambda: self.raw, poolclass=sa.StaticPool))
        self.connection = Connection(self.raw)

    def empty(self) -> None:
        for table in metadata.sorted_tables:
            self.raw.execute(f"delete from {table.name}")


class SimDatabase:
    """What GroupCommit needs of a Database: transactions at one instant of virtual time."""

    dialect = "sqlite"

    def __init__(self, tables: Tables, now: Callable[[], float]) -> None:
        self._tables = tables
        self._now = now

    def is_connected(self) -> bool:
        return True

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        raw = self._tables.raw
        raw.execute("begin")
        try:
            yield Transaction(self._tables.connection, "sqlite", self._now(), "")
        except BaseException:
            raw.execute("rollback")
            raise
        raw.execute("commit")
