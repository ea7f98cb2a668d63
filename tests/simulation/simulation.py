"""One run: a fleet, its surroundings, its faults, and the verdict."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tests.simulation.api import ApiTimes, SimApi
from tests.simulation.bell import SimRings
from tests.simulation.broker import SimBroker
from tests.simulation.contacts import Contacts
from tests.simulation.faults import draw
from tests.simulation.fleet import GRACE_S, Fleet
from tests.simulation.happenings import Happenings
from tests.simulation.judge import Judge, Violation
from tests.simulation.loop import Stalled, VirtualLoop
from tests.simulation.surroundings import RULES, Surroundings
from tests.simulation.tables import Tables
from tests.simulation.trace import Trace

#: s. Faults end when everything was answered, and after this at the latest.
FAULTS_S = 150.0
#: s. A run that is not at rest so long after its last fault is stuck.
REST_S = 3600.0
#: s. At rest for so long: nothing comes any more.
QUIET_S = 8.0
#: s. Where an assumption broke there may be something to heal, which takes its time.
HEALING_S = 60.0
#: Part of the seeds in which answers are streamed.
STREAMED = 0.3
#: Faults after which every answer is still got by its own post.
HARMLESS = frozenset(
    {"long_answer", "ring_lost", "ring_late", "ring_doubled", "event_repeated", "somebody_else", "list_lag"}
)


@dataclass(frozen=True)
class Scenario:
    """What to run besides the seed."""

    #: Rates that are not left to chance.
    rates: Mapping[str, float] = field(default_factory=dict)
    #: No other faults than these.
    is_only: bool = False
    #: One of A1 to A4, A6, A7.
    broken_assumption: str | None = None
    has_trace: bool = False


@dataclass
class Result:
    """What became of a run."""

    seed: int
    questions: int
    posts: int
    replies: int
    virtual_s: float
    violations: list[Violation]
    faults: Counter[str]
    breaks: list[tuple[str, str]]
    trace: list[str]


class Simulation:
    """A fleet of one to three workers and everything around it."""

    def __init__(self, seed: int, scenario: Scenario, tables: Tables) -> None:
        self._seed = seed
        self._quiet_s = HEALING_S if scenario.broken_assumption else QUIET_S
        self._here = _surroundings(seed, scenario, tables)
        self._fleet = Fleet(self._here)
        self._contacts = Contacts(self._here)
        self._happenings = Happenings(self._here, self._fleet, self._contacts)

    def run(self) -> Result:
        """Run to the end and judge."""
        here, violations = self._here, []
        try:
            here.loop.run_until_complete(self._live())
        except Stalled:
            violations.append(Violation("stuck", "everybody", "nothing is left that could ever happen"))
        finally:
            self._fleet.end()
            here.loop.reap(here.loop.outside)
            here.loop.close()
        violations.extend(self._verdict())
        return Result(
            seed=self._seed,
            questions=len(self._contacts.asked),
            posts=sum(effect["kind"] == "message" for effect in here.api.effects),
            replies=len(here.broker.replies),
            virtual_s=here.loop.time(),
            violations=violations,
            faults=here.faults.counts,
            breaks=here.api.breaks,
            trace=here.trace.lines,
        )

    async def _live(self) -> None:
        here = self._here
        self._fleet.begin()
        self._contacts.begin()
        self._happenings.begin()
        await asyncio.sleep(here.busy_s)
        while here.loop.time() < FAULTS_S and not self._is_at_rest():  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(1.0)
        here.faults.until = here.loop.time()
        here.trace("outside", "FAULTS END")
        quiet_s = 0.0
        while quiet_s < self._quiet_s and here.loop.time() < here.faults.until + REST_S:
            await asyncio.sleep(1.0)
            quiet_s = quiet_s + 1.0 if self._is_at_rest() else 0.0
        for process in self._fleet.processes.values():
            process.stop.set()
        await asyncio.sleep(GRACE_S + 1)

    def _is_at_rest(self) -> bool:
        here = self._here
        answered = {reply["data"]["question_id"] for reply in here.broker.replies}
        return (
            all(question.event_id in answered for question in self._contacts.asked)
            and here.broker.is_idle
            and not here.api.under_way
            and not any(process.is_held for process in self._fleet.processes.values())
        )

    def _verdict(self) -> list[Violation]:
        here = self._here
        judge = Judge(
            self._contacts.asked, here.api.effects, here.broker.replies, returned=here.broker.returned
        )
        found = judge.verdict()
        if here.faults.counts.keys() <= HARMLESS:
            found.extend(judge.needless_recoveries())
        found.extend(Violation("bug", bug) for bug in dict.fromkeys(self._fleet.bugs))
        found.extend(
            Violation("not_rejected", body.decode())
            for body in self._contacts.refused
            if body not in here.broker.rejected
        )
        return found


def simulate(seed: int, scenario: Scenario, tables: Tables) -> Result:
    """Run one seed."""
    return Simulation(seed, scenario, tables).run()


def _surroundings(seed: int, scenario: Scenario, tables: Tables) -> Surroundings:
    tables.empty()
    chance = random.Random(seed)
    loop = VirtualLoop(chance)
    trace = Trace(loop.time, is_kept=scenario.has_trace)
    faults = draw(chance, until=FAULTS_S, time=loop.time, fixed=scenario.rates, is_only=scenario.is_only)
    rules = replace(
        RULES,
        on_unknown="hold" if chance.random() < 0.1 else "repost",
        is_after_restore="restored" in faults.rates,
    )
    api = SimApi(ApiTimes(rules.request_timeout_s, rules.settle_s, rules.list_lag_s), faults, trace)
    api.broken_assumption = scenario.broken_assumption
    # By a chance of its own, so that the seeds without streams stay what they were.
    streamed = scenario.rates.get("streamed", 0.0 if scenario.is_only else STREAMED)
    api.is_streaming = random.Random(f"{seed}/streamed").random() < streamed
    return Surroundings(
        chance=chance,
        loop=loop,
        trace=trace,
        faults=faults,
        rules=rules,
        tables=tables,
        api=api,
        broker=SimBroker(loop, faults, trace),
        rings=SimRings(loop, faults),
        busy_s=chance.uniform(5, 40),
        longest_pause_s=chance.choice([3 * RULES.lease_s, 2 * RULES.settle_s]),
    )
