"""SQLite's log is written back beside the commits, and stays short however busy the ledger is."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.contract.ledger_cases import asked, opened
from tests.servers.waiting import wait_until
from worker.adapters.ledger import checkpoints
from worker.adapters.ledger.checkpoints import THREAD, Checkpoints
from worker.adapters.ledger.database import Database

#: Rows from one checkpoint to the next, and in one transaction.
ROWS, IN_ONE = 300, 30

INSERT = sa.text("insert into erased (event_hash, finished_at) values (hex(randomblob(16)), 0)")


@pytest.fixture
def file(upgraded_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(checkpoints, "ROWS", ROWS)
    return Path(shutil.copy(upgraded_sqlite, tmp_path / "ledger.db"))


@pytest.fixture
def database(file: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{file}")
    yield database
    database.close()


class HeldWriter:
    """Holds up the thread before it writes back, and once more after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.ended = 0, 0
        self.may_write, self.may_end, self.has_written = (threading.Event() for _ in range(3))
        write_back = Checkpoints._write_back

        def held(checkpoints_: Checkpoints) -> None:
            self.begun += 1
            assert self.may_write.wait(30)
            write_back(checkpoints_)
            self.has_written.set()
            assert self.may_end.wait(30)
            self.ended += 1

        monkeypatch.setattr(Checkpoints, "_write_back", held)


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Read the tables as they are now, all the while."""
    with closing(sqlite3.connect(file)) as reader:
        reader.execute("begin")
        reader.execute("select count(*) from erased").fetchone()
        yield


def threads() -> list[threading.Thread]:
    """Return the threads that write a log back."""
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def write(database: Database, transactions: int) -> None:
    """Commit one transaction after the other, as the ledger's thread does."""
    for _ in range(transactions):
        with database.transaction() as transaction:
            for _ in range(IN_ONE):
                transaction.run(INSERT)
        database.between_transactions()


def times_begun_anew(file: Path) -> int:
    """Return the checkpoint sequence number of the log's header (SQLite's file format, 4.1)."""
    return int.from_bytes(file.with_name(file.name + "-wal").read_bytes()[12:16], "big")


def write_until_the_log_begins_anew(database: Database, file: Path, times: int = 3) -> None:
    """Commit without a pause; a log that never begins anew fails."""
    before = times_begun_anew(file)
    for _ in range(300):
        write(database, 1)
        if times_begun_anew(file) >= before + times:
            return
    raise AssertionError("the log grew and grew")


def test_commits_go_on_while_a_thread_writes_the_log_back(
    database: Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = HeldWriter(monkeypatch)
    write(database, 50)
    assert (writer.begun, writer.ended) == (1, 0), "one thread at a time"
    before = file.stat().st_size
    with reading(file):
        # What is written from now on is not written back while the reader stays.
        write(database, 10)
        writer.may_write.set()
        assert writer.has_written.wait(30)
    assert file.stat().st_size > before
    write(database, 20)
    assert times_begun_anew(file) == 0
    writer.may_end.set()
    wait_until(lambda: not threads(), within_s=30, what="the thread's end")
    # The rest is written back after a transaction; the next one begins the log anew.
    write(database, 2)
    assert times_begun_anew(file) == 1


def test_the_log_begins_anew_while_somebody_always_commits(database: Database, file: Path) -> None:
    write(database, 1)
    write_until_the_log_begins_anew(database, file)


def test_a_close_waits_for_the_thread(
    database: Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = HeldWriter(monkeypatch)
    write(database, 20)
    writer.may_end.set()
    threading.Timer(0.1, writer.may_write.set).start()
    database.close()
    assert writer.ended == 1
    assert not file.with_name(file.name + "-wal").exists(), "whoever closes last takes the log along"


def test_a_checkpoint_that_fails_costs_no_commit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = 0

    def fails(_: sa.Engine) -> sa.Connection:
        nonlocal tried
        tried += 1
        raise sa.exc.OperationalError("", None, Exception("disk I/O error"))

    write(database, 1)
    monkeypatch.setattr(sa.Engine, "connect", fails)
    write(database, 100)
    assert tried
    monkeypatch.undo()
    with database.transaction() as transaction:
        assert transaction.scalar(sa.text("select count(*) from erased")) == 101 * IN_ONE


def test_a_reader_that_stays_costs_no_commit(database: Database, file: Path) -> None:
    write(database, 1)
    with reading(file):
        before = times_begun_anew(file)
        write(database, 100)
        assert times_begun_anew(file) == before
    write_until_the_log_begins_anew(database, file)


def test_a_connection_made_anew_counts_anew(database: Database, file: Path) -> None:
    write(database, 100)
    database.disconnect()
    write(database, 1)
    write_until_the_log_begins_anew(database, file)


def test_the_log_begins_anew_while_two_commit(database: Database, file: Path) -> None:
    write(database, 1)
    other = Database(f"sqlite:///{file}")

    def commit_too() -> None:
        while not may_end.is_set():
            write(other, 1)

    may_end = threading.Event()
    beside = threading.Thread(target=commit_too)
    beside.start()
    try:
        write_until_the_log_begins_anew(database, file)
    finally:
        may_end.set()
        beside.join()
        other.close()


def test_a_system_without_a_thread_to_give_costs_no_commit(
    database: Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fails)
    write(database, 1)
    write_until_the_log_begins_anew(database, file)
    database.close()


def test_no_commit_makes_a_checkpoint_itself(database: Database) -> None:
    """One that begins when all is written back may lose pages where SQLite is older (checkpoints.py)."""
    write(database, 1)
    raw = database._connection.connection.driver_connection  # type: ignore[union-attr]
    assert raw.execute("pragma wal_autocheckpoint").fetchone() == (0,)


async def test_a_ledger_at_work_writes_its_log_back(file: Path) -> None:
    async with opened(f"sqlite:///{file}") as ledger:

        async def accept(name: str) -> None:
            for batch in range(150):
                await ledger.accept([asked(f"{name}-{batch}-{n}", f"{name}-{n}") for n in range(IN_ONE)])
                if times_begun_anew(file) >= 3:
                    return
            raise AssertionError("the log grew and grew")

        # Two, so that one waits while the other's transaction runs: the thread is never without work.
        await asyncio.gather(accept("a"), accept("b"))
