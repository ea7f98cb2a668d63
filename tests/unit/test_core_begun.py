"""A post whose intent was recorded along with the claim, or with the session (PROTOCOL 5.1)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.core_cases import NEW, RULES, SESSION, Bench
from worker.core.errors import (
    ContactLimit,
    ConversationGone,
    Expired,
    LeaseLost,
    LedgerUnavailable,
    OutcomeUnknown,
    Unreachable,
)
from worker.core.model import Answered, Failed, Intent, Retry, Snooze, Verdict
from worker.core.ports import RecoveryPoint
from worker.core.turn import take_turn
from worker.core.world import Turn


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def taken(bench: Bench, begun_ago_s: float = 0.0, **asked: object) -> Verdict:
    return await take_turn(bench.turn(begun_ago_s=begun_ago_s, **asked))  # type: ignore[arg-type]


async def test_it_is_posted_without_another_word_to_the_ledger(bench: Bench) -> None:
    assert isinstance(await taken(bench), Answered)
    assert bench.assistant.posts == 1
    assert bench.ledger.calls == []
    assert bench.points.seen == [RecoveryPoint.POST_INTENDED, RecoveryPoint.QUESTION_POSTED]


async def test_the_grace_is_counted_from_before_the_claim(bench: Bench) -> None:
    await taken(bench, 0.5)
    assert bench.assistant.called("post_question")[0][-1] == pytest.approx(RULES.send_grace_s - 0.5)


@pytest.mark.parametrize("late_s", [RULES.send_grace_s, 60.0])
async def test_nothing_is_sent_when_the_claim_took_all_of_the_grace(bench: Bench, late_s: float) -> None:
    assert await taken(bench, late_s) == Snooze("send_grace", after_s=0, keeps_intent=False)
    assert bench.assistant.posts == 0


async def test_a_turn_that_does_not_know_when_its_claim_was_asked_for_sends_nothing(bench: Bench) -> None:
    known = bench.turn(begun_ago_s=0.0)
    verdict = await take_turn(Turn(known.claim, known.world, known.claimed_at))
    assert verdict == Snooze("send_grace", after_s=0, keeps_intent=False)
    assert bench.assistant.posts == 0


async def test_a_post_after_the_conversation_was_found_gone_is_begun_anew(bench: Bench) -> None:
    bench.assistant.script("post_question", ConversationGone())
    bench.assistant.script("list_messages", ConversationGone())
    assert isinstance(await taken(bench), Answered)
    assert bench.ledger.called("begin_post") == []
    ((_, session, *_),) = bench.ledger.called("save_session")
    assert session != SESSION
    assert [posted[1] for posted in bench.assistant.called("post_question")] == [SESSION, session]


async def test_a_new_contacts_post_is_begun_with_its_session(bench: Bench) -> None:
    assert isinstance(await take_turn(bench.turn(NEW)), Answered)
    assert bench.assistant.posts == 1
    assert bench.ledger.names()[-1] == "save_session"
    assert bench.points.seen[-3:] == [
        RecoveryPoint.SESSION_SAVED,
        RecoveryPoint.POST_INTENDED,
        RecoveryPoint.QUESTION_POSTED,
    ]


async def test_the_grace_is_counted_from_before_the_session_is_saved(bench: Bench) -> None:
    saved_in(bench, 0.5)
    await take_turn(bench.turn(NEW))
    assert bench.assistant.called("post_question")[0][-1] == pytest.approx(RULES.send_grace_s - 0.5)


async def test_nothing_is_sent_when_the_session_took_all_of_the_grace(bench: Bench) -> None:
    saved_in(bench, RULES.send_grace_s)
    verdict = await take_turn(bench.turn(NEW))
    assert verdict == Snooze("send_grace", after_s=0, keeps_intent=False)
    assert bench.assistant.posts == 0


async def test_a_ledger_that_was_away_is_counted_from_the_try_that_succeeded(bench: Bench) -> None:
    bench.ledger.script("save_session", LedgerUnavailable(), LedgerUnavailable())
    assert isinstance(await take_turn(bench.turn(NEW)), Answered)
    assert bench.assistant.called("post_question")[0][-1] == RULES.send_grace_s


async def test_after_a_restore_the_session_may_hold_the_message_already() -> None:
    bench = Bench(rules=replace(RULES, is_after_restore=True))
    assert isinstance(await take_turn(bench.turn(NEW)), Answered)
    assert bench.ledger.names()[-1] == "begin_post"


async def test_where_the_gate_is_closed_for_the_post_the_turn_asks_again(bench: Bench) -> None:
    bench.ledger.script("save_session", None)
    assert isinstance(await take_turn(bench.turn(NEW)), Answered)
    assert bench.ledger.names()[-1] == "begin_post"


def saved_in(bench: Bench, seconds: float) -> None:
    """Have the ledger take its time for a session."""

    def save(*_: object) -> Intent:
        bench.clock.now += seconds
        return Intent(bench.ledger.now(), SESSION, 0)

    bench.ledger.script("save_session", save)


@pytest.mark.parametrize(
    ("error", "verdict", "keeps_intent"),
    [(Unreachable(), Retry, None), (OutcomeUnknown("reset"), Snooze, True)],
)
async def test_what_becomes_of_the_post_decides_on_the_intent(
    bench: Bench, error: Exception, verdict: type, keeps_intent: bool | None
) -> None:
    bench.assistant.script("post_question", error)
    found = await taken(bench)
    assert isinstance(found, verdict)
    assert getattr(found, "keeps_intent", None) == keeps_intent


async def test_a_lost_lease_is_no_reason_to_touch_anything(bench: Bench) -> None:
    bench.assistant.script("post_question", LeaseLost())
    with pytest.raises(LeaseLost):
        await taken(bench)
    assert bench.ledger.calls == []


@pytest.mark.parametrize(
    ("asked", "code"), [({"expires_at": 1.0}, Expired.code), ({"is_over_limit": True}, ContactLimit.code)]
)
async def test_what_is_not_to_be_posted_fails_although_it_was_begun(
    bench: Bench, asked: dict[str, object], code: str
) -> None:
    assert await taken(bench, **asked) == Failed(code)
    assert bench.assistant.posts == 0
