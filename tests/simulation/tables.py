"""The ledger's real tables and statements on one in-memory SQLite connection.

SQLAlchemy makes the tables; begin, commit and rollback go to sqlite3 directly, as the statements do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from worker.adapters.ledger.tables import metadata
from worker.adapters.ledger.transaction import Transaction


class Tables:
    """One database for all seeds of an operating-system process, emptied in between."""

    def __init__(self) -> None:
        self.raw = sqlite3.connect(":memory:", isolation_level=None, cached_statements=512)
        engine = sa.create_engine(
            "sqlite://", paramstyle="named", creator=lambda: self.raw, poolclass=sa.StaticPool
        )
        metadata.create_all(engine)
        self.connection = engine.connect()

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
            yield Transaction(self._tables.connection, "sqlite", self._now())
        except BaseException:
            raw.execute("rollback")
            raise
        raw.execute("commit")
