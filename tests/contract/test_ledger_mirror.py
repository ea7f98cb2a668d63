"""What is to be mirrored: marked by the answer itself, taken with a lease, due again with every answer."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contract.ledger_cases import (
    PROJECT,
    SESSION,
    answered,
    asked,
    claim_one,
    ensured,
    let_pass,
    opened,
    reply_to,
    sql,
)
from worker.adapters.ledger import SqlLedger
from worker.adapters.ledger.mirror import SETTLE_S
from worker.core.mirroring import ConversationCopy
from worker.core.model import AcceptedQuestion, Failed, Reply

DAY_S = 86_400
LEASE_S = 40.0


@pytest.fixture
async def ledger(ledger_url: str) -> AsyncIterator[SqlLedger]:
    async with opened(ledger_url, mirrors=True, mirror_lease_s=LEASE_S) as ledger:
        yield ledger


async def answer(
    ledger: SqlLedger,
    question: AcceptedQuestion,
    message_id: int,
    *,
    session_id: str = SESSION,
    highest: int = 0,
) -> int:
    """Ask and answer one question; returns the number of its reply."""
    await ledger.accept([question])
    claim = await claim_one(ledger)
    if claim.conversation.session_id is None:
        await ensured(ledger, claim, session_id, highest=highest)
    elif claim.conversation.session_id != session_id:
        await ledger.forget_session(claim.lease)
        await ledger.save_session(
            claim.lease,
            project_id=PROJECT,
            session_id=session_id,
            conversation_id=43,
            highest_message_id=highest,
        )
    await ledger.begin_post(claim.lease, claim.question.number, session_id=session_id)
    body = {
        "data": {
            "answer": f"Answer {message_id}.",
            "answered_at": "2026-11-20T20:00:02.000Z",
            "conversation_id": 42,
            "citations": [{"id": 1, "title": "Hours", "url": "https://www.example.com/"}],
        }
    }
    reply = Reply(claim.question.reply_id, "answered", json.dumps(body).encode(), claim.question.event_id)
    verdict = answered(message_id, session_id=session_id)
    entry = (await ledger.finish(claim.lease, claim.question.number, verdict, reply)).reply
    assert entry is not None
    await ledger.mark_published([entry.number])
    return entry.number


async def take(ledger: SqlLedger) -> ConversationCopy:
    copies, _ = await ledger.take_copies(10)
    assert len(copies) == 1, f"one was due, but: {copies}"
    return copies[0]


async def is_idle(ledger: SqlLedger) -> bool:
    return (await ledger.take_copies(10)) == ([], None)


def row(url: str) -> dict[str, Any]:
    (found,) = sql(url, "select * from mirrors")
    return found


async def test_an_answer_makes_its_conversation_due_whole(ledger: SqlLedger) -> None:
    await answer(ledger, asked("evt-1", asked_at="2026-11-20T20:00:00Z"), 7)
    await answer(ledger, asked("evt-2"), 8)
    copy = await take(ledger)
    assert (copy.external_id, copy.project_id, copy.session_id, copy.conversation_id) == (
        "EXT_1",
        PROJECT,
        SESSION,
        42,
    )
    assert (copy.version, copy.is_partial, copy.tries) == (2, False, 0)
    first, second = copy.answers
    assert (first.question_source, first.question_id, first.message_id) == ("crm/test", "evt-1", 7)
    assert (first.question, first.answer) == ("Question evt-1?", "Answer 7.")
    assert (first.asked_at, first.answered_at) == ("2026-11-20T20:00:00Z", "2026-11-20T20:00:02.000Z")
    assert first.citations[0].url == "https://www.example.com/"
    assert second.question_id == "evt-2"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", second.asked_at), "else the time at which it came"
    assert "Question" not in repr(copy), "nothing that contacts wrote gets into a traceback"


async def test_a_copy_that_was_made_is_not_due_any_more(ledger: SqlLedger) -> None:
    await answer(ledger, asked("evt-1"), 7)
    copy = await take(ledger)
    assert (await ledger.take_copies(10))[0] == [], "it is leased"
    await ledger.end_copy(copy, "mirrored")
    assert await is_idle(ledger)
    await answer(ledger, asked("evt-2"), 8)
    again = await take(ledger)
    assert (again.copy_id, again.version, len(again.answers)) == (copy.copy_id, 2, 2)


async def test_an_answer_that_comes_meanwhile_makes_it_due_again(ledger: SqlLedger) -> None:
    await answer(ledger, asked("evt-1"), 7)
    copy = await take(ledger)
    await answer(ledger, asked("evt-2"), 8)
    assert (await ledger.take_copies(10))[0] == [], "one list of a conversation is on its way at a time"
    await ledger.end_copy(copy, "mirrored")
    again = await take(ledger)
    assert len(again.answers) == 2
    await ledger.end_copy(again, "mirrored")
    assert await is_idle(ledger)


async def test_a_lease_that_ran_out_is_taken_by_others(ledger: SqlLedger, ledger_url: str) -> None:
    await answer(ledger, asked("evt-1"), 7)
    copy = await take(ledger)
    let_pass(ledger_url, LEASE_S + 1)
    assert (await take(ledger)).copy_id == copy.copy_id


async def test_a_copy_that_is_put_off_is_due_after_its_pause(ledger: SqlLedger, ledger_url: str) -> None:
    await answer(ledger, asked("evt-1"), 7)
    await ledger.end_copy(await take(ledger), "put_off", code="unreachable", again_in_s=30)
    copies, next_due_s = await ledger.take_copies(10)
    assert copies == []
    assert next_due_s == pytest.approx(30, abs=5)
    assert row(ledger_url)["code"] == "unreachable"
    let_pass(ledger_url, 31)
    again = await take(ledger)
    assert again.tries == 1
    await ledger.end_copy(again, "mirrored")
    assert (row(ledger_url)["code"], row(ledger_url)["tries"]) == (None, 0)
    assert await is_idle(ledger)


async def test_a_copy_that_was_refused_waits_for_the_next_answer(ledger: SqlLedger, ledger_url: str) -> None:
    await answer(ledger, asked("evt-1"), 7)
    await ledger.end_copy(await take(ledger), "aside", code="mirror_refused")
    let_pass(ledger_url, DAY_S)
    assert await is_idle(ledger)
    assert (row(ledger_url)["code"], row(ledger_url)["due_at"]) == ("mirror_refused", None)
    await answer(ledger, asked("evt-2"), 8)
    assert len((await take(ledger)).answers) == 2


async def test_an_older_list_that_may_arrive_late_is_followed_by_the_newest(
    ledger: SqlLedger, ledger_url: str
) -> None:
    await answer(ledger, asked("evt-1"), 7)
    await ledger.end_copy(await take(ledger), "put_off", code="outcome_unknown", is_unknown=True)
    await answer(ledger, asked("evt-2"), 8)
    await ledger.end_copy(await take(ledger), "mirrored")
    copies, next_due_s = await ledger.take_copies(10)
    assert (copies, next_due_s) == ([], pytest.approx(SETTLE_S, abs=5))
    let_pass(ledger_url, SETTLE_S + 1)
    await ledger.end_copy(await take(ledger), "mirrored")
    assert await is_idle(ledger)


async def test_a_repeat_of_the_same_list_is_followed_by_nothing(ledger: SqlLedger) -> None:
    await answer(ledger, asked("evt-1"), 7)
    await ledger.end_copy(await take(ledger), "put_off", code="outcome_unknown", is_unknown=True)
    await ledger.end_copy(await take(ledger), "mirrored")
    assert await is_idle(ledger)


async def test_a_definite_failure_leaves_nothing_to_arrive_late(ledger: SqlLedger) -> None:
    await answer(ledger, asked("evt-1"), 7)
    await ledger.end_copy(await take(ledger), "put_off", code="unreachable")
    await answer(ledger, asked("evt-2"), 8)
    await ledger.end_copy(await take(ledger), "mirrored")
    assert await is_idle(ledger)


async def test_threads_and_renewed_sessions_have_copies_of_their_own(ledger: SqlLedger) -> None:
    await answer(ledger, asked("evt-1"), 7)
    await answer(ledger, asked("evt-2", thread_id="T-9"), 8, session_id="session-2")
    await answer(ledger, asked("evt-3"), 9, session_id="session-3")
    copies, _ = await ledger.take_copies(10)
    found = {each.session_id: [answer.question_id for answer in each.answers] for each in copies}
    assert found == {SESSION: ["evt-1"], "session-2": ["evt-2"], "session-3": ["evt-3"]}
    assert len({each.copy_id for each in copies}) == 3
    assert {each.thread_id for each in copies} == {None, "T-9"}


async def test_a_session_that_had_messages_before_is_known_to_be_partial(ledger: SqlLedger) -> None:
    await answer(ledger, asked("evt-1"), 7, highest=5)
    assert (await take(ledger)).is_partial


async def test_failed_questions_are_not_mirrored(ledger: SqlLedger) -> None:
    await ledger.accept([asked("evt-1")])
    claim = await claim_one(ledger)
    await ledger.finish(claim.lease, claim.question.number, Failed("expired"), reply_to(claim, "failed"))
    assert await is_idle(ledger)


async def test_nothing_is_marked_without_a_mirror(ledger_url: str) -> None:
    async with opened(ledger_url) as ledger:
        await answer(ledger, asked("evt-1"), 7)
        assert await is_idle(ledger)
    assert sql(ledger_url, "select * from mirror_answers") == []


async def test_erased_questions_leave_a_partial_copy_behind(ledger: SqlLedger, ledger_url: str) -> None:
    await answer(ledger, asked("evt-1"), 7)
    await ledger.end_copy(await take(ledger), "mirrored")
    let_pass(ledger_url, 31 * DAY_S)
    assert (await ledger.sweep()).erased == 1
    assert sql(ledger_url, "select * from mirror_answers") == []
    await answer(ledger, asked("evt-2"), 8)
    copy = await take(ledger)
    assert copy.is_partial
    assert [each.question_id for each in copy.answers] == ["evt-2"]


async def test_mirrors_are_forgotten_with_the_hashes(ledger: SqlLedger, ledger_url: str) -> None:
    await answer(ledger, asked("evt-1"), 7)
    let_pass(ledger_url, 366 * DAY_S)
    await ledger.sweep()
    assert sql(ledger_url, "select * from mirrors") == []


async def test_a_database_that_ends_in_between_loses_no_mark(ledger: SqlLedger, ledger_url: str) -> None:
    # The mark is of the transaction that records the answer: there is none without the other.
    await answer(ledger, asked("evt-1"), 7)
    marked = sql(
        ledger_url,
        "select count(*) as marked from questions q join mirror_answers a on a.question = q.number"
        " where q.state = 'answered'",
    )
    assert marked == [{"marked": 1}]
