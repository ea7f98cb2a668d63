"""What the parts of one run share: chance, time, faults, the API, the broker."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.api import SimApi
from tests.simulation.bell import SimRings
from tests.simulation.broker import SimBroker
from tests.simulation.faults import Faults
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import WALL
from tests.simulation.tables import Tables
from tests.simulation.trace import Trace
from worker.core.world import Rules

#: The API's project.
PROJECT = 123
#: The protocol's times in virtual seconds: small, so that a run has few idle rounds, and in the relation that
#: PROTOCOL 1 asks for (T_srv at least twice H).
RULES = Rules(
    lease_s=6.0,
    send_grace_s=1.0,
    request_timeout_s=10.0,
    settle_s=25.0,
    list_lag_s=4.0,
    max_attempts=12,
    on_unknown="repost",
    user_timeout_s=2.0,
)


@dataclass(eq=False)
class Surroundings:
    """Everything that is there once."""

    chance: random.Random
    loop: VirtualLoop
    trace: Trace
    faults: Faults
    rules: Rules
    tables: Tables
    api: SimApi
    broker: SimBroker
    rings: SimRings
    #: s. Questions are asked, and processes and servers fail by plan, in so long.
    busy_s: float
    #: s. Beyond the lease, and in some runs beyond the time in which an unknown outcome settles.
    longest_pause_s: float
    #: s. How far the ledger's clock has jumped (A7).
    clock_jump_s: float = 0.0

    def ledger_time(self) -> float:
        """The ledger's clock."""
        return WALL + self.loop.time() + self.clock_jump_s

    def later(self, delay_s: float, callback: Callable[..., object], *args: object) -> None:
        """Let something happen, whatever becomes of any process."""
        self.loop.at_outside(delay_s, callback, *args)
