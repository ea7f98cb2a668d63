"""What is mirrored: answered conversations, whole, to a service that is not in the way of answering."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from worker.core.model import Citation

#: How an attempt to mirror a conversation ended: it is there; it is tried again; it was refused for good.
MirrorEnd = Literal["mirrored", "put_off", "aside"]


@dataclass(frozen=True, slots=True)
class MirroredAnswer:
    """A question and its answer, as they are mirrored."""

    question_source: str
    question_id: str
    question: str = field(repr=False)
    answer: str = field(repr=False)
    #: ISO 8601 with a zone.
    asked_at: str
    answered_at: str
    #: The message's number at the API that answered; None where it has none.
    message_id: int | None
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True)
class ConversationCopy:
    """A conversation to be mirrored now, whole."""

    #: Its row in the ledger.
    number: int
    #: Raised by every answer: tells whether more came while this was on its way.
    version: int
    #: The id of the copy, the same for ever: sending it again changes nothing.
    copy_id: str
    external_id: str
    thread_id: str | None
    project_id: int | None
    session_id: str | None
    conversation_id: int | None
    #: The copy may have messages that the ledger has no more, or never had: they are to stay.
    is_partial: bool
    #: Fruitless tries since it was last mirrored.
    tries: int
    #: Oldest first; empty when all of it was erased meanwhile.
    answers: tuple[MirroredAnswer, ...]


class Mirror(Protocol):
    """A service that keeps copies of conversations."""

    async def copy(self, conversation: ConversationCopy) -> None:
        """Make the copy be as this is; a repeat changes nothing.

        Raises Unreachable, Throttled, CredentialsRejected, MirrorNotFound or MirrorRefused when nothing was
        changed, and OutcomeUnknown when it may have been.
        """
        ...


class MirrorLedger(Protocol):
    """The part of the ledger that knows what is to be mirrored."""

    async def take_copies(self, limit: int) -> tuple[list[ConversationCopy], float | None]:
        """Take conversations that are due, and say in how many seconds the next will be."""
        ...

    async def end_copy(
        self,
        copy: ConversationCopy,
        end: MirrorEnd,
        *,
        code: str | None = None,
        again_in_s: float = 0.0,
        is_unknown: bool = False,
    ) -> None:
        """Record how an attempt ended; ``is_unknown`` when its bytes may still be at work."""
        ...
