"""The sums: from the sandbox's ledger of effects and from the replies, never from our own tables."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from worker.demo.latency import latencies
from worker.demo.record import Record, tag_of


@dataclass(frozen=True, slots=True)
class Spread:
    """Seconds of some questions; p50 and p95 are None when there are none."""

    questions: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a demo."""

    questions: int
    contacts: int
    #: Conversations that were created and not deleted.
    conversations: int
    #: Messages that the API stored.
    posts: int
    #: Different reply events; a repeat of one is a copy with the same id.
    replies: int
    answered: int
    failed: int
    #: Replies by how their answer was obtained.
    recovered: int
    reposted: int
    duplicates_handed_in: int
    reply_copies: int
    #: Calls that the sandbox made go wrong.
    faults: int
    workers_killed: int
    double_posts: int
    missing_posts: int
    missing_replies: int
    #: Questions with more than one reply event, or whose copies differ.
    double_replies: int
    #: Answers that belong to another question.
    wrong_answers: int
    #: Contacts that have no conversation, or more than one.
    split_contacts: int
    #: s from publish to reply, less the API's own time and the wait for the contact's earlier question.
    added_latency_s: Spread
    #: The same for questions that were hit by a fault or by the kill.
    added_latency_hit_s: Spread
    #: s. The API's own time for an answer.
    api_latency_s: Spread
    #: s from the first question to the last reply.
    duration_s: float

    @property
    def is_good(self) -> bool:
        """Tell whether every question has one post and one reply, and every contact one conversation."""
        broken = (
            self.double_posts,
            self.missing_posts,
            self.missing_replies,
            self.double_replies,
            self.wrong_answers,
            self.split_contacts,
        )
        return (
            not any(broken)
            and self.posts == self.replies == self.questions
            and self.conversations == self.contacts
        )

    def as_json(self) -> dict[str, Any]:
        """Return the summary for a program."""
        return {"is_good": self.is_good, **asdict(self)}


def count(record: Record) -> Summary:
    """Count what was asked, what the API did and what came out."""
    wanted = Counter((tag_of(asked), asked.question) for asked in record.asked)
    messages = record.of_kind("message")
    posted = Counter((message["external_id"], message["question"]) for message in messages)
    sessions: dict[str, set[str]] = defaultdict(set)
    for message in messages:
        sessions[message["external_id"]].add(message["session_id"])
    tags = {tag_of(asked) for asked in record.asked}
    firsts = [replies[0] for replies in record.replies.values()]
    ids = [{reply.event["id"] for reply in replies} for replies in record.replies.values()]
    outcomes = Counter(reply.data["outcome"] for reply in firsts if reply.is_answer)
    measured = latencies(record)
    return Summary(
        questions=len(record.asked),
        contacts=len(tags),
        conversations=len(record.of_kind("conversation_created"))
        - len(record.of_kind("conversation_deleted")),
        posts=len(messages),
        replies=sum(len(each) for each in ids),
        answered=sum(reply.is_answer for reply in firsts),
        failed=sum(not reply.is_answer for reply in firsts),
        recovered=outcomes["recovered"],
        reposted=outcomes["reposted_after_unknown"],
        duplicates_handed_in=record.duplicates,
        reply_copies=sum(len(replies) for replies in record.replies.values())
        - sum(len(each) for each in ids),
        faults=sum(effect["fault"] is not None for effect in record.of_kind("request")),
        workers_killed=len(record.killed_at),
        double_posts=(posted - wanted).total(),
        missing_posts=(wanted - posted).total(),
        missing_replies=sum(asked.event_id not in record.replies for asked in record.asked),
        double_replies=sum(
            len(each) > 1 or len({reply.body for reply in replies}) > 1
            for each, replies in zip(ids, record.replies.values(), strict=True)
        ),
        wrong_answers=_wrong_answers(record),
        split_contacts=sum(len(sessions[tag]) != 1 for tag in tags),
        added_latency_s=_spread([each.added_s for each in measured if not each.is_hit]),
        added_latency_hit_s=_spread([each.added_s for each in measured if each.is_hit]),
        api_latency_s=_spread([each.api_s for each in measured]),
        duration_s=_duration_s(record),
    )


def _wrong_answers(record: Record) -> int:
    """Count answers whose message asks something else, or serves a second question too."""
    questions = {
        (message["session_id"], message["message_id"]): (message["external_id"], message["question"])
        for message in record.of_kind("message")
    }
    by_id = {asked.event_id: asked for asked in record.asked}
    served: Counter[tuple[str, int]] = Counter()
    wrong = 0
    for event_id, replies in record.replies.items():
        if not replies[0].is_answer:
            continue
        message = (replies[0].data["session_id"], replies[0].data["message_id"])
        served[message] += 1
        asked = by_id.get(event_id)
        if asked is None or questions.get(message) != (tag_of(asked), asked.question) or served[message] > 1:
            wrong += 1
    return wrong


def _duration_s(record: Record) -> float:
    arrivals = [replies[0].at for replies in record.replies.values()]
    if not arrivals:
        return 0.0
    return round(max(arrivals) - min(record.published.values()), 2)


def _spread(values: Sequence[float]) -> Spread:
    return Spread(len(values), _quantile(values, 0.5), _quantile(values, 0.95))


def _quantile(values: Sequence[float], part: float) -> float | None:
    """Return the smallest value that this part of the values does not exceed."""
    if not values:
        return None
    return round(sorted(values)[math.ceil(part * len(values)) - 1], 3)
