"""Turns: claims as many as there is room for, runs them side by side, keeps their leases (PROTOCOL 3)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from schemas import epoch_of
from worker.core.errors import LeaseLost, LedgerUnavailable
from worker.core.meters import Meters, NoMeters
from worker.core.model import Answered, Claim, Claims, Failed, Halt, Lease, Progress, Retry, Snooze, Verdict
from worker.core.ports import Bell, Log, RecoveryPoint
from worker.core.traces import NoTracer, Tracer
from worker.core.turn import finish, take_turn
from worker.core.world import Turn, World
from worker.runtime.ending import LAST_WORD_S, cut_off
from worker.runtime.live_answer import LiveAnswer
from worker.runtime.vitals import Pulse

#: s. With every doorbell lost, questions start at most this late: each process looks by itself.
LOOK_S = 5.0
#: Claims in one transaction: more only make the others of the batch wait.
CLAIM_AT_MOST = 200
#: Leases that expired in a row on a question, from which on it runs alone in its process: should it bring the
#: process down again, it takes no other turn along.
SUSPECT_LEASES = 2
#: Part of a lease after which it is renewed: two renewals may fail before it is lost.
RENEW_PART = 1 / 3
#: Part of the send grace within which a claim has to come back for the next one to begin posts: the grace of
#: a post that is begun with its claim runs from before the claim.
PROMPT_PART = 1 / 4
#: s. A claim that is under way at a stop is waited for so long: what it brings would be held by nobody.
CLAIM_ENDS_S = 2.0


@dataclass(slots=True)
class Turns:
    """The turns of one process."""

    world: World
    bell: Bell
    log: Log
    concurrency: int
    #: The keyed hash under which a contact appears in the logs.
    contact_hash: Callable[[str], str]
    meters: Meters = field(default_factory=NoMeters)
    tracer: Tracer = field(default_factory=NoTracer)
    #: Takes answers that are being written to the bus; None where nobody wants them.
    tell: Callable[[Progress], None] | None = None
    is_stopping: bool = False
    _live: dict[Lease, LiveAnswer] = field(default_factory=dict)
    _active: dict[Lease, asyncio.Task[None]] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _claiming: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: Claimed turns of questions that seem to bring processes down; one runs at a time, with no other.
    _suspects: set[Lease] = field(default_factory=set)
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    _has_ended: asyncio.Event = field(default_factory=asyncio.Event)
    #: Rings whose actor waits until room was used to claim.
    _ringers: list[asyncio.Future[None]] = field(default_factory=list)
    #: There was no room at the last look.
    _lacks_room: bool = False
    #: BOOTTIME until which the gate was said to be closed.
    _closed_until: float = -math.inf
    #: The last claim came back soon enough for the next one to begin posts.
    _is_prompt: bool = True

    @property
    def under_way(self) -> int:
        """How many turns are under way."""
        return len(self._active)

    def look(self) -> None:
        """Claim as soon as there is room: somebody waits."""
        self._wake.set()

    async def on_ring(self) -> None:
        """Hear the doorbell: return once free room was used to claim, wait while there is none."""
        if self.is_stopping:
            return
        ringer = asyncio.get_running_loop().create_future()
        self._ringers.append(ringer)
        self._wake.set()
        await ringer

    async def run(self, pulse: Pulse | None = None) -> None:
        """Claim whenever somebody waits and there is room."""
        pulse = pulse or Pulse(self.world.clock)
        look_in_s = 0.0
        while True:
            await self._wait(look_in_s)
            pulse.beat()
            if self.is_stopping:
                return
            room = 0 if self._suspects else self.concurrency - len(self._active)
            self._lacks_room = room <= 0
            if self._lacks_room:
                look_in_s = LOOK_S
                continue
            ringers, self._ringers = self._ringers, []
            try:
                async with self._claiming:
                    look_in_s = await self._claim(min(room, CLAIM_AT_MOST))
            finally:
                for ringer in ringers:
                    if not ringer.done():
                        ringer.set_result(None)

    async def renew_leases(self, pulse: Pulse | None = None) -> None:
        """Keep the leases of turns under way; stop those whose lease is lost."""
        pulse = pulse or Pulse(self.world.clock)
        lease_s = self.world.rules.lease_s
        while True:
            await self.world.clock.sleep(lease_s * RENEW_PART)
            pulse.beat()
            leases = list(self._active)
            if not leases:
                continue
            begun = self.world.clock.boottime()
            try:
                lost = await self.world.ledger.renew(leases)
            except LedgerUnavailable:
                continue
            for lease in leases:
                if lease not in lost and (live := self._live.get(lease)) is not None:
                    live.held_until = begun + lease_s
            for lease in lost:
                if (task := self._active.get(lease)) is not None:
                    task.cancel()

    def claim_nothing_more(self) -> None:
        """Claim nothing from now on; whoever rang for a claim is let go."""
        self.is_stopping = True
        self._wake.set()
        for ringer in self._ringers:
            if not ringer.done():
                ringer.set_result(None)

    async def stop(self, grace_s: float) -> None:
        """Claim nothing more, let turns end, then give back what is left, intents and all."""
        self.claim_nothing_more()
        begun = self.world.clock.boottime()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLAIM_ENDS_S), self._claiming:
                pass
        tasks = dict(self._active)
        if tasks:
            left_s = max(0.0, grace_s - (self.world.clock.boottime() - begun))
            await asyncio.wait(tasks.values(), timeout=left_s)
        left = {lease: task for lease, task in tasks.items() if not task.done()}
        await cut_off(left.values())
        if left:
            # Where the ledger is away or answers nobody, the leases end by themselves.
            with suppress(LedgerUnavailable, TimeoutError):
                async with asyncio.timeout(LAST_WORD_S):
                    await self.world.ledger.release(list(left))

    async def _wait(self, look_in_s: float) -> None:
        """Wait for a ring, for the end of a turn, or for the time of the next look."""
        try:
            async with asyncio.timeout(look_in_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _claim(self, limit: int) -> float:
        """Claim and start turns; returns when to look again, in seconds."""
        clock, rules = self.world.clock, self.world.rules
        begun = clock.boottime()
        longest = self.world.randomness.uniform(LOOK_S * 0.7, LOOK_S * 0.95)
        if clock.boottime() < self._closed_until:
            return min(self._closed_until - clock.boottime(), longest)
        try:
            claims = await self.world.ledger.claim(
                limit, begins_posts=rules.begins_posts_early and self._is_prompt
            )
        except LedgerUnavailable:
            return self.world.randomness.uniform(0.5, 1.5)
        finally:
            self._is_prompt = clock.boottime() - begun < rules.send_grace_s * PROMPT_PART
        if claims.turns:
            self.world.points.reached(RecoveryPoint.CLAIMED)
        claimed_at = clock.boottime()
        for claim in claims.turns:
            self._start(claim, claimed_at, claim_begun_at=begun)
        return self._next_look(claims, claimed_at, longest)

    def _next_look(self, claims: Claims, claimed_at: float, longest: float) -> float:
        next_due_s = longest if claims.next_due_in_s is None else claims.next_due_in_s
        if claims.closed is not None and claims.closed != "at_once":
            self._closed_until = claimed_at + min(next_due_s, longest)
        if claims.has_more:
            if len(self._active) < self.concurrency:
                return 0.0
            # More wait than there is room for here: others may have room.
            self.bell.ring()
        return max(0.0, min(next_due_s, longest))

    def _start(self, claim: Claim, claimed_at: float, *, claim_begun_at: float) -> None:
        turn = Turn(claim, self.world, claimed_at, claim_begun_at)
        if self.tell is not None:
            held_until = claim_begun_at + self.world.rules.lease_s
            live = self._live[claim.lease] = LiveAnswer(turn, self.tell, held_until)
            turn.on_progress = live.heard
        if claim.question.expired_leases >= SUSPECT_LEASES:
            self._suspects.add(claim.lease)
            task = asyncio.create_task(self._take_alone(turn))
        else:
            task = asyncio.create_task(self._take(turn))
        self._active[claim.lease] = task
        task.add_done_callback(lambda _: self._ended(turn))

    def _ended(self, turn: Turn) -> None:
        self._active.pop(turn.claim.lease, None)
        self._suspects.discard(turn.claim.lease)
        self._has_ended.set()
        if turn.has_next or self._lacks_room:
            self._wake.set()

    async def _take_alone(self, turn: Turn) -> None:
        """Take a suspect's turn when every other turn of this process has ended."""
        async with self._alone:
            while self._active.keys() - self._suspects:
                self._has_ended.clear()
                await self._has_ended.wait()
            await self._take(turn)

    async def _take(self, turn: Turn) -> None:
        span = self.tracer.begin_turn(turn, self.contact_hash)
        try:
            verdict = await take_turn(turn)
            # What comes after the reply would be taken for a newer answer.
            self._silence(turn)
            verdict = await finish(turn, verdict)
        except LeaseLost:
            span.lost("lease_lost")
            self._log_lost(turn)
        except asyncio.CancelledError:
            span.lost("cut_off" if self.is_stopping else "lease_lost")
            if not self.is_stopping:
                self._log_lost(turn)
            raise
        except Exception as error:  # noqa: BLE001 - the lease ends by itself, and its end is counted
            span.lost("crashed")
            self.meters.turn_lost("crashed")
            self.log(
                "turn.crashed",
                question_id=turn.question.event_id,
                event_source=turn.question.source,
                contact_hash=self.contact_hash(turn.conversation.contact_id),
                exception=error,
            )
        else:
            self._log_finished(turn, verdict)
            self._measure(turn, verdict)
            span.ended(turn, verdict)
        finally:
            self._silence(turn)
            span.close()
            if turn.is_late:
                await self._record_late(turn)

    def _silence(self, turn: Turn) -> None:
        if (live := self._live.pop(turn.claim.lease, None)) is not None:
            live.stop()

    async def _record_late(self, turn: Turn) -> None:
        """Keep the evidence: what was posted late may be posted twice."""
        question = turn.question
        self.log(
            "late_post.found",
            question_id=question.event_id,
            event_source=question.source,
            contact_hash=self.contact_hash(turn.conversation.contact_id),
            session_id=turn.conversation.session_id,
            duration_s=round(self.world.clock.boottime() - turn.claimed_at, 3),
        )
        await turn.write(lambda: self.world.ledger.record_late_post(question.number))

    def _log_lost(self, turn: Turn) -> None:
        self.meters.turn_lost("lease_lost")
        self.log(
            "lease.lost",
            question_id=turn.question.event_id,
            event_source=turn.question.source,
            contact_hash=self.contact_hash(turn.conversation.contact_id),
            duration_s=round(self.world.clock.boottime() - turn.claimed_at, 3),
        )

    def _log_finished(self, turn: Turn, verdict: Verdict) -> None:
        question, conversation = turn.question, turn.conversation
        message = verdict.message if isinstance(verdict, Answered) else None
        duration_s = self.world.clock.boottime() - turn.claimed_at
        self.log(
            "turn.finished",
            question_id=question.event_id,
            event_source=question.source,
            reply_id=question.reply_id,
            contact_hash=self.contact_hash(conversation.contact_id),
            project_id=conversation.project_id,
            session_id=conversation.session_id,
            conversation_id=(message and message.conversation_id) or conversation.conversation_id,
            message_id=message.message_id if message else None,
            attempt=question.attempts + 1,
            verdict=_name_of(verdict),
            error_code=None if isinstance(verdict, Answered) else verdict.code,
            detail=(verdict.detail or None) if isinstance(verdict, Failed) else None,
            outcome=verdict.outcome if isinstance(verdict, Answered) else None,
            waited_s=round(turn.claim.claimed_at - question.received_at, 3),
            gate_wait_s=round(turn.gate_wait_s, 3),
            assistant_s=round(turn.assistant_s, 3),
            duration_s=round(duration_s, 3),
            question_chars=len(question.text),
            answer_chars=len(message.answer or "") if message else None,
            redelivered=question.is_redelivered,
            trace_id=question.traceparent.split("-")[1] if question.traceparent else None,
            span_id=question.traceparent.split("-")[2] if question.traceparent else None,
        )

    def _measure(self, turn: Turn, verdict: Verdict) -> None:
        is_answered = isinstance(verdict, Answered)
        self.meters.turn_ended(
            _name_of(verdict),
            error_code="" if isinstance(verdict, Answered) else verdict.code,
            outcome=verdict.outcome if isinstance(verdict, Answered) else "",
        )
        if isinstance(verdict, Answered | Failed):
            self.meters.question_ended(
                waited_s=turn.claim.claimed_at - turn.question.received_at,
                answered_after_s=_age_s(turn) if is_answered else None,
            )


def _age_s(turn: Turn) -> float:
    """Return how long ago the question was asked, or arrived where its event names no time."""
    if turn.question.asked_at is not None:
        with suppress(ValueError):
            return turn.wall() - epoch_of(turn.question.asked_at)
    return turn.ledger_time() - turn.question.received_at


def _name_of(verdict: Verdict) -> str:
    match verdict:
        case Answered():
            return "answered"
        case Retry():
            return "retry"
        case Snooze():
            return "snooze"
        case Halt():
            return "halt"
        case Failed():
            return "failed"
