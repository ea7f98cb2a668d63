"""The questions that one contact may ask on one day (ASKRELAY_CONTACT_DAILY_LIMIT)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.contract.ledger_cases import asked, opened, sql
from worker.adapters.ledger import SqlLedger

LIMIT = 2


@pytest.fixture
async def ledger(ledger_url: str) -> AsyncIterator[SqlLedger]:
    async with opened(ledger_url, contact_daily_limit=LIMIT) as ledger:
        yield ledger


def over_limit(url: str) -> list[str]:
    """Return the ids of the questions above the limit, in the order of arrival."""
    rows = sql(url, "select event_id, is_over_limit from questions order by number")
    return [row["event_id"] for row in rows if row["is_over_limit"]]


async def test_questions_above_the_limit_are_marked_in_order_of_arrival(
    ledger: SqlLedger, ledger_url: str
) -> None:
    await ledger.accept([asked(event_id) for event_id in "abcd"])
    assert over_limit(ledger_url) == ["c", "d"]


async def test_limit_counts_over_batches(ledger: SqlLedger, ledger_url: str) -> None:
    for event_id in "abc":
        await ledger.accept([asked(event_id)])
    assert over_limit(ledger_url) == ["c"]


async def test_limit_of_one_contact_is_not_that_of_another(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked("a"), asked("b", "EXT_2")])
    await ledger.accept([asked("c"), asked("d", "EXT_2"), asked("e"), asked("f", "EXT_3")])
    assert over_limit(ledger_url) == ["e"]


async def test_limit_is_the_contacts_over_all_its_threads(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([replace(asked(event_id), thread_id=event_id) for event_id in "abc"])
    assert over_limit(ledger_url) == ["c"]


async def test_repeats_do_not_count(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked("a"), asked("a")])
    await ledger.accept([asked("a")])
    await ledger.accept([asked("b")])
    assert over_limit(ledger_url) == []


async def test_next_day_begins_anew(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked("a"), asked("b")])
    sql(ledger_url, "update contact_days set day = day - 1")
    await ledger.accept([asked("c"), asked("d"), asked("e")])
    assert over_limit(ledger_url) == ["e"]


async def test_counts_of_days_gone_by_are_swept(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked("a")])
    sql(ledger_url, "update contact_days set day = day - 3")
    await ledger.accept([asked("b")])
    await ledger.sweep()
    assert sql(ledger_url, "select asked from contact_days") == [{"asked": 1}]


async def test_claim_tells_that_a_question_is_above_the_limit(ledger: SqlLedger) -> None:
    await ledger.accept([asked("a"), asked("b", "EXT_2"), asked("c", "EXT_2"), asked("d", "EXT_2")])
    await ledger.accept([replace(asked("e", "EXT_2"), thread_id="of its own")])
    claims = await ledger.claim(9)
    told = {claim.question.event_id: claim.question.is_over_limit for claim in claims.turns}
    assert told == {"a": False, "b": False, "e": True}


async def test_without_a_limit_nothing_is_counted(ledger_url: str) -> None:
    async with opened(ledger_url) as ledger:
        await ledger.accept([asked(str(number)) for number in range(20)])
    assert over_limit(ledger_url) == []
    assert sql(ledger_url, "select * from contact_days") == []


async def test_counts_hold_no_contact_id(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked("a", "EXT_secret")])
    assert "EXT_secret" not in str(sql(ledger_url, "select * from contact_days"))
