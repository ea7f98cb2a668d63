"""The fleet's figures on both databases: right, without a lock, and fresh without asking all the time."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.integration.test_status import filled, ledger_url, make_ledger
from tests.unit.test_health_condition import FIGURES
from worker.adapters.ledger import figures, upgrade
from worker.adapters.ledger.figures import FigureReader, Figures, FreshFigures
from worker.core.model import GateNews
from worker.core.pace import Pace

__all__ = ["ledger_url"]

KEY = "0123456789abcdef"


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    upgrade(url)
    return url


def read(url: str, pace: Pace | None = None) -> Figures:
    reader = FigureReader(url, gate_key=KEY, pace=pace or Pace(0, 0))
    try:
        return reader.read()
    finally:
        reader.close()


async def test_figures_are_those_of_the_tables(ledger_url: str) -> None:
    await filled(ledger_url)
    found = await asyncio.to_thread(read, ledger_url)
    assert (found.waiting, found.outbox_waiting, found.outbox_unroutable) == (2, 2, 1)
    assert 0 <= found.oldest_waiting_s < 60
    assert 0 <= found.oldest_reply_s < 60
    assert (found.duplicate_posts, found.late_posts, found.workers) == (0, 0, 1)
    assert found.gate_reason == "credentials_rejected"
    assert found.pace_remaining == float("inf")


async def test_a_reply_that_no_queue_takes_does_not_make_those_that_wait_old(ledger_url: str) -> None:
    await filled(ledger_url)
    engine = sa.create_engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(
            sa.text("update replies set recorded_at = recorded_at - 5000 where state = 'aside'")
        )
    engine.dispose()
    assert 0 <= (await asyncio.to_thread(read, ledger_url)).oldest_reply_s < 60


async def test_figures_of_an_empty_ledger_are_nothing(ledger_url: str) -> None:
    found = await asyncio.to_thread(read, ledger_url, Pace(60, 5))
    assert found == Figures(0, 0.0, 0, 0, 0.0, 0, 0, None, 60, 0)


async def test_a_pace_that_is_used_up_is_seen(ledger_url: str) -> None:
    ledger = make_ledger(ledger_url)
    ledger.start()
    try:
        await ledger.report(GateNews("failure"))
    finally:
        await ledger.stop()
    engine = sa.create_engine(ledger_url)
    clock = "select extract(epoch from clock_timestamp())"
    if ledger_url.startswith("sqlite"):
        clock = f"select clock_base + {figures.boottime()} from identity"
    with engine.begin() as connection:
        now = float(connection.execute(sa.text(clock)).scalar_one())
        buckets = f'{{"{int(now / 0.5)}": 58}}'
        connection.execute(sa.text("update gates set buckets = :buckets"), {"buckets": buckets})
    engine.dispose()
    assert (await asyncio.to_thread(read, ledger_url, Pace(60, 5))).pace_remaining == 2


async def test_figures_are_read_while_somebody_writes(sqlite_url: str) -> None:
    await filled(sqlite_url)
    writer = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    try:
        writer.execute("begin immediate")
        assert (await asyncio.to_thread(read, sqlite_url)).waiting == 2
    finally:
        writer.close()


@pytest.mark.parametrize("statement", [figures._OPEN, figures._OUTBOX, figures._SUSPECT])
def test_counting_goes_by_an_index(sqlite_url: str, statement: sa.TextClause) -> None:
    engine = sa.create_engine(sqlite_url)
    with engine.connect() as connection:
        plan = connection.execute(sa.text(f"explain query plan {statement.text}"), {"limit": 10}).all()
    engine.dispose()
    told = " ".join(str(row.detail) for row in plan)
    assert "USING INDEX" in told or "USING COVERING INDEX" in told


class Reader:
    """Gives scripted figures and counts its readings."""

    def __init__(self) -> None:
        self.readings = 0
        self.is_away = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_closed = threading.Event()

    def read(self) -> Figures:
        self.readings += 1
        self.may_go_on.wait(30)
        if self.is_away:
            raise sa.exc.OperationalError("select", {}, Exception("away"))
        return replace(FIGURES, waiting=self.readings)

    def close(self) -> None:
        self.is_closed.set()


async def test_many_who_ask_at_once_share_one_reading() -> None:
    reader, now = Reader(), [100.0]
    fresh = FreshFigures(reader, clock=lambda: now[0])
    asked = await asyncio.gather(*(fresh.get() for _ in range(20)))
    assert {each.waiting for each in asked if each} == {1}
    now[0] += figures.FRESH_S
    later = await fresh.get()
    assert later is not None
    assert (later.waiting, reader.readings) == (2, 2)
    fresh.close()
    assert await asyncio.to_thread(reader.is_closed.wait, 30)
    now[0] += figures.FRESH_S
    assert await fresh.get() is None


async def test_a_ledger_that_is_away_gives_no_figures_and_gives_them_again_later() -> None:
    reader, now = Reader(), [100.0]
    fresh = FreshFigures(reader, clock=lambda: now[0])
    assert await fresh.get() is not None
    reader.is_away = True
    now[0] += figures.FRESH_S
    assert await fresh.get() is None
    reader.is_away = False
    now[0] += figures.FRESH_S
    assert await fresh.get() is not None
    fresh.close()


async def test_a_reading_that_hangs_is_not_waited_for_and_its_numbers_grow_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(figures, "PATIENCE_S", 0.01)
    reader, now = Reader(), [100.0]
    fresh = FreshFigures(reader, clock=lambda: now[0])
    assert await fresh.get() is not None
    reader.may_go_on.clear()
    now[0] += figures.FRESH_S
    assert await fresh.get() is not None, "a few seconds old"
    now[0] += figures.STALE_S
    assert await fresh.get() is None
    assert reader.readings == 2
    reader.may_go_on.set()
    fresh.close()


def test_a_reading_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    program = (
        "import asyncio, threading\n"
        "from worker.adapters.ledger import figures\n"
        "class Reader:\n"
        "    read = close = lambda self: threading.Event().wait()\n"
        "async def main():\n"
        "    fresh = figures.FreshFigures(Reader())\n"
        "    assert await fresh.get() is None\n"
        "    fresh.close()\n"
        "figures.PATIENCE_S = 0.01\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=Path(__file__).parents[2])
