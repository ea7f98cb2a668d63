"""On SQLite the ledger's clock is the machine's BOOTTIME; another boot ends every lease (PROTOCOL 3.6)."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from tests.contract.ledger_cases import LEASE_S, asked, claim_one, opened, sql
from worker.adapters.ledger import database
from worker.core.errors import LeaseLost
from worker.core.model import Retry


@pytest.fixture
def url(upgraded_sqlite: Path, tmp_path: Path) -> str:
    file = tmp_path / "ledger.db"
    file.write_bytes(upgraded_sqlite.read_bytes())
    return f"sqlite:///{file}"


def reboot(monkeypatch: pytest.MonkeyPatch, name: str = "another boot") -> None:
    """Have the machine boot: its clock begins anew."""
    begun = time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.setattr(database, "boot_id", lambda: name)
    monkeypatch.setattr(database, "boottime", lambda: time.clock_gettime(time.CLOCK_BOOTTIME) - begun)


async def test_another_boot_ends_every_lease(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(url) as ledger:
        await ledger.accept([asked()])
        old = await claim_one(ledger)
    reboot(monkeypatch)
    async with opened(url, worker_id="worker-b") as ledger:
        again = await claim_one(ledger)
        assert again.lease.token == old.lease.token + 1
        assert again.question.expired_leases == 0, "a power cut is no crash of the question's"
    async with opened(url) as ledger:
        with pytest.raises(LeaseLost):
            await ledger.cancel_create(old.lease)


async def test_the_same_boot_ends_none(url: str) -> None:
    async with opened(url) as ledger:
        await ledger.accept([asked()])
        claim = await claim_one(ledger)
    async with opened(url) as ledger:
        assert (await ledger.claim(1)).turns == ()
        await ledger.cancel_create(claim.lease)


async def test_another_boot_is_noticed_although_the_first_transaction_failed(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(url) as ledger:
        await ledger.accept([asked()])
        await claim_one(ledger)
    reboot(monkeypatch)
    async with opened(url, worker_id="worker-b") as ledger:
        # Rolled back, and with it what the clock wrote.
        assert (await ledger.accept([asked("bad", expires_at=math.nan)]))[0].result == "refused"
        await claim_one(ledger)
    assert sql(url, "select boot_id from identity") == [{"boot_id": "another boot"}]


async def test_a_step_of_the_wall_clock_moves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(url) as ledger:
        await ledger.accept([asked()])
        await claim_one(ledger)
        wall = time.time
        monkeypatch.setattr(time, "time", lambda: wall() + 10 * LEASE_S)
        assert (await ledger.claim(1)).turns == ()
    async with opened(url, worker_id="worker-b") as ledger:
        assert (await ledger.claim(1)).turns == ()


async def test_time_goes_on_while_the_machine_is_suspended(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(url) as ledger:
        await ledger.accept([asked()])
        await claim_one(ledger)
        boottime = database.boottime
        monkeypatch.setattr(database, "boottime", lambda: boottime() + LEASE_S + 1)
        assert (await claim_one(ledger)).lease.token == 2


async def test_a_snooze_survives_a_boot(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(url) as ledger:
        await ledger.accept([asked()])
        claim = await claim_one(ledger)
        await ledger.finish(claim.lease, claim.question.number, Retry("unreachable", 8.0), None)
    reboot(monkeypatch)
    async with opened(url) as ledger:
        claims = await ledger.claim(1)
        assert claims.turns == ()
        assert claims.next_due_in_s == pytest.approx(8, abs=5)


async def test_a_wall_clock_that_was_wrong_before_the_boot_holds_up_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What was ready an hour ahead of today's clock would not be due for an hour.
    async with opened(url) as ledger:
        await ledger.accept([asked()])
    reboot(monkeypatch)
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() - 3_600)
    async with opened(url) as ledger:
        assert (await claim_one(ledger)).question.event_id == "evt-1"


async def test_two_processes_on_one_file_have_one_clock(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reboot(monkeypatch)
    async with opened(url) as first, opened(url, worker_id="worker-b") as second:
        await first.accept([asked()])
        claim = await claim_one(second)
        assert (await first.claim(1)).turns == ()
        assert await second.renew([claim.lease]) == set()
    assert len(sql(url, "select clock_base from identity")) == 1
