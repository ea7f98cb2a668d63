"""The simulated CustomGPT: conversations and messages, what of them is visible when, and a ledger of effects.

It belongs to no process. Requests arrive here after they left a process, whatever became of that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.simulation.faults import Faults
from tests.simulation.trace import Trace

#: What the agent answers, with status 200, when its credits are used up.
OUT_OF_QUERIES = "This agent has run out of queries."


@dataclass(frozen=True)
class ApiTimes:
    """How slow the API may be, in seconds, within what the protocol assumes (H, T_srv, V)."""

    request_timeout_s: float
    settle_s: float
    list_lag_s: float


@dataclass
class StoredMessage:
    """One exchange."""

    message_id: int
    question: str
    external_id: str
    #: Whose question it is, by the trace context it came with; None for somebody else's.
    asked: str | None
    accepted_at: float
    visible_at: float
    answered_at: float | None
    #: The agent's own text instead of an answer.
    canned: str | None = None

    @property
    def answer(self) -> str:
        """What is answered, once it is."""
        return self.canned or f"answer {self.message_id} to {self.question}"


@dataclass
class StoredConversation:
    """One conversation."""

    conversation_id: int
    session_id: str
    name: str
    created_at: float
    listed_at: float
    messages: list[StoredMessage] = field(default_factory=list)
    deleted_at: float | None = None


class SimApi:
    """State and effects."""

    def __init__(self, times: ApiTimes, faults: Faults, trace: Trace) -> None:
        self.times = times
        self.faults = faults
        self.trace = trace
        self.conversations: dict[str, StoredConversation] = {}
        #: What the judge reads: ``kind`` is conversation_created or _existed, message, conversation_deleted.
        self.effects: list[dict[str, Any]] = []
        self._conversation_ids = count(1)
        self._message_ids = count(1)
        #: Requests on their way or at work.
        self.under_way = 0
        self.last_accepted: StoredMessage | None = None
        self.key_rejected_until = 0.0
        self.credits_gone_until = 0.0
        self.out_of_queries_until = 0.0
        #: Breaks of an assumption, by name; each with the question or contact it concerns.
        self.breaks: list[tuple[str, str]] = []
        self.broken_assumption: str | None = None
        #: Answers are streamed, so that a worker may know that its post was taken.
        self.is_streaming = False

    def now(self) -> float:
        """Virtual time."""
        return self.faults.time()

    def breaks_now(self, assumption: str, probability: float) -> bool:
        """Tell whether an assumption is to be broken on this occasion."""
        return (
            self.broken_assumption == assumption
            and self.now() < self.faults.until
            and self.faults.chance.random() < probability
        )

    def create(self, name: str) -> StoredConversation:
        """Create a conversation; it is listed within V."""
        number, now = next(self._conversation_ids), self.now()
        lag_s = self.times.list_lag_s * self.faults.chance.random() if self.faults.strikes("list_lag") else 0
        if self.breaks_now("A3", 0.7):
            # Later than anybody waits for it, and soon enough for the healer, who looks once, to see it.
            lag_s = self.times.list_lag_s + self.times.request_timeout_s * self.faults.chance.uniform(
                1.05, 1.1
            )
            self.breaks.append(("A3", name))
        created = StoredConversation(number, f"session-{number}", name, now, now + lag_s)
        self.conversations[created.session_id] = created
        self.effects.append(
            {"kind": "conversation_created", "session_id": created.session_id, "name": name, "at": now}
        )
        self.trace("api", f"CREATED {created.session_id}, listed in {lag_s:.2f} s")
        return created

    def accept(
        self, session_id: str, text: str, external_id: str, asked: str | None, latency_s: float
    ) -> StoredMessage:
        """Accept a post: from here on its message exists; it can be read within T_srv."""
        chance, now = self.faults.chance, self.now()
        conversation = self.conversations[session_id]
        lag_s = 0.0
        if self.faults.strikes("message_lag"):
            lag_s = self.times.settle_s * chance.random()
        elif chance.random() < 0.5:
            # Stored together with its answer.
            lag_s = min(latency_s, self.times.settle_s)
        if asked is not None and self.breaks_now("A1", 0.5):
            lag_s = self.times.settle_s * 3
            self.breaks.append(("A1", asked))
        message_id = next(self._message_ids)
        if asked is not None and self.breaks_now("A4", 0.3):
            message_id = -message_id
            self.breaks.append(("A4", asked))
        canned = OUT_OF_QUERIES if asked is not None and now < self.out_of_queries_until else None
        message = StoredMessage(
            message_id, text, external_id, asked, now, now + lag_s, now + latency_s, canned
        )
        conversation.messages.append(message)
        self.last_accepted = message
        self.effects.append(
            {
                "kind": "message",
                "session_id": session_id,
                "external_id": external_id,
                "asked": asked,
                "question": text,
                "message_id": message_id,
                "is_burnt": canned is not None,
                "at": now,
            }
        )
        self.trace("api", f"POSTED {asked} as {message_id} in {session_id}, visible in {lag_s:.2f} s")
        return message

    def delete(self, session_id: str, *, by: str) -> None:
        """Delete a conversation with its messages."""
        conversation = self.conversations[session_id]
        if conversation.deleted_at is None:
            conversation.deleted_at = self.now()
            self.effects.append(
                {
                    "kind": "conversation_deleted",
                    "session_id": session_id,
                    "by": by,
                    "messages": len(conversation.messages),
                    "at": self.now(),
                }
            )
            self.trace("api", f"DELETED {session_id} by {by}, {len(conversation.messages)} messages")

    def is_there(self, session_id: str) -> bool:
        """Tell whether a conversation exists."""
        found = self.conversations.get(session_id)
        return found is not None and found.deleted_at is None

    def answer_of(self, message: StoredMessage) -> str | None:
        """Return the answer once there is one."""
        is_answered = message.answered_at is not None and message.answered_at <= self.now()
        return message.answer if is_answered else None
