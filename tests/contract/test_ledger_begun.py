"""Intents that are recorded along with a claim or a session: where the post comes next (PROTOCOL 5.1)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

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
    sql,
    wait_until_up_for,
)
from worker.adapters.ledger import SqlLedger
from worker.core.errors import GateClosed, LeaseLost
from worker.core.model import Claim, GateNews, Intent, Retry, Snooze
from worker.core.pace import Pace


async def begin_one(ledger: SqlLedger) -> Claim:
    """Claim the one turn that is to be had, and begin its post if that can be."""
    (claim,) = (await ledger.claim(1, begins_posts=True)).turns
    return claim


async def known(ledger: SqlLedger, highest: int = 17, **asks: Any) -> None:
    """Have a question wait whose contact has a conversation."""
    claim = await in_session(ledger, asked("first"), highest=highest)
    await answer(ledger, claim, highest + 1)
    await ledger.accept([asked("next", **asks)])


async def test_a_known_contacts_post_is_begun_with_the_claim(ledger: SqlLedger, ledger_url: str) -> None:
    await known(ledger, highest=17)
    claim = await begin_one(ledger)
    assert claim.begun == Intent(claim.claimed_at, SESSION, baseline_message_id=18)
    assert claim.question.intent is None, "nothing is to be read back: this is the turn that posts"
    assert claim.question.posts == 0, "it has not been posted before"
    (row,) = sql(ledger_url, "select state, posts from questions where event_id = 'next'")
    assert row == {"state": "posting", "posts": 1}
    await ledger.finish(claim.lease, claim.question.number, answered(19), reply_to(claim))
    assert not (await ledger.claim(1)).turns


async def test_without_being_asked_for_it_nothing_is_begun(ledger: SqlLedger) -> None:
    await known(ledger)
    assert (await claim_one(ledger)).begun is None


async def test_a_new_contacts_post_is_not_begun(ledger: SqlLedger) -> None:
    await ledger.accept([asked()])
    assert (await begin_one(ledger)).begun is None


@pytest.mark.parametrize("asks", [{"api": "chat_completions"}, {"expires_at": 1.0}], ids=str)
async def test_what_is_not_posted_into_the_conversation_is_not_begun(
    ledger: SqlLedger, asks: dict[str, Any]
) -> None:
    await known(ledger, **asks)
    assert (await begin_one(ledger)).begun is None


async def test_what_expires_later_is_begun(ledger: SqlLedger) -> None:
    await known(ledger, expires_at=1e11)
    assert (await begin_one(ledger)).begun is not None


async def test_what_is_over_the_contacts_limit_is_not_begun(ledger_url: str) -> None:
    async with opened(ledger_url, contact_daily_limit=1) as ledger:
        await known(ledger)
        claim = await begin_one(ledger)
        assert (claim.question.is_over_limit, claim.begun) == (True, None)


async def test_after_a_crash_it_is_an_intent_like_any_other(ledger: SqlLedger, ledger_url: str) -> None:
    await known(ledger)
    begun = (await begin_one(ledger)).begun
    let_pass(ledger_url, LEASE_S + 1)
    claim = await begin_one(ledger)
    assert claim.begun is None
    assert begun is not None
    assert claim.question.intent is not None
    assert claim.question.intent.baseline_message_id == begun.baseline_message_id


async def test_a_question_that_a_worker_fell_silent_on_is_begun_by_itself(ledger_url: str) -> None:
    wait_until_up_for(ledger_url, 10 * SHORT_S)
    async with opened(ledger_url, lease_s=SHORT_S) as ledger:
        await known(ledger)
        await claim_one(ledger)
        let_pass(ledger_url, 1.5 * SHORT_S)
        claim = await begin_one(ledger)
        assert (claim.begun, claim.question.intent, claim.question.expired_leases) == (None, None, 1)


async def test_when_nothing_was_sent_it_waits_again_and_may_be_begun_again(ledger: SqlLedger) -> None:
    await known(ledger)
    await end(ledger, await begin_one(ledger), Snooze("send_grace", 0.0))
    claim = await begin_one(ledger)
    assert (claim.question.intent, claim.question.posts) == (None, 1)
    assert claim.begun is not None
    await end(ledger, claim, Retry("unreachable", 0.0))
    assert not (await begin_one(ledger)).question.is_repost


async def test_a_probe_is_not_begun(ledger: SqlLedger, ledger_url: str) -> None:
    await known(ledger)
    await ledger.report(GateNews("pause", "credits_exhausted", 60.0))
    assert not (await ledger.claim(1, begins_posts=True)).turns
    let_pass(ledger_url, 61.0)
    claim = await begin_one(ledger)
    assert (claim.probes, claim.begun) == ("credits_exhausted", None)


async def test_a_new_contacts_post_is_begun_with_its_session(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked()])
    claim = await claim_one(ledger)
    begun = await save_and_begin(ledger, claim, highest=17)
    assert begun is not None
    assert (begun.session_id, begun.baseline_message_id) == (SESSION, 17)
    (row,) = sql(ledger_url, "select state, posts, intent_at, intent_session_id from questions")
    assert row == {"state": "posting", "posts": 1, "intent_at": begun.at, "intent_session_id": SESSION}
    # After a crash it is read back there.
    let_pass(ledger_url, LEASE_S + 1)
    intent = (await claim_one(ledger)).question.intent
    assert intent is not None
    assert (intent.session_id, intent.baseline_message_id) == (SESSION, 17)


async def test_without_the_session_nothing_is_begun(ledger: SqlLedger, ledger_url: str) -> None:
    claim = await in_session(ledger, asked(), "another session")
    with pytest.raises(LeaseLost):
        await save_and_begin(ledger, claim)
    let_pass(ledger_url, LEASE_S + 1)
    taken_over = await claim_one(ledger)
    with pytest.raises(LeaseLost):
        await save_and_begin(ledger, claim)
    await end(ledger, taken_over, Retry("unreachable", 0.0))
    question = (await claim_one(ledger)).question
    assert (question.intent, question.posts) == (None, 0)


async def test_a_session_is_saved_although_the_gate_is_closed(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked()])
    claim = await claim_one(ledger)
    await ledger.report(GateNews("pause", "throttled", 60.0))
    assert await save_and_begin(ledger, claim) is None
    (row,) = sql(ledger_url, "select state, posts from questions")
    assert row == {"state": "waiting", "posts": 0}
    with pytest.raises(GateClosed):
        await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)


async def test_of_several_sessions_saved_at_once_each_has_its_own_intent(ledger: SqlLedger) -> None:
    contacts = [f"EXT_{number}" for number in range(5)]
    await ledger.accept([asked(f"of {contact}", contact) for contact in contacts])
    turns = (await ledger.claim(5)).turns
    begun = await asyncio.gather(
        *(
            save_and_begin(ledger, claim, f"session of {claim.conversation.contact_id}", place)
            if place % 2
            else ensured(ledger, claim, f"session of {claim.conversation.contact_id}")
            for place, claim in enumerate(turns)
        )
    )
    assert [intent and (intent.session_id, intent.baseline_message_id) for intent in begun] == [
        (f"session of {claim.conversation.contact_id}", place) if place % 2 else None
        for place, claim in enumerate(turns)
    ]


async def test_a_post_begun_with_its_session_counts_as_a_request(ledger_url: str) -> None:
    async with opened(ledger_url, pace=Pace(requests_per_minute=60, requests_at_once=0)) as ledger:
        await ledger.accept([asked()])
        claim = await claim_one(ledger)
        await ledger.begin_create(claim.lease, PROJECT)
        before = sum(spent(ledger_url))
        assert await save_and_begin(ledger, claim) is not None
        assert sum(spent(ledger_url)) == before + 1


async def save_and_begin(
    ledger: SqlLedger, claim: Claim, session_id: str = SESSION, highest: int = 0
) -> Intent | None:
    """Save a session and begin the post of the claimed question in it."""
    return await ledger.save_session(
        claim.lease,
        project_id=PROJECT,
        session_id=session_id,
        conversation_id=42,
        highest_message_id=highest,
        begins_post_of=claim.question.number,
    )


async def test_it_counts_as_a_request_and_as_one_under_way(ledger_url: str) -> None:
    contacts = ("EXT_1", "EXT_2", "EXT_3")
    async with opened(ledger_url) as ledger:
        await ledger.accept([asked(f"{contact}-1", contact) for contact in contacts])
        for claim in (await ledger.claim(len(contacts))).turns:
            await ensured(ledger, claim, claim.conversation.contact_id)
            await end(ledger, claim, Retry("unreachable", 0.0))
    async with opened(ledger_url, pace=Pace(requests_per_minute=60, requests_at_once=2)) as ledger:
        claims = await ledger.claim(5, begins_posts=True)
        assert [claim.begun is not None for claim in claims.turns] == [True, True]
        assert claims.closed == "at_once"
        assert sum(spent(ledger_url)) == 2


def spent(url: str) -> list[int]:
    """Return the requests that the gate has counted, by bucket."""
    (row,) = sql(url, "select buckets from gates")
    return list(json.loads(row["buckets"]).values())
