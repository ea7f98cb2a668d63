"""A fleet under load: the real turns, sweeper and ledger on virtual time, before an API with hard limits.

Nothing fails here but what a test scripts: what is looked at is how fast the fleet goes, and that it never
goes too fast.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from tests.simulation.bell import SimBell, SimRings
from tests.simulation.commit import SimCommit
from tests.simulation.faults import Faults
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import WALL, SimProcess
from tests.simulation.surroundings import PROJECT
from tests.simulation.tables import SimDatabase, Tables
from tests.simulation.trace import Trace
from worker.adapters.ledger.ledger import LedgerConfig, SqlLedger, make_handlers
from worker.core.errors import OutcomeUnknown, Throttled
from worker.core.healing import Healer
from worker.core.model import (
    NO_OPTIONS,
    AcceptedQuestion,
    CannedTexts,
    GateNews,
    MessageListing,
    MessageOptions,
    RemoteConversation,
    RemoteMessage,
)
from worker.core.pace import WINDOW_S, Pace
from worker.core.ports import Admit
from worker.core.world import Rules, World
from worker.runtime.sweeper import Sweeper
from worker.runtime.turns import Turns

#: The protocol's times as they are by default.
RULES = Rules(
    lease_s=30.0,
    send_grace_s=2.0,
    request_timeout_s=120.0,
    settle_s=300.0,
    list_lag_s=30.0,
    max_attempts=12,
    on_unknown="repost",
)
#: s. A read of the API takes a tenth of an answer, as in the sandbox.
READ_SHARE = 0.1
#: s. Longest way of a request to the API.
TRIP_S = 0.05


@dataclass(frozen=True)
class Request:
    """One request as the API saw it; seconds of virtual time."""

    at: float
    kind: str
    contact: str
    at_once: int
    is_throttled: bool


@dataclass
class LimitedApi:
    """Implements Assistant. Enforces a sliding minute and the requests at once, as the sandbox does."""

    loop: VirtualLoop
    chance: random.Random
    pace: Pace
    latency_s: float
    seen: list[Request] = field(default_factory=list)
    #: Throttles everything until then, once, as another user of the key would bring about.
    pause: tuple[float, float] | None = None
    #: Posts whose answer is lost, by contact: accepted but never heard of.
    deaf_to: set[str] = field(default_factory=set)
    #: Accepted messages are listed too late for anybody.
    hides_messages: bool = False
    conversations: dict[str, RemoteConversation] = field(default_factory=dict)
    messages: dict[str, list[RemoteMessage]] = field(default_factory=lambda: defaultdict(list))
    _admitted: list[float] = field(default_factory=list)
    _at_once: int = 0
    _numbers: count[int] = field(default_factory=lambda: count(1))

    async def find_conversations(
        self, project_id: int, name_part: str, *, admit: Admit | None = None
    ) -> list[RemoteConversation]:
        """See the port."""
        async with self._served("list", name_part, READ_SHARE):
            return [each for each in self.conversations.values() if name_part in each.name]

    async def create_conversation(
        self, project_id: int, name: str, *, connect_within_s: float
    ) -> RemoteConversation:
        """See the port."""
        async with self._served("create", name, READ_SHARE):
            number = next(self._numbers)
            made = RemoteConversation(number, f"session-{number}", name)
            self.conversations[made.session_id] = made
            return made

    async def post_question(
        self,
        project_id: int,
        session_id: str,
        *,
        text: str,
        external_id: str,
        lang: str | None,
        traceparent: str | None,
        connect_within_s: float,
        on_late: Callable[[], None] | None = None,
        on_accepted: Callable[[], Awaitable[None]] | None = None,
        on_progress: Callable[[str], None] | None = None,
        options: MessageOptions = NO_OPTIONS,
    ) -> RemoteMessage:
        """See the port."""
        async with self._served("post", external_id, 1.0):
            message = RemoteMessage(next(self._numbers), text, "An answer.", external_id, 42)
            self.messages[session_id].append(message)
            if external_id in self.deaf_to:
                raise OutcomeUnknown("reset")
            return message

    async def complete(
        self,
        project_id: int,
        *,
        text: str,
        external_id: str,
        lang: str | None,
        traceparent: str | None,
        connect_within_s: float,
        on_late: Callable[[], None] | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> RemoteMessage:
        """See the port."""
        raise AssertionError("nobody asks without a conversation here")

    async def get_message(self, project_id: int, session_id: str, message_id: int) -> RemoteMessage:
        """See the port."""
        async with self._served("get", session_id, READ_SHARE):
            return next(each for each in self.messages[session_id] if each.message_id == message_id)

    async def list_messages(
        self, project_id: int, session_id: str, *, above: int, admit: Admit | None = None
    ) -> MessageListing:
        """See the port."""
        async with self._served("read", session_id, READ_SHARE):
            stored = [] if self.hides_messages else self.messages[session_id]
            found = [each for each in stored if each.message_id > above]
            return MessageListing(tuple(reversed(found)), 42)

    async def delete_conversation(self, project_id: int, session_id: str) -> None:
        """See the port."""
        async with self._served("delete", session_id, READ_SHARE):
            self.conversations.pop(session_id, None)

    async def check_project(self, project_id: int) -> None:
        """See the port."""
        async with self._served("check", "", READ_SHARE):
            return

    async def canned_texts(self, project_id: int, *, admit: Admit | None = None) -> CannedTexts:
        """See the port."""
        return CannedTexts()

    @asynccontextmanager
    async def _served(self, kind: str, contact: str, share: float) -> AsyncIterator[None]:
        await asyncio.sleep(TRIP_S * self.chance.random())
        now = self.loop.time()
        self._at_once += 1
        pause_s = self._pause_s(now)
        self.seen.append(Request(now, kind, contact, self._at_once, pause_s is not None))
        try:
            if pause_s is not None:
                raise Throttled(pause_s=pause_s)
            self._admitted.append(now)
            await asyncio.sleep(self.latency_s * share)
            yield
        finally:
            self._at_once -= 1
            await asyncio.sleep(TRIP_S * self.chance.random())

    def _pause_s(self, now: float) -> float | None:
        if self.pause is not None and now >= self.pause[0]:
            begun, seconds = self.pause
            if now < begun + seconds:
                return begun + seconds - now
        if self.pace.requests_at_once and self._at_once > self.pace.requests_at_once:
            return 1.0
        limit = self.pace.requests_per_minute
        in_window = len(self._admitted) - bisect_right(self._admitted, now - WINDOW_S)
        return 1.0 if limit and in_window >= limit else None


class LoadedFleet:
    """So many workers over one ledger and one API. A context manager."""

    def __init__(
        self,
        *,
        workers: int,
        pace: Pace,
        latency_s: float,
        api_pace: Pace | None = None,
        seed: int = 1,
        concurrency: int = 100,
    ) -> None:
        self.chance = random.Random(seed)
        self.loop = VirtualLoop(self.chance)
        self.tables = Tables()
        self.api = LimitedApi(self.loop, self.chance, api_pace or pace, latency_s)
        self._pace = pace
        self._concurrency = concurrency
        #: Statements that went to the ledger; counted by the driver.
        self.statements = 0
        self.tables.raw.set_trace_callback(self._count)
        #: What the workers logged.
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.answered_at: dict[str, float] = {}
        self.asked_at: dict[str, float] = {}
        self._rings = SimRings(self.loop, Faults(self.chance, {}, 0.0, self.loop.time))
        self._ledgers = [self._start(f"w{number}") for number in range(workers)]

    def close(self) -> None:
        """Throw everything away."""
        self.tables.raw.set_trace_callback(None)
        self.loop.reap(self.loop.outside)
        for strand in [strand for strand in self.loop._strands if strand is not self.loop.outside]:
            self.loop.reap(strand)
        self.loop.close()

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def ask(self, contacts: Sequence[str]) -> None:
        """Write one question of each contact to the ledger, now and in this order."""
        for begin in range(0, len(contacts), 256):
            batch = [self._question(contact) for contact in contacts[begin : begin + 256]]
            self.loop.run_until_complete(self._ledgers[0].accept(batch))
        self._rings.ring()

    def ask_later(self, moments: Sequence[tuple[float, str]]) -> None:
        """Ask at moments from now."""

        async def ask(delay_s: float, contact: str) -> None:
            await asyncio.sleep(delay_s)
            await self._ledgers[0].accept([self._question(contact)])
            self._rings.ring()

        for delay_s, contact in moments:
            self.loop.create_task(ask(delay_s, contact), context=self.loop.outside.context)

    def report_pause(self, reason: str, seconds: float) -> None:
        """Close the gate."""
        self.loop.run_until_complete(self._ledgers[0].report(GateNews("pause", reason, seconds)))

    def make_extra(self, contact: str) -> None:
        """Leave an empty conversation of this contact behind, and have it healed now."""
        (first,) = [each for each in self.api.conversations.values() if f"crm:{contact} " in each.name]
        self.api.conversations["extra"] = RemoteConversation(0, "extra", first.name)
        self.tables.raw.execute(
            "update conversations set heal_at = ? where contact_id = ?", (WALL + self.loop.time(), contact)
        )

    def seen(self, since: float, until: float, kind: str | None = None) -> list[Request]:
        """Return the requests that the API saw between two moments."""
        return [each for each in self.api.seen if since <= each.at < until and kind in {None, each.kind}]

    def _count(self, statement: str) -> None:
        self.statements += not statement.startswith(("begin", "commit", "rollback"))

    def _question(self, contact: str) -> AcceptedQuestion:
        event_id = f"{contact}#{len(self.asked_at)}"
        self.asked_at[event_id] = self.loop.time()
        return AcceptedQuestion(
            source="crm",
            event_id=event_id,
            reply_id=f"reply-{event_id}",
            route="default",
            contact_id=contact,
            thread_id=None,
            text=f"Question {event_id}?",
            lang=None,
            metadata=None,
            asked_at=None,
            expires_at=None,
            traceparent=None,
            tracestate=None,
        )

    def _start(self, name: str) -> SqlLedger:
        faults = Faults(self.chance, {}, 0.0, self.loop.time)
        process = SimProcess(
            name=name,
            loop=self.loop,
            strand=self.loop.new_strand(name),
            trace=Trace(self.loop.time, is_kept=False),
            faults=faults,
            boot_offset_s=self.chance.random() * 1000,
            longest_pause_s=0.0,
            on_crash=lambda _: None,
            on_pause=lambda _process, _seconds: None,
        )
        config = LedgerConfig(
            url="sqlite://",
            worker_id=name,
            version="1",
            gate_key="gate",
            pace=self._pace,
            lease_s=RULES.lease_s,
            request_timeout_s=RULES.request_timeout_s,
            keep_days=30,
            dedup_days=365,
        )
        database = SimDatabase(self.tables, lambda: WALL + self.loop.time())
        ledger = SqlLedger(SimCommit(process, database, make_handlers(config, "sqlite")))
        world = World(
            ledger=ledger,
            assistant=self.api,
            clock=process,
            randomness=self.chance,
            points=process,
            rules=replace(RULES),
            project_of=lambda _route: PROJECT,
            publish=lambda _reply: None,
        )
        bell = SimBell(process, self._rings)
        turns = Turns(world, bell, self._log, self._concurrency, lambda contact: contact)
        sweeper = Sweeper(
            ledger, Healer(ledger, self.api, process, self._log), bell, process, self.chance, self._log
        )
        self.loop.start(process.strand, bell.start(turns.on_ring))
        for loop in (turns.run, turns.renew_leases, sweeper.run):
            self.loop.start(process.strand, loop())
        return ledger

    def _log(self, event: str, /, **fields: Any) -> None:
        self.lines.append((event, fields))
        if event == "turn.finished" and fields["verdict"] == "answered":
            self.answered_at[fields["question_id"]] = self.loop.time()
