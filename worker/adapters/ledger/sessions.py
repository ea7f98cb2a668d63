"""A conversation's project and session, and the reads that find them (PROTOCOL 4)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from worker.adapters.ledger.gate import Request
from worker.adapters.ledger.leases import Leases
from worker.adapters.ledger.rows import Dialect, as_rows, rows_from
from worker.adapters.ledger.transaction import Row, Transaction
from worker.adapters.ledger.turns import BeginPost, Turns
from worker.core.errors import LeaseLost, LedgerError
from worker.core.model import Intent, Lease
from worker.core.ports import ReadShare


@dataclass(frozen=True, slots=True)
class BeginCreate:
    """Record the intent to create, and where."""

    lease: Lease
    project_id: int


@dataclass(frozen=True, slots=True)
class CancelCreate:
    """Record that nothing was created."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class SaveSession:
    """Save session, project and highest message id together."""

    lease: Lease
    project_id: int
    session_id: str
    conversation_id: int | None
    highest_message_id: int
    has_extras: bool
    #: The question whose intent to post is recorded along with it.
    begins_post_of: int | None = None


@dataclass(frozen=True, slots=True)
class ForgetSession:
    """Put the session aside for good."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class RaiseHighest:
    """Raise the highest message id."""

    lease: Lease
    highest_message_id: int


@dataclass(frozen=True, slots=True)
class AdmitRead:
    """Count one read against the pace."""

    lease: Lease | None
    share: ReadShare = "reads"


class SessionStatements:
    """The statements, once per dialect. Those of a new contact's way take many conversations at once."""

    def __init__(self, dialect: Dialect) -> None:
        projects = rows_from(dialect, number="int", project_id="int")
        sessions = rows_from(
            dialect,
            number="int",
            project_id="int",
            session_id="text",
            conversation_id="int",
            highest="int",
            has_extras="bool",
        )
        # A conversation stays in the project in which it began.
        in_project = "project_id = coalesce(conversations.project_id, r.project_id)"
        self.begin_create = sa.text(
            f"update conversations set create_intent_at = :now, creates = creates + 1, {in_project}"
            f" from {projects} where conversations.number = r.number and conversations.session_id is null"
            " returning conversations.number as number"
        )
        self.save_session = sa.text(
            "update conversations set session_id = r.session_id, conversation_id = r.conversation_id,"
            f" highest_message_id = r.highest, create_intent_at = null, creates = 0, {in_project},"
            # Two creations may have made two conversations: look for the extra one when it must be listed.
            " heal_looks = 0, heal_at = case when r.has_extras or creates > 1 then :heal_at end"
            f" from {sessions} where conversations.number = r.number and conversations.session_id is null"
            " returning conversations.number as number"
        )


_CANCEL_CREATE = sa.text("update conversations set create_intent_at = null where number = :number")
_RAISE_HIGHEST = sa.text(
    "update conversations set highest_message_id = case when highest_message_id < :highest then :highest"
    " else highest_message_id end where number = :number"
)
_FORGET_SESSION = sa.text(
    "update conversations set session_id = null, conversation_id = null, highest_message_id = 0,"
    " create_intent_at = null, creates = 0, epoch = epoch + 1, forgotten_session_ids = :forgotten"
    " where number = :number and session_id = :session_id"
)
_SESSION = sa.text("select session_id, forgotten_session_ids from conversations where number = :number")


@dataclass(frozen=True, slots=True)
class Sessions:
    """Handlers of what a turn writes about its conversation; LeaseLost stands where a lease does not hold."""

    statements: SessionStatements
    leases: Leases
    turns: Turns

    def begin_create(
        self, transaction: Transaction, operations: Sequence[BeginCreate]
    ) -> Sequence[LedgerError | None]:
        """Record intents to create; GateClosed stands where the request may not begin."""
        held = self._held(transaction, operations)
        projects = {each.lease.conversation: each.project_id for each in operations if each.lease in held}
        asked = [Request(number, "posts") for number in projects]
        gate = dict(zip(projects, self.leases.gate.requests(transaction, asked), strict=True))
        rows = as_rows([item for item in projects.items() if gate[item[0]] is None])
        written = transaction.rows(self.statements.begin_create, rows=rows, now=transaction.now)
        return [
            (operation.lease in held and gate[operation.lease.conversation]) or result
            for operation, result in zip(operations, _results(operations, held, written), strict=True)
        ]

    def save_session(
        self, transaction: Transaction, operations: Sequence[SaveSession]
    ) -> Sequence[Intent | LedgerError | None]:
        """Save sessions with their highest message ids, and begin the posts that come next."""
        held = self._held(transaction, operations)
        rows = [
            (
                operation.lease.conversation,
                operation.project_id,
                operation.session_id,
                operation.conversation_id,
                operation.highest_message_id,
                operation.has_extras,
            )
            for operation in operations
            if operation.lease in held
        ]
        written = transaction.rows(
            self.statements.save_session,
            rows=as_rows(rows),
            heal_at=transaction.now + self.leases.heal_after_s,
        )
        saved = _results(operations, held, written)
        begun = self._begin_posts(
            transaction, [each for each, lost in zip(operations, saved, strict=True) if lost is None]
        )
        return [lost or begun.get(each.lease) for each, lost in zip(operations, saved, strict=True)]

    def _begin_posts(self, transaction: Transaction, saved: Sequence[SaveSession]) -> Mapping[Lease, Intent]:
        """Record intents to post in sessions just saved; those that the gate lets through are returned."""
        begins = [
            BeginPost(each.lease, each.begins_post_of, each.session_id)
            for each in saved
            if each.begins_post_of is not None
        ]
        results = zip(begins, self.turns.begin(transaction, begins), strict=True)
        return {begin.lease: result for begin, result in results if isinstance(result, Intent)}

    def cancel_create(
        self, transaction: Transaction, operations: Sequence[CancelCreate]
    ) -> Sequence[LedgerError | None]:
        """Record that nothing was created."""
        held = self._held(transaction, operations)
        return [
            _changed(transaction.run(_CANCEL_CREATE, number=operation.lease.conversation))
            if operation.lease in held
            else LeaseLost()
            for operation in operations
        ]

    def raise_highest(
        self, transaction: Transaction, operations: Sequence[RaiseHighest]
    ) -> Sequence[LedgerError | None]:
        """Raise the highest message ids."""
        held = self._held(transaction, operations)
        return [
            _changed(
                transaction.run(
                    _RAISE_HIGHEST,
                    number=operation.lease.conversation,
                    highest=operation.highest_message_id,
                )
            )
            if operation.lease in held
            else LeaseLost()
            for operation in operations
        ]

    def forget_session(
        self, transaction: Transaction, operations: Sequence[ForgetSession]
    ) -> Sequence[LedgerError | None]:
        """Put sessions aside."""
        held = self._held(transaction, operations)
        return [
            _forget(transaction, operation.lease.conversation) if operation.lease in held else LeaseLost()
            for operation in operations
        ]

    def admit_reads(
        self, transaction: Transaction, operations: Sequence[AdmitRead]
    ) -> Sequence[LedgerError | None]:
        """Count reads; GateClosed stands where one may not begin."""
        return self.leases.gate.requests(
            transaction,
            [
                Request(
                    operation.lease.conversation if operation.lease else None,
                    "reads" if operation.share == "healing" else operation.share,
                    is_healing=operation.share == "healing",
                )
                for operation in operations
            ],
        )

    def _held(self, transaction: Transaction, operations: Sequence[SessionOperation]) -> set[Lease]:
        return self.leases.lock(transaction, [operation.lease for operation in operations])


SessionOperation = BeginCreate | CancelCreate | SaveSession | ForgetSession | RaiseHighest


def _results(
    operations: Sequence[SessionOperation], held: set[Lease], written: Sequence[Row]
) -> list[LedgerError | None]:
    """Return None for each operation whose lease holds and whose conversation was written."""
    numbers = {row["number"] for row in written}
    return [
        None if operation.lease in held and operation.lease.conversation in numbers else LeaseLost()
        for operation in operations
    ]


def _changed(count: int) -> LedgerError | None:
    return None if count else LeaseLost()


def _forget(transaction: Transaction, number: int) -> LedgerError | None:
    row = transaction.rows(_SESSION, number=number)[0]
    if row["session_id"] is None:
        return LeaseLost()
    forgotten = [*json.loads(row["forgotten_session_ids"]), row["session_id"]]
    transaction.run(
        _FORGET_SESSION, number=number, session_id=row["session_id"], forgotten=json.dumps(forgotten)
    )
    return None
