"""``make bench-growth``: whether a question costs more in a ledger that is full, or that has a backlog.

Ledgers are filled by SQL as a worker leaves them. Work on them is interleaved, and what counts is the ratio
of CPU (worker and database) within a run: figures of a shared machine are noisy. 10 million finished
questions take 25 GB under TMPDIR and a quarter of an hour.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from tests.bench_growth.cells import (
    CLAIMED,
    CLAIMS,
    Ledger,
    Measured,
    WholeWorker,
    cost_of_claims,
    cost_of_questions,
    intake_of_a_backlog,
    whole_workers,
)
from tests.bench_growth.fill import Contents, fill, read_into_memory
from tests.contract.ledger_cases import address
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.reaper import Reaper
from worker.adapters.ledger import upgrade

#: Finished questions, and the most that SQLite is filled with.
FINISHED, SQLITE_AT_MOST = (0, 100_000, 1_000_000, 10_000_000), 1_000_000
WAITING = (10_000, 1_000_000)
#: Finished questions per contact, and the contacts of the smallest and of the largest ledger. Where nobody is
#: known, three questions in four come from the few contacts that the run itself has made: several of one
#: contact wait together then, and that is less work, however full the ledger is.
PER_CONTACT, LEAST_CONTACTS, CONTACTS = 10, 10_000, 1_000_000
#: A small production server, a machine of 8 GB; the rest is as it is by default.
SERVER = {
    "shared_buffers": "2GB",
    "max_wal_size": "4GB",
    "autovacuum_max_workers": "3",
    "shared_preload_libraries": "pg_stat_statements",
}
#: Wide enough for the tables where they go to a file, too.
console = Console(width=max(Console().width, 130))


def main() -> None:
    """Fill, measure, and print tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench_growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth of everything")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--whole-runs", type=int, default=3, help="of a whole worker on each full ledger")
    parser.add_argument("--questions", type=int, default=4000, help="in each run on each ledger")
    parser.add_argument(
        "--backlog", type=int, default=200_000, help="events of the backlog, and of the memory's run"
    )
    parser.add_argument("--kind", choices=["sqlite", "postgresql"], help="this database only")
    arguments = parser.parse_args()
    part = 100 if arguments.quick else 1
    kinds = [arguments.kind] if arguments.kind else ["sqlite", "postgresql"]
    with servers() as (rabbitmq, postgres), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in kinds:
            measure(kind, postgres, rabbitmq, folder, arguments=arguments, part=part)


def measure(
    kind: str,
    postgres: Postgres,
    rabbitmq: RabbitMQ,
    folder: Path,
    *,
    arguments: argparse.Namespace,
    part: int,
) -> None:
    """Do everything on one kind of database."""
    most = SQLITE_AT_MOST if kind == "sqlite" else max(FINISHED)
    filled = [finished(count // part, LEAST_CONTACTS // part) for count in FINISHED if count <= most]
    behind = [waiting(max(count // part, 2 * CLAIMS * CLAIMED)) for count in WAITING]
    questions = arguments.questions // (10 if part > 1 else 1)
    with fast_fill(postgres):
        ledgers = [make(kind, postgres, folder, contents) for contents in (*filled, *behind)]
        nobody = make(kind, postgres, folder, Contents(), "nobody known")
        fresh = make(kind, postgres, folder, Contents(), "a fresh one")
    measured = [*ledgers, nobody]
    without_backlog = [*ledgers[: len(filled)], nobody]
    for ledger in without_backlog:
        read_into_memory(ledger.url)
    found = asyncio.run(cost_of_questions(measured, questions=questions, runs=arguments.runs))
    console.print(questions_table(measured, found))
    claims = {each.name: asyncio.run(cost_of_claims(each)) for each in ledgers[len(filled) :]}
    console.print(claims_table(claims))
    backlog = asyncio.run(intake_of_a_backlog(fresh, arguments.backlog // part))
    console.print(
        f"A backlog of {arguments.backlog // part:,} events into a fresh ledger, CPU us per event by tenths: "
        + ", ".join(f"{cost.cpu_s * 1e6:.0f}" for cost in backlog)
        + f"; events/s: {1 / backlog[0].time_s:.0f} at first, {1 / backlog[-1].time_s:.0f} at last"
    )
    name = "memory"
    with fast_fill(postgres):
        another = make(kind, postgres, folder, Contents(), name)
    for ledger in without_backlog:
        read_into_memory(ledger.url)
    runs = arguments.whole_runs
    whole = whole_workers(rabbitmq, without_backlog, folder, questions=questions * 2, runs=runs)
    console.print(whole_table(kind, whole))
    if kind == "postgresql" or arguments.kind:
        whole = whole_workers(rabbitmq, [another], folder, questions=arguments.backlog // part, runs=1)
        by_questions = ", ".join(f"{mb:.0f} after {count:,}" for count, mb in whole[name].memory_mb.items())
        console.print(f"Memory of a worker, MB: {by_questions} questions")


def finished(count: int, least_contacts: int) -> Contents:
    """Return a ledger that has been at work for long."""
    contacts = min(max(count // PER_CONTACT, least_contacts), CONTACTS)
    return Contents(finished=count, erased=count, contacts=contacts)


def waiting(count: int) -> Contents:
    """Return a ledger with a backlog, one question of each contact."""
    return Contents(waiting=count, contacts=count)


def make(kind: str, postgres: Postgres, folder: Path, contents: Contents, name: str = "") -> Ledger:
    """Fill a new ledger."""
    name = name or (
        f"{contents.waiting:,} waiting" if contents.waiting else f"{contents.finished:,} finished"
    )
    begun = time.monotonic()
    file = folder / f"{name.replace(' ', '-')}.db"
    url = f"sqlite:///{file}" if kind == "sqlite" else postgres.new_database()
    upgrade(address(url))
    if kind == "postgresql":
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create extension pg_stat_statements")
    if contents != Contents():
        fill(url, contents)
    console.print(f"{kind}: {name}, filled in {time.monotonic() - begun:.0f} s")
    return Ledger(name, url, contents, None if kind == "sqlite" else postgres.pid)


@contextmanager
def servers() -> Iterator[tuple[RabbitMQ, Postgres]]:
    """Start a private broker and a database set up as a small production server."""
    with (
        closing(Reaper()) as reaper,
        closing(RabbitMQ(reaper)) as rabbitmq,
        closing(Postgres(reaper)) as postgres,
    ):
        rabbitmq.start()
        postgres.start()
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            for name, value in SERVER.items():
                connection.execute(f"alter system set {name} = '{value}'".encode())
        postgres.stop()
        postgres.start()
        yield rabbitmq, postgres


@contextmanager
def fast_fill(postgres: Postgres) -> Iterator[None]:
    """Let the database not wait for the disk while it is filled; what is measured afterwards does."""
    for value in ("off", "on"):
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"alter system set fsync = {value}".encode())
            connection.execute("select pg_reload_conf()")
            if value == "on":
                connection.execute("checkpoint")
        if value == "off":
            yield


def table_of_ledgers(title: str, columns: Sequence[str]) -> Table:
    """Return a table without rows: a ledger's name, and numbers."""
    table = Table("ledger", title=title)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def questions_table(ledgers: Sequence[Ledger], found: dict[str, Measured]) -> Table:
    """Show what a question cost, against the first ledger, in which nothing is finished."""
    times = ["time us", "time against 0"]
    columns = ["CPU us", "worker", "database", "against 0", *times, "statements", "pages", "WAL kB"]
    table = table_of_ledgers(f"{ledgers[0].kind}: one question through the ledger", columns)
    base = found[ledgers[0].name]
    for ledger in ledgers:
        measured = found[ledger.name]
        table.add_row(
            ledger.name,
            *(f"{measured.of(name) * 1e6:.0f}" for name in ("cpu_s", "worker_cpu_s", "database_cpu_s")),
            f"{measured.ratio(base):.2f}",
            f"{measured.of('time_s') * 1e6:.0f}",
            f"{measured.ratio(base, 'time_s'):.2f}",
            *(f"{measured.of(name):.1f}" for name in ("statements", "pages")),
            f"{measured.of('wal_bytes') / 1e3:.1f}",
        )
    return table


def claims_table(claims: dict[str, tuple[float, float]]) -> Table:
    """Show what a claim cost beside a backlog."""
    table = Table("backlog", "ms per claim", "pages", title="Claims")
    for name, (milliseconds, pages) in claims.items():
        table.add_row(name, f"{milliseconds:.2f}", f"{pages:.0f}")
    return table


def whole_table(kind: str, whole: dict[str, WholeWorker]) -> Table:
    """Show what whole workers cost, against the first ledger, in which nothing is finished."""
    columns = ["CPU us", "worker", "database", "against 0", "broker", "time us", "time against 0"]
    table = table_of_ledgers(f"{kind}: a question by a whole worker", columns)
    base = next(iter(whole.values())).measured
    for name, worker in whole.items():
        measured = worker.measured
        table.add_row(
            name,
            *(f"{measured.of(figure) * 1e6:.0f}" for figure in ("cpu_s", "worker_cpu_s", "database_cpu_s")),
            f"{measured.ratio(base):.2f}",
            *(f"{measured.of(figure) * 1e6:.0f}" for figure in ("broker_cpu_s", "time_s")),
            f"{measured.ratio(base, 'time_s'):.2f}",
        )
    return table


if __name__ == "__main__":
    main()
