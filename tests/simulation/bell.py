"""The doorbell: loses, doubles, delays and reorders rings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.simulation.faults import Faults
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import SimProcess

#: s. A ring that is late, at most.
LATE_S = 30.0

OnRing = Callable[[], Awaitable[None]]


class SimRings:
    """All bells of the fleet."""

    def __init__(self, loop: VirtualLoop, faults: Faults) -> None:
        self._loop = loop
        self._faults = faults
        self.listeners: dict[SimProcess, OnRing] = {}

    def ring(self) -> None:
        """Send a ring to some process, sometimes more than one, sometimes none."""
        if self._faults.strikes("ring_lost"):
            return
        chance = self._faults.chance
        for _ in range(2 if self._faults.strikes("ring_doubled") else 1):
            late = self._faults.strikes("ring_late")
            self._loop.at_outside(chance.random() * (LATE_S if late else 0.01), self._arrive)

    def _arrive(self) -> None:
        able = [process for process in self.listeners if not process.is_dead]
        if able:
            process = able[int(self._faults.chance.random() * len(able))]
            self._loop.start(process.strand, _heard(self.listeners[process]))


class SimBell:
    """Implements Bell for one process."""

    def __init__(self, process: SimProcess, rings: SimRings) -> None:
        self._process = process
        self._rings = rings

    async def start(self, on_ring: OnRing) -> None:
        """Listen."""
        await self._process.step()
        self._rings.listeners[self._process] = on_ring

    def ring(self) -> None:
        """Ring for the fleet."""
        self._process.soon(self._rings.ring)

    async def stop(self) -> None:
        """Stop listening."""
        await self._process.step()
        self._rings.listeners.pop(self._process, None)


async def _heard(on_ring: OnRing) -> None:
    await on_ring()
