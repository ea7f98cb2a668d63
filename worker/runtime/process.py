"""One worker process: its loops, from the first to the last (PROTOCOL 9)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from worker.core.ports import Bell, Bus, Clock, Log
from worker.runtime.ending import cut_off
from worker.runtime.intake import Intake
from worker.runtime.mirroring import Mirroring
from worker.runtime.ratings import Ratings
from worker.runtime.relay import Relay
from worker.runtime.sweeper import Sweeper
from worker.runtime.turns import Turns
from worker.runtime.vitals import Pulse, Vitals

#: s. A loop that crashed is a bug of ours; the others go on, and it begins anew after this.
RESTART_S = 1.0
#: s. Kept back from the grace for publishing the last replies and giving leases back.
CLOSING_S = 3.0


@dataclass(slots=True)
class Process:
    """Runs intake, turns, relay and sweeper until it is told to stop."""

    bus: Bus
    bell: Bell
    intake: Intake
    turns: Turns
    relay: Relay
    sweeper: Sweeper
    clock: Clock
    log: Log
    grace_s: float
    #: None where nothing is mirrored.
    mirroring: Mirroring | None = None
    #: None where nobody rates, as in the simulator.
    ratings: Ratings | None = None
    vitals: Vitals = field(init=False)
    _loops: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.vitals = Vitals(self.clock, self.turns.world.rules)

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, wait for ``stop``, end in order."""
        await self.bus.start()
        await self.bell.start(self.turns.on_ring)
        loops: dict[str, Callable[[Pulse], Awaitable[None]]] = {
            "intake": self.intake.run,
            "turns": self.turns.run,
            "leases": self.turns.renew_leases,
            "relay": self.relay.run,
            "sweeper": self.sweeper.run,
        }
        if self.mirroring is not None:
            loops["mirror"] = self.mirroring.run
        if self.ratings is not None:
            loops["ratings"] = self.ratings.run
        for name, loop in loops.items():
            self._loops[name] = asyncio.create_task(self._guard(name, loop), name=name)
        try:
            await stop.wait()
        finally:
            await self._end()

    async def _guard(self, name: str, loop: Callable[[Pulse], Awaitable[None]]) -> None:
        pulse = self.vitals.pulse(name)
        while True:
            try:
                await loop(pulse)
            except Exception as error:  # noqa: BLE001 - one loop's bug must not end the others
                self.log("loop.crashed", loop=name, exception=error)
                await self.clock.sleep(RESTART_S)
            else:
                return

    async def _end(self) -> None:
        """Stop intake, claim nothing, let turns end, publish; what is cut off is read back by others."""
        begun = self.clock.boottime()
        self.vitals.end()
        self.intake.is_stopping = True
        # First of all: what comes before the turns' own stop waits for the broker, which may take its time.
        self.turns.claim_nothing_more()
        await self._cancel("sweeper", "mirror", "ratings")
        await self._end_intake()
        await self.bell.stop()
        grace_s = max(0.0, self.grace_s - CLOSING_S - (self.clock.boottime() - begun))
        await self.turns.stop(grace_s)
        await self._cancel("turns", "leases")
        try:
            async with asyncio.timeout(CLOSING_S):
                await self.relay.drain()
        except TimeoutError:
            pass  # Another process publishes them.
        await self._cancel("relay")
        await self.bus.stop()

    async def _end_intake(self) -> None:
        """Let a batch that is being written end, then close the channel; unacked deliveries return."""
        if self.intake.is_taking:
            await asyncio.wait([self._loops["intake"]], timeout=CLOSING_S)
        await self._cancel("intake")
        await self.bus.stop_intake()

    async def _cancel(self, *names: str) -> None:
        await cut_off([self._loops[name] for name in names if name in self._loops])
