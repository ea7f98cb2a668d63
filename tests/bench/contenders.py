"""Who is measured: our worker on both databases, and the peers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.bench.traffic import Wrap, as_celery, as_cloudevent, as_dramatiq, as_json

PEERS = Path(__file__).parent / "peers"
ROOT = PEERS.parents[2]
#: Made by the Makefile from the peers' own lock: what they need, the worker must not be able to import.
PEERS_BIN = ROOT / ".venv-bench" / "bin"

#: What the worker declares; a queue that is there already must be the same.
OUR_QUEUE = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    "x-delivery-limit": 2**31 - 1,
}
#: What dramatiq declares.
DRAMATIQ_QUEUE = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "bench.XQ"}

#: Makes the command line for so many questions in flight.
Command = Callable[[int], list[str]]


@dataclass(frozen=True)
class Contender:
    """One program that answers questions."""

    name: str
    command: Command
    wrap: Wrap = as_cloudevent
    #: Whose ledger a copy is made of before each run.
    ledger: Literal["peers", "sqlite", "postgresql"] = "peers"
    queue_arguments: Mapping[str, Any] = field(default_factory=dict)
    #: Questions in flight where the regime's number is not what serves this one best, by regime.
    in_flight: Mapping[str, int] = field(default_factory=dict)
    #: Questions a second it was seen to answer on two cores; a run's length follows from it, nothing else.
    expected_per_s: float = 300
    #: A program to run it under, a profiler say, with its arguments.
    under: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether this is the worker itself."""
        return self.ledger != "peers"


def _peer(program: str, *arguments: str) -> list[str]:
    return [str(PEERS_BIN / program), *arguments]


def _dramatiq(in_flight: int) -> list[str]:
    return _peer("dramatiq", "dramatiq_peer", "--processes", "1", "--threads", str(in_flight))


def _celery(in_flight: int) -> list[str]:
    # At one HTTP call a millisecond threads are the cheapest pool; for hundreds in flight greenlets are.
    pool = "threads" if in_flight <= CELERY_THREADS else "gevent"
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "error")
    size = ("--pool", pool, "--concurrency", str(in_flight))
    return _peer("celery", "--app", "celery_peer", "worker", *size, "-O", "fair", *quiet)


def _ours(_in_flight: int) -> list[str]:
    return [sys.executable, "-m", "worker", "run"]


#: Threads that share one core better than more of them do, when the API takes no time.
CELERY_THREADS = DRAMATIQ_THREADS = 8

CONTENDERS = (
    Contender("askrelay (SQLite)", _ours, ledger="sqlite", queue_arguments=OUR_QUEUE, expected_per_s=900),
    Contender(
        "askrelay (PostgreSQL)", _ours, ledger="postgresql", queue_arguments=OUR_QUEUE, expected_per_s=800
    ),
    Contender(
        "aio-pika + aiohttp + uvloop",
        lambda _: _peer("python", "aio_pika_peer.py"),
        expected_per_s=1000,
    ),
    Contender(
        "FastStream + aiohttp",
        lambda _: _peer("faststream", "run", "faststream_peer:app", "--log-level", "error"),
        wrap=as_json,
        expected_per_s=800,
    ),
    Contender(
        "dramatiq threads + urllib3",
        _dramatiq,
        wrap=as_dramatiq,
        queue_arguments=DRAMATIQ_QUEUE,
        in_flight={"0 ms": DRAMATIQ_THREADS, "start": DRAMATIQ_THREADS},
        expected_per_s=450,
    ),
    Contender(
        "Celery + urllib3",
        _celery,
        wrap=as_celery,
        in_flight={"0 ms": CELERY_THREADS, "start": CELERY_THREADS},
        expected_per_s=320,
    ),
)


def chosen(words: str) -> list[Contender]:
    """Return the contenders whose name contains one of these words, with commas between; all for none."""
    wanted = [word.strip().lower() for word in words.split(",") if word.strip()]
    return [each for each in CONTENDERS if not wanted or any(word in each.name.lower() for word in wanted)]
