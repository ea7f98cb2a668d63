"""What the demo asks: its own story, or a file of the user's."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas import ASKED, SPEC_VERSION, EventRefused, RawEvent, decode_event
from worker.demo.story import CONTACTS

#: Who asks, in every event of the demo.
SOURCE = "crm/demo"
#: The columns that a file must have; others are ignored.
COLUMNS = ("contact_id", "question")


class QuestionsError(Exception):
    """The file cannot be played; the message says why and what to do, never what a contact wrote."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of one contact."""

    event_id: str
    contact_id: str
    question: str
    lang: str | None = None

    def event(self) -> bytes:
        """Return the CloudEvent that asks it."""
        data = {"contact_id": self.contact_id, "question": self.question, "lang": self.lang}
        event = {"specversion": SPEC_VERSION, "id": self.event_id, "source": SOURCE, "type": ASKED}
        return json.dumps({**event, "data": data}, ensure_ascii=False).encode()


def built_in() -> list[Asked]:
    """Return the story: everybody's first question, then everybody's second, and so on."""
    rounds = max(len(contact.questions) for contact in CONTACTS)
    turns = [
        (contact, contact.questions[number])
        for number in range(rounds)
        for contact in CONTACTS
        if number < len(contact.questions)
    ]
    return [
        Asked(f"demo-{number:03}", contact.contact_id, question, contact.lang)
        for number, (contact, question) in enumerate(turns, start=1)
    ]


def read_questions(path: Path) -> list[Asked]:
    """Read a CSV file with a header row, in asking order; raises QuestionsError or OSError."""
    try:
        # Spreadsheets put a byte order mark in front; utf-8-sig takes it away and minds none.
        with path.open(encoding="utf-8-sig", newline="") as file:
            found = list(_rows(csv.reader(file, strict=True), path.name))
    except UnicodeDecodeError:
        raise QuestionsError(f"{path.name} is not text in UTF-8: save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise QuestionsError(f"{path.name} is not CSV ({error})") from None
    if not found:
        raise QuestionsError(f"{path.name} has no questions: it needs a row for each below the header")
    return found


def _rows(reader: Iterator[list[str]], name: str) -> Iterator[Asked]:
    contact_at, question_at = _places(next(reader, []), name)
    for number, row in enumerate(reader, start=1):
        if not row:
            continue  # csv's way to say that a line was blank
        where = f"row {number} of {name}"
        if len(row) <= max(contact_at, question_at):
            raise QuestionsError(f"{where} is too short: it needs {' and '.join(COLUMNS)}")
        asked = Asked(f"demo-{number:05}", row[contact_at], row[question_at])
        try:
            decode_event(RawEvent(asked.event()), default_source=SOURCE)
        except EventRefused as refused:
            raise QuestionsError(f"{where} cannot be asked: {refused.detail}") from None
        yield asked


def _places(header: Sequence[str], name: str) -> tuple[int, int]:
    columns = [column.strip().lower() for column in header]
    if missing := [column for column in COLUMNS if column not in columns]:
        # What the first row says instead is not shown: without a header it is what a contact wrote.
        raise QuestionsError(
            f"{name} has no column {' and no column '.join(missing)}: its first row must name the columns"
            f" {' and '.join(COLUMNS)}"
        )
    return columns.index(COLUMNS[0]), columns.index(COLUMNS[1])
