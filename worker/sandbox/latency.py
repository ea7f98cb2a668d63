"""How long the agent thinks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from worker.sandbox.switches import Switches


def answer_latency_s(switches: Switches, chance: random.Random) -> float:
    """Draw the seconds of one answer: fixed, or log-normal with a capped tail."""
    if switches.latency_s is not None:
        return switches.latency_s
    drawn = switches.latency_median_s * chance.lognormvariate(0.0, switches.latency_sigma)
    return min(drawn, switches.latency_cap_s)


def other_latency_s(switches: Switches, chance: random.Random) -> float:
    """Draw the seconds of a call that asks the agent nothing."""
    return switches.other_latency_share * answer_latency_s(switches, chance)
