"""What is written before a post: project, session, the intents to create and to post (PROTOCOL 4 and 5)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.contract.ledger_cases import (
    LEASE_S,
    PROJECT,
    SESSION,
    answer,
    answered,
    asked,
    claim_one,
    end,
    ensured,
    in_session,
    let_pass,
    opened,
    snapshot,
)
from worker.adapters.ledger import SqlLedger
from worker.core.errors import GateClosed, LeaseLost
from worker.core.model import NO_SESSION, GateNews, Retry, Snooze


async def test_the_project_is_fixed_once(ledger: SqlLedger) -> None:
    await ledger.accept([asked()])
    claim = await claim_one(ledger)
    await ledger.begin_create(claim.lease, PROJECT)
    await end(ledger, claim, Retry("unreachable", 0.0))
    claim = await claim_one(ledger)
    assert claim.conversation.project_id == PROJECT
    await ledger.begin_create(claim.lease, 9)
    await ledger.save_session(
        claim.lease, project_id=9, session_id=SESSION, conversation_id=1, highest_message_id=0
    )
    await end(ledger, claim, Retry("unreachable", 0.0))
    assert (await claim_one(ledger)).conversation.project_id == PROJECT


async def test_a_conversation_that_was_found_has_its_project_with_its_session(ledger: SqlLedger) -> None:
    await ledger.accept([asked()])
    claim = await claim_one(ledger)
    assert claim.conversation.project_id is None
    await ensured(ledger, claim)
    await end(ledger, claim, Retry("unreachable", 0.0))
    assert (await claim_one(ledger)).conversation.project_id == PROJECT


async def test_an_intent_to_create_stays_until_it_is_cancelled_or_saved(ledger: SqlLedger) -> None:
    await ledger.accept([asked()])
    claim = await claim_one(ledger)
    await ledger.begin_create(claim.lease, PROJECT)
    await end(ledger, claim, Snooze("creation_pending", 0.0))
    claim = await claim_one(ledger)
    assert claim.conversation.create_intent_at == pytest.approx(claim.claimed_at, abs=10)
    await ledger.cancel_create(claim.lease)
    await end(ledger, claim, Snooze("creation_pending", 0.0))
    claim = await claim_one(ledger)
    assert claim.conversation.create_intent_at is None


async def test_a_session_and_its_highest_message_id_are_saved_together(ledger: SqlLedger) -> None:
    claim = await in_session(ledger, asked(), highest=17)
    await end(ledger, claim, Retry("unreachable", 0.0))
    conversation = (await claim_one(ledger)).conversation
    assert (conversation.session_id, conversation.conversation_id) == (SESSION, 42)
    assert (conversation.highest_message_id, conversation.create_intent_at) == (17, None)


async def test_a_saved_session_is_never_replaced(ledger: SqlLedger) -> None:
    claim = await in_session(ledger, asked())
    with pytest.raises(LeaseLost):
        await ensured(ledger, claim, "another")


async def test_a_forgotten_session_is_remembered_and_a_new_epoch_begins(ledger: SqlLedger) -> None:
    claim = await in_session(ledger, asked(), "first", highest=17)
    await ledger.forget_session(claim.lease)
    with pytest.raises(LeaseLost):
        await ledger.forget_session(claim.lease)
    await ledger.save_session(
        claim.lease, project_id=PROJECT, session_id="second", conversation_id=2, highest_message_id=0
    )
    await ledger.forget_session(claim.lease)
    await end(ledger, claim, Retry("unreachable", 0.0))
    conversation = (await claim_one(ledger)).conversation
    assert (conversation.session_id, conversation.highest_message_id, conversation.epoch) == (None, 0, 2)
    assert conversation.forgotten_session_ids == ("first", "second")


async def test_an_intent_names_the_highest_message_id_as_its_baseline(ledger: SqlLedger) -> None:
    claim = await in_session(ledger, asked(), highest=17)
    intent = await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    assert (intent.session_id, intent.baseline_message_id, intent.looks) == (SESSION, 17, 0)
    assert intent.at == pytest.approx(claim.claimed_at, abs=10)
    await ledger.release([claim.lease])
    again = await claim_one(ledger)
    assert (again.question.intent, again.question.posts) == (intent, 1)


async def test_an_intent_for_a_session_that_is_not_saved_is_refused(
    ledger: SqlLedger, ledger_url: str
) -> None:
    claim = await in_session(ledger, asked())
    before = snapshot(ledger_url)
    with pytest.raises(LeaseLost):
        await ledger.begin_post(claim.lease, claim.question.number, session_id="another")
    assert snapshot(ledger_url) == before


async def test_an_intent_for_a_finished_question_is_refused(ledger: SqlLedger) -> None:
    claim = await in_session(ledger, asked("a"))
    await ledger.accept([asked("b")])
    await answer(ledger, claim, 1)
    later = await claim_one(ledger)
    with pytest.raises(LeaseLost):
        await ledger.begin_post(later.lease, claim.question.number, session_id=SESSION)


async def test_no_intent_is_committed_after_a_pause_was(ledger: SqlLedger, ledger_url: str) -> None:
    claim = await in_session(ledger, asked())
    before = snapshot(ledger_url)
    await ledger.report(GateNews("pause", "throttled", 60.0))
    with pytest.raises(GateClosed) as raised:
        await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    assert (raised.value.reason, raised.value.retry_in_s) == ("throttled", pytest.approx(60, abs=5))
    assert snapshot(ledger_url) == before


async def test_no_intent_of_another_worker_is_committed_after_a_pause_was(
    ledger: SqlLedger, ledger_url: str
) -> None:
    claim = await in_session(ledger, asked())
    async with opened(ledger_url, worker_id="worker-b") as other:
        await other.report(GateNews("pause", "throttled", 60.0))
        with pytest.raises(GateClosed):
            await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
        with pytest.raises(GateClosed):
            await ledger.begin_create(claim.lease, PROJECT)
        with pytest.raises(GateClosed):
            await ledger.admit_read(claim.lease)


async def test_another_keys_pause_is_no_pause(ledger: SqlLedger, ledger_url: str) -> None:
    claim = await in_session(ledger, asked())
    async with opened(ledger_url, worker_id="worker-b", gate_key="another key") as other:
        await other.report(GateNews("pause", "throttled", 60.0))
        await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)


async def test_an_attempt_that_definitely_failed_is_no_repost(ledger: SqlLedger) -> None:
    claim = await in_session(ledger, asked())
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await end(ledger, claim, Retry("unreachable", 0.0))
    claim = await claim_one(ledger)
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await end(ledger, claim, Retry("unreachable", 0.0))
    assert not (await claim_one(ledger)).question.is_repost


async def test_a_new_intent_forgets_the_looks_of_the_old_one(ledger: SqlLedger) -> None:
    claim = await in_session(ledger, asked())
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await end(ledger, claim, Snooze("outcome_unknown", 0, keeps_intent=True, is_look=True, has_ended=True))
    claim = await claim_one(ledger)
    intent = await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await ledger.release([claim.lease])
    assert (await claim_one(ledger)).question.intent == intent
    assert (intent.looks, intent.has_ended) == (0, False)


async def test_a_worker_that_died_with_an_intent_leaves_it_to_the_next(
    ledger: SqlLedger, ledger_url: str
) -> None:
    claim = await in_session(ledger, asked(), highest=5)
    intent = await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    let_pass(ledger_url, LEASE_S + 1)
    async with opened(ledger_url, worker_id="worker-b") as other:
        found = (await claim_one(other)).question.intent
        assert found is not None
        assert (found.baseline_message_id, found.session_id) == (5, SESSION)
        assert found.at == pytest.approx(intent.at - LEASE_S - 1, abs=0.001)


async def test_a_post_that_was_taken_is_known_to_whoever_comes_next(
    ledger: SqlLedger, ledger_url: str
) -> None:
    claim = await in_session(ledger, asked())
    intent = await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    assert not intent.is_accepted
    await ledger.record_accepted(claim.lease, claim.question.number)
    await ledger.release([claim.lease])
    async with opened(ledger_url, worker_id="worker-b") as other:
        claim = await claim_one(other)
        assert claim.question.intent == replace(intent, is_accepted=True)
        await end(other, claim, Snooze("outcome_unknown", 0, keeps_intent=True, is_look=True))
        claim = await claim_one(other)
        assert claim.question.intent == replace(intent, is_accepted=True, looks=1)


async def test_a_new_intent_is_not_known_to_be_taken(ledger: SqlLedger) -> None:
    claim = await in_session(ledger, asked())
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await ledger.record_accepted(claim.lease, claim.question.number)
    intent = await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await ledger.release([claim.lease])
    assert not intent.is_accepted
    assert (await claim_one(ledger)).question.intent == intent


async def test_an_acceptance_is_refused_without_the_lease_or_an_intent(
    ledger: SqlLedger, ledger_url: str
) -> None:
    claim = await in_session(ledger, asked())
    with pytest.raises(LeaseLost):
        await ledger.record_accepted(claim.lease, claim.question.number)
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    let_pass(ledger_url, LEASE_S + 1)
    async with opened(ledger_url, worker_id="worker-b") as other:
        await claim_one(other)
        before = snapshot(ledger_url)
        with pytest.raises(LeaseLost):
            await ledger.record_accepted(claim.lease, claim.question.number)
        assert snapshot(ledger_url) == before


async def test_a_question_without_a_conversation_needs_no_session(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked("a", api="chat_completions"), asked("b")])
    claim = await claim_one(ledger)
    assert (claim.question.api, claim.conversation.session_id) == ("chat_completions", None)
    intent = await ledger.begin_post(claim.lease, claim.question.number, session_id=NO_SESSION)
    await end(ledger, claim, Snooze("outcome_unknown", 0, keeps_intent=True))
    claim = await claim_one(ledger)
    assert claim.question.intent == intent
    assert intent.session_id == NO_SESSION
    # Asked again, and then answered: there is nothing that could be looked for once more.
    await ledger.begin_post(claim.lease, claim.question.number, session_id=NO_SESSION)
    await end(ledger, claim, answered(0, session_id=NO_SESSION))
    let_pass(ledger_url, 3600)
    assert await ledger.take_second_looks(10) == []
    claim = await claim_one(ledger)
    assert (claim.question.event_id, claim.question.api, claim.conversation.session_id) == ("b", None, None)


async def test_answers_without_a_conversation_claim_no_message_of_each_other(ledger: SqlLedger) -> None:
    for name in ("a", "b"):
        await ledger.accept([asked(name, api="chat_completions")])
        claim = await claim_one(ledger)
        await ledger.begin_post(claim.lease, claim.question.number, session_id=NO_SESSION)
        await end(ledger, claim, answered(0, session_id=NO_SESSION))
