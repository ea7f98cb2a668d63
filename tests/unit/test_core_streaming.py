"""A streamed answer in the core: proof of acceptance is kept, and the message is read whole (PROTOCOL 5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.core_cases import CONTACT, LEASE, QUESTION, SESSION, SETTLED_S, TEXT, Bench, in_flight
from worker.core.errors import (
    AssistantError,
    ConversationGone,
    CredentialsRejected,
    GateClosed,
    LeaseLost,
    OutcomeUnknown,
    QuestionRejected,
    Throttled,
    Unreachable,
)
from worker.core.model import Answered, Failed, RemoteMessage, Snooze
from worker.core.turn import take_turn


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.assistant.is_streaming = True
    return bench


def streamed(bench: Bench, **stored: Any) -> None:
    """Have the next post end as a stream does: the message is stored, and only its number comes back."""

    def post(*_: Any) -> RemoteMessage:
        message = bench.assistant.store(SESSION, TEXT, CONTACT, **stored)
        return RemoteMessage(message.message_id, "", None, None, is_whole=False)

    bench.assistant.script("post_question", post)


async def test_the_message_that_a_stream_names_is_read_whole(bench: Bench) -> None:
    streamed(bench, metadata={"external_id": CONTACT, "request_source": "api"})
    verdict = await bench.finished()
    assert isinstance(verdict, Answered)
    assert (verdict.outcome, verdict.is_altered) == ("posted", False)
    data = bench.reply_data
    assert (data["answer"], data["conversation_id"]) == (f"Answer to {TEXT}", 42)
    assert data["provider_metadata"] == {"external_id": CONTACT, "request_source": "api"}
    assert bench.assistant.names() == ["post_question", "get_message", "canned_texts"]
    assert bench.ledger.called("record_accepted") == [(LEASE, QUESTION.number)]


@pytest.mark.parametrize("api", ["conversations", "chat_completions"])
@pytest.mark.parametrize(("posts", "is_told"), [(0, True), (1, False)], ids=["first", "again"])
async def test_an_answer_is_told_while_it_is_written_only_at_the_first_post(
    bench: Bench, api: str, posts: int, is_told: bool
) -> None:
    turn = bench.turn(api=api, posts=posts)
    turn.on_progress = [].append
    assert isinstance(await take_turn(turn), Answered)
    assert (bench.assistant.on_progress is not None) is is_told


async def test_the_read_of_the_message_waits_for_the_gate(bench: Bench) -> None:
    streamed(bench)
    bench.ledger.script("admit_read", GateClosed("pace", retry_in_s=9.0))
    assert isinstance(await bench.taken(), Answered)
    assert bench.clock.slept[0] >= 9.0


@pytest.mark.parametrize(
    "error",
    [
        Unreachable(),
        ConversationGone(),
        QuestionRejected(),
        Throttled(pause_s=5.0),
        CredentialsRejected(),
        RemoteMessage(99, TEXT, "Another.", CONTACT),
        RemoteMessage(1, TEXT, None, CONTACT),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_message_that_cannot_be_read_now_is_read_back_and_never_posted_again(
    bench: Bench, error: AssistantError | RemoteMessage
) -> None:
    streamed(bench)
    bench.assistant.script("get_message", error)
    verdict = await bench.finished()
    assert isinstance(verdict, Snooze)
    assert verdict.keeps_intent
    assert bench.assistant.posts == 1


async def test_a_closed_gate_keeps_the_intent_of_a_streamed_answer(bench: Bench) -> None:
    streamed(bench)
    bench.ledger.script("admit_read", GateClosed("credits_exhausted", retry_in_s=900.0))
    verdict = await bench.taken()
    assert isinstance(verdict, Snooze)
    assert verdict.keeps_intent


async def test_an_interrupted_stream_is_recorded_as_taken_and_read_back(bench: Bench) -> None:
    bench.assistant.script("post_question", OutcomeUnknown("post_question: 200, answer cut off"))
    verdict = await bench.finished()
    assert isinstance(verdict, Snooze)
    assert (verdict.code, verdict.keeps_intent) == ("outcome_unknown", True)
    calls = bench.ledger.names()
    assert calls.index("record_accepted") < calls.index("finish")


async def test_a_turn_that_lost_its_lease_when_it_recorded_the_acceptance_touches_nothing(
    bench: Bench,
) -> None:
    bench.ledger.script("record_accepted", LeaseLost())
    with pytest.raises(LeaseLost):
        await bench.taken()
    assert bench.ledger.called("finish") == []


@pytest.mark.parametrize("on_unknown", ["repost", "hold"])
async def test_a_post_known_to_be_taken_fails_as_unreadable_when_nothing_of_it_shows(
    bench: Bench, on_unknown: str
) -> None:
    bench.rules = replace(bench.rules, on_unknown=on_unknown)  # type: ignore[arg-type]
    verdict = await bench.finished(**in_flight(2 * SETTLED_S, is_accepted=True))
    assert isinstance(verdict, Failed)
    assert verdict.code == "answer_unreadable"
    assert bench.assistant.posts == 0


async def test_a_post_known_to_be_taken_is_looked_for_until_it_settles(bench: Bench) -> None:
    verdict = await bench.taken(**in_flight(SETTLED_S - 5.0, is_accepted=True))
    assert isinstance(verdict, Snooze)
    assert (verdict.keeps_intent, verdict.is_look) == (True, True)


async def test_a_post_known_to_be_taken_is_not_made_again_in_a_new_conversation(bench: Bench) -> None:
    bench.assistant.script("list_messages", ConversationGone())
    verdict = await bench.taken(**in_flight(2 * SETTLED_S, is_accepted=True))
    assert isinstance(verdict, Failed)
    assert verdict.code == "answer_unreadable"
    assert bench.assistant.posts == 0


async def test_a_recovered_streamed_answer_says_so(bench: Bench) -> None:
    bench.assistant.store(SESSION, TEXT, CONTACT)
    verdict = await bench.taken(**in_flight(1.0, is_accepted=True))
    assert isinstance(verdict, Answered)
    assert verdict.outcome == "recovered"
