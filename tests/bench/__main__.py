"""``make bench``: what one worker costs and does, with everything on, on real parts.

CPU is the kernel's account of the worker's whole process tree, between a tenth and nine tenths of the run, so
that the start is not counted. Figures of a shared machine are noisy: compare them within one table.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.fleet import Fleet, generated
from tests.servers.postgres import Postgres
from tests.servers.processes import descendants
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.reaper import Reaper

#: One new contact in four questions.
EACH = 4
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Regime:
    """How slow the API is, how many turns may be in flight, and how many questions are asked."""

    latency_s: float
    concurrency: int
    questions: int


REGIMES = (Regime(0, 64, 8000), Regime(0.05, 256, 8000), Regime(3, 1000, 6000))


@dataclass(frozen=True)
class Figures:
    """What one run came to."""

    per_s: float
    cpu_ms: float
    peak_mb: float


def main() -> None:
    """Run every regime on both databases and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the questions, once")
    arguments = parser.parse_args()
    console = Console()
    table = Table("API", "ledger", "in flight", "questions/s", "CPU ms/question", "peak MB", "runs")
    repeats = 1 if arguments.quick else arguments.repeats
    with servers() as (rabbitmq, postgres):
        runs: dict[tuple[Regime, str], list[Figures]] = {}
        # Interleaved: a machine that slows down slows all of them.
        for _ in range(repeats):
            for regime in REGIMES:
                for kind in ("sqlite", "postgresql"):
                    count = regime.questions // 10 if arguments.quick else regime.questions
                    console.print(f"{regime.latency_s * 1000:g} ms, {kind}, {count} questions ...")
                    figures = measure(rabbitmq, postgres, regime, kind, count)
                    runs.setdefault((regime, kind), []).append(figures)
    for (regime, kind), found in runs.items():
        cpu = [figures.cpu_ms for figures in found]
        table.add_row(
            f"{regime.latency_s * 1000:g} ms",
            kind,
            str(regime.concurrency),
            f"{median(figures.per_s for figures in found):.0f}",
            f"{median(cpu):.2f} ({min(cpu):.2f}-{max(cpu):.2f})",
            f"{median(figures.peak_mb for figures in found):.0f}",
            str(len(found)),
        )
    console.print(table)


@contextmanager
def servers() -> Iterator[tuple[RabbitMQ, Postgres]]:
    """Start a private broker and database."""
    with (
        closing(Reaper()) as reaper,
        closing(RabbitMQ(reaper)) as rabbitmq,
        closing(Postgres(reaper)) as postgres,
    ):
        rabbitmq.start()
        postgres.start()
        yield rabbitmq, postgres


def measure(rabbitmq: RabbitMQ, postgres: Postgres, regime: Regime, kind: str, count: int) -> Figures:
    """Ask so many questions of one worker and measure it in the middle of the run."""
    settings = {
        "ASKRELAY_CONCURRENCY": str(regime.concurrency),
        "ASKRELAY_LEASE_S": "30",
        "ASKRELAY_REQUEST_TIMEOUT_S": "60",
        "ASKRELAY_SETTLE_S": "120",
    }
    names = rabbitmq.names()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/ledger.db" if kind == "sqlite" else postgres.new_database()
        with Fleet(
            rabbitmq=rabbitmq,
            names=names,
            database_url=url,
            folder=Path(folder),
            latency_s=regime.latency_s,
            settings=settings,
        ) as fleet:
            fleet.ask(generated(contacts=count // EACH, each=EACH))
            worker = fleet.start_worker()
            fleet.wait_until(lambda: fleet.posts() >= count // 10, "a tenth", within_s=600)
            began, cpu, posts = time.monotonic(), cpu_s(worker.pid), fleet.posts()
            fleet.wait_until(lambda: fleet.posts() >= count * 9 // 10, "nine tenths", within_s=600)
            seconds, cpu, done = time.monotonic() - began, cpu_s(worker.pid) - cpu, fleet.posts() - posts
            peak = peak_mb(worker.pid)
            fleet.wait_for_replies(count, within_s=600)
            broken = fleet.judge().broken()
    assert not broken, broken
    rabbitmq.remove(names)
    return Figures(done / seconds, cpu / done * 1000, peak)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process and its descendants have used."""
    total = 0.0
    for each in (pid, *descendants(pid)):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def peak_mb(pid: int) -> float:
    """Return the most memory a process ever had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmHWM")


main()
