"""The fleet's figures for machines that watch: what waits, the outbox, the gate (PROTOCOL 7 and 8).

Read beside the ledger's own thread, on a connection of its own that takes no lock, so that a scrape never
holds up a turn. Each statement goes by an index and looks at a bounded number of rows.
"""

from __future__ import annotations

import asyncio
import json
import math
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from worker.adapters.ledger.database import KEEPALIVE_S, boottime
from worker.adapters.ledger.session import set_session
from worker.core.gate import Gate, refreshed
from worker.core.pace import Pace, Spent, left

#: Rows that a count looks at: an index entry takes about a microsecond, so a tenth of a second at most.
COUNTED_ROWS = 100_000
#: s. A worker says that it lives about every 5 s; after this it is not counted any more.
LATELY_S = 60.0
#: s. Figures are read at most this often, however many ask.
FRESH_S = 3.0
#: s. Who asks waits for a new reading this long: a prober gives up after a few seconds.
PATIENCE_S = 2.0
#: s. Figures that are older are none: a number that stands still looks like a fleet that does.
STALE_S = 15.0
#: s. A statement that takes longer gives way to the work.
STATEMENT_S = 2

# The conditions repeat those of the partial indexes word for word: SQLite uses such an index only then.
_OPEN = sa.text(
    "select sum(case when state = 'waiting' then 1 else 0 end) as waiting,"
    " min(case when state = 'waiting' then number end) as oldest from (select state, number from questions"
    " where state in ('waiting', 'posting') limit :limit) as counted"
)
_RECEIVED = sa.text("select received_at from questions where number = :number")
_OUTBOX = sa.text(
    "select state, count(*) as counted, min(recorded_at) as oldest_at from (select state, recorded_at"
    " from replies where state <> 'published' limit :limit) as counted group by state"
)
_SUSPECT = sa.text(
    "select count(duplicate_message_id) as duplicates, count(late_post_at) as late from"
    " (select duplicate_message_id, late_post_at from questions"
    " where duplicate_message_id is not null or late_post_at is not null limit :limit) as counted"
)
_GATE = sa.text("select reason, closed_until, failures, probe, buckets from gates where key = :key")
_WORKERS = sa.text("select count(*) from workers where seen_at > :since")
_TO_MIRROR = sa.text(
    "select count(*) from (select 1 from mirrors where due_at is not null limit :limit) as counted"
)
_NOT_MIRRORED = sa.text(
    "select count(*) from (select 1 from mirrors where code is not null and due_at is null limit :limit)"
    " as counted"
)
_POSTGRESQL_NOW = sa.text("select extract(epoch from clock_timestamp())")
_SQLITE_CLOCK_BASE = sa.text("select clock_base from identity")

#: How it connects to PostgreSQL, and what it sets there.
_CONNECT = {
    "connect_timeout": STATEMENT_S,
    "tcp_user_timeout": STATEMENT_S * 1000,
    "keepalives_idle": KEEPALIVE_S,
    "keepalives_interval": KEEPALIVE_S,
    "application_name": "askrelay figures",
}
_SESSION = {"statement_timeout": f"'{STATEMENT_S}s'", "default_transaction_read_only": "on"}


@dataclass(frozen=True, slots=True)
class Figures:
    """The fleet at one moment. Ages in seconds."""

    #: At most COUNTED_ROWS, as ``outbox_*``.
    waiting: int
    oldest_waiting_s: float
    outbox_waiting: int
    outbox_unroutable: int
    #: Of those that wait: one that no queue takes may be old for its own reason.
    oldest_reply_s: float
    duplicate_posts: int
    late_posts: int
    #: Why the gate is closed: a code of core/errors or ``breaker``; None while it is open.
    gate_reason: str | None
    #: Requests that may begin now; infinite without a pace.
    pace_remaining: float
    workers: int
    #: Conversations that the mirror does not have whole: to be sent, and refused.
    mirror_waiting: int = 0
    mirror_refused: int = 0


class FigureReader:
    """Reads the figures, from one thread."""

    def __init__(self, url: str, *, gate_key: str, pace: Pace) -> None:
        self._url = sa.make_url(url)
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        self._gate_key = gate_key
        self._pace = pace
        self._engine = _engine(self._url)
        self._connection: sa.Connection | None = None

    def read(self) -> Figures:
        """Return the figures of now; raises SQLAlchemy's errors."""
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            return self._read(self._connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection; the next reading makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _read(self, connection: sa.Connection) -> Figures:
        now = self._now(connection)
        limit = {"limit": COUNTED_ROWS}
        opened = connection.execute(_OPEN, limit).one()
        oldest_at = None
        if opened.oldest is not None:
            # None when it was finished since.
            oldest_at = connection.execute(_RECEIVED, {"number": opened.oldest}).scalar()
        outbox = {row.state: row for row in connection.execute(_OUTBOX, limit)}
        suspect = connection.execute(_SUSPECT, limit).one()
        gate = self._gate(connection, now)
        return Figures(
            waiting=int(opened.waiting or 0),
            oldest_waiting_s=_age(now, oldest_at),
            outbox_waiting=outbox["waiting"].counted if "waiting" in outbox else 0,
            outbox_unroutable=outbox["aside"].counted if "aside" in outbox else 0,
            oldest_reply_s=_age(now, outbox["waiting"].oldest_at if "waiting" in outbox else None),
            duplicate_posts=suspect.duplicates,
            late_posts=suspect.late,
            gate_reason=gate.reason,
            pace_remaining=max(left(gate.spent, now, self._pace), 0.0),
            workers=connection.execute(_WORKERS, {"since": now - LATELY_S}).scalar_one(),
            mirror_waiting=connection.execute(_TO_MIRROR, limit).scalar_one(),
            mirror_refused=connection.execute(_NOT_MIRRORED, limit).scalar_one(),
        )

    def _now(self, connection: sa.Connection) -> float:
        """Return the ledger's time; database.py keeps SQLite's clock."""
        if self._is_sqlite:
            base = connection.execute(_SQLITE_CLOCK_BASE).scalar()
            return time.time() if base is None else float(base) + boottime()
        return float(connection.execute(_POSTGRESQL_NOW).scalar_one())

    def _gate(self, connection: sa.Connection, now: float) -> Gate:
        row = connection.execute(_GATE, {"key": self._gate_key}).one_or_none()
        if row is None:
            return Gate()
        buckets = {int(bucket): count for bucket, count in json.loads(row.buckets).items()}
        return refreshed(Gate(row.reason, row.closed_until, row.failures, row.probe, Spent(buckets)), now)


class Reader(Protocol):
    """Reads figures: FigureReader, or a test's."""

    def read(self) -> Figures:
        """Return the figures of now; raises SQLAlchemy's errors."""
        ...

    def close(self) -> None:
        """Let go of the ledger."""
        ...


class FreshFigures:
    """The figures for everybody who asks on the loop: read in a thread, one reading at a time, and kept."""

    def __init__(self, reader: Reader, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._clock = clock
        #: To the thread; None is the end.
        self._wanted: queue.SimpleQueue[asyncio.Future[Figures] | None] = queue.SimpleQueue()
        # A daemon: neither the loop nor the interpreter waits at its end for a database that answers nobody.
        self._thread = threading.Thread(target=self._run, name="askrelay-figures", daemon=True)
        self._reading: asyncio.Future[None] | None = None
        self._latest: Figures | None = None
        self._read_at = -math.inf
        self._is_closed = False

    async def get(self) -> Figures | None:
        """Return figures of the last seconds; None when the ledger does not give them. Never raises."""
        if self._is_closed:
            return None
        if self._clock() - self._read_at >= FRESH_S:
            if self._reading is None:
                self._reading = asyncio.ensure_future(self._refresh())
            await asyncio.wait({self._reading}, timeout=PATIENCE_S)
        return self._latest if self._clock() - self._read_at < STALE_S else None

    def close(self) -> None:
        """End the thread once it has closed its connection; a reading that hangs is not waited for."""
        self._is_closed = True
        self._wanted.put(None)
        if self._reading is not None:
            self._reading.cancel()

    async def _refresh(self) -> None:
        begun = self._clock()
        if not self._thread.is_alive():
            self._thread.start()
        wanted: asyncio.Future[Figures] = asyncio.get_running_loop().create_future()
        self._wanted.put(wanted)
        try:
            self._latest, self._read_at = await wanted, begun
        except (sa.exc.SQLAlchemyError, OSError):
            # Known to be away, which is news too: old figures are of no use to who wants to know.
            self._latest, self._read_at = None, begun
        finally:
            self._reading = None

    def _run(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            found: Figures | Exception
            try:
                found = self._reader.read()
            except Exception as error:  # noqa: BLE001 - it belongs to who asked
                found = error
            # Of a loop that has ended meanwhile nobody asks any more.
            with suppress(RuntimeError):
                wanted.get_loop().call_soon_threadsafe(_settle, wanted, found)
        self._reader.close()


def _settle(wanted: asyncio.Future[Figures], found: Figures | Exception) -> None:
    if wanted.done():
        return
    if isinstance(found, Exception):
        wanted.set_exception(found)
    else:
        wanted.set_result(found)


def _age(now: float, since: float | None) -> float:
    return 0.0 if since is None else max(now - since, 0.0)


def _engine(url: sa.URL) -> sa.Engine:
    is_sqlite = url.get_backend_name() == "sqlite"
    engine = sa.create_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        # No transaction: on SQLite it would take the lock of those that write.
        isolation_level="AUTOCOMMIT",
        connect_args={"timeout": STATEMENT_S} if is_sqlite else _CONNECT,
    )
    if not is_sqlite:
        sa.event.listen(engine, "connect", lambda connection, _: set_session(connection, _SESSION))
    return engine
