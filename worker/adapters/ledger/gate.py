"""The gate's row: loaded, locked and kept here, judged in core/gate.py (PROTOCOL 7)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import sqlalchemy as sa

from worker.adapters.ledger.rows import Dialect
from worker.adapters.ledger.tables import IS_LEASED
from worker.adapters.ledger.transaction import Transaction
from worker.core.errors import GateClosed
from worker.core.gate import (
    NEW_CONTACT_REQUESTS,
    WAITING_S,
    Admission,
    Gate,
    Share,
    UnderWay,
    admit_amply,
    admit_healer,
    admit_request,
    admit_together,
    admit_turns,
    begin_probe,
    end_healer,
    end_probe,
    hear,
    is_idle,
    note_claim,
    refreshed,
)
from worker.core.model import GateNews
from worker.core.pace import Pace, Spent

#: s. Answers take 2 to 20 s: so long a request that nobody waits for any more counts as being at work, even
#: where it was read back and had left no trace yet.
ANSWERS_WITHIN_S = 30.0

#: Marks the owner of a lease that is held for healing.
HEALING = " (healing)"

_COLUMNS = (
    "reason",
    "closed_until",
    "failures",
    "probe",
    "buckets",
    "even_at",
    "is_altering",
    "posts_since_read",
    "posts_wait_until",
    "reads_wait_until",
    "healer",
    "healer_until",
    "fresh_until",
)


@dataclass(frozen=True, slots=True)
class GateChange:
    """The gate opened (reason None) or closed."""

    reason: str | None
    was: str | None
    for_s: float


@dataclass(frozen=True, slots=True)
class Request:
    """A request that wants to begin: whose turn's it is, and of which share."""

    conversation: int | None
    share: Share
    #: It is made by this worker's healing, beside the turns.
    is_healing: bool = False


class GateRow:
    """One API key's gate, read and written inside the ledger's transactions.

    The row is the last thing that a transaction locks, but for conversations that nobody holds: whoever has
    it waits for nobody.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        key: str,
        worker: str,
        pace: Pace,
        lease_s: float,
        request_timeout_s: float,
        on_change: Callable[[GateChange], None],
    ) -> None:
        """``on_change`` is called in the ledger thread, after the commit."""
        self.pace = pace
        self._key = key
        self._worker = worker
        self._lease_s = lease_s
        self._request_timeout_s = request_timeout_s
        self._on_change = on_change
        for_update = " for update" if dialect == "postgresql" else ""
        # Without a pace the row changes only on news: readers share it, so that no intent commits past it.
        for_reading = for_update if pace.is_limited else (" for share" if dialect == "postgresql" else "")
        columns = f"select {', '.join(_COLUMNS)} from gates where key = :key"
        self._load = sa.text(columns + for_reading)
        self._load_to_change = sa.text(columns + for_update)
        self._peek = sa.text(columns)
        self._add = sa.text("insert into gates (key) values (:key) on conflict (key) do nothing")
        self._alter = sa.text("update gates set is_altering = true where key = :key")
        changing = [column for column in _COLUMNS if column != "is_altering"]
        self._store = sa.text(
            f"update gates set {', '.join(f'{column} = :{column}' for column in changing)} where key = :key"
        )
        # Turns under way with the requests they have yet to make: list, create and post, as far as the tables
        # tell. And requests of turns that crashed: the API may still be at work on those.
        self._count_under_way = sa.text(
            "select count(*) as turns, coalesce(sum(case"
            " when exists (select 1 from questions q where q.conversation = c.number and q.state = 'posting')"
            " then 0 when session_id is not null then 1 when create_intent_at is not null then 1 else 2 end),"
            " 0) as owed,"
            " (select count(*) from questions q join conversations c on c.number = q.conversation"
            " where q.state = 'posting'"
            " and q.intent_at > :since and not q.has_ended and (q.looks = 0 or q.intent_at > :answering)"
            " and c.lease_until <= :now)"
            " as abandoned"
            f" from conversations c where {IS_LEASED} and lease_until > :now and owner not like :healers"
        )
        # At most so many are under way: counted in two indexes, however many there are.
        self._count_at_most = sa.text(
            f"select (select count(*) from conversations where {IS_LEASED} and lease_until > :now) as turns,"
            " (select count(*) from questions where state = 'posting' and intent_at > 0) as posting"
        )
        self._is_any_due = sa.text(
            "select 1 from conversations where due_at <= :now and lease_until <= :now and not is_blocked"
            " limit 1"
        )

    def turns(self, transaction: Transaction, wanted: int) -> tuple[Gate, Admission]:
        """Say how many turns may start, and what the gate knows."""
        gate = self._read_for_claim(transaction)
        under_way = UnderWay()
        if self.pace.is_limited:
            at_most = self._at_most_under_way(transaction)
            ample = admit_amply(gate, transaction.now, self.pace, wanted=wanted, at_most_under_way=at_most)
            if ample is not None:
                return gate, ample
            under_way = self._under_way(transaction)
        admission = admit_turns(gate, transaction.now, self.pace, wanted=wanted, under_way=under_way)
        lapses_at = transaction.now + WAITING_S / 2
        if admission.reason == "pace" and not admission.count and gate.posts_wait_until <= lapses_at:
            is_waiting = transaction.scalar(self._is_any_due, now=transaction.now) is not None
            self.note_claim(transaction, gate, is_waiting=is_waiting)
        return gate, admission

    def note_claim(
        self, transaction: Transaction, gate: Gate, *, is_waiting: bool, is_any_fresh: bool = False
    ) -> None:
        """Remember what a claim found; ``gate`` is what this transaction read."""
        if self.pace.requests_per_minute:
            noted = note_claim(gate, transaction.now, is_waiting=is_waiting, is_any_fresh=is_any_fresh)
            self._write(transaction, gate, noted)

    def hold_probe(self, transaction: Transaction, conversation: int) -> None:
        """Make this conversation's turn the probe."""
        stored = self._stored(transaction, self._load_to_change)
        gate = refreshed(stored, transaction.now)
        self._write(
            transaction,
            stored,
            begin_probe(gate, transaction.now, conversation=conversation, within_s=self._request_timeout_s),
        )

    def requests(self, transaction: Transaction, asked: Sequence[Request]) -> list[GateClosed | None]:
        """Count each request; GateClosed stands where one may not begin."""
        if not asked:
            return []
        stored = self._stored(transaction, self._load)
        gate = refreshed(stored, transaction.now)
        results: list[GateClosed | None] = [None for _ in asked]
        together = self._admit_together(gate, transaction.now, asked)
        if together is not None:
            gate = together
        else:
            for place, request in enumerate(asked):
                gate, admission = self._admit(transaction, gate, request)
                if not admission.count:
                    results[place] = GateClosed(admission.reason or "pace", retry_in_s=admission.retry_in_s)
        if gate != refreshed(stored, transaction.now):
            self._write(transaction, stored, gate)
        return results

    def end_healing(self, transaction: Transaction) -> None:
        """Give the place back that this worker's healing had."""
        if self._read(transaction, self._peek).healer == self._worker:
            stored = self._stored(transaction, self._load_to_change)
            self._write(transaction, stored, end_healer(stored, worker=self._worker))

    def hear(self, transaction: Transaction, news: GateNews, conversation: int | None) -> None:
        """Apply what a call told."""
        if news.kind in {"ok", "answered"} and is_idle(self._read(transaction, self._peek)):
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

    def _admit_together(self, gate: Gate, now: float, asked: Sequence[Request]) -> Gate | None:
        share = asked[0].share
        if any(request.share != share or request.is_healing for request in asked):
            return None
        return admit_together(gate, now, self.pace, share=share, count=len(asked))

    def _admit(self, transaction: Transaction, gate: Gate, request: Request) -> tuple[Gate, Admission]:
        now = transaction.now
        if request.is_healing and self.pace.requests_at_once:
            under_way = UnderWay() if gate.healer == self._worker else self._under_way(transaction)
            turns = under_way.turns + under_way.abandoned
            gate, admission = admit_healer(
                gate, now, self.pace, worker=self._worker, turns=turns, within_s=self._lease_s
            )
            if not admission.count:
                return gate, admission
        return admit_request(gate, now, self.pace, conversation=request.conversation, share=request.share)

    def _at_most_under_way(self, transaction: Transaction) -> UnderWay:
        (row,) = transaction.rows(self._count_at_most, now=transaction.now)
        turns, posting = int(row["turns"]), int(row["posting"])
        return UnderWay(turns, abandoned=posting, owed=NEW_CONTACT_REQUESTS * turns)

    def _under_way(self, transaction: Transaction) -> UnderWay:
        (row,) = transaction.rows(
            self._count_under_way,
            now=transaction.now,
            since=transaction.now - self._request_timeout_s,
            answering=transaction.now - ANSWERS_WITHIN_S,
            healers=f"%{HEALING}",
        )
        return UnderWay(int(row["turns"]), int(row["abandoned"]), int(row["owed"]))

    def _read_for_claim(self, transaction: Transaction) -> Gate:
        """Read the gate; the end of a throttle, which no call brings about, is written down and told."""
        if not self.pace.is_limited and self._stored(transaction, self._peek).reason is None:
            return self._read(transaction, self._load)
        # With a pace there is one lock for all. Without one this claim may change a closed gate: workers that
        # took the readers' lock first, to probe or to open the gate, would wait for each other.
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
        return Gate(
            reason=row["reason"],
            closed_until=row["closed_until"],
            failures=row["failures"],
            probe=row["probe"],
            spent=Spent(_buckets_of(row["buckets"]), row["even_at"]),
            is_altering=bool(row["is_altering"]),
            posts_since_read=row["posts_since_read"],
            posts_wait_until=row["posts_wait_until"],
            reads_wait_until=row["reads_wait_until"],
            healer=row["healer"],
            healer_until=row["healer_until"],
            fresh_until=row["fresh_until"],
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
            buckets=json.dumps(after.spent.buckets, separators=(",", ":")),
            even_at=after.spent.even_at,
            posts_since_read=after.posts_since_read,
            posts_wait_until=after.posts_wait_until,
            reads_wait_until=after.reads_wait_until,
            healer=after.healer,
            healer_until=after.healer_until,
            fresh_until=after.fresh_until,
        )
        if before.reason != after.reason:
            for_s = max(after.closed_until - transaction.now, 0.0)
            change = GateChange(after.reason, before.reason, for_s)
            transaction.after_commit.append(lambda: self._on_change(change))


@lru_cache(maxsize=8)
def _buckets_of(text: str) -> dict[int, int]:
    """Read the buckets; a transaction reads the same ones several times. Nobody changes what is returned."""
    return {int(bucket): count for bucket, count in json.loads(text).items()}
