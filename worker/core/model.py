"""What the core talks about: conversations, questions, intents, claims, verdicts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

from worker.core.errors import AnswerUnreadable, AttemptsExhausted

#: The API's limit for external_id, in characters (API-FACTS 1.3).
EXTERNAL_ID_CHARS = 128

Outcome = Literal["posted", "recovered", "reposted_after_unknown"]
ReplyKind = Literal["answered", "failed"]
#: The API's two ways to ask: in a conversation, or OpenAI's, which keeps none.
Api = Literal["conversations", "chat_completions"]
#: Stands for the session where there is no conversation.
NO_SESSION = ""


#: 128 bits: two of a billion events are the same by chance once in 10^20 such ledgers, and the indexes that
#: look a hash up in places that are in no cache stay half as large as with all 256.
DIGEST_HEX = 32


def digest_of(*parts: str | None) -> str:
    """Return DIGEST_HEX hex digits for parts, each with its length before it; None differs from empty."""
    digest = hashlib.sha256()
    for part in parts:
        if part is None:
            digest.update(b"-")
        else:
            data = part.encode("utf-8")
            digest.update(b"%d:%b" % (len(data), data))
    return digest.hexdigest()[:DIGEST_HEX]


def external_id_of(contact_id: str) -> str:
    """Return the tag sent with a contact's messages: the contact id, or its hash when it is too long."""
    if len(contact_id) <= EXTERNAL_ID_CHARS:
        return contact_id
    return "sha256:" + hashlib.sha256(contact_id.encode("utf-8")).hexdigest()


@dataclass(frozen=True, slots=True)
class MessageOptions:
    """How a question is to be answered; None leaves it to the agent, and out of the request."""

    custom_persona: str | None = None
    chatbot_model: str | None = None
    response_source: str | None = None
    custom_context: str | None = None

    def given(self) -> dict[str, str]:
        """Return those that are set, by the API's names."""
        fields_ = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in fields_ if value is not None}

    def over(self, others: MessageOptions) -> MessageOptions:
        """Return these, and the others where these are not set."""
        if others == NO_OPTIONS:
            return self
        return MessageOptions(**{**others.given(), **self.given()})


#: Everything is left to the agent.
NO_OPTIONS = MessageOptions()


@dataclass(frozen=True, slots=True)
class AcceptedQuestion:
    """A valid event as intake hands it to the ledger."""

    source: str
    event_id: str
    reply_id: str
    route: str
    contact_id: str
    thread_id: str | None
    text: str
    lang: str | None
    metadata: Any
    #: ISO 8601, as the event gave it.
    asked_at: str | None
    #: Epoch seconds after which nobody waits for the answer.
    expires_at: float | None
    traceparent: str | None
    tracestate: str | None
    is_redelivered: bool = False
    options: MessageOptions = NO_OPTIONS
    #: None: as the settings say when it is asked.
    api: Api | None = None

    @property
    def event_hash(self) -> str:
        """The identity of the event."""
        return digest_of(self.source, self.event_id)

    @property
    def conversation_key(self) -> str:
        """The identity of its conversation."""
        return digest_of(self.route, self.contact_id, self.thread_id)

    @property
    def data_hash(self) -> str:
        """What makes a second event with the same id the same question."""
        return digest_of(self.contact_id, self.thread_id, self.text)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What the ledger made of one accepted question."""

    result: Literal["new", "repeat_unfinished", "repeat_finished", "erased", "conflict", "refused"]


@dataclass(frozen=True, slots=True)
class Intent:
    """A post that was begun and whose end is not recorded."""

    #: Ledger time, seconds.
    at: float
    #: NO_SESSION: it was asked without a conversation, and nothing can be read back.
    session_id: str
    #: The highest message id known in that session before the post; whatever it made has a higher one.
    baseline_message_id: int
    #: How often the conversation was read back for it.
    looks: int = 0
    #: The API itself said that its work on it has ended (A6).
    has_ended: bool = False
    #: The API began to stream the answer, which proves that it took the post: it is never posted again.
    is_accepted: bool = False


@dataclass(frozen=True, slots=True)
class Conversation:
    """One (route, contact, thread) as the ledger knows it."""

    number: int
    route: str
    contact_id: str
    thread_id: str | None
    external_id: str
    project_id: int | None
    session_id: str | None
    conversation_id: int | None
    highest_message_id: int
    create_intent_at: float | None
    forgotten_session_ids: tuple[str, ...] = ()
    #: How often the API lost this conversation and a new one was made.
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """One question as the ledger knows it."""

    #: Arrival number: the order in which questions are answered.
    number: int
    source: str
    event_id: str
    reply_id: str
    text: str
    lang: str | None
    metadata: Any
    asked_at: str | None
    #: Ledger time, seconds.
    received_at: float
    expires_at: float | None
    traceparent: str | None
    tracestate: str | None
    #: Counted attempts so far (PROTOCOL 7).
    attempts: int
    #: Posts begun before this turn: not the one that is recorded along with its claim.
    posts: int
    is_redelivered: bool
    intent: Intent | None
    #: An earlier post's outcome was unknown, reading back found nothing, and it was posted again.
    is_repost: bool = False
    #: Its contact had asked as many questions as a day allows.
    is_over_limit: bool = False
    #: How many leases in a row expired on it.
    expired_leases: int = 0
    options: MessageOptions = NO_OPTIONS
    #: By which way its event wants to be asked; None leaves it to the settings.
    api: Api | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """Proof that a conversation is ours: every write names the token."""

    conversation: int
    token: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A turn to take: the conversation, its next question and the lease."""

    lease: Lease
    conversation: Conversation
    question: Question
    #: Ledger time of the claim, seconds.
    claimed_at: float
    #: Set when the gate lets only this turn through, to find out whether the reason has gone.
    probes: str | None = None
    #: The API was seen to change texts or external_ids: a listing proves nothing then.
    is_altering: bool = False
    #: The intent to post that was recorded along with the claim; nothing was sent for it before this turn.
    begun: Intent | None = None


@dataclass(frozen=True, slots=True)
class Claims:
    """What one look at the ledger gave."""

    turns: tuple[Claim, ...]
    #: In how many seconds something is due that is not now; None when nothing is that soon.
    next_due_in_s: float | None
    #: More may be waiting than was taken.
    has_more: bool
    #: Why nothing may be sent now, when the gate is closed.
    closed: str | None = None


@dataclass(frozen=True, slots=True)
class SecondLook:
    """A question that was posted again, to be looked for once more."""

    question: int
    source: str
    event_id: str
    text: str
    project_id: int
    session_id: str
    external_id: str
    #: Highest message id before its first post.
    baseline_message_id: int
    #: The message that answers it.
    message_id: int


@dataclass(frozen=True, slots=True)
class RemoteConversation:
    """A conversation as the API lists it."""

    conversation_id: int | None
    session_id: str
    name: str
    is_deleted: bool = False
    created_at: str | None = None


@dataclass(frozen=True, slots=True)
class Citation:
    """One source the agent named; title and url are None where the API gave only a number."""

    id: int | None
    title: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteMessage:
    """One exchange as the API stores it: the question as it was posted and the answer, if there is one."""

    message_id: int
    question: str
    answer: str | None
    external_id: str | None
    conversation_id: int | None = None
    citations: tuple[Citation, ...] = ()
    #: What the API stored beside the message (PROTOCOL 4.2: provider_metadata), without addresses and agents.
    metadata: dict[str, Any] = field(default_factory=dict)
    created_at: str | None = None
    #: False at the end of a stream, which names the message and lacks the rest: it is to be read by its id.
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class MessageListing:
    """A conversation's messages above a baseline, newest first."""

    messages: tuple[RemoteMessage, ...]
    conversation_id: int | None = None


@dataclass(frozen=True, slots=True)
class CannedTexts:
    """The agent's own fixed texts; None where it has none or they could not be fetched."""

    no_answer: str | None = None
    agent_problem: str | None = None
    out_of_queries: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A frozen reply event, ready for the bus."""

    event_id: str
    kind: ReplyKind
    #: The CloudEvent, UTF-8 JSON.
    body: bytes
    question_id: str
    traceparent: str | None = None
    tracestate: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """An answer as far as it is written, ready for the bus. It may be lost."""

    event_id: str
    #: The CloudEvent, UTF-8 JSON.
    body: bytes
    question_id: str
    traceparent: str | None = None
    tracestate: str | None = None


@dataclass(frozen=True, slots=True)
class OutboxReply:
    """A recorded reply that this process may publish now."""

    number: int
    reply: Reply
    #: Fruitless publishes so far.
    tries: int = 0


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """What follows from the end of a turn."""

    #: The turn's reply, where this process may publish it now.
    reply: OutboxReply | None
    #: Somebody's question or look is due, or will be within seconds: a claim may find a turn.
    has_next: bool


@dataclass(frozen=True, slots=True)
class GateNews:
    """What a call told about the API: the gate opens, closes or counts a failure.

    ``ok``: a question was answered. ``answered``: the API answered something, so it is up.
    """

    kind: Literal["ok", "answered", "failure", "pause"]
    #: A code of core/errors; for a pause.
    reason: str = ""
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Answered:
    """The question has its answer."""

    message: RemoteMessage
    #: Where the message stands: its id is unique only there.
    session_id: str
    outcome: Outcome
    fallback: Literal["no_answer", "agent_problem"] | None
    #: The API gave back another text or external_id than was sent.
    is_altered: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """Nothing was posted; try again. Counts as an attempt."""

    code: str
    after_s: float
    news: GateNews | None = None


@dataclass(frozen=True, slots=True)
class Snooze:
    """Not now; no attempt is counted. The intent stays when the outcome of a post is unknown."""

    code: str
    after_s: float
    keeps_intent: bool = False
    #: The API said that its work on the post has ended (A6).
    has_ended: bool = False
    #: The conversation was read back once more.
    is_look: bool = False
    news: GateNews | None = None


@dataclass(frozen=True, slots=True)
class Halt:
    """Nothing goes on until a person or time mends it: the gate closes, the question stays."""

    code: str
    probe_in_s: float
    keeps_intent: bool = False
    #: A message that the API stored without answering (out of queries), in this session: never to be adopted.
    burnt_message_id: int | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The question ends without an answer."""

    code: str
    #: For people and logs; never any content.
    detail: str = ""
    message_id: int | None = None
    session_id: str | None = None
    news: GateNews | None = None


Verdict = Answered | Retry | Snooze | Halt | Failed

#: Ends without an answer whose last attempt counts; every other says nothing of an attempt (PROTOCOL 7).
_ENDS_OF_ATTEMPTS = {AttemptsExhausted.code, AnswerUnreadable.code}


def attempts_in(verdict: Verdict) -> int:
    """Return how many attempts a turn that ended so adds to those that count: 1 or 0."""
    match verdict:
        case Answered() | Retry():
            return 1
        case Failed(code=code):
            return int(code in _ENDS_OF_ATTEMPTS)
        case Snooze() | Halt():
            return 0
