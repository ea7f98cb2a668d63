"""Which conversations the sweeper looks after, when, and under whose lease (PROTOCOL 4.5)."""

from __future__ import annotations

import pytest

from tests.contract.ledger_cases import (
    CONFIG,
    LEASE_S,
    PROJECT,
    SESSION,
    answer,
    asked,
    claim_one,
    end,
    ensured,
    let_pass,
    opened,
    snapshot,
    sql,
)
from worker.adapters.ledger import SqlLedger
from worker.core.errors import LeaseLost
from worker.core.model import Claim, Conversation, Failed, Lease, Snooze

HEAL_AFTER_S = CONFIG.heal_after_s
#: s. Longer than any pause between two looks.
LONG_S = 1_000 * HEAL_AFTER_S


async def created(ledger: SqlLedger, event_id: str = "evt-1", *, creations: int = 1) -> Claim:
    """Accept a question and save a session after so many creations were begun."""
    await ledger.accept([asked(event_id)])
    claim = await claim_one(ledger)
    for _ in range(creations):
        await ledger.begin_create(claim.lease, PROJECT)
    await ensured(ledger, claim)
    return claim


async def to_heal(ledger: SqlLedger, url: str) -> tuple[Lease, Conversation]:
    """Have a conversation with an answered question that may have an extra, and take it to heal."""
    await answer(ledger, await created(ledger, creations=2), 6)
    let_pass(url, HEAL_AFTER_S)
    taken = await ledger.take_healing()
    assert taken is not None
    return taken


async def test_conversation_that_was_created_once_needs_no_healing(
    ledger: SqlLedger, ledger_url: str
) -> None:
    await answer(ledger, await created(ledger), 6)
    let_pass(ledger_url, LONG_S)
    assert await ledger.take_healing() is None


async def test_second_creation_makes_a_conversation_due_once_both_must_be_listed(
    ledger: SqlLedger, ledger_url: str
) -> None:
    await answer(ledger, await created(ledger, creations=2), 6)
    let_pass(ledger_url, HEAL_AFTER_S - 5)
    assert await ledger.take_healing() is None
    let_pass(ledger_url, 5)
    taken = await ledger.take_healing()
    assert taken is not None
    assert (taken[1].project_id, taken[1].session_id) == (PROJECT, SESSION)


async def test_creations_are_counted_over_turns(ledger: SqlLedger, ledger_url: str) -> None:
    # The first worker was killed after its creation was begun.
    await ledger.accept([asked()])
    await ledger.begin_create((await claim_one(ledger)).lease, PROJECT)
    let_pass(ledger_url, LEASE_S)
    claim = await claim_one(ledger)
    await ledger.begin_create(claim.lease, PROJECT)
    await ensured(ledger, claim)
    await answer(ledger, claim, 6)
    let_pass(ledger_url, HEAL_AFTER_S)
    assert await ledger.take_healing() is not None


async def test_adoption_that_saw_extras_makes_a_conversation_due(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked()])
    claim = await claim_one(ledger)
    await ledger.save_session(
        claim.lease,
        project_id=PROJECT,
        session_id=SESSION,
        conversation_id=42,
        highest_message_id=5,
        has_extras=True,
    )
    await answer(ledger, claim, 6)
    assert await ledger.take_healing() is None
    let_pass(ledger_url, HEAL_AFTER_S)
    assert await ledger.take_healing() is not None


async def test_conversation_under_lease_is_not_healed(ledger: SqlLedger, ledger_url: str) -> None:
    claim = await created(ledger, creations=2)
    let_pass(ledger_url, HEAL_AFTER_S)
    await ledger.renew([claim.lease])
    assert await ledger.take_healing() is None
    await answer(ledger, claim, 6)
    assert await ledger.take_healing() is not None


async def test_conversation_is_healed_by_one_at_a_time(ledger: SqlLedger, ledger_url: str) -> None:
    await to_heal(ledger, ledger_url)
    async with opened(ledger_url, worker_id="worker-b") as other:
        assert await other.take_healing() is None
    assert await ledger.take_healing() is None


async def test_question_waits_while_its_conversation_is_healed_and_goes_on_after(
    ledger: SqlLedger, ledger_url: str
) -> None:
    lease, _ = await to_heal(ledger, ledger_url)
    await ledger.accept([asked("next")])
    assert (await ledger.claim(9)).turns == ()
    await ledger.finish_healing(lease, again_in_s=None)
    assert (await claim_one(ledger)).question.event_id == "next"


async def test_healed_conversation_with_no_question_is_not_due(ledger: SqlLedger, ledger_url: str) -> None:
    lease, _ = await to_heal(ledger, ledger_url)
    await ledger.finish_healing(lease, again_in_s=None)
    claims = await ledger.claim(9)
    assert (claims.turns, claims.next_due_in_s) == ((), None)


async def test_api_that_failed_is_asked_again_after_the_time_named(
    ledger: SqlLedger, ledger_url: str
) -> None:
    lease, _ = await to_heal(ledger, ledger_url)
    await ledger.finish_healing(lease, again_in_s=60.0)
    let_pass(ledger_url, 55)
    assert await ledger.take_healing() is None
    let_pass(ledger_url, 5)
    assert await ledger.take_healing() is not None


async def test_healing_comes_to_an_end(ledger: SqlLedger, ledger_url: str) -> None:
    taken: tuple[Lease, Conversation] | None = await to_heal(ledger, ledger_url)
    looks = 0
    while taken is not None and looks < 10:
        looks += 1
        await ledger.finish_healing(taken[0], again_in_s=None)
        assert await ledger.take_healing() is None  # never again at once
        let_pass(ledger_url, LONG_S)
        taken = await ledger.take_healing()
    assert taken is None


async def test_healer_that_fell_silent_is_followed_by_another(ledger: SqlLedger, ledger_url: str) -> None:
    first, _ = await to_heal(ledger, ledger_url)
    let_pass(ledger_url, LEASE_S)
    async with opened(ledger_url, worker_id="worker-b") as other:
        taken = await other.take_healing()
        assert taken is not None
        assert taken[0].token > first.token
        before = snapshot(ledger_url)
        with pytest.raises(LeaseLost):
            await ledger.finish_healing(first, again_in_s=None)
        assert await ledger.renew([first]) == {first}
        assert snapshot(ledger_url) == before


async def test_question_takes_over_from_a_silent_healer_and_is_no_suspect(
    ledger: SqlLedger, ledger_url: str
) -> None:
    lease, _ = await to_heal(ledger, ledger_url)
    await ledger.accept([asked("next")])
    let_pass(ledger_url, LEASE_S)
    claim = await claim_one(ledger)
    assert claim.question.expired_leases == 0
    with pytest.raises(LeaseLost):
        await ledger.finish_healing(lease, again_in_s=None)


async def test_healer_may_prolong_its_lease(ledger: SqlLedger, ledger_url: str) -> None:
    lease, _ = await to_heal(ledger, ledger_url)
    let_pass(ledger_url, LEASE_S - 5)
    assert await ledger.renew([lease]) == set()
    let_pass(ledger_url, LEASE_S - 5)
    assert await ledger.take_healing() is None
    await ledger.finish_healing(lease, again_in_s=None)


async def test_healing_leaves_an_outstanding_intent_alone(ledger: SqlLedger, ledger_url: str) -> None:
    claim = await created(ledger, creations=2)
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await end(ledger, claim, Snooze("outcome_unknown", 1.0, keeps_intent=True))
    let_pass(ledger_url, HEAL_AFTER_S)
    before = snapshot(ledger_url, ["questions"])
    taken = await ledger.take_healing()
    assert taken is not None
    await ledger.finish_healing(taken[0], again_in_s=None)
    assert snapshot(ledger_url, ["questions"]) == before
    assert (await claim_one(ledger)).question.intent is not None


async def test_blocked_conversation_stays_blocked_when_it_was_healed(ledger_url: str) -> None:
    async with opened(ledger_url, blocks_on_failure=True) as ledger:
        claim = await created(ledger, creations=2)
        await ledger.accept([asked("next")])
        await end(ledger, claim, Failed("question_rejected"))
        let_pass(ledger_url, HEAL_AFTER_S)
        taken = await ledger.take_healing()
        assert taken is not None
        await ledger.finish_healing(taken[0], again_in_s=None)
        assert (await ledger.claim(9)).turns == ()
        assert sql(ledger_url, "select is_blocked from conversations") in (
            [{"is_blocked": True}],
            [{"is_blocked": 1}],
        )


async def test_a_blocked_conversation_stays_blocked_when_its_healer_fell_silent(ledger_url: str) -> None:
    async with opened(ledger_url, blocks_on_failure=True) as ledger:
        claim = await created(ledger, creations=2)
        await ledger.accept([asked("next")])
        await end(ledger, claim, Failed("question_rejected"))
        let_pass(ledger_url, HEAL_AFTER_S)
        assert await ledger.take_healing() is not None
        let_pass(ledger_url, LEASE_S)
        assert (await ledger.claim(9)).turns == ()
