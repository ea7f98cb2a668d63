"""Leases: taking turns, prolonging, giving back (PROTOCOL 3)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from worker.adapters.ledger.due import DueTurns
from worker.adapters.ledger.gate import HEALING, GateRow
from worker.adapters.ledger.rows import Dialect, as_rows, rows_from
from worker.adapters.ledger.tables import IS_OPEN
from worker.adapters.ledger.transaction import Transaction
from worker.core.errors import LeaseLost
from worker.core.model import Claim, Claims, Conversation, Intent, Lease, MessageOptions, Question

#: s. What is due later is not looked for: processes look by themselves more often, and later than that stand
#: all the leases that are held.
SOON_S = 10.0


@dataclass(frozen=True, slots=True)
class TakeTurns:
    """Claim up to ``limit`` conversations."""

    limit: int


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
        # A statement of its own, after the locks: one for all would read rows as they were before them.
        # In flight first, then the lowest arrival number: "posting" comes before "waiting".
        self.next_questions = sa.text(
            "select * from questions where number in (select (select q.number from questions q"
            f" where q.conversation = r.number and q.{IS_OPEN} order by q.state, q.number limit 1)"
            f" from {numbers})"
        )
        self.lease = sa.text(
            "update conversations set lease_token = lease_token + 1, owner = :owner,"
            " lease_until = :until, due_at = :until, quiet_since = null"
            f" where number in (select r.number from {numbers}) returning *"
        )
        self.clear_due = sa.text(
            "update conversations set due_at = null, lease_until = 0, owner = null"
            f" where number in (select r.number from {numbers})"
        )
        self.count_expired = sa.text(
            "update questions set expired_leases = expired_leases + 1"
            f" where number in (select r.number from {numbers})"
        )
        # While the database was away nobody could renew: a lease that ended then says nothing of a crash.
        self.database_up_since = sa.text("select extract(epoch from pg_postmaster_start_time())")
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
        self.next_due = sa.text(
            "select min(due_at) from conversations where due_at > :now and due_at <= :soon"
            " and (owner is null or owner <> :owner)"
        )
        keys = rows_from(dialect, key="text").replace(":rows", ":keys")
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
    due: DueTurns

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

    def take_turns(self, transaction: Transaction, operations: Sequence[TakeTurns]) -> list[Claims]:
        """Claim for each operation in turn."""
        return [self._claim(transaction, operation.limit) for operation in operations]

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

    def _claim(self, transaction: Transaction, limit: int) -> Claims:
        now = transaction.now
        gate, admission = self.gate.turns(transaction, limit)
        if not admission.count:
            return _closed((), admission.retry_in_s, admission.reason)
        chosen = self.due.choose(transaction, gate, admission)
        turns: tuple[Claim, ...] = ()
        if chosen.rows:
            turns = self._lease(transaction, chosen.rows, admission.probes, gate.is_altering)
        if chosen.retry_in_s is not None:
            return _closed(turns, chosen.retry_in_s, chosen.reason)
        if chosen.is_cut_off:
            return Claims(turns, None, has_more=True)
        next_due = transaction.scalar(self.statements.next_due, now=now, soon=now + SOON_S, owner=self.owner)
        return Claims(turns, None if next_due is None else next_due - now, has_more=False)

    def _lease(
        self,
        transaction: Transaction,
        due: Sequence[Mapping[str, Any]],
        probes: str | None,
        is_altering: bool,
    ) -> tuple[Claim, ...]:
        rows = as_rows([(row["number"],) for row in due])
        questions = {
            row["conversation"]: row for row in transaction.rows(self.statements.next_questions, rows=rows)
        }
        idle = [(row["number"],) for row in due if row["number"] not in questions]
        if idle:
            transaction.run(self.statements.clear_due, rows=as_rows(idle))
        expired = self._expired(transaction, due, questions)
        if expired:
            transaction.run(self.statements.count_expired, rows=as_rows(expired))
        leased = transaction.rows(
            self.statements.lease,
            rows=as_rows([(number,) for number in questions]),
            owner=self.owner,
            until=transaction.now + self.lease_s,
        )
        by_number = {row["number"]: row for row in leased}
        order = [row["number"] for row in due if row["number"] in by_number]
        if probes and order:
            self.gate.hold_probe(transaction, order[0])
        return tuple(
            Claim(
                Lease(number, by_number[number]["lease_token"]),
                conversation_of(by_number[number]),
                question_of(questions[number], is_expired=(questions[number]["number"],) in expired),
                transaction.now,
                probes,
                is_altering,
            )
            for number in order
        )

    def _expired(
        self,
        transaction: Transaction,
        due: Sequence[Mapping[str, Any]],
        questions: Mapping[int, Mapping[str, Any]],
    ) -> list[tuple[int]]:
        """Return the questions whose lease was not given back: one that was has no owner any more.

        A healer's lease says nothing of the question that happens to come next.
        """
        ended = [
            row
            for row in due
            if row["owner"] is not None and not row["owner"].endswith(HEALING) and row["number"] in questions
        ]
        if ended and transaction.dialect == "postgresql":
            since = float(transaction.scalar(self.statements.database_up_since))
            ended = [row for row in ended if row["lease_until"] > since + self.lease_s]
        return [(questions[row["number"]]["number"],) for row in ended]


def _closed(turns: tuple[Claim, ...], retry_in_s: float, reason: str | None) -> Claims:
    """Return claims that the gate cut off."""
    return Claims(turns, None if math.isinf(retry_in_s) else retry_in_s, has_more=False, closed=reason)


def _numbers(leases: set[Lease]) -> str:
    return as_rows([(number,) for number in sorted(lease.conversation for lease in leases)])


def conversation_of(row: Mapping[str, Any]) -> Conversation:
    """Read a row of conversations."""
    return Conversation(
        number=row["number"],
        route=row["route"],
        contact_id=row["contact_id"],
        thread_id=row["thread_id"],
        external_id=row["external_id"],
        project_id=row["project_id"],
        session_id=row["session_id"],
        conversation_id=row["conversation_id"],
        highest_message_id=row["highest_message_id"],
        create_intent_at=row["create_intent_at"],
        forgotten_session_ids=tuple(json.loads(row["forgotten_session_ids"])),
        epoch=row["epoch"],
    )


def question_of(row: Mapping[str, Any], *, is_expired: bool = False) -> Question:
    """Read a row of questions; ``is_expired`` adds the lease whose end was just counted."""
    content = json.loads(row["content"])
    intent = None
    if row["state"] == "posting":
        intent = Intent(
            at=row["intent_at"],
            session_id=row["intent_session_id"],
            baseline_message_id=row["baseline_message_id"],
            looks=row["looks"],
            has_ended=bool(row["has_ended"]),
            is_accepted=bool(row["is_accepted"]),
        )
    return Question(
        number=row["number"],
        source=row["source"],
        event_id=row["event_id"],
        reply_id=row["reply_id"],
        text=content["question"],
        lang=content["lang"],
        metadata=content["metadata"],
        asked_at=content["time"],
        received_at=row["received_at"],
        expires_at=row["expires_at"],
        traceparent=content["traceparent"],
        tracestate=content["tracestate"],
        attempts=row["attempts"],
        posts=row["posts"],
        is_redelivered=bool(row["is_redelivered"]),
        is_over_limit=bool(row["is_over_limit"]),
        intent=intent,
        is_repost=row["outcome"] is not None,
        expired_leases=row["expired_leases"] + int(is_expired),
        options=MessageOptions(**content.get("options", {})),
        api=content.get("api"),
    )
