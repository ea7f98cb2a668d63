"""The end of a turn: question, conversation, reply and gate change together, or not at all (PROTOCOL 5.4)."""

from __future__ import annotations

import asyncio
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
    in_session,
    let_pass,
    message,
    opened,
    reply_to,
    snapshot,
    sql,
)
from worker.adapters.ledger import SqlLedger
from worker.adapters.ledger.leases import SOON_S
from worker.core.errors import MessageClaimed
from worker.core.model import Answered, Failed, Halt, Retry, Snooze, Verdict


def question_row(url: str, event_id: str = "evt-1") -> dict[str, object]:
    return sql(url, "select * from questions where event_id = :event_id", event_id=event_id)[0]


async def test_an_answer_is_recorded_with_everything_that_belongs_to_it(
    ledger: SqlLedger, ledger_url: str
) -> None:
    claim = await in_session(ledger, asked(), highest=4)
    recorded = await answer(ledger, claim, 9)
    assert recorded is not None
    assert recorded.reply == reply_to(claim)
    row = question_row(ledger_url)
    assert (row["state"], row["session_id"], row["message_id"]) == ("answered", SESSION, 9)
    assert (row["outcome"], row["attempts"], row["posts"]) == ("posted", 1, 1)
    assert row["finished_at"]
    conversation = sql(ledger_url, "select * from conversations")[0]
    assert (conversation["highest_message_id"], conversation["lease_until"]) == (9, 0)
    assert conversation["owner"] is None


async def test_the_highest_message_id_never_falls(ledger: SqlLedger) -> None:
    claim = await in_session(ledger, asked("a"), highest=40)
    await ledger.accept([asked("b")])
    await answer(ledger, claim, 9)
    assert (await claim_one(ledger)).conversation.highest_message_id == 40


async def test_an_answer_found_in_a_former_session_does_not_raise_the_new_ones_baseline(
    ledger: SqlLedger,
) -> None:
    claim = await in_session(ledger, asked("a"))
    await ledger.accept([asked("b")])
    verdict = answered(900, session_id="former", outcome="recovered")
    await ledger.finish(claim.lease, claim.question.number, verdict, reply_to(claim))
    assert (await claim_one(ledger)).conversation.highest_message_id == 0


async def test_an_answer_brings_the_conversations_number_where_it_was_missing(ledger: SqlLedger) -> None:
    await ledger.accept([asked("a"), asked("b")])
    claim = await claim_one(ledger)
    await ledger.save_session(
        claim.lease, project_id=PROJECT, session_id=SESSION, conversation_id=None, highest_message_id=0
    )
    verdict = Answered(message(1, conversation_id=77), SESSION, "posted", None)
    await ledger.finish(claim.lease, claim.question.number, verdict, reply_to(claim))
    assert (await claim_one(ledger)).conversation.conversation_id == 77


async def test_a_retry_counts_an_attempt_clears_the_intent_and_waits(
    ledger: SqlLedger, ledger_url: str
) -> None:
    claim = await in_session(ledger, asked())
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await end(ledger, claim, Retry("unreachable", 7.0))
    assert (await ledger.claim(1)).turns == ()
    let_pass(ledger_url, 8)
    question = (await claim_one(ledger)).question
    assert (question.attempts, question.intent, question.posts) == (1, None, 1)


@pytest.mark.parametrize(
    ("code", "attempts"),
    [("attempts_exhausted", 2), ("answer_unreadable", 2), ("question_rejected", 1), ("expired", 1)],
)
async def test_a_failure_counts_its_last_attempt_where_that_counts(
    ledger: SqlLedger, ledger_url: str, code: str, attempts: int
) -> None:
    await end(ledger, await in_session(ledger, asked()), Retry("unreachable", 0.0))
    await end(ledger, await claim_one(ledger), Failed(code))
    assert question_row(ledger_url)["attempts"] == attempts


async def test_a_snooze_counts_nothing_and_clears_the_intent(ledger: SqlLedger) -> None:
    claim = await in_session(ledger, asked())
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await end(ledger, claim, Snooze("throttled", 0.0))
    question = (await claim_one(ledger)).question
    assert (question.attempts, question.intent) == (0, None)


async def test_a_snooze_over_an_unknown_outcome_keeps_the_intent_and_counts_looks(ledger: SqlLedger) -> None:
    claim = await in_session(ledger, asked(), highest=3)
    intent = await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await end(ledger, claim, Snooze("outcome_unknown", 0.0, keeps_intent=True))
    claim = await claim_one(ledger)
    assert claim.question.intent == intent
    await end(ledger, claim, Snooze("outcome_unknown", 0.0, keeps_intent=True, is_look=True, has_ended=True))
    claim = await claim_one(ledger)
    assert claim.question.intent == replace(intent, looks=1, has_ended=True)
    # What the API said once stays true.
    await end(ledger, claim, Snooze("outcome_unknown", 0.0, keeps_intent=True, is_look=True))
    claim = await claim_one(ledger)
    assert claim.question.intent == replace(intent, looks=2, has_ended=True)


@pytest.mark.parametrize("keeps_intent", [False, True])
async def test_a_halt_closes_the_gate_and_the_question_stays(
    ledger: SqlLedger, ledger_url: str, *, keeps_intent: bool
) -> None:
    claim = await in_session(ledger, asked())
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await end(ledger, claim, Halt("credentials_rejected", 60.0, keeps_intent=keeps_intent))
    claims = await ledger.claim(1)
    assert (claims.turns, claims.closed) == ((), "credentials_rejected")
    assert claims.next_due_in_s == pytest.approx(60, abs=5)
    let_pass(ledger_url, 61)
    probe = await claim_one(ledger)
    assert probe.probes == "credentials_rejected"
    assert (probe.question.intent is not None) is keeps_intent
    assert probe.question.attempts == 0


async def test_a_burnt_message_raises_the_baseline_so_that_it_is_never_adopted(
    ledger: SqlLedger, ledger_url: str
) -> None:
    claim = await in_session(ledger, asked(), highest=3)
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await end(ledger, claim, Halt("credits_exhausted", 900.0, burnt_message_id=8, session_id=SESSION))
    let_pass(ledger_url, 901)
    claim = await claim_one(ledger)
    intent = await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    assert intent.baseline_message_id == 8


async def test_a_failure_is_recorded_with_its_reply_and_the_next_question_goes_on(
    ledger: SqlLedger, ledger_url: str
) -> None:
    await ledger.accept([asked("a"), asked("b")])
    claim = await claim_one(ledger)
    reply = reply_to(claim, "failed")
    ended = await ledger.finish(claim.lease, claim.question.number, Failed("expired", "too late"), reply)
    assert ended.reply is not None
    assert ended.reply.reply == reply
    assert ended.has_next
    row = question_row(ledger_url, "a")
    assert (row["state"], row["code"], row["detail"], row["message_id"]) == (
        "failed",
        "expired",
        "too late",
        None,
    )
    assert (await claim_one(ledger)).question.event_id == "b"


async def test_an_end_that_leaves_nothing_to_claim_says_so(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked("a", "EXT_1"), asked("b", "EXT_2"), asked("c", "EXT_3")])
    first, second, third = (await ledger.claim(3)).turns
    assert not (await end(ledger, first, Failed("expired"))).has_next, "the others have their turns"
    await ledger.accept([asked("d", "EXT_4")])
    assert (await end(ledger, second, Failed("expired"))).has_next, "somebody else's question is due"
    await end(ledger, await claim_one(ledger), Failed("expired"))
    assert not (await end(ledger, third, Failed("expired"))).has_next
    assert (await ledger.claim(1)).turns == ()


@pytest.mark.parametrize("verdict", [Retry("unreachable", 8.0), Snooze("outcome_unknown", 8.0)])
async def test_what_is_due_soon_is_to_be_claimed_whoever_put_it_off(
    ledger: SqlLedger, verdict: Verdict
) -> None:
    await ledger.accept([asked("a", "EXT_1"), asked("b", "EXT_2")])
    first, second = (await ledger.claim(2)).turns
    assert (await end(ledger, first, verdict)).has_next
    assert (await end(ledger, second, Failed("expired"))).has_next
    assert (await ledger.claim(1)).next_due_in_s == pytest.approx(8.0, abs=1.0)


async def test_what_is_due_later_is_left_to_the_looks_that_come_anyway(ledger: SqlLedger) -> None:
    await ledger.accept([asked("a")])
    ended = await end(ledger, await claim_one(ledger), Retry("unreachable", 2 * SOON_S))
    assert not ended.has_next


async def test_what_another_may_have_let_fall_is_to_be_claimed(ledger: SqlLedger, ledger_url: str) -> None:
    await ledger.accept([asked("a", "EXT_1")])
    async with opened(ledger_url, worker_id="worker-b") as other:
        await claim_one(other)
    await ledger.accept([asked("b", "EXT_2")])
    claim = await claim_one(ledger)
    let_pass(ledger_url, LEASE_S - SOON_S / 2)
    assert (await end(ledger, claim, Failed("expired"))).has_next


async def test_a_failed_question_blocks_its_conversation_when_asked_to(ledger_url: str) -> None:
    async with opened(ledger_url, blocks_on_failure=True) as ledger:
        await ledger.accept([asked("a"), asked("b"), asked("c", "EXT_2")])
        first = next(c for c in (await ledger.claim(9)).turns if c.question.event_id == "a")
        await end(ledger, first, Failed("expired"))
        await ledger.accept([asked("d")])
        assert (await ledger.claim(9)).turns == ()


async def test_an_unreadable_answer_claims_its_message(ledger: SqlLedger) -> None:
    claim = await in_session(ledger, asked("a"))
    await ledger.accept([asked("b")])
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    verdict = Failed("answer_unreadable", message_id=6, session_id=SESSION)
    await ledger.finish(claim.lease, claim.question.number, verdict, reply_to(claim, "failed"))
    assert await ledger.unclaimed(SESSION, [5, 6, 7]) == {5, 7}
    assert (await claim_one(ledger)).conversation.highest_message_id == 6


async def test_a_message_is_unclaimed_per_session(ledger: SqlLedger) -> None:
    await answer(ledger, await in_session(ledger, asked()), 6)
    assert await ledger.unclaimed(SESSION, [6]) == set()
    assert await ledger.unclaimed("another", [6]) == {6}
    assert await ledger.unclaimed(SESSION, []) == set()


async def test_a_message_that_answers_another_question_cannot_be_claimed(
    ledger: SqlLedger, ledger_url: str
) -> None:
    await answer(ledger, await in_session(ledger, asked("a")), 6)
    await ledger.accept([asked("b")])
    claim = await claim_one(ledger)
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    before = snapshot(ledger_url)
    with pytest.raises(MessageClaimed):
        await ledger.finish(claim.lease, claim.question.number, answered(6), reply_to(claim))
    assert snapshot(ledger_url) == before
    # The turn goes on under its lease: the outcome is unknown.
    await end(ledger, claim, Snooze("outcome_unknown", 0.0, keeps_intent=True))
    assert (await claim_one(ledger)).question.intent is not None


async def test_two_questions_that_claim_one_message_at_once_leave_one_culprit_and_spare_the_others(
    ledger_url: str,
) -> None:
    sizes: list[int] = []
    async with opened(ledger_url, on_batch=lambda size, _: sizes.append(size)) as ledger:
        await ledger.accept([asked(f"evt-{i}", f"c-{i}") for i in range(6)])
        claims = (await ledger.claim(6)).turns
        for claim in claims:
            # Six conversations saved one session: only a mistake of the API could bring that about.
            await ledger.save_session(
                claim.lease, project_id=PROJECT, session_id=SESSION, conversation_id=1, highest_message_id=0
            )
        for claim in claims:
            await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
        sizes.clear()
        message_ids = [1, 2, 3, 2, 4, 5]
        results = await asyncio.gather(
            *(
                ledger.finish(claim.lease, claim.question.number, answered(message_id), reply_to(claim))
                for claim, message_id in zip(claims, message_ids, strict=True)
            ),
            return_exceptions=True,
        )
    culprits = [i for i, result in enumerate(results) if isinstance(result, MessageClaimed)]
    assert len(culprits) == 1
    assert culprits[0] in {1, 3}
    assert all(result is not None for result in results)
    finished = sql(ledger_url, "select message_id from questions where state = 'answered'")
    assert sorted(row["message_id"] for row in finished) == [1, 2, 3, 4, 5]
    assert len(sql(ledger_url, "select number from replies")) == 5


async def test_a_repost_is_remembered_until_the_answer(ledger: SqlLedger, ledger_url: str) -> None:
    claim = await in_session(ledger, asked())
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await ledger.release([claim.lease])
    claim = await claim_one(ledger)
    assert not claim.question.is_repost
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    await end(ledger, claim, Retry("unreachable", 0.0))
    claim = await claim_one(ledger)
    assert (claim.question.is_repost, claim.question.posts) == (True, 2)
