"""Which of the conversations that are due get a turn: the pace, the shares, and who floods (PROTOCOL 3.5, 7).

Questions go in the order in which they became ready. Two kinds are looked for beyond that order: what is to
be read back, which has its share although questions wait in front of it, and, while a contact with many
questions would use up the pace, contacts that do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from worker.adapters.ledger.gate import GateRow
from worker.adapters.ledger.rows import Dialect
from worker.adapters.ledger.tables import IS_OPEN
from worker.adapters.ledger.transaction import Row, Transaction
from worker.core.gate import Admission, Candidate, Gate, chosen, cost_of, retry_of

#: Conversations looked at beyond those that follow themselves, to find one that does not.
LOOK_AHEAD = 50
#: s. When to look again after the one free place was left to a read of somebody else's.
LEFT_TO_READS_S = 1.0


class DueStatements:
    """The statements, once per dialect."""

    def __init__(self, dialect: Dialect) -> None:
        columns = "number, owner, lease_until, session_id, null as ended_at, null as received_at"
        skip_locked = " for update skip locked" if dialect == "postgresql" else ""
        is_due = "due_at <= :now and lease_until <= :now and not is_blocked"
        self.lock_due = sa.text(
            f"select {columns} from conversations where {is_due}"
            f" order by due_at, number limit :limit{skip_locked}"
        )
        # Without what is to be read back, with the time since when its next question is there.
        question = f"from questions q where q.conversation = conversations.number and q.{IS_OPEN}"
        self.lock_due_posts = sa.text(
            "select number, owner, lease_until, session_id, ended_at, (select q.received_at"
            f" {question} order by q.state, q.number limit 1) as received_at from conversations"
            f" where {is_due} and not exists (select 1 {question} and q.state = 'posting')"
            f" order by due_at, number limit :limit{skip_locked}"
        )
        # What is to be read back, wherever it stands among those that wait.
        self.lock_due_reads = sa.text(
            "select c.number, c.owner, c.lease_until, c.session_id, null as ended_at, null as received_at"
            # As a join, SQLite reads all conversations to make a filter of them (seen, after an analyze).
            " from conversations c where c.number in"
            " (select q.conversation from questions q where q.state = 'posting')"
            # In words that match no index: PostgreSQL would look through all that is due instead (seen).
            " and coalesce(c.due_at, 1e300) <= :now and c.lease_until <= :now and not c.is_blocked"
            " order by c.due_at, c.number limit :limit"
            + (" for update of c skip locked" if dialect == "postgresql" else "")
        )


@dataclass(frozen=True, slots=True)
class Chosen:
    """Locked conversations that are to have a turn, and what stands in the way of more."""

    rows: Sequence[Row] = ()
    #: More are due than were taken.
    is_cut_off: bool = False
    #: What the gate has against more; None when it has nothing against others.
    reason: str | None = None
    #: When to ask again; None when more can be had at once.
    retry_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class DueTurns:
    """Chooses whose turn it is."""

    statements: DueStatements
    gate: GateRow

    def choose(self, transaction: Transaction, gate: Gate, admission: Admission) -> Chosen:
        """Lock and return whose turn it is; ``admission`` is what ``gate`` allows."""
        if admission.is_reads_only:
            found = self._reads(transaction, admission.count)
            return Chosen(found, is_cut_off=True, reason=admission.reason, retry_in_s=math.inf)
        rows = self._due(transaction, admission)
        is_cut_off = len(rows) >= admission.count and admission.probes is None
        rows = rows[: admission.count]
        places = self._places(rows, admission)
        if is_cut_off and len(places) < len(rows) and admission.kept:
            # Those in front follow themselves: whoever comes behind them and does not goes first.
            behind = self._due(transaction, admission, LOOK_AHEAD)
            seen = {row["number"] for row in rows}
            rows = [*rows, *(row for row in behind if row["number"] not in seen)]
            places = self._places(rows, admission)
        taken = [rows[place] for place in places]
        costs = [self._candidate(row).cost for row in taken]
        left = [row for place, row in enumerate(rows) if place not in places]
        has_found_all = len(taken) == admission.count
        is_pace = bool(left and not has_found_all) or (is_cut_off and admission.reason == "pace")
        is_any_fresh = any(not self._candidate(row).follows for row in taken)
        self.gate.note_claim(transaction, gate, is_waiting=is_pace, is_any_fresh=is_any_fresh)
        if is_pace:
            wanted = self._candidate(left[0]) if left else Candidate(1)
            retry_in_s = retry_of(
                gate, transaction.now, self.gate.pace, owed=admission.owed + sum(costs), wanted=wanted
            )
            # What is kept for others is there for them when they ring.
            is_kept = wanted.follows and admission.requests - sum(costs) >= 1
            reason = None if is_kept else "pace"
            return Chosen(taken, is_cut_off=True, reason=reason, retry_in_s=retry_in_s)
        if is_cut_off and admission.reason is not None:
            retry_in_s = math.inf if taken else LEFT_TO_READS_S
            return Chosen(taken, is_cut_off=True, reason=admission.reason, retry_in_s=retry_in_s)
        return Chosen(taken, is_cut_off=is_cut_off)

    def _due(self, transaction: Transaction, admission: Admission, ahead: int = 0) -> list[Row]:
        """Lock what is due, as many as may go and some ahead; what is to be read back first, in its share."""
        now, count = transaction.now, admission.count
        if not self.gate.pace.is_limited or admission.is_ample:
            due = transaction.rows(self.statements.lock_due, now=now, limit=count + ahead)
            if len(due) < count or not admission.reads:
                return due
            first = self._reads(transaction, admission.reads)
            numbers = {row["number"] for row in first}
            return [*first, *(row for row in due if row["number"] not in numbers)]
        posts = transaction.rows(self.statements.lock_due_posts, now=now, limit=count + ahead)
        reads = self._reads(transaction, count)
        # Each share has what the other leaves; some of the reads' is left for one who waits elsewhere.
        share = max(admission.reads, count - len(posts))
        left_free = max(admission.reads - len(reads), 0) if admission.reads_elsewhere else 0
        return [*reads[:share], *posts[: max(len(posts) - left_free, 0)]]

    def _reads(self, transaction: Transaction, limit: int) -> list[Row]:
        return transaction.rows(self.statements.lock_due_reads, now=transaction.now, limit=limit)

    def _places(self, rows: Sequence[Row], admission: Admission) -> list[int]:
        return chosen(admission, [self._candidate(row) for row in rows])

    def _candidate(self, row: Row) -> Candidate:
        # What was there before the last question ended waited for it.
        received_at, ended_at = row["received_at"], row["ended_at"]
        follows = received_at is not None and ended_at is not None and received_at < ended_at
        return Candidate(cost_of(self.gate.pace, is_new_contact=row["session_id"] is None), follows)
