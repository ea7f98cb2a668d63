"""Evidence of second posts: which questions are looked for once more, and posts that left late."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.contract.ledger_cases import (
    CONFIG,
    PROJECT,
    SESSION,
    answered,
    asked,
    claim_one,
    end,
    in_session,
    let_pass,
    opened,
    reply_to,
    sql,
)
from worker.adapters.ledger import SqlLedger
from worker.core.model import AcceptedQuestion, Answered, Claim, Failed, SecondLook, Snooze

UNKNOWN = Snooze("outcome_unknown", 0.0, keeps_intent=True)
SETTLE_S = CONFIG.settle_s
#: s. Longer than a look that was taken stays away.
LONG_S = 10_000.0


async def posted_twice(
    ledger: SqlLedger, question: AcceptedQuestion, *, highest: int = 4, answer_id: int = 9
) -> Claim:
    """Post a question, lose its outcome, post it again and record the answer."""
    claim = await in_session(ledger, question, highest=highest)
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await end(ledger, claim, UNKNOWN)
    claim = await claim_one(ledger)
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    verdict = answered(answer_id, outcome="reposted_after_unknown")
    await ledger.finish(claim.lease, claim.question.number, verdict, reply_to(claim))
    return claim


async def test_question_that_was_posted_again_is_due_one_settle_time_later(
    ledger: SqlLedger, ledger_url: str
) -> None:
    claim = await posted_twice(ledger, asked())
    let_pass(ledger_url, SETTLE_S - 5)
    assert await ledger.take_second_looks(10) == []
    let_pass(ledger_url, 5)
    assert await ledger.take_second_looks(10) == [
        SecondLook(
            question=claim.question.number,
            source="crm/test",
            event_id="evt-1",
            text="Question evt-1?",
            project_id=PROJECT,
            session_id=SESSION,
            external_id="EXT_1",
            baseline_message_id=4,
            message_id=9,
        )
    ]


async def test_look_begins_at_the_baseline_of_the_first_post(ledger: SqlLedger, ledger_url: str) -> None:
    claim = await in_session(ledger, asked(), highest=4)
    for seen in (5, 6, 7):
        await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
        # Others talk in the conversation, so that every post has a baseline of its own.
        await ledger.raise_highest(claim.lease, seen)
        await end(ledger, claim, UNKNOWN)
        claim = await claim_one(ledger)
    verdict = answered(9, outcome="recovered")
    await ledger.finish(claim.lease, claim.question.number, verdict, reply_to(claim))
    let_pass(ledger_url, SETTLE_S)
    assert [look.baseline_message_id for look in await ledger.take_second_looks(10)] == [4]


@pytest.mark.parametrize("verdict", [answered(9), answered(9, outcome="recovered")])
async def test_question_that_was_posted_once_is_not_looked_for(
    ledger: SqlLedger, ledger_url: str, verdict: Answered
) -> None:
    claim = await in_session(ledger, asked())
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await end(ledger, claim, UNKNOWN)
    claim = await claim_one(ledger)
    await ledger.finish(claim.lease, claim.question.number, verdict, reply_to(claim))
    let_pass(ledger_url, LONG_S)
    assert await ledger.take_second_looks(10) == []


async def test_look_that_was_taken_is_due_again_only_after_a_while(
    ledger: SqlLedger, ledger_url: str
) -> None:
    await posted_twice(ledger, asked())
    let_pass(ledger_url, SETTLE_S)
    (look,) = await ledger.take_second_looks(10)
    async with opened(ledger_url, worker_id="worker-b") as other:
        assert await other.take_second_looks(10) == []
        # The first worker was killed before it reported.
        let_pass(ledger_url, LONG_S)
        assert await other.take_second_looks(10) == [look]


async def test_post_is_outstanding_until_its_end_is_recorded(ledger: SqlLedger) -> None:
    first = await posted_twice(ledger, asked("a"))
    await ledger.accept([asked("b"), asked("c", "EXT_2")])
    number = first.question.number
    next_, other = (await ledger.claim(2)).turns
    assert not await ledger.has_outstanding_post(number)
    await ledger.save_session(
        other.lease, project_id=PROJECT, session_id="other", conversation_id=43, highest_message_id=0
    )
    await ledger.begin_post(other.lease, other.question.number, session_id="other")
    assert not await ledger.has_outstanding_post(number), "another conversation's"
    await ledger.begin_post(next_.lease, next_.question.number, session_id=SESSION)
    assert await ledger.has_outstanding_post(number)
    await end(ledger, next_, UNKNOWN)
    assert await ledger.has_outstanding_post(number)
    await end(ledger, await claim_one(ledger), answered(10))
    assert not await ledger.has_outstanding_post(number)


@pytest.mark.parametrize("found", [None, 7])
async def test_look_that_was_recorded_is_over(ledger: SqlLedger, ledger_url: str, found: int | None) -> None:
    await posted_twice(ledger, asked())
    let_pass(ledger_url, SETTLE_S)
    (look,) = await ledger.take_second_looks(10)
    await ledger.record_second_look(look.question, duplicate_message_id=found)
    let_pass(ledger_url, LONG_S)
    assert await ledger.take_second_looks(10) == []
    assert sql(ledger_url, "select duplicate_message_id, message_id, state from questions") == [
        {"duplicate_message_id": found, "message_id": 9, "state": "answered"}
    ]


async def test_looks_are_taken_oldest_first_and_no_more_than_asked_for(
    ledger: SqlLedger, ledger_url: str
) -> None:
    for number, event_id in enumerate(("a", "b", "c")):
        question = replace(asked(event_id), contact_id=f"EXT_{number}")
        claim = await in_session(ledger, question, f"session-{event_id}")
        for _ in range(2):
            await ledger.begin_post(claim.lease, claim.question.number, session_id=f"session-{event_id}")
        verdict = answered(9, session_id=f"session-{event_id}", outcome="reposted_after_unknown")
        await ledger.finish(claim.lease, claim.question.number, verdict, reply_to(claim))
        let_pass(ledger_url, 1)
    let_pass(ledger_url, SETTLE_S)
    assert [look.event_id for look in await ledger.take_second_looks(2)] == ["a", "b"]
    assert [look.event_id for look in await ledger.take_second_looks(2)] == ["c"]


async def test_late_post_is_kept_as_evidence_without_a_lease(ledger: SqlLedger, ledger_url: str) -> None:
    claim = await in_session(ledger, asked())
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    # It was stopped for so long that the question is finished by somebody else.
    async with opened(ledger_url, worker_id="worker-b") as other:
        let_pass(ledger_url, LONG_S)
        again = await claim_one(other)
        await end(other, again, Failed("outcome_unknown"))
    await ledger.record_late_post(claim.question.number)
    (row,) = sql(ledger_url, "select state, code, late_post_at from questions")
    assert (row["state"], row["code"]) == ("failed", "outcome_unknown")
    assert row["late_post_at"] is not None


async def test_question_posted_in_time_has_no_late_post(ledger: SqlLedger, ledger_url: str) -> None:
    await posted_twice(ledger, asked())
    assert sql(ledger_url, "select late_post_at from questions") == [{"late_post_at": None}]
