"""Checkpoints of SQLite's log (WAL) beside the commits: a commit that makes one waits for the disk twice.

The log begins anew only when all of it was written back, and while somebody commits it never is. So a thread
writes back what there is, and the ledger's own thread, between two transactions, what came meanwhile.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress

import sqlalchemy as sa

#: Rows written from one checkpoint to the next: 400 questions, some 20 MB of log under load.
ROWS = 6000

THREAD = "askrelay-checkpoint"
_CHECKPOINT = "pragma wal_checkpoint(passive)"


class Checkpoints:
    """Keeps the log short; used by the thread that commits."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._writer: threading.Thread | None = None
        #: Rows that the connection had written at the last checkpoint.
        self._rows_before = 0

    def after_commit(self, connection: sqlite3.Connection) -> None:
        """Begin a checkpoint when enough was written, end it when the thread is through."""
        if self._writer is None:
            # A new connection counts from 0.
            self._rows_before = min(self._rows_before, connection.total_changes)
            if connection.total_changes - self._rows_before >= ROWS:
                self._writer = threading.Thread(target=self._write_back, name=THREAD)
                self._writer.start()
        elif not self._writer.is_alive():
            self._writer = None
            self._rows_before = connection.total_changes
            # Whatever is wrong with the disk, the next commit meets it too and says it.
            with suppress(sqlite3.Error):
                connection.execute(_CHECKPOINT)

    def close(self) -> None:
        """Wait for the thread."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None

    def _write_back(self) -> None:
        with suppress(sa.exc.DBAPIError), self._engine.connect() as connection:
            connection.exec_driver_sql(_CHECKPOINT)
            # What came during the first, which took long, so that little is left to the ledger's thread.
            connection.exec_driver_sql(_CHECKPOINT)
