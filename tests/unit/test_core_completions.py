"""A question without a conversation in the core: nothing to ensure, nothing to read back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.core_cases import CONTACT, CONVERSATION, NEW, RULES, TEXT, Bench
from worker.core.errors import AnswerUnreadable, OutcomeUnknown, Unreachable
from worker.core.model import Answered, Failed, GateNews, Intent, Retry, Snooze


@pytest.fixture
def bench() -> Bench:
    return Bench(rules=replace(RULES, api="chat_completions"))


def outstanding(**fields: Any) -> dict[str, Any]:
    return {"intent": Intent(999.0, "", 0), "posts": 1, **fields}


@pytest.mark.parametrize("conversation", [NEW, CONVERSATION], ids=["new", "known"])
async def test_nothing_is_ensured_and_nothing_is_listed(bench: Bench, conversation: Any) -> None:
    verdict = await bench.finished(conversation)
    assert isinstance(verdict, Answered)
    assert bench.assistant.names() == ["complete", "canned_texts"]
    assert bench.assistant.called("complete")[0][:3] == (123, TEXT, CONTACT)
    data = bench.reply_data
    assert (data["conversation_id"], data["session_id"], data["message_id"]) == (None, "", 0)


async def test_the_event_decides_before_the_settings(bench: Bench) -> None:
    await bench.finished(api="conversations")
    assert bench.assistant.posts == 1
    assert bench.reply_data["api"] == "conversations"


async def test_an_unknown_outcome_keeps_its_intent_for_a_short_while(bench: Bench) -> None:
    bench.assistant.script("complete", OutcomeUnknown(is_server_error=True))
    verdict = await bench.finished()
    assert verdict == Snooze("outcome_unknown", 1.0, keeps_intent=True, news=GateNews("failure"))


async def test_pauses_grow_from_one_unknown_outcome_to_the_next(bench: Bench) -> None:
    bench.assistant.script("complete", OutcomeUnknown())
    verdict = await bench.finished(**outstanding(posts=5))
    assert isinstance(verdict, Snooze)
    assert verdict.after_s == 32.0


async def test_an_outstanding_question_is_asked_again_at_once_and_marked(bench: Bench) -> None:
    verdict = await bench.finished(**outstanding())
    assert isinstance(verdict, Answered)
    assert verdict.outcome == "reposted_after_unknown"
    assert bench.assistant.names() == ["complete", "canned_texts"]


async def test_an_outstanding_question_is_held_where_the_settings_say_so(bench: Bench) -> None:
    bench.rules = replace(bench.rules, on_unknown="hold")
    verdict = await bench.finished(**outstanding())
    assert isinstance(verdict, Failed)
    assert verdict.code == "outcome_unknown"
    assert bench.assistant.names() == []


async def test_it_is_not_asked_for_ever(bench: Bench) -> None:
    bench.assistant.script("complete", OutcomeUnknown())
    verdict = await bench.finished(**outstanding(posts=RULES.max_attempts - 1))
    assert isinstance(verdict, Failed)
    assert verdict.code == "outcome_unknown"


async def test_an_empty_answer_fails_at_once(bench: Bench) -> None:
    bench.assistant.script("complete", AnswerUnreadable("complete: empty answer"))
    verdict = await bench.finished()
    assert isinstance(verdict, Failed)
    assert verdict.code == "answer_unreadable"


async def test_a_definite_failure_is_tried_again_as_ever(bench: Bench) -> None:
    bench.assistant.script("complete", Unreachable())
    assert isinstance(await bench.finished(), Retry)


async def test_after_a_restore_nothing_can_be_looked_for(bench: Bench) -> None:
    bench.rules = replace(bench.rules, is_after_restore=True)
    assert isinstance(await bench.finished(), Answered)
    assert bench.assistant.names() == ["complete", "canned_texts"]


async def test_a_setting_that_changed_meanwhile_lets_an_outstanding_post_be_read_back(bench: Bench) -> None:
    bench.assistant.store("session-1", TEXT, CONTACT)
    verdict = await bench.finished(intent=Intent(999.0, "session-1", 0), posts=1)
    assert isinstance(verdict, Answered)
    assert verdict.outcome == "recovered"
