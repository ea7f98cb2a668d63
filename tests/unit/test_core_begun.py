"""A post whose intent was recorded along with the claim: nothing lies between the two (PROTOCOL 5.1)."""

from __future__ import annotations

import pytest

from tests.unit.core_cases import RULES, SESSION, Bench
from worker.core.errors import ContactLimit, ConversationGone, Expired, LeaseLost, OutcomeUnknown, Unreachable
from worker.core.model import Answered, Failed, Retry, Snooze, Verdict
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
    ((_, _, session),) = bench.ledger.called("begin_post")
    assert session != SESSION


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
