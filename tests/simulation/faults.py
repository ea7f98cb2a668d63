"""Which faults a seed injects, how often, and the count of what was injected.

Swarm testing: every seed switches a random part of the faults on, each at a rate of its own. All faults at
once would hide those that need some quiet around them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

#: Every fault with the highest rate at which it is injected: a probability per occasion, or, from 1 on, how
#: many of them a run has at most.
FAULTS: dict[str, float] = {
    # processes, per run
    "crash": 4,
    "pause": 4,
    "stop": 2,
    # processes, per recovery point
    "crash_at_point": 0.05,
    "pause_at_point": 0.03,
    # API: requests
    "request_lost": 0.2,
    "request_late": 0.3,
    "response_lost": 0.3,
    "refused": 0.2,
    "slow": 0.2,
    "long_answer": 0.3,
    "error_before": 0.2,
    "error_after": 0.3,
    "error_before_own": 0.2,
    "error_after_own": 0.3,
    "garbage": 0.2,
    "throttled": 0.1,
    "read_failed": 0.2,
    # API: state
    "message_lag": 0.5,
    "list_lag": 0.7,
    "answer_late": 0.3,
    # API: windows and happenings, per run
    "key_rejected": 1,
    "credits_gone": 1,
    "out_of_queries": 1,
    "conversation_deleted": 1,
    "somebody_else": 3,
    "old_conversations": 1,
    "restored": 1,
    "question_rejected": 1,
    # ledger, per batch; and windows, per run
    "commit_failed": 0.1,
    "commit_slow": 0.1,
    "commit_unknown": 0.1,
    "ledger_away": 2,
    # bus
    "event_repeated": 0.4,
    "event_malformed": 2,
    "event_conflict": 1,
    "confirm_lost": 0.3,
    "publish_lost": 0.3,
    "returned": 0.2,
    "broker_away": 2,
    "expiry": 0.3,
    "same_text": 0.3,
    # bell, per ring
    "ring_lost": 0.99,
    "ring_late": 0.5,
    "ring_doubled": 0.5,
}

#: A fault is on in this part of the seeds.
ON = 0.4
#: Exhausted credits are asked for every 15 minutes: a long idle run, so fewer seeds get them.
ON_RARELY = 0.05
RARE = frozenset({"credits_gone", "out_of_queries", "restored"})


@dataclass
class Faults:
    """The faults of one seed."""

    chance: random.Random
    rates: dict[str, float]
    #: Faults are injected until this virtual time.
    until: float
    time: Callable[[], float]
    counts: Counter[str] = field(default_factory=Counter)

    def strikes(self, name: str) -> bool:
        """Tell whether the fault happens on this occasion."""
        rate = self.rates.get(name)
        if not rate or self.time() >= self.until or self.chance.random() >= rate:
            return False
        self.counts[name] += 1
        return True

    def times(self, name: str) -> int:
        """How often a fault that is counted per run happens in this one."""
        rate = self.rates.get(name)
        return self.chance.randint(1, max(1, int(rate))) if rate else 0


def draw(
    chance: random.Random,
    *,
    until: float,
    time: Callable[[], float],
    fixed: Mapping[str, float] | None = None,
    is_only: bool = False,
) -> Faults:
    """Draw the faults of a seed; ``fixed`` rates are taken as they are."""
    rates = {}
    for name, highest in FAULTS.items():
        is_on, part = chance.random() < (ON_RARELY if name in RARE else ON), chance.random()
        if is_on and not is_only:
            rates[name] = highest if highest >= 1 else highest * (0.1 + 0.9 * part)
    rates.update(fixed or {})
    return Faults(chance, rates, until, time)
