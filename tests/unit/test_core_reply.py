"""A final verdict is frozen into the reply that the CRM gets (DESIGN 4.2)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.core_cases import CONVERSATION, SESSION, Bench
from worker.core.model import (
    Answered,
    Citation,
    Failed,
    Halt,
    RemoteMessage,
    Reply,
    Retry,
    Snooze,
    Verdict,
)
from worker.core.reply import reply_for

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
MESSAGE = RemoteMessage(
    message_id=9,
    question="?",
    answer="Nine to five.\0",
    external_id="EXT_1",
    conversation_id=42,
    citations=(Citation(12), Citation(13, "Hours", "https://example.com/hours")),
    metadata={"external_id": "EXT_1", "request_source": "api"},
)
ANSWERED = Answered(MESSAGE, SESSION, "posted", None)


def frozen(verdict: Verdict, **asked: object) -> Reply:
    reply = reply_for(Bench().turn(**asked), verdict)
    assert reply is not None
    return reply


def test_an_answer_carries_everything_that_the_crm_needs() -> None:
    reply = frozen(ANSWERED, attempts=2)
    event = json.loads(reply.body)
    assert (reply.event_id, reply.kind, reply.question_id) == ("reply-1", "answered", "evt-1")
    assert (event["id"], event["type"], event["subject"]) == (
        "reply-1",
        "contact.question.answered",
        "EXT_1",
    )
    data = event["data"]
    expected = {
        "question_id": "evt-1",
        "question_source": "crm/test",
        "contact_id": "EXT_1",
        "external_id": "EXT_1",
        "thread_id": None,
        "project_id": 123,
        "conversation_id": 42,
        "session_id": SESSION,
        "message_id": 9,
        "answer": "Nine to five.\0",
        "fallback": None,
        "metadata": {"ticket": "T-9"},
        "provider": "customgpt",
        "provider_metadata": {"external_id": "EXT_1", "request_source": "api"},
        "outcome": "posted",
        "attempts": 3,
        "asked_at": "2026-11-20T20:00:00Z",
    }
    assert {name: data[name] for name in expected} == expected
    assert data["citations"] == [
        {"id": 12, "title": None, "url": None},
        {"id": 13, "title": "Hours", "url": "https://example.com/hours"},
    ]
    assert data["answered_at"].endswith("Z")


def test_a_failure_says_why_and_never_what_was_asked() -> None:
    reply = frozen(Failed("question_rejected", "post_question: 413"), text="CANARY?", attempts=2)
    event = json.loads(reply.body)
    assert (reply.kind, event["type"]) == ("failed", "contact.question.failed")
    assert (event["data"]["reason"], event["data"]["detail"]) == ("question_rejected", "post_question: 413")
    assert event["data"]["attempts"] == 2
    assert b"CANARY" not in reply.body


@pytest.mark.parametrize("code", ["attempts_exhausted", "answer_unreadable"])
def test_a_failure_of_an_attempt_that_counts_counts_it(code: str) -> None:
    assert json.loads(frozen(Failed(code), attempts=11).body)["data"]["attempts"] == 12


@pytest.mark.parametrize("verdict", [ANSWERED, Failed("expired")])
def test_a_reply_carries_the_trace_of_its_question(verdict: Verdict) -> None:
    reply = frozen(verdict, traceparent=TRACE, tracestate="vendor=1")
    event = json.loads(reply.body)
    assert (reply.traceparent, reply.tracestate) == (TRACE, "vendor=1")
    assert (event["traceparent"], event["tracestate"]) == (TRACE, "vendor=1")


@pytest.mark.parametrize("verdict", [ANSWERED, Failed("expired")])
def test_metadata_comes_back_untouched(verdict: Verdict) -> None:
    metadata = {"a": [1, 2.5, None, {"b": "\0 \U0001f600"}], "": {}}
    assert json.loads(frozen(verdict, metadata=metadata).body)["data"]["metadata"] == metadata


@pytest.mark.parametrize("verdict", [Retry("unreachable", 1.0), Snooze("throttled", 1.0), Halt("x", 1.0)])
def test_a_verdict_that_is_not_final_owes_no_reply(verdict: Verdict) -> None:
    assert reply_for(Bench().turn(), verdict) is None


def test_a_failure_before_any_conversation_names_none() -> None:
    conversation = replace(CONVERSATION, project_id=None, session_id=None, conversation_id=None)
    reply = reply_for(Bench().turn(conversation), Failed("expired"))
    assert reply is not None
    data = json.loads(reply.body)["data"]
    assert (data["project_id"], data["session_id"], data["conversation_id"]) == (None, None, None)


def test_the_same_verdict_is_frozen_into_the_same_bytes() -> None:
    assert frozen(ANSWERED).body == frozen(ANSWERED).body
