"""A lease is proved by its token: whoever lost it changes nothing any more (PROTOCOL 3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.contract.ledger_cases import (
    LEASE_S,
    PROJECT,
    SESSION,
    SHORT_S,
    answer,
    answered,
    asked,
    claim_one,
    end,
    ensured,
    in_session,
    let_pass,
    opened,
    reply_to,
    snapshot,
    wait_until_up_for,
)
from tests.servers.postgres import Postgres
from worker.adapters.ledger import SqlLedger
from worker.core.errors import LeaseLost
from worker.core.model import Answered, Claim, Failed, Lease, Retry, Snooze


@pytest.fixture
async def other(ledger: SqlLedger, ledger_url: str) -> AsyncIterator[SqlLedger]:
    async with opened(ledger_url, worker_id="worker-b") as other:
        yield other


async def test_tokens_grow_with_every_lease(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked()])
    tokens = []
    for _ in range(4):
        tokens.append((await claim_one(ledger)).lease.token)
        let_pass(ledger_url, LEASE_S + 1)
    assert tokens == sorted(set(tokens))


async def test_a_claim_of_another_worker_waits_until_the_lease_expired(
    ledger: SqlLedger, other: SqlLedger, ledger_url: str
) -> None:
    await ledger.accept([asked()])
    await claim_one(ledger)
    let_pass(ledger_url, LEASE_S - 5)
    claims = await other.claim(1)
    assert claims.turns == ()
    assert claims.next_due_in_s == pytest.approx(5, abs=2)
    let_pass(ledger_url, 6)
    assert len((await other.claim(1)).turns) == 1


async def test_renewing_prolongs_a_lease(ledger: SqlLedger, other: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked()])
    claim = await claim_one(ledger)
    for _ in range(3):
        let_pass(ledger_url, LEASE_S - 5)
        assert await ledger.renew([claim.lease]) == set()
        assert (await other.claim(1)).turns == ()


async def test_renewing_tells_which_leases_are_lost(
    ledger: SqlLedger, other: SqlLedger, ledger_url: str
) -> None:
    await ledger.accept([asked("a", "a"), asked("b", "b")])
    first, second = (await ledger.claim(2)).turns
    let_pass(ledger_url, LEASE_S + 1)
    taken = (await other.claim(1)).turns[0]
    lost = {lease for lease in (first.lease, second.lease) if lease.conversation == taken.lease.conversation}
    assert await ledger.renew([first.lease, second.lease]) == lost


async def test_a_lease_that_expired_and_that_nobody_took_is_still_ours(
    ledger: SqlLedger, ledger_url: str
) -> None:
    claim = await in_session(ledger, asked())
    let_pass(ledger_url, 10 * LEASE_S)
    assert await ledger.renew([claim.lease]) == set()
    assert await answer(ledger, claim, 1)


async def overtaken(ledger: SqlLedger, by: SqlLedger, url: str) -> Claim:
    """Return a claim whose lease expired and is held by another by now."""
    await ledger.accept([asked()])
    claim = await claim_one(ledger)
    await ensured(ledger, claim)
    let_pass(url, LEASE_S + 1)
    await claim_one(by)
    return claim


WRITES = {
    "begin_create": lambda ledger, claim: ledger.begin_create(claim.lease, PROJECT),
    "cancel_create": lambda ledger, claim: ledger.cancel_create(claim.lease),
    "save_session": lambda ledger, claim: ledger.save_session(
        claim.lease, project_id=PROJECT, session_id="other", conversation_id=1, highest_message_id=1
    ),
    "forget_session": lambda ledger, claim: ledger.forget_session(claim.lease),
    "begin_post": lambda ledger, claim: ledger.begin_post(
        claim.lease, claim.question.number, session_id=SESSION
    ),
    "finish answered": lambda ledger, claim: ledger.finish(
        claim.lease, claim.question.number, answered(1), reply_to(claim)
    ),
    "finish failed": lambda ledger, claim: ledger.finish(
        claim.lease, claim.question.number, Failed("expired"), reply_to(claim, "failed")
    ),
    "finish snoozed": lambda ledger, claim: ledger.finish(
        claim.lease, claim.question.number, Snooze("throttled", 1.0), None
    ),
}


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_under_a_lost_lease_raises_and_changes_nothing(
    ledger: SqlLedger, other: SqlLedger, ledger_url: str, write: str
) -> None:
    claim = await overtaken(ledger, other, ledger_url)
    before = snapshot(ledger_url)
    with pytest.raises(LeaseLost):
        await WRITES[write](ledger, claim)
    assert snapshot(ledger_url) == before


async def test_releasing_a_lost_lease_changes_nothing(
    ledger: SqlLedger, other: SqlLedger, ledger_url: str
) -> None:
    claim = await overtaken(ledger, other, ledger_url)
    before = snapshot(ledger_url)
    await ledger.release([claim.lease])
    assert snapshot(ledger_url) == before


@pytest.mark.parametrize("write", WRITES)
async def test_a_turn_that_its_own_process_claimed_again_cannot_write_beside_the_new_one(
    ledger: SqlLedger, ledger_url: str, write: str
) -> None:
    # The same owner and the same conversation, only another token; both in one transaction.
    await ledger.accept([asked()])
    old = await claim_one(ledger)
    await ensured(ledger, old)
    let_pass(ledger_url, LEASE_S + 1)
    new = await claim_one(ledger)
    results = await asyncio.gather(
        ledger.renew([new.lease]),  # keeps the thread busy: what follows goes together
        WRITES[write](ledger, old),
        WRITES[write](ledger, new),
        return_exceptions=True,
    )
    assert isinstance(results[1], LeaseLost)


async def test_a_lease_that_its_own_process_claimed_again_is_reported_as_lost(
    ledger: SqlLedger, ledger_url: str
) -> None:
    await ledger.accept([asked()])
    old = await claim_one(ledger)
    let_pass(ledger_url, LEASE_S + 1)
    new = await claim_one(ledger)
    assert await ledger.renew([old.lease, new.lease]) == {old.lease}


async def test_a_forged_lease_is_no_lease(ledger: SqlLedger) -> None:
    await ledger.accept([asked()])
    claim = await claim_one(ledger)
    for forged in (Lease(claim.lease.conversation, claim.lease.token + 1), Lease(99, claim.lease.token)):
        with pytest.raises(LeaseLost):
            await ledger.cancel_create(forged)


async def test_leases_that_expire_in_a_row_are_counted(ledger_url: str) -> None:
    wait_until_up_for(ledger_url, 10 * SHORT_S)
    async with (
        opened(ledger_url, lease_s=SHORT_S) as ledger,
        opened(ledger_url, lease_s=SHORT_S, worker_id="worker-b") as other,
    ):
        await ledger.accept([asked()])
        counts = []
        for worker in (ledger, other, ledger, other):
            counts.append((await claim_one(worker)).question.expired_leases)
            let_pass(ledger_url, 1.5 * SHORT_S)
        assert counts == [0, 1, 2, 3]


async def test_a_turn_that_ends_in_order_sets_the_count_to_zero(ledger_url: str) -> None:
    wait_until_up_for(ledger_url, 10 * SHORT_S)
    async with opened(ledger_url, lease_s=SHORT_S) as ledger:
        await ledger.accept([asked()])
        await claim_one(ledger)
        let_pass(ledger_url, 1.5 * SHORT_S)
        claim = await claim_one(ledger)
        assert claim.question.expired_leases == 1
        await end(ledger, claim, Retry("unreachable", 0.0))
        assert (await claim_one(ledger)).question.expired_leases == 0


async def test_a_lease_that_ended_because_postgresql_was_away_is_not_counted(
    postgres: Postgres, postgres_ledger_url: str
) -> None:
    wait_until_up_for(postgres_ledger_url, 10 * SHORT_S)
    async with opened(postgres_ledger_url, lease_s=SHORT_S) as ledger:
        await ledger.accept([asked()])
        await claim_one(ledger)
    await asyncio.to_thread(postgres.restart)
    let_pass(postgres_ledger_url, 1.5 * SHORT_S)
    async with opened(postgres_ledger_url, worker_id="worker-b") as other:
        assert (await claim_one(other)).question.expired_leases == 0


async def test_a_lease_given_back_is_due_at_once_and_counts_as_no_crash(
    ledger: SqlLedger, other: SqlLedger
) -> None:
    claim = await in_session(ledger, asked())
    intent = await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await ledger.release([claim.lease])
    again = await claim_one(other)
    assert again.question.expired_leases == 0
    assert again.question.intent == intent, "whoever is next reads back at once"
    assert again.question.posts == 1


async def test_an_answered_question_is_never_claimed_again(
    ledger: SqlLedger, other: SqlLedger, ledger_url: str
) -> None:
    claim = await in_session(ledger, asked())
    assert isinstance(answered(1), Answered)
    await answer(ledger, claim, 1)
    let_pass(ledger_url, LEASE_S + 1)
    assert (await other.claim(1)).turns == ()
    assert (await ledger.claim(1)).turns == ()
