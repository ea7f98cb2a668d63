"""What the ledger's conformance suite is made of: a ledger on an empty database, events, verdicts, and time.

Time is moved by making everything in the tables older, which is the same on SQLite and on PostgreSQL and
waits for nothing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from tests.servers.waiting import wait_until
from worker.adapters.ledger import LedgerConfig, SqlLedger, open_ledger
from worker.adapters.ledger.tables import gates, metadata
from worker.core.model import (
    AcceptedQuestion,
    Answered,
    Claim,
    OutboxReply,
    Outcome,
    RemoteMessage,
    Reply,
    ReplyKind,
    TurnEnd,
    Verdict,
)
from worker.core.pace import BUCKET_S, Pace

NO_PACE = Pace(requests_per_minute=0, requests_at_once=0)
LEASE_S = 30.0
REQUEST_TIMEOUT_S = 120.0
PROJECT = 123
SESSION = "session-1"

CONFIG = LedgerConfig(
    url="",
    worker_id="worker-a",
    version="1",
    gate_key="key",
    pace=NO_PACE,
    lease_s=LEASE_S,
    request_timeout_s=REQUEST_TIMEOUT_S,
    keep_days=30,
    dedup_days=365,
)


def address(url: str) -> str:
    """Return the URL as the settings hand it to the ledger: with the driver's name."""
    return url.replace("postgresql://", "postgresql+psycopg://")


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[SqlLedger]:
    """Open a ledger that is up to date; keywords are fields of LedgerConfig or callbacks of open_ledger."""
    callbacks = {name: settings.pop(name) for name in list(settings) if name.startswith("on_")}
    ledger = open_ledger(replace(CONFIG, url=address(url), **settings), **callbacks)
    ledger.start()
    try:
        yield ledger
    finally:
        await ledger.stop()


def asked(event_id: str = "evt-1", contact_id: str = "EXT_1", **fields: Any) -> AcceptedQuestion:
    """Return an event as intake hands it over."""
    question = AcceptedQuestion(
        source="crm/test",
        event_id=event_id,
        reply_id=f"reply-{event_id}",
        route="default",
        contact_id=contact_id,
        thread_id=None,
        text=f"Question {event_id}?",
        lang=None,
        metadata=None,
        asked_at=None,
        expires_at=None,
        traceparent=None,
        tracestate=None,
    )
    return replace(question, **fields)


def message(message_id: int, **fields: Any) -> RemoteMessage:
    """Return a message with an answer."""
    return replace(
        RemoteMessage(message_id=message_id, question="?", answer="An answer.", external_id="EXT_1"), **fields
    )


def answered(message_id: int, *, session_id: str = SESSION, outcome: Outcome = "posted") -> Answered:
    """Return the verdict on a question with an answer."""
    return Answered(message(message_id), session_id, outcome, None)


def reply_to(claim: Claim, kind: ReplyKind = "answered") -> Reply:
    """Return a frozen reply to the question of a claim."""
    event_id = claim.question.event_id
    return Reply(claim.question.reply_id, kind, json.dumps({"to": event_id}).encode(), event_id)


async def claim_one(ledger: SqlLedger) -> Claim:
    """Claim the one turn that is to be had."""
    claims = await ledger.claim(1)
    assert len(claims.turns) == 1, f"one turn was due, but: {claims}"
    return claims.turns[0]


async def ensured(ledger: SqlLedger, claim: Claim, session_id: str = SESSION, *, highest: int = 0) -> None:
    """Save a session for the conversation of a claim."""
    await ledger.save_session(
        claim.lease,
        project_id=PROJECT,
        session_id=session_id,
        conversation_id=42,
        highest_message_id=highest,
    )


async def in_session(
    ledger: SqlLedger, question: AcceptedQuestion, session_id: str = SESSION, *, highest: int = 0
) -> Claim:
    """Accept a question, claim it and save a session: everything before a post."""
    await ledger.accept([question])
    claim = await claim_one(ledger)
    await ensured(ledger, claim, session_id, highest=highest)
    return claim


async def answer(ledger: SqlLedger, claim: Claim, message_id: int) -> OutboxReply | None:
    """Post the question of a claim in its session and record the answer."""
    await ledger.begin_post(claim.lease, claim.question.number, session_id=SESSION)
    end = await ledger.finish(claim.lease, claim.question.number, answered(message_id), reply_to(claim))
    return end.reply


async def end(ledger: SqlLedger, claim: Claim, verdict: Verdict) -> TurnEnd:
    """End a turn without a reply."""
    return await ledger.finish(claim.lease, claim.question.number, verdict, None)


@contextmanager
def beside(url: str) -> Iterator[sa.Connection]:
    """Open a transaction beside the ledger's own."""
    # The pool keeps nothing open: a database with a guest cannot be dropped.
    engine = sa.create_engine(address(url), poolclass=NullPool)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def sql(url: str, statement: str, **parameters: Any) -> list[dict[str, Any]]:
    """Run a statement beside the ledger and return its rows."""
    with beside(url) as connection:
        result = connection.execute(sa.text(statement), parameters)
        return [dict(row) for row in result.mappings()] if result.returns_rows else []


def snapshot(url: str, tables: Sequence[str] = ("conversations", "questions", "replies")) -> dict[str, Any]:
    """Return all rows of some tables, to show that nothing changed."""
    return {table: sql(url, f"select * from {table} order by number") for table in tables}


def let_pass(url: str, seconds: float) -> None:
    """Let time pass: make all that the tables say about it older."""
    with beside(url) as connection:
        for table in metadata.sorted_tables:
            # The base of SQLite's clock is no moment, and 0 says "held by nobody".
            times = [column for column in table.columns if isinstance(column.type, sa.Double)]
            for time in (time for time in times if time.name != "clock_base"):
                connection.execute(table.update().where(time > 0).values({time: time - seconds}))
        for gate in connection.execute(sa.select(gates)).mappings().all():
            buckets = json.loads(gate["buckets"])
            older = {int(bucket) - int(seconds // BUCKET_S): count for bucket, count in buckets.items()}
            connection.execute(gates.update().values(buckets=json.dumps(older)))


#: s. A lease of which several fit into the time that a fresh PostgreSQL has been up.
SHORT_S = 0.2


def wait_until_up_for(url: str, seconds: float) -> None:
    """Wait until PostgreSQL has been up for so long: leases that end soon after its start say nothing."""
    if url.startswith("postgresql"):
        up = "select clock_timestamp() - pg_postmaster_start_time() > make_interval(secs => :s) as is_up"
        wait_until(lambda: sql(url, up, s=seconds)[0]["is_up"], within_s=30, what="PostgreSQL's uptime")
