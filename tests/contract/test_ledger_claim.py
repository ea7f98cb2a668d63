"""A conversation's next question is claimed by one worker at a time, in the right order (PROTOCOL 3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from tests.contract.ledger_cases import (
    LEASE_S,
    answer,
    asked,
    claim_one,
    end,
    in_session,
    let_pass,
    opened,
    sql,
)
from worker.adapters.ledger import SqlLedger
from worker.core.model import Failed, Retry, Snooze


@pytest.fixture
async def other(ledger: SqlLedger, ledger_url: str) -> AsyncIterator[SqlLedger]:
    async with opened(ledger_url, worker_id="worker-b") as other:
        yield other


async def test_nothing_waits_in_an_empty_ledger(ledger: SqlLedger) -> None:
    claims = await ledger.claim(10)
    assert (claims.turns, claims.next_due_in_s, claims.has_more) == ((), None, False)


async def test_the_lowest_arrival_number_comes_next(ledger: SqlLedger) -> None:
    await ledger.accept([asked("z"), asked("a"), asked("m")])
    for event_id in ("z", "a", "m"):
        claim = await claim_one(ledger)
        assert claim.question.event_id == event_id
        await end(ledger, claim, Failed("expired"))


async def test_a_question_in_flight_comes_before_a_lower_number(ledger: SqlLedger, ledger_url: str) -> None:
    claim = await in_session(ledger, asked("first"))
    await end(ledger, claim, Retry("unreachable", 0.0))
    await ledger.accept([asked("second")])
    # As if the second had been begun: whatever order put it there, its outcome must be settled first.
    sql(
        ledger_url,
        "update questions set state = 'posting', intent_at = received_at, intent_session_id = 's',"
        " baseline_message_id = 4, looks = 3, has_ended = true where event_id = 'second'",
    )
    claim = await claim_one(ledger)
    assert claim.question.event_id == "second"
    assert claim.question.intent is not None
    assert (claim.question.intent.session_id, claim.question.intent.baseline_message_id) == ("s", 4)
    assert (claim.question.intent.looks, claim.question.intent.has_ended) == (3, True)


async def test_a_conversation_has_one_lease(ledger: SqlLedger, other: SqlLedger) -> None:
    await ledger.accept([asked("a"), asked("b")])
    assert len((await ledger.claim(10)).turns) == 1
    assert (await ledger.claim(10)).turns == ()
    assert (await other.claim(10)).turns == ()


async def test_conversations_are_claimed_side_by_side_longest_waiting_first(ledger: SqlLedger) -> None:
    for contact in ("c", "a", "b"):
        await ledger.accept([asked(f"evt-{contact}", contact)])
    claims = await ledger.claim(10)
    assert [claim.conversation.contact_id for claim in claims.turns] == ["c", "a", "b"]
    assert not claims.has_more


async def test_a_claim_says_that_more_wait(ledger: SqlLedger) -> None:
    await ledger.accept([asked(f"evt-{i}", f"c-{i}") for i in range(5)])
    claims = await ledger.claim(3)
    assert (len(claims.turns), claims.has_more) == (3, True)
    claims = await ledger.claim(3)
    assert (len(claims.turns), claims.has_more) == (2, False)


async def test_a_conversation_that_had_its_turn_goes_behind_those_that_wait(ledger: SqlLedger) -> None:
    await ledger.accept([asked(f"long-{i}", "long") for i in range(3)])
    await ledger.accept([asked("x", "short-1"), asked("y", "short-2")])
    order = []
    for _ in range(5):
        claim = await claim_one(ledger)
        order.append(claim.conversation.contact_id)
        await end(ledger, claim, Failed("expired"))
    assert order == ["long", "short-1", "short-2", "long", "long"]


async def test_a_snoozed_conversation_is_due_when_its_time_comes(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked()])
    await end(ledger, await claim_one(ledger), Snooze("throttled", 40.0))
    claims = await ledger.claim(1)
    assert (claims.turns, claims.next_due_in_s) == ((), None)
    let_pass(ledger_url, 33)
    claims = await ledger.claim(1)
    assert claims.turns == ()
    assert claims.next_due_in_s == pytest.approx(7, abs=3)
    let_pass(ledger_url, 8)
    assert (await claim_one(ledger)).question.event_id == "evt-1"


async def test_a_new_question_does_not_wake_a_snoozed_conversation(ledger: SqlLedger) -> None:
    await ledger.accept([asked("a")])
    await end(ledger, await claim_one(ledger), Snooze("throttled", 40.0))
    await ledger.accept([asked("b")])
    assert (await ledger.claim(1)).turns == ()


async def test_a_question_that_arrives_during_a_turn_follows_it(ledger: SqlLedger) -> None:
    claim = await in_session(ledger, asked("a"))
    await ledger.accept([asked("b")])
    await answer(ledger, claim, 1)
    assert (await claim_one(ledger)).question.event_id == "b"


async def test_a_conversation_without_open_questions_is_not_due(ledger: SqlLedger, ledger_url: str) -> None:
    await answer(ledger, await in_session(ledger, asked()), 1)
    let_pass(ledger_url, 10 * LEASE_S)
    claims = await ledger.claim(1)
    assert (claims.turns, claims.next_due_in_s) == ((), None)


async def test_two_workers_share_what_waits_without_waiting_for_each_other(
    ledger: SqlLedger, other: SqlLedger
) -> None:
    await ledger.accept([asked(f"evt-{i}", f"c-{i}") for i in range(60)])
    claimed: list[int] = []
    for _ in range(6):
        both = await asyncio.gather(ledger.claim(5), other.claim(5))
        claimed += [claim.lease.conversation for claims in both for claim in claims.turns]
    assert sorted(claimed) == sorted(set(claimed)), "a conversation was claimed twice"
    assert len(claimed) == 60


async def test_many_turns_of_two_workers_end_each_question_once_and_in_order(
    ledger: SqlLedger, other: SqlLedger, ledger_url: str
) -> None:
    await ledger.accept([asked(f"{i}-{c}", f"c-{c}") for i in range(5) for c in range(6)])
    ended: list[str] = []

    async def work(worker: SqlLedger) -> None:
        while len(ended) < 30:
            for claim in (await worker.claim(3)).turns:
                await end(worker, claim, Failed("expired"))
                ended.append(claim.question.event_id)

    await asyncio.wait_for(asyncio.gather(work(ledger), work(other)), 60)
    assert len(ended) == len(set(ended)) == 30
    for contact in range(6):
        assert [e for e in ended if e.endswith(f"-{contact}")] == [f"{i}-{contact}" for i in range(5)]


async def test_postgresql_skips_a_conversation_that_another_transaction_holds(
    postgres_ledger_url: str,
) -> None:
    async with opened(postgres_ledger_url) as ledger:
        await ledger.accept([asked("a", "a"), asked("b", "b")])
        with psycopg.connect(postgres_ledger_url) as guest:
            guest.execute("select 1 from conversations where contact_id = 'a' for update")
            claims = await ledger.claim(2)
            assert [claim.conversation.contact_id for claim in claims.turns] == ["b"]
        assert [claim.conversation.contact_id for claim in (await ledger.claim(2)).turns] == ["a"]
