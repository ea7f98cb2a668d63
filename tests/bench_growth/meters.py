"""What a piece of work cost: CPU of this process and of the database, time, and what the database counted."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.servers.processes import descendants

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20

_COUNTED = """
select coalesce(sum(calls), 0), coalesce(sum(shared_blks_hit + shared_blks_read), 0),
    coalesce(sum(wal_bytes), 0)
from pg_stat_statements where dbid = (select oid from pg_database where datname = current_database())
"""


@dataclass(frozen=True)
class Cost:
    """A sum over some work; seconds, and counts of PostgreSQL (0 on SQLite)."""

    time_s: float = 0.0
    worker_cpu_s: float = 0.0
    database_cpu_s: float = 0.0
    statements: float = 0.0
    #: Pages of 8 kB that statements looked at.
    pages: float = 0.0
    wal_bytes: float = 0.0
    broker_cpu_s: float = 0.0

    @property
    def cpu_s(self) -> float:
        """Worker and database."""
        return self.worker_cpu_s + self.database_cpu_s

    def minus(self, other: Cost) -> Cost:
        """Return the difference."""
        return Cost(*(getattr(self, name) - getattr(other, name) for name in self.__dataclass_fields__))

    def per(self, count: int) -> Cost:
        """Return the share of one."""
        return Cost(*(getattr(self, name) / count for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Meter:
    """Reads what was spent so far. ``server_pid`` is PostgreSQL's postmaster; None is SQLite, in-process."""

    url: str
    server_pid: int | None = None
    #: The worker where it is not this process.
    worker_pid: int | None = None
    #: RabbitMQ's node, where there is one.
    broker_pid: int | None = None

    def read(self) -> Cost:
        """Return the sums up to now; only differences mean anything."""
        counted = (0.0, 0.0, 0.0)
        if self.server_pid is not None:
            with psycopg.connect(self.url, autocommit=True) as connection:
                row = connection.execute(_COUNTED).fetchone()
                assert row is not None
                counted = (float(row[0]), float(row[1]), float(row[2]))
        return Cost(
            time.monotonic(),
            time.process_time() if self.worker_pid is None else _tree_cpu_s(self.worker_pid),
            0.0 if self.server_pid is None else _tree_cpu_s(self.server_pid),
            *counted,
            0.0 if self.broker_pid is None else _tree_cpu_s(self.broker_pid),
        )


def resident_mb(pid: int) -> float:
    """Return what a process has in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_MB


def _tree_cpu_s(pid: int) -> float:
    """Return the CPU of a process, of the children it has collected and of the descendants it has."""
    ticks = 0
    for each in (pid, *descendants(pid)):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += sum(map(int, fields[11:13])) + (sum(map(int, fields[13:15])) if each == pid else 0)
    return ticks / TICKS
