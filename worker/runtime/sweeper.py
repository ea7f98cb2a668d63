"""The sweeper: rings for what is overdue, erases what must go, heals what a crash left behind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from worker.core.errors import LedgerError
from worker.core.healing import Healer
from worker.core.ports import Bell, Clock, Ledger, Log, Randomness
from worker.runtime.vitals import Pulse

#: s. Between steps; with more to erase, the next step follows sooner.
STEP_S = 5.0
BUSY_STEP_S = 0.5


@dataclass(slots=True)
class Sweeper:
    """Makes small steps for ever."""

    ledger: Ledger
    healer: Healer
    bell: Bell
    clock: Clock
    randomness: Randomness
    log: Log
    #: Shared with the ratings: see there.
    place: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, pulse: Pulse | None = None) -> None:
        """Step, and pause with jitter, so that a fleet's sweepers do not march in step."""
        pulse = pulse or Pulse(self.clock)
        while True:
            pulse.beat()
            pause_s = STEP_S
            try:
                swept = await self.ledger.sweep()
                if swept.overdue:
                    self.bell.ring()
                if swept.erased:
                    pause_s = BUSY_STEP_S
                    self.log("sweeper.swept", overdue=swept.overdue, erased=swept.erased)
                async with self.place:
                    if await self.healer.heal_one():
                        pause_s = BUSY_STEP_S
                    await self.healer.look_again()
            except LedgerError:
                pass  # Away, or nothing may be sent now: the next step tries again.
            await self.clock.sleep(self.randomness.uniform(pause_s * 0.8, pause_s * 1.2))
