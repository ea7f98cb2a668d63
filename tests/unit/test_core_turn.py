"""A turn posts the question once, within the grace, and sorts what comes back (PROTOCOL 5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.core_cases import (
    CONTACT,
    CONVERSATION,
    LEASE,
    NEW,
    PROJECT,
    RULES,
    SESSION,
    TEXT,
    Bench,
    in_flight,
)
from worker.core.errors import (
    ConversationGone,
    CredentialsRejected,
    CreditsExhausted,
    GateClosed,
    LeaseLost,
    LedgerUnavailable,
    MessageClaimed,
    OutcomeUnknown,
    QuestionRejected,
    Throttled,
    Unreachable,
)
from worker.core.model import (
    Answered,
    CannedTexts,
    Conversation,
    Failed,
    GateNews,
    Halt,
    Intent,
    RemoteMessage,
    Retry,
    Snooze,
)
from worker.core.ports import RecoveryPoint
from worker.core.turn import take_turn


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_known_contacts_question_is_posted_and_answered(bench: Bench) -> None:
    verdict = await bench.finished()
    assert isinstance(verdict, Answered)
    assert (verdict.message.message_id, verdict.outcome, verdict.fallback) == (1, "posted", None)
    ((project, session, text, external_id, lang, _, _),) = bench.assistant.called("post_question")
    assert (project, session, text, external_id, lang) == (PROJECT, SESSION, TEXT, CONTACT, "en")
    assert [entry.reply for entry in bench.published] == [bench.reply]


async def test_the_intent_is_committed_before_anything_is_sent(bench: Bench) -> None:
    order: list[str] = []
    bench.ledger.script("begin_post", lambda *_: order.append("intent") or Intent(1_000.0, SESSION, 0))
    bench.assistant.script(
        "post_question", lambda *_: order.append("post") or bench.assistant.store(SESSION, TEXT, CONTACT)
    )
    await bench.taken()
    assert order == ["intent", "post"]


async def test_recovery_points_come_in_the_order_of_the_protocol(bench: Bench) -> None:
    await bench.finished(NEW)
    assert bench.points.seen == [
        RecoveryPoint.CONVERSATIONS_LISTED,
        RecoveryPoint.CREATE_INTENDED,
        RecoveryPoint.CONVERSATION_CREATED,
        RecoveryPoint.SESSION_SAVED,
        RecoveryPoint.POST_INTENDED,
        RecoveryPoint.QUESTION_POSTED,
        RecoveryPoint.TURN_FINISHED,
    ]


async def test_a_long_contact_id_is_posted_as_its_hash_and_the_reply_has_both(bench: Bench) -> None:
    conversation = replace(CONVERSATION, contact_id="x" * 200, external_id="sha256:" + "a" * 64)
    await bench.finished(conversation)
    assert bench.assistant.called("post_question")[0][3] == conversation.external_id
    data = bench.reply_data
    assert (data["contact_id"], data["external_id"]) == ("x" * 200, conversation.external_id)


async def test_what_is_left_of_the_grace_is_the_time_to_connect(bench: Bench) -> None:
    def slow(*_: Any) -> Intent:
        bench.clock.now += 0.5
        return Intent(1_000.0, SESSION, 0)

    bench.ledger.script("begin_post", slow)
    await bench.taken()
    assert bench.assistant.called("post_question")[0][-1] == pytest.approx(RULES.send_grace_s - 0.5)


@pytest.mark.parametrize("late_s", [RULES.send_grace_s, 60.0])
async def test_nothing_is_sent_when_the_grace_passed_during_the_commit(bench: Bench, late_s: float) -> None:
    def stopped(*_: Any) -> Intent:
        bench.clock.now += late_s
        return Intent(1_000.0, SESSION, 0)

    bench.ledger.script("begin_post", stopped)
    verdict = await bench.finished()
    assert isinstance(verdict, Snooze)
    assert (verdict.code, verdict.keeps_intent) == ("send_grace", False)
    assert bench.assistant.posts == 0


async def test_the_grace_begins_before_the_last_try_to_commit(bench: Bench) -> None:
    # The ledger was away for long before: that time is not held against the post.
    bench.ledger.script("begin_post", *[LedgerUnavailable()] * 6)
    assert isinstance(await bench.taken(), Answered)
    assert sum(bench.clock.slept) > RULES.send_grace_s
    assert bench.assistant.called("post_question")[0][-1] == RULES.send_grace_s


DEFINITE = {
    "unreachable": (Unreachable(), Retry),
    "rejected": (QuestionRejected("post_question: 400"), Failed),
    "throttled": (Throttled(pause_s=7), Snooze),
    "credits": (CreditsExhausted(), Halt),
}


@pytest.mark.parametrize("name", DEFINITE)
async def test_a_definite_failure_clears_the_intent(bench: Bench, name: str) -> None:
    error, kind = DEFINITE[name]
    bench.assistant.script("post_question", error)
    verdict = await bench.taken()
    assert isinstance(verdict, kind)
    assert not getattr(verdict, "keeps_intent", False)
    assert bench.assistant.posts == 1


async def test_a_definite_failure_of_a_repost_clears_the_intent_too(bench: Bench) -> None:
    bench.assistant.script("post_question", Unreachable())
    verdict = await bench.taken(**in_flight(1_000.0))
    assert isinstance(verdict, Retry)


@pytest.mark.parametrize(
    "error", [OutcomeUnknown(), OutcomeUnknown(has_ended=True), OutcomeUnknown(is_server_error=True)]
)
async def test_an_unknown_outcome_keeps_the_intent_and_is_never_posted_again_blindly(
    bench: Bench, error: OutcomeUnknown
) -> None:
    bench.assistant.script("post_question", error)
    verdict = await bench.finished()
    assert isinstance(verdict, Snooze)
    assert (verdict.code, verdict.after_s, verdict.keeps_intent) == ("outcome_unknown", 1.0, True)
    assert verdict.has_ended is error.has_ended
    assert bench.assistant.posts == 1
    assert not bench.published


@pytest.mark.parametrize("message_id", [1, 5])
async def test_a_message_at_or_below_the_baseline_is_no_answer(bench: Bench, message_id: int) -> None:
    old = RemoteMessage(message_id, TEXT, "An old answer.", CONTACT, 42)
    bench.assistant.script("post_question", old)
    verdict = await bench.taken(replace(CONVERSATION, highest_message_id=5))
    assert isinstance(verdict, Snooze)
    assert (verdict.code, verdict.keeps_intent) == ("outcome_unknown", True)


async def test_a_message_that_answers_another_question_leaves_the_outcome_unknown(bench: Bench) -> None:
    bench.ledger.script("finish", MessageClaimed())
    verdict = await bench.finished()
    assert isinstance(verdict, Snooze)
    assert (verdict.code, verdict.keeps_intent) == ("outcome_unknown", True)
    (_, _, first, first_reply), (_, _, second, second_reply) = bench.ledger.called("finish")
    assert isinstance(first, Answered)
    assert first_reply
    assert (second, second_reply) == (verdict, None)
    assert not bench.published


async def test_a_question_in_flight_is_looked_for_before_anything_is_sent(bench: Bench) -> None:
    await bench.taken(**in_flight(10.0))
    assert "list_messages" in bench.assistant.names()
    assert bench.assistant.posts == 0


async def test_an_expired_question_fails_before_an_intent(bench: Bench) -> None:
    verdict = await bench.finished(expires_at=999.0)
    assert verdict == Failed("expired")
    assert bench.assistant.names() == []
    assert (bench.reply.kind, bench.reply_data["reason"]) == ("failed", "expired")


async def test_a_question_that_expires_later_is_posted(bench: Bench) -> None:
    assert isinstance(await bench.taken(expires_at=1_001.0), Answered)


@pytest.mark.parametrize(
    ("slow", "conversation"), [("find_conversations", NEW), ("begin_post", CONVERSATION)]
)
async def test_a_question_that_expires_on_the_way_to_its_post_is_not_posted(
    bench: Bench, slow: str, conversation: Conversation
) -> None:
    def take_long(*_: Any) -> Any:
        bench.clock.now += 1.5
        return [] if slow == "find_conversations" else Intent(1_000.0, SESSION, 0)

    (bench.assistant if slow == "find_conversations" else bench.ledger).script(slow, take_long)
    verdict = await bench.finished(conversation, expires_at=1_001.0)
    assert verdict == Failed("expired")
    assert bench.assistant.posts == 0
    assert bench.reply_data["reason"] == "expired"


async def test_an_expired_question_with_an_intent_does_not_fail(bench: Bench) -> None:
    verdict = await bench.taken(expires_at=999.0, **in_flight(10.0))
    assert isinstance(verdict, Snooze)
    assert verdict.keeps_intent
    bench.assistant.store(SESSION, TEXT, CONTACT)
    assert isinstance(await bench.taken(expires_at=999.0, **in_flight(10.0)), Answered)


async def test_a_lost_lease_at_the_intent_sends_nothing(bench: Bench) -> None:
    bench.ledger.script("begin_post", LeaseLost())
    with pytest.raises(LeaseLost):
        await bench.finished()
    assert bench.assistant.posts == 0
    assert not bench.ledger.called("finish")


async def test_a_lost_lease_at_the_end_publishes_and_touches_nothing(bench: Bench) -> None:
    bench.ledger.script("finish", LeaseLost())
    with pytest.raises(LeaseLost):
        await bench.finished()
    assert not bench.published
    assert bench.ledger.names() == ["begin_post", "finish"]
    assert bench.assistant.names() == ["post_question", "canned_texts"]


async def test_an_answer_outlives_a_ledger_that_is_away(bench: Bench) -> None:
    bench.ledger.script("finish", *[LedgerUnavailable()] * 20)
    assert isinstance(await bench.finished(), Answered)
    assert bench.published
    assert max(bench.clock.slept) <= 3.0


async def test_a_closed_gate_snoozes_without_an_attempt(bench: Bench) -> None:
    bench.ledger.script("begin_post", GateClosed("breaker", retry_in_s=4.0))
    verdict = await bench.taken()
    assert isinstance(verdict, Snooze)
    assert (verdict.code, verdict.after_s) == ("gate_closed", 4.0)
    assert bench.clock.slept == []
    assert bench.assistant.posts == 0


async def test_a_short_wait_for_the_pace_happens_within_the_turn(bench: Bench) -> None:
    bench.ledger.script("begin_post", GateClosed("pace", retry_in_s=2.0), GateClosed("pace", retry_in_s=1.5))
    turn = bench.turn()
    assert isinstance(await take_turn(turn), Answered)
    assert turn.gate_wait_s == pytest.approx(3.6)
    assert sum(bench.clock.slept) == pytest.approx(turn.gate_wait_s)


async def test_a_wait_for_the_pace_over_five_seconds_in_all_gives_the_lease_back(bench: Bench) -> None:
    bench.ledger.script("begin_post", GateClosed("pace", retry_in_s=3.0), GateClosed("pace", retry_in_s=3.0))
    verdict = await bench.taken()
    assert isinstance(verdict, Snooze)
    assert (verdict.code, verdict.after_s) == ("gate_closed", 3.0)
    assert sum(bench.clock.slept) <= 5.0


async def test_a_closed_gate_before_a_repost_keeps_the_intent(bench: Bench) -> None:
    # Dropping it would lose the knowledge that a first post may be on its way.
    bench.ledger.script("begin_post", GateClosed("throttled", retry_in_s=30.0))
    verdict = await bench.taken(**in_flight(1_000.0))
    assert isinstance(verdict, Snooze)
    assert verdict.keeps_intent


async def test_the_out_of_queries_text_halts_and_its_message_is_never_adopted(bench: Bench) -> None:
    bench.assistant.canned = CannedTexts(out_of_queries="We are out of queries.")
    bench.assistant.script(
        "post_question",
        lambda *_: bench.assistant.store(SESSION, TEXT, CONTACT, answer="We are out of queries."),
    )
    verdict = await bench.finished()
    assert verdict == Halt("credits_exhausted", 900.0, burnt_message_id=1, session_id=SESSION)
    assert not bench.published


@pytest.mark.parametrize("kind", ["no_answer", "agent_problem"])
async def test_an_answer_that_is_a_canned_text_says_so(bench: Bench, kind: str) -> None:
    bench.assistant.canned = replace(CannedTexts(), **{kind: "Sorry."})
    bench.assistant.script(
        "post_question", lambda *_: bench.assistant.store(SESSION, TEXT, CONTACT, answer="Sorry.")
    )
    await bench.finished()
    assert bench.reply_data["fallback"] == kind


async def test_missing_canned_texts_match_no_answer(bench: Bench) -> None:
    verdict = await bench.finished()
    assert isinstance(verdict, Answered)
    assert verdict.fallback is None


@pytest.mark.parametrize("call", ["canned_texts", "list_messages"])
async def test_a_429_beside_an_answer_in_hand_is_told_the_gate(bench: Bench, call: str) -> None:
    bench.assistant.script("post_question", RemoteMessage(1, TEXT, "Yes.", CONTACT))
    bench.assistant.script(call, Throttled(pause_s=30.0))
    verdict = await bench.finished(replace(CONVERSATION, conversation_id=None))
    assert isinstance(verdict, Answered)
    assert bench.ledger.called("report") == [(GateNews("pause", "throttled", 30.0), LEASE)]


async def test_an_answer_without_the_conversations_number_gets_it_from_the_ledger(bench: Bench) -> None:
    bench.assistant.script("post_question", RemoteMessage(1, TEXT, "Yes.", CONTACT))
    await bench.finished()
    assert bench.reply_data["conversation_id"] == CONVERSATION.conversation_id
    assert "list_messages" not in bench.assistant.names()


async def test_an_answer_without_any_number_gets_it_from_a_listing(bench: Bench) -> None:
    bench.assistant.script("post_question", RemoteMessage(1, TEXT, "Yes.", CONTACT))
    await bench.finished(replace(CONVERSATION, conversation_id=None))
    assert bench.reply_data["conversation_id"] == 42


async def test_an_answer_is_kept_when_its_number_cannot_be_had(bench: Bench) -> None:
    bench.assistant.script("post_question", RemoteMessage(1, TEXT, "Yes.", CONTACT))
    bench.assistant.script("list_messages", Unreachable())
    await bench.finished(replace(CONVERSATION, conversation_id=None))
    assert (bench.reply_data["answer"], bench.reply_data["conversation_id"]) == ("Yes.", None)


@pytest.mark.parametrize("probes", ["credentials_rejected", "project_not_found"])
async def test_a_probe_asks_with_a_plain_get_before_it_posts(bench: Bench, probes: str) -> None:
    bench.assistant.script("check_project", CredentialsRejected(), CredentialsRejected())
    verdict = await take_turn(bench.turn(probes=probes))
    assert verdict == Halt("credentials_rejected", 60.0)
    assert bench.assistant.posts == 0


async def test_a_probe_whose_get_succeeds_goes_on_to_post(bench: Bench) -> None:
    assert isinstance(await take_turn(bench.turn(probes="project_not_found")), Answered)
    assert bench.assistant.names()[0] == "check_project"


async def test_a_conversation_that_is_gone_is_renewed_and_the_question_posted_there(bench: Bench) -> None:
    bench.assistant.script("post_question", ConversationGone())
    bench.assistant.script("list_messages", ConversationGone())
    verdict = await bench.finished()
    assert isinstance(verdict, Answered)
    assert verdict.session_id != SESSION
    assert bench.ledger.called("forget_session")
    assert bench.reply_data["conversation_renewed"] is True
    assert bench.reply_data["session_id"] == verdict.session_id


async def test_a_conversation_that_is_gone_twice_in_one_turn_is_tried_again_later(bench: Bench) -> None:
    bench.assistant.script("post_question", ConversationGone(), ConversationGone())
    bench.assistant.script("list_messages", ConversationGone())
    verdict = await bench.taken()
    assert isinstance(verdict, Retry)
    assert len(bench.ledger.called("forget_session")) == 1
