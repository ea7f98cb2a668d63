"""One open transaction: statements go to the driver as they are.

SQLAlchemy makes the tables, the connections and the errors. Its way to run a text costs twice what the driver
and the database take together (26 us beside 14 us on SQLite), and a turn is made of such statements. So are
the begin and the commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

import sqlalchemy as sa

from worker.adapters.ledger.rows import Dialect

Row = Mapping[str, Any]

_BEGIN = sa.text("begin immediate")


@cache
def _row_factories(dialect: Dialect) -> tuple[Any, Any]:
    """Return what makes rows by position and by name; psycopg is loaded only where it is used."""
    if dialect == "sqlite":
        return None, sqlite3.Row
    from psycopg.rows import dict_row, tuple_row  # noqa: PLC0415 - 9 MB that a SQLite ledger need not pay

    return tuple_row, dict_row


@lru_cache(maxsize=1024)
def _text_of(statement: sa.TextClause, dialect: sa.Dialect) -> str:
    """Return a statement as its driver wants it: ``:name`` for sqlite3, ``%(name)s`` for psycopg."""
    return str(statement.compile(dialect=dialect))


@dataclass(slots=True)
class Transaction:
    """An open transaction and the ledger's time at its beginning.

    A statement that fails raises SQLAlchemy's error for it, without its parameters: they are what contacts
    wrote.
    """

    connection: sa.Connection
    dialect: Dialect
    now: float = 0.0
    #: What was_committed is asked for; 0 where commits are not marked.
    mark: int = 0
    #: Called once the transaction is committed, in the ledger's thread.
    after_commit: list[Callable[[], None]] = field(default_factory=list)
    #: The driver's own connection.
    _raw: Any = field(init=False)

    def __post_init__(self) -> None:
        self._raw = self.connection.connection.driver_connection

    def run(self, statement: sa.TextClause, **parameters: Any) -> int:
        """Execute a statement and return how many rows it changed."""
        count: int = self._execute(statement, parameters, is_by_name=False).rowcount
        return count

    def rows(self, statement: sa.TextClause, **parameters: Any) -> list[Row]:
        """Execute a statement and return its rows by column name."""
        rows: list[Row] = self._execute(statement, parameters, is_by_name=True).fetchall()
        return rows

    def scalar(self, statement: sa.TextClause, **parameters: Any) -> Any:
        """Execute a statement and return the first column of its first row; None when there is none."""
        row = self._execute(statement, parameters, is_by_name=False).fetchone()
        return None if row is None else row[0]

    def begin(self) -> None:
        """Begin; PostgreSQL's driver does by itself at the first statement."""
        if self.dialect == "sqlite":
            # IMMEDIATE: two processes that both read first and write later would deadlock.
            self._execute(_BEGIN, {}, is_by_name=False)

    def commit(self) -> None:
        """Commit; an error is SQLAlchemy's."""
        self._end(self._raw.commit)

    def rollback(self) -> None:
        """Take everything back; an error is SQLAlchemy's."""
        self._end(self._raw.rollback)

    def _end(self, ending: Callable[[], None]) -> None:
        try:
            ending()
        except self._driver_error as error:
            raise self._wrapped(error) from error

    def _execute(self, statement: sa.TextClause, parameters: Mapping[str, Any], *, is_by_name: bool) -> Any:
        text = _text_of(statement, self.connection.dialect)
        try:
            cursor = self._raw.cursor()
            cursor.row_factory = _row_factories(self.dialect)[is_by_name]
            return cursor.execute(text, parameters)
        except self._driver_error as error:
            raise self._wrapped(error, text) from error

    @property
    def _driver_error(self) -> Any:
        return self.connection.dialect.loaded_dbapi.Error

    def _wrapped(self, error: Any, text: str | None = None) -> Any:
        # Whatever code it came with: after a connection that is gone, nobody knows what became of a commit.
        is_gone = self.connection.dialect.is_disconnect(error, self._raw, None)
        return sa.exc.DBAPIError.instance(
            text, None, error, self._driver_error, hide_parameters=True, connection_invalidated=is_gone
        )
