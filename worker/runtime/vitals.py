"""Vital signs: whether every loop goes on. Slow is not stuck, and waiting for work is neither."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.core.ports import Clock
from worker.core.world import Rules

#: s. One batch may wait 60 s for a ledger that is away, then 35 s each for two tries to put rejected events
#: aside, and for its channel to close.
INTAKE_S = 300.0
#: s. A claim is one transaction: 10 s for a busy SQLite file, or 2 s for a lock, tried again a few times.
LEDGER_S = 120.0
#: s. A batch of replies waits 35 s for the broker and then for the ledger.
RELAY_S = 180.0
#: s. A step heals one conversation and looks again for ten questions; a read that hangs takes 30 s.
SWEEPER_S = 600.0
#: s. It looks every few seconds, whatever the other side does; its writes wait for the ledger.
MIRROR_S = LEDGER_S


@dataclass(slots=True)
class Pulse:
    """One loop's signs of life, given by the loop itself."""

    clock: Clock
    #: s. Silence from which on the loop is stuck.
    limit_s: float = LEDGER_S
    beat_at: float = field(init=False)
    is_resting: bool = False

    def __post_init__(self) -> None:
        self.beat_at = self.clock.boottime()

    def beat(self) -> None:
        """Say that the loop goes on."""
        self.beat_at = self.clock.boottime()
        self.is_resting = False

    def rest(self) -> None:
        """Say that the loop has nothing to do until somebody else acts, however long that takes.

        Its silence says nothing until the next beat: that the event loop runs is told by whoever asks on it.
        """
        self.is_resting = True


class Vitals:
    """The pulses of a process's loops."""

    def __init__(self, clock: Clock, rules: Rules) -> None:
        self._clock = clock
        # Ratings and the sweeper share a place at the gate, and may wait for each other. A rating is one
        # request within its deadline; healing deletes extra conversations, each within a request's deadline.
        place_s = LEDGER_S + rules.request_timeout_s + SWEEPER_S + 2 * rules.request_timeout_s
        self._limits = {
            "intake": INTAKE_S,
            "turns": LEDGER_S,
            "leases": LEDGER_S + rules.lease_s,
            "relay": RELAY_S,
            "mirror": MIRROR_S,
            "ratings": place_s,
            "sweeper": place_s,
        }
        self._pulses: dict[str, Pulse] = {}

    def pulse(self, loop: str) -> Pulse:
        """Begin to watch a loop and return its pulse."""
        self._pulses[loop] = Pulse(self._clock, self._limits[loop])
        return self._pulses[loop]

    def end(self) -> None:
        """Stop watching: the process ends, and its loops fall silent one by one."""
        self._pulses.clear()

    def stuck(self, since: float = 0.0) -> dict[str, float]:
        """Return the loops that are silent for too long, and for how many seconds.

        ``since`` is the BOOTTIME before which silence is excused.
        """
        now = self._clock.boottime()
        silence_s = {name: now - max(pulse.beat_at, since) for name, pulse in self._pulses.items()}
        return {
            name: silent_s
            for name, silent_s in silence_s.items()
            if silent_s > self._pulses[name].limit_s and not self._pulses[name].is_resting
        }
