"""Checkpoints of SQLite's log (WAL) beside the commits: a commit that makes one waits for the disk twice.

The log begins anew only when all of it was written back, and while somebody commits it never is. So a thread
writes back what there is, and the ledger's own thread, between two transactions, what came meanwhile.

SQLite before 3.51.3 (3.50.7, 3.44.6) has a race: a checkpoint that begins when all is written back, just as
another connection commits, may have later ones leave pages out (sqlite.org/wal.html#walresetbug). Here a
thread makes one checkpoint, always with something to write back: commits came since the last, and in them no
checkpoint is made.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress

import sqlalchemy as sa

#: Rows written from one checkpoint to the next: some 700 questions, and 20 MB of log under load.
ROWS = 6000

THREAD = "askrelay-checkpoint"
_CHECKPOINT = "pragma wal_checkpoint(passive)"


class Checkpoints:
    """Keeps the log of one connection short; used by the thread that commits."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sqlite3.Connection | None = None
        self._writer: threading.Thread | None = None
        #: Rows that the connection had written at the last checkpoint.
        self._rows_before = 0

    def after_commit(self, connection: sqlite3.Connection) -> None:
        """Begin a checkpoint when enough was written, end it when the thread is through."""
        if connection is not self._connection:
            self._connection, self._rows_before = connection, 0
            connection.execute("pragma wal_autocheckpoint=0")
        if self._writer is None:
            if connection.total_changes - self._rows_before >= ROWS:
                self._begin(connection)
        elif not self._writer.is_alive():
            self._writer = None
            self._end(connection)

    def close(self) -> None:
        """Wait for the thread."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None

    def _begin(self, connection: sqlite3.Connection) -> None:
        writer = threading.Thread(target=self._write_back, name=THREAD, daemon=True)
        try:
            writer.start()
        except RuntimeError:
            # The system has no thread to give.
            self._end(connection)
        else:
            self._writer = writer

    def _end(self, connection: sqlite3.Connection) -> None:
        self._rows_before = connection.total_changes
        connection.execute(_CHECKPOINT)

    def _write_back(self) -> None:
        with suppress(sa.exc.DBAPIError), self._engine.connect() as connection:
            connection.exec_driver_sql(_CHECKPOINT)
