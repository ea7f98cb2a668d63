"""The ledger port on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import sqlalchemy as sa

from worker.adapters.ledger.claims import ClaimStatements, TakeTurns, TurnClaims
from worker.adapters.ledger.commit import GroupCommit, Handler, LockFirst
from worker.adapters.ledger.daily_limit import DAY_S, DailyLimit, DailyLimitStatements
from worker.adapters.ledger.database import Database
from worker.adapters.ledger.due import DueStatements, DueTurns
from worker.adapters.ledger.gate import GateChange, GateRow
from worker.adapters.ledger.intake import Accept, IntakeStatements, accept
from worker.adapters.ledger.leases import (
    EndHealing,
    FinishHealing,
    Leases,
    LeaseStatements,
    Release,
    Renew,
    TakeHealing,
)
from worker.adapters.ledger.mirror import EndCopy, Mirrors, MirrorStatements, TakeCopies
from worker.adapters.ledger.outbox import (
    MarkPublished,
    MarkUnpublished,
    Outbox,
    OutboxStatements,
    TakeReplies,
)
from worker.adapters.ledger.ratings import (
    AcceptRatings,
    EndRating,
    Ratings,
    RatingStatements,
    TakeRatings,
)
from worker.adapters.ledger.retention import Retention, RetentionStatements, Sweep
from worker.adapters.ledger.rows import Dialect
from worker.adapters.ledger.second_looks import (
    HasOutstandingPost,
    PutOffSecondLook,
    RecordLatePost,
    RecordSecondLook,
    SecondLooks,
    SecondLookStatements,
    TakeSecondLooks,
)
from worker.adapters.ledger.sessions import (
    AdmitRead,
    BeginCreate,
    CancelCreate,
    ForgetSession,
    RaiseHighest,
    SaveSession,
    Sessions,
    SessionStatements,
)
from worker.adapters.ledger.told import ToldGate
from worker.adapters.ledger.turns import (
    BeginPost,
    Finish,
    RecordAccepted,
    Report,
    Turns,
    TurnStatements,
    Unclaimed,
)
from worker.core.errors import MessageClaimed
from worker.core.mirroring import ConversationCopy, MirrorEnd
from worker.core.model import (
    Acceptance,
    AcceptedQuestion,
    Claims,
    Conversation,
    GateNews,
    Intent,
    Lease,
    OutboxReply,
    Reply,
    SecondLook,
    TurnEnd,
    Verdict,
)
from worker.core.pace import Pace
from worker.core.ports import ReadShare, Swept
from worker.core.rating import AcceptedRating, DueRating, RatingEnd, RatingResult

#: Nobody waits for the record of a confirm, but for the next reply of the same conversation.
PATIENT = frozenset({MarkPublished})


@dataclass(frozen=True, slots=True)
class LedgerConfig:
    """What the ledger needs to know. Durations in seconds."""

    url: str
    worker_id: str
    version: str
    #: Fingerprint of the API key: the gate's row.
    gate_key: str
    pace: Pace
    lease_s: float
    request_timeout_s: float
    keep_days: float
    dedup_days: float
    #: T_srv.
    settle_s: float = 300.0
    #: G + H + V: a conversation whose creation was begun is listed by then.
    heal_after_s: float = 152.0
    #: Questions per contact and day; None is no limit.
    contact_daily_limit: int | None = None
    #: A failed question holds up its conversation.
    blocks_on_failure: bool = False
    #: Answered conversations are to be mirrored.
    mirrors: bool = False
    #: How long one attempt to mirror a conversation may take.
    mirror_lease_s: float = 120.0


class Commit(Protocol):
    """Runs operations in transactions: GroupCommit, or the simulator's."""

    def start(self) -> None:
        """Be ready for operations."""
        ...

    async def stop(self) -> None:
        """Run what waits and end."""
        ...

    async def run(self, operation: object) -> object:
        """Return the operation's result once it is committed."""
        ...


def make_handlers(
    config: LedgerConfig,
    dialect: Dialect,
    *,
    on_gate_change: Callable[[GateChange], None] = lambda _: None,
) -> dict[type, Handler]:
    """Return the handler of each operation, in the order of locks.

    Conversations of our own turns come first, those that may change the gate before those that only read it;
    then intake's, then the outbox. Claims come last, so that they see what the same transaction made due.
    ``on_gate_change`` is called after the commit.
    """
    told = ToldGate(on_gate_change)
    gate = GateRow(
        dialect,
        key=config.gate_key,
        worker=config.worker_id,
        pace=config.pace,
        lease_s=config.lease_s,
        request_timeout_s=config.request_timeout_s,
        on_change=told.changed,
    )
    leases = Leases(
        LeaseStatements(dialect),
        config.worker_id,
        config.lease_s,
        config.heal_after_s,
        gate,
    )
    mirrors = Mirrors(MirrorStatements(dialect), config.mirror_lease_s)
    turns = Turns(
        TurnStatements(dialect),
        leases,
        config.settle_s,
        config.blocks_on_failure,
        mirrors if config.mirrors else None,
    )
    claims = TurnClaims(ClaimStatements(dialect), leases, DueTurns(DueStatements(dialect), gate), turns)
    limit = DailyLimit(DailyLimitStatements(dialect), config.contact_daily_limit)
    second_looks = SecondLooks(SecondLookStatements(dialect))
    outbox = Outbox(OutboxStatements(dialect), config.worker_id, config.lease_s)
    retention = Retention(
        RetentionStatements(dialect),
        limit,
        config.worker_id,
        config.version,
        config.keep_days * DAY_S,
        config.dedup_days * DAY_S,
    )
    sessions = Sessions(SessionStatements(dialect), leases, turns)
    ratings = Ratings(RatingStatements(dialect), config.lease_s + config.request_timeout_s)
    return {
        LockFirst: leases.lock_first,
        # Before all that touch the gate's row: it may wait for another process's intake.
        Accept: partial(accept, IntakeStatements(dialect), limit),
        # After Accept: a batch may hold a question and its rating. Before all that lock the gate's row: these
        # may wait for another process, whose turn wrote to the same mirror or rating and now wants the gate.
        AcceptRatings: ratings.accept,
        TakeRatings: ratings.take,
        EndRating: ratings.end,
        TakeCopies: mirrors.take,
        EndCopy: mirrors.end,
        Renew: leases.renew,
        RecordAccepted: turns.record_accepted,
        Finish: turns.finish,
        Report: turns.report,
        CancelCreate: sessions.cancel_create,
        ForgetSession: sessions.forget_session,
        RaiseHighest: sessions.raise_highest,
        # Posts come first.
        BeginPost: turns.begin_posts,
        SaveSession: sessions.save_session,
        BeginCreate: sessions.begin_create,
        AdmitRead: sessions.admit_reads,
        EndHealing: leases.end_healing,
        Unclaimed: turns.unclaimed,
        Release: leases.release,
        FinishHealing: leases.finish_healing,
        MarkPublished: outbox.mark_published,
        MarkUnpublished: outbox.mark_unpublished,
        TakeReplies: outbox.take,
        Sweep: retention.sweep,
        TakeSecondLooks: second_looks.take,
        HasOutstandingPost: second_looks.has_outstanding_post,
        RecordSecondLook: second_looks.record,
        PutOffSecondLook: second_looks.put_off,
        RecordLatePost: second_looks.record_late,
        TakeHealing: leases.take_healing,
        TakeTurns: told.watching(claims.take_turns),
    }


def open_ledger(
    config: LedgerConfig,
    *,
    on_gate_change: Callable[[GateChange], None] = lambda _: None,
    on_state: Callable[[bool, str], None] = lambda _is_up, _why: None,
    on_batch: Callable[[int, float], None] = lambda _size, _seconds: None,
) -> SqlLedger:
    """Return the ledger at the config's URL; ``on_gate_change`` and ``on_batch`` run in its thread."""
    database = Database(config.url, marks_commits=True)
    handlers = make_handlers(config, database.dialect, on_gate_change=on_gate_change)
    return SqlLedger(GroupCommit(database, handlers, patient=PATIENT, on_state=on_state, on_batch=on_batch))


class SqlLedger:
    """Implements worker.core.ports.Ledger. Use ``start`` on the loop and ``stop`` at the end."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit

    def start(self) -> None:
        """Start the ledger thread; call it on the loop."""
        self._commit.start()

    async def stop(self) -> None:
        """Finish what waits and close."""
        await self._commit.stop()

    async def _run(self, operation: object) -> Any:
        result = await self._commit.run(operation)
        if isinstance(result, BaseException):
            raise result
        return result

    async def accept(self, questions: Sequence[AcceptedQuestion]) -> list[Acceptance]:
        """Accept a batch; a row the database refuses is found by halving."""
        if not questions:
            return []
        try:
            accepted: list[Acceptance] = await self._run(Accept(questions))
        except (sa.exc.StatementError, ValueError, OverflowError) as error:
            if not _is_refused_row(error):
                # A broken table or a missing permission: rejecting good events for it would empty the queue.
                raise
            if len(questions) == 1:
                return [Acceptance("refused")]
            half = len(questions) // 2
            return [*await self.accept(questions[:half]), *await self.accept(questions[half:])]
        return accepted

    async def claim(self, limit: int, *, begins_posts: bool = False) -> Claims:
        """See the port."""
        claims: Claims = await self._run(TakeTurns(limit, begins_posts))
        return claims

    async def renew(self, leases: Sequence[Lease]) -> set[Lease]:
        """See the port."""
        lost: set[Lease] = await self._run(Renew(leases))
        return lost

    async def begin_create(self, lease: Lease, project_id: int) -> None:
        """See the port."""
        await self._run(BeginCreate(lease, project_id))

    async def cancel_create(self, lease: Lease) -> None:
        """See the port."""
        await self._run(CancelCreate(lease))

    async def save_session(
        self,
        lease: Lease,
        *,
        project_id: int,
        session_id: str,
        conversation_id: int | None,
        highest_message_id: int,
        has_extras: bool = False,
        begins_post_of: int | None = None,
    ) -> Intent | None:
        """See the port."""
        begun: Intent | None = await self._run(
            SaveSession(
                lease, project_id, session_id, conversation_id, highest_message_id, has_extras, begins_post_of
            )
        )
        return begun

    async def raise_highest(self, lease: Lease, highest_message_id: int) -> None:
        """See the port."""
        await self._run(RaiseHighest(lease, highest_message_id))

    async def forget_session(self, lease: Lease) -> None:
        """See the port."""
        await self._run(ForgetSession(lease))

    async def begin_post(self, lease: Lease, question: int, *, session_id: str) -> Intent:
        """See the port."""
        intent: Intent = await self._run(BeginPost(lease, question, session_id))
        return intent

    async def record_accepted(self, lease: Lease, question: int) -> None:
        """See the port."""
        await self._run(RecordAccepted(lease, question))

    async def admit_read(self, lease: Lease | None = None, share: ReadShare = "reads") -> None:
        """See the port."""
        await self._run(AdmitRead(lease, share))

    async def end_healing(self) -> None:
        """See the port."""
        await self._run(EndHealing())

    async def unclaimed(self, session_id: str, message_ids: Sequence[int]) -> set[int]:
        """See the port."""
        found: set[int] = await self._run(Unclaimed(session_id, message_ids))
        return found

    async def finish(self, lease: Lease, question: int, verdict: Verdict, reply: Reply | None) -> TurnEnd:
        """See the port. The unique index on (session, message) refuses a second claim of a message."""
        try:
            end: TurnEnd = await self._run(Finish(lease, question, verdict, reply))
        except sa.exc.IntegrityError as error:
            raise MessageClaimed from error
        return end

    async def report(self, news: GateNews, lease: Lease | None = None) -> None:
        """See the port."""
        await self._run(Report(news, lease))

    async def take_replies(self, limit: int) -> tuple[list[OutboxReply], float | None]:
        """See the port."""
        taken: tuple[list[OutboxReply], float | None] = await self._run(TakeReplies(limit))
        return taken

    async def mark_published(self, numbers: Sequence[int]) -> list[OutboxReply]:
        """See the port."""
        behind: list[OutboxReply] = await self._run(MarkPublished(numbers))
        return behind

    async def mark_unpublished(self, numbers: Sequence[int], reason: str) -> None:
        """See the port."""
        await self._run(MarkUnpublished(numbers, reason))

    async def release(self, leases: Sequence[Lease]) -> None:
        """See the port."""
        await self._run(Release(leases))

    async def take_healing(self) -> tuple[Lease, Conversation] | None:
        """See the port."""
        taken: tuple[Lease, Conversation] | None = await self._run(TakeHealing())
        return taken

    async def finish_healing(self, lease: Lease, *, again_in_s: float | None) -> None:
        """See the port."""
        await self._run(FinishHealing(lease, again_in_s))

    async def take_second_looks(self, limit: int) -> list[SecondLook]:
        """See the port."""
        looks: list[SecondLook] = await self._run(TakeSecondLooks(limit))
        return looks

    async def record_second_look(self, question: int, *, duplicate_message_id: int | None) -> None:
        """See the port."""
        await self._run(RecordSecondLook(question, duplicate_message_id))

    async def has_outstanding_post(self, question: int) -> bool:
        """See the port."""
        is_outstanding: bool = await self._run(HasOutstandingPost(question))
        return is_outstanding

    async def put_off_second_look(self, question: int, *, again_in_s: float) -> None:
        """See the port."""
        await self._run(PutOffSecondLook(question, again_in_s))

    async def record_late_post(self, question: int) -> None:
        """See the port."""
        await self._run(RecordLatePost(question))

    async def accept_ratings(self, ratings: Sequence[AcceptedRating]) -> list[RatingResult]:
        """See core/rating.RatingLedger."""
        results: list[RatingResult] = await self._run(AcceptRatings(ratings))
        return results

    async def take_ratings(self, limit: int) -> list[DueRating]:
        """See core/rating.RatingLedger."""
        taken: list[DueRating] = await self._run(TakeRatings(limit))
        return taken

    async def end_rating(
        self, rating: DueRating, end: RatingEnd, *, code: str | None = None, again_in_s: float = 0.0
    ) -> None:
        """See core/rating.RatingLedger."""
        await self._run(EndRating(rating.question, rating.version, end, code, again_in_s))

    async def take_copies(self, limit: int) -> tuple[list[ConversationCopy], float | None]:
        """See core/mirroring.MirrorLedger."""
        taken: tuple[list[ConversationCopy], float | None] = await self._run(TakeCopies(limit))
        return taken

    async def end_copy(
        self,
        copy: ConversationCopy,
        end: MirrorEnd,
        *,
        code: str | None = None,
        again_in_s: float = 0.0,
        is_unknown: bool = False,
    ) -> None:
        """See core/mirroring.MirrorLedger."""
        await self._run(EndCopy(copy.number, copy.version, end, code, again_in_s, is_unknown))

    async def sweep(self) -> Swept:
        """See the port."""
        swept: Swept = await self._run(Sweep())
        return swept


def _is_refused_row(error: Exception) -> bool:
    """Tell an event that the database cannot store from a database that is not as it should be."""
    return not isinstance(error, sa.exc.DBAPIError) or isinstance(
        error, (sa.exc.DataError, sa.exc.IntegrityError)
    )
