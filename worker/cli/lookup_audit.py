"""Compares what the ledger says of a contact with what the API has: the audit of the CRM guide.

Each question of the ledger is to be at the API once, under the message id that the ledger recorded, with the
contact's external_id and its own text, and nothing else is to be there. No I/O here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.core.reconcile import evened_out

if TYPE_CHECKING:
    from worker.adapters.ledger.audit import AuditedConversation, AuditedQuestion
    from worker.core.model import RemoteMessage

#: A failed question with one of these may have been posted all the same; the ledger says so itself.
MAY_BE_POSTED = frozenset({"outcome_unknown", "answer_unreadable", "crash_poison"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was noticed."""

    kind: str
    #: Whether ledger and API still agree; a note otherwise says what a person may wonder about.
    agrees: bool
    #: For people; never a question, an answer or a contact id.
    text: str
    session_id: str | None = None
    message_id: int | None = None
    question_id: str | None = None


@dataclass(frozen=True, slots=True)
class Remote:
    """What the API has of one conversation in the ledger."""

    #: None: the API does not know the session, or there is none yet.
    messages: Sequence[RemoteMessage] | None
    #: The agent's fixed text for used up queries: what has it as its answer is asked again.
    out_of_queries: str | None = None


def compare(
    before: AuditedConversation, after: AuditedConversation, remote: Remote, *, fresh_since: float
) -> Iterator[Finding]:
    """Yield what does not agree, and what may look so.

    ``before`` and ``after`` are the ledger's word from before and after the API was asked: what is posted
    meanwhile is in the one and not in the other. What was finished after ``fresh_since``, in the ledger's
    time, may not be listed yet.
    """
    session_id = after.conversation.session_id
    if remote.messages is None:
        if session_id is not None:
            text = "the API does not know the ledger's conversation any more"
            yield Finding("conversation_missing", False, text, session_id)
        return
    listed = {message.message_id: message for message in remote.messages}
    for question in before.questions:
        yield from _of_question(question, before, listed, fresh_since)
    yield from _of_others(after, listed, remote)


def _of_question(
    question: AuditedQuestion,
    record: AuditedConversation,
    listed: Mapping[int, RemoteMessage],
    fresh_since: float,
) -> Iterator[Finding]:
    number, session_id = question.message_id, question.session_id
    if number is None:
        return

    def finding(kind: str, text: str, *, agrees: bool = False) -> Finding:
        return Finding(kind, agrees, text, session_id, number, question.event_id)

    if session_id != record.conversation.session_id:
        if session_id in record.conversation.forgotten_session_ids:
            yield finding("conversation_lost", "it is in a conversation that the API lost since", agrees=True)
        else:
            yield finding("other_conversation", "it was posted to another conversation")
        return
    message = listed.get(number)
    if message is None:
        if question.finished_at is not None and question.finished_at > fresh_since:
            yield finding("not_listed_yet", "the API may list it a little later", agrees=True)
        else:
            yield finding("message_missing", "the ledger has its message id, the API has no such message")
        return
    if message.external_id != record.conversation.external_id:
        yield finding("external_id_differs", "the API has the message under another external_id")
    if evened_out(message.question) != evened_out(question.text):
        yield finding("text_differs", "the API has another text under its message id")


def _of_others(
    record: AuditedConversation, listed: Mapping[int, RemoteMessage], remote: Remote
) -> Iterator[Finding]:
    """Yield what is to be said of messages that answer no question of the ledger."""
    session_id = record.conversation.session_id
    known = {each.message_id for each in record.questions if each.session_id == session_id}
    oldest = _oldest(record)
    for number, message in sorted(listed.items()):
        if number in known:
            continue
        kind, agrees, text, question = next(_explanations(message, record, oldest, remote))
        question_id = None if question is None else question.event_id
        yield Finding(kind, agrees, text, session_id, number, question_id)


def _explanations(
    message: RemoteMessage, record: AuditedConversation, oldest: int, remote: Remote
) -> Iterator[tuple[str, bool, str, AuditedQuestion | None]]:
    """Yield what a message that the ledger has no number of may be; the first that fits is it."""
    if message.message_id <= oldest:
        yield "before_the_ledger", True, "it is older than what the ledger keeps", None
    same = [
        each
        for each in record.questions
        if message.external_id == record.conversation.external_id
        and evened_out(each.text) == evened_out(message.question)
    ]
    if same and remote.out_of_queries and message.answer == remote.out_of_queries:
        yield "out_of_queries", True, "the plan's queries were used up, so it was asked again", same[-1]
    for question in same:
        if question.state == "posting" and message.message_id > (question.baseline_message_id or 0):
            yield "in_flight", True, "its question is being posted or read back now", question
    for question in same:
        if question.state == "failed" and question.message_id is None and question.code in MAY_BE_POSTED:
            yield "held", True, "its question failed with an unknown outcome: it was posted", question
    for question in same:
        if question.message_id is not None:
            yield "posted_twice", False, "its question has another message id in the ledger", question
    for question in same:
        yield (
            "not_recorded",
            False,
            f"its question is {question.state} in the ledger, as not posted",
            question,
        )
    yield "from_elsewhere", False, "no question of the ledger: somebody else posted it", None


def _oldest(record: AuditedConversation) -> int:
    """Return the highest message id that was there before the first question that the ledger still has."""
    session_id = record.conversation.session_id
    baselines = [
        each.baseline_message_id
        for each in record.questions
        if each.baseline_message_id is not None and each.session_id == session_id
    ]
    return min(baselines, default=record.conversation.highest_message_id)
