"""Claims: leases on what is due, and the intents to post that can be recorded with them (PROTOCOL 3, 5)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from worker.adapters.ledger.due import DueTurns
from worker.adapters.ledger.gate import HEALING
from worker.adapters.ledger.leases import SOON_S, Leases
from worker.adapters.ledger.reading import conversation_of, question_of
from worker.adapters.ledger.rows import Dialect, as_rows, rows_from
from worker.adapters.ledger.tables import IS_OPEN
from worker.adapters.ledger.transaction import Transaction
from worker.adapters.ledger.turns import BeginPost, Turns
from worker.core.model import Claim, Claims, Intent, Lease


@dataclass(frozen=True, slots=True)
class TakeTurns:
    """Claim up to ``limit`` conversations."""

    limit: int
    #: Record the intent to post along with it, where that is all there is to do before the post.
    begins_posts: bool = False


class ClaimStatements:
    """The statements, once per dialect."""

    def __init__(self, dialect: Dialect) -> None:
        numbers = rows_from(dialect, number="int")
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
        self.next_due = sa.text(
            "select min(due_at) from conversations where due_at > :now and due_at <= :soon"
            " and (owner is null or owner <> :owner)"
        )


@dataclass(frozen=True, slots=True)
class TurnClaims:
    """Takes turns for this process."""

    statements: ClaimStatements
    leases: Leases
    due: DueTurns
    turns: Turns

    def take_turns(self, transaction: Transaction, operations: Sequence[TakeTurns]) -> list[Claims]:
        """Claim for each operation in turn."""
        results = []
        for operation in operations:
            claims = self._claim(transaction, operation.limit)
            if operation.begins_posts:
                claims = replace(claims, turns=self._begin_posts(transaction, claims.turns))
            results.append(claims)
        return results

    def _begin_posts(self, transaction: Transaction, claims: Sequence[Claim]) -> tuple[Claim, ...]:
        """Record intents to post where nothing comes before the post, and the gate has nothing against it."""
        begins = [
            BeginPost(claim.lease, claim.question.number, claim.conversation.session_id)
            for claim in claims
            if claim.conversation.session_id is not None and _is_to_be_posted(claim)
        ]
        begun = {
            operation.lease: intent
            for operation, intent in zip(begins, self.turns.begin(transaction, begins), strict=True)
            if isinstance(intent, Intent)
        }
        return tuple(replace(claim, begun=begun.get(claim.lease)) for claim in claims)

    def _claim(self, transaction: Transaction, limit: int) -> Claims:
        now = transaction.now
        gate, admission = self.leases.gate.turns(transaction, limit)
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
        next_due = transaction.scalar(
            self.statements.next_due, now=now, soon=now + SOON_S, owner=self.leases.owner
        )
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
            owner=self.leases.owner,
            until=transaction.now + self.leases.lease_s,
        )
        by_number = {row["number"]: row for row in leased}
        order = [row["number"] for row in due if row["number"] in by_number]
        if probes and order:
            self.leases.gate.hold_probe(transaction, order[0])
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
            ended = [row for row in ended if row["lease_until"] > since + self.leases.lease_s]
        return [(questions[row["number"]]["number"],) for row in ended]


def _is_to_be_posted(claim: Claim) -> bool:
    """Tell whether the turn's first request is the post, so far as the tables know.

    A question that workers fell silent on may have to wait until it is alone, and a probe asks something else
    first.
    """
    question = claim.question
    return (
        question.intent is None
        and claim.probes is None
        and question.api in {None, "conversations"}
        and not question.expired_leases
        and not question.is_over_limit
        and (question.expires_at is None or question.expires_at > claim.claimed_at)
    )


def _closed(turns: tuple[Claim, ...], retry_in_s: float, reason: str | None) -> Claims:
    """Return claims that the gate cut off."""
    return Claims(turns, None if math.isinf(retry_in_s) else retry_in_s, has_more=False, closed=reason)
