"""What a turn works with: the ports, the rules, and what it knows so far."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from worker.core.errors import GateClosed, LedgerUnavailable, MessageClaimed, OutcomeUnknown, SettingsError
from worker.core.model import (
    NO_OPTIONS,
    Api,
    CannedTexts,
    Claim,
    Conversation,
    GateNews,
    Intent,
    MessageOptions,
    OutboxReply,
    Question,
    Reply,
    Snooze,
    Verdict,
)
from worker.core.ports import Admit, Assistant, Clock, Ledger, Randomness, ReadShare, RecoveryPoints

T = TypeVar("T")

#: s. A turn waits for the pace within itself for this long; longer waits give the lease back, so that what
#: waits is a row and not a coroutine.
PACE_WAIT_S = 5.0
#: s. Pauses between tries of a write while the ledger is away; the lease may well outlive a short outage.
LEDGER_PAUSES_S = (0.2, 3.0)
#: s. The first look after an unknown outcome: the API usually has the message by then.
LOOK_FIRST_S = 1.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The protocol's times, in seconds, and the operator's choices."""

    #: L. A lease; renewed every third of it.
    lease_s: float
    #: G. From before the intent's commit to the bytes leaving.
    send_grace_s: float
    #: H. A request's deadline.
    request_timeout_s: float
    #: T_srv. An accepted post can be read by then.
    settle_s: float
    #: V. A created conversation can be listed by then.
    list_lag_s: float
    max_attempts: int
    on_unknown: Literal["repost", "hold"]
    #: The tables were restored from a backup: every question is looked for before its first post.
    is_after_restore: bool = False
    #: How questions are answered whose events do not say it.
    options: MessageOptions = NO_OPTIONS
    lang: str | None = None
    #: By which way questions are asked whose events do not say it.
    api: Api = "conversations"
    #: U. Bytes that a peer has not acknowledged for this long are given up by the kernel.
    user_timeout_s: float = 10.0

    @property
    def begins_posts_early(self) -> bool:
        """Tell whether intents are recorded along with what comes before the post.

        After a restore the session that is found may hold the message already: first it is looked for.
        """
        return self.api == "conversations" and not self.is_after_restore


@dataclass(frozen=True, slots=True)
class World:
    """The ports of a turn."""

    ledger: Ledger
    assistant: Assistant
    clock: Clock
    randomness: Randomness
    points: RecoveryPoints
    rules: Rules
    #: Looks the project of a route up in today's settings.
    project_of: Callable[[str], int | None]
    #: Takes recorded replies to the bus.
    publish: Callable[[OutboxReply], None]


@dataclass(slots=True)
class Turn:
    """A claim being worked on. ``conversation`` follows what the turn saves."""

    claim: Claim
    world: World
    #: BOOTTIME when the claim was in hand; the ledger's clock was read before that.
    claimed_at: float
    #: BOOTTIME from before the claim was asked for, by which the grace of a post begun with it is counted.
    claim_begun_at: float = -math.inf
    #: An intent that was recorded along with the claim or the session, and the BOOTTIME from before that.
    begun: tuple[float, Intent] | None = field(init=False, default=None)
    conversation: Conversation = field(init=False)
    #: An earlier post's outcome was unknown and reading back found nothing.
    is_repost: bool = field(init=False)
    is_renewed: bool = False
    #: A post is outstanding whose outcome nobody knows yet.
    has_intent: bool = field(init=False)
    #: s spent in calls to the API, and waiting for the gate.
    assistant_s: float = 0.0
    gate_wait_s: float = 0.0
    #: A creation or a post was refused, not a read.
    is_write_refused: bool = False
    #: The post left later than the grace allows.
    is_late: bool = False
    #: The API answered something in this turn, which is news to the gate.
    has_heard: bool = False
    #: A claim may find something as soon as this turn has ended.
    has_next: bool = True
    #: Told each piece of a streamed answer.
    on_progress: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        self.conversation = self.claim.conversation
        self.is_repost = self.claim.question.is_repost
        self.has_intent = self.claim.question.intent is not None
        if self.claim.begun is not None:
            self.begun = (self.claim_begun_at, self.claim.begun)

    @property
    def question(self) -> Question:
        """The question of this turn."""
        return self.claim.question

    @property
    def api(self) -> Api:
        """By which way the question is asked."""
        return self.question.api or self.world.rules.api

    @property
    def project_id(self) -> int:
        """The conversation's project: the one it began with, else today's setting."""
        if self.conversation.project_id is not None:
            return self.conversation.project_id
        project_id = self.world.project_of(self.conversation.route)
        if project_id is None:
            raise SettingsError("no project is set for this route")
        return project_id

    @property
    def session_id(self) -> str:
        """The saved session."""
        if self.conversation.session_id is None:
            raise AssertionError("Bug: a session is needed before it was ensured")
        return self.conversation.session_id

    def ledger_time(self) -> float:
        """Return a time that the ledger's clock has certainly reached, in seconds."""
        return self.claim.claimed_at + (self.world.clock.boottime() - self.claimed_at)

    def wall(self) -> float:
        """Return the epoch seconds that an event's expiry is compared with."""
        return self.world.clock.wall()

    def continue_trace(self, traceparent: str | None, tracestate: str | None) -> None:
        """Have what this turn sends and records from now on carry this trace context."""
        question = replace(self.question, traceparent=traceparent, tracestate=tracestate)
        self.claim = replace(self.claim, question=question)

    def note_late(self) -> None:
        """Note that the post left later than the grace allows."""
        self.is_late = True

    async def note_accepted(self) -> None:
        """Record that the API has taken the post: whatever breaks off now, it is never posted again."""
        await self.write(lambda: self.world.ledger.record_accepted(self.claim.lease, self.question.number))

    def heard(self) -> GateNews | None:
        """Return what the gate should hear of a turn that ends without an answer or a failure of the API."""
        return GateNews("answered") if self.has_heard else None

    async def timed(self, call: Awaitable[T]) -> T:
        """Await a call to the API and add its time."""
        begun, waited_s = self.world.clock.boottime(), self.gate_wait_s
        try:
            result = await call
        finally:
            # Between the pages of a listing it may have waited for the gate.
            waited_s = self.gate_wait_s - waited_s
            self.assistant_s += self.world.clock.boottime() - begun - waited_s
        self.has_heard = True
        return result

    async def read(self, call: Callable[[Admit], Awaitable[T]], share: ReadShare = "reads") -> T:
        """Make a read, once the gate has let it through.

        ``call`` is given what admits the pages after the first. Those wait for the pace however long it
        takes: a listing that is given up half-way begins at its first page again, and never ends.
        """
        await self._admit(share)
        return await self.timed(call(lambda: self._admit(share, has_begun=True)))

    async def canned_texts(self) -> CannedTexts:
        """Return the agent's fixed texts; where they must be fetched, once the gate has let that through."""
        assistant = self.world.assistant
        return await assistant.canned_texts(self.project_id, admit=lambda: self._admit("reads"))

    async def _admit(self, share: ReadShare, *, has_begun: bool = False) -> None:
        await self._through_gate(
            lambda: self.world.ledger.admit_read(self.claim.lease, share), has_begun=has_begun
        )

    async def begin_post(self, session_id: str) -> tuple[float, Intent]:
        """Commit the intent; returns the BOOTTIME from before that commit, and the intent."""
        if (begun := self.begun) is not None:
            self.begun = None
            self.has_intent = True
            return begun
        begun_at = 0.0

        async def begin() -> Intent:
            nonlocal begun_at
            begun_at = self.world.clock.boottime()
            return await self.world.ledger.begin_post(
                self.claim.lease, self.question.number, session_id=session_id
            )

        intent = await self._through_gate(begin)
        self.has_intent = True
        return begun_at, intent

    async def begin_create(self) -> float:
        """Commit the intent to create; returns the BOOTTIME from before that commit."""
        begun_at = 0.0

        async def begin() -> None:
            nonlocal begun_at
            begun_at = self.world.clock.boottime()
            await self.world.ledger.begin_create(self.claim.lease, self.project_id)

        await self._through_gate(begin)
        return begun_at

    async def write(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a write to the ledger, again and again while it is away; the lease decides in the end."""
        shortest, longest = LEDGER_PAUSES_S
        pause_s = shortest
        while True:
            try:
                return await call()
            except LedgerUnavailable:
                await self.world.clock.sleep(self.world.randomness.uniform(pause_s / 2, pause_s))
                pause_s = min(pause_s * 2, longest)

    async def finish(self, verdict: Verdict, reply: Reply | None) -> None:
        """Record the verdict; OutcomeUnknown when the message turns out to answer another question."""
        number = self.question.number
        try:
            end = await self.write(lambda: self.world.ledger.finish(self.claim.lease, number, verdict, reply))
        except MessageClaimed as error:
            raise OutcomeUnknown("the message answers another question") from error
        self.has_next = end.has_next
        if end.reply is not None:
            self.world.publish(end.reply)

    def unknown(self, error: OutcomeUnknown, *, begun_at: float | None = None) -> Snooze:
        """Return the verdict on a post whose outcome is unknown: keep the intent and look soon.

        ``begun_at`` is the BOOTTIME from before the intent's commit, where that is known.
        """
        news = GateNews("failure") if error.is_server_error else self.heard()
        has_ended = error.has_ended and begun_at is not None and self._is_early(begun_at)
        # Without an intent (a message found after a restore) there is none to keep.
        return Snooze(error.code, LOOK_FIRST_S, keeps_intent=self.has_intent, has_ended=has_ended, news=news)

    def _is_early(self, begun_at: float) -> bool:
        """Tell whether an end heard now lets the wait of V begin where reading back lets it: at G + U.

        Of work that ended later than that, a listing at G + U + V may not show the message yet.
        """
        rules = self.world.rules
        return self.world.clock.boottime() - begun_at <= rules.send_grace_s + rules.user_timeout_s

    async def _through_gate(self, call: Callable[[], Awaitable[T]], *, has_begun: bool = False) -> T:
        """Make a call that the gate may hold up; waits for the pace, but not for a closed gate.

        A turn that has had an answer waits however long it takes: what it knows was paid for with the pace,
        and a turn that is given up pays for it again, on a small plan for ever.
        """
        patience_s = math.inf if has_begun or self.has_heard else PACE_WAIT_S
        while True:
            try:
                return await self.write(call)
            except GateClosed as closed:
                if closed.reason != "pace" or self.gate_wait_s + closed.retry_in_s > patience_s:
                    raise
                # Jitter, so that those who wait for one place do not all ask at once.
                pause_s = closed.retry_in_s + self.world.randomness.uniform(0, 0.05)
                await self.world.clock.sleep(pause_s)
                self.gate_wait_s += pause_s
