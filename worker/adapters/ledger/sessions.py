"""A conversation's project and session, and the reads that find them (PROTOCOL 4)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from worker.adapters.ledger.database import Transaction
from worker.adapters.ledger.leases import Leases
from worker.core.errors import LeaseLost, LedgerError
from worker.core.model import Lease


@dataclass(frozen=True, slots=True)
class SetProject:
    """Fix the project."""

    lease: Lease
    project_id: int


@dataclass(frozen=True, slots=True)
class BeginCreate:
    """Record the intent to create."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class CancelCreate:
    """Record that nothing was created."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class SaveSession:
    """Save session and highest message id together."""

    lease: Lease
    session_id: str
    conversation_id: int | None
    highest_message_id: int
    has_extras: bool


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


SessionOperation = SetProject | BeginCreate | CancelCreate | SaveSession | ForgetSession | RaiseHighest

_SET_PROJECT = sa.text(
    "update conversations set project_id = :project_id where number = :number and project_id is null"
)
_BEGIN_CREATE = sa.text(
    "update conversations set create_intent_at = :now, creates = creates + 1"
    " where number = :number and session_id is null"
)
_CANCEL_CREATE = sa.text("update conversations set create_intent_at = null where number = :number")
_RAISE_HIGHEST = sa.text(
    "update conversations set highest_message_id = case when highest_message_id < :highest then :highest"
    " else highest_message_id end where number = :number"
)
_SAVE_SESSION = sa.text(
    "update conversations set session_id = :session_id, conversation_id = :conversation_id,"
    " highest_message_id = :highest, create_intent_at = null, creates = 0,"
    # Two creations may have made two conversations: look for the extra one when it must be listed.
    " heal_looks = 0, heal_at = case when :has_extras or creates > 1 then :heal_at end"
    " where number = :number and session_id is null"
)
_FORGET_SESSION = sa.text(
    "update conversations set session_id = null, conversation_id = null, highest_message_id = 0,"
    " create_intent_at = null, creates = 0, epoch = epoch + 1, forgotten_session_ids = :forgotten"
    " where number = :number and session_id = :session_id"
)
_SESSION = sa.text("select session_id, forgotten_session_ids from conversations where number = :number")


def change_sessions(
    leases: Leases, transaction: Transaction, operations: Sequence[SessionOperation]
) -> list[LedgerError | None]:
    """Apply changes whose lease holds; LeaseLost stands where it does not."""
    held = leases.lock(transaction, [operation.lease for operation in operations])
    return [
        _change(leases, transaction, operation) if operation.lease in held else LeaseLost()
        for operation in operations
    ]


def admit_reads(
    leases: Leases, transaction: Transaction, operations: Sequence[AdmitRead]
) -> Sequence[LedgerError | None]:
    """Count reads; GateClosed stands where one may not begin."""
    return leases.gate.requests(
        transaction, [operation.lease.conversation if operation.lease else None for operation in operations]
    )


def _change(leases: Leases, transaction: Transaction, operation: SessionOperation) -> LedgerError | None:
    number = operation.lease.conversation
    match operation:
        case SetProject(project_id=project_id):
            changed = transaction.run(_SET_PROJECT, number=number, project_id=project_id)
        case BeginCreate():
            (closed,) = leases.gate.requests(transaction, [number])
            if closed:
                return closed
            changed = transaction.run(_BEGIN_CREATE, number=number, now=transaction.now)
        case CancelCreate():
            changed = transaction.run(_CANCEL_CREATE, number=number)
        case SaveSession():
            changed = transaction.run(
                _SAVE_SESSION,
                number=number,
                session_id=operation.session_id,
                conversation_id=operation.conversation_id,
                highest=operation.highest_message_id,
                has_extras=operation.has_extras,
                heal_at=transaction.now + leases.heal_after_s,
            )
        case RaiseHighest(highest_message_id=highest):
            changed = transaction.run(_RAISE_HIGHEST, number=number, highest=highest)
        case ForgetSession():
            return _forget(transaction, number)
    return None if changed.rowcount else LeaseLost()


def _forget(transaction: Transaction, number: int) -> LedgerError | None:
    row = transaction.rows(_SESSION, number=number)[0]
    if row["session_id"] is None:
        return LeaseLost()
    forgotten = [*json.loads(row["forgotten_session_ids"]), row["session_id"]]
    transaction.run(
        _FORGET_SESSION, number=number, session_id=row["session_id"], forgotten=json.dumps(forgotten)
    )
    return None
