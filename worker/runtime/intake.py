"""Intake: events off the bus, checked, written once to the ledger, acked (PROTOCOL 2)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from schemas import (
    AskedQuestion,
    EventRefused,
    OwnReply,
    RatedAnswer,
    RawEvent,
    decode_event,
    epoch_of,
    reply_id,
)
from worker.core.errors import (
    IdConflict,
    InvalidQuestion,
    LedgerUnavailable,
    MalformedEvent,
    RatingUnmatched,
)
from worker.core.meters import Meters, NoMeters
from worker.core.model import Acceptance, AcceptedQuestion, Api, MessageOptions
from worker.core.ports import (
    Bell,
    Bus,
    Clock,
    Delivery,
    Ledger,
    Log,
    PublishResult,
    Randomness,
    RecoveryPoint,
    RecoveryPoints,
)
from worker.core.rating import AcceptedRating, RatingResult
from worker.runtime.vitals import Pulse

#: Deliveries in one transaction.
BATCH = 256
#: s. A ledger that is away for longer: give the deliveries back, so that another process may take over.
LEDGER_AWAY_S = 60.0
#: s. Pauses between tries while the ledger is away.
LEDGER_PAUSES_S = (0.2, 5.0)
#: s. Pause after the rejected queue took nothing, before its deliveries come again.
REJECT_PAUSE_S = 1.0
#: The only route there is today.
ROUTE = "default"


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """The settings that intake looks at."""

    default_source: str
    #: s after the event's time; None is no limit.
    answer_within_s: float | None
    #: What an event may say of how it is answered.
    event_options: frozenset[str] = frozenset()
    #: By which way questions are asked whose events do not say it.
    api: Api = "conversations"


@dataclass(frozen=True, slots=True)
class _Refused:
    """What is put aside, and why."""

    delivery: Delivery
    reason: str
    detail: str
    #: None when the event could not be read.
    question_id: str | None = None
    event_source: str | None = None


@dataclass(slots=True)
class _Sorted:
    """A batch after decoding."""

    settled: list[Delivery] = field(default_factory=list)
    questions: list[tuple[Delivery, AcceptedQuestion]] = field(default_factory=list)
    refused: list[_Refused] = field(default_factory=list)
    ratings: list[tuple[Delivery, AcceptedRating]] = field(default_factory=list)
    own_replies: int = 0


@dataclass(slots=True)
class Intake:
    """Takes batches until it is stopped; one batch is under way at a time."""

    bus: Bus
    ledger: Ledger
    bell: Bell
    clock: Clock
    randomness: Randomness
    points: RecoveryPoints
    log: Log
    rules: IntakeRules
    #: Tells the relay that a stored reply is due again.
    on_repeat: Callable[[], None]
    #: Tells the turns of this process, as a batch goes to the ledger, that somebody is about to wait. What
    #: they claim then goes to the ledger behind the batch, most often in its very transaction.
    on_arrival: Callable[[], None] = lambda: None
    #: Tells the ratings of this process that one came.
    on_rated: Callable[[], None] = lambda: None
    meters: Meters = field(default_factory=NoMeters)
    is_stopping: bool = False
    #: A batch is being written or settled.
    is_taking: bool = False
    #: The rejected queue took nothing the last time.
    _is_rejecting_in_vain: bool = False

    async def run(self, pulse: Pulse | None = None) -> None:
        """Take batches for ever."""
        pulse = pulse or Pulse(self.clock)
        while not self.is_stopping:
            pulse.rest()
            deliveries = await self.bus.receive(BATCH)
            pulse.beat()
            self.is_taking = True
            try:
                await self.take_batch(deliveries)
            except Exception:
                # Unacked on an open channel, they would come to nobody.
                await self.bus.reset_intake()
                raise
            finally:
                self.is_taking = False

    async def take_batch(self, deliveries: Sequence[Delivery]) -> None:
        """Settle what can be settled of a batch: the ledger first, then the acks, then the bell."""
        self.points.reached(RecoveryPoint.BATCH_RECEIVED)
        batch = self._sort(deliveries)
        accepted = await self._accept([question for _, question in batch.questions])
        # After the questions: a batch may hold both.
        rated = None if accepted is None else await self._accept_ratings(batch)
        if accepted is None or rated is None:
            await self.bus.reset_intake()
            return
        self.points.reached(RecoveryPoint.BATCH_ACCEPTED)
        for (delivery, question), acceptance in zip(batch.questions, accepted, strict=True):
            match acceptance.result:
                case "conflict":
                    detail = "other data under the same source and id"
                    batch.refused.append(_refused_question(delivery, question, IdConflict.code, detail))
                case "refused":
                    detail = "the database refuses this event"
                    batch.refused.append(_refused_question(delivery, question, MalformedEvent.code, detail))
                case "new":
                    batch.settled.append(delivery)
                case _:
                    batch.settled.append(delivery)
                    self.log(
                        "event.repeated",
                        question_id=question.event_id,
                        event_source=question.source,
                        reply_id=question.reply_id,
                        reason=acceptance.result,
                        redelivered=delivery.is_redelivered,
                    )
        self._sort_ratings(batch, rated)
        has_failed = await self._reject(batch)
        if batch.refused:
            self.points.reached(RecoveryPoint.EVENTS_REJECTED)
        self.bus.ack(batch.settled)
        self.points.reached(RecoveryPoint.BATCH_ACKED)
        self._count(batch, accepted)
        self._announce(accepted)
        if "new" in rated:
            self.on_rated()
        if has_failed:
            # What could not be put aside stays unacked; a new channel brings it again.
            await self.clock.sleep(REJECT_PAUSE_S)
            await self.bus.reset_intake()

    def _sort(self, deliveries: Sequence[Delivery]) -> _Sorted:
        batch = _Sorted()
        for delivery in deliveries:
            try:
                event = decode_event(_raw(delivery), default_source=self.rules.default_source)
            except EventRefused as refused:
                batch.refused.append(_Refused(delivery, refused.reason, refused.detail))
                continue
            match event:
                case OwnReply():
                    self.log("event.ignored", reason="own_reply")
                    batch.own_replies += 1
                    batch.settled.append(delivery)
                case AskedQuestion() if (problem := self._problem(event)) is not None:
                    # Answered in another way than it asks for it would mislead; put aside it can be replayed.
                    batch.refused.append(_refused_question(delivery, event, InvalidQuestion.code, problem))
                case AskedQuestion():
                    batch.questions.append((delivery, self._accepted(event, delivery)))
                case RatedAnswer():
                    batch.ratings.append((delivery, _accepted_rating(event)))
        return batch

    def _problem(self, event: AskedQuestion) -> str | None:
        """Say what of an event is not to be had here."""
        rules = self.rules
        named = {f"options.{name}": name for name in event.options} | ({"api": "api"} if event.api else {})
        denied = sorted(field_ for field_, name in named.items() if name not in rules.event_options)
        if denied:
            return f"{', '.join(denied)}: not in ASKRELAY_EVENT_OPTIONS"
        if event.options and (event.api or rules.api) == "chat_completions":
            return f"options.{', options.'.join(sorted(event.options))}: not taken by chat completions"
        return None

    def _accepted(self, event: AskedQuestion, delivery: Delivery) -> AcceptedQuestion:
        expires_at = event.expires_at
        if self.rules.answer_within_s is not None:
            begun_at = epoch_of(event.asked_at) if event.asked_at else self.clock.wall()
            limit = begun_at + self.rules.answer_within_s
            expires_at = limit if expires_at is None else min(expires_at, limit)
        return AcceptedQuestion(
            source=event.source,
            event_id=event.event_id,
            reply_id=reply_id(event.source, event.event_id),
            route=ROUTE,
            contact_id=event.contact_id,
            thread_id=event.thread_id,
            text=event.question,
            lang=event.lang,
            metadata=event.metadata,
            asked_at=event.asked_at,
            expires_at=expires_at,
            traceparent=event.traceparent,
            tracestate=event.tracestate,
            is_redelivered=delivery.is_redelivered,
            options=MessageOptions(**event.options),
            api=event.api,  # type: ignore[arg-type]
        )

    async def _accept(self, questions: Sequence[AcceptedQuestion]) -> list[Acceptance] | None:
        """Write the batch; None when the ledger stayed away for too long."""
        if not questions:
            return []
        begun = self.clock.boottime()
        pause_s, longest = LEDGER_PAUSES_S
        while True:
            self.on_arrival()
            try:
                # A ledger that finds out what became of a commit answers nobody meanwhile.
                async with asyncio.timeout(begun + LEDGER_AWAY_S - self.clock.boottime()):
                    accepted = await self.ledger.accept(questions)
            except (LedgerUnavailable, TimeoutError):
                if self.is_stopping or self.clock.boottime() - begun >= LEDGER_AWAY_S:
                    return None
                await self.clock.sleep(self.randomness.uniform(pause_s / 2, pause_s))
                pause_s = min(pause_s * 2, longest)
            else:
                new = sum(acceptance.result == "new" for acceptance in accepted)
                self.log(
                    "intake.batch_accepted",
                    batch=len(questions),
                    new=new,
                    repeated=len(questions) - new,
                    duration_s=round(self.clock.boottime() - begun, 4),
                )
                return accepted

    async def _accept_ratings(self, batch: _Sorted) -> list[RatingResult] | None:
        """Write the batch's ratings; None when the ledger is away, and the batch has to come again."""
        if not batch.ratings:
            return []
        try:
            async with asyncio.timeout(LEDGER_AWAY_S):
                return await self.ledger.accept_ratings([rating for _, rating in batch.ratings])
        except (LedgerUnavailable, TimeoutError):
            await self.clock.sleep(REJECT_PAUSE_S)
            return None

    def _sort_ratings(self, batch: _Sorted, results: Sequence[RatingResult]) -> None:
        for (delivery, rating), result in zip(batch.ratings, results, strict=True):
            match result:
                case "new":
                    batch.settled.append(delivery)
                    self.meters.events_taken("rated", 1)
                case "repeat":
                    batch.settled.append(delivery)
                    self.meters.events_taken("repeat_rated", 1)
                    self.log(
                        "event.repeated",
                        question_id=rating.question_id,
                        event_source=rating.source,
                        reason=result,
                        redelivered=delivery.is_redelivered,
                    )
                case "conflict":
                    detail = "another rating under the same source and id"
                    batch.refused.append(_refused_rating(delivery, rating, IdConflict.code, detail))
                case "unmatched":
                    detail = "no answer that can be rated has this question_source and question_id"
                    batch.refused.append(_refused_rating(delivery, rating, RatingUnmatched.code, detail))

    async def _reject(self, batch: _Sorted) -> bool:
        """Put aside what was refused and settle what the broker confirmed; tell whether any failed."""
        if not batch.refused:
            return False
        results = await asyncio.gather(
            *(
                self.bus.reject(each.delivery, reason=each.reason, detail=each.detail)
                for each in batch.refused
            )
        )
        has_failed = False
        for each, result in zip(batch.refused, results, strict=True):
            if result is not PublishResult.CONFIRMED:
                has_failed = True
                self._not_rejected(each, result)
                continue
            self.log(
                "event.rejected",
                question_id=each.question_id,
                event_source=each.event_source,
                error_code=each.reason,
                detail=each.detail,
                body_bytes=len(each.delivery.body),
                redelivered=each.delivery.is_redelivered,
            )
            batch.settled.append(each.delivery)
            self.meters.events_taken("rejected", 1, error_code=each.reason)
        self._is_rejecting_in_vain = has_failed
        return has_failed

    def _not_rejected(self, refused: _Refused, result: PublishResult) -> None:
        # Once per trouble: what could not be put aside comes again every second.
        if self._is_rejecting_in_vain:
            return
        self._is_rejecting_in_vain = True
        self.log(
            "event.not_rejected",
            question_id=refused.question_id,
            event_source=refused.event_source,
            error_code=refused.reason,
            reason=result.value,
            body_bytes=len(refused.delivery.body),
        )

    def _count(self, batch: _Sorted, accepted: Sequence[Acceptance]) -> None:
        if batch.own_replies:
            self.meters.events_taken("own_reply", batch.own_replies)
        for result, count in Counter(acceptance.result for acceptance in accepted).items():
            if result not in {"conflict", "refused"}:  # counted as rejected
                self.meters.events_taken(result, count)

    def _announce(self, accepted: Sequence[Acceptance]) -> None:
        results = {acceptance.result for acceptance in accepted}
        if results & {"new", "repeat_unfinished"}:
            self.bell.ring()
        if "repeat_finished" in results:
            self.on_repeat()


def _refused_question(
    delivery: Delivery, question: AskedQuestion | AcceptedQuestion, reason: str, detail: str
) -> _Refused:
    return _Refused(delivery, reason, detail, question.event_id, question.source)


def _refused_rating(delivery: Delivery, rating: AcceptedRating, reason: str, detail: str) -> _Refused:
    return _Refused(delivery, reason, detail, rating.question_id, rating.source)


def _accepted_rating(event: RatedAnswer) -> AcceptedRating:
    return AcceptedRating(
        source=event.source,
        event_id=event.event_id,
        question_source=event.question_source,
        question_id=event.question_id,
        rating=event.rating,
    )


def _raw(delivery: Delivery) -> RawEvent:
    return RawEvent(
        body=delivery.body,
        content_type=delivery.content_type,
        content_encoding=delivery.content_encoding,
        message_id=delivery.message_id,
        app_id=delivery.app_id,
        type=delivery.type,
        headers=delivery.headers,
    )
