"""The judge: counts from outside what became of the questions, and knows nothing of the worker.

It sees what was asked, the sandbox's ledger of effects (what the API really did) and the replies that came
out on the bus. That is all it believes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One question that somebody asked, in the order of asking."""

    event_id: str
    contact_id: str
    question: str


@dataclass
class Judgement:
    """Counts, and every broken promise in words. Zero broken promises is the only good result."""

    questions: int = 0
    contacts: int = 0
    conversations: int = 0
    posts: int = 0
    replies: int = 0
    reply_ids: int = 0
    answered: int = 0
    failed: int = 0
    double_posts: list[str] = field(default_factory=list)
    never_posted: list[str] = field(default_factory=list)
    split_contacts: list[str] = field(default_factory=list)
    missing_replies: list[str] = field(default_factory=list)
    second_reply_ids: list[str] = field(default_factory=list)
    differing_replies: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    wrong_answers: list[str] = field(default_factory=list)

    def broken(self) -> dict[str, list[str]]:
        """Return the promises that were broken, with the questions or contacts concerned."""
        return {name: value for name, value in vars(self).items() if isinstance(value, list) and value}


def judge(
    asked: Sequence[Asked], effects: Iterable[dict[str, Any]], replies: Sequence[dict[str, Any]]
) -> Judgement:
    """Compare what was asked with what the API did and what came out.

    Questions are told apart by contact and text, so a run asks no contact the same thing twice.
    ``replies`` are decoded events in the order in which they came out.
    """
    posted: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    sessions: dict[str, set[str]] = defaultdict(set)
    created = 0
    for effect in effects:
        if effect["kind"] == "conversation_created":
            created += 1
        elif effect["kind"] == "message":
            posted[effect["external_id"], effect["question"]].append(effect)
            sessions[effect["external_id"]].add(effect["session_id"])
    by_question: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for reply in replies:
        by_question[reply["data"]["question_id"]].append(reply)

    verdict = Judgement(
        questions=len(asked),
        contacts=len({question.contact_id for question in asked}),
        conversations=created,
        posts=sum(len(found) for found in posted.values()),
        replies=len(replies),
        reply_ids=len({reply["id"] for reply in replies}),
        answered=len({r["id"] for r in replies if r["type"].endswith(".answered")}),
        failed=len({r["id"] for r in replies if r["type"].endswith(".failed")}),
    )
    for question in asked:
        found = posted[question.contact_id, question.question]
        if len(found) > 1:
            verdict.double_posts.append(question.event_id)
        if not found:
            verdict.never_posted.append(question.event_id)
        _judge_replies(verdict, question, found, by_question[question.event_id])
    for contact, used in sessions.items():
        if len(used) != 1:
            verdict.split_contacts.append(contact)
    _judge_order(verdict, asked, posted, replies)
    return verdict


def _judge_replies(
    verdict: Judgement, question: Asked, posts: Sequence[dict[str, Any]], replies: Sequence[dict[str, Any]]
) -> None:
    if not replies:
        verdict.missing_replies.append(question.event_id)
        return
    if len({reply["id"] for reply in replies}) > 1:
        verdict.second_reply_ids.append(question.event_id)
    if any(reply != replies[0] for reply in replies):
        verdict.differing_replies.append(question.event_id)
    data = replies[0]["data"]
    if replies[0]["type"].endswith(".answered"):
        is_ours = any(
            (post["message_id"], post["session_id"]) == (data["message_id"], data["session_id"])
            for post in posts
        )
        # The sandbox makes its answers from the question.
        if not is_ours or question.question not in data["answer"]:
            verdict.wrong_answers.append(question.event_id)


def _judge_order(
    verdict: Judgement,
    asked: Sequence[Asked],
    posted: dict[tuple[str, str], list[dict[str, Any]]],
    replies: Sequence[dict[str, Any]],
) -> None:
    """Per contact: posts in the order of asking, and first replies too."""
    first_reply: dict[str, int] = {}
    for place, reply in enumerate(replies):
        first_reply.setdefault(reply["data"]["question_id"], place)
    by_contact: dict[str, list[Asked]] = defaultdict(list)
    for question in asked:
        by_contact[question.contact_id].append(question)
    for contact, questions in by_contact.items():
        messages = [
            posted[q.contact_id, q.question][0]["message_id"]
            for q in questions
            if posted[q.contact_id, q.question]
        ]
        places = [first_reply[q.event_id] for q in questions if q.event_id in first_reply]
        if messages != sorted(messages) or places != sorted(places):
            verdict.out_of_order.append(contact)


def repeated(replies: Iterable[dict[str, Any]]) -> int:
    """Count replies that came out again under an id that had come out before (allowed: at least once)."""
    return sum(count - 1 for count in Counter(reply["id"] for reply in replies).values())
