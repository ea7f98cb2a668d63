"""The work of one event, for every peer: read it, know the contact's conversation, write the reply."""

from __future__ import annotations

import os
import sqlite3
import threading
import uuid
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

AMQP_URL = os.environ["BENCH_AMQP_URL"]
API_URL = os.environ["BENCH_API_URL"]
DATABASE = os.environ["BENCH_DATABASE"]
EXCHANGE = os.environ["BENCH_EXCHANGE"]
IN_FLIGHT = int(os.environ["BENCH_IN_FLIGHT"])
QUEUE = os.environ["BENCH_QUEUE"]

REPLY_KEY = "contact.question.answered"
CONVERSATIONS_URL = f"{API_URL}/projects/123/conversations"
HEADERS = {"Authorization": "Bearer bench", "Cache-Control": "no-cache"}
#: s. An answer may take two minutes.
TIMEOUT_S = 120
#: Publishing connections of a peer that publishes from threads.
PUBLISHERS = 16


class AskedData(BaseModel):
    """Who asked what."""

    contact_id: str
    question: str
    thread_id: str | None = None
    lang: str | None = None
    metadata: Any = None


class Asked(BaseModel):
    """The event that comes in."""

    specversion: str
    id: str
    source: str
    type: str
    time: datetime
    data: AskedData


class AnsweredData(BaseModel):
    """The answer, and what it belongs to."""

    question_id: str
    question_source: str
    contact_id: str
    external_id: str
    project_id: int
    session_id: str
    conversation_id: int | None
    message_id: int
    answer: str
    citations: list[int]
    metadata: Any
    provider: str = "customgpt"
    asked_at: datetime
    answered_at: datetime


class Answered(BaseModel):
    """The event that goes out."""

    specversion: str = "1.0"
    id: str
    source: str = "bench"
    type: str = REPLY_KEY
    subject: str
    time: datetime
    data: AnsweredData


def answered(asked: Asked, session_id: str, message: dict[str, Any]) -> Answered:
    """Write the reply to a question from what the API said."""
    now = datetime.now(UTC)
    return Answered(
        id=str(uuid.uuid4()),
        subject=asked.data.contact_id,
        time=now,
        data=AnsweredData(
            question_id=asked.id,
            question_source=asked.source,
            contact_id=asked.data.contact_id,
            external_id=asked.data.contact_id,
            project_id=123,
            session_id=session_id,
            conversation_id=message["conversation_id"],
            message_id=message["id"],
            answer=message["openai_response"],
            citations=message["citations"],
            metadata=asked.data.metadata,
            asked_at=asked.time,
            answered_at=now,
        ),
    )


def messages_url(session_id: str) -> str:
    """Return where the messages of a conversation are posted."""
    return f"{CONVERSATIONS_URL}/{session_id}/messages"


class _Shared:
    """Stands in for ``threading.local`` where everything runs in one thread."""


class Conversations:
    """Which conversation a contact has: a table in SQLite (WAL, NORMAL), one connection per thread.

    Greenlets are one thread, but a ``threading.local`` that gevent patched has a life of one task.
    """

    def __init__(self, *, is_one_thread: bool = False) -> None:
        self._local: Any = _Shared() if is_one_thread else threading.local()

    def session_of(self, contact_id: str) -> str | None:
        """Return the contact's session; None for a new contact."""
        found = self._connection().execute(
            "SELECT session_id FROM conversations WHERE contact_id = ?", (contact_id,)
        )
        row = found.fetchone()
        return row[0] if row else None

    def remember(self, contact_id: str, session_id: str) -> None:
        """Keep the contact's session."""
        self._connection().execute(
            "INSERT INTO conversations VALUES (?, ?) ON CONFLICT DO NOTHING", (contact_id, session_id)
        )

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            connection = sqlite3.connect(DATABASE, isolation_level=None, timeout=30)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            self._local.connection = connection
        connection = self._local.connection
        assert isinstance(connection, sqlite3.Connection)
        return connection
