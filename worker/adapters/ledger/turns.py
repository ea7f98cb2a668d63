"""The two writes around a post: the intent before it and the verdict after it (PROTOCOL 5)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from worker.adapters.ledger.gate import Request
from worker.adapters.ledger.leases import SOON_S, Leases
from worker.adapters.ledger.mirror import MarkedAnswer, Mirrors
from worker.adapters.ledger.rows import Dialect, as_rows, rows_from
from worker.adapters.ledger.tables import IS_OPEN, IS_OPEN_BY_NUMBER, IS_UNPUBLISHED
from worker.adapters.ledger.transaction import Transaction
from worker.core.errors import LeaseLost, LedgerError
from worker.core.model import (
    NO_SESSION,
    Answered,
    Failed,
    GateNews,
    Halt,
    Intent,
    Lease,
    OutboxReply,
    Reply,
    Retry,
    Snooze,
    TurnEnd,
    Verdict,
    attempts_in,
)


@dataclass(frozen=True, slots=True)
class BeginPost:
    """Record the intent to post."""

    lease: Lease
    question: int
    session_id: str


@dataclass(frozen=True, slots=True)
class RecordAccepted:
    """Record that the API has taken the outstanding post."""

    lease: Lease
    question: int


@dataclass(frozen=True, slots=True)
class Finish:
    """End a turn."""

    lease: Lease
    question: int
    verdict: Verdict
    reply: Reply | None


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the gate what a call showed."""

    news: GateNews
    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """Ask which messages answer no question yet."""

    session_id: str
    message_ids: Sequence[int]


#: What the end of a turn writes to its question.
_END = {
    "question": "int",
    "state": "text",
    "session_id": "text",
    "message_id": "int",
    "outcome": "text",
    "code": "text",
    "detail": "text",
    "attempts": "int",
    "looks": "int",
    "has_ended": "bool",
    "finished_at": "float",
    "second_look_at": "float",
}
#: Added to what is there, so that leaving them out changes nothing.
_UNCHANGED = {"looks": 0, "has_ended": False}


class TurnStatements:
    """The statements, once per dialect."""

    def __init__(self, dialect: Dialect) -> None:
        posts = rows_from(dialect, question="int", session_id="text")
        ends = rows_from(dialect, **_END)
        frees = rows_from(
            dialect,
            number="int",
            due_at="float",
            highest="int",
            conversation_id="int",
            session_id="text",
            is_blocked="bool",
            is_over="bool",
        )
        replies = rows_from(
            dialect,
            question="int",
            conversation="int",
            event_id="text",
            kind="text",
            body="text",
            headers="text",
        )
        numbers = rows_from(dialect, number="int")
        greatest = "max" if dialect == "sqlite" else "greatest"
        self.begin_post = sa.text(
            "update questions set state = 'posting', intent_at = :now, intent_session_id = r.session_id,"
            " baseline_message_id = c.highest_message_id, posts = posts + 1, looks = 0, has_ended = false,"
            " is_accepted = false,"
            " first_baseline_message_id = case when intent_session_id <> r.session_id then null"
            " when state = 'posting' then coalesce(first_baseline_message_id, baseline_message_id)"
            " else first_baseline_message_id end,"
            # From posting to posting: an unknown outcome was read back and is posted again.
            " outcome = case when state = 'posting' then 'reposted_after_unknown' else outcome end"
            f" from {posts}, conversations c where questions.number = r.question"
            " and c.number = questions.conversation"
            # Without a conversation there is no session to be in.
            " and (c.session_id = r.session_id or r.session_id = '')"
            f" and {IS_OPEN_BY_NUMBER}"
            " returning questions.number as number, baseline_message_id"
        )
        self.accepted = sa.text(
            f"update questions set is_accepted = true from {numbers}"
            " where questions.number = r.number and questions.intent_at is not null"
            f" and {IS_OPEN_BY_NUMBER} returning questions.number as number"
        )
        self.end_questions = sa.text(
            "update questions set state = r.state, session_id = r.session_id, message_id = r.message_id,"
            " outcome = coalesce(r.outcome, questions.outcome), code = r.code, detail = r.detail,"
            " attempts = questions.attempts + r.attempts,"
            " looks = questions.looks + r.looks, has_ended = questions.has_ended or r.has_ended,"
            " finished_at = r.finished_at, expired_leases = 0,"
            " second_look_at = case when first_baseline_message_id is not null then r.second_look_at end,"
            " intent_at = case when r.state = 'waiting' then null else intent_at end"
            f" from {ends} where questions.number = r.question and {IS_OPEN_BY_NUMBER}"
            " returning questions.number as number"
        )
        # due_at null in a row: due now if another question is open, else nothing is due.
        self.free_conversations = sa.text(
            "update conversations set lease_until = 0, owner = null,"
            f" highest_message_id = {greatest}(highest_message_id, case when"
            " conversations.session_id = r.session_id then r.highest else 0 end),"
            " conversation_id = coalesce(conversations.conversation_id, r.conversation_id),"
            " is_blocked = r.is_blocked,"
            " ended_at = case when r.is_over then :now else ended_at end,"
            " due_at = coalesce(r.due_at, case when not r.is_blocked and (select q.number from questions q"
            f" where q.conversation = conversations.number and q.{IS_OPEN} limit 1) is not null"
            f" then :now end) from {frees} where conversations.number = r.number"
        )
        self.add_replies = sa.text(
            "insert into replies (question, conversation, event_id, kind, body, headers, owner, due_at,"
            " recorded_at) select r.question, r.conversation, r.event_id, r.kind, r.body, r.headers, :owner,"
            f" :due_at, :now from {replies} where true order by r.ord"
            " returning number, question, conversation"
        )
        # Our own leases stand as long as their turns do.
        self.next_turn = sa.text(
            "select 1 from conversations where due_at <= :soon and not is_blocked"
            " and (owner is null or owner <> :owner or lease_until <= :now) limit 1"
        )
        self.claimed = sa.text(
            "select message_id from questions where session_id = :session_id"
            f" and message_id in (select r.number from {numbers})"
        )
        # A look for each conversation: in one join the planner reads the whole partial index (tables.py).
        self.older_replies = sa.text(
            "select r.number as conversation, (select number from replies where conversation = r.number"
            f" and {IS_UNPUBLISHED} and state = 'waiting' order by number limit 1) as number from {numbers}"
        )


@dataclass(frozen=True, slots=True)
class Turns:
    """Handlers of a turn's writes."""

    statements: TurnStatements
    leases: Leases
    #: s. How long after a repost the first post may still show up.
    settle_s: float
    #: A failed question holds up its conversation until a person lets it go on.
    blocks_on_failure: bool
    #: Answered conversations are mirrored; None where there is no mirror.
    mirrors: Mirrors | None = None

    def begin_posts(
        self, transaction: Transaction, operations: Sequence[BeginPost]
    ) -> list[Intent | LedgerError]:
        """Commit intents; the gate is read in this very transaction."""
        held = self.leases.lock(transaction, [operation.lease for operation in operations])
        ours = [operation for operation in operations if operation.lease in held]
        begun = dict(zip((operation.lease for operation in ours), self.begin(transaction, ours), strict=True))
        return [begun.get(operation.lease) or LeaseLost() for operation in operations]

    def begin(self, transaction: Transaction, operations: Sequence[BeginPost]) -> list[Intent | LedgerError]:
        """Commit intents of turns whose leases are known to hold; the gate is read first."""
        requests = [Request(operation.lease.conversation, "posts") for operation in operations]
        closed = self.leases.gate.requests(transaction, requests)
        admitted = [operation for operation, no in zip(operations, closed, strict=True) if no is None]
        baselines = {}
        if admitted:
            rows = as_rows([(operation.question, operation.session_id) for operation in admitted])
            written = transaction.rows(self.statements.begin_post, rows=rows, now=transaction.now)
            baselines = {row["number"]: row["baseline_message_id"] for row in written}
        results: list[Intent | LedgerError] = []
        for operation, no in zip(operations, closed, strict=True):
            if no is not None:
                results.append(no)
            elif (baseline := baselines.get(operation.question)) is not None:
                results.append(Intent(transaction.now, operation.session_id, baseline))
            else:
                results.append(LeaseLost())
        return results

    def record_accepted(
        self, transaction: Transaction, operations: Sequence[RecordAccepted]
    ) -> list[LedgerError | None]:
        """Note that posts were taken."""
        held = self.leases.lock(transaction, [operation.lease for operation in operations])
        rows = as_rows([(operation.question,) for operation in operations if operation.lease in held])
        written = {row["number"] for row in transaction.rows(self.statements.accepted, rows=rows)}
        return [
            None if operation.lease in held and operation.question in written else LeaseLost()
            for operation in operations
        ]

    def finish(self, transaction: Transaction, operations: Sequence[Finish]) -> list[TurnEnd | LedgerError]:
        """Apply verdicts: question, conversation, reply and gate together."""
        held = self.leases.lock(transaction, [operation.lease for operation in operations])
        mine = [operation for operation in operations if operation.lease in held]
        rows = as_rows([_end_of(operation, transaction.now, self.settle_s) for operation in mine])
        ended = {row["number"] for row in transaction.rows(self.statements.end_questions, rows=rows)}
        mine = [operation for operation in mine if operation.question in ended]
        transaction.run(
            self.statements.free_conversations,
            rows=as_rows([self._freed(operation, transaction.now) for operation in mine]),
            now=transaction.now,
        )
        published = self._record(transaction, [operation for operation in mine if operation.reply])
        if self.mirrors is not None:
            self.mirrors.mark(transaction, [mark for each in mine if (mark := _mark_of(each))])
        self._tell_gate(transaction, mine)
        has_next = self._has_next(transaction)
        return [
            TurnEnd(published.get(operation.question), has_next)
            if operation.lease in held and operation.question in ended
            else LeaseLost()
            for operation in operations
        ]

    def report(self, transaction: Transaction, operations: Sequence[Report]) -> list[None]:
        """Tell the gate."""
        for operation in operations:
            conversation = operation.lease.conversation if operation.lease else None
            self.leases.gate.hear(transaction, operation.news, conversation)
        return [None for _ in operations]

    def unclaimed(self, transaction: Transaction, operations: Sequence[Unclaimed]) -> list[set[int]]:
        """Ask for each operation."""
        return [
            set(operation.message_ids)
            - {
                row["message_id"]
                for row in transaction.rows(
                    self.statements.claimed,
                    session_id=operation.session_id,
                    rows=as_rows([(number,) for number in operation.message_ids]),
                )
            }
            for operation in operations
        ]

    def _record(self, transaction: Transaction, operations: Sequence[Finish]) -> dict[int, OutboxReply]:
        """Add replies; return, by question, those that no older one of their conversation holds up."""
        if not operations:
            return {}
        replies = {operation.question: operation.reply for operation in operations if operation.reply}
        rows = [
            _reply_row(operation.lease.conversation, operation.question, operation.reply)
            for operation in operations
            if operation.reply
        ]
        added = transaction.rows(
            self.statements.add_replies,
            rows=as_rows(rows),
            owner=self.leases.owner,
            due_at=transaction.now + self.leases.lease_s,
            now=transaction.now,
        )
        conversations = sorted({row["conversation"] for row in added})
        oldest = {
            row["conversation"]: row["number"]
            for row in transaction.rows(
                self.statements.older_replies, rows=as_rows([(number,) for number in conversations])
            )
        }
        return {
            row["question"]: OutboxReply(row["number"], replies[row["question"]])
            for row in added
            if oldest.get(row["conversation"]) == row["number"]
        }

    def _has_next(self, transaction: Transaction) -> bool:
        """Tell whether a claim may find a turn soon. What is due later the looks find that come anyway."""
        now = transaction.now
        found = transaction.scalar(
            self.statements.next_turn, now=now, soon=now + SOON_S, owner=self.leases.owner
        )
        return found is not None

    def _freed(self, operation: Finish, now: float) -> tuple[object, ...]:
        is_blocked = self.blocks_on_failure and isinstance(operation.verdict, Failed)
        return (*_free_of(operation, now), is_blocked, isinstance(operation.verdict, Answered | Failed))

    def _tell_gate(self, transaction: Transaction, operations: Sequence[Finish]) -> None:
        gate = self.leases.gate
        is_any_answered = False
        if any(isinstance(each.verdict, Answered) and each.verdict.is_altered for each in operations):
            gate.note_altering(transaction)
        for operation in operations:
            news = _news_of(operation.verdict)
            if news is None:
                gate.end_probe(transaction, operation.lease.conversation)
            elif news.kind == "ok" and is_any_answered:
                continue
            else:
                is_any_answered = is_any_answered or news.kind == "ok"
                gate.hear(transaction, news, operation.lease.conversation)


def _mark_of(operation: Finish) -> MarkedAnswer | None:
    match operation.verdict:
        case Answered(session_id=session_id):
            return MarkedAnswer(operation.question, operation.lease.conversation, session_id)
        case _:
            return None


def _news_of(verdict: Verdict) -> GateNews | None:
    match verdict:
        case Answered():
            return GateNews("ok")
        case Retry(news=news) | Snooze(news=news) | Failed(news=news):
            return news
        case Halt(code=code, probe_in_s=probe_in_s):
            return GateNews("pause", code, probe_in_s)


def _end_of(operation: Finish, now: float, settle_s: float) -> tuple[object, ...]:
    """Return the row for end_questions."""
    match operation.verdict:
        case Answered(message=message, session_id=session_id, outcome=outcome):
            has_session = session_id != NO_SESSION
            end = {
                "state": "answered",
                "session_id": session_id if has_session else None,
                "message_id": message.message_id if has_session else None,
                "outcome": outcome,
                "finished_at": now,
                "second_look_at": now + settle_s if has_session else None,
            }
        case Failed(code=code, detail=detail, message_id=message_id, session_id=session_id):
            end = {
                "state": "failed",
                "session_id": session_id if message_id is not None else None,
                "message_id": message_id,
                "code": code,
                "detail": detail,
                "finished_at": now,
            }
        case Retry(code=code):
            end = {"state": "waiting", "code": code}
        case Snooze() as snooze:
            end = {
                "state": "posting" if snooze.keeps_intent else "waiting",
                "code": snooze.code,
                "looks": int(snooze.is_look),
                "has_ended": snooze.has_ended,
            }
        case Halt(code=code, keeps_intent=keeps_intent):
            end = {"state": "posting" if keeps_intent else "waiting", "code": code}
    end["question"] = operation.question
    end["attempts"] = attempts_in(operation.verdict)
    return tuple(end.get(column, _UNCHANGED.get(column)) for column in _END)


def _free_of(operation: Finish, now: float) -> tuple[object, ...]:
    """Return the row for free_conversations."""
    number = operation.lease.conversation
    match operation.verdict:
        case Answered(message=message):
            return (number, None, message.message_id, message.conversation_id, operation.verdict.session_id)
        case Failed(message_id=message_id):
            return (number, None, message_id or 0, None, operation.verdict.session_id)
        case Retry(after_s=after_s) | Snooze(after_s=after_s):
            return (number, now + after_s, 0, None, None)
        case Halt(burnt_message_id=burnt, session_id=session_id):
            return (number, None, burnt or 0, None, session_id)


def _reply_row(conversation: int, question: int, reply: Reply) -> tuple[object, ...]:
    headers = {
        "question_id": reply.question_id,
        "traceparent": reply.traceparent,
        "tracestate": reply.tracestate,
    }
    body = reply.body.decode("utf-8")
    return (question, conversation, reply.event_id, reply.kind, body, json.dumps(headers))
