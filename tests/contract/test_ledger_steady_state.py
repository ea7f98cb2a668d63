"""At a steady rate the tables stop growing: all that is written has an end (DESIGN 4.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from tests.contract.ledger_cases import asked, let_pass, opened, reply_to, sql
from worker.adapters.ledger import SqlLedger
from worker.adapters.ledger.retention import STEP
from worker.adapters.ledger.tables import metadata
from worker.core.model import Failed
from worker.runtime.sweeper import BUSY_STEP_S

DAY_S = 86_400
KEEP_DAYS, DEDUP_DAYS = 2, 5
#: Questions a day; half of them of contacts who never come back, the others of the same few.
RATE = 20
#: Tables that hold a row for each process or API key.
FOR_EACH_PROCESS = {"identity", "gates", "workers", "commit_marks"}


@pytest.fixture
async def ledger(ledger_url: str) -> AsyncIterator[SqlLedger]:
    async with opened(
        ledger_url, keep_days=KEEP_DAYS, dedup_days=DEDUP_DAYS, contact_daily_limit=RATE
    ) as ledger:
        yield ledger


async def test_tables_stop_growing_at_a_steady_rate(ledger: SqlLedger, ledger_url: str) -> None:
    days = []
    for day in range(24):
        await one_day(ledger, day)
        await pass_days(ledger, ledger_url, 1)
        days.append((rows(ledger_url), size(ledger_url)))
    # From the first day on which all that has an end came to it, nothing is added.
    settled = KEEP_DAYS + DEDUP_DAYS + 1
    counts = [counted for counted, _ in days[settled:]]
    assert all(counted == counts[0] for counted in counts), counts
    assert 0 < counts[0]["questions"] == counts[0]["replies"] <= KEEP_DAYS * RATE
    assert 0 < counts[0]["erased"] <= DEDUP_DAYS * RATE
    assert RATE < counts[0]["conversations"] <= (KEEP_DAYS + DEDUP_DAYS) * RATE
    sizes = [bytes_ for _, bytes_ in days[settled:]]
    # Pages are written in a rhythm of their own.
    assert max(sizes[-5:]) <= 1.1 * max(sizes[:5]), sizes


def test_every_table_is_looked_at() -> None:
    growing = {
        "conversations",
        "questions",
        "replies",
        "erased",
        "contact_days",
        "mirrors",
        "mirror_answers",
        # Their end is in test_ledger_ratings.
        "ratings",
        "rating_events",
    }
    assert growing | FOR_EACH_PROCESS == {table.name for table in metadata.sorted_tables}


def test_a_sweeper_erases_faster_than_a_hundred_questions_a_second_come() -> None:
    assert STEP / (1.2 * BUSY_STEP_S) > 5 * 100


async def test_a_quiet_conversation_is_forgotten_and_may_begin_anew(
    ledger: SqlLedger, ledger_url: str
) -> None:
    await one_day(ledger, 0)
    await pass_days(ledger, ledger_url, KEEP_DAYS + DEDUP_DAYS - 1)
    assert rows(ledger_url)["conversations"] == RATE
    await pass_days(ledger, ledger_url, 2)
    assert rows(ledger_url)["conversations"] == 0
    await one_day(ledger, 1)
    assert rows(ledger_url)["questions"] == RATE


async def test_a_conversation_that_was_asked_again_is_kept(ledger: SqlLedger, ledger_url: str) -> None:
    await one_day(ledger, 0)
    await pass_days(ledger, ledger_url, KEEP_DAYS + DEDUP_DAYS - 1)
    await ledger.accept([asked("again", "regular-1")])
    await pass_days(ledger, ledger_url, 3)
    assert [row["contact_id"] for row in sql(ledger_url, "select contact_id from conversations")] == [
        "regular-1"
    ]
    (claim,) = (await ledger.claim(10)).turns
    assert claim.question.event_id == "again"
    await finished(ledger, [claim])
    await pass_days(ledger, ledger_url, KEEP_DAYS + 1)
    assert rows(ledger_url)["conversations"] == 1
    await pass_days(ledger, ledger_url, DEDUP_DAYS + 1)
    assert rows(ledger_url)["conversations"] == 0


@pytest.mark.parametrize("reason", ["is_blocked = true", "heal_at = 9e12", "lease_until = 9e12"])
async def test_a_quiet_conversation_that_waits_for_somebody_is_kept(
    ledger: SqlLedger, ledger_url: str, reason: str
) -> None:
    await one_day(ledger, 0)
    sql(ledger_url, f"update conversations set {reason} where contact_id = 'regular-1'")
    await pass_days(ledger, ledger_url, KEEP_DAYS + DEDUP_DAYS + 3)
    assert [row["contact_id"] for row in sql(ledger_url, "select contact_id from conversations")] == [
        "regular-1"
    ]


async def test_replies_that_are_owed_hold_up_nobody_elses_end(
    ledger: SqlLedger, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.adapters.ledger.retention.STEP", 5)
    await one_day(ledger, 0, is_published=False)
    let_pass(ledger_url, 1)
    await one_day(ledger, 1)
    let_pass(ledger_url, (KEEP_DAYS + 1) * DAY_S)
    # The others of the second day wait behind an owed reply of their conversation.
    assert sum([(await ledger.sweep()).erased for _ in range(2 * RATE // 5)]) == RATE // 2
    assert rows(ledger_url)["questions"] == RATE + RATE // 2
    replies, _ = await ledger.take_replies(2 * RATE)
    assert replies


async def test_sweepers_side_by_side_take_different_questions(
    ledger: SqlLedger, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ledger_url.startswith("sqlite"):
        return  # One writes at a time there.
    await one_day(ledger, 0)
    let_pass(ledger_url, (KEEP_DAYS + 1) * DAY_S)
    with psycopg.connect(ledger_url) as other:
        other.execute("select 1 from questions where number <= %s for update", (RATE // 2,))
        assert (await ledger.sweep()).erased == RATE - RATE // 2
    assert (await ledger.sweep()).erased == RATE // 2


async def test_intake_beside_the_end_of_a_quiet_conversation_loses_nothing(
    ledger: SqlLedger, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversation goes after intake saw that it is there and before it is locked."""
    if ledger_url.startswith("sqlite"):
        return  # One writes at a time there.
    await one_day(ledger, 0)
    from worker.adapters.ledger.transaction import Transaction  # noqa: PLC0415

    run = Transaction.run
    gone = []

    def forgotten(transaction: Transaction, statement: Any, **parameters: Any) -> int:
        changed = run(transaction, statement, **parameters)
        if statement.text.startswith("insert into conversations") and not gone:
            gone.append(sql(ledger_url, "delete from conversations"))
        return changed

    monkeypatch.setattr(Transaction, "run", forgotten)
    (acceptance,) = await ledger.accept([asked("again", "regular-1")])
    assert gone
    assert acceptance.result == "new"
    assert [claim.question.event_id for claim in (await ledger.claim(10)).turns] == ["again"]


async def one_day(ledger: SqlLedger, day: int, *, is_published: bool = True) -> None:
    """Ask, end and publish a day's questions."""
    contacts = [f"regular-{i}" for i in range(RATE // 2)] + [f"once-{day}-{i}" for i in range(RATE // 2)]
    await ledger.accept([asked(f"evt-{day}-{i}", contact) for i, contact in enumerate(contacts)])
    await finished(ledger, (await ledger.claim(2 * RATE)).turns, is_published=is_published)


async def finished(ledger: SqlLedger, claims: Any, *, is_published: bool = True) -> None:
    """End claimed turns."""
    ends = [
        await ledger.finish(claim.lease, claim.question.number, Failed("expired"), reply_to(claim, "failed"))
        for claim in claims
    ]
    if is_published:
        await ledger.mark_published([end.reply.number for end in ends if end.reply])


async def pass_days(ledger: SqlLedger, url: str, days: int) -> None:
    """Let days pass, with the sweeper at work."""
    for _ in range(days):
        let_pass(url, DAY_S)
        for row in sql(url, "select distinct day from contact_days order by day"):
            sql(url, "update contact_days set day = day - 1 where day = :day", **row)
        while (await ledger.sweep()).erased:
            pass


def rows(url: str) -> dict[str, int]:
    """Count the rows of every table that grows with the questions."""
    return {
        table.name: int(sql(url, f"select count(*) as counted from {table.name}")[0]["counted"])
        for table in metadata.sorted_tables
        if table.name not in FOR_EACH_PROCESS
    }


def size(url: str) -> int:
    """Return the bytes of the tables and indexes; PostgreSQL's autovacuum is run by hand."""
    if url.startswith("sqlite"):
        (row,) = sql(
            url, "select page_count * page_size as size from pragma_page_count(), pragma_page_size()"
        )
        return int(row["size"])
    names = [table.name for table in metadata.sorted_tables if table.name not in FOR_EACH_PROCESS]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum")
        found = connection.execute(
            "select sum(pg_total_relation_size(name::regclass)) from unnest(%s::text[]) as name", (names,)
        ).fetchone()
    assert found is not None
    return int(found[0])
