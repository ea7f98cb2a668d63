"""The turns of a process on fakes, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from tests.unit.core_cases import CONVERSATION, QUESTION, RULES
from tests.unit.fakes import FakeAssistant, FakeBell, FakeLedger, Highest, Log, LoopClock, Points
from tests.unit.virtual_time import in_virtual_time
from worker.core.model import Claim, Claims, Lease, OutboxReply
from worker.core.world import Rules, World
from worker.runtime.turns import Turns

NOTHING = Claims((), None, has_more=False)


def claim(number: int, **asked: Any) -> Claim:
    """Return a claim of a known contact's question."""
    return Claim(
        Lease(number, 1),
        replace(CONVERSATION, number=number, contact_id=f"CANARY-{number}", session_id=f"session-{number}"),
        replace(QUESTION, number=number, event_id=f"evt-{number}", text="CANARY?", **asked),
        claimed_at=1_000.0,
    )


def claims(*numbers: int, has_more: bool = False, **asked: Any) -> Claims:
    """Return what a look at the ledger gave: one turn for each number."""
    return Claims(tuple(claim(number, **asked) for number in numbers), None, has_more=has_more)


class Bench:
    """The turns of a process on fakes, in virtual time."""

    def __init__(self, concurrency: int = 10, rules: Rules = RULES) -> None:
        self.clock, self.bell, self.log = LoopClock(), FakeBell(), Log()
        self.ledger, self.assistant = FakeLedger(self.clock), FakeAssistant()
        self.published: list[OutboxReply] = []
        world = World(
            ledger=self.ledger,
            assistant=self.assistant,
            clock=self.clock,
            randomness=Highest(),
            points=Points(),
            rules=rules,
            project_of=lambda _: 123,
            publish=self.published.append,
        )
        self.turns = Turns(world, self.bell, self.log, concurrency, lambda contact: f"hash of {len(contact)}")

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        """Run the process's turns and a scenario beside them."""

        async def all_() -> None:
            loops = [asyncio.create_task(self.turns.run()), asyncio.create_task(self.turns.renew_leases())]
            try:
                await scenario()
            finally:
                await self.turns.stop(0)
                for loop in loops:
                    loop.cancel()
                await asyncio.gather(*loops, return_exceptions=True)

        in_virtual_time(all_())

    def answer_slowly(self, seconds: float, times: int = 1) -> None:
        """Have the API take its time for the next posts."""

        async def slow(_project: int, session: str, text: str, external_id: str, *_: Any) -> Any:
            await asyncio.sleep(seconds)
            return self.assistant.store(session, text, external_id)

        self.assistant.script("post_question", *[slow] * times)

    @property
    def finished(self) -> list[int]:
        """The questions whose turns were ended, by number."""
        return [arguments[1] for arguments in self.ledger.called("finish")]

    @property
    def limits(self) -> list[int]:
        """How many turns were asked for, claim by claim."""
        return [limit for limit, _ in self.ledger.called("claim")]
