"""Connections to SQLite and PostgreSQL, and the ledger's clock."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from worker.adapters.ledger.checkpoints import Checkpoints
from worker.adapters.ledger.rows import Dialect
from worker.adapters.ledger.session import set_session
from worker.adapters.ledger.transaction import Transaction
from worker.core.errors import LedgerUnavailable

#: s. How long a statement waits for a lock before the batch is taken apart (PROTOCOL 3).
LOCK_TIMEOUT_S = 2
#: s. SQLite: how long to wait for another process's transaction.
SQLITE_BUSY_S = 10
#: s. A process that is stopped in the middle of a transaction must not hold the fleet's locks for longer.
IDLE_IN_TRANSACTION_S = 10
#: s. A database host that vanished is noticed after this.
TCP_USER_TIMEOUT_S = 10
#: s. While an answer is waited for nothing of ours is unacknowledged: only probes notice then that a host is
#: gone, and the system's own begin after two hours.
KEEPALIVE_S = 5

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boottime() -> float:
    """Seconds since boot, going on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Tell this boot of the machine from every other."""
    return _BOOT_ID.read_text().strip()


class CommitUnknown(Exception):
    """COMMIT was sent and no answer came."""

    def __init__(self, mark: int) -> None:
        super().__init__(mark)
        self.mark = mark


def reason_of(error: LedgerUnavailable) -> str:
    """Say why the database is away: the first line of what its driver said, where that is about the server.

    Other errors of drivers repeat parameters, and so contents.
    """
    origin = getattr(error.__cause__, "orig", None)
    if type(origin).__name__ != "OperationalError":
        return ""
    return (str(origin).splitlines() or [""])[0].strip()


class Database:
    """One database, one connection at a time; used by one thread.

    ``marks_commits``: every transaction on PostgreSQL writes a mark, by which ``was_committed`` tells what
    became of it.
    """

    def __init__(self, url: str, *, marks_commits: bool = False) -> None:
        self.url = sa.make_url(url)
        self.dialect: Dialect = "sqlite" if self.url.get_backend_name() == "sqlite" else "postgresql"
        self.engine = _sqlite_engine(self.url) if self.dialect == "sqlite" else _postgresql_engine(self.url)
        self._connection: sa.Connection | None = None
        self._checkpoints = Checkpoints(self.engine) if self.dialect == "sqlite" else None
        self._clock_base: float | None = None
        self._marks_commits = marks_commits and self.dialect == "postgresql"
        #: Names the row of marks: nobody else's, so that its lock is never waited for.
        self._marker = secrets.token_hex(8)
        self._mark = 0

    def is_connected(self) -> bool:
        """Tell whether a connection stands."""
        return self._connection is not None

    def disconnect(self) -> None:
        """Drop the connection, whatever state it is in."""
        connection, self._connection = self._connection, None
        self._clock_base = None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def close(self) -> None:
        """Close the connection in order."""
        if self._checkpoints is not None:
            self._checkpoints.close()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self.engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Run one transaction.

        Raises LedgerUnavailable when nothing of it was committed because the database is away, CommitUnknown
        when COMMIT was sent and no answer came, and SQLAlchemy's error when a statement was refused.
        """
        connection = self._connect()
        transaction = Transaction(connection, self.dialect)
        try:
            transaction.begin()
            self._start(transaction)
            yield transaction
        except BaseException as error:
            if self._is_lost(error):
                self.disconnect()
                raise LedgerUnavailable from error
            # What a first transaction after a boot wrote about the clock is rolled back with it.
            self._clock_base = None
            try:
                transaction.rollback()
            except sa.exc.DBAPIError:
                self.disconnect()
            raise
        try:
            transaction.commit()
        except sa.exc.DBAPIError as error:
            is_lost = self._is_lost(error)
            if is_lost and self.dialect == "postgresql":
                self.disconnect()
                raise CommitUnknown(transaction.mark) from error
            with suppress(sa.exc.DBAPIError):
                transaction.rollback()
            self.disconnect()
            raise LedgerUnavailable from error

    def between_transactions(self) -> None:
        """Do what would hold up a transaction, if it is time for it; the thread that runs them calls it."""
        if self._checkpoints is not None and self._connection is not None:
            driver: Any = self._connection.connection.driver_connection
            # Like one in a commit, a checkpoint that fails is no error: all is in the log, for the next one.
            with suppress(sqlite3.Error):
                self._checkpoints.after_commit(driver)

    def was_committed(self, mark: int) -> bool:
        """Tell whether the last transaction, which had this mark, was committed.

        The number of the transaction would not tell: after a crash PostgreSQL gives out again what it had not
        written down, and another transaction's end would be taken for ours (seen). Waits for a server that is
        still at work on it, up to the lock time-out, which raises; as any other trouble does.
        """
        transaction = Transaction(self._connect(), self.dialect)
        try:
            found = transaction.scalar(_READ_MARK, marker=self._marker)
            transaction.rollback()
        except sa.exc.DBAPIError:
            self.disconnect()
            raise
        return bool(found == mark)

    def _connect(self) -> sa.Connection:
        if self._connection is None:
            try:
                self._connection = self.engine.connect()
            except sa.exc.DBAPIError as error:
                raise LedgerUnavailable from error
        return self._connection

    def _start(self, transaction: Transaction) -> None:
        if self.dialect == "sqlite":
            transaction.now = self._sqlite_now(transaction)
        elif self._marks_commits:
            self._mark = transaction.mark = self._mark + 1
            transaction.now = transaction.scalar(_WRITE_MARK, marker=self._marker, mark=self._mark)
        else:
            transaction.now = float(transaction.scalar(_POSTGRESQL_NOW))

    def _sqlite_now(self, transaction: Transaction) -> float:
        """Return clock_base + BOOTTIME. After a reboot every lease has expired and the base is taken anew."""
        if self._clock_base is None:
            if transaction.scalar(_SQLITE_HAS_IDENTITY) is None:
                return time.time()
            rows = transaction.rows(_SQLITE_CLOCK)
            if not rows:
                return time.time()
            this_boot, base = boot_id(), rows[0]["clock_base"]
            if rows[0]["boot_id"] == this_boot and base is not None:
                self._clock_base = float(base)
            else:
                # A machine may come up with its wall clock behind: what was due must not wait for it.
                last = float(transaction.scalar(_SQLITE_LAST_SEEN))
                self._clock_base = max(time.time(), last) - boottime()
                transaction.run(_SQLITE_NEW_CLOCK, boot=this_boot, base=self._clock_base)
                transaction.run(_SQLITE_END_LEASES, now=self._clock_base + boottime())
        return self._clock_base + boottime()

    def _is_lost(self, error: BaseException) -> bool:
        """Tell whether the database is away, as against having refused a statement."""
        if not isinstance(error, sa.exc.DBAPIError):
            return False
        if error.connection_invalidated:
            return True
        if self.dialect == "sqlite":
            # Locked, full, unreadable: away. A statement that does not fit the tables is a mistake of ours.
            is_mistake = str(error.orig).startswith(("no such", "near ", "incomplete input"))
            return isinstance(error, sa.exc.OperationalError) and not is_mistake
        # 57P0x shut down or starting, 53xxx out of resources, 25P03 idle in transaction, 08xxx connection.
        state = getattr(error.orig, "sqlstate", None)
        if state is None:
            return isinstance(error, sa.exc.OperationalError)
        return state.startswith(("08", "53", "57P")) or state in {"25P03", "25006"}


_SQLITE_HAS_IDENTITY = sa.text("select 1 from sqlite_master where type = 'table' and name = 'identity'")
_SQLITE_CLOCK = sa.text("select boot_id, clock_base from identity")
_SQLITE_NEW_CLOCK = sa.text("update identity set boot_id = :boot, clock_base = :base")
_SQLITE_END_LEASES = sa.text(
    "update conversations set lease_until = 0, owner = null, due_at = :now where lease_until > 0"
)
_SQLITE_LAST_SEEN = sa.text(
    "select max(coalesce((select max(seen_at) from workers), 0),"
    " coalesce((select received_at from questions order by number desc limit 1), 0))"
)
_POSTGRESQL_NOW = sa.text("select extract(epoch from clock_timestamp())")
_WRITE_MARK = sa.text(
    "insert into commit_marks (marker, mark, marked_at)"
    " values (:marker, :mark, extract(epoch from clock_timestamp()))"
    " on conflict (marker) do update set mark = excluded.mark, marked_at = excluded.marked_at"
    " returning marked_at"
)
# Writes too, so that it waits for a server that is still at work on the first mark.
_READ_MARK = sa.text(
    "insert into commit_marks (marker, mark, marked_at) values (:marker, 0, 0)"
    " on conflict (marker) do update set mark = commit_marks.mark returning mark"
)


_SQLITE_PRAGMAS = (
    "journal_mode=wal",
    # FULL: a commit that returned is on the disk (PROTOCOL A5).
    "synchronous=full",
    "foreign_keys=on",
    # What a statement puts by, should it have to be taken back, goes into no file.
    "temp_store=memory",
    # Pages of 4 kB: the same page is written many times before its place in the database is. The ledger's own
    # connection has no checkpoint in a commit (checkpoints.py).
    "wal_autocheckpoint=4000",
)


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(
        url,
        poolclass=NullPool,
        # What sqlite3 takes as it is.
        paramstyle="named",
        # A statement's parameters are what contacts wrote: no error message may show them.
        hide_parameters=True,
        connect_args={"timeout": SQLITE_BUSY_S, "isolation_level": None, "cached_statements": 256},
    )

    @sa.event.listens_for(engine, "connect")
    def _set_up(connection: Any, _: Any) -> None:
        for pragma in _SQLITE_PRAGMAS:
            connection.execute(f"pragma {pragma}")

    return engine


# Every statement here looks at a few rows by their index. What the planner knows of tables that change so
# fast is old, and a plan that reads a whole table stays in use until the next analyze. A low random_page_cost
# says the same: a hundred looks are cheaper than one way through. Generic plans: one made for each call looks
# cheaper than it is to make, because it sees how few the rows are.
_ALWAYS_BY_INDEX = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "random_page_cost": "1.1",
    "plan_cache_mode": "force_generic_plan",
}
_SESSION = {
    **_ALWAYS_BY_INDEX,
    "lock_timeout": f"'{LOCK_TIMEOUT_S}s'",
    "idle_in_transaction_session_timeout": f"'{IDLE_IN_TRANSACTION_S}s'",
}


def _postgresql_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={
            "connect_timeout": 5,
            "tcp_user_timeout": TCP_USER_TIMEOUT_S * 1000,
            "keepalives_idle": KEEPALIVE_S,
            "keepalives_interval": KEEPALIVE_S,
            "application_name": "askrelay",
        },
    )

    @sa.event.listens_for(engine, "connect")
    def _set_up(connection: Any, _: Any) -> None:
        from worker.adapters.ledger.hashes import read_hashes_as_digits  # noqa: PLC0415 - loads psycopg

        read_hashes_as_digits(connection)
        set_session(connection, _SESSION)

    return engine
