"""What is noticed when ledger and API are compared, case by case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from worker.adapters.ledger.audit import AuditedConversation, AuditedQuestion
from worker.cli.conversations_read import is_named_for
from worker.cli.lookup_audit import Finding, Remote, compare
from worker.core.model import Conversation, RemoteMessage

CONVERSATION = Conversation(1, "default", "E1", None, "E1", 123, "s-1", 7, 50, None)
OUT_OF_QUERIES = "This account has used up its queries."


def asked(number: int, **changes: Any) -> AuditedQuestion:
    """Return an answered question whose message has the same number."""
    question = AuditedQuestion(
        source="crm",
        event_id=f"evt-{number}",
        state="answered",
        code=None,
        session_id="s-1",
        message_id=number,
        baseline_message_id=number - 1,
        duplicate_message_id=None,
        finished_at=100.0,
        text=f"question {number}",
    )
    return replace(question, **changes)


def stored(number: int, text: str | None = None, tag: str | None = "E1", answer: str = "a") -> RemoteMessage:
    return RemoteMessage(number, text or f"question {number}", answer, tag)


def noticed(
    questions: list[AuditedQuestion],
    messages: list[RemoteMessage] | None,
    *,
    before: list[AuditedQuestion] | None = None,
    conversation: Conversation = CONVERSATION,
    fresh_since: float = 1000.0,
) -> list[Finding]:
    earlier = AuditedConversation(conversation, tuple(questions if before is None else before))
    later = AuditedConversation(conversation, tuple(questions))
    remote = Remote(messages, OUT_OF_QUERIES)
    return list(compare(earlier, later, remote, fresh_since=fresh_since))


def kinds(findings: list[Finding]) -> list[tuple[str, bool]]:
    return [(each.kind, each.agrees) for each in findings]


def test_nothing_is_noticed_when_every_question_is_there_once() -> None:
    assert noticed([asked(11), asked(12)], [stored(12), stored(11)]) == []


def test_texts_are_compared_as_reading_back_compares_them() -> None:
    question = asked(11, text="Caf\u00e9  &\n1")
    assert noticed([question], [stored(11, "Cafe\u0301 &amp; 1")]) == []


@pytest.mark.parametrize(
    ("question", "message", "kind", "agrees"),
    [
        (asked(11), stored(11, "other"), "text_differs", False),
        (asked(11), stored(11, tag="E2"), "external_id_differs", False),
        (asked(11), stored(11, tag=None), "external_id_differs", False),
        (
            asked(12, state="posting", message_id=None, text="q"),
            stored(13, "q"),
            "in_flight",
            True,
        ),
        (
            asked(12, state="failed", code="outcome_unknown", message_id=None, text="q"),
            stored(13, "q"),
            "held",
            True,
        ),
        (
            asked(12, state="failed", code="expired", message_id=None, text="q"),
            stored(13, "q"),
            "not_recorded",
            False,
        ),
        (
            asked(12, state="waiting", message_id=None, text="q"),
            stored(13, "q"),
            "not_recorded",
            False,
        ),
        (
            asked(12, state="waiting", message_id=None, text="q"),
            stored(13, "q", answer=OUT_OF_QUERIES),
            "out_of_queries",
            True,
        ),
        (asked(12, state="waiting", message_id=None), stored(13, "?"), "from_elsewhere", False),
        (
            asked(12, state="waiting", message_id=None, text="q"),
            stored(13, "q", tag="E2"),
            "from_elsewhere",
            False,
        ),
        (asked(12, state="waiting", message_id=None), stored(5, "?"), "before_the_ledger", True),
    ],
)
def test_message_is_explained_by_the_question_it_belongs_to(
    question: AuditedQuestion, message: RemoteMessage, kind: str, agrees: bool
) -> None:
    assert kinds(noticed([question], [message])) == [(kind, agrees)]


def test_second_message_of_an_answered_question_is_a_second_post() -> None:
    findings = noticed([asked(11)], [stored(11), stored(12, "question 11")])
    assert kinds(findings) == [("posted_twice", False)]
    assert (findings[0].message_id, findings[0].question_id) == (12, "evt-11")


def test_same_question_asked_twice_is_no_second_post() -> None:
    questions = [asked(11, text="same"), asked(12, text="same")]
    assert noticed(questions, [stored(11, "same"), stored(12, "same")]) == []


def test_message_that_is_missing_is_noticed_unless_it_is_fresh() -> None:
    assert kinds(noticed([asked(11)], [])) == [("message_missing", False)]
    assert kinds(noticed([asked(11)], [], fresh_since=99.0)) == [("not_listed_yet", True)]


def test_question_answered_while_the_api_was_asked_is_not_missed() -> None:
    waiting = asked(11, state="posting", message_id=None)
    assert noticed([asked(11)], [], before=[waiting]) == []
    assert noticed([asked(11)], [stored(11)], before=[waiting]) == []


def test_conversation_that_the_api_does_not_know_is_noticed() -> None:
    assert kinds(noticed([asked(11)], None)) == [("conversation_missing", False)]
    assert noticed([], None, conversation=replace(CONVERSATION, session_id=None)) == []


def test_message_in_a_conversation_that_the_api_lost_is_no_difference() -> None:
    renewed = replace(CONVERSATION, forgotten_session_ids=("s-0",), epoch=1)
    old, new = asked(11, session_id="s-0"), asked(12)
    assert kinds(noticed([old, new], [stored(12)], conversation=renewed)) == [("conversation_lost", True)]
    other = asked(11, session_id="s-9")
    assert kinds(noticed([other, new], [stored(12)])) == [("other_conversation", False)]


def test_message_older_than_what_the_ledger_keeps_is_no_difference() -> None:
    findings = noticed([asked(11)], [stored(11), stored(10, "long ago")])
    assert kinds(findings) == [("before_the_ledger", True)]
    assert kinds(noticed([], [stored(50, "x"), stored(51, "y")])) == [
        ("before_the_ledger", True),
        ("from_elsewhere", False),
    ]


def test_findings_hold_no_content_and_no_contact() -> None:
    findings = noticed(
        [asked(11, text="canary"), asked(12, text="canary")],
        [stored(11, "canary two"), stored(12, "canary", "canary"), stored(13, "canary three")],
    )
    assert len(findings) == 3
    assert not any("canary" in each.text or "E1" in each.text for each in findings)


@pytest.mark.parametrize(
    ("name", "is_mine"),
    [
        ("crm:E1", True),
        ("crm:E1 #" + "0f" * 16, True),
        ("crm:E1 - ACME", True),
        ("crm:E1 \u2014 ACME", True),
        ("crm:E12", False),
        ("crm:E1 B", False),
        ("crm:E1 - B #" + "0f" * 16, False),
        ("E1", False),
        ("CRM:E1", False),
    ],
)
def test_name_says_whose_conversation_it_is(name: str, is_mine: bool) -> None:
    assert is_named_for(name, "E1") is is_mine
