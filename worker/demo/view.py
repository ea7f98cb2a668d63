"""What the user is shown while the demo runs, and the words for it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from worker.demo.questions import Asked
from worker.demo.record import ReplySeen, Trouble

#: Rows and happenings that are kept: more than the tallest terminal shows.
KEPT = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One question in the table."""

    contact: str
    question: str
    answer: str = ""
    conversation: str = ""
    #: answered, recovered, reposted, or the code of a failure; empty while it waits.
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that just happened."""

    #: s since the demo began.
    at_s: float
    text: str
    #: It was made to go wrong.
    is_trouble: bool = False
    #: A picture of the run should show it.
    is_highlight: bool = False


@dataclass(slots=True)
class View:
    """What there is to show."""

    questions: int
    contacts: int
    #: What the worker is tried with, in a few words.
    setting: str
    handed_in: int = 0
    replied: int = 0
    latest: deque[Row] = field(default_factory=lambda: deque(maxlen=KEPT))
    #: Longest waiting first.
    waiting: list[Row] = field(default_factory=list)
    happenings: deque[Happening] = field(default_factory=lambda: deque(maxlen=KEPT))


class Screen(Protocol):
    """Where it is shown."""

    def start(self, view: View) -> None:
        """Begin."""
        ...

    def answered(self, row: Row) -> None:
        """Show a question that just got its reply."""
        ...

    def happened(self, happening: Happening) -> None:
        """Show what just happened."""
        ...

    def tick(self) -> None:
        """Show how far it is; called several times a second."""
        ...

    def stop(self) -> None:
        """End; what was shown stays."""
        ...


class NoScreen:
    """Shows nothing, for a program that reads the summary only."""

    def start(self, view: View) -> None:
        """Show nothing."""

    def answered(self, row: Row) -> None:
        """Show nothing."""

    def happened(self, happening: Happening) -> None:
        """Show nothing."""

    def tick(self) -> None:
        """Show nothing."""

    def stop(self) -> None:
        """Show nothing."""


def row_of(asked: Asked, reply: ReplySeen | None = None) -> Row:
    """Return the row of a question, with its reply when it has one."""
    contact, question = one_line(asked.contact_id), one_line(asked.question)
    if reply is None:
        return Row(contact, question)
    if not reply.is_answer:
        return Row(contact, question, verdict=str(reply.data["reason"]))
    conversation = reply.data["conversation_id"]
    return Row(
        contact,
        question,
        one_line(str(reply.data["answer"])),
        "" if conversation is None else str(conversation),
        {"posted": "answered", "reposted_after_unknown": "reposted"}.get(
            reply.data["outcome"], str(reply.data["outcome"])
        ),
    )


def words_for(trouble: Trouble) -> str:
    """Say what the sandbox did to a call."""
    did = "conversation made" if trouble.call == "create" else "question stored"
    match trouble:
        case Trouble(fault="reset", was_done=True):
            return f"{did}, then the line was cut"
        case Trouble(was_done=True):
            return f"{did}, yet the API said {trouble.status}"
        case _:
            return f"the API said {trouble.status} and did nothing: only time can tell"


def words_for_reply(row: Row) -> str | None:
    """Say what became of a question that did not go the usual way; None when it did."""
    match row.verdict:
        case "recovered":
            return f"{row.contact}: read back and found, so not posted again"
        case "reposted":
            return f"{row.contact}: surely not posted before, so posted again"
        case _:
            return None


def one_line(text: str) -> str:
    """Return the text without what would move a cursor, change a colour or break a line."""
    return "".join(character if character.isprintable() else " " for character in text)
