"""What the ledger says of conversations, for a person who compares it with the API.

These statements look through whole tables, which no turn does; they are for a command that somebody types.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from worker.adapters.ledger.database import Database, boottime
from worker.adapters.ledger.reading import conversation_of
from worker.adapters.ledger.rows import as_rows, rows_from
from worker.core.errors import LedgerUnavailable
from worker.core.model import Conversation

#: Questions of one contact that are read, the latest ones: more fill no audit.
QUESTION_ROWS = 100_000
#: s. PostgreSQL: a person waits for the answer.
CONNECT_S = 5
#: Conversations read in one step of a scan: some megabytes.
STEP = 10_000


@dataclass(frozen=True, slots=True)
class AuditedQuestion:
    """One question as the ledger knows it. Moments are epoch seconds of the ledger's clock."""

    source: str
    event_id: str
    #: waiting, posting, answered or failed.
    state: str
    #: An error code, of the last turn or of the end.
    code: str | None
    #: Where its message stands, or is to stand.
    session_id: str | None
    message_id: int | None
    #: The highest message id before its first post; what it made has a higher one.
    baseline_message_id: int | None
    #: A second message of it that was found later.
    duplicate_message_id: int | None
    finished_at: float | None
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AuditedConversation:
    """One conversation with its questions, in the order of arrival."""

    conversation: Conversation
    questions: tuple[AuditedQuestion, ...]


@dataclass(frozen=True, slots=True)
class ContactRecord:
    """All that the ledger keeps of a contact at one moment."""

    now: float
    conversations: tuple[AuditedConversation, ...]


_OF_CONTACT = sa.text("select * from conversations where external_id = :external_id order by number")
_QUESTIONS = sa.text(
    "select * from questions where conversation = :conversation order by number desc limit :limit"
)
_SAVED = sa.text("select * from conversations where session_id = :session_id order by number limit 1")
_POSTING = sa.text(
    "select c.* from questions q join conversations c on c.number = q.conversation"
    " where q.state = 'posting' and q.intent_session_id = :session_id limit 1"
)
_SCAN = sa.text(
    "select * from conversations where number > :above and project_id = :project_id"
    " and session_id is not null order by number limit :limit"
)
_SQLITE_CLOCK_BASE = sa.text("select clock_base from identity")
_POSTGRESQL_NOW = sa.text("select extract(epoch from clock_timestamp())")


class Audit:
    """Reads a ledger for a comparison with the API; also a context manager.

    Reading takes no lock: a scan of a large table must not keep workers from writing. Every method raises
    LedgerUnavailable when the ledger cannot be read. A SQLite ledger that is not there is not made.
    """

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        self._engine = sa.create_engine(
            self._url,
            poolclass=NullPool,
            hide_parameters=True,
            # One picture of several tables. SQLite has it from a BEGIN that asks for no lock, see below.
            isolation_level="AUTOCOMMIT" if self._is_sqlite else "REPEATABLE READ",
            connect_args={} if self._is_sqlite else {"connect_timeout": CONNECT_S},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    def contact(self, external_id: str) -> ContactRecord:
        """Return what there is about a contact: nothing, a conversation, or one per thread."""
        with self._reading() as connection:
            found = connection.execute(_OF_CONTACT, {"external_id": external_id}).mappings().all()
            conversations = []
            for row in found:
                wanted = {"conversation": row["number"], "limit": QUESTION_ROWS}
                questions = connection.execute(_QUESTIONS, wanted).mappings().all()
                oldest_first = tuple(_question(_named(each)) for each in reversed(questions))
                conversations.append(AuditedConversation(conversation_of(_named(row)), oldest_first))
            return ContactRecord(self._now(connection), tuple(conversations))

    def user_of_session(self, session_id: str) -> Conversation | None:
        """Return the conversation that messages go to this session for, or None."""
        with self._reading() as connection:
            for statement in (_SAVED, _POSTING):
                found = connection.execute(statement, {"session_id": session_id}).mappings().first()
                if found is not None:
                    return conversation_of(_named(found))
        return None

    def saved(self, project_id: int) -> Iterator[Conversation]:
        """Yield every conversation of a project that has a session."""
        above = 0
        while True:
            wanted = {"above": above, "project_id": project_id, "limit": STEP}
            with self._reading() as connection:
                found = connection.execute(_SCAN, wanted).mappings().all()
            yield from (conversation_of(_named(row)) for row in found)
            if len(found) < STEP:
                return
            above = found[-1]["number"]

    def heal_soon(self, conversations: Sequence[int]) -> int:
        """Let workers look for extras of these conversations now; returns how many that is."""
        self._check_file()
        database = Database(self._url.render_as_string(hide_password=False))
        numbers = rows_from(database.dialect, number="int")
        statement = sa.text(
            "update conversations set heal_at = :now, heal_looks = 0 where session_id is not null"
            f" and number in (select r.number from {numbers})"
        )
        try:
            with database.transaction() as transaction:
                rows = as_rows([(number,) for number in conversations])
                return transaction.run(statement, rows=rows, now=transaction.now)
        finally:
            database.close()

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        self._check_file()
        try:
            with self._engine.connect() as connection:
                if self._is_sqlite:
                    connection.exec_driver_sql("begin")
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise LedgerUnavailable from error

    def _now(self, connection: sa.Connection) -> float:
        """Return the ledger's time; database.py keeps SQLite's clock."""
        if not self._is_sqlite:
            return float(connection.execute(_POSTGRESQL_NOW).scalar_one())
        base = connection.execute(_SQLITE_CLOCK_BASE).scalar()
        return time.time() if base is None else float(base) + boottime()

    def _check_file(self) -> None:
        file = Path(self._url.database or "")
        if self._is_sqlite and not file.exists():
            # Connecting would make an empty file, which then looks like a ledger.
            raise LedgerUnavailable(f"there is no ledger at {file} yet")


def _named(row: sa.RowMapping) -> Mapping[str, Any]:
    """Return a row by column name, as the rows of a transaction are."""
    return {str(name): value for name, value in row.items()}


def _question(row: Mapping[str, Any]) -> AuditedQuestion:
    first, last = row["first_baseline_message_id"], row["baseline_message_id"]
    return AuditedQuestion(
        source=row["source"],
        event_id=row["event_id"],
        state=row["state"],
        code=row["code"],
        session_id=row["session_id"] or row["intent_session_id"],
        message_id=row["message_id"],
        baseline_message_id=last if first is None else first,
        duplicate_message_id=row["duplicate_message_id"],
        finished_at=row["finished_at"],
        text=json.loads(row["content"])["question"],
    )
