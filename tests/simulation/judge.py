"""The judge of a simulated run: knows what was asked, what the API did and what came out on the bus.

It knows nothing of the worker. A promise that was broken is a Violation; the protocol says which may appear
when an assumption was broken.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: s. What a stranger says in an empty conversation so shortly before it is deleted, nobody can have seen: the
#: API has no way to delete only what is empty.
UNSEEN_S = 10.0


@dataclass(frozen=True)
class Asked:
    """One question, in the order in which the events reached the queue."""

    key: str
    event_id: str
    contact_id: str
    thread_id: str | None
    text: str
    expires_at: float | None
    #: Failures that this question may end in, by code.
    may_fail: frozenset[str]

    @property
    def conversation(self) -> tuple[str, str | None]:
        """Whose conversation it belongs to."""
        return self.contact_id, self.thread_id


@dataclass(frozen=True)
class Violation:
    """A broken promise: which one, and the question or conversation concerned."""

    promise: str
    subject: str
    detail: str = ""
    #: The questions among which something is wrong, where the subject is their conversation.
    concerns: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.promise}: {self.subject} {self.detail}".rstrip()


class Judge:
    """Counts and compares."""

    def __init__(
        self,
        asked: Sequence[Asked],
        effects: Sequence[Mapping[str, Any]],
        replies: Sequence[Mapping[str, Any]],
        *,
        returned: set[str],
    ) -> None:
        """``returned`` holds the ids of questions whose reply found no queue for a while."""
        self._asked = asked
        self._returned = returned
        self._posts: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        self._deleted = {e["session_id"]: e["at"] for e in effects if e["kind"] == "conversation_deleted"}
        taken = {
            e["session_id"] for e in effects if e["kind"] == "conversation_deleted" and e["by"] == "worker"
        }
        #: Messages in conversations that a worker deleted, though they were to be seen.
        self._taken = Counter(
            e["session_id"]
            for e in effects
            if e["kind"] == "message"
            and e["session_id"] in taken
            and (e["asked"] is not None or e["at"] < self._deleted[e["session_id"]] - UNSEEN_S)
        )
        self._created = [e for e in effects if e["kind"] in {"conversation_created", "conversation_existed"}]
        self._strange: set[str] = set()
        #: When a worker had recorded that a post was taken.
        self._accepted: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for effect in effects:
            if effect["kind"] == "message" and effect["asked"] is None:
                self._strange.add(effect["session_id"])
            elif effect["kind"] == "message":
                self._posts[effect["asked"]].append(effect)
            elif effect["kind"] == "accepted":
                self._accepted[effect["asked"]].append(effect)
        self._replies: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        self._first: dict[str, int] = {}
        for place, reply in enumerate(replies):
            event_id = reply["data"]["question_id"]
            self._replies[event_id].append(reply)
            self._first.setdefault(event_id, place)

    def verdict(self) -> list[Violation]:
        """Return every broken promise."""
        found: list[Violation] = []
        for question in self._asked:
            found.extend(self._question(question))
        by_conversation: dict[tuple[str, str | None], list[Asked]] = defaultdict(list)
        for question in self._asked:
            by_conversation[question.conversation].append(question)
        for conversation, questions in by_conversation.items():
            found.extend(self._order(str(conversation), questions))
            found.extend(self._one_conversation(str(conversation), questions))
        found.extend(self._extras())
        return found

    def _question(self, question: Asked) -> list[Violation]:
        posts, replies = self._posts[question.key], self._replies[question.event_id]
        if not replies:
            return [Violation("lost", question.key, f"posted {len(posts)} times, no reply")]
        found = []
        counting = [
            post for post in posts if not post["is_burnt"] and not self._is_gone(post, replies[0]["at"])
        ]
        if len(counting) > 1:
            ids = [post["message_id"] for post in counting]
            found.append(Violation("double_post", question.key, f"messages {ids}"))
        found.extend(self._posted_again(question))
        if len({reply["id"] for reply in replies}) > 1:
            found.append(Violation("second_reply_id", question.key))
        if any(reply["data"] != replies[0]["data"] for reply in replies):
            found.append(Violation("differing_reply", question.key))
        data = replies[0]["data"]
        if replies[0]["type"].endswith(".answered"):
            ours = [
                post
                for post in posts
                if (post["session_id"], post["message_id"]) == (data["session_id"], data["message_id"])
            ]
            if not ours or data["answer"] != f"answer {data['message_id']} to {question.text}":
                found.append(self._wrong(question, data))
            if not posts:
                found.append(Violation("never_posted", question.key, concerns=found[-1].concerns))
        elif data["reason"] not in question.may_fail:
            found.append(Violation("failed", question.key, data["reason"]))
        elif data["reason"] in {"expired", "attempts_exhausted", "question_rejected"} and counting:
            found.append(Violation("posted_and_failed", question.key, data["reason"]))
        return found

    def _posted_again(self, question: Asked) -> list[Violation]:
        """Find posts made after a worker had recorded that an earlier one was taken."""
        posts = self._posts[question.key]
        burnt = {post["message_id"] for post in posts if post["is_burnt"]}
        return [
            Violation("accepted_posted_again", question.key, f"message {post['message_id']}")
            for accepted in self._accepted[question.key]
            for post in posts
            if accepted["message_id"] not in burnt and post["at"] > accepted["at"]
        ]

    def _wrong(self, question: Asked, data: Mapping[str, Any]) -> Violation:
        """Name the kind of a wrong answer: a second post of a question with the same text is a twin."""
        for other in self._asked:
            if (other.conversation, other.text) == (question.conversation, question.text):
                ids = [(post["session_id"], post["message_id"]) for post in self._posts[other.key]]
                if (data["session_id"], data["message_id"]) in ids:
                    detail = f"the answer to {other.key}, with the same text"
                    return Violation("twin_answer", question.key, detail, frozenset({other.key}))
        return Violation("wrong_answer", question.key, f"message {data['message_id']} is not its post")

    def _is_gone(self, post: Mapping[str, Any], replied_at: float) -> bool:
        """Tell whether the conversation was deleted with this post in it before there was a reply."""
        return self._deleted.get(post["session_id"], float("inf")) < replied_at

    def _order(self, conversation: str, questions: Sequence[Asked]) -> list[Violation]:
        found = []
        concerns = frozenset(question.key for question in questions)
        messages = [self._posts[q.key][0]["at"] for q in questions if self._posts[q.key]]
        if messages != sorted(messages):
            found.append(Violation("posted_out_of_order", conversation, concerns=concerns))
        places = [
            self._first[q.event_id]
            for q in questions
            if q.event_id in self._first and q.event_id not in self._returned
        ]
        if places != sorted(places):
            found.append(Violation("replied_out_of_order", conversation, concerns=concerns))
        return found

    def _one_conversation(self, conversation: str, questions: Sequence[Asked]) -> list[Violation]:
        sessions = {post["session_id"] for q in questions for post in self._posts[q.key]}
        live = sorted(sessions - self._deleted.keys())
        if len(live) > 1:
            return [Violation("split_conversation", conversation, f"{live}")]
        return []

    def _extras(self) -> list[Violation]:
        """Find conversations beside the one of their contact, while they last and at the end."""
        found = []
        by_name: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for effect in self._created:
            by_name[effect["name"]].append(effect)
        for name, created in by_name.items():
            for place, effect in enumerate(created):
                live = [
                    other["session_id"]
                    for other in created[:place]
                    if self._deleted.get(other["session_id"], float("inf")) > effect["at"]
                ]
                if effect["kind"] == "conversation_created" and live:
                    found.append(
                        Violation("second_conversation", name, f"{effect['session_id']} beside {live}")
                    )
            made = [effect["session_id"] for effect in created if effect["kind"] == "conversation_created"]
            # One in which somebody else talks is not the worker's to take away.
            left = [
                session_id
                for session_id in made
                if session_id not in self._deleted and session_id not in self._strange
            ]
            if len(left) > 1:
                found.append(Violation("extra_conversation", name, f"{left} at the end"))
        found += [
            Violation("deleted_messages", session_id, f"{messages} of them")
            for session_id, messages in self._taken.items()
        ]
        return found

    def needless_recoveries(self) -> list[Violation]:
        """Find answers that were read back although nothing was in the way of their own post."""
        return [
            Violation("needless_recovery", question.key, outcome)
            for question in self._asked
            for reply in self._replies[question.event_id][:1]
            if (outcome := reply["data"].get("outcome", "posted")) != "posted"
        ]
