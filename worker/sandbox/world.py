"""Everything one sandbox is made of."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.sandbox.clock import Clock
from worker.sandbox.effects import Effects
from worker.sandbox.faults import Faults
from worker.sandbox.inkeep import Mirror
from worker.sandbox.pace import Pace
from worker.sandbox.state import Store
from worker.sandbox.switches import Switches

if TYPE_CHECKING:
    from worker.sandbox.call import Call


@dataclass(frozen=True, slots=True)
class World:
    """What the handlers of calls work on."""

    clock: Clock
    switches: Switches
    store: Store
    effects: Effects
    faults: Faults
    pace: Pace
    #: What was mirrored to Inkeep.
    mirror: Mirror
    #: Draws latencies.
    chance: random.Random

    def note_loss(self, call: Call, *, session_id: str, conversation_id: int) -> None:
        """Record that retention deleted a conversation, which no call asked for."""
        mine = call.session_id, call.conversation_id
        call.session_id, call.conversation_id = session_id, conversation_id
        self.effects.record("conversation_expired", call)
        call.session_id, call.conversation_id = mine


def make_world(
    switches: Switches | None = None, *, seed: int | None = None, clock: Clock | None = None
) -> World:
    """Make an empty sandbox; the same seed draws the same latencies and faults."""
    clock = clock or Clock()
    return World(
        clock=clock,
        switches=switches or Switches(),
        store=Store(clock),
        effects=Effects(clock),
        faults=Faults(seed),
        pace=Pace(clock),
        mirror=Mirror(),
        chance=random.Random(None if seed is None else f"{seed}/latency"),  # noqa: S311
    )
