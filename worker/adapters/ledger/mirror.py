"""What is to be mirrored: a row per conversation and session, marked by the answer that it got.

A row is a promise to send all that it has. Its version counts the answers, so that one which comes while the
conversation is on its way makes it due again.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from schemas import timestamp_of
from worker.adapters.ledger.rows import Dialect, as_rows, rows_from
from worker.adapters.ledger.transaction import Row, Transaction
from worker.core.mirroring import ConversationCopy, MirroredAnswer, MirrorEnd
from worker.core.model import Citation

#: s. An older list whose request was given up may still arrive for so long: then the newest is sent again.
SETTLE_S = 60.0
#: Makes the ids of copies. Never to be changed: another one would make second copies of everything.
NAMESPACE = uuid.UUID("57ea9cad-5e13-47e5-8685-a66a1cfc2d5d")


@dataclass(frozen=True, slots=True)
class TakeCopies:
    """Take conversations that are due."""

    limit: int


@dataclass(frozen=True, slots=True)
class EndCopy:
    """Record how an attempt ended."""

    number: int
    version: int
    end: MirrorEnd
    code: str | None
    again_in_s: float
    is_unknown: bool


@dataclass(frozen=True, slots=True)
class MarkedAnswer:
    """An answer that makes its conversation due; no session where the API keeps no conversation."""

    question: int
    conversation: int
    session_id: str | None


class MirrorStatements:
    """The statements, once per dialect."""

    def __init__(self, dialect: Dialect) -> None:
        marks = rows_from(dialect, question="int", conversation="int", session_id="text")
        numbers = rows_from(dialect, number="int")
        skip_locked = " for update skip locked" if dialect == "postgresql" else ""
        # A baseline above 0: the session had messages before, and the copy may know them from another ledger.
        # Without a session nothing tells whether there were any.
        # What is leased or put off stays so: it is sent with this answer when its time comes.
        self.mark = sa.text(
            "insert into mirrors (conversation, session_id, version, due_at, answered_at, is_partial)"
            " select r.conversation, r.session_id, 1, :now, :now, coalesce(q.baseline_message_id, 0) > 0"
            " or r.session_id = ''"
            f" from {marks} join questions q on q.number = r.question where true order by r.conversation"
            " on conflict (conversation, session_id) do update set version = mirrors.version + 1,"
            " due_at = coalesce(mirrors.due_at, :now), answered_at = :now"
        )
        self.add_answers = sa.text(
            "insert into mirror_answers (question, mirror) select r.question, m.number"
            f" from {marks} join mirrors m on m.conversation = r.conversation"
            " and m.session_id = r.session_id where true on conflict (question) do nothing"
        )
        self.due = sa.text(
            f"select number from mirrors where due_at <= :now order by due_at limit :limit{skip_locked}"
        )
        self.lease = sa.text(
            "update mirrors set due_at = :until, unsure_version = coalesce(unsure_version, version)"
            f" where number in (select r.number from {numbers})"
        )
        self.next_due = sa.text("select min(due_at) from mirrors where due_at > :now")
        self.read = sa.text(
            "select m.number, m.version, m.session_id, m.is_partial, m.tries, c.key, c.external_id,"
            " c.thread_id, c.project_id from mirrors m join conversations c on c.number = m.conversation"
            f" where m.number in (select r.number from {numbers})"
        )
        self.read_answers = sa.text(
            "select a.mirror, q.source, q.event_id, q.content, q.received_at, q.message_id,"
            " (select p.body from replies p where p.question = q.number and p.kind = 'answered'"
            " order by p.number desc limit 1) as body from mirror_answers a"
            " join questions q on q.number = a.question"
            f" where a.mirror in (select r.number from {numbers}) order by a.mirror, q.number"
        )
        # Below: an older list may still be on its way, and would take the newest answer out of the copy.
        self.mirrored = sa.text(
            "update mirrors set tries = 0, code = null, mirrored_at = :now,"
            " due_at = case when version <> :version then :now"
            " when unsure_version < :version then :settled end,"
            " unsure_version = case when version <> :version and unsure_version < :version"
            " then unsure_version end where number = :number"
        )
        self.put_off = sa.text(
            "update mirrors set tries = tries + 1, code = :code, due_at = :until, unsure_version ="
            " case when unsure_version = :definite_version then null else unsure_version end"
            " where number = :number"
        )
        self.set_aside = sa.text(
            "update mirrors set tries = tries + 1, code = :code,"
            " due_at = case when version <> :version then :now end, unsure_version ="
            " case when unsure_version = :version then null else unsure_version end where number = :number"
        )


@dataclass(frozen=True, slots=True)
class Mirrors:
    """Handlers."""

    statements: MirrorStatements
    #: s. How long one attempt may take before another process may make it.
    lease_s: float

    def mark(self, transaction: Transaction, answers: Sequence[MarkedAnswer]) -> None:
        """Make the conversations of these answers due; at most one answer for each."""
        if not answers:
            return
        rows = as_rows([(each.question, each.conversation, each.session_id or "") for each in answers])
        transaction.run(self.statements.mark, rows=rows, now=transaction.now)
        transaction.run(self.statements.add_answers, rows=rows)

    def take(
        self, transaction: Transaction, operations: Sequence[TakeCopies]
    ) -> list[tuple[list[ConversationCopy], float | None]]:
        """Take for each operation."""
        return [self._take(transaction, operation.limit) for operation in operations]

    def end(self, transaction: Transaction, operations: Sequence[EndCopy]) -> list[None]:
        """Record each."""
        now, statements = transaction.now, self.statements
        for each in operations:
            same = {"number": each.number}
            match each.end:
                case "mirrored":
                    settled = now + SETTLE_S
                    transaction.run(
                        statements.mirrored, now=now, version=each.version, settled=settled, **same
                    )
                case "put_off":
                    # No version is -1: what may still be at work stays noted.
                    definite = -1 if each.is_unknown else each.version
                    until = now + each.again_in_s
                    transaction.run(
                        statements.put_off, code=each.code, until=until, definite_version=definite, **same
                    )
                case "aside":
                    transaction.run(
                        statements.set_aside, code=each.code, now=now, version=each.version, **same
                    )
        return [None for _ in operations]

    def _take(self, transaction: Transaction, limit: int) -> tuple[list[ConversationCopy], float | None]:
        due = transaction.rows(self.statements.due, now=transaction.now, limit=limit)
        next_due = transaction.scalar(self.statements.next_due, now=transaction.now)
        next_due_s = None if next_due is None else max(next_due - transaction.now, 0.0)
        if not due:
            return [], next_due_s
        order = [row["number"] for row in due]
        rows = as_rows([(number,) for number in order])
        transaction.run(self.statements.lease, rows=rows, until=transaction.now + self.lease_s)
        answers: dict[int, list[Row]] = defaultdict(list)
        for row in transaction.rows(self.statements.read_answers, rows=rows):
            answers[row["mirror"]].append(row)
        taken = {
            row["number"]: _copy_of(row, answers[row["number"]])
            for row in transaction.rows(self.statements.read, rows=rows)
        }
        return [taken[number] for number in order if number in taken], next_due_s


def _copy_of(row: Row, answers: Sequence[Row]) -> ConversationCopy:
    bodies = [json.loads(each["body"])["data"] if each["body"] else None for each in answers]
    whole = [(each, data) for each, data in zip(answers, bodies, strict=True) if data is not None]
    return ConversationCopy(
        number=row["number"],
        version=row["version"],
        copy_id=str(uuid.uuid5(NAMESPACE, json.dumps([row["key"], row["session_id"]]))),
        external_id=row["external_id"],
        thread_id=row["thread_id"],
        project_id=row["project_id"],
        session_id=row["session_id"] or None,
        conversation_id=whole[-1][1]["conversation_id"] if whole else None,
        is_partial=bool(row["is_partial"]),
        tries=row["tries"],
        answers=tuple(_answer_of(each, data) for each, data in whole),
    )


def _answer_of(row: Row, data: dict[str, Any]) -> MirroredAnswer:
    content = json.loads(row["content"])
    return MirroredAnswer(
        question_source=row["source"],
        question_id=row["event_id"],
        question=content["question"],
        answer=data["answer"],
        asked_at=content["time"] or timestamp_of(row["received_at"]),
        answered_at=data["answered_at"],
        message_id=row["message_id"],
        citations=tuple(
            Citation(each.get("id"), each.get("title"), each.get("url")) for each in data["citations"]
        ),
    )
