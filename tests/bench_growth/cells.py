"""What is measured: work on ledgers of several sizes, claims, a backlog, and a whole worker."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench_growth.drive import Driver
from tests.bench_growth.fill import Contents
from tests.bench_growth.meters import Cost, Meter, resident_mb
from tests.contract.ledger_cases import opened
from tests.fleet import Fleet, generated
from tests.servers.rabbitmq import RabbitMQ

#: Questions of a cell that are not counted: prepared statements, caches and the first checkpoint come first.
WARM_UP = 2000
#: Claims that are timed, and how many turns each takes.
CLAIMS, CLAIMED = 40, 50
#: Events in a batch of intake, as the worker takes them when a backlog waits.
BACKLOG_BATCH = 256
#: One new contact in four questions.
EACH = 4


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


@dataclass(frozen=True)
class WholeWorker:
    """What one worker process cost, with everything on."""

    cost: Cost
    #: Resident memory by questions answered.
    memory_mb: Mapping[int, float]


def whole_worker(rabbitmq: RabbitMQ, ledger: Ledger, folder: Path, questions: int) -> WholeWorker:
    """Ask one worker over a real broker and the sandbox; measured from a tenth to nine tenths."""
    names = rabbitmq.names()
    memory = {}
    settings = {"ASKRELAY_CONCURRENCY": "64", "ASKRELAY_LEASE_S": "30", "ASKRELAY_REQUEST_TIMEOUT_S": "60"}
    settings |= {"ASKRELAY_SETTLE_S": "120", "ASKRELAY_LOG_LEVEL": "info"}
    with Fleet(
        rabbitmq=rabbitmq,
        names=names,
        database_url=ledger.url,
        folder=folder,
        latency_s=0,
        settings=settings,
    ) as fleet:
        fleet.ask(generated(contacts=questions // EACH, each=EACH))
        worker = fleet.start_worker()
        meter = Meter(ledger.url, ledger.server_pid, worker.pid, rabbitmq.pid)
        marks = [questions * tenth // 10 for tenth in range(1, 10)]
        costs = []
        for mark in marks:
            fleet.wait_until(lambda mark=mark: fleet.posts() >= mark, f"{mark} posts", within_s=3600)  # type: ignore[misc]
            posts = fleet.posts()
            memory[posts] = resident_mb(worker.pid)
            costs.append((posts, meter.read()))
        fleet.wait_for_replies(questions, within_s=3600)
    rabbitmq.remove(names)
    (first, before), (last, after) = costs[0], costs[-1]
    return WholeWorker(after.minus(before).per(last - first), memory)
