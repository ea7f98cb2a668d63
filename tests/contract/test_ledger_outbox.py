"""Recorded replies reach the bus in order, whoever publishes them (PROTOCOL 8)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contract.ledger_cases import (
    answer,
    asked,
    claim_one,
    end,
    ensured,
    let_pass,
    opened,
    reply_to,
    sql,
)
from worker.adapters.ledger import SqlLedger
from worker.core.model import Failed, OutboxReply, Retry

OWNED_S = 30


@pytest.fixture
async def other(ledger: SqlLedger, ledger_url: str) -> AsyncIterator[SqlLedger]:
    async with opened(ledger_url, worker_id="worker-b") as other:
        yield other


async def recorded(ledger: SqlLedger, *event_ids: str, contact: str = "EXT_1") -> list[OutboxReply | None]:
    """Ask and answer questions of one contact in order; returns what each finish handed to its process."""
    replies = []
    await ledger.accept([asked(event_id, contact) for event_id in event_ids])
    for _ in event_ids:
        claim = await claim_one(ledger)
        ended = await ledger.finish(
            claim.lease, claim.question.number, Failed("expired"), reply_to(claim, "failed")
        )
        replies.append(ended.reply)
    return replies


async def taken(ledger: SqlLedger) -> list[str]:
    replies, _ = await ledger.take_replies(100)
    return [entry.reply.question_id for entry in replies]


async def test_the_process_that_recorded_a_reply_publishes_it_at_once(ledger: SqlLedger) -> None:
    (reply,) = await recorded(ledger, "a")
    assert reply is not None
    assert reply.tries == 0


async def test_a_verdict_without_a_reply_records_none(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked()])
    await end(ledger, await claim_one(ledger), Retry("unreachable", 0.0))
    assert sql(ledger_url, "select * from replies") == []


async def test_a_reply_is_not_handed_out_while_an_older_one_of_its_conversation_waits(
    ledger: SqlLedger,
) -> None:
    first, second, third = await recorded(ledger, "a", "b", "c")
    assert first
    assert (second, third) == (None, None)


async def test_a_confirm_hands_out_the_next_of_the_conversation(ledger: SqlLedger) -> None:
    first, *_ = await recorded(ledger, "a", "b", "c")
    assert first
    order = []
    ready = [first]
    while ready:
        (entry,) = ready
        order.append(entry.reply.question_id)
        ready = await ledger.mark_published([entry.number])
    assert order == ["a", "b", "c"]


async def test_conversations_do_not_wait_for_each_other(ledger: SqlLedger) -> None:
    await recorded(ledger, "a", contact="EXT_1")
    (reply,) = await recorded(ledger, "b", contact="EXT_2")
    assert reply


async def test_a_reply_is_its_processs_own_for_half_a_minute(
    ledger: SqlLedger, other: SqlLedger, ledger_url: str
) -> None:
    await recorded(ledger, "a")
    replies, next_due_s = await other.take_replies(10)
    assert replies == []
    assert next_due_s == pytest.approx(OWNED_S, abs=3)
    let_pass(ledger_url, OWNED_S - 5)
    assert await taken(other) == []
    let_pass(ledger_url, 6)
    assert await taken(other) == ["a"]
    assert await taken(ledger) == [], "now it is the other's"


async def test_replies_are_taken_over_in_order(ledger: SqlLedger, other: SqlLedger, ledger_url: str) -> None:
    await recorded(ledger, "a", "b")
    await recorded(ledger, "x", contact="EXT_2")
    let_pass(ledger_url, OWNED_S + 1)
    replies, _ = await other.take_replies(10)
    assert [entry.reply.question_id for entry in replies] == ["a", "x"]
    behind = await other.mark_published([entry.number for entry in replies])
    assert [entry.reply.question_id for entry in behind] == ["b"]


async def test_a_reply_is_taken_by_one_of_two(ledger: SqlLedger, other: SqlLedger, ledger_url: str) -> None:
    for number in range(6):
        await recorded(ledger, f"evt-{number}", contact=f"c-{number}")
    let_pass(ledger_url, OWNED_S + 1)
    first, second = await taken(other), await taken(ledger)
    assert len(first) == 6
    assert second == []


async def test_the_limit_of_a_take_holds(ledger: SqlLedger, ledger_url: str) -> None:
    for number in range(5):
        await recorded(ledger, f"evt-{number}", contact=f"c-{number}")
    let_pass(ledger_url, OWNED_S + 1)
    replies, _ = await ledger.take_replies(3)
    assert len(replies) == 3


async def test_a_published_reply_is_never_due_again(ledger: SqlLedger, ledger_url: str) -> None:
    (reply,) = await recorded(ledger, "a")
    assert reply
    await ledger.mark_published([reply.number])
    let_pass(ledger_url, 10 * OWNED_S)
    assert await ledger.take_replies(10) == ([], None)


async def test_marking_twice_is_harmless(ledger: SqlLedger, ledger_url: str) -> None:
    (reply,) = await recorded(ledger, "a")
    assert reply
    for _ in range(2):
        assert await ledger.mark_published([reply.number]) == []
    await ledger.mark_unpublished([reply.number], "reply_not_confirmed")
    assert sql(ledger_url, "select state from replies") == [{"state": "published"}]


async def test_pauses_of_an_unroutable_reply_grow_to_five_minutes(ledger: SqlLedger, ledger_url: str) -> None:
    (reply,) = await recorded(ledger, "a")
    assert reply
    pauses = []
    for tries in range(12):
        await ledger.mark_unpublished([reply.number], "reply_unroutable")
        replies, next_due_s = await ledger.take_replies(10)
        assert replies == []
        assert next_due_s is not None
        pauses.append(round(next_due_s))
        let_pass(ledger_url, next_due_s + 0.5)
        ((again,), _) = await ledger.take_replies(10)
        assert again.tries == tries + 1
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


async def test_pauses_of_a_reply_without_a_confirm_stay_short(ledger: SqlLedger, ledger_url: str) -> None:
    # A broker that was away for an hour must not wait five more minutes for its replies.
    (reply,) = await recorded(ledger, "a")
    assert reply
    for _ in range(12):
        await ledger.mark_unpublished([reply.number], "reply_not_confirmed")
        _, next_due_s = await ledger.take_replies(10)
        assert next_due_s is not None
        assert next_due_s <= 10
        let_pass(ledger_url, next_due_s + 0.5)


async def test_a_reply_that_was_set_aside_does_not_hold_up_others(ledger: SqlLedger) -> None:
    first, _ = await recorded(ledger, "a", "b")
    assert first
    await ledger.mark_unpublished([first.number], "reply_unroutable")
    (third,) = await recorded(ledger, "c")
    assert third is None, "b is older than c and waits"


async def test_what_waited_behind_a_reply_that_was_set_aside_goes_on_at_once(
    ledger: SqlLedger, ledger_url: str
) -> None:
    first, _ = await recorded(ledger, "a", "b")
    assert first
    assert await taken(ledger) == []
    await ledger.mark_unpublished([first.number], "reply_unroutable")
    assert await taken(ledger) == ["b"]
    let_pass(ledger_url, 2)
    assert await taken(ledger) == ["a"]


async def test_a_reply_that_was_not_confirmed_holds_up_those_behind_it(
    ledger: SqlLedger, ledger_url: str
) -> None:
    first, _ = await recorded(ledger, "a", "b")
    assert first
    await ledger.mark_unpublished([first.number], "reply_not_confirmed")
    assert await taken(ledger) == []
    let_pass(ledger_url, OWNED_S + 1)
    assert await taken(ledger) == ["a"]


async def test_a_reply_is_frozen(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked()])
    claim = await claim_one(ledger)
    await ensured(ledger, claim)
    first = await answer(ledger, claim, 1)
    let_pass(ledger_url, OWNED_S + 1)
    ((again,), _) = await ledger.take_replies(1)
    assert first
    assert again.reply == first.reply
    assert isinstance(again.reply.body, bytes)
