"""A simulated worker process: it can crash and be stopped, and everything it touches goes through here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.faults import Faults
from tests.simulation.loop import Strand, VirtualLoop
from tests.simulation.trace import Trace
from worker.core.ports import RecoveryPoint

#: The virtual wall clock's second 0, so that events have believable times.
WALL = 1_800_000_000.0


@dataclass(eq=False)
class SimProcess:
    """One life of a worker process."""

    name: str
    loop: VirtualLoop
    strand: Strand
    trace: Trace
    faults: Faults
    #: BOOTTIME minus virtual time: no two machines booted together.
    boot_offset_s: float
    #: s. How long a pause at a recovery point is, at most.
    longest_pause_s: float
    on_crash: Callable[[SimProcess], None]
    on_pause: Callable[[SimProcess, float], None]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    held_until: float = 0.0
    bugs: list[str] = field(default_factory=list)

    @property
    def is_dead(self) -> bool:
        """It was killed."""
        return self.strand.is_dead

    @property
    def is_held(self) -> bool:
        """It is stopped (SIGSTOP), or dead."""
        return self.strand.is_held or self.strand.is_dead

    def crash(self, why: str) -> None:
        """Kill it (SIGKILL)."""
        if not self.is_dead:
            self.trace(self.name, f"KILLED {why}")
            self.strand.is_dead = True
            self.on_crash(self)

    def pause(self, seconds: float, why: str) -> None:
        """Stop it (SIGSTOP); its clocks go on."""
        if self.is_held:
            return
        self.trace(self.name, f"STOPPED for {seconds:.2f} s {why}")
        self.strand.is_held = True
        self.held_until = self.loop.time() + seconds
        self.loop.at_outside(seconds, self._resume)
        self.on_pause(self, seconds)

    def _resume(self) -> None:
        if not self.is_dead:
            self.trace(self.name, "goes on")
            self.strand.is_held = False

    async def step(self) -> None:
        """Begin something that reaches outside: nothing of a dead process does, and a stopped one waits."""
        if self.is_dead:
            raise asyncio.CancelledError
        while self.strand.is_held:  # noqa: ASYNC110 - once is enough: a held strand does not run
            # Runs when the process goes on: the code that came here did so logically after the pause.
            await asyncio.sleep(0)
        if self.is_dead:
            raise asyncio.CancelledError

    def soon(self, callback: Callable[..., object], *args: object) -> None:
        """Call now, or when the process goes on, or never when it is dead."""
        if self.is_dead:
            return
        if self.strand.is_held:
            self.loop.call_soon(callback, *args, context=self.strand.context)
        else:
            callback(*args)

    # Clock, RecoveryPoints and Log of worker.core.ports, in one place each.

    def boottime(self) -> float:
        """See Clock. Code that runs on after it was stopped at a recovery point sees the time after that."""
        return max(self.loop.time(), self.held_until) + self.boot_offset_s

    def wall(self) -> float:
        """See Clock."""
        return max(self.loop.time(), self.held_until) + WALL

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await self.step()
        await asyncio.sleep(seconds)

    def reached(self, point: RecoveryPoint) -> None:
        """See RecoveryPoints: the place for crashes and pauses that hit where it hurts."""
        if self.is_dead:
            raise asyncio.CancelledError
        self.trace(self.name, f"at {point}")
        if point is RecoveryPoint.CLAIMED and self.faults.chance.random() < 0.7:
            return  # every idle look comes by here: it would get most of the faults
        if self.faults.strikes("crash_at_point"):
            self.crash(f"at {point}")
            raise asyncio.CancelledError
        if self.faults.strikes(f"pause at {point}") or self.faults.strikes("pause_at_point"):
            self.pause(self.faults.chance.uniform(0, self.longest_pause_s), f"at {point}")

    def log(self, event: str, /, **fields: Any) -> None:
        """See Log. A crash of a loop or of a turn is a bug of the worker's."""
        if self.is_dead:
            return
        if event in {"turn.crashed", "loop.crashed"}:
            error = fields.get("exception")
            self.bugs.append(f"{event}: {type(error).__name__}: {error}")
        self.trace.log(self.name, event, fields)
