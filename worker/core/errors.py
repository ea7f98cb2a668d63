"""Every failure that has a name.

AskrelayError
├── EventError              the event goes to the rejected queue
│   ├── MalformedEvent      malformed_event
│   ├── UnsupportedEvent    unsupported_event
│   ├── InvalidQuestion     invalid_question
│   ├── IdConflict          id_conflict
│   ├── EventTooLarge       event_too_large
│   ├── InvalidRating       invalid_rating
│   └── RatingUnmatched     unmatched_rating
├── AssistantError          what a call to the API came to
│   ├── Unreachable         unreachable            nothing was posted: retry
│   ├── Throttled           throttled              the gate closes for the pause it carries
│   ├── CreditsExhausted    credits_exhausted      halt
│   ├── CredentialsRejected credentials_rejected   halt
│   ├── ProjectNotFound     project_not_found      halt
│   ├── ConversationGone    conversation_gone      ensure it again, once per turn
│   ├── OutcomeUnknown      outcome_unknown        may have been posted: read back
│   ├── CreationPending     creation_pending       may have been created: list again
│   ├── GraceOver           send_grace             nothing was posted: again at once
│   ├── QuestionRejected    question_rejected      failed
│   └── AnswerUnreadable    answer_unreadable      failed, after reading back
├── TurnError               the question failed for good
│   ├── AttemptsExhausted   attempts_exhausted
│   ├── Expired             expired
│   ├── CrashPoison         crash_poison
│   └── ContactLimit        contact_limit
├── LedgerError
│   ├── LedgerUnavailable   ledger_unavailable     nothing was committed: try again
│   ├── LedgerOutdated      ledger_outdated        the tables do not fit this program
│   ├── LeaseLost           lease_lost             stop at once, touch nothing
│   ├── MessageClaimed      message_claimed        the API named a message that answers another question
│   └── GateClosed          gate_closed            nothing may be sent now; it names the time to look again
├── MirrorError             a copy of a conversation was not made elsewhere
│   ├── MirrorRefused       mirror_refused         this one is set aside, with its reason
│   └── MirrorNotFound      mirror_not_found       the mirror halts: its address is wrong
├── ReplyError
│   ├── ReplyUnroutable     reply_unroutable       the outbox keeps it
│   └── ReplyNotConfirmed   reply_not_confirmed    the outbox keeps it
├── DoorbellError           doorbell_failed        questions start a little later
└── SettingsError           settings               the start stops and says what to do

The code of a leaf is the same word in logs, metrics, ``x-askrelay-reason``, failed replies and the docs. What
keeps the broker away has codes of its own, in adapters/rabbitmq/troubles.
A docstring is the sentence a user reads.
"""

from __future__ import annotations

from typing import ClassVar


class AskrelayError(Exception):
    """Something of askrelay's failed."""

    code: ClassVar[str] = "askrelay"

    def __init__(self, detail: str = "") -> None:
        """Keep the detail, which never holds a question, an answer, a contact id or a secret."""
        super().__init__(detail or (self.__doc__ or "").strip())
        self.detail = detail


class EventError(AskrelayError):
    """The event cannot be taken in."""


class MalformedEvent(EventError):
    """The body is not one well-formed JSON event, or it has no usable id."""

    code = "malformed_event"


class UnsupportedEvent(EventError):
    """The event is well-formed but not one that askrelay answers."""

    code = "unsupported_event"


class InvalidQuestion(EventError):
    """A required field is missing, empty or has characters that cannot be taken."""

    code = "invalid_question"


class IdConflict(EventError):
    """An event with the same source and id but other data was accepted before."""

    code = "id_conflict"


class EventTooLarge(EventError):
    """The body is larger than 64 KiB."""

    code = "event_too_large"


class InvalidRating(EventError):
    """A rating names no question, or says something else than liked, disliked or neutral."""

    code = "invalid_rating"


class RatingUnmatched(EventError):
    """A rating is of a question that is not known, or that ended without an answer that can be rated."""

    code = "unmatched_rating"


class AssistantError(AskrelayError):
    """A call to the API did not give what was asked for."""


class Unreachable(AssistantError):
    """The API could not be reached, so nothing was posted."""

    code = "unreachable"


class Throttled(AssistantError):
    """The API asks for a pause.

    ``pause_s`` is how long, in seconds, as far as the API told.
    """

    code = "throttled"

    def __init__(self, detail: str = "", *, pause_s: float = 30.0) -> None:
        super().__init__(detail)
        self.pause_s = pause_s


class CreditsExhausted(AssistantError):
    """The plan's query credits are used up."""

    code = "credits_exhausted"


class CredentialsRejected(AssistantError):
    """The API does not take the key, or not for this project."""

    code = "credentials_rejected"


class ProjectNotFound(AssistantError):
    """The API does not know the project."""

    code = "project_not_found"


class ConversationGone(AssistantError):
    """The API does not know the conversation any more."""

    code = "conversation_gone"


class OutcomeUnknown(AssistantError):
    """The call may have done its work, and nobody can tell from its answer.

    ``has_ended`` is true when the API itself said that its work has ended (PROTOCOL A6).
    ``is_server_error`` is true for a 5xx, which counts towards the breaker.
    """

    code = "outcome_unknown"

    def __init__(self, detail: str = "", *, has_ended: bool = False, is_server_error: bool = False) -> None:
        super().__init__(detail)
        self.has_ended = has_ended
        self.is_server_error = is_server_error


class CreationPending(AssistantError):
    """A conversation may have been created that the API does not list yet.

    ``for_s`` is how long, in seconds, until a listing without it proves its absence.
    """

    code = "creation_pending"

    def __init__(self, detail: str = "", *, for_s: float) -> None:
        super().__init__(detail)
        self.for_s = for_s


class GraceOver(AssistantError):
    """The grace of a post was over before its bytes left, so nothing was posted."""

    code = "send_grace"


class QuestionRejected(AssistantError):
    """The API refused this question."""

    code = "question_rejected"


class AnswerUnreadable(AssistantError):
    """The question was posted, but no readable answer came of it."""

    code = "answer_unreadable"


class TurnError(AskrelayError):
    """The question failed for good."""


class AttemptsExhausted(TurnError):
    """Every allowed attempt failed before anything was posted."""

    code = "attempts_exhausted"


class Expired(TurnError):
    """The time by which an answer was of use passed before the question was posted."""

    code = "expired"


class CrashPoison(TurnError):
    """Workers died again and again while they worked on this question."""

    code = "crash_poison"


class ContactLimit(TurnError):
    """The contact asked more questions today than the settings allow."""

    code = "contact_limit"


class LedgerError(AskrelayError):
    """The ledger did not do what was asked."""


class LedgerUnavailable(LedgerError):
    """The ledger cannot be reached; nothing of this was committed."""

    code = "ledger_unavailable"


class LedgerOutdated(LedgerError):
    """The ledger's tables do not fit this program."""

    code = "ledger_outdated"


class LeaseLost(LedgerError):
    """Another worker holds this conversation now."""

    code = "lease_lost"


class MessageClaimed(LedgerError):
    """The message already answers another question."""

    code = "message_claimed"


class GateClosed(LedgerError):
    """Nothing may be sent to the API now.

    ``retry_in_s`` says in how many seconds to ask again; ``reason`` is a code of this tree or ``pace``.
    """

    code = "gate_closed"

    def __init__(self, reason: str, *, retry_in_s: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_in_s = retry_in_s


class MirrorError(AskrelayError):
    """The mirror did not take a copy of a conversation."""


class MirrorRefused(MirrorError):
    """The mirror does not take the copy of this conversation."""

    code = "mirror_refused"


class MirrorNotFound(MirrorError):
    """The mirror's address leads nowhere."""

    code = "mirror_not_found"


class ReplyError(AskrelayError):
    """The broker did not take a reply."""


class ReplyUnroutable(ReplyError):
    """No queue is bound for the reply."""

    code = "reply_unroutable"


class ReplyNotConfirmed(ReplyError):
    """The broker refused the reply or went away before confirming it."""

    code = "reply_not_confirmed"


class DoorbellError(AskrelayError):
    """A ring did not get out, or what it set off went wrong; the detail names what was raised."""

    code = "doorbell_failed"


class SettingsError(AskrelayError):
    """The settings cannot be used."""

    code = "settings"
