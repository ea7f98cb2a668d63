"""The simulated worker processes: the real parts wired to simulated ports, over and over again."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.simulation.assistant import SimAssistant
from tests.simulation.bell import SimBell
from tests.simulation.broker import SimBus
from tests.simulation.commit import SimCommit
from tests.simulation.process import SimProcess
from tests.simulation.surroundings import PROJECT, Surroundings
from tests.simulation.tables import SimDatabase
from worker.adapters.ledger.ledger import LedgerConfig, SqlLedger, make_handlers
from worker.core.healing import Healer
from worker.core.pace import Pace
from worker.core.world import World
from worker.runtime.intake import Intake, IntakeRules
from worker.runtime.process import Process
from worker.runtime.relay import Relay
from worker.runtime.sweeper import Sweeper
from worker.runtime.turns import Turns

#: s. Of a process that is told to stop.
GRACE_S = 6.0


class Fleet:
    """One to three processes; whoever dies or stops is started again."""

    def __init__(self, here: Surroundings) -> None:
        self._here = here
        self._pace = Pace(here.chance.choice([0, 0, 60]), here.chance.choice([0, 2, 5]))
        self._commits: dict[str, SimCommit] = {}
        self._buses: dict[SimProcess, SimBus] = {}
        self._lives: Counter[str] = Counter()
        self.processes: dict[str, SimProcess] = {}
        #: What the worker's code did that it should never do: loops, turns and processes that crashed.
        self.bugs: list[str] = []

    def begin(self) -> None:
        """Start the processes, not all at once."""
        chance = self._here.chance
        for number in range(chance.randint(1, 3)):
            self._here.later(chance.random() * 2, self.start, f"w{number + 1}")

    def end(self) -> None:
        """Throw everything away."""
        for process in self.processes.values():
            self.bugs.extend(process.bugs)
            if not process.is_dead:
                self._here.loop.reap(process.strand)

    def cut_off_from_ledger(self) -> None:
        """Let the ledger be away for a while, for one process or for all."""
        until = self._here.loop.time() + self._here.chance.uniform(0.5, 15)
        cut_off = list(self._commits.values())
        if cut_off and self._here.chance.random() < 0.5:
            cut_off = [self._here.chance.choice(cut_off)]
        for commit in cut_off:
            commit.away_until = until

    def start(self, name: str) -> None:
        """Start a process, or its next life."""
        self._lives[name] += 1
        life = f"{name}.{self._lives[name]}"
        process = SimProcess(
            name=life,
            loop=self._here.loop,
            strand=self._here.loop.new_strand(life),
            trace=self._here.trace,
            faults=self._here.faults,
            boot_offset_s=self._here.chance.random() * 1000,
            longest_pause_s=self._here.longest_pause_s,
            on_crash=self._crashed,
            on_pause=lambda stopped, seconds: self._buses[stopped].process_stopped(seconds),
        )
        self._here.trace(life, "STARTS")
        self.processes[name] = process
        commit = SimCommit(
            process,
            SimDatabase(self._here.tables, self._here.ledger_time),
            make_handlers(self._ledger_config(life), "sqlite"),
        )
        self._commits[name] = commit
        bus = SimBus(process, self._here.broker)
        self._buses[process] = bus
        worker = self._wire(process, bus, SqlLedger(commit))
        task = self._here.loop.start(process.strand, worker.run(process.stop))
        task.add_done_callback(
            lambda _: self._ended(name, process, task), context=self._here.loop.outside.context
        )

    def _wire(self, process: SimProcess, bus: SimBus, ledger: SqlLedger) -> Process:
        """Wire the real parts as worker/bootstrap.py does."""
        bell = SimBell(process, self._here.rings)
        relay = Relay(bus, ledger, process, self._here.chance, process, process.log)
        world = World(
            ledger=ledger,
            assistant=SimAssistant(
                process,
                self._here.api,
                user_timeout_s=self._here.rules.user_timeout_s,
                send_grace_s=self._here.rules.send_grace_s,
            ),
            clock=process,
            randomness=self._here.chance,
            points=process,
            rules=self._here.rules,
            project_of=lambda _route: PROJECT,
            publish=relay.publish,
        )
        turns = Turns(
            world, bell, process.log, self._here.chance.choice([1, 3, 100]), lambda contact: contact
        )
        intake = Intake(
            bus=bus,
            ledger=ledger,
            bell=bell,
            clock=process,
            randomness=self._here.chance,
            points=process,
            log=process.log,
            rules=IntakeRules("crm", None),
            on_repeat=relay.look,
            on_arrival=turns.look,
        )
        healer = Healer(ledger, world.assistant, process, process.log)
        sweeper = Sweeper(ledger, healer, bell, process, self._here.chance, process.log)
        return Process(bus, bell, intake, turns, relay, sweeper, process, process.log, grace_s=GRACE_S)

    def _ledger_config(self, worker_id: str) -> LedgerConfig:
        return LedgerConfig(
            url="sqlite://",
            worker_id=worker_id,
            version="simulated",
            gate_key="gate",
            pace=self._pace,
            lease_s=self._here.rules.lease_s,
            request_timeout_s=self._here.rules.request_timeout_s,
            keep_days=30,
            dedup_days=365,
            settle_s=self._here.rules.settle_s,
            heal_after_s=self._here.rules.send_grace_s
            + self._here.rules.request_timeout_s
            + self._here.rules.list_lag_s,
        )

    def _alive(self) -> list[tuple[str, SimProcess]]:
        return [(name, process) for name, process in self.processes.items() if not process.is_dead]

    def crash_one(self) -> None:
        """Kill one."""
        if alive := self._alive():
            self._here.faults.counts["crash"] += 1
            self._here.chance.choice(alive)[1].crash("by chance")

    def pause_one(self) -> None:
        """Stop one for a while (SIGSTOP)."""
        if alive := self._alive():
            self._here.faults.counts["pause"] += 1
            seconds = self._here.chance.uniform(0, self._here.longest_pause_s)
            self._here.chance.choice(alive)[1].pause(seconds, "by chance")

    def stop_one(self) -> None:
        """Tell one to stop (SIGTERM)."""
        if alive := self._alive():
            self._here.faults.counts["stop"] += 1
            process = self._here.chance.choice(alive)[1]
            self._here.trace(process.name, "told to stop")
            process.soon(process.stop.set)

    def _crashed(self, process: SimProcess) -> None:
        self._buses[process].process_died()
        self._here.loop.call_soon(self._bury, process, context=self._here.loop.outside.context)

    def _bury(self, process: SimProcess) -> None:
        self._here.loop.reap(process.strand)

    def _ended(self, name: str, process: SimProcess, task: asyncio.Task[None]) -> None:
        """Start the next life of a process that has ended."""
        self.bugs.extend(process.bugs)
        process.bugs.clear()
        if not task.cancelled() and task.exception() is not None and not process.is_dead:
            self.bugs.append(f"the process ended with {task.exception()!r}")
        if not process.is_dead:
            self._here.rings.listeners.pop(process, None)
            self._here.loop.call_soon(self._end_in_order, process, context=self._here.loop.outside.context)
        if self.processes.get(name) is process:
            self._here.later(self._here.chance.uniform(0.1, 5), self.start, name)

    def _end_in_order(self, process: SimProcess) -> None:
        self._here.trace(process.name, "ended")
        if not process.is_dead:
            process.strand.is_dead = True
            self._buses[process].process_died()
            self._here.loop.reap(process.strand)
