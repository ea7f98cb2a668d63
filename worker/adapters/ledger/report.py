"""What the ledger tells people: what waits, what failed, who works, and the story of one question.

These statements only read. The hot tables may be large, so each of them goes by an index and looks at a
bounded number of rows; a count that came to its bound says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from worker.adapters.ledger.database import Database
from worker.adapters.ledger.transaction import Transaction
from worker.core.errors import LedgerUnavailable, OutcomeUnknown
from worker.core.gate import PROBED, Gate, refreshed
from worker.core.model import digest_of

#: Open questions, posts under way and unpublished replies that are counted, each. An index entry costs about
#: a microsecond, so this many take a tenth of a second.
OPEN_ROWS = 100_000
#: Finished questions whose reasons are counted, the latest ones. Each costs a look at its row.
FINISHED_ROWS = 20_000
#: s. A worker says that it lives about every 5 s (the sweeper's step); after this it is not shown any more.
LATELY_S = 60.0
#: Workers and gates that are shown: more fill no screen.
SHOWN_ROWS = 100


@dataclass(frozen=True, slots=True)
class GateReport:
    """The state of one API key's gate."""

    #: A fingerprint of API and key.
    key: str
    #: Why it is closed: a code of core/errors or ``breaker``; None while it is open.
    reason: str | None
    #: When it opens by itself, or when the next probe may begin.
    closed_until: float | None
    #: One turn is let through now, to find out whether the reason has gone.
    is_probing: bool
    #: Whether it takes a successful probe to open it.
    needs_probe: bool
    #: The API was seen to change texts or tags, so a post without a trace is held instead of posted again.
    is_altering: bool


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """One worker that was seen lately."""

    worker_id: str
    version: str
    started_at: float
    seen_at: float


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What the ledger knows at one moment. Times are epoch seconds of the ledger's clock."""

    now: float
    #: Accepted, and nothing of them was posted or is being posted.
    waiting: int
    #: When the oldest of those came; None when there is none.
    oldest_at: float | None
    #: Conversations that a worker holds now.
    in_flight: int
    #: Posts whose outcome has to be read back: looked for already, or nobody works on them now.
    unknown: int
    #: Failed because nobody can tell whether they were posted (ASKRELAY_ON_UNKNOWN=hold).
    held: int
    #: Failed, by error code, the held ones left out; most frequent first.
    failed: dict[str, int]
    #: Questions that the last two look at, and when the first of these finished.
    finished: int
    finished_since: float | None
    #: Questions that were found to be posted twice, as far as their content is kept.
    duplicate_posts: int
    #: Posts whose bytes left later than the grace allows (PROTOCOL A2): these may be double.
    late_posts: int
    #: Replies that were not published yet, without those below.
    outbox_waiting: int
    #: Replies that no queue took.
    outbox_unroutable: int
    outbox_oldest_at: float | None
    #: Answered conversations that are to be mirrored, and those that the mirror refused.
    mirror_waiting: int
    mirror_refused: int
    #: Why the last tries failed: how many conversations, by error code.
    mirror_trouble: dict[str, int]
    #: Ratings of answers that the API does not have yet, and why the last tries failed.
    ratings_waiting: int
    ratings_trouble: dict[str, int]
    gates: tuple[GateReport, ...]
    workers: tuple[WorkerReport, ...]
    #: Fields that are at least what they say, because counting stopped at its bound.
    at_least: frozenset[str]


@dataclass(frozen=True, slots=True)
class ReplyReport:
    """What became of one reply."""

    event_id: str
    kind: str
    state: str
    tries: int
    code: str | None
    recorded_at: float
    due_at: float | None
    published_at: float | None
    body: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class QuestionReport:
    """All that the tables keep of one question. Times are epoch seconds of the ledger's clock."""

    now: float
    #: The row of the question, without its content.
    question: Mapping[str, Any]
    conversation: Mapping[str, Any]
    #: Open questions of its conversation that come before it.
    ahead: int
    replies: tuple[ReplyReport, ...]
    contact_id: str = field(repr=False)
    #: question, lang, metadata, time, traceparent, tracestate.
    content: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ErasedReport:
    """A question that is known by its hash only."""

    finished_at: float


# The conditions repeat those of the partial indexes word for word: SQLite uses such an index only then.
_OPEN = sa.text(
    "select count(*) as counted, sum(case when state = 'waiting' then 1 else 0 end) as waiting,"
    " min(case when state = 'waiting' then number end) as oldest from (select state, number from questions"
    " where state in ('waiting', 'posting') limit :limit) as counted_rows"
)
_RECEIVED = sa.text("select received_at from questions where number = :number")
_IN_FLIGHT = sa.text(
    "select count(*) from (select 1 from conversations where lease_until > 0 and lease_until > :now"
    " limit :limit) as counted_rows"
)
_UNKNOWN = sa.text(
    "select count(*) from (select 1 from questions q join conversations c on c.number = q.conversation"
    " where q.state = 'posting' and (q.looks > 0 or c.lease_until <= :now) limit :limit) as counted_rows"
)
_FINISHED = sa.text(
    "select state, code, count(*) as counted, min(finished_at) as since from (select state, code, finished_at"
    " from questions where finished_at is not null order by finished_at desc limit :limit) as latest"
    " group by state, code order by counted desc, code"
)
# There are next to none: each is a broken assumption of PROTOCOL 1.
_SUSPECT = sa.text(
    "select count(duplicate_message_id) as duplicates, count(late_post_at) as late from"
    " (select duplicate_message_id, late_post_at from questions"
    " where duplicate_message_id is not null or late_post_at is not null limit :limit) as counted_rows"
)
_OUTBOX = sa.text(
    "select state, count(*) as counted, min(recorded_at) as oldest_at from (select state, recorded_at"
    " from replies where state <> 'published' limit :limit) as counted_rows group by state"
)
_GATES = sa.text(
    "select key, reason, closed_until, failures, probe, is_altering from gates order by key limit :limit"
)
# The sweeper forgets workers after a day, so the table holds a few rows.
_WORKERS = sa.text(
    "select worker_id, version, started_at, seen_at from workers where seen_at > :since"
    " order by started_at limit :limit"
)
_TO_MIRROR = sa.text(
    "select count(*) from (select 1 from mirrors where due_at is not null limit :limit) as counted_rows"
)
_NOT_MIRRORED = sa.text(
    "select code, count(*) as counted, sum(case when due_at is null then 1 else 0 end) as refused from"
    " (select code, due_at from mirrors where code is not null limit :limit) as counted_rows"
    " group by code order by counted desc, code"
)
_TO_RATE = sa.text(
    "select code, count(*) as counted from (select code from ratings where due_at is not null limit :limit)"
    " as counted_rows group by code order by counted desc, code"
)
_QUESTION = sa.text("select * from questions where event_hash = :event_hash")
_CONVERSATION = sa.text("select * from conversations where number = :number")
_AHEAD = sa.text(
    "select count(*) from (select 1 from questions where conversation = :conversation"
    " and state in ('waiting', 'posting') and number < :number limit :limit) as counted_rows"
)
_REPLIES = sa.text("select * from replies where question = :question order by number limit :limit")
_ERASED = sa.text("select finished_at from erased where event_hash = :event_hash")


class Reports:
    """Reads a ledger for people; also a context manager.

    Every method raises LedgerUnavailable when the ledger cannot be reached. A SQLite ledger that is not there
    is not made.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def ledger(self) -> LedgerReport:
        """Return what the ledger knows now."""
        self._check_file()
        with self._database.transaction() as transaction:
            return _ledger_report(transaction)

    def question(self, source: str, event_id: str) -> QuestionReport | ErasedReport | None:
        """Return the story of a question, what is left of an erased one, or None."""
        self._check_file()
        event_hash = digest_of(source, event_id)
        with self._database.transaction() as transaction:
            rows = transaction.rows(_QUESTION, event_hash=event_hash)
            if rows:
                return _question_report(transaction, rows[0])
            erased = transaction.rows(_ERASED, event_hash=event_hash)
            return ErasedReport(erased[0]["finished_at"]) if erased else None

    def _check_file(self) -> None:
        file = Path(self._database.url.database or "")
        if self._database.dialect == "sqlite" and not file.exists():
            # Connecting would make an empty file, which then looks like a ledger.
            raise LedgerUnavailable(f"there is no ledger at {file} yet")


def _ledger_report(transaction: Transaction) -> LedgerReport:
    now = transaction.now
    waiting = transaction.rows(_OPEN, limit=OPEN_ROWS)[0]
    oldest_at = None
    if waiting["oldest"] is not None:
        oldest_at = transaction.scalar(_RECEIVED, number=waiting["oldest"])
    in_flight = transaction.scalar(_IN_FLIGHT, now=now, limit=OPEN_ROWS)
    unknown = transaction.scalar(_UNKNOWN, now=now, limit=OPEN_ROWS)
    finished = transaction.rows(_FINISHED, limit=FINISHED_ROWS)
    failed = {row["code"] or "": int(row["counted"]) for row in finished if row["state"] == "failed"}
    suspect = transaction.rows(_SUSPECT, limit=OPEN_ROWS)[0]
    outbox = {row["state"]: row for row in transaction.rows(_OUTBOX, limit=OPEN_ROWS)}
    counts = {state: int(row["counted"]) for state, row in outbox.items()}
    looked_at = sum(int(row["counted"]) for row in finished)
    mirror_waiting = transaction.scalar(_TO_MIRROR, limit=OPEN_ROWS)
    not_mirrored = transaction.rows(_NOT_MIRRORED, limit=OPEN_ROWS)
    to_rate = transaction.rows(_TO_RATE, limit=OPEN_ROWS)
    ratings_waiting = sum(int(row["counted"]) for row in to_rate)
    gates = transaction.rows(_GATES, limit=SHOWN_ROWS)
    workers = transaction.rows(_WORKERS, since=now - LATELY_S, limit=SHOWN_ROWS)
    bounds = {
        "waiting": int(waiting["counted"]) >= OPEN_ROWS,
        "oldest": int(waiting["counted"]) >= OPEN_ROWS,
        "in_flight": in_flight >= OPEN_ROWS,
        "unknown": unknown >= OPEN_ROWS,
        "held": looked_at >= FINISHED_ROWS,
        "failed": looked_at >= FINISHED_ROWS,
        "outbox": sum(counts.values()) >= OPEN_ROWS,
        "mirror": mirror_waiting >= OPEN_ROWS,
        "ratings": ratings_waiting >= OPEN_ROWS,
    }
    return LedgerReport(
        now=now,
        waiting=int(waiting["waiting"] or 0),
        oldest_at=oldest_at,
        in_flight=in_flight,
        unknown=unknown,
        held=failed.pop(OutcomeUnknown.code, 0),
        failed=failed,
        finished=looked_at,
        finished_since=min((row["since"] for row in finished), default=None),
        duplicate_posts=suspect["duplicates"],
        late_posts=suspect["late"],
        outbox_waiting=counts.get("waiting", 0),
        outbox_unroutable=counts.get("aside", 0),
        outbox_oldest_at=min((row["oldest_at"] for row in outbox.values()), default=None),
        mirror_waiting=mirror_waiting,
        mirror_refused=sum(int(row["refused"]) for row in not_mirrored),
        mirror_trouble={row["code"]: int(row["counted"]) for row in not_mirrored},
        ratings_waiting=ratings_waiting,
        ratings_trouble={row["code"]: int(row["counted"]) for row in to_rate if row["code"]},
        gates=tuple(_gate_report(row, now) for row in gates),
        workers=tuple(WorkerReport(**row) for row in workers),
        at_least=frozenset(name for name, is_bound in bounds.items() if is_bound),
    )


def _gate_report(row: Mapping[str, Any], now: float) -> GateReport:
    gate = refreshed(Gate(row["reason"], row["closed_until"], row["failures"], row["probe"]), now)
    return GateReport(
        key=row["key"],
        reason=gate.reason,
        closed_until=gate.closed_until if gate.reason else None,
        is_probing=gate.probe is not None and now < gate.closed_until,
        needs_probe=gate.reason in PROBED,
        is_altering=bool(row["is_altering"]),
    )


def _question_report(transaction: Transaction, row: Mapping[str, Any]) -> QuestionReport:
    conversation = dict(transaction.rows(_CONVERSATION, number=row["conversation"])[0])
    ahead = transaction.scalar(
        _AHEAD, conversation=row["conversation"], number=row["number"], limit=OPEN_ROWS
    )
    replies = transaction.rows(_REPLIES, question=row["number"], limit=SHOWN_ROWS)
    question = dict(row)
    content: dict[str, Any] = json.loads(question.pop("content"))
    return QuestionReport(
        now=transaction.now,
        question=question,
        contact_id=conversation.pop("contact_id"),
        conversation=conversation,
        ahead=ahead,
        replies=tuple(
            ReplyReport(
                **{name: reply[name] for name in ReplyReport.__dataclass_fields__}  # the columns of one name
            )
            for reply in replies
        ),
        content=content,
    )
