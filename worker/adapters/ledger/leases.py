"""Leases: locking, prolonging, giving back, and those of healing (PROTOCOL 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from worker.adapters.ledger.gate import HEALING, GateRow
from worker.adapters.ledger.reading import conversation_of
from worker.adapters.ledger.rows import Dialect, as_rows, rows_from
from worker.adapters.ledger.tables import IS_OPEN
from worker.adapters.ledger.transaction import Transaction
from worker.core.errors import LeaseLost
from worker.core.model import Conversation, Lease

#: s. What is due later is not looked for: processes look by themselves more often, and later than that stand
#: all the leases that are held.
SOON_S = 10.0


@dataclass(frozen=True, slots=True)
class Renew:
    """Prolong leases."""

    leases: Sequence[Lease]


@dataclass(frozen=True, slots=True)
class Release:
    """Give leases back with their intents."""

    leases: Sequence[Lease]


@dataclass(frozen=True, slots=True)
class TakeHealing:
    """Lease one conversation to look for extras."""


@dataclass(frozen=True, slots=True)
class FinishHealing:
    """Give it back."""

    lease: Lease
    again_in_s: float | None


@dataclass(frozen=True, slots=True)
class EndHealing:
    """End this worker's piece of healing at the gate."""


class LeaseStatements:
    """The statements, once per dialect."""

    def __init__(self, dialect: Dialect) -> None:
        leases = rows_from(dialect, number="int", token="int")  # noqa: S106 - a fencing token
        numbers = rows_from(dialect, number="int")
        skip_locked = " for update skip locked" if dialect == "postgresql" else ""
        for_update = " for update of c" if dialect == "postgresql" else ""
        self.heal_due = sa.text(
            "select number from conversations where heal_at <= :now and lease_until <= :now"
            f" order by heal_at limit 1{skip_locked}"
        )
        # Beside the question that may be due: what it waits for is not touched.
        self.lease_healing = sa.text(
            "update conversations set lease_token = lease_token + 1, owner = :owner, lease_until = :until"
            " where number = :number returning *"
        )
        self.healed = sa.text(
            "update conversations set lease_until = 0, owner = null,"
            " heal_looks = heal_looks"
            " + case when cast(:again_at as double precision) is null then 1 else 0 end,"
            " heal_at = coalesce(cast(:again_at as double precision), case heal_looks"
            " when 0 then :now + 4 * :heal_after_s when 1 then :now + 16 * :heal_after_s end)"
            " where number = :number"
        )
        self.release_questions = sa.text(
            f"update questions set expired_leases = 0 where {IS_OPEN}"
            f" and expired_leases > 0 and conversation in (select r.number from {numbers})"
        )
        keys = rows_from(dialect, key="hash").replace(":rows", ":keys")
        self.lock_first = sa.text(
            f"select number from conversations where number in (select r.number from {numbers}"
            f" union all select c.number from {keys} join conversations c on c.key = r.key)"
            " order by number" + (" for update" if dialect == "postgresql" else "")
        )
        self.lock_leases = sa.text(
            f"select c.number, c.lease_token from {leases} join conversations c on c.number = r.number"
            f" and c.lease_token = r.token and c.owner in (:owner, :healer) order by c.number{for_update}"
        )
        self.renew = sa.text(
            "update conversations set lease_until = :until,"
            " due_at = case when owner = :owner then :until else due_at end"
            f" where number in (select r.number from {numbers})"
        )
        self.release = sa.text(
            "update conversations set lease_until = 0, owner = null, due_at = :now"
            f" where number in (select r.number from {numbers})"
        )


@dataclass(frozen=True, slots=True)
class Leases:
    """Who this process is to the ledger, and for how long it holds what it claims."""

    statements: LeaseStatements
    owner: str
    lease_s: float
    #: s. A conversation that was created is listed by then, however late its request left.
    heal_after_s: float
    gate: GateRow

    @property
    def healer(self) -> str:
        """Who this process is while it heals."""
        return self.owner + HEALING

    def lock(self, transaction: Transaction, leases: Sequence[Lease]) -> set[Lease]:
        """Lock the conversations of those leases that still hold, and return these leases.

        Leases and not conversations: after an expiry this process may have claimed the same one again, and
        the old turn's write may stand beside the new one's in this very transaction.
        """
        rows = as_rows([(lease.conversation, lease.token) for lease in leases])
        found = transaction.rows(self.statements.lock_leases, rows=rows, owner=self.owner, healer=self.healer)
        return {Lease(row["number"], row["lease_token"]) for row in found}

    def lock_first(self, transaction: Transaction, operations: Sequence[Any]) -> list[None]:
        """Lock all conversations of a transaction in one order, before anything else.

        Operations of several kinds would lock them one kind after the other, some behind the gate's row:
        two processes did wait for each other that way.
        """
        leases, keys = set[int](), set[str]()
        kinds = set[type]()
        for operation in operations:
            if (accepted := getattr(operation, "questions", None)) is not None:
                keys.update(question.conversation_key for question in accepted)
            elif (several := getattr(operation, "leases", None)) is not None:
                leases.update(lease.conversation for lease in several)
            elif (lease := getattr(operation, "lease", None)) is not None:
                leases.add(lease.conversation)
            else:
                continue
            kinds.add(type(operation))
        if len(kinds) > 1 and transaction.dialect == "postgresql":
            transaction.run(
                self.statements.lock_first,
                rows=as_rows([(number,) for number in leases]),
                keys=as_rows([(key,) for key in keys]),
            )
        return []

    def renew(self, transaction: Transaction, operations: Sequence[Renew]) -> list[set[Lease]]:
        """Prolong; a lease that expired but that nobody took is still ours."""
        leases = [lease for operation in operations for lease in operation.leases]
        held = self.lock(transaction, leases)
        transaction.run(
            self.statements.renew,
            rows=_numbers(held),
            owner=self.owner,
            until=transaction.now + self.lease_s,
        )
        return [set(operation.leases) - held for operation in operations]

    def release(self, transaction: Transaction, operations: Sequence[Release]) -> list[None]:
        """Give back what is still ours, due at once."""
        leases = [lease for operation in operations for lease in operation.leases]
        held = self.lock(transaction, leases)
        transaction.run(self.statements.release, rows=_numbers(held), now=transaction.now)
        # Given back in order: what came before was no crash of this question's.
        transaction.run(self.statements.release_questions, rows=_numbers(held))
        return [None for _ in operations]

    def take_healing(
        self, transaction: Transaction, operations: Sequence[TakeHealing]
    ) -> list[tuple[Lease, Conversation] | None]:
        """Lease one conversation whose extras are to be looked for."""
        return [self._heal(transaction) for _ in operations]

    def finish_healing(
        self, transaction: Transaction, operations: Sequence[FinishHealing]
    ) -> list[LeaseLost | None]:
        """Give the lease back and say when to look again, if at all."""
        held = self.lock(transaction, [operation.lease for operation in operations])
        for operation in operations:
            if operation.lease in held:
                again_in_s = operation.again_in_s
                transaction.run(
                    self.statements.healed,
                    number=operation.lease.conversation,
                    now=transaction.now,
                    heal_after_s=self.heal_after_s,
                    again_at=None if again_in_s is None else transaction.now + again_in_s,
                )
        return [None if operation.lease in held else LeaseLost() for operation in operations]

    def _heal(self, transaction: Transaction) -> tuple[Lease, Conversation] | None:
        due = transaction.rows(self.statements.heal_due, now=transaction.now)
        if not due:
            return None
        (leased,) = transaction.rows(
            self.statements.lease_healing,
            number=due[0]["number"],
            owner=self.healer,
            until=transaction.now + self.lease_s,
        )
        return Lease(leased["number"], leased["lease_token"]), conversation_of(leased)

    def end_healing(self, transaction: Transaction, operations: Sequence[EndHealing]) -> list[None]:
        """Give the place at the gate back."""
        self.gate.end_healing(transaction)
        return [None for _ in operations]


def _numbers(leases: set[Lease]) -> str:
    return as_rows([(number,) for number in sorted(lease.conversation for lease in leases)])
