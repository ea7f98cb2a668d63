"""Ratings in the ledger: each event once, the last of an answer stays, and each waits for its answer."""

from __future__ import annotations

from typing import Any

from tests.contract.ledger_cases import (
    PROJECT,
    SESSION,
    answer,
    asked,
    claim_one,
    in_session,
    let_pass,
    reply_to,
    sql,
)
from worker.adapters.ledger import SqlLedger
from worker.adapters.ledger.ratings import UNANSWERED_S
from worker.core.model import Failed
from worker.core.rating import AcceptedRating, DueRating, Reaction

DAY_S = 86_400


def rating(event_id: str = "r-1", reaction: Reaction = "liked", question_id: str = "evt-1") -> AcceptedRating:
    return AcceptedRating("crm/test", event_id, "crm/test", question_id, reaction)


async def answered_one(ledger: SqlLedger) -> None:
    """Ask evt-1 and answer it with message 7."""
    reply = await answer(ledger, await in_session(ledger, asked("evt-1")), 7)
    assert reply is not None
    await ledger.mark_published([reply.number])


async def take(ledger: SqlLedger) -> DueRating:
    (taken,) = await ledger.take_ratings(10)
    return taken


async def test_a_rating_is_due_with_the_message_that_answered(ledger: SqlLedger) -> None:
    await answered_one(ledger)
    assert await ledger.accept_ratings([rating()]) == ["new"]
    due = await take(ledger)
    assert (due.rating, due.question_source, due.question_id) == ("liked", "crm/test", "evt-1")
    assert (due.project_id, due.session_id, due.message_id) == (PROJECT, SESSION, 7)
    assert await ledger.take_ratings(10) == [], "it is leased"
    await ledger.end_rating(due, "rated")
    assert await ledger.take_ratings(10) == []


async def test_a_repeat_changes_nothing_however_late(ledger: SqlLedger, ledger_url: str) -> None:
    await answered_one(ledger)
    assert await ledger.accept_ratings([rating(), rating("r-2", "disliked"), rating()]) == [
        "new",
        "new",
        "repeat",
    ]
    await ledger.end_rating(await take(ledger), "rated")
    let_pass(ledger_url, 20 * DAY_S)
    assert await ledger.accept_ratings([rating()]) == ["repeat"]
    assert await ledger.take_ratings(10) == []
    assert sql(ledger_url, "select rating from ratings") == [{"rating": "disliked"}]


async def test_other_data_under_the_same_id_is_a_conflict(ledger: SqlLedger) -> None:
    await answered_one(ledger)
    assert await ledger.accept_ratings([rating(), rating("r-1", "disliked")]) == ["new", "conflict"]
    assert (await take(ledger)).rating == "liked"


async def test_a_rating_that_comes_while_another_is_sent_is_sent_after_it(ledger: SqlLedger) -> None:
    await answered_one(ledger)
    await ledger.accept_ratings([rating()])
    first = await take(ledger)
    await ledger.accept_ratings([rating("r-2", "neutral")])
    assert await ledger.take_ratings(10) == [], "two of one answer are not under way together"
    await ledger.end_rating(first, "rated")
    assert (await take(ledger)).rating == "neutral"


async def test_a_rating_waits_for_the_answer(ledger: SqlLedger, ledger_url: str) -> None:
    claim = await in_session(ledger, asked("evt-1"))
    assert await ledger.accept_ratings([rating()]) == ["new"]
    assert await ledger.take_ratings(10) == []
    await answer(ledger, claim, 7)
    let_pass(ledger_url, UNANSWERED_S + 1)
    assert (await take(ledger)).message_id == 7


async def test_a_rating_of_a_question_that_fails_later_comes_without_a_message(
    ledger: SqlLedger, ledger_url: str
) -> None:
    await ledger.accept([asked("evt-1")])
    assert await ledger.accept_ratings([rating()]) == ["new"]
    claim = await claim_one(ledger)
    await ledger.finish(claim.lease, claim.question.number, Failed("expired"), reply_to(claim, "failed"))
    due = await take(ledger)
    assert due.message_id is None
    await ledger.end_rating(due, "refused", code="unmatched_rating")
    assert await ledger.take_ratings(10) == []
    assert sql(ledger_url, "select code from ratings") == [{"code": "unmatched_rating"}]


async def test_a_rating_without_an_answer_to_it_is_unmatched(ledger: SqlLedger) -> None:
    await ledger.accept([asked("evt-1")])
    claim = await claim_one(ledger)
    failed = Failed("answer_unreadable", message_id=9, session_id=SESSION)
    await ledger.finish(claim.lease, claim.question.number, failed, reply_to(claim, "failed"))
    ratings = [rating(), rating("r-2", question_id="evt-unknown")]
    assert await ledger.accept_ratings(ratings) == ["unmatched", "unmatched"]
    assert await ledger.accept_ratings([rating()]) == ["unmatched"], "nothing of it is kept"


async def test_a_rating_that_is_put_off_comes_again(ledger: SqlLedger, ledger_url: str) -> None:
    await answered_one(ledger)
    await ledger.accept_ratings([rating()])
    await ledger.end_rating(await take(ledger), "put_off", code="unreachable", again_in_s=30)
    assert await ledger.take_ratings(10) == []
    let_pass(ledger_url, 31)
    assert (await take(ledger)).tries == 1


async def test_a_rating_that_a_closed_gate_held_up_has_failed_at_nothing(
    ledger: SqlLedger, ledger_url: str
) -> None:
    await answered_one(ledger)
    await ledger.accept_ratings([rating()])
    await ledger.end_rating(await take(ledger), "held_up", code="pace", again_in_s=30)
    assert await ledger.take_ratings(10) == []
    let_pass(ledger_url, 31)
    assert (await take(ledger)).tries == 0


async def test_ratings_are_erased_with_their_questions_and_hashes_later(
    ledger: SqlLedger, ledger_url: str
) -> None:
    await answered_one(ledger)
    await ledger.accept_ratings([rating()])
    let_pass(ledger_url, 31 * DAY_S)
    await ledger.sweep()
    assert sql(ledger_url, "select * from ratings") == []
    assert await ledger.accept_ratings([rating()]) == ["repeat"]
    kept: list[dict[str, Any]] = sql(ledger_url, "select * from rating_events")
    assert not any("r-1" in str(value) for row in kept for value in row.values())
    let_pass(ledger_url, 366 * DAY_S)
    await ledger.sweep()
    assert sql(ledger_url, "select * from rating_events") == []
