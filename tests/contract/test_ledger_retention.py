"""The sweeper's steps: contents go, and what still deduplicates stays (DESIGN 4.3)."""

from __future__ import annotations

import pytest

from tests.contract.ledger_cases import asked, claim_one, in_session, let_pass, opened, reply_to, sql
from worker.adapters.ledger import SqlLedger, retention
from worker.core.model import Failed

DAY_S = 86_400


async def ended(ledger: SqlLedger, count: int, *, is_published: bool = True) -> None:
    """Ask and fail so many questions of as many contacts."""
    await ledger.accept([asked(f"evt-{i}", f"c-{i}") for i in range(count)])
    numbers = []
    for claim in (await ledger.claim(count)).turns:
        end = await ledger.finish(
            claim.lease, claim.question.number, Failed("expired"), reply_to(claim, "failed")
        )
        assert end.reply
        numbers.append(end.reply.number)
    if is_published:
        await ledger.mark_published(numbers)


def count(url: str, table: str) -> int:
    return int(sql(url, f"select count(*) as rows_ from {table}")[0]["rows_"])


async def test_nothing_is_erased_before_its_time(ledger: SqlLedger, ledger_url: str) -> None:
    await ended(ledger, 3)
    let_pass(ledger_url, 29 * DAY_S)
    assert (await ledger.sweep()).erased == 0
    assert count(ledger_url, "questions") == 3


async def test_contents_are_erased_after_their_time_and_a_hash_stays(
    ledger: SqlLedger, ledger_url: str
) -> None:
    await ended(ledger, 3)
    let_pass(ledger_url, 31 * DAY_S)
    assert (await ledger.sweep()).erased == 3
    assert (await ledger.sweep()).erased == 0
    assert (count(ledger_url, "questions"), count(ledger_url, "replies")) == (0, 0)
    assert count(ledger_url, "erased") == 3
    kept = sql(ledger_url, "select * from erased")
    assert not any("evt-" in str(value) for row in kept for value in row.values())


async def test_contents_are_erased_in_steps(
    ledger: SqlLedger, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STEP", 2)
    await ended(ledger, 5)
    let_pass(ledger_url, 31 * DAY_S)
    assert [(await ledger.sweep()).erased for _ in range(4)] == [2, 2, 1, 0]


async def test_a_hash_is_forgotten_in_the_end(ledger: SqlLedger, ledger_url: str) -> None:
    await ended(ledger, 1)
    let_pass(ledger_url, 31 * DAY_S)
    await ledger.sweep()
    let_pass(ledger_url, 333 * DAY_S)
    await ledger.sweep()
    assert (await ledger.accept([asked("evt-0", "c-0")]))[0].result == "erased"
    let_pass(ledger_url, 2 * DAY_S)
    await ledger.sweep()
    assert (await ledger.accept([asked("evt-0", "c-0")]))[0].result == "new"


async def test_a_question_whose_reply_is_still_owed_is_kept(ledger: SqlLedger, ledger_url: str) -> None:
    await ended(ledger, 1, is_published=False)
    let_pass(ledger_url, 400 * DAY_S)
    assert (await ledger.sweep()).erased == 0
    replies, _ = await ledger.take_replies(10)
    assert len(replies) == 1


async def test_an_unfinished_question_is_kept_however_old(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked()])
    let_pass(ledger_url, 400 * DAY_S)
    assert (await ledger.sweep()).erased == 0
    assert (await claim_one(ledger)).question.text == "Question evt-1?"


async def test_an_erased_conversation_keeps_its_session(ledger: SqlLedger, ledger_url: str) -> None:
    claim = await in_session(ledger, asked())
    end = await ledger.finish(
        claim.lease, claim.question.number, Failed("expired"), reply_to(claim, "failed")
    )
    assert end.reply
    await ledger.mark_published([end.reply.number])
    let_pass(ledger_url, 31 * DAY_S)
    await ledger.sweep()
    await ledger.accept([asked("evt-2")])
    assert (await claim_one(ledger)).conversation.session_id == "session-1"


async def test_what_waits_unheld_is_overdue_after_a_while(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked("a", "a"), asked("b", "b")])
    assert (await ledger.sweep()).overdue == 0
    let_pass(ledger_url, 6)
    assert (await ledger.sweep()).overdue == 2
    await ledger.claim(1)
    assert (await ledger.sweep()).overdue == 1


async def test_workers_are_seen_and_forgotten(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.sweep()
    async with opened(ledger_url, worker_id="worker-b", version="2") as other:
        await other.sweep()
        seen = sql(ledger_url, "select worker_id, version from workers order by worker_id")
        assert [tuple(row.values()) for row in seen] == [("worker-a", "1"), ("worker-b", "2")]
        let_pass(ledger_url, 2 * DAY_S)
        await other.sweep()
        assert [row["worker_id"] for row in sql(ledger_url, "select worker_id from workers")] == ["worker-b"]
