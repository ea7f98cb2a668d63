"""The gate's row: loaded, locked and kept here, judged in core/gate.py (PROTOCOL 7)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from worker.adapters.ledger.database import Transaction
from worker.adapters.ledger.rows import Dialect
from worker.adapters.ledger.tables import IS_LEASED
from worker.core.errors import GateClosed
from worker.core.gate import (
    Admission,
    Gate,
    Pace,
    admit_request,
    admit_turns,
    begin_probe,
    end_probe,
    hear,
    is_idle,
    refreshed,
)
from worker.core.model import GateNews


@dataclass(frozen=True, slots=True)
class GateChange:
    """The gate opened (reason None) or closed."""

    reason: str | None
    was: str | None
    for_s: float


class GateRow:
    """One API key's gate, read and written inside the ledger's transactions."""

    def __init__(
        self,
        dialect: Dialect,
        *,
        key: str,
        pace: Pace,
        request_timeout_s: float,
        on_change: Callable[[GateChange], None],
    ) -> None:
        """``on_change`` is called in the ledger thread, before the commit."""
        self._key = key
        self._pace = pace
        self._request_timeout_s = request_timeout_s
        self._on_change = on_change
        is_paced = bool(pace.requests_per_minute or pace.requests_at_once)
        for_update = " for update" if dialect == "postgresql" else ""
        # Without a pace the row changes only on news: readers share it, so that no intent commits past it.
        for_reading = for_update if is_paced else (" for share" if dialect == "postgresql" else "")
        columns = (
            "select reason, closed_until, failures, probe, buckets, is_altering from gates where key = :key"
        )
        self._load = sa.text(columns + for_reading)
        self._load_to_change = sa.text(columns + for_update)
        self._peek = sa.text(columns)
        self._add = sa.text("insert into gates (key) values (:key) on conflict (key) do nothing")
        self._alter = sa.text("update gates set is_altering = true where key = :key")
        self._store = sa.text(
            "update gates set reason = :reason, closed_until = :closed_until, failures = :failures,"
            " probe = :probe, buckets = :buckets where key = :key"
        )
        # Turns under way, and requests of turns that crashed: the API may still be at work on those.
        self._count_running = sa.text(
            f"select (select count(*) from conversations where {IS_LEASED} and lease_until > :now)"
            " + (select count(*) from questions q join conversations c on c.number = q.conversation"
            " where q.state = 'posting'"
            " and q.intent_at > :since and not q.has_ended and q.looks = 0 and c.lease_until <= :now)"
        )

    def turns(self, transaction: Transaction, wanted: int) -> tuple[Gate, Admission]:
        """Say how many turns may start, and what the gate knows."""
        gate = self._read_for_claim(transaction)
        running = 0
        if self._pace.requests_at_once:
            running = int(
                transaction.run(
                    self._count_running,
                    now=transaction.now,
                    since=transaction.now - self._request_timeout_s,
                ).scalar_one()
            )
        return gate, admit_turns(gate, transaction.now, self._pace, wanted=wanted, running=running)

    def hold_probe(self, transaction: Transaction, conversation: int) -> None:
        """Make this conversation's turn the probe."""
        stored = self._stored(transaction, self._load_to_change)
        gate = refreshed(stored, transaction.now)
        self._write(
            transaction,
            stored,
            begin_probe(gate, transaction.now, conversation=conversation, within_s=self._request_timeout_s),
        )

    def requests(
        self, transaction: Transaction, conversations: Sequence[int | None]
    ) -> list[GateClosed | None]:
        """Count one request for each conversation; GateClosed stands where one may not begin."""
        stored = self._stored(transaction, self._load)
        gate = before = refreshed(stored, transaction.now)
        results: list[GateClosed | None] = []
        for conversation in conversations:
            gate, admission = admit_request(gate, transaction.now, self._pace, conversation=conversation)
            closed = GateClosed(admission.reason or "pace", retry_in_s=admission.retry_in_s)
            results.append(None if admission.count else closed)
        if gate != before:
            self._write(transaction, stored, gate)
        return results

    def hear(self, transaction: Transaction, news: GateNews, conversation: int | None) -> None:
        """Apply what a call told."""
        if news.kind == "ok" and is_idle(self._read(transaction, self._peek)):
            return
        stored = self._stored(transaction, self._load_to_change)
        gate = refreshed(stored, transaction.now)
        self._write(transaction, stored, hear(gate, transaction.now, news, conversation=conversation))

    def note_altering(self, transaction: Transaction) -> None:
        """Remember that the API changes what it is sent."""
        if self._read(transaction, self._peek).is_altering:
            return
        transaction.run(self._alter, key=self._key)

    def end_probe(self, transaction: Transaction, conversation: int) -> None:
        """Give the probe back when its turn ended without news."""
        if self._read(transaction, self._peek).probe != conversation:
            return
        stored = self._stored(transaction, self._load_to_change)
        gate = refreshed(stored, transaction.now)
        self._write(transaction, stored, end_probe(gate, transaction.now, conversation=conversation))

    def _read_for_claim(self, transaction: Transaction) -> Gate:
        """Read the gate; the end of a throttle, which no call brings about, is written down and told."""
        if self._stored(transaction, self._peek).reason is None:
            return self._read(transaction, self._load)
        # This claim may change a closed gate: workers that took the readers' lock first, to probe or to open
        # the gate, would wait for each other.
        stored = self._stored(transaction, self._load_to_change)
        gate = refreshed(stored, transaction.now)
        self._write(transaction, stored, gate)
        return gate

    def _read(self, transaction: Transaction, statement: sa.TextClause) -> Gate:
        return refreshed(self._stored(transaction, statement), transaction.now)

    def _stored(self, transaction: Transaction, statement: sa.TextClause) -> Gate:
        rows = transaction.rows(statement, key=self._key)
        if not rows:
            transaction.run(self._add, key=self._key)
            rows = transaction.rows(statement, key=self._key)
        row = rows[0]
        buckets = {int(bucket): count for bucket, count in json.loads(row["buckets"]).items()}
        return Gate(
            row["reason"],
            row["closed_until"],
            row["failures"],
            row["probe"],
            buckets,
            bool(row["is_altering"]),
        )

    def _write(self, transaction: Transaction, before: Gate, after: Gate) -> None:
        if before == after:
            return
        transaction.run(
            self._store,
            key=self._key,
            reason=after.reason,
            closed_until=after.closed_until,
            failures=after.failures,
            probe=after.probe,
            buckets=json.dumps(after.buckets, separators=(",", ":")),
        )
        if before.reason != after.reason:
            for_s = max(after.closed_until - transaction.now, 0.0)
            self._on_change(GateChange(after.reason, before.reason, for_s))
