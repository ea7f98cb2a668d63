"""What the core and the runtime need from the world. Adapters and the simulator fill these in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol

from worker.core.model import (
    NO_OPTIONS,
    Acceptance,
    AcceptedQuestion,
    CannedTexts,
    Claims,
    Conversation,
    GateNews,
    Intent,
    Lease,
    MessageListing,
    MessageOptions,
    OutboxReply,
    Progress,
    RemoteConversation,
    RemoteMessage,
    Reply,
    SecondLook,
    TurnEnd,
    Verdict,
)
from worker.core.rating import AcceptedRating, RatingResult, Reaction

#: What a read is for: a question on its way to its answer, finding out what became of something, or healing,
#: which is done beside the turns.
ReadShare = Literal["posts", "reads", "healing"]
#: Waits until the gate lets one more request through; raises GateClosed.
Admit = Callable[[], Awaitable[None]]


class Clock(Protocol):
    """Time as this process sees it."""

    def boottime(self) -> float:
        """Seconds that go on while the machine is suspended; only differences mean anything."""
        ...

    def wall(self) -> float:
        """Epoch seconds; for what people read and for the expiry an event names, never for a lease."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Randomness(Protocol):
    """Chance, handed in so that a simulation can replay it."""

    def uniform(self, a: float, b: float) -> float:
        """Return a number between a and b."""
        ...


class Assistant(Protocol):
    """The CustomGPT API. Every method raises the AssistantError that says what a failure means.

    A write that may have done its work raises OutcomeUnknown, and nothing else: every other error of a write
    is definite, which means that nothing was done.
    """

    async def find_conversations(
        self, project_id: int, name_part: str, *, admit: Admit | None = None
    ) -> list[RemoteConversation]:
        """List the conversations whose name has this part, all pages. The caller checks equality itself.

        ``admit`` is awaited before each page but the first, which the caller has had admitted.
        """
        ...

    async def create_conversation(
        self, project_id: int, name: str, *, connect_within_s: float
    ) -> RemoteConversation:
        """Create a conversation; raise Unreachable when no connection stands within the time given."""
        ...

    async def post_question(
        self,
        project_id: int,
        session_id: str,
        *,
        text: str,
        external_id: str,
        lang: str | None,
        traceparent: str | None,
        connect_within_s: float,
        on_late: Callable[[], None] | None = None,
        on_accepted: Callable[[], Awaitable[None]] | None = None,
        on_progress: Callable[[str], None] | None = None,
        options: MessageOptions = NO_OPTIONS,
    ) -> RemoteMessage:
        """Post a question and wait for the answer; ConversationGone for a 404 of any kind.

        ``on_late`` is called when the bytes left later than ``connect_within_s`` allows: this process was
        stopped between its last check and the write.

        Where answers are streamed, ``on_accepted`` is awaited beside the stream once the API has shown that
        it took the post. It has ended when this returns or raises, and what it raises is raised here.
        ``on_progress`` is told each piece of the answer as it comes; it must be quick and must not raise.
        """
        ...

    async def complete(
        self,
        project_id: int,
        *,
        text: str,
        external_id: str,
        lang: str | None,
        traceparent: str | None,
        connect_within_s: float,
        on_late: Callable[[], None] | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> RemoteMessage:
        """Ask without a conversation and wait for the answer; the message has the number 0.

        Raises AnswerUnreadable for an answer that is empty: there is none to be read later.
        """
        ...

    async def get_message(self, project_id: int, session_id: str, message_id: int) -> RemoteMessage:
        """Return one message; ConversationGone where there is none of this id."""
        ...

    async def list_messages(
        self, project_id: int, session_id: str, *, above: int, admit: Admit | None = None
    ) -> MessageListing:
        """List messages newest first until ids fall to ``above``; -1 reads the first page only.

        ``admit`` is awaited before each page but the first.
        """
        ...

    async def delete_conversation(self, project_id: int, session_id: str) -> None:
        """Delete a conversation and its messages; one that is gone already is no error."""
        ...

    async def rate_answer(
        self, project_id: int, session_id: str, message_id: int, reaction: Reaction
    ) -> None:
        """Set what a contact thinks of an answer, again as often as one likes; ConversationGone for a 404."""
        ...

    async def check_project(self, project_id: int) -> None:
        """Make a plain GET of the project: CredentialsRejected, ProjectNotFound, or nothing."""
        ...

    async def canned_texts(self, project_id: int, *, admit: Admit | None = None) -> CannedTexts:
        """Return the agent's fixed texts, fetched once; empty when they cannot be had.

        ``admit`` is awaited before a fetch. Raises Throttled and CreditsExhausted alone, and them to whoever
        began the fetch: the next call returns what is known.
        """
        ...


class Ledger(Protocol):
    """The tables. Every method is one operation of a group commit.

    A method that returns has committed. LedgerUnavailable means that nothing of it was, LeaseLost that the
    conversation belongs to somebody else now. Times are the ledger's own, in seconds.
    """

    async def accept(self, questions: Sequence[AcceptedQuestion]) -> list[Acceptance]:
        """Write each question once, in this order; a repeat of a finished one makes its reply due again."""
        ...

    async def accept_ratings(self, ratings: Sequence[AcceptedRating]) -> list[RatingResult]:
        """Write each rating once, in this order; the last of an answer is the one that stays."""
        ...

    async def claim(self, limit: int, *, begins_posts: bool = False) -> Claims:
        """Lease up to ``limit`` conversations whose next question is due, longest waiting first.

        With ``begins_posts`` the intent to post is recorded with the claim where the post is the first that
        the turn does, and the gate has nothing against it.
        """
        ...

    async def renew(self, leases: Sequence[Lease]) -> set[Lease]:
        """Prolong leases and return those that are lost."""
        ...

    async def begin_create(self, lease: Lease, project_id: int) -> None:
        """Record that a conversation is about to be created in a project; raises GateClosed."""
        ...

    async def cancel_create(self, lease: Lease) -> None:
        """Record that nothing was created."""
        ...

    async def save_session(
        self,
        lease: Lease,
        *,
        project_id: int,
        session_id: str,
        conversation_id: int | None,
        highest_message_id: int,
        has_extras: bool = False,
        begins_post_of: int | None = None,
    ) -> Intent | None:
        """Save the conversation's session, its project and the highest message id in it, together.

        ``has_extras``: the API lists more than this one, so the sweeper is to heal it. ``begins_post_of``: a
        question whose intent to post is recorded as well, and returned unless the gate is closed.
        """
        ...

    async def raise_highest(self, lease: Lease, highest_message_id: int) -> None:
        """Raise the highest message id known in the session."""
        ...

    async def forget_session(self, lease: Lease) -> None:
        """Put the session aside for good and begin a new epoch."""
        ...

    async def begin_post(self, lease: Lease, question: int, *, session_id: str) -> Intent:
        """Record that the question is about to be posted; raises GateClosed. The gate is read in here."""
        ...

    async def record_accepted(self, lease: Lease, question: int) -> None:
        """Record that the API has taken the post that is outstanding: it is never posted again."""
        ...

    async def admit_read(self, lease: Lease | None = None, share: ReadShare = "reads") -> None:
        """Count one read against the pace; raises GateClosed when there is none left or a pause is on."""
        ...

    async def end_healing(self) -> None:
        """Give the place back that this worker's healing has among the requests at once."""
        ...

    async def unclaimed(self, session_id: str, message_ids: Sequence[int]) -> set[int]:
        """Return those message ids that answer no question yet."""
        ...

    async def finish(self, lease: Lease, question: int, verdict: Verdict, reply: Reply | None) -> TurnEnd:
        """End the turn: apply the verdict, record the reply and give the lease back, in one transaction.

        Raises MessageClaimed, changing nothing, when the answer's message already answers another question.
        """
        ...

    async def report(self, news: GateNews, lease: Lease | None = None) -> None:
        """Tell the gate what a call showed whose turn goes on."""
        ...

    async def take_replies(self, limit: int) -> tuple[list[OutboxReply], float | None]:
        """Take over replies that are due, oldest first, and say in how many seconds the next will be."""
        ...

    async def mark_published(self, numbers: Sequence[int]) -> list[OutboxReply]:
        """Record confirms; returns the replies that waited behind these and may go now."""
        ...

    async def mark_unpublished(self, numbers: Sequence[int], reason: str) -> None:
        """Set replies aside that the broker returned or refused, to be tried alone after growing pauses."""
        ...

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back with their intents, so that others read back at once."""
        ...

    async def take_healing(self) -> tuple[Lease, Conversation] | None:
        """Lease a conversation that may have extras at the API, if one is due."""
        ...

    async def finish_healing(self, lease: Lease, *, again_in_s: float | None) -> None:
        """Give it back; look again after so long, or never when None."""
        ...

    async def take_second_looks(self, limit: int) -> list[SecondLook]:
        """Take reposted questions that are due for a second look."""
        ...

    async def record_second_look(self, question: int, *, duplicate_message_id: int | None) -> None:
        """Record what the look found; None when the question was posted once."""
        ...

    async def has_outstanding_post(self, question: int) -> bool:
        """Tell whether a post is outstanding in the conversation of this question."""
        ...

    async def put_off_second_look(self, question: int, *, again_in_s: float) -> None:
        """Have a look that was taken and could not be made taken again after so long."""
        ...

    async def record_late_post(self, question: int) -> None:
        """Keep the evidence that a post left later than the grace allows; needs no lease."""
        ...

    async def sweep(self) -> Swept:
        """Do a small step of what must be cleaned up."""
        ...


@dataclass(frozen=True, slots=True)
class Swept:
    """What the sweeper found."""

    #: Questions that are due and that nobody holds.
    overdue: int
    erased: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as the broker delivered it."""

    body: bytes
    content_type: str | None
    content_encoding: str | None
    message_id: str | None
    app_id: str | None
    #: The message's own type property.
    type: str | None
    #: AMQP headers, values as the client decoded them.
    headers: dict[str, Any]
    is_redelivered: bool
    #: What the bus needs to settle it; meaningless to everybody else.
    receipt: Any


class PublishResult(StrEnum):
    """What the broker said of a publish."""

    CONFIRMED = "confirmed"
    #: No queue took it (mandatory).
    RETURNED = "returned"
    #: nack, channel closed, or no connection: it may or may not have arrived.
    NOT_CONFIRMED = "not_confirmed"


class Bus(Protocol):
    """Where events come from and replies go to."""

    async def start(self) -> None:
        """Connect in the background and keep connected, with growing pauses."""
        ...

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for at least one delivery and return what is there, up to ``limit``, in order."""
        ...

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Settle deliveries; those of a channel that is gone are left to the broker."""
        ...

    async def publish(self, replies: Sequence[Reply]) -> list[PublishResult]:
        """Publish mandatory and persistent, and wait for every confirm. Never raises."""
        ...

    def tell(self, progress: Progress) -> None:
        """Publish an event that may be lost: transient, not mandatory, not confirmed. Never raises or waits.

        What is told before a publish is begun does not come out after it.
        """
        ...

    async def reject(self, delivery: Delivery, *, reason: str, detail: str) -> PublishResult:
        """Publish the original bytes to the rejected queue with the reason. Never raises; does not ack."""
        ...

    async def reset_intake(self) -> None:
        """Close the intake channel, so that what is unacked goes to whoever is next, and open another."""
        ...

    async def stop_intake(self) -> None:
        """Close the intake channel for good, without a cancel; what is unacked returns to the queue."""
        ...

    async def stop(self) -> None:
        """Close everything."""
        ...


class Bell(Protocol):
    """The doorbell: says that somebody waits. Losing, repeating and reordering rings is harmless."""

    async def start(self, on_ring: Callable[[], Awaitable[None]]) -> None:
        """Listen; ``on_ring`` is awaited per ring, and until it returns the bell counts as busy."""
        ...

    def ring(self) -> None:
        """Ring for the fleet. Never blocks and never raises; rings that are not sent yet become one."""
        ...

    async def stop(self) -> None:
        """Stop listening."""
        ...


class RecoveryPoint(StrEnum):
    """The named lines between which a crash must be harmless; chaos tests kill and pause at each."""

    BATCH_RECEIVED = "batch_received"
    BATCH_ACCEPTED = "batch_accepted"
    EVENTS_REJECTED = "events_rejected"
    BATCH_ACKED = "batch_acked"
    CLAIMED = "claimed"
    CONVERSATIONS_LISTED = "conversations_listed"
    CREATE_INTENDED = "create_intended"
    CONVERSATION_CREATED = "conversation_created"
    SESSION_SAVED = "session_saved"
    POST_INTENDED = "post_intended"
    QUESTION_POSTED = "question_posted"
    READ_BACK = "read_back"
    TURN_FINISHED = "turn_finished"
    REPLY_PUBLISHED = "reply_published"
    REPLY_MARKED = "reply_marked"
    REPLIES_TAKEN = "replies_taken"
    HEALING_TAKEN = "healing_taken"
    EXTRA_DELETED = "extra_deleted"
    SECOND_LOOKS_TAKEN = "second_looks_taken"


class RecoveryPoints(Protocol):
    """Told at every recovery point; does nothing in production."""

    def reached(self, point: RecoveryPoint) -> None:
        """Note that the next line is about to run."""
        ...


LogLevel = Literal["debug", "info", "warning", "error"]


class Log(Protocol):
    """Structured logs. The event is one of the closed list in core/log_events."""

    def __call__(self, event: str, /, **fields: Any) -> None:
        """Write one line; the event's level stands in the list."""
        ...
