"""Accepting questions: each event once, in arrival order (PROTOCOL 2)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from worker.adapters.ledger.daily_limit import DailyLimit
from worker.adapters.ledger.rows import Dialect, as_rows, rows_from
from worker.adapters.ledger.transaction import Transaction
from worker.core.model import Acceptance, AcceptedQuestion, external_id_of

#: s. Repeats of a finished question within this time of one that published its reply publish nothing more.
REPEAT_WINDOW_S = 60


@dataclass(frozen=True, slots=True)
class Accept:
    """Accept a batch."""

    questions: Sequence[AcceptedQuestion]


class IntakeStatements:
    """The statements, once per dialect."""

    def __init__(self, dialect: Dialect) -> None:
        contacts = rows_from(
            dialect, key="hash", route="text", contact_id="text", thread_id="text", external_id="text"
        )
        events = rows_from(
            dialect,
            event_hash="hash",
            data_hash="hash",
            source="text",
            event_id="text",
            reply_id="text",
            key="hash",
            content="text",
            expires_at="float",
            is_redelivered="bool",
        )
        keys = rows_from(dialect, key="hash")
        hashes = rows_from(dialect, event_hash="hash")
        numbers = rows_from(dialect, number="int")
        for_update = " for update" if dialect == "postgresql" else ""
        self.add_conversations = sa.text(
            "insert into conversations (key, route, contact_id, thread_id, external_id, created_at)"
            f" select r.key, r.route, r.contact_id, r.thread_id, r.external_id, :now from {contacts}"
            " where true order by r.ord on conflict (key) do nothing"
        )
        # Locked before the questions go in: the end of a turn that looks for more must not miss them.
        self.lock_conversations = sa.text(
            f"select number from conversations where key in (select r.key from {keys})"
            f" order by number{for_update}"
        )
        self.add_questions = sa.text(
            "insert into questions (event_hash, data_hash, source, event_id, reply_id, conversation, content,"
            " expires_at, is_redelivered, received_at)"
            " select r.event_hash, r.data_hash, r.source, r.event_id, r.reply_id, c.number, r.content,"
            f" r.expires_at, r.is_redelivered, :now from {events} join conversations c on c.key = r.key"
            " where not exists (select 1 from erased e where e.event_hash = r.event_hash)"
            " order by r.ord on conflict (event_hash) do nothing returning event_hash, conversation"
        )
        self.make_due = sa.text(
            "update conversations set due_at = :now where due_at is null and not is_blocked"
            f" and number in (select r.number from {numbers})"
        )
        self.find_repeats = sa.text(
            "select q.event_hash, q.data_hash, q.state, q.number from questions q"
            f" where q.event_hash in (select r.event_hash from {hashes})"
        )
        self.repeat_replies = sa.text(
            "update replies set state = 'waiting', due_at = :now, owner = null, tries = 0, repeated_at = :now"
            " where state = 'published' and (repeated_at is null or repeated_at < :before) and number in"
            f" (select max(p.number) from replies p where p.question in (select r.number from {numbers})"
            " group by p.question)"
        )


def accept(
    statements: IntakeStatements,
    limit: DailyLimit,
    transaction: Transaction,
    operations: Sequence[Accept],
) -> list[list[Acceptance]]:
    """Write each question once and say what became of each."""
    questions = [question for operation in operations for question in operation.questions]
    fresh = _insert(statements, transaction, questions)
    limit.count(transaction, list({q.event_hash: q for q in questions if q.event_hash in fresh}.values()))
    repeats = [question for question in questions if question.event_hash not in fresh]
    # One that is in the batch twice is fresh and a repeat: its own row is looked at too.
    known = _known(statements, transaction, questions) if len(fresh) < len(questions) else {}
    results = iter(_judge(questions, fresh, known))
    finished = sorted(
        {
            number
            for question in repeats
            if (row := known.get(question.event_hash)) is not None
            and (number := row.finished_number(question)) is not None
        }
    )
    if finished:
        transaction.run(
            statements.repeat_replies,
            rows=as_rows([(number,) for number in finished]),
            now=transaction.now,
            before=transaction.now - REPEAT_WINDOW_S,
        )
    return [[next(results) for _ in operation.questions] for operation in operations]


@dataclass(frozen=True, slots=True)
class _Known:
    data_hash: str
    state: str
    number: int

    def finished_number(self, question: AcceptedQuestion) -> int | None:
        is_repeat = self.data_hash == question.data_hash and self.state in {"answered", "failed"}
        return self.number if is_repeat else None


def _insert(
    statements: IntakeStatements, transaction: Transaction, questions: Sequence[AcceptedQuestion]
) -> set[str]:
    contacts = {
        question.conversation_key: (
            question.conversation_key,
            question.route,
            question.contact_id,
            question.thread_id,
            external_id_of(question.contact_id),
        )
        for question in questions
    }
    rows, keys = as_rows(list(contacts.values())), as_rows([(key,) for key in contacts])
    transaction.run(statements.add_conversations, rows=rows, now=transaction.now)
    if len(transaction.rows(statements.lock_conversations, rows=keys)) < len(contacts):
        # The sweeper has just forgotten one that was quiet for long: without it its question would be lost.
        transaction.run(statements.add_conversations, rows=rows, now=transaction.now)
        transaction.run(statements.lock_conversations, rows=keys)
    events = [
        (
            question.event_hash,
            question.data_hash,
            question.source,
            question.event_id,
            question.reply_id,
            question.conversation_key,
            _content(question),
            question.expires_at,
            question.is_redelivered,
        )
        for question in questions
    ]
    added = transaction.rows(statements.add_questions, rows=as_rows(events), now=transaction.now)
    if added:
        numbers = sorted({row["conversation"] for row in added})
        transaction.run(
            statements.make_due, rows=as_rows([(number,) for number in numbers]), now=transaction.now
        )
    return {row["event_hash"] for row in added}


def _known(
    statements: IntakeStatements, transaction: Transaction, questions: Sequence[AcceptedQuestion]
) -> dict[str, _Known]:
    hashes = {question.event_hash for question in questions}
    rows = transaction.rows(statements.find_repeats, rows=as_rows([(value,) for value in hashes]))
    return {row["event_hash"]: _Known(row["data_hash"], row["state"], row["number"]) for row in rows}


def _judge(
    questions: Sequence[AcceptedQuestion], fresh: set[str], known: dict[str, _Known]
) -> list[Acceptance]:
    results = []
    unseen = set(fresh)
    for question in questions:
        row = known.get(question.event_hash)
        if question.event_hash in unseen:
            unseen.remove(question.event_hash)
            results.append(Acceptance("new"))
        elif row is None:
            results.append(Acceptance("erased"))
        elif row.data_hash != question.data_hash:
            results.append(Acceptance("conflict"))
        elif row.state in {"answered", "failed"}:
            results.append(Acceptance("repeat_finished"))
        else:
            results.append(Acceptance("repeat_unfinished"))
    return results


def _content(question: AcceptedQuestion) -> str:
    """Everything of the event that only the turn needs. ASCII, so that NUL stays an escape."""
    return json.dumps(
        {
            "question": question.text,
            "lang": question.lang,
            "metadata": question.metadata,
            "time": question.asked_at,
            "traceparent": question.traceparent,
            "tracestate": question.tracestate,
            **({"api": question.api} if question.api else {}),
            **({"options": options} if (options := question.options.given()) else {}),
        },
        separators=(",", ":"),
    )
