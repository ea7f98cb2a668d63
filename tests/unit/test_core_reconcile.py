"""An unknown outcome is read back before anything is posted again (PROTOCOL 6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.core_cases import (
    CONTACT,
    CONVERSATION,
    ENDED_S,
    RULES,
    SESSION,
    SETTLED_S,
    TEXT,
    Bench,
    in_flight,
)
from worker.core.errors import (
    ConversationGone,
    CredentialsRejected,
    GateClosed,
    LeaseLost,
    MessageClaimed,
    Throttled,
    Unreachable,
)
from worker.core.model import (
    Answered,
    CannedTexts,
    Failed,
    GateNews,
    Halt,
    MessageListing,
    RemoteMessage,
    Snooze,
    Verdict,
)
from worker.core.reconcile import evened_out
from worker.core.turn import take_turn

#: Listed long after the settle time, by whatever clock.
LONG_AFTER_S = 3 * SETTLED_S


@pytest.fixture
def bench() -> Bench:
    return Bench()


def is_look(verdict: Verdict, after_s: float) -> bool:
    """Tell whether the turn ends with another look after so long, the intent kept."""
    return (
        isinstance(verdict, Snooze)
        and (verdict.code, verdict.after_s) == ("outcome_unknown", pytest.approx(after_s))
        and verdict.keeps_intent
        and verdict.is_look
    )


async def test_a_candidate_with_an_answer_is_adopted_at_once(bench: Bench) -> None:
    bench.assistant.store(SESSION, TEXT, CONTACT)
    verdict = await bench.finished(**in_flight(0.5))
    assert isinstance(verdict, Answered)
    assert (verdict.outcome, verdict.session_id) == ("recovered", SESSION)
    assert bench.reply_data["outcome"] == "recovered"
    assert bench.assistant.posts == 0


async def test_of_several_candidates_the_lowest_is_adopted(bench: Bench) -> None:
    for number in (9, 4, 6):
        bench.assistant.store(SESSION, TEXT, CONTACT, message_id=number)
    verdict = await bench.taken(**in_flight(10.0))
    assert isinstance(verdict, Answered)
    assert verdict.message.message_id == 4


async def test_an_unanswered_candidate_does_not_hide_an_answered_one(bench: Bench) -> None:
    bench.assistant.store(SESSION, TEXT, CONTACT, message_id=4, answer=None)
    bench.assistant.store(SESSION, TEXT, CONTACT, message_id=6)
    verdict = await bench.taken(**in_flight(10.0))
    assert isinstance(verdict, Answered)
    assert verdict.message.message_id == 6


NOT_OURS = {
    "at the baseline": {"message_id": 5},
    "below the baseline": {"message_id": 2},
    "of another external_id": {"external_id": "EXT_2"},
    "without an external_id": {"external_id": None},
    "of another text": {"question": "Something else?"},
    "of another case": {"question": TEXT.upper()},
}


@pytest.mark.parametrize("why", NOT_OURS)
async def test_a_message_that_is_not_this_post_is_never_adopted(bench: Bench, why: str) -> None:
    ours = RemoteMessage(8, TEXT, "An answer.", CONTACT, 42)
    stored = replace(ours, **NOT_OURS[why])
    # The listing ignores ``above``: the core must look for itself.
    bench.assistant.script("list_messages", MessageListing((stored,), 42))
    assert is_look(await bench.taken(**in_flight(10.0, baseline_message_id=5)), 1.0)


async def test_the_same_message_above_the_baseline_is_adopted(bench: Bench) -> None:
    bench.assistant.store(SESSION, TEXT, CONTACT, message_id=6)
    assert isinstance(await bench.taken(**in_flight(10.0, baseline_message_id=5)), Answered)


async def test_a_claimed_message_is_never_adopted(bench: Bench) -> None:
    bench.assistant.store(SESSION, TEXT, CONTACT, message_id=6)
    bench.assistant.store(SESSION, TEXT, CONTACT, message_id=7)
    bench.ledger.claimed_messages = {6}
    verdict = await bench.taken(**in_flight(10.0))
    assert isinstance(verdict, Answered)
    assert verdict.message.message_id == 7


@pytest.mark.parametrize(
    "stored",
    [
        "  What are your\n\tsupport   hours? ",
        "What are your support hours&#63;",
        "What are your support\xa0hours?",
    ],
)
async def test_white_space_and_entities_do_not_make_another_text(bench: Bench, stored: str) -> None:
    bench.assistant.store(SESSION, stored, CONTACT)
    assert isinstance(await bench.taken(**in_flight(10.0)), Answered)


def test_composition_and_entities_are_evened_out() -> None:
    assert evened_out("caf\u00e9 &amp; bar") == evened_out("cafe\u0301   & bar\n")
    assert evened_out("a < b") == evened_out("a &lt; b")
    assert evened_out("a b") != evened_out("ab")


async def test_the_listing_reads_down_to_the_baseline_in_the_session_of_the_intent(bench: Bench) -> None:
    await bench.taken(**in_flight(10.0, baseline_message_id=5, session_id="session-old"))
    assert bench.assistant.called("list_messages") == [(123, "session-old", 5)]


@pytest.mark.parametrize(
    ("looks", "after_s"), [(0, 1.0), (1, 2.0), (2, 4.0), (3, 8.0), (4, 16.0), (5, 20.0), (50, 20.0)]
)
async def test_without_a_candidate_the_next_look_is_later_and_later(
    bench: Bench, looks: int, after_s: float
) -> None:
    assert is_look(await bench.taken(**in_flight(10.0, looks=looks)), after_s)
    assert bench.assistant.posts == 0


async def test_a_candidate_without_an_answer_is_being_generated_and_looked_at_again(bench: Bench) -> None:
    bench.assistant.store(SESSION, TEXT, CONTACT, answer=None)
    assert is_look(await bench.taken(**in_flight(SETTLED_S - 1.0, looks=2)), 1.0)


async def test_a_candidate_without_an_answer_fails_after_the_settle_time(bench: Bench) -> None:
    bench.assistant.store(SESSION, TEXT, CONTACT, message_id=6, answer="")
    verdict = await bench.finished(**in_flight(SETTLED_S))
    assert isinstance(verdict, Failed)
    assert (verdict.code, verdict.message_id, verdict.session_id) == ("answer_unreadable", 6, SESSION)
    assert (bench.reply_data["reason"], bench.reply_data["message_id"]) == ("answer_unreadable", 6)
    assert bench.assistant.posts == 0


async def test_a_candidate_without_an_answer_has_the_full_settle_time_even_when_work_has_ended(
    bench: Bench,
) -> None:
    bench.assistant.store(SESSION, TEXT, CONTACT, answer=None)
    assert is_look(await bench.taken(**in_flight(SETTLED_S - 0.1, has_ended=True)), 0.1)
    assert isinstance(await bench.taken(**in_flight(SETTLED_S, has_ended=True)), Failed)


@pytest.mark.parametrize(("has_ended", "settled_s"), [(False, SETTLED_S), (True, ENDED_S)])
async def test_without_a_candidate_it_is_posted_again_only_once_settled(
    bench: Bench, settled_s: float, *, has_ended: bool
) -> None:
    assert is_look(await bench.taken(**in_flight(settled_s - 0.1, has_ended=has_ended)), 0.1)
    assert bench.assistant.posts == 0
    verdict = await bench.finished(**in_flight(settled_s, has_ended=has_ended))
    assert isinstance(verdict, Answered)
    assert verdict.outcome == "reposted_after_unknown"
    assert bench.assistant.posts == 1
    assert bench.reply_data["outcome"] == "reposted_after_unknown"


async def test_a_list_lag_as_long_as_the_settle_time_takes_no_ones_word_for_the_end_of_work() -> None:
    bench = Bench(rules=replace(RULES, list_lag_s=RULES.settle_s))
    assert is_look(await bench.taken(**in_flight(SETTLED_S - 0.1, has_ended=True)), 0.1)
    assert bench.assistant.posts == 0


async def test_a_listing_that_was_begun_before_the_settle_time_never_counts(bench: Bench) -> None:
    def slow(*_: Any) -> MessageListing:
        bench.clock.now += 60.0
        return MessageListing(())

    bench.assistant.script("list_messages", slow)
    assert is_look(await bench.taken(**in_flight(SETTLED_S - 0.1)), 0.1)
    assert bench.assistant.posts == 0


async def test_a_wait_at_the_gate_does_not_make_a_listing_begin_later(bench: Bench) -> None:
    bench.ledger.script("admit_read", GateClosed("pace", retry_in_s=4.0))
    assert is_look(await bench.taken(**in_flight(SETTLED_S - 0.1)), 0.1)


async def test_held_questions_fail_instead_of_being_posted_again() -> None:
    bench = Bench(rules=replace(RULES, on_unknown="hold"))
    assert is_look(await bench.taken(**in_flight(SETTLED_S - 0.1)), 0.1)
    verdict = await bench.finished(**in_flight(LONG_AFTER_S))
    assert isinstance(verdict, Failed)
    assert verdict.code == "outcome_unknown"
    assert SESSION in verdict.detail
    assert bench.assistant.posts == 0
    assert bench.reply_data["reason"] == "outcome_unknown"


async def test_held_questions_are_still_adopted_when_found() -> None:
    bench = Bench(rules=replace(RULES, on_unknown="hold"))
    bench.assistant.store(SESSION, TEXT, CONTACT)
    assert isinstance(await bench.taken(**in_flight(LONG_AFTER_S)), Answered)


async def test_a_question_posted_again_before_says_so_whatever_came_between(bench: Bench) -> None:
    verdict = await bench.finished(is_repost=True, posts=2)
    assert isinstance(verdict, Answered)
    assert verdict.outcome == "reposted_after_unknown"


async def test_a_question_posted_again_and_found_is_recovered(bench: Bench) -> None:
    bench.assistant.store(SESSION, TEXT, CONTACT)
    verdict = await bench.taken(is_repost=True, **in_flight(10.0))
    assert isinstance(verdict, Answered)
    assert verdict.outcome == "recovered"


async def test_the_out_of_queries_text_found_by_reading_back_halts(bench: Bench) -> None:
    bench.assistant.canned = CannedTexts(out_of_queries="We are out of queries.")
    bench.assistant.store(SESSION, TEXT, CONTACT, message_id=6, answer="We are out of queries.")
    verdict = await bench.taken(**in_flight(10.0))
    assert verdict == Halt("credits_exhausted", 900.0, burnt_message_id=6, session_id=SESSION)


async def test_a_session_that_is_gone_shows_no_candidate(bench: Bench) -> None:
    bench.assistant.script("list_messages", ConversationGone())
    assert is_look(await bench.taken(**in_flight(10.0)), 1.0)
    assert bench.assistant.posts == 0


async def test_a_session_that_stays_gone_is_renewed_once_settled(bench: Bench) -> None:
    bench.assistant.script("list_messages", ConversationGone(), ConversationGone())
    bench.assistant.script("post_question", ConversationGone())
    verdict = await bench.taken(**in_flight(LONG_AFTER_S))
    assert isinstance(verdict, Answered)
    assert verdict.session_id != SESSION
    assert verdict.outcome == "reposted_after_unknown"


@pytest.mark.parametrize("error", [Unreachable(), CredentialsRejected()])
async def test_a_listing_that_fails_proves_nothing_and_keeps_the_intent(
    bench: Bench, error: Exception
) -> None:
    bench.assistant.script("list_messages", error)
    verdict = await bench.taken(**in_flight(LONG_AFTER_S, looks=3))
    assert isinstance(verdict, Snooze)
    assert verdict.keeps_intent
    assert verdict.after_s == 8.0
    assert bench.assistant.posts == 0


async def test_a_throttled_listing_closes_the_gate_and_keeps_the_intent(bench: Bench) -> None:
    bench.assistant.script("list_messages", Throttled(pause_s=17))
    verdict = await bench.taken(**in_flight(LONG_AFTER_S))
    assert isinstance(verdict, Snooze)
    assert (verdict.keeps_intent, verdict.news) == (True, GateNews("pause", "throttled", 17))


async def test_a_lease_lost_while_reading_back_touches_nothing(bench: Bench) -> None:
    bench.assistant.store(SESSION, TEXT, CONTACT)
    bench.ledger.script("admit_read", LeaseLost())
    with pytest.raises(LeaseLost):
        await bench.finished(**in_flight(10.0))
    assert bench.assistant.names() == []
    assert not bench.ledger.called("finish")


@pytest.mark.parametrize(("early_s", "is_early"), [(0.0, False), (0.1, True)])
async def test_the_settle_time_is_measured_by_the_ledgers_clock(
    bench: Bench, early_s: float, *, is_early: bool
) -> None:
    # The process's clock says nothing of the ledger's; the claim brought its time along.
    bench.ledger._ahead_s = 50_000.0
    verdict = await bench.taken(**in_flight(10.0, at=51_000.0 - SETTLED_S + early_s))
    assert is_look(verdict, 0.1) if is_early else isinstance(verdict, Answered)


async def test_a_found_answer_gets_the_conversations_number_from_the_listing(bench: Bench) -> None:
    found = RemoteMessage(6, TEXT, "Yes.", CONTACT, conversation_id=None)
    bench.assistant.script("list_messages", MessageListing((found,), 77))
    await bench.finished(replace(CONVERSATION, conversation_id=None), **in_flight(10.0))
    assert bench.reply_data["conversation_id"] == 77


def restored() -> Bench:
    return Bench(rules=replace(RULES, is_after_restore=True))


async def test_after_a_restore_a_question_that_was_answered_is_found_by_its_text() -> None:
    bench = restored()
    bench.assistant.store(SESSION, TEXT, CONTACT, message_id=6)
    verdict = await bench.taken()
    assert isinstance(verdict, Answered)
    assert verdict.outcome == "recovered"
    assert bench.assistant.posts == 0


async def test_after_a_restore_a_question_that_was_never_posted_is_posted_above_what_is_there() -> None:
    bench = restored()
    bench.assistant.store(SESSION, "Another?", CONTACT, message_id=6)
    verdict = await bench.taken()
    assert isinstance(verdict, Answered)
    assert verdict.outcome == "posted"
    assert bench.ledger.called("raise_highest")[0][1] == 6


async def test_after_a_restore_the_out_of_queries_text_is_no_answer() -> None:
    # Taken for one, it would halt again at every look, for as long as the worker looks for every question.
    bench = restored()
    bench.assistant.canned = CannedTexts(out_of_queries="We are out of queries.")
    bench.assistant.store(SESSION, TEXT, CONTACT, message_id=1, answer="We are out of queries.")
    verdict = await bench.taken()
    assert isinstance(verdict, Answered)
    assert (verdict.outcome, verdict.message.message_id) == ("posted", 2)
    assert bench.ledger.called("raise_highest")[0][1] == 1


async def test_after_a_restore_a_claimed_message_leaves_no_intent_behind() -> None:
    # No post was begun: an intent without a time could never be read back.
    bench = restored()
    bench.assistant.store(SESSION, TEXT, CONTACT, message_id=6)
    bench.ledger.script("finish", MessageClaimed())
    verdict = await bench.finished()
    assert isinstance(verdict, Snooze)
    assert not verdict.keeps_intent


async def test_an_api_that_alters_texts_is_told_to_the_ledger(bench: Bench) -> None:
    bench.assistant.script("post_question", RemoteMessage(1, "Changed!", "Yes.", CONTACT, 42))
    verdict = await bench.taken()
    assert isinstance(verdict, Answered)
    assert verdict.is_altered


async def test_where_the_api_alters_texts_an_unknown_outcome_is_held(bench: Bench) -> None:
    turn = bench.turn(**in_flight(LONG_AFTER_S))
    turn.claim = replace(turn.claim, is_altering=True)
    verdict = await take_turn(turn)
    assert isinstance(verdict, Failed)
    assert verdict.code == "outcome_unknown"
    assert bench.assistant.posts == 0


async def test_after_a_restore_a_question_that_was_refused_before_the_backup_is_looked_for_too() -> None:
    bench = restored()
    bench.assistant.store(SESSION, TEXT, CONTACT, message_id=6)
    verdict = await bench.taken(posts=1)
    assert isinstance(verdict, Answered)
    assert verdict.outcome == "recovered"
    assert bench.assistant.posts == 0
