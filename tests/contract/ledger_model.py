"""What the ledger has to do, in plain Python: lists, one clock, no statement and no lock.

The state machine beside it does everything twice, here and in the real tables, and compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.contract.ledger_cases import LEASE_S
from worker.adapters.ledger.intake import REPEAT_WINDOW_S
from worker.adapters.ledger.leases import SOON_S
from worker.adapters.ledger.outbox import NOT_CONFIRMED_LONGEST_S, PAUSES_S
from worker.core.errors import LeaseLost, MessageClaimed
from worker.core.model import Answered, Failed, Halt, Retry, Snooze, Verdict

LOST = LeaseLost.code
CLAIMED = MessageClaimed.code


@dataclass
class Asked:
    """A question."""

    event_id: str
    contact: str
    text: str
    state: Literal["waiting", "posting", "answered", "failed"] = "waiting"
    attempts: int = 0
    posts: int = 0
    looks: int = 0
    has_ended: bool = False
    expired_leases: int = 0
    is_repost: bool = False
    #: Session and baseline of the post that was begun last.
    intent: tuple[str, int] | None = None
    #: Session and id of the message that it claimed.
    message: tuple[str, int] | None = None

    @property
    def is_open(self) -> bool:
        """It has no end yet."""
        return self.state in {"waiting", "posting"}

    def begin(self, session: str, baseline: int) -> tuple[str, int]:
        """Record the intent to post; returns session and baseline."""
        self.is_repost = self.is_repost or self.state == "posting"
        self.state, self.posts = "posting", self.posts + 1
        self.looks, self.has_ended = 0, False
        self.intent = (session, baseline)
        return self.intent


@dataclass
class Thread:
    """A conversation."""

    contact: str
    questions: list[Asked] = field(default_factory=list)
    token: int = 0
    owner: str | None = None
    lease_until: float = 0.0
    due_at: float | None = None
    session: str | None = None
    highest: int = 0
    is_creating: bool = False
    forgotten: list[str] = field(default_factory=list)

    def next_question(self) -> Asked:
        """In flight first, then in arrival order."""
        still_open = [question for question in self.questions if question.is_open]
        in_flight = [question for question in still_open if question.state == "posting"]
        return (in_flight or still_open)[0]

    def give_back(self, due_at: float) -> None:
        """End the lease; something is due only while a question is open."""
        self.owner, self.lease_until = None, 0.0
        self.due_at = due_at if any(question.is_open for question in self.questions) else None

    def raise_highest(self, session: str | None, message_id: int | None) -> None:
        """Message ids count in their own session only."""
        if session == self.session:
            self.highest = max(self.highest, message_id or 0)


@dataclass
class Replied:
    """A recorded reply."""

    event_id: str
    contact: str
    owner: str | None
    due_at: float | None
    state: Literal["waiting", "aside", "published"] = "waiting"
    tries: int = 0
    repeated_at: float | None = None


@dataclass
class LedgerModel:
    """The ledger. Everybody who asks says who it is; ``contact`` and ``token`` together are a lease."""

    now: float
    threads: dict[str, Thread] = field(default_factory=dict)
    events: dict[str, Asked] = field(default_factory=dict)
    #: In the order in which they were recorded.
    replies: list[Replied] = field(default_factory=list)

    def accept(self, batch: Sequence[tuple[str, str, str]]) -> list[str]:
        """Take in (event id, contact, text), each event once."""
        return [self._accept(*event) for event in batch]

    def _accept(self, event_id: str, contact: str, text: str) -> str:
        known = self.events.get(event_id)
        if known is None:
            question = self.events[event_id] = Asked(event_id, contact, text)
            thread = self.threads.setdefault(contact, Thread(contact))
            thread.questions.append(question)
            thread.due_at = self.now if thread.due_at is None else thread.due_at
            return "new"
        if known.text != text:
            return "conflict"
        if known.is_open:
            return "repeat_unfinished"
        reply = next(reply for reply in self.replies if reply.event_id == event_id)
        is_recent = reply.repeated_at is not None and reply.repeated_at >= self.now - REPEAT_WINDOW_S
        if reply.state == "published" and not is_recent:
            reply.state, reply.due_at, reply.owner, reply.tries = "waiting", self.now, None, 0
            reply.repeated_at = self.now
        return "repeat_finished"

    def due(self) -> list[Thread]:
        """Return those that are due and that nobody holds, longest waiting first."""
        free = [
            thread
            for thread in self.threads.values()
            if thread.due_at is not None and thread.due_at <= self.now and thread.lease_until <= self.now
        ]
        return sorted(free, key=lambda thread: thread.due_at or 0.0)

    def has_next(self, owner: str) -> bool:
        """Tell whether a conversation is due soon that is not under this worker's lease."""
        return any(
            thread.due_at is not None
            and thread.due_at <= self.now + SOON_S
            and (thread.owner != owner or thread.lease_until <= self.now)
            for thread in self.threads.values()
        )

    def claim(self, owner: str, limit: int) -> list[Thread]:
        """Lease those that are due.

        Where not all are taken, one that is to be read back goes before: such reads have their share.
        """
        free = self.due()
        reads = [thread for thread in free if thread.next_question().state == "posting"]
        if len(free) >= limit and reads:
            free.remove(reads[0])
            free.insert(0, reads[0])
        for thread in free[:limit]:
            # Whoever ended in order left no name behind.
            thread.next_question().expired_leases += thread.owner is not None
            thread.token += 1
            thread.owner = owner
            thread.lease_until = thread.due_at = self.now + LEASE_S
        return free[:limit]

    def begin_claimed(self, thread: Thread) -> tuple[str, int] | None:
        """Record the intent for what was just claimed, where the post is the first thing to do."""
        question = thread.next_question()
        if thread.session is None or question.state != "waiting" or question.expired_leases:
            return None
        return question.begin(thread.session, thread.highest)

    def held(self, owner: str, contact: str, token: int) -> Thread | None:
        """A lease that expired holds as long as nobody else has taken the conversation."""
        thread = self.threads[contact]
        return thread if (thread.owner, thread.token) == (owner, token) else None

    def renew(self, owner: str, contact: str, token: int) -> bool:
        """Tell whether it could be prolonged."""
        thread = self.held(owner, contact, token)
        if thread is not None:
            thread.lease_until = thread.due_at = self.now + LEASE_S
        return thread is not None

    def release(self, owner: str, contact: str, token: int) -> None:
        """Give back in order, due at once."""
        thread = self.held(owner, contact, token)
        if thread is not None:
            thread.give_back(self.now)
            for question in thread.questions:
                question.expired_leases = 0 if question.is_open else question.expired_leases

    def begin_create(self, owner: str, contact: str, token: int) -> str | None:
        """Note the intent to create; senseless where there is a session."""
        thread = self.held(owner, contact, token)
        if thread is None or thread.session is not None:
            return LOST
        thread.is_creating = True
        return None

    def save_session(self, owner: str, contact: str, token: int, session: str, highest: int) -> str | None:
        """Save it where there is none."""
        thread = self.held(owner, contact, token)
        if thread is None or thread.session is not None:
            return LOST
        thread.session, thread.highest, thread.is_creating = session, highest, False
        return None

    def forget_session(self, owner: str, contact: str, token: int) -> str | None:
        """Put it aside for good."""
        thread = self.held(owner, contact, token)
        if thread is None or thread.session is None:
            return LOST
        thread.forgotten.append(thread.session)
        thread.session, thread.highest, thread.is_creating = None, 0, False
        return None

    def begin_post(
        self, owner: str, contact: str, token: int, event_id: str, session: str
    ) -> tuple[str, int] | str:
        """Record the intent; returns session and baseline."""
        thread, question = self.held(owner, contact, token), self.events[event_id]
        if thread is None or not question.is_open or thread.session != session:
            return LOST
        return question.begin(session, thread.highest)

    def finish(self, owner: str, contact: str, token: int, event_id: str, verdict: Verdict) -> bool | str:
        """Apply the verdict; returns whether its reply may be published at once by whoever asks."""
        thread, question = self.held(owner, contact, token), self.events[event_id]
        if thread is None or not question.is_open:
            return LOST
        message = _message_of(verdict)
        if message is not None and any(message == other.message for other in self.events.values()):
            return CLAIMED
        due_at = self.now
        match verdict:
            case Answered():
                question.state, question.attempts = "answered", question.attempts + 1
            case Failed(code=code):
                question.state = "failed"
                question.attempts += code in {"attempts_exhausted", "answer_unreadable"}
            case Retry(after_s=after_s):
                question.state, question.attempts = "waiting", question.attempts + 1
                due_at += after_s
            case Snooze(after_s=after_s, is_look=is_look, has_ended=has_ended):
                question.looks, question.has_ended = question.looks + is_look, question.has_ended or has_ended
                question.state = "posting" if verdict.keeps_intent else "waiting"
                due_at += after_s
            case Halt(burnt_message_id=burnt, session_id=session):
                question.state = "posting" if verdict.keeps_intent else "waiting"
                thread.raise_highest(session, burnt)
        question.expired_leases, question.message = 0, message
        if message is not None:
            thread.raise_highest(*message)
        thread.give_back(due_at)
        if question.is_open:
            return False
        reply = Replied(event_id, contact, owner, self.now + LEASE_S)
        self.replies.append(reply)
        return self._oldest(contact) is reply

    def take_replies(self, owner: str) -> list[str]:
        """Take over all that are due: the oldest of each conversation, and those set aside."""
        due = [
            reply
            for reply in self.replies
            if reply.due_at is not None
            and reply.due_at <= self.now
            and (reply.state == "aside" or reply is self._oldest(reply.contact))
        ]
        return [self._own(owner, reply) for reply in due]

    def mark_published(self, owner: str, event_id: str) -> list[str]:
        """Record a confirm; returns what waited behind it."""
        reply = self._reply(event_id)
        reply.state, reply.due_at, reply.owner = "published", None, None
        behind = self._oldest(reply.contact)
        return [] if behind is None else [self._own(owner, behind)]

    def mark_unpublished(self, event_id: str, *, is_returned: bool) -> None:
        """Put it off, and out of the way of the others when no queue took it."""
        reply = self._reply(event_id)
        if reply.state != "published":
            longest_s = PAUSES_S[1] if is_returned else NOT_CONFIRMED_LONGEST_S
            reply.due_at = self.now + min(longest_s, PAUSES_S[0] * 2**reply.tries)
            reply.tries, reply.owner = reply.tries + 1, None
            reply.state = "aside" if is_returned else reply.state
        behind = self._oldest(reply.contact)
        if is_returned and behind is not None:
            behind.due_at = self.now

    def conversations(self) -> dict[str, tuple[object, ...]]:
        """Return what the tables are to say of each, by contact."""
        return {
            contact: (
                each.token,
                each.owner,
                each.lease_until,
                each.due_at,
                each.session,
                each.highest,
                each.is_creating,
                each.forgotten,
            )
            for contact, each in self.threads.items()
        }

    def questions(self) -> list[tuple[object, ...]]:
        """Return what the tables are to say of each, in arrival order."""
        return [
            (
                each.event_id,
                each.text,
                each.state,
                each.attempts,
                each.posts,
                each.looks,
                each.has_ended,
                each.expired_leases,
                each.message,
            )
            for each in self.events.values()
        ]

    def recorded(self) -> list[tuple[object, ...]]:
        """Return what the tables are to say of each reply, in the order in which they were recorded."""
        return [(each.event_id, each.state, each.owner, each.due_at, each.tries) for each in self.replies]

    def _own(self, owner: str, reply: Replied) -> str:
        reply.owner, reply.due_at = owner, self.now + LEASE_S
        return reply.event_id

    def _oldest(self, contact: str) -> Replied | None:
        waiting = (each for each in self.replies if each.contact == contact and each.state == "waiting")
        return next(waiting, None)

    def _reply(self, event_id: str) -> Replied:
        return next(reply for reply in self.replies if reply.event_id == event_id)


def _message_of(verdict: Verdict) -> tuple[str, int] | None:
    match verdict:
        case Answered(message=message, session_id=session):
            return (session, message.message_id)
        case Failed(message_id=int(message_id), session_id=str(session)):
            return (session, message_id)
        case _:
            return None
