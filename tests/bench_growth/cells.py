"""What is measured: work on ledgers of several sizes, claims, a backlog, and a whole worker."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench.api_process import ApiProcess
from tests.bench_growth.drive import Askers, Driver
from tests.bench_growth.fill import Contents
from tests.bench_growth.meters import Cost, Meter, resident_mb
from tests.contract.ledger_cases import opened
from tests.fleet import Fleet
from tests.judge import Asked
from tests.servers.rabbitmq import RabbitMQ

#: Questions of a cell that are not counted: prepared statements, caches and the first checkpoint come first.
WARM_UP = 2000
#: Claims that are timed, and how many turns each takes.
CLAIMS, CLAIMED = 40, 50
#: Events in a batch of intake, as the worker takes them when a backlog waits.
BACKLOG_BATCH = 256


@dataclass(frozen=True)
class Ledger:
    """A ledger that was filled."""

    name: str
    url: str
    contents: Contents
    #: PostgreSQL's postmaster; None is SQLite.
    server_pid: int | None = None

    @property
    def kind(self) -> str:
        """The database."""
        return "SQLite" if self.server_pid is None else "PostgreSQL"


@dataclass
class Measured:
    """Costs of one question, run by run."""

    runs: list[Cost] = field(default_factory=list)

    def of(self, name: str) -> float:
        """Return the median of one figure."""
        return median(getattr(run, name) for run in self.runs)

    def ratio(self, base: Measured, name: str = "cpu_s") -> float:
        """Return the median of the ratios run by run: what the machine does meanwhile meets both."""
        pairs = zip(self.runs, base.runs, strict=True)
        return median(getattr(run, name) / getattr(other, name) for run, other in pairs)


async def cost_of_questions(ledgers: Sequence[Ledger], *, questions: int, runs: int) -> dict[str, Measured]:
    """Let a driver work on each ledger in turn, and return what a question cost."""
    found = {ledger.name: Measured() for ledger in ledgers}
    async with AsyncExitStack() as stack:
        drivers = {}
        for ledger in ledgers:
            opening = await stack.enter_async_context(opened(ledger.url))
            driver = Driver(opening, ledger.contents.contacts, f"cost-{time.time_ns()}")
            await driver.work(WARM_UP)
            drivers[ledger.name] = driver
        for _ in range(runs):
            for ledger in ledgers:
                meter = Meter(ledger.url, ledger.server_pid)
                before = meter.read()
                await drivers[ledger.name].work(questions)
                found[ledger.name].runs.append(meter.read().minus(before).per(questions))
    return found


async def cost_of_claims(ledger: Ledger) -> tuple[float, float]:
    """Return milliseconds (median) and pages of a claim of CLAIMED turns; they are worked off in between."""
    times, pages = [], 0.0
    async with opened(ledger.url) as opening:
        driver = Driver(opening, ledger.contents.contacts, f"claims-{time.time_ns()}")
        meter = Meter(ledger.url, ledger.server_pid)
        for _ in range(CLAIMS):
            before, begun = meter.read(), time.perf_counter()
            claims = await opening.claim(CLAIMED)
            times.append(time.perf_counter() - begun)
            pages += meter.read().minus(before).pages
            assert len(claims.turns) == CLAIMED
            replies = [await driver.turn(claim) for claim in claims.turns]
            await opening.mark_published([reply.number for reply in replies if reply])
    return median(times) * 1000, pages / CLAIMS


async def intake_of_a_backlog(ledger: Ledger, events: int) -> list[Cost]:
    """Accept so many events into a fresh ledger; returns the cost of one event, by tenths."""
    costs = []
    async with opened(ledger.url) as opening:
        driver = Driver(opening, 0, "backlog")
        meter = Meter(ledger.url, ledger.server_pid)
        for _ in range(10):
            batches = [driver.questions(BACKLOG_BATCH) for _ in range(max(events // 10 // BACKLOG_BATCH, 1))]
            before = meter.read()
            for batch in batches:
                await opening.accept(batch)
            costs.append(meter.read().minus(before).per(len(batches) * BACKLOG_BATCH))
    return costs


@dataclass
class WholeWorker:
    """What one worker process cost, with everything on, run by run."""

    measured: Measured = field(default_factory=Measured)
    #: Resident memory by questions answered, of the last run.
    memory_mb: Mapping[int, float] = field(default_factory=dict)


def whole_workers(
    rabbitmq: RabbitMQ, ledgers: Sequence[Ledger], folder: Path, *, questions: int, runs: int
) -> dict[str, WholeWorker]:
    """Have a worker answer questions on each ledger in turn, over a real broker and the API of the bench."""
    found = {ledger.name: WholeWorker() for ledger in ledgers}
    with ApiProcess() as api:
        for _ in range(runs):
            for ledger in ledgers:
                worker = found[ledger.name]
                cost, worker.memory_mb = _whole_worker(rabbitmq, api, ledger, folder, questions)
                worker.measured.runs.append(cost)
    return found


def _whole_worker(
    rabbitmq: RabbitMQ, api: ApiProcess, ledger: Ledger, folder: Path, questions: int
) -> tuple[Cost, Mapping[int, float]]:
    """Return a question's cost from a tenth to nine tenths of so many, and the memory by questions."""
    names = rabbitmq.names()
    memory = {}
    settings = {"ASKRELAY_CONCURRENCY": "64", "ASKRELAY_LEASE_S": "30", "ASKRELAY_REQUEST_TIMEOUT_S": "60"}
    settings |= {"ASKRELAY_SETTLE_S": "120", "ASKRELAY_LOG_LEVEL": "info"}
    with Fleet(
        rabbitmq=rabbitmq, names=names, database_url=ledger.url, folder=folder, settings=settings
    ) as fleet:
        run = f"whole-{time.time_ns()}"
        askers = Askers(ledger.contents.contacts, run)
        fleet.ask([Asked(f"{run}-{n}", askers.of(n), f"Question {n}: may I?") for n in range(questions)])
        api.set_latency(0)
        worker = fleet.start_worker(CUSTOMGPT_API_URL=api.url)
        meter = Meter(ledger.url, ledger.server_pid, worker.pid, rabbitmq.pid)
        costs = []
        for mark in [questions * tenth // 10 for tenth in range(1, 10)]:
            fleet.wait_until(lambda mark=mark: api.counts().posts >= mark, f"{mark} posts", within_s=3600)  # type: ignore[misc]
            posts = api.counts().posts
            memory[posts] = resident_mb(worker.pid)
            costs.append((posts, meter.read()))
        fleet.wait_for_replies(questions, within_s=3600)
        counts = api.counts()
        assert (counts.repeats, counts.refused) == (0, 0), counts
    rabbitmq.remove(names)
    (first, before), (last, after) = costs[0], costs[-1]
    return after.minus(before).per(last - first), memory
